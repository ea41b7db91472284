"""Every family: circuits, scores and sums against transformers and a pass written out."""

import json
from dataclasses import replace
from types import SimpleNamespace

import families
import pytest
import torch
from golden_cases import LLAMAS, golden
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from eap import InputError, hooks, metrics, rules
from eap.attribute import attribute, attribute_batches
from eap.circuit import Circuit, load_circuit
from eap.contraction import CHUNK_ELEMENTS
from eap.dataset import collate
from eap.evaluate import CircuitRunner
from eap.exact import exact_patching
from eap.gradients import Gradients
from eap.graph import Graph
from eap.methods import Settings
from eap.models import adapt
from eap.passes import mean_activations
from eap.selection import greedy, prune, top_nodes

FAMILIES = list(families.CONFIGS)


@pytest.fixture(autouse=True)
def float64(monkeypatch):
    families.stay_in_float64(monkeypatch)


class Case:
    """A family's model and the plain runs of one batch of pairs by the pass written out."""

    def __init__(self, family: str):
        self.model = families.model(family).requires_grad_(False)
        self.pairs = families.pairs()
        self.batch = collate(list(range(len(self.pairs))), self.pairs)
        self.clean = self.run(self.batch.clean_ids)
        self.corrupted = self.run(self.batch.corrupted_ids)
        ends = self.at_targets(self.clean[2]), self.at_targets(self.corrupted[2])
        self.reference = metrics.reference(*ends, target_ids=self.batch.target_ids)

    def run(self, ids, read=families.as_it_is, operations=families.OPERATIONS):
        return families.forward(self.model, self.embed(ids), read, operations)

    def embed(self, ids):
        return self.model.get_input_embeddings()(ids)

    def at_targets(self, logits):
        return logits[self.batch.target_rows, self.batch.target_positions]

    def metric(self, name: str, logits) -> torch.Tensor:
        chosen, rows = self.at_targets(logits), self.batch.target_rows
        return metrics.per_example(
            name, chosen, reference=self.reference, target_rows=rows, n_examples=len(self.pairs)
        )

    def gradients(self, name: str, embeddings, operations=families.OPERATIONS) -> dict:
        """By slot: the metric's gradient at that slot's own copy of its stream."""
        copies = {}

        def read(slot, outputs, stream):
            copies[slot] = stream + torch.zeros_like(stream, requires_grad=True)
            return copies[slot]

        logits = families.forward(self.model, embeddings, read, operations)[2]
        gradients = torch.autograd.grad(self.metric(name, logits).sum(), list(copies.values()))
        return dict(zip(copies, gradients, strict=True))

    def scores(self, graph: Graph, gradients: dict) -> torch.Tensor:
        """(examples, edges): (corrupted - clean) of the source times the gradient at the slot."""
        changes = {u: self.corrupted[0][u] - output for u, output in self.clean[0].items()}
        columns = []
        for edge in graph.edges:
            source, slot = edge.split("->")
            columns.append((changes[source] * gradients[slot]).sum((1, 2)))
        return torch.stack(columns, 1)

    def circuit_logits(self, graph: Graph, kept: torch.Tensor, others=None, name=str):
        """Logits by the definition: kept edges carry the running output, the rest that of `others`.

        These are by default what the sources write in the corrupted run. `name(slot)` is what the
        graph calls a query head's slot.
        """
        edges = {edge for edge, keep in zip(graph.edges, kept.tolist(), strict=True) if keep}
        others, biases = others or self.corrupted[0], self.corrupted[1]

        def read(slot, outputs, stream):
            mixed = sum(
                output if f"{source}->{name(slot)}" in edges else others[source]
                for source, output in outputs.items()
            )
            return mixed + (stream - sum(outputs.values()))  # the layers' own biases

        assert len(biases) == graph.n_layers
        return self.run(self.batch.clean_ids, read)[2]


@pytest.fixture(scope="module")
def cases():
    made = {}

    def case(family: str) -> Case:
        if family not in made:
            made[family] = Case(family)
        return made[family]

    return case


def close(values, expected, tolerance=1e-10) -> None:
    assert expected.abs().max() > 1e-3
    assert (values - expected).abs().max() <= tolerance * expected.abs().max()


# ---------------------------------------------------------------- golden Llamas


@pytest.mark.parametrize("name", LLAMAS)
@pytest.mark.parametrize("method", ["EAP", "EAP-IG-inputs", "clean-corrupted", "secant"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_golden_scores(name, method, dtype, tolerance):
    case = golden(name)
    model = case.model(dtype)
    scores = attribute(
        model, case.pairs, method=method, metric=case.metric, batch_size=3, steps=5, rule="left"
    )
    expected = case.tensors[f"scores.{method}"]
    if case.metric == "kl" and method == "EAP":  # KL has no gradient at the clean input
        assert scores.edges.abs().max() < (1e-10 if dtype == torch.float64 else 1e-6)
        return
    close(scores.edges.double().mean(0), expected, tolerance)
    if method == "secant":
        stored = load_file(case.folder / "secant.safetensors")["scores.secant"]
        assert torch.equal(stored, expected)


@pytest.mark.parametrize("name", LLAMAS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_golden_circuits_and_exact_patching(name, dtype):
    case = golden(name)
    adapter = adapt(case.model(dtype))
    assert list(adapter.graph.edges) == case.case["edges"] == list(case.graph.edges)
    wide = dtype == torch.float64
    with hooks.frozen(adapter.model):
        runner = CircuitRunner(adapter, collate(list(range(len(case.pairs))), case.pairs))
        circuits = list(case.circuits())
        for _, n, kept, expected in circuits:
            difference = (runner.metric(case.metric, kept) - expected).abs()
            assert difference.max() <= (1e-9 if wide else 1e-5), n
        exact = exact_patching(runner, case.metric, edges=range(case.graph.n_edges)).mean(0)
    assert circuits
    close(exact, case.tensors["scores.exact"], 1e-9 if wide else 1e-3)


# ---------------------------------------------------------------- the model itself


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pass_written_out_is_transformers_own(cases, family):
    case = cases(family)
    mask = case.batch.mask
    close(case.clean[2][mask], case.model(case.batch.clean_ids, attention_mask=mask).logits[mask])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_nodes_write_and_the_streams_they_add_up_to(cases, family):
    case = cases(family)
    adapter = adapt(case.model)
    activations, _ = hooks.record(adapter, case.batch.clean_ids)
    streams = hooks.read_streams(adapter, activations)
    read = {}

    def keep(slot, outputs, stream):
        read[slot] = stream
        return stream

    outputs = case.run(case.batch.clean_ids, keep)[0]
    assert list(outputs) == list(adapter.graph.sources)
    assert set(read) == set(adapter.graph.destinations)
    for layer in range(adapter.graph.n_layers):
        heads = activations.heads[layer].unflatten(-1, (adapter.graph.n_heads, -1))
        weight = adapter.write_weight(layer)
        for head in range(adapter.graph.n_heads):
            close(heads[..., head, :] @ weight[head], outputs[f"a{layer}.h{head}"])
        close(activations.mlps[layer], outputs[f"m{layer}"])
        close(streams.attention[layer], read[f"a{layer}.h0<k>"])
        close(streams.mlp[layer], read[f"m{layer}"])
    close(streams.final, read["logits"])


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_are_the_streams_before_the_layers_and_the_final_norm(cases, family):
    from study.differential import latents

    case, read = cases(family), {}

    def keep(slot, outputs, stream):
        read[slot] = stream
        return stream

    ids = case.pairs[0].clean_ids
    case.run(torch.tensor([ids]), keep)
    expected = [stream[0] for slot, stream in read.items() if slot.endswith(".h0<q>")]
    expected.append(read["logits"][0])
    close(latents.streams(case.model, ids).double(), torch.stack(expected), 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_attention_weights_are_transformers_own(family):
    from study.differential.two_models import states

    model = families.model(family)
    adapter, pair = adapt(model), families.pairs()[0]
    ids = torch.tensor([pair.clean_ids])
    with torch.no_grad():
        layers = states(adapter, ids)
        weights = [
            adapter.attention_weights(layer, layers[layer]) for layer in range(len(layers) - 2)
        ]
        model.set_attn_implementation("eager")
        run = model(ids, output_hidden_states=True, output_attentions=True)
    assert len(run.attentions) == len(weights) == adapter.graph.n_layers
    for ours, theirs in zip(weights, run.attentions, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == torch.float32
        close(ours.double(), theirs.double(), 1e-6)
    # transformers' last entry is after the final norm, and it has none before that
    close(torch.cat([layers[:-2], layers[-1:]]), torch.stack(run.hidden_states), 1e-6)
    close(adapter.unembed(layers[-1]), run.logits, 1e-6)


# ---------------------------------------------------------------- adapters of LoRA


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_lora_arms_wrap_every_matrix_of_a_block_and_meet_their_budget(family, method):
    from study.bakeoff import lora

    model = families.model(family).float()
    shapes, adapter = lora.module_shapes(model), adapt(model)
    matrices = {
        name.removesuffix(".weight"): parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and any(part.isdigit() for part in name.split("."))
    }
    assert set(shapes) == set(matrices)
    for name, (inputs, outputs) in shapes.items():
        assert sorted((inputs, outputs)) == sorted(matrices[name].shape)
        bias = getattr(model.get_submodule(name), "bias", None)
        assert bias is None or len(bias) == outputs
    budget = 60 * sum(map(sum, shapes.values())) + 17
    arm = lora.Arm("some", layers=(0, 1), method=method)
    plan = lora.make_plan(shapes, arm, layers=(0, 1), sizing=lora.Sizing(4, 2.0, budget))
    ids = torch.arange(9)[None]
    with torch.no_grad():
        before = model(ids).logits
        torch.manual_seed(0)
        wrapped = lora.wrap(model, plan, total_steps=10)
        close(wrapped(ids).logits, before, 1e-5)  # B starts at zero
        trainable, _ = wrapped.get_nb_trainable_parameters()
        assert trainable == lora.count(plan, shapes) and 0 <= budget - trainable < 0.01 * budget
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
        changed = wrapped(ids).logits
        merged = wrapped.merge_and_unload()
        assert (changed - before).abs().max() > 1e-3
        close(merged(ids).logits, changed, 1e-4)
    assert (
        {lora.layer_of(name) for name in plan.ranks} == {0, 1} <= set(range(adapter.graph.n_layers))
    )


def test_arms_of_modules_that_a_model_lacks_are_refused_with_those_it_has():
    from study.bakeoff import lora

    shapes = lora.module_shapes(families.model("llama"))
    kinds = "self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj, mlp.gate_proj"
    with pytest.raises(InputError, match=f"arm own: .*{kinds}.*got attn.c_attn"):
        foreign = lora.Arm("own", modules=("attn.c_attn",))
        lora.make_plan(shapes, foreign, layers=(0,), sizing=lora.Sizing(4, 2.0))
    own = lora.Arm("own", modules=("mlp.up_proj",))
    plan = lora.make_plan(shapes, own, layers=(1,), sizing=lora.Sizing(4, 2.0))
    assert plan.ranks == {"model.layers.1.mlp.up_proj": 4}


# ---------------------------------------------------------------- circuits


@pytest.mark.parametrize("family", FAMILIES)
def test_circuits_equal_their_definition(cases, family):
    case = cases(family)
    adapter = adapt(case.model)
    runner = CircuitRunner(adapter, case.batch)
    every = torch.ones(adapter.graph.n_edges, dtype=torch.bool)
    padding = {"attention_mask": case.batch.mask}
    for kept, ids in ((every, case.batch.clean_ids), (~every, case.batch.corrupted_ids)):
        close(runner.logits(kept), case.at_targets(case.model(ids, **padding).logits))
    generator = torch.Generator().manual_seed(3)
    for share in (0.2, 0.5, 0.9):
        chosen = torch.rand(adapter.graph.n_edges, generator=generator) < share
        kept = prune(adapter.graph, chosen)
        assert kept.any()
        expected = case.circuit_logits(adapter.graph, kept)
        close(runner.logits(kept), case.at_targets(expected))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_circuits_of_other_ablations_equal_their_definition(cases, family, ablation):
    case = cases(family)
    adapter, outputs = adapt(case.model), case.clean[0]
    mask = case.batch.mask[..., None]
    means = {u: (x * mask).sum((0, 1)) / mask.sum() for u, x in outputs.items()}
    others = {u: (means[u] if ablation == "mean" else 0) + 0 * x for u, x in outputs.items()}
    activations = mean_activations(adapter, [case.batch]) if ablation == "mean" else None
    runner = CircuitRunner(adapter, case.batch, ablation=ablation, means=activations)
    order = torch.rand(adapter.graph.n_edges, generator=torch.Generator().manual_seed(5))
    for share in (0.4, 0.8):
        kept = prune(adapter.graph, order < share)
        expected = case.at_targets(case.circuit_logits(adapter.graph, kept, others))
        close(runner.logits(kept), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("where", ["a1", "m0"])
def test_patched_nodes_equal_edges_that_carry_the_corrupted_output(cases, family, where):
    case = cases(family)
    adapter = adapt(case.model)
    corrupted, _ = hooks.record(adapter, case.batch.corrupted_ids)
    written = corrupted.heads if where[0] == "a" else corrupted.mlps
    with torch.no_grad(), hooks.patched(adapter, where, value=written[int(where[1])]):
        logits = adapter.unembed(adapter.hidden(case.embed(case.batch.clean_ids)))
    from_there = [edge.partition("->")[0].split(".")[0] == where for edge in adapter.graph.edges]
    expected = case.circuit_logits(adapter.graph, ~torch.tensor(from_there))
    close(case.at_targets(logits), case.at_targets(expected))


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_patching_of_single_edges_by_the_definition(cases, family):
    case = cases(family)
    adapter = adapt(case.model)
    graph = adapter.graph
    edges = torch.randperm(graph.n_edges, generator=torch.Generator().manual_seed(4))[:12].tolist()
    scores = exact_patching(CircuitRunner(adapter, case.batch), "kl", edges=edges)
    expected = []
    for edge in edges:
        kept = torch.arange(graph.n_edges) != edge
        expected.append(case.metric("kl", case.circuit_logits(graph, kept)))
    close(scores, torch.stack(expected, 1))


# ---------------------------------------------------------------- scores


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_scores_equal_autograd_of_copies(cases, family):
    case = cases(family)
    graph = adapt(case.model).graph
    start = case.embed(case.batch.corrupted_ids)
    line = case.embed(case.batch.clean_ids) - start
    by_share = {
        share: case.scores(graph, case.gradients("nll", start + share * line))
        for share in (0.0, 0.25, 0.75, 1.0)
    }
    for method, expected in (
        ("EAP", by_share[1.0]),
        ("clean-corrupted", (by_share[0.0] + by_share[1.0]) / 2),
        ("EAP-IG-inputs", (by_share[0.25] + by_share[0.75]) / 2),
    ):
        options = {"batch_size": 2, "steps": 2, "rule": "midpoint"}
        close(
            attribute(case.model, case.pairs, method=method, metric="nll", **options).edges,
            expected,
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_edge_gates_equal_the_derivative_by_a_gate_on_every_edge(cases, family):
    case = cases(family)
    graph, share = adapt(case.model).graph, 0.8
    gates = torch.full((graph.n_edges,), share, dtype=torch.float64, requires_grad=True)
    others = case.corrupted[0]

    def read(slot, outputs, stream):
        mixed = stream - sum(outputs.values())
        for source, output in outputs.items():
            gate = gates[graph.edge_number[f"{source}->{slot}"]]
            mixed = mixed + gate * output + (1 - gate) * others[source]
        return mixed

    value = case.metric("kl", case.run(case.batch.clean_ids, read)[2]).sum()
    (derivative,) = torch.autograd.grad(value, gates)
    scores = attribute(case.model, case.pairs, method="edge-gates", metric="kl").edges.sum(0)
    close(scores, -derivative)


def cuts(graph: Graph, scores: torch.Tensor) -> torch.Tensor:
    """(cuts, examples): the sums over the edges that cross each cut between groups of nodes."""
    source, destination = graph.edge_index
    first_heads = torch.cat([torch.arange(len(graph.nodes)), graph.group_heads[:, 0]])
    reader, sums = first_heads[graph.reader][destination], []
    for layer in range(graph.n_layers):
        for count in (graph.heads(layer).start, graph.heads(layer).stop):
            sums.append(scores[:, (source < count) & (reader >= count)].sum(1))
    return torch.stack([*sums, scores[:, reader == len(graph.sources)].sum(1)])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["secant", "secant-segments"])
def test_every_cut_of_secants_scores_sums_to_the_metrics_change(cases, family, method):
    case = cases(family)
    scores = attribute(case.model, case.pairs, method=method, metric="kl", steps=3)
    change = scores.corrupted - scores.clean
    sums = cuts(adapt(case.model).graph, scores.edges)
    assert len(sums) == 2 * adapt(case.model).graph.n_layers + 1
    close(sums, change.expand_as(sums))


@pytest.mark.parametrize("family", FAMILIES)
def test_secant_is_the_derivative_where_both_runs_all_but_agree(cases, family):
    case = cases(family)
    adapter, graph = adapt(case.model), adapt(case.model).graph
    clean = case.embed(case.batch.clean_ids)
    near = torch.lerp(clean, case.embed(case.batch.corrupted_ids), 1e-6)
    embeddings = {"clean": clean, "near": near}
    runs = {
        name: families.forward(case.model, x, families.as_it_is) for name, x in embeddings.items()
    }
    gradients = case.gradients("nll", clean)
    changes = {u: runs["near"][0][u] - x for u, x in runs["clean"][0].items()}
    expected = torch.stack(
        [
            (changes[edge.split("->")[0]] * gradients[edge.split("->")[1]]).sum((1, 2))
            for edge in graph.edges
        ],
        1,
    )
    adapter.embed = lambda ids: near if torch.equal(ids, case.batch.corrupted_ids) else clean
    scores = next(
        attribute_batches(adapter, [case.batch], settings=Settings("secant", "nll"))
    ).edges
    close(scores * 1e6, expected * 1e6, 1e-4)


def half(product, left, right):
    """A product of which each factor gets half of the derivative."""
    return (product(left, right.detach()) + product(left.detach(), right)) / 2


def with_value(value, gradient):
    """`value` to look at, `gradient`'s derivative to autograd."""
    return value.detach() + gradient - gradient.detach()


def relative(temperature: float, slope_from_zero: bool) -> SimpleNamespace:
    """The operations of AttnLRP and GIM for autograd: scales held constant, halved products."""

    def norm(module, x):
        value = families.norm(module, x)
        centred = isinstance(module, torch.nn.LayerNorm)
        c = x - x.mean(-1, keepdim=True) if centred else x
        return with_value(value, c / scale(module, x) * families.norm_weight(module))

    def scale(module, x):
        return families.scale(module, x).detach()

    def cap(x, most):
        value = families.cap(x, most)
        return x * (value / x).detach() if slope_from_zero else value

    def attention(q, k, v, factor, most, window):
        scores = cap(half(torch.matmul, q, k.transpose(-1, -2)) * factor, most)
        scores = scores.masked_fill(families.mask(q.shape[1], window), -torch.inf)
        warm = temperature * (scores / temperature).softmax(-1)
        return half(torch.matmul, with_value(scores.softmax(-1), warm), v)

    def gate(function, h, *factors):
        result = h * (function(h) / h).detach() if slope_from_zero else function(h)
        return half(torch.mul, result, *factors) if factors else result

    return SimpleNamespace(norm=norm, scale=scale, attention=attention, gate=gate, cap=cap)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("method", "settings"), [("AttnLRP", (1.0, True)), ("GIM", (2.0, False))])
def test_one_pass_rules_equal_autograd_of_the_changed_operations(cases, family, method, settings):
    case = cases(family)
    graph = adapt(case.model).graph
    clean = case.embed(case.batch.clean_ids)
    expected = case.scores(graph, case.gradients("nll", clean, relative(*settings)))
    close(attribute(case.model, case.pairs, method=method, metric="nll").edges, expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["EAP-IG-inputs", "secant"])
def test_padding_batches_and_chunks_do_not_matter(cases, family, method, monkeypatch):
    case = cases(family)
    together = attribute(case.model, case.pairs, method=method, metric="kl", batch_size=3).edges
    monkeypatch.setitem(CHUNK_ELEMENTS, "cpu", 1000)
    monkeypatch.setattr(hooks, "CHUNK_ROWS", 4)
    alone = torch.cat(
        [attribute(case.model, [pair], method=method, metric="kl").edges for pair in case.pairs]
    )
    close(together, alone)


def count_hooks(model) -> int:
    """How many hooks the model has; transformers leaves some of its own."""
    modules = list(model.modules())
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_of_other_types_have_an_adapter_too(family, dtype):
    adapter = adapt(families.model(family).to(dtype))
    assert next(adapter.model.parameters()).dtype == dtype
    assert count_hooks(adapter.model) == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chosen", [rules.SECANT, rules.GIM])
def test_rules_change_no_bit_of_the_forward_pass(cases, family, chosen):
    case = cases(family)
    adapter = adapt(case.model)
    before = count_hooks(adapter.model)
    embeddings = adapter.embed(case.batch.clean_ids)
    with hooks.tapped(adapter) as taps:
        plain = adapter.unembed(adapter.hidden(embeddings))
    with Gradients(adapter).collecting(1.0, rules=chosen, other=taps if chosen.two_runs else None):
        watched = adapter.unembed(adapter.hidden(embeddings.requires_grad_()))
    assert watched.requires_grad and torch.equal(watched, plain)
    assert count_hooks(adapter.model) == before


# ---------------------------------------------------------------- graphs, files, refusals


@pytest.mark.parametrize(
    ("sizes", "kv_heads", "counts"),
    [  # counts: sources, edges per query head, edges with shared k and v
        ((12, 12, 768, False), None, (157, 32_491, 32_491)),  # GPT-2 small
        ((24, 16, 1024, False), None, (409, 231_877, 231_877)),  # GPT-2 medium
        ((30, 9, 576, False), 3, (301, 123_211, 70_651)),  # SmolLM2-135M
        ((24, 14, 896, False), 2, (361, 179_749, 79_813)),  # Qwen2.5-0.5B
        ((28, 16, 1024, False), 8, (477, 317_171, 213_907)),  # Qwen3-0.6B
        ((16, 32, 2048, False), 8, (529, 386_713, 195_865)),  # Llama-3.2-1B
        ((32, 32, 4096, False), 8, (1_057, 1_592_881, 805_681)),  # Llama-3.1-8B
        ((26, 8, 2304, False), 4, (235, 74_218, 50_610)),  # Gemma-2-2B
        ((12, 12, 768, True), None, (157, 32_347, 32_347)),  # Pythia-160M
        ((24, 16, 1024, True), None, (409, 231_493, 231_493)),  # Pythia-410M
    ],
)
def test_published_sizes(sizes, kv_heads, counts):
    n_layers, n_heads, d_model, parallel = sizes
    graph = Graph(n_layers, n_heads, d_model, parallel=parallel)
    shared = replace(graph, kv_heads=kv_heads)
    assert (len(graph.sources), graph.n_edges, shared.n_edges) == counts
    assert len(shared.sources) == len(graph.sources) and shared.nodes == graph.nodes
    assert int(graph.edge_index[1].max()) == len(graph.destinations) - 1
    assert int(shared.edge_index[1].max()) == len(shared.destinations) - 1


# ---------------------------------------------------------------- keys and values that heads share

SHARING = ("llama", "qwen2", "gemma2", "gemma2_uncapped")


def of_group(graph: Graph, slot: str) -> str:
    """The name, in a graph of shared keys and values, of what a query head's slot reads through."""
    node, _, kind = slot.partition("<")
    if kind not in ("k>", "v>"):
        return slot
    layer, head = node.removeprefix("a").split(".h")
    return f"a{layer}.g{int(head) * graph.kv_heads // graph.n_heads}<{kind}"


def test_names_and_order_of_shared_edges():
    graph = Graph(2, 4, 8, kv_heads=2)
    assert graph.edges[:9] == (
        *(f"input->a0.{slot}" for slot in ("h0<q>", "g0<k>", "g0<v>", "h1<q>", "h2<q>")),
        *(f"input->a0.{slot}" for slot in ("g1<k>", "g1<v>", "h3<q>")),
        "input->m0",
    )
    per_head = Graph(2, 4, 8)
    folded = [edge.split("->") for edge in per_head.edges]
    folded = [f"{source}->{of_group(graph, slot)}" for source, slot in folded if "->" not in slot]
    assert tuple(dict.fromkeys(folded)) == graph.edges  # the order per head, without repetitions
    assert str(graph) != str(per_head) and not graph.fits(per_head)


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_that_share_nothing_have_one_graph_either_way(family):
    model = families.model(family)
    per_head, shared = adapt(model).graph, adapt(model, kv="shared").graph
    assert (shared != per_head) == (
        getattr(model.config, "num_key_value_heads", None)
        not in (None, model.config.num_attention_heads)
    )


@pytest.mark.parametrize("family", SHARING)
def test_scores_of_shared_slots_equal_autograd_of_a_copy_for_each_group(cases, family):
    case = cases(family)
    adapter = adapt(case.model, kv="shared")
    graph, copies = adapter.graph, {}

    def read(slot, outputs, stream):
        name = of_group(graph, slot)
        if name not in copies:
            copies[name] = stream + torch.zeros_like(stream, requires_grad=True)
        return copies[name]

    logits = families.forward(case.model, case.embed(case.batch.clean_ids), read)[2]
    value = case.metric("nll", logits).sum()
    gradients = torch.autograd.grad(value, list(copies.values()))
    expected = case.scores(graph, dict(zip(copies, gradients, strict=True)))
    close(
        next(attribute_batches(adapter, [case.batch], settings=Settings("EAP", "nll"))).edges,
        expected,
    )


@pytest.mark.parametrize("family", SHARING)
def test_secant_of_shared_slots_is_complete_and_the_sum_over_their_heads(cases, family):
    case = cases(family)
    adapter, per_head = adapt(case.model, kv="shared"), adapt(case.model)
    graph = adapter.graph
    scores = next(attribute_batches(adapter, [case.batch], settings=Settings("secant", "kl")))
    single = next(
        attribute_batches(per_head, [case.batch], settings=Settings("secant", "kl"))
    ).edges
    places = []
    for edge in per_head.graph.edges:
        source, slot = edge.split("->")
        places.append(graph.edge_number[f"{source}->{of_group(graph, slot)}"])
    summed = torch.zeros_like(scores.edges).index_add_(1, torch.tensor(places), single)
    close(scores.edges, summed)
    sums = cuts(graph, scores.edges)
    close(sums, (scores.corrupted - scores.clean).expand_as(sums))


@pytest.mark.parametrize("family", SHARING)
def test_circuits_of_shared_edges_equal_their_definition(cases, family):
    case = cases(family)
    adapter = adapt(case.model, kv="shared")
    graph, runner = adapter.graph, CircuitRunner(adapter, case.batch)
    generator = torch.Generator().manual_seed(3)
    for share in (0.2, 0.5, 0.9, 1.0):
        kept = prune(graph, torch.rand(graph.n_edges, generator=generator) < share)
        assert kept.any()
        expected = case.circuit_logits(graph, kept, name=lambda slot: of_group(graph, slot))
        close(runner.logits(kept), case.at_targets(expected))


def readers_of(graph: Graph) -> list[tuple[str, set[str]]]:
    """For every edge its source, and the nodes that read through its slot."""
    heads = [node for node in graph.nodes if ".h" in node]
    through = {
        slot: {h for h in heads for kind in "qkv" if of_group(graph, f"{h}<{kind}>") == slot}
        for slot in graph.destinations
    }
    edges = [edge.split("->") for edge in graph.edges]
    return [(source, through[slot] or {slot}) for source, slot in edges]


def on_a_path(graph: Graph, kept: torch.Tensor) -> torch.Tensor:
    """Which kept edges lie on a path from input to logits, a group's slot leading to its heads."""
    edges, fed, heard = readers_of(graph), {"input"}, {"logits"}
    chosen = [edges[i] for i in kept.nonzero()[:, 0]]
    for _ in graph.nodes:
        for source, readers in chosen:
            fed |= readers if source in fed else set()
            heard |= {source} if heard & readers else set()
    through = [source in fed and bool(heard & readers) for source, readers in edges]
    return kept & torch.tensor(through)


def test_pruning_goes_through_groups():
    graph, generator = Graph(2, 4, 8, kv_heads=2), torch.Generator().manual_seed(0)
    for share in (0.1, 0.2, 0.3, 0.5):
        kept = torch.rand(graph.n_edges, generator=generator) < share
        expected = on_a_path(graph, kept)
        assert torch.equal(prune(graph, kept), expected) and not torch.equal(kept, expected)


def test_greedy_choice_and_the_best_nodes_go_through_groups():
    graph, generator = Graph(2, 4, 8, kv_heads=2), torch.Generator().manual_seed(0)
    scores, edges = torch.rand(graph.n_edges, generator=generator), readers_of(graph)
    met, taken = {"logits"}, []
    while len(taken) < graph.n_edges:
        offered = [i for i, (_, readers) in enumerate(edges) if met & readers and i not in taken]
        taken.append(max(offered, key=lambda i: float(scores[i])))
        met.add(edges[taken[-1]][0])
    for n in (1, 5, 20, 40):
        assert set(greedy(graph, scores, n=n).nonzero()[:, 0].tolist()) == set(taken[:n])
    best = {"input", "logits", "a1.h2", "m0"}
    node_scores = torch.tensor([float(node in best) for node in graph.sources])
    inside = torch.tensor([source in best and bool(best & readers) for source, readers in edges])
    assert torch.equal(top_nodes(graph, node_scores, n_edges=int(inside.sum())), inside)


def test_a_shared_circuit_goes_through_a_file(tmp_path):
    graph = Graph(2, 4, 8, kv_heads=2)
    scores = torch.arange(graph.n_edges).double()
    written = Circuit(graph, scores > 20, scores).to_json()
    assert set(written["cfg"]) == {"n_layers", "n_heads", "parallel_attn_mlp", "d_model"}
    assert written["metadata"]["kv"] == "shared" and written["metadata"]["kv_heads"] == 2
    path = tmp_path / "C.json"
    path.write_text(json.dumps(written))
    read = load_circuit(path)
    assert read.graph == graph and torch.equal(read.scores, scores)
    written["metadata"]["kv_heads"] = 3
    path.write_text(json.dumps(written))
    with pytest.raises(InputError, match="kv_heads to divide the 4 heads, got 3"):
        load_circuit(path)


def test_parallel_blocks_have_no_edge_from_a_layers_heads_to_its_mlp_and_go_through_a_file(
    tmp_path,
):

    graph = Graph(2, 2, 8, parallel=True)
    among = [edge for edge in Graph(2, 2, 8).edges if edge not in graph.edges]
    assert among == ["a0.h0->m0", "a0.h1->m0", "a1.h0->m1", "a1.h1->m1"]
    assert "a0.h0->m1" in graph.edges and str(graph) != str(Graph(2, 2, 8))
    scores = torch.arange(graph.n_edges).double()
    written = Circuit(graph, scores > 20, scores).to_json()
    assert written["cfg"] == {
        "n_layers": 2,
        "n_heads": 2,
        "parallel_attn_mlp": True,
        "d_model": 8,
    }
    path = tmp_path / "C.json"
    path.write_text(json.dumps(written))
    read = load_circuit(path)
    assert read.graph == graph and torch.equal(read.scores, scores)


def test_a_model_that_computes_something_else_is_refused():
    changed = families.model("llama")
    attention = changed.model.layers[1].self_attn
    attention.k_proj.register_forward_hook(lambda module, inputs, output: 1.1 * output)
    with pytest.raises(InputError, match="q, k and v of layer 1"):
        adapt(changed)
    scaled = families.model("qwen3")
    scaled.model.layers[1].self_attn.scaling /= 2
    with pytest.raises(InputError, match="attention of layer 1"):
        adapt(scaled)
    wrapped = families.model("pythia")
    wrapped.gpt_neox.layers[1].register_forward_hook(lambda module, inputs, output: output + 1.0)
    with pytest.raises(InputError, match="stream of layer 2"):
        adapt(wrapped)


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("gemma2", {"attention_bias": True}, "attention_bias"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "dynamic",
        ),
        ("opt", {}, "gemma2"),
    ],
)
def test_what_has_no_adapter_is_refused_by_name(kind, settings, named):
    sizes = families.LLAMA | settings
    if kind == "opt":
        sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 1, "ffn_dim": 8}
        sizes |= {"vocab_size": 9, "max_position_embeddings": 8, "word_embed_proj_dim": 8}
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    with pytest.raises(InputError, match=named):
        adapt(made)
