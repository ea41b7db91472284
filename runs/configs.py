"""A model's config.json, read as transformers reads it and checked."""

from pathlib import Path

from eap import InputError
from runs import disk

EPSILONS = ("layer_norm_epsilon", "layer_norm_eps", "rms_norm_eps")  # of the families' norms


def read_config(name: str, source: Path, *, flag: str = "--model_path"):
    """What a model's config.json says, as transformers reads it.

    Raises InputError for one that cannot be read, names a thing twice, or has numbers with which
    no model computes.
    """
    from transformers import AutoConfig

    if (file := Path(source) / "config.json").is_file():
        disk.read_json(file, "config.json of a model")
    try:
        config = AutoConfig.from_pretrained(str(source))
    except Exception as error:  # transformers', the Hub's and json's errors have no common kind
        raise InputError(
            f"{flag} {name}: expected a config.json of a model, got {first_words(error)}; "
            "save it again with save_pretrained"
        ) from error
    for what in EPSILONS:
        value = getattr(config, what, 0.0)
        if not 0 <= value < float("inf"):
            raise InputError(
                f"{flag} {name}: expected a small number as {what} in config.json, got {value}; "
                "fix it, or save the model again with save_pretrained"
            )
    return config


def first_words(error: Exception) -> str:
    """An error's kind and the first line of what it says, 200 characters at most.

    Two lines where the first one only announces the second.
    """
    first, _, rest = str(error).strip().partition("\n")
    if first.endswith(":"):
        first = f"{first} {rest.strip().partition(chr(10))[0]}"
    return f"{type(error).__name__}: {first[:200]}"
