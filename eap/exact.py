"""Exact patching: the metric with one edge ablated, minus the metric with none. One run an edge, the oracle of all other methods."""

from collections.abc import Callable, Iterable

import torch

from eap.dataset import Batch
from eap.evaluate import CircuitRunner
from eap.hooks import Activations
from eap.scores import Scores


def exact_patching(runner: CircuitRunner, metric: str, edges: Iterable[int]) -> torch.Tensor:
    """(examples, edges): the metric with only that one edge ablated, minus the metric with none.
    One run an edge: the oracle.
    """
    everything = torch.ones(runner.graph.n_edges, dtype=torch.bool)
    whole, columns = runner.metric(metric, everything), []
    for edge in edges:
        everything[edge] = False
        columns.append(runner.metric(metric, everything) - whole)
        everything[edge] = True
    return torch.stack(columns, 1)


def exact_scores(
    adapter,
    batch: Batch,
    metric: str,
    ablation: str = "patching",
    means: Activations | None = None,
    tick: Callable[[], object] = lambda: None,
) -> Scores:
    """The exact score of every edge for a batch: as many runs of the model as there are edges,
    `tick` after each.
    """

    def edges():
        for edge in range(adapter.graph.n_edges):
            yield edge
            tick()

    runner = CircuitRunner(adapter, batch, ablation, means)
    scores = exact_patching(runner, metric, edges())
    none = torch.zeros(adapter.graph.n_edges, dtype=torch.bool)
    return Scores(
        batch.rows, scores, runner.plain_metric("clean", metric), runner.metric(metric, none)
    )
