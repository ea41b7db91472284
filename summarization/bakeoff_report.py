"""The bake-off in numbers, words and one figure, from the results of its trials."""

from dataclasses import dataclass

import numpy as np

from summarization import comparison
from summarization.statistics import mean_interval


@dataclass(frozen=True)
class Measure:
    """A number per text: how it is called, and whether more of it is better; None where neither is."""

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
SPOKEN = ("rouge1", "nll_nats")  # measures with a sentence each; the other differences stand in the JSON


def summarise(trials: list[tuple], seed: int) -> dict:
    """{arm: {"seeds", "layers" of each seed, "trainable", ..., measure: {"mean", "low", "high", "n", "seeds": a mean per seed}}}.

    `trials` are (trial, metrics, texts). Intervals are over texts, each text's value averaged over the seeds.
    """
    table = {}
    for name, values in values_of(trials).items():
        mine = [(trial, metrics) for trial, metrics, _ in trials if trial.arm.name == name]
        (first, metrics), plan = mine[0], mine[0][0].plan
        table[name] = {
            "method": first.arm.method, "seeds": [trial.seed for trial, _ in mine], "cost_of_choice": first.arm.cost,
            "layers": [trial.plan.layers if trial.plan else None for trial, _ in mine], "learning_rate": first.config["learning_rate"],
            "ranks": sorted(set(plan.ranks.values())) if plan else None,
            "trainable": [metrics["trainable"] for _, metrics in mine], "trainable_percent": metrics["trainable_percent"],
            **{measure: mean_interval(found.mean(0), seed) | {"seeds": found.mean(1).tolist()} for measure, found in values.items()},
        }
    return table


def values_of(trials: list[tuple]) -> dict[str, dict[str, np.ndarray]]:
    """{arm: {measure: array (seeds, texts)}}."""
    rows = {}
    for trial, _, texts in trials:
        rows.setdefault(trial.arm.name, []).append(texts)
    return {name: {measure.name: np.array([[row[measure.name] for row in texts] for texts in seeds]) for measure in MEASURES}
            for name, seeds in rows.items()}


def differences(trials: list[tuple], seed: int) -> dict:
    """{reference: {measure: {arm: paired difference with "p_holm" and "claim"}}} for the references that took part.

    A family of Holm's correction: all arms against one reference in one measure.
    """
    values, found = values_of(trials), {}
    for reference in [name for name in REFERENCES if name in values]:
        found[reference] = {}
        for measure in COMPARED:
            theirs = values[reference][measure.name]
            family = {name: comparison.paired(mine[measure.name], theirs, seed) for name, mine in values.items() if name != reference}
            for entry, p_holm in zip(family.values(), comparison.holm([entry["p"] for entry in family.values()]), strict=True):
                entry["p_holm"] = p_holm
                entry["claim"] = comparison.claim(entry, measure.higher_is_better)
            found[reference][measure.name] = family
    return found


# ---------------------------------------------------------------- in words


def lines(content: dict, seconds: dict[str, float], memory: dict[str, float]) -> list[str]:
    """The table, the yardsticks under it, what the seeds allow to be said, and a sentence per arm and reference."""
    head = f"{'arm':<16}{'layers':<14}{'trainable':>11}{'%':>7}{'ranks':>8}{'train s':>9}{'GB':>6}" + "".join(
        f"{measure.label:>11}" for measure in MEASURES)
    rows = [head, *(_row(name, arm, seconds[name], memory[name]) for name, arm in content["arms"].items())]
    for name, entry in content["yardsticks"].items():
        rows.append(f"{name:<71}" + "".join(f"{_number(measure, entry.get(measure.name)):>11}" for measure in MEASURES))
    rows += [f"cost of the choice of layers: {name}: {arm['cost_of_choice']}"
             for name, arm in content["arms"].items() if arm["cost_of_choice"] != "nothing"]
    return [*rows, *content["sentences"]]


def _row(name: str, arm: dict, seconds: float, memory: float) -> str:
    ranks = "-" if not arm["ranks"] else "-".join(str(rank) for rank in sorted({arm["ranks"][0], arm["ranks"][-1]}))
    start = f"{name:<16}{layer_text(arm['layers']):<14}{int(np.mean(arm['trainable'])):>11,}{arm['trainable_percent']:>7.2f}{ranks:>8}"
    return f"{start}{seconds:>9.0f}{memory:>6.1f}" + "".join(f"{_number(measure, arm[measure.name]):>11}" for measure in MEASURES)


def _number(measure: Measure, found: dict | None) -> str:
    return "-" if found is None else f"{found['mean']:.3f}" if measure.name == "nll_nats" else f"{found['mean']:.1f}"


def layer_text(layers: list) -> str:
    """The layers of an arm as in `2,3,5` or `0-11`; `drawn` if they differ between seeds."""
    first = layers[0]
    if first is None:
        return "-"
    if any(other != first for other in layers):
        return "drawn"
    whole = len(first) > 2 and first == list(range(first[0], first[-1] + 1))
    return f"{first[0]}-{first[-1]}" if whole else ",".join(map(str, first))


def sentences(content: dict) -> list[str]:
    """What may be said: per arm and reference, in the measures of SPOKEN; a claim only where `comparison.claim` allows one."""
    n_seeds = len(content["seeds"])
    said = [f"Intervals are over {content['n_texts']} texts, for {'this one seed' if n_seeds == 1 else f'these {n_seeds} seeds'}: " + (
        "there is no interval over seeds." if n_seeds == 1 else "seeds are shown as points, they are too few for an interval.")]
    for reference, measures in content["differences"].items():
        for measure in (measure for measure in COMPARED if measure.name in SPOKEN):
            said += [_sentence(name, reference, measure, found) for name, found in measures[measure.name].items()]
    return said


def _sentence(name: str, reference: str, measure: Measure, found: dict) -> str:
    verdict = found["claim"] or f"no difference shown (one of {found['detectable']:.2g} would be, in 80 % of cases)"
    return (f"{name} against {reference}, {measure.label}: {verdict}: {found['mean']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}], "
            f"Holm p {found['p_holm']:.3f}")


# ---------------------------------------------------------------- figure


def figure(content: dict):
    """ROUGE-1 and summary NLL against trainable parameters: means with intervals over texts, a small point for each seed."""
    from eap.style import subplots

    made, axes = subplots(1, 2, figsize=(10, 4.6))
    panels = [measure for measure in MEASURES if measure.name in SPOKEN]
    order = sorted(content["arms"], key=lambda name: np.mean(content["arms"][name]["trainable"]))
    for axis, measure in zip(axes, panels, strict=True):
        for place, name in enumerate(order):
            _draw_arm(axis, content["arms"][name], measure.name, place, _colour(name))
        if measure.name == "rouge1":
            for name, entry in content["yardsticks"].items():
                axis.axhline(entry["rouge1"]["mean"], color="#666666", linewidth=0.8, linestyle=":")
                axis.annotate(name, (1, entry["rouge1"]["mean"]), xycoords=("axes fraction", "data"), fontsize=7, va="bottom", ha="right")
        counts = [f"{name} ({np.mean(content['arms'][name]['trainable']):,.0f})" for name in order]
        axis.set_xticks(range(len(order)), counts, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
        axis.set(xlabel="arm (trainable parameters), fewest first", ylabel=f"{measure.label} ({measure.unit})")
        axis.grid(visible=False, axis="x")
    made.suptitle(f"{content['model']} on {content['dataset']}: mean and 95 % interval over {content['n_texts']} texts; "
                  f"small points: {len(content['seeds'])} seed{'s' * (len(content['seeds']) > 1)}", fontsize=9)
    return made


def _draw_arm(axis, arm: dict, measure: str, place: float, colour: str) -> None:
    found = arm[measure]
    error = np.clip([[found["mean"] - found["low"]], [found["high"] - found["mean"]]], 0, None)
    axis.errorbar([place], [found["mean"]], yerr=error, fmt="o", color=colour, capsize=3, markersize=6)
    axis.plot(np.full(len(found["seeds"]), place + 0.22), found["seeds"], ".", color=colour, markersize=4)


def _colour(name: str) -> str:
    from eap.style import COLOURS

    return COLOURS[{"none": "base", "full": "finetuned", "random": "random", "all": "text"}.get(name, "circuit")]
