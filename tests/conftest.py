"""Fixtures shared by the tests: a tiny tokenizer, a tiny model, a few articles. Made once per
session, offline.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

_CACHE = tempfile.TemporaryDirectory(prefix="datasets-")
os.environ["HF_DATASETS_CACHE"] = (
    _CACHE.name
)  # read when `datasets` is imported: no test leaves files in the home folder
os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a network
os.environ["HF_HUB_CACHE"] = _CACHE.name  # or finds what this machine's user has downloaded

END_OF_TEXT = "<|endoftext|>"
CONTEXT = 320


@pytest.fixture
def refused(capsys):
    """A function that asserts that a script's `parse` stops at these words with code 2, in one line
    that names the first of them.
    """

    def check(parse, words) -> None:
        with pytest.raises(SystemExit) as stopped:
            parse(words)
        printed = capsys.readouterr().err
        assert (
            stopped.value.code == 2
            and printed.count("\n") == 1
            and f"argument {words[0]}: expected" in printed
        )

    return check


@pytest.fixture
def torchrun(tmp_path):
    """A function of a script's path that returns the words that start it in two processes, neither
    of which may end beside threads.

    A thread of Gloo that outlives the interpreter aborts the process once in a while, so what is
    looked at is whether one is left.
    """

    def words(path) -> list[str]:
        driver = tmp_path / f"two_{Path(path).name}"
        driver.write_text(f"""
import atexit, glob, os, runpy, sys
sys.path.insert(0, {str(Path(path).parent)!r})
def look():
    names = [open(file).read() for file in glob.glob("/proc/self/task/*/comm")]
    left = [name for name in names if "gloo" in name]
    if left:
        print("threads left:", left, file=sys.stderr, flush=True)
        os._exit(1)
atexit.register(look)
runpy.run_path({str(path)!r}, run_name="__main__")
""")
        return [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            str(driver),
        ]

    return words


@pytest.fixture(scope="session")
def articles() -> list[dict]:
    """12 articles of the newsroom."""
    from summarization import newsroom

    return newsroom.articles("validation", 12)


@pytest.fixture(scope="session")
def articles_file(articles, tmp_path_factory) -> str:
    """The path of a .jsonl file of 12 articles."""
    path = tmp_path_factory.mktemp("articles") / "articles.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in articles), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A byte-level BPE of 1,000 entries, of GPT-2's kind; an article and its highlights have under
    320 tokens.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    from summarization import newsroom

    bpe = ByteLevelBPETokenizer()
    texts = [row["article"] + "\n" + row["highlights"] for row in newsroom.articles("train", 200)]
    bpe.train_from_iterator(
        texts, vocab_size=1000, special_tokens=[END_OF_TEXT], show_progress=False
    )
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), END_OF_TEXT)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, model_max_length=CONTEXT, **special
    )


@pytest.fixture(scope="session")
def tiny_model_dir(tiny_tokenizer, tmp_path_factory) -> str:
    """The folder of a random GPT-2 of 2 layers and 4 heads in float32, with the tiny tokenizer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    end = tiny_tokenizer.eos_token_id
    config = GPT2Config(
        n_layer=2,
        n_head=4,
        n_embd=48,
        n_positions=CONTEXT,
        vocab_size=len(tiny_tokenizer),
        initializer_range=0.1,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return str(folder)


CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "<|user|>\n{{ message['content'] }}<|end|>\n{% else %}"
    "<|assistant|>\n{{ message['content'] }}<|end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@pytest.fixture(scope="session")
def chat_tokenizer(tiny_tokenizer):
    """A tokenizer of an instruct model of Llama's kind: it puts a first token before every text,
    has a chat template, and its end of text is the end of a turn.
    """
    from tokenizers import ByteLevelBPETokenizer, processors
    from transformers import PreTrainedTokenizerFast

    from summarization import newsroom

    bpe = ByteLevelBPETokenizer()
    special = [END_OF_TEXT, "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"]
    texts = [row["article"] + "\n" + row["highlights"] for row in newsroom.articles("train", 200)]
    bpe.train_from_iterator(texts, vocab_size=1000, special_tokens=special, show_progress=False)
    bpe._tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        model_max_length=CONTEXT,
        bos_token="<|begin|>",
        eos_token="<|end|>",
        pad_token=END_OF_TEXT,
        extra_special_tokens=["<|user|>", "<|assistant|>"],
        chat_template=CHAT_TEMPLATE,
    )


@pytest.fixture(scope="session")
def chat_model_dir(chat_tokenizer, tmp_path_factory) -> str:
    """The folder of a random Llama of 2 layers and 4 heads, with the chat tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(chat_tokenizer),
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.1,
        bos_token_id=chat_tokenizer.bos_token_id,
        eos_token_id=chat_tokenizer.eos_token_id,
        pad_token_id=chat_tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    folder = tmp_path_factory.mktemp("models") / "chat"
    model.save_pretrained(folder)
    chat_tokenizer.save_pretrained(folder)
    return str(folder)
