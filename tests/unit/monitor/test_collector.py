"""Ticks: which events belong to which, what comes late, outages of every length, clocks that step, two collectors."""

import itertools
import tomllib

import pytest

from phase4.clock import ManualClock
from phase4.durations import DAY_MS, HOUR_MS
from phase4.errors import FenceLost
from phase4.monitor.collector import Collector
from phase4.monitor.coverage import measure
from phase4.monitor.judging import PlanJudge
from phase4.monitor.rounds import HORIZON_MS
from phase4.monitor.settings import MonitorSettings
from phase4.rollout.events import StageEntered
from phase4.rollout.plan import parse_plan
from phase4.rollout.state import Phase
from phase4.store import plans, rollouts, served, ticks
from phase4.store.plans import Ordered
from phase4.store.served import ServedMarks
from tests.data.homes.make import CHECKOUT, SEARCH, add_plan, create, new_request_id
from tests.unit.monitor.live import START, TICK, Live

PLAN = """
schema = 1
stages = [
  { name = "a", percentage = 5, active_min = "2m", bake = "3m", max_duration = "30m" },
  { name = "b", percentage = 10, active_min = "2m", bake = "3m", max_duration = "30m" },
  { name = "c", percentage = 25, active_min = "2m", bake = "3m", max_duration = "30m", approval = true },
]
[guardrails.error_rate]
limit = [0.05, 0.05, 0.05]
[guardrails.emergency]
limit = 0.1
"""
MINUTE_MS = 60_000
PLAN_ID = f"{CHECKOUT}.1"
OUTAGES = [TICK, HOUR_MS, 30 * DAY_MS]
USERS = 60
"""New ones of each arm in an interval."""


class SteppingClock(ManualClock):
    """A clock that somebody may set back."""

    def step(self, by_ms):
        self._now_ms += by_ms


@pytest.fixture
def live(home):
    clock = SteppingClock(START)
    store = create(home, clock, search=0.0)
    made = Live(store, clock)
    yield made
    made.collector.close()
    made.writer.close()
    store.close()


def start(live, text=PLAN):
    wanted = parse_plan(tomllib.loads(text), flag_key=CHECKOUT, plan_id=PLAN_ID, source="plan.toml")
    row = add_plan(live.store, wanted)
    plans.start(live.store, Ordered(row.plan_id, "ana", new_request_id()))
    return row


def state(live):
    return rollouts.state_of(live.store, PLAN_ID)


def kinds(live):
    return [event.kind for event in rollouts.events_of(live.store, PLAN_ID)]


def entered(live):
    """Return the percentages that were entered."""
    return [e.percentage for e in rollouts.events_of(live.store, PLAN_ID) if isinstance(e, StageEntered)]


def rows(live, tick, flag_key=SEARCH):
    """Return what was counted of a flag in one tick, as (arm, outcomes, late)."""
    found = ticks.observations(live.store, live.store.flag(flag_key).id).get(tick, [])
    return [(row.arm, row.ok + row.error + row.timeout + row.invalid, row.late) for row in found]


def counted(live, flag_key=SEARCH):
    """Return tick -> outcomes of a flag."""
    seen = ticks.observations(live.store, live.store.flag(flag_key).id)
    return {tick: sum(row.ok + row.error for row in each) for tick, each in seen.items()}


def until(live, phase, *, rate=0.0, rounds=80):
    """Let the plan go on under traffic until it is in a phase."""
    for _ in range(rounds):
        if state(live).phase is phase:
            return
        live.traffic(USERS, treatment=rate)
        live.round()
    raise AssertionError(f"the plan is {state(live).phase}")


def restart(live, **settings):
    """End the collector, and begin another with other settings."""
    live.collector.close()
    live.settings = MonitorSettings(interval_ms=live.interval_ms, **settings)
    live.collector = Collector(live.store, live.settings, holder="again")


# --------------------------------------------------------------------------------------------- which event where
def test_an_event_belongs_to_the_tick_its_time_lies_in_and_its_end_is_the_next_one_s(live):
    live.round()
    first = ticks.last(live.store)
    for t_ms in (first.watermark_ms, first.watermark_ms + TICK - 1, first.watermark_ms + TICK):
        live.emit(2, "ok", flag_key=SEARCH, t_ms=t_ms)
    live.clock.advance(2 * TICK)
    live.collector.step()
    live.round()
    assert counted(live) == {1: 2, 2: 1}
    assert rows(live, 1) == [(2, 2, 0)]


def test_ticks_lie_on_multiples_of_the_interval_wherever_the_rounds_lie(live):
    for after in (TICK + 7, TICK, 2 * TICK + 11_111):
        live.emit(2, "ok", flag_key=SEARCH)
        live.round(after=after)
    closed = ticks.since(live.store, 0)
    assert all(tick.watermark_ms % TICK == 0 for tick in closed)
    assert all(a.watermark_ms <= b.from_ms for a, b in itertools.pairwise(closed))


def test_a_round_before_the_next_tick_is_due_closes_none(live):
    live.round()
    assert live.round(after=0).closed == live.round(after=TICK - 1).closed == ()
    assert len(live.round(after=1).closed) == 1


def test_a_tick_is_closed_only_after_its_events_had_time_to_arrive(live):
    done = live.round(after=10 * TICK + 1)
    assert done.closed[-1].watermark_ms == START + 9 * TICK


def test_a_tick_of_a_long_interval_is_closed_half_a_minute_after_its_end(home):
    clock = ManualClock(START)
    store = create(home, clock, search=0.0)
    live = Live(store, clock, interval_ms=10 * MINUTE_MS)
    end = (START // (10 * MINUTE_MS) + 1) * 10 * MINUTE_MS
    try:
        live.clock.advance(end + TICK - START)
        assert live.collector.step().closed[-1].watermark_ms == end
    finally:
        live.collector.close()
        store.close()


def test_a_late_event_counts_as_late_in_the_tick_that_first_sees_it(live):
    live.round(after=4 * TICK)
    end = ticks.last(live.store).watermark_ms
    live.emit(2, "ok", flag_key=SEARCH, t_ms=end - 1)
    live.emit(2, "ok", flag_key=SEARCH, t_ms=end)
    live.round()
    assert rows(live, 1) == [(2, 2, 1)]


def test_an_exposure_that_comes_late_is_no_late_outcome(live):
    live.round(after=4 * TICK)
    live.emit(2, "exposure", flag_key=SEARCH, t_ms=START)
    live.round()
    assert rows(live, 1) == [(2, 0, 0)]


def test_a_past_tick_is_never_edited(live):
    live.emit(2, "ok", flag_key=SEARCH)
    live.round(after=2 * TICK)
    before = live.store.rows("SELECT * FROM observation")
    live.emit(2, "error", flag_key=SEARCH, t_ms=START)
    live.round()
    assert live.store.rows("SELECT * FROM observation WHERE tick = 0") == before


@pytest.mark.parametrize(("by_ms", "shown"), [(HORIZON_MS, 1), (HORIZON_MS + 1, 0)])
def test_more_than_an_hour_late_is_shown_to_no_judge_and_counted(live, by_ms, shown):
    live.round(after=2 * HOUR_MS)
    end = ticks.last(live.store).watermark_ms
    live.emit(2, "ok", flag_key=SEARCH, t_ms=end - by_ms)
    done = live.round()
    assert (done.too_late, sum(counted(live).values())) == (1 - shown, shown)


def test_a_too_late_event_is_told_once(live):
    live.round(after=2 * HOUR_MS)
    live.emit(2, "ok", flag_key=SEARCH, t_ms=START)
    told = [live.round().too_late]
    live.collector._forget()
    assert [*told, live.round().too_late] == [1, 0]


@pytest.mark.parametrize(("ahead_ms", "aside"), [(5_000, 0), (5_001, 1)])
def test_an_event_of_the_future_is_set_aside(live, ahead_ms, aside):
    live.round()
    live.emit(2, "ok", flag_key=SEARCH, t_ms=live.clock.now() + TICK + ahead_ms)
    done = live.round()
    assert done.set_aside == aside


def test_an_event_that_was_set_aside_stays_so_after_a_restart(live):
    live.round()
    live.emit(2, "ok", flag_key=SEARCH, t_ms=live.clock.now() + TICK + 6_000)
    assert live.round().set_aside == 1
    live.collector._forget()
    for _ in range(5):
        live.round()
    assert counted(live) == {}


def test_events_of_before_the_first_round_are_closed_in_their_own_ticks(live):
    for number in range(3):
        live.emit(2, "ok", flag_key=SEARCH, t_ms=START - (10 - number) * TICK)
    done = live.round()
    assert [tick.watermark_ms for tick in done.closed] == [START - (9 - number) * TICK for number in range(3)] + [START]
    assert counted(live) == {0: 1, 1: 1, 2: 1}
    assert all(late == 0 for tick in range(3) for _, _, late in rows(live, tick))


def test_without_traffic_every_interval_has_its_tick_and_nothing_else(live):
    for _ in range(10):
        live.round()
    closed = ticks.since(live.store, 0)
    assert [tick.tick for tick in closed] == list(range(10))
    assert live.store.row("SELECT count(*) FROM observation")[0] == 0
    assert {(tick.due, tick.received) for tick in closed} == {(0, 0)}


def test_without_traffic_no_plan_is_promoted_and_it_pauses_at_its_longest_time(live):
    start(live)
    for _ in range(62):
        live.round()
    assert (entered(live), state(live).phase, state(live).pause_reason) == ([5.0], Phase.PAUSED, "max_duration")


# --------------------------------------------------------------------------------------------- outages
def test_missed_intervals_with_events_are_closed_one_by_one_in_time_order(live):
    live.round()
    end = ticks.last(live.store).watermark_ms
    for place in (7, 3, 5):
        live.emit(2, "ok", flag_key=SEARCH, t_ms=end + place * TICK)
    done = live.round(after=20 * TICK)
    ends = [(tick.watermark_ms - end) // TICK for tick in done.closed]
    assert ends == [4, 6, 8, 20]
    assert [tick.tick for tick in done.closed] == [4, 6, 8, 20]
    assert counted(live) == {4: 1, 6: 1, 8: 1}
    assert all(late == 0 for tick in (4, 6, 8) for _, _, late in rows(live, tick))


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_without_traffic_is_one_tick(live, outage):
    live.round()
    done = live.round(after=outage + TICK)
    assert [tick.tick for tick in done.closed] == [outage // TICK + 1]


def spread(live, outage, treatment):
    """Write traffic into the intervals of a coming outage, as applications did while nobody collected."""
    begin = live.clock.now()
    for place in range(min(outage // TICK, 30)):
        live.clock.step(begin + place * TICK - live.clock.now())
        live.traffic(USERS, treatment=treatment)
    live.clock.step(begin - live.clock.now())


def held_in(live, phase):
    """Bring a plan to a phase."""
    start(live)
    if phase is Phase.PAUSED:
        until(live, Phase.PROGRESSING)
        live.traffic(USERS, treatment=0.0)
        live.round()
        plans.pause(live.store, Ordered(PLAN_ID, "ana", new_request_id()))
    else:
        until(live, phase)
    if phase is Phase.PROGRESSING:
        live.traffic(USERS, treatment=0.0)
        live.round()


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.PAUSED])
def test_an_outage_takes_at_most_one_step_and_skips_no_approval(live, phase, outage):
    held_in(live, phase)
    before = (kinds(live), entered(live))
    spread(live, outage, 0.0)
    live.round(after=outage)
    assert len(kinds(live)) <= len(before[0]) + 1
    assert len(entered(live)) <= len(before[1]) + 1
    assert 25.0 not in entered(live)


@pytest.mark.parametrize("outage", OUTAGES[1:])
@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.AWAITING_APPROVAL, Phase.PAUSED])
def test_a_failure_in_an_outage_rolls_back(live, phase, outage):
    held_in(live, phase)
    spread(live, outage, 0.5)
    done = live.round(after=outage)
    assert [event.kind for _, event in done.events] == ["rolled_back"]
    flag = live.store.flag(CHECKOUT)
    assert (flag.enabled, flag.percentage, flag.held is not None) == (False, 0.0, True)


@pytest.mark.parametrize("outage", [HOUR_MS, 30 * DAY_MS])
def test_active_time_does_not_grow_for_what_nobody_watched(live, outage):
    held_in(live, Phase.PROGRESSING)
    active = live.collector._work._judges[PLAN_ID]._judge
    before = active._active_ms
    spread(live, outage, 0.0)
    done = live.round(after=outage)
    watched = sum(tick.is_watched for tick in done.closed)
    assert len(done.closed) > 20
    assert active._active_ms - before <= watched * TICK
    assert watched <= 2


def test_nothing_is_promoted_for_time_that_nobody_watched(live):
    """Proof, bake and traffic are there; a collector that was away for it has no active time."""
    start(live)
    spread(live, 20 * TICK, 0.001)
    live.round(after=20 * TICK)
    assert entered(live) == [5.0]


def test_an_approval_that_expires_in_an_outage_is_dropped_and_nobody_is_exposed(live):
    held_in(live, Phase.AWAITING_APPROVAL)
    plans.approve(live.store, Ordered(PLAN_ID, "ben", new_request_id()))
    spread(live, 2 * DAY_MS, 0.001)
    live.round(after=2 * DAY_MS)
    assert (kinds(live)[-1], state(live).percentage) == ("approval_dropped", 10.0)


# --------------------------------------------------------------------------------------------- clocks
def test_a_clock_that_steps_back_closes_nothing_twice_and_goes_on_when_time_has_caught_up(live):
    for _ in range(4):
        live.emit(2, "ok", flag_key=SEARCH)
        live.round()
    newest = ticks.last(live.store)
    live.clock.step(-3 * TICK)
    for _ in range(3):
        assert live.round().closed == ()
    done = live.round()
    assert [tick.tick for tick in done.closed] == [newest.tick + 1]
    assert sum(counted(live).values()) == 4


def test_events_written_while_the_clock_is_back_are_late_and_not_lost(live):
    for _ in range(4):
        live.round()
    live.clock.step(-2 * TICK)
    live.emit(2, "ok", flag_key=SEARCH)
    for _ in range(4):
        live.round()
    assert sum(counted(live).values()) == 1
    assert [late for tick in counted(live) for _, _, late in rows(live, tick)] == [1]


@pytest.mark.parametrize("intervals", [(30_000, 10_000), (10_000, 30_000), (30_000, 7_000), (1_000, 600_000)])
def test_tick_numbers_grow_and_events_count_once_where_the_interval_is_changed(live, intervals):
    for interval in intervals:
        live.interval_ms = interval
        restart(live)
        for _ in range(4):
            live.emit(2, "ok", flag_key=SEARCH)
            live.round()
    for _ in range(2):
        live.round()
    closed = ticks.since(live.store, 0)
    assert [tick.tick for tick in closed] == sorted({tick.tick for tick in closed})
    assert all(a.watermark_ms <= b.from_ms < b.watermark_ms for a, b in itertools.pairwise(closed))
    assert sum(counted(live).values()) == 8


def test_active_time_stays_what_it_was_where_the_interval_is_changed(live):
    row = start(live)
    for _ in range(3):
        live.traffic(USERS, treatment=0.0)
        live.round()
    before = PlanJudge.replayed(live.store, row, interval_ms=TICK)._judge._active_ms
    after = PlanJudge.replayed(live.store, row, interval_ms=20 * TICK)._judge._active_ms
    assert after == before


def test_a_longer_interval_promotes_nobody_early(live):
    start(live, PLAN.replace('"2m"', '"25m"'))
    for _ in range(8):
        live.traffic(USERS, treatment=0.0)
        live.round()
    live.interval_ms = 20 * TICK
    restart(live)
    live.traffic(USERS, treatment=0.0)
    live.round()
    assert entered(live) == [5.0]  # 14 minutes are not 25


# --------------------------------------------------------------------------------------------- what is lost
def test_events_that_a_source_could_not_write_are_due_and_never_received(live):
    live.round()
    live.emit(2, "ok", flag_key=SEARCH)
    live.writer.dropped = 3
    live.writer.close()  # the next file tells
    live.emit(2, "ok", flag_key=SEARCH)
    live.round()
    live.round()
    assert [(tick.due, tick.received) for tick in ticks.since(live.store, 0)] == [(0, 0), (3, 0), (0, 0)]


def test_an_outcome_is_due_an_hour_after_its_user_was_seen(live):
    live.emit(2, "exposure", flag_key=SEARCH, unit=1)
    live.emit(2, "exposure", flag_key=SEARCH, unit=2)
    live.emit(2, "ok", flag_key=SEARCH, unit=2)
    live.round()
    for _ in range(HOUR_MS // TICK + 2):
        live.round()
    found = [(tick.due, tick.received) for tick in ticks.since(live.store, 0) if tick.due]
    assert found == [(2, 1)]


# --------------------------------------------------------------------------------------------- rebuilt and kept
def test_a_judge_made_anew_after_every_tick_is_the_one_that_was_kept(live):
    row = start(live)
    for number in range(30):
        live.traffic(USERS, treatment=0.004)
        if number in {7, 20}:
            live.emit(2, "error", t_ms=live.clock.now() - 5 * TICK)
        if number == 9:
            plans.pause(live.store, Ordered(PLAN_ID, "ana", new_request_id()))
        if number == 12:
            plans.resume(live.store, Ordered(PLAN_ID, "ana", new_request_id()))
        live.round(after=TICK if number != 15 else 9 * TICK)
        if state(live).ended_ms is not None:
            break
        kept = live.collector._work._judges[PLAN_ID]
        made = PlanJudge.replayed(live.store, row, interval_ms=TICK)
        assert vars(made._judge) == vars(kept._judge)
    assert number > 12


# --------------------------------------------------------------------------------------------- two collectors
@pytest.fixture
def pair(home, live):
    other = Live(live.store, live.clock)
    other.collector = Collector(live.store, live.settings, holder="other")
    yield live, other
    other.collector.close()


def test_of_two_collectors_only_one_ticks(pair):
    live, other = pair
    for _ in range(5):
        assert live.round().is_holder
        assert other.round(after=0).is_holder is False
    assert {tick.fence for tick in ticks.since(live.store, 0)} == {1}
    assert len(ticks.since(live.store, 0)) == 5


def test_the_standby_goes_on_where_the_holder_was_killed(pair):
    live, other = pair
    for _ in range(3):
        live.emit(2, "ok", flag_key=SEARCH)
        live.round()
    other.round(after=0)
    live.collector.lease.lose()
    live.collector._forget()
    live.emit(2, "ok", flag_key=SEARCH)
    done = other.round()
    assert (done.is_holder, [tick.tick for tick in done.closed]) == (True, [3])
    other.round()
    assert counted(live) == {1: 1, 2: 1, 3: 1, 4: 1}
    assert [tick.fence for tick in ticks.since(live.store, 0)] == [1, 1, 1, 2, 2]


def steal(live):
    """Take the lease away from whoever holds it, as one that takes over does."""
    live.store.execute(
        "steal",
        {},
        lambda change: change.write("UPDATE lease SET fence = fence + 1, holder = 'thief'") and {},
        actor="test",
        request_id=new_request_id(),
    )


def test_a_holder_whose_fence_is_old_is_refused_and_steps_down(pair):
    live, _ = pair
    live.round()
    steal(live)
    live.clock.advance(TICK)
    with pytest.raises(FenceLost):
        live.collector._work.round(live.clock.now())
    assert len(ticks.since(live.store, 0)) == 1
    assert not live.collector.step().is_holder


def test_an_old_holder_records_no_event_of_a_plan(pair):
    live, _ = pair
    start(live)
    live.round()
    live.traffic(300, treatment=0.5)
    live.clock.advance(2 * TICK)
    work, now_ms = live.collector._work, live.clock.now()
    work._read(now_ms)
    for begin, end in work._due(now_ms):
        work._close_tick(now_ms, begin, end)
    steal(live)
    with pytest.raises(FenceLost):
        work._decide()
    live.collector.step()
    assert kinds(live) == ["stage_entered"]


def test_an_old_holder_switches_no_flag_off(pair):
    live, _ = pair
    flag = live.store.flag(SEARCH)
    live.round()
    for _ in range(100):
        live.emit(2, "error", flag_key=SEARCH)
    live.clock.advance(2 * TICK)
    work, now_ms = live.collector._work, live.clock.now()
    work._read(now_ms)
    for begin, end in work._due(now_ms):
        work._close_tick(now_ms, begin, end)
    steal(live)
    with pytest.raises(FenceLost):
        work._switch_off()
    live.collector.step()
    assert live.store.flag(SEARCH) == flag


def test_an_old_holder_that_ends_ends_in_peace(home, pair):
    live, _ = pair
    live.round()
    live.emit(2, "ok", flag_key=SEARCH)
    live.round()
    steal(live)
    try:
        live.collector.close()
    finally:
        live.collector._forget()
    assert live.collector.lease.fence == 0


def test_ticks_that_were_lost_lower_the_coverage(live):
    start(live)
    for _ in range(5):
        live.round()
    live.round(after=10 * TICK)
    seen = measure(live.store, live.clock.now(), interval_ms=TICK)
    assert 0.3 < seen.of_ticks < 0.5


# --------------------------------------------------------------------------------------------- evaluators
def mark(live, marks):
    """Note that this source served a version now, and that it wrote an event."""
    live.emit(2, "ok", flag_key=SEARCH)
    marks.mark(live.writer.source, live.store.version, live.clock.now())


def test_an_evaluator_that_ends_while_somebody_collects_ended_at_that_round(live):
    marks = ServedMarks(live.store.home)
    mark(live, marks)
    live.round()
    marks.close()
    live.round()
    [known] = served.evaluators(live.store)
    assert (known.closed_ms, len(known.served)) == (live.clock.now(), 1)


def test_an_evaluator_that_ended_while_nobody_collected_is_not_known_to_have_lived_on(live):
    marks = ServedMarks(live.store.home)
    mark(live, marks)
    begin = live.clock.now()
    marks.close()
    live.round(after=HOUR_MS)
    [known] = served.evaluators(live.store)
    assert known.closed_ms == begin
