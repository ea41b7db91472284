"""Which arms can be run, and in which layers and at which ranks each is trained."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from eap import InputError
from runs import disk, opening, scripts
from study import layers
from study.bakeoff import lora
from study.bakeoff.lora import Arm, Sizing

RANDOM_STREAM = 9_311  # the draws of random layers have a stream of their own
LAYERS = {  # the file of layers that a strategy asks for
    "observed": "layers.differential.json",
    "circuit": "layers.evolution.json",
    "change": "layers.evolution.json",
}
MADE_BY = {strategy: f"{scripts.maker_of(file)}.py" for strategy, file in LAYERS.items()}


@dataclass(frozen=True)
class Placement:
    """Where arms are trained, at which budget: flags of run_peft_bakeoff.py, by their names."""

    arms: list[str] | None  # those asked for by name
    layers_observed: str  # a file of layers
    layers_circuit: str  # a file of layers, or a circuit
    measure_observed: str
    measure_circuit: str
    measure_change: str
    top_k: int
    budget: str  # a number of parameters, all or none
    rank: int
    alpha_over_r: float
    seed: int  # the first of the seeds
    seeds: int

    @classmethod
    def of(cls, flags: dict) -> "Placement":
        """The placement that a script's flags ask for."""
        return cls(**{field.name: flags[field.name] for field in fields(cls)})

    @property
    def layers_files(self) -> dict[str, str]:
        """{"observed", "circuit": the file}, of those files that are there."""
        files = {"observed": self.layers_observed, "circuit": self.layers_circuit}
        return {name: path for name, path in files.items() if Path(path).is_file()}

    def seeds_of(self, arm: Arm) -> range:
        """The seeds of an arm: one where nothing is trained."""
        return range(self.seed, self.seed + (1 if arm.method == "none" else self.seeds))


class LayersFile(NamedTuple):
    """The file that an arm's layers are read from, its flag, and the script that writes it."""

    path: Path
    flag: str
    script: str


def file_of(placement: Placement, arm: Arm) -> LayersFile | None:
    """The file that an arm's layers are read from; None for an arm that needs none."""
    for strategy in (arm.layers, arm.critical):
        if not isinstance(strategy, str) or strategy not in MADE_BY:
            continue
        if strategy == "observed":
            path, flag = Path(placement.layers_observed), "--layers_observed"
        else:
            path, flag = Path(placement.layers_circuit), "--layers_circuit"
        return LayersFile(path, flag, MADE_BY[strategy])
    return None


class Asked(NamedTuple):
    """The arms to run, and why others that were asked for are left out."""

    arms: list[Arm]
    left_out: dict[str, str]


def with_files(placement: Placement, arms) -> Asked:
    """Those of the arms to run whose files are there.

    Raises InputError for an arm asked for by name whose layers file is absent.
    """
    chosen, left_out = [], {}
    for arm in arms:
        asked = arm.by_default if placement.arms is None else arm.name in placement.arms
        if not asked:
            continue
        file = file_of(placement, arm)
        if file is None or file.path.is_file():
            chosen.append(arm)
        elif placement.arms:
            raise InputError(
                f"--arms {arm.name}: expected {file.flag} {file.path}, found no such file; "
                f"{file.script} writes it"
            )
        else:
            left_out[arm.name] = (
                f"there is no {file.path.name} ({file.flag}), which {file.script} writes"
            )
    return Asked(chosen, left_out)


def layers_of(placement: Placement, strategy, *, n_layers: int, seed: int) -> list[int]:
    """The layers of a strategy, ascending.

    Raises InputError for layers that the model does not have.
    """
    import numpy as np

    if strategy in ("random", *MADE_BY) and placement.top_k > n_layers:
        raise InputError(
            f"--top_k {placement.top_k}: expected 1 to {n_layers}, as many as the model has layers"
        )
    if not isinstance(strategy, str):
        chosen = sorted(strategy)
    elif strategy == "all":
        chosen = list(range(n_layers))
    elif strategy == "random":
        chosen = layers.random_layers(
            n_layers, placement.top_k, rng=np.random.default_rng([RANDOM_STREAM, seed])
        )
    elif strategy == "observed":
        chosen = layers.top_layers(
            placement.layers_observed,
            placement.measure_observed or None,
            k=placement.top_k,
            n_layers=n_layers,
        )
    elif "edges" in disk.read_json(placement.layers_circuit, "layers file or a circuit"):
        chosen = layers_of_circuit(placement, strategy, n_layers=n_layers)
    else:
        measure = placement.measure_change if strategy == "change" else placement.measure_circuit
        chosen = layers.top_layers(
            placement.layers_circuit, measure, k=placement.top_k, n_layers=n_layers
        )
    if chosen and chosen[-1] >= n_layers:
        raise InputError(f"layer {chosen[-1]} is not in a model of {n_layers} layers")
    return chosen


def layers_of_circuit(placement: Placement, strategy: str, *, n_layers: int) -> list[int]:
    """The layers with the most attribution among the edges of the circuit `--layers_circuit`.

    Raises InputError if asked for change, and for a circuit of another model's layers.
    """
    from study.evolution import numbers as evolution

    if strategy == "change":
        raise InputError(
            f"{placement.layers_circuit} is one circuit; change needs layers.evolution.json, which "
            f"{MADE_BY['change']} writes"
        )
    circuit = opening.load_circuits([placement.layers_circuit])[0]
    if circuit.graph.n_layers != n_layers:
        raise InputError(
            f"--layers_circuit {placement.layers_circuit}: expected a circuit of {n_layers} "
            f"layers, as --model_path has, got one of {circuit.graph.n_layers}; give one of this "
            "model"
        )
    mass = evolution.layer_mass(
        circuit.graph, circuit.require_scores(placement.layers_circuit).abs() * circuit.in_graph
    )
    return sorted(layers.order(mass.tolist())[: placement.top_k])


def plan_of(placement: Placement, arm: Arm, *, shapes, budget: int | None, seed: int):
    """The lora.Plan of an arm and a seed; None for an arm without adapters."""
    if arm.method in ("none", "full"):
        return None
    n_layers = 1 + max(map(lora.layer_of, shapes))
    return lora.make_plan(
        shapes,
        arm,
        layers=layers_of(placement, arm.layers, n_layers=n_layers, seed=seed),
        critical=layers_of(placement, arm.critical, n_layers=n_layers, seed=seed),
        sizing=Sizing(placement.rank, placement.alpha_over_r, budget),
    )


def budget_of(placement: Placement, shapes) -> int | None:
    """The trainable parameters that every LoRA arm is to have; None for each arm its own rank."""
    if placement.budget == "none":
        return None
    if placement.budget != "all":
        return int(placement.budget)
    everywhere = {lora.layer_of(name) for name in shapes}
    sizing = Sizing(placement.rank, placement.alpha_over_r)
    return lora.count(lora.make_plan(shapes, Arm("all"), layers=everywhere, sizing=sizing), shapes)
