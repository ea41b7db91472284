"""Articles from every kind of source, and what is said about those that are none."""

import json

import pytest
from datasets import Dataset, DatasetDict

from eap import InputError
from summarization import corpus

ROWS = [
    {"id": f"r{i}", "article": f'Article {i}, "quoted".\nNA', "highlights": f"Line {i}\nNA"}
    for i in range(10)
]


def write(path, rows):
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows),
        encoding="utf-8",
    )
    return str(path)


def test_every_format_gives_the_same_rows(tmp_path):
    table = Dataset.from_list(ROWS)
    write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "a.json").write_text(json.dumps(ROWS), encoding="utf-8")
    table.to_csv(tmp_path / "a.csv")
    table.to_parquet(tmp_path / "a.parquet")
    table.save_to_disk(tmp_path / "saved")
    for name in ("a.jsonl", "a.json", "a.csv", "a.parquet", "saved"):
        assert corpus.load(str(tmp_path / name), "test").to_list() == ROWS, name


def test_splits_of_a_folder(tmp_path):
    DatasetDict(train=Dataset.from_list(ROWS[:7]), test=Dataset.from_list(ROWS[7:])).save_to_disk(
        tmp_path / "saved"
    )
    assert corpus.load(str(tmp_path / "saved"), "test").to_list() == ROWS[7:]
    with pytest.raises(InputError, match="'validation', found train, test"):
        corpus.load(str(tmp_path / "saved"), "validation")
    (tmp_path / "files").mkdir()
    write(tmp_path / "files" / "train.jsonl", ROWS[:2])
    assert corpus.load(str(tmp_path / "files"), "train").to_list() == ROWS[:2]


def test_a_file_without_splits_is_used_whole_and_says_so(tmp_path, capsys):
    path = write(tmp_path / "whole.jsonl", ROWS)
    assert (
        len(corpus.load(path, "train")) == 10 and capsys.readouterr().err == ""
    )  # as is expected of one file to train on
    assert len(corpus.load(path, "test")) == 10
    assert "whole.jsonl has no splits" in capsys.readouterr().err


def test_max_examples_is_the_start_of_one_seeded_shuffle(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    ids = {
        (n, seed): list(corpus.load(path, "test", max_examples=n, seed=seed)["id"])
        for n in (3, 6, 99)
        for seed in (0, 1)
    }
    assert ids[6, 0][:3] == ids[3, 0]
    assert ids[99, 0] != ids[99, 1]
    assert sorted(ids[99, 0]) == sorted(row["id"] for row in ROWS)


def test_other_column_names_and_missing_ids(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"document": "a b", "summary": "c", "extra": 1}] * 2)
    expected = [{"id": f"row-00000{i}", "article": "a b", "highlights": "c"} for i in range(2)]
    assert corpus.load(path, "test").to_list() == expected
    assert corpus.load(write(tmp_path / "n.jsonl", [{**ROWS[0], "id": 7}]), "test")[0]["id"] == "7"


# Column names as these sets have them on the Hub, beside what else stands in a row.
SETS = {
    "cnn": {"article": "a b", "highlights": "c", "id": "r"},
    "xsum": {"document": "a b", "summary": "c", "id": "r"},
    "multi-news": {"document": "a ||||| b", "summary": "c"},
    "newsroom": {"url": "u", "title": "t", "text": "a b", "summary": "c", "compression": 3.5},
    "samsum": {"id": "r", "dialogue": "A: a\r\nB: b", "summary": "c"},
    "dialogsum": {"id": "r", "dialogue": "#A#: a", "summary": "c", "topic": "t"},
    "govreport": {"id": "r", "report": "a b", "summary": "c"},
    "arxiv": {"article": "a b", "abstract": "c"},
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "saved"])
def test_the_usual_sets_are_read_by_their_own_names(tmp_path, name, kind):
    row, table = SETS[name], Dataset.from_list([SETS[name]] * 2)
    path = tmp_path / f"rows.{kind}"
    {"jsonl": table.to_json, "csv": table.to_csv, "parquet": table.to_parquet}.get(
        kind, table.save_to_disk
    )(path)
    article = next(
        row[key] for key in ("article", "document", "text", "dialogue", "report") if key in row
    )
    read = corpus.load(str(path), "train").to_list()
    assert [set(entry) for entry in read] == [{"id", "article", "highlights"}] * 2
    assert {entry["article"] for entry in read} == {article}  # separators of documents stay
    assert {entry["highlights"] for entry in read} == {"c"}


def test_other_columns_are_named_by_flags(tmp_path):
    columns = corpus.Columns("body", "gist")
    table = Dataset.from_list([{"body": "a b", "text": "no", "summary": "no", "gist": "c"}] * 2)
    table.to_json(tmp_path / "a.jsonl")
    table.to_csv(tmp_path / "a.csv")
    table.to_parquet(tmp_path / "a.parquet")
    table.save_to_disk(tmp_path / "saved")
    (tmp_path / "splits").mkdir()
    table.to_csv(tmp_path / "splits" / "train.csv")
    for name in ("a.jsonl", "a.csv", "a.parquet", "saved", "splits"):
        path = str(tmp_path / name)
        read = corpus.load(path, "train", columns=columns).to_list()
        assert {(row["article"], row["highlights"]) for row in read} == {("a b", "c")}, name
        assert {row["article"] for row in corpus.load(path, "train")} == {"no"}, name
        renamed = corpus.load(path, "train", columns=corpus.Columns(summary="gist")).to_list()
        assert {(row["article"], row["highlights"]) for row in renamed} == {("no", "c")}, name
        with pytest.raises(InputError, match="expected a column nothing, found body, .*--article_"):
            corpus.load(path, "train", columns=corpus.Columns("nothing"))
        with pytest.raises(InputError, match="got gist as article and as summary"):
            corpus.load(path, "train", columns=corpus.Columns("gist", "gist"))


def test_the_demos_columns_have_their_names_alone():
    with pytest.raises(InputError, match="--dataset demo: expected a column text"):
        corpus.load("demo", "test", max_examples=3, columns=corpus.Columns("text"))


def test_blank_rows_are_left_out_and_counted(tmp_path, capsys):
    path = write(
        tmp_path / "blank.jsonl",
        [ROWS[0], {**ROWS[1], "article": " \n"}, {**ROWS[2], "highlights": ""}, ROWS[3]],
    )
    assert list(corpus.load(path, "test")["id"]) == ["r0", "r3"]
    assert "2 of 4 rows are left out" in capsys.readouterr().err


def test_what_nobody_sees_is_blank(tmp_path, capsys):
    """Zero-width, joining, directing and filling characters, and white space of any script."""
    unseen = "\u200b\u200d\u2060\ufeff\u00ad\u202e\u2800\u3164\ufe0f\u3000\u00a0\u2003\x00"
    rows = [ROWS[0], {**ROWS[1], "article": unseen}, {**ROWS[2], "highlights": "\u200b"}]
    rows += [{**ROWS[3], "article": "\u200b私\u200b"}]
    path = write(tmp_path / "unseen.jsonl", rows)
    assert list(corpus.load(path, "test")["id"]) == ["r0", "r3"]
    assert "2 of 4 rows are left out" in capsys.readouterr().err


BAD = {
    "columns": (
        [{"foo": "a", "highlights": "b"}],
        "expected columns article and highlights.*found foo, highlights",
    ),
    "null": ([ROWS[0], {**ROWS[1], "article": None}], "row 2 has no article"),
    "number": ([ROWS[0], {**ROWS[1], "article": 3}], "line 2: article is int"),
    "list": ([{**ROWS[0], "highlights": ["a"]}], "line 1: highlights is list"),
    "surrogate": (
        [ROWS[0], {**ROWS[1], "article": "half \ud800 a pair"}],
        "line 2: article holds half of a surrogate pair",
    ),
    "broken": ([ROWS[0], '{"article": "x"'], "line 2 is not JSON"),
    "empty": ([], "no example"),
    "all-blank": ([{**ROWS[0], "article": ""}], "found none"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_named(tmp_path, kind):
    rows, message = BAD[kind]
    with pytest.raises(InputError, match=message):
        corpus.load(write(tmp_path / f"{kind}.jsonl", rows), "test")


@pytest.mark.parametrize("name", ["nothing.jsonl", "./nothing", "/no/where", "a.txt", "."])
def test_what_is_no_data_set_is_refused_before_anything_is_imported(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="^--data "):
        corpus.resolve(name, "--data")


def test_offline_a_hub_id_is_answered_with_a_way_out():
    with pytest.raises(InputError, match="local path.*--dataset demo"):
        corpus.resolve("someone/some_data")


def test_the_demo_is_made_to_size():
    assert [len(corpus.load("demo", "test", max_examples=n)) for n in (3, None)] == [3, 200]
    assert (
        corpus.load("demo", "test", max_examples=3).to_list()
        == corpus.load("demo", "test", max_examples=5).to_list()[:3]
    )
    with pytest.raises(InputError, match="splits train, validation, test"):
        corpus.load("demo", "dev")


def test_labels_hold_no_path(tmp_path):
    assert corpus.label(write(tmp_path / "x.jsonl", ROWS)) == "x.jsonl"
    assert (corpus.label("demo"), corpus.label("abisee/cnn_dailymail")) == (
        "demo",
        "abisee/cnn_dailymail",
    )
    assert corpus.inputs("demo")["dataset"].endswith("newsroom.py")
