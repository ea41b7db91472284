"""The files of an evolution, and how they are written. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from runs import disk

PLOTS = ("change", "jaccard", "layers")  # of every evolution
WHERE_KNOWN = ("trajectories", "faithfulness")  # of one with scores per example, with models


@dataclass(frozen=True)
class Files:
    """What is written into a folder; some figures only where what they show is known."""

    folder: Path

    @property
    def certain(self) -> list[Path]:
        """The files that every evolution has."""
        return [self.results, self.layers, *map(self.figure, PLOTS)]

    @property
    def results(self) -> Path:
        """Every number."""
        return self.folder / "evolution.json"

    @property
    def layers(self) -> Path:
        """Scores of layers, for adapters."""
        return self.folder / "layers.evolution.json"

    def figure(self, name: str) -> Path:
        """The file of a figure."""
        return self.folder / f"evolution.{name}.png"

    def write(self, evolution: dict) -> list[Path]:
        """The files that there are now: all that the evolution has is written.

        Adds the figures' captions to what is written.
        """
        from study import captions, layers

        evolution["captions"] = captions.of("evolution")
        disk.write_json(self.results, evolution)
        layers.write_layers(self.layers, "evolution", scores=evolution["layers"])
        return [self.results, self.layers, *map(self.figure, self._draw(evolution))]

    def _draw(self, evolution: dict) -> list[str]:
        """The names of the figures, which are drawn."""
        from study.evolution import figures

        names = [*PLOTS, *(name for name in WHERE_KNOWN if evolution[name])]
        for name in names:
            make = getattr(figures, f"{name}_figure")
            disk.save_figure(lambda make=make: make(evolution), self.figure(name))
        if not evolution["moved"]:
            return names
        disk.drawn(lambda path: figures.moved_drawing(evolution, path), self.figure("moved"))
        return [*names, "moved"]
