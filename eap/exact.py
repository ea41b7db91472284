"""Exact patching: a run with one edge ablated for every edge. The oracle of all other methods."""

from collections.abc import Callable, Iterable

import torch

from eap.evaluate import CircuitRunner
from eap.scores import Scores


def exact_patching(runner: CircuitRunner, metric: str, *, edges: Iterable[int]) -> torch.Tensor:
    """(examples, edges): the metric with only that one edge ablated, less the metric with none."""
    kept = torch.ones(runner.graph.n_edges, dtype=torch.bool)
    whole, columns = runner.metric(metric, kept), []
    for edge in edges:
        kept[edge] = False
        columns.append(runner.metric(metric, kept) - whole)
        kept[edge] = True
    return torch.stack(columns, 1)


def exact_scores(
    runner: CircuitRunner, metric: str, *, tick: Callable[[], object] = lambda: None
) -> Scores:
    """The exact `Scores` of every edge for the runner's batch; `tick` is called after each run."""

    def edges():
        for edge in range(runner.graph.n_edges):
            yield edge
            tick()

    scores = exact_patching(runner, metric, edges=edges())
    none = torch.zeros(runner.graph.n_edges, dtype=torch.bool)
    clean, corrupted = runner.plain_metric("clean", metric), runner.metric(metric, none)
    return Scores(runner.batch.rows, scores, clean, corrupted)
