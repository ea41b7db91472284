"""Commands run one after the other, shown as a list with state, time and estimate.

On a terminal the list is drawn over itself; elsewhere a line is printed when a command ends. What
the commands print goes to a log, their warnings to stderr, their progress into the list.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runs import console, progress

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
UP_TO_DATE = "up to date"
STYLES = {WAITING: "dim", RUNNING: "bold", DONE: "green", FAILED: "bold red", UP_TO_DATE: "green"}


@dataclass
class Stage:
    """A command, what it is called in the list, and how far it is."""

    name: str
    command: list[str]
    expected: float | None = None  # seconds, on the machine where they were measured
    state: str = WAITING
    seconds: float | None = None
    started: float | None = None
    progress: str = ""  # its last line
    code: int = 0  # with which it ended


def pace(stages: list[Stage]) -> float:
    """How much longer than expected the finished commands took; 1 before any has."""
    expected, taken = 0.0, 0.0
    for stage in stages:
        if stage.state == DONE and stage.expected and stage.seconds is not None:
            expected += stage.expected
            taken += stage.seconds
    return taken / expected if expected else 1.0


def seconds_left(stages: list[Stage], now: float) -> float | None:
    """An estimate of the time to go; None where no command's time is known."""
    left = [stage for stage in stages if stage.state in (WAITING, RUNNING)]
    if not left:
        return None
    factor, total = pace(stages), 0.0
    for stage in left:
        if stage.expected is None:
            return None
        gone = 0.0 if stage.started is None else now - stage.started
        total += max(stage.expected * factor - gone, 0.0)
    return total


def rows(stages: list[Stage], now: float) -> list[tuple[str, str, str, str]]:
    """(number, name, state, time) of each stage: time it took, has gone on, or will take."""
    made, factor = [], pace(stages)
    for number, stage in enumerate(stages, 1):
        words = ""
        if stage.state in (DONE, FAILED):
            words = progress.seconds_in_words(stage.seconds or 0.0)
        elif stage.state == RUNNING and stage.started is not None:
            words = progress.seconds_in_words(now - stage.started)
            words += f"; {stage.progress}" if stage.progress else ""
        elif stage.state == WAITING and stage.expected:
            words = f"about {progress.seconds_in_words(stage.expected * factor)}"
        made.append((f"{number}/{len(stages)}", stage.name, stage.state, words))
    return made


def line(row: tuple[str, str, str, str], width: int) -> str:
    """A row of the list, names in `width` columns."""
    number, name, state, words = row
    return f"{number:>5}  {name:<{width}}  {state:<10}  {words}".rstrip()


class Listed:
    """Runs stages and shows the list, unless quiet; `log` gets what they print."""

    def __init__(self, stages: list[Stage], log: Path, *, shown: console.Console):
        self.stages, self.log, self.shown = stages, log, shown
        self.width = max(len(stage.name) for stage in stages)
        self.live = None

    def run(self, prepare: Callable[[], object]) -> Stage | None:
        """Run every stage; the one that failed, if one does. `prepare` runs in each new process."""
        with self._shown():
            for stage in self.stages:
                self._run(stage, prepare)
                self._tell_end(stage)
                if stage.state == FAILED:
                    return stage
        return None

    @contextlib.contextmanager
    def _shown(self):
        """The list on a terminal, drawn over itself while the block runs."""
        if self.shown.quiet or not sys.stdout.isatty():
            yield
            return
        from rich.console import Console as Terminal
        from rich.live import Live

        system = "auto" if console.is_styled() else None
        terminal = Terminal(highlight=False, color_system=system)
        with Live(get_renderable=self._drawn, console=terminal, refresh_per_second=4) as self.live:
            yield

    def _drawn(self):
        from rich.text import Text

        now, drawn = time.time(), Text(no_wrap=True, overflow="ellipsis")
        for row in rows(self.stages, now):
            drawn.append(line(row, self.width) + "\n", STYLES[row[2]])
        left = seconds_left(self.stages, now)
        drawn.append(f"about {progress.seconds_in_words(left)} to go" if left else "")
        return drawn

    def _tell_end(self, stage: Stage) -> None:
        if self.live is None:
            row = rows(self.stages, time.time())[self.stages.index(stage)]
            self.shown.say(line(row, self.width))

    def _run(self, stage: Stage, prepare) -> None:
        stage.state, stage.started = RUNNING, time.time()
        start = self.log.stat().st_size
        with open(self.log, "ab") as log:
            code = self._process(stage, log, prepare=prepare)
        stage.seconds, stage.code = time.time() - stage.started, code
        stage.state = FAILED if code else DONE
        printed = self.log.read_bytes()[start:].decode(errors="replace").split("\n")
        lines = [words for words in printed if words.strip()]
        if not code and lines and all(words.startswith(UP_TO_DATE) for words in lines):
            stage.state = UP_TO_DATE

    def _process(self, stage: Stage, log, *, prepare) -> int:
        """The exit code of the command; its stdout goes to the log."""
        if self.live is None:
            with subprocess.Popen(stage.command, stdout=log, preexec_fn=prepare) as process:
                return process.wait()
        reading, writing = os.pipe()
        environment = os.environ | {progress.PIPE: str(writing)}
        with subprocess.Popen(
            stage.command,
            stdout=log,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=[writing],
            preexec_fn=prepare,
        ) as process:
            os.close(writing)
            readers = [
                threading.Thread(target=self._follow, args=(stage, reading), daemon=True),
                threading.Thread(target=self._relay, args=(process.stderr,), daemon=True),
            ]
            for reader in readers:
                reader.start()
            code = process.wait()
            for reader in readers:
                reader.join()
            return code

    def _follow(self, stage: Stage, reading: int) -> None:
        """Keep the last line of a stage's progress."""
        with open(reading, encoding="utf-8", errors="replace") as lines:
            for line_of_progress in lines:
                stage.progress = line_of_progress.rstrip("\n")
        stage.progress = ""

    def _relay(self, stderr) -> None:
        """Print what a stage prints on stderr above the list."""
        for printed in stderr:
            words = printed.decode(errors="replace").rstrip("\n")
            if self.live is None:
                continue
            self.live.console.print(words, markup=False, highlight=False, soft_wrap=True)


def end_with_parent() -> None:
    """In a new process, on Linux: end when the process that started it is killed."""
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)
