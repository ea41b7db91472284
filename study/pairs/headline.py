"""salience.json in a few lines: how many pairs, how much is corrupted, what is salient."""

from eap import MIN_EXAMPLES
from study.headline import Finding, Headline, Null, Number, Table, column, number
from summarization import corpus, words


def headline(content: dict) -> Headline:
    """The `Headline` of what the pair builder wrote."""
    dropped = content["n_rows"] - content["n_kept"]
    title = (
        f"{content['n_kept']:,} pairs of {corpus.title(content)}: {content['n_extraction']:,} for "
        f"extraction, {content['n_evaluation']:,} for evaluation; {dropped:,} of "
        f"{content['n_rows']:,} rows dropped"
    )
    return Headline(title, table(content), findings(content), cautions(content))


def table(content: dict) -> Table:
    """What is replaced in the corrupted input and in its control."""
    shares = column(
        [number(content["corrupted_percent"], "%"), number(content["control_percent"], "%")]
    )
    salient = f"{content['salient_sentences']['mean']:.1f} of {content['sentences']['mean']:.1f}"
    return Table(
        ("replaced by other text", "sentences", "tokens of article and cue"),
        (
            ("salient sentences (corrupted)", salient, shares[0]),
            ("other sentences (control)", "as needed", shares[1]),
        ),
    )


def findings(content: dict) -> tuple[Finding, ...]:
    """How often the oracle takes the first sentence, beside what any sentence would be taken."""
    positions = content["by_position"]
    if not positions:
        return ()
    first = number(positions[0]["picked_percent"], "% of articles")
    any_sentence = content["salient_sentences"]["mean"] / content["sentences"]["mean"]
    expected = Number(100 * any_sentence, unit="%")
    kind = "measured"
    if positions[0]["picked_percent"]["n"] < MIN_EXAMPLES:
        kind = "no claim"
    elif first.low > expected.value:
        kind = "higher"
    elif first.high < expected.value:
        kind = "lower"
    return (
        Finding(
            kind, "the first sentence is salient in", first, Null("a sentence anywhere", expected)
        ),
    )


def cautions(content: dict) -> tuple[str, ...]:
    """What a reader of the pairs must know now."""
    said = [f"{count} rows dropped: {reason}" for reason, count in content["dropped"].items()]
    if content["truncated"]:
        said.append(f"{content['truncated']:,} articles were shortened to fit")
    if content["control_short"]:
        short = f"the control replaces less than the corruption in {content['control_short']} rows"
        empty = content["control_empty"]
        said.append(f"{short}, nothing in {empty}" if empty else short)
    return (*said, *words.sentences(content["rouge_words"]))
