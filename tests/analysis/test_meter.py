"""How far a sweep is."""

from __future__ import annotations

import pytest

from dqrun.analysis import meter as module
from dqrun.analysis.meter import Meter, count, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the meter reads; a test sets them."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_the_time_left_follows_from_the_time_so_far(clock: list[float]) -> None:
    meter = Meter(4, bar=False)
    assert meter.left() == "; 0 of 4 done"
    clock[0] = 60.0
    meter.finish()
    assert meter.left() == "; 1 of 4 done, about 3 min left"
    meter.advance("a", 0.25)
    meter.advance("b", 0.25)
    assert meter.left() == "; 1 of 4 done, about 2 min left"
    for name in ("a", "b", "c"):
        meter.leave(name)
        meter.finish()
    assert meter.left() == ""


def test_one_trial_needs_no_estimate() -> None:
    assert Meter(1, bar=False).left() == ""


def test_a_bar_over_all_trials(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    meter = Meter(4, bar=True)
    clock[0] = 10.0
    meter.finish()
    meter.close()
    shown = capsys.readouterr().err
    assert "1 of 4 trials done, about 30 s left  25%|" in shown
    assert "0 of 4 trials done   0%|" in shown and "| ," not in shown


def test_durations() -> None:
    assert [duration(seconds) for seconds in (40, 720, 12600)] == ["40 s", "12 min", "3.5 h"]
    assert [duration(seconds) for seconds in (89, 90, 5399, 5400)] == ["89 s", "2 min", "90 min", "1.5 h"]
    assert [count(number, "trial") for number in (1, 2)] == ["1 trial", "2 trials"]


def test_no_more_is_worked_than_there_is(clock: list[float]) -> None:
    """A trial that runs again after its row was made counts once."""
    meter = Meter(2, bar=False)
    meter.advance("a", 7.0)
    clock[0] = 10.0
    assert meter.left() == "; 0 of 2 done, about 10 s left"
    meter.finish()
    assert meter.left() == "; 1 of 2 done, about 0 s left"
