"""Weights: their SHA-256, however they were saved, and that all of them are finite."""

import functools
import hashlib
import json
from pathlib import Path

from eap import InputError
from runs import hub
from runs.bases import CONFIG, base_of_adapter, is_adapter, root_of
from runs.configs import read_config
from runs.disk import read_json
from runs.records import FORMER_MODEL_FILES, fingerprint

CHUNK = 2**24  # bytes read at a time
# What stands in a config.json and changes no forward pass in eval mode: how the model was saved,
# how it was initialised, how texts are written with it, and what else it may return.
NO_ARCHITECTURE = {
    *("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"),
    *("initializer_range", "gradient_checkpointing", "use_cache", "task_specific_params"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id"),
    *("forced_bos_token_id", "forced_eos_token_id", "prefix", "id2label", "label2id"),
    *("problem_type", "output_attentions", "output_hidden_states", "return_dict"),
    *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"),
    *("_attn_implementation", "_attn_implementation_autoset", "attn_implementation"),
}
DROPOUTS = ("dropout", "_pdrop", "_drop", "dropout_rate")  # they are off


def sha256(name: str) -> str:
    """SHA-256 of the weights that a `--model_path` names.

    Of every tensor's name, type, shape and bytes: not of the files, which another version of a
    library, or other shards, write differently, and not of what else lies in the folder. Of an
    adapter folder: the adapter's weights, its configuration, and its base's weights.
    """
    folder = hub.model_folder(name)
    if not is_adapter(folder):
        return _of_files(tuple(_stamp(file) for file in _model_files(folder)))
    config = read_json(folder / CONFIG, "LoRA adapter configuration")
    base = sha256(base_of_adapter(folder / CONFIG))
    options = {key: value for key, value in config.items() if key != "base_model_name_or_path"}
    own = _of_files((_stamp(folder / "adapter_model.safetensors"),))
    return hashlib.sha256(json.dumps([own, base, options], sort_keys=True).encode()).hexdigest()


def config_sha256(name: str) -> str:
    """SHA-256 of what config.json says of how the weights that a `--model_path` names are used.

    Two models with the same weights may still differ in their activation, rotary base or epsilon.
    What is as transformers has it by itself does not count, nor does what is no part of a forward
    pass in eval mode: so the same model saved by another version has the same. Of an adapter: its
    last base's, since its own configuration belongs to its `sha256`.
    """
    root = root_of(name)
    config = read_config(root, hub.model_folder(root, weights=False))
    counted = {
        key: value
        for key, value in config.to_diff_dict().items()
        if key not in NO_ARCHITECTURE and not key.endswith(DROPOUTS)
    }
    written = json.dumps({"model_type": config.model_type} | counted, sort_keys=True, default=str)
    return hashlib.sha256(written.encode()).hexdigest()


def are(recorded: str | None, name: str, *, config: str | None = None) -> bool:
    """Whether a recorded SHA-256 is of these weights, and `config`, if any, of their config.json.

    Files of version 0.1.0 recorded the fingerprint of the folder instead, which counts as well.
    """
    if recorded is None or (config is not None and config != config_sha256(name)):
        return False
    if recorded == sha256(name):
        return True
    folder = str(hub.model_folder(name))
    return recorded in (fingerprint(folder), fingerprint(folder, FORMER_MODEL_FILES))


def require_finite(model, name: str, *, flag: str) -> None:
    """Raise InputError naming the first weight that is NaN or infinite, as after divergence."""
    for what, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise InputError(
                f"{flag} {name}: expected finite weights, got NaN or infinity in {what}; the run "
                "that made them diverged: take an earlier checkpoint, or train again with a lower "
                "rate"
            )


def _model_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers reads from a folder."""
    return sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))


def of_a_model(folder: Path) -> bool:
    """Whether a folder holds the weights of a whole model."""
    return any(folder.glob("model*.safetensors"))


def _stamp(file: Path) -> tuple[str, int, int]:
    """A file's place, size and time of change: while these stay, so does its SHA-256."""
    about = file.stat()
    return str(file.resolve()), about.st_size, about.st_mtime_ns


@functools.cache
def _of_files(stamps: tuple) -> str:
    """SHA-256 of all tensors of some safetensors files, in the order of their names."""
    places = {}
    for file, size, _ in stamps:
        try:
            with open(file, "rb") as bytes_:
                length = int.from_bytes(bytes_.read(8), "little")
                header = json.loads(bytes_.read(min(length, size)))
        except ValueError as error:
            raise InputError(
                f"{file}: expected weights in safetensors, got something unreadable; save them "
                "again"
            ) from error
        for name, about in header.items():
            if name != "__metadata__":
                places[name] = (file, 8 + length, about)
    digest = hashlib.sha256()
    for name in sorted(places):
        file, start, about = places[name]
        digest.update(json.dumps([name, about["dtype"], about["shape"]]).encode())
        _add_bytes(digest, file, start=start, offsets=about["data_offsets"])
    return digest.hexdigest()


def _add_bytes(digest, file: str, *, start: int, offsets: list[int]) -> None:
    """Put a tensor's bytes into a digest."""
    left = offsets[1] - offsets[0]
    with open(file, "rb") as bytes_:
        bytes_.seek(start + offsets[0])
        while left > 0:
            chunk = bytes_.read(min(CHUNK, left))
            if not chunk:
                raise InputError(
                    f"{file}: expected whole weights, got a file cut short; copy it again"
                )
            digest.update(chunk)
            left -= len(chunk)
