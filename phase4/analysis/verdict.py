"""What a guardrail or a stage may answer, and how the answers of a stage are put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Only FAIL rolls back, only PASS promotes; the others hold. No data is not good data."""

    PASS = "PASS"  # noqa: S105  a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_DATA = "NO_DATA"


class Reason(StrEnum):
    """Why a guardrail answers what it answers."""

    EVIDENCE = "evidence"
    NO_ALARM = "no_alarm"
    NO_UNITS = "no_units"
    STALE = "stale"
    NO_CONTROL = "no_control"
    SAMPLE_RATIO = "sample_ratio"
    AMBIENT = "ambient"
    MIN_UNITS = "min_units"
    COLLECTING = "collecting"
    OVERDISPERSED = "overdispersed"


class Role(StrEnum):
    """What a guardrail may do: roll back, hold, or only be shown."""

    GUARD = "guard"
    SIGNAL = "signal"
    OBSERVE = "observe"


class Unit(StrEnum):
    """What is counted: users (first outcomes) or requests."""

    USER = "user"
    REQUEST = "request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The answer of one guardrail at one tick, with what it rests on."""

    guardrail: str
    role: Role
    unit: Unit
    verdict: Verdict
    reason: Reason
    log_e_fail: float
    """Natural logarithm of the FAIL evidence now; minus infinity without data. NaN for a rule without error control."""
    log_e_pass: float | None
    """The same of the PASS side; None where nothing is to be proved."""
    p_value: float
    """Always-valid p-value: min(1, 1 / largest E so far)."""
    estimate: float
    """Observed rate of treatment, or ratio of treatment to control; NaN without data."""
    alpha: float
    beta: float
    units: int
    units_control: int | None
    first_crossed_tick: int | None
    """Tick at which FAIL was reached first; a guard stays there."""
    dispersion: float = 1.0
    """phi that the next tick is judged with where requests are the unit of a rate or a ratio, infinity above all that
    are judged; 1 = as independent."""


def combine(assessments: Iterable[Assessment]) -> tuple[Verdict, Assessment | None]:
    """Return the verdict of a stage and the assessment that decided it (None for PASS).

    A guard's FAIL wins; then any guard or signal without data; then any that is not PASS, a signal's FAIL included.
    `observe` decides nothing. A stage without guardrails that decide is NO_DATA: nobody looked.
    """
    deciding = [a for a in assessments if a.role is not Role.OBSERVE]
    for assessment in deciding:
        if assessment.role is Role.GUARD and assessment.verdict is Verdict.FAIL:
            return Verdict.FAIL, assessment
    for assessment in deciding:
        if assessment.verdict is Verdict.NO_DATA:
            return Verdict.NO_DATA, assessment
    for assessment in deciding:
        if assessment.verdict is not Verdict.PASS:
            return Verdict.INCONCLUSIVE, assessment
    return (Verdict.PASS, None) if deciding else (Verdict.NO_DATA, None)
