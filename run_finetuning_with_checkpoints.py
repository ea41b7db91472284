"""How does the model become a summarizer: fine-tunes it on articles with highlights and keeps checkpoints along the way.

Reads   a causal language model and a data set (train and validation split; without splits a part is held out)
Writes  <output_dir>/checkpoint-N/   weights, tokenizer and Trainer's state at each scheduled step; step 0 and the last always
        <output_dir>/                the final model itself
        <output_dir>/latents/checkpoint-N.safetensors   residual streams of a probe set (keys: study/differential/latents.py)
        <output_dir>/training.json, training.png        training loss and validation NLL along the schedule

The loss falls on the summary and its end-of-text only. NLL: nats per summary token, mean over examples of the example's mean.
The same command goes on after an interruption, bit for bit. Several devices: torchrun --nproc_per_node 4 run_finetuning_...

    python run_finetuning_with_checkpoints.py --model_path demo --dataset demo --output_dir model_outputs/demo_finetuned
"""

import argparse
import json
import os
import shutil
import zipfile
from pathlib import Path

from eap import InputError
from runs import checkpoints, console, devices, disk, flags, hub, opening, records
from summarization import corpus

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
# what is trained on what
MODEL_PATH = "gpt2"  # Hub id, folder, checkpoint-N, LoRA adapter folder (merged), or demo
DATASET = "abisee/cnn_dailymail"  # Hub id, .jsonl/.csv/.parquet file, save_to_disk folder, or demo
ARTICLE_COLUMN = ""  # the data set's name for it; empty: article, document, text, dialogue, ...
SUMMARY_COLUMN = ""  # likewise; empty: highlights, summary, abstract, ...
SUBSET_TRAIN_SIZE = 20000  # training articles: the first of a seeded shuffle
VALIDATION_SIZE = 200  # validation articles for the NLL along the schedule; each checkpoint's evaluation costs as many forward passes
OUTPUT_DIR = "model_outputs/gpt2_20k_finetuned"

# prompts
PROMPT = "auto"  # plain, chat (the tokenizer's template), or auto: chat for an instruct model
INSTRUCTION = ""  # of a chat prompt; empty: Summarize this news article in two sentences:
MAX_LENGTH = 0  # tokens of prompt and summary at most; 0: the model's context

# when a checkpoint is kept
CHECKPOINT_SCHEDULE = (
    "log"  # log: 0 and steps in geometric progression from 1 to the last; even: equidistant
)
NUM_CHECKPOINTS = 10  # of a schedule, step 0 and the last included; each holds weights and optimizer, three times the weights' size
PROBE_EXAMPLES = (
    32  # validation examples whose residual streams are saved at each checkpoint; 0 saves none
)
PROBE_POSITIONS = 8  # positions of each, evenly spaced, the first token left out
EARLY_STOPPING_PATIENCE = 0  # stop after so many evaluations without a better NLL; 0: never

# Trainer's
LEARNING_RATE = 5e-5
NUM_TRAIN_EPOCHS = 3.0
MAX_STEPS = -1  # optimizer steps; overrides the epochs if positive
PER_DEVICE_TRAIN_BATCH_SIZE = 8  # --batch_size, the flag of every script, overrides it
PER_DEVICE_EVAL_BATCH_SIZE = 8
GRADIENT_ACCUMULATION_STEPS = 1
WARMUP_STEPS = 0.0  # steps, or below 1 a share of all; with any, the first step has a rate of 0 and checkpoint-1 is checkpoint-0
WEIGHT_DECAY = 0.01
LR_SCHEDULER_TYPE = "linear"
OPTIM = "adamw_torch"
MAX_GRAD_NORM = 1.0
ADAM_BETA1 = 0.9
ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-8
LABEL_SMOOTHING_FACTOR = 0.0
TRAIN_SAMPLING_STRATEGY = (
    "random"  # group_by_length wastes less on padding, and orders the data differently
)
DATALOADER_NUM_WORKERS = 0
BF16 = False  # mixed precision in bfloat16; weights stay in --dtype
TF32 = True  # where the GPU has it, training multiplies in TF32: faster, 10 bits of mantissa
GRADIENT_CHECKPOINTING = False  # recompute activations in the backward pass: less memory, more time
LOGGING_STEPS = 10  # the loss curve has a point every so many steps, and at each checkpoint

# what `--dataset demo` takes where no flag is given: 150 steps, about two minutes on two cores
DEMO = {
    "subset_train_size": 2400,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 1.0,
    "learning_rate": 1e-3,
    "train_sampling_strategy": "group_by_length",
}

# what every script has
MAX_EXAMPLES = "all"  # at most so many training articles, beside SUBSET_TRAIN_SIZE
BATCH_SIZE = "auto"  # examples at a time; auto: planned from the free memory
SEED = 0  # of every random choice
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
# --------------------------------------------------------------------------------------------
NOT_SETTINGS = {
    "model_path",
    "dataset",
    "output_dir",
    "resume_from_checkpoint",
    "device",
    "seed",
}  # elsewhere in training.json, or a path
# What a resumed run may have otherwise than the run it goes on with: the weights come out the same.
FREE_TO_CHANGE = {"device", "dataloader_num_workers", "per_device_eval_batch_size"}
STATE_FILES = ("optimizer.pt", "scheduler.pt")  # of Trainer, in each checkpoint


def parse(argv=None):
    parser = flags.parser(
        __doc__,
        OUTPUT_DIR,
        max_examples=MAX_EXAMPLES,
        batch_size=BATCH_SIZE,
        seed=SEED,
        device=DEVICE,
        dtype=DTYPE,
    )
    add = parser.add_argument
    add(
        "--model_path",
        type=flags.text,
        default=MODEL_PATH,
        help="Hub id, folder, checkpoint-N, adapter folder or demo (default: %(default)s)",
    )
    add(
        "--dataset",
        type=flags.text,
        default=DATASET,
        help="Hub id, file, save_to_disk folder or demo (default: %(default)s)",
    )
    add(
        "--subset_train_size",
        type=flags.positive_int,
        default=SUBSET_TRAIN_SIZE,
        help="training articles (default: %(default)s)",
    )
    add(
        "--validation_size",
        type=flags.positive_int,
        default=VALIDATION_SIZE,
        help="validation articles (default: %(default)s)",
    )
    add(
        "--checkpoint_schedule",
        choices=["log", "even"],
        default=CHECKPOINT_SCHEDULE,
        help="(default: %(default)s)",
    )
    add(
        "--num_checkpoints",
        type=flags.positive_int,
        default=NUM_CHECKPOINTS,
        help="of the schedule (default: %(default)s)",
    )
    add(
        "--checkpoint_steps",
        type=flags.int_list,
        help="steps of the checkpoints, as in 0,10,100, in place of a schedule",
    )
    add(
        "--probe_examples",
        type=flags.count,
        default=PROBE_EXAMPLES,
        help="examples of the latents; 0 for none (default: %(default)s)",
    )
    add(
        "--probe_positions",
        type=flags.positive_int,
        default=PROBE_POSITIONS,
        help="positions of each (default: %(default)s)",
    )
    add(
        "--resume_from_checkpoint",
        nargs="?",
        const="last",
        metavar="PATH",
        help="go on from this checkpoint, or from the last whole one of --output_dir, which happens by itself as well",
    )
    add(
        "--early_stopping_patience",
        type=flags.count,
        default=EARLY_STOPPING_PATIENCE,
        help="stop after so many evaluations without a better NLL; 0: never (default: %(default)s)",
    )
    add(
        "--learning_rate",
        type=flags.natural_float,
        default=LEARNING_RATE,
        help="(default: %(default)s)",
    )
    add(
        "--num_train_epochs",
        type=flags.positive_float,
        default=NUM_TRAIN_EPOCHS,
        help="(default: %(default)s)",
    )
    add(
        "--max_steps",
        type=flags.max_steps,
        default=MAX_STEPS,
        help="overrides the epochs if positive (default: %(default)s)",
    )
    add(
        "--per_device_train_batch_size",
        type=flags.positive_int,
        default=PER_DEVICE_TRAIN_BATCH_SIZE,
        help="(default: %(default)s)",
    )
    add(
        "--per_device_eval_batch_size",
        type=flags.positive_int,
        default=PER_DEVICE_EVAL_BATCH_SIZE,
        help="(default: %(default)s)",
    )
    add(
        "--gradient_accumulation_steps",
        type=flags.positive_int,
        default=GRADIENT_ACCUMULATION_STEPS,
        help="(default: %(default)s)",
    )
    add(
        "--warmup_steps",
        type=flags.natural_float,
        default=WARMUP_STEPS,
        help="steps, or below 1 a share of all (default: %(default)s)",
    )
    add(
        "--weight_decay",
        type=flags.natural_float,
        default=WEIGHT_DECAY,
        help="(default: %(default)s)",
    )
    add(
        "--lr_scheduler_type",
        type=flags.text,
        default=LR_SCHEDULER_TYPE,
        help="linear, cosine, constant, ... (default: %(default)s)",
    )
    add("--optim", type=flags.text, default=OPTIM, help="(default: %(default)s)")
    add(
        "--max_grad_norm",
        type=flags.natural_float,
        default=MAX_GRAD_NORM,
        help="(default: %(default)s)",
    )
    add("--adam_beta1", type=flags.below_one, default=ADAM_BETA1, help="(default: %(default)s)")
    add("--adam_beta2", type=flags.below_one, default=ADAM_BETA2, help="(default: %(default)s)")
    add(
        "--adam_epsilon",
        type=flags.natural_float,
        default=ADAM_EPSILON,
        help="(default: %(default)s)",
    )
    add(
        "--label_smoothing_factor",
        type=flags.fraction,
        default=LABEL_SMOOTHING_FACTOR,
        help="(default: %(default)s)",
    )
    flags.add_precision(parser, BF16, TF32, GRADIENT_CHECKPOINTING)
    add(
        "--train_sampling_strategy",
        choices=["random", "sequential", "group_by_length"],
        default=TRAIN_SAMPLING_STRATEGY,
        help="(default: %(default)s)",
    )
    add(
        "--dataloader_num_workers",
        type=flags.count,
        default=DATALOADER_NUM_WORKERS,
        help="(default: %(default)s)",
    )
    add(
        "--logging_steps",
        type=flags.positive_int,
        default=LOGGING_STEPS,
        help="(default: %(default)s)",
    )
    flags.add_columns(parser, ARTICLE_COLUMN, SUMMARY_COLUMN)
    flags.add_prompt(parser, PROMPT, INSTRUCTION, MAX_LENGTH)
    parser.epilog = flags.demo_defaults(DEMO)
    if parser.parse_args(argv).dataset == "demo":
        parser.set_defaults(**DEMO)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    args.device = devices.only_this_gpu(args.device)
    model = hub.model_source(args.model_path)
    corpus.resolve(args.dataset)
    columns = corpus.Columns(args.article_column, args.summary_column)
    output_dir = Path(args.output_dir)
    kept = checkpoints.complete_checkpoints(output_dir)  # of this very run, or Run refuses
    outputs = [output_dir / name for name in ("model.safetensors", "training.json", "training.png")]
    identity = identity_of(args)
    inputs = {"model": model, **corpus.inputs(args.dataset, columns)}
    asked = checkpoint_asked_for(args, identity, inputs)
    run = records.Run(
        vars(identity),
        record=records.record_in(output_dir, __file__),
        outputs=outputs + kept,
        inputs=inputs,
    )
    if run.up_to_date:
        return
    from runs import shards
    from summarization import training

    trainer, facts = prepare(args)
    run.facts["matrix_products"] = facts["matrix_products"]
    resume = where_to_start(args, run, trainer, asked, output_dir)
    log = training.fine_tune(trainer, resume, args.early_stopping_patience)
    trainer.save_final(output_dir)
    if console.is_main_process():
        report(args, output_dir, log, facts)
        run.finish()
    del trainer
    shards.leave()


def identity_of(args):
    """The flags that a run is known by, and its processes if many: each adds to the batch."""
    known = {name: value for name, value in vars(args).items() if name != "resume_from_checkpoint"}
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return argparse.Namespace(**known, **({"processes": processes} if processes > 1 else {}))


def checkpoint_asked_for(args, identity, inputs: dict) -> Path | None:
    """The checkpoint folder that `--resume_from_checkpoint` names; None if it is not given.

    Raises InputError if it is not a whole one that this script wrote, or if it is of a run with
    other flags or inputs: what the record says would not be what was trained.
    """
    path, output_dir = args.resume_from_checkpoint, Path(args.output_dir)
    if path is None:
        return None
    last = checkpoints.complete_checkpoints(output_dir) or [output_dir / "checkpoint-N"]
    folder = last[-1] if path == "last" else Path(path)
    record = records.record_in(folder.parent, __file__)
    if not (folder / "trainer_state.json").is_file() or not record.is_file():
        raise InputError(
            "--resume_from_checkpoint: expected a checkpoint folder of a run of this script, found "
            f"none at {folder}"
        )
    content = disk.read_json(record, "record of a run")
    if content.get("starts_over"):  # what lies there is still of the run that it replaces
        content = (content.get("replaces") or {}).get("record") or {}
    require_same_run(folder, content, identity, inputs)
    require_whole(folder)
    return folder


def require_same_run(folder: Path, record: dict, identity, inputs: dict) -> None:
    """Raise InputError unless a run's record asks for the training that is asked for now.

    Paths and the flags in FREE_TO_CHANGE may differ; model and data are known by what they hold.
    """
    told = record.get("arguments", {})
    asked = json.loads(json.dumps(vars(identity), default=str))
    names = sorted((set(told) | set(asked)) - FREE_TO_CHANGE - records.COSMETIC - records.PLACES)
    other = [f"--{name} {told.get(name)}" for name in names if told.get(name) != asked.get(name)]
    sources = record.get("inputs", {})
    for name, source in inputs.items():
        if sources.get(name, {}).get("sha256") != records.fingerprint(source):
            other.append("another model" if name == "model" else "another data set")
    if other:
        raise InputError(
            f"--resume_from_checkpoint {folder}: expected a checkpoint of the same training, got "
            f"one with {', '.join(dict.fromkeys(other))}; give the same flags and inputs, or train "
            f"anew from its weights with --model_path {folder}"
        )


def require_whole(folder: Path) -> None:
    """Raise InputError unless a checkpoint folder holds all that training goes on from."""
    try:
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        problem = None if state["global_step"] == checkpoints.step_of(folder) else "another step's"
    except (OSError, ValueError, KeyError, TypeError):
        problem = "one that cannot be read"
    if problem:
        raise InputError(
            f"{folder}: expected the trainer_state.json of this checkpoint, got {problem}; go on "
            "from an earlier one"
        )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    random = ["rng_state.pth"]  # without it dropout goes on otherwise than in a run of one piece
    if processes > 1:
        random = [f"rng_state_{process}.pth" for process in range(processes)]
    states = (*STATE_FILES, *random)
    torn = [
        name
        for name in ("model.safetensors", "config.json", *states)
        if not (folder / name).is_file()
    ]
    torn += [name for name in states if name not in torn and not zipfile.is_zipfile(folder / name)]
    if not torn and not _is_json(folder / "config.json"):
        torn = ["config.json"]
    if torn:
        raise InputError(
            f"{folder}: expected a whole checkpoint, got one without a readable {torn[0]}; go on "
            "from an earlier one"
        )


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False


def require_weights_of(folder: Path, model) -> None:
    """Raise InputError unless a checkpoint's weights are whole and of the model's shape."""
    from safetensors import SafetensorError, safe_open

    path = folder / "model.safetensors"
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            saved = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: expected the weights of a checkpoint, got something unreadable ({error}); "
            "go on from an earlier one"
        ) from error
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    wrong = sorted(name for name in set(ours) | set(saved) if ours.get(name) != saved.get(name))
    wrong = [name for name in wrong if name not in tied]
    if wrong:
        raise InputError(
            f"{folder}: expected the weights of this model, got others: {wrong[0]} is "
            f"{saved.get(wrong[0], 'not there')} instead of {ours.get(wrong[0], 'not there')}; "
            "give the model that the run began with"
        )


def prepare(args):
    """Everything that training needs. Returns (trainer, what stands in training.json about model and data)."""
    from summarization import prompt, training

    precision = training.Precision(devices.of(args), args.bf16, args.tf32)
    settings = training.settings(
        args.output_dir,
        args.seed,
        device=precision.device,
        gradient_checkpointing=args.gradient_checkpointing,
        per_device_eval_batch_size=args.per_device_eval_batch_size,
        **training.options_of(vars(args)),
    )
    devices.seed_everything(args.seed)
    model, tokenizer = opening.open_for_texts(args.model_path, devices.of(args).torch_dtype, "cpu")
    length = prompt.row_length(args.max_length, model.config, tokenizer, args.model_path)
    template = prompt.template(
        tokenizer, args.prompt, args.instruction, generation=model.generation_config
    )
    prompt.record_in(tokenizer, template)  # so that every checkpoint tells
    train, validation = encoded(args, tokenizer, length, template)
    facts = {
        "model": Path(args.model_path).name,
        "dataset": corpus.label(args.dataset),
        "prompt": template.record(),
        "seed": args.seed,
        "matrix_products": precision.products,
        "examples": {"train": train.counts(), "validation": validation.counts()},
    }
    trainer = training.SummaryTrainer(
        model,
        tokenizer,
        settings,
        train.data,
        validation.data,
        latents_writer(args, validation.data),
        tf32=precision.uses_tf32,
    )
    schedule = args.checkpoint_steps or args.checkpoint_schedule
    trainer.add_callback(
        training.Schedule(
            trainer,
            lambda last: training.checkpoint_steps(schedule, last, args.num_checkpoints),
            args.early_stopping_patience,
        )
    )
    trainer.add_callback(
        training.Bar(
            lambda total: console.progress(
                None, args, "training", total, ahead=ahead(args, model, schedule, total)
            )
        )
    )
    return trainer, facts


def ahead(args, model, schedule, last: int):
    """The forecast.Ahead of training to step `last`: a checkpoint holds weights and two moments."""
    from runs import forecast
    from summarization import training

    folder = Path(args.output_dir)
    steps = training.checkpoint_steps(schedule, last, args.num_checkpoints)
    missing = [step for step in steps if not (folder / f"checkpoint-{step}").is_dir()]
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return forecast.Ahead(
        steps=last, written_bytes=weights * (3 * len(missing) + 1), folder=str(folder)
    )


def encoded(args, tokenizer, length: int, template):
    """The training and the validation examples; prints how many articles were shortened and which rows dropped."""
    from summarization import examples

    n_train = min(args.subset_train_size, args.max_examples or args.subset_train_size)
    *parts, note = examples.load_disjoint(
        args.dataset,
        "validation",
        n_train,
        args.validation_size,
        args.seed,
        columns=corpus.Columns(args.article_column, args.summary_column),
    )
    if note:
        console.say(args, note)
    made = []
    for what, rows in zip(("training", "validation"), parts, strict=True):
        made.append(
            examples.encode(
                rows,
                tokenizer,
                length,
                lambda rows, what=what: console.progress(rows, args, f"{what} tokens"),
                template=template,
            )
        )
        console.say(args, made[-1].describe(what))
    return made


def latents_writer(args, validation):
    """A function of (step, model) that saves the probe set's residual streams; None if `--probe_examples` is 0."""
    from study.differential import latents

    if not args.probe_examples:
        return None
    chosen = latents.probe(validation[: args.probe_examples]["input_ids"], args.probe_positions)
    folder = Path(args.output_dir) / "latents"
    return lambda step, model: latents.save(
        folder / f"checkpoint-{step}.safetensors", model, chosen
    )


def where_to_start(args, run, trainer, asked: Path | None, output_dir: Path) -> Path | None:
    """The checkpoint to go on from, the same in every process; None, with what an overwritten run left removed, for a new start."""
    from accelerate.utils import broadcast_object_list

    found = checkpoints.complete_checkpoints(output_dir)
    goes_on = run.same and not run.starts_over and (run.resumed or not args.overwrite)
    start = asked or (found[-1] if found and goes_on else None)
    start = broadcast_object_list([start])[
        0
    ]  # only the first process knows whether the record was there before
    if start is None and console.is_main_process():
        for leftover in [*found, output_dir / "latents"]:
            shutil.rmtree(leftover, ignore_errors=True)
        run.cleared()
    trainer.accelerator.wait_for_everyone()
    if start is not None:
        require_whole(start)
        require_weights_of(start, trainer.model)
        console.say(args, f"going on from {start}")
    return start


def report(args, output_dir: Path, log: list[dict], facts: dict) -> None:
    """Write training.json and training.png; print the validation NLL at each checkpoint."""
    loss = [
        {name: entry[name] for name in ("step", "loss", "learning_rate", "grad_norm")}
        for entry in log
        if "loss" in entry
    ]
    validation = [
        {
            "step": entry["step"],
            "nll_nats_per_token": entry["eval_nll"],
            "low": entry["eval_nll_low"],
            "high": entry["eval_nll_high"],
        }
        for entry in log
        if "eval_nll" in entry
    ]
    settings = {
        name: vars(args)[name]
        for name in sorted(vars(args))
        if name not in records.COSMETIC | NOT_SETTINGS
    }
    content = {
        "format": 1,
        **facts,
        "settings": settings,
        "checkpoints": [
            checkpoints.step_of(path) for path in checkpoints.complete_checkpoints(output_dir)
        ],
        "loss": loss,
        "validation": validation,
    }
    disk.write_json(output_dir / "training.json", content)
    disk.save_figure(lambda: draw(content), output_dir / "training.png")
    n_validation = facts["examples"]["validation"]["kept"]
    console.say(
        args,
        f"{'step':>8}  validation NLL (nats per summary token, {n_validation} examples, 95 % interval)",
    )
    for row in validation:
        console.say(
            args,
            f"{row['step']:>8}  {row['nll_nats_per_token']:.4f}  [{row['low']:.4f}, {row['high']:.4f}]",
        )
    console.say(
        args, f"the final model is in {output_dir}, the loss curve in {output_dir / 'training.png'}"
    )


def draw(content: dict):
    """A figure of training loss and validation NLL over steps, logarithmic if the checkpoints are."""
    from eap.style import COLOURS, subplots

    figure, axes = subplots()
    loss, validation = content["loss"], content["validation"]
    steps = [row["step"] for row in validation]
    axes.plot(
        [row["step"] for row in loss],
        [row["loss"] for row in loss],
        color=COLOURS["random"],
        label=f"training loss, mean since the previous point ({content['examples']['train']['kept']} articles)",
    )
    axes.plot(
        steps,
        [row["nll_nats_per_token"] for row in validation],
        "o-",
        color=COLOURS["finetuned"],
        label=f"validation NLL, 95 % interval over {content['examples']['validation']['kept']} articles",
    )
    axes.fill_between(
        steps,
        [row["low"] for row in validation],
        [row["high"] for row in validation],
        color=COLOURS["finetuned"],
        alpha=0.2,
        linewidth=0,
    )
    if (
        content["settings"]["checkpoint_schedule"] == "log"
        and not content["settings"]["checkpoint_steps"]
    ):
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(steps, [str(step) for step in steps], minor=False)
        axes.minorticks_off()
    highest = max(
        row[name] for rows, name in ((loss, "loss"), (validation, "high")) for row in rows
    )
    axes.set(
        xlabel="optimizer step",
        ylabel="nats per summary token",
        ylim=(0, 1.25 * highest),
        title=f"{content['model']} fine-tuned on {content['dataset']}",
    )
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    console.run_script(main)
