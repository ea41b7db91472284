"""What an adapter must offer, so that the rest of `eap` knows no architecture.

A *slot* is q, k or v of one query head. Every slot has a stream of its own to read, also where
several query heads share a key and value head: these slots then read through one *unit* of the
projection, and the gradient that arrives at the unit is the sum over its slots.
"""

# pyright: reportReturnType=false
# The methods of a Protocol have a docstring for a body.

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from eap.graph import Graph
from eap.rules import Heads, Softmax, centre


@dataclass(frozen=True)
class Norm:
    """A norm: (x - mean x) / sqrt(variance + epsilon) times its weight, plus its bias if any.

    Where it is not `centred` no mean is taken out, and the scale is the mean square's (RMSNorm).
    `offset` is what the module adds to its weight before it multiplies.
    """

    module: nn.LayerNorm  # or an RMSNorm
    epsilon: float
    centred: bool = True
    offset: float = 0.0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width): the norm of x (..., width)."""
        return self.module(x)

    @property
    def weight(self) -> torch.Tensor:
        """(width,): what the scaled stream is multiplied with."""
        return self.module.weight + self.offset if self.offset else self.module.weight

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        """(..., 1): what x (..., width) is divided by."""
        return centre(x, self.epsilon, centred=self.centred)[1]

    @property
    def bias(self) -> torch.Tensor | None:
        """(width,): what is added to it, or None."""
        return getattr(self.module, "bias", None)


class Read(NamedTuple):
    """What consecutive slots of a layer multiply the norm's output with.

    Each of the units is read by `share` slots that follow each other.
    """

    weight: torch.Tensor  # (d_model, units, d_head)
    bias: torch.Tensor | None  # (units, d_head)
    share: int = 1

    @property
    def n_slots(self) -> int:
        """How many slots read through it."""
        return self.weight.shape[1] * self.share


class Block(NamedTuple):
    """Where one block reads and writes the residual stream, and its nonlinear parts."""

    attn_norm: Norm  # its input is what q, k and v of every head read
    projections: tuple[nn.Linear, ...]  # they put out q, k and v; see `Adapter.slots`
    attn_out: nn.Linear  # its input is the heads' results side by side
    mlp_norm: Norm  # its input is what the MLP reads
    mlp: nn.Module  # its output is what the MLP writes, but for a norm that follows
    mlp_in: tuple[nn.Module, ...]  # what the activation takes, and a factor if any
    activation: nn.Module  # the MLP's elementwise nonlinearity
    mlp_out: nn.Module  # its input is the activation's result times the factor
    head_norms: tuple[Norm, Norm] | None = None  # of every head's q and k
    attn_post: Norm | None = None  # of what the heads give together, before the stream
    mlp_post: Norm | None = None  # of what the MLP gives, before the stream

    @property
    def norms(self) -> tuple[Norm, ...]:
        """All norms of the block but those inside its heads."""
        norms = self.attn_norm, self.attn_post, self.mlp_norm, self.mlp_post
        return tuple(norm for norm in norms if norm is not None)

    @property
    def mlp_end(self) -> nn.Module:
        """The module whose output is what the MLP writes."""
        return self.mlp if self.mlp_post is None else self.mlp_post.module

    def run_mlp(self, stream: torch.Tensor) -> torch.Tensor:
        """What the MLP writes where it reads `stream`."""
        written = self.mlp(self.mlp_norm(stream))
        return written if self.mlp_post is None else self.mlp_post(written)

    @property
    def linear(self) -> tuple[nn.Module, ...]:
        """The modules that multiply with a matrix, in the order in which they run."""
        return (*self.projections, self.attn_out, *self.mlp_in, self.mlp_out)


class Adapter(Protocol):
    """A decoder's parts under the names that the rest of `eap` uses.

    The residual stream is what `start` gives, plus what the heads, their layers' biases and the
    MLPs write; `graph.parallel` says whether a layer's MLP reads before its heads have written.
    Streams are (batch, pos, d_model); q, k and v of the query heads (batch, heads, pos, d_head).
    """

    model: Any  # of transformers
    graph: Graph
    blocks: list[Block]
    final_norm: Norm
    cap: nn.Module | None  # through which logits go last
    d_head: int
    scaling: float  # of the products of queries and keys
    context_length: int
    vocabulary_size: int
    inputs_first: bool  # whether linear modules keep weights as inputs x outputs
    share: int  # query heads that read one head of keys and values
    attention: str  # transformers' name of the attention function that it is run with

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Token embeddings (..., pos, d_model), without positions."""

    def start(self, embeddings: torch.Tensor) -> torch.Tensor:
        """What `input` writes, given token embeddings: the stream's start, as a new tensor."""

    def hidden(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The final norm's output, given token embeddings; right padding needs no mask."""

    def unembed(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (..., vocabulary) of the final norm's output."""

    def out_weight(self, layer: int) -> torch.Tensor:
        """(heads, d_head, d_model): what each head multiplies its attention's result with."""

    def write_weight(self, layer: int) -> torch.Tensor:
        """(heads, d_head, d_model): what each head multiplies its result with to write it.

        Where a norm follows attention, a head's *result* is that of its attention over the scale
        of this norm, each run with its own, and the norm's weight is in here.
        """

    def write_bias(self, layer: int) -> torch.Tensor:
        """(d_model,): what attention writes besides its heads' results; it is no node's."""

    def reads(self, layer: int) -> tuple[Read, ...]:
        """The projections of a layer: together they have 3 heads slots, all q, all k, all v."""

    def slots(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """(batch, pos, 3 heads d_head): what every slot projects, from the projections' outputs."""

    def fold(self, slots: torch.Tensor) -> list[torch.Tensor]:
        """The transpose of `slots`: gradients of the projections' outputs."""

    @property
    def fused(self) -> bool:
        """Whether one module projects all slots and none of its outputs has two readers."""

    @property
    def read_constants(self) -> list[torch.Tensor | None]:
        """Per layer (3 heads d_head,): the part of the slots that is constant, if any."""

    @property
    def read_means(self) -> list[torch.Tensor | None]:
        """Per layer (3 heads, d_head): the mean of diag(norm weight) W; None if not centred."""

    def read_weight(self, layer: int, slots: list[int]) -> torch.Tensor:
        """(d_model, chosen slots, d_head): what these slots multiply the norm's output with."""

    def read_bias(self, layer: int, slots: list[int]) -> torch.Tensor | None:
        """(chosen slots, d_head): what they add to it, or None."""

    def split_heads(self, slots: torch.Tensor) -> Heads:
        """q, k and v of every query head from what the slots project."""

    def join_heads(self, heads: Heads) -> torch.Tensor:
        """The inverse of `split_heads`."""

    def ready(self, layer: int, heads: Heads) -> Heads:
        """q, k and v as softmax attention takes them: normed and rotated if the model does so."""

    def rotate(self, x: torch.Tensor, *, back: bool = False) -> torch.Tensor:
        """q or k turned by its position's angles; with `back` the transpose, for gradients."""

    def softmax(self, layer: int) -> Softmax:
        """How a layer's attention weights come of queries and keys."""

    def attend(self, layer: int, q, k, v) -> torch.Tensor:
        """Causal attention of what the slots project, for any subset of the heads."""

    def attention_weights(self, layer: int, stream: torch.Tensor) -> torch.Tensor:
        """(batch, heads, pos, keys): the weights of a layer that reads `stream`, in float32."""
