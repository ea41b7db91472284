"""Selection, comparison and the older dialects of the file, on graphs small enough to work out by
hand.
"""

import json

import pytest
import torch

from eap import InputError, circuit, selection
from eap.graph import Graph
from study.faithfulness import numbers as faithfulness

ONE = Graph(1, 1, 4)  # input, a0.h0, m0, logits: 8 edges
EDGES = (
    "input->a0.h0<q>",
    "input->a0.h0<k>",
    "input->a0.h0<v>",
    "input->m0",
    "a0.h0->m0",
    "input->logits",
    "a0.h0->logits",
    "m0->logits",
)


def vector(**named):
    values = torch.zeros(ONE.n_edges, dtype=torch.float64)
    for name, value in named.items():
        values[EDGES.index(name)] = value
    return values


def kept(*names):
    return torch.tensor([name in names for name in EDGES])


def test_edges_of_the_smallest_graph():
    assert ONE.edges == EDGES


def test_prune_removes_what_is_not_on_a_path():
    assert not selection.prune(ONE, kept("a0.h0->logits", "input->m0")).any()
    alive = kept("input->a0.h0<k>", "a0.h0->logits", "input->m0")
    assert torch.equal(selection.prune(ONE, alive), kept("input->a0.h0<k>", "a0.h0->logits"))


def test_greedy_reaches_only_through_chosen_nodes():
    scores = vector(**{"input->a0.h0<q>": 9, "m0->logits": 2, "input->m0": 1, "input->logits": 0.5})
    assert torch.equal(selection.greedy(ONE, scores, n=2), kept("m0->logits", "input->m0"))
    assert torch.equal(selection.top_n(ONE, scores, n=2), kept("input->a0.h0<q>", "m0->logits"))


def test_signed_and_absolute_ranking_differ():
    scores = vector(**{"input->logits": -3, "m0->logits": 1})
    assert torch.equal(selection.top_n(ONE, scores, n=1), kept("input->logits"))
    assert torch.equal(selection.top_n(ONE, scores, n=1, absolute=False), kept("m0->logits"))


def test_nan_is_refused_not_ranked_first():
    with pytest.raises(InputError, match="finite"):
        selection.top_n(ONE, vector(**{"input->logits": float("nan")}), n=1)


def sign_consistent(per_example, n, absolute=True):
    """Booleans per edge: what the rule sign-consistent takes, before pruning."""
    eligible = tuple(selection.consistent(per_example).nonzero().flatten().tolist())
    rule = selection.Rule(n, "sign-consistent", absolute=absolute, eligible=eligible)
    return rule.choose(ONE, per_example.mean(0))


def test_sign_consistent_drops_an_edge_that_flips():
    flips, steady = EDGES.index("input->logits"), EDGES.index("m0->logits")
    per_example = torch.zeros(10, ONE.n_edges)
    per_example[:, steady] = 1.0
    per_example[:, flips] = torch.tensor([40.0, -36.0] * 5)  # a larger mean, of either sign
    chosen = sign_consistent(per_example, 1)
    assert chosen[steady] and not chosen[flips]
    assert selection.top_n(ONE, per_example.mean(0), n=1)[flips]


def test_sign_consistent_takes_negative_edges_last_and_none_of_no_score():
    first, last = EDGES.index("input->logits"), EDGES.index("m0->logits")
    per_example = torch.zeros(10, ONE.n_edges)
    per_example[:, first], per_example[:, last] = -1.0, 2.0
    for absolute in (True, False):
        assert torch.equal(
            sign_consistent(per_example, 5, absolute),
            kept("input->logits", "m0->logits"),
        )
    assert torch.equal(sign_consistent(per_example, 1, absolute=False), kept("m0->logits"))
    with pytest.raises(InputError, match="at least 2 examples"):
        selection.consistent(per_example[:1])


def flipping():
    """(4 examples, edges): one edge of +3, -3, +3, -3, whose mean is 0; one of 1 in all; one of 2,
    0, 0, 0.
    """
    per_example = torch.zeros(4, ONE.n_edges)
    per_example[:, EDGES.index("input->logits")] = torch.tensor([3.0, -3.0, 3.0, -3.0])
    per_example[:, EDGES.index("m0->logits")] = 1.0
    per_example[0, EDGES.index("a0.h0->logits")] = 2.0
    return per_example


@pytest.mark.parametrize(
    "rank, means, order",
    [
        ("mean", [0, 1, 0.5], ("m0->logits", "a0.h0->logits")),
        ("example", [3, 1, 0.5], ("input->logits", "m0->logits")),
    ],
)
def test_rank_by_the_mean_score_or_by_the_mean_over_examples_of_its_absolute_value(
    rank, means, order
):
    rule = selection.Rule(2, rank=rank, prunes=False)
    ranking = rule.values(flipping()).mean(0)
    strong = [EDGES.index(name) for name in ("input->logits", "m0->logits", "a0.h0->logits")]
    assert ranking[strong].tolist() == means and ranking.sum() == sum(means)
    assert torch.equal(rule.take(ONE, ranking), kept(*order))
    assert torch.equal(rule.sized(1).take(ONE, ranking), kept(order[0]))


def test_a_circuit_file_holds_what_its_edges_are_ranked_by(tmp_path):
    per_example, rule = flipping(), selection.Rule(1, rank="example")
    ranking = rule.values(per_example).double().mean(0)
    chosen = rule.take(ONE, ranking)
    metadata = {"rank": "example", "sizes": {"requested": 1, "selected": 1, "pruned": 1}}
    made = circuit.Circuit(ONE, chosen, per_example.double().mean(0), None, metadata, ranking)
    path = tmp_path / "C.json"
    path.write_text(json.dumps(made.to_json()))
    read_back = circuit.load_circuit(path)
    assert read_back.rule == rule and torch.equal(read_back.ranking, ranking)
    assert torch.equal(read_back.rule.take(ONE, read_back.ranking), kept("input->logits"))
    assert read_back.scores[EDGES.index("input->logits")] == 0
    (entry,) = faithfulness.by_size(read_back, [1 / ONE.n_edges])
    assert torch.equal(entry.kept, kept("input->logits"))
    broken = made.to_json()
    del broken["edges"]["input->logits"]["rank_score"]
    path.write_text(json.dumps(broken))
    with pytest.raises(InputError, match="rank_score"):
        circuit.load_circuit(path)


def test_equal_scores_are_taken_in_the_order_of_the_edges():
    scores = torch.tensor([[1.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    taken = selection.strongest(scores, 2)
    assert taken.tolist() == [[True, True, False, False], [True, True, False, False]]


def test_top_nodes_takes_whole_nodes_within_the_budget():
    node_scores = torch.tensor([0.0, 1.0, 5.0])  # input, a0.h0, m0
    assert torch.equal(
        selection.top_nodes(ONE, node_scores, n_edges=3),
        kept("input->m0", "input->logits", "m0->logits"),
    )
    assert selection.top_nodes(ONE, node_scores, n_edges=8).all()


CFG = {"n_layers": 1, "n_heads": 1, "parallel_attn_mlp": False, "d_model": 4}


def write(tmp_path, **parts):
    path = tmp_path / "C.json"
    path.write_text(json.dumps({"cfg": CFG, "nodes": {}, **parts}))
    return path


def test_older_dialects(tmp_path):
    nodes = {"input": True, "a0.h0": True, "m0": False, "logits": True}
    edges = {
        "input->a0.h0": {"score": 3.0, "in_graph": True},
        "a0.h0->logits": {"score": -1.0, "in_graph": True},
    }
    collapsed = circuit.load_circuit(write(tmp_path, nodes=nodes, edges=edges))
    assert (
        collapsed.in_graph.tolist()
        == kept("input->a0.h0<q>", "input->a0.h0<k>", "input->a0.h0<v>", "a0.h0->logits").tolist()
    )
    assert collapsed.scores.tolist() == [1, 1, 1, 0, 0, 0, -1, 0]
    unscored = circuit.load_circuit(
        write(tmp_path, edges={"input->logits": {"in_graph": True}, "m0->logits": False})
    )
    assert unscored.scores is None and unscored.in_graph.tolist() == kept("input->logits").tolist()
    with pytest.raises(InputError, match="score"):
        unscored.require_scores()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"edges": {"a7.h0->logits": {"in_graph": True}}}, "a7.h0"),
        ({"edges": 3}, "wrong or missing"),
        ({"edges": {}, "metadata": {"format": 9}}, "format"),
        ({"edges": {"input->logits": {"score": 1.0}}}, "in_graph"),
    ],
)
def test_bad_files_are_named(tmp_path, parts, message):
    with pytest.raises(InputError, match=message) as error:
        circuit.load_circuit(write(tmp_path, **parts))
    assert "C.json" in str(error.value)


def test_circuits_of_other_models_are_refused():
    a = circuit.Circuit(ONE, kept(), metadata={"tokenizer_sha256": "x"})
    with pytest.raises(InputError, match="1 layers of 1 heads.*2 layers.*B.json"):
        circuit.require_comparable(
            [a, circuit.Circuit(Graph(2, 1, 4), torch.zeros(0))], ["A.json", "B.json"]
        )
    with pytest.raises(InputError, match="tokenizer"):
        circuit.require_comparable(
            [a, circuit.Circuit(ONE, kept(), metadata={"tokenizer_sha256": "y"})],
            ["A.json", "B.json"],
        )


def test_a_file_in_order_is_read_as_any_other(tmp_path):
    """What is read by columns is what is read edge by edge; what is wrong in it is refused."""
    graph = Graph(2, 2, 8)
    scores = torch.linspace(-1, 1, graph.n_edges, dtype=torch.float64)
    path = tmp_path / "C.json"
    path.write_text(json.dumps(circuit.Circuit(graph, scores > 0.3, scores).to_json()))
    by_columns = circuit.load_circuit(path)
    assert torch.equal(by_columns.scores, scores) and torch.equal(by_columns.in_graph, scores > 0.3)
    written = json.loads(path.read_text())
    edges = list(written["edges"].items())
    turned = tmp_path / "turned.json"
    turned.write_text(json.dumps(written | {"edges": dict(reversed(edges))}))
    by_edges = circuit.load_circuit(turned)
    assert torch.equal(by_edges.scores, scores) and torch.equal(by_edges.in_graph, scores > 0.3)
    for score, words in ((1e400, "finite number"), ("1", "finite number"), (None, "finite number")):
        name, edge = edges[3]
        written["edges"][name] = edge | {"score": score}
        path.write_text(json.dumps(written))
        with pytest.raises(InputError, match=words):
            circuit.load_circuit(path)
