"""article + cue + summary -> tokens, with truncation and the label mask. The one place that knows how a prompt is made."""

from typing import NamedTuple

import numpy as np

from eap import InputError
from summarization.rouge import sentence_spans

CUE = "\nTL;DR:"  # the cue that GPT-2's authors used; the summary follows after one space
MIN_ARTICLE_TOKENS = 16  # with less of the article left there is nothing to summarize
NO_LABEL = -100  # what the cross entropy of torch and transformers leaves out
NO_LENGTH = 10**9  # tokenizers without a length report about 1e30


class TooLong(ValueError):
    """Cue and summary leave no room for MIN_ARTICLE_TOKENS of the article."""


class Prompt(NamedTuple):
    """Token ids of the three parts; `summary_ids` ends with exactly one end-of-text, `n_cut` article tokens are cut off."""

    article_ids: list[int]
    cue_ids: list[int]
    summary_ids: list[int]
    n_cut: int

    @property
    def ids(self) -> list[int]:
        """The whole sequence."""
        return self.article_ids + self.cue_ids + self.summary_ids

    @property
    def summary_start(self) -> int:
        """Position of the first summary token; the token before it is the cue's last."""
        return len(self.article_ids) + len(self.cue_ids)


def build(tokenizer, article: str, highlights: str, max_length: int) -> Prompt:
    """The prompt of one example in at most `max_length` tokens. Only the article is ever shortened.

    The parts are tokenised separately, so that no token spans a border. Raises TooLong.
    """
    cue_ids = encode(tokenizer, CUE)
    summary_ids = [*encode(tokenizer, " " + highlights.strip()), tokenizer.eos_token_id]
    article_ids, n_cut = _shortened(
        tokenizer, article, max_length - len(cue_ids) - len(summary_ids)
    )
    return Prompt(article_ids, cue_ids, summary_ids, n_cut)


def generation_ids(tokenizer, article: str, max_length: int, max_new_tokens: int) -> list[int]:
    """Article and cue, with room for `max_new_tokens` in a context of `max_length`. Raises TooLong."""
    cue_ids = encode(tokenizer, CUE)
    return _shortened(tokenizer, article, max_length - len(cue_ids) - max_new_tokens)[0] + cue_ids


def features(prompt: Prompt) -> dict[str, list[int]]:
    """What Trainer takes: the loss falls on the summary and its end-of-text only (DataCollatorForSeq2Seq pads labels)."""
    ids, start = prompt.ids, prompt.summary_start
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": [NO_LABEL] * start + ids[start:],
    }


def context_length(config, tokenizer=None) -> int:
    """Most tokens that a model reads at once, by its config (or None) and else its tokenizer. Raises InputError without either."""
    for name in ("n_positions", "max_position_embeddings"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    length = getattr(tokenizer, "model_max_length", NO_LENGTH)
    if length >= NO_LENGTH:
        raise InputError(
            "expected a context length in the model's config.json or the tokenizer's model_max_length, found neither"
        )
    return int(length)


def encode(tokenizer, text: str) -> list[int]:
    """Token ids of `text` and nothing else: no special tokens, also where the text spells one out."""
    return encode_with_offsets(tokenizer, text)[0]


def encode_with_offsets(tokenizer, text: str) -> tuple[list[int], np.ndarray]:
    """(token ids, their [start, end) characters as an array of shape (tokens, 2)). Needs a fast tokenizer."""
    from eap.dataset import left_out  # here: it imports torch, and scripts parse their flags first

    coded = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,  # `<|endoftext|>` in an article is a word of it, and ends nothing
        return_offsets_mapping=True,
        verbose=False,
    )
    offsets = np.array(coded["offset_mapping"], dtype=int).reshape(-1, 2)
    special = left_out(tokenizer)
    keep = [index for index, token in enumerate(coded["input_ids"]) if token not in special]
    return [coded["input_ids"][index] for index in keep], offsets[keep]


def token_sentences(text: str, offsets: np.ndarray, spans: list[tuple[int, int]]) -> np.ndarray:
    """The sentence of each token, -1 for none: the one that holds the token's last character that is no white space.

    The last one because a token of a byte-level BPE may start with the space between two sentences.
    """
    if not spans or not len(offsets):
        return np.full(len(offsets), -1)
    black = np.array([not character.isspace() for character in text])
    last_black = np.maximum.accumulate(np.where(black, np.arange(len(text)), -1))[offsets[:, 1] - 1]
    starts, ends = np.array(spans).T
    sentence = np.searchsorted(starts, last_black, side="right") - 1
    inside = (sentence >= 0) & (last_black >= offsets[:, 0]) & (last_black < ends[sentence])
    return np.where(inside, sentence, -1)


def _shortened(tokenizer, article: str, room: int) -> tuple[list[int], int]:
    """(the first article tokens that fit, number cut off): up to the last whole sentence that fits, if there is one."""
    article = article.strip()
    ids, offsets = encode_with_offsets(tokenizer, article)
    if room < min(MIN_ARTICLE_TOKENS, len(ids)):
        raise TooLong(
            f"{max(room, 0)} tokens are left for the article, fewer than {MIN_ARTICLE_TOKENS}"
        )
    if len(ids) <= room:
        return ids, 0
    sentence = token_sentences(article, offsets, sentence_spans(article))
    ends = 1 + np.flatnonzero((sentence[:-1] != sentence[1:]) & (sentence[:-1] >= 0))
    fitting = ends[(ends <= room) & (ends >= MIN_ARTICLE_TOKENS)]
    kept = int(fitting[-1]) if len(fitting) else room
    return ids[:kept], len(ids) - kept
