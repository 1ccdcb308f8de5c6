"""A journal event and all that follows from it, in one transaction."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from phase4.analysis.specs import RateGuardrail, RatioGuardrail, ThresholdGuardrail
from phase4.analysis.verdict import Verdict
from phase4.clock import ManualClock
from phase4.errors import JournalConflict
from phase4.rollout import commands
from phase4.rollout.events import (
    ApprovalDropped,
    ApprovalGiven,
    ApprovalRequested,
    Cancelled,
    Completed,
    EntryCause,
    Paused,
    PauseReason,
    Resumed,
    RolledBack,
    StageEntered,
)
from phase4.rollout.guardrail_table import default_guardrails
from phase4.store import care, rollouts
from phase4.store.control import ControlStore
from tests.data.homes.make import (
    CHECKOUT,
    ROOT,
    SEARCH,
    START,
    Eye,
    add_plan,
    but_for_replies,
    change,
    controller,
    create,
    dump,
    new_request_id,
    plan,
    record,
    start,
    started,
)

AT = START + 7
ENTERED = StageEntered(at_ms=AT, stage=1, entry=2, percentage=10.0, cause=EntryCause.PROMOTED)
ASKED = ApprovalRequested(at_ms=AT, stage=2, expires_ms=AT + 1)
GIVEN = ApprovalGiven(at_ms=AT, approver="ana")
DROPPED = ApprovalDropped(at_ms=AT, reason="the request expired")
PAUSED = Paused(at_ms=AT, reason=PauseReason.OPERATOR, note="lunch")
TOO_LONG = Paused(at_ms=AT, reason=PauseReason.MAX_DURATION, note="error_rate is NO_DATA")
DISABLED = Paused(at_ms=AT, reason=PauseReason.FLAG_DISABLED, note="odd logs")
LOWERED = Paused(at_ms=AT, reason=PauseReason.LOWERED, note="less", percentage=3.0)
RESUMED = Resumed(at_ms=AT, granted_ms=0)
ROLLED_BACK = RolledBack(at_ms=AT, guardrail="error_rate", reason="error_rate failed", is_emergency=False, tick=4)
EMERGENCY = replace(ROLLED_BACK, is_emergency=True)
COMPLETED = Completed(at_ms=AT)
CANCELLED = Cancelled(at_ms=AT, reason="not wanted")
EVENTS = {
    "entered": ENTERED,
    "approval requested": ASKED,
    "approval given": GIVEN,
    "approval dropped": DROPPED,
    "paused by an operator": PAUSED,
    "paused after max_duration": TOO_LONG,
    "paused by disable": DISABLED,
    "paused by lowering": LOWERED,
    "resumed": RESUMED,
    "rolled back": ROLLED_BACK,
    "rolled back by the emergency limit": EMERGENCY,
    "completed": COMPLETED,
    "cancelled": CANCELLED,
}
OFF = {"enabled": False, "percentage": 0.0, "entry": 0, "held": "rollback", "held_reason": "error_rate failed"}
EFFECTS = {
    "entered": {"percentage": 10.0, "entry": 2, "entries": 2},
    "paused by disable": {"enabled": False},
    "paused by lowering": {"percentage": 3.0},
    "rolled back": {**OFF, "held_ms": AT},
    "rolled back by the emergency limit": {**OFF, "held_ms": AT, "held": "emergency"},
    "completed": {"entry": 0},
    "cancelled": {"entry": 0},
}
STARTED = "entered checkout.1 1"
ALERTS = {
    "entered": ("rollout", "low", "checkout.1 entered stage 2 (10 %)"),
    "approval requested": ("rollout", "low", "checkout.1 asks approval for stage 3"),
    "paused after max_duration": (
        "rollout",
        "medium",
        "checkout.1 reached its longest time in this stage: error_rate is NO_DATA",
    ),
    "rolled back": ("rollback", "critical", "checkout rolled back: error_rate failed"),
    "rolled back by the emergency limit": ("rollback", "critical", "checkout rolled back: error_rate failed"),
    "completed": ("rollout", "low", "checkout.1 completed"),
}
ENDS = {"rolled back", "rolled back by the emergency limit", "completed", "cancelled"}
REASONS = {
    "paused by an operator": "lunch",
    "paused after max_duration": "error_rate is NO_DATA",
    "paused by disable": "odd logs",
    "paused by lowering": "less",
    "resumed": "resumed",
    "rolled back": "error_rate failed",
    "rolled back by the emergency limit": "error_rate failed",
    "cancelled": "not wanted",
}
each_event = pytest.mark.parametrize("name", EVENTS)


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
    """The plan of checkout, in its first stage."""
    return started(store)


# --------------------------------------------------------------------------------------------- plans and events
@pytest.mark.parametrize(
    "guardrails",
    [
        default_guardrails([5, 10, 25]),
        ((RateGuardrail(name="emergency", limit=0.02, emergency=True, prove=False),),) * 3,
        ((RatioGuardrail(name="error_ratio", max_ratio=1.1, min_units=500),),) * 3,
        ((ThresholdGuardrail(name="error_rate", limit=0.01),),) * 3,
    ],
    ids=["default", "rate", "ratio", "threshold"],
)
def test_a_plan_is_read_back_to_the_letter(store, guardrails):
    wanted = replace(plan(approvals_required=2, auto=False, first_entry=4), guardrails=guardrails)
    add_plan(store, wanted)
    assert rollouts.plan_of(store.plan("checkout.1")) == wanted


def test_a_plan_that_was_kept_has_the_digest_of_the_plan(store):
    assert add_plan(store).digest == plan().digest


@each_event
def test_an_event_is_read_back_as_it_was_recorded(store, row, name):
    record(store, row, EVENTS[name])
    assert rollouts.events_of(store, row.plan_id)[1:] == (EVENTS[name],)


@each_event
def test_an_event_has_its_number_kind_time_and_order_in_the_journal(store, row, name):
    request_id = new_request_id()
    change(store, lambda making: rollouts.record(making, row, 2, EVENTS[name]), request_id=request_id)
    *_, (seq, at_ms, plan_id, kind, body, order) = store.history()
    assert (seq, at_ms, plan_id, kind, order) == (2, AT, "checkout.1", EVENTS[name].kind, request_id)
    assert json.loads(body)["schema"] == 1


@pytest.mark.parametrize(("name", "tick"), [("rolled back", 4), ("paused by an operator", None)])
def test_the_tick_that_decided_a_rollback_is_in_the_journal(store, row, name, tick):
    record(store, row, EVENTS[name])
    assert store.row("SELECT tick FROM journal ORDER BY seq DESC") == (tick,)


def test_the_state_of_a_plan_is_the_fold_of_its_events(store, row):
    record(store, row, PAUSED)
    state = rollouts.state_of(store, row.plan_id)
    assert (state.phase, state.pause_reason, state.seq, state.percentage) == ("PAUSED", "operator", 2, 5.0)


# --------------------------------------------------------------------------------------------- what follows
@each_event
def test_an_event_does_to_its_flag_what_it_says(store, row, name):
    before = store.flag(CHECKOUT)
    record(store, row, EVENTS[name])
    written = {"version": before.version + 1, "journal_seq": 2} if name in EFFECTS else {}
    assert store.flag(CHECKOUT) == before._replace(**EFFECTS.get(name, {}), **written)


@each_event
def test_an_event_leaves_the_other_flags(store, row, name):
    before = store.flag(SEARCH)
    record(store, row, EVENTS[name])
    assert store.flag(SEARCH) == before


@each_event
def test_an_event_is_one_change_of_the_store(store, row, name):
    before = store.version, len(store.audit())
    record(store, row, EVENTS[name])
    assert (store.version, len(store.audit())) == (before[0] + 1, before[1] + 1)


@each_event
def test_an_event_is_in_the_audit_log_with_its_reason(store, row, name):
    record(store, row, EVENTS[name])
    leaf = json.loads(store.audit()[-1][1])
    assert (leaf["action"], leaf["reason"]) == (EVENTS[name].kind, REASONS.get(name))
    assert leaf["object"] == (CHECKOUT if name in EFFECTS else "checkout.1")


def test_a_reason_that_is_given_with_an_event_is_the_one_in_the_audit_log(store, row):
    record(store, row, RESUMED, reason="back from lunch")
    assert json.loads(store.audit()[-1][1])["reason"] == "back from lunch"


@each_event
def test_an_event_raises_the_alert_that_the_table_says(store, row, name):
    record(store, row, EVENTS[name])
    alerts = [(alert.type, alert.severity, alert.message) for alert in store.alerts() if alert.rule != STARTED]
    assert alerts == ([ALERTS[name]] if name in ALERTS else [])


@each_event
def test_a_notice_goes_out_of_the_events_that_people_wait_for(store, row, name):
    record(store, row, EVENTS[name])
    told = {"rolled back", "rolled back by the emergency limit", "completed", "approval requested"}
    told |= {"paused after max_duration"}
    assert store.row("SELECT count(*) FROM outbox") == (int(name in told),)


def test_an_alert_names_its_flag_and_its_plan(store, row):
    record(store, row, ROLLED_BACK)
    (alert,) = [alert for alert in store.alerts() if alert.severity == "critical"]
    assert (alert.flag_id, alert.plan_id, alert.rule) == (row.flag_id, "checkout.1", "checkout.1")


@each_event
def test_only_the_end_of_a_plan_ends_it(store, row, clock, name):
    clock.advance(9)
    record(store, row, EVENTS[name])
    assert store.plan(row.plan_id).ended_ms == (START + 9 if name in ENDS else None)


def test_the_first_entry_switches_the_flag_on(store):
    row = add_plan(store)
    start(store, row)
    flag = store.flag(CHECKOUT)
    assert (flag.enabled, flag.percentage, flag.entry, flag.entries) == (True, 5.0, 1, 1)


def test_the_first_entry_may_lower_the_percentage(store):
    row = add_plan(store, plan(SEARCH))
    start(store, row)
    assert store.flag(SEARCH).percentage == 5.0


def test_entries_count_on_over_all_plans_of_a_flag(store, row):
    record(store, row, ENTERED)
    record(store, row, CANCELLED)
    start(store, add_plan(store, plan(number=2, first_entry=store.flag(CHECKOUT).entries + 1)))
    assert (store.flag(CHECKOUT).entry, store.flag(CHECKOUT).entries) == (3, 3)


def test_the_number_of_entries_never_goes_back(store, row):
    change(store, lambda making: making.set_flag(store.flag(CHECKOUT), "x", None, entries=40))
    record(store, row, ENTERED)
    assert (store.flag(CHECKOUT).entry, store.flag(CHECKOUT).entries) == (2, 40)


def test_the_start_of_a_new_plan_lifts_the_hold_of_a_rollback(store, row):
    record(store, row, ROLLED_BACK)
    start(store, add_plan(store, plan(number=2)))
    flag = store.flag(CHECKOUT)
    assert (flag.enabled, flag.held, flag.held_reason, flag.held_ms) == (True, None, None, None)


def test_a_rollback_of_a_flag_that_an_emergency_holds_leaves_it_held_by_the_emergency(store, row):
    change(store, lambda making: making.set_flag(store.flag(CHECKOUT), "x", None, held="emergency"))
    record(store, row, ROLLED_BACK)
    assert store.flag(CHECKOUT).held == "emergency"


def test_a_plan_that_ended_may_still_be_rolled_back(store, row):
    record(store, row, COMPLETED)
    record(store, row, ROLLED_BACK)
    flag = store.flag(CHECKOUT)
    assert (flag.enabled, flag.percentage, flag.held) == (False, 0.0, "rollback")
    assert care.findings(store) == []


# --------------------------------------------------------------------------------------------- numbers that are taken
def test_a_number_that_is_taken_is_a_conflict(store, row):
    with pytest.raises(JournalConflict, match=r"event 1 of checkout.1 is taken"):
        change(store, lambda making: rollouts.record(making, row, 1, ROLLED_BACK))


def test_a_conflict_changes_nothing(store, row):
    before = dump(store)
    with pytest.raises(JournalConflict):
        change(store, lambda making: rollouts.record(making, row, 1, ROLLED_BACK))
    assert dump(store) == before


def test_the_journal_of_a_controller_is_the_plans(store, row):
    journal = rollouts.ControlJournal(store, row, actor="controller", new_request_id=new_request_id)
    journal.append(2, PAUSED)
    assert tuple(journal.read()) == rollouts.events_of(store, row.plan_id)


def test_a_controller_that_another_has_overtaken_is_told(store, row):
    slow = controller(store, row)
    controller(store, row).pause("lunch")
    with pytest.raises(JournalConflict):
        slow.pause("tea")
    assert rollouts.events_of(store, row.plan_id)[-1].note == "lunch"


def test_a_controller_that_was_overtaken_loads_again_and_goes_on(store, row):
    slow = controller(store, row)
    controller(store, row).pause("lunch")
    with pytest.raises(JournalConflict):
        slow.pause("tea")
    controller(store, row).resume()
    assert rollouts.state_of(store, row.plan_id).phase == "PROGRESSING"


def test_an_event_is_carried_out_when_it_is_recorded(store, row):
    version = store.flag(CHECKOUT).version
    rollouts.ControlSwitch().apply(ROLLED_BACK)
    assert store.flag(CHECKOUT).version == version


def test_a_controller_that_is_taken_up_again_changes_nothing(store, row):
    before = dump(store)
    taken_up = controller(store, row)
    assert (taken_up.state, dump(store)) == (rollouts.state_of(store, row.plan_id), before)


def test_a_controller_says_who_it_is_in_the_audit_log(store, row):
    controller(store, row, Eye(Verdict.FAIL)).tick()
    assert json.loads(store.audit()[-1][1])["actor"] == "controller"


# --------------------------------------------------------------------------------------------- all or nothing
def everything(store):
    """Return the parts of a rollback of checkout.1 that are there."""
    flag, plan_row = store.flag(CHECKOUT), store.plan("checkout.1")
    actions = [json.loads(leaf)["action"] for _, leaf, _ in store.audit()]
    parts = {
        "event": rollouts.state_of(store, "checkout.1").phase == "ROLLED_BACK",
        "flag off": not flag.enabled,
        "0 %": flag.percentage == 0.0,
        "held": flag.held == "rollback",
        "alert": [alert.severity for alert in store.alerts() if alert.rule != STARTED] == ["critical"],
        "notice": store.row("SELECT count(*) FROM outbox") == (1,),
        "plan ended": plan_row.ended_ms is not None,
        "audit leaf": actions[-1] == "rolled_back",
        "version": store.version == 4,
        "reply": store.row("SELECT count(*) FROM command WHERE request_id = 'rollback'") == (1,),
    }
    return {name for name, is_there in parts.items() if is_there}


ALL = {"event", "flag off", "0 %", "held", "alert", "notice", "plan ended", "audit leaf", "version", "reply"}


def roll_back(store, request_id="rollback"):
    """Roll checkout.1 back as an operator does: whether there is something to do is looked at in the transaction."""
    row = store.plan("checkout.1")

    def work(making):
        state = rollouts.state_of(store, row.plan_id)
        event = commands.roll_back(state, "by hand", making.now_ms)
        if event is not None:
            rollouts.record(making, row, state.seq + 1, event)
        return {"already": event is None}

    return store.execute("rollout rollback", {"request": request_id}, work, actor="ana", request_id=request_id).data


ROLL_BACK_AND_DIE = """
import itertools, os, shutil, signal, sys
from phase4.store.control import ControlStore
from tests.unit.store.test_rollouts import roll_back

def child(home, statement):
    store, seen = ControlStore(home, lambda: 0), itertools.count(1)
    if statement:
        store.connection.set_trace_callback(
            lambda _sql: next(seen) == statement and os.kill(os.getpid(), signal.SIGKILL)
        )
    else:
        store.epoch.close()  # so that it ends between COMMIT and bell
    roll_back(store)

for statement in itertools.count():
    home = f"{sys.argv[1]}-{statement}"
    shutil.copytree(sys.argv[1], home, ignore=shutil.ignore_patterns("reserve.bin"))
    if not (process := os.fork()):
        try:
            child(home, statement)
        except ValueError:
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    print(home, status)
    if not status:
        break
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """For each statement of a rollback a home whose writer was killed at it: how it ended, and what is there.

    The first was killed between COMMIT and bell, the last was not killed.
    """
    home = tmp_path_factory.mktemp("killed") / "home"
    store = create(home, ManualClock(START))
    started(store)
    store.close()
    words = [sys.executable, "-c", ROLL_BACK_AND_DIE, home]
    printed = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = []
    for copy, status in (line.split() for line in printed.splitlines()):
        store = ControlStore(copy, lambda: AT)
        found.append((int(status), everything(store), store.epoch.version, care.findings(store)))
        store.close()
    return found


def test_a_rollback_is_all_of_its_parts(store, row):
    roll_back(store)
    assert everything(store) == ALL


def test_before_a_rollback_none_of_its_parts_is_there(store, row):
    assert everything(store) == set()


def test_a_rollback_that_is_killed_at_any_of_its_statements_has_changed_nothing(killed):
    statements = killed[1:-1]
    assert len(statements) > 15
    assert statements == [(-signal.SIGKILL, set(), 3, [])] * len(statements)


def test_a_rollback_that_is_killed_between_commit_and_bell_is_all_there(killed):
    assert killed[0][:3] == (-signal.SIGKILL, ALL, 3)


def test_a_rollback_that_is_not_killed_is_all_there(killed):
    assert killed[-1] == (0, ALL, 4, [])


def test_a_second_rollback_is_already_so(store, row):
    roll_back(store)
    before = but_for_replies(dump(store))
    assert roll_back(store, "again") == {"already": True}
    assert but_for_replies(dump(store)) == before


def test_operators_and_a_tick_that_race_roll_back_once(home, store, row):
    """Two operators and a controller on a connection of their own each, at the same moment."""
    gate, failures, answers = threading.Barrier(3), [], []

    def operator(name):
        own = ControlStore(str(home), lambda: AT)
        gate.wait()
        answers.append(roll_back(own, name)["already"])
        own.close()

    def ticks():
        own = ControlStore(str(home), lambda: AT)
        watching = controller(own, row, Eye(Verdict.FAIL))
        gate.wait()
        try:
            answers.append(watching.tick() is None)
        except JournalConflict:
            answers.append(controller(own, row, Eye(Verdict.FAIL)).tick() is None)
        own.close()

    def safely(work, *words):
        try:
            work(*words)
        except Exception as error:  # noqa: BLE001  a thread's error is told where the test ends
            failures.append(error)

    threads = [threading.Thread(target=safely, args=work) for work in [(operator, "a"), (operator, "b"), (ticks,)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = [event.kind for event in rollouts.events_of(store, "checkout.1")]
    assert (failures, sorted(answers)) == ([], [False, True, True])
    assert (kinds, [alert.times for alert in store.alerts("critical")]) == (["stage_entered", "rolled_back"], [1])
    assert store.row("SELECT count(*) FROM outbox") == (1,)
