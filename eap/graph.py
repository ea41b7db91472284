"""The computational graph of a transformer: who writes to the residual stream, and who reads it.

Nodes are `input`, `a{layer}.h{head}`, `m{layer}`, `logits`. A head reads through three slots,
`<q>`, `<k>` and `<v>`; an MLP and the logits read through one. An edge `u->v` exists where u writes
to the residual stream before v reads it; in *parallel* blocks the MLP reads what attention reads,
so that a layer's heads are none of its MLP's parents. Sources are ordered by when they write and
destinations by when they read, so that the parents of a destination are the first `n_parents`
sources. Scores and choices are vectors in the edge order of EAP-IG (Hanna et al., arXiv
2403.17806).

Where query heads share keys and values, EAP-IG and MIB give every query head an edge into a k and a
v of its own, though one tensor serves the group; so does this graph by default (`kv_heads` None).
With `kv_heads` G a layer has G slots for keys and G for values, named `a{layer}.g{group}<k>` and
`<v>`, and a head reads through its `<q>` and through those of its group. The edge order is that per
query head without the k and v of all but the first head of each group. A group is no node: it
writes nothing. What reaches its slots reaches each of its heads, so that pruning and greedy
selection go from a head to its group's edges; as a node, a head counts where it writes or reads a
kept edge of its own.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

SLOTS = ("q", "k", "v")


@dataclass(frozen=True)
class Graph:
    """The graph of a decoder with `n_layers` blocks of `n_heads` heads and one MLP each."""

    n_layers: int
    n_heads: int
    d_model: int | None = None  # None: a circuit's file that does not say
    parallel: bool = field(default=False, kw_only=True)  # MLPs read what attention reads
    kv_heads: int | None = field(default=None, kw_only=True)  # None: k and v per query head

    def __str__(self) -> str:
        blocks = "parallel layers" if self.parallel else "layers"
        width = "" if self.d_model is None else f", d_model {self.d_model}"
        shared = "" if self.kv_heads is None else f" that share {self.kv_heads} keys and values"
        return f"{self.n_layers} {blocks} of {self.n_heads} heads{shared}{width}"

    def fits(self, other: "Graph") -> bool:
        """Whether both are one graph; a width that one of them does not know is no difference."""
        widths = {self.d_model, other.d_model} - {None}
        return len(widths) < 2 and replace(self, d_model=None) == replace(other, d_model=None)

    @property
    def kv(self) -> str:
        """Whether keys and values are "shared" by query heads, or "per-head"."""
        return "per-head" if self.kv_heads is None else "shared"

    @property
    def slot_counts(self) -> tuple[int, int, int]:
        """How many slots a layer's heads have for q, for k and for v."""
        shared = self.kv_heads or self.n_heads
        return self.n_heads, shared, shared

    def head_slots(self, layer: int) -> slice:
        """The destinations that are q, k and v of a layer's heads: all q, all k, all v."""
        count = sum(self.slot_counts)
        first = layer * (count + 1)
        return slice(first, first + count)

    @cached_property
    def slot_of_head(self) -> tuple[int, ...]:
        """The place among `head_slots` that each of 3 n_heads reads: all q, all k, all v."""
        places, first = [], 0
        for count in self.slot_counts:
            share = self.n_heads // count
            places += [first + head // share for head in range(self.n_heads)]
            first += count
        return tuple(places)

    def fold_slots(self, per_head: torch.Tensor) -> torch.Tensor:
        """(slots of a layer, ...) from (3 n_heads, ...): sums over the heads that share a slot."""
        if self.kv_heads is None:
            return per_head
        places = torch.tensor(self.slot_of_head, device=per_head.device)
        slots = per_head.new_zeros(sum(self.slot_counts), *per_head.shape[1:])
        return slots.index_add_(0, places, per_head)

    def mlp_slot(self, layer: int) -> int:
        """The destination through which a layer's MLP reads."""
        return self.head_slots(layer).stop

    def heads(self, layer: int) -> slice:
        """The sources that are a layer's heads."""
        first = 1 + layer * (self.n_heads + 1)
        return slice(first, first + self.n_heads)

    def mlp(self, layer: int) -> int:
        """The source that is a layer's MLP."""
        return self.heads(layer).stop

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
            for slot, count in zip(SLOTS, self.slot_counts, strict=True):
                kind = "h" if count == self.n_heads else "g"
                names += [f"a{layer}.{kind}{place}<{slot}>" for place in range(count)]
            names.append(f"m{layer}")
        return (*names, "logits")

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """All node names: the sources and `logits`."""
        return (*self.sources, "logits")

    @cached_property
    def n_parents(self) -> tuple[int, ...]:
        """For each destination, how many sources write before it reads."""
        counts = []
        for layer in range(self.n_layers):
            heads = self.heads(layer)
            counts += [heads.start] * sum(self.slot_counts)
            counts.append(heads.start if self.parallel else heads.stop)
        return (*counts, len(self.sources))

    @cached_property
    def edge_index(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(source, destination) numbers of every edge, (edges,) each, in EAP-IG's order.

        That is by reader; of the slots of a layer's heads by source, then head by head q, k, v.
        """
        head_by_head = torch.tensor(self.slot_of_head).view(3, self.n_heads).T.flatten().tolist()
        places = torch.tensor(list(dict.fromkeys(head_by_head)))  # a group's with its first head
        together = []  # destinations that have the same parents
        for layer in range(self.n_layers):
            together.append(self.head_slots(layer).start + places)
            together.append(torch.tensor([self.mlp_slot(layer)]))
        together.append(torch.tensor([len(self.destinations) - 1]))
        sources, readers = [], []
        for slots in together:
            n_parents = self.n_parents[slots[0]]
            sources.append(torch.arange(n_parents).repeat_interleave(len(slots)))
            readers.append(slots.repeat(n_parents))
        return torch.cat(sources), torch.cat(readers)

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
        """For each destination, the number of its node in `nodes`: a head's q, k and v are one.

        The slots of a group have numbers after those of all nodes, one for each row of
        `group_heads`.
        """
        names = list(self.nodes)
        if self.kv_heads is not None:
            groups = range(self.kv_heads)
            names += [f"a{layer}.g{group}" for layer in range(self.n_layers) for group in groups]
        number = {name: i for i, name in enumerate(names)}
        return torch.tensor([number[name.split("<")[0]] for name in self.destinations])

    @cached_property
    def group_heads(self) -> torch.Tensor:
        """(groups, heads of each) numbers in `nodes`; no rows where no heads share k and v."""
        if self.kv_heads is None:
            return torch.zeros(0, 1, dtype=torch.long)
        first = torch.tensor([self.heads(layer).start for layer in range(self.n_layers)])
        heads = first[:, None] + torch.arange(self.n_heads)
        return heads.view(self.n_layers * self.kv_heads, -1)

    @property
    def n_readers(self) -> int:
        """How many numbers `reader` has: nodes, and groups of heads that share keys and values."""
        return len(self.nodes) + len(self.group_heads)

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
        n_into = torch.zeros(*kept.shape[:-1], self.n_readers, dtype=torch.long)
        n_into.index_add_(-1, self.reader, dense.any(-2).long())
        return touched | (n_into[..., : len(self.nodes)] > 0)
