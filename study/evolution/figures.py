"""Figures of evolution.json: plain numbers in, a Figure out (of the drawing of edges: a file)."""

import html
import textwrap
from typing import NamedTuple

import numpy as np

from eap import style
from eap.graph import Graph
from eap.visualization import draw_edges, legend, pen_width, read_as
from study.drawing import Columns, columns
from study.evolution import results
from study.evolution import words as evolution_words
from study.evolution.faithfulness import FINAL, MEANS_NOTHING, OWN, meaningful

MARKERS = "os^Dv<>Ph*Xp"


class Look(NamedTuple):
    """What a set of nodes or edges is called in a figure, and how it is drawn."""

    label: str
    marker: str
    colour: str  # of eap.style's
    hatch: str


SETS = {
    "nodes": Look("nodes", "o", "base", "////"),
    "edges": Look("edges", "^", "finetuned", "...."),
    "edges_equal_size": Look("edges,\nequal-size circuits", "s", "circuit", "xxxx"),
}
MOVED_EDGES = 60  # in the drawing: each has a mark to read
# Kind of change -> (mark at the edge, colour, Graphviz line): mark and line tell without colour.
LOOKS = {
    "added": ("new", "circuit", "solid"),
    "removed": ("gone", "base", "dotted"),
    "strengthened": ("up", "finetuned", "bold"),
    "weakened": ("down", "highlight", "dashed"),
    "sign changed": ("flip", "text", "dashed"),
}


def change_figure(result: dict):
    """Change of nodes, edges and equal-size circuits, each beside its noise floor; the training
    loss above if it is known.

    On the left from one circuit to the next, on the right from the first one.
    """
    training = result.get("training")
    sets = {name: look for name, look in SETS.items() if name in result["rates"]}
    n_rows = len(sets) + bool(training)
    figure, axes = style.subplots(
        n_rows, 2, figsize=(9.6, 0.6 + 2.1 * n_rows), sharex=True, squeeze=False
    )
    x = np.arange(len(result["checkpoints"]))
    if training:
        _loss_panel(axes[0][0], training, steps=_steps(result))
        axes[0][0].set_ylabel("nats per\nsummary token")
        axes[0][1].set_axis_off()
        axes[0][1].legend(*axes[0][0].get_legend_handles_labels(), fontsize=8, loc="center left")
    panels = axes[-len(sets) :]
    for (left, right), (name, look) in zip(panels, sets.items(), strict=True):
        _change_panels(left, right, rate=result["rates"][name], look=look, x=x)
    kind = "circuit" if None in known_steps(result) else "checkpoint"
    _add_to_title(panels[0][0], f"since the {kind} before")
    _add_to_title(panels[0][1], f"since the first {kind}")
    for axis in axes[-1]:
        _step_axis(axis, result)
    figure.suptitle(_title(result), fontsize=9)
    return figure


def _add_to_title(axis, words: str) -> None:
    axis.set_title(f"{words}\n{axis.get_title(loc='left')}", fontsize=9, loc="left")


def _title(result: dict, floor: bool = True) -> str:
    """How many circuits, on how many examples, beside which noise floor."""
    examples, resamples = result["checkpoints"][0]["examples"], result["noise_resamples"]
    title = f"{len(result['checkpoints'])} circuits"
    if examples:
        title += f", n = {examples} examples"
    if examples and resamples and floor:
        title += f", noise floor: central 95 % of {resamples} resamplings"
    return title


def known_steps(result: dict) -> list[int | None]:
    """The training step of every checkpoint; None where a circuit's file is named after none."""
    return [checkpoint["step"] for checkpoint in result["checkpoints"]]


def _steps(result: dict) -> list[int]:
    """Training steps of the checkpoints; the number of the file where one is unknown."""
    steps = known_steps(result)
    known = [step for step in steps if step is not None]
    return known if len(known) == len(steps) else list(range(len(steps)))


def labels_of(result: dict) -> list[str]:
    """The step of every checkpoint, or the file's name if some have none."""
    steps = known_steps(result)
    if None in steps:
        return [checkpoint["name"] for checkpoint in result["checkpoints"]]
    return [str(step) for step in steps]


def _step_axis(axis, result: dict) -> None:
    """Checkpoints at equal distances, labelled with their steps: their schedule is often geometric,
    and starts at 0.
    """
    labels, rotation = labels_of(result), 0
    if len(labels) > 12:
        rotation = 90
    elif len("".join(labels)) > 60:
        rotation = 20
    axis.set_xticks(range(len(labels)), labels, rotation=rotation, fontsize=8)
    axis.set_xlabel(_step_words(result))


def _step_words(result: dict) -> str:
    return "circuit" if None in known_steps(result) else "checkpoint (training step)"


def _loss_panel(axis, training: dict, *, steps: list[int]) -> None:
    """Losses between two checkpoints are placed by their step on the line between these."""

    def place(rows):
        return np.interp([row["step"] for row in rows], steps, range(len(steps)))

    loss = [row for row in training["loss"] if row["step"] <= steps[-1]]
    validation = [row for row in training["validation"] if row["step"] <= steps[-1]]
    nll = columns(validation, "nll_nats_per_token")
    axis.plot(
        place(loss),
        [row["loss"] for row in loss],
        color=style.COLOURS["random"],
        label="training loss",
    )
    axis.plot(
        place(validation),
        nll.mean,
        "o-",
        color=style.COLOURS["finetuned"],
        label="validation NLL, 95 % interval",
    )
    axis.fill_between(
        place(validation),
        nll.low,
        nll.high,
        color=style.COLOURS["finetuned"],
        alpha=0.2,
        linewidth=0,
    )


def _change_panels(left, right, *, rate: dict, look: Look, x) -> None:
    """One set: its change since the circuit before on the left, since the first on the right."""
    colour = style.COLOURS[look.colour]
    panels = (
        (left, rate["of_first"], rate["floor"]),
        (right, rate["from_first"][1:], rate["from_first_floor"]),
    )
    for axis, values, floors in panels:
        axis.plot(x[1:], 100 * np.array(values), marker=look.marker, color=colour, label="measured")
        if floors:
            _noise_band(axis, x[1:], floor=columns(floors).times(100), hatch=look.hatch)
        axis.set_ylim(bottom=0)
    left.set_ylabel(f"{look.label}\n(% of S_0 = {rate['sizes'][0]:,})")
    title = f"dS = {100 * rate['dS']:.1f} %{_floor_words(rate['dS_floor'])}"
    left.set_title(title, fontsize=8, loc="left")
    right.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _floor_words(floor: dict | None) -> str:
    if floor is None:
        return ""
    return f"; noise alone {100 * floor['low']:.1f} to {100 * floor['high']:.1f} %"


def _noise_band(axis, x, *, floor: Columns, hatch: str) -> None:
    """A band; where there is one step only, a bar with caps, since a band would have no width."""
    colour, label = style.COLOURS["random"], "noise floor"
    if len(x) == 1:
        middle = (floor.low[0] + floor.high[0]) / 2
        ends = [[middle - floor.low[0]], [floor.high[0] - middle]]
        axis.errorbar(x, [middle], ends, fmt="none", color=colour, capsize=6, label=label)
        return
    axis.fill_between(
        x,
        floor.low,
        floor.high,
        facecolor=colour,
        alpha=0.3,
        hatch=hatch,
        edgecolor=colour,
        linewidth=0,
        label=label,
    )


def jaccard_figure(result: dict):
    """Jaccard of the edges of every two circuits as a matrix, and of each with the last beside
    chance and noise floor.
    """
    labels, n = labels_of(result), len(result["checkpoints"])
    rotation = 90 if n > 6 else 0
    figure, (left, right) = style.subplots(1, 2, figsize=(9.6, 4.2))
    image = _jaccard_matrix(left, np.array(result["similarity"]["edges_jaccard"]))
    left.set_xticks(range(n), labels, fontsize=7)
    left.set_yticks(range(n), labels, fontsize=7)
    left.tick_params(axis="x", rotation=rotation)
    figure.colorbar(image, ax=left, label="Jaccard of edges", fraction=0.046)
    left.set_title("edges of every two circuits", fontsize=9)
    _with_last(right, result["similarity"], n=n)
    figure.suptitle(_title(result), fontsize=9)
    right.set_xticks(range(n), labels, fontsize=7, rotation=rotation)
    for axis in (left, right):
        axis.set_xlabel(_step_words(result))
    return figure


def _jaccard_matrix(axis, matrix: np.ndarray):
    """The matrix with a number in each cell."""
    n = len(matrix)
    image = axis.imshow(matrix, cmap=style.SEQUENTIAL, vmin=0, vmax=1)
    axis.grid(False)
    for i in range(n):
        for j in range(n):
            axis.text(
                j,
                i,
                f"{matrix[i, j]:.2f}",
                ha="center",
                va="center",
                fontsize=6 if n > 8 else 7,
                color="white" if matrix[i, j] < 0.6 else "black",
            )
    return image


def _with_last(axis, similarity: dict, *, n: int) -> None:
    """The overlap of each circuit with the last one, of edges and of nodes."""
    x = np.arange(n)
    for name in ("edges", "nodes"):
        look, colour = SETS[name], style.COLOURS[SETS[name].colour]
        overlaps = similarity[f"{name}_jaccard"][-1]
        axis.plot(x, overlaps, marker=look.marker, color=colour, label=name)
        chance = [row[-1] for row in similarity[f"{name}_chance"][:-1]]
        axis.plot(
            x[:-1],
            chance,
            linestyle=":",
            marker=look.marker,
            markersize=3,
            markerfacecolor="white",
            color=style.COLOURS["chance"],
            label=f"chance, {name}",
        )
        if similarity[f"{name}_noise"]:
            floor = similarity[f"{name}_noise"][-1]
            axis.axhspan(
                floor["low"],
                floor["high"],
                facecolor=colour,
                edgecolor=colour,
                alpha=0.15,
                hatch=look.hatch,
                linewidth=0,
                label=f"two extractions of the last, {name}",
            )
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("Jaccard with the last circuit")
    axis.set_title("each circuit with the last", fontsize=9)
    axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


TRAJECTORY_COLOURS = (
    "base",
    "finetuned",
    "circuit",
    "highlight",
    "noise",
    "control",
    "text",
    "random",
)


def trajectories_figure(result: dict):
    """Normalised scores over the checkpoints of the edges that changed most beyond noise, or of
    those that are drawn in their place.
    """
    figure, axis = style.subplots(figsize=(7.2, 4.2))
    x = np.arange(len(result["checkpoints"]))
    drawn, chosen = result["trajectories"]["edges"], result["trajectories"]["chosen"]
    for i, entry in enumerate(drawn):
        colour = style.COLOURS[TRAJECTORY_COLOURS[i % len(TRAJECTORY_COLOURS)]]
        scores = 100 * np.array(entry["scores"])
        axis.plot(x, scores, marker=MARKERS[i % len(MARKERS)], color=colour, label=entry["edge"])
        if entry["low"]:
            low, high = 100 * np.array(entry["low"]), 100 * np.array(entry["high"])
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.axhline(0, color=style.COLOURS["text"], linewidth=0.8)
    _step_axis(axis, result)
    axis.set_ylabel(f"score ({evolution_words.unit(result)})")
    title = f"{len(drawn)} edges of largest range: {chosen}"
    if chosen == results.MOVED:
        title = f"{len(drawn)} edges that {chosen}, largest first"
    if drawn and drawn[0]["low"]:
        examples = result["checkpoints"][0]["examples"]
        bands = f"central 95 % of resamples of {examples} examples, not centred on the lines"
        title += f"\nbands: {bands}"
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def layers_figure(result: dict):
    """Attribution by layer before and after, and how much of it changed: what the layer choices of
    the bake-off are made from.
    """
    figure, (upper, lower) = style.subplots(2, 1, figsize=(6.4, 5.4), sharex=True)
    layers = np.arange(result["graph"]["n_layers"])
    bars = (
        ("before", "first circuit", "base", "", -0.2),
        ("after", "last circuit", "finetuned", "//", 0.2),
    )
    for name, label, colour, hatch, shift in bars:
        upper.bar(
            layers + shift,
            100 * np.array(result["layers"][name]),
            0.4,
            color=style.COLOURS[colour],
            hatch=hatch,
            edgecolor="white",
            linewidth=0.3,
            label=label,
        )
    upper.set_ylabel("edges in the circuit\n(% of all |scores|)")
    upper.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    figure.suptitle(_title(result, floor=False), fontsize=9)
    unit = evolution_words.unit(result).replace(" without", "\nwithout")
    change = 100 * np.array(result["layers"]["change"])
    lower.bar(layers, change, 0.6, color=style.COLOURS["circuit"], label="measured")
    if result["layers_noise"]:
        _layer_floor(lower, layers, noise=result["layers_noise"])
    lower.set_ylabel(f"change of all edges' scores\n({unit})")
    lower.set_xticks(layers)
    lower.set_xlabel(
        "layer (an edge counts half where it leaves and half where it arrives; input and logits "
        "left out)"
    )
    return figure


def _layer_floor(axis, layers, *, noise: dict) -> None:
    """What resampling the examples changes in each layer: hatched from the low to the high end of
    its central 95 %, a line at its mean.
    """
    floor = columns(noise["floor"]).times(100)
    axis.bar(
        layers,
        floor.high - floor.low,
        0.8,
        bottom=floor.low,
        facecolor="white",
        alpha=0.75,
        hatch="////",
        edgecolor="black",
        linewidth=0.6,
        label=f"noise floor: central 95 % of {noise['pairs']} pairs of resamples",
    )
    axis.hlines(
        floor.mean,
        layers - 0.4,
        layers + 0.4,
        color=style.COLOURS["text"],
        linewidth=1.6,
        label="its mean",
    )
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(
        handles[1:] + handles[:1],
        labels[1:] + labels[:1],
        fontsize=7,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=3,
    )


def moved_drawing(result: dict, path) -> None:
    """Write a drawing of the edges of the first or last circuit whose scores changed beyond noise.

    At most MOVED_EDGES of them, most first. Width grows with the change; mark, line and colour say
    its kind, a letter beside the mark what a head reads the edge as.
    """
    about, moved = result["graph"], result["moved"]
    graph = Graph(
        about["n_layers"],
        about["n_heads"],
        about["d_model"],
        parallel=about["parallel_attn_mlp"],
        kv_heads=about["kv_heads"],
    )
    drawn = moved["edges"][:MOVED_EDGES]
    looks = {}
    for row in drawn:
        mark, colour, line = LOOKS[row["kind"]]
        edge = graph.edge_number[row["edge"]]
        slot = read_as(graph, edge)
        looks[edge] = {
            "mark": f"{slot} {mark}" if slot in ("q", "k", "v") else mark,
            "color": style.COLOURS[colour],
            "style": line,
            "penwidth": pen_width(row["change"], drawn[0]["change"]),
        }
    kinds = " &nbsp; ".join(
        f'<FONT COLOR="{style.COLOURS[colour]}"><B>{mark}</B>, {line}</FONT>: {kind} '
        f"({moved['counts'][kind]['in_a_circuit']:,})"
        for kind, (mark, colour, line) in LOOKS.items()
    )
    names = [checkpoint["name"] for checkpoint in result["checkpoints"]]
    what = "No change beyond noise"
    if drawn:
        what = f"The {len(drawn)} largest of {len(moved['edges']):,} changes"
    rate = 100 * moved["false_discovery_rate"]
    title = legend(
        f"{what} of edges of the first or last circuit, from {_shown(names[0])} to "
        f"{_shown(names[-1])}",
        f"normalised scores, n = {moved['examples']} examples, false-discovery rate {rate:.0f} %; "
        "width: size of the change",
        kinds,
    )
    draw_edges(graph, looks, path=path, title=title)


def _shown(name: str) -> str:
    """A circuit's name in Graphviz's HTML."""
    return html.escape(style.drawable(_step_of(name)))


def faithfulness_figure(result: dict):
    """f of each checkpoint's own circuit and of the final circuit, with intervals, over random
    circuits; one panel per metric.

    Hollow points: the interval of what f divides by includes zero.
    """
    by_metric, examples = result["faithfulness"]["metrics"], result["faithfulness"]["examples"]
    figure, axes = style.subplots(
        1, len(by_metric), figsize=(4.6 * len(by_metric), 3.8), squeeze=False, sharey=True
    )
    limits = _limits([row for rows in by_metric.values() for row in rows])
    entries = {}
    for axis, (metric, rows) in zip(axes[0], by_metric.items(), strict=True):
        axis.set_ylim(limits)
        axis.set_xlim(-0.25, len(rows) - 0.75)
        title = f"{metric}, n = {examples} examples, bands: 95 % intervals"
        outside = _f_curves(axis, rows, limits=limits)
        if outside:
            places = textwrap.fill(", ".join(outside), 64)
            title += f"\noff the scale, where f means nothing:\n{places}"
        _random_f(axis, rows)
        _reference_lines(axis)
        axis.set_title(title, fontsize=9)
        _step_axis(axis, result)
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    axes[0][0].set_ylabel("faithfulness f")
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _limits(rows: list[dict]) -> tuple[float, float]:
    """The ends of the axis of f: 0, 1 and all that means something, with some room."""
    ends = [0.0, 1.0]
    for row in rows:
        for name in (OWN, FINAL, "random"):
            if meaningful(row) and row[name]:
                ends += [row[name]["low"], row[name]["high"]]
    low, high = min(ends), max(ends)
    return low - 0.08 * (high - low), high + 0.08 * (high - low)


def _f_curves(axis, rows: list[dict], *, limits: tuple[float, float]) -> list[str]:
    """Draw f of both circuits, and hollow points without an interval where corrupting the input
    does not change the metric beyond noise, so that f means nothing.

    These do not stretch the axis. Returns those beyond it, in words.
    """
    lines = (
        (OWN, "the checkpoint's own circuit", "o", "base", "-"),
        (FINAL, "the last checkpoint's circuit", "^", "finetuned", "--"),
    )
    outside, any_hollow = [], False
    for name, label, marker, colour_name, line in lines:
        colour = style.COLOURS[colour_name]
        known = [i for i, row in enumerate(rows) if row[name] and meaningful(row)]
        f = columns(rows[i][name] for i in known)
        axis.plot(known, f.mean, marker=marker, linestyle=line, color=colour, label=label)
        axis.fill_between(known, f.low, f.high, color=colour, alpha=0.2, linewidth=0)
        hollow = {}
        for i, row in enumerate(rows):
            if not row[name] or i in known:
                continue
            value = row[name]["mean"]
            if limits[0] < value < limits[1]:
                hollow[i] = value
            else:
                outside.append(f"{name} {value:.2f} at {_step_of(row['name'])}")
        if hollow:
            any_hollow = True
            places, values = list(hollow), list(hollow.values())
            axis.plot(places, values, marker, color=colour, markerfacecolor="white")
    if any_hollow:
        label = f"hollow: {MEANS_NOTHING}"
        axis.plot([], [], "s", color=style.COLOURS["chance"], markerfacecolor="white", label=label)
    return outside


def _random_f(axis, rows: list[dict]) -> None:
    """The lowest and the highest f of random circuits, where they were run."""
    drawn = {i: row["random"] for i, row in enumerate(rows) if row["random"] and meaningful(row)}
    if not drawn:
        return
    lowest = [random["low"] for random in drawn.values()]
    highest = [random["high"] for random in drawn.values()]
    n = next(iter(drawn.values()))["n"]
    label = "a random circuit of its size"
    if n > 1:
        label = f"{n} random circuits of its size (lowest, highest)"
    places = [*drawn, *drawn]
    axis.plot(places, lowest + highest, "x", color=style.COLOURS["chance"], label=label)


def _reference_lines(axis) -> None:
    """What f is of the whole model and of the corrupted run."""
    for level, text in ((1, "whole model"), (0, "corrupted run")):
        axis.axhline(level, color=style.COLOURS["chance"], linewidth=0.9, linestyle=":")
        axis.annotate(
            text,
            (0, level),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=7,
            color=style.COLOURS["chance"],
        )


def _step_of(name: str) -> str:
    """A circuit's name as people read it: `C_step8` is step 8."""
    return name.removeprefix("C_").replace("step", "step ")
