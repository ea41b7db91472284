"""The files of a bake-off, and how they are written. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from runs import disk


@dataclass(frozen=True)
class Files:
    """What is written into a folder of all arms together."""

    folder: Path

    @property
    def all(self) -> list[Path]:
        """Every file."""
        return [self.results, self.figure, self.costs]

    @property
    def shown(self) -> list[Path]:
        """Every file, in the order in which they are told."""
        return [self.results, self.costs, self.figure]

    @property
    def results(self) -> Path:
        """Every number."""
        return self.folder / "bakeoff.json"

    @property
    def figure(self) -> Path:
        """The arms beside each other."""
        return self.folder / "bakeoff.png"

    @property
    def costs(self) -> Path:
        """Seconds and memory, which are others each time."""
        return self.folder / "costs.json"

    def write(self, compared: dict, costs: dict[str, dict]) -> None:
        """Write all of them. Adds the figure's caption to what is written."""
        from study import captions
        from study.bakeoff import figures

        compared["captions"] = captions.of("bakeoff")
        disk.write_json(self.results, compared)
        disk.save_figure(lambda: figures.figure(compared), self.figure)
        disk.write_json(self.costs, {"format": 1, "costs": costs})
