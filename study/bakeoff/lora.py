"""LoRA where one chooses: arms, ranks that meet a budget, the wrapped model checked."""

import math
import re
import warnings
from collections import Counter
from dataclasses import dataclass

from eap import InputError

TOLERANCE = 0.005  # how far from its budget an arm may be, as a share (guard 8)
METHODS = ("lora", "rslora", "dora", "adalora", "full", "none")


@dataclass(frozen=True)
class Arm:
    """One way to fine-tune: which modules of which layers get adapters, which layers a larger rank,
    what choosing them cost beforehand.

    `layers` and `critical` are layer numbers or a strategy: all, random, observed, circuit, change
    (`--layers_observed`, `--layers_circuit`). Layers in `critical` get `boost` times the rank of
    the others.
    """

    name: str
    layers: str | tuple[int, ...] = "all"
    method: str = "lora"
    critical: str | tuple[int, ...] = ()
    boost: float = 2.0
    modules: tuple[str, ...] = ()  # kinds, as `attn.c_attn` or `self_attn.q_proj`; empty: all
    rank: int | None = None  # with --budget none; None: --rank
    alpha_over_r: float | None = None  # None: --alpha_over_r
    # The middle of its sweep; None: --learning_rate, or --full_learning_rate for full.
    learning_rate: float | None = None
    cost: str = "nothing"
    by_default: bool = True

    def __post_init__(self):
        assert self.method in METHODS, self.method

    @property
    def placement(self) -> str:
        """How its layers are chosen: none, full, all, random, fixed, or measured (a circuit, or
        what a comparison of models observed).
        """
        if self.method in ("none", "full"):
            return self.method
        if isinstance(self.critical, str):
            return "measured"
        if isinstance(self.layers, tuple):
            return "fixed"
        return self.layers if self.layers in ("all", "random") else "measured"


@dataclass(frozen=True)
class Plan:
    """What is to be trained: a method and, for adapters, rank and alpha of each wrapped module by
    its name in the model.
    """

    method: str
    ranks: dict[str, int]
    alphas: dict[str, float]

    @property
    def layers(self) -> list[int]:
        """The layers that get adapters."""
        return sorted({layer_of(name) for name in self.ranks})

    def scaling(self, module: str) -> float:
        """The factor of a module's update: alpha / r, and alpha / sqrt(r) for rsLoRA."""
        rank = self.ranks[module]
        return self.alphas[module] / (math.sqrt(rank) if self.method == "rslora" else rank)


def module_shapes(model) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of every module that can be wrapped, by name, layer by layer: all that
    multiply with a matrix in a block.
    """
    from eap.models import adapt

    adapter = adapt(model, check=False)
    names = {module: name for name, module in model.named_modules()}
    shapes = {}
    for block in adapter.blocks:
        for module in block.linear:
            rows, columns = module.get_parameter("weight").shape
            shape = (rows, columns) if adapter.inputs_first else (columns, rows)
            shapes[names[module]] = shape
    return shapes


def layer_of(module: str) -> int:
    """The layer of a module named as in `module_shapes`: the first number in its name."""
    return int(_parts(module)[1])


def kind_of(module: str) -> str:
    """Which module of its block one named as in `module_shapes` is.

    In full: GPT-2's `c_proj` alone names two modules (guard 21).
    """
    return _parts(module)[2]


def _parts(module: str) -> tuple[str, str, str]:
    """(the name of the list of blocks, the layer, the kind) of a module's name.

    Raises ValueError for a name without a layer.
    """
    match = re.fullmatch(r"(?:.*?\.)?([^.]+)\.(\d+)\.(.+)", module)
    if match is None:
        raise ValueError(f"expected a module of a block, as `h.0.mlp`, got {module}")
    return match[1], match[2], match[3]


def kinds_of(shapes) -> list[str]:
    """The kinds of module that a model has, in the order in which they run in a block."""
    return list(dict.fromkeys(map(kind_of, shapes)))


def parameters(shape: tuple[int, int], rank: int, *, method: str = "lora") -> int:
    """Trainable parameters of one wrapped module: r (in + out), with DoRA's `out` magnitudes or
    AdaLoRA's r singular values.
    """
    return rank * sum(shape) + {"dora": shape[1], "adalora": rank}.get(method, 0)


def count(plan: Plan, shapes: dict[str, tuple[int, int]]) -> int:
    """Trainable parameters of a plan's adapters, by formula."""
    return sum(
        parameters(shapes[name], rank, method=plan.method) for name, rank in plan.ranks.items()
    )


@dataclass(frozen=True)
class Sizing:
    """How large adapters are: rank and alpha / r of an arm that names none of its own, and the
    trainable parameters that ranks are to meet; None: the ranks as they are.
    """

    rank: int
    alpha_over_r: float
    budget: int | None = None


def make_plan(shapes, arm: Arm, *, layers, critical=(), sizing: Sizing) -> Plan:
    """The plan of an arm in `layers`, with `arm.boost` times the rank in `critical`.

    alpha / r is the same in all of an arm; rsLoRA, whose scaling is alpha / sqrt(r), keeps one
    alpha, that of its own rank. Raises InputError for modules that the model does not have.
    """
    rank, alpha_over_r = arm.rank or sizing.rank, arm.alpha_over_r or sizing.alpha_over_r
    kinds = kinds_of(shapes)
    if foreign := set(arm.modules) - set(kinds):
        raise InputError(
            f"arm {arm.name}: expected modules out of {', '.join(kinds)}, got "
            f"{sorted(foreign)[0]}; name those of this model in its `modules`"
        )
    chosen = {
        name: shape
        for name, shape in shapes.items()
        if layer_of(name) in set(layers) and kind_of(name) in (arm.modules or kinds)
    }
    weights = {name: arm.boost if layer_of(name) in set(critical) else 1.0 for name in chosen}
    if sizing.budget is None:
        ranks = {name: round(weight * rank) for name, weight in weights.items()}
    elif arm.method == "adalora":  # takes one rank for all, and needs one to give away
        of_one_rank = sum(sum(shape) + 1 for shape in chosen.values())
        ranks = dict.fromkeys(chosen, max(2, sizing.budget // of_one_rank))
    else:
        ranks = ranks_for_budget(chosen, weights, budget=sizing.budget, arm=arm)
    if arm.method == "rslora":
        alphas = dict.fromkeys(ranks, alpha_over_r * rank)
    else:
        alphas = {name: alpha_over_r * own for name, own in ranks.items()}
    return Plan(arm.method, ranks, alphas)


def ranks_for_budget(shapes, weights, *, budget: int, arm: Arm) -> dict[str, int]:
    """Ranks in proportion to `weights` whose parameters add up to `budget` within TOLERANCE, never
    above it.

    Largest remainders: everything rounded down, then one rank more for the modules furthest below
    their due while the budget lasts; of modules equally far below first one kind in all layers,
    these in the order of `spread`. Raises InputError if the budget is too small for that.
    """
    fixed = sum(parameters(shape, 0, method=arm.method) for shape in shapes.values())
    of_one_rank = {name: sum(shape) for name, shape in shapes.items()}
    weighed = sum(weight * of_one_rank[name] for name, weight in weights.items())
    due = (budget - fixed) / weighed  # ranks for a weight of 1
    ranks = {name: max(1, math.floor(due * weight + 1e-9)) for name, weight in weights.items()}
    left = budget - fixed - sum(rank * of_one_rank[name] for name, rank in ranks.items())
    place, kinds = spread([layer_of(name) for name in shapes]), kinds_of(shapes)
    evenly = sorted(ranks, key=lambda name: (kinds.index(kind_of(name)), place[layer_of(name)]))
    while left >= min(of_one_rank.values()):
        for name in sorted(evenly, key=lambda name: ranks[name] - due * weights[name]):
            if of_one_rank[name] <= left:
                ranks[name] += 1
                left -= of_one_rank[name]
    # DoRA's real count stands in the table.
    too_far = left > TOLERANCE * budget and arm.method != "dora"
    if left < 0 or too_far:
        raise InputError(
            f"--budget {budget}: arm {arm.name} cannot meet it within {TOLERANCE:.1%}, "
            f"{budget - left} is the nearest; ask for more, or for none"
        )
    return ranks


def spread(layers) -> dict[int, int]:
    """{layer: its place in an order of which every beginning is about evenly spaced}, the middle
    layer first.

    The order is van der Corput's (1935): positions by their binary digits read backwards.
    """
    layers = sorted(set(layers))
    bits = len(layers).bit_length()

    def backwards(position: int) -> int:
        return int(f"{position:0{bits}b}"[::-1], 2)

    places = {}
    for place, position in enumerate(sorted(range(len(layers)), key=backwards)):
        layer = layers[(position + len(layers) // 2) % len(layers)]
        places[layer] = place
    return places


def wrap(model, plan: Plan, *, total_steps: int):
    """The peft model of a plan, checked against it. The caller seeds torch first: adapters start at
    random.
    """
    from peft import AdaLoraConfig, LoraConfig, get_peft_model

    from eap.models import adapt

    rank = Counter(plan.ranks.values()).most_common(1)[0][0]
    alpha = Counter(plan.alphas.values()).most_common(1)[0][0]
    options = {
        "task_type": "CAUSAL_LM",
        "fan_in_fan_out": adapt(model, check=False).inputs_first,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": kinds_of(plan.ranks),
        "layers_to_transform": plan.layers,
        "layers_pattern": _parts(next(iter(plan.ranks)))[0],
    }
    if plan.method == "adalora":
        config = AdaLoraConfig(
            init_r=rank, target_r=max(1, rank * 2 // 3), **adalora_schedule(total_steps), **options
        )
    else:
        config = LoraConfig(
            r=rank,
            use_rslora=plan.method == "rslora",
            use_dora=plan.method == "dora",
            rank_pattern={name: r for name, r in plan.ranks.items() if r != rank},
            alpha_pattern={name: a for name, a in plan.alphas.items() if a != alpha},
            **options,
        )
    shapes = module_shapes(model)
    with warnings.catch_warnings():  # peft still asks by a name that transformers has renamed
        warnings.filterwarnings(
            "ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning
        )
        wrapped = get_peft_model(model, config)
    require_as_planned(wrapped, plan, shapes=shapes)
    return wrapped


def adalora_schedule(total_steps: int, flags: str = "--max_steps") -> dict[str, int]:
    """AdaLoraConfig's steps: all ranks in the first tenth, what is left after the last fifth but
    one step, a choice every twentieth.

    Raises InputError, which names `flags` as what to raise, when no step is between.
    """
    first, last = total_steps // 10, total_steps // 5 + 1
    if first >= total_steps - last:
        raise InputError(
            "AdaLoRA gives ranks away between its first and its last steps: expected 2 steps or "
            f"more, got {total_steps}; raise {flags}"
        )
    return {
        "total_step": total_steps,
        "tinit": first,
        "tfinal": last,
        "deltaT": max(1, total_steps // 20),
    }


def read_back(wrapped) -> dict[str, tuple[int, float]]:
    """(rank, scaling) of every module that has an adapter, by its name in the unwrapped model."""
    from peft.tuners.lora import LoraLayer

    prefix = "base_model.model."
    return {
        name.removeprefix(prefix): (layer.r["default"], float(layer.scaling["default"]))
        for name, layer in wrapped.named_modules()
        if isinstance(layer, LoraLayer)
    }


def trainable_parameters(model) -> int:
    """How many parameters of a model receive gradients."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def require_as_planned(wrapped, plan: Plan, *, shapes) -> None:
    """Compare wrapped modules, ranks, scalings and the number of trainable parameters with the plan
    (guard 8). Raises RuntimeError.
    """
    wrapped_as = read_back(wrapped)
    if set(wrapped_as) != set(plan.ranks):
        raise RuntimeError(
            f"planned and wrapped modules differ: {sorted(set(wrapped_as) ^ set(plan.ranks))[:4]}"
        )
    for name, (rank, scaling) in wrapped_as.items():
        if rank != plan.ranks[name]:
            raise RuntimeError(f"{name}: planned rank {plan.ranks[name]}, found {rank}")
        # AdaLoRA divides by the rank that is left, in its forward pass: its scaling is alpha
        planned = plan.alphas[name] if plan.method == "adalora" else plan.scaling(name)
        if not math.isclose(scaling, planned, rel_tol=1e-6):
            raise RuntimeError(f"{name}: planned scaling {planned}, found {scaling}")
    if trainable_parameters(wrapped) != count(plan, shapes):
        raise RuntimeError(
            f"planned {count(plan, shapes)} trainable parameters, "
            f"found {trainable_parameters(wrapped)}"
        )


def save_adapter(wrapped, folder, *, base: str) -> None:
    """Write an adapter that plain peft and `opening.load_model` load; `base` is the name under
    which its base model is found.
    """
    from pathlib import Path

    from runs.disk import read_json, write_json

    wrapped.peft_config["default"].base_model_name_or_path = base
    with warnings.catch_warnings():
        # AdaLoRA may leave a module no rank at all, which peft takes for a lost shard.
        warnings.filterwarnings("ignore", ".*LoRA tensor.s. have invalid shape")
        wrapped.save_pretrained(folder, save_embedding_layers=False)
    (Path(folder) / "README.md").unlink(missing_ok=True)  # peft's empty model card
    config = read_json(Path(folder) / "adapter_config.json")
    # peft keeps a set, in another order each run
    config["target_modules"] = sorted(config["target_modules"])
    write_json(Path(folder) / "adapter_config.json", config)
