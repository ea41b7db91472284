"""Progress where there is no terminal: plain lines, seldom, with rate and time left."""

import os

import pytest
from tqdm import tqdm

from runs import progress

CLOCK = [0.0]  # what the test moves


class Library(tqdm):
    """A bar of a library."""


def bar(bars=progress.Bar, **options):
    made = bars(desc="attributing", leave=False, mininterval=0, miniters=1, **options)
    made._time = lambda: CLOCK[0]
    made.start_t = made.last_print_t = CLOCK[0]
    return made


def work(made, steps, seconds, n=1):
    for _ in range(steps):
        CLOCK[0] += seconds
        made.update(n)
        made.refresh()
    made.close()


def test_a_line_every_half_minute_with_rate_and_time_left(capsys):
    work(bar(total=10), steps=10, seconds=12)
    printed = capsys.readouterr().err
    assert "\r" not in printed
    assert printed.splitlines() == [
        "attributing: 3 of 10 (30 %), 12 s each, 84 s left",
        "attributing: 6 of 10 (60 %), 12 s each, 48 s left",
        "attributing: 9 of 10 (90 %), 12 s each, 12 s left",
    ]


def test_short_work_says_nothing(capsys):
    work(bar(total=10), steps=10, seconds=0.1)
    assert capsys.readouterr() == ("", "")


def test_a_quiet_bar_says_nothing(capsys):
    made = bar(total=3, disable=True)
    for _ in range(3):
        CLOCK[0] += 100
        made.update(1)
    made.close()
    assert capsys.readouterr() == ("", "")


def test_a_librarys_downloads_are_told_likewise(capsys, monkeypatch):
    monkeypatch.setattr(Library, "display", tqdm.display)
    monkeypatch.setattr(Library, "clear", tqdm.clear)
    progress.in_lines(Library)
    made = bar(Library, total=548e6, unit="B", unit_scale=True)
    work(made, steps=1, seconds=40, n=120e6)
    printed = capsys.readouterr().err
    assert printed == ("attributing: 120.0 MB of 548.0 MB (22 %), 3.0 MB a second, 2 min left\n")


def test_lines_go_into_the_pipe_of_a_process_that_asked_for_them(capsys, monkeypatch):
    read, write = os.pipe()
    monkeypatch.setenv(progress.PIPE, str(write))
    work(bar(total=2), steps=2, seconds=1)
    assert os.read(read, 1000).decode().splitlines() == [
        "attributing: 1 of 2 (50 %), 1.0 a second, 1.0 s left",
        "attributing: 2 of 2 (100 %), 1.0 a second, 0.0 s left",
    ]
    os.close(write)
    work(bar(total=2), steps=2, seconds=1)  # nobody reads: no error, lines on stderr
    os.close(read)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.26, "1.3 s"), (42, "42 s"), (700, "12 min"), (12600, "3.5 h")]
)
def test_words_for_seconds(seconds, words):
    assert progress.seconds_in_words(seconds) == words
