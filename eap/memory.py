"""How many examples fit at a time, and what to do when they do not."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from eap import InputError

if TYPE_CHECKING:
    from eap.models.contract import Adapter

SHARE = 0.6  # of the free memory; the rest is for the allocator and for what else runs
MOST = 16  # larger batches gain nothing
MEMINFO = Path("/proc/meminfo")  # of Linux
CPU_TOKENS = 2048  # nor do more tokens at a time on a processor


def free_bytes(device) -> int:
    """Memory that is free on the device, in bytes."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if MEMINFO.is_file():  # with what the system keeps of files and gives back
        lines = MEMINFO.read_text(encoding="utf-8").split("\n")
        for line in lines:
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 8 * 2**30


def attribution_bytes(adapter: "Adapter", *, tokens: int, targets: int, points: int) -> int:
    """Estimated bytes that one example of attribution takes in float32.

    In units of (tokens, d_model) per layer: about 44 for what autograd keeps of one pass and for
    the sums, one per point for x^; and eight copies of the logits at the target positions. Measured
    with 12 layers of 12 heads, d_model 768, 512 tokens: EAP-IG took 43 such units with five points,
    secant 33, since its rules keep inputs instead of what autograd would; so for secant it errs on
    the safe side. MLPs that are wider inside than the four times d_model of that model, as gated
    ones with two projections are, take three units more for each further width.
    """
    graph, width = adapter.graph, adapter.graph.d_model
    assert width is not None  # as of every model's graph
    weights = [module.get_parameter("weight") for module in adapter.blocks[0].mlp_in]
    inside = sum(weight.numel() for weight in weights) / width**2
    units = 44 + points + 3 * max(0.0, inside - 4)
    of_layers = tokens * graph.n_layers * width * units
    return 4 * round(of_layers + 8 * targets * adapter.vocabulary_size)


def _bytes_of_longest(adapter: "Adapter", pairs, *, points: int) -> tuple[int, int]:
    """(bytes, tokens) of the longest pair's attribution."""
    longest = max(pairs, key=lambda pair: len(pair.clean_ids))
    tokens = len(longest.clean_ids)
    targets = tokens - longest.target_start
    return attribution_bytes(adapter, tokens=tokens, targets=targets, points=points), tokens


def plan_batch_size(adapter: "Adapter", pairs, *, points: int, budget: int) -> int:
    """Examples at a time that fit into `budget` bytes, from 1 to `MOST`, by the longest pair."""
    needed, tokens = _bytes_of_longest(adapter, pairs, points=points)
    most = min(MOST, len(pairs))
    if next(adapter.model.parameters()).device.type == "cpu":
        most = min(most, max(1, CPU_TOKENS // tokens))
    return max(1, min(most, int(SHARE * budget / needed)))


def plan_attribution(adapter: "Adapter", pairs, *, points: int, budget: int) -> int:
    """`plan_batch_size` for attribution.

    Raises InputError, with the numbers, where not even one example fits into the budget.
    """
    needed, tokens = _bytes_of_longest(adapter, pairs, points=points)
    if needed > budget:
        raise InputError(
            f"expected about {needed / 1e9:.1f} GB for one example of {tokens:,} tokens in "
            f"{adapter.graph}, got {budget / 1e9:.1f} GB, which were allowed or "
            "are free; take shorter pairs or a device with more memory, or give the batch size"
        )
    return plan_batch_size(adapter, pairs, points=points, budget=budget)


def halving(batches: Iterable, compute: Callable, *, notify: Callable[[str], None]) -> Iterator:
    """Yield `compute(batch)` for each of the batches, in halves from where memory runs out.

    Only the batch that did not fit is computed again. `notify` gets words. Raises InputError when
    one example does not fit.
    """
    most = None
    for batch in batches:
        waiting = [batch]
        while waiting:
            part, *waiting = waiting
            if most and len(part.rows) > most:
                waiting = part.split(most) + waiting
                continue
            result = _unless_out_of_memory(compute, part)
            if result is not None:
                yield result
                continue
            if len(part.rows) == 1:
                tokens = part.clean_ids.shape[1]
                raise InputError(
                    f"expected memory for one example of {tokens} tokens, ran out{_left()}; use "
                    "shorter pairs or a device with more memory"
                )
            most = len(part.rows) // 2
            notify(f"out of memory with {len(part.rows)} examples at a time; going on with {most}")
            waiting = [part, *waiting]


def _left() -> str:
    """Words on what is free on the GPU, where there is one: other processes may hold the rest."""
    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info()
    size = f"{free / 1e9:.1f} of its {total / 1e9:.1f} GB"
    return f" (the GPU has {size} free: other processes may hold some)"


def _unless_out_of_memory(compute: Callable, batch):
    """`compute(batch)`, or None when memory ran out; all that the attempt held is free by then."""
    try:
        return compute(batch)
    except (MemoryError, torch.OutOfMemoryError):
        pass
    except RuntimeError as error:  # torch's allocator for the CPU has no exception of its own
        if "can't allocate memory" not in str(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
