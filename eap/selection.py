"""Choosing edges by their scores, and the rule that a circuit is made by."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from eap import InputError
from eap.graph import Graph
from eap.resampling import sign_stability

# The standard sizes of circuits, as shares of all edges (MIB, arXiv 2504.13151).
FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def ranking(scores: torch.Tensor, absolute: bool = True) -> torch.Tensor:
    """Edge numbers from the largest |score| (or signed score) to the smallest; ties keep the edge
    order.

    Raises InputError for NaN or infinite scores: they would sort first and pass for the strongest.
    """
    require_finite(scores)
    return torch.argsort(scores.abs() if absolute else scores, descending=True, stable=True)


def require_finite(scores: torch.Tensor) -> None:
    """Raise InputError for scores that are NaN or infinite."""
    if not torch.isfinite(scores).all():
        raise InputError(
            f"expected finite scores, got {int((~torch.isfinite(scores)).sum())} that are not; extract the circuit again"
        )


def top_n(graph: Graph, scores: torch.Tensor, n: int, absolute: bool = True) -> torch.Tensor:
    """Booleans per edge: the n edges of largest |score|, of equal ones the first. Raises InputError
    as `ranking` does.
    """
    require_finite(scores)
    return strongest(scores, min(n, graph.n_edges), absolute)


def strongest(scores: torch.Tensor, n: int, absolute: bool = True) -> torch.Tensor:
    """(..., edges) booleans: the n edges of largest |score| (or signed score) of any number of
    score vectors, of equal ones the first.
    """
    values = scores.abs() if absolute else scores
    if n < 1:
        return torch.zeros(scores.shape, dtype=torch.bool)
    least = values.topk(n, sorted=False).values.amin(-1, keepdim=True)
    above, level = values > least, values == least
    room = n - above.sum(-1, keepdim=True)
    return above | (level & (level.cumsum(-1) <= room))


def above_threshold(
    graph: Graph, scores: torch.Tensor, threshold: float, absolute: bool = True
) -> torch.Tensor:
    """Booleans per edge: |score| (or the signed score) of at least `threshold`."""
    require_finite(scores)
    return (scores.abs() if absolute else scores) >= threshold


def greedy(graph: Graph, scores: torch.Tensor, n: int, absolute: bool = True) -> torch.Tensor:
    """Booleans per edge: n edges grown backwards from the logits.

    Of all edges into nodes met so far, at first `logits`, the one of largest |score| is taken, n
    times; its source is met then. A heap holds the next edge of each node met, so that it stays as
    small as the graph has nodes. Source: Hanna et al., arXiv 2403.17806.
    """
    order = ranking(scores, absolute)
    readers = graph.reader[graph.edge_index[1]][order]
    by_reader = torch.argsort(
        readers, stable=True
    )  # places in the ranking: each reader's edges in turn, its strongest first
    ends = torch.bincount(readers, minlength=graph.n_readers).cumsum(0).tolist()
    groups = enumerate(graph.group_heads.tolist(), len(graph.nodes))
    group_of = {head: group for group, heads in groups for head in heads}
    places, sources = by_reader.tolist(), graph.edge_index[0][order[by_reader]].tolist()
    heap, met, taken = [], {0}, []

    def offer(row: int, node: int) -> None:
        if row < ends[node]:
            heapq.heappush(heap, (places[row], row, node))

    def meet(node: int) -> None:
        if node not in met:
            met.add(node)
            offer(ends[node - 1], node)
            if node in group_of:  # whose keys and values it reads as well
                meet(group_of[node])

    meet(len(graph.nodes) - 1)
    while heap and len(taken) < n:
        place, row, node = heapq.heappop(heap)
        taken.append(place)
        offer(row + 1, node)
        meet(sources[row])
    return torch.zeros(graph.n_edges, dtype=torch.bool).index_fill_(0, order[taken], True)


def prune(graph: Graph, kept: torch.Tensor) -> torch.Tensor:
    """`kept` without the edges that carry nothing from `input` to `logits`, until none is left to
    remove.

    An edge goes when its source (other than `input`) has no kept incoming edge, or its reader
    (other than `logits`) no kept outgoing edge. q, k and v of a head count as one node; what feeds
    a group of heads that share keys and values feeds them all.
    """
    groups, n_nodes = graph.group_heads, len(graph.nodes)
    edges = kept.nonzero().flatten()
    src, reader = graph.edge_index[0][edges], graph.reader[graph.edge_index[1][edges]]
    while True:
        fed = torch.zeros(graph.n_readers, dtype=torch.bool)
        heard = fed.clone()
        fed[reader] = True
        heard[src] = True
        fed[groups[fed[n_nodes:]]] = True
        heard[n_nodes:] = heard[groups].any(1)
        fed[0] = heard[n_nodes - 1] = True
        stay = fed[src] & heard[reader]
        if stay.all():
            return torch.zeros_like(kept).index_fill_(0, edges, True)
        edges, src, reader = edges[stay], src[stay], reader[stay]


def top_nodes(
    graph: Graph, node_scores: torch.Tensor, n_edges: int, absolute: bool = True
) -> torch.Tensor:
    """Booleans per edge: all edges among the best nodes, adding nodes by |score| while the edges
    among them are at most `n_edges`.

    `node_scores` is one number per source; `input` and `logits` are always nodes of the circuit.
    """
    chosen = torch.zeros(len(graph.nodes), dtype=torch.bool)
    chosen[0] = chosen[-1] = True
    for node in ranking(node_scores, absolute).tolist():
        larger = chosen.clone()
        larger[node] = True
        if int(_among_nodes(graph, larger).sum()) > n_edges:
            break
        chosen = larger
    return _among_nodes(graph, chosen)


def _among_nodes(graph: Graph, chosen: torch.Tensor) -> torch.Tensor:
    """Booleans per edge: whether both ends are of the chosen nodes; a group with any of its heads."""
    src, dst = graph.edge_index
    readers = torch.cat([chosen, chosen[graph.group_heads].any(1)])
    return chosen[src] & readers[graph.reader[dst]]


def consistent(per_example: torch.Tensor, resamples: int = 1000, seed: int = 0) -> torch.Tensor:
    """Booleans per edge: whether the mean score keeps its sign in at least 95 % of bootstrap
    resamples of the examples.

    Raises InputError for a single example, of which every resample is the same.
    """
    if len(per_example) < 2:
        raise InputError(
            "expected at least 2 examples to see which edges keep their sign, got 1; use more examples"
        )
    return (sign_stability(per_example, resamples, seed) >= 0.95) & (
        per_example.double().mean(0) != 0
    )


def among(
    graph: Graph, scores: torch.Tensor, eligible: torch.Tensor, n: int, absolute: bool = True
) -> torch.Tensor:
    """Booleans per edge: the n edges of largest |score| among the `eligible` ones (edge numbers,
    ascending), or all of these.
    """
    require_finite(scores)
    best = strongest(scores[eligible], min(n, len(eligible)), absolute)
    return torch.zeros(graph.n_edges, dtype=torch.bool).index_fill_(0, eligible[best], True)


# ---------------------------------------------------------------- the rule of a circuit

SELECTIONS = ("topn", "greedy", "sign-consistent")
THRESHOLD = "threshold"  # what a file says of a rule that takes all edges that reach one
# What edges are ranked by: |mean score|, or the mean over examples of |score per example|.
RANKS = ("mean", "example")


@dataclass(frozen=True)
class Rule:
    """How a circuit's edges are chosen. The same rule takes them at extraction, from resampled
    examples and by other scores.

    `values` turns scores per example into numbers whose mean over examples edges are ranked by;
    `take` chooses by such a mean.
    """

    n: int | None = None  # edges before pruning; None with a threshold
    selection: str = "topn"  # one of SELECTIONS
    threshold: float | None = None  # least |mean|: all edges that reach it, instead of n
    absolute: bool = True  # by |mean|, or by the signed mean
    rank: str = "mean"  # one of RANKS
    nodes: bool = False  # all edges among the best nodes, whose scores are the sums of their edges'
    eligible: tuple[int, ...] | None = None  # edges to choose among, of sign-consistent
    prunes: bool = True  # whether edges on no path from `input` to `logits` go

    def entries(self) -> dict:
        """What a circuit's file says of the rule, besides sizes and eligible edges."""
        return {
            "selection": self.selection if self.threshold is None else THRESHOLD,
            "threshold": self.threshold,
            "absolute": self.absolute,
            "rank": self.rank,
        }

    def values(self, per_example: torch.Tensor) -> torch.Tensor:
        """(examples, edges) what is averaged over examples for the ranking: the scores, or with
        rank `example` their absolute values.
        """
        return per_example.abs() if self.rank == "example" else per_example

    def choose(self, graph: Graph, means: torch.Tensor) -> torch.Tensor:
        """Booleans per edge: what the rule takes by `means` (edges,), the mean of `values`, before
        pruning.
        """
        n = graph.n_edges if self.n is None else self.n
        if self.nodes:
            sums = means.new_zeros(len(graph.sources)).index_add_(0, graph.edge_index[0], means)
            return top_nodes(graph, sums, n, self.absolute)
        if self.threshold is not None:
            return above_threshold(graph, means, self.threshold, self.absolute)
        if self.selection == "greedy":
            return greedy(graph, means, n, self.absolute)
        if self.eligible is not None:
            return among(graph, means, self._is_eligible, n, self.absolute)
        return top_n(graph, means, n, self.absolute)

    def take(self, graph: Graph, means: torch.Tensor) -> torch.Tensor:
        """Booleans per edge: `choose`, pruned where the rule prunes."""
        kept = self.choose(graph, means)
        return prune(graph, kept) if self.prunes else kept

    def taking(self, graph: Graph) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function from many means (circuits, edges) to what `take` takes of each."""
        n = graph.n_edges if self.n is None else min(self.n, graph.n_edges)
        if self.n is not None and self == self.equal(self.n):
            return lambda means: strongest(means, n, self.absolute)
        return lambda means: torch.stack([self.take(graph, row) for row in means])

    def sized(self, n: int) -> "Rule":
        """The rule for another size of the same circuit: the n strongest by the same ranking (or
        the nodes with at most n edges).
        """
        return replace(self, n=n, selection="topn", threshold=None, eligible=None)

    def equal(self, n: int) -> "Rule":
        """The rule for comparing circuits of one size: the n strongest edges by the same ranking,
        also of nodes, not pruned.
        """
        return replace(self.sized(n), nodes=False, prunes=False)

    @cached_property
    def _is_eligible(self) -> torch.Tensor:
        return torch.tensor(self.eligible, dtype=torch.long)
