"""The computational graph of a transformer: who writes to the residual stream, who reads it, in the field's names and order.

Nodes are `input`, `a{layer}.h{head}`, `m{layer}`, `logits`. A head reads through three slots, `<q>`, `<k>` and `<v>`; an MLP and the
logits read through one. An edge `u->v` exists where u writes to the residual stream before v reads it. Sources are ordered by when
they write and destinations by when they read, so that the parents of a destination are the first `n_parents` sources. Scores and
choices are vectors in the edge order of EAP-IG (Hanna et al., arXiv 2403.17806).
"""

from dataclasses import dataclass
from functools import cached_property

import torch

SLOTS = ("q", "k", "v")


@dataclass(frozen=True)
class Graph:
    """The computational graph of a decoder with `n_layers` blocks of `n_heads` heads and one MLP each."""

    n_layers: int
    n_heads: int
    d_model: int | None = None  # None: a circuit's file that does not say

    def __str__(self) -> str:
        width = "" if self.d_model is None else f", d_model {self.d_model}"
        return f"{self.n_layers} layers of {self.n_heads} heads{width}"

    def fits(self, other: "Graph") -> bool:
        """Whether both are one graph; a width that one of them does not know is no difference."""
        widths = {self.d_model, other.d_model} - {None}
        same = (self.n_layers, self.n_heads) == (other.n_layers, other.n_heads)
        return same and len(widths) < 2

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Names of the nodes that write, in the order in which they write."""
        names = ["input"]
        for layer in range(self.n_layers):
            names += [f"a{layer}.h{head}" for head in range(self.n_heads)] + [f"m{layer}"]
        return tuple(names)

    @cached_property
    def destinations(self) -> tuple[str, ...]:
        """Names of the slots that read: per layer all q, all k, all v, the MLP; the logits last."""
        names = []
        for layer in range(self.n_layers):
            names += [
                f"a{layer}.h{head}<{slot}>" for slot in SLOTS for head in range(self.n_heads)
            ] + [f"m{layer}"]
        return (*names, "logits")

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """All node names: the sources and `logits`."""
        return (*self.sources, "logits")

    @cached_property
    def n_parents(self) -> tuple[int, ...]:
        """For each destination, how many sources write before it reads."""
        width, counts = self.n_heads + 1, []
        for layer in range(self.n_layers):
            counts += [1 + layer * width] * (3 * self.n_heads) + [1 + layer * width + self.n_heads]
        return (*counts, len(self.sources))

    @cached_property
    def edge_index(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(source, destination) numbers of every edge, in EAP-IG's order: by reader, then by source, then head by head q, k, v."""
        pairs, width = [], 3 * self.n_heads + 1
        for layer in range(self.n_layers):
            start = layer * width
            heads = [
                start + slot * self.n_heads + head
                for head in range(self.n_heads)
                for slot in range(3)
            ]
            for group in (heads, [start + 3 * self.n_heads]):
                pairs += [(src, dst) for src in range(self.n_parents[group[0]]) for dst in group]
        pairs += [(src, len(self.destinations) - 1) for src in range(len(self.sources))]
        src, dst = torch.tensor(pairs).T.contiguous()
        return src, dst

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """Names of every edge, in order."""
        src, dst = self.edge_index
        return tuple(
            f"{self.sources[s]}->{self.destinations[d]}"
            for s, d in zip(src.tolist(), dst.tolist(), strict=True)
        )

    @cached_property
    def edge_number(self) -> dict[str, int]:
        """Position of every edge name in the edge order."""
        return {name: number for number, name in enumerate(self.edges)}

    @cached_property
    def reader(self) -> torch.Tensor:
        """For each destination, the number of its node in `nodes`: the q, k and v slots of a head are one node."""
        number = {name: i for i, name in enumerate(self.nodes)}
        return torch.tensor([number[name.split("<")[0]] for name in self.destinations])

    @property
    def n_edges(self) -> int:
        """How many edges there are: 32,491 for 12 layers of 12 heads."""
        return len(self.edge_index[0])

    def matrix(self, vector: torch.Tensor) -> torch.Tensor:
        """(..., sources, destinations) from (..., edges); zero or False where there is no edge."""
        dense = vector.new_zeros(*vector.shape[:-1], len(self.sources), len(self.destinations))
        src, dst = self.edge_index
        dense[..., src.to(vector.device), dst.to(vector.device)] = vector
        return dense

    def vector(self, matrix: torch.Tensor) -> torch.Tensor:
        """(..., edges) from (..., sources, destinations)."""
        src, dst = self.edge_index
        return matrix[..., src.to(matrix.device), dst.to(matrix.device)]

    def layer_of(self, node: str) -> int:
        """The layer of a node or slot: -1 for `input`, `n_layers` for `logits`."""
        name = node.split("<")[0]
        ends = {"input": -1, "logits": self.n_layers}
        return ends[name] if name in ends else int(name.split(".")[0][1:])

    def nodes_kept(self, kept: torch.Tensor) -> torch.Tensor:
        """(..., nodes) booleans: which nodes are an end of a kept edge. `kept` is (..., edges)."""
        dense = self.matrix(kept)
        touched = torch.zeros(*kept.shape[:-1], len(self.nodes), dtype=torch.bool)
        touched[..., :-1] = dense.any(-1)
        return touched | self._into_nodes(dense)

    def _into_nodes(self, dense: torch.Tensor) -> torch.Tensor:
        counts = torch.zeros(*dense.shape[:-2], len(self.nodes), dtype=torch.long)
        return counts.index_add(-1, self.reader, dense.any(-2).long()) > 0
