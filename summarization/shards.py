"""Many processes of one `torchrun`: each computes its share, and all hear of every result. Without torchrun, nothing happens here."""

import atexit
import os
from collections.abc import Iterator


def count() -> int:
    """How many processes there are: torchrun's WORLD_SIZE, or 1."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share(items: list) -> list:
    """This process's part of `items`: every `count()`-th."""
    return items[int(os.environ.get("RANK", "0")) :: count()]


def from_first(value):
    """The first process's `value`, on every process."""
    return _gather(value)[0]


def gathered(results: Iterator) -> Iterator:
    """Yield the results of all processes, on every process, as they come. A result is never None."""
    while parts := [result for result in _gather(next(results, None)) if result is not None]:
        yield from parts


def _gather(value) -> list:
    if count() == 1:
        return [value]
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo")  # what is gathered lies on the CPU, whatever computed it
        atexit.register(dist.destroy_process_group)
    parts = [None] * count()
    dist.all_gather_object(parts, value)
    return parts
