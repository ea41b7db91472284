"""The estimate of a study's hours: work counted by hand, seconds that are measured."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import families
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, GPT2Config, LlamaConfig

import run_finetuning_with_checkpoints as training_script
import run_pipeline as script
from runs import devices, disk, records
from study import estimate
from study.estimate import Work
from study.pipeline import commands, hours, running, workload
from study.pipeline.presets import PRESETS
from summarization import training


def precision(*words):
    """What a script that trains with these flags multiplies in."""
    args = training_script.parse(["--device", "cpu", *words])
    return training.Precision(devices.Device.of(vars(args)), args.bf16, args.tf32)


@pytest.fixture(scope="module")
def small():
    """GPT-2 small's shape."""
    return estimate.shape_of(GPT2Config())


def test_shapes_of_models_by_hand(small):
    assert (small.layers, small.width, small.edges) == (12, 768, 32_491)
    assert small.weights == 124_439_808 and small.weights_bytes == 4 * 124_439_808
    sizes = {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3}
    sizes |= {"num_hidden_layers": 30, "intermediate_size": 1536, "vocab_size": 49_152}
    smol = estimate.shape_of(LlamaConfig(tie_word_embeddings=True, **sizes))
    assert smol.weights == 134_515_008 and smol.scores_bytes == 4 * 123_211


def test_the_work_of_the_study_by_hand():
    work = workload.workload(PRESETS["gpt2-cnn"])
    assert work["run_finetuning_with_checkpoints"] == Work(train=3 * 20_000, read=10 * 200)
    # secant: two runs and a backward pass; EAP-IG: five points of both, and two runs
    secant, integrated = 1.8 * 3, 1.25 * 12
    extraction = secant * (200 + 200 + 10 * 200) + integrated * 200
    assert work["extract_summarization_circuit"].read == pytest.approx(extraction)
    # six curves of ten sizes; one complement, 2 x 10 random ones
    assert work["evaluate_faithfulness"].read == 1.5 * 100 * (60 + 4 * 21)
    again = 100 * (secant * (1 + 9 + 10) + integrated)
    assert work["evaluate_robustness"].read == pytest.approx(again)
    assert work["test_set_evaluation"].write == 2 * 500
    bakeoff = work[
        "run_peft_bakeoff"
    ]  # nine arms that train, three seeds, and a sweep of three rates at a quarter of the steps
    assert bakeoff.train == 9 * 20_000 * (3 + 3 * 0.25) and bakeoff.write == (9 * 3 + 1) * 500


def test_seconds_add_up():
    assert Work(10, 20, 30).seconds(Work(0.1, 0.01, 0.001)) == pytest.approx(1.23)


def test_words_name_hours_source_and_uncertainty_and_what_is_assumed_without_a_gpu(small):
    work = {"a": Work(train=3600), "b": Work(write=7200)}
    lines = estimate.lines(
        work, Work(2.0, 0.0, 0.5), precision=precision(), shape=small, new_tokens=100
    )
    assert lines[0] == "Estimate for this machine (cpu): about 3.0 hours: a 2.0, b 1.0"
    assert "timed just now, of a gpt2" in lines[1] and "124 million weights" in lines[1]
    assert "factor of two" in lines[1]
    assert "no GPU" in lines[2] and "3.0 hours of work" in lines[2]
    assert "both assumptions: about" in lines[2] and len(lines) == 3


def test_what_takes_no_hour_is_told_in_minutes():
    words = estimate.in_hours({"a": Work(read=90), "b": Work(read=36)}, Work(0, 1, 0))
    assert words == "about 2.1 minutes: a 1.5, b 0.6"


def test_days_on_a_processor_are_called_days_and_the_demo_is_pointed_to(small):
    work = {"a": Work(train=3600)}
    lines = estimate.lines(
        work, Work(100, 1, 1), precision=precision(), shape=small, new_tokens=100
    )
    assert "about 100.0 hours (4 days)" in lines[0] and "4.2 days of work" in lines[2]
    assert "--preset demo" in lines[3]


@pytest.mark.parametrize(("capability", "words", "products"), [
    ((8, 0), [], "TF32"), ((7, 5), [], "float32"), ((8, 0), ["--no_tf32"], "float32"),
    ((8, 0), ["--bf16"], "bfloat16"), ((9, 0), ["--dtype", "float64"], "float64"),
])  # fmt: skip
def test_on_a_gpu_the_estimate_names_what_training_multiplies_in(
    capability, words, products, small, monkeypatch
):
    monkeypatch.setattr(devices.Device, "torch_device", torch.device("cuda"))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    lines = estimate.lines(
        {"a": Work(train=3600)},
        Work(1, 1, 1),
        precision=precision(*words),
        shape=small,
        new_tokens=100,
    )
    assert f"(matrix products in {products})" in lines[1] and len(lines) == 2


def test_a_gpus_hours_by_hand(small):
    unit = estimate.on_a_gpu(
        small, 100
    )  # 20 TFLOP/s: 6 operations per weight and token are 0.038 s, a third of it to read
    assert unit.train == pytest.approx(
        1024 * 6 * 124e6 / 20e12, rel=0.2
    ) and unit.read == pytest.approx(unit.train / 3)
    assert unit.write == pytest.approx(unit.read + 100 * 0.01 / 16)


def test_an_articles_training_flop_are_six_per_weight_and_token_and_the_attention(small):
    assert estimate.training_flop(small, 1024) == pytest.approx(1024 * 6 * 124e6, rel=0.2)
    assert estimate.training_flop(small, 1024) > 1024 * 6 * 124e6


def operations(work, _device) -> int:
    """Floating-point operations of some work: they stand for its seconds."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("family", ["gpt2", "llama", "pythia"])
def test_training_is_timed_with_its_backward_pass_and_a_summary_too(family, monkeypatch):
    kind = families.CONFIGS[family][0]
    sizes = families.CONFIGS[family][1] | {"vocab_size": 500}
    longest = "n_positions" if family == "gpt2" else "max_position_embeddings"
    tiny = AutoConfig.for_model(kind, **sizes | {longest: 96})
    monkeypatch.setattr(estimate, "_seconds", operations)
    unit = estimate.measure(precision(), 16, config=tiny, context=96)
    assert unit.train > 3 * unit.read > 0  # a backward pass multiplies twice as much
    assert unit.write > 0


@pytest.mark.parametrize(("durations", "seconds"), [([4, 3, 1, 2], 1), ([6], 6)])
def test_the_shortest_run_after_the_first_counts_and_a_long_one_runs_once(
    durations, seconds, monkeypatch
):
    clock = SimpleNamespace(now=0.0)
    left = list(durations)

    def work():
        clock.now += left.pop(0)

    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    assert estimate._seconds(work, torch.device("cpu")) == seconds
    assert not left


def test_without_a_hub_nothing_is_timed(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(estimate, "measure", lambda *_, **__: pytest.fail("timed"))
    with pytest.raises(script.InputError, match="demo"):
        script.main(["--preset", "gpt2-cnn", "--output_dir", str(tmp_path)])


# ---------------------------------------------------------------- what is left to do


@pytest.fixture
def plan(tmp_path):
    """The study's commands in a folder of their own."""
    return running.Plan(commands.commands_of(PRESETS["gpt2-cnn"], tmp_path), [], tmp_path)


def finish(command, folder, **record):
    """Leave the record that a complete run of the command would leave."""
    import importlib
    import json

    name, *words = command
    args = importlib.import_module(name.removesuffix(".py")).parse(words)
    path = (
        records.record_beside(args.output)
        if name.startswith(("create", "extract"))
        else records.record_in(args.output_dir, name)
    )
    arguments = {k: v for k, v in vars(args).items() if k != "resume_from_checkpoint"}
    data = {"format": 1, "complete": True, "arguments": arguments, **record}
    disk.write_json(path, json.loads(json.dumps(data, default=str)))


def test_what_is_on_record_is_left_out_of_the_estimate(plan, tmp_path):
    preset = PRESETS["gpt2-cnn"]
    left = script.left_to_do(plan)
    assert set(left.values()) == {1} and workload.workload(preset, left) == workload.workload(
        preset
    )
    pairs, training, before, after, _, checkpoints = plan.chosen[:6]
    for command in (pairs, training, before):
        finish(command, tmp_path)
    finish(after, tmp_path, complete=False)
    for step in (0, 10, 20):
        words = ["--output", str(tmp_path / "circuits" / f"C_step{step}.json")]
        finish([*checkpoints, *words], tmp_path)
    for seed in range(7):
        disk.write_json(tmp_path / f"run_peft_bakeoff/all/seed-{seed}/metrics.json", {})
    left = script.left_to_do(plan)
    assert left["create_causal_summarization_data"] == left["run_finetuning_with_checkpoints"] == 0
    assert (left["before"], left["after"], left["checkpoints"]) == (0, 1, 0.7)
    assert left["run_peft_bakeoff"] == 0.75  # 7 of 28
    work = workload.workload(preset, left)
    assert not any(work["run_finetuning_with_checkpoints"])
    extraction = 1.8 * 3 * (200 + 0.7 * 2000) + 1.25 * 12 * 200
    assert work["extract_summarization_circuit"].read == pytest.approx(extraction)
    assert set(script.left_to_do(replace(plan, passed_on=["--overwrite"])).values()) <= {1, 0.75}
    assert script.left_to_do(replace(plan, passed_on=["--seed", "3"]))["before"] == 1
    assert plan.chosen[-2][0] == "run_peft_bakeoff.py"


def test_an_unfinished_training_counts_from_its_last_checkpoint(plan, tmp_path):
    folder = tmp_path / "model_outputs/finetuned"
    for step in (0, 1500):
        state = {"global_step": step, "max_steps": 7500}
        disk.write_json(folder / f"checkpoint-{step}" / "trainer_state.json", state)
    left = script.left_to_do(plan)
    assert left["run_finetuning_with_checkpoints"] == 0.8


def test_max_examples_is_taken_off_the_estimate():
    preset = workload.limited(PRESETS["gpt2-cnn"], "40")
    work = workload.workload(preset)
    assert work["run_finetuning_with_checkpoints"].train == 3 * 40
    extraction = 1.8 * 3 * (20 + 20 + 10 * 20) + 1.25 * 12 * 20
    assert work["extract_summarization_circuit"].read == pytest.approx(extraction)
    assert work["test_set_evaluation"].write == 2 * 40
    assert work["run_peft_bakeoff"].write == 28 * 40
    assert workload.limited(PRESETS["gpt2-cnn"], None) == PRESETS["gpt2-cnn"]


def test_nothing_is_timed_where_nothing_long_is_left(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "measure", lambda *_, **__: pytest.fail("timed"))
    args = script.parse(["--preset", "gpt2-cnn", "--output_dir", str(tmp_path)])
    script.say_estimate(args, PRESETS["gpt2-cnn"], replace(plan, chosen=plan.chosen[:1]))


def test_the_estimate_says_what_it_leaves_out_and_the_disk(plan, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(estimate, "measure", lambda *_, **__: Work(1, 1, 1))
    monkeypatch.setattr(hours, "config_of", lambda _: GPT2Config())
    finish(plan.chosen[1], tmp_path)
    args = script.parse(["--preset", "gpt2-cnn", "--output_dir", str(tmp_path)])
    script.say_estimate(args, PRESETS["gpt2-cnn"], plan)
    printed = capsys.readouterr().out
    assert "done: run_finetuning_with_checkpoints." in printed
    gigabytes = (4 * 32_491 * (600 + 2000) + 3 * 4 * 124.4e6) / 1e9  # scores, and three full models
    assert f"about {gigabytes:.1f} GB will be written" in printed


# ---------------------------------------------------------------- the pipeline's end


def test_a_run_to_an_earlier_stage_names_what_is_there(plan, tmp_path):
    assert commands.look_first(plan.chosen, tmp_path) == tmp_path / "report.html"
    chosen = [line for line in plan.chosen if line[0] == "test_set_evaluation.py"]
    assert commands.look_first(chosen, tmp_path) == tmp_path / "test_set_evaluation"


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux call")
def test_a_killed_pipeline_takes_its_stage_with_it():
    code = (
        "import subprocess, sys, time\n"
        "from runs import stages\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
        "preexec_fn=stages.end_with_parent)\n"
        "print(child.pid, flush=True)\ntime.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=records.ROOT
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not is_running(child):
            return
        time.sleep(0.1)
    pytest.fail("the stage goes on")


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_robustness_is_estimated_with_the_ways_that_a_preset_or_the_script_names():
    """The circuit's own metric and method are left out of the script's."""
    import evaluate_robustness

    assert len(evaluate_robustness.VARIANTS.split(",")) - 2 == workload.VARIANTS
    preset = PRESETS["gpt2-cnn"]
    fewer = replace(preset, robust=f"{preset.robust} --variants mask,control")
    passes = workload.of_robustness(preset).read - workload.of_robustness(fewer).read
    n_pairs = int(workload.values_of(preset.robust)["max_examples"][0])
    assert passes == pytest.approx(n_pairs * 8 * workload.SECANT_PASSES)
