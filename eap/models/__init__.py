"""Where each part of an architecture reads and writes the residual stream: one file per architecture, one line in the table."""

from eap import InputError
from eap.models.gpt2 import GPT2

ARCHITECTURES = {"gpt2": GPT2}


def adapt(model):
    """The adapter of a transformers model: its graph, its parts and their weights. Raises InputError for an unknown architecture."""
    kind = getattr(model.config, "model_type", type(model).__name__)
    if kind not in ARCHITECTURES:
        raise InputError(
            f"expected a model of type {', '.join(ARCHITECTURES)}, got {kind}; there is no adapter for it in eap/models yet"
        )
    return ARCHITECTURES[kind](model)
