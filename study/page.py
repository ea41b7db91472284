"""One self-contained HTML page from pictures and JSON files. Pure functions: plain data in, HTML text out; everything is escaped."""

import base64
import html
from pathlib import Path

MOST_ROWS = 25  # of a table; the rest stands in the JSON
MOST_ITEMS = 12  # of a list in one cell
STYLE = """
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; background: #fff; color: #1a1a1a; font: 16px/1.5 system-ui, sans-serif; }
h1 { margin-bottom: 0; } h2 { margin-top: 3rem; border-bottom: 2px solid #0072b2; } h3 { margin-bottom: .3rem; }
.reading { background: #f3f6f9; padding: .6rem .9rem; border-left: 4px solid #0072b2; }
nav a { margin-right: 1rem; } a { color: #005a8d; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; } figcaption, .more { color: #555; font-size: .85rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; white-space: nowrap; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #888; white-space: normal; vertical-align: bottom; }
@media print { body { max-width: none; margin: 0; font-size: 10pt; } nav { display: none; } section + section { break-before: page; }
img { max-height: 22cm; }
figure, tr { break-inside: avoid; } .wide { overflow: visible; }
th, td { white-space: normal; padding: .1rem .3rem; } table { font-size: 7pt; } }
"""


def page(title: str, introduction: str, sections: list[tuple[str, str]]) -> str:
    """The whole page; `sections` are (heading, HTML)."""
    links = "".join(
        f'<a href="#s{i}">{html.escape(heading)}</a>\n' for i, (heading, _) in enumerate(sections)
    )
    body = "".join(
        f'<section id="s{i}">\n<h2>{html.escape(heading)}</h2>\n{text}</section>\n'
        for i, (heading, text) in enumerate(sections)
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n"
        f"<p>{html.escape(introduction)}</p>\n<nav>\n{links}</nav>\n{body}</body>\n</html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph, of a CSS class if `kind` is given."""
    return (
        f'<p class="{kind}">{html.escape(text)}</p>\n' if kind else f"<p>{html.escape(text)}</p>\n"
    )


def bullets(lines: list[str]) -> str:
    """A list of sentences, each once; "" for none."""
    items = "".join(f"<li>{html.escape(str(line))}</li>\n" for line in dict.fromkeys(lines))
    return f"<ul>\n{items}</ul>\n" if items else ""


def heading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{html.escape(text)}</h3>\n"


def picture(path: Path, caption: str) -> str:
    """A figure with the PNG inside the page, as a data URI."""
    data, text = base64.b64encode(Path(path).read_bytes()).decode(), html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>\n'


# ---------------------------------------------------------------- tables


def table(caption: str, content) -> str:
    """A table of JSON content, or "" if there is nothing that fits in cells.

    A list of objects: a row each. An object of objects: a row each, named by its key. Any other object: a row per entry. What fits
    in a cell: numbers, words, intervals {"mean", "low", "high"}, short lists of words or whole numbers.
    """
    rows = _rows(content)
    columns = list(
        dict.fromkeys(name for row in rows for name, value in row.items() if fits(value))
    )
    if not columns or len(columns) == 1 and isinstance(content, dict):
        return ""
    head = "".join(
        f'<th scope="col">{html.escape(name.replace("_", " "))}</th>' for name in columns
    )
    body = "".join(
        f"<tr>{''.join(f'<td>{cell(row.get(name))}</td>' for name in columns)}</tr>\n"
        for row in rows[:MOST_ROWS]
    )
    more = (
        paragraph(f"{len(rows) - MOST_ROWS} more rows in the JSON file", "more")
        if len(rows) > MOST_ROWS
        else ""
    )
    return (
        f'<div class="wide"><table><caption>{html.escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n{more}"
    )


def _rows(content) -> list[dict]:
    if isinstance(content, list):
        return [row for row in content if isinstance(row, dict)]
    if not isinstance(content, dict):
        return []
    if all(isinstance(value, dict) and not is_interval(value) for value in content.values()):
        return [{"": name, **value} for name, value in content.items()]
    shown = {
        name: value
        for name, value in content.items()
        if fits(value) and name not in ("format", "lines")
    }
    return [{"": name.replace("_", " "), "value": value} for name, value in shown.items()]


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
        return len(value) <= MOST_ITEMS and not any(
            isinstance(item, list | dict | float) for item in value
        )
    return not isinstance(value, dict) or is_interval(value)


def cell(value) -> str:
    """The escaped text of a cell: four significant digits, an interval as `mean [low, high]`, nothing for what does not fit."""
    if value is None or not fits(value):
        return ""
    if is_interval(value):
        return f"{cell(value['mean'])} [{cell(value['low'])}, {cell(value['high'])}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(cell(item) for item in value)
    return f"{value + 0.0:.4g}" if isinstance(value, float) else html.escape(str(value))
