"""Clean/corrupted pairs of articles, those kept from extraction, and why rows make none."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eap import InputError
from runs.settings import FromFlags
from summarization import corruption, prompt
from summarization.corruption import Example


@dataclass(frozen=True)
class Settings(FromFlags):
    """How pairs are made: flags of create_causal_summarization_data.py, by their names."""

    dataset: str
    split: str
    corruption: str
    mask_text: str  # what the corruption mask repeats
    seed: int


class Built(NamedTuple):
    """Examples, a pair of each, and how many other rows were dropped by reason."""

    examples: list[Example]
    pairs: list[dict]  # rows of pairs.jsonl
    dropped: Counter


def build(
    settings: Settings, tokenizer, *, rows, max_length: int, template: prompt.Template
) -> Built:
    """The pairs that rows make, in their order. Raises InputError if there are none."""
    mask_ids = prompt.encode(tokenizer, settings.mask_text)
    if not mask_ids:
        raise InputError(
            f"--mask_text {settings.mask_text!r}: expected text of at least one token, got none; "
            "use '.'"
        )
    progress = settings.console.progress
    examples, dropped = corruption.prepare_all(
        tokenizer,
        progress(rows, "finding salient sentences"),
        max_length=max_length,
        template=template,
    )
    fill = corruption.CORRUPTIONS[settings.corruption](examples, mask_ids)
    kept, pairs = [], []
    for number, example in enumerate(progress(examples, "corrupting")):
        try:
            pair = corruption.pair(example, number, fill=fill, seed=settings.seed)
        except corruption.Dropped as reason:
            dropped[str(reason)] += 1
            continue
        pairs.append(pair | {"prompt": template.record()})
        kept.append(example)
    if not pairs:
        why = "; ".join(f"{count} dropped: {reason}" for reason, count in dropped.items())
        instead = ""
        if settings.corruption == "swap":
            instead = ", or use --corruption mask, which needs no other article"
        raise InputError(
            f"--dataset {settings.dataset}: expected rows that make a pair, got none of "
            f"{dropped.total()} ({why}); give more or other articles{instead}"
        )
    return Built(kept, pairs, dropped)


def split_pairs(pairs: list, eval_fraction: float, *, seed: int) -> tuple[list, list]:
    """(pairs for extraction, pairs for evaluation): a seeded draw of at least one each, in the
    order of the rows.
    """
    n = round(len(pairs) * eval_fraction)
    if eval_fraction:
        if len(pairs) < 2:
            raise InputError(
                "expected at least 2 pairs to keep some for evaluation, got 1; use more articles "
                "or --eval_fraction 0"
            )
        n = min(max(n, 1), len(pairs) - 1)
    held_out = set(np.random.default_rng(seed).permutation(len(pairs))[:n].tolist())
    finding = [pair for number, pair in enumerate(pairs) if number not in held_out]
    judging = [pair for number, pair in enumerate(pairs) if number in held_out]
    return finding, judging
