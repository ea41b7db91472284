"""How does the circuit move while the model is fine-tuned, and is that more than noise?

Reads   circuits in training order: a folder of C_step{N}.json, or files; C_*.examples.safetensors beside them, if there, for the noise
        floor, the intervals and the test of every edge; with --training the loss of the fine-tuning run; with --pairs also its
        checkpoint-N and pairs that extraction did not see, for the faithfulness of the circuits at each checkpoint
Writes  evolution.json, layers.evolution.json, evolution.{change,jaccard,layers}.png and, with what they need,
        evolution.{trajectories,moved,faithfulness}.png in --output_dir

    python analyze_circuit_evolution.py --circuits outputs/circuits --training model_outputs/gpt2_20k_finetuned \
        --pairs data/pairs_eval.jsonl
"""

import contextlib
import re
from pathlib import Path

from eap import InputError
from runs import console, devices, disk, flags, hub, opening, records

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
CIRCUITS = [
    "C_before_summarization.json",
    "C_after_summarization.json",
]  # or a folder of C_step{N}.json
TRAINING = ""  # folder of the fine-tuning run, or its training.json: draws the loss above the change; empty for none
PAIRS = ""  # pairs that extraction did not see, data/pairs_eval.jsonl: runs the circuits in the run's checkpoints; empty: left out
METRICS = "kl,nll"  # of the faithfulness. kl: does the circuit predict what the model predicts; nll: does it fit the summary as well
N_RANDOM = 3  # random circuits beside them at the first and the last checkpoint; each costs about as much as the circuit itself
RESAMPLES = 100  # extractions on resampled examples per checkpoint, 0.03 s each; more make the edges of the noise floor surer; 0 or 1: none
TRAJECTORIES = 8  # at most so many edges' scores are drawn over the checkpoints: those that changed most beyond noise

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
    parser = flags.parser(
        __doc__,
        OUTPUT_DIR,
        max_examples=MAX_EXAMPLES,
        batch_size=BATCH_SIZE,
        seed=SEED,
        device=DEVICE,
        dtype=DTYPE,
    )
    parser.add_argument(
        "--circuits",
        nargs="+",
        type=flags.text,
        default=CIRCUITS,
        help="a folder of C_step{N}.json, or files in order (default: %(default)s)",
    )
    parser.add_argument(
        "--training",
        type=flags.text_or_none,
        default=TRAINING,
        help="folder of the fine-tuning run, or its training.json (default: none)",
    )
    parser.add_argument(
        "--pairs",
        type=flags.text_or_none,
        default=PAIRS,
        help="unseen pairs, for faithfulness at each checkpoint of --training (default: none)",
    )
    parser.add_argument(
        "--metrics",
        type=flags.metric_list,
        default=METRICS,
        help="of the faithfulness: kl, nll, js, logit_diff (default: %(default)s)",
    )
    parser.add_argument(
        "--n_random",
        type=flags.count,
        default=N_RANDOM,
        help="circuits drawn at both ends, or 0 (default: %(default)s)",
    )
    parser.add_argument(
        "--resamples",
        type=flags.count,
        default=RESAMPLES,
        help="for the noise floor; 0: none (default: %(default)s)",
    )
    parser.add_argument(
        "--trajectories",
        type=flags.positive_int,
        default=TRAJECTORIES,
        help="edges drawn (default: %(default)s)",
    )
    return parser.parse_args(argv)


def step_of(path: Path) -> int | None:
    """The N of `C_step{N}.json`; None for other names."""
    found = re.fullmatch(r"C_step(\d+)\.json", path.name)
    return int(found[1]) if found else None


def circuit_files(given: list[str]) -> list[Path]:
    """The circuit files in order: those of a folder by step, or the files as given. Raises InputError for fewer than two."""
    paths = [Path(name) for name in given]
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(
            (path for path in paths[0].iterdir() if step_of(path) is not None), key=step_of
        )
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"--circuits {missing[0]}: expected a circuit file, found none; extract_summarization_circuit.py "
            "makes it, for instance with --model_path demo"
        )
    if len(paths) < 2:
        raise InputError(
            f"--circuits {' '.join(given)}: expected a folder with at least 2 files C_step{{N}}.json, or at least 2 files in "
            f"order, found {len(paths)}; extract_summarization_circuit.py --all_checkpoints writes such a folder"
        )
    return paths


def training_file(given: str) -> Path | None:
    """training.json of `--training`, which may name its folder. Raises InputError if it is not there."""
    if not given:
        return None
    path = Path(given) / "training.json" if Path(given).is_dir() else Path(given)
    if not path.is_file():
        raise InputError(
            f"--training {given}: expected training.json or its folder, found none; the fine-tuning script writes it"
        )
    return path


def models_of(args, paths: list[Path], training: Path | None) -> list[Path]:
    """The run's checkpoint folder of every circuit; empty without `--pairs`. Raises InputError when one is missing."""
    if not args.pairs:
        return []
    if not Path(args.pairs).is_file():
        raise InputError(
            f"--pairs {args.pairs}: expected a file of pairs, found none; create_causal_summarization_data.py makes it"
        )
    if training is None or None in map(step_of, paths):
        raise InputError(
            "--pairs: expected --training with the run's folder too, and circuits named C_step{N}.json, whose models are the "
            "run's checkpoint-N; give both, or leave --pairs out"
        )
    folders = [training.parent / f"checkpoint-{step_of(path)}" for path in paths]
    for folder in folders:
        hub.resolve_model(str(folder), "--training")
    return folders


def load_checkpoints(paths: list[Path]):
    """A `Checkpoint` for every file. Raises InputError for circuits of different models or tokenizers (guard 25)."""
    from study.evolution.content import Checkpoint

    circuits, names = opening.load_circuits(paths), [path.stem for path in paths]
    readers = [
        per_example_reader(path, circuit) for path, circuit in zip(paths, circuits, strict=True)
    ]
    return [
        Checkpoint(*row) for row in zip(names, map(step_of, paths), circuits, readers, strict=True)
    ]


def per_example_reader(path: Path, circuit):
    """A function that reads the (examples, edges) scores beside a circuit, or None.

    Raises InputError at once for scores that are not the circuit's.
    """
    if opening.example_scores(path, circuit) is None:
        return None
    return lambda: opening.example_scores(path, circuit)


# ---------------------------------------------------------------- faithfulness


def unseen_pairs(args, checkpoints, adapter, tokenizer):
    """The pairs that no circuit was found on, at most `--max_examples`. Raises InputError if there is none."""
    pairs = opening.read_pairs(args.pairs, adapter, tokenizer, console=console.Console(args.quiet))
    found_on = [checkpoint.circuit.metadata for checkpoint in checkpoints]
    unseen = opening.unseen_pairs(pairs, args.pairs, found_on)
    chosen = unseen[: args.max_examples]
    console.say(
        args,
        f"faithfulness on {len(chosen)} of {len(unseen)} unseen pairs; {len(pairs) - len(unseen)} that extraction saw left out",
    )
    return chosen


def faithfulness(args, checkpoints, folders: list[Path]) -> dict:
    """f of every checkpoint's own circuit and of the last circuit in every checkpoint: what evolution.json holds of them."""
    from eap import attribute, passes
    from study.evolution import faithfulness as evolution_faithfulness

    devices.seed_everything(args.seed)
    devices.of(args).say_circuit_dtype(console.Console(args.quiet))
    names, final = args.metrics, checkpoints[-1].circuit
    ablation = final.metadata.get("ablation", "patching")
    for name in names:
        attribute.check("exact", name, "left", ablation, 1)
    drawn = evolution_faithfulness.random_circuits(final, args.n_random, args.seed)
    beside = [
        drawn,
        *[[]] * (len(checkpoints) - 2),
        drawn,
    ]  # they carry next to nothing anywhere: both ends show it
    wanted = [
        evolution_faithfulness.circuits_at(each.circuit, final, kept)
        for each, kept in zip(checkpoints, beside, strict=True)
    ]
    rows, bar, batches = {name: [] for name in names}, None, None
    for checkpoint, folder, circuits in zip(checkpoints, folders, wanted, strict=True):
        run_here = {checkpoint.name: checkpoint.circuit, checkpoints[-1].name: final}
        adapter, tokenizer = opening.open_adapted(
            devices.of(args), str(folder), run_here, "--training"
        )
        if batches is None:
            pairs = unseen_pairs(args, checkpoints, adapter, tokenizer)
            batches = plan(args, adapter, pairs)
            bar = console.progress(
                None, args, "running circuits", len(batches) * sum(map(len, wanted))
            )
        means = passes.mean_activations(adapter, batches) if ablation == "mean" else None
        found = evolution_faithfulness.run_circuits(
            adapter, batches, circuits, names, ablation, means, bar.update
        )
        about = {"name": checkpoint.name, "step": checkpoint.step}
        for name in names:
            rows[name].append(about | evolution_faithfulness.summarise(found[name], args.seed))
        del adapter  # before the next is opened: one model in memory at a time
    bar.close()
    return {"examples": len(pairs), "ablation": ablation, "metrics": rows}


def require_own_models(args, checkpoints, folders: list[Path]) -> None:
    """Raise InputError if a circuit was found in other weights than its checkpoint's."""
    for checkpoint, folder in zip(checkpoints, folders, strict=True):
        opening.require_own_weights(
            checkpoint.circuit,
            checkpoint.name,
            str(folder),
            "--training",
            console=console.Console(args.quiet),
        )


def plan(args, adapter, pairs):
    """The pairs in batches that fit into half of the free memory."""
    from eap import dataset, memory

    size = args.batch_size or memory.plan_batch_size(
        adapter, pairs, 5, memory.free_bytes(devices.of(args).torch_device) // 2
    )
    return dataset.batches(pairs, size)


# ---------------------------------------------------------------- the script


@contextlib.contextmanager
def one_thread():
    """Run a block with torch on one thread: a circuit is a small tensor, and handing it to several costs more than it saves."""
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
    paths, training, folder = (
        circuit_files(args.circuits),
        training_file(args.training),
        Path(args.output_dir),
    )
    models = models_of(args, paths, training)
    from eap.scores import examples_beside

    outputs = [
        folder / name
        for name in (
            "evolution.json",
            "layers.evolution.json",
            *(f"evolution.{plot}.png" for plot in PLOTS),
        )
    ]
    given = [Path(path) for path in (training, args.pairs) if path]
    files = [*paths, *filter(Path.is_file, map(examples_beside, paths)), *given, *models]
    run = records.Run(
        vars(args),
        records.record_in(folder, __file__),
        outputs,
        {str(path): path for path in files},
    )
    if run.up_to_date:
        return

    from study.evolution import content as evolution_report

    checkpoints = load_checkpoints(paths)
    if models:
        require_own_models(args, checkpoints, models)
    with one_thread():
        found = evolution_report.evolve(checkpoints, args.resamples, args.trajectories, args.seed,
                                        lambda items: console.progress(items, args, "resampling"))  # fmt: skip
    content = {"format": 1, "seed": args.seed, **found}
    if training:
        log = disk.read_json(training, "training.json")
        content["training"] = {name: log.get(name, []) for name in ("loss", "validation")}
    content["faithfulness"] = faithfulness(args, checkpoints, models) if models else None
    write(args, content)
    run.finish()


def write(args, content) -> None:
    """The JSON files, the plots, and the tables on stdout."""
    from study import layers
    from study.evolution import faithfulness as evolution_faithfulness
    from study.evolution import figures as evolution_plots
    from study.evolution import words as evolution_words

    folder, found = Path(args.output_dir), content["faithfulness"]
    tables = (
        evolution_faithfulness.table(found)
        if found
        else [
            "Faithfulness at each checkpoint left out: give --training with the run's folder and --pairs data/pairs_eval.jsonl."
        ]
    )
    content["sentences"] += evolution_faithfulness.sentences(found) if found else []
    disk.write_json(folder / "evolution.json", content)
    layers.write_layers(folder / "layers.evolution.json", "evolution", content["layers"])
    known = [name for name in ("trajectories", "faithfulness") if content[name]]
    for name in (*PLOTS, *known):
        make = getattr(evolution_plots, f"{name}_figure")
        disk.save_figure(lambda make=make: make(content), folder / f"evolution.{name}.png")
    if content["moved"]:
        disk.drawn(
            lambda path: evolution_plots.moved_drawing(content, path),
            folder / "evolution.moved.png",
        )
    console.say(args, "\n".join([*tables, "", *evolution_words.lines(content)]))
    console.say(args, f"written: {folder / 'evolution.json'}, layers.evolution.json and plots")


if __name__ == "__main__":
    console.run_script(main)
