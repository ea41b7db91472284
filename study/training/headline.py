"""training.json in a few lines: what was trained on what, and its validation loss."""

from eap import MIN_EXAMPLES
from study.findings import Finding, Null, Number, column, direction, number
from study.headline import Headline, Table

NLL = "nll_nats_per_token"


def headline(result: dict) -> Headline:
    """The `Headline` of a fine-tuning run."""
    kept = {what: part["kept"] for what, part in result["examples"].items()}
    steps = result["validation"][-1]["step"] if result["validation"] else 0
    title = (
        f"{result['model']} fine-tuned on {kept['train']:,} articles of {result['dataset']}, "
        f"{steps:,} steps; validation on {kept['validation']:,} others"
    )
    return Headline(title, table(result), findings(result), cautions(result))


def table(result: dict) -> Table:
    """Validation NLL and the training loss before it, a row for each checkpoint."""
    rows = result["validation"]
    numbers = column([number(row, key=NLL) for row in rows])
    losses = column([loss_before(result["loss"], row["step"]) for row in rows])
    return Table(
        ("step", "validation NLL, nats per token", "training loss before"),
        tuple(
            (f"{row['step']:,}", nll, loss)
            for row, nll, loss in zip(rows, numbers, losses, strict=True)
        ),
    )


def loss_before(loss: list[dict], step: int) -> Number | None:
    """The last training loss logged up to a step; None before the first."""
    logged = [row["loss"] for row in loss if row["step"] <= step]
    return Number(logged[-1]) if logged else None


def findings(result: dict) -> tuple[Finding, ...]:
    """Whether the last checkpoint's NLL is lower than the first one's.

    By the change of the same examples; in a file of an earlier version, which has none, by whether
    the two intervals are apart.
    """
    rows = result["validation"]
    if len(rows) < 2:
        return ()
    first, last = number(rows[0], key=NLL), number(rows[-1], "nats per token", key=NLL)
    change = rows[-1].get("change")
    difference = number(change, signed=True) if change else None
    finding = Finding(
        direction(difference) if difference else direction(last, first),
        f"validation NLL at step {rows[-1]['step']}",
        last,
        Null(f"at step {rows[0]['step']}:", first),
        difference=difference,
        n=result["examples"]["validation"]["kept"],
        question="Does the model learn to summarize?",
    )
    return (finding,)


def cautions(result: dict) -> tuple[str, ...]:
    """What a reader of the run must know now."""
    notes, rows = [], result["validation"]
    examples = result["examples"]["validation"]["kept"]
    best = min(rows, key=lambda row: row[NLL], default=None)
    if examples < MIN_EXAMPLES:
        notes.append(f"{examples} validation articles carry no claim")
    elif best and direction(number(rows[-1], key=NLL), number(best, key=NLL)) == "higher":
        notes.append(f"the NLL is lowest at step {best['step']}: later checkpoints overfit")
    for what, part in result["examples"].items():
        if part["truncated"]:
            notes.append(
                f"{part['truncated']:,} of {part['kept']:,} {what} articles shortened to fit"
            )
        notes += [f"{count} {what} rows dropped: {why}" for why, count in part["dropped"].items()]
    return tuple(notes)
