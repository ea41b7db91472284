"""faithfulness.json in words: each claim beside its null and its interval.

Plain data in, lines out.
"""

from eap import MIN_EXAMPLES
from study.faithfulness.numbers import excludes_zero, supports_claim


def sentences(result: dict) -> list[str]:
    """What `lines` says, without its tables."""
    return [line.strip() for line in lines(result, tables=False) if line]


def lines(result: dict, tables: bool = True) -> list[str]:
    """Everything that evaluate_faithfulness.py prints, in the order of docs/methods.md."""
    same = result["identities"]
    said = [
        "identities (largest difference of nll over examples): all edges kept and clean run "
        f"{same['all_edges']:.1e}; no edge kept and corrupted run {same['no_edge']:.1e}"
    ]
    for metric, numbers in result["metrics"].items():
        said += ["", *_head(metric, numbers, result), *(_curve(metric, numbers) if tables else ())]
        if excludes_zero(numbers["change"]):
            said += [*_areas(numbers), *_nulls(numbers)]
        said += [
            *control_lines(metric, numbers, result["tokens_changed"]),
            *_cross(numbers, result),
        ]
    said += [*_given(result), *_compared(result["compared"])]
    return said + [f"left out: {note}" for note in result["left_out"]]


def span(found: dict, form: str = ".3f") -> str:
    """`0.512 [0.480, 0.541]`."""
    return f"{found['mean']:{form}} [{found['low']:{form}}, {found['high']:{form}}]"


def _head(metric, numbers, result) -> list[str]:
    said = [
        f"{metric} per summary token: full {numbers['full']:.4f}, empty {numbers['empty']:.4f}, n "
        f"= {result['examples']}"
    ]
    if result["examples"] < MIN_EXAMPLES:
        said.append(
            f"note: with fewer than {MIN_EXAMPLES} examples intervals are too narrow to carry a "
            "claim, and none is made"
        )
    if not excludes_zero(numbers["change"]):
        said.append(
            f"note: corrupting the input changes {metric} by {span(numbers['change'], '.4f')}, "
            "which includes zero: f divides by it and means nothing here"
        )
    return said


def _curve(metric, numbers) -> list[str]:
    nulls = {(row["null"], row["fraction"]): row for row in numbers["nulls"]}
    said = [
        f"{'edges':>8} {'kept':>7} {'pruned':>7} {'f':>7} {'95 % interval':>17} {metric:>9}   "
        f"{'random':>16} {'matched':>16} {'complement':>11}"
    ]
    for row in numbers["rows"]:
        if row["kind"] not in ("circuit", "file"):
            continue
        cells = []
        for kind in ("random", "matched"):
            null = nulls.get((kind, row["fraction"])) if row["kind"] == "circuit" else None
            cells.append(f"{null['null_lowest']:.3f} to {null['null_highest']:.3f}" if null else "")
        complement = (
            nulls.get(("complement", row["fraction"])) if row["kind"] == "circuit" else None
        )
        shown = (
            f"{complement['null_f']:.3f}" if complement else "file" if row["kind"] == "file" else ""
        )
        said.append(
            f"{row['fraction']:>8.1%} {row['selected']:>7} {row['pruned']:>7} {row['f']:>7.3f} "
            f"[{row['low']:>6.3f}, {row['high']:>6.3f}] {row['metric']:>9.4f}   {cells[0]:>16} "
            f"{cells[1]:>16} {shown:>11}"
        )
    return said


def _areas(numbers) -> list[str]:
    said = []
    if numbers["areas"]:
        found = numbers["areas"]
        said.append(
            f"CPR {_over(found)} {span(found['CPR'])}, CMD {span(found['CMD'])}; over the "
            f"logarithm of these sizes: CPR {span(found['CPR_log'])}, CMD {span(found['CMD_log'])}"
        )
    for row in numbers["sizes_reaching"]:
        span_of_sizes = f"[{_share(row['low'])}, {_share(row['high'])}]"
        said.append(
            f"smallest size with f of {row['f']}: {_share(row['fraction'])} of all edges "
            f"{span_of_sizes}"
        )
    return said


def _over(areas) -> str:
    """`over 1 to 20 % of the edges (3 sizes)`: what CPR and CMD are areas over; those of other
    sizes cannot be compared with them.
    """
    return (
        f"over {100 * areas['from']:g} to {100 * areas['to']:g} % of the edges ({areas['sizes']} "
        "sizes)"
    )


def _share(value) -> str:
    return "none of these" if value is None else f"{value:.2%}"


def by_words(rows, positive: str, negative: str, proven=lambda row: True) -> str:
    """`above at 5.0% (0.176 [0.135, 0.214]); not told apart at 3 other sizes`: a word only where
    `supports_claim` allows it.
    """
    said = []
    for words, sign in ((positive, 1), (negative, -1)):
        found = [
            row
            for row in rows
            if supports_claim(row["difference"])
            and sign * row["difference"]["mean"] > 0
            and proven(row)
        ]
        if found:
            said.append(
                f"{words} at "
                + ", ".join(f"{row['fraction']:.1%} ({span(row['difference'])})" for row in found)
            )
    rest = len(rows) - sum(supports_claim(row["difference"]) and proven(row) for row in rows)
    return "; ".join(
        [*said, f"not told apart at {rest} {'other ' if said else ''}size{'s' * (rest > 1)}"]
        if rest
        else said
    )


def _nulls(numbers) -> list[str]:
    said = []
    for kind, like in (("random", ""), ("matched", " with as many edges per pair of layers")):
        rows = [row for row in numbers["nulls"] if row["null"] == kind]
        if rows:
            name = f"random circuit{'s' * (rows[0]['draws'] > 1)}{like}"
            words = by_words(
                rows,
                "above all",
                "below",
                lambda row: row["difference"]["mean"] < 0 or row["f"] > row["null_highest"],
            )
            said.append(f"f minus the mean f of {rows[0]['draws']} {name}: {words}")
    return said


def control_lines(metric, numbers, tokens) -> list[str]:
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
    said = [
        f"causal control, n = {control['examples']}: corrupting {tokens['control']:.0f} tokens of "
        f"other sentences changes {metric} by {span(control['change'], '.4f')}; "
        f"{tokens['salient']:.0f} tokens of salient ones {words} (difference "
        f"{span(difference, '.4f')})"
    ]
    if not excludes_zero(control["change"]):
        return [
            *said,
            f"  the control's own change of {metric} includes zero: f under the control means "
            "nothing",
        ]
    return [
        *said,
        "  f under the control minus f on salient pairs: "
        f"{by_words(control['differences'], 'higher', 'lower')}",
    ]


def _cross(numbers, result) -> list[str]:
    said, own = [], numbers["areas_at_cross_sizes"]
    if numbers["cross"] and own and excludes_zero(numbers["change"]):
        said.append(
            f"{result['circuit']} in {result['model']} (found there), at the sizes of "
            f"cross-faithfulness: CPR {_over(own)} {span(own['CPR'])}"
        )
    for cell in numbers["cross"]:
        if not excludes_zero(cell["change"]):
            said.append(
                f"{cell['circuit']} in {cell['model']}: corruption's effect there includes zero, "
                "so f means nothing"
            )
            continue
        reach = ", ".join(
            f"f of {row['f']} at {_share(row['fraction'])}" for row in cell["sizes_reaching"]
        )
        area = f"; CPR {_over(cell['areas'])} {span(cell['areas']['CPR'])}" if cell["areas"] else ""
        said.append(
            f"{cell['circuit']} in "
            f"{cell['model']}{' (found there)' if cell['found_there'] else ''}: {reach}{area}"
        )
        if cell["minus_own"]:
            said.append(
                "  f minus that of the circuit found there: "
                f"{by_words(cell['minus_own'], 'higher', 'lower')}"
            )
    return said


def _given(result) -> list[str]:
    """What the intervals of f leave out: that other examples would have given another circuit."""
    said = []
    for name, found in result["found_on"].items():
        if found["examples"]:
            floor = found["noise_floor"]
            alike = (
                f"; two resamples of them choose edges with a Jaccard index of {span(floor)}"
                if floor
                else ""
            )
            said.append(
                f"{name} was found on {found['examples']} examples{alike}: intervals here are "
                f"over the {result['examples']} it is run on, for this choice of edges; a circuit "
                "found on other or fewer examples may lie outside them"
            )
    return said


def _compared(found) -> list[str]:
    if found is None:
        return []
    floors = (
        ", ".join(
            f"{name} {floor['mean']:.3f}" for name, floor in found["noise_floors"].items() if floor
        )
        or "unknown"
    )
    return [
        "",
        f"{' and '.join(found['circuits'])}: Jaccard of edges {found['jaccard_edges']:.3f} "
        f"(chance {found['chance']:.3f}; noise floor: {floors}), Spearman of |score| "
        f"{found['spearman']:.3f}",
    ]
