"""How many examples fit at a time."""

import os

import torch

SHARE = 0.6  # of the free memory; the rest is for the allocator and for what else runs
MOST = 32  # larger batches gain nothing


def free_bytes(device) -> int:
    """Memory that is free on the device, in bytes."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 8 * 2**30


def attribution_bytes(adapter, tokens: int, targets: int, points: int) -> int:
    """Estimated bytes that one example of attribution takes in float32.

    In units of (tokens, d_model) per layer: about 44 for what autograd keeps of one pass and for the sums, one per point for x^ (measured
    on GPT-2 small's shape); and eight copies of the logits at the target positions.
    """
    graph = adapter.graph
    return 4 * (tokens * graph.n_layers * graph.d_model * (44 + points) + 8 * targets * adapter.vocabulary_size)


def plan_batch_size(adapter, pairs, points: int, budget: int) -> int:
    """Examples at a time that fit into `budget` bytes, from 1 to `MOST`, judged by the longest pair."""
    longest = max(pairs, key=lambda pair: len(pair.clean_ids))
    each = attribution_bytes(adapter, len(longest.clean_ids), len(longest.clean_ids) - longest.summary_start, points)
    return max(1, min(MOST, len(pairs), int(SHARE * budget / each)))
