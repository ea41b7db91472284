"""Prompts: what is cut, what never is, and what the loss sees."""

import numpy as np
import pytest

from eap import InputError
from summarization import prompt

ARTICLE = "One two three four five six seven eight nine ten. " * 12
SUMMARY = "A short summary."


@pytest.fixture(scope="module")
def cue_and_summary(tiny_tokenizer):
    """Tokens that are never cut, counted from the text itself: the cue, one space, the summary, one end-of-text."""
    return (
        len(tiny_tokenizer(prompt.CUE)["input_ids"])
        + len(tiny_tokenizer(" " + SUMMARY)["input_ids"])
        + 1
    )


def test_a_prompt_reads_article_cue_summary_and_one_end(tiny_tokenizer):
    made = prompt.build(tiny_tokenizer, " Rain fell.\n", " It rained.\n", 256)
    assert tiny_tokenizer.decode(made.ids) == "Rain fell.\nTL;DR: It rained.<|endoftext|>"
    assert tiny_tokenizer.decode(made.ids[made.summary_start :]) == " It rained.<|endoftext|>"
    assert made.n_cut == 0


def test_the_article_alone_is_cut_at_a_whole_sentence(tiny_tokenizer, cue_and_summary):
    whole = prompt.build(tiny_tokenizer, ARTICLE, SUMMARY, 10_000)
    sentence = len(
        tiny_tokenizer(" One two three four five six seven eight nine ten.")["input_ids"]
    )
    made = prompt.build(tiny_tokenizer, ARTICLE, SUMMARY, cue_and_summary + 3 * sentence + 5)
    assert tiny_tokenizer.decode(made.article_ids) == (ARTICLE[:50] * 3).strip()
    assert (made.cue_ids, made.summary_ids) == (whole.cue_ids, whole.summary_ids)
    assert made.n_cut == len(whole.article_ids) - len(made.article_ids) > 0


def test_without_a_whole_sentence_the_article_is_cut_at_the_token(tiny_tokenizer, cue_and_summary):
    article = "word " * 300
    made = prompt.build(tiny_tokenizer, article, SUMMARY, cue_and_summary + 40)
    assert len(made.article_ids) == 40
    assert article.startswith(tiny_tokenizer.decode(made.article_ids))


@pytest.mark.parametrize("max_length", range(60, 130))
def test_no_prompt_is_too_long(tiny_tokenizer, max_length):
    assert len(prompt.build(tiny_tokenizer, ARTICLE, SUMMARY, max_length).ids) <= max_length
    assert len(prompt.generation_ids(tiny_tokenizer, ARTICLE, max_length, 20)) + 20 <= max_length


def test_a_summary_that_leaves_under_16_tokens_is_refused(tiny_tokenizer, cue_and_summary):
    assert (
        len(prompt.build(tiny_tokenizer, "word " * 99, SUMMARY, cue_and_summary + 16).article_ids)
        == 16
    )
    with pytest.raises(prompt.TooLong, match="15 tokens"):
        prompt.build(tiny_tokenizer, "word " * 99, SUMMARY, cue_and_summary + 15)


def test_a_short_article_may_have_under_16_tokens(tiny_tokenizer):
    assert prompt.build(tiny_tokenizer, "Rain.", SUMMARY, 256).n_cut == 0


def test_guard_18_labels_cover_the_summary_and_one_end_of_text(tiny_tokenizer):
    spelt = "It rained.<|endoftext|> Twice."  # an end-of-text spelt out in the text is no end
    made = prompt.build(tiny_tokenizer, "Rain <|endoftext|> fell.", spelt, 256)
    features = prompt.features(made)
    labels = np.array(features["labels"])
    assert (labels[: made.summary_start] == -100).all()
    assert labels[made.summary_start :].tolist() == made.summary_ids
    assert made.ids.count(tiny_tokenizer.eos_token_id) == 1
    assert made.ids[-1] == tiny_tokenizer.eos_token_id
    assert features["attention_mask"] == [1] * len(made.ids)


def test_guard_18_the_collator_keeps_the_one_end_of_text(tiny_tokenizer):
    from transformers import DataCollatorForSeq2Seq

    rows = [
        prompt.features(prompt.build(tiny_tokenizer, "Rain fell. " * n, SUMMARY, 256))
        for n in (1, 9)
    ]
    labels = DataCollatorForSeq2Seq(tiny_tokenizer, label_pad_token_id=prompt.NO_LABEL)(rows)[
        "labels"
    ]
    assert (labels == tiny_tokenizer.eos_token_id).sum(1).tolist() == [1, 1]


def test_tokens_belong_to_the_sentence_of_their_last_character():
    text = "A b.\n C d."
    offsets = np.array(
        [[0, 1], [1, 3], [3, 4], [4, 5], [5, 7], [7, 9], [9, 10]]
    )  # A| b|.|\n| C| d|.
    assert prompt.token_sentences(text, offsets, [(0, 4), (6, 10)]).tolist() == [
        0,
        0,
        0,
        -1,
        1,
        1,
        1,
    ]
    offsets[2:4] = [[3, 5], [5, 5]]  # ".\n" as one token: the full stop counts, not the newline
    assert prompt.token_sentences(text, offsets[[0, 1, 2, 4]], [(0, 4), (6, 10)]).tolist() == [
        0,
        0,
        0,
        1,
    ]


def test_the_context_length_is_the_configs_then_the_tokenizers(tiny_tokenizer):
    from transformers import GPT2Config, LlamaConfig, PreTrainedTokenizerFast

    assert prompt.context_length(GPT2Config(n_positions=77)) == 77
    assert prompt.context_length(LlamaConfig(max_position_embeddings=88)) == 88
    assert prompt.context_length(None, tiny_tokenizer) == tiny_tokenizer.model_max_length == 320
    with pytest.raises(InputError, match="context length"):
        prompt.context_length(
            None, PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer.backend_tokenizer)
        )
