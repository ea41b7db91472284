"""article + cue + summary -> tokens, cut to fit, and labels: the one place where prompts are made.

A prompt is what stands before the article, the article, the cue, the summary and an end. A plain
prompt has before the article what the tokenizer puts before every text (a first token, or nothing)
and GPT-2's cue behind it; a chat prompt is made by the tokenizer's template, of an instruction.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eap import InputError
from summarization.rouge import sentence_spans

CUE = "\nTL;DR:"  # the cue that GPT-2's authors used; the summary follows after one space
INSTRUCTION = "Summarize this news article in two sentences:"  # the article comes after it, or
PLACE = "{article}"  # where this stands in it
AUTO, PLAIN, CHAT = "auto", "plain", "chat"
# Words that stand for article and summary while a template is rendered.
MARKS = ("ARTICLE-GOES-HERE", "SUMMARY-GOES-HERE")
TODAY = "26 Jul 2024"  # Llama 3's templates name a date: prompts may not differ from day to day
MIN_ARTICLE_TOKENS = 16  # with less of the article left there is nothing to summarize
NO_LABEL = -100  # what the cross entropy of torch and transformers leaves out
NO_LENGTH = 10**9  # tokenizers without a length report about 1e30


class TooLong(ValueError):
    """Cue and summary leave no room for MIN_ARTICLE_TOKENS of the article."""


@dataclass(frozen=True)
class Template:
    """What stands around an article: the same tokens in every prompt of a tokenizer and a kind."""

    kind: str  # plain or chat
    instruction: str  # of a chat prompt; "" of a plain one
    before: tuple[int, ...]  # tokens before the article
    cue: tuple[int, ...]  # between article and summary
    lead: str  # text before the summary, tokenised with it: a space, or nothing
    end: int  # the token that ends a summary: it is supervised, and generation stops there

    @property
    def n_fixed(self) -> int:
        """How many tokens stand around article and summary."""
        return len(self.before) + len(self.cue)

    def record(self) -> dict[str, str]:
        """What pairs, results and a fine-tuned model's tokenizer say of their prompts."""
        return {"kind": self.kind} | ({"instruction": self.instruction} if self.instruction else {})


class Prompt(NamedTuple):
    """Token ids of the parts; `summary_ids` ends with exactly one end, `n_cut` article tokens are
    cut off.
    """

    article_ids: list[int]
    cue_ids: list[int]
    summary_ids: list[int]
    n_cut: int
    before_ids: list[int]

    @property
    def ids(self) -> list[int]:
        """The whole sequence."""
        return self.before_ids + self.article_ids + self.cue_ids + self.summary_ids

    @property
    def article_start(self) -> int:
        """Position of the first article token."""
        return len(self.before_ids)

    @property
    def summary_start(self) -> int:
        """Position of the first summary token; the token before it is the cue's last."""
        return len(self.before_ids) + len(self.article_ids) + len(self.cue_ids)


# ---------------------------------------------------------------- templates


def template(tokenizer, kind: str = AUTO, *, instruction: str = "", generation=None) -> Template:
    """The template of a kind: plain, chat or auto; an empty `instruction` of a chat is INSTRUCTION.

    `auto` is what the tokenizer's model was fine-tuned with, where it says so; else chat for an
    instruct model: its tokenizer has a chat template whose turns end as the model's texts do, by
    the tokenizer or `generation`, the model's GenerationConfig if there is one; else plain.
    Raises InputError for a kind that cannot be, and for an instruction of a plain prompt.
    """
    if kind == AUTO:
        recorded = recorded_in(tokenizer) or {}
        kind = recorded.get("kind") or (CHAT if _is_instruct(tokenizer, generation) else PLAIN)
        instruction = instruction or recorded.get("instruction", "")
    if kind == PLAIN and instruction:
        raise InputError(
            f"--instruction {instruction!r}: expected a chat prompt, which has one, got a plain "
            "one; "
            "leave it out, or add --prompt chat"
        )
    if kind == PLAIN:
        return _plain(tokenizer)
    return _chat(tokenizer, instruction or INSTRUCTION)


def recorded_in(tokenizer) -> dict | None:
    """What a fine-tuned model's tokenizer says of the prompts it was trained on; None: nothing."""
    from runs.prompts import PROMPT_KEY

    return tokenizer.init_kwargs.get(PROMPT_KEY)


def record_in(tokenizer, made: Template) -> None:
    """Have a tokenizer say, wherever it is saved, with which prompts its model was trained."""
    from runs.prompts import PROMPT_KEY

    tokenizer.init_kwargs[PROMPT_KEY] = made.record()


def _plain(tokenizer) -> Template:
    before, cue = first_tokens(tokenizer), tuple(encode(tokenizer, CUE))
    return Template(PLAIN, "", before, cue, " ", tokenizer.eos_token_id)


def first_tokens(tokenizer) -> tuple[int, ...]:
    """The special tokens that a tokenizer puts before every text: Llama 3's one, GPT-2's none."""
    word, special = "a", set(tokenizer.all_special_ids)
    coded = tokenizer(word)["input_ids"]
    bare = tokenizer(word, add_special_tokens=False)["input_ids"]
    n = next((i for i, token in enumerate(coded) if token not in special or token in bare), 0)
    return tuple(coded[:n])


def _chat(tokenizer, instruction: str) -> Template:
    """The tokens of a chat template around article and summary."""
    head, middle, tail = _rendered(tokenizer, instruction)
    cue = middle.rstrip(" ")  # spaces before a summary are part of its first token
    before = tuple(_with_special(tokenizer, head))
    cue_ids = tuple(_with_special(tokenizer, cue))
    after = tuple(_with_special(tokenizer, tail))
    end = _end_of_turn(tokenizer, after)
    return Template(CHAT, instruction, before, cue_ids, middle[len(cue) :], end)


def _rendered(tokenizer, instruction: str) -> tuple[str, str, str]:
    """A chat template's text before the article, between it and the summary, and after that.

    Raises InputError where there is no template, or it is not one of a user's and a model's turn,
    and for an instruction that says twice where the article stands.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            "--prompt chat: expected a tokenizer with a chat template, found none; use --prompt "
            "plain, or a model that was trained to chat"
        )
    if (n := instruction.count(PLACE)) > 1:
        raise InputError(
            f"--instruction {instruction!r}: expected {PLACE} at most once, got it {n} times; "
            "leave one"
        )
    article, summary = MARKS
    asked = instruction if PLACE in instruction else f"{instruction}\n\n{PLACE}"
    turns = [
        {"role": "user", "content": asked.replace(PLACE, article)},
        {"role": "assistant", "content": summary},
    ]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, date_string=TODAY)
    except Exception as error:  # jinja's errors, and what a template raises, have no common kind
        raise InputError(
            f"--prompt chat: expected a chat template of a user's and a model's turn, got "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}; use --prompt plain"
        ) from error
    head, _, rest = text.partition(article)
    middle, _, tail = rest.partition(summary)
    if text.count(article) != 1 or text.count(summary) != 1 or summary not in rest:
        raise InputError(
            "--prompt chat: expected a chat template that says article and summary once, in this "
            "order; use --prompt plain"
        )
    return head, middle, tail


def _with_special(tokenizer, text: str) -> list[int]:
    """Token ids of a template's own text, in which special tokens are spelt out."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=False, verbose=False)[
        "input_ids"
    ]


def _end_of_turn(tokenizer, after: tuple[int, ...]) -> int:
    """The first special token after a model's turn; the end of text where a template has none."""
    added = tokenizer.added_tokens_decoder
    special = {token for token in added if added[token].special} | set(tokenizer.all_special_ids)
    return next((token for token in after if token in special), tokenizer.eos_token_id)


def _is_instruct(tokenizer, generation) -> bool:
    """Whether a model ends its turns where it ends its texts, as one that was trained to chat does.

    Base models' tokenizers may have a chat template too, and another end of text.
    """
    if not getattr(tokenizer, "chat_template", None):
        return False
    try:
        tail = _rendered(tokenizer, INSTRUCTION)[2]
    except InputError:
        return False
    named = getattr(generation, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return not ends.isdisjoint(_with_special(tokenizer, tail))


# ---------------------------------------------------------------- prompts


def build(
    tokenizer, article: str, *, highlights: str, max_length: int, template: Template | None = None
) -> Prompt:
    """The prompt of one example in at most `max_length` tokens. Only the article is ever shortened.

    The parts are tokenised separately, so that no token spans a border. Without a template the
    prompt is plain. Raises TooLong.
    """
    template = template or _plain(tokenizer)
    summary_ids = [*encode(tokenizer, template.lead + highlights.strip()), template.end]
    room = max_length - template.n_fixed - len(summary_ids)
    article_ids, n_cut = shortened(tokenizer, article, room=room)
    return Prompt(article_ids, list(template.cue), summary_ids, n_cut, list(template.before))


def generation_ids(
    tokenizer,
    article: str,
    *,
    max_length: int,
    max_new_tokens: int,
    template: Template | None = None,
) -> list[int]:
    """The prompt up to its summary, with room for `max_new_tokens` in `max_length`.

    Raises TooLong.
    """
    template = template or _plain(tokenizer)
    article_ids, _ = shortened(
        tokenizer, article, room=max_length - template.n_fixed - max_new_tokens
    )
    return [*template.before, *article_ids, *template.cue]


def features(prompt: Prompt) -> dict[str, list[int]]:
    """What Trainer takes: the loss falls on the summary and its end-of-text only
    (DataCollatorForSeq2Seq pads labels).
    """
    ids, start = prompt.ids, prompt.summary_start
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": [NO_LABEL] * start + ids[start:],
    }


def context_length(config, tokenizer=None) -> int:
    """Most tokens that a model reads at once, by its config (or None) and else its tokenizer.
    Raises InputError without either.
    """
    for name in ("n_positions", "max_position_embeddings"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    length = getattr(tokenizer, "model_max_length", NO_LENGTH)
    if length >= NO_LENGTH:
        raise InputError(
            "expected a context length in the model's config.json or the tokenizer's "
            "model_max_length, found neither"
        )
    return int(length)


def row_length(asked: int, config, *, tokenizer, name: str) -> int:
    """Tokens of a prompt with its summary at most: `asked`, or with 0 the context of model `name`.

    Raises InputError when more is asked for than the model reads.
    """
    context = context_length(config, tokenizer)
    if asked > context:
        raise InputError(
            f"--max_length {asked}: expected at most {name}'s context of {context} tokens"
        )
    return asked or context


def encode(tokenizer, text: str) -> list[int]:
    """Token ids of `text` alone: no special tokens, also where the text spells one out."""
    return encode_with_offsets(tokenizer, text)[0]


def encode_with_offsets(tokenizer, text: str) -> tuple[list[int], np.ndarray]:
    """(token ids, their [start, end) characters as an array of shape (tokens, 2)). Needs a fast
    tokenizer.
    """
    from eap.dataset import left_out  # here: it imports torch, and scripts parse their flags first

    coded = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,  # `<|endoftext|>` in an article is a word, and ends nothing
        return_offsets_mapping=True,
        verbose=False,
    )
    offsets = np.array(coded["offset_mapping"], dtype=int).reshape(-1, 2)
    special = left_out(tokenizer)
    keep = [index for index, token in enumerate(coded["input_ids"]) if token not in special]
    return [coded["input_ids"][index] for index in keep], offsets[keep]


def token_sentences(text: str, offsets: np.ndarray, *, spans: list[tuple[int, int]]) -> np.ndarray:
    """The sentence of each token, -1 for none: the one that holds the token's last character that
    is no white space.

    The last one because a token of a byte-level BPE may start with the space between two sentences.
    """
    if not spans or not len(offsets):
        return np.full(len(offsets), -1)
    black = np.array([not character.isspace() for character in text])
    last_black = np.maximum.accumulate(np.where(black, np.arange(len(text)), -1))[offsets[:, 1] - 1]
    starts, ends = np.array(spans).T
    sentence = np.searchsorted(starts, last_black, side="right") - 1
    inside = (sentence >= 0) & (last_black >= offsets[:, 0]) & (last_black < ends[sentence])
    return np.where(inside, sentence, -1)


def shortened(tokenizer, article: str, *, room: int) -> tuple[list[int], int]:
    """(the first article tokens that fit, number cut off): up to the last whole sentence that fits,
    if there is one.
    """
    article = article.strip()
    ids, offsets = encode_with_offsets(tokenizer, article)
    if room < min(MIN_ARTICLE_TOKENS, len(ids)):
        raise TooLong(
            f"{max(room, 0)} tokens are left for the article, fewer than {MIN_ARTICLE_TOKENS}"
        )
    if len(ids) <= room:
        return ids, 0
    sentence = token_sentences(article, offsets, spans=sentence_spans(article))
    ends = 1 + np.flatnonzero((sentence[:-1] != sentence[1:]) & (sentence[:-1] >= 0))
    fitting = ends[(ends <= room) & (ends >= MIN_ARTICLE_TOKENS)]
    kept = int(fitting[-1]) if len(fitting) else room
    return ids[:kept], len(ids) - kept
