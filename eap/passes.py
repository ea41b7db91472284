"""Plain runs of the model, what nodes write when they are ablated, and what they write on average."""

import warnings
from collections.abc import Callable, Iterable

import torch

from eap import hooks, memory
from eap.dataset import Batch
from eap.hooks import Activations


def run(adapter, ids: torch.Tensor, batch: Batch) -> tuple[Activations, torch.Tensor]:
    """A plain run: what every node writes, and the logits at the target positions (targets,
    vocabulary).
    """
    activations, hidden = hooks.record(adapter, ids)
    with torch.no_grad():
        return activations, adapter.unembed(hidden[batch.target_rows, batch.target_positions])


def ablated(corrupted: Activations, ablation: str, means: Activations | None) -> Activations:
    """What nodes write when they are ablated: the corrupted run's output, zero, or the mean over a
    set of examples.
    """
    if ablation == "zero":
        return corrupted.map(torch.zeros_like)
    if ablation == "mean":
        assert means is not None  # asked for with the flag
        return corrupted.map(lambda like, mean: mean.expand_as(like), means)
    return corrupted


@torch.no_grad()
def mean_activations(
    adapter, batches: Iterable[Batch], notify: Callable[[str], None] = warnings.warn
) -> Activations:
    """What every node writes in the clean runs, averaged over all positions that are not padding:
    (1, 1, d_model) each.

    When memory runs out, batches are halved and `notify` is told.
    """
    total, count = None, 0
    device = next(adapter.model.parameters()).device

    def compute(batch):
        mask = batch.mask.to(device)
        return hooks.record(adapter, batch.clean_ids.to(device))[0].map(
            lambda x: x[mask].sum(0)[None, None]
        ), int(mask.sum())

    with hooks.frozen(adapter.model):
        for summed, n in memory.halving(batches, compute, notify):
            total, count = summed if total is None else total.map(torch.add, summed), count + n
    assert total is not None  # there is a batch
    return total.map(lambda x: x / count)
