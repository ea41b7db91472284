"""The whole chain, script by script in one process, for families beside GPT-2."""

import json

import families
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import analyze_circuit_evolution
import create_causal_summarization_data
import differential_analysis
import evaluate_faithfulness
import evaluate_robustness
import extract_summarization_circuit
import make_report
import run_finetuning_with_checkpoints
import run_peft_bakeoff
import test_set_evaluation
from eap.circuit import load_circuit

CHAINS = {"llama": "shared", "pythia": "per-head", "gemma2": "per-head"}  # family: --kv
STAGES = {
    create_causal_summarization_data: "--dataset {articles} --model_path {model} "
    "--output {out}/pairs.jsonl --output_dir {out}/pairs",
    run_finetuning_with_checkpoints: (
        "--dataset {articles} --model_path {model} --output_dir {out}/run --max_steps 2 "
        "--checkpoint_steps 0,2 --subset_train_size 6 --validation_size 2 --learning_rate 0.01"
    ),
    extract_summarization_circuit: (
        "--all_checkpoints --model_path {out}/run --pairs {out}/pairs.jsonl --output_dir "
        "{out}/circuits --method secant --kv {kv} --fraction 0.2"
    ),
    analyze_circuit_evolution: (
        "--circuits {out}/circuits --training {out}/run --pairs {out}/pairs_eval.jsonl "
        "--output_dir {out}/evolution"
    ),
    differential_analysis: (
        "--base_model_path {model} --finetuned_model_path {out}/run --dataset {articles} "
        "--output_dir {out}/differential --max_examples 4"
    ),
    evaluate_faithfulness: (
        "--circuit {out}/circuits/C_step2.json --model_path {out}/run --pairs "
        "{out}/pairs_eval.jsonl --fractions .1,.5,1 --random_fractions .1 --n_random 1 --resamples "
        "50 --output_dir {out}/faith"
    ),
    evaluate_robustness: (
        "--circuits {out}/circuits/C_step2.json --model_path {out}/run --pairs {out}/pairs.jsonl "
        "--variants EAP --levels .5 --resamples 50 --output_dir {out}/robustness"
    ),
    test_set_evaluation: (
        "--model_paths {model} {out}/run --dataset {articles} --split train --max_examples 3 "
        "--max_new_tokens 5 --output_dir {out}/rouge"
    ),
    run_peft_bakeoff: (
        "--model_path {model} --dataset {articles} --output_dir {out}/bakeoff --arms all circuit "
        "--top_k 1 --layers_circuit {out}/evolution/layers.evolution.json --seeds 1 --max_steps 2 "
        "--lr_sweep none --subset_train_size 6 --max_examples 3 --max_new_tokens 5"
    ),
    make_report: "--output_dir {out}",
}


@pytest.fixture(
    scope="module",
    params=[
        "llama",
        *(pytest.param(family, marks=pytest.mark.slow) for family in ("pythia", "gemma2")),
    ],
)
def chain(request, articles_file, tiny_tokenizer, tmp_path_factory):
    """The folder that all nine scripts and the report leave for a tiny model of a family."""
    out = tmp_path_factory.mktemp(request.param)
    kind, sizes = families.CONFIGS[request.param]
    end = tiny_tokenizer.eos_token_id
    sizes = sizes | {
        "vocab_size": len(tiny_tokenizer),
        "max_position_embeddings": 320,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "initializer_range": 0.2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    model.save_pretrained(out / "model")
    tiny_tokenizer.save_pretrained(out / "model")
    places = {
        "kv": CHAINS[request.param],
        "articles": articles_file,
        "model": out / "model",
        "out": out,
    }
    for script, words in STAGES.items():
        script.main([*words.format(**places).split(), "--quiet"])
    return request.param, out


def test_every_script_leaves_its_results(chain):
    """What each stage reads of the one before, and what only holds if the family is understood."""
    family, out = chain
    circuit = load_circuit(out / "circuits" / "C_step2.json")
    assert circuit.in_graph.any() and circuit.graph.parallel == (family == "pythia")
    assert circuit.graph.kv_heads == (2 if family == "llama" else None)
    faithful = read(out / "faith" / "faithfulness.json")
    assert max(faithful["identities"].values()) < 1e-4  # every edge kept, and none
    evolution = read(out / "evolution" / "evolution.json")
    assert evolution["graph"]["edges"] == circuit.graph.n_edges
    assert (out / "evolution" / "evolution.moved.png").stat().st_size > 1000
    differential = read(out / "differential" / "differential.json")
    assert len(differential["states"]) == circuit.graph.n_layers + 2
    assert min(differential["changes"]["centred_cosine"]["scores"]) > 0  # training changed layers
    bakeoff = read(out / "bakeoff" / "bakeoff.json")
    counts = {arm["trainable"][0] for arm in bakeoff["arms"].values()}
    assert len(bakeoff["arms"]) == 2 and max(counts) <= 1.005 * min(counts)
    assert bakeoff["arms"]["circuit"]["layers"][0] in [[layer] for layer in range(3)]
    rouge = read(out / "rouge" / "rouge.json")
    assert {"model", "run", "Lead-3"} <= set(rouge["systems"])
    report = (out / "report.html").read_text()
    assert all(f"<h2>{stage}<" in report for stage in ("Circuits", "Faithfulness", "LoRA bake-off"))


def read(path) -> dict:
    return json.loads(path.read_text())
