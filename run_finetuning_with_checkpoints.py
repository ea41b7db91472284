"""How does the model become a summarizer? Fine-tunes it on articles and keeps checkpoints.

Reads   a causal language model and a data set (train and validation split; without splits a part
        is held out)
Writes  <output_dir>/checkpoint-N/   weights, tokenizer and Trainer's state at each scheduled step;
                                     step 0 and the last always
        <output_dir>/                the final model itself
        <output_dir>/latents/checkpoint-N.safetensors   residual streams of a probe set (keys:
                                                        study/differential/latents.py)
        <output_dir>/training.json, training.png        training loss and validation NLL along the
                                                        schedule

The loss falls on the summary and its end-of-text only. NLL: nats per summary token, mean over
examples of the example's mean. The same command goes on after an interruption, bit for bit. Several
devices: torchrun --nproc_per_node 4 run_finetuning_...

    python run_finetuning_with_checkpoints.py --model_path demo --dataset demo \
        --output_dir model_outputs/demo_finetuned
"""

from pathlib import Path

from runs import checkpoints, console, devices, flags, hub, records
from study.training import flags as training_flags
from study.training import resuming, written
from summarization import corpus

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
# what is trained on what
MODEL_PATH = "gpt2"  # Hub id, folder, checkpoint-N, LoRA adapter folder (merged), or demo
DATASET = "abisee/cnn_dailymail"  # Hub id, .jsonl/.csv/.parquet file, save_to_disk folder, or demo
ARTICLE_COLUMN = ""  # the data set's name for it; empty: article, document, text, dialogue, ...
SUMMARY_COLUMN = ""  # likewise; empty: highlights, summary, abstract, ...
SUBSET_TRAIN_SIZE = 20000  # training articles: the first of a seeded shuffle
# validation articles for the NLL along the schedule; each checkpoint's evaluation costs as many
# forward passes
VALIDATION_SIZE = 200
OUTPUT_DIR = "model_outputs/gpt2_20k_finetuned"

# prompts
PROMPT = "auto"  # plain, chat (the tokenizer's template), or auto: chat for an instruct model
INSTRUCTION = ""  # of a chat prompt; empty: Summarize this news article in two sentences:
MAX_LENGTH = 0  # tokens of prompt and summary at most; 0: the model's context

# when a checkpoint is kept
# log: 0 and steps in geometric progression from 1 to the last; even: equidistant
CHECKPOINT_SCHEDULE = "log"
# of a schedule, step 0 and the last included; each holds weights and optimizer, three times the
# weights' size
NUM_CHECKPOINTS = 10
PROBE_EXAMPLES = 32  # validation examples with residual streams at each checkpoint; 0 saves none
PROBE_POSITIONS = 8  # positions of each, evenly spaced, the first token left out
EARLY_STOPPING_PATIENCE = 0  # stop after so many evaluations without a better NLL; 0: never

# Trainer's
LEARNING_RATE = 5e-5
NUM_TRAIN_EPOCHS = 3.0
MAX_STEPS = -1  # optimizer steps; overrides the epochs if positive
PER_DEVICE_TRAIN_BATCH_SIZE = 8  # --batch_size, the flag of every script, overrides it
PER_DEVICE_EVAL_BATCH_SIZE = 8
GRADIENT_ACCUMULATION_STEPS = 1
# steps, or below 1 a share of all; with any, the first step has a rate of 0 and checkpoint-1 is
# checkpoint-0
WARMUP_STEPS = 0.0
WEIGHT_DECAY = 0.01
LR_SCHEDULER_TYPE = "linear"
OPTIM = "adamw_torch"
MAX_GRAD_NORM = 1.0
ADAM_BETA1 = 0.9
ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-8
LABEL_SMOOTHING_FACTOR = 0.0
# group_by_length wastes less on padding, and orders the data differently
TRAIN_SAMPLING_STRATEGY = "random"
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


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, constants=globals())
    training_flags.add(parser)
    return flags.parse_with_demo(parser, argv, defaults=DEMO)


def main(argv=None):
    """Fine-tune, keep the checkpoints of the schedule, write the loss curve."""
    args = parse(argv)
    args.device = devices.only_this_gpu(args.device)
    model = hub.model_source(args.model_path)
    corpus.resolve(args.dataset)
    columns = corpus.Columns.of(vars(args))
    folder = Path(args.output_dir)
    files = written.Files(folder)
    kept = checkpoints.complete_checkpoints(folder)  # of this very run, or Run refuses
    identity = resuming.identity_of(vars(args))
    inputs = {"model": model, **corpus.inputs(args.dataset, columns)}
    asked = resuming.checkpoint_asked_for(identity, args.resume_from_checkpoint, inputs=inputs)
    run = records.Run(
        identity, records.record_in(folder, __file__), outputs=files.all + kept, inputs=inputs
    )
    if run.up_to_date:
        return
    from runs import shards
    from study.training import setup
    from summarization import training

    settings = setup.Settings.of(vars(args))
    trainer, facts = setup.prepare(settings)
    run.facts["matrix_products"] = facts["matrix_products"]
    start = resuming.where_to_start(
        run, trainer, asked=asked, overwrite=args.overwrite, out=settings.console
    )
    log = training.fine_tune(trainer, start, patience=args.early_stopping_patience)
    trainer.save_final(folder)
    if console.is_main_process():
        report(args, log, facts)
        run.finish()
    del trainer
    shards.leave()


def report(args, log: list[dict], facts: dict) -> None:
    """Write training.json and training.png; print the validation NLL at each checkpoint."""
    from study.headline import show
    from study.training import headline, results, words

    files = written.Files(Path(args.output_dir))
    result = results.of_run(vars(args), log, facts=facts)
    files.write(result)
    shown = console.Console.of(vars(args))
    show(shown, headline.headline(result), outputs=files.all, details=words.lines(result))


if __name__ == "__main__":
    console.run_script(main)
