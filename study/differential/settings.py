"""Which two models are compared, and on which texts."""

from dataclasses import dataclass

from runs.settings import ReadsArticles


@dataclass(frozen=True)
class Settings(ReadsArticles):
    """The settings of a comparison: flags of differential_analysis.py, by their names."""

    base_model_path: str
    finetuned_model_path: str
    dataset: str
    split: str
    prompt: str
    instruction: str
    max_length: int  # 0: the model's context
    max_examples: int | None  # None: all of the split
    batch_size: int | None  # None: planned
    seed: int

    @property
    def names(self) -> tuple[str, str]:
        """The two models, base first."""
        return self.base_model_path, self.finetuned_model_path
