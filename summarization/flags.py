"""The flags that every script has, and the types of flags: what argparse turns into one line when it is wrong. Imports nothing heavy."""

import argparse
import contextlib
import sys
import textwrap

VERSION = "0.1.0"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that also takes `--ig-steps` for `--ig_steps` and whose errors are one line."""

    def parse_known_args(self, args=None, namespace=None):
        words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args([_underscored(word) for word in words], namespace)

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (--help lists the flags)\n")


def _underscored(word):
    name, equals, value = word.partition("=")
    return (
        name.replace("-", "_").replace("__", "--", 1) + equals + value
        if word.startswith("--")
        else word
    )


def parser(doc: str, output_dir: str | None) -> Parser:
    """A parser with the flags that every script has; the script's docstring is its help text."""
    made = Parser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    if output_dir is not None:
        made.add_argument(
            "--output_dir",
            default=output_dir,
            help="folder for plots and numbers (default: %(default)s)",
        )
    made.add_argument(
        "--seed", type=seed, default=0, help="seed of every random choice (default: %(default)s)"
    )
    made.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)"
    )
    made.add_argument(
        "--dtype",
        default="float32",
        choices=["float32", "bfloat16", "float64"],
        help="of the model (default: %(default)s)",
    )
    made.add_argument(
        "--max_examples", type=positive_int, help="use at most this many examples (default: all)"
    )
    made.add_argument(
        "--batch_size",
        type=positive_int,
        help="examples at a time (default: planned from the free memory)",
    )
    made.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    made.add_argument("--quiet", action="store_true", help="no progress bars, no tables")
    made.add_argument("--verbose", action="store_true", help="show a traceback with every error")
    made.add_argument("--version", action="version", version=VERSION)
    return made


def demo_defaults(defaults: dict) -> str:
    """The lines of `--help` that tell which defaults `--dataset demo` has instead."""
    flags = " ".join(f"--{name} {value}" for name, value in defaults.items())
    return "\n".join(textwrap.wrap(f"With --dataset demo the defaults are {flags}", 100))


def positive_int(text: str) -> int:
    """`text` as an integer of at least 1; argparse turns the error into one line."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def max_steps(text: str) -> int:
    """`text` as a number of optimizer steps: at least 1, or -1 for as many as the epochs have; argparse turns the error into one line."""
    return -1 if text == "-1" else positive_int(text)


def positive_float(text: str) -> float:
    """`text` as a finite number above 0; argparse turns the error into one line."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")


def count(text: str) -> int:
    """`text` as an integer of at least 0, where 0 means none; argparse turns the error into one line."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def natural_float(text: str) -> float:
    """`text` as a finite number of at least 0; argparse turns the error into one line."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")


def seed(text: str) -> int:
    """`text` as a seed that every library takes; argparse turns the error into one line."""
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 0 to {2**32 - 1}, got {text!r}"
        )
    return int(text)


def fraction(text: str) -> float:
    """`text` as a number in [0, 1]; argparse turns the error into one line."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")


def int_list(text: str) -> list[int]:
    """Comma-separated whole numbers, as in `0,10,100`."""
    if not all(part.strip().isdigit() for part in text.split(",")):
        raise argparse.ArgumentTypeError(
            f"expected whole numbers separated by commas, got {text!r}"
        )
    return [int(part) for part in text.split(",")]


def name_list(text: str) -> list[str]:
    """Comma-separated names, with or without blanks, each once: `kl, nll`."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise argparse.ArgumentTypeError(f"expected names separated by commas, got {text!r}")
    return names
