"""The figure of rouge.json: each ROUGE of each system."""

from eap import style
from study.drawing import columns
from study.quality.numbers import REFERENCE, ROUGE_LABELS
from summarization import corpus


def figure(result: dict):
    """A panel for each ROUGE, a bar with its interval for each system; yardsticks grey, hatched."""
    table = {
        label: entry for label, entry in result["systems"].items() if entry["kind"] != REFERENCE
    }
    made, axes = style.subplots(1, 4, figsize=(11, 1.2 + 0.36 * len(table)), sharey=True)
    colours = _colours(table)
    for axis, (name, title) in zip(axes, ROUGE_LABELS.items(), strict=True):
        mean, low, high = columns(entry[name] for entry in table.values())
        bars = axis.barh(
            range(len(table)),
            mean,
            xerr=[(mean - low).clip(0), (high - mean).clip(0)],
            color=colours,
            capsize=2,
            height=0.7,
        )
        for bar, entry in zip(bars, table.values(), strict=True):
            bar.set_hatch("//" if entry["kind"] == "yardstick" else "")
            bar.set_edgecolor("white")
        for row, (value, top) in enumerate(zip(mean, high, strict=True)):
            axis.text(top, row, f" {value:.1f}", va="center", fontsize=8)
        axis.set_xlim(0, 1.25 * max(high.max(), 1))
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("F1 (%)")
        axis.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(table)), list(table))
    axes[0].invert_yaxis()
    made.suptitle(
        f"{corpus.title(result)}, n = {result['n']} articles, 95 % bootstrap intervals", fontsize=9
    )
    return made


def _colours(table: dict[str, dict]) -> list[str]:
    """The first model in the base's colour, the others in the fine-tuned one's, yardsticks grey."""
    models = [label for label, entry in table.items() if entry["kind"] == "model"]
    names = dict.fromkeys(table, "random") | dict.fromkeys(models, "finetuned")
    names |= dict.fromkeys(models[:1], "base")
    return [style.COLOURS[names[label]] for label in table]
