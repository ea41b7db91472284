"""The commands of a study, run one after the other: as a list of stages with a log, or in full."""

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from runs import console, disk, progress, records, stages
from study.pipeline import commands

COMMANDS, LOG = "commands.sh", "pipeline.log"  # in `out`: each command, and what all print
HANDED_ON = (  # to every script, if given
    "seed",
    "device",
    "batch_size",
    "dtype",
    "max_examples",
    "figure_format",
    "figure_width",
)
SWITCHES = ("overwrite", "quiet", "verbose", "traceback")  # to every script, if set


def passed_on(flags: dict) -> list[str]:
    """The words of the pipeline's flags that every script is given too."""
    words = []
    for name in HANDED_ON:
        if flags[name] is not None:
            words += [f"--{name}", flags[name]]
    return words + [f"--{name}" for name in SWITCHES if flags[name]]


@dataclass(frozen=True)
class Failed:
    """The script that ended with a code other than 0."""

    script: str
    code: int


@dataclass(frozen=True)
class Plan:
    """Commands to run, script first; what they print goes to a log in `out`."""

    chosen: list[list[str]]
    passed_on: list[str]  # flags that each is given besides its own
    out: Path

    @property
    def full(self) -> list[list[str]]:
        """The commands with their scripts' paths, and with the flags that each is given."""
        return [
            [os.path.relpath(records.ROOT / script), *words, *self.passed_on]
            for script, *words in self.chosen
        ]

    @property
    def lines(self) -> list[str]:
        """The commands as one would type them."""
        here, python = Path.cwd(), Path(sys.executable)
        shown = str(python.relative_to(here)) if python.is_relative_to(here) else str(python)
        return [shlex.join([shown, *words]) for words in self.full]

    def run(self, shown: console.Console, seconds: dict[str, float]) -> Failed | None:
        """Run the commands up to the first that fails, which is returned.

        `seconds` are what some of them take, by name.
        """
        return self.run_in_full(shown) if shown.verbose else self.run_listed(shown, seconds)

    def run_in_full(self, shown: console.Console) -> Failed | None:
        """Run the commands, each one printed, with everything that they print."""
        started = time.time()
        for number, (line, words) in enumerate(zip(self.lines, self.full, strict=True), 1):
            minutes = (time.time() - started) / 60
            shown.say(f"\n[{number}/{len(self.chosen)}, {minutes:.1f} min] {line}")
            command = [sys.executable, *words]
            code = subprocess.run(command, preexec_fn=stages.end_with_parent).returncode
            if code:
                return Failed(self.chosen[number - 1][0], code)
        return None

    def run_listed(self, shown: console.Console, seconds: dict[str, float]) -> Failed | None:
        """Run the commands, shown as a list; what they print goes to a log in `out`."""
        self.out.mkdir(parents=True, exist_ok=True)
        disk.write_text(self.out / COMMANDS, "".join(f"{line}\n" for line in self.lines))
        log = self.out / LOG
        log.touch()
        listed = []
        for command, words in zip(self.chosen, self.full, strict=True):
            name = commands.name_of(command)
            listed.append(stages.Stage(name, [sys.executable, *words], seconds.get(name)))
        known = stages.seconds_left(listed, time.time())
        about = f", about {progress.seconds_in_words(known)}" if known else ""
        shown.say(f"{len(listed)} commands{about}: {self.out / COMMANDS}; what they print: {log}")
        failed = stages.Listed(listed, log, shown=shown).run(stages.end_with_parent)
        if failed is None:
            return None
        return Failed(self.chosen[listed.index(failed)][0], failed.code)
