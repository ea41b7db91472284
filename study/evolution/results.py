"""From circuits of several checkpoints to what evolution.json holds about how the circuit moved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from eap.circuit import Circuit
from eap.resampling import FALSE_DISCOVERY, bootstrap_means, central, ends
from study import overlap
from study.evolution import numbers as evolution
from study.evolution.words import sentences
from study.stability import bootstrap

INTERVAL_RESAMPLES = 200  # of the examples, for the bands of the score trajectories
# of the edges whose trajectories are drawn
MOVED, NOT_SHOWN, NOT_TESTED = (
    "changed beyond noise",
    "no change beyond noise shown",
    "change not tested",
)
# The part of `evolution.Noise` that a set of nodes or edges is compared with.
NOISE_OF = {"edges": "edges", "nodes": "nodes", "edges_equal_size": "equal_size"}


@dataclass(frozen=True)
class Checkpoint:
    """A circuit, its name and training step (None if the file name has none), and how to read its
    scores per example, if there are any.
    """

    name: str
    step: int | None
    circuit: Circuit
    per_example: Callable[[], torch.Tensor] | None = None


def evolve(
    checkpoints: list[Checkpoint],
    resamples: int,
    trajectories: int,
    seed: int,
    progress=lambda items: items,
) -> dict:
    """Everything that evolution.json holds about the circuits, in the order in which they come."""
    circuits = [checkpoint.circuit for checkpoint in checkpoints]
    graph = circuits[0].graph
    edges = torch.stack([circuit.in_graph for circuit in circuits])
    nodes = graph.nodes_kept(edges)
    scores = _scores(circuits)
    size = circuits[0].n_selected
    noises = [_noise(checkpoint, resamples, seed, size) for checkpoint in progress(checkpoints)]
    sets = {"edges": edges, "nodes": nodes}
    if scores is not None:
        equal = circuits[0].rule.equal(size)
        sets["edges_equal_size"] = torch.stack(
            [equal.take(graph, circuit.ranking) for circuit in circuits]
        )
    result = {
        "checkpoints": [_describe(*row) for row in zip(checkpoints, edges, nodes, strict=True)],
        "graph": {
            "n_layers": graph.n_layers,
            "n_heads": graph.n_heads,
            "d_model": graph.d_model,
            "parallel_attn_mlp": graph.parallel,
            "kv_heads": graph.kv_heads,
            "edges": graph.n_edges,
            "nodes": len(graph.nodes),
        },
        "settings_that_differ": evolution.differing_settings(circuits),
        "noise_resamples": resamples if all(noises) else 0,
        "examples": _fewest_examples(checkpoints),
        "rates": {name: _rates(kept, noises, name) for name, kept in sets.items()},
        "similarity": _similarity(edges, nodes, scores, noises),
        "arrival_test": None,
        "transitions": _transitions(checkpoints, edges, nodes),
        "layers_noise": None,
        "noise_free_norm": False,
        "moved": None,
        "trajectories": None,
    }
    norms = _norms(checkpoints, scores)
    result["layers"] = layer_scores(circuits, scores, norms and norms.values)
    if all(noises):
        arrived = result["similarity"]["arrival"]
        result["arrival_test"] = (
            _permutation(checkpoints[arrived], checkpoints[-1], seed)
            if arrived < len(checkpoints) - 1
            else None
        )
    if norms:
        result["noise_free_norm"] = norms.noise_free
        result["layers_noise"] = (
            _layers_noise(checkpoints, norms, result["layers"]["change"], seed)
            if all(noises)
            else None
        )
        result["moved"] = _moved(checkpoints)
    if scores is not None:
        result["trajectories"] = _trajectories(
            checkpoints, scores, norms, result["moved"], trajectories, seed
        )
    return {**result, "sentences": sentences(result)}


def _fewest_examples(checkpoints) -> int | None:
    """The least number of examples that a circuit's scores are over; None where a circuit has no
    scores per example.
    """
    return (
        min(len(each.per_example()) for each in checkpoints)
        if all(each.per_example for each in checkpoints)
        else None
    )


def _scores(circuits):
    if any(circuit.scores is None for circuit in circuits):
        return None
    return torch.stack([circuit.scores for circuit in circuits])


def _norms(checkpoints, scores) -> evolution.Norms | None:
    """What each checkpoint's scores are divided by; None where a circuit has no scores or none per
    example.
    """
    if scores is None or not all(checkpoint.per_example for checkpoint in checkpoints):
        return None
    return evolution.norms(checkpoint.per_example() for checkpoint in checkpoints)


def _describe(checkpoint: Checkpoint, edges, nodes) -> dict:
    return {
        "name": checkpoint.name,
        "step": checkpoint.step,
        "edges": int(edges.sum()),
        "nodes": int(nodes.sum()),
        "examples": len(checkpoint.per_example()) if checkpoint.per_example else None,
    }


def _noise(checkpoint: Checkpoint, resamples: int, seed: int, size: int):
    if checkpoint.per_example is None or resamples < 2 or len(checkpoint.per_example()) < 2:
        return None  # resampling one example changes nothing, which is no floor
    return evolution.noise(
        checkpoint.circuit, checkpoint.per_example(), resamples=resamples, seed=seed, size=size
    )


def _rates(kept: torch.Tensor, noises: list, name: str) -> dict:
    """Change rates with what noise alone gives: `floor` and `from_first_floor` per transition, and
    `dS_floor`.

    A floor is what resampling the examples changes at the two checkpoints compared; None without
    scores per example.
    """
    rates = evolution.change_rates(kept)
    if not all(noises):
        return {**rates, **dict.fromkeys(("floor", "from_first_floor", "dS_floor", "beyond_noise"))}
    counts = np.stack([getattr(noise, NOISE_OF[name]).changed for noise in noises])
    changed = counts / max(rates["sizes"][0], 1)
    floors = [central(np.concatenate(both)) for both in zip(changed[:-1], changed[1:], strict=True)]
    from_first = [central(np.concatenate([changed[0], now])) for now in changed[1:]]
    beyond = [rate > floor["high"] for rate, floor in zip(rates["of_first"], floors, strict=True)]
    return {
        **rates,
        "floor": floors,
        "from_first_floor": from_first,
        "dS_floor": central(changed.mean(0)),
        "beyond_noise": beyond,
    }


def _similarity(edges, nodes, scores, noises) -> dict:
    found = {
        "edges_jaccard": overlap.matrix(edges),
        "edges_chance": overlap.chance_matrix(edges),
        "nodes_jaccard": overlap.matrix(nodes),
        "nodes_chance": overlap.chance_matrix(nodes),
        "score_spearman": None if scores is None else overlap.spearman_matrix(scores),
        "edges_noise": None,
        "nodes_noise": None,
        "arrival": None,
        "stays_from": None,
    }
    if all(noises):
        for name in ("edges", "nodes"):
            found[f"{name}_noise"] = [central(getattr(noise, name).jaccard) for noise in noises]
        found["arrival"], found["stays_from"] = evolution.arrival(
            found["edges_jaccard"][-1], found["edges_noise"][-1]["low"]
        )
    return found


def _transitions(checkpoints, edges, nodes) -> list[dict]:
    """Names of what came and went between consecutive checkpoints."""
    graph, found = checkpoints[0].circuit.graph, []
    for t in range(1, len(checkpoints)):
        entry = {"from": checkpoints[t - 1].name, "to": checkpoints[t].name}
        for name, kept, labels in (("nodes", nodes, graph.nodes), ("edges", edges, graph.edges)):
            for word, which in (
                ("added", kept[t] & ~kept[t - 1]),
                ("removed", kept[t - 1] & ~kept[t]),
            ):
                entry[f"{name}_{word}"] = [labels[i] for i in which.nonzero().flatten().tolist()]
        found.append(entry)
    return found


def _same_examples(first: Checkpoint, last: Checkpoint):
    """Scores (examples, edges) of both checkpoints, or None unless there are scores per example of
    the same examples.
    """
    if first.per_example is None or last.per_example is None:
        return None
    before, after = first.per_example(), last.per_example()
    same = first.circuit.about.examples.same(last.circuit.about.examples)
    return (before, after) if same and before.shape == after.shape else None


def _permutation(checkpoint: Checkpoint, last: Checkpoint, seed: int) -> dict | None:
    """`bootstrap.permutation_test` of a checkpoint and the last one on their examples; None where
    these are not the same.
    """
    both = _same_examples(checkpoint, last)
    if both is None:
        return None
    rule = last.circuit.rule
    return bootstrap.permutation_test(
        rule.values(both[0]),
        rule.values(both[1]),
        n=last.circuit.n_selected,
        absolute=rule.absolute,
        seed=seed,
    )


def layer_scores(
    circuits: list[Circuit], scores: torch.Tensor | None, norms: list[float] | None = None
) -> dict[str, list[float]]:
    """Scores per layer for choosing where to adapt: `change`, `after`, `before`.

    change: |s_last / norm_last - s_first / norm_first| over all edges (CircuitLoRA, arXiv
    2502.11812, normalised); `norms` is a number per circuit, sum |s| if not given. after, before:
    |s| of the edges in the last and the first circuit as a share of sum |s|. Without scores an edge
    in the circuit counts as 1.
    """
    graph, first, last = circuits[0].graph, circuits[0].in_graph, circuits[-1].in_graph
    ends = torch.stack([first, last]).double() if scores is None else scores[[0, -1]].double()
    totals = ends.abs().sum(1).clamp_min(1e-300).tolist()
    before, after = ends[0] / totals[0], ends[1] / totals[1]
    old, new = totals if norms is None else (norms[0], norms[-1])
    weights = {
        "change": (ends[1] / new - ends[0] / old).abs(),
        "after": after.abs() * last,
        "before": before.abs() * first,
    }
    return {name: evolution.layer_mass(graph, weight).tolist() for name, weight in weights.items()}


def _layers_noise(checkpoints, norms, change, seed: int) -> dict:
    """{"pairs", "floor": what resampling the examples of the first and of the last checkpoint
    changes in each layer, "beyond": layers}.
    """
    graph, ends = (
        checkpoints[0].circuit.graph,
        ((checkpoints[0], norms.parts[0]), (checkpoints[-1], norms.parts[-1])),
    )
    drawn = np.concatenate(
        [
            evolution.layer_noise(graph, evolution.shares(checkpoint.per_example(), part), seed)
            for checkpoint, part in ends
        ]
    )
    floors = [central(values) for values in drawn.T]
    return {
        "pairs": len(drawn),
        "floor": floors,
        "beyond": [layer for layer, floor in enumerate(floors) if change[layer] > floor["high"]],
    }


def _trajectories(checkpoints, scores, norms, moved, n: int, seed: int) -> dict:
    """{"chosen": MOVED, NOT_SHOWN or NOT_TESTED, "edges": normalised scores over the checkpoints of
    at most n edges}.

    The edges are those that changed beyond noise, the largest change first; where there is none,
    those whose range is largest. "low" and "high" are the central 95 % of resamples of the
    examples, where there are any.
    """
    graph = checkpoints[0].circuit.graph
    scores = scores.double()
    shares = (
        scores
        / (
            scores.abs().sum(1).clamp_min(1e-300)
            if norms is None
            else torch.tensor(norms.values).double()
        )[:, None]
    )
    if moved and moved["edges"]:
        chosen, edges = (
            MOVED,
            torch.tensor([graph.edge_number[row["edge"]] for row in moved["edges"][:n]]),
        )
    else:
        chosen = NOT_SHOWN if moved else NOT_TESTED
        edges = torch.argsort(shares.amax(0) - shares.amin(0), descending=True, stable=True)[:n]
    bands = norms and [
        _band(*row, edges, seed) for row in zip(checkpoints, norms.parts, strict=True)
    ]
    return {
        "chosen": chosen,
        "edges": [
            {
                "edge": graph.edges[edge],
                "scores": shares[:, edge].tolist(),
                "low": [band[0][i] for band in bands] if bands else None,
                "high": [band[1][i] for band in bands] if bands else None,
            }
            for i, edge in enumerate(edges.tolist())
        ],
    }


def _band(checkpoint, part, edges, seed: int):
    drawn = bootstrap_means(
        evolution.shares(checkpoint.per_example()[:, edges], part), INTERVAL_RESAMPLES, seed
    )
    low, high = ends(torch.cat(list(drawn)).numpy(), axis=0)
    return low.tolist(), high.tolist()


def _moved(checkpoints) -> dict | None:
    """Which edges' scores changed from the first to the last checkpoint; None without scores per
    example of the same examples.

    {"counts": {kind: edges of either circuit, edges outside both}; "entered", "left": how many
    edges the circuit's border passed over, and how many of these have changed beyond noise;
    "edges": those of either circuit that changed, most first, all of them}.
    """
    first, last = checkpoints[0], checkpoints[-1]
    both = _same_examples(first, last)
    if both is None or len(both[0]) < 2:
        return None
    old, new = first.circuit.in_graph, last.circuit.in_graph
    found = evolution.moves(*both, old, new)
    inside, changed = (old | new).numpy(), found.q <= FALSE_DISCOVERY
    return {
        "false_discovery_rate": FALSE_DISCOVERY,
        "examples": len(both[0]),
        "counts": {kind: _count(found.kind == kind, inside) for kind in evolution.KINDS},
        "entered": _crossed((new & ~old).numpy(), changed),
        "left": _crossed((old & ~new).numpy(), changed),
        "edges": _changed_edges(found, inside & changed, first.circuit.graph.edges),
    }


def _count(of_kind: np.ndarray, inside: np.ndarray) -> dict[str, int]:
    """How many edges of a kind are in one of the two circuits, and how many in neither."""
    return {
        "in_a_circuit": int((of_kind & inside).sum()),
        "outside_both": int((of_kind & ~inside).sum()),
    }


def _crossed(edges: np.ndarray, changed: np.ndarray) -> dict[str, int]:
    """How many edges passed over the circuit's border, and how many of them have changed."""
    return {"edges": int(edges.sum()), "beyond_noise": int((edges & changed).sum())}


def _changed_edges(found: evolution.Moves, which: np.ndarray, names) -> list[dict]:
    """A row for each edge of `which`, the largest change first; scores are divided by
    `evolution.norms`.
    """
    change = (found.after - found.before).numpy()
    ranked = [i for i in np.argsort(-np.abs(change), kind="stable").tolist() if which[i]]
    return [
        {
            "edge": names[i],
            "kind": str(found.kind[i]),
            "before": float(found.before[i]),
            "after": float(found.after[i]),
            "change": float(change[i]),
            "q": float(found.q[i]),
        }
        for i in ranked
    ]
