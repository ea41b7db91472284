"""Small random encoder-decoders of every kind that is read, with tokenizers of their kinds."""

import json

import torch
from tokenizers import (
    ByteLevelBPETokenizer,
    Tokenizer,
    models,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers.decoders import Metaspace
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from summarization import newsroom

PREFIX = "summarize: "
BART = {
    "d_model": 36,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 28,
    "max_position_embeddings": 320,
    "init_std": 0.3,
    "scale_embedding": True,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
# heads x d_kv is not d_model; transformers cannot generate with more layers in a
# T5's decoder than in its encoder.
T5 = {
    "d_model": 26,
    "d_kv": 7,
    "d_ff": 30,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
TASKS = {"task_specific_params": {"summarization": {"prefix": PREFIX, "num_beams": 4}}}
CONFIGS = {
    "bart": ("bart", BART),
    "t5": ("t5", T5 | TASKS | {"n_positions": 300}),
    "flan-t5": ("t5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": ("mt5", T5 | {"feed_forward_proj": "gated-gelu"}),
}


def texts(n: int) -> list[str]:
    """Articles with their highlights."""
    return [row["article"] + "\n" + row["highlights"] for row in newsroom.articles("train", n)]


def bart_tokenizer():
    """A byte-level BPE that puts <s> before and </s> after every text."""
    bpe = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    bpe.train_from_iterator(texts(60), vocab_size=500, special_tokens=special, show_progress=False)
    bpe._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


def t5_tokenizer():
    """A BPE over words that begin with a mark, as T5's, which puts </s> after every text."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=special, show_progress=False)
    made.train_from_iterator(texts(60), trainer)
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def model(family: str, vocabulary: int, seed: int = 0):
    """A model of the family in float64; no bias of it is zero, no norm's weight one."""
    kind, settings = CONFIGS[family]
    config = AutoConfig.for_model(kind, **settings, vocab_size=vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = AutoModelForSeq2SeqLM.from_config(config).double()
        if family == "flan-t5":  # transformers ties every T5 that it makes, and none that it reads
            made.lm_head.weight = torch.nn.Parameter(torch.randn_like(made.lm_head.weight))
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if parameter.ndim == 1:  # biases and norms' weights
                    around = float(name.endswith("weight"))
                    parameter.copy_(around + 0.3 * torch.randn(parameter.shape))
    return made.eval()


def changed(made, seed: int = 1):
    """The same model after its weights have moved a little."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made


def save(folder, family: str):
    """Write a base and a fine-tuned model of a family into `folder`, each with its tokenizer."""
    tokenizer = bart_tokenizer() if family == "bart" else t5_tokenizer()
    for name in ("base", "tuned"):
        made = model(family, len(tokenizer) + 4)
        made = made if name == "base" else changed(made)
        made.float().save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        written = json.loads((folder / name / "config.json").read_text())
        written |= CONFIGS[family][1]  # as the real models' files have it
        (folder / name / "config.json").write_text(json.dumps(written))
    return folder
