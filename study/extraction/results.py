"""The circuit that scores make, with what its file says of how it was found and how sure it is."""

import torch

from eap import InputError, dataset, evaluate, exact, hooks, memory, selection
from eap.circuit import Circuit
from eap.scores import load_example_scores, node_scores
from eap.selection import Rule
from runs import console
from study.extraction.scores import gap_in, means_of
from study.extraction.settings import Settings
from study.stability import bootstrap, curves

EXACT_PAIRS = 8  # on which --exact_top patches
SIGN = (
    "score = (corrupted - clean) . d metric / d input, or the method's multiplier in its place: "
    "positive means that ablating the edge raises the metric"
)


def choose(settings: Settings, adapter, pairs, scores_file, summary: dict) -> Circuit:
    """The circuit: mean scores, chosen and pruned edges, metadata.

    `summary` is what `scores.score` says of the scores per example in `scores_file`. Raises
    InputError when no edge is left.
    """
    graph = adapter.graph
    per_example = load_example_scores(scores_file)
    scores = per_example.double().mean(0)
    nodes = node_scores(graph, scores) if settings.attribution.nodes else None
    rule = settings.rule(graph, per_example)
    ranking = rule.values(per_example).double().mean(0)
    kept = rule.choose(graph, ranking)
    pruned = selection.prune(graph, kept)
    sizes = {
        "requested": rule.n,
        "selected": int(kept.sum()),
        "pruned": int(pruned.sum()),
        "edges": graph.n_edges,
    }
    require_edges(settings, scores, sizes)
    gap = gap_in(summary)
    shown = "" if gap is None else f"; completeness gap {gap:.2%}"
    settings.console.detail(
        f"circuit: {sizes['selected']} of {graph.n_edges} edges chosen, {sizes['pruned']} after "
        f"pruning{shown}"
    )
    metadata = metadata_of(settings, summary, rule, sizes) | {"kv": graph.kv}
    if rule.eligible is not None:
        metadata["consistent_edges"] = list(rule.eligible)
    if settings.exact_top:
        metadata["exact"] = check_exactly(settings, adapter, pairs, scores, per_example)
    stored = ranking if settings.rank == "example" else None
    circuit = Circuit(graph, pruned, scores, nodes, metadata, stored)
    if settings.resamples > 1 and len(per_example) > 1:
        return with_bootstrap(settings, circuit, per_example)
    return circuit


def require_edges(settings: Settings, scores, sizes: dict) -> None:
    """Raise InputError if every score is zero, or no chosen edge is left after pruning."""
    if not scores.any():
        raise InputError(
            f"--pairs {settings.pairs}: expected corrupted inputs that change {settings.metric}, "
            "got scores of 0 for every edge; build the pairs again"
        )
    if not sizes["pruned"]:
        raise InputError(
            f"{settings.output}: expected a circuit, but none of the {sizes['selected']} chosen "
            "edges lies on a path from input to logits; use --selection greedy or a larger "
            "--fraction"
        )


def metadata_of(settings: Settings, summary: dict, rule: Rule, sizes: dict) -> dict:
    """What the circuit's file says of how it was found."""
    return {
        "method": settings.method,
        "metric": settings.metric,
        "rule": settings.ig_rule if settings.attribution.quadrature else None,
        **summary,
        "ablation": settings.ablation,
        **rule.entries(),
        "sizes": sizes,
        "dtype": settings.device.dtype,
        "seed": settings.seed,
        "sign": SIGN,
    }


def with_bootstrap(settings: Settings, circuit: Circuit, per_example) -> Circuit:
    """The circuit, which also says what resampling the examples does to it; says so."""
    total = -(-settings.resamples // bootstrap.CHUNK)
    resampled = bootstrap.bootstrap(
        circuit,
        per_example,
        resamples=settings.resamples,
        seed=settings.seed,
        progress=lambda chunks: settings.console.progress(chunks, "resampling examples", total),
    )
    goal = settings.until_stable or bootstrap.STABLE
    summary = bootstrap.summarise(resampled, len(per_example), seed=settings.seed, goal=goal)
    settings.console.detail(bootstrap.sentence(summary))
    stability = curves.summarise(circuit, per_example, goal=goal, seed=settings.seed)
    sentences = curves.sentences(stability)
    blocks = circuit.about.until_stable
    if blocks and not blocks["reached"]:
        overlap = summary["noise_floor"]["mean"]
        sentences.insert(
            0,
            f"the {blocks['pairs']} pairs ended before resamples overlapped by more than {goal:g} "
            f"in the mean: {overlap:.3f}",
        )
    settings.console.detail("\n".join(sentences))
    return circuit.noting(bootstrap=summary, stability=stability | {"sentences": sentences})


def check_exactly(settings: Settings, adapter, pairs, scores, per_example) -> dict:
    """Exact patching of the strongest edges, and its correlation with their scores.

    Both are on the first `EXACT_PAIRS` pairs.
    """
    edges = selection.ranking(scores)[: settings.exact_top].tolist()
    chosen = pairs[:EXACT_PAIRS]
    batch_size = settings.batch_size or memory.plan_batch_size(
        adapter, chosen, points=1, budget=settings.device.memory_budget
    )

    def patch(batch):
        runner = evaluate.CircuitRunner(adapter, batch, ablation=settings.ablation, means=means)
        what = f"patching exactly, {len(batch.rows)} pairs"
        bar = settings.console.progress(edges, what)
        return exact.exact_patching(runner, settings.metric, edges=bar)

    with hooks.frozen(adapter.model):
        means = means_of(settings, adapter, pairs)
        batches = dataset.batches(chosen, batch_size)
        patched = torch.cat(list(memory.halving(batches, patch, notify=console.warn))).mean(0)
    approximate = per_example[: len(chosen), edges].mean(0)
    both = torch.stack([patched.double(), approximate.double()])
    pearson = float(torch.corrcoef(both)[0, 1])
    settings.console.detail(
        f"exact patching of the {len(edges)} strongest edges on {len(chosen)} pairs: "
        f"Pearson {pearson:.3f}"
    )
    return {
        "edges": [adapter.graph.edges[edge] for edge in edges],
        "exact": patched.tolist(),
        "score": approximate.tolist(),
        "pearson": pearson,
        "examples": len(chosen),
    }
