"""Agreement with the reference implementation's numbers: names, scores, selection, circuit metrics,
exact patching, JSON.
"""

import json

import pytest
import torch
from golden_cases import NAMES, golden

from eap import hooks
from eap.attribute import attribute
from eap.circuit import Circuit, load_circuit
from eap.dataset import collate
from eap.evaluate import CircuitRunner
from eap.exact import exact_patching
from eap.models import adapt
from eap.selection import greedy, prune, top_n

METHODS = [("EAP", 5), ("EAP-IG-inputs", 5), ("clean-corrupted", 5), ("EAP-IG-activations", 3)]


def scores_of(case, dtype, method, steps, batch_size):
    return attribute(
        case.model(dtype),
        case.pairs,
        method=method,
        metric=case.metric,
        batch_size=batch_size,
        steps=steps,
        rule="left",
    )


@pytest.mark.parametrize("name", NAMES)
def test_edge_names_and_order(name):
    assert list(golden(name).graph.edges) == golden(name).case["edges"]


def test_gpt2_small_has_the_published_size():
    from eap.graph import Graph

    graph = Graph(12, 12, 768)
    assert (len(graph.sources), len(graph.destinations), graph.n_edges) == (157, 445, 32_491)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("method", "steps"), METHODS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_scores_float32(name, method, steps, batch_size):
    case = golden(name)
    scores = scores_of(case, torch.float32, method, steps, batch_size).edges.mean(0)
    expected = case.tensors[f"scores.{method}"]
    if case.metric == "kl" and method == "EAP":  # KL has no gradient at the clean input
        assert scores.abs().max() < 1e-8
        return
    assert (scores - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("method", "steps"), METHODS[1:])
def test_scores_float64_round_to_the_golden_ones(name, method, steps):
    # The golden vectors were stored in float32: rounded to it, ours must be the same numbers.
    expected = golden(name).tensors[f"scores.{method}"]
    assert torch.equal(expected.float().double(), expected)
    scores = scores_of(golden(name), torch.float64, method, steps, 2).edges.mean(0)
    assert (scores.float().double() - expected).abs().max() <= 1e-9 * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_baselines(name):
    case = golden(name)
    scores = scores_of(case, torch.float64, "EAP", 1, 2)
    assert (scores.clean - case.tensors["baseline.clean"]).abs().max() < 1e-12
    assert (scores.corrupted - case.tensors["baseline.corrupted"]).abs().max() < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_selection_and_pruning(name):
    case = golden(name)
    scores = case.tensors["scores.EAP-IG-inputs"]
    for selection, n, expected, _ in case.circuits():
        chosen = {"topn": top_n, "greedy": greedy}[selection](case.graph, scores, n=n)
        assert torch.equal(prune(case.graph, chosen), expected), (selection, n)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_circuit_metrics(name, dtype):
    case = golden(name)
    adapter = adapt(case.model(dtype))
    with hooks.frozen(adapter.model):
        runner = CircuitRunner(adapter, collate(list(range(len(case.pairs))), case.pairs))
        for selection, n, kept, expected in case.circuits():
            measured = runner.metric(case.metric, kept)
            tolerance = 1e-6 if case.metric == "kl" else 1e-5 * expected.abs()
            assert ((measured - expected).abs() <= tolerance).all(), (selection, n)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-9)])
def test_exact_patching(dtype, tolerance):
    case = golden("tiny_kl")
    adapter = adapt(case.model(dtype))
    with hooks.frozen(adapter.model):
        runner = CircuitRunner(adapter, collate(list(range(len(case.pairs))), case.pairs))
        scores = exact_patching(runner, "kl", edges=range(case.graph.n_edges)).mean(0)
    expected = case.tensors["scores.exact"]
    assert (scores - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_json_loads(name):
    case = golden(name)
    path = next(case.folder.glob("circuit_topn*.json"))
    circuit = load_circuit(path)
    n = int(path.stem.removeprefix("circuit_topn"))
    expected = next(
        kept for selection, size, kept, _ in case.circuits() if (selection, size) == ("topn", n)
    )
    assert torch.equal(circuit.in_graph, expected)
    assert (circuit.scores - case.tensors["scores.EAP-IG-inputs"]).abs().max() < 1e-12


def test_our_json_has_the_reference_keys(tmp_path):
    case = golden("tiny_kl")
    path = next(case.folder.glob("circuit_topn*.json"))
    theirs, ours = json.loads(path.read_text()), load_circuit(path).to_json()
    assert set(ours) == set(theirs) | {"metadata"}
    assert ours["cfg"] == theirs["cfg"]
    assert list(ours["edges"]) == list(theirs["edges"])
    assert all(set(edge) == {"score", "in_graph"} for edge in ours["edges"].values())
    assert {name: node["in_graph"] for name, node in ours["nodes"].items()} == {
        n: v["in_graph"] for n, v in theirs["nodes"].items()
    }
    written = tmp_path / "C.json"
    written.write_text(json.dumps(ours))
    assert torch.equal(load_circuit(written).in_graph, load_circuit(path).in_graph)
    assert isinstance(load_circuit(written), Circuit)
