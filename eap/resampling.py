"""Resampled examples, and intervals from them: seeded and vectorised.

The bootstrap over examples (Efron 1979): as many examples as there are, drawn with replacement. An
interval is the central 95 % of what the resamples give, or somewhat more of it for few examples
(`tails`). Values of examples are resampled by rows (`resample`), the same for all that is compared,
so that differences are paired; scores of many edges by one product of counts with scores
(`bootstrap_means`).
"""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import ndtr, stdtrit

RESAMPLES = 1000
LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
FALSE_DISCOVERY = 0.05  # share of false findings allowed among what is said to have changed
FLIPS = 10_000  # sign flips of a paired test: the smallest p is 1 in 10,001
FLIPS_AT_ONCE = 500
CHUNK = 200  # resamples of scores at a time


def resample(n: int, seed: int, *, resamples: int = RESAMPLES) -> np.ndarray:
    """Row numbers of `resamples` bootstrap samples of `n` rows: an integer array (resamples, n)."""
    return np.random.default_rng(seed).integers(0, n, size=(resamples, n))


def bootstrap_means(
    per_example: torch.Tensor, *, resamples: int, seed: int, chunk: int = CHUNK
) -> Iterator[torch.Tensor]:
    """Yield mean scores of resampled examples, (up to `chunk`, edges) float32 at a time.

    `per_example` is (examples, edges).
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(per_example)
    for start in range(0, resamples, chunk):
        counts = _counts(n, min(chunk, resamples - start), generator=generator)
        yield counts @ per_example.float() / n


def _counts(n: int, draws: int, *, generator: torch.Generator) -> torch.Tensor:
    """(draws, n) how often each of n examples is in each of `draws` resamples."""
    if n == 0:
        return torch.zeros(draws, 0)
    rows = torch.randint(n, (draws, n), generator=generator)
    return torch.zeros(draws, n).scatter_add_(1, rows, torch.ones(rows.shape))


def paired_bootstrap_means(
    first: torch.Tensor, second: torch.Tensor, *, shared: int, resamples: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield `bootstrap_means` of two tables of scores whose first `shared` examples are the same.

    Of these the same are drawn for both; the others of either are drawn by themselves, so that each
    keeps its number of examples.
    """
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, resamples, CHUNK):
        draws = min(CHUNK, resamples - start)
        both = _counts(shared, draws, generator=generator)
        of_first = _counts(len(first) - shared, draws, generator=generator)
        of_second = _counts(len(second) - shared, draws, generator=generator)
        yield (
            torch.cat([both, of_first], dim=1) @ first.float() / len(first),
            torch.cat([both, of_second], dim=1) @ second.float() / len(second),
        )


def sign_stability(
    per_example: torch.Tensor, *, resamples: int = RESAMPLES, seed: int = 0
) -> torch.Tensor:
    """(edges,) share of bootstrap resamples in which an edge's mean score keeps its sign."""
    sign = per_example.mean(0).sign()
    agreeing = torch.zeros(sign.shape, dtype=torch.long)
    for means in bootstrap_means(per_example, resamples=resamples, seed=seed):
        agreeing += (means.sign() == sign).sum(0)
    return agreeing / resamples


def sign_flip(differences, seed: int, *, flips: int = FLIPS) -> np.ndarray:
    """Two-sided p of "the mean difference is zero", for each column of (examples, columns).

    The share of random sign flips of whole examples whose |mean| is at least the observed one; the
    observed signs count as one of the flips. Of one column (examples,) it is a number. Source:
    Fisher (1935), The design of experiments, section 21.
    """
    differences, rng = np.asarray(differences, dtype=float), np.random.default_rng(seed)
    rounding = 1e-9 * np.abs(differences).sum(0)  # by which equal sums differ
    threshold = np.abs(differences.sum(0)) - rounding
    extreme = np.zeros(differences.shape[1:], dtype=int)
    for start in range(0, flips, FLIPS_AT_ONCE):
        n = min(FLIPS_AT_ONCE, flips - start)
        signs = rng.integers(0, 2, size=(n, len(differences))) * 2 - 1
        extreme = extreme + (np.abs(signs @ differences) >= threshold).sum(0)
    return (1 + extreme) / (1 + flips)


# ---------------------------------------------------------------- intervals


def tails(n: int) -> tuple[float, float]:
    """The levels at which resamples of n examples are cut for a 95 % interval.

    These are 2.5 % and 97.5 % for many, further out for few, 0.6 % and 99.4 % for 8. Means of
    resamples spread less than means of examples, by sqrt((n - 1) / n), and their quantiles are a
    normal distribution's where Student's would be due. Source: Hesterberg (2015, The American
    Statistician 69), the expanded percentile interval; benchmarks/intervals.py says what it covers.
    """
    if n < 2:
        return TAILS
    low = float(ndtr(stdtrit(n - 1, TAILS[0]) * (n / (n - 1)) ** 0.5))
    return low, 1 - low


def ends(drawn, axis: int | None = None, *, n: int | None = None) -> tuple:
    """(low, high) of values that were drawn, along an axis or of all: of their central 95 %.

    With `n` they are those of a 95 % interval over so many examples.
    """
    low, high = np.quantile(drawn, TAILS if n is None else tails(n), axis=axis)
    return low, high


def outer_ends(drawn, n: int) -> tuple[float, float]:
    """`ends` over n examples at values that were drawn, the next outward; some may be infinite."""
    levels = tails(n)
    low = np.quantile(drawn, levels[0], method="lower")
    high = np.quantile(drawn, levels[1], method="higher")
    return float(low), float(high)


def central(drawn: np.ndarray) -> dict[str, float]:
    """{"mean", "low", "high"} of values that were drawn: their mean and their central 95 %.

    Of what resampling alone gives, this is a noise floor.
    """
    low, high = ends(drawn)
    return {"mean": float(drawn.mean()), "low": float(low), "high": float(high)}


def interval(value: float, drawn: np.ndarray, *, n: int) -> dict[str, float]:
    """{"mean", "low", "high", "n"}: a value of all n examples and its 95 % interval.

    `drawn` are the values of resamples (`tails`). A resample that has no value (NaN or infinite) is
    left out.
    """
    finite = drawn[np.isfinite(drawn)]
    low, high = ends(finite if len(finite) else np.array([value]), n=n)
    return {"mean": float(value), "low": float(low), "high": float(high), "n": n}


def mean_interval(values, seed: int, *, resamples: int = RESAMPLES) -> dict[str, float]:
    """The mean of `values` with its bootstrap interval: {"mean", "low", "high", "n"}.

    One value gives an interval of no width; say so where it is shown.
    """
    values = np.asarray(values, dtype=float)
    means = values[resample(len(values), seed, resamples=resamples)].mean(1)
    return interval(values.mean(), means, n=len(values))
