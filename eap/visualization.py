"""Drawings of circuits and plots of scores.

Functions take plain data and return a Figure, or write a drawing to a path.
"""

import contextlib
import html
import math
import os
import sys
from pathlib import Path

import torch

from eap import InputError
from eap.graph import Graph
from eap.style import COLOURS, SEQUENTIAL, drawable, subplots

DRAWN_EDGES = 200  # more cannot be told apart on a page
READS = {  # what an edge is read as: its words in the legend, its colour
    "q": ("as query", COLOURS["base"]),
    "k": ("as key", COLOURS["circuit"]),
    "v": ("as value", COLOURS["finetuned"]),
    "mlp": ("by an MLP", COLOURS["chance"]),
    "logits": ("by the logits", COLOURS["text"]),
}
FILLS = {"a": "#e8f0f7", "m": "#fbe9dd"}  # of heads and MLPs
# One per group, apart in greyscale where they touch.
GROUP_COLOURS = ("#000000", "#D55E00", "#56B4E9", "#F0E442", "#0072B2")


def layer_names(graph: Graph) -> tuple[list[str], list[str]]:
    """Names of the rows (who writes) and columns (who reads) of a layer-by-layer heat map."""
    both = [f"{kind}{layer}" for layer in range(graph.n_layers) for kind in "am"]
    return ["input", *both], [*both, "logits"]


def layer_matrix(graph: Graph, values: torch.Tensor) -> torch.Tensor:
    """(writers, readers): sums of a vector over edges, heads of a layer together.

    Give absolute values: signed ones cancel.
    """
    writers, readers = layer_names(graph)
    row = torch.tensor([writers.index(name.split(".")[0]) for name in graph.sources])
    reader_names = [name.split(".")[0].split("<")[0] for name in graph.destinations]
    column = torch.tensor([readers.index(name) for name in reader_names])
    src, dst = graph.edge_index
    flat = torch.zeros(len(writers) * len(readers), dtype=torch.float64)
    flat.index_add_(0, row[src] * len(readers) + column[dst], values.double())
    return flat.view(len(writers), len(readers))


def heat_map(graph: Graph, scores: torch.Tensor, *, title: str, unit: str = "metric's unit"):
    """A Figure: sum of |score|, in `unit`, from every layer's attention or MLP to every other's.

    The scale is logarithmic.
    """
    writers, readers = layer_names(graph)
    values = layer_matrix(graph, scores.abs())
    positive = values[values > 0]
    figure, axis = subplots(figsize=(7.4, 6.4))
    from matplotlib.colors import LogNorm  # not before: `subplots` sees to the backend

    norm = None
    if len(positive):
        most = float(positive.max())
        norm = LogNorm(max(float(positive.min()), most / 1e4), most)
    shown = torch.where(values > 0, values, torch.nan).numpy()
    image = axis.imshow(shown, cmap=SEQUENTIAL, norm=norm, aspect="auto", interpolation="nearest")
    axis.set_xticks(range(len(readers)), readers, rotation=90, fontsize=7)
    axis.set_yticks(range(len(writers)), writers, fontsize=7)
    axis.set(xlabel="reads (a: attention heads, m: MLP; layer)", ylabel="writes", title=title)
    axis.grid(False)
    figure.colorbar(
        image, ax=axis, label=f"sum of |score| over edges ({unit}); white: no edge, or 0"
    )
    return figure


def group_bars(graph: Graph, by_group: torch.Tensor, *, tokens: dict[str, float], title: str):
    """A Figure: in which group of tokens each layer reads what counts.

    `by_group` is (groups, edges); `tokens` maps each group's name to its mean number of tokens.
    """
    columns = [*range(graph.n_layers), "logits"]
    reader_layers = torch.tensor([graph.layer_of(name) for name in graph.destinations])
    strength = torch.zeros(len(tokens), len(columns), dtype=torch.float64)
    strength.index_add_(1, reader_layers[graph.edge_index[1]], by_group.double().abs())
    share = 100 * strength / strength.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
    figure, axis = subplots(figsize=(7.4, 3.8))
    shades = GROUP_COLOURS[: len(tokens)]
    counts = torch.tensor(list(tokens.values()))
    bars = torch.cat([share, 100 * counts[:, None] / sum(tokens.values())], 1)
    bottom = torch.zeros(bars.shape[1])
    places = [*range(len(columns)), len(columns) + 0.6]
    for name, colour, values in zip(tokens, shades, bars, strict=True):
        axis.bar(
            places,
            values,
            bottom=bottom,
            color=colour,
            edgecolor="white",
            linewidth=0.5,
            label=name,
        )
        bottom = bottom + values
    axis.set_xticks(places, [*map(str, columns), "tokens"])
    axis.set(
        xlabel="reading layer (0 to the last, then the logits); "
        "for comparison the tokens themselves",
        ylabel="share of |score| (%)",
        title=title,
        ylim=(0, 100),
    )
    axis.grid(False)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_circuit(
    graph: Graph,
    scores: torch.Tensor,
    *,
    kept: torch.Tensor,
    path,
    title: str,
    most: int = DRAWN_EDGES,
) -> list[str]:
    """Write a drawing (.png, .svg or .pdf) of the strongest kept edges; returns their names.

    The strongest comes first. Width grows with |score|; the colour tells what an edge is read as. A
    positive score (ablating the edge raises the metric) is solid, a negative one dashed.
    """
    candidates = kept.nonzero()[:, 0].tolist()
    strongest = sorted(candidates, key=lambda edge: -abs(float(scores[edge])))[:most]
    largest = max((abs(float(scores[edge])) for edge in strongest), default=1.0) or 1.0
    looks = {}
    for edge in strongest:
        score = float(scores[edge])
        looks[edge] = {
            "color": READS[read_as(graph, edge)][1],
            "style": "solid" if score >= 0 else "dashed",
            "penwidth": pen_width(score, largest),
        }
    kept_words = f"the {len(strongest)} strongest of {int(kept.sum()):,} edges; width: |score|"
    colours = " &nbsp; ".join(
        f'<FONT COLOR="{colour}"><B>&#9473;</B> {words}</FONT>' for words, colour in READS.values()
    )
    signs = "solid: ablating the edge raises the metric; dashed: lowers it"
    label = legend(html.escape(title), kept_words, f"read {colours}", signs)
    draw_edges(graph, looks, path=path, title=label)
    return [graph.edges[edge] for edge in strongest]


def read_as(graph: Graph, edge: int) -> str:
    """What an edge is read as: `q`, `k`, `v`, `mlp` or `logits`."""
    reader, _, slot = graph.destinations[graph.edge_index[1][edge]].partition("<")
    if slot:
        return slot.rstrip(">")
    return "logits" if reader == "logits" else "mlp"


def legend(*lines: str) -> str:
    """Lines of Graphviz's HTML, one below the other, as a label."""
    rows = "".join(f"<TR><TD>{drawable(line)}</TD></TR>" for line in lines)
    return f'<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="2">{rows}</TABLE>>'


def pen_width(score: float, largest: float) -> str:
    """Graphviz's width of an edge: 4 points for the largest |score|, others by its share's root."""
    return f"{0.6 + 3.4 * math.sqrt(abs(score / largest)):.2f}"


def graphviz():
    """The module that draws circuits. Raises InputError where it does not load.

    It is the package pygraphviz, whose wheel expects a library of the system, GObject.
    """
    try:
        import pygraphviz
    except ImportError as error:
        raise InputError(
            f"expected the package pygraphviz, which draws circuits, to load, got: {error}; "
            "install it, or the system's library that it names (libgobject-2.0.so.0 is in "
            "libglib2.0-0 on Debian and Ubuntu)"
        ) from None
    return pygraphviz


def draw_edges(graph: Graph, looks: dict[int, dict], *, path, title: str) -> None:
    """Write a drawing (.png, .svg or .pdf) of some edges, input below, logits on top.

    `looks` maps an edge number to Graphviz attributes; a `mark` in it is written at the edge. The
    rows are the model's layers, named on the left. `title` is a label of `legend`.
    """
    drawing = graphviz().AGraph(
        directed=True,
        strict=False,
        rankdir="BT",
        label=title,
        labelloc="t",
        fontname="Helvetica",
        nodesep="0.12",
        ranksep="0.35",
        splines="true",
    )
    drawing.node_attr.update(
        shape="box",
        style="rounded,filled",
        fontname="Helvetica",
        fontsize="11",
        margin="0.06,0.03",
        height="0.2",
    )
    src, dst = graph.edge_index
    for edge, look in looks.items():
        writer = graph.sources[src[edge]]
        reader = graph.destinations[dst[edge]].partition("<")[0]
        for node in (writer, reader):
            drawing.add_node(node, fillcolor=FILLS.get(node[0], "#eeeeee"))
        drawing.add_edge(
            writer,
            reader,
            key=str(edge),
            label=look.get("mark", ""),
            fontsize="9",
            fontname="Helvetica",
            arrowsize="0.5",
            **{name: value for name, value in look.items() if name != "mark"},
        )
    _rank_by_layer(graph, drawing)
    kind = Path(path).suffix.removeprefix(".")
    with _quiet_stderr():  # into memory: where it cannot write, Graphviz ends the process
        picture = drawing.draw(format=kind, prog="dot", args="-Gdpi=110" if kind == "png" else "")
    assert picture is not None  # without a path to write to, it is handed back
    Path(path).write_bytes(picture)


@contextlib.contextmanager
def _quiet_stderr():
    # Graphviz's C library writes font configuration warnings to the process's stderr; errors still
    # come as exceptions.
    sys.stderr.flush()
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def _rank_by_layer(graph: Graph, drawing) -> None:
    """One row per attention or MLP layer, in the model's order, with the layer's name on its left.

    Rows that hold a node are chained by the invisible edges between their names.
    """
    layers = [f"{kind}{layer}" for layer in range(graph.n_layers) for kind in "am"]
    nodes = drawing.nodes()
    names, named = [], {"input", "logits"}
    for layer in ["input", *layers, "logits"]:
        row = [node for node in nodes if node.split(".")[0] == layer]
        if not row:
            continue
        name = f"row {layer}"
        words = "" if layer[1:] in named or layer in named else f"layer {layer[1:]}"
        named.add(layer[1:])
        drawing.add_node(name, shape="plaintext", style="", label=words, fontcolor="#666666")
        drawing.add_subgraph([name, *row], rank="same")
        names.append(name)
    for lower, upper in zip(names, names[1:], strict=False):
        drawing.add_edge(lower, upper, key="order", style="invis", weight="100")
