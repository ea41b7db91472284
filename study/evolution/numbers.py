"""How a circuit moves over checkpoints: change rates beside noise, similarity, edges that moved.

And scores by layer. All functions are pure; circuits are booleans over nodes or edges,
(checkpoints, items); scores are (checkpoints, edges).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import stdtr
from scipy.stats import false_discovery_control

from eap import InputError
from eap.circuit import Circuit
from eap.graph import Graph
from eap.resampling import FALSE_DISCOVERY, bootstrap_means
from study.overlap import Pairs, every_two, jaccard
from study.stability.bootstrap import resampled_circuits

SPLITS = 100  # of the examples into halves, for the norm by which scores are divided
LAYER_PAIRS = 300  # pairs of resamples for the noise floor of the layers' change
# circuits that differ in these measure different things
SETTING_KEYS = ("method", "metric", "ablation", "selection", "absolute", "rank", "pairs_sha256")


def differing_settings(circuits: list[Circuit]) -> list[str]:
    """Names of the settings of extraction that are not the same in all circuits that state them."""
    stated = {
        key: {str(circuit.metadata[key]) for circuit in circuits if key in circuit.metadata}
        for key in SETTING_KEYS
    }
    return [key for key, values in stated.items() if len(values) > 1]


# ---------------------------------------------------------------- change rates


def change_rates(kept: torch.Tensor) -> dict:
    """The change of a set over checkpoints; `kept` is (checkpoints, items).

    changed_t = added + removed between t-1 and t. S is the size. Fractions, not percent: of_first =
    changed_t / S_0 and its mean, dS (arXiv 2502.11812); of_previous = changed_t / S_{t-1};
    one_minus_jaccard of t-1 and t; from_first = size of the symmetric difference with the first
    checkpoint / S_0. A size of 0 counts as 1.
    """
    sizes = kept.sum(1).tolist()
    first = max(sizes[0], 1)
    pairs = list(zip(kept[:-1], kept[1:], strict=True))
    changed = [int((a ^ b).sum()) for a, b in pairs]
    return {
        "sizes": sizes,
        "changed": changed,
        "added": [int((b & ~a).sum()) for a, b in pairs],
        "removed": [int((a & ~b).sum()) for a, b in pairs],
        "of_first": [count / first for count in changed],
        "dS": float(np.mean(changed)) / first,
        "of_previous": [
            count / max(size, 1) for count, size in zip(changed, sizes[:-1], strict=True)
        ],
        "one_minus_jaccard": [1 - jaccard(a, b) for a, b in pairs],
        "from_first": [int((kept[0] ^ now).sum()) / first for now in kept],
    }


class Noise(NamedTuple):
    """Two extractions of one checkpoint on resampled examples, every two of many.

    Nodes and edges are those of the circuit as extraction cuts it; `equal_size` of circuits that
    all have as many edges.
    """

    edges: Pairs
    nodes: Pairs
    equal_size: Pairs


def noise(
    circuit: Circuit, per_example: torch.Tensor, *, resamples: int, seed: int, size: int
) -> Noise:
    """What resampling the examples alone does to a circuit. `per_example` is (examples, edges).

    Every resample's scores give a circuit by the rule of extraction, and the `size` edges of
    largest |score|. The first is `stability.bootstrap`'s noise floor, of as many resamples.
    """
    graph, rule = circuit.graph, circuit.rule
    edges = resampled_circuits(graph, rule, per_example=per_example, resamples=resamples, seed=seed)
    equal = resampled_circuits(
        graph, rule.equal(size), per_example=per_example, resamples=resamples, seed=seed
    )
    return Noise(every_two(edges), every_two(graph.nodes_kept(edges)), every_two(equal))


# ---------------------------------------------------------------- similarity


def arrival(with_last: list[float], low: float) -> tuple[int, int]:
    """(the first checkpoint whose Jaccard with the last is at least `low`, the first from which on
    it stays there).

    `low` is the least that noise alone leaves of the last circuit. The two differ where a circuit
    comes near and leaves again.
    """
    inside = [value >= low for value in with_last]
    outside = [t for t, good in enumerate(inside) if not good]
    return inside.index(True), outside[-1] + 1 if outside else 0


# ---------------------------------------------------------------- scores


class Norms(NamedTuple):
    """The size of all attribution of each checkpoint, its parts by example, and whether noise is
    taken out of all of them.
    """

    values: list[float]  # (checkpoints,)
    parts: list[torch.Tensor]  # (examples,) each; their mean is the value
    noise_free: bool


def norms(examples: Iterable[torch.Tensor]) -> Norms:
    """The size of all attribution, sum over edges of |score|, of each checkpoint's scores
    (examples, edges).

    Scores are divided by it, since the metric's scale, which grows during fine-tuning, would pass
    for change in every edge. The plain sum of |mean score| grows with noise, so that a noisier
    model would shrink all its edges: `crossfitted` stands in for it. Where that is not positive for
    one checkpoint, all get the plain sum, so that none is measured by another rule than the others.
    """
    crossed, plain = [], []
    for scores in examples:
        exact = scores.double()
        crossed.append(crossfitted(exact))
        plain.append(exact @ exact.mean(0).sign())
    noise_free = all(float(part.mean()) > 0 for part in crossed)
    parts = crossed if noise_free else plain
    return Norms([max(float(part.mean()), 1e-300) for part in parts], parts, noise_free)


def crossfitted(scores: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """(examples,) sum over edges of an example's score x the sign of the mean score in the half of
    the examples that it is not in.

    Mean over `SPLITS` random halvings. Expected of an edge that is noise alone is 0, of one whose
    sign is sure |score|. Zeros for fewer than 4 examples.
    """
    n = len(scores)
    parts = torch.zeros(n, dtype=scores.dtype)
    if n < 4:
        return parts
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randperm(n, generator=generator) < n // 2 for _ in range(SPLITS)]
    for first_halves in torch.stack(draws).to(scores.dtype).split(10):  # (10, examples) of 0 and 1
        for half in (first_halves, 1 - first_halves):
            signed = (half @ scores).sign() @ scores.T  # (10, examples), each by this half's signs
            parts += ((1 - half) * signed).sum(0) / SPLITS  # of those that are not in it
    return parts


def shares(scores: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """(examples, edges) normalised scores: their mean is mean score / norm, their spread over
    examples is that of this ratio.

    score / norm - share (part / norm - 1), the ratio's linearisation: an example that raises the
    norm lowers every share. `part` (examples,) is of `norms`.
    """
    norm = max(float(part.mean()), 1e-300)
    plain = scores.double() / norm
    return plain - torch.outer(part / norm - 1, plain.mean(0))


def layer_mass(graph: Graph, weights: torch.Tensor) -> torch.Tensor:
    """(..., layers) of (..., edges): each edge's weight, half to its source's layer and half to its
    destination's.

    `input` and `logits` are no layer.
    """
    src, dst = graph.edge_index
    mass = torch.zeros(*weights.shape[:-1], graph.n_layers + 2, dtype=torch.float64)
    for ends, names in ((src, graph.sources), (dst, graph.destinations)):
        layers = torch.tensor([graph.layer_of(name) + 1 for name in names])  # input is -1
        mass.index_add_(-1, layers[ends], weights.double() / 2)
    return mass[..., 1:-1]


def layer_noise(graph: Graph, normalised: torch.Tensor, *, seed: int) -> np.ndarray:
    """(pairs, layers): the change of the layers' `shares` between two extractions of one checkpoint
    on resampled examples.
    """
    drawn = bootstrap_means(normalised, resamples=2 * LAYER_PAIRS, seed=seed)
    return torch.cat(
        [layer_mass(graph, (means[::2] - means[1::2]).abs()) for means in drawn]
    ).numpy()


class Moves(NamedTuple):
    """Per edge: the normalised mean score before and after, its q (false-discovery rate), and what
    kind of change it is.
    """

    before: torch.Tensor  # (edges,)
    after: torch.Tensor  # (edges,)
    q: np.ndarray  # (edges,)
    kind: np.ndarray  # (edges,) one of KINDS


KINDS = ("no evidence", "added", "removed", "strengthened", "weakened", "sign changed")


def moves(
    before: torch.Tensor,
    after: torch.Tensor,
    *,
    kept_before: torch.Tensor,
    kept_after: torch.Tensor,
) -> Moves:
    """Which edges' scores changed beyond noise: a paired t-test over the same examples,
    Benjamini-Hochberg over all edges.

    `before` and `after` are (examples, edges); what is tested are their `shares`. `kept_*` say
    which edges each circuit has. An edge with q over 5 % shows no evidence of change, whatever the
    circuits' borders say of it. Of the others, those in one circuit only are added or removed;
    those in both or in none changed their sign, or grew or shrank in |mean score|. Raises
    InputError for other numbers of examples.
    """
    if before.shape != after.shape or len(before) < 2:
        raise InputError(
            "expected per-example scores of the same 2 or more examples, got "
            f"{tuple(before.shape)} and {tuple(after.shape)}"
        )
    parts = norms([before, after]).parts
    before, after = shares(before, parts[0]), shares(after, parts[1])
    old, new, n = before.mean(0), after.mean(0), len(before)
    error = (after - before).std(0) / n**0.5
    t = ((new - old).abs() / error).nan_to_num(nan=0.0)  # 0 / 0: an edge that never changes
    q = false_discovery_control((2 * stdtr(n - 1, -t.numpy())).clip(max=1))
    same_sign = old * new >= 0
    kinds = {  # of which the first that is true of an edge is its kind
        "no evidence": torch.from_numpy(q > FALSE_DISCOVERY),
        "added": kept_after & ~kept_before,
        "removed": kept_before & ~kept_after,
        "strengthened": same_sign & (new.abs() > old.abs()),
        "weakened": same_sign,
        "sign changed": ~same_sign,
    }
    kind = np.select([case.numpy() for case in kinds.values()], list(kinds), "sign changed")
    return Moves(old, new, q, kind)
