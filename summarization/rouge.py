"""Sentences by rule, ROUGE, and its yardsticks: Lead-3, Random-3, the oracle, the copy rate."""

import functools
import multiprocessing
import os
import re
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from summarization import words

NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
PAIRS_PER_PROCESS = (
    500  # starting a process takes as long as some 300 pairs: fewer are scored in this one
)
CHUNK = 100  # pairs handed to a process at a time
MIN_WORDS = (
    5  # the yardsticks pass over shorter lines, such as "By ." and "PUBLISHED: ." of the Daily Mail
)
COPIED_WORDS = 4  # a copy is a run of so many words

# A full stop after one of these does not end a sentence (nor does one after a single capital: "John
# F. Kennedy", "U.S.").
_ABBREVIATIONS = (
    "Mr Mrs Ms Dr Prof Gen Sen Rep Gov Lt Col Maj Sgt Capt Cpl Det Insp Rev Hon Pres Supt St Mt Ft "
    "Jr Sr vs No Nos Vol Fig "
    "Jan Feb Aug Sept Sep Oct Nov Dec approx est etc e.g i.e cf"
)
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
# Marks that end a sentence whatever follows (Chinese, Japanese, Tibetan), and those before white
# space only, as . ! ?
_ALWAYS = "。！？｡．།༎"
_BEFORE_SPACE = ".!?؟۔।॥։።၊။៕"
_CLOSING = "\"'”’)\\]」』）】》〉»"
# Thai and Lao put a space between sentences or clauses, and no mark.
_THAI = "\u0e00-\u0e7f\u0e80-\u0eff"
_END = re.compile(
    rf"[{_ALWAYS}]+[{_CLOSING}]*|[{_BEFORE_SPACE}]+[{_CLOSING}]*(?=\s)|(?=\s*\n)"
    rf"|(?<=[{_THAI}])(?=\s+[{_THAI}])"
)
_WORD_BEFORE = re.compile(r"[\w.]+$")
_INITIAL = re.compile(r"(^|\.)[A-ZА-ЯЁΑ-Ω]$")  # also Cyrillic and Greek
_WORD = re.compile(r"[^\W\d_]+")
SEPARATOR = "|||||"  # between the documents of one row, as Multi-News has it


# ---------------------------------------------------------------- sentences


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) characters of each sentence, without the space between them. By rule, so that no
    download is needed.

    A sentence ends at a newline, and at . ! or ? (or the marks of other scripts) with closing
    quotes before white space, unless the next letter is small or the full stop belongs to an
    abbreviation or an initial. A full stop standing alone between spaces, as in the Daily Mail,
    always ends one; so do 。！？ without a space, and a space between Thai or Lao letters, which
    have no such mark. SEPARATOR belongs to no sentence.
    """
    spans, start = [], 0
    for document in text.split(SEPARATOR):
        spans += [(start + begin, start + end) for begin, end in _spans_of_document(document)]
        start += len(document) + len(SEPARATOR)
    return spans


def _spans_of_document(text: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for match in _END.finditer(text):
        if match.end() > start and _ends_sentence(text, match):
            spans.append((start, match.end()))
            start = match.end()
    spans.append((start, len(text)))
    return [trimmed for begin, end in spans if (trimmed := _trimmed(text, begin, end=end))]


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`."""
    return [text[start:end] for start, end in sentence_spans(text)]


def _ends_sentence(text: str, match) -> bool:
    rest = text[match.end() : match.end() + 20].lstrip(" \t\"'“‘([«")
    if match.group()[:1] and match.group()[0] in _ALWAYS:
        return True
    if not match.group() or not rest or text[match.start() - 1 : match.start()].isspace():
        return True  # a newline, the end of the text, or " . "
    if rest[0].islower() and not "\u10d0" <= rest[0] <= "\u10ff":  # Georgian has no capitals
        return False
    if match.group() != ".":
        return True
    word = _WORD_BEFORE.search(text, max(0, match.start() - 20), match.start())
    last = word.group() if word else ""
    return not (last in ABBREVIATIONS or _INITIAL.search(last))


def _trimmed(text: str, start: int, *, end: int) -> tuple[int, int] | None:
    """The span without white space at its ends; None if nothing is left."""
    part = text[start:end]
    left, right = len(part) - len(part.lstrip()), len(part.rstrip())
    return (start + left, start + right) if right > left else None


# ---------------------------------------------------------------- scores


def score(prediction: str, reference: str) -> dict[str, float]:
    """ROUGE-1, -2, -L and -Lsum of one text: F1 in percent, Porter stemmer, by `rouge_score`.

    The words are `rouge_score`'s for a reference in Latin letters, with those of other scripts in
    either text beside them, and those of `words.ANY` for one in
    another script, which would score 0, or 100 by a number that is all that is left of it. Only
    rougeLsum sees sentences: both texts get one a line first (without, it would equal rougeL). An
    empty prediction scores 0.
    Source: Lin (2004), ROUGE: a package for automatic evaluation of summaries.
    """
    scores = _scorer(words.kind_of(reference)).score(
        "\n".join(split_sentences(reference)), "\n".join(split_sentences(prediction))
    )
    return {name: 100 * scores[name].fmeasure for name in NAMES}


def score_all(predictions, references, *, processes: int | None = None) -> dict[str, np.ndarray]:
    """`score` of every pair, in `processes` processes (default: one per core for many pairs):
    {name: array (pairs,)}.
    """
    pairs = list(zip(predictions, references, strict=True))
    if processes is None:
        processes = min(os.cpu_count() or 1, len(pairs) // PAIRS_PER_PROCESS)
    if processes <= 1:
        rows = [_score_pair(pair) for pair in pairs]
    else:  # spawned: forking a process in which torch runs threads can hang
        with ProcessPoolExecutor(
            processes, mp_context=multiprocessing.get_context("spawn")
        ) as pool:
            rows = list(pool.map(_score_pair, pairs, chunksize=CHUNK))
    return {name: np.array([row[name] for row in rows], dtype=float) for name in NAMES}


def _score_pair(pair: tuple[str, str]) -> dict[str, float]:
    return score(*pair)


@functools.cache
def _scorer(kind: str):
    from rouge_score import rouge_scorer

    return rouge_scorer.RougeScorer(list(NAMES), tokenizer=_Words(kind))


class _Words:
    """The words of one kind, as `rouge_score` asks for them."""

    def __init__(self, kind: str):
        self.kind = kind

    def tokenize(self, text: str) -> list[str]:
        return words.words(text, self.kind)


# ---------------------------------------------------------------- salience and yardsticks


def salience(sentences: list[str], highlights: str) -> list[float]:
    """How much of the highlights each sentence holds by itself: the mean of its ROUGE-1 and ROUGE-2
    F1, in percent.
    """
    return (50 * _with_each(_tables(sentences, highlights), [])).tolist()


def greedy_oracle(sentences: list[str], highlights: str) -> list[int]:
    """The sentences that together come nearest to the highlights, in their order: the greedy
    extractive oracle.

    Adds, as long as ROUGE-1 F1 + ROUGE-2 F1 of the selection rises, the sentence that raises it
    most (the first of equals). Empty when no sentence shares a word with the highlights. Source:
    Nallapati et al. (2017), SummaRuNNer, section 2.2.
    """
    tables = _tables(sentences, highlights)
    chosen, best = [], 0.0
    while len(chosen) < len(sentences):
        gains = _with_each(tables, chosen)
        gains[chosen] = 0
        index = int(gains.argmax())
        if gains[index] <= best:
            break
        chosen, best = [*chosen, index], gains[index]
    return sorted(chosen)


def oracle(article: str, highlights: str) -> list[int]:
    """`greedy_oracle` over the sentences of an article."""
    return greedy_oracle(split_sentences(article), highlights)


def lead(article: str, k: int = 3) -> str:
    """The first k sentences of an article, one a line: the yardstick Lead-3."""
    return "\n".join(_worded(article)[:k])


def random_sentences(article: str, k: int, *, rng: np.random.Generator) -> str:
    """k sentences of an article at random, in its order, one a line: the yardstick Random-3."""
    sentences = _worded(article)
    chosen = sorted(rng.choice(len(sentences), size=min(k, len(sentences)), replace=False))
    return "\n".join(sentences[index] for index in chosen)


def oracle_summary(article: str, highlights: str) -> str:
    """The sentences that the oracle picks, one a line; near the best that copying whole sentences
    can reach.
    """
    sentences = split_sentences(article)
    return "\n".join(sentences[index] for index in greedy_oracle(sentences, highlights))


def copy_rate(prediction: str, article: str) -> float:
    """Share of the prediction's runs of 4 words that stand in the article, in [0, 1]; 0 for an
    empty prediction.

    Words as `rouge_score` cuts them, or those of `words.ANY` for an article in another script; not
    stemmed. A text shorter than 4 words counts as one run.
    """
    kind = words.kind_of(article)
    written = words.words(prediction, kind, stem=False)
    source = words.words(article, kind, stem=False)
    n = min(COPIED_WORDS, len(written))
    if n == 0:
        return 0.0
    in_source = {tuple(source[i : i + n]) for i in range(len(source) - n + 1)}
    runs = [tuple(written[i : i + n]) for i in range(len(written) - n + 1)]
    return sum(run in in_source for run in runs) / len(runs)


def _worded(article: str) -> list[str]:
    """The sentences of at least MIN_WORDS words; all of them if there is none."""
    sentences, kind = split_sentences(article), words.kind_of(article)
    if kind == words.LATIN:
        lengths = [len(_WORD.findall(sentence)) for sentence in sentences]
    else:
        lengths = [len(words.words(sentence, kind)) for sentence in sentences]
    long = [text for text, n in zip(sentences, lengths, strict=True) if n >= MIN_WORDS]
    return long or sentences


def _tables(
    sentences: list[str], highlights: str
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Counts for words and for pairs of neighbouring words, of the highlights' kind and stemmed.

    Each is (how often each sentence holds each of the highlights', of shape (sentences, kinds); how
    many it has, of shape (sentences,); how often the highlights hold each). No pair spans
    sentences.
    """
    kind = words.kind_of(highlights)
    cut = [words.words(text, kind) for text in sentences]
    wanted = [words.words(text, kind) for text in split_sentences(highlights)]
    return [
        _table([_grams(text, n) for text in cut], [_grams(text, n) for text in wanted])
        for n in (1, 2)
    ]


def _grams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))


def _table(grams, wanted_grams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wanted = Counter(gram for line in wanted_grams for gram in line)
    column = {gram: index for index, gram in enumerate(wanted)}
    counts = np.zeros((len(grams), len(wanted)))
    for row, line in enumerate(grams):
        np.add.at(counts[row], [column[gram] for gram in line if gram in column], 1)
    return counts, np.array([len(line) for line in grams]), np.array(list(wanted.values()))


def _with_each(tables, chosen: list[int]) -> np.ndarray:
    """ROUGE-1 F1 + ROUGE-2 F1, in [0, 2], of the chosen sentences together with each sentence: an
    array (sentences,).

    F1 = 2 x common / (candidate + reference), common counts clipped at the reference's.
    """
    total = np.zeros(len(tables[0][1]))
    for counts, sizes, wanted in tables:
        common = np.minimum(counts[chosen].sum(0) + counts, wanted).sum(1)
        total += 2 * common / np.maximum(sizes[chosen].sum() + sizes + wanted.sum(), 1)
    return total
