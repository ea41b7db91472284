"""Gemma 2: a Llama with norms after attention and MLP, soft caps, windows in every other layer."""

from functools import partial

import torch
from torch import nn

from eap import InputError
from eap.models.contract import Block, Norm
from eap.models.llama import Llama
from eap.rules import Softmax, soft_cap


class SoftCap(nn.Module):
    """Logits under a soft cap; a module, so that a rule can be put in its place."""

    def __init__(self, cap: float):
        super().__init__()
        self.function = partial(soft_cap, cap=cap)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """cap tanh(x / cap)."""
        return self.function(x)


class Gemma2(Llama):
    """A Gemma 2's parts. Its `input` is the embedding after the scaling by sqrt(d_model)."""

    attention = "eager"  # transformers' fused functions have no cap

    def __init__(self, model):
        config = model.config
        for option in ("attention_bias", "use_bidirectional_attention"):
            if getattr(config, option, None):
                raise InputError(
                    f"expected a {config.model_type} without {option}, got one with it; there is "
                    "no adapter for it"
                )
        super().__init__(model)
        if config.final_logit_softcapping is not None:
            self.cap = SoftCap(config.final_logit_softcapping)

    def _norm(self, module) -> Norm:
        return Norm(module, self.epsilon, centred=False, offset=1.0)

    def _block(self, block) -> Block:
        plain = super()._block(block)
        return plain._replace(
            mlp_norm=self._norm(block.pre_feedforward_layernorm),
            attn_post=self._norm(block.post_attention_layernorm),
            mlp_post=self._norm(block.post_feedforward_layernorm),
        )

    def softmax(self, layer: int) -> Softmax:
        """Scores under a soft cap, and a window in every other layer."""
        attention = self.trunk.layers[layer].self_attn
        return Softmax(self.scaling, attention.attn_logit_softcapping, attention.sliding_window)
