"""Which edges of the model carry the summary? Scores every edge by attribution patching and keeps the strongest as a circuit.

Reads   a model (base, checkpoint folder, LoRA adapter) or all checkpoints of a run; a file of clean/corrupted pairs
Writes  the circuit (EAP-IG's JSON and metadata), per-example scores beside it (.examples.safetensors),
        and in --output_dir a drawing of its strongest edges and a layer-by-layer heat map

    python extract_summarization_circuit.py --model_path demo --pairs data/pairs.jsonl --output C_before_summarization.json
"""

from pathlib import Path

from eap import InputError
from summarization import hub, runs

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
MODEL_PATH = "gpt2"  # Hub id, folder, checkpoint-N, LoRA adapter folder, or demo; with --all_checkpoints a run's folder
PAIRS = "data/pairs.jsonl"  # from create_causal_summarization_data.py; every row is used
OUTPUT = "C_before_summarization.json"  # the circuit
METHOD = "EAP-IG-inputs"  # EAP is five times cheaper and blind where the metric is flat (kl at the clean input); exact: one run an edge
METRIC = "kl"  # kl asks what changes the model's prediction; nll what changes its fit to the reference summary
IG_STEPS = "5"  # points on the path; more shrink the completeness gap, time grows with them; auto: until the gap is under 1 %
IG_RULE = "gauss-legendre"  # left is the reference's rule, about a hundred times less exact at 5 points
ABLATION = "patching"  # what an edge outside the circuit carries: the corrupted run, zero, or the mean
FRACTION = 0.05  # of all edges to keep; --top_n or --threshold instead
SELECTION = "topn"  # greedy grows from the logits, so that nothing is pruned; sign-consistent drops edges that flip sign over examples
ABSOLUTE = True  # rank by |score|; --no-absolute ranks by signed score
EXACT_TOP = 0  # patch so many of the strongest edges exactly as a check; one run of the model each
# --------------------------------------------------------------------------------------------

GAP_WARNING = "warning: the scores miss completeness by {:.1%} (5 % is the limit): the path needs more points; try --ig_steps {}"
FLAT_WARNING = "warning: {} at the clean input has no gradient under {}: every score is rounding noise; use --metric nll or EAP-IG-inputs"
SIGN = "score = (corrupted - clean) . d metric / d input: positive means that ablating the edge raises the metric"


def parse(argv=None):
    """The script's arguments."""
    parser = runs.parser(__doc__, "outputs/extract_summarization_circuit")
    parser.add_argument("--model_path", default=MODEL_PATH, help="Hub id, folder, adapter, or demo (default: %(default)s)")
    parser.add_argument("--all_checkpoints", action="store_true", help="one circuit per checkpoint-N: <output_dir>/C_step{N}.json")
    parser.add_argument("--pairs", default=PAIRS, help="clean/corrupted pairs, .jsonl (default: %(default)s)")
    parser.add_argument("--output", default=OUTPUT, help="circuit file (default: %(default)s)")
    parser.add_argument("--method", default=METHOD, help="EAP, EAP-IG-inputs, EAP-IG-activations, clean-corrupted, exact, NAP, NAP-IG "
                        "(default: %(default)s)")
    parser.add_argument("--metric", default=METRIC, help="kl, nll, js, logit_diff (default: %(default)s)")
    parser.add_argument("--ig_steps", type=_steps, default=IG_STEPS, help="points on the path, or auto (default: %(default)s)")
    parser.add_argument("--ig_rule", default=IG_RULE, help="left, midpoint, gauss-legendre (default: %(default)s)")
    parser.add_argument("--ablation", default=ABLATION, help="patching, zero, mean (default: %(default)s)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--fraction", type=runs.fraction, default=FRACTION, help="of all edges, from 0 to 1 (default: %(default)s)")
    size.add_argument("--top_n", type=runs.positive_int, help="number of edges instead")
    size.add_argument("--threshold", type=float, help="least |score| instead")
    parser.add_argument("--selection", default=SELECTION, help="topn, greedy, sign-consistent (default: %(default)s)")
    parser.add_argument("--absolute", action="store_true", default=ABSOLUTE, help="rank by |score| (default)")
    parser.add_argument("--no_absolute", dest="absolute", action="store_false", help="rank by signed score")
    parser.add_argument("--exact_top", type=int, default=EXACT_TOP, help="edges to patch exactly as a check (default: %(default)s)")
    parser.add_argument("--max_memory", type=float, help="GB that the plan may use (default: what is free)")
    return parser.parse_args(argv)


def _steps(text):
    return text if text == "auto" else runs.positive_int(text)


def jobs(args) -> list[tuple[str, Path]]:
    """(model, circuit file) of every extraction. Raises InputError when a run holds no checkpoints."""
    if not args.all_checkpoints:
        return [(args.model_path, Path(args.output))]
    folder = Path(args.model_path)
    found = sorted((int(path.name.split("-")[1]), path) for path in folder.glob("checkpoint-*") if path.name.split("-")[1].isdigit())
    if not found:
        raise InputError(f"--model_path {folder}: expected a run with checkpoint-N folders, found none; run_finetuning_with_checkpoints.py"
                         " makes one")
    return [(str(path), Path(args.output_dir) / f"C_step{step}.json") for step, path in found]


def main(argv=None):
    """Extract a circuit, or one per checkpoint."""
    args = parse(argv)
    work = jobs(args)
    for model_path, _ in work:
        hub.resolve_model(model_path)
    if not Path(args.pairs).is_file():
        raise InputError(f"--pairs {args.pairs}: expected a file of pairs, found none; make it with create_causal_summarization_data.py, "
                         "for instance with --dataset demo --model_path demo")
    for model_path, output in work:
        extract(args, model_path, output)


def extract(args, model_path: str, output: Path) -> None:
    """One circuit: attribute, select, check, draw, write."""
    drawing, map_ = (Path(args.output_dir) / f"{output.stem}.{kind}.png" for kind in ("edges", "heatmap"))
    from eap.files import examples_beside

    outputs = [output, examples_beside(output), drawing, map_]
    run = runs.Run(args, runs.record_beside(output), outputs, {"model": hub.resolve_model(model_path), "pairs": args.pairs})
    if run.up_to_date:
        return
    from eap import attribute, dataset, visualization
    from eap.models import adapt

    steps = 5 if args.ig_steps == "auto" else args.ig_steps
    attribute.check(args.method, args.metric, args.ig_rule, args.ablation, steps)
    runs.seed_everything(args.seed)
    device = runs.torch_device(args)
    import torch

    dtype = torch.float64 if args.dtype == "float64" else torch.float32  # bfloat16 is for matrix products only
    adapter = adapt(hub.load_model(model_path, dtype, device))
    tokenizer = hub.load_tokenizer(model_path)
    pairs = dataset.read_pairs(args.pairs, adapter.vocabulary_size, adapter.context_length, args.max_examples)
    if note := dataset.check_tokenizer(pairs, tokenizer, args.pairs):
        runs.say(args, note)
    with runs.atomic(examples_beside(output)) as scores_file:
        summary = score(args, adapter, pairs, scores_file, device)
        circuit = choose(args, adapter, pairs, scores_file, summary, device)
    circuit.metadata.update(
        pairs_sha256=run.identity["inputs"]["pairs"]["sha256"], weights_sha256=run.identity["inputs"]["model"]["sha256"],
        tokenizer_sha256=hub.tokenizer_sha256(tokenizer), example_ids=[pair.id for pair in pairs],
    )
    runs.write_json(output, circuit.to_json())
    title = f"{output.stem}: {args.method}, {args.metric}, n = {len(pairs)}"
    with runs.atomic(drawing) as path:
        visualization.draw_circuit(circuit.graph, circuit.scores, circuit.in_graph, path, f"{title}; strongest edges")
    runs.save_figure(visualization.heat_map(circuit.graph, circuit.scores, title), map_)
    run.finish()


def score(args, adapter, pairs, path, device) -> dict:
    """Write per-example scores of all pairs to `path`; returns what the circuit's metadata says of them."""
    tries = (4, 8, 16, 32, 64) if args.ig_steps == "auto" else (args.ig_steps,)
    for steps in tries:
        summary = score_once(args, adapter, pairs, path, device, steps)
        if summary["completeness"] == "not applicable" or summary["completeness"]["gap"] < 0.01:
            break
    gap = summary["completeness"]["gap"] if summary["completeness"] != "not applicable" else 0
    warnings = [GAP_WARNING.format(gap, "auto" if steps >= 32 else 2 * steps)] if gap > 0.05 else []
    if args.method in ("EAP", "NAP") and args.metric in ("kl", "js"):
        warnings.append(FLAT_WARNING.format(args.metric, args.method))
    for warning in warnings:
        runs.warn(warning)
    return {**summary, "warnings": warnings}


def score_once(args, adapter, pairs, path, device, steps: int) -> dict:
    """`score` with a given number of points."""
    import torch

    from eap import attribute, dataset, memory
    from eap.files import ScoreWriter

    method = attribute.METHODS[args.method]
    points = len(method.points(adapter.graph, steps, args.ig_rule)) if method.points else 1
    budget = int(args.max_memory * 1e9) if args.max_memory else memory.free_bytes(device)
    batch_size = args.batch_size or memory.plan_batch_size(adapter, pairs, points, budget)
    runs.say(args, f"plan: {len(pairs)} pairs, {points} points each, {batch_size} at a time, {budget / 1e9:.1f} GB free")
    batches = dataset.batches(pairs, batch_size)
    means = attribute.mean_activations(adapter, batches) if args.ablation == "mean" else None
    writer, parts = ScoreWriter(path, len(pairs), adapter.graph.n_edges), []
    autocast = torch.bfloat16 if args.dtype == "bfloat16" else None
    found = attribute.attribute_batches(adapter, runs.progress(batches, args, "attributing"), args.method, args.metric, steps, args.ig_rule,
                                        args.ablation, means, autocast)
    for scores in found:
        writer.write(scores)
        parts.append((scores.rows, attribute.input_sums(adapter.graph, scores.edges), scores.clean, scores.corrupted))
    writer.close()
    return {"steps": steps if method.complete or points > 2 else None, "completeness": completeness(method, parts)}


def completeness(method, parts):
    """The completeness gap, overall and per example; "not applicable" for methods that do not integrate over inputs."""
    import torch

    from eap.attribute import completeness_gap

    if not method.complete:
        return "not applicable"
    order = torch.tensor([row for part in parts for row in part[0]]).argsort()
    sums, clean, corrupted = (torch.cat([part[i] for part in parts])[order] for i in (1, 2, 3))
    gap, each = completeness_gap(sums, clean, corrupted)
    return {"gap": gap, "per_example": each.tolist(), "metric_clean": float(clean.mean()), "metric_corrupted": float(corrupted.mean())}


def choose(args, adapter, pairs, scores_file, summary: dict, device):
    """The `Circuit`: mean scores, chosen and pruned edges, metadata. Raises InputError when no edge is left."""
    from eap import attribute, selection
    from eap.circuit import Circuit
    from eap.files import load_example_scores

    edges = adapter.graph
    per_example = load_example_scores(scores_file)
    scores = per_example.double().mean(0)
    wanted = args.top_n or max(1, round(args.fraction * edges.n_edges))
    nodes = attribute.node_scores(edges, scores) if attribute.METHODS[args.method].nodes else None
    if nodes is not None:
        kept = selection.top_nodes(edges, nodes, wanted, args.absolute)
    elif args.threshold is not None:
        kept = selection.above_threshold(edges, scores, args.threshold, args.absolute)
    else:
        kept = selection.select(edges, per_example, args.selection, wanted, args.absolute, args.seed)
    pruned = selection.prune(edges, kept)
    sizes = {"requested": None if args.threshold is not None else wanted, "selected": int(kept.sum()), "pruned": int(pruned.sum()),
             "edges": edges.n_edges}
    if not pruned.any():
        raise InputError(f"{args.output}: expected a circuit, but none of the {sizes['selected']} chosen edges lies on a path from input "
                         "to logits; use --selection greedy or a larger --fraction")
    gap = summary["completeness"]["gap"] if summary["completeness"] != "not applicable" else None
    shown = f"; completeness gap {gap:.2%}" if gap is not None else ""
    runs.say(args, f"circuit: {sizes['selected']} of {edges.n_edges} edges chosen, {sizes['pruned']} after pruning{shown}")
    metadata = {
        "method": args.method, "metric": args.metric, "rule": args.ig_rule if summary["steps"] else None, **summary,
        "ablation": args.ablation,
        "selection": "threshold" if args.threshold is not None else args.selection, "threshold": args.threshold, "absolute": args.absolute,
        "sizes": sizes, "dtype": args.dtype, "seed": args.seed, "sign": SIGN,
    }
    if args.exact_top:
        metadata["exact"] = check_exactly(args, adapter, pairs, scores, per_example, device)
    return Circuit(edges, pruned, scores, nodes, metadata)


def check_exactly(args, adapter, pairs, scores, per_example, device) -> dict:
    """Exact patching of the strongest edges on the first pairs, and its correlation with their scores on the same pairs."""
    import torch

    from eap import dataset, evaluate, hooks, selection

    edges = selection.ranking(scores)[: args.exact_top].tolist()
    chosen = pairs[: args.batch_size or 8]
    with hooks.frozen(adapter.model):
        runner = evaluate.CircuitRunner(adapter, dataset.collate(list(range(len(chosen))), chosen), "patching")
        exact = evaluate.exact_patching(runner, args.metric, runs.progress(edges, args, "patching exactly")).mean(0)
    approximate = per_example[: len(chosen), edges].mean(0)
    pearson = float(torch.corrcoef(torch.stack([exact.double(), approximate.double()]))[0, 1])
    runs.say(args, f"exact patching of the {len(edges)} strongest edges on {len(chosen)} pairs: Pearson {pearson:.3f}")
    names = [adapter.graph.edges[edge] for edge in edges]
    return {"edges": names, "exact": exact.tolist(), "score": approximate.tolist(), "pearson": pearson, "examples": len(chosen)}


if __name__ == "__main__":
    runs.run_script(main)
