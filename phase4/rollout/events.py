"""What can happen to a rollout: the journal's events."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar

SCHEMA = 1
"""Number of this set of events. A stored event carries it."""


class EntryCause(StrEnum):
    """Why a stage was entered."""

    START = "start"
    PROMOTED = "promoted"
    APPROVED = "approved"
    OVERRIDDEN = "overridden"
    """Approved without PASS, by people who said so."""
    RESTARTED = "restarted"
    """The same stage again, after the flag was off or lowered: clocks and proof begin anew."""


class PauseReason(StrEnum):
    """Why a rollout stands."""

    OPERATOR = "operator"
    MAX_DURATION = "max_duration"
    FLAG_DISABLED = "flag_disabled"
    """The flag was switched off under the plan."""
    LOWERED = "lowered"
    """The flag's percentage was lowered under the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEntered:
    """The flag was set to a stage's percentage."""

    kind: ClassVar[str] = "stage_entered"
    at_ms: int
    stage: int
    entry: int
    percentage: float
    cause: EntryCause


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequested:
    """The stage is green; entering the next one waits for people."""

    kind: ClassVar[str] = "approval_requested"
    at_ms: int
    stage: int
    """Index of the stage that would be entered."""
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGiven:
    """One person approved the pending request."""

    kind: ClassVar[str] = "approval_given"
    at_ms: int
    approver: str
    is_override: bool = False
    """Whether it stands although the stage is not green."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDropped:
    """The pending request ended without entry: the stage is no longer green, or the time ran out."""

    kind: ClassVar[str] = "approval_dropped"
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The rollout stands: at its percentage, or off or lower where that is the reason."""

    kind: ClassVar[str] = "paused"
    at_ms: int
    reason: PauseReason
    note: str
    percentage: float | None = None
    """LOWERED: the percentage that the flag was set to, 0-100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The rollout goes on in its stage."""

    kind: ClassVar[str] = "resumed"
    at_ms: int
    granted_ms: int
    """Time added to max_duration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """The flag was switched off, at 0 %, and held."""

    kind: ClassVar[str] = "rolled_back"
    at_ms: int
    guardrail: str | None
    """The guardrail that failed; None if a person did it."""
    reason: str
    is_emergency: bool
    tick: int | None
    """The tick whose observation decided; None if a person did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The last stage was left green; the flag keeps its percentage."""

    kind: ClassVar[str] = "completed"
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """A person ended the plan; the flag keeps its percentage."""

    kind: ClassVar[str] = "cancelled"
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCorrected:
    """Outcomes of a stage entry came too late for any judge: they are told here, and no past tick is changed."""

    kind: ClassVar[str] = "data_corrected"
    at_ms: int
    entry: int
    from_ms: int
    """When the oldest of them happened."""
    until_ms: int
    """When the newest of them happened."""
    treatment: int
    """Outcomes of treatment, whatever they were."""
    treatment_errors: int
    """Errors and timeouts among them."""
    treatment_invalid: int
    control: int
    control_errors: int
    control_invalid: int


Event = (
    StageEntered
    | ApprovalRequested
    | ApprovalGiven
    | ApprovalDropped
    | Paused
    | Resumed
    | RolledBack
    | Completed
    | Cancelled
    | DataCorrected
)
_KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        StageEntered,
        ApprovalRequested,
        ApprovalGiven,
        ApprovalDropped,
        Paused,
        Resumed,
        RolledBack,
        Completed,
        Cancelled,
        DataCorrected,
    )
}
_ENUMS: dict[str, dict[str, type[StrEnum]]] = {
    "stage_entered": {"cause": EntryCause},
    "paused": {"reason": PauseReason},
}


def moves_exposure(event: Event) -> bool:
    """Return whether an event changes who is exposed."""
    match event:
        case StageEntered() | RolledBack():
            return True
        case Paused():
            return event.reason in {PauseReason.FLAG_DISABLED, PauseReason.LOWERED}
        case _:
            return False


def to_json(event: Event) -> dict[str, Any]:
    """Return the event as plain values, with its kind and schema number."""
    return {"schema": SCHEMA, "kind": event.kind, **{k: _text(v) for k, v in asdict(event).items()}}


def from_json(document: dict[str, Any]) -> Event:
    """Return the event that `to_json` wrote.

    Raises:
        ValueError: the schema number or kind is unknown, or a field is missing or unknown.
    """
    if not isinstance(document, dict):
        raise ValueError(f"an event is an object: {document!r}")  # noqa: TRY004  what is stored is wrong, not the call
    body = dict(document)
    if body.pop("schema", None) != SCHEMA:
        raise ValueError(f"journal events have schema {SCHEMA}: {document.get('schema')}")
    kind = body.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of journal event: {kind}")
    try:
        for name, enum in _ENUMS.get(kind, {}).items():
            body[name] = enum(body[name])
        return _KINDS[kind](**body)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a {kind} event has other fields: {error}") from error


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, StrEnum) else value
