"""What the benchmarks share: models of a known shape, random pairs, time and memory."""

import time
from pathlib import Path

SHAPES = {"small": (12, 12, 768), "xl": (48, 25, 1600)}  # GPT-2's layers, heads and d_model


def random_gpt2(args, shape: str = "small"):
    """The adapter of a GPT-2 of that shape with random weights, on the device of `args`."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from eap.models import adapt
    from runs import devices

    torch.manual_seed(args.seed)
    layers, heads, d_model = SHAPES[shape]
    with torch.device(devices.Device.of(vars(args)).torch_device):
        return adapt(
            GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=heads, n_embd=d_model)).eval()
        )


def random_pairs(adapter, tokens: int, n: int, seed: int = 0):
    """n pairs of random tokens that differ in the second quarter; the last eighth is the summary."""
    import torch

    from eap.dataset import Pair

    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(n):
        clean, other = torch.randint(
            adapter.vocabulary_size, (2, tokens), generator=generator
        ).tolist()
        corrupted = clean[: tokens // 4] + other[tokens // 4 : tokens // 2] + clean[tokens // 2 :]
        found.append(Pair(str(i), clean, corrupted, tokens - tokens // 8))
    return found


CLOCKS = ("wall", "cpu")


def seconds(work, device, clock: str = "wall") -> float:
    """How long `work()` takes, with everything that it queued on the device.

    With the clock "cpu": the seconds of this process's threads, whatever else the machine does
    meanwhile.
    """
    now = time.process_time if clock == "cpu" and device.type == "cpu" else time.perf_counter
    wait(device)
    started = now()
    work()
    wait(device)
    return now() - started


def wait(device) -> None:
    """Until the device has nothing left to do."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gb(device) -> float:
    """Peak memory in GB: of the GPU's tensors, or of this process on a CPU."""
    import torch

    from runs import devices

    return (
        torch.cuda.max_memory_allocated(device) / 1e9
        if device.type == "cuda"
        else devices.peak_memory_gb()
    )


def device_name(device) -> str:
    """The card's or the processor's name."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = (
        Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    )
    name = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU"
    )
    return f"{name}, {torch.get_num_threads()} threads"
