"""Plain runs of the model: what nodes write, also when they are ablated, and on average."""

import warnings
from collections.abc import Callable, Iterable

import torch

from eap import hooks, memory
from eap.dataset import Batch
from eap.hooks import Activations
from eap.models.contract import Adapter


def run(adapter: Adapter, ids: torch.Tensor, *, batch: Batch) -> tuple[Activations, torch.Tensor]:
    """What every node writes in a plain run, and the logits at targets (targets, vocabulary)."""
    activations, hidden = hooks.record(adapter, ids)
    with torch.no_grad():
        return activations, adapter.unembed(hidden[batch.target_rows, batch.target_positions])


def ablated(corrupted: Activations, ablation: str, *, means: Activations | None) -> Activations:
    """What nodes write when they are ablated: as in the corrupted run, zero, or `means`."""
    if ablation == "zero":
        return corrupted.map(torch.zeros_like)
    if ablation == "mean":
        assert means is not None  # asked for with the flag
        return corrupted.map(lambda like, mean: mean.expand_as(like), means)
    return corrupted


@torch.no_grad()
def mean_activations(
    adapter: Adapter, batches: Iterable[Batch], *, notify: Callable[[str], None] = warnings.warn
) -> Activations:
    """What every node writes in the clean runs, (1, 1, d_model) each, averaged over all positions.

    Padding is left out. When memory runs out, batches are halved and `notify` gets words.
    """
    device = next(adapter.model.parameters()).device

    def compute(batch):
        mask = batch.mask.to(device)
        activations, _ = hooks.record(adapter, batch.clean_ids.to(device))
        return activations.map(lambda x: x[mask].sum(0)[None, None]), int(mask.sum())

    total, count = None, 0
    with hooks.frozen(adapter.model):
        for summed, n_positions in memory.halving(batches, compute, notify=notify):
            total = summed if total is None else total.map(torch.add, summed)
            count += n_positions
    assert total is not None  # there is a batch
    return total.map(lambda x: x / count)
