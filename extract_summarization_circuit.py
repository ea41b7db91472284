"""Which edges of the model carry the summary? Scores every edge by attribution patching and keeps
the strongest as a circuit.

Reads   a model (base, checkpoint folder, LoRA adapter) or all checkpoints of a run; a file of clean/corrupted pairs
Writes  the circuit (EAP-IG's JSON and metadata): --output, or with --all_checkpoints one for each
        in --output_dir; beside it per-example scores (.examples.safetensors), a drawing of its
        strongest edges, a layer-by-layer heat map and a figure of its stability; with --spans,
        scores by where the destination reads (.spans.safetensors) and their plot

    python extract_summarization_circuit.py --model_path demo --pairs data/pairs.jsonl --output C_before_summarization.json
    torchrun --nproc_per_node=4 extract_summarization_circuit.py ...        the same on four devices, the same scores
"""

from pathlib import Path
from typing import NamedTuple

from eap import MIN_EXAMPLES, InputError
from runs import (
    checkpoints,
    console,
    devices,
    disk,
    errors,
    flags,
    hub,
    opening,
    records,
    shards,
    weights,
)
from study.extraction import blocks

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
MODEL_PATH = "gpt2"  # Hub id, folder, checkpoint-N, LoRA adapter folder, or demo; with --all_checkpoints a run's folder
PAIRS = "data/pairs.jsonl"  # from create_causal_summarization_data.py; every row is used
OUTPUT = "C_before_summarization.json"  # the circuit
METHOD = "EAP-IG-inputs"  # EAP is five times cheaper and blind where the metric is flat (kl at the clean input); exact: one run an edge
METRIC = "kl"  # kl asks what changes the model's prediction; nll what changes its fit to the reference summary
IG_STEPS = 5  # points on the path, and time; auto: until the completeness gap is under 1 %
IG_RULE = "gauss-legendre"  # left is the reference's; Gauss-Legendre needs fewer points for smooth metrics, as nll
ABLATION = (
    "patching"  # what an edge outside the circuit carries: the corrupted run, zero, or the mean
)
FRACTION = 0.05  # of all edges to keep; --top_n or --threshold instead
SELECTION = "topn"  # greedy grows from the logits, so that nothing is pruned; sign-consistent drops edges that flip sign over examples
ABSOLUTE = True  # rank by |score|; --no-absolute ranks by signed score
RANK = (
    "mean"  # rank edges by |mean score|; example: by the mean over examples of |score per example|
)
SPANS = False  # split scores by where the destination reads: first token, salient sentences, other article text, cue, summary so far
RESAMPLES = (
    1000  # bootstrap resamples of the examples: how sure each edge is, and the noise floor; 0: none
)
EXACT_TOP = 0  # patch so many of the strongest edges exactly as a check; one run of the model each
UNTIL_STABLE = 0  # 0.8: take pairs until two resamples of them overlap so much, or they end; 0: all
MAX_MEMORY = "auto"  # GB that the plan of batches may use; auto: what is free

# what every script has
MAX_EXAMPLES = "all"  # pairs of the file; all: every one
BATCH_SIZE = "auto"  # examples at a time; auto: planned from the free memory
SEED = 0  # of every random choice
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
OUTPUT_DIR = "outputs/extract_summarization_circuit"  # of --all_checkpoints: one circuit for each
# --------------------------------------------------------------------------------------------

BLOCK = 32  # pairs that --until_stable takes between two looks; what is finished stays on disk
QUICK_RESAMPLES, QUICK_MARGIN = 100, 0.02  # of a first look, and how far under the goal it ends it
SMALL_GAP = 0.01  # of completeness, that --ig_steps auto aims at
STABLE = 0.8  # what --until_stable means without a number
EXACT_PAIRS = 8  # on which --exact_top patches
GAP_WARNING = (
    "warning: completeness gap {:.1%} (limit 5 %): the points miss part of the path; use --method "
    "{}, which has no gap, or --ig_steps {}"
)
ROUNDING_WARNING = (
    "warning: completeness gap {:.1%} (limit 5 %): the sums of {} are exact, so that this is rounding; "
    "use --dtype float32 or float64"
)
FLAT_WARNING = (
    "warning: {} at the clean input has no gradient under {}: every score is rounding noise; use "
    "--metric nll or --method {}"
)
SIGN = (
    "score = (corrupted - clean) . d metric / d input, or the method's multiplier in its place: "
    "positive means that ablating the edge raises the metric"
)


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(
        __doc__,
        OUTPUT_DIR,
        writes="the circuits of --all_checkpoints",
        max_examples=MAX_EXAMPLES,
        batch_size=BATCH_SIZE,
        seed=SEED,
        device=DEVICE,
        dtype=DTYPE,
    )
    parser.add_argument(
        "--model_path",
        type=flags.text,
        default=MODEL_PATH,
        help="Hub id, folder, adapter, or demo (default: %(default)s)",
    )
    parser.add_argument(
        "--all_checkpoints",
        action="store_true",
        help="one circuit per checkpoint-N: <output_dir>/C_step{N}.json",
    )
    parser.add_argument(
        "--pairs",
        type=flags.text,
        default=PAIRS,
        help="clean/corrupted pairs, .jsonl (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=flags.file_name,
        default=OUTPUT,
        help="circuit file; its drawings lie beside it (default: %(default)s)",
    )
    parser.add_argument(
        "--method",
        default=METHOD,
        choices=flags.METHODS,
        help="NAP, NAP-IG and NAP-secant score nodes (default: %(default)s)",
    )
    parser.add_argument(
        "--metric", default=METRIC, choices=flags.METRICS, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--ig_steps",
        type=_steps,
        default=IG_STEPS,
        help="points on the path, or auto (default: %(default)s)",
    )
    parser.add_argument(
        "--ig_rule", default=IG_RULE, choices=flags.RULES, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--ablation", default=ABLATION, choices=flags.ABLATIONS, help="(default: %(default)s)"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--fraction",
        type=flags.share,
        default=FRACTION,
        help="of all edges, up to 1 (default: %(default)s)",
    )
    size.add_argument("--top_n", type=flags.positive_int, help="number of edges instead")
    size.add_argument("--threshold", type=flags.positive_float, help="least |score| instead")
    parser.add_argument(
        "--selection",
        default=SELECTION,
        choices=flags.SELECTIONS,
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--absolute", action="store_true", default=ABSOLUTE, help="rank by |score| (default)"
    )
    parser.add_argument(
        "--no_absolute", dest="absolute", action="store_false", help="rank by signed score"
    )
    parser.add_argument(
        "--rank",
        default=RANK,
        choices=flags.RANKS,
        help="mean: by |mean score|; example: by the mean of |score per example| "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--spans",
        action="store_true",
        default=SPANS,
        help="split scores by where the destination reads",
    )
    parser.add_argument(
        "--resamples",
        type=flags.count,
        default=RESAMPLES,
        help="of examples, for the noise floor (default: %(default)s)",
    )
    parser.add_argument(
        "--until_stable",
        nargs="?",
        const=STABLE,
        default=UNTIL_STABLE,
        type=flags.fraction,
        metavar="J",
        help="take pairs until the mean Jaccard index between resamples is over J, or they end; "
        "with --all_checkpoints the last one's number of pairs holds for all "
        f"(J without a number: {STABLE})",
    )
    parser.add_argument(
        "--exact_top",
        type=flags.count,
        default=EXACT_TOP,
        help="edges to patch exactly as a check (default: %(default)s)",
    )
    parser.add_argument(
        "--max_memory",
        type=flags.gigabytes,
        default=MAX_MEMORY,
        help="GB that the plan may use; auto: what is free (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    if args.exact_top == 1:
        raise InputError(
            "--exact_top 1: expected 0 or at least 2 edges, of which a correlation can be taken"
        )
    if args.until_stable == 1:
        raise InputError(
            "--until_stable 1: expected a Jaccard index under 1, which is never passed"
        )
    if args.until_stable and args.resamples < 2:
        raise InputError(
            f"--until_stable resamples the examples: expected --resamples of 2 or more, "
            f"got {args.resamples}"
        )
    return args


def check(args) -> None:
    """Raise InputError for flags that mean nothing together, before any work."""
    from eap import attribute

    attribute.check(
        args.method,
        args.metric,
        args.ig_rule,
        args.ablation,
        5 if args.ig_steps == "auto" else args.ig_steps,
    )
    method = attribute.METHODS[args.method]
    if method.nodes and (args.threshold is not None or args.selection != "topn"):
        raise InputError(
            f"--method {args.method} scores nodes and takes all edges among the best: expected --fraction or --top_n, got "
            "--threshold or another --selection; leave it out or use EAP-IG-inputs"
        )
    check_rank(args, method)
    if args.until_stable and args.all_checkpoints and args.ablation == "mean":
        raise InputError(
            "--until_stable --all_checkpoints --ablation mean: expected another --ablation, since "
            "the means would be of other pairs at the last checkpoint than at the others; "
            "give --max_examples in place of --until_stable"
        )
    if args.threshold is not None and args.selection != "topn":
        raise InputError(
            f"--threshold keeps all edges above it: expected no --selection, got {args.selection}; leave one of the two out"
        )
    if args.ig_steps == "auto" and not method.quadrature:
        raise InputError(
            f"--ig_steps auto adds points until the completeness gap is small; {args.method} integrates "
            "over none: expected a number, or another --method; leave --ig_steps out"
        )
    if method.points is None and args.dtype == "bfloat16":
        raise InputError(
            f"--dtype bfloat16 is for matrix products of attribution: expected float32 or float64 with --method {args.method}"
        )


def check_rank(args, method) -> None:
    """Raise InputError for a --rank that means nothing beside the other flags."""
    if args.rank == "example" and not args.absolute:
        raise InputError(
            "--rank example is by |score|, which has no sign: expected no --no_absolute; "
            "leave one of the two out"
        )
    if args.rank == "example" and method.nodes:
        raise InputError(
            f"--rank example ranks edges, and --method {args.method} nodes: "
            "leave it out or use a method that scores edges"
        )


def _steps(value):
    return value if value == "auto" else flags.positive_int(value)


def jobs(args) -> list[tuple[str, Path]]:
    """(model, circuit file) of every extraction. Raises InputError when a run holds no checkpoints."""
    if not args.all_checkpoints:
        return [(args.model_path, Path(args.output))]
    folder = Path(args.model_path)
    found = checkpoints.complete_checkpoints(folder)
    if not found:
        raise InputError(
            f"--model_path {folder}: expected a run with checkpoint-N folders, found none; run_finetuning_with_checkpoints.py"
            " makes one"
        )
    return [
        (str(path), Path(args.output_dir) / f"C_step{checkpoints.step_of(path)}.json")
        for path in found
    ]


def main(argv=None):
    """Extract a circuit, or one per checkpoint."""
    args = parse(argv)
    check(args)
    work = jobs(args)
    if not Path(args.pairs).is_file():
        raise InputError(
            f"--pairs {args.pairs}: expected a file of pairs, found none; make it with create_causal_summarization_data.py, "
            "for instance with --dataset demo --model_path demo"
        )
    for model_path, _ in work:
        hub.resolve_model(model_path)
    if not args.until_stable:
        for number, (model_path, output) in enumerate(work):
            extract(args, model_path, output, n_circuits=1 + to_come(args, work[number + 1 :]))
        return
    *others, (last_model, last_output) = work
    extract(args, last_model, last_output)
    shards.from_first(None)  # the others read the last one's file: no process goes on before it
    for number, (model_path, output) in enumerate(others):
        later = to_come(args, others[number + 1 :])
        extract(args, model_path, output, as_many_as=last_output, n_circuits=1 + later)


def to_come(args, work) -> int:
    """How many of these extractions are still to be done."""
    return sum(args.overwrite or not output.is_file() for _, output in work)


def extract(
    args,
    model_path: str,
    output: Path,
    *,
    as_many_as: Path | None = None,
    n_circuits: int = 1,
) -> None:
    """One circuit, the first of `n_circuits` to come: attribute, select, check, write, draw.

    `as_many_as`: the circuit of whose pairs, no more and no fewer, it is made.
    """
    drawing = output.with_name(f"{output.stem}.edges.png")
    map_ = output.with_name(f"{output.stem}.heatmap.png")
    stability_plot = output.with_name(f"{output.stem}.stability.png")
    span_plot = output.with_name(f"{output.stem}.spans.png")
    from eap.scores import examples_beside, groups_beside, save_group_scores

    outputs = [
        output,
        examples_beside(output),
        drawing,
        map_,
        *((stability_plot,) if args.resamples > 1 else ()),
        *((groups_beside(output), span_plot) if args.spans else ()),
    ]
    run = records.Run(
        vars(args),
        records.record_beside(output),
        outputs,
        {"model": hub.model_source(model_path), "pairs": args.pairs}
        | ({"pairs as in": as_many_as} if as_many_as else {}),
    )
    if run.up_to_date:
        blocks.discard(blocks.folder_beside(output))  # of a run that ended just before it did so
        return
    from eap import dataset, visualization
    from study.stability import figures as stability_plots
    from summarization import corruption

    devices.seed_everything(args.seed)
    adapter, tokenizer = opening.open_adapted(devices.of(args), model_path, {})
    if args.top_n and args.top_n > adapter.graph.n_edges:
        raise InputError(
            f"--top_n {args.top_n}: expected at most the {adapter.graph.n_edges} edges of {adapter.graph}; ask for fewer"
        )
    pairs = opening.read_pairs(
        args.pairs,
        adapter,
        tokenizer,
        console=console.Console(args.quiet),
        max_examples=args.max_examples,
    )
    if args.spans:
        with errors.advising("make the pairs again, or leave --spans out"):
            for pair in pairs:
                corruption.groups_of(pair)  # before the work
    if args.until_stable and len(pairs) < 2:
        raise InputError(
            f"--until_stable resamples the pairs: expected at least 2, got {len(pairs)}, of which "
            "every resample is the same"
        )
    if args.selection == "sign-consistent" and len(pairs) < 2:
        raise InputError(
            f"--selection sign-consistent: expected at least 2 pairs, got {len(pairs)}"
        )
    if as_many_as:
        pairs = pairs[: len(disk.read_json(as_many_as)["metadata"]["example_ids"])]
    in_blocks = args.until_stable and not as_many_as
    if not console.is_main_process():
        (score_in_blocks if in_blocks else score)(args, adapter, pairs, None)
        return
    with disk.atomic(examples_beside(output)) as scores_file:
        if in_blocks:
            key = f"{run.known_by()}, {BLOCK} pairs a block"
            finished = blocks.Blocks(blocks.folder_beside(output), key)
            used, summary, by_span = score_in_blocks(
                args, adapter, pairs, Progress(finished, scores_file)
            )
        else:
            used = pairs
            summary, by_span = score(args, adapter, pairs, scores_file, n_circuits=n_circuits)
        circuit = choose(args, adapter, pairs, scores_file, summary)
    circuit.metadata.update(
        pairs_sha256=run.identity["inputs"]["pairs"]["sha256"],
        weights_sha256=weights.sha256(model_path),
        examples_sha256=records.sha256(examples_beside(output).resolve()),
        tokenizer_sha256=opening.tokenizer_sha256(tokenizer),
        **dataset.contents(used),
    )
    if "commit" in run.identity["inputs"]["model"]:
        circuit.metadata["weights_commit"] = run.identity["inputs"]["model"]["commit"]
    if as_many_as:
        circuit.metadata["as_many_pairs_as"] = as_many_as.name
    disk.write_json(output, circuit.to_json())
    title = f"{output.stem}: {args.method}, {args.metric}, n = {len(used)}"
    if args.spans:
        with disk.atomic(groups_beside(output)) as path:
            save_group_scores(by_span, corruption.GROUPS.names, path)
    disk.drawn(
        lambda path: visualization.draw_circuit(
            circuit.graph, circuit.scores, circuit.in_graph, path, title
        ),
        drawing,
    )
    unit = "logits" if args.metric == "logit_diff" else "nats"
    disk.save_figure(
        lambda: visualization.heat_map(circuit.graph, circuit.scores, title, unit), map_
    )
    if args.resamples > 1:
        sizes = circuit.metadata["sizes"]
        own = sizes["selected"] / sizes["edges"]
        disk.save_figure(
            lambda: stability_plots.figure(circuit.metadata.get("stability"), output.stem, own),
            stability_plot,
        )
    if args.spans:
        spans = circuit.metadata["spans"]
        tokens = dict(zip(spans["names"], spans["tokens"], strict=True))
        disk.save_figure(
            lambda: visualization.group_bars(circuit.graph, by_span, tokens, title),
            span_plot,
        )
    run.finish()
    blocks.discard(blocks.folder_beside(output))


def score(args, adapter, pairs, path, *, n_circuits: int = 1) -> tuple:
    """(what the circuit's metadata says of the scores, their mean by span or None); per-example scores go to `path`, if there is one."""
    for steps in tries(args):
        summary, by_span = score_once(args, adapter, pairs, path, steps, n_circuits=n_circuits)
        if summary["completeness"] == "not applicable":
            break
        if summary["completeness"]["gap"] < SMALL_GAP:
            break
    return {**summary, "warnings": warnings_of(args, summary, steps)}, by_span


def tries(args) -> tuple[int, ...]:
    """The numbers of points to try, until the completeness gap is under `SMALL_GAP`."""
    return (4, 8, 16, 32, 64) if args.ig_steps == "auto" else (args.ig_steps,)


def warnings_of(args, summary: dict, steps: int) -> list[str]:
    """What is to be said of the scores, said already: gaps that are large, and metrics without a
    gradient.
    """
    from eap import attribute

    gap = summary["completeness"]["gap"] if summary["completeness"] != "not applicable" else 0
    warnings, method = [], attribute.METHODS[args.method]
    secant = "NAP-secant" if method.nodes else "secant"
    if gap > 0.05:
        warnings.append(
            GAP_WARNING.format(gap, secant, 2 * steps)
            if method.quadrature
            else ROUNDING_WARNING.format(gap, args.method)
        )
    if args.ig_steps == "auto" and SMALL_GAP <= gap <= 0.05:
        warnings.append(
            f"note: the completeness gap is {gap:.1%} with {steps} points, "
            + (
                "which the first block needed"
                if args.until_stable
                else "the most that --ig_steps auto takes"
            )
        )
    if method.flat and args.metric in ("kl", "js"):
        warnings.append(FLAT_WARNING.format(args.metric, args.method, secant))
    for warning in warnings:
        console.warn(warning)
    return warnings


def score_once(args, adapter, pairs, path, steps: int, *, n_circuits: int = 1) -> tuple:
    """`score` with a given number of points. The batches are shared out among the processes of a torchrun."""
    from eap.scores import ScoreWriter

    batch_size = plan(args, adapter, pairs, steps)
    writer, parts, by_span = path and ScoreWriter(path, len(pairs), adapter.graph.n_edges), [], 0
    for scores in attributed(args, adapter, pairs, Work(steps, batch_size, parts=n_circuits)):
        if writer:
            writer.write(scores)
        if args.spans:
            by_span += scores.by_group.double().sum(0) / len(pairs)
        parts.append(part_of(adapter.graph, scores))
    return summarise(args, pairs, steps, Sums(parts, by_span))


class Work(NamedTuple):
    """How pairs are attributed: points on the path, pairs at a time, and for mean ablation other
    means than those of the pairs. `parts` as large as this one are to come, this one included.
    """

    steps: int
    batch_size: int
    means: object = None
    parts: int = 1


class Sums(NamedTuple):
    """What is known of all examples besides their scores: `part_of` each batch, and the mean scores
    by span.
    """

    parts: list
    by_span: object


def plan(args, adapter, pairs, steps: int) -> int:
    """How many pairs each process attributes at a time, the same in all; says so."""
    from eap import memory

    free, points = devices.of(args).memory_budget, points_of(args, adapter, steps)
    batch_size = shards.from_first(
        args.batch_size or memory.plan_batch_size(adapter, pairs, points, free)
    )
    shown = f" in each of {shards.count()} processes" if shards.count() > 1 else ""
    console.say(
        args,
        f"plan: {len(pairs)} pairs, {points} points each, {batch_size} at a time{shown}, {free / 1e9:.3g} GB to use",
    )
    return batch_size


def points_of(args, adapter, steps: int) -> int:
    """How many points a method really takes."""
    from eap import attribute

    method = attribute.METHODS[args.method]
    return len(method.points(adapter.graph, steps, args.ig_rule)) if method.points else 1


def attributed(args, adapter, pairs, work: Work):
    """Yield the `Scores` of every batch of the pairs, of all processes and in each of them."""
    from eap import attribute, dataset
    from runs import forecast
    from summarization import corruption

    steps, means = work.steps, work.means
    mine = shards.share(dataset.batches(pairs, work.batch_size))
    ticks = len(mine) * attribute.ticks_per_batch(adapter.graph, args.method, steps, args.ig_rule)
    ahead = forecast.Ahead(
        steps=work.parts * ticks,
        written_bytes=work.parts * len(pairs) * adapter.graph.n_edges * 4,
        folder=str(Path(args.output).parent),
    )
    bar = console.progress(None, args, "attributing", ticks, ahead=ahead)
    found = attribute.attribute_batches(
        adapter,
        mine,
        args.method,
        args.metric,
        steps,
        args.ig_rule,
        args.ablation,
        means_of(args, adapter, pairs) if means is None else means,
        devices.of(args).autocast_dtype,
        corruption.GROUPS if args.spans else None,
        console.warn,
        bar.update,
    )
    yield from shards.gathered(found)
    bar.close()


def part_of(graph, scores) -> tuple:
    """(rows, sums of the scores out of `input`, metric of the clean and of the corrupted run), an
    entry per example each.
    """
    from eap.scores import input_sums

    return (
        scores.rows,
        input_sums(graph, scores.edges),
        scores.clean,
        scores.corrupted,
    )


def summarise(args, pairs, steps: int, sums: Sums) -> tuple:
    """(what the circuit's metadata says of the scores, their mean by span or None)."""
    from eap import attribute

    method = attribute.METHODS[args.method]
    summary = {
        "steps": steps if method.stepped else None,
        "completeness": completeness(method, sums.parts),
    }
    if args.spans:
        summary["spans"] = spans_summary(pairs, sums.by_span)
    return summary, sums.by_span if args.spans else None


# ---------------------------------------------------------------- pairs in blocks, until stable


class Progress(NamedTuple):
    """What the first process keeps: the blocks that are finished, and the file that all their
    scores go to.
    """

    finished: blocks.Blocks
    scores_file: Path

    def begun(self) -> "Begun | None":
        """How far an interrupted run came; None before its first block."""
        if not len(self.finished):
            return None
        return Begun(len(self.finished), *self.finished.read(0)["settings"].tolist())


class Begun(NamedTuple):
    """How many blocks are finished, and how they were attributed."""

    blocks: int
    steps: int
    batch_size: int


def score_in_blocks(args, adapter, pairs, progress: Progress | None = None) -> tuple | None:
    """`score` of as many blocks of pairs as a stable circuit takes: (pairs taken, summary, mean
    scores by span or None).

    Goes on after the blocks that are finished already. Between two blocks the first process, which
    alone has `progress`, looks whether the circuit is stable, and the others hear of it; they get
    None. So that a block is the same whichever blocks come after it, the points of --ig_steps auto
    are those that the first one needs, and the means of mean ablation are of all pairs.
    """
    means, seen, looks = means_of(args, adapter, pairs), [], []
    begun = shards.from_first(progress.begun() if progress else None)
    work = Work(begun.steps, begun.batch_size, means) if begun else None
    for number, start in enumerate(range(0, len(pairs), BLOCK)):
        group = pairs[start : start + BLOCK]
        if work is None:
            work = first_work(args, adapter, pairs, means)
        if begun is None or number >= begun.blocks:
            block = block_of(args, adapter, group, work)
            if progress:
                progress.finished.add(block)
        if progress:
            seen.append(progress.finished.read(number))
            looks.append(look(args, adapter.graph, [block["scores"] for block in seen]))
        if shards.from_first(looks[-1]["stable"] if progress else None):
            break
    if progress is None:
        return None
    return from_blocks(args, adapter, pairs, Taken(seen, looks, work.steps), progress)


def first_work(args, adapter, pairs, means) -> Work:
    """How every block is attributed; with --ig_steps auto the first one is tried with more and more
    points.
    """
    for steps in tries(args):
        most = -(-BLOCK // shards.count())  # so that no process of a torchrun is without pairs
        work = Work(steps, min(plan(args, adapter, pairs, steps), most), means)
        if args.ig_steps != "auto":
            break
        block = block_of(args, adapter, pairs[:BLOCK], work)
        if gap_of(args, [part_of_block(block)]) < SMALL_GAP:
            break
    return work


def block_of(args, adapter, group, work: Work) -> dict:
    """The named tensors of a block of pairs, in their order; `by_span` is a sum over pairs."""
    import torch

    from eap.scores import input_sums

    parts = sorted(attributed(args, adapter, group, work), key=lambda scores: scores.rows)
    order = torch.tensor([row for scores in parts for row in scores.rows]).argsort()
    edges = torch.cat([scores.edges for scores in parts])[order]
    block = {
        "scores": edges.float(),
        "sums": input_sums(adapter.graph, edges),
        "clean": torch.cat([scores.clean for scores in parts])[order],
        "corrupted": torch.cat([scores.corrupted for scores in parts])[order],
        "settings": torch.tensor([work.steps, work.batch_size]),
    }
    if args.spans:
        block["by_span"] = sum(scores.by_group.double().sum(0) for scores in parts)
    return block


def gap_of(args, parts) -> float:
    """The completeness gap of all examples; --ig_steps auto is for methods that have one."""
    from eap import attribute

    return completeness(attribute.METHODS[args.method], parts)["gap"]


def part_of_block(block: dict, start: int = 0) -> tuple:
    """`part_of` a finished block, whose first pair has the number `start`."""
    rows = list(range(start, start + len(block["scores"])))
    return rows, block["sums"], block["clean"], block["corrupted"]


def look(args, graph, seen: list) -> dict:
    """{"examples", "jaccard": mean between resamples of them, "resamples", "stable"}; few resamples
    where the goal is far.
    """
    import torch

    from study.stability import bootstrap

    per_example = torch.cat(seen)
    rule = rule_of(args, graph, per_example)
    for resamples in sorted({min(QUICK_RESAMPLES, args.resamples), args.resamples}):
        kept = bootstrap.resampled_circuits(graph, rule, per_example, resamples, args.seed)
        overlap = bootstrap.noise_floor(kept)["mean"]
        if overlap < args.until_stable - QUICK_MARGIN:
            break
    enough = len(per_example) >= MIN_EXAMPLES  # fewer carry no claim
    stable = enough and resamples == args.resamples and overlap > args.until_stable
    console.say(
        args, f"{len(per_example)} pairs: mean Jaccard index {overlap:.3f} between resamples"
    )
    return {
        "examples": len(per_example),
        "jaccard": overlap,
        "resamples": resamples,
        "stable": stable,
    }


class Taken(NamedTuple):
    """The blocks that were taken, what was seen after each, and the points on the path."""

    blocks: list[dict]
    looks: list[dict]
    steps: int


def from_blocks(args, adapter, pairs, taken: Taken, progress: Progress) -> tuple:
    """(pairs taken, summary, mean scores by span or None) of finished blocks; writes their scores
    per example into one file.
    """
    from eap.scores import Scores, ScoreWriter

    n, parts, by_span = taken.looks[-1]["examples"], [], 0
    writer = ScoreWriter(progress.scores_file, n, adapter.graph.n_edges)
    for block in taken.blocks:
        part = part_of_block(block, sum(len(rows) for rows, *_ in parts))
        writer.write(Scores(part[0], block["scores"], block["clean"], block["corrupted"]))
        parts.append(part)
        if args.spans:
            by_span += block["by_span"] / n
    used = pairs[:n]
    summary, by_span = summarise(args, used, taken.steps, Sums(parts, by_span))
    about = {
        "goal": args.until_stable,
        "reached": taken.looks[-1]["stable"],
        "pairs": n,
        "pairs_there": len(pairs),
        "block": BLOCK,
        "looks": taken.looks,
    }
    warnings = warnings_of(args, summary, taken.steps)
    return used, {**summary, "warnings": warnings, "until_stable": about}, by_span


def means_of(args, adapter, pairs):
    """What nodes write on average, for mean ablation; None for the others."""
    from eap import dataset, memory, passes

    if args.ablation != "mean":
        return None
    batch_size = args.batch_size or memory.plan_batch_size(
        adapter, pairs, 1, devices.of(args).memory_budget
    )
    return passes.mean_activations(adapter, dataset.batches(pairs, batch_size), console.warn)


def spans_summary(pairs, by_span) -> dict:
    """For each span: its name, its mean number of tokens, and the share of the sum of |score| that is read there."""
    from collections import Counter

    from summarization.corruption import GROUPS

    tokens = Counter(group for pair in pairs for group in GROUPS.of(pair))
    strength = by_span.abs().sum(1)
    return {
        "names": list(GROUPS.names),
        "tokens": [tokens[i] / len(pairs) for i in range(len(GROUPS.names))],
        "share": (strength / strength.sum()).tolist(),
    }


def completeness(method, parts):
    """The completeness gap, overall and per example; "not applicable" for methods that do not integrate over inputs."""
    import torch

    from eap.scores import completeness_gap

    if not method.complete:
        return "not applicable"
    order = torch.tensor([row for part in parts for row in part[0]]).argsort()
    sums, clean, corrupted = (torch.cat([part[i] for part in parts])[order] for i in (1, 2, 3))
    gap, each = completeness_gap(sums, clean, corrupted)
    return {
        "gap": gap,
        "per_example": each.tolist(),
        "metric_clean": float(clean.mean()),
        "metric_corrupted": float(corrupted.mean()),
    }


def choose(args, adapter, pairs, scores_file, summary: dict):
    """The `Circuit`: mean scores, chosen and pruned edges, metadata. Raises InputError when no edge is left."""
    from eap import attribute, selection
    from eap.circuit import Circuit
    from eap.scores import load_example_scores, node_scores

    edges = adapter.graph
    per_example = load_example_scores(scores_file)
    scores = per_example.double().mean(0)
    nodes = node_scores(edges, scores) if attribute.METHODS[args.method].nodes else None
    rule = rule_of(args, edges, per_example)
    wanted, ranking = rule.n, rule.values(per_example).double().mean(0)
    kept = rule.choose(edges, ranking)
    pruned = selection.prune(edges, kept)
    sizes = {
        "requested": None if args.threshold is not None else wanted,
        "selected": int(kept.sum()),
        "pruned": int(pruned.sum()),
        "edges": edges.n_edges,
    }
    if not scores.any():
        raise InputError(
            f"--pairs {args.pairs}: expected corrupted inputs that change {args.metric}, got scores of 0 for every edge; "
            "build the pairs again"
        )
    if not pruned.any():
        raise InputError(
            f"{args.output}: expected a circuit, but none of the {sizes['selected']} chosen edges lies on a path from input "
            "to logits; use --selection greedy or a larger --fraction"
        )
    gap = summary["completeness"]["gap"] if summary["completeness"] != "not applicable" else None
    shown = f"; completeness gap {gap:.2%}" if gap is not None else ""
    console.say(
        args,
        f"circuit: {sizes['selected']} of {edges.n_edges} edges chosen, {sizes['pruned']} after pruning{shown}",
    )
    metadata = {
        "method": args.method,
        "metric": args.metric,
        "rule": args.ig_rule if attribute.METHODS[args.method].quadrature else None,
        **summary,
        "ablation": args.ablation,
        "selection": "threshold" if args.threshold is not None else args.selection,
        "threshold": args.threshold,
        "absolute": args.absolute,
        "rank": args.rank,
        "sizes": sizes,
        "dtype": args.dtype,
        "seed": args.seed,
        "sign": SIGN,
    }
    if args.selection == "sign-consistent":
        metadata["consistent_edges"] = list(rule.eligible)
    if args.exact_top:
        metadata["exact"] = check_exactly(args, adapter, pairs, scores, per_example)
    stored = ranking if args.rank == "example" else None
    circuit = Circuit(edges, pruned, scores, nodes, metadata, stored)
    add_bootstrap(args, circuit, per_example)
    return circuit


def rule_of(args, graph, per_example):
    """The `selection.Rule` that the flags ask for; `per_example` says which edges are
    sign-consistent.
    """
    from eap import attribute, selection

    eligible = None
    if args.selection == "sign-consistent":
        consistent = selection.consistent(per_example, seed=args.seed)
        eligible = tuple(consistent.nonzero().flatten().tolist())
    asked = args.top_n or max(1, round(args.fraction * graph.n_edges))
    return selection.Rule(
        asked if args.threshold is None else None,
        args.selection,
        args.threshold,
        args.absolute,
        args.rank,
        attribute.METHODS[args.method].nodes,
        eligible,
    )


def add_bootstrap(args, circuit, per_example) -> None:
    """Put into the metadata what resampling the examples does to the circuit, when there are two examples or more."""
    from study.stability import bootstrap
    from study.stability import curves as stability

    if args.resamples < 2 or len(per_example) < 2:
        return
    total = -(-args.resamples // bootstrap.CHUNK)
    found = bootstrap.bootstrap(
        circuit,
        per_example,
        args.resamples,
        args.seed,
        lambda chunks: console.progress(chunks, args, "resampling examples", total),
    )
    circuit.metadata["bootstrap"] = bootstrap.summarise(found, len(per_example), args.seed)
    console.say(args, bootstrap.sentence(circuit.metadata["bootstrap"]))
    goal = args.until_stable or bootstrap.STABLE
    about = stability.summarise(circuit, per_example, goal, args.seed)
    said, until = stability.sentences(about), circuit.metadata.get("until_stable")
    if until and not until["reached"]:
        overlap = circuit.metadata["bootstrap"]["noise_floor"]["mean"]
        said.insert(
            0,
            f"the {until['pairs']} pairs ended before resamples overlapped by more than {goal:g} in "
            f"the mean: {overlap:.3f}",
        )
    circuit.metadata["stability"] = about | {"sentences": said}
    console.say(args, "\n".join(circuit.metadata["stability"]["sentences"]))


def check_exactly(args, adapter, pairs, scores, per_example) -> dict:
    """Exact patching of the strongest edges on the first pairs, and its correlation with their scores on the same pairs."""
    import torch

    from eap import dataset, evaluate, exact, hooks, memory, selection

    edges = selection.ranking(scores)[: args.exact_top].tolist()
    chosen = pairs[:EXACT_PAIRS]
    work = dataset.batches(
        chosen,
        args.batch_size
        or memory.plan_batch_size(adapter, chosen, 1, devices.of(args).memory_budget),
    )

    def patch(batch):
        runner = evaluate.CircuitRunner(adapter, batch, args.ablation, means)
        return exact.exact_patching(
            runner,
            args.metric,
            console.progress(edges, args, f"patching exactly, {len(batch.rows)} pairs"),
        )

    with hooks.frozen(adapter.model):
        means = means_of(args, adapter, pairs)
        exact = torch.cat(list(memory.halving(work, patch, console.warn))).mean(0)
    approximate = per_example[: len(chosen), edges].mean(0)
    pearson = float(torch.corrcoef(torch.stack([exact.double(), approximate.double()]))[0, 1])
    console.say(
        args,
        f"exact patching of the {len(edges)} strongest edges on {len(chosen)} pairs: Pearson {pearson:.3f}",
    )
    names = [adapter.graph.edges[edge] for edge in edges]
    return {
        "edges": names,
        "exact": exact.tolist(),
        "score": approximate.tolist(),
        "pearson": pearson,
        "examples": len(chosen),
    }


if __name__ == "__main__":
    console.run_script(main)
