"""The figure of a circuit's stability: overlap against examples and against size. Plain data in."""

from eap.style import COLOURS, subplots
from study.drawing import columns

WORDS = {
    "resamples": "two resamples of n examples",
    "disjoint": "two disjoint samples of n examples",
}
LOOK = {"resamples": (COLOURS["noise"], "o"), "disjoint": (COLOURS["circuit"], "s")}
BESIDE = {"resamples": 0.008, "disjoint": -0.008}  # so that two intervals on the goal are both seen


def figure(about: dict | None, name: str, *, own_fraction: float):
    """A Figure of `metadata.stability`, or None for one example; `own_fraction` is the circuit's
    share of the edges, before pruning.
    """
    figure, (left, right) = subplots(1, 2, figsize=(10.4, 4.6), sharey=True)
    if about is None:
        left.set_title("one example: nothing to resample", fontsize=9)
        return figure
    _against_examples(left, about, own_fraction=own_fraction)
    _against_size(right, about, own_fraction=own_fraction)
    for axis in (left, right):
        axis.axhline(about["goal"], color=COLOURS["text"], lw=1.0, ls="-.", zorder=1)
    left.set(ylim=(0, 1.02), ylabel="Jaccard index of the two circuits' edges")
    figure.suptitle(f"{name}: how stable is the circuit?", fontsize=11)
    return figure


def _against_examples(axis, about: dict, *, own_fraction: float) -> None:
    farthest = about["examples"]
    for kind, words in WORDS.items():
        if not (curve := about[kind]):
            continue
        colour, marker = LOOK[kind]
        _measured(axis, curve["points"], colour=colour, marker=marker, words=words)
        if curve["ahead"]:
            _ahead(axis, curve["ahead"], colour=colour)
            farthest = max(farthest, curve["ahead"][-1]["examples"])
        if curve["needed"] and curve["needed"]["low"] is not None:
            _needed(
                axis,
                curve["needed"],
                goal=curve["goal"] + BESIDE[kind],
                farthest=farthest,
                colour=colour,
            )
    _goal_word(axis, about["goal"])
    axis.set_xscale("log", base=2)
    axis.set_xlabel("n, number of examples")
    axis.set_title(f"At {100 * own_fraction:.3g} % of the edges", fontsize=9)
    _plain_ticks(axis, _octaves(about, farthest))
    if axis.get_legend_handles_labels()[0]:
        legend(axis)
    else:
        axis.text(0.5, 0.5, "too few examples for a curve", transform=axis.transAxes, ha="center")


def legend(axis, columns: int = 2) -> None:
    """A legend below the axis: nothing that is drawn lies under it."""
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=columns, fontsize=7.5)


def _measured(axis, points: list[dict], *, colour: str, marker: str, words: str) -> None:
    n, overlap = [row["examples"] for row in points], columns(points)
    axis.fill_between(n, overlap.low, overlap.high, color=colour, alpha=0.15, lw=0)
    axis.plot(n, overlap.mean, marker=marker, color=colour, label=words)


def _ahead(axis, rows: list[dict], *, colour: str) -> None:
    n, overlap = [row["examples"] for row in rows], columns(rows)
    axis.plot(n, overlap.mean, ls="--", lw=1.2, color=colour, label="more examples, by the model")
    axis.fill_between(
        n,
        overlap.low,
        overlap.high,
        facecolor="none",
        edgecolor=colour,
        hatch="////",
        lw=0,
        alpha=0.35,
    )


def _needed(axis, needed: dict, *, goal: float, farthest: int, colour: str) -> None:
    high = farthest if needed["high"] is None else needed["high"]
    axis.plot((needed["low"], high), (goal, goal), color=colour, lw=3.5, solid_capstyle="butt")
    if needed["high"] is None:
        axis.plot(high, goal, ">", color=colour, ms=8)
    words = "examples that it takes"
    axis.plot(needed["examples"], goal, "D", color=colour, mec="white", ms=7, zorder=4, label=words)


def _against_size(axis, about: dict, *, own_fraction: float) -> None:
    rows = [row for row in about["sizes"] if row["fraction"] < 1]
    x = [100 * row["fraction"] for row in rows]
    overlap, colour = columns(rows), COLOURS["noise"]
    label = f"two resamples of all {about['examples']} examples"
    axis.fill_between(x, overlap.low, overlap.high, color=colour, alpha=0.15, lw=0)
    axis.plot(x, overlap.mean, color=colour, label=label)
    for stable, face, words in ((True, colour, "stable"), (False, "white", "not stable")):
        points = [(100 * row["fraction"], row["mean"]) for row in rows if row["stable"] == stable]
        if points:
            axis.plot(*zip(*points, strict=True), "o", color=colour, mfc=face, ms=6, label=words)
    chance = [row["chance"] for row in rows]
    axis.plot(x, chance, ls=":", color=COLOURS["chance"], label="chance")
    axis.axvline(100 * own_fraction, color=COLOURS["text"], lw=0.8, ls=":", zorder=0)
    axis.text(100 * own_fraction, 1.0, " this circuit", fontsize=7, ha="left", va="top")
    axis.set_xscale("log")
    axis.set_xlabel("edges kept before pruning, % of all")
    axis.set_title("At other sizes of the circuit", fontsize=9)
    _plain_ticks(axis, x)
    legend(axis)


def _goal_word(axis, goal: float) -> None:
    axis.text(
        0.01,
        goal + 0.01,
        f"stable: over {goal:g} between resamples",
        transform=axis.get_yaxis_transform(),
        fontsize=7,
        va="bottom",
    )


def _octaves(about: dict, farthest: int) -> list[int]:
    least = min(
        (row["examples"] for kind in WORDS if about[kind] for row in about[kind]["points"]),
        default=about["examples"],
    )
    return [2**power for power in range(20) if least / 1.5 <= 2**power <= 1.5 * farthest]


def _plain_ticks(axis, values: list) -> None:
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.minorticks_off()
