"""Resampled examples, and intervals from them: seeded and vectorised."""

import numpy as np
import torch

RESAMPLES = 1000
LEVEL = 0.95


def resample(n: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Row numbers of `resamples` bootstrap samples of `n` rows: an integer array (resamples, n)."""
    return np.random.default_rng(seed).integers(0, n, size=(resamples, n))


def interval(resampled, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of resampled values along their first axis. Returns (low, high)."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return float(low), float(high)


def mean_interval(
    values, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, float]:
    """The mean of `values` with its bootstrap interval: {"mean", "low", "high", "n"}.

    Source: Efron (1979), the percentile bootstrap. One value gives an interval of no width; say so where it is shown.
    """
    values = np.asarray(values, dtype=float)
    means = values[resample(len(values), seed, resamples)].mean(1)
    low, high = interval(means, level)
    return {"mean": float(values.mean()), "low": low, "high": high, "n": len(values)}


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
    agreeing = sum(
        (means.sign() == sign).sum(0) for means in bootstrap_means(per_example, resamples, seed)
    )
    return agreeing / resamples
