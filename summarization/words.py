"""Words of a text: `rouge_score`'s for texts in Latin letters, words and characters of any script for the others."""

import functools
import unicodedata
from collections import Counter

LATIN = "rouge_score"
ANY = "words of any script; characters in scripts without spaces"
OTHER_SHARE = (
    0.1  # of a text's letters: with more of other scripts than this, `rouge_score` is blind
)
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


def tokenizers(references) -> dict[str, int]:
    """How many of the texts each tokenizer is for, the most first: what stands in the JSON."""
    return dict(Counter(map(kind_of, references)).most_common())


def sentences(counts: dict[str, int]) -> list[str]:
    """What is to be said of `tokenizers`: nothing where all references are `rouge_score`'s."""
    others = counts.get(ANY, 0)
    if not others:
        return []
    return [
        f"ROUGE, copy rate and words of {others} of {sum(counts.values())} references in other "
        f"scripts than Latin: {ANY}; not comparable with rouge_score's"
    ]


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
