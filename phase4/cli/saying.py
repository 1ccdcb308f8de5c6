"""Events of a rollout in the words that people read."""

from __future__ import annotations

from phase4.rollout import events
from phase4.rollout.plan import RolloutPlan


def say(event: events.Event, plan: RolloutPlan) -> str:
    """Return what happened, in a few words."""
    match event:
        case events.StageEntered():
            return f"stage {event.stage + 1}/{len(plan.stages)} entered ({event.cause})"
        case events.ApprovalRequested():
            return f"approval asked for stage {event.stage + 1}"
        case events.ApprovalGiven():
            return f"approved by {event.approver}"
        case events.ApprovalDropped():
            return f"approval request dropped: {event.reason}"
        case events.Paused():
            return f"paused ({event.reason}): {event.note}"
        case events.Resumed():
            return "resumed"
        case events.RolledBack():
            return f"ROLLED BACK: {event.reason}"
        case events.Completed():
            return "COMPLETED"
        case events.Cancelled():
            return f"cancelled: {event.reason}"
