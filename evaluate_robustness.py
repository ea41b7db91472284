"""How stable is a circuit? Overlap of circuits with its chance level, and of one circuit with itself on other examples and inputs.

Jaccard stands beside what two random circuits of the same sizes would have, the noise floor (the same extraction on resampled
examples), and the Spearman correlation of all scores, which does not depend on where the circuit is cut.

Reads   circuits with their per-example scores; with --model_path also the pairs, for extractions from perturbed inputs
Writes  robustness.json and robustness.png in --output_dir

    python evaluate_robustness.py --circuits C_before_summarization.json --model_path demo --pairs data/pairs.jsonl
"""

from pathlib import Path

from eap import InputError
from summarization import hub, runs

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
PAIRS = "data/pairs.jsonl"  # with --model_path: the pairs that the first circuit was extracted from
LEVELS = ".1,.3,.5,.7,.9"  # shares of the salient tokens that are corrupted; 1 is the circuit itself
RESAMPLES = 200  # bootstrap resamples of the examples: pairs of circuits for the noise floor
# --------------------------------------------------------------------------------------------

CIRCUITS = ["C_before_summarization.json", "C_after_summarization.json"]
STABLE = 0.8  # mean pairwise bootstrap Jaccard above which a circuit is called stable (arXiv 2510.00845)


def parse(argv=None):
    """The script's arguments."""
    parser = runs.parser(__doc__, "outputs/evaluate_robustness")
    parser.add_argument("--circuits", nargs="+", default=CIRCUITS, help="circuit files (default: before and after)")
    parser.add_argument("--model_path", help="extract the first circuit again from perturbed inputs in this model")
    parser.add_argument("--pairs", default=PAIRS, help="pairs for that (default: %(default)s)")
    parser.add_argument("--levels", type=_levels, default=LEVELS, help="shares of salient tokens corrupted (default: %(default)s)")
    parser.add_argument("--resamples", type=runs.positive_int, default=RESAMPLES, help="for the noise floor (default: %(default)s)")
    parser.add_argument("--max_memory", type=float, help="GB that the plan may use (default: what is free)")
    return parser.parse_args(argv)


def _levels(text: str) -> list[float]:
    return sorted({runs.fraction(part) for part in text.split(",") if part.strip()})


def main(argv=None):
    """Compare circuits; extract again."""
    args = parse(argv)
    for path in args.circuits:
        if not Path(path).is_file():
            raise InputError(f"--circuits {path}: expected a circuit file, found none; make it with extract_summarization_circuit.py, "
                             "for instance with --model_path demo")
    inputs = {path: path for path in args.circuits}
    if args.model_path:
        inputs |= {"model": hub.resolve_model(args.model_path), "pairs": args.pairs}
    out = Path(args.output_dir)
    run = runs.Run(args, runs.record_in(out, __file__), [out / "robustness.json", out / "robustness.png"], inputs)
    if run.up_to_date:
        return
    circuits = load(args)
    result = {"format": 1, "circuits": [describe(args, name, circuit, scores) for name, circuit, scores in circuits],
              "pairs": compare(circuits), "perturbation": perturb(args, circuits[0][1]) if args.model_path else []}
    report(args, result)
    runs.write_json(out / "robustness.json", result)
    runs.save_figure(plot(result), out / "robustness.png")
    run.finish()


def load(args) -> list:
    """[(name, circuit, per-example scores or None)]. Raises InputError for circuits of different graphs or tokenizers."""
    from eap import circuit as circuits
    from eap import files

    found = [circuits.load_circuit(path) for path in args.circuits]
    circuits.require_comparable(found, args.circuits)
    besides = [files.examples_beside(path) for path in args.circuits]
    scores = [files.load_example_scores(path) if path.is_file() else None for path in besides]
    return list(zip([Path(path).stem for path in args.circuits], found, scores, strict=True))


def describe(args, name, circuit, per_example) -> dict:
    """Size, and the noise floor: agreement between circuits extracted from bootstrap resamples of the examples."""
    from eap import evolution

    about = {"name": name, "size": int(circuit.in_graph.sum()), "edges": circuit.graph.n_edges, "noise_floor": None}
    if per_example is None or len(per_example) < 2:
        return about
    floor = evolution.floor(evolution.noise(circuit, per_example, args.resamples, args.seed).edges_jaccard)
    return about | {"noise_floor": floor | {"examples": len(per_example)}, "stable": floor["mean"] > STABLE}


def compare(circuits) -> list[dict]:
    """Every pair of circuits: Jaccard of edges and nodes, the edges' chance level, Spearman of all scores."""
    from itertools import combinations

    from eap.circuit import chance_jaccard, jaccard, spearman

    rows = []
    for (name_a, a, _), (name_b, b, _) in combinations(circuits, 2):
        sizes = int(a.in_graph.sum()), int(b.in_graph.sum())
        nodes = (each.graph.nodes_kept(each.in_graph) for each in (a, b))
        rows.append({
            "a": name_a, "b": name_b, "jaccard_edges": jaccard(a.in_graph, b.in_graph), "jaccard_nodes": jaccard(*nodes),
            "chance": chance_jaccard(*sizes, a.graph.n_edges),
            "spearman": spearman(a.scores.abs(), b.scores.abs()) if a.scores is not None and b.scores is not None else None,
        })
    return rows


def perturb(args, circuit) -> list[dict]:
    """For each level: the circuit found when only that share of the salient tokens is corrupted, against the one from all of them."""
    import torch

    from eap import attribute, dataset, memory
    from eap.circuit import chance_jaccard, jaccard, reselect, spearman
    from eap.models import adapt

    about = circuit.metadata
    adapter = adapt(hub.load_model(args.model_path, runs.torch_dtype(args), runs.torch_device(args)))
    if circuit.graph != adapter.graph:
        raise InputError(f"{args.circuits[0]}: expected a circuit of {adapter.graph}, got one of {circuit.graph}; use its own model")
    pairs = dataset.read_pairs(args.pairs, adapter.vocabulary_size, adapter.context_length, args.max_examples)
    options = {"method": about.get("method", "EAP-IG-inputs"), "metric": about.get("metric", "kl"), "steps": about.get("steps") or 5,
               "rule": about.get("rule") or "gauss-legendre"}
    budget = int(args.max_memory * 1e9) if args.max_memory else memory.free_bytes(runs.torch_device(args))
    batch_size = args.batch_size or memory.plan_batch_size(adapter, pairs, options["steps"], budget)
    rows, found = [], {}
    for level in runs.progress([*args.levels, 1.0], args, "extracting from perturbed inputs"):
        generator = torch.Generator().manual_seed(args.seed)
        perturbed = [dataset.partly_corrupted(pair, level, generator) for pair in pairs]
        found[level] = attribute.attribute(adapter.model, perturbed, batch_size=batch_size, **options).edges.double()
    means = {level: scores.mean(0) for level, scores in found.items()}
    whole = reselect(circuit, means[1.0])
    for level in args.levels:
        kept = reselect(circuit, means[level])
        rows.append({"level": level, "examples": len(pairs), "jaccard_edges": jaccard(kept, whole),
                     **_interval(args, circuit, found[level], found[1.0]), "spearman": spearman(means[level].abs(), means[1.0].abs()),
                     "chance": chance_jaccard(int(kept.sum()), int(whole.sum()), adapter.graph.n_edges)})
    return rows


def _interval(args, circuit, some, every) -> dict[str, float]:
    """The interval of the Jaccard index of two extractions when the same resampled examples go into both."""
    from eap.circuit import jaccard, reselect
    from eap.selection import bootstrap_means
    from summarization import statistics

    chunks = zip(*(bootstrap_means(scores, args.resamples, args.seed) for scores in (some, every)), strict=True)
    pairs = [pair for a, b in chunks for pair in zip(a, b, strict=True)]
    low, high = statistics.interval([jaccard(*(reselect(circuit, scores) for scores in pair)) for pair in pairs])
    return {"low": low, "high": high}


def report(args, result) -> None:
    """Print the noise floors, the pairs and the perturbation curve."""
    for row in result["circuits"]:
        floor = row["noise_floor"]
        shown = "no per-example scores beside the file" if floor is None else (
            f"noise floor: Jaccard {floor['mean']:.3f} [{floor['low']:.3f}, {floor['high']:.3f}] between resamples of "
            f"{floor['examples']} examples: {'stable' if row['stable'] else 'not stable'} (over {STABLE})")
        runs.say(args, f"{row['name']}: {row['size']} edges; {shown}")
    for row in result["pairs"]:
        rank = "" if row["spearman"] is None else f", Spearman of |score| {row['spearman']:.3f}"
        runs.say(args, f"{row['a']} and {row['b']}: Jaccard {row['jaccard_edges']:.3f} of edges (chance {row['chance']:.3f}), "
                 f"{row['jaccard_nodes']:.3f} of nodes{rank}")
    for row in result["perturbation"]:
        runs.say(args, f"{row['level']:.0%} of the salient tokens corrupted: Jaccard {row['jaccard_edges']:.3f} "
                 f"[{row['low']:.3f}, {row['high']:.3f}] with all of them corrupted (chance {row['chance']:.3f}), "
                 f"Spearman of |score| {row['spearman']:.3f}, n = {row['examples']}")


def plot(result):
    """A Figure: the pairs' Jaccard with chance and noise floors; the perturbation curve when there is one."""
    from eap.style import COLOURS, subplots

    curve = result["perturbation"]
    figure, axes = subplots(1, 2 if curve else 1, figsize=(9.2 if curve else 5.2, 3.8), squeeze=False)
    axis, bars = axes[0][0], []
    for row in result["circuits"]:
        if row["noise_floor"]:
            floor = row["noise_floor"]
            bars.append((f"{row['name']}\nwith itself, resampled", floor["mean"], (floor["low"], floor["high"]), COLOURS["noise"], None))
    bars += [(f"{row['a']}\nand {row['b']}", row["jaccard_edges"], None, COLOURS["circuit"], row["chance"]) for row in result["pairs"]]
    for place, (_, value, span, colour, chance) in enumerate(bars):
        axis.barh(place, value, color=colour, height=0.6)
        if span:
            axis.plot(span, (place, place), color=COLOURS["text"], lw=1.2)
        if chance is not None:
            axis.plot((chance, chance), (place - 0.4, place + 0.4), color=COLOURS["text"], ls=":", lw=1.4)
    axis.set_yticks(range(len(bars)), [bar[0] for bar in bars], fontsize=7)
    axis.set(xlim=(0, 1), xlabel="Jaccard index of edges (dotted: chance)", title="Overlap of circuits")
    axis.invert_yaxis()
    if curve:
        _plot_curve(axes[0][1], curve, COLOURS)
    return figure


def _plot_curve(axis, curve, colours) -> None:
    x = [100 * row["level"] for row in curve]
    axis.fill_between(x, [row["low"] for row in curve], [row["high"] for row in curve], color=colours["circuit"], alpha=0.25, lw=0)
    axis.plot(x, [row["jaccard_edges"] for row in curve], "o-", color=colours["circuit"], label="Jaccard of edges (95 % of resamples)")
    axis.plot(x, [row["spearman"] for row in curve], "s--", color=colours["highlight"], label="Spearman of |score|")
    axis.plot(x, [row["chance"] for row in curve], ":", color=colours["chance"], label="chance Jaccard")
    lowest = min(0, *[row["spearman"] for row in curve])
    axis.set(xlabel="salient tokens corrupted (%)", ylabel="agreement with 100 % corrupted", ylim=(lowest, 1))
    axis.set_title(f"Perturbed inputs, n = {curve[0]['examples']}")
    axis.legend(fontsize=7, loc="lower right")


if __name__ == "__main__":
    runs.run_script(main)
