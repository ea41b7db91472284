"""Fine-tuning: what the loss falls on, when checkpoints are kept, that an interruption changes
nothing.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

import run_finetuning_with_checkpoints as script
from eap import InputError
from runs import checkpoints, devices, opening
from study.differential import latents
from study.training import resuming
from summarization import examples, prompt, training


@pytest.fixture(scope="module")
def encoded(articles, tiny_tokenizer):
    return examples.encode(articles, tiny_tokenizer, max_length=320)


@pytest.fixture
def model(tiny_model_dir):
    return AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()


def run(out, model, *more):
    script.main([
        "--model_path", str(model), "--dataset", "demo", "--subset_train_size", "16",
        "--validation_size", "4", "--max_steps", "5", "--batch_size", "2",
        "--checkpoint_steps", "0,1,3", "--probe_examples", "2", "--device", "cpu", "--quiet",
        "--output_dir", str(out),
        *more,
    ])  # fmt: skip


@pytest.fixture(scope="module")
def finished(tiny_model_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(out, tiny_model_dir)
    return out


# ---------------------------------------------------------------- examples


def test_guard_18_each_summary_has_one_supervised_end_also_in_a_padded_batch(
    articles, encoded, tiny_tokenizer
):
    batch = examples.SummaryCollator(tiny_tokenizer)([encoded.data[row] for row in range(4)])
    assert batch["input_ids"].shape[1] == max(len(ids) for ids in encoded.data["input_ids"][:4])
    for row, article in zip(batch["labels"], articles, strict=False):
        supervised = row[row != prompt.NO_LABEL].tolist()
        assert tiny_tokenizer.decode(supervised[:-1]) == " " + article["highlights"].strip()
        assert supervised.count(tiny_tokenizer.eos_token_id) == 1
        assert supervised[-1] == tiny_tokenizer.eos_token_id


def test_loss_of_a_batch_without_article_logits_is_the_models_own_loss(
    encoded, model, tiny_tokenizer
):
    features = [encoded.data[row] for row in range(3)]
    full = examples.SummaryCollator(tiny_tokenizer).pad(features)
    batch = examples.SummaryCollator(tiny_tokenizer)(features)
    short, long = model(**batch), model(**full)
    torch.testing.assert_close(short.loss, long.loss)
    assert short.logits.shape[1] < long.logits.shape[1]


def test_summary_nll_is_the_mean_over_summary_tokens_and_batching_changes_nothing(
    encoded, model, tiny_tokenizer
):
    nll = examples.summary_nll(model, encoded.data, tokenizer=tiny_tokenizer, batch_size=5)
    example = encoded.data[7]
    log_p = model(torch.tensor([example["input_ids"]])).logits[0].log_softmax(-1)
    by_hand = [
        -log_p[place - 1, label].item()
        for place, label in enumerate(example["labels"])
        if label != prompt.NO_LABEL
    ]
    assert nll[7] == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)
    assert np.allclose(
        nll,
        examples.summary_nll(model, encoded.data, tokenizer=tiny_tokenizer, batch_size=1),
        rtol=1e-5,
    )


def test_rows_that_cannot_fit_are_counted_with_the_reason(articles, tiny_tokenizer):
    rows = [
        *articles[:2],
        {"id": "long", "article": "A short one.", "highlights": articles[0]["article"] * 3},
    ]
    encoded = examples.encode(rows, tiny_tokenizer, max_length=320)
    assert encoded.ids == [row["id"] for row in articles[:2]]
    assert list(encoded.dropped.values()) == [1]
    assert "dropped 1" in encoded.describe("training")
    with pytest.raises(InputError, match="got none of 1"):
        examples.encode(rows[2:], tiny_tokenizer, max_length=320)


def test_a_file_without_splits_has_a_part_held_out(articles_file):
    train, other, note = examples.load_disjoint(
        articles_file, "validation", n_train=12, n_other=5, seed=0
    )
    assert (len(train), len(other)) == (11, 1)  # a tenth of 12
    assert not set(train["id"]) & set(other["id"])
    assert "1 of 12" in note and "11 rows to train on, fewer than the 12 asked for" in note
    parts, notes = examples.load_parts(
        articles_file, 6, others={"test": 4, "validation": 2}, seed=0
    )
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 6,
        "test": 4,
        "validation": 2,
    } and len(notes) == 2
    assert len({row_id for rows in parts.values() for row_id in rows["id"]}) == 12


# ---------------------------------------------------------------- schedule


@pytest.mark.parametrize(("schedule", "last", "n", "steps"), [
    ("log", 1000, 5, [0, 1, 10, 100, 1000]),
    ("log", 8, 5, [0, 1, 2, 4, 8]),
    ("log", 2, 10, [0, 1, 2]),
    ("even", 100, 5, [0, 25, 50, 75, 100]),
    ([7, 3], 10, 4, [0, 3, 7, 10]),
    ("log", 9, 1, [0, 1, 9]),
])  # fmt: skip
def test_checkpoint_steps(schedule, last, n, steps):
    assert training.checkpoint_steps(schedule, last, n=n) == steps


def test_a_checkpoint_past_the_last_step_is_refused():
    with pytest.raises(InputError, match="got 11"):
        training.checkpoint_steps([11], 10, n=3)


def test_stopping_early_needs_patience_evaluations_without_a_better_one():
    log = [{"eval_nll": value} for value in (3.0, 2.0, 2.5, 2.0)]
    assert training.stopped_early(log, 2)
    assert not training.stopped_early(log, 3)
    assert not training.stopped_early(log, 0)


# ---------------------------------------------------------------- training


def test_training_steps_alone_multiply_in_tf32(
    tiny_model_dir, tiny_tokenizer, articles, tmp_path, monkeypatch
):
    backend, seen = torch.backends.cuda.matmul, []
    before = backend.fp32_precision
    args = script.parse(["--device", "cpu", "--max_steps", "2", "--batch_size", "2"])
    encoded = examples.encode(articles[:4], tiny_tokenizer, max_length=320)
    for tf32 in (True, False):
        trainer = training.SummaryTrainer(
            opening.load_model(tiny_model_dir, torch.float32, device="cpu"),
            tiny_tokenizer,
            settings=training.settings(
                tmp_path,
                0,
                device=devices.Device("cpu"),
                gradient_checkpointing=False,
                **training.options_of(vars(args)),
            ),
            train=encoded.data,
            validation=encoded.data,
            tf32=tf32,
        )
        trainer.model.transformer.h[0].register_forward_hook(
            lambda *_: seen.append(backend.fp32_precision)
        )
        training.fine_tune(trainer)
        trainer.evaluate()
    assert seen == ["tf32"] * 2 + [before] * (len(seen) - 2)
    assert len(seen) == 6 and before != "tf32" and backend.fp32_precision == before


def one_step(model, encoded, tokenizer, folder, **more):
    more |= {
        "train_sampling_strategy": "sequential",
        "optim": "sgd",
        "learning_rate": 1.0,
        "max_steps": 1,
        "max_grad_norm": 0.0,
    }
    settings = TrainingArguments(
        str(folder),
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **more,
    )
    model.config.update({"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    training.fine_tune(
        training.SummaryTrainer(model, tokenizer, settings=settings, train=encoded.data)
    )
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def test_accumulating_gradients_is_a_larger_batch(
    encoded, tiny_model_dir, tiny_tokenizer, tmp_path
):
    whole = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    parts = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    start = torch.cat([parameter.detach().flatten().clone() for parameter in whole.parameters()])
    after = one_step(whole, encoded, tiny_tokenizer, tmp_path, per_device_train_batch_size=4)
    again = one_step(
        parts,
        encoded,
        tiny_tokenizer,
        tmp_path,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
    )
    assert (after - start).norm() > 0.01
    assert (after - again).norm() < 1e-4 * (after - start).norm()


def test_a_run_keeps_its_schedule_and_its_folder_is_a_model(finished, tiny_model_dir):
    assert [path.name for path in checkpoints.complete_checkpoints(finished)] == [
        f"checkpoint-{step}" for step in (0, 1, 3, 5)
    ]
    result = json.loads((finished / "training.json").read_text())
    assert [row["step"] for row in result["validation"]] == result["checkpoints"] == [0, 1, 3, 5]
    assert [row["step"] for row in result["loss"]] == [1, 3, 5]
    assert "seconds" not in json.dumps(result)
    assert str(finished.parent) not in json.dumps(result)
    for folder, other in (
        (finished, finished / "checkpoint-5"),
        (finished / "checkpoint-0", Path(tiny_model_dir)),
    ):
        ours, theirs = (
            load_file(folder / "model.safetensors"),
            load_file(other / "model.safetensors"),
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not list(finished.rglob("*.bin"))
    run(finished, tiny_model_dir)  # up to date
    with pytest.raises(InputError, match="--overwrite"):
        run(finished, tiny_model_dir, "--learning_rate", "3e-3")


@pytest.mark.parametrize("last_words", [1, 3, 5])
def test_an_interrupted_run_ends_bit_for_bit_as_an_uninterrupted_one(
    last_words, finished, tiny_model_dir, tmp_path, monkeypatch
):
    save = Trainer._save_optimizer_and_scheduler

    def die(self, folder):
        if self.state.global_step == last_words:
            raise KeyboardInterrupt
        save(self, folder)

    out = tmp_path / "interrupted"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_save_optimizer_and_scheduler", die)
        run(out, tiny_model_dir)
    assert not (out / f"checkpoint-{last_words}").exists()  # half written, so not there
    run(out, tiny_model_dir)
    names = {
        path.relative_to(finished)
        for path in finished.rglob("*")
        if path.is_file() and "run." not in path.name
    }
    assert names == {
        path.relative_to(out)
        for path in out.rglob("*")
        if path.is_file() and "run." not in path.name
    }
    assert [
        name for name in names if (finished / name).read_bytes() != (out / name).read_bytes()
    ] == []


def test_batches_of_similar_length_are_the_same_ones_after_an_interruption_in_a_later_epoch(
    tiny_model_dir, tmp_path, monkeypatch
):
    words = [
        "--train_sampling_strategy",
        "group_by_length",
        "--max_steps",
        "11",
        "--checkpoint_steps",
        "0,9",
    ]  # 8 steps an epoch
    run(tmp_path / "whole", tiny_model_dir, *words)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            training.SummaryTrainer,
            "save_final",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        run(tmp_path / "stopped", tiny_model_dir, *words)
    shutil.rmtree(tmp_path / "stopped" / "checkpoint-11")
    run(tmp_path / "stopped", tiny_model_dir, *words)
    assert (tmp_path / "stopped" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_a_run_whose_last_step_is_saved_takes_no_further_step(
    finished, tiny_model_dir, tmp_path, monkeypatch
):
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            training.SummaryTrainer,
            "save_final",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        run(out, tiny_model_dir)
    run(out, tiny_model_dir)
    assert (out / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_resuming_from_what_is_no_checkpoint_of_ours_is_refused(tiny_model_dir, tmp_path):
    for path in (["--resume_from_checkpoint"], ["--resume_from_checkpoint", tiny_model_dir]):
        with pytest.raises(InputError, match="expected a checkpoint folder"):
            run(tmp_path / "out", tiny_model_dir, *path)


@pytest.mark.parametrize(
    "words",
    [
        ["--max_steps", "6"],
        ["--max_steps", "4"],
        ["--batch_size", "4"],
        ["--learning_rate", "3e-3"],
        ["--gradient_accumulation_steps", "2"],
        ["--lr_scheduler_type", "constant"],
        ["--seed", "1"],
        ["--subset_train_size", "12"],
        ["--checkpoint_steps", "0,3"],
    ],
)
@pytest.mark.parametrize("step", [3, 5])
def test_a_checkpoint_of_another_training_is_refused_before_anything_starts(
    words, step, finished, tiny_model_dir, tmp_path
):
    """Also of a finished run: nothing would be trained, and the record would say that it was."""
    resume = ["--resume_from_checkpoint", str(finished / f"checkpoint-{step}")]
    with pytest.raises(InputError, match=f"same training, got one with {words[0]}"):
        run(tmp_path / "out", tiny_model_dir, *words, *resume)
    assert not (tmp_path / "out").exists()


def test_another_model_shape_or_other_weights_are_refused(finished, tiny_model_dir, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    model.transformer.ln_f.bias.data[0] += 1
    model.save_pretrained(tmp_path / "other")
    config = model.config
    config.n_embd = 64
    type(model)(config).save_pretrained(tmp_path / "wide")
    for name in ("other", "wide"):
        for file in Path(tiny_model_dir).glob("tokenizer*"):
            shutil.copy(file, tmp_path / name)
        resume = ["--resume_from_checkpoint", str(finished / "checkpoint-3")]
        with pytest.raises(InputError, match="another model"):
            run(tmp_path / "out", tmp_path / name, *resume)
    wide = AutoModelForCausalLM.from_pretrained(tmp_path / "wide")
    with pytest.raises(InputError, match="expected the weights of this model"):
        resuming.require_weights_of(finished / "checkpoint-3", wide)


def test_a_run_of_more_processes_is_another_run(monkeypatch):
    assert "processes" not in resuming.identity_of(vars(script.parse([])))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert resuming.identity_of(vars(script.parse([])))["processes"] == 2


@pytest.mark.parametrize("step", [3, 5])
def test_resuming_the_same_training_elsewhere_ends_as_it_did(
    step, finished, tiny_model_dir, tmp_path, capsys
):
    """Also with what may change: where it lies, and how many examples are evaluated at a time."""
    run(
        tmp_path / "out",
        tiny_model_dir,
        "--resume_from_checkpoint",
        str(finished / f"checkpoint-{step}"),
        "--per_device_eval_batch_size",
        "3",
    )
    ours = load_file(tmp_path / "out" / "model.safetensors")
    theirs = load_file(finished / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    result = json.loads((tmp_path / "out" / "training.json").read_text())
    left = [path.name for path in sorted((tmp_path / "out").glob("checkpoint-*"))]
    assert [f"checkpoint-{step}" for step in result["checkpoints"]] == left
    warnings = capsys.readouterr().err
    assert f"note: checkpoints up to checkpoint-{step} stay in {finished}" in warnings
    assert warnings.count("is the last step of its run: nothing is left to train") == (step == 5)


def test_a_torn_checkpoint_is_one_line_and_other_folders_are_no_checkpoints(
    finished, tiny_model_dir, tmp_path
):
    def torn(name, file, change):
        shutil.copytree(finished, tmp_path / name)
        path = tmp_path / name / "checkpoint-3" / file
        path.write_bytes(change(path.read_bytes()))
        return ["--resume_from_checkpoint", str(tmp_path / name / "checkpoint-3")]

    for name, words in {
        "state": torn("state", "trainer_state.json", lambda data: data[:1]),
        "step": torn("step", "trainer_state.json", lambda c: c.replace(b'_step": 3', b'_step": 1')),
        "optimizer": torn("optimizer", "optimizer.pt", lambda data: data[:-100]),
        "weights": torn("weights", "model.safetensors", lambda data: data[:-100]),
        "random": torn("random", "rng_state.pth", lambda data: data[:-100]),
        "empty": torn("empty", "rng_state.pth", lambda data: b""),
        "gone": torn("gone", "rng_state.pth", lambda data: data),
        "config": torn("config", "config.json", lambda data: data[:100]),
    }.items():
        if name == "gone":  # Trainer would go on with other dropout, in silence
            (tmp_path / "gone" / "checkpoint-3" / "rng_state.pth").unlink()
        with pytest.raises(InputError, match="earlier one"):
            run(tmp_path / f"{name}-out", tiny_model_dir, *words)
    copy = tmp_path / "copy" / finished.name
    shutil.copytree(finished, copy)
    for other in ("checkpoint-best", "checkpoint-9-old"):
        shutil.copytree(finished / "checkpoint-1", copy / other)
    (copy / "training.png").unlink()
    run(copy, tiny_model_dir, "--resume_from_checkpoint")
    complete = [path.name for path in checkpoints.complete_checkpoints(copy)]
    assert complete == [f"checkpoint-{step}" for step in (0, 1, 3, 5)]
    assert (copy / "training.png").is_file()


def test_a_loss_that_is_not_finite_stops_the_run(tiny_model_dir, tmp_path):
    with pytest.raises(InputError, match="lower --learning_rate"):
        run(tmp_path / "out", tiny_model_dir, "--learning_rate", "1e30")


# ---------------------------------------------------------------- what else Trainer's users expect


def losses(folder):
    return [row["loss"] for row in json.loads((folder / "training.json").read_text())["loss"]]


def test_bf16_runs_and_stays_near_float32(finished, tiny_model_dir, tmp_path):
    out = tmp_path / "out"
    run(out, tiny_model_dir, "--bf16")
    assert losses(out) == pytest.approx(losses(finished), rel=0.02) and losses(out) != losses(
        finished
    )
    assert load_file(out / "model.safetensors")["transformer.wte.weight"].dtype == torch.float32


def test_gradient_checkpointing_changes_no_result(finished, tiny_model_dir, tmp_path):
    out = tmp_path / "out"
    run(out, tiny_model_dir, "--gradient_checkpointing")
    assert losses(out) == pytest.approx(losses(finished), rel=1e-5)
    ours = load_file(out / "model.safetensors")
    theirs = load_file(finished / "model.safetensors")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in theirs)


def test_early_stopping_is_off_by_default_and_stops_when_asked(tiny_model_dir, tmp_path):
    """With a rate of 0 no evaluation is better than the first."""
    for name, flags, steps in (
        ("off", [], [0, 1, 3, 5]),
        ("on", ["--early_stopping_patience", "1"], [0, 1]),
    ):
        run(tmp_path / name, tiny_model_dir, "--learning_rate", "0", *flags)
        assert json.loads((tmp_path / name / "training.json").read_text())["checkpoints"] == steps
        assert (tmp_path / name / "model.safetensors").is_file()


@pytest.mark.parametrize("words", [
    ("--probe_examples", "-1"), ("--max_steps", "0"), ("--num_train_epochs", "0"),
    ("--learning_rate", "nan"), ("--weight_decay", "-1"),
])  # fmt: skip
def test_numbers_that_cannot_be_trained_with_are_refused_in_one_line(words, refused):
    refused(script.parse, words)


@pytest.mark.parametrize(("device", "visible", "now"), [
    ("cuda:1", None, "1"), ("cuda:1", "4,6", "6"), ("cuda", "4,6", "4,6"), ("cpu", "4,6", "4,6"),
])  # fmt: skip
def test_a_gpu_by_number_becomes_the_only_one_that_trainer_sees(device, visible, now, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    args = script.parse(["--device", device])
    given = script.devices.only_this_gpu(args.device)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == now
    assert given == device.partition(":")[0]


@pytest.mark.parametrize(
    ("name", "value"), [("WORLD_SIZE", "2"), ("CUDA_VISIBLE_DEVICES", "0,1,2")]
)
def test_a_gpu_that_cannot_be_had_is_refused(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="--device cuda:3: expected"):
        script.devices.only_this_gpu("cuda:3")


@pytest.mark.slow
def test_two_processes_of_torchrun_train_as_one_with_twice_the_batch(
    tiny_model_dir, torchrun, tmp_path
):
    words = [
        "--model_path",
        tiny_model_dir,
        "--dataset",
        "demo",
        "--subset_train_size",
        "16",
        "--validation_size",
        "4",
        "--max_steps",
        "3",
        "--checkpoint_steps",
        "0,2",
        "--probe_examples",
        "0",
        "--device",
        "cpu",
        "--quiet",
        "--train_sampling_strategy",
        "sequential",
    ]
    for start, size, name in (
        (torchrun(script.__file__), "2", "two"),
        ([sys.executable, script.__file__], "4", "one"),
    ):
        done = subprocess.run(
            [*start, *words, "--batch_size", size, "--output_dir", str(tmp_path / name)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    assert [path.name for path in checkpoints.complete_checkpoints(tmp_path / "two")] == [
        "checkpoint-0",
        "checkpoint-2",
        "checkpoint-3",
    ]
    nll = [
        [
            row["nll_nats_per_token"]
            for row in json.loads((tmp_path / name / "training.json").read_text())["validation"]
        ]
        for name in ("one", "two")
    ]
    assert nll[0] == pytest.approx(nll[1], abs=0.02)  # dropout draws differ


# ---------------------------------------------------------------- loading


def test_a_folder_that_lacks_weights_is_no_model(tiny_model_dir, tmp_path):
    folder = tmp_path / "torn"
    shutil.copytree(tiny_model_dir, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="1 are missing, such as transformer.h.1.mlp.c_fc.weight"):
        opening.load_model(str(folder), torch.float32, device="cpu")


def test_a_damaged_model_folder_is_one_line(tiny_model_dir, tmp_path):
    def damaged(name, file, change):
        shutil.copytree(tiny_model_dir, tmp_path / name)
        path = tmp_path / name / file
        path.write_bytes(change(path.read_bytes()))
        return str(tmp_path / name)

    cut = damaged("cut", "model.safetensors", lambda data: data[:-100])
    other = damaged(
        "other", "config.json", lambda data: data.replace(b'"n_embd": 48', b'"n_embd": 32')
    )
    opt = damaged("opt", "config.json", lambda data: data.replace(b'"gpt2"', b'"opt"'))
    broken = damaged("broken", "config.json", lambda data: data[:20])
    for folder, message in (
        (cut, "SafetensorError"),
        (other, "of the shapes in its config"),
        (opt, "type gpt2, llama, qwen2, qwen3, gpt_neox, gemma2, got opt"),
        (broken, "config.json"),
    ):
        with pytest.raises(InputError, match=message):
            opening.load_model(folder, torch.float32, device="cpu")
    with pytest.raises(InputError, match="expected a tokenizer"):
        opening.load_tokenizer(damaged("words", "tokenizer.json", lambda data: data[:20]))


def test_a_loaded_model_computes_what_transformers_computes_and_is_saved_under_the_same_name(
    tiny_model_dir, tmp_path
):
    plain = AutoModelForCausalLM.from_pretrained(tiny_model_dir).double().eval()
    loaded = opening.load_model(tiny_model_dir, torch.float64, device="cpu")
    assert isinstance(loaded.transformer.h[0].mlp.act, torch.nn.GELU)
    ids = torch.arange(40)[None]
    torch.testing.assert_close(
        loaded(ids, attention_mask=ids >= 0).logits, plain(ids).logits, atol=1e-13, rtol=0
    )
    loaded.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["activation_function"] == "gelu_new"


def test_loading_and_reading_say_nothing(tiny_model_dir, tiny_tokenizer, capfd):
    model = opening.load_model(tiny_model_dir, torch.float32, device="cpu")
    model(
        torch.tensor([[5, 6, tiny_tokenizer.eos_token_id]])
    )  # transformers would ask for an attention mask
    opening.load_tokenizer(tiny_model_dir)
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- latents


def test_latents_are_what_the_final_norm_reads_and_leave_the_first_token_out(
    finished, encoded, tmp_path
):
    model = AutoModelForCausalLM.from_pretrained(finished / "checkpoint-3").eval()
    saved = load_file(finished / "latents" / "checkpoint-3.safetensors")
    layers, tokens, width = saved["streams"].shape
    assert (layers, tokens, width) == (3, 2 * 8, 48)
    assert saved["position"].min() >= 1
    ids = encoded.data[0]["input_ids"]
    streams = latents.streams(model, ids)
    states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    torch.testing.assert_close(model.transformer.ln_f(streams[-1]), states[-1][0])
    torch.testing.assert_close(streams[:-1], torch.cat(states[:-1]))
    chosen = latents.probe([ids], per_example=3)
    assert chosen.positions[0].tolist() == [1, round(len(ids) / 2), len(ids) - 1]
    latents.save(tmp_path / "one.safetensors", model, chosen=chosen)
    torch.testing.assert_close(
        load_file(tmp_path / "one.safetensors")["streams"], streams[:, chosen.positions[0]]
    )
