"""Coverage: how much of what should have been seen was seen. Nothing expected is unknown, and unknown is no pass."""

from __future__ import annotations

from typing import NamedTuple

from phase4.durations import DAY_MS
from phase4.store import ticks
from phase4.store.control import ControlStore


class Coverage(NamedTuple):
    """Both parts over a window; None = nothing was expected."""

    from_ms: int
    until_ms: int
    observed_ms: int
    """Length of the ticks that somebody closed in time."""
    expected_ms: int
    """Length of the ticks that should have been closed by now."""
    received: int
    """Users with an outcome, of those whose outcome was due."""
    due: int

    @property
    def of_ticks(self) -> float | None:
        """Proportion of the ticks, by their length, 0-1."""
        return min(self.observed_ms / self.expected_ms, 1.0) if self.expected_ms else None

    @property
    def of_outcomes(self) -> float | None:
        """Proportion of the outcomes, 0-1."""
        return min(self.received / self.due, 1.0) if self.due else None

    @property
    def total(self) -> float | None:
        """The smaller of the two; None where no tick was expected."""
        parts = [part for part in (self.of_ticks, self.of_outcomes) if part is not None]
        return min(parts) if self.of_ticks is not None else None


def measure(store: ControlStore, now_ms: int, *, interval_ms: int, from_ms: int | None = None) -> Coverage:
    """Return the coverage of a window that ends at the newest tick that could be closed.

    Args:
        store: The control store.
        now_ms: The time.
        interval_ms: Length of a tick.
        from_ms: Begin of the window; by default when the oldest live plan started, at most 24 h ago, and without one
            when the oldest flag that is on was switched so.
    """
    until = (now_ms - min(30_000, interval_ms)) // interval_ms * interval_ms
    begin = _begin(store, now_ms) if from_ms is None else from_ms
    if begin is None:
        return Coverage(until, until, 0, 0, 0, 0)
    begin = min(-(-begin // interval_ms) * interval_ms, until)
    closed = ticks.since(store, begin, until_ms=until)
    observed_ms = sum(min(tick.length_ms, tick.watermark_ms - begin) for tick in closed if tick.is_watched)
    # the newest interval may be closed at any moment of the next one
    is_newest_there = bool(closed) and closed[-1].watermark_ms == until
    expected_ms = until - begin if is_newest_there else max(until - interval_ms - begin, 0)
    return Coverage(
        from_ms=begin,
        until_ms=until,
        observed_ms=observed_ms,
        expected_ms=expected_ms,
        received=sum(tick.received for tick in closed),
        due=sum(tick.due for tick in closed),
    )


def _begin(store: ControlStore, now_ms: int) -> int | None:
    plans = [plan.plan_id for plan in store.plans() if plan.ended_ms is None]
    starts = [
        row[0]
        for plan in plans
        for row in store.rows("SELECT min(at_ms) FROM journal WHERE plan_id = ?", plan)
        if row[0] is not None
    ]
    if not starts:
        starts = [flag.updated_ms for flag in store.flags() if flag.enabled]
    return max(min(starts), now_ms - DAY_MS) if starts else None
