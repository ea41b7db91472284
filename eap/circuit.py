"""A circuit: scores and a choice of edges on a graph, and its JSON file."""

import itertools
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import torch

from eap import InputError, strict_json
from eap.graph import SLOTS, Graph
from eap.metadata import Metadata, read_metadata
from eap.selection import Rule

MOST = {"n_layers": 1000, "n_heads": 1000, "d_model": 10**6}  # in a file


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
    metadata: Mapping = field(default_factory=dict)  # as in the file; `about` is read from it
    rank_scores: torch.Tensor | None = None

    def __post_init__(self):
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @cached_property
    def about(self) -> Metadata:
        """How the circuit was found. Raises InputError as `read_metadata` does."""
        return read_metadata(self.metadata)

    def noting(self, **entries) -> "Circuit":
        """The circuit with more in its metadata, or other things."""
        return replace(self, metadata={**self.metadata, **entries})

    @property
    def rule(self) -> Rule:
        """How its edges were chosen."""
        return self.about.rule(int(self.in_graph.sum()), nodes=self.node_scores is not None)

    @property
    def n_selected(self) -> int:
        """How many edges were chosen before pruning; of a file that does not say, what it has."""
        sizes = self.about.sizes
        return int(self.in_graph.sum()) if sizes is None else sizes.selected

    @property
    def ranking(self) -> torch.Tensor:
        """(edges,) what the rule chooses by: `rank_scores`, else the scores.

        Raises InputError when the file has none.
        """
        return self.require_scores() if self.rank_scores is None else self.rank_scores

    def require_scores(self, path="the circuit") -> torch.Tensor:
        """The scores. Raises InputError when the file has none."""
        if self.scores is None:
            raise InputError(
                f"{path}: expected a score for every edge, found none; extract the circuit with "
                "this software"
            )
        return self.scores

    def to_json(self) -> dict:
        """EAP-IG's JSON: `cfg`, `nodes`, `edges` with `score` and `in_graph`; our `metadata`."""
        metadata = {"format": 1, **self.metadata}
        if self.graph.kv_heads is not None:  # for which `cfg` has no field
            metadata |= {"kv": self.graph.kv, "kv_heads": self.graph.kv_heads}
        return {
            "cfg": self._cfg(),
            "nodes": self._nodes(),
            "edges": self._edges(),
            "metadata": metadata,
        }

    def _cfg(self) -> dict:
        graph = self.graph
        cfg = {
            "n_layers": graph.n_layers,
            "n_heads": graph.n_heads,
            "parallel_attn_mlp": graph.parallel,
        }
        return cfg if graph.d_model is None else {**cfg, "d_model": graph.d_model}

    def _nodes(self) -> dict[str, dict]:
        kept = self.graph.nodes_kept(self.in_graph).tolist()
        nodes = {name: {"in_graph": kept[i]} for i, name in enumerate(self.graph.nodes)}
        if self.node_scores is not None:
            for name, score in zip(self.graph.sources, self.node_scores.tolist(), strict=True):
                nodes[name]["score"] = score
        return nodes

    def _edges(self) -> dict[str, dict]:
        scores, in_graph = self.require_scores().tolist(), self.in_graph.bool().tolist()
        rows = zip(self.graph.edges, scores, in_graph, strict=True)
        edges = {name: {"score": score, "in_graph": is_in} for name, score, is_in in rows}
        if self.rank_scores is not None:
            for edge, value in zip(edges.values(), self.rank_scores.tolist(), strict=True):
                edge["rank_score"] = value
        return edges


def load_circuit(path) -> Circuit:
    """The circuit in a JSON file of ours, of EAP-IG, or of an older dialect.

    Older dialects: nodes as plain booleans; q, k and v collapsed (`a0.h1->a2.h3`), which puts all
    three slots in the circuit, each with a third of the score; edges without scores, or as plain
    booleans; only some edges listed, of which the others are not in the circuit; `cfg` without
    `d_model` (FinetuneCircuits). Whether an edge is in the circuit is true, false, 1 or 0: text
    ("False"), null and other numbers are refused, as is an edge that is there twice. Raises
    InputError naming the file and what is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        parsed = strict_json.loads(text)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a circuit JSON, found no such file") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a circuit JSON, got something unreadable ({error}); extract it again"
        ) from error
    try:
        return _parse(parsed, path)
    except InputError:
        raise
    except KeyError as error:
        raise InputError(
            f"{path}: expected a circuit JSON (cfg, nodes, edges with numbers), found no "
            f"{error.args[0]!r} in it; extract it again"
        ) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected a circuit JSON (cfg, nodes, edges with numbers), but {error!r} is "
            "wrong or missing; extract it again"
        ) from error


def _parse(parsed: dict, path) -> Circuit:
    cfg, about = parsed["cfg"], _metadata(parsed, path)
    width = cfg.get("d_model")
    graph = Graph(
        _whole(cfg["n_layers"], "n_layers", path=path),
        _whole(cfg["n_heads"], "n_heads", path=path),
        None if width is None else _whole(width, "d_model", path=path),
        parallel=_boolean(cfg.get("parallel_attn_mlp", False), "parallel_attn_mlp", path=path),
        kv_heads=_kv_heads(cfg["n_heads"], about.entries.get("kv_heads"), path=path),
    )
    in_graph, scores = _edges(graph, parsed["edges"], path=path)
    _require_whole_nodes(graph, in_graph, listed=parsed["nodes"], path=path)
    node_scores = _node_scores(graph, parsed["nodes"], path=path)
    rank_scores = None
    if about.rank == "example":
        ranks = [float(parsed["edges"][name]["rank_score"]) for name in graph.edges]
        rank_scores = torch.tensor(ranks, dtype=torch.float64)
    return Circuit(graph, in_graph, scores, node_scores, about.entries, rank_scores)


def _kv_heads(n_heads: int, kv_heads: int | None, *, path) -> int | None:
    """How many heads' keys and values a file's graph has; None: as many as query heads."""
    if kv_heads is not None and not (0 < kv_heads < n_heads and n_heads % kv_heads == 0):
        raise InputError(
            f"{path}: expected metadata.kv_heads to divide the {n_heads} heads, got {kv_heads}; "
            "extract the circuit again"
        )
    return kv_heads


def _metadata(parsed: dict, path) -> Metadata:
    """A circuit file's metadata, read; of a file that has none, nothing is known."""
    entries = parsed.get("metadata")
    if entries is not None and not isinstance(entries, dict):
        raise InputError(
            f"{path}: expected metadata with names and values in braces, got "
            f"{type(entries).__name__}; extract the circuit again"
        )
    entries = dict(entries or {})
    format_ = entries.pop("format", 1)
    if format_ != 1:
        raise InputError(
            f"{path}: expected format 1, got {format_!r}; update this software or extract again"
        )
    return read_metadata(entries, path)


def _edges(graph: Graph, listed: dict, *, path) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(which edges are in the circuit, their scores or None), from the `edges` of a file."""
    if columns := _as_we_write(graph, listed):
        return columns
    # lists first: a million single writes into a tensor take a minute
    scores, in_graph = [0.0] * graph.n_edges, [False] * graph.n_edges
    seen, n_scored = set(), 0
    for name, value in listed.items():
        numbers = _edge_numbers(graph, name, path=path)
        if not seen.isdisjoint(numbers):
            raise InputError(
                f"{path}: expected every edge once, got {name} twice, also with its q, k and v; "
                "leave one of them out"
            )
        seen.update(numbers)
        score = 0.0
        if isinstance(value, dict):
            is_in = _boolean(value["in_graph"], name, path=path)
            if "score" in value:
                n_scored += 1
                score = _number(value["score"], name, path=path) / len(numbers)
        else:  # true and false alone: a number may be a score
            is_in = _boolean(value, name, path=path, or_number=False)
        for number in numbers:
            in_graph[number], scores[number] = is_in, score
    if n_scored not in (0, len(listed)):
        raise InputError(
            f"{path}: expected a score for every listed edge or for none, got {n_scored} of "
            f"{len(listed)}; extract the circuit again"
        )
    if not n_scored:
        return torch.tensor(in_graph), None
    return torch.tensor(in_graph), torch.tensor(scores, dtype=torch.float64)


def _as_we_write(graph: Graph, listed: dict) -> tuple[torch.Tensor, torch.Tensor] | None:
    """What `_edges` gives, where every edge is listed in order with a score and true or false.

    A million are looked at faster as columns than one by one. None for any other file.
    """
    if len(listed) != graph.n_edges or set(map(type, listed.values())) != {dict}:
        return None
    scores = [edge.get("score") for edge in listed.values()]
    in_graph = [edge.get("in_graph") for edge in listed.values()]
    if set(map(type, scores)) != {float} or set(map(type, in_graph)) != {bool}:
        return None
    numbers = torch.tensor(scores, dtype=torch.float64)
    if not numbers.isfinite().all() or tuple(listed) != graph.edges:
        return None
    return torch.tensor(in_graph), numbers


def _require_whole_nodes(graph: Graph, in_graph: torch.Tensor, *, listed: dict, path) -> None:
    """Raise InputError for a circuit of EAP-IG that has only some neurons of a node.

    An edge of ours has all of them, so that the circuit would be a larger one.
    """
    details = {name: node for name, node in listed.items() if isinstance(node, dict)}
    partly = {name for name, node in details.items() if not all(node.get("neurons") or ())}
    if not partly:
        return
    for name, is_in in zip(graph.edges, in_graph.tolist(), strict=True):
        if is_in and name.split("->")[0] in partly:
            raise InputError(
                f"{path}: expected a circuit of whole nodes, got one that leaves out neurons of "
                f"{name.split('->')[0]}; give one of edges or nodes"
            )


def _node_scores(graph: Graph, listed: dict, *, path) -> torch.Tensor | None:
    """A score per source, from the `nodes` of a file; None where not every source has one."""
    scores = []
    for name in graph.sources:
        node = listed.get(name)
        score = node.get("score") if isinstance(node, dict) else None
        if score is None:
            return None
        scores.append(_number(score, name, path=path))
    return torch.tensor(scores, dtype=torch.float64)


def _boolean(value, name: str, *, path, or_number: bool = True) -> bool:
    """A JSON boolean, or 0 and 1; Python would take the text "False" for true."""
    if type(value) is bool or (or_number and type(value) is int and value in (0, 1)):
        return bool(value)
    raise InputError(
        f"{path}: expected true or false for {name}, got {json.dumps(value)[:40]}; write whether "
        'each edge is in the circuit as "in_graph": true or false'
    )


def _number(value, name: str, *, path) -> float:
    """A finite JSON number; not a text that spells one, nor a boolean."""
    if type(value) is int and abs(value) > sys.float_info.max:
        value = math.inf
    if type(value) in (int, float) and math.isfinite(value):
        return float(value)
    raise InputError(
        f"{path}: expected a finite number as the score of {name}, got {json.dumps(value)[:40]}; "
        "extract the circuit again"
    )


def _whole(value, name: str, *, path) -> int:
    """A whole JSON number above 0, and no larger than any model's: a graph is built from it."""
    if type(value) is int and 0 < value <= MOST[name]:
        return value
    raise InputError(
        f"{path}: expected a whole number from 1 to {MOST[name]} as cfg.{name}, got "
        f"{json.dumps(value)[:40]}; write there what the model's config.json says"
    )


def _edge_numbers(graph: Graph, name: str, *, path) -> list[int]:
    """The edge of a name, or the three of a head's collapsed slots. Raises InputError for none."""
    if name in graph.edge_number:
        return [graph.edge_number[name]]
    slots = [f"{name}<{slot}>" for slot in SLOTS]
    if slots[0] in graph.edge_number:
        return [graph.edge_number[slot] for slot in slots]
    raise InputError(
        f"{path}: expected edges of a model with {graph.n_layers} layers of {graph.n_heads} heads, "
        f"got {name!r}"
    )


def require_comparable(circuits: list[Circuit], names: list[str]) -> None:
    """Raise InputError unless all circuits are of one graph and, as far as known, tokenizer."""
    named = zip(circuits, names, strict=True)
    for (first, first_name), (second, second_name) in itertools.combinations(named, 2):
        _require_comparable(first, second, names=(first_name, second_name))


def _require_comparable(a: Circuit, b: Circuit, *, names: tuple[str, str]) -> None:
    if not a.graph.fits(b.graph):
        raise InputError(
            f"expected circuits of one model shape, got {a.graph} ({names[0]}) and {b.graph} "
            f"({names[1]}); compare circuits of one model only"
        )
    tokenizers = {circuit.about.tokenizer_sha256 for circuit in (a, b)}
    if len(tokenizers - {None}) > 1:  # unknown: nothing to refuse
        raise InputError(
            f"expected circuits of one tokenizer, got two different ones ({names[0]}, {names[1]}): "
            "their tokens differ; extract both with the same one"
        )
