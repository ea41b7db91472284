"""Finished blocks of a long computation on disk: interrupted, it goes on with those."""

import shutil
from pathlib import Path

from eap import InputError
from runs import disk

PLAN = "plan.json"


def folder_beside(output) -> Path:
    """`C.json` -> `.blocks-C.json`: where the blocks of an unfinished output lie."""
    output = Path(output)
    return output.parent / f".blocks-{output.name}"


class Blocks:
    """Named tensors of each finished block, in a folder that belongs to one computation.

    `key` names the computation: the blocks of another one are removed. Raises InputError for a
    folder of something else.
    """

    def __init__(self, folder, key: str):
        self.folder, plan = Path(folder), Path(folder) / PLAN
        if not plan.is_file() and self.folder.is_dir() and any(self.folder.iterdir()):
            raise InputError(
                f"{self.folder}: expected a folder of finished blocks, got one of something else; "
                "move it away"
            )
        if not plan.is_file() or disk.read_json(plan).get("key") != key:
            discard(self.folder)
            disk.write_json(plan, {"format": 1, "key": key})

    def __len__(self) -> int:
        """How many blocks are finished, from the first one on."""
        number = 0
        while self._path(number).is_file():
            number += 1
        return number

    def add(self, tensors: dict) -> None:
        """Put the next block on disk, in one step."""
        from safetensors.torch import save_file

        with disk.atomic(self._path(len(self))) as path:
            save_file(tensors, path)

    def read(self, number: int) -> dict:
        """The tensors of a finished block. Raises InputError when they cannot be read."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._path(number)
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{path}: expected a finished block ({error}); remove {self.folder} to begin again"
            ) from error

    def _path(self, number: int) -> Path:
        return self.folder / f"block-{number:05}.safetensors"


def discard(folder: Path) -> None:
    """Remove a folder of blocks, if it is there and is one.

    Its plan goes last, so that what an interruption leaves is known for what it is.
    """
    if (folder / PLAN).is_file():
        for block in folder.glob("block-*"):
            block.unlink()
        shutil.rmtree(folder)
