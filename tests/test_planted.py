"""Circuits that are known by construction are found: AUROC of |score| against the true edges."""

import statistics

import pytest
import torch
from planted import SIZES, auroc, planted

from eap import hooks
from eap.attribute import attribute
from eap.dataset import collate
from eap.evaluate import CircuitRunner
from eap.models import adapt

SEEDS = range(5)


@pytest.mark.parametrize("size", SIZES)
def test_integrated_gradients_find_planted_circuits(size):
    areas = []
    for seed in SEEDS:
        model, true, pairs = planted(size, seed)
        areas.append(auroc(attribute(model, pairs, batch_size=len(pairs)).edges.mean(0), true))
    assert statistics.mean(areas) >= 0.9, areas


def test_the_planted_edges_alone_carry_the_model_but_for_the_norms_crosstalk():
    # The construction's own oracle: running only the true edges leaves little of the corruption's
    # effect, running the others leaves most.
    model, true, pairs = planted(16, 0)
    adapter = adapt(model)
    with hooks.frozen(model):
        runner = CircuitRunner(adapter, collate(list(range(len(pairs))), pairs))
        nothing = float(runner.metric("kl", torch.zeros_like(true)).mean())
        planted_only = float(runner.metric("kl", true).mean())
        others = float(runner.metric("kl", ~true).mean())
    assert planted_only < 0.1 * nothing
    assert others > 0.5 * nothing


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([3.0, -2, 1, 0], 1), ([0.0, 1, 2, 3], 0), ([1.0, 1, 1, 1], 0.5), ([3.0, 0, 2, 1], 0.5)],
)
def test_auroc(scores, expected):
    assert auroc(torch.tensor(scores), torch.tensor([True, True, False, False])) == expected
