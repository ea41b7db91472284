"""LoRA adapters, merged into the model they were trained on, and shown to be what was trained."""

import contextlib
import dataclasses
import warnings
from pathlib import Path

from eap import InputError
from runs import disk, weights
from runs.bases import CONFIG

WEIGHTS = "adapter_model.safetensors"
RECORD = "base_model.json"  # beside an adapter of ours: which weights it was trained on
PROBE_TOKENS = 64  # on so many tokens the merged model is compared with the unmerged one
TOLERANCE = 1e-4  # of the largest logit: merging rounds in float32, a wrong merge is far beyond


def record_base(folder, base: str, *, prompt: dict | None = None) -> None:
    """Write beside an adapter on which weights it was trained, and with which prompts."""
    record = {
        "format": 1,
        "weights_sha256": weights.sha256(base),
        "config_sha256": weights.config_sha256(base),
    }
    disk.write_json(Path(folder) / RECORD, record | ({"prompt": prompt} if prompt else {}))


def recorded_prompt(folder: Path) -> dict | None:
    """With which prompts an adapter was trained, by its record; None where that does not say."""
    record = folder / RECORD
    if not record.is_file():
        return None
    return disk.read_json(record, "record of an adapter's base").get("prompt")


def require_recorded_base(folder: Path, base: str) -> str | None:
    """A note where no record says so; InputError if the adapter was trained on another base."""
    record = folder / RECORD
    if not record.is_file():
        return (
            f"note: {folder} does not say on which weights it was trained, so whether {base} is "
            "their model was not checked"
        )
    about = disk.read_json(record, "record of an adapter's base")
    other = None
    if about.get("weights_sha256") != weights.sha256(base):
        other = "other weights"
    elif about.get("config_sha256") not in (None, weights.config_sha256(base)):
        other = "its weights with another config.json"
    if other:
        raise InputError(
            f"{folder / CONFIG}: expected the base model that the adapter was trained on, got "
            f"{other} at {base}; write there where the right one lies"
        )
    return None


def merge(folder: Path, base, *, label: str):
    """The plain model that the adapter in `folder` makes of `base`, its base model.

    Embeddings that are tied in the base and changed by the adapter are untied first: they were
    two functions in training. Raises InputError for an adapter that does not fit, whose weights do
    not all find their module (or modules their weights), that holds no finite numbers, or whose
    merged model does not compute what the unmerged one does.
    """
    config = _config(folder, label)
    saved = _saved(folder, label)
    tied = base.get_output_embeddings().weight is base.get_input_embeddings().weight
    if tied and _changes_embeddings(saved, base):
        _untie(base, config, label=label)
    with _one_line(label), _quiet():
        from peft import PeftModel

        wrapped = PeftModel.from_pretrained(base, folder, torch_device="cpu").eval()
    _require_all_loaded(wrapped, saved, label=label)
    if not hasattr(wrapped.base_model, "merge_and_unload"):
        raise InputError(
            f"{label}: expected an adapter that can be merged, as LoRA, got "
            f"{_kind(config)}; there is no plain model that does the same"
        )
    import torch

    probe = _probe(wrapped, config)
    with torch.no_grad(), _one_line(label), _quiet():
        trained = wrapped(**probe).logits
        merged = wrapped.merge_and_unload()
        computed = merged(**probe).logits
    difference, limit = (
        float((computed - trained).abs().max()),
        TOLERANCE * float(trained.abs().max()),
    )
    if not difference <= limit:
        raise InputError(
            f"{label}: expected a merged model that computes what the adapter does, got "
            f"logits {difference:.2g} apart; save the merged model with save_pretrained and give "
            "that"
        )
    return merged.requires_grad_(True)  # peft froze the base


def _kind(config) -> str:
    """The name that peft has for an adapter's method."""
    return config.peft_type.value


def _config(folder: Path, label: str):
    """The adapter's PeftConfig. Raises InputError for one that has no merged form, and for options
    that the installed peft does not know, which it would leave out with a warning.
    """
    written = disk.read_json(folder / CONFIG, "LoRA adapter configuration")
    with _one_line(label), _quiet():
        from peft import PeftConfig

        config = PeftConfig.from_pretrained(str(folder))
    known = {field.name for field in dataclasses.fields(config)}
    if unknown := sorted(name for name in set(written) - known if written[name]):
        raise InputError(
            f"{label}: expected options that the installed peft knows, got {unknown[0]} in "
            f"{CONFIG}; "
            "install the peft that saved it "
            f"({written.get('peft_version', 'its version is unknown')}), "
            "or give the merged model"
        )
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise InputError(
            f"{label}: expected an adapter that can be merged, as LoRA, got "
            f"{_kind(config)}, which puts states before the text; train a LoRA adapter "
            "instead"
        )
    start = str(getattr(config, "init_lora_weights", None))
    if start.startswith("pissa_niter"):
        raise InputError(
            f"{label}: expected an adapter that adds to its base as it lies there, got one of "
            f"{start}, which takes part of it out by random numbers, others at each loading; save "
            "it again with peft's path_initial_model_for_weight_conversion"
        )
    return config


def _saved(folder: Path, label: str) -> dict:
    """The adapter's weights as they were saved. Raises InputError if they are not finite."""
    from safetensors.torch import load_file

    if not (folder / WEIGHTS).is_file():
        raise InputError(
            f"{label}: expected the adapter's weights in {WEIGHTS}, found none; save it "
            "again with save_pretrained"
        )
    with _one_line(label):
        saved = load_file(folder / WEIGHTS)
    broken = [what for what, tensor in saved.items() if not tensor.isfinite().all()]
    if broken:
        raise InputError(
            f"{label}: expected finite weights, got NaN or infinity in {broken[0]}; "
            "train the adapter again with a lower rate"
        )
    return saved


def _changes_embeddings(saved: dict, base) -> bool:
    """Whether an adapter has weights of its own for the tokens' embedding or the unembedding.

    Single tokens that are trained do not count: peft keeps these tied.
    """
    ends = base.get_input_embeddings(), base.get_output_embeddings()
    names = {name.split(".")[-1] for name, module in base.named_modules() if module in ends}
    others = [what for what in saved if "trainable_tokens" not in what]
    return any(part in names for what in others for part in what.split("."))


def _untie(base, config, *, label: str) -> None:
    """Give the unembedding, which shares the embedding's tensor, one of its own."""
    import torch

    for option in ("ensure_weight_tying", "trainable_token_indices"):
        if getattr(config, option, None):
            raise InputError(
                f"{label}: expected an adapter that changes embedding and unembedding apart, got "
                f"{option}; save the merged model with save_pretrained and give that"
            )
    own = base.get_input_embeddings().weight.detach().clone()
    base.get_output_embeddings().weight = torch.nn.Parameter(own)
    base.config.tie_word_embeddings = False


def _require_all_loaded(wrapped, saved: dict, *, label: str) -> None:
    """Raise InputError unless what peft would save again is what was saved, and all of it."""
    import torch
    from peft import get_peft_model_state_dict

    with _quiet():  # AdaLoRA may leave a module no rank at all
        loaded = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    whole = wrapped.state_dict()
    lost = sorted(what for what in saved if what not in loaded and what not in whole)
    fresh = sorted(set(loaded) - set(saved))
    if lost or fresh:
        problem = (
            f"{len(lost)} of its {len(saved)} weights found no module, as {lost[0]}"
            if lost
            else f"{len(fresh)} modules found no weights, as {fresh[0]}"
        )
        raise InputError(
            f"{label}: expected an adapter whose weights all fit its base model, but "
            f"{problem}; save it again with peft's save_pretrained"
        )
    for what, tensor in saved.items():
        in_model = (loaded if what in loaded else whole)[what].detach().cpu()
        if in_model.shape != tensor.shape or not torch.equal(in_model.to(tensor.dtype), tensor):
            raise InputError(
                f"{label}: expected the adapter's weights as they were saved, got others "
                f"in {what}; save it again with peft's save_pretrained"
            )


def _probe(model, config) -> dict:
    """What a model is called with: ids from all over the vocabulary, and those that the adapter
    changes. An encoder-decoder's decoder reads them too.
    """
    import torch

    own = getattr(config, "trainable_token_indices", None) or []
    own = sorted(set().union(*own.values())) if isinstance(own, dict) else own
    spread = torch.linspace(0, model.config.vocab_size - 1, PROBE_TOKENS).long().tolist()
    most = getattr(model.config, "max_position_embeddings", None)  # T5's are relative
    ids = torch.tensor([[*own, *spread][:most]])
    if model.config.is_encoder_decoder:
        return {"input_ids": ids, "decoder_input_ids": ids}
    return {"input_ids": ids}


@contextlib.contextmanager
def _one_line(label: str):
    """Whatever peft, safetensors or torch raise, as an InputError of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # their errors have no common kind
        first = str(error).strip().split("\n")
        words = " ".join(first[:2])[:200]
        raise InputError(
            f"{label}: expected an adapter that fits its base model, got "
            f"{type(error).__name__}: {words}; save it again with peft's save_pretrained"
        ) from error


@contextlib.contextmanager
def _quiet():
    """No warnings: what they would say of weights and tied embeddings is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
