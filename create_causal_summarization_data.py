"""Which sentences does a summary draw on, and what would the article be without them?

Makes clean/corrupted pairs: the article, cue and summary, and the same with the article's salient sentences replaced token for token.
Salient are the sentences that a greedy ROUGE oracle picks for the highlights. With each pair comes its control, in which as many tokens
of other sentences are replaced.

Reads   articles with highlights; a tokenizer and its context length (no weights)
Writes  the pairs: half to X.jsonl, half to X_eval.jsonl (--output X.jsonl); salience.json and salience.png in --output_dir

    python create_causal_summarization_data.py --dataset demo --model_path demo --output data/pairs.jsonl
"""

from pathlib import Path

from eap import InputError
from runs import adapters, console, disk, flags, hub, opening, records
from summarization import corpus

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
DATASET = "abisee/cnn_dailymail"  # Hub id, .jsonl/.csv/.parquet file, save_to_disk folder, or demo
ARTICLE_COLUMN = ""  # the data set's name for it; empty: article, document, text, dialogue, ...
SUMMARY_COLUMN = ""  # likewise; empty: highlights, summary, abstract, ...
SPLIT = "validation"  # attribution on articles that fine-tuning has seen would mix memory with summarizing
MODEL_PATH = "gpt2"  # whose tokenizer and context length; other models with the same tokenizer can read the pairs
CORRUPTION = "swap"  # swap: sentences of other articles; mask: a neutral token (further from text, so larger effects for any reason)
MASK_TEXT = "."  # what mask repeats
OUTPUT = (
    "data/pairs.jsonl"  # pairs for extraction; X_eval.jsonl beside it gets those for evaluation
)
EVAL_FRACTION = 0.5  # of the pairs, kept from extraction so that a circuit is not judged on what it was found on; 0: all to one file
PROMPT = "auto"  # plain, chat (the tokenizer's template), or auto: chat for an instruct model
INSTRUCTION = ""  # of a chat prompt; empty: Summarize this news article in two sentences:
MAX_LENGTH = 0  # tokens of a whole row at most; 0: the model's context. Shorter rows make every later stage faster

# what every script has
MAX_EXAMPLES = 400  # pairs, half for extraction; all: every row, for CNN/DailyMail 13,368
SEED = 0  # of every random choice
OUTPUT_DIR = "outputs/create_causal_summarization_data"  # salience.json and salience.png
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, globals())
    add = parser.add_argument
    add("--dataset", type=flags.text, help="Hub id, file, save_to_disk folder, or demo")
    add("--split", type=flags.text, help="train, validation or test")
    add("--model_path", type=flags.text, help="whose tokenizer and context length")
    add("--corruption", choices=["swap", "mask"])
    add(
        "--mask_text", type=flags.text, help="what --corruption mask repeats (default: %(default)r)"
    )
    add("--output", type=flags.file_name, help="file for the pairs")
    add(
        "--eval_fraction",
        type=flags.below_one,
        help="share of the pairs that goes to <output>_eval (default: %(default)s; 0: none)",
    )
    flags.add_data(parser)
    return parser.parse_args(argv)


def reader(model_path: str):
    """(tokenizer, config or None, GenerationConfig or None) of a model.

    A folder with a tokenizer and no weights will do. Raises InputError without a tokenizer.
    """
    from transformers import GenerationConfig

    folder = Path(model_path)
    if opening.holds_tokenizer(folder) and not adapters.is_adapter(folder):
        tokenizer, source = opening.read_tokenizer(str(folder)), folder
    else:
        tokenizer, source = opening.load_tokenizer(model_path), adapters.root_of(model_path)
    opening.require_tokenizer(tokenizer, model_path)
    if Path(source).is_dir() and not Path(source, "config.json").is_file():
        return tokenizer, None, None
    config = opening.read_config(model_path, Path(source))
    opening.refuse_encoder_decoder(config.model_type, model_path)
    opening.require_agreement(config, tokenizer, model_path)
    if not Path(source, "generation_config.json").is_file():
        return tokenizer, config, None
    return tokenizer, config, GenerationConfig.from_pretrained(str(source))


def make_pairs(args, tokenizer, max_length, rows, template):
    """(examples, their pairs, dropped rows by reason), in the order of the rows."""
    from summarization import corruption, prompt

    mask_ids = prompt.encode(tokenizer, args.mask_text)
    if not mask_ids:
        raise InputError(
            f"--mask_text {args.mask_text!r}: expected text of at least one token, got none; use '.'"
        )
    examples, dropped = corruption.prepare_all(
        tokenizer,
        console.Console.of(vars(args)).progress(rows, "finding salient sentences"),
        max_length,
        template,
    )
    fill = corruption.CORRUPTIONS[args.corruption](examples, mask_ids)
    kept, pairs = [], []
    for number, example in enumerate(
        console.Console.of(vars(args)).progress(examples, "corrupting")
    ):
        try:
            made = corruption.pair(example, number, fill, args.seed)
            pairs.append(made | {"prompt": template.record()})
            kept.append(example)
        except corruption.Dropped as reason:
            dropped[str(reason)] += 1
    if not pairs:
        why = "; ".join(f"{count} dropped: {reason}" for reason, count in dropped.items())
        instead = (
            ", or use --corruption mask, which needs no other article"
            if args.corruption == "swap"
            else ""
        )
        raise InputError(
            f"--dataset {args.dataset}: expected rows that make a pair, got none of {sum(dropped.values())} ({why}); give "
            f"more or other articles{instead}"
        )
    return kept, pairs, dropped


def split_pairs(pairs, eval_fraction: float, seed: int):
    """(pairs for extraction, pairs for evaluation): a seeded draw of at least one each, in the
    order of the rows.
    """
    import numpy as np

    n = round(len(pairs) * eval_fraction)
    if eval_fraction:
        if len(pairs) < 2:
            raise InputError(
                "expected at least 2 pairs to keep some for evaluation, got 1; use more articles or --eval_fraction 0"
            )
        n = min(max(n, 1), len(pairs) - 1)
    held_out = set(np.random.default_rng(seed).permutation(len(pairs))[:n].tolist())
    return [pair for i, pair in enumerate(pairs) if i not in held_out], [
        pair for i, pair in enumerate(pairs) if i in held_out
    ]


def main(argv=None):
    """Build the pairs and say what became of every row."""
    args = parse(argv)
    corpus.resolve(args.dataset)
    columns = corpus.Columns(args.article_column, args.summary_column)
    model = args.model_path  # a folder with a tokenizer and no weights will do
    if not opening.holds_tokenizer(model):
        model = hub.model_source(model, weights=False)
    output, folder = Path(args.output), Path(args.output_dir)
    files = [output, output.with_name(f"{output.stem}_eval{output.suffix}")][
        : 2 if args.eval_fraction else 1
    ]
    outputs = [*files, folder / "salience.json", folder / "salience.png"]
    run = records.Run(
        vars(args),
        records.record_beside(output),
        outputs,
        {"tokenizer": model, **corpus.inputs(args.dataset, columns)},
    )
    if run.up_to_date:
        return

    from study import captions
    from study.headline import show
    from study.pairs import figures, headline, results
    from study.pairs import words as pair_words
    from summarization import prompt, words

    tokenizer, config, generation = reader(args.model_path)
    template = prompt.template(tokenizer, args.prompt, args.instruction, generation=generation)
    max_length = prompt.row_length(args.max_length, config, tokenizer, args.model_path)
    rows = corpus.load(args.dataset, args.split, args.max_examples, args.seed, columns=columns)
    examples, pairs, dropped = make_pairs(args, tokenizer, max_length, rows, template)
    parts = split_pairs(pairs, args.eval_fraction, args.seed)
    for file, part in zip(files, parts, strict=False):
        disk.write_jsonl(file, part)
    summary = {
        "format": 1,
        "dataset": corpus.label(args.dataset),
        "split": args.split,
        "without_splits": corpus.without_splits(args.dataset),
        "tokenizer": Path(args.model_path).name,
        "corruption": args.corruption,
        "max_length": max_length,
        "prompt": template.record(),
        "seed": args.seed,
        "n_extraction": len(parts[0]),
        "n_evaluation": len(parts[1]),
        "rouge_words": words.describe(
            [example.summary for example in examples], [example.article for example in examples]
        ),
        **results.summarise(examples, pairs, dropped, args.seed),
    }
    summary["lines"] = pair_words.lines(summary) + words.sentences(summary["rouge_words"])
    summary["captions"] = captions.of("salience")
    disk.write_json(folder / "salience.json", summary)
    disk.save_figure(lambda: figures.figure(summary), folder / "salience.png")
    made = headline.headline(summary)
    show(console.Console.of(vars(args)), made, outputs, summary["lines"])
    run.finish()


if __name__ == "__main__":
    console.run_script(main)
