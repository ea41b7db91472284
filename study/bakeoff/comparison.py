"""Arms against each other on the same texts: intervals, a sign-flip test, Holm's correction.

And what could have been detected.
"""

import numpy as np

from eap.resampling import FLIPS, mean_interval, sign_flip
from study.findings import ALPHA

POWER_FACTOR = 1.960 + 0.842  # normal quantiles of a two-sided test at 5 % and of 80 % power


def paired(values, others, *, seed: int) -> dict:
    """The mean of values - others over texts: {"mean", "low", "high", "n", "p", "p_smallest",
    "detectable", "seeds"}.

    Both are arrays (seeds, texts), averaged over seeds first, so the interval is one over texts for
    these seeds. `seeds` holds the difference of each seed; one side may have a single seed, which
    then stands against each of the other's. `detectable` is the smallest true difference that such
    an experiment finds in 80 % of cases: 2.8 standard errors, of one test without Holm's
    correction. `p_smallest` is the least p that these texts allow.
    """
    values, others = np.atleast_2d(values), np.atleast_2d(others)
    difference = values.mean(0) - others.mean(0)
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    seeds = (values - others).mean(1).tolist()
    return mean_interval(difference, seed) | {
        "p": float(sign_flip(difference, seed)),
        "p_smallest": smallest_p(difference),
        "detectable": float(POWER_FACTOR * error),
        "seeds": seeds,
    }


def smallest_p(difference, flips: int = FLIPS) -> float:
    """The least p that `sign_flip` can find: only texts with a difference count, and n of them have
    2^n signs, two of them extreme.
    """
    return max(min(1.0, 2.0 ** (1 - np.count_nonzero(difference))), 1 / (1 + flips))


def holm(p_values) -> list[float]:
    """Holm's adjusted p values: sorted p times the number of hypotheses left, never decreasing, 1
    at most. Holm (1979).
    """
    p_values = np.asarray(p_values, dtype=float)
    ascending = np.argsort(p_values, kind="stable")
    times_left = p_values[ascending] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(times_left)
    adjusted[ascending] = np.maximum.accumulate(times_left).clip(max=1)
    return adjusted.tolist()


def claim(entry: dict, higher_is_better: bool) -> str | None:
    """ "better" or "worse", or None: a word only if the interval excludes zero, Holm's p is under 5
    % and all seeds agree in sign.
    """
    low, high = entry["low"], entry["high"]
    signs = np.sign(entry["seeds"])
    if low <= 0 <= high or entry["p_holm"] >= ALPHA or not np.all(signs == signs[0]):
        return None
    return "better" if (low > 0) == higher_is_better else "worse"
