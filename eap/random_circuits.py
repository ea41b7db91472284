"""Circuits drawn at random: the null of every circuit."""

import torch

from eap.graph import Graph


def uniform(graph: Graph, n: int, generator: torch.Generator) -> torch.Tensor:
    """Booleans per edge: n edges drawn at random from all."""
    return torch.zeros(graph.n_edges, dtype=torch.bool).index_fill_(
        0, torch.randperm(graph.n_edges, generator=generator)[:n], True
    )


def layer_pairs(graph: Graph) -> torch.Tensor:
    """(edges,) a number for every pair of (source's layer, reader's layer); `input` and `logits`
    count as layers of their own.
    """
    sources = torch.tensor([graph.layer_of(name) + 1 for name in graph.sources])
    readers = torch.tensor([graph.layer_of(name) + 1 for name in graph.destinations])
    src, dst = graph.edge_index
    return sources[src] * (graph.n_layers + 2) + readers[dst]


def matched(graph: Graph, kept: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Booleans per edge: edges drawn at random with as many per (source's layer, reader's layer) as
    `kept` has.

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
