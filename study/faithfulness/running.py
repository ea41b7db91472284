"""Circuits run in their models: what is read, what is run, and what was measured."""

from pathlib import Path
from typing import NamedTuple

import torch

from eap import InputError, dataset, hooks, passes
from eap import methods as scoring
from eap.circuit import Circuit
from eap.models.contract import Adapter
from runs import bases, console, forecast, opening
from study.faithfulness import examples, numbers
from study.faithfulness.methods import COMPARED, Compared
from study.faithfulness.numbers import Entry, Measured, by_size, nulls
from study.faithfulness.settings import Settings

KINDS = ("circuit", "other circuit")  # what the entries of the two circuits are called


class Circuits(NamedTuple):
    """The circuits that are run, by name, and the one of another method beside the first."""

    by_name: dict[str, Circuit]
    beside: Compared | None

    @property
    def first(self) -> Circuit:
        """The circuit in question."""
        return next(iter(self.by_name.values()))


class Used(NamedTuple):
    """The pairs that circuits are run on, and in words which were left out and why."""

    pairs: list
    left_out: list[str]


class Control(NamedTuple):
    """The causal control: the circuit on pairs with other sentences corrupted (guard 16)."""

    rows: list[int]  # which of the pairs have one
    entries: list[Entry]
    measured: Measured


class Own(NamedTuple):
    """What was measured in the circuit's own model; no control where no pair has one."""

    used: Used
    entries: list[Entry]
    measured: Measured
    control: Control | None
    examples: dict | None  # a few pairs token by token, if they were asked for


# ---------------------------------------------------------------- what is read


def read_circuits(settings: Settings) -> Circuits:
    """The circuits in the files. Raises InputError for one of another model than it is run in."""
    for metric in settings.metrics:
        scoring.Settings("exact", metric, ablation=settings.ablation).check()
    paths = [Path(path) for path in (settings.circuit, settings.other_circuit) if path]
    names = [path.stem for path in paths]
    by_name = dict(zip(names, opening.load_circuits(paths), strict=True))
    if settings.other_circuit and len(by_name) < 2:
        raise InputError(
            f"--other_circuit {settings.other_circuit}: expected a file of another name than "
            "--circuit, got the same; rename one"
        )
    for name, circuit in by_name.items():
        circuit.require_scores(name)
    require_own_models(settings, by_name)
    if other := settings.other_model_path:  # before the first model's runs, not after
        opening.require_architecture(other, Path(bases.root_of(other)), flag="--other_model_path")
    return Circuits(by_name, read_beside(settings))


def read_beside(settings: Settings) -> Compared | None:
    """The circuits of --circuit and --compare_circuit; None without the latter.

    Raises InputError unless both were found in the weights of --model_path.
    """
    if not settings.compare_circuit:
        return None
    paths = (Path(settings.circuit), Path(settings.compare_circuit))
    first, second = opening.load_circuits(paths)
    name, other_name = paths[0].stem, paths[1].stem
    if name == other_name:
        raise InputError(
            f"--compare_circuit {settings.compare_circuit}: expected a file of another name than "
            "--circuit, got the same; rename one"
        )
    second.require_scores(paths[1])
    opening.require_own_weights(
        second, other_name, name=settings.model_path, console=settings.console
    )
    return Compared((name, other_name), (first, second))


def require_own_models(settings: Settings, circuits: dict[str, Circuit]) -> None:
    """Raise InputError unless each circuit was found in the weights of its model.

    The other circuit is of the other model; without one it may be of any.
    """
    models = (settings.model_path, settings.other_model_path)
    flags = ("--model_path", "--other_model_path")
    for (label, circuit), model, flag in zip(circuits.items(), models, flags, strict=False):
        if model:
            opening.require_own_weights(
                circuit, label, name=model, flag=flag, console=settings.console
            )


def read_pairs(settings: Settings, circuits: Circuits, *, adapter: Adapter, tokenizer) -> Used:
    """The pairs that no circuit was found on. Raises InputError when none is left."""
    pairs = opening.read_pairs(
        settings.pairs, adapter, tokenizer=tokenizer, console=settings.console
    )
    seen_by = list(circuits.by_name.values())
    if circuits.beside:
        seen_by.append(circuits.beside.circuits[1])
    if settings.allow_same_examples:
        seen_by = []
    found_on = [circuit.about.examples for circuit in seen_by]
    unseen = opening.unseen_pairs(pairs, settings.pairs, found_on=found_on)
    used, left_out = unseen[: settings.max_examples], []
    n_seen = len(pairs) - len(unseen)
    settings.console.detail(
        f"{len(used)} of {len(unseen)} examples that extraction did not see; {n_seen} that it saw "
        "left out"
    )
    if n_seen:
        left_out.append(f"{n_seen} of {len(pairs)} pairs, which extraction saw")
    if len(used) < len(unseen):
        left_out.append(
            f"{len(unseen) - len(used)} of {len(unseen)} unseen pairs, by --max_examples "
            f"{settings.max_examples}"
        )
    return Used(used, left_out)


# ---------------------------------------------------------------- what is run


def entries_of(settings: Settings, circuits: Circuits) -> list[Entry]:
    """What is run in the circuit's own model.

    That is the file's choice, the sizes, their nulls, and the other circuits' sizes.
    """
    circuit, *others = circuits.by_name.values()
    share = circuit.n_selected / circuit.graph.n_edges
    entries = [Entry("file", share, circuit.in_graph, selected=circuit.n_selected)]
    sizes = {*settings.fractions, *settings.random_fractions, *settings.cross_fractions}
    curve = by_size(circuit, sorted(sizes))
    compared_with = [entry for entry in curve if entry.fraction in settings.random_fractions]
    if circuits.beside:
        entries += by_size(circuits.beside.circuits[1], settings.fractions, kind=COMPARED)
    generator = torch.Generator().manual_seed(settings.seed)
    entries += curve + nulls(
        circuit.graph, compared_with, draws=settings.n_random, generator=generator
    )
    for other in others:
        entries += by_size(other, settings.cross_fractions, kind=KINDS[1])
    return entries


def cross_entries(settings: Settings, circuits: Circuits) -> list[Entry]:
    """What is run in the other model: every circuit's sizes; nothing without one."""
    if not settings.other_model_path:
        return []
    entries = []
    for kind, circuit in zip(KINDS, circuits.by_name.values(), strict=False):
        entries += by_size(circuit, settings.cross_fractions, kind=kind)
    return entries


def in_own_model(settings: Settings, circuits: Circuits) -> Own:
    """Everything that is run in the circuit's own model, which is in memory meanwhile."""
    adapter, tokenizer = opening.open_adapted(
        settings.device, settings.model_path, circuits=circuits.by_name
    )
    used = read_pairs(settings, circuits, adapter=adapter, tokenizer=tokenizer)
    pairs, entries = used.pairs, entries_of(settings, circuits)
    sizes = by_size(circuits.first, settings.cross_fractions)
    later = len(sizes) + len(cross_entries(settings, circuits))
    measured = run(
        settings, adapter, pairs=pairs, entries=entries, what="running circuits", n_later=later
    )
    shown = some_examples(
        settings, adapter, tokenizer=tokenizer, circuit=circuits.first, pairs=pairs
    )
    rows = [row for row, pair in enumerate(pairs) if pair.control_ids not in (None, pair.clean_ids)]
    if not rows:
        return Own(used, entries, measured, None, shown)
    controls = [pairs[row].control() for row in rows]
    control = run(settings, adapter, pairs=controls, entries=sizes, what="causal control")
    return Own(used, entries, measured, Control(rows, sizes, control), shown)


def some_examples(
    settings: Settings, adapter: Adapter, *, tokenizer, circuit: Circuit, pairs
) -> dict | None:
    """What examples.json holds of the first pairs; None where none are asked for."""
    if not settings.examples:
        return None
    means = None
    if settings.ablation == "mean":
        batches = dataset.batches(pairs, settings.batch_size or 1)
        means = passes.mean_activations(adapter, batches, notify=console.warn)
    chosen = pairs[: settings.examples]
    with hooks.frozen(adapter.model):
        return examples.of_pairs(
            adapter,
            tokenizer,
            circuit=circuit,
            pairs=chosen,
            ablation=settings.ablation,
            means=means,
        )


def in_other_model(settings: Settings, circuits: Circuits, *, pairs, entries) -> Measured | None:
    """What is run in the other model, which is in memory meanwhile; None without one."""
    if not settings.other_model_path:
        return None
    adapter, tokenizer = opening.open_adapted(
        settings.device,
        settings.other_model_path,
        circuits=circuits.by_name,
        flag="--other_model_path",
    )
    opening.require_pairs_tokenizer(
        pairs, settings.pairs, tokenizer=tokenizer, console=settings.console
    )
    return run(settings, adapter, pairs=pairs, entries=entries, what="other model")


def run(
    settings: Settings,
    adapter: Adapter,
    *,
    pairs,
    entries: list[Entry],
    what: str,
    n_later: int = 0,
) -> Measured:
    """The `Measured` of the entries' circuits; `n_later` more will be run after them."""
    budget = settings.device.memory_budget
    batches = numbers.plan(pairs, adapter, batch_size=settings.batch_size, budget=budget)
    means = None
    if settings.ablation == "mean":
        means = passes.mean_activations(adapter, batches, notify=console.warn)
    ahead = forecast.Ahead(steps=len(batches) * (len(entries) + n_later))
    steps = range(len(batches) * len(entries))
    bar = settings.console.progress(steps, what, ahead=ahead)
    how = numbers.Running(settings.metrics, settings.ablation, means, bar.update, console.warn)
    measured = numbers.measure(adapter, batches, entries=entries, how=how)
    bar.close()
    return measured
