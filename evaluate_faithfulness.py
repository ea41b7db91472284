"""How much of the model's behaviour does a circuit carry, on examples that it was not found on?

f = (m(circuit) - m(empty)) / (m(full) - m(empty)), a ratio of means over examples, with KL(model || circuit) in nats, over circuit sizes,
against random circuits of the same size. 1: the circuit does what the model does; 0: no more than the corrupted run.

Reads   a circuit, the model it belongs to, pairs kept from extraction
Writes  faithfulness.json and faithfulness.png in --output_dir

    python evaluate_faithfulness.py --circuit C_before_summarization.json --model_path demo
"""

from pathlib import Path

from eap import InputError
from summarization import hub, runs

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
CIRCUIT = "C_before_summarization.json"  # from extract_summarization_circuit.py, or EAP-IG's JSON
MODEL_PATH = "gpt2"  # the model the circuit was found in; another one of the same shape gives cross-faithfulness
PAIRS = "data/pairs_eval.jsonl"  # examples that extraction did not see
FRACTIONS = ".001,.002,.005,.01,.02,.05,.1,.2,.5,1"  # of all edges, by |score|; the areas CPR and CMD integrate over them
RANDOM_FRACTIONS = ".01,.02,.05,.1"  # sizes at which random circuits are drawn
N_RANDOM = 10  # random circuits per size; fewer make the grey band rougher
METRICS = "kl,nll"  # kl: does the circuit predict what the model predicts; nll: does it fit the summary as well
ABLATION = "patching"  # what edges outside carry: the corrupted run, zero, mean
RESAMPLES = 1000  # bootstrap resamples of the examples for the intervals
# --------------------------------------------------------------------------------------------

GOALS = (0.8, 0.9)  # the sizes that reach them are reported


def parse(argv=None):
    """The script's arguments."""
    parser = runs.parser(__doc__, "outputs/evaluate_faithfulness")
    parser.add_argument("--circuit", default=CIRCUIT, help="circuit JSON (default: %(default)s)")
    parser.add_argument("--model_path", default=MODEL_PATH, help="Hub id, folder, adapter, or demo (default: %(default)s)")
    parser.add_argument("--pairs", default=PAIRS, help="pairs that extraction did not see (default: %(default)s)")
    parser.add_argument("--fractions", type=_fractions, default=FRACTIONS, help="of all edges (default: %(default)s)")
    parser.add_argument("--random_fractions", type=_fractions, default=RANDOM_FRACTIONS, help="of random circuits (default: %(default)s)")
    parser.add_argument("--n_random", type=int, default=N_RANDOM, help="random circuits per size (default: %(default)s)")
    parser.add_argument("--metrics", default=METRICS, help="kl, nll, js, logit_diff, by commas (default: %(default)s)")
    parser.add_argument("--ablation", default=ABLATION, help="patching, zero, mean (default: %(default)s)")
    parser.add_argument("--resamples", type=runs.positive_int, default=RESAMPLES, help="for the intervals (default: %(default)s)")
    parser.add_argument("--allow_same_examples", action="store_true", help="also evaluate on examples the circuit was found on")
    parser.add_argument("--max_memory", type=float, help="GB that the plan may use (default: what is free)")
    return parser.parse_args(argv)


def _fractions(text: str) -> list[float]:
    values = sorted({runs.fraction(part) for part in text.split(",") if part.strip()})
    if not values or values[0] == 0:
        import argparse

        raise argparse.ArgumentTypeError(f"expected numbers above 0 and up to 1, separated by commas, got {text!r}")
    return values


def main(argv=None):
    """Evaluate a circuit over sizes."""
    args = parse(argv)
    hub.resolve_model(args.model_path)
    for flag, path in (("--circuit", args.circuit), ("--pairs", args.pairs)):
        if not Path(path).is_file():
            raise InputError(f"{flag} {path}: expected a file, found none; extract_summarization_circuit.py and "
                             "create_causal_summarization_data.py make them, for instance with --model_path demo")
    out = Path(args.output_dir)
    inputs = {"model": hub.resolve_model(args.model_path), "circuit": args.circuit, "pairs": args.pairs}
    run = runs.Run(args, runs.record_in(out, __file__), [out / "faithfulness.json", out / "faithfulness.png"], inputs)
    if run.up_to_date:
        return
    runs.seed_everything(args.seed)
    adapter, circuit, pairs = load(args)
    result = {"format": 1, **evaluate(args, adapter, circuit, pairs)}
    report(args, result)
    runs.write_json(out / "faithfulness.json", result)
    runs.save_figure(plot(result), out / "faithfulness.png")
    run.finish()


def load(args):
    """(adapter, circuit, pairs not used for extraction). Raises InputError for a circuit of another model or no pairs left."""
    from eap import attribute, dataset
    from eap.circuit import load_circuit
    from eap.models import adapt

    for metric in args.metrics.split(","):
        attribute.check("exact", metric, "left", args.ablation, 1)
    adapter = adapt(hub.load_model(args.model_path, runs.torch_dtype(args), runs.torch_device(args)))
    tokenizer = hub.load_tokenizer(args.model_path)
    circuit = load_circuit(args.circuit)
    circuit.require_scores(args.circuit)
    if circuit.graph != adapter.graph:
        raise InputError(f"{args.circuit}: expected a circuit of {adapter.graph}, got one of {circuit.graph}; use its own model")
    theirs, ours = circuit.metadata.get("tokenizer_sha256"), hub.tokenizer_sha256(tokenizer)
    if theirs and ours and theirs != ours:
        raise InputError(f"{args.circuit}: expected a circuit found with the tokenizer of {args.model_path}, got another tokenizer's")
    pairs = dataset.read_pairs(args.pairs, adapter.vocabulary_size, adapter.context_length)
    if note := dataset.check_tokenizer(pairs, tokenizer, args.pairs):
        runs.say(args, note)
    seen = set() if args.allow_same_examples else set(circuit.metadata.get("example_ids", ()))
    unseen = [pair for pair in pairs if pair.id not in seen][: args.max_examples]
    if not unseen:
        raise InputError(f"--pairs {args.pairs}: expected examples that extraction did not see, got none; build pairs with "
                         "--eval_fraction, or add --allow_same_examples")
    runs.say(args, f"{len(unseen)} examples; {sum(pair.id in seen for pair in pairs)} that extraction saw are left out")
    return adapter, circuit, unseen


def evaluate(args, adapter, circuit, pairs) -> dict:
    """Every number of faithfulness.json."""
    from summarization import statistics

    names = args.metrics.split(",")
    chosen = circuits(args, circuit)
    values, ends, identities = run_all(args, adapter, pairs, {key: kept for key, (kept, _) in chosen.items()}, names)
    result = {"examples": len(pairs), "edges": circuit.graph.n_edges, "identities": identities, "metrics": {}}
    for name in names:
        full, empty = ends["full"][name], ends["empty"][name]
        rows = [summarise(args, values[key][name], full, empty) | about for key, (_, about) in chosen.items()]
        curve = [row for row in rows if row["kind"] == "circuit"]
        result["metrics"][name] = {
            "full": float(full.mean()), "empty": float(empty.mean()), "change": statistics.mean_interval(empty - full, args.seed),
            "rows": rows, **area(curve),
            "smallest_fraction_reaching": {str(goal): next((r["fraction"] for r in curve if r["f"] >= goal), None) for goal in GOALS},
        }
    return result


def circuits(args, circuit) -> dict:
    """{key: (booleans per edge, what it is)}: the circuit by size, the file's own choice, random ones."""
    import torch

    from eap import selection

    edges, absolute = circuit.graph, circuit.metadata.get("absolute", True)
    chosen = {"file": (circuit.in_graph, {"kind": "file", "fraction": int(circuit.in_graph.sum()) / edges.n_edges})}
    for share in args.fractions:
        n = max(1, round(share * edges.n_edges))
        if circuit.node_scores is not None:
            kept = selection.top_nodes(edges, circuit.node_scores, n, absolute)
        else:
            kept = selection.top_n(edges, circuit.scores, n, absolute)
        chosen["circuit", share] = kept, {"kind": "circuit", "fraction": share}
    generator = torch.Generator().manual_seed(args.seed)
    for share in args.random_fractions:
        for draw in range(args.n_random):
            kept = torch.zeros(edges.n_edges, dtype=torch.bool)
            kept[torch.randperm(edges.n_edges, generator=generator)[: max(1, round(share * edges.n_edges))]] = True
            chosen["random", share, draw] = kept, {"kind": "random", "fraction": share, "draw": draw}
    for kept, about in chosen.values():
        about.update(selected=int(kept.sum()), pruned=int(selection.prune(edges, kept).sum()))
    return chosen


def run_all(args, adapter, pairs, chosen, names):
    """({key: {metric: per example}}, the same for "full" and "empty", the largest deviations of the two identities)."""
    import torch

    from eap import attribute, dataset, hooks, memory
    from eap.evaluate import CircuitRunner

    device = runs.torch_device(args)
    budget = int(args.max_memory * 1e9) if args.max_memory else memory.free_bytes(device)
    batches = dataset.batches(pairs, args.batch_size or memory.plan_batch_size(adapter, pairs, 5, budget // 2))
    means = attribute.mean_activations(adapter, batches) if args.ablation == "mean" else None
    none = torch.zeros(adapter.graph.n_edges, dtype=torch.bool)
    collected, identities = {key: [] for key in (*chosen, "full", "empty")}, {"all_edges": 0.0, "no_edge": 0.0}
    bar = runs.progress(range(len(batches) * len(chosen)), args, "running circuits")
    steps = iter(bar)
    with hooks.frozen(adapter.model):
        for batch in batches:
            runner = CircuitRunner(adapter, batch, args.ablation, means)
            for key, kept in chosen.items():
                collected[key].append(runner.metrics(names, kept))
                next(steps)
            collected["full"].append({name: runner.plain_metric("clean", name) for name in names})
            collected["empty"].append(runner.metrics(names, none))
            for name, ends in (("all_edges", (runner.metric("nll", ~none), runner.plain_metric("clean", "nll"))),
                               ("no_edge", (runner.metric("nll", none), runner.plain_metric("corrupted", "nll")))):
                if name == "all_edges" or args.ablation == "patching":
                    identities[name] = max(identities[name], float((ends[0] - ends[1]).abs().max()))
    bar.close()
    values = {key: {name: torch.cat([part[name] for part in parts]).numpy() for name in names} for key, parts in collected.items()}
    return values, {key: values.pop(key) for key in ("full", "empty")}, identities


def summarise(args, values, full, empty) -> dict:
    """f with its interval and the metric's mean, from per-example values."""
    from eap.evaluate import faithfulness
    from summarization import statistics

    rows = statistics.resample(len(values), args.seed, args.resamples)
    low, high = statistics.interval(faithfulness(values[rows], full[rows], empty[rows]))
    return {"f": float(faithfulness(values, full, empty)), "low": low, "high": high, "metric": float(values.mean())}


def area(curve) -> dict[str, float]:
    """CPR and CMD over the curve, when it has two sizes or more."""
    from eap.evaluate import areas

    return areas([row["fraction"] for row in curve], [row["f"] for row in curve]) if len(curve) > 1 else {}


def report(args, result) -> None:
    """Print the identities and a table per metric."""
    same = result["identities"]
    runs.say(args, f"identities (largest difference of nll over examples): all edges kept and clean run {same['all_edges']:.1e}; "
             f"no edge kept and corrupted run {same['no_edge']:.1e}")
    for name, content in result["metrics"].items():
        change = content["change"]
        runs.say(args, f"\n{name} per summary token: full {content['full']:.4f}, empty {content['empty']:.4f}, n = {result['examples']}")
        if change["low"] <= 0 <= change["high"]:
            runs.say(args, f"note: corrupting the input changes {name} by {change['mean']:.4f}, interval [{change['low']:.4f}, "
                     f"{change['high']:.4f}], which includes zero: f divides by it and means nothing here")
        runs.say(args, f"{'edges':>8} {'pruned':>7} {'f':>7} {'95 % interval':>17} {name:>8}   random circuits (lowest to highest f)")
        for row in content["rows"]:
            if row["kind"] == "circuit":
                drawn = [r["f"] for r in content["rows"] if r["kind"] == "random" and r["fraction"] == row["fraction"]]
                shown = f"{min(drawn):.3f} to {max(drawn):.3f} ({len(drawn)})" if drawn else ""
                runs.say(args, f"{row['fraction']:>8.1%} {row['pruned']:>7} {row['f']:>7.3f} [{row['low']:>6.3f}, {row['high']:>6.3f}] "
                         f"{row['metric']:>9.4f}   {shown}")
        if "CPR" in content:
            runs.say(args, f"CPR {content['CPR']:.3f}  CMD {content['CMD']:.3f}  over log k: CPR {content['CPR_log']:.3f}  "
                     f"CMD {content['CMD_log']:.3f}; smallest size with f >= 0.8: {content['smallest_fraction_reaching']['0.8']}")


def plot(result):
    """A Figure: f over circuit sizes with intervals, random circuits, 0 and 1 marked; one panel per metric."""
    from eap.style import COLOURS, subplots

    names = list(result["metrics"])
    figure, axes = subplots(1, len(names), figsize=(4.6 * len(names), 3.8), squeeze=False, sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        rows = result["metrics"][name]["rows"]
        curve, drawn = ([row for row in rows if row["kind"] == kind] for kind in ("circuit", "random"))
        x = [100 * row["fraction"] for row in curve]
        axis.fill_between(x, [row["low"] for row in curve], [row["high"] for row in curve], color=COLOURS["circuit"], alpha=0.25, lw=0)
        axis.plot(x, [row["f"] for row in curve], "o-", color=COLOURS["circuit"], label="circuit, by |score| (95 % interval)")
        shares = [100 * row["fraction"] for row in drawn]
        axis.plot(shares, [row["f"] for row in drawn], "x", color=COLOURS["random"], label="random circuits")
        for level, text in ((1, "whole model"), (0, "corrupted run")):
            axis.axhline(level, color=COLOURS["chance"], lw=0.9, ls="--")
            axis.annotate(text, (x[0], level), xytext=(0, 3), textcoords="offset points", fontsize=7, color=COLOURS["chance"])
        axis.set_xscale("log")
        axis.set(xlabel=f"edges kept (% of {result['edges']:,})", title=f"{name}, n = {result['examples']}")
    axes[0][0].set_ylabel("faithfulness f")
    axes[0][0].legend(loc="lower right", bbox_to_anchor=(1, 0.08), fontsize=7)
    return figure


if __name__ == "__main__":
    runs.run_script(main)
