"""What the benchmarks share: models of a known shape, random pairs, time and memory."""

import time
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """The size of a decoder; `kv_heads` where its family lets heads share keys."""

    layers: int
    heads: int
    d_model: int
    mlp: int
    kv_heads: int
    vocabulary: int = 50257


SHAPES = {
    "small": Shape(12, 12, 768, 3072, 4),  # GPT-2's
    "xl": Shape(48, 25, 1600, 6400, 5),
    "smollm2": Shape(30, 9, 576, 1536, 3, 49152),  # SmolLM2-135M's
}
FAMILIES = ("gpt2", "llama", "qwen2", "qwen3", "gpt_neox", "gemma2")
CONTEXT = 1024


def random_model(args, shape: str = "small", family: str = "gpt2"):
    """The adapter of a model of that family and shape with random weights, on a device.

    The device is that of `args`; it has `args.layers` layers, where that is not 0.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from eap.models import ARCHITECTURES, adapt
    from runs import devices

    torch.manual_seed(args.seed)
    size = SHAPES[shape]
    if getattr(args, "layers", 0):
        size = replace(size, layers=args.layers)
    config = family_config(family, size)
    with torch.device(devices.Device.of(vars(args)).torch_device):
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation=ARCHITECTURES[family].attention
        )
        return adapt(model.float().eval())


def family_config(family: str, size: Shape):
    """The transformers configuration of a family at a size, its own defaults elsewhere."""
    from transformers import AutoConfig

    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}  # within any vocabulary
    if family == "gpt2":
        return AutoConfig.for_model(
            family,
            **ends,
            n_layer=size.layers,
            n_head=size.heads,
            n_embd=size.d_model,
            n_inner=size.mlp,
            vocab_size=size.vocabulary,
        )
    sizes = ends | {
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "hidden_size": size.d_model,
        "intermediate_size": size.mlp,
        "max_position_embeddings": CONTEXT,
        "vocab_size": size.vocabulary,
    }
    if family != "gpt_neox":  # whose heads share nothing
        d_head = size.d_model // size.heads
        sizes |= {"num_key_value_heads": size.kv_heads, "head_dim": d_head}
    if family == "gemma2":
        sizes |= {"query_pre_attn_scalar": size.d_model // size.heads}
    return AutoConfig.for_model(family, **sizes)


def random_pairs(adapter, tokens: int, *, n: int, seed: int = 0):
    """n pairs of random tokens that differ in the second quarter.

    The last eighth is the summary.
    """
    import torch

    from eap.dataset import Pair

    generator = torch.Generator().manual_seed(seed)
    quarter, half, pairs = tokens // 4, tokens // 2, []
    for i in range(n):
        both = torch.randint(adapter.vocabulary_size, (2, tokens), generator=generator)
        clean, other = both.tolist()
        corrupted = clean[:quarter] + other[quarter:half] + clean[half:]
        pairs.append(Pair(str(i), clean, corrupted, tokens - tokens // 8))
    return pairs


CLOCKS = ("wall", "cpu")


def seconds(work, device, *, clock: str = "wall") -> float:
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

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return devices.peak_memory_gb()


def device_name(device) -> str:
    """The card's or the processor's name."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    """What the system calls the processor; "CPU" where it does not say."""
    about = Path("/proc/cpuinfo")
    if about.is_file():
        for line in about.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return "CPU"
