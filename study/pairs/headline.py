"""salience.json in a few lines: how many pairs, how much is corrupted, what is salient."""

from study.findings import Finding, Null, Number, column, direction, number
from study.headline import Headline, Table
from summarization import corpus, words


def headline(result: dict) -> Headline:
    """The `Headline` of what the pair builder wrote."""
    dropped = result["n_rows"] - result["n_kept"]
    title = (
        f"{result['n_kept']:,} pairs of {corpus.title(result)}: {result['n_extraction']:,} for "
        f"extraction, {result['n_evaluation']:,} for evaluation; {dropped:,} of "
        f"{result['n_rows']:,} rows dropped"
    )
    return Headline(title, table(result), findings(result), cautions(result))


def table(result: dict) -> Table:
    """What is replaced in the corrupted input and in its control."""
    shares = column(
        [number(result["corrupted_percent"], "%"), number(result["control_percent"], "%")]
    )
    salient = f"{result['salient_sentences']['mean']:.1f} of {result['sentences']['mean']:.1f}"
    return Table(
        ("replaced by other text", "sentences", "tokens of article and cue"),
        (
            ("salient sentences (corrupted)", salient, shares[0]),
            ("other sentences (control)", "as needed", shares[1]),
        ),
    )


def findings(result: dict) -> tuple[Finding, ...]:
    """How often the oracle takes the first sentence, beside what any sentence would be taken."""
    positions = result["by_position"]
    if not positions:
        return ()
    picked = positions[0]["picked_percent"]
    first = number(picked, "% of articles")
    any_sentence = result["salient_sentences"]["mean"] / result["sentences"]["mean"]
    expected = Number(100 * any_sentence, unit="%")
    kind, subject = direction(first, expected), "the first sentence is salient in"
    return (Finding(kind, subject, first, Null("a sentence anywhere", expected), n=picked["n"]),)


def cautions(result: dict) -> tuple[str, ...]:
    """What a reader of the pairs must know now."""
    notes = [f"{count} rows dropped: {reason}" for reason, count in result["dropped"].items()]
    if result["truncated"]:
        notes.append(f"{result['truncated']:,} articles were shortened to fit")
    if result["control_short"]:
        short = f"the control replaces less than the corruption in {result['control_short']} rows"
        empty = result["control_empty"]
        notes.append(f"{short}, nothing in {empty}" if empty else short)
    return (*notes, *words.sentences(result["rouge_words"]))
