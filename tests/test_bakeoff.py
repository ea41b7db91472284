"""The bake-off: equal budgets, adapters where they were planned, nothing run twice, no word without
an interval.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import run_peft_bakeoff as script
from eap import InputError
from runs import bases, disk, hub, opening
from runs.devices import Device
from study import layers
from study.bakeoff import arms, comparison, costs, lora
from study.bakeoff import figures as bakeoff_figures
from study.bakeoff import numbers as bakeoff_numbers
from study.bakeoff import trials as bakeoff
from study.bakeoff import words as bakeoff_words
from study.bakeoff.data import load_rows
from study.bakeoff.lora import Arm
from study.bakeoff.settings import Settings
from summarization import examples

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
    ),  # peft asks by the old name
    pytest.mark.filterwarnings(
        "ignore:The following rank_pattern keys:RuntimeWarning"
    ),  # peft, of AdaLoRA's own pattern
]

D = 768
GPT2 = {
    f"transformer.h.{layer}.{module}": shape
    for layer in range(12)
    for module, shape in zip(
        ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
        ((D, 3 * D), (D, D), (D, 4 * D), (4 * D, D)),
        strict=True,
    )
}
PER_RANK = 12 * 16 * D  # all layers: (1+3) + (1+1) + (1+4) + (4+1) = 16 widths a layer


def plan_of(arm, where, budget=None, critical=(), shapes=GPT2):
    sizing = lora.Sizing(8, 2.0, budget)
    return lora.make_plan(shapes, arm, layers=where, critical=critical, sizing=sizing)


# ---------------------------------------------------------------- ranks and counts


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("lora", 8 * 4 * D),
        ("rslora", 8 * 4 * D),
        ("dora", 8 * 4 * D + 3 * D),
        ("adalora", 8 * 4 * D + 8),
    ],
)
def test_parameters_of_one_module(method, parameters):
    assert lora.parameters((D, 3 * D), 8, method=method) == parameters


def test_the_published_arms_of_one_rank_had_different_sizes_and_a_budget_makes_them_equal():
    everywhere, paper = range(12), (2, 3, 5)
    assert lora.count(plan_of(Arm("all"), everywhere), GPT2) == 8 * PER_RANK == 1_179_648
    assert lora.count(plan_of(Arm("paper"), paper), GPT2) == 8 * PER_RANK // 4
    budgeted = plan_of(Arm("paper"), paper, budget=8 * PER_RANK)
    assert set(budgeted.ranks.values()) == {32}
    assert lora.count(budgeted, GPT2) == 8 * PER_RANK


@pytest.mark.parametrize("budget", [300_000, 1_000_003, 2_500_000])
@pytest.mark.parametrize(("arm", "where", "critical"), [
    (Arm("all"), range(12), ()), (Arm("five"), (3, 4, 6, 8, 11), ()),
    (Arm("dora", method="dora"), range(12), ()),
    (Arm("change"), range(12), (1, 2, 7)),
])  # fmt: skip
def test_guard_8_every_budget_is_met_within_half_a_percent_and_alpha_over_r_is_the_same(
    arm, where, critical, budget
):
    plan = plan_of(arm, where, budget, critical)
    assert 0.995 * budget <= lora.count(plan, GPT2) <= budget
    assert {plan.scaling(name) for name in plan.ranks} == {2.0}
    assert plan.layers == list(where)


def test_layers_of_which_every_beginning_is_spread():
    order = lora.spread(range(12))
    assert sorted(order, key=order.get) == [
        6,
        2,
        10,
        8,
        4,
        0,
        7,
        3,
        11,
        9,
        5,
        1,
    ]  # 0, 8, 4, 2, 10, 6, 1, ... turned by half
    assert lora.spread([9, 5, 9]) == {5: 1, 9: 0}


@pytest.mark.parametrize(
    "budget",
    [9 * PER_RANK - 5 * D, 8 * PER_RANK + 30 * D, 8 * PER_RANK + 50 * D, 8 * PER_RANK + 100 * D],
)
def test_what_rounding_leaves_over_is_spread_over_the_layers(budget):
    plan = plan_of(Arm("all"), range(12), budget)
    assert 0.995 * budget <= lora.count(plan, GPT2) <= budget
    of_layer = np.zeros(12)
    for name, rank in plan.ranks.items():
        of_layer[lora.layer_of(name)] += rank * sum(GPT2[name])
    assert (
        of_layer.max() - of_layer.min() <= 7 * D
    )  # a rank of the largest module and of the smallest; all four would be 16 widths
    assert abs(of_layer[:6].sum() - of_layer[6:].sum()) <= 7 * D


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
    wrapped = lora.read_back(lora.wrap(model, plan, total_steps=10))
    assert set(wrapped) == {
        f"transformer.h.1.{module}"
        for module in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert set(wrapped.values()) == {(8, 2.0)}


def test_an_adapter_in_layer_1_moves_what_leaves_layer_1_and_not_what_enters_it(model):
    ids = torch.arange(20)[None]
    before = model(ids, output_hidden_states=True).hidden_states
    wrapped = lora.wrap(
        model, plan_of(Arm("one"), (1,), shapes=lora.module_shapes(model)), total_steps=10
    )
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(parameter)
    after = wrapped(input_ids=ids, output_hidden_states=True).hidden_states
    assert torch.equal(before[1], after[1])
    assert (before[2] - after[2]).abs().max() > 0.01


@pytest.mark.parametrize("tamper", [
    lambda plan: lora.Plan(plan.method, dict(list(plan.ranks.items())[1:]), plan.alphas),
    lambda plan: replace(plan, ranks={name: rank + 1 for name, rank in plan.ranks.items()}),
    lambda plan: replace(plan, alphas={name: 2 * alpha for name, alpha in plan.alphas.items()}),
])  # fmt: skip
def test_guard_8_a_model_that_is_not_as_planned_stops_the_run(model, tamper):
    shapes = lora.module_shapes(model)
    plan = plan_of(Arm("one"), (0,), shapes=shapes)
    wrapped = lora.wrap(model, plan, total_steps=10)
    with pytest.raises(RuntimeError, match="planned"):
        lora.require_as_planned(wrapped, tamper(plan), shapes=shapes)


# ---------------------------------------------------------------- comparing


def test_holm_by_hand():
    assert comparison.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert comparison.holm([0.6, 0.7]) == [1.0, 1.0]


def test_guard_26_no_word_without_an_interval_holm_and_agreeing_seeds():
    difference = {"low": 0.1, "high": 0.5, "p_holm": 0.01, "seeds": [0.2, 0.4]}
    assert comparison.claim(difference, higher_is_better=True) == "better"
    assert comparison.claim(difference, higher_is_better=False) == "worse"
    for change in ({"low": -0.1}, {"p_holm": 0.06}, {"seeds": [0.9, -0.3]}):
        assert comparison.claim(difference | change, higher_is_better=True) is None


def test_a_paired_difference_that_is_the_same_in_every_text_is_found_whatever_the_texts_spread():
    texts = np.random.default_rng(0).normal(30, 20, size=(2, 40))
    difference = comparison.paired(texts + 1, texts, seed=0)
    assert [difference["mean"], difference["low"], difference["high"]] == pytest.approx([1, 1, 1])
    assert difference["p"] < 0.001
    assert difference["seeds"] == pytest.approx([1.0, 1.0])


def test_guard_26_three_seeds_against_one_must_agree_too():
    """Per-seed differences +3, +3, -1: far from zero on average over texts, but one seed says the
    opposite.
    """
    spread = np.random.default_rng(0).normal(0, 1, size=40)
    reference = np.array([spread])
    difference = comparison.paired(
        np.array([spread + 3, spread + 3, spread - 1]), reference, seed=0
    )
    assert (
        difference["seeds"] == pytest.approx([3, 3, -1])
        and difference["low"] > 0
        and difference["p"] < 0.01
    )
    assert comparison.claim(difference | {"p_holm": difference["p"]}, higher_is_better=True) is None
    assert comparison.paired(reference, np.array([spread + 3, spread + 3, spread - 1]), seed=0)[
        "seeds"
    ] == pytest.approx([-3, -3, 1])


def test_the_smallest_p_counts_texts_that_differ():
    assert comparison.smallest_p([0.5, 0.0, 1.0, 2.0]) == 2 / 8
    assert comparison.smallest_p([0.0, 0.0]) == 1.0
    assert comparison.smallest_p(np.ones(50)) == pytest.approx(1e-4, rel=1e-3)


def trials_of(**arms):
    """What `bakeoff_numbers.differences` takes, of one seed with these ROUGE-1 of the texts."""
    names = [measure.name for measure in bakeoff_numbers.MEASURES]
    return [
        (
            bakeoff.Trial(Arm(name), 0, None, None, {}),
            {},
            [dict.fromkeys(names, 1.0) | {"rouge1": value} for value in values],
        )
        for name, values in arms.items()
    ]


def test_no_detectable_difference_where_no_word_is_possible():
    """7 texts: the smallest p is 2/128 = 0.016; Holm's correction of four arms makes that 0.0625,
    of two 0.03.
    """
    up = list(np.arange(1.0, 8.0))
    four = bakeoff_numbers.differences(trials_of(all=[0.0] * 7, a=up, b=up, c=up, d=up), 0)["all"][
        "rouge1"
    ]
    two = bakeoff_numbers.differences(trials_of(all=[0.0] * 7, a=up, b=[0.0] * 7), 0)["all"][
        "rouge1"
    ]
    assert {entry["detectable"] for entry in four.values()} == {None}
    assert two["a"]["detectable"] > 0 and two["b"]["detectable"] is None
    sentences = [
        bakeoff_words.difference_sentence(name, bakeoff_numbers.COMPARED[0], difference=two[name])
        for name in two
    ]
    assert (
        "before Holm's correction" in sentences[0]
        and "too few texts differ for any word" in sentences[1]
        and "detect" not in sentences[1]
    )


def test_the_figure_shows_what_differs_from_random_layers():
    """Filled where the difference is claimed, hollow where it is not; the parameters once, in the
    title.
    """
    value = {"mean": 20.0, "low": 19.0, "high": 21.0, "seeds": [20.0]}
    arms = {
        name: {"placement": placement, "trainable": [64], "layers": [[0, 2]]}
        | dict.fromkeys(("rouge1", "nll_nats"), value)
        for name, placement in (("all", "all"), ("random", "random"), ("circuit", "measured"))
    }
    differences = {"all": value | {"claim": None}, "circuit": value | {"claim": "better"}}
    result = {
        "arms": arms,
        "differences": {"random": dict.fromkeys(("rouge1", "nll_nats"), differences)},
        "yardsticks": {},
        "seeds": [0],
        "model": "m",
        "dataset": "d",
        "n_texts": 4,
    }
    made = bakeoff_figures.figure(result)
    assert "64 trainable parameters in every arm" in made._suptitle.get_text()
    below = made.axes[2]
    assert [text.get_text() for text in below.get_yticklabels()] == [
        "all: layers 0,2",
        "circuit: layers 0,2",
    ]
    faces = [container.lines[0].get_markerfacecolor() for container in below.containers]
    assert faces == ["white", "#009E73"]


def test_the_placements_of_the_arms_and_the_figures_legend():
    """Circuit arms alone have the circuit's colour, and one seed no small point."""
    from eap.style import COLOURS

    placements = {arm.name: arm.placement for arm in script.ARMS}
    assert {name for name, placement in placements.items() if placement == "measured"} == {
        "observed",
        "circuit",
        "circuit-change",
    }
    assert {name for name, placement in placements.items() if placement == "fixed"} == {
        "late",
        "paper",
        "hybrid",
    }
    assert {placements[name] for name in ("all", "rslora", "dora", "adalora")} == {"all"}
    value = {"mean": 20.0, "low": 19.0, "high": 21.0}
    arms = {
        name: {"placement": placements[name], "trainable": [1], "layers": [[1, 2]]}
        | dict.fromkeys(("rouge1", "nll_nats"), value | {"seeds": seeds})
        for name, seeds in (("none", [20.0]), ("late", [19.0, 21.0]), ("circuit", [19.0, 21.0]))
    }
    made = bakeoff_figures.figure(
        {
            "arms": arms,
            "differences": {},
            "yardsticks": {},
            "seeds": [0, 1],
            "model": "m",
            "dataset": "d",
            "n_texts": 4,
        }
    )
    assert [text.get_text() for text in made.legends[0].get_texts()] == [
        "no training",
        "adapters in layers fixed beforehand",
        "adapters by circuit or observed change",
    ]
    bars = [container.lines[0].get_color() for container in made.axes[0].containers]
    assert bars == [COLOURS["base"], COLOURS["highlight"], COLOURS["circuit"]]
    assert [line.get_color() for line in made.axes[0].lines if line.get_marker() == "."] == [
        COLOURS["highlight"],
        COLOURS["circuit"],
    ]


def test_arms_off_the_budget_and_below_random_sentences_are_said():
    arms = {
        name: {"method": method, "trainable": [trainable], "rouge1": {"mean": 20.0}}
        for name, method, trainable in (
            ("all", "lora", 1000),
            ("near", "lora", 996),
            ("adalora", "adalora", 875),
            ("full", "full", 9000),
        )
    }
    result = {
        "budget_parameters": 1000,
        "arms": arms,
        "yardsticks": {"Random-3": {"rouge1": {"mean": 20.5}}},
    }
    (sentence,) = bakeoff_words.off_budget(result)
    assert sentence.startswith(
        "adalora has 875 trainable parameters, -12.5% off the budget of 1,000"
    )
    assert bakeoff_words.off_budget(result | {"budget_parameters": None}) == []
    assert "below Random-3 in ROUGE-1 (20.5)" in bakeoff_words.below_chance(result)[0]
    arms["full"]["rouge1"]["mean"] = 20.6
    assert bakeoff_words.below_chance(result) == []


def test_arms_of_the_same_layers_are_one_result_and_one_draw_is_not_random_layers():
    def arm(layers, nll, rank=32):
        return {
            "method": "lora",
            "layers": [layers],
            "ranks": [rank],
            "learning_rate": 0.008,
            "trainable": [9],
            "nll_nats": {"mean": nll},
        }

    arms = {
        "late": arm([9, 10, 11], 1.2),
        "observed": arm([9, 10, 11], 1.2),
        "random": arm([9, 10, 11], 1.3, rank=16),
        "all": arm([0], 1),
    }
    (sentence,) = bakeoff_words.same_layers({"arms": arms})
    assert sentence.startswith("late and observed have the same layers, 9-11")
    (sentence,) = bakeoff_words.one_draw({"arms": arms, "seeds": [0]})
    assert sentence.startswith("random was drawn once, layers 9-11")
    assert (
        bakeoff_words.one_draw({"arms": arms, "seeds": [0, 1]})
        == bakeoff_words.one_draw({"arms": {}, "seeds": [0]})
        == []
    )


# ---------------------------------------------------------------- layers of an arm


def placed(*words) -> arms.Placement:
    """The placement that the bake-off has with these flags."""
    return arms.Placement.of(vars(script.parse(list(words))))


def test_random_layers_are_drawn_anew_for_each_seed_and_the_same_again():
    placement = placed("--top_k", "3")
    draws = [arms.layers_of(placement, "random", n_layers=12, seed=seed) for seed in range(5)]
    assert draws == [
        arms.layers_of(placement, "random", n_layers=12, seed=seed) for seed in range(5)
    ]
    assert len({tuple(draw) for draw in draws}) > 1


def test_layers_files_are_read_by_measure(tmp_path):
    file = tmp_path / "layers.evolution.json"
    layers.write_layers(
        file, "evolution", scores={"change": [0.1, 0.2, 0.9, 0.3], "after": [0.9, 0.8, 0.1, 0.2]}
    )
    placement = placed("--layers_circuit", str(file), "--top_k", "2")
    assert arms.layers_of(placement, "circuit", n_layers=4, seed=0) == [0, 1]
    assert arms.layers_of(placement, "change", n_layers=4, seed=0) == [2, 3]


def test_an_arm_without_its_layers_file_is_an_error_by_name_and_left_out_by_default(tmp_path):
    absent = [
        "--layers_observed",
        str(tmp_path / "no.json"),
        "--layers_circuit",
        str(tmp_path / "none.json"),
    ]
    with pytest.raises(InputError, match="differential_analysis.py writes it"):
        arms.with_files(placed(*absent, "--arms", "observed"), script.ARMS)
    chosen, left_out = arms.with_files(placed(*absent), script.ARMS)
    assert set(left_out) == {"observed", "circuit", "circuit-change"}
    assert "all" in {arm.name for arm in chosen}


# ---------------------------------------------------------------- the script


def test_an_arm_has_its_own_modules_rank_and_alpha():
    arm = Arm("own", modules=("attn.c_proj",), rank=4, alpha_over_r=1.5)
    plan = plan_of(arm, (1, 2))
    assert plan.ranks == {"transformer.h.1.attn.c_proj": 4, "transformer.h.2.attn.c_proj": 4}
    assert set(plan.alphas.values()) == {6.0}
    budgeted = plan_of(arm, (1, 2), budget=10 * 2 * 2 * D)
    assert set(budgeted.ranks.values()) == {10} and set(budgeted.alphas.values()) == {15.0}


def test_rslora_divides_by_the_root_of_the_rank():
    plan = plan_of(Arm("rs", method="rslora"), (1,), budget=32 * 16 * D)
    assert set(plan.ranks.values()) == {32}
    assert plan.scaling("transformer.h.1.mlp.c_fc") == pytest.approx(
        16 / 32**0.5
    )  # the alpha of rank 8 at alpha/r 2


def test_an_arm_of_some_modules_wraps_only_them(model):
    shapes = lora.module_shapes(model)
    wrapped = lora.wrap(
        model,
        plan_of(Arm("own", modules=("attn.c_proj", "mlp.c_fc")), (0, 1), shapes=shapes),
        total_steps=10,
    )
    assert {lora.kind_of(name) for name in lora.read_back(wrapped)} == {"attn.c_proj", "mlp.c_fc"}


def run(out, model, *more):
    script.main([
        "--lr_sweep", "none",
        "--model_path", model, "--dataset", "demo", "--subset_train_size", "16",
        "--max_steps", "2", "--batch_size", "4", "--max_examples", "4", "--max_new_tokens", "4",
        "--top_k", "1", "--rank", "2", "--device", "cpu", "--output_dir", str(out), *more,
    ])  # fmt: skip


ARMS = ["--arms", "none", "full", "all", "random", "rslora", "dora", "adalora", "--seeds", "1"]


@pytest.fixture(scope="module")
def finished(tiny_model_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("bakeoff") / "out"
    run(out, tiny_model_dir, "--quiet", *ARMS)
    return out


def test_every_arm_leaves_its_folder_and_one_budget_is_one_count(finished):
    result = json.loads((finished / "bakeoff.json").read_text())
    trainable = {name: arm["trainable"][0] for name, arm in result["arms"].items()}
    assert trainable["none"] == 0
    assert (
        trainable["all"] == trainable["random"] == trainable["rslora"] == 2 * 2 * 16 * 48
    )  # rank 2, 2 layers, 16 widths
    assert trainable["full"] > trainable["all"]
    assert set(result["yardsticks"]) == {"Lead-3", "Random-3", "oracle"}
    assert set(result["differences"]) == {"all", "random"}
    assert "no interval over seeds" in result["sentences"][0]
    assert "seconds" not in json.dumps(result)
    assert str(finished) not in json.dumps(result)
    assert (finished / "bakeoff.png").stat().st_size > 10_000


@pytest.mark.parametrize("arm", ["all", "random", "rslora", "dora", "adalora", "full"])
def test_what_was_saved_is_what_was_judged(arm, finished, tiny_tokenizer):
    folder = finished / arm / "seed-0"
    model = opening.load_model(
        str(folder / ("model" if arm == "full" else "adapter")), torch.float32, device="cpu"
    )
    rows = [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()]
    data = examples.encode(
        examples.corpus.load("demo", "test", max_examples=4), tiny_tokenizer, max_length=320
    ).data
    assert examples.summary_nll(
        model, data, tokenizer=tiny_tokenizer, batch_size=4
    ) == pytest.approx([row["nll_nats"] for row in rows], rel=1e-4)


def test_adapters_load_in_plain_peft(finished, model):
    from peft import PeftModel

    loaded = PeftModel.from_pretrained(model, finished / "all" / "seed-0" / "adapter")
    trained = [weight for name, weight in loaded.named_parameters() if "lora_B" in name]
    assert len(trained) == 8 and all(
        weight.abs().sum() > 0 for weight in trained
    )  # B starts at zero: two layers of four modules learned


@pytest.mark.parametrize("arm", ["all", "rslora", "dora", "adalora"])
def test_plain_peft_finds_the_base_model_from_any_folder(arm, finished, tmp_path, monkeypatch):
    """And computes what our own loading, which merges, computes."""
    from peft import AutoPeftModelForCausalLM

    monkeypatch.chdir(tmp_path)
    ids = torch.arange(5, 25)[None]
    plain = AutoPeftModelForCausalLM.from_pretrained(finished / arm / "seed-0" / "adapter").eval()
    ours = opening.load_model(
        str(finished / arm / "seed-0" / "adapter"), torch.float32, device="cpu"
    )
    torch.testing.assert_close(
        plain(input_ids=ids).logits, ours(input_ids=ids).logits, rtol=1e-4, atol=1e-4
    )
    with plain.disable_adapter():
        assert not torch.equal(plain(input_ids=ids).logits, ours(input_ids=ids).logits)


def test_the_base_of_an_adapter_is_written_so_that_it_is_found(tiny_model_dir, tmp_path):
    assert opening.base_name("demo") == str(hub.DEMO) and hub.DEMO.is_absolute()
    assert opening.base_name(tiny_model_dir) == tiny_model_dir
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(InputError, match="adapter_config.json: expected its base model at"):
        bases.base_of_adapter(config)


def test_every_arm_of_a_seed_sees_the_same_data_in_the_same_order(
    tiny_model_dir, tmp_path, monkeypatch
):
    seen, collate = {}, examples.SummaryCollator.__call__

    def spy(self, features):
        seen.setdefault(bakeoff_arm[0], []).append([feature["input_ids"] for feature in features])
        return collate(self, features)

    bakeoff_arm, train = [None], bakeoff.train
    monkeypatch.setattr(
        bakeoff,
        "train",
        lambda settings, this, *more, **named: (
            bakeoff_arm.__setitem__(0, (this.arm.name, this.seed)),
            train(settings, this, *more, **named),
        )[1],
    )
    monkeypatch.setattr(
        bakeoff,
        "judge",
        lambda settings, name, model, data: [{"id": "a", "summary": "", "nll_nats": 0.0}],
    )
    monkeypatch.setattr(script, "report", lambda *_: None)
    monkeypatch.setattr(examples.SummaryCollator, "__call__", spy)
    run(
        tmp_path / "out",
        tiny_model_dir,
        "--quiet",
        "--arms",
        "full",
        "all",
        "random",
        "adalora",
        "--seeds",
        "2",
    )
    orders = [seen[arm, 0] for arm in ("full", "all", "random", "adalora")]
    assert (
        all(order[:2] == orders[0][:2] for order in orders) and len(orders[0]) >= 2
    )  # two steps; the loader reads ahead
    assert seen["full", 1] == seen["random", 1] != seen["full", 0]


def test_adalora_gives_ranks_away_while_it_trains(model, tiny_tokenizer, tmp_path):
    data = examples.encode(
        examples.corpus.load("demo", "train", max_examples=8), tiny_tokenizer, max_length=320
    )
    plan = plan_of(
        Arm("ada", method="adalora"),
        (0, 1),
        shapes=lora.module_shapes(model),
        budget=6 * 2 * (16 * 48 + 4),
    )
    args = script.parse(
        [
            "--batch_size",
            "2",
            "--max_steps",
            "12",
            "--device",
            "cpu",
            "--quiet",
            "--learning_rate",
            "1e-2",
        ]
    )
    wrapped = lora.wrap(model, plan, total_steps=12)
    trainer = bakeoff.training.SummaryTrainer(
        wrapped,
        tiny_tokenizer,
        settings=bakeoff.training.settings(
            tmp_path,
            0,
            device=Device("cpu"),
            gradient_checkpointing=False,
            **bakeoff.training.options_of(vars(args)),
        ),
        train=data.data,
    )
    trainer.add_callback(bakeoff.Allocate(wrapped))
    log = bakeoff.training.fine_tune(trainer)
    kept = sum(
        int((weight != 0).sum()) for name, weight in wrapped.named_parameters() if "lora_E" in name
    )
    assert set(plan.ranks.values()) == {6} and kept == 8 * 4  # 8 modules, two thirds of their ranks
    assert np.isfinite([entry["loss"] for entry in log if "loss" in entry]).all()


# ---------------------------------------------------------------- the learning rate


def settings(*words) -> bakeoff.Settings:
    """The settings of the bake-off with these flags."""
    return Settings.of(vars(script.parse(list(words))))


def test_rates_are_factors_of_the_arms_own():
    swept = settings(
        *("--lr_sweep", "0.3,1,3", "--learning_rate", "1e-3", "--full_learning_rate", "1e-4")
    )
    assert bakeoff.rates(swept, Arm("all")) == [3e-4, 1e-3, 3e-3]
    assert bakeoff.rates(swept, Arm("full", method="full")) == [3e-5, 1e-4, 3e-4]
    assert bakeoff.rates(swept, Arm("own", learning_rate=1e-2)) == [3e-3, 1e-2, 3e-2]
    assert bakeoff.rates(swept, Arm("none", method="none")) == []
    assert bakeoff.rates(settings("--lr_sweep", "none"), Arm("all")) == [script.LEARNING_RATE]


SWEPT = [
    "--arms",
    "none",
    "all",
    "full",
    "random",
    "--seeds",
    "2",
    "--max_steps",
    "4",
    "--sweep_share",
    "0.5",
    "--validation_size",
    "4",
]


@pytest.fixture(scope="module")
def swept(tiny_model_dir, tmp_path_factory):
    """A bake-off whose sweep tries a rate that is too low to move anything, one that learns, and
    one that diverges.
    """
    out = tmp_path_factory.mktemp("swept") / "out"
    run(out, tiny_model_dir, "--quiet", *SWEPT, "--lr_sweep", "1e-6,1,1e30")
    return out


def test_the_sweep_takes_the_rate_of_the_lowest_validation_nll_and_says_what_it_tried(
    swept, tiny_model_dir, tiny_tokenizer
):
    result = json.loads((swept / "bakeoff.json").read_text())
    assert result["arms"]["none"]["sweep"] is None
    adapters, full = script.DEMO["learning_rate"], script.DEMO["full_learning_rate"]
    for name, middle in (("all", adapters), ("full", full), ("random", adapters)):
        sweep = result["arms"][name]["sweep"]
        assert result["arms"][name]["learning_rate"] == middle
        assert [entry["learning_rate"] for entry in sweep["tried"]] == pytest.approx(
            [middle * 1e-6, middle, middle * 1e30]
        )
        low, best, high = [entry["nll_nats"] for entry in sweep["tried"]]
        assert high is None and best["mean"] < low["mean"] and best["n"] == 4
        assert sweep["steps"] == 2 and not sweep["at_the_edge"]
        assert (
            json.loads((swept / name / "seed-1" / "metrics.json").read_text())["learning_rate"]
            == middle
        )
        assert json.loads((swept / name / "sweep" / "run.json").read_text())["sweep_seconds"] > 0
    base = AutoModelForCausalLM.from_pretrained(
        tiny_model_dir
    ).eval()  # what a rate of nearly nothing leaves
    validation = examples.encode(
        examples.corpus.load("demo", "validation", max_examples=4), tiny_tokenizer, max_length=320
    ).data
    untouched = examples.summary_nll(
        base, validation, tokenizer=tiny_tokenizer, batch_size=4
    ).mean()
    assert result["arms"]["all"]["sweep"]["tried"][0]["nll_nats"]["mean"] == pytest.approx(
        untouched, abs=1e-3
    )
    assert "not swept" not in "".join(result["sentences"])


def test_validation_rows_are_neither_trained_nor_judged_on(articles_file):
    chosen = settings(
        "--dataset", articles_file, "--max_examples", "2", "--validation_size", "3", "--quiet"
    )
    rows = {what: set(part["id"]) for what, part in load_rows(chosen).items()}
    assert set(rows) == {"train", "validation", "test"}
    assert sum(map(len, rows.values())) == len(set.union(*rows.values())) == 12


def test_a_best_rate_at_the_edge_is_said(swept, tiny_model_dir, tmp_path):
    out = tmp_path / "edge"
    run(
        out,
        tiny_model_dir,
        "--quiet",
        "--arms",
        "all",
        "--seeds",
        "1",
        "--max_steps",
        "4",
        "--sweep_share",
        "0.5",
        "--validation_size",
        "4",
        "--lr_sweep",
        "1e-6,1",
    )
    sentences = json.loads((out / "bakeoff.json").read_text())["sentences"]
    assert any("lowest or highest tried of all" in line for line in sentences)


@pytest.mark.parametrize("text", ["0,1", "a", "1,,2", "-1", "inf", "1,nan"])
def test_factors_are_positive_numbers(text):
    with pytest.raises(SystemExit):
        script.parse(["--lr_sweep", text])


@pytest.mark.parametrize("words", [
    ("--learning_rate", "0"), ("--learning_rate", "nan"), ("--full_learning_rate", "inf"),
    ("--full_learning_rate", "-1"), ("--alpha_over_r", "0"), ("--weight_decay", "-0.1"),
    ("--weight_decay", "nan"), ("--num_train_epochs", "0"), ("--max_steps", "0"),
    ("--warmup_steps", "nan"),
])  # fmt: skip
def test_numbers_that_cannot_be_trained_with_are_refused_in_one_line(words, refused):
    refused(script.parse, words)


@pytest.mark.parametrize(("words", "message"), [
    (("--arms", "all", "adalora", "--max_steps", "1"),
     "--arms adalora: .*expected 2 steps or more, got 1; raise --max_steps"),
    (("--arms", "adalora", "--max_steps", "4", "--lr_sweep", "1,2", "--validation_size", "2"),
     "got 1; raise .*--sweep_share"),
    (("--arms", "all", "--max_new_tokens", "310"), "--max_new_tokens 310: expected 29. at most"),
    (("--arms", "all", "late"), "--arms late: layer 11 is not in a model of 2 layers"),
    (("--arms", "all", "random", "--top_k", "3"), "--arms random: --top_k 3: expected 1 to 2"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_before_anything_is_trained(
    words, message, tiny_model_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(bakeoff, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", tiny_model_dir, "--quiet", "--seeds", "1", *words)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_trial_that_diverges_is_named(tiny_model_dir, tmp_path):
    with pytest.raises(InputError, match="arm all, seed 0: .*lower --learning_rate"):
        run(
            tmp_path / "out",
            tiny_model_dir,
            "--quiet",
            "--arms",
            "all",
            "--seeds",
            "1",
            "--learning_rate",
            "1e30",
            "--max_steps",
            "3",
        )


def test_an_interrupted_bake_off_goes_on_and_ends_as_an_uninterrupted_one(
    swept, tiny_model_dir, tmp_path, monkeypatch, capsys
):
    out, judge = tmp_path / "out", bakeoff.judge

    def die(settings, name, model, data):
        if name == "full":
            raise KeyboardInterrupt
        return judge(settings, name, model=model, data=data)

    words = [*SWEPT, "--lr_sweep", "1e-6,1,1e30"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bakeoff, "judge", die)
        run(out, tiny_model_dir, "--quiet", *words)
    assert (out / "full" / "seed-0" / "config.json").is_file() and not (
        out / "full" / "seed-0" / "metrics.json"
    ).exists()
    run(out, tiny_model_dir, *words, "--verbose")
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if "finished before" in line] == [
        "1/7 none, seed 0: finished before"
    ]
    for name in (
        "bakeoff.json",
        "all/seed-1/texts.jsonl",
        "full/sweep/metrics.json",
        "random/seed-1/adapter/adapter_model.safetensors",
    ):
        assert (out / name).read_bytes() == (swept / name).read_bytes(), name


# ---------------------------------------------------------------- arms that read a layers file


def test_observed_and_circuit_change_with_several_seeds_and_the_cost_of_their_choice(
    tiny_model_dir, tmp_path, capsys
):
    for stage, score in (
        ("differential", {"kl": [0.1, 0.9]}),
        ("evolution", {"after": [0.9, 0.1], "change": [0.9, 0.1]}),
    ):
        layers.write_layers(tmp_path / stage / f"layers.{stage}.json", stage, scores=score)
    write_record(
        tmp_path / "differential/run.differential_analysis.json",
        30.0,
        {"finetuned": tmp_path / "tuned/checkpoint-3"},
    )
    write_record(
        tmp_path / "evolution/run.analyze_circuit_evolution.json",
        7.0,
        {"checkpoint-3": tmp_path / "tuned/checkpoint-3"},
    )
    (tmp_path / "tuned" / "checkpoint-3").mkdir(parents=True)
    write_record(tmp_path / "tuned/run.run_finetuning_with_checkpoints.json", 200.0)
    files = {
        stage: str(tmp_path / stage / f"layers.{stage}.json")
        for stage in ("differential", "evolution")
    }
    out = tmp_path / "out"
    run(
        out,
        tiny_model_dir,
        "--arms",
        "all",
        "observed",
        "circuit-change",
        "--seeds",
        "2",
        "--layers_observed",
        files["differential"],
        "--layers_circuit",
        files["evolution"],
        "--verbose",
    )
    arms = json.loads((out / "bakeoff.json").read_text())["arms"]
    assert arms["observed"]["layers"] == [[1], [1]] and arms["circuit-change"]["layers"] == [
        [0, 1],
        [0, 1],
    ]
    for arm in arms.values():
        assert (
            arm["seeds"] == [0, 1]
            and len(arm["rouge1"]["seeds"]) == 2
            and arm["nll_nats"]["seeds"][0] != arm["nll_nats"]["seeds"][1]
        )
    ranks = json.loads((out / "circuit-change" / "seed-1" / "config.json").read_text())["ranks"]
    of_layer = [
        sum(rank for name, rank in ranks.items() if lora.layer_of(name) == layer)
        for layer in (0, 1)
    ]
    assert of_layer[0] > 1.5 * of_layer[1]
    assert (
        costs.seconds_behind(files["differential"]) == 30 + 200
        and costs.seconds_behind(files["evolution"]) == 7 + 200
    )
    table = capsys.readouterr().out.split("choice s  peak GB\n")[1].splitlines()[:3]
    cost = {line.split()[0]: line.split()[-2] for line in table}
    assert (cost["all"], cost["observed"], cost["circuit-change"]) == ("0", "230", "207")
    written = json.loads((out / "costs.json").read_text())["costs"]
    assert {name: entry["choice_seconds"] for name, entry in written.items()} == {
        "all": 0.0,
        "observed": 230.0,
        "circuit-change": 207.0,
    }
    assert all(
        entry["train_seconds"] > 0 and entry["peak_gb"] > 0 and entry["peak_of"]
        for entry in written.values()
    )
    run(
        out,
        tiny_model_dir,
        "--arms",
        "all",
        "observed",
        "circuit-change",
        "--seeds",
        "2",
        "--layers_observed",
        files["differential"],
        "--layers_circuit",
        files["evolution"],
    )
    assert "up to date" in capsys.readouterr().out


def write_record(path, seconds, inputs=(), **more):
    """A finished run record; inputs that start with hub: are Hub ids."""
    entries = {
        name: {"source": str(source).removeprefix("hub:"), "sha256": str(source)}
        | ({"commit": "c0ffee"} if str(source).startswith("hub:") else {})
        for name, source in dict(inputs).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    disk.write_json(
        path, {"format": 1, "complete": True, "duration_seconds": seconds, "inputs": entries} | more
    )


@pytest.fixture
def chain(tmp_path):
    """A layers file with all that led to it, in paths relative to the folder that the scripts ran
    in: 7 + 20 + 3 + 200 seconds.
    """
    root = tmp_path / "project"
    layers.write_layers(
        root / "out/evolution/layers.evolution.json", "evolution", scores={"after": [0.9, 0.1]}
    )
    write_record(
        root / "out/evolution/run.analyze_circuit_evolution.json",
        7.0,
        {
            "C": "out/C_step3.json",
            "examples": "out/C_step3.examples.safetensors",
            "training": "tuned/training.json",
        },
    )
    write_record(
        root / "out/C_step3.run.json",
        20.0,
        {"model": "tuned/checkpoint-3", "pairs": "data/pairs.jsonl"},
    )
    write_record(
        root / "data/pairs.run.json", 3.0, {"tokenizer": "hub:gpt2", "dataset": "mine.jsonl"}
    )
    write_record(
        root / "tuned/run.run_finetuning_with_checkpoints.json", 200.0, {"model": "hub:gpt2"}
    )
    (root / "tuned/checkpoint-3").mkdir()
    for name in (
        "out/C_step3.json",
        "out/C_step3.examples.safetensors",
        "tuned/training.json",
        "data/pairs.jsonl",
        "mine.jsonl",
    ):
        (root / name).touch()
    return root


LAYERS = "out/evolution/layers.evolution.json"


def test_the_seconds_behind_a_layers_file_are_the_same_from_any_folder(
    chain, tmp_path, monkeypatch
):
    write_record(
        chain / "gpt2/run.run_finetuning_with_checkpoints.json", 5000.0
    )  # the Hub id of the records is not this folder
    monkeypatch.chdir(chain)
    assert costs.seconds_behind(LAYERS) == 7 + 20 + 3 + 200
    monkeypatch.chdir(tmp_path)
    assert costs.seconds_behind(chain / LAYERS) == 7 + 20 + 3 + 200


@pytest.mark.parametrize(
    "lost",
    [
        "out/C_step3.run.json",
        "out/C_step3.json",
        "tuned/run.run_finetuning_with_checkpoints.json",
        "data/pairs.jsonl",
        "out/evolution/run.analyze_circuit_evolution.json",
    ],
)
def test_a_missing_link_leaves_no_cost_instead_of_a_small_one(chain, lost):
    (chain / lost).unlink()
    assert costs.seconds_behind(chain / LAYERS) is None


def test_an_unfinished_link_leaves_no_cost(chain):
    write_record(chain / "tuned/run.run_finetuning_with_checkpoints.json", 200.0, complete=False)
    assert costs.seconds_behind(chain / LAYERS) is None


def test_a_stage_that_shares_the_folder_and_a_fine_tuned_model_of_the_hub(tmp_path):
    layers.write_layers(tmp_path / "layers.differential.json", "differential", scores={"kl": [1.0]})
    (tmp_path / "tuned").mkdir()
    write_record(tmp_path / "run.differential_latents.json", 90.0)
    write_record(tmp_path / "tuned/run.run_finetuning_with_checkpoints.json", 200.0)
    write_record(
        tmp_path / "run.differential_analysis.json",
        30.0,
        {"base": "hub:gpt2", "finetuned": "tuned"},
    )
    assert costs.seconds_behind(tmp_path / "layers.differential.json") == 30 + 200
    write_record(
        tmp_path / "run.differential_analysis.json",
        30.0,
        {"base": "hub:gpt2", "finetuned": "hub:someone/tuned"},
    )
    assert (
        costs.seconds_behind(tmp_path / "layers.differential.json") is None
    )  # what that fine-tuning took is not known


def test_layers_files_without_records_have_no_known_cost(tmp_path):
    layers.write_layers(tmp_path / "layers.x.json", "x", scores={"a": [1.0]})
    assert costs.seconds_behind(tmp_path / "layers.x.json") is None


def test_costs_are_those_of_training_not_of_saving_and_judging(
    tiny_model_dir, tmp_path, monkeypatch
):
    happened = []

    def noting(name, function):
        return lambda *words, **named: (happened.append(name), function(*words, **named))[1]

    for owner, name in (
        (bakeoff, "train"),
        (bakeoff.PeakMemory, "gb"),
        (bakeoff, "keep"),
        (bakeoff, "judge"),
    ):
        monkeypatch.setattr(owner, name, noting(name, getattr(owner, name)))
    run(tmp_path / "out", tiny_model_dir, "--quiet", "--arms", "all", "--seeds", "1")
    assert happened == ["train", "gb", "keep", "judge"]


def test_an_arm_that_begins_anew_leaves_nothing_of_the_old_one_beside_the_new_configuration(
    tmp_path,
):
    for name in (
        "adapter/adapter_config.json",
        "model/config.json",
        "texts.jsonl",
        "metrics.json",
        "run.json",
        "config.json",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    bakeoff.begin(bakeoff.Trial(Arm("all"), 0, None, tmp_path, {"new": True}))
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert json.loads((tmp_path / "config.json").read_text()) == {"new": True}


def test_peak_memory_starts_anew():
    first = bakeoff.PeakMemory()
    torch.ones(30_000_000)  # 120 MB
    high = first.gb()
    second = bakeoff.PeakMemory()
    assert second.of == first.of
    if first.of == "the process, this arm":
        assert second.gb() < high - 0.1


def test_a_finished_arm_is_not_run_again_and_a_changed_one_only_with_overwrite(
    finished, tiny_model_dir, capsys, monkeypatch
):
    bytes_before = (finished / "bakeoff.json").read_bytes()
    (finished / "bakeoff.json").unlink()
    trained = []
    whole_run = bakeoff.run
    monkeypatch.setattr(
        bakeoff,
        "run",
        lambda settings, this, *more, **named: (
            trained.append(this.arm.name),
            whole_run(settings, this, *more, **named),
        ),
    )
    run(finished, tiny_model_dir, *ARMS, "--verbose")
    assert trained == []
    assert capsys.readouterr().out.count("finished before") == 7
    assert (finished / "bakeoff.json").read_bytes() == bytes_before
    with pytest.raises(InputError, match="--overwrite"):
        run(finished, tiny_model_dir, *ARMS, "--full_learning_rate", "3e-4")
    run(finished, tiny_model_dir, *ARMS, "--full_learning_rate", "3e-4", "--overwrite")
    assert trained == ["full"]
