"""Batched summaries against generation token by token, and the script that scores them."""

import importlib.util
import json
from functools import partial

import numpy as np
import pytest
import torch

import test_set_evaluation as script
from eap import InputError
from runs import opening
from runs.records import ROOT
from study.quality import numbers as quality
from study.quality import running
from study.quality import words as quality_words
from summarization import generation, prompt
from summarization.generation import Options


@pytest.fixture(scope="module")
def model(tiny_model_dir):
    return opening.load_model(tiny_model_dir, torch.float64, device="cpu")


def greedy(model, tokenizer, article, max_new_tokens, forbidden=()):
    """The obvious way: one article, no padding, no cache, one token after the other."""
    ids = prompt.generation_ids(
        tokenizer, article, max_length=model.config.n_positions, max_new_tokens=max_new_tokens
    )
    new = []
    for _ in range(max_new_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([ids + new]), use_cache=False).logits[0, -1]
        logits[list(forbidden)] = -torch.inf
        token = int(logits.argmax())
        if token == tokenizer.eos_token_id:
            return new, True
        new.append(token)
    return new, False


@pytest.fixture(scope="module")
def one_by_one(model, tiny_tokenizer, articles):
    """(texts, what must be generated for each)."""
    texts = [row["article"] for row in articles[:4]] + ["A short one."]
    made = [greedy(model, tiny_tokenizer, text, 8) for text in texts]
    return texts, [(tiny_tokenizer.decode(ids).strip(), len(ids), ended, 0) for ids, ended in made]


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_batches_write_what_one_by_one_generation_writes(
    model, tiny_tokenizer, one_by_one, batch_size
):
    texts, expected = one_by_one
    options = Options(8, batch_size=batch_size)
    assert generation.generate(model, texts, options=options, tokenizer=tiny_tokenizer) == expected


def test_a_text_ends_at_the_end_of_text_and_not_before_the_least_length(
    model, tiny_tokenizer, articles
):
    """With a large bias the end-of-text wins wherever it is allowed."""
    end = tiny_tokenizer.eos_token_id
    wants_to_stop = opening.load_model(model.name_or_path, torch.float64, device="cpu")
    bias = torch.zeros(len(tiny_tokenizer), dtype=torch.float64)
    bias[end] = 1e3
    wants_to_stop.lm_head.register_forward_hook(lambda module, inputs, output: output + bias)
    texts = [row["article"] for row in articles[:3]]
    write = partial(generation.generate, wants_to_stop, texts, tokenizer=tiny_tokenizer)
    assert write(options=Options(12)) == [("", 0, True, 0)] * 3
    made = write(options=Options(12, min_new_tokens=4))
    assert [(summary.n_tokens, summary.ended) for summary in made] == [(4, True)] * 3
    assert (
        made[0].text
        == tiny_tokenizer.decode(
            greedy(model, tiny_tokenizer, texts[0], 4, forbidden=[end])[0]
        ).strip()
    )


def test_the_checkpoints_own_settings_do_not_count(model, tiny_tokenizer, articles):
    texts = [row["article"] for row in articles[:2]]
    expected = generation.generate(model, texts, options=Options(8), tokenizer=tiny_tokenizer)
    other = opening.load_model(model.name_or_path, torch.float64, device="cpu")
    other.config.use_cache = False  # what Trainer leaves in a checkpoint
    for name, value in {
        "do_sample": True,
        "temperature": 9.0,
        "max_length": 3,
        "use_cache": False,
        "eos_token_id": 5,
    }.items():
        setattr(other.generation_config, name, value)
    assert (
        generation.generate(other, texts, options=Options(8), tokenizer=tiny_tokenizer) == expected
    )
    assert other.generation_config.temperature == 9.0  # put back


def test_beam_search_finds_a_likelier_text(model, tiny_tokenizer, articles):
    def log_likelihood(text_ids, ids):
        with torch.no_grad():
            logits = model(torch.tensor([ids + text_ids])).logits[0].log_softmax(-1)
        return sum(float(logits[len(ids) + i - 1, token]) for i, token in enumerate(text_ids))

    ids = prompt.generation_ids(
        tiny_tokenizer, articles[0]["article"], max_length=320, max_new_tokens=6
    )

    def written(beams):
        config = generation.settings(tiny_tokenizer, Options(6, 6, num_beams=beams))
        return generation._generate_batch(model, [ids], config=config)[0]

    greedy_ids, beam_ids = written(1), written(8)
    assert log_likelihood(beam_ids, ids) >= log_likelihood(greedy_ids, ids)


def test_articles_that_do_not_fit_are_cut_and_counted(model, tiny_tokenizer):
    write = partial(generation.generate, model, tokenizer=tiny_tokenizer)
    made = write(["Rain fell on the town. " * 200], options=Options(12))[0]
    sentence = len(prompt.encode(tiny_tokenizer, " Rain fell on the town."))
    assert made.n_cut > 0
    assert (
        made.n_cut - len(prompt.encode(tiny_tokenizer, "Rain fell on the town. " * 200))
    ) % sentence <= sentence
    with pytest.raises(InputError, match="--max_new_tokens 310.*320 tokens"):
        write(["Rain fell. " * 200], options=Options(310))


def test_batches_hold_neighbours_in_length_and_stay_within_the_budget():
    lengths = [10, 900, 20, 880, 15]
    assert generation.plan_batches(lengths, 100, batch_size=2) == [[1, 3], [2, 4], [0]]
    planned = generation.plan_batches([900] * 40, 100)
    assert {len(rows) for rows in planned[:-1]} == {16}  # 16 x 1,000 positions of 16,384
    assert sorted(row for rows in planned for row in rows) == list(range(40))
    assert len(generation.plan_batches([900] * 40, 100, num_beams=100)) == 40


# ---------------------------------------------------------------- the benchmark


@pytest.fixture(scope="module")
def benchmark():
    """The module benchmarks/generation.py."""
    spec = importlib.util.spec_from_file_location(
        "benchmark_generation", ROOT / "benchmarks" / "generation.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_gap_where_two_texts_part_is_that_of_their_logits(benchmark, model, tiny_tokenizer):
    ids, end = [5, 6, 7], tiny_tokenizer.eos_token_id
    with torch.no_grad():
        logits = model(torch.tensor([[*ids, 8]])).logits[0, -1]

    def gap(first: list[int], second: list[int]):
        return benchmark.gap(model, ids, first=first, second=second, end=end)

    assert gap([8, 9, 4], [8, 10, 4]) == pytest.approx(float((logits[9] - logits[10]).abs()))
    assert gap([8, end, 9], [8, end, end]) is None  # what follows the end is padding
    assert gap([8, end, 9], [8, 9, 9]) > 0


def test_the_benchmark_compares_every_text_and_score(benchmark, tiny_model_dir, tmp_path, capsys):
    benchmark.main(
        [
            "--model_path",
            tiny_model_dir,
            "--max_examples",
            "5",
            "--max_new_tokens",
            "6",
            "--min_new_tokens",
            "2",
            "--repeats",
            "1",
            "--pairs",
            "20",
            "--compared_pairs",
            "10",
            "--processes",
            "1",
            "--output_dir",
            str(tmp_path),
        ]
    )
    result = json.loads((tmp_path / "generation.json").read_text())
    assert (
        result["summaries"]["identical"] + result["summaries"]["ties"]
        == result["summaries"]["articles"]
        == 5
    )
    assert result["rouge"]["unequal_scores"] == 0 and (tmp_path / "generation.png").is_file()
    assert "ratio" in capsys.readouterr().out


# ---------------------------------------------------------------- scores


def test_differences_are_paired_and_claimed_only_when_the_interval_excludes_zero():
    rng = np.random.default_rng(0)
    hard = 30 * rng.random(50)  # articles differ far more than models do
    better, same = hard + 1 + 0.1 * rng.random(50), hard + 0.1 * rng.standard_normal(50)
    systems = [
        quality.System(name, "model", [], {"rouge1": values})
        for name, values in (("a", hard), ("b", better), ("c", same))
    ]
    table = quality.summarise(systems, seed=0)
    assert (
        table["a"]["rouge1"]["high"] > table["b"]["rouge1"]["mean"]
    )  # the intervals overlap, the paired difference is clear
    assert table["b"]["minus_first"]["rouge1"]["claim"] == "higher"
    assert table["c"]["minus_first"]["rouge1"]["claim"] is None
    assert "minus_first" not in table["a"]
    printed = "\n".join(quality_words.lines(table))
    assert "ROUGE-1 of b is higher than a's" in printed
    assert "no difference can be claimed" in printed


def test_nats_per_token_are_compared_between_models_of_one_tokenizer_only():
    values = {name: np.arange(9.0) for name in ("rouge1", "nll_nats", "tokens", "words")}
    systems = [
        quality.System(label, "model", [], {name: i + x for name, x in values.items()}, tokenizer)
        for i, (label, tokenizer) in enumerate((("a", "one"), ("b", "one"), ("c", "another")))
    ]
    table = quality.summarise(systems, seed=0)
    assert table["b"]["minus_first"]["nll_nats"]["claim"] == "higher"
    assert list(table["c"]["minus_first"]) == ["rouge1", "words"]
    assert table["c"]["nll_nats"]["mean"] == 6.0


def test_guard_26_few_texts_carry_no_claim():
    claims = [
        quality.difference(np.linspace(2, 3, n), np.zeros(n), seed=0)["claim"] for n in (2, 7, 8)
    ]
    assert claims == [None, None, "higher"]


def test_a_measure_missing_for_some_texts_is_averaged_over_the_others():
    system = quality.System(
        "a",
        "model",
        [],
        {"nll_nats": np.array([1.0, np.nan, 3.0]), "tokens": np.array([np.nan] * 3)},
    )
    summary = quality.summarise([system], seed=0)["a"]
    assert (summary["nll_nats"]["mean"], summary["nll_nats"]["n"], summary["tokens"]) == (
        2.0,
        2,
        None,
    )


# ---------------------------------------------------------------- the script


def run(tmp_path, articles_file, models, *more):
    script.main(
        [
            "--model_paths",
            *models,
            "--dataset",
            articles_file,
            "--output_dir",
            str(tmp_path / "out"),
            "--max_new_tokens",
            "10",
            *more,
        ]
    )
    return json.loads((tmp_path / "out" / "rouge.json").read_text(encoding="utf-8"))


def test_the_script_scores_models_beside_the_yardsticks(
    tmp_path, articles_file, tiny_model_dir, capsys
):
    result = run(tmp_path, articles_file, [tiny_model_dir])
    assert (result["format"], result["n"], result["first"]) == (1, 12, "tiny")
    assert list(result["systems"]) == ["tiny", "Lead-3", "Random-3", "oracle", "reference"]
    rouge1 = {
        label: entry["rouge1"]["mean"]
        for label, entry in result["systems"].items()
        if label != "reference"
    }
    assert rouge1["oracle"] > rouge1["Lead-3"] > rouge1["tiny"]
    assert result["systems"]["Lead-3"]["copied_percent"]["mean"] > 90
    assert result["systems"]["tiny"]["nll_nats"]["n"] == 12
    rows = [
        json.loads(line)
        for line in (tmp_path / "out" / "generated.tiny.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    ]
    assert np.mean([row["nll_nats"] for row in rows]) == pytest.approx(
        result["systems"]["tiny"]["nll_nats"]["mean"]
    )
    assert str(tmp_path) not in (tmp_path / "out" / "rouge.json").read_text(encoding="utf-8")
    capsys.readouterr()
    run(tmp_path, articles_file, [tiny_model_dir])
    assert capsys.readouterr().out.startswith("up to date")


def test_summary_nll_by_hand(tmp_path, articles_file, articles, tiny_model_dir, tiny_tokenizer):
    run(tmp_path, articles_file, [tiny_model_dir])
    texts = (tmp_path / "out" / "generated.tiny.jsonl").read_text(encoding="utf-8")
    rows = {row["id"]: row for row in map(json.loads, texts.splitlines())}
    row = rows[articles[4]["id"]]
    made = prompt.build(
        tiny_tokenizer, articles[4]["article"], highlights=articles[4]["highlights"], max_length=320
    )
    with torch.no_grad():
        logs = (
            opening.load_model(tiny_model_dir, torch.float32, device="cpu")(
                torch.tensor([made.ids])
            )
            .logits[0]
            .double()
            .log_softmax(-1)
        )
    nats = [
        -float(logs[made.summary_start + i - 1, token]) for i, token in enumerate(made.summary_ids)
    ]
    assert row["nll_nats"] == pytest.approx(np.mean(nats), rel=1e-5)


def test_an_interrupted_run_keeps_the_models_that_are_done(
    tmp_path, articles_file, tiny_model_dir, monkeypatch
):
    other = tmp_path / "second"
    other.symlink_to(tiny_model_dir)
    real, seen = running.summaries, []

    def failing(settings, path, label, rows, **more):
        seen.append(label)
        if label == "second" and seen.count("second") == 1:
            raise KeyboardInterrupt
        return real(settings, path, label=label, rows=rows, **more)

    monkeypatch.setattr(running, "summaries", failing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, articles_file, [tiny_model_dir, str(other)])
    result = run(tmp_path, articles_file, [tiny_model_dir, str(other)])
    assert seen == ["tiny", "second", "second"]
    assert result["systems"]["second"]["minus_first"]["rougeL"] == {
        "mean": 0,
        "low": 0,
        "high": 0,
        "n": 12,
        "claim": None,
    }


def test_rows_of_one_id_keep_their_own_nll(tmp_path, articles, tiny_model_dir):
    nll = {}
    for name, ids in (("apart", ("a", "b")), ("alike", ("a", "a"))):
        lines = [
            json.dumps(row | {"id": row_id}) + "\n"
            for row, row_id in zip(articles, ids, strict=False)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
        (tmp_path / name).mkdir()
        result = run(tmp_path / name, str(tmp_path / f"{name}.jsonl"), [tiny_model_dir])
        nll[name] = result["systems"]["tiny"]["nll_nats"]
    assert nll["apart"] == nll["alike"] and nll["apart"]["low"] < nll["apart"]["high"]


def test_models_are_told_apart_by_as_much_of_their_path_as_needed():
    assert script.labels_of(["gpt2", "runs/a/"]) == ["gpt2", "a"]
    assert script.labels_of(["a/checkpoint-0", "b/checkpoint-0"]) == [
        "a-checkpoint-0",
        "b-checkpoint-0",
    ]
    with pytest.raises(InputError, match="different models"):
        script.labels_of(["gpt2", "gpt2"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min_new_tokens", "11"], "--min_new_tokens 11: expected 0 to"),
        (["--max_new_tokens", "400"], "--max_new_tokens 400"),
        (["--metrics", "nothing_of_the_kind"], "--metrics nothing_of_the_kind"),
    ],
)
def test_mistakes_are_explained(tmp_path, articles_file, tiny_model_dir, flags, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, articles_file, [tiny_model_dir], *flags)
