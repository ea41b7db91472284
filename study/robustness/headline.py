"""robustness.json in a few lines: overlap of circuits, and of other ways of extracting them."""

from eap import MIN_EXAMPLES
from study.headline import Finding, Headline, Null, Number, Table, column, number

ALPHA = 0.05


def headline(result: dict) -> Headline:
    """The `Headline` of how stable circuits are."""
    made = [pair_finding(row) for row in result["pairs"]]
    made += perturbation_findings(result["perturbation"])
    shown = variants_table(result["agreement"]) or circuits_table(result["circuits"])
    return Headline(title(result), shown, tuple(made), cautions(result))


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
        within = row["jaccard_edges"] >= floor["low"]
        words.append(("within noise" if within else "below noise") if enough else "no claim")
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


def pair_finding(row: dict) -> Finding:
    """Two circuits: whether they differ by the permutation test, else whether beyond chance."""
    test, level = row["different"], row["chance"]
    if not test:
        kind = "above chance" if row["jaccard_edges"] > level["high"] else "not above chance"
        value = Number(row["jaccard_edges"], row["low"], row["high"])
        return Finding(
            kind, f"Jaccard {row['a']}, {row['b']}", value, Null("chance", number(level))
        )
    kind = "different" if test["p"] < ALPHA else "not shown to differ"
    if test["smallest_p"] >= ALPHA or test["examples"] < MIN_EXAMPLES:
        kind = "no claim"
    return Finding(
        kind,
        f"distance {row['a']}, {row['b']}",
        Number(test["distance"]),
        Null("swapped", number(test["null"])),
    )


def perturbation_findings(rows: list[dict]) -> list[Finding]:
    """The extraction with the fewest salient tokens corrupted against the one with all of them."""
    if not rows:
        return []
    row = min(rows, key=lambda row: row["level"])
    floor = row["noise_floor"]
    kind = "lower" if row["jaccard_edges"] < floor["low"] else "no clear difference"
    if row["examples"] < MIN_EXAMPLES:
        kind = "no claim"
    subject = f"Jaccard, {100 * row['level']:g} % of salient tokens replaced, to all"
    value = Number(row["jaccard_edges"], row["low"], row["high"])
    return [Finding(kind, subject, value, Null("noise", number(floor)))]


def cautions(result: dict) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    agreement, said = result["agreement"], []
    if agreement and agreement["examples"] < MIN_EXAMPLES:
        said.append(f"{agreement['examples']} examples carry no claim")
    unstable = [row["name"] for row in result["circuits"] if row["stable"] is False]
    unknown = [row["name"] for row in result["circuits"] if row["stable"] is None]
    if unstable:
        said.append(f"not stable: {', '.join(unstable)}")
    if unknown:
        said.append(f"no scores per example, so no noise: {', '.join(unknown)}")
    if not agreement:
        said.append("not extracted again: no --model_path")
    return tuple(said)
