"""Checkpoint folders of a fine-tuning run, `checkpoint-N`, in the order of their steps."""

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
    found = [path for path in Path(run).glob(f"{PREFIX}*") if path.is_dir()]
    return sorted((path for path in found if step_of(path) is not None), key=step_of)


def circuit_of(folder, circuits) -> Path:
    """The file of a checkpoint's circuit among `circuits`: C_step{N}.json."""
    return Path(circuits) / f"C_step{step_of(folder)}.json"
