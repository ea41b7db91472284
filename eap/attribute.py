"""Edge scores by attribution patching: EAP, EAP-IG, secant and variants, at about the cost of their forward and backward passes.

What is computed. For an edge u->v, with the clean and the corrupted run's output of u and the metric's gradient at the input of v,

    score(u->v) = mean over examples, sum over positions, of  (corrupted_u - clean_u) . d metric / d input_v.

Methods differ only in the points at which the gradient is taken and their weights (`METHODS`). EAP (Syed et al., arXiv 2310.10348): the
clean input. EAP-IG (Hanna et al., arXiv 2403.17806): points on the line from the corrupted to the clean token embeddings, so that
the integral of the gradient along it is approximated. The scores of all edges out of `input` then sum to metric(corrupted) -
metric(clean), the *completeness* of integrated gradients (Sundararajan et al., arXiv 1703.01365), and what is missing is reported.

Secant patching takes one backward pass in which every operation hands back its exact finite difference between
the two runs instead of its derivative (`eap.rules`); the sums are then exact without any points.

Why it is cheap. Every head reads the same residual stream x through the same norm, so no head needs its own copy of the stream: only
the gradient must be split. Let x^ = (x - mean x) / s, W' = W_h diag(norm weight) with its mean over d_model taken out, and
G = d metric / d (x^ W'), which an ordinary backward pass delivers at the output of the fused q-k-v projection; where query heads share
a key or value head, attention hands back each query head's part before they are summed. LayerNorm's derivative gives

    d metric / d input_h = (1/s) [ y - mean(y) - x^ mean(y x^) ],   y = W' G
                         = W' (G/s) - x^ (D/s),                     D = G . (x^ W') / d_model,

since the columns of W' have mean zero; and x^ W' is the projection's own output less a constant. RMSNorm is the same without means.
This is linear in G/s, so the sum over
points is taken *before* the multiplication with W'. The gradient at an MLP's and at the logits' input is their branch's own.

    1. run the corrupted and the clean input; keep the differences of what every node writes
    2. for every point: a forward and a backward pass of the unmodified model; keep sums of G/s, and D/s and x^ of the point
    3. per example, in chunks of positions: W' (G/s) - sum over points of x^ (D/s), and its products with all parents' differences

Step 3 costs two matrix products a layer, once per example whatever the number of points, and memory for one chunk.
A norm's finite difference has the same form as its derivative with other factors (`rules.NormSlope`), so both take this way.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from eap import InputError, dataset, hooks, memory, metrics
from eap.dataset import Batch, Grouping, Pair, batches
from eap.exact import exact_scores
from eap.graph import Graph
from eap.hooks import Activations
from eap.models import adapt
from eap.passes import ablated, run
from eap.rules import ATTNLRP, GIM, SECANT, SECANT_NORM_HELD, Rules
from eap.scores import Scores

# Elements of the differences of all nodes at once: 16 MB in float32 stay near a processor, a GPU
# wants more work at a time.
CHUNK_ELEMENTS = {"cpu": 2**22, "cuda": 2**27}


# ---------------------------------------------------------------- methods: points and weights


class Point(NamedTuple):
    """One forward and backward pass: `where` ("input", "a3", "m3") carries ablated + share (clean -
    ablated).
    """

    where: str
    share: float
    weight: float


def left(n: int):
    """The reference's rule: k/n for k = 0..n-1."""
    return np.arange(n) / n, np.full(n, 1 / n)


def midpoint(n: int):
    """The middles of n equal parts."""
    return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)


def gauss_legendre(n: int):
    """Gauss-Legendre points on [0, 1]: exact for polynomials of degree 2n - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


RULES = {"left": left, "midpoint": midpoint, "gauss-legendre": gauss_legendre}


def _clean_end(graph: Graph, steps: int, rule: str) -> list[Point]:
    return [Point("input", 1.0, 1.0)]


def _both_ends(graph: Graph, steps: int, rule: str) -> list[Point]:
    return [Point("input", 0.0, 0.5), Point("input", 1.0, 0.5)]


def _line_of_inputs(graph: Graph, steps: int, rule: str) -> list[Point]:
    return [
        Point("input", float(share), float(weight))
        for share, weight in zip(*RULES[rule](steps), strict=True)
    ]


def _line_of_activations(graph: Graph, steps: int, rule: str) -> list[Point]:
    # One group of nodes at a time moves from ablated to clean, the reference's variant: shares 1/n
    # .. n/n, whatever the rule.
    groups = ["input"] + [f"{kind}{layer}" for layer in range(graph.n_layers) for kind in "am"]
    return [
        Point(group, k / steps, 1 / (len(groups) * steps))
        for group in groups
        for k in range(1, steps + 1)
    ]


def _segments(graph: Graph, steps: int, rule: str) -> list[Point]:
    """The upper ends of `steps` equal parts of the line from the corrupted to the clean embeddings."""
    return [Point("input", (k + 1) / steps, 1.0) for k in range(steps)]


@dataclass(frozen=True)
class Method:
    """A row of the table of methods: at which points the backward passes are, and what they hand
    back.

    `points(graph, steps, rule)`; None stands for exact patching, one run per edge.
    """

    points: Callable[[Graph, int, str], list[Point]] | None
    rules: Rules | None = None  # of the backward pass; None: derivatives
    gate: float | None = None  # every reader reads this share of the running stream, else corrupted
    corrupted_run: bool = False  # needs the corrupted run's inside: no zero and mean ablation
    complete: bool = False  # edges out of `input` sum to the metric's change: this can be checked
    stepped: bool = False  # takes a number of points or segments
    quadrature: bool = False  # integrates by a rule
    flat: bool = False  # takes the metric's gradient at the clean input, where kl and js have none
    nodes: bool = False  # scores nodes: sums over a node's outgoing edges


_IG: dict[str, Any] = {"corrupted_run": True, "complete": True, "stepped": True, "quadrature": True}
_SECANT: dict[str, Any] = {"corrupted_run": True, "complete": True}
METHODS = {
    "secant": Method(_clean_end, SECANT, **_SECANT),
    "EAP": Method(_clean_end, flat=True),
    "EAP-IG-inputs": Method(_line_of_inputs, **_IG),
    "EAP-IG-activations": Method(_line_of_activations, stepped=True),
    "clean-corrupted": Method(_both_ends, corrupted_run=True),
    "exact": Method(None),
    "secant-segments": Method(_segments, SECANT, stepped=True, **_SECANT),
    "secant-norm-held": Method(_clean_end, SECANT_NORM_HELD, corrupted_run=True),
    "AttnLRP": Method(_clean_end, ATTNLRP, flat=True),
    "GIM": Method(_clean_end, GIM, flat=True),
    "edge-gates": Method(_clean_end, gate=0.8, corrupted_run=True),
    "NAP": Method(_clean_end, flat=True, nodes=True),
    "NAP-IG": Method(_line_of_inputs, nodes=True, **_IG),
    "NAP-secant": Method(_clean_end, SECANT, nodes=True, **_SECANT),
}
ABLATIONS = ("patching", "zero", "mean")


def check(method: str, metric: str, rule: str, ablation: str, steps: int) -> None:
    """Raise InputError for a name that is unknown or a combination without meaning."""
    for what, name, known in (
        ("method", method, METHODS),
        ("metric", metric, metrics.METRICS),
        ("rule", rule, RULES),
        ("ablation", ablation, ABLATIONS),
    ):
        if name not in known:
            raise InputError(f"expected a {what} of {', '.join(known)}, got {name!r}")
    if METHODS[method].corrupted_run and ablation != "patching":
        raise InputError(
            f"{method} compares the clean with the corrupted run: expected ablation patching, got "
            f"{ablation}, which has no run of its own; use patching, or method EAP or exact"
        )
    if steps < 1:
        raise InputError(f"expected at least 1 step, got {steps}")


# ---------------------------------------------------------------- scores


@dataclass(frozen=True)
class Settings:
    """How edges are scored."""

    method: str = "EAP-IG-inputs"  # one of METHODS
    metric: str = "kl"  # one of metrics.METRICS
    steps: int = 5  # points or segments, of methods that have some
    rule: str = "gauss-legendre"  # one of RULES, of methods that integrate
    ablation: str = "patching"  # one of ABLATIONS
    autocast: torch.dtype | None = None  # bfloat16: of matrix products alone; None: the model's
    groups: Grouping | None = None  # of positions, by which scores are given as well

    def check(self) -> None:
        """Raise InputError for a name that is unknown or a combination without meaning."""
        check(self.method, self.metric, self.rule, self.ablation, self.steps)
        if METHODS[self.method].points is None and self.groups is not None:
            raise InputError(
                f"expected a method whose scores split by position, got {self.method}, which "
                "patches an edge at all of them at once"
            )


def attribute(
    model,
    pairs: list[Pair],
    method: str = "EAP-IG-inputs",
    metric: str = "kl",
    batch_size: int = 4,
    *,
    kv: str = "per-head",
    **options,
) -> Scores:
    """`Scores` of all pairs, in their order. `options` are further `Settings`, and those of
    `attribute_batches`; `kv` is that of `adapt`.

    Mean scores are `attribute(...).edges.mean(0)`. The model may be anything `eap.models` has an
    adapter for; its parameters and mode come back as they were. Raises InputError as `check` does,
    and for scores that are not finite.
    """
    if not pairs:
        raise InputError("expected at least one pair to attribute, got none")
    adapter, names = adapt(model, kv=kv), [field.name for field in fields(Settings)]
    chosen = {name: options.pop(name) for name in names if name in options}
    settings = Settings(method, metric, **chosen)
    parts = list(attribute_batches(adapter, batches(pairs, batch_size), settings, **options))
    order = torch.tensor([row for part in parts for row in part.rows]).argsort()

    def of_all(name: str) -> torch.Tensor:
        return torch.cat([getattr(part, name) for part in parts])[order]

    by_group = None if parts[0].by_group is None else of_all("by_group")
    rows = list(range(len(pairs)))
    return Scores(rows, of_all("edges"), of_all("clean"), of_all("corrupted"), by_group)


def attribute_batches(
    adapter,
    batches: Iterable[Batch],
    settings: Settings,
    *,
    means: Activations | None = None,
    notify: Callable[[str], None] = warnings.warn,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[Scores]:
    """Yield the `Scores` of each batch, on the CPU. `means` is for mean ablation
    (`passes.mean_activations`).

    Residual stream and differences stay in the model's dtype with `autocast` too. `tick` is called
    after each point of a batch, or after each edge of exact patching (`ticks_per_batch`). When
    memory runs out, batches are halved and `notify` is told. Raises InputError as `Settings.check`
    does, for scores that are not finite, and when not even one example fits.
    """
    settings.check()
    if settings.ablation == "mean" and means is None:
        raise InputError("mean ablation: expected means, got none; mean_activations makes them")
    device, method = next(adapter.model.parameters()).device, METHODS[settings.method]
    if method.points is None:

        def compute(batch):
            return exact_scores(adapter, batch, settings.metric, settings.ablation, means, tick)
    else:
        points = method.points(adapter.graph, settings.steps, settings.rule)
        plan = _Plan(
            method,
            points,
            settings.metric,
            settings.ablation,
            means,
            settings.autocast,
            settings.groups,
            tick,
        )
        scores_of = _by_points if method.rules is None else _by_rules

        def compute(batch):
            return scores_of(adapter, batch.to(device), plan)

    with hooks.frozen(adapter.model):
        yield from memory.halving(batches, compute, notify)


def ticks_per_batch(graph: Graph, method: str, steps: int, rule: str) -> int:
    """How often `attribute_batches` calls `tick` for a batch: once for each point of the path, or
    for each edge of exact patching.
    """
    points = METHODS[method].points
    return graph.n_edges if points is None else len(points(graph, steps, rule))


def passes(
    graph: Graph, method: str | None, steps: int, rule: str
) -> tuple[int | None, int | None]:
    """How many forward and backward passes a pair takes; (None, None) for a method that is unknown."""
    if method not in METHODS:
        return None, None
    way = METHODS[method]
    if way.points is None:
        return graph.n_edges + 3, 0
    n = len(way.points(graph, steps, rule))
    if way.rules:
        return n + 1 + (n > 1), n  # the clean run is the last segment's upper end
    return n + 2 + (way.gate is not None), n


@dataclass(frozen=True)
class _Plan:
    """How the batches of one call are attributed; see `attribute_batches`."""

    method: Method
    points: list[Point]
    metric: str
    ablation: str
    means: Activations | None
    autocast: torch.dtype | None
    groups: Grouping | None
    tick: Callable[[], object]


def _by_points(adapter, batch: Batch, plan: _Plan) -> Scores:
    """The `Scores` of a batch from derivatives at the plan's points."""
    device, gate = batch.clean_ids.device, plan.method.gate
    # 1. the two plain runs
    with hooks.autocast(device, plan.autocast):
        clean, clean_logits = run(adapter, batch.clean_ids, batch)
        with hooks.tapped(adapter) if gate else nullcontext() as taps:
            corrupted, corrupted_logits = run(adapter, batch.corrupted_ids, batch)
    reference = metrics.reference(clean_logits, corrupted_logits, batch.target_ids)
    ends = _ends(plan.metric, (clean_logits, corrupted_logits), reference, batch)
    del clean_logits, corrupted_logits
    gated = partial(hooks.gated, adapter, taps, gate) if gate and taps else nullcontext
    if gate:
        with hooks.autocast(device, plan.autocast), gated():
            clean = hooks.record(adapter, batch.clean_ids)[0]
    needs_clean = any(point.where != "input" for point in plan.points)
    if plan.ablation == "patching" and not needs_clean:
        # in place: of long inputs a copy of every node's output counts
        differences, clean = corrupted.map(lambda other, plain: other.sub_(plain), clean), None
    else:
        differences = ablated(corrupted, plan.ablation, plan.means).map(torch.sub, clean)
    del corrupted
    # 2. a forward and a backward pass per point
    gradients = hooks.Gradients(adapter)
    for point in plan.points:
        with hooks.autocast(device, plan.autocast), gated(), gradients.collecting(point.weight):
            _differentiate(adapter, batch, point, clean, differences, plan.metric, reference)
        plan.tick()
    # 3. contraction
    by_group = _contract_batch(adapter, differences, gradients, batch, plan.groups)
    return _scores(adapter, batch, by_group, ends, plan.groups)


def _by_rules(adapter, batch: Batch, plan: _Plan) -> Scores:
    """The `Scores` of a batch from one backward pass per segment, by the method's rules
    (`eap.rules`).

    A segment lies between two runs; the first one's lower end is the corrupted run, the last one's
    upper end the clean run. What a run's nodes write and its operations work on serves the next
    segment as well.
    """
    rules, device, segments = plan.method.rules, batch.clean_ids.device, len(plan.points)
    assert rules is not None  # as of every method that comes here
    metric_rule = rules.metric
    autocast = partial(hooks.autocast, device, plan.autocast)
    with autocast(), hooks.tapped(adapter) as taps:
        lower, lower_logits = run(adapter, batch.corrupted_ids, batch)
    corrupted_logits, clean_logits = lower_logits, None
    if segments > 1:  # the metric's reference comes before the clean run itself
        with autocast():
            clean_logits = run(adapter, batch.clean_ids, batch)[1]
    with torch.no_grad():
        ends = adapter.embed(batch.corrupted_ids), adapter.embed(batch.clean_ids)
    by_group = torch.zeros(())
    for point in plan.points:
        other = taps if rules.two_runs else None
        embeddings = ends[1] if point.share == 1 else torch.lerp(*ends, point.share)
        gradients = hooks.Gradients(adapter)
        with (
            autocast(),
            torch.enable_grad(),
            hooks.recorded(adapter) as nodes,
            hooks.tapped(adapter) if segments > 1 else nullcontext() as taps,
            gradients.collecting(1.0, rules, other),
        ):
            hidden = adapter.hidden(embeddings.detach().requires_grad_())
            logits = adapter.unembed(hidden[batch.target_rows, batch.target_positions])
            upper = nodes.activations(adapter.start(embeddings))
            value = logits.detach()
            clean_logits = value if clean_logits is None else clean_logits
            reference = metrics.reference(clean_logits, corrupted_logits, batch.target_ids)
            if metric_rule is None:
                _metric(plan.metric, logits, reference, batch).sum().backward()
            else:
                multiplier = metric_rule(plan.metric, value, lower_logits, reference)
                multiplier /= torch.bincount(batch.target_rows)[batch.target_rows, None]
                logits.backward(multiplier.to(logits.dtype))
        if plan.ablation == "patching":
            differences = lower.map(lambda other, plain: other.sub_(plain), upper)
        else:
            differences = ablated(lower, plan.ablation, plan.means).map(torch.sub, upper)
        by_group = by_group + _contract_batch(adapter, differences, gradients, batch, plan.groups)
        lower, lower_logits = upper, value
        del hidden, logits, differences, gradients
        plan.tick()
    metric_ends = _ends(plan.metric, (clean_logits, corrupted_logits), reference, batch)
    return _scores(adapter, batch, by_group, metric_ends, plan.groups)


def _metric(metric: str, logits: torch.Tensor, reference, batch: Batch) -> torch.Tensor:
    return metrics.per_example(metric, logits, reference, batch.target_rows, len(batch.rows))


def _ends(metric: str, logits, reference, batch: Batch) -> list[torch.Tensor]:
    """The metric (examples,) of the clean and of the corrupted run, from their logits."""
    return [_metric(metric, end, reference, batch) for end in logits]


def _contract_batch(adapter, differences, gradients, batch: Batch, groups) -> torch.Tensor:
    """(examples, groups, edges) scores of a batch, example by example, on the CPU."""
    scores = [
        _contract(adapter, differences, gradients, example, pair, groups)
        for example, pair in enumerate(batch.pairs)
    ]
    return adapter.graph.vector(torch.stack(scores).cpu())


def _scores(adapter, batch: Batch, by_group: torch.Tensor, ends, groups) -> Scores:
    edges = _finite(adapter.graph, by_group.sum(1), batch)
    clean, corrupted = ends
    return Scores(batch.rows, edges, clean.cpu(), corrupted.cpu(), by_group if groups else None)


def _differentiate(
    adapter, batch: Batch, point: Point, clean, differences: Activations, metric: str, reference
) -> None:
    embeddings = adapter.embed(batch.clean_ids)
    patch = nullcontext()
    if point.where == "input":
        embeddings = (
            embeddings + (1 - point.share) * differences.input if point.share != 1 else embeddings
        )
    else:
        kind, layer = ("heads" if point.where[0] == "a" else "mlps"), int(point.where[1:])
        value = getattr(clean, kind)[layer] + (1 - point.share) * getattr(differences, kind)[layer]
        patch = hooks.patched(adapter, point.where, value)
    with torch.enable_grad(), patch:
        hidden = adapter.hidden(embeddings.detach().requires_grad_())
        logits = adapter.unembed(hidden[batch.target_rows, batch.target_positions])
        metrics.per_example(
            metric, logits, reference, batch.target_rows, len(batch.rows)
        ).sum().backward()


def _contract(
    adapter,
    differences: Activations,
    gradients: hooks.Gradients,
    example: int,
    pair: Pair,
    groups: Grouping | None,
) -> torch.Tensor:
    """(groups, sources, destinations) scores of one example: differences of what sources write
    times gradients of what slots read.
    """
    graph = adapter.graph
    n_sources = len(graph.sources)
    labels = [0] * len(pair.clean_ids) if groups is None else groups.of(pair)
    n_groups = 1 if groups is None else len(groups.names)
    scores = differences.input.new_zeros(n_groups, n_sources, len(graph.destinations))
    most = max(1, CHUNK_ELEMENTS.get(scores.device.type, 2**22) // (n_sources * graph.d_model))
    for label, part in dataset.stretches(labels, most):
        written = written_by_all(adapter, differences, example, part).flatten(1)
        for layer in range(graph.n_layers):
            slots = graph.head_slots(layer)
            parents = graph.n_parents[slots.start]
            heads = _head_gradients(adapter, gradients, layer, example, part).flatten(1)
            heads = graph.fold_slots(heads)
            scores[label, :parents, slots] += written[:parents] @ heads.T
        direct = torch.stack([each[example, part] for each in gradients.direct]).flatten(1)
        columns = [graph.mlp_slot(layer) for layer in range(graph.n_layers)] + [-1]
        scores[label][:, columns] += written @ direct.T
    return scores


def written_by_all(adapter, activations: Activations, example: int, part: slice) -> torch.Tensor:
    """(sources, positions, d_model): what every source adds to the residual stream of one example,
    at a slice of positions.
    """
    graph = adapter.graph
    like = activations.input[example, part]
    written = like.new_empty(len(graph.sources), *like.shape)
    written[0] = like
    for layer in range(graph.n_layers):
        results = (
            activations.heads[layer][example, part]
            .unflatten(-1, (graph.n_heads, -1))
            .transpose(0, 1)
        )
        torch.bmm(results, adapter.write_weight(layer), out=written[graph.heads(layer)])
        written[graph.mlp(layer)] = activations.mlps[layer][example, part]
    return written


def _head_gradients(
    adapter, gradients: hooks.Gradients, layer: int, example: int, part: slice
) -> torch.Tensor:
    """(3 heads, positions, d_model): sum over points of the gradient at every slot's input, W'
    (G/s) - x^ (D/s).
    """
    projected = (
        gradients.projected[layer][example, part]
        .unflatten(-1, (-1, adapter.d_head))
        .transpose(0, 1)
    )
    summed = projected.new_empty(*projected.shape[:2], adapter.graph.d_model)
    first = 0
    for read in adapter.reads(layer):
        slots = slice(first, first + read.n_slots)
        units = read.weight.shape[1]
        shared = projected[slots].reshape(units, -1, adapter.d_head)
        out = summed[slots].view(units, -1, adapter.graph.d_model)
        torch.bmm(shared, read.weight.permute(1, 2, 0), out=out)
        first = slots.stop
    summed.mul_(adapter.blocks[layer].attn_norm.weight)
    if adapter.read_means[layer] is not None:
        summed.sub_(projected @ adapter.read_means[layer][:, :, None])
    for along, direction in zip(gradients.along[layer], gradients.directions[layer], strict=True):
        summed.addcmul_(along[example, part].T[:, :, None], direction[example, part], value=-1)
    return summed


def _finite(graph: Graph, scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    wrong = ~torch.isfinite(scores)
    if wrong.any():
        example, edge = wrong.nonzero()[0].tolist()
        name = graph.edges[edge]
        raise InputError(
            f"expected finite scores, got {scores[example, edge]} for edge {name} "
            f"(layer {graph.layer_of(name.split('->')[1])}) of example {batch.pairs[example].id}; use "
            "float32 and check the weights"
        )
    return scores
