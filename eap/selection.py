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
        raise InputError(f"expected finite scores, got {int((~torch.isfinite(scores)).sum())} that are not; extract the circuit again")
    return torch.argsort(scores.abs() if absolute else scores, descending=True, stable=True)


def top_n(graph: Graph, scores: torch.Tensor, n: int, absolute: bool = True) -> torch.Tensor:
    """Booleans per edge: the n edges of largest |score|."""
    kept = torch.zeros(graph.n_edges, dtype=torch.bool)
    kept[ranking(scores, absolute)[:n]] = True
    return kept


def above_threshold(graph: Graph, scores: torch.Tensor, threshold: float, absolute: bool = True) -> torch.Tensor:
    """Booleans per edge: |score| (or the signed score) of at least `threshold`."""
    ranking(scores)
    return (scores.abs() if absolute else scores) >= threshold


def greedy(graph: Graph, scores: torch.Tensor, n: int, absolute: bool = True) -> torch.Tensor:
    """Booleans per edge: n edges grown backwards from the logits.

    A heap holds the edges by |score|, at first those into `logits`. The largest is taken n times; when it brings in a node for
    the first time, that node's own incoming edges join the heap. Source: Hanna et al., arXiv 2403.17806.
    """
    order = torch.empty(graph.n_edges, dtype=torch.long)
    order[ranking(scores, absolute)] = torch.arange(graph.n_edges)
    rank, kept = order.tolist(), torch.zeros(graph.n_edges, dtype=torch.bool)
    src, dst = graph.edge_index
    incoming = [[] for _ in graph.nodes]
    for edge, node in enumerate(graph.reader[dst].tolist()):
        incoming[node].append((rank[edge], edge))
    heap, met = list(incoming[-1]), {0}
    heapq.heapify(heap)
    while heap and n > 0:
        edge, n = heapq.heappop(heap)[1], n - 1
        kept[edge] = True
        node = int(src[edge])
        if node not in met:
            met.add(node)
            for entry in incoming[node]:
                heapq.heappush(heap, entry)
    return kept


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


def top_nodes(graph: Graph, node_scores: torch.Tensor, n_edges: int, absolute: bool = True) -> torch.Tensor:
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


def sign_consistent(graph: Graph, per_example: torch.Tensor, n: int, absolute: bool = True, resamples: int = 1000, seed: int = 0):
    """Booleans per edge: top-n among the edges whose mean score keeps its sign in at least 95 % of bootstrap resamples of the examples.

    `per_example` is (examples, edges).
    """
    share = sign_stability(per_example, resamples, seed)
    scores = torch.where(share >= 0.95, per_example.double().mean(0), 0.0)
    return top_n(graph, scores, n, absolute) & (share >= 0.95)


def select(graph: Graph, per_example: torch.Tensor, selection: str, n: int, absolute: bool = True, seed: int = 0) -> torch.Tensor:
    """Booleans per edge: `n` edges chosen by one of `SELECTIONS` from per-example scores (examples, edges)."""
    if selection not in SELECTIONS:
        raise InputError(f"expected a selection of {', '.join(SELECTIONS)}, got {selection!r}")
    return SELECTIONS[selection](graph, per_example, n, absolute, seed)


SELECTIONS = {
    "topn": lambda graph, per_example, n, absolute, seed: top_n(graph, per_example.double().mean(0), n, absolute),
    "greedy": lambda graph, per_example, n, absolute, seed: greedy(graph, per_example.double().mean(0), n, absolute),
    "sign-consistent": lambda graph, per_example, n, absolute, seed: sign_consistent(graph, per_example, n, absolute, seed=seed),
}


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
    agreeing = sum((means.sign() == sign).sum(0) for means in bootstrap_means(per_example, resamples, seed))
    return agreeing / resamples
