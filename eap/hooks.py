"""The only place that hooks into a running model: what nodes write, what operations read, patches.

Every hook lives in a `with` block and is removed when it ends, also by an exception.
"""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:  # whose package imports this file
    from eap.models.contract import Adapter

# Positions at a time on a CPU, so that what is computed for them stays near the processor.
CHUNK_ROWS = 64


def row_chunks(x: torch.Tensor) -> list[tuple[slice, slice]]:
    """Indices of x (batch, pos, ...) that take its positions in turn: on a CPU some at a time."""
    n_rows = x.shape[1]
    chunk = CHUNK_ROWS if x.device.type == "cpu" else n_rows
    return [(slice(None), slice(start, start + chunk)) for start in range(0, n_rows, chunk)]


class Activations(NamedTuple):
    """What every node writes in a run; of heads, what their output projections read."""

    input: torch.Tensor  # the stream's start (batch, pos, d_model)
    heads: list[torch.Tensor]  # per layer (batch, pos, heads d_head): heads side by side
    mlps: list[torch.Tensor]  # per layer (batch, pos, d_model)

    def map(self, function, *others: "Activations") -> "Activations":
        """`function` applied to every tensor, together with those of `others`."""
        runs = (self, *others)
        heads = zip(*[run.heads for run in runs], strict=True)
        mlps = zip(*[run.mlps for run in runs], strict=True)
        return Activations(
            function(*[run.input for run in runs]),
            [function(*tensors) for tensors in heads],
            [function(*tensors) for tensors in mlps],
        )


@contextmanager
def hooked(before=(), after=()):
    """Run a block with forward hooks.

    `before` holds (module, function of its first input), `after` (module, function of its output).
    A function that returns a tensor replaces the input or output; one that returns None leaves it.
    """
    with ExitStack() as stack:
        for module, function in before:
            handle = module.register_forward_pre_hook(partial(_on_input, function))
            stack.callback(handle.remove)
        for module, function in after:
            handle = module.register_forward_hook(partial(_on_output, function))
            stack.callback(handle.remove)
        yield


def _on_input(function: Callable, module, inputs: tuple):
    return function(inputs[0])


def _on_output(function: Callable, module, inputs: tuple, output):
    return function(output)


@contextmanager
def frozen(model):
    """Run a block with the model in eval mode and no gradients of parameters; both are put back."""
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
def recorded(adapter: "Adapter"):
    """Run a block in which one forward pass leaves what heads and MLPs write in what is yielded."""
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
def record(adapter: "Adapter", ids: torch.Tensor) -> tuple[Activations, torch.Tensor]:
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


def read_streams(adapter: "Adapter", activations: Activations) -> Streams:
    """The streams that what the nodes write adds up to, with the layers' own biases."""
    stream, before_attention, before_mlp = activations.input, [], []
    for layer in range(adapter.graph.n_layers):
        before_attention.append(stream)
        weight = adapter.write_weight(layer).flatten(0, 1)
        stream = stream + activations.heads[layer] @ weight + adapter.write_bias(layer)
        before_mlp.append(before_attention[layer] if adapter.graph.parallel else stream)
        stream = stream + activations.mlps[layer]
    return Streams(before_attention, before_mlp, stream)


class Taps(NamedTuple):
    """What the nonlinear operations of a run worked on, (batch, pos, width) each.

    Lists by layer but for the last two; None is what has not run, or is not there.
    """

    attn_norms: list[Any]  # the stream before attention's norm
    projections: list[list[Any]]  # what `Block.projections` put out
    mlp_norms: list[Any]  # the stream before the MLP's norm
    hidden: list[list[Any]]  # what `Block.mlp_in` put out
    attn_posts: list[Any]  # what the heads gave together, where a norm follows
    mlp_posts: list[Any]  # what the MLP gave, where a norm follows
    final: list[Any]  # the stream before the final norm: one tensor
    uncapped: list[Any]  # logits before their cap, if any: one tensor

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
def tapped(adapter: "Adapter"):
    """Run a block in which a forward pass leaves what operations work on in the yielded `Taps`."""
    blocks, n_layers = adapter.blocks, adapter.graph.n_layers
    taps = Taps(
        attn_norms=[None] * n_layers,
        projections=[[None] * len(block.projections) for block in blocks],
        mlp_norms=[None] * n_layers,
        hidden=[[None] * len(block.mlp_in) for block in blocks],
        attn_posts=[None] * n_layers,
        mlp_posts=[None] * n_layers,
        final=[None],
        uncapped=[None],
    )
    before: list[tuple[torch.nn.Module, Callable]] = []
    before.append((adapter.final_norm.module, partial(_keep, taps.final, 0)))
    after: list[tuple[torch.nn.Module, Callable]] = []
    if adapter.cap is not None:
        before.append((adapter.cap, partial(_keep, taps.uncapped, 0)))
    for layer, block in enumerate(blocks):
        for norm, streams in (
            (block.attn_norm, taps.attn_norms),
            (block.attn_post, taps.attn_posts),
            (block.mlp_norm, taps.mlp_norms),
            (block.mlp_post, taps.mlp_posts),
        ):
            if norm is not None:
                before.append((norm.module, partial(_keep, streams, layer)))
        for place, module in enumerate(block.projections):
            after.append((module, partial(_keep, taps.projections[layer], place)))
        for place, module in enumerate(block.mlp_in):
            after.append((module, partial(_keep, taps.hidden[layer], place)))
    with hooked(before, after):
        yield taps


def _keep(tensors: list, place: int, x: torch.Tensor) -> None:
    tensors[place] = x.detach()


@contextmanager
def gated(adapter: "Adapter", other: Taps, *, share: float):
    """Run a block in which readers read share x (their own stream) + (1 - share) x (other's)."""

    def mix(stream):
        return lambda x: share * x + (1 - share) * stream

    before = [(adapter.final_norm.module, mix(other.final[0]))]
    for layer, block in enumerate(adapter.blocks):
        before.append((block.attn_norm.module, mix(other.attn_norms[layer])))
        before.append((block.mlp_norm.module, mix(other.mlp_norms[layer])))
    with hooked(before):
        yield


def patched(adapter: "Adapter", where: str, *, value: torch.Tensor):
    """Run a block with the output of a layer's heads ("a3") or of its MLP ("m3") replaced.

    `value` is (batch, pos, heads d_head) of heads, as in `Activations`, or (batch, pos, d_model).
    """
    layer = int(where[1:])
    block = adapter.blocks[layer]
    if where[0] == "m":
        return hooked(after=[(block.mlp_end, lambda _: value)])
    if block.attn_post is None:
        return hooked(before=[(block.attn_out, lambda _: value)])
    written = value @ adapter.write_weight(layer).flatten(0, 1)
    return hooked(after=[(block.attn_post.module, lambda _: written)])
