"""How good are the summaries, beside the yardsticks that need no model?

Every model summarizes every article; ROUGE-1, -2, -L and -Lsum stand with intervals beside Lead-3,
Random-3 and the extractive oracle, with the length, the share of texts the model ended itself, the
share of copied text, and the NLL of the reference summary.

Reads   models (Hub id, folder, checkpoint-N or LoRA adapter; decoders, BART and T5) and articles
        with highlights
Writes  rouge.json, rouge.png, generated.<model>.jsonl in --output_dir

    python test_set_evaluation.py --model_paths demo model_outputs/demo --dataset demo
"""

from pathlib import Path

from eap import InputError
from runs import console, devices, disk, flags, hub, records
from summarization import corpus, generation

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
MODEL_PATHS = ("gpt2", "model_outputs/gpt2_20k_finetuned")  # differences are taken to the first
DATASET = "abisee/cnn_dailymail"  # Hub id, .jsonl/.csv/.parquet file, save_to_disk folder, or demo
ARTICLE_COLUMN = ""  # the data set's name for it; empty: article, document, text, dialogue, ...
SUMMARY_COLUMN = ""  # likewise; empty: highlights, summary, abstract, ...
SPLIT = "test"  # train, validation or test; articles seen in training overstate quality
NUM_BEAMS = 1  # 1: greedy and fastest; 4 is usual for published numbers, at four times the cost
# Above 0 forbids an early end: ROUGE of models that stop at once rises, the end-of-text rate loses
# its meaning.
MIN_NEW_TOKENS = 0
# A decoder's article is cut to leave this room; 95 of 100 CNN/DailyMail highlights are shorter.
MAX_NEW_TOKENS = 100
METRICS = ()  # further metrics of the evaluate library, as bertscore

PROMPT = "auto"  # plain, chat (the tokenizer's template), or auto: chat for an instruct model
INSTRUCTION = ""  # of a chat prompt; empty: Summarize this news article in two sentences:
MAX_LENGTH = 0  # tokens of prompt and summary at most; 0: the model's context

# what every script has
MAX_EXAMPLES = 500  # test articles; all: every one of the split, for CNN/DailyMail 11,490
BATCH_SIZE = "auto"  # examples at a time; auto: planned
SEED = 0  # of every random choice
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
OUTPUT_DIR = "outputs/test_set_evaluation"  # rouge.json, rouge.png, the texts
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, constants=globals())
    add = parser.add_argument
    add("--model_paths", nargs="+", type=flags.text, help="models, the one to compare with first")
    add("--dataset", type=flags.text, help="Hub id, file, save_to_disk folder, or demo")
    add("--split", type=flags.text, help="train, validation or test")
    add("--num_beams", type=flags.positive_int, help="1 is greedy")
    add("--min_new_tokens", type=flags.count, help="no end before")
    add("--max_new_tokens", type=flags.positive_int, help="of a summary")
    add(
        "--metrics",
        nargs="*",
        type=flags.text,
        help="further metrics of the evaluate library, as bertscore (default: none)",
    )
    flags.add_data(parser)
    args = parser.parse_args(argv)
    generation.check_lengths(args.min_new_tokens, args.max_new_tokens)
    return args


def labels_of(paths: list[str]) -> list[str]:
    """A name for each model: the last part of its path, or the last two where that is not enough.
    Raises InputError for a model twice.
    """
    for parts in (1, 2, 3):
        labels = ["-".join(Path(path).parts[-parts:]).strip("/") for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    raise InputError(
        f"--model_paths: expected different models, got {' '.join(paths)}; name each once"
    )


def main(argv=None):
    """Let every model summarize, then score."""
    args = parse(argv)
    labels = labels_of(args.model_paths)
    models = {
        label: hub.model_source(path, "--model_paths")
        for label, path in zip(labels, args.model_paths, strict=True)
    }
    corpus.resolve(args.dataset)
    columns = corpus.Columns.of(vars(args))
    folder = Path(args.output_dir)
    texts = {label: folder / f"generated.{label}.jsonl" for label in labels}
    outputs = [folder / "rouge.json", folder / "rouge.png", *texts.values()]
    inputs = {f"model {label}": path for label, path in models.items()}
    inputs |= corpus.inputs(args.dataset, columns)
    run = records.Run(
        vars(args), records.record_in(folder, "test_set_evaluation"), outputs=outputs, inputs=inputs
    )
    if run.up_to_date:
        return

    from study import captions
    from study.headline import show
    from study.quality import figures, headline, numbers, running
    from study.quality.settings import Settings

    settings = Settings.of(vars(args))
    for name in settings.metrics:
        numbers.load_metric(name)  # before the hours of generation, not after
    devices.seed_everything(settings.seed)
    rows = corpus.load(
        settings.dataset,
        settings.split,
        max_examples=settings.max_examples,
        seed=settings.seed,
        columns=columns,
    )
    if args.overwrite or not run.same:
        # all of them at once: after an interruption what is there counts as done
        for file in texts.values():
            file.unlink(missing_ok=True)
    written = {}
    for label, path in zip(labels, args.model_paths, strict=True):
        n_models = sum(not file.is_file() for file in texts.values())
        if not texts[label].is_file():
            made = running.summaries(settings, path, label=label, rows=rows, n_models=n_models)
            disk.write_jsonl(texts[label], made)
        written[label] = disk.read_jsonl(texts[label])
    result = running.evaluate(settings, rows, written=written)
    result["captions"] = captions.of("rouge")
    disk.write_json(folder / "rouge.json", result)
    disk.save_figure(lambda: figures.figure(result), folder / "rouge.png")
    show(
        settings.console, headline.headline(result), outputs=outputs, details=running.lines(result)
    )
    run.finish()


if __name__ == "__main__":
    console.run_script(main)
