"""How good are the summaries, beside the yardsticks that need no model?

Every model summarizes every article; ROUGE-1, -2, -L and -Lsum stand with intervals beside Lead-3, Random-3 and the extractive oracle, with
the length, the share of texts the model ended itself, the share of copied text, and the NLL of the reference summary.

Reads   models (Hub id, folder, checkpoint-N or LoRA adapter) and articles with highlights
Writes  rouge.json, rouge.png, generated.<model>.jsonl in --output_dir

    python test_set_evaluation.py --model_paths demo model_outputs/demo --dataset demo
"""

from pathlib import Path

from eap import InputError
from runs import console, devices, disk, flags, hub, opening, records
from summarization import corpus, generation

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
MODEL_PATHS = ("gpt2", "model_outputs/gpt2_20k_finetuned")  # differences are taken to the first
DATASET = "abisee/cnn_dailymail"  # Hub id, .jsonl/.csv/.parquet file, save_to_disk folder, or demo
ARTICLE_COLUMN = ""  # the data set's name for it; empty: article, document, text, dialogue, ...
SUMMARY_COLUMN = ""  # likewise; empty: highlights, summary, abstract, ...
SPLIT = "test"  # train, validation or test; articles seen in training overstate quality
NUM_BEAMS = 1  # 1: greedy, deterministic and fastest; 4 is usual for published numbers, at four times the cost
MIN_NEW_TOKENS = 0  # above 0 forbids an early end: ROUGE of models that stop at once rises, the end-of-text rate loses its meaning
MAX_NEW_TOKENS = (
    100  # the article is cut to leave this room; 95 of 100 CNN/DailyMail highlights are shorter
)
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

NLL_TOKENS = 4096  # positions of reference summaries at a time, when --batch_size is not given: 3 GB for GPT-2 small


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, globals())
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


def summaries(args, path: str, label: str, rows, *, n_models: int = 1) -> list[dict]:
    """What a model writes for each row, and its reference's NLL: rows of generated.<label>.jsonl.

    The model is the first of `n_models` to come.
    """
    from runs import forecast
    from summarization import examples, prompt

    place, bar = devices.Device.of(vars(args)), console.Console.of(vars(args)).progress
    dtype, device = place.torch_dtype, place.torch_device
    model, tokenizer = opening.open_for_texts(path, dtype, device, flag="--model_paths")
    length = prompt.row_length(args.max_length, model.config, tokenizer, path)
    template = prompt.template(
        tokenizer, args.prompt, args.instruction, generation=model.generation_config
    )
    console.Console.of(vars(args)).detail(f"{label}: prompts are {template.kind}")
    made = generation.generate(
        model,
        tokenizer,
        list(rows["article"]),
        args.max_new_tokens,
        args.batch_size,
        args.num_beams,
        args.min_new_tokens,
        progress=lambda batches: bar(
            batches,
            f"{label}: generating",
            ahead=forecast.Ahead(steps=n_models * len(batches)),
        ),
        template=template,
        max_length=length,
    )
    encoded = examples.encode(rows, tokenizer, length, template=template)
    longest = max(map(len, encoded.data["input_ids"]))
    found = examples.summary_nll(
        model,
        encoded.data,
        tokenizer,
        args.batch_size or max(1, NLL_TOKENS // longest),
        progress=lambda batches: bar(batches, f"{label}: NLL"),
    )
    nll = dict(zip(encoded.rows, found.tolist(), strict=True))
    return [
        {
            "id": row["id"],
            "summary": one.text,
            "n_tokens": one.n_tokens,
            "ended": one.ended,
            "n_cut": one.n_cut,
            "nll_nats": nll.get(number),
            "prompt": template.record(),
            "reference": row["highlights"],
        }
        for number, (row, one) in enumerate(zip(rows, made, strict=True))
    ]


def model_system(label: str, written: list[dict]):
    """The `quality.System` of a model, from the rows of its file."""
    import numpy as np

    from study.quality import numbers as quality

    values = {
        "tokens": [row["n_tokens"] for row in written],
        "ended_percent": [100 * row["ended"] for row in written],
        "nll_nats": [np.nan if row["nll_nats"] is None else row["nll_nats"] for row in written],
    }
    values = {name: np.array(column, dtype=float) for name, column in values.items()}
    return quality.System(label, "model", [row["summary"] for row in written], values)


def evaluate(args, rows, written: dict[str, list[dict]]) -> dict:
    """Everything that stands in rouge.json, from the rows and what each model wrote."""
    from study.quality import numbers as quality
    from study.quality import words as quality_words
    from summarization import words

    articles, references = list(rows["article"]), list(rows["highlights"])
    systems = [model_system(label, texts) for label, texts in written.items()]
    systems += quality.yardsticks(
        console.Console.of(vars(args)).progress(rows, "yardsticks"), args.seed
    )
    quality.measure(systems, articles, references)
    extra = {
        name: quality.further(quality.load_metric(name), name, systems, references)
        for name in args.metrics
    }
    reference = quality.System(
        quality.REFERENCE, quality.REFERENCE, references, quality.surface(references, articles)
    )
    table = quality.summarise([*systems, reference], args.seed)
    described = words.describe(references, *(system.texts for system in systems))
    return {
        "format": 1,
        "dataset": corpus.label(args.dataset),
        "split": args.split,
        "without_splits": corpus.without_splits(args.dataset),
        "n": len(rows),
        "seed": args.seed,
        "num_beams": args.num_beams,
        "min_new_tokens": args.min_new_tokens,
        "max_new_tokens": args.max_new_tokens,
        "truncated": {
            label: sum(row["n_cut"] > 0 for row in texts) for label, texts in written.items()
        },
        "prompts": {label: texts[0]["prompt"] for label, texts in written.items()},
        "first": systems[0].label,
        "rouge_words": described,
        "systems": table,
        "metrics": extra,
        "sentences": quality_words.claims(table) + words.sentences(described),
    }


def main(argv=None):
    """Let every model summarize, then score."""
    args = parse(argv)
    labels = labels_of(args.model_paths)
    models = {
        label: hub.model_source(path, "--model_paths")
        for label, path in zip(labels, args.model_paths, strict=True)
    }
    corpus.resolve(args.dataset)
    columns = corpus.Columns(args.article_column, args.summary_column)
    folder = Path(args.output_dir)
    texts = {label: folder / f"generated.{label}.jsonl" for label in labels}
    outputs = [folder / "rouge.json", folder / "rouge.png", *texts.values()]
    inputs = {f"model {label}": path for label, path in models.items()} | corpus.inputs(
        args.dataset, columns
    )
    run = records.Run(vars(args), records.record_in(folder, "test_set_evaluation"), outputs, inputs)
    if run.up_to_date:
        return

    from study import captions
    from study.headline import show
    from study.quality import figures, headline
    from study.quality import numbers as quality
    from study.quality import words as quality_words

    for name in args.metrics:
        quality.load_metric(name)  # before the hours of generation, not after
    devices.seed_everything(args.seed)
    rows = corpus.load(args.dataset, args.split, args.max_examples, args.seed, columns=columns)
    if args.overwrite or not run.same:
        for file in (
            texts.values()
        ):  # all of them at once: after an interruption what is there counts as done
            file.unlink(missing_ok=True)
    written = {}
    for label, path in zip(labels, args.model_paths, strict=True):
        n_models = sum(not file.is_file() for file in texts.values())
        if not texts[label].is_file():
            disk.write_jsonl(texts[label], summaries(args, path, label, rows, n_models=n_models))
        written[label] = disk.read_jsonl(texts[label])
    result = evaluate(args, rows, written)
    result["captions"] = captions.of("rouge")
    disk.write_json(folder / "rouge.json", result)
    disk.save_figure(lambda: figures.figure(result), folder / "rouge.png")
    from summarization import words

    said = words.sentences(result["rouge_words"])
    cut = ", ".join(f"{label} {count}" for label, count in result["truncated"].items())
    details = [*quality_words.lines(result["systems"]), *said, f"articles cut to fit: {cut}"]
    show(console.Console.of(vars(args)), headline.headline(result), outputs, details)
    run.finish()


if __name__ == "__main__":
    console.run_script(main)
