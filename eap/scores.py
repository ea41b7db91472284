"""Scores of edges: per example, summed over nodes, checked for completeness, and their files."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from eap import InputError
from eap.graph import Graph


class Scores(NamedTuple):
    """Edge scores of some examples, and the metric of their two plain runs."""

    rows: list[int]  # the examples' numbers
    edges: torch.Tensor  # (examples, edges)
    clean: torch.Tensor  # (examples,) metric of the clean run
    # (examples,) metric of the corrupted run; of exact patching, of that with every edge ablated
    corrupted: torch.Tensor
    # (examples, groups, edges): by the group of where the destination reads; they sum to `edges`
    by_group: torch.Tensor | None = None


def node_scores(graph: Graph, edge_scores: torch.Tensor) -> torch.Tensor:
    """(..., sources) scores of what nodes write, from (..., edges): sums of their edges' scores.

    All readers of a node get the same of it.
    """
    return graph.matrix(edge_scores).sum(-1)


def input_sums(graph: Graph, edge_scores: torch.Tensor) -> torch.Tensor:
    """(examples,) the sum of the scores of all edges out of `input`."""
    return edge_scores[:, graph.edge_index[0] == 0].double().sum(1)


def completeness_gap(
    sums: torch.Tensor, *, clean: torch.Tensor, corrupted: torch.Tensor
) -> tuple[float, torch.Tensor]:
    """How far `input_sums` are from metric(corrupted) - metric(clean).

    Overall, and (examples,) per example: gap = |sum - change| / max(|change|, mean over examples of
    |change|); for methods with `complete` only.
    """
    change = (corrupted - clean).double()
    typical = change.abs().mean().clamp(min=torch.finfo(torch.float64).tiny)
    overall = (sums.mean() - change.mean()).abs() / torch.maximum(change.mean().abs(), typical)
    return float(overall), (sums - change).abs() / torch.maximum(change.abs(), typical)


# ---------------------------------------------------------------- files


class ScoreWriter:
    """A safetensors file with `scores` (examples x edges), `clean` and `corrupted` (examples).

    All are float32, written row by row. The file gets its whole size at once and is written
    plainly, not through memory: a full disk is an OSError before the work, and no SIGBUS in the
    middle of it.
    """

    def __init__(self, path, *, n_examples: int, n_edges: int):
        shapes = {
            "clean": [n_examples],
            "corrupted": [n_examples],
            "scores": [n_examples, n_edges],
        }
        offset, header = 0, {}
        for name, shape in shapes.items():
            size = 4 * int(np.prod(shape))
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps({"__metadata__": {"format": "1"}, **header}).encode()
        text += b" " * (-len(text) % 8)
        data = 8 + len(text)
        self.path = path
        self.starts = {name: data + entry["data_offsets"][0] for name, entry in header.items()}
        with open(path, "wb") as file:
            _reserve(file, data + offset)
            file.write(len(text).to_bytes(8, "little") + text)

    def write(self, scores) -> None:
        """Write the rows of one batch's `Scores`. Raises OSError when the disk does not take it."""
        columns = {"scores": scores.edges, "clean": scores.clean, "corrupted": scores.corrupted}
        with open(self.path, "r+b") as file:
            for name, values in columns.items():
                rows = values.float().numpy().astype("<f4")
                for row, numbers in zip(scores.rows, rows, strict=True):
                    file.seek(self.starts[name] + row * numbers.nbytes)
                    file.write(numbers.tobytes())


def _reserve(file, size: int) -> None:
    """Give a file its size on the disk, where the system can; elsewhere it grows while written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def save_group_scores(by_group: torch.Tensor, *, names, path) -> None:
    """Write mean scores by group (groups, edges) as float32 `scores`, with their names as `spans`.

    The bytes are the same each time: the header is sorted, while safetensors writes the entries of
    its metadata in another order each time.
    """
    from safetensors.torch import save

    data = save({"scores": by_group.float()}, {"format": "1", "spans": ", ".join(names)})
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    Path(path).write_bytes(data[:8] + text.ljust(end - 8) + data[end:])


def load_example_scores(path) -> torch.Tensor:
    """(examples, edges) float32 scores from a `C_*.examples.safetensors`.

    Raises InputError when it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)["scores"]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(
            f"{path}: expected the per-example scores of a circuit ({error}); extract the circuit "
            "again"
        ) from error


def examples_beside(circuit_path) -> Path:
    """`C.json` -> `C.examples.safetensors`."""
    return Path(circuit_path).with_suffix(".examples.safetensors")


def groups_beside(circuit_path) -> Path:
    """`C.json` -> `C.spans.safetensors`: mean scores by group (groups, edges)."""
    return Path(circuit_path).with_suffix(".spans.safetensors")
