"""The emergency path: off first, recorded as soon as that is possible."""

import json

import pytest

from phase4.clock import ManualClock
from phase4.errors import WriteFailed
from phase4.rollout import commands
from phase4.rollout.events import Completed
from phase4.store import backup as backups
from phase4.store import care, emergency, rollouts, stops
from phase4.store import home as homes
from phase4.store.control import ControlStore
from phase4.store.stops import EVERYTHING, Stop
from tests.data.homes.make import CHECKOUT, SEARCH, START, add_plan, create, dump, plan, record, started

AT = START + 60_000
ORDER = Stop("fire-1", EVERYTHING, "checkout is on fire", "ana", AT, rolls_back=False)
ROLL_BACK = ORDER._replace(rolls_back=True)
ROLL_BACK_SEARCH = ROLL_BACK._replace(flag_key=SEARCH)


@pytest.fixture
def clock():
    return ManualClock(AT)


@pytest.fixture
def store(home, clock):
    """A store with search on at 100 %, and checkout off at 0 %."""
    made = create(home, clock)
    yield made
    made.close()


@pytest.fixture
def row(store):
    """The plan of checkout, in its first stage."""
    return started(store)


def stop(store, order=ORDER):
    return emergency.stop(store.home, order, store.now)


def leaves(store):
    return [json.loads(leaf) for _, leaf, _ in store.audit()]


def in_force(store):
    """Return what each flag is: on or off, its percentage, what holds it and why."""
    return {flag.flag_key: (flag.enabled, flag.percentage, flag.held, flag.held_reason) for flag in store.flags()}


# --------------------------------------------------------------------------------------------- everything off
def test_everything_is_off_and_held_at_its_percentage(store, row):
    stop(store)
    assert in_force(store) == {
        CHECKOUT: (False, 5.0, "emergency", "checkout is on fire"),
        SEARCH: (False, 100.0, "emergency", "checkout is on fire"),
    }


def test_an_emergency_says_what_it_came_to(store, row):
    assert stop(store) == emergency.Stopped([CHECKOUT, SEARCH], ["checkout.1"], is_recorded=True, problem=None)


def test_an_emergency_is_one_change_of_the_store(store, row):
    before = store.version
    stop(store)
    assert store.version == before + 1


def test_an_emergency_that_is_recorded_leaves_no_stop(store):
    stop(store)
    assert (stops.pending(store.home), store.epoch.is_stopped) == ([], False)


def test_an_emergency_is_one_critical_alert_and_one_notice(store, row):
    stop(store)
    (alert,) = store.alerts("critical")
    assert (alert.type, alert.severity, alert.message) == ("rollback", "critical", "emergency: checkout is on fire")
    assert store.row("SELECT count(*) FROM outbox") == (1,)


def test_every_flag_that_an_emergency_stopped_is_in_the_audit_log(store):
    stop(store)
    told = [(leaf["action"], leaf["object"], leaf["actor"], leaf["reason"]) for leaf in leaves(store)[2:]]
    assert told == [("emergency", key, "ana", "checkout is on fire") for key in (CHECKOUT, SEARCH)]


def test_a_live_plan_is_paused(store, row):
    stop(store)
    state = rollouts.state_of(store, row.plan_id)
    assert (state.phase, state.pause_reason, state.percentage) == ("PAUSED", "flag_disabled", 0.0)
    assert store.plan(row.plan_id).ended_ms is None


def test_a_plan_that_is_paused_already_is_paused_by_the_emergency(store, row, clock):
    record(store, row, commands.pause(rollouts.state_of(store, row.plan_id), "lunch", clock.now()))
    stop(store)
    assert rollouts.state_of(store, row.plan_id).pause_reason == "flag_disabled"


def test_a_plan_that_has_not_started_is_still_pending(store):
    row = add_plan(store)
    assert stop(store).plans == []
    assert rollouts.state_of(store, row.plan_id).phase == "PENDING"


def test_a_plan_that_ended_stays_as_it_is(store, row):
    record(store, row, Completed(at_ms=AT))
    assert stop(store).plans == []
    assert rollouts.state_of(store, row.plan_id).phase == "COMPLETED"


def test_after_an_emergency_the_store_has_no_findings(store, row):
    stop(store)
    assert care.findings(store) == []


def test_the_same_emergency_again_changes_nothing(store, row):
    stop(store)
    before = dump(store)
    assert stop(store).is_recorded
    assert dump(store) == before


def test_another_emergency_is_another_alert(store):
    stop(store)
    stop(store, ORDER._replace(request_id="fire-2", reason="still"))
    assert [alert.message for alert in store.alerts("critical")] == [
        "emergency: still",
        "emergency: checkout is on fire",
    ]


def test_the_newest_emergency_says_why_a_flag_is_held(store):
    stop(store)
    stop(store, ORDER._replace(request_id="fire-2", reason="still"))
    assert store.flag(SEARCH).held_reason == "still"


# --------------------------------------------------------------------------------------------- everything rolled back
def test_a_rollback_of_everything_sets_every_flag_to_0(store, row):
    stop(store, ROLL_BACK)
    assert {(enabled, percentage, held) for enabled, percentage, held, _ in in_force(store).values()} == {
        (False, 0.0, "emergency")
    }


def test_a_rollback_of_everything_rolls_live_plans_back(store, row):
    assert stop(store, ROLL_BACK).plans == ["checkout.1"]
    assert rollouts.state_of(store, row.plan_id).phase == "ROLLED_BACK"
    assert store.plan(row.plan_id).ended_ms == AT


def test_a_rollback_of_everything_rolls_pending_plans_back_too(store):
    row = add_plan(store)
    stop(store, ROLL_BACK)
    assert rollouts.state_of(store, row.plan_id).phase == "ROLLED_BACK"


def test_each_plan_that_is_rolled_back_raises_its_alert(store, row):
    started(store, plan(SEARCH))
    stop(store, ROLL_BACK)
    assert sorted(alert.plan_id for alert in store.alerts("critical")) == ["checkout.1", "search.1"]


def test_a_rollback_of_everything_without_plans_is_one_alert(store):
    stop(store, ROLL_BACK)
    assert [alert.severity for alert in store.alerts("critical")] == ["critical"]


# --------------------------------------------------------------------------------------------- one flag rolled back
def test_a_rollback_of_one_flag_leaves_the_others(store, row):
    before = store.flag(CHECKOUT)
    assert stop(store, ROLL_BACK_SEARCH).flags == [SEARCH]
    assert (store.flag(CHECKOUT), in_force(store)[SEARCH][:3]) == (before, (False, 0.0, "emergency"))


def test_a_rollback_of_a_flag_without_a_plan_is_one_alert(store):
    stop(store, ROLL_BACK_SEARCH)
    assert [alert.message for alert in store.alerts("critical")] == ["emergency: checkout is on fire"]


def test_a_rollback_of_a_flag_with_a_plan_is_one_alert(store, row):
    stop(store, ROLL_BACK._replace(flag_key=CHECKOUT))
    assert [alert.message for alert in store.alerts("critical")] == ["checkout rolled back: checkout is on fire"]


# --------------------------------------------------------------------------------------------- a damaged journal
@pytest.fixture
def damaged(store, row):
    """The plan of checkout, whose first event cannot be read any more."""
    store.connection.execute("UPDATE journal SET body = '[]'")
    return row


def test_a_flag_whose_journal_cannot_be_read_is_switched_off_and_held(store, damaged):
    done = stop(store)
    assert (done.is_recorded, done.plans, done.unread) == (True, [], ("checkout.1",))
    assert in_force(store)[CHECKOUT] == (False, 5.0, "emergency", "checkout is on fire")


def test_a_plan_whose_journal_cannot_be_read_gets_no_event_and_stays_live(store, damaged):
    stop(store, ROLL_BACK)
    assert (len(store.journal("checkout.1")), store.plan("checkout.1").ended_ms) == (1, None)


def test_a_leaf_and_an_alert_say_which_journal_could_not_be_read(store, damaged):
    stop(store)
    told = "checkout is on fire (the journal of checkout.1 cannot be read)"
    assert [leaf["reason"] for leaf in leaves(store)[-2:]] == [told, "checkout is on fire"]
    assert [alert.message for alert in store.alerts("critical")] == [f"emergency: {told}"]


def test_a_stop_of_a_flag_whose_journal_cannot_be_read_does_not_stay_pending(store, damaged):
    stops.write(store.home, ORDER)
    emergency.record_pending(store)
    assert (stops.pending(store.home), store.epoch.is_stopped) == ([], False)


# --------------------------------------------------------------------------------------------- recorded later
def test_a_stop_that_was_left_over_is_recorded_and_lifted(store):
    stops.write(store.home, ORDER)
    assert emergency.record_pending(store) == [ORDER]
    assert (store.flag(SEARCH).held, stops.pending(store.home)) == ("emergency", [])


def test_a_stop_is_recorded_under_the_name_of_who_ordered_it(store):
    stops.write(store.home, ORDER._replace(actor="ben"))
    emergency.record_pending(store)
    assert leaves(store)[-1]["actor"] == "ben"


def test_a_stop_is_recorded_once(store, row):
    for _ in range(3):
        stops.write(store.home, ORDER)
        emergency.record_pending(store)
    assert [alert.times for alert in store.alerts("critical")] == [1]
    assert [leaf["action"] for leaf in leaves(store)].count("emergency") == 2


def test_a_stop_whose_writer_died_after_the_commit_is_only_lifted(store):
    stop(store)
    before = dump(store)
    stops.write(store.home, ORDER)
    emergency.record_pending(store)
    assert (dump(store), stops.pending(store.home)) == (before, [])


def test_a_stop_that_was_left_over_clears_the_stop_word(store):
    stops.write(store.home, ORDER)
    store.epoch.stop()
    emergency.record_pending(store)
    assert not store.epoch.is_stopped


def test_stops_are_recorded_the_oldest_first(store):
    stops.write(store.home, ORDER._replace(request_id="a", at_ms=AT + 1, reason="second"))
    stops.write(store.home, ORDER._replace(request_id="b", at_ms=AT, reason="first"))
    emergency.record_pending(store)
    assert store.flag(SEARCH).held_reason == "second"


def test_an_unreadable_stop_file_is_recorded_as_a_stop_of_everything(home, store):
    (home / homes.STOPS / "torn.json").write_text('{"flag_k')
    emergency.record_pending(store)
    assert {held for _, _, held, _ in in_force(store).values()} == {"emergency"}
    assert store.flag(SEARCH).held_reason == "unreadable stop file torn"


def test_a_stop_of_a_flag_that_is_not_there_is_recorded_as_what_it_is(home, store):
    stops.write(store.home, ROLL_BACK_SEARCH._replace(flag_key="serach"))
    emergency.record_pending(store)
    assert (stops.pending(store.home), [alert.severity for alert in store.alerts("critical")]) == ([], ["critical"])
    assert store.flag(SEARCH).enabled


def test_a_stop_of_a_flag_that_is_not_there_does_not_keep_the_others(store):
    stops.write(store.home, ORDER._replace(request_id="a", at_ms=1, flag_key="serach"))
    stops.write(store.home, ORDER._replace(request_id="b", at_ms=2))
    emergency.record_pending(store)
    assert store.flag(SEARCH).held == "emergency"


def test_without_stops_there_is_nothing_to_record(store):
    before = dump(store)
    assert emergency.record_pending(store) == []
    assert dump(store) == before


def test_the_stop_word_stays_while_a_stop_of_everything_is_pending(home, store):
    stops.write(store.home, ORDER)
    store.epoch.stop()
    stop(store, ROLL_BACK_SEARCH._replace(request_id="fire-2"))
    assert (store.epoch.is_stopped, [left.request_id for left in stops.pending(store.home)]) == (True, ["fire-1"])


# --------------------------------------------------------------------------------------------- nothing works
def test_where_neither_a_stop_file_nor_a_record_can_be_written_it_is_an_error(home):
    with pytest.raises(WriteFailed, match="no stop file could be written"):
        emergency.stop(str(home), ORDER, lambda: AT)


def test_where_no_stop_file_can_be_written_the_record_alone_will_do(home, store, row):
    (home / homes.STOPS).rmdir()
    assert stop(store).is_recorded
    assert store.flag(SEARCH).held == "emergency"


def test_where_no_stop_file_can_be_written_and_nothing_recorded_the_stop_word_holds(home, store):
    (home / homes.STOPS).rmdir()
    (home / homes.CONTROL).unlink()
    with pytest.raises(WriteFailed):
        stop(store)
    assert store.epoch.is_stopped


def test_where_the_database_is_deleted_the_stop_file_is_the_record(home, store):
    (home / homes.CONTROL).unlink()
    done = stop(store)
    assert (done.flags, done.is_recorded, done.problem) == ([], False, f"{home} is not initialised")
    assert (stops.pending(store.home), store.epoch.is_stopped) == ([ORDER], True)


def test_where_the_database_is_no_database_the_stop_file_is_the_record(home, store):
    store.close()
    (home / homes.CONTROL).write_bytes(b"no database" * 500)
    assert "is damaged" in emergency.stop(str(home), ORDER, lambda: AT).problem
    assert stops.pending(str(home)) == [ORDER]


def test_a_stop_rings_although_it_cannot_be_recorded(home, store):
    before = store.epoch.words[0]
    (home / homes.CONTROL).unlink()
    stop(store)
    assert store.epoch.words[0] != before


def test_a_stop_of_one_flag_that_cannot_be_recorded_leaves_the_stop_word(home, store):
    (home / homes.CONTROL).unlink()
    stop(store, ROLL_BACK_SEARCH)
    assert (store.epoch.is_stopped, stops.pending(store.home)) == (False, [ROLL_BACK_SEARCH])


def test_a_home_whose_epoch_is_gone_has_a_new_one_that_stops(home, store):
    (home / homes.EPOCH).unlink()
    (home / homes.CONTROL).unlink()
    stop(store)
    assert (home / homes.EPOCH).read_bytes()[8:16] == (1).to_bytes(8, "little")


def test_a_stop_is_recorded_by_whoever_opens_the_repaired_store(home, store, tmp_path, clock):
    backups.make(store, str(tmp_path / "backup"))
    store.close()
    for path in home.glob("control.db*"):
        path.unlink()
    emergency.stop(str(home), ORDER, lambda: AT)
    backups.restore(str(home), str(tmp_path / "backup"))
    repaired = ControlStore(str(home), clock.now)
    emergency.record_pending(repaired)
    found = in_force(repaired)[SEARCH], stops.pending(str(home)), repaired.epoch.is_stopped, care.findings(repaired)
    repaired.close()
    assert found == ((False, 100.0, "emergency", "checkout is on fire"), [], False, [])
