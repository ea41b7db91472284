"""Two methods side by side: passes counted by hand, agreement by hand, what is said and drawn."""

import numpy as np
import pytest
import torch

from eap import attribute, methods
from eap.circuit import Circuit
from eap.dataset import batches
from eap.graph import Graph
from eap.models import adapt
from study.faithfulness import methods as method_comparison
from study.faithfulness import methods_figure as method_comparison_plots
from study.faithfulness import numbers as faithfulness

SMALL = Graph(1, 2, 8)  # 24 edges


def circuit(scores, **metadata):
    kept = torch.ones(SMALL.n_edges, dtype=torch.bool)
    return Circuit(SMALL, kept, torch.as_tensor(scores, dtype=torch.float64), metadata=metadata)


def test_passes_of_every_method_are_those_that_run(monkeypatch):
    from golden_cases import golden

    case, counts = golden("tiny_nll_padded"), {}
    model = case.model()
    adapter, work = adapt(model), batches(case.pairs[:1], 1)
    model.transformer.register_forward_hook(
        lambda *_: counts.update(forward=counts.get("forward", 0) + 1)
    )
    backward = torch.Tensor.backward

    def counted(*args, **options):
        counts["backward"] = counts.get("backward", 0) + 1
        return backward(*args, **options)

    monkeypatch.setattr(torch.Tensor, "backward", counted)
    for method in methods.METHODS:
        if method != "exact":
            counts.clear()
            settings = methods.Settings(method, "nll", steps=3)
            assert list(attribute.attribute_batches(adapter, work, settings=settings))
            expected = methods.passes(case.graph, method, steps=3, rule="gauss-legendre")
            assert (counts["forward"], counts["backward"]) == expected, method
    assert methods.passes(case.graph, "secant", steps=1, rule="left") == (2, 1)
    assert methods.passes(case.graph, "EAP-IG-inputs", steps=5, rule="left") == (7, 5)
    assert methods.passes(case.graph, None, steps=1, rule="left") == (None, None)


def test_agreement_counts_the_edges_that_both_keep_after_pruning():
    ascending = torch.arange(1.0, SMALL.n_edges + 1)
    same = method_comparison.agreement(circuit(ascending), circuit(-ascending))
    assert same[-1]["jaccard"] == 1  # ranked by |score|
    # half of the edges: the upper half by number against the lower half, of which pruning leaves no
    # common edge
    other = method_comparison.agreement(circuit(ascending), circuit(ascending.flip(0)))
    assert other[-1]["fraction"] == 0.5 and other[-1]["jaccard"] == 0.0


@pytest.mark.parametrize(("low", "n_claims"), [(0.01, 1), (-0.01, 0)])
def test_the_benchmarks_figure_counts_saved_edges_only_where_f_is_told_apart(low, n_claims):
    from benchmarks import methods_figure

    rows = []
    for way, f in (("theirs", (0.1, 0.3, 0.5)), ("ours", (0.2, 0.4, 0.6))):
        difference = {"mean": 0.1, "low": low, "high": 0.2, "n": 32}
        points = [
            {"fraction": size, "f": y, "low": y, "high": y, "difference": difference}
            for size, y in zip((0.02, 0.05, 0.1), f, strict=True)
        ]
        mean = {"f": points, "disjoint": []}
        rows.append({"model": "base", "way": way, "mean": mean, "seconds": 1.0})
    axis = methods_figure.plot(rows, yardstick="theirs", ours="ours").axes[0]
    assert sum("fewer edges" in text.get_text() for text in axis.texts) == n_claims


def test_words_stand_where_no_curve_is():
    from benchmarks import methods_figure
    from eap.style import subplots

    for heights, free in (((0.0, 0.1, 0.2), "top"), ((0.5, 0.9, 0.95), "bottom")):
        axis = subplots()[1]
        axis.plot((1, 10, 100), heights)
        axis.set(xscale="log", ylim=(0, 1))
        axis.axhline(0.02)  # a level is no curve
        methods_figure._arrow(axis, 10, 5, 0.5, "words")
        (text,) = [text for text in axis.texts if text.get_text() == "words"]
        assert text.get_va() == free


def test_two_circuits_of_which_pruning_leaves_nothing_do_not_agree():
    scores = torch.arange(1.0, SMALL.n_edges + 1)  # the one strongest edge is no path by itself
    row = method_comparison.agreement(circuit(scores), circuit(scores))[0]
    assert row["jaccard"] == 0 and row["chance"] == 0


def comparison():
    """Two circuits whose f differ in every one of 20 examples at the larger size and in none at the
    smaller.
    """
    sizes = {"sizes": [{"fraction": 0.05, "mean": 0.6, "low": 0.5, "high": 0.7}], "resamples": None}
    floor = {"mean": 0.6, "low": 0.5, "high": 0.7}
    common = {"metric": "kl", "example_ids": list("abcd"), "bootstrap": {"noise_floor": floor}}
    first = circuit(torch.rand(SMALL.n_edges), method="secant", stability=sizes, **common)
    second = circuit(
        torch.rand(SMALL.n_edges), method="EAP-IG-inputs", rule="left", steps=5, **common
    )
    about = method_comparison.about(
        method_comparison.Compared(("C_secant", "C_ig"), (first, second))
    )
    entries = [
        faithfulness.Entry(kind, fraction, first.in_graph)
        for kind in ("circuit", method_comparison.COMPARED)
        for fraction in (0.05, 0.2)
    ]
    values = np.ones((4, 20))
    values[0], values[1], values[2], values[3] = 0.5, 0.1, 0.5, 0.3
    here = faithfulness.Setting(entries, values, np.zeros(20), np.ones(20))
    rows = np.random.default_rng(0).integers(20, size=(200, 20))
    return about, method_comparison.by_size(here, rows)


def test_differences_are_paired_and_a_word_needs_an_interval():
    about, rows = comparison()
    assert [row["f"] for row in rows] == [0.5, 0.9]
    assert [row["other_f"] for row in rows] == pytest.approx([0.5, 0.7])
    assert rows[1]["difference"]["low"] > 0.19 and rows[0]["difference"]["high"] == 0
    lines = method_comparison.sentences(about, {"kl": rows, "nll": None})
    assert "higher at 20.0%" in lines[1] and "not told apart at 1 other size" in lines[1]
    assert "means nothing" in lines[2]
    assert "2 forward and 1 backward" in lines[3] and "7 forward and 5 backward" in lines[4]


def test_the_figure_has_four_panels_with_both_methods():
    about, rows = comparison()
    curve = [
        {"fraction": row["fraction"], "f": row["f"], "low": row["f"], "high": row["f"]}
        for row in rows
    ]
    figure = method_comparison_plots.figure(about, rows, curves=[curve, curve], metric="kl", n=20)
    labels = [text.get_text() for axis in figure.axes[:2] for text in axis.get_legend().get_texts()]
    assert sum("secant" in label for label in labels) == 2
    assert [text.get_text() for text in figure.axes[2].texts] == ["no curves in these files"]
    heights = [bar.get_height() for bar in figure.axes[-1].patches]
    assert heights == [2, 1, 7, 5]


def test_the_figure_shows_how_many_examples_either_method_takes():
    about, rows = comparison()
    for number, entry in enumerate(about["circuits"]):
        points = [{"examples": n, "mean": 0.1 * n + number, "low": 0, "high": 1} for n in (4, 8)]
        curve = {"points": points, "ahead": [{**points[1], "examples": 16}], "goal": 0.7}
        entry["stability"] = {"sizes": [], "resamples": curve}
    curve = [{"fraction": row["fraction"], "f": 1, "low": 1, "high": 1} for row in rows]
    figure = method_comparison_plots.figure(about, rows, curves=[curve, curve], metric="kl", n=20)
    drawn = [list(line.get_ydata()) for line in figure.axes[2].lines]
    assert [0.4, 0.8] in drawn and [1.4, 1.8] in drawn and drawn.count([0.7, 0.7]) == 2
