"""The scores of every edge on all pairs, and what a circuit's metadata says of them."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

from eap import attribute, dataset, memory, methods, passes
from eap.hooks import Activations
from eap.models.contract import Adapter
from eap.scores import ScoreWriter, completeness_gap, input_sums
from runs import console, forecast, shards
from study.extraction.settings import Settings
from summarization.corruption import GROUPS

SMALL_GAP = 0.01  # of completeness, that --ig_steps auto aims at
LARGE_GAP = 0.05  # of completeness, from which on there is a warning
NO_GAP = "not applicable"  # of methods that do not integrate over inputs
GAP_WARNING = (
    "warning: completeness gap {:.1%} (limit 5 %): the points miss part of the path; use --method "
    "{}, which has no gap, or --ig_steps {}"
)
ROUNDING_WARNING = (
    "warning: completeness gap {:.1%} (limit 5 %): the sums of {} are exact, so that this is "
    "rounding; use --dtype float32 or float64"
)
FLAT_WARNING = (
    "warning: {} at the clean input has no gradient under {}: every score is rounding noise; use "
    "--metric nll or --method {}"
)


class Work(NamedTuple):
    """How pairs are attributed.

    `means` are for mean ablation, where they are not those of the pairs themselves; `parts` as
    large as this one are to come, this one included.
    """

    steps: int  # points on the path
    batch_size: int
    means: Activations | None = None
    parts: int = 1


class Ends(NamedTuple):
    """What completeness compares, an entry for each of the examples `rows`."""

    rows: list[int]
    sums: torch.Tensor  # of the scores out of `input`
    clean: torch.Tensor  # the metric of the clean run
    corrupted: torch.Tensor


class Sums(NamedTuple):
    """What is known of all examples besides their scores: their `Ends`, mean scores by span."""

    ends: list[Ends]
    by_span: object


def score(settings: Settings, adapter: Adapter, *, pairs, path, n_circuits: int = 1) -> tuple:
    """(what the circuit's metadata says of the scores, their mean by span or None).

    Scores per example go to the file `path`; None: nowhere. This circuit is the first of
    `n_circuits` to come.
    """
    for steps in settings.steps_to_try:
        summary, by_span = _score_once(
            settings, adapter, pairs=pairs, path=path, steps=steps, n_circuits=n_circuits
        )
        gap = gap_in(summary)
        if gap is None or gap < SMALL_GAP:
            break
    return {**summary, "warnings": warnings_of(settings, summary, steps=steps)}, by_span


def _score_once(settings, adapter: Adapter, *, pairs, path, steps: int, n_circuits: int) -> tuple:
    """`score` with a given number of points."""
    batch_size = plan(settings, adapter, pairs=pairs, steps=steps)
    writer = None
    if path:
        writer = ScoreWriter(path, n_examples=len(pairs), n_edges=adapter.graph.n_edges)
    ends, by_span = [], 0
    for scores in attributed(
        settings, adapter, pairs=pairs, work=Work(steps, batch_size, parts=n_circuits)
    ):
        if writer:
            writer.write(scores)
        if settings.spans:
            by_span += scores.by_group.double().sum(0) / len(pairs)
        sums = input_sums(adapter.graph, scores.edges)
        ends.append(Ends(scores.rows, sums, scores.clean, scores.corrupted))
    return summarise(settings, pairs, steps=steps, sums=Sums(ends, by_span))


def plan(settings: Settings, adapter: Adapter, *, pairs, steps: int) -> int:
    """How many pairs each process attributes at a time, the same in all; says so."""
    free, points = settings.device.memory_budget, settings.points(adapter.graph, steps)
    batch_size = shards.from_first(
        settings.batch_size or memory.plan_attribution(adapter, pairs, points=points, budget=free)
    )
    shown = f" in each of {shards.count()} processes" if shards.count() > 1 else ""
    settings.console.detail(
        f"plan: {len(pairs)} pairs, {points} points each, {batch_size} at a time{shown}, "
        f"{free / 1e9:.3g} GB to use"
    )
    return batch_size


def attributed(settings: Settings, adapter: Adapter, *, pairs, work: Work):
    """Yield the `Scores` of every batch of the pairs.

    The batches are shared out among the processes of a torchrun; each gets the scores of all.
    """
    means = means_of(settings, adapter, pairs=pairs) if work.means is None else work.means
    own_batches = shards.share(dataset.batches(pairs, work.batch_size))
    ticks = len(own_batches) * methods.ticks_per_batch(
        adapter.graph, settings.method, steps=work.steps, rule=settings.ig_rule
    )
    ahead = forecast.Ahead(
        steps=work.parts * ticks,
        written_bytes=work.parts * len(pairs) * adapter.graph.n_edges * 4,
        folder=str(Path(settings.output).parent),
    )
    bar = settings.console.progress(None, "attributing", total=ticks, ahead=ahead)
    own_scores = attribute.attribute_batches(
        adapter,
        own_batches,
        settings=methods.Settings(
            settings.method,
            settings.metric,
            steps=work.steps,
            rule=settings.ig_rule,
            ablation=settings.ablation,
            autocast=settings.device.autocast_dtype,
            groups=GROUPS if settings.spans else None,
        ),
        means=means,
        notify=console.warn,
        tick=bar.update,
    )
    yield from shards.gathered(own_scores)
    bar.close()


def means_of(settings: Settings, adapter: Adapter, *, pairs):
    """What nodes write on average, for mean ablation; None for the others."""
    if settings.ablation != "mean":
        return None
    batch_size = settings.batch_size or memory.plan_batch_size(
        adapter, pairs, points=1, budget=settings.device.memory_budget
    )
    return passes.mean_activations(adapter, dataset.batches(pairs, batch_size), notify=console.warn)


# ---------------------------------------------------------------- what the metadata says


def summarise(settings: Settings, pairs, *, steps: int, sums: Sums) -> tuple:
    """(what the circuit's metadata says of the scores, their mean by span or None)."""
    method = settings.attribution
    summary = {
        "steps": steps if method.stepped else None,
        "completeness": completeness_of(sums.ends) if method.complete else NO_GAP,
    }
    if not settings.spans:
        return summary, None
    return summary | {"spans": spans_summary(pairs, sums.by_span)}, sums.by_span


def completeness_of(ends: list[Ends]) -> dict:
    """The completeness gap of the scores of all examples, overall and per example."""
    order = torch.tensor([row for part in ends for row in part.rows]).argsort()
    sums = torch.cat([part.sums for part in ends])[order]
    clean = torch.cat([part.clean for part in ends])[order]
    corrupted = torch.cat([part.corrupted for part in ends])[order]
    gap, per_example = completeness_gap(sums, clean=clean, corrupted=corrupted)
    return {
        "gap": gap,
        "per_example": per_example.tolist(),
        "metric_clean": float(clean.mean()),
        "metric_corrupted": float(corrupted.mean()),
    }


def gap_in(summary: dict) -> float | None:
    """The completeness gap that a summary tells; None for a method without one."""
    return None if summary["completeness"] == NO_GAP else summary["completeness"]["gap"]


def spans_summary(pairs, by_span) -> dict:
    """Of each span its name, its mean number of tokens, and its share of the sum of |score|."""
    tokens = Counter(span for pair in pairs for span in GROUPS.of(pair))
    strength = by_span.abs().sum(1)
    return {
        "names": list(GROUPS.names),
        "tokens": [tokens[span] / len(pairs) for span in range(len(GROUPS.names))],
        "share": (strength / strength.sum()).tolist(),
    }


def warnings_of(settings: Settings, summary: dict, *, steps: int) -> list[str]:
    """What users are warned of, on stderr too: large gaps, and metrics without a gradient."""
    gap, warnings, method = gap_in(summary) or 0, [], settings.attribution
    secant = "NAP-secant" if method.nodes else "secant"
    if gap > LARGE_GAP and method.quadrature:
        warnings.append(GAP_WARNING.format(gap, secant, 2 * steps))
    elif gap > LARGE_GAP:
        warnings.append(ROUNDING_WARNING.format(gap, settings.method))
    if settings.ig_steps == "auto" and SMALL_GAP <= gap <= LARGE_GAP:
        why = "the most that --ig_steps auto takes"
        if settings.until_stable:
            why = "which the first block needed"
        warnings.append(f"note: the completeness gap is {gap:.1%} with {steps} points, {why}")
    if method.flat and settings.metric in ("kl", "js"):
        warnings.append(FLAT_WARNING.format(settings.metric, settings.method, secant))
    for warning in warnings:
        console.warn(warning)
    return warnings
