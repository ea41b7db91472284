"""One arm of the bake-off with one seed: train, write summaries, score, keep it in its folder.

Before its first seed, an arm's learning rate is chosen by a sweep of short runs, judged on
validation examples.
"""

import json
import math
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from eap import InputError
from eap.resampling import mean_interval
from runs import adapters, devices, disk, hub, opening, records
from study.bakeoff import arms, lora
from study.bakeoff.data import Data
from study.bakeoff.settings import Settings
from study.quality import numbers as quality
from summarization import examples, generation, training


class Trial(NamedTuple):
    """An arm with a seed: what is trained how, and where it is kept.

    The configuration tells whether it has been done.
    """

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
        return disk.read_json(path, "configuration of an arm") if path.is_file() else None


def plan_trials(
    settings: Settings,
    placement: arms.Placement,
    *,
    chosen: list[lora.Arm],
    data: Data,
    shapes,
    budget: int | None,
) -> tuple[list[Trial], dict[str, str]]:
    """(every chosen arm with every seed, `none` once; {arm that the model has no layers for: why}).

    Such an arm is an InputError instead if it was asked for by name.
    """
    trials, left_out = [], {}
    for arm in chosen:
        try:
            if arm.method == "adalora":
                require_schedule(settings, arm, data=data)
            plans = {
                seed: arms.plan_of(placement, arm, shapes=shapes, budget=budget, seed=seed)
                for seed in placement.seeds_of(arm)
            }
        except InputError as error:
            if placement.arms:
                raise InputError(f"--arms {arm.name}: {error}") from error
            left_out[arm.name] = str(error)
            continue
        trials += [
            trial(settings, arm, seed=seed, plan=plan, data=data) for seed, plan in plans.items()
        ]
    return trials, left_out


def trial(
    settings: Settings, arm: lora.Arm, *, seed: int, plan: lora.Plan | None, data: Data
) -> Trial:
    """The trial of an arm and a seed with its full configuration.

    The learning rate stands there as the rates to choose from.
    """
    adapters = {"layers": plan.layers, "ranks": plan.ranks, "alphas": plan.alphas} if plan else {}
    config = {
        "format": 1,
        "arm": arm.name,
        "seed": seed,
        "method": arm.method,
        "cost_of_choice": arm.cost,
        **data.identity,
        "learning_rates": rates(settings, arm),
        "sweep_steps": sweep_steps(settings, data) if len(rates(settings, arm)) > 1 else None,
        **adapters,
        "settings": settings.recorded(),
    }
    return Trial(
        arm,
        seed,
        plan,
        Path(settings.output_dir) / arm.name / f"seed-{seed}",
        json.loads(json.dumps(config)),
    )


def total_steps(settings: Settings, n_examples: int) -> int:
    """Optimizer steps of a training run on one device, as Trainer counts them."""
    if settings.max_steps > 0:
        return settings.max_steps
    batch = settings.rows_at_a_time * settings.gradient_accumulation_steps
    return math.ceil(settings.num_train_epochs * math.ceil(n_examples / batch))


# ---------------------------------------------------------------- learning rate


def rates(settings: Settings, arm: lora.Arm) -> list[float]:
    """The learning rates that an arm's sweep tries, ascending.

    One means no sweep, none that nothing is trained.
    """
    if arm.method == "none":
        return []
    usual = settings.full_learning_rate if arm.method == "full" else settings.learning_rate
    middle = arm.learning_rate or usual
    return sorted({float(f"{middle * factor:.3g}") for factor in settings.lr_sweep or [1.0]})


def sweep_steps(settings: Settings, data: Data) -> int:
    """Optimizer steps of each run of a sweep: a share of the training's."""
    return max(1, round(settings.sweep_share * total_steps(settings, len(data.train.data))))


def require_schedule(settings: Settings, arm: lora.Arm, *, data: Data) -> None:
    """Raise InputError if an AdaLoRA arm has too few steps to give ranks away.

    Its training is looked at, and each run of its sweep.
    """
    lora.adalora_schedule(
        total_steps(settings, len(data.train.data)), "--max_steps, --num_train_epochs"
    )
    if len(rates(settings, arm)) > 1:
        lora.adalora_schedule(
            sweep_steps(settings, data), "--max_steps, --num_train_epochs, --sweep_share"
        )


def sweep_of(first: Trial) -> Trial:
    """The sweep of an arm as a trial with a folder of its own.

    It takes the layers and the seed of the arm's first trial.
    """
    return first._replace(folder=first.folder.parent / "sweep")


def choose_rate(settings: Settings, first: Trial, *, data: Data, ahead=None) -> float | None:
    """The learning rate of an arm, from its sweep, which runs unless it is done.

    None for the arm that trains nothing.
    """
    tried = first.config["learning_rates"]
    if len(tried) < 2:
        return tried[0] if tried else None
    this = sweep_of(first)
    if not this.done:
        sweep(settings, this, data=data, ahead=ahead)
    return disk.read_json(this.folder / "metrics.json")["learning_rate"]


def ahead(settings: Settings, trials: list[Trial], *, data: Data):
    """The forecast.Ahead of the trials that are not done: what they keep, and their steps.

    Those of their sweeps are among them; the summaries are not.
    """
    from runs import forecast

    steps = written = 0
    for this in trials:
        n_rates, folder = len(this.config["learning_rates"]), sweep_of(this).folder
        if this.done or not n_rates:
            continue
        steps += total_steps(settings, len(data.train.data))
        if n_rates > 1 and this.seed == settings.seed and not (folder / "metrics.json").is_file():
            steps += n_rates * sweep_steps(settings, data)
        if this.arm.method == "full":
            written += weights_bytes(settings.model_path)
    return forecast.Ahead(steps or None, written, settings.output_dir)


def weights_bytes(model_path: str) -> int:
    """What the weights of a model take on disk; 0 for one that lies in no folder."""
    files = Path(hub.resolve_model(model_path)).glob("*.safetensors")
    return sum(file.stat().st_size for file in files)


def sweep(settings: Settings, this: Trial, *, data: Data, ahead=None) -> None:
    """Train briefly with each rate, and write the one of the lowest mean validation NLL.

    All NLLs are written with it, into the sweep's folder; a rate whose loss becomes NaN or infinite
    has none. Raises InputError if no rate has one.
    """
    begin(this)
    started, steps = time.time(), this.config["sweep_steps"]
    tried = []
    for rate in this.config["learning_rates"]:
        bar = bar_of(settings, f"{this.arm.name}, learning rate {rate:g}", ahead=ahead)
        nll = validation_nll(settings, this, data=data, rate=rate, bar=bar)
        tried.append({"learning_rate": rate, "nll_nats": nll})
    finite = [entry for entry in tried if entry["nll_nats"]]
    if not finite:
        raise InputError(
            f"arm {this.arm.name}: every learning rate of its sweep diverges; lower "
            "--learning_rate, --full_learning_rate"
        )
    best = min(finite, key=lambda entry: entry["nll_nats"]["mean"])
    seconds = round(time.time() - started, 2)
    disk.write_json(this.folder / "run.json", {"format": 1, "sweep_seconds": seconds})
    metrics = {
        "format": 1,
        "learning_rate": best["learning_rate"],
        "tried": tried,
        "steps": steps,
        "at_the_edge": best in (tried[0], tried[-1]),
    }
    disk.write_json(this.folder / "metrics.json", metrics)


def validation_nll(settings: Settings, this: Trial, *, data: Data, rate: float, bar) -> dict | None:
    """The mean validation NLL after a sweep's short training, with its interval.

    None where the loss becomes NaN or infinite.
    """
    if data.validation is None:
        raise ValueError("expected validation examples for a sweep, there are none")
    devices.seed_everything(this.seed)
    try:
        model, _ = train(
            settings, this, data=data, rate=rate, bar=bar, max_steps=this.config["sweep_steps"]
        )
        nll = finite_nll(settings, model, part=data.validation, tokenizer=data.tokenizer)
    except training.Diverged:
        return None
    return mean_interval(nll, settings.seed)


def bar_of(settings: Settings, what: str, *, ahead=None):
    """A function that makes the progress bar of a training from its number of steps."""
    return lambda total: settings.console.progress(None, what, total=total, ahead=ahead)


# ---------------------------------------------------------------- a trial


class PeakMemory:
    """Peak memory in GB from its creation on: of the GPU, or of this process.

    Where the system cannot start anew it is since the process started.
    """

    def __init__(self):
        self.of = "the GPU, this arm" if torch.cuda.is_available() else "the process, this arm"
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            try:
                # Linux: VmHWM starts anew from what is resident now
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                self.of = "the process so far"

    def gb(self) -> float:
        """The peak up to now."""
        if self.of == "the GPU, this arm":
            return round(torch.cuda.max_memory_allocated() / 1e9, 3)
        return devices.peak_memory_gb()


def begin(this: Trial) -> None:
    """Write the configuration, after removing what an earlier one left.

    So no result ever stands beside another configuration.
    """
    for name in ("metrics.json", "run.json", "texts.jsonl"):
        (this.folder / name).unlink(missing_ok=True)
    for name in ("adapter", "model"):
        shutil.rmtree(this.folder / name, ignore_errors=True)
    disk.write_json(this.folder / "config.json", this.config)


def run(settings: Settings, this: Trial, *, data: Data, rate: float | None, ahead=None) -> None:
    """Train the trial's model, judge it, and write its folder; metrics.json marks it as done.

    Raises Diverged, which names arm and seed.
    """
    try:
        _run(settings, this, data=data, rate=rate, ahead=ahead)
    except training.Diverged as error:
        raise training.Diverged(f"arm {this.arm.name}, seed {this.seed}: {error}") from error


def _run(settings: Settings, this: Trial, *, data: Data, rate: float | None, ahead) -> None:
    """`run`, without the name on its errors."""
    begin(this)
    peak = PeakMemory()
    devices.seed_everything(this.seed)
    started = time.time()
    if rate is None:  # the arm that trains nothing
        device, trainable = settings.device, 0
        model = opening.load_model(
            settings.model_path, device.torch_dtype, device=device.torch_device
        )
    else:
        bar = bar_of(settings, f"{this.arm.name}, seed {this.seed}", ahead=ahead)
        model, trainable = train(settings, this, data=data, rate=rate, bar=bar)
    # Before saving and judging, whose cache would be in the peak.
    training_seconds, peak_gb = time.time() - started, peak.gb()
    if trainable:
        keep(settings, this, model=model, data=data)
    trained = time.time()
    judged = model.merge_and_unload() if this.plan else model
    texts = judge(settings, this.arm.name, model=judged, data=data)
    disk.write_jsonl(this.folder / "texts.jsonl", texts)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    record = {
        "format": 1,
        "training_seconds": round(training_seconds, 2),
        "evaluation_seconds": round(time.time() - trained, 2),
        "peak_memory_gb": peak_gb,
        "peak_memory_is_of": peak.of,
        "matrix_products": settings.precision.products,
        "versions": records.versions(),
        "git_commit": records.git_commit(),
    }
    disk.write_json(this.folder / "run.json", record)
    metrics = {
        "format": 1,
        "learning_rate": rate,
        "trainable": trainable,
        "parameters": n_parameters,
        "trainable_percent": 100 * trainable / n_parameters,
        **means_of(texts),
    }
    disk.write_json(this.folder / "metrics.json", metrics)


def means_of(texts: list[dict]) -> dict[str, float]:
    """{measure: its mean} over rows of texts."""
    measures = [name for name in texts[0] if name not in ("id", "summary", "ended")]
    return {name: float(np.mean([row[name] for row in texts])) for name in measures}


def train(
    settings: Settings, this: Trial, *, data: Data, rate: float, bar, max_steps: int | None = None
):
    """(the trained model, with its adapters; its number of trainable parameters).

    After `max_steps`, or all steps; `bar` makes a progress bar from their number.
    """
    model = opening.load_model(settings.model_path, settings.device.torch_dtype, device="cpu")
    if this.plan:
        steps = max_steps or total_steps(settings, len(data.train.data))
        model = lora.wrap(model, this.plan, total_steps=steps)
    trainable = lora.trainable_parameters(model)
    options = training.options_of(vars(settings))
    options |= {"learning_rate": rate, "max_steps": max_steps or settings.max_steps}
    arguments = training.settings(
        this.folder,
        this.seed,
        device=settings.device,
        gradient_checkpointing=settings.gradient_checkpointing,
        **options,
    )
    trainer = training.SummaryTrainer(
        model,
        data.tokenizer,
        settings=arguments,
        train=data.train.data,
        tf32=settings.precision.uses_tf32,
    )
    trainer.add_callback(training.Bar(bar))
    if this.arm.method == "adalora":
        trainer.add_callback(Allocate(model))
    training.fine_tune(trainer)
    return trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False), trainable


def keep(settings: Settings, this: Trial, *, model, data: Data) -> None:
    """Save the adapter, or the whole model with its tokenizer, in the trial's folder."""
    with disk.atomic(this.folder / ("adapter" if this.plan else "model")) as folder:
        if this.plan:
            lora.save_adapter(model, folder, base=opening.base_name(settings.model_path))
            adapters.record_base(folder, settings.model_path, prompt=data.template.record())
        else:
            model.save_pretrained(folder)
            data.tokenizer.save_pretrained(folder)


class Allocate(training.TrainerCallback):
    """Moves AdaLoRA's ranks to where they matter, after each step, while gradients are there."""

    def __init__(self, model):
        self.model = model

    def on_optimizer_step(self, arguments, state, control, **kwargs):
        self.model.base_model.update_and_allocate(state.global_step)


def judge(settings: Settings, name: str, *, model, data: Data) -> list[dict]:
    """A row per test text: the summary, its ROUGE, length, end, copy rate, the reference's NLL."""
    nll = finite_nll(settings, model, part=data.test, tokenizer=data.tokenizer)
    articles = list(data.rows["article"])
    options = generation.Options(
        settings.max_new_tokens,
        settings.min_new_tokens,
        settings.num_beams,
        settings.batch_size,
        data.max_length,
    )
    made = generation.generate(
        model,
        articles,
        options=options,
        tokenizer=data.tokenizer,
        template=data.template,
        progress=lambda batches: settings.console.progress(batches, f"{name}: summaries"),
    )
    system = quality.System(name, "model", [summary.text for summary in made])
    quality.measure([system], articles, references=list(data.rows["highlights"]))
    values = system.values | {
        "tokens": np.array([summary.n_tokens for summary in made], dtype=float),
        "ended_percent": np.array([100 * summary.ended for summary in made], dtype=float),
        "nll_nats": np.asarray(nll, dtype=float),
    }
    columns = {measure: column.tolist() for measure, column in values.items()}
    rows = []
    for place, (name, summary) in enumerate(zip(data.rows["id"], made, strict=True)):
        measures = {measure: column[place] for measure, column in columns.items()}
        rows.append({"id": name, "summary": summary.text, **measures})
    return rows


def finite_nll(settings: Settings, model, *, part: examples.Encoded, tokenizer) -> np.ndarray:
    """`examples.summary_nll` of a part of the data.

    Raises Diverged if a number is not finite: the last update can break a model.
    """
    nll = examples.summary_nll(
        model, part.data, tokenizer=tokenizer, batch_size=settings.rows_at_a_time
    )
    if not np.isfinite(nll).all():
        raise training.Diverged(
            "the trained model's NLL is not finite; lower --learning_rate or --full_learning_rate"
        )
    return nll


def run_all(settings: Settings, trials: list[Trial], *, data: Data) -> None:
    """Run every trial that is not done, each with its arm's learning rate."""
    firsts = {this.arm.name: this for this in reversed(trials)}
    for number, this in enumerate(trials, start=1):
        note = ": finished before" if this.done else ""
        settings.console.detail(f"{number}/{len(trials)} {this.arm.name}, seed {this.seed}{note}")
        if not this.done:
            to_come = ahead(settings, trials[number - 1 :], data=data)
            rate = choose_rate(settings, firsts[this.arm.name], data=data, ahead=to_come)
            run(settings, this, data=data, rate=rate, ahead=to_come)


def require_unchanged(trials: list[Trial], overwrite: bool) -> None:
    """Raise InputError if a folder holds a trial of another configuration, but for `overwrite`."""
    first = {this.arm.name: this for this in reversed(trials)}  # a sweep has its arm's first seed
    changed = [this for this in [*trials, *map(sweep_of, first.values())] if this.changed]
    if changed and not overwrite:
        raise InputError(
            f"{changed[0].folder} holds an arm of another configuration; add --overwrite to run it "
            "again, or choose another --output_dir"
        )
