"""GPT-2s whose true edges are known by construction, to ask whether a method finds them.

Every node writes to a subspace of the residual stream that is its own: `input` (token and position
embeddings), each head and each MLP `WIDTH` dimensions. Every reader (q, k, v of a head, an MLP, the
logits) reads the subspaces of `READS` writers drawn at random among those before it, through random
weights, and nothing else. An edge is true when it is read and lies on a path of read edges from
`input` to `logits`. LayerNorm is the only crosstalk: whatever is written changes the scale by which
every reader divides. Weights have the variance that keeps what is read and written at unit size;
those of q and k are larger, so that heads attend somewhere.
"""

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


@torch.no_grad()
def planted(n_subspaces: int, seed: int):
    """(model in float64, true edges as booleans, pairs)."""
    layers, heads = SIZES[n_subspaces]
    generator = torch.Generator().manual_seed(seed)
    d_model = WIDTH * n_subspaces
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
    model = GPT2LMHeadModel(config).double().eval()
    adapter = adapt(model)
    graph, reads = (
        adapter.graph,
        torch.zeros(len(adapter.graph.sources), len(adapter.graph.destinations), dtype=torch.bool),
    )
    for destination, n_parents in enumerate(graph.n_parents):
        reads[torch.randperm(n_parents, generator=generator)[:READS], destination] = True
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(generator=generator)

    def dimensions(sources) -> torch.Tensor:
        return torch.cat([torch.arange(WIDTH * source, WIDTH * (source + 1)) for source in sources])

    def read(weight, destination, gain=1.0):
        """Let (d_model, out) `weight` read its writers' subspaces only."""
        used = dimensions(reads[:, destination].nonzero()[:, 0].tolist())
        kept = torch.zeros(d_model, 1, dtype=weight.dtype)
        kept[used] = gain / len(used) ** 0.5
        weight.mul_(kept)

    def write(weight, source, gain=1.0):
        """Let (in, d_model) `weight` write to its own subspace only."""
        kept = torch.zeros(d_model, dtype=weight.dtype)
        kept[dimensions([source])] = gain / len(weight) ** 0.5
        weight.mul_(kept)

    for embedding in (model.transformer.wte.weight, model.transformer.wpe.weight):
        write(embedding, 0, len(embedding) ** 0.5)
    width, d_head = heads + 1, d_model // heads
    for layer, block in enumerate(model.transformer.h):
        first = layer * (3 * heads + 1)
        for slot in range(3):
            for head in range(heads):
                columns = slice(
                    slot * d_model + head * d_head, slot * d_model + (head + 1) * d_head
                )
                read(
                    block.attn.c_attn.weight[:, columns],
                    first + slot * heads + head,
                    SHARPNESS**0.5 if slot < 2 else 1.0,
                )
        for head in range(heads):
            write(
                block.attn.c_proj.weight[head * d_head : (head + 1) * d_head],
                1 + layer * width + head,
            )
        read(block.mlp.c_fc.weight, first + 3 * heads)
        write(block.mlp.c_proj.weight, 1 + layer * width + heads)
    unembedding = model.lm_head.weight.T.contiguous()
    read(unembedding, len(graph.destinations) - 1)
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
