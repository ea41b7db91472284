"""Figures of evolution.json: plain numbers in, a Figure out (of the drawing of edges: a file)."""

import html
import textwrap

import numpy as np

from eap import style
from eap.graph import Graph
from eap.visualization import draw_edges, legend, pen_width, read_as
from study.evolution import faithfulness as evolution_faithfulness
from study.evolution import results
from study.evolution import words as evolution_words

MARKERS = "os^Dv<>Ph*Xp"
SETS = (
    ("nodes", "nodes", "o", "base", "////"),
    ("edges", "edges", "^", "finetuned", "...."),
    ("edges_equal_size", "edges,\nequal-size circuits", "s", "circuit", "xxxx"),
)
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
    training, sets = result.get("training"), [row for row in SETS if row[0] in result["rates"]]
    n_rows = len(sets) + bool(training)
    figure, axes = style.subplots(
        n_rows, 2, figsize=(9.6, 0.6 + 2.1 * n_rows), sharex=True, squeeze=False
    )
    x = np.arange(len(result["checkpoints"]))
    if training:
        _loss_panel(axes[0][0], training, _steps(result))
        axes[0][0].set_ylabel("nats per\nsummary token")
        axes[0][1].set_axis_off()
        axes[0][1].legend(*axes[0][0].get_legend_handles_labels(), fontsize=8, loc="center left")
    for (left, right), row in zip(axes[-len(sets) :], sets, strict=True):
        _change_panels(left, right, result["rates"][row[0]], row, x)
    kind, heads = (
        "circuit" if None in [each["step"] for each in result["checkpoints"]] else "checkpoint",
        axes[-len(sets)],
    )
    for axis, title in zip(
        heads, (f"since the {kind} before", f"since the first {kind}"), strict=True
    ):
        axis.set_title(f"{title}\n{axis.get_title(loc='left')}", fontsize=9, loc="left")
    for axis in axes[-1]:
        _step_axis(axis, result)
    figure.suptitle(_title(result), fontsize=9)
    return figure


def _title(result, floor: bool = True) -> str:
    examples, resamples = result["checkpoints"][0]["examples"], result["noise_resamples"]
    known = f", noise floor: central 95 % of {resamples} resamplings" if resamples and floor else ""
    return f"{len(result['checkpoints'])} circuits" + (
        f", n = {examples} examples{known}" if examples else ""
    )


def _steps(result) -> list[int]:
    """Training steps of the checkpoints; the number of the file where they are unknown."""
    steps = [checkpoint["step"] for checkpoint in result["checkpoints"]]
    return list(range(len(steps))) if None in steps else steps


def _step_axis(axis, result):
    """Checkpoints at equal distances, labelled with their steps: their schedule is often geometric,
    and starts at 0.
    """
    labels = labels_of(result)
    axis.set_xticks(
        range(len(labels)),
        labels,
        rotation=90 if len(labels) > 12 else 20 if len("".join(labels)) > 60 else 0,
        fontsize=8,
    )
    axis.set_xlabel(
        "circuit"
        if None in [checkpoint["step"] for checkpoint in result["checkpoints"]]
        else "checkpoint (training step)"
    )


def labels_of(result) -> list[str]:
    """The step of every checkpoint, or the file's name if some have none."""
    steps = [checkpoint["step"] for checkpoint in result["checkpoints"]]
    return (
        [checkpoint["name"] for checkpoint in result["checkpoints"]]
        if None in steps
        else list(map(str, steps))
    )


def _loss_panel(axis, training, checkpoints):
    """Losses between two checkpoints are placed by their step on the line between these."""

    def place(rows):
        return np.interp([row["step"] for row in rows], checkpoints, range(len(checkpoints)))

    loss, validation = (
        [row for row in training[name] if row["step"] <= checkpoints[-1]]
        for name in ("loss", "validation")
    )
    axis.plot(
        place(loss),
        [row["loss"] for row in loss],
        color=style.COLOURS["random"],
        label="training loss",
    )
    axis.plot(
        place(validation),
        [row["nll_nats_per_token"] for row in validation],
        "o-",
        color=style.COLOURS["finetuned"],
        label="validation NLL, 95 % interval",
    )
    axis.fill_between(
        place(validation),
        [row["low"] for row in validation],
        [row["high"] for row in validation],
        color=style.COLOURS["finetuned"],
        alpha=0.2,
        linewidth=0,
    )


def _change_panels(left, right, rate, about, x):
    _, label, marker, colour, hatch = about
    colour = style.COLOURS[colour]
    panels = (
        (left, rate["of_first"], rate["floor"]),
        (right, rate["from_first"][1:], rate["from_first_floor"]),
    )
    for axis, values, floors in panels:
        axis.plot(x[1:], 100 * np.array(values), marker=marker, color=colour, label="measured")
        if floors:
            low, high = ([100 * floor[key] for floor in floors] for key in ("low", "high"))
            _band(axis, x[1:], low, high, style.COLOURS["random"], "noise floor", hatch)
        axis.set_ylim(bottom=0)
    left.set_ylabel(f"{label}\n(% of S_0 = {rate['sizes'][0]:,})")
    left.set_title(
        f"dS = {100 * rate['dS']:.1f} %" + _floor_words(rate["dS_floor"]), fontsize=8, loc="left"
    )
    right.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _floor_words(floor) -> str:
    return (
        ""
        if floor is None
        else f"; noise alone {100 * floor['low']:.1f} to {100 * floor['high']:.1f} %"
    )


def _band(axis, x, low, high, colour, label, hatch):
    """A band; where there is one step only, a bar with caps, since a band would have no width."""
    if len(x) == 1:
        middle = (low[0] + high[0]) / 2
        axis.errorbar(
            x,
            [middle],
            [[middle - low[0]], [high[0] - middle]],
            fmt="none",
            color=colour,
            capsize=6,
            label=label,
        )
        return
    axis.fill_between(
        x,
        low,
        high,
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
    similarity = result["similarity"]
    matrix, n = np.array(similarity["edges_jaccard"]), len(result["checkpoints"])
    labels = labels_of(result)
    figure, (left, right) = style.subplots(1, 2, figsize=(9.6, 4.2))
    image = left.imshow(matrix, cmap=style.SEQUENTIAL, vmin=0, vmax=1)
    left.grid(False)
    for axis_ticks in (left.set_xticks, left.set_yticks):
        axis_ticks(range(n), labels, fontsize=7)
    left.tick_params(axis="x", rotation=90 if n > 6 else 0)
    for i in range(n):
        for j in range(n):
            left.text(
                j,
                i,
                f"{matrix[i, j]:.2f}",
                ha="center",
                va="center",
                fontsize=6 if n > 8 else 7,
                color="white" if matrix[i, j] < 0.6 else "black",
            )
    figure.colorbar(image, ax=left, label="Jaccard of edges", fraction=0.046)
    left.set_title("edges of every two circuits", fontsize=9)
    _with_last(right, similarity, n)
    figure.suptitle(_title(result), fontsize=9)
    right.set_xticks(range(n), labels, fontsize=7, rotation=90 if n > 6 else 0)
    for axis in (left, right):
        axis.set_xlabel(
            "circuit"
            if labels[0] == result["checkpoints"][0]["name"]
            else "checkpoint (training step)"
        )
    return figure


def _with_last(axis, similarity, n):
    x = np.arange(n)
    for name, marker, colour, hatch in (
        ("edges", "^", "finetuned", "...."),
        ("nodes", "o", "base", "////"),
    ):
        axis.plot(
            x,
            similarity[f"{name}_jaccard"][-1],
            marker=marker,
            color=style.COLOURS[colour],
            label=name,
        )
        chance = [row[-1] for row in similarity[f"{name}_chance"][:-1]]
        axis.plot(
            x[:-1],
            chance,
            linestyle=":",
            marker=marker,
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
                facecolor=style.COLOURS[colour],
                edgecolor=style.COLOURS[colour],
                alpha=0.15,
                hatch=hatch,
                linewidth=0,
                label=f"two extractions of the last, {name}",
            )
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("Jaccard with the last circuit")
    axis.set_title("each circuit with the last", fontsize=9)
    axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def trajectories_figure(result: dict):
    """Normalised scores over the checkpoints of the edges that changed most beyond noise, or of
    those that are drawn in their place.
    """
    figure, axis = style.subplots(figsize=(7.2, 4.2))
    x = np.arange(len(result["checkpoints"]))
    colours = [
        style.COLOURS[name]
        for name in (
            "base",
            "finetuned",
            "circuit",
            "highlight",
            "noise",
            "control",
            "text",
            "random",
        )
    ]
    drawn = result["trajectories"]["edges"]
    for i, entry in enumerate(drawn):
        colour, scores = colours[i % len(colours)], 100 * np.array(entry["scores"])
        axis.plot(x, scores, marker=MARKERS[i % len(MARKERS)], color=colour, label=entry["edge"])
        if entry["low"]:
            axis.fill_between(
                x,
                100 * np.array(entry["low"]),
                100 * np.array(entry["high"]),
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
    axis.axhline(0, color=style.COLOURS["text"], linewidth=0.8)
    _step_axis(axis, result)
    axis.set_ylabel(f"score ({evolution_words.unit(result)})")
    examples = result["checkpoints"][0]["examples"]
    chosen = result["trajectories"]["chosen"]
    words = (
        f"that {chosen}, largest first"
        if chosen == results.MOVED
        else f"of largest range: {chosen}"
    )
    bands = (
        f"\nbands: central 95 % of resamples of {examples} examples, not centred on the lines"
        if drawn and drawn[0]["low"]
        else ""
    )
    axis.set_title(f"{len(drawn)} edges {words}{bands}", fontsize=9)
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
    lower.bar(
        layers,
        100 * np.array(result["layers"]["change"]),
        0.6,
        color=style.COLOURS["circuit"],
        label="measured",
    )
    if result["layers_noise"]:
        _layer_floor(lower, layers, result["layers_noise"])
    lower.set_ylabel(f"change of all edges' scores\n({unit})")
    lower.set_xticks(layers)
    lower.set_xlabel(
        "layer (an edge counts half where it leaves and half where it arrives; input and logits "
        "left out)"
    )
    return figure


def _layer_floor(axis, layers, noise):
    """What resampling the examples changes in each layer: hatched from the low to the high end of
    its central 95 %, a line at its mean.
    """
    low, mean, high = (
        100 * np.array([floor[key] for floor in noise["floor"]]) for key in ("low", "mean", "high")
    )
    axis.bar(
        layers,
        high - low,
        0.8,
        bottom=low,
        facecolor="white",
        alpha=0.75,
        hatch="////",
        edgecolor="black",
        linewidth=0.6,
        label=f"noise floor: central 95 % of {noise['pairs']} pairs of resamples",
    )
    axis.hlines(
        mean,
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
    draw_edges(graph, looks, path, title)


def _shown(name: str) -> str:
    """A circuit's name in Graphviz's HTML: `C_step8` is step 8."""
    return html.escape(style.drawable(name.removeprefix("C_").replace("step", "step ")))


def faithfulness_figure(result: dict):
    """f of each checkpoint's own circuit and of the final circuit, with intervals, over random
    circuits; one panel per metric.

    Hollow points: the interval of what f divides by includes zero.
    """
    found = result["faithfulness"]
    figure, axes = style.subplots(
        1,
        len(found["metrics"]),
        figsize=(4.6 * len(found["metrics"]), 3.8),
        squeeze=False,
        sharey=True,
    )
    limits = _limits([row for rows in found["metrics"].values() for row in rows])
    for axis, (metric, rows) in zip(axes[0], found["metrics"].items(), strict=True):
        outside = _faithfulness_panel(axis, rows, limits)
        beyond = ""
        if outside:
            told = textwrap.fill(", ".join(outside), 64)
            beyond = f"\noff the scale, where f means nothing:\n{told}"
        axis.set_title(
            f"{metric}, n = {found['examples']} examples, bands: 95 % intervals{beyond}", fontsize=9
        )
        _step_axis(axis, result)
    axes[0][0].set_ylabel("faithfulness f")
    entries = {
        label: handle
        for axis in axes[0]
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _limits(rows) -> tuple[float, float]:
    """The ends of the axis of f: 0, 1 and all that means something, with some room."""
    known = [row for row in rows if evolution_faithfulness.meaningful(row)]
    ends = [
        row[name][key]
        for row in known
        for name in ("own", "final", "random")
        if row[name]
        for key in ("low", "high")
    ]
    low, high = min([0.0, *ends]), max([1.0, *ends])
    return low - 0.08 * (high - low), high + 0.08 * (high - low)


def _faithfulness_panel(axis, rows, limits):
    """Hollow points without an interval: there corrupting the input does not change the metric
    beyond noise, so f means nothing.

    They do not stretch the axis. Returns those beyond it, in words.
    """
    axis.set_ylim(limits)
    axis.set_xlim(-0.25, len(rows) - 0.75)
    outside, inside = [], False
    lines = (
        ("own", "the checkpoint's own circuit", "o", "base", "-"),
        ("final", "the last checkpoint's circuit", "^", "finetuned", "--"),
    )
    for name, label, marker, colour, line in lines:
        known = [
            i for i, row in enumerate(rows) if row[name] and evolution_faithfulness.meaningful(row)
        ]
        hollow = {
            i: row[name]["mean"] for i, row in enumerate(rows) if row[name] and i not in known
        }
        shown = {i: f for i, f in hollow.items() if limits[0] < f < limits[1]}
        outside += [
            f"{name} {f:.2f} at {rows[i]['name'].removeprefix('C_').replace('step', 'step ')}"
            for i, f in hollow.items()
            if i not in shown
        ]
        mean, lower, upper = (
            [rows[i][name][key] for i in known] for key in ("mean", "low", "high")
        )
        axis.plot(
            known, mean, marker=marker, linestyle=line, color=style.COLOURS[colour], label=label
        )
        axis.fill_between(known, lower, upper, color=style.COLOURS[colour], alpha=0.2, linewidth=0)
        if shown:
            inside = True
            axis.plot(
                shown.keys(),
                shown.values(),
                marker,
                color=style.COLOURS[colour],
                markerfacecolor="white",
            )
    if inside:
        axis.plot(
            [],
            [],
            "s",
            color=style.COLOURS["chance"],
            markerfacecolor="white",
            label=f"hollow: {evolution_faithfulness.MEANS_NOTHING}",
        )
    drawn = [
        i for i, row in enumerate(rows) if row["random"] and evolution_faithfulness.meaningful(row)
    ]
    if drawn:
        lowest, highest = ([rows[i]["random"][key] for i in drawn] for key in ("low", "high"))
        n = rows[drawn[0]]["random"]["n"]
        label = (
            f"{n} random circuits of its size (lowest, highest)"
            if n > 1
            else "a random circuit of its size"
        )
        axis.plot(drawn + drawn, lowest + highest, "x", color=style.COLOURS["chance"], label=label)
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
    return outside
