"""What `benchmarks/methods.py` measures of every method: tensors in, rows of numbers out.

Scores may be ranked by |mean score| ("mean") or by the mean of |score per example| ("example").
For the second, per-example scores are replaced by their absolute values; everything after that is
the same."""

import statistics
from dataclasses import dataclass
from typing import NamedTuple

import torch

from benchmarks import common
from eap import dataset, evaluate, exact, hooks
from eap import resampling as intervals
from eap.attribute import attribute
from eap.dataset import Pair
from eap.methods import METHODS
from eap.scores import completeness_gap, input_sums
from eap.selection import RANKS, Rule, ranking, strongest
from runs import console, devices, opening
from study.faithfulness import numbers as faithfulness
from study.overlap import every_two, jaccards
from study.stability.bootstrap import resampled, split_half
from summarization import corruption
from summarization.newsroom import articles
from tests import planted

FRACTIONS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # sizes of circuits, as shares of all edges
OVERLAPS = (0.02, 0.05)  # sizes at which circuits are compared with each other
LONGEST = 256  # tokens of a pair: the demo model's context
RESAMPLES = 200  # of the examples, and as many ways to halve them, for overlaps
DRAWS = 20  # pairs of disjoint samples, for overlaps


@dataclass(frozen=True)
class Way:
    """A row of the table: a method with its settings."""

    method: str
    steps: int = 1
    rule: str = "gauss-legendre"
    slow: bool = False  # on the fine-tuned model and the smaller planted ones only

    def metric(self, wanted: str) -> str:
        """The wanted metric, or nll where the method takes a gradient that kl and js have not."""
        return "nll" if METHODS[self.method].flat and wanted in ("kl", "js") else wanted


YARDSTICK = "EAP-IG, Legendre, 5"
OURS = "secant"
WAYS = {
    "EAP": Way("EAP"),
    "clean-corrupted": Way("clean-corrupted"),
    "EAP-IG, left, 5": Way("EAP-IG-inputs", 5, "left"),
    YARDSTICK: Way("EAP-IG-inputs", 5),
    "EAP-IG, Legendre, 10": Way("EAP-IG-inputs", 10),
    "AttnLRP": Way("AttnLRP"),
    "GIM": Way("GIM"),
    "edge gates": Way("edge-gates"),
    OURS: Way("secant"),
    "secant, norm held": Way("secant-norm-held"),
    "secant, 2 segments": Way("secant-segments", 2),
    "secant, 4 segments": Way("secant-segments", 4),
    "EAP-IG-activations, 3": Way("EAP-IG-activations", 3, slow=True),
}
EXACT = "exact"


# ---------------------------------------------------------------- pairs


class Pairs(NamedTuple):
    """Pairs of the embedded newsroom: circuits are found on `finding` and judged on `judging`.

    `others` are further pairs, on which overlaps of larger samples are measured.
    """

    finding: list[Pair]
    judging: list[Pair]
    others: list[Pair]


def demo_pairs(*, finding: int, judging: int, others: int, seed: int) -> Pairs:
    """The pairs that the demo's first stages make.

    Half of the first 2 x `finding` articles are to find circuits on.
    """
    from study.pairs.building import split_pairs

    to_find_on, held_out = split_pairs(_newsroom(0, 2 * finding, seed), 0.5, seed=seed)
    return Pairs(to_find_on, held_out[:judging], _newsroom(2 * finding, others, seed))


def _newsroom(first: int, n: int, seed: int) -> list[Pair]:
    """Pairs of n validation articles from number `first` on."""
    tokenizer = opening.load_tokenizer("demo")
    rows = articles("validation", first + n, seed=seed)[first:]
    examples, _ = corruption.prepare_all(tokenizer, rows, max_length=LONGEST)
    fill, pairs = corruption.swap_filler(examples, []), []
    for number, example in enumerate(examples):
        row = corruption.pair(example, number, fill=fill, seed=seed)
        ids = row["clean_ids"], row["corrupted_ids"]
        pairs.append(Pair(row["id"], *ids, row["summary_start"]))
    return pairs


# ---------------------------------------------------------------- scores


class Scored(NamedTuple):
    """A method's scores per example, of the pairs to find on and of others."""

    finding: torch.Tensor  # (pairs, edges)
    all: torch.Tensor  # (pairs, edges): of these pairs and of others
    seconds: float  # per pair
    gap: float | None  # completeness gap over `finding`; None for a method without one
    at_equal_time: int  # pairs that it scores while the yardstick scores a quarter of `finding`


def score(args, adapter, *, pairs: Pairs, way: Way, budget: float | None, many: bool) -> Scored:
    """The method's `Scored`.

    `budget` is the yardstick's time for a quarter of the pairs, None for itself. It scores further
    pairs where two samples of `at_equal_time` pairs need them; all of them with `many`.
    """
    device, n = devices.Device.of(vars(args)).torch_device, len(pairs.finding)
    done = []

    def work():
        done.append(_attribute(args, adapter, pairs.finding, way))

    seconds = common.seconds(work, device, clock="cpu") / n
    scores = done[0]
    gap = None
    if METHODS[way.method].complete:
        sums = input_sums(adapter.graph, scores.edges)
        gap = completeness_gap(sums, clean=scores.clean, corrupted=scores.corrupted)[0]
    equal = n // 4 if budget is None else max(1, round(budget / seconds))
    equal = min(equal, (n + len(pairs.others)) // 2)
    edges, more = [scores.edges], len(pairs.others) if many else 2 * equal - n
    if more > 0:
        edges.append(_attribute(args, adapter, pairs.others[:more], way).edges)
    return Scored(scores.edges, torch.cat(edges), seconds, gap, equal)


def _attribute(args, adapter, pairs: list[Pair], way: Way):
    metric, size = way.metric(args.metric), args.batch_size or 8
    options = {"steps": way.steps, "rule": way.rule}
    return attribute(
        adapter.model, pairs, method=way.method, metric=metric, batch_size=size, **options
    )


def ranked(per_example: torch.Tensor, rank: str) -> torch.Tensor:
    """(pairs, edges) numbers by whose |mean| over pairs edges are ranked."""
    return Rule(rank=rank).values(per_example)


# ---------------------------------------------------------------- faithfulness


def faithful(args, adapter, *, judging: list[Pair], scored: dict[str, Scored]) -> dict:
    """{(way, rank): rows of f at `FRACTIONS`, with their paired differences from the yardstick}."""
    entries = []
    for way, scores in scored.items():
        for rank in RANKS:
            mean = ranked(scores.finding, rank).double().mean(0)
            for fraction in FRACTIONS:
                kept = strongest(mean, round(fraction * adapter.graph.n_edges))
                entries.append(faithfulness.Entry(f"{way}|{rank}", fraction, kept))
    batches = dataset.batches(judging, args.batch_size or 8)
    total = len(entries) * len(batches)
    with console.Console.of(vars(args)).progress(None, "circuits", total=total) as bar:
        measured = faithfulness.measure(
            adapter,
            batches,
            entries=entries,
            how=faithfulness.Running([args.metric], tick=lambda: bar.update()),
        )
    judged = faithfulness.setting(measured, entries, metric=args.metric)
    rows = intervals.resample(len(judging), args.seed)
    return {(way, rank): _f_rows(judged, f"{way}|{rank}", rows) for way in scored for rank in RANKS}


def _f_rows(judged: faithfulness.Setting, kind: str, rows) -> list[dict]:
    """f with its interval and its difference from the yardstick by |mean score|, size by size."""
    yardstick = f"{YARDSTICK}|mean"
    differences = faithfulness.differences(
        judged, kind, other=judged, other_kind=yardstick, rows=rows
    )
    result = []
    for which, row in zip(judged.rows_of(kind), differences, strict=True):
        f = intervals.interval(row["f"], judged.resampled([which], rows)[0], n=rows.shape[1])
        keep = {"fraction": row["fraction"], "difference": row["difference"]}
        result.append({**keep, "f": f["mean"], "low": f["low"], "high": f["high"]})
    return result


# ---------------------------------------------------------------- stability


def overlaps(scored: Scored, rank: str, *, seed: int) -> dict:
    """Jaccard index of circuits found on other examples, for each size of `OVERLAPS`.

    {"halves", "resamples", "equal_time": [a number per size], "disjoint": [{"pairs", "jaccard":
    [...]}]}.
    """
    finding, everything = ranked(scored.finding, rank), ranked(scored.all, rank)
    n_edges = finding.shape[1]
    halves, between = [], []
    for fraction in OVERLAPS:
        n = round(fraction * n_edges)

        def choose(means, n=n):
            return strongest(means, n)

        halves.append(float(split_half(finding, RESAMPLES, seed=seed, choose=choose).mean()))
        kept = resampled(finding, RESAMPLES, seed=seed, choose=choose)
        between.append(float(every_two(kept).jaccard.mean()))
    sizes = [n for n in (6, 12, 24, 48, 96, 192) if 2 * n <= len(everything)]
    curve = [{"pairs": n, "jaccard": disjoint(everything, n, seed=seed)} for n in sizes]
    equal = disjoint(everything, scored.at_equal_time, seed=seed)
    return {"halves": halves, "resamples": between, "equal_time": equal, "disjoint": curve}


def disjoint(per_example: torch.Tensor, n: int, *, seed: int) -> list[float]:
    """Overlap of circuits of two disjoint samples of n pairs, for each size of `OVERLAPS`.

    The mean of `DRAWS`.
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = [], []
    for _ in range(DRAWS):
        order = torch.randperm(len(per_example), generator=generator)
        first.append(per_example[order[:n]].mean(0))
        second.append(per_example[order[n : 2 * n]].mean(0))
    first, second = torch.stack(first), torch.stack(second)
    counts = [round(fraction * per_example.shape[1]) for fraction in OVERLAPS]
    return [float(jaccards(strongest(first, n), strongest(second, n)).mean()) for n in counts]


# ---------------------------------------------------------------- exact patching


def edges_to_patch(scores: list[torch.Tensor], n: int, *, seed: int) -> list[int]:
    """The n strongest edges by each of the scores, and as many others at random as these are."""
    chosen = set()
    for values in scores:
        chosen |= set(ranking(values)[:n].tolist())
    order = torch.randperm(len(scores[0]), generator=torch.Generator().manual_seed(seed)).tolist()
    others = [edge for edge in order if edge not in chosen]
    return sorted(chosen) + others[: len(chosen)]


def patch(args, adapter, *, pairs: list[Pair], edges: list[int]) -> torch.Tensor:
    """(edges,) exact scores of the given edges, mean over the pairs: one run of the model each."""
    with hooks.frozen(adapter.model):
        runner = evaluate.CircuitRunner(adapter, dataset.collate(list(range(len(pairs))), pairs))
        chosen = console.Console.of(vars(args)).progress(edges, "patching exactly")
        return exact.exact_patching(runner, args.metric, edges=chosen).double().mean(0)


def agreement(args, adapter, *, pairs: Pairs, scored: dict[str, Scored]) -> dict[str, dict]:
    """{way: {"pearson", "spearman"}}: of scores, and of |scores|, with exact patching."""
    from scipy.stats import spearmanr

    n = args.exact_examples
    means = {way: scores.finding[:n].double().mean(0) for way, scores in scored.items()}
    leading = [means[way] for way in (YARDSTICK, OURS) if way in means]
    edges = edges_to_patch(leading, args.edges, seed=args.seed)
    exact, result = patch(args, adapter, pairs=pairs.finding[:n], edges=edges), {}
    for way, mean in means.items():
        pearson = torch.corrcoef(torch.stack([mean[edges], exact]))[0, 1]
        spearman = spearmanr(mean[edges].abs().numpy(), exact.abs().numpy()).statistic
        about = {"pearson": float(pearson), "spearman": float(spearman), "edges": len(edges)}
        result[way] = about
    return result


# ---------------------------------------------------------------- a model, and planted circuits


def on_model(args, name: str, *, path: str, ways: list[str], many: list[str]) -> list[dict]:
    """A row for every method on one model.

    `many` are those whose overlap goes up to large samples.
    """
    from eap.models import adapt

    device = devices.Device.of(vars(args)).torch_device
    adapter = adapt(opening.load_model(path, torch.float32, device=device))
    pairs = demo_pairs(
        finding=args.examples, judging=args.judges, others=args.others, seed=args.seed
    )
    scored, budget = {}, None
    in_order = [YARDSTICK, *(way for way in ways if way != YARDSTICK)]
    for way in console.Console.of(vars(args)).progress(in_order, name):
        how = {"way": WAYS[way], "budget": budget, "many": way in many}
        scored[way] = score(args, adapter, pairs=pairs, **how)
        if way == YARDSTICK:
            budget = scored[way].seconds * (len(pairs.finding) // 4)
    exact = agreement(args, adapter, pairs=pairs, scored=scored)
    f = faithful(args, adapter, judging=pairs.judging, scored=scored)
    rows = []
    for way, scores in scored.items():
        row = {"model": name, "way": way, "metric": WAYS[way].metric(args.metric)}
        row |= {"seconds": scores.seconds, "gap": scores.gap, **exact[way]}
        row["pairs_at_equal_time"] = scores.at_equal_time
        for rank in RANKS:
            row[rank] = {"f": f[way, rank], **overlaps(scores, rank, seed=args.seed)}
        rows.append(row)
    return rows


def on_planted_circuits(args, ways: list[str]) -> list[dict]:
    """AUROC of |score| against the true edges, for every method and for exact patching.

    Exact patching and what is slow is measured at the smaller size only.
    """
    rows, known = [], WAYS | {EXACT: Way("exact", slow=True)}
    for size in planted.SIZES:
        chosen = [
            way for way in (*ways, EXACT) if size == min(planted.SIZES) or not known[way].slow
        ]
        areas = {way: [] for way in chosen}
        for seed in console.Console.of(vars(args)).progress(
            range(args.seeds), f"planted circuits, {size} subspaces"
        ):
            model, true, pairs = planted.planted(size, seed)
            for way, values in areas.items():
                scores = _attribute(args, _Model(model), pairs, known[way])
                values.append(planted.auroc(scores.edges.mean(0), true))
        for way, values in areas.items():
            about = {"way": way, "subspaces": size, "auroc": values}
            rows.append(about | {"mean": statistics.mean(values)})
    return rows


class _Model(NamedTuple):
    """What `_attribute` needs of an adapter."""

    model: torch.nn.Module
