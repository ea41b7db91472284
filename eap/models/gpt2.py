"""GPT-2: one fused q-k-v projection, learned positions, LayerNorm with bias."""

import torch

from eap import InputError
from eap.graph import Graph
from eap.models.contract import Block, Norm, Read
from eap.models.decoder import Decoder

# Variants that change what a head computes; none of OpenAI's checkpoints uses them.
UNSUPPORTED = ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention")


class GPT2(Decoder):
    """GPT-2's parts under the names that the rest of `eap` uses."""

    inputs_first = True  # its Conv1D

    def __init__(self, model):
        config = model.config
        if not config.scale_attn_weights:
            raise InputError(
                "expected a GPT-2 with scale_attn_weights, got one without; there is no adapter "
                "for it"
            )
        for option in UNSUPPORTED:
            if getattr(config, option, False):
                raise InputError(
                    f"expected a GPT-2 without {option}, got one with it; there is no adapter for "
                    "it"
                )
        self.model, self.trunk, self.lm_head = model, model.transformer, model.lm_head
        self.graph = Graph(config.n_layer, config.n_head, config.n_embd)
        self.d_head = config.n_embd // config.n_head
        self.scaling = self.d_head**-0.5
        self.context_length, self.vocabulary_size = config.n_positions, config.vocab_size
        self.epsilon = config.layer_norm_epsilon
        self.final_norm = Norm(self.trunk.ln_f, self.epsilon)
        self.blocks = [self._block(block) for block in self.trunk.h]

    def _block(self, block) -> Block:
        return Block(
            attn_norm=Norm(block.ln_1, self.epsilon),
            projections=(block.attn.c_attn,),
            attn_out=block.attn.c_proj,
            mlp_norm=Norm(block.ln_2, self.epsilon),
            mlp=block.mlp,
            mlp_in=(block.mlp.c_fc,),
            activation=block.mlp.act,
            mlp_out=block.mlp.c_proj,
        )

    def start(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Token and position embeddings."""
        return embeddings + self.trunk.wpe.weight[: embeddings.shape[-2]]

    def out_weight(self, layer: int) -> torch.Tensor:
        """(heads, d_head, d_model); transformers stores it as (in, out)."""
        return self.blocks[layer].attn_out.weight.view(self.graph.n_heads, self.d_head, -1)

    def reads(self, layer: int) -> tuple[Read, ...]:
        """The fused projection: q of every head, then k, then v."""
        qkv = self.blocks[layer].projections[0]
        shape = (-1, self.d_head)
        return (Read(qkv.weight.unflatten(1, shape), qkv.bias.unflatten(0, shape)),)
