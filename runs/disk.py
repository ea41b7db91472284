"""Files written in one step, and read: text, JSON, figures."""

import contextlib
import glob
import itertools
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eap import InputError, strict_json
from runs import console, errors


@contextlib.contextmanager
def atomic(path):
    """A temporary name beside `path`, of the same suffix; renamed to `path` when the block ends
    well, removed otherwise.

    A folder replaces a folder, a file a file. Raises InputError when `path` is a folder and a file
    was written, and OSError that names `path` for whatever the outside world refuses in the block.
    """
    path = Path(path)
    prefix = f".writing-{path.name}-"
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(
            f"{glob.escape(prefix)}*"
        ):  # by a process that was killed while it wrote this
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
        try:
            yield folder / path.name
            if path.is_dir() and not (folder / path.name).is_dir():
                raise InputError(
                    f"{path}: expected the name of a file to write, got a folder; name a file in it"
                )
            if path.is_dir():
                shutil.rmtree(path)
            os.replace(folder / path.name, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def naming(path):
    """A block in which `path` is written: what the outside world refuses there comes out as an
    OSError that names it.

    Libraries raise errors of their own for a full disk, and OSErrors without a name.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = errors.outside(error)
        if reason is None or reason.errno is None:
            raise
        if reason.filename is not None and not _in_the_writing_of(path, reason.filename):
            raise
        raise OSError(reason.errno, reason.strerror or str(reason), str(path)) from error


def _in_the_writing_of(path, name) -> bool:
    """Whether `name` is `path`, a folder above it, or what stands for it until it is written."""
    named = os.path.abspath(os.fsdecode(name))
    path = os.path.abspath(path)
    staging = os.path.join(os.path.dirname(path), f".writing-{os.path.basename(path)}")
    return named.startswith((staging, path)) or path.startswith(named)


def write_text(path, text: str) -> None:
    """Write `text` to `path` in one step, in UTF-8. What of a file name is no character is escaped,
    as JSON does.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path, data) -> None:
    """Write JSON in one step, with a final newline. Raises ValueError for NaN or infinity: they are
    not JSON.

    Piece by piece: the text of a circuit of a million edges takes a gigabyte as a list of pieces.
    """
    with (
        atomic(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        file.writelines(_pieces(data))
        file.write("\n")


ENCODER = json.JSONEncoder(indent=1, allow_nan=False, ensure_ascii=False)
FEWEST_ROWS = 1000  # of a table that is written by columns
ROWS = 10_000  # of one at a time
PLAIN = {float, int, bool, type(None)}  # whose JSON has no comma


def _pieces(data) -> Iterator[str]:
    """The JSON of `data` as `ENCODER` has it; its tables by columns, which is faster."""
    tables = set()
    if isinstance(data, dict) and set(map(type, data)) == {str}:
        tables = {name for name, value in data.items() if _is_table(value)}
    if not tables:
        yield from ENCODER.iterencode(data)
        return
    between = "{"
    for name, value in data.items():
        yield f"{between}\n {ENCODER.encode(name)}: "
        if name in tables:
            yield from _table_pieces(value)
        else:  # no piece has a new line of its own: in a text it is written with a backslash
            yield from (piece.replace("\n", "\n ") for piece in ENCODER.iterencode(value))
        between = ","
    yield "\n}"


def _is_table(value) -> bool:
    """Whether JSON is a table: many rows by name, each with the same columns of numbers."""
    if not isinstance(value, dict) or len(value) < FEWEST_ROWS:
        return False
    if set(map(type, value)) != {str} or set(map(type, value.values())) != {dict}:
        return False
    names = set(map(tuple, value.values()))
    if len(names) != 1 or not (columns := names.pop()) or set(map(type, columns)) != {str}:
        return False
    return all({type(row[name]) for row in value.values()} <= PLAIN for name in columns)


def _table_pieces(table: dict) -> Iterator[str]:
    """The JSON of a table that stands in an object."""
    encode = ENCODER.encode
    names = [encode(name).replace("%", "%%") for name in next(iter(table.values()))]
    row = "\n  %s: {\n" + ",\n".join(f"   {name}: %s" for name in names) + "\n  }"
    columns = list(next(iter(table.values())))
    compact = json.JSONEncoder(allow_nan=False)
    items, between = iter(table.items()), "{"
    while part := list(itertools.islice(items, ROWS)):
        cells = [
            compact.encode([values[name] for _, values in part])[1:-1].split(", ")
            for name in columns
        ]
        rows = zip([encode(name) for name, _ in part], *cells, strict=True)
        yield between + ",".join(map(row.__mod__, rows))
        between = ","
    yield "\n }"


def write_jsonl(path, rows) -> None:
    """Write one JSON object a line, in one step."""
    write_text(
        path, "".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)
    )


def read_jsonl(path) -> list:
    """The objects of a file of `write_jsonl`. Lines end at a newline only: texts may hold any other
    separator.
    """
    with open(path, encoding="utf-8", newline="\n") as lines:
        return [strict_json.loads(line) for line in lines]


def read_json(path, what: str = "JSON file"):
    """The content of a JSON file of `format` 1 or none. Raises InputError naming the file."""
    try:
        data = strict_json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: expected a {what}, found no such file; check the path, or run the script "
            "that writes it"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a {what}, got something unreadable ({error}); write it again"
        ) from error
    version = data.get("format", 1) if isinstance(data, dict) else 1
    if version != 1:
        raise InputError(
            f"{path}: expected format 1, got {version}; update this software or write the file "
            "again"
        )
    return data


@dataclass(frozen=True)
class FigureOptions:
    """How figures are written: PNG always, a further format if it is another, a width in inches."""

    format: str = "png"
    width: float | None = None

    def paths(self, path: Path) -> list[Path]:
        """The files of a figure whose PNG is `path`."""
        further = path.with_suffix(f".{self.format}")
        return [path] if further == path else [path, further]


FIGURE_DPI = 200
figures = FigureOptions()  # of this process: a script's Run sets them once


def draw_with(options: FigureOptions) -> None:
    """Let the figures of this process be written so."""
    global figures
    figures = options


def save_figure(make, path) -> None:
    """Write the matplotlib figure that `make()` returns as PNG, and in the format asked for.

    Each file in one step, byte-identical between runs. `drawn` says what becomes of a figure that
    cannot be drawn.
    """

    def write(temporary) -> None:
        from matplotlib import rc_context

        dated = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}[temporary.suffix]
        with warnings.catch_warnings(), rc_context({"svg.hashsalt": path.name}):
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box
            make().savefig(temporary, dpi=FIGURE_DPI, bbox_inches="tight", metadata={dated: None})

    path = Path(path)
    drawn(write, path)


def drawn(write, path) -> None:
    """Have `write(temporary)` draw a picture in each format, put in its place in one step.

    A picture that cannot be drawn is a warning: the numbers stand in their JSON, written before.
    A place that cannot be written is an OSError as for any other file.
    """
    for file in figures.paths(Path(path)):
        try:
            with atomic(file) as temporary:
                write(temporary)
                if figures.width is not None:
                    fit(temporary, figures.width)
        except InputError:
            raise
        except Exception as error:  # matplotlib's, FreeType's and Graphviz's have no common kind
            if isinstance(error, OSError) and error.filename == str(file):
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            console.warn(
                f"warning: {file} is left out, it could not be drawn ({reason}); its numbers are "
                "written"
            )


def fit(path: Path, width: float) -> None:
    """Let a picture be printed `width` inches wide: .png, .svg or .pdf, in place."""
    if path.suffix == ".png":
        from PIL import Image

        with Image.open(path) as picture:
            picture.load()
        picture.save(path, dpi=(picture.width / width,) * 2)
    elif path.suffix == ".svg":
        text = path.read_text(encoding="utf-8")
        sizes = re.search(r'<svg[^>]*? width="([\d.]+)pt" height="([\d.]+)pt"', text)
        assert sizes is not None  # matplotlib and Graphviz write both
        inches = f'width="{width}in" height="{width * float(sizes[2]) / float(sizes[1]):.4f}in"'
        old = f'width="{sizes[1]}pt" height="{sizes[2]}pt"'
        path.write_text(text.replace(old, inches, 1), encoding="utf-8")
    else:
        from pypdf import PdfWriter

        document = PdfWriter(clone_from=path)
        page = document.pages[0]
        page.scale_by(72 * width / float(page.mediabox.width))
        document.write(path)
