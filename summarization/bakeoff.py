"""One arm of the bake-off with one seed: train, write summaries, score, keep adapter, texts and numbers in a folder of its own."""

import hashlib
import json
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from eap import InputError
from summarization import examples, generation, hub, lora, quality, runs, training

SETTINGS = ("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "warmup_steps", "weight_decay",
            "lr_scheduler_type", "bf16", "dtype", "max_new_tokens", "min_new_tokens", "num_beams")


class Data(NamedTuple):
    """What every arm trains on and is judged on, and what of it stands in each arm's configuration."""

    train: examples.Encoded
    test: examples.Encoded
    rows: object  # the test rows, as many as `test`
    tokenizer: object
    identity: dict


class Trial(NamedTuple):
    """An arm with a seed: what is trained how, where it is kept, and the configuration that tells whether it has been done."""

    arm: lora.Arm
    seed: int
    plan: lora.Plan | None
    folder: Path
    config: dict

    @property
    def done(self) -> bool:
        """Whether the folder holds the finished results of this very configuration."""
        return self._configured() == self.config and (self.folder / "metrics.json").is_file()

    @property
    def changed(self) -> bool:
        """Whether the folder holds something of another configuration."""
        return self._configured() not in (None, self.config)

    def _configured(self):
        path = self.folder / "config.json"
        return runs.read_json(path, "configuration of an arm") if path.is_file() else None


def trial(args, arm: lora.Arm, seed: int, plan: lora.Plan | None, data: Data) -> Trial:
    """The trial of an arm and a seed with its full configuration."""
    rate = arm.learning_rate or (args.full_learning_rate if arm.method == "full" else args.learning_rate)
    adapters = {"layers": plan.layers, "ranks": plan.ranks, "alphas": plan.alphas} if plan else {}
    config = {
        "format": 1, "arm": arm.name, "seed": seed, "method": arm.method, "cost_of_choice": arm.cost, **data.identity,
        "learning_rate": rate if arm.method != "none" else None, **adapters,
        "settings": {name: getattr(args, name) for name in SETTINGS} | {"batch_size": args.batch_size},
    }
    return Trial(arm, seed, plan, Path(args.output_dir) / arm.name / f"seed-{seed}", json.loads(json.dumps(config)))


def digest(values) -> str:
    """A short SHA-256 of a list of texts."""
    return hashlib.sha256("\n".join(values).encode()).hexdigest()[:16]


def total_steps(args, n_examples: int) -> int:
    """Optimizer steps of a training run on one device, as Trainer counts them."""
    batch = (args.batch_size or args.per_device_train_batch_size) * args.gradient_accumulation_steps
    return args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * math.ceil(n_examples / batch))


def run(args, this: Trial, data: Data) -> None:
    """Train the trial's model, judge it, and write its folder; metrics.json comes last and marks it as done."""
    runs.write_json(this.folder / "config.json", this.config)
    (this.folder / "metrics.json").unlink(missing_ok=True)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    runs.seed_everything(this.seed)
    started = time.time()
    model, trainable = train(args, this, data)
    trained = time.time()
    texts = judge(args, this.arm.name, model, data)
    runs.write_jsonl(this.folder / "texts.jsonl", texts)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    peak = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else runs.peak_memory_gb()
    runs.write_json(this.folder / "run.json", {
        "format": 1, "training_seconds": round(trained - started, 2), "evaluation_seconds": round(time.time() - trained, 2),
        "peak_memory_gb": round(peak, 3), "peak_memory_is": "of the GPU, this arm" if on_gpu else "of the process so far",
        "versions": runs.versions(), "git_commit": runs.git_commit(),
    })
    means = {name: float(np.mean([row[name] for row in texts])) for name in texts[0] if name not in ("id", "summary", "ended")}
    runs.write_json(this.folder / "metrics.json", {
        "format": 1, "trainable": trainable, "parameters": n_parameters, "trainable_percent": 100 * trainable / n_parameters, **means})


def train(args, this: Trial, data: Data):
    """(the trained model, adapters merged; number of trainable parameters). The adapter or model is saved in the trial's folder."""
    model = hub.load_model(args.model_path, runs.torch_dtype(args), "cpu")
    if this.arm.method == "none":
        return model.to(runs.torch_device(args)), 0
    if this.plan:
        model = lora.wrap(model, this.plan, total_steps(args, len(data.train.data)))
    trainable = lora.trainable_parameters(model)
    settings = training.settings(args, this.folder, this.seed, learning_rate=this.config["learning_rate"])
    trainer = training.SummaryTrainer(model, data.tokenizer, settings, data.train.data)
    trainer.add_callback(training.Bar(lambda total: runs.progress(None, args, f"{this.arm.name}, seed {this.seed}", total)))
    if this.arm.method == "adalora":
        trainer.add_callback(Allocate(model))
    training.fine_tune(trainer)
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    with runs.atomic(this.folder / ("adapter" if this.plan else "model")) as folder:
        if this.plan:
            lora.save_adapter(model, folder, args.model_path)
        else:
            model.save_pretrained(folder)
            data.tokenizer.save_pretrained(folder)
    return (model.merge_and_unload() if this.plan else model), trainable


class Allocate(training.TrainerCallback):
    """Moves AdaLoRA's ranks to where they matter, after each step, while the gradients are there."""

    def __init__(self, model):
        self.model = model

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.model.base_model.update_and_allocate(state.global_step)


def judge(args, name: str, model, data: Data) -> list[dict]:
    """A row per test text: the summary, its ROUGE, length, end, copy rate, and the NLL of the reference summary."""
    batch = args.batch_size or args.per_device_train_batch_size
    nll = examples.summary_nll(model, data.test.data, data.tokenizer, batch)
    articles = list(data.rows["article"])
    made = generation.generate(
        model, data.tokenizer, articles, args.max_new_tokens, args.batch_size, args.num_beams, args.min_new_tokens,
        progress=lambda batches: runs.progress(batches, args, f"{name}: summaries"),
    )
    system = quality.System(name, "model", [one.text for one in made])
    quality.measure([system], articles, list(data.rows["highlights"]))
    values = system.values | {"tokens": [one.n_tokens for one in made], "ended_percent": [100 * one.ended for one in made], "nll_nats": nll}
    columns = {measure: np.asarray(column, dtype=float).tolist() for measure, column in values.items()}
    return [
        {"id": row["id"], "summary": one.text} | {measure: column[index] for measure, column in columns.items()}
        for index, (row, one) in enumerate(zip(data.rows, made, strict=True))
    ]


def results(this: Trial) -> tuple[dict, list[dict], dict]:
    """(metrics, rows of texts, run record) of a finished trial."""
    texts = [json.loads(line) for line in (this.folder / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    return runs.read_json(this.folder / "metrics.json"), texts, runs.read_json(this.folder / "run.json")


def require_unchanged(trials: list[Trial], overwrite: bool) -> None:
    """Raise InputError if a folder holds a trial of another configuration and `--overwrite` was not given."""
    changed = [this for this in trials if this.changed]
    if changed and not overwrite:
        raise InputError(f"{changed[0].folder} holds an arm of another configuration; add --overwrite to run it again, "
                         "or choose another --output_dir")
