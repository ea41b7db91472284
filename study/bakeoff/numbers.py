"""The bake-off in numbers, from the results of its trials: arms, and their paired differences."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eap.resampling import mean_interval
from study.bakeoff import comparison


@dataclass(frozen=True)
class Measure:
    """A number per text: how it is called, whether more of it is better; None where neither is."""

    name: str
    label: str
    unit: str
    higher_is_better: bool | None = None


MEASURES = (
    Measure("rouge1", "ROUGE-1", "F1 in %", True),
    Measure("rouge2", "ROUGE-2", "F1 in %", True),
    Measure("rougeL", "ROUGE-L", "F1 in %", True),
    Measure("rougeLsum", "ROUGE-Lsum", "F1 in %", True),
    Measure("nll_nats", "NLL", "nats per summary token", False),
    Measure("words", "words", "words"),
    Measure("ended_percent", "ended", "% of texts the model ended itself"),
    Measure("copied_percent", "copied", "% of runs of 4 words"),
)
COMPARED = [measure for measure in MEASURES if measure.higher_is_better is not None]
REFERENCES = ("all", "random")  # the arms that the others are compared with
SPOKEN = (
    "rouge1",
    "nll_nats",
)  # measures with a sentence each; the other differences stand in the JSON


class Cost(NamedTuple):
    """What an arm cost: mean seconds of training per seed, of its sweep, of what chose its layers
    (None: no record), peak memory.
    """

    train_seconds: float
    sweep_seconds: float
    choice_seconds: float | None
    peak_gb: float
    peak_of: str


def summarise(trials: list[tuple], sweeps: dict, *, seed: int) -> dict:
    """{arm: {"seeds", "layers" of each seed, "trainable", ..., measure: {"mean", "low", "high",
    "n", "seeds": a mean per seed}}}.

    `trials` are (trial, metrics, texts), `sweeps` what each arm's found. Intervals are over texts,
    of each text's mean over the seeds.
    """
    table = {}
    for name, values in values_of(trials).items():
        of_arm = [(trial, metrics) for trial, metrics, _ in trials if trial.arm.name == name]
        first, metrics = of_arm[0]
        arm, plan = first.arm, first.plan
        entry = {
            "method": arm.method,
            "placement": arm.placement,
            "cost_of_choice": arm.cost,
            "seeds": [trial.seed for trial, _ in of_arm],
            "layers": [trial.plan.layers if trial.plan else None for trial, _ in of_arm],
            "learning_rate": metrics["learning_rate"],
            "sweep": sweeps.get(name),
            "ranks": sorted(set(plan.ranks.values())) if plan else None,
            "trainable": [metrics["trainable"] for _, metrics in of_arm],
            "trainable_percent": metrics["trainable_percent"],
        }
        for measure, by_seed in values.items():
            interval = mean_interval(by_seed.mean(0), seed)
            entry[measure] = interval | {"seeds": by_seed.mean(1).tolist()}
        table[name] = entry
    return table


def values_of(trials: list[tuple]) -> dict[str, dict[str, np.ndarray]]:
    """{arm: {measure: array (seeds, texts)}}."""
    rows = {}
    for trial, _, texts in trials:
        rows.setdefault(trial.arm.name, []).append(texts)
    return {
        name: {
            measure.name: np.array([[row[measure.name] for row in texts] for texts in seeds])
            for measure in MEASURES
        }
        for name, seeds in rows.items()
    }


def differences(trials: list[tuple], seed: int) -> dict:
    """{reference: {measure: {arm: paired difference with "p_holm" and "claim"}}} for the references
    that took part.

    A family of Holm's correction: all arms against one reference in one measure. "detectable" is
    None where no word is possible: where even the smallest p of every member of the family leaves
    Holm's p at 5 % or more, as with few texts or no difference at all.
    """
    values, table = values_of(trials), {}
    for reference in [name for name in REFERENCES if name in values]:
        others = {name: measures for name, measures in values.items() if name != reference}
        table[reference] = {}
        for measure in COMPARED:
            reference_values = values[reference][measure.name]
            family = {
                name: comparison.paired(measures[measure.name], reference_values, seed=seed)
                for name, measures in others.items()
            }
            corrected(family, measure)
            table[reference][measure.name] = family
    return table


def corrected(family: dict[str, dict], measure: Measure) -> None:
    """Add Holm's p and the claim to the differences of one family; see `differences`."""
    entries = list(family.values())
    p_holm = comparison.holm([entry["p"] for entry in entries])
    least = comparison.holm([entry["p_smallest"] for entry in entries])
    for entry, adjusted, smallest in zip(entries, p_holm, least, strict=True):
        entry["p_holm"] = adjusted
        if smallest >= comparison.ALPHA:
            entry["detectable"] = None
        entry["claim"] = comparison.claim(entry, measure.higher_is_better is True)
