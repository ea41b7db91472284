"""The only place that touches a running model: record what nodes write, differentiate what slots read, patch a node's output.

Every hook lives in a `with` block and is removed when it ends, also by an exception.
"""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

import torch

from eap.rules import Heads, NormSlope, Rules, norm_derivative

CHUNK_ROWS = (
    64  # positions at a time on a CPU, so that what is computed for them stays near the processor
)


class Activations(NamedTuple):
    """What every node writes: `input` with positions, each layer's heads before the output projection, each MLP's output."""

    input: torch.Tensor  # (batch, pos, d_model)
    heads: list[torch.Tensor]  # per layer (batch, pos, d_model): heads side by side, d_head each
    mlps: list[torch.Tensor]  # per layer (batch, pos, d_model)

    def map(self, function, *others: "Activations") -> "Activations":
        """`function` applied to every tensor, together with those of `others`."""
        lists = [
            [
                function(*tensors)
                for tensors in zip(*(each[i] for each in (self, *others)), strict=True)
            ]
            for i in (1, 2)
        ]
        return Activations(function(self.input, *(other.input for other in others)), *lists)


@contextmanager
def hooked(before=(), after=()):
    """Run a block with forward hooks: `before` and `after` hold (module, function of its first input or its output).

    A function that returns a tensor replaces the input or output; one that returns None leaves it.
    """
    with ExitStack() as stack:
        for module, function in before:
            stack.callback(
                module.register_forward_pre_hook(lambda _, inputs, f=function: f(inputs[0])).remove
            )
        for module, function in after:
            stack.callback(
                module.register_forward_hook(lambda _, __, output, f=function: f(output)).remove
            )
        yield


@contextmanager
def frozen(model):
    """Run a block with the model in eval mode and its parameters without gradients; both are put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    model.eval().requires_grad_(False)
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(requires_grad)


def autocast(device, dtype):
    """Matrix products in `dtype` (bfloat16), everything else as it is; nothing changes for None."""
    return torch.autocast(
        torch.device(device).type, dtype=dtype or torch.bfloat16, enabled=dtype is not None
    )


class _Nodes(NamedTuple):
    """What heads and MLPs wrote in a run so far."""

    heads: list[torch.Tensor]
    mlps: list[torch.Tensor]

    def activations(self, start: torch.Tensor) -> Activations:
        """The `Activations` of the run, whose stream started as `start`."""
        return Activations(start.detach(), self.heads, self.mlps)


@contextmanager
def recorded(adapter):
    """Run a block in which one forward pass leaves what heads and MLPs write in the lists that this yields."""
    nodes = _Nodes([], [])
    before = [
        (block.attn_out, lambda z: nodes.heads.append(_unhalved(z))) for block in adapter.blocks
    ]
    after = [(block.mlp, lambda out: nodes.mlps.append(_unhalved(out))) for block in adapter.blocks]
    with hooked(before, after):
        yield nodes


def _unhalved(x: torch.Tensor) -> torch.Tensor:
    """The values, in float32 where they are in bfloat16."""
    return x.detach().float() if x.dtype == torch.bfloat16 else x.detach()


@torch.no_grad()
def record(adapter, ids: torch.Tensor) -> tuple[Activations, torch.Tensor]:
    """What every node writes in a plain run, and the final norm's output (batch, pos, d_model)."""
    embeddings = adapter.embed(ids)
    with recorded(adapter) as nodes:
        hidden = adapter.hidden(embeddings)
    return nodes.activations(embeddings + adapter.positions(ids.shape[1])), hidden


class Gradients:
    """Sums over the points of a path of what edge scores need of d metric / d slot input; see `attribute`'s docstring.

    With G the gradient at a slot's projection output, w a point's weight and scale, direction, along and
    value those of the norm's `NormSlope`: `projected[layer]` is the sum of w scale G (batch, pos, 3 d_model);
    `along[layer]` and `directions[layer]` hold, per point, w along (G . value) (batch, pos, 3 heads) and the
    direction (batch, pos, d_model); `direct[layer]` is the sum of w times the gradient itself at an MLP's
    input, and at the logits' for the last (batch, pos, d_model).
    """

    def __init__(self, adapter):
        self.adapter = adapter
        n_layers = adapter.graph.n_layers
        self.projected = [None] * n_layers
        self.along, self.directions = [[] for _ in range(n_layers)], [[] for _ in range(n_layers)]
        self.direct = [None] * (n_layers + 1)
        self.streams = [None] * n_layers  # what attention's norms read at the point that runs now

    @contextmanager
    def collecting(
        self, weight: float = 1.0, norm: Callable = norm_derivative, other: "Taps | None" = None
    ):
        """Run one point's forward and backward pass in this block; its gradients are added with `weight`.

        `norm` is the rule by which attention's norms hand gradients back, with what `other` saw in its run.
        """
        before, after = [], []
        for layer, block in enumerate(self.adapter.blocks):
            rule = partial(self._add_heads, layer, weight, norm, other)
            before.append((block.attn_norm, partial(self._keep_stream, layer)))
            after.append((block.qkv, partial(_watch_projection, rule)))
            before.append((block.mlp_norm, partial(self._watch_stream, layer, weight)))
        before.append((self.adapter.final_norm, partial(self._watch_stream, -1, weight)))
        with hooked(before, after):
            yield

    def _keep_stream(self, layer: int, x: torch.Tensor) -> None:
        self.streams[layer] = x.detach()

    def _add_heads(self, layer: int, weight: float, norm: Callable, other, value, grad) -> None:
        there = other.of_layer(layer) if other else NO_TAPS
        slope = norm(self.streams[layer], there.attn_norms, self.adapter.epsilon)
        self.streams[layer] = None
        scale = weight * slope.scale
        if self.projected[layer] is None:
            self.projected[layer] = scale.new_zeros(grad.shape)
        chunk = CHUNK_ROWS if grad.device.type == "cpu" else grad.shape[1]
        starts = range(0, grad.shape[1], chunk)
        parts = [(slice(None), slice(start, start + chunk)) for start in starts]
        for part in parts:
            self.projected[layer][part] += grad[part] * scale[part]
        if slope.direction is None:
            return
        along = scale.new_empty(*grad.shape[:-1], grad.shape[-1] // self.adapter.d_head)
        for part in parts:
            along[part] = self._along(layer, slope, grad, value, there.projections, part)
        self.along[layer].append(along.mul_(weight * slope.along))
        self.directions[layer].append(slope.direction)

    def _along(self, layer: int, slope: NormSlope, grad, value, other, part) -> torch.Tensor:
        """G . value of every slot (batch, some positions, 3 heads)."""
        constants = self.adapter.read_constants[layer]
        products = torch.sub(value[part], constants)
        if slope.others is not None:
            products.mul_(slope.own[part])
            products.addcmul_(other[part] - constants, slope.others[part])
        products.mul_(grad[part])
        return products.unflatten(-1, (-1, self.adapter.d_head)).sum(-1)

    def _watch_stream(self, layer: int, weight: float, x: torch.Tensor) -> torch.Tensor:
        # A view is a node of its own in the autograd graph: its gradient is this reader's share of the stream's.
        branch = x.view_as(x)
        branch.register_hook(lambda grad: self._add_stream(layer, grad, weight))
        return branch

    def _add_stream(self, layer: int, grad: torch.Tensor, weight: float) -> None:
        direct = self.direct[layer]
        self.direct[layer] = grad * weight if direct is None else direct.add_(grad, alpha=weight)


def _watch_projection(rule: Callable, out: torch.Tensor) -> None:
    """Call `rule(value, gradient)` when the gradient at a projection's output is there."""
    value = out.detach()
    out.register_hook(lambda grad: rule(value, grad))


class Taps(NamedTuple):
    """What the nonlinear operations of a run worked on; lists by layer, (batch, pos, width) each."""

    attn_norms: list[torch.Tensor]  # the stream before attention's norm
    projections: list[torch.Tensor]  # q, k and v of all heads, side by side
    mlp_norms: list[torch.Tensor]  # the stream before the MLP's norm
    hidden: list[torch.Tensor]  # before the MLP's activation
    final: list[torch.Tensor]  # the stream before the final norm: one tensor

    def of_layer(self, layer: int) -> "Taps":
        """The tensors of one layer."""
        return Taps(*(tensors[layer] for tensors in self[:4]), self.final)


NO_TAPS = Taps(None, None, None, None, None)


@contextmanager
def tapped(adapter):
    """Run a block in which one forward pass leaves what its operations work on in the `Taps` that this yields."""
    taps = Taps([], [], [], [], [])
    before = [(adapter.final_norm, lambda x: taps.final.append(x.detach()))]
    after = []
    for block in adapter.blocks:
        before.append((block.attn_norm, lambda x: taps.attn_norms.append(x.detach())))
        before.append((block.mlp_norm, lambda x: taps.mlp_norms.append(x.detach())))
        before.append((block.activation, lambda x: taps.hidden.append(x.detach())))
        after.append((block.qkv, lambda out: taps.projections.append(out.detach())))
    with hooked(before, after):
        yield taps


class _HandBack(torch.autograd.Function):
    """`value`, computed elsewhere from `start`, put into the graph with a backward rule of its own."""

    @staticmethod
    def forward(ctx, start, value, rule):
        ctx.rule, ctx.dtype = rule, start.dtype
        return value.view_as(value)

    @staticmethod
    def backward(ctx, grad):
        with torch.autocast(grad.device.type, enabled=False):
            return ctx.rule(grad).to(ctx.dtype), None, None


@contextmanager
def handing_back(adapter, rules: Rules, other: Taps | None):
    """Run a block in which the backward pass of activations, norms and attention follows `rules`.

    Forward passes change no bit: every operation gets its input cut off from the graph, and what it makes
    of it is put into the graph with the rule. `other` is what the corrupted run worked on.
    """
    starts, before, after = {}, [], []

    def replace(module, rule: Callable) -> None:
        before.append((module, lambda x: _cut(starts, module, x)))
        after.append((module, lambda value: rule(starts.pop(module), value)))

    def norm_rule(module, stream) -> Callable:
        def put_back(x, value):
            here = x.detach()

            def rule(grad):
                slope = rules.norm(_wide(here), stream, adapter.epsilon)
                return slope.hand_back(_behind(module, grad))

            return _HandBack.apply(x, value, rule)

        return put_back

    def activation_rule(module, hidden) -> Callable:
        def put_back(x, value):
            h = x.detach()
            return _HandBack.apply(
                x, value, lambda grad: _sloped(rules, module.forward, h, hidden, grad)
            )

        return put_back

    def attention_rule(layer: int, projections) -> Callable:
        def put_back(value):
            rule = _attention_rule(adapter, rules, starts[layer].detach(), projections)
            return _HandBack.apply(starts.pop(layer), value, rule)

        return put_back

    for layer, block in enumerate(adapter.blocks):
        there = other.of_layer(layer) if other else NO_TAPS
        replace(block.attn_norm, norm_rule(block.attn_norm, there.attn_norms))
        after.append((block.qkv, lambda out, layer=layer: _cut(starts, layer, out)))
        before.append((block.attn_out, attention_rule(layer, there.projections)))
        replace(block.mlp_norm, norm_rule(block.mlp_norm, there.mlp_norms))
        replace(block.activation, activation_rule(block.activation, there.hidden))
    final = other.final[0] if other else None
    replace(adapter.final_norm, norm_rule(adapter.final_norm, final))
    with hooked(before, after):
        yield


def _cut(starts: dict, key, x: torch.Tensor) -> torch.Tensor:
    starts[key] = x
    return x.detach()


def _wide(x: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, unless it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


def _behind(norm, grad: torch.Tensor) -> torch.Tensor:
    """What arrives behind a norm, through its weight and, as the norm centres, less its mean."""
    y = _wide(grad) * norm.weight
    return y.sub_(y.mean(-1, keepdim=True))


def _sloped(rules: Rules, function, h: torch.Tensor, other, grad: torch.Tensor) -> torch.Tensor:
    """The gradient times the activation's slope, some positions at a time.

    `function` is the module's plain forward function: the module itself would run this block's hooks.
    """
    result = torch.empty_like(grad)
    chunk = CHUNK_ROWS if grad.device.type == "cpu" else grad.shape[1]
    with torch.no_grad():
        for start in range(0, grad.shape[1], chunk):
            part = slice(None), slice(start, start + chunk)
            there = None if other is None else _wide(other[part])
            slope = rules.activation(function, _wide(h[part]), there)
            result[part] = grad[part] * slope
    return result


def _attention_rule(adapter, rules: Rules, projected: torch.Tensor, other) -> Callable:
    """From the multiplier of the heads' results to that of the q-k-v projection's output."""

    def rule(grad):
        heads = Heads(*adapter.split_heads(_wide(projected)))
        others = None if other is None else Heads(*adapter.split_heads(_wide(other)))
        arriving = _wide(grad).unflatten(-1, (adapter.graph.n_heads, -1)).transpose(1, 2)
        return adapter.join_heads(*rules.attention(heads, others, arriving, adapter.scaling))

    return rule


@contextmanager
def gated(adapter, other: Taps, share: float):
    """Run a block in which every reader reads share x (its own stream) + (1 - share) x (that of `other`)."""

    def mix(stream):
        return lambda x: share * x + (1 - share) * stream

    before = [(adapter.final_norm, mix(other.final[0]))]
    for layer, block in enumerate(adapter.blocks):
        before.append((block.attn_norm, mix(other.attn_norms[layer])))
        before.append((block.mlp_norm, mix(other.mlp_norms[layer])))
    with hooked(before):
        yield


def patched(adapter, where: str, value: torch.Tensor):
    """Run a block with the output of all heads of a layer (`where` = "a3") or of an MLP ("m3") replaced by `value`."""
    block = adapter.blocks[int(where[1:])]
    if where[0] == "a":
        return hooked(before=[(block.attn_out, lambda _: value)])
    return hooked(after=[(block.mlp, lambda _: value)])
