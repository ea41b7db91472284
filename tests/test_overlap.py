"""Overlap of circuits and its noise floor: counted by hand, by chance, and one number for one
thing.
"""

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from eap.circuit import Circuit
from eap.graph import Graph
from eap.resampling import bootstrap_means
from eap.selection import Rule
from study import overlap
from study.evolution import numbers, results
from study.robustness import numbers as robustness
from study.stability import bootstrap, curves

GRAPH = Graph(2, 2, 8)
SOME = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)


def test_overlaps_counted_by_hand():
    assert overlap.jaccard(SOME[0], SOME[1]) == pytest.approx(1 / 3)
    assert overlap.jaccards(SOME, SOME[0]).tolist() == pytest.approx([1, 1 / 3, 0, 0])
    pairs = overlap.every_two(SOME)
    assert pairs.jaccard.tolist() == pytest.approx([1 / 3, 0, 0, 0, 0, 0])
    assert pairs.changed.tolist() == [2, 2, 2, 2, 2, 0]
    third = pytest.approx(1 / 3)
    assert overlap.matrix(SOME[:3]) == [[1, third, 0], [third, 1, 0], [0, 0, 0]]


def test_two_empty_circuits_agree_in_nothing_wherever_they_are_compared():
    none = torch.zeros(GRAPH.n_edges, dtype=torch.bool)
    empty = Circuit(GRAPH, none, torch.ones(GRAPH.n_edges))
    kept = torch.stack([none, none])
    compared = robustness.pair(empty, empty, per_example=None, resamples=2, seed=0)
    chance = compared["chance"]
    numbers_of_nothing = [
        overlap.jaccard(none, none),
        *overlap.jaccards(kept, none),
        *overlap.every_two(kept).jaccard,
        overlap.matrix(kept)[0][1],
        1 - numbers.change_rates(kept)["one_minus_jaccard"][0],
        compared["jaccard_edges"],
        compared["jaccard_nodes"],
        overlap.chance(0, 0, total=GRAPH.n_edges),
        *(chance[name] for name in ("mean", "low", "high")),
    ]
    assert numbers_of_nothing == [0] * len(numbers_of_nothing)


def test_chance_is_the_mean_and_the_quantiles_of_random_choices():
    generator, n, values = torch.Generator().manual_seed(0), 1000, []
    for _ in range(300):
        order_a = torch.randperm(n, generator=generator)
        order_b = torch.randperm(n, generator=generator)
        values.append(overlap.jaccard(order_a < 50, order_b < 50))
    share = 0.05
    assert overlap.chance(50, 50, total=n) == pytest.approx(share / (2 - share))
    assert np.mean(values) == pytest.approx(overlap.chance(50, 50, total=n), abs=0.003)
    span = overlap.chance_interval(50, 50, total=n)
    shared = hypergeom(n, 50, 50).ppf([0.025, 0.975])
    assert (span["low"], span["high"]) == pytest.approx(tuple(shared / (100 - shared)))
    assert overlap.chance_matrix(torch.arange(n)[None].repeat(2, 1) < 50) == [
        [1.0, pytest.approx(share / (2 - share))],
        [pytest.approx(share / (2 - share)), 1.0],
    ]


def test_spearman_by_hand():
    a, b = torch.tensor([1.0, 2, 3, 4]), torch.tensor([10.0, 20, 40, 30])
    assert overlap.spearman(a, b) == pytest.approx(0.8)
    assert overlap.spearman(torch.ones(3), torch.tensor([1.0, 2, 3])) == 0
    assert overlap.spearman(torch.tensor([1.0, 1, 2]), torch.tensor([1.0, 2, 3])) == pytest.approx(
        0.75**0.5
    )  # tied ranks 1.5, 1.5, 3
    assert overlap.spearman_of_every_two(torch.stack([a, -b, b])) == pytest.approx([0.8, 0.8, 1])


# ---------------------------------------------------------------- one noise floor


def noisy(examples: int = 12) -> torch.Tensor:
    """(examples, edges): scores that are part noise."""
    generator = torch.Generator().manual_seed(5)
    mean = torch.randn(GRAPH.n_edges, generator=generator)
    return mean + torch.randn(examples, GRAPH.n_edges, generator=generator)


def test_every_stage_has_the_same_noise_floor_for_the_same_circuit():
    per_example, seed, n = noisy(), 3, 100
    rule = Rule(20)
    kept = rule.take(GRAPH, per_example.mean(0))
    circuit = Circuit(GRAPH, kept, per_example.mean(0), metadata={"sizes": {"selected": 20}})
    # written out: every two of the circuits that the rule takes of the resamples
    resamples = [
        rule.take(GRAPH, row)
        for rows in bootstrap_means(per_example, resamples=n, seed=seed)
        for row in rows
    ]
    every = [
        int((a & b).sum()) / max(1, int((a | b).sum()))
        for i, a in enumerate(resamples)
        for b in resamples[i + 1 :]
    ]
    low, high = np.quantile(every, [0.025, 0.975])
    expected = pytest.approx({"mean": np.mean(every), "low": low, "high": high})
    assert 0.1 < np.mean(every) < 0.9
    resampled = bootstrap.bootstrap(circuit, per_example, resamples=n, seed=seed)
    assert bootstrap.summarise(resampled, 12, seed=seed)["noise_floor"] == expected
    checkpoint = results.Checkpoint("C", 0, circuit, lambda: per_example)
    moved = results.evolve([checkpoint, checkpoint], n, trajectories=1, seed=seed)
    assert moved["similarity"]["edges_noise"] == [expected, expected]
    levels = {0.5: per_example}
    row = robustness.curve(circuit, levels, whole=per_example, resamples=n, seed=seed)[0]
    assert row["noise_floor"] == expected
    sized = [
        row
        for row in curves.by_size(circuit, per_example, goal=0.8, seed=seed)
        if row["selected"] == 20
    ]
    assert not sized or {key: sized[0][key] for key in ("mean", "low", "high")} == expected


def test_a_rule_takes_of_many_means_what_it_takes_of_each():
    means = noisy()
    for rule in (Rule(20), Rule(20, prunes=False), Rule(20, "greedy"), Rule(threshold=1.0)):
        one_by_one = torch.stack([rule.take(GRAPH, row) for row in means])
        assert torch.equal(rule.taking(GRAPH)(means), one_by_one)
