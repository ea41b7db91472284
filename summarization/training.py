"""Fine-tuning on summaries with Hugging Face's Trainer, on a schedule of whole checkpoints.

The loss falls on the summary and its end-of-text only. Reported likelihoods are
`examples.summary_nll`.
"""

import contextlib
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed.nn  # noqa: F401  before Trainer makes a process group: see shards.leave
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from eap import InputError
from eap.resampling import mean_interval
from runs import checkpoints, disk, opening
from runs.devices import Device
from summarization.examples import SummaryCollator, summary_nll

# Flags with the names of `TrainingArguments`; a script that has one hands it on.
TRAINER_FLAGS = (
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "warmup_steps",
    "weight_decay",
    "lr_scheduler_type",
    "optim",
    "max_grad_norm",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "label_smoothing_factor",
    "bf16",
    "train_sampling_strategy",
    "dataloader_num_workers",
    "logging_steps",
)
# A pickle that Trainer leaves beside the weights: it holds paths, and nobody reads it.
NOT_OURS = "training_args.bin"


# ---------------------------------------------------------------- schedule


def checkpoint_steps(schedule, max_steps: int, *, n: int) -> list[int]:
    """Steps of the checkpoints in ascending order, 0 and `max_steps` among them.

    `schedule` is "log" (0 and n-1 steps in geometric progression from 1 to max_steps), "even" (n
    equidistant steps) or a list of steps. Steps that round to the same number count once, so short
    runs get fewer. Raises InputError for a step past the end.
    """
    if schedule == "log":
        steps = [0, *np.geomspace(1, max_steps, max(n - 1, 1)).round().astype(int).tolist()]
    elif schedule == "even":
        steps = np.linspace(0, max_steps, n).round().astype(int).tolist()
    else:
        steps = schedule
        if max(steps) > max_steps:
            raise InputError(
                f"--checkpoint_steps: expected steps up to the last, {max_steps}, got {max(steps)}"
            )
    return sorted({0, *steps, max_steps})


class Schedule(TrainerCallback):
    """Logs, evaluates and saves at the chosen steps.

    Logging there too makes the loss curve of a resumed run the same.
    """

    def __init__(self, trainer, choose_steps, *, patience: int):
        self.trainer, self.choose_steps, self.patience = trainer, choose_steps, patience

    def on_train_begin(self, arguments, state, control, **kwargs):
        self.steps = set(self.choose_steps(state.max_steps))
        first = checkpoints.folder_of(0, arguments.output_dir)
        if state.global_step == 0 and not first.exists():
            self.trainer.evaluate()
            self.trainer._save_checkpoint(self.trainer.model, trial=None)

    def on_step_end(self, arguments, state, control, **kwargs):
        if state.global_step in self.steps:
            control.should_log = control.should_evaluate = control.should_save = True

    def on_evaluate(self, arguments, state, control, **kwargs):
        control.should_training_stop |= stopped_early(state.log_history, self.patience)


class Diverged(InputError):
    """The loss became NaN or infinite."""


class FiniteLoss(TrainerCallback):
    """Stops a run whose loss is NaN or infinite."""

    def on_log(self, arguments, state, control, logs=None, **kwargs):
        for name in ("loss", "grad_norm", "eval_nll"):
            value = (logs or {}).get(name, 0)
            if not math.isfinite(value):
                raise Diverged(
                    f"{name} is {value} at step {state.global_step}; lower --learning_rate or "
                    "raise --warmup_steps"
                )


class Bar(TrainerCallback):
    """A progress bar on stderr in place of Trainer's, which prints to stdout."""

    def __init__(self, make):
        self.make = make

    def on_train_begin(self, arguments, state, control, **kwargs):
        self.bar = self.make(state.max_steps)
        self.bar.update(state.global_step)

    def on_step_end(self, arguments, state, control, **kwargs):
        self.bar.update()

    def on_log(self, arguments, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None:
            self.bar.set_postfix(loss=f"{loss:.3f}")

    def on_train_end(self, arguments, state, control, **kwargs):
        self.bar.close()


def stopped_early(log_history: list[dict], patience: int) -> bool:
    """Whether the last `patience` validation NLLs are no better than the best before; 0: never."""
    nll = [entry["eval_nll"] for entry in log_history if "eval_nll" in entry]
    return 0 < patience < len(nll) and min(nll[-patience:]) >= min(nll[:-patience])


# ---------------------------------------------------------------- training


class SeededByEpoch(LengthGroupedSampler):
    """Batches of similar length, drawn anew in each epoch by a seed of its own.

    So a resumed run goes on with the same ones.
    """

    epoch, seed = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer as an epoch starts, and before it skips to where a run goes on."""
        self.epoch = epoch

    def __iter__(self):
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return super().__iter__()


class SummaryTrainer(Trainer):
    """Trainer that evaluates the summary NLL and whose checkpoints appear when they are whole.

    `on_checkpoint(step, model)`, if it is set, is called on the first process before a checkpoint
    gets its name. With `tf32` training steps, and nothing else, multiply float32 matrices in TF32.
    """

    on_checkpoint: Callable | None = None

    def __init__(self, model, tokenizer, *, settings, train, validation=None, tf32: bool = False):
        # Several devices are torchrun's; DataParallel would change the batch size unasked.
        settings._n_gpu = min(settings.n_gpu, 1)
        model.config.pad_token_id = tokenizer.pad_token_id
        super().__init__(
            model,
            settings,
            train_dataset=train,
            eval_dataset=validation,
            processing_class=tokenizer,
            data_collator=SummaryCollator(tokenizer),
        )
        self.staging, self.tf32, self.validation = None, tf32, validation
        self.remove_callback(PrinterCallback)
        self.add_callback(FiniteLoss())

    def training_step(self, *args, **kwargs) -> torch.Tensor:
        """Trainer's, in TF32 if asked for; evaluations stay as exact as in the other scripts."""
        with tf32_products(self.tf32):
            return super().training_step(*args, **kwargs)

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """{"eval_nll", "eval_nll_low", "eval_nll_high", "eval_nll_of_each"}: the mean over
        validation examples, its bootstrap interval, and the NLL of each.
        """
        if self.validation is None:
            raise ValueError("expected validation examples to evaluate on, got none")
        nll = summary_nll(
            self.model,
            self.validation,
            tokenizer=self.processing_class,
            batch_size=self.args.per_device_eval_batch_size,
        )
        mean = mean_interval(nll, self.args.seed)
        metrics = {
            "eval_nll": mean["mean"],
            "eval_nll_low": mean["low"],
            "eval_nll_high": mean["high"],
            "eval_nll_of_each": [float(value) for value in nll],
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _get_train_sampler(self, train_dataset=None):
        sampler = super()._get_train_sampler(train_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            sampler = SeededByEpoch(sampler.batch_size, lengths=sampler.lengths)
            sampler.seed = self.args.seed
        return sampler

    def _get_output_dir(self, trial) -> str:
        return self.staging or super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial) -> None:
        """Let Trainer write into a temporary folder; rename it when every process is done."""
        final = checkpoints.folder_of(self.state.global_step, self.args.output_dir)
        self.staging = str(final.parent / f".writing-{final.name}")
        if self.args.should_save:
            shutil.rmtree(self.staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        with disk.naming(final), _removed_if_broken_off(self.staging):
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            written = Path(self.staging) / final.name
            (written / NOT_OURS).unlink(missing_ok=True)
            if self.on_checkpoint:
                self.on_checkpoint(self.state.global_step, self.model)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(written, final)
            os.rmdir(self.staging)
        self.staging = None
        self.accelerator.wait_for_everyone()

    def save_final(self, folder) -> None:
        """Write model and tokenizer into `folder`, file by file in one step each."""
        if not self.args.should_save:
            return
        staging = Path(folder) / ".writing-final"
        shutil.rmtree(staging, ignore_errors=True)
        with disk.naming(staging), _removed_if_broken_off(staging):
            self.save_model(str(staging))
        (staging / NOT_OURS).unlink(missing_ok=True)
        for file in staging.iterdir():
            os.replace(file, Path(folder) / file.name)
        staging.rmdir()


@dataclass(frozen=True)
class Precision:
    """What training multiplies matrices in: the device with its dtype, and what flags ask of it."""

    device: Device
    bf16: bool = False  # mixed precision in bfloat16
    tf32: bool = True  # TF32 products where the device has them

    @property
    def uses_tf32(self) -> bool:
        """Whether it is TF32: asked for, in float32, on a GPU of capability 8 or up."""
        place = self.device.torch_device
        if not self.tf32 or self.device.dtype != "float32":
            return False
        if place.type != "cuda" or not torch.version.cuda:
            return False
        return torch.cuda.get_device_capability(place)[0] >= 8

    @property
    def products(self) -> str:
        """bfloat16, TF32, or the model's own dtype."""
        if self.bf16:
            return "bfloat16"
        return "TF32" if self.uses_tf32 else self.device.dtype


@contextlib.contextmanager
def tf32_products(wanted: bool):
    """Within the block GPUs multiply float32 matrices in TF32, if wanted; afterwards as before."""
    backend = torch.backends.cuda.matmul
    before = backend.fp32_precision
    if wanted:
        backend.fp32_precision = "tf32"
    try:
        yield
    finally:
        backend.fp32_precision = before


@contextlib.contextmanager
def _removed_if_broken_off(folder):
    """A block that fills `folder`; what is there is removed when it fails.

    Half of it is of no use, and the disk may be full.
    """
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def options_of(flags: dict) -> dict:
    """Those of a script's flags that are `TrainingArguments`' own, as `settings` takes them."""
    options = {name: flags[name] for name in TRAINER_FLAGS if name in flags}
    usual = options.get("per_device_train_batch_size", 8)
    return options | {"per_device_train_batch_size": flags["batch_size"] or usual}


def settings(
    output_dir, seed: int, *, device: Device, gradient_checkpointing: bool, **options
) -> TrainingArguments:
    """`TrainingArguments` with these options of theirs; nothing is saved or printed by itself.

    Raises InputError for a combination that Trainer rejects.
    """
    # Notes on padding tokens concern what is set here on purpose; bars would break our own.
    opening.silence_transformers()
    place = device.torch_device
    options = {
        "output_dir": str(output_dir),
        "seed": seed,
        "use_cpu": place.type == "cpu",
        "logging_first_step": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "report_to": "none",
        "logging_nan_inf_filter": False,
        "activation_checkpointing": gradient_checkpointing,
        "dataloader_pin_memory": place.type == "cuda",
        "log_level": "error",
        "log_level_replica": "error",
        "ddp_find_unused_parameters": False,
        **options,
    }
    try:
        return TrainingArguments(**options)
    except ValueError as error:
        raise InputError(f"Trainer rejects these flags: {error}") from error


def fine_tune(
    trainer: SummaryTrainer, resume: Path | None = None, *, patience: int = 0
) -> list[dict]:
    """Trainer's log, {"step", "loss", ...} and {"step", "eval_nll", ...}, after training.

    From the checkpoint `resume` if given: such a run ends bit for bit as the uninterrupted one; one
    whose last step is done only loads its weights.
    """
    if resume is not None:
        state = TrainerState.load_from_json(str(resume / "trainer_state.json"))
        if state.global_step >= state.max_steps or stopped_early(state.log_history, patience):
            trainer._load_from_checkpoint(str(resume))  # Trainer would take one step more
            trainer.state = state
            return state.log_history
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return trainer.state.log_history
