"""What a library is told of a script's flags: a frozen record with a field a flag."""

from dataclasses import dataclass, fields
from typing import Self

from runs.console import Console
from runs.devices import Device
from runs.rows import Columns


@dataclass(frozen=True)
class FromFlags:
    """Where a script prints and computes; the settings of a stage add a field a flag."""

    console: Console
    device: Device

    @classmethod
    def of(cls, flags: dict, **others) -> Self:
        """The settings among a script's flags; `others` are the fields that are no flags."""
        made = {"console": Console.of(flags), "device": Device.of(flags)} | others
        names = {field.name for field in fields(cls)} - made.keys()
        return cls(**made, **{name: flags[name] for name in names})


@dataclass(frozen=True)
class ReadsArticles(FromFlags):
    """The settings of a stage that reads a data set."""

    article_column: str  # "": a usual name
    summary_column: str

    @property
    def columns(self) -> Columns:
        """What the data set calls article and summary."""
        return Columns(self.article_column, self.summary_column)
