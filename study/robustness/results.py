"""robustness.json: circuits with what resampling does to them, and how far every two overlap."""

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch

from eap.circuit import Circuit
from runs import opening
from study.robustness import numbers
from study.robustness.settings import Settings
from study.stability import bootstrap

NOT_AGAIN = {  # what stands there without a model
    "perturbation": [],
    "agreement": None,
    "left_out": ["perturbed inputs, corruptions, metrics and methods, for want of --model_path"],
}


class Loaded(NamedTuple):
    """A circuit of a file, and its scores per example, if they lie beside it."""

    name: str
    circuit: Circuit
    per_example: torch.Tensor | None


def load(settings: Settings) -> list[Loaded]:
    """The circuits of the files. Raises InputError for different graphs or tokenizers."""
    circuits = opening.load_circuits(settings.circuits)
    return [
        Loaded(Path(path).stem, circuit, opening.example_scores(path, circuit))
        for path, circuit in zip(settings.circuits, circuits, strict=True)
    ]


def describe(settings: Settings, loaded: Loaded) -> dict:
    """Size, and what resampling the examples does to the circuit."""
    circuit = loaded.circuit
    made = {
        "name": loaded.name,
        "size": int(circuit.in_graph.sum()),
        "edges": circuit.graph.n_edges,
        "noise_floor": None,
        "stable": None,
        "bootstrap": None,
    }
    about = bootstrap.of_circuit(circuit, loaded.per_example, seed=settings.seed)
    if about:
        made["noise_floor"], made["stable"] = about["noise_floor"], about["stable"]
        made["bootstrap"] = {
            key: value for key, value in about.items() if not isinstance(value, list)
        }
    return made


def compare(settings: Settings, circuits: list[Loaded]) -> list[dict]:
    """Every two circuits; with an interval and a test where their first examples are the same."""
    rows = []
    for first, second in combinations(circuits, 2):
        n = first.circuit.about.examples.shared_start(second.circuit.about.examples)
        both = None
        if first.per_example is not None and second.per_example is not None and n > 1:
            both = (first.per_example, second.per_example)
        measured = numbers.pair(
            first.circuit,
            second.circuit,
            per_example=both,
            shared=n,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        rows.append({"a": first.name, "b": second.name, **measured})
    return rows
