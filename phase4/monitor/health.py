"""Health in one word, and what holds it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from phase4.store.control import AlertRow


class Health(StrEnum):
    """From the best to the worst; UNKNOWN where nobody watches."""

    HEALTHY = "HEALTHY"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    UNKNOWN = "UNKNOWN"


class Standing(NamedTuple):
    """The word, and one line for each thing that holds it."""

    health: Health
    held_by: tuple[str, ...]


def judge(
    *,
    is_any_on: bool,
    is_watched: bool,
    alerts: Iterable[AlertRow],
    coverage: float | None,
    target: float,
    stopped: Iterable[str] = (),
) -> Standing:
    """Return the health.

    Args:
        is_any_on: Whether a flag is on.
        is_watched: Whether a collector runs.
        alerts: The open alerts.
        coverage: Proportion of what should have been seen, None = unknown.
        target: Lowest acceptable coverage.
        stopped: Reasons of stop files and the stop word that are in force.
    """
    alerts, stopped = list(alerts), list(stopped)
    critical = _told(alerts, "critical")
    unwatched = ["a flag is on and no collector runs, so nobody watches it"] if is_any_on and not is_watched else []
    if stopped:  # whatever else is so: an emergency is in force that nobody has recorded
        return Standing(Health.CRITICAL, (*stopped, *unwatched, *critical))
    if unwatched:
        return Standing(Health.UNKNOWN, (*unwatched, *critical))
    if critical:
        return Standing(Health.CRITICAL, tuple(critical))
    warnings = _told(alerts, "high")
    if coverage is not None and coverage < target:
        warnings.append(f"coverage {coverage:.1%} is below {target:.1%}")
    return Standing(Health.WARNING, tuple(warnings)) if warnings else Standing(Health.HEALTHY, ())


def _told(alerts: Iterable[AlertRow], severity: str) -> list[str]:
    return [f"alert {alert.id}: {alert.message}" for alert in alerts if alert.severity == severity]
