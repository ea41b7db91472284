"""Circuit runs against interventions on the plain model, the two identities, and areas worked out
by hand.
"""

import pytest
import torch
from golden_cases import NAMES, golden

from eap import InputError, hooks
from eap.dataset import collate
from eap.evaluate import CircuitRunner
from eap.models import adapt
from eap.passes import mean_activations
from study.faithfulness.numbers import areas, faithfulness


@pytest.fixture(scope="module")
def case():
    return golden("small_kl_padded")


@pytest.fixture(scope="module")
def adapter(case):
    adapter = adapt(case.model())
    with hooks.frozen(adapter.model):
        yield adapter


@pytest.fixture(scope="module")
def batch(case):
    return collate(list(range(len(case.pairs))), case.pairs)


@pytest.mark.parametrize("name", NAMES)
def test_all_edges_are_the_clean_run_and_no_edge_the_corrupted_run(name):
    case = golden(name)
    adapter = adapt(case.model())
    with hooks.frozen(adapter.model):
        runner = CircuitRunner(adapter, collate(list(range(len(case.pairs))), case.pairs))
        every = torch.ones(case.graph.n_edges, dtype=torch.bool)
        for kept, which in ((every, "clean"), (~every, "corrupted")):
            assert (runner.logits(kept) - runner.plain_logits[which]).abs().max() < 1e-12


def naive_logits(runner, kept):
    """The definition, slot by slot: stream = ablated stream + kept deltas, none shared."""
    adapter, graph, batch = runner.adapter, runner.graph, runner.batch
    dense, n = graph.matrix(kept), graph.n_heads
    deltas = [adapter.start(adapter.embed(batch.clean_ids)) - runner.ablated.input]

    def read(ablated, destination):
        return ablated + sum(
            delta for delta, keep in zip(deltas, dense[:, destination], strict=False) if keep
        )

    stream = runner.ablated.input
    for layer, block in enumerate(adapter.blocks):
        first, parts = layer * (3 * n + 1), []
        for slot in range(3):
            columns = [
                slice(
                    slot * graph.d_model + h * adapter.d_head,
                    slot * graph.d_model + (h + 1) * adapter.d_head,
                )
                for h in range(n)
            ]
            inputs = [block.attn_norm(read(stream, first + slot * n + h)) for h in range(n)]
            parts.append(
                torch.stack(
                    [block.projections[0](x)[..., columns[h]] for h, x in enumerate(inputs)], 1
                )
            )
        before = runner.ablated.heads[layer].unflatten(-1, (n, -1)).transpose(1, 2)
        changed = adapter.attend(layer, *parts) - before
        stream = (
            stream
            + runner.ablated.heads[layer] @ adapter.write_weight(layer).flatten(0, 1)
            + adapter.write_bias(layer)
        )
        alive = graph.nodes_kept(kept)
        own = 1 + layer * (n + 1)
        deltas += [
            changed[:, h] @ adapter.write_weight(layer)[h] * alive[own + h] for h in range(n)
        ]
        mlp = block.mlp(block.mlp_norm(read(stream, first + 3 * n))) - runner.ablated.mlps[layer]
        deltas.append(mlp * alive[own + n])
        stream = stream + runner.ablated.mlps[layer]
    final = read(stream, len(graph.destinations) - 1)[batch.target_rows, batch.target_positions]
    return adapter.unembed(adapter.final_norm(final))


@pytest.mark.parametrize("ablation", ["patching", "zero", "mean"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.8, 0.98])
def test_fast_run_equals_the_naive_one(case, adapter, batch, ablation, share):
    from eap.selection import prune

    means = mean_activations(adapter, [batch]) if ablation == "mean" else None
    runner = CircuitRunner(adapter, batch, ablation=ablation, means=means)
    generator = torch.Generator().manual_seed(int(1000 * share))
    kept = prune(case.graph, torch.rand(case.graph.n_edges, generator=generator) < share)
    assert (runner.logits(kept) - naive_logits(runner, kept)).abs().max() < 1e-11


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_positions_in_chunks_give_the_run_of_all_at_once(case, adapter, batch, share, monkeypatch):
    runner = CircuitRunner(adapter, batch)
    kept = torch.rand(case.graph.n_edges, generator=torch.Generator().manual_seed(1)) < share
    whole = runner.logits(kept)
    monkeypatch.setattr(
        "eap.evaluate.CHUNK_ELEMENTS", dict.fromkeys(("sum", "product"), 3 * case.graph.d_model)
    )
    assert (runner.logits(kept) - whole).abs().max() < 1e-12


def test_removing_an_mlps_only_way_out_is_the_plain_model_with_that_mlp_corrupted(
    case, adapter, batch
):
    # Cutting every edge out of the last MLP must equal an intervention on the unmodified model.
    runner = CircuitRunner(adapter, batch)
    last = f"m{case.graph.n_layers - 1}"
    kept = torch.tensor([not name.startswith(f"{last}->") for name in case.graph.edges])
    with hooks.patched(adapter, last, value=runner.ablated.mlps[-1]):
        hidden = adapter.hidden(adapter.embed(batch.clean_ids))
    expected = adapter.unembed(hidden[batch.target_rows, batch.target_positions])
    assert (runner.logits(kept) - expected).abs().max() < 1e-12


def test_zero_ablating_everything_leaves_the_biases(case, adapter, batch):
    runner = CircuitRunner(adapter, batch, ablation="zero")
    none = torch.zeros(case.graph.n_edges, dtype=torch.bool)
    stream = sum(adapter.write_bias(layer) for layer in range(case.graph.n_layers))
    expected = adapter.unembed(adapter.final_norm(stream))
    assert (runner.logits(none) - expected).abs().max() < 1e-12


def test_mean_activations_are_means_over_tokens_that_are_not_padding(case, adapter, batch):
    assert not batch.mask.all(), "the case must have padding"
    means = mean_activations(adapter, [batch])
    rows = [
        hooks.record(adapter, torch.tensor([pair.clean_ids]))[0].mlps[1][0] for pair in case.pairs
    ]
    assert (means.mlps[1][0, 0] - torch.cat(rows).mean(0)).abs().max() < 1e-12


def test_a_model_in_training_mode_or_of_another_attention_is_refused(case, batch):
    with pytest.raises(InputError, match="training mode"):
        CircuitRunner(adapt(case.model().train()), batch)
    unscaled = case.model()
    unscaled.config.scale_attn_weights = False
    with pytest.raises(InputError, match="scale_attn_weights"):
        adapt(unscaled)


def test_faithfulness_is_a_ratio_of_means():
    full, empty, circuit = (
        torch.tensor([0.0, 0.0]),
        torch.tensor([1.0, 3.0]),
        torch.tensor([1.0, 0.0]),
    )
    assert float(faithfulness(circuit, full, empty=empty)) == pytest.approx(
        0.75
    )  # (0.5 - 2) / (0 - 2); a mean of ratios would give 0.5


def test_areas_by_hand():
    measured = areas([0.01, 0.1, 1.0], [0.0, 0.5, 1.0])
    assert measured["CPR"] == pytest.approx((0.09 * 0.25 + 0.9 * 0.75) / 0.99)
    assert measured["CPR_log"] == pytest.approx(0.5)
    assert measured["CMD"] == pytest.approx(1 - measured["CPR"])
    assert areas([0.5, 1.0], [1.5, 1.5])["CMD"] == pytest.approx(0.5)
