"""The figure of bakeoff.json: what each arm reaches, and how far it is from random layers.

Plain numbers in, a Figure out.
"""

import numpy as np

from eap.style import COLOURS, subplots
from study.bakeoff.numbers import MEASURES, REFERENCES, SPOKEN, Measure
from study.bakeoff.words import layer_text

PLACEMENTS = {  # how layers are chosen: (colour by its meaning, marker, words of the legend)
    "none": ("base", "o", "no training"),
    "full": ("finetuned", "o", "every parameter"),
    "all": ("text", "o", "adapters in all layers"),
    "random": ("random", "o", "adapters in random layers"),
    "fixed": ("highlight", "^", "adapters in layers fixed beforehand"),
    "measured": ("circuit", "s", "adapters by circuit or observed change"),
}
ROW = 0.32  # inches, of an arm
SEED_OFFSET = 0.25  # of the seeds' small points, below the mean


def figure(result: dict):
    """A Figure: ROUGE-1 and summary NLL of each arm above, paired differences from one arm below.

    Bars are 95 % intervals over texts, small points single seeds. A difference is filled where the
    table has a word for it: an interval without zero, Holm's p under 5 %, all seeds agreeing.
    """
    reference = reference_of(result)
    arms = list(result["arms"])
    panels = [measure for measure in MEASURES if measure.name in SPOKEN]
    rows = 1 if reference is None else 2
    height = 1.4 + rows * (0.8 + ROW * len(arms))
    made, axes = subplots(rows, len(panels), figsize=(9.2, height), squeeze=False, sharey="row")
    for column, measure in enumerate(panels):
        _values(axes[0][column], result, measure=measure)
        if reference is not None:
            _differences(axes[1][column], result, measure=measure, reference=reference)
    made.suptitle(title(result), fontsize=9)
    placements = [arm["placement"] for arm in result["arms"].values()]
    _legend(made, placements, hollow=reference is not None)
    return made


def reference_of(result: dict) -> str | None:
    """The arm that differences are from: random layers if there are any, else all layers."""
    present = [name for name in reversed(REFERENCES) if name in result["differences"]]
    return present[0] if present else None


def title(result: dict) -> str:
    """What was trained on what, how often, and the trainable parameters if all arms share them."""
    counts = {round(np.mean(arm["trainable"])) for arm in result["arms"].values()}
    seeds = len(result["seeds"])
    words = [
        f"{result['model']} on {result['dataset']}",
        f"mean and 95 % interval over {result['n_texts']} texts",
        f"small points: {seeds} seeds" if seeds > 1 else "one seed",
    ]
    if len(counts) == 1:
        words.append(f"{counts.pop():,} trainable parameters in every arm")
    return "; ".join(words)


def labels(result: dict, arms: list[str]) -> list[str]:
    """What stands beside each arm: its name, its layers, and its parameters where they differ."""
    counts = {round(np.mean(arm["trainable"])) for arm in result["arms"].values()}
    made = []
    for name in arms:
        arm = result["arms"][name]
        layers = layer_text(arm["layers"])
        words = name if layers == "-" else f"{name}: layers {layers}"
        if len(counts) > 1:
            words += f" ({np.mean(arm['trainable']):,.0f})"
        made.append(words)
    return made


def _values(axis, result: dict, *, measure: Measure) -> None:
    """One measure of every arm, a row an arm, with the yardsticks of ROUGE."""
    arms = list(result["arms"])
    for row, name in enumerate(arms):
        arm = result["arms"][name]
        _point(axis, arm[measure.name], row=row, look=_look(arm["placement"]))
    if measure.name == "rouge1":
        for name, entry in result["yardsticks"].items():
            place = entry["rouge1"]["mean"]
            axis.axvline(place, color=COLOURS["chance"], linewidth=0.8, linestyle=":")
            axis.annotate(
                name,
                (place, 1),
                xycoords=("data", "axes fraction"),
                fontsize=7,
                rotation=90,
                ha="right",
                va="top",
            )
    _rows(axis, labels(result, arms))
    better = "more" if measure.higher_is_better else "less"
    axis.set(xlabel=f"{measure.label} ({measure.unit}; {better} is better)")


def _differences(axis, result: dict, *, measure: Measure, reference: str) -> None:
    """Paired differences of one measure from the reference, a row an arm."""
    rows = result["differences"][reference][measure.name]
    for row, (name, difference) in enumerate(rows.items()):
        look = _look(result["arms"][name]["placement"])
        _point(axis, difference, row=row, look=look, filled=difference["claim"] is not None)
    axis.axvline(0, color=COLOURS["chance"], linewidth=1)
    _rows(axis, labels(result, list(rows)))
    words = "random layers" if reference == "random" else "all layers"
    axis.set(xlabel=f"{measure.label}, difference from {words}")


def _point(axis, entry: dict, *, row: int, look: tuple[str, str], filled: bool = True) -> None:
    colour, marker = look
    error = np.clip([[entry["mean"] - entry["low"]], [entry["high"] - entry["mean"]]], 0, None)
    axis.errorbar(
        [entry["mean"]],
        [row],
        xerr=error,
        fmt=marker,
        color=colour,
        capsize=3,
        markersize=6,
        markerfacecolor=colour if filled else "white",
    )
    if len(entry["seeds"]) > 1:
        places = np.full(len(entry["seeds"]), row + SEED_OFFSET)
        axis.plot(entry["seeds"], places, ".", color=colour, markersize=4)


def _rows(axis, names: list[str]) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")


def _look(placement: str) -> tuple[str, str]:
    """(colour, marker) of a placement."""
    colour, marker, _ = PLACEMENTS[placement]
    return COLOURS[colour], marker


def _legend(made, placements: list[str], *, hollow: bool) -> None:
    """What colours and markers mean, of the placements that occur, below the panels."""
    from matplotlib.lines import Line2D

    handles = []
    for name, (_, _, words) in PLACEMENTS.items():
        if name in placements:
            colour, marker = _look(name)
            handles.append(
                Line2D([], [], linestyle="", color=colour, marker=marker, markersize=6, label=words)
            )
    if hollow:
        hollow_point = Line2D(
            [],
            [],
            linestyle="",
            color=COLOURS["text"],
            marker="o",
            markersize=6,
            markerfacecolor="white",
            label="hollow: no difference shown",
        )
        handles.append(hollow_point)
    made.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
