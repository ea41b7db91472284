"""Articles and highlights as examples for training and evaluation: tokens, labels, batches, and the summary's likelihood."""

import contextlib
from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq

from eap import InputError
from summarization import corpus, prompt


class Encoded(NamedTuple):
    """Examples as Trainer takes them, the ids they came from, how many articles were cut, and how many rows were dropped and why."""

    data: Dataset
    ids: list[str]
    n_truncated: int
    dropped: dict[str, int]

    def counts(self) -> dict:
        """What stands in the JSON: {"kept", "truncated", "dropped"}."""
        return {"kept": len(self.ids), "truncated": self.n_truncated, "dropped": self.dropped}

    def describe(self, what: str) -> str:
        """One line that says how many examples there are, how many articles were shortened, how many rows dropped and why."""
        dropped = "".join(f"; dropped {count}: {why}" for why, count in self.dropped.items())
        return f"{what}: {len(self.ids)} examples, {self.n_truncated} articles shortened to fit{dropped or '; none dropped'}"


def encode(rows, tokenizer, max_length: int, progress=lambda rows: rows) -> Encoded:
    """Tokens and labels of `rows`; labels cover the summary and its end-of-text only. Raises InputError if no row fits."""
    columns = {"input_ids": [], "attention_mask": [], "labels": []}
    ids, truncated, dropped = [], 0, Counter()
    for row in progress(rows):
        try:
            made = prompt.build(tokenizer, row["article"], row["highlights"], max_length)
        except prompt.TooLong:
            dropped[f"summary and cue leave under {prompt.MIN_ARTICLE_TOKENS} of {max_length} tokens to the article"] += 1
            continue
        for name, values in prompt.features(made).items():
            columns[name].append(np.asarray(values, dtype=np.int32))
        ids.append(row["id"])
        truncated += made.n_cut > 0
    if not ids:
        raise InputError(f"expected examples that fit {max_length} tokens, got none of {sum(dropped.values())}; use a longer context")
    return Encoded(Dataset.from_dict(columns), ids, truncated, dict(dropped))


def load_disjoint(dataset: str, split: str, n_train: int, n_other: int, seed: int):
    """(training rows, rows of `split`, a note or None): without a common row, so that nothing is judged on what it was trained on.

    Without such a split, or when it overlaps with the training rows (a file without splits), the last tenth of the training rows is
    held out, `n_other` of them at most, and the note says so. Raises InputError if there is nothing to hold out.
    """
    train = corpus.load(dataset, "train", n_train, seed)
    return apart(dataset, split, train, [], n_other, seed)


def apart(dataset: str, split: str, train, others: list, n: int, seed: int):
    """(training rows, `n` rows of `split` at most that are in none of `train` and `others`, a note or None), as in `load_disjoint`."""
    if not corpus.without_splits(dataset):
        with contextlib.suppress(InputError):  # no such split: the training rows were there, so the data set is
            found = corpus.load(dataset, split, n, seed)
            if not set(found["id"]) & {row for part in (train, *others) for row in part["id"]}:
                return train, found, None
    rows, found = held_out(train, n)
    return rows, found, f"{corpus.label(dataset)} has no {split} rows of its own: {len(found)} of {len(train)} training rows are held out"


def held_out(train, n_other: int):
    """(all but the last tenth of `train`, the last tenth), `n_other` rows held out at most, one at least."""
    if len(train) < 2:
        raise InputError("expected at least 2 examples to hold one out, got 1; give a data set with more rows or with splits")
    n = max(1, min(n_other, len(train) // 10))
    return train.select(range(len(train) - n)), train.select(range(len(train) - n, len(train)))


class SummaryCollator:
    """Pads examples to a batch and asks the model for logits from the first summary token of the batch on, not before.

    Multiplying article positions by the vocabulary takes a third of the time and most of the memory, for losses that are masked.
    """

    def __init__(self, tokenizer):
        self.pad = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=prompt.NO_LABEL)

    def __call__(self, features: list[dict]) -> dict:
        batch = dict(self.pad(features))
        supervised = (batch["labels"] != prompt.NO_LABEL).any(0)
        first = int(supervised.nonzero()[0]) - 1  # the position that predicts the first label
        batch["labels"] = batch["labels"][:, first:]
        return batch | {"logits_to_keep": batch["labels"].shape[1]}


@torch.no_grad()
def summary_nll(model, data: Dataset, tokenizer, batch_size: int, progress=lambda rows: rows) -> np.ndarray:
    """Nats per summary token of each example, its mean over the summary and the end-of-text: an array (examples,).

    The mean over examples of this is what every script reports as summary NLL. The model is put in eval mode and left there.
    """
    model.eval()
    collate, device = SummaryCollator(tokenizer), next(model.parameters()).device
    by_length = np.argsort([-len(ids) for ids in data["input_ids"]], kind="stable")
    nll = np.empty(len(data))
    for start in progress(range(0, len(data), batch_size)):
        rows = by_length[start:start + batch_size]
        batch = collate([data[int(row)] for row in rows])
        targets = batch.pop("labels")[:, 1:].to(device)
        inputs = {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
        logits = model(**inputs).logits[:, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=prompt.NO_LABEL, reduction="none")
        nll[rows] = (losses.sum(1) / (targets != prompt.NO_LABEL).sum(1)).cpu().double().numpy()
    return nll
