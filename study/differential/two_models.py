"""Two models side by side on the same tokens: streams and attention weights, reduced by text.

Memory holds one batch's states and one layer's attention weights, which are computed from what the
layer read.
"""

from typing import NamedTuple

import numpy as np
import torch

from eap import InputError
from eap.hooks import hooked
from eap.models.contract import Adapter
from study.differential import measures

# CKA and RSA compare pairs of positions: at most so many, evenly spaced, of each text.
GEOMETRY_POSITIONS = 256
# Of one layer's weights of one model in a batch: larger ones leave the cache. A long text alone may
# need more.
ATTENTION_BYTES = 16e6


class Streams(NamedTuple):
    """What a model's blocks wrote on one text: two tensors (states, positions, d_model).

    The states are the embeddings, the stream after each block, and that after the final norm.
    """

    states: torch.Tensor
    updates: torch.Tensor  # what each block adds; the first and the last stand for themselves

    def without_first(self) -> "Streams":
        """Those of all positions but the first (guard 4)."""
        return Streams(self.states[:, 1:], self.updates[:, 1:])


# name -> function of (base's, fine-tuned model's) Streams, which gives (states,)
STATES = {
    "cosine": lambda x, y: measures.cosine(x.states, y.states),
    "centred_cosine": lambda x, y: measures.centred_cosine(x.states, y.states),
    "relative_l2": lambda x, y: measures.relative_l2(x.states, y.states),
    "update_relative_l2": lambda x, y: measures.relative_l2(x.updates, y.updates),
    "magnitude_base": lambda x, y: measures.magnitude(x.states),
    "magnitude_finetuned": lambda x, y: measures.magnitude(y.states),
    "log_magnitude_ratio": lambda x, y: (
        measures.magnitude(y.states) / measures.magnitude(x.states)
    ).log(),
}


def require_comparable(base, finetuned, *, names: tuple[str, str]) -> None:
    """Raise InputError unless two adapters are of one kind and shape of model.

    Comparisons position by position, head by head, need that.
    """
    require_same(_facts(base), _facts(finetuned), names=names)


def _facts(adapter: Adapter) -> dict:
    return {
        "architecture": adapter.model.config.model_type,
        "shape": str(adapter.graph),
        "vocabulary": adapter.vocabulary_size,
    }


def require_same(base: dict, finetuned: dict, *, names: tuple[str, str]) -> None:
    """Raise InputError naming the first of these facts in which two models differ."""
    for key, value in base.items():
        if value != finetuned[key]:
            raise InputError(
                f"expected two models of one {key}, got {value} ({names[0]}) and {finetuned[key]} "
                f"({names[1]}); compare a model with its own fine-tune"
            )


def plan_batches(lengths: list[int], n_heads: int, *, batch_size: int | None) -> list[list[int]]:
    """Row numbers in batches of similar length; a planned batch keeps one layer's attention weights
    under ATTENTION_BYTES.
    """
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batches = []
    while rows:
        size = batch_size or max(1, int(ATTENTION_BYTES / (4 * n_heads * lengths[rows[0]] ** 2)))
        batches.append(rows[:size])
        rows = rows[size:]
    return batches


class Measures:
    """Per-text measures of two models over the layers of one stack, filled text by text.

    `states[name]` (texts, states), `heads[name]` (texts, layers, heads). The states are the
    embeddings, the residual stream after each block (before any norm), and, last, the stream after
    the final norm: the last of transformers' own `hidden_states` is that one, and comparing it as a
    layer shows the norm's weights (guard 3). Without a `d_model` there are no states.
    """

    def __init__(self, n_texts: int, n_layers: int, *, n_heads: int, d_model: int | None):
        self.n_texts, self.n_layers, n_states = n_texts, n_layers, n_layers + 2
        names = [*STATES, *measures.GEOMETRY, "first_base", "first_finetuned"] if d_model else []
        self.states = {name: np.zeros((n_texts, n_states)) for name in names}
        self.heads, self.shape = {}, (n_texts, n_layers, n_heads)
        # per dimension, summed over texts: mean |x| and mean x^2 over positions
        self.absolute = np.zeros((2, n_states, d_model or 0))
        self.square = np.zeros((2, n_states, d_model or 0))

    def add_attention(self, layer: int, row: int, *, measured: dict[str, torch.Tensor]) -> None:
        """Keep the measures of one layer's attention, (heads,) each, as those of text `row`."""
        for name, values in measured.items():
            kept = self.heads.setdefault(name, np.zeros(self.shape))
            kept[row, layer] = values.cpu().numpy()

    def add_states(self, row: int, base: Streams, *, finetuned: Streams) -> None:
        """Keep the measures of both models' float32 streams as those of text `row`."""
        for name, streams in (("first_base", base), ("first_finetuned", finetuned)):
            self.states[name][row] = streams.states[:, 0].norm(dim=-1).cpu().numpy()
        base, finetuned = base.without_first(), finetuned.without_first()
        for name, measure in STATES.items():
            self.states[name][row] = measure(base, finetuned).cpu().numpy()
        x, y = base.states, finetuned.states
        n_spaced = min(x.shape[1], GEOMETRY_POSITIONS)
        spaced = torch.linspace(0, x.shape[1] - 1, n_spaced).round().long().to(x.device)
        for name, measure in measures.GEOMETRY.items():
            self.states[name][row] = measure(x[:, spaced], y[:, spaced]).cpu().numpy()
        self.absolute += np.stack([states.abs().mean(1).cpu().numpy() for states in (x, y)])
        self.square += np.stack([states.square().mean(1).cpu().numpy() for states in (x, y)])


class Comparison(Measures):
    """Two decoders, given as `eap` adapters, filled batch by batch.

    Adapters compute attention weights from the streams, whatever attention function the models run
    (guard 6).
    """

    def __init__(self, base, finetuned, *, n_texts: int):
        graph = base.graph
        super().__init__(n_texts, graph.n_layers, n_heads=graph.n_heads, d_model=graph.d_model)
        self.base, self.finetuned = base, finetuned

    @torch.no_grad()
    def add(self, rows: list[int], sequences: list[list[int]]) -> None:
        """Run both models on `sequences` (token ids) and keep their measures as texts `rows`."""
        lengths = [len(ids) for ids in sequences]
        padded = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(ids) for ids in sequences], batch_first=True
        ).to(self.base.model.device)
        x, y = states(self.base, padded), states(self.finetuned, padded)
        for layer in range(self.n_layers):
            window = self.base.softmax(layer).window
            before = self.base.attention_weights(layer, x[layer])
            after = self.finetuned.attention_weights(layer, y[layer])
            for place, (row, n) in enumerate(zip(rows, lengths, strict=True)):
                measured = measures.attention_measures(
                    before[place, :, :n, :n], after[place, :, :n, :n], window=window
                )
                self.add_attention(layer, row, measured=measured)
        for place, (row, n) in enumerate(zip(rows, lengths, strict=True)):
            streams = _streams(x[:, place, :n].float())
            tuned = _streams(y[:, place, :n].float())
            self.add_states(row, streams, finetuned=tuned)


def _streams(states: torch.Tensor) -> Streams:
    """The `Streams` of a model in which every block adds to the stream that it reads."""
    added = states[1:-1] - states[:-2]
    return Streams(states, torch.cat([states[:1], added, states[-1:]]))


def states(adapter: Adapter, ids: torch.Tensor) -> torch.Tensor:
    """(states, texts, positions, d_model): what each layer reads, and the end before and after the
    final norm. Padding is on the right: no mask is needed.
    """
    read = []
    norms = [*(block.attn_norm for block in adapter.blocks), adapter.final_norm]
    with hooked(before=[(norm.module, read.append) for norm in norms]):
        end = adapter.hidden(adapter.embed(ids))
    assert len(read) == adapter.graph.n_layers + 1, f"{len(read)} streams came"
    return torch.stack([*read, end])
