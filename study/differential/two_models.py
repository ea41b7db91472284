"""Two models side by side on the same tokens: their residual streams and attention weights, reduced text by text.

Memory holds one batch's states and one layer's attention weights, which are computed from what the layer read.
"""

import numpy as np
import torch

from eap import InputError
from eap.hooks import hooked
from study.differential import measures

GEOMETRY_POSITIONS = (
    256  # CKA and RSA compare pairs of positions: at most so many, evenly spaced, of each text
)
ATTENTION_BYTES = 16e6  # of one layer's weights of one model in a batch: larger ones leave the cache; a long text alone may need more
STATES = {  # name -> function of (base, finetuned) states (states, positions, d_model)
    "cosine": measures.cosine,
    "centred_cosine": measures.centred_cosine,
    "relative_l2": measures.relative_l2,
    "update_relative_l2": lambda x, y: measures.relative_l2(_updates(x), _updates(y)),
    "magnitude_base": lambda x, y: measures.magnitude(x),
    "magnitude_finetuned": lambda x, y: measures.magnitude(y),
    "log_magnitude_ratio": lambda x, y: (measures.magnitude(y) / measures.magnitude(x)).log(),
}
GEOMETRY = {
    "cka": measures.cka,
    "rsa": measures.rsa,
}  # the same, on at most GEOMETRY_POSITIONS positions


def _updates(states: torch.Tensor) -> torch.Tensor:
    """What each block adds to the stream; the embeddings and the final norm, which add nothing,
    stand for themselves.
    """
    return torch.cat([states[:1], states[1:-1] - states[:-2], states[-1:]])


def require_comparable(base, finetuned, names: tuple[str, str]) -> None:
    """Raise InputError unless two adapters are of one kind and shape of model.

    Comparisons position by position, head by head, need that.
    """
    ours, theirs = (
        {
            "architecture": adapter.model.config.model_type,
            "shape": str(adapter.graph),
            "vocabulary": adapter.vocabulary_size,
        }
        for adapter in (base, finetuned)
    )
    for key, value in ours.items():
        if value != theirs[key]:
            raise InputError(
                f"expected two models of one {key}, got {value} ({names[0]}) and {theirs[key]} "
                f"({names[1]}); compare a model with its own fine-tune"
            )


def plan_batches(lengths: list[int], n_heads: int, batch_size: int | None) -> list[list[int]]:
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


class Comparison:
    """Per-text measures of two models, filled batch by batch.

    `states[name]` (texts, states), `heads[name]` (texts, layers, heads). The states are the
    embeddings, the residual stream after each block (before any norm), and, last, the stream after
    the final norm: the last of transformers' own `hidden_states` is that one, and comparing it as a
    layer shows the norm's weights (guard 3). Both models are given as `eap` adapters, which compute
    attention weights from the streams, whatever attention function the models run (guard 6).
    """

    def __init__(self, base, finetuned, n_texts: int):
        self.base, self.finetuned, graph = base, finetuned, base.graph
        self.n_layers, n_states = graph.n_layers, graph.n_layers + 2
        self.states = {
            name: np.zeros((n_texts, n_states))
            for name in [*STATES, *GEOMETRY, "first_base", "first_finetuned"]
        }
        self.heads, self.shape = {}, (n_texts, graph.n_layers, graph.n_heads)
        # per dimension, summed over texts: mean |x| and mean x^2 over positions
        self.absolute, self.square = (np.zeros((2, n_states, graph.d_model)) for _ in range(2))

    @torch.no_grad()
    def add(self, rows: list[int], sequences: list[list[int]]) -> None:
        """Run both models on `sequences` (token ids) and keep their measures as texts `rows`."""
        lengths = [len(ids) for ids in sequences]
        padded = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(ids) for ids in sequences], batch_first=True
        ).to(self.base.model.device)
        x, y = states(self.base, padded), states(self.finetuned, padded)
        for layer in range(self.n_layers):
            ours = self.base.attention_weights(layer, x[layer])
            theirs = self.finetuned.attention_weights(layer, y[layer])
            self._add_attention(layer, rows, lengths, ours, theirs)
        for place, row in enumerate(rows):
            self._add_states(
                row, x[:, place, : lengths[place]].float(), y[:, place, : lengths[place]].float()
            )

    def _add_attention(self, layer, rows, lengths, ours, theirs):
        window = self.base.softmax(layer).window
        for place, (row, n) in enumerate(zip(rows, lengths, strict=True)):
            for name, values in measures.attention_measures(
                ours[place, :, :n, :n], theirs[place, :, :n, :n], window
            ).items():
                self.heads.setdefault(name, np.zeros(self.shape))[row, layer] = values.cpu().numpy()

    def _add_states(self, row, x, y):
        for name, first in (("first_base", x[:, 0]), ("first_finetuned", y[:, 0])):
            self.states[name][row] = first.norm(dim=-1).cpu().numpy()
        x, y = x[:, 1:], y[:, 1:]
        for name, measure in STATES.items():
            self.states[name][row] = measure(x, y).cpu().numpy()
        spaced = (
            torch.linspace(0, x.shape[1] - 1, min(x.shape[1], GEOMETRY_POSITIONS))
            .round()
            .long()
            .to(x.device)
        )
        for name, measure in GEOMETRY.items():
            self.states[name][row] = measure(x[:, spaced], y[:, spaced]).cpu().numpy()
        self.absolute += np.stack([states.abs().mean(1).cpu().numpy() for states in (x, y)])
        self.square += np.stack([states.square().mean(1).cpu().numpy() for states in (x, y)])


def states(adapter, ids: torch.Tensor) -> torch.Tensor:
    """(states, texts, positions, d_model): what each layer reads, and the end before and after the
    final norm. Padding is on the right: no mask is needed.
    """
    read = []
    norms = [*(block.attn_norm for block in adapter.blocks), adapter.final_norm]
    with hooked(before=[(norm.module, read.append) for norm in norms]):
        end = adapter.hidden(adapter.embed(ids))
    assert len(read) == adapter.graph.n_layers + 1, f"{len(read)} streams came"
    return torch.stack([*read, end])
