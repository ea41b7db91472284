"""Fingerprints and run.json: what a run reads and writes, and whether that is there already."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from eap import InputError
from runs import console, devices, disk
from runs.flags import VERSION
from runs.scripts import PLACES

ROOT = Path(__file__).resolve().parents[1]


# Flags that cannot change a result: a run that differs only in these is up to date.
COSMETIC = {
    "overwrite",
    "quiet",
    "verbose",
    "traceback",
    "max_memory",
    "figure_format",
    "figure_width",
}


LIBRARIES = (
    "torch",
    "transformers",
    "datasets",
    "peft",
    "accelerate",
    "rouge-score",
    "numpy",
    "matplotlib",
)


# What a model folder is known by: weights, shape and tokenizer, not optimizer state and logs.
FORMER_MODEL_FILES = (  # of version 0.1.0
    "*.safetensors",
    "config.json",
    "adapter_config.json",
    "tokenizer*.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
)
MODEL_FILES = (
    *FORMER_MODEL_FILES,
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "spiece.model",
)


@functools.cache
def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Source:
    """Something that a run reads: path or Hub id, SHA-256 of what it holds, commit on the Hub."""

    source: str
    sha256: str
    commit: str | None = None

    def entry(self) -> dict[str, str]:
        """What stands in the run record; a commit only where there is one."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def as_source(value) -> Source:
    """A path with its fingerprint; a Source as it is."""
    return value if isinstance(value, Source) else Source(str(value), fingerprint(value))


def fingerprint(source, patterns: tuple[str, ...] = MODEL_FILES) -> str:
    """SHA-256 of a file, or of what a model or dataset folder holds.

    Raises InputError for a path that is not there.
    """
    path = Path(source)
    if path.is_file():
        return sha256(path.resolve())
    if not path.is_dir():
        raise InputError(f"{source}: expected a file or folder to read, found none; check the path")
    files = sorted({file for pattern in patterns for file in path.glob(pattern)})
    files = files or sorted(file for file in path.rglob("*") if file.is_file())
    listing = "".join(f"{file.relative_to(path)} {sha256(file.resolve())}\n" for file in files)
    return hashlib.sha256(listing.encode()).hexdigest()


class Decision(NamedTuple):
    """What a run is.

    | the record before   | outputs   | the run                                           |
    |---------------------|-----------|---------------------------------------------------|
    | none, or another's  | none      | begins                                            |
    | none, or another's  | some      | starts over; without --overwrite it is refused    |
    | this, complete      | all       | is up to date; with --overwrite it is made again  |
    | this, complete      | some gone | is made again                                     |
    | this, interrupted   | any       | is resumed; starts over, where that run did so    |
    """

    same: bool  # as the run on record
    up_to_date: bool
    times_resumed: int
    # Whether what is there was left by another run: it stays so, also after an interruption, until
    # `Run.cleared` is called.
    starts_over: bool


def decide(
    before: dict | None, *, same: bool, overwrite: bool, any_there: bool, all_there: bool
) -> Decision:
    """What a run is, by the record of the run before and by which of its outputs are there.

    `same`: it asks for what that run asked for.
    """
    if before is None:
        return Decision(False, False, 0, any_there)
    interrupted = same and not before["complete"]
    return Decision(
        same=same,
        up_to_date=same and before["complete"] and all_there and not overwrite,
        times_resumed=before.get("times_resumed", 0) + 1 if interrupted else 0,
        starts_over=any_there and (not same or before.get("starts_over", False)),
    )


class Run:
    """One run of a script: what it reads and writes, whether that is there already, and its
    run.json.

    `flags` maps the name of every flag to its value; `outputs` are the files that must exist for
    the run to be complete; `inputs` maps a name to a path or a Source.
    The record is written when the run starts and again when it ends, so that an interrupted run is
    told from a foreign file. Until then it keeps, under "replaces", the record of the run whose
    outputs are there: they stay that run's until they change.
    """

    def __init__(self, flags: dict, record, *, outputs, inputs):
        self.flags, self.record = flags, Path(record)
        self.outputs = [Path(output) for output in outputs]
        require_utf8([*self.outputs, *filter(os.path.isdir, map(str, inputs.values()))])
        disk.draw_with(
            disk.FigureOptions(flags.get("figure_format", "png"), flags.get("figure_width"))
        )
        self.started = time.time()
        self.facts = {}  # what else the record holds, besides what a run is known by
        arguments = {name: flags[name] for name in sorted(flags) if name not in COSMETIC}
        self.identity = {
            "arguments": json.loads(json.dumps(arguments, default=str)),
            "inputs": {name: as_source(source).entry() for name, source in inputs.items()},
        }
        before, self.replaces = self._before()
        decision = decide(
            before,
            same=self._asked_for(before),
            overwrite=flags["overwrite"],
            any_there=any(output.exists() for output in self.outputs),
            all_there=all(self._is_there(output, before) for output in self.outputs),
        )
        self.same, self.up_to_date = decision.same, decision.up_to_date
        self.resumed, self.starts_over = decision.times_resumed, decision.starts_over
        self.sizes = before.get("output_bytes", {}) if before and self.up_to_date else {}
        self._check_and_record(before)

    def _before(self):
        """(the record of the run before, what this run replaces); None where there is none.

        What it replaces is {"record", "since"} of the complete run whose outputs are there.
        """
        try:
            before = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None, None
        if not _is_record(before):
            return None, None
        replaces = before.get("replaces")
        if before["complete"]:
            replaces = {"record": before, "since": self.started}
        if not replaces or self._asked_for(before) or not self._asked_for(replaces["record"]):
            return before, replaces
        if self._untouched(**replaces):
            # A run with other arguments began, and ended before it wrote anything.
            before = replaces["record"]
            self._write_record(before)
        return before, replaces

    def _asked_for(self, before) -> bool:
        return before is not None and _asks_for(before) == _asks_for(self.identity)

    def _is_there(self, output: Path, before: dict | None) -> bool:
        """Whether an output exists, or could not be drawn when the run before was complete."""
        left_out = before.get("left_out", ()) if before else ()
        return output.exists() or self._name(output) in left_out

    def _untouched(self, record: dict, since: float) -> bool:
        """Whether a complete run's outputs are what it wrote, older than the first try to replace
        them.
        """
        sizes = record.get("output_bytes", {})
        for name, size in sizes.items():
            path = self.record.parent / name
            if not path.is_file():
                return False
            about = path.stat()
            if about.st_size != size or about.st_mtime >= since:
                return False
        return bool(sizes)

    def _check_and_record(self, before):
        if self.up_to_date:
            self._require_whole_outputs()
            self._say_up_to_date()
            return
        self._require_file_names()
        existing = [output for output in self.outputs if output.exists()]
        if existing and not self.same and not self.flags["overwrite"]:
            raise InputError(
                f"{existing[0]} exists and was made from other inputs or arguments "
                f"({differences(before, self.identity)}); add --overwrite or choose another place "
                "for it (--output_dir, --output)"
            )
        for output in self.outputs:  # what cannot be made is said before the work, not after it
            output.parent.mkdir(parents=True, exist_ok=True)
        self._write(complete=False)

    def _require_whole_outputs(self) -> None:
        """Raise InputError for an output of another size than was written."""
        for output in self.outputs:
            if not output.exists():
                continue
            expected, size = self.sizes.get(self._name(output)), output.stat().st_size
            if expected not in (None, size):
                raise InputError(
                    f"{output}: expected the {expected} bytes that this run wrote, found {size}; "
                    "put the file back, or add --overwrite to make it again"
                )

    def _say_up_to_date(self) -> None:
        """Say which outputs exist, and which could not be drawn."""
        missing = [output for output in self.outputs if not output.exists()]
        existing = [output for output in self.outputs if output not in missing]
        shown = ", ".join(map(str, existing[:3]))
        console.Console(self.flags["quiet"]).say(f"up to date: {shown}")
        if missing:
            console.warn(
                f"note: {', '.join(map(str, missing))} could not be drawn when this was made; "
                "add --overwrite to make it again"
            )

    def _require_file_names(self) -> None:
        """Raise InputError for an output whose place is taken by a folder."""
        asked = Path(self.flags.get("output") or "")
        for output in self.outputs:
            if output.is_dir() and (output.suffix or output == asked):
                raise InputError(
                    f"{output}: expected the name of a file to write, got a folder; name a file in "
                    "it"
                )

    def known_by(self) -> str:
        """A digest of arguments and inputs, the same wherever they lie: two runs with one digest do
        the same work.
        """
        asked = json.dumps(_asks_for(self.identity), sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()

    def cleared(self) -> None:
        """Record that nothing of another run is left.

        From here on an interrupted run may go on with what it finds.
        """
        self.starts_over, self.replaces = False, None
        self._write(complete=False)

    def finish(self) -> None:
        """Record the run as complete; call when every output is written."""
        self._write(complete=True)

    def _write(self, complete: bool) -> None:
        ended = {}
        if complete:
            ended = self._ended()
        elif self.replaces:
            ended = {"replaces": self.replaces}
        self._write_record(
            {
                "format": 1,
                "script": Path(sys.argv[0]).name,
                "complete": complete,
                "starts_over": self.starts_over and not complete,
                **self.identity,
                "seed": self.flags["seed"],
                "versions": versions(),
                "git_commit": git_commit(),
                "times_resumed": self.resumed,
                **self.facts,
                **ended,
            }
        )

    def _ended(self) -> dict:
        """What the record says of a run that is complete."""
        ended: dict[str, object] = {
            "duration_seconds": round(time.time() - self.started, 2),
            "peak_memory_gb": devices.peak_memory_gb(),
        }
        figures = [output for output in self.outputs if output.suffix == ".png"]
        left_out = [self._name(figure) for figure in figures if not figure.exists()]
        if left_out:
            ended["left_out"] = left_out
        files = [output for output in self.outputs if output.is_file()]
        ended["output_bytes"] = {self._name(file): file.stat().st_size for file in files}
        return ended

    def _write_record(self, record: dict) -> None:
        if console.is_main_process():
            disk.write_json(self.record, record)

    def _name(self, output: Path) -> str:
        """An output's path as seen from its record, so that both can be moved together."""
        return os.path.relpath(output, self.record.parent)


def require_utf8(paths) -> None:
    """Raise InputError for a result or a model folder whose name is not UTF-8.

    The libraries that read and write it refuse it too, but late.
    """
    for path in map(str, paths):
        if any("\ud800" <= character <= "\udfff" for character in path):
            raise InputError(
                f"{path}: expected a name in UTF-8 for models and results, got other bytes; rename "
                "it, or choose another place"
            )


def _asks_for(identity: dict):
    """What two runs must share to be the same.

    Arguments, of paths the last name only, and what their inputs hold, wherever they lie.
    """

    arguments = {
        flag: _last_names(value) if flag in PLACES else value
        for flag, value in identity["arguments"].items()
    }
    inputs = [
        (os.path.basename(os.path.abspath(place)), source["sha256"])
        for place, source in identity["inputs"].items()
    ]
    return arguments, inputs


def _last_names(value):
    """The last name of a path, or of each path of a list; other values as they are."""
    if isinstance(value, list):
        return [_last_names(path) for path in value]
    return os.path.basename(os.path.abspath(value)) if isinstance(value, str) else value


def _is_record(record) -> bool:
    """Whether a JSON file's content is a record of ours, and not another's or half of one."""
    try:
        _asks_for(record)
        replaces = record.get("replaces")
        if replaces is not None and not (replaces["since"] >= 0 and _is_record(replaces["record"])):
            return False
        return isinstance(record["complete"], bool)
    except (AttributeError, KeyError, TypeError):
        return False


def differences(before: dict | None, wanted: dict) -> str:
    """In which arguments and inputs a run on record and one that is asked for differ, in words."""
    if before is None:
        return "there is no record of how"
    old_arguments, old_inputs = _asks_for(before)
    new_arguments, new_inputs = _asks_for(wanted)
    old = {f"--{name}": value for name, value in old_arguments.items()} | dict(old_inputs)
    new = {f"--{name}": value for name, value in new_arguments.items()} | dict(new_inputs)
    words = []
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) == new.get(name):
            continue
        if name.startswith("--"):
            words.append(f"{name} {_shown(old, name)}, now {_shown(new, name)}")
        else:
            words.append(f"input {name} holds something else")
    rest = f"; and {len(words) - 4} more" if len(words) > 4 else ""
    return "; ".join(words[:4]) + rest


def _shown(values: dict, name: str) -> str:
    """A value as it stands in JSON, shortened; `not given` where there is none."""
    if name not in values:
        return "not given"
    text = json.dumps(values[name])
    return text if len(text) <= 60 else text[:57] + "..."


def record_beside(output) -> Path:
    """`outputs/C.json` -> `outputs/C.run.json`."""
    return Path(output).with_suffix(".run.json")


def record_in(output_dir, script: str) -> Path:
    """The record of a script that fills a folder: `run.<script>.json`."""
    return Path(output_dir) / f"run.{Path(script).stem}.json"


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a number."""
    known = {"python": platform.python_version(), "this": VERSION}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            known[name] = importlib.metadata.version(name)
    return known


def git_commit() -> str | None:
    """The commit of this software's checkout, with `+changes` when files differ from it.

    None outside a repository.
    """
    try:
        command = [
            "git",
            "-C",
            str(ROOT),
            "describe",
            "--always",
            "--abbrev=40",
            "--dirty=+changes",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
