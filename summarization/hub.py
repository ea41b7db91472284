"""Where a model or data set lies: a Hub id that is cached or reachable, a folder, a checkpoint, a LoRA adapter folder, or `demo`."""

import os
from pathlib import Path

from eap import InputError
from summarization.runs import ROOT

DEMO = ROOT / "demo" / "model"
HUB_TIMEOUT_SECONDS = (
    3  # waiting longer than this for the Hub helps nobody; a local path needs no Hub
)


def resolve_model(name: str, flag: str = "--model_path") -> str:
    """The folder or Hub id that a `--model_path` names, known to be within reach. Imports nothing heavy.

    Raises InputError for a folder without weights, for pickled weights, and for a Hub id that is neither cached nor reachable.
    """
    if name == "demo":
        return str(DEMO)
    path = Path(name)
    if not path.is_dir():
        if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise InputError(
                f"{flag} {name}: expected a model folder or a Hub id, found no such folder; check the path or use demo"
            )
        require_hub(name, "model", flag)
        return name
    if not list(path.glob("*.safetensors")):
        pickled = [file.name for file in path.iterdir() if file.suffix in {".bin", ".pt", ".pth"}]
        found = (
            f"only pickled weights ({pickled[0]}), which are refused" if pickled else "no weights"
        )
        raise InputError(
            f"{flag} {name}: expected a folder with *.safetensors, found {found}; save it with save_pretrained"
        )
    return name


def require_hub(name: str, kind: str, flag: str) -> None:
    """Return if the Hub id is in the local cache or the Hub answers that it has it. Raises InputError within seconds otherwise."""
    if _cached(name, kind):
        os.environ["HF_HUB_OFFLINE"] = (
            "1"  # read when huggingface_hub is imported; everything needed is here already
        )
        return
    reason = (
        "offline mode is on (HF_HUB_OFFLINE)"
        if os.environ.get("HF_HUB_OFFLINE") == "1"
        else _hub_refuses(name, kind)
    )
    if reason:
        raise InputError(
            f"{flag} {name}: expected a local path or a {kind} on a Hugging Face Hub in reach, but {reason}; "
            f"give {flag} a local path, or use the built-in one: {flag} demo"
        )


def _cached(name: str, kind: str) -> bool:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    return any((cache / f"{kind}s--{name.replace('/', '--')}" / "snapshots").glob("*/*"))


def _hub_refuses(name: str, kind: str) -> str | None:
    """Why the Hub does not give this model or data set, in words; None if it answers that it has it. One request, no retry."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session

    try:
        answer = get_session().get(
            f"{constants.ENDPOINT}/api/{kind}s/{name}",
            headers=build_hf_headers(),
            timeout=HUB_TIMEOUT_SECONDS,
        )
    except Exception:  # whatever the HTTP library of the day raises, the answer is no
        return "the Hub cannot be reached from here"
    if answer.status_code in (401, 404):
        return f"the Hub has none of this name, or wants a login for it (HTTP {answer.status_code})"
    if answer.status_code != 200 or "json" not in answer.headers.get("content-type", ""):
        return f"the Hub refuses (HTTP {answer.status_code}) or something else answers in its place"
    return None
