"""Articles and highlights as examples: tokens, labels, batches, and the summary's likelihood."""

import copy
import functools
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq

from eap import InputError
from summarization import corpus, prompt


class Encoded(NamedTuple):
    """Examples as Trainer takes them, the rows and ids they came from, how many articles were cut,
    how many rows dropped and why.
    """

    data: Dataset
    rows: list[int]
    ids: list[str]
    n_truncated: int
    dropped: dict[str, int]

    def counts(self) -> dict:
        """What stands in the JSON: {"kept", "truncated", "dropped"}."""
        return {"kept": len(self.ids), "truncated": self.n_truncated, "dropped": self.dropped}

    def describe(self, what: str) -> str:
        """One line that says how many examples there are, how many articles were shortened, how
        many rows dropped and why.
        """
        dropped = "".join(f"; dropped {count}: {why}" for why, count in self.dropped.items())
        return (
            f"{what}: {len(self.ids)} examples, {self.n_truncated} articles shortened to fit"
            f"{dropped or '; none dropped'}"
        )


def encode(
    rows, tokenizer, *, max_length: int, progress=lambda rows: rows, template=None
) -> Encoded:
    """Tokens and labels of `rows`; labels cover the summary and its end only.

    `template` is a `prompt.Template`, None the plain one. Raises InputError if no row fits.
    """
    columns = {"input_ids": [], "attention_mask": [], "labels": []}
    numbers, ids, truncated, dropped = [], [], 0, Counter()
    for number, row in enumerate(progress(rows)):
        try:
            made = prompt.build(
                tokenizer,
                row["article"],
                highlights=row["highlights"],
                max_length=max_length,
                template=template,
            )
        except prompt.TooLong:
            dropped[
                f"summary and cue leave under {prompt.MIN_ARTICLE_TOKENS} of {max_length} tokens "
                "to the article"
            ] += 1
            continue
        for name, values in prompt.features(made).items():
            columns[name].append(np.asarray(values, dtype=np.int32))
        numbers.append(number)
        ids.append(row["id"])
        truncated += made.n_cut > 0
    if not ids:
        raise InputError(
            f"expected examples that fit {max_length} tokens, got none of {sum(dropped.values())}; "
            "use a longer context"
        )
    return Encoded(Dataset.from_dict(columns), numbers, ids, truncated, dict(dropped))


def load_disjoint(
    dataset: str, split: str, *, n_train: int, n_other: int, seed: int, columns=corpus.USUAL
):
    """(training rows, rows of `split`, a note or None): without a common row, so that nothing is
    judged on what it was trained on.

    Articles are told apart by their text, whatever their ids. Of a split of its own every row is
    used; a training row with the same article is left out, which the note says. Without such a
    split, or when most of its articles are training rows too (a file without splits), rows are held
    out of what could be trained on: `n_other` where there are that many beside `n_train`, otherwise
    what there is or a tenth, at least one. Raises InputError if there is nothing to hold out.
    """
    parts, notes = load_parts(dataset, n_train, others={split: n_other}, seed=seed, columns=columns)
    return parts["train"], parts[split], "; ".join(notes) or None


def load_parts(
    dataset: str,
    n_train: int,
    *,
    others: dict[str, int | None],
    seed: int,
    columns: corpus.Columns = corpus.USUAL,
):
    """({"train" and each split of `others`: rows}, notes): `load_disjoint` for any number of splits
    with their sizes, None for all rows.
    """
    parts, notes, judged = {}, [], set()
    most = n_train + sum(n or 0 for n in others.values())
    load = functools.partial(corpus.load, dataset, seed=seed, columns=columns)
    train = load("train", max_examples=most)
    for split, n in others.items():
        rows = None
        if not corpus.without_splits(dataset):
            rows = _own_rows(
                dataset, functools.partial(load, split, max_examples=n), train=train, judged=judged
            )
        if rows is None:
            total = len(train)
            train, rows = held_out(train, n, n_train=n_train)
            notes.append(
                f"{corpus.label(dataset)} has no {split} rows of its own: {len(rows)} of {total} "
                "training rows are held out"
            )
        judged |= set(corpus.digests(rows))
        train, repeats = _without(train, judged)
        if repeats:
            notes.append(f"{repeats} training rows are left out, their articles are {split} rows")
        parts[split] = rows
    if not len(train):
        raise InputError(
            f"--dataset {dataset}: expected at least 2 different articles, so that one can be held "
            "out, got 1"
        )
    if len(train) < n_train:
        notes.append(
            f"{corpus.label(dataset)}: {len(train)} rows to train on, fewer than the {n_train:,} "
            "asked for; all are used"
        )
    return {"train": train.select(range(min(n_train, len(train)))), **parts}, notes


def _own_rows(dataset: str, load, *, train, judged: set[str]):
    """The rows of a split, which `load()` reads, without articles `judged` already; None where
    there is no such split, or most of it is in `train`.
    """
    try:
        rows = load()
    except corpus.NoSplit:
        return None
    except InputError:
        if Path(dataset).exists():  # there, and broken: no reason to judge on something else
            raise
        return None  # no such split on the Hub: the training rows were there, so the data set is
    articles, trained = set(corpus.digests(rows)), set(corpus.digests(train))
    rows = _without(rows, judged)[0]
    if not len(rows) or 2 * len(articles & trained) > len(articles):
        return None
    return rows


def _without(rows, articles: set[str]):
    """(the rows whose articles are not among these, how many were)."""
    kept = [row for row, digest in enumerate(corpus.digests(rows)) if digest not in articles]
    repeats = len(rows) - len(kept)
    return (rows.select(kept) if repeats else rows), repeats


def held_out(train, n_other: int | None, *, n_train: int):
    """(rows without the last ones, these): `n_other` if `n_train` are left, otherwise what is
    beyond `n_train` or a tenth, at least 1.
    """
    if len(train) < 2:
        raise InputError(
            "expected at least 2 examples to hold one out, got 1; give a data set with more rows "
            "or with splits"
        )
    n = max(1, min(n_other or len(train), max(len(train) - n_train, len(train) // 10)))
    return train.select(range(len(train) - n)), train.select(range(len(train) - n, len(train)))


class SummaryCollator:
    """Pads examples to a batch and asks the model for logits from the first summary token of the
    batch on, not before.

    Multiplying article positions by the vocabulary takes a third of the time and most of the
    memory, for losses that are masked.
    """

    def __init__(self, tokenizer):
        right = copy.copy(tokenizer)  # whatever its side: positions count from the first token
        right.padding_side = "right"
        right.pad_token = right.pad_token or right.eos_token
        self.pad = DataCollatorForSeq2Seq(right, label_pad_token_id=prompt.NO_LABEL)

    def __call__(self, features: list[dict]) -> dict:
        batch = dict(self.pad(features))
        supervised = (batch["labels"] != prompt.NO_LABEL).any(0)
        first = int(supervised.nonzero()[0]) - 1  # the position that predicts the first label
        batch["labels"] = batch["labels"][:, first:]
        return batch | {"logits_to_keep": batch["labels"].shape[1]}


@torch.no_grad()
def summary_nll(
    model, data: Dataset, *, tokenizer, batch_size: int, progress=lambda rows: rows
) -> np.ndarray:
    """Nats per summary token of each example, its mean over the summary and the end-of-text: an
    array (examples,).

    The mean over examples of this is what every script reports as summary NLL. The model is put in
    eval mode and left there.
    """
    model.eval()
    collate, device = SummaryCollator(tokenizer), next(model.parameters()).device
    by_length = np.argsort([-len(ids) for ids in data["input_ids"]], kind="stable")
    nll = np.empty(len(data))
    for start in progress(range(0, len(data), batch_size)):
        rows = by_length[start : start + batch_size]
        batch = collate([data[int(row)] for row in rows])
        targets = batch.pop("labels")[:, 1:].to(device)
        inputs = {
            name: value.to(device) if torch.is_tensor(value) else value
            for name, value in batch.items()
        }
        logits = model(**inputs).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), targets, ignore_index=prompt.NO_LABEL, reduction="none"
        )
        nll[rows] = (losses.sum(1) / (targets != prompt.NO_LABEL).sum(1)).cpu().double().numpy()
    return nll
