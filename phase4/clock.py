"""Wall time: the only reader of the machine's clocks.

Time is `int` milliseconds since the Unix epoch, UTC, everywhere inside; `datetime` only where a person reads or
writes it.
"""

from __future__ import annotations

import time
from typing import Protocol

from phase4.errors import UsageError


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> int:
        """Return the time in ms since the Unix epoch, UTC."""
        ...


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> int:
        """Return the machine's time in ms since the Unix epoch, UTC."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands until it is moved.

    >>> clock = ManualClock(1_000)
    >>> clock.advance(500)
    >>> clock.now()
    1500
    """

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms

    def now(self) -> int:
        """Return the time it was moved to, in ms."""
        return self._now_ms

    def advance(self, duration_ms: int) -> None:
        """Move the clock forward by `duration_ms`, at least 0."""
        if duration_ms < 0:
            raise UsageError(f"a clock does not go backwards: {duration_ms} ms")
        self._now_ms += duration_ms


def monotonic() -> float:
    """Return seconds on a clock that never steps, for measuring how long something takes."""
    return time.monotonic()


def processor() -> float:
    """Return the seconds of processor time that this process has taken, to the microsecond."""
    return time.process_time()


def wait(seconds: float) -> None:
    """Let this thread stand for a while: for the shells alone, nothing in the core waits."""
    time.sleep(seconds)


def iso(t_ms: int) -> str:
    """Return the time as ISO 8601 in UTC, to the second.

    >>> iso(1_380_585_600_000)
    '2013-10-01T00:00:00Z'
    """
    from datetime import UTC, datetime  # 1 ms of every command, and needed where a person reads a time

    return datetime.fromtimestamp(t_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
