import numpy as np
import pytest

from phase4.analysis.columns import ArmColumns
from phase4.analysis.specs import RateGuardrail
from phase4.analysis.verdict import Reason, Unit, Verdict
from phase4.durations import HOUR_MS
from phase4.errors import InvariantViolation
from phase4.rollout.events import EntryCause, Paused, PauseReason, StageEntered
from phase4.rollout.state import evolve, replay
from phase4.sim import observer as observers
from phase4.sim.observer import BlockObserver
from phase4.sim.traffic import Toll
from tests.unit.sim.worlds import START, TICK, plan

PLAN = plan(RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST))
TICKS = 3 * observers.JUDGED_AT_ONCE


class Steady:
    """A source with the same counts at every tick; none at the ticks it is told to leave out."""

    counts_exposures = False
    onset_tick = None

    def __init__(self, errors=0, requests=1_000, silent=()):
        self.errors, self.requests, self.silent, self.asked = errors, requests, set(silent), []

    def entry(self, percentage, first_tick):
        self.asked.append((percentage, first_tick))
        return self

    def columns(self, begin, end):
        trials = np.array([0 if tick in self.silent else self.requests for tick in range(begin, end)], np.int64)
        arm = ArmColumns.of_requests(np.minimum(self.errors, trials), trials)
        return arm, arm

    def toll(self, _exposures):
        return Toll(users_exposed=None, users_harmed=None, excess=0.0, users_since_onset=None, requests_since_onset=0)


class Watch:
    """An observer of a plan that was started before the first tick."""

    def __init__(self, source=None, of=PLAN):
        self.source, self.plan = source or Steady(), of
        self.observer = BlockObserver(of, self.source, tick_ms=TICK, ticks=TICKS)
        self.state = replay([entered(0)])
        self.observer.begin(self.state)

    def see(self, *ticks, state=None):
        """Close the ticks one after the other; return what is seen at the last."""
        seen = None
        for tick in ticks:
            self.observer.close(tick)
            seen = self.observer.observe(state or self.state)
        return seen


def entered(stage):
    return StageEntered(
        at_ms=START, stage=stage, entry=stage + 1, percentage=PLAN.stages[stage].percentage, cause=EntryCause.START
    )


def paused(watch):
    return evolve(watch.state, Paused(at_ms=START, reason=PauseReason.OPERATOR, note=""))


def test_before_the_first_tick_has_closed_nothing_is_seen():
    watch = Watch()
    assert watch.observer.observe(watch.state) is None


def test_an_entry_s_traffic_begins_with_the_next_tick():
    watch = Watch()
    watch.see(0, 1, 2)
    watch.observer.begin(evolve(watch.state, entered(1)))
    assert watch.source.asked == [(5.0, 0), (50.0, 3)]


def test_an_entry_is_not_seen_before_its_first_tick_has_closed():
    watch = Watch()
    watch.see(0, 1, 2)
    watch.state = evolve(watch.state, entered(1))
    watch.observer.begin(watch.state)
    assert watch.observer.observe(watch.state) is None
    assert watch.see(3).entry == 2


def test_another_entry_than_the_one_begun_is_not_seen():
    watch = Watch()
    assert watch.see(0, state=evolve(watch.state, entered(1))) is None


def test_a_tick_is_seen_under_its_number_and_entry():
    seen = Watch().see(0, 1, 2)
    assert (seen.entry, seen.tick) == (1, 2)


def test_what_was_seen_last_is_kept_for_the_checks():
    watch = Watch()
    assert watch.see(0) is watch.observer.last


@pytest.mark.parametrize("tick", [0, 1, observers.JUDGED_AT_ONCE - 1, observers.JUDGED_AT_ONCE, TICKS - 1])
def test_every_tick_with_data_is_watched_time(tick):
    assert Watch().see(*range(tick + 1)).active_ms == (tick + 1) * TICK


def test_a_tick_without_data_is_not_watched_time():
    watch = Watch(Steady(silent={1, 2, 600}))
    assert watch.see(*range(4)).active_ms == 2 * TICK
    assert watch.see(*range(4, 700)).active_ms == 697 * TICK


def test_time_in_a_pause_is_not_watched_time():
    watch = Watch()
    watch.see(0, 1)
    assert watch.see(2, 3, 4, state=paused(watch)).active_ms == 2 * TICK
    assert watch.see(5).active_ms == 3 * TICK


def test_a_pause_at_the_edge_of_a_block_is_not_watched_time():
    watch = Watch()
    watch.see(*range(observers.JUDGED_AT_ONCE))
    seen = watch.see(observers.JUDGED_AT_ONCE, observers.JUDGED_AT_ONCE + 1, state=paused(watch))
    assert seen.active_ms == observers.JUDGED_AT_ONCE * TICK


def test_a_tick_that_is_asked_about_twice_in_a_pause_counts_once():
    watch = Watch()
    watch.see(0, 1, 2)
    watch.see(3, 3, 3, state=paused(watch))
    assert watch.see(4).active_ms == 4 * TICK


def test_a_new_entry_starts_its_watched_time_anew():
    watch = Watch()
    watch.see(*range(10))
    watch.state = evolve(watch.state, entered(1))
    watch.observer.begin(watch.state)
    assert watch.see(10).active_ms == TICK


def test_a_clean_stage_becomes_green_when_it_is_proved():
    watch = Watch(Steady(errors=0, requests=100))
    verdicts = [watch.see(tick).verdict for tick in range(15)]
    # requests are allowed to vary 6 times as much as independent ones: 1,332 without an error prove 1 %
    assert verdicts == [Verdict.INCONCLUSIVE] * 13 + [Verdict.PASS] * 2


def test_a_green_stage_names_no_guardrail_and_no_reason():
    seen = Watch(Steady(requests=1_400)).see(0)
    assert (seen.verdict, seen.guardrail, seen.reason) == (Verdict.PASS, None, None)


def test_a_breach_names_the_guardrail_and_stays():
    always = RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST, ambient=False)
    watch = Watch(Steady(errors=500), plan(always))
    seen = watch.see(0)
    assert (seen.verdict, seen.guardrail, seen.reason) == (Verdict.FAIL, "error_rate", Reason.EVIDENCE)
    assert watch.see(*range(1, observers.JUDGED_AT_ONCE + 1)).verdict is Verdict.FAIL


def test_only_the_emergency_limit_is_an_emergency():
    specs = (
        RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST, ambient=False),
        RateGuardrail(name="emergency", limit=0.02, unit=Unit.REQUEST, ambient=False, emergency=True),
    )
    assert not Watch(Steady(errors=500), plan(*specs)).see(0).is_emergency
    assert Watch(Steady(errors=500), plan(*specs[::-1])).see(0).is_emergency


def test_silence_is_no_data():
    seen = Watch(Steady(silent=range(TICKS))).see(0)
    assert (seen.verdict, seen.reason, seen.active_ms) == (Verdict.NO_DATA, Reason.NO_UNITS, 0)


def test_silence_after_data_becomes_stale():
    watch = Watch(Steady(requests=1_400, silent=range(5, TICKS)))
    verdicts = [watch.see(tick).verdict for tick in range(9)]
    assert verdicts == [*[Verdict.PASS] * 7, *[Verdict.NO_DATA] * 2]


def test_what_was_delivered_is_kept_in_stretches_without_gap_or_overlap():
    watch = Watch()
    watch.see(*range(TICKS))
    spans = [(stretch.first_tick, len(stretch.treatment)) for stretch in watch.observer.stretches]
    assert spans[0][0] == 0
    assert [first + size for first, size in spans] == [*(first for first, _ in spans[1:]), TICKS]


def test_counts_that_cannot_be_end_the_run():
    with pytest.raises(InvariantViolation, match="treatment: error is negative"):
        Watch(Steady(requests=-1)).see(0)


def test_an_hour_of_ticks_is_an_hour():
    assert Watch().see(*range(6)).active_ms == HOUR_MS
