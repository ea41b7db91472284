"""Prompts: what is cut, what never is, what the loss sees, and how a chat model is asked."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest

from eap import InputError
from summarization import prompt

ARTICLE = "One two three four five six seven eight nine ten. " * 12
SUMMARY = "A short summary."


@pytest.fixture(scope="module")
def cue_and_summary(tiny_tokenizer):
    """Tokens that are never cut, counted from the text itself: the cue, one space, the summary, one
    end-of-text.
    """
    return (
        len(tiny_tokenizer(prompt.CUE)["input_ids"])
        + len(tiny_tokenizer(" " + SUMMARY)["input_ids"])
        + 1
    )


def test_a_prompt_reads_article_cue_summary_and_one_end(tiny_tokenizer):
    made = prompt.build(tiny_tokenizer, " Rain fell.\n", highlights=" It rained.\n", max_length=256)
    assert tiny_tokenizer.decode(made.ids) == "Rain fell.\nTL;DR: It rained.<|endoftext|>"
    assert tiny_tokenizer.decode(made.ids[made.summary_start :]) == " It rained.<|endoftext|>"
    assert made.n_cut == 0


def test_the_article_alone_is_cut_at_a_whole_sentence(tiny_tokenizer, cue_and_summary):
    whole = prompt.build(tiny_tokenizer, ARTICLE, highlights=SUMMARY, max_length=10_000)
    sentence = len(
        tiny_tokenizer(" One two three four five six seven eight nine ten.")["input_ids"]
    )
    made = prompt.build(
        tiny_tokenizer, ARTICLE, highlights=SUMMARY, max_length=cue_and_summary + 3 * sentence + 5
    )
    assert tiny_tokenizer.decode(made.article_ids) == (ARTICLE[:50] * 3).strip()
    assert (made.cue_ids, made.summary_ids) == (whole.cue_ids, whole.summary_ids)
    assert made.n_cut == len(whole.article_ids) - len(made.article_ids) > 0


def test_without_a_whole_sentence_the_article_is_cut_at_the_token(tiny_tokenizer, cue_and_summary):
    article = "word " * 300
    made = prompt.build(
        tiny_tokenizer, article, highlights=SUMMARY, max_length=cue_and_summary + 40
    )
    assert len(made.article_ids) == 40
    assert article.startswith(tiny_tokenizer.decode(made.article_ids))


@pytest.mark.parametrize("max_length", range(60, 130))
def test_no_prompt_is_too_long(tiny_tokenizer, max_length):
    assert (
        len(prompt.build(tiny_tokenizer, ARTICLE, highlights=SUMMARY, max_length=max_length).ids)
        <= max_length
    )
    assert (
        len(
            prompt.generation_ids(tiny_tokenizer, ARTICLE, max_length=max_length, max_new_tokens=20)
        )
        + 20
        <= max_length
    )


def test_a_summary_that_leaves_under_16_tokens_is_refused(tiny_tokenizer, cue_and_summary):
    assert (
        len(
            prompt.build(
                tiny_tokenizer, "word " * 99, highlights=SUMMARY, max_length=cue_and_summary + 16
            ).article_ids
        )
        == 16
    )
    with pytest.raises(prompt.TooLong, match="15 tokens"):
        prompt.build(
            tiny_tokenizer, "word " * 99, highlights=SUMMARY, max_length=cue_and_summary + 15
        )


def test_a_short_article_may_have_under_16_tokens(tiny_tokenizer):
    assert prompt.build(tiny_tokenizer, "Rain.", highlights=SUMMARY, max_length=256).n_cut == 0


def test_guard_18_labels_cover_the_summary_and_one_end_of_text(tiny_tokenizer):
    spelt = "It rained.<|endoftext|> Twice."  # an end-of-text spelt out in the text is no end
    made = prompt.build(
        tiny_tokenizer, "Rain <|endoftext|> fell.", highlights=spelt, max_length=256
    )
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
        prompt.features(
            prompt.build(tiny_tokenizer, "Rain fell. " * n, highlights=SUMMARY, max_length=256)
        )
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
    assert prompt.token_sentences(text, offsets, spans=[(0, 4), (6, 10)]).tolist() == [
        0,
        0,
        0,
        -1,
        1,
        1,
        1,
    ]
    offsets[2:4] = [[3, 5], [5, 5]]  # ".\n" as one token: the full stop counts, not the newline
    assert prompt.token_sentences(
        text, offsets[[0, 1, 2, 4]], spans=[(0, 4), (6, 10)]
    ).tolist() == [
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


# ---------------------------------------------------------------- chat templates and first tokens

LONG = "Rain fell on the town all day. " * 30
ASKED = "<|begin|><|user|>\nSay it in short:\n\n{}<|end|>\n<|assistant|>\nIt rained.<|end|>"


def test_a_chat_prompt_is_what_the_template_writes_and_ends_with_the_turn(chat_tokenizer):
    template = prompt.template(chat_tokenizer, "chat", instruction="Say it in short:")
    made = prompt.build(
        chat_tokenizer,
        " Rain fell.\n",
        highlights=" It rained.\n",
        max_length=256,
        template=template,
    )
    assert chat_tokenizer.decode(made.ids) == ASKED.format("Rain fell.")
    assert chat_tokenizer.decode(made.summary_ids) == "It rained.<|end|>"
    article = made.ids[made.article_start : made.summary_start - len(made.cue_ids)]
    assert chat_tokenizer.decode(article) == "Rain fell."
    turns = [{"role": "user", "content": "Say it in short:\n\nRain fell."}]
    asked = chat_tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    assert made.ids[: made.summary_start] == asked
    ids = prompt.generation_ids(
        chat_tokenizer, "Rain fell.", max_length=256, max_new_tokens=20, template=template
    )
    assert ids == asked and ids.count(chat_tokenizer.bos_token_id) == 1


def test_an_instruction_may_say_where_the_article_stands(chat_tokenizer):
    template = prompt.template(
        chat_tokenizer, "chat", instruction="Read: {article} Now say it in short."
    )
    made = prompt.build(
        chat_tokenizer, "Rain fell.", highlights="It rained.", max_length=256, template=template
    )
    assert "Read: Rain fell. Now say it in short.<|end|>" in chat_tokenizer.decode(made.ids)


def test_a_plain_prompt_keeps_the_tokenizers_first_token(chat_tokenizer, tiny_tokenizer):
    made = prompt.build(chat_tokenizer, "Rain fell.", highlights="It rained.", max_length=256)
    assert chat_tokenizer.decode(made.ids) == "<|begin|>Rain fell.\nTL;DR: It rained.<|end|>"
    assert prompt.first_tokens(tiny_tokenizer) == ()


@pytest.mark.parametrize("kind", ["plain", "chat"])
@pytest.mark.parametrize("max_length", range(70, 130, 7))
def test_only_the_article_is_cut_in_a_template(chat_tokenizer, kind, max_length):
    template = prompt.template(chat_tokenizer, kind)
    whole = prompt.build(
        chat_tokenizer, LONG, highlights=SUMMARY, max_length=10_000, template=template
    )
    made = prompt.build(
        chat_tokenizer, LONG, highlights=SUMMARY, max_length=max_length, template=template
    )
    assert len(made.ids) <= max_length and made.n_cut > 0
    assert made.ids[: made.article_start] == whole.ids[: whole.article_start]
    assert made.ids[-len(made.cue_ids + made.summary_ids) :] == whole.cue_ids + whole.summary_ids
    ids = prompt.generation_ids(
        chat_tokenizer, LONG, max_length=max_length, max_new_tokens=9, template=template
    )
    assert len(ids) + 9 <= max_length and ids[-len(made.cue_ids) :] == made.cue_ids


def without_template(tokenizer):
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    return plain


def ending(tokenizer, eos):
    """The tokenizer with another end of text than the end of its turns, as base models have it."""
    base = copy.deepcopy(tokenizer)
    base.eos_token = eos
    return base


def test_by_default_an_instruct_model_is_asked_and_others_go_on(chat_tokenizer, tiny_tokenizer):
    base = ending(chat_tokenizer, "<|endoftext|>")
    assert prompt.template(tiny_tokenizer).kind == "plain"
    assert prompt.template(without_template(chat_tokenizer)).kind == "plain"
    assert prompt.template(chat_tokenizer).kind == "chat"
    assert prompt.template(base).kind == "plain"  # its template comes from the instruct model
    turn = chat_tokenizer.convert_tokens_to_ids("<|end|>")
    for ends in (turn, [0, turn]):  # an instruct model whose tokenizer ends texts otherwise
        asked = prompt.template(base, generation=SimpleNamespace(eos_token_id=ends))
        assert (asked.kind, asked.end) == ("chat", turn)


def test_a_fine_tuned_models_tokenizer_says_how_it_was_asked(chat_tokenizer, tmp_path):
    from runs import opening

    trained = copy.deepcopy(chat_tokenizer)
    prompt.record_in(trained, prompt.template(trained, "chat", instruction="In a word:"))
    trained.save_pretrained(tmp_path)
    read = opening.read_tokenizer(str(tmp_path))
    assert prompt.template(read).record() == {"kind": "chat", "instruction": "In a word:"}
    assert prompt.template(read, "plain").kind == "plain"
    assert prompt.recorded_in(chat_tokenizer) is None


def test_what_cannot_be_asked_is_refused(chat_tokenizer, tiny_tokenizer):
    with pytest.raises(InputError, match="--prompt chat: .*found none"):
        prompt.template(tiny_tokenizer, "chat")
    with pytest.raises(InputError, match="--instruction .*add --prompt chat"):
        prompt.template(tiny_tokenizer, "auto", instruction="Say it.")
    with pytest.raises(InputError, match="at most once, got it 2 times"):
        prompt.template(chat_tokenizer, "chat", instruction="Of {article} and {article}:")
    strange = copy.deepcopy(chat_tokenizer)
    strange.chat_template = "{{ messages[0]['content'] }}"  # leaves the model's turn out
    with pytest.raises(InputError, match="article and summary once"):
        prompt.template(strange, "chat")
    strange.chat_template = "{{ raise_exception('no user here') }}"
    with pytest.raises(InputError, match="no user here.*--prompt plain"):
        prompt.template(strange, "chat")


def test_a_space_before_the_models_turn_belongs_to_the_summary(chat_tokenizer):
    llama2 = copy.deepcopy(chat_tokenizer)
    llama2.chat_template = (
        "{{ bos_token }}<|user|> {{ messages[0]['content'] }}<|assistant|>"
        "{% if messages[1] %} {{ messages[1]['content'] }}<|end|>{% endif %}"
    )
    template = prompt.template(llama2, "chat", instruction="Say:")
    made = prompt.build(llama2, "Rain.", highlights="It rained.", max_length=256, template=template)
    assert template.lead == " "
    assert llama2.decode(made.summary_ids) == " It rained.<|end|>"
    assert llama2.decode(made.cue_ids) == "<|assistant|>"
