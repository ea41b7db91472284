"""The figure of salience.json: which sentences are salient, and what became of the rows."""

from eap import style
from study.drawing import columns
from summarization import corpus


def figure(summary: dict):
    """Salience and the oracle's picks by sentence position (left), rows by fate (right)."""
    made, (left, right) = style.subplots(1, 2, figsize=(9.6, 3.8), width_ratios=(1.6, 1))
    _positions(left, summary)
    _fates(right, summary)
    title = (
        f"{corpus.title(summary)}: {summary['n_kept']} of {summary['n_rows']} rows kept, 95 % "
        "intervals over articles"
    )
    made.suptitle(title, fontsize=9)
    return made


def _positions(axis, summary):
    table = summary["by_position"]
    x = [row["position"] for row in table]
    series = (
        ("picked_percent", "picked by the oracle (% of articles)", "highlight", "o"),
        ("salience", "ROUGE with the highlights (mean of 1 and 2, F1, %)", "base", "s"),
    )
    for key, label, colour_name, marker in series:
        shown, colour = columns(row[key] for row in table), style.COLOURS[colour_name]
        axis.plot(x, shown.mean, marker=marker, color=colour, label=label)
        axis.fill_between(x, shown.low, shown.high, color=colour, alpha=0.2, linewidth=0)
    axis.set_xlabel(
        f"sentence of the article (n = {table[0]['salience']['n']} at 1, "
        f"{table[-1]['salience']['n']} at {x[-1]})"
    )
    axis.set_ylabel("percent")
    axis.set_ylim(bottom=0)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(fontsize=8)


def _fates(axis, summary):
    fates = {
        "kept": summary["n_kept"],
        "  of these: article truncated": summary["truncated"],
        "  of these: control smaller": summary["control_short"],
        "dropped": summary["n_rows"] - summary["n_kept"],
    }
    colours = [style.COLOURS[name] for name in ("circuit", "control", "control", "random")]
    bars = axis.barh(list(fates), list(fates.values()), color=colours)
    axis.bar_label(bars, padding=2, fontsize=8)
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.set_xlim(right=1.15 * max(fates.values()))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("rows")
