"""Scores of as many pairs as a stable circuit takes, block by block; what is finished is kept."""

from pathlib import Path
from typing import NamedTuple

import torch

from eap import MIN_EXAMPLES
from eap.models.contract import Adapter
from eap.scores import Scores, ScoreWriter, input_sums
from runs import shards
from study.extraction import scores as scoring
from study.extraction.blocks import Blocks
from study.extraction.scores import SMALL_GAP, Ends, Sums, Work
from study.extraction.settings import Settings
from study.stability import bootstrap

BLOCK = 32  # pairs that are taken between two looks
QUICK_RESAMPLES, QUICK_MARGIN = 100, 0.02  # of a first look, and how far under the goal it ends it


def key_of(known_by: str) -> str:
    """The key of the finished blocks of the run that is known by this digest."""
    return f"{known_by}, {BLOCK} pairs a block"


class Begun(NamedTuple):
    """How many blocks are finished, and how they were attributed."""

    blocks: int
    steps: int
    batch_size: int


class Progress(NamedTuple):
    """What the first process keeps: finished blocks, and the file that all their scores go to."""

    finished: Blocks
    scores_file: Path

    def begun(self) -> Begun | None:
        """How far an interrupted run came; None before its first block."""
        if not len(self.finished):
            return None
        return Begun(len(self.finished), *self.finished.read(0)["settings"].tolist())


class Taken(NamedTuple):
    """The blocks that were taken, what was seen after each, and the points on the path."""

    blocks: list[dict]
    looks: list[dict]
    steps: int


def score_in_blocks(
    settings: Settings, adapter: Adapter, *, pairs, progress: Progress | None = None
):
    """(pairs taken, summary, mean scores by span or None), as `scores.score` gives them.

    Goes on after the blocks that are finished already. Between two blocks the first process, which
    alone has `progress`, looks whether the circuit is stable, and the others hear of it; they get
    None. So that a block is the same whichever blocks come after it, the points of --ig_steps auto
    are those that the first one needs, and the means of mean ablation are of all pairs.
    """
    means = scoring.means_of(settings, adapter, pairs=pairs)
    blocks, looks, n_finished = [], [], 0
    begun = shards.from_first(progress.begun() if progress else None)
    if begun is None:
        work = first_work(settings, adapter, pairs=pairs, means=means)
    else:
        work, n_finished = Work(begun.steps, begun.batch_size, means), begun.blocks
        done = min(n_finished * BLOCK, len(pairs))
        settings.console.say(f"going on after {n_finished} finished blocks, of {done} pairs")
    for number, start in enumerate(range(0, len(pairs), BLOCK)):
        group = pairs[start : start + BLOCK]
        if number >= n_finished:
            block = block_of(settings, adapter, group=group, work=work)
            if progress:
                progress.finished.add(block)
        if progress:
            blocks.append(progress.finished.read(number))
            looks.append(look(settings, adapter.graph, seen=[block["scores"] for block in blocks]))
        if shards.from_first(looks[-1]["stable"] if progress else None):
            break
    if progress is None:
        return None
    taken = Taken(blocks, looks, work.steps)
    return from_blocks(
        settings, adapter.graph, pairs=pairs, taken=taken, scores_file=progress.scores_file
    )


def first_work(settings: Settings, adapter: Adapter, *, pairs, means) -> Work:
    """How every block is attributed.

    With --ig_steps auto the first block is tried with more and more points.
    """
    most = -(-BLOCK // shards.count())  # so that no process of a torchrun is without pairs
    for steps in settings.steps_to_try:
        batch_size = min(scoring.plan(settings, adapter, pairs=pairs, steps=steps), most)
        work = Work(steps, batch_size, means)
        if settings.ig_steps != "auto":
            break
        ends = ends_of(block_of(settings, adapter, group=pairs[:BLOCK], work=work))
        if scoring.completeness_of([ends])["gap"] < SMALL_GAP:
            break
    return work


def block_of(settings: Settings, adapter: Adapter, *, group, work: Work) -> dict:
    """The named tensors of a block of pairs, in their order; `by_span` is a sum over pairs."""
    batches = scoring.attributed(settings, adapter, pairs=group, work=work)
    parts = sorted(batches, key=lambda scores: scores.rows)
    order = torch.tensor([row for scores in parts for row in scores.rows]).argsort()
    edges = torch.cat([scores.edges for scores in parts])[order]
    block = {
        "scores": edges.float(),
        "sums": input_sums(adapter.graph, edges),
        "clean": torch.cat([scores.clean for scores in parts])[order],
        "corrupted": torch.cat([scores.corrupted for scores in parts])[order],
        "settings": torch.tensor([work.steps, work.batch_size]),
    }
    if settings.spans:
        by_span = [scores.by_group.double().sum(0) for scores in parts]
        block["by_span"] = sum(by_span, start=torch.zeros((), dtype=torch.float64))
    return block


def ends_of(block: dict, start: int = 0) -> Ends:
    """The `Ends` of a block whose first pair has the number `start`."""
    rows = list(range(start, start + len(block["scores"])))
    return Ends(rows, block["sums"], block["clean"], block["corrupted"])


def look(settings: Settings, graph, *, seen: list) -> dict:
    """{"examples", "jaccard": mean between resamples of them, "resamples", "stable"}.

    Few resamples will do where the goal is far.
    """
    per_example = torch.cat(seen)
    rule = settings.rule(graph, per_example)
    for resamples in sorted({min(QUICK_RESAMPLES, settings.resamples), settings.resamples}):
        kept = bootstrap.resampled_circuits(
            graph, rule, per_example=per_example, resamples=resamples, seed=settings.seed
        )
        overlap = bootstrap.noise_floor(kept)["mean"]
        if overlap < settings.until_stable - QUICK_MARGIN:
            break
    enough = len(per_example) >= MIN_EXAMPLES  # fewer carry no claim
    stable = enough and resamples == settings.resamples and overlap > settings.until_stable
    settings.console.detail(
        f"{len(per_example)} pairs: mean Jaccard index {overlap:.3f} between resamples"
    )
    return {
        "examples": len(per_example),
        "jaccard": overlap,
        "resamples": resamples,
        "stable": stable,
    }


def from_blocks(settings: Settings, graph, *, pairs, taken: Taken, scores_file: Path) -> tuple:
    """(pairs taken, summary, mean scores by span or None) of finished blocks.

    Writes their scores per example into one file.
    """
    n, ends, by_span, start = taken.looks[-1]["examples"], [], 0, 0
    writer = ScoreWriter(scores_file, n_examples=n, n_edges=graph.n_edges)
    for block in taken.blocks:
        part = ends_of(block, start)
        start += len(part.rows)
        writer.write(Scores(part.rows, block["scores"], block["clean"], block["corrupted"]))
        ends.append(part)
        if settings.spans:
            by_span += block["by_span"] / n
    used = pairs[:n]
    summary, by_span = scoring.summarise(
        settings, used, steps=taken.steps, sums=Sums(ends, by_span)
    )
    summary["warnings"] = scoring.warnings_of(settings, summary, steps=taken.steps)
    summary["until_stable"] = {
        "goal": settings.until_stable,
        "reached": taken.looks[-1]["stable"],
        "pairs": n,
        "pairs_there": len(pairs),
        "block": BLOCK,
        "looks": taken.looks,
    }
    return used, summary, by_span
