"""Residual streams of a fixed probe set, saved at each checkpoint of a run.

So the run's inside can be followed without its models.

A file `latents/checkpoint-N.safetensors` holds

    streams   float32 (n_layers + 1, tokens, d_model): what enters layer 0, ..., what enters the
              last layer, what leaves it, all before the final norm (guard 3: the last
              `hidden_states` entry of transformers is after it)
    example   int32 (tokens,): which probe example a column is of
    position  int32 (tokens,): its position there; never 0, since the first token's stream is
              unlike all others (guard 4)
    token     int32 (tokens,): its token id

The same columns in every file of a run.
"""

from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from eap import InputError
from eap.models import adapt
from runs.disk import atomic
from study.differential.two_models import states


class Probe(NamedTuple):
    """Sequences of token ids and the positions of each that are kept."""

    sequences: list[list[int]]
    positions: list[np.ndarray]


class Latents(NamedTuple):
    """What a latents file holds."""

    streams: torch.Tensor  # float32 (n_layers + 1, tokens, d_model)
    example: np.ndarray  # (tokens,)
    position: np.ndarray  # (tokens,)
    token: np.ndarray  # (tokens,)


def read(path) -> Latents:
    """The latents in a file. Raises InputError naming it."""
    try:
        saved = load_file(path)
        columns = {name: saved[name].numpy() for name in ("example", "position", "token")}
        return Latents(saved["streams"], **columns)
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(
            f"{path}: expected the latents of a checkpoint ({error}); fine-tune again"
        ) from error


def same_probe(a: Latents, b: Latents) -> bool:
    """Whether both hold the same tokens of the same texts, in models of one shape: only then can
    columns be compared (guard 5).
    """
    return a.streams.shape == b.streams.shape and all(
        np.array_equal(x, y) for x, y in zip(a[1:], b[1:], strict=True)
    )


def probe(sequences: list[list[int]], per_example: int) -> Probe:
    """The probe of these sequences: at most `per_example` positions of each, evenly spaced from the
    second token to the last.
    """
    spaced = [
        np.unique(np.linspace(1, len(ids) - 1, per_example).round().astype(int))
        for ids in sequences
    ]
    return Probe([list(ids) for ids in sequences], spaced)


@torch.no_grad()
def streams(model, ids: list[int]) -> torch.Tensor:
    """Residual streams of one sequence, pre-norm, on the CPU: float32 (n_layers + 1, positions,
    d_model).
    """
    adapter = adapt(model, check=False)
    inputs = torch.tensor([ids], device=next(model.parameters()).device)
    return states(adapter, inputs)[:-1, 0].float().cpu()


def save(path, model, *, chosen: Probe) -> None:
    """Write the probe's streams of `model`, which is put in eval mode."""
    model.eval()
    kept = [streams(model, ids)[:, positions] for ids, positions in zip(*chosen, strict=True)]
    example = np.repeat(
        np.arange(len(chosen.positions)), [len(positions) for positions in chosen.positions]
    )
    token = [
        ids[position] for ids, positions in zip(*chosen, strict=True) for position in positions
    ]
    columns = {"example": example, "position": np.concatenate(chosen.positions), "token": token}
    tensors = {
        name: torch.as_tensor(np.asarray(values), dtype=torch.int32)
        for name, values in columns.items()
    }
    with atomic(path) as temporary:
        save_file(tensors | {"streams": torch.cat(kept, 1).contiguous()}, temporary)
