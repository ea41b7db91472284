"""Everything that the page shows, gathered from the stages' files into plain data."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from runs import disk
from study import captions
from study.bakeoff import headline as bakeoff
from study.differential import headline as differential
from study.evolution import headline as evolution
from study.extraction import headline as extraction
from study.faithfulness import headline as faithfulness
from study.findings import Finding, sentence
from study.headline import Headline
from study.page import circuits, pictures, provenance, sections
from study.page.answers import Answer, answers
from study.page.pictures import Picture
from study.page.rounding import counted, percent
from study.page.sections import SECTIONS, Section
from study.page.tables import Table, table
from study.pairs import headline as pairs
from study.quality import headline as quality
from study.robustness import headline as robustness
from study.training import headline as training

TITLE = "How the model learned to summarize"


class Says(NamedTuple):
    """What a stage says of its JSON: in a few lines, and its findings alone."""

    headline: Callable[[dict], Headline]
    findings: Callable[[dict], tuple[Finding, ...]]


STAGES = {  # by the name of the JSON, in the order in which the first screen asks
    "salience.json": Says(pairs.headline, pairs.findings),
    "training.json": Says(training.headline, training.findings),
    "faithfulness.json": Says(faithfulness.headline, faithfulness.findings),
    "evolution.json": Says(evolution.headline, evolution.findings),
    "robustness.json": Says(robustness.headline, robustness.findings),
    "differential.json": Says(differential.headline, differential.findings),
    "differential.latents.json": Says(differential.run_headline, differential.findings),
    "rouge.json": Says(quality.headline, quality.findings),
    "bakeoff.json": Says(bakeoff.headline, bakeoff.findings),
}


@dataclass(frozen=True)
class Part:
    """What one folder has of a stage; `heading` is "" where the stage has one folder.

    `title`, `leads` and `cautions` are those of its headline; `sentences` are all that it says.
    """

    heading: str
    title: str
    leads: list[str]
    cautions: list[str]
    sentences: list[str]
    pictures: list[Picture]
    tables: list[Table]


@dataclass(frozen=True)
class Shown:
    """A stage that is there."""

    section: Section
    parts: list[Part]


@dataclass(frozen=True)
class Page:
    """The page before it is HTML. `explorer` is a dict for each graph, `examples` what
    evaluate_faithfulness.py wrote of single pairs.
    """

    title: str
    facts: list[str]
    findings: list[Answer]
    explorer: list[dict]
    examples: dict | None
    stages: list[Shown]
    missing: list[Section]
    records: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Files:
    """What the page is made of: results of the stages, circuits among them, and run records."""

    results: list[Path]
    circuits: list[Path]
    records: list[Path]


def gather(files: Files, root: Path) -> Page:
    """The page of these files; folders are named relative to `root`. Raises InputError for a
    result that cannot be read.
    """
    jsons = [file for file in files.results if file.suffix == ".json"]
    contents = {file: disk.read_json(file) for file in jsons if file not in set(files.circuits)}
    by_name = {file.name: result for file, result in reversed(contents.items())}
    read = circuits.read(files.circuits)
    stages = [
        _shown(section, files, contents=contents, read=read, root=root) for section in SECTIONS
    ]
    return Page(
        title=TITLE,
        facts=_facts(by_name, len(read)),
        findings=answers_of(by_name),
        explorer=circuits.explorer(
            read, by_name.get("evolution.json"), robustness=by_name.get("robustness.json")
        ),
        examples=by_name.get(sections.EXAMPLES),
        stages=[stage for stage in stages if stage.parts],
        missing=[stage.section for stage in stages if not stage.parts],
        records=provenance.what_was_run({file: disk.read_json(file) for file in files.records}),
    )


def _facts(by_name: dict[str, dict], n_circuits: int) -> list[str]:
    """What was studied, in a few words."""
    tuned, paired = by_name.get("training.json", {}), by_name.get("salience.json", {})
    facts = []
    if "model" in tuned:
        facts.append(f"model {tuned['model']}")
    if kept := at(tuned, "examples.train.kept"):
        facts.append(f"{kept:,} training articles")
    if dataset := tuned.get("dataset") or paired.get("dataset"):
        facts.append(f"data {dataset}")
    if "n_extraction" in paired:
        facts.append(f"{paired['n_extraction']} + {paired['n_evaluation']} pairs")
    if n_circuits:
        facts.append(counted(n_circuits, "circuit"))
    return facts


def _shown(section: Section, files: Files, *, contents, read, root: Path) -> Shown:
    ours = [file for file in files.results if sections.belongs(file.name, section)]
    if section.json == sections.CIRCUIT:
        ours += [file for file in files.circuits if file not in ours]
        return Shown(section, _circuit_parts(ours, read))
    folders = sorted({file.parent for file in ours})
    parts = []
    for folder in folders:
        here = [file for file in ours if file.parent == folder]
        heading = _folder_name(folder, root) if len(folders) > 1 else ""
        parts.append(_part(section, here, contents=contents, heading=heading))
    return Shown(section, parts)


def _folder_name(folder: Path, root: Path) -> str:
    return os.path.relpath(folder, root) if folder != root else root.resolve().name


def _part(section: Section, here: list[Path], *, contents: dict[Path, dict], heading: str) -> Part:
    ours = {file: contents[file] for file in here if file in contents}
    sentences, made = [], []
    heads = [_headline(file.name, result) for file, result in ours.items()]
    heads = [head for head in heads if head is not None]
    for result in ours.values():
        lines = next((result[key] for key in ("sentences", "lines") if _texts(result, key)), [])
        sentences += [str(line).strip() for line in lines]
        made += [table(caption, at(result, path)) for caption, path in section.tables]
        made += _differences(result) if section.json == "bakeoff.json" else []
    return Part(
        heading,
        "; ".join(head.title for head in heads),
        [sentence(finding) for head in heads for finding in head.findings],
        [caution for head in heads for caution in head.cautions],
        list(dict.fromkeys(sentences)),
        _pictures(here),
        [shown for shown in made if shown is not None],
    )


def _headline(name: str, result: dict) -> Headline | None:
    """What a stage says by default; None for a file without one, or of an earlier version."""
    return _or_none(STAGES[name].headline, result) if name in STAGES else None


def answers_of(by_name: dict[str, dict]) -> list[Answer]:
    """What the stages answer, from {file name: its content}; one that is not there answers none."""
    made = []
    for name, stage in STAGES.items():
        if name not in by_name:
            continue
        section = next(section.name for section in SECTIONS if sections.belongs(name, section))
        made += answers(section, _or_none(stage.findings, by_name[name]) or ())
    return made


def _or_none(make: Callable, result: dict):
    """What `make` makes of a file; None for one of an earlier version, which has other keys."""
    try:
        return make(result)
    except (KeyError, TypeError, IndexError, AttributeError, StopIteration, ValueError):
        return None


def _texts(result: dict, key: str) -> bool:
    return isinstance(result.get(key), list)


def _pictures(files: list[Path]) -> list[Picture]:
    return [
        pictures.read(file, captions.of_picture(file.name))
        for file in files
        if file.suffix == ".png"
    ]


def at(result, path: str):
    """What stands at a dotted path of JSON; None if there is nothing."""
    for name in filter(None, path.split(".")):
        result = result.get(name) if isinstance(result, dict) else None
    return result


def _differences(bakeoff: dict) -> list[Table | None]:
    """A table for each reference: an arm's paired difference in ROUGE-1 and NLL (nats), with
    interval, Holm's p and what may be said.
    """
    made = []
    for reference, measures in (bakeoff.get("differences") or {}).items():
        rows = {}
        for measure, label in (("rouge1", "ROUGE-1"), ("nll_nats", "NLL")):
            for arm, row in measures.get(measure, {}).items():
                rows.setdefault(arm, {"": arm}).update(
                    {label: row, f"{label} Holm p": row["p_holm"], f"{label} word": row["claim"]}
                )
        made.append(table(f"Paired differences to {reference}", list(rows.values())))
    return made


# ---------------------------------------------------------------- circuits


def _circuit_parts(files: list[Path], read: list[circuits.CircuitFile]) -> list[Part]:
    drawings = _pictures(files)
    if not read and not drawings:
        return []
    rows = [_circuit_row(file) for file in read]
    sentences, made = [], [table("Circuits", rows)]
    for file in read:
        stability = file.circuit.about.stability
        if stability is None or fnmatch(file.path.name, sections.MANY):
            continue
        sentences += [f"{file.name}: {line}" for line in stability["sentences"]]
        made.append(table(f"{file.name}: overlap of resamples, by size", stability["sizes"]))
    tables = [shown for shown in made if shown is not None]
    entries = {file.name: dict(file.circuit.about.entries) for file in read}
    cautions = []
    if all("sizes" in about for about in entries.values()):
        cautions = list(extraction.shared_cautions(entries))
    return [Part("", "", [], cautions, sentences, drawings, tables)]


def _circuit_row(file: circuits.CircuitFile) -> dict:
    circuit, about = file.circuit, file.circuit.about
    return {
        "circuit": file.name,
        "method": about.method,
        "metric": about.metric,
        "examples": len(about.examples) or None,
        "selected": None if about.sizes is None else about.sizes.selected,
        "after pruning": int(circuit.in_graph.sum()),
        "of edges": circuit.graph.n_edges,
        "noise floor": about.noise_floor,
        "stable": (about.bootstrap or {}).get("stable"),
        "stable sizes": stable_sizes(about.stability),
        "completeness gap": circuits.completeness_gap(circuit),
    }


def stable_sizes(stability: dict | None) -> str | None:
    """The smallest and the largest size at which a circuit is stable, as shares of all edges, and
    those between them at which it is not.
    """
    if stability is None:
        return None
    span = stability["stable_sizes"]
    if span is None:
        return "none"
    if span["smallest"] == span["largest"]:
        return percent(span["smallest"])
    but = ", ".join(percent(size) for size in span.get("but", ()))
    words = f"{percent(span['smallest'])} to {percent(span['largest'])}"
    return words + (f", not {but}" if but else "")
