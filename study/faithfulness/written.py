"""The files of an evaluation, and how they are written. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from runs import disk


@dataclass(frozen=True)
class Files:
    """What is written into a folder; of some of it only if it is asked for."""

    folder: Path
    of_methods: bool  # two circuits of one model are compared
    of_examples: bool  # pairs are shown token by token

    @property
    def all(self) -> list[Path]:
        """Every file."""
        files = [self.results, self.figure]
        if self.of_methods:
            files.append(self.methods)
        if self.of_examples:
            files.append(self.examples)
        return files

    @property
    def results(self) -> Path:
        """Every number."""
        return self.folder / "faithfulness.json"

    @property
    def figure(self) -> Path:
        """f over circuit sizes."""
        return self.folder / "faithfulness.png"

    @property
    def methods(self) -> Path:
        """Two circuits of one model beside each other."""
        return self.folder / "faithfulness.methods.png"

    @property
    def examples(self) -> Path:
        """A few pairs token by token."""
        return self.folder / "examples.json"

    def write(self, result: dict, examples: dict | None) -> None:
        """Write all of them. Adds the figures' captions to what is written."""
        from study import captions
        from study.faithfulness import figures, methods_figure

        result["captions"] = captions.of("faithfulness")
        disk.write_json(self.results, result)
        if examples:
            disk.write_json(self.examples, examples)
        disk.save_figure(lambda: figures.figure(result), self.figure)
        if result["methods"]:
            disk.save_figure(lambda: methods_figure.of_result(result), self.methods)
