"""What an operator orders of a flag, with and without a live plan."""

import json

import pytest

from phase4.clock import ManualClock
from phase4.errors import FlagHeld, FlagNotFound, PercentageMax, PlanLive, UsageError
from phase4.rollout import commands
from phase4.rollout.events import Completed, RolledBack
from phase4.store import emergency, orders, rollouts
from phase4.store.stops import EVERYTHING, Stop
from tests.data.homes.make import (
    CHECKOUT,
    SEARCH,
    START,
    add_plan,
    but_for_replies,
    create,
    dump,
    new_request_id,
    record,
    started,
)

HOUR_MS = 3_600_000


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    """A store with search on at 50 %, and checkout off at 0 %."""
    made = create(home, clock, search=50.0)
    yield made
    made.close()


def enable(store, flag_key=SEARCH, **more):
    return orders.enable(store, flag_key, **{"actor": "ana", "request_id": new_request_id(), "reason": None, **more})


def disable(store, flag_key=SEARCH, **more):
    return orders.disable(store, flag_key, **{"actor": "ana", "request_id": new_request_id(), "reason": None, **more})


def rollout(store, percentage, flag_key=SEARCH, **more):
    given = {"maximum": 100.0, "actor": "ana", "request_id": new_request_id(), "reason": None, **more}
    return orders.set_percentage(store, flag_key, percentage, **given)


def stop_everything(store):
    """Switch everything off in an emergency; percentages stay."""
    emergency.stop(store.home, Stop(new_request_id(), EVERYTHING, "fire", "ana", START, rolls_back=False), store.now)


def held_by_a_rollback(store):
    """Let checkout be held by the rollback of its plan."""
    row = started(store)
    event = RolledBack(at_ms=START, guardrail="error_rate", reason="too many errors", is_emergency=False, tick=3)
    record(store, row, event)


def state_of(store):
    return rollouts.state_of(store, "checkout.1")


def last_leaf(store):
    return json.loads(store.audit()[-1][1])


def unchanged(store, error, order, match=None):
    """Give an order that is refused, and say whether it changed nothing."""
    before = dump(store)
    with pytest.raises(error, match=match):
        order()
    return dump(store) == before


# --------------------------------------------------------------------------------------------- on
def test_enable_switches_on(store):
    enable(store, CHECKOUT)
    assert store.flag(CHECKOUT).enabled


def test_enable_leaves_the_percentage(store):
    disable(store)
    enable(store)
    assert store.flag(SEARCH).percentage == 50.0


def test_enable_says_before_and_after(store):
    data = enable(store, CHECKOUT).data
    assert [data[name]["enabled"] for name in ("before", "after")] == [False, True]
    assert (data["flag"], data["changed"], data["plan"]) == (CHECKOUT, True, None)


def test_enable_of_a_flag_that_is_on_is_already_so(store):
    before = but_for_replies(dump(store))
    assert enable(store).data["changed"] is False
    assert but_for_replies(dump(store)) == before


def test_enable_is_in_the_audit_log_with_actor_and_reason(store):
    enable(store, CHECKOUT, actor="ben", reason="launch")
    leaf = last_leaf(store)
    assert [leaf[n] for n in ("action", "object", "actor", "reason")] == ["flag_enabled", CHECKOUT, "ben", "launch"]


def test_enable_of_an_unknown_flag_is_refused(store):
    assert unchanged(store, FlagNotFound, lambda: enable(store, "none"))


def test_enable_under_a_pending_plan_leaves_the_plan_pending(store):
    add_plan(store)
    enable(store, CHECKOUT)
    assert (store.flag(CHECKOUT).enabled, state_of(store).phase) == (True, "PENDING")


def test_enable_goes_on_with_a_plan_that_disable_has_paused(store):
    started(store)
    disable(store, CHECKOUT)
    enable(store, CHECKOUT)
    assert (state_of(store).phase, state_of(store).stage) == ("PROGRESSING", 0)


def test_a_plan_that_goes_on_enters_its_stage_under_a_new_number(store):
    started(store)
    disable(store, CHECKOUT)
    enable(store, CHECKOUT)
    flag = store.flag(CHECKOUT)
    assert (flag.enabled, flag.percentage, flag.entry, flag.entries) == (True, 5.0, 2, 2)


def test_a_plan_that_goes_on_begins_its_clocks_anew(store, clock):
    started(store)
    clock.advance(5 * HOUR_MS)
    disable(store, CHECKOUT)
    clock.advance(HOUR_MS)
    enable(store, CHECKOUT)
    assert state_of(store).elapsed_ms(clock.now()) == 0


def test_enable_goes_on_with_a_plan_that_lowering_has_paused(store):
    started(store)
    rollout(store, 3.0, CHECKOUT)
    enable(store, CHECKOUT)
    assert (state_of(store).phase, store.flag(CHECKOUT).percentage, store.flag(CHECKOUT).entry) == (
        "PROGRESSING",
        5.0,
        2,
    )


def test_enable_names_the_plan_that_goes_on(store):
    started(store)
    disable(store, CHECKOUT)
    assert enable(store, CHECKOUT).data["plan"] == "checkout.1"


def test_enable_of_a_flag_that_is_on_leaves_its_paused_plan(store, clock):
    row = started(store)
    record(store, row, commands.pause(state_of(store), "lunch", clock.now()))
    before = but_for_replies(dump(store))
    assert enable(store, CHECKOUT).data["changed"] is False
    assert but_for_replies(dump(store)) == before


# --------------------------------------------------------------------------------------------- held
def test_enable_of_a_flag_that_a_rollback_holds_is_refused(store):
    held_by_a_rollback(store)
    assert unchanged(
        store, FlagHeld, lambda: enable(store, CHECKOUT), "checkout is held since rollback: too many errors"
    )


def test_enable_of_a_flag_that_an_emergency_holds_is_refused(store):
    stop_everything(store)
    assert unchanged(store, FlagHeld, lambda: enable(store), "search is held since emergency: fire")


def test_a_refused_enable_says_how_to_lift_the_hold(store):
    stop_everything(store)
    with pytest.raises(FlagHeld) as refused:
        enable(store)
    assert refused.value.hint == 'flags enable search --release --reason "TEXT"'


@pytest.mark.parametrize("reason", [None, ""])
def test_a_release_needs_a_reason(store, reason):
    stop_everything(store)
    assert unchanged(store, UsageError, lambda: enable(store, releases=True, reason=reason), "needs a reason")


def test_a_release_lifts_the_hold_of_an_emergency(store):
    stop_everything(store)
    enable(store, releases=True, reason="fixed")
    flag = store.flag(SEARCH)
    assert (flag.enabled, flag.percentage) == (True, 50.0)
    assert (flag.held, flag.held_reason, flag.held_ms) == (None, None, None)


def test_a_release_lifts_the_hold_of_a_rollback_and_not_its_percentage(store):
    held_by_a_rollback(store)
    enable(store, CHECKOUT, releases=True, reason="fixed")
    flag = store.flag(CHECKOUT)
    assert (flag.enabled, flag.percentage, flag.held) == (True, 0.0, None)


def test_a_release_lets_the_other_flags_be_held(store):
    stop_everything(store)
    enable(store, releases=True, reason="fixed")
    assert store.flag(CHECKOUT).held == "emergency"


def test_a_release_is_in_the_audit_log_with_its_reason(store):
    stop_everything(store)
    enable(store, releases=True, reason="fixed")
    leaf = last_leaf(store)
    assert (leaf["reason"], leaf["before"]["held"], leaf["after"]["held"]) == ("fixed", "emergency", None)


def test_a_release_of_a_flag_whose_plan_goes_on_lifts_the_hold_too(store):
    started(store)
    stop_everything(store)
    enable(store, CHECKOUT, releases=True, reason="fixed")
    flag = store.flag(CHECKOUT)
    assert (state_of(store).phase, flag.enabled, flag.entry) == ("PROGRESSING", True, 2)
    assert (flag.held, flag.held_reason, flag.held_ms) == (None, None, None)


def test_a_release_of_a_flag_whose_plan_goes_on_is_in_the_audit_log_with_its_reason(store):
    started(store)
    stop_everything(store)
    enable(store, CHECKOUT, releases=True, reason="fixed")
    assert last_leaf(store)["reason"] == "fixed"


def test_a_release_of_a_flag_that_nothing_holds_is_an_enable(store):
    enable(store, CHECKOUT, releases=True, reason="launch")
    assert store.flag(CHECKOUT).enabled


def test_a_release_of_a_flag_that_is_on_is_already_so(store):
    assert enable(store, releases=True, reason="launch").data["changed"] is False


# --------------------------------------------------------------------------------------------- off
def test_disable_switches_off(store):
    disable(store)
    assert not store.flag(SEARCH).enabled


def test_disable_leaves_the_percentage(store):
    disable(store)
    assert store.flag(SEARCH).percentage == 50.0


def test_disable_holds_nothing(store):
    disable(store)
    assert store.flag(SEARCH).held is None


def test_disable_of_a_flag_that_is_off_is_already_so(store):
    before = but_for_replies(dump(store))
    assert disable(store, CHECKOUT).data["changed"] is False
    assert but_for_replies(dump(store)) == before


def test_disable_of_an_unknown_flag_is_refused(store):
    assert unchanged(store, FlagNotFound, lambda: disable(store, "none"))


def test_disable_pauses_a_plan_that_has_started(store):
    started(store)
    reply = disable(store, CHECKOUT, reason="odd logs")
    state = state_of(store)
    assert (state.phase, state.pause_reason, state.percentage) == ("PAUSED", "flag_disabled", 0.0)
    assert reply.data["plan"] == "checkout.1"


def test_disable_under_a_plan_switches_the_flag_off_and_keeps_its_percentage(store):
    started(store)
    disable(store, CHECKOUT)
    assert (store.flag(CHECKOUT).enabled, store.flag(CHECKOUT).percentage) == (False, 5.0)


def test_disable_under_a_plan_is_one_change(store):
    started(store)
    before = store.version
    disable(store, CHECKOUT)
    assert store.version == before + 1


@pytest.mark.parametrize(("reason", "note"), [("odd logs", "odd logs"), (None, "flag disabled")])
def test_the_pause_says_why(store, reason, note):
    started(store)
    disable(store, CHECKOUT, reason=reason)
    assert (rollouts.events_of(store, "checkout.1")[-1].note, last_leaf(store)["reason"]) == (note, note)


def test_disable_under_a_pending_plan_leaves_the_plan_pending(store):
    add_plan(store)
    enable(store, CHECKOUT)
    disable(store, CHECKOUT)
    assert (store.flag(CHECKOUT).enabled, state_of(store).phase) == (False, "PENDING")


def test_disable_after_the_end_of_a_plan_leaves_the_plan_ended(store):
    record(store, started(store), Completed(at_ms=START))
    disable(store, CHECKOUT)
    assert (store.flag(CHECKOUT).enabled, state_of(store).phase) == (False, "COMPLETED")


def test_disable_of_a_flag_whose_plan_an_operator_has_paused_is_the_newer_pause(store, clock):
    row = started(store)
    record(store, row, commands.pause(state_of(store), "lunch", clock.now()))
    disable(store, CHECKOUT)
    assert (state_of(store).pause_reason, store.flag(CHECKOUT).enabled) == ("flag_disabled", False)


# --------------------------------------------------------------------------------------------- a percentage
@pytest.mark.parametrize("percentage", [0.0, 0.01, 12.34, 50.01, 100.0])
def test_a_percentage_is_set(store, percentage):
    rollout(store, percentage)
    assert store.flag(SEARCH).percentage == percentage


def test_a_percentage_does_not_switch_on(store):
    rollout(store, 30.0, CHECKOUT)
    assert (store.flag(CHECKOUT).enabled, store.flag(CHECKOUT).percentage) == (False, 30.0)


def test_a_percentage_of_0_does_not_switch_off(store):
    rollout(store, 0.0)
    assert store.flag(SEARCH).enabled


def test_the_percentage_that_is_in_force_is_already_so(store):
    before = but_for_replies(dump(store))
    assert rollout(store, 50.0).data["changed"] is False
    assert but_for_replies(dump(store)) == before


def test_the_percentage_of_an_unknown_flag_is_refused(store):
    assert unchanged(store, FlagNotFound, lambda: rollout(store, 1.0, "none"))


def test_a_percentage_above_the_maximum_is_refused(store):
    assert unchanged(
        store, PercentageMax, lambda: rollout(store, 60.01, maximum=60.0), r"60.01 % is above .* maximum of 60 %"
    )


def test_the_maximum_itself_is_allowed(store):
    rollout(store, 60.0, maximum=60.0)
    assert store.flag(SEARCH).percentage == 60.0


def test_lowering_is_allowed_above_the_maximum_too(store):
    rollout(store, 40.0, maximum=10.0)
    assert store.flag(SEARCH).percentage == 40.0


def test_raising_a_flag_that_is_held_is_refused(store):
    stop_everything(store)
    assert unchanged(store, FlagHeld, lambda: rollout(store, 60.0), "search is held since emergency: fire")


def test_lowering_a_flag_that_is_held_is_allowed(store):
    stop_everything(store)
    rollout(store, 1.0)
    assert (store.flag(SEARCH).percentage, store.flag(SEARCH).held) == (1.0, "emergency")


@pytest.mark.parametrize("keep", [add_plan, started])
def test_raising_under_a_live_plan_is_refused(store, keep):
    keep(store)
    assert unchanged(store, PlanLive, lambda: rollout(store, 6.0, CHECKOUT), "checkout.1 is live: it alone raises")


def test_lowering_pauses_a_plan_that_has_started(store):
    started(store)
    reply = rollout(store, 3.0, CHECKOUT, reason="less")
    state = state_of(store)
    assert (state.phase, state.pause_reason, state.percentage) == ("PAUSED", "lowered", 3.0)
    assert (reply.data["plan"], rollouts.events_of(store, "checkout.1")[-1].note) == ("checkout.1", "less")


def test_lowering_under_a_plan_leaves_the_flag_on(store):
    started(store)
    rollout(store, 3.0, CHECKOUT)
    assert (store.flag(CHECKOUT).enabled, store.flag(CHECKOUT).percentage) == (True, 3.0)


def test_lowering_twice_is_lowering_to_the_last(store):
    started(store)
    rollout(store, 3.0, CHECKOUT)
    rollout(store, 1.0, CHECKOUT)
    assert (store.flag(CHECKOUT).percentage, state_of(store).percentage) == (1.0, 1.0)


def test_lowering_under_a_pending_plan_leaves_the_plan_pending(store):
    rollout(store, 30.0, CHECKOUT)
    add_plan(store)
    rollout(store, 3.0, CHECKOUT)
    assert (store.flag(CHECKOUT).percentage, state_of(store).phase) == (3.0, "PENDING")


def test_the_percentage_of_a_stage_is_already_so(store):
    started(store)
    before = but_for_replies(dump(store))
    assert rollout(store, 5.0, CHECKOUT).data["changed"] is False
    assert but_for_replies(dump(store)) == before


def test_disable_after_lowering_exposes_nobody(store):
    started(store)
    rollout(store, 3.0, CHECKOUT)
    disable(store, CHECKOUT)
    assert (store.flag(CHECKOUT).enabled, state_of(store).percentage) == (False, 0.0)


def test_a_plan_that_was_lowered_and_disabled_goes_on_at_its_stage(store):
    started(store)
    rollout(store, 3.0, CHECKOUT)
    disable(store, CHECKOUT)
    enable(store, CHECKOUT)
    assert (store.flag(CHECKOUT).percentage, store.flag(CHECKOUT).entry) == (5.0, 2)


def test_a_percentage_is_in_the_audit_log_with_actor_and_reason(store):
    rollout(store, 12.5, actor="ben", reason="slowly")
    leaf = last_leaf(store)
    assert [leaf[n] for n in ("action", "actor", "reason")] == ["percentage_set", "ben", "slowly"]
    assert (leaf["before"]["percentage"], leaf["after"]["percentage"]) == ("50", "12.5")


# --------------------------------------------------------------------------------------------- all of them
@pytest.mark.parametrize(
    "order",
    [lambda s, **m: enable(s, CHECKOUT, **m), disable, lambda s, **m: rollout(s, 12.5, **m)],
    ids=["enable", "disable", "rollout"],
)
def test_an_order_under_the_same_request_id_is_done_once(store, order):
    first = order(store, request_id="r-1")
    before = dump(store)
    second = order(store, request_id="r-1")
    assert (second.data, second.is_repeated, dump(store)) == (first.data, True, before)


def test_an_order_that_was_already_so_is_not_done_later_under_the_same_request_id(store):
    first = enable(store, request_id="r-1")
    disable(store)
    second = enable(store, request_id="r-1")  # a retry that comes late
    assert (second.is_repeated, second.data, store.flag(SEARCH).enabled) == (True, first.data, False)


@pytest.mark.parametrize(
    "order",
    [lambda s: enable(s, CHECKOUT), disable, lambda s: rollout(s, 12.5)],
    ids=["enable", "disable", "rollout"],
)
def test_a_dry_run_of_an_order_changes_nothing_and_says_what_would_be(store, order):
    before = dump(store)
    store.is_dry_run = True
    assert order(store).data["changed"] is True
    assert dump(store) == before


@pytest.mark.parametrize("order", [disable, lambda s, f: rollout(s, 1.0, f)], ids=["disable", "rollout"])
def test_a_dry_run_of_an_order_under_a_plan_records_no_event(store, order):
    started(store)
    before = store.journal("checkout.1")
    store.is_dry_run = True
    order(store, CHECKOUT)
    assert store.journal("checkout.1") == before
