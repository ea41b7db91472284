"""Device, precision, seeds and memory of a run. Imports nothing heavy."""

import os
import resource
import sys
from pathlib import Path

from eap import InputError
from runs import console


def torch_device(args):
    """The torch.device of `--device`; auto is cuda (under torchrun each process its own), then mps, then cpu.

    Raises InputError for one that is not there.
    """
    import torch

    if args.device == "auto" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if args.device == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(1, device=args.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {args.device}: expected a device of this machine; use --device auto or cpu"
        ) from error
    return torch.device(args.device)


def only_this_gpu(args) -> None:
    """Hide every GPU but the one of `--device cuda:N` and set `args.device` to cuda: Trainer takes the first GPU that it sees.

    Call it before torch meets a GPU. Raises InputError under torchrun, which gives each process a GPU of its own, and for an N past
    those that CUDA_VISIBLE_DEVICES allows.
    """
    kind, _, index = args.device.partition(":")
    if kind != "cuda" or not index.isdigit():
        return
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(
            f"--device {args.device}: expected cuda or auto with torchrun, which gives each process a GPU of its own"
        )
    allowed = (
        os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if os.environ.get("CUDA_VISIBLE_DEVICES")
        else None
    )
    if allowed and int(index) >= len(allowed):
        raise InputError(
            f"--device {args.device}: expected one of {len(allowed)} GPUs, counted from 0, by CUDA_VISIBLE_DEVICES"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = allowed[int(index)] if allowed else index
    args.device = "cuda"


def torch_dtype(args):
    """The torch.dtype of `--dtype`."""
    import torch

    return getattr(torch, args.dtype)


def circuit_dtype(args):
    """The torch.dtype to load a model in whose circuits are found or run: float64 if asked for, else float32.

    `--dtype bfloat16` is for the matrix products of attribution alone (`autocast_dtype`): the residual stream and differences between
    runs would lose what they are about.
    """
    import torch

    return torch.float64 if args.dtype == "float64" else torch.float32


def autocast_dtype(args):
    """What the matrix products of attribution run in: torch.bfloat16 if asked for; None, the model's own dtype, otherwise."""
    import torch

    return torch.bfloat16 if args.dtype == "bfloat16" else None


def say_circuit_dtype(args) -> None:
    """Say what `--dtype bfloat16` does not change; nothing for other dtypes."""
    if args.dtype == "bfloat16":
        console.say(
            args,
            "--dtype bfloat16: only the matrix products of attribution; models are loaded, and circuits are run, in float32",
        )


def memory_budget(args) -> int:
    """Bytes that this process may plan for: `--max_memory`, else its share, in a torchrun, of what is free on its device."""
    from eap import memory
    from runs import shards

    if args.max_memory:
        return int(args.max_memory * 1e9)
    device = torch_device(args)
    return memory.free_bytes(device) // (shards.count() if device.type == "cpu" else 1)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch; called once, by a script. Fixes the number of threads too: MKL left to choose changes last digits."""
    import torch
    from transformers import set_seed

    torch.set_num_threads(torch.get_num_threads())
    set_seed(seed)


def peak_memory_gb() -> float:
    """Peak resident memory of this process in GB; on a GPU machine see also torch.cuda.max_memory_allocated.

    On Linux not getrusage's, which keeps the parent's peak over fork and exec.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        words = status.read_text().split()
        return round(int(words[words.index("VmHWM:") + 1]) * 1024 / 1e9, 3)
    scale = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9, 3)
