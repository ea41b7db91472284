"""faithfulness.json in a few lines: how much of the model a circuit carries, beside its nulls."""

import math

from eap import MIN_EXAMPLES
from study.faithfulness.numbers import excludes_zero, supports_claim
from study.headline import Finding, Headline, Null, Number, Table, column, number, percent, text
from study.stability.bootstrap import STABLE

NULLS = {
    "random": "random edges",
    "matched": "random, same layers",
    "complement": "all other edges",
}


def headline(result: dict) -> Headline:
    """The `Headline` of a circuit's faithfulness."""
    metric, numbers = primary(result)
    made = [
        null_finding(metric, numbers),
        control_finding(metric, numbers),
        methods_finding(result, metric, numbers),
        *cross_findings(metric, numbers, result),
    ]
    findings = tuple(finding for finding in made if finding is not None)
    return Headline(title(result), table(result), findings, cautions(result))


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
    found = f"found on {seen} examples, " if seen else ""
    return (
        f"{result['circuit']} in {result['model']}: {own['selected']:,} edges "
        f"({100 * own['fraction']:.2g} %), {found}run on {result['examples']} "
        f"{'others' if seen else 'examples'}"
    )


def file_row(numbers: dict) -> dict:
    """The row of the circuit as its file has it."""
    return next(row for row in numbers["rows"] if row["kind"] == "file")


def nearest(rows: list[dict], fraction: float) -> dict | None:
    """The row whose size is nearest to a share of the edges, by ratio."""
    return min(rows, key=lambda row: abs(math.log(row["fraction"] / fraction)), default=None)


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
    own, cells = file_row(numbers), {}
    circuit = nearest([row for row in numbers["rows"] if row["kind"] == "circuit"], own["fraction"])
    cells["this circuit"] = number(own, key="f")
    for null, words in NULLS.items():
        rows = [row for row in numbers["nulls"] if row["null"] == null]
        row = nearest(rows, own["fraction"])
        size = f" ({size_words(row['fraction'])})" if row and circuit else ""
        cells[words + size] = null_range(row)
    for goal in numbers["sizes_reaching"]:
        cells[f"f of {goal['f']} needs, of all edges"] = size_needed(goal)
    if not excludes_zero(numbers["change"]):
        return dict.fromkeys(cells, "-")
    return {
        label: cell if isinstance(cell, str) else column([cell])[0] for label, cell in cells.items()
    }


def size_words(fraction: float) -> str:
    """`2 %`, `0.1 %`."""
    return f"{100 * fraction:.2g} %"


def null_range(row: dict | None) -> str:
    """`0.00`, or `0.00 to 0.02` over the draws."""
    if row is None:
        return "-"
    low, high = [f"{round(row[key], 2) + 0.0:.2f}" for key in ("null_lowest", "null_highest")]
    return low if low == high else f"{low} to {high}"


def size_needed(goal: dict) -> str:
    """`4.4 % [3.6, 5.6]`; `none of these sizes` where none reaches it."""
    if goal["fraction"] is None:
        return "none of these sizes"
    if goal["low"] is None or goal["high"] is None:
        return f"{100 * goal['fraction']:.2g} %, or none of these"
    return text(percent(goal, key="fraction"))


# ---------------------------------------------------------------- what is found


def word(difference: dict, proven: bool = True) -> str:
    """`higher` or `lower` where `supports_claim` allows it (guard 26)."""
    if difference["n"] < MIN_EXAMPLES:
        return "no claim"
    if not supports_claim(difference) or not proven:
        return "no clear difference"
    return "higher" if difference["mean"] > 0 else "lower"


def null_finding(metric: str, numbers: dict) -> Finding | None:
    """f against the strongest kind of random circuits at the size nearest to the circuit's."""
    rows = [row for row in numbers["nulls"] if row["null"] in ("random", "matched")]
    if not rows or not excludes_zero(numbers["change"]):
        return None
    size = nearest(rows, file_row(numbers)["fraction"])["fraction"]
    row = max((row for row in rows if row["fraction"] == size), key=lambda row: row["null_highest"])
    proven = row["difference"]["mean"] < 0 or row["f"] > row["null_highest"]
    highest = Number(row["null_highest"], places=2)
    null = Null(f"highest of {row['draws']} random", highest)
    subject = f"f by {metric} at {size_words(size)} minus mean random"
    kind = word(row["difference"], proven)
    return Finding(kind, subject, number(row["difference"], signed=True), null)


def control_finding(metric: str, numbers: dict) -> Finding | None:
    """What corrupting salient sentences does beyond corrupting others (guard 16)."""
    control = numbers["control"]
    if control is None:
        return None
    difference = control["salient_minus_control"]
    return Finding(
        word(difference),
        f"{metric} change, salient minus other sentences",
        number(difference, signed=True),
        Null("others", number(control["change"])),
    )


def methods_finding(result: dict, metric: str, numbers: dict) -> Finding | None:
    """f of this circuit against that of another method, at the size nearest to the circuit's."""
    methods = result.get("methods")
    rows = methods and methods["differences"].get(metric)
    if not rows:
        return None
    row = nearest(rows, file_row(numbers)["fraction"])
    agreement = nearest(methods["agreement"], row["fraction"])
    first, second = methods["circuits"]
    shared = f"Jaccard {agreement['jaccard']:.2f}"
    subject = f"f of {first['method']} minus {second['method']} at {size_words(row['fraction'])}"
    return Finding(
        word(row["difference"]),
        subject,
        number(row["difference"], signed=True),
        Null("0 if alike"),
        shared,
    )


def cross_findings(metric: str, numbers: dict, result: dict) -> list[Finding]:
    """Each circuit in a model it was not found in, against the one found there (guard 11)."""
    made, size = [], file_row(numbers)["fraction"]
    for cell in numbers["cross"]:
        if not cell["minus_own"] or not excludes_zero(cell["change"]):
            continue
        row = nearest(cell["minus_own"], size)
        size_of = size_words(row["fraction"])
        subject = f"f at {size_of}, {cell['circuit']} in {cell['model']}"
        difference = row["difference"]
        kind, value = word(difference), number(difference, signed=True)
        made.append(
            Finding(kind, subject, value, Null(f"circuit found there {row['other_f']:.2f}"))
        )
    return made


def cautions(result: dict) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    said = []
    if result["examples"] < MIN_EXAMPLES:
        said.append(f"{result['examples']} examples carry no claim")
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
        said.append(f"f undefined by {where} (corruption has no clear effect)")
    unstable = [
        f"{name} ({about['noise_floor']['mean']:.2f})"
        for name, about in result["found_on"].items()
        if about["noise_floor"] and about["noise_floor"]["mean"] <= STABLE
    ]
    if unstable:
        said.append(f"not stable by Jaccard of two resamples: {', '.join(unstable)}")
    return tuple(said)
