"""What the choice of examples does to a circuit: they are resampled, the model is not run again.

Bootstrap over examples (Efron 1979): examples are drawn with replacement, as many as there are;
their mean scores give a circuit by the rule of extraction. The overlap between two resamples of one
model is the *noise floor*: two circuits are told apart only below it. A circuit is *stable* when
the mean of that overlap, the mean pairwise bootstrap Jaccard, is over 0.8 (arXiv 2510.00845).
Resamples share the accidents of the examples there are, so where scores are noisy two extractions
on new examples overlap less than this; disjoint halves of the examples share nothing, and overlap
less still for being half as many. The truth lies between the two, and both are given.

Permutation test over examples: if it does not matter which of two models scored an example, the two
labels may be swapped example by example. The p value is the share of swappings whose two circuits
lie at least as far apart as the real ones (Fisher 1935, section 21).
"""

from typing import NamedTuple

import numpy as np
import torch

from eap import MIN_EXAMPLES, InputError
from eap.circuit import Circuit
from eap.graph import Graph
from eap.resampling import CHUNK, RESAMPLES, bootstrap_means, central, sign_stability
from eap.selection import Rule, strongest
from study.findings import fixed
from study.overlap import every_two, jaccards

STABLE = 0.8  # mean pairwise bootstrap Jaccard above which a circuit is called stable
SURE = 0.95  # share of resamples in which an edge that one can count on is chosen
PERMUTATIONS = 1000
SPLITS = 200


class Bootstrap(NamedTuple):
    """Circuits of resampled examples.

    `sign_stability` is the share of resamples whose mean score has the sign of the mean over all
    examples; the `*_jaccard` are overlaps of two circuits each, of halves: of the examples.
    """

    frequency: torch.Tensor  # (edges,) share of resamples whose circuit holds the edge
    sign_stability: torch.Tensor  # (edges,)
    sizes: np.ndarray  # (resamples,) edges after pruning
    with_circuit: np.ndarray  # (resamples,) overlap with the circuit of all examples
    edges_jaccard: np.ndarray  # (pairs of resamples,) overlap of edges between two resamples
    nodes_jaccard: np.ndarray  # (pairs of resamples,) the same of nodes
    halves_jaccard: np.ndarray  # (splits,) overlap of edges between two disjoint halves


def bootstrap(
    circuit: Circuit,
    per_example: torch.Tensor,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress=lambda chunks: chunks,
):
    """The `Bootstrap` of a circuit from its per-example scores (examples, edges).

    One matrix product of counts with scores for every `CHUNK` resamples. Raises InputError for
    fewer than 2 examples or resamples.
    """
    if len(per_example) < 2 or resamples < 2:
        raise InputError(
            f"expected at least 2 examples and 2 resamples, got {len(per_example)} and "
            f"{resamples}; extract from more pairs"
        )
    values, choose = circuit.rule.values(per_example), circuit.rule.taking(circuit.graph)
    kept = resampled(values, resamples, seed=seed, choose=choose, progress=progress)
    nodes = torch.cat([circuit.graph.nodes_kept(part) for part in kept.split(CHUNK)])
    return Bootstrap(
        kept.double().mean(0),
        sign_stability(per_example, resamples=resamples, seed=seed).double(),
        kept.sum(1).double().numpy(),
        jaccards(kept, circuit.in_graph),
        every_two(kept).jaccard,
        every_two(nodes).jaccard,
        split_half(values, SPLITS, seed=seed, choose=choose),
    )


def resampled(
    values: torch.Tensor, resamples: int, *, seed: int, choose, progress=lambda chunks: chunks
) -> torch.Tensor:
    """(resamples, edges) booleans: what `choose` (mean values, (chunk, edges), to booleans) takes
    of resampled examples.
    """
    means = bootstrap_means(values, resamples=resamples, seed=seed)
    return torch.cat([choose(chunk) for chunk in progress(means)])


def resampled_circuits(
    graph: Graph, rule: Rule, *, per_example: torch.Tensor, resamples: int, seed: int
) -> torch.Tensor:
    """(resamples, edges) booleans: what `rule` takes of resampled scores per example."""
    return resampled(rule.values(per_example), resamples, seed=seed, choose=rule.taking(graph))


def noise_floor(kept: torch.Tensor) -> dict[str, float]:
    """{"mean", "low", "high"} of the Jaccard index of every two of the circuits of resampled
    examples (resamples, edges).
    """
    return central(every_two(kept).jaccard)


def split_half(values: torch.Tensor, splits: int, *, seed: int, choose) -> np.ndarray:
    """(splits,) Jaccard index between what `choose` takes of one random half of the examples and of
    the other half.
    """
    generator, n = torch.Generator().manual_seed(seed), len(values)
    first = torch.stack(
        [torch.randperm(n, generator=generator) < n // 2 for _ in range(splits)]
    ).float()
    return jaccards(
        _circuits_of(first, values, choose=choose), _circuits_of(1 - first, values, choose=choose)
    )


def _circuits_of(chosen: torch.Tensor, values: torch.Tensor, *, choose) -> torch.Tensor:
    """What `choose` takes of the mean over the examples with a 1 in each row of `chosen`."""
    return choose(chosen @ values.float() / chosen.sum(1, keepdim=True))


def summarise(drawn: Bootstrap, n_examples: int, *, seed: int, goal: float = STABLE) -> dict:
    """What a circuit's metadata says of its bootstrap: {"mean", "low", "high"} are the mean and the
    central 95 % of resamples.

    It is called stable where two resamples overlap by more than `goal` in the mean.

    `selection_frequency` and `sign_stability` have a number per edge, in the order of the file's
    edges.
    """
    noise = central(drawn.edges_jaccard)
    return {
        "examples": n_examples,
        "resamples": len(drawn.sizes),
        "seed": seed,
        "size": central(drawn.sizes),
        "jaccard_with_circuit": central(drawn.with_circuit),
        "noise_floor": noise,
        "noise_floor_nodes": central(drawn.nodes_jaccard),
        "split_half": central(drawn.halves_jaccard),
        "stable": noise["mean"] > goal and n_examples >= MIN_EXAMPLES,
        "stable_above": goal,
        "sure_edges": int((drawn.frequency >= SURE).sum()),
        "selection_frequency": drawn.frequency.tolist(),
        "sign_stability": drawn.sign_stability.tolist(),
    }


def of_circuit(
    circuit: Circuit, per_example: torch.Tensor | None, *, seed: int, progress=lambda chunks: chunks
) -> dict | None:
    """The bootstrap that the circuit's file holds, else one from its per-example scores; None where
    there are fewer than two.
    """
    if circuit.about.bootstrap is not None:
        return circuit.about.bootstrap
    if per_example is None or len(per_example) < 2:
        return None
    return summarise(
        bootstrap(circuit, per_example, resamples=RESAMPLES, seed=seed, progress=progress),
        len(per_example),
        seed=seed,
    )


def sentence(about: dict | None) -> str:
    """What a summary says, in words; None is a circuit without two per-example scores."""
    if about is None:
        return (
            "no scores of two examples or more beside the file: no interval, and nothing is said "
            "about its stability"
        )
    word = "stable" if about["stable"] else "not stable"
    return (
        f"{about['resamples']} resamples of {about['examples']} examples: "
        f"{fixed(about['size'], 0)} edges after pruning, {about['sure_edges']} of them in "
        f"{SURE:.0%} of resamples; noise floor: Jaccard {fixed(about['noise_floor'])} between two "
        f"resamples, {about['split_half']['mean']:.3f} between disjoint halves: {word} (a mean "
        f"over {about['stable_above']} between resamples is)"
    )


# ---------------------------------------------------------------- two circuits


def permutation_test(
    base: torch.Tensor,
    other: torch.Tensor,
    *,
    n: int,
    absolute: bool = True,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict:
    """Are two models' circuits different? Scores (examples, edges) of the same examples, labels
    swapped example by example.

    Statistic: 1 - Jaccard of the `n` strongest edges of either, before pruning, so that both have
    one size. Scores are first divided by their model's sum over edges of |mean score|: a larger
    metric is no other circuit. Returns {"distance", "null": {"mean", "low", "high"}, "p",
    "smallest_p", "permutations", "examples", "edges"}; with m examples no p value can be under 2^(1
    - m). Raises InputError for scores of other examples.
    """
    if base.shape != other.shape:
        raise InputError(
            f"expected per-example scores of the same examples, got {tuple(base.shape)} and "
            f"{tuple(other.shape)}"
        )
    base, other = _normalised(base), _normalised(other)
    generator, examples = torch.Generator().manual_seed(seed), len(base)
    swaps = torch.randint(2, (permutations, examples), generator=generator).double()
    observed = float(
        _distances(base, other, swaps=torch.zeros(1, examples).double(), n=n, absolute=absolute)[0]
    )
    null = torch.cat(
        [_distances(base, other, swaps=part, n=n, absolute=absolute) for part in swaps.split(CHUNK)]
    ).numpy()
    p = (1 + int((null >= observed - 1e-9).sum())) / (1 + permutations)
    return {
        "distance": observed,
        "null": central(null),
        "p": p,
        "smallest_p": max(1 / (1 + permutations), 2.0 ** (1 - examples)),
        "permutations": permutations,
        "examples": examples,
        "edges": n,
    }


def _normalised(scores: torch.Tensor) -> torch.Tensor:
    """(examples, edges): scores divided by the sum over edges of |mean score|."""
    scores = scores.double()
    return scores / scores.mean(0).abs().sum().clamp_min(1e-300)


def _distances(base, other, *, swaps, n: int, absolute: bool) -> torch.Tensor:
    """(permutations,) 1 - Jaccard of the two circuits when the examples with a 1 in `swaps`
    (permutations, examples) are swapped.
    """
    first = base.mean(0) + swaps @ (other - base) / len(base)
    second = base.mean(0) + other.mean(0) - first
    kept = strongest(first, n, absolute=absolute)
    others = strongest(second, n, absolute=absolute)
    shared = (kept & others).sum(1).double()
    return 1 - shared / (2 * n - shared)
