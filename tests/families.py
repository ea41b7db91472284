"""Small random models of every family, and their forward pass written out head by head.

No adapter is used. In `forward` every slot reads a stream of its own, which `read` may change, and
every writer's output has its name: so autograd gives each slot's gradient directly, and a circuit
can be run by its definition.
"""

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from eap.dataset import Pair

VOCABULARY = 41
COMMON = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
LLAMA = COMMON | {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 20,
    "head_dim": 6,
    "intermediate_size": 28,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-3,
}
NEOX = COMMON | {
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "hidden_size": 24,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-3,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 10.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
GEMMA = LLAMA | {
    "num_hidden_layers": 3,
    "sliding_window": 4,
    "query_pre_attn_scalar": 5,
    "attn_logit_softcapping": 1.5,
    "final_logit_softcapping": 3.0,
}
CONFIGS = {
    "gpt2": ("gpt2", COMMON | {"n_layer": 2, "n_head": 3, "n_embd": 21, "n_positions": 64}),
    "llama": ("llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama3": (
        "llama",
        LLAMA
        | {
            "num_hidden_layers": 3,
            "num_key_value_heads": 4,
            "rope_parameters": LLAMA_3,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2": (
        "qwen2",
        LLAMA
        | {
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "hidden_size": 36,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2_window": (
        "qwen2",
        LLAMA | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", LLAMA | {"num_hidden_layers": 3, "num_attention_heads": 6}),
    "pythia": ("gpt_neox", NEOX),
    "neox_in_sequence": ("gpt_neox", NEOX | {"use_parallel_residual": False}),
    "gemma2": ("gemma2", GEMMA),
    "gemma2_uncapped": (
        "gemma2",
        GEMMA
        | {
            "num_attention_heads": 5,
            "num_key_value_heads": 1,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "tie_word_embeddings": False,
        },
    ),
}


def model(family: str):
    """A model of the family in float64; no bias of it is zero, no norm's weight one."""
    kind, settings = CONFIGS[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).double()
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                # biases and norms' weights are vectors
                is_norm = parameter.ndim == 1 and name.endswith("weight")
                starts_at_one = is_norm and kind != "gemma2"  # Gemma adds one itself
                parameter.copy_(float(starts_at_one) + 0.35 * torch.randn(parameter.shape))
    return made.eval()


def stay_in_float64(monkeypatch) -> None:
    """Let transformers' RMSNorms, and Gemma's softmax, compute in the model's own type."""
    from transformers.models.gemma2 import modeling_gemma2
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    def forward(self, x):
        return (
            x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon) * self.weight
        )

    def gemma_forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)

    def gemma_attention(module, q, k, v, mask, **others):
        k = k.repeat_interleave(module.num_key_value_groups, 1)
        v = v.repeat_interleave(module.num_key_value_groups, 1)
        scores, softcap = q @ k.mT * others["scaling"], others.get("softcap")
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        weights = (scores + mask).softmax(-1)
        return (weights @ v).transpose(1, 2), weights

    monkeypatch.setattr(modeling_gemma2.Gemma2RMSNorm, "forward", gemma_forward)
    monkeypatch.setattr(modeling_gemma2, "eager_attention_forward", gemma_attention)
    for norm in (LlamaRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm):
        monkeypatch.setattr(norm, "forward", forward)


def pairs() -> list[Pair]:
    """Three pairs of different lengths, corrupted in some tokens before the last three."""
    generator, made = torch.Generator().manual_seed(1), []
    for i, length in enumerate((11, 7, 9)):
        clean, other = torch.randint(VOCABULARY, (2, length), generator=generator).tolist()
        made.append(Pair(str(i), clean, clean[:2] + other[2:5] + clean[5:], length - 3))
    return made


# ---------------------------------------------------------------- the forward pass, head by head


@dataclass
class Parts:
    """One block's weights as the pass below takes them; (d_in, d_out) matrices, per query head."""

    norm: nn.Module
    q: list  # (weight (d_model, d_head), bias) per query head
    k: list
    v: list
    out: list  # (d_head, d_model) per query head
    out_bias: torch.Tensor
    mlp_norm: nn.Module
    mlp_in: list[nn.Module]
    activation: nn.Module
    mlp_out: nn.Module
    head_norms: tuple = (None, None)
    attn_post: nn.Module | None = None
    mlp_post: nn.Module | None = None
    cap: float | None = None
    window: int | None = None


def _columns(weight, bias, first: int, d_head: int):
    """(weight, bias) of the columns of one head."""
    part = slice(first * d_head, (first + 1) * d_head)
    return weight[:, part], 0 if bias is None else bias[part]


def _gpt2(block, n: int, d_head: int) -> Parts:
    attention = block.attn
    take = partial(_columns, attention.c_attn.weight, attention.c_attn.bias, d_head=d_head)
    return Parts(
        block.ln_1,
        [take(h) for h in range(n)],
        [take(n + h) for h in range(n)],
        [take(2 * n + h) for h in range(n)],
        [attention.c_proj.weight[h * d_head : (h + 1) * d_head] for h in range(n)],
        attention.c_proj.bias,
        block.ln_2,
        [block.mlp.c_fc],
        block.mlp.act,
        block.mlp.c_proj,
    )


def _neox(block, n: int, d_head: int) -> Parts:
    attention = block.attention
    fused = attention.query_key_value
    take = partial(_columns, fused.weight.T, fused.bias, d_head=d_head)
    return Parts(
        block.input_layernorm,
        [take(3 * h) for h in range(n)],
        [take(3 * h + 1) for h in range(n)],
        [take(3 * h + 2) for h in range(n)],
        [attention.dense.weight.T[h * d_head : (h + 1) * d_head] for h in range(n)],
        attention.dense.bias,
        block.post_attention_layernorm,
        [block.mlp.dense_h_to_4h],
        block.mlp.act,
        block.mlp.dense_4h_to_h,
    )


def _llama(block, n: int, d_head: int) -> Parts:
    attention, mlp = block.self_attn, block.mlp
    group = attention.q_proj.out_features // attention.k_proj.out_features

    def take(module, head):
        return _columns(module.weight.T, module.bias, head, d_head)

    bias = attention.o_proj.bias
    is_gemma = hasattr(block, "pre_feedforward_layernorm")
    after = {
        "attn_post": block.post_attention_layernorm,
        "mlp_post": block.post_feedforward_layernorm,
        "cap": attention.attn_logit_softcapping,
    } if is_gemma else {}  # fmt: skip
    return Parts(
        block.input_layernorm,
        [take(attention.q_proj, h) for h in range(n)],
        [take(attention.k_proj, h // group) for h in range(n)],
        [take(attention.v_proj, h // group) for h in range(n)],
        [attention.o_proj.weight.T[h * d_head : (h + 1) * d_head] for h in range(n)],
        torch.zeros(attention.o_proj.out_features).double() if bias is None else bias,
        block.pre_feedforward_layernorm if is_gemma else block.post_attention_layernorm,
        [mlp.gate_proj, mlp.up_proj],
        mlp.act_fn,
        mlp.down_proj,
        (getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)),
        window=getattr(attention, "sliding_window", None),
        **after,
    )


def _turn(angles, x):
    """x (batch, pos, d_head) as complex numbers times e^(i angle), where there is one."""
    n = angles.shape[-1]
    turned = torch.complex(x[..., :n], x[..., n : 2 * n])
    turned = turned * torch.complex(angles.cos().double(), angles.sin().double())
    return torch.cat([turned.real, turned.imag, x[..., 2 * n :]], -1)


def norm(module, x):
    """LayerNorm or RMSNorm by its formula."""
    centred = isinstance(module, nn.LayerNorm)
    c = x - x.mean(-1, keepdim=True) if centred else x
    return c / scale(module, x) * norm_weight(module) + (module.bias if centred else 0)


def scale(module, x):
    """What LayerNorm or RMSNorm divides by."""
    c = x - x.mean(-1, keepdim=True) if isinstance(module, nn.LayerNorm) else x
    return (c.square().mean(-1, keepdim=True) + epsilon(module)).sqrt()


def epsilon(module) -> float:
    return module.eps if hasattr(module, "eps") else module.variance_epsilon


def norm_weight(module):
    """What a norm multiplies with: Gemma adds one to what it keeps."""
    return module.weight + float("Gemma" in type(module).__name__)


def cap(x, most):
    """Soft-capped; as it is where `most` is None."""
    return x if most is None else most * torch.tanh(x / most)


def mask(length: int, window):
    """(queries, keys) booleans: what a query does not see."""
    hidden = torch.ones(length, length, dtype=torch.bool)
    return hidden.triu(1) if window is None else hidden.triu(1) | hidden.tril(-window)


def attention(q, k, v, factor: float, most=None, window=None):
    """Causal attention of one head, (batch, pos, d_head)."""
    scores = cap(q @ k.transpose(-1, -2) * factor, most)
    return scores.masked_fill(mask(q.shape[1], window), -torch.inf).softmax(-1) @ v


def gate(function, h, *factors):
    """The MLP's activation, times its factor if it has one."""
    result = function(h)
    for factor in factors:
        result = result * factor
    return result


OPERATIONS = SimpleNamespace(norm=norm, scale=scale, attention=attention, gate=gate, cap=cap)


def _start(model, trunk, embeddings):
    """The first stream, and each position's angles: none where positions are added to it."""
    length = embeddings.shape[1]
    if model.config.model_type == "gpt2":
        return embeddings + trunk.wpe.weight[:length], torch.zeros(length, 0)
    frequencies = trunk.rotary_emb.inv_freq.float()
    # in float32, with their sines and cosines, as in transformers
    return embeddings, torch.arange(length).float()[:, None] * frequencies


def _head(parts, h: int, *, streams, angles, factor: float, operations):
    """(batch, pos, d_model) what a layer's head writes that reads these streams as q, k and v."""
    projected = []
    for slot, stream in zip("qkv", streams, strict=True):
        weight, bias = getattr(parts, slot)[h]
        projected.append(operations.norm(parts.norm, stream) @ weight + bias)
    for i in range(2):
        if parts.head_norms[i] is not None:
            projected[i] = operations.norm(parts.head_norms[i], projected[i])
        projected[i] = _turn(angles, projected[i])
    return operations.attention(*projected, factor, parts.cap, parts.window) @ parts.out[h]


def _mlp(parts, stream, operations):
    """(batch, pos, d_model) what a layer's MLP writes that reads this stream."""
    inner = operations.norm(parts.mlp_norm, stream)
    inner = operations.gate(parts.activation, *(module(inner) for module in parts.mlp_in))
    result = parts.mlp_out(inner)
    return result if parts.mlp_post is None else operations.norm(parts.mlp_post, result)


def forward(model, embeddings, read, operations=OPERATIONS):
    """(outputs by writer, layers' biases, logits (batch, pos, vocabulary)), given token embeddings.

    `read(slot, outputs, stream)` gives what a slot reads in place of `stream`, all that was
    written.
    """
    config = model.config
    kind = config.model_type
    trunk = {"gpt2": "transformer", "gpt_neox": "gpt_neox"}.get(kind, "model")
    trunk = getattr(model, trunk)
    blocks = trunk.h if kind == "gpt2" else trunk.layers
    n, apart = config.num_attention_heads, {"gpt2": _gpt2, "gpt_neox": _neox}.get(kind, _llama)
    d_head = getattr(config, "head_dim", None) or config.hidden_size // n
    final = {"gpt2": "ln_f", "gpt_neox": "final_layer_norm"}.get(kind, "norm")
    parallel = getattr(config, "use_parallel_residual", False)
    factor = getattr(config, "query_pre_attn_scalar", d_head) ** -0.5
    stream, angles = _start(model, trunk, embeddings)
    outputs, biases = {"input": stream}, []
    for layer, block in enumerate(blocks):
        parts, before = apart(block, n, d_head), stream
        written = {}
        for h in range(n):
            streams = [read(f"a{layer}.h{h}<{slot}>", outputs, before) for slot in "qkv"]
            written[f"a{layer}.h{h}"] = _head(
                parts, h, streams=streams, angles=angles, factor=factor, operations=operations
            )
        if parts.attn_post is not None:
            divisor = operations.scale(parts.attn_post, sum(written.values()))
            written = {u: z / divisor * norm_weight(parts.attn_post) for u, z in written.items()}
        biases.append(parts.out_bias)
        heads = sum(written.values()) + parts.out_bias
        parents = (outputs, before) if parallel else (outputs | written, before + heads)
        written[f"m{layer}"] = _mlp(parts, read(f"m{layer}", *parents), operations)
        outputs = outputs | written
        stream = before + heads + written[f"m{layer}"]
    x = read("logits", outputs, stream)
    logits = F.linear(operations.norm(getattr(trunk, final), x), model.lm_head.weight)
    return outputs, biases, operations.cap(logits, getattr(config, "final_logit_softcapping", None))


def as_it_is(slot, outputs, stream):
    """A `read` that changes nothing."""
    return stream
