import json

import pytest

from phase4 import clock
from phase4.cli.progress import Progress


@pytest.fixture
def hands(monkeypatch):
    """Return a monotonic clock that is moved by hand."""
    moved = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: moved[0])
    return moved


@pytest.fixture
def terminal(monkeypatch):
    """Make stderr a terminal, or not."""

    def choose(*, is_terminal):
        monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)

    return choose


def shown(capsys):
    return capsys.readouterr().err


def test_programs_get_a_line_of_json_at_most_every_second(capsys, hands, terminal):
    terminal(is_terminal=False)
    progress = Progress(is_json=True, simulated_days=2.0)
    for seconds, done in ((0.5, 10), (1.5, 20), (1.6, 25), (3.0, 30)):
        hands[0] = seconds
        progress(done, 100)
    lines = [json.loads(line)["progress"] for line in shown(capsys).splitlines()]
    assert [line["done"] for line in lines] == [20, 30]
    assert lines[1] == {"done": 30, "planned": 100, "simulated_days_per_second": 20.0, "eta_s": 7.0}


def test_the_last_run_is_shown_however_soon_it_comes(capsys, hands, terminal):
    terminal(is_terminal=False)
    progress = Progress(is_json=True, simulated_days=2.0)
    hands[0] = 0.1
    progress(100, 100)
    assert json.loads(shown(capsys))["progress"]["done"] == 100


def test_a_terminal_gets_a_bar_that_is_cleared_at_the_end(capsys, hands, terminal):
    terminal(is_terminal=True)
    progress = Progress(is_json=False, simulated_days=2.0)
    hands[0] = 5.0
    progress(50, 100)
    bar = shown(capsys)
    assert "50/100" in bar
    assert bar.startswith("\r")
    progress.end()
    assert shown(capsys).strip() == ""


def test_a_bar_never_wraps_a_terminal_of_80_columns(capsys, hands, terminal):
    terminal(is_terminal=True)
    progress = Progress(is_json=False, simulated_days=2.0)
    hands[0] = 5_000.0
    progress(999_999, 1_000_000)
    assert len(shown(capsys).strip("\r")) <= 80


def test_a_log_gets_a_line_now_and_then_and_none_for_a_short_command(capsys, hands, terminal):
    terminal(is_terminal=False)
    progress = Progress(is_json=False, simulated_days=2.0)
    for seconds, done in ((5.0, 10), (11.0, 20), (12.0, 100)):
        hands[0] = seconds
        progress(done, 100)
    (line,) = shown(capsys).splitlines()
    assert "20 of 100" in line
    assert "44 s left" in line


def test_the_end_tells_how_long_it_took(hands):
    progress = Progress(is_json=False, simulated_days=2.0)
    hands[0] = 7.5
    assert progress.end() == 7.5
