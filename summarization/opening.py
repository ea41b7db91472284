"""Models and tokenizers, opened: a causal language model with all of its weights, an adapter merged into its base, a tokenizer."""

import hashlib
import json
import warnings
from pathlib import Path

from eap import InputError
from summarization.hub import TOKENIZERS, model_folder, resolve_model
from summarization.runs import read_json


def load_model(name: str, dtype, device, attn_implementation: str = "sdpa"):
    """A causal language model in eval mode on `device`; a LoRA adapter folder comes back merged into its base model.

    Raises InputError as `resolve_model` does, and when the folder holds no causal language model or not all of its weights.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    silence_transformers()
    source = model_folder(name)
    adapter = source / "adapter_config.json"
    if adapter.is_file():
        from peft import PeftModel

        base = base_of_adapter(adapter)
        with warnings.catch_warnings():  # peft still asks by a name that transformers has renamed
            warnings.filterwarnings(
                "ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning
            )
            model = PeftModel.from_pretrained(
                load_model(base, dtype, device, attn_implementation), source
            ).merge_and_unload()
        return model.requires_grad_(True).to(device).eval()  # peft froze the base
    require_architecture(name, source)
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            str(source),
            dtype=dtype,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"--model_path {name}: expected a causal language model in safetensors that fits its config.json, got "
            f"{_first_words(error)}; save it again with save_pretrained"
        ) from error
    if loading["missing_keys"]:
        lacking = sorted(loading["missing_keys"])
        raise InputError(
            f"--model_path {name}: expected all weights, {len(lacking)} are missing, as {lacking[0]}; save the model again"
        )
    return fuse_gelu(model).to(device).eval()


def require_architecture(name: str, source: Path) -> None:
    """Raise InputError unless the model is of an architecture that `eap.models` knows, or its config.json cannot be read."""
    from transformers import AutoConfig

    from eap.models import ARCHITECTURES

    try:
        kind = AutoConfig.from_pretrained(str(source)).model_type
    except Exception as error:  # transformers', the Hub's and json's errors have no common kind
        raise InputError(
            f"--model_path {name}: expected a config.json of a model, got {_first_words(error)}; "
            "save it again with save_pretrained"
        ) from error
    if kind not in ARCHITECTURES:
        raise InputError(
            f"--model_path {name}: expected a model of type {', '.join(ARCHITECTURES)}, got {kind}; there is no adapter for "
            "it in eap/models yet"
        )


def _first_words(error: Exception) -> str:
    """An error's kind and the first line of what it says, 200 characters at most."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def fuse_gelu(model):
    """The model, with transformers' `gelu_new` (eight passes over memory) computed by torch's kernel of the same function (one).

    Numbers agree to a rounding error; the configuration still says `gelu_new`, so that what is saved loads anywhere.
    """
    from torch.nn import GELU
    from transformers.activations import NewGELUActivation

    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, GELU(approximate="tanh"))
    return model


def silence_transformers() -> None:
    """No progress bars and no notes from transformers: what they would say of weights that are missing is an error of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def base_name(name: str) -> str:
    """The name under which plain peft finds the base model of an adapter from any folder: an absolute path, or the Hub id."""
    source = resolve_model(name)
    return str(Path(source).resolve()) if Path(source).is_dir() else source


def load_tokenizer(name: str):
    """The tokenizer that belongs to a model, or None if its folder has none. Padding is the end-of-text token, on the right.

    Raises InputError for one that cannot be read.
    """
    source = model_folder(name, weights=False)
    if not any((source / file).is_file() for file in TOKENIZERS):
        return _base_tokenizer(source)
    tokenizer = read_tokenizer(str(source))
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def read_tokenizer(source: str):
    """The tokenizer in a folder, which needs no weights, or on the Hub. Raises InputError for one that cannot be read."""
    from transformers import AutoTokenizer

    silence_transformers()
    try:
        return AutoTokenizer.from_pretrained(source)
    except Exception as error:  # json's, tokenizers' and transformers' errors have no common kind
        raise InputError(
            f"--model_path {source}: expected a tokenizer, got {_first_words(error)}; save it again with save_pretrained"
        ) from error


def _base_tokenizer(source: Path):
    """The tokenizer of the base model of a LoRA adapter folder that holds none of its own; None for any other folder."""
    adapter = source / "adapter_config.json"
    if not adapter.is_file():
        return None
    return load_tokenizer(base_of_adapter(adapter))


def base_of_adapter(config: Path) -> str:
    """The base model that an adapter_config.json names. Raises InputError if it is no longer there, naming the file to mend."""
    base = read_json(config, "LoRA adapter configuration")["base_model_name_or_path"]
    if base != "demo" and Path(base).is_absolute() and not Path(base).is_dir():
        raise InputError(
            f"{config}: expected its base model at {base}, found no such folder; write its new place there"
        )
    return base


def tokenizer_sha256(tokenizer) -> str | None:
    """SHA-256 of a tokenizer's vocabulary, the same however and wherever the tokenizer was saved; None for None."""
    if tokenizer is None:
        return None
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()
