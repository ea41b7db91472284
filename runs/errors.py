"""Errors of the outside world, in one line: what was refused, where, and what to do."""

import contextlib
import errno
import os
import shutil
import sys
from pathlib import Path

from eap import InputError

# Numbers of errors that libraries tell of in words only: Rust's and Arrow's writers do.
TOLD_IN_WORDS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def outside(error: BaseException) -> OSError | None:
    """The OSError that an error is or was raised from, also where a library tells of it in words;
    None: it is no such thing.
    """
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
        "or fix its permissions"
    )


@contextlib.contextmanager
def advising(what_to_do: str):
    """Run a block; what the engine refuses in it, which says what it expected and got, ends with
    `what_to_do`.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; {what_to_do}") from error


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
    free = {}
    for place in places:
        with contextlib.suppress(OSError):
            free[place] = shutil.disk_usage(_existing(Path(place))).free
    return min(free, key=lambda place: free[place], default="the disk")


def _existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
