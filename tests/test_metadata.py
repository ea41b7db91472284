"""Metadata of circuits: typed, read once, and on disk byte for byte what they were."""

import json

import pytest
import torch
from golden_cases import golden

from eap import InputError
from eap.circuit import Circuit, load_circuit
from eap.examples import Examples
from eap.graph import Graph
from eap.metadata import read_metadata
from eap.selection import Rule
from runs import disk

ONE = Graph(1, 1, 4)

# As extract_summarization_circuit.py writes it, and entries of another tool.
TEXT = """{
 "cfg": {"n_layers": 1, "n_heads": 1, "parallel_attn_mlp": false, "d_model": 4},
 "nodes": {"input": {"in_graph": true}, "a0.h0": {"in_graph": false}, "m0": {"in_graph": true},
  "logits": {"in_graph": true}},
 "edges": {"input->a0.h0<q>": {"score": 0.5, "in_graph": false},
  "input->a0.h0<k>": {"score": -0.5, "in_graph": false},
  "input->a0.h0<v>": {"score": 0.25, "in_graph": false},
  "input->m0": {"score": 2.5, "in_graph": true}, "a0.h0->m0": {"score": 0.0, "in_graph": false},
  "input->logits": {"score": 1e-05, "in_graph": false},
  "a0.h0->logits": {"score": 0.1, "in_graph": false},
  "m0->logits": {"score": -3.0, "in_graph": true}},
 "metadata": {"format": 1, "method": "EAP-IG-inputs", "metric": "kl", "rule": "gauss-legendre",
  "steps": 5, "completeness": {"gap": 0.01}, "ablation": "patching", "selection": "topn",
  "threshold": null, "absolute": true, "rank": "mean",
  "sizes": {"requested": 2, "selected": 2, "pruned": 2, "edges": 8}, "dtype": "float32", "seed": 0,
  "bootstrap": {"noise_floor": {"mean": 0.5, "low": 0.4, "high": 0.6}},
  "a tool of others": [1, {"x": null}], "tokenizer_sha256": "ab", "example_ids": ["1", "2"],
  "example_sha256": {"tokens": ["t1", "t2"], "articles": [null, "s2"]}}
}"""


def test_a_file_comes_back_byte_for_byte_with_what_other_tools_say(tmp_path):
    disk.write_json(tmp_path / "C.json", json.loads(TEXT))
    circuit = load_circuit(tmp_path / "C.json")
    disk.write_json(tmp_path / "again.json", circuit.to_json())
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "C.json").read_bytes()
    disk.write_json(tmp_path / "noted.json", circuit.noting(seed=7).to_json())
    noted = json.loads((tmp_path / "noted.json").read_text())
    assert noted == json.loads(TEXT) | {"metadata": noted["metadata"]}
    assert noted["metadata"] == json.loads(TEXT)["metadata"] | {"seed": 7}


def test_what_a_file_says_is_typed(tmp_path):
    (tmp_path / "C.json").write_text(TEXT)
    circuit = load_circuit(tmp_path / "C.json")
    about = circuit.about
    assert (about.method, about.metric, about.steps, about.dtype) == (
        "EAP-IG-inputs",
        "kl",
        5,
        "float32",
    )
    assert about.quadrature == "gauss-legendre" and about.ablation == "patching"
    assert circuit.rule == Rule(2) and circuit.n_selected == about.sizes.pruned == 2
    assert about.noise_floor == {"mean": 0.5, "low": 0.4, "high": 0.6}
    assert about.examples == Examples(("1", "2"), ("t1", "t2"), (None, "s2"))
    assert about.entries["a tool of others"] == [1, {"x": None}]
    with pytest.raises(TypeError):
        circuit.metadata["seed"] = 1


def test_a_file_of_another_tool_says_nothing_and_is_not_pruned():
    path = golden("tiny_kl").folder / "circuit_topn40.json"
    circuit = load_circuit(path)
    n = int(circuit.in_graph.sum())
    assert circuit.about == read_metadata({})
    assert circuit.about.method is circuit.about.sizes is circuit.about.noise_floor is None
    assert circuit.rule == Rule(n, prunes=False) and circuit.n_selected == n
    assert len(circuit.about.examples) == 0 and not circuit.about.examples.tell_contents


@pytest.mark.parametrize("rule", [
    Rule(3),
    Rule(3, absolute=False),
    Rule(3, "greedy"),
    Rule(3, rank="example"),
    Rule(threshold=0.25),
    Rule(3, "sign-consistent", eligible=(0, 2, 5)),
    Rule(5, nodes=True),
])  # fmt: skip
def test_a_rule_that_was_stored_is_read_back(rule, tmp_path):
    scores = torch.tensor([0.5, -0.5, 0.3, 2.5, 0.0, 1e-5, 0.1, -3.0], dtype=torch.float64)
    chosen = rule.choose(ONE, rule.values(scores[None]).mean(0))
    sizes = {"requested": rule.n, "selected": int(chosen.sum())}
    entries = {**rule.entries(), "sizes": sizes}
    if rule.eligible is not None:
        entries["consistent_edges"] = list(rule.eligible)
    nodes = ONE.matrix(scores).sum(-1) if rule.nodes else None
    ranks = scores.abs() if rule.rank == "example" else None
    kept = rule.take(ONE, rule.values(scores[None]).mean(0))
    disk.write_json(
        tmp_path / "C.json", Circuit(ONE, kept, scores, nodes, entries, ranks).to_json()
    )
    circuit = load_circuit(tmp_path / "C.json")
    assert circuit.rule == rule
    assert torch.equal(circuit.rule.take(ONE, circuit.ranking), kept)


def test_metadata_of_another_kind_are_named():
    for entries, name in (
        ({"sizes": 5}, "sizes"),
        ({"absolute": "False"}, "absolute"),
        ({"example_ids": "made-1"}, "example_ids"),
        ({"rank": "best"}, "ranked by"),
    ):
        with pytest.raises(InputError, match=f"C.json: expected .*{name}"):
            read_metadata(entries, "C.json")
