"""Which layers does fine-tuning change, and does attention become more or less focused?

Both models read the same tokens (article, cue, reference summary); nothing is generated. The
residual stream is compared before any norm, the state after the final norm separately; the first
token and padding are left out. Of an encoder-decoder (BART, T5) the encoder's and the decoder's
states and self-attention and the cross attention are compared, each by itself.

Reads   two models of one shape (folder, checkpoint, LoRA adapter or Hub id) and a dataset;
        with --run only the latents of a fine-tuning run's checkpoints, no model
Writes  differential.json, layers.differential.json and, in --output_dir beside them,
        differential.{similarity,layers,attention,entropy}.png; of an encoder-decoder no
        layers.differential.json, and differential.{encoder,decoder,cross}.*.png;
        with --run differential.latents.json and differential.latents.png: similarity to the base
        model at every checkpoint

    python differential_analysis.py --base_model_path demo \\
        --finetuned_model_path model_outputs/demo --dataset demo --max_examples 64
    python differential_analysis.py --run model_outputs/demo
"""

from pathlib import Path

from runs import console, disk, flags, hub, opening, records
from study.differential import written
from summarization import corpus

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
BASE_MODEL_PATH = "gpt2"  # the model before fine-tuning: Hub id, folder, or demo
# The model after: folder, checkpoint-N, or LoRA adapter folder.
FINETUNED_MODEL_PATH = "model_outputs/gpt2_20k_finetuned"
DATASET = "abisee/cnn_dailymail"  # Hub id, .jsonl/.csv/.parquet file, save_to_disk folder, or demo
ARTICLE_COLUMN = ""  # the data set's name for it; empty: article, document, text, dialogue, ...
SUMMARY_COLUMN = ""  # likewise; empty: highlights, summary, abstract, ...
# Folder of a fine-tuning run: follow its latents over the checkpoints instead of comparing two
# models; empty: compare.
RUN = ""
# Which part of the dataset: train, validation or test; texts the fine-tuning saw would overstate
# the change.
SPLIT = "test"

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

BASE_FLAG, FINETUNED_FLAG = "--base_model_path", "--finetuned_model_path"


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, constants=globals())
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


def follow_run(args) -> None:
    """Write how far each checkpoint of a run is from its base model, layer by layer, from the saved
    latents alone.
    """
    from study.differential import figures, headline, over_a_run
    from study.headline import show

    folder, latents = Path(args.output_dir), over_a_run.files(args.run)
    outputs = [folder / f"differential.latents.{kind}" for kind in ("json", "png")]
    run = records.Run(
        vars(args),
        records.record_in(folder, "differential_latents"),
        outputs=outputs,
        inputs={path.name: path for _, path in latents},
    )
    if run.up_to_date:
        return
    shown = console.Console.of(vars(args))
    summary = over_a_run.follow(
        latents, args.seed, progress=lambda items: shown.progress(items, "checkpoints")
    )
    disk.write_json(outputs[0], {"format": 1, "seed": args.seed, **summary})
    disk.save_figure(lambda: figures.run_figure(summary), outputs[1])
    show(shown, headline.headline(summary), outputs=outputs, details=over_a_run.lines(summary))
    run.finish()


def main(argv=None):
    """Compare the two models and write what differs where; with `--run` follow a run instead."""
    args = parse(argv)
    if args.run:
        follow_run(args)
        return
    hub.resolve_model(args.finetuned_model_path, FINETUNED_FLAG)  # no download before it is there
    models = {
        "base": hub.model_source(args.base_model_path, BASE_FLAG),
        "finetuned": hub.model_source(args.finetuned_model_path, FINETUNED_FLAG),
    }
    corpus.resolve(args.dataset)
    columns = corpus.Columns.of(vars(args))
    files = written.Files(
        Path(args.output_dir), opening.is_encoder_decoder(args.base_model_path, BASE_FLAG)
    )
    run = records.Run(
        vars(args),
        records.record_in(files.folder, "differential_analysis"),
        outputs=files.all,
        inputs={**models, **corpus.inputs(args.dataset, columns)},
    )
    if run.up_to_date:
        return

    from study.differential import headline, running
    from study.differential.settings import Settings
    from study.headline import show

    settings = Settings.of(vars(args))
    summary = running.compare(settings)
    files.write(summary)
    show(
        settings.console,
        headline.headline(summary),
        outputs=files.all,
        details=files.lines(summary),
    )
    run.finish()


if __name__ == "__main__":
    console.run_script(main)
