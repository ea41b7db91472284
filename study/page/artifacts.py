"""Which files below a folder belong on the page: results, drawings, circuits, run records."""

import glob
import os
from fnmatch import fnmatch
from pathlib import Path

from eap import InputError
from study.page import sections

# folders that hold models, not results
SKIPPED = ("checkpoint-*", "latents", "adapter", "model", ".*")
HEAD = 4096  # bytes of a JSON file in which a circuit's `cfg` stands


def gathered(folder: Path, also: list[str]) -> list[Path]:
    """The artifacts below `folder`, then those of `also`, each once.

    Raises InputError for a path that holds none.
    """
    files = artifacts(folder)
    for path in map(Path, also):
        more = artifacts(path) if path.is_dir() else with_drawings(path)
        if not more:
            raise InputError(
                f"--also {path}: expected a result of the other scripts, a circuit or a folder of "
                "them, found none; check the path"
            )
        files += more
    return list({file.resolve(): file for file in files}.values())


def with_drawings(file: Path) -> list[Path]:
    """A result and the drawings that carry its name; nothing if it is not there or of no stage."""
    if not file.is_file() or not is_result(file):
        return []
    stem = glob.escape(file.stem)
    drawings = [*file.parent.glob(f"{stem}.png"), *file.parent.glob(f"{stem}.*.png")]
    return [file, *sorted(drawings)]


def artifacts(folder: Path) -> list[Path]:
    """The PNG and JSON files below `folder` that are of a stage, and circuits, sorted by path."""
    return sorted(file for file in below(folder) if is_result(file))


def below(folder: Path) -> list[Path]:
    """Every file below `folder`, outside the folders that hold models."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if not any(fnmatch(name, pattern) for pattern in SKIPPED)
        ]
        files += [Path(parent) / name for name in names]
    return files


def is_result(file: Path) -> bool:
    """Whether a file is of a stage, or a circuit under a name of its own."""
    return sections.known(file.name) or is_circuit(file)


def is_circuit(file: Path) -> bool:
    """Whether a file is a circuit: ours by its name, another tool's by its first key, `cfg`."""
    if file.suffix != ".json" or is_record(file):
        return False
    if fnmatch(file.name, sections.CIRCUIT):
        return True
    if sections.known(file.name):
        return False
    with open(file, "rb") as opened:
        return opened.read(HEAD).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and _says_cfg(file)


def _says_cfg(file: Path) -> bool:
    with open(file, "rb") as opened:
        return b'"cfg"' in opened.read(HEAD)


def is_record(file: Path) -> bool:
    """Whether a file is the record of a run."""
    return file.name.endswith(".run.json") or fnmatch(file.name, "run.*.json")


def run_records(files: list[Path], folder: Path, *, but: str) -> list[Path]:
    """The records of runs beside `files` and below `folder`, `but` those of this name."""
    beside = {file for parent in {file.parent for file in files} for file in parent.glob("*.json")}
    every = sorted(beside | set(below(folder)))
    return [file for file in every if is_record(file) and file.name != but]
