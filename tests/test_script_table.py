"""The table of scripts: what the README, run records, pipeline and costs take from it."""

import importlib

import pytest

from runs import records, scripts
from runs.records import ROOT

MARK = "| script | question |"


def parsed(name: str) -> dict:
    """{flag: its default} of a script."""
    return vars(importlib.import_module(name).parse([]))


def test_it_has_every_script():
    assert {script.file for script in scripts.SCRIPTS} == {path.name for path in ROOT.glob("*.py")}


def test_the_readmes_table_is_made_of_it():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(MARK))
    end = lines.index("", start)
    assert lines[start:end] == scripts.table()


@pytest.mark.parametrize("script", scripts.SCRIPTS, ids=lambda script: script.name)
def test_its_places_are_flags_and_no_path_is_forgotten(script):
    flags = parsed(script.name)
    assert set(script.places) <= flags.keys()
    for flag, value in flags.items():
        values = value if isinstance(value, list | tuple) else [value]
        words = [word for word in values if isinstance(word, str)]
        if any("/" in word or word.endswith((".json", ".jsonl")) for word in words):
            assert flag == "output_dir" or flag in script.places, flag


def test_a_moved_study_is_known_by_these_flags():
    assert {
        *("output_dir", "output", "dataset", "pairs", "circuit", "circuits", "other_circuit"),
        *("compare_circuit", "model_path", "model_paths", "base_model_path", "training", "run"),
        *("finetuned_model_path", "other_model_path", "layers_observed", "layers_circuit"),
    } == records.PLACES


def test_results_are_known_by_the_script_that_writes_them():
    assert scripts.maker_of("layers.evolution.json") == "analyze_circuit_evolution"
    assert scripts.maker_of("layers.differential.json") == "differential_analysis"
    assert scripts.maker_of("training.json") == "run_finetuning_with_checkpoints"
    assert scripts.maker_of("C_before_summarization.json") is None  # its record lies beside it
    results = [result for script in scripts.SCRIPTS for result in script.results]
    assert len(results) == len(set(results))


def test_the_pipelines_commands_are_in_its_order():
    from study.pipeline.commands import commands_of
    from study.pipeline.presets import PRESETS

    for preset in PRESETS.values():
        commands = [command[0] for command in commands_of(preset, ROOT / "out")]
        known = [f"{stage}.py" for stage in scripts.STAGES]
        assert sorted(set(commands), key=known.index) == list(dict.fromkeys(commands))


def test_every_section_of_the_report_is_of_a_script():
    from study.page import sections

    made_by = {section.json: section.command for section in sections.SECTIONS}
    assert set(made_by.values()) < {script.file for script in scripts.SCRIPTS}
    for script in scripts.SCRIPTS:
        for result in set(script.results) & made_by.keys():
            assert made_by[result] == script.file
