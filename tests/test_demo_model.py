"""The embedded demo model: small, shaped like GPT-2 small, and able to copy names that it has never
seen.
"""

import json
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

from demo.make_demo import copied_pieces
from eap.attribute import attribute
from eap.dataset import Pair
from summarization import corruption
from summarization.newsroom import SPLITS, articles

FOLDER = Path(__file__).resolve().parents[1] / "demo" / "model"


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(FOLDER).eval()


def test_folder_holds_a_small_safetensors_file_and_no_pickle():
    assert (FOLDER / "model.safetensors").stat().st_size <= 16e6
    assert {path.suffix for path in FOLDER.iterdir()} <= {".safetensors", ".json", ".md"}


def test_graph_is_that_of_gpt2_small():
    config = json.loads((FOLDER / "config.json").read_text())
    assert (config["model_type"], config["n_layer"], config["n_head"]) == ("gpt2", 12, 12)


def test_tokenizer_and_model_agree(tokenizer, model):
    assert len(tokenizer) == model.config.vocab_size == 2048
    assert tokenizer.eos_token_id == model.config.eos_token_id == model.config.bos_token_id
    assert (
        tokenizer.decode(tokenizer("Ångström\n“x” TL;DR:")["input_ids"]) == "Ångström\n“x” TL;DR:"
    )


def test_articles_have_80_to_160_tokens(tokenizer):
    lengths = [
        len(tokenizer(row["article"])["input_ids"])
        for split in SPLITS
        for row in articles(split, 300)
    ]
    assert min(lengths) >= 80
    assert max(lengths) <= 160


def test_it_copies_names_of_people_it_has_never_seen(tokenizer, model):
    copied = [
        hit
        for row in articles("test", 100)
        for hit in copied_pieces(model, tokenizer, row["article"])
    ]
    assert len(copied) > 150
    assert sum(copied) / len(copied) >= 0.9


def test_bfloat16_products_rank_its_strongest_edges_alike(tokenizer, model):
    examples, _ = corruption.prepare_all(tokenizer, articles("validation", 8), max_length=256)
    fill = corruption.swap_filler(examples, [])
    rows = [
        corruption.pair(example, row, fill=fill, seed=0) for row, example in enumerate(examples[:4])
    ]
    pairs = [
        Pair(row["id"], row["clean_ids"], row["corrupted_ids"], row["summary_start"])
        for row in rows
    ]
    exact = attribute(model, pairs, autocast=None).edges.mean(0)
    rough = attribute(model, pairs, autocast=torch.bfloat16).edges.mean(0)
    strongest = exact.abs().topk(round(0.05 * len(exact))).indices
    assert spearmanr(exact[strongest], rough[strongest]).statistic >= 0.99
