"""Properties that hold for every graph, choice, file and order of events: random cases, always the
same ones.
"""

import csv
import json
import tempfile
from pathlib import Path
from unittest import mock

import networkx
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eap import InputError, circuit, dataset, random_circuits, selection
from eap.graph import Graph
from runs import disk, records, rows
from study.bakeoff import lora
from summarization import rouge

few = settings(max_examples=40, derandomize=True, deadline=None, database=None)
fewer = settings(few, max_examples=12)

graphs = st.builds(Graph, st.integers(1, 3), st.integers(1, 3), st.just(4), parallel=st.booleans())


@st.composite
def kept_edges(draw):
    """(graph, booleans per edge): from almost none of the edges to all."""
    graph = draw(graphs)
    share = draw(st.sampled_from([0.1, 0.3, 0.6, 1.0]))
    return graph, torch.rand(graph.n_edges, generator=seeded(draw)) <= share


@st.composite
def scored_edges(draw):
    """(graph, scores per edge): whole numbers of which many are equal."""
    graph = draw(graphs)
    return graph, torch.randint(-4, 5, (graph.n_edges,), generator=seeded(draw)).double()


def seeded(draw) -> torch.Generator:
    """A generator seeded by the draw."""
    return torch.Generator().manual_seed(draw(st.integers(0, 2**32)))


# ---------------------------------------------------------------- the graph


def moments(graph: Graph, name: str) -> tuple[float, float]:
    """(when a node reads, when it writes), from its name: a layer's heads first, then its MLP."""
    if name == "input":
        return -2, -1
    if name == "logits":
        return float("inf"), float("inf")
    kind, layer = name[0], int(name[1:].split(".")[0])
    late = kind == "m" and not graph.parallel
    return (layer + 0.5, layer + 0.75) if late else (layer, layer + 0.25)


@few
@given(graphs)
def test_an_edge_is_there_exactly_where_its_source_writes_before_its_reader_reads(graph):
    expected = {
        f"{u}->{v}"
        for u in graph.sources
        for v in graph.destinations
        if moments(graph, u)[1] < moments(graph, v.split("<")[0])[0]
    }
    assert set(graph.edges) == expected
    assert len(graph.edges) == len(expected) == graph.n_edges


@few
@given(scored_edges())
def test_a_matrix_of_scores_is_the_vector_again_and_empty_elsewhere(case):
    graph, scores = case
    dense = graph.matrix(scores)
    assert torch.equal(graph.vector(dense), scores)
    assert torch.count_nonzero(dense) == torch.count_nonzero(scores)


# ---------------------------------------------------------------- choosing edges


def on_a_path(graph: Graph, kept: torch.Tensor) -> torch.Tensor:
    """Booleans per edge: kept, its source reached from `input`, its reader reaching `logits`."""
    ends = [name.split("<")[0].split("->") for name in graph.edges]
    chosen = networkx.DiGraph(
        [pair for pair, keep in zip(ends, kept.tolist(), strict=True) if keep]
    )
    chosen.add_nodes_from(["input", "logits"])
    fed = networkx.descendants(chosen, "input") | {"input"}
    heard = networkx.ancestors(chosen, "logits") | {"logits"}
    return kept & torch.tensor([u in fed and v in heard for u, v in ends])


@few
@given(kept_edges())
def test_pruning_keeps_exactly_what_is_on_a_path_from_input_to_logits(case):
    graph, kept = case
    pruned = selection.prune(graph, kept)
    assert torch.equal(pruned, on_a_path(graph, kept))
    assert torch.equal(selection.prune(graph, pruned), pruned)


@few
@given(kept_edges(), st.data())
def test_pruning_more_edges_leaves_no_fewer(case, data):
    graph, kept = case
    fewer_kept = kept & (torch.rand(graph.n_edges, generator=seeded(data.draw)) < 0.7)
    assert not (selection.prune(graph, fewer_kept) & ~selection.prune(graph, kept)).any()


def grown(graph: Graph, scores: torch.Tensor, n: int) -> list[int]:
    """The edges that greedy takes, in order, straight from its definition."""
    readers = [name.split("->")[1].split("<")[0] for name in graph.edges]
    writers = [name.split("->")[0] for name in graph.edges]
    met, taken = {"logits"}, []
    for _ in range(n):
        open_edges = [e for e in range(graph.n_edges) if readers[e] in met and e not in taken]
        if not open_edges:
            break
        taken.append(max(open_edges, key=lambda e: (abs(float(scores[e])), -e)))
        met.add(writers[taken[-1]])
    return taken


@few
@given(scored_edges(), st.integers(0, 30))
def test_greedy_is_the_naive_loop_and_each_size_holds_the_one_before(case, n):
    graph, scores = case
    chosen = selection.greedy(graph, scores, n=n)
    assert set(chosen.nonzero().flatten().tolist()) == set(grown(graph, scores, n))
    assert not (chosen & ~selection.greedy(graph, scores, n=n + 1)).any()


@few
@given(scored_edges(), st.integers(0, 30), st.booleans())
def test_the_strongest_edges_are_the_first_of_a_sorted_list(case, n, absolute):
    graph, scores = case
    values = scores.abs() if absolute else scores
    ordered = sorted(range(graph.n_edges), key=lambda e: (-float(values[e]), e))
    chosen = selection.top_n(graph, scores, n=n, absolute=absolute)
    assert chosen.nonzero().flatten().tolist() == sorted(ordered[:n])


def layers_joined(graph: Graph, kept: torch.Tensor) -> dict:
    """How many kept edges join each pair of layers."""
    counts = {}
    for name, keep in zip(graph.edges, kept.tolist(), strict=True):
        ends = name.split("->")
        pair = graph.layer_of(ends[0]), graph.layer_of(ends[1])
        counts[pair] = counts.get(pair, 0) + keep
    return counts


@few
@given(kept_edges(), st.data())
def test_matched_random_circuits_have_as_many_edges_for_every_pair_of_layers(case, data):
    graph, kept = case
    drawn = random_circuits.matched(graph, kept, generator=seeded(data.draw))
    assert layers_joined(graph, drawn) == layers_joined(graph, kept)
    uniform = random_circuits.uniform(graph, int(kept.sum()), generator=seeded(data.draw))
    assert uniform.sum() == kept.sum()


# ---------------------------------------------------------------- files


@few
@given(kept_edges(), st.data())
def test_a_circuit_comes_back_from_its_file_as_it_was(case, data):
    graph, kept = case
    generator = seeded(data.draw)
    scores = torch.randn(graph.n_edges, generator=generator, dtype=torch.float64)
    ranked = {"rank_scores": scores.abs() + 1, "metadata": {"rank": "example"}}
    by_example = ranked if data.draw(st.booleans()) else {}
    made = circuit.Circuit(graph, kept, scores, **by_example)
    with tempfile.TemporaryDirectory() as folder:
        disk.write_json(Path(folder) / "C.json", made.to_json())
        read = circuit.load_circuit(Path(folder) / "C.json")
    assert read.graph == graph
    assert torch.equal(read.in_graph, kept) and torch.equal(read.scores, scores)
    assert torch.equal(read.ranking, made.ranking) and read.rule == made.rule


@few
@given(graphs, st.data())
def test_a_collapsed_edge_puts_all_slots_into_the_circuit_and_shares_its_score_out(graph, data):
    names = dict.fromkeys(name.split("<")[0] for name in graph.edges)
    scores = {name: data.draw(st.integers(-9, 9)) for name in names}
    kept = {name: data.draw(st.booleans()) for name in names}
    written = {
        "cfg": {"n_layers": graph.n_layers, "n_heads": graph.n_heads, "d_model": 4}
        | {"parallel_attn_mlp": graph.parallel},
        "nodes": {},
        "edges": {name: {"score": scores[name], "in_graph": kept[name]} for name in names},
    }
    with tempfile.TemporaryDirectory() as folder:
        disk.write_json(Path(folder) / "C.json", written)
        read = circuit.load_circuit(Path(folder) / "C.json")
    for edge, name in enumerate(graph.edges):
        share = 3 if "<" in name else 1
        assert bool(read.in_graph[edge]) == kept[name.split("<")[0]]
        assert float(read.scores[edge]) == pytest.approx(scores[name.split("<")[0]] / share)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
articles = st.lists(st.tuples(texts, texts), min_size=1, max_size=4)


@fewer
@given(articles, st.sampled_from(["csv", "jsonl", "json"]))
def test_rows_come_back_from_their_file_as_they_were(written, kind):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"articles.{kind}"
        objects = [{"article": article, "highlights": summary} for article, summary in written]
        with open(path, "w", encoding="utf-8", newline="") as file:
            if kind == "csv":
                csv.writer(file).writerows([("article", "highlights"), *written])
            else:
                lines = [json.dumps(row, ensure_ascii=False) for row in objects]
                file.write("\n".join(lines) if kind == "jsonl" else json.dumps(objects))
        read = [(row["article"], row["highlights"]) for row in rows.read(path).to_list()]
    assert read == written


@st.composite
def token_pairs(draw):
    """Clean/corrupted pairs of 3 to 9 tokens that differ somewhere before the summary."""
    made = []
    for number in range(draw(st.integers(1, 5))):
        clean = draw(st.lists(st.integers(0, 49), min_size=3, max_size=9))
        start = draw(st.integers(1, len(clean) - 1))
        corrupted = [clean[0] + 1, *clean[1:]]
        made.append(dataset.Pair(str(number), clean, corrupted, start))
    return made


def as_line(pair: dataset.Pair) -> dict:
    """A pair as a row of a pairs file."""
    return {
        "id": pair.id,
        "clean_ids": pair.clean_ids,
        "corrupted_ids": pair.corrupted_ids,
        "summary_start": pair.target_start,
    }


SPOILED = {
    "another length": {"corrupted_ids": [1, 2]},
    "no target": {"summary_start": 99},
    "a token that is none": {"clean_ids": [0.5, 1, 2]},
    "text for tokens": {"corrupted_ids": "abc"},
    "a token over the vocabulary": {"clean_ids": [51] * 99, "corrupted_ids": [51] * 99},
}


@few
@given(token_pairs(), st.sampled_from([None, *SPOILED]), st.data())
def test_pairs_come_back_from_their_file_and_a_bad_row_is_named(made, fault, data):
    lines = [as_line(pair) for pair in made]
    bad = data.draw(st.integers(0, len(lines) - 1))
    lines[bad] |= SPOILED[fault] if fault else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        disk.write_jsonl(path, lines)
        if fault is None:
            assert dataset.read_pairs(path, vocabulary_size=51) == made
            return
        with pytest.raises(InputError, match=rf"row {bad + 1}: expected"):
            dataset.read_pairs(path, vocabulary_size=51)


@few
@given(token_pairs(), st.integers(1, 3))
def test_batches_hold_every_pair_once_and_every_target_one_place_after_its_logits(made, size):
    seen = []
    for batch in dataset.batches(made, size):
        assert len(batch.rows) <= size
        for place, row in enumerate(batch.rows):
            pair, tokens = made[row], batch.mask[place]
            seen.append(row)
            assert batch.clean_ids[place][tokens].tolist() == pair.clean_ids
            assert batch.corrupted_ids[place][tokens].tolist() == pair.corrupted_ids
            of_pair = batch.target_rows == place
            assert batch.target_ids[of_pair].tolist() == pair.clean_ids[pair.target_start :]
            positions = list(range(pair.target_start - 1, len(pair.clean_ids) - 1))
            assert batch.target_positions[of_pair].tolist() == positions
    assert sorted(seen) == list(range(len(made)))


@few
@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 5))
def test_stretches_cover_every_position_once_with_its_label(labels, most):
    covered = []
    for label, part in dataset.stretches(labels, most):
        assert 0 < part.stop - part.start <= most
        covered += [(position, label) for position in range(part.start, part.stop)]
    assert covered == list(enumerate(labels))


@few
@given(st.text("aB1 .!?\"'\n。", max_size=60))
def test_sentences_leave_nothing_out_but_white_space_and_do_not_overlap(text):
    spans = rouge.sentence_spans(text)
    outside, end = "", 0
    for start, stop in spans:
        assert end <= start < stop <= len(text)
        assert text[start:stop] == text[start:stop].strip()
        outside, end = outside + text[end:start], stop
    assert not (outside + text[end:]).strip()


# ---------------------------------------------------------------- budgets


@few
@given(
    st.integers(1, 6),
    st.integers(20_000, 400_000),
    st.sampled_from(["lora", "rslora"]),
    st.sets(st.integers(0, 5)),
)
def test_ranks_meet_a_budget_or_it_is_refused(n_layers, budget, method, critical):
    sizes = {"attn.c_attn": (64, 192), "attn.c_proj": (64, 64)}
    sizes |= {"mlp.c_fc": (64, 256), "mlp.c_proj": (256, 64)}
    shapes = {
        f"transformer.h.{layer}.{module}": shape
        for layer in range(n_layers)
        for module, shape in sizes.items()
    }
    arm = lora.Arm("some", tuple(range(n_layers)), method)
    try:
        plan = lora.make_plan(
            shapes,
            arm,
            layers=range(n_layers),
            critical=critical,
            sizing=lora.Sizing(8, 2.0, budget),
        )
    except InputError:
        assume(False)
    trained = sum(rank * sum(shapes[name]) for name, rank in plan.ranks.items())
    assert 0.995 * budget <= trained <= budget
    assert min(plan.ranks.values()) >= 1 and plan.ranks.keys() == shapes.keys()


# ---------------------------------------------------------------- the run record


class RunRecord(RuleBasedStateMachine):
    """A script started, interrupted, finished, with other arguments, inputs and what lies there.

    The model: `made`, the run whose complete outputs lie there untouched; `begun`, the run that
    began last and did not end; `written`, whether a file is there; `foreign`, whether what is there
    was left by another run than `begun`.
    """

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.out = Path(self.folder.name) / "out.json"
        for name in "ab":  # two inputs of one name that hold different things
            (self.out.parent / name).mkdir()
            (self.out.parent / name / "input.txt").write_text(name)
        self.made = self.begun = self.run = None
        self.touched = self.foreign = False
        self.length = self.times_resumed = 0

    def teardown(self):
        self.folder.cleanup()

    @property
    def written(self) -> bool:
        return self.out.exists()

    def started(self, asked, overwrite: bool) -> records.Run:
        """The run of a script with these arguments."""
        steps, source = asked
        flags = {"seed": 0, "overwrite": overwrite, "quiet": True, "steps": steps}
        inputs = {"source": self.out.parent / source / "input.txt"}
        return records.Run(flags, self.out.parent / "run.json", outputs=[self.out], inputs=inputs)

    @rule(steps=st.sampled_from([5, 6]), source=st.sampled_from("ab"), overwrite=st.booleans())
    def start(self, steps, source, overwrite):
        asked = steps, source
        self.run = None
        goes_on = asked == self.begun
        complete = asked == self.made and not goes_on
        if complete and self.written and not overwrite:
            if self.touched:
                with pytest.raises(InputError, match="bytes that this run wrote"):
                    self.started(asked, overwrite)
            else:
                assert self.started(asked, overwrite).up_to_date
            self.begun = None
            return
        if self.written and not goes_on and not complete and not overwrite:
            with pytest.raises(InputError, match="--overwrite"):
                self.started(asked, overwrite)
            return
        self.run = self.started(asked, overwrite)
        assert not self.run.up_to_date
        self.times_resumed = self.times_resumed + 1 if goes_on else 0
        assert self.run.resumed == self.times_resumed
        self.foreign = self.written and not complete and (not goes_on or self.foreign)
        assert self.run.starts_over == self.foreign
        if self.touched:  # whose bytes lie there is not known once another run has begun
            self.made = None
        self.begun = asked

    @precondition(lambda self: self.run is not None)
    @rule()
    def write_and_be_interrupted(self):
        self.write()
        self.run = None

    @precondition(lambda self: self.run is not None)
    @rule()
    def clear(self):
        self.out.unlink(missing_ok=True)
        self.run.cleared()
        self.made, self.foreign = None, False

    @precondition(lambda self: self.run is not None)
    @rule()
    def finish(self):
        self.write()
        self.run.finish()
        self.made, self.begun, self.run = self.begun, None, None
        self.touched = self.foreign = False

    @precondition(lambda self: self.written)
    @rule()
    def lose_the_output(self):
        self.out.unlink()
        self.changed()

    @precondition(lambda self: self.written)
    @rule()
    def touch_the_output(self):
        self.write()

    def write(self):
        """Write the output, each time longer than before."""
        self.length += 1
        self.out.write_text("x" * self.length)
        self.changed()

    def changed(self):
        """What is there is no longer what a run wrote, and while another has begun, nobody's."""
        self.touched = True
        if self.begun is not None:
            self.made = None

    @invariant()
    def no_half_written_file_is_left(self):
        names = {path.name for path in self.out.parent.iterdir()}
        assert names <= {"a", "b", "run.json", "out.json"}


def test_a_script_skips_resumes_and_refuses_as_the_model_says():
    from hypothesis.stateful import run_state_machine_as_test

    with (
        mock.patch.object(records, "git_commit", return_value=None),
        mock.patch.object(records, "versions", return_value={}),
    ):
        run_state_machine_as_test(
            RunRecord, settings=settings(few, max_examples=60, stateful_step_count=12)
        )
