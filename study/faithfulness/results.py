"""faithfulness.json: what circuits carry of a model's behaviour, their nulls and controls."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eap import resampling
from eap.circuit import Circuit
from eap.graph import Graph
from study import overlap
from study.faithfulness import methods, numbers, running
from study.faithfulness.numbers import Setting
from study.faithfulness.running import KINDS, Circuits, Control, Own
from study.faithfulness.settings import Settings


@dataclass(frozen=True)
class Full:
    """The sizes and draws of a full evaluation, which a shorter one is held against."""

    n_random: int
    random_fractions: list[float]
    cross_fractions: list[float]


class Model(NamedTuple):
    """One metric in one model, and which kind of entries was found in it."""

    path: str
    native: str  # one of KINDS
    measured: Setting


class Evaluation(NamedTuple):
    """What faithfulness.json and, if it was asked for, examples.json hold."""

    numbers: dict
    examples: dict | None


def evaluate(settings: Settings, full: Full) -> Evaluation:
    """Every number of faithfulness.json, and a few pairs. One model is in memory at a time."""
    circuits = running.read_circuits(settings)
    own = running.in_own_model(settings, circuits)
    pairs = own.used.pairs
    cross = running.cross_entries(settings, circuits)
    other = running.in_other_model(settings, circuits, pairs=pairs, entries=cross)
    graph, names = circuits.first.graph, list(circuits.by_name)
    rows = resampling.resample(len(pairs), settings.seed, resamples=settings.resamples)
    by_metric = {}
    for metric in settings.metrics:
        in_own = numbers.setting(own.measured, own.entries, metric=metric)
        models = [Model(settings.model_path, KINDS[0], in_own)]
        if other is not None and settings.other_model_path is not None:
            in_other = numbers.setting(other, cross, metric=metric)
            models.append(Model(settings.other_model_path, KINDS[1], in_other))
        by_metric[metric] = describe(settings, in_own, graph=graph, rows=rows) | {
            "control": controlled(
                settings, in_own, control=own.control, metric=metric, graph=graph
            ),
            "cross": crossed(settings, models, names=names, graph=graph, rows=rows),
        }
    with_control = own.control.rows if own.control else []
    contents = {
        "circuit": names[0],
        "model": label(settings.model_path),
        "ablation": settings.ablation,
        "examples": len(pairs),
        "edges": graph.n_edges,
        "identities": own.measured.identities,
        "found_on": found_on(circuits.by_name),
        "compared": compared(circuits.by_name),
        "tokens_changed": tokens_changed(pairs, with_control),
        "left_out": own.used.left_out
        + left_out(settings, full, without_control=len(pairs) - len(with_control)),
        "metrics": by_metric,
        "methods": compared_methods(settings, circuits, own=own, rows=rows),
    }
    return Evaluation(contents, own.examples)


def describe(settings: Settings, measured: Setting, *, graph: Graph, rows: np.ndarray) -> dict:
    """One metric of the circuit in its own model."""
    sizes = settings.cross_fractions
    return {
        "full": float(measured.full.mean()),
        "empty": float(measured.empty.mean()),
        "change": change(settings, measured),
        "rows": numbers.table(measured, graph, rows=rows),
        "areas": numbers.curve_areas(measured, rows),
        "areas_at_cross_sizes": numbers.curve_areas(measured, rows, sizes=sizes),
        "sizes_reaching": numbers.sizes_reaching(measured, rows),
        "nulls": numbers.against_nulls(measured, rows),
    }


def change(settings: Settings, setting: Setting) -> dict:
    """By how much corruption changes the metric, with its interval."""
    difference = setting.empty - setting.full
    return resampling.mean_interval(difference, settings.seed, resamples=settings.resamples)


def controlled(
    settings: Settings, measured: Setting, *, control: Control | None, metric: str, graph: Graph
) -> dict | None:
    """The circuit with other sentences corrupted, against the salient ones (guard 16).

    Both on the pairs that have a control; None where none has.
    """
    if control is None:
        return None
    which = control.rows
    with_others = numbers.setting(control.measured, control.entries, metric=metric)
    salient = measured._replace(
        values=measured.values[:, which], full=measured.full[which], empty=measured.empty[which]
    )
    rows = resampling.resample(len(which), settings.seed, resamples=settings.resamples)
    beyond_control = salient.empty - salient.full - (with_others.empty - with_others.full)
    return {
        "examples": len(which),
        "change": change(settings, with_others),
        "salient_minus_control": resampling.mean_interval(
            beyond_control, settings.seed, resamples=settings.resamples
        ),
        "rows": numbers.table(with_others, graph, rows=rows),
        "areas": numbers.curve_areas(with_others, rows),
        "differences": numbers.differences(
            with_others, "circuit", other=salient, other_kind="circuit", rows=rows
        ),
    }


def crossed(
    settings: Settings, models: list[Model], *, names: list[str], graph: Graph, rows: np.ndarray
) -> list[dict]:
    """Cross-faithfulness (guard 11): each circuit in each model, but for the first in its own.

    Beside it, by how much it falls short of the circuit that was found there.
    """
    entries = []
    for model in models:
        for name, kind in zip(names, KINDS, strict=False):
            if kind == model.native == KINDS[0]:
                continue
            entry = _crossed(settings, model, kind=kind, graph=graph, rows=rows)
            entries.append({"circuit": name, **entry})
    return entries


def _crossed(
    settings: Settings, model: Model, *, kind: str, graph: Graph, rows: np.ndarray
) -> dict:
    """The entries of one kind in one model."""
    measured = model.measured
    listed, minus_own = measured.only(kind), None
    if kind != model.native and measured.rows_of(model.native):
        minus_own = numbers.differences(
            measured, kind, other=measured, other_kind=model.native, rows=rows
        )
    return {
        "model": label(model.path),
        "found_there": kind == model.native,
        "rows": numbers.table(listed, graph, rows=rows),
        "change": change(settings, measured),
        "areas": numbers.curve_areas(listed, rows, kind=kind),
        "sizes_reaching": numbers.sizes_reaching(listed, rows, kind=kind),
        "minus_own": minus_own,
    }


def compared_methods(settings: Settings, circuits: Circuits, *, own: Own, rows) -> dict | None:
    """What stands beside the circuit of --compare_circuit; None without one."""
    if circuits.beside is None:
        return None
    about, differences = methods.about(circuits.beside), {}
    for metric in settings.metrics:
        measured = numbers.setting(own.measured, own.entries, metric=metric)
        meaningful = numbers.excludes_zero(change(settings, measured))
        differences[metric] = methods.by_size(measured, rows) if meaningful else None
    sentences = methods.sentences(about, differences)
    return {**about, "differences": differences, "sentences": sentences}


# ---------------------------------------------------------------- the circuits and the pairs


def found_on(circuits: dict[str, Circuit]) -> dict:
    """{name: {"examples", "noise_floor"}}: on how many examples it was found; None: unknown."""
    return {
        name: {
            "examples": len(circuit.about.examples) or None,
            "noise_floor": circuit.about.noise_floor,
        }
        for name, circuit in circuits.items()
    }


def compared(circuits: dict[str, Circuit]) -> dict | None:
    """How far two circuits overlap, beside chance and noise floors (guard 11); None for one."""
    if len(circuits) < 2:
        return None
    first, second = circuits.values()
    sizes = (int(first.in_graph.sum()), int(second.in_graph.sum()))
    return {
        "circuits": list(circuits),
        "jaccard_edges": overlap.jaccard(first.in_graph, second.in_graph),
        "spearman": overlap.spearman(first.require_scores().abs(), second.require_scores().abs()),
        "chance": overlap.chance(*sizes, total=first.graph.n_edges),
        "noise_floors": {name: circuit.about.noise_floor for name, circuit in circuits.items()},
    }


def tokens_changed(pairs, with_control: list[int]) -> dict:
    """How many tokens differ from the clean input, on average (guard 16).

    In corrupted pairs, and in the controls of those that have one.
    """
    salient = [n_differing(pair.corrupted_ids, pair.clean_ids) for pair in pairs]
    chosen = [pairs[row] for row in with_control]
    control = [n_differing(pair.control_ids, pair.clean_ids) for pair in chosen]
    return {
        "salient": sum(salient) / max(len(salient), 1),
        "control": sum(control) / max(len(control), 1),
    }


def n_differing(ids, clean_ids) -> int:
    """At how many places two sequences of tokens differ."""
    return sum(token != clean for token, clean in zip(ids, clean_ids, strict=True))


def left_out(settings: Settings, full: Full, *, without_control: int) -> list[str]:
    """What a full evaluation would add, in words."""
    notes = []
    if settings.n_random < full.n_random:
        notes.append(
            f"{settings.n_random} instead of {full.n_random} random circuits of each kind and size"
        )
    chosen = settings.random_fractions
    missing = [f"{share:.0%}" for share in full.random_fractions if share not in chosen]
    if missing:
        notes.append(f"random circuits and complement at {', '.join(missing)} of the edges")
    if settings.cross_fractions != full.cross_fractions:
        notes.append(
            f"causal control and cross-faithfulness at {len(settings.cross_fractions)} sizes only, "
            "so without most of their curve"
        )
    if without_control:
        notes.append(
            f"the causal control of {without_control} pairs, which have no control that changes a "
            "token"
        )
    given = {
        "--other_circuit": settings.other_circuit,
        "--other_model_path": settings.other_model_path,
    }
    missing = [flag for flag, value in given.items() if not value]
    if missing:
        notes.append(f"cross-faithfulness for want of {' and '.join(missing)}")
    return notes


def label(model_path: str) -> str:
    """A model's name without its path."""
    return Path(model_path).name or model_path
