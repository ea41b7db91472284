"""Choosing edges: functions from scores (a number per edge) to a choice (a boolean per edge)."""

import heapq

import torch

from eap import InputError
from eap.graph import Graph


def ranking(scores: torch.Tensor, absolute: bool = True) -> torch.Tensor:
    """Edge numbers from the largest |score| (or signed score) to the smallest; ties keep the edge order.

    Raises InputError for NaN or infinite scores: they would sort first and pass for the strongest.
    """
    if not torch.isfinite(scores).all():
        raise InputError(
            f"expected finite scores, got {int((~torch.isfinite(scores)).sum())} that are not; extract the circuit again"
        )
    return torch.argsort(scores.abs() if absolute else scores, descending=True, stable=True)


def top_n(graph: Graph, scores: torch.Tensor, n: int, absolute: bool = True) -> torch.Tensor:
    """Booleans per edge: the n edges of largest |score|."""
    kept = torch.zeros(graph.n_edges, dtype=torch.bool)
    kept[ranking(scores, absolute)[:n]] = True
    return kept


def above_threshold(
    graph: Graph, scores: torch.Tensor, threshold: float, absolute: bool = True
) -> torch.Tensor:
    """Booleans per edge: |score| (or the signed score) of at least `threshold`."""
    ranking(scores)
    return (scores.abs() if absolute else scores) >= threshold


def greedy(graph: Graph, scores: torch.Tensor, n: int, absolute: bool = True) -> torch.Tensor:
    """Booleans per edge: n edges grown backwards from the logits.

    Of all edges into nodes met so far, at first `logits`, the one of largest |score| is taken, n times; its source is met then. A heap
    holds the next edge of each node met, so that it stays as small as the graph has nodes. Source: Hanna et al., arXiv 2403.17806.
    """
    order = ranking(scores, absolute)
    readers = graph.reader[graph.edge_index[1]][order]
    by_reader = torch.argsort(
        readers, stable=True
    )  # places in the ranking: each reader's edges in turn, its strongest first
    ends = torch.bincount(readers, minlength=len(graph.nodes)).cumsum(0).tolist()
    places, sources = by_reader.tolist(), graph.edge_index[0][order[by_reader]].tolist()
    heap, met, taken = [], {0}, []

    def offer(row: int, node: int) -> None:
        if row < ends[node]:
            heapq.heappush(heap, (places[row], row, node))

    def meet(node: int) -> None:
        if node not in met:
            met.add(node)
            offer(ends[node - 1], node)

    meet(len(graph.nodes) - 1)
    while heap and len(taken) < n:
        place, row, node = heapq.heappop(heap)
        taken.append(place)
        offer(row + 1, node)
        meet(sources[row])
    return torch.zeros(graph.n_edges, dtype=torch.bool).index_fill_(0, order[taken], True)


def prune(graph: Graph, kept: torch.Tensor) -> torch.Tensor:
    """`kept` without the edges that carry nothing from `input` to `logits`, until none is left to remove.

    An edge goes when its source (other than `input`) has no kept incoming edge, or its reader (other than `logits`) no kept outgoing
    edge. q, k and v of a head count as one node.
    """
    edges = kept.nonzero().flatten()
    src, reader = graph.edge_index[0][edges], graph.reader[graph.edge_index[1][edges]]
    while True:
        fed = torch.zeros(len(graph.nodes), dtype=torch.bool)
        heard = fed.clone()
        fed[reader] = True
        heard[src] = True
        fed[0] = heard[-1] = True
        stay = fed[src] & heard[reader]
        if stay.all():
            return torch.zeros_like(kept).index_fill_(0, edges, True)
        edges, src, reader = edges[stay], src[stay], reader[stay]


def top_nodes(
    graph: Graph, node_scores: torch.Tensor, n_edges: int, absolute: bool = True
) -> torch.Tensor:
    """Booleans per edge: all edges among the best nodes, adding nodes by |score| while the edges among them are at most `n_edges`.

    `node_scores` is one number per source; `input` and `logits` are always nodes of the circuit.
    """
    src, dst = graph.edge_index
    chosen = torch.zeros(len(graph.nodes), dtype=torch.bool)
    chosen[0] = chosen[-1] = True
    for node in ranking(node_scores, absolute).tolist():
        larger = chosen.clone()
        larger[node] = True
        if int((larger[src] & larger[graph.reader[dst]]).sum()) > n_edges:
            break
        chosen = larger
    return chosen[src] & chosen[graph.reader[dst]]


def sign_consistent(
    graph: Graph,
    per_example: torch.Tensor,
    n: int,
    absolute: bool = True,
    resamples: int = 1000,
    seed: int = 0,
):
    """Booleans per edge: top-n among the `consistent` edges, all of them if there are fewer. `per_example` is (examples, edges)."""
    return among(
        graph, per_example.double().mean(0), consistent(per_example, resamples, seed), n, absolute
    )


def consistent(per_example: torch.Tensor, resamples: int = 1000, seed: int = 0) -> torch.Tensor:
    """Booleans per edge: whether the mean score keeps its sign in at least 95 % of bootstrap resamples of the examples.

    Raises InputError for a single example, of which every resample is the same.
    """
    if len(per_example) < 2:
        raise InputError(
            "expected at least 2 examples to see which edges keep their sign, got 1; use more pairs or another --selection"
        )
    return (sign_stability(per_example, resamples, seed) >= 0.95) & (
        per_example.double().mean(0) != 0
    )


def among(
    graph: Graph, scores: torch.Tensor, eligible: torch.Tensor, n: int, absolute: bool = True
) -> torch.Tensor:
    """Booleans per edge: the n edges of largest |score| among the `eligible` ones."""
    order = ranking(scores, absolute)
    return torch.zeros(graph.n_edges, dtype=torch.bool).index_fill_(
        0, order[eligible[order]][:n], True
    )


def select(
    graph: Graph,
    per_example: torch.Tensor,
    selection: str,
    n: int,
    absolute: bool = True,
    seed: int = 0,
) -> torch.Tensor:
    """Booleans per edge: `n` edges chosen by one of `SELECTIONS` from per-example scores (examples, edges)."""
    if selection not in SELECTIONS:
        raise InputError(f"expected a selection of {', '.join(SELECTIONS)}, got {selection!r}")
    return SELECTIONS[selection](graph, per_example, n, absolute, seed)


SELECTIONS = {
    "topn": lambda graph, per_example, n, absolute, seed: top_n(
        graph, per_example.double().mean(0), n, absolute
    ),
    "greedy": lambda graph, per_example, n, absolute, seed: greedy(
        graph, per_example.double().mean(0), n, absolute
    ),
    "sign-consistent": lambda graph, per_example, n, absolute, seed: sign_consistent(
        graph, per_example, n, absolute, seed=seed
    ),
}


# ---------------------------------------------------------------- random circuits, the null of every circuit


def uniform(graph: Graph, n: int, generator: torch.Generator) -> torch.Tensor:
    """Booleans per edge: n edges drawn at random from all."""
    return torch.zeros(graph.n_edges, dtype=torch.bool).index_fill_(
        0, torch.randperm(graph.n_edges, generator=generator)[:n], True
    )


def layer_pairs(graph: Graph) -> torch.Tensor:
    """(edges,) a number for every pair of (source's layer, reader's layer); `input` and `logits` count as layers of their own."""
    sources, readers = (
        torch.tensor([graph.layer_of(name) + 1 for name in names])
        for names in (graph.sources, graph.destinations)
    )
    src, dst = graph.edge_index
    return sources[src] * (graph.n_layers + 2) + readers[dst]


def matched(graph: Graph, kept: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Booleans per edge: edges drawn at random with as many per (source's layer, reader's layer) as `kept` has.

    The stricter null: a circuit that only got its layers right is no better than this.
    """
    pairs = layer_pairs(graph)
    wanted, there = (
        torch.bincount(pairs[kept], minlength=int(pairs.max()) + 1),
        torch.bincount(pairs),
    )
    order = torch.randperm(graph.n_edges, generator=generator)
    order = order[torch.argsort(pairs[order], stable=True)]  # shuffled within each pair of layers
    place = torch.arange(graph.n_edges) - (there.cumsum(0) - there)[pairs[order]]
    return torch.zeros_like(kept).index_fill_(0, order[place < wanted[pairs[order]]], True)


# ---------------------------------------------------------------- resampled examples


def bootstrap_means(per_example: torch.Tensor, resamples: int, seed: int, chunk: int = 200):
    """Yield mean scores of resampled examples, (up to `chunk`, edges) at a time: one matrix product of counts with scores."""
    generator = torch.Generator().manual_seed(seed)
    n = len(per_example)
    for start in range(0, resamples, chunk):
        rows = torch.randint(n, (min(chunk, resamples - start), n), generator=generator)
        counts = torch.zeros(len(rows), n).scatter_add_(1, rows, torch.ones(rows.shape))
        yield counts @ per_example.float() / n


def sign_stability(per_example: torch.Tensor, resamples: int = 1000, seed: int = 0) -> torch.Tensor:
    """(edges,) share of bootstrap resamples in which an edge's mean score has the sign of its mean over all examples."""
    sign = per_example.mean(0).sign()
    agreeing = sum(
        (means.sign() == sign).sum(0) for means in bootstrap_means(per_example, resamples, seed)
    )
    return agreeing / resamples
