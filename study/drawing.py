"""What the figures of several stages take from JSON alike: numbers with their intervals."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np


class Columns(NamedTuple):
    """Numbers of several rows, and the ends of their intervals."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def times(self, factor: float) -> "Columns":
        """In another unit: shares as percent."""
        return Columns(factor * self.mean, factor * self.low, factor * self.high)


def columns(rows: Iterable[Mapping], mean: str = "mean") -> Columns:
    """The `Columns` of rows {"mean", "low", "high"}; `mean` is the name of the number itself."""
    listed = list(rows)
    return Columns(
        np.array([row[mean] for row in listed], dtype=float),
        np.array([row["low"] for row in listed], dtype=float),
        np.array([row["high"] for row in listed], dtype=float),
    )
