"""A circuit: scores and a choice of edges on a graph, its JSON file, and what two circuits have in common."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from eap import InputError
from eap.graph import SLOTS, Graph
from eap.selection import RANKS, Rule


@dataclass(frozen=True)
class Circuit:
    """Scores and a choice of edges on a graph, with where they come from; what a `C_*.json` holds.

    `scores` is None for a file that has none; `node_scores` (a number per source) is there for
    node-level methods. `rank_scores` is what the edges are ranked by where that is not their score:
    with the rank `example` the mean over examples of |score per example|.
    """

    graph: Graph
    in_graph: torch.Tensor
    scores: torch.Tensor | None = None
    node_scores: torch.Tensor | None = None
    metadata: dict = field(default_factory=dict)
    rank_scores: torch.Tensor | None = None

    @property
    def rule(self) -> Rule:
        """How its edges were chosen, from the metadata. A file without `sizes` is from elsewhere:
        as many as it has, not pruned.
        """
        told, sizes = self.metadata, self.metadata.get("sizes")
        common = {
            "absolute": bool(told.get("absolute", True)),
            "rank": told.get("rank", "mean"),
            "nodes": self.node_scores is not None,
        }
        if sizes is None:
            return Rule(int(self.in_graph.sum()), prunes=False, **common)
        if told.get("selection") == "threshold":
            return Rule(threshold=told["threshold"], **common)
        eligible = told.get("consistent_edges")
        return Rule(
            sizes["requested"] if common["nodes"] else sizes["selected"],
            told.get("selection", "topn"),
            eligible=None if eligible is None else tuple(eligible),
            **common,
        )

    @property
    def ranking(self) -> torch.Tensor:
        """(edges,) what the rule chooses by: `rank_scores`, else the scores. Raises InputError when
        the file has none.
        """
        return self.require_scores() if self.rank_scores is None else self.rank_scores

    def require_scores(self, path="the circuit") -> torch.Tensor:
        """The scores. Raises InputError when the file has none."""
        if self.scores is None:
            raise InputError(
                f"{path}: expected a score for every edge, found none; extract the circuit with this software"
            )
        return self.scores

    def to_json(self) -> dict:
        """EAP-IG's JSON: `cfg`, `nodes`, `edges` with `score` and `in_graph`; and our `metadata`."""
        graph, kept = self.graph, self.graph.nodes_kept(self.in_graph).tolist()
        nodes = {name: {"in_graph": kept[i]} for i, name in enumerate(graph.nodes)}
        if self.node_scores is not None:
            for name, score in zip(graph.sources, self.node_scores.tolist(), strict=True):
                nodes[name]["score"] = score
        scores = self.require_scores().tolist()
        edges = {
            name: {"score": scores[i], "in_graph": bool(self.in_graph[i])}
            for i, name in enumerate(graph.edges)
        }
        if self.rank_scores is not None:
            for edge, value in zip(edges.values(), self.rank_scores.tolist(), strict=True):
                edge["rank_score"] = value
        return {
            "cfg": {
                "n_layers": graph.n_layers,
                "n_heads": graph.n_heads,
                "parallel_attn_mlp": False,
                "d_model": graph.d_model,
            },
            "nodes": nodes,
            "edges": edges,
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
        raise InputError(
            f"{path}: expected a circuit JSON, found no such file; run extract_summarization_circuit.py first"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a circuit JSON, got something unreadable ({error}); extract it again"
        ) from error
    try:
        return _parse(content, path)
    except InputError:
        raise
    except KeyError as error:
        raise InputError(
            f"{path}: expected a circuit JSON (cfg, nodes, edges with numbers), found no {error.args[0]!r} in it; give "
            "a file that extract_summarization_circuit.py wrote, or extract it again"
        ) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected a circuit JSON (cfg, nodes, edges with numbers), but {error!r} is wrong or missing; "
            "extract it again"
        ) from error


def _parse(content: dict, path) -> Circuit:
    cfg, metadata = content["cfg"], dict(content.get("metadata", {}))
    if cfg.get("parallel_attn_mlp"):
        raise InputError(
            f"{path}: expected blocks whose MLP reads after attention, got parallel_attn_mlp; no such model is supported yet"
        )
    if metadata.pop("format", 1) != 1:
        raise InputError(
            f"{path}: expected format 1, got {content['metadata']['format']}; update this software or extract again"
        )
    graph = Graph(int(cfg["n_layers"]), int(cfg["n_heads"]), int(cfg["d_model"]))
    scores, in_graph = (
        torch.zeros(graph.n_edges, dtype=torch.float64),
        torch.zeros(graph.n_edges, dtype=torch.bool),
    )
    scored = False
    for name, value in content["edges"].items():
        numbers = _edge_numbers(graph, name, path)
        value = value if isinstance(value, dict) else {"in_graph": value}
        in_graph[numbers] = bool(value["in_graph"])
        if "score" in value:
            scored = True
            scores[numbers] = float(value["score"]) / len(numbers)
    if scored and not torch.isfinite(scores).all():
        raise InputError(
            f"{path}: expected finite scores, got {graph.edges[int((~torch.isfinite(scores)).nonzero()[0])]} without one"
        )
    node_scores = [
        node.get("score")
        for name in graph.sources
        if isinstance(node := content["nodes"].get(name), dict)
    ]
    complete = len(node_scores) == len(graph.sources) and None not in node_scores
    return Circuit(
        graph,
        in_graph,
        scores if scored else None,
        torch.tensor(node_scores).double() if complete else None,
        metadata,
        _rank_scores(content["edges"], metadata.get("rank", "mean"), graph, path),
    )


def _rank_scores(edges: dict, rank: str, graph: Graph, path) -> torch.Tensor | None:
    """(edges,) what the edges of a file are ranked by, where that is not their score."""
    if rank not in RANKS:
        raise InputError(
            f"{path}: expected edges ranked by {' or '.join(RANKS)}, got {rank!r}; extract it again"
        )
    if rank == "mean":
        return None
    return torch.tensor([float(edges[name]["rank_score"]) for name in graph.edges]).double()


def _edge_numbers(graph: Graph, name: str, path) -> list[int]:
    if name in graph.edge_number:
        return [graph.edge_number[name]]
    slots = [f"{name}<{slot}>" for slot in SLOTS]
    if slots[0] in graph.edge_number:
        return [graph.edge_number[slot] for slot in slots]
    raise InputError(
        f"{path}: expected edges of a model with {graph.n_layers} layers of {graph.n_heads} heads, got {name!r}"
    )


def require_comparable(circuits: list[Circuit], names: list[str]) -> None:
    """Raise InputError unless all circuits are of one graph and, where the files say so, of one tokenizer."""
    first, *others = zip(circuits, names, strict=True)
    for circuit, name in others:
        if circuit.graph != first[0].graph:
            raise InputError(
                f"expected circuits of one model shape, got {first[0].graph} ({first[1]}) and {circuit.graph} ({name}); "
                "compare circuits of one model only"
            )
        tokenizers = {each.metadata.get("tokenizer_sha256") for each in (first[0], circuit)} - {
            None
        }  # unknown: nothing to refuse
        if len(tokenizers) > 1:
            raise InputError(
                f"expected circuits of one tokenizer, got two different ones ({first[1]}, {name}): their tokens differ; "
                "extract both with the same one"
            )


def asked_for(circuit: Circuit) -> int:
    """How many edges were selected before pruning; as many as there are for a file that does not say."""
    return circuit.metadata.get("sizes", {}).get("selected", int(circuit.in_graph.sum()))


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
