"""How far several ways of extracting a circuit agree, from their per-example scores: one matrix of Jaccard and Spearman, and its nulls.

All circuits are the `n` edges of largest |score| (or signed score) before pruning, so that they have one size and one chance level.
The noise floor is the same comparison between two resamples of the examples of the first extraction.
"""

import numpy as np
import torch
from scipy.stats import hypergeom, rankdata

from eap import MIN_EXAMPLES
from eap.circuit import Circuit, asked_for, chance_jaccard, spearman
from eap.resampling import bootstrap_means
from eap.selection import strongest
from study.evolution.numbers import floor, jaccard_matrix, spearman_matrix
from study.stability import bootstrap

SPEARMAN_RESAMPLES = 100  # ranking all edges of a resample costs ten times a selection


def agreement(circuit: Circuit, found: dict[str, torch.Tensor], resamples: int, seed: int) -> dict:
    """Jaccard and Spearman of every two extractions; `found` maps a name to per-example scores (examples, edges), the reference first.

    `with_first` holds the Jaccard index with the reference and its interval, the same resampled examples going into both; `noise_floor`
    that of two resamples of the reference.
    """
    n, rule = asked_for(circuit), circuit.rule
    means = torch.stack([scores.double().mean(0) for scores in found.values()])
    first = next(iter(found.values()))

    def choose(values):
        return strongest(values, n, rule.absolute)

    def resampled(scores):
        return bootstrap.resampled(rule.values(scores), resamples, seed, choose)

    reference = resampled(first)
    ranked = torch.stack([rule.values(scores).double().mean(0) for scores in found.values()])
    table = jaccard_matrix(choose(ranked))
    spans = [floor(bootstrap.jaccards(resampled(scores), reference)) for scores in found.values()]
    return {
        "names": list(found),
        "examples": len(first),
        "edges": n,
        "chance": chance_jaccard(n, n, circuit.graph.n_edges),
        "noise_floor": floor(bootstrap.pairwise_jaccard(reference)),
        "spearman_noise_floor": spearman_floor(first, seed),
        "with_first": [
            {"name": name, "jaccard_edges": table[0][i], "low": span["low"], "high": span["high"]}
            for i, (name, span) in enumerate(zip(found, spans, strict=True))
        ],
        "jaccard": table,
        "spearman": spearman_matrix(means),
    }


def spearman_floor(per_example: torch.Tensor, seed: int) -> dict[str, float]:
    """Spearman's correlation of |score| over all edges between two resamples: {"mean", "low", "high"}."""
    means = torch.cat(list(bootstrap_means(per_example, SPEARMAN_RESAMPLES, seed)))
    with np.errstate(invalid="ignore"):  # constant scores have no rank correlation: 0
        table = np.nan_to_num(np.corrcoef(rankdata(means.abs().numpy(), axis=1)))
    return floor(table[np.triu_indices(len(table), 1)])


def curve(
    circuit: Circuit,
    levels: dict[float, torch.Tensor],
    whole: torch.Tensor,
    resamples: int,
    seed: int,
) -> list[dict]:
    """For each level of corruption: Jaccard, by the circuit's own rule, and Spearman with the extraction from all salient tokens.

    The interval is the central 95 % of paired resamples. They hold fewer different examples, so their overlap is lower on average and
    the point can lie at the interval's upper edge.
    """
    rule, rows = circuit.rule, []

    def resampled(scores):
        values = rule.values(scores)
        return bootstrap.resampled(values, resamples, seed, bootstrap.by_rule(circuit))

    def extracted(scores):
        return rule.take(circuit.graph, rule.values(scores).double().mean(0))

    everything = resampled(whole)
    noise = floor(bootstrap.pairwise_jaccard(everything))
    target, target_scores = extracted(whole), whole.double().mean(0)
    for level, scores in levels.items():
        mean = scores.double().mean(0)
        kept = extracted(scores)
        span = floor(bootstrap.jaccards(resampled(scores), everything))
        rows.append(
            {
                "level": level,
                "examples": len(scores),
                "jaccard_edges": float(bootstrap.jaccards(kept, target)),
                "low": span["low"],
                "high": span["high"],
                "spearman": spearman(mean.abs(), target_scores.abs()),
                "chance": chance_jaccard(int(kept.sum()), int(target.sum()), circuit.graph.n_edges),
                "noise_floor": noise,
            }
        )
    return rows


def chance(size_a: int, size_b: int, total: int) -> dict[str, float]:
    """{"mean", "low", "high"}: the Jaccard index that two random choices of edges have, and the central 95 % of what they have.

    The number of shared edges is hypergeometric.
    """
    low, high = hypergeom(total, size_a, size_b).ppf([0.025, 0.975])
    ends = [
        float(shared / (size_a + size_b - shared)) if size_a + size_b > shared else 1.0
        for shared in (low, high)
    ]
    return {"mean": chance_jaccard(size_a, size_b, total), "low": ends[0], "high": ends[1]}


def pair(a: Circuit, b: Circuit, per_example, resamples: int, seed: int) -> dict:
    """Two circuits: Jaccard with its chance level, Spearman of all scores; with scores of the same examples, an interval and a test.

    `per_example` is (scores of a, scores of b) or None; of those examples that both were found on. Where one was found on more, there is
    a test but no interval. `different` is `bootstrap.permutation_test`: is 1 - Jaccard of the equally many
    strongest edges larger than where the two models' labels are swapped example by example?
    """
    sizes, nodes = (
        (int(a.in_graph.sum()), int(b.in_graph.sum())),
        [each.graph.nodes_kept(each.in_graph) for each in (a, b)],
    )
    found = {
        "jaccard_edges": float(bootstrap.jaccards(a.in_graph, b.in_graph)),
        "low": None,
        "high": None,
        "jaccard_nodes": float(bootstrap.jaccards(*nodes)),
        "chance": chance(*sizes, a.graph.n_edges),
        "spearman": spearman(a.scores.abs(), b.scores.abs())
        if a.scores is not None and b.scores is not None
        else None,
        "p": None,
        "different": None,
    }
    if per_example is None:
        return found
    shared, n = len(per_example[0]), min(asked_for(a), asked_for(b))
    if all(len(each.metadata.get("example_ids", ())) in (0, shared) for each in (a, b)):
        both = [
            bootstrap.resampled(each.rule.values(scores), resamples, seed, bootstrap.by_rule(each))
            for each, scores in zip((a, b), per_example, strict=True)
        ]
        span = floor(bootstrap.jaccards(*both))
        found |= {"low": span["low"], "high": span["high"]}
    values = [a.rule.values(scores) for scores in per_example]
    test = bootstrap.permutation_test(*values, n, a.rule.absolute, seed=seed)
    return found | {"p": test["p"], "different": test}


# ---------------------------------------------------------------- in words


def lines(result: dict) -> list[str]:
    """Everything that evaluate_robustness.py prints."""
    said = []
    for row in result["circuits"]:
        said.append(f"{row['name']}: {row['size']} edges; {bootstrap.sentence(row['bootstrap'])}")
    for row in result["pairs"]:
        said += pair_lines(row)
    for row in result["perturbation"]:
        said.append(
            f"{row['level']:.0%} of the salient tokens corrupted: Jaccard {_span(row)} with all of them corrupted (chance "
            f"{row['chance']:.3f}, noise floor {row['noise_floor']['mean']:.3f}), Spearman of |score| {row['spearman']:.3f}, "
            f"n = {row['examples']}"
        )
    return (
        said
        + _agreement_lines(result["agreement"])
        + [f"left out: {note}" for note in result["left_out"]]
    )


def verdict(test: dict) -> str:
    """ "the circuits differ" only for p under 5 % (guard 26)."""
    if test["p"] < 0.05:
        return "the circuits differ"
    return "too few examples to tell" if test["smallest_p"] >= 0.05 else "not shown to differ"


def _span(row) -> str:
    return f"{row['jaccard_edges']:.3f}" + (
        f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None else ""
    )


def pair_lines(row) -> list[str]:
    """What is said of two circuits: a word only beyond chance, a difference only by its p value."""
    rank = "" if row["spearman"] is None else f", Spearman of |score| {row['spearman']:.3f}"
    level = row["chance"]
    words = (
        "more similar than chance: "
        if row["jaccard_edges"] > level["high"]
        else "not more similar than chance: "
    )
    if row["different"] and row["different"]["examples"] < MIN_EXAMPLES:
        words = ""
    said = [
        f"{row['a']} and {row['b']}: {words}Jaccard {_span(row)} of edges (chance {level['mean']:.3f} [{level['low']:.3f}, "
        f"{level['high']:.3f}]), {row['jaccard_nodes']:.3f} of nodes{rank}"
    ]
    if test := row["different"]:
        null = test["null"]
        said.append(
            f"  is one different from the other? 1 - Jaccard of the {test['edges']} strongest edges is {test['distance']:.3f}; "
            f"with labels swapped over {test['examples']} examples {null['mean']:.3f} [{null['low']:.3f}, {null['high']:.3f}], "
            f"p = {test['p']:.4f}: {verdict(test)}"
        )
    return said


def _agreement_lines(found) -> list[str]:
    if not found:
        return []
    floors = found["noise_floor"], found["spearman_noise_floor"]
    said = [
        f"{found['names'][0]}, {found['edges']} strongest edges, n = {found['examples']}: chance Jaccard {found['chance']:.3f}; noise "
        f"floor {floors[0]['mean']:.3f} [{floors[0]['low']:.3f}, {floors[0]['high']:.3f}], Spearman {floors[1]['mean']:.3f} "
        f"[{floors[1]['low']:.3f}, {floors[1]['high']:.3f}]"
    ]
    for row, rank in zip(found["with_first"][1:], found["spearman"][0][1:], strict=True):
        words = (
            ", within the noise floor"
            if row["jaccard_edges"] >= floors[0]["low"]
            else ", below the noise floor"
        )
        said.append(
            f"  {row['name']}: Jaccard {_span(row)}{words if found['examples'] >= MIN_EXAMPLES else ''}; Spearman {rank:.3f}"
        )
    if found["examples"] < MIN_EXAMPLES:
        said.append(
            f"  with {found['examples']} examples (fewer than {MIN_EXAMPLES}) nothing is said of the noise floor"
        )
    return said
