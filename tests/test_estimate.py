"""The estimate of a study's hours: work counted by hand, seconds that are measured."""

import pytest
import torch
from transformers import GPT2Config

import run_pipeline as script
from summarization import estimate
from summarization.estimate import Work


def test_the_work_of_the_study_by_hand():
    found = script.workload(script.PRESETS["gpt2-cnn"])
    assert found["run_finetuning_with_checkpoints"] == Work(train=3 * 20_000, read=10 * 200)
    assert found["extract_summarization_circuit"].read == 1.25 * 12 * (200 + 200 + 10 * 100)
    assert found["evaluate_faithfulness"].read == 1.5 * 100 * (
        50 + 4 * 21
    )  # five curves of ten sizes; one complement, 2 x 10 random ones
    assert found["evaluate_robustness"].read == 1.25 * 12 * 100 * (1 + 9 + 10)
    assert found["test_set_evaluation"].write == 2 * 500
    bakeoff = found[
        "run_peft_bakeoff"
    ]  # nine arms that train, three seeds, and a sweep of three rates at a quarter of the steps
    assert bakeoff.train == 9 * 20_000 * (3 + 3 * 0.25) and bakeoff.write == (9 * 3 + 1) * 500


def test_seconds_add_up():
    assert Work(10, 20, 30).seconds(Work(0.1, 0.01, 0.001)) == pytest.approx(1.23)


def test_words_name_hours_source_and_uncertainty_and_what_is_assumed_without_a_gpu():
    work = {"a": Work(train=3600), "b": Work(write=7200)}
    said = estimate.lines(work, Work(2.0, 0.0, 0.5), torch.device("cpu"), 100)
    assert said[0] == "Estimate for this machine (cpu): about 3.0 hours: a 2.0, b 1.0"
    assert "timed just now" in said[1] and "factor of two" in said[1]
    assert "no GPU" in said[2] and "both assumptions: about" in said[2]
    assert len(estimate.lines(work, Work(1, 1, 1), torch.device("cuda"), 100)) == 2


def test_a_gpus_hours_by_hand():
    unit = estimate.on_a_gpu(
        100
    )  # 20 TFLOP/s: 6 operations per weight and token are 0.038 s, a third of it to read
    assert unit.train == pytest.approx(
        1024 * 6 * 124e6 / 20e12, rel=0.2
    ) and unit.read == pytest.approx(unit.train / 3)
    assert unit.write == pytest.approx(unit.read + 100 * 0.01 / 16)


def test_an_articles_training_flop_are_six_per_weight_and_token_and_the_attention():
    assert estimate.training_flop(1024) == pytest.approx(1024 * 6 * 124e6, rel=0.2)
    assert estimate.training_flop(1024) > 1024 * 6 * 124e6


def test_measured_seconds_are_positive_and_training_takes_longer_than_reading():
    args = script.parse(["--device", "cpu"])
    tiny = GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=500, n_positions=96)
    found = estimate.measure(args, 16, tiny, context=96)
    assert found.train > found.read > 0 and found.write > 0


def test_without_a_hub_nothing_is_timed(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(estimate, "measure", lambda *_: pytest.fail("timed"))
    with pytest.raises(script.InputError, match="demo"):
        script.main(["--preset", "gpt2-cnn", "--output_dir", str(tmp_path)])
