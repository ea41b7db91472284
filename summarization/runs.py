"""What every script shares: one-line errors, seeds, device, atomic files, run.json. Imports nothing heavy."""

import contextlib
import errno
import functools
import glob
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from eap import InputError
from summarization.flags import VERSION

ROOT = Path(__file__).resolve().parents[1]
# Flags that cannot change a result: a run that differs only in these is up to date.
COSMETIC = {"overwrite", "quiet", "verbose", "max_memory"}
# Flags that say where something lies. It may lie elsewhere next time: a run is known by the names and what the inputs hold.
PLACES = {
    "output_dir",
    "output",
    "dataset",
    "pairs",
    "circuit",
    "circuits",
    "other_circuit",
    "compare_circuit",
    "model_path",
    "model_paths",
    "base_model_path",
    "finetuned_model_path",
    "other_model_path",
    "training",
    "run",
    "layers_observed",
    "layers_circuit",
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
# What a model folder is known by: weights, shape and tokenizer; optimizer state and logs are left out.
MODEL_FILES = (
    "*.safetensors",
    "config.json",
    "adapter_config.json",
    "tokenizer*.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
)


def run_script(main) -> None:
    """Run a script's `main`; what a user can mend becomes one line on stderr and exit code 2."""
    _in_utf8()
    os.environ["MPLBACKEND"] = "agg"  # a notebook's is set for its children too; we write files
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names of any script, in any locale
    try:
        main()
        sys.stdout.flush()
    except InputError as error:
        if "--verbose" in sys.argv:
            raise
        _stop(str(error))
    except (
        BrokenPipeError
    ):  # what was printed went to a program that has read enough, as `head` does
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains once more when it exits
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            f"{Path(sys.argv[0]).name}: interrupted; the same command goes on from here",
            file=sys.stderr,
        )
        sys.exit(130)
    except Exception as error:
        reason = outside(error)
        if "--verbose" in sys.argv or reason is None:
            raise
        _stop(in_one_line(reason))


def _in_utf8() -> None:
    """Start the script again in Python's UTF-8 mode where the locale has another encoding: names and texts are UTF-8."""
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _stop(message: str):
    """End the script with one line on stderr and code 2, also when stdout can take no more."""
    print(f"{Path(sys.argv[0]).name}: error: {' '.join(message.split())}", file=sys.stderr)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.exit(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(2)


# Numbers of errors that libraries tell of in words only: Rust's and Arrow's writers do.
TOLD_IN_WORDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def outside(error: BaseException) -> OSError | None:
    """The OSError that an error is or was raised from, also where a library tells of it in words; None: it is no such thing."""
    cause, looked_at = error, []
    while cause is not None and cause not in looked_at:  # causes may go round in a circle
        looked_at.append(cause)
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause
        for number in TOLD_IN_WORDS:
            if os.strerror(number) in str(cause):
                return OSError(number, os.strerror(number))
        if "PytorchStreamWriter" in str(cause) or "inline_container" in str(cause):  # torch.save
            return OSError(errno.ENOSPC, "what torch could not write (no space left on device?)")
        cause = cause.__cause__
    return error if isinstance(error, OSError) else None


def in_one_line(error: OSError) -> str:
    """What the outside world refused, where, and what to do."""
    reason = (error.strerror or str(error) or "an error").lower()
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{where or _fullest()}: expected room to write, got {reason}; free some, or choose "
            "another disk (--output_dir, --output; HF_HOME and TMPDIR for what libraries keep)"
        )
    if where is None:
        return (
            f"expected files and folders that can be read and written, got {reason}, without a "
            f"name; look at {_output_folder()}, the current folder, HF_HOME and TMPDIR"
        )
    return (
        f"{where}: expected a path that can be read and written, got {reason}; choose another path "
        "or mend its permissions"
    )


def _output_folder() -> str:
    """The value of --output_dir or --output on the command line, or the words for its default."""
    given = [
        value
        for word, value in zip(sys.argv, sys.argv[1:], strict=False)
        if word in ("--output_dir", "--output")
    ]
    return given[-1] if given else "the output folder"


def _fullest() -> str:
    """The place with the least room among those that a script and its libraries write to."""
    places = [_output_folder(), os.getcwd(), os.environ.get("TMPDIR", "/tmp")]
    places += [os.environ[name] for name in ("HF_HOME", "HF_DATASETS_CACHE") if name in os.environ]
    there = {}
    for place in places:
        with contextlib.suppress(OSError):
            there[place] = shutil.disk_usage(_existing(Path(place))).free
    return min(there, key=there.get, default="the disk")


def _existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def say(args, *words) -> None:
    """Print on stdout, unless `--quiet` or this process is not the first of a torchrun."""
    if not args.quiet and is_main_process():
        print(*words, flush=True)


def warn(message: str) -> None:
    """Print a warning on stderr, also with `--quiet`."""
    if is_main_process():
        print(message, file=sys.stderr, flush=True)


def progress(items, args, what: str, total: int | None = None, *, ahead=None):
    """`items` with a progress bar on stderr, there at once; none with `--quiet`.

    Work of more than ten minutes is announced on stdout after its first steps; `ahead` is the
    forecast.Ahead of what the bar does not tell.
    """
    from summarization import forecast

    return forecast.Bar(
        items,
        ahead or forecast.Ahead(),
        desc=what,
        total=total,
        disable=args.quiet or not is_main_process(),
        file=sys.stderr,
        leave=False,
    )


def is_main_process() -> bool:
    """Whether this process writes files: true unless torchrun started it with another rank than 0."""
    return os.environ.get("RANK", "0") == "0"


def torch_device(args):
    """The torch.device of `--device`; auto is cuda (under torchrun each process its own), then mps, then cpu.

    Raises InputError for one that is not there.
    """
    import torch

    if args.device == "auto" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if args.device == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(1, device=args.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {args.device}: expected a device of this machine; use --device auto or cpu"
        ) from error
    return torch.device(args.device)


def only_this_gpu(args) -> None:
    """Hide every GPU but the one of `--device cuda:N` and set `args.device` to cuda: Trainer takes the first GPU that it sees.

    Call it before torch meets a GPU. Raises InputError under torchrun, which gives each process a GPU of its own, and for an N past
    those that CUDA_VISIBLE_DEVICES allows.
    """
    kind, _, index = args.device.partition(":")
    if kind != "cuda" or not index.isdigit():
        return
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(
            f"--device {args.device}: expected cuda or auto with torchrun, which gives each process a GPU of its own"
        )
    allowed = (
        os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if os.environ.get("CUDA_VISIBLE_DEVICES")
        else None
    )
    if allowed and int(index) >= len(allowed):
        raise InputError(
            f"--device {args.device}: expected one of {len(allowed)} GPUs, counted from 0, by CUDA_VISIBLE_DEVICES"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = allowed[int(index)] if allowed else index
    args.device = "cuda"


def torch_dtype(args):
    """The torch.dtype of `--dtype`."""
    import torch

    return getattr(torch, args.dtype)


def circuit_dtype(args):
    """The torch.dtype to load a model in whose circuits are found or run: float64 if asked for, else float32.

    `--dtype bfloat16` is for the matrix products of attribution alone (`autocast_dtype`): the residual stream and differences between
    runs would lose what they are about.
    """
    import torch

    return torch.float64 if args.dtype == "float64" else torch.float32


def autocast_dtype(args):
    """What the matrix products of attribution run in: torch.bfloat16 if asked for; None, the model's own dtype, otherwise."""
    import torch

    return torch.bfloat16 if args.dtype == "bfloat16" else None


def say_circuit_dtype(args) -> None:
    """Say what `--dtype bfloat16` does not change; nothing for other dtypes."""
    if args.dtype == "bfloat16":
        say(
            args,
            "--dtype bfloat16: only the matrix products of attribution; models are loaded, and circuits are run, in float32",
        )


def memory_budget(args) -> int:
    """Bytes that this process may plan for: `--max_memory`, else its share, in a torchrun, of what is free on its device."""
    from eap import memory
    from summarization import shards

    if args.max_memory:
        return int(args.max_memory * 1e9)
    device = torch_device(args)
    return memory.free_bytes(device) // (shards.count() if device.type == "cpu" else 1)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch; called once, by a script. Fixes the number of threads too: MKL left to choose changes last digits."""
    import torch
    from transformers import set_seed

    torch.set_num_threads(torch.get_num_threads())
    set_seed(seed)


# ---------------------------------------------------------------- files


@contextlib.contextmanager
def atomic(path):
    """A temporary name beside `path`, of the same suffix; renamed to `path` when the block ends well, removed otherwise.

    A folder replaces a folder, a file a file. Raises InputError when `path` is a folder and a file was written, and OSError
    that names `path` for whatever the outside world refuses in the block.
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
    """A block in which `path` is written: what the outside world refuses there comes out as an OSError that names it.

    Libraries raise errors of their own for a full disk, and OSErrors without a name.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = outside(error)
        if reason is None or reason.errno is None:
            raise
        if reason.filename is not None and not _in_the_writing_of(path, reason.filename):
            raise
        raise OSError(reason.errno, reason.strerror or str(reason), str(path)) from error


def _in_the_writing_of(path, name) -> bool:
    """Whether `name` is `path`, a folder above it, or what stands for it until it is written."""
    there = os.path.abspath(os.fsdecode(name))
    path = os.path.abspath(path)
    staging = os.path.join(os.path.dirname(path), f".writing-{os.path.basename(path)}")
    return there.startswith((staging, path)) or path.startswith(there)


def write_text(path, text: str) -> None:
    """Write `text` to `path` in one step, in UTF-8. What of a file name is no character is escaped, as JSON does."""
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path, content) -> None:
    """Write JSON in one step, with a final newline. Raises ValueError for NaN or infinity: they are not JSON."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_jsonl(path, rows) -> None:
    """Write one JSON object a line, in one step."""
    write_text(
        path, "".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)
    )


def read_jsonl(path) -> list:
    """The objects of a file of `write_jsonl`. Lines end at a newline only: texts may hold any other separator."""
    with open(path, encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def read_json(path, what: str = "JSON file"):
    """The content of a JSON file of `format` 1 or none. Raises InputError naming the file."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: expected a {what}, found no such file; check the path, or run the script that writes it"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a {what}, got something unreadable ({error}); write it again"
        ) from error
    found = content.get("format", 1) if isinstance(content, dict) else 1
    if found != 1:
        raise InputError(
            f"{path}: expected format 1, got {found}; update this software or write the file again"
        )
    return content


def save_figure(make, path) -> None:
    """Write the matplotlib figure that `make()` returns as PNG in one step, byte-identical between runs.

    `drawn` says what becomes of a figure that cannot be drawn.
    """

    def write(temporary) -> None:
        options = {"dpi": 150, "bbox_inches": "tight", "metadata": {"Software": None}}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box
            make().savefig(temporary, **options)

    drawn(write, path)


def drawn(write, path) -> None:
    """Have `write(temporary)` draw a picture, put in its place in one step.

    A picture that cannot be drawn is a warning: the numbers stand in their JSON, written before. A place that cannot be
    written is an OSError as for any other file.
    """
    try:
        with atomic(path) as temporary:
            write(temporary)
    except InputError:
        raise
    except Exception as error:  # matplotlib's, FreeType's and Graphviz's errors have no common kind
        if isinstance(error, OSError) and error.filename == str(path):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warn(
            f"warning: {path} is left out, it could not be drawn ({reason}); its numbers are written"
        )


# ---------------------------------------------------------------- fingerprints and run.json


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


class Run:
    """One run of a script: what it reads and writes, whether that is there already, and its run.json.

    `outputs` are the files that must exist for the run to be complete; `inputs` maps a name to a
    path or a Source.
    The record is written when the run starts and again when it ends, so that an interrupted run is told from a foreign file.
    Until then it keeps, under "replaces", the record of the run whose outputs are there: they stay that run's until they change.
    """

    def __init__(self, args, record, outputs, inputs):
        self.args, self.record, self.outputs = (
            args,
            Path(record),
            [Path(output) for output in outputs],
        )
        require_utf8([*self.outputs, *filter(os.path.isdir, map(str, inputs.values()))])
        self.started = time.time()
        self.facts = {}  # what else the record holds, besides what a run is known by
        arguments = {
            name: value for name, value in sorted(vars(args).items()) if name not in COSMETIC
        }
        self.identity = {
            "arguments": json.loads(json.dumps(arguments, default=str)),
            "inputs": {name: as_source(source).entry() for name, source in inputs.items()},
        }
        before, self.replaces = self._before()
        self.same = self._asked_for(before)
        self.up_to_date = (
            self.same
            and before["complete"]
            and not args.overwrite
            and all(out.exists() for out in self.outputs)
        )
        self.sizes = before.get("output_bytes", {}) if self.up_to_date else {}
        self.resumed = (
            before.get("times_resumed", 0) + 1 if self.same and not before["complete"] else 0
        )
        # Whether what is there was left by another run: it stays so, also after an interruption, until `cleared` is called.
        self.starts_over = any(out.exists() for out in self.outputs) and (
            not self.same or before.get("starts_over", False)
        )
        self._check_and_record(before)

    def _before(self):
        """(the record of the run before, {"record", "since"} of the complete run whose outputs this one replaces); None: there is none."""
        try:
            before = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None, None
        if not _is_record(before):
            return None, None
        replaces = (
            {"record": before, "since": self.started}
            if before["complete"]
            else before.get("replaces")
        )
        if (
            replaces
            and not self._asked_for(before)
            and self._asked_for(replaces["record"])
            and self._untouched(**replaces)
        ):
            before = replaces[
                "record"
            ]  # a run with other arguments began, and ended before it wrote anything
            self._write_record(before)
        return before, replaces

    def _asked_for(self, before) -> bool:
        return before is not None and _asks_for(before) == _asks_for(self.identity)

    def _untouched(self, record: dict, since: float) -> bool:
        """Whether the outputs of a complete run are what it wrote, and older than the first try to replace them."""
        found = [
            ((self.record.parent / name), size)
            for name, size in record.get("output_bytes", {}).items()
        ]
        return bool(found) and all(
            path.is_file() and path.stat().st_size == size and path.stat().st_mtime < since
            for path, size in found
        )

    def _check_and_record(self, before):
        if self.up_to_date:
            for output in self.outputs:
                expected, found = self.sizes.get(self._name(output)), output.stat().st_size
                if expected not in (None, found):
                    raise InputError(
                        f"{output}: expected the {expected} bytes that this run wrote, found {found}; put the file back, or "
                        "add --overwrite to make it again"
                    )
            say(self.args, f"up to date: {', '.join(map(str, self.outputs[:3]))}")
            return
        for output in self.outputs:
            if output.is_dir() and (
                output.suffix or output == Path(getattr(self.args, "output", None) or "")
            ):
                raise InputError(
                    f"{output}: expected the name of a file to write, got a folder; name a file in it"
                )
        there = [output for output in self.outputs if output.exists()]
        if there and not self.same and not self.args.overwrite:
            raise InputError(
                f"{there[0]} exists and was made from other inputs or arguments "
                f"({differences(before, self.identity)}); add --overwrite or choose another place "
                "for it (--output_dir, --output)"
            )
        for output in self.outputs:
            output.parent.mkdir(
                parents=True, exist_ok=True
            )  # what cannot be made is said before the work, not after it
        self._write(complete=False)

    def known_by(self) -> str:
        """A digest of arguments and inputs, the same wherever they lie: two runs with one digest do
        the same work.
        """
        asked = json.dumps(_asks_for(self.identity), sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()

    def cleared(self) -> None:
        """Record that nothing of another run is left: from here on an interrupted run may go on with what it finds."""
        self.starts_over, self.replaces = False, None
        self._write(complete=False)

    def finish(self) -> None:
        """Record the run as complete; call when every output is written."""
        self._write(complete=True)

    def _write(self, complete: bool) -> None:
        ended = (
            {
                "duration_seconds": round(time.time() - self.started, 2),
                "peak_memory_gb": peak_memory_gb(),
                "output_bytes": {
                    self._name(output): output.stat().st_size
                    for output in self.outputs
                    if output.is_file()
                },
            }
            if complete
            else {"replaces": self.replaces}
            if self.replaces
            else {}
        )
        self._write_record(
            {
                "format": 1,
                "script": Path(sys.argv[0]).name,
                "complete": complete,
                "starts_over": self.starts_over and not complete,
                **self.identity,
                "seed": self.args.seed,
                "versions": versions(),
                "git_commit": git_commit(),
                "times_resumed": self.resumed,
                **self.facts,
                **ended,
            }
        )

    def _write_record(self, content: dict) -> None:
        if is_main_process():
            write_json(self.record, content)

    def _name(self, output: Path) -> str:
        """An output's path as seen from its record, so that both can be moved together."""
        return os.path.relpath(output, self.record.parent)


def require_utf8(paths) -> None:
    """Raise InputError for a result or a model folder whose name is not UTF-8: the libraries that read and write it refuse, late."""
    for path in map(str, paths):
        if any("\ud800" <= character <= "\udfff" for character in path):
            raise InputError(
                f"{path}: expected a name in UTF-8 for models and results, got other bytes; rename "
                "it, or choose another place"
            )


def _asks_for(identity: dict):
    """What two runs must share to be the same: arguments, of paths the last name only, and what their inputs hold, wherever they lie."""

    def name(value):
        return os.path.basename(os.path.abspath(value)) if isinstance(value, str) else value

    arguments = {
        key: value
        if key not in PLACES
        else [name(each) for each in value]
        if isinstance(value, list)
        else name(value)
        for key, value in identity["arguments"].items()
    }
    return arguments, [(name(key), each["sha256"]) for key, each in identity["inputs"].items()]


def _is_record(content) -> bool:
    """Whether a JSON file's content is a record of ours; another's, or half of one, tells nothing."""
    try:
        _asks_for(content)
        replaces = content.get("replaces")
        if replaces is not None and not (replaces["since"] >= 0 and _is_record(replaces["record"])):
            return False
        return isinstance(content["complete"], bool)
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
    found = {"python": platform.python_version(), "this": VERSION}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_commit() -> str | None:
    """The commit of this software's checkout, with `+changes` when files differ from it; None outside a repository."""
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


def peak_memory_gb() -> float:
    """Peak resident memory of this process in GB; on a GPU machine see also torch.cuda.max_memory_allocated.

    On Linux not getrusage's, which keeps the parent's peak over fork and exec.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        words = status.read_text().split()
        return round(int(words[words.index("VmHWM:") + 1]) * 1024 / 1e9, 3)
    scale = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9, 3)
