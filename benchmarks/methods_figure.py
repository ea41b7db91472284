"""The figure of `benchmarks/methods.py`: plain rows in, a matplotlib Figure out."""

import numpy as np

SIZE = 5  # %: the circuit of the yardstick whose f the other is to reach
STABLE = 0.8


def plot(rows, *, yardstick: str, ours: str):
    """A Figure: f over size on each model; overlap of circuits over pairs, and over time.

    `ours` and `yardstick` are drawn strong, with what the one saves of the other; all others are
    grey.
    """
    from eap.style import subplots

    models = list(dict.fromkeys(row["model"] for row in rows))
    panels = len(models) + 2
    figure, axes = subplots(1, panels, figsize=(3.1 * panels, 3.7))
    shown = {yardstick: "base", ours: "circuit"}
    for axis, model in zip(axes, models, strict=False):
        _faithfulness(axis, [row for row in rows if row["model"] == model], shown)
        axis.set_title(f"How much does it carry? {model.capitalize()} model", fontsize=9)
    last = [row for row in rows if row["model"] == models[-1]]
    _overlap(axes[-2], last, shown, by_time=False)
    _overlap(axes[-1], last, shown, by_time=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _look(way: str, shown: dict) -> dict:
    """How a method's line is drawn."""
    from eap.style import COLOURS

    if way in shown:
        return {"color": COLOURS[shown[way]], "lw": 2.6, "zorder": 3, "label": way}
    if way.startswith("secant"):
        return {"color": COLOURS["circuit"], "lw": 0.8, "ls": "--", "label": "secant's variants"}
    if way == "edge gates":
        return {"color": COLOURS["highlight"], "lw": 1.2, "ls": "-.", "label": way}
    return {"color": "#aaaaaa", "lw": 0.8, "label": "the others"}


def _draw(axis, x, y, way: str, shown: dict, marker: str = "o") -> None:
    look = _look(way, shown)
    if look["label"] in axis.get_legend_handles_labels()[1]:
        look["label"] = None
    size = 4.5 if way in shown else 2.5
    axis.plot(x, y, marker, ls=look.pop("ls", "-"), ms=size, **look)


def _faithfulness(axis, rows, shown: dict) -> None:
    """f over size, with the interval of the two methods that are compared."""
    from eap.style import COLOURS

    curves = {}
    for row in sorted(rows, key=lambda row: row["way"] in shown):
        points = row["mean"]["f"]
        x = np.array([100 * point["fraction"] for point in points])
        y = np.array([point["f"] for point in points])
        _draw(axis, x, y, row["way"], shown)
        if row["way"] in shown:
            low, high = [point["low"] for point in points], [point["high"] for point in points]
            colour = COLOURS[shown[row["way"]]]
            axis.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
            curves[row["way"]] = x, y
    axis.set(
        xscale="log", xlabel="edges in the circuit (%)", ylabel="faithfulness f", ylim=(0, 1.04)
    )
    axis.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axis.minorticks_off()
    ours = [row for row in rows if row["way"] == list(shown)[-1]]
    if len(curves) == 2 and _is_apart(ours[0]["mean"]["f"]):
        _saved_edges(axis, *(curves[way] for way in shown))


def _reach(x, y, goal: float) -> float:
    """Where a curve first reaches the goal, linear in log x; NaN where not, or above from x[0]."""
    above = np.flatnonzero(np.asarray(y) >= goal)
    if not len(above) or above[0] == 0:
        return float("nan")
    i = above[0]
    share = (goal - y[i - 1]) / (y[i] - y[i - 1])
    return float(np.exp(np.log(x[i - 1]) + share * (np.log(x[i]) - np.log(x[i - 1]))))


def _arrow(axis, start: float, end: float, height: float, words: str) -> None:
    """A horizontal arrow from one curve to the other; its words stand in the free corner."""
    style = {"arrowstyle": "-|>", "color": "black", "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (end, height), (start, height), arrowprops=style, zorder=4)
    x, y, across, up = min(CORNERS, key=lambda corner: _covered(axis, *corner[:2]))
    place = {"transform": axis.transAxes, "ha": across, "va": up}
    axis.text(x, y, words, fontsize=10, fontweight="bold", **place)


# Where words may stand, in parts of the axes, with their alignment; and what they take of these.
CORNERS = ((0.98, 0.03, "right", "bottom"), (0.03, 0.97, "left", "top"))
WORDS_WIDE, WORDS_HIGH = 0.72, 0.16


def _covered(axis, x: float, y: float) -> int:
    """How many points of the curves, taken closely, lie where words in this corner would stand."""
    count = 0
    for line in axis.lines:
        if len(line.get_xdata()) < 2 or line.get_transform() != axis.transData:
            continue  # a level across the axes
        points = line.get_transform().transform(line.get_xydata())
        across, up = axis.transAxes.inverted().transform(points).T
        closely = np.linspace(across.min(), across.max(), 200)
        heights = np.interp(closely, across, up)
        count += int(((abs(closely - x) < WORDS_WIDE) & (abs(heights - y) < WORDS_HIGH)).sum())
    return count


def _is_apart(points: list[dict]) -> bool:
    """Whether the paired difference from the yardstick at `SIZE` % has an interval without zero."""
    from study.faithfulness.numbers import supports_claim

    return any(
        supports_claim(point["difference"])
        for point in points
        if abs(100 * point["fraction"] - SIZE) < 1e-9
    )


def _saved_edges(axis, yardstick, ours) -> None:
    """An arrow from the yardstick's circuit of `SIZE` % to ours of the same f."""
    goal = float(np.interp(SIZE, *yardstick))
    end = _reach(*ours, goal)
    if not np.isfinite(end):
        return
    kind, times = ("fewer", SIZE / end) if end < SIZE else ("more", end / SIZE)
    words = f"f of its {SIZE} % circuit\nwith {times:.1f}x {kind} edges"
    _arrow(axis, SIZE, end, goal, words)


def _overlap(axis, rows, shown: dict, by_time: bool) -> None:
    """Overlap, at the larger size, of circuits of two disjoint samples.

    Over pairs or seconds in a sample.
    """
    from eap.style import COLOURS

    curves = {}
    for row in sorted(rows, key=lambda row: row["way"] in shown):
        points = row["mean"]["disjoint"]
        scale = row["seconds"] if by_time else 1
        x = [point["pairs"] * scale for point in points]
        y = [point["jaccard"][-1] for point in points]
        if x:
            _draw(axis, x, y, row["way"], shown)
            curves[row["way"]] = x, y
    axis.axhline(STABLE, color=COLOURS["chance"], ls=":", lw=1)
    axis.annotate("stable", (0, STABLE), (3, 2), **_AT_LEFT)
    what = "Does it come out again? By time" if by_time else "Does it come out again? By pairs"
    label = "seconds for each of two samples" if by_time else "pairs in each of two samples"
    axis.set(xscale="log", ylim=(0, 1), xlabel=label, ylabel="overlap at 5 % of the edges")
    axis.set_title(what, fontsize=9)
    if not by_time:
        ticks = [6, 12, 24, 48, 96, 192]
        axis.set_xticks(ticks, [str(n) for n in ticks])
        axis.minorticks_off()
    if all(way in curves for way in shown):
        yardstick, ours = [curves[way] for way in shown]
        start, goal = yardstick[0][-1], yardstick[1][-1]
        end = _reach(*ours, goal)
        if np.isfinite(end) and start > end:
            kind = "faster" if by_time else "fewer pairs"
            words = f"the same overlap\n{start / end:.0f}x {kind}"
            _arrow(axis, start, end, goal, words)


_AT_LEFT = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "fontsize": 8,
}
