"""Commands shown as a list: states, times, estimates; with real processes, and a terminal's
stand-in.
"""

import os
import pty
import sys

import pytest

from runs import stages
from runs.console import Console
from runs.stages import Listed, Stage


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def listed(*codes, log, quiet=False) -> Listed:
    log.touch()
    made = [Stage(f"stage {i}", python(code), 10.0) for i, code in enumerate(codes)]
    return Listed(made, log, shown=Console(quiet))


def test_a_line_for_each_command_when_it_ends(tmp_path, capfd):
    shown = listed("print('a finding')", "print('up to date: x.json')", log=tmp_path / "log")
    assert shown.run(None) is None
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["1/2", "stage", "0"], ["2/2", "stage", "1"]]
    assert "  done  " in lines[0]
    assert lines[1].endswith("up to date")
    assert (tmp_path / "log").read_text() == "a finding\nup to date: x.json\n"


def test_nothing_runs_after_a_command_that_failed(tmp_path, capfd):
    shown = listed("import sys; sys.exit('no such file')", "print('never')", log=tmp_path / "log")
    failed = shown.run(None)
    assert (failed.name, failed.code, failed.state) == ("stage 0", 1, stages.FAILED)
    out, err = capfd.readouterr()
    assert "failed" in out and err == "no such file\n"
    assert shown.stages[1].state == stages.WAITING


def test_quiet_says_nothing(tmp_path, capfd):
    assert listed("print(1)", log=tmp_path / "log", quiet=True).run(None) is None
    assert capfd.readouterr() == ("", "")


def test_the_time_to_go_is_by_the_pace_so_far():
    done = Stage("a", [], expected=10.0, state=stages.DONE, seconds=30.0)
    running = Stage("b", [], expected=20.0, state=stages.RUNNING, started=100.0)
    waiting = Stage("c", [], expected=5.0)
    assert stages.seconds_left([done, running, waiting], now=110.0) == 3 * 20 - 10 + 3 * 5
    assert stages.seconds_left([done, Stage("d", [])], now=110.0) is None
    assert stages.seconds_left([done], now=110.0) is None
    states = [row[2:] for row in stages.rows([done, running, waiting], now=110.0)]
    assert states == [("done", "30 s"), ("running", "10 s"), ("waiting", "about 15 s")]


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal")
def test_a_terminal_shows_progress_in_the_list_and_warnings_above_it(tmp_path, monkeypatch):
    code = (
        "import sys, time\nfrom runs.progress import Bar\n"
        "print('a warning', file=sys.stderr)\n"
        "for _ in Bar(range(4), desc='reading'): time.sleep(.7)\n"
    )
    main = (
        "import sys; from pathlib import Path\nfrom runs.console import Console\n"
        "from runs.stages import Listed, Stage\n"
        f"log = Path({str(tmp_path / 'log')!r}); log.touch()\n"
        f"Listed([Stage('reading stage', [sys.executable, '-c', {code!r}])], log, "
        "shown=Console()).run(None)\n"
    )
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("TERM", "xterm")
    seen = b""

    def read(descriptor):
        nonlocal seen
        data = os.read(descriptor, 1024)
        seen += data
        return b" "  # of what pytest's own stdout gets

    assert pty.spawn(python(main), read) == 0
    words = seen.decode()
    assert "a warning" in words
    assert "reading: " in words and " of 4 (" in words  # its progress, in the row
    assert "reading stage" in words and "done" in words
    assert "\x1b[1m" not in words and "\x1b[32m" not in words  # NO_COLOR
