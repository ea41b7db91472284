"""What an arm costs: seconds of training, sweep and the choice of its layers, and memory."""

from pathlib import Path

from runs import disk, records, scripts
from study.bakeoff.arms import Placement, file_of
from study.bakeoff.lora import Arm
from study.bakeoff.numbers import Cost


def cost(placement: Placement, arm: Arm, *, run_records: list[dict], sweep_seconds: float) -> Cost:
    """The cost of an arm from the run records of its seeds."""
    seconds = sum(record["training_seconds"] for record in run_records) / len(run_records)
    return Cost(
        train_seconds=round(seconds, 2),
        sweep_seconds=sweep_seconds,
        choice_seconds=choice_seconds(placement, arm),
        peak_gb=max(record["peak_memory_gb"] for record in run_records),
        peak_of=run_records[0]["peak_memory_is_of"],
    )


def choice_seconds(placement: Placement, arm: Arm) -> float | None:
    """What the choice of an arm's layers took before the bake-off, by the records behind its file.

    None if there are none.
    """
    chosen_by = file_of(placement, arm)
    return 0.0 if chosen_by is None else seconds_behind(chosen_by.path)


def seconds_behind(source, seen: set | None = None) -> float | None:
    """Seconds that the scripts took whose outputs led to the file `source`, by their run records,
    each counted once.

    None ("no record") as soon as a script's output on the way is gone, has no record, or has one of
    an unfinished run. What no script here made (a model or data set that was given) counts nothing.
    A record of a resumed run holds its last part only.
    """
    seen = set() if seen is None else seen
    path = record_of(Path(source))
    if path is None:
        return None
    if path in seen:
        return 0.0
    seen.add(path)
    record = disk.read_json(path, "run record")
    if not record.get("complete") or "duration_seconds" not in record:
        return None
    behind = [
        input_seconds(name, entry, record=path, seen=seen)
        for name, entry in record["inputs"].items()
    ]
    known = [seconds for seconds in behind if seconds is not None]
    return record["duration_seconds"] + sum(known) if len(known) == len(behind) else None


def input_seconds(name: str, entry: dict, *, record: Path, seen: set) -> float | None:
    """`seconds_behind` an input of a record; 0 for what may have been given and has no record of
    its own.
    """
    made = name == "finetuned"  # someone's fine-tuning did cost something
    if "commit" in entry:  # on the Hub
        return None if made else 0.0
    path = found_from(record, entry["source"])
    if path is None:
        return None
    made = made or path.suffix in (".json", ".safetensors") or path.name.startswith("checkpoint-")
    return seconds_behind(path, seen) if made or record_of(path) else 0.0


def found_from(record: Path, source: str) -> Path | None:
    """The path that a record names, which may be relative to the folder its script ran in: that is
    one above the record.
    """
    return next(
        (folder / source for folder in record.resolve().parents if (folder / source).exists()), None
    )


def record_of(path: Path) -> Path | None:
    """The run record of the script that wrote a file or a model folder; None if there is none."""
    path = path.resolve()
    is_model = path.is_dir()
    maker = scripts.maker_of(scripts.MODEL if is_model else path.name)
    if is_model and path.name.startswith("checkpoint-"):
        path = path.parent
    if maker is not None:
        candidates = [records.record_in(path if is_model else path.parent, maker)]
    else:  # C.json and C.examples.safetensors have one record
        candidates = [records.record_beside(path), records.record_beside(path.with_suffix(""))]
    return next((record for record in candidates if record.is_file()), None)
