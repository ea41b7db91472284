"""One test per guard: where the naive number misleads, ours does not, or says so.

Guards 8, 10, 18 and 21 are tested where their code is (test_bakeoff.py, test_rouge.py,
test_training.py).
"""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from golden_cases import golden
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

import evaluate_faithfulness
import extract_summarization_circuit as extraction
from eap import InputError, dataset, metrics, random_circuits, selection, visualization
from eap import resampling as statistics
from eap.attribute import attribute
from eap.circuit import Circuit, load_circuit
from eap.dataset import Pair
from eap.graph import Graph
from eap.models import adapt
from eap.scores import ScoreWriter
from runs import opening
from study.differential import latents, measures
from study.differential import over_a_run as differential_run
from study.differential import results as report
from study.differential.two_models import Comparison, plan_batches
from study.evolution import numbers as evolution
from study.evolution.results import Checkpoint, evolve, layer_scores
from study.extraction.results import choose
from study.extraction.settings import Settings
from study.faithfulness import headline as faithfulness_headline
from study.faithfulness import numbers as faithfulness
from study.faithfulness import results as faithfulness_results
from study.faithfulness import running
from study.faithfulness import words as faithfulness_report
from study.faithfulness.figures import figure as faithfulness_figure
from study.faithfulness.settings import Settings as FaithfulnessSettings
from study.overlap import every_two, jaccard
from study.robustness import numbers as robustness
from study.robustness import words as robustness_words
from study.stability import bootstrap
from summarization import corruption

GPT2_SMALL = Graph(12, 12, 768)
SMALL = Graph(2, 2, 8)
RNG = np.random.default_rng(0)


def setting(circuit, null, full, empty, kind="random", fraction=0.05):
    """A circuit of one size and its nulls, from per-example values; which edges they have does not
    matter here.
    """
    none = torch.zeros(SMALL.n_edges, dtype=torch.bool)
    entries = [faithfulness.Entry("circuit", fraction, none)] + [
        faithfulness.Entry(kind, fraction, none, i) for i in range(len(null))
    ]
    return faithfulness.Setting(entries, np.stack([circuit, *null]), full, empty)


def random_circuit(graph, share, seed):
    kept = random_circuits.uniform(
        graph, round(share * graph.n_edges), generator=torch.Generator().manual_seed(seed)
    )
    return Circuit(graph, kept, kept.double())


FAITHFULNESS = FaithfulnessSettings.of(vars(evaluate_faithfulness.parse(["--quiet"])))


def pairs_of(words: list[str]) -> list:
    """The pairs on which faithfulness is evaluated with these flags."""
    settings = FaithfulnessSettings.of(vars(evaluate_faithfulness.parse(words)))
    circuits = running.read_circuits(settings)
    adapter, tokenizer = opening.open_adapted(
        settings.device, settings.model_path, circuits=circuits.by_name
    )
    return running.read_pairs(settings, circuits, adapter=adapter, tokenizer=tokenizer).pairs


def chosen(tmp_path, per_example, *flags):
    """The circuit that the extraction chooses from per-example scores on the graph `SMALL`."""
    path, n = tmp_path / "C.examples.safetensors", len(per_example)
    writer = ScoreWriter(path, n_examples=n, n_edges=SMALL.n_edges)
    writer.write(
        SimpleNamespace(
            rows=list(range(n)), edges=per_example, clean=torch.zeros(n), corrupted=torch.ones(n)
        )
    )
    args = extraction.parse(["--quiet", "--resamples", "20", *flags])
    settings = Settings.of(vars(args), output=tmp_path / "C.json")
    summary = {"completeness": "not applicable", "steps": 5}
    return choose(
        settings, SimpleNamespace(graph=SMALL), pairs=[], scores_file=path, summary=summary
    )


# ---------------------------------------------------------------- the metric


def test_guard_1_kl_is_summed_over_the_vocabulary():
    """Two distributions 1.758 nats apart: a mean over the vocabulary's entries prints as 0.0000."""
    size = 50_257
    clean, other = torch.full((2, 1, size), 0.1 / (size - 1)).double()
    clean[0, 0], other[0, 0], other[0, 1:] = 0.9, 0.1, 0.9 / (size - 1)
    divergence = float(
        metrics.kl(
            other.log(), metrics.Reference(clean.log(), torch.tensor([0]), torch.tensor([0]))
        )
    )
    assert divergence == pytest.approx(0.9 * np.log(9) + 0.1 * np.log(1 / 9))
    assert f"{divergence / size:.4f}" == "0.0000"


def test_guard_2_a_circuit_that_does_nothing_is_not_97_percent_faithful():
    """m(circuit) / m(full) of an empty circuit is close to 1 as the metric does not start at 0; f
    is 0, not above random circuits.
    """
    full = 6.0 + RNG.normal(0, 0.02, 40)
    empty = full + 0.2 + RNG.normal(0, 0.02, 40)
    circuit, null = (
        empty + RNG.normal(0, 0.03, 40),
        [empty + RNG.normal(0, 0.03, 40) for _ in range(10)],
    )
    assert full.mean() / circuit.mean() > 0.96
    here = setting(circuit, null, full, empty)
    rows = statistics.resample(40, 0)
    row = faithfulness.table(here, SMALL, rows=rows)[0]
    assert (
        row["low"] <= 0 <= row["high"]
        and abs(row["f"]) < 0.1
        and row["metric"] == pytest.approx(circuit.mean())
    )
    words = faithfulness_report.by_words(
        faithfulness.against_nulls(here, rows), "above", negative="below"
    )
    assert words == "not told apart at 1 size"


def test_guard_2_an_f_that_means_nothing_is_not_drawn():
    """Corruption's effect of 0.001 on average scatters by 0.2 over examples: f divides by it, and
    its curve could be anything.
    """
    rows, full = statistics.resample(40, 0), np.zeros(40)
    for scatter, shown in ((0.2, False), (0.0001, True)):
        noise = RNG.normal(0, scatter, 40)
        empty = 0.001 + noise - noise.mean()
        here = setting(empty / 2, [empty], full, empty)
        numbers = faithfulness_results.describe(FAITHFULNESS, here, graph=SMALL, rows=rows) | {
            "control": None,
            "cross": [],
        }
        axis = faithfulness_figure(
            {"metrics": {"nll": numbers}, "circuit": "C", "model": "m", "examples": 40, "edges": 9}
        ).axes[0]
        label = next(
            text.get_text()
            for text in axis.get_legend().get_texts()
            if text.get_text().startswith("circuit, by")
        )
        assert bool(axis.collections) == shown and ("not shown" in label) != shown
        result = {
            "identities": {"all_edges": 0.0, "no_edge": 0.0},
            "examples": 40,
            "metrics": {"nll": numbers},
            "compared": None,
            "found_on": {},
            "tokens_changed": {},
            "left_out": [],
        }
        sentences = faithfulness_report.sentences(result)
        assert (
            any("means nothing here" in line for line in sentences) != shown
            and any("mean f of" in line for line in sentences) == shown
        )


def test_f_below_zero_is_drawn_and_sizes_within_a_decade_are_labelled_in_percent():
    """In a real model circuits of 5 to 60 % of the edges can do worse than the corrupted run."""
    rows = [
        {"kind": "circuit", "fraction": size, "f": f, "low": f - 0.2, "high": f + 0.2}
        for size, f in ((0.05, -0.5), (0.2, -0.73), (0.6, 0.6))
    ]
    change = {"mean": 0.4, "low": 0.2, "high": 0.5, "n": 10}
    numbers = {"rows": rows, "change": change, "sizes_reaching": [], "control": None, "cross": []}
    figure = faithfulness_figure(
        {"metrics": {"kl": numbers}, "circuit": "C", "model": "m", "examples": 10, "edges": 9}
    )
    axis = figure.axes[0]
    assert axis.get_ylim()[0] < -0.73
    figure.canvas.draw()
    labels = {text.get_text() for text in axis.get_xticklabels(which="both")}
    assert {"5", "10", "20", "50"} <= labels and not any("math" in label for label in labels)


def test_guard_14_the_metric_covers_all_summary_tokens():
    """A corruption that leaves the first summary token alone and changes the other two: the first
    token alone shows nothing.
    """
    clean = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    changed = torch.tensor([[0.0, 0.0], [np.log(3), 0.0], [np.log(3), 0.0]], dtype=torch.float64)
    reference = metrics.reference(clean, changed, target_ids=torch.tensor([0, 1, 1]))
    apart = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert float(
        metrics.per_example(
            "kl", changed, reference=reference, target_rows=torch.tensor([0, 0, 0]), n_examples=1
        )[0]
    ) == pytest.approx(2 * apart / 3)
    first = metrics.reference(clean[:1], changed[:1], target_ids=torch.tensor([0]))
    of_first = metrics.per_example(
        "kl", changed[:1], reference=first, target_rows=torch.tensor([0]), n_examples=1
    )
    assert float(of_first[0]) == 0
    batch = dataset.collate([0], [Pair("a", [5, 6, 7, 8, 9], [5, 0, 7, 8, 9], 2)])
    assert batch.target_ids.tolist() == [7, 8, 9]


def test_guard_19_scores_do_not_depend_on_batch_size_or_padding():
    """A mean over the tokens of a padded batch weights long summaries more; ours is one number per
    example, whatever it is padded to.
    """
    case = golden("tiny_nll_padded")
    pairs = [
        Pair(str(i), pair.clean_ids[i:], pair.corrupted_ids[i:], pair.target_start - i - (i == 0))
        for i, pair in enumerate(case.pairs)
    ]
    alone = attribute(case.model(), pairs, metric="nll", batch_size=1)
    together = attribute(case.model(), pairs, metric="nll", batch_size=len(pairs))
    for a, b in zip(alone[1:4], together[1:4], strict=True):
        assert (a - b).abs().max() <= 1e-10 * a.abs().max()
    lengths = torch.tensor([len(pair.clean_ids) - pair.target_start for pair in pairs]).double()
    by_tokens = (lengths[:, None] * alone.edges).sum(0) / lengths.sum()
    assert (by_tokens - alone.edges.mean(0)).abs().max() > 1e-3 * alone.edges.abs().max()


# ---------------------------------------------------------------- circuits


def test_guard_11_two_random_circuits_are_not_more_similar_than_chance():
    """Two random 5 % of GPT-2 small's edges share nearly all nodes, which looks like agreement."""
    a = random_circuit(GPT2_SMALL, 0.05, 0)
    b = random_circuit(GPT2_SMALL, 0.05, 1)
    comparison = robustness.pair(a, b, per_example=None, resamples=10, seed=0)
    assert comparison["jaccard_nodes"] > 0.95
    assert comparison["chance"]["mean"] == pytest.approx(0.05 / 1.95, rel=0.01)
    assert (
        comparison["chance"]["low"] <= comparison["jaccard_edges"] <= comparison["chance"]["high"]
        and abs(comparison["spearman"]) < 0.05
    )
    (line,) = robustness_words.pair_lines({"a": "A", "b": "B", **comparison})
    assert "not more similar than chance" in line and "chance 0.026" in line
    half = torch.where(torch.arange(GPT2_SMALL.n_edges) < 16_000, a.in_graph, b.in_graph)
    (line,) = robustness_words.pair_lines(
        {
            "a": "A",
            "b": "B",
            **robustness.pair(
                a, Circuit(GPT2_SMALL, half, half.double()), per_example=None, resamples=10, seed=0
            ),
        }
    )
    assert "not more similar" not in line and "more similar than chance" in line
    test = {
        "examples": 4,
        "edges": 9,
        "distance": 0.5,
        "null": {"mean": 0.5, "low": 0.4, "high": 0.6},
        "p": 0.5,
        "smallest_p": 0.06,
    }
    line, _ = robustness_words.pair_lines({"a": "A", "b": "B", **comparison, "different": test})
    assert "more similar" not in line and "chance 0.026" in line


def test_guard_11_a_low_jaccard_of_two_extractions_of_one_model_is_noise():
    """From few noisy examples one model's circuits overlap by under a half, which reads like a
    change. The noise floor says what it is.
    """
    graph, n, generator = Graph(6, 6, 12), 120, torch.Generator().manual_seed(0)
    true = torch.randn(graph.n_edges, generator=generator)
    first = true + 3 * torch.randn(12, graph.n_edges, generator=generator)
    second = true + 3 * torch.randn(12, graph.n_edges, generator=generator)
    overlap = jaccard(*(selection.top_n(graph, scores.mean(0), n=n) for scores in (first, second)))
    assert overlap < 0.5

    def choose(means):
        return selection.strongest(means, n)

    halves = bootstrap.split_half(first, 50, seed=0, choose=choose).mean()
    resamples = every_two(bootstrap.resampled(first, 100, seed=0, choose=choose)).jaccard.mean()
    assert (
        halves - 0.03 < overlap < resamples + 0.03 < bootstrap.STABLE
    )  # two extractions on new examples lie between the two floors
    test = bootstrap.permutation_test(first, second, n=n, permutations=100)
    assert test["p"] > 0.05 and robustness_words.verdict(test) == "not shown to differ"


def test_guard_12_sizes_before_and_after_pruning_are_told_and_an_empty_circuit_is_an_error(
    tmp_path,
):
    """Five strong edges of which one lies on no path: "a circuit of 5 edges" has 4. With none on a
    path there is no circuit.
    """
    scores = torch.zeros(3, SMALL.n_edges)
    for edge, score in (
        ("input->a0.h0<v>", 5.0),
        ("a0.h0->logits", 4.0),
        ("input->m1", 3.0),
        ("m1->logits", 2.0),
        ("m0->a1.h0<q>", 6.0),
    ):
        scores[:, SMALL.edge_number[edge]] = score
    circuit = chosen(tmp_path, scores, "--top_n", "5")
    assert (
        circuit.metadata["sizes"]["selected"],
        circuit.metadata["sizes"]["pruned"],
        int(circuit.in_graph.sum()),
    ) == (5, 4, 4)
    assert circuit.metadata["bootstrap"]["size"]["mean"] == 4
    row = faithfulness.by_size(circuit, [5 / SMALL.n_edges])[0].about(SMALL)
    assert (row["selected"], row["pruned"]) == (5, 4)
    with pytest.raises(InputError, match="none of the 1 chosen edges lies on a path"):
        chosen(tmp_path, scores, "--top_n", "1")


def test_guard_13_q_k_and_v_do_not_cancel():
    """A head read strongly through q and k with opposite signs: summed with sign it has no score at
    all.
    """
    scores = torch.zeros(SMALL.n_edges)
    scores[SMALL.edge_number["input->a0.h0<q>"]], scores[SMALL.edge_number["input->a0.h0<k>"]] = (
        1.0,
        -1.0,
    )
    assert visualization.layer_matrix(SMALL, scores)[0, 0] == 0
    figure = visualization.heat_map(SMALL, scores, title="title")
    assert float(figure.axes[0].images[0].get_array()[0, 0]) == pytest.approx(2)
    visualization.subplots()[0].clear()
    circuit = Circuit(SMALL, scores.abs() > 0, scores)
    none = Circuit(SMALL, scores.abs() > 0, torch.zeros(SMALL.n_edges))
    layers = layer_scores([none, circuit], torch.stack([none.scores, circuit.scores]))
    assert (layers["after"][0], layers["change"][0]) == pytest.approx(
        (0.5, 0.5)
    )  # the other half of each edge is `input`'s


def test_guard_20_no_circuit_is_judged_on_examples_it_was_found_on(tmp_path, tiny_model_dir):
    """A file that holds extraction's examples and new ones: only the new ones count, also those
    that the other circuit saw are out.
    """
    graph = Graph(2, 4, 48)
    for name, ids in (("A", ["a", "b"]), ("B", ["c"])):
        circuit = Circuit(
            graph,
            torch.ones(graph.n_edges, dtype=torch.bool),
            torch.ones(graph.n_edges),
            None,
            {"example_ids": ids},
        )
        (tmp_path / f"{name}.json").write_text(json.dumps(circuit.to_json()))
    rows = [
        {"id": name, "clean_ids": [1, 2, 3], "corrupted_ids": [4, 2, 3], "summary_start": 2}
        for name in "abcd"
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def load(*words):
        words = [
            "--quiet",
            "--circuit",
            f"{tmp_path}/A.json",
            "--model_path",
            tiny_model_dir,
            "--pairs",
            f"{tmp_path}/pairs.jsonl",
            *words,
        ]
        return [pair.id for pair in pairs_of(words)]

    assert load() == ["c", "d"]
    assert load("--other_circuit", f"{tmp_path}/B.json") == ["d"]
    assert load("--allow_same_examples") == ["a", "b", "c", "d"]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    with pytest.raises(InputError, match="allow_same_examples"):
        load()


def test_guard_23_nan_is_not_the_strongest_edge():
    """torch sorts NaN first, so a broken layer's edges would pass for the circuit; ours stops and
    names layer and edge.
    """
    scores = torch.ones(SMALL.n_edges)
    scores[7] = float("nan")
    assert int(torch.argsort(scores.abs(), descending=True)[0]) == 7
    with pytest.raises(InputError, match="finite"):
        selection.top_n(SMALL, scores, n=3)
    case = golden("tiny_kl")
    model = case.model()
    model.transformer.h[1].mlp.c_fc.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"nan for edge .+->.+ \(layer \d+\) of example"):
        attribute(model, case.pairs, metric="nll")


def test_guard_24_signed_and_absolute_ranking_are_told_apart_in_the_file(tmp_path):
    """The same scores give two different circuits; a comparison that does not know would call the
    difference a change.
    """
    scores = torch.linspace(-3, 2, SMALL.n_edges).repeat(4, 1)
    absolute = chosen(tmp_path, scores, "--fraction", "0.5", "--absolute")
    signed = chosen(tmp_path, scores, "--fraction", "0.5", "--no-absolute")
    assert jaccard(absolute.in_graph, signed.in_graph) < 0.7
    written = []
    for circuit in (absolute, signed):
        (tmp_path / "C.json").write_text(json.dumps(circuit.to_json()))
        written.append(load_circuit(tmp_path / "C.json"))
    assert [circuit.metadata["absolute"] for circuit in written] == [True, False]
    assert evolution.differing_settings(written) == ["absolute"]
    for circuit in written:  # every later choice by the same scores follows the file's own ranking
        assert circuit.metadata["bootstrap"]["jaccard_with_circuit"]["low"] == 1
        assert torch.equal(
            faithfulness.by_size(circuit, [0.5])[0].kept & circuit.in_graph, circuit.in_graph
        )


def test_guard_25_a_circuit_of_another_tokenizer_or_shape_is_refused(tmp_path, tiny_model_dir):
    """A circuit of a model of the same shape loads and runs without complaint; its tokens mean
    something else.
    """
    for graph, metadata, message in (
        (Graph(2, 4, 48), {"tokenizer_sha256": "x"}, "another tokenizer"),
        (Graph(3, 4, 48), {}, "3 layers"),
    ):
        circuit = Circuit(
            graph,
            torch.ones(graph.n_edges, dtype=torch.bool),
            torch.ones(graph.n_edges),
            None,
            metadata,
        )
        (tmp_path / "C.json").write_text(json.dumps(circuit.to_json()))
        with pytest.raises(InputError, match=message):
            pairs_of(["--circuit", f"{tmp_path}/C.json", "--model_path", tiny_model_dir])


# ---------------------------------------------------------------- pairs


def test_guard_15_a_pair_that_does_not_align_is_refused_by_row(tmp_path):
    """Zipped together, a corrupted input of one token more passes unseen, and every later position
    is compared with its neighbour.
    """
    rows = [
        {"id": "a", "clean_ids": [1, 2, 3, 4], "corrupted_ids": [1, 9, 3, 4], "summary_start": 2},
        {
            "id": "b",
            "clean_ids": [1, 2, 3, 4],
            "corrupted_ids": [1, 9, 9, 3, 4],
            "summary_start": 2,
        },
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(list(zip(rows[1]["clean_ids"], rows[1]["corrupted_ids"], strict=False))) == 4
    with pytest.raises(InputError, match=r"row 2: .*same length, got \[4, 5\] tokens"):
        dataset.read_pairs(path)
    rows[1] = rows[0] | {"id": "b", "control_ids": [1, 2, 3]}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="row 2"):
        dataset.read_pairs(path)


def test_guard_16_an_effect_that_other_sentences_have_too_is_not_called_salience():
    """Corrupting salient sentences raises KL by a clear 0.5 nats; so does corrupting others, and
    then it says nothing about salience.
    """
    full, n = np.zeros(40), 40
    kept = torch.zeros(SMALL.n_edges, dtype=torch.bool)

    def claimed(control_effect):
        """The kind of the finding, and whether the sentence says the same of it."""
        salient = np.abs(RNG.normal(0.5, 0.2, n))
        control = np.abs(RNG.normal(control_effect, 0.2, n))
        sizes = [faithfulness.Entry("circuit", 0.05, kept)]
        here = faithfulness.Setting(sizes, salient[None] / 2, full, salient)
        elsewhere = faithfulness.Measured(
            {"kl": control[None] / 2}, {"kl": full}, {"kl": control}, {}
        )
        controlled = faithfulness_results.controlled(
            FAITHFULNESS,
            here,
            control=running.Control(list(range(n)), sizes, elsewhere),
            metric="kl",
            graph=SMALL,
        )
        change = statistics.mean_interval(salient, 0)
        assert change["low"] > 0.4
        numbers = {"change": change, "control": controlled}
        tokens = {"salient": 70, "control": 70}
        sentence = faithfulness_report.control_lines("kl", numbers, tokens=tokens)[0]
        finding = faithfulness_headline.control_finding("kl", numbers)
        return finding.kind, "more than that" in sentence

    assert claimed(0.5) == ("no clear difference", False)
    assert claimed(0.1) == ("higher", True)


def test_guard_17_only_the_article_is_cut_and_only_what_is_left_is_salient(
    tiny_tokenizer, articles
):
    """Cutting a row at the end loses the summary, which is what is asked about."""
    whole = corruption.prepare(tiny_tokenizer, articles[0], max_length=320)
    cut = corruption.prepare(tiny_tokenizer, articles[0], max_length=len(whole.ids) - 40)
    assert cut.n_cut >= 40
    assert cut.ids[cut.summary_start :].tolist() == whole.ids[whole.summary_start :].tolist()
    assert whole.ids[: len(cut.ids)].tolist() != cut.ids.tolist()
    assert cut.sentences == whole.sentences[: len(cut.sentences)]
    assert max(cut.salient) < len(cut.sentences) < len(whole.sentences)


# ---------------------------------------------------------------- words


def test_guard_26_no_claim_word_without_an_interval_that_excludes_zero():
    """The same mean difference of 0.05 in f, once over examples that agree and once over examples
    that scatter.
    """
    full, empty, n = np.zeros(40), np.ones(40), 40
    rows = statistics.resample(n, 0)
    for scatter, words in ((0.02, "above all at 5.0%"), (0.6, "not told apart at 1 size")):
        noise = RNG.normal(0, scatter, n)
        here = setting(0.5 + noise - noise.mean(), [np.full(n, 0.55)] * 10, full, empty)
        nulls = faithfulness.against_nulls(here, rows)
        assert nulls[0]["difference"]["mean"] == pytest.approx(0.05)
        assert faithfulness_report.by_words(nulls, "above all", negative="below").startswith(words)


def test_guard_26_few_examples_support_no_claim_about_faithfulness():
    """Two examples that agree give an interval of no width to speak of, which excludes zero; the
    same numbers over 8 carry a claim.
    """
    kept = torch.zeros(SMALL.n_edges, dtype=torch.bool)

    def words_of(n):
        full, empty, rows = np.zeros(n), np.linspace(1, 1.01, n), statistics.resample(n, 0)
        here = setting(0.5 * empty, [0.9 * empty] * 10, full, empty)
        elsewhere = faithfulness.Measured(
            {"kl": 0.1 * here.values[:1]}, {"kl": full}, {"kl": 0.2 * empty}, {}
        )
        sizes = [faithfulness.Entry("circuit", 0.05, kept)]
        control = faithfulness_results.controlled(
            FAITHFULNESS,
            here,
            control=running.Control(list(range(n)), sizes, elsewhere),
            metric="kl",
            graph=SMALL,
        )
        numbers = faithfulness_results.describe(FAITHFULNESS, here, graph=SMALL, rows=rows) | {
            "control": control,
            "cross": [],
        }
        assert numbers["nulls"][0]["difference"]["low"] > 0.3  # zero is excluded all the same
        result = {
            "identities": {"all_edges": 0.0, "no_edge": 0.0},
            "examples": n,
            "metrics": {"kl": numbers},
            "compared": None,
            "found_on": {
                "C": {"examples": 48, "noise_floor": {"mean": 0.5, "low": 0.43, "high": 0.59}}
            },
            "tokens_changed": {"salient": 70, "control": 70},
            "left_out": [],
        }
        return "\n".join(faithfulness_report.lines(result))

    words = ("above all", "more than that", "higher at")
    for n in (1, 2, 7):
        assert "fewer than 8" in words_of(n) and not any(word in words_of(n) for word in words)
    assert "fewer than 8" not in words_of(8) and all(word in words_of(8) for word in words)
    assert (
        "C was found on 48 examples; two resamples of them choose edges with a Jaccard index of "
        "0.500 [0.430, 0.590]" in words_of(8)
    )


def test_guard_26_circuits_differ_only_by_a_p_value_that_noise_seldom_reaches():
    """Under the null (both models' scores drawn alike) p is under 5 % about as often as it says; a
    planted difference is found.
    """
    generator = torch.Generator().manual_seed(0)
    graph, p = Graph(2, 4, 8), []
    true = torch.randn(graph.n_edges, generator=generator)

    def scores(mean, examples=16):
        return mean + torch.randn(examples, graph.n_edges, generator=generator)

    for seed in range(60):
        p.append(
            bootstrap.permutation_test(
                scores(true), scores(true), n=15, permutations=100, seed=seed
            )["p"]
        )
    assert np.mean(np.array(p) < 0.05) <= 0.12 and 0.35 < np.mean(p) < 0.75
    test = bootstrap.permutation_test(
        scores(true, 40), scores(torch.roll(true, 3), 40), n=15, permutations=200
    )
    assert test["p"] < 0.01 and robustness_words.verdict(test) == "the circuits differ"
    few = bootstrap.permutation_test(
        scores(true, 4), scores(torch.roll(true, 3), 4), n=15, permutations=200
    )
    assert few["smallest_p"] == 0.125 and robustness_words.verdict(few) != "the circuits differ"


def test_guard_26_a_layer_is_farthest_only_if_resampled_texts_agree():
    """Three layers that move alike: some layer has the largest mean by both measures. With layer 2
    farther in every text one may say so.
    """
    texts, steps, layers = 20, [0, 5, 10], 3

    def sentences_of(more, n=texts):
        noise = RNG.normal(0, 0.2, (n, 1, layers))
        moved = np.array([0.0, 0.2, 1.0])[None, :, None] * (
            1 + (noise - noise.mean(0)) + np.array([0, 0.001, more])
        )
        standing = {
            name: differential_run.standing(steps, scale * moved, seed=0)
            for name, scale in (("cosine", 1), ("relative_l2", 3))
        }
        assert {row["layer"] for row in standing.values()} == {2 if more > 0.001 else 1}
        summary = {"standing": standing, "texts": n, "steps": steps}
        return differential_run._sentences(summary), standing["cosine"]

    (first, _), cosine = sentences_of(0)
    assert "not settled" in first and cosine["share"] < 0.9
    (first, second), cosine = sentences_of(1)
    assert first.startswith("All measures agree which layer is farthest") and cosine["share"] == 1
    assert "layer 2 by cosine in 100%, relative_l2 in 100% of resamples" in first
    assert "cosine 10 [10, 10]" in second  # a fifth of the way at step 5
    assert sentences_of(1, 7)[0] == [
        "With 7 texts (fewer than 8) no claim is made about which layer is farthest from the base "
        "model at step 10."
    ]


def test_guard_26_entropy_rose_or_fell_only_where_the_interval_excludes_zero():
    """Three layers whose mean entropy rises, rises and falls; in the second texts scatter so that
    its interval holds zero.
    """
    change = RNG.normal(0, 1, (12, 3)) * np.array([0.01, 1.0, 0.01])
    change += np.array([0.1, 0.1, -0.1]) - change.mean(0)
    texts = np.stack([change, change], 2)  # (texts, layers, heads)
    heads = Measured(
        **{
            f"{name}_{which}": texts * (which == "finetuned")
            for name in report.ENTROPIES
            for which in ("base", "finetuned")
        }
    )
    changes = {name: report.head_change(heads, name, seed=0) for name in report.ENTROPIES}
    assert np.sign(changes["entropy"]["layers"]["mean"]).tolist() == [1, 1, -1]
    assert report.split_by_sign(changes["entropy"]["layers"]) == ([0], [2], [1])
    sentences = report._entropy_sentences({"entropy_change": changes, "texts": 12})
    assert (
        sentences[1] == "By layer (interval excludes zero): rose in 0; fell in 2; no claim about 1."
    )
    assert "rose" not in " ".join(
        report._entropy_sentences({"entropy_change": changes, "texts": 7})
    )


def test_guard_26_a_circuit_has_changed_more_than_noise_only_above_what_other_examples_change():
    """Two extractions of one model on other examples differ in a third of their edges and more; dS
    says that noise does so too.
    """
    graph, generator = Graph(3, 4, 16), torch.Generator().manual_seed(0)
    true = torch.randn(graph.n_edges, generator=generator)

    def checkpoint(name, mean):
        scores = mean + 2 * torch.randn(40, graph.n_edges, generator=generator)
        circuit = Circuit(graph, selection.strongest(scores.mean(0), 40), scores.double().mean(0))
        return Checkpoint(name, None, circuit, lambda: scores)

    def result_of(mean):
        return evolve(
            [checkpoint("before", true), checkpoint("after", mean)], 60, trajectories=5, seed=0
        )

    same, other = result_of(true), result_of(torch.roll(true, 3))
    assert same["rates"]["edges"]["dS"] > 0.3
    assert not any("more than noise" in line for line in same["sentences"])
    assert sum("more than noise" in line for line in other["sentences"]) >= 2
    assert not same["layers_noise"]["beyond"]
    assert other["layers_noise"]["beyond"] == [0, 1, 2]


# ---------------------------------------------------------------- inside the models: guards 3 to 7

N_LAYERS, N_HEADS, WIDTH, VOCABULARY = 3, 4, 48, 97


def model(seed=0, attention="eager", **more):
    config = GPT2Config(
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        n_embd=WIDTH,
        n_positions=128,
        vocab_size=VOCABULARY,
        bos_token_id=0,
        eos_token_id=0,
        **more,
    )
    config._attn_implementation = attention
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def base():
    return model()


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [
        rng.integers(1, VOCABULARY, size=length).tolist()
        for length in rng.integers(16, 40, size=12)
    ]


def compare(base, finetuned, texts):
    comparison = Comparison(adapt(base), adapt(finetuned), n_texts=len(texts))
    for rows in plan_batches([len(ids) for ids in texts], N_HEADS, batch_size=None):
        comparison.add(rows, [texts[row] for row in rows])
    return comparison


def noisy(original, module, scale=0.05, seed=1):
    """A copy with noise on the weights of one module."""
    other, generator = copy.deepcopy(original), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.transformer.get_submodule(module).parameters():
            weight += scale * torch.randn(weight.shape, generator=generator)
    return other


def hidden_states(of, ids):
    """What transformers calls hidden_states, of one text: (states, positions, d_model); the last is
    after the final norm.
    """
    return torch.stack(of(torch.tensor([ids]), output_hidden_states=True).hidden_states)[
        :, 0
    ].detach()


def test_guard_3_a_rescaled_final_norm_is_no_change_of_the_last_layer(base, texts, tmp_path):
    """Only layer 1 changes, a little, and the final norm a lot: the last `hidden_states` entry puts
    the last layer first.
    """
    tuned = noisy(base, "h.1.mlp", 0.02)
    with torch.no_grad():
        tuned.transformer.ln_f.weight *= torch.linspace(0.2, 5, WIDTH)
    naive = measures.relative_l2(hidden_states(base, texts[0]), hidden_states(tuned, texts[0]))
    assert naive.argmax() == N_LAYERS  # "layer 2 changed most"
    only_norm = copy.deepcopy(base)
    only_norm.transformer.ln_f.load_state_dict(tuned.transformer.ln_f.state_dict())
    unchanged = report.summarise(compare(base, only_norm, texts), 0)
    assert unchanged["sentences"][0] == "No measure sees a change."
    assert unchanged["hidden"]["relative_l2"]["mean"][:-1] == [0.0] * (N_LAYERS + 1)
    assert (
        unchanged["states"][-1] == "after final norm"
        and unchanged["hidden"]["relative_l2"]["mean"][-1] > 0.5
    )  # shown, apart
    summary = report.summarise(compare(base, tuned, texts), 0)
    assert summary["changes"]["update_relative_l2"]["order"][0] == 1
    assert len(summary["changes"]["relative_l2"]["scores"]) == N_LAYERS
    chosen = latents.probe(texts[:2], 8)
    for name, of in (("base", base), ("tuned", only_norm)):
        latents.save(tmp_path / f"{name}.safetensors", of, chosen=chosen)
    streams = [load_file(tmp_path / f"{name}.safetensors")["streams"] for name in ("base", "tuned")]
    assert torch.equal(*streams)  # nor do the latents show it


def test_guard_4_a_massive_dimension_and_the_first_token_hide_no_change(base, texts):
    """Two unrelated models share one huge dimension: their raw cosine is near 1, over the first
    token too; ours is not.
    """
    shared = [copy.deepcopy(base), model(seed=5)]
    with torch.no_grad():
        for network in shared:
            network.transformer.h[0].mlp.c_proj.bias[7] = 100.0
    naive = measures.cosine(*(hidden_states(network, texts[0])[N_LAYERS - 1] for network in shared))
    assert naive > 0.99
    summary = report.summarise(compare(*shared, texts), 0)
    hidden, last = summary["hidden"], N_LAYERS
    assert hidden["cosine"]["mean"][last] > 0.99
    for name in ("centred_cosine", "cka", "rsa"):
        assert hidden[name]["high"][last] < 0.5, name
    assert [entry["dimension"] for entry in summary["massive_dimensions"]] == [7]
    assert any(
        "dimension 7" in sentence and "raw cosine" in sentence for sentence in summary["sentences"]
    )
    # the first token: a change of its state alone dominates a mean over positions, and is none of
    # ours
    moved = copy.deepcopy(base)
    with torch.no_grad():
        moved.transformer.wpe.weight[0] += 300
    ids = [[1, *text[1:]] for text in texts]
    naive = [hidden_states(network, ids[0])[0].norm(dim=-1).mean() for network in (base, moved)]
    assert naive[1] > 10 * naive[0]
    after = report.summarise(compare(base, moved, ids), 0)["hidden"]
    assert after["magnitude_finetuned"]["mean"][0] == pytest.approx(
        after["magnitude_base"]["mean"][0], rel=1e-6
    )
    assert after["relative_l2"]["mean"][0] == 0
    assert after["first_finetuned"]["mean"][0] > 10 * after["first_base"]["mean"][0]  # shown, apart


def test_guard_5_both_models_read_the_same_tokens(texts, monkeypatch):
    """Two models with equal insides and other output weights generate other texts: compared while
    they write, they seem to differ.
    """
    base = model(tie_word_embeddings=False)
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.lm_head.weight.copy_(-tuned.lm_head.weight)
    written = [
        network.generate(
            torch.tensor([texts[0][:8]]),
            attention_mask=torch.ones(1, 8, dtype=torch.long),
            max_new_tokens=8,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )[0].tolist()
        for network in (base, tuned)
    ]
    assert written[0][:8] == written[1][:8] and written[0] != written[1]
    naive = measures.relative_l2(
        *(hidden_states(network, ids) for network, ids in zip((base, tuned), written, strict=True))
    )
    assert naive[N_LAYERS - 1] > 0.1
    read = [[], []]
    for network, seen in zip((base, tuned), read, strict=True):
        network.transformer.wte.register_forward_pre_hook(
            lambda module, inputs, seen=seen: seen.append(inputs[0])
        )
        monkeypatch.setattr(network, "generate", None)  # anyone who generates fails
    summary = report.summarise(compare(base, tuned, texts), 0)
    assert summary["sentences"][0] == "No measure sees a change."
    assert read[0] and all(torch.equal(ours, theirs) for ours, theirs in zip(*read, strict=True))


def test_guard_6_attention_weights_come_from_every_layer_whatever_the_attention_function(
    base, texts
):
    """Under sdpa `output_attentions=True` gives none, silently: a mean over what came would be a
    mean over nothing.
    """
    fused, other = model(attention="sdpa"), noisy(base, "h.0")
    ids = torch.tensor([texts[0]])
    assert not any(weights is not None for weights in fused(ids, output_attentions=True).attentions)
    heads = compare(fused, other, texts[:1]).heads
    assert heads["kl_base_finetuned"].shape == (1, N_LAYERS, N_HEADS)
    eager = [network(ids, output_attentions=True).attentions for network in (base, other)]
    assert len(eager[0]) == N_LAYERS
    for layer, weights in enumerate(zip(*eager, strict=True)):
        wanted = measures.attention_measures(*(network[0].detach() for network in weights))
        for name, values in wanted.items():
            assert heads[name][0, layer] == pytest.approx(values.numpy(), abs=1e-6), name


class Measured:
    """Per-text attention measures without models: what `head_change` reads of a Comparison."""

    def __init__(self, **heads):
        self.heads = heads


def test_guard_7_entropy_counts_keys_sinks_and_chance_out():
    """Three ways to see "attention became more focused" where nothing did: longer texts, a stronger
    sink, and chance among heads.
    """
    # longer texts: uniform attention has more nats over more keys; over the log of their number it
    # has 1
    short = measures.attention_measures(
        *[torch.ones(1, 8, 8).tril() / torch.arange(1, 8 + 1)[:, None]] * 2
    )
    long = measures.attention_measures(
        *[torch.ones(1, 64, 64).tril() / torch.arange(1, 64 + 1)[:, None]] * 2
    )
    assert long["entropy_base"] > short["entropy_base"] + 1
    assert long["normalised_entropy_base"] == pytest.approx(
        short["normalised_entropy_base"], rel=1e-5
    )
    # a sink: the weight of the first token doubles, the others keep their proportions
    n, weights = 40, torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(0)).tril()
    weights[..., 0] = 0
    weights[..., 1:, :] /= weights[..., 1:, :].sum(-1, keepdim=True)
    sunk = [weights * (1 - share) + share * torch.eye(n)[0] for share in (0.45, 0.9)]
    for attention in sunk:
        attention[..., 0, :] = torch.eye(n)[0]
    focused = measures.attention_measures(*sunk)
    assert focused["entropy_finetuned"] < focused["entropy_base"] - 1  # "more focused"
    assert focused["entropy_rest_finetuned"].item() == pytest.approx(
        focused["entropy_rest_base"].item(), abs=1e-4
    )
    assert focused["kl_base_finetuned_rest"].item() == pytest.approx(0, abs=1e-5)
    assert focused["first_token_finetuned"].item() == pytest.approx(0.9, abs=1e-5)
    # chance: 144 heads whose entropy does not change; uncorrected tests call some of them changed,
    # and about half are "lower"
    rng = np.random.default_rng(0)
    before = rng.normal(2, 0.3, size=(40, 12, 12))
    noise = Measured(
        entropy_base=before, entropy_finetuned=before + rng.normal(0, 0.1, size=before.shape)
    )
    change = report.head_change(noise, "entropy", seed=0)
    assert (np.array(change["heads"]["p"]) < 0.05).sum() >= 3
    assert change["heads_lower"] == change["heads_higher"] == 0
    assert change["share_of_heads_lower"]["low"] < 0.5 < change["share_of_heads_lower"]["high"]
    assert change["overall"]["low"] < 0 < change["overall"]["high"]
    # and a true change of 12 heads among them is found
    noise.heads["entropy_finetuned"][:, 4] -= 0.2
    focused = report.head_change(noise, "entropy", seed=0)
    assert focused["heads_lower"] == 12 and focused["layers"]["high"][4] < 0
