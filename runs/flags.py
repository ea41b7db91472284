"""The flags that every script has, and their types, whose refusals are one line.

Imports nothing heavy.
"""

import argparse
import contextlib
import re
import sys
import textwrap
from pathlib import PurePath

from runs import console

VERSION = "0.1.0"
DTYPES = ("float32", "bfloat16", "float64")

# The names that eap knows, here so that a wrong one is refused before torch is imported.
METHODS = (
    "secant",
    "EAP",
    "EAP-IG-inputs",
    "EAP-IG-activations",
    "clean-corrupted",
    "exact",
    "secant-segments",
    "secant-norm-held",
    "AttnLRP",
    "GIM",
    "edge-gates",
    "NAP",
    "NAP-IG",
    "NAP-secant",
)
STEPPED = ("EAP-IG-inputs", "EAP-IG-activations", "secant-segments", "NAP-IG")  # take --ig_steps
QUADRATURE = ("EAP-IG-inputs", "NAP-IG")  # take --ig_rule
METRICS = ("kl", "nll", "js", "logit_diff")
RULES = ("left", "midpoint", "gauss-legendre")
ABLATIONS = ("patching", "zero", "mean")
SELECTIONS = ("topn", "greedy", "sign-consistent")
KV = ("per-head", "shared")  # of eap.models
RANKS = ("mean", "example")
FIGURE_FORMATS = ("png", "svg", "pdf")
PROMPTS = ("auto", "plain", "chat")  # the kinds of summarization.prompt


# The constants that every script has, as they are where a script does not set them.
USUAL = {
    "MAX_EXAMPLES": "all",
    "BATCH_SIZE": "auto",
    "SEED": 0,
    "DEVICE": "auto",
    "DTYPE": "float32",
}


class _Adding:
    """Adds flags whose default is the constant of their name, in capitals, among `constants`.

    `constant` names another one, or None for none. Of each flag it is known whether it may be None:
    one without a default may. The help of a flag with a value ends with its default, unless its own
    words name one.
    """

    constants = {}

    def add_argument(self, *names, **options):
        name = options.get("dest", names[-1].removeprefix("--"))
        constant = options.pop("constant", name.upper())
        if "default" not in options and constant in self.constants:
            options["default"] = self.constants[constant]
        if _shows_default(options):
            options["help"] = f"{options.get('help', '')} (default: %(default)s)".lstrip()
        action = super().add_argument(*names, **options)  # pyright: ignore
        action.may_be_absent = "default" not in options
        return action


def _shows_default(options: dict) -> bool:
    """Whether the help of a flag with these options lacks the default that it should end with."""
    takes_a_value = "type" in options or "choices" in options
    unnamed = "default" not in options.get("help", "")
    optional = options.get("nargs") == "?"  # a flag with a value of its own where none is given
    return takes_a_value and "default" in options and unnamed and not optional


class _Group(_Adding, argparse._MutuallyExclusiveGroup):
    pass


class Parser(_Adding, argparse.ArgumentParser):
    """An ArgumentParser that also takes `--ig-steps` for `--ig_steps`; its errors are one line.

    Every default goes through its flag's own checks: argparse checks those alone that are text.
    """

    def add_mutually_exclusive_group(self, **options):
        group = _Group(self, **options)
        group.constants = self.constants
        self._mutually_exclusive_groups.append(group)
        return group

    def parse_known_args(self, args=None, namespace=None):
        words = sys.argv[1:] if args is None else list(args)
        if namespace is None:
            namespace = self._checked_defaults()
        return super().parse_known_args([_underscored(word) for word in words], namespace)

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (--help lists the flags)\n")

    def _checked_defaults(self) -> argparse.Namespace:
        """The defaults as their flags' types make them.

        Ends the program with one line for a default that its flag would refuse.
        """
        checked = argparse.Namespace()
        actions = {action.dest: action for action in self._actions}
        for name in self._defaults.keys() - actions.keys():
            self.error(
                f"constant DEMO: expected names of flags, got {name!r}; fix it in the script"
            )
        for action in self._actions:
            if action.default is argparse.SUPPRESS or hasattr(checked, action.dest):
                continue  # of --tf32 and --no_tf32, the first has the default
            try:
                setattr(checked, action.dest, _default(action))
            except argparse.ArgumentTypeError as reason:
                constant = action.dest.upper()
                where = f"DEMO[{action.dest!r}]" if action.dest in self._defaults else constant
                flag = action.option_strings[0]
                self.error(
                    f"constant {where}, the default of {flag}: {reason}; fix it in the script"
                )
        return checked


def _default(action):
    """The value of a flag that is not given. Raises ArgumentTypeError if it would be refused."""
    default = action.default
    if isinstance(action, argparse._StoreTrueAction | argparse._StoreFalseAction):
        if not isinstance(default, bool):
            raise argparse.ArgumentTypeError(f"expected True or False, got {default!r}")
        return default
    if default is None and action.may_be_absent:
        return None
    if action.nargs not in ("+", "*"):
        return _value(action, default)
    several = default if isinstance(default, list | tuple) else [default]
    if action.nargs == "+" and not several:
        raise argparse.ArgumentTypeError("expected at least one, got none")
    return [_value(action, value) for value in several]


def _value(action, value):
    if action.type is not None:
        try:
            value = action.type(value)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"got {value!r}") from error
    if action.choices is not None and value not in action.choices:
        known = ", ".join(map(str, action.choices))
        raise argparse.ArgumentTypeError(f"expected one of {known}, got {value!r}")
    return value


def _underscored(word):
    name, equals, value = word.partition("=")
    return (
        name.replace("-", "_").replace("__", "--", 1) + equals + value
        if word.startswith("--")
        else word
    )


def parser(
    doc: str | None, output_dir: str, *, constants: dict | None = None, writes="plots and numbers"
) -> Parser:
    """A parser with the flags that every script has; the script's docstring is its help text.

    `constants` are the script's `globals()`: what stands there under a flag's name in capitals is
    its default.
    """
    made = Parser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.constants = USUAL | (constants or {}) | {"OUTPUT_DIR": output_dir}
    made.add_argument(
        "--output_dir",
        type=text,
        help=f"folder for {writes} (default: %(default)s)",
    )
    made.add_argument(
        "--seed",
        type=seed_number,
        help="seed of every random choice (default: %(default)s)",
    )
    made.add_argument(
        "--device",
        type=device_name,
        help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)",
    )
    made.add_argument("--dtype", choices=DTYPES, help="of the model (default: %(default)s)")
    made.add_argument(
        "--max_examples",
        type=examples,
        help="use at most this many examples; all: every one there is (default: %(default)s)",
    )
    made.add_argument(
        "--batch_size",
        type=planned,
        help="examples at a time; auto: planned from the free memory (default: %(default)s)",
    )
    made.add_argument(
        "--figure_format",
        default="png",
        choices=FIGURE_FORMATS,
        help="write each figure in this format too, beside its PNG (default: %(default)s)",
    )
    made.add_argument(
        "--figure_width",
        type=positive_float,
        help="width of figures in inches, 3.4 for a paper's column (default: each figure's own)",
    )
    made.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    made.add_argument("--quiet", action="store_true", help="print nothing but errors")
    made.add_argument("--verbose", action="store_true", help="print every table and sentence")
    made.add_argument("--traceback", action="store_true", help="show a traceback with every error")
    made.add_argument("--version", action="version", version=VERSION)
    return made


def hand_on(made: Parser, names) -> None:
    """Let these flags keep the words that were given, None without any, to be handed on."""
    for action in made._actions:
        if action.dest in names:
            action.default = None
            action.help = (action.help or "").replace("%(default)s", "each script's own")
            action.type = _word_of(action.type or str)
            action.may_be_absent = True  # pyright: ignore[reportAttributeAccessIssue]


def _word_of(kind):
    def checked(word):
        kind(word)
        return word

    return checked


def add_trainer(made: Parser) -> None:
    """Add the flags of every script that trains: how long, in which steps, in what precision."""
    add = made.add_argument
    add("--num_train_epochs", type=positive_float)
    add("--max_steps", type=max_steps, help="overrides the epochs if positive")
    add("--per_device_train_batch_size", type=positive_int)
    add("--gradient_accumulation_steps", type=positive_int)
    add("--warmup_steps", type=natural_float, help="steps, or below 1 a share of all")
    add("--weight_decay", type=natural_float)
    add("--lr_scheduler_type", type=text, help="linear, cosine, constant, ...")
    add(
        "--bf16",
        action="store_true",
        help="mixed precision in bfloat16; weights stay in --dtype (default: %(default)s)",
    )
    add(
        "--tf32",
        action="store_true",
        help="train with TF32 products on a GPU that has them (default: %(default)s)",
    )
    add("--no_tf32", dest="tf32", action="store_false")
    add(
        "--gradient_checkpointing",
        action="store_true",
        help="recompute activations: less memory, more time (default: %(default)s)",
    )


def add_data(made: Parser) -> None:
    """Add the flags of a script that reads a data set and makes prompts of its articles."""
    for name, usual in (("article", "document"), ("summary", "highlights")):
        made.add_argument(
            f"--{name}_column",
            type=text_or_none,
            help=f"the data set's name for it (default: a usual one, as {name} or {usual})",
        )
    made.add_argument(
        "--prompt",
        choices=PROMPTS,
        help="plain: article and TL;DR; chat: the tokenizer's template; auto: chat for an instruct "
        "model, and for a fine-tuned one as in its training (default: %(default)s)",
    )
    made.add_argument(
        "--instruction",
        type=text_or_none,
        help="of a chat prompt; the article stands at {article} in it, or after it (default: "
        "'Summarize this news article in two sentences:')",
    )
    made.add_argument(
        "--max_length",
        type=count,
        help="tokens of prompt and summary at most; 0: the model's context",
    )


def add_max_memory(made: Parser) -> None:
    """Add the flag of a script that plans its batches from the memory."""
    made.add_argument(
        "--max_memory",
        type=gigabytes,
        help="GB that the plan may use; auto: what is free",
    )


def say_unused_steps(made: Parser, argv, *, method: str) -> None:
    """Say which flags were given, whatever their value, that the method does not look at."""
    absent = argparse.Namespace(ig_steps=None, ig_rule=None)
    given, _ = made.parse_known_args(argv, absent)
    for name, methods, what in (
        ("ig_steps", STEPPED, "points"),
        ("ig_rule", QUADRATURE, "a rule"),
    ):
        value = getattr(given, name)
        if value not in (None, "auto") and method not in methods:  # auto is refused later
            console.warn(f"note: --{name} {value} is not used: {method} does not take {what}")


def parse_with_demo(made: Parser, argv, *, defaults: dict) -> argparse.Namespace:
    """The arguments; `defaults` hold in place of the constants with `--dataset demo`.

    `--help` ends with them.
    """
    made.epilog = demo_defaults(defaults)
    if made.parse_args(argv).dataset == "demo":
        made.set_defaults(**defaults)
    return made.parse_args(argv)


def demo_defaults(defaults: dict) -> str:
    """The lines of `--help` that tell which defaults `--dataset demo` has instead."""
    flags = " ".join(f"--{name} {value}" for name, value in defaults.items())
    return "\n".join(textwrap.wrap(f"With --dataset demo the defaults are {flags}", 100))


# ---------------------------------------------------------------- types of flags
# Each takes the word of a command line or a constant of any type, and raises ArgumentTypeError.


def _refuse(expected: str, value):
    raise argparse.ArgumentTypeError(f"expected {expected}, got {value!r}")


def _number(value, kind, *, allowed, expected: str):
    """`value` as a number that is `allowed`."""
    written = str(value).strip()
    if kind is float or re.fullmatch(r"[0-9]+", written):
        with contextlib.suppress(ValueError):
            if allowed(kind(written)):
                return kind(written)
    return _refuse(expected, value)


def positive_int(value) -> int:
    """`value` as an integer of at least 1."""
    return _number(value, int, allowed=lambda n: n >= 1, expected="a whole number of at least 1")


def count(value) -> int:
    """`value` as an integer of at least 0, where 0 means none."""
    return _number(value, int, allowed=lambda n: True, expected="a whole number of at least 0")


def max_steps(value) -> int:
    """`value` as a number of optimizer steps: at least 1, or -1 for as many as the epochs have."""
    if str(value) == "-1":
        return -1
    return _number(
        value,
        int,
        allowed=lambda n: n >= 1,
        expected="a whole number of at least 1, or -1 for none",
    )


def seed_number(value) -> int:
    """`value` as a seed that every library takes."""
    return _number(
        value, int, allowed=lambda n: n < 2**32, expected=f"a whole number from 0 to {2**32 - 1}"
    )


def positive_float(value) -> float:
    """`value` as a finite number above 0."""
    return _number(
        value, float, allowed=lambda x: 0 < x < float("inf"), expected="a number above 0"
    )


def natural_float(value) -> float:
    """`value` as a finite number of at least 0."""
    return _number(
        value, float, allowed=lambda x: 0 <= x < float("inf"), expected="a number of at least 0"
    )


def fraction(value) -> float:
    """`value` as a number in [0, 1]."""
    return _number(value, float, allowed=lambda x: 0 <= x <= 1, expected="a number from 0 to 1")


def share(value) -> float:
    """`value` as a number in (0, 1]."""
    return _number(
        value, float, allowed=lambda x: 0 < x <= 1, expected="a number above 0 and up to 1"
    )


def below_one(value) -> float:
    """`value` as a number in [0, 1)."""
    return _number(
        value, float, allowed=lambda x: 0 <= x < 1, expected="a number of at least 0 and below 1"
    )


def examples(value) -> int | None:
    """`value` as a number of examples; None for `all`."""
    if value == "all":
        return None
    return _number(
        value, int, allowed=lambda n: n >= 1, expected="a whole number of at least 1, or all"
    )


def steps(value) -> int | str:
    """`value` as a number of points on the path, or `auto`."""
    return value if value == "auto" else positive_int(value)


def planned(value) -> int | None:
    """`value` as a number of examples at a time; None, which means planned, for `auto`."""
    if value == "auto":
        return None
    return _number(
        value, int, allowed=lambda n: n >= 1, expected="a whole number of at least 1, or auto"
    )


def gigabytes(value) -> float | None:
    """`value` as a number of gigabytes; None, which means what is free, for `auto`."""
    if value == "auto":
        return None
    return _number(
        value, float, allowed=lambda x: 0 < x < float("inf"), expected="a number above 0, or auto"
    )


def text(value) -> str:
    """`value`, which is text and not blank."""
    return value if isinstance(value, str) and value.strip() else _refuse("a name", value)


def file_name(value) -> str:
    """`value` as the name of a file to write: text whose last part is a name, unlike `.` or `/`."""
    return value if PurePath(text(value)).name else _refuse("the name of a file", value)


def text_or_none(value) -> str:
    """`value`, which is text; empty text means none."""
    return value if isinstance(value, str) else _refuse("a name, or nothing", value)


def device_name(value) -> str:
    """`value` as the name of a device."""
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", value):
        return value
    return _refuse("auto, cpu, cuda, cuda:N or mps", value)


def parts(value) -> list[str]:
    """The parts of text between commas, without blanks; a constant may be a list, or one number."""
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list | tuple):
        return _refuse("parts separated by commas", value)
    return [written for part in value if (written := str(part).strip())]


def int_list(value) -> list[int]:
    """Comma-separated whole numbers, as in `0,10,100`."""
    numbers = parts(value)
    if not numbers or not all(re.fullmatch(r"[0-9]+", number) for number in numbers):
        _refuse("whole numbers separated by commas", value)
    return [int(number) for number in numbers]


def shares(value) -> list[float]:
    """Comma-separated numbers in (0, 1], ascending, each once."""
    numbers = sorted({share(part) for part in parts(value)})
    return numbers or _refuse("numbers above 0 and up to 1, separated by commas", value)


def fractions(value) -> list[float]:
    """Comma-separated numbers in [0, 1], ascending, each once."""
    numbers = sorted({fraction(part) for part in parts(value)})
    return numbers or _refuse("numbers from 0 to 1, separated by commas", value)


def positive_floats(value) -> list[float]:
    """Comma-separated numbers above 0, in their order."""
    given = value.split(",") if isinstance(value, str) else parts(value)  # no blank part
    numbers = [positive_float(part) for part in given]
    return numbers or _refuse("numbers above 0, separated by commas", value)


def name_list(value) -> list[str]:
    """Comma-separated names, with or without blanks, each once: `kl, nll`."""
    return list(dict.fromkeys(parts(value))) or _refuse("names separated by commas", value)


def metric_list(value) -> list[str]:
    """Comma-separated names of METRICS, each once."""
    names = name_list(value)
    if set(names) <= set(METRICS):
        return names
    return _refuse(f"metrics of {', '.join(METRICS)}, separated by commas", value)
