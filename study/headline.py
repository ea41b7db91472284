"""What a stage says in at most 15 lines: claims as records, and the one place that words them."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

WIDTH = 100  # columns, where no terminal is narrower
MOST_LINES = 15
MOST_FINDINGS = 4
FEWEST_ROWS = 6  # of a table that has more; then findings give way
MOST_NAMED = 3  # files of one kind; of more the first and the last are named
NO_BREAK = "\u00a0"
GAP = "   "  # between two columns of a table

# What an interval allows to say of a number; `measured` says nothing.
KINDS = (
    "measured",
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
    "no claim",
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
    def width(self) -> float | None:
        """Of the interval; None without one."""
        return None if self.low is None or self.high is None else self.high - self.low


@dataclass(frozen=True)
class Null:
    """What a number is to be seen against: what chance, noise or another circuit gives."""

    name: str
    number: Number | None = None


@dataclass(frozen=True)
class Finding:
    """A claim, or a number without one: of what, how much, against what, in one of KINDS."""

    kind: str
    subject: str
    number: Number
    null: Null | None = None
    note: str = ""  # what is said after it

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"expected a kind of {', '.join(KINDS)}, got {self.kind!r}")


@dataclass(frozen=True)
class Table:
    """Rows of words under a head; the first column is left-aligned. `note` explains marks."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Headline:
    """What a stage says by default: what was run on what, a table, findings, cautions."""

    title: str
    table: Table | None = None
    findings: tuple[Finding, ...] = ()
    cautions: tuple[str, ...] = ()  # those that apply now, a few words each


class Line(NamedTuple):
    """A line of text and what it is: title, head, caution, written, or nothing of these."""

    text: str
    style: str = ""


# ---------------------------------------------------------------- numbers


def number(interval: dict, unit: str = "", *, signed: bool = False, key: str = "mean") -> Number:
    """The `Number` of {"mean", "low", "high"}; `key` is the name of the value itself."""
    return Number(interval[key], interval.get("low"), interval.get("high"), unit, signed)


def percent(shares: dict, *, signed: bool = False, key: str = "mean", unit: str = "%") -> Number:
    """The `Number`, in percent, of an interval of shares."""
    ends = [shares[key], shares.get("low"), shares.get("high")]
    value, low, high = [None if end is None else 100 * end for end in ends]
    return Number(value, low, high, unit, signed)


def decimals(number: Number) -> int:
    """How many decimals an interval supports: two significant digits of its width where that begins
    with 1, 2 or 3, else one; of percent none where it is wider than 1.

    Without an interval: two significant digits of a number under 1, none of a large one.
    """
    width = number.width
    if number.places is not None or isinstance(number.value, int):
        return number.places or 0
    if not width:
        size = abs(number.value)
        return 0 if size == 0 or size >= 100 else min(6, max(0, 1 - _magnitude(size)))
    if number.unit.startswith("%") and width > 1:
        return 0
    leading = width / 10.0 ** _magnitude(width)
    places = min(6, max(0, -_magnitude(width) + (1 if leading < 3.55 else 0)))
    hidden = number.low * number.high > 0 and not all(
        round(end, places) for end in (number.low, number.high)
    )
    return places + hidden  # an interval that excludes zero is not shown to end at it


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
    words = rounded(number.value, places, signed=number.signed)
    ends = ""
    if number.width is not None:
        ends = f" [{rounded(number.low, places)}, {rounded(number.high, places)}]"
    if number.unit.startswith("%"):
        return f"{words} %{ends}{number.unit[1:]}"
    return words + ends + (f" {number.unit}" if number.unit else "")


def span(number: Number) -> str:
    """The interval alone, as a range: `29-45 %`; the number itself without one."""
    if number.width is None:
        return text(number)
    places = decimals(number)
    ends = f"{rounded(number.low, places)}-{rounded(number.high, places)}"
    return f"{ends} %" if number.unit.startswith("%") else ends


def column(numbers: Iterable[Number | None]) -> list[str]:
    """The numbers of one column of a table, with equally many decimals; `-` for None.

    As many decimals as the median interval supports: one very wide one makes no column coarse.
    """
    cells = list(numbers)
    needed = sorted(decimals(cell) for cell in cells if cell is not None)
    places = needed[len(needed) // 2] if needed else 0
    return ["-" if cell is None else text(cell, places) for cell in cells]


def p_words(p: float) -> str:
    """`p = 0.04`, `p = 0.001`; one digit of what is under 0.01."""
    return f"p = {p:.2f}" if p >= 0.01 else f"p = {p:.1g}"


# ---------------------------------------------------------------- words


def sentence(finding: Finding) -> str:
    """A finding in words.

    `edges changed a step: 44 %, beyond noise (noise alone 36 % [27, 44])`.
    """
    words = f"{finding.subject}: {text(finding.number)}"
    if finding.kind != "measured":
        words += f", {finding.kind}"
    if finding.null is not None:
        null = finding.null
        words += f" ({null.name}{' ' + text(null.number) if null.number else ''})"
    return words + (f"; {finding.note}" if finding.note else "")


def named(names: Sequence[str], of: int, most: int = 4) -> str:
    """`C_step0, C_step10`; `all`; `6 of 10` where there are too many to name."""
    if len(names) == of > 1:
        return f"all {of}"
    return ", ".join(names) if len(names) <= most else f"{len(names)} of {of}"


def show(console, headline: Headline, outputs: Sequence, details: Sequence[str] = ()) -> None:
    """Print a headline and what was written on a `runs.console.Console`, after the details if that
    is verbose.
    """
    console.detail(*details, *([""] if details else []))
    wrote = written(outputs) + ("" if console.verbose else "; more: --verbose")
    console.show(lines(headline, wrote, console.width))


def written(paths: Sequence) -> str:
    """`wrote outputs/x/evolution.json, layers.evolution.json, 6 plots`."""
    files = [Path(path) for path in paths]
    if len(files) > MOST_NAMED and len({(file.parent, file.suffix) for file in files}) == 1:
        return f"wrote {len(files)} files: {files[0]} to {files[-1].name}"
    plots = [file for file in files if file.suffix in (".png", ".svg", ".pdf")]
    named = [file for file in files if file not in plots or len(plots) == 1]
    words, before = [], None
    for file in named:
        words.append(_short(file, before))
        before = before if words[-1].startswith(".") else file
    if len(plots) > 1:
        words.append(f"{len(plots)} plots")
    return f"wrote {', '.join(words)}"


def _short(file: Path, before: Path | None) -> str:
    """A file's name after that of another one: without their common folder, or stem."""
    if before is None or file.parent != before.parent:
        return str(file)
    same_stem = file.name.startswith(f"{before.stem}.")
    return file.name.removeprefix(before.stem) if same_stem else file.name


def lines(headline: Headline, wrote: str = "", width: int = WIDTH) -> list[Line]:
    """At most `MOST_LINES` lines of `WIDTH` columns; more where `width` is less and lines break.

    Where there are too many, blank lines give way first, then rows of the table, then the last
    findings: what is left out stands in the JSON.
    """
    shown = fitted(headline, wrote)
    blocks = _blocks(shown, wrote, width)
    room = MOST_LINES - sum(len(block) for block in _blocks(shown, wrote, WIDTH))
    top, rows, findings, bottom = blocks
    before = [Line("")] if rows and room > 0 else []
    after = [Line("")] if rows and room > 1 else []
    return [*top, *before, *rows, *after, *findings, *bottom]


def fitted(headline: Headline, wrote: str = "") -> Headline:
    """The headline with so many rows and findings as `MOST_LINES` lines of `WIDTH` columns hold."""
    headline = replace(headline, findings=headline.findings[:MOST_FINDINGS])
    while True:
        blocks = _blocks(headline, wrote, WIDTH)
        over = sum(len(block) for block in blocks) - MOST_LINES
        if over <= 0:
            return headline
        shorter = _shorter(headline.table, over) if headline.table else None
        if shorter is not None:
            return replace(headline, table=shorter)
        if not headline.findings:
            return headline  # cautions are never left out
        headline = replace(headline, findings=headline.findings[:-1])


def _blocks(headline: Headline, wrote: str, width: int) -> tuple[list[Line], ...]:
    """Title, table, findings, and what stands below them."""
    findings = [line for one in headline.findings for line in _wrapped(sentence(one), width)]
    bottom = [*_cautions(headline, width), *_wrapped(wrote, width, "written")]
    rows = _drawn(headline.table, width) if headline.table and headline.table.rows else []
    return _wrapped(headline.title, width, "title"), rows, findings, bottom


def _shorter(table: Table, over: int) -> Table | None:
    """The table with `over` lines less: rows before the last one left out, and a row that says so.

    None where fewer than `FEWEST_ROWS` would be left.
    """
    left = len(table.rows) - over
    if left < min(FEWEST_ROWS, len(table.rows)):
        return None
    out = len(table.rows) - left + 1  # one more, for the row that says so
    between = (f"... {out} more", *[""] * (len(table.head) - 1))
    return replace(table, rows=(*table.rows[: left - 2], between, table.rows[-1]))


def _wrapped(words: str, width: int, style: str = "") -> list[Line]:
    """`words` in lines that do not break within an interval."""
    whole = re.sub(r"\[[^\]]*\]", lambda found: found[0].replace(" ", NO_BREAK), words)
    parts = wrap(
        whole, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return [Line(part.replace(NO_BREAK, " "), style) for part in parts]


def _cautions(headline: Headline, width: int) -> list[Line]:
    if not headline.cautions:
        return []
    return _wrapped(f"caution: {'; '.join(headline.cautions)}", width, "caution")


def _drawn(table: Table, width: int) -> list[Line]:
    """Head, rows and note; columns that do not fit into `width` are left out, from the right."""
    columns = list(zip(table.head, *table.rows, strict=True))
    widths = [max(map(cell_length, cells)) for cells in columns]
    n = len(columns)
    while n > 2 and sum(widths[:n]) + len(GAP) * (n - 1) > width:
        n -= 1
    drawn = []
    for number, row in enumerate((table.head, *table.rows)):
        cells = [_padded(cell, widths[i], left=i == 0) for i, cell in enumerate(row[:n])]
        drawn.append(Line(GAP.join(cells).rstrip(), "" if number else "head"))
    return [*drawn, *_wrapped(table.note, width)]


def _padded(cell: str, width: int, *, left: bool) -> str:
    blanks = " " * (width - cell_length(cell))
    return cell + blanks if left else blanks + cell


def cell_length(words: str) -> int:
    """Columns of a terminal that a text takes; those of Chinese take two each."""
    from rich.cells import cell_len

    return cell_len(words)
