"""A small plan and the moments of a rollout: what the tests of this folder share."""

from dataclasses import replace

from phase4.analysis.verdict import Reason, Verdict
from phase4.durations import HOUR_MS
from phase4.rollout.decide import StageObservation
from phase4.rollout.events import ApprovalRequested, EntryCause, StageEntered
from phase4.rollout.guardrail_table import default_guardrails
from phase4.rollout.plan import RolloutPlan, Stage
from phase4.rollout.state import RolloutState, replay

ACTIVE = 12 * HOUR_MS
BAKE = 48 * HOUR_MS
LONGEST = 96 * HOUR_MS
START = 1_385_164_800_000
APPROVER = "ana"


def stage(percentage, **more):
    return Stage(
        **{
            "name": f"{percentage} %",
            "percentage": float(percentage),
            "active_min": ACTIVE,
            "bake": BAKE,
            "max_duration": LONGEST,
            **more,
        }
    )


def plan(**changes):
    """Return 5 %, 10 %, then 25 % after an approval."""
    whole = RolloutPlan(
        plan_id="checkout.1",
        flag_key="checkout",
        stages=(stage(5), stage(10), stage(25, approval=True)),
        guardrails=default_guardrails([5, 10, 25]),
    )
    return replace(whole, **changes)


def at(hours):
    """Return the moment so many hours after the start."""
    return START + round(hours * HOUR_MS)


def entered(index, hours=0.0, cause=EntryCause.START, entry=None):
    percentage = plan().stages[index].percentage
    return StageEntered(
        at_ms=at(hours), stage=index, entry=index + 1 if entry is None else entry, percentage=percentage, cause=cause
    )


def progressing(index=0):
    """Return the state in a stage that was entered at hour 0."""
    return replay([entered(index)])


def awaiting(hours=50.0, approvals=(), life=24.0):
    """Return the state in stage 1 with an approval for stage 2 asked at `hours`."""
    asked = ApprovalRequested(at_ms=at(hours), stage=2, expires_ms=at(hours + life))
    return replace(replay([entered(1), asked]), approvals=approvals)


def seen(verdict, *, entry=1, active=ACTIVE, tick=7, guardrail="error_rate", **more):
    """Return what the judge has seen of an entry."""
    is_pass = verdict is Verdict.PASS
    reason = {Verdict.FAIL: Reason.EVIDENCE, Verdict.NO_DATA: Reason.STALE, Verdict.INCONCLUSIVE: Reason.COLLECTING}
    return StageObservation(
        entry=entry,
        tick=tick,
        verdict=verdict,
        guardrail=None if is_pass else guardrail,
        reason=None if is_pass else reason[verdict],
        active_ms=active,
        **more,
    )


PENDING = RolloutState()
