"""The control database: rows, one transaction for each command, and what a person is told when it cannot be."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import threading

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phase4.audit import tree
from phase4.clock import ManualClock
from phase4.errors import (
    AlertNotFound,
    FlagNotFound,
    NotInitialised,
    Phase4Error,
    PlanNotFound,
    RequestIdReused,
    SchemaTooNew,
    StoreDamaged,
    StoreUnavailable,
    WriteFailed,
)
from phase4.store import care, orders, rollouts
from phase4.store import home as homes
from phase4.store.control import SCHEMA, ControlStore, PlanRow, canonical
from tests.data.homes import make
from tests.data.homes.make import CHECKOUT, ROOT, SEARCH, START, add_plan, change, create, dump, plan

HOUR_MS = 3_600_000
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
NAMES = st.text("abc_", min_size=1, max_size=4)
LEAVES = TEXTS | INTEGERS | st.booleans() | st.none()


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


@pytest.fixture
def other(home, store, clock):
    """A second connection, as another process has it, that waits for nobody."""
    opened = ControlStore(str(home), clock.now, busy_ms=0)
    yield opened
    opened.close()


def leaves(store):
    return [json.loads(leaf) for _, leaf, _ in store.audit()]


def touch(making):
    """Change something small."""
    making.set_flag(making.store.flag(SEARCH), "touched", None)


def raises(error):
    """Return work that changes something and then fails."""

    def work(making):
        touch(making)
        raise error

    return work


def raise_alert(store, type_="coverage", severity="medium", rule="target", flag=None):
    """Raise an alert in a command of its own; return its row."""
    change(store, lambda making: making.alert(type_, severity, f"{rule} missed", rule=rule, flag=flag))
    return store.alerts()[0]


# --------------------------------------------------------------------------------------------- made, opened, migrated
def test_a_new_home_has_the_schema_of_this_version(store):
    assert store.row("PRAGMA user_version") == (SCHEMA,)


def test_a_new_home_is_at_version_0(home, clock):
    store = ControlStore.create(str(home), clock.now)
    version = store.version
    store.close()
    assert version == 0


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("trusted_schema", 0)]
)
def test_a_connection_writes_durably_and_keeps_references(store, pragma, value):
    assert store.row(f"PRAGMA {pragma}") == (value,)


def test_a_home_that_was_not_made_is_not_opened(home, clock):
    with pytest.raises(NotInitialised):
        ControlStore(str(home), clock.now)


def test_creating_a_home_again_keeps_what_it_has(home, store, clock):
    again = ControlStore.create(str(home), clock.now)
    flags = again.flags()
    again.close()
    assert flags == store.flags()


def test_opening_twice_migrates_once(store, other):
    assert dump(other) == dump(store)


def test_a_database_that_nobody_has_migrated_yet_is_migrated_at_open(home, clock):
    ControlStore.create(str(home), clock.now).close()
    for name in ["control.db", "control.db-wal", "control.db-shm"]:
        (home / name).unlink(missing_ok=True)
    (home / "control.db").touch(0o600)
    store = ControlStore(str(home), clock.now)
    found = store.row("PRAGMA user_version"), store.version
    store.close()
    assert found == ((SCHEMA,), 0)


def test_openers_that_race_migrate_once(tmp_path, clock):
    failures = []

    def opens(home, gate):
        gate.wait()
        try:
            store = ControlStore(str(home), clock.now)
            assert store.rows("SELECT v FROM meta WHERE k = 'version'") == [(0,)]
            store.close()
        except (Phase4Error, AssertionError) as error:
            failures.append(error)

    for number in range(10):
        home, gate = tmp_path / str(number), threading.Barrier(4)
        homes.create(str(home))
        empty = sqlite3.connect(home / "control.db")
        empty.execute("PRAGMA journal_mode = WAL").fetchall()
        empty.close()
        openers = [threading.Thread(target=opens, args=(home, gate)) for _ in range(4)]
        for opener in openers:
            opener.start()
        for opener in openers:
            opener.join()
    assert failures == []


def test_a_newer_schema_is_refused_with_both_numbers(home, store, clock):
    store.connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(SchemaTooNew, match=f"has schema {SCHEMA + 1}, this version knows {SCHEMA}"):
        ControlStore(str(home), clock.now)


def test_a_newer_schema_is_left_as_it_is(home, store, clock):
    store.connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    before = dump(store)
    with pytest.raises(SchemaTooNew):
        ControlStore(str(home), clock.now)
    assert (dump(store), store.row("PRAGMA user_version")) == (before, (SCHEMA + 1,))


@pytest.mark.parametrize("name", ["with space", "per%20cent", "a?mode=ro", "a#b", "ä", "semi;colon", "'quoted'"])
def test_a_home_may_have_any_name(tmp_path, clock, name):
    store = create(tmp_path / name, clock)
    store.close()
    assert (tmp_path / name / "control.db").stat().st_size > 0


def old_home(home, clock):
    """Return the store of the home that schema 1 left behind."""
    ControlStore.create(str(home), clock.now).close()
    shutil.copyfile(make.FOLDER / "schema1" / "control.db", home / "control.db")
    return ControlStore(str(home), clock.now)


def test_a_home_of_schema_1_opens(home, clock):
    store = old_home(home, clock)
    found = store.row("PRAGMA user_version"), [flag.flag_key for flag in store.flags()], care.findings(store)[1:]
    store.close()
    assert found == ((SCHEMA,), [CHECKOUT, SEARCH], [])


def test_the_plan_of_a_home_of_schema_1_reads_back(home, clock):
    store = old_home(home, clock)
    row = store.plan("checkout.1")
    read, state = rollouts.plan_of(row), rollouts.state_of(store, row.plan_id)
    store.close()
    assert (read.digest, [stage.percentage for stage in read.stages]) == (row.digest, [5.0, 10.0, 25.0])
    assert (state.phase, state.stage, state.entry, state.percentage) == ("PROGRESSING", 1, 3, 10.0)


def test_the_plan_of_a_home_of_schema_1_continues(home):
    clock = ManualClock(START + 26 * HOUR_MS)
    store = old_home(home, clock)
    event = make.controller(store, store.plan("checkout.1")).tick()
    findings = care.findings(store)
    store.close()
    assert (event.kind, event.stage) == ("approval_requested", 2)
    assert findings == []


# --------------------------------------------------------------------------------------------- flags
def test_a_flag_is_read_back_as_it_was_made(store):
    flag = store.flag(SEARCH)
    assert json.loads(flag.definition) == make.document(SEARCH)
    assert flag == (*(2, SEARCH, True, 100.0, SEARCH, flag.definition, 1, 0, 0, None, None, None, 0, START, "ana"),)


def test_flags_are_listed_in_the_order_they_were_made(store):
    change(store, lambda making: making.add_flag("a", document=make.document("a"), enabled=True, percentage=1.5))
    assert [flag.flag_key for flag in store.flags()] == [CHECKOUT, SEARCH, "a"]


def test_a_flag_is_found_by_its_number(store):
    assert store.flag_by_id(2) == store.flag(SEARCH)


def test_an_unknown_flag_is_refused_with_the_nearest(store):
    with pytest.raises(FlagNotFound, match=r'no flag "chekout"; did you mean "checkout"\?'):
        store.flag("chekout")


def test_an_unknown_flag_with_none_near_is_refused_with_all(store):
    with pytest.raises(FlagNotFound, match='no flag "x"; known: checkout, search'):
        store.flag("x")


def test_an_unknown_flag_of_an_empty_home_says_that_there_are_none(home, clock):
    store = ControlStore.create(str(home), clock.now)
    with pytest.raises(FlagNotFound, match="known: none"):
        store.flag("x")
    store.close()


def test_changing_a_flag_moves_its_version_and_says_who_and_when(store, clock):
    clock.advance(5)
    change(store, lambda making: making.set_flag(store.flag(SEARCH), "percentage_set", None, percentage=7.5), actor="b")
    flag = store.flag(SEARCH)
    assert (flag.percentage, flag.version, flag.updated_ms, flag.updated_by) == (7.5, 2, START + 5, "b")


def test_changing_a_flag_leaves_the_others(store):
    before = store.flag(CHECKOUT)
    change(store, touch)
    assert store.flag(CHECKOUT) == before


@pytest.mark.parametrize("percentage", [-0.01, 100.01, float("nan"), float("inf")])
def test_the_database_refuses_a_percentage_outside_its_range(store, percentage):
    before = dump(store)
    with pytest.raises(Phase4Error):
        change(store, lambda making: making.set_flag(store.flag(SEARCH), "x", None, percentage=percentage))
    assert dump(store) == before


def test_the_database_refuses_a_second_flag_of_one_key(store):
    before = dump(store)
    with pytest.raises(Phase4Error):
        change(store, lambda making: make.add_flags(making, 1.0))
    assert dump(store) == before


def test_there_are_at_most_65535_flags(store):
    store.connection.execute("UPDATE flag SET id = 65535 WHERE flag_key = ?", (SEARCH,))
    with pytest.raises(Phase4Error):
        change(store, lambda making: making.add_flag("c", document=make.document("c"), enabled=True, percentage=1.0))
    assert len(store.flags()) == 2


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "enabled": st.booleans(),
            "percentage": st.floats(0.0, 100.0),
            "entry": st.integers(0, 2**31),
            "entries": st.integers(0, 2**31),
            "held": st.sampled_from([None, "rollback", "emergency"]),
            "held_reason": st.none() | TEXTS,
            "held_ms": st.none() | INTEGERS,
            "journal_seq": INTEGERS,
        },
    ),
    actor=TEXTS,
)
def test_whatever_a_flag_is_set_to_is_read_back(store, values, actor):
    before = store.flag(SEARCH)
    change(store, lambda making: making.set_flag(before, "x", None, **values), actor=actor)
    assert store.flag(SEARCH) == before._replace(
        **values, version=before.version + 1, updated_ms=START, updated_by=actor
    )


# --------------------------------------------------------------------------------------------- plans
def test_a_plan_is_read_back_as_it_was_kept(store):
    assert add_plan(store) == store.plan("checkout.1")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(digest=TEXTS, body=TEXTS, created_ms=INTEGERS, created_by=TEXTS, ended_ms=INTEGERS)
def test_whatever_a_plan_has_is_read_back(store, digest, body, created_ms, created_by, ended_ms):
    row = PlanRow(make.new_request_id(), 2, digest, body, created_ms, created_by, ended_ms)
    change(store, lambda making: making.add_plan(row))
    assert store.plan(row.plan_id) == row


def test_an_unknown_plan_is_refused_with_the_nearest(store):
    add_plan(store)
    with pytest.raises(PlanNotFound, match=r'no plan "checkout.2"; did you mean "checkout.1"\?'):
        store.plan("checkout.2")


def test_a_plan_that_has_not_ended_is_the_live_one(store):
    row = add_plan(store)
    assert store.live_plan(row.flag_id) == row


def test_a_flag_without_a_plan_has_no_live_one(store):
    add_plan(store)
    assert store.live_plan(store.flag(SEARCH).id) is None


def test_the_database_refuses_a_second_live_plan_of_a_flag(store):
    add_plan(store)
    before = dump(store)
    with pytest.raises(Phase4Error):
        add_plan(store, plan(number=2))
    assert dump(store) == before


def test_each_flag_may_have_a_live_plan(store):
    assert [add_plan(store, plan(SEARCH)), add_plan(store)] == store.plans()


def test_a_plan_that_ended_makes_room_for_the_next(store, clock):
    row = add_plan(store)
    clock.advance(9)
    change(store, lambda making: making.end_plan(row.plan_id))
    following = add_plan(store, plan(number=2))
    assert store.live_plan(row.flag_id) == following
    assert store.plan("checkout.1").ended_ms == START + 9


def test_plans_are_listed_the_oldest_first_and_the_tenth_after_the_ninth(store):
    for number in [10, 9, 2]:
        row = add_plan(store, plan(number=number))
        change(store, lambda making, row=row: making.end_plan(row.plan_id))
    assert [row.plan_id for row in store.plans()] == ["checkout.2", "checkout.9", "checkout.10"]


def test_plans_of_one_flag_are_those_of_no_other(store):
    add_plan(store)
    row = add_plan(store, plan(SEARCH))
    assert store.plans(row.flag_id) == [row]


def test_the_database_refuses_a_plan_of_no_flag(store):
    with pytest.raises(Phase4Error):
        change(store, lambda making: making.add_plan(PlanRow("x.1", 99, "", "", 0, "ana", None)))
    assert store.plans() == []


# --------------------------------------------------------------------------------------------- the journal
def append(store, plan_id="checkout.1", plan_seq=1, kind="paused"):
    """Append an event in a command of its own; return its number."""
    numbers = []

    def work(making):
        touch(making)
        numbers.append(making.append(plan_id, plan_seq, at_ms=START, kind=kind, body=f'"{kind}"', tick=None))

    change(store, work)
    return numbers[0]


def test_events_of_all_plans_are_numbered_in_one_row(store):
    add_plan(store)
    add_plan(store, plan(SEARCH))
    assert [append(store), append(store, "search.1"), append(store, plan_seq=2)] == [1, 2, 3]


def test_a_number_that_is_taken_is_none(store):
    add_plan(store)
    append(store)
    assert append(store, kind="resumed") is None


def test_a_number_that_is_taken_keeps_its_event(store):
    add_plan(store)
    append(store)
    append(store, kind="resumed")
    assert store.journal("checkout.1") == [(1, '"paused"')]


def test_the_journal_of_a_plan_is_in_the_order_of_its_numbers(store):
    add_plan(store)
    for plan_seq in [2, 3, 1]:
        append(store, plan_seq=plan_seq)
    assert [plan_seq for plan_seq, _ in store.journal("checkout.1")] == [1, 2, 3]


def test_the_database_refuses_an_event_of_no_plan(store):
    with pytest.raises(Phase4Error):
        append(store, "none.1")
    assert store.history() == []


def test_history_tells_of_all_flags_the_oldest_first(store):
    add_plan(store)
    add_plan(store, plan(SEARCH))
    append(store, "search.1")
    append(store)
    assert [(seq, plan_id) for seq, _, plan_id, *_ in store.history()] == [(1, "search.1"), (2, "checkout.1")]


def test_history_of_a_flag_is_that_of_no_other(store):
    add_plan(store)
    add_plan(store, plan(SEARCH))
    append(store, "search.1")
    append(store)
    assert [plan_id for _, _, plan_id, *_ in store.history(store.flag(SEARCH).id)] == ["search.1"]


def test_an_event_says_which_order_made_it(store):
    row = add_plan(store)
    change(
        store,
        lambda making: making.append(row.plan_id, 1, at_ms=7, kind="paused", body="{}", tick=None),
        request_id="r-1",
    )
    assert store.history() == [(1, 7, "checkout.1", "paused", "{}", "r-1")]


# --------------------------------------------------------------------------------------------- alerts
def test_the_fingerprint_is_of_type_flag_and_rule(store):
    alert = raise_alert(store, flag=store.flag(SEARCH))
    assert alert.fingerprint == hashlib.sha256(b'["coverage","search","target"]').hexdigest()[:12]


def test_a_rule_that_holds_again_counts_and_opens_no_second_alert(store, clock):
    first = raise_alert(store)
    clock.advance(60_000)
    raise_alert(store)
    (alert,) = store.alerts()
    assert alert == first._replace(times=2, last_seen_ms=START + 60_000)


@pytest.mark.parametrize("differs", [{"type_": "rollout"}, {"rule": "late"}, {"flag": SEARCH}])
def test_another_type_rule_or_flag_is_another_alert(store, differs):
    raise_alert(store)
    if "flag" in differs:
        differs = {"flag": store.flag(SEARCH)}
    raise_alert(store, **differs)
    assert [alert.times for alert in store.alerts()] == [1, 1]


def test_an_alert_after_it_was_resolved_is_a_new_one_that_names_the_old(store):
    first = raise_alert(store)
    change(store, lambda making: making.resolve_alert(first.id, "seen to"))
    second = raise_alert(store)
    assert (second.id != first.id, second.previous, second.times) == (True, first.id, 1)


def test_an_alert_that_never_was_before_names_no_old_one(store):
    raise_alert(store, rule="late")
    assert raise_alert(store).previous is None


@pytest.mark.parametrize(("severity", "notices"), [("critical", 1), ("high", 1), ("medium", 0), ("low", 0)])
def test_only_critical_and_high_alerts_send_a_notice(store, severity, notices):
    raise_alert(store, severity=severity)
    assert len(store.rows("SELECT * FROM outbox")) == notices


def test_a_notice_says_what_happened(store):
    alert = raise_alert(store, severity="high")
    alert_id, event, body, created_ms, done_ms = store.row(
        "SELECT alert_id, event, body, created_ms, done_ms FROM outbox"
    )
    assert (alert_id, event, created_ms, done_ms) == (alert.id, "opened", START, None)
    told = json.loads(body)
    assert {name: told[name] for name in ("schema", "event", "id", "type", "severity", "rule", "count")} == {
        "schema": 1,
        "event": "opened",
        "id": alert.id,
        "type": "coverage",
        "severity": "high",
        "rule": alert.rule,
        "count": 1,
    }
    assert (told["message"], told["text"]) == ("target missed", "[high] opened: target missed")


@pytest.mark.parametrize(("severity", "events"), [("high", ["opened", "resolved"]), ("low", [])])
def test_whoever_heard_of_an_alert_hears_that_it_is_over(store, severity, events):
    alert = raise_alert(store, severity=severity)
    change(store, lambda making: making.resolve_alert(alert.id, "seen to"))
    assert [row[0] for row in store.rows("SELECT event FROM outbox ORDER BY id")] == events


def test_a_critical_rule_that_holds_again_sends_no_second_notice(store):
    raise_alert(store, severity="critical")
    raise_alert(store, severity="critical")
    assert store.row("SELECT count(*) FROM outbox") == (1,)


def test_an_unknown_severity_is_refused(store):
    with pytest.raises(Phase4Error):
        raise_alert(store, severity="bad")
    assert store.alerts() == []


def test_resolving_says_who_when_and_why(store, clock):
    alert = raise_alert(store)
    clock.advance(3)
    change(store, lambda making: making.resolve_alert(alert.id, "seen to"), actor="ben")
    (found,) = store.alerts(with_resolved=True)
    assert (found.resolved_ms, found.resolved_by, found.resolution) == (START + 3, "ben", "seen to")


def test_a_resolved_alert_is_no_longer_open(store):
    alert = raise_alert(store)
    change(store, lambda making: making.resolve_alert(alert.id, "seen to"))
    assert store.alerts() == []


def test_an_acknowledged_alert_stays_open(store):
    alert = raise_alert(store)
    change(store, lambda making: making.acknowledge_alert(alert.id, "on it"), actor="ben")
    (found,) = store.alerts()
    assert (found.acknowledged_ms, found.acknowledged_by, found.resolved_ms) == (START, "ben", None)


@pytest.mark.parametrize(
    ("first", "second", "changes"),
    [
        ("resolve_alert", "resolve_alert", False),
        ("acknowledge_alert", "acknowledge_alert", False),
        ("resolve_alert", "acknowledge_alert", False),
        ("acknowledge_alert", "resolve_alert", True),
    ],
)
def test_an_alert_is_acknowledged_once_and_then_resolved_once(store, first, second, changes):
    alert, answers = raise_alert(store), []
    for mark in [first, second]:
        change(store, lambda making, mark=mark: answers.append(getattr(making, mark)(alert.id, "why")))
    assert answers == [True, changes]


@pytest.mark.parametrize("mark", ["resolve_alert", "acknowledge_alert"])
def test_an_unknown_alert_is_refused(store, mark):
    with pytest.raises(AlertNotFound, match="no alert 7"):
        change(store, lambda making: getattr(making, mark)(7, "why"))


@pytest.mark.parametrize(
    ("mark", "action"), [("resolve_alert", "alert_resolved"), ("acknowledge_alert", "alert_acknowledged")]
)
def test_what_is_done_about_an_alert_is_in_the_audit_log(store, mark, action):
    alert = raise_alert(store)
    change(store, lambda making: getattr(making, mark)(alert.id, "why"), actor="ben")
    leaf = leaves(store)[-1]
    assert [leaf[name] for name in ("action", "object", "actor", "reason")] == [action, "alert 1", "ben", "why"]


def test_alerts_are_asked_for_by_severity(store):
    raise_alert(store, severity="low")
    raise_alert(store, severity="high", rule="late")
    assert [alert.rule for alert in store.alerts("high")] == ["late"]


def test_the_alert_that_was_seen_last_comes_first(store, clock):
    for rule in ["a", "b", "a"]:
        clock.advance(1)
        raise_alert(store, rule=rule)
    assert [alert.rule for alert in store.alerts()] == ["a", "b"]


# --------------------------------------------------------------------------------------------- request ids
def order(store, request_id, command="flags disable", arguments=None, reply=None):
    """Switch search off in a command; return its reply."""

    def work(making):
        making.set_flag(store.flag(SEARCH), "flag_disabled", None, enabled=False)
        return reply or {"version": store.flag(SEARCH).version}

    return store.execute(command, arguments or {"flag": SEARCH}, work, actor="ana", request_id=request_id)


def test_the_same_order_again_gives_the_first_reply(store):
    first, second = order(store, "r-1"), order(store, "r-1")
    assert (second.data, first.is_repeated, second.is_repeated) == (first.data, False, True)


def test_the_same_order_again_changes_nothing(store):
    order(store, "r-1")
    before = dump(store)
    order(store, "r-1")
    assert dump(store) == before


def test_the_first_reply_is_given_after_other_orders_too(store):
    first = order(store, "r-1")
    order(store, "r-2")
    assert order(store, "r-1").data == first.data


def test_the_reply_is_kept_in_the_words_it_was_given(store):
    words = {"text": "Größe ✓ \U0001f600", "number": 0.1, "list": [1, None, True], "inner": {"b": 1, "a": 2}}
    order(store, "r-1", reply=words)
    assert order(store, "r-1").data == words


@pytest.mark.parametrize("differs", [{"command": "flags enable"}, {"arguments": {"flag": SEARCH, "reason": "x"}}])
def test_one_request_id_for_two_commands_is_refused(store, differs):
    order(store, "r-1")
    before = dump(store)
    with pytest.raises(RequestIdReused, match="request id r-1 was used for another command"):
        order(store, "r-1", **differs)
    assert dump(store) == before


def test_an_order_that_was_refused_leaves_its_request_id_free(store):
    with pytest.raises(FlagNotFound):
        orders.disable(store, "none", actor="ana", request_id="r-1", reason=None)
    assert order(store, "r-1").is_repeated is False


def test_another_request_id_is_another_order(store):
    order(store, "r-1")
    assert order(store, "r-2").data == {"version": 3}


# --------------------------------------------------------------------------------------------- dry runs
def test_a_dry_run_changes_nothing(store):
    before = dump(store)
    store.is_dry_run = True
    order(store, "r-1")
    assert dump(store) == before


def test_a_dry_run_says_what_would_be(store):
    store.is_dry_run = True
    assert order(store, "r-1").data == {"version": 2}


def test_a_dry_run_rings_no_bell(store):
    before = store.epoch.version
    store.is_dry_run = True
    order(store, "r-1")
    assert store.epoch.version == before


def test_a_dry_run_leaves_its_request_id_free(store):
    store.is_dry_run = True
    order(store, "r-1")
    store.is_dry_run = False
    assert order(store, "r-1").is_repeated is False


def test_a_dry_run_is_refused_like_the_run(store):
    store.is_dry_run = True
    with pytest.raises(FlagNotFound):
        orders.disable(store, "none", actor="ana", request_id="r-1", reason=None)


# --------------------------------------------------------------------------------------------- the version and the bell
def test_a_changing_command_moves_the_version_by_one(store):
    before = store.version
    change(store, touch)
    assert store.version == before + 1


def test_a_command_with_several_changes_moves_the_version_by_one(store):
    before = store.version
    change(store, lambda making: [touch(making) for _ in range(3)])
    assert store.version == before + 1


def test_a_command_that_changes_nothing_leaves_the_version(store):
    before = store.version
    change(store, lambda _making: None)
    assert store.version == before


def test_a_command_that_is_done_already_leaves_the_version(store):
    order(store, "r-1")
    before = store.version
    order(store, "r-1")
    assert store.version == before


@pytest.mark.parametrize("error", [FlagNotFound("none"), ValueError("our bug"), KeyboardInterrupt()])
def test_a_command_that_fails_changes_nothing(store, error):
    before = dump(store)
    with pytest.raises(type(error)):
        change(store, raises(error))
    assert dump(store) == before


def test_a_command_that_failed_leaves_the_store_usable(store):
    with pytest.raises(ValueError, match="our bug"):
        change(store, raises(ValueError("our bug")))
    change(store, touch)
    assert store.flag(SEARCH).version == 2


def test_a_command_that_failed_locks_nobody_out(store, other):
    with pytest.raises(ValueError, match="our bug"):
        change(store, raises(ValueError("our bug")))
    change(other, touch)
    assert store.flag(SEARCH).version == 2


def test_the_bell_says_the_version(store):
    change(store, touch)
    assert store.epoch.version == store.version


def test_the_bell_rings_after_the_commit(store, other):
    heard = []
    store.connection.set_trace_callback(lambda sql: heard.append((sql, other.epoch.version)))
    before = store.version
    change(store, touch)
    assert heard[-1] == ("COMMIT", before)


def test_a_command_that_fails_rings_no_bell(store):
    before = store.epoch.words[0]
    with pytest.raises(ValueError, match="our bug"):
        change(store, raises(ValueError("our bug")))
    assert store.epoch.words[0] == before


def test_a_change_is_read_through_every_connection(store, other):
    change(store, touch)
    assert (other.version, other.flag(SEARCH)) == (store.version, store.flag(SEARCH))


def test_a_value_of_meta_is_kept(store):
    change(store, lambda making: making.set_meta("environment", "staging"))
    assert store.meta("environment") == "staging"


def test_a_value_of_meta_that_was_never_kept_is_none(store):
    assert store.meta("environment") is None


# --------------------------------------------------------------------------------------------- leases
def lease(store, holder, expires_ms):
    change(store, lambda making: making.hold_lease("collector", holder, expires_ms))


def test_a_lease_is_held_until_its_moment(store):
    lease(store, "a", 1_000)
    assert (store.lease("collector", 999), store.lease("collector", 1_000)) == ("a", None)


def test_a_lease_that_is_renewed_keeps_its_fence(store):
    lease(store, "a", 1_000)
    lease(store, "a", 2_000)
    assert store.row("SELECT holder, fence, expires_ms FROM lease") == ("a", 1, 2_000)


def test_a_lease_that_changes_hands_has_a_new_fence(store):
    lease(store, "a", 1_000)
    lease(store, "b", 2_000)
    assert store.row("SELECT holder, fence FROM lease") == ("b", 2)


def test_a_heartbeat_is_no_change(store):
    before = store.version, store.epoch.version, store.rows("SELECT request_id FROM command")
    lease(store, "a", 1_000)
    assert (store.version, store.epoch.version, store.rows("SELECT request_id FROM command")) == before


def test_a_lease_is_no_entry_of_the_audit_log(store):
    before = store.audit()
    lease(store, "a", 1_000)
    assert store.audit() == before


# --------------------------------------------------------------------------------------------- the audit log
def test_a_change_has_a_leaf_that_tells_all_about_it(store, clock):
    clock.advance(4)
    change(
        store,
        lambda making: making.set_flag(store.flag(SEARCH), "percentage_set", "too fast", percentage=12.5),
        request_id="r-1",
        actor="ben",
    )
    assert leaves(store)[-1] == {
        "v": 2,
        "seq": 3,
        "store_version": store.version,
        "at_ms": START + 4,
        "actor": "ben",
        "action": "percentage_set",
        "object": SEARCH,
        "before": {"enabled": True, "percentage": "100", "held": None, "entry": 0, "version": 1},
        "after": {"enabled": True, "percentage": "12.5", "held": None, "entry": 0, "version": 2},
        "reason": "too fast",
        "request_id": "r-1",
    }


def test_a_flag_that_is_made_has_a_leaf(store):
    assert [(leaf["action"], leaf["object"], leaf["before"], leaf["after"]) for leaf in leaves(store)] == [
        ("flag_created", CHECKOUT, None, {"enabled": False, "percentage": "0"}),
        ("flag_created", SEARCH, None, {"enabled": True, "percentage": "100"}),
    ]


def test_a_plan_that_is_kept_has_a_leaf_with_its_digest(store):
    row = add_plan(store)
    leaf = leaves(store)[-1]
    assert (leaf["action"], leaf["object"], leaf["after"]) == ("plan_created", "checkout.1", {"digest": row.digest})


def test_every_change_of_a_command_has_a_leaf(store):
    change(store, lambda making: [touch(making) for _ in range(3)])
    assert [leaf["action"] for leaf in leaves(store)[2:]] == ["touched"] * 3


@pytest.mark.parametrize(
    ("percentage", "text"),
    [
        (0.0, "0"),
        (5.0, "5"),
        (10.0, "10"),
        (100.0, "100"),
        (12.5, "12.5"),
        (33.33, "33.33"),
        (0.01, "0.01"),
    ],
)
def test_a_percentage_in_a_leaf_is_a_decimal_text(store, percentage, text):
    change(store, lambda making: making.set_flag(store.flag(SEARCH), "x", None, percentage=percentage))
    assert leaves(store)[-1]["after"]["percentage"] == text


@settings(max_examples=50)
@given(st.dictionaries(NAMES, LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(NAMES, LEAVES, max_size=3)))
def test_canonical_json_is_that_of_rfc_8785(value):
    assert canonical(value).encode() == rfc8785.dumps(value)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reason=st.none() | TEXTS, actor=TEXTS, action=TEXTS)
def test_a_leaf_is_what_rfc_8785_makes_of_it(store, reason, actor, action):
    change(store, lambda making: making.set_flag(store.flag(SEARCH), action, reason), actor=actor)
    _, leaf, _ = store.audit()[-1]
    assert leaf == rfc8785.dumps(json.loads(leaf))
    assert [json.loads(leaf)[name] for name in ("actor", "action", "reason")] == [actor, action, reason]


def test_a_float_in_a_leaf_that_is_none_is_refused(store):
    with pytest.raises(ValueError, match="not JSON compliant"):
        change(store, lambda making: making.audit("x", "y", before=None, after={"rate": float("nan")}, reason=None))


def test_the_columns_of_the_log_say_what_the_leaf_says(store):
    change(store, touch)
    columns = store.rows("SELECT seq, at_ms, actor, action, object FROM audit")
    assert columns == [
        tuple(leaf[name] for name in ("seq", "at_ms", "actor", "action", "object")) for leaf in leaves(store)
    ]


def test_the_hash_of_a_leaf_is_kept_with_it(store):
    assert all(hashed == hashlib.sha256(b"\x00" + leaf).digest() for _, leaf, hashed in store.audit())


def test_the_peaks_are_those_of_a_rebuilt_tree(store):
    for _ in range(21):
        change(store, touch)
        peaks = ()
        for index, (_, leaf, _) in enumerate(store.audit()):
            peaks = tree.grown(index, peaks, tree.leaf_hash(leaf))
        assert store.row("SELECT size, peaks FROM audit_tree") == (len(store.audit()), b"".join(peaks))


def test_without_an_audit_log_a_change_has_no_leaf(store):
    change(store, lambda making: making.set_meta("audit_off", 1))
    before, version = store.audit(), store.version
    change(store, touch)
    assert (store.audit(), store.version) == (before, version + 1)


def test_an_audit_log_that_is_switched_on_again_goes_on(store):
    for off in [1, 0]:
        change(store, lambda making, off=off: making.set_meta("audit_off", off))
        change(store, touch)
    assert [leaf["seq"] for leaf in leaves(store)] == [1, 2, 3]


# --------------------------------------------------------------------------------------------- when it cannot be
def holder_of(home):
    """Return a foreign connection that holds the database for writing."""
    connection = sqlite3.connect(home / "control.db", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def refused(store, error, match):
    """Order a change that is refused with an error, and say whether nothing of it was done."""
    before = dump(store), store.epoch.words[0]
    with pytest.raises(error, match=match):
        change(store, touch)
    return (dump(store), store.epoch.words[0]) == before


def test_a_database_that_others_write_to_for_too_long_is_locked(home, store, other):
    holder = holder_of(home)
    assert refused(other, StoreUnavailable, "control.db is locked by another process")
    holder.close()


def test_a_database_that_was_locked_is_usable_afterwards(home, store, other):
    holder = holder_of(home)
    refused(other, StoreUnavailable, "locked")
    holder.close()
    change(other, touch)
    assert store.flag(SEARCH).version == 2


def test_a_writer_waits_for_another(home, store):
    holder = holder_of(home)
    release = threading.Timer(0.1, holder.rollback)
    release.start()
    change(store, touch)
    release.join()
    holder.close()
    assert store.flag(SEARCH).version == 2


def test_a_database_that_others_write_to_is_readable(home, store):
    holder = holder_of(home)
    key = store.flag(SEARCH).flag_key
    holder.close()
    assert key == SEARCH


def test_a_database_that_one_process_keeps_for_itself_is_locked(home, clock):
    create(home, clock).close()
    holder = sqlite3.connect(home / "control.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable, match=r"control.db is locked by another process"):
        ControlStore(str(home), clock.now, busy_ms=0)
    holder.close()


def test_a_database_that_is_read_only_is_not_written(store):
    store.connection.execute("PRAGMA query_only = ON")
    assert refused(store, WriteFailed, "control.db cannot be written: it is read-only")


def test_a_database_that_is_read_only_is_readable(store):
    store.connection.execute("PRAGMA query_only = ON")
    assert store.flag(SEARCH).percentage == 100.0


def test_a_full_database_is_not_written(store):
    fill(store)
    assert refused(store, WriteFailed, "control.db cannot be written: the disk is full")


def test_a_database_that_was_full_is_usable_afterwards(store):
    fill(store)
    refused(store, WriteFailed, "full")
    store.connection.execute("PRAGMA max_page_count = 4294967294")
    change(store, touch)
    assert store.epoch.version == store.version


def fill(store):
    """Let the database have no more pages than it has, and use up the room in them."""
    pages = store.row("PRAGMA page_count")[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    try:
        while True:
            change(store, touch)
    except WriteFailed:
        return


TOGGLE_ON_A_SMALL_DISK = """
import resource, sys
from phase4.errors import Phase4Error
from phase4.store import orders
from phase4.store.control import ControlStore

store = ControlStore(sys.argv[1], lambda: 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
done = 0
try:
    for number in range(1_000):
        order = orders.disable if number % 2 == 0 else orders.enable
        order(store, "search", actor="ana", request_id=f"r-{number}", reason=None)
        done += 1
except Phase4Error as error:
    print(done, type(error).__name__, store.epoch.version)
"""


@pytest.fixture
def small_disk(home, clock):
    """A home whose files could not grow any more: how many orders were done, the error, and the store as it is now."""
    create(home, clock).close()
    child = [sys.executable, "-c", TOGGLE_ON_A_SMALL_DISK, home]
    done, error, rung = subprocess.run(child, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    store = ControlStore(str(home), clock.now)
    yield int(done), error, int(rung), store
    store.close()


def test_on_a_full_disk_writing_fails(small_disk):
    done, error, *_ = small_disk
    assert (done > 0, error) == (True, "WriteFailed")


def test_on_a_full_disk_everything_acknowledged_is_there_and_nothing_else(small_disk):
    done, _, rung, store = small_disk
    assert (store.version, len(store.audit()), rung) == (1 + done, 2 + done, 1 + done)


def test_on_a_full_disk_nothing_is_left_half_done(small_disk):
    *_, store = small_disk
    assert care.findings(store) == []


@pytest.mark.parametrize("content", [b"not a database" * 300, b"\x00" * 4096, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_damaged(home, clock, content):
    create(home, clock).close()
    (home / "control.db").write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"control.db is damaged") as found:
        ControlStore(str(home), clock.now)
    assert found.value.hint == "phase4 store check; phase4 store restore DIR"


def test_a_database_with_damaged_pages_is_damaged(home, clock):
    create(home, clock).close()
    pages = (home / "control.db").read_bytes()
    (home / "control.db").write_bytes(pages[:4096] + b"\xaa" * (len(pages) - 4096))
    with pytest.raises(StoreDamaged, match="malformed"):
        ControlStore(str(home), clock.now)


@pytest.fixture
def store_with_a_damaged_page(home, clock):
    """A store that opens, and whose flags cannot be read."""
    store = create(home, clock)
    page = store.row("SELECT rootpage FROM sqlite_schema WHERE name = 'flag'")[0]
    store.close()
    with (home / "control.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xaa" * 4096)
    opened = ControlStore(str(home), clock.now)
    yield opened
    opened.close()


def test_reading_a_damaged_page_says_that_the_database_is_damaged(store_with_a_damaged_page):
    with pytest.raises(StoreDamaged, match="malformed"):
        store_with_a_damaged_page.flags()


def test_a_command_that_meets_a_damaged_page_changes_nothing(store_with_a_damaged_page):
    store = store_with_a_damaged_page
    with pytest.raises(StoreDamaged, match="malformed"):
        change(store, touch)
    assert (store.version, len(store.audit())) == (1, 2)


def test_a_database_whose_log_cannot_be_opened_cannot_be_used(home, clock):
    create(home, clock).close()
    (home / "control.db-wal").mkdir()
    with pytest.raises(WriteFailed, match="cannot be used: unable to open database file"):
        ControlStore(str(home), clock.now)


def test_an_epoch_that_cannot_be_made_is_said(home, clock):
    create(home, clock).close()
    (home / "epoch").unlink()
    (home / "epoch").mkdir()
    with pytest.raises(StoreUnavailable, match="epoch cannot be used"):
        ControlStore(str(home), clock.now)
