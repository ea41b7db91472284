"""Figures of robustness.json: plain numbers in, a matplotlib Figure out."""

from typing import NamedTuple

import numpy as np

from eap import MIN_EXAMPLES
from eap.style import COLOURS, SEQUENTIAL, subplots
from study.drawing import columns


def overlap(result: dict):
    """A Figure: every pair of circuits beside chance, noise floors and swapped labels; the curve
    over perturbed inputs if there is one.
    """
    curve = result["perturbation"]
    figure, axes = subplots(
        1, 2 if curve else 1, figsize=(10.4 if curve else 6, 4.2), squeeze=False
    )
    _bars(axes[0][0], result)
    if curve:
        _curve(axes[0][1], curve)
    return figure


class Bar(NamedTuple):
    """An overlap: its label, its interval, what chance gives, and what swapped models give."""

    label: str
    value: float
    colour: str
    interval: tuple[float, float] | None = None
    chance: float | None = None
    swapped: float | None = None


def _itself(row: dict) -> Bar:
    """A circuit's overlap with itself on resampled examples."""
    about = row["bootstrap"]
    noise, word = about["noise_floor"], ""
    if about["examples"] >= MIN_EXAMPLES:
        word = "stable, " if about["stable"] else "not stable, "
    label = f"{row['name']}, resampled\n({word}n = {about['examples']})"
    return Bar(label, noise["mean"], COLOURS["noise"], (noise["low"], noise["high"]))


def _pair(row: dict) -> Bar:
    """The overlap of two circuits."""
    test, interval = row["different"], None
    if row["low"] is not None:
        interval = (row["low"], row["high"])
    label, swapped = f"{row['a']}\nand {row['b']}", None
    if test:
        label += f"\n(p = {test['p']:.3f}, n = {test['examples']})"
        swapped = 1 - test["null"]["mean"]
    chance = row["chance"]["mean"]
    return Bar(label, row["jaccard_edges"], COLOURS["circuit"], interval, chance, swapped)


def _bars(axis, result: dict) -> None:
    """A bar for each circuit with itself, and for every two circuits."""
    bars = [_itself(row) for row in result["circuits"] if row["bootstrap"]]
    bars += [_pair(row) for row in result["pairs"]]
    marks = {}
    for place, bar in enumerate(bars):
        axis.barh(place, bar.value, color=bar.colour, height=0.6)
        if bar.interval:
            marks["95 % of resamples"] = axis.plot(
                bar.interval, (place, place), color=COLOURS["text"], lw=1.2
            )[0]
        levels = (
            ("chance", bar.chance, ":"),
            ("null of p: models swapped over examples", bar.swapped, "--"),
        )
        for name, level, style in levels:
            if level is not None:
                ends = (place - 0.42, place + 0.42)
                line = axis.plot((level, level), ends, color=COLOURS["text"], ls=style, lw=1.4)
                marks[name] = line[0]
    axis.set_yticks(range(len(bars)), [bar.label for bar in bars], fontsize=7)
    axis.set(
        xlim=(0, 1),
        xlabel="Jaccard index of edges",
        title="Overlap of circuits; above: of each with itself",
    )
    axis.invert_yaxis()
    if marks:
        axis.legend(
            marks.values(),
            marks.keys(),
            fontsize=7,
            loc="upper center",
            bbox_to_anchor=(0.4, -0.16),
            ncols=len(marks),
        )


def _curve(axis, curve) -> None:
    x = [100 * row["level"] for row in curve]
    noise = curve[0]["noise_floor"]
    axis.axhspan(
        noise["low"],
        noise["high"],
        facecolor="none",
        edgecolor=COLOURS["noise"],
        hatch="///",
        lw=0,
        alpha=0.5,
        label="noise floor of the Jaccard index",
    )
    overlap = columns(curve, "jaccard_edges")
    if len(curve) > 1:
        axis.fill_between(x, overlap.low, overlap.high, color=COLOURS["circuit"], alpha=0.25, lw=0)
    else:
        axis.vlines(x, overlap.low, overlap.high, color=COLOURS["circuit"], lw=1.2)
    axis.plot(
        x,
        overlap.mean,
        "o-",
        color=COLOURS["circuit"],
        label="Jaccard of edges (95 % of resamples,\nnot centred on it)",
    )
    axis.plot(
        x,
        [row["spearman"] for row in curve],
        "s--",
        color=COLOURS["highlight"],
        label="Spearman of |score|",
    )
    axis.plot(
        x,
        [row["chance"] for row in curve],
        ":" if len(curve) > 1 else "x",
        color=COLOURS["chance"],
        label="chance Jaccard",
    )
    lowest = min(0, *[row["spearman"] for row in curve])
    axis.set(
        xlabel="salient tokens corrupted (%)",
        ylabel="agreement with 100 % corrupted",
        ylim=(lowest, 1.02),
    )
    axis.set_xlim(0, 100)
    axis.set_title(f"Perturbed inputs, n = {curve[0]['examples']}")
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def matrix(agreement: dict):
    """A Figure: Jaccard above the diagonal, Spearman below; bold inside the noise floor; chance and
    floors marked on the colour bar.
    """
    names, n = agreement["names"], len(agreement["names"])
    upper = np.triu(np.ones((n, n), dtype=bool))
    values = np.where(upper, agreement["jaccard"], agreement["spearman"])
    figure, axis = subplots(figsize=(2.6 + 0.62 * n, 1.6 + 0.52 * n))
    image = axis.imshow(
        values,
        cmap=SEQUENTIAL,
        vmin=min(0, values.min()),
        vmax=1,
        aspect="auto",
        interpolation="nearest",
    )
    for i in range(n):
        for j in range(n):
            floor = agreement["noise_floor" if j > i else "spearman_noise_floor"]
            inside = i != j and values[i, j] >= floor["low"]
            text = f"{values[i, j]:.2f}" if i != j else ""
            axis.text(
                j,
                i,
                text,
                ha="center",
                va="center",
                fontsize=7,
                weight="bold" if inside else "normal",
                color="black" if image.norm(values[i, j]) > 0.6 else "white",
            )
    axis.plot((-0.5, n - 0.5), (-0.5, n - 0.5), color="white", lw=2)
    axis.set_xticks(range(n), names, rotation=40, ha="right", fontsize=7)
    axis.set_yticks(range(n), names, fontsize=7)
    axis.grid(False)
    axis.set_title(
        f"Agreement of extractions, n = {agreement['examples']}\nabove: Jaccard of the "
        f"{agreement['edges']} strongest edges; below: Spearman of |score|\nbold: inside the noise "
        "floor",
        fontsize=8,
    )
    bar = figure.colorbar(image, ax=axis, label="Jaccard or Spearman")
    jaccard = agreement["noise_floor"]["low"]
    spearman = agreement["spearman_noise_floor"]["low"]
    sides = ("bottom", "top") if jaccard > spearman else ("top", "bottom")  # or the words overlap
    for level, text, style, side in (
        (agreement["chance"], "chance\n(Jaccard)", ":", "center"),
        (jaccard, "noise floor,\nJaccard", "--", sides[0]),
        (spearman, "noise floor,\nSpearman", "-.", sides[1]),
    ):
        bar.ax.axhline(level, color="white", lw=2.4)
        bar.ax.axhline(level, color="black", ls=style, lw=1.4)
        bar.ax.annotate(
            text,
            (0, level),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 0),
            textcoords="offset points",
            ha="right",
            va=side,
            fontsize=6,
        )
    return figure
