"""How good summaries are: ROUGE beside its yardsticks, and what ROUGE does not see.

With intervals and paired differences.
"""

from dataclasses import dataclass, field

import numpy as np

from eap import MIN_EXAMPLES, InputError
from eap.resampling import mean_interval
from summarization import rouge, words

ROUGE_LABELS = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
}
IN_TOKENS = ("nll_nats", "tokens")  # compared between models of one tokenizer only
# The highlights themselves: their length and copy rate are what the others' are compared with.
REFERENCE = "reference"


@dataclass
class System:
    """What wrote a summary for every article: a model or a yardstick. `values` holds a measure of
    each text by name, NaN for none; a model's tokenizer is known by its SHA-256.
    """

    label: str
    kind: str
    texts: list[str]
    values: dict[str, np.ndarray] = field(default_factory=dict)
    tokenizer: str | None = None


def yardsticks(rows, seed: int) -> list[System]:
    """Lead-3, Random-3 and the extractive oracle (guard 10)."""
    rng = np.random.default_rng(seed)
    texts = {"Lead-3": [], "Random-3": [], "oracle": []}
    for row in rows:
        texts["Lead-3"].append(rouge.lead(row["article"]))
        texts["Random-3"].append(rouge.random_sentences(row["article"], 3, rng=rng))
        texts["oracle"].append(rouge.oracle_summary(row["article"], row["highlights"]))
    return [System(label, "yardstick", written) for label, written in texts.items()]


def measure(systems: list[System], articles: list[str], *, references: list[str]) -> None:
    """Add ROUGE, words and copy rate of every text to the systems' values."""
    texts = [text for system in systems for text in system.texts]
    scores = rouge.score_all(texts, references * len(systems))
    for index, system in enumerate(systems):
        part = slice(index * len(references), (index + 1) * len(references))
        system.values |= {name: values[part] for name, values in scores.items()} | surface(
            system.texts, articles
        )


def surface(texts: list[str], articles: list[str]) -> dict[str, np.ndarray]:
    """Number of words, and the percentage of runs of 4 words copied from the article."""
    copied = [
        100 * rouge.copy_rate(text, article) for text, article in zip(texts, articles, strict=True)
    ]
    return {
        "words": np.array([_length(text) for text in texts], dtype=float),
        "copied_percent": np.array(copied),
    }


def _length(text: str) -> int:
    """Words as white space parts them; those of `words.ANY` in other scripts, some of which have no
    spaces.
    """
    kind = words.kind_of(text)
    return len(text.split()) if kind == words.LATIN else len(words.words(text, kind))


def summarise(systems: list[System], seed: int) -> dict[str, dict]:
    """For every system its measures with intervals, and the paired differences to the first one.

    {label: {"kind", measure: {mean, low, high, n}, ..., "minus_first": {measure: {..., "claim"}}}};
    a claim is "higher" or "lower" when the interval excludes zero over MIN_EXAMPLES texts or more,
    and None otherwise.
    """
    first = systems[0]
    table = {}
    for system in systems:
        entry = {"kind": system.kind} | {
            name: _mean(values, seed) for name, values in system.values.items()
        }
        if system is not first:
            shared = [name for name in system.values if name in first.values]
            if system.tokenizer != first.tokenizer:
                shared = [name for name in shared if name not in IN_TOKENS]
            entry["minus_first"] = {
                name: difference(system.values[name], first.values[name], seed=seed)
                for name in shared
            }
        table[system.label] = entry
    return table


def difference(values: np.ndarray, others: np.ndarray, *, seed: int) -> dict:
    """The mean paired difference with its interval, and what may be claimed of it."""
    interval = _mean(values - others, seed)
    if interval is None:
        return {"claim": None}
    claim = None
    if interval["n"] >= MIN_EXAMPLES and interval["low"] > 0:
        claim = "higher"
    elif interval["n"] >= MIN_EXAMPLES and interval["high"] < 0:
        claim = "lower"
    return interval | {"claim": claim}


def _mean(values: np.ndarray, seed: int) -> dict | None:
    """`mean_interval` over the texts that have the measure; None if none has."""
    values = values[~np.isnan(values)]
    return mean_interval(values, seed) if len(values) else None


# ---------------------------------------------------------------- further metrics


def load_metric(name: str):
    """A metric of the `evaluate` library. Raises InputError if neither its cache nor the Hub has
    it.
    """
    import evaluate

    try:
        return evaluate.load(name)
    # The Hub's, the network's and the metric's own errors have no common kind.
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"--metrics {name}: expected a metric that `evaluate` can load (its code is on the "
            f"Hub), got: {reason}"
        ) from error


def further(metric, name: str, *, systems: list[System], references: list[str]) -> dict[str, dict]:
    """The numbers of a further metric by system; one number per text also goes to the systems'
    values, named `<metric>_<key>`.
    """
    english = all(words.kind_of(text) == words.LATIN for text in references)
    options = {"bertscore": {"lang": "en"}}.get(name, {})
    if not english and name == "bertscore":
        options = {"model_type": "bert-base-multilingual-cased"}  # as bert_score for most languages
    if name == "rouge":  # its own tokenizer keeps a to z only
        kind = words.LATIN if english else words.ANY
        options = {"tokenizer": lambda text: words.words(text, kind, stem=not english)}
    table = {}
    for system in systems:
        computed = metric.compute(predictions=system.texts, references=references, **options)
        table[system.label] = {}
        for key, value in computed.items():
            if isinstance(value, list) and len(value) == len(references):
                system.values[f"{name}_{key}"] = np.array(value, dtype=float)
            elif isinstance(value, int | float | np.number):
                table[system.label][key] = float(value)
    return table
