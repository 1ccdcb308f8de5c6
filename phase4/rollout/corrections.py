"""Outcomes that came too late for a judge, put together and in words.

Evidence is only ever extended: a tick that was judged stays as it was. What comes more than an hour after its tick was
closed is kept with the events and told as a correction; nothing is judged by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import reduce

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
    return reduce(_together, own) if own else None


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


def _together(one: DataCorrected, other: DataCorrected) -> DataCorrected:
    first, second = asdict(one), asdict(other)
    return DataCorrected(
        at_ms=max(one.at_ms, other.at_ms),
        entry=one.entry,
        from_ms=min(one.from_ms, other.from_ms),
        until_ms=max(one.until_ms, other.until_ms),
        **{name: first[name] + second[name] for name in COUNTS},
    )
