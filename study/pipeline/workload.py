"""What the stages of a preset train on, read and write: counts behind an estimate of hours."""

from dataclasses import replace

from study.estimate import Shape, Work
from study.pipeline.presets import Preset

# Of the training's schedule, where a preset leaves its script's defaults.
CHECKPOINTS, VALIDATION = 10, 200
# Forward and backward passes a pair, times what benchmarks/attribution.py measures over them:
# secant's two plain runs and one backward pass; EAP-IG's five points of both, and two plain runs.
SECANT_PASSES, EAP_IG_PASSES = 1.8 * 3, 1.25 * (5 * 2 + 2)
# A circuit's run on average, in plain forward passes (benchmarks/evaluation.py).
PASSES_PER_CIRCUIT = 1.5
SIZES = 10  # circuits on a curve of faithfulness
# The circuit's own, its control's, the other method's, the other circuit's in two models.
CURVES = 6
NULL_SIZES = 4  # sizes at which it stands beside its complement and two kinds of random circuits
VARIANTS = 10  # other ways of extracting, in the robustness, where a preset names none
FILES_A_CHECKPOINT = 3  # as large as its weights: these, and the optimizer's two moments

TRAINING = "run_finetuning_with_checkpoints"
EXTRACTION = "extract_summarization_circuit"
FAITHFULNESS = "evaluate_faithfulness"
ROBUSTNESS = "evaluate_robustness"
QUALITY = "test_set_evaluation"
BAKEOFF = "run_peft_bakeoff"


def values_of(words: str) -> dict[str, list[str]]:
    """{flag without its dashes: its values} of a preset's flags."""
    values = {}
    for part in f" {words}".split(" --")[1:]:
        flag, *given = part.split()
        values[flag] = given
    return values


def limited(preset: Preset, max_examples: str | None) -> Preset:
    """The preset as `--max_examples` changes it, which every command is given."""
    if max_examples in (None, "all"):
        return preset
    n = int(max_examples)
    return replace(
        preset,
        pairs=n,
        training=with_at_most(preset.training, "subset_train_size", most=n),
        trajectory=n // 2,
        judged=n // 2,
        beside=f"{preset.beside} --max_examples {n}",
        robust=f"{preset.robust} --max_examples {n}",
        texts=n,
        test=n,
        arms=with_value(preset.arms, "max_examples", value=n),
    )


def with_at_most(words: str, flag: str, *, most: int) -> str:
    """A preset's flags with a number of at most `most` for one of them."""
    return with_value(words, flag, value=min(most, int(values_of(words)[flag][0])))


def with_value(words: str, flag: str, *, value: int) -> str:
    """A preset's flags with another value for one of them."""
    given = values_of(words)[flag][0]
    return words.replace(f"--{flag} {given}", f"--{flag} {value}")


def workload(preset: Preset, left: dict[str, float] | None = None) -> dict[str, Work]:
    """What the stages that take long train on, read and summarize, by stage.

    A backward pass on frozen weights counts as a forward one. `left` is the share of each stage
    that is not done yet: of the extraction, of its four commands.
    """
    shares = left or {}
    n_test = 2 * preset.test  # of the base model and of the fine-tuned one
    whole = {
        TRAINING: of_training(preset),
        EXTRACTION: of_extraction(preset, shares),
        FAITHFULNESS: of_faithfulness(preset),
        ROBUSTNESS: of_robustness(preset),
        QUALITY: Work(read=n_test, write=n_test),
        BAKEOFF: of_bakeoff(preset),
    }
    return {stage: work.times(shares.get(stage, 1)) for stage, work in whole.items()}


def of_training(preset: Preset) -> Work:
    """Every training article in each epoch, and the validation articles at each checkpoint."""
    flags = values_of(preset.training)
    n_articles, n_epochs = int(flags["subset_train_size"][0]), float(flags["num_train_epochs"][0])
    return Work(train=n_articles * n_epochs, read=CHECKPOINTS * VALIDATION)


def of_extraction(preset: Preset, shares: dict[str, float]) -> Work:
    """The circuits before, after and of the checkpoints by secant, and one by EAP-IG."""
    half = preset.pairs // 2
    by_secant = (
        half * shares.get("before", 1)
        + half * shares.get("after", 1)
        + CHECKPOINTS * min(preset.trajectory, half) * shares.get("checkpoints", 1)
    )
    by_eap_ig = half * shares.get("beside", 1)
    return Work(read=SECANT_PASSES * by_secant + EAP_IG_PASSES * by_eap_ig)


def of_faithfulness(preset: Preset) -> Work:
    """Every circuit of the curves, the complements and the random circuits, on each unseen pair."""
    n_pairs = min(preset.judged, preset.pairs // 2)
    n_circuits = CURVES * SIZES + NULL_SIZES * (1 + 2 * preset.random_circuits)
    return Work(read=PASSES_PER_CIRCUIT * n_pairs * n_circuits)


def of_robustness(preset: Preset) -> Work:
    """The circuit extracted again at every level and in every other way."""
    n_levels = len(preset.levels.split(","))
    flags = values_of(preset.robust)
    n_variants = len(flags["variants"][0].split(",")) if "variants" in flags else VARIANTS
    n_pairs = min(int(flags["max_examples"][-1]), preset.pairs // 2)
    passes = SECANT_PASSES * (1 + n_levels + n_variants) + EAP_IG_PASSES
    return Work(read=n_pairs * passes)


def of_bakeoff(preset: Preset) -> Work:
    """Every arm that trains with each seed, a sweep of its learning rate, and its summaries."""
    flags = values_of(preset.arms)
    n_arms, n_seeds = len(flags["arms"]), int(flags["seeds"][0])
    untrained = int("none" in flags["arms"])
    trained = n_arms - untrained
    per_run = int(flags["subset_train_size"][0]) * float(flags["num_train_epochs"][0])
    n_rates = len(flags["lr_sweep"][0].split(","))
    per_arm = n_seeds + n_rates * float(flags["sweep_share"][0])
    summaries = (trained * n_seeds + untrained) * int(flags["max_examples"][0])
    return Work(
        train=trained * per_run * per_arm,
        read=summaries + trained * n_rates * VALIDATION,
        write=summaries,
    )


def bytes_to_write(
    preset: Preset, stages: set[str], *, left: dict[str, float], shape: Shape
) -> float:
    """What these stages will keep: checkpoints, scores, the arm `full` of each seed."""
    half = preset.pairs // 2
    n_pairs = half * sum(left.get(name, 1) for name in ("before", "after", "beside"))
    n_pairs += CHECKPOINTS * min(preset.trajectory, half) * left.get("checkpoints", 1)
    n_weights = FILES_A_CHECKPOINT * CHECKPOINTS + 1
    n_seeds = int(values_of(preset.arms)["seeds"][0])
    amounts = {
        TRAINING: n_weights * shape.weights_bytes * left.get(TRAINING, 1),
        EXTRACTION: n_pairs * shape.scores_bytes,
        BAKEOFF: n_seeds * shape.weights_bytes * left.get(BAKEOFF, 1),
    }
    return sum(amount for stage, amount in amounts.items() if stage in stages)
