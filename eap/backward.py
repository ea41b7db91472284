"""Backward passes by rules: operations are cut out of autograd's graph and put back with a rule.

Forward passes change no bit: every operation gets its input cut off from the graph, and what it
makes of it is put into the graph with the rule (`eap.rules`). Hooks live in `with` blocks.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from eap.hooks import NO_TAPS, Taps, hooked, row_chunks
from eap.models.contract import Adapter
from eap.rules import (
    Heads,
    Rules,
    attention_derivative,
    derivative,
    half_factor,
    norm_derivative,
)


class _HandBack(torch.autograd.Function):
    """`value`, computed elsewhere from `starts`, put into the graph with a rule of its own.

    `rule(gradient)` gives the gradients of all starts.
    """

    @staticmethod
    def forward(ctx, value, rule, *starts):
        ctx.rule, ctx.dtypes = rule, [start.dtype for start in starts]
        return value.view_as(value)

    @staticmethod
    def backward(ctx, grad):
        with torch.autocast(grad.device.type, enabled=False):
            grads = ctx.rule(grad)
        typed = [part.to(dtype) for part, dtype in zip(grads, ctx.dtypes, strict=True)]
        return None, None, *typed


class _Replacement:
    """Hooks that cut operations off from the graph and put their results back with other rules."""

    def __init__(self):
        self.starts, self.before, self.after = {}, [], []

    def module(self, module, rule: Callable) -> None:
        """Replace what happens inside `module`; `rule(grad, start)` gives the start's gradient."""

        def put_back(value):
            start = self.starts.pop(module)
            detached = start.detach()
            return _HandBack.apply(value, lambda grad: [rule(grad, detached)], start)

        self.before.append((module, partial(self._cut, module)))
        self.after.append((module, put_back))

    def between(self, modules, end, *, rule: Callable) -> None:
        """Replace what happens from the outputs of `modules` to the input of `end`.

        `rule(grad, outputs)` gives the gradients of the modules' outputs.
        """

        def put_back(value):
            outputs = [self.starts.pop(module) for module in modules]
            detached = [output.detach() for output in outputs]
            return _HandBack.apply(value, lambda grad: rule(grad, detached), *outputs)

        for module in modules:
            self.after.append((module, partial(self._cut, module)))
        self.before.append((end, put_back))

    def _cut(self, module, x: torch.Tensor) -> torch.Tensor:
        self.starts[module] = x
        return x.detach()

    def hooked(self):
        """A context in which the hooks are in place."""
        return hooked(self.before, self.after)


@contextmanager
def handing_back(
    adapter: Adapter, rules: Rules, *, other: Taps | None, collect: Callable | None = None
):
    """Run a block in which activations, norms and attention hand back what `rules` say.

    `other` is what the corrupted run worked on, for rules that look at it. `collect(layer, value,
    multiplier)` gets what a layer's slots project and the multiplier of that.
    """
    replacement = _Replacement()
    for layer, block in enumerate(adapter.blocks):
        corrupted = NO_TAPS if other is None else other.of_layer(layer)
        attention = _AttentionRule(adapter, layer, rules, corrupted.projections, collect)
        for norm, stream in (
            (block.attn_norm, corrupted.attn_norms),
            (block.attn_post, corrupted.attn_posts),
            (block.mlp_norm, corrupted.mlp_norms),
            (block.mlp_post, corrupted.mlp_posts),
        ):
            if norm is not None:
                replacement.module(norm.module, partial(_norm_rule, rules, norm, stream))
        replacement.between(block.projections, block.attn_out, rule=attention)
        gate = partial(_activation_rule, rules, block.activation, corrupted.hidden)
        replacement.between(block.mlp_in, block.mlp_out, rule=gate)
    stream = None if other is None else other.final[0]
    final = partial(_norm_rule, rules, adapter.final_norm, stream)
    replacement.module(adapter.final_norm.module, final)
    if adapter.cap is not None:
        uncapped = None if other is None else other.uncapped[0]
        replacement.module(adapter.cap, partial(_cap_rule, rules, adapter.cap, uncapped))
    with replacement.hooked():
        yield


def derived_attention(adapter: Adapter, collect: Callable):
    """A context in which attention hands back derivatives, slot by slot, to `collect` as well."""
    rules = Rules(derivative, norm_derivative, attention_derivative, half_factor)
    replacement = _Replacement()
    for layer, block in enumerate(adapter.blocks):
        attention = _AttentionRule(adapter, layer, rules, None, collect)
        replacement.between(block.projections, block.attn_out, rule=attention)
    return replacement.hooked()


def _wide(x: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, unless it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


def _wide_or_none(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else _wide(x)


# ---------------------------------------------------------------- norms, caps, activations


def _norm_rule(rules: Rules, norm, other, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The multiplier at a norm's input x from that at its output; `other` is the other run's x."""
    slope = rules.norm(_wide(x), _wide_or_none(other), epsilon=norm.epsilon, centred=norm.centred)
    y = _wide(grad) * norm.weight
    if norm.centred:
        y.sub_(y.mean(-1, keepdim=True))
    return slope.hand_back(y)


def _cap_rule(rules: Rules, module, other, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The multiplier of logits x before their cap; `other` are those of the corrupted run."""
    return grad * rules.activation(module.function, _wide(x), _wide_or_none(other))


def _activation_rule(
    rules: Rules,
    function: Callable,
    others: list[torch.Tensor] | None,
    grad: torch.Tensor,
    inputs: list[torch.Tensor],
) -> list[torch.Tensor]:
    """The multipliers of what an activation takes, and of the factor of its result if there is one.

    `others` is what both were in the corrupted run. Some positions at a time.
    """
    results = [torch.empty_like(grad) for _ in inputs]
    with torch.no_grad():
        for part in row_chunks(grad):
            values = [_wide(x[part]) for x in inputs]
            other_values: list = [None] * len(values)
            if others is not None:
                other_values = [_wide(x[part]) for x in others]
            slope = rules.activation(function, values[0], other_values[0])
            if len(values) == 1:
                results[0][part] = grad[part] * slope
                continue
            factor = rules.factor(values[1], other_values[1])
            results[0][part] = grad[part] * slope * factor
            other_opened = None if others is None else function(other_values[0])
            results[1][part] = grad[part] * rules.factor(function(values[0]), other_opened)
    return results


# ---------------------------------------------------------------- attention


@dataclass(frozen=True)
class _AttentionRule:
    """From the multiplier of a layer's heads' results to those of the projections' outputs.

    `others` is what the projections put out in the corrupted run, or None.
    """

    adapter: Adapter
    layer: int
    rules: Rules
    others: list[torch.Tensor] | None
    collect: Callable | None

    def __call__(self, grad: torch.Tensor, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """The multipliers of `outputs`, from `grad` (batch, pos, heads d_head)."""
        adapter, layer = self.adapter, self.layer
        slots = adapter.slots(outputs)
        heads, other, other_ready = adapter.split_heads(_wide(slots)), None, None
        if self.others is not None:
            other = adapter.split_heads(_wide(adapter.slots(self.others)))
            other_ready = adapter.ready(layer, other)
        by_head = _wide(grad).unflatten(-1, (adapter.graph.n_heads, -1)).transpose(1, 2)
        ready, softmax = adapter.ready(layer, heads), adapter.softmax(layer)
        multipliers = self.rules.attention(ready, other_ready, grad=by_head, softmax=softmax)
        joined = adapter.join_heads(self._before_ready(multipliers, heads, other=other))
        if self.collect is not None:
            self.collect(layer, slots, joined)
        return adapter.fold(joined)

    def _before_ready(self, multipliers: Heads, heads: Heads, *, other: Heads | None) -> Heads:
        """The multipliers of what slots project: back through rotation and norms of q and k."""
        q = self.adapter.rotate(multipliers.q, back=True)
        k = self.adapter.rotate(multipliers.k, back=True)
        norms = self.adapter.blocks[self.layer].head_norms
        if norms is not None:
            other_q = None if other is None else other.q
            other_k = None if other is None else other.k
            q = _norm_rule(self.rules, norms[0], other_q, q, heads.q)
            k = _norm_rule(self.rules, norms[1], other_k, k, heads.k)
        return Heads(q, k, multipliers.v)
