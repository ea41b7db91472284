"""How long work will take, told from its first steps: with a clock that the test moves."""

import pytest

from runs import forecast
from runs.forecast import Ahead, Forecast


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def ticks(seconds, total, ahead=Ahead()):  # noqa: B008
    """What is said after each of some steps that take so many seconds."""
    clock = Clock()
    forecast = Forecast("training", total, ahead=ahead, clock=clock)
    messages = []
    for duration in seconds:
        clock.now += duration
        messages.append(forecast.tick())
    return messages


def test_long_work_is_told_once_ten_seconds_in_by_the_usual_step():
    messages = ticks([9.0, 0.4, 0.4, 0.4, 0.4, 0.4], 20_000)  # a first step that warms up
    assert messages[:3] == [None] * 3 and messages[4:] == [None] * 2
    assert messages[3] == (
        "training: about 2.2 hours to go on this machine, by the first 4 of 20,000 steps"
    )


def test_nothing_is_said_of_work_of_under_ten_minutes():
    assert ticks([3.0] * 8, 200) == [None] * 8
    assert ticks([3.0] * 8, 210)[3] is not None


def test_steps_that_later_bars_take_count():
    assert ticks([20.0], 3, Ahead(steps=40))[0].startswith("training: about 13 minutes")
    assert ticks([20.0], 3) == [None]


def test_what_is_written_stands_beside_what_is_free(tmp_path, monkeypatch):
    class Usage:
        free = 20e9

    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda _: Usage)
    (sentence,) = ticks([20.0], 1000, Ahead(written_bytes=15.5e9, folder=str(tmp_path / "new")))
    assert sentence.endswith(
        f"about 15.5 GB will be written to {tmp_path}/new, where 20 GB are free"
    )
    (sentence,) = ticks([20.0], 1000, Ahead(written_bytes=25e9, folder=str(tmp_path)))
    assert "NOT ENOUGH" in sentence


@pytest.mark.parametrize(
    ("seconds", "words"), [(1500, "25 minutes"), (9000, "2.5 hours"), (10 * 86400, "10.0 days")]
)
def test_words_for_a_time(seconds, words):
    assert forecast.in_words(seconds) == words


def test_a_bar_tells_on_stdout_and_a_quiet_one_does_not(capsys, monkeypatch):
    monkeypatch.setattr(forecast, "LOOK_SECONDS", 0)
    monkeypatch.setattr(forecast, "LONG_SECONDS", 0)
    for quiet in (False, True):
        assert list(forecast.Bar([1, 2, 3], Ahead(), desc="reading", disable=quiet)) == [1, 2, 3]
        bar = forecast.Bar(None, Ahead(), desc="writing", total=4, disable=quiet)
        bar.update(2)
        bar.close()
        out = capsys.readouterr().out
        messages = ["reading: about", "writing: about"]
        assert [words in out for words in messages] == [not quiet] * 2
        assert out.count("\n") == (0 if quiet else 2)
