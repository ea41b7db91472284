"""Words of a text: `rouge_score`'s for texts in Latin letters, words and characters of any script for the others."""

import functools
import unicodedata
from collections import Counter

LATIN = "rouge_score"
ANY = "words of any script; characters in scripts without spaces"
OTHER_SHARE = (
    0.1  # of a text's letters: with more of other scripts than this, `rouge_score` is blind
)
ACCENTED_PERCENT = 1  # more is said: English has less
# Scripts that put no space between words: a character (with its marks) stands for a word.
UNSPACED = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")


def kind_of(text: str) -> str:
    """LATIN or ANY: which tokenizer sees what `text` says. `rouge_score`'s keeps a to z and 0 to 9 and drops the rest.

    Letters with accents count as Latin: `rouge_score` splits words there, as in published numbers.
    """
    if text.isascii():
        return LATIN
    letters = [character for character in text if character.isalpha()]
    others = sum(not _is_latin(letter) for letter in letters)
    return ANY if others > OTHER_SHARE * len(letters) else LATIN


def words(text: str, kind: str, stem: bool = True) -> list[str]:
    """The words of `text`, in small letters. With LATIN exactly `rouge_score`'s, Porter stems if `stem`.

    ANY has the same words and stems where there are only a to z and 0 to 9. Raises KeyError for another kind.
    """
    return {LATIN: _latin, ANY: _any}[kind](text, stem)


def describe(references) -> dict:
    """What stands in the JSON about the words of the references that summaries are compared with.

    `by_tokenizer`: how many references each is for, the most first; `accented_percent`: of the letters of
    those in Latin, what `rouge_score` drops; `without_words`: how many hold none, so that nothing scores.
    """
    references = list(references)
    kinds = [kind_of(text) for text in references]
    latin = "".join(text for text, kind in zip(references, kinds, strict=True) if kind == LATIN)
    letters = sum(map(str.isalpha, latin))
    accented = sum(letter.isalpha() and not letter.isascii() for letter in latin)
    return {
        "by_tokenizer": dict(Counter(kinds).most_common()),
        "accented_percent": round(100 * accented / max(letters, 1), 2),
        "without_words": sum(
            not words(text, kind, stem=False) for text, kind in zip(references, kinds, strict=True)
        ),
    }


def sentences(described: dict) -> list[str]:
    """What is to be said of `describe`: nothing where `rouge_score` sees every letter."""
    counts, accented = described["by_tokenizer"], described["accented_percent"]
    said, total = [], sum(counts.values())
    if others := counts.get(ANY, 0):
        said.append(
            f"ROUGE, copy rate and words of {others} of {total} references in other scripts than "
            f"Latin are those of {ANY}; they do not compare with rouge_score's"
        )
    if accented > ACCENTED_PERCENT:
        said.append(
            f"{accented:.1f} % of the letters of the references have accents: rouge_score drops "
            "them and cuts words there, as in published numbers"
        )
    if empty := described["without_words"]:
        said.append(f"{empty} of {total} references hold no word: every summary scores 0 on them")
    return said


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
    from rouge_score.tokenize import tokenize

    return tokenize(text, _stemmer() if stem else None)


def _any(text: str, stem: bool) -> list[str]:
    pieces = _pattern().findall(_plain(text))
    return [
        word for piece in pieces for word in (_latin(piece, stem) if piece.isascii() else [piece])
    ]


def _plain(text: str) -> str:
    """`text` in small letters, with composed and compatibility characters in one form and without invisible marks."""
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
