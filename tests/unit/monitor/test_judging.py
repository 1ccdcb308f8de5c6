"""The judge of a plan made again from what is stored, and what its stages ended with."""

import tomllib

import pytest

from phase4.analysis.verdict import Verdict
from phase4.clock import ManualClock
from phase4.monitor.judging import PlanJudge
from phase4.rollout.plan import parse_plan
from phase4.store import orders, plans, rollouts
from phase4.store.plans import Ordered
from tests.data.homes.make import CHECKOUT, SEARCH, add_plan, create, new_request_id
from tests.unit.monitor.live import START, TICK, Live
from tests.unit.monitor.test_collector import PLAN, PLAN_ID, USERS


@pytest.fixture
def live(home):
    clock = ManualClock(START)
    store = create(home, clock, search=0.0)
    made = Live(store, clock)
    yield made
    made.collector.close()
    made.writer.close()
    store.close()


@pytest.fixture
def row(live):
    wanted = parse_plan(tomllib.loads(PLAN), flag_key=CHECKOUT, plan_id=PLAN_ID, source="plan.toml")
    return add_plan(live.store, wanted)


def start(live, row):
    plans.start(live.store, Ordered(row.plan_id, "ana", new_request_id()))


def rounds(live, count, treatment=0.0):
    for _ in range(count):
        live.traffic(USERS, treatment=treatment)
        live.round()


def replayed(live, row):
    return PlanJudge.replayed(live.store, row, interval_ms=TICK)


def followed(live, row):
    return PlanJudge.followed(live.store, row, interval_ms=TICK)[1]


def test_a_plan_that_was_not_started_has_seen_nothing(live, row):
    live.round()
    judge = replayed(live, row)
    assert (judge.assessments(), followed(live, row)) == ((), {})
    assert judge.observe(rollouts.state_of(live.store, PLAN_ID)) is None


def test_a_plan_that_no_tick_was_closed_for_has_seen_nothing(live, row):
    start(live, row)
    assert followed(live, row) == {}


def test_it_sees_its_own_flag_and_entry_alone(live, row):
    start(live, row)
    live.round()
    for _ in range(50):
        live.emit(2, "error", flag_key=SEARCH)
        live.emit(2, "error", entry=0)
    live.emit(2, "ok")
    live.round()
    live.round()
    assert [answer.units for answer in replayed(live, row).assessments()] == [1, 1]


def test_every_entry_ends_with_what_its_guardrails_said_last(live, row):
    start(live, row)
    rounds(live, 9)
    found = followed(live, row)
    assert {entry: stage for entry, (stage, _) in found.items()} == {1: 0, 2: 1}
    assert {said.answer.verdict for said in found[1][1]} == {Verdict.PASS}


def test_a_plan_that_was_rolled_back_ends_with_the_failure(live, row):
    start(live, row)
    rounds(live, 1)
    rounds(live, 3, treatment=0.6)
    answers = followed(live, row)[1][1]
    assert Verdict.FAIL in {said.answer.verdict for said in answers}
    assert live.store.plan(PLAN_ID).ended_ms is not None


def test_an_entry_that_was_begun_anew_keeps_the_evidence_against_and_drops_the_proof(live, row):
    start(live, row)
    rounds(live, 3, treatment=0.02)
    before = replayed(live, row).assessments()[0]
    orders.disable(live.store, CHECKOUT, actor="ana", request_id=new_request_id(), reason=None)
    orders.enable(live.store, CHECKOUT, actor="ana", request_id=new_request_id(), reason=None)
    live.round()
    after = replayed(live, row).assessments()[0]
    assert rollouts.state_of(live.store, PLAN_ID).entry == 2
    assert (after.log_e_fail, after.units, before.units > 0) == (before.log_e_fail, 0, True)


def test_an_observation_of_another_entry_is_none(live, row):
    start(live, row)
    rounds(live, 3)
    judge = replayed(live, row)
    orders.disable(live.store, CHECKOUT, actor="ana", request_id=new_request_id(), reason=None)
    orders.enable(live.store, CHECKOUT, actor="ana", request_id=new_request_id(), reason=None)
    assert judge.observe(rollouts.state_of(live.store, PLAN_ID)) is None


# ------------------------------------------------------------------------------------------------ what is remembered
def memories(live, row):
    """Return the memory of the judge that goes on from what is kept, and of the one that reads everything again."""
    return replayed(live, row).memory(), PlanJudge.followed(live.store, row, interval_ms=TICK)[0].memory()


def forget(live, row, *, last_tick):
    """Take back what was kept at the newest tick, as if the collector had been killed before it."""

    def work(change):
        change.write("UPDATE guardrail_state SET tick = ?, state = '{}' WHERE plan_id = ?", last_tick, row.plan_id)
        return {}

    live.store.execute("forget", {}, work, actor="test", request_id=new_request_id())


def test_a_judge_goes_on_from_what_it_remembered_as_if_it_had_read_every_tick(live, row):
    start(live, row)
    for _ in range(12):
        rounds(live, 1)
        kept, again = memories(live, row)
        assert kept == again


def test_ticks_after_what_was_kept_are_read(live, row):
    start(live, row)
    rounds(live, 2)
    answers_kept = live.store.rows("SELECT entry, guardrail, tick, state, assessment FROM guardrail_state")
    rounds(live, 3)
    newer = memories(live, row)[1]

    def work(change):
        for entry, guardrail, tick, state, assessment in answers_kept:
            change.write(
                "UPDATE guardrail_state SET tick = ?, state = ?, assessment = ? WHERE entry = ? AND guardrail = ?",
                *(tick, state, assessment, entry, guardrail),
            )
        return {}

    live.store.execute("back", {}, work, actor="test", request_id=new_request_id())
    assert replayed(live, row).memory() == newer


def test_a_memory_that_cannot_be_read_is_made_again_from_the_observations(live, row):
    start(live, row)
    rounds(live, 3)
    expected = memories(live, row)[1]
    forget(live, row, last_tick=expected.tick)
    assert replayed(live, row).memory() == expected


def test_it_goes_on_where_the_observations_of_old_ticks_are_gone(live, row):
    start(live, row)
    rounds(live, 3)
    expected = replayed(live, row).memory()

    def work(change):
        change.write("DELETE FROM observation")
        return {}

    live.store.execute("gone", {}, work, actor="test", request_id=new_request_id())
    assert replayed(live, row).memory() == expected
