"""What an operator orders of a plan, on a real control database."""

from dataclasses import replace

import pytest

from phase4.clock import ManualClock
from phase4.errors import FlagHeld, FlagNotFound, NotPermitted, PercentageMax, PlanLive, PlanNotFound, PlanStateError
from phase4.rollout.events import Completed
from phase4.store import emergency, orders, plans, rollouts
from phase4.store.plans import Ordered
from phase4.store.stops import EVERYTHING, Stop
from tests.data.homes.make import CHECKOUT, START, create, new_request_id, plan, record


@pytest.fixture
def store(home):
    made = create(home, ManualClock(START), search=50.0)
    yield made
    made.close()


def make(store, flag_key=CHECKOUT, *, replaces=False, actor="ana", maximum=100.0, request_id=None, **changed):
    def plan_of(flag, number):
        return replace(plan(flag.flag_key, number=number, first_entry=flag.entries + 1), **changed)

    wanted = request_id or new_request_id()
    return plans.create(store, flag_key, plan_of, maximum=maximum, replaces=replaces, actor=actor, request_id=wanted)[0]


def ordered(plan_id="checkout.1", actor="ana", **more):
    return Ordered(plan_id, actor, new_request_id(), **more)


def test_plans_of_a_flag_are_numbered(store):
    make(store)
    plans.cancel(store, ordered())
    assert make(store).data == {"plan": "checkout.2", "made": True}


def test_the_same_plan_again_is_the_one_that_waits(store):
    make(store)
    assert make(store).data == {"plan": "checkout.1", "made": False}


def test_another_plan_is_refused_while_one_is_live(store):
    make(store)
    plans.start(store, ordered())
    with pytest.raises(PlanLive, match=r"checkout\.1 is live"):
        make(store)


def test_a_replacing_plan_cancels_the_live_one(store):
    make(store)
    plans.start(store, ordered())
    assert make(store, replaces=True).data == {"plan": "checkout.2", "made": True}
    assert str(rollouts.state_of(store, "checkout.1").phase) == "CANCELLED"


def test_a_plan_above_the_maximum_is_refused(store):
    with pytest.raises(PercentageMax, match="25 %, this environment allows 10 %"):
        make(store, maximum=10.0)
    assert store.plans() == []


def test_a_plan_for_no_flag_is_refused(store):
    with pytest.raises(FlagNotFound):
        make(store, "checkuot")


def test_a_second_live_plan_cannot_be_kept_at_all(store):
    make(store)
    row = store.plan("checkout.1")._replace(plan_id="checkout.9")
    with pytest.raises(PlanLive, match=r"checkout\.1 is live"):
        store.execute("x", {}, lambda change: change.add_plan(row) or {}, actor="a", request_id="r")


def test_a_start_under_the_hold_of_an_emergency_is_refused(store):
    make(store)
    emergency.stop(store.home, Stop("r1", EVERYTHING, "fire", "ana", START, rolls_back=False), store.now)
    with pytest.raises(FlagHeld, match="held since emergency: fire"):
        plans.start(store, ordered())
    orders.enable(store, CHECKOUT, actor="ana", request_id="r2", reason="fire is out", releases=True)
    assert plans.start(store, ordered()).data["phase"] == "PROGRESSING"


def test_a_pause_of_an_operator_stands_when_the_flag_was_off_and_is_on_again(store):
    make(store)
    plans.start(store, ordered())
    plans.pause(store, ordered(reason="lunch"))
    for switch in (orders.disable, orders.enable):
        switch(store, CHECKOUT, actor="ana", request_id=new_request_id(), reason=None)
    state, flag = rollouts.state_of(store, "checkout.1"), store.flag(CHECKOUT)
    assert (str(state.phase), str(state.pause_reason), state.entry) == ("PAUSED", "operator", 2)
    assert (flag.enabled, flag.percentage, flag.entry) == (True, state.percentage, 2)
    assert plans.resume(store, ordered()).data["phase"] == "PROGRESSING"


def test_who_made_a_plan_that_two_must_approve_is_neither(store):
    make(store, approvals_required=2)
    plans.start(store, ordered())
    with pytest.raises(NotPermitted, match="two others"):
        plans.approve(store, ordered(), overrides=True)
    assert plans.approve(store, ordered(actor="ben", reason="x"), overrides=True).data["approvals"] == 1


def test_a_rollback_is_done_once_and_says_so_the_second_time(store):
    make(store)
    plans.start(store, ordered())
    answers = [plans.roll_back(store, ordered(), "it smells").data["already"] for _ in range(2)]
    assert (answers, len(store.alerts("critical"))) == ([False, True], 1)


def test_an_ended_plan_under_a_newer_live_one_is_not_rolled_back(store):
    make(store)
    plans.start(store, ordered())
    record(store, store.plan("checkout.1"), Completed(at_ms=START))
    make(store)
    with pytest.raises(PlanLive, match=r"checkout\.2 is live"):
        plans.roll_back(store, ordered(), "late regret")


def test_an_order_about_no_plan_names_the_nearest(store):
    make(store)
    with pytest.raises(PlanNotFound, match=r"did you mean .checkout\.1"):
        plans.pause(store, ordered("chekout.1"))


def test_an_order_in_another_phase_changes_nothing(store):
    make(store)
    before = store.version
    with pytest.raises(PlanStateError):
        plans.pause(store, ordered())
    assert store.version == before
