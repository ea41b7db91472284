"""Layer scores: the file, its order, the choice of layers."""

import json

import numpy as np
import pytest

from eap import InputError
from study.layers import random_layers, top_layers, write_layers

SCORES = {"kl": [0.1, 0.5, 0.5, 0.0], "cka": [4, 3, 2, 1]}


def written(tmp_path, scores=SCORES):
    path = tmp_path / "layers.x.json"
    write_layers(path, "x", scores=scores)
    return path


def test_file_holds_scores_and_order_most_first_ties_by_layer(tmp_path):
    assert json.loads(written(tmp_path).read_text()) == {
        "format": 1,
        "source": "x",
        "scores": {"kl": [0.1, 0.5, 0.5, 0.0], "cka": [4.0, 3.0, 2.0, 1.0]},
        "order": {"kl": [1, 2, 0, 3], "cka": [0, 1, 2, 3]},
    }


def test_top_layers_of_the_first_and_of_a_named_measure(tmp_path):
    path = written(tmp_path)
    assert top_layers(path) == [0, 1, 2]
    assert top_layers(path, k=2) == [1, 2]
    assert top_layers(path, "cka", k=1) == [0]


@pytest.mark.parametrize(
    ("measure", "k", "words"), [("l2", 2, "kl, cka"), (None, 5, "1 to 4"), (None, 0, "1 to 4")]
)
def test_wrong_requests_are_named(tmp_path, measure, k, words):
    with pytest.raises(InputError, match=words):
        top_layers(written(tmp_path), measure, k=k)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "layers.json"
    path.write_text("[1]")
    with pytest.raises(InputError, match="order"):
        top_layers(path)
    with pytest.raises(InputError, match="no such file"):
        top_layers(tmp_path / "absent.json")


@pytest.mark.parametrize("scores", [{}, {"a": [1.0, float("nan")]}, {"a": [1.0], "b": [1.0, 2.0]}])
def test_broken_scores_are_not_written(tmp_path, scores):
    with pytest.raises(ValueError):  # noqa: PT011 - numpy words one of the three itself
        write_layers(tmp_path / "layers.json", "x", scores=scores)
    assert not list(tmp_path.iterdir())


def test_random_layers_are_distinct_seeded_and_uniform():
    rng = np.random.default_rng(0)
    draws = [random_layers(6, 3, rng=rng) for _ in range(600)]
    assert all(draw == sorted(set(draw)) and len(draw) == 3 for draw in draws)
    assert (
        np.bincount(np.concatenate(draws), minlength=6).min() > 250
    )  # 300 expected, standard deviation 12
    assert random_layers(6, 3, rng=np.random.default_rng(0)) == draws[0]
    with pytest.raises(InputError):
        random_layers(3, 4, rng=rng)
