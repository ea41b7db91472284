"""Nulls, crossings and intervals of faithfulness and of resampled circuits, against counts by hand
and known answers.
"""

import numpy as np
import pytest
import torch
from golden_cases import golden

from eap import InputError, random_circuits, selection
from eap import resampling as statistics
from eap.circuit import Circuit
from eap.dataset import Pair, batches
from eap.evaluate import CircuitRunner
from eap.graph import Graph
from eap.models import adapt
from study.faithfulness import numbers as faithfulness
from study.stability import bootstrap
from summarization import corruption

GRAPH = Graph(3, 2, 6)


def test_matched_random_circuits_have_the_same_edges_per_pair_of_layers():
    kept = torch.rand(GRAPH.n_edges, generator=torch.Generator().manual_seed(0)) < 0.3
    generator = torch.Generator().manual_seed(1)
    drawn = [random_circuits.matched(GRAPH, kept, generator=generator) for _ in range(50)]
    profile = torch.bincount(random_circuits.layer_pairs(GRAPH)[kept])
    assert all(
        torch.equal(
            torch.bincount(random_circuits.layer_pairs(GRAPH)[circuit], minlength=len(profile)),
            profile,
        )
        for circuit in drawn
    )
    assert len({tuple(circuit.tolist()) for circuit in drawn}) == 50
    assert {
        int(random_circuits.uniform(GRAPH, 7, generator=generator).sum()) for _ in range(5)
    } == {7}
    first, second = ("input->a0.h0<q>", "input->a0.h1<v>"), ("input->m0",)
    pairs = random_circuits.layer_pairs(GRAPH)[
        [GRAPH.edge_number[name] for name in (*first, *second, "m0->m1")]
    ]
    assert len(set(pairs[:3].tolist())) == 1 and pairs[3] != pairs[0]


def test_crossings_are_read_off_in_log_k():
    fractions, f = (
        [0.01, 0.1, 1.0],
        np.array([[0.0, 0.8, 1.0], [0.5, 0.6, 1.0], [0.95, 0.2, 1.0], [0.0, 0.1, 0.2]]),
    )
    crossings = faithfulness.crossing(fractions, f, goal=0.8)
    assert crossings[:3] == pytest.approx([0.1, 10**-0.5, 0.01])
    assert crossings[3] == np.inf


def test_areas_say_the_sizes_that_they_are_over():
    """f is the share itself: over 0.1 to 100 % CPR is its mean, 0.5005; over 1 to 20 % the same
    curve has 0.105.
    """
    fractions, n = [0.001, 0.01, 0.05, 0.2, 1.0], 9
    none = torch.zeros(GRAPH.n_edges, dtype=torch.bool)
    here = faithfulness.Setting(
        [faithfulness.Entry("circuit", share, none) for share in fractions],
        1 - np.repeat(np.array(fractions)[:, None], n, 1),
        np.zeros(n),
        np.ones(n),
    )
    rows = statistics.resample(n, 0, resamples=20)
    whole, part = (
        faithfulness.curve_areas(here, rows),
        faithfulness.curve_areas(here, rows, sizes=[0.01, 0.05, 0.2]),
    )
    assert (whole["from"], whole["to"], whole["sizes"]) == (0.001, 1.0, 5) and whole["CPR"][
        "mean"
    ] == pytest.approx(0.5005)
    assert (part["from"], part["to"], part["sizes"]) == (0.01, 0.2, 3) and part["CPR"][
        "mean"
    ] == pytest.approx(0.105)


def test_running_circuits_gives_the_ends_and_every_example_its_own_row():
    case = golden("small_kl_padded")
    adapter, none = adapt(case.model()), torch.zeros(case.graph.n_edges, dtype=torch.bool)
    chosen = {"circuit": ~none, "complement": none, "file": ~none}
    entries = [faithfulness.Entry(kind, 1.0, kept) for kind, kept in chosen.items()]
    measured = faithfulness.measure(
        adapter, batches(case.pairs, 2), entries=entries, how=faithfulness.Running(["kl", "nll"])
    )
    here = faithfulness.setting(measured, entries, metric="kl")
    assert here.f([0, 1, 2]) == pytest.approx([1, 0, 1], abs=1e-9)
    assert max(measured.identities.values()) < 1e-9
    alone = [
        faithfulness.measure(
            adapter,
            batches([pair], 1),
            entries=entries[1:2],
            how=faithfulness.Running(["nll"]),
        ).values["nll"][0, 0]
        for pair in case.pairs
    ]
    assert measured.values["nll"][1] == pytest.approx(alone)


def test_running_out_of_memory_halves_the_batch_and_loses_nothing(monkeypatch):
    """Memory is full when the third circuit of a batch of more than two examples runs: what had
    been run of the batch is run again.
    """
    case, notes = golden("small_kl_padded"), []
    adapter, none = adapt(case.model()), torch.zeros(case.graph.n_edges, dtype=torch.bool)
    half = torch.arange(case.graph.n_edges) % 2 == 0
    entries = [faithfulness.Entry("circuit", 1.0, kept) for kept in (~none, half, none)]
    whole = faithfulness.measure(
        adapter,
        batches(case.pairs, len(case.pairs)),
        entries=entries,
        how=faithfulness.Running(["kl", "nll"]),
    )
    run_whole = CircuitRunner.logits

    def run(self, kept):
        if len(self.batch.rows) > 2 and not kept.any():
            raise torch.OutOfMemoryError("full")
        return run_whole(self, kept)

    monkeypatch.setattr(CircuitRunner, "logits", run)
    halved = faithfulness.measure(
        adapter,
        batches(case.pairs, len(case.pairs)),
        entries=entries,
        how=faithfulness.Running(["kl", "nll"], notify=notes.append),
    )
    assert len(case.pairs) > 2 and notes and "out of memory" in notes[0]
    for name in ("kl", "nll"):
        assert halved.values[name] == pytest.approx(whole.values[name], abs=1e-6)
        assert halved.full[name] == pytest.approx(whole.full[name], abs=1e-6)
        assert (
            halved.empty[name] == pytest.approx(whole.empty[name], abs=1e-6)
            and (np.abs(halved.empty[name]) > 1e-3).all()
        )
    assert (
        halved.identities.keys() == whole.identities.keys()
        and max(halved.identities.values()) < 1e-9
    )


def test_a_corruption_that_changes_nothing_has_no_faithfulness():
    measured = faithfulness.Measured(
        {"kl": np.zeros((1, 3))}, {"kl": np.zeros(3)}, {"kl": np.zeros(3)}, {}
    )
    with pytest.raises(InputError, match="change of 0"):
        faithfulness.setting(measured, [], metric="kl")


def test_a_circuit_without_noise_is_sure_and_one_of_noise_is_not_stable():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(GRAPH.n_edges, generator=generator)
    kept = selection.prune(GRAPH, selection.top_n(GRAPH, scores, n=60))
    metadata = {"sizes": {"selected": 60}}
    steady = bootstrap.summarise(
        bootstrap.bootstrap(
            Circuit(GRAPH, kept, scores, None, metadata), scores.repeat(8, 1), resamples=40
        ),
        8,
        seed=0,
    )
    assert (
        steady["stable"]
        and steady["noise_floor"]["low"] == 1
        and steady["size"]["low"] == steady["size"]["high"] == int(kept.sum())
    )
    assert (
        torch.equal(torch.tensor(steady["selection_frequency"]) == 1, kept)
        and min(steady["sign_stability"]) == 1
    )
    noise = torch.randn(8, GRAPH.n_edges, generator=generator)
    own = selection.prune(GRAPH, selection.top_n(GRAPH, noise.mean(0), n=60))
    loose = bootstrap.summarise(
        bootstrap.bootstrap(
            Circuit(GRAPH, own, noise.mean(0), None, metadata), noise, resamples=40
        ),
        8,
        seed=0,
    )
    assert not loose["stable"] and "not stable" in bootstrap.sentence(loose)
    assert (
        loose["split_half"]["mean"]
        < loose["noise_floor"]["mean"]
        < loose["jaccard_with_circuit"]["mean"]
    )
    assert min(loose["sign_stability"]) < 0.8
    with pytest.raises(InputError, match="2 examples"):
        bootstrap.bootstrap(Circuit(GRAPH, kept, scores, None, metadata), scores[None])


def test_salient_sentences_are_corrupted_again_and_nothing_else():
    pairs = [
        Pair(
            str(i),
            list(range(100 * i, 100 * i + 12)),
            [0] * 12,
            10,
            corrupted_spans=((2, 5),),
            segments=((0, 2), (2, 5), (5, 10)),
        )
        for i in (1, 2, 3)
    ]
    for kind, seed in (("swap", 1), ("mask", 0)):
        made = corruption.again(pairs, kind, mask_ids=[7], seed=seed)
        for pair, new in zip(pairs, made, strict=True):
            assert [
                i
                for i, (a, b) in enumerate(zip(pair.clean_ids, new.corrupted_ids, strict=True))
                if a != b
            ] == [2, 3, 4]
    assert made[0].corrupted_ids[2:5] == [7, 7, 7]
    assert corruption.again(pairs, "mask", mask_ids=None, seed=0) is None
    assert (
        corruption.again([Pair("a", [1, 2, 3], [1, 0, 3], 2)], "swap", mask_ids=[7], seed=0) is None
    )


def test_a_resample_without_an_effect_has_no_f_and_no_nan_is_written():
    # Of two examples only the first is changed by corruption: a resample of the second alone is 0 /
    # 0.
    entries = [faithfulness.Entry("circuit", 0.5, torch.ones(GRAPH.n_edges, dtype=torch.bool))]
    here = faithfulness.Setting(entries, np.array([[0.25, 0.0]]), np.zeros(2), np.array([1.0, 0.0]))
    rows = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    (row,) = faithfulness.table(here, GRAPH, rows=rows)
    assert (row["f"], row["low"], row["high"]) == (0.75, 0.75, 0.75)


def test_examples_hold_each_tokens_nll_and_where_the_heads_look():
    """A token's NLL is the model's; all edges kept is the clean run; a row's weights sum to 1."""
    from test_report import unpacked

    from study.faithfulness import examples

    model = golden("tiny_kl").model()
    adapter, ids = adapt(model), torch.tensor([5, 9, 2, 7, 1, 4, 3])
    corrupted = ids.clone()
    corrupted[1:3] = torch.tensor([8, 6])
    pair = Pair("p", ids.tolist(), corrupted.tolist(), 4, corrupted_spans=((1, 3),))
    graph = adapter.graph
    everything = Circuit(
        graph, torch.ones(graph.n_edges).bool(), torch.ones(graph.n_edges).double()
    )
    made = examples.of_pairs(
        adapter, None, circuit=everything, pairs=[pair], ablation="patching", means=None
    )
    (shown,) = made["pairs"]
    assert shown["tokens"][1] == "9" and shown["replaced"] == {1: "8", 2: "6"}
    with torch.no_grad():
        plain = model(ids[None]).logits[0].log_softmax(-1)
    expected = [-plain[place - 1, ids[place]].item() for place in (4, 5, 6)]
    assert shown["nll"]["clean"] == pytest.approx(expected, abs=1e-5)
    assert shown["nll"]["circuit"] == pytest.approx(expected, abs=1e-4)
    assert shown["nll"]["corrupted"] != pytest.approx(expected, abs=1e-4)
    weights = unpacked(shown["attention"][made["heads"][0]]["clean"]).reshape(3, 7) / made["parts"]
    assert weights.sum(1) == pytest.approx(1, abs=0.02)
    assert (weights[0, 4:] == 0).all() and (weights[1, 5:] == 0).all()  # nobody looks ahead
