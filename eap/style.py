"""The look of every figure: one style, one colour-blind palette keyed by meaning (Okabe and Ito), readable in greyscale."""

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


def subplots(rows: int = 1, columns: int = 1, **options):
    """`matplotlib.pyplot.subplots` in this project's style, without a display. Returns (figure, axes)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)  # not a context: legends and ticks are drawn after this returns
    return plt.subplots(rows, columns, **options)
