"""What is written and said of two encoder-decoders: `results` of each part, under its name."""

from study.differential import results
from study.differential.part_names import NAMES
from study.differential.two_models import Measures

NOTE = (
    "The bake-off places adapters in decoders alone: layers.differential.json is not written of "
    "encoder-decoders."
)


def summarise(parts: dict[str, Measures], seed: int) -> dict:
    """{"texts", "parts": {part: as differential.json of a decoder}, "sentences"}."""
    summaries = {name: results.summarise(measured, seed) for name, measured in parts.items()}
    sentences = [
        f"{NAMES[name].capitalize()}: {sentence}"
        for name, summary in summaries.items()
        for sentence in summary["sentences"]
    ]
    n_texts = next(iter(summaries.values()))["texts"]
    return {"texts": n_texts, "parts": summaries, "sentences": [*sentences, NOTE]}


def lines(summary: dict) -> list[str]:
    """The tables and sentences of each part."""
    text = []
    for name, part in summary["parts"].items():
        text += [NAMES[name].capitalize(), *results.lines(part), ""]
    return [*text, NOTE]


def drawn(summary: dict, part: str) -> dict:
    """What the figures of a part are drawn from: its own summary, and of which models it is."""
    about = {name: summary[name] for name in ("base", "finetuned")}
    return summary["parts"][part] | about | {"part": NAMES[part], "stack": part}
