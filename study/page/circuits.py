"""Circuits for the explorer: the edges of a graph that are in the page, each circuit's numbers."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eap.circuit import Circuit, load_circuit
from eap.graph import Graph
from eap.resampling import RESAMPLES, bootstrap_means, ends
from eap.scores import groups_beside
from runs import opening
from study import overlap
from study.page.packing import pack

PAGE_BYTES = 4_000_000  # of the page that circuits may take; if all edges take more, the strongest
EDGE_BYTES = 8  # of one edge of one circuit, measured on circuits of GPT-2 small's graph
FEWEST = 4_000  # edges of a graph that are in the page however many circuits there are
WITH_INTERVAL = 4_000  # strongest edges of a circuit that get an interval, besides its own
PARTS = 10_000  # shares are whole ten-thousandths
STEP = re.compile(r"^C_step(\d+)$")


@dataclass(frozen=True)
class CircuitFile:
    """A circuit, its file, and the name that it has in the page."""

    name: str
    path: Path
    circuit: Circuit

    @property
    def step(self) -> int | None:
        """The training step that its file is named after, if it is."""
        match = STEP.match(self.path.stem)
        return int(match[1]) if match else None


def read(paths: list[Path]) -> list[CircuitFile]:
    """The circuits of these files: checkpoints by their step, then the others by name.

    A name that two files have is told apart by their folders. Raises InputError for a file that
    is no circuit.
    """
    stems = [path.stem for path in paths]
    shared = {stem for stem in stems if stems.count(stem) > 1}
    circuits = []
    for path in paths:
        name = f"{path.parent.name}/{path.stem}" if path.stem in shared else path.stem
        circuits.append(CircuitFile(name, path, load_circuit(path)))
    return sorted(circuits, key=_place)


def _place(file: CircuitFile):
    if file.step is None:
        return 1, file.path.stem, 0, str(file.path)
    return 0, str(file.path.parent), file.step, ""


def explorer(
    circuits: list[CircuitFile], evolution: dict | None, *, robustness: dict | None
) -> list[dict]:
    """A dict for each graph among the circuits: its shape, its edges, its circuits and what the
    stages found of their differences.
    """
    groups = defaultdict(list)
    for file in circuits:
        graph = file.circuit.graph
        groups[graph.n_layers, graph.n_heads, graph.parallel].append(file)
    return [
        _of_one_graph(group, len(circuits), evolution=evolution, robustness=robustness)
        for group in groups.values()
    ]


def _of_one_graph(group: list[CircuitFile], n_circuits: int, *, evolution, robustness) -> dict:
    graph = group[0].circuit.graph
    room = max(FEWEST, PAGE_BYTES // (EDGE_BYTES * n_circuits))
    chosen = strongest([file.circuit for file in group], min(room, graph.n_edges))
    source, reader = graph.edge_index
    return {
        "layers": graph.n_layers,
        "heads": graph.n_heads,
        "parallel": graph.parallel,
        "edges": graph.n_edges,
        "source": pack(source[chosen].numpy().astype("u2")),
        "reader": pack(reader[chosen].numpy().astype("u2")),
        "here": len(chosen),
        "circuits": [described(file, chosen) for file in group],
        "pairs": overlaps(group),
        "moved": _moved(evolution, group, chosen=chosen, graph=graph),
        "tested": _tested(robustness),
    }


def strongest(circuits: list[Circuit], n: int) -> torch.Tensor:
    """(n,) edge numbers, ascending: the circuits' own edges first, then by the largest |score|
    that an edge has in any of them, as a share of that circuit's largest.
    """
    strength = torch.zeros(circuits[0].graph.n_edges, dtype=torch.float64)
    for circuit in circuits:
        strength = torch.maximum(strength, circuit.in_graph.double())
        if circuit.scores is not None:
            size = circuit.scores.abs()
            share = size / size.max().clamp_min(1e-300) + circuit.in_graph.double()
            strength = torch.maximum(strength, share)
    return torch.argsort(strength, descending=True, stable=True)[:n].sort().values


def columns_of(file: CircuitFile, chosen: torch.Tensor) -> dict[str, str]:
    """A packed column of a circuit's edges for each kind of number that there is: `kept`, `score`,
    `frequency` and `sign` in `PARTS`, `low` and `high` of the score's interval.
    """
    circuit = file.circuit
    kept = circuit.in_graph[chosen]
    columns = {"kept": pack(np.packbits(kept.numpy(), bitorder="little"))}
    bootstrap = circuit.about.bootstrap or {}
    for name, key in (("frequency", "selection_frequency"), ("sign", "sign_stability")):
        if len(bootstrap.get(key) or ()) == circuit.graph.n_edges:
            shares = torch.tensor(bootstrap[key], dtype=torch.float64)[chosen]
            columns[name] = pack((shares * PARTS).round().numpy().astype("u2"))
    if circuit.scores is None:
        return columns
    scores = circuit.scores[chosen]
    columns["score"] = pack(scores.numpy().astype("f4"))
    per_example = opening.example_scores(file.path, circuit)
    if per_example is not None and len(per_example) > 1:
        low, high = intervals(per_example[:, chosen], scores, kept=kept)
        columns |= {"low": pack(low), "high": pack(high)}
    return columns


def described(file: CircuitFile, chosen: torch.Tensor) -> dict:
    """What the explorer knows of one circuit: what it is, and a column of numbers for each kind."""
    circuit, about = file.circuit, file.circuit.about
    bootstrap = about.bootstrap or {}
    columns = columns_of(file, chosen)
    return {
        "name": file.name,
        "folder": str(file.path.parent),
        "step": file.step,
        "method": about.method,
        "metric": about.metric,
        "examples": len(about.examples) or None,
        "size": int(circuit.in_graph.sum()),
        "selected": None if about.sizes is None else about.sizes.selected,
        "absolute": about.absolute,
        "completeness": completeness_gap(circuit),
        "noise_floor": about.noise_floor,
        "stable": bootstrap.get("stable"),
        "resamples": RESAMPLES if "low" in columns else None,
        "columns": columns,
        "spans": spans(file, chosen),
    }


def completeness_gap(circuit: Circuit) -> float | None:
    """The share of the metric's change that the scores miss, as the circuit's file has it."""
    completeness = circuit.about.entries.get("completeness")
    return completeness.get("gap") if isinstance(completeness, dict) else completeness


def intervals(per_example, scores, *, kept) -> tuple[np.ndarray, np.ndarray]:
    """(edges,) low and high of the mean score over resampled examples; NaN for edges that are
    neither in the circuit nor among its `WITH_INTERVAL` strongest.
    """
    rank = scores.abs().double() + kept.double() * scores.abs().max()
    which = torch.argsort(rank, descending=True, stable=True)[: WITH_INTERVAL + int(kept.sum())]
    parts = bootstrap_means(per_example[:, which], resamples=RESAMPLES, seed=0)
    drawn = torch.cat(list(parts)).numpy()
    low, high = np.full((2, len(scores)), np.nan, dtype="f4")
    low[which.numpy()], high[which.numpy()] = ends(drawn, axis=0, n=len(per_example))
    return low, high


def spans(file: CircuitFile, chosen: torch.Tensor) -> dict[str, str] | None:
    """The scores by part of the text, from the file beside a circuit; None where there is none."""
    from safetensors import safe_open

    path = groups_beside(file.path)
    if not path.is_file():
        return None
    with safe_open(path, "pt") as tensors:
        names = tensors.metadata()["spans"].split(", ")
        scores = tensors.get_tensor("scores")
    if scores.shape != (len(names), file.circuit.graph.n_edges):
        return None
    return {
        name: pack(row[chosen].numpy().astype("f4"))
        for name, row in zip(names, scores, strict=True)
    }


def overlaps(group: list[CircuitFile]) -> list[list[dict]]:
    """For every two circuits how many edges they share, and the Jaccard index of chance."""
    kept = torch.stack([file.circuit.in_graph for file in group]).double()
    both = (kept @ kept.T).long().tolist()
    sizes = [row[i] for i, row in enumerate(both)]
    total = group[0].circuit.graph.n_edges
    return [
        [
            {"both": both[i][j], "chance": overlap.chance(sizes[i], sizes[j], total=total)}
            for j in range(len(group))
        ]
        for i in range(len(group))
    ]


def _moved(
    evolution: dict | None, group: list[CircuitFile], *, chosen, graph: Graph
) -> dict | None:
    """Which edges changed beyond noise from evolution.json's first checkpoint to its last, by the
    edge's place in the page; None where it does not say, or of other circuits.
    """
    if not evolution or not evolution.get("moved"):
        return None
    ends = [evolution["checkpoints"][0]["name"], evolution["checkpoints"][-1]["name"]]
    names = {file.path.stem: file.name for file in group}
    shape = evolution["graph"]
    if (shape["n_layers"], shape["n_heads"]) != (graph.n_layers, graph.n_heads):
        return None
    if not all(end in names for end in ends):
        return None
    places = {number: place for place, number in enumerate(chosen.tolist())}
    edges = {}
    for row in evolution["moved"]["edges"]:
        place = places.get(graph.edge_number.get(row["edge"], -1))
        if place is not None:
            edges[place] = {"kind": row["kind"], "q": row["q"]}
    return {
        "from": names[ends[0]],
        "to": names[ends[1]],
        "rate": evolution["moved"]["false_discovery_rate"],
        "examples": evolution["moved"]["examples"],
        "edges": edges,
    }


def _tested(robustness: dict | None) -> list[dict]:
    """What robustness.json found of two circuits: {"a", "b", "p"}."""
    pairs = (robustness or {}).get("pairs") or []
    return [{"a": pair["a"], "b": pair["b"], "p": pair.get("p")} for pair in pairs]
