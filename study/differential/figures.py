"""Figures of differential.json: plain numbers in, a matplotlib Figure out."""

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from eap import style

# Measure, label, marker, colour: markers differ, so that the lines can be told apart in grey.
SIMILARITIES = (
    ("centred_cosine", "cosine, mean-centred", "o", "base"),
    ("cosine", "cosine, raw", "s", "random"),
    ("cka", "CKA, debiased", "^", "circuit"),
    ("rsa", "RSA, Spearman", "D", "finetuned"),
)
DISTANCES = (
    ("relative_l2", "residual stream", "o", "base"),
    ("update_relative_l2", "what the block adds", "^", "highlight"),
)
RUN_PANELS = (
    ("centred_cosine", "cosine, mean-centred"),
    ("cka", "CKA, debiased"),
    ("rsa", "RSA, Spearman"),
    ("relative_l2", "relative L2"),
)
MOST_WRITTEN = 9  # checkpoints: with more, numbers in the cells cannot be read
MAGNITUDES = (
    ("magnitude_base", "base", "o", "base"),
    ("magnitude_finetuned", "fine-tuned", "^", "finetuned"),
)


def similarity_figure(summary: dict):
    """Three panels over the depth of the model: similarity, relative distance, magnitude; after the
    final norm set apart.
    """
    figure, axes = style.subplots(3, 1, figsize=(6.4, 8.0), sharex=True)
    panels = (
        (SIMILARITIES, "similarity of base and fine-tuned"),
        (DISTANCES, "relative L2 distance"),
        (MAGNITUDES, "magnitude |x|"),
    )
    for axis, (measures, label) in zip(axes, panels, strict=True):
        for measure, name, marker, colour in measures:
            _depth_line(
                axis,
                summary["hidden"][measure],
                name=name,
                marker=marker,
                colour=style.COLOURS[colour],
            )
        axis.set_ylabel(label)
        axis.axvline(
            len(summary["states"]) - 1.5, color=style.COLOURS["chance"], linestyle=":", linewidth=1
        )
        axis.legend(fontsize=8, frameon=False)
    axes[2].set_yscale("log")
    axes[2].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[2].yaxis.set_major_formatter("{x:g}")
    axes[2].yaxis.set_minor_formatter("")
    ticks = range(len(summary["states"]))
    axes[2].set_xticks(ticks, ["emb.", *summary["states"][1:-1], "final\nnorm"])
    axes[2].set_xlabel(
        "residual stream after layer (before any norm); right of the dotted line: after the final "
        "norm"
    )
    axes[0].set_title(_title("Hidden states", summary, part="stack"), fontsize=9)
    return figure


def _depth_line(axis, table, *, name, marker, colour):
    mean, low, high = np.array([table["mean"], table["low"], table["high"]])
    x = np.arange(len(mean))
    axis.plot(x[:-1], mean[:-1], marker=marker, color=colour, label=name)
    axis.fill_between(x[:-1], low[:-1], high[:-1], color=colour, alpha=0.2, linewidth=0)
    errors = np.array([[mean[-1] - low[-1]], [high[-1] - mean[-1]]]).clip(0)
    axis.errorbar(
        x[-1:], mean[-1:], errors, marker=marker, color=colour, markerfacecolor="white", capsize=2
    )


def _title(what: str, summary: dict, *, part: str = "part") -> str:
    """Of a figure; `part` is the key of an encoder-decoder's part, if it is of one."""
    of_part = f" ({summary[part]})" if part in summary else ""
    models = f"{summary['base']} and {summary['finetuned']}"
    level = f"{100 * summary['level']:.0f} %"
    return f"{what}{of_part}: {models}, n = {summary['texts']} texts, {level} intervals"


def attention_figure(summary: dict):
    """Heat maps of the attention KL by layer and head in both directions on one scale, with the
    layer means beside them.
    """
    tables = summary["attention"]
    grids = [
        np.array(tables["heads"][name]["mean"])
        for name in ("kl_base_finetuned", "kl_finetuned_base")
    ]
    top = max(grid.max() for grid in grids) or 1.0
    figure, axes = style.subplots(1, 3, figsize=(9.6, 3.8), width_ratios=(1, 1, 0.8))
    for axis, grid, title in zip(
        axes, grids, ("KL(base || fine-tuned)", "KL(fine-tuned || base)"), strict=False
    ):
        image = _heat(axis, grid, cmap=style.SEQUENTIAL, vmin=0, vmax=top)
        axis.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes[1], label="nats", fraction=0.05)
    lines = (
        ("kl_base_finetuned", "KL(base || fine-tuned)", "base", -0.2, "o"),
        ("kl_finetuned_base", "KL(fine-tuned || base)", "finetuned", 0.0, "^"),
        (
            "kl_base_finetuned_rest",
            "KL(base || fine-tuned), first token left out",
            "control",
            0.2,
            "s",
        ),
    )
    for name, label, colour, shift, marker in lines:
        _layer_points(
            axes[2],
            tables["layers"][name],
            label=label,
            colour=style.COLOURS[colour],
            shift=shift,
            marker=marker,
        )
    axes[2].set_xlabel("mean attention KL of the layer (nats)")
    axes[2].set_xlim(left=0)
    axes[2].legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.suptitle(_title("Attention", summary), fontsize=9)
    return figure


def _heat(axis, grid, **options):
    image = axis.imshow(grid, aspect="auto", origin="lower", interpolation="nearest", **options)
    axis.grid(False)
    axis.set_xlabel("head")
    axis.set_ylabel("layer")
    axis.set_xticks(range(grid.shape[1]))
    axis.set_yticks(range(grid.shape[0]))
    axis.tick_params(labelsize=7)
    return image


def _layer_points(axis, table, *, label, colour, shift, marker="o"):
    """Means with intervals, one row per layer, layer 0 at the bottom as in the heat maps."""
    mean, low, high = np.array([table["mean"], table["low"], table["high"]])
    errors = np.array([mean - low, high - mean]).clip(0)
    axis.errorbar(
        mean,
        np.arange(len(mean)) + shift,
        xerr=errors,
        fmt=marker,
        color=colour,
        markersize=3,
        linewidth=1.2,
        label=label,
    )
    axis.set_yticks(range(len(mean)))
    axis.set_ylim(-0.6, len(mean) - 0.4)
    axis.set_ylabel("layer")


def entropy_figure(summary: dict):
    """Attention entropy in nats and over the log of the number of keys, and attention to the first
    token: by layer and by head.

    Heads that pass the paired test are marked. All changes are fine-tuned minus base.
    """
    figure, axes = style.subplots(2, 3, figsize=(9.6, 7.4), width_ratios=(0.8, 1, 1))
    changes = summary["entropy_change"]
    both = (
        ("", "all keys", "base", -0.12, "o"),
        ("_rest", "first token left out", "finetuned", 0.12, "^"),
    )
    panels = (
        (axes[0, 0], "entropy", "entropy (nats)"),
        (axes[1, 0], "normalised_entropy", "entropy / log(number of keys)"),
    )
    for axis, name, unit in panels:
        for suffix, label, colour, shift, marker in both:
            _layer_points(
                axis,
                changes[name + suffix]["layers"],
                label=label,
                colour=style.COLOURS[colour],
                shift=shift,
                marker=marker,
            )
        axis.axvline(0, color=style.COLOURS["text"], linewidth=0.8)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.set_xlabel(f"change of {unit}")
        axis.legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _head_maps(
        figure,
        axes[0, 1:],
        changes=[changes["entropy"], changes["entropy_rest"]],
        titles=["entropy, all keys", "entropy, first token left out"],
        label="change (nats)",
    )
    for name, label, colour, shift, marker in (
        ("base", "base", "base", -0.12, "o"),
        ("finetuned", "fine-tuned", "finetuned", 0.12, "^"),
    ):
        _layer_points(
            axes[1, 1],
            summary["attention"]["layers"][f"first_token_{name}"],
            label=label,
            colour=style.COLOURS[colour],
            shift=shift,
            marker=marker,
        )
    axes[1, 1].set_xlabel("attention to the first token (share)")
    axes[1, 1].set_xlim(left=0)
    axes[1, 1].legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _head_maps(
        figure,
        axes[1, 2:],
        changes=[summary["first_token_change"]],
        titles=["attention to the first token"],
        label="change (share)",
    )
    figure.suptitle(
        _title("Attention, fine-tuned - base", summary)
        + "; triangles: heads changed, false-discovery rate 5 %",
        fontsize=9,
    )
    return figure


def _head_maps(figure, axes, *, changes, titles, label):
    """Heat maps of changes by layer and head on one scale, the heads that pass the test marked."""
    grids = [np.array(change["heads"]["mean"]) for change in changes]
    top = max(np.abs(grid).max() for grid in grids) or 1.0
    for axis, change, grid, title in zip(axes, changes, grids, titles, strict=True):
        image = _heat(axis, grid, cmap=style.DIVERGING, vmin=-top, vmax=top)
        _mark_found(axis, change)
        axis.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes[-1], label=label, fraction=0.05)


def layers_figure(summary: dict):
    """Which layers changed most by each measure: the score over its largest, the first three layers
    numbered.
    """
    changes = summary["changes"]
    grid = np.array([entry["scores"] for entry in changes.values()])
    shares = grid / np.maximum(grid.max(1, keepdims=True), 1e-30)
    figure, axis = style.subplots(figsize=(7.6, 4.0))
    image = axis.imshow(
        shares, cmap=style.SEQUENTIAL, vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    axis.grid(False)
    labels = [
        f"{entry['label']}  ({100 * entry['first_share']:.0f} %)" for entry in changes.values()
    ]
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.set_xticks(range(grid.shape[1]))
    axis.set_xlabel("layer")
    for row, entry in enumerate(changes.values()):
        for place, layer in enumerate(entry["order"][:3] if max(entry["scores"]) > 0 else []):
            colour = "black" if shares[row, layer] > 0.6 else "white"
            axis.text(
                layer, row, str(place + 1), ha="center", va="center", color=colour, fontsize=8
            )
    figure.colorbar(image, ax=axis, label="change / largest change of the measure")
    shared = summary["top_shared"]
    words = (
        f"; of their first {shared['of']} two measures share {shared['mean']:.1f} on average "
        f"(chance {shared['chance']:.2f})"
        if shared
        else ""
    )
    part = f" ({summary['part']})" if "part" in summary else ""
    axis.set_title(
        f"Layers that changed most{part}, n = {summary['texts']} texts{words}\n1 to 3: rank within "
        "the measure; in brackets: resamples with the same first layer",
        fontsize=9,
    )
    return figure


def _mark_found(axis, change):
    """A triangle on each head that passes the test, up for higher and down for lower: the sign can
    be read without colour.
    """
    passes = np.array(change["heads"]["q"]) <= change["false_discovery_rate"]
    mean = np.array(change["heads"]["mean"])
    for which, marker in ((mean > 0, "^"), (mean < 0, "v")):
        layer, head = np.nonzero(passes & which)
        axis.plot(head, layer, marker, color=style.COLOURS["text"], markersize=3)


def run_figure(summary: dict):
    """Heat maps over layers and steps, one per measure: similarity to the base model, and relative
    distance.
    """
    panels = [(name, label) for name, label in RUN_PANELS if name in summary["measures"]]
    n_steps, n_states = len(summary["steps"]), len(summary["states"])
    figure, axes = style.subplots(
        1,
        len(panels),
        figsize=(1.6 + (1.2 + 0.32 * n_steps) * len(panels), 1.6 + 0.24 * n_states),
        sharey=True,
    )
    grids = {name: np.array(summary["measures"][name]["mean"]).T for name, _ in panels}
    lowest = min(grid.min() for name, grid in grids.items() if name != "relative_l2")
    for axis, (name, label) in zip(np.atleast_1d(axes), panels, strict=True):
        similarity = {
            "cmap": style.SEQUENTIAL,
            "vmin": lowest,
            "vmax": 1,
        }  # dark: far from the base model, in every panel
        options = (
            {"cmap": style.SEQUENTIAL + "_r", "vmin": 0} if name == "relative_l2" else similarity
        )
        image = axis.imshow(
            grids[name], aspect="auto", origin="lower", interpolation="nearest", **options
        )
        axis.grid(False)
        axis.set_xticks(
            range(n_steps), summary["steps"], fontsize=7, rotation=90 if n_steps > 6 else 0
        )
        axis.set_yticks(range(n_states), ["emb.", *summary["states"][1:]], fontsize=7)
        axis.set_title(label, fontsize=9)
        axis.set_xlabel("training step")
        figure.colorbar(image, ax=axis, fraction=0.06)
        _write_numbers(axis, image, grid=grids[name], n_steps=n_steps)
    np.atleast_1d(axes)[0].set_ylabel("residual stream after layer")
    figure.suptitle(
        f"Similarity to the base model over fine-tuning, n = {summary['texts']} texts of "
        f"{summary['positions']} positions",
        fontsize=9,
    )
    return figure


def _write_numbers(axis, image, *, grid, n_steps):
    """The value in every cell, where there is room; intervals stand in the JSON."""
    if n_steps > MOST_WRITTEN:
        return
    for (row, column), value in np.ndenumerate(grid):
        dark = np.mean(image.cmap(image.norm(value))[:3]) < 0.5
        axis.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            fontsize=5,
            color="white" if dark else "black",
        )
