"""Weights: their SHA-256, however they were saved, and that all of them are finite."""

import functools
import hashlib
import json
from pathlib import Path

from eap import InputError
from runs import hub
from runs.disk import read_json
from runs.records import FORMER_MODEL_FILES, fingerprint

CHUNK = 2**24  # bytes read at a time


def sha256(name: str) -> str:
    """SHA-256 of the weights that a `--model_path` names.

    Of every tensor's name, type, shape and bytes: not of the files, which another version of a
    library, or other shards, write differently, and not of what else lies in the folder. Of an
    adapter folder: the adapter's weights, its configuration, and its base's weights.
    """
    folder = hub.model_folder(name)
    if not (folder / "adapter_config.json").is_file():
        return _of_files(tuple(_stamp(file) for file in _model_files(folder)))
    from runs.adapters import base_of_adapter

    config = read_json(folder / "adapter_config.json", "LoRA adapter configuration")
    base = sha256(base_of_adapter(folder / "adapter_config.json"))
    ours = {key: value for key, value in config.items() if key != "base_model_name_or_path"}
    own = _of_files((_stamp(folder / "adapter_model.safetensors"),))
    return hashlib.sha256(json.dumps([own, base, ours], sort_keys=True).encode()).hexdigest()


def are(told: str | None, name: str) -> bool:
    """Whether a recorded SHA-256 is of these weights.

    Files of version 0.1.0 recorded the fingerprint of the folder instead, which counts as well.
    """
    if told is None or told == sha256(name):
        return told is not None
    folder = str(hub.model_folder(name))
    return told in (fingerprint(folder), fingerprint(folder, FORMER_MODEL_FILES))


def require_finite(model, name: str, flag: str) -> None:
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
        _add_bytes(digest, file, start, about["data_offsets"])
    return digest.hexdigest()


def _add_bytes(digest, file: str, start: int, offsets: list[int]) -> None:
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
