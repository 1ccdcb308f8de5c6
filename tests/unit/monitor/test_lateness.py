"""Outcomes that came too late for a judge: told once in their plan's journal, and nothing is judged by them."""

import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.clock import ManualClock
from phase4.durations import HOUR_MS
from phase4.errors import FenceLost
from phase4.monitor import lateness
from phase4.monitor.rounds import HORIZON_MS
from phase4.rollout.corrections import COUNTS
from phase4.rollout.events import DataCorrected
from phase4.rollout.plan import parse_plan
from phase4.rollout.state import Phase
from phase4.store import answers, care, plans, rollouts, ticks
from phase4.store.intake import ROWS
from phase4.store.plans import Ordered
from tests.data.homes.make import CHECKOUT, SEARCH, add_plan, create, new_request_id
from tests.unit.monitor.live import START, TICK, Live

PLAN = """
schema = 1
stages = [{ name = "a", percentage = 5, active_min = "2h", bake = "2h", max_duration = "9d" }]
[guardrails.error_rate]
limit = 0.05
"""
PLAN_ID = f"{CHECKOUT}.1"
TREATMENT, CONTROL = 2, 1


@pytest.fixture
def live(home):
    clock = ManualClock(START)
    store = create(home, clock, search=0.0)
    made = Live(store, clock)
    wanted = parse_plan(tomllib.loads(PLAN), flag_key=CHECKOUT, plan_id=PLAN_ID, source="plan.toml")
    plans.start(store, Ordered(add_plan(store, wanted).plan_id, "ana", new_request_id()))
    made.round()
    made.round(after=3 * HOUR_MS)
    yield made
    made.collector.close()
    made.writer.close()
    store.close()


def late(live, *outcomes, arm=TREATMENT, **more):
    """Write outcomes that lie just beyond the horizon."""
    for outcome in outcomes:
        live.emit(arm, outcome, t_ms=ticks.last(live.store).watermark_ms - HORIZON_MS - 1, **more)


def corrections(live):
    return [each for each in rollouts.events_of(live.store, PLAN_ID) if isinstance(each, DataCorrected)]


def counts(live):
    """Return (treatment, errors, invalid, control, errors, invalid) of every correction."""
    return [tuple(getattr(each, name) for name in COUNTS) for each in corrections(live)]


def test_what_comes_too_late_is_told_in_the_journal_by_arm_and_outcome(live):
    late(live, "ok", "ok", "error", "timeout", "invalid")
    late(live, "ok", "error", arm=CONTROL)
    live.round()
    assert counts(live) == [(5, 2, 1, 2, 1, 0)]


def test_the_correction_says_when_the_oldest_and_the_newest_of_them_happened(live):
    newest = ticks.last(live.store).watermark_ms - HORIZON_MS - 1
    live.emit(TREATMENT, "ok", t_ms=newest)
    live.emit(CONTROL, "ok", t_ms=newest - 7_000)
    live.round()
    assert [(each.from_ms, each.until_ms) for each in corrections(live)] == [(newest - 7_000, newest)]


def test_an_outcome_that_is_late_and_within_the_horizon_is_judged_and_no_correction(live):
    live.emit(TREATMENT, "ok", t_ms=ticks.last(live.store).watermark_ms - HORIZON_MS)
    live.round()
    assert counts(live) == []


def test_an_exposure_is_no_outcome(live):
    late(live, "exposure")
    live.round()
    assert counts(live) == []


def test_no_past_tick_no_evidence_and_no_state_is_changed_by_it(live):
    live.traffic(60, treatment=0.0)
    live.round()
    live.round()
    entry = live.store.flag(CHECKOUT).entry
    seen = live.store.rows("SELECT * FROM observation")
    said = [(each["guardrail"], each["e_value"], each["units"]) for each in answers.kept(live.store, PLAN_ID, entry)]
    before = rollouts.state_of(live.store, PLAN_ID)
    late(live, *["error"] * 50)
    live.round()
    assert live.store.rows("SELECT * FROM observation") == seen
    after = [(each["guardrail"], each["e_value"], each["units"]) for each in answers.kept(live.store, PLAN_ID, entry)]
    assert after == said
    state = rollouts.state_of(live.store, PLAN_ID)
    assert (state.phase, state.stage, state.entered_ms) == (before.phase, before.stage, before.entered_ms)


def test_a_restart_tells_nothing_again(live):
    late(live, "error")
    live.round()
    live.collector._forget()
    live.round(after=2 * HOUR_MS)
    assert counts(live) == [(1, 1, 0, 0, 0, 0)]


def test_a_tick_that_could_not_be_recorded_has_told_nothing_and_the_next_one_tells_it_once(live):
    late(live, "error")
    live.clock.advance(TICK)
    live.store.execute(
        "steal",
        {},
        lambda change: change.write("UPDATE lease SET fence = fence + 1 WHERE name = 'collector'") or {},
        actor="test",
        request_id=new_request_id(),
    )
    with pytest.raises(FenceLost):
        live.collector._work.round(live.clock.now())
    assert counts(live) == []
    live.collector.step()
    live.clock.advance(HOUR_MS)
    live.collector.step()
    live.round()
    assert counts(live) == [(1, 1, 0, 0, 0, 0)]


def test_a_plan_is_told_once_an_hour_at_most_and_nothing_is_lost_meanwhile(live):
    late(live, "error")
    live.round()
    for _ in range(3):
        late(live, "ok")
        live.round()
        live.collector._forget()  # what waits is kept with the tick, not in memory
    assert counts(live) == [(1, 1, 0, 0, 0, 0)]
    live.round(after=HOUR_MS)
    assert counts(live) == [(1, 1, 0, 0, 0, 0), (3, 0, 0, 0, 0, 0)]


def test_a_plan_that_has_ended_is_told_too_and_stays_ended(live):
    entry = live.store.flag(CHECKOUT).entry
    plans.roll_back(live.store, Ordered(PLAN_ID, "ana", new_request_id()), "enough")
    late(live, "error", entry=entry)
    live.round()
    assert counts(live) == [(1, 1, 0, 0, 0, 0)]
    assert rollouts.state_of(live.store, PLAN_ID).phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("is_over", [False, True], ids=["live", "ended"])
def test_a_home_with_a_correction_is_in_order(live, is_over):
    entry = live.store.flag(CHECKOUT).entry
    if is_over:
        plans.roll_back(live.store, Ordered(PLAN_ID, "ana", new_request_id()), "enough")
    late(live, "error", entry=entry)
    live.round()
    assert len(corrections(live)) == 1
    assert care.findings(live.store) == []


def test_of_a_flag_without_a_plan_there_is_no_journal_to_tell_it_in(live):
    live.emit(TREATMENT, "error", t_ms=ticks.last(live.store).watermark_ms - HORIZON_MS - 1, flag_key=SEARCH)
    assert live.round().too_late == 1
    assert live.store.row("SELECT count(*) FROM journal WHERE kind = 'data_corrected'")[0] == 0


def test_a_collector_that_takes_over_from_an_earlier_version_has_nothing_waiting(live):
    live.store.execute(
        "older",
        {},
        lambda change: change.write("UPDATE tick SET upto = json_remove(upto, '$.late')") or {},
        actor="test",
        request_id=new_request_id(),
    )
    live.collector._forget()
    late(live, "ok")
    live.round()
    assert counts(live) == [(1, 0, 0, 0, 0, 0)]


ROW = st.tuples(
    st.integers(1, 2), st.integers(0, 2), st.sampled_from((0, 1, 2)), st.sampled_from((1, 2, 3, 4, 5)),
    st.integers(0, 10**13),
)  # fmt: skip
"""(flag, entry, arm, outcome, t_ms)"""


def rows_of(found):
    rows = np.zeros(len(found), ROWS)
    for name, column in zip(("flag", "entry", "arm", "outcome", "t_ms"), zip(*found, strict=True), strict=False):
        rows[name] = np.array(column, np.uint64).astype(rows.dtype[name])
    return rows


@given(st.lists(ROW, max_size=40))
def test_counting_is_that_of_a_plain_loop(found):
    expected = {}
    for flag, entry, arm, outcome, t_ms in found:
        if outcome < 2 or entry == 0 or arm == 0:
            continue
        own = expected.setdefault(f"{flag}/{entry}", dict.fromkeys(COUNTS, 0) | {"times": []})
        own["times"].append(t_ms)
        name = {2: "treatment", 1: "control"}[arm]
        own[name] += 1
        own[f"{name}_errors"] += outcome in (3, 4)
        own[f"{name}_invalid"] += outcome == 5
    for own in expected.values():
        times = own.pop("times")
        own |= {"from_ms": min(times), "until_ms": max(times)}
    assert lateness.counted(rows_of(found)) == expected


@given(st.lists(ROW, max_size=30), st.lists(ROW, max_size=30))
def test_counting_parts_and_putting_them_together_is_counting_all(one, other):
    parts = lateness.together(lateness.counted(rows_of(one)), lateness.counted(rows_of(other)))
    assert parts == lateness.counted(rows_of([*one, *other]))
