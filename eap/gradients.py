"""What edge scores need of a backward pass, summed over the points of a path while it runs."""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch

from eap import backward
from eap.hooks import NO_TAPS, Taps, hooked, row_chunks
from eap.models.contract import Adapter
from eap.rules import NormSlope, Rules, norm_derivative


class _Pass(NamedTuple):
    """The backward pass of a point."""

    weight: float  # of its gradients in the sums
    norm: Callable  # the rule of attention's norm
    corrupted: Taps | None  # what the corrupted run worked on


class Gradients:
    """Sums over the points of a path of what edge scores need of d metric / d slot input.

    See `eap.attribute`. With G the gradient of what a slot projects, w a point's weight and scale,
    direction, along and value those of the norm's `NormSlope`:

        projected[layer]   sum of w scale G (batch, pos, 3 heads d_head)
        along[layer]       per point, w along (G . value) (batch, pos, 3 heads)
        directions[layer]  per point, the direction (batch, pos, d_model)
        direct[layer]      sum of w times the gradient itself at an MLP's input, and at the logits'
                           for the last (batch, pos, d_model)
    """

    def __init__(self, adapter: Adapter):
        self.adapter = adapter
        n_layers = adapter.graph.n_layers
        self.projected: list[Any] = [None] * n_layers
        self.along: list[list[torch.Tensor]] = [[] for _ in range(n_layers)]
        self.directions: list[list[torch.Tensor]] = [[] for _ in range(n_layers)]
        self.direct: list[Any] = [None] * (n_layers + 1)
        # what attention's norms read at the point that runs now
        self.streams: list[Any] = [None] * n_layers

    @contextmanager
    def collecting(self, weight: float, *, rules: Rules | None = None, other: Taps | None = None):
        """Run one point's forward and backward pass in this block.

        Its gradients are added with `weight`. With `rules` the backward pass follows these
        (`backward.handing_back`); `other` saw the corrupted run. Without, what one fused projection
        puts out is watched. Where query heads share keys and values, or q, k and v come from
        modules of their own, attention alone hands back what every slot gets.
        """
        adapter = self.adapter
        norm = norm_derivative if rules is None else rules.norm
        collect = partial(self._add_heads, _Pass(weight, norm, other))
        before, after = [], []
        for layer, block in enumerate(adapter.blocks):
            before.append((block.attn_norm.module, partial(self._keep_stream, layer)))
            before.append((block.mlp_norm.module, partial(self._watch_stream, layer, weight)))
            if rules is None and adapter.fused:
                watch = partial(_watch_projection, adapter, partial(collect, layer))
                after.append((block.projections[0], watch))
        before.append((adapter.final_norm.module, partial(self._watch_stream, -1, weight)))
        with ExitStack() as stack:
            stack.enter_context(hooked(before, after))
            if rules is not None:
                stack.enter_context(
                    backward.handing_back(adapter, rules, other=other, collect=collect)
                )
            elif not adapter.fused:
                stack.enter_context(backward.derived_attention(adapter, collect))
            yield

    def _keep_stream(self, layer: int, x: torch.Tensor) -> None:
        self.streams[layer] = x.detach()

    def _add_heads(self, point: _Pass, layer: int, value: torch.Tensor, grad: torch.Tensor) -> None:
        """Add the gradient of what a layer's slots project, which is `value`."""
        corrupted = NO_TAPS if point.corrupted is None else point.corrupted.of_layer(layer)
        norm = self.adapter.blocks[layer].attn_norm
        stream = self.streams[layer]
        how = {"epsilon": norm.epsilon, "centred": norm.centred}
        slope = point.norm(stream, corrupted.attn_norms, **how)
        self.streams[layer] = None
        scale = point.weight * slope.scale
        if self.projected[layer] is None:
            self.projected[layer] = scale.new_zeros(grad.shape)
        for part in row_chunks(grad):
            self.projected[layer][part] += grad[part] * scale[part]
        if slope.direction is not None:
            along = self._along(layer, slope, value=value, grad=grad, others=corrupted.projections)
            self.along[layer].append(along.mul_(point.weight * slope.along))
            self.directions[layer].append(slope.direction)

    def _along(
        self, layer: int, slope: NormSlope, *, value: torch.Tensor, grad: torch.Tensor, others
    ) -> torch.Tensor:
        """(batch, pos, 3 heads): G . value of every slot.

        `others` is what the projections put out in the corrupted run, where the slope needs it.
        """
        other = None if slope.others is None else self.adapter.slots(others)
        constants = self.adapter.read_constants[layer]
        constants = value.new_zeros(()) if constants is None else constants
        d_head = self.adapter.d_head
        along = slope.scale.new_empty(*grad.shape[:-1], grad.shape[-1] // d_head)
        for part in row_chunks(grad):
            products = torch.sub(value[part], constants)
            if other is not None:
                assert isinstance(slope.own, torch.Tensor) and slope.others is not None
                products.mul_(slope.own[part])
                products.addcmul_(other[part] - constants, slope.others[part])
            products.mul_(grad[part])
            along[part] = products.unflatten(-1, (-1, d_head)).sum(-1)
        return along

    def _watch_stream(self, layer: int, weight: float, x: torch.Tensor) -> torch.Tensor:
        # A view is a node of its own in the autograd graph: its gradient is this reader's share of
        # the stream's.
        branch = x.view_as(x)
        branch.register_hook(lambda grad: self._add_stream(layer, grad, weight=weight))
        return branch

    def _add_stream(self, layer: int, grad: torch.Tensor, *, weight: float) -> None:
        direct = self.direct[layer]
        self.direct[layer] = grad * weight if direct is None else direct.add_(grad, alpha=weight)


def _watch_projection(adapter: Adapter, collect: Callable, out: torch.Tensor) -> None:
    """Call `collect(value, gradient)` of the slots when a fused projection's gradient is there."""
    value = out.detach()
    out.register_hook(lambda grad: collect(adapter.slots([value]), adapter.slots([grad])))
