"""The files of a fine-tuning run beside its checkpoints, and how they are written."""

from dataclasses import dataclass
from pathlib import Path

from runs import disk


@dataclass(frozen=True)
class Files:
    """What a run has in its folder when it is complete."""

    folder: Path

    @property
    def all(self) -> list[Path]:
        """Every file: the final model too, which Trainer writes."""
        return [self.folder / "model.safetensors", self.results, self.figure]

    @property
    def results(self) -> Path:
        """Loss and validation NLL along the schedule."""
        return self.folder / "training.json"

    @property
    def figure(self) -> Path:
        """The same, drawn."""
        return self.folder / "training.png"

    def write(self, result: dict) -> None:
        """Write training.json and training.png. Adds the figure's caption to what is written."""
        from study import captions
        from study.training import figures

        result["captions"] = captions.of("training")
        disk.write_json(self.results, result)
        disk.save_figure(lambda: figures.figure(result), self.figure)
