"""Which circuits are made of which models, and in what order. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from eap import InputError
from runs import checkpoints
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
