"""Text is opaque, contents count and not names, and the outside world fails: in every script.

The scripts run one after the other on articles, ids and names that hold what breaks others, once
with enough disk and once without.
"""

import contextlib
import csv
import errno
import importlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eap import InputError, dataset
from eap.circuit import load_circuit
from eap.examples import Examples, by_ids, unseen
from runs import console, disk, errors, records
from runs.records import ROOT
from summarization import corpus, examples, prompt, words

STUDY = "st$dy_$x^{2}"  # between two dollar signs matplotlib would read mathematics
MODEL = "mod$l_$y & <b>"
# What ends a line for str.splitlines, is white space, turns the direction of writing, or ends a
# text.
SEPARATORS = "\u2028 \u2029 \x85 \x1c \x0b \x0c \u200f"
TOWNS = ("Ovelin", "Marsk", "Tibury", "Quell", "Harno", "Desmar", "Lunt", "Varo")
FLAGS = ["--quiet", "--batch_size", "4"]


def row(number: int, first: int = 0) -> dict:
    town, n = TOWNS[number % len(TOWNS)], first + number
    return {
        "article": f"The council of {town} closed {n} wells{SEPARATORS}for $5 and $6. It rained a "
        "lot "
        f"in {town} on day {n}. The <|endoftext|> of C:\\new was said, \ufeffand people left "
        "early. "
        "A baker sold warm rolls outside the hall until noon.",
        "highlights": f"Council of {town} closed {n} wells\u2028for $5 and $6 <|endoftext|>.",
    }


def write_csv(path: Path, table: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8-sig", newline="") as file:  # with a byte order mark
        out = csv.DictWriter(file, ["", *table[0]])  # the first column is a table's nameless index
        out.writeheader()
        out.writerows({"": number} | line for number, line in enumerate(table))


def write_jsonl(path: Path, table: list[dict]) -> str:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in table), "utf-8")
    return str(path)


def commands(model: str) -> list[tuple[str, list[str]]]:
    """(script, its words) of the chain, each reading what those before it wrote."""
    data = ["--dataset", "data"]
    circuit = ["--resamples", "20", "--fraction", "0.5"]
    circuit_file = "circuits/C_$tep0.json"
    return [
        (
            "create_causal_summarization_data",
            ["--dataset", "nulls.jsonl", "--model_path", model, "--output", "p$irs_$.jsonl"],
        ),
        (
            "run_finetuning_with_checkpoints",
            [*data, "--model_path", model, "--output_dir", "r$n_$", "--max_steps", "2"]
            + ["--checkpoint_steps", "0,2", "--validation_size", "8", "--probe_examples", "2"],
        ),
        (
            "extract_summarization_circuit",
            ["--model_path", model, "--pairs", "p$irs_$.jsonl", "--output", circuit_file, *circuit],
        ),
        (
            "extract_summarization_circuit",
            ["--model_path", "r$n_$", "--pairs", "p$irs_$.jsonl", "--all_checkpoints"]
            + ["--output_dir", "outputs/$teps_$", *circuit],
        ),
        (
            "analyze_circuit_evolution",
            ["--circuits", "outputs/$teps_$", "--training", "r$n_$", "--resamples", "20"]
            + ["--pairs", "p$irs_$_eval.jsonl", "--n_random", "1"],
        ),
        (
            "differential_analysis",
            ["--base_model_path", model, "--finetuned_model_path", "r$n_$", "--split", "test"]
            + [*data, "--max_examples", "4"],
        ),
        (
            "evaluate_faithfulness",
            ["--circuit", circuit_file, "--model_path", model, "--pairs", "p$irs_$_eval.jsonl"]
            + ["--fractions", ".5,1", "--n_random", "1", "--random_fractions", ".5"]
            + ["--cross_fractions", ".5,1"],
        ),
        (
            "evaluate_robustness",
            ["--circuits", circuit_file, "--model_path", model, "--pairs", "p$irs_$.jsonl"]
            + ["--levels", ".5", "--variants", "mask"],
        ),
        (
            "test_set_evaluation",
            ["--model_paths", model, "r$n_$", *data, "--max_new_tokens", "4"],
        ),
        (
            "run_peft_bakeoff",
            ["--model_path", model, *data, "--arms", "none", "all", "--seeds", "1"]
            + ["--max_steps", "1", "--max_new_tokens", "4", "--validation_size", "2"]
            + ["--lr_sweep", "none"],
        ),
        ("make_report", ["--output_dir", "outputs"]),
    ]


def run(name: str, argv: list[str]) -> None:
    importlib.import_module(name).main(argv + (FLAGS if name != "make_report" else ["--quiet"]))


@pytest.fixture(scope="module")
def study(tmp_path_factory, tiny_model_dir) -> Path:
    """A folder in which all scripts have run on hostile text, ids and names."""
    folder = tmp_path_factory.mktemp("opaque") / STUDY
    folder.mkdir()
    shutil.copytree(tiny_model_dir, folder / MODEL)
    for split, first, n in (("train", 0, 20), ("validation", 100, 8), ("test", 200, 8)):
        write_csv(folder / "data" / f"{split}.csv", [row(i, first) for i in range(n)])
    table = [{"id": None if i % 2 else "same", **row(i, 300)} for i in range(16)]
    write_jsonl(folder / "nulls.jsonl", table)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(sys.modules, "matplotlib.pyplot", None)  # it looks for a display: none may
        for name, argv in commands(MODEL):
            run(name, argv)
    return folder


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------- right values on hostile text


def test_every_script_wrote_its_numbers_and_every_figure(study):
    stages = study / "outputs"
    for name in (
        "create_causal_summarization_data/salience.png",
        "../circuits/C_$tep0.edges.png",
        "../circuits/C_$tep0.heatmap.png",
        "$teps_$/C_step2.json",
        "analyze_circuit_evolution/evolution.change.png",
        "analyze_circuit_evolution/evolution.faithfulness.png",
        "differential_analysis/differential.similarity.png",
        "evaluate_faithfulness/faithfulness.png",
        "evaluate_robustness/robustness.matrix.png",
        "test_set_evaluation/rouge.png",
        "run_peft_bakeoff/bakeoff.png",
        "report.html",
    ):
        assert (stages / name).is_file(), name
    assert (study / "r$n_$" / "training.png").is_file()


def test_texts_come_out_as_they_went_in(study):
    expected = [row(i, 200)["highlights"] for i in range(8)]
    for label in (MODEL, "r$n_$"):
        path = study / f"outputs/test_set_evaluation/generated.{label}.jsonl"
        references = [line["reference"] for line in disk.read_jsonl(path)]
        assert sorted(references) == sorted(expected)  # rows of a file come in shuffled order
    arms = (study / "outputs/run_peft_bakeoff").rglob("texts.jsonl")
    assert [len(disk.read_jsonl(path)) for path in arms] == [8, 8]
    pairs = disk.read_jsonl(study / "p$irs_$.jsonl")
    articles = {row(i, 300)["article"] for i in range(16)}
    assert {pair["article"] for pair in pairs} <= articles


def test_the_oracle_of_a_quoted_article_is_not_zero(study):
    """The highlights stand in the first sentence, but for a few words of it: ROUGE-1 by hand of
    `rouge_score`'s words.
    """
    systems = read(study / "outputs/test_set_evaluation/rouge.json")["systems"]
    # first sentence: the council of T closed N wells for 5 and 6, 11 words; highlights: without
    # `the`, with `endoftext`: 11 words, 10 of them common
    assert systems["Lead-3"]["rouge1"]["mean"] < systems["oracle"]["rouge1"]["mean"]
    assert systems["oracle"]["rouge1"]["mean"] == pytest.approx(100 * 10 / 11)


def test_the_users_splits_are_used_though_row_numbers_restart(study):
    counts = read(study / "r$n_$" / "training.json")["examples"]
    assert (counts["train"]["kept"], counts["validation"]["kept"]) == (20, 8)
    bakeoff = read(study / "outputs/run_peft_bakeoff/bakeoff.json")
    assert (bakeoff["examples"]["train"]["kept"], bakeoff["n_texts"]) == (20, 8)
    assert read(study / "outputs/test_set_evaluation/rouge.json")["n"] == 8


def test_ids_that_are_null_or_repeat_do_no_harm(study):
    parts = [disk.read_jsonl(study / name) for name in ("p$irs_$.jsonl", "p$irs_$_eval.jsonl")]
    ids = [pair["id"] for part in parts for pair in part]
    assert len(set(ids)) == len(ids) == 16
    circuit = load_circuit(study / "circuits/C_$tep0.json")
    assert len(circuit.metadata["example_sha256"]["tokens"]) == len(parts[0]) == 8
    faithfulness = read(study / "outputs/evaluate_faithfulness/faithfulness.json")
    assert not any("which extraction saw" in text for text in faithfulness["left_out"])


def test_no_special_token_stands_in_an_article(study, tiny_tokenizer):
    end = tiny_tokenizer.eos_token_id
    for pair in dataset.read_pairs(study / "p$irs_$.jsonl"):
        assert pair.clean_ids.count(end) == 1 and pair.clean_ids[-1] == end
        assert "<|endoftext|>" in tiny_tokenizer.decode(pair.clean_ids[: pair.target_start])


# ---------------------------------------------------------------- the disk


@contextlib.contextmanager
def files_up_to(n_bytes: int):
    """A block in which the kernel refuses to make any file longer: a full disk without one, as
    writes see it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# A run record fits into 4 kB, what each script makes does not.
PLACES = {
    "create_causal_summarization_data": (4000, ["--output", "full/p.jsonl"]),
    "run_finetuning_with_checkpoints": (4000, ["--output_dir", "full/run"]),
    "extract_summarization_circuit": (4000, ["--output", "full/C.json"]),
    "analyze_circuit_evolution": (4000, []),
    "differential_analysis": (4000, []),
    "evaluate_faithfulness": (4000, []),
    "evaluate_robustness": (4000, []),
    "test_set_evaluation": (2500, []),
    "run_peft_bakeoff": (4000, []),
    "make_report": (4000, ["--output_dir", "outputs", "--overwrite"]),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_full_disk_is_one_line_that_names_the_place(study, name, monkeypatch, capsys):
    limit, flags = PLACES[name]
    monkeypatch.chdir(study)
    argv = [*dict(commands(MODEL))[name], *flags]
    if name == "extract_summarization_circuit":
        argv = [*next(words for script, words in commands(MODEL) if script == name), *flags]
    if "--output_dir" not in flags:
        argv += ["--output_dir", f"full/{name}"]
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *argv])
    before = {path: path.stat().st_mtime for path in study.rglob("*") if path.is_file()}
    with files_up_to(limit), pytest.raises(SystemExit) as stopped:
        console.run_script(lambda: run(name, argv))
    errors = [line for line in capsys.readouterr().err.split("\n") if "error" in line]
    assert stopped.value.code == 2
    assert len(errors) == 1 and "expected room to write" in errors[0], errors
    assert re.search(r"error: (full|outputs|circuits)/\S", errors[0]), errors
    assert not list(study.rglob(".writing-*"))
    lost = [path for path in before if not path.exists()]
    assert not lost


def test_scores_get_their_room_before_the_work(tmp_path):
    from eap.scores import ScoreWriter

    with files_up_to(1000), pytest.raises(OSError) as error:
        ScoreWriter(tmp_path / "x", n_examples=10, n_edges=100)
    assert error.value.errno == errno.EFBIG


def test_what_libraries_tell_of_in_words_is_a_full_disk_too(tmp_path):
    import torch
    from safetensors.torch import save_file

    for write in (
        lambda path: save_file({"x": torch.zeros(4000)}, path),
        lambda path: torch.save({"x": torch.zeros(4000)}, path),
        lambda path: path.write_bytes(b"x" * 9000),
    ):
        with (
            files_up_to(2000),
            pytest.raises(OSError) as error,
            disk.atomic(tmp_path / "y") as path,
        ):
            write(path)
        assert error.value.filename == str(tmp_path / "y")
        assert "expected room to write" in errors.in_one_line(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "expected room to write"),
        (OSError("no place"), "no place"),
        (OSError(errno.EIO, "Input/output error"), "input/output error, without a name"),
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b: expected a path"),
    ],
)
def test_an_oserror_is_one_line_with_or_without_a_name(error, words, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        console.run_script(main)
    errors = capsys.readouterr().err
    assert stopped.value.code == 2 and errors.count("\n") == 1 and words in errors


def test_an_error_of_ours_is_not_taken_for_the_disks():
    def main():
        try:
            raise FileNotFoundError(2, "No such file", "x")
        except FileNotFoundError:
            raise KeyError("a fault") from None

    with pytest.raises(KeyError):
        console.run_script(main)


def test_a_figure_that_cannot_be_drawn_takes_nothing_with_it(tmp_path, capsys):
    def broken():
        raise ValueError("no font\nat all")

    disk.save_figure(broken, tmp_path / "a.png")
    warnings = capsys.readouterr().err
    assert (
        warnings.count("\n") == 1
        and "a.png is left out" in warnings
        and "no font at all" in warnings
    )
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    import datasets

    (tmp_path / "file").write_text("x")
    path = write_jsonl(tmp_path / "a.jsonl", [row(1)])
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "cache")
    with pytest.raises(
        InputError, match="file/cache: expected room to write a copy of a.jsonl there"
    ):
        corpus.load(path, "train")


# ---------------------------------------------------------------- environment


def test_a_notebooks_backend_an_ascii_locale_and_names_of_any_script(tmp_path, tiny_model_dir):
    """In a process of its own, since all of it is decided when Python and matplotlib start."""
    articles = write_jsonl(tmp_path / "Новости_$a_$b.jsonl", [row(i) for i in range(4)])
    environment = os.environ | {
        "MPLBACKEND": "module://no_such_module.backend_inline",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    output = ["--output", "пары.jsonl", "--output_dir", str(tmp_path)]
    words = [sys.executable, str(ROOT / "create_causal_summarization_data.py"), *output]
    words += ["--dataset", articles, "--model_path", tiny_model_dir]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "salience.png").is_file()
    assert read(tmp_path / "salience.json")["dataset"] == "Новости_$a_$b.jsonl"


@pytest.mark.slow
def test_every_script_draws_without_display_backend_or_a_home_to_write_to(study, tmp_path):
    """Each in a process of its own, since matplotlib decides all of it when it is imported."""
    folder = tmp_path / STUDY
    shutil.copytree(study, folder)
    drawn = sorted(path for path in folder.rglob("*.png") if "bakeoff_runs" not in path.parts)
    for path in drawn:
        path.unlink()
    (tmp_path / "file").write_text("no folder")
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"} | {
        "MPLBACKEND": "module://no_such_module.backend_inline",
        "MPLCONFIGDIR": str(tmp_path / "file" / "matplotlib"),
        "XDG_CACHE_HOME": str(tmp_path / "file" / "cache"),
    }
    for name, argv in commands(MODEL):
        more = [] if name == "make_report" else [*FLAGS, "--overwrite"]
        words = [sys.executable, str(ROOT / f"{name}.py"), *argv, *more]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (name, done.stderr)
        assert "could not be drawn" not in done.stderr, (name, done.stderr)
    assert [path for path in drawn if not path.is_file()] == []


def test_figures_are_made_in_one_place():
    rooms = ("eap", "runs", "summarization", "study")
    for path in [
        *ROOT.glob("*.py"),
        *(file for room in rooms for file in (ROOT / room).rglob("*.py")),
    ]:
        text = path.read_text(encoding="utf-8")
        assert "pyplot" not in text.replace("no pyplot", ""), path
        assert ".splitlines" not in text, path


def test_names_in_figures_are_drawn_as_they_are_and_numbers_as_numbers(tmp_path):
    from eap import style

    name, shown = "a_$b_$c^ \\frac \udcff", "a_$b_$c^ \\frac \ufffd"
    figure, axis = style.subplots(figsize=(3, 2))
    axis.plot([1, 2], [1e-3, 1], label=name)
    axis.set(yscale="log", title=name)
    axis.set_xticks([1, 2], [shown, shown])
    axis.legend()
    figure.savefig(tmp_path / "a.png")
    labels = [axis.title, *axis.get_xticklabels(), *axis.get_legend().get_texts()]
    assert {(text.get_text(), text.get_parse_math()) for text in labels} == {(shown, False)}
    assert all(text.get_parse_math() for text in axis.get_yticklabels())


def test_a_name_that_is_not_utf_8_is_kept_or_refused_before_the_work(tmp_path, capsys):
    name = os.fsdecode(b"na\xffme")
    path = write_jsonl(tmp_path / f"{name}.jsonl", [row(1)])
    assert len(corpus.load(path, "train")) == 1
    disk.write_json(tmp_path / "a.json", {"path": path})
    assert disk.read_json(tmp_path / "a.json") == {"path": path}
    with pytest.raises(InputError, match="a name in UTF-8"):
        records.require_utf8([tmp_path / name / "C.json"])


# ---------------------------------------------------------------- rows of files

CSV = {
    "longer": ("article,highlights\na,b\nc,d,e\n", r"row 2 \(line 3\): expected 2 fields.*got 3"),
    "all longer": ("article,highlights\na,b,c\nd,e,f\n", r"row 1 \(line 2\).*got 3"),
    "shorter": ("article,highlights\na,b\nc\n", r"row 2 \(line 3\): expected 2 fields.*got 1"),
    "open": ('article,highlights\n"a,b\nc,d\n', "row 1 .*unexpected end of data"),
    "twice": ("article,article,highlights\na,b,c\n", "got article 2 times"),
    "empty": ("article,highlights\n", "no example"),
    "nothing": ("", "no example"),
}


@pytest.mark.parametrize("kind", CSV)
def test_rows_of_csv_that_do_not_fit_are_refused_by_number(tmp_path, kind):
    text, message = CSV[kind]
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        corpus.load(str(tmp_path / "a.csv"), "train")


TWICE = '{"article": "a", "highlights": "b", "article": "c"}'
PLAIN = '{"article": "a", "highlights": "b"}'
JSON = {
    "a.jsonl": (f"{PLAIN}\n{TWICE}\n", "line 2: 'article' is there twice"),
    "b.json": (f"[{PLAIN},\n {TWICE}]", "item 2: 'article' is there twice"),
    "c.jsonl": (f"[{PLAIN},\n {PLAIN}]", "one JSON object a line, got an array"),
    "d.jsonl": (f"[{PLAIN}]", "one JSON object a line, got an array"),
    "e.jsonl": (PLAIN.replace(",", ",\n"), "got an object over several lines"),
    "f.json": (PLAIN.replace(",", ",\n") * 2, "got an object over several lines"),
    "g.json": (f"[{PLAIN}\n {PLAIN}]", "item 2 is not JSON: Expecting ','"),
    "h.json": (f"[{PLAIN}, 5]", "item 2 is no JSON object"),
    "i.json": (f"[{PLAIN},", "item 2 is not JSON"),
    "j.json": (f"[{PLAIN}] {PLAIN}", "item 2 is not JSON: Extra data"),
    "k.jsonl": (f"{PLAIN}\n{{", "line 2 is not JSON"),
    "l.json": ("[]", "no example"),
    "m.jsonl": ('{"article": ' + "9" * 5000 + "}", "line 1 is not JSON: Exceeds the limit"),
    "n.jsonl": (f"{PLAIN}\n" + "[" * 10**5, "line 2 is not JSON: lists or objects in each other"),
}


@pytest.mark.parametrize("name", JSON)
def test_rows_of_json_that_are_not_what_they_seem_are_refused_by_number(tmp_path, name):
    text, message = JSON[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        corpus.load(str(tmp_path / name), "train")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_bytes_that_are_not_utf_8_are_refused_by_line(tmp_path, name):
    rows_ = {"a.csv": "article,highlights\na,b\n", "a.jsonl": '{"article":"a","highlights":"b"}\n'}
    (tmp_path / name).write_bytes(rows_[name].encode() + "café".encode("latin-1"))
    with pytest.raises(
        InputError, match=f"line {rows_[name].count(chr(10)) + 1}; save it again as"
    ):
        corpus.load(str(tmp_path / name), "train")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_hostile_texts_as_they_are(tmp_path, suffix):
    from datasets import Dataset

    table = [{"id": "007", "article": "NA", "highlights": "1e5"}]
    table += [{"id": f"0{i}", **row(i)} for i in range(3)]
    table.append({"id": "x", "article": 'q "r"\r\ns\n\nt', "highlights": "True\x00"})
    path = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        write_csv(path, table)
    elif suffix == ".jsonl":
        write_jsonl(path, table)
    elif suffix == ".json":
        path.write_text("\ufeff \n" + json.dumps(table), encoding="utf-8")
    else:
        Dataset.from_list(table).to_parquet(path)
    assert corpus.load(str(path), "train").to_list() == table


def test_ids_of_every_kind(tmp_path):
    ids = [None, "", float("nan"), 7, 2.5, "a", " "]
    table = [{"id": own, **row(number)} for number, own in enumerate(ids)]
    read_back = list(corpus.load(write_jsonl(tmp_path / "a.jsonl", table), "train")["id"])
    expected = ["row-000000", "row-000001", "row-000002", "7", "2.5", "a", "row-000006"]
    assert read_back == expected


def test_ids_that_a_table_says_nan_for_are_none(tmp_path):
    import pandas

    path = tmp_path / "nan.parquet"
    ids = [7.0, float("nan")]
    pandas.DataFrame([{"id": own, **row(n)} for n, own in enumerate(ids)]).to_parquet(path)
    read_back = list(corpus.load(str(path), "train")["id"])
    assert read_back[1] == "row-000001" and float(read_back[0]) == 7


def test_invisible_marks_make_no_other_article():
    alike = "Мэр ушёл. It rained.", "\ufeffМэр\u200b ушёл.  It rai\u00adned.\u200f"
    assert len({dataset.text_sha256(text) for text in alike}) == 1
    assert dataset.text_sha256(alike[0]) != dataset.text_sha256(alike[0][:-1])


def test_ids_that_are_lists_are_refused(tmp_path):
    import pandas

    path = tmp_path / "lists.parquet"
    pandas.DataFrame([{"id": [number], **row(number)} for number in range(2)]).to_parquet(path)
    with pytest.raises(InputError, match="expected ids that are text or numbers in column id"):
        corpus.load(str(path), "train")


def test_a_changed_file_is_read_anew(tmp_path):
    for number in (1, 2):
        path = write_jsonl(tmp_path / "a.jsonl", [row(number)])
        assert corpus.load(path, "train")[0]["article"] == row(number)["article"]


# ---------------------------------------------------------------- contents, not names


def folder_of(tmp_path, **splits) -> str:
    for name, table in splits.items():
        write_jsonl(tmp_path / f"{name}.jsonl", table)
    return str(tmp_path)


def articles_of(part) -> set[str]:
    return set(corpus.digests(part))


def test_an_article_of_a_judged_split_is_not_trained_on_whatever_its_id(tmp_path):
    train = [{"id": f"t{i}", **row(i)} for i in range(10)]
    again = {"id": "other", **row(3)}
    again["article"] = again["article"].replace(" ", "  ") + "\n"
    test = [again, *({"id": f"t{i}", **row(i, 100)} for i in range(4))]
    parts, notes = examples.load_parts(
        folder_of(tmp_path, train=train, test=test), 10, others={"test": 5}, seed=0
    )
    assert (len(parts["train"]), len(parts["test"])) == (9, 5)
    assert not articles_of(parts["train"]) & articles_of(parts["test"])
    assert len(notes) == 2 and "1 training rows are left out" in notes[0]


def test_splits_that_are_one_table_are_not_judged_on_what_was_trained(tmp_path):
    table = [row(i) for i in range(20)]
    where = folder_of(tmp_path, train=table, test=[{"id": f"z{i}", **row(i)} for i in range(20)])
    parts, notes = examples.load_parts(where, 15, others={"test": 5}, seed=0)
    assert (len(parts["train"]), len(parts["test"])) == (15, 5)
    assert not articles_of(parts["train"]) & articles_of(parts["test"])
    assert "has no test rows of its own" in notes[0]


def test_rows_held_out_of_repeated_articles_are_not_trained_on(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": f"n{i}", **row(i % 5)} for i in range(40)])
    parts, notes = examples.load_parts(path, 30, others={"test": 2}, seed=0)
    assert not articles_of(parts["train"]) & articles_of(parts["test"])
    assert any("training rows are left out" in note for note in notes)
    with pytest.raises(InputError, match="2 different articles"):
        examples.load_parts(
            write_jsonl(tmp_path / "b.jsonl", [row(1)] * 9), 5, others={"test": 2}, seed=0
        )


def test_rows_that_repeat_are_counted_and_said(tmp_path, capsys):
    path = write_jsonl(tmp_path / "twice.jsonl", [{"id": str(i), **row(i % 3)} for i in range(5)])
    corpus.load(path, "train")
    assert "twice.jsonl train: 2 of 5 rows repeat the article" in capsys.readouterr().err


def test_a_broken_split_is_no_absent_one(tmp_path):
    where = folder_of(tmp_path, train=[row(i) for i in range(9)])
    (tmp_path / "test.csv").write_text("article,highlights\na,b,c\n")
    with pytest.raises(InputError, match="row 1"):
        examples.load_parts(where, 5, others={"test": 2}, seed=0)


def test_two_files_of_one_split_are_refused(tmp_path):
    (tmp_path / "train.csv").write_text("article,highlights\na,b\n")
    (tmp_path / "train.jsonl").write_text(f"{PLAIN}\n")
    with pytest.raises(InputError, match="one file of each split, got train.csv and train.jsonl"):
        corpus.load(str(tmp_path), "train")


def test_the_header_of_a_second_file_is_no_article(tmp_path):
    part = "article,highlights\na,b\n"
    (tmp_path / "both.csv").write_text(part + part)
    with pytest.raises(InputError, match=r"row 2 \(line 3\).*the header again"):
        corpus.load(str(tmp_path / "both.csv"), "train")


def pair(own: str, *tokens: int, article: str | None = None) -> dataset.Pair:
    digest = dataset.text_sha256(article) if article else None
    return dataset.Pair(own, [*tokens, 9], [*tokens[:-1], 8, 9], len(tokens), source_sha256=digest)


def test_examples_that_extraction_saw_are_known_by_what_they_hold():
    seen = Examples.of([pair("a", 1, 2), pair("b", 3, 4, article="x  y")])
    given = [
        pair("new", 1, 2),  # the same tokens under another id
        pair("c", 3, 4, 5, article="x y"),  # the same article, cut elsewhere
        pair("a", 6, 7),  # another article under an old id
    ]
    assert [left.clean_ids for left in unseen(given, [seen], path="p")] == [[6, 7, 9]]
    assert by_ids([seen], "p") is None
    old = Examples(("a",))
    assert [left.id for left in unseen(given, [old], path="p")] == ["new", "c"]
    assert "judged by ids for 1, unknown for 1" in by_ids([seen, old, Examples()], "p")


def test_circuits_have_the_same_examples_by_what_these_hold():
    a, b = [pair("a", 1, 2)], [pair("a", 1, 3)]
    first, second = Examples.of(a), Examples.of(b)
    assert first.same(Examples.of(a)) and first.same(Examples.of([pair("other", 1, 2)]))
    assert not first.same(second)
    assert Examples(("a",)).same(second) and not Examples().same(second)


def test_ids_of_pairs_of_every_kind(tmp_path):
    line = {"clean_ids": [1, 2, 3], "corrupted_ids": [1, 4, 3], "summary_start": 2}
    ids = [{}, {"id": None}, {"id": 7}, {"id": "a"}, {"id": "a"}, {"id": "a#2"}, {"id": "\u2028"}]
    write_jsonl(tmp_path / "p.jsonl", [line | own for own in ids])
    pairs = dataset.read_pairs(tmp_path / "p.jsonl")
    assert [pair.id for pair in pairs] == ["row-1", "row-2", "7", "a", "a#2", "a#2#2", "row-7"]
    assert "6 of 7 pairs repeat" in dataset.repeated(pairs, "p")


# ---------------------------------------------------------------- tokenizers that change texts


@pytest.fixture(scope="module")
def normalising(tmp_path_factory, tiny_tokenizer):
    """A tokenizer that makes letters small, composes them, strips texts and puts one space for
    several.
    """
    from tokenizers import Regex, normalizers
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("normalising")
    tiny_tokenizer.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    return tokenizer


def test_tokenizers_that_normalise_give_aligned_pairs_that_extraction_accepts(
    tmp_path, normalising, tiny_tokenizer
):
    import create_causal_summarization_data as script
    from study.pairs import building

    table = [{"id": str(i), **row(i)} for i in range(4)]
    for entry in table:
        entry["article"] = entry["article"].replace("council", "ﬁne  COUNCIL cafe\u0301")
        entry["highlights"] += " ﬁne  CAFE\u0301 Ⅳ"
    settings = building.Settings.of(vars(script.parse(["--quiet"])))
    template = prompt.template(normalising)
    built = building.build(settings, normalising, rows=table, max_length=320, template=template)
    made = built.pairs
    assert len(made) == 4
    write_jsonl(tmp_path / "p.jsonl", made)
    pairs = dataset.read_pairs(tmp_path / "p.jsonl")
    for entry in pairs:
        spans = sorted(entry.segments)
        assert len(entry.clean_ids) == len(entry.corrupted_ids)
        assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))
    assert dataset.check_tokenizer(pairs, normalising, path="p") is None
    with pytest.raises(InputError, match="this model's tokenizer"):
        dataset.check_tokenizer(pairs, tiny_tokenizer, path="p")


def test_special_tokens_in_a_text_are_words_of_it(tiny_tokenizer):
    for text in ("a <|endoftext|> b", "<|endoftext|>", "x<|endoftext|>"):
        ids = prompt.encode(tiny_tokenizer, text)
        assert tiny_tokenizer.eos_token_id not in ids
        assert tiny_tokenizer.decode(ids) == text


def test_unknown_words_stay_where_they_are():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words_ = ["<|endoftext|>", "[UNK]", "The", "council", "closes", "."]
    raw = Tokenizer(models.WordLevel(dict(zip(words_, range(6), strict=True)), unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", eos_token="<|endoftext|>"
    )
    text = "The mayor closes kilns."
    assert prompt.encode(tokenizer, text) == tokenizer(text)["input_ids"] == [2, 1, 4, 1, 5]
    pair = dataset.Pair("a", [3, 2, 1, 4, 1, 5, 0], [4, 2, 1, 4, 1, 5, 0], 1, target_text=text)
    assert dataset.check_tokenizer([pair], tokenizer, path="p") is None


# ---------------------------------------------------------------- other scripts

# language: (article, number of its sentences, words of the first, the same without its last word)
SCRIPTS = {
    "Russian": ("Новая пекарня открылась. Мэр А. С. Попов рад. Шёл дождь.", 3, 3),
    "Greek": ("Ο δήμαρχος παραιτήθηκε χθες. Η γέφυρα έπεσε.", 2, 4),
    "Chinese": ("市长周一辞职。桥倒塌了！雨停了？", 3, 6),
    "Japanese": ("市長は辞任した。橋が落ちた。", 2, 7),
    "Arabic": ("استقال رئيس البلدية أمس. هل سقط الجسر؟ نعم، سقط.", 3, 4),
    "Persian": ("او می‌خواهد برود. پل افتاد.", 2, 3),
    "Urdu": ("میئر نے استعفیٰ دیا۔ پل گر گیا۔", 2, 4),
    "Thai": ("นายก ลาออก สะพาน", 3, 4),
    "Hindi": ("महापौर ने इस्तीफा दिया। पुल गिर गया।", 2, 4),
    "Korean": ("시장이 월요일에 사임했다. 다리가 무너졌다.", 2, 3),
    "Hebrew": ("ראש העיר התפטר. הגשר נפל.", 2, 3),
    "Georgian": ("მერი გადადგა. ხიდი ჩამოინგრა.", 2, 2),
    "Armenian": ("Քաղաքապետը հրաժարվեց։ Կամուրջը փլվեց։", 2, 2),
    "Amharic": ("ከንቲባው ስልጣን ለቀቁ። ድልድዩ ወደቀ።", 2, 3),
}


@pytest.mark.parametrize("language", SCRIPTS)
def test_rouge_knows_the_letters_of(language):
    from summarization import rouge

    article, n_sentences, n_words = SCRIPTS[language]
    sentences = rouge.split_sentences(article)
    assert len(sentences) == n_sentences
    assert words.kind_of(article) == words.ANY
    first = words.words(sentences[0], words.ANY)
    assert len(first) == n_words
    assert rouge.score(article, article)["rouge1"] == pytest.approx(100)
    whole = len(words.words(article, words.ANY))
    expected = 100 * 2 * n_words / (n_words + whole)  # F1 of a text against one that holds it
    assert rouge.score(sentences[0], article)["rouge1"] == pytest.approx(expected)
    assert rouge.score("2024", article)["rouge1"] == 0
    assert rouge.greedy_oracle(sentences, sentences[-1]) == [n_sentences - 1]
    assert rouge.copy_rate(sentences[0], article) == 1


def test_rouge_of_chinese_by_hand():
    """6 characters against 4, 4 in common: F1 = 2 x 4 / 10; pairs of neighbours: 5 against 3, 3 in
    common.
    """
    from summarization import rouge

    scores = rouge.score("市长周一辞职", "市长周一")
    assert scores["rouge1"] == pytest.approx(80) and scores["rouge2"] == pytest.approx(75)


def test_a_number_that_is_all_that_is_left_scores_no_100():
    from summarization import rouge

    assert rouge.score("Снег 2024", "Мэр ушёл в 2024")["rouge1"] == pytest.approx(100 * 2 / 6)


def test_english_words_are_rouge_scores_whatever_else_the_data_hold(articles):
    from rouge_score.tokenize import tokenize

    for article in articles:
        text = article["article"] + " Beyoncé’s naïve café Hawaiʻi — 3.5 % x²"
        assert words.kind_of(text) == words.LATIN
        assert words.words(text, words.LATIN, stem=False) == tokenize(text, None)
        plain = article["article"]
        assert words.words(plain, words.ANY) == words.words(plain, words.LATIN)
        assert words.words(plain + " 中国", words.LATIN) == [
            *words.words(plain, words.LATIN),
            *"中国",
        ]


@pytest.mark.parametrize(
    ("summary", "reference", "expected"),
    [  # F1 = 2 x common / (words of one + words of the other)
        ("мэр mayor", "mayor", 100 * 2 / 3),
        ("mayor", "мэр mayor", 100 * 2 / 3),
        ("The mayor quit in Москва", "The mayor quit in Москва", 100),
        ("The mayor quit in Москва", "The mayor quit in", 100 * 8 / 9),
        ("市长 mayor", "mayor", 100 * 2 / 4),
        ("ＭＡＹＯＲ mayor", "mayor", 100 * 2 / 3),
        ("mayor ٣", "mayor", 100 * 2 / 3),
        ("Мэр", "The mayor", 0),
        ("mayor", "Мэр ушёл", 0),
    ],
)
def test_words_of_every_script_of_both_sides_count(summary, reference, expected):
    from summarization import rouge

    assert rouge.score(summary, reference)["rouge1"] == pytest.approx(expected)


def test_an_invented_word_of_another_script_is_not_copied():
    from summarization import rouge

    article = "The mayor of the city quit. It rained."
    assert rouge.copy_rate("mayor of the city quit", article) == 1  # two runs of four words
    assert rouge.copy_rate("mayor of the city мэр", article) == 1 / 2


def test_words_of_other_scripts_in_summaries_are_named():
    described = words.describe(["The mayor quit.", "It rained."], ["мэр mayor", "It rained."])
    assert described["by_tokenizer"] == {words.MIXED: 1, words.LATIN: 1}
    assert "1 of 2 references in Latin letters, or texts compared" in words.sentences(described)[0]
    described = words.describe(["The mayor quit."], ["né à l'été"])
    assert "letters of texts compared with them have accents" in words.sentences(described)[0]


def test_the_tokenizers_are_named_and_what_they_miss_is_said():
    described = words.describe(
        ["The mayor quit.", "Мэр ушёл.", "Мэр ушёл снова.", "🎉", "né à l'été"]
    )
    assert described["by_tokenizer"] == {words.LATIN: 3, words.ANY: 2}
    assert described["without_words"] == 1
    sentences = words.sentences(described)
    assert "2 of 5 references in other scripts" in sentences[0] and "have accents" in sentences[1]
    assert "1 of 5 references hold no word" in sentences[2]
    assert words.sentences(words.describe(["The mayor quit."])) == []


@pytest.mark.parametrize("name", ["create_causal_summarization_data", "test_set_evaluation"])
def test_scripts_name_the_words_of_other_scripts(name, tmp_path, tiny_model_dir, capsys):
    article = "Новая пекарня открылась в городе. Мэр сказал, что рад этому. Шёл дождь {}."
    table = [
        {"article": article.format(word), "highlights": "Новая пекарня открылась в городе."}
        for word in ("вчера", "утром", "долго")
    ]
    path = write_jsonl(tmp_path / "a.jsonl", table)
    argv = ["--dataset", path, "--output_dir", str(tmp_path)]
    if name == "test_set_evaluation":
        argv += ["--model_paths", tiny_model_dir, "--max_new_tokens", "4"]
    else:
        argv += ["--model_path", tiny_model_dir, "--output", str(tmp_path / "p.jsonl")]
        argv += ["--corruption", "mask"]
    importlib.import_module(name).main(argv)
    printed = " ".join(capsys.readouterr().out.split())  # lines break anywhere
    assert "3 of 3 references in other scripts than Latin" in printed
    if name == "test_set_evaluation":
        systems = read(tmp_path / "rouge.json")["systems"]
        assert systems["oracle"]["rouge1"]["mean"] == pytest.approx(100)
        assert systems["oracle"]["copied_percent"]["mean"] == 100
        assert systems["reference"]["words"]["mean"] == 5
    else:
        made = dataset.read_pairs(tmp_path / "p.jsonl")
        assert all(pair.corrupted_spans == (pair.segments[0],) for pair in made)
