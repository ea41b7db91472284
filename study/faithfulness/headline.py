"""faithfulness.json in a few lines: how much of the model a circuit carries, beside its nulls."""

import math

from eap import MIN_EXAMPLES
from study.faithfulness.numbers import excludes_zero
from study.findings import Finding, Null, Number, column, direction, number, percent, text
from study.headline import Headline, Table
from study.stability.bootstrap import STABLE

NULLS = {
    "random": "random edges",
    "matched": "random, same layers",
    "complement": "all other edges",
}
RANDOM = ("random", "matched")


def headline(result: dict) -> Headline:
    """The `Headline` of a circuit's faithfulness."""
    return Headline(title(result), table(result), findings(result), cautions(result))


def primary(result: dict) -> tuple[str, dict]:
    """The first metric in which f is defined, and its numbers; the first one if it is in none."""
    metrics = result["metrics"]
    defined = [name for name in metrics if excludes_zero(metrics[name]["change"])]
    name = (defined or list(metrics))[0]
    return name, metrics[name]


def title(result: dict) -> str:
    """`C_after in finetuned: 650 edges (2 %), found on 96 examples, run on 32 others`."""
    own = file_row(primary(result)[1])
    seen = result["found_on"][result["circuit"]]["examples"]
    origin = f"found on {seen} examples, " if seen else ""
    return (
        f"{result['circuit']} in {result['model']}: {own['selected']:,} edges "
        f"({100 * own['fraction']:.2g} %), {origin}run on {result['examples']} "
        f"{'others' if seen else 'examples'}"
    )


def file_row(numbers: dict) -> dict:
    """The row of the circuit as its file has it."""
    return next(row for row in numbers["rows"] if row["kind"] == "file")


def nearest(rows: list[dict], fraction: float) -> dict:
    """Of some rows the one whose size is nearest to a share of the edges, by ratio."""
    return min(rows, key=lambda row: abs(math.log(row["fraction"] / fraction)))


# ---------------------------------------------------------------- the table


def table(result: dict) -> Table:
    """f of the circuit and of its nulls at the nearest size, and the sizes that reach two goals."""
    metrics = result["metrics"]
    columns = [metric_column(numbers) for numbers in metrics.values()]
    labels = [label for label in columns[0] if any(column[label] != "-" for column in columns)]
    rows = tuple((label, *(column[label] for column in columns)) for label in labels)
    return Table(("faithfulness f", *metrics), rows)


def metric_column(numbers: dict) -> dict[str, str]:
    """{label of a row: f in words, or a dash where it is undefined}."""
    own = file_row(numbers)
    has_sizes = any(row["kind"] == "circuit" for row in numbers["rows"])
    cells = {"this circuit": column([number(own, key="f")])[0]}
    for null, words in NULLS.items():
        rows = [row for row in numbers["nulls"] if row["null"] == null]
        if not rows:
            cells[words] = "-"
            continue
        row = nearest(rows, own["fraction"])
        size = f" ({size_words(row['fraction'])})" if has_sizes else ""
        cells[words + size] = null_range(row)
    for goal in numbers["sizes_reaching"]:
        cells[f"f of {goal['f']} needs, of all edges"] = size_needed(goal)
    return cells if excludes_zero(numbers["change"]) else dict.fromkeys(cells, "-")


def size_words(fraction: float) -> str:
    """`2 %`, `0.1 %`."""
    return f"{100 * fraction:.2g} %"


def null_range(row: dict) -> str:
    """`0.00`, or `0.00 to 0.02` over the draws."""
    low = f"{round(row['null_lowest'], 2) + 0.0:.2f}"
    high = f"{round(row['null_highest'], 2) + 0.0:.2f}"
    return low if low == high else f"{low} to {high}"


def size_needed(goal: dict) -> str:
    """`4.4 % [3.6, 5.6]`; `none of these sizes` where none reaches it."""
    if goal["fraction"] is None:
        return "none of these sizes"
    if goal["low"] is None or goal["high"] is None:
        return f"{100 * goal['fraction']:.2g} %, or none of these"
    return text(percent(goal, key="fraction"))


# ---------------------------------------------------------------- what is found


def findings(result: dict) -> tuple[Finding, ...]:
    """f beside random circuits, other sentences, another method, and circuits of another model."""
    metric, numbers = primary(result)
    made = [
        null_finding(metric, numbers),
        control_finding(metric, numbers),
        methods_finding(result, metric, numbers=numbers),
        *cross_findings(numbers),
    ]
    return tuple(finding for finding in made if finding is not None)


def null_finding(metric: str, numbers: dict) -> Finding | None:
    """f beside the strongest kind of random circuits at the size nearest to the circuit's.

    The claim is of the paired difference to their mean; it is above them only where it is above
    each of them.
    """
    rows = [row for row in numbers["nulls"] if row["null"] in RANDOM]
    if not rows or not excludes_zero(numbers["change"]):
        return None
    size = nearest(rows, file_row(numbers)["fraction"])["fraction"]
    of_size = [row for row in rows if row["fraction"] == size]
    row = max(of_size, key=lambda row: row["null_highest"])
    difference = number(row["difference"], signed=True)
    kind = direction(difference)
    if kind == "higher" and row["f"] <= row["null_highest"]:
        kind = "no clear difference"
    drawn = Number(row["null_f"], row["null_lowest"], row["null_highest"], places=2)
    return Finding(
        kind,
        f"f by {metric} at {size_words(size)} of the edges",
        f_at(numbers, row),
        Null(NULLS[row["null"]], drawn),
        draw_words(row["draws"]),
        difference=difference,
        n=row["difference"]["n"],
        question="How much of the model does the circuit carry?",
    )


def draw_words(draws: int) -> str:
    """What the number of random circuits is made of."""
    return "random: 1 draw" if draws == 1 else f"random: mean and range of {draws} draws"


def f_at(numbers: dict, null: dict) -> Number:
    """f of the circuit at the size of a null, with its interval."""
    for row in numbers["rows"]:
        if row["kind"] in ("circuit", "file") and row["fraction"] == null["fraction"]:
            return number(row, key="f")
    return Number(null["f"])


def control_finding(metric: str, numbers: dict) -> Finding | None:
    """What corrupting salient sentences does beside corrupting others (guard 16)."""
    control = numbers["control"]
    if control is None:
        return None
    difference = control["salient_minus_control"]
    return Finding(
        direction(number(difference)),
        f"change of {metric} by corrupting salient sentences",
        number(numbers["change"]),
        Null("other sentences", number(control["change"])),
        difference=number(difference, signed=True),
        n=difference["n"],
        question="Is it the salient sentences that count?",
    )


def methods_finding(result: dict, metric: str, *, numbers: dict) -> Finding | None:
    """f of this circuit beside that of another method, at the size nearest to the circuit's."""
    methods = result.get("methods")
    if methods is None or not methods["differences"].get(metric):
        return None
    row = nearest(methods["differences"][metric], file_row(numbers)["fraction"])
    agreement = nearest(methods["agreement"], row["fraction"])
    first, second = methods["circuits"]
    return paired_f(
        f"f of {first['method']} at {size_words(row['fraction'])}",
        row,
        other=second["method"],
        note=f"Jaccard {agreement['jaccard']:.2f}",
    )


def cross_findings(numbers: dict) -> list[Finding]:
    """Each circuit in a model it was not found in, beside the one found there (guard 11)."""
    made, size = [], file_row(numbers)["fraction"]
    for cell in numbers["cross"]:
        if not cell["minus_own"] or not excludes_zero(cell["change"]):
            continue
        row = nearest(cell["minus_own"], size)
        subject = f"f at {size_words(row['fraction'])}, {cell['circuit']} in {cell['model']}"
        made.append(paired_f(subject, row, other="circuit found there"))
    return made


def paired_f(subject: str, row: dict, *, other: str, note: str = "") -> Finding:
    """f of one circuit beside that of another in the same examples."""
    difference = number(row["difference"], signed=True)
    return Finding(
        direction(difference),
        subject,
        Number(row["f"], places=2),
        Null(other, Number(row["other_f"], places=2)),
        note,
        difference=difference,
        n=row["difference"]["n"],
    )


def cautions(result: dict) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    notes = []
    if result["examples"] < MIN_EXAMPLES:
        notes.append(f"{result['examples']} examples carry no claim")
    undefined = []
    for metric, numbers in result["metrics"].items():
        if not excludes_zero(numbers["change"]):
            undefined.append(f"{metric} in {result['model']}")
        undefined += [
            f"{metric} in {cell['model']}"
            for cell in numbers["cross"]
            if not excludes_zero(cell["change"])
        ]
    if undefined:
        where = ", ".join(dict.fromkeys(undefined))
        notes.append(f"f undefined by {where} (corruption has no clear effect)")
    unstable = [
        f"{name} ({about['noise_floor']['mean']:.2f})"
        for name, about in result["found_on"].items()
        if about["noise_floor"] and about["noise_floor"]["mean"] <= STABLE
    ]
    if unstable:
        notes.append(f"not stable by Jaccard of two resamples: {', '.join(unstable)}")
    return tuple(notes)
