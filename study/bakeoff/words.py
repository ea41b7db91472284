"""bakeoff.json in words: what each arm cost and reached, what may be said of differences."""

import json

import numpy as np

from study.bakeoff.lora import TOLERANCE
from study.bakeoff.numbers import COMPARED, MEASURES, SPOKEN, Cost, Measure
from study.findings import fixed


def lines(result: dict, costs: dict[str, Cost]) -> list[str]:
    """What each arm cost, how good its summaries are beside the yardsticks, what may be said."""
    arms = result["arms"]
    width = max(map(len, [*arms, *result["yardsticks"]]))
    rows = [
        f"{'':{width}} {'layers':<10}{'trainable':>12}{'%':>7}{'ranks':>7}{'rate':>9}"
        f"{'train s':>9}{'sweep s':>9}{'choice s':>10}{'peak GB':>9}"
    ]
    rows += [f"{name:{width}} {_cost_row(arm, costs[name])}" for name, arm in arms.items()]
    rows.append(
        "train s: mean of a seed; sweep s: choice of the learning rate, once; choice s: the "
        "scripts behind the choice of layers, once; peak: memory of "
        f"{next(iter(costs.values())).peak_of}, up to the end of training"
    )
    rows += [
        f"choice of the layers of {name}: {arm['cost_of_choice']}"
        for name, arm in arms.items()
        if arm["cost_of_choice"] != "nothing"
    ]
    heads = "".join(f"{measure.label:>{_width(measure)}}" for measure in MEASURES)
    rows.append(f"{'':{width}} {heads}")
    for name, entry in {**arms, **result["yardsticks"]}.items():
        rows.append(
            f"{name:{width}} "
            + "".join(
                f"{_number(measure, entry.get(measure.name)):>{_width(measure)}}"
                for measure in MEASURES
            )
        )
    return [*rows, *result["sentences"]]


def _cost_row(arm: dict, cost: Cost) -> str:
    ranks = "-"
    if arm["ranks"]:
        ends = sorted({arm["ranks"][0], arm["ranks"][-1]})
        ranks = "-".join(map(str, ends))
    rate = f"{arm['learning_rate']:.2g}" if arm["learning_rate"] else "-"
    choice = "no record" if cost.choice_seconds is None else f"{cost.choice_seconds:.0f}"
    return (
        f"{layer_text(arm['layers']):<10}{int(np.mean(arm['trainable'])):>12,}"
        f"{arm['trainable_percent']:>7.2f}{ranks:>7}{rate:>9}{cost.train_seconds:>9.0f}"
        f"{cost.sweep_seconds:>9.0f}{choice:>10}{cost.peak_gb:>9.2f}"
    )


def _width(measure: Measure) -> int:
    """Columns of a measure in the table; those that arms are compared in have intervals."""
    return 25 if measure in COMPARED else 9


def _number(measure: Measure, interval: dict | None) -> str:
    places = 3 if measure.name == "nll_nats" else 1
    if interval is None or measure in COMPARED:
        return fixed(interval, places)
    return f"{interval['mean']:.{places}f}"


def layer_text(layers: list) -> str:
    """The layers of an arm as in `2,3,5` or `0-11`; `drawn` if they differ between seeds."""
    first = layers[0]
    if first is None:
        return "-"
    if any(other != first for other in layers):
        return "drawn"
    whole = len(first) > 2 and first == list(range(first[0], first[-1] + 1))
    return f"{first[0]}-{first[-1]}" if whole else ",".join(map(str, first))


def sentences(result: dict) -> list[str]:
    """What may be said: of the sweeps; per arm and reference, in the measures of SPOKEN, a claim
    where `comparison.claim` allows one.
    """
    arms = result["arms"]
    swept = [name for name, arm in arms.items() if arm["sweep"]]
    lines = [_seeds_sentence(len(result["seeds"]), result["n_texts"])]
    if not swept:
        lines.append("Learning rates were not swept: an arm that loses may have had the wrong one.")
    lines += [*same_layers(result), *one_draw(result)]
    edge = [name for name in swept if arms[name]["sweep"]["at_the_edge"]]
    if edge:
        lines.append(
            f"The best learning rate is the lowest or highest tried of {', '.join(edge)}: a better "
            "one may lie beyond it."
        )
    lines += [*off_budget(result), *below_chance(result)]
    spoken = [measure for measure in COMPARED if measure.name in SPOKEN]
    for reference, measures in result["differences"].items():
        for measure in spoken:
            for name, difference in measures[measure.name].items():
                lines.append(
                    difference_sentence(
                        f"{name} against {reference}", measure, difference=difference
                    )
                )
    return lines


def _seeds_sentence(n_seeds: int, n_texts: int) -> str:
    """What intervals are over."""
    if n_seeds == 1:
        return (
            f"Intervals are over {n_texts} texts, for this one seed: there is no interval over "
            "seeds."
        )
    return (
        f"Intervals are over {n_texts} texts, for these {n_seeds} seeds: seeds are shown as "
        "points, they are too few for an interval."
    )


def difference_sentence(arms: str, measure: Measure, *, difference: dict) -> str:
    """`early against all, ROUGE-1: worse: -1.500 [-2.5, -0.5], ...`."""
    power = "too few texts differ for any word"
    if difference["detectable"] is not None:
        power = (
            "smallest difference that one test would detect, before Holm's correction: "
            f"{difference['detectable']:.2g}"
        )
    return (
        f"{arms}, {measure.label}: {difference['claim'] or 'no difference shown'}: "
        f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}], Holm p "
        f"{difference['p_holm']:.3f}; {power}"
    )


def same_layers(result: dict) -> list[str]:
    """Which arms are one and the same training, by all that decides it and by its likelihoods: no
    two results.
    """
    groups = {}
    for name, arm in result["arms"].items():
        same = [arm[key] for key in ("method", "layers", "ranks", "learning_rate", "trainable")]
        groups.setdefault(json.dumps([same, arm["nll_nats"]]), []).append(name)
    return [
        f"{' and '.join(names)} have the same layers, "
        f"{layer_text(result['arms'][names[0]]['layers'])}: one result, listed {len(names)} times."
        for names in groups.values()
        if len(names) > 1
    ]


def one_draw(result: dict) -> list[str]:
    """That with one seed the random layers were drawn once (guard 9)."""
    if "random" not in result["arms"] or len(result["seeds"]) > 1:
        return []
    drawn = layer_text(result["arms"]["random"]["layers"])
    return [
        f"random was drawn once, layers {drawn}: what is said against it is against these layers, "
        "not against random layers."
    ]


def off_budget(result: dict) -> list[str]:
    """A sentence for every adapter arm that is further from the budget than the others may be
    (guard 8).
    """
    budget, lines = result["budget_parameters"], []
    for name, arm in result["arms"].items():
        if budget is None or arm["method"] in ("none", "full"):
            continue
        furthest = max(arm["trainable"], key=lambda trainable: abs(trainable - budget))
        if abs(furthest / budget - 1) > TOLERANCE:
            lines.append(
                f"{name} has {furthest:,} trainable parameters, {furthest / budget - 1:+.1%} off "
                f"the budget of {budget:,}: its size differs from the other arms', not its method "
                "or placement alone."
            )
    return lines


def below_chance(result: dict) -> list[str]:
    """A sentence if no arm reaches three sentences drawn at random in ROUGE-1."""
    chance, arms = result["yardsticks"]["Random-3"]["rouge1"]["mean"], result["arms"].values()
    if any(arm["rouge1"]["mean"] >= chance for arm in arms):
        return []
    return [
        f"Every arm lies below Random-3 in ROUGE-1 ({chance:.1f}): none writes better summaries "
        "than three random sentences are, and differences between arms are differences between "
        "poor summaries."
    ]
