"""What a stage finds, as records: kind, subject, number, null, examples; and their one wording.

A stage's headline.py makes them from its JSON alone; the console and the report's first screen show
them in the same words, those of `sentence`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from eap import MIN_EXAMPLES

ALPHA = 0.05  # p under which a test shows a difference
# What an interval allows to say of a number; the first two say nothing.
NO_CLAIMS = ("measured", "no claim")
KINDS = (
    *NO_CLAIMS,
    "higher",
    "lower",
    "better",
    "worse",
    "no clear difference",
    "beyond noise",
    "within noise",
    "above chance",
    "not above chance",
    "different",
    "not shown to differ",
    "stable",
    "not stable",
    "settled",
    "not settled",
)


@dataclass(frozen=True)
class Number:
    """A number, its interval if it has one, and what stands behind it: a unit, or `of 12`."""

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    signed: bool = False
    places: int | None = None  # decimals, where not those that the interval supports

    @property
    def ends(self) -> tuple[float, float] | None:
        """Low and high; None without an interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def span(self) -> tuple[float, float]:
        """Low and high; the number itself twice where it has no interval."""
        return (self.value, self.value) if self.ends is None else self.ends


ZERO = Number(0.0)


@dataclass(frozen=True)
class Null:
    """What a number is to be seen against: what chance, noise or another circuit gives."""

    name: str
    number: Number | None = None


@dataclass(frozen=True)
class Finding:
    """A claim, or a number without one: its kind (of KINDS), of what, how much, against what.

    Over fewer than `MIN_EXAMPLES` examples `n` nothing is claimed, whatever `kind` is given: it is
    "no claim" then (guard 26). `difference` is number minus null over the same examples, where the
    claim is of that. `question` is what the finding answers on the report's first screen; there its
    null must have a number, on the axis of its own.
    """

    kind: str
    subject: str
    number: Number
    null: Null | None = None
    note: str = ""  # what is said after it
    difference: Number | None = field(default=None, kw_only=True)
    n: int | None = field(default=None, kw_only=True)
    question: str = field(default="", kw_only=True)

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"expected a kind of {', '.join(KINDS)}, got {self.kind!r}")
        if self.question and (self.null is None or self.null.number is None):
            raise ValueError(f"{self.subject}: expected a null with a number beside a question")
        few = self.n is not None and self.n < MIN_EXAMPLES
        if few and self.kind not in NO_CLAIMS:
            object.__setattr__(self, "kind", "no claim")


def tested(test: Mapping) -> str:
    """What a permutation test {"p", "smallest_p"} allows to say of two circuits.

    `no claim` where its examples are too few for any p under `ALPHA`.
    """
    if test["smallest_p"] >= ALPHA:
        return "no claim"
    return "different" if test["p"] < ALPHA else "not shown to differ"


def direction(number: Number, null: Number = ZERO) -> str:
    """`higher` or `lower` where a number's interval and its null's are apart."""
    low, high = number.span
    null_low, null_high = null.span
    if low > null_high:
        return "higher"
    return "lower" if high < null_low else "no clear difference"


# ---------------------------------------------------------------- numbers


def number(interval: Mapping, unit: str = "", *, signed: bool = False, key: str = "mean") -> Number:
    """The `Number` of {"mean", "low", "high"}; `key` is the name of the value itself."""
    return Number(interval[key], interval.get("low"), interval.get("high"), unit, signed)


def percent(shares: Mapping, *, signed: bool = False, key: str = "mean", unit: str = "%") -> Number:
    """The `Number`, in percent, of an interval of shares."""
    low, high = shares.get("low"), shares.get("high")
    if low is None or high is None:
        return Number(100 * shares[key], None, None, unit, signed)
    return Number(100 * shares[key], 100 * low, 100 * high, unit, signed)


def decimals(number: Number) -> int:
    """How many decimals an interval supports: two significant digits of its width where that begins
    with 1, 2 or 3, else one; of percent none where it is wider than 1.

    Without an interval: two significant digits of a number under 1, none of a large one.
    """
    if number.places is not None or isinstance(number.value, int):
        return number.places or 0
    low, high = number.span
    if low == high:
        size = abs(number.value)
        return 0 if size == 0 or size >= 100 else min(6, max(0, 1 - _magnitude(size)))
    width = high - low
    if number.unit.startswith("%") and width > 1:
        return 0
    leading = width / 10.0 ** _magnitude(width)
    places = min(6, max(0, -_magnitude(width) + (1 if leading < 3.55 else 0)))
    hides = low * high > 0 and 0 in (round(low, places), round(high, places))
    return places + hides  # an interval that excludes zero is not shown to end at it


def _magnitude(size: float) -> int:
    return math.floor(math.log10(size))


def rounded(value: float, places: int, *, signed: bool = False) -> str:
    """`value` with so many decimals, never `-0`; with thousands separated."""
    near = round(value, places) + 0.0
    if isinstance(value, int) or not places:
        near = int(near)
    return f"{near:{'+' if signed and near else ''},.{places}f}"


def text(number: Number, places: int | None = None) -> str:
    """`0.71 [0.67, 0.74]`, `9 % [7, 11]`, `0.35 [0.32, 0.40] nats`, `1,625`."""
    places = decimals(number) if places is None else places
    words, ends = rounded(number.value, places, signed=number.signed), ""
    if number.ends is not None:
        low, high = number.ends
        ends = f" [{rounded(low, places)}, {rounded(high, places)}]"
    if number.unit.startswith("%"):
        return f"{words} %{ends}{number.unit[1:]}"
    return words + ends + (f" {number.unit}" if number.unit else "")


def span(number: Number) -> str:
    """The interval alone, as a range: `29-45 %`; the number itself without one."""
    if number.ends is None:
        return text(number)
    low, high = number.ends
    places = decimals(number)
    ends = f"{rounded(low, places)}-{rounded(high, places)}"
    return f"{ends} %" if number.unit.startswith("%") else ends


def fixed(interval: Mapping | None, places: int = 3) -> str:
    """`0.512 [0.480, 0.541]`, with so many decimals, for the tables of --verbose; `-` for None."""
    if interval is None:
        return "-"
    mean, low, high = interval["mean"], interval["low"], interval["high"]
    return f"{mean:.{places}f} [{low:.{places}f}, {high:.{places}f}]"


def column(numbers: Iterable[Number | None]) -> list[str]:
    """The numbers of one column of a table, with equally many decimals; `-` for None.

    As many decimals as the median interval supports: one very wide one makes no column coarse.
    """
    cells = list(numbers)
    needed = sorted(decimals(cell) for cell in cells if cell is not None)
    places = needed[len(needed) // 2] if needed else 0
    return ["-" if cell is None else text(cell, places) for cell in cells]


# ---------------------------------------------------------------- words


def sentence(finding: Finding) -> str:
    """A finding in words. A signed number, a difference, is against zero, which is not said.

    `edges changed a step: 44 %, beyond noise (noise alone 36 % [27, 44]); 3 of 5 steps beyond`.
    """
    words = f"{finding.subject}: {text(finding.number)}"
    if finding.kind != "measured":
        words += f", {finding.kind}"
    null = finding.null
    if null is not None and not (finding.number.signed and null.number == ZERO):
        words += f" ({null.name}{'' if null.number is None else f' {text(null.number)}'})"
    if finding.difference is not None:
        words += f"; difference {text(finding.difference)}"
    return words + (f"; {finding.note}" if finding.note else "")


def p_words(p: float) -> str:
    """`p = 0.04`, `p = 0.001`; one digit of what is under 0.01."""
    return f"p = {p:.2f}" if p >= 0.01 else f"p = {p:.1g}"


def named(names: Sequence[str], of: int, *, most: int = 4) -> str:
    """`C_step0, C_step10`; `all`; `6 of 10` where there are too many to name."""
    if len(names) == of > 1:
        return f"all {of}"
    return ", ".join(names) if len(names) <= most else f"{len(names)} of {of}"
