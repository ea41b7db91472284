"""Many processes of one `torchrun`: each computes its share, and all hear of every result.

Without torchrun, nothing happens here.
"""

import atexit
import gc
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
    """Yield the results of all processes, on every process, as they come; none of them is None."""
    while parts := [result for result in _gather(next(results, None)) if result is not None]:
        yield from parts


def leave() -> None:
    """End the processes' group and its threads, if there is one.

    Whoever holds a Trainer lets go of it first. A process that exits while one of Gloo's threads
    still holds a tensor of its last all-gather is killed by SIGABRT, and torchrun then kills the
    others. The threads end with the last reference to the group. A distributed model holds one, and
    so do default arguments in torch.distributed.nn if that is first imported after the group was
    made: who makes a group imports it before.
    """
    if count() == 1:
        return
    import torch.distributed as dist

    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()


def _gather(value) -> list:
    if count() == 1:
        return [value]
    import torch.distributed as dist
    import torch.distributed.nn  # noqa: F401  before there is a group: see leave

    if not dist.is_initialized():
        dist.init_process_group("gloo")  # what is gathered lies on the CPU, whatever computed it
        atexit.register(leave)
    parts = [None] * count()
    dist.all_gather_object(parts, value)
    return parts
