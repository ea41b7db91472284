"""What the adapters of all decoders share: slots, heads, rotation, constants of projections."""

from abc import ABC, abstractmethod
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import nn

from eap.graph import Graph
from eap.models.contract import Block, Read
from eap.rules import Heads, Softmax, attend


class Decoder(ABC):
    """A decoder with one fused projection: q of all heads before k and v.

    Families override what differs. Constructors set what `Adapter` lists as attributes,
    `trunk` and `lm_head`.
    """

    inputs_first = False
    attention = "sdpa"
    share = 1
    cap: nn.Module | None = None
    model: nn.Module
    trunk: Any  # the model without its unembedding
    lm_head: nn.Module
    graph: Graph
    blocks: list[Block]
    d_head: int
    scaling: float

    @abstractmethod
    def reads(self, layer: int) -> tuple[Read, ...]:
        """The projections of a layer, of which each family has its own."""

    def hidden(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The final norm's output (batch, pos, d_model), given token embeddings."""
        return self.trunk(inputs_embeds=embeddings, use_cache=False).last_hidden_state

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Token embeddings (..., pos, d_model), without positions."""
        return self.trunk.get_input_embeddings()(ids)

    def start(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The stream's start: the embeddings, where positions come in by rotation."""
        return embeddings.clone()  # differences are taken in place

    def unembed(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (..., vocabulary) of the final norm's output."""
        logits = self.lm_head(hidden)
        return logits if self.cap is None else self.cap(logits)

    def out_weight(self, layer: int) -> torch.Tensor:
        """(heads, d_head, d_model), of a linear layer."""
        return self.blocks[layer].attn_out.weight.T.unflatten(0, (self.graph.n_heads, self.d_head))

    def write_weight(self, layer: int) -> torch.Tensor:
        """(heads, d_head, d_model): the output projection, times the weight of a norm after it."""
        weight, norm = self.out_weight(layer), self.blocks[layer].attn_post
        return weight if norm is None else weight * norm.weight

    def softmax(self, layer: int) -> Softmax:
        """How a layer's attention weights come of queries and keys."""
        return Softmax(self.scaling)

    def write_bias(self, layer: int) -> torch.Tensor:
        """(d_model,); zero where the output projection has none."""
        out = self.blocks[layer].attn_out
        return out.weight.new_zeros(self.d_model) if out.bias is None else out.bias

    @property
    def d_model(self) -> int:
        """The stream's width, which the graph of an open model knows."""
        assert self.graph.d_model is not None
        return self.graph.d_model

    @property
    def fused(self) -> bool:
        """Whether one module projects all slots."""
        return len(self.blocks[0].projections) == 1

    def slots(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """(batch, pos, 3 heads d_head): what every slot projects."""
        return outputs[0]

    def fold(self, slots: torch.Tensor) -> list[torch.Tensor]:
        """Gradients of the projections' outputs from those of the slots."""
        return [slots]

    def read_weight(self, layer: int, slots: list[int]) -> torch.Tensor:
        """(d_model, chosen slots, d_head)."""
        reads = self.reads(layer)
        if len(reads) == 1:
            return reads[0].weight[:, slots]
        return torch.stack([self._unit(reads, slot)[0] for slot in slots], 1)

    def read_bias(self, layer: int, slots: list[int]) -> torch.Tensor | None:
        """(chosen slots, d_head), or None."""
        reads = self.reads(layer)
        if reads[0].bias is None:
            return None
        if len(reads) == 1:
            return reads[0].bias[slots]
        biases = [self._unit(reads, slot)[1] for slot in slots]
        return torch.stack([bias for bias in biases if bias is not None])

    def _unit(self, reads: tuple[Read, ...], slot: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(weight (d_model, d_head), bias (d_head,)) that one slot reads through."""
        for read in reads:
            if slot < read.n_slots:
                unit = slot // read.share
                return read.weight[:, unit], None if read.bias is None else read.bias[unit]
            slot -= read.n_slots
        raise IndexError("expected a slot of the layer")

    @cached_property
    def read_constants(self) -> list[torch.Tensor | None]:
        """Per layer (3 heads d_head,): the slots' biases and what the norm's bias gives them."""
        return [self._constants(layer) for layer in range(self.graph.n_layers)]

    @torch.no_grad()
    def _constants(self, layer: int) -> torch.Tensor | None:
        norm, parts = self.blocks[layer].attn_norm, []
        for read in self.reads(layer):
            if read.bias is None and norm.bias is None:
                return None
            constants = read.weight.new_zeros(()) if read.bias is None else read.bias
            if norm.bias is not None:
                constants = constants + torch.tensordot(norm.bias, read.weight, 1)
            parts.append(constants.repeat_interleave(read.share, 0))
        return torch.cat(parts).flatten()

    @cached_property
    def read_means(self) -> list[torch.Tensor | None]:
        """Per layer (3 heads, d_head): the mean of diag(norm weight) W; None for RMSNorm."""
        return [self._means(layer) for layer in range(self.graph.n_layers)]

    @torch.no_grad()
    def _means(self, layer: int) -> torch.Tensor | None:
        norm = self.blocks[layer].attn_norm
        if not norm.centred:
            return None
        weight = norm.weight / self.d_model
        parts = [
            torch.tensordot(weight, read.weight, 1).repeat_interleave(read.share, 0)
            for read in self.reads(layer)
        ]
        return torch.cat(parts)

    def split_heads(self, slots: torch.Tensor) -> Heads:
        """q, k and v (batch, heads, pos, d_head) from the slots (batch, pos, 3 heads d_head)."""
        by_slot = slots.unflatten(-1, (3, self.graph.n_heads, -1))
        return Heads(*by_slot.permute(2, 0, 3, 1, 4).unbind(0))

    def join_heads(self, heads: Heads) -> torch.Tensor:
        """The inverse of `split_heads`."""
        return torch.stack(list(heads)).permute(1, 3, 0, 2, 4).flatten(2)

    def ready(self, layer: int, heads: Heads) -> Heads:
        """q, k and v as softmax attention takes them."""
        q, k, v = heads
        norms = self.blocks[layer].head_norms
        if norms is not None:
            q, k = norms[0](q), norms[1](k)
        return Heads(self.rotate(q), self.rotate(k), v)

    def rotate(self, x: torch.Tensor, *, back: bool = False) -> torch.Tensor:
        """q or k as it is: positions come in at the stream's start."""
        return x

    def attend(self, layer: int, q, k, v) -> torch.Tensor:
        """Causal attention of (batch, heads, pos, d_head) tensors, as the model computes it."""
        return attend(self.ready(layer, Heads(q, k, v)), self.softmax(layer))

    def attention_weights(self, layer: int, stream: torch.Tensor) -> torch.Tensor:
        """(batch, heads, pos, keys) in float32, whatever attention function the model runs."""
        block = self.blocks[layer]
        read = block.attn_norm(stream)
        slots = self.slots([module(read) for module in block.projections])
        heads = self.ready(layer, self.split_heads(slots))
        return self.softmax(layer).weights(heads, slice(0, stream.shape[1])).float()


class Rotary(Decoder):
    """A decoder that turns q and k by angles, given by the trunk's `rotary_emb`."""

    def rotate(self, x: torch.Tensor, *, back: bool = False) -> torch.Tensor:
        """x (batch, heads, pos, d_head) turned in its first dimensions, all or some."""
        cos, sin = self._angles(x.shape[-2], x.dtype, x.device)
        width = cos.shape[-1]
        turned, rest = x[..., :width], x[..., width:]
        first, second = turned.chunk(2, -1)
        across = torch.cat([-second, first], -1) * sin
        turned = turned * cos - across if back else turned * cos + across
        return turned if width == x.shape[-1] else torch.cat([turned, rest], -1)

    @cached_property
    def _angles(self):
        """A function of length, dtype and device: (cos, sin), (pos, rotated dimensions) each."""

        @lru_cache(maxsize=2)
        def angles(length: int, dtype, device):
            positions = torch.arange(length, device=device)[None]
            like = torch.empty(0, dtype=dtype, device=device)
            cos, sin = self.trunk.rotary_emb(like, positions)
            return cos[0], sin[0]

        return angles
