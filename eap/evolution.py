"""How a circuit moves over checkpoints: change rates with their noise floor, similarity, edges that moved, scores by layer.

All functions are pure; circuits are booleans over nodes or edges, (checkpoints, items); scores are (checkpoints, edges).
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import stdtr
from scipy.stats import false_discovery_control, rankdata

from eap import InputError
from eap.circuit import Circuit, chance_jaccard, jaccard, reselect, strongest
from eap.graph import Graph
from eap.selection import bootstrap_means

FALSE_DISCOVERY = 0.05  # share of false findings allowed among the edges that are said to have moved
LEVEL = 0.95
# circuits that differ in these measure different things
SETTING_KEYS = ("method", "metric", "ablation", "selection", "absolute", "pairs_sha256")


def differing_settings(circuits: list[Circuit]) -> list[str]:
    """Names of the settings of extraction that are not the same in all circuits that state them."""
    stated = {key: {str(circuit.metadata[key]) for circuit in circuits if key in circuit.metadata} for key in SETTING_KEYS}
    return [key for key, values in stated.items() if len(values) > 1]


# ---------------------------------------------------------------- change rates


def change_rates(kept: torch.Tensor) -> dict:
    """The change of a set over checkpoints; `kept` is (checkpoints, items).

    changed_t = added + removed between t-1 and t. S is the size. Fractions, not percent:
    of_first = changed_t / S_0 and its mean, dS (arXiv 2502.11812); of_previous = changed_t / S_{t-1}; one_minus_jaccard of t-1 and t;
    from_first = size of the symmetric difference with the first checkpoint / S_0. A size of 0 counts as 1.
    """
    sizes = kept.sum(1).tolist()
    first = max(sizes[0], 1)
    pairs = list(zip(kept[:-1], kept[1:], strict=True))
    changed = [int((a ^ b).sum()) for a, b in pairs]
    return {
        "sizes": sizes, "changed": changed,
        "added": [int((b & ~a).sum()) for a, b in pairs], "removed": [int((a & ~b).sum()) for a, b in pairs],
        "of_first": [count / first for count in changed],
        "dS": float(np.mean(changed)) / first,
        "of_previous": [count / max(size, 1) for count, size in zip(changed, sizes[:-1], strict=True)],
        "one_minus_jaccard": [1 - jaccard(a, b) for a, b in pairs],
        "from_first": [int((kept[0] ^ now).sum()) / first for now in kept],
    }


class Noise(NamedTuple):
    """Two extractions of one checkpoint on resampled examples, many times over: changed items and Jaccard, (comparisons,) each."""

    edges_changed: np.ndarray
    nodes_changed: np.ndarray
    equal_size_changed: np.ndarray
    edges_jaccard: np.ndarray
    nodes_jaccard: np.ndarray


def noise(circuit: Circuit, per_example: torch.Tensor, resamples: int, seed: int, equal_size: int | None = None) -> Noise:
    """What resampling the examples alone does to a circuit. `per_example` is (examples, edges).

    The examples are drawn with replacement `resamples` times; each time their mean scores give a circuit by the rule of extraction, and
    the `equal_size` edges of largest |score| (default: as many as the circuit has). Each drawing is compared with the one before it.
    """
    absolute = bool(circuit.metadata.get("absolute", True))
    n, found, previous = equal_size or int(circuit.in_graph.sum()), [], None
    for means in bootstrap_means(per_example, resamples, seed):
        for scores in means:
            edges = reselect(circuit, scores)
            now = (edges, circuit.graph.nodes_kept(edges), strongest(scores, n, absolute))
            if previous is not None:
                pairs = list(zip(previous, now, strict=True))
                found.append([*(int((a ^ b).sum()) for a, b in pairs), *(jaccard(a, b) for a, b in pairs[:2])])
            previous = now
    return Noise(*np.array(found, dtype=float).T)


def floor(values: np.ndarray) -> dict[str, float]:
    """{"mean", "low", "high"} of what noise alone gives: its mean and the central 95 % of the resamples."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


# ---------------------------------------------------------------- similarity


def jaccard_matrix(kept: torch.Tensor) -> list[list[float]]:
    """(checkpoints, checkpoints) Jaccard index of every two circuits."""
    return [[jaccard(a, b) for b in kept] for a in kept]


def chance_matrix(kept: torch.Tensor) -> list[list[float]]:
    """What two random circuits of these sizes would have: K / (2 - K) for two of size K (guard 11); 1 with itself."""
    sizes = kept.sum(1).tolist()
    return [[1.0 if i == j else chance_jaccard(a, b, kept.shape[1]) for j, b in enumerate(sizes)] for i, a in enumerate(sizes)]


def spearman_matrix(scores: torch.Tensor) -> list[list[float]]:
    """(checkpoints, checkpoints) rank correlation of |score| over all edges: no threshold enters it."""
    with np.errstate(invalid="ignore"):  # constant scores have no rank correlation: 0
        return np.nan_to_num(np.corrcoef(rankdata(scores.abs().numpy(), axis=1))).tolist()


def arrival(with_last: list[float], low: float) -> int:
    """The first checkpoint from which on the Jaccard with the last stays at or above `low`, what noise alone leaves of the last."""
    inside = [value >= low for value in with_last]
    return len(inside) - next((i for i, good in enumerate(reversed(inside)) if not good), len(inside))


# ---------------------------------------------------------------- scores


def normalised(scores: torch.Tensor) -> torch.Tensor:
    """s / sum |s| along the last axis: an edge's share of all attribution, signed. Zero scores stay zero.

    Without it the metric's scale, which grows during fine-tuning, passes for change in every edge (design.md 2).
    """
    return scores / scores.abs().sum(-1, keepdim=True).clamp_min(torch.finfo(scores.dtype).tiny)


def layer_mass(graph: Graph, weights: torch.Tensor) -> torch.Tensor:
    """(layers,): each edge's weight, half to its source's layer and half to its destination's; `input` and `logits` are no layer."""
    src, dst = graph.edge_index
    mass = torch.zeros(graph.n_layers + 2, dtype=torch.float64)
    for ends, names in ((src, graph.sources), (dst, graph.destinations)):
        layers = torch.tensor([graph.layer_of(name) + 1 for name in names])  # input is -1
        mass.index_add_(0, layers[ends], weights.double() / 2)
    return mass[1:-1]


class Moves(NamedTuple):
    """Per edge: the mean change of its normalised score, its q (false-discovery rate), and what kind of change it is."""

    change: torch.Tensor  # (edges,) last minus first
    q: np.ndarray  # (edges,)
    kind: np.ndarray  # (edges,) one of KINDS


KINDS = ("no evidence", "strengthened", "weakened", "sign changed")


def moves(before: torch.Tensor, after: torch.Tensor) -> Moves:
    """Which edges' scores changed beyond noise: a paired t-test over the same examples, Benjamini-Hochberg over all edges.

    `before` and `after` are (examples, edges); each is divided by its sum over edges of |mean score|. An edge with q over 5 % shows
    no evidence; the others grew in |mean score|, shrank, or changed their sign. Raises InputError for other numbers of examples.
    """
    if before.shape != after.shape or len(before) < 2:
        raise InputError(f"expected per-example scores of the same 2 or more examples, got {tuple(before.shape)} and {tuple(after.shape)}")
    before, after = (scores.double() / scores.double().mean(0).abs().sum().clamp_min(1e-300) for scores in (before, after))
    difference, n = after - before, len(before)
    error = difference.std(0) / n**0.5
    t = (difference.mean(0).abs() / error).nan_to_num(nan=0.0)  # 0 / 0: an edge that never changes
    q = false_discovery_control((2 * stdtr(n - 1, -t.numpy())).clip(max=1))
    old, new = before.mean(0), after.mean(0)
    kind = np.where((old * new < 0).numpy(), 3, np.where((new.abs() > old.abs()).numpy(), 1, 2))
    return Moves(difference.mean(0), q, np.array(KINDS)[np.where(q <= FALSE_DISCOVERY, kind, 0)])
