"""A process that loads models and data sets as the scripts do: a command a line, an answer a line.

Started by test_hub.py with an environment of its own, since the Hub's clients read theirs when they
are imported. Between two commands it forgets what it knows of the Hub, as a new process would.
"""

import contextlib
import functools
import io
import json
import os
import sys
import time


def main() -> None:
    """Answer until stdin ends."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from runs import progress

    progress.EVERY = 0  # seconds between two lines of progress: these downloads are short
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        command, started, errors = json.loads(line), time.time(), io.StringIO()
        with contextlib.redirect_stderr(errors):
            answer = answer_to(**command)
        answer |= {"seconds": time.time() - started, "stderr": errors.getvalue()}
        print(json.dumps(answer), file=answers, flush=True)


def answer_to(what: str, name: str, environment: dict | None = None, folder: str = "") -> dict:
    """What came of a command: numbers of what was loaded, or the error's line."""
    from eap import InputError
    from runs import hub
    from summarization import corpus

    for module in (corpus, hub):
        for function in vars(module).values():
            if isinstance(function, functools._lru_cache_wrapper):
                function.cache_clear()
    os.environ.update(environment or {})
    try:
        answer = {
            "tokenizer": tokenizer,
            "weights": weights,
            "data": data,
            "check": check,
            "hf download": hf_download,
        }[what](name, folder)
    except InputError as error:
        answer = {"error": str(error)}
    for variable in environment or {}:
        del os.environ[variable]
    return answer | {"offline": "HF_HUB_OFFLINE" in os.environ or _is_offline()}


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def tokenizer(name: str, folder: str) -> dict:
    from runs import hub, opening

    source = hub.model_source(name, weights=False)
    tokenizer = opening.load_tokenizer(name)
    if folder:
        tokenizer.save_pretrained(folder)
    return {"entries": len(tokenizer), "sha256": source.sha256, "commit": source.commit}


def weights(name: str, folder: str) -> dict:
    import torch

    from runs import hub, opening

    source = hub.model_source(name)
    model = opening.load_model(name, torch.float32, device="cpu")
    if folder:
        model.save_pretrained(folder)
    first = model.transformer.wte.weight[0, 0].item()
    return {"first": first, "sha256": source.sha256, "commit": source.commit}


def data(name: str, _: str) -> dict:
    from summarization import corpus

    corpus.resolve(name)
    source = corpus.inputs(name)["dataset"]
    rows = {split: len(corpus.load(name, split)) for split in ("train", "validation", "test")}
    return {"rows": rows, "source": source.source, "sha256": source.sha256} | {
        "commit": source.commit
    }


def check(name: str, _: str) -> dict:
    from summarization import corpus

    return {"name": corpus.resolve(name)}


def hf_download(name: str, _: str) -> dict:
    """What `hf download --repo-type dataset` does."""
    from huggingface_hub import snapshot_download

    return {"folder": snapshot_download(name, repo_type="dataset")}


if __name__ == "__main__":
    main()
