"""Which circuits are made of which models, and in what order. Imports nothing heavy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from eap import InputError
from runs import checkpoints, shards
from study.extraction import blocks
from study.extraction.settings import Settings


@dataclass(frozen=True)
class Job:
    """A circuit to make, the first of `n_circuits` to come.

    `as_many_as` is the circuit of whose pairs, no more and no fewer, it is made; None: of all
    pairs, or with `until_stable` of as many as it takes.
    """

    settings: Settings
    model_path: str
    as_many_as: Path | None = None
    n_circuits: int = 1

    @property
    def output(self) -> Path:
        """The circuit's file."""
        return self.settings.output

    @property
    def unfinished(self) -> Path:
        """The folder of finished blocks of pairs, while the circuit is not there yet."""
        return blocks.folder_beside(self.output)

    @property
    def in_blocks(self) -> bool:
        """Whether pairs are taken block by block."""
        return bool(self.settings.until_stable) and self.as_many_as is None


def jobs_of(flags: dict) -> list[Job]:
    """A job for every circuit: one, or with --all_checkpoints one a checkpoint.

    Raises InputError for a run without checkpoints.
    """
    if not flags["all_checkpoints"]:
        settings = Settings.of(flags, output=Path(flags["output"]))
        return [Job(settings, flags["model_path"])]
    jobs = []
    for folder in checkpoints.complete_checkpoints(flags["model_path"]):
        output = checkpoints.circuit_of(folder, flags["output_dir"])
        jobs.append(Job(Settings.of(flags, output=output), str(folder)))
    if not jobs:
        raise InputError(
            f"--model_path {flags['model_path']}: expected a run with checkpoint-N folders, found "
            "none; run_finetuning_with_checkpoints.py makes one"
        )
    return jobs


def extracted(jobs: list[Job], extract: Callable, *, overwrite: bool) -> dict:
    """{circuit file: what `extract` makes of its job}, in the jobs' order unless one waits.

    With `until_stable` the last one comes first: its number of pairs holds for the others.
    """
    if not jobs[0].settings.until_stable:
        return _in_order(jobs, extract, overwrite=overwrite)
    *others, last = jobs
    made = _in_order([last], extract, overwrite=overwrite)
    shards.from_first(None)  # the others read the last one's file: no process goes on before it
    others = [replace(job, as_many_as=last.output) for job in others]
    return _in_order(others, extract, overwrite=overwrite) | made


def _in_order(jobs: list[Job], extract: Callable, *, overwrite: bool) -> dict:
    """`extracted` in this order; each job knows how many circuits are still to come."""
    made = {}
    for number, job in enumerate(jobs):
        later = [other.output for other in jobs[number + 1 :]]
        to_come = sum(overwrite or not output.is_file() for output in later)
        made[job.output] = extract(replace(job, n_circuits=1 + to_come))
    return made
