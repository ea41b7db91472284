"""The table of methods: at which points each takes a backward pass, and by which rules.

Methods differ only in the points at which the gradient is taken, in their weights, and in what
operations hand back (`METHODS`). EAP (Syed et al., arXiv 2310.10348): the clean input. EAP-IG
(Hanna et al., arXiv 2403.17806): points on the line from the corrupted to the clean token
embeddings. Secant patching and its relatives: one backward pass by the rules of `eap.rules`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from eap import InputError, metrics
from eap.dataset import Grouping
from eap.graph import Graph
from eap.rules import ATTNLRP, GIM, SECANT, SECANT_NORM_HELD, Rules

ABLATIONS = ("patching", "zero", "mean")


# ---------------------------------------------------------------- points and weights


class Point(NamedTuple):
    """One forward and backward pass: `where` carries ablated + share (clean - ablated)."""

    where: str  # "input", "a3" for all heads of layer 3, "m3" for its MLP
    share: float
    weight: float  # of its gradient


def left(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(points, weights) of the reference's rule: k/n for k = 0..n-1."""
    return np.arange(n) / n, np.full(n, 1 / n)


def midpoint(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(points, weights) of the middles of n equal parts."""
    return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)


def gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(points, weights) of Gauss-Legendre on [0, 1]: exact for polynomials of degree 2n - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


RULES = {"left": left, "midpoint": midpoint, "gauss-legendre": gauss_legendre}


def _clean_end(graph: Graph, steps: int, rule: str) -> list[Point]:
    return [Point("input", 1.0, 1.0)]


def _both_ends(graph: Graph, steps: int, rule: str) -> list[Point]:
    return [Point("input", 0.0, 0.5), Point("input", 1.0, 0.5)]


def _line_of_inputs(graph: Graph, steps: int, rule: str) -> list[Point]:
    shares, weights = RULES[rule](steps)
    return [
        Point("input", share, weight)
        for share, weight in zip(shares.tolist(), weights.tolist(), strict=True)
    ]


def _line_of_activations(graph: Graph, steps: int, rule: str) -> list[Point]:
    # One group of nodes at a time moves from ablated to clean, the reference's variant: shares 1/n
    # .. n/n, whatever the rule.
    groups = ["input"] + [f"{kind}{layer}" for layer in range(graph.n_layers) for kind in "am"]
    weight = 1 / (len(groups) * steps)
    return [Point(group, k / steps, weight) for group in groups for k in range(1, steps + 1)]


def _segments(graph: Graph, steps: int, rule: str) -> list[Point]:
    """The upper ends of `steps` equal parts of the line from corrupted to clean embeddings."""
    return [Point("input", (k + 1) / steps, 1.0) for k in range(steps)]


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class Method:
    """A row of the table of methods: where the backward passes are, and what they hand back.

    `points(graph, steps, rule)`; None stands for exact patching, one run per edge.
    """

    points: Callable[[Graph, int, str], list[Point]] | None
    rules: Rules | None = None  # of the backward pass; None: derivatives
    gate: float | None = None  # every reader reads this share of the running stream, else corrupted
    corrupted_run: bool = False  # needs the corrupted run's inside: no zero and mean ablation
    complete: bool = False  # edges out of `input` sum to the metric's change: this can be checked
    stepped: bool = False  # takes a number of points or segments
    quadrature: bool = False  # integrates by a rule
    flat: bool = False  # takes the metric's gradient at the clean input, where kl and js have none
    nodes: bool = False  # scores nodes: sums over a node's outgoing edges


_IG: dict[str, Any] = {"corrupted_run": True, "complete": True, "stepped": True, "quadrature": True}
_SECANT: dict[str, Any] = {"corrupted_run": True, "complete": True}
METHODS = {
    "secant": Method(_clean_end, SECANT, **_SECANT),
    "EAP": Method(_clean_end, flat=True),
    "EAP-IG-inputs": Method(_line_of_inputs, **_IG),
    "EAP-IG-activations": Method(_line_of_activations, stepped=True),
    "clean-corrupted": Method(_both_ends, corrupted_run=True),
    "exact": Method(None),
    "secant-segments": Method(_segments, SECANT, stepped=True, **_SECANT),
    "secant-norm-held": Method(_clean_end, SECANT_NORM_HELD, corrupted_run=True),
    "AttnLRP": Method(_clean_end, ATTNLRP, flat=True),
    "GIM": Method(_clean_end, GIM, flat=True),
    "edge-gates": Method(_clean_end, gate=0.8, corrupted_run=True),
    "NAP": Method(_clean_end, flat=True, nodes=True),
    "NAP-IG": Method(_line_of_inputs, nodes=True, **_IG),
    "NAP-secant": Method(_clean_end, SECANT, nodes=True, **_SECANT),
}


# ---------------------------------------------------------------- settings and costs


@dataclass(frozen=True)
class Settings:
    """How edges are scored."""

    method: str = "EAP-IG-inputs"  # one of METHODS
    metric: str = "kl"  # one of metrics.METRICS
    steps: int = 5  # points or segments, of methods that have some
    rule: str = "gauss-legendre"  # one of RULES, of methods that integrate
    ablation: str = "patching"  # one of ABLATIONS
    autocast: torch.dtype | None = None  # bfloat16: of matrix products alone; None: the model's
    groups: Grouping | None = None  # of positions, by which scores are given as well

    def check(self) -> None:
        """Raise InputError for a name that is unknown or a combination without meaning."""
        for what, name, known in (
            ("method", self.method, METHODS),
            ("metric", self.metric, metrics.METRICS),
            ("rule", self.rule, RULES),
            ("ablation", self.ablation, ABLATIONS),
        ):
            if name not in known:
                raise InputError(f"expected a {what} of {', '.join(known)}, got {name!r}")
        method = METHODS[self.method]
        if method.corrupted_run and self.ablation != "patching":
            raise InputError(
                f"{self.method} compares the clean with the corrupted run: expected ablation "
                f"patching, got {self.ablation}, which has no run of its own; use patching, or "
                "method EAP or exact"
            )
        if self.steps < 1:
            raise InputError(f"expected at least 1 step, got {self.steps}")
        if method.points is None and self.groups is not None:
            raise InputError(
                f"expected a method whose scores split by position, got {self.method}, which "
                "patches an edge at all of them at once"
            )


def ticks_per_batch(graph: Graph, method: str, *, steps: int, rule: str) -> int:
    """How many points or segments a batch takes, or edges of exact patching: what a bar counts."""
    points = METHODS[method].points
    return graph.n_edges if points is None else len(points(graph, steps, rule))


def passes(
    graph: Graph, method: str | None, *, steps: int, rule: str
) -> tuple[int | None, int | None]:
    """How many forward and backward passes a pair takes; (None, None) for an unknown method."""
    if method not in METHODS:
        return None, None
    row = METHODS[method]
    if row.points is None:
        return graph.n_edges + 3, 0
    n = len(row.points(graph, steps, rule))
    if row.rules:
        return n + 1 + (n > 1), n  # the clean run is the last segment's upper end
    return n + 2 + (row.gate is not None), n
