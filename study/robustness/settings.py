"""Which circuits are compared, and how the first of them is extracted again."""

from dataclasses import dataclass

from runs.settings import FromFlags


@dataclass(frozen=True)
class Settings(FromFlags):
    """The settings of an evaluation: flags of evaluate_robustness.py, by their names."""

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

    @property
    def model(self) -> str:
        """The model in which the first circuit is extracted again. Raises ValueError for none."""
        if self.model_path is None:
            raise ValueError("expected a model to extract the circuit again in, there is none")
        return self.model_path
