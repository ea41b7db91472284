"""Device, precision, seeds and memory of a run. Imports nothing heavy."""

import contextlib
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from eap import InputError
from runs.console import Console


@dataclass(frozen=True)
class Device:
    """Where a script computes, in what precision and how much memory, as its flags say."""

    name: str = "auto"  # of --device
    dtype: str = "float32"  # of --dtype
    max_memory: float | None = None  # of --max_memory, in GB; None: what is free

    @classmethod
    def of(cls, flags: dict) -> "Device":
        """The device that a script's flags ask for."""
        return cls(flags["device"], flags["dtype"], flags.get("max_memory"))

    @property
    def torch_device(self):
        """The torch.device; auto is cuda (under torchrun each process its own), then mps, then cpu.

        Raises InputError for one that this machine does not have.
        """
        import torch

        if self.name == "auto" and torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if self.name == "auto":
            return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
        try:
            torch.empty(1, device=self.name)
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"--device {self.name}: expected a device of this machine; use --device auto or cpu"
            ) from error
        return torch.device(self.name)

    @property
    def torch_dtype(self):
        """The torch.dtype."""
        import torch

        return getattr(torch, self.dtype)

    @property
    def circuit_dtype(self):
        """The torch.dtype of a model in whose circuits are found or run: float64, else float32.

        bfloat16 is for the matrix products of attribution alone (`autocast_dtype`): the residual
        stream and differences between runs would lose what they are about.
        """
        import torch

        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def autocast_dtype(self):
        """The torch.dtype of attribution's matrix products, bfloat16; None: the model's own."""
        import torch

        return torch.bfloat16 if self.dtype == "bfloat16" else None

    @property
    def memory_budget(self) -> int:
        """Bytes to plan for: `max_memory`, else what is free; a share in a torchrun on a CPU."""
        from eap import memory
        from runs import shards

        if self.max_memory:
            return int(self.max_memory * 1e9)
        device = self.torch_device
        return memory.free_bytes(device) // (shards.count() if device.type == "cpu" else 1)

    def say_circuit_dtype(self, console: Console) -> None:
        """Say what `--dtype bfloat16` does not change; nothing for other dtypes."""
        if self.dtype == "bfloat16":
            console.say(
                "--dtype bfloat16: only the matrix products of attribution; models are loaded, "
                "and circuits are run, in float32"
            )


def only_this_gpu(name: str) -> str:
    """The `--device` to use in place of `name`: for cuda:N it is cuda, with every other GPU hidden.

    Trainer takes the first GPU that it sees. Call it before torch meets a GPU. Raises InputError
    under torchrun, which gives each process a GPU of its own, and for an N past those that
    CUDA_VISIBLE_DEVICES allows.
    """
    kind, _, index = name.partition(":")
    if kind != "cuda" or not index.isdigit():
        return name
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError(
            f"--device {name}: expected cuda or auto with torchrun, which gives each process a GPU "
            "of its own"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    allowed = visible.split(",") if visible else None
    if allowed and int(index) >= len(allowed):
        raise InputError(
            f"--device {name}: expected one of {len(allowed)} GPUs, counted from 0, by "
            "CUDA_VISIBLE_DEVICES"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = allowed[int(index)] if allowed else index
    return "cuda"


@contextlib.contextmanager
def one_thread():
    """Run a block with torch on one thread.

    A circuit is a small tensor, and handing it to several costs more than it saves.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch; called once, by a script.

    Fixes the number of threads too: MKL left to choose changes last digits.
    """
    import torch
    from transformers import set_seed

    torch.set_num_threads(torch.get_num_threads())
    set_seed(seed)


def peak_memory_gb() -> float:
    """Peak resident memory of this process in GB; of a GPU, see torch.cuda.max_memory_allocated.

    On Linux not getrusage's, which keeps the parent's peak over fork and exec.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        words = status.read_text().split()
        return round(int(words[words.index("VmHWM:") + 1]) * 1024 / 1e9, 3)
    scale = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9, 3)
