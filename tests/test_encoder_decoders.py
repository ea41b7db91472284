"""BART and T5 are read: generation, likelihood, states and attention against transformers' own."""

import json
from importlib import import_module
from types import SimpleNamespace

import encoder_decoders
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSeq2SeqLM

from eap import InputError
from runs import opening
from study.differential import measures, written
from study.differential import stacks as differential
from study.differential.stacks import CROSS, DECODER, ENCODER
from study.faithfulness import running as faithfulness
from study.pipeline import hours
from summarization import encoder_decoder, generation, prompt
from summarization.generation import Options

FAMILIES = list(encoder_decoders.CONFIGS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{family: a folder with base and tuned}."""
    parent = tmp_path_factory.mktemp("encoder_decoders")
    return {family: encoder_decoders.save(parent / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def opened(folders):
    """{family: (base, tuned, tokenizer, frame)} in float64."""
    by_family = {}
    for family, folder in folders.items():
        models = [
            opening.open_for_texts(str(folder / name), torch.float64, device="cpu", reading=True)
            for name in ("base", "tuned")
        ]
        (base, tokenizer), (tuned, _) = models
        frame = encoder_decoder.frame(base, tokenizer, name=family)
        by_family[family] = base, tuned, tokenizer, frame
    return by_family


@pytest.fixture(scope="module")
def read(opened, articles):
    """{family: the texts of four articles of different lengths}."""
    rows = [row | {"article": row["article"][: 200 + 90 * i]} for i, row in enumerate(articles[:4])]
    return {
        family: [
            encoder_decoder.build(
                tokenizer, row["article"], highlights=row["highlights"], frame=frame
            )
            for row in rows
        ]
        for family, (_, _, tokenizer, frame) in opened.items()
    }


# ---------------------------------------------------------------- what is opened


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("family", ["bart", "t5"])
def test_an_adapter_is_merged_into_the_model_it_was_trained_on(family, folders, tmp_path):
    """The logits are those of peft's own model; a script that needs a decoder still refuses."""
    base = folders[family] / "base"
    plain = AutoModelForSeq2SeqLM.from_pretrained(base).eval()
    shape = LoraConfig(r=2, target_modules=r".*\.(q|v|q_proj|v_proj)", init_lora_weights=False)
    torch.manual_seed(0)
    wrapped = get_peft_model(plain, shape).eval()
    wrapped.save_pretrained(tmp_path)
    model, _ = opening.open_model(str(tmp_path), torch.float32, device="cpu", reading=True)
    ids = torch.arange(5, 25)[None]
    given = {"input_ids": ids, "decoder_input_ids": ids + 30}
    with torch.no_grad():
        logits, base_logits = wrapped(**given).logits, wrapped.unload()(**given).logits
        close = {"atol": 1e-4 * float(logits.abs().max()), "rtol": 0}
        torch.testing.assert_close(model(**given).logits, logits, **close)
    assert float((logits - base_logits).abs().max()) > 100 * close["atol"]
    assert opening.is_encoder_decoder(str(tmp_path))
    with pytest.raises(InputError, match=f"expected a decoder, got {family}"):
        opening.load_model(str(tmp_path), torch.float32, device="cpu")


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_that_is_opened_is_the_one_that_was_saved(family, opened):
    base, _, tokenizer, _ = opened[family]
    saved = encoder_decoders.model(family, len(tokenizer) + 4)
    ids = {"input_ids": torch.tensor([[5, 6, 7]]), "decoder_input_ids": torch.tensor([[0, 9]])}
    with torch.no_grad():
        assert torch.allclose(base(**ids).logits, saved(**ids).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_is_what_the_tokenizer_makes_of_it(family, opened):
    _, _, tokenizer, frame = opened[family]
    text = encoder_decoder.build(
        tokenizer, "It rained in Dal.", highlights="Rain in Dal.", frame=frame
    )
    prefix = encoder_decoders.PREFIX if family == "t5" else ""
    assert text.source == tokenizer(prefix + "It rained in Dal.")["input_ids"]
    assert frame.record() == {"kind": "encoder-decoder"} | ({"prefix": prefix} if prefix else {})
    labels = tokenizer("Rain in Dal.")["input_ids"]
    start = 2 if family == "bart" else 0
    assert text.target == [start, *labels[:-1]]
    first = [prompt.NO_LABEL] if family == "bart" else labels[:1]  # <s>, which is no word
    assert text.labels == [*first, *labels[1:]]


def test_an_article_is_cut_at_a_sentence_and_keeps_what_stands_around_it(opened):
    _, _, tokenizer, frame = opened["bart"]
    ids, n_cut = encoder_decoder.source(tokenizer, "Rain fell on the town. " * 200, frame=frame)
    assert n_cut > 0 and len(ids) <= 320
    assert (ids[0], ids[-1]) == (0, 2)
    assert tokenizer.decode(ids[1:-1]).endswith("town.")
    whole = prompt.encode(tokenizer, ("Rain fell on the town. " * 200).strip())
    assert n_cut + len(ids) - 2 == len(whole)


# ---------------------------------------------------------------- summaries


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_summaries_are_those_that_transformers_generates(family, beams, opened, articles):
    base, _, tokenizer, frame = opened[family]
    texts = [row["article"][: 150 + 100 * i] for i, row in enumerate(articles[:3])]
    wanted = []
    for text in texts:
        prefix = encoder_decoders.PREFIX if family == "t5" else ""
        ids = tokenizer(prefix + text, return_tensors="pt")["input_ids"]
        first = {"forced_bos_token_id": 0} if family == "bart" else {}
        most = 7 if family == "bart" else 6
        options = {"max_new_tokens": most, "num_beams": beams, "do_sample": False, **first}
        out = base.generate(ids, forced_eos_token_id=None, **options)[0]
        wanted.append(tokenizer.decode(out, skip_special_tokens=True).strip())
    options = Options(6, num_beams=beams)
    for size in (None, 1, 2):
        made = generation.generate_from_sources(
            base,
            texts,
            options=Options(6, num_beams=beams, batch_size=size),
            tokenizer=tokenizer,
            frame=frame,
        )
        assert [summary.text for summary in made] == wanted
    assert all(
        summary.n_tokens <= options.max_new_tokens and summary.n_cut == 0 for summary in made
    )


def test_a_summary_that_the_decoder_cannot_hold_is_refused(opened):
    base, _, tokenizer, frame = opened["bart"]
    with pytest.raises(InputError, match="--max_new_tokens 400: expected room"):
        generation.generate_from_sources(
            base, ["It rained."], options=Options(400), tokenizer=tokenizer, frame=frame
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_likelihood_is_that_of_transformers_loss(family, opened, read):
    base, _, _, frame = opened[family]
    texts = read[family]
    nll = encoder_decoder.summary_nll(base, texts, frame=frame, batch_size=3)
    assert nll == pytest.approx(
        encoder_decoder.summary_nll(base, texts, frame=frame, batch_size=1), rel=1e-6
    )
    for text, value in zip(texts, nll, strict=True):
        with torch.no_grad():
            loss = base(
                input_ids=torch.tensor([text.source]),
                decoder_input_ids=torch.tensor([text.target]),
                labels=torch.tensor([text.labels]),
            ).loss
        assert value == pytest.approx(float(loss), rel=1e-5)


# ---------------------------------------------------------------- attention and states


def test_entropy_of_attention_made_by_hand():
    base = torch.tensor([[[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]])  # a head, two queries, three keys
    tuned = torch.tensor([[[0.2, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3]]])
    measured = measures.full_attention_measures(base, tuned)
    log = np.log
    entropy = (0.5 * log(2) + 0.5 * log(4)) / 2
    assert measured["entropy_base"].item() == pytest.approx(entropy, rel=1e-6)
    assert measured["normalised_entropy_base"].item() == pytest.approx(entropy / log(3), rel=1e-6)
    assert measured["first_token_base"].item() == pytest.approx(0.75)
    assert measured["entropy_rest_finetuned"].item() == pytest.approx(log(2), rel=1e-6)
    assert measured["normalised_entropy_rest_finetuned"].item() == pytest.approx(1, rel=1e-6)
    kl = (0.5 * log(0.5 / 0.2) + 0.5 * log(0.25 / 0.4) + log(3)) / 2
    assert measured["kl_base_finetuned"].item() == pytest.approx(kl, rel=1e-6)


def compared(base, tuned, texts, frame, size):
    comparison = differential.Comparison(base, tuned, n_texts=len(texts))
    for start in range(0, len(texts), size):
        rows = list(range(start, min(start + size, len(texts))))
        comparison.add(rows, [texts[row] for row in rows], frame=frame)
    return comparison


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_and_states_are_those_of_transformers(family, opened, read):
    """One text, without padding, reduced by hand; beside three others it gives the same."""
    base, tuned, _, frame = opened[family]
    texts = read[family]
    together = compared(base, tuned, texts, frame, 4)
    alone = compared(base, tuned, texts, frame, 1)
    for part, measured in together.parts.items():
        for kind in ("heads", "states"):
            for name, values in getattr(measured, kind).items():
                other = getattr(alone.parts[part], kind)[name]
                assert values == pytest.approx(other, rel=1e-4, abs=1e-5), (part, name)
    text = texts[1]
    with torch.no_grad():
        runs = [
            made(
                input_ids=torch.tensor([text.source]),
                decoder_input_ids=torch.tensor([text.target]),
                output_attentions=True,
                output_hidden_states=True,
            )
            for made in (base, tuned)
        ]
    names = {
        ENCODER: "encoder_attentions",
        DECODER: "decoder_attentions",
        CROSS: "cross_attentions",
    }
    for part, name in names.items():
        measured = together.parts[part]
        assert measured.n_layers == len(runs[0][name])
        for layer in range(measured.n_layers):
            p, q = [run[name][layer][0] for run in runs]
            skipped = int(part == DECODER)  # its first query sees itself alone
            log_p, log_q = p.clamp_min(1e-30).log(), q.clamp_min(1e-30).log()
            entropy = -(q * log_q).sum(-1)[:, skipped:].mean(-1)
            kl = (p * (log_p - log_q)).sum(-1)[:, skipped:].mean(-1)
            assert measured.heads["entropy_finetuned"][1, layer] == pytest.approx(
                entropy.numpy(), rel=1e-4
            )
            assert measured.heads["kl_base_finetuned"][1, layer] == pytest.approx(
                kl.numpy(), rel=1e-3, abs=1e-5
            )
    for part, name in ((ENCODER, "encoder_hidden_states"), (DECODER, "decoder_hidden_states")):
        last = [run[name][-1][0, 1:] for run in runs]  # after the final norm, both of them
        wanted = float(measures.relative_l2(*last))
        assert together.parts[part].states["relative_l2"][1, -1] == pytest.approx(wanted, rel=1e-4)
        if family == "bart":  # whose others are after norms
            continue
        for state, hidden in enumerate(zip(*(run[name][:-1] for run in runs), strict=True)):
            wanted = float(measures.cosine(*(states[0, 1:] for states in hidden)))
            cosine = together.parts[part].states["cosine"][1, state]
            assert cosine == pytest.approx(wanted, rel=1e-4)
    assert together.parts[CROSS].states == {}


def test_barts_states_are_its_sums_before_their_norms(opened, read):
    """Normalising them gives what transformers calls the hidden states."""
    base, _, _, frame = opened["bart"]
    text = read["bart"][0]
    batch = encoder_decoder.inputs([text], frame, device="cpu")
    with torch.no_grad():
        streams = differential.run(base, differential.parts_of(base), batch=batch).streams
        hidden = base(**batch, output_hidden_states=True)
        for name, stack in ((ENCODER, base.model.encoder), (DECODER, base.model.decoder)):
            norms = [stack.layernorm_embedding, *(layer.final_layer_norm for layer in stack.layers)]
            states, updates = streams[name].states, streams[name].updates
            for state, norm in enumerate(norms):
                wanted = hidden[f"{name}_hidden_states"][state]
                assert torch.allclose(norm(states[state]), wanted, atol=1e-12)
                if state:
                    before = hidden[f"{name}_hidden_states"][state - 1]
                    assert torch.allclose(updates[state] + before, states[state], atol=1e-12)


# ---------------------------------------------------------------- the scripts


def run(name: str, *words) -> None:
    import_module(name).main([str(word) for word in words])


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_the_analysis_writes_each_part_by_itself(
    family, folders, articles_file, tmp_path, capsys, monkeypatch
):
    if family == "t5":  # whose figures are made as the other's are
        monkeypatch.setattr(written, "PLOTS", ("similarity", "entropy"))
    folder = folders[family]
    words = ["--base_model_path", folder / "base", "--finetuned_model_path", folder / "tuned"]
    words += ["--dataset", articles_file, "--max_examples", "9", "--output_dir", tmp_path]
    run("differential_analysis", *words, "--verbose")
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "differential.json").read_text())
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == set(result["captions"])
    assert not (tmp_path / "layers.differential.json").exists()
    assert len(pictures) == (11 if family == "bart" else 5)
    assert "differential.cross.entropy.png" in pictures
    assert "differential.cross.similarity.png" not in pictures
    assert all(result["captions"].values())
    assert list(result["parts"]) == list(differential.PARTS)
    n_layers = [len(part["changes"]["attention_kl"]["scores"]) for part in result["parts"].values()]
    assert n_layers == ([2, 3, 3] if family == "bart" else [3, 2, 2])
    assert "hidden" not in result["parts"][CROSS]
    for title in ("Encoder self-attention", "Decoder self-attention", "Cross attention"):
        assert f"\n{title}\n" in printed
        assert any(line.startswith(f"{title}: Attention entropy") for line in result["sentences"])
    run("differential_analysis", *words)
    assert capsys.readouterr().out.startswith("up to date")


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_the_test_set_is_summarized(family, folders, articles, articles_file, tmp_path):
    folder = folders[family]
    words = ["--model_paths", folder / "base", folder / "tuned", "--dataset", articles_file]
    words += ["--max_examples", "3", "--max_new_tokens", "5", "--output_dir", tmp_path]
    run("test_set_evaluation", *words, "--quiet")
    result = json.loads((tmp_path / "rouge.json").read_text())
    assert result["systems"]["tuned"]["nll_nats"]["n"] == 3
    prompt = {"kind": "encoder-decoder"} | ({"prefix": "summarize: "} if family == "t5" else {})
    assert result["prompts"] == {"base": prompt, "tuned": prompt}
    rows = (tmp_path / "generated.base.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(rows[0])
    article = next(candidate for candidate in articles if candidate["id"] == row["id"])
    model, tokenizer = opening.open_for_texts(
        str(folder / "base"), torch.float32, device="cpu", reading=True
    )
    frame = encoder_decoder.frame(model, tokenizer, name=family)
    text = encoder_decoder.build(
        tokenizer, article["article"], highlights=article["highlights"], frame=frame
    )
    nll = encoder_decoder.summary_nll(model, [text], frame=frame, batch_size=1)
    assert row["nll_nats"] == pytest.approx(nll[0], rel=1e-5)


REFUSED = "expected a decoder, got bart, an encoder-decoder"


@pytest.mark.parametrize(
    "words",
    [
        ["create_causal_summarization_data", "--output", "{out}/pairs.jsonl"],
        ["run_finetuning_with_checkpoints", "--max_steps", "1"],
        ["run_peft_bakeoff", "--arms", "all"],
        ["extract_summarization_circuit"],
    ],
    ids=lambda words: words[0],
)
def test_what_needs_a_decoder_refuses_and_writes_nothing(words, folders, articles_file, tmp_path):
    name, *more = [word.replace("{out}", str(tmp_path)) for word in words]
    if name == "extract_summarization_circuit":
        more += ["--output", str(tmp_path / "C.json"), "--pairs", articles_file]
    else:
        more += ["--dataset", articles_file]
    with pytest.raises(InputError, match=REFUSED):
        run(name, "--model_path", folders["bart"] / "base", *more, "--output_dir", tmp_path / "out")
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert [name for name in left if "run." not in name] == []


def test_the_study_of_one_is_refused_with_the_reason(folders):
    with pytest.raises(InputError, match=REFUSED):
        hours.config_of(str(folders["bart"] / "base"))


def test_another_model_that_is_none_is_refused_before_anything_runs(folders, monkeypatch):
    files = {"circuit": "C.json", "other_circuit": None, "compare_circuit": None, "metrics": ()}
    given = SimpleNamespace(**files, other_model_path=str(folders["bart"] / "base"))
    circuit = SimpleNamespace(require_scores=lambda name: None)
    monkeypatch.setattr(opening, "load_circuits", lambda paths: [circuit])
    monkeypatch.setattr(faithfulness, "require_own_models", lambda settings, circuits: None)
    with pytest.raises(InputError, match=f"--other_model_path .*: {REFUSED}"):
        faithfulness.read_circuits(given)


def test_a_kind_that_nothing_reads_is_refused_with_those_that_are(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "pegasus"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    for reading, kinds in ((False, "gemma2"), (True, "gemma2, bart, t5, mt5")):
        with pytest.raises(InputError, match=f"{kinds}, got pegasus"):
            opening.load_model(str(tmp_path), torch.float32, device="cpu", reading=reading)


def test_prompts_of_decoders_are_refused(folders, articles_file, tmp_path):
    words = ["--model_paths", folders["t5"] / "base", "--dataset", articles_file]
    with pytest.raises(InputError, match="--prompt chat: expected no prompt"):
        run("test_set_evaluation", *words, "--prompt", "chat", "--output_dir", tmp_path)


def test_two_kinds_are_not_compared(folders, tiny_model_dir, articles_file, tmp_path):
    words = ["--base_model_path", folders["bart"] / "base", "--dataset", articles_file]
    with pytest.raises(InputError, match=r"one architecture, got bart \(.*\) and gpt2"):
        run(
            "differential_analysis",
            *words,
            *("--finetuned_model_path", tiny_model_dir, "--output_dir", tmp_path),
        )
