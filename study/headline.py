"""What a stage says in at most 15 lines: a title, a table, its findings, cautions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

from study.findings import Finding, sentence

WIDTH = 100  # columns, where no terminal is narrower
MOST_LINES = 15
MOST_FINDINGS = 4
FEWEST_ROWS = 6  # of a table that has more; then findings give way
MOST_NAMED = 3  # files of one kind; of more the first and the last are named
NO_BREAK = "\u00a0"
GAP = "   "  # between two columns of a table


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


def show(console, headline: Headline, *, outputs: Sequence, details: Sequence[str] = ()) -> None:
    """Print a headline and what was written on a `runs.console.Console`, after the details if that
    is verbose.
    """
    console.detail(*details, *([""] if details else []))
    wrote = written(outputs) + ("" if console.verbose else "; more: --verbose")
    console.show(lines(headline, wrote, width=console.width))


def written(paths: Sequence) -> str:
    """`wrote outputs/x/evolution.json, layers.evolution.json, 6 plots`."""
    files = [Path(path) for path in paths]
    if len(files) > MOST_NAMED and len({(file.parent, file.suffix) for file in files}) == 1:
        return f"wrote {len(files)} files: {files[0]} to {files[-1].name}"
    plots = [file for file in files if file.suffix in (".png", ".svg", ".pdf")]
    singly = [file for file in files if file not in plots or len(plots) == 1]
    words, before = [], None
    for file in singly:
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


def lines(headline: Headline, wrote: str = "", *, width: int = WIDTH) -> list[Line]:
    """At most `MOST_LINES` lines of `WIDTH` columns; more where `width` is less and lines break.

    Where there are too many, blank lines give way first, then rows of the table, then the last
    findings: what is left out stands in the JSON.
    """
    shown = fitted(headline, wrote)
    blocks = _blocks(shown, wrote, width=width)
    room = MOST_LINES - sum(len(block) for block in _blocks(shown, wrote, width=WIDTH))
    top, rows, findings, bottom = blocks
    before = [Line("")] if rows and room > 0 else []
    after = [Line("")] if rows and room > 1 else []
    return [*top, *before, *rows, *after, *findings, *bottom]


def fitted(headline: Headline, wrote: str = "") -> Headline:
    """The headline with so many rows and findings as `MOST_LINES` lines of `WIDTH` columns hold."""
    headline = replace(headline, findings=headline.findings[:MOST_FINDINGS])
    while True:
        blocks = _blocks(headline, wrote, width=WIDTH)
        over = sum(len(block) for block in blocks) - MOST_LINES
        if over <= 0:
            return headline
        shorter = _shorter(headline.table, over) if headline.table else None
        if shorter is not None:
            return replace(headline, table=shorter)
        if not headline.findings:
            return headline  # cautions are never left out
        headline = replace(headline, findings=headline.findings[:-1])


def _blocks(headline: Headline, wrote: str, *, width: int) -> tuple[list[Line], ...]:
    """Title, table, findings, and what stands below them."""
    findings = []
    for finding in headline.findings:
        findings += _wrapped(sentence(finding), width)
    bottom = [*_cautions(headline, width), *_wrapped(wrote, width, style="written")]
    rows = _drawn(headline.table, width) if headline.table and headline.table.rows else []
    return _wrapped(headline.title, width, style="title"), rows, findings, bottom


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


def _wrapped(words: str, width: int, *, style: str = "") -> list[Line]:
    """`words` in lines that do not break within an interval."""
    whole = re.sub(r"\[[^\]]*\]", lambda interval: interval[0].replace(" ", NO_BREAK), words)
    parts = wrap(
        whole, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return [Line(part.replace(NO_BREAK, " "), style) for part in parts]


def _cautions(headline: Headline, width: int) -> list[Line]:
    if not headline.cautions:
        return []
    return _wrapped(f"caution: {'; '.join(headline.cautions)}", width, style="caution")


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
