"""One file of articles as a folder of three: to train on, to find circuits on, to judge with.

A file has no splits, so every stage would read all of it, and what was trained on would be judged.
"""

from pathlib import Path

from runs import disk
from runs.records import sha256
from summarization import corpus

SHARES = {"validation": 0.5, "test": 0.15}  # circuits take most; the rest is trained on
RECORD = "split_of.json"


def split(path: Path, folder: Path, *, seed: int, columns: corpus.Columns = corpus.USUAL) -> Path:
    """The folder with train, validation and test.jsonl of a file, no article in two of them.

    Made anew where the file, the seed or the columns have changed. Raises InputError as
    `corpus.load`.
    """
    about = {"format": 1, "file": path.name, "sha256": sha256(path), "seed": seed}
    about |= {"article_column": columns.article, "summary_column": columns.summary}
    record = folder / RECORD
    if record.is_file() and disk.read_json(record, "record of a split") == about:
        return folder
    rows = corpus.load(
        str(path), "train", max_examples=len(path.read_bytes()), seed=seed, columns=columns
    )
    first = {digest: row for row, digest in reversed(list(enumerate(corpus.digests(rows))))}
    order = sorted(first.values())
    start = 0
    for name, share in SHARES.items():
        end = start + max(1, round(share * len(order)))
        _write(folder / f"{name}.jsonl", rows, chosen=order[start:end])
        start = end
    _write(folder / "train.jsonl", rows, chosen=order[start:])
    disk.write_json(record, about)
    return folder


def _write(path: Path, rows, *, chosen: list[int]) -> None:
    disk.write_jsonl(path, [rows[row] for row in chosen])
