"""Articles and highlights: a Hub id, a local file or folder, or `demo`, the embedded newsroom."""

import contextlib
import functools
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eap import InputError
from runs import errors, hub, progress, rows
from runs.records import Source
from runs.rows import EXPECTED, USUAL, Columns

if TYPE_CHECKING:  # it is slow to import, and scripts parse their flags first
    from datasets import DatasetBuilder

DEFAULT = "abisee/cnn_dailymail"
HUB_CONFIGS = {DEFAULT: "3.0.0"}
FULL_NAMES = {
    "cnn_dailymail": DEFAULT,
    "xsum": "EdinburghNLP/xsum",
}  # the data client wants the owner too
FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
SAVED = ("dataset_info.json", "dataset_dict.json")  # what save_to_disk leaves in a folder
DEMO_SIZES = {"train": 4000, "validation": 200, "test": 200}
NEWSROOM = Path(__file__).with_name("newsroom.py")
# A character that is seen (RE2): no white space, control, joiner, filler or mark of a variant.
VISIBLE = (
    r"[^\s\pZ\p{Cc}\p{Cf}\x{34F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{2800}"
    r"\x{3164}\x{FE00}-\x{FE0F}\x{FFA0}\x{E0100}-\x{E01EF}]"
)
NO_SPLITS = "{} has no splits: rows for {} are of all of it; a model tuned on it has seen them"


class NoSplit(InputError):
    """The data set is there, but has no split of this name."""


def resolve(dataset: str, flag: str = "--dataset") -> str:
    """`dataset` by its full name, known to be within reach. What is local is looked at fast.

    Raises InputError for a path that is not there, a file of another kind, a folder without a data
    set, and for a Hub id that the Hub does not give and the cache lacks.
    """
    path = Path(dataset)
    kinds = f"a {'/'.join(FORMATS)} file, a save_to_disk folder, a Hub id or demo"
    if dataset == "demo":
        return dataset
    if path.is_dir():
        if not _saved(path) and not _split_files(path):
            raise InputError(
                f"{flag} {dataset}: expected {kinds}, found a folder with none of them; "
                "save_to_disk or <split>.jsonl"
            )
    elif path.is_file():
        if path.suffix not in FORMATS:
            raise InputError(
                f"{flag} {dataset}: expected {kinds}, found a file ending in "
                f"{path.suffix or 'nothing'}; convert it"
            )
    elif path.suffix in FORMATS or dataset.startswith((".", "/", "~")) or dataset.count("/") > 1:
        raise InputError(f"{flag} {dataset}: expected {kinds}, found no such path; check it")
    else:
        name = FULL_NAMES.get(dataset, dataset)
        hub.require_dataset(name, flag, prepared=lambda: _is_prepared(name))
        return name
    return dataset


def inputs(dataset: str, columns: Columns = USUAL) -> dict[str, str | Source]:
    """The entry of `records.Run(inputs=...)` for a data set; for `demo`, two files.

    A Hub id has the SHA-256 of the rows of all its splits, and the commit they are of. Raises
    InputError as `load` does.
    """
    if dataset != "demo" and Path(dataset).exists():
        return {"dataset": dataset}
    if dataset != "demo":
        return {"dataset": _hub_source(resolve(dataset), columns)}
    return {
        "dataset": str(NEWSROOM),
        "dataset_patterns": str(NEWSROOM.with_name("newsroom_patterns.py")),
    }


def label(dataset: str) -> str:
    """The name of a data set in artifacts: no path, so that they do not differ between machines."""
    if Path(dataset).exists():
        return Path(dataset).resolve().name
    return FULL_NAMES.get(dataset, dataset)


def title(about: dict) -> str:
    """What a figure says of the `dataset`, `split` and `without_splits` of an artifact:
    `cnn_dailymail test`, `rows.jsonl (no splits)`.
    """
    return f"{about['dataset']} {'(no splits)' if about['without_splits'] else about['split']}"


def load(
    dataset: str,
    split: str,
    *,
    max_examples: int | None = None,
    seed: int = 0,
    columns: Columns = USUAL,
):
    """A datasets.Dataset of text columns `id`, `article`, `highlights`: the first `max_examples` of
    a seeded shuffle, or all.

    `columns` says what the data set calls them, if not as usual.

    `demo` is made to size (DEMO_SIZES by default), its first articles. What has no splits is used
    whole; for other splits than train a note on stderr says so. Rows with a blank article or blank
    highlights are left out, with a note. Raises InputError naming a row that is not text.
    """
    import numpy as np

    if dataset == "demo":
        columns.found_in(("id", "article", "highlights"), "--dataset demo")
        return _demo(split, max_examples)
    with _naming_the_cache(dataset):
        table = _read(resolve(dataset), split, columns=columns)
    usable = _rows_with_text(table, dataset)
    if (
        without_splits(dataset) and split != "train"
    ):  # after what may be wrong with the file: an error is one line
        _note(NO_SPLITS.format(Path(dataset).name, split))
    if max_examples is not None:
        usable = np.random.default_rng(seed).permutation(usable)[:max_examples]
    if len(usable) < len(table) or max_examples is not None:
        table = table.select(usable)
    _say_repeats(table, f"{label(dataset)} {split}")
    return table


def _demo(split: str, n: int | None):
    from datasets import Dataset

    from summarization import newsroom

    if split not in DEMO_SIZES:
        raise InputError(
            f"--split {split}: the demo newsroom has the splits {', '.join(DEMO_SIZES)}"
        )
    return Dataset.from_list(newsroom.articles(split, n or DEMO_SIZES[split]))


# ---------------------------------------------------------------- reading


def _saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in SAVED)


def without_splits(dataset: str) -> bool:
    """Whether a data set is one table: a file, or a folder to which a Dataset without splits was
    saved.
    """
    return Path(dataset).is_file() or (Path(dataset) / "dataset_info.json").is_file()


def _split_files(folder: Path) -> dict[str, Path]:
    """`train.jsonl`, `validation.csv`, ... of a folder, by split.

    Raises InputError for two of one.
    """
    splits = {}
    for file in sorted(folder.iterdir()):
        if file.suffix not in FORMATS:
            continue
        if file.stem in splits:
            raise InputError(
                f"{folder}: expected one file of each split, got {splits[file.stem].name} and "
                f"{file.name}; move one of them out of the folder"
            )
        splits[file.stem] = file
    return splits


def _read(dataset: str, split: str, *, columns: Columns):
    """A table of the columns id, article and highlights, under these names."""
    path = Path(dataset)
    if path.is_file():
        return _read_file(path, columns)
    if path.is_dir() and not _saved(path):
        return _read_file(_one_of(_split_files(path), split, where=path), columns)
    table = _read_saved(path, split) if path.is_dir() else _read_hub(dataset, split)
    with _silence():
        return _with_columns(table, dataset, columns=columns)


def _read_saved(folder: Path, split: str):
    from datasets import DatasetDict, load_from_disk

    saved = load_from_disk(str(folder))
    return _one_of(saved, split, where=folder) if isinstance(saved, DatasetDict) else saved


def _one_of(splits, split: str, *, where):
    if split not in splits:
        raise NoSplit(
            f"{where}: expected a split {split!r}, found {', '.join(splits)}; choose one of these"
        )
    return splits[split]


def _read_file(path: Path, columns: Columns):
    """The rows of one file, memory-mapped through the cache of `datasets`."""
    import datasets

    try:
        with _silence():
            if path.suffix != ".parquet":
                return _with_columns(rows.read(path, columns), str(path))
            table = datasets.load_dataset("parquet", data_files=str(path.resolve()), split="train")
            return _with_columns(table, str(path), columns=columns)
    except InputError:
        raise
    except Exception as error:  # datasets raises its own kinds and pyarrow's
        if errors.outside(error) is not None:
            raise
        raise InputError(
            f"{path}: expected {EXPECTED}, got something unreadable "
            f"({type(error).__name__}: {error.__cause__ or error}); fix the file"
        ) from error


@contextlib.contextmanager
def _naming_the_cache(dataset: str):
    """A block that reads through the cache of `datasets`: what the outside world refuses there
    names it.
    """
    from datasets import config

    try:
        yield
    except Exception as error:
        reason = errors.outside(error)
        if isinstance(error, InputError) or reason is None or reason.errno is None:
            raise
        raise InputError(
            f"{config.HF_DATASETS_CACHE}: expected room to write a copy of {label(dataset)} "
            f"there, got {(reason.strerror or str(reason)).lower()}; free some, or set "
            "HF_DATASETS_CACHE to another folder"
        ) from error


@dataclass(frozen=True)
class Prepared:
    """A data set of the Hub, its rows on disk: the builder that reads them, their commit."""

    builder: "DatasetBuilder"
    commit: str | None

    @property
    def splits(self) -> list[str]:
        """The names of its splits."""
        return list(self.builder.info.splits or {})


def _read_hub(name: str, split: str):
    prepared = _prepare(name)
    if split not in prepared.splits:
        raise NoSplit(
            f"--split {split}: expected a split of {name}, "
            f"which has {', '.join(prepared.splits)}; choose one"
        )
    with _silence():
        return prepared.builder.as_dataset(split=split)


@functools.cache
def _prepare(name: str) -> Prepared:
    """A data set of the Hub, its rows on disk. Raises InputError with the cause and what helps.

    The Hub is asked first; only if it gives no answer, what lies in the caches is read.
    """
    failure = hub.ask(name, "dataset").failure
    try:
        with hub.offline() if failure else contextlib.nullcontext(), _silence(logs_only=True):
            prepared = _unprepared_in_cache(name) if failure else None
            prepared = prepared or _by_name(name)
            with hub.bars():
                prepared.builder.download_and_prepare()
    except Exception as error:  # the Hub's, datasets' and the network's errors have no common kind
        raise hub.NotGiven(
            name,
            "--dataset",
            kind="data set",
            failure=failure or hub.explain(error, "dataset"),
            lacking="some of its files" if failure else None,
        ) from error
    if failure:
        hub.say_cached(name, failure, commit=prepared.commit)
    return prepared


def _by_name(name: str) -> Prepared:
    """What `load_dataset` finds: on the Hub, or if it may not be asked among what was prepared."""
    import datasets

    builder = datasets.load_dataset_builder(name, HUB_CONFIGS.get(name))
    return Prepared(builder, builder.hash)


def _unprepared_in_cache(name: str) -> Prepared | None:
    """A data set that was downloaded, never prepared (`hf download`); None if there is none.

    Raises FileNotFoundError if its card does not give the number of rows, by which `datasets` sees
    whether a file is missing.
    """
    import datasets

    folder = hub.cached_snapshot(name, "dataset")
    if folder is None or _is_prepared(name):
        return None
    builder = datasets.load_dataset_builder(str(folder), HUB_CONFIGS.get(name))
    if not builder.info.splits:
        raise FileNotFoundError(f"{folder / 'README.md'} with the number of rows")
    return Prepared(builder, folder.name)


def _is_prepared(name: str) -> bool:
    """Whether the cache of `datasets` holds the rows of a data set of the Hub."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    owner, _, short = name.rpartition("/")
    folder = Path(config.HF_DATASETS_CACHE, f"{owner}___{camelcase_to_snakecase(short)}")
    prepared = folder.glob(f"{HUB_CONFIGS.get(name, '*')}/*/*/dataset_info.json")
    return any(not file.parent.name.endswith(".incomplete") for file in prepared)


@functools.cache
def _hub_source(name: str, columns: Columns) -> Source:
    """What is read of a data set of the Hub: its id, hash of the texts of all splits, commit."""
    prepared = _prepare(name)
    digest = hashlib.sha256()
    for split in sorted(prepared.splits):
        with _silence():
            table = _with_columns(prepared.builder.as_dataset(split=split), name, columns=columns)
        digest.update(f"{split} {len(table)}\n".encode())
        for column in table.column_names:
            _update_with_texts(digest, table.data.column(column))
    return Source(name, digest.hexdigest(), prepared.commit)


def _update_with_texts(digest, column) -> None:
    """Hash the texts of an arrow column, then their lengths in bytes: the same for any chunks."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = [
        pc.fill_null(pc.call_function("binary_length", [chunk]), -1).to_numpy(zero_copy_only=False)
        for chunk in column.chunks
    ]
    for chunk in column.chunks:
        chunk = chunk.cast(pa.large_string())
        start, stop = np.frombuffer(chunk.buffers()[1], np.int64)[
            [chunk.offset, chunk.offset + len(chunk)]
        ]
        digest.update(memoryview(chunk.buffers()[2] or b"")[start:stop])
    digest.update(np.concatenate([*lengths, []]).astype("<i8").tobytes())


@contextlib.contextmanager
def _silence(logs_only: bool = False):
    """No log lines of `datasets`, whose errors become a line of ours; no bars but of downloads."""
    import datasets

    progress.in_lines(datasets.utils.tqdm)
    bars, level = not datasets.utils.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    if not logs_only or "--quiet" in sys.argv:
        datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


# ---------------------------------------------------------------- checking


def _with_columns(table, dataset: str, *, columns: Columns = USUAL):
    """`table` with exactly the columns id, article and highlights, under these names; ids become
    text.
    """
    from datasets import Value

    named = columns.found_in(table.column_names, f"--dataset {dataset}")
    if named["id"] is None:
        table, named["id"] = (
            table.add_column("id", [f"row-{index:06d}" for index in range(len(table))]),
            "id",
        )
    table = table.select_columns(list(named.values())).rename_columns(
        {old: new for new, old in named.items() if old != new}
    )
    for column in ("article", "highlights"):
        kind = table.features[column]
        if getattr(kind, "dtype", None) not in ("string", "large_string"):
            raise InputError(
                f"--dataset {dataset}: expected text in column {column}, found {kind}; fix the file"
            )
    if getattr(table.features["id"], "dtype", "").startswith(
        "float"
    ):  # NaN: a table's word for none
        ids = [None if own is None or own != own else own for own in table["id"]]
        table = table.remove_columns("id").add_column("id", ids)
    if getattr(table.features["id"], "dtype", None) != "string":  # a cast writes all rows anew
        try:
            table = table.cast_column("id", Value("string"))
        except (TypeError, ValueError) as error:  # pyarrow's kinds are of both
            raise InputError(
                f"--dataset {dataset}: expected ids that are text or numbers in column "
                f"{named['id']}, found {table.features['id']}; rename or fix it"
            ) from error
    return _with_ids(table.select_columns(["id", "article", "highlights"]))


def _with_ids(table):
    """The rows with an id each: those without one, or with a blank one, have their number."""
    ids = list(table["id"])
    filled = [own if (own or "").strip() else f"row-{row:06d}" for row, own in enumerate(ids)]
    if filled == ids:
        return table
    order = table.column_names
    return table.remove_columns("id").add_column("id", filled).select_columns(order)


def _rows_with_text(table, dataset: str):
    """The rows that can be used, as an array. Raises InputError naming the first row without text,
    and when no row is left.
    """
    import numpy as np
    import pyarrow.compute as pc

    columns = table.with_format("arrow")[:] if len(table) else {}
    full = np.ones(len(table), dtype=bool)
    for column in ("article", "highlights") if len(table) else ():
        missing = np.flatnonzero(columns[column].is_null().to_numpy())
        if len(missing):
            raise InputError(
                f"--dataset {dataset}: row {missing[0] + 1} has no {column}; expected text in each "
                f"of {len(table)} rows"
            )
        seen = pc.MatchSubstringOptions(VISIBLE)
        full &= pc.call_function("match_substring_regex", [columns[column]], seen).to_numpy()
    if not full.any():
        raise InputError(
            f"--dataset {dataset}: expected at least one row with an article and highlights, found "
            "none"
        )
    if not full.all():
        _note(
            f"{label(dataset)}: {int((~full).sum())} of {len(full)} rows are left out, their "
            "article or highlights are blank"
        )
    return np.flatnonzero(full)


def digests(table) -> list[str]:
    """What each article is known by, whatever its id: `eap.dataset.text_sha256`."""
    from eap.dataset import text_sha256

    return [text_sha256(article) for article in table["article"]]


def _say_repeats(table, what: str) -> None:
    """Say how many rows repeat an earlier row's article, if any do."""
    repeats = len(table) - len(set(digests(table)))
    if repeats:
        _note(f"{what}: {repeats} of {len(table)} rows repeat the article of another row")


_NOTED = set()


def _note(text: str) -> None:
    """Print on stderr, once."""
    if text not in _NOTED:
        _NOTED.add(text)
        print(f"note: {text}", file=sys.stderr)
