"""Events of a rollout in the words that people read, on screens and in files."""

from __future__ import annotations

from phase4.rollout import corrections, events


def say(event: events.Event, stages: int) -> str:
    """Return what happened, in a few words.

    Args:
        event: What happened.
        stages: How many stages the plan has.
    """
    match event:
        case events.StageEntered():
            return f"stage {event.stage + 1} of {stages} entered: {event.percentage:g} % ({event.cause})"
        case events.ApprovalRequested() | events.ApprovalGiven() | events.ApprovalDropped():
            return _say_approval(event)
        case events.Paused():
            return f"paused ({event.reason}): {event.note}"
        case events.Resumed():
            return "resumed"
        case events.RolledBack():
            return f"ROLLED BACK to 0 %: {event.reason}"
        case events.Completed():
            return "COMPLETED"
        case events.Cancelled():
            return f"cancelled: {event.reason}"
        case events.DataCorrected():
            return corrections.describe(event)


def _say_approval(event: events.ApprovalRequested | events.ApprovalGiven | events.ApprovalDropped) -> str:
    match event:
        case events.ApprovalRequested():
            return f"approval asked for stage {event.stage + 1}"
        case events.ApprovalGiven():
            return f"approved by {event.approver}"
        case events.ApprovalDropped():
            return f"approval request dropped: {event.reason}"
