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

import contextlib
from pathlib import Path

from runs import console, devices, disk, flags, records
from study.evolution import reading

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

PLOTS = ("change", "jaccard", "layers")


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, globals())
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


@contextlib.contextmanager
def one_thread():
    """Run a block with torch on one thread.

    A circuit is a small tensor, and handing it to several costs more than it saves.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main(argv=None):
    """Compare the circuits of all checkpoints and write how they moved."""
    args = parse(argv)
    paths, training = reading.circuit_files(args.circuits), reading.training_file(args.training)
    models = reading.model_folders(args.pairs, paths, training)
    from eap.scores import examples_beside

    folder, out = Path(args.output_dir), console.Console.of(vars(args))
    outputs = [folder / "evolution.json", folder / "layers.evolution.json"]
    outputs += [folder / f"evolution.{plot}.png" for plot in PLOTS]
    scores = filter(Path.is_file, map(examples_beside, paths))
    given = [Path(path) for path in (training, args.pairs) if path]
    inputs = {str(path): path for path in (*paths, *scores, *given, *models)}
    run = records.Run(vars(args), records.record_in(folder, __file__), outputs, inputs)
    if run.up_to_date:
        return
    from study.evolution import results, running

    checkpoints = reading.load_checkpoints(paths)
    settings = running.Settings.of(vars(args))
    if models:
        running.require_own_models(settings, checkpoints, models)
    with one_thread():
        evolution = results.evolve(
            checkpoints,
            args.resamples,
            trajectories=args.trajectories,
            seed=args.seed,
            progress=lambda items: out.progress(items, "resampling"),
        )
    evolution = {"format": 1, "seed": args.seed, **evolution}
    if training:
        log = disk.read_json(training, "training.json")
        evolution["training"] = {name: log.get(name, []) for name in ("loss", "validation")}
    evolution["faithfulness"] = None
    if models:
        devices.seed_everything(args.seed)
        evolution["faithfulness"] = running.measure(settings, checkpoints, models)
    write(args, evolution)
    run.finish()


def write(args, evolution: dict) -> None:
    """The JSON files, the plots, and the tables on stdout."""
    from study import captions, layers
    from study.evolution import faithfulness, figures, headline, words
    from study.headline import show

    folder, shown = Path(args.output_dir), console.Console.of(vars(args))
    tables = [
        "Faithfulness at each checkpoint left out: give --training with the run's folder and "
        "--pairs data/pairs_eval.jsonl."
    ]
    if evolution["faithfulness"]:
        tables = faithfulness.table(evolution["faithfulness"])
        evolution["sentences"] += faithfulness.sentences(evolution["faithfulness"])
    evolution["captions"] = captions.of("evolution")
    disk.write_json(folder / "evolution.json", evolution)
    layers.write_layers(folder / "layers.evolution.json", "evolution", evolution["layers"])
    known = [name for name in ("trajectories", "faithfulness") if evolution[name]]
    for name in (*PLOTS, *known):
        make = getattr(figures, f"{name}_figure")
        disk.save_figure(lambda make=make: make(evolution), folder / f"evolution.{name}.png")
    if evolution["moved"]:
        disk.drawn(
            lambda path: figures.moved_drawing(evolution, path), folder / "evolution.moved.png"
        )
    drawn = [*PLOTS, *known, *(["moved"] if evolution["moved"] else [])]
    outputs = [folder / "evolution.json", folder / "layers.evolution.json"]
    outputs += [folder / f"evolution.{name}.png" for name in drawn]
    show(shown, headline.headline(evolution), outputs, [*tables, "", *words.lines(evolution)])


if __name__ == "__main__":
    console.run_script(main)
