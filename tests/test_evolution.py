"""How circuits move: hand-counted changes, planted noise, planted changes; the script on files made
here.
"""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from golden_cases import golden
from safetensors.torch import save_file
from scipy.stats import ttest_rel

import analyze_circuit_evolution as script
from eap import InputError
from eap.circuit import Circuit
from eap.dataset import collate
from eap.graph import Graph
from eap.models import adapt
from eap.selection import top_n
from runs.records import fingerprint
from study import overlap
from study.evolution import faithfulness as evolution_faithfulness
from study.evolution import figures as evolution_plots
from study.evolution import numbers as evolution
from study.evolution import results as evolution_results
from study.evolution import words as evolution_words
from study.faithfulness.numbers import Running

GRAPH = Graph(3, 4, 16)
N_5_PERCENT = Graph(6, 6, 8).n_edges // 20


def booleans(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted(seed, noise, examples=40):
    """(examples, edges): a few strong edges, others near zero, and noise of each example."""
    strength = torch.zeros(GRAPH.n_edges)
    strength[torch.randperm(GRAPH.n_edges, generator=torch.Generator().manual_seed(seed))[:60]] = (
        1 + randn(60, seed=seed).abs()
    )
    return strength + noise * randn(examples, GRAPH.n_edges, seed=seed + 100)


def circuit_of(per_example, n=40, **metadata):
    scores = per_example.double().mean(0)
    return Circuit(
        GRAPH, top_n(GRAPH, scores, n=n), scores, metadata={"absolute": True, **metadata}
    )


# ---------------------------------------------------------------- change rates


def test_change_rates_counted_by_hand():
    rates = evolution.change_rates(
        booleans([1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1])
    )
    assert rates["sizes"] == [4, 3, 2]
    assert rates["added"] == [1, 1]
    assert rates["removed"] == [2, 2]
    assert rates["changed"] == [3, 3]
    assert rates["of_first"] == [0.75, 0.75]
    assert rates["dS"] == 0.75
    assert rates["of_previous"] == [0.75, 1.0]
    assert rates["one_minus_jaccard"] == [1 - 2 / 5, 1 - 1 / 4]
    assert rates["from_first"] == [0, 0.75, 1.5]


def test_a_circuit_that_never_changes_has_no_rate():
    rates = evolution.change_rates(booleans([1, 0, 1], [1, 0, 1]))
    assert rates["dS"] == 0 == rates["one_minus_jaccard"][0]


def test_random_circuits_of_5_percent_meet_the_chance_level():
    """Guard 11: K / (2 - K) is what random circuits have, so that is what 'similar' must beat."""
    kept = torch.stack(
        [
            top_n(
                Graph(6, 6, 8),
                randn(Graph(6, 6, 8).n_edges, seed=seed),
                n=N_5_PERCENT,
                absolute=False,
            )
            for seed in range(6)
        ]
    )
    overlaps, chance = (
        np.array(overlap.matrix(kept)),
        np.array(overlap.chance_matrix(kept)),
    )
    assert chance[0, 1] == pytest.approx(0.05 / 1.95, rel=0.01)
    assert overlaps[np.triu_indices(6, 1)] == pytest.approx(
        chance[np.triu_indices(6, 1)], abs=0.025
    )
    assert np.diag(overlaps).tolist() == np.diag(chance).tolist() == [1.0] * 6


# ---------------------------------------------------------------- noise


def noise_of(scores, resamples: int):
    circuit = circuit_of(scores)
    return evolution.noise(
        circuit, scores, resamples=resamples, seed=0, size=int(circuit.in_graph.sum())
    )


def test_noise_floor_is_zero_without_noise_and_covers_a_repeated_extraction():
    quiet = planted(0, noise=0.0)
    assert noise_of(quiet, 5).edges.changed.max() == 0
    first = planted(0, 0.0, 40) + 2 * randn(40, GRAPH.n_edges, seed=1)
    second = planted(0, 0.0, 40) + 2 * randn(40, GRAPH.n_edges, seed=2)  # one model, other examples
    noise = noise_of(first, 100)
    repeated = overlap.jaccard(circuit_of(first).in_graph, circuit_of(second).in_graph)
    low, high = np.quantile(noise.edges.jaccard, [0.005, 0.995])
    assert low <= repeated <= high < 0.9


def test_reselecting_with_its_own_scores_gives_the_circuit_back():
    circuit = circuit_of(planted(0, 1.0))
    assert torch.equal(circuit.rule.take(circuit.graph, circuit.ranking), circuit.in_graph)


def test_arrival_is_the_first_inside_and_staying_is_told_apart():
    assert evolution.arrival([0.2, 0.9, 0.5, 0.8, 1.0], low=0.7) == (1, 3)
    assert evolution.arrival([0.8, 0.9, 1.0], low=0.7) == (0, 0)
    assert evolution.arrival([0.1, 0.2, 1.0], low=0.7) == (2, 2)


# ---------------------------------------------------------------- scores


def test_layer_mass_halves_every_edge_and_leaves_out_input_and_logits():
    weights = torch.zeros(GRAPH.n_edges)
    planted_weights = {
        "input->a0.h1<q>": 8.0,
        "a0.h1->m2": 2.0,
        "m1->a2.h0<v>": 4.0,
        "m2->logits": 6.0,
        "input->logits": 100.0,
    }
    for edge, weight in planted_weights.items():
        weights[GRAPH.edge_number[edge]] = weight
    assert evolution.layer_mass(GRAPH, weights).tolist() == [4 + 1, 2, 1 + 2 + 3]


def test_a_larger_metric_is_no_change_of_the_circuit():
    before = circuit_of(planted(0, 0.5))
    after = Circuit(GRAPH, before.in_graph, 1000 * before.scores)
    ends = torch.stack([before.scores, after.scores])
    scores = evolution_results.layer_scores([before, after], ends, norms=[1.0, 1000.0])
    assert max(scores["change"]) < 1e-12
    assert max(evolution_results.layer_scores([before, after], ends)["change"]) < 1e-12
    assert scores["after"] == pytest.approx(scores["before"])


def test_planted_moves_are_found_with_their_kind_and_little_else():
    before = planted(0, 0.3, 60)
    strong = before.mean(0).abs().argsort(descending=True)[:10]
    after = before + 0.3 * randn(*before.shape, seed=5)
    after[:, strong[:2]] += 1.0
    after[:, strong[2:4]] -= 0.5
    after[:, strong[4:8]] *= -1
    after[:, strong[8:]] -= 0.5
    after *= 7  # the metric's scale
    old, new = torch.zeros(2, GRAPH.n_edges, dtype=torch.bool)
    old[strong[:6]], new[strong[:4]], new[strong[6:8]] = True, True, True
    moves = evolution.moves(before, after, kept_before=old, kept_after=new)
    kinds = [
        "strengthened",
        "strengthened",
        "weakened",
        "weakened",
        "removed",
        "removed",
        "added",
        "added",
        "weakened",
        "weakened",
    ]
    assert moves.kind[strong].tolist() == kinds
    assert (
        evolution.moves(before, after, kept_before=old, kept_after=old).kind[strong[4:8]].tolist()
        == ["sign changed"] * 4
    )
    others = np.delete(moves.q, strong.numpy())
    assert (others <= 0.05).mean() < 0.1
    assert (
        evolution.moves(before, before, kept_before=old, kept_after=new).kind.tolist()
        == ["no evidence"] * GRAPH.n_edges
    )


def test_noise_alone_seldom_moves_any_edge():
    """At a false-discovery rate of 5 % one study in twenty finds something where nothing is."""
    none, finding = torch.zeros(GRAPH.n_edges, dtype=torch.bool), 0
    for seed in range(24):
        noise = 0.5 * randn(2, 40, GRAPH.n_edges, seed=seed)
        before, after = planted(0, 0.3) + noise[0], planted(0, 0.3) + noise[1]
        finding += (
            evolution.moves(before, after, kept_before=none, kept_after=none).kind != "no evidence"
        ).any()
    assert finding <= 4


def test_the_norm_is_the_plain_sum_without_noise_and_near_zero_with_nothing_else():
    signal = planted(0, 0.0)[:1].double()
    assert evolution.norms([signal.repeat(7, 1)]).values == pytest.approx(
        [float(signal.abs().sum())]
    )
    noise = randn(32, 30_000)
    plain = float(noise.mean(0).abs().sum())
    assert abs(float(evolution.crossfitted(noise).mean())) < 0.03 * plain
    norms = evolution.norms(
        [noise, signal.repeat(3, 1)]
    )  # three examples cannot be split: the plain sum for all
    assert not norms.noise_free
    assert norms.values == pytest.approx([plain, float(signal.abs().sum())], rel=1e-4)


def test_a_noisier_model_has_not_weakened_its_edges():
    """80 edges with the same true scores before and after among others of noise alone, twice as
    much of it after.

    With these seeds the noise makes the second norm half as large again as the first, which must
    not pass for a change of every edge.
    """
    true = torch.zeros(8000)
    true[:80] = 1 + randn(80).abs()
    strength = torch.ones(8000).index_fill_(0, torch.arange(80), 0.3)
    before = true + strength * randn(32, 8000, seed=9)
    after = true + 2 * strength * randn(32, 8000, seed=10)
    plain = [scores / scores.mean(0).abs().sum() for scores in (before, after)]
    assert (
        ttest_rel(*plain).pvalue[:80] < 1e-3
    ).all()  # what dividing by the plain sum makes of them
    first, second = evolution.norms([before, after]).values
    assert second > 1.4 * first
    kept = torch.zeros(8000, dtype=torch.bool)
    assert (evolution.moves(before, after, kept_before=kept, kept_after=kept).q <= 0.05).sum() <= 4
    after[:, :8] *= 0.3
    kinds = evolution.moves(before, after, kept_before=kept, kept_after=kept).kind
    assert kinds[:8].tolist() == ["weakened"] * 8
    assert (kinds[8:80] == "weakened").sum() <= 4


def test_noise_of_layers_by_hand():
    """One edge, scores 0 and 2: means of resamples are 0, 1, 2 in shares 1/4, 1/2, 1/4, so two lie
    3/4 apart on average.
    """
    scores = torch.zeros(2, GRAPH.n_edges)
    scores[1, GRAPH.edge_number["a0.h1->m2"]] = 2
    drawn = evolution.layer_noise(GRAPH, scores / 2, seed=0)
    assert drawn.shape == (evolution.LAYER_PAIRS, 3)
    assert set(drawn[:, 0]) == {0, 0.25, 0.5}
    assert drawn.mean(0) == pytest.approx([0.75 / 4, 0, 0.75 / 4], abs=0.03)
    assert evolution.layer_noise(GRAPH, scores[:1].repeat(5, 1) + 1, seed=0).max() < 1e-5


def test_shares_hold_the_norm_s_own_error():
    """Examples that differ in scale only have one and the same share of their own sum: no spread is
    left.
    """
    scores = torch.tensor([1.0, 3.0, 5.0, 7.0])[:, None] * torch.tensor([2.0, -1.0, 1.0])
    norms = evolution.norms([scores])
    assert norms.values == pytest.approx([16])
    assert evolution.shares(scores, norms.parts[0]).numpy() == pytest.approx(
        np.tile([0.5, -0.25, 0.25], (4, 1))
    )


def test_an_edge_that_only_crossed_the_border_is_not_called_added():
    """The border between the 40th and the 41st edge moves with the noise of other examples: that
    alone is no change of an edge.
    """
    signal = planted(0, 0.0)
    before = signal + 2 * randn(*signal.shape, seed=1)
    after = signal + 2 * randn(*signal.shape, seed=2)
    first = circuit_of(before).in_graph
    last = circuit_of(after).in_graph
    assert int((last & ~first).sum()) > 5
    assert not set(evolution.moves(before, after, kept_before=first, kept_after=last).kind) & {
        "added",
        "removed",
    }


def test_moves_of_other_examples_are_refused():
    with pytest.raises(InputError, match="same 2 or more examples"):
        none = torch.zeros(GRAPH.n_edges, dtype=torch.bool)
        evolution.moves(planted(0, 1.0, 5), planted(0, 1.0, 6), kept_before=none, kept_after=none)


# ---------------------------------------------------------------- faithfulness at each checkpoint


@pytest.fixture(scope="module")
def tiny():
    """A golden case's model and its pairs in one batch."""
    case = golden("small_kl_padded")
    return adapt(case.model()), [collate(list(range(len(case.pairs))), case.pairs)]


def test_every_edge_is_faithful_and_no_edge_is_not(tiny):
    adapter, batches = tiny
    every, ticks = torch.ones(adapter.graph.n_edges, dtype=torch.bool), []
    circuits = {"own": every, "final": ~every, "random 0": ~every}
    n = sum(len(batch.rows) for batch in batches)
    measured = evolution_faithfulness.run_circuits(
        adapter,
        batches,
        circuits=circuits,
        how=Running(["kl", "nll"], tick=lambda: ticks.append(1)),
    )
    assert len(ticks) == 3
    for metric in ("kl", "nll"):
        row = evolution_faithfulness.summarise(measured[metric], seed=0)
        assert row["own"] == pytest.approx({"mean": 1, "low": 1, "high": 1, "n": n}, abs=1e-6)
        assert row["final"] == pytest.approx({"mean": 0, "low": 0, "high": 0, "n": n}, abs=1e-6)
        assert row["own_minus_final"]["mean"] == pytest.approx(1, abs=1e-6)
        assert row["random"] == pytest.approx({"low": 0, "high": 0, "n": 1}, abs=1e-6)


def test_faithfulness_by_hand_with_a_paired_interval():
    """f = (4 - 1) / (4 - 0) for one circuit and (4 - 3) / 4 for the other; examples that differ in
    scale only leave no interval.
    """
    scale = torch.tensor([1.0, 2.0, 5.0])
    values = {"full": 0 * scale, "own": 1 * scale, "final": 3 * scale, "empty": 4 * scale}
    row = evolution_faithfulness.summarise(values, seed=0)
    assert row["own"] == pytest.approx({"mean": 0.75, "low": 0.75, "high": 0.75, "n": 3})
    assert row["own_minus_final"] == pytest.approx({"mean": 0.5, "low": 0.5, "high": 0.5, "n": 3})
    assert row["effect"]["mean"] == pytest.approx(4 * 8 / 3)
    assert row["effect"]["low"] < row["effect"]["high"]
    assert row["random"] is None


def test_an_effect_of_nothing_is_said_to_mean_nothing():
    effect = randn(20, seed=1) - randn(20, seed=1).mean() + 0.01
    row = {
        "name": "C_step0",
        **evolution_faithfulness.summarise(
            {"full": 0 * effect, "final": 0.5 * effect, "empty": effect}, 0
        ),
    }
    assert not evolution_faithfulness.meaningful(row)
    assert (
        "which includes zero: its f means nothing"
        in evolution_faithfulness.sentences({"examples": 4, "metrics": {"kl": [row]}})[0]
    )
    numbers = {"examples": 4, "metrics": {"kl": [row, row]}}
    for line in (
        evolution_faithfulness.sentences(numbers)[2],
        *evolution_faithfulness.table(numbers)[1:],
    ):
        assert "means nothing: the interval" in line  # the line with the number says so itself


def test_an_f_that_means_nothing_is_hollow_on_the_axis_and_in_the_title_beyond_it():
    effect = randn(20, seed=1) - randn(20, seed=1).mean() + 0.01
    values = {
        "full": 0 * effect,
        "own": 0.5 * effect,
        "final": -4 * effect,
        "empty": effect,
    }  # f of 0.5 and of 5
    unknown = {"name": "C_step0", **evolution_faithfulness.summarise(values, 0)}
    higher = {name: value + 3 * (name != "full") for name, value in values.items()}
    known = {"name": "C_step9", **evolution_faithfulness.summarise(higher, 0)}
    numbers = {"examples": 20, "metrics": {"kl": [unknown, known]}}
    steps = [{"name": "C_step0", "step": 0}, {"name": "C_step9", "step": 9}]
    axis = evolution_plots.faithfulness_figure(
        {"faithfulness": numbers, "checkpoints": steps}
    ).axes[0]
    (hollow,) = [
        line
        for line in axis.lines
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    assert list(hollow.get_ydata()) == pytest.approx([0.5])
    assert (
        "off the scale, where f means nothing: final 5.00 at step 0"
        in axis.get_title().replace("\n", " ")
        and axis.get_ylim()[1] < 2
    )


def test_random_circuits_have_the_size_before_pruning():
    circuit = Circuit(
        GRAPH,
        torch.zeros(GRAPH.n_edges, dtype=torch.bool),
        None,
        metadata={"sizes": {"selected": 33}},
    )
    drawn = evolution_faithfulness.random_circuits(circuit, 3, seed=0)
    assert [int(kept.sum()) for kept in drawn] == [33] * 3
    assert not torch.equal(drawn[0], drawn[1])


# ---------------------------------------------------------------- the script


def write(folder, name, per_example, examples=True, **metadata):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(circuit_of(per_example, **metadata).to_json()))
    if examples:
        save_file({"scores": per_example}, folder / f"{name}.examples.safetensors")


def run(tmp_path, *flags, out="out"):
    script.main([*flags, "--output_dir", str(tmp_path / out), "--resamples", "20", "--quiet"])
    return json.loads((tmp_path / out / "evolution.json").read_text())


@pytest.fixture
def folder(tmp_path):
    """Steps 0 and 10 hold one model on the same examples but for a little noise; step 100 another
    model.
    """
    early = planted(0, 0.5)
    write(tmp_path / "circuits", "C_step0", early)
    write(tmp_path / "circuits", "C_step10", early + 0.02 * randn(*early.shape, seed=9))
    write(tmp_path / "circuits", "C_step100", planted(7, 0.5))
    (tmp_path / "circuits" / "C_step0.run.json").write_text("{}")
    return tmp_path


def test_script_tells_change_from_noise(folder, capsys):
    script.main(
        [
            "--circuits",
            str(folder / "circuits"),
            "--output_dir",
            str(folder / "out"),
            "--resamples",
            "20",
            "--verbose",
        ]
    )
    printed, result = (
        capsys.readouterr().out,
        json.loads((folder / "out" / "evolution.json").read_text()),
    )
    assert [checkpoint["step"] for checkpoint in result["checkpoints"]] == [0, 10, 100]
    assert result["rates"]["edges"]["beyond_noise"] == [False, True]
    assert result["similarity"]["arrival"] == result["similarity"]["stays_from"] == 2
    assert "more than noise" in printed
    assert "Faithfulness at each checkpoint left out" in printed
    for name in ("nodes", "edges", "edges_equal_size"):  # the floor stands beside every rate
        assert (
            len(result["rates"][name]["floor"])
            == len(result["rates"][name]["from_first_floor"])
            == 2
        )
    lines = [line.split() for line in printed.split("\n")]
    assert [line[-1] for line in lines if line[:1] == ["C_step100"]][0].endswith("%")
    assert [("within" in line, "beyond" in line) for line in lines if line[:1] == ["C_step10"]][
        0
    ] == (True, False)
    first, second = result["transitions"]
    assert (
        len(second["edges_added"])
        == result["rates"]["edges"]["added"][1]
        > len(first["edges_added"])
    )
    moved = result["moved"]
    assert sum(sum(count.values()) for count in moved["counts"].values()) == GRAPH.n_edges
    assert moved["entered"]["edges"] == len(set(second["edges_added"]) | set(first["edges_added"]))
    assert (
        len(moved["edges"])
        == sum(
            count["in_a_circuit"]
            for kind, count in moved["counts"].items()
            if kind != "no evidence"
        )
        > 0
    )
    assert moved["edges"][0]["edge"] in printed
    assert {path.name for path in (folder / "out").iterdir()} == {
        "evolution.json", "layers.evolution.json", "run.analyze_circuit_evolution.json",
        "evolution.change.png", "evolution.jaccard.png",
        "evolution.layers.png", "evolution.trajectories.png", "evolution.moved.png"}  # fmt: skip


def evolved(*per_example):
    """What is found on checkpoints with these scores per example."""
    checkpoints = [
        evolution_results.Checkpoint(str(t), t, circuit_of(scores), lambda scores=scores: scores)
        for t, scores in enumerate(per_example)
    ]
    return evolution_results.evolve(checkpoints, 20, trajectories=10, seed=0)


def test_arrival_is_beside_a_test_on_the_same_examples():
    """Eight edges strengthened by as much in every example: less than other examples change, yet no
    accident of these.
    """
    last = planted(7, 2.0)
    near = last + 0.02 * randn(*last.shape, seed=3)
    below, shifted = last.mean(0).abs().argsort(descending=True)[41:49], near.clone()
    shifted[:, below] += 0.6 * last.mean(0)[below].sign()
    for middle, differs, words in (
        (shifted, True, "shows that they differ (p = 0.0"),
        (near, False, "shows no difference (p = "),
    ):
        result = evolved(planted(0, 2.0), middle, last)
        assert result["similarity"]["arrival"] == 1
        assert (result["arrival_test"]["p"] < 0.05) == differs
        assert any(words in line for line in result["sentences"])


def test_only_edges_and_layers_beyond_noise_are_said_to_have_changed():
    early = planted(0, 0.5)
    result = evolved(early, planted(7, 0.5))
    drawn, changed = result["trajectories"], [row["edge"] for row in result["moved"]["edges"]]
    assert drawn["chosen"] == evolution_results.MOVED
    assert [row["edge"] for row in drawn["edges"]] == changed[:10]
    assert all(
        low <= at <= high
        for row in drawn["edges"]
        for low, at, high in zip(row["low"], row["scores"], row["high"], strict=True)
    )
    assert result["layers_noise"]["beyond"] == [0, 1, 2]
    result = evolved(early, early + 0.02 * randn(*early.shape, seed=9))
    assert result["trajectories"]["chosen"] == evolution_results.NOT_SHOWN
    assert len(result["trajectories"]["edges"]) == 10
    assert result["layers_noise"]["beyond"] == []
    assert any("in 0 of 3 layers;" in line for line in result["sentences"])


@pytest.mark.parametrize("n", [1, 3])
def test_guard_26_few_examples_carry_no_word_about_noise(n):
    result = evolved(planted(0, 0.5)[:n], planted(7, 0.5)[:n])
    words = "\n".join(evolution_words.lines(result))
    assert not re.search(
        r": (more than|within) noise|arrives|beyond what resampling|% +(beyond|within) ", words
    )
    assert (result["noise_resamples"] == 0) == (
        n == 1
    )  # resampling one example changes nothing, which is no floor
    assert f"with {n} examples (fewer than 8)" in words


def test_script_is_reproducible_and_then_up_to_date(folder):
    run(folder, "--circuits", str(folder / "circuits"))
    run(folder, "--circuits", str(folder / "circuits"), out="again")
    for path in (folder / "out").iterdir():
        if not path.name.startswith("run."):
            assert path.read_bytes() == (folder / "again" / path.name).read_bytes(), path.name
    before = (folder / "out" / "evolution.json").stat().st_mtime_ns
    run(folder, "--circuits", str(folder / "circuits"))
    assert (folder / "out" / "evolution.json").stat().st_mtime_ns == before


def test_two_files_without_examples_make_no_claim(tmp_path, capsys):
    write(tmp_path, "before", planted(0, 0.5), examples=False)
    write(tmp_path, "after", planted(1, 0.5), examples=False)
    files = [str(tmp_path / f"{name}.json") for name in ("before", "after")]
    script.main(["--circuits", *files, "--output_dir", str(tmp_path / "out")])
    result = json.loads((tmp_path / "out" / "evolution.json").read_text())
    assert [checkpoint["name"] for checkpoint in result["checkpoints"]] == ["before", "after"]
    assert result["rates"]["edges"]["floor"] is None
    printed = capsys.readouterr().out
    assert "noise unknown" in printed
    assert "beyond noise" not in printed


def test_circuits_without_scores_are_compared_as_sets(tmp_path):
    for name, seed in (("C_step0", 0), ("C_step5", 1)):
        result = circuit_of(planted(seed, 0.5)).to_json()
        result["edges"] = {
            edge: {"in_graph": value["in_graph"]} for edge, value in result["edges"].items()
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    result = run(tmp_path, "--circuits", str(tmp_path))
    assert result["trajectories"] is None is result["layers_noise"]
    assert result["rates"]["edges"]["changed"][0] > 0


def test_training_loss_stands_above(folder):
    training = {
        "format": 1,
        "loss": [{"step": 10, "loss": 2.0}, {"step": 100, "loss": 1.0}],
        "validation": [{"step": 0, "nll_nats_per_token": 3.0, "low": 2.9, "high": 3.1}],
    }
    (folder / "training.json").write_text(json.dumps(training))
    result = run(folder, "--circuits", str(folder / "circuits"), "--training", str(folder))
    assert result["training"] == {"loss": training["loss"], "validation": training["validation"]}


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    """A run of two checkpoints, a circuit of each (all edges; none but one path), and pairs of
    which extraction saw the first.
    """
    folder, case = tmp_path_factory.mktemp("run"), golden("small_kl_padded")
    graph, model = case.graph, case.model(torch.float32)
    every = torch.ones(graph.n_edges, dtype=torch.bool)
    path = torch.zeros_like(every)
    path[graph.edge_number["input->logits"]] = True
    for step, kept in ((0, every), (5, path)):
        with torch.no_grad():
            model.transformer.h[0].mlp.c_fc.weight.add_(0.01 * step)
        model.save_pretrained(folder / "run" / f"checkpoint-{step}")
        metadata = {
            "example_ids": [case.pairs[0].id],
            "weights_sha256": fingerprint(folder / "run" / f"checkpoint-{step}"),
        }
        (folder / "circuits").mkdir(exist_ok=True)
        circuit = Circuit(graph, kept, randn(graph.n_edges, seed=step), metadata=metadata).to_json()
        (folder / "circuits" / f"C_step{step}.json").write_text(json.dumps(circuit))
    (folder / "run" / "training.json").write_text("{}")
    rows = [
        {
            "id": pair.id,
            "clean_ids": pair.clean_ids,
            "corrupted_ids": pair.corrupted_ids,
            "summary_start": pair.target_start,
        }
        for pair in case.pairs
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_script_runs_own_and_final_circuit_in_every_checkpoint(finetuned, tmp_path, capsys):
    script.main(
        [
            "--circuits",
            str(finetuned / "circuits"),
            "--training",
            str(finetuned / "run"),
            "--pairs",
            str(finetuned / "pairs.jsonl"),
            "--output_dir",
            str(tmp_path),
            "--n_random",
            "2",
            "--verbose",
        ]
    )
    printed, numbers = (
        capsys.readouterr().out,
        json.loads((tmp_path / "evolution.json").read_text())["faithfulness"],
    )
    n = len(golden("small_kl_padded").pairs)
    assert numbers["examples"] == n - 1
    assert (
        f"faithfulness on {n - 1} of {n - 1} unseen pairs; 1 that extraction saw left out"
        in printed
    )
    first, last = numbers["metrics"]["kl"]
    assert [first["step"], last["step"]] == [0, 5]
    assert first["own"]["mean"] == pytest.approx(1, abs=1e-4)  # all edges
    assert first["final"]["mean"] < 0.99
    assert last["own"] == last["final"]
    assert first["random"]["n"] == 2
    assert (tmp_path / "evolution.faithfulness.png").is_file()


def test_circuits_of_other_weights_are_refused(finetuned, tmp_path):
    shutil.copytree(finetuned / "run", tmp_path / "run")
    shutil.copytree(
        finetuned / "run" / "checkpoint-0", tmp_path / "run" / "checkpoint-5", dirs_exist_ok=True
    )
    with pytest.raises(
        InputError, match="checkpoint-5: expected the model that C_step5 was found in"
    ):
        script.main(
            [
                "--circuits",
                str(finetuned / "circuits"),
                "--training",
                str(tmp_path / "run"),
                "--pairs",
                str(finetuned / "pairs.jsonl"),
                "--output_dir",
                str(tmp_path / "out"),
                "--quiet",
            ]
        )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--circuits", "nowhere.json", "b.json"], "nowhere.json: expected a circuit file"),
        (["--circuits", "."], "at least 2 files"),
        (["--training", "nowhere"], "expected"),
        (
            ["--circuits", "two", "--pairs", "nowhere.jsonl"],
            "nowhere.jsonl: expected a file of pairs",
        ),
        (["--circuits", "two", "--pairs", "two/C_step0.json"], "expected --training"),
    ],
)
def test_mistakes_end_with_one_line(tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    for step in (0, 1):
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / "two" / f"C_step{step}.json").write_text("{}")
    with pytest.raises(InputError, match=words):
        script.main(flags)


@pytest.mark.parametrize("flag", ["--resamples", "--n_random", "--trajectories"])
def test_counts_below_zero_are_refused(flag, capsys):
    with pytest.raises(SystemExit):
        script.parse([flag, "-3"])
    assert "expected a whole number of at least" in capsys.readouterr().err


def test_examples_of_another_circuit_are_refused(folder):
    save_file({"scores": torch.zeros(4, 7)}, folder / "circuits" / "C_step10.examples.safetensors")
    with pytest.raises(InputError, match="C_step10.examples.safetensors: expected the per-example"):
        run(folder, "--circuits", str(folder / "circuits"))
