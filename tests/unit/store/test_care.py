"""Care of the control plane: every planted damage is found, and a backup makes an equal home."""

import json
import sqlite3
import stat

import pytest

from phase4.clock import ManualClock
from phase4.errors import StoreUnavailable, UsageError, WriteFailed
from phase4.rollout.events import Cancelled, Completed, Paused, PauseReason, RolledBack
from phase4.store import backup as backups
from phase4.store import care, orders, stops
from phase4.store import home as homes
from phase4.store.control import ControlStore
from phase4.store.stops import EVERYTHING, Stop
from tests.data.homes.make import CHECKOUT, SEARCH, START, add_plan, change, create, dump, plan, record, started

AT = START + 7
PAUSED = Paused(at_ms=AT, reason=PauseReason.OPERATOR, note="lunch")


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


@pytest.fixture
def row(store):
    """The plan of checkout, in its first stage, after a pause."""
    row = started(store)
    record(store, row, PAUSED)
    return row


def damage(store, sql, *values):
    """Change a row behind the store's back."""
    store.connection.execute("PRAGMA foreign_keys = OFF")
    assert store.connection.execute(sql, values).rowcount == 1


# --------------------------------------------------------------------------------------------- nothing is wrong
def test_a_new_home_is_clean(store):
    assert care.findings(store) == []


@pytest.mark.parametrize(
    "event",
    [
        PAUSED,
        Paused(at_ms=AT, reason=PauseReason.FLAG_DISABLED, note="off"),
        Paused(at_ms=AT, reason=PauseReason.LOWERED, note="less", percentage=1.0),
        RolledBack(at_ms=AT, guardrail=None, reason="by hand", is_emergency=False, tick=None),
        Completed(at_ms=AT),
        Cancelled(at_ms=AT, reason="not wanted"),
    ],
    ids=lambda event: f"{event.kind} {getattr(event, 'reason', '')}",
)
def test_a_plan_is_clean_after_every_event(store, event):
    record(store, started(store), event)
    assert care.findings(store) == []


def test_a_flag_under_a_pending_plan_may_be_set_by_hand(store):
    add_plan(store, plan(SEARCH))
    orders.set_percentage(store, SEARCH, 40.0, maximum=100.0, actor="ana", request_id="r-1", reason=None)
    assert care.findings(store) == []


def test_a_flag_may_be_set_by_hand_after_the_end_of_its_plan(store):
    record(store, started(store), Completed(at_ms=AT))
    orders.set_percentage(store, CHECKOUT, 40.0, maximum=100.0, actor="ana", request_id="r-1", reason=None)
    assert care.findings(store) == []


def test_a_stop_file_came_and_went_and_nothing_is_wrong(store):
    store.epoch.nudge()
    assert care.findings(store) == []


# --------------------------------------------------------------------------------------------- planted damage
def test_a_leaf_that_was_edited_is_found(store):
    damage(store, "UPDATE audit SET leaf = CAST(replace(leaf, 'ana', 'ben') AS BLOB) WHERE seq = 2")
    assert care.findings(store) == ["audit: leaf 2 was changed"]


def test_the_hash_of_a_leaf_that_was_edited_is_found(store):
    damage(store, "UPDATE audit SET leaf_hash = zeroblob(32) WHERE seq = 1")
    assert care.findings(store) == ["audit: leaf 1 was changed"]


def test_a_leaf_that_was_edited_with_its_hash_is_found(store):
    leaf = store.audit()[0][1].replace(b"ana", b"ben")
    damage(store, "UPDATE audit SET leaf = ?, leaf_hash = ? WHERE seq = 1", leaf, care.tree.leaf_hash(leaf))
    assert care.findings(store) == ["audit: the tree does not fit its leaves"]


def test_a_leaf_that_is_missing_is_found(store):
    damage(store, "DELETE FROM audit WHERE seq = 1")
    assert care.findings(store) == ["audit: number 1 is missing"]


def test_a_last_leaf_that_is_missing_is_found(store):
    damage(store, "DELETE FROM audit WHERE seq = 2")
    assert care.findings(store) == ["audit: the tree does not fit its leaves"]


@pytest.mark.parametrize("values", ["size = 3", "size = 1", "peaks = zeroblob(32)", "peaks = x''"])
def test_a_tree_that_was_edited_is_found(store, values):
    damage(store, f"UPDATE audit_tree SET {values}")
    assert care.findings(store) == ["audit: the tree does not fit its leaves"]


def test_two_leaves_that_were_exchanged_are_found(store):
    first, second = store.audit()
    damage(store, "UPDATE audit SET leaf = ?, leaf_hash = ? WHERE seq = 1", *second[1:])
    damage(store, "UPDATE audit SET leaf = ?, leaf_hash = ? WHERE seq = 2", *first[1:])
    assert care.findings(store) == ["audit: the tree does not fit its leaves"]


@pytest.mark.parametrize(("missing", "left"), [(1, [2, 3]), (2, [1, 3])])
def test_an_event_that_is_missing_is_found(store, row, missing, left):
    record(store, row, PAUSED)
    damage(store, "DELETE FROM journal WHERE plan_seq = ?", missing)
    assert care.findings(store) == [f"journal of checkout.1: numbers {left} have gaps"]


@pytest.mark.parametrize("body", ["", "5", "{}", '{"schema":1,"kind":"x"}', '{"schema":1,"kind":"paused","x":1}'])
def test_an_event_that_cannot_be_read_is_found(store, row, body):
    damage(store, "UPDATE journal SET body = ? WHERE plan_seq = 2", body)
    (finding,) = care.findings(store)
    assert finding.startswith("checkout.1 cannot be read: ")


@pytest.mark.parametrize("body", ["", "{}", '{"schema": 9}'])
def test_a_plan_that_cannot_be_read_is_found(store, row, body):
    damage(store, "UPDATE plan SET body = ?", body)
    (finding,) = care.findings(store)
    assert finding.startswith("checkout.1 cannot be read: ")


@pytest.mark.parametrize(("values", "shown"), [("percentage = 9.0", "9"), ("enabled = 0", "0")])
def test_a_flag_that_is_out_of_step_with_its_journal_is_found(store, row, values, shown):
    damage(store, f"UPDATE flag SET {values} WHERE flag_key = 'checkout'")
    assert care.findings(store) == [f"checkout: exposed to {shown} %, its journal says 5 %"]


def test_a_live_plan_whose_row_says_that_it_ended_is_found(store, row):
    damage(store, "UPDATE plan SET ended_ms = 5")
    assert care.findings(store) == ["checkout.1: the journal says PAUSED, the plan's row otherwise"]


def test_a_plan_that_ended_and_whose_row_says_that_it_is_live_is_found(store, row):
    record(store, row, Cancelled(at_ms=AT, reason="not wanted"))
    damage(store, "UPDATE plan SET ended_ms = NULL")
    assert care.findings(store) == ["checkout.1: the journal says CANCELLED, the plan's row otherwise"]


def test_an_epoch_that_says_a_later_version_is_found(store):
    store.epoch.ring(77)
    assert care.findings(store) == ["epoch: says version 77, the database 1: changes are gone"]


def test_a_stop_that_is_not_recorded_is_found(store):
    stops.write(store.home, Stop("fire-1", EVERYTHING, "fire", "ana", AT, rolls_back=False))
    assert care.findings(store) == ["emergency: fire-1 is not recorded yet: fire"]


def test_a_stop_file_that_cannot_be_read_is_found(home, store):
    (home / homes.STOPS / "torn.json").write_text("{")
    assert care.findings(store) == ["emergency: torn is not recorded yet: unreadable stop file torn"]


def test_a_file_that_others_can_read_is_found(home, store):
    (home / homes.CONTROL).chmod(0o644)
    assert care.findings(store) == [f"{home}/control.db may be read by others: its mode is 644"]


def test_a_home_that_others_can_enter_is_found(home, store):
    home.chmod(0o755)
    assert care.findings(store) == [f"{home} is open to others: its mode is 755, not 700"]


def test_a_value_that_the_schema_forbids_is_found(store):
    store.connection.execute("PRAGMA ignore_check_constraints = ON")
    damage(store, "UPDATE flag SET percentage = 500 WHERE flag_key = 'search'")
    store.connection.execute("PRAGMA ignore_check_constraints = OFF")
    assert care.findings(store) == ["control.db: CHECK constraint failed in flag"]


def test_a_reference_that_leads_nowhere_is_found(store, row):
    damage(store, "UPDATE journal SET plan_id = 'none.1' WHERE seq = 1")
    assert "control.db: foreign key of journal row 1" in care.findings(store)


def test_every_damage_is_found_at_once(home, store, row):
    (home / homes.CONTROL).chmod(0o640)
    damage(store, "UPDATE flag SET percentage = 9.0 WHERE flag_key = 'checkout'")
    damage(store, "DELETE FROM audit WHERE seq = 1")
    store.epoch.ring(9)
    assert [finding.split(":")[0].split("/")[-1] for finding in care.findings(store)] == [
        "control.db may be read by others",
        CHECKOUT,
        "audit",
        "epoch",
    ]


def test_a_check_repairs_nothing(store, row):
    damage(store, "UPDATE flag SET percentage = 9.0 WHERE flag_key = 'checkout'")
    store.epoch.ring(77)
    stops.write(store.home, Stop("fire-1", EVERYTHING, "fire", "ana", AT, rolls_back=False))
    before = dump(store), stops.pending(store.home)
    care.findings(store)
    assert (dump(store), stops.pending(store.home), store.epoch.version) == (*before, 77)


# --------------------------------------------------------------------------------------------- backup
@pytest.fixture
def folder(tmp_path):
    """A place for a backup, which is not there yet."""
    return tmp_path / "backups" / "one"


def test_a_backup_says_which_files_it_has(store, folder):
    assert sorted(backups.make(store, str(folder))) == ["backup.json", "control.db"]
    assert sorted(path.name for path in folder.iterdir()) == ["backup.json", "control.db"]


def test_a_backup_is_for_the_owner_alone(store, folder):
    backups.make(store, str(folder))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / homes.CONTROL)]
    assert modes == [0o700, 0o600]


def test_a_backup_has_the_digest_of_its_file_and_the_version(store, folder):
    backups.make(store, str(folder))
    index = json.loads((folder / backups.INDEX).read_text())
    assert index == {"schema": 1, "version": 1, "files": {"control.db": backups._digest(str(folder), "control.db")}}


def test_a_backup_has_what_is_committed_and_nothing_that_is_not(home, store, clock, folder):
    other = ControlStore(str(home), clock.now)
    other.connection.execute("BEGIN IMMEDIATE")
    other.connection.execute("UPDATE flag SET percentage = 1.0")
    backups.make(store, str(folder))
    other.connection.execute("ROLLBACK")
    other.close()
    copy = sqlite3.connect(folder / homes.CONTROL)
    percentages = copy.execute("SELECT percentage FROM flag ORDER BY id").fetchall()
    copy.close()
    assert percentages == [(0.0,), (100.0,)]


def test_a_backup_leaves_the_store_as_it_is(store, folder):
    before = dump(store)
    backups.make(store, str(folder))
    assert dump(store) == before


def test_a_backup_into_an_empty_folder_that_is_there_is_made(store, folder):
    folder.mkdir(parents=True)
    backups.make(store, str(folder))
    assert (folder / homes.CONTROL).is_file()


def test_a_backup_into_a_folder_with_something_in_it_is_refused(store, folder):
    folder.mkdir(parents=True)
    (folder / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        backups.make(store, str(folder))
    assert [path.name for path in folder.iterdir()] == ["note.txt"]


def test_a_backup_that_cannot_be_written_is_said(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailed, match="cannot back up to"):
        backups.make(store, str(tmp_path / "file" / "backup"))


# --------------------------------------------------------------------------------------------- restore
@pytest.fixture
def backup(store, row, folder):
    """A backup of a store with a plan in its first stage."""
    change(store, lambda making: making.alert("coverage", "high", "98.2 %", rule="target"))
    backups.make(store, str(folder))
    return folder


@pytest.fixture
def empty(tmp_path):
    """The place of another home, which is not there yet."""
    return tmp_path / "another" / "home"


@pytest.fixture
def restored(backup, empty, clock):
    backups.restore(str(empty), str(backup))
    opened = ControlStore(str(empty), clock.now)
    yield opened
    opened.close()


def test_a_restored_home_is_equal(store, restored):
    assert dump(restored) == dump(store)


def test_a_restored_home_has_the_version_of_the_backup(store, restored):
    assert restored.version == store.version


def test_a_restored_home_is_clean(restored):
    assert care.findings(restored) == []


def test_a_restored_home_is_for_the_owner_alone(restored, empty):
    assert homes.findings(str(empty)) == []


def test_a_restored_home_goes_on(restored):
    record(restored, restored.plan("checkout.1"), PAUSED)
    assert [seq for seq, _ in restored.journal("checkout.1")] == [1, 2, 3]
    assert care.findings(restored) == []


def test_what_happens_in_a_restored_home_is_not_in_the_backup(restored, backup):
    index = json.loads((backup / backups.INDEX).read_text())
    change(restored, lambda making: making.set_flag(restored.flag(SEARCH), "x", None, enabled=False))
    assert backups._digest(str(backup), homes.CONTROL) == index["files"][homes.CONTROL]


def test_a_backup_can_be_restored_twice(backup, empty, tmp_path):
    for name in ["a", "b"]:
        backups.restore(str(tmp_path / name), str(backup))
    assert (tmp_path / "a" / "control.db").read_bytes() == (tmp_path / "b" / "control.db").read_bytes()


def test_a_home_that_has_a_database_is_not_restored(home, store, backup):
    before = dump(store)
    with pytest.raises(UsageError, match="only an empty home is restored"):
        backups.restore(str(home), str(backup))
    assert dump(store) == before


def test_stop_files_outlive_the_restoring_of_their_home(backup, empty):
    homes.create(str(empty))
    order = Stop("fire-1", EVERYTHING, "fire", "ana", AT, rolls_back=False)
    stops.write(str(empty), order)
    backups.restore(str(empty), str(backup))
    assert stops.pending(str(empty)) == [order]


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]", "5"])
def test_a_folder_without_a_readable_index_is_no_backup(empty, tmp_path, content):
    if content is not None:
        (tmp_path / backups.INDEX).write_text(content)
    with pytest.raises(UsageError, match=r"is no backup: it has no readable backup.json"):
        backups.restore(str(empty), str(tmp_path))
    assert not empty.exists()


@pytest.mark.parametrize(
    "harm",
    [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!")],
    ids=["gone", "changed"],
)
def test_a_backup_whose_file_is_not_what_its_index_says_is_refused(backup, empty, harm):
    harm(backup / homes.CONTROL)
    with pytest.raises(StoreUnavailable, match=r"control.db is not what the backup's index says"):
        backups.restore(str(empty), str(backup))
    assert not empty.exists()
