"""Which edges of the model carry the summary? The strongest by attribution patching: a circuit.

Reads   a model (base, checkpoint folder, LoRA adapter) or all checkpoints of a run; a file of
        clean/corrupted pairs
Writes  the circuit (EAP-IG's JSON and metadata): --output, or with --all_checkpoints one for each
        in --output_dir; beside it per-example scores (.examples.safetensors), a drawing of its
        strongest edges, a layer-by-layer heat map and a figure of its stability; with --spans,
        scores by where the destination reads (.spans.safetensors) and their plot

    python extract_summarization_circuit.py --model_path demo --output C_before_summarization.json
    torchrun --nproc_per_node=4 extract_summarization_circuit.py ...    the same on four devices
"""

from pathlib import Path

from eap import InputError
from runs import console, devices, flags, hub, opening, records
from study.extraction import blocks, jobs
from study.extraction import flags as extraction_flags
from study.extraction.files import Files, write
from study.extraction.settings import Settings

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
# Hub id, folder, checkpoint-N, LoRA adapter folder, or demo; with --all_checkpoints a run's folder
MODEL_PATH = "gpt2"
PAIRS = "data/pairs.jsonl"  # from create_causal_summarization_data.py; every row is used
OUTPUT = "C_before_summarization.json"  # the circuit
# EAP is five times cheaper and blind where the metric is flat (kl at the clean input); exact: one
# run an edge
METHOD = "EAP-IG-inputs"
KV = "per-head"  # as others' files have it; shared: one k and one v where query heads share them
METRIC = "kl"  # what changes the model's prediction; nll: what changes its fit to the reference
IG_STEPS = 5  # points on the path, and time; auto: until the completeness gap is under 1 %
# left is the reference's; Gauss-Legendre needs fewer points for smooth metrics, as nll
IG_RULE = "gauss-legendre"
ABLATION = "patching"  # what an edge outside carries: the corrupted run, zero, or the mean
FRACTION = 0.05  # of all edges to keep; --top_n or --threshold instead
# greedy grows from the logits, so that nothing is pruned; sign-consistent drops edges that flip
# sign over examples
SELECTION = "topn"
ABSOLUTE = True  # rank by |score|; --no-absolute ranks by signed score
RANK = "mean"  # by |mean score|; example: by the mean over examples of |score per example|
# split scores by where the destination reads: first token, salient sentences, other article text,
# cue, summary so far
SPANS = False
RESAMPLES = 1000  # of the examples: how sure each edge is, and the noise floor; 0: none
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


def parse(argv=None):
    """The script's arguments."""
    written = "the circuits of --all_checkpoints"
    parser = flags.parser(__doc__, OUTPUT_DIR, constants=globals(), writes=written)
    extraction_flags.add(parser)
    args = parser.parse_args(argv)
    flags.say_unused_steps(parser, argv, method=args.method)
    return args


def check(args) -> None:
    """Raise InputError for flags that mean nothing together, before any work."""
    Settings.of(vars(args), output=Path(args.output)).check(several=args.all_checkpoints)
    if not Path(args.pairs).is_file():
        raise InputError(
            f"--pairs {args.pairs}: expected a file of pairs, found none; make it with "
            "create_causal_summarization_data.py, for instance with --dataset demo --model_path "
            "demo"
        )


def main(argv=None):
    """Extract a circuit, or one per checkpoint."""
    args = parse(argv)
    check(args)
    work = jobs.jobs_of(vars(args))
    for job in work:
        hub.resolve_model(job.model_path)
    made = jobs.extracted(work, lambda job: extract(args, job), overwrite=args.overwrite)
    report(args, {output: circuit for output, circuit in made.items() if circuit is not None})


def extract(args, job: jobs.Job):
    """The circuit of a job: attribute, select, check, write, draw.

    None where it is up to date, or another process writes it.
    """
    settings, files = job.settings, Files.of(job.settings)
    inputs = {"model": hub.model_source(job.model_path), "pairs": args.pairs}
    if job.as_many_as:
        inputs["pairs as in"] = job.as_many_as
    run = records.Run(
        vars(args), records.record_beside(job.output), outputs=files.all, inputs=inputs
    )
    if run.up_to_date:
        blocks.discard(job.unfinished)  # of a run that ended just before it did so
        return None
    from study.extraction import making

    devices.seed_everything(settings.seed)
    adapter, tokenizer = opening.open_adapted(
        settings.device, job.model_path, circuits={}, kv=args.kv
    )
    settings.check_graph(adapter.graph)
    most = args.max_examples
    pairs = opening.read_pairs(
        args.pairs, adapter, tokenizer=tokenizer, console=settings.console, max_examples=most
    )
    settings.check_pairs(pairs)
    made = making.make(job, adapter, pairs=pairs, known_by=run.known_by())
    if made is None:
        return None
    circuit = making.identified(made, job, tokenizer=tokenizer, inputs=run.identity["inputs"])
    write(files, circuit, by_span=made.by_span, unit=settings.unit)
    run.finish()
    blocks.discard(job.unfinished)
    return circuit


def report(args, made: dict) -> None:
    """Say of the circuits that were made what came out; nothing where there are none."""
    from study.extraction import headline
    from study.headline import show

    outputs = list(made)
    if len(made) == 1:
        outputs = Files.of(Settings.of(vars(args), output=outputs[0])).all
    circuits = {output.stem: circuit.metadata for output, circuit in made.items()}
    if circuits:
        show(console.Console.of(vars(args)), headline.headline(circuits), outputs=outputs)


if __name__ == "__main__":
    console.run_script(main)
