"""The worked example of docs/your_own.md: its commands, pasted, print what the page says."""

import importlib
import re
import shlex

import pytest

from runs.records import ROOT
from study.headline import MOST_LINES, WIDTH

SLOW = "to go on this machine"  # said of work of more than ten minutes, as on a busy machine


def blocks() -> list[str]:
    """The code blocks of the example: the commands, then parts of what they print."""
    text = (ROOT / "docs" / "your_own.md").read_text(encoding="utf-8")
    section = text.split("\n## ")[1]
    assert section.startswith("Ten articles")
    return re.findall(r"^```\n(.*?)^```\n", section, flags=re.DOTALL | re.MULTILINE)


def test_the_commands_name_a_file_that_is_there_and_scripts_that_take_their_flags():
    commands = blocks()[0].splitlines()
    assert len(commands) == 4 and (ROOT / "examples" / "ten_articles.csv").is_file()
    for command in commands:
        python, script, *words = shlex.split(command)
        assert python == "python"
        importlib.import_module(script.removesuffix(".py")).parse(words)


@pytest.mark.slow
def test_the_commands_print_what_the_page_says(tmp_path, monkeypatch, capsys):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    commands, *printed = blocks()
    shown = ""
    for command in commands.splitlines():
        _, script, *words = shlex.split(command)
        importlib.import_module(script.removesuffix(".py")).main(words)
        lines = capsys.readouterr().out.splitlines()
        lines = [line for line in lines if SLOW not in line]
        assert len(lines) <= MOST_LINES and max(map(len, lines)) <= WIDTH
        shown += "\n".join(lines) + "\n"
    for line in "".join(printed).splitlines():
        assert line.removesuffix("...") in shown, line
    assert (tmp_path / "outputs" / "ten" / "report.html").is_file()
