"""The scripts as users run them, tiny: all nine in a chain, the contract of their flags, and what happens without a network."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eap import InputError
from eap.circuit import load_circuit
from eap.files import load_example_scores
from summarization.runs import ROOT

SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py"))
NINE = [name for name in SCRIPTS if name not in ("run_pipeline", "make_report")]


def script(name):
    return importlib.import_module(name)


# ---------------------------------------------------------------- the contract


def test_there_are_nine_scripts_a_pipeline_and_a_report():
    assert len(NINE) == 9 and {"run_pipeline", "make_report"} < set(SCRIPTS)


def constants(name):
    """(name, value) of every scalar constant in a script's fenced block."""
    text = (ROOT / f"{name}.py").read_text()
    first, last = [number for number, line in enumerate(text.split("\n"), 1) if line.startswith("# ----")][:2]
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and first < node.lineno < last:
            value = ast.unparse(node.value)
            if not value.startswith(("{", "[", "(")):
                yield node.targets[0].id, ast.literal_eval(node.value)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_constant_is_the_default_of_its_flag(name):
    given = vars(script(name).parse([]))
    for constant, value in constants(name):
        assert constant.lower() in given, constant
        found = given[constant.lower()]
        assert value in (found, str(found)) or isinstance(found, list), (constant, value, found)


DEFAULTS = {
    "create_causal_summarization_data": {"dataset": "abisee/cnn_dailymail", "model_path": "gpt2", "corruption": "swap",
                                         "output": "data/pairs.jsonl", "eval_fraction": 0.5},
    "run_finetuning_with_checkpoints": {"model_path": "gpt2", "dataset": "abisee/cnn_dailymail", "subset_train_size": 20000,
                                        "output_dir": "model_outputs/gpt2_20k_finetuned", "checkpoint_schedule": "log",
                                        "checkpoint_steps": None, "resume_from_checkpoint": None},
    "extract_summarization_circuit": {"model_path": "gpt2", "pairs": "data/pairs.jsonl", "output": "C_before_summarization.json",
                                      "method": "EAP-IG-inputs", "metric": "kl", "ig_steps": 5, "ig_rule": "gauss-legendre",
                                      "ablation": "patching", "fraction": 0.05, "top_n": None, "threshold": None, "selection": "topn",
                                      "absolute": True, "all_checkpoints": False},
    "analyze_circuit_evolution": {},
    "differential_analysis": {"base_model_path": "gpt2", "finetuned_model_path": "model_outputs/gpt2_20k_finetuned"},
    "evaluate_faithfulness": {"model_path": "gpt2", "pairs": "data/pairs_eval.jsonl", "allow_same_examples": False},
    "evaluate_robustness": {},
    "test_set_evaluation": {"model_paths": ["gpt2", "model_outputs/gpt2_20k_finetuned"], "split": "test"},
    "run_peft_bakeoff": {"model_path": "gpt2", "seeds": 3},
}
COMMON = {"seed": 0, "device": "auto", "dtype": "float32", "max_examples": None, "batch_size": None, "overwrite": False, "quiet": False,
          "verbose": False}


@pytest.mark.parametrize("name", NINE)
def test_flags_and_defaults_of_the_contract(name):
    expected = {"output_dir": f"outputs/{name}"} | COMMON | DEFAULTS[name]
    given = vars(script(name).parse([]))
    assert {flag: given.get(flag, "missing") for flag in expected} == expected


@pytest.mark.parametrize("name", SCRIPTS)
def test_arguments_are_parsed_before_anything_heavy_is_imported(name):
    code = f"import sys, {name} as s\ns.parse([])\nprint([m for m in ('torch', 'transformers', 'peft', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("name", NINE)
def test_defaults_without_a_network_say_how_to_go_on(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with pytest.raises(InputError, match="demo") as error:
        script(name).main([])
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_old_study_commands_parse():
    extract, differ = script("extract_summarization_circuit"), script("differential_analysis")
    assert extract.parse(["--model_path", "gpt2", "--output", "C.json", "--no-absolute"]).absolute is False
    assert differ.parse(["--finetuned_model_path", "model_outputs/gpt2_20k_finetuned"]).base_model_path == "gpt2"


# ---------------------------------------------------------------- the chain


@pytest.fixture(scope="module")
def study(tmp_path_factory, tiny_model_dir, articles_file):
    """A folder in which the nine scripts have run, one after the other."""
    folder, model = tmp_path_factory.mktemp("study"), tiny_model_dir
    common = ["--quiet", "--batch_size", "4"]
    chain = [
        ("create_causal_summarization_data", f"--dataset {articles_file} --model_path {model}"),
        ("run_finetuning_with_checkpoints", f"--dataset {articles_file} --model_path {model} --max_steps 3 --checkpoint_steps 0,2,3 "
         "--output_dir run --validation_size 2 --probe_examples 2"),
        ("extract_summarization_circuit", f"--model_path {model} --fraction 0.5"),
        ("extract_summarization_circuit", "--model_path run --output C_after_summarization.json --fraction 0.5"),
        ("extract_summarization_circuit", "--model_path run --all_checkpoints --output_dir circuits --fraction 0.5"),
        ("analyze_circuit_evolution", "--circuits circuits --training run"),
        ("differential_analysis", f"--base_model_path {model} --finetuned_model_path run --dataset {articles_file} --max_examples 4"),
        ("evaluate_faithfulness", f"--circuit C_before_summarization.json --model_path {model} --fractions .1,.5,1 --n_random 2"),
        ("evaluate_robustness", f"--circuits C_before_summarization.json C_after_summarization.json --model_path {model} --levels .5"),
        ("test_set_evaluation", f"--model_paths {model} run --dataset {articles_file} --max_examples 3 --max_new_tokens 8"),
        ("run_peft_bakeoff", f"--model_path {model} --dataset {articles_file} --arms all random --seeds 1 --max_steps 2 --top_k 1 "
         "--max_examples 3 --max_new_tokens 8"),
        ("make_report", "--output_dir outputs"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in chain:
            script(name).main(words.split() + (common if name in NINE else []))
    return folder


def read(study, name):
    return json.loads((study / name).read_text())


def test_the_chain_leaves_every_artifact_of_the_design(study):
    for name in ("data/pairs.jsonl", "data/pairs_eval.jsonl", "run/checkpoint-0/model.safetensors", "run/checkpoint-3/tokenizer.json",
                 "run/model.safetensors", "run/latents/checkpoint-2.safetensors", "C_before_summarization.json",
                 "C_before_summarization.examples.safetensors", "C_before_summarization.run.json", "circuits/C_step0.json",
                 "circuits/C_step3.json", "outputs/analyze_circuit_evolution/evolution.json",
                 "outputs/analyze_circuit_evolution/layers.evolution.json", "outputs/differential_analysis/differential.json",
                 "outputs/differential_analysis/layers.differential.json", "outputs/evaluate_faithfulness/faithfulness.json",
                 "outputs/evaluate_robustness/robustness.json", "outputs/test_set_evaluation/rouge.json",
                 "outputs/run_peft_bakeoff/bakeoff.json", "outputs/report.html"):
        assert (study / name).is_file(), name
    assert list(study.rglob("*.png")) and not list(study.rglob(".writing-*"))


def test_artifacts_hold_no_path(study):
    for path in [*study.glob("*.json"), *study.glob("outputs/*/*.json"), *study.glob("data/*")]:
        if "run." not in path.name and not path.name.startswith("run") and not path.name.endswith(".run.json"):
            assert str(study) not in path.read_text() and "/tmp" not in path.read_text(), path


def test_circuit_file_and_per_example_scores_agree(study):
    circuit = load_circuit(study / "C_before_summarization.json")
    per_example = load_example_scores(study / "C_before_summarization.examples.safetensors")
    assert per_example.shape == (len(circuit.metadata["example_ids"]), circuit.graph.n_edges)
    assert torch.allclose(per_example.double().mean(0), circuit.scores, atol=1e-12)
    sizes = circuit.metadata["sizes"]
    assert sizes["requested"] == round(0.5 * circuit.graph.n_edges) == sizes["selected"] >= sizes["pruned"] == int(circuit.in_graph.sum())
    assert set(circuit.metadata) >= {"method", "metric", "rule", "steps", "selection", "absolute", "completeness", "pairs_sha256",
                                     "weights_sha256", "sign"}


def test_step_0_is_the_base_model(study):
    before, step0 = (load_circuit(study / name) for name in ("C_before_summarization.json", "circuits/C_step0.json"))
    assert torch.equal(before.scores, step0.scores)


def test_faithfulness_identities_and_disjoint_examples(study):
    result = read(study, "outputs/evaluate_faithfulness/faithfulness.json")
    assert max(result["identities"].values()) < 1e-4
    rows = {row["fraction"]: row["f"] for row in result["metrics"]["kl"]["rows"] if row["kind"] == "circuit"}
    assert rows[1.0] == pytest.approx(1, abs=1e-4)
    seen = set(load_circuit(study / "C_before_summarization.json").metadata["example_ids"])
    assert not seen & {json.loads(line)["id"] for line in (study / "data/pairs_eval.jsonl").read_text().splitlines()}


def test_evaluating_on_the_extraction_examples_is_refused(study, monkeypatch, tiny_model_dir):
    monkeypatch.chdir(study)
    with pytest.raises(InputError, match="allow_same_examples"):
        script("evaluate_faithfulness").main(["--model_path", tiny_model_dir, "--pairs", "data/pairs.jsonl", "--output_dir", "elsewhere"])


def test_a_second_run_is_up_to_date_and_other_arguments_are_refused(study, monkeypatch, tiny_model_dir, capsys):
    monkeypatch.chdir(study)
    before = (study / "C_before_summarization.json").stat().st_mtime_ns
    words = ["--model_path", tiny_model_dir, "--fraction", "0.5", "--batch_size", "4"]
    script("extract_summarization_circuit").main(words)
    assert "up to date" in capsys.readouterr().out
    with pytest.raises(InputError, match="--overwrite"):
        script("extract_summarization_circuit").main([*words, "--metric", "nll"])
    assert (study / "C_before_summarization.json").stat().st_mtime_ns == before


def test_extraction_is_byte_identical_between_runs(study, monkeypatch, tiny_model_dir, tmp_path):
    monkeypatch.chdir(study)
    words = ["--model_path", tiny_model_dir, "--fraction", "0.5", "--batch_size", "4", "--quiet", "--output_dir", str(tmp_path)]
    script("extract_summarization_circuit").main([*words, "--output", str(tmp_path / "C_before_summarization.json")])
    for name in ("C_before_summarization.json", "C_before_summarization.examples.safetensors"):
        assert (tmp_path / name).read_bytes() == (study / name).read_bytes(), name
    for name in ("edges", "heatmap"):
        there = f"C_before_summarization.{name}.png"
        assert (tmp_path / there).read_bytes() == (study / "outputs/extract_summarization_circuit" / there).read_bytes(), name


@pytest.mark.parametrize("words", [
    "--method EAP --metric nll", "--method clean-corrupted", "--method NAP --metric nll", "--method NAP-IG", "--method EAP-IG-activations",
    "--method exact --max_examples 1", "--method EAP --metric nll --ablation zero", "--method EAP --metric logit_diff --ablation mean",
    "--selection greedy", "--selection sign-consistent", "--threshold 1e-4", "--top_n 100 --no-absolute", "--metric js --ig_rule left",
    "--dtype bfloat16", "--exact_top 5", "--ig_steps auto",
])
def test_every_way_of_extracting(study, monkeypatch, tiny_model_dir, tmp_path, words):
    monkeypatch.chdir(study)
    common = ["--model_path", tiny_model_dir, "--quiet", "--output_dir", str(tmp_path), "--output", str(tmp_path / "C.json")]
    size = [] if "--t" in words else ["--fraction", "0.5"]
    script("extract_summarization_circuit").main(common + size + words.split())
    circuit = load_circuit(tmp_path / "C.json")
    assert 0 < int(circuit.in_graph.sum()) <= circuit.metadata["sizes"]["selected"] < circuit.graph.n_edges
    complete = circuit.metadata["method"] in ("EAP-IG-inputs", "NAP-IG")
    assert (circuit.metadata["completeness"] == "not applicable") != complete


def test_a_combination_without_meaning_is_refused(study, monkeypatch, tiny_model_dir, tmp_path):
    monkeypatch.chdir(study)
    words = ["--model_path", tiny_model_dir, "--ablation", "zero", "--output", f"{tmp_path}/C.json"]
    with pytest.raises(InputError, match="zero"):
        script("extract_summarization_circuit").main(words)
    assert not (tmp_path / "C.json").exists()


def test_a_lora_adapter_folder_is_a_model(study, monkeypatch, tmp_path):
    monkeypatch.chdir(study)
    adapter = next(Path("outputs/run_peft_bakeoff").glob("all/seed-*/adapter"))
    words = ["--model_path", str(adapter), "--output", str(tmp_path / "C.json"), "--output_dir", str(tmp_path)]
    script("extract_summarization_circuit").main([*words, "--quiet", "--fraction", "0.5"])
    changed, base = load_circuit(tmp_path / "C.json"), load_circuit("C_before_summarization.json")
    assert changed.graph == base.graph and not torch.equal(changed.scores, base.scores)


def test_pipeline_dry_run_prints_every_stage(capsys):
    script("run_pipeline").main(["--dry_run", "--preset", "gpt2-cnn"])
    lines = capsys.readouterr().out.splitlines()
    assert all(any(f"{name}.py" in line for line in lines) for name in NINE)
    assert "--dataset abisee/cnn_dailymail" in lines[0]
    script("run_pipeline").main(["--dry_run", "--from", "evaluate_faithfulness", "--to", "evaluate_robustness"])
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(InputError, match="stage"):
        script("run_pipeline").main(["--from", "nonsense"])


def test_every_printed_command_is_one_that_its_script_takes(capsys):
    for preset in script("run_pipeline").PRESETS:
        script("run_pipeline").main(["--dry_run", "--preset", preset])
        for line in capsys.readouterr().out.splitlines():
            _, path, *words = line.split()
            assert script(Path(path).stem).parse(words).output_dir.startswith(f"outputs/{preset}")
