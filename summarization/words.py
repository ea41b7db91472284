"""Words of a text: `rouge_score`'s in Latin letters, words and characters of any script in others.

Words of other scripts inside a text in Latin letters, which `rouge_score` drops, stand beside its
own.
"""

import functools
import unicodedata
from collections import Counter

LATIN = "rouge_score"
MIXED = "rouge_score, and words of other scripts beside its own"  # LATIN where it meets such words
ANY = "words of any script; characters in scripts without spaces"
OTHER_SHARE = (
    0.1  # of a text's letters: with more of other scripts than this, `rouge_score` is blind
)
ACCENTED_PERCENT = 1  # more is said: English has less
# Scripts that put no space between words: a character (with its marks) stands for a word.
UNSPACED = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")


def kind_of(text: str) -> str:
    """LATIN or ANY: which tokenizer sees what `text` says. `rouge_score`'s keeps a to z and 0 to 9
    and drops the rest.

    Letters with accents count as Latin: `rouge_score` splits words there, as in published numbers.
    """
    if text.isascii():
        return LATIN
    letters = [character for character in text if character.isalpha()]
    others = sum(not _is_latin(letter) for letter in letters)
    return ANY if others > OTHER_SHARE * len(letters) else LATIN


def words(text: str, kind: str, *, stem: bool = True) -> list[str]:
    """The words of `text`, in small letters. With LATIN `rouge_score`'s, Porter stems if `stem`.

    Exactly these where all letters are Latin; words of other scripts stand between them. ANY has
    the same words and stems where there are only a to z and 0 to 9. Raises KeyError for another
    kind.
    """
    return {LATIN: _latin, ANY: _any}[kind](text, stem)


def describe(references, *compared) -> dict:
    """What stands in the JSON about the words of the references that summaries are compared with.

    `compared` are lists of texts, one for each reference. `by_tokenizer`: how many references each
    is for, the most first; `accented_percent`: of the letters of those in Latin, what `rouge_score`
    drops, and `compared_accented_percent` of the texts compared with them, of the list with the
    most; `without_words`: how many references hold none, so that nothing scores.
    """
    references, compared = list(references), [list(texts) for texts in compared]
    kinds = [_named(*texts) for texts in zip(references, *compared, strict=True)]
    latin = [place for place, kind in enumerate(kinds) if kind != ANY]
    accented = [
        _accented_percent("".join(texts[place] for place in latin))
        for texts in (references, *compared)
    ]
    return {
        "by_tokenizer": dict(Counter(kinds).most_common()),
        "accented_percent": accented[0],
        "compared_accented_percent": max(accented[1:], default=0.0),
        "without_words": sum(not words(text, kind_of(text), stem=False) for text in references),
    }


def _named(reference: str, *compared: str) -> str:
    """The name of the tokenizer by which texts are compared with a reference."""
    if kind_of(reference) == ANY:
        return ANY
    texts = (reference, *compared)
    return MIXED if any(not text.isascii() and _foreign().search(text) for text in texts) else LATIN


def _accented_percent(latin: str) -> float:
    """The percentage of a text's letters that are Latin but not a to z."""
    letters = sum(map(str.isalpha, latin))
    accented = sum(
        letter.isalpha() and not letter.isascii() and _is_latin(letter) for letter in latin
    )
    return round(100 * accented / max(letters, 1), 2)


def sentences(described: dict) -> list[str]:
    """What is to be said of `describe`: nothing where `rouge_score` sees every letter."""
    counts, lines = described["by_tokenizer"], []
    total = sum(counts.values())
    if others := counts.get(ANY, 0):
        lines.append(
            f"ROUGE, copy rate and words of {others} of {total} references in other scripts than "
            f"Latin are those of {ANY}; they do not compare with rouge_score's"
        )
    if mixed := counts.get(MIXED, 0):
        lines.append(
            f"{mixed} of {total} references in Latin letters, or texts compared with them, hold "
            "words in other scripts: these count beside rouge_score's own, which drops them"
        )
    for whose, percent in (
        ("the references", described["accented_percent"]),
        ("texts compared with them", described["compared_accented_percent"]),
    ):
        if percent > ACCENTED_PERCENT:
            lines.append(
                f"{percent:.1f} % of the letters of {whose} have accents: rouge_score drops "
                "them and cuts words there, as in published numbers"
            )
    if empty := described["without_words"]:
        lines.append(f"{empty} of {total} references hold no word: every summary scores 0 on them")
    return lines


@functools.cache
def _is_latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(("LATIN", "FEMININE", "MASCULINE"))


@functools.cache
def _stemmer():
    """Porter's stemmer with a memory: most of the time went into stemming the same words."""
    from nltk.stem import porter

    class Remembering:
        stem = staticmethod(functools.lru_cache(maxsize=200_000)(porter.PorterStemmer().stem))

    return Remembering()


def _latin(text: str, stem: bool) -> list[str]:
    """`rouge_score`'s words, and between them those of other scripts, which it would drop."""
    from rouge_score.tokenize import tokenize

    stemmer = _stemmer() if stem else None
    if text.isascii():
        return tokenize(text, stemmer)
    words, end = [], 0
    for match in _foreign().finditer(text):
        words += [*tokenize(text[end : match.start()], stemmer), *_any(match.group(), stem)]
        end = match.end()
    return words + tokenize(text[end:], stemmer)


@functools.cache
def _foreign():
    """Runs of letters and digits that are not Latin, or Latin in another width, and marks."""
    import regex

    letters, latin = r"\p{L}\p{Nd}", r"\p{Latin}--[0-9]"
    wide = r"\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
    apostrophes = r"[\p{Lm}&&\p{Common}]"  # as in Hawai'i: no word by themselves
    return regex.compile(
        rf"[{wide}]+|[[{letters}]--{latin}--{apostrophes}][[{letters}\p{{M}}]--{latin}]*", regex.V1
    )


def _any(text: str, stem: bool) -> list[str]:
    pieces = _pattern().findall(_plain(text))
    return [
        word for piece in pieces for word in (_latin(piece, stem) if piece.isascii() else [piece])
    ]


def _plain(text: str) -> str:
    """`text` in small letters, with composed and compatibility characters in one form and without
    invisible marks.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in text if unicodedata.category(character) != "Cf")


@functools.cache
def _pattern():
    import regex

    unspaced = "".join(rf"\p{{{script}}}" for script in UNSPACED)
    letters = r"\p{L}\p{N}"
    return regex.compile(
        rf"(?:[[{unspaced}]&&[{letters}]]\p{{M}}*)|(?:[[{letters}\p{{M}}]--[{unspaced}]]+)",
        regex.V1,
    )
