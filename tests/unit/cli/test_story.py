"""One run as it is told: every event of a journal has its words, in the order of time."""

import pytest

from phase4.cli import story
from phase4.durations import HOUR_MS
from phase4.rollout.events import (
    ApprovalDropped,
    ApprovalGiven,
    ApprovalRequested,
    Cancelled,
    Completed,
    DataCorrected,
    EntryCause,
    Paused,
    PauseReason,
    Resumed,
    RolledBack,
    StageEntered,
)
from phase4.sim.world import RunRecord
from tests.unit.sim.worlds import START, caught, counts_world, missed, outcome, policy, scenario

WHOLE = scenario(counts_world(name="healthy"), policies=(policy(name="guide"),))

LATE = DataCorrected(
    at_ms=START,
    entry=1,
    from_ms=START - HOUR_MS,
    until_ms=START,
    treatment=1_200,
    treatment_errors=3,
    treatment_invalid=0,
    control=1,
    control_errors=0,
    control_invalid=0,
)


def entered(stage=0, hours=0.0):
    return StageEntered(
        at_ms=at(hours), stage=stage, entry=stage + 1, percentage=(5.0, 50.0)[stage], cause=EntryCause.START
    )


def at(hours):
    return START + round(hours * HOUR_MS)


def tell(*journal, of=None):
    record = RunRecord(outcome=of or outcome(0), journal=journal, exposures=(), stretches=(), refused=())
    return story.tell(WHOLE, record, 7)


def line_with(word, lines):
    (line,) = [line for line in lines if word in line]
    return line


def test_the_first_line_says_which_run_it_is():
    first = tell(entered())[0]
    for word in ("small", "healthy", "guide", "7", "0"):
        assert word in first


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (entered(1), ("2 of 2", "50 %")),
        (ApprovalRequested(at_ms=START, stage=1, expires_ms=START), ("approval", "stage 2")),
        (ApprovalGiven(at_ms=START, approver="ana"), ("approved", "ana")),
        (ApprovalDropped(at_ms=START, reason="the request expired"), ("the request expired",)),
        (Paused(at_ms=START, reason=PauseReason.OPERATOR, note="rejected by ana"), ("operator", "rejected by ana")),
        (Resumed(at_ms=START, granted_ms=0), ("resumed",)),
        (
            RolledBack(at_ms=START, guardrail="error_rate", reason="error_rate failed", is_emergency=False, tick=3),
            ("error_rate failed", "0 %"),
        ),
        (Completed(at_ms=START), ("COMPLETED",)),
        (Cancelled(at_ms=START, reason="no longer wanted"), ("no longer wanted",)),
        (LATE, ("1,201 outcomes", "1,200 of treatment", "3 errors", "1 of control")),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_every_event_is_told_with_what_it_says(event, words):
    line = tell(event)[2]
    assert [word for word in words if word not in line] == []


def test_events_are_told_with_their_moment_and_the_exposure_from_then_on():
    lines = tell(entered(0), entered(1, hours=36))
    first, second = line_with("1 of 2", lines), line_with("2 of 2", lines)
    assert "2013-11-23 00:00" in first
    assert "5 %" in first
    assert "2013-11-24 12:00" in second
    assert "day  1.50" in second
    assert "50 %" in second


def test_the_defect_is_told_where_it_began():
    lines = tell(entered(0), entered(1, hours=2), of=caught(0, hours=1))
    places = [next(i for i, line in enumerate(lines) if word in line) for word in ("1 of 2", "defect", "2 of 2")]
    assert places == sorted(places)


def test_a_rollback_before_any_defect_is_called_a_false_one():
    of = outcome(0, phase="ROLLED_BACK", rolled_back=True, false_rollback=True)
    assert "false rollback" in tell(entered(), of=of)[-1]


def test_a_caught_defect_is_told_with_its_delay_and_its_users():
    last = tell(entered(), of=caught(0, hours=3, users_exposed=1_234, users_harmed=17))[-1]
    for word in ("ROLLED_BACK", "3 h", "1,230 users exposed", "17 harmed"):
        assert word in last


def test_without_users_the_excess_errors_are_told():
    assert "9 excess errors" in tell(entered(), of=missed(0, users_exposed=None, users_harmed=None))[-1]


def test_where_nothing_went_wrong_no_harm_is_told():
    last = tell(entered(), of=outcome(0, users_exposed=None, users_harmed=None))[-1]
    assert last == "COMPLETED after 10 h."
