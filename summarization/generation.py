"""Summaries, many at a time: batches of similar length, padded on the left, with a key-value cache of fixed size.

A cache that grows is copied at every token: at articles' length that took longer than the model itself (2.4 times the static cache's
seconds per token, GPT-2 small's shape, 8 articles of 900 tokens, two cores).
"""

from typing import NamedTuple

from eap import InputError
from summarization import prompt

BATCH = 64  # articles at a time at most
BATCH_TOKENS = 16_384  # positions (prompt, padding and new tokens) at a time at most: 1.2 GB of cache for GPT-2 small in float32


class Generated(NamedTuple):
    """A summary, its tokens without the end-of-text, whether the model ended it itself, and article
    tokens cut off its prompt.
    """

    text: str
    n_tokens: int
    ended: bool
    n_cut: int = 0


def generate(
    model,
    tokenizer,
    articles,
    max_new_tokens: int,
    batch_size: int | None = None,
    num_beams: int = 1,
    min_new_tokens: int = 0,
    progress=lambda batches: batches,
    *,
    template=None,
    max_length: int = 0,
) -> list[Generated]:
    """The model's summary of each article, in their order; greedy or by beam search, never sampled.

    `template` is a `prompt.Template`, None the plain one; prompt and summary have `max_length`
    tokens at most, 0: the model's context. Longest first, so that neighbours need little padding
    and too large a batch fails at once. Without `batch_size` batches hold up to BATCH articles and
    BATCH_TOKENS positions. Raises InputError when `max_new_tokens` leave no room for the article.
    """
    length = max_length or prompt.context_length(model.config, tokenizer)
    template = template or prompt.template(tokenizer, prompt.PLAIN)
    try:
        prompts = [
            prompt.generation_ids(tokenizer, article, length, max_new_tokens, template)
            for article in articles
        ]
    except prompt.TooLong as error:
        raise InputError(
            f"--max_new_tokens {max_new_tokens}: expected room for an article in {length} tokens "
            "(the model's context, or --max_length) beside them, found none; ask for fewer"
        ) from error
    config = settings(model, tokenizer, max_new_tokens, num_beams, min_new_tokens, template.end)
    written = generate_ids(model, prompts, config, batch_size, progress)
    rows = zip(written, articles, prompts, strict=True)
    return [_generated(tokenizer, template, *row) for row in rows]


def generate_ids(
    model,
    prompts: list[list[int]],
    config,
    batch_size: int | None = None,
    progress=lambda batches: batches,
):
    """The new tokens of each prompt, in the prompts' order, with the end-of-text and what padding
    follows it: a list of lists.
    """
    made = [None] * len(prompts)
    for rows in progress(
        plan_batches(
            [len(ids) for ids in prompts], config.max_new_tokens, batch_size, config.num_beams
        )
    ):
        for row, ids in zip(
            rows, _generate_batch(model, [prompts[row] for row in rows], config), strict=True
        ):
            made[row] = ids
    return made


def check_lengths(min_new_tokens: int, max_new_tokens: int) -> None:
    """Raise InputError when the flags ask for texts that are longer than they may be."""
    if not 0 <= min_new_tokens <= max_new_tokens:
        raise InputError(
            f"--min_new_tokens {min_new_tokens}: expected 0 to --max_new_tokens {max_new_tokens}"
        )


def settings(
    model,
    tokenizer,
    max_new_tokens: int,
    num_beams: int = 1,
    min_new_tokens: int = 0,
    end: int | None = None,
):
    """The GenerationConfig: nothing of the checkpoint's own (it may sample, or have `use_cache`
    false from training).

    `end` is a token that ends a summary beside the tokenizer's end of text: a chat model's turn.
    """
    from transformers import GenerationConfig

    eos = tokenizer.eos_token_id
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens,
        num_beams=num_beams,
        do_sample=False,
        use_cache=True,
        disable_compile=True,  # on a GPU a fixed cache would have it compiled, which takes longer than a few batches
        bos_token_id=eos,
        eos_token_id=eos if end in (None, eos) else [eos, end],
        pad_token_id=eos,
    )


def plan_batches(
    lengths: list[int], max_new_tokens: int, batch_size: int | None = None, num_beams: int = 1
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


def _generate_batch(model, prompts: list[list[int]], config) -> list[list[int]]:
    """The new tokens of each prompt, with the end-of-text and what padding follows it."""
    import torch
    from transformers import StaticCache

    longest = max(map(len, prompts))
    cache = StaticCache(config=model.config, max_cache_len=longest + config.max_new_tokens)
    ids = torch.full((len(prompts), longest), config.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(prompts):
        ids[row, longest - len(tokens) :], mask[row, longest - len(tokens) :] = (
            torch.tensor(tokens),
            1,
        )
    device, own = next(model.parameters()).device, model.generation_config
    model.generation_config = (
        config  # `generate` would fill what we leave open from the checkpoint's
    )
    try:
        with torch.no_grad():
            out = model.generate(
                ids.to(device),
                attention_mask=mask.to(device),
                past_key_values=cache,
                generation_config=config,
            )
    finally:
        model.generation_config = own
    return out[:, longest:].tolist()


def _generated(
    tokenizer, template, ids: list[int], article: str, prompt_ids: list[int]
) -> Generated:
    ends = [ids.index(end) for end in {tokenizer.eos_token_id, template.end} if end in ids]
    n_article = len(prompt.encode(tokenizer, article.strip()))
    n_cut = n_article + template.n_fixed - len(prompt_ids)
    written = ids[: min(ends, default=len(ids))]
    text = tokenizer.decode(written, skip_special_tokens=True).strip()
    return Generated(text, len(written), bool(ends), n_cut)
