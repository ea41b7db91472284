"""GPT-2s whose true edges are known by construction, to ask whether a method finds them.

Every node writes to a subspace of the residual stream that is its own: `input` (token and position
embeddings), each head and each MLP `WIDTH` dimensions. Every reader (q, k, v of a head, an MLP, the
logits) reads the subspaces of `READS` writers drawn at random among those before it, through random
weights, and nothing else. An edge is true when it is read and lies on a path of read edges from
`input` to `logits`. LayerNorm is the only crosstalk: whatever is written changes the scale by which
every reader divides. Weights have the variance that keeps what is read and written at unit size;
those of q and k are larger, so that heads attend somewhere.
"""

from dataclasses import dataclass

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from eap.dataset import Pair
from eap.models import adapt
from eap.selection import prune

WIDTH = 8  # dimensions that each node writes to
READS = 3  # writers that each reader reads
SIZES = {16: (3, 4), 31: (6, 4)}  # subspaces: (layers, heads)
VOCABULARY, TOKENS, TARGETS = 64, 24, 6
SHARPNESS = 3.0  # of attention: the standard deviation of its logits, about


def small_model(layers: int, heads: int, d_model: int) -> GPT2LMHeadModel:
    """GPT-2's architecture in float64, with weights of its own."""
    config = GPT2Config(
        n_layer=layers,
        n_head=heads,
        n_embd=d_model,
        vocab_size=VOCABULARY,
        n_positions=TOKENS,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).double().eval()


@dataclass(frozen=True)
class Subspaces:
    """Writer u writes to dimensions u x WIDTH onwards; `reads` (sources, destinations) says who
    reads whom. Weights are changed in place.
    """

    reads: torch.Tensor

    def mask(self, sources, gain: float) -> torch.Tensor:
        """(d_model,) `gain` in the subspaces of these writers, 0 elsewhere."""
        kept = torch.zeros(len(self.reads), WIDTH, dtype=torch.double)
        kept[sources] = gain
        return kept.flatten()

    def read(self, weight, destination: int, gain: float = 1.0) -> None:
        """Let (d_model, out) `weight` read its writers' subspaces only."""
        sources = self.reads[:, destination].nonzero()[:, 0]
        width = len(sources) * WIDTH
        weight.mul_(self.mask(sources, gain / width**0.5)[:, None])

    def write(self, weight, source: int, gain: float = 1.0) -> None:
        """Let (in, d_model) `weight` write to its own subspace only."""
        weight.mul_(self.mask([source], gain / len(weight) ** 0.5))


def plant_layer(block, layer: int, heads: int, subspaces: Subspaces) -> None:
    """Let a layer's heads and MLP read and write their subspaces only."""
    attention, mlp = block.attn, block.mlp
    d_head = len(attention.c_proj.weight) // heads
    first_reader, first_writer = layer * (3 * heads + 1), 1 + layer * (heads + 1)
    queries_keys_values = attention.c_attn.weight.split(d_head, 1)  # slot by slot, head by head
    for number, weight in enumerate(queries_keys_values):
        gain = 1.0 if number >= 2 * heads else SHARPNESS**0.5
        subspaces.read(weight, first_reader + number, gain)
    for head, weight in enumerate(attention.c_proj.weight.split(d_head)):
        subspaces.write(weight, first_writer + head)
    subspaces.read(mlp.c_fc.weight, first_reader + 3 * heads)
    subspaces.write(mlp.c_proj.weight, first_writer + heads)


@torch.no_grad()
def planted(n_subspaces: int, seed: int):
    """(model in float64, true edges as booleans, pairs)."""
    layers, heads = SIZES[n_subspaces]
    generator = torch.Generator().manual_seed(seed)
    model = small_model(layers, heads, WIDTH * n_subspaces)
    graph = adapt(model).graph
    reads = torch.zeros(len(graph.sources), len(graph.destinations), dtype=torch.bool)
    for destination, n_parents in enumerate(graph.n_parents):
        reads[torch.randperm(n_parents, generator=generator)[:READS], destination] = True
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(generator=generator)
    subspaces = Subspaces(reads)
    for embedding in (model.transformer.wte.weight, model.transformer.wpe.weight):
        subspaces.write(embedding, 0, len(embedding) ** 0.5)
    for layer, block in enumerate(model.transformer.h):
        plant_layer(block, layer, heads, subspaces)
    unembedding = model.lm_head.weight.T.contiguous()
    subspaces.read(unembedding, len(graph.destinations) - 1)
    model.lm_head.weight.copy_(unembedding.T)
    return model, prune(graph, graph.vector(reads)), pairs(generator)


def pairs(generator, n: int = 8) -> list[Pair]:
    """Random tokens, other ones in the corrupted input at every position: where inputs agree, a
    true edge would have nothing to carry.
    """
    tokens = torch.randint(VOCABULARY, (n, 2, TOKENS), generator=generator).tolist()
    return [
        Pair(str(i), clean, corrupted, TOKENS - TARGETS)
        for i, (clean, corrupted) in enumerate(tokens)
    ]


def auroc(scores: torch.Tensor, true: torch.Tensor) -> float:
    """The probability that a true edge has a larger |score| than another one (ties count half)."""
    from scipy.stats import rankdata

    ranks = rankdata(scores.abs().numpy())
    n_true = int(true.sum())
    return float(
        (ranks[true.numpy()].sum() - n_true * (n_true + 1) / 2) / (n_true * (len(true) - n_true))
    )
