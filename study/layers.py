"""A score per layer, from a circuit or a difference; the layers it puts first; random layers."""

import numpy as np

from eap import InputError
from runs.disk import read_json, write_json


def write_layers(path, source: str, *, scores: dict[str, list[float]]) -> None:
    """Write `{"format", "source", "scores": {measure: [a number per layer]}, "order": {measure:
    [layers, most first]}}`.

    The first measure is the one a reader gets that names none. Raises ValueError for NaN, infinity
    and measures of unequal length.
    """
    table = {measure: [float(score) for score in values] for measure, values in scores.items()}
    if (
        not table
        or len({len(values) for values in table.values()}) != 1
        or not np.isfinite(list(table.values())).all()
    ):
        raise ValueError(f"{path}: expected the same number of finite scores for every measure")
    orders = {measure: order(values) for measure, values in table.items()}
    write_json(path, {"format": 1, "source": source, "scores": table, "order": orders})


def order(scores) -> list[int]:
    """The layers from the highest score to the lowest; of equal scores the earlier layer first."""
    return np.argsort(-np.asarray(scores, dtype=float), kind="stable").tolist()


def top_layers(
    file, measure: str | None = None, *, k: int = 3, n_layers: int | None = None
) -> list[int]:
    """The `k` layers that a layers.*.json puts first by `measure` (default: the file's first), in
    ascending order.

    Raises InputError for a file of another kind or of a model without `n_layers` layers, an unknown
    measure, more layers than there are.
    """
    table = read_json(file, "layers file (layers.evolution.json, layers.differential.json)")
    orders = table.get("order") if isinstance(table, dict) else None
    if not orders:
        raise InputError(
            f'{file}: expected a layers file with "order", found none; differential_analysis.py '
            "writes one"
        )
    measure = measure or next(iter(orders))
    if measure not in orders:
        raise InputError(f"{file}: expected a measure out of {', '.join(orders)}, got {measure}")
    if n_layers not in (None, len(orders[measure])):
        raise InputError(
            f"{file}: expected a number for each of the model's {n_layers} layers, got "
            f"{len(orders[measure])}; use the file of this model"
        )
    if not 0 < k <= len(orders[measure]):
        raise InputError(f"{file}: expected 1 to {len(orders[measure])} layers, got {k}")
    return sorted(orders[measure][:k])


def random_layers(n_layers: int, k: int, *, rng: np.random.Generator) -> list[int]:
    """`k` different layers of `n_layers`, drawn uniformly, in ascending order. Raises InputError if
    there are not as many.
    """
    if not 0 < k <= n_layers:
        raise InputError(f"expected 1 to {n_layers} layers, got {k}")
    return sorted(rng.choice(n_layers, k, replace=False).tolist())
