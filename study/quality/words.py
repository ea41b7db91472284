"""rouge.json in words: a table of systems, and what may be said of their differences."""

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
    heads = [f"{label:>23}" for label in ROUGE_LABELS.values()] + [
        f"{BESIDE[name][0]:>9}" for name in beside
    ]
    rows = [f"{'':{width}} " + "".join(heads)]
    for label, entry in table.items():
        cells = [f"{_cell(entry.get(name)):>23}" for name in ROUGE_LABELS]
        cells += [
            f"{entry[name]['mean']:>9.{BESIDE[name][1]}f}" if entry.get(name) else f"{'-':>9}"
            for name in beside
        ]
        rows.append(f"{label:{width}} " + "".join(cells))
    return rows + claims(table)


def _cell(found: dict | None) -> str:
    return f"{found['mean']:.2f} [{found['low']:.2f}, {found['high']:.2f}]" if found else "-"


def claims(table: dict[str, dict]) -> list[str]:
    """A sentence for each ROUGE of every model but the first: what may be said of the paired
    difference to the first.
    """
    first, *others = (label for label, entry in table.items() if entry["kind"] == "model")
    said = []
    for label in others:
        for name, found in table[label]["minus_first"].items():
            if name in ROUGE_LABELS and found["claim"]:
                said.append(
                    f"{ROUGE_LABELS[name]} of {label} is {found['claim']} than {first}'s, paired: "
                    f"{_cell(found)}"
                )
            elif name in ROUGE_LABELS:
                said.append(
                    f"{ROUGE_LABELS[name]} of {label} and {first}: no difference can be claimed, "
                    f"paired: {_cell(found)}"
                )
    return said
