"""The figure of faithfulness.json: plain numbers in, a Figure out, one column per metric."""

from eap.style import COLOURS, sizes_on, subplots
from study.faithfulness.numbers import excludes_zero

# The axis of f, and how far down it is drawn where a circuit does worse than the corrupted run.
TOP, BOTTOM, LOWEST = 1.6, -0.15, -1.5
LINES = (("base", "s--"), ("finetuned", "^:"), ("text", "v-."))  # of the cross-faithfulness curves


def figure(result: dict):
    """A Figure: f over sizes with its nulls above; the causal control and cross-faithfulness below,
    where they were run.
    """
    metrics = result["metrics"]
    below = any(numbers["control"] or numbers["cross"] for numbers in metrics.values())
    made, axes = subplots(
        1 + below,
        len(metrics),
        figsize=(5.2 * len(metrics), 4.0 * (1 + below)),
        squeeze=False,
        sharex=True,
    )
    for column, (name, numbers) in enumerate(metrics.items()):
        _nulls(axes[0][column], numbers)
        axes[0][column].set_title(
            f"{name}: {result['circuit']} in {result['model']}, n = {result['examples']}",
            fontsize=9,
        )
        if below:
            _others(axes[1][column], result, numbers=numbers)
        axes[-1][column].set_xlabel(f"edges kept before pruning (% of {result['edges']:,})")
    for row in axes:
        row[0].set_ylabel("faithfulness f (share of the model's behaviour)")
        for axis in row:
            axis.set_ylim(_bottom(row), TOP)
            axis.legend(fontsize=6.5, loc="upper left")
    return made


def _bottom(axes) -> float:
    """The lower end of some axes' f, below all of it, down to `LOWEST`; what is lower is cut."""
    import numpy as np

    drawn = np.concatenate([line.get_ydata() for axis in axes for line in axis.lines])
    return max(LOWEST, min(BOTTOM, float(np.nanmin(drawn)) - 0.1))


def _curve(axis, rows, *, colour: str, style: str, label: str) -> None:
    x = [100 * row["fraction"] for row in rows]
    axis.fill_between(
        x,
        [row["low"] for row in rows],
        [row["high"] for row in rows],
        color=COLOURS[colour],
        alpha=0.15,
        lw=0,
    )
    axis.plot(x, [row["f"] for row in rows], style, color=COLOURS[colour], label=label)


def _frame(axis) -> None:
    """Logarithmic sizes; the whole model and the corrupted run as labelled lines."""
    sizes_on(axis)
    for level, text, shift in ((1, "whole model", 2), (0, "corrupted run", -8)):
        axis.axhline(level, color=COLOURS["chance"], lw=0.9, ls="--")
        axis.annotate(
            text,
            (0, level),
            xycoords=("axes fraction", "data"),
            xytext=(3, shift),
            textcoords="offset points",
            fontsize=6.5,
            color=COLOURS["chance"],
        )


def _of(numbers, kind):
    return [row for row in numbers["rows"] if row["kind"] == kind]


def _nulls(axis, numbers) -> None:
    curve = _of(numbers, "circuit")
    _frame(axis)
    _meaningful(
        axis,
        numbers,
        rows=curve,
        colour="circuit",
        style="o-",
        label="circuit, by |score| (95 % interval)",
    )
    if not excludes_zero(numbers["change"]):
        return
    shifts = {"random": 0.94, "matched": 1.06}  # side by side on the logarithmic axis
    labels = {
        "random": "random circuits, any edges",
        "matched": "random circuits, same edges per pair of layers",
    }
    for kind, marker in (("random", "x"), ("matched", "+")):
        drawn = _of(numbers, kind)
        if not drawn:
            continue
        axis.plot(
            [100 * shifts[kind] * row["fraction"] for row in drawn],
            [row["f"] for row in drawn],
            marker,
            label=labels[kind],
            markersize=6,
            color=COLOURS["random" if kind == "random" else "noise"],
        )
    if complement := _of(numbers, "complement"):
        _curve(
            axis,
            complement,
            colour="highlight",
            style="D--",
            label="complement: every edge but the circuit's",
        )
    for row in numbers["sizes_reaching"]:
        if row["fraction"] is not None:
            ends = [100 * (row[name] or curve[-1]["fraction"]) for name in ("low", "high")]
            axis.plot(ends, (row["f"], row["f"]), color=COLOURS["text"], lw=1)
            axis.plot(100 * row["fraction"], row["f"], "|", color=COLOURS["text"], markersize=8)
            axis.annotate(
                f"f = {row['f']} at {100 * row['fraction']:.1f} %",
                (ends[0], row["f"]),
                xytext=(-3, -2),
                textcoords="offset points",
                fontsize=6.5,
                ha="right",
            )


def _meaningful(axis, numbers, *, rows, colour: str, style: str, label: str) -> None:
    """The curve, or in the legend why there is none: f divides by an effect of corruption that may
    be zero.
    """
    if excludes_zero(numbers["change"]):
        _curve(axis, rows, colour=colour, style=style, label=label)
    else:
        axis.plot(
            [],
            [],
            style,
            color=COLOURS[colour],
            label=f"{label}: not shown, corruption's effect includes 0",
        )


def _others(axis, result, *, numbers) -> None:
    own = _of(numbers, "circuit")
    _frame(axis)
    _meaningful(
        axis,
        numbers,
        rows=own,
        colour="circuit",
        style="o-",
        label=f"{result['circuit']} in {result['model']}, salient sentences corrupted",
    )
    if control := numbers["control"]:
        _meaningful(
            axis,
            control,
            rows=control["rows"],
            colour="control",
            style="P-",
            label=f"the same, other sentences corrupted, n = {control['examples']}",
        )
    for cell, (colour, style) in zip(numbers["cross"], LINES, strict=False):
        found_there = " (found there)" if cell["found_there"] else ""
        _meaningful(
            axis,
            cell,
            rows=cell["rows"],
            colour=colour,
            style=style,
            label=f"{cell['circuit']} in {cell['model']}{found_there}",
        )
    title = "Causal control" + (" and cross-faithfulness" if numbers["cross"] else "")
    if compared := result["compared"]:
        floors = [floor["mean"] for floor in compared["noise_floors"].values() if floor]
        shown = f", noise floor {min(floors):.2f}" if floors else ""
        title += (
            f"\nJaccard of the two circuits {compared['jaccard_edges']:.2f} (chance "
            f"{compared['chance']:.2f}{shown})"
        )
    axis.set_title(title, fontsize=8)
