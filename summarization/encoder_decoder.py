"""An article and its summary as an encoder-decoder reads them, and the summary's likelihood.

The encoder reads the prefix of the task, where the model's config names one (T5's `summarize: `),
and the article, with the tokens that the tokenizer puts around every text; the decoder reads its
start token, the tokenizer's first one if there is one (BART's), and the summary. Article and
summary never stand in one sequence.
"""

import contextlib
from dataclasses import dataclass
from typing import NamedTuple

from eap import InputError
from summarization import prompt

KIND = "encoder-decoder"  # as the kind of a prompt, among results
TASK = "summarization"  # among config.json's task_specific_params
USUAL_LENGTH = 512  # tokens that T5 was trained with, where config and tokenizer do not say


@dataclass(frozen=True)
class Frame:
    """What stands around an article and a summary: the same tokens in every text of a model."""

    prefix: str  # text before an article
    before: tuple[int, ...]  # the tokenizer's tokens before every text
    after: tuple[int, ...]  # and those after it
    start: int  # what the decoder reads first
    end: int  # what ends a summary
    pad: int
    max_source: int  # tokens that the encoder reads at most
    max_target: int | None  # tokens that the decoder reads at most; None: any number

    @property
    def opening(self) -> list[int]:
        """What the decoder reads before the first token of a summary."""
        return [self.start, *self.before]

    def record(self) -> dict[str, str]:
        """What results say of how their texts were read."""
        return {"kind": KIND} | ({"prefix": self.prefix} if self.prefix else {})


class Text(NamedTuple):
    """Token ids of an article and a summary; `n_cut` article tokens are cut off."""

    source: list[int]  # what the encoder reads
    target: list[int]  # what the decoder reads
    labels: list[int]  # what follows each of these: NO_LABEL before the summary, at last the end
    n_cut: int


def frame(model, tokenizer, *, name: str, max_length: int = 0) -> Frame:
    """The `Frame` of the model `name`.

    Its encoder reads `max_length` tokens at most, 0: all it can. Raises InputError where the
    decoder's first token is not told, and for more tokens than the encoder has positions.
    """
    config, positions = model.config, getattr(model.config, "max_position_embeddings", None)
    if positions and max_length > positions:
        raise InputError(
            f"--max_length {max_length}: expected at most {name}'s context of {positions} tokens"
        )
    before, after = _around(tokenizer)
    if after[-1:] != (tokenizer.eos_token_id,):
        after = (*after, tokenizer.eos_token_id)
    return Frame(
        prefix=_prefix(config),
        before=before,
        after=after,
        start=_start(model, name),
        end=tokenizer.eos_token_id,
        pad=config.pad_token_id,
        max_source=max_length or positions or _usual_length(config, tokenizer),
        max_target=positions,
    )


def require_plain(kind: str, instruction: str, *, name: str) -> None:
    """Raise InputError for flags that ask for a prompt, which an encoder-decoder does not have."""
    if kind == prompt.CHAT or instruction:
        flag = f"--prompt {kind}" if kind == prompt.CHAT else f"--instruction {instruction!r}"
        raise InputError(
            f"{flag}: expected no prompt for {name}, an encoder-decoder, which reads the article "
            "alone; leave it out"
        )


def _prefix(config) -> str:
    """The text that a model was trained to read before an article to be summarized."""
    tasks = getattr(config, "task_specific_params", None) or {}
    return (tasks.get(TASK) or {}).get("prefix") or ""


def _start(model, name: str) -> int:
    """The decoder's first token. Raises InputError where neither config nor generation names it."""
    for config in (model.config, model.generation_config):
        start = getattr(config, "decoder_start_token_id", None)
        if start is not None:
            return start
    raise InputError(
        f"{name}: expected a decoder_start_token_id in config.json, found none; write there the "
        "token that the decoder reads first"
    )


def _usual_length(config, tokenizer) -> int:
    try:
        return prompt.context_length(config, tokenizer)
    except InputError:  # positions are relative: there is no most
        return USUAL_LENGTH


def _around(tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that a tokenizer puts before and after every text."""
    word = "a"
    coded = tokenizer(word)["input_ids"]
    bare = tokenizer(word, add_special_tokens=False)["input_ids"]
    before = prompt.first_tokens(tokenizer)
    return before, tuple(coded[len(before) + len(bare) :])


# ---------------------------------------------------------------- texts


def source(tokenizer, article: str, *, frame: Frame) -> tuple[list[int], int]:
    """(what the encoder reads of an article, number of its tokens cut off): up to the last whole
    sentence that fits, if there is one. Raises prompt.TooLong.
    """
    room = frame.max_source - len(frame.before) - len(frame.after)
    ids, n_cut = prompt.shortened(tokenizer, frame.prefix + article.strip(), room=room)
    return [*frame.before, *ids, *frame.after], n_cut


def build(tokenizer, article: str, *, highlights: str, frame: Frame) -> Text:
    """The `Text` of an article and its highlights. Raises prompt.TooLong where one does not fit."""
    summary = prompt.encode(tokenizer, highlights.strip())
    target = [*frame.opening, *summary]
    if frame.max_target and len(target) > frame.max_target:
        raise prompt.TooLong(f"{len(target)} tokens for a decoder of {frame.max_target}")
    ids, n_cut = source(tokenizer, article, frame=frame)
    labels = [prompt.NO_LABEL] * (len(frame.opening) - 1) + [*summary, frame.end]
    return Text(ids, target, labels, n_cut)


def build_all(tokenizer, rows, *, frame: Frame) -> dict[int, Text]:
    """{number of the row: its `Text`}, of the rows whose article and highlights fit."""
    texts = {}
    for number, row in enumerate(rows):
        with contextlib.suppress(prompt.TooLong):
            texts[number] = build(
                tokenizer, row["article"], highlights=row["highlights"], frame=frame
            )
    return texts


def inputs(texts: list[Text], frame: Frame, *, device) -> dict:
    """What a model is called with: sources and targets padded on the right, and the sources' mask.

    The decoder needs no mask: a position reads those before it alone.
    """
    sources, targets = [text.source for text in texts], [text.target for text in texts]
    return {
        "input_ids": _padded(sources, frame.pad).to(device),
        "attention_mask": _padded([[1] * len(ids) for ids in sources], 0).to(device),
        "decoder_input_ids": _padded(targets, frame.pad).to(device),
    }


def _padded(rows: list[list[int]], value: int):
    import torch

    tensors = [torch.tensor(ids) for ids in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)


def summary_nll(
    model, texts: list[Text], *, frame: Frame, batch_size: int, progress=lambda rows: rows
) -> list[float]:
    """Nats per summary token of each text, its mean over the summary and its end; teacher-forced.

    The model is put in eval mode and left there.
    """
    import torch

    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row].source))
    nll = [0.0] * len(texts)
    for start in progress(range(0, len(order), batch_size)):
        rows = order[start : start + batch_size]
        chosen = [texts[row] for row in rows]
        labels = _padded([text.labels for text in chosen], prompt.NO_LABEL).to(device)
        with torch.no_grad():
            logits = model(**inputs(chosen, frame, device=device), use_cache=False).logits.float()
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), labels, ignore_index=prompt.NO_LABEL, reduction="none"
        )
        means = losses.double().sum(1) / (labels != prompt.NO_LABEL).sum(1)
        for row, value in zip(rows, means.tolist(), strict=True):
            nll[row] = value
    return nll
