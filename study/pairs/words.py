"""salience.json in words."""


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
