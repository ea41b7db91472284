"""The files of a comparison of two models, and how they are written. Imports nothing heavy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runs import disk
from study.differential.part_names import CROSS, PARTS

PLOTS = ("similarity", "layers", "attention", "entropy")
OF_STATES = ("similarity",)  # of the plots: cross attention has no states of its own


class Drawing(NamedTuple):
    """A figure: its file's name, what it plots, and of which part; "" for a whole decoder."""

    name: str
    plot: str
    part: str = ""


@dataclass(frozen=True)
class Files:
    """What is written into a folder of two decoders, or of two encoder-decoders, part by part."""

    folder: Path
    in_parts: bool

    @property
    def all(self) -> list[Path]:
        """Every file."""
        jsons = [self.json] if self.in_parts else [self.json, self.layers]
        return [*jsons, *(self.folder / drawing.name for drawing in self.drawings())]

    @property
    def json(self) -> Path:
        """Every number."""
        return self.folder / "differential.json"

    @property
    def layers(self) -> Path:
        """Scores of layers, for adapters; of decoders alone."""
        return self.folder / "layers.differential.json"

    def drawings(self) -> list[Drawing]:
        """Every figure."""
        if not self.in_parts:
            return [Drawing(f"differential.{plot}.png", plot) for plot in PLOTS]
        return [
            Drawing(f"differential.{part}.{plot}.png", plot, part)
            for part in PARTS
            for plot in PLOTS
            if part != CROSS or plot not in OF_STATES
        ]

    def write(self, summary: dict) -> None:
        """Write all of them. Adds the figures' captions to what is written."""
        from study import captions, layers

        summary["captions"] = captions.of("differential")
        if self.in_parts:
            names = [drawing.name for drawing in self.drawings()]
            summary["captions"] = {name: captions.of_picture(name) for name in names}
        disk.write_json(self.json, {"format": 1, **summary})
        if not self.in_parts:
            scores = {name: change["scores"] for name, change in summary["changes"].items()}
            layers.write_layers(self.layers, "differential", scores=scores)
        for drawing in self.drawings():
            disk.save_figure(_figure(summary, drawing), self.folder / drawing.name)

    def lines(self, summary: dict) -> list[str]:
        """The tables and sentences that the script prints."""
        from study.differential import parts, results

        return parts.lines(summary) if self.in_parts else results.lines(summary)


def _figure(summary: dict, drawing: Drawing) -> Callable:
    """What makes a figure."""
    from study.differential import figures, parts

    shown = parts.drawn(summary, drawing.part) if drawing.part else summary
    make = getattr(figures, f"{drawing.plot}_figure")
    return lambda: make(shown)
