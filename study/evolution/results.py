"""From circuits of several checkpoints to what evolution.json holds about how the circuit moved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from eap.circuit import Circuit
from eap.graph import Graph
from eap.resampling import FALSE_DISCOVERY, bootstrap_means, central, ends
from study import overlap
from study.evolution import numbers as evolution
from study.evolution.words import sentences
from study.stability import bootstrap

INTERVAL_RESAMPLES = 200  # of the examples, for the bands of the score trajectories
# Of the edges whose trajectories are drawn.
MOVED = "changed beyond noise"
NOT_SHOWN = "no change beyond noise shown"
NOT_TESTED = "change not tested"


@dataclass(frozen=True)
class Checkpoint:
    """A circuit, its name and training step (None if the file name has none), and how to read its
    scores per example, if there are any.
    """

    name: str
    step: int | None
    circuit: Circuit
    per_example: Callable[[], torch.Tensor] | None = None

    def read(self) -> torch.Tensor:
        """(examples, edges) the scores per example. Raises ValueError where there are none."""
        if self.per_example is None:
            raise ValueError(f"{self.name}: expected scores per example, there are none")
        return self.per_example()

    @property
    def examples(self) -> int | None:
        """How many examples the scores are of; None where they are not known one by one."""
        return None if self.per_example is None else len(self.read())


@dataclass(frozen=True)
class Run:
    """The circuits of a run's checkpoints, and their scores where all of them have scores.

    `norms` is what each checkpoint's scores are divided by, known where all have them per example.
    """

    checkpoints: list[Checkpoint]
    edges: torch.Tensor  # (checkpoints, edges) which each circuit has
    nodes: torch.Tensor  # (checkpoints, nodes)
    scores: torch.Tensor | None  # (checkpoints, edges)
    norms: evolution.Norms | None

    @property
    def graph(self) -> Graph:
        """The graph that all circuits are of."""
        return self.checkpoints[0].circuit.graph

    @property
    def circuits(self) -> list[Circuit]:
        """The circuits, in the order of the checkpoints."""
        return [checkpoint.circuit for checkpoint in self.checkpoints]


def run_of(checkpoints: list[Checkpoint]) -> Run:
    """The `Run` of these checkpoints."""
    circuits = [checkpoint.circuit for checkpoint in checkpoints]
    edges = torch.stack([circuit.in_graph for circuit in circuits])
    nodes = circuits[0].graph.nodes_kept(edges)
    known = [circuit.scores for circuit in circuits if circuit.scores is not None]
    if len(known) < len(circuits):
        return Run(checkpoints, edges, nodes, None, None)
    norms = None
    if all(checkpoint.per_example for checkpoint in checkpoints):
        norms = evolution.norms(checkpoint.read() for checkpoint in checkpoints)
    return Run(checkpoints, edges, nodes, torch.stack(known), norms)


def evolve(
    checkpoints: list[Checkpoint],
    resamples: int,
    *,
    trajectories: int,
    seed: int,
    progress=lambda items: items,
) -> dict:
    """Everything that evolution.json holds about the circuits, in the order in which they come."""
    run = run_of(checkpoints)
    noises = _noises(run, resamples, seed=seed, progress=progress)
    similarity = _similarity(run, noises)
    norms = None if run.norms is None else run.norms.values
    layers = layer_scores(run.circuits, run.scores, norms=norms)
    moved = None if run.norms is None else _moved(checkpoints)
    tracks = None
    if run.scores is not None:
        tracks = _trajectories(run, moved, n=trajectories, seed=seed)
    result = {
        "checkpoints": [
            _describe(checkpoint, edges, nodes=nodes)
            for checkpoint, edges, nodes in zip(checkpoints, run.edges, run.nodes, strict=True)
        ],
        "graph": _shape(run.graph),
        "settings_that_differ": evolution.differing_settings(run.circuits),
        "noise_resamples": 0 if noises is None else resamples,
        "examples": _fewest_examples(checkpoints),
        "rates": _rates(run, noises),
        "similarity": similarity,
        "arrival_test": _arrival_test(checkpoints, similarity["arrival"], seed=seed),
        "transitions": _transitions(run),
        "layers_noise": _layers_noise(run, noises, change=layers["change"], seed=seed),
        "noise_free_norm": run.norms is not None and run.norms.noise_free,
        "moved": moved,
        "trajectories": tracks,
        "layers": layers,
    }
    return {**result, "sentences": sentences(result)}


def _fewest_examples(checkpoints: list[Checkpoint]) -> int | None:
    """The least number of examples that a circuit's scores are over; None where a circuit has no
    scores per example.
    """
    counts = [checkpoint.examples for checkpoint in checkpoints]
    known = [count for count in counts if count is not None]
    return min(known) if len(known) == len(counts) else None


def _describe(checkpoint: Checkpoint, edges: torch.Tensor, *, nodes: torch.Tensor) -> dict:
    return {
        "name": checkpoint.name,
        "step": checkpoint.step,
        "edges": int(edges.sum()),
        "nodes": int(nodes.sum()),
        "examples": checkpoint.examples,
    }


def _shape(graph: Graph) -> dict:
    """What a figure makes the graph from again, and its size."""
    return {
        "n_layers": graph.n_layers,
        "n_heads": graph.n_heads,
        "d_model": graph.d_model,
        "parallel_attn_mlp": graph.parallel,
        "kv_heads": graph.kv_heads,
        "edges": graph.n_edges,
        "nodes": len(graph.nodes),
    }


# ---------------------------------------------------------------- change rates and similarity


def _noises(run: Run, resamples: int, *, seed: int, progress) -> list[evolution.Noise] | None:
    """What resampling the examples does to each circuit; None where one has fewer than two.

    Resampling one example changes nothing, which is no floor.
    """
    size, noises = run.circuits[0].n_selected, []
    for checkpoint in progress(run.checkpoints):
        if resamples < 2 or (checkpoint.examples or 0) < 2:
            continue
        noise = evolution.noise(
            checkpoint.circuit, checkpoint.read(), resamples=resamples, seed=seed, size=size
        )
        noises.append(noise)
    return noises if len(noises) == len(run.checkpoints) else None


def _rates(run: Run, noises: list[evolution.Noise] | None) -> dict[str, dict]:
    """`_rates_of` edges, nodes and, where there are scores, of circuits of one size."""
    known = noises or []
    sets = {
        "edges": (run.edges, [noise.edges.changed for noise in known]),
        "nodes": (run.nodes, [noise.nodes.changed for noise in known]),
    }
    if run.scores is not None:
        rule = run.circuits[0].rule.equal(run.circuits[0].n_selected)
        equal = [rule.take(run.graph, circuit.ranking) for circuit in run.circuits]
        changed = [noise.equal_size.changed for noise in known]
        sets["edges_equal_size"] = (torch.stack(equal), changed)
    return {name: _rates_of(kept, changed) for name, (kept, changed) in sets.items()}


def _rates_of(kept: torch.Tensor, by_noise: list[np.ndarray]) -> dict:
    """Change rates with what noise alone gives: `floor` and `from_first_floor` per transition, and
    `dS_floor`.

    A floor is what resampling the examples changes at the two checkpoints compared; None without
    scores per example. `by_noise` has for each checkpoint the items that differ between resamples.
    """
    rates = evolution.change_rates(kept)
    if not by_noise:
        return {**rates, **dict.fromkeys(("floor", "from_first_floor", "dS_floor", "beyond_noise"))}
    changed = np.stack(by_noise) / max(rates["sizes"][0], 1)
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


def _similarity(run: Run, noises: list[evolution.Noise] | None) -> dict:
    """Overlap of every two circuits beside chance and noise, and where the last one is reached."""
    similarity = {
        "edges_jaccard": overlap.matrix(run.edges),
        "edges_chance": overlap.chance_matrix(run.edges),
        "nodes_jaccard": overlap.matrix(run.nodes),
        "nodes_chance": overlap.chance_matrix(run.nodes),
        "score_spearman": None if run.scores is None else overlap.spearman_matrix(run.scores),
        "edges_noise": None,
        "nodes_noise": None,
        "arrival": None,
        "stays_from": None,
    }
    if noises is None:
        return similarity
    edges_noise = [central(noise.edges.jaccard) for noise in noises]
    nodes_noise = [central(noise.nodes.jaccard) for noise in noises]
    arrival, stays_from = evolution.arrival(similarity["edges_jaccard"][-1], edges_noise[-1]["low"])
    return similarity | {
        "edges_noise": edges_noise,
        "nodes_noise": nodes_noise,
        "arrival": arrival,
        "stays_from": stays_from,
    }


def _transitions(run: Run) -> list[dict]:
    """Names of what came and went between consecutive checkpoints."""
    names = [checkpoint.name for checkpoint in run.checkpoints]
    nodes, edges, rows = run.graph.nodes, run.graph.edges, []
    for t in range(1, len(names)):
        nodes_before, nodes_after = run.nodes[t - 1], run.nodes[t]
        edges_before, edges_after = run.edges[t - 1], run.edges[t]
        row = {
            "from": names[t - 1],
            "to": names[t],
            "nodes_added": _named(nodes, nodes_after & ~nodes_before),
            "nodes_removed": _named(nodes, nodes_before & ~nodes_after),
            "edges_added": _named(edges, edges_after & ~edges_before),
            "edges_removed": _named(edges, edges_before & ~edges_after),
        }
        rows.append(row)
    return rows


def _named(labels, which: torch.Tensor) -> list[str]:
    return [labels[number] for number in which.nonzero().flatten().tolist()]


def _same_examples(first: Checkpoint, last: Checkpoint) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Scores (examples, edges) of both checkpoints, or None unless there are scores per example of
    the same examples.
    """
    if first.per_example is None or last.per_example is None:
        return None
    before, after = first.read(), last.read()
    same = first.circuit.about.examples.same(last.circuit.about.examples)
    return (before, after) if same and before.shape == after.shape else None


def _arrival_test(checkpoints: list[Checkpoint], arrival: int | None, *, seed: int) -> dict | None:
    """`bootstrap.permutation_test` of the first checkpoint within noise of the last one, and it.

    None where that is the last one itself, and where the two are not of the same examples.
    """
    if arrival is None or arrival == len(checkpoints) - 1:
        return None
    last = checkpoints[-1].circuit
    both = _same_examples(checkpoints[arrival], checkpoints[-1])
    if both is None:
        return None
    arrived, final = both
    return bootstrap.permutation_test(
        last.rule.values(arrived),
        last.rule.values(final),
        n=last.n_selected,
        absolute=last.rule.absolute,
        seed=seed,
    )


# ---------------------------------------------------------------- layers


def layer_scores(
    circuits: list[Circuit], scores: torch.Tensor | None, *, norms: list[float] | None = None
) -> dict[str, list[float]]:
    """Scores per layer for choosing where to adapt: `change`, `after`, `before`.

    change: |s_last / norm_last - s_first / norm_first| over all edges (CircuitLoRA, arXiv
    2502.11812, normalised); `norms` is a number per circuit, sum |s| if not given. after, before:
    |s| of the edges in the last and the first circuit as a share of sum |s|. Without scores an edge
    in the circuit counts as 1.
    """
    graph, first, last = circuits[0].graph, circuits[0].in_graph, circuits[-1].in_graph
    sizes = torch.stack([first, last]).double() if scores is None else scores[[0, -1]].double()
    totals = sizes.abs().sum(1).clamp_min(1e-300).tolist()
    before, after = sizes[0] / totals[0], sizes[1] / totals[1]
    old, new = totals if norms is None else (norms[0], norms[-1])
    weights = {
        "change": (sizes[1] / new - sizes[0] / old).abs(),
        "after": after.abs() * last,
        "before": before.abs() * first,
    }
    return {name: evolution.layer_mass(graph, weight).tolist() for name, weight in weights.items()}


def _layers_noise(run: Run, noises, *, change: list[float], seed: int) -> dict | None:
    """{"pairs", "floor": what resampling the examples of the first and of the last checkpoint
    changes in each layer, "beyond": layers}; None where noise is not known.
    """
    if noises is None or run.norms is None:
        return None
    drawn = []
    for end in (0, -1):
        shares = evolution.shares(run.checkpoints[end].read(), run.norms.parts[end])
        drawn.append(evolution.layer_noise(run.graph, shares, seed=seed))
    changes = np.concatenate(drawn)
    floors = [central(values) for values in changes.T]
    return {
        "pairs": len(changes),
        "floor": floors,
        "beyond": [layer for layer, floor in enumerate(floors) if change[layer] > floor["high"]],
    }


# ---------------------------------------------------------------- single edges


def _trajectories(run: Run, moved: dict | None, *, n: int, seed: int) -> dict:
    """{"chosen": MOVED, NOT_SHOWN or NOT_TESTED, "edges": normalised scores over the checkpoints of
    at most n edges}.

    The edges are those that changed beyond noise, the largest change first; where there is none,
    those whose range is largest. "low" and "high" are the central 95 % of resamples of the
    examples, where there are any.
    """
    shares = _shares(run)
    if moved is not None and moved["edges"]:
        chosen = MOVED
        numbers = [run.graph.edge_number[row["edge"]] for row in moved["edges"][:n]]
    else:
        chosen = NOT_TESTED if moved is None else NOT_SHOWN
        spread = shares.amax(0) - shares.amin(0)
        numbers = torch.argsort(spread, descending=True, stable=True)[:n].tolist()
    bands = _bands(run, numbers, seed=seed)
    edges = []
    for place, number in enumerate(numbers):
        edge = {
            "edge": run.graph.edges[number],
            "scores": shares[:, number].tolist(),
            "low": None if bands is None else [low[place] for low, _ in bands],
            "high": None if bands is None else [high[place] for _, high in bands],
        }
        edges.append(edge)
    return {"chosen": chosen, "edges": edges}


def _shares(run: Run) -> torch.Tensor:
    """(checkpoints, edges) scores divided by their checkpoint's norm, or by sum |score|."""
    if run.scores is None:
        raise ValueError("expected scores of every circuit, there are none")
    scores = run.scores.double()
    norms = scores.abs().sum(1).clamp_min(1e-300)
    if run.norms is not None:
        norms = torch.tensor(run.norms.values).double()
    return scores / norms[:, None]


def _bands(run: Run, edges: list[int], *, seed: int) -> list[tuple[list, list]] | None:
    """The central 95 % of resamples of each checkpoint's scores of these edges, low and high."""
    if run.norms is None:
        return None
    bands = []
    for checkpoint, part in zip(run.checkpoints, run.norms.parts, strict=True):
        shares = evolution.shares(checkpoint.read()[:, edges], part)
        drawn = torch.cat(list(bootstrap_means(shares, resamples=INTERVAL_RESAMPLES, seed=seed)))
        low, high = ends(drawn.numpy(), axis=0)
        bands.append((low.tolist(), high.tolist()))
    return bands


def _moved(checkpoints: list[Checkpoint]) -> dict | None:
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
    moves = evolution.moves(*both, kept_before=old, kept_after=new)
    inside, changed = (old | new).numpy(), moves.q <= FALSE_DISCOVERY
    return {
        "false_discovery_rate": FALSE_DISCOVERY,
        "examples": len(both[0]),
        "counts": {kind: _count(moves.kind == kind, inside) for kind in evolution.KINDS},
        "entered": _crossed((new & ~old).numpy(), changed),
        "left": _crossed((old & ~new).numpy(), changed),
        "edges": _changed_edges(moves, inside & changed, names=first.circuit.graph.edges),
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


def _changed_edges(moves: evolution.Moves, which: np.ndarray, *, names) -> list[dict]:
    """A row for each edge of `which`, the largest change first; scores are divided by
    `evolution.norms`.
    """
    change = (moves.after - moves.before).numpy()
    order = np.argsort(-np.abs(change), kind="stable").tolist()
    ranked = [number for number in order if which[number]]
    return [
        {
            "edge": names[number],
            "kind": str(moves.kind[number]),
            "before": float(moves.before[number]),
            "after": float(moves.after[number]),
            "change": float(change[number]),
            "q": float(moves.q[number]),
        }
        for number in ranked
    ]
