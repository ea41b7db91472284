"""All arms of a bake-off with all their seeds: planned, and run one after the other."""

from study.bakeoff import arms, results, trials
from study.bakeoff import data as bakeoff_data
from study.bakeoff.results import Outcome, Plan
from study.bakeoff.settings import Settings


def run(
    settings: Settings,
    placement: arms.Placement,
    *,
    asked: arms.Asked,
    inputs: dict,
    overwrite: bool,
) -> Outcome:
    """What the arms asked for came to with every seed; what is finished is not run again.

    `inputs` are the entries of the run record. Raises InputError.
    """
    data, shapes = bakeoff_data.prepare(settings, inputs)
    budget = arms.budget_of(placement, shapes)
    planned, impossible = trials.plan_trials(
        settings, placement, chosen=asked.arms, data=data, shapes=shapes, budget=budget
    )
    left_out = asked.left_out | impossible
    for name, why in left_out.items():
        settings.console.detail(f"left out: {name}: {why}")
    trials.require_unchanged(planned, overwrite)
    trials.run_all(settings, planned, data=data)
    finished = [results.read(trial) for trial in planned]
    return Outcome(finished, data, Plan(placement, budget, left_out))
