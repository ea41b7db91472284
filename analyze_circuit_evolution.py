"""How does the circuit move while the model is fine-tuned, and is that more than noise?

Reads   circuits in training order: a folder of C_step{N}.json, or files; C_*.examples.safetensors
        beside them, if there, for the noise floor, the intervals and the test of every edge; with
        --training the loss of the fine-tuning run; with --pairs also its checkpoint-N and pairs
        that extraction did not see, for the faithfulness of the circuits at each checkpoint
Writes  evolution.json, layers.evolution.json, evolution.{change,jaccard,layers}.png and, with what
        they need, evolution.{trajectories,moved,faithfulness}.png in --output_dir

    python analyze_circuit_evolution.py --circuits outputs/circuits \
        --training model_outputs/gpt2_20k_finetuned --pairs data/pairs_eval.jsonl
"""

from pathlib import Path

from runs import console, devices, disk, flags, records
from study.evolution import reading, written

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
# files, or a folder of C_step{N}.json
CIRCUITS = ["C_before_summarization.json", "C_after_summarization.json"]
# folder of the fine-tuning run, or its training.json: draws the loss above the change; empty: none
TRAINING = ""
# pairs that extraction did not see, data/pairs_eval.jsonl: runs the circuits in the run's
# checkpoints; empty: left out
PAIRS = ""
# of the faithfulness. kl: does the circuit predict what the model predicts; nll: does it fit the
# summary as well
METRICS = "kl,nll"
# random circuits beside them at the first and the last checkpoint; each costs about as much as the
# circuit itself
N_RANDOM = 3
# extractions on resampled examples per checkpoint, 0.03 s each; more make the edges of the noise
# floor surer; 0 or 1: none
RESAMPLES = 100
TRAJECTORIES = 8  # edges drawn over the checkpoints at most: those that changed most beyond noise

# what every script has
MAX_EXAMPLES = "all"  # pairs on which circuits are run; of the stored scores all are used
BATCH_SIZE = "auto"  # examples at a time; auto: planned from the free memory
SEED = 0  # of every random choice
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
OUTPUT_DIR = "outputs/analyze_circuit_evolution"  # numbers and plots
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, constants=globals())
    add = parser.add_argument
    add(
        "--circuits",
        nargs="+",
        type=flags.text,
        help="a folder of C_step{N}.json, or files in order",
    )
    add(
        "--training",
        type=flags.text_or_none,
        help="folder of the fine-tuning run, or its training.json (default: none)",
    )
    add(
        "--pairs",
        type=flags.text_or_none,
        help="unseen pairs, for faithfulness at each checkpoint of --training (default: none)",
    )
    add("--metrics", type=flags.metric_list, help="of the faithfulness: kl, nll, js, logit_diff")
    add("--n_random", type=flags.count, help="circuits drawn at both ends, or 0")
    add("--resamples", type=flags.count, help="for the noise floor; 0: none")
    add("--trajectories", type=flags.positive_int, help="edges drawn")
    return parser.parse_args(argv)


def main(argv=None):
    """Compare the circuits of all checkpoints and write how they moved."""
    args = parse(argv)
    paths, training = reading.circuit_files(args.circuits), reading.training_file(args.training)
    models = reading.model_folders(args.pairs, paths, training=training)
    from eap.scores import examples_beside

    folder = Path(args.output_dir)
    outputs = written.Files(folder).certain
    scores = filter(Path.is_file, map(examples_beside, paths))
    given = [Path(path) for path in (training, args.pairs) if path]
    inputs = {str(path): path for path in (*paths, *scores, *given, *models)}
    run = records.Run(
        vars(args), records.record_in(folder, __file__), outputs=outputs, inputs=inputs
    )
    if run.up_to_date:
        return
    from study.evolution import results, running

    checkpoints = reading.load_checkpoints(paths)
    settings = running.Settings.of(vars(args))
    if models:
        running.require_own_models(settings, checkpoints, folders=models)
    with devices.one_thread():
        evolution = results.evolve(
            checkpoints,
            args.resamples,
            trajectories=args.trajectories,
            seed=args.seed,
            progress=lambda items: settings.console.progress(items, "resampling"),
        )
    evolution = {"format": 1, "seed": args.seed, **evolution}
    if training:
        log = disk.read_json(training, "training.json")
        evolution["training"] = {name: log.get(name, []) for name in ("loss", "validation")}
    evolution["faithfulness"] = None
    if models:
        devices.seed_everything(args.seed)
        evolution["faithfulness"] = running.measure(settings, checkpoints, folders=models)
    report(args, evolution)
    run.finish()


def report(args, evolution: dict) -> None:
    """Write the JSON files and the plots; print the tables."""
    from study.evolution import faithfulness, headline, words
    from study.headline import show

    tables = [faithfulness.LEFT_OUT]
    if evolution["faithfulness"]:
        tables = faithfulness.table(evolution["faithfulness"])
        evolution["sentences"] += faithfulness.sentences(evolution["faithfulness"])
    outputs = written.Files(Path(args.output_dir)).write(evolution)
    shown = console.Console.of(vars(args))
    show(
        shown,
        headline.headline(evolution),
        outputs=outputs,
        details=[*tables, "", *words.lines(evolution)],
    )


if __name__ == "__main__":
    console.run_script(main)
