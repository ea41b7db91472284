"""evolution.json in words: each claim beside its noise floor or chance level.

Plain data in, lines out.
"""

from eap import MIN_EXAMPLES
from eap.resampling import FALSE_DISCOVERY
from study.evolution.numbers import KINDS

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
    said = []
    if result["settings_that_differ"]:
        said.append(
            f"Note: the circuits differ in {', '.join(result['settings_that_differ'])}: part of "
            "any change comes from that."
        )
    if _few(result):
        said.append(
            f"Note: with {result['examples']} examples (fewer than {MIN_EXAMPLES}) nothing is "
            "said to be more than noise."
        )
    return [
        *said,
        *_rate_lines(result),
        *_similarity_lines(result),
        *_moved_lines(result),
        *_layer_lines(result),
    ]


def _change_tables(result) -> list[str]:
    """A table for each of nodes, edges and equal-size circuits: sizes, changes in shares of S_0,
    and what noise alone gives.
    """
    names, rows = [checkpoint["name"] for checkpoint in result["checkpoints"]], []
    titles = (
        "size",
        "+",
        "-",
        "changed/S_0",
        "noise alone",
        "",
        "/S_t-1",
        "1-Jaccard",
        "from first",
        "noise alone",
    )
    widths = (7, 6, 6, 13, 18, 8, 9, 11, 12, 18)
    for kind, rate in result["rates"].items():
        label = f"{kind.replace('_', ' ')}, dS = {rate['dS']:.1%}"
        width = max(map(len, (label, *names))) + 1
        rows.append(
            f"{label:<{width}}"
            + "".join(f"{title:>{w}}" for title, w in zip(titles, widths, strict=True))
        )
        for t, name in enumerate(names):
            cells = _change_cells(rate, t, _few(result))
            rows.append(
                f"{name:<{width}}"
                + "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
            )
        rows.append("")
    return rows[:-1]


def _few(result: dict) -> bool:
    """Whether the scores are over too few examples for anything to be said of noise floors (guard
    26).
    """
    return result["examples"] is not None and result["examples"] < MIN_EXAMPLES


def _change_cells(rate: dict, t: int, few: bool) -> list[str]:
    if not t:
        return [str(rate["sizes"][0]), *[""] * 9]
    floor = rate["floor"][t - 1] if rate["floor"] else None
    from_first = rate["from_first_floor"][t - 1] if rate["from_first_floor"] else None
    verdict = "" if floor is None or few else "beyond" if rate["beyond_noise"][t - 1] else "within"
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


def unit(result: dict) -> str:
    """What normalised scores are percent of."""
    return "% of the sum of |scores|" + (" without noise" if result["noise_free_norm"] else "")


def _moved_table(result) -> list[str]:
    if not result["moved"] or not result["moved"]["edges"]:
        return []
    edges = result["moved"]["edges"]
    rows = [
        "",
        f"{'edges that changed most':<26}{'kind':>14}{'before':>10}{'after':>10}{'q':>10}   "
        f"scores: {unit(result)}",
    ]
    rows += [
        f"{row['edge']:<26}{row['kind']:>14}{row['before']:>10.2%}{row['after']:>10.2%}{row['q']:>10.1e}"
        for row in edges[:PRINTED]
    ]
    return rows + (
        [f"and {len(edges) - PRINTED} more in evolution.json"] if len(edges) > PRINTED else []
    )


def _rate_lines(result) -> list[str]:
    said = []
    for name, words in KINDS_OF_SET.items():
        if name not in result["rates"]:
            continue
        rate = result["rates"][name]
        line = f"dS of {words}: {rate['dS']:.1%} of S_0 a step"
        if rate["dS_floor"] is None:
            said.append(
                line
                + "; noise floor unknown without scores of several examples, so nothing is said "
                "to have changed"
            )
            continue
        low, high = rate["dS_floor"]["low"], rate["dS_floor"]["high"]
        verdict = "more than noise" if rate["dS"] > high else "within noise"
        steps = f"({sum(rate['beyond_noise'])} of {len(rate['beyond_noise'])} steps are beyond it)"
        said.append(
            f"{line}; resampling the examples alone gives {rate['dS_floor']['mean']:.1%} "
            f"[{low:.1%}, {high:.1%}]" + ("" if _few(result) else f": {verdict} {steps}")
        )
    return said


def _similarity_lines(result) -> list[str]:
    similarity = result["similarity"]
    ends = {
        key: table[0][-1]
        for key, table in similarity.items()
        if key.endswith(("jaccard", "chance"))
    }
    said = [
        f"Jaccard of first and last circuit: edges {ends['edges_jaccard']:.3f} (chance "
        f"{ends['edges_chance']:.3f}), nodes {ends['nodes_jaccard']:.3f} (chance "
        f"{ends['nodes_chance']:.3f})"
    ]
    if similarity["score_spearman"]:
        said[0] += f"; Spearman of |score| over all edges {similarity['score_spearman'][0][-1]:.3f}"
    if similarity["edges_noise"] and not _few(result):
        floor = similarity["edges_noise"][-1]
        checkpoints = result["checkpoints"]
        arrived = checkpoints[similarity["arrival"]]["name"]
        stays = checkpoints[similarity["stays_from"]]["name"]
        later = "" if arrived == stays else f", leaves again, and stays from {stays} on"
        said.append(
            "Two extractions of the last checkpoint on resampled examples have "
            f"{floor['mean']:.3f} [{floor['low']:.3f}, {floor['high']:.3f}]: the circuit arrives "
            "inside the noise floor of extractions on new examples at "
            f"{arrived}{later}{_arrival_words(result)}."
        )
    return said


def _arrival_words(result) -> str:
    """What the stricter test says of the arrived circuit: the real ones are of the same examples,
    and share these' accidents.
    """
    test = result["arrival_test"]
    if test is None:
        return ""
    p = f"p = {test['p']:.3f}"
    if test["smallest_p"] >= FALSE_DISCOVERY:
        return (
            "; on the same examples, too few for the permutation test, no difference to the last "
            f"can be shown ({p})"
        )
    differ = "that they differ" if test["p"] < FALSE_DISCOVERY else "no difference"
    return (
        f"; on the same examples the permutation test between it and the last shows {differ} ({p})"
    )


def _moved_lines(result) -> list[str]:
    moved = result["moved"]
    if not moved:
        return [
            "Which edges' scores changed is not tested: that needs scores of the same examples, "
            "two or more, at both ends."
        ]
    counts = ", ".join(f"{count['in_a_circuit']} {kind}" for kind, count in moved["counts"].items())
    entered, left = moved["entered"], moved["left"]
    outside = sum(
        count["outside_both"] for kind, count in moved["counts"].items() if kind != KINDS[0]
    )
    return [
        f"Normalised scores of the edges in the first or last circuit, {moved['examples']} "
        f"examples, false-discovery rate {moved['false_discovery_rate']:.0%}: {counts}; outside "
        f"both circuits {outside} edges changed.",
        f"Of {entered['edges']} edges that entered the circuit {entered['beyond_noise']} changed "
        f"beyond noise, of {left['edges']} that left it {left['beyond_noise']}; for the others no "
        "change beyond noise is shown.",
    ]


def _layer_lines(result) -> list[str]:
    noise = result["layers_noise"]
    if noise is None:
        return [
            "Which layers' scores changed is not said: their noise floor needs scores of several "
            "examples, and --resamples."
        ]
    if _few(result):
        return []
    beyond, n = noise["beyond"], len(noise["floor"])
    change = 100 * sum(result["layers"]["change"])
    mean = 100 * sum(floor["mean"] for floor in noise["floor"])
    return [
        "Change of the edges' scores by layer: beyond what resampling the examples gives in "
        f"{len(beyond)} of {n} "
        f"layers{' (' + ', '.join(map(str, beyond)) + ')' if beyond else ''}; summed over layers "
        f"{change:.0f} {unit(result)}, of resampling alone {mean:.0f}."
    ]
