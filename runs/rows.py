"""The rows of a local .jsonl, .json or .csv file as they stand there, or which row is wrong."""

import csv
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eap import InputError, strict_json
from runs.flags import VERSION

SYNONYMS = {
    "id": ("id", "guid", "key"),
    "article": ("article", "document", "text", "dialogue", "source", "report", "story"),
    "highlights": ("highlights", "summary", "abstract", "target", "tldr"),
}
EXPECTED = (
    "columns article and highlights (or document/text/dialogue and summary), and if there is one id"
)


@dataclass(frozen=True)
class Columns:
    """The names of a data set's columns; "" is the first of SYNONYMS that is there."""

    article: str = ""
    summary: str = ""

    @classmethod
    def of(cls, flags: dict) -> "Columns":
        """The names among a script's flags."""
        return cls(flags["article_column"], flags["summary_column"])

    def found_in(self, names: Iterable[str], where: str) -> dict[str, str | None]:
        """{"id", "article", "highlights": what `names` call them}; an id may be None.

        Raises InputError, which begins with `where`, for a column that is not there.
        """
        names = list(names)
        asked = {"article": self.article, "highlights": self.summary}
        named = {"id": _first(SYNONYMS["id"], names)}
        for column, name in asked.items():
            named[column] = _first((name,) if name else SYNONYMS[column], names)
        wrong = [name for column, name in asked.items() if name and not named[column]]
        if wrong:
            raise InputError(
                f"{where}: expected a column {wrong[0]}, found {', '.join(names)}; check "
                "--article_column and --summary_column"
            )
        if None in (named["article"], named["highlights"]):
            raise InputError(
                f"{where}: expected {EXPECTED}, found {', '.join(names)}; name them by "
                "--article_column and --summary_column"
            )
        if named["article"] == named["highlights"]:
            raise InputError(
                f"{where}: expected two columns, got {named['article']} as article and as summary; "
                "check --article_column and --summary_column"
            )
        return named


USUAL = Columns()


def _first(wanted: Iterable[str], names: list[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def read(path: Path, columns: Columns = USUAL):
    """A datasets.Dataset of text columns `id` (null where there is none), `article`, `highlights`.

    Memory-mapped through the cache of `datasets`, where it is known by what the file holds. Raises
    InputError naming the first row that cannot be read, OSError when the cache cannot be written.
    """
    import datasets.exceptions

    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    file_and_version = {"path": str(path.resolve()), "sha256": digest, "version": VERSION}
    known_by = {**file_and_version, "columns": columns}
    text = datasets.Value("string")
    try:
        return datasets.Dataset.from_generator(
            _rows,
            features=datasets.Features(dict.fromkeys(SYNONYMS, text)),
            gen_kwargs=known_by,
        )
    except datasets.exceptions.DatasetGenerationError as error:
        raise (error.__cause__ or error) from None  # ours: it says which row is wrong


def _rows(path: str, sha256: str, *, version: str, columns: Columns) -> Iterator[dict]:
    """Yield the rows. The other arguments are what the cache knows the file by."""
    records = _csv(path, columns) if path.endswith(".csv") else _json(path)
    n, names = 0, {}
    try:
        for n, (where, record) in enumerate(records, start=1):  # noqa: B007  counts
            if n == 1:
                named = columns.found_in(record, path)
                texts = [(column, named[column]) for column in ("article", "highlights")]
                names = {column: name for column, name in texts if name is not None}
            yield _row(path, where, record=record, names=names)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected text in UTF-8, got other bytes in line {_first_bad_line(path)}; "
            "save it again as UTF-8"
        ) from error
    if n == 0:
        raise InputError(f"{path}: expected {EXPECTED}, got no example in it; fix the file")


# ---------------------------------------------------------------- records of a file


def _csv(path: str, columns: Columns) -> Iterator[tuple[str, dict]]:
    """Yield (where, {column: text}). Every row must have as many fields as the header: none may
    move to another column.
    """
    csv.field_size_limit(sys.maxsize)  # an article is longer than the 128 kB that it allows
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        number = 0
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, columns=columns)
            for fields in filter(None, reader):
                number += 1
                if len(fields) != len(header):
                    raise InputError(
                        f"{path}: row {number} (line {reader.line_num}): expected {len(header)} "
                        f"fields as in the header, got {len(fields)}; fix the row"
                    )
                if [field.strip() for field in fields] == header:
                    raise InputError(
                        f"{path}: row {number} (line {reader.line_num}): expected an article, got "
                        "the header again, as of files put one behind the other; remove the row"
                    )
                yield f"row {number}", dict(zip(header, fields, strict=True))
        except csv.Error as error:
            raise InputError(
                f"{path}: row {number + 1} (line {reader.line_num}): expected a row of CSV, "
                f"got something unreadable ({error}); fix the row"
            ) from error


def _check_header(path: str, header: list[str], *, columns: Columns) -> None:
    wanted = [name for names in SYNONYMS.values() for name in names]
    wanted += [name for name in (columns.article, columns.summary) if name]
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise InputError(
            f"{path}: expected each column once, got {twice[0]} {header.count(twice[0])} times; "
            "rename one"
        )


def _json(path: str) -> Iterator[tuple[str, dict]]:
    """Yield (where, object) of a file of one object a line, or of one array. Only a newline ends a
    line.
    """
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        if path.endswith(".json") and _is_array(file):
            yield from _array(path, file)
            return
        first = True
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = _parsed(path, f"line {number}", text=line)
            except InputError:
                if first:
                    _require_lines(path)
                raise
            first = False
            yield f"line {number}", record


def _is_array(file) -> bool:
    start = file.read(1)
    while start and start.isspace():
        start = file.read(1)
    file.seek(0)
    return start == "["


def _array(path: str, file) -> Iterator[tuple[str, dict]]:
    number = 0
    try:
        for number, record in enumerate(strict_json.items(file.read().removeprefix("\ufeff")), 1):
            _require_object(path, f"item {number}", record=record)
            yield f"item {number}", record
    except InputError:
        raise
    except ValueError as error:
        raise _not_json(path, f"item {number + 1}", error=error) from error


def _parsed(path: str, where: str, *, text: str) -> dict:
    try:
        record = strict_json.loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise _not_json(path, where, error=error) from error
    _require_object(path, where, record=record)
    return record


def _not_json(path: str, where: str, *, error: ValueError) -> InputError:
    if isinstance(error, strict_json.Twice):
        return InputError(f"{path}: {where}: {error}; keep the one that is meant")
    return InputError(f"{path}: {where} is not JSON: {error}; fix the file")


def _require_object(path: str, where: str, *, record) -> None:
    if not isinstance(record, dict):
        raise InputError(f"{path}: {where} is no JSON object; fix the file")


def _require_lines(path: str) -> None:
    """Raise InputError for a file that is JSON, but not one object a line."""
    if what := strict_json.not_by_lines(path):
        raise InputError(
            f"{path}: expected one JSON object a line, got {what}; write each row on a line of its "
            "own, or all rows as one array into a file named .json"
        )


def _first_bad_line(path: str) -> int:
    """The number of the first line that is no UTF-8; looked for only after reading has failed."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


# ---------------------------------------------------------------- rows


def _row(path: str, where: str, *, record: dict, names: dict[str, str]) -> dict:
    """{"id", "article", "highlights"}; None for what is not there. Raises InputError for an article
    that is no text.
    """
    row = {"id": _id(record)}
    for column, name in names.items():
        text = record.get(name)
        if text is not None and not isinstance(text, str):
            raise InputError(
                f"{path}: {where}: {name} is {type(text).__name__}, not text; fix the file"
            )
        if any("\ud800" <= character <= "\udfff" for character in text or ""):
            raise InputError(
                f"{path}: {where}: {name} holds half of a surrogate pair, which is no character"
            )
        row[column] = text
    return row


def _id(record: dict) -> str | None:
    """The row's own id as text; None for none, null, NaN or blank ones."""
    for name in SYNONYMS["id"]:
        own = record.get(name)
        if own is None or own != own or str(own).strip() == "":
            continue
        return str(own).encode("utf-8", "replace").decode()
    return None
