"""The bake-off: equal budgets, adapters where they were planned, nothing run twice, no word without an interval."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import run_peft_bakeoff as script
from eap import InputError
from summarization import bakeoff, comparison, examples, hub, layers, lora
from summarization.lora import Arm

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # peft asks by the old name
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys:RuntimeWarning"),  # peft, of AdaLoRA's own pattern
]

D = 768
GPT2 = {f"transformer.h.{layer}.{module}": shape for layer in range(12) for module, shape in zip(
    lora.MODULES, ((D, 3 * D), (D, D), (D, 4 * D), (4 * D, D)), strict=True)}
PER_RANK = 12 * 16 * D  # all layers: (1+3) + (1+1) + (1+4) + (4+1) = 16 widths a layer


def plan_of(arm, where, budget=None, critical=(), shapes=GPT2):
    return lora.make_plan(shapes, arm, where, critical, 8, budget, 2.0)


# ---------------------------------------------------------------- ranks and counts


@pytest.mark.parametrize(("method", "parameters"), [("lora", 8 * 4 * D), ("rslora", 8 * 4 * D), ("dora", 8 * 4 * D + 3 * D),
                                                    ("adalora", 8 * 4 * D + 8)])
def test_parameters_of_one_module(method, parameters):
    assert lora.parameters((D, 3 * D), 8, method) == parameters


def test_the_published_arms_of_one_rank_had_different_sizes_and_a_budget_makes_them_equal():
    everywhere, paper = range(12), (2, 3, 5)
    assert lora.count(plan_of(Arm("all"), everywhere), GPT2) == 8 * PER_RANK == 1_179_648
    assert lora.count(plan_of(Arm("paper"), paper), GPT2) == 8 * PER_RANK // 4
    budgeted = plan_of(Arm("paper"), paper, budget=8 * PER_RANK)
    assert set(budgeted.ranks.values()) == {32}
    assert lora.count(budgeted, GPT2) == 8 * PER_RANK


@pytest.mark.parametrize("budget", [300_000, 1_000_003, 2_500_000])
@pytest.mark.parametrize(("arm", "where", "critical"), [
    (Arm("all"), range(12), ()), (Arm("five"), (3, 4, 6, 8, 11), ()), (Arm("dora", method="dora"), range(12), ()),
    (Arm("change"), range(12), (1, 2, 7)),
])  # fmt: skip
def test_guard_8_every_budget_is_met_within_half_a_percent_and_alpha_over_r_is_the_same(arm, where, critical, budget):
    plan = plan_of(arm, where, budget, critical)
    assert 0.995 * budget <= lora.count(plan, GPT2) <= budget
    assert {plan.scaling(name) for name in plan.ranks} == {2.0}
    assert plan.layers == list(where)


def test_critical_layers_get_twice_the_rank():
    plan = plan_of(Arm("change", boost=2.0), range(12), critical=(1, 2, 7))
    assert {lora.layer_of(name) for name, rank in plan.ranks.items() if rank == 16} == {1, 2, 7}
    assert set(plan.ranks.values()) == {8, 16}


def test_a_budget_that_cannot_be_met_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=f"{PER_RANK} is the nearest"):
        plan_of(Arm("all"), range(12), budget=PER_RANK - 1)


# ---------------------------------------------------------------- the wrapped model


@pytest.fixture
def model(tiny_model_dir):
    return AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()


def test_guard_21_exactly_the_planned_modules_are_wrapped(model):
    shapes = lora.module_shapes(model)
    plan = plan_of(Arm("one"), (1,), shapes=shapes)
    found = lora.read_back(lora.wrap(model, plan, 10))
    assert set(found) == {f"transformer.h.1.{module}" for module in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
    assert set(found.values()) == {(8, 2.0)}


def test_an_adapter_in_layer_1_moves_what_leaves_layer_1_and_not_what_enters_it(model):
    ids = torch.arange(20)[None]
    before = model(ids, output_hidden_states=True).hidden_states
    wrapped = lora.wrap(model, plan_of(Arm("one"), (1,), shapes=lora.module_shapes(model)), 10)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(parameter)
    after = wrapped(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.equal(before[1], after[1])
    assert (before[2] - after[2]).abs().max() > 0.01


@pytest.mark.parametrize("tamper", [
    lambda plan: lora.Plan(plan.method, dict(list(plan.ranks.items())[1:]), plan.alphas),
    lambda plan: lora.Plan(plan.method, {name: rank + 1 for name, rank in plan.ranks.items()}, plan.alphas),
    lambda plan: lora.Plan(plan.method, plan.ranks, {name: 2 * alpha for name, alpha in plan.alphas.items()}),
])  # fmt: skip
def test_guard_8_a_model_that_is_not_as_planned_stops_the_run(model, tamper):
    shapes = lora.module_shapes(model)
    plan = plan_of(Arm("one"), (0,), shapes=shapes)
    wrapped = lora.wrap(model, plan, 10)
    with pytest.raises(RuntimeError, match="planned"):
        lora.require_as_planned(wrapped, tamper(plan), shapes)


# ---------------------------------------------------------------- comparing


def test_holm_by_hand():
    assert comparison.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert comparison.holm([0.6, 0.7]) == [1.0, 1.0]


def test_sign_flip_of_few_texts_is_the_exact_probability():
    assert comparison.sign_flip([1.0, 1.0, 1.0], seed=0) == pytest.approx(2 / 8, abs=0.02)
    assert comparison.sign_flip([1.0, -1.0], seed=0) == 1.0


def test_guard_26_no_word_without_an_interval_holm_and_agreeing_seeds():
    found = {"low": 0.1, "high": 0.5, "p_holm": 0.01, "seeds": [0.2, 0.4]}
    assert comparison.claim(found, higher_is_better=True) == "better"
    assert comparison.claim(found, higher_is_better=False) == "worse"
    for change in ({"low": -0.1}, {"p_holm": 0.06}, {"seeds": [0.9, -0.3]}):
        assert comparison.claim(found | change, higher_is_better=True) is None


def test_a_paired_difference_that_is_the_same_in_every_text_is_found_whatever_the_texts_spread():
    texts = np.random.default_rng(0).normal(30, 20, size=(2, 40))
    found = comparison.paired(texts + 1, texts, seed=0)
    assert [found["mean"], found["low"], found["high"]] == pytest.approx([1, 1, 1])
    assert found["p"] < 0.001
    assert found["seeds"] == pytest.approx([1.0, 1.0])


# ---------------------------------------------------------------- layers of an arm


def test_random_layers_are_drawn_anew_for_each_seed_and_the_same_again():
    args = script.parse(["--top_k", "3"])
    draws = [script.layers_of(args, "random", 12, seed) for seed in range(5)]
    assert draws == [script.layers_of(args, "random", 12, seed) for seed in range(5)]
    assert len({tuple(draw) for draw in draws}) > 1


def test_layers_files_are_read_by_measure(tmp_path):
    file = tmp_path / "layers.evolution.json"
    layers.write_layers(file, "evolution", {"change": [0.1, 0.2, 0.9, 0.3], "after": [0.9, 0.8, 0.1, 0.2]})
    args = script.parse(["--layers_circuit", str(file), "--top_k", "2"])
    assert script.layers_of(args, "circuit", 4, 0) == [0, 1]
    assert script.layers_of(args, "change", 4, 0) == [2, 3]


def test_an_arm_without_its_layers_file_is_an_error_by_name_and_left_out_by_default(tmp_path):
    absent = ["--layers_observed", str(tmp_path / "no.json"), "--layers_circuit", str(tmp_path / "none.json")]
    with pytest.raises(InputError, match="differential_analysis.py writes it"):
        script.arms_with_files(script.parse([*absent, "--arms", "observed"]))
    chosen, left_out = script.arms_with_files(script.parse(absent))
    assert set(left_out) == {"observed", "circuit", "circuit-change"}
    assert "all" in {arm.name for arm in chosen}


# ---------------------------------------------------------------- the script


def run(out, model, *more):
    script.main([
        "--model_path", model, "--dataset", "demo", "--subset_train_size", "16", "--max_steps", "2", "--batch_size", "4",
        "--max_examples", "4", "--max_new_tokens", "4", "--top_k", "1", "--rank", "2", "--device", "cpu", "--output_dir", str(out), *more,
    ])  # fmt: skip


ARMS = ["--arms", "none", "full", "all", "random", "rslora", "dora", "adalora", "--seeds", "1"]


@pytest.fixture(scope="module")
def finished(tiny_model_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("bakeoff") / "out"
    run(out, tiny_model_dir, "--quiet", *ARMS)
    return out


def test_every_arm_leaves_its_folder_and_one_budget_is_one_count(finished):
    content = json.loads((finished / "bakeoff.json").read_text())
    trainable = {name: arm["trainable"][0] for name, arm in content["arms"].items()}
    assert trainable["none"] == 0
    assert trainable["all"] == trainable["random"] == trainable["rslora"] == 2 * 2 * 16 * 48  # rank 2, 2 layers, 16 widths
    assert trainable["full"] > trainable["all"]
    assert set(content["yardsticks"]) == {"Lead-3", "Random-3", "oracle"}
    assert set(content["differences"]) == {"all", "random"}
    assert "no interval over seeds" in content["sentences"][0]
    assert "seconds" not in json.dumps(content)
    assert str(finished) not in json.dumps(content)
    assert (finished / "bakeoff.png").stat().st_size > 10_000


@pytest.mark.parametrize("arm", ["all", "random", "rslora", "dora", "adalora", "full"])
def test_what_was_saved_is_what_was_judged(arm, finished, tiny_tokenizer):
    folder = finished / arm / "seed-0"
    model = hub.load_model(str(folder / ("model" if arm == "full" else "adapter")), torch.float32, "cpu")
    rows = [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()]
    data = examples.encode(examples.corpus.load("demo", "test", 4), tiny_tokenizer, 320).data
    assert examples.summary_nll(model, data, tiny_tokenizer, 4) == pytest.approx([row["nll_nats"] for row in rows], rel=1e-4)


def test_adapters_load_in_plain_peft(finished, model):
    from peft import PeftModel

    loaded = PeftModel.from_pretrained(model, finished / "all" / "seed-0" / "adapter")
    trained = [weight for name, weight in loaded.named_parameters() if "lora_B" in name]
    assert len(trained) == 8 and all(weight.abs().sum() > 0 for weight in trained)  # B starts at zero: two layers of four modules learned


def test_a_finished_arm_is_not_run_again_and_a_changed_one_only_with_overwrite(finished, tiny_model_dir, capsys, monkeypatch):
    bytes_before = (finished / "bakeoff.json").read_bytes()
    (finished / "bakeoff.json").unlink()
    trained = []
    whole_run = bakeoff.run
    monkeypatch.setattr(bakeoff, "run", lambda args, this, data: (trained.append(this.arm.name), whole_run(args, this, data)))
    run(finished, tiny_model_dir, *ARMS)
    assert trained == []
    assert capsys.readouterr().out.count("finished before") == 7
    assert (finished / "bakeoff.json").read_bytes() == bytes_before
    with pytest.raises(InputError, match="--overwrite"):
        run(finished, tiny_model_dir, *ARMS, "--full_learning_rate", "3e-4")
    run(finished, tiny_model_dir, *ARMS, "--full_learning_rate", "3e-4", "--overwrite")
    assert trained == ["full"]
