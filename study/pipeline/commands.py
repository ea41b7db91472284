"""The command lines of a study, in order, and what they are called."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from study.pipeline.presets import PRESETS, SECONDS, Preset

EXTRACT = "extract_summarization_circuit.py"


@dataclass(frozen=True)
class Study:
    """A preset in a folder: where its results lie, and the words of each command."""

    preset: Preset
    out: Path

    # ---------------------------------------------------------------- what lies where

    @property
    def tuned(self) -> str:
        """The fine-tuning run's folder."""
        return str(self.out / "model_outputs" / "finetuned")

    @property
    def pairs(self) -> str:
        """Pairs for extraction."""
        return str(self.out / "data" / "pairs.jsonl")

    @property
    def held_out(self) -> str:
        """Pairs that no circuit is found on."""
        return str(self.out / "data" / "pairs_eval.jsonl")

    @property
    def before(self) -> str:
        """The base model's circuit."""
        return str(self.out / "C_before_summarization.json")

    @property
    def after(self) -> str:
        """The fine-tuned model's circuit."""
        return str(self.out / "C_after_summarization.json")

    @property
    def beside(self) -> str:
        """EAP-IG's circuit of the fine-tuned model."""
        return str(self.out / "C_after_EAP-IG.json")

    @property
    def circuits(self) -> str:
        """The folder of the checkpoints' circuits."""
        return str(self.out / "circuits")

    # ---------------------------------------------------------------- words of several commands

    @property
    def base(self) -> list[str]:
        """Of those that take the base model."""
        return ["--model_path", self.preset.model]

    @property
    def articles(self) -> list[str]:
        """Of those that read articles."""
        return ["--dataset", self.preset.dataset, *shlex.split(self.preset.articles)]

    @property
    def judged(self) -> list[str]:
        """Of those that run circuits on unseen pairs."""
        n_pairs = min(self.preset.judged, self.preset.pairs // 2)
        return ["--pairs", self.held_out, "--max_examples", str(n_pairs)]

    # ---------------------------------------------------------------- words of each command

    def pair_building(self) -> list[str]:
        n_pairs = str(self.preset.pairs)
        return [*self.articles, *self.base, "--max_examples", n_pairs, "--output", self.pairs]

    def training(self) -> list[str]:
        own = shlex.split(self.preset.training)
        return [*self.base, *self.articles, *own, "--output_dir", self.tuned]

    def extraction(self, model: str, circuit: str) -> list[str]:
        return ["--model_path", model, "--pairs", self.pairs, "--output", circuit]

    def extraction_by_secant(self, model: str, circuit: str) -> list[str]:
        return [*self.extraction(model, circuit), *shlex.split(self.preset.extract)]

    def extraction_by_eap_ig(self) -> list[str]:
        own = shlex.split(self.preset.beside)
        return [*self.extraction(self.tuned, self.beside), "--method", "EAP-IG-inputs", *own]

    def extraction_of_checkpoints(self) -> list[str]:
        words = ["--all_checkpoints", "--model_path", self.tuned, "--pairs", self.pairs]
        words += ["--max_examples", str(self.preset.trajectory), "--output_dir", self.circuits]
        return words + shlex.split(self.preset.extract)

    def evolution(self) -> list[str]:
        return ["--circuits", self.circuits, "--training", self.tuned, *self.judged]

    def two_models(self) -> list[str]:
        models = ["--base_model_path", self.preset.model, "--finetuned_model_path", self.tuned]
        return [*models, *self.articles, "--max_examples", str(self.preset.texts)]

    def faithfulness(self) -> list[str]:
        words = ["--circuit", self.after, "--model_path", self.tuned]
        words += ["--other_circuit", self.before, "--other_model_path", self.preset.model]
        words += ["--compare_circuit", self.beside, *self.judged]
        words += ["--n_random", str(self.preset.random_circuits)]
        return words + shlex.split(self.preset.faithful)

    def robustness(self) -> list[str]:
        words = ["--circuits", self.after, self.before, self.beside]
        words += ["--model_path", self.tuned, "--pairs", self.pairs]
        return [*words, "--levels", self.preset.levels, *shlex.split(self.preset.robust)]

    def quality(self) -> list[str]:
        models = ["--model_paths", self.preset.model, self.tuned]
        return [*models, *self.articles, "--max_examples", str(self.preset.test)]

    def bakeoff(self) -> list[str]:
        differential = self.out / "differential_analysis" / "layers.differential.json"
        evolution = self.out / "analyze_circuit_evolution" / "layers.evolution.json"
        layers = ["--layers_observed", str(differential), "--layers_circuit", str(evolution)]
        return [*self.base, *self.articles, *shlex.split(self.preset.arms), *layers]


def commands_of(preset: Preset, out: Path) -> list[list[str]]:
    """The command lines, script first, in order; every path lies in `out`."""
    study = Study(preset, out)
    lines = [
        ["create_causal_summarization_data.py", *study.pair_building()],
        ["run_finetuning_with_checkpoints.py", *study.training()],
        [EXTRACT, *study.extraction_by_secant(preset.model, study.before)],
        [EXTRACT, *study.extraction_by_secant(study.tuned, study.after)],
        [EXTRACT, *study.extraction_by_eap_ig()],
        [EXTRACT, *study.extraction_of_checkpoints()],
        ["analyze_circuit_evolution.py", *study.evolution()],
        ["differential_analysis.py", *study.two_models()],
        ["differential_analysis.py", "--run", study.tuned],
        ["evaluate_faithfulness.py", *study.faithfulness()],
        ["evaluate_robustness.py", *study.robustness()],
        ["test_set_evaluation.py", *study.quality()],
        ["run_peft_bakeoff.py", *study.bakeoff()],
        ["make_report.py", "--output_dir", str(out)],
    ]
    return [with_output_dir(line, out) for line in lines]


def with_output_dir(command: list[str], out: Path) -> list[str]:
    """The command with its stage's folder in `out` as --output_dir, if it writes into one."""
    one_circuit = command[0] == EXTRACT and "--output" in command
    if one_circuit or "--output_dir" in command:
        return command
    return [*command, "--output_dir", str(out / stage_of(command))]


def stage_of(command: list[str]) -> str:
    """The stage of a command: its script's name without .py."""
    return Path(command[0]).stem


def name_of(command: list[str]) -> str:
    """What a command is called in the list: its stage, and what tells it from its like."""
    script, *words = command
    stage = Path(script).stem
    if "--all_checkpoints" in words:
        return f"{stage}, all checkpoints"
    if script == EXTRACT:
        return f"{stage}, {Path(words[words.index('--output') + 1]).stem}"
    return f"{stage}, over the run" if "--run" in words else stage


def expected_seconds(preset_name: str, out: Path) -> dict[str, float]:
    """What each command of a preset took, by name; nothing for a preset that was not timed."""
    names = [name_of(command) for command in commands_of(PRESETS[preset_name], out)]
    return dict(zip(names, SECONDS.get(preset_name, ()), strict=False))


def look_first(commands: list[list[str]], out: Path) -> Path:
    """What the last of some commands wrote for people: the report, or its stage's folder."""
    last = commands[-1]
    if stage_of(last) == "make_report":
        return out / "report.html"
    return Path(last[last.index("--output_dir") + 1]) if "--output_dir" in last else out
