"""Does knowing the circuit make LoRA better: fine-tunes adapters in chosen layers at one budget and compares the summaries.

Reads   a base model, a data set (train, validation, test split), and for some arms layers.differential.json, layers.evolution.json
Writes  <output_dir>/<arm>/seed-<s>/   config.json, adapter/ (full: model/), texts.jsonl, metrics.json, run.json (times)
        <output_dir>/<arm>/sweep/      config.json, metrics.json, run.json: how the arm's learning rate was chosen on validation articles
        <output_dir>/bakeoff.json, bakeoff.png   all arms with intervals, yardsticks, paired differences
        <output_dir>/costs.json   seconds and memory of each arm; apart from bakeoff.json, which is the same each time

Every arm of a seed sees the same data in the same order, the same number of steps and the same test texts. A finished arm with the
same configuration is not run again. Adapters load with peft and as --model_path of the other scripts.

    python run_peft_bakeoff.py --model_path demo --dataset demo --arms all late paper random --seeds 1
"""

from pathlib import Path

from eap import InputError
from runs import console, devices, disk, flags, hub, opening, records
from study import layers
from study.bakeoff.lora import Arm
from summarization import corpus, generation

FULL = "a full fine-tune, compared with the base model"
CIRCUITS = "a full fine-tune with its checkpoints, and a circuit of each"

# The arms; one line adds one. layers: all, random, observed, circuit, change, or numbers; critical: those with `boost` times the rank;
# method: lora, rslora, dora, adalora, full, none; and modules, rank, alpha_over_r, learning_rate where they are an arm's own.
ARMS = (
    Arm("none", method="none"),  # the model as it is
    Arm("full", method="full"),  # every parameter
    Arm("all"),
    Arm("random", layers="random"),  # as many layers as --top_k, drawn anew for each seed
    Arm("late", layers=(9, 10, 11)),
    Arm("paper", layers=(2, 3, 5)),
    Arm("hybrid", layers=(5, 10, 11)),
    Arm(
        "observed", layers="observed", cost=FULL
    ),  # what differs most between base and fine-tuned model
    Arm("circuit", layers="circuit", cost=CIRCUITS),  # where the fine-tuned model's circuit is
    Arm(
        "circuit-change", critical="change", cost=CIRCUITS
    ),  # CircuitLoRA: larger rank where edge scores changed most
    Arm("rslora", method="rslora", by_default=False),
    Arm("dora", method="dora", by_default=False),
    Arm("adalora", method="adalora", by_default=False),
)

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
# what is trained on what
MODEL_PATH = "gpt2"  # Hub id, folder, checkpoint-N, or demo; an adapter folder is merged, and its own adapters then load here only
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
BUDGET = "all"  # trainable parameters of every LoRA arm: a number, all (as many as arm `all` has at --rank), or none (each arm's own rank)
RANK = 8
ALPHA_OVER_R = 2.0  # the same for every rank, so that arms differ in placement only
TOP_K = 3  # layers of the arms random, observed, circuit and circuit-change
LAYERS_OBSERVED = "outputs/differential_analysis/layers.differential.json"
LAYERS_CIRCUIT = (
    "outputs/analyze_circuit_evolution/layers.evolution.json"  # or a circuit, for the arm circuit
)
MEASURE_OBSERVED = ""  # a measure of that file; empty: its first
MEASURE_CIRCUIT = "after"  # of layers.evolution.json: attribution in the last circuit
MEASURE_CHANGE = "change"  # of layers.evolution.json: how much normalised edge scores changed

# learning rate
LEARNING_RATE = 5e-4  # of adapters
FULL_LEARNING_RATE = 5e-5  # of the arm full
LR_SWEEP = "0.3,1,3"  # factors that each arm tries before its first seed, on validation articles; none: the two rates above as they are
SWEEP_SHARE = 0.25  # of the training steps, for each factor: three factors cost an arm 0.75 of one seed's training
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

# what `--dataset demo` takes where no flag is given: about half a minute an arm on two cores, without a sweep
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
RANDOM_STREAM = 9_311  # the draws of random layers have a stream of their own
MADE_BY = {
    "observed": "differential_analysis.py",
    "circuit": "analyze_circuit_evolution.py",
    "change": "analyze_circuit_evolution.py",
}


def parse(argv=None):
    """The script's arguments."""
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
    default_arms = [arm.name for arm in ARMS if arm.by_default]
    add(
        "--arms",
        nargs="+",
        type=flags.text,
        metavar="ARM",
        choices=[arm.name for arm in ARMS],
        help=f"out of {' '.join(arm.name for arm in ARMS)} (default: those that can be run out of {' '.join(default_arms)})",
    )
    add(
        "--model_path",
        type=flags.text,
        default=MODEL_PATH,
        help="the base model: Hub id, folder, checkpoint-N or demo (default: %(default)s)",
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
        "--seeds",
        type=flags.positive_int,
        default=SEEDS,
        help="how many, from --seed on (default: %(default)s)",
    )
    add(
        "--budget",
        type=budget,
        default=BUDGET,
        help="trainable parameters of each LoRA arm: a number, all or none (default: %(default)s)",
    )
    add(
        "--rank",
        type=flags.positive_int,
        default=RANK,
        help="of arm all, and of each arm with --budget none (default: %(default)s)",
    )
    add(
        "--alpha_over_r",
        type=flags.positive_float,
        default=ALPHA_OVER_R,
        help="(default: %(default)s)",
    )
    add(
        "--top_k",
        type=flags.positive_int,
        default=TOP_K,
        help="layers of random, observed, circuit (default: %(default)s)",
    )
    add(
        "--layers_observed",
        type=flags.text,
        default=LAYERS_OBSERVED,
        help="layers.differential.json (default: %(default)s)",
    )
    add(
        "--layers_circuit",
        type=flags.text,
        default=LAYERS_CIRCUIT,
        help="layers.evolution.json, or a circuit (default: %(default)s)",
    )
    add(
        "--measure_observed",
        type=flags.text_or_none,
        default=MEASURE_OBSERVED,
        help="(default: the file's first)",
    )
    add(
        "--measure_circuit",
        type=flags.text,
        default=MEASURE_CIRCUIT,
        help="(default: %(default)s)",
    )
    add("--measure_change", type=flags.text, default=MEASURE_CHANGE, help="(default: %(default)s)")
    add(
        "--learning_rate",
        type=flags.positive_float,
        default=LEARNING_RATE,
        help="of adapters, middle of a sweep (default: %(default)s)",
    )
    add(
        "--full_learning_rate",
        type=flags.positive_float,
        default=FULL_LEARNING_RATE,
        help="of arm full, likewise (default: %(default)s)",
    )
    add(
        "--lr_sweep",
        type=factors,
        default=LR_SWEEP,
        help="factors that each arm tries, or none (default: %(default)s)",
    )
    add(
        "--sweep_share",
        type=flags.share,
        default=SWEEP_SHARE,
        help="steps of each as a share of all (default: %(default)s)",
    )
    add(
        "--validation_size",
        type=flags.positive_int,
        default=VALIDATION_SIZE,
        help="articles of the sweep (default: %(default)s)",
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
    flags.add_precision(parser, BF16, TF32, GRADIENT_CHECKPOINTING)
    add(
        "--max_new_tokens",
        type=flags.positive_int,
        default=MAX_NEW_TOKENS,
        help="of a summary (default: %(default)s)",
    )
    add(
        "--min_new_tokens",
        type=flags.count,
        default=MIN_NEW_TOKENS,
        help="no end before (default: %(default)s)",
    )
    add(
        "--num_beams",
        type=flags.positive_int,
        default=NUM_BEAMS,
        help="1 is greedy (default: %(default)s)",
    )
    flags.add_columns(parser, ARTICLE_COLUMN, SUMMARY_COLUMN)
    flags.add_prompt(parser, PROMPT, INSTRUCTION, MAX_LENGTH)
    parser.epilog = flags.demo_defaults(DEMO)
    if parser.parse_args(argv).dataset == "demo":
        parser.set_defaults(**DEMO)
    args = parser.parse_args(argv)
    generation.check_lengths(args.min_new_tokens, args.max_new_tokens)
    return args


def factors(value) -> list[float]:
    """Positive numbers separated by commas, as in `0.3,1,3`; an empty list for `none`. argparse turns the error into one line."""
    return [] if value == "none" else flags.positive_floats(value)


def budget(value) -> str:
    """A number of trainable parameters as text, `all` or `none`."""
    return value if value in ("all", "none") else str(flags.positive_int(value))


def main(argv=None):
    """Train and judge every arm with every seed, then compare."""
    args = parse(argv)
    args.device = devices.only_this_gpu(args.device)
    model = hub.model_source(args.model_path)
    corpus.resolve(args.dataset)
    columns = corpus.Columns(args.article_column, args.summary_column)
    arms, left_out = arms_with_files(args)
    folder = Path(args.output_dir)
    files = {
        name: path
        for name, path in (("observed", args.layers_observed), ("circuit", args.layers_circuit))
        if Path(path).is_file()
    }
    run = records.Run(
        vars(args),
        records.record_in(folder, __file__),
        [folder / name for name in ("bakeoff.json", "bakeoff.png", "costs.json")],
        {"model": model, **corpus.inputs(args.dataset, columns), **files},
    )
    if run.up_to_date:
        return
    from study.bakeoff import trials as bakeoff

    settings = bakeoff.Settings.of(vars(args), console.Console(args.quiet), devices.of(args))
    run.facts["matrix_products"] = settings.precision.products
    data, shapes = prepare(args, run.identity["inputs"])
    budget = budget_of(args, shapes)
    trials = plan_trials(args, arms, left_out, data, shapes, budget)
    for name, why in left_out.items():
        console.say(args, f"left out: {name}: {why}")
    bakeoff.require_unchanged(trials, args.overwrite)
    for number, this in enumerate(trials, start=1):
        console.say(
            args,
            f"{number}/{len(trials)} {this.arm.name}, seed {this.seed}"
            + (": finished before" if this.done else ""),
        )
        if not this.done:
            ahead = bakeoff.ahead(settings, trials[number - 1 :], data)
            rate = bakeoff.choose_rate(settings, first_of(trials, this), data, ahead)
            bakeoff.run(settings, this, data, rate, ahead=ahead)
    report(args, folder, trials, data, left_out, budget)
    run.finish()


def first_of(trials: list, this):
    """The trial of the same arm with the first seed."""
    return next(other for other in trials if other.arm.name == this.arm.name)


# ---------------------------------------------------------------- arms and their layers


def arms_with_files(args) -> tuple[list[Arm], dict[str, str]]:
    """(the arms to run, {arm left out: why}): an arm asked for by name whose layers file is absent is an InputError instead."""
    asked = [
        arm for arm in ARMS if (arm.by_default if args.arms is None else arm.name in args.arms)
    ]
    chosen, left_out = [], {}
    for arm in asked:
        strategy = next(
            (strategy for strategy in (arm.layers, arm.critical) if strategy in MADE_BY), None
        )
        flag = "layers_observed" if strategy == "observed" else "layers_circuit"
        file = Path(getattr(args, flag))
        if strategy is None or file.is_file():
            chosen.append(arm)
        elif args.arms:
            raise InputError(
                f"--arms {arm.name}: expected --{flag} {file}, found no such file; {MADE_BY[strategy]} writes it"
            )
        else:
            left_out[arm.name] = (
                f"there is no {file.name} (--{flag}), which {MADE_BY[strategy]} writes"
            )
    return chosen, left_out


def layers_of(args, strategy, n_layers: int, seed: int) -> list[int]:
    """The layers of a strategy, ascending. Raises InputError for layers that the model does not have."""
    import numpy as np

    if strategy in ("random", *MADE_BY) and args.top_k > n_layers:
        raise InputError(
            f"--top_k {args.top_k}: expected 1 to {n_layers}, as many as the model has layers"
        )
    if not isinstance(strategy, str):
        chosen = sorted(strategy)
    elif strategy == "all":
        chosen = list(range(n_layers))
    elif strategy == "random":
        chosen = layers.random_layers(
            n_layers, args.top_k, np.random.default_rng([RANDOM_STREAM, seed])
        )
    elif strategy == "observed":
        chosen = layers.top_layers(
            args.layers_observed, args.measure_observed or None, args.top_k, n_layers
        )
    elif "edges" in disk.read_json(args.layers_circuit, "layers file or a circuit"):
        chosen = layers_of_circuit(args, strategy, n_layers)
    else:
        measure = args.measure_change if strategy == "change" else args.measure_circuit
        chosen = layers.top_layers(args.layers_circuit, measure, args.top_k, n_layers)
    if chosen and chosen[-1] >= n_layers:
        raise InputError(f"layer {chosen[-1]} is not in a model of {n_layers} layers")
    return chosen


def layers_of_circuit(args, strategy: str, n_layers: int) -> list[int]:
    """The layers with the most attribution among the edges of the circuit `--layers_circuit`.

    Raises InputError if asked for change, and for a circuit of another model's layers.
    """
    from study.evolution import numbers as evolution

    if strategy == "change":
        raise InputError(
            f"{args.layers_circuit} is one circuit; change needs layers.evolution.json, which {MADE_BY['change']} writes"
        )
    circuit = opening.load_circuits([args.layers_circuit])[0]
    if circuit.graph.n_layers != n_layers:
        raise InputError(
            f"--layers_circuit {args.layers_circuit}: expected a circuit of {n_layers} layers, as "
            f"--model_path has, got one of {circuit.graph.n_layers}; give one of this model"
        )
    mass = evolution.layer_mass(
        circuit.graph, circuit.require_scores(args.layers_circuit).abs() * circuit.in_graph
    )
    return sorted(layers.order(mass.tolist())[: args.top_k])


# ---------------------------------------------------------------- data and plans


def prepare(args, inputs: dict):
    """(the bakeoff.Data of all arms, shapes of the modules that can be wrapped); prints how much data there is."""
    from study.bakeoff import lora
    from study.bakeoff import trials as bakeoff
    from summarization import examples, prompt

    columns = corpus.Columns(args.article_column, args.summary_column)
    model, tokenizer = opening.open_for_texts(args.model_path, devices.of(args).torch_dtype, "cpu")
    length = prompt.row_length(args.max_length, model.config, tokenizer, args.model_path)
    template = prompt.template(
        tokenizer, args.prompt, args.instruction, generation=model.generation_config
    )
    prompt.record_in(tokenizer, template)  # so that the arm full tells
    room = length - template.n_fixed - prompt.MIN_ARTICLE_TOKENS
    if args.max_new_tokens > room:
        raise InputError(
            f"--max_new_tokens {args.max_new_tokens}: expected {room} at most, so that something of "
            f"the article fits in {length} tokens (the model's context, or --max_length) beside it"
        )
    rows = load_rows(args)
    parts = {
        what: examples.encode(
            part,
            tokenizer,
            length,
            lambda part: console.progress(part, args, "tokens"),
            template=template,
        )
        for what, part in rows.items()
    }
    for what, part in parts.items():
        console.say(args, part.describe(what))
    judged = rows["test"].select(parts["test"].rows)
    identity = {
        "model": Path(args.model_path).name,
        "model_sha256": inputs["model"]["sha256"],
        "prompt": template.record(),
        "max_length": length,
        "dataset": corpus.label(args.dataset),
        "data_sha256": [inputs[name]["sha256"] for name in corpus.inputs(args.dataset, columns)],
        "examples": {
            what: part.counts()
            | {"articles_sha256": bakeoff.digest(corpus.digests(rows[what].select(part.rows)))}
            for what, part in parts.items()
        },
    }
    data = bakeoff.Data(
        parts["train"],
        parts.get("validation"),
        parts["test"],
        judged,
        tokenizer,
        identity,
        template,
        length,
    )
    return data, lora.module_shapes(model)


def load_rows(args) -> dict:
    """{"train", "test" and, for a sweep, "validation": rows}, without a row in common; prints where a part had to be held out."""
    from summarization import examples

    others = {"test": args.max_examples} | (
        {"validation": args.validation_size} if args.lr_sweep else {}
    )
    columns = corpus.Columns(args.article_column, args.summary_column)
    rows, notes = examples.load_parts(
        args.dataset, args.subset_train_size, others, args.seed, columns=columns
    )
    for note in notes:
        console.say(args, note)
    return rows


def budget_of(args, shapes) -> int | None:
    """The trainable parameters that every LoRA arm is to have; None for each arm its own rank."""
    from study.bakeoff import lora

    if args.budget == "all":
        everywhere = {lora.layer_of(name) for name in shapes}
        return lora.count(
            lora.make_plan(shapes, Arm("all"), everywhere, (), args.rank, None, args.alpha_over_r),
            shapes,
        )
    return None if args.budget == "none" else int(args.budget)


def plan_trials(
    args, arms: list[Arm], left_out: dict[str, str], data, shapes, budget: int | None
) -> list:
    """Every arm with every seed, `none` once. An arm that the model has no layers for is left out, or an error if asked for by name."""
    from study.bakeoff import lora
    from study.bakeoff import trials as bakeoff

    settings = bakeoff.Settings.of(vars(args), console.Console(args.quiet), devices.of(args))
    n_layers = 1 + max(map(lora.layer_of, shapes))
    trials = []
    for arm in arms:
        try:
            for seed in range(args.seed, args.seed + (1 if arm.method == "none" else args.seeds)):
                plan = None
                if arm.method == "adalora":
                    bakeoff.require_schedule(settings, arm, data)
                if arm.method not in ("none", "full"):
                    where, critical = (
                        layers_of(args, strategy, n_layers, seed)
                        for strategy in (arm.layers, arm.critical)
                    )
                    plan = lora.make_plan(
                        shapes, arm, where, critical, args.rank, budget, args.alpha_over_r
                    )
                trials.append(bakeoff.trial(settings, arm, seed, plan, data))
        except InputError as error:
            if args.arms:
                raise InputError(f"--arms {arm.name}: {error}") from error
            left_out[arm.name] = str(error)
    return trials


# ---------------------------------------------------------------- results


def choice_seconds(args, arm: Arm) -> float | None:
    """What the choice of an arm's layers took before the bake-off, by the run records behind its layers file; None if there are none."""
    from study.bakeoff import trials as bakeoff

    strategy = next(
        (strategy for strategy in (arm.layers, arm.critical) if strategy in MADE_BY), None
    )
    if strategy is None:
        return 0.0
    return bakeoff.seconds_behind(
        args.layers_observed if strategy == "observed" else args.layers_circuit
    )


def report(
    args, folder: Path, trials: list, data, left_out: dict[str, str], budget: int | None
) -> None:
    """Write bakeoff.json, bakeoff.png and costs.json; print the table and what may be said."""
    from eap.resampling import mean_interval
    from study.bakeoff import content as bakeoff_report
    from study.bakeoff import figures as bakeoff_figures
    from study.bakeoff import trials as bakeoff
    from study.quality import content as quality
    from summarization import words

    found = [(this, *bakeoff.results(this)) for this in trials]
    numbers = [entry[:3] for entry in found]
    sweeps = {this.arm.name: bakeoff.sweep_results(this) for this in reversed(trials)}
    sticks = quality.yardsticks(data.rows, args.seed)
    quality.measure(sticks, list(data.rows["article"]), list(data.rows["highlights"]))
    written = [[row["summary"] for row in texts] for _, _, texts, _ in found]
    written += [stick.texts for stick in sticks]
    content = {
        "format": 1,
        **data.identity,
        "seeds": list(range(args.seed, args.seed + args.seeds)),
        "n_texts": len(data.rows),
        "budget": args.budget,
        "budget_parameters": budget,
        "rank": args.rank,
        "alpha_over_r": args.alpha_over_r,
        "top_k": args.top_k,
        "settings": trials[0].config["settings"],
        "left_out": left_out,
        "rouge_words": words.describe(data.rows["highlights"], *written),
        "arms": bakeoff_report.summarise(
            numbers, {name: entry for name, (entry, _) in sweeps.items()}, args.seed
        ),
        "yardsticks": {
            stick.label: {
                name: mean_interval(values, args.seed) for name, values in stick.values.items()
            }
            for stick in sticks
        },
        "differences": bakeoff_report.differences(numbers, args.seed),
    }
    content["sentences"] = bakeoff_report.sentences(content) + words.sentences(
        content["rouge_words"]
    )
    disk.write_json(folder / "bakeoff.json", content)
    disk.save_figure(lambda: bakeoff_figures.figure(content), folder / "bakeoff.png")
    records = {
        name: [record for this, _, _, record in found if this.arm.name == name]
        for name in content["arms"]
    }
    costs = {
        name: cost(args, first_arm(trials, name), mine, sweeps[name][1])
        for name, mine in records.items()
    }
    disk.write_json(
        folder / "costs.json",
        {"format": 1, "costs": {name: entry._asdict() for name, entry in costs.items()}},
    )
    console.say(args, "\n".join(bakeoff_report.lines(content, costs)))
    console.say(
        args,
        f"written: {folder / 'bakeoff.json'}, bakeoff.png, costs.json, and a folder for each arm",
    )


def first_arm(trials: list, name: str) -> Arm:
    """The arm of this name."""
    return next(this.arm for this in trials if this.arm.name == name)


def cost(args, arm: Arm, records: list[dict], sweep_seconds: float):
    """The bakeoff_report.Cost of an arm from the records of its seeds."""
    from study.bakeoff.content import Cost

    seconds = sum(record["training_seconds"] for record in records) / len(records)
    return Cost(
        train_seconds=round(seconds, 2),
        sweep_seconds=sweep_seconds,
        choice_seconds=choice_seconds(args, arm),
        peak_gb=max(record["peak_memory_gb"] for record in records),
        peak_of=records[0]["peak_memory_is_of"],
    )


if __name__ == "__main__":
    console.run_script(main)
