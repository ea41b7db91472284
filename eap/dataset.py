"""Clean/corrupted pairs of token sequences, read from a file, checked, and put into batches."""

import hashlib
import itertools
import json
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from eap import InputError, strict_json

# What these fields of a pair are called in a file of pairs.
IN_FILE = {
    "target_start": "summary_start",
    "corrupted_spans": "masked",
    "segments": "sentences",
    "target_text": "summary",
}


@dataclass(frozen=True)
class Pair:
    """A clean and a corrupted input of the same length; the targets are `clean_ids[target_start:]`.

    Only the first four fields are needed. Spans are [start, end) of tokens.
    """

    id: str
    clean_ids: list[int]
    corrupted_ids: list[int]
    target_start: int
    control_ids: list[int] | None = None  # as many other tokens corrupted instead
    corrupted_spans: tuple[tuple[int, int], ...] = ()  # what `corrupted_ids` replaces
    segments: tuple[tuple[int, int], ...] = ()  # the parts that the input before the targets has
    target_text: str | None = None
    source_sha256: str | None = None  # `text_sha256` of the text that the pair was made of
    prompt: dict | None = None  # how the words around it were made, as recorded

    def control(self) -> "Pair":
        """The causal control: the same pair with other tokens corrupted.

        Raises InputError without `control_ids`.
        """
        if self.control_ids is None:
            raise InputError(f"pair {self.id}: expected control_ids, found none")
        return replace(self, corrupted_ids=self.control_ids, control_ids=None)


class Grouping(NamedTuple):
    """A division of every pair's tokens into groups, by which scores can be split."""

    names: tuple[str, ...]
    of: Callable[[Pair], list[int]]  # the number of each token's group


def text_sha256(text: str) -> str:
    """SHA-256 of a text, the same however its white space and its composed letters are written.

    Sources are told apart by this: ids repeat, restart in every file, or are missing.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    plain = " ".join(text.split())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def tokens_sha256(pair: Pair) -> str:
    """SHA-256 of the tokens before the targets of a pair's clean input."""
    ids = pair.clean_ids[: pair.target_start]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def read_pairs(
    path,
    *,
    vocabulary_size: int | None = None,
    context_length: int | None = None,
    max_examples: int | None = None,
) -> list[Pair]:
    """The pairs of a .jsonl file, checked. Raises InputError naming the file and the row.

    A row needs `clean_ids`, `corrupted_ids` (as many) and `summary_start`; other fields of a pair
    may be absent (their names: `IN_FILE`; `article` holds the source's text). Lines end at a
    newline only. Rows without an id are known by their number; an id that is there already gets a
    number behind it.
    """
    pairs, ids = [], set()
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                if max_examples is not None and len(pairs) == max_examples:
                    break
                if not line.strip():
                    continue
                if not pairs:
                    _require_lines(line, path)
                pair = _pair(
                    line,
                    f"{path}, row {number}",
                    vocabulary_size=vocabulary_size,
                    context_length=context_length,
                )
                pairs.append(_with_id(pair, number, ids=ids))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{path}: expected a file of pairs, found none") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected a file of pairs in UTF-8, got another encoding"
        ) from error
    if not pairs:
        raise InputError(f"{path}: expected at least one pair, got an empty file")
    return pairs


def _require_lines(first: str, path) -> None:
    """Raise InputError for a file that is JSON, but whose first line is no object of its own."""
    try:
        whole = isinstance(json.loads(first), dict)
    except ValueError:
        whole = False
    what = None if whole else strict_json.not_by_lines(path)
    if what is not None:
        raise InputError(
            f"{path}: expected one JSON object a line, got {what}; write each pair on a line of "
            "its own"
        )


def _with_id(pair: Pair, number: int, *, ids: set[str]) -> Pair:
    """The pair with an id that no earlier one has; `ids` are theirs, and gets it."""
    own = pair.id or f"row-{number}"
    names = itertools.chain([own], (f"{own}#{count}" for count in itertools.count(2)))
    name = next(name for name in names if name not in ids)
    ids.add(name)
    return pair if name == pair.id else replace(pair, id=name)


def repeated(pairs: list[Pair], path) -> str | None:
    """A note that says how many pairs have the source of an earlier one; None: none has."""
    repeats = len(pairs) - len({pair.source_sha256 or tokens_sha256(pair) for pair in pairs})
    if not repeats:
        return None
    return f"note: {path}: {repeats} of {len(pairs)} pairs repeat the source of another pair"


def _pair(
    line: str, where: str, *, vocabulary_size: int | None, context_length: int | None
) -> Pair:
    """The pair in a line of a file, which is `where`. Raises InputError."""
    try:
        pair = _parsed(strict_json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        expected = f"expected clean_ids, corrupted_ids and {IN_FILE['target_start']}"
        raise InputError(f"{where}: {expected}, got {_in_words(error)}") from error
    _require_aligned(pair, where)
    tokens = [token for ids in _sequences(pair) for token in ids]
    if min(tokens) < 0:
        raise InputError(f"{where}: expected token ids of at least 0, got {min(tokens)}")
    if vocabulary_size is not None and max(tokens) >= vocabulary_size:
        raise InputError(
            f"{where}: expected token ids below {vocabulary_size}, the model's, got {max(tokens)}"
        )
    if context_length is not None and len(pair.clean_ids) > context_length:
        raise InputError(
            f"{where}: expected at most {context_length} tokens, the model's context, got "
            f"{len(pair.clean_ids)}"
        )
    start = pair.target_start
    if any(ids[start:] != pair.clean_ids[start:] for ids in _sequences(pair)):
        raise InputError(
            f"{where}: expected the same tokens from {IN_FILE['target_start']} on in the clean, "
            "the corrupted and the control input, got different ones"
        )
    return pair


def _parsed(row) -> Pair:
    """The pair in a row of a file. Raises TypeError, ValueError or KeyError for what is wrong."""
    if not isinstance(row, dict):
        raise TypeError("a line that is no JSON object")
    if isinstance(row.get("id"), list | dict):
        raise TypeError("an id that is neither text nor a number")
    for name in ("clean_ids", "corrupted_ids", "control_ids"):
        if name == "control_ids" and row.get(name) is None:
            continue
        if not isinstance(row[name], list) or not row[name]:
            raise TypeError(f"{name} that are no list of tokens")
    text_name, source = IN_FILE["target_text"], row.get("article")
    if not isinstance(row.get(text_name), str | None):
        raise TypeError(f"a {text_name} that is no text")
    if not isinstance(row.get("prompt"), dict | None):
        raise TypeError("a prompt that is no JSON object")
    pair = Pair(
        _id(row.get("id")),
        row["clean_ids"],
        row["corrupted_ids"],
        row[IN_FILE["target_start"]],
        control_ids=row.get("control_ids"),
        corrupted_spans=_spans(row, IN_FILE["corrupted_spans"]),
        segments=_spans(row, IN_FILE["segments"]),
        target_text=row.get(text_name),
        source_sha256=text_sha256(source) if isinstance(source, str) else None,
        prompt=row.get("prompt"),
    )
    spans = (*pair.corrupted_spans, *pair.segments)
    for numbers in (*_sequences(pair), [pair.target_start], *spans):
        if not all(type(number) is int for number in numbers):
            raise TypeError("a number that is not whole")
    if not all(0 <= start <= end <= pair.target_start for start, end in spans):
        raise ValueError("a span that does not lie before the targets")
    return pair


def _spans(row: dict, name: str) -> tuple[tuple, ...]:
    return tuple(tuple(span) for span in row.get(name) or ())


def _sequences(pair: Pair) -> list[list[int]]:
    """The sequences of tokens that a pair has."""
    sequences = [pair.clean_ids, pair.corrupted_ids]
    return sequences if pair.control_ids is None else [*sequences, pair.control_ids]


def _require_aligned(pair: Pair, where: str) -> None:
    """Raise InputError unless all sequences have one length, and targets and tokens before them."""
    lengths = sorted({len(ids) for ids in _sequences(pair)})
    if len(lengths) > 1:
        raise InputError(
            f"{where}: expected clean and corrupted inputs of the same length, got {lengths} tokens"
        )
    if not 1 <= pair.target_start < len(pair.clean_ids):
        raise InputError(
            f"{where}: expected {IN_FILE['target_start']} from 1 to {len(pair.clean_ids) - 1}, got "
            f"{pair.target_start}"
        )


def _id(own) -> str:
    """An id as text; "" for none, null, NaN (how a table says null) and blank ones."""
    return "" if own is None or own != own else str(own).strip()


def _in_words(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"a line that is not JSON ({error})"
    return f"a row without {error}" if isinstance(error, KeyError) else str(error)


def partly_corrupted(pair: Pair, share: float, *, generator: torch.Generator) -> Pair:
    """The pair with only a random `share` of its differing tokens corrupted, the others clean.

    Of how many is rounded; it is at least one.
    """
    both = zip(pair.clean_ids, pair.corrupted_ids, strict=True)
    differing = [i for i, (clean, corrupted) in enumerate(both) if clean != corrupted]
    n = max(1, round(share * len(differing)))
    ids = list(pair.clean_ids)
    for place in torch.randperm(len(differing), generator=generator)[:n].tolist():
        ids[differing[place]] = pair.corrupted_ids[differing[place]]
    return replace(pair, corrupted_ids=ids)


def stretches(labels: list[int], most: int) -> Iterator[tuple[int, slice]]:
    """Yield (label, slice of positions): the runs of equal labels, in pieces of at most `most`."""
    start = 0
    for label, run in itertools.groupby(labels):
        end = start + len(list(run))
        for begin in range(start, end, most):
            yield label, slice(begin, min(begin + most, end))
        start = end


def check_tokenizer(pairs: list[Pair], tokenizer, *, path) -> str | None:
    """Raise InputError if `tokenizer` did not make the pairs, judged by every `target_text`.

    Every one: files of two tokenizers may have been joined. Returns a note where that cannot be
    judged, else None.
    """
    with_text = [(pair, pair.target_text) for pair in pairs if pair.target_text is not None]
    if tokenizer is None or not with_text:
        missing = f"{path} holds no {IN_FILE['target_text']} texts"
        if tokenizer is None:
            missing = "the model folder has no tokenizer"
        return f"note: {missing}, so whether model and pairs share a tokenizer was not checked"
    for pair, text in with_text:
        written = pair.clean_ids[pair.target_start :]
        decoded = tokenizer.decode(written, skip_special_tokens=True)
        if decoded.split() != text.split() and not _encodes(tokenizer, text, ids=written):
            raise InputError(
                f"{path}: expected pairs made with this model's tokenizer, got others "
                f"(pair {pair.id} reads {decoded[:40]!r})"
            )
    return None


def left_out(tokenizer) -> set[int]:
    """The tokens that no text is given: special ones, but for the one of unknown words."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    kept = set() if unknown == getattr(tokenizer, "eos_token_id", None) else {unknown}
    return set(tokenizer.all_special_ids) - kept


def _encodes(tokenizer, text: str, *, ids: list[int]) -> bool:
    """Whether the tokenizer makes `ids` of a text, special tokens left out.

    After a space as in a plain prompt, or at the start of a chat model's turn. A tokenizer that
    normalises (capitals, white space, composed letters) does not give the text back.
    """
    special = left_out(tokenizer)
    written = [token for token in ids if token not in special]
    for lead in (" ", ""):
        coded = tokenizer(
            lead + text.strip(),
            add_special_tokens=False,
            split_special_tokens=True,
            verbose=False,
        )["input_ids"]
        if written and written == [token for token in coded if token not in special]:
            return True
    return False


class Batch(NamedTuple):
    """Pairs padded on the right; the `target_*` have one entry per target token."""

    rows: list[int]  # the pairs' numbers in the list that they are of
    pairs: list[Pair]
    clean_ids: torch.Tensor  # (batch, pos)
    corrupted_ids: torch.Tensor  # (batch, pos)
    mask: torch.Tensor  # (batch, pos) True where there is a token
    target_rows: torch.Tensor  # (targets,) which pair of the batch
    target_positions: torch.Tensor  # (targets,) where its logits stand: one before the token itself
    target_ids: torch.Tensor  # (targets,)

    def split(self, most: int) -> "list[Batch]":
        """The same pairs in batches of at most `most`."""
        starts = range(0, len(self.rows), most)
        return [
            collate(self.rows[start : start + most], self.pairs[start : start + most])
            for start in starts
        ]

    def to(self, device) -> "Batch":
        """The batch with its tensors on `device`."""
        tensors = [tensor.to(device) for tensor in self[2:]]
        return Batch(self.rows, self.pairs, *tensors)


def collate(rows: list[int], pairs: list[Pair]) -> Batch:
    """One batch of the given pairs."""
    length = max(len(pair.clean_ids) for pair in pairs)
    clean = torch.zeros(len(pairs), length, dtype=torch.long)
    corrupted, mask = torch.zeros_like(clean), torch.zeros_like(clean, dtype=torch.bool)
    targets = []  # (pair of the batch, where its logits stand, token)
    for i, pair in enumerate(pairs):
        n = len(pair.clean_ids)
        clean[i, :n] = torch.tensor(pair.clean_ids)
        corrupted[i, :n] = torch.tensor(pair.corrupted_ids)
        mask[i, :n] = True
        for position in range(pair.target_start, n):
            targets.append((i, position - 1, pair.clean_ids[position]))
    target_rows, positions, ids = torch.tensor(targets).T.contiguous()
    return Batch(rows, pairs, clean, corrupted, mask, target_rows, positions, ids)


def batches(pairs: list[Pair], batch_size: int) -> list[Batch]:
    """All pairs in batches of at most `batch_size`, longest first, for little padding."""
    order = sorted(range(len(pairs)), key=lambda i: (-len(pairs[i].clean_ids), i))
    groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [collate(group, [pairs[i] for i in group]) for group in groups]
