"""The examples that a circuit was found on, as its file says, and pairs that are none of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from eap import InputError
from eap.dataset import Pair, tokens_sha256


@dataclass(frozen=True)
class Examples:
    """The examples that a circuit was found on, in their order, as far as its file says.

    What they hold is what counts, whatever their ids: these repeat, restart in every file, or are
    missing. They stand in only where a file does not say what its examples hold.
    """

    ids: tuple[str, ...] | None = None
    tokens: tuple[str, ...] | None = None  # `dataset.tokens_sha256` of each
    # `dataset.text_sha256` of each one's source; None: unknown
    sources: tuple[str | None, ...] = ()
    prompt: dict | None = None  # how the words around the sources were made, as recorded

    @classmethod
    def of(cls, pairs: list[Pair]) -> "Examples":
        """Those of a circuit that is found on these pairs."""
        return cls(
            tuple(pair.id for pair in pairs),
            tuple(tokens_sha256(pair) for pair in pairs),
            tuple(pair.source_sha256 for pair in pairs),
            pairs[0].prompt or None,
        )

    @classmethod
    def read(cls, entries: Mapping) -> "Examples":
        """Those that a file's metadata name."""
        ids, hashes = entries.get("example_ids"), entries.get("example_sha256") or {}
        tokens = hashes.get("tokens")
        return cls(
            None if ids is None else tuple(str(name) for name in ids),
            tuple(tokens) if hashes else None,  # pyright: ignore  hashes have tokens
            tuple(hashes.get("articles", ())),
            entries.get("prompt"),
        )

    def entries(self) -> dict:
        """What a circuit's file says of them."""
        hashes = {"tokens": list(self.tokens or ()), "articles": list(self.sources)}
        entries = {"example_ids": list(self.ids or ()), "example_sha256": hashes}
        return entries if self.prompt is None else {**entries, "prompt": self.prompt}

    def __len__(self) -> int:
        """How many there are; 0 where the file does not say."""
        return len(self.ids or ())

    @property
    def tell_contents(self) -> bool:
        """Whether the file says what they hold."""
        return self.tokens is not None

    def same(self, other: "Examples") -> bool:
        """Whether both are the same examples in the same order.

        Two that name none count as the same, as long as their scores have one shape: who needs more
        asks for it.
        """
        if self.tell_contents and other.tell_contents:
            return self.tokens == other.tokens
        return self.ids == other.ids

    def shared_start(self, other: "Examples") -> int:
        """How many of the first examples are the same in both.

        Circuits that were made until they were stable have taken more or fewer of the same pairs.
        """
        ours, theirs = self.tokens, other.tokens
        if not ours or not theirs:
            ours, theirs = self.ids or (), other.ids or ()
        shared = 0
        for own, other_name in zip(ours, theirs, strict=False):
            if own != other_name:
                break
            shared += 1
        return shared


def unseen(pairs: list[Pair], found_on: list[Examples], *, path) -> list[Pair]:
    """The pairs on whose sources no circuit was found. Raises InputError when none is left.

    Judged by what the examples hold; by ids only for files that do not say (`by_ids`).
    """
    hashes, ids = set(), set()
    for examples in found_on:
        if examples.tell_contents:
            hashes.update(examples.tokens or (), filter(None, examples.sources))
        else:
            ids.update(examples.ids or ())
    left = [
        pair
        for pair in pairs
        if pair.id not in ids and hashes.isdisjoint((tokens_sha256(pair), pair.source_sha256))
    ]
    if not left:
        raise InputError(f"{path}: expected examples that extraction did not see, got none")
    return left


def by_ids(found_on: list[Examples], path) -> str | None:
    """A note where `unseen` goes by ids, or cannot go by anything; None where contents decide."""
    without = [examples for examples in found_on if not examples.tell_contents]
    if not without:
        return None
    named = sum(len(examples) > 0 for examples in without)
    return (
        f"note: {len(without)} of {len(found_on)} circuits do not say what their examples hold: "
        f"which pairs of {path} extraction saw is judged by ids for {named}, unknown for "
        f"{len(without) - named}; extract them again to be sure"
    )
