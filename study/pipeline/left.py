"""What of a study is not done yet, as far as records, checkpoints and folders of arms tell."""

import json
from pathlib import Path

from runs import disk, records
from study.pipeline.workload import BAKEOFF, CHECKPOINTS, EXTRACTION, TRAINING

PAIR_BUILDING = "create_causal_summarization_data"
# Which circuit a file is, by a part of its name; the first that fits.
CIRCUITS = {"EAP-IG": "beside", "before": "before", "after": "after"}


def left_of(stage: str, flags: dict) -> dict[str, float]:
    """{stage: the share of it that is not done yet}; of an extraction, of its circuit or circuits.

    `flags` are those of the stage's command. Inputs are not looked at. Nothing for a second
    command of a stage, which takes no time.
    """
    if stage == EXTRACTION:
        return left_of_circuits(flags)
    if flags.get("run"):
        return {}
    record = records.record_in(flags["output_dir"], stage)
    if stage == PAIR_BUILDING:
        record = records.record_beside(flags["output"])
    if is_recorded(flags, record):
        return {stage: 0}
    if stage == TRAINING:
        return {stage: 1 - trained_share(Path(flags["output_dir"]))}
    if stage == BAKEOFF:
        return {stage: left_of_arms(flags)}
    return {stage: 1}


def left_of_circuits(flags: dict) -> dict[str, float]:
    """{before, after, beside or checkpoints: the share of its circuits that are not there yet}."""
    if flags["all_checkpoints"]:
        written = Path(flags["output_dir"]).glob("C_step*.run.json")
        own = frozenset({"model_path", "output"})  # of each circuit
        done = sum(is_recorded(flags, record, but=own) for record in written)
        return {"checkpoints": max(0, 1 - done / CHECKPOINTS)}
    file = Path(flags["output"]).name
    name = next(name for part, name in CIRCUITS.items() if part in file)
    return {name: 1 - is_recorded(flags, records.record_beside(flags["output"]))}


def left_of_arms(flags: dict) -> float:
    """The share of the bake-off's trials that are not judged yet."""
    done = len(list(Path(flags["output_dir"]).glob("*/seed-*/metrics.json")))
    trained = set(flags["arms"]) - {"none"}
    n_trials = len(trained) * flags["seeds"] + ("none" in flags["arms"])
    return max(0, 1 - done / n_trials)


def trained_share(folder: Path) -> float:
    """How much of an unfinished training its last checkpoint holds."""
    states = [disk.read_json(path) for path in folder.glob("checkpoint-*/trainer_state.json")]
    return max((state["global_step"] / state["max_steps"] for state in states), default=0)


def is_recorded(flags: dict, record: Path, *, but: frozenset[str] = frozenset()) -> bool:
    """Whether a complete run with these flags is on record; with --overwrite none is.

    Flags named in `but`, and those that cannot change a result or say where it lies, may differ.
    """
    if flags["overwrite"] or not record.is_file():
        return False
    about = disk.read_json(record, "record of a run")
    ignored = records.COSMETIC | records.PLACES | but
    known = {name: value for name, value in about["arguments"].items() if name not in ignored}
    asked = json.loads(json.dumps(flags, default=str))
    same = all(name in asked and asked[name] == value for name, value in known.items())
    return about["complete"] and same  # a record may leave out what cannot change a result
