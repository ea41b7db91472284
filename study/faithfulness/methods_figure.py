"""The figure of two methods side by side: plain numbers in, a matplotlib Figure out."""

from eap.style import COLOURS, sizes_on, subplots
from study.drawing import columns
from study.faithfulness.methods import COMPARED, way
from study.faithfulness.numbers import supports_claim
from study.stability.figures import legend

LOOKS = (("circuit", "o-"), ("base", "s--"))  # of the circuit in question and of the other one


def figure(about: dict, rows: list[dict], *, curves: list[list[dict]], metric: str, n: int):
    """A Figure of four panels: f over size; stability and agreement over size; stability over the
    number of examples; passes a pair.

    `rows` are those of `method_comparison.by_size`, `curves` for either circuit the rows
    {"fraction", "f", "low", "high"} of faithfulness.json.
    """
    made, (faithful, stable, enough, cost) = subplots(
        1, 4, figsize=(15, 4.9), gridspec_kw={"width_ratios": [5, 5, 5, 2]}
    )
    names = [way(circuit) for circuit in about["circuits"]]
    _faithful(faithful, rows, curves=curves, names=names)
    faithful.set(
        ylabel="faithfulness f (share of the model's behaviour)",
        title=f"How much of the model it carries: {metric}, n = {n}",
    )
    _stable(stable, about, names=names)
    stable.set(
        ylabel="Jaccard index of two circuits",
        ylim=(0, 1.02),
        title="How much of it comes back",
    )
    for axis in (faithful, stable):
        sizes_on(axis)
        axis.set_xlabel("edges kept before pruning (%)")
        legend(axis, columns=1)
    _enough(enough, about, names=names)
    _cost(cost, about)
    return made


def of_result(result: dict):
    """The figure of faithfulness.json, for its first metric whose f means something."""
    methods = result["methods"]
    metric = next((name for name, rows in methods["differences"].items() if rows), None)
    if metric is None:
        raise ValueError("f means nothing for any metric: corruption's effect includes zero")
    rows = result["metrics"][metric]["rows"]
    sizes = {row["fraction"] for row in rows if row["kind"] == COMPARED}
    curves = [
        [row for row in rows if row["kind"] == kind and row["fraction"] in sizes]
        for kind in ("circuit", COMPARED)
    ]
    differences = methods["differences"][metric]
    return figure(methods, differences, curves=curves, metric=metric, n=result["examples"])


def _faithful(axis, rows, *, curves, names) -> None:
    for curve, name, (colour, style) in zip(curves, names, LOOKS, strict=True):
        x = [100 * row["fraction"] for row in curve]
        low, high = [row["low"] for row in curve], [row["high"] for row in curve]
        axis.fill_between(x, low, high, color=COLOURS[colour], alpha=0.15, lw=0)
        axis.plot(x, [row["f"] for row in curve], style, color=COLOURS[colour], label=name)
    apart = [row for row in rows if supports_claim(row["difference"])]
    if apart:
        x = [100 * row["fraction"] for row in apart]
        axis.plot(
            x,
            [max(row["f"], row["other_f"]) + 0.07 for row in apart],
            "*",
            color=COLOURS["text"],
            label="paired difference's 95 % interval excludes 0",
        )
    axis.axhline(1, color=COLOURS["chance"], lw=0.9, ls=":")
    axis.axhline(0, color=COLOURS["chance"], lw=0.9, ls=":")


def _stable(axis, about, *, names) -> None:
    for circuit, name, (colour, style) in zip(about["circuits"], names, LOOKS, strict=True):
        if circuit["stability"]:
            sizes = [row for row in circuit["stability"]["sizes"] if row["fraction"] < 1]
            x = [100 * row["fraction"] for row in sizes]
            low, high = [row["low"] for row in sizes], [row["high"] for row in sizes]
            axis.fill_between(x, low, high, color=COLOURS[colour], alpha=0.15, lw=0)
            label = f"{name}, two resamples of n = {circuit['examples']}"
            axis.plot(x, [row["mean"] for row in sizes], style, color=COLOURS[colour], label=label)
    x = [100 * row["fraction"] for row in about["agreement"]]
    shared = [row["jaccard"] for row in about["agreement"]]
    axis.plot(x, shared, "D-", color=COLOURS["highlight"], label="the two methods' circuits")
    chance = [row["chance"] for row in about["agreement"]]
    axis.plot(x, chance, ":", color=COLOURS["chance"], label="chance")
    axis.axhline(0.8, color=COLOURS["text"], lw=0.8)
    axis.annotate(
        "stable",
        (0.99, 0.8),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        fontsize=7,
    )


def _enough(axis, about, *, names) -> None:
    """Overlap of resamples of n examples, measured and foretold, of either circuit at its size."""
    for circuit, name, (colour, style) in zip(about["circuits"], names, LOOKS, strict=True):
        curve = (circuit["stability"] or {}).get("resamples")
        if not curve:
            continue
        known = {"label": name, "marker": style[0], "ls": style[1:]}
        for rows, look in ((curve["points"], known), (curve["ahead"], {"ls": ":"})):
            n = [row["examples"] for row in rows]
            overlap = columns(rows)
            axis.fill_between(n, overlap.low, overlap.high, color=COLOURS[colour], alpha=0.12, lw=0)
            axis.plot(n, overlap.mean, **look, color=COLOURS[colour])
        axis.axhline(curve["goal"], color=COLOURS["text"], lw=0.8)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(
        ylim=(0, 1.02),
        xlabel="n, number of examples (dotted: foretold)",
        ylabel="Jaccard index of two resamples",
        title="How many examples it takes",
    )
    if axis.get_legend_handles_labels()[0]:
        legend(axis, columns=1)
    else:
        axis.text(0.5, 0.5, "no curves in these files", transform=axis.transAxes, ha="center")


def _cost(axis, about) -> None:
    for place, (circuit, (colour, _)) in enumerate(zip(about["circuits"], LOOKS, strict=True)):
        forward, backward = circuit["forward"] or 0, circuit["backward"] or 0
        axis.bar(place, forward, color=COLOURS[colour], width=0.6)
        axis.bar(place, backward, bottom=forward, color=COLOURS[colour], width=0.6, alpha=0.5)
        axis.annotate(
            f"{forward} + {backward}",
            (place, forward + backward),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    methods = [circuit["method"] or "unknown" for circuit in about["circuits"]]
    axis.set_xticks(range(2), methods, fontsize=7)
    axis.set(ylabel="passes of the model a pair", title="What it costs\n(forward + backward)")
    axis.margins(y=0.12)
