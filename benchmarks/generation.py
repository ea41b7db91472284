"""How fast are summaries and their ROUGE, against the obvious way to get them?

Summaries: the batches of summarization/generation.py against one article at a time through
transformers' own `generate`, both greedy with a key-value cache; the two alternate in one process
and medians are taken. Texts that differ are counted: as a tie when the logits of the two tokens at
the first difference lie within TIE of each other (the order of additions decides then), otherwise
as different, which is an error. ROUGE: summarization/rouge.py in processes, starting them included,
against `rouge_score` in one; scores must be equal bit for bit.

Reads   a model and the test articles of a data set; ROUGE scores the first two thirds of demo
        articles against their highlights
Writes  generation.json and generation.png in --output_dir

    python benchmarks/generation.py --model_path demo --dataset demo
"""

import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eap import InputError  # noqa: E402
from runs import console, devices, disk, flags, hub, opening  # noqa: E402
from summarization import corpus, generation  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
MODEL_PATH = "demo"  # Hub id, folder, checkpoint-N, LoRA adapter folder (merged), or demo
DATASET = "demo"  # Hub id, file, save_to_disk folder, or demo
MAX_NEW_TOKENS = 64
# As long as the demo's highlights: an untuned model, as `demo` is, writes too little to tell
# anything.
MIN_NEW_TOKENS = 40
REPEATS = 3  # of each way of generating
PAIRS = 11490  # texts for ROUGE: as many as the test split of CNN/DailyMail
COMPARED_PAIRS = 1000  # of these, scored by rouge_score itself as well
PROCESSES = 2  # for ROUGE
# --------------------------------------------------------------------------------------------
TIE = 1e-4  # logits
ROUGE_LIMIT_SECONDS = 60
RATIO_WANTED = 4


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, "outputs/benchmarks")
    add = parser.add_argument
    add("--model_path", default=MODEL_PATH, help="(default: %(default)s)")
    add("--dataset", default=DATASET, help="(default: %(default)s)")
    add(
        "--max_new_tokens",
        type=flags.positive_int,
        default=MAX_NEW_TOKENS,
        help="of a summary (default: %(default)s)",
    )
    add(
        "--min_new_tokens",
        type=int,
        default=MIN_NEW_TOKENS,
        help="no end before (default: %(default)s)",
    )
    add("--repeats", type=flags.positive_int, default=REPEATS, help="(default: %(default)s)")
    add(
        "--pairs",
        type=flags.positive_int,
        default=PAIRS,
        help="texts for ROUGE (default: %(default)s)",
    )
    add(
        "--compared_pairs",
        type=flags.positive_int,
        default=COMPARED_PAIRS,
        help="scored by rouge_score as well (default: %(default)s)",
    )
    add(
        "--processes",
        type=flags.positive_int,
        default=PROCESSES,
        help="for ROUGE (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    generation.check_lengths(args.min_new_tokens, args.max_new_tokens)
    return args


# ---------------------------------------------------------------- summaries


def one_by_one(model, prompts: list[list[int]], config) -> list[list[int]]:
    """The new tokens of each prompt: one call of `generate` for each, nothing padded."""
    import torch

    device, own, texts = next(model.parameters()).device, model.generation_config, []
    model.generation_config = config
    try:
        for ids in prompts:
            row = torch.tensor([ids], device=device)
            mask = torch.ones_like(row)
            with torch.no_grad():
                whole = model.generate(row, attention_mask=mask, generation_config=config)
            texts.append(whole[0, len(ids) :].tolist())
    finally:
        model.generation_config = own
    return texts


def summaries(args) -> dict:
    """Articles per second of both ways, their ratio, and how many texts differ, and how."""
    from summarization import prompt

    devices.seed_everything(args.seed)
    device = devices.Device.of(vars(args))
    model = opening.load_model(args.model_path, device.torch_dtype, device=device.torch_device)
    tokenizer = opening.load_tokenizer(args.model_path)
    articles = list(
        corpus.load(args.dataset, "test", max_examples=args.max_examples, seed=args.seed)["article"]
    )
    length = prompt.context_length(model.config, tokenizer)
    prompts = [
        prompt.generation_ids(
            tokenizer, article, max_length=length, max_new_tokens=args.max_new_tokens
        )
        for article in articles
    ]
    config = generation.settings(
        tokenizer, generation.Options(args.max_new_tokens, args.min_new_tokens)
    )
    ways = {
        "one_by_one": lambda: one_by_one(model, prompts, config),
        "batches": lambda: generation.generate_ids(
            model, prompts, config=config, batch_size=args.batch_size
        ),
    }
    generation.generate_ids(model, prompts[:2], config=config)  # warms up
    seconds, written = {name: [] for name in ways}, {}
    for _ in range(args.repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            written[name] = way()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    end = tokenizer.eos_token_id
    gaps = [
        gap(model, ids, first=first, second=second, end=end)
        for ids, first, second in zip(prompts, *written.values(), strict=True)
    ]
    parted = [difference for difference in gaps if difference is not None]
    lengths = [len(until(end, new)) - (end in new) for new in written["batches"]]
    return {
        "articles": len(articles),
        "min_new_tokens": args.min_new_tokens,
        "max_new_tokens": args.max_new_tokens,
        "seconds": medians,
        "written_tokens": statistics.mean(lengths),
        "articles_per_second": {name: len(articles) / value for name, value in medians.items()},
        "ratio": medians["one_by_one"] / medians["batches"],
        "identical": gaps.count(None),
        "ties": sum(difference <= TIE for difference in parted),
        "different": sum(difference > TIE for difference in parted),
        "largest_gap": max(parted, default=0.0),
    }


def until(end: int, tokens: list[int]) -> list[int]:
    """The tokens up to the first `end`, with it; all where there is none."""
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def gap(model, ids: list[int], *, first: list[int], second: list[int], end: int) -> float | None:
    """How far apart the logits of the two tokens are where two texts part; None if they do not.

    The model runs on the one prompt `ids`, without padding.
    """
    import torch

    first, second = until(end, first), until(end, second)
    both = enumerate(zip(first, second, strict=False))
    place = next((place for place, (a, b) in both if a != b), None)
    if place is None:
        return None
    row = torch.tensor([ids + first[:place]], device=next(model.parameters()).device)
    with torch.no_grad():
        logits = model(row, attention_mask=torch.ones_like(row)).logits[0, -1]
    return float((logits[first[place]] - logits[second[place]]).abs())


# ---------------------------------------------------------------- ROUGE


def pairs(n: int) -> tuple[list[str], list[str]]:
    """(predictions, references): two thirds of an article's sentences, and its highlights."""
    from summarization import newsroom, rouge

    rows, predictions = newsroom.articles("train", n), []
    for row in rows:
        sentences = rouge.split_sentences(row["article"])
        predictions.append(" ".join(sentences[: 2 * len(sentences) // 3]))
    return predictions, [row["highlights"] for row in rows]


def rouge_seconds(args) -> dict:
    """Seconds of all pairs in processes, and of rouge_score for as many, scaled.

    With words per text, and how many scores are not equal.
    """
    from rouge_score import rouge_scorer

    from summarization import rouge

    predictions, references = pairs(args.pairs)
    started = time.perf_counter()
    ours = rouge.score_all(predictions, references, processes=args.processes)
    seconds = time.perf_counter() - started
    few = min(args.compared_pairs, args.pairs)
    plain = rouge_scorer.RougeScorer(list(rouge.NAMES), use_stemmer=True)
    split = [
        ["\n".join(rouge.split_sentences(text)) for text in texts[:few]]
        for texts in (references, predictions)
    ]
    started = time.perf_counter()
    theirs = [plain.score(*pair) for pair in zip(*split, strict=True)]
    taken = time.perf_counter() - started
    unequal = 0
    for row, scores in enumerate(theirs):
        for name in rouge.NAMES:
            unequal += int(ours[name][row] != 100 * scores[name].fmeasure)
    return {
        "pairs": args.pairs,
        "processes": args.processes,
        "seconds": seconds,
        "compared_pairs": few,
        "unequal_scores": unequal,
        "rouge_score_seconds": taken * args.pairs / few,
        "words": {
            name: statistics.mean(len(text.split()) for text in texts)
            for name, texts in (("prediction", predictions), ("reference", references))
        },
    }


# ---------------------------------------------------------------- results


def plot(results: dict):
    """A Figure: articles per second one by one and in batches; seconds of ROUGE for all pairs."""
    from eap.style import COLOURS, subplots

    figure, (left, right) = subplots(1, 2, figsize=(8.4, 3.4))
    made, scored = results["summaries"], results["rouge"]
    speeds = made["articles_per_second"]
    bars = left.bar(
        ["one by one", "batches"],
        [speeds["one_by_one"], speeds["batches"]],
        width=0.5,
        color=[COLOURS["random"], COLOURS["circuit"]],
    )
    left.axhline(
        RATIO_WANTED * speeds["one_by_one"],
        color=COLOURS["chance"],
        ls="--",
        lw=0.9,
        label=f"{RATIO_WANTED} times one by one",
    )
    left.set(
        ylabel="articles per second",
        title=f"Greedy summaries of {made['articles']} articles, ratio {made['ratio']:.1f}",
    )
    left.legend(loc="upper left")
    others = right.bar(
        ["rouge_score,\none process (scaled)", f"here,\n{scored['processes']} processes"],
        [scored["rouge_score_seconds"], scored["seconds"]],
        width=0.5,
        color=[COLOURS["random"], COLOURS["circuit"]],
    )
    right.axhline(
        ROUGE_LIMIT_SECONDS,
        color=COLOURS["chance"],
        ls="--",
        lw=0.9,
        label=f"{ROUGE_LIMIT_SECONDS} s",
    )
    right.set(ylabel="seconds", title=f"ROUGE of {scored['pairs']:,} pairs")
    right.legend(loc="upper right")
    for axis, drawn in ((left, bars), (right, others)):
        axis.bar_label(drawn, fmt="%.1f", padding=2)
        axis.margins(y=0.2)
        axis.grid(visible=False, axis="x")
    return figure


def main(argv=None):
    """Measure both."""
    args = parse(argv)
    hub.resolve_model(args.model_path)
    corpus.resolve(args.dataset)
    results = {
        "format": 1,
        "model": Path(args.model_path).name,
        "dataset": corpus.label(args.dataset),
        "summaries": summaries(args),
        "rouge": rouge_seconds(args),
    }
    made, scored = results["summaries"], results["rouge"]
    speed, words = made["articles_per_second"], scored["words"]
    print(
        f"summaries: one by one {speed['one_by_one']:.2f} articles/s, batches "
        f"{speed['batches']:.2f}, ratio {made['ratio']:.1f}; {made['written_tokens']:.0f} tokens a "
        "text"
    )
    print(
        f"of {made['articles']} texts {made['identical']} identical, {made['ties']} part at a tie "
        f"within {TIE:g} of a logit, {made['different']} differ (largest gap "
        f"{made['largest_gap']:.2g})"
    )
    print(
        f"ROUGE: {scored['pairs']} pairs ({words['prediction']:.0f} and {words['reference']:.0f} "
        f"words) in {scored['seconds']:.1f} s with {scored['processes']} processes; rouge_score in "
        f"one: {scored['rouge_score_seconds']:.1f} s, scaled from {scored['compared_pairs']} pairs;"
        f" scores that are not equal to the last digit: {scored['unequal_scores']}"
    )
    out = Path(args.output_dir)
    disk.write_text(out / "generation.json", json.dumps(results, indent=1) + "\n")
    disk.save_figure(lambda: plot(results), out / "generation.png")
    if made["different"] or scored["unequal_scores"]:
        raise InputError(
            f"expected the same texts and scores, got {made['different']} different texts, "
            f"{scored['unequal_scores']} scores; this is an error in the software"
        )


if __name__ == "__main__":
    console.run_script(main)
