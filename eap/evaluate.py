"""Run the model as a circuit: any number of circuits against the plain runs of a batch.

Edges in the circuit carry the running circuit's own output of their source; all others carry the ablated output: the corrupted run's,
zero, or a mean. With delta_u = running_u - ablated_u, the input of a slot v is

    x_v = ablated stream at v + sum over kept edges u->v of delta_u
        = ablated stream at v + sum over all u of delta_u - sum over edges not kept of delta_u,

and delta_u is zero for every node that the circuit does not reach. So work goes with the edges: a node outside the circuit costs
nothing, a slot without kept edges reads what it reads in the ablated run, and a slot takes whichever of the two forms has fewer
terms. Slots that keep the same edges share one stream. Attention is computed exactly. Where a norm follows attention, its scale is that
of what all heads of the layer give in this run: those of the circuit their running results, the others what they make of the ablated
stream. The ablated run of a batch is made once and
serves every circuit.

Source: Hanna et al., arXiv 2403.17806.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from eap import InputError, hooks, metrics
from eap.dataset import Batch
from eap.graph import Graph
from eap.hooks import Activations
from eap.passes import ablated, run
from eap.selection import prune

DENSE = (
    0.5  # share of the terms in use from which a matrix product is faster than adding up only these
)
# Elements (positions times d_model) at a time: of one stream where terms are added up, so that what all terms take for them stays near
# the processor; of all streams together where they come from a matrix product.
CHUNK_ELEMENTS = {"sum": 9216, "product": 2**20}
ABLATED, TOTAL, DELTAS = (
    0,
    1,
    2,
)  # of the terms of which streams are sums: the ablated stream, all deltas' sum, the first source's delta


class CircuitRunner:
    """The plain runs of a batch, made once; runs any number of circuits against them. Raises InputError for a model in training mode."""

    @torch.no_grad()
    def __init__(
        self, adapter, batch: Batch, ablation: str = "patching", means: Activations | None = None
    ):
        if adapter.model.training:
            raise InputError(
                "expected a model in evaluation mode, got one in training mode, whose dropout is on; call model.eval()"
            )
        self.adapter, self.graph = adapter, adapter.graph
        self.batch = batch.to(next(adapter.model.parameters()).device)
        _, clean_logits = run(adapter, self.batch.clean_ids, self.batch)
        corrupted, corrupted_logits = run(adapter, self.batch.corrupted_ids, self.batch)
        self.reference = metrics.reference(clean_logits, corrupted_logits, self.batch.target_ids)
        self.plain_logits = {"clean": clean_logits, "corrupted": corrupted_logits}
        self.ablated = ablated(corrupted, ablation, means)
        streams = hooks.read_streams(adapter, self.ablated)
        self.before_attention, self.before_mlp = streams.attention, streams.mlp
        self.at_targets = streams.final[self.batch.target_rows, self.batch.target_positions]
        self.projections = [None] * self.graph.n_layers
        self.plain_heads = {}  # by layer; of models with a norm after attention

    def plain_metric(self, which: str, metric: str) -> torch.Tensor:
        """(examples,) the metric of the plain "clean" or "corrupted" run."""
        return self._metric(metric, self.plain_logits[which])

    def metric(self, metric: str, kept: torch.Tensor) -> torch.Tensor:
        """(examples,) the metric with only the `kept` edges (booleans per edge) running."""
        return self._metric(metric, self.logits(kept))

    def metrics(self, names, kept: torch.Tensor) -> dict[str, torch.Tensor]:
        """{metric: (examples,)} of one run of the circuit."""
        logits = self.logits(kept)
        return {name: self._metric(name, logits) for name in names}

    def _metric(self, metric, logits):
        return metrics.per_example(
            metric, logits, self.reference, self.batch.target_rows, len(self.batch.rows)
        ).cpu()

    @torch.no_grad()
    def logits(self, kept: torch.Tensor) -> torch.Tensor:
        """(targets, vocabulary) logits at the target positions with only the `kept` edges running."""
        return _CircuitRun(self, _Recipe(self.graph, prune(self.graph, kept))).logits()

    def projection(self, layer: int) -> torch.Tensor:
        """(3 heads, batch, pos, d_head): what every slot of a layer projects from the ablated stream; computed when first asked for."""
        if self.projections[layer] is None:
            stream = self.before_attention[layer]
            values = _projection(self.adapter, layer, [list(range(3 * self.graph.n_heads))])(
                stream.flatten(0, 1)[None]
            )
            self.projections[layer] = values.unflatten(1, stream.shape[:2])
        return self.projections[layer]

    def given(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What a layer's heads make of the ablated stream, computed when first asked for.

        (heads, batch pos, d_head) each for itself, and (batch pos, d_model) all together.
        """
        if layer not in self.plain_heads:
            q, k, v = self.projection(layer).unflatten(0, (3, -1)).transpose(1, 2)
            results = self.adapter.attend(layer, q, k, v).permute(1, 0, 2, 3).flatten(1, 2)
            weight = self.adapter.out_weight(layer).flatten(0, 1)
            self.plain_heads[layer] = results, results.transpose(0, 1).flatten(1) @ weight
        return self.plain_heads[layer]


class _Recipe:
    """How each slot's stream is put together: coefficients of [ablated stream, sum of all deltas, delta of every needed source]."""

    def __init__(self, graph: Graph, kept: torch.Tensor):
        dense = graph.matrix(kept).T  # (destinations, sources)
        self.alive = graph.nodes_kept(kept)
        behind = torch.arange(len(graph.sources)) < torch.tensor(graph.n_parents)[:, None]
        missing = behind & self.alive[:-1] & ~dense
        self.reads = dense.any(1)  # slots with a kept edge
        by_total = (missing.sum(1) + 1 < dense.sum(1)) & self.reads
        deltas = torch.where(by_total[:, None], -missing.float(), dense.float())
        needed = deltas.any(0).nonzero()[:, 0].tolist()  # sources whose own delta somebody needs
        self.row_of_source = {source: DELTAS + i for i, source in enumerate(needed)}
        self.coefficients = torch.cat(
            [torch.ones(len(dense), 1), by_total[:, None].float(), deltas[:, needed]], 1
        )
        self.needs_total = bool(by_total.any())


class _CircuitRun:
    """One run of one circuit: grows `terms`, of which every stream is a sum (see `_Recipe`), layer by layer."""

    def __init__(self, runner: CircuitRunner, recipe: _Recipe):
        self.runner, self.recipe, self.adapter, self.graph = (
            runner,
            recipe,
            runner.adapter,
            runner.graph,
        )
        like = runner.ablated.input
        self.shape = like.shape
        self.terms = like.new_empty(
            recipe.coefficients.shape[1], like[..., 0].numel(), like.shape[-1]
        )
        self.total = self.terms[TOTAL].zero_()
        self.known = (
            DELTAS  # how many of the terms there are so far: a source's delta when it has run
        )

    def logits(self) -> torch.Tensor:
        """Run all nodes of the circuit; (targets, vocabulary)."""
        runner, batch = self.runner, self.runner.batch
        if self.recipe.alive[0]:
            start = self.adapter.start(self.adapter.embed(batch.clean_ids))
            self._wrote(0, (start - runner.ablated.input).flatten(0, 1))
        for layer in range(self.graph.n_layers):
            if self.graph.parallel:  # the MLP reads before the heads have written
                change = self._mlp(layer)
                self._heads(layer)
            else:
                self._heads(layer)
                change = self._mlp(layer)
            if change is not None:
                self._wrote(self.graph.mlp(layer), change)
        stream = runner.at_targets
        if self.recipe.reads[-1]:
            targets = batch.target_rows * self.shape[1] + batch.target_positions
            stream = self._streams([len(self.graph.destinations) - 1])[0](stream, targets)[0]
        return self.adapter.unembed(self.adapter.final_norm(stream))

    def _wrote(self, source: int, delta: torch.Tensor) -> None:
        if source in self.recipe.row_of_source:
            self.terms[self.recipe.row_of_source[source]] = delta
            self.known += 1
        if self.recipe.needs_total:
            self.total += delta

    def _streams(
        self, destinations: list[int]
    ) -> tuple[Callable[[torch.Tensor, object], torch.Tensor], int]:
        """(a function for slots that read now, how many positions it had best be given at a time).

        The function takes the ablated stream at a slice or index of positions and that slice or index, and returns (destinations,
        positions, d_model): the streams that these slots read there.
        """
        coefficients = self.recipe.coefficients[destinations, : self.known]
        used = coefficients.any(0).nonzero()[:, 0]
        if 2 * len(used) > self.known:  # most of them: a slice, which copies less
            used = slice(self.known)
        add_up, elements = _adder(coefficients[:, used].to(self.terms))

        def streams(ablated, positions):
            terms = self.terms[:, positions][used]
            terms[ABLATED] = ablated
            return add_up(terms.flatten(1)).unflatten(1, terms.shape[1:])

        return streams, max(1, elements // self.shape[-1])

    def _heads(self, layer: int) -> None:
        n_heads = self.graph.n_heads
        first = self.graph.heads(layer).start
        heads = self.recipe.alive[self.graph.heads(layer)].nonzero()[:, 0]
        if len(heads) == 0:
            return
        slots = torch.cat([heads + slot * n_heads for slot in range(3)])
        projected = self.runner.projection(layer)[slots.to(self.terms.device)]
        self._project_changed(layer, slots.tolist(), projected)
        q, k, v = projected.unflatten(0, (3, -1)).transpose(1, 2)
        results = (
            self.adapter.attend(layer, q, k, v).permute(1, 0, 2, 3).flatten(1, 2)
        )  # (heads, batch pos, d_head)
        norm = self.adapter.blocks[layer].attn_post
        if norm is not None:
            results = results / norm.scale(self._total(layer, heads.tolist(), results))
        before = (
            self.runner.ablated.heads[layer]
            .flatten(0, 1)
            .unflatten(-1, (n_heads, -1))
            .transpose(0, 1)
        )
        self._write_heads(layer, first, heads.tolist(), results - before[heads.to(results.device)])

    def _total(self, layer: int, heads: list[int], results: torch.Tensor) -> torch.Tensor:
        """(batch pos, d_model): what all heads give together, before the norm that follows.

        Heads outside of the circuit give what they make of the ablated stream.
        """
        plain, total = self.runner.given(layer)
        weight = self.adapter.out_weight(layer)[heads].flatten(0, 1)
        return total + (results - plain[heads]).transpose(0, 1).flatten(1) @ weight

    def _write_heads(self, layer: int, first: int, heads: list[int], changes: torch.Tensor) -> None:
        weight = self.adapter.write_weight(layer)
        wanted = [i for i, head in enumerate(heads) if first + head in self.recipe.row_of_source]
        if wanted:
            chosen = (
                (changes, weight[heads])
                if len(wanted) == len(heads)
                else (changes[wanted], weight[[heads[i] for i in wanted]])
            )
            torch.bmm(*chosen, out=self.terms[self.known : self.known + len(wanted)])
            self.known += len(wanted)
        if self.recipe.needs_total:
            self.total += changes.transpose(0, 1).flatten(1) @ weight[heads].flatten(0, 1)

    def _project_changed(self, layer: int, slots: list[int], projected: torch.Tensor) -> None:
        """Overwrite, in `projected` (slots, batch, pos, d_head), the slots that have kept edges; equal streams are made once."""
        offset = self.graph.head_slots(layer).start
        groups = {}
        for i, slot in enumerate(slots):
            if self.recipe.reads[offset + slot]:
                key = self.recipe.coefficients[offset + slot, : self.known].numpy().tobytes()
                groups.setdefault(key, []).append(i)
        members = sorted(groups.values(), key=len)
        if not members:
            return
        project = _projection(self.adapter, layer, [[slots[i] for i in group] for group in members])
        places = torch.tensor([i for group in members for i in group], device=projected.device)
        ablated, flat = self.runner.before_attention[layer].flatten(0, 1), projected.flatten(1, 2)
        streams, chunk = self._streams([offset + slots[group[0]] for group in members])
        for start in range(0, len(ablated), chunk):
            part = slice(start, start + chunk)
            flat[places, part] = project(streams(ablated[part], part))

    def _mlp(self, layer: int) -> torch.Tensor | None:
        """(batch pos, d_model): how what the MLP writes differs from the ablated run; None outside the circuit."""
        if not self.recipe.alive[self.graph.mlp(layer)]:
            return None
        stream = self._streams([self.graph.mlp_slot(layer)])[0](
            self.runner.before_mlp[layer].flatten(0, 1), slice(None)
        )[0]
        block = self.adapter.blocks[layer]
        return block.run_mlp(stream) - self.runner.ablated.mlps[layer].flatten(0, 1)


def _adder(coefficients: torch.Tensor) -> tuple[Callable[[torch.Tensor], torch.Tensor], int]:
    """(a function from terms (n, elements) to `coefficients` (sums, n) @ terms, how many elements it had best be given at a time).

    It adds up only the terms in use where these are few.
    """
    sums, used = coefficients.nonzero(as_tuple=True)
    if (
        len(coefficients) == 1
        or len(used) > DENSE * coefficients.numel()
        or coefficients.device.type != "cpu"
    ):
        return lambda terms: coefficients @ terms, CHUNK_ELEMENTS["product"] // len(coefficients)
    starts = torch.searchsorted(sums, torch.arange(len(coefficients)))
    weights = coefficients[sums, used]
    return lambda terms: F.embedding_bag(
        used, terms, starts, mode="sum", per_sample_weights=weights
    ), CHUNK_ELEMENTS["sum"]


def _projection(
    adapter, layer: int, groups: list[list[int]]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from streams (groups, pos, d_model) to what slots project from them (slots, pos, d_head); `groups[g]` read stream g.

    Groups come in ascending order of size; those of one slot are multiplied together.
    """
    norm = adapter.blocks[layer].attn_norm
    bias = adapter.read_bias(layer, [slot for group in groups for slot in group])
    single = sum(len(group) == 1 for group in groups)
    alone = [group[0] for group in groups[:single]]
    alone = adapter.read_weight(layer, alone).transpose(0, 1) if alone else None
    together = [adapter.read_weight(layer, group).flatten(1) for group in groups[single:]]

    def project(streams):
        normalised = norm(streams)
        values = [] if alone is None else [torch.bmm(normalised[:single], alone)]
        values += [
            (stream @ many).unflatten(-1, (-1, adapter.d_head)).transpose(0, 1)
            for stream, many in zip(normalised[single:], together, strict=True)
        ]
        projected = torch.cat(values)
        return projected if bias is None else projected.add_(bias[:, None])

    return project
