import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.analysis import guardrails
from phase4.analysis.columns import ArmColumns
from phase4.analysis.observation import Observation
from phase4.analysis.specs import RateGuardrail, RatioGuardrail
from phase4.analysis.verdict import Unit, Verdict
from phase4.durations import HOUR_MS
from phase4.rollout.events import EntryCause, Paused, PauseReason, RolledBack
from phase4.rollout.judge import Judge
from phase4.rollout.state import evolve, replay
from phase4.sim.observer import BlockObserver
from tests.unit.rollout.steps import PENDING, at, entered, plan

SPECS = (
    RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST),
    RatioGuardrail(name="error_ratio", unit=Unit.REQUEST),
    RateGuardrail(name="emergency", limit=0.05, unit=Unit.REQUEST, prove=False, ambient=False, emergency=True),
)
PLAN = plan(guardrails=(SPECS,) * 3)
STATE = replay([entered(0)])
RESTARTED = evolve(STATE, entered(0, 1.0, EntryCause.RESTARTED, entry=2))
PROMOTED = evolve(STATE, entered(1, 1.0, EntryCause.PROMOTED))
OFF = evolve(STATE, Paused(at_ms=at(1), reason=PauseReason.FLAG_DISABLED, note=""))


def row(tick, errors=0, requests=1_000, arm=2):
    return Observation(tick=tick, flag_id=1, entry=1, arm=arm, ok=requests - errors, error=errors)


def judged(*rows, state=STATE, judge=None, first=0, **more):
    """Return a judge that has seen (errors of treatment, errors of control) tick by tick; None = no rows."""
    judge = judge or Judge(PLAN, interval_ms=HOUR_MS)
    for tick, pair in enumerate(rows, first):
        arms = (None, None) if pair is None else (row(tick, pair[0]), row(tick, pair[1], arm=1))
        judge.see(state, tick, *arms, **more)
    return judge


def test_before_the_first_tick_nothing_is_seen():
    judge = Judge(PLAN, interval_ms=HOUR_MS)
    assert (judge.observe(STATE), judge.assessments()) == (None, ())


def test_a_clean_stage_becomes_green():
    seen = judged((0, 0), (0, 0)).observe(STATE)
    assert (seen.verdict, seen.guardrail, seen.reason, seen.entry, seen.tick) == (Verdict.PASS, None, None, 1, 1)


def test_a_breach_names_its_guardrail_and_whether_it_is_an_emergency():
    assert judged((900, 0)).observe(STATE)[2:4] == (Verdict.FAIL, "error_rate")
    emergency_first = plan(guardrails=(SPECS[::-1],) * 3)
    judge = judged((900, 0), judge=Judge(emergency_first, interval_ms=HOUR_MS))
    assert (judge.observe(STATE).guardrail, judge.observe(STATE).is_emergency) == ("emergency", True)


def test_no_rows_are_no_data_and_no_watched_time():
    seen = judged(None, None).observe(STATE)
    assert (seen.verdict, seen.active_ms) == (Verdict.NO_DATA, 0)


def test_rows_without_requests_are_no_watched_time():
    judge = judged((0, 0))
    judge.see(STATE, 1, row(1, requests=0), row(1, requests=0, arm=1))
    assert judge.observe(STATE).active_ms == HOUR_MS


def test_watched_time_is_that_of_ticks_with_data_that_were_closed_in_time():
    judge = judged((0, 0), (0, 0), None)
    judged((0, 0), judge=judge, first=3, is_watched=False)
    assert judge.observe(STATE).active_ms == 2 * HOUR_MS


def test_time_in_a_pause_is_not_watched_time():
    judge = judged((0, 0))
    judged((0, 0), judge=judge, state=OFF, first=1)
    assert judge.observe(STATE).active_ms == HOUR_MS


def test_evidence_in_a_pause_counts_all_the_same():
    judge = judged((0, 0))
    judged((900, 0), judge=judge, state=OFF, first=1)
    assert judge.observe(OFF).verdict is Verdict.FAIL


def test_what_was_seen_of_another_entry_is_not_told():
    assert judged((0, 0)).observe(PROMOTED) is None


@pytest.mark.parametrize(
    "state",
    [PENDING, evolve(STATE, RolledBack(at_ms=at(1), guardrail=None, reason="", is_emergency=False, tick=None))],
    ids=["pending", "ended"],
)
def test_a_plan_that_is_not_live_is_not_judged(state):
    assert judged((900, 0), state=state).assessments() == ()


def test_a_new_stage_is_judged_anew():
    judge = judged((30, 0))
    judged((0, 0), judge=judge, state=PROMOTED, first=1)
    fresh = judged((0, 0), state=PROMOTED, first=1)
    assert judge.assessments() == fresh.assessments()


def evidence(judge):
    return judge.assessments()[0].log_e_fail


def test_switching_the_flag_off_and_on_washes_no_evidence_away():
    judge = judged((15, 15), (15, 0))
    before = evidence(judge)
    judged((15, 0), judge=judge, state=RESTARTED, first=2)
    fresh = judged((15, 0), state=RESTARTED, first=2)
    assert evidence(judge) > max(before, evidence(fresh))


def test_a_breach_stays_a_breach_when_the_stage_is_entered_again_however_clean_it_is_then():
    one_guard = plan(guardrails=((SPECS[0],),) * 3)
    judge = judged((90, 0), judge=Judge(one_guard, interval_ms=HOUR_MS))
    clean = 10**6
    judge.see(RESTARTED, 1, row(1, requests=clean), row(1, requests=clean, arm=1))
    assert judge.observe(RESTARTED).verdict is Verdict.FAIL


def test_proof_units_and_watched_time_begin_anew_when_the_stage_is_entered_again():
    judge = judged((0, 0), (0, 0))
    judged((0, 0), judge=judge, state=RESTARTED, first=2)
    fresh = judged((0, 0), state=RESTARTED, first=2)
    assert judge.observe(RESTARTED).active_ms == HOUR_MS
    assert [a.units for a in judge.assessments()] == [a.units for a in fresh.assessments()]
    assert [a.log_e_pass for a in judge.assessments()] == [a.log_e_pass for a in fresh.assessments()]


def phis(judge):
    return [answer.dispersion for answer in judge.assessments()]


def test_what_control_has_shown_of_overdispersion_goes_on_to_the_next_stage_and_nothing_else_does():
    calm = [(10, 10)] * 110
    judge = judged(*calm)
    assert phis(judge) == [1.0] * 3
    judged((10, 10), judge=judge, state=PROMOTED, first=110)
    fresh = judged((10, 10), state=PROMOTED, first=110)
    assert (phis(judge), phis(fresh)) == ([1.0] * 3, [6.0] * 3)
    assert [a.units for a in judge.assessments()] == [a.units for a in fresh.assessments()]


def test_a_stage_with_twice_the_control_is_taken_to_be_as_much_wider():
    wild = [(10, 0), (10, 20)] * 60
    before = phis(judged(*wild))
    judge = judged(*wild)
    judged((10, 10), judge=judge, state=PROMOTED, first=120)
    assert before == [16.0] * 3
    assert phis(judge) == [32.0] * 3  # 5 to 10 % of the users: phi - 1 is twice as large


def test_a_judge_that_remembers_knows_it_too():
    judge = judged(*[(10, 10)] * 110)
    again = Judge.remembering(PLAN, judge.memory(), interval_ms=HOUR_MS)
    assert phis(judged((10, 10), judge=again, state=PROMOTED, first=110)) == [1.0] * 3


def test_a_guardrail_that_the_stage_before_did_not_have_begins_without_history():
    judge = judged(*[(10, 10)] * 110, judge=Judge(plan(guardrails=(SPECS[:1], SPECS, SPECS)), interval_ms=HOUR_MS))
    judged((10, 10), judge=judge, state=PROMOTED, first=110)
    assert phis(judge) == [1.0, 6.0, 6.0]


TICKS = st.lists(
    st.none() | st.tuples(st.sampled_from([0, 0, 1, 3, 20]), st.sampled_from([0, 1, 3, 20])), min_size=1, max_size=30
)


@given(TICKS, st.integers(1, 40))
def test_the_live_judge_sees_what_the_rehearsal_s_sees(rows, promoted):
    class Recorded:
        counts_exposures = False
        onset_tick = None

        def entry(self, _percentage, _first_tick):
            return self

        def columns(self, begin, end):
            part = rows[begin:end]
            trials = np.array([0 if pair is None else 1_000 for pair in part], np.int64)
            return tuple(
                ArmColumns.of_requests(np.array([0 if p is None else p[i] for p in part], np.int64), trials)
                for i in (0, 1)
            )

    rehearsal = BlockObserver(PLAN, Recorded(), tick_ms=HOUR_MS, ticks=len(rows))
    rehearsal.begin(STATE)
    live = Judge(PLAN, interval_ms=HOUR_MS)
    state = STATE
    for tick, pair in enumerate(rows):
        if tick == promoted:
            state = PROMOTED
            rehearsal.begin(state)
        judged(pair, judge=live, first=tick, state=state)
        rehearsal.close(tick)
        assert live.observe(state) == rehearsal.observe(state)


@given(TICKS)
def test_the_answers_are_those_of_the_guardrails_one_by_one(rows):
    terms = PLAN.terms(0, interval_ms=HOUR_MS)
    expected = []
    for spec in SPECS:
        state = guardrails.start(spec)
        for tick, pair in enumerate(rows):
            arms = (None, None) if pair is None else (row(tick, pair[0]), row(tick, pair[1], arm=1))
            state = guardrails.step(spec, terms[spec.name], state, tick, *arms)
        expected.append(guardrails.assess(spec, terms[spec.name], state, len(rows) - 1))
    assert str(judged(*rows).assessments()) == str(tuple(expected))
