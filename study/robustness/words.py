"""robustness.json in words: each claim beside its null and its interval."""

from eap import MIN_EXAMPLES
from study.findings import fixed, tested
from study.stability import bootstrap


def lines(result: dict) -> list[str]:
    """Everything that evaluate_robustness.py prints."""
    written = []
    for row in result["circuits"]:
        about = bootstrap.sentence(row["bootstrap"])
        written.append(f"{row['name']}: {row['size']} edges; {about}")
    for row in result["pairs"]:
        written += pair_lines(row)
    for row in result["perturbation"]:
        written.append(
            f"{row['level']:.0%} of the salient tokens corrupted: Jaccard {_overlap(row)} with all "
            f"of them corrupted (chance {row['chance']:.3f}, noise floor "
            f"{row['noise_floor']['mean']:.3f}), Spearman of |score| {row['spearman']:.3f}, "
            f"n = {row['examples']}"
        )
    written += _agreement_lines(result["agreement"])
    return written + [f"left out: {note}" for note in result["left_out"]]


def verdict(test: dict) -> str:
    """ "the circuits differ" only for p under 5 % (guard 26)."""
    kind = tested(test)
    return {"different": "the circuits differ", "no claim": "too few examples to tell"}.get(
        kind, kind
    )


def _overlap(row: dict) -> str:
    """`0.470 [0.430, 0.510]`, the Jaccard index of edges."""
    if row["low"] is None:
        return f"{row['jaccard_edges']:.3f}"
    return fixed({**row, "mean": row["jaccard_edges"]})


def pair_lines(row: dict) -> list[str]:
    """What is said of two circuits: a word only beyond chance, a difference only by its p value."""
    test, chance = row["different"], row["chance"]
    words = ""
    if test is None or test["examples"] >= MIN_EXAMPLES:
        more = "more" if row["jaccard_edges"] > chance["high"] else "not more"
        words = f"{more} similar than chance: "
    rank = "" if row["spearman"] is None else f", Spearman of |score| {row['spearman']:.3f}"
    line = (
        f"{row['a']} and {row['b']}: {words}Jaccard {_overlap(row)} of edges (chance "
        f"{fixed(chance)}), {row['jaccard_nodes']:.3f} of nodes{rank}"
    )
    if test is None:
        return [line]
    return [
        line,
        f"  is one different from the other? 1 - Jaccard of the {test['edges']} strongest edges is "
        f"{test['distance']:.3f}; with labels swapped over {test['examples']} examples "
        f"{fixed(test['null'])}, p = {test['p']:.4f}: {verdict(test)}",
    ]


def _agreement_lines(agreement: dict | None) -> list[str]:
    """How each other way of extracting agrees with the circuit as extracted."""
    if not agreement:
        return []
    floor, enough = agreement["noise_floor"], agreement["examples"] >= MIN_EXAMPLES
    written = [
        f"{agreement['names'][0]}, {agreement['edges']} strongest edges, "
        f"n = {agreement['examples']}: chance Jaccard {agreement['chance']:.3f}; noise floor "
        f"{fixed(floor)}, Spearman {fixed(agreement['spearman_noise_floor'])}"
    ]
    ranks = agreement["spearman"][0]
    for row, rank in zip(agreement["with_first"][1:], ranks[1:], strict=True):
        words = ""
        if enough:
            side = "within" if row["jaccard_edges"] >= floor["low"] else "below"
            words = f", {side} the noise floor"
        written.append(f"  {row['name']}: Jaccard {_overlap(row)}{words}; Spearman {rank:.3f}")
    if not enough:
        written.append(
            f"  with {agreement['examples']} examples (fewer than {MIN_EXAMPLES}) nothing is said "
            "of the noise floor"
        )
    return written
