"""What the pair builder did, in numbers and in a figure."""

import numpy as np

from eap import style
from eap.resampling import mean_interval
from summarization import corpus

POSITIONS = 20  # sentences from here on are not drawn
FEWEST = 5  # a position that fewer articles reach is not drawn


def summarise(examples, rows, dropped, seed: int) -> dict:
    """Every number that the script prints or draws: rows by fate, tokens corrupted, salience by
    sentence position.
    """
    masked, control = (
        np.array([_tokens(row[key]) for row in rows]) for key in ("masked", "control_masked")
    )
    articles = np.array([row["summary_start"] for row in rows])
    return {
        "n_rows": len(rows) + sum(dropped.values()),
        "n_kept": len(rows),
        "dropped": dict(sorted(dropped.items())),
        "truncated": sum(example.n_cut > 0 for example in examples),
        "tokens_cut": sum(example.n_cut for example in examples),
        "control_short": int((control < masked).sum()),
        "control_empty": int((control == 0).sum()),
        "article_and_cue_tokens": mean_interval(articles, seed),
        "summary_tokens": mean_interval(
            [len(row["clean_ids"]) - row["summary_start"] for row in rows], seed
        ),
        "sentences": mean_interval([len(row["sentences"]) for row in rows], seed),
        "salient_sentences": mean_interval([len(row["masked"]) for row in rows], seed),
        "corrupted_percent": mean_interval(100 * masked / articles, seed),
        "control_percent": mean_interval(100 * control / articles, seed),
        "by_position": by_position(examples, seed),
    }


def by_position(examples, seed: int) -> list[dict]:
    """For each sentence position, from 1: mean salience, and the percentage of articles whose
    oracle picks it.
    """
    table = []
    for position in range(POSITIONS):
        there = [example for example in examples if len(example.sentences) > position]
        if len(there) < min(FEWEST, len(examples)):
            break
        table.append(
            {
                "position": position + 1,
                "salience": mean_interval([example.salience[position] for example in there], seed),
                "picked_percent": mean_interval(
                    [100.0 * (position in example.salient) for example in there], seed
                ),
            }
        )
    return table


def lines(summary: dict) -> list[str]:
    """The summary in words."""
    dropped = [f"  dropped {count}: {reason}" for reason, count in summary["dropped"].items()]
    short = summary["control_short"]
    return [
        f"{summary['n_kept']} pairs from {summary['n_rows']} rows: {summary['n_extraction']} for "
        f"extraction, {summary['n_evaluation']} for evaluation",
        f"  truncated {summary['truncated']}: the article was shortened, by "
        f"{summary['tokens_cut']} tokens in all; the cue and the summary are whole",
        *(dropped or ["  dropped none"]),
        f"  corrupted: {summary['salient_sentences']['mean']:.1f} of "
        f"{summary['sentences']['mean']:.1f} sentences, "
        f"{summary['corrupted_percent']['mean']:.1f} % of the tokens of article and cue; control: "
        f"{summary['control_percent']['mean']:.1f} %",
        f"  control smaller than the corruption in {short} rows (too few other sentences), empty "
        f"in {summary['control_empty']} of them",
    ]


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
    for key, label, colour, marker in series:
        mean, low, high = (
            np.array([row[key][part] for row in table]) for part in ("mean", "low", "high")
        )
        axis.plot(x, mean, marker=marker, color=style.COLOURS[colour], label=label)
        axis.fill_between(x, low, high, color=style.COLOURS[colour], alpha=0.2, linewidth=0)
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


def _tokens(spans) -> int:
    return sum(end - start for start, end in spans)
