"""The last step of attribution: gradients at slots times what sources write give the scores.

What is contracted, and why this is cheap: `eap.attribute`. Everything here is of one example and a
chunk of its positions at a time.
"""

import torch

from eap import dataset
from eap.dataset import Batch, Grouping, Pair
from eap.gradients import Gradients
from eap.graph import Graph
from eap.hooks import Activations
from eap.models.contract import Adapter

# Elements of the differences of all nodes at once: 16 MB in float32 stay near a processor, a GPU
# wants more work at a time.
CHUNK_ELEMENTS = {"cpu": 2**22, "cuda": 2**27}
# Slots of one product: of 28, a layer's of SmolLM2, a processor makes 41 GFLOP a second, of 112 73.
SLOTS_AT_ONCE = 112


def contract(
    adapter: Adapter,
    differences: Activations,
    *,
    gradients: Gradients,
    batch: Batch,
    groups: Grouping | None,
) -> torch.Tensor:
    """(examples, groups, edges) scores of a batch, on the CPU; one group without `groups`.

    `differences` is what every source writes when ablated less what it writes in the clean run,
    `gradients` what slots read.
    """
    scores = [
        _contract_example(
            adapter, differences, gradients=gradients, example=example, pair=pair, groups=groups
        )
        for example, pair in enumerate(batch.pairs)
    ]
    return adapter.graph.vector(torch.stack(scores).cpu())


def _contract_example(
    adapter: Adapter,
    differences: Activations,
    *,
    gradients: Gradients,
    example: int,
    pair: Pair,
    groups: Grouping | None,
) -> torch.Tensor:
    """(groups, sources, destinations) scores of one example, summed over chunks of positions."""
    graph = adapter.graph
    n_sources = len(graph.sources)
    labels = [0] * len(pair.clean_ids) if groups is None else groups.of(pair)
    n_groups = 1 if groups is None else len(groups.names)
    scores = differences.input.new_zeros(n_groups, n_sources, len(graph.destinations))
    elements = CHUNK_ELEMENTS.get(scores.device.type, 2**22)
    most = max(1, elements // (n_sources * differences.input.shape[-1]))
    for label, part in dataset.stretches(labels, most):
        written = _written_by_all(adapter, differences, example=example, part=part).flatten(1)
        for layers in _together(graph):
            read = []
            for layer in layers:
                per_head = _head_gradients(
                    adapter, gradients, layer=layer, example=example, part=part
                )
                read.append(graph.fold_slots(per_head).flatten(1))
                read.append(gradients.direct[layer][example, part].reshape(1, -1))
            slots = slice(graph.head_slots(layers[0]).start, graph.mlp_slot(layers[-1]) + 1)
            parents = graph.n_parents[slots.stop - 1]
            scores[label, :parents, slots] += written[:parents] @ torch.cat(read).T
        scores[label, :, -1] += written @ gradients.direct[-1][example, part].flatten()
    return scores


def _together(graph: Graph) -> list[range]:
    """Layers whose slots are contracted in one product: some hundred slots, where layers have few.

    What is no edge of them, from a later layer's writers to an earlier one's slots, is not kept.
    """
    step = max(1, SLOTS_AT_ONCE // (graph.mlp_slot(0) + 1))
    layers = range(graph.n_layers)
    return [layers[first : first + step] for first in range(0, graph.n_layers, step)]


def _written_by_all(
    adapter: Adapter, activations: Activations, *, example: int, part: slice
) -> torch.Tensor:
    """(sources, positions, d_model): what every source adds to the stream at some positions."""
    graph = adapter.graph
    start = activations.input[example, part]
    written = start.new_empty(len(graph.sources), *start.shape)
    written[0] = start
    for layer in range(graph.n_layers):
        side_by_side = activations.heads[layer][example, part]
        results = side_by_side.unflatten(-1, (graph.n_heads, -1)).transpose(0, 1)
        torch.bmm(results, adapter.write_weight(layer), out=written[graph.heads(layer)])
        written[graph.mlp(layer)] = activations.mlps[layer][example, part]
    return written


def _head_gradients(
    adapter: Adapter, gradients: Gradients, *, layer: int, example: int, part: slice
) -> torch.Tensor:
    """(3 heads, positions, d_model): the gradient at every slot's input, summed over points.

    That is W' (G/s) - x^ (D/s), as in `eap.attribute`.
    """
    side_by_side = gradients.projected[layer][example, part]
    projected = side_by_side.unflatten(-1, (-1, adapter.d_head)).transpose(0, 1)
    summed = projected.new_empty(*projected.shape[:2], adapter.graph.d_model)
    first = 0
    for read in adapter.reads(layer):
        slots = slice(first, first + read.n_slots)
        units = read.weight.shape[1]
        of_units = projected[slots].reshape(units, -1, adapter.d_head)
        out = summed[slots].view(units, -1, adapter.graph.d_model)
        torch.bmm(of_units, read.weight.permute(1, 2, 0), out=out)
        first = slots.stop
    summed.mul_(adapter.blocks[layer].attn_norm.weight)
    means = adapter.read_means[layer]
    if means is not None:
        summed.sub_(projected @ means[:, :, None])
    for along, direction in zip(gradients.along[layer], gradients.directions[layer], strict=True):
        summed.addcmul_(along[example, part].T[:, :, None], direction[example, part], value=-1)
    return summed
