"""Circuit files in a few lines: how large a circuit is, how stable, how complete its scores are."""

from collections.abc import Mapping

from eap import MIN_EXAMPLES
from study.findings import ZERO, Finding, Null, Number, column, named, number
from study.headline import Headline, Table

GAP_LIMIT = 0.05  # of completeness; above it the points miss part of the path
SHOWN_SIZES = (0.001, 0.01, 0.02, 0.05, 0.1)  # of those whose stability is known


def headline(circuits: dict[str, dict]) -> Headline:
    """The `Headline` of one circuit or several, from {name: its file's metadata}."""
    if len(circuits) == 1:
        ((name, about),) = circuits.items()
        return Headline(title(name, about), sizes_table(about), findings(about), cautions(about))
    first = next(iter(circuits.values()))
    examples = sorted({len(about.get("example_ids") or ()) for about in circuits.values()})
    counts = " to ".join(map(str, dict.fromkeys((examples[0], examples[-1]))))
    words = f"{len(circuits)} circuits by {first['method']} on {first['metric']}, {counts} pairs"
    return Headline(words, circuits_table(circuits), (), shared_cautions(circuits))


def title(name: str, about: dict) -> str:
    """What the circuit is, and what it was made of."""
    sizes = about["sizes"]
    examples = len(about.get("example_ids") or ()) or "?"
    share = 100 * sizes["selected"] / sizes["edges"]
    return (
        f"{name}: {sizes['selected']:,} of {sizes['edges']:,} edges ({share:.2g} %), "
        f"{sizes['pruned']:,} after pruning; {about['method']} on {about['metric']}, "
        f"{examples} pairs"
    )


def sizes_table(about: dict) -> Table | None:
    """Overlap of two resamples of the examples at some sizes; None where it is not known."""
    if not about.get("stability"):
        return None
    rows = [row for row in about["stability"]["sizes"] if row["fraction"] in SHOWN_SIZES]
    overlaps, chances = column(map(number, rows)), [f"{row['chance']:.2g}" for row in rows]
    return Table(
        ("size", "edges", "Jaccard of two resamples", "chance", ""),
        tuple(
            (
                f"{100 * row['fraction']:g} %",
                f"{row['selected']:,}",
                overlap,
                chance,
                "stable" if row["stable"] else "",
            )
            for row, overlap, chance in zip(rows, overlaps, chances, strict=True)
        ),
    )


def circuits_table(circuits: dict[str, dict]) -> Table:
    """A row for each circuit."""
    floors = column(map(overlap_of, circuits.values()))
    rows = []
    for (name, about), floor in zip(circuits.items(), floors, strict=True):
        stable = (about.get("bootstrap") or {}).get("stable")
        gap = gap_of(about)
        rows.append(
            (
                name,
                f"{about['sizes']['selected']:,}",
                f"{about['sizes']['pruned']:,}",
                floor,
                {True: "stable", False: "not stable", None: "-"}[stable],
                "-" if gap is None else f"{100 * gap:.1f} %",
            )
        )
    head = ("circuit", "edges", "pruned", "Jaccard of resamples", "", "gap")
    return Table(head, tuple(rows))


def overlap_of(about: dict) -> Number | None:
    """The noise floor of a circuit: the Jaccard index of two resamples; None if it is not known."""
    bootstrap = about.get("bootstrap")
    return number(bootstrap["noise_floor"]) if bootstrap else None


def gap_of(about: Mapping) -> float | None:
    """The completeness gap; None where a method has none."""
    completeness = about.get("completeness")
    return completeness["gap"] if isinstance(completeness, dict) else None


def chance_of(sizes: dict) -> Number:
    """The Jaccard index that two random circuits of this size have on average, nearly."""
    share = sizes["pruned"] / sizes["edges"]
    return Number(share / (2 - share))


def findings(about: dict) -> tuple[Finding, ...]:
    """How stable the circuit is, and how far it is from exact patching where that was tried."""
    made, bootstrap = [], about.get("bootstrap")
    if bootstrap:
        n, chance = bootstrap["examples"], chance_of(about["sizes"])
        floor, half = number(bootstrap["noise_floor"]), number(bootstrap["split_half"])
        kind = "stable" if bootstrap["stable"] else "not stable"
        bar = Null(f"over {bootstrap['stable_above']:g} is; chance", chance)
        sure = Number(bootstrap["sure_edges"], unit=f"of {about['sizes']['pruned']:,}")
        made = [
            Finding(kind, f"Jaccard of two resamples of {n} examples", floor, bar, n=n),
            Finding(
                "measured", f"Jaccard of disjoint halves of {n // 2}", half, Null("chance", chance)
            ),
            Finding("measured", "edges in at least 95 % of resamples", sure),
        ]
    made += exact_findings(about.get("exact"))
    made += needed_findings(about.get("stability"))
    return tuple(made)


def exact_findings(exact: dict | None) -> list[Finding]:
    """How the scores of the strongest edges correlate with patching them exactly."""
    if exact is None:
        return []
    subject = (
        f"Pearson with exact patching, {len(exact['edges'])} strongest edges, "
        f"{exact['examples']} pairs"
    )
    return [Finding("measured", subject, Number(exact["pearson"]), Null("no relation", ZERO))]


def needed_findings(stability: dict | None) -> list[Finding]:
    """How many examples disjoint samples would need to agree, where the curve says so."""
    if stability is None or stability["disjoint"] is None:
        return []
    curve = stability["disjoint"]
    if not curve["needed"] or curve["needed"]["low"] is None:
        return []
    needed = curve["needed"]
    subject = f"examples for a Jaccard of {stability['goal']:g} between disjoint samples"
    if needed["high"] is None:
        at_least = f"at least {needed['low']}; where it ends is too far ahead"
        return [Finding("measured", subject, Number(needed["examples"]), None, at_least)]
    return [Finding("measured", subject, number(needed, key="examples"))]


def cautions(about: dict) -> tuple[str, ...]:
    """What a reader of the circuit must know now."""
    notes, gap, bootstrap = [], gap_of(about), about.get("bootstrap")
    if gap is not None and gap > GAP_LIMIT:
        notes.append(f"completeness gap {100 * gap:.2g} % (limit {100 * GAP_LIMIT:g} %)")
    if bootstrap is None:
        notes.append("nothing is known of its stability: it takes two examples and --resamples")
    elif bootstrap["examples"] < MIN_EXAMPLES:
        notes.append(f"{bootstrap['examples']} examples carry no claim")
    elif not bootstrap["stable"]:
        floor = bootstrap["noise_floor"]["mean"]
        notes.append(f"not stable (Jaccard of two resamples {floor:.2f})")
    until = about.get("until_stable")
    if until and not until["reached"]:
        notes.append(f"the {until['pairs']} pairs ended before it was stable")
    return tuple(notes)


def shared_cautions(circuits: Mapping[str, Mapping]) -> tuple[str, ...]:
    """What holds of some of several circuits, with their names."""
    warned = {
        f"completeness gap over {100 * GAP_LIMIT:g} %": lambda about: (
            (gap_of(about) or 0) > GAP_LIMIT
        ),
        "stability not known": lambda about: about.get("bootstrap") is None,
        "not stable": lambda about: (about.get("bootstrap") or {}).get("stable") is False,
    }
    notes = []
    for words, holds in warned.items():
        names = [name for name, about in circuits.items() if holds(about)]
        if names:
            notes.append(f"{words}: {named(names, len(circuits))}")
    return tuple(notes)
