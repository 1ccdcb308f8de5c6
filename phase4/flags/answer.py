"""What evaluating a flag answers, in the words of the OpenFeature specification; and the flag that was asked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from phase4.flags.bucketing import Arm
from phase4.flags.definition import FlagDefinition

Context: TypeAlias = dict[str, Any] | str | None
"""Attributes of who asks, as JSON has them; a text is short for a context with this `targetingKey`."""


class Reason(StrEnum):
    """Why this value."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    DISABLED = "DISABLED"
    STALE = "STALE"
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """Why the caller's default had to serve."""

    PROVIDER_NOT_READY = "PROVIDER_NOT_READY"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    PROVIDER_FATAL = "PROVIDER_FATAL"
    GENERAL = "GENERAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The answer to one question about one flag."""

    flag_key: str
    value: Any
    """The variant's value; without a variant, the caller's default."""
    variant: str | None
    reason: Reason
    error_code: ErrorCode | None = None
    error_message: str | None = None
    arm: Arm | None = None
    """Side of the rollout that the unit is counted on."""
    entry: int = 0
    """Serial number of the stage entry in force; 0 = no live plan."""
    rule_id: str | None = None
    """The rule that decided."""
    prerequisite: str | None = None
    """Key of the flag that serves none of the variants it would have to."""
    version: int = 0
    """Version of the flag; 0 = there is no such flag."""

    def with_value(self, value: Any) -> Evaluation:
        """Return this evaluation with another value."""
        # written out: `dataclasses.replace` takes twice as long, and anonymous traffic comes through here
        return Evaluation(
            flag_key=self.flag_key,
            value=value,
            variant=self.variant,
            reason=self.reason,
            error_code=self.error_code,
            error_message=self.error_message,
            arm=self.arm,
            entry=self.entry,
            rule_id=self.rule_id,
            prerequisite=self.prerequisite,
            version=self.version,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A definition in force, with what the store says of it."""

    definition: FlagDefinition
    version: int
    """Grows with every change of the flag."""
    entry: int = 0
    """Serial number of the stage entry in force; 0 = the percentage was set by hand and no plan is live."""


def error(flag_key: str, code: ErrorCode, message: str, default: Any = None) -> Evaluation:
    """Return the answer where there is no flag to be asked: the caller's default.

    >>> error("checkout-v2", ErrorCode.PROVIDER_NOT_READY, "there is no snapshot yet", False).value
    False
    """
    return Evaluation(
        flag_key=flag_key, value=default, variant=None, reason=Reason.ERROR, error_code=code, error_message=message
    )
