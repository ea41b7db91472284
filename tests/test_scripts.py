"""The scripts as users run them, tiny: all nine in a chain, the contract of their flags, and what
happens without a network.
"""

import ast
import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from eap import InputError
from eap.circuit import load_circuit
from eap.dataset import read_pairs
from eap.scores import load_example_scores
from runs import opening
from runs.records import ROOT

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
    first, last = [
        number for number, line in enumerate(text.split("\n"), 1) if line.startswith("# ----")
    ][:2]
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
        default = given[constant.lower()]
        planned = value in ("all", "auto") and default is None
        same = planned or value in (default, str(default)) or isinstance(default, list)
        assert same, (constant, value, default)


DEFAULTS = {
    "create_causal_summarization_data": {
        "dataset": "abisee/cnn_dailymail",
        "model_path": "gpt2",
        "corruption": "swap",
        "max_examples": 400,
        "output": "data/pairs.jsonl",
        "eval_fraction": 0.5,
    },
    "run_finetuning_with_checkpoints": {
        "model_path": "gpt2",
        "dataset": "abisee/cnn_dailymail",
        "subset_train_size": 20000,
        "output_dir": "model_outputs/gpt2_20k_finetuned",
        "checkpoint_schedule": "log",
        "checkpoint_steps": None,
        "resume_from_checkpoint": None,
    },
    "extract_summarization_circuit": {
        "model_path": "gpt2",
        "pairs": "data/pairs.jsonl",
        "output": "C_before_summarization.json",
        "method": "EAP-IG-inputs",
        "metric": "kl",
        "ig_steps": 5,
        "ig_rule": "gauss-legendre",
        "ablation": "patching",
        "fraction": 0.05,
        "top_n": None,
        "threshold": None,
        "selection": "topn",
        "absolute": True,
        "all_checkpoints": False,
    },
    "analyze_circuit_evolution": {},
    "differential_analysis": {
        "max_examples": 200,
        "base_model_path": "gpt2",
        "finetuned_model_path": "model_outputs/gpt2_20k_finetuned",
    },
    "evaluate_faithfulness": {
        "model_path": "gpt2",
        "pairs": "data/pairs_eval.jsonl",
        "allow_same_examples": False,
    },
    "evaluate_robustness": {},
    "test_set_evaluation": {
        "model_paths": ["gpt2", "model_outputs/gpt2_20k_finetuned"],
        "max_examples": 500,
        "split": "test",
    },
    "run_peft_bakeoff": {"model_path": "gpt2", "max_examples": 500, "seeds": 3},
}
COMMON = {
    "seed": 0,
    "device": "auto",
    "dtype": "float32",
    "max_examples": None,
    "batch_size": None,
    "overwrite": False,
    "quiet": False,
    "verbose": False,
    "traceback": False,
}


@pytest.mark.parametrize("name", NINE)
def test_flags_and_defaults_of_the_contract(name):
    expected = {"output_dir": f"outputs/{name}"} | COMMON | DEFAULTS[name]
    given = vars(script(name).parse([]))
    assert {flag: given.get(flag, "missing") for flag in expected} == expected


@pytest.mark.parametrize("name", SCRIPTS)
def test_arguments_are_parsed_before_anything_heavy_is_imported(name):
    heavy = ("torch", "transformers", "peft", "datasets")
    code = f"import sys, {name} as s\ns.parse([])\nprint([m for m in {heavy} if m in sys.modules])"
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
    assert (
        extract.parse(["--model_path", "gpt2", "--output", "C.json", "--no-absolute"]).absolute
        is False
    )
    assert (
        differ.parse(["--finetuned_model_path", "model_outputs/gpt2_20k_finetuned"]).base_model_path
        == "gpt2"
    )


# ---------------------------------------------------------------- the chain


@pytest.fixture(scope="module")
def study(tmp_path_factory, tiny_model_dir, articles_file):
    """A folder in which the nine scripts have run, one after the other."""
    folder, model = tmp_path_factory.mktemp("study"), tiny_model_dir
    common = ["--quiet", "--batch_size", "4"]
    chain = [
        ("create_causal_summarization_data", f"--dataset {articles_file} --model_path {model}"),
        (
            "run_finetuning_with_checkpoints",
            f"--dataset {articles_file} --model_path {model} --max_steps 3 --checkpoint_steps "
            "0,2,3 "
            "--output_dir run --validation_size 2 --probe_examples 2",
        ),
        ("extract_summarization_circuit", f"--model_path {model} --fraction 0.5"),
        (
            "extract_summarization_circuit",
            "--model_path run --output C_after_summarization.json --fraction 0.5",
        ),
        (
            "extract_summarization_circuit",
            "--model_path run --all_checkpoints --output_dir circuits --fraction 0.5",
        ),
        ("analyze_circuit_evolution", "--circuits circuits --training run"),
        (
            "differential_analysis",
            f"--base_model_path {model} --finetuned_model_path run --dataset {articles_file} "
            "--max_examples 4",
        ),
        (
            "evaluate_faithfulness",
            f"--circuit C_before_summarization.json --model_path {model} --fractions .1,.5,1 "
            "--n_random 2 "
            "--random_fractions .5 --cross_fractions .1,.5 --other_circuit "
            "C_after_summarization.json --other_model_path run",
        ),
        (
            "evaluate_robustness",
            "--circuits C_before_summarization.json C_after_summarization.json --model_path "
            f"{model} --levels .5 "
            "--variants mask,swap:1,control,EAP",
        ),
        (
            "test_set_evaluation",
            f"--model_paths {model} run --dataset {articles_file} --max_examples 3 "
            "--max_new_tokens 8",
        ),
        (
            "run_peft_bakeoff",
            f"--model_path {model} --dataset {articles_file} --arms all random --seeds 1 "
            "--max_steps 2 --top_k 1 "
            "--max_examples 3 --max_new_tokens 8",
        ),
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
    for name in (
        "data/pairs.jsonl",
        "data/pairs_eval.jsonl",
        "run/checkpoint-0/model.safetensors",
        "run/checkpoint-3/tokenizer.json",
        "run/model.safetensors",
        "run/latents/checkpoint-2.safetensors",
        "C_before_summarization.json",
        "C_before_summarization.examples.safetensors",
        "C_before_summarization.run.json",
        "circuits/C_step0.json",
        "circuits/C_step3.json",
        "outputs/analyze_circuit_evolution/evolution.json",
        "outputs/analyze_circuit_evolution/layers.evolution.json",
        "outputs/differential_analysis/differential.json",
        "outputs/differential_analysis/layers.differential.json",
        "outputs/evaluate_faithfulness/faithfulness.json",
        "outputs/evaluate_robustness/robustness.json",
        "outputs/test_set_evaluation/rouge.json",
        "outputs/run_peft_bakeoff/bakeoff.json",
        "outputs/report.html",
    ):
        assert (study / name).is_file(), name
    assert list(study.rglob("*.png")) and not list(study.rglob(".writing-*"))


def test_artifacts_hold_no_path(study):
    for path in [*study.glob("*.json"), *study.glob("outputs/*/*.json"), *study.glob("data/*")]:
        if (
            "run." not in path.name
            and not path.name.startswith("run")
            and not path.name.endswith(".run.json")
        ):
            assert str(study) not in path.read_text() and "/tmp" not in path.read_text(), path


def test_circuit_file_and_per_example_scores_agree(study):
    circuit = load_circuit(study / "C_before_summarization.json")
    per_example = load_example_scores(study / "C_before_summarization.examples.safetensors")
    assert per_example.shape == (len(circuit.metadata["example_ids"]), circuit.graph.n_edges)
    assert torch.allclose(per_example.double().mean(0), circuit.scores, atol=1e-12)
    sizes = circuit.metadata["sizes"]
    assert (
        sizes["requested"]
        == round(0.5 * circuit.graph.n_edges)
        == sizes["selected"]
        >= sizes["pruned"]
        == int(circuit.in_graph.sum())
    )
    assert set(circuit.metadata) >= {
        "method",
        "metric",
        "rule",
        "steps",
        "selection",
        "absolute",
        "completeness",
        "pairs_sha256",
        "weights_sha256",
        "sign",
    }


def test_step_0_is_the_base_model(study):
    before = load_circuit(study / "C_before_summarization.json")
    step0 = load_circuit(study / "circuits/C_step0.json")
    assert torch.equal(before.scores, step0.scores)


def test_faithfulness_identities_and_disjoint_examples(study):
    result = read(study, "outputs/evaluate_faithfulness/faithfulness.json")
    assert max(result["identities"].values()) < 1e-4
    rows = {
        row["fraction"]: row["f"]
        for row in result["metrics"]["kl"]["rows"]
        if row["kind"] == "circuit"
    }
    assert rows[1.0] == pytest.approx(1, abs=1e-4)
    circuit = load_circuit(study / f"{result['circuit']}.json")
    (file,) = [row for row in result["metrics"]["kl"]["rows"] if row["kind"] == "file"]
    assert {"selected": file["selected"], "pruned": file["pruned"]}.items() <= circuit.metadata[
        "sizes"
    ].items()
    assert result["found_on"][result["circuit"]]["examples"] == len(circuit.metadata["example_ids"])
    seen = set(load_circuit(study / "C_before_summarization.json").metadata["example_ids"])
    assert not seen & {
        json.loads(line)["id"]
        for line in (study / "data/pairs_eval.jsonl").read_text().splitlines()
    }


def test_a_circuit_stands_beside_its_nulls_the_other_model_and_other_extractions(study):
    result = read(study, "outputs/evaluate_faithfulness/faithfulness.json")
    kl = result["metrics"]["kl"]
    assert {(row["null"], row["fraction"]) for row in kl["nulls"]} == {
        (kind, 0.5) for kind in ("random", "matched", "complement")
    }
    cells = {(cell["circuit"], cell["model"]): cell for cell in kl["cross"]}
    assert {key[0] for key in cells} == {"C_before_summarization", "C_after_summarization"} and len(
        cells
    ) == 3
    areas = (kl["areas"], kl["areas_at_cross_sizes"], *(cell["areas"] for cell in cells.values()))
    assert [(area["from"], area["to"]) for area in areas] == [(0.1, 1), *[(0.1, 0.5)] * 4]
    assert [row["f"] for row in kl["sizes_reaching"]] == [0.8, 0.9] and kl["control"][
        "examples"
    ] > 1
    robust = read(study, "outputs/evaluate_robustness/robustness.json")
    assert len(robust["agreement"]["names"]) == len(robust["agreement"]["jaccard"]) == 5
    assert (
        0 < robust["pairs"][0]["p"] <= 1 and robust["circuits"][0]["bootstrap"]["resamples"] == 1000
    )
    metadata = load_circuit(study / "C_before_summarization.json").metadata["bootstrap"]
    assert (
        len(metadata["selection_frequency"]) == len(metadata["sign_stability"]) == result["edges"]
    )


def test_a_second_run_is_up_to_date_and_other_arguments_are_refused(
    study, monkeypatch, tiny_model_dir, capsys
):
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
    words = [
        "--model_path",
        tiny_model_dir,
        "--fraction",
        "0.5",
        "--batch_size",
        "4",
        "--quiet",
        "--output_dir",
        str(tmp_path),
    ]
    script("extract_summarization_circuit").main(
        [*words, "--output", str(tmp_path / "C_before_summarization.json")]
    )
    for name in ("C_before_summarization.json", "C_before_summarization.examples.safetensors"):
        assert (tmp_path / name).read_bytes() == (study / name).read_bytes(), name
    for name in ("edges", "heatmap"):
        drawing = f"C_before_summarization.{name}.png"
        assert (tmp_path / drawing).read_bytes() == (study / drawing).read_bytes(), name


@pytest.mark.parametrize(
    "words",
    [
        "--method EAP --metric nll",
        "--method clean-corrupted",
        "--method NAP --metric nll",
        "--method NAP-IG",
        "--method EAP-IG-activations",
        "--method exact --max_examples 1",
        "--method EAP --metric nll --ablation zero",
        "--method EAP --metric logit_diff --ablation mean",
        "--selection greedy",
        "--selection sign-consistent",
        "--threshold 1e-4",
        "--top_n 100 --no-absolute",
        "--metric js --ig_rule left",
        "--dtype bfloat16",
        "--exact_top 5",
        "--ig_steps auto",
        "--spans",
        "--method EAP --metric nll --ablation zero --exact_top 5 --spans",
    ],
)
def test_every_way_of_extracting(study, monkeypatch, tiny_model_dir, tmp_path, words):
    monkeypatch.chdir(study)
    common = [
        "--model_path",
        tiny_model_dir,
        "--quiet",
        "--output_dir",
        str(tmp_path),
        "--output",
        str(tmp_path / "C.json"),
    ]
    size = [] if "--t" in words else ["--fraction", "0.5"]
    script("extract_summarization_circuit").main(common + size + words.split())
    circuit = load_circuit(tmp_path / "C.json")
    assert (
        0
        < int(circuit.in_graph.sum())
        <= circuit.metadata["sizes"]["selected"]
        < circuit.graph.n_edges
    )
    complete = circuit.metadata["method"] in ("EAP-IG-inputs", "NAP-IG")
    assert (circuit.metadata["completeness"] == "not applicable") != complete


EVALUATIONS = {
    "evaluate_faithfulness": "--circuit C_before_summarization.json --model_path MODEL --fractions "
    ".1,.5,1 --random_fractions .5 "
    "--cross_fractions .5 --n_random 0 --metrics kl --other_model_path run",
    "evaluate_robustness": "--circuits C_before_summarization.json --model_path MODEL --levels .5 "
    "--variants EAP --resamples 20",
    "analyze_circuit_evolution": "--circuits circuits/C_step0.json circuits/C_step3.json "
    "--training run --pairs data/pairs_eval.jsonl "
    "--metrics kl --n_random 0 --resamples 5",
}


@pytest.mark.parametrize("name", EVALUATIONS)
def test_bfloat16_is_for_attribution_and_circuits_run_in_float32(
    study, monkeypatch, tiny_model_dir, tmp_path, name, capsys
):
    """The f of `--dtype bfloat16` is that of float32, bit for bit; only what is extracted again
    differs, a little.
    """
    monkeypatch.chdir(study)
    results = {}
    for dtype in ("float32", "bfloat16"):
        words = EVALUATIONS[name].replace("MODEL", tiny_model_dir).split()
        script(name).main(
            [*words, "--batch_size", "4", "--dtype", dtype, "--output_dir", str(tmp_path / dtype)]
        )
        assert ("circuits are run, in float32" in capsys.readouterr().out) == (dtype == "bfloat16")
        (written,) = [
            path
            for path in (tmp_path / dtype).glob("*.json")
            if path.stem in ("faithfulness", "robustness", "evolution")
        ]
        results[dtype] = json.loads(written.read_text())
    if name == "evaluate_robustness":
        overlaps = {
            dtype: [row["jaccard_edges"] for row in result["agreement"]["with_first"]]
            for dtype, result in results.items()
        }
        known, again = overlaps["float32"]
        assert overlaps["bfloat16"] == [1, pytest.approx(again, abs=0.05)]
        assert known == 1
        assert (
            results["bfloat16"]["agreement"]["spearman"]
            != results["float32"]["agreement"]["spearman"]
        )
    else:
        assert results["bfloat16"] == results["float32"]


@pytest.mark.parametrize("name", ["evaluate_faithfulness", "evaluate_robustness"])
def test_pairs_that_are_not_used_are_counted(study, monkeypatch, tiny_model_dir, tmp_path, name):
    monkeypatch.chdir(study)
    pairs = (
        study / "data" / ("pairs.jsonl" if name == "evaluate_robustness" else "pairs_eval.jsonl")
    )
    n = len(pairs.read_text().splitlines())
    words = EVALUATIONS[name].replace("MODEL", tiny_model_dir).split()
    script(name).main(
        [
            *words,
            "--quiet",
            "--batch_size",
            "4",
            "--max_examples",
            "2",
            "--output_dir",
            str(tmp_path),
        ]
    )
    left_out = json.loads((tmp_path / f"{name.removeprefix('evaluate_')}.json").read_text())[
        "left_out"
    ]
    kind = "" if name == "evaluate_robustness" else "unseen "
    assert n > 2 and f"{n - 2} of {n} {kind}pairs, by --max_examples 2" in left_out


def test_scores_by_span_sum_to_the_circuits_scores(study, monkeypatch, tiny_model_dir, tmp_path):
    monkeypatch.chdir(study)
    words = [
        "--model_path",
        tiny_model_dir,
        "--quiet",
        "--spans",
        "--fraction",
        "0.5",
        "--output",
        str(tmp_path / "C.json"),
    ]
    script("extract_summarization_circuit").main([*words, "--output_dir", str(tmp_path)])
    circuit, by_span = (
        load_circuit(tmp_path / "C.json"),
        load_file(tmp_path / "C.spans.safetensors")["scores"],
    )
    assert by_span.shape == (5, circuit.graph.n_edges)
    assert (
        by_span.double().sum(0) - circuit.scores
    ).abs().max() <= 1e-6 * circuit.scores.abs().max()
    spans, pairs = circuit.metadata["spans"], read_pairs(study / "data/pairs.jsonl")
    assert sum(spans["tokens"]) == pytest.approx(
        sum(len(pair.clean_ids) for pair in pairs) / len(pairs)
    )
    assert sum(spans["share"]) == pytest.approx(1) and (tmp_path / "C.spans.png").is_file()


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(study, tiny_model_dir, torchrun, tmp_path):
    script_path = ROOT / "extract_summarization_circuit.py"
    words = [
        "--model_path",
        tiny_model_dir,
        "--fraction",
        "0.5",
        "--batch_size",
        "2",
        "--pairs",
        str(study / "data/pairs.jsonl"),
    ]
    for name, start in (
        ("one", [sys.executable, str(script_path)]),
        ("two", torchrun(script_path)),
    ):
        outputs = [
            "--output",
            str(tmp_path / name / "C.json"),
            "--output_dir",
            str(tmp_path / name),
        ]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as torchrun gives to each process
        done = subprocess.run(
            [*start, *words, *outputs], capture_output=True, text=True, env=one_thread
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote ") == 1  # rank 0 alone speaks, and writes
    single = load_example_scores(tmp_path / "one" / "C.examples.safetensors")
    double = load_example_scores(tmp_path / "two" / "C.examples.safetensors")
    assert (single - double).abs().max() <= 1e-6 * single.abs().max()
    single = load_circuit(tmp_path / "one" / "C.json").metadata["completeness"]
    double = load_circuit(tmp_path / "two" / "C.json").metadata["completeness"]
    # the gap is a difference of nearly equal sums over them: processes may not agree in its last
    # digits
    assert double["per_example"] == pytest.approx(single["per_example"], abs=1e-6) and double[
        "gap"
    ] == pytest.approx(single["gap"], abs=1e-6)
    assert {**double, "per_example": 0, "gap": 0} == {**single, "per_example": 0, "gap": 0}


def test_the_library_example_of_the_readme_runs(study, monkeypatch, tiny_model_dir, capsys):
    monkeypatch.chdir(study)
    example = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    )
    exec(example.replace('"gpt2"', repr(tiny_model_dir)), {})
    printed = capsys.readouterr().out
    assert (
        abs(float(printed.removeprefix("tensor([").removesuffix("])\n"))) < 1e-6
    )  # 1,600 edges: all of the tiny model


def test_a_combination_without_meaning_is_refused(study, monkeypatch, tiny_model_dir, tmp_path):
    monkeypatch.chdir(study)
    words = ["--model_path", tiny_model_dir, "--ablation", "zero", "--output", f"{tmp_path}/C.json"]
    with pytest.raises(InputError, match="zero"):
        script("extract_summarization_circuit").main(words)
    assert not (tmp_path / "C.json").exists()


@pytest.mark.parametrize(
    "words, match",
    [
        ("--method NAP --threshold 1e-4", "NAP scores nodes"),
        ("--method NAP-IG --selection greedy", "NAP-IG scores nodes"),
        ("--threshold 1e-4 --selection greedy", "expected no --selection"),
        ("--method EAP-IG-activations --ig_steps auto", "--ig_steps auto"),
        ("--method exact --dtype bfloat16", "--dtype bfloat16"),
        ("--exact_top 1", "--exact_top 1"),
        ("--selection sign-consistent --max_examples 1", "at least 2 pairs"),
    ],
)
def test_flags_that_mean_nothing_together_are_refused_before_the_work(
    study, monkeypatch, tiny_model_dir, tmp_path, words, match
):
    monkeypatch.chdir(study)
    monkeypatch.setattr("eap.attribute.attribute_batches", None)  # nothing may be attributed
    common = [
        "--model_path",
        tiny_model_dir,
        "--output",
        f"{tmp_path}/C.json",
        "--output_dir",
        str(tmp_path),
    ]
    with pytest.raises(InputError, match=match):
        script("extract_summarization_circuit").main(common + words.split())
    assert not list(tmp_path.glob("C*.safetensors")) and not (tmp_path / "C.json").exists()


def test_a_sign_consistent_circuit_is_what_its_own_rule_takes_again(
    study, monkeypatch, tiny_model_dir, tmp_path
):
    monkeypatch.chdir(study)
    words = [
        "--model_path",
        tiny_model_dir,
        "--output",
        f"{tmp_path}/C.json",
        "--output_dir",
        str(tmp_path),
        "--quiet",
    ]
    script("extract_summarization_circuit").main(
        [*words, "--selection", "sign-consistent", "--fraction", "0.9"]
    )
    circuit = load_circuit(tmp_path / "C.json")
    assert torch.equal(circuit.rule.take(circuit.graph, circuit.ranking), circuit.in_graph)
    assert (
        circuit.metadata["sizes"]["selected"] < circuit.metadata["sizes"]["requested"]
    )  # some edges flip, so the rule mattered


def test_a_lora_adapter_folder_is_a_model(study, monkeypatch, tmp_path):
    monkeypatch.chdir(study)
    adapter = next(Path("outputs/run_peft_bakeoff").glob("all/seed-*/adapter"))
    words = [
        "--model_path",
        str(adapter),
        "--output",
        str(tmp_path / "C.json"),
        "--output_dir",
        str(tmp_path),
    ]
    script("extract_summarization_circuit").main([*words, "--quiet", "--fraction", "0.5"])
    changed, base = load_circuit(tmp_path / "C.json"), load_circuit("C_before_summarization.json")
    assert changed.graph == base.graph and not torch.equal(changed.scores, base.scores)
    merged = opening.load_model(str(adapter), torch.float32, device="cpu")
    assert all(
        parameter.requires_grad for parameter in merged.parameters()
    )  # so that it can be fine-tuned further


def test_an_adapter_folder_goes_into_rouge_and_the_differential_analysis(
    study, monkeypatch, tmp_path, tiny_model_dir, articles_file
):
    """Merged on load: it writes, and its insides differ from its base's."""
    monkeypatch.chdir(study)
    adapter = next(Path("outputs/run_peft_bakeoff").glob("all/seed-*/adapter"))
    common = ["--dataset", articles_file, "--quiet", "--batch_size", "4", "--max_examples", "3"]
    script("test_set_evaluation").main(
        [
            "--model_paths",
            str(adapter),
            *common,
            "--max_new_tokens",
            "8",
            "--output_dir",
            str(tmp_path / "rouge"),
        ]
    )
    summaries = [
        json.loads(line)
        for line in (tmp_path / "rouge" / "generated.adapter.jsonl").read_text().splitlines()
    ]
    assert len(summaries) == 3 and all(row["nll_nats"] > 0 for row in summaries)
    script("differential_analysis").main(
        [
            "--base_model_path",
            tiny_model_dir,
            "--finetuned_model_path",
            str(adapter),
            *common,
            "--output_dir",
            str(tmp_path / "differential"),
        ]
    )
    scores = json.loads((tmp_path / "differential" / "layers.differential.json").read_text())[
        "scores"
    ]
    assert any(max(values) > 0 for values in scores.values())


def test_pipeline_dry_run_prints_every_stage(capsys):
    script("run_pipeline").main(["--dry_run", "--preset", "gpt2-cnn"])
    lines = capsys.readouterr().out.splitlines()
    assert all(any(f"{name}.py" in line for line in lines) for name in NINE)
    assert "--dataset abisee/cnn_dailymail" in lines[0]
    script("run_pipeline").main(
        ["--dry_run", "--from", "evaluate_faithfulness", "--to", "evaluate_robustness"]
    )
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(InputError, match="stage"):
        script("run_pipeline").main(["--from", "nonsense"])


@pytest.mark.parametrize("folder", [None, "outputs/my demo", "outputs/o'brien"])
def test_every_printed_command_is_one_that_its_script_takes(capsys, folder):
    for preset in script("run_pipeline").PRESETS:
        script("run_pipeline").main(
            ["--dry_run", "--preset", preset, *(["--output_dir", folder] if folder else [])]
        )
        for line in capsys.readouterr().out.splitlines():
            _, path, *words = shlex.split(line)
            args = script(Path(path).stem).parse(words)
            beside = "extract" in path and not args.all_checkpoints
            written = args.output if beside else args.output_dir
            assert written.startswith(folder or f"outputs/{preset}")


def test_the_studys_commands_as_the_readme_prints_them_leave_sizes_to_the_constants():
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("or by hand", 1)[1]
    lines = text.split("```")[1].split("\n")[1:-1]
    assert {line.split()[1].removesuffix(".py") for line in lines} == {*NINE, "make_report"}
    for line in lines:
        _, path, *words = shlex.split(line)
        script(Path(path).stem).parse(words)
        assert "--max_examples" not in words
