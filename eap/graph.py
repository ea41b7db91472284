"""A circuit's parts, kept apart: the immutable `Graph`, scores (a number per edge), a choice (a boolean per edge), the `Circuit` file.

Nodes are `input`, `a{layer}.h{head}`, `m{layer}`, `logits`. A head reads through three slots, `<q>`, `<k>` and `<v>`; an MLP and the
logits read through one. An edge `u->v` exists where u writes to the residual stream before v reads it. Sources are ordered by when
they write and destinations by when they read, so that the parents of a destination are the first `n_parents` sources. Scores and
choices are vectors in the edge order of EAP-IG (Hanna et al., arXiv 2403.17806), whose JSON is read and written here.
"""

import heapq
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from eap import InputError

SLOTS = ("q", "k", "v")


@dataclass(frozen=True)
class Graph:
    """The computational graph of a decoder with `n_layers` blocks of `n_heads` heads and one MLP each."""

    n_layers: int
    n_heads: int
    d_model: int

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
            names += [f"a{layer}.h{head}<{slot}>" for slot in SLOTS for head in range(self.n_heads)] + [f"m{layer}"]
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
            heads = [start + slot * self.n_heads + head for head in range(self.n_heads) for slot in range(3)]
            for group in (heads, [start + 3 * self.n_heads]):
                pairs += [(src, dst) for src in range(self.n_parents[group[0]]) for dst in group]
        pairs += [(src, len(self.destinations) - 1) for src in range(len(self.sources))]
        src, dst = torch.tensor(pairs).T.contiguous()
        return src, dst

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """Names of every edge, in order."""
        src, dst = self.edge_index
        return tuple(f"{self.sources[s]}->{self.destinations[d]}" for s, d in zip(src.tolist(), dst.tolist(), strict=True))

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
        """How many edges there are: 32,491 for GPT-2 small."""
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


# ---------------------------------------------------------------- choosing edges: scores -> booleans


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
    src, dst = graph.edge_index
    reader = graph.reader[dst]
    while True:
        fed = torch.zeros(len(graph.nodes), dtype=torch.bool)
        heard = fed.clone()
        fed[reader[kept]] = True
        heard[src[kept]] = True
        fed[0] = heard[-1] = True
        smaller = kept & fed[src] & heard[reader]
        if torch.equal(smaller, kept):
            return kept
        kept = smaller


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


# ---------------------------------------------------------------- comparing


def jaccard(a: torch.Tensor, b: torch.Tensor) -> float:
    """|a and b| / |a or b| of two choices of edges or nodes; 1 for two empty ones."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def chance_jaccard(size_a: int, size_b: int, total: int) -> float:
    """The Jaccard index expected of two random choices: ab / (a + b - ab) in fractions, K / (2 - K) for equal sizes K."""
    a, b = size_a / total, size_b / total
    return a * b / (a + b - a * b) if a + b else 1.0


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Spearman's rank correlation of two score vectors, ties at their mean rank; 0 when one of them is constant."""
    ranks = torch.stack([_ranks(a), _ranks(b)])
    if (ranks.std(1) == 0).any():
        return 0.0
    return float(torch.corrcoef(ranks)[0, 1])


def _ranks(values: torch.Tensor) -> torch.Tensor:
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[place].double()


# ---------------------------------------------------------------- the file


@dataclass(frozen=True)
class Circuit:
    """Scores and a choice of edges on a graph, with where they come from; what a `C_*.json` holds.

    `scores` is None for a file that has none; `node_scores` (a number per source) is there for node-level methods.
    """

    graph: Graph
    in_graph: torch.Tensor
    scores: torch.Tensor | None = None
    node_scores: torch.Tensor | None = None
    metadata: dict = field(default_factory=dict)

    def require_scores(self, path="the circuit") -> torch.Tensor:
        """The scores. Raises InputError when the file has none."""
        if self.scores is None:
            raise InputError(f"{path}: expected a score for every edge, found none; extract the circuit with this software")
        return self.scores

    def to_json(self) -> dict:
        """EAP-IG's JSON: `cfg`, `nodes`, `edges` with `score` and `in_graph`; and our `metadata`."""
        graph, kept = self.graph, self.graph.nodes_kept(self.in_graph).tolist()
        nodes = {name: {"in_graph": kept[i]} for i, name in enumerate(graph.nodes)}
        if self.node_scores is not None:
            for name, score in zip(graph.sources, self.node_scores.tolist(), strict=True):
                nodes[name]["score"] = score
        scores = self.require_scores().tolist()
        return {
            "cfg": {"n_layers": graph.n_layers, "n_heads": graph.n_heads, "parallel_attn_mlp": False, "d_model": graph.d_model},
            "nodes": nodes,
            "edges": {name: {"score": scores[i], "in_graph": bool(self.in_graph[i])} for i, name in enumerate(graph.edges)},
            "metadata": {"format": 1, **self.metadata},
        }


def load_circuit(path) -> Circuit:
    """The circuit in a JSON file of ours, of EAP-IG, or of an older dialect.

    Older dialects: nodes as plain booleans; q, k and v collapsed (`a0.h1->a2.h3`), which puts all three slots in the circuit, each with a
    third of the score; edges without scores. Raises InputError naming the file and what is wrong.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a circuit JSON, found no such file; run extract_summarization_circuit.py first") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a circuit JSON, got something unreadable ({error}); extract it again") from error
    try:
        return _parse(content, path)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a circuit JSON (cfg, nodes, edges), but {error!r} is wrong or missing") from error


def _parse(content: dict, path) -> Circuit:
    cfg, metadata = content["cfg"], dict(content.get("metadata", {}))
    if cfg.get("parallel_attn_mlp"):
        raise InputError(f"{path}: expected blocks whose MLP reads after attention, got parallel_attn_mlp; no such model is supported yet")
    if metadata.pop("format", 1) != 1:
        raise InputError(f"{path}: expected format 1, got {content['metadata']['format']}; update this software or extract again")
    graph = Graph(int(cfg["n_layers"]), int(cfg["n_heads"]), int(cfg["d_model"]))
    scores, in_graph = torch.zeros(graph.n_edges, dtype=torch.float64), torch.zeros(graph.n_edges, dtype=torch.bool)
    scored = False
    for name, value in content["edges"].items():
        numbers = _edge_numbers(graph, name, path)
        value = value if isinstance(value, dict) else {"in_graph": value}
        in_graph[numbers] = bool(value["in_graph"])
        if "score" in value:
            scored = True
            scores[numbers] = float(value["score"]) / len(numbers)
    if scored and not torch.isfinite(scores).all():
        raise InputError(f"{path}: expected finite scores, got {graph.edges[int((~torch.isfinite(scores)).nonzero()[0])]} without one")
    node_scores = [node.get("score") for name in graph.sources if isinstance(node := content["nodes"].get(name), dict)]
    complete = len(node_scores) == len(graph.sources) and None not in node_scores
    return Circuit(graph, in_graph, scores if scored else None, torch.tensor(node_scores).double() if complete else None, metadata)


def _edge_numbers(graph: Graph, name: str, path) -> list[int]:
    if name in graph.edge_number:
        return [graph.edge_number[name]]
    slots = [f"{name}<{slot}>" for slot in SLOTS]
    if slots[0] in graph.edge_number:
        return [graph.edge_number[slot] for slot in slots]
    raise InputError(f"{path}: expected edges of a model with {graph.n_layers} layers of {graph.n_heads} heads, got {name!r}")


def require_comparable(a: Circuit, b: Circuit, path) -> None:
    """Raise InputError if two circuits are of different graphs or were found with different tokenizers."""
    if a.graph != b.graph:
        raise InputError(f"{path}: expected a circuit of {a.graph}, got one of {b.graph}; compare circuits of one architecture")
    tokenizers = {each.metadata.get("tokenizer_sha256") for each in (a, b)} - {None}
    if len(tokenizers) > 1:
        raise InputError(f"{path}: expected a circuit found with the same tokenizer as the first, got another's; extract it again")


def choose_again(circuit: Circuit, per_example: torch.Tensor) -> torch.Tensor:
    """Booleans per edge: what the circuit's own selection, of its own size, keeps of other per-example scores (examples, edges).

    A threshold is taken as the size it gave; sign-consistent resampling as top-n.
    """
    selection, absolute = circuit.metadata.get("selection", "topn"), circuit.metadata.get("absolute", True)
    size = circuit.metadata.get("sizes", {}).get("selected") or int(circuit.in_graph.sum())
    chooser = "greedy" if selection == "greedy" else "topn"
    return prune(circuit.graph, select(circuit.graph, per_example, chooser, size, absolute))


def resampled_choices(circuit: Circuit, per_example: torch.Tensor, resamples: int, seed: int):
    """Yield pairs of circuits (booleans per edge) from two bootstrap resamples of the same examples each: the noise floor."""
    first, second = (bootstrap_means(per_example, resamples, seed + shift, chunk=50) for shift in (0, 10**6))
    for a, b in zip(first, second, strict=True):
        for mean_a, mean_b in zip(a, b, strict=True):
            yield choose_again(circuit, mean_a[None]), choose_again(circuit, mean_b[None])


def resampled_pairs(circuit: Circuit, per_example_a: torch.Tensor, per_example_b: torch.Tensor, resamples: int, seed: int):
    """Yield pairs of circuits from two score sets, both resampled by the same examples: for a paired interval."""
    both = (bootstrap_means(each, resamples, seed, chunk=50) for each in (per_example_a, per_example_b))
    for a, b in zip(*both, strict=True):
        for mean_a, mean_b in zip(a, b, strict=True):
            yield choose_again(circuit, mean_a[None]), choose_again(circuit, mean_b[None])
