"""The only place that touches a running model: record what nodes write, differentiate what slots read, patch a node's output.

Every hook lives in a `with` block and is removed when it ends, also by an exception.
"""

from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch

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


@torch.no_grad()
def record(adapter, ids: torch.Tensor) -> tuple[Activations, torch.Tensor]:
    """What every node writes in a plain run, and the final norm's output (batch, pos, d_model)."""
    embeddings = adapter.embed(ids)
    heads, mlps = [], []
    before = [
        (block.attn_out, lambda z: heads.append(z.float() if z.dtype == torch.bfloat16 else z))
        for block in adapter.blocks
    ]
    after = [
        (block.mlp, lambda out: mlps.append(out.float() if out.dtype == torch.bfloat16 else out))
        for block in adapter.blocks
    ]
    with hooked(before, after):
        hidden = adapter.hidden(embeddings)
    return Activations(embeddings + adapter.positions(ids.shape[1]), heads, mlps), hidden


class Gradients:
    """Sums over the points of a path of what edge scores need of d metric / d slot input; see `attribute`'s docstring.

    With G the gradient at a slot's projection output, s the norm's scale, x^ the normalised stream and w a point's weight:
    `projected[layer]` is the sum of w G / s (batch, pos, 3 d_model); `along[layer]` and `normalised[layer]` hold, per point,
    w D / s (batch, pos, 3 heads) and x^ (batch, pos, d_model); `direct[layer]` is the sum of w times the gradient itself at an
    MLP's input, and at the logits' for the last (batch, pos, d_model).
    """

    def __init__(self, adapter):
        self.adapter = adapter
        n_layers = adapter.graph.n_layers
        self.projected = [None] * n_layers
        self.along, self.normalised = [[] for _ in range(n_layers)], [[] for _ in range(n_layers)]
        self.direct = [None] * (n_layers + 1)
        self.stream = [None] * n_layers  # x^ and 1/s of the point that runs now

    @contextmanager
    def collecting(self, weight: float):
        """Run one point's forward and backward pass in this block; its gradients are added with `weight`."""
        before, after = [], []
        for layer, block in enumerate(self.adapter.blocks):
            before.append(
                (block.attn_norm, lambda x, layer=layer: self._normalise(layer, x.detach()))
            )
            after.append(
                (block.qkv, lambda out, layer=layer: self._watch_projection(layer, out, weight))
            )
            before.append(
                (block.mlp_norm, lambda x, layer=layer: self._watch_stream(layer, x, weight))
            )
        before.append((self.adapter.final_norm, lambda x: self._watch_stream(-1, x, weight)))
        with hooked(before, after):
            yield

    def _normalise(self, layer: int, x: torch.Tensor) -> None:
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        inverse_scale = torch.rsqrt(variance + self.adapter.epsilon)
        self.stream[layer] = (x - mean).mul_(inverse_scale), inverse_scale

    def _watch_projection(self, layer: int, out: torch.Tensor, weight: float) -> None:
        value = out.detach()
        out.register_hook(lambda grad: self._add_projection(layer, grad, value, weight))

    def _add_projection(
        self, layer: int, grad: torch.Tensor, value: torch.Tensor, weight: float
    ) -> None:
        normalised, inverse_scale = self.stream[layer]
        if self.projected[layer] is None:
            self.projected[layer] = normalised.new_zeros(grad.shape)
        along = normalised.new_empty(*grad.shape[:-1], grad.shape[-1] // self.adapter.d_head)
        rows = [
            each.flatten(0, 1)
            for each in (grad, value, weight * inverse_scale, self.projected[layer], along)
        ]
        chunk = CHUNK_ROWS if grad.device.type == "cpu" else len(rows[0])
        for pieces in zip(*(each.split(chunk) for each in rows), strict=True):
            self._add_rows(layer, *pieces)
        self.along[layer].append(along)
        self.normalised[layer].append(normalised)

    def _add_rows(self, layer: int, grad, value, scale, projected, along) -> None:
        """Add G/s to `projected` and write D/s to `along`, at some positions."""
        scaled = grad * scale
        projected += scaled
        products = torch.sub(value, self.adapter.read_constants[layer]).mul_(scaled)
        torch.sum(products.unflatten(-1, (-1, self.adapter.d_head)), -1, out=along).div_(
            self.adapter.graph.d_model
        )

    def _watch_stream(self, layer: int, x: torch.Tensor, weight: float) -> torch.Tensor:
        # A view is a node of its own in the autograd graph: its gradient is this reader's share of the stream's.
        branch = x.view_as(x)
        branch.register_hook(lambda grad: self._add_stream(layer, grad, weight))
        return branch

    def _add_stream(self, layer: int, grad: torch.Tensor, weight: float) -> None:
        direct = self.direct[layer]
        self.direct[layer] = grad * weight if direct is None else direct.add_(grad, alpha=weight)


def patched(adapter, where: str, value: torch.Tensor):
    """Run a block with the output of all heads of a layer (`where` = "a3") or of an MLP ("m3") replaced by `value`."""
    block = adapter.blocks[int(where[1:])]
    if where[0] == "a":
        return hooked(before=[(block.attn_out, lambda _: value)])
    return hooked(after=[(block.mlp, lambda _: value)])
