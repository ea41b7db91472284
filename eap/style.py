"""The look of every figure: one style, one palette keyed by meaning, readable in greyscale.

The palette is that of Okabe and Ito, which colour-blind readers can tell apart.
"""

import functools
import os
import sys
from typing import Any

COLOURS = {
    "base": "#0072B2",
    "finetuned": "#D55E00",
    "circuit": "#009E73",
    "random": "#999999",
    "control": "#56B4E9",
    "chance": "#666666",
    "noise": "#CC79A7",
    "highlight": "#E69F00",
    "text": "#000000",
}
SEQUENTIAL = "viridis"  # a quantity from zero up
DIVERGING = "PuOr"  # a signed quantity, white at zero
STYLE = {
    "figure.figsize": (6.4, 4.0),
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


def subplots(rows: int = 1, columns: int = 1, *, figsize=None, **options) -> tuple[Any, Any]:
    """(figure, axes) in this project's style, made for a file: no display, no backend, no pyplot.

    `options` are those of `Figure.subplots`. Words in the figure are drawn as they are written.
    """
    plain_backend()
    from matplotlib import rcParams

    # not a context: legends and ticks are drawn after this returns
    rcParams.update(STYLE)  # pyright: ignore
    figure = _figure_class()(figsize=figsize)
    ratios = {
        name: options.pop(name) for name in ("width_ratios", "height_ratios") if name in options
    }
    return figure, figure.subplots(rows, columns, **options, **ratios)


def plain_backend() -> None:
    """Let matplotlib be imported whatever MPLBACKEND says: a notebook sets it for children too."""
    if "matplotlib" not in sys.modules:
        os.environ["MPLBACKEND"] = "agg"


@functools.cache
def _figure_class():
    from matplotlib.figure import Figure

    class PlainFigure(Figure):
        """A figure whose words are no mathematics: names may hold dollar signs."""

        def draw(self, renderer):
            for text in _words(self):
                text.set_parse_math(False)
                text.set_text(drawable(text.get_text()))
            super().draw(renderer)

    return PlainFigure


def _words(figure) -> list:
    """Every text of a figure but the numbers that matplotlib writes on axes: these may be 10^-3."""
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    numbers = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter):
                numbers.update(axis.get_ticklabels(which="both"))
    return [text for text in figure.findobj(Text) if text not in numbers]


def drawable(text: str) -> str:
    """`text` with a replacement character for bytes of a file name that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def sizes_on(axis) -> None:
    """Make the x axis of `axis` one of sizes in percent: logarithmic, labels at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
