"""training.json in words."""


def lines(numbers: dict) -> list[str]:
    """The validation NLL at each checkpoint, as a table."""
    n_validation = numbers["examples"]["validation"]["kept"]
    table = [
        f"{'step':>8}  validation NLL (nats per summary token, {n_validation} examples, "
        "95 % interval)"
    ]
    for row in numbers["validation"]:
        table.append(
            f"{row['step']:>8}  {row['nll_nats_per_token']:.4f}  "
            f"[{row['low']:.4f}, {row['high']:.4f}]"
        )
    return table
