"""robustness.json in a few lines: overlap of circuits, and of other ways of extracting them."""

from eap import MIN_EXAMPLES
from study.findings import Finding, Null, Number, column, number, p_words, tested
from study.headline import Headline, Table


def headline(result: dict) -> Headline:
    """The `Headline` of how stable circuits are."""
    shown = variants_table(result["agreement"]) or circuits_table(result["circuits"])
    return Headline(title(result), shown, findings(result), cautions(result))


def title(result: dict) -> str:
    """How many circuits, and on how many pairs one was extracted again."""
    circuits, agreement = result["circuits"], result["agreement"]
    if not agreement:
        return f"{len(circuits)} circuits: {', '.join(row['name'] for row in circuits)}"
    return (
        f"{len(circuits)} circuits compared; {circuits[0]['name']} extracted again "
        f"{len(agreement['names']) - 1} ways, {agreement['examples']} pairs, "
        f"{agreement['edges']:,} edges"
    )


def variants_table(agreement: dict | None) -> Table | None:
    """Each other way of extracting: overlap with the circuit as extracted, and whether in noise."""
    if not agreement:
        return None
    floor = agreement["noise_floor"]
    enough, rows = agreement["examples"] >= MIN_EXAMPLES, agreement["with_first"][1:]
    overlaps = column([number(floor), *[number(row, key="jaccard_edges") for row in rows]])
    ranks = [agreement["spearman_noise_floor"]["mean"], *agreement["spearman"][0][1:]]
    words = [""]
    for row in rows:
        word = "within noise" if row["jaccard_edges"] >= floor["low"] else "below noise"
        words.append(word if enough else "no claim")
    names = ["resampled examples (noise)", *[row["name"] for row in rows]]
    return Table(
        ("extracted again with", f"Jaccard (chance {agreement['chance']:.2g})", "Spearman", ""),
        tuple(
            (name, overlap, f"{rank:.2f}", word)
            for name, overlap, rank, word in zip(names, overlaps, ranks, words, strict=True)
        ),
    )


def circuits_table(circuits: list[dict]) -> Table:
    """Each circuit's overlap with itself on resampled examples."""
    floors = column(number(row["noise_floor"]) if row["noise_floor"] else None for row in circuits)
    words = {True: "stable", False: "not stable", None: "not known"}
    return Table(
        ("circuit", "edges", "Jaccard of resamples", ""),
        tuple(
            (row["name"], f"{row['size']:,}", floor, words[row["stable"]])
            for row, floor in zip(circuits, floors, strict=True)
        ),
    )


def findings(result: dict) -> tuple[Finding, ...]:
    """Whether every two circuits differ, and what corrupting fewer tokens changes.

    The first pair with a test answers the question of the report.
    """
    made, question = [], "Is it another circuit?"
    for row in result["pairs"]:
        if row["different"]:
            made.append(difference_finding(row, question))
            question = ""
        else:
            made.append(overlap_finding(row))
    return (*made, *perturbation_findings(result["perturbation"]))


def difference_finding(row: dict, question: str) -> Finding:
    """Whether two circuits differ, by the permutation test on the same examples."""
    test = row["different"]
    return Finding(
        tested(test),
        f"distance {row['a']}, {row['b']}",
        Number(test["distance"]),
        Null("swapped", number(test["null"])),
        p_words(test["p"]) if question else "",
        n=test["examples"],
        question=question,
    )


def overlap_finding(row: dict) -> Finding:
    """Whether two circuits without a test overlap beyond chance."""
    chance = number(row["chance"])
    overlap = Number(row["jaccard_edges"], row["low"], row["high"])
    kind = "above chance" if overlap.value > row["chance"]["high"] else "not above chance"
    return Finding(kind, f"Jaccard {row['a']}, {row['b']}", overlap, Null("chance", chance))


def perturbation_findings(rows: list[dict]) -> list[Finding]:
    """The extraction with the fewest salient tokens corrupted against the one with all of them."""
    if not rows:
        return []
    row = min(rows, key=lambda row: row["level"])
    floor = row["noise_floor"]
    kind = "lower" if row["jaccard_edges"] < floor["low"] else "no clear difference"
    subject = f"Jaccard, {100 * row['level']:g} % of salient tokens replaced, to all"
    overlap = Number(row["jaccard_edges"], row["low"], row["high"])
    return [Finding(kind, subject, overlap, Null("noise", number(floor)), n=row["examples"])]


def cautions(result: dict) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    agreement, notes = result["agreement"], []
    if agreement and agreement["examples"] < MIN_EXAMPLES:
        notes.append(f"{agreement['examples']} examples carry no claim")
    unstable = [row["name"] for row in result["circuits"] if row["stable"] is False]
    unknown = [row["name"] for row in result["circuits"] if row["stable"] is None]
    if unstable:
        notes.append(f"not stable: {', '.join(unstable)}")
    if unknown:
        notes.append(f"no scores per example, so no noise: {', '.join(unknown)}")
    if not agreement:
        notes.append("not extracted again: no --model_path")
    return tuple(notes)
