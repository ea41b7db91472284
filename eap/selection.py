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


def ranking(scores: torch.Tensor, *, absolute: bool = True) -> torch.Tensor:
    """Edge numbers from the largest |score| (or signed score) down; ties keep the edge order.

    Raises InputError for NaN or infinite scores: they would sort first and pass for the strongest.
    """
    require_finite(scores)
    return torch.argsort(strength(scores, absolute=absolute), descending=True, stable=True)


def strength(scores: torch.Tensor, *, absolute: bool) -> torch.Tensor:
    """What edges are ranked by: |score|, or the signed score."""
    return scores.abs() if absolute else scores


def require_finite(scores: torch.Tensor) -> None:
    """Raise InputError for scores that are NaN or infinite."""
    wrong = int((~torch.isfinite(scores)).sum())
    if wrong:
        raise InputError(
            f"expected finite scores, got {wrong} that are not; extract the circuit again"
        )


def by_label(order: torch.Tensor, labels: torch.Tensor, *, n_labels: int) -> tuple:
    """The edges of label 0, of label 1 and so on, a tensor each, every one in the order of `order`.

    `order` are edge numbers, `labels` (edges,) a number below `n_labels` for every edge.
    """
    together = order[torch.argsort(labels[order], stable=True)]
    return together.split(torch.bincount(labels, minlength=n_labels).tolist())


# ---------------------------------------------------------------- by the scores alone


def top_n(graph: Graph, scores: torch.Tensor, *, n: int, absolute: bool = True) -> torch.Tensor:
    """Booleans per edge: the n edges of largest |score|, of equal ones the first.

    Raises InputError as `ranking` does.
    """
    require_finite(scores)
    return strongest(scores, min(n, graph.n_edges), absolute=absolute)


def strongest(scores: torch.Tensor, n: int, *, absolute: bool = True) -> torch.Tensor:
    """(..., edges) booleans: the n edges of largest |score| (or signed score), of equal the first.

    Takes any number of score vectors (..., edges), of at least n edges.
    """
    if n < 1:
        return torch.zeros(scores.shape, dtype=torch.bool)
    values = strength(scores, absolute=absolute)
    least = values.topk(n, sorted=False).values.amin(-1, keepdim=True)
    above, level = values > least, values == least
    room = n - above.sum(-1, keepdim=True)
    return above | (level & (level.cumsum(-1) <= room))


def above_threshold(
    scores: torch.Tensor, threshold: float, *, absolute: bool = True
) -> torch.Tensor:
    """Booleans per edge: |score| (or the signed score) of at least `threshold`."""
    require_finite(scores)
    return strength(scores, absolute=absolute) >= threshold


def among(
    scores: torch.Tensor, eligible: torch.Tensor, *, n: int, absolute: bool = True
) -> torch.Tensor:
    """Booleans per edge: the n edges of largest |score| among the `eligible`, or all of these.

    `eligible` are edge numbers, ascending.
    """
    require_finite(scores)
    kept = torch.zeros(len(scores), dtype=torch.bool)
    best = strongest(scores[eligible], min(n, len(eligible)), absolute=absolute)
    kept[eligible[best]] = True
    return kept


def consistent(per_example: torch.Tensor, *, resamples: int = 1000, seed: int = 0) -> torch.Tensor:
    """Booleans per edge: whether the mean score keeps its sign when examples are resampled.

    That is in at least 95 % of bootstrap resamples. Raises InputError for a single example, of
    which every resample is the same.
    """
    if len(per_example) < 2:
        raise InputError(
            "expected at least 2 examples to see which edges keep their sign, got 1; use more "
            "examples"
        )
    keeps_sign = sign_stability(per_example, resamples=resamples, seed=seed) >= 0.95
    return keeps_sign & (per_example.double().mean(0) != 0)


# ---------------------------------------------------------------- by the graph as well


def greedy(graph: Graph, scores: torch.Tensor, *, n: int, absolute: bool = True) -> torch.Tensor:
    """Booleans per edge: n edges grown backwards from the logits.

    Of all edges into nodes met so far, at first `logits`, the one of largest |score| is taken, n
    times; its source is met then. A heap holds the next edge of each node met, so that it stays as
    small as the graph has nodes. Source: Hanna et al., arXiv 2403.17806.
    """
    order = ranking(scores, absolute=absolute)
    places = order.argsort().tolist()  # of every edge in the ranking
    sources, destinations = graph.edge_index
    source_of = sources.tolist()
    edges_into = by_label(order, graph.reader[destinations], n_labels=graph.n_readers)
    group_of = _groups_of_heads(graph)
    waiting = {}  # of every node met: its edges that were not offered yet, the strongest first
    heap: list[tuple[int, int, int]] = []  # (place, edge, node) of every node met
    kept = torch.zeros(graph.n_edges, dtype=torch.bool)

    def offer_next(node: int) -> None:
        edge = next(waiting[node], None)
        if edge is not None:
            heapq.heappush(heap, (places[edge], edge, node))

    def meet(node: int) -> None:
        if node not in waiting:
            waiting[node] = iter(edges_into[node].tolist())
            offer_next(node)
            if node in group_of:  # whose keys and values it reads as well
                meet(group_of[node])

    meet(len(graph.nodes) - 1)  # the logits
    for _ in range(n):
        if not heap:
            break
        _, edge, node = heapq.heappop(heap)
        kept[edge] = True
        offer_next(node)
        meet(source_of[edge])
    return kept


def _groups_of_heads(graph: Graph) -> dict[int, int]:
    """{a head's node: the reader that is its group}; empty where heads share nothing."""
    first = len(graph.nodes)
    return {
        head: first + group
        for group, heads in enumerate(graph.group_heads.tolist())
        for head in heads
    }


def prune(graph: Graph, kept: torch.Tensor) -> torch.Tensor:
    """`kept` without the edges that carry nothing from `input` to `logits`.

    An edge goes when its source (other than `input`) has no kept incoming edge, or its reader
    (other than `logits`) no kept outgoing edge, until none is left to go. q, k and v of a head
    count as one node; what feeds a group of heads that share keys and values feeds them all.
    """
    group_heads, n_nodes = graph.group_heads, len(graph.nodes)
    logits = n_nodes - 1
    edges = kept.nonzero()[:, 0]
    sources, readers = graph.edge_index[0][edges], graph.reader[graph.edge_index[1][edges]]
    while True:
        fed = torch.zeros(graph.n_readers, dtype=torch.bool)  # has a kept edge into it
        heard = torch.zeros(graph.n_readers, dtype=torch.bool)  # has a kept edge out of it
        fed[readers] = True
        heard[sources] = True
        fed[group_heads[fed[n_nodes:]]] = True
        heard[n_nodes:] = heard[group_heads].any(1)
        fed[0] = heard[logits] = True
        stays = fed[sources] & heard[readers]
        if stays.all():
            pruned = torch.zeros_like(kept)
            pruned[edges] = True
            return pruned
        edges, sources, readers = edges[stays], sources[stays], readers[stays]


def top_nodes(
    graph: Graph, node_scores: torch.Tensor, *, n_edges: int, absolute: bool = True
) -> torch.Tensor:
    """Booleans per edge: all edges among the best nodes, as long as these are at most `n_edges`.

    Nodes are added by |score|. `node_scores` is one number per source; `input` and `logits` are
    always nodes of the circuit.
    """
    chosen = torch.zeros(len(graph.nodes), dtype=torch.bool)
    chosen[0] = chosen[-1] = True
    kept = _among_nodes(graph, chosen)
    for node in ranking(node_scores, absolute=absolute).tolist():
        chosen[node] = True
        larger = _among_nodes(graph, chosen)
        if int(larger.sum()) > n_edges:
            break
        kept = larger
    return kept


def _among_nodes(graph: Graph, chosen: torch.Tensor) -> torch.Tensor:
    """Booleans per edge: whether both ends are chosen nodes; a group is with any of its heads."""
    sources, destinations = graph.edge_index
    readers = torch.cat([chosen, chosen[graph.group_heads].any(1)])
    return chosen[sources] & readers[graph.reader[destinations]]


# ---------------------------------------------------------------- the rule of a circuit

SELECTIONS = ("topn", "greedy", "sign-consistent")
THRESHOLD = "threshold"  # what a file says of a rule that takes all edges that reach one
# What edges are ranked by: |mean score|, or the mean over examples of |score per example|.
RANKS = ("mean", "example")


@dataclass(frozen=True)
class Rule:
    """How a circuit's edges are chosen: at extraction, from resampled examples, by other scores.

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
        """(examples, edges) what is averaged over examples for the ranking.

        That are the scores, or with rank `example` their absolute values.
        """
        return per_example.abs() if self.rank == "example" else per_example

    def choose(self, graph: Graph, means: torch.Tensor) -> torch.Tensor:
        """Booleans per edge: what the rule takes by `means`, before pruning.

        `means` (edges,) is the mean of `values` over examples.
        """
        n = graph.n_edges if self.n is None else self.n
        if self.nodes:
            sums = means.new_zeros(len(graph.sources)).index_add_(0, graph.edge_index[0], means)
            return top_nodes(graph, sums, n_edges=n, absolute=self.absolute)
        if self.threshold is not None:
            return above_threshold(means, self.threshold, absolute=self.absolute)
        if self.selection == "greedy":
            return greedy(graph, means, n=n, absolute=self.absolute)
        if self.eligible is not None:
            return among(means, self._is_eligible, n=n, absolute=self.absolute)
        return top_n(graph, means, n=n, absolute=self.absolute)

    def take(self, graph: Graph, means: torch.Tensor) -> torch.Tensor:
        """Booleans per edge: `choose`, pruned where the rule prunes."""
        kept = self.choose(graph, means)
        return prune(graph, kept) if self.prunes else kept

    def taking(self, graph: Graph) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function from many means (circuits, edges) to what `take` takes of each."""
        n = graph.n_edges if self.n is None else min(self.n, graph.n_edges)
        if self.n is not None and self == self.equal(self.n):
            return lambda means: strongest(means, n, absolute=self.absolute)
        return lambda means: torch.stack([self.take(graph, row) for row in means])

    def sized(self, n: int) -> "Rule":
        """The rule for another size of the same circuit, by the same ranking.

        It takes the n strongest edges, or the nodes with at most n edges.
        """
        return replace(self, n=n, selection="topn", threshold=None, eligible=None)

    def equal(self, n: int) -> "Rule":
        """The rule for comparing circuits of one size, by the same ranking.

        It takes the n strongest edges, also of nodes, and does not prune.
        """
        return replace(self.sized(n), nodes=False, prunes=False)

    @cached_property
    def _is_eligible(self) -> torch.Tensor:
        return torch.tensor(self.eligible, dtype=torch.long)
