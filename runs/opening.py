"""What scripts work on, opened and checked: models, adapters, tokenizers, pairs, circuits.

Whatever a check refuses, it refuses for every script, with one line that says what to do.
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from eap import InputError
from runs import adapters, bases, disk, errors, prompts, records, weights
from runs.configs import first_words, read_config
from runs.console import Console, warn
from runs.devices import Device
from runs.hub import TOKENIZERS, model_folder, resolve_model

if TYPE_CHECKING:  # torch is slow to import, and scripts parse their flags first
    from eap.models.contract import Adapter

# Whatever config.json asks for: what we want of a model, we ask for ourselves.
PLAIN_OUTPUT = {"output_attentions": False, "output_hidden_states": False, "return_dict": True}
# Weights of these names are buffers that old versions of transformers saved beside GPT-2's weights.
OLD_BUFFERS = (".attn.bias", ".attn.masked_bias", ".crossattention.bias")

PAIRS_ADVICE = "make the pairs with create_causal_summarization_data.py --model_path and this model"
UNSEEN_ADVICE = (
    "give the _eval file that create_causal_summarization_data.py writes, or "
    "evaluate_faithfulness.py --allow_same_examples"
)
# Encoder-decoders, which are read and have no circuits: their types in config.json.
ENCODER_DECODERS = ("bart", "t5", "mt5")
LEAST_SHARE = 0.9  # of a model's vocabulary: padding it to a round number leaves fewer unused


# ---------------------------------------------------------------- models


def load_model(name: str, dtype, *, device, flag: str = "--model_path", reading: bool = False):
    """A causal language model in eval mode on `device`; an adapter merged into its base model.

    It runs the attention function that its architecture's adapter names. A model that is only for
    `reading` may also be one of ENCODER_DECODERS, with attention whose weights can be seen.

    Raises InputError, naming `flag`, as `resolve_model` does; when the folder holds no causal
    language model, not all of its weights, or weights of no module; when a weight is NaN or
    infinite; and for an adapter as `adapters.merge` does.
    """
    silence_transformers()
    source = model_folder(name, flag)
    if bases.is_adapter(source):
        if weights.of_a_model(source):
            raise InputError(
                f"{flag} {name}: expected a model or an adapter, found the weights of a whole "
                "model "
                f"beside {bases.CONFIG}; move one of the two into a folder of its own"
            )
        model = _merged(source, name, dtype=dtype, flag=flag, reading=reading)
    else:
        model = _plain(
            source,
            name,
            dtype=dtype,
            flag=flag,
            loader=_loader(name, source, flag=flag, reading=reading),
        )
    weights.require_finite(model, name, flag=flag)
    return model.to(device).eval()


def _loader(name: str, source: Path, *, flag: str, reading: bool):
    """(the class that loads a model, the attention function it runs)."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if reading and read_config(name, source, flag=flag).model_type in ENCODER_DECODERS:
        return AutoModelForSeq2SeqLM, "eager"
    also = ENCODER_DECODERS if reading else ()
    return AutoModelForCausalLM, require_architecture(name, source, flag=flag, also=also).attention


def _plain(source: Path, name: str, *, dtype, flag: str, loader: tuple):
    """The model in a folder or on the Hub, on the CPU, with every weight in its module.

    `loader` is the class that loads it and the attention function it runs.
    """
    kind, attention = loader
    try:
        model, loading = kind.from_pretrained(
            str(source),
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, in words that say which
            **PLAIN_OUTPUT,
        )
    except Exception as error:  # safetensors', torch's and quantizers' errors have no common kind
        raise InputError(
            f"{flag} {name}: expected a causal language model in safetensors that fits its "
            f"config.json, got {first_words(error)}; save it again with save_pretrained"
        ) from error
    lacking, foreign = sorted(loading["missing_keys"]), sorted(loading["unexpected_keys"])
    foreign = [what for what in foreign if not what.endswith(OLD_BUFFERS)]
    if wrong := sorted(loading["mismatched_keys"]):
        what, saved, asked = wrong[0]
        raise InputError(
            f"{flag} {name}: expected weights of the shapes in its config.json, {len(wrong)} have "
            f"others, as {what}: {tuple(saved)} instead of {tuple(asked)}; save the model again"
        )
    if lacking:
        raise InputError(
            f"{flag} {name}: expected all weights, {len(lacking)} are missing, such as "
            f"{lacking[0]}; save the model again"
        )
    if foreign:
        raise InputError(
            f"{flag} {name}: expected weights of the model in its config.json, {len(foreign)} "
            "belong "
            f"to no module of it, as {foreign[0]}; save the model again"
        )
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        model.config.tie_word_embeddings = False  # the file holds both, whatever config.json says
    return fuse_gelu(model)


def _merged(source: Path, name: str, *, dtype, flag: str, reading: bool):
    """The model that an adapter makes of its base, merged in float32 at least, in `dtype`."""
    import torch

    base = bases.base_of_adapter(source / bases.CONFIG)
    exact = dtype if dtype == torch.float64 else torch.float32
    model = load_model(base, exact, device="cpu", flag=f"{source / bases.CONFIG}:", reading=reading)
    note = adapters.require_recorded_base(source, base)  # once it is there to be looked at
    merged = adapters.merge(source, model, label=f"{flag} {name}").to(dtype)
    if note:
        _warn_once(note)
    return merged


@functools.cache
def _warn_once(note: str) -> None:
    warn(note)


def require_architecture(
    name: str, source: Path, *, flag: str = "--model_path", also: tuple[str, ...] = ()
) -> type:
    """The adapter class of a model's architecture.

    Raises InputError unless it is one that `eap.models` knows, also when its config.json cannot be
    read; the error names those that the script takes `also`.
    """
    from eap.models import ARCHITECTURES

    kind = read_config(name, source, flag=flag).model_type
    refuse_encoder_decoder(kind, name, flag=flag)
    if kind not in ARCHITECTURES:
        raise InputError(
            f"{flag} {name}: expected a model of type {', '.join((*ARCHITECTURES, *also))}, got "
            f"{kind}; there is no adapter for it in eap/models yet"
        )
    return ARCHITECTURES[kind]


def is_encoder_decoder(name: str, flag: str = "--model_path") -> bool:
    """Whether a model, or an adapter's, is one of ENCODER_DECODERS, by its config.json alone."""
    source = model_folder(name, flag, weights=False)
    root = bases.root_of(name) if bases.is_adapter(source) else source
    config = Path(root) / "config.json"
    if not config.is_file():
        return False
    return disk.read_json(config, "config.json of a model").get("model_type") in ENCODER_DECODERS


def refuse_encoder_decoder(kind: str, name: str, *, flag: str = "--model_path") -> None:
    """Raise InputError for an encoder-decoder where a decoder is needed."""
    if kind in ENCODER_DECODERS:
        raise InputError(
            f"{flag} {name}: expected a decoder, got {kind}, an encoder-decoder: circuits, and "
            "what is made for them, are of one stream from input to logits, and it has two; "
            "differential_analysis.py and test_set_evaluation.py read it"
        )


def fuse_gelu(model):
    """The model, with transformers' `gelu_new` (eight passes over memory) computed by torch's
    kernel of the same function (one).

    Numbers agree to a rounding error; the configuration still says `gelu_new`, so that what is
    saved loads anywhere.
    """
    from torch.nn import GELU
    from transformers.activations import NewGELUActivation

    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, GELU(approximate="tanh"))
    return model


def silence_transformers() -> None:
    """No progress bars and no notes from transformers: what they would say of weights that are
    missing is an error of ours.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def base_name(name: str) -> str:
    """The name under which plain peft finds the base model of an adapter from any folder: an
    absolute path, or the Hub id.
    """
    source = resolve_model(name)
    return str(Path(source).resolve()) if Path(source).is_dir() else source


# ---------------------------------------------------------------- tokenizers


def holds_tokenizer(folder) -> bool:
    """Whether a folder holds a tokenizer, also in an older format (vocab.json, merges.txt)."""
    return any((Path(folder) / name).is_file() for name in TOKENIZERS)


def load_tokenizer(name: str, flag: str = "--model_path"):
    """The tokenizer that belongs to a model, or None if its folder has none.

    An adapter folder without one has its base's. Raises InputError for one that cannot be read.
    """
    source = model_folder(name, flag, weights=False)
    if not holds_tokenizer(source):
        if not bases.is_adapter(source):
            return None
        return _with_prompt_of(
            source, load_tokenizer(bases.base_of_adapter(source / bases.CONFIG), flag)
        )
    return read_tokenizer(str(source), flag)


def _with_prompt_of(adapter: Path, tokenizer):
    """The base's tokenizer, which says with which prompts the adapter was trained, if that does."""
    prompt = adapters.recorded_prompt(adapter)
    if tokenizer is not None and prompt is not None:
        tokenizer.init_kwargs[prompts.PROMPT_KEY] = prompt
    return tokenizer


def read_tokenizer(source: str, flag: str = "--model_path"):
    """The tokenizer in a folder, which needs no weights, or on the Hub, as nobody had used it.

    What was saved of sides, padding, truncation and the cleaning of texts never changes a number:
    padding is the end-of-text token on the right, nothing is cut, and a text is read as it was
    written. Raises InputError for one that cannot be read.
    """
    from transformers import AutoTokenizer

    silence_transformers()
    if Path(source, "config.json").is_file():  # for which the tokenizer would be blamed
        read_config(source, Path(source), flag=flag)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:  # json's, tokenizers' and transformers' errors have no common kind
        raise InputError(
            f"{flag} {source}: expected a tokenizer, got {first_words(error)}; save it again "
            "with save_pretrained"
        ) from error
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    tokenizer.clean_up_tokenization_spaces = False
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.no_truncation()
        if getattr(tokenizer.backend_tokenizer.model, "dropout", None):
            tokenizer.backend_tokenizer.model.dropout = None  # it cuts texts at random
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def require_tokenizer(tokenizer, name: str, *, flag: str = "--model_path"):
    """The tokenizer. Raises InputError if there is none, or it is slow or has no end of text."""
    if tokenizer is None:
        raise InputError(
            f"{flag} {name}: expected a folder with a tokenizer, found none; save one there with "
            "save_pretrained"
        )
    if not tokenizer.is_fast:
        raise InputError(
            f"{flag} {name}: expected a fast tokenizer (tokenizer.json), got a slow one; save a "
            "fast one there"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"{flag} {name}: expected a tokenizer with an end-of-text token, found none; set its "
            "eos_token"
        )
    return tokenizer


def require_agreement(config, tokenizer, *, name: str, flag: str = "--model_path") -> None:
    """Raise InputError unless config and tokenizer agree on the vocabulary and the end of a text.

    An end-of-text id in the config that is outside of its own vocabulary says nothing: that is
    GPT-2's, left in the config of a smaller model.
    """
    if tokenizer is None:
        return
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= config.vocab_size:
        raise InputError(
            f"{flag} {name}: expected a tokenizer of the model's {config.vocab_size} tokens, got "
            f"{token!r} as token {largest}; save the model's own tokenizer there"
        )
    if largest + 1 < LEAST_SHARE * config.vocab_size:
        _warn_once(
            f"note: {name}: its tokenizer has {largest + 1} tokens, the model {config.vocab_size}; "
            "if it is another model's, every number is of other texts"
        )
    ends = config.eos_token_id
    ends = {end for end in (ends if isinstance(ends, list) else [ends]) if end is not None}
    ends = {end for end in ends if 0 <= end < config.vocab_size}
    if ends and tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
        raise InputError(
            f"{flag} {name}: expected one end of text, got token {tokenizer.eos_token_id} by the "
            f"tokenizer and {', '.join(map(str, sorted(ends)))} by config.json; fix the wrong one"
        )


def tokenizer_sha256(tokenizer) -> str | None:
    """SHA-256 of a tokenizer's vocabulary, the same however and wherever the tokenizer was saved;
    None for None.
    """
    if tokenizer is None:
        return None
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


class Reader(NamedTuple):
    """What a model reads texts with; of a folder with a tokenizer alone, just that."""

    tokenizer: Any
    config: Any  # None: not known
    generation: Any  # the GenerationConfig; None: not known


def open_reader(model_path: str) -> Reader:
    """The tokenizer of a `--model_path`, whose weights need not be there, and its configurations.

    Raises InputError without a tokenizer.
    """
    from transformers import GenerationConfig

    folder = Path(model_path)
    if holds_tokenizer(folder) and not bases.is_adapter(folder):
        tokenizer, source = read_tokenizer(str(folder)), folder
    else:
        tokenizer, source = load_tokenizer(model_path), Path(bases.root_of(model_path))
    require_tokenizer(tokenizer, model_path)
    if source.is_dir() and not (source / "config.json").is_file():
        return Reader(tokenizer, None, None)
    config = read_config(model_path, source)
    refuse_encoder_decoder(config.model_type, model_path)
    require_agreement(config, tokenizer, name=model_path)
    if not (source / "generation_config.json").is_file():
        return Reader(tokenizer, config, None)
    return Reader(tokenizer, config, GenerationConfig.from_pretrained(str(source)))


# ---------------------------------------------------------------- model and tokenizer together


def open_model(name: str, dtype, *, device, flag: str = "--model_path", reading: bool = False):
    """(model, tokenizer or None) of a `--model_path`, which agree. Raises InputError.

    With `reading` the model may be an encoder-decoder.
    """
    tokenizer = load_tokenizer(name, flag)
    model = load_model(name, dtype, device=device, flag=flag, reading=reading)
    require_agreement(model.config, tokenizer, name=name, flag=flag)
    return model, tokenizer


def open_for_texts(name: str, dtype, *, device, flag: str = "--model_path", reading: bool = False):
    """(model, tokenizer) for a script that reads texts: `open_model`, and a tokenizer that can."""
    own = load_tokenizer(name, flag)
    require_tokenizer(own, name, flag=flag)  # before the weights: it is quick
    model, tokenizer = open_model(name, dtype, device=device, flag=flag, reading=reading)
    return model, require_tokenizer(tokenizer, name, flag=flag)


def open_adapted(
    device: Device,
    name: str,
    *,
    circuits: dict,
    flag: str = "--model_path",
    kv: str = "per-head",
):
    """(eap's adapter, tokenizer or None) of a model in whose circuits are found or run.

    `circuits` maps a name to each circuit that will be run in it; where there is none, `kv` says
    whether query heads that share keys and values have edges of their own. Raises InputError as
    `open_model` does, and when a circuit is of another graph or another tokenizer (guard 25).
    """
    from eap.models import adapt

    model, tokenizer = open_model(name, device.circuit_dtype, device=device.torch_device, flag=flag)
    if circuits:
        kv = next(iter(circuits.values())).graph.kv
    adapter, own_tokenizer = adapt(model, kv=kv), tokenizer_sha256(tokenizer)
    for label, circuit in circuits.items():
        if not circuit.graph.fits(adapter.graph):
            raise InputError(
                f"{label}: expected a circuit of {adapter.graph}, got one of {circuit.graph}; use "
                "its own model"
            )
        recorded = circuit.about.tokenizer_sha256
        if recorded and own_tokenizer and recorded != own_tokenizer:
            raise InputError(
                f"{label}: expected a circuit found with the tokenizer of {name}, got another "
                "tokenizer's; use its own model"
            )
    return adapter, tokenizer


def read_pairs(
    path, adapter: "Adapter", *, tokenizer, console: Console, max_examples: int | None = None
) -> list:
    """The pairs in a file, at most `max_examples`, of the model's tokenizer (guard 25).

    Says so where that cannot be judged. Raises InputError.
    """
    from eap import dataset

    with errors.advising(PAIRS_ADVICE):
        pairs = dataset.read_pairs(
            path,
            vocabulary_size=adapter.vocabulary_size,
            context_length=adapter.context_length,
            max_examples=max_examples,
        )
    require_pairs_tokenizer(pairs, path, tokenizer=tokenizer, console=console)
    if note := dataset.repeated(pairs, path):
        warn(note)
    return pairs


def require_pairs_tokenizer(pairs, path, *, tokenizer, console: Console) -> None:
    """Raise InputError if the tokenizer did not make the pairs, or its model was trained on other
    prompts than theirs; say so where the first is unknown.
    """
    from eap import dataset

    prompts.check_prompt(pairs, tokenizer, path=path)
    with errors.advising(PAIRS_ADVICE):
        note = dataset.check_tokenizer(pairs, tokenizer, path=path)
    if note:
        console.say(note)


def unseen_pairs(pairs, path, *, found_on: list) -> list:
    """The pairs on whose articles no circuit was found; `found_on` are the circuits' `Examples`.

    Says so where that is judged by ids. Raises InputError when none is left.
    """
    from eap import examples

    for note in (examples.by_ids(found_on, path), prompts.other_prompt(pairs, found_on, path=path)):
        if note:
            warn(note)
    with errors.advising(UNSEEN_ADVICE):
        return examples.unseen(pairs, found_on, path=f"--pairs {path}")


# ---------------------------------------------------------------- circuits


def load_circuits(paths) -> list:
    """The circuits in these files, of one graph and one tokenizer (guard 25). Raises InputError."""
    from eap.circuit import load_circuit, require_comparable

    circuits = [load_circuit(path) for path in paths]
    require_comparable(circuits, [str(path) for path in paths])
    return circuits


def require_own_weights(
    circuit, label: str, *, name: str, flag: str = "--model_path", console: Console
) -> None:
    """Raise InputError if a circuit was found in other weights than these.

    Says so where its file does not tell.
    """
    recorded = circuit.about.weights_sha256
    if not recorded or str(recorded).startswith("hub:"):
        unknown = f"{label} does not say in which weights it was found"
        console.say(f"note: {unknown}, so whether {name} is its model was not checked")
        return
    if not weights.are(recorded, name):
        raise InputError(
            f"{flag} {name}: expected the model that {label} was found in, got other weights; "
            "give its own, or the other one as evaluate_faithfulness.py --other_model_path"
        )
    if circuit.about.config_sha256 not in (None, weights.config_sha256(name)):
        raise InputError(
            f"{flag} {name}: expected the model that {label} was found in, got its weights with "
            "another config.json; put its own back, or extract the circuit again"
        )


def example_scores(path, circuit):
    """(examples, edges) float32: the scores beside a circuit's file; None where there are none.

    They belong to the circuit: by the SHA-256 that its file records, or, where it records none, by
    their shape and their mean, which the circuit's scores are. Raises InputError if not.
    """
    from eap.scores import examples_beside, load_example_scores

    beside = examples_beside(path)
    if not beside.is_file():
        return None
    scores, graph = load_example_scores(beside), circuit.graph
    n_examples, recorded = len(circuit.about.examples), circuit.about.examples_sha256
    problem = None
    if scores.dim() != 2 or scores.shape[1] != graph.n_edges:
        problem = f"{tuple(scores.shape)} scores for {graph.n_edges} edges"
    elif n_examples not in (0, len(scores)):
        problem = f"scores of {len(scores)} examples for {n_examples}"
    elif not scores.isfinite().all():
        problem = "scores that are not finite"
    elif recorded is not None and recorded != records.sha256(beside.resolve()):
        problem = "those of another extraction"
    elif recorded is None and not _is_mean_of(circuit.scores, scores):
        problem = f"others, whose mean is not the scores in {Path(path).name}"
    if problem:
        raise InputError(
            f"{beside}: expected the per-example scores of {path}, got {problem}; extract the "
            "circuit again, or remove this file"
        )
    return scores


def _is_mean_of(mean, scores) -> bool:
    """Whether a circuit's scores are the mean of per-example scores, to a rounding of float32."""
    if mean is None:
        return False
    mean_of_examples = scores.double().mean(0)
    return bool((mean_of_examples - mean).abs().max() <= 1e-6 * mean_of_examples.abs().max())
