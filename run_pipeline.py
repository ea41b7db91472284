"""The whole study: every script in order, as a list of stages with state, time and estimate.

A stage whose outputs are complete and whose inputs and arguments are unchanged is "up to date";
after an interruption the same command goes on where it stopped. Each command stands in commands.sh,
as one would type it, and can be pasted and run alone.

Reads   what the preset names, or --model_path and --dataset: the embedded demo, or a model and a
        data set of the Hub; a file of articles is split into three first, in --output_dir
Writes  one folder per stage in --output_dir, and report.html; commands.sh, pipeline.log: what the
        commands print (with --verbose they print it themselves)

    python run_pipeline.py --preset demo
    python run_pipeline.py --preset smollm2-local --dataset articles.jsonl
"""

import ctypes
import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from eap import InputError
from runs import console, devices, disk, flags, forecast, hub, progress, records, scripts, stages
from study import estimate
from summarization import corpus, splits

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
# demo: under 20 minutes on two cores; demo-full: larger; smoke: does everything run, 3 minutes;
# smollm2-local: a real model on your articles, reckoned at an hour on two cores, not timed yet;
# gpt2-cnn, smollm2-cnn and pythia-cnn: the study, with a network and a GPU
PRESET = "demo"
OUTPUT_DIR = "outputs/<preset>"  # folder of everything; <preset> stands for its name
# --------------------------------------------------------------------------------------------

COMMANDS, LOG = "commands.sh", "pipeline.log"  # in OUTPUT_DIR: each command, and what all print
# What each command of a preset took on two cores, in seconds: for the list of stages.
SECONDS = {"demo": (7, 169, 64, 30, 67, 125, 33, 16, 5, 118, 117, 19, 180, 13)}
HANDED_ON = (  # to every script, if given
    "seed",
    "device",
    "batch_size",
    "dtype",
    "max_examples",
    "figure_format",
    "figure_width",
)
ARTICLE_FLAGS = ("article_column", "summary_column", "prompt", "instruction", "max_length")


@dataclass(frozen=True)
class Preset:
    """What differs between presets. Sizes are numbers of examples; `model` and `dataset` as in
    every script.
    """

    model: str
    dataset: str
    pairs: int  # half for extraction, half for evaluation
    training: str  # flags of run_finetuning_with_checkpoints.py
    trajectory: int  # pairs per checkpoint at most, and of the robustness
    judged: int  # unseen pairs on which circuits are run
    texts: int  # of the differential analysis
    test: int  # articles of the ROUGE table
    random_circuits: int
    levels: str  # of the perturbation curve
    arms: str  # flags of run_peft_bakeoff.py
    extract: str = ""  # further flags of the extraction
    beside: str = ""  # and of EAP-IG's circuit of the fine-tuned model, which stands beside
    faithful: str = ""  # and of the faithfulness
    robust: str = ""  # and of the robustness
    articles: str = ""  # and of every script that reads articles
    estimated: bool = False  # whether its hours are estimated before it starts


DEMO = Preset(
    model="demo",
    dataset="demo",
    pairs=640,
    training="--checkpoint_steps 0,10,30,70,150 --validation_size 64",  # the rest by the script's own settings for the demo
    trajectory=160,
    judged=32,
    texts=48,
    test=100,
    random_circuits=10,
    levels=".1,.5,.9",
    arms="--arms all late paper observed circuit random --seeds 1 --max_steps 120 --max_examples 64",
    extract="--method secant --until_stable --fraction .02",
    beside="--fraction .02 --max_examples 160",
    faithful="--cross_fractions .05,.2 --random_fractions .01,.05,.1",
    robust="--variants mask,swap:1,control,nll,EAP-IG-inputs,EAP --max_examples 64",
)
GPT2_CNN = Preset(
    model="gpt2",
    dataset="abisee/cnn_dailymail",
    pairs=400,
    training="--subset_train_size 20000 --num_train_epochs 3 --per_device_train_batch_size 8 --learning_rate 5e-5",
    trajectory=200,
    judged=100,
    extract="--method secant --until_stable",
    robust="--max_examples 100",
    texts=200,
    test=500,
    random_circuits=10,
    levels=".1,.2,.3,.4,.5,.6,.7,.8,.9",
    arms="--arms none full all random late paper hybrid observed circuit circuit-change --seeds 3 --num_train_epochs 1 "
    "--subset_train_size 20000 --max_examples 500 --max_new_tokens 100 --lr_sweep 0.3,1,3 --sweep_share 0.25",
    estimated=True,
)
# Sizes of circuits: real models have no small faithful ones (docs/real_model.md).
LARGE = ".01,.02,.05,.1,.2,.4,.6,.8,1"
PRESETS = {
    "demo": DEMO,
    "demo-full": replace(
        DEMO,
        pairs=960,
        trajectory=320,
        judged=48,
        beside="--fraction .02 --max_examples 320",
        texts=200,
        test=200,
        levels=".1,.2,.3,.4,.5,.6,.7,.8,.9",
        faithful="",
        robust="--max_examples 96",
        arms="--arms none full all random late paper hybrid observed circuit circuit-change rslora dora adalora --seeds 3 "
        "--max_steps 100 --subset_train_size 400 --lr_sweep 0.3,1,3 --sweep_share 0.2",
    ),
    "gpt2-cnn": GPT2_CNN,
    "pythia-cnn": replace(GPT2_CNN, model="EleutherAI/pythia-160m", articles="--max_length 1024"),
    "smollm2-cnn": replace(
        GPT2_CNN,
        model="HuggingFaceTB/SmolLM2-135M-Instruct",
        articles="--max_length 1024",
        faithful=f"--fractions {LARGE} --random_fractions .05,.2,.4,.6",
        arms="--arms none full all random observed circuit circuit-change --seeds 3 --top_k 8 "
        "--num_train_epochs 1 --subset_train_size 20000 --max_examples 500 --max_new_tokens 100 "
        "--lr_sweep 0.3,1,3 --sweep_share 0.25",
    ),
    "smollm2-local": Preset(
        model="smollm2",
        dataset="demo",  # until --dataset names your articles
        pairs=96,
        training="--subset_train_size 64 --max_steps 24 --per_device_train_batch_size 4 "
        "--learning_rate 3e-5 --checkpoint_steps 0,6,24 --validation_size 16 --probe_examples 8 "
        "--train_sampling_strategy random",
        trajectory=16,
        judged=16,
        extract="--method secant --fraction .05",
        beside="--fraction .05 --max_examples 24",
        faithful=f"--fractions {LARGE} --random_fractions .05,.4 --cross_fractions .05,.4 "
        "--metrics kl",
        robust="--variants mask,swap:1,control,nll,EAP-IG-inputs --max_examples 8",
        texts=16,
        test=16,
        random_circuits=3,
        levels=".5",
        arms="--arms none all circuit random --seeds 1 --max_steps 16 --subset_train_size 64 "
        "--per_device_train_batch_size 4 --learning_rate 5e-4 --lr_sweep none --top_k 8 "
        "--max_examples 16 --max_new_tokens 80",
        articles="--max_length 288",
    ),
    "smoke": replace(
        DEMO,
        pairs=8,
        training="--subset_train_size 32 --max_steps 4 --per_device_train_batch_size 8 --checkpoint_steps 0,2,4 "
        "--validation_size 8 --probe_examples 4",
        trajectory=4,
        judged=4,
        texts=4,
        test=4,
        random_circuits=1,
        levels=".5",
        extract="--method secant",
        beside="--ig_steps 2",
        robust="--variants mask,swap:1,control,nll,EAP-IG-inputs,EAP --max_examples 4",
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
    beside = at("C_after_EAP-IG.json")
    judged = min(preset.judged, preset.pairs // 2)
    data = f"--dataset {shlex.quote(preset.dataset)} {preset.articles}".strip()
    model = shlex.quote(preset.model)
    lines = [
        f"create_causal_summarization_data.py {data} --model_path {model} --max_examples {preset.pairs} "
        f"--output {pairs}",
        f"run_finetuning_with_checkpoints.py --model_path {model} {data} {preset.training} --output_dir {tuned}",
        f"extract_summarization_circuit.py --model_path {model} --pairs {pairs} --output {before} {preset.extract}",
        f"extract_summarization_circuit.py --model_path {tuned} --pairs {pairs} --output {after} {preset.extract}",
        f"extract_summarization_circuit.py --model_path {tuned} --pairs {pairs} --output {beside} --method EAP-IG-inputs {preset.beside}",
        f"extract_summarization_circuit.py --all_checkpoints --model_path {tuned} --pairs {pairs} --max_examples {preset.trajectory} "
        f"--output_dir {circuits} {preset.extract}",
        f"analyze_circuit_evolution.py --circuits {circuits} --training {tuned} --pairs {held_out} --max_examples {judged}",
        f"differential_analysis.py --base_model_path {model} --finetuned_model_path {tuned} {data} "
        f"--max_examples {preset.texts}",
        f"differential_analysis.py --run {tuned}",
        f"evaluate_faithfulness.py --circuit {after} --model_path {tuned} --other_circuit {before} --other_model_path {model} "
        f"--compare_circuit {beside} --pairs {held_out} --max_examples {judged} --n_random {preset.random_circuits} {preset.faithful}",
        f"evaluate_robustness.py --circuits {after} {before} {beside} --model_path {tuned} --pairs {pairs} "
        f"--levels {preset.levels} {preset.robust}",
        f"test_set_evaluation.py --model_paths {model} {tuned} {data} --max_examples {preset.test}",
        f"run_peft_bakeoff.py --model_path {model} {data} {preset.arms} "
        f"--layers_observed {at('differential_analysis', 'layers.differential.json')} "
        f"--layers_circuit {at('analyze_circuit_evolution', 'layers.evolution.json')}",
        f"make_report.py --output_dir {at()}",
    ]
    return [with_output_dir(shlex.split(line), out) for line in lines]


def with_output_dir(command: list[str], out: Path) -> list[str]:
    """The command with its stage's folder in `out` as --output_dir, if it writes into one."""
    one_circuit = command[0] == "extract_summarization_circuit.py" and "--output" in command
    if one_circuit or "--output_dir" in command:
        return command
    return [*command, "--output_dir", str(out / Path(command[0]).stem)]


# ---------------------------------------------------------------- how long it takes

CHECKPOINTS, VALIDATION = (
    10,
    200,
)  # of the training's schedule, where a preset leaves its script's defaults
# Forward and backward passes a pair, times what benchmarks/attribution.py measures over them:
# secant's two plain runs and one backward pass; EAP-IG's five points of both, and two plain runs.
SECANT_PASSES, EAP_IG_PASSES = 1.8 * 3, 1.25 * (5 * 2 + 2)
PASSES_PER_CIRCUIT = (
    1.5  # a circuit's run on average, in plain forward passes (benchmarks/evaluation.py)
)
SIZES = 10  # circuits on a curve of faithfulness: the circuit's own, its control's, the other method's, the other circuit's in two models
NULL_SIZES = 4  # sizes at which it stands beside its complement and two kinds of random circuits
VARIANTS = 10  # other ways of extracting, in the robustness


def limited(preset: Preset, max_examples: str | None) -> Preset:
    """The preset as `--max_examples` changes it, which every command is given."""
    if max_examples in (None, "all"):
        return preset
    n = int(max_examples)
    return replace(
        preset,
        pairs=n,
        training=with_value(preset.training, "subset_train_size", n),
        trajectory=min(n, n // 2),
        judged=min(n, n // 2),
        beside=f"{preset.beside} --max_examples {n}",
        robust=f"{preset.robust} --max_examples {n}",
        texts=n,
        test=n,
        arms=with_value(preset.arms, "max_examples", str(n)),
    )


def with_value(words: str, flag: str, most) -> str:
    """A preset's flags with a number of at most `most` for one of them; a text replaces it."""
    given = values_of(words)[flag][0]
    value = most if isinstance(most, str) else min(most, int(given))
    return words.replace(f"--{flag} {given}", f"--{flag} {value}")


def workload(preset: Preset, left: dict[str, float] | None = None) -> dict[str, estimate.Work]:
    """What the stages that take long train on, read and summarize, by stage.

    A backward pass on frozen weights counts as a forward one. `left` is the share of each stage
    that is not done yet: of the extraction, of its four commands.
    """
    shares = left or {}
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
    judged_on = min(preset.judged, half)
    by_secant = (
        half * shares.get("before", 1)
        + half * shares.get("after", 1)
        + CHECKPOINTS * min(preset.trajectory, half) * shares.get("checkpoints", 1)
    )
    extraction = SECANT_PASSES * by_secant + EAP_IG_PASSES * half * shares.get("beside", 1)
    again = min(int(values_of(preset.robust)["max_examples"][-1]), half)
    whole = {
        "run_finetuning_with_checkpoints": estimate.Work(
            train=int(training["subset_train_size"][0]) * float(training["num_train_epochs"][0]),
            read=CHECKPOINTS * VALIDATION,
        ),
        "extract_summarization_circuit": estimate.Work(read=extraction),
        "evaluate_faithfulness": estimate.Work(
            read=PASSES_PER_CIRCUIT
            * judged_on
            * (6 * SIZES + NULL_SIZES * (1 + 2 * preset.random_circuits))
        ),
        "evaluate_robustness": estimate.Work(
            read=again * (SECANT_PASSES * (1 + levels + VARIANTS) + EAP_IG_PASSES)
        ),
        "test_set_evaluation": estimate.Work(read=2 * preset.test, write=2 * preset.test),
        "run_peft_bakeoff": estimate.Work(
            train=trained_arms * per_run * (seeds + factors * float(arms["sweep_share"][0])),
            read=judged * test + trained_arms * factors * VALIDATION,
            write=judged * test,
        ),
    }
    return {stage: work.times(shares.get(stage, 1)) for stage, work in whole.items()}


def left_to_do(chosen: list[list[str]], handed_on: list[str]) -> dict[str, float]:
    """The share of each stage that is not done yet; of the extraction, of its three commands.

    As far as records, checkpoints and the folders of arms tell: inputs are not looked at.
    """
    left = {}
    for script, *words in chosen:
        stage = Path(script).stem
        args = importlib.import_module(stage).parse([*words, *handed_on])
        if stage == "extract_summarization_circuit":
            name, share = left_of_circuits(args)
            left[name] = share
        elif stage == "create_causal_summarization_data":
            left[stage] = 1 - recorded(args, records.record_beside(args.output))
        elif "--run" not in words:
            left[stage] = 1 - recorded(args, records.record_in(args.output_dir, stage))
        if stage == "run_finetuning_with_checkpoints" and left[stage]:
            left[stage] -= trained_share(Path(args.output_dir))
        if stage == "run_peft_bakeoff" and left[stage]:
            done = len(list(Path(args.output_dir).glob("*/seed-*/metrics.json")))
            n_arms = len(set(args.arms) - {"none"})
            left[stage] = max(0, 1 - done / (n_arms * args.seeds + ("none" in args.arms)))
    return left


def left_of_circuits(args) -> tuple[str, float]:
    """(before, after, beside or checkpoints; the share of its circuits that are not there yet)."""
    if args.all_checkpoints:
        written = Path(args.output_dir).glob("C_step*.run.json")
        done = sum(recorded(args, record, but={"model_path", "output"}) for record in written)
        return "checkpoints", max(0, 1 - done / CHECKPOINTS)
    names = ("EAP-IG", "beside"), ("before", "before"), ("after", "after")
    name = next(name for part, name in names if part in Path(args.output).name)
    return name, 1 - recorded(args, records.record_beside(args.output))


def recorded(args, record: Path, but=frozenset()) -> bool:
    """Whether a complete run with these arguments is on record; with --overwrite none is."""
    if args.overwrite or not record.is_file():
        return False
    about = disk.read_json(record, "record of a run")
    ignored = records.COSMETIC | records.PLACES | set(but)
    known = {name: value for name, value in about["arguments"].items() if name not in ignored}
    asked = json.loads(json.dumps(vars(args), default=str))
    same = all(name in asked and asked[name] == value for name, value in known.items())
    return about["complete"] and same  # a record may leave out what cannot change a result


def trained_share(folder: Path) -> float:
    """How much of an unfinished training its last checkpoint holds."""
    states = [disk.read_json(path) for path in folder.glob("checkpoint-*/trainer_state.json")]
    return max((state["global_step"] / state["max_steps"] for state in states), default=0)


def values_of(words: str) -> dict[str, list[str]]:
    """{flag without its dashes: its values} of a preset's flags."""
    return {
        name: values for name, *values in (part.split() for part in f" {words}".split(" --")[1:])
    }


def bytes_to_write(
    preset: Preset, work: dict[str, estimate.Work], left: dict[str, float], shape: estimate.Shape
) -> float:
    """What the stages of `work` will keep: checkpoints, scores, the arm `full` of each seed."""
    half = preset.pairs // 2
    circuits = half * sum(
        left.get(name, 1) for name in ("before", "after", "beside")
    ) + CHECKPOINTS * min(preset.trajectory, half) * left.get("checkpoints", 1)
    amounts = {
        "run_finetuning_with_checkpoints": (3 * CHECKPOINTS + 1) * shape.weights_bytes,
        "extract_summarization_circuit": circuits * shape.scores_bytes,
        "run_peft_bakeoff": int(values_of(preset.arms)["seeds"][0]) * shape.weights_bytes,
    }
    shares = left | {"extract_summarization_circuit": 1}
    return sum(amount * shares.get(stage, 1) for stage, amount in amounts.items() if stage in work)


def config_of(name: str):
    """The transformers configuration of a model, without its weights."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(hub.model_folder(name, weights=False)))


def say_estimate(args, preset: Preset, chosen: list[list[str]], out: Path) -> None:
    """Print how many hours the chosen commands of a preset will take.

    Nothing is timed where nothing that takes long is left.
    """
    preset = limited(preset, args.max_examples)
    wanted = {Path(command[0]).stem for command in chosen}
    left = left_to_do(chosen, passed_on(args))
    amounts = workload(preset, left)
    work = {stage: amount for stage, amount in amounts.items() if stage in wanted and any(amount)}
    if not work:
        return
    new_tokens = int(values_of(preset.arms)["max_new_tokens"][0])
    trained = importlib.import_module("run_finetuning_with_checkpoints").parse(
        ["--device", args.device or "auto", "--dtype", args.dtype or "float32"]
    )
    print(
        f"Timing a few steps of {preset.model}'s shape for an estimate of the hours (up to two "
        "minutes) ...",
        flush=True,
    )
    shape = estimate.shape_of(config_of(preset.model))
    from summarization import training

    device = devices.Device.of(vars(trained))
    precision = training.Precision(device, trained.bf16, trained.tf32)
    unit = estimate.measure(precision, new_tokens, shape.config)
    said = estimate.lines(work, unit, precision, shape=shape, new_tokens=new_tokens)
    written = bytes_to_write(preset, work, left, shape)
    disk = forecast.disk_in_words(written, out).removeprefix("; ")
    finished = [stage for stage in amounts if stage in wanted and stage not in work]
    said += [f"Disk: {disk}, downloads not counted."] if disk else []
    said += (
        [f"Left out, since their records say they are done: {', '.join(finished)}."]
        if finished
        else []
    )
    print("\n".join(said), flush=True)


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, writes="everything")
    flags.hand_on(parser, HANDED_ON)
    parser.add_argument(
        "--preset", default=PRESET, choices=list(PRESETS), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--from",
        dest="first",
        default=scripts.STAGES[0],
        metavar="STAGE",
        help="first stage: a script's name without .py",
    )
    parser.add_argument(
        "--to", dest="last", default=scripts.STAGES[-1], metavar="STAGE", help="last stage"
    )
    parser.add_argument(
        "--model_path", type=flags.text, help="another model than the preset's (default: its own)"
    )
    parser.add_argument(
        "--dataset", type=flags.text, help="other articles than the preset's (default: its own)"
    )
    for name in ARTICLE_FLAGS:
        parser.add_argument(
            f"--{name}", type=flags.text, help="to every script that reads articles, if given"
        )
    parser.add_argument("--dry_run", action="store_true", help="print the commands only")
    args = parser.parse_args(argv)
    for flag, stage in (("--from", args.first), ("--to", args.last)):
        if stage not in scripts.STAGES:
            raise InputError(f"{flag} {stage}: expected a stage of {', '.join(scripts.STAGES)}")
    if scripts.STAGES.index(args.first) > scripts.STAGES.index(args.last):
        raise InputError(
            f"--from {args.first} --to {args.last}: expected the first stage before the last; swap them"
        )
    return args


def passed_on(args) -> list[str]:
    """The common flags that were given, for every script."""
    given = {flag: getattr(args, flag) for flag in HANDED_ON}
    switches = [
        flag for flag in ("overwrite", "quiet", "verbose", "traceback") if getattr(args, flag)
    ]
    return [
        word for flag, value in given.items() if value is not None for word in (f"--{flag}", value)
    ] + [f"--{flag}" for flag in switches]


def main(argv=None):
    """Run the stages."""
    args = parse(argv)
    out = Path(args.output_dir.replace("<preset>", args.preset))
    wanted = scripts.STAGES[scripts.STAGES.index(args.first) : scripts.STAGES.index(args.last) + 1]
    preset = chosen_preset(args, out)
    chosen = [command for command in commands(preset, out) if Path(command[0]).stem in wanted]
    here, python = Path.cwd(), Path(sys.executable)
    shown = str(python.relative_to(here)) if python.is_relative_to(here) else str(python)
    if preset.estimated and not args.dry_run:
        try:
            hub.resolve_model(preset.model, weights=False)
            corpus.resolve(preset.dataset)
        except hub.NotGiven as error:
            raise InputError(
                f"--preset {args.preset}: expected what it needs of the Hugging Face Hub, got for "
                f"{error.short}; or use --preset demo"
            ) from error
        say_estimate(args, preset, chosen, out)
    lines = [shlex.join([shown, *line]) for line in full(args, chosen)]
    if args.dry_run:
        print("\n".join(lines))
        return
    started = time.time()
    run = run_in_full if args.verbose else run_listed
    run(args, chosen, lines, out)
    minutes, first = (time.time() - started) / 60, look_first(chosen, out)
    words = f"Done in {minutes:.1f} minutes. Everything is in {out}; look first at {first}"
    console.Console.of(vars(args)).say(words)


def full(args, chosen: list[list[str]]) -> list[list[str]]:
    """The commands with their scripts' paths, and the flags that were given for every script."""
    return [
        [os.path.relpath(records.ROOT / script), *words, *passed_on(args)]
        for script, *words in chosen
    ]


def run_in_full(args, chosen: list[list[str]], lines: list[str], out: Path) -> None:
    """Run the commands, each one printed, with everything that they print."""
    started = time.time()
    for number, (line, words) in enumerate(zip(lines, full(args, chosen), strict=True), 1):
        minutes = (time.time() - started) / 60
        console.Console.of(vars(args)).say(f"\n[{number}/{len(chosen)}, {minutes:.1f} min] {line}")
        code = subprocess.run([sys.executable, *words], preexec_fn=end_with_parent).returncode
        if code:
            stop(chosen[number - 1][0], code)


def run_listed(args, chosen: list[list[str]], lines: list[str], out: Path) -> None:
    """Run the commands, shown as a list; what they print goes to a log in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    disk.write_text(out / COMMANDS, "".join(f"{line}\n" for line in lines))
    log = out / LOG
    log.touch()
    seconds, listed = expected_seconds(args, out), []
    for command, words in zip(chosen, full(args, chosen), strict=True):
        name = name_of(command)
        listed.append(stages.Stage(name, [sys.executable, *words], seconds.get(name)))
    known, shown = stages.seconds_left(listed, time.time()), console.Console.of(vars(args))
    about = f", about {progress.seconds_in_words(known)}" if known else ""
    shown.say(f"{len(chosen)} commands{about}: {out / COMMANDS}; what they print: {log}")
    failed = stages.Listed(listed, log, shown).run(end_with_parent)
    if failed:
        stop(chosen[listed.index(failed)][0], failed.code)


def stop(script: str, code: int) -> None:
    """End with a command's code, and a line on what to do."""
    print(
        f"{Path(__file__).name}: {script} ended with code {code}; fix the problem and run the same "
        "command again: it goes on from here",
        file=sys.stderr,
    )
    sys.exit(code)


def name_of(command: list[str]) -> str:
    """What a command is called in the list: its stage, and what tells it from its like."""
    script, *words = command
    stage = Path(script).stem
    if "--all_checkpoints" in words:
        return f"{stage}, all checkpoints"
    if stage == "extract_summarization_circuit":
        return f"{stage}, {Path(words[words.index('--output') + 1]).stem}"
    return f"{stage}, over the run" if "--run" in words else stage


def expected_seconds(args, out: Path) -> dict[str, float]:
    """What each command of a preset took, by name; nothing where its sizes or model are others."""
    changed = (args.max_examples, args.model_path, args.dataset, args.device)
    if any(changed):
        return {}
    names = [name_of(command) for command in commands(PRESETS[args.preset], out)]
    return dict(zip(names, SECONDS.get(args.preset, ()), strict=False))


def chosen_preset(args, out: Path) -> Preset:
    """The preset with the model and the articles that were asked for; a file of these is split.

    Raises InputError for a model or articles that are not there.
    """
    preset = PRESETS[args.preset]
    preset = replace(preset, model=args.model_path or preset.model)
    given = {name: getattr(args, name) for name in ARTICLE_FLAGS}
    if args.dataset:
        dataset = corpus.resolve(args.dataset)
        if Path(dataset).is_file():
            names = given.pop("article_column"), given.pop("summary_column")
            columns = corpus.Columns(*(name or "" for name in names))
            path, dataset = Path(dataset), str(out / "articles")
            if not args.dry_run:
                splits.split(path, Path(dataset), seed=int(args.seed or 0), columns=columns)
        preset = replace(preset, dataset=dataset)
    words = [shlex.join([f"--{name}", value]) for name, value in given.items() if value]
    return replace(preset, articles=" ".join([preset.articles, *words]).strip())


def look_first(chosen: list[list[str]], out: Path) -> Path:
    """What the last of the chosen commands wrote for people: the report, or its stage's folder."""
    *_, (script, *words) = chosen
    if Path(script).stem == "make_report":
        return out / "report.html"
    return Path(words[words.index("--output_dir") + 1]) if "--output_dir" in words else out


def end_with_parent() -> None:
    """In a new process, on Linux: end when the process that started it is killed."""
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)


if __name__ == "__main__":
    console.run_script(main)
