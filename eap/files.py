"""Per-example edge scores on disk: a safetensors file filled batch by batch, so that memory does not grow with examples."""

import json
from pathlib import Path

import numpy as np
import torch

from eap import InputError


class ScoreWriter:
    """A safetensors file with `scores` (examples x edges), `clean` and `corrupted` (examples), all float32, written row by row."""

    def __init__(self, path, n_examples: int, n_edges: int):
        shapes, offset, header = (
            {"clean": [n_examples], "corrupted": [n_examples], "scores": [n_examples, n_edges]},
            0,
            {},
        )
        for name, shape in shapes.items():
            size = 4 * int(np.prod(shape))
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps({"__metadata__": {"format": "1"}, **header}).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + offset)
        start = 8 + len(text)
        self.arrays = {
            name: np.memmap(
                path, np.float32, "r+", start + header[name]["data_offsets"][0], tuple(shape)
            )
            for name, shape in shapes.items()
        }

    def write(self, scores) -> None:
        """Write the rows of one batch's `Scores`."""
        for name, values in (
            ("scores", scores.edges),
            ("clean", scores.clean),
            ("corrupted", scores.corrupted),
        ):
            self.arrays[name][scores.rows] = values.float().numpy()

    def close(self) -> None:
        """Put everything on disk."""
        for array in self.arrays.values():
            array.flush()


def save_span_scores(by_span: torch.Tensor, names, path) -> None:
    """Write mean scores by span (spans, edges) as float32 `scores`, with the spans' names; the same
    bytes each time.

    The header is sorted: safetensors writes the entries of its metadata in another order each time.
    """
    from safetensors.torch import save

    content = save({"scores": by_span.float()}, {"format": "1", "spans": ", ".join(names)})
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    Path(path).write_bytes(content[:8] + text.ljust(end - 8) + content[end:])


def load_example_scores(path) -> torch.Tensor:
    """(examples, edges) float32 per-example scores from a `C_*.examples.safetensors`. Raises InputError when it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)["scores"]
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(
            f"{path}: expected the per-example scores of a circuit ({error}); extract the circuit again"
        ) from error


def examples_beside(circuit_path) -> Path:
    """`C.json` -> `C.examples.safetensors`."""
    return Path(circuit_path).with_suffix(".examples.safetensors")


def spans_beside(circuit_path) -> Path:
    """`C.json` -> `C.spans.safetensors`: mean scores by span (spans, edges)."""
    return Path(circuit_path).with_suffix(".spans.safetensors")
