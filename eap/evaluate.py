"""Run the model as a circuit: any number of circuits against the plain runs of a batch.

Edges in the circuit carry the running circuit's own output of their source; all others carry the
ablated output: the corrupted run's, zero, or a mean. With delta_u = running_u - ablated_u, the
input of a slot v is

    x_v = ablated stream at v + sum over kept edges u->v of delta_u
        = ablated stream at v + sum over all u of delta_u - sum over edges not kept of delta_u,

and delta_u is zero for every node that the circuit does not reach. So work goes with the edges: a
node outside the circuit costs nothing, a slot without kept edges reads what it reads in the ablated
run, and a slot takes whichever of the two forms has fewer terms. Slots that keep the same edges
share one stream. Attention is computed exactly. Where a norm follows attention, its scale is that
of what all heads of the layer give in this run: those of the circuit their running results, the
others what they make of the ablated stream. The ablated run of a batch is made once and serves
every circuit.

Source: Hanna et al., arXiv 2403.17806.
"""

import torch
import torch.nn.functional as F

from eap import InputError, hooks, metrics
from eap.dataset import Batch
from eap.graph import Graph
from eap.hooks import Activations
from eap.models.contract import Adapter
from eap.passes import ablated, run
from eap.selection import prune

# Share of the terms in use from which a matrix product is faster than adding up only these.
DENSE = 0.5
# Elements (positions times d_model) at a time: of one stream where terms are added up, so that what
# all terms take for them stays near the processor; of all streams together where they come from a
# matrix product.
CHUNK_ELEMENTS = {"sum": 9216, "product": 2**20}
# Rows of the terms of which streams are sums: the ablated stream, the sum of all deltas, and from
# the third row on the deltas of single sources.
ABLATED, TOTAL, DELTAS = 0, 1, 2


class CircuitRunner:
    """The plain runs of a batch, made once; runs any number of circuits against them.

    Raises InputError for a model in training mode.
    """

    @torch.no_grad()
    def __init__(
        self,
        adapter: Adapter,
        batch: Batch,
        *,
        ablation: str = "patching",
        means: Activations | None = None,
    ):
        if adapter.model.training:
            raise InputError(
                "expected a model in evaluation mode, got one in training mode, whose dropout is "
                "on; call model.eval()"
            )
        self.adapter, self.graph = adapter, adapter.graph
        self.batch = batch.to(next(adapter.model.parameters()).device)
        _, clean_logits = run(adapter, self.batch.clean_ids, batch=self.batch)
        corrupted, corrupted_logits = run(adapter, self.batch.corrupted_ids, batch=self.batch)
        self.reference = metrics.reference(
            clean_logits, corrupted_logits, target_ids=self.batch.target_ids
        )
        self.plain_logits = {"clean": clean_logits, "corrupted": corrupted_logits}
        self.ablated = ablated(corrupted, ablation, means=means)
        streams = hooks.read_streams(adapter, self.ablated)
        self.before_attention, self.before_mlp = streams.attention, streams.mlp
        self.at_targets = streams.final[self.batch.target_rows, self.batch.target_positions]
        self.projections: list[torch.Tensor | None] = [None] * self.graph.n_layers
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

    def _metric(self, metric: str, logits: torch.Tensor) -> torch.Tensor:
        values = metrics.per_example(
            metric,
            logits,
            reference=self.reference,
            target_rows=self.batch.target_rows,
            n_examples=len(self.batch.rows),
        )
        return values.cpu()

    @torch.no_grad()
    def logits(self, kept: torch.Tensor) -> torch.Tensor:
        """(targets, vocabulary) logits at target positions, with only the `kept` edges running."""
        recipe = _Recipe(self.graph, prune(self.graph, kept))
        return _CircuitRun(self, recipe).logits()

    def projection(self, layer: int) -> torch.Tensor:
        """(3 heads, batch, pos, d_head): what every slot projects from the ablated stream.

        Computed when first asked for.
        """
        known = self.projections[layer]
        if known is None:
            stream = self.before_attention[layer]
            project = _LayerProjection(
                self.adapter, layer, groups=[list(range(3 * self.graph.n_heads))]
            )
            values = project(stream.flatten(0, 1)[None])
            known = self.projections[layer] = values.unflatten(1, stream.shape[:2])
        return known

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
    """How the stream of every slot is put together from terms, in a circuit that is pruned.

    With all parents u of a slot that run, its stream has two forms, of which the shorter is taken:

        direct:      ablated + sum over kept edges of delta_u
        complement:  ablated + total - sum over edges not kept of delta_u

    `coefficients` (destinations, terms) hold this; terms are [ablated, total, needed deltas].
    """

    def __init__(self, graph: Graph, kept: torch.Tensor):
        kept_into = graph.matrix(kept).T  # (destinations, sources)
        self.alive = graph.nodes_kept(kept)  # (nodes,) which ones run
        self.reads = kept_into.any(1)  # (destinations,) which ones have a kept edge
        n_parents = torch.tensor(graph.n_parents)
        is_parent = torch.arange(len(graph.sources)) < n_parents[:, None]
        missing = is_parent & self.alive[:-1] & ~kept_into
        complement = self.reads & (missing.sum(1) + 1 < kept_into.sum(1))
        of_sources = torch.where(complement[:, None], -missing.float(), kept_into.float())
        needed = of_sources.any(0).nonzero()[:, 0].tolist()  # whose own delta some slot adds up
        self.row_of_source = {source: DELTAS + i for i, source in enumerate(needed)}
        self.needs_total = bool(complement.any())
        self.coefficients = torch.cat(
            [torch.ones(len(kept_into), 1), complement[:, None].float(), of_sources[:, needed]], 1
        )

    def shared(self, destinations: list[int]) -> list[list[int]]:
        """Groups of destinations that read the same sum, as places in this list; small ones first.

        Those that read nothing kept are in none.
        """
        groups: dict[bytes, list[int]] = {}
        for place, destination in enumerate(destinations):
            if self.reads[destination]:
                same = self.coefficients[destination].numpy().tobytes()
                groups.setdefault(same, []).append(place)
        return sorted(groups.values(), key=len)


class _CircuitRun:
    """One run of one circuit: grows `terms` layer by layer; every stream is a sum of some.

    Which ones, `_Recipe` says.
    """

    def __init__(self, runner: CircuitRunner, recipe: _Recipe):
        self.runner, self.recipe = runner, recipe
        self.adapter, self.graph = runner.adapter, runner.graph
        like = runner.ablated.input
        self.shape = like.shape
        n_terms, n_positions = recipe.coefficients.shape[1], like[..., 0].numel()
        self.terms = like.new_empty(n_terms, n_positions, like.shape[-1])
        self.total = self.terms[TOTAL].zero_()
        self.known = DELTAS  # terms there are so far: a source's delta when it has run

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
            streams = _Streams(self, [len(self.graph.destinations) - 1])
            stream = streams.at(stream, targets)[0]
        return self.adapter.unembed(self.adapter.final_norm(stream))

    def _wrote(self, source: int, delta: torch.Tensor) -> None:
        if source in self.recipe.row_of_source:
            self.terms[self.recipe.row_of_source[source]] = delta
            self.known += 1
        if self.recipe.needs_total:
            self.total += delta

    def _heads(self, layer: int) -> None:
        """Run the heads of a layer that are alive."""
        n_heads = self.graph.n_heads
        heads = self.recipe.alive[self.graph.heads(layer)].nonzero()[:, 0]
        if len(heads) == 0:
            return
        alive, norm = heads, self.adapter.blocks[layer].attn_post
        if norm is not None:  # whose scale takes in what the others make of keys that they share
            heads = self._that_read(layer, heads)
        slots = torch.cat([heads + slot * n_heads for slot in range(3)])
        projected = self.runner.projection(layer)[slots.to(self.terms.device)]
        self._project_changed(layer, slots.tolist(), projected=projected)
        q, k, v = projected.unflatten(0, (3, -1)).transpose(1, 2)
        # (heads, batch pos, d_head)
        results = self.adapter.attend(layer, q, k, v).permute(1, 0, 2, 3).flatten(1, 2)
        if norm is not None:
            results = results / norm.scale(self._total(layer, heads.tolist(), results=results))
            results = results[torch.isin(heads, alive).to(results.device)]
        by_head = self.runner.ablated.heads[layer].flatten(0, 1).unflatten(-1, (n_heads, -1))
        ablated = by_head.transpose(0, 1)[alive.to(results.device)]
        self._write_heads(layer, alive.tolist(), changes=results - ablated)

    def _that_read(self, layer: int, alive: torch.Tensor) -> torch.Tensor:
        """The heads `alive` and all others that read a slot with a kept edge, ascending."""
        slots = torch.tensor(self.graph.slot_of_head) + self.graph.head_slots(layer).start
        reads = self.recipe.reads[slots].view(3, -1).any(0)
        reads[alive] = True
        return reads.nonzero()[:, 0]

    def _total(self, layer: int, heads: list[int], *, results: torch.Tensor) -> torch.Tensor:
        """(batch pos, d_model): what all heads give together, before the norm that follows.

        Heads outside of the circuit give what they make of the ablated stream.
        """
        plain, total = self.runner.given(layer)
        weight = self.adapter.out_weight(layer)[heads].flatten(0, 1)
        return total + (results - plain[heads]).transpose(0, 1).flatten(1) @ weight

    def _write_heads(self, layer: int, heads: list[int], *, changes: torch.Tensor) -> None:
        """Write what heads add to the stream.

        `changes` (heads, batch pos, d_head) is how their results differ from the ablated run's.
        """
        weight, first = self.adapter.write_weight(layer), self.graph.heads(layer).start
        needed = [i for i, head in enumerate(heads) if first + head in self.recipe.row_of_source]
        if needed:
            needed_weight = weight[[heads[i] for i in needed]]
            needed_changes = changes if len(needed) == len(heads) else changes[needed]
            rows = self.terms[self.known : self.known + len(needed)]
            torch.bmm(needed_changes, needed_weight, out=rows)
            self.known += len(needed)
        if self.recipe.needs_total:
            self.total += changes.transpose(0, 1).flatten(1) @ weight[heads].flatten(0, 1)

    def _project_changed(self, layer: int, slots: list[int], *, projected: torch.Tensor) -> None:
        """Overwrite what slots with kept edges project in `projected` (slots, batch, pos, d_head).

        A stream that several of them read is made once.
        """
        first = self.graph.head_slots(layer).start
        destinations = [first + self.graph.slot_of_head[slot] for slot in slots]
        groups = self.recipe.shared(destinations)
        if not groups:
            return
        streams = _Streams(self, [destinations[group[0]] for group in groups])
        slots_of = [[slots[row] for row in group] for group in groups]
        project = _LayerProjection(self.adapter, layer, groups=slots_of)
        rows = torch.tensor([row for group in groups for row in group], device=projected.device)
        ablated = self.runner.before_attention[layer].flatten(0, 1)
        by_position = projected.flatten(1, 2)  # a view
        for start in range(0, len(ablated), streams.chunk):
            part = slice(start, start + streams.chunk)
            by_position[rows, part] = project(streams.at(ablated[part], part))

    def _mlp(self, layer: int) -> torch.Tensor | None:
        """(batch pos, d_model): how what the MLP writes differs from the ablated run's.

        None outside the circuit.
        """
        if not self.recipe.alive[self.graph.mlp(layer)]:
            return None
        streams = _Streams(self, [self.graph.mlp_slot(layer)])
        stream = streams.at(self.runner.before_mlp[layer].flatten(0, 1), slice(None))[0]
        block = self.adapter.blocks[layer]
        return block.run_mlp(stream) - self.runner.ablated.mlps[layer].flatten(0, 1)


class _Streams:
    """The streams that some destinations read now: sums of the terms that a run knows so far.

    `chunk` is how many positions `at` had best be asked for at a time.
    """

    def __init__(self, run: _CircuitRun, destinations: list[int]):
        coefficients = run.recipe.coefficients[destinations, : run.known]
        used = coefficients.any(0).nonzero()[:, 0]
        if 2 * len(used) > run.known:  # most of them: a slice, which copies less
            used = slice(run.known)
        self.terms, self.used = run.terms, used
        self.coefficients = coefficients[:, used].to(run.terms)  # (destinations, used terms)
        self.sums, self.columns = self.coefficients.nonzero(as_tuple=True)
        few = len(self.columns) <= DENSE * self.coefficients.numel()
        on_processor = self.terms.device.type == "cpu"
        self.adds_up = few and on_processor and len(destinations) > 1
        elements = CHUNK_ELEMENTS["product"] // len(destinations)
        if self.adds_up:
            elements = CHUNK_ELEMENTS["sum"]
        self.chunk = max(1, elements // run.shape[-1])

    def at(self, ablated: torch.Tensor, positions) -> torch.Tensor:
        """(destinations, positions, d_model): the streams at a slice or index of positions.

        The ablated stream there is `ablated`.
        """
        terms = self.terms[:, positions][self.used]
        terms[ABLATED] = ablated
        return self._sums_of(terms.flatten(1)).unflatten(1, terms.shape[1:])

    def _sums_of(self, terms: torch.Tensor) -> torch.Tensor:
        """coefficients @ terms (used terms, elements); adds up only those in use where few are."""
        if not self.adds_up:
            return self.coefficients @ terms
        starts = torch.searchsorted(self.sums, torch.arange(len(self.coefficients)))
        weights = self.coefficients[self.sums, self.columns]
        return F.embedding_bag(self.columns, terms, starts, mode="sum", per_sample_weights=weights)


class _LayerProjection:
    """What slots of a layer project from their streams, some of which several slots share.

    `groups[g]` are the slots that read stream g, in ascending order of size: groups of one slot are
    multiplied together.
    """

    def __init__(self, adapter: Adapter, layer: int, *, groups: list[list[int]]):
        self.norm, self.d_head = adapter.blocks[layer].attn_norm, adapter.d_head
        self.bias = adapter.read_bias(layer, [slot for group in groups for slot in group])
        self.n_single = sum(len(group) == 1 for group in groups)
        self.single = None  # (single slots, d_model, d_head)
        if self.n_single:
            slots = [group[0] for group in groups[: self.n_single]]
            self.single = adapter.read_weight(layer, slots).transpose(0, 1)
        # per group (d_model, slots d_head)
        self.together = [
            adapter.read_weight(layer, group).flatten(1) for group in groups[self.n_single :]
        ]

    def __call__(self, streams: torch.Tensor) -> torch.Tensor:
        """(slots, positions, d_head), group by group, from streams (groups, positions, d_model)."""
        normalised, values = self.norm(streams), []
        if self.single is not None:
            values.append(torch.bmm(normalised[: self.n_single], self.single))
        for stream, weight in zip(normalised[self.n_single :], self.together, strict=True):
            by_slot = (stream @ weight).unflatten(-1, (-1, self.d_head))
            values.append(by_slot.transpose(0, 1))
        projected = torch.cat(values)
        return projected if self.bias is None else projected.add_(self.bias[:, None])
