"""The circuit that scores make, with what its file says of how it was found and how sure it is."""

from typing import NamedTuple

import torch

from eap import InputError, dataset, evaluate, exact, hooks, memory, selection
from eap.circuit import Circuit
from eap.graph import Graph
from eap.models.contract import Adapter
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


class Choice(NamedTuple):
    """What a rule takes of a graph's edges, by the scores of some examples."""

    graph: Graph
    rule: Rule
    scores: torch.Tensor  # (edges,) means over the examples
    ranking: torch.Tensor  # (edges,) what the rule ranks by
    kept: torch.Tensor  # (edges,) booleans
    pruned: torch.Tensor  # (edges,) booleans: those kept that lie on a path

    @property
    def sizes(self) -> dict[str, int | None]:
        """How many edges were asked for, taken, left after pruning, and how many there are."""
        return {
            "requested": self.rule.n,
            "selected": int(self.kept.sum()),
            "pruned": int(self.pruned.sum()),
            "edges": self.graph.n_edges,
        }


def choose(settings: Settings, adapter: Adapter, *, pairs, scores_file, summary: dict) -> Circuit:
    """The circuit: mean scores, chosen and pruned edges, metadata.

    `summary` is what `scores.score` says of the scores per example in `scores_file`. Raises
    InputError when no edge is left.
    """
    per_example = load_example_scores(scores_file)
    choice = choice_of(settings, adapter.graph, per_example=per_example)
    require_edges(settings, choice)
    say_choice(settings, choice, gap=gap_in(summary))
    metadata = metadata_of(settings, summary, choice=choice)
    if settings.exact_top:
        metadata["exact"] = check_exactly(
            settings, adapter, pairs=pairs, scores=choice.scores, per_example=per_example
        )
    circuit = circuit_of(settings, choice, metadata=metadata)
    if settings.resamples > 1 and len(per_example) > 1:
        return with_bootstrap(settings, circuit, per_example=per_example)
    return circuit


def choice_of(settings: Settings, graph: Graph, *, per_example) -> Choice:
    """The `Choice` that the settings ask for."""
    rule = settings.rule(graph, per_example)
    ranking = rule.values(per_example).double().mean(0)
    kept = rule.choose(graph, ranking)
    scores = per_example.double().mean(0)
    return Choice(graph, rule, scores, ranking, kept, selection.prune(graph, kept))


def require_edges(settings: Settings, choice: Choice) -> None:
    """Raise InputError if every score is zero, or no chosen edge is left after pruning."""
    if not choice.scores.any():
        raise InputError(
            f"--pairs {settings.pairs}: expected corrupted inputs that change {settings.metric}, "
            "got scores of 0 for every edge; build the pairs again"
        )
    sizes = choice.sizes
    if not sizes["pruned"]:
        raise InputError(
            f"{settings.output}: expected a circuit, but none of the {sizes['selected']} chosen "
            "edges lies on a path from input to logits; use --selection greedy or a larger "
            "--fraction"
        )


def say_choice(settings: Settings, choice: Choice, *, gap: float | None) -> None:
    """Say how many edges there are, and how far the scores are from complete."""
    shown = "" if gap is None else f"; completeness gap {gap:.2%}"
    sizes = choice.sizes
    settings.console.detail(
        f"circuit: {sizes['selected']} of {sizes['edges']} edges chosen, {sizes['pruned']} after "
        f"pruning{shown}"
    )


def metadata_of(settings: Settings, summary: dict, *, choice: Choice) -> dict:
    """What the circuit's file says of how it was found."""
    rule = choice.rule
    consistent = {} if rule.eligible is None else {"consistent_edges": list(rule.eligible)}
    return {
        "method": settings.method,
        "metric": settings.metric,
        "rule": settings.ig_rule if settings.attribution.quadrature else None,
        **summary,
        "ablation": settings.ablation,
        **rule.entries(),
        "sizes": choice.sizes,
        "dtype": settings.device.dtype,
        "seed": settings.seed,
        "sign": SIGN,
        "kv": choice.graph.kv,
        **consistent,
    }


def circuit_of(settings: Settings, choice: Choice, *, metadata: dict) -> Circuit:
    """The chosen edges as a circuit, with scores of nodes if the method scores those."""
    nodes = node_scores(choice.graph, choice.scores) if settings.attribution.nodes else None
    stored = choice.ranking if settings.rank == "example" else None
    return Circuit(choice.graph, choice.pruned, choice.scores, nodes, metadata, stored)


def with_bootstrap(settings: Settings, circuit: Circuit, *, per_example) -> Circuit:
    """The circuit, which also says what resampling the examples does to it; says so."""
    total = -(-settings.resamples // bootstrap.CHUNK)
    resampled = bootstrap.bootstrap(
        circuit,
        per_example,
        resamples=settings.resamples,
        seed=settings.seed,
        progress=lambda chunks: settings.console.progress(
            chunks, "resampling examples", total=total
        ),
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


def check_exactly(settings: Settings, adapter: Adapter, *, pairs, scores, per_example) -> dict:
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
        means = means_of(settings, adapter, pairs=pairs)
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
