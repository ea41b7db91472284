"""How was the demo model made? Trains its tokenizer, then a small GPT-2, on newsroom articles.

The model sees articles only: never a highlight, never the summary cue. In half of the rows of
tokens a story is told in two articles, so that copying pays; names repeat too rarely within one
article to teach it soon. One sentence in ten is a gap of full stops, so that an article with masked
sentences is nothing new to the model.

Reads:  nothing but the newsroom itself (summarization/newsroom.py, its "train" and "validation"
        splits)
Writes: <output_dir>/model.safetensors, config.json, generation_config.json, tokenizer.json,
        tokenizer_config.json, README.md
        <work_dir>/checkpoint-N, from which an interrupted run goes on

    python demo/make_demo.py --output_dir demo/model --work_dir /tmp/make_demo
"""

import argparse
import random
import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from summarization.corruption import sentences_of  # noqa: E402
from summarization.newsroom import articles, people, retellings  # noqa: E402
from summarization.prompt import encode, encode_with_offsets  # noqa: E402

# --- the model: GPT-2 small's graph, narrow enough for a repository ---
N_LAYERS = 12
N_HEADS = 12
D_MODEL = 144
CONTEXT = 256
VOCABULARY = 2048
END_OF_TEXT = "<|endoftext|>"

# --- pre-training ---
STEPS = 2600
# of the rows: a story told in two articles, so that copying pays; the others are packed articles
RETOLD_SHARE = 0.5
# of the sentences: full stops in their place, as many as it has tokens, so that masked text is
# nothing new to the model
GAP_SHARE = 0.1
DECAY_STEPS = 600  # the last steps, in which the learning rate falls to zero
ROW_TOKENS = 192
ROWS_PER_STEP = 32
LEARNING_RATE = 2e-3  # between warm-up and decay
WARMUP_STEPS = 100
WEIGHT_DECAY = 0.05
ADAM_BETA2 = 0.98
TOKENS_PER_ARTICLE = 120  # with its end-of-text, rounded down so that the articles suffice
TOKENIZER_ARTICLES = 20_000
HELD_OUT_ARTICLES = 300
SEED = 0


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output_dir", type=Path, default=Path("demo/model"), help="folder of the finished model"
    )
    parser.add_argument(
        "--work_dir", type=Path, required=True, help="scratch folder for checkpoints"
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help=f"of the articles and the weights (default {SEED})"
    )
    return parser.parse_args(argv)


def train_tokenizer(texts):
    """A byte-level BPE tokenizer whose only special token is end-of-text. Numbers under 100 come
    out as one token each.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    numbers = [" ".join(str(number) for number in range(100))] * len(texts)
    bpe.train_from_iterator(
        texts + numbers, vocab_size=VOCABULARY, special_tokens=[END_OF_TEXT], show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        model_max_length=CONTEXT,
    )


def article_ids(tokenizer, article: str, gaps: random.Random | None = None) -> list[int]:
    """Token ids of an article and end-of-text; with `gaps`, some sentences are full stops."""
    ids, _ = encode_with_offsets(tokenizer, article)
    if gaps:
        for start, end in sentences_of(tokenizer, article, n_tokens=len(ids))[0]:
            if gaps.random() < GAP_SHARE:
                ids[start:end] = encode(tokenizer, ".") * (end - start)
    return [*ids, tokenizer.eos_token_id]


def packed_rows(tokenizer, texts: list[str], gaps: random.Random | None = None):
    """Token ids (rows, ROW_TOKENS) of the texts one after the other, each with end-of-text."""
    import torch

    ids = [token for text in texts for token in article_ids(tokenizer, text, gaps)]
    return torch.tensor(ids[: len(ids) // ROW_TOKENS * ROW_TOKENS], dtype=torch.long).view(
        -1, ROW_TOKENS
    )


def retold_rows(tokenizer, pairs: list[tuple[str, str]], gaps: random.Random | None = None):
    """Token ids (rows x ROW_TOKENS) with a row per story: one article, end-of-text, and the
    beginning of the other.
    """
    import torch

    ids = [
        [token for text in pair for token in article_ids(tokenizer, text, gaps)] for pair in pairs
    ]
    return torch.tensor([row[:ROW_TOKENS] for row in ids], dtype=torch.long).view(-1, ROW_TOKENS)


def training_rows(tokenizer, seed: int):
    """The rows of all steps in order, made of articles that differ from each other."""
    import torch

    gaps = random.Random(seed)
    n_rows = STEPS * ROWS_PER_STEP
    n_retold = int(n_rows * RETOLD_SHARE)
    packed = packed_rows(
        tokenizer,
        texts("train", (n_rows - n_retold) * ROW_TOKENS // TOKENS_PER_ARTICLE, seed),
        gaps,
    )
    rows = torch.cat(
        [
            packed[: n_rows - n_retold],
            retold_rows(tokenizer, retellings("train", n_retold, seed=seed), gaps),
        ]
    )
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]


def texts(split: str, n: int, seed: int) -> list[str]:
    return [row["article"] for row in articles(split, n, seed=seed)]


def new_model(tokenizer, seed: int):
    """A GPT-2 with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel, set_seed

    set_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=CONTEXT,
            n_embd=D_MODEL,
            n_layer=N_LAYERS,
            n_head=N_HEADS,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def pretrain(model, rows, held_out, args: argparse.Namespace):
    """The Trainer after all steps; it goes on from the last checkpoint in the scratch folder, if
    there is one.
    """
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    arguments = TrainingArguments(
        output_dir=str(args.work_dir),
        seed=args.seed,
        max_steps=STEPS,
        per_device_train_batch_size=ROWS_PER_STEP,
        learning_rate=LEARNING_RATE,
        warmup_steps=WARMUP_STEPS,
        weight_decay=WEIGHT_DECAY,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": DECAY_STEPS},
        adam_beta2=ADAM_BETA2,
        optim="adamw_torch_fused",
        torch_compile=True,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=False,
        logging_steps=25,
        disable_tqdm=True,
        save_steps=200,
        eval_strategy="steps",
        eval_steps=200,
        per_device_eval_batch_size=ROWS_PER_STEP,
        report_to="none",
    )
    trainer = Trainer(
        model, arguments, train_dataset=as_examples(rows), eval_dataset=as_examples(held_out)
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(args.work_dir))
    return trainer


def as_examples(rows) -> list[dict]:
    return [{"input_ids": row, "labels": row} for row in rows]


def copied_pieces(model, tokenizer, article: str) -> list[bool]:
    """For the second mention of each surname: is each of its pieces after the first the likeliest
    next token?
    """
    import torch

    encoded = tokenizer(article, return_offsets_mapping=True, return_tensors="pt")
    with torch.no_grad():
        predicted = model(input_ids=encoded["input_ids"]).logits[0, :-1].argmax(-1)
    hits = (predicted == encoded["input_ids"][0, 1:]).tolist()
    ends = encoded["offset_mapping"][0, :, 1].tolist()
    copied = []
    for surname in (name.split()[1] for name in people(article)):
        start = article.index(surname, article.index(surname) + 1)
        pieces = [i for i, end in enumerate(ends) if start < end <= start + len(surname)]
        copied += [hits[i - 1] for i in pieces[1:]]
    return copied


def name_accuracy(model, tokenizer, n_articles: int = HELD_OUT_ARTICLES) -> float:
    """The share of name pieces copied in articles of the test split."""
    copied = [
        hit
        for text in texts("test", n_articles, 0)
        for hit in copied_pieces(model, tokenizer, text)
    ]
    return sum(copied) / len(copied)


def model_card(
    args: argparse.Namespace, history: list[dict], seconds: float, accuracy: float
) -> str:
    """What was trained, on what, for how long, and how well it does."""
    losses = [entry["loss"] for entry in history if "loss" in entry]
    held_out = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    folder = shlex.quote(str(args.output_dir))
    command = f"python demo/make_demo.py --output_dir {folder} --work_dir SCRATCH"
    data = f"`summarization/newsroom.py`, split `train`, seed {args.seed}"
    tokens = f"{STEPS:,} steps of {ROWS_PER_STEP} x {ROW_TOKENS}"
    copied = f"{HELD_OUT_ARTICLES} articles of split `test`"
    decay = f"cosine decay in the last {DECAY_STEPS} steps, weight decay {WEIGHT_DECAY}"
    sizes = f"{N_LAYERS} layers, {N_HEADS} heads, width {D_MODEL}, {CONTEXT} positions"
    return f"""# The demo model

A GPT-2 with {sizes} and a byte-level BPE
vocabulary of {VOCABULARY:,} tokens. Its graph is GPT-2 small's: the same node and edge names.
It was pre-trained on articles of the embedded newsroom only. It has never seen a highlight or the
summary cue, so it cannot summarize before it is fine-tuned.

| | |
|---|---|
| Training data | {data}: articles, and stories told in two articles |
| Gaps | {GAP_SHARE:.0%} of the sentences are full stops instead, as many as it has tokens |
| Tokens seen | {STEPS * ROWS_PER_STEP * ROW_TOKENS:,} ({tokens}) |
| Final training loss | {losses[-1]:.3f} nats a token |
| Held-out loss | {held_out[-1]:.3f} nats a token (split `validation`) |
| Names copied | {accuracy:.1%} of the pieces after the first, at second mentions ({copied}) |
| Optimizer | AdamW, peak learning rate {LEARNING_RATE}, {decay} |
| Seed | {args.seed} |
| Time | {seconds / 60:.0f} minutes on two CPU cores, float32 |
| Made by | `{command} --seed {args.seed}` |

Names, places and words are copied well. Figures are not: after fine-tuning, a summary has the right
people, places and events, but mostly wrong figures, which carry three quarters of the reference
summary's NLL.

Not for use on real text: it knows a made-up newsroom and nothing else. License: MIT, as the rest of
the repository.
"""


def main(argv=None) -> None:
    args = parse_args(argv)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(texts("train", TOKENIZER_ARTICLES, args.seed))
    tokenizer.save_pretrained(args.output_dir)
    rows = training_rows(tokenizer, args.seed)
    held_out = packed_rows(tokenizer, texts("validation", HELD_OUT_ARTICLES, args.seed))[
        : 5 * ROWS_PER_STEP
    ]
    started = time.monotonic()
    trainer = pretrain(new_model(tokenizer, args.seed), rows, held_out, args)
    seconds = time.monotonic() - started
    trainer.evaluate()
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False).eval()
    model.config.use_cache = True
    model.save_pretrained(args.output_dir)
    card = model_card(args, trainer.state.log_history, seconds, name_accuracy(model, tokenizer))
    (args.output_dir / "README.md").write_text(card)


if __name__ == "__main__":
    main()
