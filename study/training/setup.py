"""Everything that a fine-tuning run needs: model, data, trainer with a schedule of checkpoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from runs import checkpoints, devices, forecast, opening
from runs.settings import ReadsArticles
from study.differential import latents
from summarization import corpus, examples, prompt, training


@dataclass(frozen=True)
class Settings(ReadsArticles):
    """What is trained on what, and when it is kept: flags of the script, by their names."""

    options: dict  # `TrainingArguments` of their names
    model_path: str
    dataset: str
    output_dir: str
    seed: int
    subset_train_size: int
    max_examples: int | None  # beside subset_train_size; None: no limit
    validation_size: int
    checkpoint_schedule: str  # log or even
    num_checkpoints: int  # of the schedule
    checkpoint_steps: list[int] | None  # in place of a schedule
    probe_examples: int  # of the latents; 0: none
    probe_positions: int
    early_stopping_patience: int  # evaluations; 0: never
    per_device_eval_batch_size: int
    gradient_checkpointing: bool
    bf16: bool
    tf32: bool
    prompt: str
    instruction: str
    max_length: int  # tokens of prompt and summary; 0: the model's context

    @classmethod
    def of(cls, flags: dict, **others) -> Self:
        """The settings among a script's flags, those of `TrainingArguments` in `options`."""
        return super().of(flags, options=training.options_of(flags), **others)

    @property
    def precision(self) -> training.Precision:
        """What training multiplies in."""
        return training.Precision(self.device, self.bf16, self.tf32)


class Opened(NamedTuple):
    """A model to train, its tokenizer, which tells the template, and tokens of a row at most."""

    model: Any  # of transformers
    tokenizer: Any
    template: prompt.Template
    length: int


def open_for_training(settings) -> Opened:
    """What texts are trained on, of settings with `model_path`, `device`, `max_length`, `prompt`
    and `instruction`. Raises InputError.

    The tokenizer tells the template, so that whatever is saved with it does.
    """
    model, tokenizer = opening.open_for_texts(
        settings.model_path, settings.device.torch_dtype, device="cpu"
    )
    length = prompt.row_length(
        settings.max_length, model.config, tokenizer=tokenizer, name=settings.model_path
    )
    template = prompt.template(
        tokenizer,
        settings.prompt,
        instruction=settings.instruction,
        generation=model.generation_config,
    )
    prompt.record_in(tokenizer, template)
    return Opened(model, tokenizer, template, length)


def prepare(settings: Settings):
    """(the trainer, what training.json says of model and data). Raises InputError."""
    arguments = training.settings(
        settings.output_dir,
        settings.seed,
        device=settings.device,
        gradient_checkpointing=settings.gradient_checkpointing,
        per_device_eval_batch_size=settings.per_device_eval_batch_size,
        **settings.options,
    )
    devices.seed_everything(settings.seed)
    model, tokenizer, template, length = open_for_training(settings)
    train, validation = encoded(settings, tokenizer, length=length, template=template)
    facts = {
        "model": Path(settings.model_path).name,
        "dataset": corpus.label(settings.dataset),
        "prompt": template.record(),
        "seed": settings.seed,
        "matrix_products": settings.precision.products,
        "examples": {"train": train.counts(), "validation": validation.counts()},
    }
    trainer = training.SummaryTrainer(
        model,
        tokenizer,
        settings=arguments,
        train=train.data,
        validation=validation.data,
        tf32=settings.precision.uses_tf32,
    )
    trainer.on_checkpoint = latents_writer(settings, validation.data)
    schedule = settings.checkpoint_steps or settings.checkpoint_schedule
    trainer.add_callback(
        training.Schedule(
            trainer,
            lambda last: training.checkpoint_steps(schedule, last, n=settings.num_checkpoints),
            patience=settings.early_stopping_patience,
        )
    )
    trainer.add_callback(
        training.Bar(
            lambda total: settings.console.progress(
                None,
                "training",
                total=total,
                ahead=ahead(settings, model, schedule=schedule, last=total),
            )
        )
    )
    return trainer, facts


def ahead(settings: Settings, model, *, schedule, last: int):
    """The forecast.Ahead of training to step `last`: a checkpoint holds weights and two moments."""
    folder = Path(settings.output_dir)
    steps = training.checkpoint_steps(schedule, last, n=settings.num_checkpoints)
    missing = [step for step in steps if not checkpoints.folder_of(step, folder).is_dir()]
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return forecast.Ahead(
        steps=last, written_bytes=weights * (3 * len(missing) + 1), folder=str(folder)
    )


def encoded(settings: Settings, tokenizer, *, length: int, template):
    """The training and the validation examples; prints how many were shortened or dropped."""
    n_train = min(settings.subset_train_size, settings.max_examples or settings.subset_train_size)
    *parts, note = examples.load_disjoint(
        settings.dataset,
        "validation",
        n_train=n_train,
        n_other=settings.validation_size,
        seed=settings.seed,
        columns=settings.columns,
    )
    if note:
        settings.console.say(note)
    parts = dict(zip(("training", "validation"), parts, strict=True))
    return [
        _encoded(settings, what, rows=rows, reading=(tokenizer, length, template))
        for what, rows in parts.items()
    ]


def _encoded(settings: Settings, what: str, *, rows, reading: tuple) -> examples.Encoded:
    """Rows as examples; `reading` is (tokenizer, tokens of a row at most, template)."""
    tokenizer, length, template = reading
    made = examples.encode(
        rows,
        tokenizer,
        max_length=length,
        progress=lambda rows: settings.console.progress(rows, f"{what} tokens"),
        template=template,
    )
    settings.console.detail(made.describe(what))
    return made


def latents_writer(settings: Settings, validation):
    """A function of (step, model) that saves the probe set's residual streams; None without one."""
    if not settings.probe_examples:
        return None
    chosen = latents.probe(
        validation[: settings.probe_examples]["input_ids"], settings.probe_positions
    )
    folder = Path(settings.output_dir) / "latents"
    return lambda step, model: latents.save(
        checkpoints.folder_of(step, folder).with_suffix(".safetensors"), model, chosen=chosen
    )
