"""GPT-NeoX (Pythia): some dimensions rotary, LayerNorm with bias, MLPs beside attention."""

import torch

from eap.graph import Graph
from eap.models.contract import Block, Norm, Read
from eap.models.decoder import Rotary
from eap.models.llama import require_fixed_angles


class GPTNeoX(Rotary):
    """A GPT-NeoX's parts under the names that the rest of `eap` uses."""

    def __init__(self, model):
        config = model.config
        require_fixed_angles(config)
        self.model, self.trunk, self.lm_head = model, model.gpt_neox, model.lm_head
        n_heads, d_model = config.num_attention_heads, config.hidden_size
        self.graph = Graph(
            config.num_hidden_layers, n_heads, d_model, parallel=config.use_parallel_residual
        )
        self.d_head = d_model // n_heads
        self.scaling = self.d_head**-0.5
        self.context_length = config.max_position_embeddings
        self.vocabulary_size = config.vocab_size
        self.epsilon = config.layer_norm_eps
        self.final_norm = Norm(self.trunk.final_layer_norm, self.epsilon)
        self.blocks = [self._block(block) for block in self.trunk.layers]

    def _block(self, block) -> Block:
        return Block(
            attn_norm=Norm(block.input_layernorm, self.epsilon),
            projections=(block.attention.query_key_value,),
            attn_out=block.attention.dense,
            mlp_norm=Norm(block.post_attention_layernorm, self.epsilon),
            mlp=block.mlp,
            mlp_in=(block.mlp.dense_h_to_4h,),
            activation=block.mlp.act,
            mlp_out=block.mlp.dense_4h_to_h,
        )

    def reads(self, layer: int) -> tuple[Read, ...]:
        """q, k and v of the fused projection, which holds them head by head."""
        module = self.blocks[layer].projections[0]
        shape = (self.graph.n_heads, 3, self.d_head)
        weights = module.weight.T.unflatten(1, shape).unbind(2)
        biases = (None, None, None)
        if module.bias is not None:
            biases = module.bias.unflatten(0, shape).unbind(1)
        return tuple(Read(*parts) for parts in zip(weights, biases, strict=True))

    def slots(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """(batch, pos, 3 heads d_head): from head by head to all q, all k, all v."""
        by_head = outputs[0].unflatten(-1, (self.graph.n_heads, 3, self.d_head))
        return by_head.transpose(-2, -3).flatten(-3)

    def fold(self, slots: torch.Tensor) -> list[torch.Tensor]:
        """From all q, all k, all v to head by head."""
        by_slot = slots.unflatten(-1, (3, self.graph.n_heads, self.d_head))
        return [by_slot.transpose(-2, -3).flatten(-3)]
