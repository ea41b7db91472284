"""The only place that touches a running model: record what nodes write, differentiate what slots read, patch a node's output.

Every hook lives in a `with` block and is removed when it ends, also by an exception.
"""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch

from eap.rules import (
    Heads,
    NormSlope,
    Rules,
    attention_derivative,
    derivative,
    half_factor,
    norm_derivative,
)

CHUNK_ROWS = (
    64  # positions at a time on a CPU, so that what is computed for them stays near the processor
)


class Activations(NamedTuple):
    """What every node writes: the stream's start, each layer's heads before the output projection,
    each MLP's output.
    """

    input: torch.Tensor  # (batch, pos, d_model)
    heads: list[torch.Tensor]  # per layer (batch, pos, heads d_head): heads side by side
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
    """Run a block with forward hooks: `before` and `after` hold (module, function of its first
    input or its output).

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
    """Run a block with the model in eval mode and its parameters without gradients; both are put
    back afterwards.
    """
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
    """Run a block in which one forward pass leaves what heads and MLPs write in the lists that this
    yields.
    """
    nodes = _Nodes([], [])
    before, after = [], []
    for block in adapter.blocks:
        before.append((block.attn_out, lambda z: nodes.heads.append(_unhalved(z))))
        if block.attn_post is not None:
            before.append((block.attn_post.module, partial(_divide, nodes.heads, block.attn_post)))
        after.append((block.mlp_end, lambda out: nodes.mlps.append(_unhalved(out))))
    with hooked(before, after):
        yield nodes


def _divide(heads: list[torch.Tensor], norm, total: torch.Tensor) -> None:
    """Divide the last layer's results by the scale of the norm after it, which reads `total`."""
    heads[-1] = heads[-1] / norm.scale(_unhalved(total))


def _unhalved(x: torch.Tensor) -> torch.Tensor:
    """The values, in float32 where they are in bfloat16."""
    return x.detach().float() if x.dtype == torch.bfloat16 else x.detach()


@torch.no_grad()
def record(adapter, ids: torch.Tensor) -> tuple[Activations, torch.Tensor]:
    """What every node writes in a plain run, and the final norm's output (batch, pos, d_model)."""
    embeddings = adapter.embed(ids)
    with recorded(adapter) as nodes:
        hidden = adapter.hidden(embeddings)
    return nodes.activations(adapter.start(embeddings)), hidden


class Streams(NamedTuple):
    """The residual stream at every place where it is read, (batch, pos, d_model) each."""

    attention: list[torch.Tensor]  # per layer, what the heads read
    mlp: list[torch.Tensor]  # per layer, what the MLP reads
    final: torch.Tensor


def read_streams(adapter, activations: Activations) -> Streams:
    """The streams that what the nodes write adds up to, with the layers' own biases."""
    stream, before_attention, before_mlp = activations.input, [], []
    for layer in range(adapter.graph.n_layers):
        before_attention.append(stream)
        weight = adapter.write_weight(layer).flatten(0, 1)
        stream = stream + activations.heads[layer] @ weight + adapter.write_bias(layer)
        before_mlp.append(before_attention[layer] if adapter.graph.parallel else stream)
        stream = stream + activations.mlps[layer]
    return Streams(before_attention, before_mlp, stream)


class Gradients:
    """Sums over the points of a path of what edge scores need of d metric / d slot input; see
    `attribute`'s docstring.

    With G the gradient of what a slot projects, w a point's weight and scale, direction, along and
    value those of the norm's `NormSlope`: `projected[layer]` is the sum of w scale G (batch, pos, 3
    heads d_head); `along[layer]` and `directions[layer]` hold, per point, w along (G . value)
    (batch, pos, 3 heads) and the direction (batch, pos, d_model); `direct[layer]` is the sum of w
    times the gradient itself at an MLP's input, and at the logits' for the last (batch, pos,
    d_model).
    """

    def __init__(self, adapter):
        self.adapter = adapter
        n_layers = adapter.graph.n_layers
        self.projected: list[Any] = [None] * n_layers
        self.along, self.directions = [[] for _ in range(n_layers)], [[] for _ in range(n_layers)]
        self.direct: list[Any] = [None] * (n_layers + 1)
        self.streams: list[Any] = [
            None
        ] * n_layers  # what attention's norms read at the point that runs now

    @contextmanager
    def collecting(
        self, weight: float = 1.0, rules: Rules | None = None, other: "Taps | None" = None
    ):
        """Run one point's forward and backward pass in this block; its gradients are added with
        `weight`.

        With `rules` the backward pass follows these (`handing_back`); `other` saw the corrupted
        run. Without, what one fused projection puts out is watched. Where query heads share keys
        and values, or q, k and v come from modules of their own, attention alone hands back what
        every slot gets.
        """
        adapter = self.adapter
        norm = rules.norm if rules else norm_derivative
        collect = partial(self._add_heads, weight, norm, other)
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
                stack.enter_context(handing_back(adapter, rules, other, collect))
            elif not adapter.fused:
                stack.enter_context(_derived_attention(adapter, collect))
            yield

    def _keep_stream(self, layer: int, x: torch.Tensor) -> None:
        self.streams[layer] = x.detach()

    def _add_heads(self, weight: float, norm: Callable, other, layer: int, value, grad) -> None:
        """Add the gradient of what a layer's slots project, which is `value`."""
        there = other.of_layer(layer) if other else NO_TAPS
        block_norm = self.adapter.blocks[layer].attn_norm
        slope = norm(
            self.streams[layer],
            there.attn_norms,
            block_norm.epsilon,
            centred=block_norm.centred,
        )
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
        others = None if slope.others is None else self.adapter.slots(there.projections)
        along = scale.new_empty(*grad.shape[:-1], grad.shape[-1] // self.adapter.d_head)
        for part in parts:
            along[part] = self._along(layer, slope, grad, value, others, part)
        self.along[layer].append(along.mul_(weight * slope.along))
        self.directions[layer].append(slope.direction)

    def _along(self, layer: int, slope: NormSlope, grad, value, other, part) -> torch.Tensor:
        """G . value of every slot (batch, some positions, 3 heads)."""
        constants = self.adapter.read_constants[layer]
        constants = value.new_zeros(()) if constants is None else constants
        products = torch.sub(value[part], constants)
        if slope.others is not None and isinstance(slope.own, torch.Tensor):
            products.mul_(slope.own[part])
            products.addcmul_(other[part] - constants, slope.others[part])
        products.mul_(grad[part])
        return products.unflatten(-1, (-1, self.adapter.d_head)).sum(-1)

    def _watch_stream(self, layer: int, weight: float, x: torch.Tensor) -> torch.Tensor:
        # A view is a node of its own in the autograd graph: its gradient is this reader's share of
        # the stream's.
        branch = x.view_as(x)
        branch.register_hook(lambda grad: self._add_stream(layer, grad, weight))
        return branch

    def _add_stream(self, layer: int, grad: torch.Tensor, weight: float) -> None:
        direct = self.direct[layer]
        self.direct[layer] = grad * weight if direct is None else direct.add_(grad, alpha=weight)


def _watch_projection(adapter, collect: Callable, out: torch.Tensor) -> None:
    """Call `collect(value, gradient)` of the slots when the gradient at a fused projection's output
    is there.
    """
    value = out.detach()
    out.register_hook(lambda grad: collect(adapter.slots([value]), adapter.slots([grad])))


class Taps(NamedTuple):
    """What the nonlinear operations of a run worked on; lists by layer, (batch, pos, width) each."""

    attn_norms: list[torch.Tensor]  # the stream before attention's norm
    projections: list[list[torch.Tensor]]  # what `Block.projections` put out
    mlp_norms: list[torch.Tensor]  # the stream before the MLP's norm
    hidden: list[list[torch.Tensor]]  # what `Block.mlp_in` put out
    attn_posts: list[torch.Tensor | None]  # what the heads gave together, where a norm follows
    mlp_posts: list[torch.Tensor | None]  # what the MLP gave, where a norm follows
    final: list[torch.Tensor]  # the stream before the final norm: one tensor
    uncapped: list[torch.Tensor]  # logits before their cap, if any: one tensor

    def of_layer(self, layer: int) -> "LayerTaps":
        """The tensors of one layer."""
        return LayerTaps(*[tensors[layer] for tensors in self[:6]])


class LayerTaps(NamedTuple):
    """What one layer's operations worked on in a run; None where there is no such run."""

    attn_norms: Any = None
    projections: Any = None
    mlp_norms: Any = None
    hidden: Any = None
    attn_posts: Any = None
    mlp_posts: Any = None


NO_TAPS = LayerTaps()


@contextmanager
def tapped(adapter):
    """Run a block in which one forward pass leaves what its operations work on in the `Taps` that
    this yields.
    """
    n_layers = adapter.graph.n_layers
    lists = [[[] for _ in range(n_layers)] for _ in range(2)]
    taps = Taps([], lists[0], [], lists[1], [None] * n_layers, [None] * n_layers, [], [])
    before, after = [(adapter.final_norm.module, partial(_keep, taps.final))], []
    if adapter.cap is not None:
        before.append((adapter.cap, partial(_keep, taps.uncapped)))
    for layer, block in enumerate(adapter.blocks):
        for norm, inputs in (
            (block.attn_post, taps.attn_posts),
            (block.mlp_post, taps.mlp_posts),
        ):
            if norm is not None:
                before.append((norm.module, partial(_keep_at, inputs, layer)))
        before.append((block.attn_norm.module, partial(_keep, taps.attn_norms)))
        before.append((block.mlp_norm.module, partial(_keep, taps.mlp_norms)))
        for modules, outputs in (
            (block.projections, taps.projections[layer]),
            (block.mlp_in, taps.hidden[layer]),
        ):
            after += _keep_outputs(modules, outputs)
    with hooked(before, after):
        yield taps


def _keep(tensors: list, x: torch.Tensor) -> None:
    tensors.append(x.detach())


def _keep_at(tensors: list, layer: int, x: torch.Tensor) -> None:
    tensors[layer] = x.detach()


def _keep_outputs(modules, outputs: list) -> list:
    """Hooks that keep the modules' outputs in `outputs`, in the modules' order."""
    outputs.extend([None] * len(modules))

    def keep(i: int, out: torch.Tensor) -> None:
        outputs[i] = out.detach()

    return [(module, partial(keep, i)) for i, module in enumerate(modules)]


class _HandBack(torch.autograd.Function):
    """`value`, computed elsewhere from `starts`, put into the graph with a backward rule of its
    own.

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
    """Hooks that cut operations off from the graph and put their results back with rules of their
    own.
    """

    def __init__(self):
        self.starts, self.before, self.after = {}, [], []

    def module(self, module, rule: Callable) -> None:
        """What happens inside `module`; `rule(grad, start)` gives the start's gradient."""

        def put_back(value):
            start = self.starts.pop(module)
            here = start.detach()
            return _HandBack.apply(value, lambda grad: [rule(grad, here)], start)

        self.before.append((module, partial(self._cut, module)))
        self.after.append((module, put_back))

    def between(self, modules, end, rule: Callable) -> None:
        """What happens from the outputs of `modules` to the input of `end`.

        `rule(grad, outputs)` gives the gradients of the modules' outputs.
        """

        def put_back(value):
            outputs = [self.starts.pop(module) for module in modules]
            here = [output.detach() for output in outputs]
            return _HandBack.apply(value, lambda grad: rule(grad, here), *outputs)

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
def handing_back(adapter, rules: Rules, other: Taps | None, collect: Callable | None = None):
    """Run a block in which the backward pass of activations, norms and attention follows `rules`.

    Forward passes change no bit: every operation gets its input cut off from the graph, and what it
    makes of it is put into the graph with the rule. `other` is what the corrupted run worked on.
    `collect(layer, value, multiplier)` gets what a layer's slots project and the multiplier of
    that.
    """
    replacement = _Replacement()
    for layer, block in enumerate(adapter.blocks):
        there = other.of_layer(layer) if other else NO_TAPS
        attention = partial(_attention_rule, adapter, layer, rules, there.projections, collect)
        for norm, stream in (
            (block.attn_norm, there.attn_norms),
            (block.attn_post, there.attn_posts),
            (block.mlp_norm, there.mlp_norms),
            (block.mlp_post, there.mlp_posts),
        ):
            if norm is not None:
                replacement.module(norm.module, partial(_norm_rule, rules, norm, stream))
        replacement.between(block.projections, block.attn_out, attention)
        gate = partial(_activation_rule, rules, block.activation, there.hidden)
        replacement.between(block.mlp_in, block.mlp_out, gate)
    final = partial(_norm_rule, rules, adapter.final_norm, other.final[0] if other else None)
    replacement.module(adapter.final_norm.module, final)
    if adapter.cap is not None:
        uncapped = None if other is None else other.uncapped
        replacement.module(adapter.cap, partial(_cap_rule, rules, adapter.cap, uncapped))
    with replacement.hooked():
        yield


def _derived_attention(adapter, collect: Callable):
    """Run a block in which attention hands back derivatives, slot by slot, to `collect` as well."""
    rules = Rules(derivative, norm_derivative, attention_derivative, half_factor)
    replacement = _Replacement()
    for layer, block in enumerate(adapter.blocks):
        rule = partial(_attention_rule, adapter, layer, rules, None, collect)
        replacement.between(block.projections, block.attn_out, rule)
    return replacement.hooked()


def _wide(x: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, unless it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


def _norm_rule(rules: Rules, norm, other, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The multiplier at a norm's input x from that at its output; `other` is the corrupted run's
    input.
    """
    there = None if other is None else _wide(other)
    slope = rules.norm(_wide(x), there, norm.epsilon, centred=norm.centred)
    y = _wide(grad) * norm.weight
    return slope.hand_back(y.sub_(y.mean(-1, keepdim=True)) if norm.centred else y)


def _cap_rule(rules: Rules, module, others, grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The multiplier of logits before their cap; `others` holds those of the corrupted run."""
    there = None if others is None else _wide(others[0])
    return grad * rules.activation(module.function, _wide(x), there)


def _activation_rule(rules: Rules, function, others, grad, inputs) -> list[torch.Tensor]:
    """The multipliers of what an activation takes and of its factor, if any, some positions at a
    time.
    """
    results = [torch.empty_like(grad) for _ in inputs]
    chunk = CHUNK_ROWS if grad.device.type == "cpu" else grad.shape[1]
    with torch.no_grad():
        for start in range(0, grad.shape[1], chunk):
            part = slice(None), slice(start, start + chunk)
            here = [_wide(x[part]) for x in inputs]
            there = [None] * len(here) if others is None else [_wide(x[part]) for x in others]
            slope = rules.activation(function, here[0], there[0])
            if len(here) == 1:
                results[0][part] = grad[part] * slope
                continue
            opened = function(here[0]), None if others is None else function(there[0])
            results[0][part] = grad[part] * slope * rules.factor(here[1], there[1])
            results[1][part] = grad[part] * rules.factor(*opened)
    return results


def _attention_rule(
    adapter, layer: int, rules: Rules, others, collect: Callable | None, grad, outputs
) -> list[torch.Tensor]:
    """From the multiplier of the heads' results to those of the projections' outputs."""
    slots = adapter.slots(outputs)
    mine = adapter.split_heads(_wide(slots))
    theirs = None if others is None else adapter.split_heads(_wide(adapter.slots(others)))
    ready = adapter.ready(layer, mine)
    other = None if theirs is None else adapter.ready(layer, theirs)
    arriving = _wide(grad).unflatten(-1, (adapter.graph.n_heads, -1)).transpose(1, 2)
    multipliers = rules.attention(ready, other, arriving, adapter.softmax(layer))
    joined = adapter.join_heads(_unready(adapter, layer, rules, mine, theirs, multipliers))
    if collect is not None:
        collect(layer, slots, joined)
    return adapter.fold(joined)


def _unready(adapter, layer: int, rules: Rules, mine: Heads, theirs, multipliers: Heads) -> Heads:
    """The multipliers of what the slots project, through rotation and the norms of q and k."""
    q = adapter.rotate(multipliers.q, back=True)
    k = adapter.rotate(multipliers.k, back=True)
    norms = adapter.blocks[layer].head_norms
    if norms is not None:
        others = (None, None) if theirs is None else theirs[:2]
        q = _norm_rule(rules, norms[0], others[0], q, mine.q)
        k = _norm_rule(rules, norms[1], others[1], k, mine.k)
    return Heads(q, k, multipliers.v)


@contextmanager
def gated(adapter, other: Taps, share: float):
    """Run a block in which every reader reads share x (its own stream) + (1 - share) x (that of
    `other`).
    """

    def mix(stream):
        return lambda x: share * x + (1 - share) * stream

    before = [(adapter.final_norm.module, mix(other.final[0]))]
    for layer, block in enumerate(adapter.blocks):
        before.append((block.attn_norm.module, mix(other.attn_norms[layer])))
        before.append((block.mlp_norm.module, mix(other.mlp_norms[layer])))
    with hooked(before):
        yield


def patched(adapter, where: str, value: torch.Tensor):
    """Run a block with the output of all heads of a layer (`where` = "a3") or of an MLP ("m3")
    replaced by `value`.
    """
    layer = int(where[1:])
    block = adapter.blocks[layer]
    if where[0] == "m":
        return hooked(after=[(block.mlp_end, lambda _: value)])
    if block.attn_post is None:
        return hooked(before=[(block.attn_out, lambda _: value)])
    written = value @ adapter.write_weight(layer).flatten(0, 1)
    return hooked(after=[(block.attn_post.module, lambda _: written)])
