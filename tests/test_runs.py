"""Flags, one-line errors, atomic files, and when a script runs, skips, resumes or refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eap import InputError
from runs import console, disk, flags, hub, records


def args(**options):
    return {"seed": 0, "overwrite": False, "quiet": True, "verbose": False, "steps": 5} | options


def test_both_spellings_of_a_flag_work_and_abbreviations_do_not():
    parser = flags.parser("doc", "outputs/x")
    parser.add_argument("--ig_steps", type=int, default=5)
    assert (
        parser.parse_args(["--ig-steps", "3"]).ig_steps
        == parser.parse_args(["--ig_steps=3"]).ig_steps
        == 3
    )
    assert parser.parse_args(["--output-dir", "a-b"]).output_dir == "a-b"
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--ig_st", "3"])
    assert stop.value.code == 2


def test_a_wrong_flag_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as stop:
        flags.parser("doc", "outputs/x").parse_args(["--nonsense"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


CONVERTERS = [
    (flags.positive_int, "3", "0"),
    (flags.fraction, "0.5", "1.5"),
    (flags.int_list, "0,10", "1,x"),
    (flags.count, "0", "-1"),
    (flags.name_list, "kl, nll,", " ,"),
    (flags.seed_number, "3", "-1"),
    (flags.seed_number, "3", str(2**32)),
]


@pytest.mark.parametrize(("function", "good", "bad"), CONVERTERS)
def test_converters(function, good, bad):
    import argparse

    assert function(good) in (3, 0, 0.5, [0, 10], ["kl", "nll"])
    with pytest.raises(argparse.ArgumentTypeError):
        function(bad)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    disk.write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        disk.write_json(path, {"x": float("nan")})
    with pytest.raises(KeyError), disk.atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert json.loads(path.read_text()) == {"x": 1} and path.read_text().endswith("\n")
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_an_unknown_format_is_refused(tmp_path):
    path = tmp_path / "a.json"
    disk.write_json(path, {"format": 2})
    with pytest.raises(InputError, match="format 1"):
        disk.read_json(path)


def make_run(tmp_path, source, **options):
    return records.Run(
        args(**options),
        tmp_path / "run.json",
        outputs=[tmp_path / "out.json"],
        inputs={"source": source},
    )


def test_a_run_is_up_to_date_until_an_input_or_an_argument_changes(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("1")
    run = make_run(tmp_path, source)
    assert not run.up_to_date
    disk.write_json(tmp_path / "out.json", 1)
    run.finish()
    assert make_run(tmp_path, source).up_to_date
    assert make_run(tmp_path, source, quiet=False).up_to_date
    with pytest.raises(InputError, match="--overwrite"):
        make_run(tmp_path, source, steps=6)
    other = tmp_path / "other.txt"
    other.write_text("2")
    with pytest.raises(InputError, match="--overwrite"):
        make_run(tmp_path, other)
    assert not make_run(tmp_path, source, overwrite=True).up_to_date


def test_a_run_is_the_same_under_another_spelling_and_in_another_place(tmp_path, monkeypatch):
    def start(folder):
        return records.Run(
            args(circuits=[f"{folder}/a.json"], output_dir=str(folder)),
            folder / "run.json",
            outputs=[folder / "out.json"],
            inputs={f"{folder}/a.json": f"{folder}/a.json"},
        )

    (tmp_path / "one").mkdir()
    disk.write_json(tmp_path / "one" / "a.json", 1)
    run = start(tmp_path / "one")
    disk.write_json(tmp_path / "one" / "out.json", 1)
    run.finish()
    monkeypatch.chdir(tmp_path)
    assert start(Path("one")).up_to_date and start(Path("one/../one")).up_to_date
    shutil.copytree("one", "moved/one")
    assert start(Path("moved/one")).up_to_date
    disk.write_json("moved/one/a.json", 22)
    records.sha256.cache_clear()
    with pytest.raises(InputError, match="other inputs"):
        start(Path("moved/one"))


def test_an_output_that_is_no_longer_what_was_written_is_named_and_kept(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("1")
    run = make_run(tmp_path, source)
    disk.write_json(tmp_path / "out.json", [1, 2, 3])
    run.finish()
    (tmp_path / "out.json").write_text("")
    with pytest.raises(
        InputError,
        match=r"out.json: expected the \d+ bytes that this run wrote, found 0; .*--overwrite",
    ):
        make_run(tmp_path, source)
    assert not make_run(tmp_path, source, overwrite=True).up_to_date


def test_an_interrupted_run_goes_on_and_counts_it(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("1")
    make_run(tmp_path, source)
    disk.write_json(tmp_path / "out.json", 1)
    again = make_run(tmp_path, source)
    assert not again.up_to_date and again.resumed == 1
    third = make_run(tmp_path, source)
    assert third.resumed == 2
    third.finish()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["times_resumed"] == 2 and record["complete"] and record["duration_seconds"] >= 0


def test_a_file_made_by_somebody_else_is_not_overwritten(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("1")
    disk.write_json(tmp_path / "out.json", "mine")
    with pytest.raises(InputError, match="--overwrite"):
        make_run(tmp_path, source)
    assert json.loads((tmp_path / "out.json").read_text()) == "mine"


@pytest.mark.parametrize(
    "written",
    [
        "[]",
        "null",
        "{}",
        '{"complete": true}',
        '{"complete": true, "arguments": [], "inputs": []}',
        '{"complete": false, "arguments": {}, "inputs": {}, "replaces": 5}',
        '{"complete": false, "arguments": {}, "inputs": {}, "replaces": {"record": []}}',
        '{"complete": false, "arguments": {}, "inputs": {}, "replaces": {"since": 1, "record": 1}}',
    ],
)
def test_a_record_of_somebody_else_tells_nothing(written, tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("x")
    run = make_run(tmp_path, source)
    run.outputs[0].write_text("made")
    run.record.write_text(written)
    with pytest.raises(InputError, match="there is no record of how.*--overwrite"):
        make_run(tmp_path, source)


def test_pickled_weights_are_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="pickled"):
        hub.resolve_model(str(tmp_path))


def test_offline_a_hub_id_is_answered_with_the_way_out():
    with pytest.raises(InputError, match="offline mode is on.*demo"):
        hub.resolve_model("gpt2")
    with pytest.raises(InputError, match="no such folder"):
        hub.resolve_model("./not/there")


def test_what_differs_from_the_run_on_record_is_named(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("1")
    make_run(tmp_path, source, seed=0, steps=5)
    disk.write_json(tmp_path / "out.json", 1)
    source.write_text("2")
    records.sha256.cache_clear()
    with pytest.raises(InputError, match="--steps 5, now 6; input source holds something else[)]"):
        make_run(tmp_path, source, seed=0, steps=6)
    with pytest.raises(InputError, match="--more not given, now true; input source"):
        make_run(tmp_path, source, seed=0, more=True)


def test_a_commit_is_recorded_and_only_another_content_makes_another_run(tmp_path):
    def start(sha256, commit):
        source = records.Source("gpt2", sha256, commit)
        return records.Run(
            args(), tmp_path / "run.json", outputs=[tmp_path / "out"], inputs={"model": source}
        )

    first = start("a" * 64, "c0ffee")
    (tmp_path / "out").write_text("1")
    first.finish()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["inputs"]["model"] == {"source": "gpt2", "sha256": "a" * 64, "commit": "c0ffee"}
    assert start("a" * 64, "beef").up_to_date
    with pytest.raises(InputError, match="input model holds something else"):
        start("b" * 64, "beef")


def test_a_figure_that_could_not_be_drawn_makes_no_run_repeat_the_work(tmp_path, capsys):
    outputs = [tmp_path / name for name in ("a.json", "a.png")]

    def start():
        return records.Run(args(quiet=False), tmp_path / "run.json", outputs=outputs, inputs={})

    first = start()
    outputs[0].write_text("1")
    first.finish()
    assert start().up_to_date
    printed = capsys.readouterr()
    assert f"{outputs[1]} could not be drawn" in printed.err and str(outputs[1]) not in printed.out
    outputs[0].unlink()  # numbers are made again
    assert not start().up_to_date
    outputs[0].write_text("1")
    outputs[1].write_text("1")
    start().finish()
    outputs[1].unlink()  # and a figure that was there
    assert not start().up_to_date


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "special_tokens_map.json"])
def test_fingerprint_sees_tokenizers_of_every_format(tmp_path, name):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    seen = {records.fingerprint(tmp_path)}
    for data in (b"1", b"2"):
        records.sha256.cache_clear()
        (tmp_path / name).write_bytes(data)
        seen.add(records.fingerprint(tmp_path))
    assert len(seen) == 3


def test_fingerprint_sees_weights_and_not_optimizer_state(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = records.fingerprint(tmp_path)
    (tmp_path / "optimizer.pt").write_bytes(b"x")
    assert records.fingerprint(tmp_path) == before
    records.sha256.cache_clear()
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert records.fingerprint(tmp_path) != before


def test_an_error_is_one_line_and_exit_code_2():
    code = (
        "from runs import console\nfrom eap import InputError\n"
        "def main(): raise InputError('a\\nb')\nconsole.run_script(main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=records.ROOT
    )
    assert (
        done.returncode == 2
        and done.stderr.count("\n") == 1
        and done.stderr.endswith("error: a b\n")
    )


def test_a_folder_is_never_replaced_by_a_file(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kept.txt").write_text("kept")
    with pytest.raises(InputError, match="folder"):
        disk.write_text(tmp_path / "data", "new")
    assert (tmp_path / "data" / "kept.txt").read_text() == "kept" and not list(
        tmp_path.glob(".writing-*")
    )


def test_an_interrupted_overwrite_never_goes_on_from_what_the_other_run_left(tmp_path):
    def start(**options):
        return records.Run(
            args(**options), tmp_path / "run.json", outputs=[tmp_path / "out"], inputs={}
        )

    first = start(steps=5)
    (tmp_path / "out").write_text("of 5 steps")
    first.finish()
    assert start(
        steps=6, overwrite=True
    ).starts_over  # interrupted here: `out` is still the other run's
    again = start(steps=6)
    assert again.starts_over
    again.cleared()
    assert not start(steps=6).starts_over


@pytest.mark.parametrize(
    "error",
    [PermissionError(13, "Permission denied", "/x/y"), FileExistsError(17, "File exists", "/x/y")],
)
def test_a_path_that_cannot_be_written_is_one_line_and_exit_code_2(error, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        console.run_script(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_overwrite_that_ends_before_it_writes_leaves_the_old_run_complete(tmp_path):
    source, broken = tmp_path / "source.txt", tmp_path / "broken.txt"
    source.write_text("1")
    broken.write_text("2")
    run = make_run(tmp_path, source)
    disk.write_json(tmp_path / "out.json", 1)
    run.finish()
    record = json.loads((tmp_path / "run.json").read_text())
    for _ in range(2):
        make_run(tmp_path, broken, overwrite=True, steps=7)  # and ends here, as over what it reads
    with pytest.raises(InputError, match="other inputs or arguments"):
        make_run(tmp_path, source, steps=8)
    assert (
        make_run(tmp_path, source).up_to_date
        and json.loads((tmp_path / "run.json").read_text()) == record
    )
    make_run(tmp_path, broken, overwrite=True, steps=7)
    disk.write_json(tmp_path / "out.json", 2)  # as long as the old one
    with pytest.raises(InputError, match="other inputs or arguments"):
        make_run(tmp_path, source)


def test_a_reader_that_has_read_enough_ends_a_script_quietly():
    words = f"--preset demo-full --dry_run --output_dir {'x' * 9999}"
    command = f"{sys.executable} run_pipeline.py {words} | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=records.ROOT)
    assert done.stdout and done.stderr == ""


def one_line():
    from eap.style import subplots

    figure, axis = subplots(figsize=(4.0, 2.0))
    axis.plot([0, 1], [1, 0])
    return figure


def one_edge(path) -> None:
    from eap.graph import Graph
    from eap.visualization import draw_edges, legend

    draw_edges(Graph(1, 1, 4), {0: {"mark": "x"}}, path=path, title=legend("title"))


def test_a_circuit_that_could_not_be_drawn_is_refused_before_any_work(tmp_path, monkeypatch):
    """pygraphviz loads a library of the system, which a bare container lacks."""
    from study.extraction import making

    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(InputError, match="expected the package pygraphviz.*libglib2.0-0"):
        one_edge(tmp_path / "edges.png")
    with pytest.raises(InputError, match="expected the package pygraphviz"):
        making.make(None, None, pairs=[], known_by="")


@pytest.mark.parametrize("kind", ["svg", "pdf"])
@pytest.mark.parametrize("drawing", ["matplotlib", "Graphviz"])
def test_figures_are_written_in_a_further_format_at_the_width_asked_for(
    kind, drawing, tmp_path, monkeypatch
):
    """3.4 inches are 244.8 points; the PNG says how many of its dots make an inch."""
    from PIL import Image
    from pypdf import PdfReader

    monkeypatch.setattr(disk, "figures", disk.FigureOptions(kind, 3.4))
    contents = []
    for path in (tmp_path / "first" / "plot.png", tmp_path / "again" / "plot.png"):
        if drawing == "matplotlib":
            disk.save_figure(one_line, path)
        else:
            disk.drawn(one_edge, path)
        contents.append([path.read_bytes(), path.with_suffix(f".{kind}").read_bytes()])
    assert sorted(file.suffix for file in path.parent.iterdir()) == sorted([".png", f".{kind}"])
    with Image.open(path) as picture:
        assert picture.width / picture.info["dpi"][0] == pytest.approx(3.4, abs=0.01)
    if kind == "pdf":
        page = PdfReader(path.with_suffix(".pdf")).pages[0]
        assert float(page.mediabox.width) == pytest.approx(244.8, abs=0.01)
    else:
        assert 'width="3.4in"' in path.with_suffix(".svg").read_text()
    if (kind, drawing) != ("pdf", "Graphviz"):  # Graphviz writes the date into its PDF
        assert contents[0] == contents[1]


# ---------------------------------------------------------------- large tables


def in_json(data) -> str:
    """What json itself makes of it."""
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def a_table(**others) -> dict:
    """A table that is written by columns, and one whose last row has something else."""
    rows = {f'"{i} %s\n->é': {"score %": i / 7, "in": i % 2 == 0} for i in range(disk.ROWS + 3)}
    first = next(iter(rows))
    return rows | {first: rows[first] | others}


@pytest.mark.parametrize(
    "data",
    [
        {"cfg": {"n": 1, "é": [1, {"a": "b\nc"}]}, "edges": a_table(), "after": {}, "x": []},
        {"edges": a_table(), "again": a_table()},
        {"edges": {name: {"a": None, "b": -0.0, "c": 10**20} for name in map(str, range(1200))}},
        {"edges": a_table(more=1)},
        {"edges": a_table(**{"in": "a, b"})},
        {"edges": a_table(**{"in": [1, 2]})},
        {"edges": {str(i): {} for i in range(1200)}},
        {1: a_table(), "edges": a_table()},
        {str(i): {"a": 1.5} for i in range(1200)},
    ],
    ids=range(9),
)
def test_a_large_table_is_written_as_json_has_it(data, tmp_path):
    disk.write_json(tmp_path / "table.json", data)
    assert (tmp_path / "table.json").read_text(encoding="utf-8") == in_json(data)


def test_a_large_table_with_nan_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        disk.write_json(tmp_path / "table.json", {"edges": a_table(**{"score %": float("nan")})})
    assert not list(tmp_path.iterdir())
