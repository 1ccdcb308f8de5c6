"""The stale-flag report: flags that no longer decide anything. It never changes a flag; a stale one goes on serving.

| class | a flag that |
|---|---|
| fully_on | has served everybody the same variant, not `off_variant`, without a change for some days |
| fully_off | has been disabled, or on for nobody, without a live plan and without a change for some days |
| unused | nobody has evaluated for some days |
| expired | has an `expires` that has passed |

Flags of kind ops and permission are meant to live long, and are never fully_on or fully_off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from phase4.durations import DAY_MS
from phase4.flags.definition import FlagDefinition, Kind
from phase4.flags.targeting import sole_variant

_EPOCH_DAY = date(1970, 1, 1).toordinal()


class Staleness(StrEnum):
    """Why a flag is in the report."""

    FULLY_ON = "fully_on"
    FULLY_OFF = "fully_off"
    UNUSED = "unused"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagUse:
    """A flag, and what the store knows of its use."""

    definition: FlagDefinition
    changed_ms: int
    """When its document last changed, or it was made; ms since the Unix epoch."""
    evaluated_ms: int | None
    """When it was last evaluated; None = never."""
    has_live_plan: bool
    """Whether a rollout of it is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleFlag:
    """One line of the report."""

    key: str
    staleness: Staleness
    since_ms: int
    """Since when; ms since the Unix epoch."""
    owner: str | None
    evaluated_ms: int | None
    """When it was last evaluated; None = never."""
    prerequisite_of: tuple[str, ...]
    """Keys of the flags that would miss it."""


def stale_flags(uses: Iterable[FlagUse], *, now_ms: int, days: int) -> tuple[StaleFlag, ...]:
    """Return the report: a line for each flag and class, in the order of the flags and of the classes.

    Args:
        uses: All flags, also those that are not stale: they may have stale ones as prerequisites.
        now_ms: The time, ms since the Unix epoch.
        days: How long nothing has happened, at least 1 (STALE_FLAG_DAYS). Exactly so long is stale.
    """
    known = tuple(uses)
    dependents: dict[str, list[str]] = {}
    for use in known:
        for wanted in use.definition.prerequisites:
            dependents.setdefault(wanted.flag_key, []).append(use.definition.key)
    return tuple(
        StaleFlag(
            key=use.definition.key,
            staleness=staleness,
            since_ms=since_ms,
            owner=use.definition.owner,
            evaluated_ms=use.evaluated_ms,
            prerequisite_of=tuple(dependents.get(use.definition.key, ())),
        )
        for use in known
        for staleness, since_ms in _classes(use, now_ms=now_ms, long_ago_ms=now_ms - days * DAY_MS)
    )


def _classes(use: FlagUse, *, now_ms: int, long_ago_ms: int) -> Iterator[tuple[Staleness, int]]:
    """Yield the classes that a flag is in, each with since when."""
    definition = use.definition
    if definition.kind not in {Kind.OPS, Kind.PERMISSION} and use.changed_ms <= long_ago_ms:
        settled = _settled(definition)
        if settled is Staleness.FULLY_ON or (settled is Staleness.FULLY_OFF and not use.has_live_plan):
            yield settled, use.changed_ms
    # a flag that was never evaluated has been unused since it is as it is, not since the beginning of time
    used_ms = use.changed_ms if use.evaluated_ms is None else use.evaluated_ms
    if used_ms <= long_ago_ms:
        yield Staleness.UNUSED, used_ms
    if definition.expires is not None:
        end_ms = (definition.expires.toordinal() + 1 - _EPOCH_DAY) * DAY_MS
        if end_ms <= now_ms:
            yield Staleness.EXPIRED, end_ms


def _settled(definition: FlagDefinition) -> Staleness | None:
    """Return whether everybody is served one variant: `off_variant` or the caller's default is off, another one on.

    None where it depends on who asks. An allowed unit is served what the others get at 100 %, but not what they get
    at 0 %.
    """
    if not definition.enabled:
        return Staleness.FULLY_OFF
    rollout = definition.rollout
    if rollout is None or rollout.percentage <= 0:
        variant = definition.default_variant
    elif rollout.percentage >= 100 and sole_variant(rollout.serve) is not None:
        variant = sole_variant(rollout.serve)
    else:
        return None
    if variant in {None, definition.off_variant}:
        return None if definition.rules or definition.allow else Staleness.FULLY_OFF
    has_exceptions = definition.deny or definition.prerequisites or definition.eligible or definition.rules
    return None if has_exceptions else Staleness.FULLY_ON
