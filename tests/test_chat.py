"""An instruct model through the scripts: pairs inside its template, training, summaries, and what
is refused.
"""

import importlib
import json

import pytest

from eap import InputError, dataset
from eap.examples import Examples
from runs import adapters, bases, opening, prompts
from summarization import corruption, generation, prompt

ASKED = {"kind": "chat", "instruction": prompt.INSTRUCTION}


def main(script: str, *words) -> None:
    importlib.import_module(script).main([str(word) for word in (*words, "--quiet")])


@pytest.fixture(scope="module")
def built(chat_model_dir, articles_file, tmp_path_factory):
    """A function of further flags: the rows of the pairs that they make of the 12 articles."""

    def build(*words) -> tuple:
        folder = tmp_path_factory.mktemp("pairs")
        words = ["--dataset", articles_file, "--output_dir", folder, *words]
        words += ["--model_path", chat_model_dir, "--eval_fraction", "0"]
        main("create_causal_summarization_data", "--output", folder / "pairs.jsonl", *words)
        lines = (folder / "pairs.jsonl").read_text().splitlines()
        return folder / "pairs.jsonl", [json.loads(line) for line in lines]

    return build


@pytest.fixture(scope="module")
def trained(chat_model_dir, articles_file, tmp_path_factory):
    """The chat model after one step on chat prompts of at most 256 tokens."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["--model_path", chat_model_dir, "--dataset", articles_file, "--output_dir", folder]
    words += ["--max_steps", 1, "--checkpoint_steps", "0,1", "--probe_examples", 0]
    words += ["--validation_size", 2, "--per_device_train_batch_size", 2, "--max_length", 256]
    main("run_finetuning_with_checkpoints", *words)
    return folder


def test_pairs_are_aligned_inside_the_template(built, chat_tokenizer):
    rows = built()[1]
    template = prompt.template(chat_tokenizer, "chat")
    head, tail = len(template.before), len(template.cue)
    assert len(rows) == 12
    for row in rows:
        clean, corrupted, start = row["clean_ids"], row["corrupted_ids"], row["summary_start"]
        turns = [{"role": "user", "content": f"{prompt.INSTRUCTION}\n\n{row['article']}"}]
        turns.append({"role": "assistant", "content": row["summary"]})
        written = chat_tokenizer.apply_chat_template(turns)["input_ids"]
        assert chat_tokenizer.decode(clean) + "\n" == chat_tokenizer.decode(written)
        assert (
            clean[:head] == corrupted[:head] and clean[start - tail :] == corrupted[start - tail :]
        )
        assert clean[-1] == chat_tokenizer.eos_token_id and row["prompt"] == ASKED
        changed = [
            i for i, pair in enumerate(zip(clean, corrupted, strict=True)) if len({*pair}) > 1
        ]
        inside = {i for span in row["masked"] for i in range(*span)}
        assert changed and inside.issuperset(changed)
        texts = [chat_tokenizer.decode(clean[a:b]).strip() for a, b in row["sentences"]]
        assert " ".join(texts) == " ".join(row["article"].split())


def test_spans_count_the_template_as_no_article(built):
    path, rows = built("--max_length", "256")
    pair, row = dataset.read_pairs(path, max_examples=1)[0], rows[0]
    labels = corruption.groups_of(pair)
    first, last = row["sentences"][0][0], row["sentences"][-1][1]
    assert len(row["clean_ids"]) <= 256 and pair.prompt == ASKED
    assert set(labels[1:first]) == {3} == set(labels[last : row["summary_start"]])
    assert set(labels[first:last]) == {1, 2}


def test_every_checkpoint_says_how_it_was_asked_and_scripts_ask_it_so(
    trained, articles_file, tmp_path
):
    about = json.loads((trained / "training.json").read_text())
    assert about["prompt"] == ASKED and about["settings"]["max_length"] == 256
    for folder in (trained, trained / "checkpoint-0", trained / "checkpoint-1"):
        assert prompt.recorded_in(opening.load_tokenizer(str(folder))) == ASKED
    words = ["--model_paths", trained, "--dataset", articles_file, "--max_examples", 2]
    words += ["--max_new_tokens", 4, "--max_length", 128, "--output_dir", tmp_path]
    main("test_set_evaluation", *words)
    assert json.loads((tmp_path / "rouge.json").read_text())["prompts"] == {trained.name: ASKED}


def test_both_models_read_the_prompts_of_the_fine_tuned_one(
    trained, chat_model_dir, articles_file, tmp_path
):
    words = ["--base_model_path", chat_model_dir, "--finetuned_model_path", trained]
    words += ["--dataset", articles_file, "--max_examples", 3, "--max_length", 200]
    main("differential_analysis", *words, "--output_dir", tmp_path)
    about = json.loads((tmp_path / "differential.json").read_text())
    assert about["prompt"] == ASKED and about["tokens"] <= 3 * 200


def test_pairs_of_other_prompts_than_the_models_are_refused(trained, built, tmp_path):
    words = ["--model_path", trained, "--output", tmp_path / "C.json", "--method", "EAP"]
    plain, _ = built("--prompt", "plain")
    with pytest.raises(InputError, match="fine-tuned on .chat, instruction .*got plain"):
        main("extract_summarization_circuit", *words, "--pairs", plain)
    other, rows = built("--instruction", "Say it:")
    with pytest.raises(InputError, match="got chat, instruction 'Say it:'"):
        main("extract_summarization_circuit", *words, "--pairs", other)
    joined = tmp_path / "joined.jsonl"
    joined.write_text(plain.read_text() + other.read_text())
    with pytest.raises(InputError, match="the first pair has .plain"):
        prompts.check_prompt(dataset.read_pairs(joined), None, path=joined)
    main("extract_summarization_circuit", *words, "--pairs", built("--max_length", "240")[0])
    assert json.loads((tmp_path / "C.json").read_text())["metadata"]["prompt"] == ASKED


def test_a_circuit_of_other_prompts_is_judged_with_a_word(built, tmp_path, capsys):
    pairs = dataset.read_pairs(built("--prompt", "plain")[0])
    for prompt_found_on, warns in (({"kind": "plain"}, False), (ASKED, True), (None, False)):
        found_on = [Examples(("x",), prompt=prompt_found_on)]
        opening.unseen_pairs(pairs, "p.jsonl", found_on=found_on)
        assert ("other prompts (plain) than" in capsys.readouterr().err) == warns


def test_generation_stops_where_a_turn_ends(chat_model_dir, chat_tokenizer):
    """The model is made to say a word and end its turn, whatever it reads."""
    import torch

    model, tokenizer = opening.open_for_texts(chat_model_dir, torch.float64, device="cpu")
    tokenizer.eos_token = "<|endoftext|>"  # as Gemma's, whose turns end otherwise than texts
    template = prompt.template(tokenizer, "chat")
    word = prompt.encode(tokenizer, "Rain")[0]
    asked = []

    class Script(torch.nn.Module):
        def forward(self, states):
            asked.append(states)
            logits = torch.zeros(*states.shape[:-1], len(tokenizer), dtype=states.dtype)
            logits[..., word if len(asked) == 1 else template.end] = 1
            return logits

    model.lm_head = Script()
    made = generation.generate(
        model,
        ["It was wet."],
        options=generation.Options(6),
        tokenizer=tokenizer,
        template=template,
    )
    assert made == [generation.Generated(tokenizer.decode([word]), 1, True, 0)]


def test_an_adapter_says_how_it_was_asked(chat_model_dir, tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"none": torch.zeros(1)}, tmp_path / adapters.WEIGHTS)
    config = json.dumps({"base_model_name_or_path": chat_model_dir})
    (tmp_path / bases.CONFIG).write_text(config)
    adapters.record_base(tmp_path, chat_model_dir, prompt={"kind": "plain"})
    tokenizer = opening.load_tokenizer(str(tmp_path))
    assert prompt.template(tokenizer).kind == "plain"
    assert prompt.template(opening.load_tokenizer(chat_model_dir)).kind == "chat"
