"""Checkpoint folders of a fine-tuning run, `checkpoint-N`, in the order of their steps."""

import re
from pathlib import Path

PREFIX = "checkpoint-"


def step_of(folder) -> int | None:
    """The step N of a folder `checkpoint-N`; None for any other name, as `checkpoint-best`."""
    step = Path(folder).name.removeprefix(PREFIX)
    named = Path(folder).name.startswith(PREFIX) and step.isascii() and step.isdigit()
    return int(step) if named else None


def complete_checkpoints(run) -> list[Path]:
    """The checkpoint folders of a run in the order of their steps.

    Each is whole: it gets its name when everything is written.
    """
    folders = [path for path in Path(run).glob(f"{PREFIX}*") if path.is_dir()]
    by_step = [(step, path) for path in folders if (step := step_of(path)) is not None]
    return [path for _, path in sorted(by_step)]


def folder_of(step: int, run) -> Path:
    """The folder of a run's checkpoint at a step."""
    return Path(run) / f"{PREFIX}{step}"


# ---------------------------------------------------------------- their circuits


def circuit_of(folder, circuits) -> Path:
    """The file of a checkpoint's circuit among `circuits`: C_step{N}.json."""
    return Path(circuits) / f"C_step{step_of(folder)}.json"


def step_of_circuit(path) -> int | None:
    """The N of `C_step{N}.json`; None for other names."""
    named = re.fullmatch(r"C_step([0-9]+)\.json", Path(path).name)
    return int(named[1]) if named else None


def circuits_in(folder) -> list[Path]:
    """The circuit files C_step{N}.json in a folder, in the order of their steps."""
    paths = Path(folder).iterdir()
    by_step = [(step, path) for path in paths if (step := step_of_circuit(path)) is not None]
    return [path for _, path in sorted(by_step)]
