"""How many examples make a circuit stable, and at which sizes it is, from stored scores alone.

Overlap is the Jaccard index of two circuits by the rule of extraction, pruned. Of two kinds, as
functions of the number n of examples:

- *resamples*: two bootstrap resamples of n of the N examples, n up to N. At n = N this is the noise
  floor by which a circuit is called stable. Resamples share the accidents of their examples, so it
  errs upwards.
- *disjoint*: the circuits of two disjoint samples of n examples each, n up to N / 2: what another
  study on n other examples would find.

Ahead of what was measured. Of a circuit's edges the share r = (1 - J) / (1 + J) is replaced in the
other one. Edges change places where their means differ by less than the noise of a mean, whose size
goes with 1 / sqrt(n): r falls as 1 / sqrt(n) where n is large, and starts at a finite value. The
model is 1 / r = a + b sqrt(n), by least squares on log r over the upper two octaves of n. Its
uncertainty has two parts: a jackknife over groups of examples (Efron and Stein 1981; t quantile),
and of the model: the power law n^-k with the exponent that the last octave has, and with k = 1/2.
An interval spans all of them. No number is given where the curve does not rise beyond its
uncertainty, leaves the model by more than `WORST_FIT`, or would be read off farther than `FARTHEST`
times the largest n measured.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student

from eap.circuit import Circuit
from eap.resampling import TAILS, bootstrap_means, central
from eap.selection import FRACTIONS as SIZES
from study.overlap import chance, every_two, jaccards
from study.stability import bootstrap

SIZE_RESAMPLES = 100  # for the overlap at each size
DRAWS, GROUP_DRAWS = 40, 16  # comparisons at each n; with one group of examples left out
AGAIN = 4  # resamples of the same examples
GROUPS = 6  # of examples, for the jackknife
FEWEST = 16  # examples from which on there is a curve
STEP = 2**0.5  # from one n to the next
FITTED = 4  # the model is fitted from the largest n down to this part of it
FARTHEST = 4  # times the largest n measured: no farther ahead
WORST_FIT = 0.08  # largest relative deviation of r from the model


@dataclass(frozen=True)
class Fit:
    """1 / r = start + slope sqrt(n), with the largest n and its r, and the exponent of the last
    octave of n.
    """

    start: float
    slope: float
    last_n: int
    last_r: float
    exponent: float
    deviation: float  # largest |r measured / r fitted - 1|

    def overlap(self, n) -> np.ndarray:
        """The Jaccard index at n examples, by the model."""
        return to_jaccard(1 / np.maximum(self.start + self.slope * np.sqrt(n), 1.0))

    def powers(self, n) -> np.ndarray:
        """(2, ...) the Jaccard index at n examples by n^-k: k of the last octave, and k = 1/2."""
        ahead = np.asarray(n, dtype=float) / self.last_n
        return to_jaccard(
            np.stack([self.last_r * ahead**-k for k in (max(self.exponent, 0.0), 0.5)])
        )


# ---------------------------------------------------------------- overlap against examples


def counts_of_examples(most: int) -> list[int]:
    """The numbers of examples at which overlap is measured, from `most` down to an eighth of it,
    ascending.
    """
    steps = range(7)
    return sorted({n for step in steps if (n := round(most / STEP**step)) >= 3})


def disjoint(values: torch.Tensor, n: int, *, draws: int, generator, choose) -> np.ndarray:
    """(draws,) overlap of the circuits of two disjoint samples of n examples each. `values` is
    (examples, edges).
    """
    weights = torch.zeros(2, draws, len(values))
    for draw in range(draws):
        order = torch.randperm(len(values), generator=generator)
        weights[0, draw, order[:n]] = weights[1, draw, order[n : 2 * n]] = 1 / n
    return jaccards(choose(weights[0] @ values), choose(weights[1] @ values))


def resampled(values: torch.Tensor, n: int, *, draws: int, generator, choose) -> np.ndarray:
    """(comparisons,) overlap of the circuits of two bootstrap resamples of n examples, drawn from
    all without replacement.

    Of every such n examples `AGAIN` resamples are compared, each with each; there are as many
    circuits as `disjoint` has.
    """
    overlaps = []
    for _ in range(2 * draws // AGAIN):
        order = torch.randperm(len(values), generator=generator)[:n]
        rows = torch.randint(n, (AGAIN, n), generator=generator)
        counts = torch.zeros(AGAIN, n).scatter_add_(1, rows, torch.ones(rows.shape))
        overlaps.append(every_two(choose(counts / n @ values[order])).jaccard)
    return np.concatenate(overlaps)


KINDS = {"resamples": (resampled, 1), "disjoint": (disjoint, 2)}  # and samples in one comparison


def curve(kind: str, values: torch.Tensor, *, choose, goal: float, seed: int) -> dict:
    """Overlap against the number of examples, and what it says of more examples than there are.

    {"points": [{"examples", "mean", "low", "high"}], the central 95 % of comparisons; "fit";
    "ahead": the same with the interval of the mean; "needed": {"examples", "low", "high"} or None,
    "goal", "why_not"}.
    """
    points = measure(kind, values, draws=DRAWS, seed=seed, choose=choose)
    measured = {n: float(overlaps.mean()) for n, overlaps in points.items()}
    summary = {
        "points": [{"examples": n, **central(overlaps)} for n, overlaps in points.items()],
        "goal": goal,
        "fit": None,
        "ahead": [],
        "needed": reached(measured, goal),
        "why_not": None,
    }
    fit = fitted(measured)
    others = [
        fitted({n: float(overlaps.mean()) for n, overlaps in part.items()})
        for part in without_groups(kind, values, seed=seed, choose=choose)
    ]
    if why_not := doubt(fit, others):
        return summary | {"why_not": None if summary["needed"] else why_not}
    summary["fit"] = {
        "start": fit.start,
        "slope": fit.slope,
        "deviation": fit.deviation,
        "last_exponent": fit.exponent,
    }
    summary["ahead"] = ahead(fit, others)
    return summary if summary["needed"] else summary | needed(fit, others, goal=goal)


def reached(measured: dict[int, float], goal: float) -> dict | None:
    """{"examples": the smallest number measured from which on the mean overlap is over the goal},
    without interval; None: none is.
    """
    above = [n for n in measured if all(measured[m] > goal for m in measured if m >= n)]
    return {"examples": min(above), "low": None, "high": None} if above else None


def measure(kind: str, values: torch.Tensor, *, draws: int, seed: int, choose) -> dict:
    """{n: (draws,) overlaps} for every number of examples that there are enough of."""
    compare, samples = KINDS[kind]
    generator = torch.Generator().manual_seed(seed)
    numbers = counts_of_examples(len(values) // samples)
    return {n: compare(values, n, draws=draws, generator=generator, choose=choose) for n in numbers}


def without_groups(kind: str, values: torch.Tensor, *, seed: int, choose):
    """Yield `measure` with each of `GROUPS` groups of examples left out, in the range of n that is
    fitted.
    """
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    compare, samples = KINDS[kind]
    for group in range(GROUPS):
        generator = torch.Generator().manual_seed(seed + 1 + group)
        kept = torch.ones(len(values), dtype=torch.bool)
        kept[order[group::GROUPS]] = False
        part, numbers = values[kept], counts_of_examples(int(kept.sum()) // samples)
        yield {
            n: compare(part, n, draws=GROUP_DRAWS, generator=generator, choose=choose)
            for n in numbers
            if n >= max(numbers) / FITTED - 1
        }


# ---------------------------------------------------------------- the model


def to_share(jaccard):
    """The share of a circuit's edges that are others in a circuit of the same size: (1 - J) / (1 +
    J).
    """
    return (1 - jaccard) / (1 + jaccard)


to_jaccard = to_share  # its own inverse


def fitted(means: dict[int, float]) -> Fit:
    """The `Fit` of mean overlaps by number of examples."""
    last = max(means)
    used = sorted(n for n in means if n >= last / FITTED - 1)
    n, share = np.array(used, dtype=float), to_share(np.array([means[k] for k in used]))
    share = share.clip(1e-6)
    design = np.stack([np.ones(len(n)), np.sqrt(n)], axis=1)
    # least squares on 1 / r with weights r: to first order on log r
    start, slope = np.linalg.lstsq(design * share[:, None], np.ones(len(n)), rcond=None)[0]
    octave = n >= last / 2 - 1
    exponent = -np.polyfit(np.log(n[octave]), np.log(share[octave]), 1)[0]
    model = design @ (start, slope)
    deviation = float(np.abs(share * model - 1).max())
    return Fit(float(start), float(slope), last, float(share[-1]), float(exponent), deviation)


def spread(values: np.ndarray) -> float:
    """Half the width of the 95 % interval of a number, from its values with each group left out."""
    groups = len(values)
    error = np.sqrt((groups - 1) / groups * ((values - values.mean()) ** 2).sum())
    return float(student.ppf(TAILS[1], groups - 1) * error)


def doubt(fit: Fit, others: list[Fit]) -> str | None:
    """Why nothing is said of more examples; None where the curve supports it."""
    if fit.deviation > WORST_FIT:
        return f"the curve leaves 1/r = a + b sqrt(n) by {fit.deviation:.0%}"
    if fit.slope - spread(np.array([other.slope for other in others])) <= 0:
        return "overlap does not rise with examples beyond its uncertainty"
    return None


def ahead(fit: Fit, others: list[Fit]) -> list[dict]:
    """[{"examples", "mean", "low", "high"}] from the largest n measured to `FARTHEST` times it: the
    mean overlap and its interval.
    """
    numbers = [round(fit.last_n * STEP**step) for step in range(5)]
    rows = []
    for n in numbers:
        mean, powers = float(fit.overlap(n)), fit.powers(n)
        half = spread(np.array([float(other.overlap(n)) for other in others]))
        rows.append(
            {
                "examples": n,
                "mean": mean,
                "low": float(max(0.0, min(mean, powers.min()) - half)),
                "high": float(min(1.0, max(mean, powers.max()) + half)),
            }
        )
    return rows


def needed(fit: Fit, others: list[Fit], *, goal: float) -> dict:
    """{"needed", "why_not"}: how many examples reach the goal by the model, with its interval.

    `high` is None where it is farther ahead than `FARTHEST` allows; where the number itself is,
    there is none.
    """
    limit, share = FARTHEST * fit.last_n, to_share(goal)
    number = crossing(fit, share)
    if not number <= limit:
        return {"needed": None, "why_not": f"it takes more than {limit}, which is too far ahead"}
    exponents = np.array([max(fit.exponent, 1e-3), 0.5])
    powers = fit.last_n * np.exp(np.minimum(np.log(fit.last_r / share) / exponents, 50))
    half = spread(np.log([min(crossing(other, share), 1e6 * limit) for other in others]))
    low = min(number, powers.min()) * np.exp(-half)
    high = max(number, powers.max()) * np.exp(min(half, 50))
    return {
        "needed": {
            "examples": int(np.ceil(number)),
            "low": int(np.floor(low)),
            "high": int(np.ceil(high)) if high <= limit else None,
        },
        "why_not": None,
    }


def crossing(fit: Fit, share: float) -> float:
    """The number of examples at which a share `share` of the edges is replaced, by the model;
    infinite where it never is so small.
    """
    if fit.slope <= 0:
        return float("inf")
    return max((1 / share - fit.start) / fit.slope, 1.0) ** 2


# ---------------------------------------------------------------- overlap against size


def by_size(circuit: Circuit, values: torch.Tensor, *, goal: float, seed: int) -> list[dict]:
    """Overlap of two resamples of the examples at each of `SIZES`, by the circuit's ranking, with
    its chance level.

    [{"fraction", "selected", "pruned": mean edges after pruning, "mean", "low", "high", "chance",
    "stable"}]. With all edges nothing is chosen, so that size is never called stable.
    """
    graph = circuit.graph
    means = torch.cat(list(bootstrap_means(values, resamples=SIZE_RESAMPLES, seed=seed)))
    rows = []
    for fraction in SIZES:
        rule = circuit.rule.sized(max(1, round(fraction * graph.n_edges)))
        kept = rule.taking(graph)(means)
        overlap, size = bootstrap.noise_floor(kept), float(kept.sum(1).double().mean())
        rows.append(
            {
                "fraction": fraction,
                "selected": rule.n,
                "pruned": size,
                **overlap,
                "chance": chance(size, size, total=graph.n_edges),
                "stable": overlap["mean"] > goal and fraction < 1,
            }
        )
    return rows


# ---------------------------------------------------------------- all of it


def summarise(circuit: Circuit, per_example: torch.Tensor, *, goal: float, seed: int) -> dict:
    """What a circuit's metadata says of its stability: {"examples", "goal", "sizes",
    "stable_sizes", "resamples", "disjoint"}.

    `stable_sizes` is {"smallest", "largest", "but": sizes between them at which it is not} as
    shares of all edges, or None; the two curves are None for fewer than `FEWEST` examples.
    """
    values = circuit.rule.values(per_example).float()
    choose = circuit.rule.taking(circuit.graph)
    sizes = by_size(circuit, values, goal=goal, seed=seed)
    stable = [row["fraction"] for row in sizes if row["stable"]]
    enough = len(values) >= FEWEST
    return {
        "examples": len(values),
        "goal": goal,
        "sizes": sizes,
        "stable_sizes": span_of(stable),
        **{
            kind: curve(kind, values, choose=choose, goal=goal, seed=seed) if enough else None
            for kind in KINDS
        },
    }


def span_of(stable: list[float]) -> dict | None:
    """The `stable_sizes` of `summarise`: where small and large circuits are stable, those between
    need not be.
    """
    if not stable:
        return None
    first, last = min(stable), max(stable)
    but = [size for size in SIZES if first < size < last and size not in stable]
    return {"smallest": first, "largest": last, "but": but}


def sentences(about: dict) -> list[str]:
    """What a summary says, in words: sizes at which the circuit is stable, and how many examples it
    takes to be.
    """
    sizes, goal = about["stable_sizes"], about["goal"]
    stable = f"stable (over {goal:g} between resamples)"
    if sizes is None:
        ends = f"{SIZES[0]:.1%} to {SIZES[-2]:.0%}"
        lines = [f"{stable} at none of the sizes from {ends} of the edges"]
    elif sizes["smallest"] == sizes["largest"]:
        lines = [f"{stable} at {sizes['smallest']:.1%} of the edges only"]
    else:
        but = ", ".join(f"{size:.1%}" for size in sizes["but"])
        lines = [
            f"smallest size at which the circuit is {stable}: "
            f"{sizes['smallest']:.1%} of the edges, largest {sizes['largest']:.1%}"
            + (f"; not stable between them at {but}" if but else "")
        ]
    for kind, words in (("resamples", "resamples"), ("disjoint", "disjoint samples")):
        lines.append(
            f"for a mean Jaccard index over {goal:g} between {words}: {_needs(about, kind)}"
        )
    return lines


def _needs(about: dict, kind: str) -> str:
    curve, n_examples = about[kind], about["examples"]
    if curve is None:
        return f"no number from {n_examples} examples (fewer than {FEWEST})"
    most = curve["points"][-1]["examples"]
    if curve["needed"] is None:
        return f"no number of examples can be told from {n_examples}: {curve['why_not']}"
    number = curve["needed"]
    if number["low"] is None:
        return f"{number['examples']} examples are enough"
    high = f"{number['high']}" if number["high"] is not None else f"more than {FARTHEST * most}"
    return (
        f"about {number['examples']} examples [{number['low']}, {high}] would be needed, "
        f"by the curve up to {most}"
    )
