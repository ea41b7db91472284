"""Llama, SmolLM2, Qwen2 and Qwen3: rotary positions, RMSNorm, gated MLPs, heads that share keys."""

import torch

from eap import InputError
from eap.graph import Graph
from eap.models.contract import Block, Norm, Read
from eap.models.decoder import Rotary
from eap.rules import Softmax


class Llama(Rotary):
    """A Llama's parts under the names that `eap` uses; q, k and v may have biases and norms."""

    def __init__(self, model):
        config = model.config
        require_fixed_angles(config)
        self.model, self.trunk, self.lm_head = model, model.model, model.lm_head
        n_heads, first = config.num_attention_heads, self.trunk.layers[0].self_attn
        self.graph = Graph(config.num_hidden_layers, n_heads, config.hidden_size)
        self.d_head, self.scaling = first.head_dim, first.scaling
        self.share = n_heads // config.num_key_value_heads  # query heads that read one key head
        self.context_length = config.max_position_embeddings
        self.vocabulary_size = config.vocab_size
        self.epsilon = config.rms_norm_eps
        self.final_norm = self._norm(self.trunk.norm)
        self.blocks = [self._block(block) for block in self.trunk.layers]

    def softmax(self, layer: int) -> Softmax:
        """The window is that of transformers' module of the layer, if it has any."""
        attention = self.trunk.layers[layer].self_attn
        return Softmax(self.scaling, window=getattr(attention, "sliding_window", None))

    def _norm(self, module) -> Norm:
        return Norm(module, self.epsilon, centred=False)

    def _block(self, block) -> Block:
        attention, mlp = block.self_attn, block.mlp
        norms = None
        if hasattr(attention, "q_norm"):
            norms = self._norm(attention.q_norm), self._norm(attention.k_norm)
        return Block(
            attn_norm=self._norm(block.input_layernorm),
            projections=(attention.q_proj, attention.k_proj, attention.v_proj),
            attn_out=attention.o_proj,
            mlp_norm=self._norm(block.post_attention_layernorm),
            mlp=mlp,
            mlp_in=(mlp.gate_proj, mlp.up_proj),
            activation=mlp.act_fn,
            mlp_out=mlp.down_proj,
            head_norms=norms,
        )

    def reads(self, layer: int) -> tuple[Read, ...]:
        """One projection for q, and one each for k and v, whose units several query heads share."""
        reads, shape = [], (-1, self.d_head)
        for module, share in zip(
            self.blocks[layer].projections, (1, self.share, self.share), strict=True
        ):
            bias = None if module.bias is None else module.bias.unflatten(0, shape)
            reads.append(Read(module.weight.T.unflatten(1, shape), bias, share))
        return tuple(reads)

    def slots(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """(batch, pos, 3 heads d_head): k and v once for every query head."""
        q, *shared = outputs
        return torch.cat([q, *(self._per_head(x) for x in shared)], -1)

    def _per_head(self, x: torch.Tensor) -> torch.Tensor:
        if self.share == 1:
            return x
        return x.unflatten(-1, (-1, self.d_head)).repeat_interleave(self.share, -2).flatten(-2)

    def fold(self, slots: torch.Tensor) -> list[torch.Tensor]:
        """q as it is; k and v summed over the query heads that share them."""
        q, *per_head = slots.unflatten(-1, (3, -1)).unbind(-2)
        shape = (-1, self.share, self.d_head)
        return [q, *(x.unflatten(-1, shape).sum(-2).flatten(-2) for x in per_head)]


def require_fixed_angles(config) -> None:
    """Raise InputError for rotary angles that depend on the text's length."""
    kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if kind in ("dynamic", "longrope"):
        raise InputError(
            f"expected rotary angles that do not depend on the text's length, got rope_type "
            f"{kind}; there is no adapter for it"
        )
