"""What was found, on one page: gathers the plots and numbers of all stages below a folder into one self-contained HTML file.

Reads   every artifact of the other scripts below --output_dir (PNG and JSON), and what --also
        names: files with their drawings, folders
Writes  report.html in --output_dir; it needs no network and no JavaScript, and prints well

    python make_report.py --output_dir outputs
"""

import glob
import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from eap import InputError
from runs import console, disk, flags, records
from study import page as report

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
OUTPUT_DIR = "outputs"  # the folder whose stages are gathered, and where report.html is written
# --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A stage: which JSON and PNG files are its, how to read them, and which parts of the JSON become tables (caption, dotted path)."""

    title: str
    json: str
    png: str
    reading: str
    tables: tuple[tuple[str, str], ...]
    times: str = ""  # a JSON file of seconds and memory: shown, but a report is not renewed for it


SECTIONS = (
    Section("Data", "salience.json", "salience.png",
            "A salient sentence is one that the reference summary draws on; the corrupted share should be about that of the control, "
            "in which as many tokens of other sentences are replaced.", (("Pairs", ""),)),
    Section("Fine-tuning", "training.json", "training.png",
            "The validation NLL, in nats per summary token, should fall and then level off; if it rises again, the last checkpoints "
            "overfit.",
            (("Validation along the schedule", "validation"),)),
    Section("Circuits", "C_*.json", "C_*.png",
            "A circuit is the set of edges with the largest scores; a completeness gap over 5 % "
            "says that the scores need more points. "
            "It is stable where its overlap with itself on resampled examples is over 0.8.",
            ()),
    Section("Evolution of the circuit", "evolution.json", "evolution.*.png",
            "A change counts only above the noise floor, which is what extracting again from resampled examples changes; "
            "a Jaccard index counts only above its chance level.",
            (("Checkpoints", "checkpoints"), ("Change rates", "rates"), ("Edges by what happened to their score", "moved.counts"),
             ("Edges that moved most, first to last", "moved.edges"), ("Faithfulness (KL) at each checkpoint", "faithfulness.metrics.kl"))),
    Section("Differences inside the models", "differential*.json", "differential.*.png",
            "A layer changed where similarity is below 1 or attention KL above 0; where the measures put different layers first, no "
            "single layer changed most, and what stands right of the dotted line is after the final norm, not a layer.",
            (("Layers that changed most", "changes"), ("Attention entropy, fine-tuned minus base", "entropy_change"),
             ("Massive dimensions", "massive_dimensions"))),
    Section("Faithfulness", "faithfulness.json", "faithfulness.png",
            "f is 1 where the circuit does what the model does and 0 where it does no more than the corrupted run; it means something "
            "only as far as it is above random circuits of the same size.",
            (("The circuit running alone: largest differences that should be zero", "identities"), ("By metric", "metrics"),
             ("KL, by size", "metrics.kl.rows"), ("NLL, by size", "metrics.nll.rows"), ("KL, against random and complement",
             "metrics.kl.nulls"), ("KL, smallest share of edges that reaches f", "metrics.kl.sizes_reaching"))),
    Section("Robustness", "robustness.json", "robustness*.png",
            "Two circuits differ only if their Jaccard index is below what two extractions of one model on resampled examples have, and "
            "agree only if it is above chance.",
            (("Circuits", "circuits"), ("Pairs of circuits", "pairs"), ("Perturbed inputs", "perturbation"),
             ("Other ways of extracting, with the circuit as extracted", "agreement.with_first"))),
    Section("Quality of the summaries", "rouge.json", "rouge.png",
            "Lead-3 takes the first three sentences and needs no model; a model is of use above it, and the oracle is what copying whole "
            "sentences can reach at most.", (("Systems", "systems"),)),
    Section("LoRA bake-off", "bakeoff.json", "bakeoff.png",
            "An arm is better or worse than another only where a word says so: the interval of their paired difference excludes zero, "
            "Holm's p is under 0.05 and all seeds agree in sign. Small points are seeds.",
            (("Arms", "arms"), ("Yardsticks", "yardsticks"), ("Left out", "left_out"),
             ("Costs: training as the mean of a seed; choice of layers empty where there is no record of it", "costs")), "costs.json"),
)  # fmt: skip
SKIPPED = (
    "checkpoint-*",
    "latents",
    "adapter",
    "model",
    ".*",
)  # folders that hold models, not results
MANY = "C_step*"  # the drawings of every checkpoint's circuit would fill the page; their sizes stand in the table


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


def gathered(folder: Path, also: list[str]) -> list[Path]:
    """The artifacts below `folder`, then those of `also`, each once.

    Raises InputError for a path that holds none.
    """
    files = artifacts(folder)
    for path in map(Path, also):
        more = artifacts(path) if path.is_dir() else with_drawings(path)
        if not more:
            raise InputError(
                f"--also {path}: expected a result of the other scripts or a folder of them, "
                "found none; check the path"
            )
        files += more
    return list({file.resolve(): file for file in files}.values())


def with_drawings(file: Path) -> list[Path]:
    """A result and the drawings that carry its name; nothing if it is not there or of no stage."""
    known = file.is_file() and any(belongs(file.name, section) for section in SECTIONS)
    stem = glob.escape(file.stem)
    drawings = [*file.parent.glob(f"{stem}.png"), *file.parent.glob(f"{stem}.*.png")]
    return [file, *sorted(drawings)] if known else []


def artifacts(folder: Path) -> list[Path]:
    """The PNG and JSON files below `folder` that are of a section, sorted by path."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if not any(fnmatch(name, pattern) for pattern in SKIPPED)
        ]
        found += [
            Path(parent) / name
            for name in names
            if any(belongs(name, section) for section in SECTIONS)
        ]
    return sorted(found)


def belongs(name: str, section: Section) -> bool:
    """Whether a file of this name is shown in the section."""
    if name.endswith(".run.json") or (fnmatch(name, MANY) and name.endswith(".png")):
        return False
    return fnmatch(name, section.json) or fnmatch(name, section.png) or name == section.times


def section_html(section: Section, files: list[Path], root: Path) -> str:
    """The section's sentence, then folder by folder its sentences, pictures and tables."""
    text = report.paragraph(section.reading, "reading")
    folders = sorted({file.parent for file in files})
    for folder in folders:
        here = [file for file in files if file.parent == folder]
        text += (
            report.heading(os.path.relpath(folder, root) if folder != root else root.name)
            if len(folders) > 1
            else ""
        )
        contents = {file: disk.read_json(file) for file in here if file.suffix == ".json"}
        for content in contents.values():
            text += report.bullets(
                next(
                    (
                        content[name]
                        for name in ("sentences", "lines")
                        if isinstance(content.get(name), list)
                    ),
                    [],
                )
            )
        text += "".join(report.picture(file, file.name) for file in here if file.suffix == ".png")
        text += tables(section, contents)
    return text


def tables(section: Section, contents: dict[Path, dict]) -> str:
    """The tables of a section's JSON files."""
    if section.json == "C_*.json":
        ordered = sorted(contents.items(), key=by_step)
        rows = [circuit_row(file, content) for file, content in ordered]
        return report.table("Circuits", rows) + "".join(
            stability_html(file.stem, part(content, "metadata.stability"))
            for file, content in ordered
            if not fnmatch(file.name, MANY)
        )
    made = [
        report.table(caption, part(content, path))
        for content in contents.values()
        for caption, path in section.tables
    ]
    if section.json == "bakeoff.json":
        made += [
            report.table(f"Paired differences to {reference}", difference_rows(measures))
            for content in contents.values()
            for reference, measures in content.get("differences", {}).items()
        ]
    return "".join(made)


def part(content, path: str):
    """What stands at a dotted path of a JSON file; None if there is nothing."""
    for name in filter(None, path.split(".")):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def circuit_row(file: Path, content: dict) -> dict:
    """What the table of circuits says of one."""
    told = content.get("metadata", {})
    sizes, completeness, bootstrap = (
        told.get("sizes", {}),
        told.get("completeness"),
        told.get("bootstrap", {}),
    )
    kept = sum(
        edge if isinstance(edge, bool) else edge["in_graph"]
        for edge in content.get("edges", {}).values()
    )
    return {
        "circuit": file.stem, "method": told.get("method"), "metric": told.get("metric"),
        "examples": len(told.get("example_ids", [])) or None,
        "selected": sizes.get("selected"), "after_pruning": kept, "of_edges": sizes.get("edges"),
        "noise_floor": bootstrap.get("noise_floor", {}).get("mean"), "stable": bootstrap.get("stable"),
        "stable_sizes": stable_sizes(told.get("stability")),
        "completeness_gap": completeness.get("gap") if isinstance(completeness, dict) else completeness,
    }  # fmt: skip


def stability_html(name: str, about: dict | None) -> str:
    """How stable a circuit is, in sentences and at other sizes."""
    if about is None:
        return ""
    said = [f"{name}: {sentence}" for sentence in about["sentences"]]
    sizes = report.table(f"{name}: overlap of resamples at other sizes", about["sizes"])
    return report.bullets(said) + sizes


def stable_sizes(about: dict | None) -> str | None:
    """The smallest and the largest size at which a circuit is stable, as shares of all edges, and
    those between them at which it is not.
    """
    if about is None:
        return None
    span = about["stable_sizes"]
    if span is None:
        return "none"
    if span["smallest"] == span["largest"]:
        return f"{span['smallest']:.1%}"
    but = ", ".join(f"{size:.1%}" for size in span.get("but", ()))
    return f"{span['smallest']:.1%} to {span['largest']:.1%}" + (f", not {but}" if but else "")


def difference_rows(measures: dict) -> list[dict]:
    """A row per arm: its paired difference to a reference in ROUGE-1 and NLL (nats), with interval, Holm's p and what may be said."""
    labels = {"rouge1": "ROUGE-1", "nll_nats": "NLL"}
    rows = {}
    for measure, label in labels.items():
        for arm, found in measures.get(measure, {}).items():
            rows.setdefault(arm, {"": arm}).update(
                {label: found, f"{label} Holm p": found["p_holm"], f"{label} word": found["claim"]}
            )
    return list(rows.values())


def by_step(item):
    """Sorts C_step2 before C_step10."""
    stem = item[0].stem
    return (
        ("", int(stem.removeprefix("C_step")))
        if stem.removeprefix("C_step").isdigit()
        else (stem, 0)
    )


def start(args, folder: Path, files: list[Path]):
    """The run. A report of its own making is renewed without --overwrite: it is a view of the folder, and nothing is lost."""
    record = records.record_in(folder, __file__)
    times = {section.times for section in SECTIONS}
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
            f"--output_dir {folder}: expected results of the other scripts below this folder, found none; run one of them, "
            "or run_pipeline.py"
        )
    run = start(args, folder, files)
    if run.up_to_date:
        return
    shown = [
        (section, [file for file in files if belongs(file.name, section)]) for section in SECTIONS
    ]
    sections = [
        (section.title, section_html(section, found, folder)) for section, found in shown if found
    ]
    missing = [section.title.lower() for section, found in shown if not found]
    introduction = "Every number stands in the JSON file of its stage; arguments, seed, versions and times stand in run.*.json beside it."
    introduction += f" Not there yet: {', '.join(missing)}." if missing else ""
    disk.write_text(
        folder / "report.html",
        report.page("How the model learned to summarize", introduction, sections),
    )
    console.Console.of(vars(args)).say(
        f"written: {folder / 'report.html'} ({', '.join(title for title, _ in sections)})"
    )
    run.finish()


if __name__ == "__main__":
    console.run_script(main)
