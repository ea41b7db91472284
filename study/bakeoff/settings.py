"""What every arm of a bake-off has in common: data, training, summaries."""

from dataclasses import dataclass

from runs.settings import ReadsArticles

# Settings that stand in each arm's configuration, in this order.
RECORDED = (
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "warmup_steps",
    "weight_decay",
    "lr_scheduler_type",
    "bf16",
    "tf32",
    "dtype",
    "max_new_tokens",
    "min_new_tokens",
    "num_beams",
    "batch_size",
)


@dataclass(frozen=True)
class Settings(ReadsArticles):
    """What every arm is trained and judged with: flags of run_peft_bakeoff.py, by their names."""

    model_path: str
    output_dir: str
    dataset: str
    subset_train_size: int
    validation_size: int  # of a sweep
    max_examples: int | None  # test articles; None: all
    prompt: str
    instruction: str
    max_length: int  # tokens of prompt and summary; 0: the model's context
    seed: int  # the first of the seeds
    batch_size: int | None  # overrides per_device_train_batch_size; None: as it says
    learning_rate: float  # of adapters
    full_learning_rate: float  # of the arm full
    lr_sweep: list[float]  # factors that each arm tries; none: the two rates as they are
    sweep_share: float  # of the training steps, for each factor
    num_train_epochs: float
    max_steps: int  # overrides the epochs if positive
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    warmup_steps: float
    weight_decay: float
    lr_scheduler_type: str
    bf16: bool
    tf32: bool
    gradient_checkpointing: bool
    max_new_tokens: int
    min_new_tokens: int
    num_beams: int

    @property
    def precision(self):
        """The training.Precision: what training multiplies in."""
        from summarization import training

        return training.Precision(self.device, self.bf16, self.tf32)

    @property
    def rows_at_a_time(self) -> int:
        """Articles in a step of one device, before accumulation."""
        return self.batch_size or self.per_device_train_batch_size

    def recorded(self) -> dict:
        """Those that stand in each arm's configuration."""
        known = vars(self) | {"dtype": self.device.dtype}
        return {name: known[name] for name in RECORDED}
