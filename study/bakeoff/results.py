"""bakeoff.json and costs.json, from the folders of finished trials."""

from typing import NamedTuple

from eap.resampling import mean_interval
from runs import disk
from study.bakeoff import numbers
from study.bakeoff import words as bakeoff_words
from study.bakeoff.arms import Placement
from study.bakeoff.costs import Cost, cost
from study.bakeoff.data import Data
from study.bakeoff.trials import Trial, sweep_of
from study.quality import numbers as quality
from summarization import words


class Finished(NamedTuple):
    """A trial with what its folder holds: numbers, rows of texts, run record."""

    trial: Trial
    metrics: dict
    texts: list[dict]
    record: dict


class Plan(NamedTuple):
    """What was to be run: placement, trainable parameters of a LoRA arm, arms left out and why."""

    placement: Placement
    budget: int | None
    left_out: dict[str, str]


class Outcome(NamedTuple):
    """All that was run: the trials with what their folders hold, on what data, by which plan."""

    finished: list[Finished]
    data: Data
    plan: Plan


def read(trial: Trial) -> Finished:
    """A trial with the results in its folder."""
    folder = trial.folder
    return Finished(
        trial,
        disk.read_json(folder / "metrics.json"),
        disk.read_jsonl(folder / "texts.jsonl"),
        disk.read_json(folder / "run.json"),
    )


def first_trials(trials: list[Trial]) -> dict[str, Trial]:
    """{arm: its trial with the first seed}."""
    return {trial.arm.name: trial for trial in reversed(trials)}


def sweep_found(first: Trial) -> dict | None:
    """What an arm's sweep found; None without one."""
    if len(first.config["learning_rates"]) < 2:
        return None
    metrics = disk.read_json(sweep_of(first).folder / "metrics.json")
    return {name: metrics[name] for name in ("tried", "steps", "at_the_edge")}


def sweep_seconds(first: Trial) -> float:
    """How long an arm's sweep took; 0 without one."""
    if len(first.config["learning_rates"]) < 2:
        return 0.0
    return disk.read_json(sweep_of(first).folder / "run.json")["sweep_seconds"]


def of_trials(outcome: Outcome) -> dict:
    """The content of bakeoff.json: all arms with intervals, baselines, paired differences."""
    finished, data, plan = outcome
    placement, rows = plan.placement, data.rows
    seed = placement.seed
    known = [(run.trial, run.metrics, run.texts) for run in finished]
    firsts = first_trials([run.trial for run in finished])
    baselines = quality.yardsticks(rows, seed)
    quality.measure(baselines, list(rows["article"]), references=list(rows["highlights"]))
    written = [[row["summary"] for row in run.texts] for run in finished]
    written += [baseline.texts for baseline in baselines]
    made = {
        "format": 1,
        **data.identity,
        "seeds": list(range(seed, seed + placement.seeds)),
        "n_texts": len(rows),
        "budget": placement.budget,
        "budget_parameters": plan.budget,
        "rank": placement.rank,
        "alpha_over_r": placement.alpha_over_r,
        "top_k": placement.top_k,
        "settings": finished[0].trial.config["settings"],
        "left_out": plan.left_out,
        "rouge_words": words.describe(rows["highlights"], *written),
        "arms": numbers.summarise(
            known, {name: sweep_found(first) for name, first in firsts.items()}, seed=seed
        ),
        "yardsticks": {baseline.label: intervals(baseline.values, seed) for baseline in baselines},
        "differences": numbers.differences(known, seed),
    }
    made["sentences"] = bakeoff_words.sentences(made) + words.sentences(made["rouge_words"])
    return made


def intervals(values: dict, seed: int) -> dict:
    """{measure: its mean with an interval} of {measure: a value for each text}."""
    return {name: mean_interval(column, seed) for name, column in values.items()}


def costs(outcome: Outcome) -> dict[str, Cost]:
    """{arm: what it cost}."""
    made = {}
    for name, first in first_trials([run.trial for run in outcome.finished]).items():
        run_records = [run.record for run in outcome.finished if run.trial.arm.name == name]
        made[name] = cost(
            outcome.plan.placement,
            first.arm,
            run_records=run_records,
            sweep_seconds=sweep_seconds(first),
        )
    return made
