"""Two models opened, given the same texts, and what differs between them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eap import InputError
from eap.models import adapt
from runs import devices, opening
from study.differential import parts, results, stacks, two_models
from study.differential.settings import Settings
from summarization import corpus, encoder_decoder, prompt

BASE_FLAG, FINETUNED_FLAG = "--base_model_path", "--finetuned_model_path"


@dataclass(frozen=True)
class Opened:
    """Two transformers models on their device, and the tokenizer of both."""

    base: Any
    finetuned: Any
    tokenizer: Any


@dataclass(frozen=True)
class Given:
    """What both models read of the texts that fit."""

    texts: list  # token ids of each, or an encoder-decoder's Text
    lengths: list[int]  # tokens of each
    dropped: int  # texts that did not fit
    prompt: dict  # how they were made


def compare(settings: Settings) -> dict:
    """What differential.json holds of the two models, of decoders or of encoder-decoders."""
    devices.seed_everything(settings.seed)
    opened = open_both(settings)
    made = _encoder_decoders if opened.base.config.is_encoder_decoder else _decoders
    given, measured = made(settings, opened)
    return {
        "base": Path(settings.base_model_path).name,
        "finetuned": Path(settings.finetuned_model_path).name,
        "dataset": corpus.label(settings.dataset),
        "split": settings.split,
        "prompt": given.prompt,
        "dropped": given.dropped,
        "tokens": sum(given.lengths),
        "seed": settings.seed,
        **measured,
    }


def open_both(settings: Settings) -> Opened:
    """The two models, of one tokenizer. Raises InputError where they cannot be compared."""
    dtype, device = settings.device.torch_dtype, settings.device.torch_device
    base, finetuned = settings.names
    before, base_tokenizer = opening.open_model(
        base, dtype, device=device, flag=BASE_FLAG, reading=True
    )
    after, own_tokenizer = opening.open_model(
        finetuned, dtype, device=device, flag=FINETUNED_FLAG, reading=True
    )
    kinds = [{"architecture": model.config.model_type} for model in (before, after)]
    two_models.require_same(kinds[0], kinds[1], names=settings.names)
    tokenizers = (base_tokenizer, own_tokenizer)
    return Opened(before, after, shared_tokenizer(settings.names, tokenizers))


def shared_tokenizer(names: tuple[str, str], tokenizers: tuple):
    """The one tokenizer of both models: the fine-tuned one's, which may say what it was trained on.

    A folder without one takes the other's. Raises InputError if they differ or there is none.
    """
    known = [tokenizer for tokenizer in tokenizers if tokenizer is not None]
    last = known[-1] if known else None
    opening.require_tokenizer(last, names[0], flag=BASE_FLAG)
    if len({opening.tokenizer_sha256(tokenizer) for tokenizer in known}) > 1:
        raise InputError(
            f"expected one tokenizer for both models, got two different ones ({names[0]}, "
            f"{names[1]}); compare a model with its own fine-tune"
        )
    return last


# ---------------------------------------------------------------- decoders


def _decoders(settings: Settings, opened: Opened) -> tuple[Given, dict]:
    base, finetuned = adapt(opened.base), adapt(opened.finetuned)
    two_models.require_comparable(base, finetuned, names=settings.names)
    given = prompts(settings, opened.base, tokenizer=opened.tokenizer)
    _say(settings, given)
    comparison = two_models.Comparison(base, finetuned, n_texts=len(given.texts))
    batches = two_models.plan_batches(
        given.lengths, base.graph.n_heads, batch_size=settings.batch_size
    )
    for rows in settings.console.progress(batches, "comparing"):
        comparison.add(rows, [given.texts[row] for row in rows])
    return given, results.summarise(comparison, settings.seed)


def prompts(settings: Settings, model, *, tokenizer) -> Given:
    """Article, cue and summary of every text that fits: both models are given exactly these tokens
    (guard 5).
    """
    rows: Iterable[dict] = _rows(settings)
    name = settings.base_model_path
    length = prompt.row_length(settings.max_length, model.config, tokenizer=tokenizer, name=name)
    template = prompt.template(
        tokenizer,
        settings.prompt,
        instruction=settings.instruction,
        generation=model.generation_config,
    )
    sequences, dropped = [], 0
    for row in rows:
        try:
            made = prompt.build(
                tokenizer,
                row["article"],
                highlights=row["highlights"],
                max_length=length,
                template=template,
            )
            sequences.append(made.ids)
        except prompt.TooLong:
            dropped += 1
    _require_some(settings, sequences, length=length)
    return Given(sequences, [len(ids) for ids in sequences], dropped, template.record())


# ---------------------------------------------------------------- encoder-decoders


def _encoder_decoders(settings: Settings, opened: Opened) -> tuple[Given, dict]:
    base, finetuned = opened.base, opened.finetuned
    stacks.require_comparable(base, finetuned, names=settings.names)
    encoder_decoder.require_plain(settings.prompt, settings.instruction, name=settings.names[0])
    frame = encoder_decoder.frame(
        base, opened.tokenizer, name=settings.names[0], max_length=settings.max_length
    )
    rows = _rows(settings)
    texts = list(encoder_decoder.build_all(opened.tokenizer, rows, frame=frame).values())
    _require_some(settings, texts, length=frame.max_source)
    lengths = [len(text.source) + len(text.target) for text in texts]
    given = Given(texts, lengths, len(rows) - len(texts), frame.record())
    _say(settings, given)
    comparison = stacks.Comparison(base, finetuned, n_texts=len(texts))
    most = max(stacks.n_heads(base.config).values())
    longest = [max(len(text.source), len(text.target)) for text in texts]
    batches = two_models.plan_batches(longest, most, batch_size=settings.batch_size)
    for numbers in settings.console.progress(batches, "comparing"):
        comparison.add(numbers, [texts[row] for row in numbers], frame=frame)
    return given, parts.summarise(comparison.parts, settings.seed)


# ---------------------------------------------------------------- of both


def _rows(settings: Settings) -> Any:
    """The rows of the data set, each a dict."""
    return corpus.load(
        settings.dataset,
        settings.split,
        max_examples=settings.max_examples,
        seed=settings.seed,
        columns=settings.columns,
    )


def _require_some(settings: Settings, texts: list, *, length: int) -> None:
    if not texts:
        raise InputError(
            f"--dataset {settings.dataset}: expected texts that fit in {length} tokens with their "
            "summary, got none"
        )


def _say(settings: Settings, given: Given) -> None:
    """How many texts there are and how long they are, for who asks for every line."""
    left_out = (
        f"; at most {settings.max_examples} were read (--max_examples), the split's others left out"
        if settings.max_examples
        else ""
    )
    settings.console.detail(
        f"{len(given.texts)} texts, {sum(given.lengths) / len(given.texts):.0f} tokens on average; "
        f"{given.dropped} left out whose summary does not fit{left_out}"
    )
