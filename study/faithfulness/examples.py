"""examples.json: a few pairs token by token: what a circuit does and where its heads look."""

import torch

from eap.circuit import Circuit
from eap.dataset import Pair, collate
from eap.evaluate import CircuitRunner
from eap.graph import Graph
from eap.models.contract import Adapter
from study.differential.two_models import states
from study.page.packing import pack

HEADS = 8  # the circuit's strongest, whose attention is kept
PARTS = 10_000  # attention weights are whole ten-thousandths
LEAST = 0.001  # a smaller weight is written as 0


def of_pairs(
    adapter: Adapter, tokenizer, *, circuit: Circuit, pairs: list[Pair], ablation, means
) -> dict:
    """What examples.json holds of these pairs: tokens, what was replaced, the NLL of each target
    token in three runs, and the attention of the circuit's strongest heads. Without a tokenizer
    tokens are numbers.
    """
    heads = strongest_heads(circuit)
    rows = []
    with torch.no_grad():
        for pair in pairs:
            runner = CircuitRunner(adapter, collate([0], [pair]), ablation=ablation, means=means)
            row = about(pair, tokenizer)
            row["nll"] = token_nll(runner, circuit.in_graph)
            row["attention"] = attention(adapter, runner.batch, heads=heads)
            rows.append(row)
    return {"format": 1, "parts": PARTS, "least": LEAST, "heads": heads, "pairs": rows}


def strongest_heads(circuit: Circuit) -> list[str]:
    """Names of the heads with the largest sum of |score| of the circuit's edges, into or out."""
    graph: Graph = circuit.graph
    source, slot = graph.edge_index
    size = circuit.in_graph.double()
    if circuit.scores is not None:
        size = size * circuit.scores.abs().double()
    strength = torch.zeros(graph.n_readers, dtype=torch.float64)
    strength.index_add_(0, source, size).index_add_(0, graph.reader[slot], size)
    strength, groups = strength[: len(graph.nodes)], strength[len(graph.nodes) :]
    for heads, of_group in zip(graph.group_heads, groups, strict=True):
        strength[heads] += of_group  # what a group reads, all its heads read
    order = torch.argsort(strength, descending=True, stable=True).tolist()
    names = [graph.nodes[node] for node in order if strength[node] > 0]
    return [name for name in names if ".h" in name][:HEADS]


def about(pair: Pair, tokenizer) -> dict:
    """A pair's tokens, those that corruption put in their place, and its parts."""
    replaced = {
        place: _text(tokenizer, new)
        for place, (old, new) in enumerate(zip(pair.clean_ids, pair.corrupted_ids, strict=True))
        if old != new
    }
    return {
        "id": pair.id,
        "target_start": pair.target_start,
        "corrupted_spans": [list(span) for span in pair.corrupted_spans],
        "tokens": [_text(tokenizer, token) for token in pair.clean_ids],
        "replaced": replaced,
    }


def _text(tokenizer, token: int) -> str:
    return str(token) if tokenizer is None else tokenizer.decode([token])


def token_nll(runner: CircuitRunner, kept: torch.Tensor) -> dict[str, list[float]]:
    """{run: nats of each target token} of the clean, the corrupted and the circuit's run."""
    logits = {**runner.plain_logits, "circuit": runner.logits(kept)}
    targets = runner.batch.target_ids
    return {
        name: torch.nn.functional.cross_entropy(rows.float(), targets, reduction="none").tolist()
        for name, rows in logits.items()
    }


def attention(adapter: Adapter, batch, *, heads: list[str]) -> dict[str, dict[str, str]]:
    """{head: {"clean", "corrupted": packed weights}} of one pair: of the positions that predict its
    target tokens, row after row, over all its tokens.
    """
    weights = {head: {} for head in heads}
    layers = {int(head.split(".")[0][1:]) for head in heads}
    for name, ids in (("clean", batch.clean_ids), ("corrupted", batch.corrupted_ids)):
        streams = states(adapter, ids)
        for layer in sorted(layers):
            of_layer = adapter.attention_weights(layer, streams[layer])[0]
            for head in (head for head in heads if head.startswith(f"a{layer}.")):
                rows = of_layer[int(head.split(".h")[1]), batch.target_positions].float().cpu()
                kept = torch.where(rows < LEAST, torch.zeros_like(rows), rows)
                weights[head][name] = pack((kept.flatten() * PARTS).round().numpy().astype("u2"))
    return weights
