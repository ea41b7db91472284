"""A small folder of results for the tests of the page: real circuits of a small graph, and a few
stages.
"""

import numpy as np
import torch
from safetensors.torch import save_file

from eap.circuit import Circuit
from eap.graph import Graph
from eap.selection import top_n
from runs import disk
from study.page.packing import pack

GRAPH = Graph(3, 4, 16)
EXAMPLES = 12
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
# what an article may hold; the last characters turn the direction of text
EVIL = '</script><script>document.title="owned"</script><b>"\'&amp;\u202eevil\u2066'


def per_example(seed: int) -> torch.Tensor:
    """(examples, edges): scores that change from checkpoint to checkpoint, with noise."""
    generator = torch.Generator().manual_seed(7)
    strength = torch.randn(GRAPH.n_edges, generator=generator) ** 3
    generator.manual_seed(seed)
    drift = torch.randn(GRAPH.n_edges, generator=generator)
    return strength + drift + 0.3 * torch.randn(EXAMPLES, GRAPH.n_edges, generator=generator)


def write_circuit(path, seed: int, n: int = 60) -> Circuit:
    """A circuit's file with its scores per example beside it, and what resampling says of it."""
    rows = per_example(seed)
    scores = rows.double().mean(0)
    kept = top_n(GRAPH, scores, n=n)
    floor = {"mean": 0.71, "low": 0.6, "high": 0.8}
    metadata = {
        "method": "secant",
        "metric": "kl",
        "example_ids": [f"e{i}" for i in range(EXAMPLES)],
        "sizes": {"requested": n, "selected": n, "pruned": n, "edges": GRAPH.n_edges},
        "completeness": {"gap": 0.0123},
        "bootstrap": {
            "noise_floor": floor,
            "stable": False,
            "examples": EXAMPLES,
            "selection_frequency": [0.9 if inside else 0.1 for inside in kept.tolist()],
            "sign_stability": [0.987] * GRAPH.n_edges,
        },
    }
    circuit = Circuit(GRAPH, kept, scores, metadata=metadata)
    disk.write_json(path, circuit.to_json())
    save_file({"scores": rows}, path.with_suffix(".examples.safetensors"))
    return circuit


def write_evolution(path, first: str, last: str, edges: list[str]) -> None:
    """The parts of evolution.json that the explorer reads."""
    row = {"kind": "strengthened", "before": 0.1, "after": 0.2, "change": 0.1, "q": 0.0123}
    evolution = {
        "format": 1,
        "checkpoints": [{"name": first, "step": 2}, {"name": last, "step": 10}],
        "graph": {"n_layers": GRAPH.n_layers, "n_heads": GRAPH.n_heads},
        "moved": {
            "false_discovery_rate": 0.05,
            "examples": EXAMPLES,
            "edges": [{"edge": edge, **row} for edge in edges],
        },
    }
    disk.write_json(path, evolution)


def write_outputs(folder) -> dict[str, Circuit]:
    """Fill a folder as the pipeline leaves it, with things that are none of the report's; its
    circuits.
    """
    circuits = {
        name: write_circuit(folder / "circuits" / f"{name}.json", seed)
        for seed, name in enumerate(("C_step2", "C_step5", "C_step10"))
    }
    circuits["C_before"] = write_circuit(folder / "C_before.json", 9, n=40)
    write_evolution(folder / "evo" / "evolution.json", "C_step2", "C_step10", ["input->m0"])
    rouge = {"mean": 24.803, "low": 23.1, "high": 26.0}
    system = {EVIL: {"rouge1": rouge, "kind": "model"}}
    files = {
        "test/rouge.json": {"format": 1, "systems": system},
        "diff/differential.json": {"format": 1, "sentences": [f"5 < 6 & more {EVIL}"]},
        "faith/examples.json": some_examples(),
        "test/run.test.json": record("test_set_evaluation.py", 987.5),
        "circuits/C_step2.run.json": record("extract_summarization_circuit.py", 61.0),
        "m/checkpoint-5/rouge.json": {"systems": {"concealed": {"rouge1": 1}}},
    }
    for name, data in files.items():
        disk.write_json(folder / name, data)
    for name in ("test/rouge.png", "circuits/C_step2.edges.png", "other.png"):
        (folder / name).write_bytes(PIXEL)
    return circuits


def some_examples() -> dict:
    """An examples.json of one pair: a token that is EVIL, and a head that looks at it alone."""
    weights = np.zeros((2, 4), dtype="u2")
    weights[:, 1] = (10_000, 5_000)
    packed = pack(weights.flatten())
    pair = {
        "id": EVIL,
        "target_start": 2,
        "corrupted_spans": [[1, 2]],
        "tokens": ["The", EVIL, " end", "."],
        "replaced": {"1": " other"},
        "nll": {"clean": [0.5, 1.0], "corrupted": [2.0, 1.0], "circuit": [1.0, 1.0]},
        "attention": {"a1.h2": {"clean": packed, "corrupted": packed}},
    }
    return {"format": 1, "parts": 10_000, "least": 0.001, "heads": ["a1.h2"], "pairs": [pair]}


def record(script: str, seconds: float) -> dict:
    """A run's record."""
    return {
        "format": 1,
        "script": script,
        "complete": True,
        "seed": 0,
        "arguments": {"max_examples": 48, "device": "auto", "dtype": "float32"},
        "inputs": {"model": {"source": "/a/b/demo", "sha256": "0123456789abcdef"}},
        "versions": {"python": "3.11"},
        "duration_seconds": seconds,
        "output_bytes": {"rouge.json": 9},
    }
