"""rouge.json in words: a table of systems, and what may be said of their differences."""

from study.findings import fixed
from study.quality.numbers import ROUGE_LABELS

BESIDE = {  # measure: (head of its column, number of decimals)
    "words": ("words", 1),
    "tokens": ("tokens", 1),
    "ended_percent": ("ended %", 1),
    "copied_percent": ("copied %", 1),
    "nll_nats": ("NLL", 3),
}


def lines(table: dict[str, dict]) -> list[str]:
    """The table in words: ROUGE with intervals and what stands beside it, then a sentence for each
    model that differs from the first.
    """
    width = max(map(len, table))
    beside = [name for name in BESIDE if any(entry.get(name) for entry in table.values())]
    heads = [f"{label:>23}" for label in ROUGE_LABELS.values()]
    heads += [f"{BESIDE[name][0]:>9}" for name in beside]
    rows = [f"{'':{width}} {''.join(heads)}"]
    for label, entry in table.items():
        cells = [f"{fixed(entry.get(name), 2):>23}" for name in ROUGE_LABELS]
        cells += [f"{_mean(entry.get(name), BESIDE[name][1]):>9}" for name in beside]
        rows.append(f"{label:{width}} {''.join(cells)}")
    return rows + claims(table)


def _mean(interval: dict | None, places: int) -> str:
    return f"{interval['mean']:.{places}f}" if interval else "-"


def claims(table: dict[str, dict]) -> list[str]:
    """A sentence for each ROUGE of every model but the first: what may be said of the paired
    difference to the first.
    """
    models = [label for label, entry in table.items() if entry["kind"] == "model"]
    first, sentences = models[0], []
    for label in models[1:]:
        for name, rouge in ROUGE_LABELS.items():
            difference = table[label]["minus_first"].get(name)
            if difference is None:
                continue
            paired = f"paired: {fixed(difference, 2)}"
            if difference["claim"]:
                words = f"{rouge} of {label} is {difference['claim']} than {first}'s"
            else:
                words = f"{rouge} of {label} and {first}: no difference can be claimed"
            sentences.append(f"{words}, {paired}")
    return sentences
