"""How long work that has begun will take, and how much it will write: said once, if it is long."""

import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from runs import progress

LONG_SECONDS = 600  # of work left, from which on something is said
LOOK_SECONDS = 10  # of work, after which it can be told


@dataclass(frozen=True)
class Ahead:
    """What a bar's own total does not tell: all steps to come, and what will be written where."""

    steps: float | None = None
    written_bytes: float = 0
    folder: str = "."


class Forecast:
    """Tells from the first steps of some work how long the rest will take: `tick` does, once."""

    def __init__(self, what: str, total: float, *, ahead: Ahead, clock=time.monotonic):
        self.what, self.ahead, self.clock = what, ahead, clock
        self.steps = ahead.steps or total
        self.started = self.last = clock()
        self.seconds_a_step, self.done, self.has_looked = [], 0, False

    def tick(self, n: float = 1) -> str | None:
        """Count `n` more steps as done; a sentence once, if there is one to say."""
        if self.has_looked or not n:
            return None
        now = self.clock()
        self.seconds_a_step.append((now - self.last) / n)
        self.last, self.done = now, self.done + n
        if now - self.started < LOOK_SECONDS:
            return None
        self.has_looked = True
        left = self.seconds_left()
        return self.sentence(left) if left > LONG_SECONDS else None

    def seconds_left(self) -> float:
        """By the median step; the first one warms up, and does not count where there are others."""
        usual = self.seconds_a_step[1:] if len(self.seconds_a_step) > 2 else self.seconds_a_step
        return statistics.median(usual) * (self.steps - self.done)

    def sentence(self, seconds: float) -> str:
        """How long, from how many steps that is told, and how much disk."""
        words = (
            f"{self.what}: about {in_words(seconds)} to go on this machine, "
            f"by the first {self.done:,g} of {self.steps:,.0f} steps"
        )
        return words + disk_in_words(self.ahead.written_bytes, self.ahead.folder)


class Bar(progress.Bar):
    """A progress bar that says once, early, how long the work will take if that is long."""

    def __init__(self, items, ahead: Ahead, **options):
        super().__init__(items, **options)
        self.forecast = None
        if self.total and not self.disable:
            self.forecast = Forecast(self.desc, self.total, ahead=ahead)

    def __iter__(self):
        for item in super().__iter__():
            yield item
            self._tell(1)

    def update(self, n=1):
        shown = super().update(n)
        self._tell(n)
        return shown

    def _tell(self, n) -> None:
        sentence = self.forecast.tick(n) if self.forecast else None
        if sentence:
            self.write(sentence)


def in_words(seconds: float) -> str:
    """`25 minutes`, `3.5 hours`, `4.2 days`."""
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"


def disk_in_words(n_bytes: float, folder) -> str:
    """`; about 15 GB will be written to <folder>, where 120 GB are free`; nothing under 0.1 GB."""
    if n_bytes < 1e8:
        return ""
    place = Path(folder).resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    words = (
        f"; about {n_bytes / 1e9:.1f} GB will be written to {folder}, "
        f"where {free / 1e9:.0f} GB are free"
    )
    return words + (": NOT ENOUGH, choose another place" if free < n_bytes else "")
