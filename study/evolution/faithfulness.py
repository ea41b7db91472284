"""f over the checkpoints: how much of each its own circuit carries, how much the final one does.

    f = (m(C) - m(empty)) / (m(full) - m(empty)), a ratio of means over examples (`eap.evaluate`)

Every f has a 95 % interval from bootstrap resamples of the examples, and random circuits of as many
edges beside it (guard 2).
"""

import numpy as np
import torch

from eap import MIN_EXAMPLES
from eap.circuit import Circuit
from eap.random_circuits import uniform
from eap.resampling import interval, resample
from study.faithfulness import numbers as faithfulness
from study.faithfulness.numbers import excludes_zero

OWN, FINAL = "own", "final"
MEANS_NOTHING = "f means nothing: the interval of what it divides by includes zero"


def random_circuits(circuit: Circuit, n: int, seed: int) -> list[torch.Tensor]:
    """`n` uniform choices of as many edges as the circuit has before pruning."""
    generator = torch.Generator().manual_seed(seed)
    return [uniform(circuit.graph, circuit.n_selected, generator) for _ in range(n)]


def circuits_at(own: Circuit, final: Circuit, drawn: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """{name: booleans per edge} of what runs at a checkpoint; at the last one its own circuit is
    the final one, and runs once.
    """
    last = {} if own is final else {OWN: own.in_graph}
    return {**last, FINAL: final.in_graph, **{f"random {i}": kept for i, kept in enumerate(drawn)}}


def run_circuits(
    adapter,
    batches,
    circuits: dict[str, torch.Tensor],
    metrics,
    ablation: str,
    means=None,
    tick=lambda: None,
):
    """{metric: {name: (examples,)}} of a model's circuits on unseen examples, with "full", the
    clean run, and "empty", no edge kept.

    `tick` is called after each of the batches x circuits runs.
    """
    entries = [
        faithfulness.Entry(name, float(kept.float().mean()), kept)
        for name, kept in circuits.items()
    ]
    found = faithfulness.measure(adapter, batches, entries, list(metrics), ablation, means, tick)
    return {
        metric: {
            "full": found.full[metric],
            "empty": found.empty[metric],
            **dict(zip(circuits, found.values[metric], strict=True)),
        }
        for metric in metrics
    }


def summarise(values: dict[str, np.ndarray], seed: int) -> dict:
    """One checkpoint's faithfulness by one metric, from `run_circuits`' {name: (examples,)}.

    {"own", "final", "own_minus_final": f with its interval, None where f has no value; "random":
    the lowest and highest f of the n random circuits, or None; "effect": m(empty) - m(full), by
    which f divides, with its interval; "means": the metric of full, empty, own and final}. The
    examples are resampled together, so that a difference of two circuits is paired.
    """
    values = {name: np.asarray(column, dtype=float) for name, column in values.items()}
    full, empty = values.pop("full"), values.pop("empty")
    values.setdefault(OWN, values[FINAL])
    n = len(full)
    rows = resample(n, seed)
    f = {name: float(faithfulness.faithfulness(kept, full, empty)) for name, kept in values.items()}
    drawn = {
        name: faithfulness.faithfulness(values[name][rows], full[rows], empty[rows])
        for name in (OWN, FINAL)
    }
    random = [f[name] for name in f if name not in (OWN, FINAL)]
    ends = {"full": full, "empty": empty, OWN: values[OWN], FINAL: values[FINAL]}
    return {
        OWN: _interval(f[OWN], drawn[OWN], n),
        FINAL: _interval(f[FINAL], drawn[FINAL], n),
        "own_minus_final": _interval(f[OWN] - f[FINAL], drawn[OWN] - drawn[FINAL], n),
        "random": {"low": min(random), "high": max(random), "n": len(random)} if random else None,
        "effect": interval((empty - full).mean(), (empty - full)[rows].mean(1), n),
        "means": {name: float(column.mean()) for name, column in ends.items()},
    }


def _interval(value: float, drawn: np.ndarray, n: int) -> dict | None:
    """`interval`; None where the value itself is undefined."""
    return interval(value, drawn, n) if np.isfinite(value) else None


def meaningful(row: dict) -> bool:
    """Whether the interval of m(empty) - m(full), by which f divides, excludes zero."""
    return excludes_zero(row["effect"])


def sentences(found: dict) -> list[str]:
    """What the numbers of {"examples", "metrics": {metric: rows with "name"}} say; a difference
    only with an interval that excludes 0.
    """
    said = []
    for metric, rows in found["metrics"].items():
        for row in rows:
            if not meaningful(row):
                said.append(
                    f"Corrupting the input changes {metric} of {row['name']} by "
                    f"{row['effect']['mean']:.4f} [{row['effect']['low']:.4f}, "
                    f"{row['effect']['high']:.4f}], which includes zero: its f means nothing."
                )
        first, last = rows[0], rows[-1]
        if first[FINAL] is None or last[FINAL] is None:
            continue
        said.append(
            f"f by {metric} on {found['examples']} unseen examples: own circuit {at(first, OWN)}, "
            f"{at(last, OWN)}; the final circuit {at(first, FINAL)}."
        )
        if found["examples"] < MIN_EXAMPLES:
            said.append(
                f"With {found['examples']} examples (fewer than {MIN_EXAMPLES}) nothing is said "
                "of differences in f."
            )
            continue
        gaps = [
            row
            for row in rows
            if meaningful(row) and row["own_minus_final"] and excludes_zero(row["own_minus_final"])
        ]
        said.append(
            "Own and final circuit differ in f (paired interval excludes zero) at "
            + (
                ", ".join(f"{row['name']} ({row['own_minus_final']['mean']:+.3f})" for row in gaps)
                or "no checkpoint"
            )
            + "."
        )
    return said


def at(row: dict, name: str) -> str:
    """`0.812 [0.790, 0.834] at C_step0`, and that it means nothing where that is so."""
    return f"{words(row[name])} at {row['name']}" + (
        "" if meaningful(row) else f" ({MEANS_NOTHING})"
    )


def words(interval: dict | None) -> str:
    """`0.812 [0.790, 0.834]`, or a dash for what is undefined."""
    return (
        "-"
        if interval is None
        else f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
    )


def table(found: dict) -> list[str]:
    """The lines of the table that the script prints: f of own and final circuit at each checkpoint,
    and the random circuits' range.
    """
    lines = []
    for metric, rows in found["metrics"].items():
        title = f"f by {metric}, n = {found['examples']}"
        width = max(len(name) for name in (title, *(row["name"] for row in rows))) + 1
        lines.append(
            f"{title:<{width}}{'own circuit':>24}{'final circuit':>24}{'own - final':>24}"
            f"{'random circuits':>18}"
        )
        for row in rows:
            drawn = (
                f"{row['random']['low']:.3f} to {row['random']['high']:.3f}"
                if row["random"]
                else "-"
            )
            lines.append(
                f"{row['name']:<{width}}"
                + "".join(f"{words(row[name]):>24}" for name in (OWN, FINAL, "own_minus_final"))
                + f"{drawn:>18}"
                + ("" if meaningful(row) else f"  {MEANS_NOTHING}")
            )
    return lines
