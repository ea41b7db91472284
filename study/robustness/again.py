"""A circuit extracted again: from perturbed inputs, by other corruptions, metrics and methods."""

from typing import NamedTuple

import torch

from eap import InputError, attribute, dataset, memory, methods, metrics
from eap.circuit import Circuit
from eap.models.contract import Adapter
from runs import opening, weights
from study.robustness import numbers
from study.robustness.results import Loaded
from study.robustness.settings import Settings
from summarization import corruption, prompt


class Job(NamedTuple):
    """One extraction: the pairs, and the options of `attribute`."""

    pairs: list
    options: dict


class Plan(NamedTuple):
    """The variants to extract, by name, and in words what is left out."""

    jobs: dict[str, Job]
    left_out: list[str]


class Full(NamedTuple):
    """The levels and variants of a full evaluation, which a shorter one is held against."""

    levels: list[float]
    variants: list[str]


def extract_again(settings: Settings, loaded: Loaded, *, pairs_sha256: str, full: Full) -> dict:
    """{"perturbation", "agreement", "left_out"} of a circuit, in its own model.

    `pairs_sha256` is of the file of pairs.
    """
    circuit, path = loaded.circuit, settings.circuits[0]
    opening.require_own_weights(circuit, path, name=settings.model, console=settings.console)
    adapter, tokenizer = opening.open_adapted(
        settings.device, settings.model, circuits={path: circuit}
    )
    every_pair = opening.read_pairs(
        settings.pairs, adapter, tokenizer=tokenizer, console=settings.console
    )
    pairs = every_pair[: settings.max_examples]
    own = options_of(circuit)
    if own["ablation"] != "patching":
        raise InputError(
            f"{path}: expected a circuit extracted with patching, got {own['ablation']} "
            "ablation, which does not look at corrupted inputs; leave out --model_path"
        )
    jobs = {
        f"level {level}": Job(perturbed(settings, pairs, level=level), own)
        for level in settings.levels
    }
    plan = variants(settings, own, pairs=pairs, tokenizer=tokenizer)
    jobs |= {f"variant {name}": job for name, job in plan.jobs.items()}
    whole = stored(settings, loaded, pairs=pairs, pairs_sha256=pairs_sha256)
    if whole is None:
        jobs["whole"] = Job(pairs, own)
    scores = extract_all(settings, adapter, jobs=jobs)
    if whole is None:
        whole = scores["whole"]
    levels = {level: scores[f"level {level}"] for level in settings.levels}
    named = {f"as extracted: {own['method']}, {own['metric']}": whole}
    named |= {name: scores[f"variant {name}"] for name in plan.jobs}
    notes = left_out(settings, own, full=full, n_used=len(pairs), n_pairs=len(every_pair))
    sampling = {"resamples": settings.resamples, "seed": settings.seed}
    return {
        "perturbation": numbers.curve(circuit, levels, whole=whole, **sampling),
        "agreement": numbers.agreement(circuit, named, **sampling),
        "left_out": plan.left_out + notes,
    }


def options_of(circuit: Circuit) -> dict:
    """How the circuit was extracted, as options of `attribute`; our defaults where it is unsaid."""
    about = circuit.about
    return {
        "method": about.method or "EAP-IG-inputs",
        "metric": about.metric or "kl",
        "steps": about.steps or 5,
        "rule": about.quadrature or "gauss-legendre",
        "ablation": about.ablation or "patching",
    }


def stored(settings: Settings, loaded: Loaded, *, pairs, pairs_sha256: str):
    """The circuit's own scores of the given pairs, one row each.

    None unless its file shows that they are of this model and these pairs.
    """
    about = loaded.circuit.about
    extracted_from = about.examples.tokens or ()
    asked = tuple(dataset.tokens_sha256(pair) for pair in pairs)
    same_pairs = about.pairs_sha256 == pairs_sha256
    same_model = weights.are(about.weights_sha256, settings.model, config=about.config_sha256)
    same_examples = extracted_from[: len(asked)] == asked
    same_numbers = about.dtype == settings.device.dtype and same_examples
    if same_pairs and same_model and same_numbers and loaded.per_example is not None:
        return loaded.per_example[: len(asked)]
    return None


def perturbed(settings: Settings, pairs, *, level: float) -> list:
    """The pairs with only a random share of the salient tokens corrupted."""
    generator = torch.Generator().manual_seed(settings.seed)
    return [dataset.partly_corrupted(pair, level, generator=generator) for pair in pairs]


# ---------------------------------------------------------------- extractions


def extract_all(
    settings: Settings, adapter: Adapter, *, jobs: dict[str, Job]
) -> dict[str, torch.Tensor]:
    """{name: (examples, edges) scores} of {name: Job}, under one progress bar."""
    sizes = {name: batch_size(settings, adapter, job=job) for name, job in jobs.items()}
    ticks = sum(n_ticks(adapter, job, batch_size=sizes[name]) for name, job in jobs.items())
    bar = settings.console.progress(None, "extracting again", total=ticks)
    scores = {}
    for name, job in jobs.items():
        scores[name] = attribute.attribute(
            adapter.model,
            job.pairs,
            batch_size=sizes[name],
            kv=adapter.graph.kv,
            autocast=settings.device.autocast_dtype,
            tick=bar.update,
            **job.options,
        ).edges.float()
    bar.close()
    return scores


def batch_size(settings: Settings, adapter: Adapter, *, job: Job) -> int:
    """Pairs at a time: `--batch_size`, or what the memory allows."""
    return settings.batch_size or memory.plan_attribution(
        adapter, job.pairs, points=job.options["steps"], budget=settings.device.memory_budget
    )


def n_ticks(adapter: Adapter, job: Job, *, batch_size: int) -> int:
    """Steps of a progress bar that an extraction takes."""
    how = job.options
    a_batch = methods.ticks_per_batch(
        adapter.graph, how["method"], steps=how["steps"], rule=how["rule"]
    )
    return -(-len(job.pairs) // batch_size) * a_batch


# ---------------------------------------------------------------- variants


def variants(settings: Settings, own: dict, *, pairs, tokenizer) -> Plan:
    """Other corruptions, metrics and methods than the circuit's own, one change at a time."""
    plan = Plan({}, [])
    for name in settings.variants:
        kind, _, seed = name.partition(":")
        if kind in metrics.METRICS:
            if kind != own["metric"]:
                plan.jobs[f"metric {kind}"] = Job(pairs, own | {"metric": kind})
        elif kind in methods.METHODS:
            if kind != own["method"]:
                _add_method(plan, kind, own=own, pairs=pairs)
        elif kind in corruption.CORRUPTIONS:
            _add_corruption(settings, plan, name=name, own=Job(pairs, own), tokenizer=tokenizer)
        else:
            _add_control(settings, plan, own=Job(pairs, own))
    return plan


def _add_method(plan: Plan, method: str, *, own: dict, pairs) -> None:
    """Add another method; with nll where it finds no gradient in the circuit's own metric."""
    if methods.METHODS[method].flat and own["metric"] in ("kl", "js"):
        changed = own | {"method": method, "metric": "nll"}
        plan.jobs[f"method {method}, nll"] = Job(pairs, changed)
    else:
        plan.jobs[f"method {method}"] = Job(pairs, own | {"method": method})


def _add_corruption(settings: Settings, plan: Plan, *, name: str, own: Job, tokenizer) -> None:
    """Add another corruption, `mask` or `swap:SEED`, unless it is the pairs' own."""
    kind, _, seed = name.partition(":")
    mask_ids = None
    if tokenizer is not None:
        mask_ids = prompt.encode(tokenizer, settings.mask_text)
    again = corruption.again(own.pairs, kind, mask_ids=mask_ids, seed=int(seed or 0))
    before = [pair.corrupted_ids for pair in own.pairs]
    if again is None:
        plan.left_out.append(
            f"{name}: needs {settings.pairs} with masked and sentences, and a tokenizer for mask"
        )
    elif [pair.corrupted_ids for pair in again] != before:
        plan.jobs[f"{kind}, seed {seed}" if seed else kind] = Job(again, own.options)


def _add_control(settings: Settings, plan: Plan, *, own: Job) -> None:
    """Add the pairs with other sentences corrupted, where every one has them."""
    if all(pair.control_ids not in (None, pair.clean_ids) for pair in own.pairs):
        controls = [pair.control() for pair in own.pairs]
        plan.jobs["other sentences corrupted"] = Job(controls, own.options)
    else:
        plan.left_out.append(
            "control: needs control_ids that differ from the clean input in every row of "
            f"{settings.pairs}"
        )


def left_out(settings: Settings, own: dict, *, full: Full, n_used: int, n_pairs: int) -> list[str]:
    """What a full evaluation would add, in words."""
    notes = []
    covered = *settings.variants, own["method"], own["metric"]
    missing = [name for name in full.variants if name not in covered]
    if missing:
        notes.append(f"variants {', '.join(missing)}")
    levels = [f"{level:.0%}" for level in full.levels if level not in settings.levels]
    if levels:
        notes.append(f"{', '.join(levels)} of salient tokens corrupted")
    if n_used < n_pairs:
        notes.append(
            f"{n_pairs - n_used} of {n_pairs} pairs, by --max_examples {settings.max_examples}"
        )
    return notes
