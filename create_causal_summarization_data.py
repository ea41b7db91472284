"""Which sentences does a summary draw on, and what would the article be without them?

Makes clean/corrupted pairs: the article, cue and summary, and the same with the article's salient
sentences replaced token for token. Salient are the sentences that a greedy ROUGE oracle picks for
the highlights. With each pair comes its control, in which as many tokens of other sentences are
replaced.

Reads   articles with highlights; a tokenizer and its context length (no weights)
Writes  the pairs: half to X.jsonl, half to X_eval.jsonl (--output X.jsonl); salience.json and
        salience.png in --output_dir

    python create_causal_summarization_data.py --dataset demo --model_path demo
"""

from pathlib import Path

from runs import console, disk, flags, hub, opening, records
from summarization import corpus

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
DATASET = "abisee/cnn_dailymail"  # Hub id, .jsonl/.csv/.parquet file, save_to_disk folder, or demo
ARTICLE_COLUMN = ""  # the data set's name for it; empty: article, document, text, dialogue, ...
SUMMARY_COLUMN = ""  # likewise; empty: highlights, summary, abstract, ...
SPLIT = "validation"  # on articles that fine-tuning has seen memory would mix with summarizing
MODEL_PATH = "gpt2"  # whose tokenizer and context; models with the same tokenizer read the pairs
# swap: sentences of other articles; mask: a neutral token (further from text, so larger effects
# for any reason)
CORRUPTION = "swap"
MASK_TEXT = "."  # what mask repeats
OUTPUT = "data/pairs.jsonl"  # for extraction; X_eval.jsonl beside it gets those for evaluation
# of the pairs, kept from extraction so that a circuit is not judged on what it was found on; 0: all
# to one file
EVAL_FRACTION = 0.5
PROMPT = "auto"  # plain, chat (the tokenizer's template), or auto: chat for an instruct model
INSTRUCTION = ""  # of a chat prompt; empty: Summarize this news article in two sentences:
# tokens of a whole row at most; 0: the model's context. Shorter rows make every later stage faster
MAX_LENGTH = 0

# what every script has
MAX_EXAMPLES = 400  # pairs, half for extraction; all: every row, for CNN/DailyMail 13,368
SEED = 0  # of every random choice
OUTPUT_DIR = "outputs/create_causal_summarization_data"  # salience.json and salience.png
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, constants=globals())
    add = parser.add_argument
    add("--dataset", type=flags.text, help="Hub id, file, save_to_disk folder, or demo")
    add("--split", type=flags.text, help="train, validation or test")
    add("--model_path", type=flags.text, help="whose tokenizer and context length")
    add("--corruption", choices=["swap", "mask"])
    mask = "what --corruption mask repeats (default: %(default)r)"
    add("--mask_text", type=flags.text, help=mask)
    add("--output", type=flags.file_name, help="file for the pairs")
    share = "share of the pairs that goes to <output>_eval (default: %(default)s; 0: none)"
    add("--eval_fraction", type=flags.below_one, help=share)
    flags.add_data(parser)
    return parser.parse_args(argv)


def main(argv=None):
    """Build the pairs and say what became of every row."""
    args = parse(argv)
    corpus.resolve(args.dataset)
    columns = corpus.Columns.of(vars(args))
    model = args.model_path  # a folder with a tokenizer and no weights will do
    if not opening.holds_tokenizer(model):
        model = hub.model_source(model, weights=False)
    output, folder = Path(args.output), Path(args.output_dir)
    files = [output]
    if args.eval_fraction:
        files.append(output.with_name(f"{output.stem}_eval{output.suffix}"))
    outputs = [*files, folder / "salience.json", folder / "salience.png"]
    inputs = {"tokenizer": model, **corpus.inputs(args.dataset, columns)}
    run = records.Run(vars(args), records.record_beside(output), outputs=outputs, inputs=inputs)
    if run.up_to_date:
        return
    from study.headline import show
    from study.pairs import building, figures, headline, results

    built, facts = build(args, columns)
    parts = building.split_pairs(built.pairs, args.eval_fraction, seed=args.seed)
    for file, part in zip(files, parts, strict=False):
        disk.write_jsonl(file, part)
    summary = results.of_pairs(facts, built, parts=parts, seed=args.seed)
    disk.write_json(folder / "salience.json", summary)
    disk.save_figure(lambda: figures.figure(summary), folder / "salience.png")
    shown = console.Console.of(vars(args))
    show(shown, headline.headline(summary), outputs=outputs, details=summary["lines"])
    run.finish()


def build(args, columns: corpus.Columns):
    """(the pairs that the articles make, what salience.json says of how they were made)."""
    from study.pairs import building
    from summarization import prompt

    reader = opening.open_reader(args.model_path)
    tokenizer = reader.tokenizer
    template = prompt.template(
        tokenizer, args.prompt, instruction=args.instruction, generation=reader.generation
    )
    max_length = prompt.row_length(
        args.max_length, reader.config, tokenizer=tokenizer, name=args.model_path
    )
    rows = corpus.load(
        args.dataset, args.split, max_examples=args.max_examples, seed=args.seed, columns=columns
    )
    settings = building.Settings.of(vars(args))
    built = building.build(settings, tokenizer, rows=rows, max_length=max_length, template=template)
    facts = {
        "dataset": corpus.label(args.dataset),
        "split": args.split,
        "without_splits": corpus.without_splits(args.dataset),
        "tokenizer": Path(args.model_path).name,
        "corruption": args.corruption,
        "max_length": max_length,
        "prompt": template.record(),
    }
    return built, facts


if __name__ == "__main__":
    console.run_script(main)
