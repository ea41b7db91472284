"""Scores against a slow oracle written from the definition, completeness, and what must not change
a score.
"""

import pytest
import torch
from golden_cases import golden

from eap import InputError, hooks, metrics
from eap.attribute import attribute, attribute_batches
from eap.dataset import Grouping, batches, collate
from eap.evaluate import CircuitRunner
from eap.gradients import Gradients
from eap.graph import Graph
from eap.methods import METHODS, RULES, Settings
from eap.models import adapt
from eap.passes import mean_activations, run
from eap.scores import completeness_gap, input_sums, node_scores


def slow_scores(case, share):
    """The definition, edge by edge: every slot gets a copy of its input of its own, whose gradient
    autograd delivers.
    """
    adapter, graph = adapt(case.model()), case.graph
    rows = []
    for i, pair in enumerate(case.pairs):
        batch = collate([i], [pair])
        ends, clean_logits = zip(
            *(run(adapter, ids, batch=batch) for ids in (batch.clean_ids, batch.corrupted_ids)),
            strict=True,
        )
        difference = [b - a for a, b in zip(*(written(adapter, end) for end in ends), strict=True)]
        reference = metrics.reference(*clean_logits, target_ids=batch.target_ids)
        slots, logits = forward_with_copies(
            adapter, ends[1].input + share * (ends[0].input - ends[1].input), batch
        )
        value = metrics.per_example(
            case.metric, logits, reference=reference, target_rows=batch.target_rows, n_examples=1
        ).sum()
        gradients = torch.autograd.grad(value, slots)
        matrix = torch.stack([torch.stack([(u * g).sum() for g in gradients]) for u in difference])
        rows.append(graph.vector(matrix))
    return torch.stack(rows)


def written(adapter, activations):
    out = [activations.input]
    for layer in range(adapter.graph.n_layers):
        heads = activations.heads[layer].unflatten(-1, (adapter.graph.n_heads, -1))
        out += [
            heads[..., h, :] @ adapter.write_weight(layer)[h] for h in range(adapter.graph.n_heads)
        ] + [activations.mlps[layer]]
    return out


def forward_with_copies(adapter, stream, batch):
    slots, d, n = [], adapter.graph.d_model, adapter.graph.n_heads

    def copy(x):
        slots.append(
            x.clone().requires_grad_()
            if not x.requires_grad
            else x + torch.zeros_like(x, requires_grad=True)
        )
        return slots[-1]

    for layer, block in enumerate(adapter.blocks):
        qkv = block.projections[0]
        weight, bias = qkv.weight, qkv.bias
        projected = []
        for slot in range(3):
            columns = [
                slice(slot * d + h * adapter.d_head, slot * d + (h + 1) * adapter.d_head)
                for h in range(n)
            ]
            projected.append(
                torch.stack(
                    [block.attn_norm(copy(stream)) @ weight[:, c] + bias[c] for c in columns], 1
                )
            )
        result = adapter.attend(layer, *projected)
        stream = (
            stream
            + sum(result[:, h] @ adapter.write_weight(layer)[h] for h in range(n))
            + adapter.write_bias(layer)
        )
        stream = stream + block.mlp(block.mlp_norm(copy(stream)))
    hidden = adapter.final_norm(copy(stream))
    return slots, adapter.unembed(hidden[batch.target_rows, batch.target_positions])


@pytest.mark.parametrize("name", ["tiny_nll_padded", "small_kl_padded"])
def test_every_edge_of_every_example_equals_the_definition(name):
    case = golden(name)
    expected = (slow_scores(case, 0.0) + slow_scores(case, 1.0)) / 2
    scores = attribute(
        case.model(), case.pairs, method="clean-corrupted", metric=case.metric, batch_size=3
    ).edges
    assert (scores - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_completeness_improves_with_points_and_with_the_rule():
    case, gaps = golden("tiny_nll_padded"), {}
    for rule in RULES:
        for steps in (5, 40):
            scores = attribute(
                case.model(),
                case.pairs,
                method="EAP-IG-inputs",
                metric="nll",
                batch_size=6,
                steps=steps,
                rule=rule,
            )
            gaps[rule, steps] = completeness_gap(
                input_sums(case.graph, scores.edges), clean=scores.clean, corrupted=scores.corrupted
            )[0]
    assert gaps["gauss-legendre", 40] < 1e-6
    assert gaps["left", 40] < gaps["left", 5] / 4
    assert gaps["gauss-legendre", 5] < gaps["left", 5] / 20


@pytest.mark.parametrize(("rule", "degree"), [("left", 0), ("midpoint", 1), ("gauss-legendre", 9)])
def test_rules_integrate_polynomials(rule, degree):
    points, weights = RULES[rule](5)
    for power in range(degree + 1):
        assert sum(weights * points**power) == pytest.approx(1 / (power + 1))
    assert abs(sum(weights * points ** (degree + 1)) - 1 / (degree + 2)) > 1e-7


def test_node_scores_are_the_metric_gradient_at_what_a_node_writes():
    case = golden("tiny_nll_padded")
    adapter, pair = adapt(case.model()), case.pairs[0]
    scores = attribute(case.model(), [pair], method="NAP", metric="nll")
    batch = collate([0], [pair])
    clean, clean_logits = run(adapter, batch.clean_ids, batch=batch)
    corrupted, corrupted_logits = run(adapter, batch.corrupted_ids, batch=batch)
    reference = metrics.reference(clean_logits, corrupted_logits, target_ids=batch.target_ids)
    with hooks.frozen(adapter.model), torch.enable_grad():
        value = clean.mlps[1].detach().requires_grad_()
        with hooks.patched(adapter, "m1", value=value):
            hidden = adapter.hidden(adapter.embed(batch.clean_ids))
        logits = adapter.unembed(hidden[batch.target_rows, batch.target_positions])
        metrics.per_example(
            "nll", logits, reference=reference, target_rows=batch.target_rows, n_examples=1
        ).sum().backward()
    expected = ((corrupted.mlps[1] - clean.mlps[1]) * value.grad).sum()
    assert float(
        node_scores(case.graph, scores.edges)[0, case.graph.sources.index("m1")]
    ) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_ablation_scores_are_the_slope_of_the_exact_ones(ablation):
    # EAP is the first-order term: for a tiny part of the way from clean to ablated, exact patching
    # and EAP agree.
    case = golden("tiny_nll_padded")
    adapter = adapt(case.model())
    work = batches(case.pairs[:2], 2)
    with hooks.frozen(adapter.model):
        means = mean_activations(adapter, work) if ablation == "mean" else None
        scores = next(
            attribute_batches(
                adapter, work, settings=Settings("EAP", "nll", ablation=ablation), means=means
            )
        ).edges
        edge = case.graph.edge_number["m0->logits"]
        runner = CircuitRunner(adapter, work[0], ablation=ablation, means=means)
        clean = hooks.record(adapter, work[0].clean_ids)[0].mlps[0]
        difference, step = runner.ablated.mlps[0] - clean, 1e-6
        stream = []
        with hooks.hooked(before=[(adapter.final_norm.module, lambda x: stream.append(x))]):
            adapter.hidden(adapter.embed(work[0].clean_ids))
        hidden = adapter.final_norm(stream[0] + step * difference)[
            work[0].target_rows, work[0].target_positions
        ]
        moved = metrics.per_example(
            "nll",
            adapter.unembed(hidden),
            reference=runner.reference,
            target_rows=work[0].target_rows,
            n_examples=2,
        )
    assert torch.allclose(
        (moved - runner.plain_metric("clean", "nll")) / step, scores[:, edge], rtol=1e-4, atol=1e-7
    )


# Groups that come and go along the sequence, one of them in several stretches.
THIRDS = Grouping(
    ("first", "second", "third"), lambda pair: [i // 2 % 3 for i in range(len(pair.clean_ids))]
)


def test_groups_sum_to_the_whole_and_hold_what_happens_at_their_positions():
    case = golden("tiny_nll_padded")
    adapter, pairs = adapt(case.model()), case.pairs[:2]
    scores = attribute(adapter.model, pairs, method="EAP", metric="nll", groups=THIRDS)
    assert (scores.by_group.sum(1) - scores.edges).abs().max() <= 1e-12 * scores.edges.abs().max()
    # The oracle: move what m0 writes to the logits at the positions of one group only, a little,
    # and see how the metric moves.
    batch, edge, streams = collate([0, 1], pairs), case.graph.edge_number["m0->logits"], []
    with hooks.frozen(adapter.model), torch.no_grad():
        runner = CircuitRunner(adapter, batch)
        difference = runner.ablated.mlps[0] - hooks.record(adapter, batch.clean_ids)[0].mlps[0]
        with hooks.hooked(before=[(adapter.final_norm.module, streams.append)]):
            adapter.hidden(adapter.embed(batch.clean_ids))
        for group, name in enumerate(THIRDS.names):
            in_group = torch.zeros(batch.clean_ids.shape)
            for i, pair in enumerate(pairs):
                in_group[i, : len(pair.clean_ids)] = torch.tensor(THIRDS.of(pair)) == group
            hidden = adapter.final_norm(streams[0] + 1e-6 * in_group[:, :, None] * difference)[
                batch.target_rows, batch.target_positions
            ]
            moved = metrics.per_example(
                "nll",
                adapter.unembed(hidden),
                reference=runner.reference,
                target_rows=batch.target_rows,
                n_examples=2,
            )
            slope = (moved - runner.plain_metric("clean", "nll")) / 1e-6
            assert torch.allclose(slope, scores.by_group[:, group, edge], rtol=1e-4, atol=1e-7), (
                name
            )


def test_halved_batches_give_the_same_scores(monkeypatch):
    case, notes = golden("tiny_nll_padded"), []
    whole = attribute(case.model(), case.pairs, metric="nll", batch_size=6).edges
    monkeypatch.setattr("eap.attribute.run", full_above_two(run))
    halved = attribute(
        case.model(), case.pairs, metric="nll", batch_size=6, notify=notes.append
    ).edges
    assert (halved - whole).abs().max() <= 1e-10 * whole.abs().max()
    assert notes == [
        "out of memory with 6 examples at a time; going on with 3",
        "out of memory with 3 examples at a time; going on with 1",
    ]


def test_scores_stand_at_their_own_pairs_whatever_the_order_of_batches():
    case = golden("tiny_nll_padded")
    by_length = sorted(case.pairs, key=lambda pair: len(pair.clean_ids))
    pairs = [by_length[0], by_length[-1], by_length[len(by_length) // 2]]  # read in another order
    assert len({len(pair.clean_ids) for pair in pairs}) == 3
    together = attribute(case.model(), pairs, metric="nll", batch_size=1).edges
    alone = [attribute(case.model(), [pair], metric="nll").edges[0] for pair in pairs]
    assert torch.equal(together, torch.stack(alone))


def full_above_two(function):
    """`function`, as if memory were full with more than two examples."""

    def limited(adapter, ids, *, batch):
        if len(batch.rows) > 2:
            raise torch.OutOfMemoryError("full")
        return function(adapter, ids, batch=batch)

    return limited


def test_combinations_without_meaning_are_refused():
    case = golden("tiny_kl")
    for options in (
        {"ablation": "zero"},
        {"method": "nonsense"},
        {"rule": "simpson"},
        {"metric": "bleu"},
        {"steps": 0},
        {"method": "exact", "groups": THIRDS},
    ):
        with pytest.raises(InputError):
            attribute(case.model(), case.pairs, **options)


def test_a_frozen_model_comes_back_as_it_was_and_hooks_never_outlive_their_context():
    case = golden("tiny_kl")
    model = case.model().train()
    model.transformer.h[0].eval()  # as when one part is not trained
    modes = [module.training for module in model.modules()]
    model.transformer.wte.weight.requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    with (
        pytest.raises(RuntimeError, match="inside"),
        hooks.frozen(model),
        hooks.hooked([(model.transformer.ln_f, lambda x: None)]),
    ):
        raise RuntimeError("inside")
    attribute(model, case.pairs)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_recording_and_differentiating_change_no_bit_of_the_logits():
    case = golden("small_kl_padded")
    adapter = adapt(case.model(torch.float32))
    ids = torch.tensor([case.pairs[0].clean_ids])
    with hooks.frozen(adapter.model):
        plain = adapter.hidden(adapter.embed(ids))
        assert torch.equal(hooks.record(adapter, ids)[1], plain)
        with Gradients(adapter).collecting(1.0):
            watched = adapter.hidden(adapter.embed(ids).requires_grad_())
    assert torch.equal(watched, plain)


def test_what_nodes_write_adds_up_to_the_residual_stream():
    case = golden("small_kl_padded")
    adapter = adapt(case.model())
    ids, streams = torch.tensor([case.pairs[0].clean_ids]), []
    with (
        hooks.frozen(adapter.model),
        hooks.hooked(before=[(adapter.final_norm.module, lambda x: streams.append(x))]),
    ):
        activations, _ = hooks.record(adapter, ids)
        total = sum(written(adapter, activations)) + sum(
            adapter.write_bias(layer) for layer in range(case.graph.n_layers)
        )
    assert (total - streams[0]).abs().max() < 1e-12


def test_bfloat16_products_keep_the_strongest_edges():
    case = golden("small_kl_padded")
    exact = attribute(case.model(torch.float32), case.pairs).edges.mean(0)
    rough = attribute(case.model(torch.float32), case.pairs, autocast=torch.bfloat16).edges.mean(0)
    assert rough.dtype == torch.float32
    strongest = exact.abs().topk(50).indices
    assert torch.corrcoef(torch.stack([exact[strongest], rough[strongest]]))[0, 1] > 0.99


def test_methods_name_their_needs():
    # what --ig_steps auto and completeness gaps are for, and what has no meaning without a
    # corrupted run
    assert {name for name, method in METHODS.items() if method.quadrature} == {
        "EAP-IG-inputs",
        "NAP-IG",
    }
    for name, method in METHODS.items():
        assert not method.complete or method.corrupted_run, name
        if method.points and not method.rules:
            weights = sum(point.weight for point in method.points(Graph(2, 2, 8), 5, "midpoint"))
            assert weights == pytest.approx(1.0), name
