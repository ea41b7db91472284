"""Edge scores by attribution patching: EAP, EAP-IG, secant, at about the cost of their passes.

What is computed. For an edge u->v, with the clean and the corrupted run's output of u and the
metric's gradient at the input of v,

    score(u->v) = mean over examples, sum over positions, of
                  (corrupted_u - clean_u) . d metric / d input_v.

Methods differ only in the points at which the gradient is taken and in their weights
(`eap.methods`). With EAP-IG's points on the line from the corrupted to the clean token embeddings
the integral of the gradient along it is approximated. The scores of all edges out of `input` then
sum to metric(corrupted) - metric(clean), the *completeness* of integrated gradients (Sundararajan
et al., arXiv 1703.01365), and what is missing is reported.

Secant patching takes one backward pass in which every operation hands back its exact finite
difference between the two runs instead of its derivative (`eap.rules`); the sums are then exact
without any points.

Why it is cheap. Every head reads the same residual stream x through the same norm, so no head needs
its own copy of the stream: only the gradient must be split. Let

    x^ = (x - mean x) / s             what the norm makes of the stream, before its weight
    W' = W_h diag(norm weight)        a slot's projection, its mean over d_model taken out
    G  = d metric / d (x^ W')         what an ordinary backward pass delivers at the output of the
                                      fused q-k-v projection.

Where query heads share a key or value head, attention hands back each query head's part before they
are summed. LayerNorm's derivative gives

    d metric / d input_h = (1/s) [ y - mean(y) - x^ mean(y x^) ],   y = W' G
                         = W' (G/s) - x^ (D/s),                     D = G . (x^ W') / d_model,

since the columns of W' have mean zero; and x^ W' is the projection's own output less a constant.
RMSNorm is the same without means. This is linear in G/s, so the sum over points is taken *before*
the multiplication with W'. The gradient at an MLP's and at the logits' input is their branch's own.

    1. run the corrupted and the clean input; keep the differences of what every node writes
    2. for every point: a forward and a backward pass of the unmodified model; keep sums of G/s,
       and D/s and x^ of the point (`eap.gradients`)
    3. per example, in chunks of positions: W' (G/s) - sum over points of x^ (D/s), and its
       products with all parents' differences (`eap.contraction`)

Step 3 costs two matrix products a layer, once per example whatever the number of points, and memory
for one chunk. A norm's finite difference has the same form as its derivative with other factors
(`rules.NormSlope`), so both take this way.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import torch

from eap import InputError, hooks, memory, metrics
from eap.contraction import contract
from eap.dataset import Batch, Pair, batches
from eap.evaluate import CircuitRunner
from eap.exact import exact_scores
from eap.gradients import Gradients
from eap.graph import Graph
from eap.hooks import Activations, Taps
from eap.methods import METHODS, Method, Point, Settings
from eap.metrics import Reference
from eap.models import adapt
from eap.models.contract import Adapter
from eap.passes import ablated, run
from eap.scores import Scores


def attribute(
    model,
    pairs: list[Pair],
    *,
    method: str = "EAP-IG-inputs",
    metric: str = "kl",
    batch_size: int = 4,
    kv: str = "per-head",
    **options,
) -> Scores:
    """`Scores` of all pairs, in their order.

    Mean scores are `attribute(...).edges.mean(0)`. `options` are further `Settings`, and those of
    `attribute_batches`; `kv` is that of `adapt`. The model may be anything `eap.models` has an
    adapter for; its parameters and mode come back as they were. Raises InputError as
    `Settings.check` does, and for scores that are not finite.
    """
    if not pairs:
        raise InputError("expected at least one pair to attribute, got none")
    adapter = adapt(model, kv=kv)
    names = [field.name for field in fields(Settings)]
    chosen = {name: options.pop(name) for name in names if name in options}
    settings = Settings(method, metric, **chosen)
    work = batches(pairs, batch_size)
    parts = list(attribute_batches(adapter, work, settings=settings, **options))
    order = torch.tensor([row for part in parts for row in part.rows]).argsort()

    def of_all(name: str) -> torch.Tensor:
        return torch.cat([getattr(part, name) for part in parts])[order]

    by_group = None if parts[0].by_group is None else of_all("by_group")
    rows = list(range(len(pairs)))
    return Scores(rows, of_all("edges"), of_all("clean"), of_all("corrupted"), by_group)


def attribute_batches(
    adapter: Adapter,
    batches: Iterable[Batch],
    *,
    settings: Settings,
    means: Activations | None = None,
    notify: Callable[[str], None] = warnings.warn,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[Scores]:
    """Yield the `Scores` of each batch, on the CPU.

    `means` is for mean ablation (`passes.mean_activations`). Residual stream and differences stay
    in the model's dtype with `autocast` too. `tick` is called after each point of a batch, or after
    each edge of exact patching (`methods.ticks_per_batch`). When memory runs out, batches are
    halved and `notify` gets words. Raises InputError as `Settings.check` does, for scores that
    are not finite, and when not even one example fits.
    """
    settings.check()
    if settings.ablation == "mean" and means is None:
        raise InputError("mean ablation: expected means, got none; mean_activations makes them")
    device, method = next(adapter.model.parameters()).device, METHODS[settings.method]
    if method.points is None:

        def compute(batch):
            runner = CircuitRunner(adapter, batch, ablation=settings.ablation, means=means)
            return exact_scores(runner, settings.metric, tick=tick)
    else:
        points = method.points(adapter.graph, settings.steps, settings.rule)
        plan = _Plan(method, points, settings, means, tick)
        scores_of = _by_points if method.rules is None else _by_rules

        def compute(batch):
            return scores_of(adapter, batch.to(device), plan=plan)

    with hooks.frozen(adapter.model):
        yield from memory.halving(batches, compute, notify=notify)


@dataclass(frozen=True)
class _Plan:
    """How the batches of one call are attributed; see `attribute_batches`."""

    method: Method
    points: list[Point]
    settings: Settings
    means: Activations | None
    tick: Callable[[], object]

    def precision(self, device) -> AbstractContextManager:
        """The context in which the model runs."""
        return hooks.autocast(device, self.settings.autocast)

    def differences(
        self, corrupted: Activations, clean: Activations, *, in_place: bool
    ) -> Activations:
        """What every node writes when it is ablated, less what it writes in the clean run.

        Patching can take this `in_place` of what the corrupted run wrote, which is then lost: of
        long inputs a copy of every node's output counts.
        """
        if in_place and self.settings.ablation == "patching":
            return corrupted.map(torch.Tensor.sub_, clean)
        return self._ablated(corrupted).map(torch.sub, clean)

    def _ablated(self, corrupted: Activations) -> Activations:
        return ablated(corrupted, self.settings.ablation, means=self.means)


@dataclass(frozen=True)
class _Metric:
    """The metric of a batch, as a function of the logits at its target positions."""

    name: str
    reference: Reference
    batch: Batch

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """(examples,) from logits (targets, vocabulary)."""
        return metrics.per_example(
            self.name,
            logits,
            reference=self.reference,
            target_rows=self.batch.target_rows,
            n_examples=len(self.batch.rows),
        )


# ---------------------------------------------------------------- by points


def _by_points(adapter: Adapter, batch: Batch, *, plan: _Plan) -> Scores:
    """The `Scores` of a batch from derivatives at the plan's points."""
    precision = partial(plan.precision, batch.clean_ids.device)
    gate, gated = plan.method.gate, nullcontext
    # 1. the two plain runs
    with precision():
        clean, clean_logits = run(adapter, batch.clean_ids, batch=batch)
    with precision(), hooks.tapped(adapter) if gate else nullcontext() as taps:
        corrupted, corrupted_logits = run(adapter, batch.corrupted_ids, batch=batch)
    reference = metrics.reference(clean_logits, corrupted_logits, target_ids=batch.target_ids)
    metric = _Metric(plan.settings.metric, reference, batch)
    ends = metric(clean_logits), metric(corrupted_logits)
    del clean_logits, corrupted_logits
    if gate and taps:
        gated = partial(hooks.gated, adapter, taps, share=gate)
        with precision(), gated():
            clean = hooks.record(adapter, batch.clean_ids)[0]
    at_nodes = any(point.where != "input" for point in plan.points)
    differences = plan.differences(corrupted, clean, in_place=not at_nodes)
    between = _Between(clean if at_nodes else None, differences)
    del clean, corrupted
    # 2. a forward and a backward pass per point
    gradients = Gradients(adapter)
    for point in plan.points:
        with precision(), gated(), gradients.collecting(point.weight):
            _differentiate(adapter, batch, point=point, between=between, metric=metric)
        plan.tick()
    # 3. contraction
    by_group = contract(
        adapter, differences, gradients=gradients, batch=batch, groups=plan.settings.groups
    )
    return _scores(adapter, batch, by_group=by_group, ends=ends, plan=plan)


class _Between(NamedTuple):
    """What every node writes at the clean end of a path, and how that differs at the other end."""

    clean: Activations | None  # None where only the input moves
    differences: Activations

    def heads(self, layer: int, share: float) -> torch.Tensor:
        """What a layer's heads give, the share of the way from the ablated to the clean end."""
        assert self.clean is not None
        return self.clean.heads[layer] + (1 - share) * self.differences.heads[layer]

    def mlp(self, layer: int, share: float) -> torch.Tensor:
        """What a layer's MLP writes there."""
        assert self.clean is not None
        return self.clean.mlps[layer] + (1 - share) * self.differences.mlps[layer]


def _differentiate(
    adapter: Adapter, batch: Batch, *, point: Point, between: _Between, metric: _Metric
) -> None:
    """Run the model at a point, and the metric's derivative backwards; hooks keep what counts."""
    embeddings, patch = adapter.embed(batch.clean_ids), nullcontext()
    if point.where != "input":
        value_of = between.heads if point.where[0] == "a" else between.mlp
        value = value_of(int(point.where[1:]), point.share)
        patch = hooks.patched(adapter, point.where, value=value)
    elif point.share != 1:
        embeddings = embeddings + (1 - point.share) * between.differences.input
    with torch.enable_grad(), patch:
        hidden = adapter.hidden(embeddings.detach().requires_grad_())
        logits = adapter.unembed(hidden[batch.target_rows, batch.target_positions])
        metric(logits).sum().backward()


# ---------------------------------------------------------------- by rules


class _Run(NamedTuple):
    """A run at one end of a segment."""

    nodes: Activations  # what its nodes wrote
    logits: torch.Tensor  # (targets, vocabulary)
    taps: Taps | None  # what its operations worked on; None where no segment starts here


def _by_rules(adapter: Adapter, batch: Batch, *, plan: _Plan) -> Scores:
    """The `Scores` of a batch from one backward pass per segment, by the method's rules."""
    return _Segments(adapter, batch, plan=plan).scores()


class _Segments:
    """Attribution of a batch by rules, segment by segment from the corrupted to the clean run.

    A segment lies between two runs; the first one's lower end is the corrupted run, the last one's
    upper end the clean run. What a run's nodes write and its operations work on serves the next
    segment as well.
    """

    def __init__(self, adapter: Adapter, batch: Batch, *, plan: _Plan):
        self.adapter, self.batch, self.plan = adapter, batch, plan
        self.several = len(plan.points) > 1
        self.clean_logits: Any = None  # until the clean run is there
        assert plan.method.rules is not None  # as of every method that comes here
        self.rules = plan.method.rules
        with self._precision(), hooks.tapped(adapter) as taps:
            nodes, self.corrupted_logits = run(adapter, batch.corrupted_ids, batch=batch)
        self.lower = _Run(nodes, self.corrupted_logits, taps)
        if self.several:  # the metric's reference comes before the clean run itself
            with self._precision():
                _, self.clean_logits = run(adapter, batch.clean_ids, batch=batch)
        with torch.no_grad():
            self.corrupted_end = adapter.embed(batch.corrupted_ids)
            self.clean_end = adapter.embed(batch.clean_ids)

    def scores(self) -> Scores:
        """Run all segments and sum their scores."""
        by_group = torch.zeros(())
        for point in self.plan.points:
            by_group = by_group + self._segment(self._embeddings(point.share))
            self.plan.tick()
        metric = self._metric(self.clean_logits)
        ends = metric(self.clean_logits), metric(self.corrupted_logits)
        return _scores(self.adapter, self.batch, by_group=by_group, ends=ends, plan=self.plan)

    def _precision(self) -> AbstractContextManager:
        return self.plan.precision(self.batch.clean_ids.device)

    def _embeddings(self, share: float) -> torch.Tensor:
        """Token embeddings, the share of the way from the corrupted to the clean end."""
        if share == 1:
            return self.clean_end
        return torch.lerp(self.corrupted_end, self.clean_end, share)

    def _metric(self, clean_logits) -> _Metric:
        reference = metrics.reference(
            clean_logits, self.corrupted_logits, target_ids=self.batch.target_ids
        )
        return _Metric(self.plan.settings.metric, reference, self.batch)

    def _segment(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(examples, groups, edges) scores of the segment that ends at `embeddings`.

        The run there is the next segment's lower end.
        """
        gradients = Gradients(self.adapter)
        upper = self._run(embeddings, gradients)
        differences = self.plan.differences(self.lower.nodes, upper.nodes, in_place=True)
        by_group = contract(
            self.adapter,
            differences,
            gradients=gradients,
            batch=self.batch,
            groups=self.plan.settings.groups,
        )
        self.lower = upper
        return by_group

    def _run(self, embeddings: torch.Tensor, gradients: Gradients) -> _Run:
        """The run at a segment's upper end; its backward pass adds to `gradients`."""
        adapter, batch = self.adapter, self.batch
        other = self.lower.taps if self.rules.two_runs else None
        with (
            self._precision(),
            torch.enable_grad(),
            hooks.recorded(adapter) as nodes,
            hooks.tapped(adapter) if self.several else nullcontext() as taps,
            gradients.collecting(1.0, rules=self.rules, other=other),
        ):
            hidden = adapter.hidden(embeddings.detach().requires_grad_())
            logits = adapter.unembed(hidden[batch.target_rows, batch.target_positions])
            upper = _Run(nodes.activations(adapter.start(embeddings)), logits.detach(), taps)
            if self.clean_logits is None:
                self.clean_logits = upper.logits
            self._backward(logits)
        return upper

    def _backward(self, logits: torch.Tensor) -> None:
        """Hand the metric's multipliers back from the logits, or its derivative without a rule."""
        metric, value = self._metric(self.clean_logits), logits.detach()
        rule = self.rules.metric
        if rule is None:
            metric(logits).sum().backward()
            return
        multiplier = rule(metric.name, value, other=self.lower.logits, reference=metric.reference)
        rows = self.batch.target_rows
        multiplier /= torch.bincount(rows)[rows, None]
        logits.backward(multiplier.to(logits.dtype))


# ---------------------------------------------------------------- results


def _scores(adapter: Adapter, batch: Batch, *, by_group: torch.Tensor, ends, plan: _Plan) -> Scores:
    """The `Scores` of a batch. Raises InputError for one that is not finite."""
    edges = by_group.sum(1)
    _require_finite(adapter.graph, edges, batch=batch)
    clean, corrupted = ends
    split = None if plan.settings.groups is None else by_group
    return Scores(batch.rows, edges, clean.cpu(), corrupted.cpu(), split)


def _require_finite(graph: Graph, scores: torch.Tensor, *, batch: Batch) -> None:
    wrong = ~torch.isfinite(scores)
    if wrong.any():
        example, edge = wrong.nonzero()[0].tolist()
        name = graph.edges[edge]
        layer = graph.layer_of(name.split("->")[1])
        raise InputError(
            f"expected finite scores, got {scores[example, edge]} for edge {name} "
            f"(layer {layer}) of example {batch.pairs[example].id}; use float32 and check the "
            "weights"
        )
