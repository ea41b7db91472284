"""Do the reported 95 % intervals hold the true value in 95 % of studies?

Draws --studies data sets of n examples from populations whose true value is known, with the shape
of what is reported: f (a ratio of means), its differences, NLL, KL, and paired differences of
ROUGE. Counts how often an interval holds the true value, for the reported interval and for three
others.

Reads   nothing
Writes  intervals.json in --output_dir, and prints it as a table

    python benchmarks/intervals.py
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runs import console, disk, flags  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
STUDIES = 4000  # of every population and size; 4000 tell 95 % to within 0.7 %
EXAMPLES = "8,16,32,100"
# --------------------------------------------------------------------------------------------
AT_ONCE = 200  # studies


@dataclass(frozen=True)
class Population:
    """Where examples come from, and what is computed of them: a function of means over examples."""

    name: str
    draw: Callable  # (generator, studies, examples) -> (studies, examples, quantities)
    value: Callable  # (..., quantities) of means -> (...,)
    slope: Callable  # the same -> (..., quantities), its derivative by each mean
    true: float


def f_of(means):
    """f of means of the circuit's, the whole model's and the corrupted run's metric."""
    circuit, full, empty = np.moveaxis(means, -1, 0)[:3]
    return (circuit - empty) / (full - empty)


def f_slope(means):
    """The derivative of f by the three means."""
    full, empty = means[..., 1], means[..., 2]
    f = f_of(means)
    return np.stack([np.ones_like(f), -f, f - 1], -1) / (full - empty)[..., None]


def difference_of(means):
    """f of one circuit less f of another; the fourth mean is the other's metric."""
    return f_of(means) - f_of(means[..., [3, 1, 2]])


def difference_slope(means):
    """The derivative of the difference by the four means."""
    of_first, of_other = f_slope(means), f_slope(means[..., [3, 1, 2]])
    shared = np.stack([np.zeros_like(of_other[..., 0]), of_other[..., 1], of_other[..., 2]], -1)
    return np.concatenate([of_first - shared, -of_other[..., :1]], -1)


def drawn_kl(generator, studies: int, n: int) -> np.ndarray:
    """KL of a circuit, of the whole model (0), of the corrupted run, of another circuit; nats."""
    shape = studies, n
    log_empty = generator.normal(0, 0.7, shape)
    circuit = np.exp(np.log(0.2) + 0.8 * log_empty + generator.normal(0, 0.5, shape))
    other = np.exp(np.log(0.3) + 0.8 * log_empty + generator.normal(0, 0.5, shape))
    return np.stack([circuit, np.zeros(shape), np.exp(log_empty), other], -1)


def drawn_kl_of_one(generator, studies: int, n: int) -> np.ndarray:
    """The same without the other circuit."""
    return drawn_kl(generator, studies, n)[..., :3]


def mean_kl(share: float) -> float:
    """The mean of what `drawn_kl` draws for a circuit."""
    return share * float(np.exp((0.8 * 0.7) ** 2 / 2 + 0.5**2 / 2))


def drawn_nll(generator, studies: int, n: int) -> np.ndarray:
    """NLL with a circuit, with the whole model and with the corrupted run: some change little."""
    shape = studies, n
    full = np.exp(generator.normal(np.log(2.5), 0.35, shape))
    effect = generator.gamma(1.5, 0.4, shape)
    circuit = full + 0.2 * effect + generator.normal(0, 0.1, shape)
    return np.stack([circuit, full, full + effect], -1)


def drawn_rouge(generator, studies: int, n: int) -> np.ndarray:
    """Paired differences of ROUGE in percent: three in ten texts alike, the others long-tailed."""
    alike = generator.random((studies, n)) < 0.3
    return np.where(alike, 0.0, generator.laplace(1.5, 5.0, (studies, n)))[..., None]


def lognormal(spread: float) -> Callable:
    """A drawing function of lognormal values around 2.5."""
    return lambda generator, studies, n: np.exp(
        generator.normal(np.log(2.5), spread, (studies, n, 1))
    )


def first(means):
    """The mean itself."""
    return means[..., 0]


TRUE_KL = [mean_kl(share) / float(np.exp(0.7**2 / 2)) for share in (0.2, 0.3)]
POPULATIONS = (
    Population("f, KL", drawn_kl_of_one, f_of, f_slope, 1 - TRUE_KL[0]),
    Population("f, NLL", drawn_nll, f_of, f_slope, 0.8),
    Population(
        "difference of f, KL", drawn_kl, difference_of, difference_slope, TRUE_KL[1] - TRUE_KL[0]
    ),
    Population("NLL", lognormal(0.35), first, np.ones_like, 2.5 * float(np.exp(0.35**2 / 2))),
    Population("KL", lognormal(0.7), first, np.ones_like, 2.5 * float(np.exp(0.7**2 / 2))),
    Population("difference of ROUGE", drawn_rouge, first, np.ones_like, 0.7 * 1.5),
)


# ---------------------------------------------------------------- intervals of many studies at once


def standard_error(means, squares, *, slope, n: int) -> np.ndarray:
    """That of a function of means (..., k), from the means of products (..., k, k)."""
    covariance = squares - means[..., :, None] * means[..., None, :]
    variance = np.einsum("...i,...ij,...j->...", slope, covariance, slope) / (n - 1)
    return np.sqrt(np.maximum(variance, 0))


def resampled_means(counts, values) -> np.ndarray:
    """(studies, resamples, ...) means of values (studies, n, ...).

    `counts` (resamples, n) are the shares of the examples.
    """
    return np.moveaxis(np.tensordot(counts, values, (1, 1)), 0, 1)


def intervals(population: Population, data: np.ndarray, *, rows: np.ndarray) -> dict:
    """{name: (low, high)} of each study, from examples (studies, n, quantities).

    `rows` (resamples, n) are the numbers of resampled examples.
    """
    from eap import resampling

    value, slope, n = population.value, population.slope, data.shape[1]
    counts = np.stack([np.bincount(row, minlength=n) for row in rows]) / n
    products = data[..., :, None] * data[..., None, :]
    means, squares = data.mean(1), products.mean(1)
    drawn_means = resampled_means(counts, data)
    drawn = value(drawn_means)
    point, error = value(means), standard_error(means, squares, slope=slope(means), n=n)
    drawn_squares = resampled_means(counts, products)
    drawn_error = standard_error(drawn_means, drawn_squares, slope=slope(drawn_means), n=n)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(drawn_error > 0, (drawn - point[:, None]) / drawn_error, 0.0)
    low, high = np.quantile(ratio, resampling.TAILS, axis=1)
    return {
        "reported": resampling.ends(drawn, 1, n=n),
        "plain percentiles": resampling.ends(drawn, 1),
        "BCa": bca(population, data, drawn=drawn, point=point),
        "studentised": (point - high * error, point - low * error),
    }


def bca(population: Population, data, *, drawn, point) -> tuple[np.ndarray, np.ndarray]:
    """Bias-corrected and accelerated (Efron 1987), by the linear part of each example."""
    from scipy.stats import norm

    from eap import resampling

    means = data.mean(1)
    parts = np.einsum("snk,sk->sn", data - means[:, None], population.slope(means))
    acceleration = (parts**3).sum(1) / (6 * ((parts**2).sum(1) ** 1.5 + 1e-300))
    below = (drawn < point[:, None]).mean(1) + (drawn == point[:, None]).mean(1) / 2
    bias = norm.ppf(np.clip(below, 1e-3, 1 - 1e-3))
    ends = []
    for tail in resampling.TAILS:
        moved = bias + norm.ppf(tail)
        levels = norm.cdf(bias + moved / (1 - acceleration * moved))
        cut = [np.quantile(study, level) for study, level in zip(drawn, levels, strict=True)]
        ends.append(np.array(cut))
    return ends[0], ends[1]


def coverage(population: Population, n: int, *, studies: int, seed: int) -> dict:
    """{interval: {"covers", "width"}}: the share that holds the true value, and the mean width."""
    from eap import resampling

    generator, rows = np.random.default_rng([seed, n]), resampling.resample(n, seed)
    holds, widths = {}, {}
    for start in range(0, studies, AT_ONCE):
        data = population.draw(generator, min(AT_ONCE, studies - start), n)
        for name, (low, high) in intervals(population, data, rows=rows).items():
            inside = (low <= population.true) & (population.true <= high)
            holds.setdefault(name, []).append(inside)
            widths.setdefault(name, []).append(high - low)
    return {
        name: {
            "covers": float(np.concatenate(holds[name]).mean()),
            "width": float(np.median(np.concatenate(widths[name]))),
        }
        for name in holds
    }


# ---------------------------------------------------------------- the script


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, "outputs/benchmarks")
    add = parser.add_argument
    add("--studies", type=flags.positive_int, default=STUDIES, help="(default: %(default)s)")
    add("--examples", type=flags.int_list, default=EXAMPLES, help="(default: %(default)s)")
    return parser.parse_args(argv)


def main(argv=None):
    """Draw, count, write."""
    args = parse(argv)
    rows = []
    for population in POPULATIONS:
        for n in args.examples:
            covered = coverage(population, n, studies=args.studies, seed=args.seed)
            rows.append({"value": population.name, "examples": n, "intervals": covered})
    path = Path(args.output_dir) / "intervals.json"
    disk.write_json(path, {"format": 1, "studies": args.studies, "rows": rows})
    print("\n".join(table(rows)))


def table(rows: list[dict]) -> list[str]:
    """Coverage in percent, and in brackets the width over the reported one's, as Markdown."""
    names = list(rows[0]["intervals"])
    lines = [f"| value | examples | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        reported, *others = row["intervals"].values()
        cells = [f"{100 * reported['covers']:.1f}"]
        for other in others:
            cells.append(f"{100 * other['covers']:.1f} ({other['width'] / reported['width']:.2f})")
        lines.append(f"| {row['value']} | {row['examples']} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    console.run_script(main)
