"""What a script prints at each level, and how: on a terminal, in a pipe, with NO_COLOR."""

import io
import sys

import pytest

from eap import InputError
from runs import console
from runs.console import Console

LINES = [
    ("5 checkpoints", "title"),
    ("step  f", "head"),
    ("0     1", ""),
    ("caution: few", "caution"),
]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    for name in ("NO_COLOR", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stdout = Terminal()

    def printed(act):
        """What `act` prints on a terminal, and its value; pytest sets stdout for each call."""
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stdout)
            returned = act()
        return stdout.getvalue(), returned

    return printed


def test_lines_are_plain_in_a_pipe(capsys):
    Console().show(LINES)
    assert capsys.readouterr().out == "5 checkpoints\nstep  f\n0     1\ncaution: few\n"


def test_a_terminal_shows_titles_bold_and_cautions_in_colour(terminal):
    printed, _ = terminal(lambda: Console().show(LINES))
    assert "\x1b[1m5 checkpoints\x1b[0m" in printed
    assert "\x1b[33mcaution: few\x1b[0m" in printed
    assert "\n0     1\n" in printed


def test_markup_in_a_name_is_text(terminal):
    printed, _ = terminal(lambda: Console().show([("model [red]x[/red] :smile:", "title")]))
    assert printed == "\x1b[1mmodel [red]x[/red] :smile:\x1b[0m\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color_is_heeded(terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    printed, _ = terminal(lambda: Console().show(LINES))
    assert printed.startswith("5 checkpoints\n") and "\x1b" not in printed


def test_lines_are_as_wide_as_a_narrow_terminal_and_never_wider_than_100(terminal, monkeypatch):
    for columns, width in (("80", 80), ("200", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal(lambda: Console().width)[1] == width


def test_a_pipe_is_100_columns_wide(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert Console().width == 100


def test_details_are_for_the_verbose(capsys):
    Console().detail("a table")
    Console(quiet=True, verbose=True).detail("a table")
    assert capsys.readouterr().out == ""
    Console(verbose=True).detail("a table", "a sentence")
    assert capsys.readouterr().out == "a table\na sentence\n"


def test_quiet_prints_nothing_but_errors(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script.py", "--quiet"])
    Console(quiet=True).say("words")
    Console(quiet=True).show(LINES)
    assert list(Console(quiet=True).progress([1, 2], "work")) == [1, 2]
    console.warn("a warning")
    assert capsys.readouterr() == ("", "")
    with pytest.raises(SystemExit):
        console._stop("expected this, got that")
    assert capsys.readouterr().err == "script.py: error: expected this, got that\n"


def test_warnings_go_to_stderr(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script.py"])
    console.warn("a warning")
    assert capsys.readouterr() == ("", "a warning\n")


@pytest.mark.parametrize("flag", [None, "--verbose", "--traceback"])
def test_a_traceback_is_shown_with_its_own_flag_only(monkeypatch, capsys, flag):
    def main():
        raise InputError("expected this, got that")

    monkeypatch.setattr(console, "_in_utf8", lambda: None)
    monkeypatch.setattr(sys, "argv", ["script.py", *filter(None, [flag])])
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), write_through=True))
    with pytest.raises(InputError if flag == "--traceback" else SystemExit):
        console.run_script(main)
