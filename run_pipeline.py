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

import importlib
import sys
import time
from pathlib import Path

from eap import InputError
from runs import console, devices, flags, scripts
from study.pipeline import choice, commands, hours, left, running, workload
from study.pipeline.presets import PRESETS, Preset

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
# demo: under 20 minutes on two cores; demo-full: larger; smoke: a quick look at all, 3 minutes;
# smollm2-local: a real model on your articles, an hour on two cores for 100 of them;
# gpt2-cnn, smollm2-cnn and pythia-cnn: the study, with a network and a GPU
PRESET = "demo"  # what each is stands in study/pipeline/presets.py
OUTPUT_DIR = "outputs/<preset>"  # folder of everything; <preset> stands for its name
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, writes="everything")
    flags.hand_on(parser, running.HANDED_ON)
    add = parser.add_argument
    add("--preset", default=PRESET, choices=list(PRESETS), help="(default: %(default)s)")
    stage = "first stage: a script's name without .py"
    add("--from", dest="first", default=scripts.STAGES[0], metavar="STAGE", help=stage)
    add("--to", dest="last", default=scripts.STAGES[-1], metavar="STAGE", help="last stage")
    model = "another model than the preset's (default: its own)"
    add("--model_path", type=flags.text, help=model)
    articles = "other articles than the preset's (default: its own)"
    add("--dataset", type=flags.text, help=articles)
    for name in choice.ARTICLE_FLAGS:
        add(f"--{name}", type=flags.text, help="to every script that reads articles, if given")
    add("--dry_run", action="store_true", help="print the commands only")
    args = parser.parse_args(argv)
    for flag, stage in (("--from", args.first), ("--to", args.last)):
        if stage not in scripts.STAGES:
            raise InputError(f"{flag} {stage}: expected a stage of {', '.join(scripts.STAGES)}")
    if scripts.STAGES.index(args.first) > scripts.STAGES.index(args.last):
        raise InputError(
            f"--from {args.first} --to {args.last}: expected the first stage before the last; "
            "swap them"
        )
    return args


def main(argv=None):
    """Run the stages."""
    args = parse(argv)
    out = Path(args.output_dir.replace("<preset>", args.preset))
    asked_for = choice.Choice.of(vars(args))
    preset = asked_for.made(out, split=not args.dry_run)
    passed_on = running.passed_on(vars(args))
    plan = running.Plan(chosen_commands(args, preset, out), passed_on, out)
    if args.dry_run:
        print("\n".join(plan.lines))
        return
    if preset.estimated:
        asked_for.require_reachable(preset)
        say_estimate(args, preset, plan)
    shown, started = console.Console.of(vars(args)), time.time()
    failed = plan.run(shown, expected_seconds(args, out))
    if failed:
        stop(failed)
    minutes, first = (time.time() - started) / 60, commands.look_first(plan.chosen, out)
    shown.say(f"Done in {minutes:.1f} minutes. Everything is in {out}; look first at {first}")


def chosen_commands(args, preset: Preset, out: Path) -> list[list[str]]:
    """The preset's commands from --from to --to."""
    first, last = scripts.STAGES.index(args.first), scripts.STAGES.index(args.last)
    wanted = scripts.STAGES[first : last + 1]
    every = commands.commands_of(preset, out)
    return [command for command in every if commands.stage_of(command) in wanted]


def say_estimate(args, preset: Preset, plan: running.Plan) -> None:
    """Print how many hours the plan's commands will take.

    Nothing is timed where nothing that takes long is left.
    """
    preset = workload.limited(preset, args.max_examples)
    stages = {commands.stage_of(command) for command in plan.chosen}
    rest = hours.Rest.of(preset, stages, left=left_to_do(plan))
    if not rest.work:
        return
    print(
        f"Timing a few steps of {preset.model}'s shape for an estimate of the hours (up to two "
        "minutes) ...",
        flush=True,
    )
    print("\n".join(rest.in_words(training_precision(args), plan.out)), flush=True)


def left_to_do(plan: running.Plan) -> dict[str, float]:
    """The share of each stage that is not done yet; of the extraction, of its four commands."""
    shares = {}
    for script, *words in plan.chosen:
        stage = Path(script).stem
        args = importlib.import_module(stage).parse([*words, *plan.passed_on])
        shares |= left.left_of(stage, vars(args))
    return shares


def training_precision(args):
    """The training.Precision of the fine-tuning with the flags that it is given."""
    from summarization import training

    words = ["--device", args.device or "auto", "--dtype", args.dtype or "float32"]
    trained = importlib.import_module("run_finetuning_with_checkpoints").parse(words)
    return training.Precision(devices.Device.of(vars(trained)), trained.bf16, trained.tf32)


def expected_seconds(args, out: Path) -> dict[str, float]:
    """What each command of a preset took, by name; nothing where its sizes or model are others."""
    changed = (args.max_examples, args.model_path, args.dataset, args.device)
    return {} if any(changed) else commands.expected_seconds(args.preset, out)


def stop(failed: running.Failed) -> None:
    """End with a command's code, and a line on what to do."""
    print(
        f"{Path(__file__).name}: {failed.script} ended with code {failed.code}; fix the problem "
        "and run the same command again: it goes on from here",
        file=sys.stderr,
    )
    sys.exit(failed.code)


if __name__ == "__main__":
    console.run_script(main)
