"""Whether a folder holds an adapter, and which model it was trained on: by its JSON alone."""

from pathlib import Path

from eap import InputError
from runs import disk
from runs.hub import model_folder

CONFIG = "adapter_config.json"


def is_adapter(folder) -> bool:
    """Whether a folder holds an adapter, and not a whole model."""
    return (Path(folder) / CONFIG).is_file()


def base_of_adapter(config: Path) -> str:
    """The base model that an adapter_config.json names.

    Raises InputError, naming the file to fix, if none is named, if it is no longer there, or if
    following the names leads back to this adapter.
    """
    seen, here = [], config
    while True:
        if here.resolve() in seen:
            raise InputError(
                f"{config}: expected a base model, got the adapter itself; write there the model "
                "that it was trained on"
            )
        seen.append(here.resolve())
        base = _named_base(here)
        here = Path(base) / CONFIG
        if base == "demo" or not here.is_file():
            return _named_base(config)


def _named_base(config: Path) -> str:
    base = disk.read_json(config, "LoRA adapter configuration").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise InputError(
            f"{config}: expected the name of its base model, found no base_model_name_or_path; "
            "write it there"
        )
    if base != "demo" and Path(base).is_absolute() and not Path(base).is_dir():
        raise InputError(
            f"{config}: expected its base model at {base}, found no such folder; write its new "
            "place there"
        )
    return base


def root_of(name: str) -> str:
    """The whole model that a `--model_path` comes down to: itself, or an adapter's last base."""
    source = model_folder(name, weights=False)
    while is_adapter(source):
        source = model_folder(base_of_adapter(source / CONFIG), weights=False)
    return str(source)
