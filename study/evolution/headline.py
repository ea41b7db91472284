"""evolution.json in a few lines: how far the circuit moved at each checkpoint, beside noise."""

from eap import MIN_EXAMPLES
from study.evolution.faithfulness import FINAL, OWN, meaningful
from study.evolution.numbers import KINDS
from study.faithfulness.numbers import excludes_zero
from study.findings import (
    Finding,
    Null,
    Number,
    column,
    number,
    p_words,
    percent,
    span,
    tested,
)
from study.headline import Headline, Table

BEYOND, DIFFER = "*", "+"


def headline(result: dict) -> Headline:
    """The `Headline` of how the circuits of a run moved."""
    return Headline(title(result), table(result), findings(result), cautions(result))


def title(result: dict) -> str:
    """How many checkpoints, of how many edges, on how many examples."""
    sizes = rate_of(result)["sizes"]
    edges = f"{sizes[0]:,}" if len(set(sizes)) == 1 else f"{min(sizes):,} to {max(sizes):,}"
    examples = f"{result['examples']} examples" if result["examples"] else "scores without examples"
    noise = "" if no_noise(result) else "; noise: two extractions on resampled examples"
    return f"{len(result['checkpoints'])} checkpoints, {edges} edges each, {examples}{noise}"


def rate_of(result: dict) -> dict:
    """The change rates of circuits of one size where there are scores, else of the circuits."""
    return result["rates"].get("edges_equal_size") or result["rates"]["edges"]


def no_noise(result: dict) -> bool:
    """Whether nothing is known of what resampling the examples alone changes."""
    return rate_of(result)["floor"] is None


def few(result: dict) -> bool:
    """Whether there are too few examples for a claim (guard 26)."""
    return result["examples"] is not None and result["examples"] < MIN_EXAMPLES


def at(checkpoint: dict) -> str:
    """A checkpoint's step, or its name where that tells none."""
    return checkpoint["name"] if checkpoint["step"] is None else f"{checkpoint['step']:,}"


# ---------------------------------------------------------------- the table


def table(result: dict) -> Table:
    """A row for each checkpoint: changed edges beside noise, changed nodes, f of two circuits."""
    rate, marks = rate_of(result), []
    columns = {
        "step": [at(checkpoint) for checkpoint in result["checkpoints"]],
        "edges changed": ["-", *changed_cells(result, rate)],
        "noise alone": ["-", *noise_cells(rate)],
        "nodes": [
            "-",
            *[f"{share:.0%}".replace("%", " %") for share in result["rates"]["nodes"]["of_first"]],
        ],
    }
    if any(cell.endswith(BEYOND) for cell in columns["edges changed"]):
        marks.append(f"{BEYOND} beyond noise")
    faithfulness = result.get("faithfulness")
    if faithfulness:
        metric = next(iter(faithfulness["metrics"]))
        rows = faithfulness["metrics"][metric]
        columns[f"f own ({metric})"] = f_cells(rows, OWN)
        columns["f final circuit"] = [
            cell + mark
            for cell, mark in zip(f_cells(rows, FINAL), differ(faithfulness, rows), strict=True)
        ]
        if any(cell.endswith(DIFFER) for cell in columns["f final circuit"]):
            marks.append(f"{DIFFER} own and final differ (paired)")
    note = "; ".join(["% of the first circuit's edges a step", *marks])
    return Table(tuple(columns), tuple(zip(*columns.values(), strict=True)), note)


def changed_cells(result: dict, rate: dict) -> list[str]:
    """`68 % *`: the share of edges that changed at each step, marked where it is beyond noise."""
    beyond = rate["beyond_noise"] or [False] * len(rate["of_first"])
    cells = []
    for share, is_beyond in zip(rate["of_first"], beyond, strict=True):
        mark = f" {BEYOND}" if is_beyond and not few(result) else "  "
        cells.append(f"{100 * share:.0f} %{mark}")
    return cells


def noise_cells(rate: dict) -> list[str]:
    """`27-44 %` at each step; a dash where it is not known."""
    floors = rate["floor"] or [None] * len(rate["of_first"])
    return ["-" if floor is None else span(percent(floor)) for floor in floors]


def f_cells(rows: list[dict], which: str) -> list[str]:
    """f with its interval at each checkpoint; a dash where it is undefined."""
    return column(number(row[which]) if defined(row, which) else None for row in rows)


def defined(row: dict, which: str) -> bool:
    """Whether f means something at a checkpoint: the effect it divides by is not zero."""
    return meaningful(row) and row[which] is not None


def differ(faithfulness: dict, rows: list[dict]) -> list[str]:
    """A mark for each checkpoint at which f of its own circuit and of the last one differ."""
    enough = faithfulness["examples"] >= MIN_EXAMPLES
    marks = []
    for row in rows:
        shown = enough and defined(row, "own_minus_final")
        marks.append(" " + DIFFER if shown and excludes_zero(row["own_minus_final"]) else "  ")
    return marks


# ---------------------------------------------------------------- what is found


def findings(result: dict) -> tuple[Finding, ...]:
    """How far the circuit moved: a step, from first to last, near the last, edge by edge."""
    made = [
        rate_finding(result),
        similarity_finding(result),
        arrival_finding(result),
        moved_finding(result),
    ]
    return tuple(finding for finding in made if finding is not None)


def rate_finding(result: dict) -> Finding:
    """dS of edges beside what resampling the examples alone gives."""
    rate = rate_of(result)
    value, subject = Number(100 * rate["dS"], unit="%"), "edges changed a step"
    floor, beyond = rate["dS_floor"], rate["beyond_noise"]
    if floor is None:
        return Finding("no claim", subject, value, Null("noise unknown"))
    return Finding(
        "beyond noise" if rate["dS"] > floor["high"] else "within noise",
        subject,
        value,
        Null("noise alone", percent(floor)),
        "" if few(result) else f"{sum(beyond)} of {len(beyond)} steps beyond",
        n=result["examples"],
        question="Does the circuit move, beyond noise?",
    )


def similarity_finding(result: dict) -> Finding:
    """The overlap of the first and the last circuit beside chance, and beside noise where known."""
    similarity = result["similarity"]
    value = Number(similarity["edges_jaccard"][0][-1])
    chance = similarity["edges_chance"][0][-1]
    subject = "Jaccard of first and last"
    if not similarity["edges_noise"]:
        return Finding("no claim", subject, value, Null("chance", Number(chance)))
    floor = similarity["edges_noise"][-1]
    kind = "lower" if value.value < floor["low"] else "no clear difference"
    null = Null(f"chance {chance:.2g}, last extracted twice", number(floor))
    return Finding(kind, subject, value, null, n=result["examples"])


def arrival_finding(result: dict) -> Finding | None:
    """Whether the first checkpoint within noise of the last one differs from it on the same
    examples.
    """
    test = result["arrival_test"]
    if test is None or few(result):
        return None
    arrived = result["checkpoints"][result["similarity"]["arrival"]]
    return Finding(
        tested(test),
        f"distance of step {at(arrived)}, near the last",
        Number(test["distance"]),
        Null(f"labels swapped, {p_words(test['p'])}:", number(test["null"])),
    )


def moved_finding(result: dict) -> Finding | None:
    """How many edges' scores changed from the first to the last checkpoint; which layers moved."""
    moved = result["moved"]
    if moved is None or few(result):
        return None
    counts = moved["counts"]
    total = sum(count["in_a_circuit"] for count in counts.values())
    changed = total - counts[KINDS[0]]["in_a_circuit"]
    rate = f"{100 * moved['false_discovery_rate']:g} %"
    null = Null(f"at most {rate} by chance")
    return Finding(
        "measured",
        "edges with a changed score",
        Number(changed, unit=f"of {total:,}"),
        null,
        layers_words(result["layers_noise"]),
    )


def layers_words(noise: dict | None) -> str:
    """`layers beyond noise: 9, 10, 11`."""
    if noise is None:
        return ""
    return f"layers beyond noise: {', '.join(map(str, noise['beyond'])) or 'none'}"


def cautions(result: dict) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    notes = []
    if result["settings_that_differ"]:
        notes.append(f"the circuits differ in {', '.join(result['settings_that_differ'])}")
    if few(result):
        notes.append(f"{result['examples']} examples carry no claim")
    if no_noise(result):
        notes.append("noise unknown: it needs scores of several examples, and --resamples")
    faithfulness = result.get("faithfulness")
    if not faithfulness:
        return (*notes, "no faithfulness: give --training and --pairs")
    for metric, rows in faithfulness["metrics"].items():
        steps = [at(row) for row in rows if not meaningful(row)]
        if steps:
            notes.append(
                f"f by {metric} undefined at step {', '.join(steps)} (corruption has no clear "
                "effect)"
            )
    return tuple(notes)
