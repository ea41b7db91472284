"""GPT-2 (transformers' GPT2LMHeadModel): pre-norm blocks, one fused q-k-v projection, learned positions, LayerNorm with bias."""

from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from eap import InputError
from eap.graph import Graph

# Variants that change what a head computes; none of OpenAI's checkpoints uses them.
UNSUPPORTED = ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention")


class Block(NamedTuple):
    """The modules of one block at which the residual stream is read and written."""

    attn_norm: nn.Module  # its input is what q, k and v of every head read
    qkv: nn.Module  # its output is q of all heads, then k, then v
    attn_out: nn.Module  # its input is the heads' results side by side
    mlp_norm: nn.Module  # its input is what the MLP reads
    mlp: nn.Module  # its output is what the MLP writes
    activation: nn.Module  # the MLP's elementwise nonlinearity


class GPT2:
    """GPT-2's parts under the names that the rest of `eap` uses."""

    def __init__(self, model):
        config = model.config
        if not config.scale_attn_weights:
            raise InputError(
                "expected a GPT-2 with scale_attn_weights, got one without; there is no adapter for it"
            )
        for option in UNSUPPORTED:
            if getattr(config, option, False):
                raise InputError(
                    f"expected a GPT-2 without {option}, got one with it; there is no adapter for it"
                )
        self.model, self.trunk, self.unembed = model, model.transformer, model.lm_head
        self.graph = Graph(config.n_layer, config.n_head, config.n_embd)
        self.d_head = config.n_embd // config.n_head
        self.scaling = self.d_head**-0.5  # of the products of queries and keys
        self.context_length, self.vocabulary_size = config.n_positions, config.vocab_size
        self.epsilon = config.layer_norm_epsilon
        self.final_norm = self.trunk.ln_f
        self.blocks = [
            Block(
                block.ln_1,
                block.attn.c_attn,
                block.attn.c_proj,
                block.ln_2,
                block.mlp,
                block.mlp.act,
            )
            for block in self.trunk.h
        ]

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Token embeddings (..., pos, d_model), without positions."""
        return self.trunk.wte(ids)

    def positions(self, length: int) -> torch.Tensor:
        """Position embeddings (pos, d_model)."""
        return self.trunk.wpe.weight[:length]

    def hidden(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The final norm's output (batch, pos, d_model), given token embeddings; padding on the right needs no mask."""
        return self.trunk(inputs_embeds=embeddings, use_cache=False).last_hidden_state

    def write_weight(self, layer: int) -> torch.Tensor:
        """(heads, d_head, d_model): what each head multiplies its result with to write it to the residual stream."""
        return self.blocks[layer].attn_out.weight.view(self.graph.n_heads, self.d_head, -1)

    def write_bias(self, layer: int) -> torch.Tensor:
        """(d_model,): what the attention of a layer writes besides its heads' results; it belongs to no node."""
        return self.blocks[layer].attn_out.bias

    def read_weight(self, layer: int) -> torch.Tensor:
        """(d_model, 3 heads, d_head): what q of every head, then k, then v multiply the norm's output with."""
        return self.blocks[layer].qkv.weight.unflatten(1, (-1, self.d_head))

    def read_bias(self, layer: int) -> torch.Tensor:
        """(3 heads, d_head): what they add to it."""
        return self.blocks[layer].qkv.bias.unflatten(0, (-1, self.d_head))

    @cached_property
    def read_constants(self) -> list[torch.Tensor]:
        """Per layer (3 d_model,): the part of the q-k-v projection's output that does not depend on the stream."""
        return [
            (block.qkv.bias + block.attn_norm.bias @ block.qkv.weight).detach()
            for block in self.blocks
        ]

    @cached_property
    def read_means(self) -> list[torch.Tensor]:
        """Per layer (3 heads, d_head): the mean over d_model of diag(norm weight) W."""
        means = [
            block.attn_norm.weight @ block.qkv.weight / self.graph.d_model for block in self.blocks
        ]
        return [mean.detach().unflatten(0, (-1, self.d_head)) for mean in means]

    def split_heads(self, projected: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """q, k and v (batch, heads, pos, d_head) from what the q-k-v projection puts out (batch, pos, 3 d_model)."""
        return projected.unflatten(-1, (3, self.graph.n_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def join_heads(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """The inverse of `split_heads`."""
        return torch.stack([q, k, v]).permute(1, 3, 0, 2, 4).flatten(2)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Causal attention of (batch, heads, pos, d_head) tensors, as the model itself computes it."""
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
