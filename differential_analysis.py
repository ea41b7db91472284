"""Which layers does fine-tuning change, and does attention become more or less focused?

Both models read the same tokens (article, cue, reference summary); nothing is generated. The residual stream is compared before any
norm, the state after the final norm separately; the first token and padding are left out.

Reads   two models of one shape (folder, checkpoint, LoRA adapter or Hub id) and a dataset;
        with --run only the latents of a fine-tuning run's checkpoints, no model
Writes  differential.json, layers.differential.json, differential.{similarity,layers,attention,entropy}.png in --output_dir;
        with --run differential.latents.json and differential.latents.png: similarity to the base model at every checkpoint

    python differential_analysis.py --base_model_path demo --finetuned_model_path model_outputs/demo --dataset demo --max_examples 64
    python differential_analysis.py --run model_outputs/demo
"""

from pathlib import Path

from eap import InputError
from runs import console, devices, disk, flags, hub, opening, records
from summarization import corpus

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
BASE_MODEL_PATH = "gpt2"  # the model before fine-tuning: Hub id, folder, or demo
FINETUNED_MODEL_PATH = "model_outputs/gpt2_20k_finetuned"  # the model after: folder, checkpoint-N, or LoRA adapter folder
DATASET = "abisee/cnn_dailymail"  # Hub id, .jsonl/.csv/.parquet file, save_to_disk folder, or demo
ARTICLE_COLUMN = ""  # the data set's name for it; empty: article, document, text, dialogue, ...
SUMMARY_COLUMN = ""  # likewise; empty: highlights, summary, abstract, ...
RUN = ""  # folder of a fine-tuning run: follow its latents over the checkpoints instead of comparing two models; empty: compare
SPLIT = "test"  # which part of the dataset: train, validation or test; texts the fine-tuning saw would overstate the change

PROMPT = "auto"  # plain, chat (the tokenizer's template), or auto: chat for an instruct model
INSTRUCTION = ""  # of a chat prompt; empty: Summarize this news article in two sentences:
MAX_LENGTH = 0  # tokens of prompt and summary at most; 0: the model's context

# what every script has
MAX_EXAMPLES = 200  # texts; all: every one of the split, for CNN/DailyMail 11,490
BATCH_SIZE = "auto"  # examples at a time; auto: planned from the free memory
SEED = 0  # of every random choice
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
OUTPUT_DIR = "outputs/differential_analysis"  # numbers and plots
# --------------------------------------------------------------------------------------------

PLOTS = ("similarity", "layers", "attention", "entropy")
FINETUNED_FLAG = "--finetuned_model_path"


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, globals())
    add = parser.add_argument
    add("--base_model_path", type=flags.text, help="model before fine-tuning")
    add("--finetuned_model_path", type=flags.text, help="model after fine-tuning")
    add("--dataset", type=flags.text, help="Hub id, file, save_to_disk folder, or demo")
    add(
        "--run",
        type=flags.text_or_none,
        help="folder of a fine-tuning run, whose latents are followed (default: none)",
    )
    add("--split", type=flags.text, help="train, validation or test")
    flags.add_data(parser)
    return parser.parse_args(argv)


def load_pair(args):
    """(base, fine-tuned, tokenizer) on the device; the models as `eap` adapters."""
    from eap.models import adapt
    from study.differential import two_models as internals

    place = devices.Device.of(vars(args))
    device, dtype = place.torch_device, place.torch_dtype
    names = (args.base_model_path, args.finetuned_model_path)
    base, ours = opening.open_model(names[0], dtype, device, flag="--base_model_path")
    finetuned, theirs = opening.open_model(names[1], dtype, device, flag=FINETUNED_FLAG)
    base, finetuned = adapt(base), adapt(finetuned)
    internals.require_comparable(base, finetuned, names)
    return base, finetuned, shared_tokenizer(names, (ours, theirs))


def shared_tokenizer(names, tokenizers):
    """The one tokenizer of both models: the fine-tuned one's, which may say what it was trained on.

    A folder without one takes the other's. Raises InputError if they differ or there is none.
    """
    found = [tokenizer for tokenizer in tokenizers if tokenizer is not None]
    last = found[-1] if found else None
    opening.require_tokenizer(last, names[0], "--base_model_path")
    if len({opening.tokenizer_sha256(tokenizer) for tokenizer in found}) > 1:
        raise InputError(
            f"expected one tokenizer for both models, got two different ones ({names[0]}, {names[1]}); "
            "compare a model with its own fine-tune"
        )
    return last


def prompts(args, model, tokenizer):
    """(token ids of every text that fits, how many did not fit, the prompts' template).

    Both models are given exactly these tokens (guard 5).
    """
    from summarization import prompt

    columns = corpus.Columns(args.article_column, args.summary_column)
    rows = corpus.load(args.dataset, args.split, args.max_examples, args.seed, columns=columns)
    length = prompt.row_length(args.max_length, model.config, tokenizer, args.base_model_path)
    template = prompt.template(
        tokenizer, args.prompt, args.instruction, generation=model.generation_config
    )
    sequences, dropped = [], 0
    for row in rows:
        try:
            made = prompt.build(tokenizer, row["article"], row["highlights"], length, template)
            sequences.append(made.ids)
        except prompt.TooLong:
            dropped += 1
    if not sequences:
        raise InputError(
            f"--dataset {args.dataset}: expected texts that fit in {length} tokens with their summary, got none"
        )
    return sequences, dropped, template


def _left_out(args) -> str:
    return (
        f"; at most {args.max_examples} were read (--max_examples), the split's others left out"
        if args.max_examples
        else ""
    )


def compare(args, base, finetuned, sequences):
    """The per-text measures of both models, batch by batch."""
    from study.differential.two_models import Comparison, plan_batches

    comparison = Comparison(base, finetuned, len(sequences))
    batches = plan_batches([len(ids) for ids in sequences], base.graph.n_heads, args.batch_size)
    for rows in console.Console.of(vars(args)).progress(batches, "comparing"):
        comparison.add(rows, [sequences[row] for row in rows])
    return comparison


def write(args, summary):
    """The JSON files and the plots."""
    from study import captions, layers
    from study.differential import figures as differential_plots

    folder = Path(args.output_dir)
    summary["captions"] = captions.of("differential")
    disk.write_json(folder / "differential.json", {"format": 1, **summary})
    scores = {name: change["scores"] for name, change in summary["changes"].items()}
    layers.write_layers(folder / "layers.differential.json", "differential", scores)
    for name in PLOTS:
        make = getattr(differential_plots, f"{name}_figure")
        disk.save_figure(lambda make=make: make(summary), folder / f"differential.{name}.png")


def follow_run(args) -> None:
    """Write how far each checkpoint of a run is from its base model, layer by layer, from the saved
    latents alone.
    """
    from study.differential import figures as differential_plots
    from study.differential import headline
    from study.differential import over_a_run as differential_run
    from study.headline import show

    folder, found = Path(args.output_dir), differential_run.files(args.run)
    outputs = [folder / f"differential.latents.{kind}" for kind in ("json", "png")]
    run = records.Run(
        vars(args),
        records.record_in(folder, "differential_latents"),
        outputs,
        {path.name: path for _, path in found},
    )
    if run.up_to_date:
        return
    summary = differential_run.follow(
        found,
        args.seed,
        lambda items: console.Console.of(vars(args)).progress(items, "checkpoints"),
    )
    disk.write_json(outputs[0], {"format": 1, "seed": args.seed, **summary})
    disk.save_figure(lambda: differential_plots.run_figure(summary), outputs[1])
    made, details = headline.headline(summary), differential_run.lines(summary)
    show(console.Console.of(vars(args)), made, outputs, details)
    run.finish()


def main(argv=None):
    """Compare the two models and write what differs where; with `--run` follow a run instead."""
    args = parse(argv)
    if args.run:
        follow_run(args)
        return
    hub.resolve_model(args.finetuned_model_path, FINETUNED_FLAG)  # no download before it is there
    models = {
        "base": hub.model_source(args.base_model_path, "--base_model_path"),
        "finetuned": hub.model_source(args.finetuned_model_path, FINETUNED_FLAG),
    }
    corpus.resolve(args.dataset)
    columns = corpus.Columns(args.article_column, args.summary_column)
    folder = Path(args.output_dir)
    outputs = [
        folder / name
        for name in (
            "differential.json",
            "layers.differential.json",
            *(f"differential.{p}.png" for p in PLOTS),
        )
    ]
    run = records.Run(
        vars(args),
        records.record_in(folder, "differential_analysis"),
        outputs,
        {**models, **corpus.inputs(args.dataset, columns)},
    )
    if run.up_to_date:
        return

    from study.differential import headline
    from study.differential import results as differential_report
    from study.headline import show

    devices.seed_everything(args.seed)
    base, finetuned, tokenizer = load_pair(args)
    sequences, dropped, template = prompts(args, base.model, tokenizer)
    console.Console.of(vars(args)).detail(
        f"{len(sequences)} texts, {sum(map(len, sequences)) / len(sequences):.0f} tokens on average; "
        f"{dropped} left out whose summary does not fit{_left_out(args)}",
    )
    comparison = compare(args, base, finetuned, sequences)
    summary = {
        "base": Path(args.base_model_path).name,
        "finetuned": Path(args.finetuned_model_path).name,
        "dataset": corpus.label(args.dataset),
        "split": args.split,
        "prompt": template.record(),
        "dropped": dropped,
        "tokens": sum(map(len, sequences)),
        "seed": args.seed,
        **differential_report.summarise(comparison, args.seed),
    }
    write(args, summary)
    made, details = headline.headline(summary), differential_report.lines(summary)
    show(console.Console.of(vars(args)), made, outputs, details)
    run.finish()


if __name__ == "__main__":
    console.run_script(main)
