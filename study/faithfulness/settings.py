"""Which circuits are run in which models, at which sizes, on which pairs."""

from dataclasses import dataclass

from runs.settings import FromFlags


@dataclass(frozen=True)
class Settings(FromFlags):
    """The settings of an evaluation: flags of evaluate_faithfulness.py, by their names."""

    circuit: str
    other_circuit: str | None  # run beside the first
    compare_circuit: str | None  # of the same model, found by another method
    model_path: str
    other_model_path: str | None  # the circuits are run in this model too
    pairs: str
    allow_same_examples: bool
    max_examples: int | None  # None: every pair that extraction did not see
    fractions: list[float]  # sizes of the curve
    random_fractions: list[float]  # of random circuits and complements
    cross_fractions: list[float]  # of the causal control and of cross-faithfulness
    examples: int  # pairs that examples.json shows token by token
    n_random: int  # random circuits of each size and kind
    metrics: list[str]
    ablation: str
    resamples: int
    batch_size: int | None  # None: planned
    seed: int
