"""Where a rollout is: a fold of its events. `replay(events)` is the recovery, the audit and the test oracle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from phase4.rollout.events import (
    ApprovalDropped,
    ApprovalGiven,
    ApprovalRequested,
    Cancelled,
    Completed,
    DataCorrected,
    Event,
    Paused,
    PauseReason,
    Resumed,
    RolledBack,
    StageEntered,
)


class Phase(StrEnum):
    """Phases of a rollout, as in Argo Rollouts and Flagger."""

    PENDING = "PENDING"
    PROGRESSING = "PROGRESSING"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    ROLLED_BACK = "ROLLED_BACK"
    CANCELLED = "CANCELLED"


ENDED = frozenset({Phase.COMPLETED, Phase.ROLLED_BACK, Phase.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """Everything the next decision needs of the past. Changes by events only."""

    phase: Phase = Phase.PENDING
    stage: int = -1
    """Index of the stage, -1 before the start."""
    entry: int = 0
    """Serial number of the stage entry, 0 before the start."""
    percentage: float = 0.0
    """Share of the users that are exposed, 0-100; 0 while the flag is off."""
    entered_ms: int = 0
    paused_ms: int = 0
    """Time in this entry spent in pauses that are over."""
    paused_at_ms: int | None = None
    pause_reason: PauseReason | None = None
    operator_note: str | None = None
    """Note of an operator's pause; switching the flag off on top of it does not lift it."""
    granted_ms: int = 0
    """Time added to max_duration by resuming after it."""
    approvals: tuple[str, ...] = ()
    """Approvers of the pending request, distinct, in order."""
    approval_expires_ms: int | None = None
    overrides: tuple[str, ...] = ()
    """Approvers who would enter the next stage without PASS, distinct, in order."""
    ended_ms: int | None = None
    seq: int = 0
    """Number of events folded in."""

    def elapsed_ms(self, now_ms: int) -> int:
        """Return the time since the entry, less pauses."""
        until = now_ms if self.paused_at_ms is None else self.paused_at_ms
        return until - self.entered_ms - self.paused_ms


def evolve(state: RolloutState, event: Event) -> RolloutState:
    """Return the state after the event. Pure and total: what was recorded has happened."""
    seq = state.seq + 1
    match event:
        case StageEntered():
            return RolloutState(
                phase=Phase.PROGRESSING,
                stage=event.stage,
                entry=event.entry,
                percentage=event.percentage,
                entered_ms=event.at_ms,
                seq=seq,
            )
        case ApprovalRequested():
            return replace(
                state, phase=Phase.AWAITING_APPROVAL, approvals=(), approval_expires_ms=event.expires_ms, seq=seq
            )
        case ApprovalGiven():
            return replace(_approved(state, event), seq=seq)
        case ApprovalDropped():
            return replace(state, phase=Phase.PROGRESSING, approvals=(), approval_expires_ms=None, seq=seq)
        case Paused():
            return replace(
                state,
                phase=Phase.PAUSED,
                percentage=_paused_percentage(state, event),
                paused_at_ms=event.at_ms if state.paused_at_ms is None else state.paused_at_ms,
                pause_reason=event.reason,
                operator_note=event.note if event.reason is PauseReason.OPERATOR else state.operator_note,
                approvals=(),
                approval_expires_ms=None,
                seq=seq,
            )
        case Resumed():
            since = event.at_ms if state.paused_at_ms is None else state.paused_at_ms
            return replace(
                state,
                phase=Phase.PROGRESSING,
                paused_ms=state.paused_ms + event.at_ms - since,
                paused_at_ms=None,
                pause_reason=None,
                operator_note=None,
                granted_ms=state.granted_ms + event.granted_ms,
                seq=seq,
            )
        case RolledBack():
            return replace(state, phase=Phase.ROLLED_BACK, percentage=0.0, ended_ms=event.at_ms, seq=seq)
        case Completed() | Cancelled():
            phase = Phase.COMPLETED if isinstance(event, Completed) else Phase.CANCELLED
            return replace(state, phase=phase, ended_ms=event.at_ms, seq=seq)
        case DataCorrected():
            return replace(state, seq=seq)
        case _:
            assert_never(event)


def _approved(state: RolloutState, event: ApprovalGiven) -> RolloutState:
    if event.is_override:
        return replace(state, overrides=(*state.overrides, event.approver))
    return replace(state, approvals=(*state.approvals, event.approver))


def _paused_percentage(state: RolloutState, event: Paused) -> float:
    if event.reason is PauseReason.FLAG_DISABLED:
        return 0.0
    return state.percentage if event.percentage is None else event.percentage


def replay(events: Iterable[Event]) -> RolloutState:
    """Return the state that a journal leads to."""
    state = RolloutState()
    for event in events:
        state = evolve(state, event)
    return state
