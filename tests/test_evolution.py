"""How circuits move: hand-counted changes, planted noise, planted changes; the script on files made here."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import analyze_circuit_evolution as script
from eap import InputError, evolution
from eap.circuit import Circuit, jaccard
from eap.graph import Graph
from eap.selection import top_n

GRAPH = Graph(3, 4, 16)
N_5_PERCENT = Graph(6, 6, 8).n_edges // 20


def booleans(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted(seed, noise, examples=40):
    """(examples, edges): a few strong edges, others near zero, and noise of each example."""
    strength = torch.zeros(GRAPH.n_edges)
    strength[torch.randperm(GRAPH.n_edges, generator=torch.Generator().manual_seed(seed))[:60]] = 1 + randn(60, seed=seed).abs()
    return strength + noise * randn(examples, GRAPH.n_edges, seed=seed + 100)


def circuit_of(per_example, n=40, **metadata):
    scores = per_example.double().mean(0)
    return Circuit(GRAPH, top_n(GRAPH, scores, n), scores, metadata={"absolute": True, **metadata})


# ---------------------------------------------------------------- change rates


def test_change_rates_counted_by_hand():
    rates = evolution.change_rates(booleans([1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1]))
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
    kept = torch.stack([top_n(Graph(6, 6, 8), randn(Graph(6, 6, 8).n_edges, seed=seed), N_5_PERCENT, absolute=False) for seed in range(6)])
    found, chance = np.array(evolution.jaccard_matrix(kept)), np.array(evolution.chance_matrix(kept))
    assert chance[0, 1] == pytest.approx(0.05 / 1.95, rel=0.01)
    assert found[np.triu_indices(6, 1)] == pytest.approx(chance[np.triu_indices(6, 1)], abs=0.025)
    assert np.diag(found).tolist() == np.diag(chance).tolist() == [1.0] * 6


# ---------------------------------------------------------------- noise


def test_noise_floor_is_zero_without_noise_and_covers_a_repeated_extraction():
    quiet = planted(0, noise=0.0)
    assert evolution.noise(circuit_of(quiet), quiet, 5, seed=0).edges_changed.max() == 0
    first, second = (planted(0, 0.0, 40) + 2 * randn(40, GRAPH.n_edges, seed=s) for s in (1, 2))  # one model, other examples
    noise = evolution.noise(circuit_of(first), first, 100, seed=0)
    repeated = jaccard(circuit_of(first).in_graph, circuit_of(second).in_graph)
    low, high = np.quantile(noise.edges_jaccard, [0.005, 0.995])
    assert low <= repeated <= high < 0.9


def test_reselecting_with_its_own_scores_gives_the_circuit_back():
    circuit = circuit_of(planted(0, 1.0))
    assert torch.equal(evolution.reselect(circuit, circuit.scores), circuit.in_graph)


def test_arrival_is_where_the_circuit_comes_to_stay():
    assert evolution.arrival([0.2, 0.9, 0.5, 0.8, 1.0], low=0.7) == 3
    assert evolution.arrival([0.8, 0.9, 1.0], low=0.7) == 0


# ---------------------------------------------------------------- scores


def test_layer_mass_halves_every_edge_and_leaves_out_input_and_logits():
    weights = torch.zeros(GRAPH.n_edges)
    planted_weights = {"input->a0.h1<q>": 8.0, "a0.h1->m2": 2.0, "m1->a2.h0<v>": 4.0, "m2->logits": 6.0, "input->logits": 100.0}
    for edge, weight in planted_weights.items():
        weights[GRAPH.edge_number[edge]] = weight
    assert evolution.layer_mass(GRAPH, weights).tolist() == [4 + 1, 2, 1 + 2 + 3]


def test_a_larger_metric_is_no_change_of_the_circuit():
    from eap.evolution_report import layer_scores

    before = circuit_of(planted(0, 0.5))
    after = Circuit(GRAPH, before.in_graph, 1000 * before.scores)
    scores = layer_scores([before, after], torch.stack([before.scores, after.scores]))
    assert max(scores["change"]) < 1e-12
    assert scores["after"] == pytest.approx(scores["before"])


def test_planted_moves_are_found_with_their_kind_and_little_else():
    before = planted(0, 0.3, 60)
    strong = before.mean(0).abs().argsort(descending=True)[:6]
    after = before + 0.3 * randn(*before.shape, seed=5)
    after[:, strong[:2]] += 1.0
    after[:, strong[2:4]] -= 0.5
    after[:, strong[4:]] *= -1
    after *= 7  # the metric's scale
    found = evolution.moves(before, after)
    assert found.kind[strong].tolist() == ["strengthened"] * 2 + ["weakened"] * 2 + ["sign changed"] * 2
    others = np.delete(found.q, strong.numpy())
    assert (others <= 0.05).mean() < 0.1
    assert evolution.moves(before, before).kind.tolist() == ["no evidence"] * GRAPH.n_edges


def test_moves_of_other_examples_are_refused():
    with pytest.raises(InputError, match="same 2 or more examples"):
        evolution.moves(planted(0, 1.0, 5), planted(0, 1.0, 6))


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
    """Steps 0 and 10 hold one model on the same examples but for a little noise; step 100 another model."""
    early = planted(0, 0.5)
    write(tmp_path / "circuits", "C_step0", early)
    write(tmp_path / "circuits", "C_step10", early + 0.02 * randn(*early.shape, seed=9))
    write(tmp_path / "circuits", "C_step100", planted(7, 0.5))
    (tmp_path / "circuits" / "C_step0.run.json").write_text("{}")
    return tmp_path


def test_script_tells_change_from_noise(folder, capsys):
    script.main(["--circuits", str(folder / "circuits"), "--output_dir", str(folder / "out"), "--resamples", "20"])
    said, content = capsys.readouterr().out, json.loads((folder / "out" / "evolution.json").read_text())
    assert [checkpoint["step"] for checkpoint in content["checkpoints"]] == [0, 10, 100]
    assert content["rates"]["edges"]["beyond_noise"] == [False, True]
    assert content["similarity"]["arrival"] == 2
    assert "more than noise" in said
    first, second = content["transitions"]
    assert len(second["edges_added"]) == content["rates"]["edges"]["added"][1] > len(first["edges_added"])
    assert content["moved"]["counts"]["no evidence"] < GRAPH.n_edges
    assert {path.name for path in (folder / "out").iterdir()} == {
        "evolution.json", "layers.evolution.json", "run.analyze_circuit_evolution.json", "evolution.change.png", "evolution.jaccard.png",
        "evolution.layers.png", "evolution.trajectories.png"}  # fmt: skip


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
    content = json.loads((tmp_path / "out" / "evolution.json").read_text())
    assert [checkpoint["name"] for checkpoint in content["checkpoints"]] == ["before", "after"]
    assert content["rates"]["edges"]["floor"] is None
    said = capsys.readouterr().out
    assert "noise floor unknown" in said
    assert "more than noise" not in said


def test_circuits_without_scores_are_compared_as_sets(tmp_path):
    for name, seed in (("C_step0", 0), ("C_step5", 1)):
        content = circuit_of(planted(seed, 0.5)).to_json()
        content["edges"] = {edge: {"in_graph": value["in_graph"]} for edge, value in content["edges"].items()}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    content = run(tmp_path, "--circuits", str(tmp_path))
    assert content["trajectories"] is None
    assert content["rates"]["edges"]["changed"][0] > 0


def test_training_loss_stands_above(folder):
    training = {"format": 1, "loss": [{"step": 10, "loss": 2.0}, {"step": 100, "loss": 1.0}],
                "validation": [{"step": 0, "nll_nats_per_token": 3.0, "low": 2.9, "high": 3.1}]}
    (folder / "training.json").write_text(json.dumps(training))
    content = run(folder, "--circuits", str(folder / "circuits"), "--training", str(folder))
    assert content["training"] == {"loss": training["loss"], "validation": training["validation"]}


@pytest.mark.parametrize(("flags", "words"), [
    (["--circuits", "nowhere.json", "b.json"], "nowhere.json: expected a circuit file"),
    (["--circuits", "."], "at least 2 files"),
    (["--training", "nowhere"], "expected"),
])
def test_mistakes_end_with_one_line(tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        script.main(flags)


def test_examples_of_another_circuit_are_refused(folder):
    save_file({"scores": torch.zeros(4, 7)}, folder / "circuits" / "C_step10.examples.safetensors")
    with pytest.raises(InputError, match="C_step10.examples.safetensors: expected scores of"):
        run(folder, "--circuits", str(folder / "circuits"))
