"""Outcomes that came too late for a judge, put together and in words.

Evidence is only ever extended: a tick that was judged stays as it was. What comes more than an hour after its tick was
closed is kept with the events and told as a correction; nothing is judged by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from phase4.rollout.events import DataCorrected, Event

COUNTS = (
    "treatment",
    "treatment_errors",
    "treatment_invalid",
    "control",
    "control_errors",
    "control_invalid",
)
"""The counts of a correction."""


def of_entry(happened: Iterable[Event], entry: int) -> DataCorrected | None:
    """Return all corrections of a stage entry as one, told at the last; None without any."""
    own = [event for event in happened if isinstance(event, DataCorrected) and event.entry == entry]
    if not own:
        return None
    return DataCorrected(at_ms=max(event.at_ms for event in own), entry=entry, **together(list(map(asdict, own))))


def together(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return the counts of all parts, and the times of the oldest and the newest outcome.

    Args:
        parts: At least one; each with `COUNTS`, `from_ms` and `until_ms`.
    """
    return {
        "from_ms": min(part["from_ms"] for part in parts),
        "until_ms": max(part["until_ms"] for part in parts),
        **{name: sum(part[name] for part in parts) for name in COUNTS},
    }


def describe(event: DataCorrected) -> str:
    """Return a correction in words."""
    arms = [
        f"{getattr(event, arm):,} of {arm} ({_bad(event, arm)})"
        for arm in ("treatment", "control")
        if getattr(event, arm)
    ]
    total = event.treatment + event.control
    return f"{total:,} outcome{'' if total == 1 else 's'} came over an hour late, not judged: {', '.join(arms)}"


def _bad(event: DataCorrected, arm: str) -> str:
    errors, invalid = getattr(event, f"{arm}_errors"), getattr(event, f"{arm}_invalid")
    told = f"{errors:,} error{'' if errors == 1 else 's'}"
    return f"{told}, {invalid:,} invalid" if invalid else told
