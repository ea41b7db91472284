"""The notebook in examples/ runs from its first cell to its last, and shows what its text says."""

import json

import pytest

from runs.records import ROOT


@pytest.fixture(scope="module")
def names():
    """What the notebook's cells leave behind."""
    notebook = json.loads((ROOT / "examples" / "eap_as_a_library.ipynb").read_text("utf-8"))
    namespace = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
    return namespace


def test_the_scores_sum_to_the_change_of_the_metric(names):
    """Completeness, by plain forward passes of transformers' own model."""
    import torch
    from torch.nn.functional import kl_div, log_softmax

    changes = []
    for pair in names["found_on"][:4]:
        ids = torch.tensor([pair.clean_ids, pair.corrupted_ids])
        targets = slice(pair.target_start - 1, -1)
        with torch.no_grad():
            clean, corrupted = log_softmax(names["model"](ids).logits[:, targets].double(), -1)
        divergence = kl_div(corrupted, clean, log_target=True, reduction="none").sum(-1)
        changes.append(float(divergence.mean()))
    into_logits = names["found"].edges[:4, names["into_logits"]].double().sum(1)
    assert into_logits.tolist() == pytest.approx(changes, rel=1e-3)


def test_the_circuit_carries_the_model_and_a_random_one_does_not(names):
    assert names["f"] > 0.9 and abs(names["f_random"]) < 0.1
    assert int(names["circuit"].sum()) == 32_491 // 50
