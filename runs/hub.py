"""Where a model or data set lies: folder, checkpoint, adapter, `demo`, `smollm2`, or a Hub id.

The rule for Hub ids: the Hub is asked first, as the plain clients do. Only if it gives no answer,
and only if the local cache holds all that is needed, the cache is used. That is decided for one
name at a time, never for the process or for those that it starts.
"""

import contextlib
import errno
import fnmatch
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from eap import InputError
from runs import progress, smollm2
from runs.console import is_main_process, warn
from runs.disk import read_json
from runs.records import MODEL_FILES, ROOT, Source, fingerprint

DEMO = ROOT / "demo" / "model"
CONNECT_SECONDS = 5  # to open a connection; a Hub that cannot be reached is said within ten
ANSWER_SECONDS = 20  # for an answer: mirrors and proxies can be slow
# What tokenizer, shape and defaults of a model are read from; weights are downloaded after these.
# The vocabulary comes last: where it is, the rest of a download that was cut is there too.
SMALL_FILES = (
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "vocab.json",
    "tokenizer.model",
    "tokenizer.json",
)
TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model")
ONE_FILE = ("model.safetensors", "adapter_model.safetensors")
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Failure:
    """Why the Hub does not give something, and what to do about it, in words."""

    cause: str
    advice: str


@dataclass(frozen=True)
class Answer:
    """What the Hub says of a repository: its commit and its files, or why there is no answer."""

    commit: str | None = None
    files: tuple[str, ...] = ()
    failure: Failure | None = None


# ---------------------------------------------------------------- models


def resolve_model(name: str, flag: str = "--model_path", *, weights: bool = True) -> str:
    """The folder or Hub id that a `--model_path` names; what is needed of a Hub id is on disk.

    Raises InputError for a folder without weights, for pickled weights, and for a Hub id that the
    Hub does not give and the cache lacks.
    """
    if name == "demo":
        return str(DEMO)
    if name == smollm2.NAME:
        return str(smollm2.folder(flag))
    path = Path(name)
    if not path.is_dir():
        if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise InputError(
                f"{flag} {name}: expected a model folder or a Hub id, found no such folder; check "
                "the path or use demo"
            )
        _snapshot(name, flag, weights=weights)
        return name
    if not list(path.glob("*.safetensors")):
        pickled = [file.name for file in path.iterdir() if file.suffix in {".bin", ".pt", ".pth"}]
        instead = "no weights"
        if pickled:
            instead = f"only pickled weights ({pickled[0]}), which are refused"
        elif inner := _model_below(path):
            raise InputError(
                f"{flag} {name}: expected a folder with *.safetensors, found them a folder further "
                f"down; give {inner}"
            )
        raise InputError(
            f"{flag} {name}: expected a folder with *.safetensors, found {instead}; save it with "
            "save_pretrained"
        )
    return name


def _model_below(folder: Path) -> Path | None:
    """The first folder in `folder`, by name, with the weights of a model or an adapter."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    return next((path for path in inner if any(path.glob("*.safetensors"))), None)


def model_folder(name: str, flag: str = "--model_path", *, weights: bool = True) -> Path:
    """The local folder of a model; for a Hub id that of its commit in the cache.

    Raises InputError as `resolve_model`.
    """
    source = Path(resolve_model(name, flag, weights=weights))
    return source if source.is_dir() else _snapshot(name, flag, weights=weights)


def model_source(name: str, flag: str = "--model_path", *, weights: bool = True) -> str | Source:
    """What a run record says of a model: its folder, or its Hub id, commit and SHA-256.

    Without `weights` the hash is of the files of tokenizer and shape. Raises InputError as
    `resolve_model`.
    """
    source = resolve_model(name, flag, weights=weights)
    if Path(source).is_dir():
        return source
    folder = _snapshot(name, flag, weights=weights)
    patterns = MODEL_FILES if weights else MODEL_FILES[1:]
    return Source(name, fingerprint(folder, patterns), folder.name)


@functools.cache
def _snapshot(name: str, flag: str, *, weights: bool) -> Path:
    """The folder of a model's commit in the cache, downloaded or completed where it has to be."""
    _require_name(name, flag)
    answer = ask(name, "model")
    if answer.failure is None:
        return _download(name, flag, answer=answer, weights=weights)
    folder = cached_snapshot(name, "model")
    lacking = _lacking(folder, weights) if folder else None
    if folder is None or lacking:
        raise NotGiven(name, flag, kind="model", failure=answer.failure, lacking=lacking)
    say_cached(name, answer.failure, commit=folder.name)
    return folder


def _download(name: str, flag: str, *, answer: Answer, weights: bool) -> Path:
    """The folder of the commit that the Hub named; what is missing of it is downloaded."""
    from huggingface_hub import hf_hub_download

    files = _needed(name, flag, files=answer.files, weights=weights)
    folder = cached_snapshot(name, "model")
    if folder and folder.name == answer.commit and all((folder / file).is_file() for file in files):
        return folder
    try:
        with bars():
            folder = Path(hf_hub_download(name, files[0])).parent  # of `main`: notes its commit
            for file in files[1:]:
                hf_hub_download(name, file, revision=folder.name)
    except Exception as error:  # the Hub's, the network's and the disk's errors have no common kind
        raise NotGiven(name, flag, kind="model", failure=explain(error, "model")) from error
    return folder


def _needed(name: str, flag: str, *, files: tuple[str, ...], weights: bool) -> list[str]:
    """Which of a repository's files are read, weights last.

    Raises InputError where there is no model in safetensors.
    """
    small = [file for file in SMALL_FILES if file in files]
    if not small:
        raise InputError(
            f"{flag} {name}: expected a model with a config.json on the Hub, found none; "
            "choose another"
        )
    if not weights:
        return small
    whole = [file for file in ONE_FILE if file in files][:1]
    shards = [file for file in files if fnmatch.fnmatch(file, "model-*-of-*.safetensors")]
    if not whole and not (INDEX in files and shards):
        raise InputError(
            f"{flag} {name}: expected weights in safetensors on the Hub, found none (pickled ones "
            "are refused); choose another model"
        )
    return small + (whole or [INDEX, *shards])


def _lacking(folder: Path, weights: bool) -> str | None:
    """The first needed file that a folder in the cache lacks; None if all are there."""
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        return "config.json"
    if not weights:
        has_tokenizer = adapter or any((folder / file).is_file() for file in TOKENIZERS)
        return None if has_tokenizer else TOKENIZERS[0]
    whole = ONE_FILE[1] if adapter else ONE_FILE[0]
    if (folder / whole).is_file():
        return None
    if adapter or not (folder / INDEX).is_file():
        return whole
    shards = sorted(set(read_json(folder / INDEX, "index of weights")["weight_map"].values()))
    return next((shard for shard in shards if not (folder / shard).is_file()), None)


# ---------------------------------------------------------------- asking the Hub


def require_dataset(name: str, flag: str, *, prepared) -> None:
    """Return if the Hub has the data set, or a cache something of it; loading tells more.

    `prepared()` says whether the cache of `datasets` has it. Raises InputError otherwise.
    """
    _require_name(name, flag)
    if "/" not in name:
        raise InputError(
            f"{flag} {name}: expected a Hub id of the form owner/name, found no owner; give both, "
            "or a local path"
        )
    failure = ask(name, "dataset").failure
    if failure and not prepared() and not cached_snapshot(name, "dataset"):
        raise NotGiven(name, flag, kind="data set", failure=failure)


@functools.cache
def ask(name: str, kind: str) -> Answer:
    """What the Hub says of a model or data set, once per process; retried as the clients retry."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return Answer(failure=OFFLINE)
    try:
        try:
            response = _question(name, kind)
        except Exception as error:
            if type(error).__name__ not in BROKEN_OFF:
                raise
            response = _question(name, kind)
    except Exception as error:  # the HTTP library's errors and the client's have no common kind
        return Answer(failure=explain(error, kind, asking=True))
    try:
        described = response.json()
        files = tuple(sibling["rfilename"] for sibling in described["siblings"])
        return Answer(described["sha"], files)
    except (ValueError, KeyError, TypeError):
        return Answer(failure=PORTAL)


def _question(name: str, kind: str):
    """The Hub's description of a repository. Raises what the client raises if there is none."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

    response = http_backoff(
        "GET",
        f"{constants.ENDPOINT}/api/{kind}s/{name}",
        headers=build_hf_headers(),
        timeout=(CONNECT_SECONDS, ANSWER_SECONDS, ANSWER_SECONDS, ANSWER_SECONDS),
        retry_on_exceptions=(),  # without a network an answer is wanted at once
        follow_redirects=True,
    )
    hf_raise_for_status(response)
    return response


BROKEN_OFF = ("ReadError", "RemoteProtocolError")  # there is a network: it is asked once more
OFFLINE = Failure(
    "offline mode is on (HF_HUB_OFFLINE)", "unset HF_HUB_OFFLINE so that it can be downloaded"
)
PORTAL = Failure(
    "something else answers in the Hub's place",
    "open a web page to see whether this network wants a login, check HF_ENDPOINT and the proxy",
)
UNTRUSTED = Failure(
    "the certificate of what answers as the Hub is not trusted on this machine",
    "if this network's proxy reads along, name its certificate in SSL_CERT_FILE",
)
REPLACED = Failure(
    "something else was sent in place of a file, of another size",
    "see whether this network wants a login or its proxy keeps files out, then run it again",
)
FULL_DISK = Failure("no space is left on the disk", "make room, or set HF_HOME to a larger disk")
NOUNS = {"model": "model", "dataset": "data set"}
AGAIN = "run the same command again: the files that arrived whole are kept"


def explain(error: BaseException, kind: str, *, asking: bool = False) -> Failure:
    """Cause and advice of a client's error, from the first error in its chain that tells."""
    for link in _chain(error):
        names = {kind_of_error.__name__ for kind_of_error in type(link).__mro__}
        response = getattr(link, "response", None)
        status = getattr(response, "status_code", None)
        if status in (401, 403, 404) and not asking and not _is_gated(response):
            return _refused_file(status, response)
        if status is not None:
            return _explain_status(status, response, kind=NOUNS[kind])
        if "OfflineModeIsEnabled" in names:
            return OFFLINE
        if isinstance(link, OSError) and link.errno == errno.ENOSPC:
            return FULL_DISK
        if "FileMetadataError" in names:
            return PORTAL
        if "Consistency check" in str(link):
            return REPLACED
        if names & {"TransportError", "ConnectionError"}:
            if "CERTIFICATE_VERIFY_FAILED" in str(link):
                return UNTRUSTED
            if asking:
                return Failure(
                    "the Hub cannot be reached from here", f"check the network{_and_endpoint()}"
                )
            return Failure(
                "the connection to the Hub broke off and the download is incomplete", AGAIN
            )
    first_line = str(error).strip().partition("\n")[0][:200]
    return Failure(
        f"loading it ended in {type(error).__name__}: {first_line}", "check its files on the Hub"
    )


def _chain(error: BaseException | None):
    """An error, what caused it, what caused that, ..."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_gated(response) -> bool:
    return response.headers.get("X-Error-Code") == "GatedRepo"


def _refused_file(status: int, response) -> Failure:
    """Of a file that the Hub itself just named: neither name nor login can be what is wrong."""
    host = response.url.host
    return Failure(
        f"the Hub has it, but {host} refuses one of its files (HTTP {status})",
        f"try again later, and see whether this network's proxy lets {host} through"
        + _and_endpoint(),
    )


def _and_endpoint() -> str:
    """The words that add HF_ENDPOINT to what is to be checked, where a user has set it."""
    endpoint = os.environ.get("HF_ENDPOINT")
    return f", and HF_ENDPOINT ({endpoint})" if endpoint else ""


def _explain_status(status: int, response, *, kind: str) -> Failure:
    from huggingface_hub import get_token

    code = response.headers.get("X-Error-Code", "")
    json_sent = "json" in response.headers.get("Content-Type", "")
    if status < 500 and not (json_sent or code or "X-Error-Message" in response.headers):
        return PORTAL  # a proxy's page; the Hub would say more
    if _is_gated(response):
        return Failure(
            f"the Hub wants its conditions accepted (HTTP {status})",
            "accept them on its page and log in with hf auth login",
        )
    if status == 401 and get_token():
        return Failure(
            "the Hub refuses your login (HTTP 401)",
            "correct or remove HF_TOKEN, or log in again with hf auth login",
        )
    if status in (401, 404):
        return Failure(
            f"the Hub has no {kind} of this name that can be read without a login (HTTP {status})"
            if status == 401
            else f"the Hub has no {kind} of this name (HTTP 404)",
            "check the name, and log in with hf auth login if it is private",
        )
    if status == 403:
        return Failure(
            "the Hub forbids it (HTTP 403)",
            "log in with hf auth login as somebody who may read it",
        )
    if status == 429:
        return Failure("the Hub limits how often it is asked (HTTP 429)", "try again later")
    if status >= 500:
        return Failure(f"the Hub is failing (HTTP {status})", "try again later")
    return Failure(f"the Hub answers HTTP {status}", "try again later")


class NotGiven(InputError):
    """A Hub id cannot be had: why, what the cache lacks of it, and the ways out.

    `short` leaves out the ways out by flag.
    """

    def __init__(
        self, name: str, flag: str, *, kind: str, failure: Failure, lacking: str | None = None
    ):
        incomplete = (
            f", and the download in the local cache is incomplete (it lacks {lacking})"
            if lacking
            else ""
        )
        cause = f"{failure.cause}{incomplete}; {failure.advice}"
        self.short = f"{name}: {cause}"
        super().__init__(
            f"{flag} {name}: expected a local path or a {kind} of the Hugging Face Hub, "
            f"but {cause}; or give {flag} a local path, or use the built-in one: {flag} demo"
        )


@functools.cache
def say_cached(name: str, failure: Failure, *, commit: str) -> None:
    """Say once that the local cache is used and why, unless the user asked for that."""
    if failure is not OFFLINE:
        warn(f"note: {failure.cause}; {name} is read from the local cache (commit {commit[:12]})")


# ---------------------------------------------------------------- the clients


def cached_snapshot(name: str, kind: str) -> Path | None:
    """The folder of the commit that `main` last was at, by the cache; None if there is none."""
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"
    reference = repository / "refs" / "main"
    if not reference.is_file():
        return None
    folder = repository / "snapshots" / reference.read_text(encoding="utf-8").strip()
    return folder if folder.is_dir() else None


@contextlib.contextmanager
def bars():
    """Progress bars of downloads, also where they were off for other work; not if `--quiet`."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        tqdm,
    )

    progress.in_lines(tqdm)
    were_off = are_progress_bars_disabled()
    wanted = "--quiet" not in sys.argv and is_main_process()
    if not wanted:
        disable_progress_bars()
    elif not constants.HF_HUB_DISABLE_PROGRESS_BARS:
        enable_progress_bars()
    try:
        yield
    finally:
        if were_off:
            disable_progress_bars()
        elif not wanted:
            enable_progress_bars()


@contextlib.contextmanager
def offline():
    """Let `datasets` ask nothing within the block; what it sets is set back; no child sees it."""
    import datasets.config
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _require_name(name: str, flag: str) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(
            f"{flag} {name}: expected a local path or a Hub id, found no such path and no such id "
            "can be; check it"
        ) from error
