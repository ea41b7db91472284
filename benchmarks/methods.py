"""Which method, rule and metric to choose? Agreement with exact patching, planted circuits found, completeness, and time.

On the embedded demo model: for each metric, correlation of the scores with exact patching (the metric with one edge ablated minus with
none, same pairs) over the 300 edges of largest |score| by the default method and 300 random others. On planted circuits (tests/planted.py:
small GPT-2s whose true edges are known by construction): AUROC of |score| against the true edges, two sizes, five seeds each.

Reads   the embedded demo model and newsroom
Writes  methods.json and methods.png in --output_dir

    python benchmarks/methods.py
"""

import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.evaluation import demo_pairs  # noqa: E402
from summarization import flags, runs  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
EXAMPLES = 8  # pairs of the demo newsroom
EDGES = 300  # the strongest, and as many random others
SEEDS = 5  # planted circuits of each size
STEPS = 5  # points on a path
# --------------------------------------------------------------------------------------------

METRICS = ("kl", "nll", "js", "logit_diff")
WAYS = {  # name: (method, rule, points)
    "EAP": ("EAP", "left", 1),
    "clean-corrupted": ("clean-corrupted", "left", 2),
    "EAP-IG, left": ("EAP-IG-inputs", "left", None),
    "EAP-IG, midpoint": ("EAP-IG-inputs", "midpoint", None),
    "EAP-IG, Gauss-Legendre": ("EAP-IG-inputs", "gauss-legendre", None),
    "EAP-IG, Gauss-Legendre, 20 points": ("EAP-IG-inputs", "gauss-legendre", 20),
    "EAP-IG-activations": ("EAP-IG-activations", "left", None),
}
DEFAULT = "EAP-IG, Gauss-Legendre"


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, "outputs/benchmarks")
    parser.add_argument(
        "--examples", type=flags.positive_int, default=EXAMPLES, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--edges", type=flags.positive_int, default=EDGES, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--seeds", type=flags.positive_int, default=SEEDS, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=flags.positive_int, default=STEPS, help="(default: %(default)s)"
    )
    return parser.parse_args(argv)


def means_something(method: str, metric: str) -> bool:
    """EAP's gradient of kl and js at the clean input is zero, since both are smallest there: its scores are rounding noise."""
    return method != "EAP" or metric not in ("kl", "js")


def on_the_demo(args) -> list[dict]:
    """Correlation with exact patching, completeness gap and time of every way and metric."""
    import torch

    from eap.attribute import METHODS, attribute, completeness_gap, input_sums
    from eap.models import adapt
    from summarization import opening

    device = runs.torch_device(args)
    adapter, pairs = (
        adapt(opening.load_model("demo", torch.float32, device)),
        demo_pairs(args.examples, args.seed),
    )
    scores, rows = {}, []
    for metric in METRICS:
        for way, (method, rule, points) in WAYS.items():
            if means_something(method, metric):
                steps = points or args.steps
                started = time.perf_counter()
                found = attribute(
                    adapter.model, pairs, method, metric, len(pairs), steps=steps, rule=rule
                )
                taken = time.perf_counter() - started  # the scores are on the CPU by now
                scores[way, metric] = found.edges.double().mean(0)
                gap = completeness_gap(
                    input_sums(adapter.graph, found.edges), found.clean, found.corrupted
                )[0]
                rows.append(
                    {
                        "way": way,
                        "metric": metric,
                        "seconds": taken,
                        "gap": gap if METHODS[method].complete else None,
                    }
                )
    chosen = edges_to_patch(args, {metric: scores[DEFAULT, metric] for metric in METRICS})
    exact = patch(args, adapter, pairs, sorted(set().union(*chosen.values())))
    for row in rows:
        edges = chosen[row["metric"]]
        there = torch.stack([exact[row["metric"]][edges], scores[row["way"], row["metric"]][edges]])
        row["pearson"], row["edges"] = float(torch.corrcoef(there)[0, 1]), len(edges)
    return rows


def edges_to_patch(args, scores: dict) -> dict[str, list[int]]:
    """For each metric the strongest edges, and random others (the same draw for all metrics)."""
    import torch

    from eap.selection import ranking

    order = torch.randperm(
        len(scores["kl"]), generator=torch.Generator().manual_seed(args.seed)
    ).tolist()
    chosen = {}
    for metric, values in scores.items():
        strongest = ranking(values)[: args.edges].tolist()
        chosen[metric] = (
            strongest + [edge for edge in order if edge not in set(strongest)][: args.edges]
        )
    return chosen


def patch(args, adapter, pairs, edges: list[int]) -> dict:
    """{metric: (edges,) exact scores, NaN where none was computed}: one run of the model for each edge."""
    import torch

    from eap import dataset, evaluate, hooks

    exact = {
        metric: torch.full((adapter.graph.n_edges,), torch.nan, dtype=torch.float64)
        for metric in METRICS
    }
    kept = torch.ones(adapter.graph.n_edges, dtype=torch.bool)
    with hooks.frozen(adapter.model):
        runner = evaluate.CircuitRunner(adapter, dataset.collate(list(range(len(pairs))), pairs))
        whole = runner.metrics(METRICS, kept)
        for edge in runs.progress(edges, args, "patching exactly"):
            kept[edge] = False
            for metric, values in runner.metrics(METRICS, kept).items():
                exact[metric][edge] = (values - whole[metric]).double().mean()
            kept[edge] = True
    return exact


def on_planted_circuits(args) -> list[dict]:
    """AUROC against the true edges, for every way with `kl` (EAP: `nll`) and for exact patching."""
    from eap.attribute import attribute
    from tests import planted

    rows = []
    for size in planted.SIZES:
        found = {way: [] for way in (*WAYS, "exact")}
        for seed in runs.progress(range(args.seeds), args, f"planted circuits, {size} subspaces"):
            model, true, pairs = planted.planted(size, seed)
            for way in found:
                method, rule, points = WAYS.get(way, ("exact", "left", 1))
                metric = "kl" if means_something(method, "kl") else "nll"
                scores = attribute(
                    model, pairs, method, metric, len(pairs), steps=points or args.steps, rule=rule
                )
                found[way].append(planted.auroc(scores.edges.mean(0), true))
        rows += [
            {"way": way, "subspaces": size, "auroc": values, "mean": statistics.mean(values)}
            for way, values in found.items()
        ]
    return rows


def plot(demo, planted):
    """A Figure: correlation with exact patching by way and metric; AUROC on planted circuits by way."""
    from eap.style import COLOURS, subplots

    figure, (left, right) = subplots(1, 2, figsize=(11, 3.8))
    colours = dict(
        zip(
            METRICS,
            (COLOURS["circuit"], COLOURS["finetuned"], COLOURS["base"], COLOURS["chance"]),
            strict=True,
        )
    )
    ways = list(WAYS)
    for metric, marker in zip(METRICS, "os^D", strict=True):
        chosen = [row for row in demo if row["metric"] == metric]
        y = [ways.index(row["way"]) for row in chosen]
        left.plot(
            [row["pearson"] for row in chosen], y, marker, color=colours[metric], label=metric
        )
    left.set_yticks(range(len(ways)), ways)
    left.set(
        xlabel="Pearson correlation with exact patching",
        title=f"Demo model, {demo[0]['edges']} edges",
    )
    left.invert_yaxis()
    left.legend(title="metric")
    ways = [*WAYS, "exact"]
    sizes = list(dict.fromkeys(row["subspaces"] for row in planted))
    for size, marker, colour in zip(
        sizes, "os", (COLOURS["circuit"], COLOURS["base"]), strict=True
    ):
        chosen = [row for row in planted if row["subspaces"] == size]
        for row in chosen:
            right.plot(
                row["auroc"],
                [ways.index(row["way"])] * len(row["auroc"]),
                marker,
                color=colour,
                alpha=0.5,
                mec="none",
            )
        y = [ways.index(row["way"]) for row in chosen]
        right.plot(
            [row["mean"] for row in chosen],
            y,
            "|",
            color=colour,
            ms=14,
            mew=2,
            label=f"{size} subspaces, mean",
        )
    right.axvline(0.5, color=COLOURS["chance"], ls=":", lw=0.9, label="chance")
    right.set_yticks(range(len(ways)), ways)
    right.set(
        xlabel="AUROC of |score| against the true edges",
        title=f"Planted circuits, {len(planted[0]['auroc'])} seeds each",
    )
    right.invert_yaxis()
    right.legend(loc="lower left")
    return figure


def main(argv=None):
    """Measure both, print the tables."""
    args = parse(argv)
    planted, demo = on_planted_circuits(args), on_the_demo(args)
    print(f"{'method':<36}{'metric':<12}{'Pearson':>8}{'gap %':>8}{'seconds':>9}")
    for row in demo:
        gap = "-" if row["gap"] is None else f"{100 * row['gap']:.1f}"
        print(
            f"{row['way']:<36}{row['metric']:<12}{row['pearson']:>8.3f}{gap:>8}{row['seconds']:>9.1f}"
        )
    print(f"\n{'method':<36}{'subspaces':<12}{'AUROC':>8}{'lowest':>8}{'highest':>9}")
    for row in planted:
        print(
            f"{row['way']:<36}{row['subspaces']:<12}{row['mean']:>8.3f}{min(row['auroc']):>8.3f}{max(row['auroc']):>9.3f}"
        )
    out = Path(args.output_dir)
    runs.write_text(
        out / "methods.json",
        json.dumps({"format": 1, "steps": args.steps, "demo": demo, "planted": planted}, indent=1)
        + "\n",
    )
    runs.save_figure(lambda: plot(demo, planted), out / "methods.png")


if __name__ == "__main__":
    runs.run_script(main)
