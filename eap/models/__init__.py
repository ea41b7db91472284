"""The architectures: a file per family, a line in the table; what they offer is in contract.py."""

from dataclasses import replace

import torch

from eap import InputError, hooks
from eap.models.contract import Adapter
from eap.models.gemma2 import Gemma2
from eap.models.gpt2 import GPT2
from eap.models.gpt_neox import GPTNeoX
from eap.models.llama import Llama

ARCHITECTURES = {
    "gpt2": GPT2,
    "llama": Llama,
    "qwen2": Llama,
    "qwen3": Llama,
    "gpt_neox": GPTNeoX,
    "gemma2": Gemma2,
}
CHECK_TOKENS = 4  # at load, what an adapter says is compared with a run of the model on so many
# Whether query heads that share keys and values have edges of their own.
KV = ("per-head", "shared")


def adapt(model, *, check: bool = True, kv: str = "per-head") -> Adapter:
    """The adapter of a transformers model: its graph, its parts and their weights.

    With `kv` "shared" the graph has one k and one v for query heads that share them (`eap.graph`).
    Raises InputError for an unknown architecture, and for a model that computes something else than
    its adapter says: a variant without an adapter, or one that is wrapped or changed. `check=False`
    leaves the comparison out, for what looks at parts and takes no circuit from them. A model with
    peft's adapters apart from its weights is refused: what would be read are the base model's. So
    are a model without an unembedding, and one inside another, as of DataParallel.
    """
    _require_causal(model)
    _require_merged(model)
    kind = getattr(model.config, "model_type", type(model).__name__)
    if kind not in ARCHITECTURES:
        raise InputError(
            f"expected a model of type {', '.join(ARCHITECTURES)}, got {kind}; there is no "
            "adapter for it in eap/models yet"
        )
    adapter = ARCHITECTURES[kind](model)
    if kv == "shared" and adapter.share > 1:
        n_groups = adapter.graph.n_heads // adapter.share
        adapter.graph = replace(adapter.graph, kv_heads=n_groups)
    if check:
        _require_agreement(adapter, kind)
    return adapter


@torch.no_grad()
def _require_agreement(adapter: Adapter, kind: str) -> None:
    """Raise InputError unless projections, attention and streams are those of a short run."""
    parameter = next(adapter.model.parameters())
    ids = torch.arange(CHECK_TOKENS, device=parameter.device)
    with hooks.frozen(adapter.model), hooks.tapped(adapter) as taps:
        activations, _ = hooks.record(adapter, ids[None] % adapter.vocabulary_size)
    activations = activations.map(lambda x: x.to(parameter.dtype))
    streams = hooks.read_streams(adapter, activations)
    every = list(range(3 * adapter.graph.n_heads))
    for layer, block in enumerate(adapter.blocks):
        own = taps.of_layer(layer)
        _require_close(
            own.attn_norms, streams.attention[layer], what=f"the stream of layer {layer}", kind=kind
        )
        _require_close(own.mlp_norms, streams.mlp[layer], what=f"the stream of m{layer}", kind=kind)
        slots = adapter.slots(own.projections)
        weight = adapter.read_weight(layer, every).flatten(1)
        read = block.attn_norm(own.attn_norms) @ weight
        bias = adapter.read_bias(layer, every)
        read = read if bias is None else read + bias.flatten()
        _require_close(slots, read, what=f"q, k and v of layer {layer}", kind=kind)
        heads = adapter.attend(layer, *adapter.split_heads(slots)).transpose(1, 2).flatten(2)
        if block.attn_post is not None:
            heads = heads / block.attn_post.scale(heads @ adapter.out_weight(layer).flatten(0, 1))
        _require_close(
            activations.heads[layer], heads, what=f"the attention of layer {layer}", kind=kind
        )
    _require_close(taps.final[0], streams.final, what="the final stream", kind=kind)


def _require_close(ours: torch.Tensor, theirs: torch.Tensor, *, what: str, kind: str) -> None:
    """Raise InputError where two tensors differ by more than their rounding can explain.

    What is not a number is no difference: attribution names the layer that it comes from.
    """
    tolerance = torch.finfo(theirs.dtype).eps ** 0.5 * max(1e-30, float(theirs.abs().max()))
    difference = float((ours - theirs).abs().max())
    if difference > tolerance:
        raise InputError(
            f"expected a plain {kind}, got one in which {what} differs by {difference:.1e} from "
            "what its adapter in eap/models says; merge or remove what was added to the model"
        )


def _require_causal(model) -> None:
    """Raise InputError unless this is a transformers model itself that gives logits of tokens."""
    kind, inner = type(model).__name__, ("module", "_orig_mod")
    if not isinstance(model, torch.nn.Module):
        raise InputError(
            f"expected a transformers model, got {kind}; load it with "
            "AutoModelForCausalLM.from_pretrained"
        )
    wraps = [name for name in inner if hasattr(getattr(model, name, None), "lm_head")]
    if wraps:
        raise InputError(
            f"expected a transformers model itself, got {kind}, which has one inside; give its "
            f".{wraps[0]}"
        )
    unembedding = getattr(model, "get_output_embeddings", lambda: None)()
    if not isinstance(getattr(unembedding, "weight", None), torch.Tensor):
        raise InputError(
            f"expected a causal language model, got {kind}, which has no logits of tokens; load it "
            "with AutoModelForCausalLM.from_pretrained"
        )


def _require_merged(model) -> None:
    """Raise InputError for peft's layers that are not merged, or its states before the text."""
    for name, module in model.named_modules():
        wrapped = hasattr(module, "base_layer") and not getattr(module, "merged", False)
        kept_apart = hasattr(module, "original_module")  # of modules_to_save
        if wrapped or kept_apart or hasattr(module, "prompt_encoder"):
            where = name or "the model"
            raise InputError(
                f"expected a plain model, got an adapter that is not merged (in {where}); call "
                "merge_and_unload() and give what it returns"
            )
