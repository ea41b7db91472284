"""Two encoder-decoders side by side on the same articles and summaries, reduced text by text.

Encoder and decoder each have states and self-attention; the decoder also attends to the encoder.
The first position of each stack, BART's and the decoder's start token, is left out of the states as
in a decoder. Every query of the encoder and of cross attention sees every key, so none is left out
there.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from eap.hooks import hooked
from study.differential import measures
from study.differential.part_names import CROSS, DECODER, ENCODER, PARTS
from study.differential.two_models import Measures, Streams, require_same
from summarization.encoder_decoder import Frame, Text, inputs

MEASURES: dict[str, Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]] = {
    ENCODER: measures.full_attention_measures,
    DECODER: measures.attention_measures,
    CROSS: measures.full_attention_measures,
}


class Stack(NamedTuple):
    """The modules of an encoder or a decoder at whose input its stream is read, before any norm.

    T5's blocks read the stream that they add to. BART's normalise what they have added, and hand
    that on: its stream after a block is what the block's last norm reads.
    """

    blocks: list[nn.Module]
    sums: list[nn.Module]  # these read the embeddings, and the stream after each block


@dataclass(frozen=True)
class Parts:
    """Where a model's streams and attention weights are to be seen."""

    stacks: dict[str, Stack]
    attentions: dict[str, list[nn.Module]]  # of each of PARTS, a module a layer


def parts_of(model) -> Parts:
    """The `Parts` of a BART or a T5."""
    if model.config.model_type == "bart":
        encoder, decoder = model.model.encoder, model.model.decoder
        stacks = {name: _bart_stack(stack) for name, stack in _both(encoder, decoder)}
        attentions = {
            ENCODER: [layer.self_attn for layer in encoder.layers],
            DECODER: [layer.self_attn for layer in decoder.layers],
            CROSS: [layer.encoder_attn for layer in decoder.layers],
        }
        return Parts(stacks, attentions)
    encoder, decoder = model.encoder, model.decoder
    stacks = {name: _t5_stack(stack) for name, stack in _both(encoder, decoder)}
    attentions = {
        ENCODER: [block.layer[0].SelfAttention for block in encoder.block],
        DECODER: [block.layer[0].SelfAttention for block in decoder.block],
        CROSS: [block.layer[1].EncDecAttention for block in decoder.block],
    }
    return Parts(stacks, attentions)


def _both(encoder, decoder):
    return (ENCODER, encoder), (DECODER, decoder)


def _bart_stack(stack) -> Stack:
    norms = [layer.final_layer_norm for layer in stack.layers]
    return Stack(list(stack.layers), [stack.layernorm_embedding, *norms])


def _t5_stack(stack) -> Stack:
    return Stack(list(stack.block), [*stack.block, stack.final_layer_norm])


def require_comparable(base, finetuned, *, names: tuple[str, str]) -> None:
    """Raise InputError unless two models are of one kind and shape."""
    require_same(_facts(base), _facts(finetuned), names=names)


def _facts(model) -> dict[str, str]:
    config = model.config
    n_layers = {name: len(stack.blocks) for name, stack in parts_of(model).stacks.items()}
    heads = " and ".join(map(str, dict.fromkeys(n_heads(config).values())))
    return {
        "architecture": config.model_type,
        "shape": f"{n_layers[ENCODER]} and {n_layers[DECODER]} layers, {heads} heads, "
        f"d_model {config.d_model}",
        "vocabulary": str(config.vocab_size),
    }


def n_heads(config) -> dict[str, int]:
    """Attention heads in a layer of each of PARTS."""
    if config.model_type == "bart":
        decoder = config.decoder_attention_heads
        return {ENCODER: config.encoder_attention_heads, DECODER: decoder, CROSS: decoder}
    return dict.fromkeys(PARTS, config.num_heads)


# ---------------------------------------------------------------- a run of a model


@dataclass(frozen=True)
class Run:
    """What a model did with a batch: its streams, and with what its attention was called."""

    streams: dict[str, Streams]  # of each stack, (states, texts, positions, d_model)
    calls: dict[str, list[tuple]]  # of each of PARTS, (inputs, options) a layer


def run(model, parts: Parts, *, batch: dict) -> Run:
    """The `Run` of a model on what `encoder_decoder.inputs` gives."""
    taps = {name: _Taps(stack) for name, stack in parts.stacks.items()}
    before = [hook for tap in taps.values() for hook in tap.before]
    after = [hook for tap in taps.values() for hook in tap.after]
    with hooked(before, after), _recorded(parts.attentions) as calls:
        model(**batch, use_cache=False)
    return Run({name: tap.streams() for name, tap in taps.items()}, calls)


class _Taps:
    """What the modules of a stack read and, last, wrote."""

    def __init__(self, stack: Stack):
        self.read: list[torch.Tensor] = []
        self.sums: list[torch.Tensor] = []
        self.before = [(module, self.read.append) for module in stack.blocks]
        self.before += [(module, self.sums.append) for module in stack.sums]
        self.after = [(stack.sums[-1], self.sums.append)]

    def streams(self) -> Streams:
        """The streams of the run that is over."""
        *sums, end = self.sums
        written = zip(sums[1:], self.read, strict=True)
        updates = [sums[0], *(after - before for after, before in written), end]
        return Streams(torch.stack(self.sums), torch.stack(updates))


@contextmanager
def _recorded(modules: dict[str, list[nn.Module]]) -> Iterator[dict[str, list[tuple]]]:
    """Run a block and keep with what these modules were called, in their order."""
    calls: dict[str, list[tuple]] = {name: [] for name in modules}
    with ExitStack() as stack:
        for name, several in modules.items():
            keep = partial(_keep, calls[name])
            for module in several:
                hook = module.register_forward_pre_hook(keep, with_kwargs=True)
                stack.callback(hook.remove)
        yield calls


def _keep(calls: list[tuple], _module, inputs, options) -> None:
    calls.append((inputs, options))


def weights(module: nn.Module, call: tuple) -> torch.Tensor:
    """(texts, heads, queries, keys): the weights of an attention module called like this again."""
    given, options = call
    return module(*given, **options)[-1]


# ---------------------------------------------------------------- two models


class Comparison:
    """Two encoder-decoders: `parts` are the `Measures` of each of PARTS, filled batch by batch.

    Cross attention has no states of its own.
    """

    def __init__(self, base, finetuned, *, n_texts: int):
        self.models = base, finetuned
        self.seen = parts_of(base), parts_of(finetuned)
        heads, n_layers = n_heads(base.config), self.seen[0].attentions
        self.parts = {
            name: Measures(
                n_texts,
                len(n_layers[name]),
                n_heads=heads[name],
                d_model=None if name == CROSS else base.config.d_model,
            )
            for name in PARTS
        }

    @torch.no_grad()
    def add(self, rows: list[int], texts: list[Text], *, frame: Frame) -> None:
        """Run both models on `texts` and keep their measures as those of texts `rows`."""
        batch = inputs(texts, frame, device=self.models[0].device)
        base = run(self.models[0], self.seen[0], batch=batch)
        finetuned = run(self.models[1], self.seen[1], batch=batch)
        shapes = [_lengths(text) for text in texts]
        for name, measured in self.parts.items():
            self._add_attention(name, base, finetuned=finetuned, rows=rows, shapes=shapes)
            if name == CROSS:
                continue
            for place, row in enumerate(rows):
                n = shapes[place][name][0]
                streams = _of(base.streams[name], place, n=n)
                tuned = _of(finetuned.streams[name], place, n=n)
                measured.add_states(row, streams, finetuned=tuned)

    def _add_attention(self, name: str, base: Run, *, finetuned: Run, rows, shapes) -> None:
        for layer in range(self.parts[name].n_layers):
            before = weights(self.seen[0].attentions[name][layer], base.calls[name][layer])
            after = weights(self.seen[1].attentions[name][layer], finetuned.calls[name][layer])
            for place, row in enumerate(rows):
                queries, keys = shapes[place][name]
                measured = MEASURES[name](
                    before[place, :, :queries, :keys], after[place, :, :queries, :keys]
                )
                self.parts[name].add_attention(layer, row, measured=measured)


def _lengths(text: Text) -> dict[str, tuple[int, int]]:
    """(queries, keys) of a text's attention in each of PARTS."""
    source, target = len(text.source), len(text.target)
    return {ENCODER: (source, source), DECODER: (target, target), CROSS: (target, source)}


def _of(streams: Streams, place: int, *, n: int) -> Streams:
    """The float32 streams of one text of a batch, without padding."""
    return Streams(*[part[:, place, :n].float() for part in streams])
