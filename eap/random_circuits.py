"""Circuits drawn at random: the null of every circuit."""

import torch

from eap.graph import Graph
from eap.selection import by_label


def uniform(graph: Graph, n: int, *, generator: torch.Generator) -> torch.Tensor:
    """Booleans per edge: n edges drawn at random from all."""
    drawn = torch.zeros(graph.n_edges, dtype=torch.bool)
    drawn[torch.randperm(graph.n_edges, generator=generator)[:n]] = True
    return drawn


def layer_pairs(graph: Graph) -> torch.Tensor:
    """(edges,) a number for every pair of (source's layer, reader's layer).

    `input` and `logits` count as layers of their own.
    """
    sources = torch.tensor([graph.layer_of(name) + 1 for name in graph.sources])
    readers = torch.tensor([graph.layer_of(name) + 1 for name in graph.destinations])
    src, dst = graph.edge_index
    return sources[src] * (graph.n_layers + 2) + readers[dst]


def matched(graph: Graph, kept: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """Booleans per edge: random edges, as many for every pair of layers as `kept` has.

    The stricter null: a circuit that only got its layers right is no better than this.
    """
    pairs = layer_pairs(graph)
    n_pairs = int(pairs.max()) + 1
    wanted = torch.bincount(pairs[kept], minlength=n_pairs).tolist()
    shuffled = torch.randperm(graph.n_edges, generator=generator)
    drawn = torch.zeros_like(kept)
    for edges, n in zip(by_label(shuffled, pairs, n_labels=n_pairs), wanted, strict=True):
        drawn[edges[:n]] = True
    return drawn
