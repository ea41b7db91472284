"""The circuits of all checkpoints run in the checkpoints' models, one model after the other."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from eap import dataset, methods, passes
from eap.models.contract import Adapter
from runs import opening
from runs.forecast import Bar
from runs.settings import FromFlags
from study.evolution import faithfulness
from study.evolution.results import Checkpoint
from study.faithfulness import numbers
from study.faithfulness.numbers import Running


@dataclass(frozen=True)
class Settings(FromFlags):
    """On what circuits are run, and how: flags of analyze_circuit_evolution.py, by their names."""

    pairs: str
    max_examples: int | None  # pairs; None: every one that extraction did not see
    batch_size: int | None  # None: planned
    metrics: list[str]
    n_random: int  # random circuits at the first and at the last checkpoint
    seed: int


def measure(settings: Settings, checkpoints: list[Checkpoint], *, folders: list[Path]) -> dict:
    """f of every checkpoint's own circuit and of the last circuit in every checkpoint.

    That is what evolution.json holds of them. One model is in memory at a time.
    """
    settings.device.say_circuit_dtype(settings.console)
    ablation = checkpoints[-1].circuit.about.ablation or "patching"
    for name in settings.metrics:
        methods.Settings("exact", name, ablation=ablation).check()
    wanted = circuits_wanted(settings, checkpoints)
    rows = {name: [] for name in settings.metrics}
    work = None
    for checkpoint, folder, circuits in zip(checkpoints, folders, wanted, strict=True):
        adapter, tokenizer = open_checkpoint(
            settings, checkpoint, last=checkpoints[-1], folder=folder
        )
        if work is None:
            pairs = unseen_pairs(settings, checkpoints, adapter=adapter, tokenizer=tokenizer)
            work = work_of(settings, adapter, pairs=pairs, n_circuits=sum(map(len, wanted)))
        means = passes.mean_activations(adapter, work.batches) if ablation == "mean" else None
        how = Running(settings.metrics, ablation, means, work.bar.update)
        values = faithfulness.run_circuits(adapter, work.batches, circuits=circuits, how=how)
        for name in settings.metrics:
            row = {"name": checkpoint.name, "step": checkpoint.step}
            rows[name].append(row | faithfulness.summarise(values[name], settings.seed))
        del adapter  # before the next is opened
    if work is None:
        raise ValueError("expected checkpoints, there are none")
    work.bar.close()
    return {"examples": work.n_pairs, "ablation": ablation, "metrics": rows}


class Work(NamedTuple):
    """The pairs in batches, the same for every checkpoint, and the progress bar of all runs."""

    n_pairs: int
    batches: list[dataset.Batch]
    bar: Bar


def work_of(settings: Settings, adapter: Adapter, *, pairs: list, n_circuits: int) -> Work:
    """The `Work` of running as many circuits on these pairs."""
    budget = settings.device.memory_budget
    batches = numbers.plan(pairs, adapter, batch_size=settings.batch_size, budget=budget)
    bar = settings.console.progress(None, "running circuits", total=len(batches) * n_circuits)
    return Work(len(pairs), batches, bar)


def open_checkpoint(settings: Settings, checkpoint: Checkpoint, *, last: Checkpoint, folder: Path):
    """(adapter, tokenizer) of a checkpoint's model, in which its circuit and the last one run."""
    run_here = {checkpoint.name: checkpoint.circuit, last.name: last.circuit}
    return opening.open_adapted(settings.device, str(folder), circuits=run_here, flag="--training")


def circuits_wanted(settings: Settings, checkpoints: list[Checkpoint]) -> list[dict]:
    """{name: booleans per edge} of what runs at each checkpoint.

    Random circuits carry next to nothing anywhere: the first and the last checkpoint show it.
    """
    final = checkpoints[-1].circuit
    drawn = faithfulness.random_circuits(final, settings.n_random, seed=settings.seed)
    ends = (0, len(checkpoints) - 1)
    return [
        faithfulness.circuits_at(checkpoint.circuit, final, drawn=drawn if number in ends else [])
        for number, checkpoint in enumerate(checkpoints)
    ]


def unseen_pairs(
    settings: Settings, checkpoints: list[Checkpoint], *, adapter: Adapter, tokenizer
) -> list:
    """The pairs that no circuit was found on, at most `max_examples`.

    Raises InputError if there is none.
    """
    pairs = opening.read_pairs(
        settings.pairs, adapter, tokenizer=tokenizer, console=settings.console
    )
    found_on = [checkpoint.circuit.about.examples for checkpoint in checkpoints]
    unseen = opening.unseen_pairs(pairs, settings.pairs, found_on=found_on)
    chosen = unseen[: settings.max_examples]
    settings.console.detail(
        f"faithfulness on {len(chosen)} of {len(unseen)} unseen pairs; "
        f"{len(pairs) - len(unseen)} that extraction saw left out"
    )
    return chosen


def require_own_models(
    settings: Settings, checkpoints: list[Checkpoint], *, folders: list[Path]
) -> None:
    """Raise InputError if a circuit was found in other weights than its checkpoint's."""
    for checkpoint, folder in zip(checkpoints, folders, strict=True):
        opening.require_own_weights(
            checkpoint.circuit,
            checkpoint.name,
            name=str(folder),
            flag="--training",
            console=settings.console,
        )
