"""Tables of the page, from the stages' JSON: what fits in a cell, as read and as it stands."""

from dataclasses import dataclass

from study.page import rounding

SHOWN_ROWS = 12  # of a table at first; a button shows the others
MOST_ROWS = 400  # of a table in the page; the rest stands in the JSON
MOST_ITEMS = 12  # of a list in one cell
# what is no row of a table of single numbers: sentences stand above it
NOT_ROWS = ("format", "lines", "sentences")


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and what it is sorted by and copied as: the number of the JSON."""

    text: str
    value: str | float | int | None


@dataclass(frozen=True)
class Table:
    """A table; `left_out` counts the rows that are in the JSON alone."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    left_out: int = 0


def table(caption: str, result) -> Table | None:
    """The table of JSON content; None if there is nothing that fits in cells.

    A list of objects: a row each. An object of objects: a row each, named by its key. Any other
    object: a row per entry. What fits in a cell: numbers, words, intervals {"mean", "low",
    "high"}, short lists of words or whole numbers.
    """
    rows = _rows(result)
    names = dict.fromkeys(name for row in rows for name, value in row.items() if fits(value))
    columns = list(names)
    if not columns or (len(columns) == 1 and isinstance(result, dict)):
        return None
    cells = [[cell(row.get(name)) for name in columns] for row in rows[:MOST_ROWS]]
    heads = [name.replace("_", " ") for name in columns]
    return Table(caption, heads, cells, max(0, len(rows) - MOST_ROWS))


def _rows(result) -> list[dict]:
    if isinstance(result, list):
        return [row for row in result if isinstance(row, dict)]
    if not isinstance(result, dict):
        return []
    if all(isinstance(value, dict) and not is_interval(value) for value in result.values()):
        return [{"": name, **value} for name, value in result.items()]
    shown = {name: value for name, value in result.items() if fits(value)}
    return [
        {"": name.replace("_", " "), "value": value}
        for name, value in shown.items()
        if name not in NOT_ROWS
    ]


def is_interval(value) -> bool:
    """Whether a JSON value is a number with its interval."""
    return (
        isinstance(value, dict)
        and {"mean", "low", "high"} <= value.keys()
        and not isinstance(value["mean"], list | dict)
    )


def fits(value) -> bool:
    """Whether a JSON value can be shown in a cell."""
    if isinstance(value, list):
        plain = not any(isinstance(item, list | dict | float) for item in value)
        return plain and len(value) <= MOST_ITEMS
    return not isinstance(value, dict) or is_interval(value)


def cell(value) -> Cell:
    """The cell of a JSON value; empty for what does not fit."""
    if value is None or not fits(value):
        return Cell("", None)
    if is_interval(value):
        return Cell(rounding.with_interval(value), value["mean"])
    if isinstance(value, bool):
        return Cell("yes" if value else "no", int(value))
    if isinstance(value, list):
        text = ", ".join(cell(item).text for item in value)
        return Cell(text, text)
    if isinstance(value, int | float):
        return Cell(rounding.number(value), value)
    return Cell(str(value), str(value))
