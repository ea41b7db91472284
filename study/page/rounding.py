"""Numbers as people read them: rounded to what their interval supports, never `-0.00`."""

import math

from study import findings


def number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits: `0.826`, `1,625`, `3.1e-07`; no `-0`."""
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    return fixed(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def fixed(value: float, decimals: int) -> str:
    """A number with so many decimals; zero has no sign."""
    text = f"{value:,.{decimals}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def with_interval(interval: dict) -> str:
    """`0.83 [0.78, 0.86]`, of {"mean", "low", "high"}; an end that is not known is left open."""
    low, high = interval["low"], interval["high"]
    if low is None or high is None:
        ends = ["…" if end is None else number(end) for end in (low, high)]
        return f"{number(interval['mean'])} [{', '.join(ends)}]"
    if max(abs(low), abs(high)) < 1e-4:
        return f"{number(interval['mean'], 2)} [{number(low, 2)}, {number(high, 2)}]"
    return findings.text(findings.number(interval))


def percent(share: float, digits: int = 2) -> str:
    """`5.0 %`, of a share of 0.05."""
    return f"{number(100.0 * share, digits)} %"


def counted(count: int, what: str) -> str:
    """`1 stage`, `3 stages`."""
    return f"{count} {what}{'s' * (count != 1)}"
