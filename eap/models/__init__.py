"""Where each part of an architecture reads and writes the residual stream: one file per architecture, one line in the table."""

from eap import InputError
from eap.models.gpt2 import GPT2

ARCHITECTURES = {"gpt2": GPT2}


def adapt(model):
    """The adapter of a transformers model: its graph, its parts and their weights.

    Raises InputError for an unknown architecture, and for a model with adapters of peft that are not
    merged: its parts' weights are not what they compute with.
    """
    _require_merged(model)
    kind = getattr(model.config, "model_type", type(model).__name__)
    if kind not in ARCHITECTURES:
        raise InputError(
            f"expected a model of type {', '.join(ARCHITECTURES)}, got {kind}; there is no adapter for it in eap/models yet"
        )
    return ARCHITECTURES[kind](model)


def _require_merged(model) -> None:
    """Raise InputError if peft's layers stand in a model unmerged, or its states before the text."""
    for name, module in model.named_modules():
        wrapped = hasattr(module, "base_layer") and not getattr(module, "merged", False)
        kept_apart = hasattr(module, "original_module")  # of modules_to_save
        if wrapped or kept_apart or hasattr(module, "prompt_encoder"):
            raise InputError(
                f"expected a plain model, got an adapter that is not merged (in {name or 'the model'}); "
                "call merge_and_unload() and give what it returns"
            )
