"""Clean/corrupted pairs: which sentences a summary draws on, and what stands in their place.

The salient sentences are replaced token for token, so that clean and corrupted inputs align
exactly. The control replaces as many tokens of other sentences in the same way: only what the
salient sentences do beyond it is about salience (guard 16).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from eap import InputError
from eap.dataset import Grouping, Pair, text_sha256
from summarization import prompt, rouge


class Dropped(ValueError):
    """Why a row makes no pair, in words that do not depend on the row, so that rows can be counted
    by reason.
    """


@dataclass(frozen=True)
class Example:
    """A prompt and its sentences. `sentences` are [start, end) token spans; `salient` numbers those
    the oracle picks.
    """

    id: str
    ids: np.ndarray  # int32 (tokens,)
    summary_start: int
    sentences: list[tuple[int, int]]
    salience: list[float]  # percent, one per sentence
    salient: list[int]
    n_cut: int
    article: str
    summary: str

    def lengths(self, salient: bool) -> list[int]:
        """Tokens of each salient sentence, or of each other one."""
        return [
            end - start
            for i, (start, end) in enumerate(self.sentences)
            if (i in self.salient) == salient
        ]


# (number of tokens, row of the example, rng) -> tokens in their place
Fill = Callable[[int, int, np.random.Generator], np.ndarray]


# ---------------------------------------------------------------- sentences and their salience


def prepare(tokenizer, row: dict, *, max_length: int, template=None) -> Example:
    """The prompt of one article with the salience of the sentences that are left of it. Raises
    Dropped.
    """
    try:
        made = prompt.build(
            tokenizer,
            row["article"],
            highlights=row["highlights"],
            max_length=max_length,
            template=template,
        )
    except prompt.TooLong as error:
        raise Dropped(
            f"summary and cue leave under {prompt.MIN_ARTICLE_TOKENS} of {max_length} tokens to "
            "the article"
        ) from error
    spans, texts = sentences_of(tokenizer, row["article"], n_tokens=len(made.article_ids))
    first = made.article_start
    spans = [(first + start, first + end) for start, end in spans]
    salient = rouge.greedy_oracle(texts, row["highlights"])
    if not salient:
        raise Dropped("no sentence shares a word with the highlights")
    ids = np.array(made.ids, dtype=np.int32)
    scores = rouge.salience(texts, row["highlights"])
    return Example(
        row["id"],
        ids,
        made.summary_start,
        spans,
        scores,
        salient,
        made.n_cut,
        row["article"],
        row["highlights"],
    )


def sentences_of(
    tokenizer, article: str, *, n_tokens: int
) -> tuple[list[tuple[int, int]], list[str]]:
    """([start, end) token spans, texts) of the sentences in the first `n_tokens` of an article; a
    last one may be incomplete.
    """
    article = article.strip()
    offsets = prompt.encode_with_offsets(tokenizer, article)[1][:n_tokens]
    article = article[: offsets[-1, 1]] if n_tokens else ""
    characters = rouge.sentence_spans(article)
    sentence = prompt.token_sentences(article, offsets, spans=characters)
    numbers, first = np.unique(sentence[sentence >= 0], return_index=True)
    first = np.flatnonzero(sentence >= 0)[first]
    last = [int(np.flatnonzero(sentence == number)[-1]) for number in numbers]
    spans = [(int(start), end + 1) for start, end in zip(first, last, strict=True)]
    return spans, [article[slice(*characters[number])] for number in numbers]


def prepare_all(
    tokenizer, rows: Iterable[dict], *, max_length: int, template=None
) -> tuple[list[Example], Counter]:
    """(the examples that can be used, how many rows were dropped by reason). Ids come out unique,
    articles too.

    `template` is a `prompt.Template`, None the plain one.
    """
    examples, dropped, ids, articles = [], Counter(), set(), set()
    for row in rows:
        try:
            article = text_sha256(row["article"])
            if article in articles:
                raise Dropped("the same article as an earlier row")
            articles.add(article)
            made = prepare(tokenizer, row, max_length=max_length, template=template)
            examples.append(replace(made, id=_new_id(made.id, ids)))
        except Dropped as reason:
            dropped[str(reason)] += 1
    return examples, dropped


def _new_id(own: str, ids: set[str]) -> str:
    """`own`, with a number behind it if it is among `ids`, to which it is added."""
    name, count = own, 1
    while name in ids:
        count += 1
        name = f"{own}#{count}"
    ids.add(name)
    return name


# ---------------------------------------------------------------- what stands in their place


def swap_filler(examples: list[Example], mask_ids: list[int]) -> Fill:
    """Fills with a non-salient sentence of another article: of the same length, else the shortest
    longer one, cut; else several.

    First sentences are left out: their first token lacks the space before it.
    """
    spans = np.array(
        [
            (row, start, end)
            for row, example in enumerate(examples)
            for number, (start, end) in enumerate(example.sentences)
            if number and number not in example.salient
        ],
        dtype=int,
    ).reshape(-1, 3)
    lengths = spans[:, 2] - spans[:, 1]
    order = np.argsort(lengths, kind="stable")
    spans, lengths = spans[order], lengths[order]

    def fitting(length: int, row: int) -> np.ndarray:
        """Numbers of the sentences of other articles that fit best, which are all of one length."""
        low, high = np.searchsorted(lengths, [length, length + 1])
        as_long, longer, shorter = slice(low, high), slice(high, None), slice(0, low)
        for candidates in (as_long, longer, shorter):
            others = candidates.start + np.flatnonzero(spans[candidates, 0] != row)
            if len(others):
                wanted = lengths[others[-1 if candidates is shorter else 0]]
                return others[lengths[others] == wanted]
        raise Dropped("no sentence of another article to swap in")

    def fill(length: int, row: int, rng: np.random.Generator) -> np.ndarray:
        pieces, missing = [], length
        while missing or not pieces:
            donor, start, stop = spans[rng.choice(fitting(missing, row))]
            pieces.append(examples[donor].ids[start:stop][:missing])
            missing -= len(pieces[-1])
        return np.concatenate(pieces)

    return fill


def mask_filler(examples: list[Example], mask_ids: list[int]) -> Fill:
    """Fills with the neutral tokens, over and over."""
    return lambda length, row, rng: np.resize(np.array(mask_ids, dtype=np.int32), length)


CORRUPTIONS: dict[str, Callable[[list[Example], list[int]], Fill]] = {
    "swap": swap_filler,
    "mask": mask_filler,
}


def again(pairs: list, kind: str, *, mask_ids: list[int] | None, seed: int) -> list | None:
    """`eap.dataset.Pair`s whose salient sentences are corrupted anew, by a kind of `CORRUPTIONS`:
    other draws, or another kind.

    None when it cannot be done: the pairs do not say which sentences are salient, no other article
    has sentences to swap in, or no neutral tokens are given for `mask`.
    """
    if not all(pair.segments and pair.corrupted_spans for pair in pairs) or (
        kind == "mask" and not mask_ids
    ):
        return None
    examples = [
        Example(
            pair.id,
            np.array(pair.clean_ids, dtype=np.int32),
            pair.target_start,
            list(pair.segments),
            [],
            [number for number, span in enumerate(pair.segments) if span in pair.corrupted_spans],
            0,
            "",
            "",
        )
        for pair in pairs
    ]
    fill, made = CORRUPTIONS[kind](examples, mask_ids or []), []
    for row, (pair, example) in enumerate(zip(pairs, examples, strict=True)):
        try:
            ids = _replaced(
                example.ids,
                pair.corrupted_spans,
                row=row,
                fill=fill,
                rng=np.random.default_rng([seed, row]),
            )
        except Dropped:
            return None
        made.append(replace(pair, corrupted_ids=ids.tolist()))
    return made


def control_spans(example: Example, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Spans of non-salient sentences drawn at random, as many tokens as the salient ones have or
    all there are; the last one is cut.
    """
    left = sum(example.lengths(salient=True))
    others = [
        span for number, span in enumerate(example.sentences) if number not in example.salient
    ]
    spans = []
    for index in rng.permutation(len(others)):
        start, end = others[index]
        if left:
            spans.append((start, min(end, start + left)))
            left -= spans[-1][1] - start
    return sorted(spans)


def pair(example: Example, row: int, *, fill: Fill, seed: int) -> dict:
    """A row of pairs.jsonl; the same for the same seed and row. Raises Dropped."""
    rng = np.random.default_rng([seed, row])
    masked = [example.sentences[number] for number in example.salient]
    control = control_spans(example, rng)
    corrupted_ids = _replaced(example.ids, masked, row=row, fill=fill, rng=rng)
    control_ids = _replaced(example.ids, control, row=row, fill=fill, rng=rng)
    if (corrupted_ids == example.ids).all():
        raise Dropped("the corruption changes no token")
    if not len(corrupted_ids) == len(control_ids) == len(example.ids):
        raise AssertionError(f"row {example.id}: clean and corrupted differ in length")
    return {
        "id": example.id,
        "clean_ids": example.ids.tolist(),
        "corrupted_ids": corrupted_ids.tolist(),
        "summary_start": example.summary_start,
        "control_ids": control_ids.tolist(),
        "masked": masked,
        "control_masked": control,
        "sentences": example.sentences,
        "salience": [round(score, 4) for score in example.salience],
        "article": example.article,
        "summary": example.summary,
    }


def _replaced(
    ids: np.ndarray, spans, *, row: int, fill: Fill, rng: np.random.Generator
) -> np.ndarray:
    """A copy of `ids` with each span filled anew."""
    ids = ids.copy()
    for start, end in spans:
        ids[start:end] = fill(end - start, row, rng)
    return ids


# ---------------------------------------------------------------- where a token stands


def groups_of(pair: Pair) -> list[int]:
    """For each token of a pair, the number of its group in `GROUPS`. Raises InputError for a pair
    whose sentences are not known.
    """
    if not pair.segments or not pair.corrupted_spans:
        raise InputError(f"pair {pair.id}: expected its sentences and masked, found none")
    article_start = min(start for start, _ in pair.segments)
    article_end = max(end for _, end in pair.segments)
    groups = [3] * article_start + [2] * (article_end - article_start)
    groups += [3] * (pair.target_start - article_end)
    groups += [4] * (len(pair.clean_ids) - pair.target_start)
    for start, end in pair.corrupted_spans:
        groups[start:end] = [1] * (end - start)
    groups[0] = 0
    return groups


# The first token, those of corrupted sentences, elsewhere in the article, outside of article and
# summary (the cue, and what a chat prompt has before the article), in the summary.
GROUPS = Grouping(
    ("first token", "salient sentences", "other article text", "cue", "summary so far"), groups_of
)
