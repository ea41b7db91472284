"""What evolution reads: circuits in training order, the run's loss, and its checkpoints' models."""

from pathlib import Path

from eap import InputError
from runs import checkpoints, hub, opening


def circuit_files(given: list[str]) -> list[Path]:
    """The circuit files in order: those of a folder by step, or the files as given.

    Raises InputError for fewer than two.
    """
    paths = [Path(name) for name in given]
    if len(paths) == 1 and paths[0].is_dir():
        paths = checkpoints.circuits_in(paths[0])
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"--circuits {missing[0]}: expected a circuit file, found none; "
            "extract_summarization_circuit.py makes it, for instance with --model_path demo"
        )
    if len(paths) < 2:
        raise InputError(
            f"--circuits {' '.join(given)}: expected a folder with at least 2 files "
            f"C_step{{N}}.json, or at least 2 files in order, found {len(paths)}; "
            "extract_summarization_circuit.py --all_checkpoints writes such a folder"
        )
    return paths


def training_file(given: str) -> Path | None:
    """training.json of `--training`, which may name its folder; None for none.

    Raises InputError if it is not there.
    """
    if not given:
        return None
    path = Path(given) / "training.json" if Path(given).is_dir() else Path(given)
    if not path.is_file():
        raise InputError(
            f"--training {given}: expected training.json or its folder, found none; the "
            "fine-tuning script writes it"
        )
    return path


def model_folders(pairs: str, paths: list[Path], *, training: Path | None) -> list[Path]:
    """The run's checkpoint folder of every circuit; empty without `pairs` to run them on.

    Raises InputError when one is missing.
    """
    if not pairs:
        return []
    if not Path(pairs).is_file():
        raise InputError(
            f"--pairs {pairs}: expected a file of pairs, found none; "
            "create_causal_summarization_data.py makes it"
        )
    numbered = [checkpoints.step_of_circuit(path) for path in paths]
    steps = [step for step in numbered if step is not None]
    if training is None or len(steps) < len(paths):
        raise InputError(
            "--pairs: expected --training with the run's folder too, and circuits named "
            "C_step{N}.json, whose models are the run's checkpoint-N; give both, or leave --pairs "
            "out"
        )
    folders = [checkpoints.folder_of(step, training.parent) for step in steps]
    for folder in folders:
        hub.resolve_model(str(folder), "--training")
    return folders


def load_checkpoints(paths: list[Path]):
    """A results.Checkpoint for every file.

    Raises InputError for circuits of different models or tokenizers (guard 25), and for scores
    beside a circuit that are not its own.
    """
    from study.evolution.results import Checkpoint

    loaded = []
    for path, circuit in zip(paths, opening.load_circuits(paths), strict=True):
        step = checkpoints.step_of_circuit(path)
        loaded.append(Checkpoint(path.stem, step, circuit, per_example_reader(path, circuit)))
    return loaded


def per_example_reader(path: Path, circuit):
    """A function that reads the (examples, edges) scores beside a circuit; None without any.

    Raises InputError at once for scores that are not the circuit's.
    """
    if opening.example_scores(path, circuit) is None:
        return None

    def read():
        scores = opening.example_scores(path, circuit)
        if scores is None:
            raise InputError(f"{path}: expected the scores beside it, which were there; run again")
        return scores

    return read
