"""Differences between two models' insides: hand-computed values, invariances, interventions."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control
from transformers import GPT2Config, GPT2LMHeadModel

import differential_analysis as script
from eap import InputError
from eap.models import adapt
from eap.resampling import sign_flip
from runs import hub
from study.differential import latents, measures, written
from study.differential import over_a_run as differential_run
from study.differential import results as report
from study.differential.two_models import Comparison, plan_batches, require_comparable
from study.layers import top_layers


def states(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(d, seed=9):
    return torch.linalg.qr(states(d, d, seed=seed))[0]


# ---------------------------------------------------------------- states


def test_cosine_and_relative_l2_by_hand():
    x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.0, 4.0]])
    assert measures.cosine(x, y).item() == pytest.approx(0.5)  # 0 and 1
    assert measures.relative_l2(x, y).item() == pytest.approx((math.sqrt(2) + 1) / 2)
    assert measures.magnitude(y).item() == pytest.approx(2.5)


def test_centred_cosine_sees_what_a_shared_offset_hides():
    x, y = states(200, 50), states(200, 50, seed=1)
    offset = torch.zeros(50, dtype=torch.float64)
    offset[7] = 1000.0  # a massive dimension
    assert measures.cosine(x + offset, y + offset) > 0.99
    assert abs(measures.centred_cosine(x + offset, y + offset)) < 0.05


@pytest.mark.parametrize("measure", [measures.cka, measures.rsa])
def test_geometry_is_one_for_equal_rotated_scaled_and_shifted_states(measure):
    x = states(40, 16)
    for y in (x, x @ rotation(16), 3 * x, x + 5):
        assert measure(x, y).item() == pytest.approx(1, abs=1e-9)


def test_cka_of_independent_states_is_zero_where_the_biased_one_is_not():
    x, y = states(50, 30, 500), states(50, 30, 500, seed=1)  # 30 positions in 500 dimensions
    gram_x = measures.centred(x) @ measures.centred(x).mT
    gram_y = measures.centred(y) @ measures.centred(y).mT
    biased = (gram_x * gram_y).sum((-2, -1)) / (
        gram_x.norm(dim=(-2, -1)) * gram_y.norm(dim=(-2, -1))
    )
    assert biased.mean() > 0.9
    assert abs(measures.cka(x, y).mean()) < 0.02


def test_cka_equals_the_textbook_estimator():
    """HSIC_1 of Song et al. written out with its traces."""

    def hsic(k, m):
        n, k, m = len(k), k - k.diag().diag(), m - m.diag().diag()
        return (
            (k @ m).trace() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
        ) / (n * (n - 3))

    x, y = states(12, 5), states(12, 7, seed=1)
    k, m = x @ x.T, y @ y.T
    assert measures.cka(x, y).item() == pytest.approx(
        (hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()).item(), abs=1e-12
    )


def test_rsa_is_spearman_of_dissimilarities():
    from scipy.stats import spearmanr

    x, y = states(3, 9, 4), states(3, 9, 4, seed=1)
    for layer in range(3):
        flat = []
        for z in (x[layer] - x[layer].mean(0), y[layer] - y[layer].mean(0)):
            unit = z / z.norm(dim=1, keepdim=True)
            flat.append((1 - unit @ unit.T)[np.triu_indices(9, 1)])
        assert measures.rsa(x, y)[layer].item() == pytest.approx(
            spearmanr(*flat).statistic, abs=1e-12
        )


def test_ranks_give_ties_their_mean():
    assert measures._ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]


# ---------------------------------------------------------------- attention


def causal(heads, n, seed):
    scores = torch.randn(heads, n, n, generator=torch.Generator().manual_seed(seed))
    return scores.masked_fill(torch.ones(n, n).triu(1).bool(), float("-inf")).softmax(-1)


def test_entropy_of_uniform_attention_is_the_log_of_the_number_of_keys():
    n = 5
    uniform = torch.ones(1, n, n).tril() / torch.arange(1, n + 1)[:, None]
    measured = measures.attention_measures(uniform, uniform)
    assert measured["entropy_base"].item() == pytest.approx(
        np.log(range(2, n + 1)).mean(), rel=1e-6
    )
    assert measured["entropy_rest_base"].item() == pytest.approx(
        np.log(range(2, n)).mean(), rel=1e-6
    )
    assert measured["normalised_entropy_base"].item() == pytest.approx(1, rel=1e-6)
    assert measured["normalised_entropy_rest_base"].item() == pytest.approx(1, rel=1e-6)
    assert measured["first_token_base"].item() == pytest.approx(
        np.mean([1 / k for k in range(2, n + 1)]), rel=1e-6
    )
    assert measured["kl_base_finetuned"].item() == measured["kl_base_finetuned_rest"].item() == 0


def test_entropy_is_normalised_by_the_keys_that_a_window_shows():
    seen = torch.ones(9, 9).tril() - torch.ones(9, 9).tril(-4)  # four keys at most
    uniform = (seen / seen.sum(-1, keepdim=True))[None]
    measured = measures.attention_measures(uniform, uniform, window=4)
    assert measured["normalised_entropy_base"].item() == pytest.approx(1, rel=1e-6)
    assert measured["normalised_entropy_rest_base"].item() == pytest.approx(1, rel=1e-6)
    assert measures.attention_measures(uniform, uniform)["normalised_entropy_base"].item() < 0.9


def test_attention_measures_equal_sums_written_out():
    n, p, q = 6, causal(2, 6, 0).double(), causal(2, 6, 1).double()
    measured = measures.attention_measures(p, q)
    for head in range(2):
        kl, kl_rest, entropy_rest = [], [], []
        for i in range(1, n):
            a, b = p[head, i, : i + 1].numpy(), q[head, i, : i + 1].numpy()
            kl.append((b * np.log(b / a)).sum())
            if i > 1:
                a, b = a[1:] / a[1:].sum(), b[1:] / b[1:].sum()
                kl_rest.append((a * np.log(a / b)).sum())
                entropy_rest.append(-(b * np.log(b)).sum() / np.log(i))
        assert measured["kl_finetuned_base"][head].item() == pytest.approx(np.mean(kl), rel=1e-5)
        assert measured["kl_base_finetuned_rest"][head].item() == pytest.approx(
            np.mean(kl_rest), rel=1e-5
        )
        assert measured["normalised_entropy_rest_finetuned"][head].item() == pytest.approx(
            np.mean(entropy_rest), rel=1e-5
        )


def test_a_saturated_first_token_gives_finite_numbers():
    sink = torch.zeros(1, 4, 4)
    sink[..., 0] = 1
    measured = measures.attention_measures(sink, causal(1, 4, 0))
    assert all(torch.isfinite(values).all() for values in measured.values())
    assert measured["entropy_base"].item() == 0


# ---------------------------------------------------------------- over texts


def test_false_discoveries_of_pure_noise_are_rare():
    rng = np.random.default_rng(0)
    discoveries = [
        (
            false_discovery_control(sign_flip(rng.normal(size=(20, 40)), seed, flips=2000)) <= 0.05
        ).any()
        for seed in range(40)
    ]
    assert (
        np.mean(discoveries) < 0.15
    )  # the share of families with any finding is 5 % when every finding is false


def test_over_texts_covers_the_mean_with_an_interval():
    values = np.random.default_rng(0).normal(3.0, 1.0, size=(100, 4))
    table = measures.over_texts(values, seed=0)
    assert table["mean"] == pytest.approx(values.mean(0))
    half = (np.array(table["high"]) - np.array(table["low"])) / 2
    assert half == pytest.approx(1.96 * values.std(0) / 10, rel=0.15)


def test_massive_dimension_is_found():
    means = np.ones(20)
    means[[3, 7]] = [11, 9]
    assert np.flatnonzero(measures.massive_dimensions(means)).tolist() == [3]


# ---------------------------------------------------------------- two models


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=3,
        n_head=4,
        n_embd=48,
        n_positions=128,
        vocab_size=97,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).eval()


def sequences(n=10, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 97, size=length).tolist() for length in rng.integers(12, 40, size=n)]


def compared(base, finetuned, texts=None, batch_size=None):
    texts = texts or sequences()
    comparison = Comparison(adapt(base), adapt(finetuned), n_texts=len(texts))
    for rows in plan_batches([len(ids) for ids in texts], 4, batch_size=batch_size):
        comparison.add(rows, [texts[row] for row in rows])
    return comparison


def changed(base, module):
    """A copy of `base` with noise on the weights of one module."""
    other = copy.deepcopy(base)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in other.transformer.get_submodule(module).parameters():
            weight += 0.05 * torch.randn_like(weight)
    return other


def test_identical_models_show_no_change(base):
    comparison = compared(base, base)
    assert comparison.states["cka"] == pytest.approx(1, abs=1e-5)
    assert comparison.states["rsa"] == pytest.approx(1, abs=1e-5)
    assert np.abs(comparison.states["relative_l2"]).max() == 0
    assert np.abs(comparison.heads["kl_base_finetuned"]).max() < 1e-6
    summary = report.summarise(comparison, 0)
    assert (
        summary["entropy_change"]["entropy"]["heads_lower"]
        == summary["entropy_change"]["entropy"]["heads_higher"]
        == 0
    )


def test_a_rescaled_final_norm_changes_no_layer_but_the_state_after_it(base):
    """Guard 3: GPT-2's own hidden_states[-1] would make the last layer change most."""
    other = copy.deepcopy(base)
    with torch.no_grad():
        other.transformer.ln_f.weight *= torch.linspace(0.2, 5, 48)
    comparison = compared(base, other)
    assert np.abs(comparison.states["relative_l2"][:, :-1]).max() == 0
    assert comparison.states["relative_l2"][:, -1].min() > 0.5
    ids = torch.tensor(sequences()[:1])
    naive = [m(ids, output_hidden_states=True).hidden_states[-1] for m in (base, other)]
    assert measures.relative_l2(*naive).item() > 0.5


def test_change_in_one_block_starts_there(base):
    comparison = compared(base, changed(base, "h.1.mlp"))
    assert np.abs(comparison.states["relative_l2"][:, :2]).max() == 0  # embeddings and layer 0
    assert comparison.states["relative_l2"][:, 2:].min() > 0.01
    kl = comparison.heads["kl_base_finetuned"]
    assert np.abs(kl[:, :2]).max() < 1e-6  # attention of layer 1 reads before its MLP writes
    assert kl[:, 2].min() > 0


def test_states_and_attention_are_those_of_transformers(base):
    other, ids = changed(base, "h.0.attn"), sequences(1)[0]
    comparison = compared(base, other, [ids])
    for network in (base, other):
        network.set_attn_implementation("eager")
    runs = [
        m(torch.tensor([ids]), output_hidden_states=True, output_attentions=True)
        for m in (base, other)
    ]
    base.set_attn_implementation("sdpa")
    for layer in range(3):
        wanted = measures.attention_measures(*(run.attentions[layer][0] for run in runs))
        for name, values in wanted.items():
            assert comparison.heads[name][0, layer] == pytest.approx(
                values.detach().numpy(), abs=1e-6
            )
    wanted = (
        measures.relative_l2(*(torch.stack(run.hidden_states)[:, 0, 1:] for run in runs))
        .detach()
        .numpy()
    )
    assert comparison.states["relative_l2"][0, [0, 1, 2, 4]] == pytest.approx(
        wanted, abs=1e-6
    )  # 3 is the one they do not give


def test_measures_do_not_depend_on_batching(base):
    other = changed(base, "h.0")
    alone, together = compared(base, other, batch_size=1), compared(base, other, batch_size=10)
    for name in alone.states:
        assert alone.states[name] == pytest.approx(together.states[name], abs=1e-4), name
    for name in alone.heads:
        assert alone.heads[name] == pytest.approx(together.heads[name], abs=1e-5), name


def test_a_sharper_head_is_found_and_its_entropy_is_lower(base):
    other = copy.deepcopy(base)
    with torch.no_grad():
        other.transformer.h[1].attn.c_attn.weight[:, 12:24] *= 100  # q of head 1
    summary = report.summarise(compared(base, other, sequences(16)), 0)
    heads = summary["entropy_change"]["entropy"]["heads"]
    assert heads["mean"][1][1] < -0.1
    assert heads["q"][1][1] < 0.05
    assert np.abs(np.array(heads["mean"])[0]).max() == 0
    assert np.array(summary["attention"]["heads"]["kl_base_finetuned"]["mean"])[1].argmax() == 1
    assert summary["changes"]["attention_kl"]["order"][0] == 1


def test_massive_dimensions_are_named(base):
    other = copy.deepcopy(base)
    with torch.no_grad():
        other.transformer.h[1].mlp.c_proj.bias[17] = 300.0
    dimensions = report.summarise(compared(base, other), 0)["massive_dimensions"]
    assert [entry["dimension"] for entry in dimensions] == [17]
    assert dimensions[0]["layers"] == [1, 2]
    assert (
        dimensions[0]["share_of_square_finetuned"]
        > 0.9
        > 0.1
        > dimensions[0]["share_of_square_base"]
    )


def test_disagreeing_measures_are_said_to_disagree(base):
    other = changed(base, "h.2.mlp")
    with torch.no_grad():
        other.transformer.h[0].attn.c_attn.weight[:, :48] *= 8
    lines = "\n".join(report.lines({**report.summarise(compared(base, other), 0)}))
    assert "The measures disagree" in lines


def test_layers_that_two_measures_share_are_counted_beside_chance():
    orders = {"a": [0, 1, 2, 3], "b": [2, 1, 0, 3], "c": [3, 1, 0, 2], "silent": [0, 1, 2, 3]}
    changes = {
        name: {"order": order, "scores": [float(name != "silent")] * 4}
        for name, order in orders.items()
    }
    assert report._top_shared(changes, 4) == {
        "of": 3,
        "mean": pytest.approx((3 + 2 + 2) / 3),
        "least": 2,
        "chance": 9 / 4,
    }
    assert report._top_shared({"silent": changes["silent"]}, 4) is None


def test_every_similarity_stands_in_the_table_with_its_interval(base):
    summary = report.summarise(compared(base, changed(base, "h.1.mlp")), 0)
    row = next(line for line in report.lines(summary) if line.startswith("layer 2"))
    assert row.count("[") == 5
    low = summary["hidden"]["cka"]["low"][3]
    high = summary["hidden"]["cka"]["high"][3]
    assert f"{summary['hidden']['cka']['mean'][3]:.4f} [{low:.4f}, {high:.4f}]" in row


def test_more_attention_to_the_first_token_is_found_apart(base):
    """One head of layer 1 is drawn to whatever stands first: its key gets the direction that all
    its queries have.
    """
    other = copy.deepcopy(base)
    with torch.no_grad():
        for network in (base, other):
            network.transformer.wpe.weight[0, 5] = (
                40.0  # the first position can be told from the others
            )
        attention = other.transformer.h[1].attn
        attention.c_attn.bias[12] = 20.0  # head 1's queries point along its first dimension
        attention.c_attn.weight[5, 48 + 12] = 3.0  # and its key does so at the first position
    summary = report.summarise(compared(base, other, sequences(16)), 0)
    heads = summary["first_token_change"]["heads"]
    assert heads["mean"][1][1] > 0.3
    assert heads["q"][1][1] < 0.05
    assert np.abs(np.array(heads["mean"])[0]).max() == 0
    assert any(
        sentence.startswith("Attention to the first token") and "it rose" in sentence
        for sentence in summary["sentences"]
    )


def test_a_change_that_rounds_to_nothing_is_no_claim(base):
    summary = report.summarise(compared(base, changed(base, "h.0"), sequences(16)), 0)
    for (low, high), verdict in {
        (-3e-5, -1e-5): "no claim",
        (-3e-4, -1e-5): "no claim",
        (-3e-4, -1e-4): "it fell",
        (1e-4, 3e-4): "it rose",
    }.items():
        summary["first_token_change"]["overall"] |= {"mean": low, "low": low, "high": high}
        sentence = report._first_token_sentence(summary)
        assert f"]: {verdict};" in sentence and "-0.0000" not in sentence
    table = {"low": [-3e-5, 1e-5, -3e-4], "high": [-1e-5, 3e-5, -1e-4]}
    assert report.split_by_sign(table) == ([], [2], [0, 1])


def test_few_texts_carry_no_claim_by_layer(base):
    few = "\n".join(
        report.lines(report.summarise(compared(base, changed(base, "h.0"), sequences(3)), 0))
    )
    assert "no claim is made by layer" in few
    assert "rose in" not in few


def test_models_of_other_shape_or_kind_are_refused(base):
    other = GPT2LMHeadModel(
        GPT2Config(n_layer=2, n_head=4, n_embd=48, vocab_size=97, bos_token_id=0, eos_token_id=0)
    )
    adapters = adapt(base), adapt(other)
    with pytest.raises(InputError, match="shape, got 3 layers .* 2 layers"):
        require_comparable(*adapters, names=("a", "b"))
    other.config.model_type = "llama"
    with pytest.raises(InputError, match=r"architecture, got gpt2 \(a\) and llama \(b\)"):
        require_comparable(*adapters, names=("a", "b"))


def test_summary_is_strict_json(base):
    summary = report.summarise(compared(base, changed(base, "h.0")), 0)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


# ---------------------------------------------------------------- the script


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny base model, a changed copy, and one with another tokenizer, each with the demo's
    tokenizer; a file of articles.
    """
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("models")
    tokenizer = AutoTokenizer.from_pretrained(hub.DEMO)
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2,
        n_head=2,
        n_embd=16,
        n_positions=96,
        vocab_size=len(tokenizer),
        bos_token_id=0,
        eos_token_id=0,
    )
    base = GPT2LMHeadModel(config)
    for name, model in (("base", base), ("tuned", changed(base, "h.1")), ("foreign", base)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    foreign = json.loads((folder / "foreign" / "tokenizer.json").read_text())
    vocabulary = foreign["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "foreign" / "tokenizer.json").write_text(json.dumps(foreign))
    article = "The town of Dal lost {} homes in a storm. " * 3
    rows = [
        {
            "id": str(i),
            "article": article.replace("{}", str(i)),
            "highlights": f"Dal loses {i} homes.",
        }
        for i in range(6)
    ]
    (folder / "articles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def analyse(folders, output_dir, finetuned="tuned", *flags):
    script.main(
        [
            "--base_model_path",
            str(folders / "base"),
            "--finetuned_model_path",
            str(folders / finetuned),
            "--dataset",
            str(folders / "articles.jsonl"),
            "--output_dir",
            str(output_dir),
            "--quiet",
            *flags,
        ]
    )


def test_script_writes_what_it_says_byte_for_byte_again(folders, tmp_path):
    analyse(folders, tmp_path / "a")
    with pytest.MonkeyPatch.context() as patch:
        # one picture is enough to see that pictures are the same
        patch.setattr(written, "PLOTS", ("layers",))
        analyse(folders, tmp_path / "b")
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {
        "differential.json",
        "layers.differential.json",
        "run.differential_analysis.json",
        *(f"differential.{plot}.png" for plot in ("similarity", "layers", "attention", "entropy")),
    }
    for name in {path.name for path in (tmp_path / "b").iterdir()} - {
        "run.differential_analysis.json"
    }:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    result = json.loads((tmp_path / "a" / "differential.json").read_text())
    assert (result["format"], result["base"], result["finetuned"], result["texts"]) == (
        1,
        "base",
        "tuned",
        6,
    )
    assert str(tmp_path) not in json.dumps(result)
    assert top_layers(tmp_path / "a" / "layers.differential.json", k=1) == [1]
    stamp = (tmp_path / "a" / "differential.json").stat().st_mtime_ns
    analyse(folders, tmp_path / "a")
    assert (tmp_path / "a" / "differential.json").stat().st_mtime_ns == stamp


def test_script_refuses_another_tokenizer(folders, tmp_path):
    with pytest.raises(InputError, match="one tokenizer for both models"):
        analyse(folders, tmp_path, "foreign")


# ---------------------------------------------------------------- a run's latents


@pytest.fixture
def followed(base, tmp_path):
    """A run whose block 1 moves away from the base model: twice as far at step 10 as at step 5."""
    texts = [[1, *ids] for ids in sequences(8)]
    (tmp_path / "latents").mkdir()
    noise = torch.randn(192, 48, generator=torch.Generator().manual_seed(3))
    for step in (0, 5, 10):
        other = copy.deepcopy(base)
        with torch.no_grad():
            other.transformer.h[1].mlp.c_proj.weight += 0.002 * step * noise
        latents.save(
            tmp_path / "latents" / f"checkpoint-{step}.safetensors",
            other,
            chosen=latents.probe(texts, 8),
        )
    return tmp_path


def test_latents_show_where_and_when_a_run_left_its_base(followed, capsys):
    script.main(["--run", str(followed), "--output_dir", str(followed / "out"), "--verbose"])
    printed, result = (
        capsys.readouterr().out,
        json.loads((followed / "out" / "differential.latents.json").read_text()),
    )
    assert (result["steps"], result["texts"], result["positions"]) == ([0, 5, 10], 8, 8)
    assert result["states"] == ["embeddings", "0", "1", "2"]
    for name, table in result["measures"].items():
        mean = np.array(table["mean"])
        same = 0 if name == "relative_l2" else 1
        assert mean[0] == pytest.approx(same, abs=1e-5) and mean[:, :2] == pytest.approx(
            same, abs=1e-5
        )  # the base; before block 1
        assert (np.abs(mean[2, 2:] - same) > np.abs(mean[1, 2:] - same)).all() and (
            np.abs(mean[1, 2:] - same) > 1e-4
        ).all()
    moved = np.array(result["measures"]["relative_l2"]["mean"])[:, 2]
    assert moved[2] == pytest.approx(2 * moved[1], rel=1e-4)  # linear in the weights that moved
    assert "from the base model at step 10" in printed and "layer 2" in printed
    assert (
        result["standing"]["relative_l2"]["half"]["low"] == 5
    )  # block 0, which is "half way" from the start, did not move
    assert (followed / "out" / "differential.latents.png").is_file()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda folder: (folder / "checkpoint-0.safetensors").unlink(),
            "expected latents/checkpoint-0.safetensors",
        ),
        (
            lambda folder: (folder / "checkpoint-10.safetensors").write_bytes(b"no"),
            "checkpoint-10.safetensors: expected the latents",
        ),
    ],
)
def test_latents_that_are_missing_or_broken_are_named(followed, change, words):
    change(followed / "latents")
    with pytest.raises(InputError, match=words):
        script.main(["--run", str(followed), "--output_dir", str(followed / "out"), "--quiet"])


def test_latents_of_other_texts_are_refused(base, followed):
    """Guard 5 for latents: the same columns hold other tokens."""
    other = latents.probe([[2, *ids] for ids in sequences(6, seed=1)], 8)
    latents.save(followed / "latents" / "checkpoint-5.safetensors", base, chosen=other)
    with pytest.raises(
        InputError, match="checkpoint-5.safetensors: expected the probe of checkpoint-0"
    ):
        script.main(["--run", str(followed), "--output_dir", str(followed / "out"), "--quiet"])


def test_too_few_positions_leave_out_what_compares_pairs(base, tmp_path):
    (tmp_path / "latents").mkdir()
    for step in (0, 1):
        latents.save(
            tmp_path / "latents" / f"checkpoint-{step}.safetensors",
            base,
            chosen=latents.probe(sequences(3), 3),
        )
    summary = differential_run.follow(differential_run.files(str(tmp_path)), seed=0)
    assert set(summary["measures"]) == {"centred_cosine", "cosine", "relative_l2"}
