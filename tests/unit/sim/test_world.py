import math
from dataclasses import replace

import numpy as np
import pytest
import simpy

from phase4.analysis.observation import OutcomeSet
from phase4.analysis.specs import RateGuardrail, RatioGuardrail, ThresholdGuardrail
from phase4.analysis.verdict import Role, Unit
from phase4.durations import DAY_MS, HOUR_MS
from phase4.rollout.events import (
    ApprovalDropped,
    ApprovalGiven,
    Completed,
    EntryCause,
    Paused,
    RolledBack,
    StageEntered,
)
from phase4.rollout.state import replay
from phase4.sim.replay import ReplaySource, ReplayWindow
from phase4.sim.scenario import Approver
from phase4.sim.sweep import source_of
from phase4.sim.traffic import Exposure
from phase4.sim.world import ExposureSwitch, Run, SimClock
from tests.unit.sim.scalar import by_hand
from tests.unit.sim.worlds import (
    ERROR,
    INVALID,
    OK,
    START,
    TICK,
    counts_world,
    fault,
    plan,
    policy,
    recording,
    replay_world,
    scenario,
    stage,
    users,
)

HOUR = HOUR_MS // TICK
PROMPT = Approver(median_ms=25 * 60_000, sigma=0.0, reject_p=0.0)
NO = replace(PROMPT, reject_p=1.0)
SLOW = replace(PROMPT, median_ms=30 * HOUR_MS)
RAW = plan(
    ThresholdGuardrail(name="error_rate", limit=0.01, window=3, min_units=500),
    ThresholdGuardrail(name="emergency", limit=0.05, window=None, emergency=True),
)
WEEK = 7 * DAY_MS
LONG = plan(stages=(stage(5, bake=4 * DAY_MS, max_duration=WEEK), stage(50, bake=DAY_MS, max_duration=WEEK)))
USERS = plan(
    RateGuardrail(name="error_rate", limit=0.2, min_units=50),
    RatioGuardrail(name="error_ratio", min_units=50),
    RateGuardrail(name="success_rate", limit=0.3, outcome_set=OutcomeSet.BAD, role=Role.SIGNAL, min_units=50),
    stages=(stage(5, bake=DAY_MS, max_duration=WEEK), stage(50, bake=DAY_MS, max_duration=WEEK, approval=True)),
)
NOBODY_LOOKS = plan(RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST, role=Role.OBSERVE))


def flights(ticks, share=211):
    """Return a recording of 60 users with a night without rows, in which every `share`-th row is bad."""
    places = [(user, tick) for user in range(60) for tick in range(user % 5, ticks, 5) if tick % 144 > 12]
    codes = [(ERROR, INVALID)[i // share % 2] if i % share == 0 else OK for i in range(len(places))]
    return recording([(f"u{user}", tick, code) for (user, tick), code in zip(places, codes, strict=True)])


def rehearse(whole, *, replicate=0, keep=True, world=0, policy_=0, source=None):
    place, of = whole.worlds[world], whole.policies[policy_]
    source = source or source_of(whole, place, seed=whole.seed, replicate=replicate)
    return Run(whole, place, of, source, seed=whole.seed, replicate=replicate, keep=keep).run()


def counted(*faults, of=None, approver=PROMPT, **changes):
    return scenario(counts_world(*faults), policies=(policy(of or plan()),), approver=approver, **changes)


def kinds(record):
    return [event.kind for event in record.journal]


# ------------------------------------------------------------------------- the same journal as the scalar controller

CASES = {
    "healthy": counted(),
    "broken": counted(fault(add=0.02, at=3 * HOUR_MS)),
    "broken later": counted(fault(add=0.02, at=20 * HOUR_MS), of=LONG, ticks=300),
    "ambient": counted(fault("both", add=0.05, at=HOUR_MS, for_ms=4 * HOUR_MS)),
    "rejected": counted(approver=NO),
    "slow approver": counted(approver=SLOW, ticks=500),
    "long": counted(of=LONG, ticks=1_300),
    "long and broken": counted(fault(add=0.002, at=2 * DAY_MS), of=LONG, ticks=1_300),
    "raw": counted(of=RAW, ticks=300),
    "raw and broken": counted(fault(add=0.5, at=3 * HOUR_MS), of=RAW),
    "never green": counted(fault("both", add=0.05), ticks=300),
    "nobody looks": counted(of=NOBODY_LOOKS, ticks=300),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("replicate", [0, 1])
def test_a_run_in_blocks_has_the_journal_of_a_run_by_hand(name, replicate):
    whole = CASES[name]
    source = source_of(whole, whole.worlds[0], seed=7, replicate=replicate)
    answer = "reject" if whole.approver.reject_p else "approve"
    expected = by_hand(whole, whole.worlds[0], whole.policies[0], source, answer=answer)
    assert rehearse(whole, replicate=replicate).journal == expected


@pytest.mark.parametrize(
    "faults",
    [(), (fault(add=0.03, at=20 * HOUR_MS),), (fault("both", add=0.03, for_ms=HOUR_MS),)],
    ids=["healthy", "broken", "ambient"],
)
@pytest.mark.parametrize("replicate", [0, 1, 2])
def test_a_replay_in_blocks_has_the_journal_of_a_replay_by_hand(faults, replicate):
    whole = scenario(replay_world(*faults, scale=20), policies=(policy(USERS),), approver=PROMPT, ticks=700)
    source = ReplaySource(ReplayWindow(whole, whole.worlds[0], flights(700)), seed=7, replicate=replicate)
    expected = by_hand(whole, whole.worlds[0], whole.policies[0], source)
    assert rehearse(whole, source=source).journal == expected


def test_the_cases_above_end_in_different_ways():
    ends = {rehearse(whole).outcome.phase for whole in CASES.values()}
    assert ends >= {"COMPLETED", "ROLLED_BACK", "PAUSED"}


# ------------------------------------------------------------------------------------------------------- the journal


def test_a_healthy_feature_goes_through_its_stages_and_its_gate():
    assert kinds(rehearse(counted())) == [
        "stage_entered",
        "approval_requested",
        "approval_given",
        "stage_entered",
        "completed",
    ]


def test_the_approval_lies_between_the_request_and_the_entry():
    _, asked, given, entered, _ = rehearse(counted()).journal
    assert asked.at_ms + PROMPT.median_ms <= given.at_ms < asked.at_ms + PROMPT.median_ms + TICK
    assert (entered.at_ms, entered.cause) == (given.at_ms + TICK, EntryCause.APPROVED)


def test_the_journal_starts_at_the_start_of_the_world_and_every_step_is_at_the_end_of_a_tick():
    journal = rehearse(counted()).journal
    assert journal[0].at_ms == START
    assert {(event.at_ms - START) % TICK for event in journal} == {0}


def test_a_no_pauses_the_rollout_where_it_is():
    record = rehearse(counted(approver=NO))
    assert isinstance(record.journal[-1], Paused)
    assert (record.outcome.phase, record.exposures[-1].percentage) == ("PAUSED", 5.0)


def test_a_request_that_nobody_answers_within_a_day_is_made_again():
    record = rehearse(counted(approver=SLOW, ticks=180))
    assert kinds(record)[1:4] == ["approval_requested", "approval_dropped", "approval_requested"]
    assert record.journal[2].at_ms - record.journal[1].at_ms == DAY_MS


def test_an_approval_that_comes_too_late_is_refused_by_the_production_code():
    outage = fault("both", add=0.05, at=150 * 60_000, for_ms=5 * HOUR_MS)
    record = rehearse(counted(outage, approver=replace(PROMPT, median_ms=90 * 60_000)))
    assert any(isinstance(event, ApprovalDropped) for event in record.journal)
    assert len(record.refused) >= 1
    assert record.refused[0].startswith("approve is for a plan that is AWAITING_APPROVAL")


def test_the_answer_of_a_person_varies_with_the_replicate_and_the_seed():
    whole = counted(approver=Approver(median_ms=HOUR_MS, sigma=1.0, reject_p=0.0), ticks=1_000)
    delays = set()
    for replicate in range(6):
        journal = rehearse(whole, replicate=replicate).journal
        asked = next(event.at_ms for event in journal if event.kind == "approval_requested")
        delays |= {event.at_ms - asked for event in journal if isinstance(event, ApprovalGiven)}
    assert len(delays) > 3


# ------------------------------------------------------------------------------------------------------- the outcome


@pytest.fixture(scope="module")
def broken():
    return rehearse(counted(fault(add=0.5, at=HOUR_MS)))


def test_a_defect_in_treatment_is_caught(broken):
    assert isinstance(broken.journal[-1], RolledBack)
    assert (broken.outcome.phase, broken.outcome.caught, broken.outcome.false_rollback) == ("ROLLED_BACK", True, False)
    assert broken.outcome.guardrail == broken.journal[-1].guardrail


def test_the_delay_runs_from_the_onset_to_the_rollback(broken):
    assert broken.outcome.onset_ms == HOUR_MS
    assert broken.outcome.end_ms == broken.journal[-1].at_ms - START
    assert broken.outcome.delay_ms == broken.outcome.end_ms - HOUR_MS == TICK


def test_requests_until_a_defect_is_caught_are_those_of_treatment_since_its_onset(broken):
    treatment = broken.stretches[0].treatment
    assert broken.outcome.delay_requests == treatment.requests[HOUR:].sum()


def test_a_rollback_ends_the_exposure_in_the_same_tick(broken):
    assert broken.exposures == (Exposure(percentage=5.0, first_tick=0, end_tick=HOUR + 1),)


def test_a_rollback_before_any_defect_is_a_false_one():
    raw = plan(ThresholdGuardrail(name="error_rate", limit=0.003))
    record = rehearse(counted(fault(add=0.5, at=20 * HOUR_MS), of=raw))
    assert (record.outcome.false_rollback, record.outcome.caught, record.outcome.onset_ms) == (True, None, None)
    assert math.isnan(record.outcome.delay_ms)


def test_an_ambient_fault_is_no_defect_of_the_feature():
    record = rehearse(counted(fault("both", add=0.5, at=HOUR_MS, for_ms=HOUR_MS)))
    assert (record.outcome.onset_ms, record.outcome.caught, record.outcome.excess) == (None, None, 0.0)


def test_a_defect_that_nobody_catches_is_missed_forever():
    record = rehearse(counted(fault(add=0.0001)))
    outcome = record.outcome
    assert (outcome.caught, outcome.delay_ms, outcome.delay_requests) == (False, math.inf, math.inf)
    assert math.isnan(outcome.delay_users)
    assert outcome.excess > 0.0


def test_a_completed_rollout_has_the_time_of_its_end():
    record = rehearse(counted())
    assert isinstance(record.journal[-1], Completed)
    assert record.outcome.full_ms == record.outcome.end_ms == record.journal[-1].at_ms - START
    assert record.outcome.approvals == 1


def test_a_run_that_the_scenario_ends_has_not_completed():
    record = rehearse(counted(ticks=6))
    assert (record.outcome.phase, record.outcome.full_ms, record.outcome.end_ms) == ("PROGRESSING", math.inf, HOUR_MS)


def test_without_users_nothing_is_said_about_users(broken):
    assert (broken.outcome.users_exposed, broken.outcome.users_harmed) == (None, None)
    assert math.isnan(broken.outcome.delay_users)


def test_with_users_the_exposed_and_harmed_are_counted():
    whole = scenario(replay_world(fault(add=0.5), scale=20), policies=(policy(USERS),), ticks=144)
    source = ReplaySource(ReplayWindow(whole, whole.worlds[0], flights(144)), seed=7, replicate=0)
    outcome = rehearse(whole, source=source).outcome
    assert 0 < outcome.users_harmed < outcome.users_exposed < 20 * 60
    assert outcome.delay_users == outcome.users_exposed


def test_a_user_s_first_validated_outcome_may_come_long_after_the_user_was_first_seen():
    whole = scenario(replay_world(), policies=(policy(users("invalid")),), ticks=700)
    rows = [(f"u{u}", tick, code) for u in range(200) for tick, code in ((0, ERROR), (600, OK))]
    source = ReplaySource(ReplayWindow(whole, whole.worlds[0], recording(rows)), seed=7, replicate=0)
    assert rehearse(whole, source=source).outcome.users_exposed > 0


def test_the_stage_of_an_outcome_is_the_last_one_entered():
    assert [rehearse(whole).outcome.stage for whole in (counted(ticks=6), counted())] == [0, 1]


# ------------------------------------------------------------------------------------------------------- the exposure


def test_exposures_follow_each_other_from_the_first_tick_to_the_last():
    exposures = rehearse(counted()).exposures
    assert [exposure.percentage for exposure in exposures] == [5.0, 50.0]
    assert exposures[0].first_tick == 0
    assert exposures[1].first_tick == exposures[0].end_tick


def test_an_exposure_that_a_run_leaves_open_ends_with_the_run():
    assert rehearse(counted(ticks=6)).exposures == (Exposure(percentage=5.0, first_tick=0, end_tick=6),)


def test_the_exposure_is_what_the_journal_says():
    record = rehearse(counted())
    entries = [event for event in record.journal if isinstance(event, StageEntered)]
    assert [exposure.percentage for exposure in record.exposures] == [event.percentage for event in entries]
    assert [exposure.first_tick * TICK for exposure in record.exposures] == [e.at_ms - START for e in entries]
    assert replay(record.journal).percentage == 50.0


def test_a_switch_that_is_told_twice_does_nothing_the_second_time():
    switch = ExposureSwitch()
    event = StageEntered(at_ms=START, stage=0, entry=1, percentage=5.0, cause=EntryCause.START)
    switch.apply(event)
    switch.tick = 3
    switch.apply(event)
    assert switch.exposures == [Exposure(percentage=5.0, first_tick=0, end_tick=0)]


def test_the_simulated_clock_is_the_start_plus_the_simulated_time():
    env = simpy.Environment()
    clock = SimClock(env, START)
    env.run(until=1_234)
    assert clock.now() == START + 1_234
    assert type(clock.now()) is int


# ------------------------------------------------------------------------------------------------- records and digests


def test_a_record_that_is_kept_has_counts_and_evidence_up_to_the_end_and_no_further(broken):
    (stretch,) = broken.stretches
    assert len(stretch.treatment) == len(stretch.control) == HOUR + 1
    assert {len(one.log_e_fail) for one in stretch.judged} == {HOUR + 1}


def test_a_record_keeps_no_tick_twice():
    stretches = rehearse(counted()).stretches
    kept = [tick for s in stretches for tick in range(s.first_tick, s.first_tick + len(s.treatment))]
    assert len(kept) == len(set(kept))


def test_a_record_that_is_not_kept_has_the_same_outcome_and_no_counts(broken):
    light = rehearse(counted(fault(add=0.5, at=HOUR_MS)), keep=False)
    assert light.outcome == broken.outcome
    assert light.stretches == ()


def test_the_same_run_has_the_same_digest():
    assert rehearse(counted()).outcome == rehearse(counted()).outcome


@pytest.mark.parametrize(
    "changes",
    [{"seed": 8}, {"approver": SLOW}, {"worlds": (counts_world(fault(add=0.5, at=HOUR_MS)),)}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_scenario_or_seed_has_another_digest(changes):
    assert rehearse(replace(counted(), **changes)).outcome.digest != rehearse(counted()).outcome.digest


def test_another_replicate_has_another_digest():
    assert rehearse(counted(), replicate=1).outcome.digest != rehearse(counted()).outcome.digest


def test_policies_of_a_replicate_meet_the_same_counts_while_their_exposures_agree():
    whole = scenario(counts_world(), policies=(policy(plan(), "a"), policy(RAW, "b")), approver=PROMPT)
    one, other = (rehearse(whole, policy_=place) for place in (0, 1))
    size = min(len(record.stretches[0].treatment) for record in (one, other))
    assert size > HOUR
    for name in ("ok", "error"):
        a, b = (getattr(record.stretches[0].treatment, name)[:size] for record in (one, other))
        assert np.array_equal(a, b)
