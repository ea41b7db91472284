"""The flags of the bake-off: which arms, their adapters, how each is trained and judged."""

from collections.abc import Sequence

from runs import flags
from study.bakeoff.lora import Arm


def add(parser: flags.Parser, arms: Sequence[Arm]) -> None:
    """Add all of them to a script's parser; `arms` are those there are."""
    add_arms(parser, arms)
    add_data(parser)
    add_adapters(parser)
    add_rates(parser)
    flags.add_trainer(parser)
    add_summaries(parser)
    flags.add_data(parser)


def add_arms(parser: flags.Parser, arms: Sequence[Arm]) -> None:
    """Add the flag that names the arms to run."""
    names = [arm.name for arm in arms]
    by_default = [arm.name for arm in arms if arm.by_default]
    parser.add_argument(
        "--arms",
        type=flags.text,
        choices=names,
        nargs="+",
        metavar="ARM",
        constant=None,
        help=f"out of {' '.join(names)} "
        f"(default: those that can be run out of {' '.join(by_default)})",
    )


def add_data(parser: flags.Parser) -> None:
    """Add the flags that say what is trained on what, and how often."""
    add = parser.add_argument
    add(
        "--model_path", type=flags.text, help="the base model: Hub id, folder, checkpoint-N or demo"
    )
    add("--dataset", type=flags.text, help="Hub id, file, save_to_disk folder or demo")
    add("--subset_train_size", type=flags.positive_int, help="training articles")
    add("--seeds", type=flags.positive_int, help="how many, from --seed on")


def add_adapters(parser: flags.Parser) -> None:
    """Add the flags of adapters: how large, and in which layers."""
    add = parser.add_argument
    parameters = "trainable parameters of each LoRA arm: a number, all or none"
    add("--budget", type=budget, help=parameters)
    add("--rank", type=flags.positive_int, help="of arm all, and of each arm with --budget none")
    add("--alpha_over_r", type=flags.positive_float)
    add("--top_k", type=flags.positive_int, help="layers of random, observed, circuit")
    add("--layers_observed", type=flags.text, help="layers.differential.json")
    add("--layers_circuit", type=flags.text, help="layers.evolution.json, or a circuit")
    add("--measure_observed", type=flags.text_or_none, help="(default: the file's first)")
    add("--measure_circuit", type=flags.text)
    add("--measure_change", type=flags.text)


def add_rates(parser: flags.Parser) -> None:
    """Add the flags of learning rates, and of the sweep that chooses one."""
    add = parser.add_argument
    add("--learning_rate", type=flags.positive_float, help="of adapters, middle of a sweep")
    add("--full_learning_rate", type=flags.positive_float, help="of arm full, likewise")
    add("--lr_sweep", type=factors, help="factors that each arm tries, or none")
    add("--sweep_share", type=flags.share, help="steps of each as a share of all")
    add("--validation_size", type=flags.positive_int, help="articles of the sweep")


def add_summaries(parser: flags.Parser) -> None:
    """Add the flags of the summaries that every arm writes."""
    add = parser.add_argument
    add("--max_new_tokens", type=flags.positive_int, help="of a summary")
    add("--min_new_tokens", type=flags.count, help="no end before")
    add("--num_beams", type=flags.positive_int, help="1 is greedy")


def factors(value) -> list[float]:
    """Positive numbers separated by commas, as in `0.3,1,3`; an empty list for `none`. argparse
    turns the error into one line.
    """
    return [] if value == "none" else flags.positive_floats(value)


def budget(value) -> str:
    """A number of trainable parameters as text, `all` or `none`."""
    return value if value in ("all", "none") else str(flags.positive_int(value))
