"""The whole study: every script in order, each command printed as one would type it.

A stage whose outputs are complete and whose inputs and arguments are unchanged says "up to date"; after an interruption the same
command goes on where it stopped. Any printed line can be pasted and run alone.

Reads   nothing but what the preset names: the embedded demo, or gpt2 and CNN/DailyMail from the Hub
Writes  one folder per stage in --output_dir, and report.html

    python run_pipeline.py --preset demo
"""

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from eap import InputError
from summarization import corpus, estimate, flags, hub, runs

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
PRESET = "demo"  # demo: 13 minutes on two cores; demo-full: 45 minutes; gpt2-cnn: the study; smoke: does everything run, 2 minutes
# --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preset:
    """What differs between presets. Sizes are numbers of examples; `model` and `dataset` as in every script."""

    model: str
    dataset: str
    pairs: int  # half for extraction, half for evaluation
    training: str  # flags of run_finetuning_with_checkpoints.py
    trajectory: int  # pairs per checkpoint in the evolution
    texts: int  # of the differential analysis
    test: int  # articles of the ROUGE table
    random_circuits: int
    levels: str  # of the perturbation curve
    arms: str  # flags of run_peft_bakeoff.py
    extract: str = ""  # further flags of the extraction
    faithful: str = ""  # and of the faithfulness
    robust: str = ""  # and of the robustness
    estimated: bool = False  # whether its hours are estimated before it starts


DEMO = Preset(
    model="demo",
    dataset="demo",
    pairs=96,
    training="--checkpoint_steps 0,10,30,70,150 --validation_size 64",  # the rest by the script's own settings for the demo
    trajectory=32,
    texts=48,
    test=100,
    random_circuits=10,
    levels=".1,.5,.9",
    arms="--arms all late paper observed circuit random --seeds 1 --max_steps 120 --max_examples 64",
    extract="--ig_steps 10",
    faithful="--cross_fractions .05,.2 --random_fractions .01,.05,.1",
    robust="--variants mask,swap:1,control,nll,EAP",
)
PRESETS = {
    "demo": DEMO,
    "demo-full": replace(
        DEMO,
        pairs=192,
        trajectory=48,
        texts=200,
        test=200,
        levels=".1,.2,.3,.4,.5,.6,.7,.8,.9",
        faithful="",
        robust="",
        arms="--arms none full all random late paper hybrid observed circuit circuit-change rslora dora adalora --seeds 3 "
        "--max_steps 100 --subset_train_size 400 --lr_sweep 0.3,1,3 --sweep_share 0.2",
    ),
    "gpt2-cnn": Preset(
        model="gpt2",
        dataset="abisee/cnn_dailymail",
        pairs=400,
        training="--subset_train_size 20000 --num_train_epochs 3 --per_device_train_batch_size 8 --learning_rate 5e-5",
        trajectory=100,
        texts=200,
        test=500,
        random_circuits=10,
        levels=".1,.2,.3,.4,.5,.6,.7,.8,.9",
        arms="--arms none full all random late paper hybrid observed circuit circuit-change --seeds 3 --num_train_epochs 1 "
        "--subset_train_size 20000 --max_examples 500 --max_new_tokens 100 --lr_sweep 0.3,1,3 --sweep_share 0.25",
        estimated=True,
    ),
    "smoke": replace(
        DEMO,
        pairs=8,
        training="--subset_train_size 32 --max_steps 4 --per_device_train_batch_size 8 --checkpoint_steps 0,2,4 "
        "--validation_size 8 --probe_examples 4",
        trajectory=4,
        texts=4,
        test=4,
        random_circuits=1,
        levels=".5",
        extract="--ig_steps 2",
        arms="--arms all paper random --seeds 1 --max_steps 2 --subset_train_size 32 --per_device_train_batch_size 8 --max_examples 4",
    ),
}


def commands(preset: Preset, out: Path) -> list[list[str]]:
    """The command lines, script first, in order; every path lies in `out`."""

    def at(*parts: str) -> str:
        return shlex.quote(str(out.joinpath(*parts)))

    tuned, pairs, held_out = (
        at("model_outputs", "finetuned"),
        at("data", "pairs.jsonl"),
        at("data", "pairs_eval.jsonl"),
    )
    before, after, circuits = (
        at("C_before_summarization.json"),
        at("C_after_summarization.json"),
        at("circuits"),
    )
    half = preset.pairs // 2
    lines = [
        f"create_causal_summarization_data.py --dataset {preset.dataset} --model_path {preset.model} --max_examples {preset.pairs} "
        f"--output {pairs}",
        f"run_finetuning_with_checkpoints.py --model_path {preset.model} --dataset {preset.dataset} {preset.training} --output_dir {tuned}",
        f"extract_summarization_circuit.py --model_path {preset.model} --pairs {pairs} --output {before} {preset.extract}",
        f"extract_summarization_circuit.py --model_path {tuned} --pairs {pairs} --output {after} {preset.extract}",
        f"extract_summarization_circuit.py --all_checkpoints --model_path {tuned} --pairs {pairs} --max_examples {preset.trajectory} "
        f"--output_dir {circuits} {preset.extract}",
        f"analyze_circuit_evolution.py --circuits {circuits} --training {tuned} --pairs {held_out} --max_examples {preset.trajectory}",
        f"differential_analysis.py --base_model_path {preset.model} --finetuned_model_path {tuned} --dataset {preset.dataset} "
        f"--max_examples {preset.texts}",
        f"differential_analysis.py --run {tuned}",
        f"evaluate_faithfulness.py --circuit {after} --model_path {tuned} --other_circuit {before} --other_model_path {preset.model} "
        f"--pairs {held_out} --max_examples {min(preset.trajectory, half)} --n_random {preset.random_circuits} {preset.faithful}",
        f"evaluate_robustness.py --circuits {after} {before} --model_path {tuned} --pairs {pairs} --max_examples {preset.trajectory} "
        f"--levels {preset.levels} {preset.robust}",
        f"test_set_evaluation.py --model_paths {preset.model} {tuned} --dataset {preset.dataset} --max_examples {preset.test}",
        f"run_peft_bakeoff.py --model_path {preset.model} --dataset {preset.dataset} {preset.arms} "
        f"--layers_observed {at('differential_analysis', 'layers.differential.json')} "
        f"--layers_circuit {at('analyze_circuit_evolution', 'layers.evolution.json')}",
        f"make_report.py --output_dir {at()}",
    ]
    return [with_output_dir(shlex.split(line), out) for line in lines]


def with_output_dir(command: list[str], out: Path) -> list[str]:
    """The command with its stage's folder in `out` as --output_dir, unless it names one."""
    return (
        command
        if "--output_dir" in command
        else [*command, "--output_dir", str(out / Path(command[0]).stem)]
    )


STAGES = (
    "create_causal_summarization_data",
    "run_finetuning_with_checkpoints",
    "extract_summarization_circuit",
    "analyze_circuit_evolution",
    "differential_analysis",
    "evaluate_faithfulness",
    "evaluate_robustness",
    "test_set_evaluation",
    "run_peft_bakeoff",
    "make_report",
)


# ---------------------------------------------------------------- how long it takes

CHECKPOINTS, VALIDATION = (
    10,
    200,
)  # of the training's schedule, where a preset leaves its script's defaults
PASSES_PER_EXTRACTION = 1.25 * (
    5 * 2 + 2
)  # five points of forward and backward, two plain runs, benchmarks/attribution.py's overhead
PASSES_PER_CIRCUIT = (
    1.5  # a circuit's run on average, in plain forward passes (benchmarks/evaluation.py)
)
SIZES = 10  # circuits on a curve of faithfulness: the circuit's own, its control's, and the three of the two circuits in the two models
NULL_SIZES = 4  # sizes at which it stands beside its complement and two kinds of random circuits
VARIANTS = 10  # other ways of extracting, in the robustness


def workload(preset: Preset) -> dict[str, estimate.Work]:
    """What the stages that take long train on, read and summarize, by stage; a backward pass on frozen weights counts as a forward one."""
    training, arms = values_of(preset.training), values_of(preset.arms)
    half, levels = preset.pairs // 2, len(preset.levels.split(","))
    trained_arms, seeds, test = (
        len(arms["arms"]) - ("none" in arms["arms"]),
        int(arms["seeds"][0]),
        int(arms["max_examples"][0]),
    )
    per_run = int(arms["subset_train_size"][0]) * float(arms["num_train_epochs"][0])
    factors = len(arms["lr_sweep"][0].split(","))
    judged = trained_arms * seeds + ("none" in arms["arms"])
    return {
        "run_finetuning_with_checkpoints": estimate.Work(
            train=int(training["subset_train_size"][0]) * float(training["num_train_epochs"][0]),
            read=CHECKPOINTS * VALIDATION,
        ),
        "extract_summarization_circuit": estimate.Work(
            read=PASSES_PER_EXTRACTION * (2 * half + CHECKPOINTS * preset.trajectory)
        ),
        "evaluate_faithfulness": estimate.Work(
            read=PASSES_PER_CIRCUIT
            * min(preset.trajectory, half)
            * (5 * SIZES + NULL_SIZES * (1 + 2 * preset.random_circuits))
        ),
        "evaluate_robustness": estimate.Work(
            read=PASSES_PER_EXTRACTION * preset.trajectory * (1 + levels + VARIANTS)
        ),
        "test_set_evaluation": estimate.Work(read=2 * preset.test, write=2 * preset.test),
        "run_peft_bakeoff": estimate.Work(
            train=trained_arms * per_run * (seeds + factors * float(arms["sweep_share"][0])),
            read=judged * test + trained_arms * factors * VALIDATION,
            write=judged * test,
        ),
    }


def values_of(words: str) -> dict[str, list[str]]:
    """{flag without its dashes: its values} of a preset's flags."""
    return {
        name: values for name, *values in (part.split() for part in f" {words}".split(" --")[1:])
    }


def say_estimate(args, preset: Preset, wanted) -> None:
    """Print how many hours the wanted stages of a preset will take, after a timing of under a minute."""
    new_tokens = int(values_of(preset.arms)["max_new_tokens"][0])
    work = {stage: amount for stage, amount in workload(preset).items() if stage in wanted}
    if work:
        unit = estimate.measure(args, new_tokens)
        print(
            "\n".join(estimate.lines(work, unit, runs.torch_device(args), new_tokens)), flush=True
        )


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, None)
    parser.add_argument("--output_dir", help="folder of everything (default: outputs/<preset>)")
    parser.add_argument(
        "--preset", default=PRESET, choices=list(PRESETS), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--from",
        dest="first",
        default=STAGES[0],
        metavar="STAGE",
        help="first stage: a script's name without .py",
    )
    parser.add_argument("--to", dest="last", default=STAGES[-1], metavar="STAGE", help="last stage")
    parser.add_argument("--dry_run", action="store_true", help="print the commands only")
    args = parser.parse_args(argv)
    for flag, stage in (("--from", args.first), ("--to", args.last)):
        if stage not in STAGES:
            raise InputError(f"{flag} {stage}: expected a stage of {', '.join(STAGES)}")
    if STAGES.index(args.first) > STAGES.index(args.last):
        raise InputError(
            f"--from {args.first} --to {args.last}: expected the first stage before the last; swap them"
        )
    return args


def passed_on(args) -> list[str]:
    """The common flags that were given, for every script."""
    values = {
        "--seed": args.seed or None,
        "--device": None if args.device == "auto" else args.device,
        "--batch_size": args.batch_size,
        "--dtype": None if args.dtype == "float32" else args.dtype,
        "--max_examples": args.max_examples,
    }
    switches = [flag for flag in ("overwrite", "quiet", "verbose") if getattr(args, flag)]
    return [
        word for flag, value in values.items() if value is not None for word in (flag, str(value))
    ] + [f"--{flag}" for flag in switches]


def main(argv=None):
    """Run the stages."""
    args = parse(argv)
    out = Path(args.output_dir or Path("outputs") / args.preset)
    wanted = STAGES[STAGES.index(args.first) : STAGES.index(args.last) + 1]
    chosen = [
        command
        for command in commands(PRESETS[args.preset], out)
        if Path(command[0]).stem in wanted
    ]
    here, python = Path.cwd(), Path(sys.executable)
    shown = str(python.relative_to(here)) if python.is_relative_to(here) else str(python)
    if PRESETS[args.preset].estimated and not args.dry_run:
        try:
            hub.resolve_model(PRESETS[args.preset].model, weights=False)
            corpus.resolve(PRESETS[args.preset].dataset)
        except hub.NotGiven as error:
            raise InputError(
                f"--preset {args.preset}: expected what it needs of the Hugging Face Hub, got for "
                f"{error.short}; or use --preset demo"
            ) from error
        say_estimate(args, PRESETS[args.preset], wanted)
    started = time.time()
    for number, (script, *words) in enumerate(chosen, 1):
        path = os.path.relpath(runs.ROOT / script)
        line = shlex.join([shown, path, *words, *passed_on(args)])
        print(
            f"\n[{number}/{len(chosen)}, {(time.time() - started) / 60:.1f} min] {line}"
            if not args.dry_run
            else line,
            flush=True,
        )
        if not args.dry_run and (
            code := subprocess.run([sys.executable, path, *words, *passed_on(args)]).returncode
        ):
            print(
                f"{Path(__file__).name}: {script} ended with code {code}; mend the cause and run the same command: it goes on from here",
                file=sys.stderr,
            )
            sys.exit(code)
    if not args.dry_run:
        print(
            f"\nDone in {(time.time() - started) / 60:.1f} minutes. Everything is in {out}; look first at {out / 'report.html'}"
        )


if __name__ == "__main__":
    runs.run_script(main)
