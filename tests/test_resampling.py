"""Resampled examples and intervals: by hand, and one interval for one quantity."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from scipy.stats import t as student

from eap import resampling
from study.evolution import faithfulness as evolution_faithfulness
from study.faithfulness import numbers as faithfulness


def test_bootstrap_means_are_means_of_resamples():
    per_example = torch.eye(4)
    means = torch.cat(list(resampling.bootstrap_means(per_example, resamples=50, seed=0, chunk=20)))
    assert means.shape == (50, 4)
    assert torch.allclose(means.sum(1), torch.ones(50))
    assert set((means * 4).flatten().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert float(resampling.sign_stability(per_example - 2.0)[0]) == 1.0


def test_ends_are_the_central_share_of_what_was_drawn():
    drawn = np.arange(1001.0)
    assert resampling.ends(drawn) == pytest.approx((25, 975))
    low, high = resampling.ends(np.stack([drawn, -drawn], 1), axis=0)
    assert low == pytest.approx([25, -975]) and high == pytest.approx([975, -25])
    assert resampling.outer_ends([1, 2, np.inf, np.inf], 1000) == (1, np.inf)
    assert resampling.central(drawn) == pytest.approx({"mean": 500, "low": 25, "high": 975})


def tail_of(n: int) -> float:
    """Below which an interval over n examples is cut: the normal tail at Student's quantile, times
    sqrt(n / (n - 1)).
    """
    return float(norm.cdf(student.ppf(0.025, n - 1) * math.sqrt(n / (n - 1))))


def test_of_few_examples_resamples_are_cut_further_out():
    assert resampling.tails(8) == pytest.approx((tail_of(8), 1 - tail_of(8)))
    assert resampling.tails(8) == pytest.approx((0.0057, 0.9943), abs=1e-4)
    assert resampling.tails(10**6) == pytest.approx((0.025, 0.975), abs=1e-6)
    drawn = np.arange(1001.0)
    assert resampling.ends(drawn, n=8) == pytest.approx(
        (1000 * tail_of(8), 1000 - 1000 * tail_of(8))
    )


def test_an_interval_of_eight_normal_values_holds_the_mean_as_often_as_it_says():
    data = np.random.default_rng(0).normal(3, 1, (600, 8))
    intervals = [resampling.mean_interval(row, seed=1) for row in data]
    covered = np.mean([interval["low"] <= 3 <= interval["high"] for interval in intervals])
    plain = [np.quantile(row[resampling.resample(8, 1)].mean(1), [0.025, 0.975]) for row in data]
    assert np.mean([low <= 3 <= high for low, high in plain]) < 0.92 < covered < 0.98


def test_a_resample_without_a_value_is_left_out_of_an_interval():
    interval = resampling.interval(2.0, np.array([1.0, np.nan, 3.0, -np.inf]), n=8)
    cut = 2 * tail_of(8)
    assert interval == pytest.approx({"mean": 2, "low": 1 + cut, "high": 3 - cut, "n": 8})
    assert resampling.interval(2.0, np.array([np.nan]), n=4) == {
        "mean": 2,
        "low": 2,
        "high": 2,
        "n": 4,
    }


def test_f_has_one_interval_whichever_script_reports_it():
    rng = np.random.default_rng(1)
    full, empty = np.zeros(12), rng.uniform(1, 2, 12)
    circuit, other = empty * rng.uniform(0.1, 0.4, 12), empty * rng.uniform(0.5, 0.8, 12)
    values = {"full": full, "empty": empty, "own": circuit, "final": other}
    over_checkpoints = evolution_faithfulness.summarise(values, seed=3)
    none = torch.zeros(1, dtype=torch.bool)
    entries = [faithfulness.Entry("circuit", 0.1, none), faithfulness.Entry("other", 0.1, none)]
    setting = faithfulness.Setting(entries, np.stack([circuit, other]), full, empty)
    rows = resampling.resample(12, seed=3)
    (difference,) = faithfulness.differences(
        setting, "circuit", other=setting, other_kind="other", rows=rows
    )
    drawn = setting.resampled([0], rows)[0]
    low, high = np.quantile(drawn, [tail_of(12), 1 - tail_of(12)])
    assert low < setting.f([0])[0] < high
    own = {"mean": setting.f([0])[0], "low": low, "high": high, "n": 12}
    assert over_checkpoints["own"] == pytest.approx(own)
    paired = {name: difference["difference"][name] for name in ("mean", "low", "high", "n")}
    assert over_checkpoints["own_minus_final"] == pytest.approx(paired)
    effect = resampling.mean_interval(empty - full, seed=3)
    assert over_checkpoints["effect"] == pytest.approx({key: effect[key] for key in paired})


def test_sign_flips_of_few_examples_give_the_exact_probability():
    alike = resampling.sign_flip([1.0, 1.0, 1.0], seed=0)  # 2 of 8 sign patterns reach |3|
    assert alike == pytest.approx(2 / 8, abs=0.02)
    assert resampling.sign_flip([1.0, -1.0], seed=0) == 1.0
    # of 8 sign patterns 2 reach |6|; all reach |0|
    columns = np.array([[1.0, 1.0], [2.0, -2.0], [3.0, 1.0]])
    first, second = resampling.sign_flip(columns, seed=0)
    assert first == pytest.approx(2 / 8, abs=0.02) and second == 1
