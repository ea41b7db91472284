"""Intervals from resampling: seeded, vectorised, in numpy."""

import numpy as np

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


def ratio_interval(
    numerators, denominators, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, float]:
    """mean(numerators) / mean(denominators), both resampled by the same rows: {"mean", "low", "high", "n"}."""
    numerators, denominators = (
        np.asarray(numerators, dtype=float),
        np.asarray(denominators, dtype=float),
    )
    rows = resample(len(numerators), seed, resamples)
    low, high = interval(numerators[rows].mean(1) / denominators[rows].mean(1), level)
    return {
        "mean": float(numerators.mean() / denominators.mean()),
        "low": low,
        "high": high,
        "n": len(numerators),
    }
