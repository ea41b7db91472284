"""What a script says: one-line errors, lines, warnings, progress bars."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eap import InputError
from runs import errors


def run_script(main) -> None:
    """Run a script's `main`; what a user can fix becomes one line on stderr and exit code 2."""
    _in_utf8()
    os.environ["MPLBACKEND"] = "agg"  # a notebook's is set for its children too; we write files
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # pyright: ignore  names of any script
    try:
        main()
        sys.stdout.flush()
    except InputError as error:
        if "--traceback" in sys.argv:
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
        reason = errors.outside(error)
        if "--traceback" in sys.argv or reason is None:
            raise
        _stop(errors.in_one_line(reason))


def _in_utf8() -> None:
    """Start the script again in Python's UTF-8 mode where the locale has another encoding: names
    and texts are UTF-8.
    """
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


WIDTH = 100  # columns of what is printed, where the terminal is not narrower
STYLES = {
    "title": "bold",
    "head": "underline",
    "caution": "yellow",
    "written": "dim",
    "": "",
}


@dataclass(frozen=True)
class Console:
    """Lines on stdout and progress bars on stderr; none with `quiet`, nor from a torchrun's others.

    With `verbose` there are more lines: what `detail` is given.
    """

    quiet: bool = False
    verbose: bool = False

    @classmethod
    def of(cls, flags: dict) -> "Console":
        """The console that a script's flags ask for."""
        return cls(flags["quiet"], flags["verbose"])

    @property
    def width(self) -> int:
        """Columns of a line: `WIDTH`, or those of a narrower terminal."""
        if not sys.stdout.isatty():
            return WIDTH
        return min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)

    def say(self, *words) -> None:
        """Print on stdout, unless quiet or this process is not the first of a torchrun."""
        if not self.quiet and is_main_process():
            print(*words, flush=True)

    def detail(self, *lines: str) -> None:
        """`say` each of these lines, if verbose."""
        if self.verbose:
            for line in lines:
                self.say(line)

    def show(self, lines: Iterable[tuple[str, str]]) -> None:
        """`say` lines, each with its style, a key of `STYLES`: seen on a terminal only, and not
        where `NO_COLOR` is set.
        """
        if self.quiet or not is_main_process():
            return
        if not is_styled():
            self.say("\n".join(text for text, _ in lines))
            return
        from rich.console import Console as Terminal
        from rich.text import Text

        terminal = Terminal(file=sys.stdout, highlight=False)
        for text, style in lines:
            terminal.print(Text(text, STYLES[style]), soft_wrap=True)
        sys.stdout.flush()

    def progress(self, items, what: str, *, total: int | None = None, ahead=None):
        """`items` with a progress bar on stderr, there at once; none if quiet.

        Work of more than ten minutes is announced on stdout after its first steps; `ahead` is the
        forecast.Ahead of what the bar does not tell.
        """
        from runs import forecast

        return forecast.Bar(
            items,
            ahead or forecast.Ahead(),
            desc=what,
            total=total,
            disable=self.quiet or not is_main_process(),
            file=sys.stderr,
            leave=False,
        )


def is_styled() -> bool:
    """Whether stdout shows colours and bold: a terminal that can, and no `NO_COLOR`."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def warn(message: str) -> None:
    """Print a warning on stderr, unless `--quiet`."""
    if is_main_process() and "--quiet" not in sys.argv:
        print(message, file=sys.stderr, flush=True)


def is_main_process() -> bool:
    """Whether this process writes files: true unless torchrun gave it another rank than 0."""
    return os.environ.get("RANK", "0") == "0"
