"""How far several ways of extracting a circuit agree: Jaccard and Spearman beside their nulls.

All from their scores per example. All circuits are the `n` edges of largest |score| (or signed
score) before pruning, so that they have one size and one chance level. The noise floor is the same
comparison between two resamples of the examples of the first extraction.
"""

import numpy as np
import torch

from eap.circuit import Circuit
from eap.resampling import bootstrap_means, central, paired_bootstrap_means
from study import overlap
from study.stability import bootstrap

SPEARMAN_RESAMPLES = 100  # ranking all edges of a resample costs ten times a selection


def agreement(
    circuit: Circuit, extractions: dict[str, torch.Tensor], *, resamples: int, seed: int
) -> dict:
    """Jaccard and Spearman of every two extractions; `extractions` maps a name to scores per
    example (examples, edges), the reference first.

    `with_first` holds the Jaccard index with the reference and its interval, the same resampled
    examples going into both; `noise_floor` that of two resamples of the reference, cut in the same
    way.
    """
    graph, size = circuit.graph, circuit.n_selected
    rule = circuit.rule.equal(size)
    names, first = list(extractions), next(iter(extractions.values()))
    means = torch.stack([scores.double().mean(0) for scores in extractions.values()])
    ranked = torch.stack([rule.values(scores).double().mean(0) for scores in extractions.values()])
    table = overlap.matrix(rule.taking(graph)(ranked))
    reference = bootstrap.resampled_circuits(
        graph, rule, per_example=first, resamples=resamples, seed=seed
    )
    with_first = []
    for name, scores, index in zip(names, extractions.values(), table[0], strict=True):
        drawn = bootstrap.resampled_circuits(
            graph, rule, per_example=scores, resamples=resamples, seed=seed
        )
        span = central(overlap.jaccards(drawn, reference))
        with_first.append(
            {"name": name, "jaccard_edges": index, "low": span["low"], "high": span["high"]}
        )
    return {
        "names": names,
        "examples": len(first),
        "edges": size,
        "chance": overlap.chance(size, size, total=graph.n_edges),
        "noise_floor": bootstrap.noise_floor(reference),
        "spearman_noise_floor": spearman_floor(first, seed),
        "with_first": with_first,
        "jaccard": table,
        "spearman": overlap.spearman_matrix(means),
    }


def spearman_floor(per_example: torch.Tensor, seed: int) -> dict[str, float]:
    """Spearman's correlation of |score| over all edges between two resamples: {"mean", "low",
    "high"}.
    """
    means = torch.cat(list(bootstrap_means(per_example, resamples=SPEARMAN_RESAMPLES, seed=seed)))
    return central(overlap.spearman_of_every_two(means))


def curve(
    circuit: Circuit,
    levels: dict[float, torch.Tensor],
    *,
    whole: torch.Tensor,
    resamples: int,
    seed: int,
) -> list[dict]:
    """For each level of corruption: Jaccard, by the circuit's own rule, and Spearman with the
    extraction from all salient tokens.

    The interval is the central 95 % of paired resamples. They hold fewer different examples, so
    their overlap is lower on average and the point can lie at the interval's upper edge.
    """
    graph, rule, rows = circuit.graph, circuit.rule, []

    def extracted(scores):
        return rule.take(graph, rule.values(scores).double().mean(0))

    everything = bootstrap.resampled_circuits(
        graph, rule, per_example=whole, resamples=resamples, seed=seed
    )
    noise = bootstrap.noise_floor(everything)
    target, target_scores = extracted(whole), whole.double().mean(0)
    for level, scores in levels.items():
        mean, kept = scores.double().mean(0), extracted(scores)
        drawn = bootstrap.resampled_circuits(
            graph, rule, per_example=scores, resamples=resamples, seed=seed
        )
        span = central(overlap.jaccards(drawn, everything))
        rows.append(
            {
                "level": level,
                "examples": len(scores),
                "jaccard_edges": overlap.jaccard(kept, target),
                "low": span["low"],
                "high": span["high"],
                "spearman": overlap.spearman(mean.abs(), target_scores.abs()),
                "chance": overlap.chance(int(kept.sum()), int(target.sum()), total=graph.n_edges),
                "noise_floor": noise,
            }
        )
    return rows


def pair(
    a: Circuit,
    b: Circuit,
    *,
    per_example: tuple[torch.Tensor, torch.Tensor] | None,
    shared: int = 0,
    resamples: int,
    seed: int,
) -> dict:
    """Two circuits: Jaccard with its chance level, Spearman of all scores; with scores of the same
    examples, an interval and a test.

    `per_example` is (scores of a, scores of b), or None; the first `shared` examples of either are
    the same. The interval is of `resampled_overlaps`, the test of the shared examples. `different`
    is `bootstrap.permutation_test`: is 1 - Jaccard of the equally many strongest edges larger than
    where the two models' labels are swapped example by example?
    """
    graph, rank = a.graph, None
    if a.scores is not None and b.scores is not None:
        rank = overlap.spearman(a.scores.abs(), b.scores.abs())
    described = {
        "jaccard_edges": overlap.jaccard(a.in_graph, b.in_graph),
        "low": None,
        "high": None,
        "jaccard_nodes": overlap.jaccard(
            graph.nodes_kept(a.in_graph), graph.nodes_kept(b.in_graph)
        ),
        "chance": overlap.chance_interval(
            int(a.in_graph.sum()), int(b.in_graph.sum()), total=graph.n_edges
        ),
        "spearman": rank,
        "p": None,
        "different": None,
    }
    if per_example is None:
        return described
    scores_a, scores_b = per_example
    span = central(
        resampled_overlaps(
            a, b, per_example=per_example, shared=shared, resamples=resamples, seed=seed
        )
    )
    described |= {"low": span["low"], "high": span["high"]}
    test = bootstrap.permutation_test(
        a.rule.values(scores_a[:shared]),
        a.rule.values(scores_b[:shared]),
        n=min(a.n_selected, b.n_selected),
        absolute=a.rule.absolute,
        seed=seed,
    )
    return described | {"p": test["p"], "different": test}


def resampled_overlaps(
    a: Circuit,
    b: Circuit,
    *,
    per_example: tuple[torch.Tensor, torch.Tensor],
    shared: int,
    resamples: int,
    seed: int,
) -> np.ndarray:
    """(resamples,) Jaccard index of two circuits, each by its rule, over resampled examples.

    Of the first `shared` examples the same are drawn for both; those that only one was found on are
    drawn by themselves, so that each circuit keeps its number of examples.
    """
    means = paired_bootstrap_means(
        a.rule.values(per_example[0]),
        b.rule.values(per_example[1]),
        shared=shared,
        resamples=resamples,
        seed=seed,
    )
    choose_a, choose_b = a.rule.taking(a.graph), b.rule.taking(b.graph)
    return np.concatenate(
        [overlap.jaccards(choose_a(first), choose_b(second)) for first, second in means]
    )
