"""Does knowing the circuit make LoRA better? Adapters in chosen layers, at one budget, compared.

Reads   a base model, a data set (train, validation, test split), and for some arms
        layers.differential.json, layers.evolution.json
Writes  <output_dir>/<arm>/seed-<s>/   config.json, adapter/ (full: model/), texts.jsonl,
                                       metrics.json, run.json (times)
        <output_dir>/<arm>/sweep/      config.json, metrics.json, run.json: how the arm's learning
                                       rate was chosen on validation articles
        <output_dir>/bakeoff.json, bakeoff.png   all arms with intervals, yardsticks, paired
                                                 differences
        <output_dir>/costs.json   seconds and memory of each arm; apart from bakeoff.json, which is
                                  the same each time

Every arm of a seed sees the same data in the same order, the same number of steps and the same test
texts. A finished arm with the same configuration is not run again. Adapters load with peft and as
--model_path of the other scripts.

    python run_peft_bakeoff.py --model_path demo --dataset demo --arms all late random --seeds 1
"""

from pathlib import Path

from runs import console, devices, flags, hub, records
from study.bakeoff import arms, written
from study.bakeoff import flags as bakeoff_flags
from study.bakeoff.lora import Arm
from study.bakeoff.settings import Settings
from summarization import corpus, generation

FULL = "a full fine-tune, compared with the base model"
CIRCUITS = "a full fine-tune with its checkpoints, and a circuit of each"

# The arms; one line adds one. layers: all, random, observed, circuit, change, or numbers; critical:
# those with `boost` times the rank; method: lora, rslora, dora, adalora, full, none; and modules,
# rank, alpha_over_r, learning_rate where they are an arm's own.
ARMS = (
    Arm("none", method="none"),  # the model as it is
    Arm("full", method="full"),  # every parameter
    Arm("all"),
    Arm("random", layers="random"),  # as many layers as --top_k, drawn anew for each seed
    Arm("late", layers=(9, 10, 11)),
    Arm("paper", layers=(2, 3, 5)),
    Arm("hybrid", layers=(5, 10, 11)),
    # what differs most between base and fine-tuned model
    Arm("observed", layers="observed", cost=FULL),
    Arm("circuit", layers="circuit", cost=CIRCUITS),  # where the fine-tuned model's circuit is
    # CircuitLoRA: larger rank where edge scores changed most
    Arm("circuit-change", critical="change", cost=CIRCUITS),
    Arm("rslora", method="rslora", by_default=False),
    Arm("dora", method="dora", by_default=False),
    Arm("adalora", method="adalora", by_default=False),
)

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
# what is trained on what
# Hub id, folder, checkpoint-N, or demo; an adapter folder is merged, and its own adapters then load
# here only
MODEL_PATH = "gpt2"
DATASET = "abisee/cnn_dailymail"  # Hub id, .jsonl/.csv/.parquet file, save_to_disk folder, or demo
ARTICLE_COLUMN = ""  # the data set's name for it; empty: article, document, text, dialogue, ...
SUMMARY_COLUMN = ""  # likewise; empty: highlights, summary, abstract, ...
SUBSET_TRAIN_SIZE = 20000  # training articles
SEEDS = 3  # how many, from --seed on; one seed allows no word on other seeds

# prompts
PROMPT = "auto"  # plain, chat (the tokenizer's template), or auto: chat for an instruct model
INSTRUCTION = ""  # of a chat prompt; empty: Summarize this news article in two sentences:
MAX_LENGTH = 0  # tokens of prompt and summary at most; 0: the model's context

# adapters
# trainable parameters of every LoRA arm: a number, all (as many as arm `all` has at --rank), or
# none (each arm's own rank)
BUDGET = "all"
RANK = 8
ALPHA_OVER_R = 2.0  # the same for every rank, so that arms differ in placement only
TOP_K = 3  # layers of the arms random, observed, circuit and circuit-change
LAYERS_OBSERVED = "outputs/differential_analysis/layers.differential.json"
# or a circuit, for the arm circuit
LAYERS_CIRCUIT = "outputs/analyze_circuit_evolution/layers.evolution.json"
MEASURE_OBSERVED = ""  # a measure of that file; empty: its first
MEASURE_CIRCUIT = "after"  # of layers.evolution.json: attribution in the last circuit
MEASURE_CHANGE = "change"  # of layers.evolution.json: how much normalised edge scores changed

# learning rate
LEARNING_RATE = 5e-4  # of adapters
FULL_LEARNING_RATE = 5e-5  # of the arm full
# factors that each arm tries before its first seed, on validation articles; none: the two rates
# above as they are
LR_SWEEP = "0.3,1,3"
# of the training steps, for each factor: three factors cost an arm 0.75 of one seed's training
SWEEP_SHARE = 0.25
VALIDATION_SIZE = 200  # validation articles of the sweep

# Trainer's
NUM_TRAIN_EPOCHS = 1.0
MAX_STEPS = -1  # optimizer steps; overrides the epochs if positive
PER_DEVICE_TRAIN_BATCH_SIZE = 8  # --batch_size, the flag of every script, overrides it
GRADIENT_ACCUMULATION_STEPS = 1
WARMUP_STEPS = 0.05  # steps, or below 1 a share of all steps
WEIGHT_DECAY = 0.0
LR_SCHEDULER_TYPE = "linear"
BF16 = False  # mixed precision in bfloat16
TF32 = True  # where the GPU has it, training multiplies float32 matrices in TF32
GRADIENT_CHECKPOINTING = False  # recompute activations in the backward pass: less memory, more time

# summaries
MAX_NEW_TOKENS = 100
MIN_NEW_TOKENS = 0
NUM_BEAMS = 1  # 1 is greedy

# what every script has
MAX_EXAMPLES = 500  # test articles; all: every one of the split, for CNN/DailyMail 11,490
BATCH_SIZE = "auto"  # auto: PER_DEVICE_TRAIN_BATCH_SIZE, and for summaries what the memory allows
SEED = 0  # the first of the seeds
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
OUTPUT_DIR = "outputs/run_peft_bakeoff"

# what `--dataset demo` takes where no flag is given: about half a minute an arm on two cores,
# without a sweep
DEMO = {
    "subset_train_size": 640,
    "max_steps": 160,
    "per_device_train_batch_size": 4,
    "max_examples": 100,
    "max_new_tokens": 64,
    "validation_size": 32,
    "learning_rate": 8e-3,
    "full_learning_rate": 3e-3,
    "lr_sweep": "none",
}
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, constants=globals())
    bakeoff_flags.add(parser, ARMS)
    args = flags.parse_with_demo(parser, argv, defaults=DEMO)
    generation.check_lengths(args.min_new_tokens, args.max_new_tokens)
    return args


def main(argv=None):
    """Train and judge every arm with every seed, then compare."""
    args = parse(argv)
    args.device = devices.only_this_gpu(args.device)
    inputs = {"model": hub.model_source(args.model_path)}
    corpus.resolve(args.dataset)
    placement = arms.Placement.of(vars(args))
    asked = arms.with_files(placement, ARMS)
    inputs |= corpus.inputs(args.dataset, corpus.Columns.of(vars(args)))
    inputs |= placement.layers_files
    folder = Path(args.output_dir)
    files = written.Files(folder)
    run = records.Run(
        vars(args), records.record_in(folder, __file__), outputs=files.all, inputs=inputs
    )
    if run.up_to_date:
        return
    from study.bakeoff import running

    settings = Settings.of(vars(args))
    run.facts["matrix_products"] = settings.precision.products
    read = run.identity["inputs"]
    outcome = running.run(settings, placement, asked=asked, inputs=read, overwrite=args.overwrite)
    report(args, outcome, files)
    run.finish()


def report(args, outcome, files: written.Files) -> None:
    """Write the files; print the table and what may be said."""
    from study.bakeoff import headline, results, words
    from study.headline import show

    compared, costs = results.of_trials(outcome), results.costs(outcome)
    table = {name: cost._asdict() for name, cost in costs.items()}
    files.write(compared, table)
    shown = console.Console.of(vars(args))
    details = words.lines(compared, costs)
    show(shown, headline.headline(compared, table), outputs=files.shown, details=details)


if __name__ == "__main__":
    console.run_script(main)
