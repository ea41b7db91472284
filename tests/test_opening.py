"""What is loaded is what was saved: each kind of fault in each script that could meet it."""

import copy
import gc
import json
import shutil
import warnings
import weakref
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from eap import InputError, attribute, dataset, models
from eap.circuit import load_circuit
from runs import adapters, opening, weights
from runs.console import Console
from summarization import examples, prompt

IDS = torch.arange(5, 60)[None]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def lora(**more) -> LoraConfig:
    options = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["c_attn"]}
    return LoraConfig(**options | more)


def trained(folder, base: str, config) -> torch.Tensor:
    """Save an adapter with drawn weights in `folder`; the logits of the model that was trained."""
    torch.manual_seed(1)
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    wrapped.peft_config["default"].base_model_name_or_path = str(base)
    wrapped.save_pretrained(folder)
    with torch.no_grad():
        return wrapped.eval()(IDS).logits


def edit(path, change) -> None:
    """Change the content of a JSON file."""
    data = json.loads(Path(path).read_text())
    change(data)
    Path(path).write_text(json.dumps(data))


# ---------------------------------------------------------------- adapters that can be merged


KINDS_OF_ADAPTERS = {
    "lora": lora(),
    "rank by layer": lora(rank_pattern={"h.0.attn.c_attn": 2}, alpha_pattern={"h.1": 3}),
    "rslora": lora(use_rslora=True),
    "dora": lora(use_dora=True),
    "pissa": lora(init_lora_weights="pissa"),
    "all linear, whole norm": lora(target_modules="all-linear", modules_to_save=["ln_f"]),
    "unembedding": lora(target_modules=["c_attn", "lm_head"]),
    "embedding": lora(target_modules=["c_attn", "wte"]),
    "whole unembedding": lora(modules_to_save=["lm_head"]),
    "some tokens": lora(trainable_token_indices=[7, 9]),
    "ia3": IA3Config(
        task_type="CAUSAL_LM", target_modules=["c_attn", "c_fc"], feedforward_modules=["c_fc"]
    ),
    "adalora": AdaLoraConfig(
        task_type="CAUSAL_LM", init_r=4, target_r=2, target_modules=["c_attn"], total_step=10
    ),
}


@pytest.mark.parametrize("kind", KINDS_OF_ADAPTERS)
def test_a_merged_adapter_is_the_model_that_was_trained(kind, tiny_model_dir, tmp_path):
    config = copy.deepcopy(KINDS_OF_ADAPTERS[kind])
    logits = trained(tmp_path / "adapter", tiny_model_dir, config)
    model = opening.load_model(str(tmp_path / "adapter"), torch.float32, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, logits, atol=1e-4, rtol=0)
    model.save_pretrained(tmp_path / "plain")
    again = opening.load_model(str(tmp_path / "plain"), torch.float32, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, logits, atol=1e-4, rtol=0)


FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM, ["q_proj", "down_proj"]),
    "llama, tied unembedding": (LlamaConfig, LlamaForCausalLM, ["q_proj", "lm_head"]),
    "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM, ["query_key_value"]),
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_adapter_of_another_architecture_is_merged(kind, tmp_path):
    """Not every config calls its context `n_positions`, as GPT-2's does."""
    config_class, model_class, targets = FAMILIES[kind]
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 48}
    shape |= {"intermediate_size": 64, "vocab_size": 99, "max_position_embeddings": 60}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": "tied" in kind}
    torch.manual_seed(0)
    model_class(config_class(**shape, **ends, initializer_range=0.1)).save_pretrained(
        tmp_path / "base"
    )
    logits = trained(tmp_path / "adapter", str(tmp_path / "base"), lora(target_modules=targets))
    model = opening.load_model(str(tmp_path / "adapter"), torch.float32, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, logits, atol=1e-4, rtol=0)


def test_an_adapter_of_a_newer_peft_with_options_that_ours_does_not_know_is_refused(
    tiny_model_dir, tmp_path
):
    trained(tmp_path, tiny_model_dir, lora())
    edit(tmp_path / "adapter_config.json", lambda config: config.update(use_of_tomorrow=None))
    opening.load_model(str(tmp_path), torch.float32, device="cpu")  # not used: nothing is left out
    edit(tmp_path / "adapter_config.json", lambda config: config.update(use_of_tomorrow=True))
    with pytest.raises(InputError, match="use_of_tomorrow.*install the peft that saved it"):
        opening.load_model(str(tmp_path), torch.float32, device="cpu")


@pytest.mark.parametrize(
    "option", [{"ensure_weight_tying": True}, {"trainable_token_indices": [7]}]
)
def test_tied_and_untied_changes_of_the_embeddings_together_are_refused(
    option, tiny_model_dir, tmp_path
):
    trained(tmp_path, tiny_model_dir, lora(target_modules=["lm_head"], **option))
    with pytest.raises(InputError, match="embedding and unembedding apart"):
        opening.load_model(str(tmp_path), torch.float32, device="cpu")


@pytest.mark.parametrize("claim", [True, False])
def test_embeddings_that_differ_in_the_file_stay_apart_whatever_the_config_says(
    claim, tiny_model_dir, tmp_path
):
    model = GPT2LMHeadModel.from_pretrained(tiny_model_dir, tie_word_embeddings=False)
    model.lm_head.weight = torch.nn.Parameter(0.5 * model.transformer.wte.weight.detach())
    model.config.tie_word_embeddings = False
    model.save_pretrained(tmp_path / "apart")
    edit(tmp_path / "apart" / "config.json", lambda c: c.update(tie_word_embeddings=claim))
    loaded = opening.load_model(str(tmp_path / "apart"), torch.float32, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, model.eval()(IDS).logits, atol=1e-5, rtol=0)
    logits = trained(tmp_path / "adapter", tmp_path / "apart", lora(target_modules=["lm_head"]))
    merged = opening.load_model(str(tmp_path / "adapter"), torch.float32, device="cpu")
    merged.save_pretrained(tmp_path / "plain")
    again = opening.load_model(str(tmp_path / "plain"), torch.float32, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, logits, atol=1e-4, rtol=0)


def test_a_tokenizer_of_far_fewer_tokens_is_said(tiny_tokenizer, capsys):
    for size, n_warnings in ((1024, 0), (5000, 1)):
        config = GPT2Config(vocab_size=size, eos_token_id=0)
        opening.require_agreement(config, tiny_tokenizer, name=f"of {size}")
        words = "its tokenizer has 1000 tokens, the model"
        assert capsys.readouterr().err.count(words) == n_warnings


def drawn_pair() -> dataset.Pair:
    """Tokens of which the first half is corrupted."""
    ids = torch.randint(1, 900, (2, 12), generator=torch.Generator().manual_seed(0)).tolist()
    return dataset.Pair("drawn", ids[0], ids[1][:6] + ids[0][6:], 9)


NOT_MERGED = {
    "lora": lora(),
    "whole norm": lora(modules_to_save=["ln_f"]),
    "ia3": KINDS_OF_ADAPTERS["ia3"],
    "prefix": PrefixTuningConfig("CAUSAL_LM", num_virtual_tokens=4),
    "prompt": PromptTuningConfig("CAUSAL_LM", num_virtual_tokens=4),
}


@pytest.mark.parametrize("kind", NOT_MERGED)
def test_the_library_refuses_what_is_not_merged(kind, tiny_model_dir):
    wrapped = get_peft_model(
        GPT2LMHeadModel.from_pretrained(tiny_model_dir), copy.deepcopy(NOT_MERGED[kind])
    )
    for model in (wrapped, wrapped.get_base_model()):
        if kind in ("prefix", "prompt") and model is not wrapped:
            continue  # a plain model: the states stand in the wrapper
        with pytest.raises(InputError, match="an adapter that is not merged .*merge_and_unload"):
            attribute.attribute(model, [drawn_pair()], metric="kl")


NOT_CAUSAL = {
    "no unembedding": (lambda m: m.transformer, "got GPT2Model, which has no logits"),
    "in parallel": (torch.nn.DataParallel, "got DataParallel, which has one inside; .* .module"),
    "a name": (lambda m: "gpt2", "expected a transformers model, got str"),
    "no transformer": (lambda m: m.transformer.wte, "got Embedding, which has no logits"),
}


@pytest.mark.parametrize("kind", NOT_CAUSAL)
def test_the_library_refuses_what_is_no_causal_model(kind, tiny_model_dir):
    make, message = NOT_CAUSAL[kind]
    with pytest.raises(InputError, match=message):
        models.adapt(make(GPT2LMHeadModel.from_pretrained(tiny_model_dir)))


def test_the_library_takes_what_is_merged(tiny_model_dir):
    model = GPT2LMHeadModel.from_pretrained(tiny_model_dir)
    model.add_adapter(lora(init_lora_weights=False))
    with pytest.raises(InputError, match="an adapter that is not merged"):
        models.adapt(model)
    wrapped = get_peft_model(
        GPT2LMHeadModel.from_pretrained(tiny_model_dir), lora(init_lora_weights=False)
    )
    wrapped.merge_adapter()
    scores = attribute.attribute(wrapped, [drawn_pair()], metric="kl").edges
    plain = attribute.attribute(wrapped.merge_and_unload(), [drawn_pair()], metric="kl").edges
    torch.testing.assert_close(scores, plain)


def test_an_adapter_on_an_adapter_is_merged_into_both(tiny_model_dir, tmp_path):
    trained(tmp_path / "first", tiny_model_dir, lora())
    middle = opening.load_model(str(tmp_path / "first"), torch.float32, device="cpu")
    middle.save_pretrained(tmp_path / "plain")
    logits = trained(tmp_path / "second", str(tmp_path / "plain"), lora())
    name = {"base_model_name_or_path": str(tmp_path / "first")}
    edit(tmp_path / "second" / "adapter_config.json", lambda data: data.update(name))
    model = opening.load_model(str(tmp_path / "second"), torch.float32, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, logits, atol=1e-4, rtol=0)


def test_an_adapter_that_says_its_base_is_checked_and_another_is_said(
    tiny_model_dir, tmp_path, capsys
):
    trained(tmp_path / "adapter", tiny_model_dir, lora())
    opening.load_model(str(tmp_path / "adapter"), torch.float32, device="cpu")
    assert "does not say on which weights" in capsys.readouterr().err
    adapters.record_base(tmp_path / "adapter", tiny_model_dir)
    opening.load_model(str(tmp_path / "adapter"), torch.float32, device="cpu")
    assert capsys.readouterr().err == ""


def test_weights_are_known_by_what_they_hold(tiny_model_dir, tmp_path):
    """Saved in shards, with other things beside them: the same; with one number changed: others."""
    model = GPT2LMHeadModel.from_pretrained(tiny_model_dir)
    model.save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert weights.sha256(str(tmp_path / "shards")) == weights.sha256(tiny_model_dir)
    model.transformer.ln_f.bias.data[0] += 1
    model.save_pretrained(tmp_path / "changed")
    assert weights.sha256(str(tmp_path / "changed")) != weights.sha256(tiny_model_dir)
    for alpha in (8, 9):
        trained(tmp_path / f"alpha{alpha}", tiny_model_dir, lora(lora_alpha=alpha))
    hashes = {weights.sha256(str(tmp_path / name)) for name in ("alpha8", "alpha9", "changed")}
    assert len(hashes) == 3 and None not in hashes


def with_config(tiny: str, folder: Path, **entries) -> str:
    """A copy of the tiny model with other entries in its config.json."""
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))
    return str(folder)


def test_a_model_is_known_by_how_its_weights_are_used(tiny_model_dir, tmp_path):
    """Another activation or epsilon is another model; how it was saved and trained is not."""
    relu = with_config(tiny_model_dir, tmp_path / "relu", activation_function="relu")
    coarse = with_config(tiny_model_dir, tmp_path / "coarse", layer_norm_epsilon=0.1)
    unscaled = with_config(tiny_model_dir, tmp_path / "unscaled", scale_attn_weights=False)
    saved = {"transformers_version": "4.0", "resid_pdrop": 0.5, "dtype": "float16"}
    same = with_config(tiny_model_dir, tmp_path / "same", use_cache=False, **saved)
    models = [tiny_model_dir, relu, coarse, unscaled, same]
    assert len({weights.sha256(model) for model in models}) == 1
    known = [weights.config_sha256(model) for model in models]
    assert known[0] == known[-1] and len(set(known)) == 4


def test_an_adapters_base_is_held_to_its_configuration_where_that_is_recorded(
    tiny_model_dir, tmp_path
):
    relu = with_config(tiny_model_dir, tmp_path / "relu", activation_function="relu")
    adapters.record_base(tmp_path, tiny_model_dir)
    assert adapters.require_recorded_base(tmp_path, tiny_model_dir) is None
    with pytest.raises(InputError, match="its weights with another config.json"):
        adapters.require_recorded_base(tmp_path, relu)
    record = json.loads((tmp_path / adapters.RECORD).read_text())
    del record["config_sha256"]  # as files had it before
    (tmp_path / adapters.RECORD).write_text(json.dumps(record))
    assert adapters.require_recorded_base(tmp_path, relu) is None


def test_an_adapter_a_folder_further_down_is_named(tiny_model_dir, tmp_path):
    trained(tmp_path / "arm" / "adapter", tiny_model_dir, lora())
    with pytest.raises(InputError, match="a folder further down; give .*arm/adapter"):
        opening.load_model(str(tmp_path / "arm"), torch.float32, device="cpu")


# ---------------------------------------------------------------- models: faults by scripts


def copied(tiny: str, folder: Path) -> Path:
    shutil.copytree(tiny, folder)
    return folder


def with_weights(tiny: str, folder: Path, change) -> None:
    path = copied(tiny, folder) / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def with_adapter(tiny: str, folder: Path, change=None, config=None) -> None:
    trained(folder, tiny, config or lora())
    if change:
        path = folder / "adapter_model.safetensors"
        save_file(change(load_file(path)), path, {"format": "pt"})


def nan(tensors: dict) -> None:
    tensors["transformer.h.1.mlp.c_fc.weight"][0, 0] = float("nan")


def nan_weights(tiny, folder):
    with_weights(tiny, folder, nan)


def weights_missing(tiny, folder):
    with_weights(tiny, folder, lambda tensors: tensors.pop("transformer.h.1.ln_1.weight"))


def weights_of_more_layers(tiny, folder):
    with_weights(tiny, folder, lambda t: t.update({"transformer.h.2.ln_1.weight": torch.ones(48)}))


def weights_of_another_shape(tiny, folder):
    edit(copied(tiny, folder) / "config.json", lambda data: data.update(n_positions=7))


def adapter_without_prefix(tiny, folder):
    with_adapter(
        tiny, folder, lambda t: {k.removeprefix("base_model.model."): v for k, v in t.items()}
    )


def adapter_of_half(tiny, folder):
    with_adapter(tiny, folder, lambda t: {k: v for k, v in t.items() if ".h.1." not in k})


def adapter_with_too_much(tiny, folder):
    extra = "base_model.model.transformer.h.0.attn.c_proj.lora_A.weight"
    with_adapter(tiny, folder, lambda t: t | {extra: torch.ones(4, 48)})


def adapter_with_nan(tiny, folder):
    with_adapter(tiny, folder, lambda t: {k: v * float("nan") for k, v in t.items()})


def prompt_tuning(tiny, folder):
    with_adapter(tiny, folder, config=PromptTuningConfig("CAUSAL_LM", num_virtual_tokens=4))


def prefix_tuning(tiny, folder):
    with_adapter(tiny, folder, config=PrefixTuningConfig("CAUSAL_LM", num_virtual_tokens=4))


def adapter_of_a_drawn_start(tiny, folder):
    with_adapter(tiny, folder, config=lora(init_lora_weights="pissa_niter_4"))


def adapter_of_other_weights(tiny, folder):
    with_adapter(tiny, folder)
    (folder / adapters.RECORD).write_text('{"format": 1, "weights_sha256": "0"}')


def adapter_without_base(tiny, folder):
    with_adapter(tiny, folder)
    edit(folder / "adapter_config.json", lambda data: data.pop("base_model_name_or_path"))


def adapter_of_itself(tiny, folder):
    with_adapter(tiny, folder)
    name = {"base_model_name_or_path": str(folder)}
    edit(folder / "adapter_config.json", lambda data: data.update(name))


def tokenizer_of_more_tokens(tiny, folder):
    copied(tiny, folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)


def other_end_of_text(tiny, folder):
    edit(copied(tiny, folder) / "config.json", lambda data: data.update(eos_token_id=17))


def end_of_text_that_is_no_token(tiny, folder):
    edit(copied(tiny, folder) / "config.json", lambda data: data.update(eos_token_id="x"))


def norms_without_a_number(tiny, folder):
    bad = {"layer_norm_epsilon": float("nan")}
    edit(copied(tiny, folder) / "config.json", lambda data: data.update(bad))


def config_with_a_name_twice(tiny, folder):
    file = copied(tiny, folder) / "config.json"
    file.write_text(file.read_text().rstrip().removesuffix("}") + ', "n_head": 2}')


BROKEN_MODELS = {
    nan_weights: "finite weights, got NaN or infinity in transformer.h.1.mlp.c_fc.weight",
    weights_missing: "1 are missing, such as transformer.h.1.ln_1.weight",
    weights_of_more_layers: "belong to no module of it, as transformer.h.2.ln_1.weight",
    weights_of_another_shape: "1 have others, as transformer.wpe.weight: .* instead of \\(7, 48\\)",
    adapter_without_prefix: "weights found no module",
    adapter_of_half: "modules found no weights",
    adapter_with_too_much: "weights found no module",
    adapter_with_nan: "finite weights, got NaN",
    prompt_tuning: "an adapter that can be merged, as LoRA, got PROMPT_TUNING",
    prefix_tuning: "an adapter that can be merged, as LoRA, got PREFIX_TUNING",
    adapter_of_a_drawn_start: "of pissa_niter_4, which takes part of it out by random numbers",
    adapter_of_other_weights: "the base model that the adapter was trained on",
    adapter_without_base: "found no base_model_name_or_path",
    adapter_of_itself: "got the adapter itself",
    tokenizer_of_more_tokens: "got '\\[PAD\\]' as token 1000",
    other_end_of_text: "expected one end of text, got token 0 by the tokenizer and 17",
    end_of_text_that_is_no_token: "a config.json of a model, got .*'eos_token_id' with value 'x'",
    norms_without_a_number: "layer_norm_epsilon in config.json, got nan",
    config_with_a_name_twice: "config.json of a model, got .*'n_head' is there twice",
}
# What the pair builder reads of a model is its tokenizer and its config.
OF_TOKENIZERS = {
    adapter_without_base,
    adapter_of_itself,
    tokenizer_of_more_tokens,
    other_end_of_text,
    end_of_text_that_is_no_token,
    norms_without_a_number,
    config_with_a_name_twice,
}


@pytest.fixture(scope="module")
def material(tmp_path_factory, tiny_model_dir, articles_file):
    """A folder with pairs and circuits of the tiny model, and a run of two checkpoints of it."""
    folder = tmp_path_factory.mktemp("material")
    common = ["--model_path", tiny_model_dir, "--quiet", "--output_dir", str(folder / "out")]
    pairs = ["--pairs", str(folder / "pairs.jsonl")]
    main(
        "create_causal_summarization_data",
        *common,
        "--dataset",
        articles_file,
        "--output",
        pairs[1],
    )
    for name, metric in (("C", "kl"), ("other", "nll")):
        words = ["--metric", metric, "--fraction", "0.3", "--resamples", "0"]
        output = ["--output", str(folder / f"{name}.json")]
        main("extract_summarization_circuit", *common, *pairs, *words, *output, "--batch_size", "4")
    circuit = json.loads((folder / "C.json").read_text())
    del circuit["metadata"]["weights_sha256"]
    (folder / "plain.json").write_text(json.dumps(circuit))  # of no weights: it may be of any
    return folder


def main(name: str, *words) -> None:
    import_module(name).main([str(word) for word in words])


@dataclass(frozen=True)
class Bench:
    """What scripts are tried with: pairs and circuits of the tiny model, articles, the model."""

    material: Path
    articles: str
    tiny: str


@pytest.fixture(scope="module")
def bench(material, articles_file, tiny_model_dir):
    return Bench(material, articles_file, tiny_model_dir)


def with_model(name: str, model, bench: Bench, out: Path) -> None:
    """Run a script with a model where it takes one."""
    material, tiny = bench.material, bench.tiny
    data = ["--dataset", bench.articles, "--max_examples", "3"]
    pairs = ["--pairs", material / "pairs_eval.jsonl"]
    words = {
        "create_causal_summarization_data": ["--model_path", model, *data, "--output", out / "p"],
        "run_finetuning_with_checkpoints": ["--model_path", model, *data, "--max_steps", "1"],
        "extract_summarization_circuit": [
            *("--model_path", model, "--pairs", material / "pairs.jsonl"),
            *("--output", out / "C.json"),
        ],
        "differential_analysis, base": ["--base_model_path", model, *data]
        + ["--finetuned_model_path", tiny],
        "differential_analysis, finetuned": ["--base_model_path", tiny, *data]
        + ["--finetuned_model_path", model],
        "evaluate_faithfulness": [
            "--circuit",
            material / "plain.json",
            "--model_path",
            model,
            *pairs,
        ],
        "evaluate_faithfulness, other": [
            *("--circuit", material / "C.json", "--model_path", tiny, *pairs),
            *("--other_model_path", model, "--fractions", "1", "--random_fractions", "1"),
            *("--cross_fractions", "1", "--n_random", "0"),
        ],
        "evaluate_robustness": ["--circuits", material / "plain.json", "--model_path", model]
        + ["--pairs", material / "pairs.jsonl"],
        "test_set_evaluation": ["--model_paths", model, *data],
        "run_peft_bakeoff": ["--model_path", model, *data, "--arms", "all"],
    }[name]
    main(name.partition(",")[0], *words, "--output_dir", out, "--quiet")


SCRIPTS = (
    "create_causal_summarization_data",
    "run_finetuning_with_checkpoints",
    "extract_summarization_circuit",
    "differential_analysis, base",
    "differential_analysis, finetuned",
    "evaluate_faithfulness",
    "evaluate_faithfulness, other",
    "evaluate_robustness",
    "test_set_evaluation",
    "run_peft_bakeoff",
)


@pytest.fixture(scope="module")
def broken(tmp_path_factory, tiny_model_dir):
    """{kind: folder of a model with this fault}."""
    parent = tmp_path_factory.mktemp("broken")
    folders = {}
    for make in BROKEN_MODELS:
        folders[make] = parent / make.__name__
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make(tiny_model_dir, folders[make])
    return folders


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", BROKEN_MODELS, ids=lambda kind: kind.__name__)
def test_every_script_refuses_every_broken_model(script, kind, broken, bench, tmp_path):
    if script == "create_causal_summarization_data" and kind not in OF_TOKENIZERS:
        pytest.skip("it reads no weights")
    with pytest.raises(InputError, match=BROKEN_MODELS[kind]) as refused:
        with_model(script, broken[kind], bench, tmp_path)
    assert "\n" not in str(refused.value).strip()
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert [name for name in left if "run." not in name] == []


def test_a_checkpoint_with_nan_is_refused_by_the_analysis_of_evolution(
    broken, material, tiny_model_dir, tmp_path
):
    words = run_of(material, tmp_path, [tiny_model_dir, broken[nan_weights]], "plain.json")
    with pytest.raises(InputError, match="finite weights"):
        main("analyze_circuit_evolution", *words)


def run_of(material: Path, folder: Path, models: list, circuit: str) -> list:
    """The words that analyse a run of these models as checkpoints, with this circuit of each."""
    (folder / "run").mkdir()
    (folder / "circuits").mkdir()
    (folder / "run" / "training.json").write_text('{"loss": [], "validation": []}')
    for step, model in enumerate(models):
        shutil.copytree(model, folder / "run" / f"checkpoint-{step}")
        shutil.copy(material / circuit, folder / "circuits" / f"C_step{step}.json")
    places = ["--circuits", folder / "circuits", "--training", folder / "run"]
    pairs = ["--pairs", material / "pairs_eval.jsonl", "--max_examples", "2", "--n_random", "0"]
    return [*places, *pairs, "--output_dir", folder / "out", "--quiet"]


# ---------------------------------------------------------------- circuits: faults by scripts


def in_graph_as(value):
    """A change of a circuit's file: what stands there for an edge that is, or is not, in it."""

    def change(circuit):
        for edge in circuit["edges"].values():
            edge["in_graph"] = value(edge["in_graph"])

    return change


def edges_to_scores(circuit):
    circuit["edges"] = {name: edge["score"] for name, edge in circuit["edges"].items()}


def first_edge(**values):
    def change(circuit):
        next(iter(circuit["edges"].values())).update(values)

    return change


def without_a_score(circuit):
    del next(iter(circuit["edges"].values()))["score"]


def an_edge_twice(circuit):
    circuit["edges"]["input->a0.h0"] = {"score": 1.0, "in_graph": True}


def with_metadata(**values):
    return lambda data: data["metadata"].update(values)


BROKEN_CIRCUITS = {
    "text": (in_graph_as(str), 'true or false for input->a0.h0<q>, got "'),
    "null": (in_graph_as(lambda true: true or None), "got null"),
    "two": (in_graph_as(lambda true: 2 * true), "got 2"),
    "scores": (edges_to_scores, "expected true or false"),
    "score is text": (first_edge(score="0.5"), 'a finite number as the score of .*, got "0.5"'),
    "score is true": (first_edge(score=True), "a finite number"),
    "score is NaN": (first_edge(score=float("nan")), "a finite number"),
    "a score missing": (without_a_score, "a score for every listed edge or for none"),
    "an edge twice": (an_edge_twice, "every edge once"),
    "layers no model has": (lambda data: data["cfg"].update(n_layers=10**9), "cfg.n_layers"),
    "layers as text": (lambda data: data["cfg"].update(n_layers="2"), "cfg.n_layers"),
    "sizes are a number": (with_metadata(sizes=5), "metadata.sizes"),
    "sizes without a number": (with_metadata(sizes={}), "metadata.sizes"),
    "sizes of nothing": (lambda c: c["metadata"]["sizes"].update(selected=-1), "metadata.sizes"),
    "more than all": (lambda c: c["metadata"]["sizes"].update(selected=10**6), "metadata.sizes"),
    "edges of no model": (
        with_metadata(consistent_edges=[10**6], selection="sign-consistent"),
        "metadata.consistent_edges",
    ),
    "edges as text": (with_metadata(consistent_edges="ab"), "metadata.consistent_edges"),
    "unknown selection": (with_metadata(selection="best"), 'metadata.selection .*, got "best"'),
    "threshold is null": (with_metadata(selection="threshold"), "metadata.threshold"),
    "hashes are text": (with_metadata(example_sha256="ab"), "metadata.example_sha256"),
    "hash is a list": (with_metadata(tokenizer_sha256=["ab"]), "metadata.tokenizer_sha256"),
    "metadata is a list": (lambda data: data.update(metadata=[5]), "metadata .*, got list"),
    "bootstrap is a number": (with_metadata(bootstrap=5), "metadata.bootstrap"),
    "score is huge": (first_edge(score=10**400), "a finite number"),
    "ids are no list": (
        lambda data: data["metadata"].update(example_ids="made-1"),
        "metadata.example_ids",
    ),
}


def with_circuit(name: str, circuit: Path, material: Path, articles_file, tiny, out: Path) -> None:
    """Run a script with a circuit where it takes one."""
    words = {
        "evaluate_faithfulness": ["--circuit", circuit, "--model_path", tiny]
        + ["--pairs", material / "pairs_eval.jsonl"],
        "evaluate_faithfulness, other": ["--circuit", material / "C.json", "--model_path", tiny]
        + ["--pairs", material / "pairs_eval.jsonl", "--other_circuit", circuit],
        "evaluate_robustness": ["--circuits", material / "C.json", circuit],
        "analyze_circuit_evolution": ["--circuits", material / "C.json", circuit],
        "run_peft_bakeoff": ["--model_path", tiny, "--dataset", articles_file, "--arms", "circuit"]
        + ["--layers_circuit", circuit, "--max_examples", "3", "--top_k", "1"],
    }[name]
    main(name.partition(",")[0], *words, "--output_dir", out, "--quiet")


READ_CIRCUITS = (
    "evaluate_faithfulness",
    "evaluate_faithfulness, other",
    "evaluate_robustness",
    "analyze_circuit_evolution",
    "run_peft_bakeoff",
)


@pytest.mark.parametrize("script", READ_CIRCUITS)
@pytest.mark.parametrize("kind", BROKEN_CIRCUITS)
def test_every_script_refuses_every_broken_circuit(
    script, kind, material, articles_file, tiny_model_dir, tmp_path
):
    change, words = BROKEN_CIRCUITS[kind]
    shutil.copy(material / "C.json", tmp_path / "broken.json")
    edit(tmp_path / "broken.json", change)
    with pytest.raises(InputError, match=words):
        with_circuit(
            script,
            tmp_path / "broken.json",
            material,
            articles_file,
            tiny_model_dir,
            tmp_path / "o",
        )


def test_an_edge_named_twice_is_refused_and_null_is_nothing(material, tmp_path):
    text = (material / "C.json").read_text()
    edge = '"input->a0.h0<q>": {"score": 1.0, "in_graph": false}, '
    (tmp_path / "twice.json").write_text(text.replace('"edges": {', '"edges": {' + edge))
    with pytest.raises(InputError, match="'input->a0.h0<q>' is there twice"):
        load_circuit(tmp_path / "twice.json")
    written = json.loads(text)
    written["metadata"].update(sizes=None, example_sha256=None, bootstrap=None)
    (tmp_path / "null.json").write_text(json.dumps(written), encoding="utf-8-sig")
    circuit = load_circuit(tmp_path / "null.json")
    assert circuit.rule.n == int(circuit.in_graph.sum()) and not circuit.rule.prunes


def test_booleans_of_other_tools_are_read_as_what_they_are(material, tmp_path):
    truth = load_circuit(material / "C.json")
    shutil.copy(material / "C.json", tmp_path / "numbers.json")
    edit(tmp_path / "numbers.json", in_graph_as(int))
    assert torch.equal(load_circuit(tmp_path / "numbers.json").in_graph, truth.in_graph)
    assert 0 < int(truth.in_graph.sum()) < truth.graph.n_edges


def test_a_circuit_of_neurons_is_not_read_as_one_of_whole_nodes(material, tmp_path):
    """EAP-IG's JSON has a list of true and false beside a node's `in_graph`."""
    truth = load_circuit(material / "C.json")
    source = truth.graph.edges[int(truth.in_graph.nonzero()[0, 0])].split("->")[0]

    def neurons(*values):
        shutil.copy(material / "C.json", tmp_path / "C.json")
        edit(tmp_path / "C.json", lambda data: data["nodes"][source].update(neurons=values))
        return load_circuit(tmp_path / "C.json")

    assert torch.equal(neurons(True, True).in_graph, truth.in_graph)
    with pytest.raises(InputError, match=f"leaves out neurons of {source}"):
        neurons(True, False)


def test_the_dialect_of_finetune_circuits_is_read(material, tiny_model_dir, tmp_path):
    """Only the circuit's edges, q, k and v as one; no d_model. By hand: all slots of each edge."""
    circuit = load_circuit(material / "C.json")
    kept = [circuit.graph.edges[i] for i in circuit.in_graph.nonzero()[:, 0]]
    edges = {name.partition("<")[0]: {"score": 0.3, "in_graph": True} for name in kept}
    cfg = {"n_layers": 2, "n_heads": 4, "parallel_attn_mlp": False}
    written = {"cfg": cfg, "nodes": {"input": True, "logits": True}, "edges": edges}
    (tmp_path / "F.json").write_text(json.dumps(written))
    read = load_circuit(tmp_path / "F.json")
    in_graph = [name.partition("<")[0] in edges for name in read.graph.edges]
    assert read.in_graph.tolist() == in_graph and sum(in_graph) > len(kept)
    slots = [0.1 if "<" in name else 0.3 for name in read.graph.edges]
    expected = torch.tensor(slots).double() * read.in_graph
    torch.testing.assert_close(read.scores, expected)
    words = ["--circuits", tmp_path / "F.json", material / "C.json", "--resamples", "20", "--quiet"]
    main("evaluate_robustness", *words, "--output_dir", tmp_path / "r")
    sizes = json.loads((tmp_path / "r" / "robustness.json").read_text())["circuits"]
    assert sizes[0]["size"] == sum(in_graph)
    wide = json.loads((tmp_path / "F.json").read_text()) | {"cfg": cfg | {"d_model": 64}}
    (tmp_path / "wide.json").write_text(json.dumps(wide))
    with pytest.raises(InputError, match="one model shape"):
        opening.load_circuits([tmp_path / "wide.json", tmp_path / "F.json", material / "C.json"])


@pytest.mark.parametrize("script", ["evaluate_robustness", "analyze_circuit_evolution"])
@pytest.mark.parametrize("kind", ["recorded", "not recorded", "one example less", "other edges"])
def test_scores_of_another_extraction_are_refused(
    script, kind, material, articles_file, tiny_model_dir, tmp_path
):
    circuit, beside = tmp_path / "S.json", tmp_path / "S.examples.safetensors"
    shutil.copy(material / "other.json", circuit)
    scores = load_file(material / "C.examples.safetensors")
    if kind == "one example less":
        scores = {name: tensor[1:].contiguous() for name, tensor in scores.items()}
    if kind == "other edges":
        scores["scores"] = scores["scores"][:, 1:].contiguous()
    save_file(scores, beside)
    if kind != "recorded":
        edit(circuit, lambda data: data["metadata"].pop("examples_sha256"))
    with pytest.raises(InputError, match="per-example scores of .*S.json, got"):
        with_circuit(script, circuit, material, articles_file, tiny_model_dir, tmp_path / "o")


def test_scores_that_are_the_circuits_are_used_with_and_without_a_record(material, tmp_path):
    for name in ("C.json", "C.examples.safetensors"):
        shutil.copy(material / name, tmp_path / name)
    for _ in range(2):
        circuit = load_circuit(tmp_path / "C.json")
        scores = opening.example_scores(tmp_path / "C.json", circuit)
        torch.testing.assert_close(scores.double().mean(0), circuit.scores)
        edit(tmp_path / "C.json", lambda data: data["metadata"].pop("examples_sha256", None))


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory, tiny_model_dir):
    """The tiny model with one number changed."""
    folder = tmp_path_factory.mktemp("other") / "model"
    with_weights(tiny_model_dir, folder, lambda t: t["transformer.ln_f.bias"].add_(1e-3))
    return folder


@pytest.mark.parametrize(
    "script", ["evaluate_faithfulness", "evaluate_robustness", "other circuit", "evolution"]
)
def test_a_circuit_belongs_to_its_weights(
    script, material, other_weights, tiny_model_dir, tmp_path
):
    circuit, pairs = material / "C.json", ["--pairs", material / "pairs_eval.jsonl"]
    out = ["--output_dir", tmp_path / "out", "--quiet"]
    with pytest.raises(
        InputError, match="expected the model that .* was found in, got other weights"
    ):
        if script == "evolution":
            models = [tiny_model_dir, other_weights]
            main("analyze_circuit_evolution", *run_of(material, tmp_path, models, "C.json"))
        elif script == "other circuit":
            shutil.copy(circuit, tmp_path / "D.json")
            words = ["--circuit", circuit, "--model_path", tiny_model_dir, *pairs]
            other = ["--other_circuit", tmp_path / "D.json", "--other_model_path", other_weights]
            main("evaluate_faithfulness", *words, *other, *out)
        else:
            flag = "--circuits" if script == "evaluate_robustness" else "--circuit"
            main(script, flag, circuit, "--model_path", other_weights, *pairs, *out)


def test_a_circuit_belongs_to_its_models_configuration_where_its_file_has_that(
    material, tiny_model_dir, tmp_path
):
    relu = with_config(tiny_model_dir, tmp_path / "relu", activation_function="relu")
    circuit, quiet = load_circuit(material / "C.json"), Console(quiet=True)
    opening.require_own_weights(circuit, "C.json", name=tiny_model_dir, console=quiet)
    with pytest.raises(InputError, match="C.json was found in, got its weights with another"):
        opening.require_own_weights(circuit, "C.json", name=relu, console=quiet)
    older = circuit.noting(config_sha256=None)
    opening.require_own_weights(older, "C.json", name=relu, console=quiet)


@pytest.mark.parametrize("script", ["evaluate_faithfulness", "analyze_circuit_evolution"])
def test_one_model_is_in_memory_at_a_time(script, material, tiny_model_dir, tmp_path, monkeypatch):
    opened, open_adapted = [], opening.open_adapted

    def watched(*words, **named):
        gc.collect()
        assert [model for model in opened if model() is not None] == []
        adapter, tokenizer = open_adapted(*words, **named)
        opened.append(weakref.ref(adapter.model))
        return adapter, tokenizer

    monkeypatch.setattr(opening, "open_adapted", watched)
    words = run_of(material, tmp_path, [tiny_model_dir, tiny_model_dir], "C.json")
    if script == "evaluate_faithfulness":
        words = ["--circuit", material / "C.json", "--pairs", material / "pairs_eval.jsonl"]
        words += ["--model_path", tiny_model_dir, "--other_model_path", tiny_model_dir]
        words += ["--fractions", "1", "--random_fractions", "1", "--cross_fractions", "1"]
        words += ["--n_random", "0", "--max_examples", "2", "--output_dir", tmp_path, "--quiet"]
    main(script, *words)
    assert len(opened) == 2


def test_a_circuit_without_a_record_of_its_weights_is_run_with_a_word(
    material, tiny_model_dir, capsys
):
    for name, note in (("C", ""), ("plain", "does not say in which weights it was found")):
        circuit = load_circuit(material / f"{name}.json")
        opening.require_own_weights(circuit, name, name=tiny_model_dir, console=Console())
        assert note in capsys.readouterr().out


# ---------------------------------------------------------------- tokenizers


def used(tiny: str, folder: Path) -> str:
    """The tiny model with all the state in its tokenizer that a user may have left there."""
    copied(tiny, folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.backend_tokenizer.enable_truncation(8, direction="left")
    tokenizer.backend_tokenizer.enable_padding(length=16, direction="left")
    tokenizer.save_pretrained(folder)
    state = {"padding_side": "left", "truncation_side": "left", "model_max_length": 16}
    state |= {"clean_up_tokenization_spaces": True, "add_bos_token": True, "add_eos_token": True}
    edit(folder / "tokenizer_config.json", lambda data: data.update(state))
    edit(folder / "tokenizer.json", lambda data: data["model"].update(dropout=0.5))
    raw = json.loads((folder / "tokenizer.json").read_text())
    assert raw["truncation"] and raw["padding"]
    return str(folder)


def by_hand(model, tokenizer, row: dict) -> float:
    """Nats per summary token of one example, by the definition: no batch, no padding."""
    made = prompt.build(tokenizer, row["article"], highlights=row["highlights"], max_length=320)
    with torch.no_grad():
        log_p = model(torch.tensor([made.ids])).logits[0].log_softmax(-1)
    places = range(made.summary_start, len(made.ids))
    return -sum(float(log_p[place - 1, made.ids[place]]) for place in places) / len(places)


@pytest.fixture(scope="module")
def uneven(articles, tmp_path_factory):
    """(rows whose articles differ much in length, their file)."""
    rows = []
    for number, row in enumerate(articles):
        words = row["article"].split()[: 30 + 12 * number]
        rows.append(row | {"article": " ".join(words)})
    path = tmp_path_factory.mktemp("uneven") / "articles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows, path


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_nll_depends_neither_on_the_batch_nor_on_the_side_of_padding(
    side, batch_size, uneven, tiny_model_dir
):
    model, tokenizer = opening.open_for_texts(tiny_model_dir, torch.float64, device="cpu")
    expected = [by_hand(model, tokenizer, row) for row in uneven[0]]
    tokenizer.padding_side = side  # as a caller of the library may leave it
    data = examples.encode(uneven[0], tokenizer, max_length=320).data
    nll = examples.summary_nll(model, data, tokenizer=tokenizer, batch_size=batch_size)
    np.testing.assert_allclose(nll, expected, rtol=0, atol=1e-5)  # the loss is in float32


@pytest.fixture(scope="module")
def expected_nll(uneven, tiny_model_dir):
    """NLL of the uneven rows by the definition, with the tokenizer as it was made."""
    model, tokenizer = opening.open_for_texts(tiny_model_dir, torch.float64, device="cpu")
    return [by_hand(model, tokenizer, row) for row in uneven[0]]


@pytest.fixture(scope="module")
def used_model(tiny_model_dir, tmp_path_factory):
    return used(tiny_model_dir, tmp_path_factory.mktemp("used") / "used")


@pytest.mark.parametrize("batch_size", [1, 5])
def test_rouge_of_a_used_tokenizer(batch_size, used_model, uneven, expected_nll, tmp_path):
    words = [
        "--model_paths",
        used_model,
        "--dataset",
        uneven[1],
        "--max_new_tokens",
        "2",
        "--quiet",
    ]
    main("test_set_evaluation", *words, "--batch_size", batch_size, "--output_dir", tmp_path)
    rows = [
        json.loads(line)
        for line in Path(tmp_path / "generated.used.jsonl").read_text().splitlines()
    ]
    by_id = {row["id"]: row["nll_nats"] for row in rows}
    nll = [by_id[row["id"]] for row in uneven[0]]
    np.testing.assert_allclose(nll, expected_nll, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_fine_tuning_with_a_used_tokenizer(
    batch_size, used_model, tiny_model_dir, uneven, tmp_path
):
    """Validation NLL and training loss before any step are those of the tokenizer as made."""
    losses = []
    for model in (tiny_model_dir, used_model):
        out = tmp_path / Path(model).name
        words = ["--model_path", model, "--dataset", uneven[1], "--max_steps", "1", "--quiet"]
        words += ["--subset_train_size", "6", "--validation_size", "6", "--probe_examples", "0"]
        main(
            "run_finetuning_with_checkpoints",
            *words,
            "--batch_size",
            batch_size,
            "--output_dir",
            out,
        )
        training = json.loads((out / "training.json").read_text())
        losses.append(
            [training["validation"][0]["nll_nats_per_token"], training["loss"][0]["loss"]]
        )
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)


def test_the_bakeoff_with_a_used_tokenizer(used_model, uneven, expected_nll, tmp_path):
    words = ["--model_path", used_model, "--dataset", uneven[1], "--arms", "none", "--seeds", "1"]
    words += ["--max_new_tokens", "2", "--max_examples", "4", "--subset_train_size", "6", "--quiet"]
    main("run_peft_bakeoff", *words, "--batch_size", "4", "--output_dir", tmp_path)
    rows = [
        json.loads(line)
        for line in Path(tmp_path / "none" / "seed-0" / "texts.jsonl").read_text().splitlines()
    ]
    expected = {row["id"]: nll for row, nll in zip(uneven[0], expected_nll, strict=True)}
    measured = [row["nll_nats"] for row in rows]
    np.testing.assert_allclose(measured, [expected[row["id"]] for row in rows], atol=1e-4)


def test_pairs_and_circuits_of_a_used_tokenizer(used_model, uneven, expected_nll, tmp_path):
    """The metric nll on clean inputs is the NLL of the summaries, in batches of any size."""
    common = ["--model_path", used_model, "--quiet", "--output_dir", tmp_path / "out"]
    pairs = tmp_path / "pairs.jsonl"
    words = ["--dataset", uneven[1], "--output", pairs, "--eval_fraction", "0"]
    main("create_causal_summarization_data", *common, *words)
    expected = {str(row["id"]): nll for row, nll in zip(uneven[0], expected_nll, strict=True)}
    ids = [json.loads(line)["id"] for line in Path(pairs).read_text().splitlines()]
    for batch_size in (1, 5):
        output = tmp_path / f"C{batch_size}.json"
        words = ["--pairs", pairs, "--metric", "nll", "--resamples", "0", "--output", output]
        main("extract_summarization_circuit", *common, *words, "--batch_size", batch_size)
        clean = load_file(output.with_suffix(".examples.safetensors"))["clean"]
        np.testing.assert_allclose(clean, [expected[name] for name in ids], atol=1e-4)


def test_a_tokenizer_of_the_older_format_is_read_as_transformers_reads_it(
    tiny_model_dir, articles, articles_file, tmp_path
):
    slow = copied(tiny_model_dir, tmp_path / "slow")
    AutoTokenizer.from_pretrained(tiny_model_dir).backend_tokenizer.model.save(str(slow))
    (slow / "tokenizer.json").unlink()
    (slow / "tokenizer_config.json").unlink()
    assert (slow / "vocab.json").is_file() and (slow / "merges.txt").is_file()
    ours = opening.load_tokenizer(str(slow))
    theirs = AutoTokenizer.from_pretrained(slow)
    fast = opening.load_tokenizer(tiny_model_dir)
    for row in articles:
        text = row["article"]
        ids = prompt.encode(ours, text)
        assert (
            ids == theirs(text, add_special_tokens=False)["input_ids"] == prompt.encode(fast, text)
        )
    assert ours.eos_token_id == 0
    words = ["--dataset", articles_file, "--output", tmp_path / "p.jsonl", "--quiet"]
    main("create_causal_summarization_data", "--model_path", slow, *words, "--output_dir", tmp_path)
    words = ["--model_paths", slow, "--dataset", articles_file, "--max_examples", "2", "--quiet"]
    main("test_set_evaluation", *words, "--max_new_tokens", "2", "--output_dir", tmp_path / "rouge")


def test_a_config_that_asks_for_tuples_and_states_changes_nothing(tiny_model_dir, tmp_path):
    folder = copied(tiny_model_dir, tmp_path / "asks")
    wishes = {"output_hidden_states": True, "output_attentions": True, "return_dict": False}
    edit(folder / "config.json", lambda data: data.update(wishes))
    plain = opening.load_model(str(tiny_model_dir), torch.float32, device="cpu")
    asks = opening.load_model(str(folder), torch.float32, device="cpu")
    with torch.no_grad():
        assert torch.equal(asks(IDS).logits, plain(IDS).logits)
        assert asks(IDS).hidden_states is None


def test_an_adapter_in_the_folder_of_a_whole_model_is_neither(tiny_model_dir, tmp_path):
    folder = tmp_path / "both"
    shutil.copytree(tiny_model_dir, folder)
    wrapped = get_peft_model(GPT2LMHeadModel.from_pretrained(tiny_model_dir), lora())
    wrapped.save_pretrained(folder)
    with pytest.raises(InputError, match="a model or an adapter"):
        opening.load_model(str(folder), torch.float32, device="cpu")
