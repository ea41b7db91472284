"""The Hub and its cache, with the real clients against an imitation: states, faults, the study."""

import contextlib
import importlib
import json
import os
import shlex
import shutil
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from imitation_hub import Fault, ImitationHub, commit_of, write_dataset, write_model

from eap import InputError
from runs.hub import explain
from runs.records import ROOT
from summarization import newsroom

GPT2, CNN, XSUM = "gpt2", "abisee/cnn_dailymail", "EdinburghNLP/xsum"
ROWS = {"train": 12, "validation": 12, "test": 6}
WEIGHTS, SHARD = r"GET /storage/.*safetensors", r"GET /storage/.*3.0.0/train-00001"
AT_ONCE = (("Retry-After", "0"),)  # the client adds a second to what it is told to wait


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """The folder of what the imitation serves: GPT-2's layout and CNN/DailyMail's, both small."""
    root = tmp_path_factory.mktemp("hub")
    write_model(root / "models/openai-community/gpt2", ROOT / "demo" / "model")
    columns = ("article", "highlights", "id")
    splits = {
        split: [{name: row[name] for name in columns} for row in newsroom.articles(split, count)]
        for split, count in ROWS.items()
    }
    write_dataset(root / "datasets" / CNN, splits)
    xsum = {"document": "article", "summary": "highlights", "id": "id"}
    splits = {
        split: [{theirs: row[ours] for theirs, ours in xsum.items()} for row in rows]
        for split, rows in splits.items()
    }
    write_dataset(root / "datasets" / XSUM, splits, ["default"])
    return root


@pytest.fixture(scope="module")
def module_hub(repositories):
    """The imitation, served."""
    hub = ImitationHub(repositories)
    yield hub
    hub.hang_up()


@pytest.fixture
def hub(module_hub):
    """The imitation without faults, nothing asked of it yet."""
    module_hub.faults, module_hub.requests = [], []
    return module_hub


def environment(hub, **more) -> dict[str, str]:
    """That of a user with a network in which the Hub is the imitation."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    variables |= {"HF_ENDPOINT": hub.url, "OMP_NUM_THREADS": "1"}
    return {name: value for name, value in (variables | more).items() if value is not None}


class Client:
    """A process with the real clients; `home` is its HF_HOME."""

    def __init__(self, home: Path, variables: dict[str, str]):
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("hub_client.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=variables,
        )

    def tell(self, what: str, name: str, **more) -> None:
        """Give a command, and do not wait."""
        print(json.dumps({"what": what, "name": name} | more), file=self.process.stdin, flush=True)

    def ask(self, what: str, name: str, **more) -> dict:
        """What comes of a command."""
        self.tell(what, name, **more)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def module_client(module_hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    client = Client(home, environment(module_hub, HF_HOME=str(home)))
    yield client
    client.close()


@pytest.fixture
def client(module_client):
    """The client with an empty cache."""
    for path in module_client.home.iterdir():
        shutil.rmtree(path)
    return module_client


@contextlib.contextmanager
def gone(hub):
    """The network is gone within the block: nobody listens at the Hub's port."""
    hub.hang_up()
    try:
        yield
    finally:
        hub.listen()


def loads(client, what: str, name: str, **more) -> dict:
    """What was loaded; asserts that it was, and that process and children are still online."""
    answer = client.ask(what, name, **more)
    assert "error" not in answer, answer
    assert not answer["offline"]
    if what == "data":
        assert answer["rows"] == ROWS
    return answer


def refuses(client, what: str, name: str, **more) -> str:
    """The error's line, which names the ways out."""
    answer = client.ask(what, name, **more)
    assert "error" in answer, answer
    assert "\n" not in answer["error"] and "demo" in answer["error"]
    assert not answer["offline"]
    return answer["error"]


# ---------------------------------------------------------------- states of the cache


def test_from_an_empty_cache_everything_is_downloaded_and_then_works_without_a_network(
    hub, client, tmp_path
):
    words = loads(client, "tokenizer", GPT2, folder=str(tmp_path / "online"))
    assert not any("safetensors" in request for request in hub.requests)
    model = loads(client, "weights", GPT2)
    assert "model.safetensors: " in model["stderr"]  # its progress, in lines
    assert "\r" not in model["stderr"]
    data = loads(client, "data", CNN)
    assert "train split" in data["stderr"]
    repositories = hub.root / "models/openai-community/gpt2", hub.root / "datasets" / CNN
    assert [model["commit"], data["commit"]] == [commit_of(folder) for folder in repositories]
    assert not any("tflite" in request for request in hub.requests)

    hub.requests = []
    assert loads(client, "weights", GPT2)["stderr"] == ""  # from the warm cache: quiet
    assert loads(client, "data", CNN)["stderr"] == ""
    assert not any("/storage/" in request for request in hub.requests)

    with gone(hub):
        again = loads(client, "weights", GPT2)
        assert again["seconds"] < 10 and "cannot be reached" in again["stderr"]
        same = ("first", "sha256", "commit")
        assert [again[name] for name in same] == [model[name] for name in same]
        offline = loads(client, "tokenizer", GPT2, folder=str(tmp_path / "offline"))
        assert offline["sha256"] == words["sha256"]
        again = loads(client, "data", CNN)
        assert again["seconds"] < 10 and again["sha256"] == data["sha256"]
        shutil.rmtree(client.home / "hub" / "datasets--abisee--cnn_dailymail")
        again = loads(client, "data", CNN)  # from what `datasets` prepared
        assert [again["sha256"], again["commit"]] == [data["sha256"], data["commit"]]
    files = sorted(path.name for path in (tmp_path / "online").iterdir())
    for name in files:
        online, offline = tmp_path / "online" / name, tmp_path / "offline" / name
        assert online.read_bytes() == offline.read_bytes(), name
        assert str(client.home) not in online.read_text(encoding="utf-8")


def test_a_set_with_columns_of_its_own_is_read_by_its_short_name(hub, client):
    answer = loads(client, "data", "xsum")
    assert (answer["source"], answer["commit"]) == (XSUM, commit_of(hub.root / "datasets" / XSUM))
    with gone(hub):
        again = loads(client, "data", XSUM)
    assert all(again[what] == answer[what] for what in ("source", "commit", "sha256", "rows"))


def test_data_without_weights_and_weights_without_data_are_completed(hub, client):
    loads(client, "data", CNN)
    loads(client, "weights", GPT2)
    shutil.rmtree(client.home / "datasets")
    shutil.rmtree(client.home / "hub" / "datasets--abisee--cnn_dailymail")
    loads(client, "data", CNN)


def test_without_a_network_an_empty_cache_is_one_line_within_ten_seconds(hub, client):
    with gone(hub):
        for what, name in (("weights", GPT2), ("tokenizer", GPT2), ("check", CNN), ("data", CNN)):
            line = refuses(client, what, name)
            assert "cannot be reached" in line and "local path" in line
            assert f"HF_ENDPOINT ({hub.url})" in line  # which may be what is wrong
    loads(client, "tokenizer", GPT2)
    with gone(hub):
        assert "it lacks model.safetensors" in refuses(client, "weights", GPT2)


def test_a_download_of_weights_that_was_cut_goes_on(hub, client):
    hub.faults = [Fault(WEIGHTS, cut=20_000)]
    line = refuses(client, "weights", GPT2)
    assert "the download is incomplete" in line and "arrived whole are kept" in line
    with gone(hub):
        assert "it lacks model.safetensors" in refuses(client, "weights", GPT2)
    hub.faults = []
    loads(client, "weights", GPT2)


def test_a_tokenizer_of_which_settings_are_missing_is_not_read_without_a_network(hub, client):
    hub.faults = [Fault(r"/resolve/.*tokenizer_config", status=404)]
    refuses(client, "tokenizer", GPT2)
    with gone(hub):
        assert "it lacks tokenizer.json" in refuses(client, "tokenizer", GPT2)
    hub.faults = []
    loads(client, "tokenizer", GPT2)


@pytest.mark.parametrize("what", [SHARD, r"GET /api/resolve-cache/.*README"])
def test_a_download_of_data_that_was_cut_goes_on(hub, client, what):
    hub.faults = [Fault(what, cut=100)]
    refuses(client, "data", CNN)
    with gone(hub):
        assert "download in the local cache is incomplete" in refuses(client, "data", CNN)
    hub.faults, hub.requests = [], []
    loads(client, "data", CNN)
    if what == SHARD:
        assert not any(
            "GET" in request and "3.0.0/train-00000" in request for request in hub.requests
        )


def test_data_put_there_by_the_download_command_is_used(hub, client):
    client.ask("hf download", CNN)
    with gone(hub):
        offline = loads(client, "data", CNN)
    hub.requests = []
    online = loads(client, "data", CNN)
    assert not any("/storage/" in request for request in hub.requests)
    same = ("rows", "sha256", "commit")
    assert [offline[name] for name in same] == [online[name] for name in same]


@pytest.mark.parametrize("file", ["3.0.0/train-00001-of-00003.parquet", "README.md"])
def test_data_of_which_a_file_is_missing_is_not_read_without_a_network(hub, client, file):
    folder = client.ask("hf download", CNN)["folder"]
    (Path(folder) / file).unlink()
    with gone(hub):
        assert "download in the local cache is incomplete" in refuses(client, "data", CNN)
    loads(client, "data", CNN)


def test_a_changed_repository_is_noticed(hub, client):
    before, data = loads(client, "tokenizer", GPT2), loads(client, "data", CNN)
    card = hub.root / "models/openai-community/gpt2/README.md"
    config = card.with_name("config.json")
    saved = card.read_bytes(), config.read_bytes()
    try:
        card.write_bytes(saved[0] + b"More words.\n")
        reworded = loads(client, "tokenizer", GPT2)
        assert reworded["commit"] != before["commit"] and reworded["sha256"] == before["sha256"]
        config.write_bytes(saved[1].replace(b"gelu_new", b"relu"))
        assert loads(client, "tokenizer", GPT2)["sha256"] != before["sha256"]
    finally:
        card.write_bytes(saved[0])
        config.write_bytes(saved[1])
    assert loads(client, "data", "cnn_dailymail")["source"] == data["source"] == CNN


# ---------------------------------------------------------------- answers that are not the file


@pytest.mark.parametrize("fault", [
    Fault(r"/api/models", status=429, times=1, headers=AT_ONCE),
    Fault(r"/api/models", status=503, times=1, headers=AT_ONCE),
    Fault(r"/resolve/.*config", status=500, times=1, headers=AT_ONCE),
    Fault(r"/api/models/openai", delay=5),
    Fault(r"/api/models", cut=0, times=1),
    Fault(r"/api/models/openai", cut=50, times=1),
], ids=["429", "503", "500", "slow", "dropped", "cut"])  # fmt: skip
def test_a_hub_that_is_busy_or_slow_is_waited_for(hub, client, fault):
    hub.faults = [fault]
    loads(client, "tokenizer", GPT2)


CAUSES = {
    "no-name": ("gpt2x", None, {}, "has no model of this name", "check the name"),
    "login": (GPT2, None, {"HF_TOKEN": "wrong"}, "refuses your login", "correct or remove "
    "HF_TOKEN"),
    "forbidden": (GPT2, Fault("/api/models", status=403), {}, "forbids it", "log in"),
    "not-there": (GPT2, Fault("/api/models", status=404), {}, "no model of this name", "check"),
    "limit": (
        GPT2, Fault("/api/models", status=429, headers=AT_ONCE), {}, "HTTP 429", "try again later"
    ),
    "failing": (
        GPT2, Fault("/resolve/", status=503, headers=AT_ONCE), {}, "HTTP 503", "try again later"
    ),
    "proxy": (
        GPT2, Fault("", status=403, headers=(("Content-Type", "text/html"),)), {},
        "something else answers", "the proxy",
    ),
    "portal": (GPT2, Fault("", portal=True), {}, "something else answers", "wants a login"),
}  # fmt: skip


def test_a_certificate_that_is_not_trusted_is_not_called_a_network_that_is_gone():
    verify = ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    error = ConnectionError(str(verify))
    error.__cause__ = verify
    explained = explain(error, "model", asking=True)
    assert "certificate" in explained.cause and "SSL_CERT_FILE" in explained.advice


XML = (("Content-Type", "application/xml"),)  # as storage refuses a link that has run out
REFUSED_FILES = {
    "weights-403": ("weights", GPT2, Fault(WEIGHTS, status=403, headers=XML), "localhost refuses"),
    "small-404": ("tokenizer", GPT2, Fault("/resolve/.*merges", status=404), "127.0.0.1 refuses"),
    "data-404": ("data", CNN, Fault(SHARD, status=404), "localhost refuses"),
    "weights-portal": ("weights", GPT2, Fault(WEIGHTS, portal=True), "in place of a file"),
    "data-portal": ("data", CNN, Fault(SHARD, portal=True), "in place of a file"),
}


@pytest.mark.parametrize("kind", REFUSED_FILES)
def test_a_file_that_is_refused_is_not_blamed_on_name_or_login(hub, client, kind):
    what, name, fault, cause = REFUSED_FILES[kind]
    hub.faults = [fault]
    line = refuses(client, what, name)
    assert cause in line and "proxy" in line
    assert "this name" not in line and "log in" not in line
    hub.faults = []
    loads(client, what, name)


@pytest.mark.parametrize("kind", CAUSES)
def test_the_cause_is_named_with_the_advice_that_helps(hub, client, kind):
    name, fault, variables, cause, advice = CAUSES[kind]
    hub.faults = [fault] if fault else []
    line = refuses(client, "tokenizer", name, environment=variables)
    assert cause in line and advice in line
    assert kind in ("failing", "limit") or "later" not in line


def test_what_the_hub_refuses_is_read_from_a_whole_cache_with_a_word(hub, client):
    loads(client, "tokenizer", GPT2)
    hub.faults = [Fault("", portal=True)]
    assert "something else answers" in loads(client, "tokenizer", GPT2)["stderr"]


@pytest.mark.parametrize(("script", "words"), [
    ("extract_summarization_circuit", "--pairs none.jsonl"),
    ("evaluate_faithfulness", "--circuit none.json"),
    ("differential_analysis", "--finetuned_model_path ./none"),
])  # fmt: skip
def test_what_is_missing_here_is_said_before_anything_is_downloaded(script, words, monkeypatch):
    monkeypatch.setattr("runs.hub.ask", lambda name, kind: pytest.fail("asked the Hub"))
    with pytest.raises(InputError, match="none"):
        importlib.import_module(script).main(words.split())


# ---------------------------------------------------------------- processes of their own


@pytest.fixture
def start(hub, tmp_path):
    """A function that starts a client with an HF_HOME of this test; all end with it."""
    clients = []

    def client(**variables) -> Client:
        clients.append(Client(tmp_path, environment(hub, **{"HF_HOME": str(tmp_path)} | variables)))
        return clients[-1]

    yield client
    for member in clients:
        member.close()


@pytest.mark.slow
@pytest.mark.parametrize(("what", "name", "request_", "rate"), [
    ("weights", GPT2, WEIGHTS, 20_000), ("data", CNN, SHARD, 100),
    ("data", CNN, r"GET /storage/.*test-", 100),
    ("tokenizer", GPT2, r"GET .*tokenizer.json", 2_000),
])  # fmt: skip
def test_what_was_killed_while_it_downloaded_goes_on(hub, start, what, name, request_, rate):
    hub.faults = [Fault(request_, rate=rate)]
    victim = start()
    victim.tell(what, name)
    deadline = time.time() + 120
    while not hub.faults[0].met:
        assert time.time() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # some of it has arrived
    victim.process.kill()
    hub.faults = []
    loads(start(), what, name)


@pytest.mark.slow
@pytest.mark.parametrize("variables", [
    {"HF_HOME": "~/elsewhere"}, {"HF_HOME": None, "XDG_CACHE_HOME": "{tmp}/xdg"},
    {"HF_HUB_CACHE": "{tmp}/models", "HF_DATASETS_CACHE": "{tmp}/data"},
], ids=["HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE"])  # fmt: skip
def test_the_cache_lies_where_the_clients_look_for_it(hub, start, tmp_path, variables):
    places = dict(variables)
    for name, value in variables.items():
        if value is not None:
            places[name] = value.replace("{tmp}", str(tmp_path))
    places["HOME"] = str(tmp_path / "user")
    online = start(**places)
    commits = [loads(online, "tokenizer", GPT2)["commit"], loads(online, "data", CNN)["commit"]]
    asked_for = start(**places, HF_HUB_OFFLINE="1")
    hub.requests = []
    answers = [asked_for.ask("tokenizer", GPT2), asked_for.ask("data", CNN)]
    assert [answer["commit"] for answer in answers] == commits
    assert [answer["stderr"] for answer in answers] == ["", ""] and hub.requests == []
    assert "offline mode is on" in asked_for.ask("weights", GPT2)["error"]


# ---------------------------------------------------------------- the study

SEVEN = """
python create_causal_summarization_data.py
python run_finetuning_with_checkpoints.py
python extract_summarization_circuit.py --model_path "gpt2" --output "C_before_summarization.json"
python extract_summarization_circuit.py --model_path "model_outputs/gpt2_20k_finetuned" \
 --output "C_after_summarization.json"
python differential_analysis.py --finetuned_model_path "model_outputs/gpt2_20k_finetuned"
python analyze_circuit_evolution.py
python run_peft_bakeoff.py
"""
OTHERS = """
python evaluate_faithfulness.py
python evaluate_robustness.py
python test_set_evaluation.py
python make_report.py
"""
*STAGES, BAKEOFF = SEVEN.strip().splitlines()
*JUDGES, REPORT = OTHERS.strip().splitlines()
COMMANDS = [*STAGES, BAKEOFF, *JUDGES, REPORT]


class Study:
    """A folder in which the study's commands are typed as they stand; the imitation is the Hub."""

    def __init__(self, folder: Path, variables: dict[str, str]):
        self.folder, self.variables = folder, variables
        folder.mkdir()
        for script in ROOT.glob("*.py"):
            (folder / script.name).symlink_to(script)

    def run(self, command: str):
        """The finished process of a command; asserts that it ended well."""
        words = [sys.executable, *shlex.split(command)[1:]]
        done = subprocess.run(
            words, cwd=self.folder, env=self.variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
        assert "offline" not in done.stderr
        return done

    def run_two_at_a_time(self, commands: list[str]) -> list:
        """The finished processes of commands that do not wait for each other."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(self.run, commands))

    def json(self, path: str) -> dict:
        return json.loads((self.folder / path).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_studys_commands_from_an_empty_cache_from_a_warm_one_and_without_a_network(
    hub, tmp_path
):
    variables = environment(hub, HF_HOME=str(tmp_path / "home"), TQDM_POSITION=None)
    study = Study(tmp_path / "study", variables)
    for command in STAGES:
        study.run(command)
    study.run_two_at_a_time([BAKEOFF, *JUDGES])
    study.run(REPORT)
    model = commit_of(hub.root / "models/openai-community/gpt2")
    assert study.json("C_before_summarization.json")["metadata"]["weights_commit"] == model
    assert "weights_commit" not in study.json("C_after_summarization.json")["metadata"]
    trained = study.json(
        "model_outputs/gpt2_20k_finetuned/run.run_finetuning_with_checkpoints.json"
    )
    assert trained["inputs"]["model"]["commit"] == model
    assert trained["inputs"]["dataset"]["commit"] == commit_of(hub.root / "datasets" / CNN)
    assert (study.folder / "outputs" / "report.html").is_file()

    hub.requests = []
    for done in study.run_two_at_a_time(COMMANDS):
        assert "up to date" in done.stdout
    assert not any("/storage/" in request for request in hub.requests)

    with gone(hub):
        for done in study.run_two_at_a_time(COMMANDS):
            assert "up to date" in done.stdout
        elsewhere = Study(tmp_path / "elsewhere", variables)
        assert "cannot be reached" in elsewhere.run(COMMANDS[0]).stderr
        assert "cannot be reached" in elsewhere.run(COMMANDS[2]).stderr
    pairs = "data/pairs.jsonl"
    assert (study.folder / pairs).read_bytes() == (elsewhere.folder / pairs).read_bytes()
