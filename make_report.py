"""What was found, on one page: plots and numbers of all stages below a folder in one HTML file.

The page opens from disk, in any browser, without a network. It begins with the findings and with an
explorer of the circuits: a slider over the checkpoints, filters, a node's edges, two circuits
compared. A view of it can be shared by its address, and saved with your labels.

Reads   every artifact of the other scripts below --output_dir (PNG and JSON), circuits of other
        tools among them, and what --also names: files with their drawings, folders
Writes  report.html in --output_dir

    python make_report.py --output_dir outputs
"""

import glob
import os
from fnmatch import fnmatch
from pathlib import Path

from eap import InputError
from runs import console, disk, flags, records
from study.page import sections

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
OUTPUT_DIR = "outputs"  # the folder whose stages are gathered, and where report.html is written
# --------------------------------------------------------------------------------------------

# folders that hold models, not results
SKIPPED = ("checkpoint-*", "latents", "adapter", "model", ".*")
HEAD = 4096  # bytes of a JSON file in which a circuit's `cfg` stands


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR)
    parser.add_argument(
        "--also",
        nargs="+",
        type=flags.text,
        help="results that lie elsewhere: a circuit, a fine-tuning run's folder (default: none)",
    )
    return parser.parse_args(argv)


# ---------------------------------------------------------------- files


def gathered(folder: Path, also: list[str]) -> list[Path]:
    """The artifacts below `folder`, then those of `also`, each once.

    Raises InputError for a path that holds none.
    """
    files = artifacts(folder)
    for path in map(Path, also):
        more = artifacts(path) if path.is_dir() else with_drawings(path)
        if not more:
            raise InputError(
                f"--also {path}: expected a result of the other scripts, a circuit or a folder of "
                "them, found none; check the path"
            )
        files += more
    return list({file.resolve(): file for file in files}.values())


def with_drawings(file: Path) -> list[Path]:
    """A result and the drawings that carry its name; nothing if it is not there or of no stage."""
    if not file.is_file() or not is_result(file):
        return []
    stem = glob.escape(file.stem)
    drawings = [*file.parent.glob(f"{stem}.png"), *file.parent.glob(f"{stem}.*.png")]
    return [file, *sorted(drawings)]


def artifacts(folder: Path) -> list[Path]:
    """The PNG and JSON files below `folder` that are of a stage, and circuits, sorted by path."""
    return sorted(file for file in below(folder) if is_result(file))


def below(folder: Path) -> list[Path]:
    """Every file below `folder`, outside the folders that hold models."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if not any(fnmatch(name, pattern) for pattern in SKIPPED)
        ]
        files += [Path(parent) / name for name in names]
    return files


def is_result(file: Path) -> bool:
    """Whether a file is of a stage, or a circuit under a name of its own."""
    return sections.known(file.name) or is_circuit(file)


def is_circuit(file: Path) -> bool:
    """Whether a file is a circuit: ours by its name, another tool's by its first key, `cfg`."""
    if file.suffix != ".json" or is_record(file):
        return False
    if fnmatch(file.name, sections.CIRCUIT):
        return True
    if sections.known(file.name):
        return False
    with open(file, "rb") as opened:
        return opened.read(HEAD).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and _says_cfg(file)


def _says_cfg(file: Path) -> bool:
    with open(file, "rb") as opened:
        return b'"cfg"' in opened.read(HEAD)


def is_record(file: Path) -> bool:
    """Whether a file is the record of a run."""
    return file.name.endswith(".run.json") or fnmatch(file.name, "run.*.json")


# ---------------------------------------------------------------- the run


def start(args, folder: Path, files: list[Path]):
    """The run. A report of its own making is renewed without --overwrite: it is a view of the
    folder, and nothing is lost.
    """
    record = records.record_in(folder, __file__)
    times = {section.times for section in sections.SECTIONS}
    inputs = {os.path.relpath(file, folder): file for file in files if file.name not in times}
    described = record, [folder / "report.html"], inputs
    try:
        return records.Run(vars(args), *described)
    except InputError:
        if not record.is_file():
            raise
        args.overwrite = True
        return records.Run(vars(args), *described)


def main(argv=None):
    """Gather what is there into one page."""
    args = parse(argv)
    folder = Path(args.output_dir)
    files = gathered(folder, args.also or [])
    if not files:
        raise InputError(
            f"--output_dir {folder}: expected results of the other scripts below this folder, "
            "found none; run one of them, or run_pipeline.py"
        )
    run = start(args, folder, files)
    if run.up_to_date:
        return
    from study.headline import show
    from study.page import gathering, headline, html

    beside = {file for parent in {file.parent for file in files} for file in parent.glob("*.json")}
    found = gathering.Files(
        results=files,
        circuits=[file for file in files if is_circuit(file)],
        records=sorted(file for file in beside | set(below(folder)) if is_run_of_others(file)),
    )
    page = gathering.gather(found, folder)
    report = folder / "report.html"
    disk.write_text(report, html.render(page))
    said = headline.report_headline(page, report.stat().st_size, folder)
    show(console.Console.of(vars(args)), said, [report], headline.details(page))
    run.finish()


def is_run_of_others(file: Path) -> bool:
    """Whether a file is the record of another script's run."""
    return is_record(file) and file.name != records.record_in(".", __file__).name


if __name__ == "__main__":
    console.run_script(main)
