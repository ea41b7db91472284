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

import argparse
from pathlib import Path

from eap import InputError
from runs import checkpoints, console, devices, disk, flags, hub, opening, records, shards, weights
from study.extraction import blocks
from study.extraction.files import Files, write
from study.extraction.settings import Settings

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
MODEL_PATH = "gpt2"  # Hub id, folder, checkpoint-N, LoRA adapter folder, or demo; with --all_checkpoints a run's folder
PAIRS = "data/pairs.jsonl"  # from create_causal_summarization_data.py; every row is used
OUTPUT = "C_before_summarization.json"  # the circuit
METHOD = "EAP-IG-inputs"  # EAP is five times cheaper and blind where the metric is flat (kl at the clean input); exact: one run an edge
KV = "per-head"  # as others' files have it; shared: one k and one v where query heads share them
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

STABLE = 0.8  # what --until_stable means without a number


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(
        __doc__, OUTPUT_DIR, globals(), writes="the circuits of --all_checkpoints"
    )
    add = parser.add_argument
    add("--model_path", type=flags.text, help="Hub id, folder, adapter, or demo")
    add(
        "--all_checkpoints",
        action="store_true",
        help="one circuit per checkpoint-N: <output_dir>/C_step{N}.json",
    )
    add("--pairs", type=flags.text, help="clean/corrupted pairs, .jsonl")
    add("--output", type=flags.file_name, help="circuit file; its drawings lie beside it")
    add("--method", choices=flags.METHODS, help="NAP, NAP-IG and NAP-secant score nodes")
    add("--kv", choices=flags.KV, help="edges of heads that share keys and values")
    add("--metric", choices=flags.METRICS)
    add("--ig_steps", type=flags.steps, help="points on the path, or auto")
    add("--ig_rule", choices=flags.RULES)
    add("--ablation", choices=flags.ABLATIONS)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--fraction", type=flags.share, help="of all edges, up to 1")
    size.add_argument("--top_n", type=flags.positive_int, help="number of edges instead")
    size.add_argument("--threshold", type=flags.positive_float, help="least |score| instead")
    add("--selection", choices=flags.SELECTIONS)
    add("--absolute", action="store_true", help="rank by |score| (default)")
    add("--no_absolute", dest="absolute", action="store_false", help="rank by signed score")
    add(
        "--rank",
        choices=flags.RANKS,
        help="mean: by |mean score|; example: by the mean of |score per example|",
    )
    add("--spans", action="store_true", help="split scores by where the destination reads")
    add("--resamples", type=flags.count, help="of examples, for the noise floor")
    add(
        "--until_stable",
        nargs="?",
        const=STABLE,
        type=flags.fraction,
        metavar="J",
        help="take pairs until the mean Jaccard index between resamples is over J, or they end; "
        "with --all_checkpoints the last one's number of pairs holds for all "
        f"(J without a number: {STABLE})",
    )
    add("--exact_top", type=flags.count, help="edges to patch exactly as a check")
    flags.add_max_memory(parser)
    args = parser.parse_args(argv)
    say_unused(parser, argv, args.method)
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


def say_unused(parser, argv, method: str) -> None:
    """Say which flags were given, whatever their value, that the method does not look at."""
    absent = argparse.Namespace(ig_steps=None, ig_rule=None)
    given, _ = parser.parse_known_args(argv, absent)
    for name, methods, what in (
        ("ig_steps", flags.STEPPED, "points"),
        ("ig_rule", flags.QUADRATURE, "a rule"),
    ):
        value = getattr(given, name)
        if value not in (None, "auto") and method not in methods:  # auto is refused in `check`
            console.warn(f"note: --{name} {value} is not used: {method} does not take {what}")


def check(args) -> None:
    """Raise InputError for flags that mean nothing together, before any work."""
    Settings.of(vars(args), output=Path(args.output)).check()
    if args.until_stable and args.all_checkpoints and args.ablation == "mean":
        raise InputError(
            "--until_stable --all_checkpoints --ablation mean: expected another --ablation, since "
            "the means would be of other pairs at the last checkpoint than at the others; "
            "give --max_examples in place of --until_stable"
        )
    if not Path(args.pairs).is_file():
        raise InputError(
            f"--pairs {args.pairs}: expected a file of pairs, found none; make it with "
            "create_causal_summarization_data.py, for instance with --dataset demo --model_path demo"
        )


def jobs(args) -> list[tuple[str, Path]]:
    """(model, circuit file) of every extraction. Raises InputError for a run without checkpoints."""
    if not args.all_checkpoints:
        return [(args.model_path, Path(args.output))]
    folders = checkpoints.complete_checkpoints(args.model_path)
    if not folders:
        raise InputError(
            f"--model_path {args.model_path}: expected a run with checkpoint-N folders, found none; "
            "run_finetuning_with_checkpoints.py makes one"
        )
    return [(str(folder), checkpoints.circuit_of(folder, args.output_dir)) for folder in folders]


def main(argv=None):
    """Extract a circuit, or one per checkpoint."""
    args = parse(argv)
    check(args)
    work = jobs(args)
    for model_path, _ in work:
        hub.resolve_model(model_path)
    made = extract_until_stable(args, work) if args.until_stable else extract_all(args, work)
    report(args, {output: circuit for output, circuit in made.items() if circuit is not None})


def extract_all(args, work, as_many_as: Path | None = None) -> dict:
    """{circuit file: its circuit, None where it was up to date} of these extractions."""
    made = {}
    for number, (model_path, output) in enumerate(work):
        n_circuits = 1 + to_come(args, work[number + 1 :])
        made[output] = extract(
            args, model_path, output, as_many_as=as_many_as, n_circuits=n_circuits
        )
    return made


def extract_until_stable(args, work) -> dict:
    """`extract_all`, the last one first: its number of pairs holds for the others."""
    *others, last = work
    made = extract_all(args, [last])
    shards.from_first(None)  # the others read the last one's file: no process goes on before it
    return extract_all(args, others, as_many_as=last[1]) | made


def report(args, made: dict) -> None:
    """Say of the circuits that were made what came out; nothing where there are none."""
    from study.extraction import headline
    from study.headline import show

    outputs = list(made)
    if len(made) == 1:
        outputs = list(Files.of(Settings.of(vars(args), output=outputs[0])).all)
    circuits = {output.stem: circuit.metadata for output, circuit in made.items()}
    if circuits:
        show(console.Console.of(vars(args)), headline.headline(circuits), outputs)


def to_come(args, work) -> int:
    """How many of these extractions are still to be done."""
    return sum(args.overwrite or not output.is_file() for _, output in work)


def extract(
    args, model_path: str, output: Path, *, as_many_as: Path | None = None, n_circuits: int = 1
):
    """One circuit, the first of `n_circuits` to come: attribute, select, check, write, draw.

    `as_many_as`: the circuit of whose pairs, no more and no fewer, it is made. Returns it; None
    where it is up to date, or another process writes it.
    """
    settings = Settings.of(vars(args), output=output)
    files, unfinished = Files.of(settings), blocks.folder_beside(output)
    inputs = {"model": hub.model_source(model_path), "pairs": args.pairs}
    if as_many_as:
        inputs["pairs as in"] = as_many_as
    run = records.Run(vars(args), records.record_beside(output), files.all, inputs)
    if run.up_to_date:
        blocks.discard(unfinished)  # of a run that ended just before it did so
        return None
    from eap.examples import Examples
    from study.extraction import results, scores, until_stable

    devices.seed_everything(settings.seed)
    adapter, tokenizer = opening.open_adapted(settings.device, model_path, {}, kv=args.kv)
    settings.check_graph(adapter.graph)
    pairs = opening.read_pairs(
        args.pairs, adapter, tokenizer, console=settings.console, max_examples=args.max_examples
    )
    settings.check_pairs(pairs)
    if as_many_as:
        pairs = pairs[: len(disk.read_json(as_many_as)["metadata"]["example_ids"])]
    in_blocks = settings.until_stable and not as_many_as
    if not console.is_main_process():
        work = until_stable.score_in_blocks if in_blocks else scores.score
        work(settings, adapter, pairs, None)
        return None
    with disk.atomic(files.examples) as scores_file:
        if in_blocks:
            finished = blocks.Blocks(unfinished, until_stable.key_of(run.known_by()))
            progress = until_stable.Progress(finished, scores_file)
            pairs, summary, by_span = until_stable.score_in_blocks(
                settings, adapter, pairs, progress
            )
        else:
            summary, by_span = scores.score(
                settings, adapter, pairs, scores_file, n_circuits=n_circuits
            )
        circuit = results.choose(settings, adapter, pairs, scores_file, summary)
    circuit = circuit.noting(
        pairs_sha256=run.identity["inputs"]["pairs"]["sha256"],
        weights_sha256=weights.sha256(model_path),
        examples_sha256=records.sha256(files.examples.resolve()),
        tokenizer_sha256=opening.tokenizer_sha256(tokenizer),
        **Examples.of(pairs).entries(),
    )
    if "commit" in run.identity["inputs"]["model"]:
        circuit = circuit.noting(weights_commit=run.identity["inputs"]["model"]["commit"])
    if as_many_as:
        circuit = circuit.noting(as_many_pairs_as=as_many_as.name)
    write(files, circuit, by_span, unit=settings.unit)
    run.finish()
    blocks.discard(unfinished)
    return circuit


if __name__ == "__main__":
    console.run_script(main)
