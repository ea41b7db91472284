"""An imitation of the Hugging Face Hub on the loopback, for the real clients, with faults by rule.

What it answers is what huggingface_hub 2, transformers 5 and datasets 5 ask: the description of a
repository, its tree and commits, paths-info, and files. As on the real one, old names answer with a
redirect, small files lie behind a redirect on the Hub (307), and weights and parquet behind one to
another host name (302), with the headers by which the clients know commit, size and hash. It lives
in threads of the process that made it, and ends with it.
"""

import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

MOVED = {
    ("models", "gpt2"): "openai-community/gpt2",
    ("datasets", "cnn_dailymail"): "abisee/cnn_dailymail",
}
LARGE = {".safetensors", ".parquet"}
DATE = "2024-01-18T15:31:09.000Z"
PORTAL = b"<html><body>Welcome! Log in to use this network.</body></html>"
OWNED = r"[^/]+/[^/]+"
FILE = re.compile(
    r"/(?P<datasets>datasets/)?(?P<name>[^/]+(/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<file>.+)"
)
SMALL_FILE = re.compile(
    rf"/api/resolve-cache/(?P<kind>models|datasets)/(?P<name>{OWNED})/(?P<revision>[^/]+)/(?P<file>.+)"
)
LARGE_FILE = re.compile(rf"/storage/(?P<kind>models|datasets)/(?P<name>{OWNED})/(?P<file>.+)")
QUESTION = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+?(/[^/]+?)?)"
    r"(/(?P<what>revision|tree|commits|paths-info)/(?P<revision>[^/]+)(/(?P<path>.*))?)?"
)


@dataclass
class Fault:
    """What happens to requests whose "METHOD /path" matches: `times` of them, after `skip`."""

    match: str
    status: int | None = None  # answered instead, with `headers`
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0  # seconds before the answer
    rate: int | None = None  # bytes a second
    cut: int | None = None  # bytes of the body, then the connection drops
    portal: bool = False  # the page that a hotel's network answers everything with
    times: int | None = None
    skip: int = 0
    met: int = 0

    def applies(self, request: str) -> bool:
        """Whether it happens to this request, which is counted."""
        if not re.search(self.match, request):
            return False
        self.met += 1
        return self.met > self.skip and (self.times is None or self.met <= self.skip + self.times)


class ImitationHub(ThreadingHTTPServer):
    """Serves `root/{models,datasets}/owner/name/...`.

    `faults` may change at any time; `requests` says what was asked.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, root: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.faults, self.requests = Path(root), [], []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.storage = f"http://localhost:{self.server_port}/storage"  # another host's name
        self.lock, self.open = threading.Lock(), set()
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def hang_up(self) -> None:
        """End all connections and stop listening: who asks from now on is refused a connection."""
        self.shutdown()
        self.server_close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def listen(self) -> None:
        """Answer again, at the same port."""
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()
        self._serve()

    def faults_of(self, request: str) -> list[Fault]:
        """The faults that happen to a request."""
        with self.lock:
            self.requests.append(request)
            return [fault for fault in self.faults if fault.applies(request)]

    def handle_error(self, request, client_address):
        """A client that hung up is no error."""


def files_in(folder: Path) -> list[Path]:
    """All files of a repository."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def commit_of(folder: Path) -> str:
    """What stands for a repository's commit: another one for other contents."""
    names = "".join(f"{path.relative_to(folder)} {hashes(path)[1]}\n" for path in files_in(folder))
    return hashlib.sha1(names.encode()).hexdigest()


def hashes(path: Path) -> tuple[str, str]:
    """(git's SHA-1 of a file, its SHA-256)."""
    return _hashes(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=1000)
def _hashes(path: Path, changed: int, size: int) -> tuple[str, str]:
    data = path.read_bytes()
    blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    return blob, hashlib.sha256(data).hexdigest()


class _Answered(Exception):
    """A redirect or an error was sent in place of what was asked for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ImitationHub

    def setup(self):
        super().setup()
        self.server.open.add(self.connection)

    def finish(self):
        self.server.open.discard(self.connection)
        super().finish()

    def log_message(self, *_):
        """Nothing on the test's screen."""

    def do_GET(self):
        self.answer()

    do_HEAD = do_POST = do_GET

    def answer(self):
        self.sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        self.query, path = parse_qs(address.query), unquote(address.path)
        self.faults = self.server.faults_of(f"{self.command} {path}")
        for fault in self.faults:
            time.sleep(fault.delay)
            if fault.portal:
                return self.reply(200, PORTAL, {"Content-Type": "text/html"})
            if fault.status:
                return self.reply(fault.status, b'{"error": "made to fail"}', dict(fault.headers))
        try:
            return self.route(path)
        except _Answered:
            return None

    def route(self, path: str):
        if match := LARGE_FILE.fullmatch(path):
            folder = self.server.root / match["kind"] / match["name"]
            return self.send_file(folder / match["file"], hashes(folder / match["file"])[1], {})
        if match := SMALL_FILE.fullmatch(path):
            folder = self.server.root / match["kind"] / match["name"]
            commit = {"X-Repo-Commit": match["revision"]}
            return self.send_file(folder / match["file"], hashes(folder / match["file"])[0], commit)
        if match := QUESTION.fullmatch(path):
            folder, commit = self.repository(match["kind"], match["name"], match["revision"])
            what = {
                None: self.describe,
                "revision": self.describe,
                "tree": self.tree,
                "commits": self.commits,
                "paths-info": self.paths_info,
            }
            return what[match["what"]](folder, commit, match["path"] or "")
        if match := FILE.fullmatch(path):
            kind = "datasets" if match["datasets"] else "models"
            folder, commit = self.repository(kind, match["name"], match["revision"])
            return self.resolve(kind, folder, commit, match["file"])
        return self.fail(404, "", "Sorry, we can't find the page you are looking for.")

    def repository(self, kind: str, name: str, revision: str | None) -> tuple[Path, str]:
        """(folder, commit); raises _Answered after a redirect or an error."""
        if (kind, name) in MOVED:
            place = self.path.replace(f"/{name}", f"/{MOVED[kind, name]}", 1)
            raise _Answered(self.reply(307, b"Temporary Redirect", {"Location": place}))
        folder = self.server.root / kind / name
        if not folder.is_dir() or "/" not in name:
            raise _Answered(self.fail(401, "", "Invalid username or password."))
        if "wrong" in self.headers.get("Authorization", ""):
            raise _Answered(self.fail(401, "", "Invalid credentials in Authorization header"))
        commit = commit_of(folder)
        if revision not in (None, "main", commit):
            raise _Answered(self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}"))
        return folder, commit

    def resolve(self, kind: str, folder: Path, commit: str, name: str):
        """The redirect to where a file lies."""
        path = folder / name
        about = {"X-Repo-Commit": commit}
        if not path.is_file():
            return self.fail(404, "EntryNotFound", "Entry not found", about)
        repository = folder.relative_to(self.server.root / kind).as_posix()
        blob, sha256 = hashes(path)
        etag = sha256 if path.suffix in LARGE else blob
        about |= {"X-Linked-Size": str(path.stat().st_size), "X-Linked-ETag": f'"{etag}"'}
        if path.suffix in LARGE:
            place = f"{self.server.storage}/{kind}/{repository}/{quote(name)}"
            return self.reply(302, b"Found", about | {"Location": place})
        place = f"/api/resolve-cache/{kind}/{repository}/{commit}/{quote(name)}"
        return self.reply(307, b"Temporary Redirect", about | {"Location": place})

    def describe(self, folder: Path, commit: str, _: str):
        name = folder.relative_to(folder.parents[1]).as_posix()
        names = [path.relative_to(folder).as_posix() for path in files_in(folder)]
        return self.send_json(
            {
                "_id": "1",
                "id": name,
                "modelId": name,
                "sha": commit,
                "lastModified": DATE,
                "createdAt": DATE,
                "private": False,
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": [{"rfilename": name} for name in names],
            }
        )

    def commits(self, folder: Path, commit: str, _: str):
        latest = {"id": commit, "title": "all", "message": "", "date": DATE, "authors": []}
        return self.send_json([latest])

    def tree(self, folder: Path, commit: str, path: str):
        place = folder / path
        if not place.is_dir():
            return self.fail(404, "EntryNotFound", f"{path} does not exist")
        deep = self.query.get("recursive", [""])[0].lower() in ("true", "1")
        paths = sorted(place.rglob("*") if deep else place.iterdir())
        return self.send_json([self.entry(folder, path, commit) for path in paths])

    def paths_info(self, folder: Path, commit: str, _: str):
        if "json" in self.headers.get("Content-Type", ""):
            names = json.loads(self.sent)["paths"]
        else:
            names = parse_qs(self.sent.decode()).get("paths", [])
        names = [names] if isinstance(names, str) else names
        paths = [folder / name for name in names if name and (folder / name).exists()]
        return self.send_json([self.entry(folder, path, commit) for path in paths])

    def entry(self, folder: Path, path: Path, commit: str) -> dict:
        """A file or folder as a listing has it."""
        name = path.relative_to(folder).as_posix()
        last = {"lastCommit": {"id": commit, "title": "all", "date": DATE}}
        if path.is_dir():
            oid = hashlib.sha1(name.encode()).hexdigest()
            return {"type": "directory", "oid": oid, "size": 0, "path": name} | last
        blob, sha256 = hashes(path)
        size = path.stat().st_size
        entry = {"type": "file", "oid": blob, "size": size, "path": name} | last
        if path.suffix in LARGE:
            entry["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
        return entry

    def send_file(self, path: Path, etag: str, headers: dict):
        """A file or the part of it that was asked for."""
        data, status = path.read_bytes(), 200
        headers |= {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(part[1]), min(int(part[2] or len(data) - 1), len(data) - 1)
            if first >= len(data):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        kind = "application/json" if path.suffix == ".json" else "application/octet-stream"
        return self.reply(status, data, headers | {"Content-Type": kind})

    def send_json(self, data):
        return self.reply(200, json.dumps(data).encode(), {})

    def fail(self, status: int, code: str, message: str, headers: dict | None = None):
        about = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        return self.reply(status, json.dumps({"error": message}).encode(), about | (headers or {}))

    def reply(self, status: int, body: bytes, headers: dict):
        self.send_response(status)
        length = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (length | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(body)

    def send_body(self, body: bytes):
        """The body, as slowly or as far as the faults say."""
        cut = min([fault.cut for fault in self.faults if fault.cut is not None], default=None)
        rate = min([fault.rate for fault in self.faults if fault.rate], default=None)
        step = rate // 10 if rate else len(body) + 1
        for start in range(0, len(body[:cut]), step):
            self.wfile.write(body[:cut][start : start + step])
            if rate:
                time.sleep(0.1)
        if cut is not None and cut < len(body):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


# ---------------------------------------------------------------- the repositories


def write_model(folder: Path, tokenizer: Path, width: int = 24, positions: int = 256) -> None:
    """A small random model, laid out as `openai-community/gpt2` is.

    An old config.json, weights named without `transformer.`, causal masks among them, no lm_head.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import GPT2Config, GPT2LMHeadModel

    folder.mkdir(parents=True)
    parts = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = parts["model"]["vocab"]
    merges = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in parts["model"]["merges"]
    ]
    end = next(part["id"] for part in parts["added_tokens"] if part["content"] == "<|endoftext|>")
    vocabulary["<|endoftext|>"] = end
    parts["model"]["merges"] = merges  # as text, as in 2019
    shape = {"n_layer": 12, "n_head": 12, "n_embd": width, "n_positions": positions}
    shape |= {"vocab_size": max(vocabulary.values()) + 1, "bos_token_id": end, "eos_token_id": end}
    old = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_ctx": positions}
    old |= {"activation_function": "gelu_new", "attn_pdrop": 0.1, "embd_pdrop": 0.1}
    old |= {"resid_pdrop": 0.1, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05}
    old |= {"summary_type": "cls_index", "summary_use_proj": True, "summary_activation": None}
    old["task_specific_params"] = {"text-generation": {"do_sample": True, "max_length": 50}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = GPT2LMHeadModel(GPT2Config(**shape)).state_dict()
    weights = {
        name.removeprefix("transformer."): value.contiguous()
        for name, value in state.items()
        if name != "lm_head.weight"
    }
    mask = torch.tril(torch.ones(positions, positions)).view(1, 1, positions, positions)
    weights |= {f"h.{layer}.attn.bias": mask.clone() for layer in range(12)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    generation = {"bos_token_id": end, "eos_token_id": end, "_from_model_config": True}
    texts = {
        "config.json": json.dumps(old | shape, indent=2),
        "generation_config.json": json.dumps(generation),
        "tokenizer.json": json.dumps(parts),
        "tokenizer_config.json": json.dumps({"model_max_length": positions}),
        "vocab.json": json.dumps(vocabulary),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
        "README.md": "---\nlicense: mit\n---\n\nRandom weights.\n",
        "64-8bits.tflite": "no file that these clients need",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def write_dataset(
    folder: Path, splits: dict[str, list[dict]], configurations=("1.0.0", "2.0.0", "3.0.0")
) -> None:
    """Articles laid out as `abisee/cnn_dailymail` is: parquet shards by configuration, a card."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    card = {"configs": [], "dataset_info": []}
    for configuration in configurations:
        (folder / configuration).mkdir()
        for split, rows in splits.items():
            shards = 3 if split == "train" else 1
            for shard in range(shards):
                name = f"{split}-{shard:05d}-of-{shards:05d}.parquet"
                size = -(-len(rows) // shards)
                table = pa.Table.from_pylist(rows[shard * size : (shard + 1) * size])
                pq.write_table(table, folder / configuration / name)
        files = [{"split": s, "path": f"{configuration}/{s}-*"} for s in splits]
        card["configs"].append({"config_name": configuration, "data_files": files})
        names = next(iter(splits.values()))[0]
        features = [{"name": name, "dtype": "string"} for name in names]
        sizes = [{"name": s, "num_bytes": 1, "num_examples": len(splits[s])} for s in splits]
        card["dataset_info"].append(
            {"config_name": configuration, "features": features, "splits": sizes}
        )
    (folder / "README.md").write_text(  # JSON is YAML
        f"---\n{json.dumps(card)}\n---\n\nMade-up articles.\n", encoding="utf-8"
    )
