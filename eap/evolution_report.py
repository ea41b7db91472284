"""From circuits of several checkpoints to what is written and said about how the circuit moved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from eap import evolution
from eap.circuit import Circuit, asked_for, strongest
from eap.selection import bootstrap_means

INTERVAL_RESAMPLES = 200  # of the examples, for the bands of the score trajectories
LISTED = 50  # edges in the table of those that moved
KINDS_OF_SET = {"edges": "edges", "nodes": "nodes", "edges_equal_size": "edges, equal-size circuits before pruning"}
NOISE_OF = {"edges": "edges_changed", "nodes": "nodes_changed", "edges_equal_size": "equal_size_changed"}


@dataclass(frozen=True)
class Checkpoint:
    """A circuit, its name and training step (None if the file name has none), and how to read its scores per example, if there are any."""

    name: str
    step: int | None
    circuit: Circuit
    per_example: Callable[[], torch.Tensor] | None = None


def evolve(checkpoints: list[Checkpoint], resamples: int, trajectories: int, seed: int, progress=lambda items: items) -> dict:
    """Everything that evolution.json holds about the circuits, in the order in which they come."""
    circuits = [checkpoint.circuit for checkpoint in checkpoints]
    graph = circuits[0].graph
    edges = torch.stack([circuit.in_graph for circuit in circuits])
    nodes = graph.nodes_kept(edges)
    scores = _scores(circuits)
    size = asked_for(circuits[0])
    noises = [_noise(checkpoint, resamples, seed, size) for checkpoint in progress(checkpoints)]
    sets = {"edges": edges, "nodes": nodes}
    if scores is not None:
        sets["edges_equal_size"] = strongest(scores, size, bool(circuits[0].metadata.get("absolute", True)))
    content = {
        "checkpoints": [_describe(*row) for row in zip(checkpoints, edges, nodes, strict=True)],
        "graph": {"n_layers": graph.n_layers, "n_heads": graph.n_heads, "edges": graph.n_edges, "nodes": len(graph.nodes)},
        "settings_that_differ": evolution.differing_settings(circuits),
        "noise_resamples": resamples if all(noises) else 0,
        "rates": {name: _rates(kept, noises, name) for name, kept in sets.items()},
        "similarity": _similarity(edges, nodes, scores, noises),
        "transitions": _transitions(checkpoints, edges, nodes),
        "layers": layer_scores(circuits, scores),
        "moved": None, "trajectories": None,
    }
    if scores is not None:
        content["trajectories"] = _trajectories(checkpoints, scores, trajectories, seed)
        content["moved"] = _moved(checkpoints)
    return {**content, "sentences": sentences(content)}


def _scores(circuits):
    if any(circuit.scores is None for circuit in circuits):
        return None
    return torch.stack([circuit.scores for circuit in circuits])


def _describe(checkpoint: Checkpoint, edges, nodes) -> dict:
    return {"name": checkpoint.name, "step": checkpoint.step, "edges": int(edges.sum()), "nodes": int(nodes.sum()),
            "examples": len(checkpoint.per_example()) if checkpoint.per_example else None}


def _noise(checkpoint: Checkpoint, resamples: int, seed: int, size: int):
    if checkpoint.per_example is None or resamples < 2:
        return None
    return evolution.noise(checkpoint.circuit, checkpoint.per_example(), resamples, seed, size)


def _rates(kept: torch.Tensor, noises: list, name: str) -> dict:
    """Change rates with what noise alone gives: `floor` per transition and `dS_floor`, None without scores per example."""
    rates = evolution.change_rates(kept)
    if not all(noises):
        return {**rates, "floor": None, "dS_floor": None, "beyond_noise": None}
    changed = np.stack([getattr(noise, NOISE_OF[name]) for noise in noises]) / max(rates["sizes"][0], 1)
    floors = [evolution.floor(np.concatenate(pair)) for pair in zip(changed[:-1], changed[1:], strict=True)]
    beyond = [rate > floor["high"] for rate, floor in zip(rates["of_first"], floors, strict=True)]
    return {**rates, "floor": floors, "dS_floor": evolution.floor(changed.mean(0)), "beyond_noise": beyond}


def _similarity(edges, nodes, scores, noises) -> dict:
    found = {
        "edges_jaccard": evolution.jaccard_matrix(edges), "edges_chance": evolution.chance_matrix(edges),
        "nodes_jaccard": evolution.jaccard_matrix(nodes), "nodes_chance": evolution.chance_matrix(nodes),
        "score_spearman": evolution.spearman_matrix(scores) if scores is not None else None,
        "edges_noise": None, "nodes_noise": None, "arrival": None,
    }
    if all(noises):
        for name in ("edges", "nodes"):
            found[f"{name}_noise"] = [evolution.floor(getattr(noise, f"{name}_jaccard")) for noise in noises]
        found["arrival"] = evolution.arrival(found["edges_jaccard"][-1], found["edges_noise"][-1]["low"])
    return found


def _transitions(checkpoints, edges, nodes) -> list[dict]:
    """Names of what came and went between consecutive checkpoints."""
    graph, found = checkpoints[0].circuit.graph, []
    for t in range(1, len(checkpoints)):
        entry = {"from": checkpoints[t - 1].name, "to": checkpoints[t].name}
        for name, kept, labels in (("nodes", nodes, graph.nodes), ("edges", edges, graph.edges)):
            for word, which in (("added", kept[t] & ~kept[t - 1]), ("removed", kept[t - 1] & ~kept[t])):
                entry[f"{name}_{word}"] = [labels[i] for i in which.nonzero().flatten().tolist()]
        found.append(entry)
    return found


def layer_scores(circuits: list[Circuit], scores: torch.Tensor | None) -> dict[str, list[float]]:
    """Scores per layer for choosing where to adapt: `change`, `after`, `before`.

    change: |s_last/sum|s_last| - s_first/sum|s_first|| over all edges (CircuitLoRA, arXiv 2502.11812, normalised). after, before: |s| of
    the edges in the last and the first circuit, as a share of all attribution. Without scores an edge in the circuit counts as 1.
    """
    graph, first, last = circuits[0].graph, circuits[0].in_graph, circuits[-1].in_graph
    ends = torch.stack([first, last]).double() if scores is None else scores[[0, -1]].double()
    before, after = evolution.normalised(ends)
    weights = {"change": (after - before).abs(), "after": after.abs() * last, "before": before.abs() * first}
    return {name: evolution.layer_mass(graph, weight).tolist() for name, weight in weights.items()}


def _trajectories(checkpoints, scores, n: int, seed: int) -> list[dict]:
    """Normalised scores over the checkpoints of the n edges whose range is largest, with intervals over examples where there are any."""
    shares = evolution.normalised(scores.double())
    largest = torch.argsort(shares.amax(0) - shares.amin(0), descending=True, stable=True)[:n]
    bands = [_band(checkpoint, largest, seed) for checkpoint in checkpoints]
    known, edges = all(band is not None for band in bands), checkpoints[0].circuit.graph.edges
    return [{
        "edge": edges[edge], "scores": shares[:, edge].tolist(),
        "low": [band[0][i] for band in bands] if known else None, "high": [band[1][i] for band in bands] if known else None,
    } for i, edge in enumerate(largest.tolist())]


def _band(checkpoint, edges, seed):
    if checkpoint.per_example is None:
        return None
    means = bootstrap_means(checkpoint.per_example(), INTERVAL_RESAMPLES, seed)
    shares = torch.cat([evolution.normalised(part)[:, edges] for part in means]).numpy()
    return np.quantile(shares, [(1 - evolution.LEVEL) / 2, (1 + evolution.LEVEL) / 2], axis=0).tolist()


def _moved(checkpoints) -> dict | None:
    """Which edges' scores changed from the first to the last checkpoint; None without scores per example of the same examples."""
    first, last = checkpoints[0], checkpoints[-1]
    if first.per_example is None or last.per_example is None:
        return None
    before, after = first.per_example(), last.per_example()
    if before.shape != after.shape or first.circuit.metadata.get("example_ids") != last.circuit.metadata.get("example_ids"):
        return None
    found = evolution.moves(before, after)
    edges = first.circuit.graph.edges
    top = torch.argsort(found.change.abs() * torch.from_numpy(found.q <= evolution.FALSE_DISCOVERY), descending=True, stable=True)[:LISTED]
    listed = [i for i in top.tolist() if found.kind[i] != evolution.KINDS[0]]
    return {
        "false_discovery_rate": evolution.FALSE_DISCOVERY, "examples": len(before),
        "counts": {kind: int((found.kind == kind).sum()) for kind in evolution.KINDS},
        "edges": [{"edge": edges[i], "change": float(found.change[i]), "q": float(found.q[i]), "kind": str(found.kind[i])} for i in listed],
    }


# ---------------------------------------------------------------- in words


def lines(content: dict) -> list[str]:
    """The table and the sentences that the script prints."""
    return [*_transition_table(content), "", *content["sentences"]]


def sentences(content: dict) -> list[str]:
    """What the numbers say, each claim beside its noise floor or chance level."""
    said = []
    if content["settings_that_differ"]:
        said.append(f"Note: the circuits differ in {', '.join(content['settings_that_differ'])}: part of any change comes from that.")
    return [*said, *_rate_lines(content), *_similarity_lines(content), *_moved_lines(content)]


def _transition_table(content) -> list[str]:
    names = [checkpoint["name"] for checkpoint in content["checkpoints"]]
    width = max(map(len, names)) + 2
    titles = ("nodes", "+", "-", "edges", "+", "-", "edges/S_0", "edges/S_t-1", "1-Jaccard", "from first")
    rows = [" " * width + "".join(f"{title:>12}" for title in titles)]
    for t, name in enumerate(names):
        cells = []
        for kind in ("nodes", "edges"):
            rate = content["rates"][kind]
            cells += [str(rate["sizes"][t]), *((str(rate[word][t - 1]) if t else "") for word in ("added", "removed"))]
        edges = content["rates"]["edges"]
        cells += [f"{edges[word][t - 1]:.3f}" if t else "" for word in ("of_first", "of_previous", "one_minus_jaccard")]
        rows.append(f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in [*cells, f"{edges['from_first'][t]:.3f}"]))
    return rows


def _rate_lines(content) -> list[str]:
    said = []
    for name, words in KINDS_OF_SET.items():
        if name not in content["rates"]:
            continue
        rate = content["rates"][name]
        line = f"dS of {words}: {rate['dS']:.1%} of S_0 a step"
        if rate["dS_floor"] is None:
            said.append(line + "; noise floor unknown without scores per example, so nothing is said to have changed")
            continue
        low, high = rate["dS_floor"]["low"], rate["dS_floor"]["high"]
        verdict = "more than noise" if rate["dS"] > high else "within noise"
        said.append(f"{line}; resampling the examples alone gives {rate['dS_floor']['mean']:.1%} [{low:.1%}, {high:.1%}]: {verdict} "
                    f"({sum(rate['beyond_noise'])} of {len(rate['beyond_noise'])} steps are beyond it)")
    return said


def _similarity_lines(content) -> list[str]:
    similarity = content["similarity"]
    ends = {key: table[0][-1] for key, table in similarity.items() if key.endswith(("jaccard", "chance"))}
    said = [f"Jaccard of first and last circuit: edges {ends['edges_jaccard']:.3f} (chance {ends['edges_chance']:.3f}), "
            f"nodes {ends['nodes_jaccard']:.3f} (chance {ends['nodes_chance']:.3f})"]
    if similarity["score_spearman"]:
        said[0] += f"; Spearman of |score| over all edges {similarity['score_spearman'][0][-1]:.3f}"
    if similarity["edges_noise"]:
        floor = similarity["edges_noise"][-1]
        arrived = content["checkpoints"][similarity["arrival"]]["name"]
        said.append(f"Two extractions of the last checkpoint on resampled examples have {floor['mean']:.3f} [{floor['low']:.3f}, "
                    f"{floor['high']:.3f}]; by that measure the circuit arrives at {arrived}.")
    return said


def _moved_lines(content) -> list[str]:
    if not content["moved"]:
        return []
    moved = content["moved"]
    counts = ", ".join(f"{count} {kind}" for kind, count in moved["counts"].items())
    return [f"Normalised edge scores, first to last, {moved['examples']} examples, "
            f"false-discovery rate {moved['false_discovery_rate']:.0%}: {counts}."]
