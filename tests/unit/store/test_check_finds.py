"""What `store check` finds: a database that is not whole, rows out of step with the journal, and no false alarm."""

import json
import os
import random
import shutil
import sqlite3
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from phase4.cli.main import main
from phase4.clock import ManualClock
from phase4.errors import NotInitialised, StoreUnavailable
from phase4.rollout.events import Cancelled, Completed, Paused, PauseReason, RolledBack
from phase4.store import care, emergency, orders, stops
from phase4.store import home as homes
from phase4.store.control import ControlStore
from phase4.store.stops import EVERYTHING, Stop
from tests.data.homes.make import CHECKOUT, SEARCH, START, add_plan, change, create, plan, record, start, started

AT = START + 7
LUNCH = Paused(at_ms=AT, reason=PauseReason.OPERATOR, note="lunch")
OFF = Paused(at_ms=AT, reason=PauseReason.FLAG_DISABLED, note="odd logs")
ROLLED_BACK = RolledBack(at_ms=AT, guardrail="error_rate", reason="errors", is_emergency=False, tick=4)
FIRE = Stop("fire-1", EVERYTHING, "fire", "ana", AT, rolls_back=False)
PLACES = 25


@pytest.fixture
def store(home):
    made = create(home, ManualClock(START))
    yield made
    made.close()


@pytest.fixture
def row(store):
    """The plan of checkout, in its first stage, after a pause."""
    row = started(store)
    record(store, row, LUNCH)
    return row


@pytest.fixture
def closed(store, row):
    """The same home, and nobody has its database open."""
    store.close()


def damage(store, sql, *values):
    """Change a row behind the store's back."""
    store.connection.execute("PRAGMA foreign_keys = OFF")
    assert store.connection.execute(sql, values).rowcount == 1


def checked(home):
    return care.check(str(home))


def overwrite(home, place, data):
    with (home / homes.CONTROL).open("r+b") as file:
        file.seek(place)
        file.write(data)


def run(home, *words):
    """Run one command line in this process; return its status, and what it wrote to stdout and stderr."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([*words, "--home", str(home)])
    return status, out.getvalue(), err.getvalue()


@contextmanager
def beside(work, ends):
    """Do something in another thread meanwhile; it ends with this block, also where that fails."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


# --------------------------------------------------------------------------------------------- no database
def cut(path, size):
    os.truncate(path, size)


HARMS = {
    "overwritten": lambda path: path.write_bytes(b"\xaa" * path.stat().st_size),
    "no database": lambda path: path.write_bytes(b"no database" * 1_000),
    "short": lambda path: path.write_bytes(b"damaged"),
    "truncated to half": lambda path: cut(path, path.stat().st_size // 2),
    "truncated to a page": lambda path: cut(path, 4_096),
    "truncated to less than its header": lambda path: cut(path, 50),
    "empty": lambda path: cut(path, 0),
}
each_harm = pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)


@each_harm
def test_a_damaged_database_is_a_finding(home, closed, harm):
    harm(home / homes.CONTROL)
    status, out, err = run(home, "store", "check")
    assert (status, err) == (1, "")
    assert out.startswith("control.db")


@each_harm
def test_a_damaged_database_is_a_finding_in_json_too(home, closed, harm):
    harm(home / homes.CONTROL)
    status, out, _ = run(home, "store", "check", "--json")
    answer = json.loads(out)
    assert (status, answer["ok"], set(answer["data"])) == (1, True, {"findings"})
    assert answer["data"]["findings"]


@each_harm
def test_the_check_of_a_damaged_database_does_not_send_to_itself(home, closed, harm):
    harm(home / homes.CONTROL)
    assert not any("store check" in finding for finding in checked(home))


@each_harm
def test_the_check_of_a_damaged_database_changes_no_byte_of_it(home, closed, harm):
    harm(home / homes.CONTROL)
    before = (home / homes.CONTROL).read_bytes()
    checked(home)
    assert (home / homes.CONTROL).read_bytes() == before


def test_a_database_that_is_none_says_what_restores_it(home, closed):
    (home / homes.CONTROL).write_bytes(b"no database" * 1_000)
    assert checked(home) == [
        "control.db cannot be read: file is not a database; a backup restores it: phase4 store restore DIR"
    ]


def test_a_database_without_tables_is_a_finding(home, closed):
    (home / homes.CONTROL).unlink()
    sqlite3.connect(home / homes.CONTROL).execute("PRAGMA user_version = 1").connection.close()
    (home / homes.CONTROL).chmod(0o600)
    assert any("no such table" in finding for finding in checked(home))


def test_a_database_of_a_newer_schema_is_a_finding(home, store):
    store.connection.execute("PRAGMA user_version = 99")
    store.close()
    assert checked(home) == ["control.db: has schema 99, this version knows 2: nothing in it was looked at"]


def test_a_version_that_is_gone_is_a_finding(home, store):
    damage(store, "DELETE FROM meta WHERE k = 'version'")
    store.close()
    assert checked(home) == ["control.db: its version is gone"]


def test_a_stop_beside_a_damaged_database_is_found_too(home, closed):
    (home / homes.CONTROL).write_bytes(b"no database" * 1_000)
    stops.write(str(home), FIRE)
    assert [finding.split(":")[0] for finding in checked(home)] == ["control.db cannot be read", "emergency"]


def test_a_missing_home_is_no_finding(tmp_path):
    with pytest.raises(NotInitialised):
        checked(tmp_path / "none")
    assert run(tmp_path / "none", "store", "check")[0] == 6


def test_a_home_whose_database_is_missing_is_not_initialised(home, closed):
    for path in home.glob("control.db*"):
        path.unlink()
    assert run(home, "store", "check")[0] == 6


def test_a_database_that_is_locked_is_no_finding(home, closed, monkeypatch):
    monkeypatch.setattr(care, "BUSY_MS", 10)
    holder = sqlite3.connect(home / homes.CONTROL, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable, match="is locked by another process"):
        checked(home)
    holder.close()


def test_random_damage_is_one_line_for_each_finding_and_never_a_crash(home, closed):
    whole, chance = (home / homes.CONTROL).read_bytes(), random.Random(7)
    for _ in range(PLACES):
        (home / homes.CONTROL).write_bytes(whole)
        place, size = chance.randrange(len(whole)), chance.choice([1, 4, 64, 2_000])
        overwrite(home, place, chance.randbytes(size))
        status, out, err = run(home, "store", "check")
        found = json.loads(run(home, "store", "check", "--json")[1])["data"]["findings"]
        assert (status, err) == (int(bool(found)), ""), (place, size)
        assert len(out.splitlines()) == max(len(found), 1), (place, size)
        for left in home.glob("control.db-*"):
            left.unlink()


def test_a_damaged_text_that_speaks_of_a_lock_is_a_finding(store, row):
    damage(store, "UPDATE flag SET definition = CAST(x'6c6f636b6564ff' AS TEXT) WHERE flag_key = 'search'")
    assert care.findings(store)


# --------------------------------------------------------------------------------------------- the flag and its journal
@pytest.mark.parametrize("entry", [0, 2])
def test_an_entry_that_is_not_the_live_plan_s_is_found(store, row, entry):
    damage(store, "UPDATE flag SET entry = ? WHERE flag_key = 'checkout'", entry)
    assert care.findings(store) == [f"checkout: its entry is {entry}, its journal says 1"]


@pytest.mark.parametrize("event", [Completed(at_ms=AT), Cancelled(at_ms=AT, reason="x"), ROLLED_BACK])
def test_an_entry_without_a_live_plan_is_found(store, event):
    record(store, started(store), event)
    damage(store, "UPDATE flag SET entry = 1 WHERE flag_key = 'checkout'")
    assert care.findings(store) == ["checkout: its entry is 1, its journal says 0"]


def test_an_entry_of_a_flag_that_never_had_a_plan_is_found(store):
    damage(store, "UPDATE flag SET entry = 3 WHERE flag_key = 'search'")
    assert care.findings(store) == ["search: its entry is 3, its journal says 0"]


def test_a_number_of_entries_below_the_journal_s_is_found(store, row):
    damage(store, "UPDATE flag SET entries = 0 WHERE flag_key = 'checkout'")
    assert care.findings(store) == ["checkout: 0 entries were given, its journal says 1"]


def test_an_event_that_was_not_applied_is_found(store, row):
    record(store, row, OFF)
    damage(store, "UPDATE flag SET journal_seq = 1 WHERE flag_key = 'checkout'")
    assert care.findings(store) == ["checkout: event 1 was applied last, its journal says 3"]


def test_an_applied_event_of_another_flag_is_found(store, row):
    started(store, plan(SEARCH))
    damage(store, "UPDATE flag SET journal_seq = 1 WHERE flag_key = 'search'")
    assert care.findings(store) == ["search: event 1 was applied last, its journal says 3"]


def test_an_applied_event_of_a_flag_without_plans_is_found(store, row):
    damage(store, "UPDATE flag SET journal_seq = 1 WHERE flag_key = 'search'")
    assert care.findings(store) == ["search: event 1 was applied last, its journal says 0"]


def test_a_last_event_that_is_missing_is_found(store, row):
    record(store, row, OFF)
    damage(store, "DELETE FROM journal WHERE plan_seq = 3")
    assert "checkout: event 3 was applied last, its journal says 1" in care.findings(store)


def test_a_hold_that_was_taken_away_is_found(store, row):
    record(store, row, ROLLED_BACK)
    damage(store, "UPDATE flag SET held = NULL WHERE flag_key = 'checkout'")
    assert care.findings(store) == ["checkout: is not held, the audit log says by rollback"]


def test_a_hold_that_nobody_ordered_is_found(store):
    damage(store, "UPDATE flag SET held = 'emergency' WHERE flag_key = 'search'")
    assert care.findings(store) == ["search: is held by emergency, the audit log says by nobody"]


def test_the_hold_of_an_emergency_that_was_taken_away_is_found(store):
    emergency.stop(store.home, FIRE, store.now)
    damage(store, "UPDATE flag SET held = NULL WHERE flag_key = 'search'")
    assert care.findings(store) == ["search: is not held, the audit log says by emergency"]


def test_a_hold_that_was_taken_away_is_found_behind_other_leaves_of_the_flag(store):
    emergency.stop(store.home, FIRE, store.now)
    change(store, lambda making: making.audit("x", SEARCH, before=None, after={"salt": "x"}, reason='"enabled":'))
    damage(store, "UPDATE flag SET held = NULL WHERE flag_key = 'search'")
    assert care.findings(store) == ["search: is not held, the audit log says by emergency"]


def test_a_definition_that_cannot_be_read_is_found(store):
    damage(store, "UPDATE flag SET definition = '[1' WHERE flag_key = 'search'")
    (finding,) = care.findings(store)
    assert finding.startswith("search: its definition cannot be read: ")


# --------------------------------------------------------------------------------------------- no false alarm
def released(store, flag_key=CHECKOUT):
    orders.enable(store, flag_key, actor="ana", request_id=os.urandom(4).hex(), reason="fixed", releases=True)


def test_a_hold_that_was_lifted_is_no_finding(store, row):
    record(store, row, ROLLED_BACK)
    released(store)
    assert care.findings(store) == []


def test_a_hold_that_was_lifted_by_a_new_plan_is_no_finding(store, row):
    record(store, row, ROLLED_BACK)
    start(store, add_plan(store, plan(number=2, first_entry=2)))
    assert (store.flag(CHECKOUT).held, care.findings(store)) == (None, [])


def test_a_plan_that_waits_under_a_hold_is_no_finding(store, row):
    record(store, row, ROLLED_BACK)
    add_plan(store, plan(number=2, first_entry=2))
    assert (store.flag(CHECKOUT).held, care.findings(store)) == ("rollback", [])


def test_an_emergency_and_its_end_are_no_finding(store, row):
    emergency.stop(store.home, FIRE, store.now)
    held = care.findings(store)
    released(store)
    assert (held, care.findings(store)) == ([], [])


def test_a_hold_while_the_audit_log_is_off_is_no_finding(store, row):
    change(store, lambda making: making.set_meta("audit_off", 1))
    record(store, row, ROLLED_BACK)
    held = care.findings(store)
    released(store)
    assert (held, care.findings(store)) == ([], [])


def test_the_emergency_limit_of_a_flag_without_a_plan_is_no_finding(store):
    held = {"held": "emergency", "held_reason": "errors", "held_ms": AT}
    change(store, lambda making: making.set_flag(store.flag(SEARCH), "emergency", "errors", enabled=False, **held))
    assert care.findings(store) == []


def test_a_check_while_others_write_has_no_findings(home, store):
    """Flag, journal and audit log are of one moment."""
    ends = threading.Event()

    def toggle():
        writer = ControlStore(str(home), lambda: AT)
        row = started(writer)
        while not ends.is_set():
            orders.disable(writer, CHECKOUT, actor="ana", request_id=os.urandom(8).hex(), reason=None)
            orders.enable(writer, CHECKOUT, actor="ana", request_id=os.urandom(8).hex(), reason=None)
        record(writer, row, LUNCH)
        writer.close()

    with beside(toggle, ends):
        found = [finding for _ in range(60) for finding in care.findings(store)]
    assert found == []


# --------------------------------------------------------------------------------------------- plan and journal
def edited(store, row, **values):
    body = {**json.loads(store.plan(row.plan_id).body), **values}
    damage(store, "UPDATE plan SET body = ? WHERE plan_id = ?", json.dumps(body, sort_keys=True), row.plan_id)


def test_a_plan_whose_body_was_edited_is_found(store, row):
    edited(store, row, alpha=0.4)
    assert care.findings(store) == ["checkout.1: its plan is not what its digest says"]


def test_a_stage_that_was_edited_is_found(store, row):
    stages = json.loads(row.body)["stages"]
    stages[0]["bake"] += 1
    edited(store, row, stages=stages)
    assert care.findings(store) == ["checkout.1: its plan is not what its digest says"]


def test_a_digest_that_was_edited_is_found(store, row):
    damage(store, "UPDATE plan SET digest = 'ff' WHERE plan_id = 'checkout.1'")
    assert care.findings(store) == ["checkout.1: its plan is not what its digest says"]


def test_a_plan_that_names_another_is_found(store, row):
    edited(store, row, plan_id="search.1")
    assert care.findings(store) == ["checkout.1: its plan is called search.1"]


def test_a_plan_of_another_flag_is_found(store, row):
    damage(store, "UPDATE plan SET flag_id = 2 WHERE plan_id = 'checkout.1'")
    assert "checkout.1: its plan is for checkout, and its row for search" in care.findings(store)


NONSENSE = ["[]", "[1]", "5", "null", '"x"', "{", "", '[["schema",1]]', '{"schema":1,"kind":["x"]}', "[" * 50_000]


@pytest.mark.parametrize("body", NONSENSE, ids=lambda body: body[:12])
def test_a_journal_body_that_is_no_event_is_found(store, row, body):
    damage(store, "UPDATE journal SET body = ? WHERE plan_seq = 2", body)
    (finding,) = care.findings(store)
    assert finding.startswith("checkout.1 cannot be read: event 2: ")


@pytest.mark.parametrize("body", NONSENSE, ids=lambda body: body[:12])
def test_a_plan_body_that_is_no_plan_is_found(store, row, body):
    damage(store, "UPDATE plan SET body = ?", body)
    (finding,) = care.findings(store)
    assert finding.startswith("checkout.1 cannot be read: ")


@pytest.mark.parametrize(
    ("values", "shown"),
    [("kind = 'resumed'", "resumed"), ("at_ms = 5", "paused at 5")],
)
def test_an_event_that_is_kept_as_another_is_found(store, row, values, shown):
    damage(store, f"UPDATE journal SET {values} WHERE plan_seq = 2")
    (finding,) = care.findings(store)
    assert finding.startswith(f"checkout.1: event 2 is kept as {shown}")


def test_an_event_whose_values_are_of_other_types_is_a_finding(store, row):
    body = '{"schema":1,"kind":"stage_entered","at_ms":"x","stage":"a","entry":[],"percentage":{},"cause":"start"}'
    damage(store, "UPDATE journal SET body = ? WHERE plan_seq = 1", body)
    assert care.findings(store)


def test_bytes_that_are_no_text_are_a_finding(store, row):
    damage(store, "UPDATE journal SET body = CAST(x'7bff' AS TEXT) WHERE plan_seq = 2")
    assert any(finding.startswith("checkout.1 cannot be read: ") for finding in care.findings(store))


@pytest.mark.parametrize("body", ['{"schema":"\\ud800"}', '{"schema":"a\\nb"}', '{"schema":"\\u001b[2J"}'])
def test_a_finding_is_one_printable_line(home, store, row, body):
    damage(store, "UPDATE journal SET body = ? WHERE plan_seq = 2", body)
    (finding,) = care.findings(store)
    assert finding.isprintable()
    assert run(home, "store", "check")[1] == f"{finding}\n"


def test_several_damages_are_all_found(store, row):
    started(store, plan(SEARCH))
    record(store, store.plan("search.1"), LUNCH)
    edited(store, row, alpha=0.4)
    damage(store, "UPDATE journal SET body = '[]' WHERE plan_id = 'checkout.1' AND plan_seq = 1")
    damage(store, "UPDATE journal SET body = '5' WHERE plan_id = 'checkout.1' AND plan_seq = 2")
    damage(store, "DELETE FROM journal WHERE plan_id = 'search.1' AND plan_seq = 1")
    damage(store, "UPDATE plan SET body = '{}' WHERE plan_id = 'search.1'")
    damage(store, "UPDATE flag SET definition = '5', held = 'rollback' WHERE flag_key = 'search'")
    damage(store, "UPDATE audit SET leaf = x'00' WHERE seq = 1")
    assert [finding.split(": ")[0] for finding in care.findings(store)] == [
        "checkout.1 cannot be read",
        "checkout.1 cannot be read",
        "checkout.1",
        "journal of search.1",
        "search.1 cannot be read",
        "search",
        "search",
        "audit",
    ]


# --------------------------------------------------------------------------------------------- epoch, stops, files
def test_a_bell_that_was_not_rung_is_no_finding(store, row):
    store.epoch.ring(store.version - 1)
    assert care.findings(store) == []


def test_a_bell_that_is_ahead_of_the_database_is_found(store, row):
    store.epoch.ring(77)
    assert care.findings(store) == [f"epoch: says version 77, the database {store.version}: changes are gone"]


def test_an_epoch_that_is_missing_is_found_and_not_made(home, closed):
    (home / homes.EPOCH).unlink()
    assert [checked(home), checked(home)] == [["epoch: is missing"]] * 2


@pytest.mark.parametrize(("size", "told"), [(0, 0), (63, 63), (65, "more"), (4_096, "more")])
def test_an_epoch_of_another_size_is_found(home, closed, size, told):
    os.truncate(home / homes.EPOCH, size)
    assert [checked(home), checked(home)] == [[f"epoch: has {told} bytes, not 64"]] * 2


def test_a_stop_that_is_not_recorded_is_found_and_left(home, closed):
    stops.write(str(home), FIRE)
    assert run(home, "store", "check")[:2] == (1, "emergency: fire-1 is not recorded yet: fire\n")
    assert stops.pending(str(home)) == [FIRE]


def test_files_may_come_and_go_while_a_home_is_looked_at(home, store):
    ends, path = threading.Event(), home / "control.db-journal"

    def come_and_go():
        while not ends.is_set():
            path.touch(mode=0o600)
            path.unlink()

    with beside(come_and_go, ends):
        found = [finding for _ in range(3_000) for finding in homes.findings(str(home))]
    assert found == []


def test_a_whole_home_has_no_findings(home, closed, tmp_path):
    shutil.copytree(home, tmp_path / "copy")
    assert (checked(home), checked(tmp_path / "copy")) == ([], [])
