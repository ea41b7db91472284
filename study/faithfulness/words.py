"""faithfulness.json in words: each claim beside its null and its interval.

Plain data in, lines out.
"""

from eap import MIN_EXAMPLES
from study.faithfulness.numbers import excludes_zero, supports_claim
from study.findings import fixed

LIKE = {"random": "", "matched": " with as many edges per pair of layers"}


def sentences(result: dict) -> list[str]:
    """What `lines` says, without its tables."""
    return [line.strip() for line in lines(result, tables=False) if line]


def lines(result: dict, tables: bool = True) -> list[str]:
    """Everything that evaluate_faithfulness.py prints, in the order of docs/methods.md."""
    same = result["identities"]
    written = [
        "identities (largest difference of nll over examples): all edges kept and clean run "
        f"{same['all_edges']:.1e}; no edge kept and corrupted run {same['no_edge']:.1e}"
    ]
    for metric, numbers in result["metrics"].items():
        written += ["", *_head(metric, numbers, examples=result["examples"])]
        if tables:
            written += _curve(metric, numbers)
        if excludes_zero(numbers["change"]):
            written += [*_areas(numbers), *_nulls(numbers)]
        written += control_lines(metric, numbers, tokens=result["tokens_changed"])
        written += _cross(numbers, result)
    written += [*_given(result), *_compared(result["compared"])]
    return written + [f"left out: {note}" for note in result["left_out"]]


def _head(metric: str, numbers: dict, *, examples: int) -> list[str]:
    """The metric of the two ends, and why nothing may be said where that is so."""
    written = [
        f"{metric} per summary token: full {numbers['full']:.4f}, empty {numbers['empty']:.4f}, "
        f"n = {examples}"
    ]
    if examples < MIN_EXAMPLES:
        written.append(
            f"note: with fewer than {MIN_EXAMPLES} examples intervals are too narrow to carry a "
            "claim, and none is made"
        )
    if not excludes_zero(numbers["change"]):
        written.append(
            f"note: corrupting the input changes {metric} by {fixed(numbers['change'], 4)}, "
            "which includes zero: f divides by it and means nothing here"
        )
    return written


# ---------------------------------------------------------------- sizes


def _curve(metric: str, numbers: dict) -> list[str]:
    """The table of sizes: f with its interval, and the nulls beside it."""
    head = (
        f"{'edges':>8} {'kept':>7} {'pruned':>7} {'f':>7} {'95 % interval':>17} {metric:>9}   "
        f"{'random':>16} {'matched':>16} {'complement':>11}"
    )
    nulls = {(row["null"], row["fraction"]): row for row in numbers["nulls"]}
    rows = [row for row in numbers["rows"] if row["kind"] in ("circuit", "file")]
    return [head, *[_curve_row(row, nulls) for row in rows]]


def _curve_row(row: dict, nulls: dict) -> str:
    """A line of the table; the file's own circuit has no nulls."""
    beside = {"random": "", "matched": "", "complement": "file" if row["kind"] == "file" else ""}
    if row["kind"] == "circuit":
        for kind in beside:
            null = nulls.get((kind, row["fraction"]))
            if null and kind == "complement":
                beside[kind] = f"{null['null_f']:.3f}"
            elif null:
                beside[kind] = f"{null['null_lowest']:.3f} to {null['null_highest']:.3f}"
    return (
        f"{row['fraction']:>8.1%} {row['selected']:>7} {row['pruned']:>7} {row['f']:>7.3f} "
        f"[{row['low']:>6.3f}, {row['high']:>6.3f}] {row['metric']:>9.4f}   "
        f"{beside['random']:>16} {beside['matched']:>16} {beside['complement']:>11}"
    )


def _areas(numbers: dict) -> list[str]:
    """The areas under f and beside 1, and the sizes that reach the goals."""
    written, areas = [], numbers["areas"]
    if areas:
        written.append(
            f"CPR {_over(areas)} {fixed(areas['CPR'])}, CMD {fixed(areas['CMD'])}; over the "
            f"logarithm of these sizes: CPR {fixed(areas['CPR_log'])}, "
            f"CMD {fixed(areas['CMD_log'])}"
        )
    for row in numbers["sizes_reaching"]:
        written.append(
            f"smallest size with f of {row['f']}: {_share(row['fraction'])} of all edges "
            f"[{_share(row['low'])}, {_share(row['high'])}]"
        )
    return written


def _over(areas: dict) -> str:
    """`over 1 to 20 % of the edges (3 sizes)`: what CPR and CMD are areas over; those of other
    sizes cannot be compared with them.
    """
    return (
        f"over {100 * areas['from']:g} to {100 * areas['to']:g} % of the edges "
        f"({areas['sizes']} sizes)"
    )


def _share(value: float | None) -> str:
    return "none of these" if value is None else f"{value:.2%}"


# ---------------------------------------------------------------- differences


def by_words(rows: list[dict], positive: str, *, negative: str, proven=lambda row: True) -> str:
    """`above at 5.0% (0.176 [0.135, 0.214]); not told apart at 3 other sizes`: a word only where
    `supports_claim` allows it.
    """
    claimed = [row for row in rows if supports_claim(row["difference"]) and proven(row)]
    parts = []
    for words, sign in ((positive, 1), (negative, -1)):
        of_side = [row for row in claimed if sign * row["difference"]["mean"] > 0]
        if of_side:
            places = [f"{row['fraction']:.1%} ({fixed(row['difference'])})" for row in of_side]
            parts.append(f"{words} at {', '.join(places)}")
    rest = len(rows) - len(claimed)
    if rest:
        other = "other " if parts else ""
        parts.append(f"not told apart at {rest} {other}size{'s' * (rest > 1)}")
    return "; ".join(parts)


def _nulls(numbers: dict) -> list[str]:
    """f beside the mean of random circuits; above them only where it is above each of them."""
    written = []
    for kind, like in LIKE.items():
        rows = [row for row in numbers["nulls"] if row["null"] == kind]
        if not rows:
            continue
        draws = rows[0]["draws"]
        words = by_words(rows, "above all", negative="below", proven=_above_every_draw)
        circuits = f"random circuit{'s' * (draws > 1)}{like}"
        written.append(f"f minus the mean f of {draws} {circuits}: {words}")
    return written


def _above_every_draw(row: dict) -> bool:
    return row["difference"]["mean"] < 0 or row["f"] > row["null_highest"]


def control_lines(metric: str, numbers: dict, *, tokens: dict) -> list[str]:
    """What the causal control says: a word only if `supports_claim` allows it (guards 16, 26)."""
    control = numbers["control"]
    if control is None:
        return [
            "causal control: none, the pairs have no control_ids that differ from the clean input"
        ]
    difference = control["salient_minus_control"]
    if supports_claim(difference):
        words = f"change it {'more' if difference['mean'] > 0 else 'less'} than that"
    elif difference["n"] < MIN_EXAMPLES:
        words = "are not compared with that, for want of examples"
    else:
        words = "change it not more and not less, by this interval, than that"
    line = (
        f"causal control, n = {control['examples']}: corrupting {tokens['control']:.0f} tokens of "
        f"other sentences changes {metric} by {fixed(control['change'], 4)}; "
        f"{tokens['salient']:.0f} tokens of salient ones {words} (difference "
        f"{fixed(difference, 4)})"
    )
    if not excludes_zero(control["change"]):
        why = f"the control's own change of {metric} includes zero"
        return [line, f"  {why}: f under the control means nothing"]
    beside = by_words(control["differences"], "higher", negative="lower")
    return [line, f"  f under the control minus f on salient pairs: {beside}"]


def _cross(numbers: dict, result: dict) -> list[str]:
    """Each circuit in each model, beside the circuit that was found there."""
    written, own = [], numbers["areas_at_cross_sizes"]
    if numbers["cross"] and own and excludes_zero(numbers["change"]):
        written.append(
            f"{result['circuit']} in {result['model']} (found there), at the sizes of "
            f"cross-faithfulness: CPR {_over(own)} {fixed(own['CPR'])}"
        )
    for cell in numbers["cross"]:
        name = f"{cell['circuit']} in {cell['model']}"
        if not excludes_zero(cell["change"]):
            why = "corruption's effect there includes zero, so f means nothing"
            written.append(f"{name}: {why}")
            continue
        native = " (found there)" if cell["found_there"] else ""
        reach = ", ".join(
            f"f of {row['f']} at {_share(row['fraction'])}" for row in cell["sizes_reaching"]
        )
        area = (
            f"; CPR {_over(cell['areas'])} {fixed(cell['areas']['CPR'])}" if cell["areas"] else ""
        )
        written.append(f"{name}{native}: {reach}{area}")
        if cell["minus_own"]:
            beside = by_words(cell["minus_own"], "higher", negative="lower")
            written.append(f"  f minus that of the circuit found there: {beside}")
    return written


# ---------------------------------------------------------------- the circuits


def _given(result: dict) -> list[str]:
    """What the intervals of f leave out: that other examples would have given another circuit."""
    written = []
    for name, origin in result["found_on"].items():
        if not origin["examples"]:
            continue
        alike, floor = "", origin["noise_floor"]
        if floor:
            alike = f"; two resamples of them choose edges with a Jaccard index of {fixed(floor)}"
        written.append(
            f"{name} was found on {origin['examples']} examples{alike}: intervals here are over "
            f"the {result['examples']} it is run on, for this choice of edges; a circuit found on "
            "other or fewer examples may lie outside them"
        )
    return written


def _compared(compared: dict | None) -> list[str]:
    """How far the two circuits overlap, beside chance and noise."""
    if compared is None:
        return []
    known = {name: floor for name, floor in compared["noise_floors"].items() if floor}
    floors = ", ".join(f"{name} {floor['mean']:.3f}" for name, floor in known.items())
    return [
        "",
        f"{' and '.join(compared['circuits'])}: Jaccard of edges "
        f"{compared['jaccard_edges']:.3f} (chance {compared['chance']:.3f}; noise floor: "
        f"{floors or 'unknown'}), Spearman of |score| {compared['spearman']:.3f}",
    ]
