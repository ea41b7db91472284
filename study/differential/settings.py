"""Which two models are compared, and on which texts."""

from dataclasses import dataclass

from runs.settings import FromFlags
from summarization.corpus import Columns


@dataclass(frozen=True)
class Settings(FromFlags):
    """The settings of a comparison: flags of differential_analysis.py, by their names."""

    base_model_path: str
    finetuned_model_path: str
    dataset: str
    article_column: str  # "": a usual one
    summary_column: str
    split: str
    prompt: str
    instruction: str
    max_length: int  # 0: the model's context
    max_examples: int | None  # None: all of the split
    batch_size: int | None  # None: planned
    seed: int

    @property
    def columns(self) -> Columns:
        """What the data set calls article and summary."""
        return Columns(self.article_column, self.summary_column)

    @property
    def names(self) -> tuple[str, str]:
        """The two models, base first."""
        return self.base_model_path, self.finetuned_model_path
