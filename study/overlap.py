"""How far circuits overlap: the Jaccard index with its chance level, rank correlation of scores."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import hypergeom, rankdata

from eap.resampling import TAILS


def jaccard(a: torch.Tensor, b: torch.Tensor) -> float:
    """|a and b| / |a or b| of two choices of edges or nodes; 0 for two empty ones."""
    return float(jaccards(a, b))


def jaccards(kept: torch.Tensor, others: torch.Tensor) -> np.ndarray:
    """(circuits,) the Jaccard index of each row of `kept` with the same row of `others`, or with
    the one circuit `others`.

    0 for two empty ones: where pruning leaves nothing, nothing twice is no agreement.
    """
    shared = (kept & others).sum(-1).double()
    union = (kept | others).sum(-1).double()
    return (shared / union.clamp_min(1)).numpy()


class Pairs(NamedTuple):
    """How every two of some circuits differ; an entry for each pair."""

    jaccard: np.ndarray
    changed: np.ndarray  # items that one of the two has and the other has not


def every_two(kept: torch.Tensor) -> Pairs:
    """The `Pairs` of all rows of `kept` (circuits, items), circuits (circuits - 1) / 2 of them."""
    rows = kept[:, kept.any(0)].float()
    shared = (rows @ rows.T).double()
    sizes = rows.sum(1).double()
    changed = sizes[:, None] + sizes - 2 * shared
    index = shared / (shared + changed).clamp_min(1)
    first, second = torch.triu_indices(len(kept), len(kept), offset=1)
    return Pairs(index[first, second].numpy(), changed[first, second].numpy())


def matrix(kept: torch.Tensor) -> list[list[float]]:
    """(circuits, circuits) the Jaccard index of every two rows of `kept` (circuits, items)."""
    return [[jaccard(a, b) for b in kept] for a in kept]


# ---------------------------------------------------------------- chance


def chance(size_a: float, size_b: float, *, total: int) -> float:
    """The Jaccard index expected of two random choices of `total` items: ab / (a + b - ab) in
    fractions, K / (2 - K) for equal sizes K. 0 for two empty ones, as of `jaccard`.
    """
    a, b = size_a / total, size_b / total
    return a * b / (a + b - a * b) if a + b else 0.0


def chance_interval(size_a: int, size_b: int, *, total: int) -> dict[str, float]:
    """{"mean", "low", "high"}: `chance`, and the central 95 % of what two random choices have.

    The number of shared items is hypergeometric.
    """
    low, high = hypergeom(total, size_a, size_b).ppf(TAILS)
    return {
        "mean": chance(size_a, size_b, total=total),
        "low": _index(low, size_a + size_b),
        "high": _index(high, size_a + size_b),
    }


def _index(shared: float, sizes: int) -> float:
    return float(shared / (sizes - shared)) if sizes > shared else 0.0


def chance_matrix(kept: torch.Tensor) -> list[list[float]]:
    """`chance` of every two circuits of these sizes (guard 11); 1 with itself."""
    sizes, total = kept.sum(1).tolist(), kept.shape[1]
    return [
        [1.0 if i == j else chance(a, b, total=total) for j, b in enumerate(sizes)]
        for i, a in enumerate(sizes)
    ]


# ---------------------------------------------------------------- ranks


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Spearman's rank correlation of two vectors, ties at their mean rank; 0 if one is constant."""
    return float(_correlations(torch.stack([a, b]))[0, 1])


def spearman_matrix(scores: torch.Tensor) -> list[list[float]]:
    """(circuits, circuits) rank correlation of |score| over all edges: no threshold enters it."""
    return _correlations(scores.abs()).tolist()


def spearman_of_every_two(scores: torch.Tensor) -> np.ndarray:
    """(pairs,) the rank correlation of |score| of every two rows of `scores` (circuits, edges)."""
    return _correlations(scores.abs())[np.triu_indices(len(scores), 1)]


def _correlations(values: torch.Tensor) -> np.ndarray:
    """(rows, rows) the rank correlation of every two rows; a constant one has none, and gets 0."""
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.corrcoef(rankdata(values.numpy(), axis=1)))
