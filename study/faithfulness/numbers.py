"""Faithfulness in numbers: circuits of several sizes, their complements, and random circuits.

    f(C) = (mean m(C) - mean m(empty)) / (mean m(full) - mean m(empty))        over examples

Intervals are percentiles over resampled examples; `rows` are their row numbers, (resamples,
examples), the same for everything that is compared, so that differences are paired. Everything but
`measure` is a pure function of per-example values.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from eap import MIN_EXAMPLES, InputError, dataset, hooks, memory, random_circuits, selection
from eap.circuit import Circuit
from eap.dataset import Batch, Pair
from eap.evaluate import CircuitRunner
from eap.models.contract import Adapter
from eap.resampling import interval, outer_ends

RUNS_AT_ONCE = 5  # of a batch: what a plan of batches reckons with
GOALS = (0.8, 0.9)  # the sizes that reach them are reported


@dataclass(frozen=True)
class Entry:
    """A circuit to run: its edges and what it is. `fraction` is its size before pruning, as a share
    of all edges, or its circuit's.
    """

    kind: str  # file, circuit, other circuit, complement, random, matched
    fraction: float
    kept: torch.Tensor  # booleans per edge
    draw: int | None = None
    selected: int | None = None  # before pruning, where `kept` was pruned already

    def about(self, graph) -> dict:
        """What a row of faithfulness.json says of it: sizes before and after pruning (guard 12)."""
        drawn = {} if self.draw is None else {"draw": self.draw}
        return {
            "kind": self.kind,
            "fraction": self.fraction,
            **drawn,
            "selected": self.selected or int(self.kept.sum()),
            "pruned": int(selection.prune(graph, self.kept).sum()),
        }


def by_size(circuit: Circuit, fractions: Iterable[float], *, kind: str = "circuit") -> list[Entry]:
    """An entry for each share of all edges (at least one edge), by the circuit's scores, ranked as
    its file says.
    """
    graph, rule, entries = circuit.graph, circuit.rule, []
    for share in fractions:
        sized = rule.sized(max(1, round(share * graph.n_edges)))
        entries.append(Entry(kind, share, sized.choose(graph, circuit.ranking)))
    return entries


def nulls(
    graph, entries: Iterable[Entry], *, draws: int, generator: torch.Generator
) -> list[Entry]:
    """For each entry its complement, and `draws` random circuits: as many edges from all (random),
    and per pair of layers (matched).
    """
    beside = []
    for entry in entries:
        size, n_edges = entry.fraction, int(entry.kept.sum())
        beside.append(Entry("complement", size, ~entry.kept))
        for draw in range(draws):
            anywhere = random_circuits.uniform(graph, n_edges, generator=generator)
            same_layers = random_circuits.matched(graph, entry.kept, generator=generator)
            beside.append(Entry("random", size, anywhere, draw))
            beside.append(Entry("matched", size, same_layers, draw))
    return beside


# ---------------------------------------------------------------- circuits run


@dataclass(frozen=True)
class Running:
    """How circuits are run: metrics, what stands for what a circuit leaves out, who hears of it.

    `means` is for mean ablation. `tick` is called after each run; `notify` is told when memory runs
    out.
    """

    metrics: list[str]
    ablation: str = "patching"
    means: hooks.Activations | None = None
    tick: Callable[[], object] = lambda: None
    notify: Callable[[str], None] = warnings.warn


def plan(
    pairs: list[Pair], adapter: Adapter, *, batch_size: int | None, budget: int
) -> list[Batch]:
    """The pairs in batches in which circuits are run: of `batch_size`, or as large as fits into
    half of the memory of `budget` bytes.
    """
    if batch_size is None:
        batch_size = memory.plan_batch_size(adapter, pairs, points=RUNS_AT_ONCE, budget=budget // 2)
    return dataset.batches(pairs, batch_size)


class Measured(NamedTuple):
    """Metrics per example, in the order of the pairs, and the largest deviations from the two
    identities: nll with all edges against the clean run, with none against the corrupted run.
    """

    values: dict[str, np.ndarray]  # metric -> (entries, examples)
    full: dict[str, np.ndarray]  # metric -> (examples,) of the clean run
    empty: dict[str, np.ndarray]  # metric -> (examples,) with no edge kept
    identities: dict[str, float]


def measure(
    adapter: Adapter, batches: list[Batch], *, entries: list[Entry], how: Running
) -> Measured:
    """Run every entry on every batch.

    When memory runs out, batches are halved. Raises InputError when not even one example fits.
    """
    n = sum(len(batch.rows) for batch in batches)
    values = {name: np.zeros((len(entries), n)) for name in how.metrics}
    full = {name: np.zeros(n) for name in how.metrics}
    empty = {name: np.zeros(n) for name in how.metrics}
    identities = {"all_edges": 0.0, "no_edge": 0.0}
    pruned = [selection.prune(adapter.graph, entry.kept) for entry in entries]

    def compute(batch):
        runner = CircuitRunner(adapter, batch, ablation=how.ablation, means=how.means)
        return batch.rows, _measure_batch(runner, pruned, how=how)

    with hooks.frozen(adapter.model):
        for rows, part in memory.halving(batches, compute, notify=how.notify):
            for name in how.metrics:
                values[name][:, rows] = part.values[name]
                full[name][rows] = part.full[name]
                empty[name][rows] = part.empty[name]
            for name, largest in identities.items():
                identities[name] = max(largest, part.identities[name])
    return Measured(values, full, empty, identities)


def _measure_batch(runner: CircuitRunner, pruned: list[torch.Tensor], *, how: Running) -> Measured:
    """One batch's `Measured`, of circuits that are pruned already.

    The same edges are run once: the file's own size, random circuits that prune to none.
    """
    known, rows = {}, []
    for kept in pruned:
        edges = kept.numpy().tobytes()
        if edges not in known:
            known[edges] = runner.metrics(how.metrics, kept)
        rows.append(known[edges])
        how.tick()
    none = torch.zeros(runner.graph.n_edges, dtype=torch.bool)
    empty = runner.metrics(how.metrics, none)
    full = {name: runner.plain_metric("clean", name) for name in how.metrics}
    identities = {"all_edges": _furthest(runner, ~none, which="clean"), "no_edge": 0.0}
    if how.ablation == "patching":  # with another the empty circuit is not the corrupted run
        identities["no_edge"] = _furthest(runner, none, which="corrupted")
    return Measured(
        {name: np.stack([_array(row[name]) for row in rows]) for name in how.metrics},
        {name: _array(values) for name, values in full.items()},
        {name: _array(values) for name, values in empty.items()},
        identities,
    )


def _furthest(runner: CircuitRunner, kept: torch.Tensor, *, which: str) -> float:
    """The largest difference of nll over examples between a circuit and a plain run."""
    return float((runner.metric("nll", kept) - runner.plain_metric(which, "nll")).abs().max())


def _array(values: torch.Tensor) -> np.ndarray:
    return values.float().numpy()


# ---------------------------------------------------------------- numbers from per-example values


def faithfulness(circuit, full, *, empty):
    """f = (mean m(C) - mean m(empty)) / (mean m(full) - mean m(empty)) over the last axis, the
    examples; not finite where corruption changes nothing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return (circuit.mean(-1) - empty.mean(-1)) / (full.mean(-1) - empty.mean(-1))


def areas(fractions, f) -> dict[str, float]:
    """CPR, the area under f, and CMD, the area between f and 1: trapezoids over k and over log k,
    divided by the interval's length.

    `fractions` ascend; `f` is one number for each. Source: MIB, arXiv 2504.13151.
    """
    f, result = np.asarray(f, dtype=float), {}
    for name, x in (("", np.asarray(fractions)), ("_log", np.log(fractions))):
        result["CPR" + name] = float(np.trapezoid(f, x) / (x[-1] - x[0]))
        result["CMD" + name] = float(np.trapezoid(np.abs(1 - f), x) / (x[-1] - x[0]))
    return result


class Setting(NamedTuple):
    """One metric of entries that were run on the same examples; the smallest unit that f is defined
    for.
    """

    entries: list[Entry]
    values: np.ndarray  # (entries, examples)
    full: np.ndarray  # (examples,)
    empty: np.ndarray  # (examples,)

    def rows_of(self, kind: str, fraction: float | None = None) -> list[int]:
        """Numbers of the entries of a kind, and of a fraction if one is given."""
        return [
            i
            for i, entry in enumerate(self.entries)
            if entry.kind == kind and fraction in (None, entry.fraction)
        ]

    def only(self, kind: str) -> "Setting":
        """The same with the entries of one kind."""
        which = self.rows_of(kind)
        return self._replace(entries=[self.entries[i] for i in which], values=self.values[which])

    def f(self, which) -> np.ndarray:
        """(entries,) f of the given entries on all examples."""
        return faithfulness(self.values[which], self.full, empty=self.empty)

    def resampled(self, which, rows: np.ndarray) -> np.ndarray:
        """(entries, resamples) f of the given entries on resampled examples."""
        return faithfulness(self.values[which][:, rows], self.full[rows], empty=self.empty[rows])


def setting(measured: Measured, entries: list[Entry], *, metric: str) -> Setting:
    """One metric of what was measured. Raises InputError when the corruption changes nothing, where
    f would be 0 / 0.
    """
    full, empty = measured.full[metric], measured.empty[metric]
    if np.abs(empty - full).mean() < 1e-12:
        raise InputError(
            f"expected corrupted inputs that change {metric}, got a change of 0 in every example; "
            "build the pairs again"
        )
    return Setting(entries, measured.values[metric], full, empty)


def table(measured: Setting, graph, *, rows: np.ndarray) -> list[dict]:
    """A row for every entry: what it is, its sizes, f with its interval, and the metric's mean."""
    which = list(range(len(measured.entries)))
    points, resampled = measured.f(which), measured.resampled(which, rows)
    result = []
    for i, entry in enumerate(measured.entries):
        f = interval(points[i], resampled[i], n=rows.shape[1])
        row = {
            **entry.about(graph),
            "f": f["mean"],
            "low": f["low"],
            "high": f["high"],
            "metric": float(measured.values[i].mean()),
        }
        result.append(row)
    return result


def curve_areas(
    measured: Setting,
    rows: np.ndarray,
    *,
    kind: str = "circuit",
    sizes: Iterable[float] | None = None,
) -> dict:
    """CPR and CMD over k and over log k, each with its interval, and the smallest and largest size,
    "from" and "to", that they are over.

    Of the entries of a kind, or of those of the given `sizes` only: areas over other sizes are
    other numbers. {} for fewer than two sizes.
    """
    which = measured.rows_of(kind)
    if sizes is not None:
        which = [i for i in which if measured.entries[i].fraction in sizes]
    if len(which) < 2:
        return {}
    fractions = [measured.entries[i].fraction for i in which]
    points = areas(fractions, measured.f(which))
    drawn = [areas(fractions, f) for f in measured.resampled(which, rows).T]
    spans = {}
    for name, point in points.items():
        values = np.array([resample[name] for resample in drawn])
        spans[name] = interval(point, values, n=rows.shape[1])
    return {"from": fractions[0], "to": fractions[-1], "sizes": len(fractions), **spans}


def crossing(fractions, f: np.ndarray, *, goal: float) -> np.ndarray:
    """The smallest share of edges at which f reaches `goal`, read off between sizes linearly in log
    k; infinite where none does.

    `f` is (..., sizes), `fractions` ascend. Where the first size already reaches it, that size.
    """
    f, x = np.asarray(f, dtype=float), np.log(fractions)
    reached = f >= goal
    first = reached.argmax(-1)
    before = np.maximum(first - 1, 0)
    low = np.take_along_axis(f, before[..., None], -1)[..., 0]
    high = np.take_along_axis(f, first[..., None], -1)[..., 0]
    share = np.where(first > 0, (goal - low) / np.where(high > low, high - low, 1), 1.0)
    return np.where(reached.any(-1), np.exp(x[before] + share * (x[first] - x[before])), np.inf)


def sizes_reaching(measured: Setting, rows: np.ndarray, *, kind: str = "circuit") -> list[dict]:
    """For each goal the smallest share of edges that reaches it, with its interval; None stands for
    "none of these sizes".
    """
    which = measured.rows_of(kind)
    fractions, result = [measured.entries[i].fraction for i in which], []
    for goal in GOALS:
        fraction = float(crossing(fractions, measured.f(which), goal=goal))
        points = crossing(fractions, measured.resampled(which, rows).T, goal=goal)
        low, high = outer_ends(points, rows.shape[1])
        row = {
            "f": goal,
            "fraction": _finite(fraction),
            "low": _finite(low),
            "high": _finite(high),
        }
        result.append(row)
    return result


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def against_nulls(measured: Setting, rows: np.ndarray) -> list[dict]:
    """For each size and kind of null: f of the circuit, of the null, and their difference, paired
    over examples.

    Of random circuits f is the mean over draws; `as_high` is (1 + draws with at least the circuit's
    f) / (1 + draws), a p value.
    """
    result = []
    for kind in ("random", "matched", "complement"):
        sizes = {entry.fraction for entry in measured.entries if entry.kind == kind}
        for fraction in sorted(sizes):
            circuit = measured.rows_of("circuit", fraction) or measured.rows_of("file", fraction)
            draws = measured.rows_of(kind, fraction)
            f, others = measured.f(circuit)[0], measured.f(draws)
            resampled = measured.resampled(circuit, rows)[0]
            difference = resampled - measured.resampled(draws, rows).mean(0)
            row = {
                "null": kind,
                "fraction": fraction,
                "f": float(f),
                "null_f": float(others.mean()),
                "null_lowest": float(others.min()),
                "null_highest": float(others.max()),
                "difference": interval(f - others.mean(), difference, n=rows.shape[1]),
            }
            if kind != "complement":
                row["draws"] = len(draws)
                row["as_high"] = (1 + int((others >= f).sum())) / (1 + len(draws))
            result.append(row)
    return result


def differences(
    measured: Setting, kind: str, *, other: Setting, other_kind: str, rows: np.ndarray
) -> list[dict]:
    """For each size: f of either, and their difference, paired over examples."""
    result = []
    for i in measured.rows_of(kind):
        fraction = measured.entries[i].fraction
        j = other.rows_of(other_kind, fraction)[0]
        f, other_f = float(measured.f([i])[0]), float(other.f([j])[0])
        resampled = measured.resampled([i], rows)[0] - other.resampled([j], rows)[0]
        row = {
            "fraction": fraction,
            "f": f,
            "other_f": other_f,
            "difference": interval(f - other_f, resampled, n=rows.shape[1]),
        }
        result.append(row)
    return result


def excludes_zero(difference: dict) -> bool:
    """Whether an interval lies on one side of zero."""
    return not difference["low"] <= 0 <= difference["high"]


def supports_claim(difference: dict) -> bool:
    """Whether a claim word may be said of a difference (guard 26): its interval excludes zero, over
    `MIN_EXAMPLES` examples or more.
    """
    return difference["n"] >= MIN_EXAMPLES and excludes_zero(difference)
