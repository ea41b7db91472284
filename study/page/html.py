"""The page as one HTML file: the template filled, style and scripts inside, nothing fetched."""

import json
from pathlib import Path

from study.findings import Number
from study.page import rounding, tables
from study.page.gathering import Page

FOLDER = Path(__file__).parent
STYLE = "style.css"
# of the folder `scripts`, in this order: later ones use what earlier ones define
SCRIPTS = (
    "elements.js",
    "actions.js",
    "numbers.js",
    "view_state.js",
    "sortable_tables.js",
    "unpacking.js",
    "graph.js",
    "edge_ranking.js",
    "edge_filter.js",
    "choices.js",
    "edge_slider.js",
    "circuit_layout.js",
    "circuit_hits.js",
    "circuit_drawing.js",
    "scene.js",
    "circuit_legend.js",
    "panel_head.js",
    "circuit_facts.js",
    "edge_table.js",
    "score_trajectory.js",
    "node_panel.js",
    "edge_panel.js",
    "circuit_panel.js",
    "circuit_controls.js",
    "control_events.js",
    "explorer_pointer.js",
    "explorer_keys.js",
    "checkpoint_player.js",
    "edge_fade.js",
    "circuit_explorer.js",
    "example_text.js",
    "example_summary.js",
    "example_view.js",
    "start.js",
)


def render(page: Page) -> str:
    """The whole file. Jinja2 escapes every text; data for scripts is JSON without `<`, `>`, `&`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = script_json
    environment.globals |= {
        "whisker": whisker,
        "shown_rows": tables.SHOWN_ROWS,
        "style": (FOLDER / STYLE).read_text(encoding="utf-8"),
        "scripts": {name: script(name) for name in SCRIPTS},
    }
    return environment.get_template("page.html.jinja").render(page=page)


def script(name: str) -> str:
    """One of the page's scripts."""
    return (FOLDER / "scripts" / name).read_text(encoding="utf-8")


def script_json(value) -> str:
    """JSON that may stand inside a <script>: ASCII, and no character that could end it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def whisker(number: Number, null: Number) -> dict:
    """Where a number and its null lie on an axis from 0 to 100 that holds both, and zero's place
    where the axis has one.
    """
    values = [number.value, *number.span, null.value, *null.span]
    low, high = min(values), max(values)
    if low > 0 and low < 0.75 * high:  # a number that is far from zero beside one that is not
        low = 0.0
    room = (high - low or abs(high) or 1.0) * 0.06
    start, width = low - room, (high - low or abs(high) or 1.0) + 2 * room

    def place(value: float) -> float:
        return round(100.0 * (value - start) / width, 2)

    def places(shown: Number) -> dict[str, float]:
        least, most = shown.span
        return {"mean": place(shown.value), "low": place(least), "high": place(most)}

    return {
        "number": places(number),
        "null": places(null),
        "zero": place(0.0) if start <= 0.0 <= start + width else None,
        "from": rounding.number(low, 2),
        "to": rounding.number(high, 2),
    }
