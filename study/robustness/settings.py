"""Which circuits are compared, and how the first of them is extracted again."""

from dataclasses import dataclass, fields

from runs.console import Console
from runs.devices import Device


@dataclass(frozen=True)
class Settings:
    """The settings of an evaluation: flags of evaluate_robustness.py, by their names."""

    console: Console
    device: Device
    circuits: list[str]
    model_path: str | None  # in which the first circuit is extracted again; None: it is not
    pairs: str
    levels: list[float]  # shares of the salient tokens that are corrupted
    variants: list[str]  # other corruptions, metrics and methods
    mask_text: str
    resamples: int
    max_examples: int | None  # None: all pairs
    batch_size: int | None  # None: planned
    seed: int

    @classmethod
    def of(cls, flags: dict) -> "Settings":
        """The settings among a script's flags."""
        names = {field.name for field in fields(cls)} - {"console", "device"}
        return cls(
            Console.of(flags),
            Device.of(flags),
            **{name: flags[name] for name in names},
        )
