"""What was found, on one page: plots and numbers of all stages below a folder in one HTML file.

The page opens from disk, in any browser, without a network. It begins with the findings and with an
explorer of the circuits: a slider over the checkpoints, filters, a node's edges, two circuits
compared. A view of it can be shared by its address, and saved with your labels.

Reads   every artifact of the other scripts below --output_dir (PNG and JSON), circuits of other
        tools among them, and what --also names: files with their drawings, folders
Writes  report.html in --output_dir

    python make_report.py --output_dir outputs
"""

import os
from pathlib import Path

from eap import InputError
from runs import console, disk, flags, records
from study.page import artifacts, sections

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
OUTPUT_DIR = "outputs"  # the folder whose stages are gathered, and where report.html is written
# --------------------------------------------------------------------------------------------


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


def start(args, folder: Path, files: list[Path]):
    """The run. A report of its own making is renewed without --overwrite: it is a view of the
    folder, and nothing is lost.
    """
    record = records.record_in(folder, __file__)
    times = {section.times for section in sections.SECTIONS}
    inputs = {os.path.relpath(file, folder): file for file in files if file.name not in times}
    outputs = [folder / "report.html"]
    try:
        return records.Run(vars(args), record, outputs=outputs, inputs=inputs)
    except InputError:
        if not record.is_file():
            raise
        args.overwrite = True
        return records.Run(vars(args), record, outputs=outputs, inputs=inputs)


def main(argv=None):
    """Gather what is there into one page."""
    args = parse(argv)
    folder = Path(args.output_dir)
    files = artifacts.gathered(folder, args.also or [])
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

    own_record = records.record_in(folder, __file__)
    shown = gathering.Files(
        results=files,
        circuits=[file for file in files if artifacts.is_circuit(file)],
        records=artifacts.run_records(files, folder, but=own_record.name),
    )
    page = gathering.gather(shown, folder)
    report = folder / "report.html"
    disk.write_text(report, html.render(page))
    summary = headline.report_headline(page, report.stat().st_size, folder=folder)
    show(console.Console.of(vars(args)), summary, outputs=[report], details=headline.details(page))
    run.finish()


if __name__ == "__main__":
    console.run_script(main)
