"""A file of articles in three parts: nothing that was trained on is judged."""

import json

import pytest
from datasets import Dataset

from study.pipeline.choice import Choice
from summarization import corpus, splits

N = 40


@pytest.fixture
def file(tmp_path):
    """A file of 40 articles, of which one stands there twice."""
    rows = [{"id": f"r{i}", "text": f"Article {i}.", "gist": f"Line {i}."} for i in range(N)]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[3]]))
    return path


COLUMNS = corpus.Columns(summary="gist")


def parts(folder) -> dict[str, set[str]]:
    names = ("train", "validation", "test")
    return {name: set(corpus.load(str(folder), name)["article"]) for name in names}


def test_every_article_is_in_one_part(file, tmp_path):
    made = parts(splits.split(file, tmp_path / "parts", seed=0, columns=COLUMNS))
    assert {name: len(articles) for name, articles in made.items()} == {
        "train": 14,
        "validation": 20,
        "test": 6,
    }
    assert set.union(*made.values()) == {f"Article {i}." for i in range(N)}
    rows = corpus.load(str(tmp_path / "parts"), "test").to_list()
    assert all(row["article"][8:] == row["highlights"][5:] for row in rows)


def test_the_same_file_is_split_once_and_otherwise_anew(file, tmp_path):
    folder = splits.split(file, tmp_path / "parts", seed=0, columns=COLUMNS)
    made, written = parts(folder), (folder / "train.jsonl").stat().st_mtime_ns
    splits.split(file, folder, seed=0, columns=COLUMNS)
    assert (folder / "train.jsonl").stat().st_mtime_ns == written
    assert parts(splits.split(file, folder, seed=1, columns=COLUMNS)) != made
    assert parts(splits.split(file, folder, seed=0, columns=COLUMNS)) == made


def test_the_pipeline_gives_every_stage_the_parts(file, tmp_path, capsys):
    import run_pipeline

    words = ["--preset", "smollm2-local", "--output_dir", tmp_path, "--dry_run", "--dataset", file]
    words += ["--model_path", "some/model", "--instruction", "In short: {article}"]
    run_pipeline.main([str(word) for word in words])
    lines = capsys.readouterr().out.splitlines()
    readers = [line for line in lines if "--dataset" in line]
    assert len(readers) == 5
    for line in readers:
        assert f"--dataset {tmp_path / 'articles'} --max_length 288" in line
        assert "--instruction 'In short: {article}'" in line and "some/model" in line
    assert not (tmp_path / "articles").exists()  # a dry run writes nothing

    words = ["--preset", "smoke", "--dataset", file, "--summary_column", "gist", "--seed", "5"]
    words += ["--output_dir", tmp_path]
    args = run_pipeline.parse([str(word) for word in words])
    preset = Choice.of(vars(args)).made(tmp_path, split=True)
    assert preset.dataset == str(tmp_path / "articles") and preset.articles == ""
    assert len(parts(tmp_path / "articles")["validation"]) == 20


def test_a_set_with_splits_is_left_as_it_is(tmp_path):
    import run_pipeline

    rows = Dataset.from_list([{"body": "a", "gist": "b"}] * 2)
    rows.to_json(tmp_path / "train.jsonl")
    words = ["--dataset", str(tmp_path), "--article_column", "body", "--summary_column", "gist"]
    choice = Choice.of(vars(run_pipeline.parse(words)))
    preset = choice.made(tmp_path / "out", split=True)
    assert preset.dataset == str(tmp_path)
    assert preset.articles == "--article_column body --summary_column gist"
    assert not (tmp_path / "out").exists()
