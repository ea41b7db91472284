"""Progress bars with rate and time left; on no terminal, a plain line every half minute.

A parent process that draws its own list reads the lines from a pipe that it names in `PROGRESS_FD`,
twice a second.
"""

import os
import sys

from tqdm import tqdm

PIPE = "PROGRESS_FD"
EVERY, EVERY_PIPED = 30.0, 0.5  # seconds between two lines


def is_plain() -> bool:
    """Whether progress is told in lines: stderr is no terminal, or another process reads them."""
    return PIPE in os.environ or not sys.stderr.isatty()


class Lines:
    """What replaces a tqdm's drawing where progress is told in lines; for a class beside tqdm."""

    def display(self, msg=None, pos=None) -> bool:
        """Print a line if the last one, or the start, is long enough ago."""
        self.sp = None  # so that tqdm's own `close` draws nothing
        now = self._time()  # pyright: ignore  as below: tqdm's
        every = EVERY_PIPED if PIPE in os.environ else EVERY
        if (
            msg is None
            and now - getattr(self, "printed_at", getattr(self, "start_t", now)) >= every
        ):
            self.printed_at = now
            tell(in_words(self.format_dict))  # pyright: ignore
        return False

    def clear(self, nolock=False) -> None:
        """Nothing is drawn, so nothing is cleared."""


class Bar(tqdm):
    """A tqdm that draws a bar on a terminal, and prints lines elsewhere."""

    def display(self, msg=None, pos=None) -> bool:
        if is_plain():
            return Lines.display(self, msg, pos)  # pyright: ignore  it is one with tqdm's parts
        return bool(super().display(msg, pos))

    def clear(self, nolock=False) -> None:
        if not is_plain():
            super().clear(nolock)


def in_lines(bars: type) -> None:
    """Let the bars of the Hub's or of `datasets`' class print lines where ours do."""
    if is_plain():
        os.environ.setdefault("TQDM_POSITION", "-1")  # else they are off without a terminal
        bars.display, bars.clear = Lines.display, Lines.clear


def tell(line: str) -> None:
    """Print a line of progress on stderr, or into the pipe of the process that asked for it."""
    if PIPE not in os.environ:
        print(line, file=sys.stderr, flush=True)
        return
    try:
        os.write(int(os.environ[PIPE]), f"{line}\n".encode())
    except (OSError, ValueError):
        del os.environ[PIPE]  # nobody reads any more


def in_words(bar: dict) -> str:
    """`attributing: 3 of 4 (75 %), 1.3 s each, 2 s left`, from a tqdm's `format_dict`."""
    words = [_done(bar)]
    rate, total = bar["rate"], bar["total"]
    if rate is None and bar["n"] and bar["elapsed"]:
        rate = bar["n"] / bar["elapsed"]
    if rate:
        words.append(_speed(rate, bar["unit"]))
        if total:
            words.append(f"{seconds_in_words((total - bar['n']) / rate)} left")
    if bar["postfix"]:
        words.append(bar["postfix"])
    what = (bar["prefix"] or "progress").rstrip(": ")
    return f"{what}: {', '.join(words)}"


def _done(bar: dict) -> str:
    n, total = _amount(bar["n"], bar["unit"]), bar["total"]
    if not total:
        return n
    return f"{n} of {_amount(total, bar['unit'])} ({100 * bar['n'] / total:.0f} %)"


def _amount(n: float, unit: str) -> str:
    return f"{n / 1e6:,.1f} MB" if unit == "B" else f"{n:,g}"


def _speed(rate: float, unit: str) -> str:
    if unit == "B":
        return f"{rate / 1e6:,.1f} MB a second"
    return f"{rate:.1f} a second" if rate >= 1 else f"{seconds_in_words(1 / rate)} each"


def seconds_in_words(seconds: float) -> str:
    """`1.3 s`, `42 s`, `12 min`, `3.5 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
