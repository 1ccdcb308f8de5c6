"""`phase4 emergency`, called in this process: what it prints, in text and in JSON, also while the database is down."""

import fcntl
import re
import sqlite3

import pytest

from phase4.store import emergency
from phase4.system import Phase4System
from tests.contract.driving import FLAGS, Lab

FLAG, BYZANTINE, HOOKS = FLAGS
PLAN = f"{FLAG}.1"


@pytest.fixture
def lab(tmp_path):
    """A home with one plan in its first stage, one that has not started, and one flag on without a plan."""
    lab = Lab(tmp_path / "home")
    lab.done("init", f"rollout create {FLAG}", f"rollout start {PLAN}", f"rollout create {BYZANTINE}")
    lab.done(f"flags enable {HOOKS}")
    return lab


@pytest.fixture
def damaged(lab):
    whole = (lab.home / "control.db").read_bytes()
    (lab.home / "control.db").write_bytes(b"damaged")
    yield lab
    (lab.home / "control.db").write_bytes(whole)


def without_time(text):
    return re.sub(r"in [\d.e-]+ ms", "in N ms", text)


def flags(lab):
    return {row["flag_key"]: row for row in lab.done("flags list --json").data["flags"]}


def phases(lab):
    return [row["phase"] for row in lab.done("rollout status --json").data["plans"]]


def stop_files(lab):
    return list((lab.home / "emergency").glob("*.json"))


# -------------------------------------------------------------------------------------------------------------- disable


def test_everything_is_off_and_held_and_plans_are_paused(lab):
    assert without_time(lab.done('emergency disable "orders fail"').out).splitlines() == [
        f"OFF and held: {FLAG}, {BYZANTINE}, {HOOKS}  in N ms",
        f"  {PLAN} paused",
    ]
    assert {(row["enabled"], row["held"], row["held_reason"]) for row in flags(lab).values()} == {
        (False, "emergency", "orders fail")
    }
    assert phases(lab) == ["PAUSED", "PENDING"]


def test_percentages_stay_where_nothing_is_rolled_back(lab):
    lab.done("emergency disable bad")
    assert [row["percentage"] for row in flags(lab).values()] == [5.0, 10.0, 10.0]


def test_with_rollback_plans_are_rolled_back_and_percentages_are_0(lab):
    assert without_time(lab.done('emergency disable "orders fail" --rollback').out).splitlines() == [
        f"OFF and held: {FLAG}, {BYZANTINE}, {HOOKS}  in N ms",
        f"  {PLAN} rolled back",
        f"  {BYZANTINE}.1 rolled back",
    ]
    assert {(row["enabled"], row["percentage"], row["held"]) for row in flags(lab).values()} == {
        (False, 0.0, "emergency")
    }
    assert phases(lab) == ["ROLLED_BACK", "ROLLED_BACK"]


def test_an_emergency_is_one_critical_alert(lab):
    lab.done('emergency disable "orders fail"')
    (alert,) = lab.done("alerts list --severity critical --json").data["alerts"]
    assert [alert[name] for name in ("type", "severity", "message", "count", "state")] == [
        "rollback",
        "critical",
        "emergency: orders fail",
        1,
        "open",
    ]


def test_an_emergency_in_json_has_known_keys(lab):
    data = lab.done('emergency disable "orders fail" --json').data
    assert set(data) == {"flags", "plans", "recorded", "elapsed_ms"}
    assert (data["flags"], data["plans"], data["recorded"]) == (list(FLAGS), [PLAN], True)


def test_the_same_order_twice_is_one_alert(lab):
    for _ in range(2):
        lab.done("emergency disable bad --request-id stop-1")
    alerts = lab.done("alerts list --all --severity critical --json").data["alerts"]
    assert [alert["count"] for alert in alerts] == [1]
    assert stop_files(lab) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", ".a", "a b", "ä", "x" * 65])
def test_a_request_id_is_a_name_and_no_path(lab, name):
    before = sorted(lab.home.parent.rglob("*"))
    answer = lab(f"emergency disable bad --request-id '{name}' --json")
    assert (answer.status, answer.error["code"]) == (2, "USAGE")
    assert "a request id has 1 to 64 letters, digits and . _ -, no dot first" in answer.error["message"]
    assert (flags(lab)[HOOKS]["enabled"], sorted(lab.home.parent.rglob("*"))) == (True, before)


@pytest.mark.parametrize("name", ["a", "Stop.2026-09_21", "x" * 64])
def test_a_request_id_may_have_letters_digits_and_three_signs(lab, name):
    lab.done(f"emergency disable bad --request-id {name}")
    assert (flags(lab)[HOOKS]["held"], stop_files(lab)) == ("emergency", [])


def test_a_reason_is_required_and_may_not_be_blank(lab):
    for line in ("emergency disable", 'emergency disable " "', f'emergency rollback {FLAG} ""'):
        answer = lab(line)
        assert (answer.status, answer.out) == (2, "")
        assert "reason" in answer.err.lower()
    assert flags(lab)[FLAG]["enabled"]


def test_a_dry_run_switches_nothing_off(lab):
    for line, what in {"emergency disable bad": "every flag", f"emergency rollback {FLAG} bad": FLAG}.items():
        told = lab.done(f"{line} --dry-run").out.splitlines()
        assert (told[0], told[-1]) == (f"{what} would be switched off and held", "dry run: nothing was changed")
        assert lab.done(f"{line} --dry-run --json").data["dry_run"] is True
    assert (flags(lab)[FLAG]["enabled"], stop_files(lab)) == (True, [])


# ------------------------------------------------------------------------------------------------------------- rollback


def test_one_flag_is_off_at_0_percent_and_held_and_its_plan_rolled_back(lab):
    assert without_time(lab.done(f'emergency rollback {FLAG} "orders fail"').out).splitlines() == [
        f"OFF and held: {FLAG}  in N ms",
        f"  {PLAN} rolled back",
    ]
    shown = flags(lab)
    assert [shown[FLAG][name] for name in ("enabled", "percentage", "held")] == [False, 0.0, "emergency"]
    assert shown[HOOKS]["enabled"]
    assert phases(lab) == ["ROLLED_BACK", "PENDING"]


def test_a_flag_without_a_plan_is_rolled_back_alone(lab):
    data = lab.done(f"emergency rollback {HOOKS} bad --json").data
    assert (data["flags"], data["plans"]) == ([HOOKS], [])
    assert [flags(lab)[HOOKS][name] for name in ("enabled", "percentage", "held")] == [False, 0.0, "emergency"]


def test_a_rollback_is_one_critical_alert(lab):
    lab.done(f"emergency rollback {FLAG} bad")
    alerts = lab.done("alerts list --severity critical --json").data["alerts"]
    assert [alert["message"] for alert in alerts] == [f"{FLAG} rolled back: bad"]


def test_a_flag_that_is_not_there_is_named_with_the_nearest(lab):
    answer = lab(f"emergency rollback {FLAG}s bad --json")
    assert (answer.status, answer.error["code"]) == (5, "FLAG_NOT_FOUND")
    assert f'did you mean "{FLAG}"?' in answer.error["message"]
    assert stop_files(lab) == []


# --------------------------------------------------------------------------------------------------- while it is broken


def test_on_a_damaged_database_it_is_done_and_the_record_waits(damaged):
    answer = damaged("emergency disable bad")
    assert answer.status == 0
    assert without_time(answer.out) == "OFF and held: every flag  in N ms\n"
    assert answer.err.startswith("phase4: switched off; recording pending: ")
    assert len(stop_files(damaged)) == 1


def test_on_a_damaged_database_json_says_that_it_is_not_recorded(damaged):
    answer = damaged(f"emergency rollback {FLAG} bad --json")
    assert answer.status == 0
    assert (answer.data["flags"], answer.data["plans"], answer.data["recorded"]) == ([], [], False)
    assert "recording pending" in answer.body["warnings"][0]


def test_the_next_command_on_a_whole_database_records_what_waits(lab):
    whole = (lab.home / "control.db").read_bytes()
    (lab.home / "control.db").write_bytes(b"damaged")
    lab.done(f"emergency rollback {FLAG} bad")
    lab.clock.advance(1)
    lab.done("emergency disable worse")
    (lab.home / "control.db").write_bytes(whole)
    lab.done("status")
    assert {row["held_reason"] for row in flags(lab).values()} == {"worse"}
    assert phases(lab) == ["ROLLED_BACK", "PENDING"]
    assert stop_files(lab) == []


def test_a_running_system_obeys_a_damaged_home_s_emergency(lab):
    system = Phase4System(str(lab.home))
    lab.done(f"rollout cancel {PLAN}", f"flags rollout {FLAG} 100")
    assert system.is_feature_enabled(FLAG, "user-1")
    whole = (lab.home / "control.db").read_bytes()
    (lab.home / "control.db").write_bytes(b"damaged")
    lab.done(f"emergency rollback {FLAG} bad")
    assert not system.is_feature_enabled(FLAG, "user-1")
    system.close()
    (lab.home / "control.db").write_bytes(whole)


def test_a_locked_database_is_waited_for_and_then_left(lab, monkeypatch):
    monkeypatch.setattr(emergency, "BUSY_MS", 10)
    lock = sqlite3.connect(lab.home / "control.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    answer = lab("emergency disable bad --json")
    lock.execute("ROLLBACK")
    lock.close()
    assert (answer.status, answer.data["recorded"]) == (0, False)
    assert "is locked by another process" in answer.body["warnings"][0]


def test_a_lock_of_another_emergency_is_waited_for_and_then_left(lab, monkeypatch):
    monkeypatch.setattr(emergency, "BUSY_MS", 10)
    with (lab.home / "emergency.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = lab("emergency disable bad --json")
    assert (answer.status, answer.data["recorded"]) == (0, False)
    assert "another emergency holds the lock" in answer.body["warnings"][0]
    assert {row["held"] for row in flags(lab).values()} == {"emergency"}
    assert stop_files(lab) == []


@pytest.mark.parametrize("line", ["emergency disable bad", f"emergency rollback {FLAG} bad"])
def test_without_its_database_file_it_is_done_and_the_record_waits(lab, tmp_path, line):
    moved = [path.rename(tmp_path / path.name) for path in lab.home.glob("control.db*")]
    answer = lab.done(f"{line} --json")
    assert answer.data["recorded"] is False
    assert "recording pending" in answer.body["warnings"][0]
    for path in moved:
        path.rename(lab.home / path.name)
    assert flags(lab)[FLAG]["held"] == "emergency"
    assert stop_files(lab) == []


def test_a_stop_of_a_flag_that_is_not_there_is_recorded_as_what_it_is(lab):
    whole = (lab.home / "control.db").read_bytes()
    (lab.home / "control.db").write_bytes(b"damaged")
    lab.done("emergency rollback no-such-flag bad")
    (lab.home / "control.db").write_bytes(whole)
    (alert,) = lab.done("alerts list --severity critical --json").data["alerts"]
    assert (alert["message"], alert["flag_key"]) == ("emergency: bad", None)
    assert {row["held"] for row in flags(lab).values()} == {None}
    assert stop_files(lab) == []


def test_a_home_that_is_not_there_cannot_be_stopped(tmp_path):
    answer = Lab(tmp_path / "home")("emergency disable bad --json")
    assert (answer.status, answer.error["code"]) == (6, "NOT_INITIALISED")
