"""robustness.json in words: each claim beside its null and its interval."""

from eap import MIN_EXAMPLES
from study.stability import bootstrap


def lines(result: dict) -> list[str]:
    """Everything that evaluate_robustness.py prints."""
    said = []
    for row in result["circuits"]:
        said.append(f"{row['name']}: {row['size']} edges; {bootstrap.sentence(row['bootstrap'])}")
    for row in result["pairs"]:
        said += pair_lines(row)
    for row in result["perturbation"]:
        said.append(
            f"{row['level']:.0%} of the salient tokens corrupted: Jaccard {_span(row)} with all "
            f"of them corrupted (chance {row['chance']:.3f}, noise floor "
            f"{row['noise_floor']['mean']:.3f}), Spearman of |score| {row['spearman']:.3f}, n = "
            f"{row['examples']}"
        )
    return (
        said
        + _agreement_lines(result["agreement"])
        + [f"left out: {note}" for note in result["left_out"]]
    )


def verdict(test: dict) -> str:
    """ "the circuits differ" only for p under 5 % (guard 26)."""
    if test["p"] < 0.05:
        return "the circuits differ"
    return "too few examples to tell" if test["smallest_p"] >= 0.05 else "not shown to differ"


def _span(row) -> str:
    return f"{row['jaccard_edges']:.3f}" + (
        f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else ""
    )


def pair_lines(row) -> list[str]:
    """What is said of two circuits: a word only beyond chance, a difference only by its p value."""
    rank = "" if row["spearman"] is None else f", Spearman of |score| {row['spearman']:.3f}"
    level = row["chance"]
    words = (
        "more similar than chance: "
        if row["jaccard_edges"] > level["high"]
        else "not more similar than chance: "
    )
    if row["different"] and row["different"]["examples"] < MIN_EXAMPLES:
        words = ""
    said = [
        f"{row['a']} and {row['b']}: {words}Jaccard {_span(row)} of edges (chance "
        f"{level['mean']:.3f} [{level['low']:.3f}, {level['high']:.3f}]), "
        f"{row['jaccard_nodes']:.3f} of nodes{rank}"
    ]
    if test := row["different"]:
        null = test["null"]
        said.append(
            f"  is one different from the other? 1 - Jaccard of the {test['edges']} strongest "
            f"edges is {test['distance']:.3f}; with labels swapped over {test['examples']} "
            f"examples {null['mean']:.3f} [{null['low']:.3f}, {null['high']:.3f}], p = "
            f"{test['p']:.4f}: {verdict(test)}"
        )
    return said


def _agreement_lines(found) -> list[str]:
    if not found:
        return []
    floors = found["noise_floor"], found["spearman_noise_floor"]
    said = [
        f"{found['names'][0]}, {found['edges']} strongest edges, n = {found['examples']}: chance "
        f"Jaccard {found['chance']:.3f}; noise floor {floors[0]['mean']:.3f} "
        f"[{floors[0]['low']:.3f}, {floors[0]['high']:.3f}], Spearman {floors[1]['mean']:.3f} "
        f"[{floors[1]['low']:.3f}, {floors[1]['high']:.3f}]"
    ]
    for row, rank in zip(found["with_first"][1:], found["spearman"][0][1:], strict=True):
        words = (
            ", within the noise floor"
            if row["jaccard_edges"] >= floors[0]["low"]
            else ", below the noise floor"
        )
        said.append(
            f"  {row['name']}: Jaccard "
            f"{_span(row)}{words if found['examples'] >= MIN_EXAMPLES else ''}; Spearman "
            f"{rank:.3f}"
        )
    if found["examples"] < MIN_EXAMPLES:
        said.append(
            f"  with {found['examples']} examples (fewer than {MIN_EXAMPLES}) nothing is said of "
            "the noise floor"
        )
    return said
