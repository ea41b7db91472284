"""evolution.json in words: each claim beside its noise floor or chance level.

Plain data in, lines out.
"""

from eap import MIN_EXAMPLES
from study.evolution.numbers import KINDS
from study.findings import ALPHA, fixed

PRINTED = 12  # edges in the printed table of those that moved; the file has all
KINDS_OF_SET = {
    "edges": "edges",
    "nodes": "nodes",
    "edges_equal_size": "edges, equal-size circuits before pruning",
}


def lines(result: dict) -> list[str]:
    """The tables and the sentences that the script prints."""
    return [*_change_tables(result), *_moved_table(result), "", *result["sentences"]]


def sentences(result: dict) -> list[str]:
    """What the numbers say, each claim beside its noise floor or chance level."""
    lines = []
    if result["settings_that_differ"]:
        differing = ", ".join(result["settings_that_differ"])
        lines.append(
            f"Note: the circuits differ in {differing}: part of any change comes from that."
        )
    if _few(result):
        lines.append(
            f"Note: with {result['examples']} examples (fewer than {MIN_EXAMPLES}) nothing is said "
            "to be more than noise."
        )
    lines += _rate_lines(result)
    lines += _similarity_lines(result)
    lines += _moved_lines(result)
    lines += _layer_lines(result)
    return lines


def _few(result: dict) -> bool:
    """Whether the scores are over too few examples for anything to be said of noise floors (guard
    26).
    """
    return result["examples"] is not None and result["examples"] < MIN_EXAMPLES


# ---------------------------------------------------------------- tables

COLUMNS = (  # of the table of changes: head and width
    ("size", 7),
    ("+", 6),
    ("-", 6),
    ("changed/S_0", 13),
    ("noise alone", 18),
    ("", 8),
    ("/S_t-1", 9),
    ("1-Jaccard", 11),
    ("from first", 12),
    ("noise alone", 18),
)


def _change_tables(result: dict) -> list[str]:
    """A table for each of nodes, edges and equal-size circuits: sizes, changes in shares of S_0,
    and what noise alone gives.
    """
    names, rows = [checkpoint["name"] for checkpoint in result["checkpoints"]], []
    heads = _row([head for head, _ in COLUMNS])
    for kind, rate in result["rates"].items():
        label = f"{kind.replace('_', ' ')}, dS = {rate['dS']:.1%}"
        width = max(map(len, (label, *names))) + 1
        rows.append(f"{label:<{width}}{heads}")
        for t, name in enumerate(names):
            rows.append(f"{name:<{width}}{_row(_change_cells(rate, t, few=_few(result)))}")
        rows.append("")
    return rows[:-1]


def _row(cells: list[str]) -> str:
    padded = [f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)]
    return "".join(padded)


def _change_cells(rate: dict, t: int, *, few: bool) -> list[str]:
    """What the table says of the checkpoint `t`; of the first one its size alone."""
    if t == 0:
        return [str(rate["sizes"][0]), *[""] * (len(COLUMNS) - 1)]
    floor = from_first = None
    verdict = ""
    if rate["floor"]:
        floor, from_first = rate["floor"][t - 1], rate["from_first_floor"][t - 1]
        if not few:
            verdict = "beyond" if rate["beyond_noise"][t - 1] else "within"
    return [
        str(rate["sizes"][t]),
        str(rate["added"][t - 1]),
        str(rate["removed"][t - 1]),
        f"{rate['of_first'][t - 1]:.1%}",
        _range(floor),
        verdict,
        f"{rate['of_previous'][t - 1]:.1%}",
        f"{rate['one_minus_jaccard'][t - 1]:.3f}",
        f"{rate['from_first'][t]:.1%}",
        _range(from_first),
    ]


def _range(floor: dict | None) -> str:
    return "unknown" if floor is None else f"{floor['low']:.1%} to {floor['high']:.1%}"


def _moved_table(result: dict) -> list[str]:
    """The edges that changed most, PRINTED of them."""
    if not result["moved"] or not result["moved"]["edges"]:
        return []
    edges = result["moved"]["edges"]
    rows = [
        "",
        f"{'edges that changed most':<26}{'kind':>14}{'before':>10}{'after':>10}{'q':>10}   "
        f"scores: {unit(result)}",
    ]
    rows += [
        f"{row['edge']:<26}{row['kind']:>14}{row['before']:>10.2%}{row['after']:>10.2%}"
        f"{row['q']:>10.1e}"
        for row in edges[:PRINTED]
    ]
    if len(edges) > PRINTED:
        rows.append(f"and {len(edges) - PRINTED} more in evolution.json")
    return rows


# ---------------------------------------------------------------- sentences


def unit(result: dict) -> str:
    """What normalised scores are percent of."""
    return "% of the sum of |scores|" + (" without noise" if result["noise_free_norm"] else "")


def _rate_lines(result: dict) -> list[str]:
    """How much changes a step, beside what resampling the examples alone changes."""
    lines = []
    for name, words in KINDS_OF_SET.items():
        if name not in result["rates"]:
            continue
        rate = result["rates"][name]
        line = f"dS of {words}: {rate['dS']:.1%} of S_0 a step"
        floor = rate["dS_floor"]
        if floor is None:
            lines.append(
                f"{line}; noise floor unknown without scores of several examples, so nothing is "
                "said to have changed"
            )
            continue
        noise = f"{floor['mean']:.1%} [{floor['low']:.1%}, {floor['high']:.1%}]"
        verdict = ""
        if not _few(result):
            word = "more than noise" if rate["dS"] > floor["high"] else "within noise"
            beyond = rate["beyond_noise"]
            verdict = f": {word} ({sum(beyond)} of {len(beyond)} steps are beyond it)"
        lines.append(f"{line}; resampling the examples alone gives {noise}{verdict}")
    return lines


def _similarity_lines(result: dict) -> list[str]:
    """The overlap of the first and the last circuit, and when the last one is reached."""
    similarity = result["similarity"]
    overlaps = {}
    for name in ("edges_jaccard", "edges_chance", "nodes_jaccard", "nodes_chance"):
        overlaps[name] = similarity[name][0][-1]
    line = (
        "Jaccard of first and last circuit: "
        f"edges {overlaps['edges_jaccard']:.3f} (chance {overlaps['edges_chance']:.3f}), "
        f"nodes {overlaps['nodes_jaccard']:.3f} (chance {overlaps['nodes_chance']:.3f})"
    )
    if similarity["score_spearman"]:
        line += f"; Spearman of |score| over all edges {similarity['score_spearman'][0][-1]:.3f}"
    if not similarity["edges_noise"] or _few(result):
        return [line]
    floor = similarity["edges_noise"][-1]
    arrived = result["checkpoints"][similarity["arrival"]]["name"]
    stays = result["checkpoints"][similarity["stays_from"]]["name"]
    later = "" if arrived == stays else f", leaves again, and stays from {stays} on"
    arrives = (
        "Two extractions of the last checkpoint on resampled examples have "
        f"{fixed(floor)}: the circuit arrives "
        f"inside the noise floor of extractions on new examples at {arrived}{later}"
        f"{_arrival_words(result)}."
    )
    return [line, arrives]


def _arrival_words(result: dict) -> str:
    """What the stricter test says of the arrived circuit: the real ones are of the same examples,
    and share these' accidents.
    """
    test = result["arrival_test"]
    if test is None:
        return ""
    p = f"p = {test['p']:.3f}"
    if test["smallest_p"] >= ALPHA:
        return (
            "; on the same examples, too few for the permutation test, no difference to the last "
            f"can be shown ({p})"
        )
    differ = "that they differ" if test["p"] < ALPHA else "no difference"
    return (
        f"; on the same examples the permutation test between it and the last shows {differ} ({p})"
    )


def _moved_lines(result: dict) -> list[str]:
    """How many edges' scores changed, of which kinds, and how many passed the circuit's border."""
    moved = result["moved"]
    if not moved:
        return [
            "Which edges' scores changed is not tested: that needs scores of the same examples, "
            "two or more, at both ends."
        ]
    counts = ", ".join(f"{count['in_a_circuit']} {kind}" for kind, count in moved["counts"].items())
    changed = [count for kind, count in moved["counts"].items() if kind != KINDS[0]]
    outside = sum(count["outside_both"] for count in changed)
    entered, left = moved["entered"], moved["left"]
    return [
        f"Normalised scores of the edges in the first or last circuit, {moved['examples']} "
        f"examples, false-discovery rate {moved['false_discovery_rate']:.0%}: {counts}; outside "
        f"both circuits {outside} edges changed.",
        f"Of {entered['edges']} edges that entered the circuit {entered['beyond_noise']} changed "
        f"beyond noise, of {left['edges']} that left it {left['beyond_noise']}; for the others no "
        "change beyond noise is shown.",
    ]


def _layer_lines(result: dict) -> list[str]:
    """Which layers' scores changed beyond noise, and how much of all change noise alone gives."""
    noise = result["layers_noise"]
    if noise is None:
        return [
            "Which layers' scores changed is not said: their noise floor needs scores of several "
            "examples, and --resamples."
        ]
    if _few(result):
        return []
    beyond, n = noise["beyond"], len(noise["floor"])
    which = f" ({', '.join(map(str, beyond))})" if beyond else ""
    change = 100 * sum(result["layers"]["change"])
    mean = 100 * sum(floor["mean"] for floor in noise["floor"])
    return [
        "Change of the edges' scores by layer: beyond what resampling the examples gives in "
        f"{len(beyond)} of {n} layers{which}; summed over layers {change:.0f} {unit(result)}, of "
        f"resampling alone {mean:.0f}."
    ]
