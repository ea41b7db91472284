"""benchmarks/real_model.py on a tiny chat model: f, the copying heads, and going on with what is
there.
"""

import importlib
import json
import sys

import pytest

from eap import dataset
from runs import opening
from runs.records import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def study(chat_model_dir, articles_file, tmp_path_factory):
    """A folder with pairs of the chat model and a circuit found on half of them."""
    folder = tmp_path_factory.mktemp("study")
    words = {"--dataset": articles_file, "--model_path": chat_model_dir, "--output_dir": folder}
    words["--output"] = folder / "pairs.jsonl"
    script = importlib.import_module("create_causal_summarization_data")
    script.main([str(word) for pair in words.items() for word in pair] + ["--quiet"])
    words = {
        "--model_path": chat_model_dir,
        "--pairs": folder / "pairs.jsonl",
        "--method": "secant",
    }
    words |= {"--output": folder / "C_secant.json", "--fraction": ".5"}
    script = importlib.import_module("extract_summarization_circuit")
    script.main([str(word) for pair in words.items() for word in pair] + ["--quiet"])
    return folder


def results(study, model: str, *words) -> dict:
    script = importlib.import_module("real_model")
    words = ["--circuits", study / "C_secant.json", "--model_path", model, *words, "--quiet"]
    words += ["--pairs", study / "pairs_eval.jsonl", "--output_dir", study / "out", "--heads", 2]
    script.main([str(word) for word in words])
    return json.loads((study / "out" / "real_model.json").read_text())


def test_f_of_all_edges_is_one_and_what_was_run_is_kept(study, chat_model_dir):
    words = ["--sizes", ".5,1", "--ranks", "mean", "--n_random", 1, "--random_sizes", "0,1"]
    result = results(study, chat_model_dir, *words, "--max_examples", 3)
    f = {(row["what"], row["size"]): row for row in result["f"]}
    assert f["secant", 1.0]["f"] == pytest.approx(1, abs=1e-4)
    assert f["random", 1.0]["f"] == pytest.approx(1, abs=1e-4)
    assert f["random", 0.0]["f"] == pytest.approx(0, abs=1e-4)
    assert f["secant", 0.5]["low"] <= f["secant", 0.5]["f"] <= f["secant", 0.5]["high"]
    runs = (study / "out" / "runs.jsonl").read_text()
    assert len(runs.splitlines()) == 3 * (1 + 2 + 2 + 2)
    assert results(study, chat_model_dir, *words, "--max_examples", 3) == result
    assert (study / "out" / "runs.jsonl").read_text() == runs
    more = results(study, chat_model_dir, *words, "--max_examples", 4)
    assert {row["pairs"] for row in more["f"]} == {4}
    assert (study / "out" / "runs.jsonl").read_text().startswith(runs)


def test_a_head_copies_as_much_as_it_looks_at_the_words_that_follow(study, chat_model_dir):
    """One pair by hand, from the attention weights that transformers itself gives."""
    import torch
    from transformers import AutoModelForCausalLM

    script = importlib.import_module("real_model")
    model, _ = opening.open_for_texts(chat_model_dir, torch.float32, device="cpu")
    pair = dataset.read_pairs(study / "pairs_eval.jsonl")[0]
    args = script.parse(["--quiet"])
    from eap.models import adapt

    copying = script.copying(args, adapt(model), pairs=[pair])[0]
    eager = AutoModelForCausalLM.from_pretrained(chat_model_dir, attn_implementation="eager")
    weights = eager.eval()(torch.tensor([pair.clean_ids]), output_attentions=True).attentions
    article = range(pair.segments[0][0], pair.segments[-1][1])
    steps = [
        (place - 1, [at for at in article if pair.clean_ids[at] == pair.clean_ids[place]])
        for place in range(pair.target_start, len(pair.clean_ids))
    ]
    steps = [(place, places) for place, places in steps if places]
    assert len(steps) > 2
    for layer, head in ((0, 1), (1, 3)):
        row = weights[layer][0, head]
        at_own = [sum(row[place, at].item() for at in places) for place, places in steps]
        at_others = [
            sum(
                row[place, at].item()
                for n, (_, places) in enumerate(steps)
                if n != m
                for at in places
            )
            / (len(steps) - 1)
            for m, (place, _) in enumerate(steps)
        ]
        expected = (sum(at_own) - sum(at_others)) / len(steps)
        assert copying[layer, head].item() == pytest.approx(expected, abs=1e-5)


def test_more_copying_heads_than_a_layer_can_match_are_refused(study, chat_model_dir, capsys):
    from eap import InputError

    script = importlib.import_module("real_model")
    words = ["--circuits", study / "C_secant.json", "--model_path", chat_model_dir, "--quiet"]
    words += ["--pairs", study / "pairs_eval.jsonl", "--output_dir", study / "out2"]
    with pytest.raises(InputError, match="--heads 8: expected so few"):
        script.main([str(word) for word in [*words, "--heads", 8, "--max_examples", 2]])
