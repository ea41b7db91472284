"""How does the circuit move while the model is fine-tuned, and is that more than noise?

Reads   circuits in training order: a folder of C_step{N}.json, or files; C_*.examples.safetensors beside them, if there, for the noise
        floor and the intervals; with --training the loss of the fine-tuning run
Writes  evolution.json, layers.evolution.json, evolution.{change,jaccard,layers}.png and, if the circuits have scores,
        evolution.trajectories.png in --output_dir

    python analyze_circuit_evolution.py --circuits outputs/circuits --training model_outputs/gpt2_20k_finetuned
"""

import contextlib
import re
from pathlib import Path

from eap import InputError
from summarization import runs

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
CIRCUITS = ["C_before_summarization.json", "C_after_summarization.json"]  # or a folder of C_step{N}.json
TRAINING = ""  # training.json of the fine-tuning run, or its folder: draws the loss above the change; empty for none
RESAMPLES = 100  # extractions on resampled examples per checkpoint, 0.03 s each; more make the edges of the noise floor surer; 0: none
TRAJECTORIES = 10  # how many edges' scores are drawn over the checkpoints: those that moved most
# --------------------------------------------------------------------------------------------

PLOTS = ("change", "jaccard", "layers")


def parse(argv=None):
    """The script's arguments."""
    parser = runs.parser(__doc__, "outputs/analyze_circuit_evolution")
    parser.add_argument("--circuits", nargs="+", default=CIRCUITS,
                        help="a folder of C_step{N}.json, or files in order (default: %(default)s)")
    parser.add_argument("--training", default=TRAINING, help="training.json of the fine-tuning run, or its folder (default: none)")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="resamplings for the noise floor; 0: none (default: %(default)s)")
    parser.add_argument("--trajectories", type=runs.positive_int, default=TRAJECTORIES, help="edges drawn (default: %(default)s)")
    return parser.parse_args(argv)


def step_of(path: Path) -> int | None:
    """The N of `C_step{N}.json`; None for other names."""
    found = re.fullmatch(r"C_step(\d+)\.json", path.name)
    return int(found[1]) if found else None


def circuit_files(given: list[str]) -> list[Path]:
    """The circuit files in order: those of a folder by step, or the files as given. Raises InputError for fewer than two."""
    paths = [Path(name) for name in given]
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted((path for path in paths[0].iterdir() if step_of(path) is not None), key=step_of)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(f"--circuits {missing[0]}: expected a circuit file, found none; extract_summarization_circuit.py "
                         "makes it, for instance with --model_path demo")
    if len(paths) < 2:
        raise InputError(f"--circuits {' '.join(given)}: expected a folder with at least 2 files C_step{{N}}.json, or at least 2 files in "
                         f"order, found {len(paths)}; extract_summarization_circuit.py --all_checkpoints writes such a folder")
    return paths


def training_file(given: str) -> Path | None:
    """training.json of `--training`, which may name its folder. Raises InputError if it is not there."""
    if not given:
        return None
    path = Path(given) / "training.json" if Path(given).is_dir() else Path(given)
    if not path.is_file():
        raise InputError(f"--training {given}: expected training.json or its folder, found none; the fine-tuning script writes it")
    return path


def load_checkpoints(paths: list[Path], max_examples: int | None):
    """A `Checkpoint` for every file. Raises InputError for circuits of different models or tokenizers (guard 25)."""
    from eap.circuit import load_circuit, require_comparable
    from eap.evolution_report import Checkpoint

    circuits, names = [load_circuit(path) for path in paths], [path.stem for path in paths]
    require_comparable(circuits, [str(path) for path in paths])
    readers = [per_example_reader(path, circuit.graph.n_edges, max_examples) for path, circuit in zip(paths, circuits, strict=True)]
    return [Checkpoint(*row) for row in zip(names, map(step_of, paths), circuits, readers, strict=True)]


def per_example_reader(circuit: Path, n_edges: int, max_examples: int | None):
    """A function that reads the (examples, edges) scores beside a circuit, or None if there are none."""
    from eap.files import examples_beside, load_example_scores

    path = examples_beside(circuit)
    if not path.is_file():
        return None

    def read():
        scores = load_example_scores(path)[:max_examples]
        if scores.shape[1] != n_edges:
            raise InputError(f"{path}: expected scores of {n_edges} edges, got {scores.shape[1]}; extract the circuit again")
        return scores

    return read


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
    paths, training, folder = circuit_files(args.circuits), training_file(args.training), Path(args.output_dir)
    from eap.files import examples_beside

    outputs = [folder / name for name in ("evolution.json", "layers.evolution.json", *(f"evolution.{plot}.png" for plot in PLOTS))]
    files = [*paths, *filter(Path.is_file, map(examples_beside, paths)), *([training] if training else [])]
    run = runs.Run(args, runs.record_in(folder, __file__), outputs, {str(path): path for path in files})
    if run.up_to_date:
        return

    from eap import evolution_plots, evolution_report
    from summarization import layers

    checkpoints = load_checkpoints(paths, args.max_examples)
    with one_thread():
        found = evolution_report.evolve(checkpoints, args.resamples, args.trajectories, args.seed,
                                        lambda items: runs.progress(items, args, "resampling"))  # fmt: skip
    content = {"format": 1, "seed": args.seed, **found}
    if training:
        log = runs.read_json(training, "training.json")
        content["training"] = {name: log.get(name, []) for name in ("loss", "validation")}
    runs.write_json(folder / "evolution.json", content)
    layers.write_layers(folder / "layers.evolution.json", "evolution", content["layers"])
    for name in (*PLOTS, *(["trajectories"] if content["trajectories"] else [])):
        runs.save_figure(getattr(evolution_plots, f"{name}_figure")(content), folder / f"evolution.{name}.png")
    runs.say(args, "\n".join(evolution_report.lines(content)))
    runs.say(args, f"written: {folder / 'evolution.json'}, layers.evolution.json and plots")
    run.finish()


if __name__ == "__main__":
    runs.run_script(main)
