"""How models summarize a test set, and how that is judged."""

from dataclasses import dataclass

from runs.settings import ReadsArticles
from summarization.generation import Options


@dataclass(frozen=True)
class Settings(ReadsArticles):
    """The settings of an evaluation: flags of test_set_evaluation.py, by their names."""

    dataset: str
    split: str
    num_beams: int
    min_new_tokens: int
    max_new_tokens: int
    metrics: list[str]  # of the evaluate library, beside ROUGE
    prompt: str
    instruction: str
    max_length: int  # 0: the model's context
    max_examples: int | None  # None: all of the split
    batch_size: int | None  # None: planned
    seed: int

    def options(self, max_length: int) -> Options:
        """How a model writes in `max_length` tokens of prompt and summary."""
        return Options(
            self.max_new_tokens,
            self.min_new_tokens,
            self.num_beams,
            self.batch_size,
            max_length,
        )
