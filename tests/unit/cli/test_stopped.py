"""What `flags list` and `status` show of an emergency that is not recorded yet: evaluators obey it already."""

import sqlite3

import pytest

from phase4.store import stops
from phase4.store.epoch import Epoch
from phase4.store.stops import EVERYTHING, Stop
from tests.contract.driving import FLAGS, START_MS, Lab

FLAG, BYZANTINE, HOOKS = FLAGS


@pytest.fixture
def lab(tmp_path):
    """A home with two flags on, whose database refuses to record anything."""
    lab = Lab(tmp_path / "home")
    lab.done("init", f"flags enable {FLAG}", f"flags enable {BYZANTINE}")
    connection = sqlite3.connect(lab.home / "control.db")
    connection.execute("CREATE TRIGGER refuses BEFORE INSERT ON command BEGIN SELECT RAISE(ABORT, 'no'); END")
    connection.commit()
    connection.close()
    return lab


def stop(lab, flag_key, reason="orders fail"):
    stops.write(str(lab.home), Stop(f"stop-{flag_key.strip('*')}", flag_key, reason, "ana", START_MS, rolls_back=False))


def set_stop_word(lab):
    epoch = Epoch(str(lab.home / "epoch"))
    epoch.stop()
    epoch.close()


def test_a_stopped_flag_is_listed_as_off_with_the_reason(lab):
    stop(lab, FLAG)
    lines = lab.done("flags list").out.splitlines()
    assert "off, 10 % (stopped: orders fail)" in lines[0]
    assert "on, 10 %" in lines[1]


def test_a_stop_of_everything_stops_every_flag(lab):
    stop(lab, EVERYTHING)
    assert lab.done("flags list").out.count("off, 10 % (stopped: orders fail)") == 3


def test_under_the_stop_word_every_flag_is_off(lab):
    set_stop_word(lab)
    assert lab.done("flags list").out.count("off, 10 % (stopped: the stop word is set)") == 3


def test_a_stopped_flag_is_not_among_those_that_are_on(lab):
    stop(lab, FLAG)
    assert [row["flag_key"] for row in lab.done("flags list --enabled --json").data["flags"]] == [BYZANTINE]


def test_json_says_off_and_why(lab):
    stop(lab, FLAG)
    flags = lab.done("flags list --json").data["flags"]
    assert [(row["enabled"], row["stopped"]) for row in flags] == [(False, "orders fail"), (True, None), (False, None)]
    assert [row["stopped"] for row in lab.done("status --json").data["flags"]] == ["orders fail", None, None]


@pytest.mark.parametrize("flag_key", [FLAG, EVERYTHING])
def test_health_is_critical_with_the_reason(lab, flag_key):
    stop(lab, flag_key)
    data = lab.done("status --json").data
    what = "every flag" if flag_key == EVERYTHING else FLAG
    assert data["health"] == "CRITICAL"
    assert data["held_by"][0] == f"{what} is stopped, and that is not recorded yet: orders fail"


def test_health_is_critical_under_the_stop_word_alone(lab):
    set_stop_word(lab)
    data = lab.done("status --json").data
    assert (data["health"], data["held_by"]) == ("CRITICAL", ["every flag is stopped: the stop word is set"])


def test_what_else_holds_health_is_named_too(lab):
    stop(lab, FLAG)
    assert "a flag is on and no collector runs, so nobody watches it" in lab.done("status --json").data["held_by"]


def test_the_screen_shows_stopped_flags_in_red(lab):
    stop(lab, FLAG)
    assert f"🔴 {FLAG} (stopped: orders fail)" in lab.done("status").out


def test_once_recorded_the_flag_is_held_and_no_longer_stopped(lab):
    stop(lab, FLAG)
    connection = sqlite3.connect(lab.home / "control.db")
    connection.execute("DROP TRIGGER refuses")
    connection.commit()
    connection.close()
    row = lab.done("flags list --json").data["flags"][0]
    assert (row["held"], row["stopped"]) == ("emergency", None)
