"""Summaries, many at a time: batches of similar length with a key-value cache.

A decoder's prompts are padded on the left, and its cache has a fixed size: one that grows is copied
at every token, which at articles' length took longer than the model itself (2.4 times the static
cache's seconds per token, GPT-2 small's shape, 8 articles of 900 tokens, two cores). What an
encoder reads is padded on the right, and its keys and values are computed once.
"""

from dataclasses import dataclass
from typing import NamedTuple

from eap import InputError
from summarization import encoder_decoder, prompt

BATCH = 64  # articles at a time at most
# Positions (prompt, padding, new tokens) at a time at most: 1.2 GB of cache for GPT-2 small.
BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class Options:
    """How summaries are written: greedy or by beam search, never sampled."""

    max_new_tokens: int
    min_new_tokens: int = 0
    num_beams: int = 1
    batch_size: int | None = None  # None: up to BATCH articles and BATCH_TOKENS positions
    max_length: int = 0  # of a decoder's prompt with its summary; 0: the model's context


class Generated(NamedTuple):
    """A summary, its tokens without the end-of-text, whether the model ended it itself, and article
    tokens cut off its prompt.
    """

    text: str
    n_tokens: int
    ended: bool
    n_cut: int = 0


def generate(
    model, articles, *, options: Options, tokenizer, template=None, progress=lambda batches: batches
) -> list[Generated]:
    """A decoder's summary of each article, in their order.

    `template` is a `prompt.Template`, None the plain one. Longest first, so that neighbours need
    little padding and too large a batch fails at once. Raises InputError when `max_new_tokens`
    leave no room for the article.
    """
    length = options.max_length or prompt.context_length(model.config, tokenizer)
    template = template or prompt.template(tokenizer, prompt.PLAIN)
    n_new = options.max_new_tokens
    try:
        prompts = [
            prompt.generation_ids(
                tokenizer, article, max_length=length, max_new_tokens=n_new, template=template
            )
            for article in articles
        ]
    except prompt.TooLong as error:
        raise InputError(
            f"--max_new_tokens {n_new}: expected room for an article in {length} tokens "
            "(the model's context, or --max_length) beside them, found none; ask for fewer"
        ) from error
    config = settings(tokenizer, options, end=template.end)
    written = generate_ids(
        model, prompts, config=config, batch_size=options.batch_size, progress=progress
    )
    rows = zip(written, articles, prompts, strict=True)
    return [
        _of_prompt(tokenizer, template, ids=ids, article=article, prompt_ids=prompt_ids)
        for ids, article, prompt_ids in rows
    ]


def generate_from_sources(
    model,
    articles,
    *,
    options: Options,
    tokenizer,
    frame: encoder_decoder.Frame,
    progress=lambda batches: batches,
) -> list[Generated]:
    """An encoder-decoder's summary of each article, in their order.

    Raises InputError when the encoder has no room for an article, or the decoder for the summary.
    """
    n_read = len(frame.opening) + options.max_new_tokens
    if frame.max_target and n_read > frame.max_target:
        raise InputError(
            f"--max_new_tokens {options.max_new_tokens}: expected room for them in a decoder of "
            f"{frame.max_target} tokens, {len(frame.opening)} of which it reads first, found less; "
            "ask for fewer"
        )
    try:
        sources = [encoder_decoder.source(tokenizer, article, frame=frame) for article in articles]
    except prompt.TooLong as error:
        raise InputError(
            f"--max_length {frame.max_source}: expected room for an article, found none ({error}); "
            "ask for more"
        ) from error
    config = settings(tokenizer, options)
    config.update(pad_token_id=frame.pad, decoder_start_token_id=frame.start)
    made: list = [None] * len(sources)
    lengths = [len(ids) for ids, _ in sources]
    for rows in progress(
        plan_batches(
            lengths,
            options.max_new_tokens,
            batch_size=options.batch_size,
            num_beams=options.num_beams,
        )
    ):
        texts = [encoder_decoder.Text(sources[row][0], frame.opening, [], 0) for row in rows]
        inputs = encoder_decoder.inputs(texts, frame, device=next(model.parameters()).device)
        new = _new_tokens(model, inputs, config=config, n_read=len(frame.opening))
        for row, ids in zip(rows, new, strict=True):
            made[row] = _generated(tokenizer, ids, ends={frame.end}, n_cut=sources[row][1])
    return made


def generate_ids(
    model,
    prompts: list[list[int]],
    *,
    config,
    batch_size: int | None = None,
    progress=lambda batches: batches,
):
    """The new tokens of each prompt, in the prompts' order, with the end-of-text and what padding
    follows it: a list of lists.
    """
    made: list = [None] * len(prompts)
    lengths = [len(ids) for ids in prompts]
    batches = plan_batches(
        lengths, config.max_new_tokens, batch_size=batch_size, num_beams=config.num_beams
    )
    for rows in progress(batches):
        written = _generate_batch(model, [prompts[row] for row in rows], config=config)
        for row, ids in zip(rows, written, strict=True):
            made[row] = ids
    return made


def check_lengths(min_new_tokens: int, max_new_tokens: int) -> None:
    """Raise InputError when the flags ask for texts that are longer than they may be."""
    if not 0 <= min_new_tokens <= max_new_tokens:
        raise InputError(
            f"--min_new_tokens {min_new_tokens}: expected 0 to --max_new_tokens {max_new_tokens}"
        )


def settings(tokenizer, options: Options, *, end: int | None = None):
    """The GenerationConfig: nothing of the checkpoint's own (it may sample, or have `use_cache`
    false from training).

    `end` is a token that ends a summary beside the tokenizer's end of text: a chat model's turn.
    """
    from transformers import GenerationConfig

    eos = tokenizer.eos_token_id
    return GenerationConfig(
        max_new_tokens=options.max_new_tokens,
        min_new_tokens=options.min_new_tokens,
        num_beams=options.num_beams,
        do_sample=False,
        use_cache=True,
        # on a GPU a fixed cache would have it compiled, which takes longer than a few batches
        disable_compile=True,
        bos_token_id=eos,
        eos_token_id=eos if end in (None, eos) else [eos, end],
        pad_token_id=eos,
    )


def plan_batches(
    lengths: list[int], max_new_tokens: int, *, batch_size: int | None = None, num_beams: int = 1
) -> list[list[int]]:
    """Rows in batches, longest first; a batch holds `batch_size` rows, or BATCH rows and
    BATCH_TOKENS positions at most.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    batches, start = [], 0
    while start < len(order):
        positions = num_beams * (lengths[order[start]] + max_new_tokens)
        size = batch_size or max(1, min(BATCH, BATCH_TOKENS // positions))
        batches.append(order[start : start + size])
        start += size
    return batches


def _generate_batch(model, prompts: list[list[int]], *, config) -> list[list[int]]:
    """The new tokens of each prompt, with the end-of-text and what padding follows it."""
    import torch
    from transformers import StaticCache

    longest = max(map(len, prompts))
    cache = StaticCache(config=model.config, max_cache_len=longest + config.max_new_tokens)
    ids = torch.full((len(prompts), longest), config.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(prompts):
        ids[row, longest - len(tokens) :] = torch.tensor(tokens)
        mask[row, longest - len(tokens) :] = 1
    device = next(model.parameters()).device
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    return _new_tokens(model, inputs | {"past_key_values": cache}, config=config, n_read=longest)


def _new_tokens(model, inputs: dict, *, config, n_read: int) -> list[list[int]]:
    """What a model writes after the first `n_read` tokens, by `config` and nothing else."""
    import torch

    own = model.generation_config  # from which `generate` would fill what we leave open
    model.generation_config = config
    try:
        with torch.no_grad():
            out = model.generate(**inputs, generation_config=config)
    finally:
        model.generation_config = own
    return out[:, n_read:].tolist()


def _of_prompt(
    tokenizer, template, *, ids: list[int], article: str, prompt_ids: list[int]
) -> Generated:
    n_article = len(prompt.encode(tokenizer, article.strip()))
    n_cut = n_article + template.n_fixed - len(prompt_ids)
    return _generated(tokenizer, ids, ends={tokenizer.eos_token_id, template.end}, n_cut=n_cut)


def _generated(tokenizer, ids: list[int], *, ends: set[int], n_cut: int) -> Generated:
    """The `Generated` of new tokens, which stop at the first of `ends`."""
    places = [ids.index(end) for end in ends if end in ids]
    written = ids[: min(places, default=len(ids))]
    text = tokenizer.decode(written, skip_special_tokens=True).strip()
    return Generated(text, len(written), bool(places), n_cut)
