"""The demo behaves like the real thing: fine-tuning teaches it to summarize, and it draws on the
salient sentences. Minutes long.
"""

import importlib
import json
import statistics

import pytest
import torch

from benchmarks import evaluation, methods, methods_data
from eap import dataset, hooks, metrics
from eap.attribute import attribute
from eap.models import adapt
from eap.passes import run
from runs import opening
from study.pipeline.presets import PRESETS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with pairs, the demo model fine-tuned as the demo does it, and the ROUGE of both on
    100 test articles.
    """
    folder = tmp_path_factory.mktemp("demo")
    pairs = (
        "--dataset demo --model_path demo --max_examples 64 --eval_fraction 0 --corruption {0} "
        "--output {0}.jsonl --output_dir {0}"
    )
    steps = [
        *(
            ("create_causal_summarization_data", pairs.format(corruption))
            for corruption in ("swap", "mask")
        ),
        (
            "run_finetuning_with_checkpoints",
            f"--dataset demo --model_path demo {PRESETS['demo'].training} --output_dir run",
        ),
        ("test_set_evaluation", "--dataset demo --model_paths demo run --max_examples 100"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in steps:
            importlib.import_module(name).main([*words.split(), "--quiet"])
    return folder


def systems(study):
    return json.loads((study / "outputs/test_set_evaluation/rouge.json").read_text())["systems"]


def test_fine_tuning_teaches_it_to_summarize(study):
    scores = systems(study)
    assert scores["demo"]["rouge1"]["mean"] < 25
    assert scores["run"]["rouge1"]["mean"] > 60


def test_the_tuned_model_stops_by_itself(study):
    assert systems(study)["run"]["ended_percent"]["mean"] >= 90


@pytest.mark.parametrize("corruption", ["swap", "mask"])
def test_salient_sentences_matter_three_times_as_much_as_others(study, corruption):
    adapter = adapt(opening.load_model(str(study / "run"), torch.float32, device="cpu"))
    pairs = dataset.read_pairs(study / f"{corruption}.jsonl")
    change = {"salient": [], "control": []}
    with hooks.frozen(adapter.model):
        for pair in pairs:
            for kind, corrupted_pair in (("salient", pair), ("control", pair.control())):
                batch = dataset.collate([0], [corrupted_pair])
                clean = run(adapter, batch.clean_ids, batch=batch)[1]
                corrupted = run(adapter, batch.corrupted_ids, batch=batch)[1]
                reference = metrics.reference(clean, corrupted, target_ids=batch.target_ids)
                both = [
                    metrics.per_example(
                        "nll",
                        logits,
                        reference=reference,
                        target_rows=batch.target_rows,
                        n_examples=1,
                    )
                    for logits in (clean, corrupted)
                ]
                change[kind].append(float(both[1] - both[0]))
    salient = statistics.mean(change["salient"])
    control = statistics.mean(change["control"])
    assert salient > 0.3 and salient >= 3 * control


def test_scores_agree_with_exact_patching():
    """The 300 strongest edges by the default method and 300 random ones; Gauss-Legendre points are
    no worse than the reference's rule.
    """
    args = methods.parse(["--quiet"])
    adapter, pairs = (
        adapt(opening.load_model("demo", torch.float32, device="cpu")),
        evaluation.demo_pairs(8),
    )
    scores = {
        rule: attribute(adapter.model, pairs, rule=rule).edges.double().mean(0)
        for rule in ("left", "gauss-legendre")
    }
    edges = methods_data.edges_to_patch([scores["gauss-legendre"]], 300, seed=0)
    exact = methods_data.patch(args, adapter, pairs=pairs, edges=edges)
    pearson = {
        rule: torch.corrcoef(torch.stack([estimate[edges], exact]))[0, 1]
        for rule, estimate in scores.items()
    }
    assert len(edges) == 600 and pearson["gauss-legendre"] >= max(0.85, pearson["left"])
