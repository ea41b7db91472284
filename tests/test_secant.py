"""Secant patching and its relatives: golden scores, each rule against its definition, every cut."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import families
import pytest
import torch
import torch.nn.functional as F
from golden_cases import NAMES, golden
from safetensors.torch import load_file
from test_attribute import THIRDS, written

import extract_summarization_circuit as extract
from eap import InputError, attribute, backward, contraction, hooks, methods, metrics, rules
from eap.dataset import Pair, collate
from eap.models import adapt
from eap.passes import run
from eap.rules import Heads
from eap.scores import completeness_gap, input_sums, node_scores
from study.extraction.scores import warnings_of
from study.extraction.settings import Settings

DOUBLE = {"dtype": torch.float64}
FUNCTIONS = {"gelu": lambda h: F.gelu(h, approximate="tanh"), "silu": F.silu, "relu": F.relu}


def secant(case, metric=None, method="secant", **options):
    return attribute.attribute(
        options.pop("model", None) or case.model(options.pop("dtype", torch.float64)),
        options.pop("pairs", case.pairs),
        method=method,
        metric=metric or case.metric,
        **options,
    )


def ends(shape, distance, seed=0):
    """Two random tensors whose elements are at most `distance` apart, some of them equal."""
    generator = torch.Generator().manual_seed(seed)
    first = 3 * torch.randn(shape, generator=generator, **DOUBLE)
    change = distance * (2 * torch.rand(shape, generator=generator, **DOUBLE) - 1)
    change[torch.rand(shape, generator=generator) < 0.2] = 0
    return first, first + change


# ---------------------------------------------------------------- golden scores


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_golden_scores(name, dtype, tolerance, batch_size):
    case = golden(name)
    expected = load_file(case.folder / "secant.safetensors")["scores.secant"]
    scores = secant(case, dtype=dtype, batch_size=batch_size).edges.double().mean(0)
    assert (scores - expected).abs().max() <= tolerance * expected.abs().max()


# ---------------------------------------------------------------- each rule alone


@pytest.mark.parametrize("distance", [5.0, 0.01, 1e-3, 1e-5])
@pytest.mark.parametrize("function", ["gelu", "silu"])
def test_an_activations_slope_times_its_change_is_its_outputs_change(function, distance):
    h, other = ends((40, 50), distance)
    slope = rules.secant_slope(FUNCTIONS[function], h, other)
    expected = FUNCTIONS[function](h) - FUNCTIONS[function](other)
    assert (slope * (h - other) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("distance", [5.0, 0.04, 1e-3])
@pytest.mark.parametrize("function", ["gelu", "silu"])
def test_an_activations_slope_in_float32(function, distance):
    h, other = ends((40, 50), distance)
    expected = rules.secant_slope(FUNCTIONS[function], h, other)
    slope = rules.secant_slope(FUNCTIONS[function], h.float(), other.float())
    assert (slope - expected).abs().max() < 2e-5


@pytest.mark.parametrize("spread", [0.1, 3.0, 80.0])
def test_the_logarithmic_mean(spread):
    log_p, log_q = spread * torch.randn(2, 100, **DOUBLE)
    expected = (log_p.exp() - log_q.exp()) / (log_p - log_q)
    assert torch.allclose(rules.log_mean(log_p, log_q), expected, rtol=1e-11)
    assert torch.equal(rules.log_mean(log_p, log_p), log_p.exp())


@pytest.mark.parametrize("distance", [4.0, 1e-4])
def test_a_norms_multiplier_times_its_change_is_its_outputs_change(distance):
    x, other = ends((2, 5, 24), distance)
    weight, grad = torch.randn(24, **DOUBLE), torch.randn(2, 5, 24, **DOUBLE)
    y = grad * weight
    handed_back = rules.norm_secant(x, other, epsilon=1e-5).hand_back(y - y.mean(-1, keepdim=True))
    change = F.layer_norm(x, (24,), weight) - F.layer_norm(other, (24,), weight)
    difference = (handed_back * (x - other)).sum() - (grad * change).sum()
    assert abs(difference) < 1e-12


SOFTMAXES = [
    rules.Softmax(0.3),
    rules.Softmax(0.3, cap=0.7),
    rules.Softmax(0.3, window=7),
    rules.Softmax(0.3, cap=2.0, window=20),
]


def attend(heads, softmax):
    """Attention written out."""
    flat = (x.flatten(0, 1) for x in heads)
    form = softmax.scaling, softmax.cap, softmax.window
    return families.attention(*flat, *form).unflatten(0, heads.q.shape[:2])


@pytest.mark.parametrize("chunk", [2**18, 40])
@pytest.mark.parametrize("softmax", SOFTMAXES, ids=str)
def test_attention_and_its_derivative_are_those_written_out(chunk, softmax, monkeypatch):
    monkeypatch.setitem(rules.ATTENTION_ELEMENTS, "cpu", chunk)
    heads = Heads(*torch.randn(3, 2, 3, 50, 8, **DOUBLE).requires_grad_())
    grad, expected = torch.randn(2, 3, 50, 8, **DOUBLE), attend(heads, softmax)
    assert (rules.attend(heads, softmax) - expected).abs().max() < 1e-13
    derivatives = torch.autograd.grad(expected, list(heads), grad)
    plain = Heads(*(x.detach() for x in heads))
    ours = rules.attention_derivative(plain, None, grad=grad, softmax=softmax)
    for mine, theirs in zip(ours, derivatives, strict=True):
        assert (mine - theirs).abs().max() < 1e-12
    alike = rules.attention_secant(plain, plain, grad=grad, softmax=softmax)
    for mine, theirs in zip(alike, derivatives, strict=True):
        assert (mine - theirs).abs().max() < 1e-12


@pytest.mark.parametrize("chunk", [2**18, 40])
@pytest.mark.parametrize("softmax", SOFTMAXES, ids=str)
def test_attentions_multipliers_times_their_changes_are_its_outputs_change(
    chunk, softmax, monkeypatch
):
    monkeypatch.setitem(rules.ATTENTION_ELEMENTS, "cpu", chunk)
    runs = [Heads(*2 * torch.randn(3, 2, 3, 50, 8, **DOUBLE)) for _ in range(2)]
    grad = torch.randn(2, 3, 50, 8, **DOUBLE)
    multipliers = rules.attention_secant(*runs, grad=grad, softmax=softmax)
    results = [attend(heads, softmax) for heads in runs]
    change = sum(
        (multiplier * (mine - theirs)).sum()
        for multiplier, mine, theirs in zip(multipliers, *runs, strict=True)
    )
    expected = grad * (results[0] - results[1])
    assert abs(change - expected.sum()) < 1e-12 * expected.abs().sum()


@pytest.mark.parametrize("metric", list(metrics.METRICS))
@pytest.mark.parametrize("distance", [20.0, 1.0, 1e-3, 1e-6])
def test_a_metrics_multiplier_times_the_logits_change_is_its_change(metric, distance):
    logits, other = ends((6, 30), distance)
    clean = torch.randn(6, 30, **DOUBLE)  # neither of the two, as between two inner segments
    reference = metrics.reference(clean, clean.flip(1), target_ids=torch.arange(6))
    multiplier = rules.metric_secant(metric, logits, other=other, reference=reference)
    values = [
        metrics.METRICS[metric](metrics.log_softmax(end), reference) for end in (logits, other)
    ]
    change = (multiplier * (logits - other)).sum(-1)
    assert (change - (values[0] - values[1])).abs().max() < 1e-12


@pytest.mark.parametrize("metric", list(metrics.METRICS))
def test_equal_inputs_give_the_derivative(metric):
    h = torch.randn(5, 7, **DOUBLE)
    silu = rules.secant_slope(F.silu, h, h.clone())
    assert torch.allclose(silu, rules.derivative(F.silu, h), atol=1e-14)

    x = torch.randn(2, 5, 24, requires_grad=True, **DOUBLE)
    y = torch.randn(2, 5, 24, **DOUBLE)
    (expected,) = torch.autograd.grad((F.layer_norm(x, (24,)) * y).sum(), x)
    handed_back = rules.norm_secant(x.detach(), x.detach(), epsilon=1e-5).hand_back(
        y - y.mean(-1, keepdim=True)
    )
    assert torch.allclose(handed_back, expected, atol=1e-14)

    heads = Heads(*(torch.randn(1, 2, 9, 4, requires_grad=True, **DOUBLE) for _ in range(3)))
    grad = torch.randn(1, 2, 9, 4, **DOUBLE)
    result = F.scaled_dot_product_attention(*heads, is_causal=True, scale=0.5)
    expected = torch.autograd.grad((result * grad).sum(), heads)
    plain = Heads(*(tensor.detach() for tensor in heads))
    for mine, theirs in zip(
        rules.attention_secant(plain, plain, grad=grad, softmax=rules.Softmax(0.5)),
        expected,
        strict=True,
    ):
        assert torch.allclose(mine, theirs, atol=1e-13)

    logits = torch.randn(4, 30, requires_grad=True, **DOUBLE)
    reference = metrics.reference(
        torch.randn(4, 30, **DOUBLE), logits.flip(1), target_ids=torch.arange(4)
    )
    value = metrics.METRICS[metric](metrics.log_softmax(logits), reference).sum()
    (expected,) = torch.autograd.grad(value, logits)
    secant = rules.metric_secant(
        metric, logits.detach(), other=logits.detach(), reference=reference
    )
    assert torch.allclose(secant, expected, atol=1e-13)


# ---------------------------------------------------------------- every cut


def cuts(graph, scores):
    """For every cut between two groups of writers: the sum over the edges that cross it, (cuts,
    examples).
    """
    dense = graph.matrix(scores)
    first_reads = torch.tensor(graph.n_parents)
    width = graph.n_heads + 1
    written_before = [1] + [
        1 + layer * width + n for layer in range(graph.n_layers) for n in (graph.n_heads, width)
    ]
    return torch.stack(
        [dense[:, :count, first_reads >= count].sum((1, 2)) for count in written_before]
    )


@pytest.mark.parametrize("metric", list(metrics.METRICS))
@pytest.mark.parametrize(("method", "steps"), [("secant", 1), ("secant-segments", 3)])
def test_the_scores_of_every_cut_sum_to_the_metrics_change(metric, method, steps):
    case = golden("small_kl_padded")
    scores = secant(case, metric, method, steps=steps)
    change = scores.corrupted - scores.clean
    sums = cuts(case.graph, scores.edges)
    assert len(sums) == 2 * case.graph.n_layers + 1
    assert (sums - change).abs().max() <= 1e-10 * change.abs().max()


def test_one_segment_is_secant_and_more_are_another_method():
    case = golden("tiny_kl")
    plain = secant(case).edges
    assert torch.equal(secant(case, method="secant-segments", steps=1).edges, plain)
    assert not torch.allclose(secant(case, method="secant-segments", steps=4).edges, plain)


def tiny_gpt2(positions, **changes):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = {"n_layer": 2, "n_head": 4, "n_embd": 32, "vocab_size": 300, "initializer_range": 0.3}
    config |= {"n_positions": positions, "bos_token_id": 0, "eos_token_id": 0} | changes
    return GPT2LMHeadModel(GPT2Config(**config)).eval()


def random_pair(tokens, vocabulary=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    clean, other = torch.randint(vocabulary, (2, tokens), generator=generator).tolist()
    corrupted = clean[: tokens // 4] + other[tokens // 4 : tokens // 2] + clean[tokens // 2 :]
    return Pair(str(seed), clean, corrupted, tokens - tokens // 8)


def test_the_gap_in_float32_at_1024_tokens():
    scores = attribute.attribute(tiny_gpt2(1024), [random_pair(1024)], method="secant")
    graph = adapt(tiny_gpt2(8)).graph
    gap, _ = completeness_gap(
        input_sums(graph, scores.edges), clean=scores.clean, corrupted=scores.corrupted
    )
    assert scores.corrupted.abs().min() > 0.01 and gap <= 1e-3


# ---------------------------------------------------------------- what must not matter, and limits


def test_without_nonlinearity_it_is_EAP():
    # No attention weight depends on the input, the activation is the identity, the norm's scale is
    # a constant.
    model = tiny_gpt2(32, layer_norm_epsilon=1e16).double()
    for block in model.transformer.h:
        block.attn.c_attn.weight.data[:, :64] = 0
        block.attn.c_attn.bias.data[:64] = 0
        block.mlp.act = torch.nn.Identity()
        for norm in (block.ln_1, block.ln_2):
            norm.weight.data *= 1e8
    model.transformer.ln_f.weight.data *= 1e8
    pairs = [random_pair(32)]
    scores = attribute.attribute(model, pairs, method="secant", metric="logit_diff").edges
    expected = attribute.attribute(model, pairs, method="EAP", metric="logit_diff").edges
    assert expected.abs().max() > 0.1
    assert (scores - expected).abs().max() < 1e-10 * expected.abs().max()


@pytest.mark.parametrize("metric", list(metrics.METRICS))
def test_equal_clean_and_corrupted_inputs_score_nothing(metric):
    case = golden("tiny_kl")
    same = [Pair(pair.id, pair.clean_ids, pair.clean_ids, pair.target_start) for pair in case.pairs]
    scores = secant(case, metric, dtype=torch.float32, pairs=same)
    assert not scores.edges.any()


@pytest.mark.parametrize("metric", list(metrics.METRICS))
def test_extreme_logits_and_attention_in_float32(metric):
    model = tiny_gpt2(64)
    model.lm_head.weight = torch.nn.Parameter(300 * model.lm_head.weight.detach())
    for block in model.transformer.h:
        block.attn.c_attn.weight.data *= 40
    adapter, pair = adapt(model), random_pair(64)
    batch = collate([0], [pair])
    logits = run(adapter, batch.clean_ids, batch=batch)[1]
    assert logits.softmax(-1).max() == 1 and logits.softmax(-1).min() == 0
    scores = attribute.attribute(model, [pair], method="secant", metric=metric)
    expected = attribute.attribute(model.double(), [pair], method="secant", metric=metric)
    assert torch.isfinite(scores.edges).all()
    difference = (scores.edges - expected.edges).abs().max()
    assert difference < 2e-3 * expected.edges.abs().max()


def test_padding_does_not_matter():
    case = golden("tiny_nll_padded")
    alone = torch.cat([secant(case, pairs=[pair]).edges for pair in case.pairs])
    together = secant(case, batch_size=len(case.pairs)).edges
    assert len({len(pair.clean_ids) for pair in case.pairs}) > 1
    assert (alone - together).abs().max() < 1e-12 * alone.abs().max()


@pytest.mark.parametrize("method", ["secant", "EAP-IG-inputs"])
def test_chunks_of_positions_do_not_matter(method, monkeypatch):
    case = golden("small_kl_padded")
    whole = secant(case, method=method).edges
    monkeypatch.setitem(contraction.CHUNK_ELEMENTS, "cpu", 7 * len(case.graph.sources) * 48)
    monkeypatch.setattr(hooks, "CHUNK_ROWS", 5)
    monkeypatch.setitem(rules.ATTENTION_ELEMENTS, "cpu", 64)
    assert (secant(case, method=method).edges - whole).abs().max() < 1e-12 * whole.abs().max()


@pytest.mark.parametrize("slots", [1, 10_000])
def test_how_many_slots_go_into_one_product_does_not_matter(slots, monkeypatch):
    """With all at once even the writers of later layers meet the slots of earlier ones."""
    case = golden("small_kl_padded")
    usual = secant(case).edges
    monkeypatch.setattr(contraction, "SLOTS_AT_ONCE", slots)
    assert (secant(case).edges - usual).abs().max() < 1e-12 * usual.abs().max()


@pytest.mark.parametrize("name", ["SECANT", "ATTNLRP", "GIM"])
def test_a_forward_pass_with_rules_changes_no_bit_and_leaves_no_hook(name):
    case, chosen = golden("small_kl_padded"), getattr(rules, name)
    adapter = adapt(case.model(torch.float32))
    ids = torch.tensor([case.pairs[0].clean_ids])
    with hooks.frozen(adapter.model):
        with hooks.tapped(adapter) as taps:
            plain = adapter.hidden(adapter.embed(ids))
        other = taps if chosen.two_runs else None
        with backward.handing_back(adapter, chosen, other=other):
            watched = adapter.hidden(adapter.embed(ids).requires_grad_())
    assert watched.requires_grad and torch.equal(watched, plain)
    modules = list(adapter.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def test_groups_nodes_and_bfloat16():
    case = golden("small_kl_padded")
    scores = secant(case, groups=THIRDS)
    assert (scores.by_group.sum(1) - scores.edges).abs().max() < 1e-14
    nodes = secant(case, method="NAP-secant")
    change = node_scores(case.graph, nodes.edges)[:, 0] - (scores.corrupted - scores.clean)
    assert change.abs().max() < 1e-12  # the input node carries all of the change

    exact = scores.edges.mean(0)
    rough = secant(case, dtype=torch.float32, autocast=torch.bfloat16).edges.mean(0)
    assert rough.dtype == torch.float32
    strongest = exact.abs().topk(50).indices
    both = torch.stack([exact[strongest].float(), rough[strongest]])
    assert torch.corrcoef(both)[0, 1] > 0.99


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("method", ["secant", "secant-segments", "edge-gates", "NAP-secant"])
def test_an_ablation_without_a_run_of_its_own_is_refused(method, ablation):
    with pytest.raises(InputError, match="corrupted run"):
        methods.Settings(method, ablation=ablation).check()


def settings(method: str) -> Settings:
    """The extraction script's settings for a method on kl."""
    args = extract.parse(["--method", method, "--quiet"])
    return Settings.of(vars(args), output=Path(args.output))


@pytest.mark.parametrize(
    ("method", "cure"),
    [
        ("secant", "--dtype float32"),
        ("secant-segments", "--dtype float32"),
        ("EAP-IG-inputs", "--method secant, which has no gap, or --ig_steps 10"),
        ("NAP-IG", "--method NAP-secant, which has no gap"),
    ],
)
def test_a_completeness_gap_names_a_cure_that_is_one(method, cure):
    (warning,) = warnings_of(settings(method), {"completeness": {"gap": 0.2}}, steps=5)
    assert "20.0%" in warning and cure in warning
    assert method.startswith("secant") == ("--method" not in warning)


@pytest.mark.parametrize(("method", "cure"), [("GIM", "secant"), ("NAP", "NAP-secant")])
def test_a_metric_without_a_gradient_names_a_method_of_the_same_kind(method, cure):
    (warning,) = warnings_of(settings(method), {"completeness": "not applicable"}, steps=5)
    assert warning.endswith(f"--method {cure}")


# ---------------------------------------------------------------- relatives, against the definition


def half(product, *factors):
    """A product of which each factor gets half of the derivative."""
    left = product(factors[0], factors[1].detach())
    return (left + product(factors[0].detach(), factors[1])) / 2


def causal(scores):
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -torch.inf)


def held(x, weight, bias):
    """LayerNorm whose scale is a constant to autograd."""
    c = x - x.mean(-1, keepdim=True)
    scale = (c.square().mean(-1, keepdim=True) + 1e-5).sqrt().detach()
    return c / scale * weight + bias


def with_value(value, gradient):
    """`value` to look at, `gradient`'s derivative to autograd."""
    return value.detach() + gradient - gradient.detach()


def attnlrp(adapter):
    def attend(q, k, v):
        p = causal(half(lambda a, b: a @ b.transpose(-1, -2), q, k) * adapter.scaling).softmax(-1)
        return half(torch.matmul, p, v)

    def activation(h):
        return h * (F.gelu(h, approximate="tanh") / h).detach()

    return SimpleNamespace(norm=held, attend=attend, activation=activation)


def gim(adapter):
    def attend(q, k, v):
        logits = causal(half(lambda a, b: a @ b.transpose(-1, -2), q, k) * adapter.scaling)
        # the derivative at temperature 2 without the factor 1/2 that softmax(x / 2) brings
        p = with_value(logits.softmax(-1), 2 * (logits / 2).softmax(-1))
        return half(torch.matmul, p, v)

    return SimpleNamespace(norm=held, attend=attend, activation=FUNCTIONS["gelu"])


def plain(adapter):
    def norm(x, weight, bias):
        return F.layer_norm(x, x.shape[-1:], weight, bias)

    return SimpleNamespace(
        norm=norm, attend=partial(adapter.attend, 0), activation=FUNCTIONS["gelu"]
    )


def explicit(adapter, ids, operations, read):
    """The forward pass written out: `read(slot number, writers' outputs, stream)` is what a slot
    reads.
    """
    graph, n = adapter.graph, adapter.graph.n_heads
    outputs = [adapter.start(adapter.embed(ids))]
    stream, slot = outputs[0], 0
    for layer, block in enumerate(adapter.blocks):
        projected = []
        for head in range(3 * n):
            x = operations.norm(
                read(slot + head, outputs, stream), block.attn_norm.weight, block.attn_norm.bias
            )
            weight = adapter.read_weight(layer, [head])[:, 0]
            projected.append(x @ weight + adapter.read_bias(layer, [head])[0])
        q, k, v = torch.stack(projected, 1).split(n, 1)
        results = operations.attend(q, k, v)
        heads = [results[:, h] @ adapter.write_weight(layer)[h] for h in range(n)]
        stream = stream + sum(heads) + adapter.write_bias(layer)
        outputs = outputs + heads
        x = read(slot + 3 * n, outputs, stream)
        inner = operations.norm(x, block.mlp_norm.weight, block.mlp_norm.bias)
        mlp = block.mlp.c_proj(operations.activation(block.mlp.c_fc(inner)))
        stream, outputs, slot = stream + mlp, [*outputs, mlp], slot + 3 * n + 1
    final = read(len(graph.destinations) - 1, outputs, stream)
    norm = adapter.final_norm
    return outputs, adapter.unembed(operations.norm(final, norm.weight, norm.bias))


@pytest.mark.parametrize(("method", "operations"), [("AttnLRP", attnlrp), ("GIM", gim)])
@pytest.mark.parametrize("metric", ["nll", "logit_diff"])
def test_one_pass_rules_equal_autograd_of_the_changed_operations(method, operations, metric):
    case = golden("tiny_nll_padded")
    adapter = adapt(case.model().requires_grad_(False))
    rows = []
    for pair in case.pairs[:2]:
        batch, slots = collate([0], [pair]), {}
        ends = [run(adapter, ids, batch=batch) for ids in (batch.clean_ids, batch.corrupted_ids)]
        reference = metrics.reference(ends[0][1], ends[1][1], target_ids=batch.target_ids)

        def read(slot, outputs, stream, slots=slots):
            slots[slot] = stream + torch.zeros_like(stream, requires_grad=True)
            return slots[slot]

        _, logits = explicit(adapter, batch.clean_ids, operations(adapter), read)
        chosen = logits[batch.target_rows, batch.target_positions]
        value = metrics.per_example(
            metric, chosen, reference=reference, target_rows=batch.target_rows, n_examples=1
        ).sum()
        gradients = torch.autograd.grad(value, list(slots.values()))
        outputs = [written(adapter, end[0]) for end in ends]
        differences = [theirs - mine for mine, theirs in zip(*outputs, strict=True)]
        products = [[(u * g).sum() for g in gradients] for u in differences]
        rows.append(adapter.graph.vector(torch.tensor(products)))
    expected = torch.stack(rows)
    scores = secant(case, metric, method, pairs=case.pairs[:2]).edges
    assert (scores - expected).abs().max() <= 1e-10 * expected.abs().max()


def test_edge_gates_equal_the_derivative_by_a_gate_on_every_edge():
    case = golden("tiny_kl")
    adapter, pair = adapt(case.model().requires_grad_(False)), case.pairs[0]
    batch = collate([0], [pair])
    clean, clean_logits = run(adapter, batch.clean_ids, batch=batch)
    corrupted, corrupted_logits = run(adapter, batch.corrupted_ids, batch=batch)
    reference = metrics.reference(clean_logits, corrupted_logits, target_ids=batch.target_ids)
    others = written(adapter, corrupted)
    dense = torch.full((len(adapter.graph.sources), len(adapter.graph.destinations)), 0.8, **DOUBLE)
    gates = dense.requires_grad_()
    biases = [adapter.write_bias(layer) for layer in range(adapter.graph.n_layers)]

    def read(slot, outputs, stream):
        mixed = sum(
            gates[u, slot] * mine + (1 - gates[u, slot]) * others[u]
            for u, mine in enumerate(outputs)
        )
        done = (len(outputs) - 1) // (adapter.graph.n_heads + 1)
        partial = (len(outputs) - 1) % (adapter.graph.n_heads + 1) > 0
        return mixed + sum(biases[: done + partial])

    _, logits = explicit(adapter, batch.clean_ids, plain(adapter), read)
    chosen = logits[batch.target_rows, batch.target_positions]
    value = metrics.per_example(
        "kl", chosen, reference=reference, target_rows=batch.target_rows, n_examples=1
    ).sum()
    (derivative,) = torch.autograd.grad(value, gates)
    expected = -adapter.graph.vector(derivative)
    scores = secant(case, "kl", "edge-gates", pairs=[pair]).edges[0]
    assert (scores - expected).abs().max() <= 1e-10 * expected.abs().max()
