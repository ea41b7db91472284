"""From which checkpoint a fine-tuning run goes on, and whether it is a whole one of this run."""

import json
import os
import shutil
import zipfile
from pathlib import Path

from eap import InputError
from runs import checkpoints, console, disk, records, scripts

SCRIPT = "run_finetuning_with_checkpoints"
# What a resumed run may have otherwise than the run it goes on with: the weights come out the same.
FREE_TO_CHANGE = {"device", "dataloader_num_workers", "per_device_eval_batch_size"}
STATE_FILES = ("optimizer.pt", "scheduler.pt")  # of Trainer, in each checkpoint


def identity_of(flags: dict) -> dict:
    """The flags that a run is known by, and its processes if many: each adds to the batch."""
    known = {name: value for name, value in flags.items() if name != "resume_from_checkpoint"}
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return known | ({"processes": processes} if processes > 1 else {})


def checkpoint_asked_for(identity: dict, path: str | None, *, inputs: dict) -> Path | None:
    """The checkpoint folder that `--resume_from_checkpoint` names; None if it is not given.

    Raises InputError if it is not a whole one that the script wrote, or if it is of a run with
    other flags or inputs: what the record says would not be what was trained.
    """
    if path is None:
        return None
    output_dir = Path(identity["output_dir"])
    last = checkpoints.complete_checkpoints(output_dir) or [output_dir / "checkpoint-N"]
    folder = last[-1] if path == "last" else Path(path)
    record_path = records.record_in(folder.parent, SCRIPT)
    if not (folder / "trainer_state.json").is_file() or not record_path.is_file():
        raise InputError(
            "--resume_from_checkpoint: expected a checkpoint folder of a run of this script, found "
            f"none at {folder}"
        )
    record = disk.read_json(record_path, "record of a run")
    if record.get("starts_over"):  # what lies there is still of the run that it replaces
        record = (record.get("replaces") or {}).get("record") or {}
    require_same_run(folder, record, identity=identity, inputs=inputs)
    require_whole(folder)
    return folder


def require_same_run(folder: Path, record: dict, *, identity: dict, inputs: dict) -> None:
    """Raise InputError unless a run's record asks for the training that is asked for now.

    Paths and the flags in FREE_TO_CHANGE may differ; model and data are known by what they hold.
    """
    before = record.get("arguments", {})
    asked = json.loads(json.dumps(identity, default=str))
    names = sorted((set(before) | set(asked)) - FREE_TO_CHANGE - records.COSMETIC - scripts.PLACES)
    changed = [name for name in names if before.get(name) != asked.get(name)]
    other = [f"--{name} {before.get(name)}" for name in changed]
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


def where_to_start(
    run, trainer, *, asked: Path | None, overwrite: bool, out: console.Console
) -> Path | None:
    """The checkpoint to go on from, the same in every process.

    None, with what an overwritten run left removed, for a new start.
    """
    from accelerate.utils import broadcast_object_list

    output_dir = Path(trainer.args.output_dir)
    written = checkpoints.complete_checkpoints(output_dir)
    goes_on = run.same and not run.starts_over and (run.resumed or not overwrite)
    start = asked or (written[-1] if written and goes_on else None)
    # only the first process knows whether the record was there before
    start = broadcast_object_list([start])[0]
    if start is None and console.is_main_process():
        for leftover in [*written, output_dir / "latents"]:
            shutil.rmtree(leftover, ignore_errors=True)
        run.cleared()
    trainer.accelerator.wait_for_everyone()
    if start is not None:
        require_whole(start)
        require_weights_of(start, trainer.model)
        out.say(f"going on from {start}")
    if asked is not None:
        for note in notes_on(asked, output_dir):
            console.warn(note)
    return start


def notes_on(start: Path, output_dir: Path) -> list[str]:
    """What is to be said of going on from a checkpoint that was asked for, in this folder."""
    state, notes = disk.read_json(start / "trainer_state.json"), []
    if state["global_step"] >= state.get("max_steps", state["global_step"] + 1):
        notes.append(f"note: {start} is the last step of its run: nothing is left to train")
    if start.resolve().parent != output_dir.resolve():
        notes.append(
            f"note: checkpoints up to {start.name} stay in {start.parent}; {output_dir} gets later "
            "ones only"
        )
    return notes
