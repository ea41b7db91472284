"""What was run, from the records: scripts, models, data, counts, versions, seeds, times."""

from pathlib import Path

from study.page import rounding
from study.page.tables import Table, cell

KEPT_OF_SHA = 12  # characters of a SHA-256 that are shown


def what_was_run(records: dict[Path, dict]) -> list[Table]:
    """Tables of the complete records, in the order in which the runs are listed."""
    complete = [record for record in records.values() if record.get("complete")]
    if not complete:
        return []
    return [_runs(complete), _inputs(complete), _versions(complete)]


def _runs(records: list[dict]) -> Table:
    rows = []
    for record in records:
        arguments = record.get("arguments") or {}
        outputs = record.get("output_bytes") or {}
        rows.append(
            [
                cell(record["script"]),
                cell(next(iter(outputs), None)),
                cell(record.get("seed")),
                cell(_words(arguments, ("max_examples", "subset_train_size", "n_texts"))),
                cell(arguments.get("device")),
                cell(arguments.get("dtype")),
                cell(_duration(record.get("duration_seconds"))),
                cell(record.get("peak_memory_gb")),
                cell(record.get("times_resumed")),
            ]
        )
    heads = ["script", "first output", "seed", "counts", "device", "dtype", "time", "peak GB"]
    return Table("Runs", [*heads, "resumed"], rows)


def _words(arguments: dict, names) -> str:
    given = [f"{name} {arguments[name]}" for name in names if arguments.get(name) is not None]
    return ", ".join(given)


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{rounding.number(seconds, 2)} s"


def _inputs(records: list[dict]) -> Table:
    rows, seen = [], set()
    for record in records:
        for name, source in (record.get("inputs") or {}).items():
            kind = name if name.isidentifier() or " " in name else "file"
            place = Path(str(source.get("source"))).name or str(source.get("source"))
            key = kind, place, source.get("sha256")
            if key not in seen and kind != "file":
                seen.add(key)
                sha = str(source.get("sha256") or "")[:KEPT_OF_SHA]
                rows.append([cell(kind), cell(place), cell(source.get("commit")), cell(sha)])
    return Table(
        "Models, data and circuits that were read", ["", "name", "commit", "SHA-256"], rows
    )


def _versions(records: list[dict]) -> Table:
    columns = list(dict.fromkeys(name for row in records for name in row.get("versions") or {}))
    sets = {}
    for record in records:
        versions = record.get("versions") or {}
        key = tuple(versions.get(name) for name in columns), record.get("git_commit")
        sets.setdefault(key, set()).add(record["script"])
    rows = [
        [*map(cell, versions), cell((commit or "")[:KEPT_OF_SHA]), cell(len(scripts))]
        for (versions, commit), scripts in sets.items()
    ]
    return Table("Versions", [*columns, "git commit", "scripts"], rows)
