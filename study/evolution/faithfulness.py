"""f over the checkpoints: how much of each its own circuit carries, how much the final one does.

    f = (m(C) - m(empty)) / (m(full) - m(empty)), a ratio of means over examples (`eap.evaluate`)

Every f has a 95 % interval from bootstrap resamples of the examples, and random circuits of as many
edges beside it (guard 2).
"""

import numpy as np
import torch

from eap import MIN_EXAMPLES
from eap.circuit import Circuit
from eap.models.contract import Adapter
from eap.random_circuits import uniform
from eap.resampling import interval, resample
from study.faithfulness import numbers as faithfulness
from study.faithfulness.numbers import excludes_zero
from study.findings import fixed

OWN, FINAL = "own", "final"
MEANS_NOTHING = "f means nothing: the interval of what it divides by includes zero"
LEFT_OUT = (
    "Faithfulness at each checkpoint left out: give --training with the run's folder and "
    "--pairs data/pairs_eval.jsonl."
)


def random_circuits(circuit: Circuit, n: int, *, seed: int) -> list[torch.Tensor]:
    """`n` uniform choices of as many edges as the circuit has before pruning."""
    generator = torch.Generator().manual_seed(seed)
    return [uniform(circuit.graph, circuit.n_selected, generator=generator) for _ in range(n)]


def circuits_at(
    own: Circuit, final: Circuit, *, drawn: list[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """{name: booleans per edge} of what runs at a checkpoint; at the last one its own circuit is
    the final one, and runs once.
    """
    last = {} if own is final else {OWN: own.in_graph}
    return {**last, FINAL: final.in_graph, **{f"random {i}": kept for i, kept in enumerate(drawn)}}


def run_circuits(
    adapter: Adapter, batches, *, circuits: dict[str, torch.Tensor], how: faithfulness.Running
) -> dict[str, dict[str, np.ndarray]]:
    """{metric: {name: (examples,)}} of a model's circuits on unseen examples, with "full", the
    clean run, and "empty", no edge kept.
    """
    entries = [
        faithfulness.Entry(name, float(kept.float().mean()), kept)
        for name, kept in circuits.items()
    ]
    measured = faithfulness.measure(adapter, batches, entries=entries, how=how)
    by_metric = {}
    for metric in how.metrics:
        values = dict(zip(circuits, measured.values[metric], strict=True))
        ends = {"full": measured.full[metric], "empty": measured.empty[metric]}
        by_metric[metric] = ends | values
    return by_metric


def summarise(values: dict[str, np.ndarray], seed: int) -> dict:
    """One checkpoint's faithfulness by one metric, from `run_circuits`' {name: (examples,)}.

    {"own", "final", "own_minus_final": f with its interval, None where f has no value; "random":
    the lowest and highest f of the n random circuits, or None; "effect": m(empty) - m(full), by
    which f divides, with its interval; "means": the metric of full, empty, own and final}. The
    examples are resampled together, so that a difference of two circuits is paired.
    """
    values = {name: np.asarray(column, dtype=float) for name, column in values.items()}
    full, empty = values.pop("full"), values.pop("empty")
    own, final = values.pop(OWN, values[FINAL]), values.pop(FINAL)
    n = len(full)
    rows = resample(n, seed)

    def f_of(circuit):
        return float(faithfulness.faithfulness(circuit, full, empty=empty))

    def resampled(circuit):
        return faithfulness.faithfulness(circuit[rows], full[rows], empty=empty[rows])

    f_own, f_final = f_of(own), f_of(final)
    drawn_own, drawn_final = resampled(own), resampled(final)
    random = [f_of(circuit) for circuit in values.values()]
    ends = {"full": full, "empty": empty, OWN: own, FINAL: final}
    return {
        OWN: _interval(f_own, drawn_own, n=n),
        FINAL: _interval(f_final, drawn_final, n=n),
        "own_minus_final": _interval(f_own - f_final, drawn_own - drawn_final, n=n),
        "random": {"low": min(random), "high": max(random), "n": len(random)} if random else None,
        "effect": interval((empty - full).mean(), (empty - full)[rows].mean(1), n=n),
        "means": {name: float(column.mean()) for name, column in ends.items()},
    }


def _interval(value: float, drawn: np.ndarray, *, n: int) -> dict | None:
    """`interval`; None where the value itself is undefined."""
    return interval(value, drawn, n=n) if np.isfinite(value) else None


def meaningful(row: dict) -> bool:
    """Whether the interval of m(empty) - m(full), by which f divides, excludes zero."""
    return excludes_zero(row["effect"])


def sentences(numbers: dict) -> list[str]:
    """What the numbers of {"examples", "metrics": {metric: rows with "name"}} say; a difference
    only with an interval that excludes 0.
    """
    lines = []
    for metric, rows in numbers["metrics"].items():
        lines += [
            f"Corrupting the input changes {metric} of {row['name']} by {fixed(row['effect'], 4)}, "
            "which includes zero: its f means nothing."
            for row in rows
            if not meaningful(row)
        ]
        first, last = rows[0], rows[-1]
        if first[FINAL] is None or last[FINAL] is None:
            continue
        lines.append(
            f"f by {metric} on {numbers['examples']} unseen examples: own circuit "
            f"{at(first, OWN)}, {at(last, OWN)}; the final circuit {at(first, FINAL)}."
        )
        lines.append(gap_sentence(rows, numbers["examples"]))
    return lines


def gap_sentence(rows: list[dict], examples: int) -> str:
    """At which checkpoints f of the own and of the final circuit differ, over enough examples."""
    if examples < MIN_EXAMPLES:
        return (
            f"With {examples} examples (fewer than {MIN_EXAMPLES}) nothing is said of differences "
            "in f."
        )
    gaps = []
    for row in rows:
        gap = row["own_minus_final"]
        if meaningful(row) and gap and excludes_zero(gap):
            gaps.append(f"{row['name']} ({gap['mean']:+.3f})")
    where = ", ".join(gaps) or "no checkpoint"
    return f"Own and final circuit differ in f (paired interval excludes zero) at {where}."


def at(row: dict, name: str) -> str:
    """`0.812 [0.790, 0.834] at C_step0`, and that it means nothing where that is so."""
    without = "" if meaningful(row) else f" ({MEANS_NOTHING})"
    return f"{fixed(row[name])} at {row['name']}{without}"


def table(numbers: dict) -> list[str]:
    """The lines of the table that the script prints: f of own and final circuit at each checkpoint,
    and the random circuits' range.
    """
    lines = []
    for metric, rows in numbers["metrics"].items():
        title = f"f by {metric}, n = {numbers['examples']}"
        width = 1 + max(map(len, [title, *[row["name"] for row in rows]]))
        lines.append(
            f"{title:<{width}}{'own circuit':>24}{'final circuit':>24}{'own - final':>24}"
            f"{'random circuits':>18}"
        )
        lines += [f"{row['name']:<{width}}{_cells(row)}" for row in rows]
    return lines


def _cells(row: dict) -> str:
    """A checkpoint's row of the table, without its name."""
    random, drawn = row["random"], "-"
    if random:
        drawn = f"{random['low']:.3f} to {random['high']:.3f}"
    numbers = [f"{fixed(row[name]):>24}" for name in (OWN, FINAL, "own_minus_final")]
    without = "" if meaningful(row) else f"  {MEANS_NOTHING}"
    return f"{''.join(numbers)}{drawn:>18}{without}"
