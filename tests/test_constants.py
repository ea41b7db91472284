"""The constants at every script's top, set to wrong values of each kind: one line, exit code 2."""

import ast
import importlib
import math

import pytest

from eap import InputError, methods, metrics, models, selection
from runs import devices, flags
from runs.records import ROOT

SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py"))

# What follows says what the constants mean, apart from the code that checks them.
NAMES = {  # any text will do as far as can be told without looking
    "ARTICLE_COLUMN",
    "BASE_MODEL_PATH",
    "CIRCUIT",
    "DATASET",
    "FINETUNED_MODEL_PATH",
    "INSTRUCTION",
    "LAYERS_CIRCUIT",
    "LAYERS_OBSERVED",
    "LR_SCHEDULER_TYPE",
    "MASK_TEXT",
    "MEASURE_CHANGE",
    "MEASURE_CIRCUIT",
    "MEASURE_OBSERVED",
    "MODEL_PATH",
    "OPTIM",
    "OUTPUT",
    "OUTPUT_DIR",
    "PAIRS",
    "RUN",
    "SPLIT",
    "SUMMARY_COLUMN",
    "TRAINING",
}
WORD_OR_NUMBER = {"BATCH_SIZE", "BUDGET", "IG_STEPS", "MAX_EXAMPLES", "MAX_MEMORY"}
SHARES = {
    "ADAM_BETA1",
    "ADAM_BETA2",
    "EVAL_FRACTION",
    "FRACTION",
    "LABEL_SMOOTHING_FACTOR",
    "SWEEP_SHARE",
    "UNTIL_STABLE",
}
NONE_IS_ZERO = {  # 0 has a meaning: none, or no limit
    "ADAM_BETA1",
    "ADAM_BETA2",
    "ADAM_EPSILON",
    "DATALOADER_NUM_WORKERS",
    "EARLY_STOPPING_PATIENCE",
    "EVAL_FRACTION",
    "EXACT_TOP",
    "EXAMPLES",
    "LABEL_SMOOTHING_FACTOR",
    "LEARNING_RATE",
    "MAX_GRAD_NORM",
    "MAX_LENGTH",
    "MIN_NEW_TOKENS",
    "N_RANDOM",
    "PROBE_EXAMPLES",
    "RESAMPLES",
    "SEED",
    "UNTIL_STABLE",
    "WARMUP_STEPS",
    "WEIGHT_DECAY",
}
ZERO_IS_NONE_ELSEWHERE = {  # but not in these scripts
    ("evaluate_faithfulness", "RESAMPLES"),
    ("evaluate_robustness", "RESAMPLES"),
    ("run_peft_bakeoff", "LEARNING_RATE"),
}
NO_NUMBER = (None, True, "many", [], math.nan, math.inf, -2)


def constants(name):
    """{name: value} of every constant in a script's fenced block."""
    text = (ROOT / f"{name}.py").read_text()
    lines = text.split("\n")
    first, last = [number for number, line in enumerate(lines, 1) if line.startswith("# ----")][:2]
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and first < node.lineno < last
    }


def wrong_values(script, constant, value):
    """Values of each kind that the constant cannot have."""
    if isinstance(value, bool):
        return (None, "no", 1, [])
    if constant in WORD_OR_NUMBER:
        return (*NO_NUMBER, 0, 4.5) if constant != "MAX_MEMORY" else (*NO_NUMBER, 0)
    if isinstance(value, int | float):
        none = constant in NONE_IS_ZERO and (script, constant) not in ZERO_IS_NONE_ELSEWHERE
        wrong = NO_NUMBER + (() if none else (0,))
        if isinstance(value, int):
            wrong += (4.5, "4.5")
        if constant in SHARES:
            wrong += (2, 1.01)
        return wrong + ((2**32,) if constant == "SEED" else ())
    if isinstance(value, list | tuple):
        return (None, 5, {}, [5], [None], [""], *([[]] if value else []))
    if constant in NAMES:
        no_file = (".", "/") if constant == "OUTPUT" else ()
        return (None, 5, True, [], *([""] if value else []), *no_file)
    return (None, "", "nonsense", [], True, -1, {}, ["nonsense"])  # a choice, or several


def cases():
    """(script, constant, its wrong values) of every constant but the demo's own defaults."""
    for script in SCRIPTS:
        for constant, value in constants(script).items():
            if not isinstance(value, dict):
                yield script, constant, wrong_values(script, constant, value)


def refusal(parse, capsys, value=None) -> str:
    """The one line with which `parse` ends the script with exit code 2."""
    try:
        parse([])
    except SystemExit as stop:
        assert stop.code == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
    except InputError as error:  # run_script makes one line and exit code 2 of it
        line = str(error)
    else:
        pytest.fail(f"{value!r} was not refused")
    return line


@pytest.mark.parametrize(("name", "constant", "wrong"), [
    pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in cases()
])  # fmt: skip
def test_a_wrong_constant_is_one_line_that_names_it(name, constant, wrong, monkeypatch, capsys):
    script = importlib.import_module(name)
    for value in wrong:
        monkeypatch.setattr(script, constant, value)
        line = refusal(script.parse, capsys, value)
        assert constant in line or f"--{constant.lower()}" in line, line


@pytest.mark.parametrize("name", [name for name in SCRIPTS if "DEMO" in constants(name)])
@pytest.mark.parametrize("wrong", [None, [], "many", -2])
def test_the_demos_own_defaults_go_through_the_same_checks(name, wrong, monkeypatch, capsys):
    script = importlib.import_module(name)
    for flag in constants(name)["DEMO"]:
        monkeypatch.setattr(script, "DEMO", script.DEMO | {flag: wrong})
        line = refusal(lambda _: script.parse(["--dataset", "demo"]), capsys)
        assert f"DEMO['{flag}']" in line
        monkeypatch.undo()
    monkeypatch.setattr(script, "DEMO", script.DEMO | {"subset_size": 4})
    assert "subset_size" in refusal(lambda _: script.parse(["--dataset", "demo"]), capsys)


@pytest.mark.parametrize(("name", "constant", "value", "meant"), [
    ("test_set_evaluation", "MODEL_PATHS", "gpt2", ["gpt2"]),
    ("analyze_circuit_evolution", "CIRCUITS", "outputs/circuits", ["outputs/circuits"]),
    ("run_peft_bakeoff", "BUDGET", 1000, "1000"),
    ("run_peft_bakeoff", "LR_SWEEP", [0.5, 1], [0.5, 1.0]),
    ("run_peft_bakeoff", "BATCH_SIZE", 4, 4),
    ("evaluate_faithfulness", "FRACTIONS", (0.5, 0.1), [0.1, 0.5]),
    ("evaluate_faithfulness", "METRICS", ["nll"], ["nll"]),
    ("extract_summarization_circuit", "IG_STEPS", "auto", "auto"),
    ("extract_summarization_circuit", "MAX_MEMORY", 16, 16.0),
    ("extract_summarization_circuit", "ABSOLUTE", False, False),
    ("run_peft_bakeoff", "TF32", False, False),
    ("create_causal_summarization_data", "MAX_EXAMPLES", "all", None),
    ("run_finetuning_with_checkpoints", "NUM_TRAIN_EPOCHS", 2, 2.0),
    ("run_finetuning_with_checkpoints", "LEARNING_RATE", "1e-4", 1e-4),
])  # fmt: skip
def test_a_constant_means_what_its_flag_means_whatever_its_type(
    name, constant, value, meant, monkeypatch
):
    script = importlib.import_module(name)
    monkeypatch.setattr(script, constant, value)
    given = getattr(script.parse([]), constant.lower())
    assert given == meant and type(given) is type(meant)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "run_pipeline"])
def test_every_constant_has_a_flag_and_every_size_a_constant(name):
    given, in_file = vars(importlib.import_module(name).parse([])), constants(name)
    assert {constant.lower() for constant in in_file} - {"demo"} <= given.keys()
    numbers = {flag for flag, value in given.items() if type(value) in (int, float)}
    shared = {"seed"} if name == "make_report" else set()  # it takes the flags that all have
    assert numbers - shared <= {constant.lower() for constant in in_file}


def test_the_studys_sizes_are_the_defaults_and_all_takes_everything():
    sizes = {
        "create_causal_summarization_data": 400,
        "differential_analysis": 200,
        "test_set_evaluation": 500,
        "run_peft_bakeoff": 500,
        "extract_summarization_circuit": None,
        "evaluate_faithfulness": None,
    }
    for name, size in sizes.items():
        parse = importlib.import_module(name).parse
        assert parse([]).max_examples == size
        assert parse(["--max_examples", "all"]).max_examples is None


def test_the_names_that_flags_offer_are_those_that_eap_has():
    assert set(flags.METHODS) == set(methods.METHODS)
    known = methods.METHODS.items()
    assert set(flags.STEPPED) == {name for name, method in known if method.stepped}
    assert set(flags.QUADRATURE) == {name for name, method in known if method.quadrature}
    assert set(flags.RULES) == set(methods.RULES)
    assert set(flags.ABLATIONS) == set(methods.ABLATIONS)
    assert set(flags.METRICS) == set(metrics.METRICS)
    assert metrics.UNITS.keys() == metrics.METRICS.keys()
    assert set(flags.SELECTIONS) == set(selection.SELECTIONS)
    assert set(flags.RANKS) == set(selection.RANKS)
    assert flags.KV == models.KV


@pytest.mark.parametrize("flag", ["optim", "lr_scheduler_type"])
def test_a_name_that_only_trainer_knows_to_be_wrong_is_one_line(flag, tmp_path):
    from summarization import training

    script = importlib.import_module("run_finetuning_with_checkpoints")
    args = script.parse([f"--{flag}", "nonsense", "--device", "cpu"])
    with pytest.raises(InputError, match="nonsense") as refused:
        training.settings(
            tmp_path,
            0,
            device=devices.Device("cpu"),
            gradient_checkpointing=False,
            **training.options_of(vars(args)),
        )
    assert "\n" not in str(refused.value)
