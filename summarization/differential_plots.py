"""Figures of differential.json: plain numbers in, a matplotlib Figure out."""

import numpy as np
from matplotlib.ticker import LogLocator

from eap import style

SIMILARITIES = (  # measure, label, marker, colour: markers differ, so that the lines can be told apart in grey
    ("centred_cosine", "cosine, mean-centred", "o", "base"),
    ("cosine", "cosine, raw", "s", "random"),
    ("cka", "CKA, debiased", "^", "circuit"),
    ("rsa", "RSA, Spearman", "D", "finetuned"),
)
DISTANCES = (
    ("relative_l2", "residual stream", "o", "base"),
    ("update_relative_l2", "what the block adds", "^", "highlight"),
)
MAGNITUDES = (("magnitude_base", "base", "o", "base"), ("magnitude_finetuned", "fine-tuned", "^", "finetuned"))


def similarity_figure(summary: dict):
    """Three panels over the depth of the model: similarity, relative distance, magnitude; after the final norm set apart."""
    figure, axes = style.subplots(3, 1, figsize=(6.4, 8.0), sharex=True)
    panels = ((SIMILARITIES, "similarity of base and fine-tuned"), (DISTANCES, "relative L2 distance"), (MAGNITUDES, "magnitude |x|"))
    for axis, (measures, label) in zip(axes, panels, strict=True):
        for measure, name, marker, colour in measures:
            _depth_line(axis, summary["hidden"][measure], name, marker, style.COLOURS[colour])
        axis.set_ylabel(label)
        axis.axvline(len(summary["states"]) - 1.5, color=style.COLOURS["chance"], linestyle=":", linewidth=1)
        axis.legend(fontsize=8, frameon=False)
    axes[2].set_yscale("log")
    axes[2].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[2].yaxis.set_major_formatter("{x:g}")
    axes[2].yaxis.set_minor_formatter("")
    ticks = range(len(summary["states"]))
    axes[2].set_xticks(ticks, ["emb.", *summary["states"][1:-1], "final\nnorm"])
    axes[2].set_xlabel("residual stream after layer (before any norm); right of the dotted line: after the final norm")
    axes[0].set_title(_title("Hidden states", summary), fontsize=9)
    return figure


def _depth_line(axis, table, name, marker, colour):
    mean, low, high = (np.array(table[key]) for key in ("mean", "low", "high"))
    x = np.arange(len(mean))
    axis.plot(x[:-1], mean[:-1], marker=marker, color=colour, label=name)
    axis.fill_between(x[:-1], low[:-1], high[:-1], color=colour, alpha=0.2, linewidth=0)
    errors = np.array([[mean[-1] - low[-1]], [high[-1] - mean[-1]]]).clip(0)
    axis.errorbar(x[-1:], mean[-1:], errors, marker=marker, color=colour, markerfacecolor="white", capsize=2)


def _title(what: str, summary: dict) -> str:
    return f"{what}: {summary['base']} and {summary['finetuned']}, n = {summary['texts']} texts, {summary['level']:.0%} intervals"


def attention_figure(summary: dict):
    """Heat maps of the attention KL by layer and head in both directions on one scale, with the layer means beside them."""
    tables = summary["attention"]
    grids = [np.array(tables["heads"][name]["mean"]) for name in ("kl_base_finetuned", "kl_finetuned_base")]
    top = max(grid.max() for grid in grids) or 1.0
    figure, axes = style.subplots(1, 3, figsize=(9.6, 3.8), width_ratios=(1, 1, 0.8))
    for axis, grid, title in zip(axes, grids, ("KL(base || fine-tuned)", "KL(fine-tuned || base)"), strict=False):
        image = _heat(axis, grid, cmap=style.SEQUENTIAL, vmin=0, vmax=top)
        axis.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes[1], label="nats", fraction=0.05)
    lines = (("kl_base_finetuned", "KL(base || fine-tuned)", "base", -0.2, "o"),
             ("kl_finetuned_base", "KL(fine-tuned || base)", "finetuned", 0.0, "^"),
             ("kl_base_finetuned_rest", "KL(base || fine-tuned), first token left out", "control", 0.2, "s"))
    for name, label, colour, shift, marker in lines:
        _layer_points(axes[2], tables["layers"][name], label, style.COLOURS[colour], shift, marker)
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


def _layer_points(axis, table, label, colour, shift, marker="o"):
    """Means with intervals, one row per layer, layer 0 at the bottom as in the heat maps."""
    mean, low, high = (np.array(table[key]) for key in ("mean", "low", "high"))
    errors = np.array([mean - low, high - mean]).clip(0)
    axis.errorbar(mean, np.arange(len(mean)) + shift, xerr=errors, fmt=marker, color=colour, markersize=3, linewidth=1.2, label=label)
    axis.set_yticks(range(len(mean)))
    axis.set_ylim(-0.6, len(mean) - 0.4)
    axis.set_ylabel("layer")


def entropy_figure(summary: dict):
    """Change of the attention entropy: by layer with intervals, and by head with the heads that pass the paired test marked."""
    figure, axes = style.subplots(1, 3, figsize=(9.6, 3.8), width_ratios=(0.8, 1, 1))
    for name, label, colour, shift, marker in (("entropy", "all keys", "base", -0.12, "o"),
                                               ("entropy_rest", "first token left out", "finetuned", 0.12, "^")):
        _layer_points(axes[0], summary["entropy_change"][name]["layers"], label, style.COLOURS[colour], shift, marker)
    axes[0].axvline(0, color=style.COLOURS["text"], linewidth=0.8)
    axes[0].set_xlabel("entropy, fine-tuned - base (nats)")
    axes[0].legend(fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    names = ("entropy", "entropy_rest")
    grids = [np.array(summary["entropy_change"][name]["heads"]["mean"]) for name in names]
    top = max(np.abs(grid).max() for grid in grids) or 1.0
    for axis, name, grid, title in zip(axes[1:], names, grids, ("all keys", "first token left out"), strict=True):
        image = _heat(axis, grid, cmap=style.DIVERGING, vmin=-top, vmax=top)
        _mark_found(axis, summary["entropy_change"][name])
        axis.set_title(title, fontsize=9)
    figure.colorbar(image, ax=axes[2], label="entropy, fine-tuned - base (nats)", fraction=0.05)
    figure.suptitle(_title("Attention entropy", summary) + "; triangles: heads changed, false-discovery rate 5 %", fontsize=9)
    return figure


def _mark_found(axis, change):
    """A triangle on each head that passes the test, up for higher and down for lower: the sign can be read without colour."""
    found = np.array(change["heads"]["q"]) <= change["false_discovery_rate"]
    mean = np.array(change["heads"]["mean"])
    for which, marker in ((mean > 0, "^"), (mean < 0, "v")):
        layer, head = np.nonzero(found & which)
        axis.plot(head, layer, marker, color=style.COLOURS["text"], markersize=3)
