"""How many examples make a circuit stable: curves against simulated truth, stopping, going on."""

import html
import json

import numpy as np
import pytest
import torch

import create_causal_summarization_data as create
import extract_summarization_circuit as extract
import make_report
from eap import MIN_EXAMPLES, InputError
from eap.circuit import Circuit, load_circuit
from eap.examples import Examples
from eap.graph import Graph
from eap.scores import load_example_scores
from eap.selection import strongest
from runs import console
from study import overlap
from study.extraction import until_stable
from study.extraction.blocks import Blocks, discard
from study.page import gathering
from study.page.rounding import percent
from study.robustness import numbers as robustness
from study.stability import bootstrap
from study.stability import curves as stability
from study.stability import figures as stability_plots

GRAPH = Graph(4, 4, 16)
SIZE = 60


def world(seed: int = 0):
    """A function that draws (n, edges) scores per example: means with heavy tails, noise three
    times as large as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(GRAPH.n_edges, generator=generator) ** 3

    def draw(n: int):
        return means + 4 * torch.randn(n, GRAPH.n_edges, generator=generator)

    return draw


def choose(means):
    return strongest(means, SIZE)


def circuit_of(per_example):
    scores = per_example.double().mean(0)
    sizes = {"requested": SIZE, "selected": SIZE, "pruned": SIZE, "edges": GRAPH.n_edges}
    return Circuit(GRAPH, strongest(scores, SIZE), scores, None, {"sizes": sizes})


# ---------------------------------------------------------------- curves


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_other_examples_give_lies_in_the_interval_that_a_quarter_of_them_foretell(seed):
    draw = world(seed)
    scores = draw(96)
    curve = stability.curve("disjoint", scores, choose=choose, goal=0.99, seed=seed)
    ahead = {row["examples"]: row for row in curve["ahead"]}
    truth = {
        n: np.mean([overlap.jaccards(*(choose(draw(n).mean(0)) for _ in "ab")) for _ in range(40)])
        for n in (48, 96, 192)
    }
    assert truth[48] + 0.05 < truth[192]
    for n, mean in truth.items():
        assert ahead[n]["low"] < mean < ahead[n]["high"], n
        assert ahead[n]["high"] - ahead[n]["low"] < 0.35


def test_the_number_needed_is_the_one_that_reaches_the_goal():
    draw = world()
    curve = stability.curve("disjoint", draw(96), choose=choose, goal=0.88, seed=0)
    number = curve["needed"]
    assert 0 < number["low"] < number["examples"] and curve["points"][-1]["mean"] < 0.85
    both = [
        float(overlap.jaccards(*(choose(draw(number["examples"]).mean(0)) for _ in "ab")))
        for _ in range(40)
    ]
    assert np.mean(both) == pytest.approx(0.88, abs=0.03)


def test_the_model_is_recovered_from_points_that_follow_it():
    """1 / r = 2 + 0.5 sqrt(n): r = 1/7 at n = 100, so J = 6/8; J = 0.8 is r = 1/9, reached at n =
    196.
    """
    means = {n: stability.to_jaccard(1 / (2 + 0.5 * n**0.5)) for n in (25, 36, 49, 64, 100)}
    assert means[100] == pytest.approx(0.75)
    fit = stability.fitted(means)
    assert (fit.start, fit.slope) == pytest.approx((2, 0.5)) and fit.deviation < 1e-9
    assert stability.crossing(fit, stability.to_share(0.8)) == pytest.approx(196)
    number = stability.needed(fit, [fit] * 8, goal=0.8)["needed"]
    assert number["examples"] == 196 and number["low"] < 196 < number["high"]
    # with k = 1/2 alone: 100 * (9 / 7)^2
    assert number["low"] == int(100 * (9 / 7) ** 2)


def test_no_number_where_the_curve_supports_none():
    means = {n: stability.to_jaccard(1 / (2 + 0.5 * n**0.5)) for n in (25, 36, 49, 64, 100)}
    fit = stability.fitted(means)
    far = stability.needed(fit, [fit] * 8, goal=0.95)
    assert far["needed"] is None and "400" in far["why_not"]
    rough = stability.fitted(means | {36: means[36] - 0.2})
    assert "leaves" in stability.doubt(rough, [rough] * 8)
    noise = torch.randn(64, GRAPH.n_edges, generator=torch.Generator().manual_seed(0))
    flat = stability.curve("disjoint", noise, choose=choose, goal=0.8, seed=0)
    assert flat["needed"] is None and flat["ahead"] == [] and "does not rise" in flat["why_not"]
    chance = overlap.chance(SIZE, SIZE, total=GRAPH.n_edges)
    assert flat["points"][-1]["mean"] == pytest.approx(chance, abs=0.02)


def test_without_noise_every_number_of_examples_is_enough():
    same = torch.randn(GRAPH.n_edges, generator=torch.Generator().manual_seed(0)).expand(16, -1)
    curve = stability.curve("resamples", same.contiguous(), choose=choose, goal=0.8, seed=0)
    assert {row["mean"] for row in curve["points"]} == {1.0}
    first = curve["points"][0]["examples"]
    assert curve["needed"] == {"examples": first, "low": None, "high": None}


# ---------------------------------------------------------------- sizes


def test_stable_sizes_are_those_over_the_goal_and_never_all_edges():
    """Paths through single nodes, 2 % of the edges, far over noise, and the rest noise: stable from
    2 % on, while noise is pruned.
    """
    per_example = torch.randn(40, GRAPH.n_edges, generator=torch.Generator().manual_seed(0))
    names = [
        name
        for node in GRAPH.sources[1:]
        for name in (f"input->{node}" + ("<v>" if "h" in node else ""), f"{node}->logits")
    ]
    n = round(0.02 * GRAPH.n_edges)
    per_example[:, [GRAPH.edge_number[name] for name in names[:n]]] += 100
    about = stability.summarise(circuit_of(per_example), per_example, goal=0.8, seed=0)
    assert [row["fraction"] for row in about["sizes"]] == list(stability.SIZES)
    assert about["sizes"][-1]["mean"] == 1 and about["sizes"][-1]["chance"] == 1
    assert about["stable_sizes"]["smallest"] == 0.02 and about["stable_sizes"]["largest"] < 0.2
    half = about["sizes"][-2]
    share = half["pruned"] / GRAPH.n_edges
    assert half["chance"] == pytest.approx(share / (2 - share)) and not half["stable"]


def test_sizes_between_stable_ones_that_are_not_stable_are_named():
    span = stability.span_of([0.01, 0.02, 0.5])
    assert span == {"smallest": 0.01, "largest": 0.5, "but": [0.05, 0.1, 0.2]}
    about = {
        "stable_sizes": span,
        "goal": 0.975,
        "examples": 9,
        "resamples": None,
        "disjoint": None,
    }
    first, *_ = stability.sentences(about)
    assert "over 0.975" in first and first.endswith("not stable between them at 5.0%, 10.0%, 20.0%")
    assert gathering.stable_sizes(about) == "1.0 % to 50 %, not 5.0 %, 10 %, 20 %"
    for stable, words in (([], "0.1% to 50%"), ([0.1], "10.0% of the edges only")):
        about["stable_sizes"] = stability.span_of(stable)
        first, *_ = stability.sentences(about)
        assert "over 0.975" in first and words in first
    assert gathering.stable_sizes(about) == "10 %"


def test_the_figure_holds_both_curves_and_every_size():
    about = stability.summarise(circuit_of(world()(40)), world()(40), goal=0.6, seed=0)
    figure = stability_plots.figure(about, "C", own_fraction=0.05)
    left, right = figure.axes
    assert any(len(line.get_xdata()) == len(stability.SIZES) - 1 for line in right.lines)
    drawn = [list(line.get_ydata()) for line in left.lines]
    for kind in ("resamples", "disjoint"):
        assert [row["mean"] for row in about[kind]["points"]] in drawn


def test_the_report_says_how_stable_a_circuit_is(tmp_path):
    per_example = world()(40)
    made = circuit_of(per_example)
    about = stability.summarise(made, per_example, goal=0.3, seed=0)
    sentences = stability.sentences(about)
    made = made.noting(stability=about | {"sentences": sentences})
    (tmp_path / "C_before.json").write_text(json.dumps(made.to_json()))
    make_report.main(["--output_dir", str(tmp_path), "--quiet"])
    text = (tmp_path / "report.html").read_text()
    assert all(html.escape(f"C_before: {sentence}") in text for sentence in sentences)
    span = about["stable_sizes"]
    assert f"{percent(span['smallest'])} to {percent(span['largest'])}" in text


def numbered(n: int) -> Examples:
    """Examples 0 to n - 1."""
    names = tuple(str(i) for i in range(n))
    return Examples(names, names, (None,) * n)


def test_circuits_of_more_and_of_fewer_of_the_same_pairs_are_tested_on_those_that_both_saw():
    draw, other = world(0), world(1)
    more = circuit_of(draw(24)).noting(**numbered(24).entries())
    fewer = circuit_of(other(16)).noting(**numbered(16).entries())
    n = more.about.examples.shared_start(fewer.about.examples)
    scores = draw(24), other(16)
    comparison = robustness.pair(more, fewer, per_example=scores, shared=n, resamples=10, seed=0)
    assert n == comparison["different"]["examples"] == 16
    assert comparison["p"] < 0.05 and comparison["low"] < comparison["high"] < 0.9

    def shared(a, b):
        return Examples(tuple(a)).shared_start(Examples(tuple(b)))

    assert shared("abc", "axc") == 1 and shared("ab", "abc") == shared("abc", "ab") == 2
    assert shared("bc", "ab") == shared("", "a") == Examples().shared_start(Examples()) == 0


def test_the_interval_of_circuits_of_more_and_of_fewer_pairs_is_that_of_resampling_each():
    """Against a plain loop: shared examples drawn once for both, the others for one alone."""
    scores, rng = world()(40), np.random.default_rng(5)
    circuits = circuit_of(scores), circuit_of(scores[:16])
    both = scores, scores[:16]
    comparison = robustness.pair(*circuits, per_example=both, shared=16, resamples=400, seed=0)
    naive = []
    for _ in range(400):
        both, own = rng.integers(16, size=16), 16 + rng.integers(24, size=24)
        kept = [
            circuit.rule.take(circuit.graph, scores[rows].mean(0))
            for circuit, rows in zip(circuits, (np.r_[both, own], both), strict=True)
        ]
        naive.append(float((kept[0] & kept[1]).sum() / (kept[0] | kept[1]).sum()))
    expected = np.percentile(naive, [2.5, 97.5])
    assert [comparison["low"], comparison["high"]] == pytest.approx(expected, abs=0.04)
    assert comparison["low"] < comparison["high"] <= 1
    same = robustness.pair(
        *circuits[1:] * 2, per_example=(scores[:16],) * 2, shared=16, resamples=9, seed=0
    )
    assert (same["low"], same["high"]) == (1, 1)  # of the same examples the same are drawn


# ---------------------------------------------------------------- extraction until stable


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, tiny_model_dir, articles_file):
    """The path of a file of 6 pairs for the tiny model."""
    folder = tmp_path_factory.mktemp("pairs")
    words = f"--dataset {articles_file} --model_path {tiny_model_dir} --output {folder}/pairs.jsonl"
    create.main([*words.split(), "--output_dir", str(folder), "--quiet"])
    return folder / "pairs.jsonl"


@pytest.fixture
def extraction(pairs, tiny_model_dir, monkeypatch):
    """A function that extracts into a folder with further flags, two pairs a block, and returns the
    circuit.
    """
    monkeypatch.setattr(until_stable, "BLOCK", 2)
    monkeypatch.setattr(until_stable, "QUICK_RESAMPLES", 20)
    monkeypatch.setattr(
        until_stable, "MIN_EXAMPLES", 2
    )  # or six pairs would be too few for any word

    def run(folder, words: str) -> Circuit:
        common = f"--model_path {tiny_model_dir} --pairs {pairs} --output {folder}/C.json --quiet"
        resamples = "" if "--resamples" in words else "--resamples 50"
        extract.main(f"{common} --output_dir {folder} --fraction 0.3 {resamples} {words}".split())
        return load_circuit(folder / "C.json")

    return run


def files(folder) -> dict:
    return {path.name: path.read_bytes() for path in folder.glob("C.*") if "run" not in path.name}


def test_nothing_is_called_stable_that_fewer_than_eight_pairs_say(
    extraction, tmp_path, monkeypatch
):
    monkeypatch.setattr(until_stable, "MIN_EXAMPLES", MIN_EXAMPLES)
    metadata = extraction(tmp_path, "--until_stable 0.1").metadata
    assert MIN_EXAMPLES == 8 and metadata["until_stable"]["pairs"] == 6
    assert metadata["bootstrap"]["noise_floor"]["mean"] > 0.1
    assert not metadata["until_stable"]["reached"] and not metadata["bootstrap"]["stable"]


def test_pairs_are_taken_until_the_overlap_of_resamples_is_over_the_goal(extraction, tmp_path):
    easy = extraction(tmp_path / "easy", "--until_stable 0.1")
    assert len(easy.metadata["example_ids"]) == 2
    search = easy.metadata["until_stable"]
    assert search["reached"] and search["pairs"] == 2 and search["pairs_there"] == 6
    assert search["looks"][-1]["jaccard"] == easy.metadata["bootstrap"]["noise_floor"]["mean"] > 0.1
    assert search["looks"][-1]["resamples"] == 50  # the quick look was near enough for a full one
    hard = extraction(tmp_path / "hard", "--until_stable 0.999 --spans")
    assert not hard.metadata["until_stable"]["reached"]
    assert "6 pairs ended before" in hard.metadata["stability"]["sentences"][0]
    looks = [(row["examples"], row["resamples"]) for row in hard.metadata["until_stable"]["looks"]]
    assert looks == [(2, 20), (4, 20), (6, 20)]  # a quick look told that the goal was far
    plain = extraction(tmp_path / "plain", "--spans")
    scores = [
        load_example_scores(tmp_path / name / "C.examples.safetensors")
        for name in ("hard", "plain")
    ]
    assert torch.allclose(*scores, rtol=1e-4, atol=1e-6 * float(scores[1].abs().max()))
    assert hard.metadata["spans"]["share"] == pytest.approx(plain.metadata["spans"]["share"])
    for name in ("metric_clean", "metric_corrupted"):
        ends = [circuit.metadata["completeness"][name] for circuit in (hard, plain)]
        assert ends[0] == pytest.approx(ends[1], rel=1e-5, abs=1e-8)
    assert not list(tmp_path.glob("*/.blocks*")) and (tmp_path / "hard/C.stability.png").is_file()


@pytest.mark.parametrize(("goal", "stable"), [(0.3, True), (0.95, False), (None, None)])
def test_stable_is_what_was_asked_for(goal, stable):
    per_example = world()(40)
    resampled = bootstrap.bootstrap(circuit_of(per_example), per_example, resamples=50)
    asked = {} if goal is None else {"goal": goal}
    about = bootstrap.summarise(resampled, 40, seed=0, **asked)
    overlap = about["noise_floor"]["mean"]
    assert 0.3 < overlap < 0.95
    if goal is None:
        goal, stable = bootstrap.STABLE, overlap > 0.8
    assert about["stable"] == stable and about["stable_above"] == goal
    word = f"{'stable' if stable else 'not stable'} (a mean over {goal} between"
    assert f": {word}" in bootstrap.sentence(about)


@pytest.mark.parametrize(
    ("words", "notes"),
    [
        ("--method secant", []),
        ("", []),
        ("--ig_steps 7 --ig_rule left", []),
        ("--method secant --ig_steps 5", ["--ig_steps 5 is not used: secant"]),
        ("--method EAP --ig-rule left", ["--ig_rule left is not used: EAP does not take a rule"]),
        ("--method secant-segments --ig_steps 2", []),
        ("--method NAP-secant --ig_steps=3 --ig_rule left", ["--ig_steps 3", "--ig_rule left"]),
    ],
)
def test_points_that_a_method_does_not_take_are_said_whatever_their_number(words, notes, capsys):
    extract.parse(words.split())
    warnings = capsys.readouterr().err
    assert warnings.count("is not used") == len(notes) and all(note in warnings for note in notes)


@pytest.mark.parametrize(
    "words", ["--spans", "--ig_steps auto", "--method EAP --metric nll --ablation mean"]
)
def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_the_same(
    extraction, tmp_path, monkeypatch, words
):
    words += " --until_stable 0.999"
    extraction(tmp_path / "whole", words)
    block_of, calls = until_stable.block_of, []

    def interrupted(*given, **named):
        if len(calls) == (3 if "auto" in words else 2):
            raise KeyboardInterrupt
        calls.append(1)
        return block_of(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(until_stable, "block_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extraction(tmp_path / "again", words)
    assert list((tmp_path / "again").glob(".blocks*/block-*")) and calls
    assert not (tmp_path / "again" / "C.json").exists()
    done = len(list((tmp_path / "again").glob(".blocks*/block-*")))
    again = []
    monkeypatch.setattr(
        until_stable,
        "block_of",
        lambda *given, **named: again.append(1) or block_of(*given, **named),
    )
    printed = []
    monkeypatch.setattr(console.Console, "say", lambda self, *words: printed.extend(words))
    extraction(tmp_path / "again", words)
    assert f"going on after {done} finished blocks, of {2 * done} pairs" in printed
    assert len(again) == 3 - done and done > 0
    assert files(tmp_path / "again") == files(tmp_path / "whole")


def test_blocks_of_an_interrupted_run_with_another_seed_are_made_again(
    extraction, tmp_path, monkeypatch
):
    block_of, made = until_stable.block_of, []

    def counted(*given, **named):
        if made.count("first") == 2 and "second" not in made:
            raise KeyboardInterrupt
        made.append("first" if len(made) < 2 else "second")
        return block_of(*given, **named)

    monkeypatch.setattr(until_stable, "block_of", counted)
    with pytest.raises(KeyboardInterrupt):
        extraction(tmp_path, "--until_stable 0.999 --resamples 10")
    made.append("second")
    extraction(tmp_path, "--until_stable 0.999 --resamples 10 --seed 1")
    assert made == ["first", "first", "second", "second", "second", "second"]


def test_blocks_of_other_arguments_are_not_gone_on_with(tmp_path):
    blocks = Blocks(tmp_path / ".blocks", "one")
    blocks.add({"scores": torch.ones(2)})
    assert len(Blocks(tmp_path / ".blocks", "one")) == 1
    assert len(Blocks(tmp_path / ".blocks", "other")) == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="something else"):
        Blocks(tmp_path / "mine", "one")
    discard(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def test_all_checkpoints_are_extracted_from_as_many_pairs_as_the_last_one(
    extraction, tmp_path, tiny_model_dir, pairs
):
    run = tmp_path / "run"
    run.mkdir()
    for step in (0, 5, 10):
        (run / f"checkpoint-{step}").symlink_to(tiny_model_dir)
    words = (
        f"--model_path {run} --all_checkpoints --pairs {pairs} --output_dir {tmp_path}/C --quiet"
    )
    extract.main([*words.split(), "--until_stable", "0.1", "--resamples", "50"])
    made = [json.loads((tmp_path / f"C/C_step{step}.json").read_text()) for step in (0, 5, 10)]
    assert [len(circuit["metadata"]["example_ids"]) for circuit in made] == [2, 2, 2]
    assert [("until_stable" in circuit["metadata"]) for circuit in made] == [False, False, True]
    assert made[0]["metadata"]["as_many_pairs_as"] == "C_step10.json"


@pytest.mark.parametrize(
    "words, match",
    [
        ("--until_stable 1", "--until_stable 1"),
        ("--until_stable --resamples 0", "--resamples"),
        (
            "--until_stable --all_checkpoints --method EAP --metric nll --ablation mean",
            "other pairs",
        ),
        ("--rank example --no_absolute", "no sign"),
        ("--rank example --method NAP", "ranks edges"),
    ],
)
def test_flags_that_mean_nothing_are_refused(words, match):
    with pytest.raises(InputError, match=match):
        extract.check(extract.parse(words.split()))


def test_one_pair_is_no_stable_circuit(extraction, tmp_path):
    with pytest.raises(InputError, match="at least 2, got 1"):
        extraction(tmp_path, "--until_stable --max_examples 1")


def test_until_stable_without_a_number_is_what_stable_means():
    assert extract.parse(["--until_stable"]).until_stable == bootstrap.STABLE
    assert extract.parse([]).until_stable == 0


def test_a_circuit_ranked_by_examples_is_what_its_scores_per_example_give(extraction, tmp_path):
    circuit = extraction(tmp_path, "--rank example")
    per_example = load_example_scores(tmp_path / "C.examples.safetensors")
    ranking = per_example.double().abs().mean(0)
    assert torch.allclose(circuit.ranking, ranking) and circuit.rule.rank == "example"
    wanted = set(ranking.topk(circuit.metadata["sizes"]["selected"]).indices.tolist())
    assert set(circuit.in_graph.nonzero().flatten().tolist()) <= wanted
    assert torch.equal(circuit.rule.take(circuit.graph, circuit.ranking), circuit.in_graph)
    order, other = ranking.argsort(), circuit.scores.abs().argsort()
    assert not torch.equal(order, other)  # the two rankings differ here, or nothing is tested
