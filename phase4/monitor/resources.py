"""What this process takes of the machine: CPU, memory, and how long its own answers take."""

from __future__ import annotations

import psutil

from phase4 import clock
from phase4.monitor.rounds import Usage

_MB = 1e6


class Resources:
    """Measures this process from one call to the next."""

    def __init__(self) -> None:
        """Begin to measure now."""
        self._process = psutil.Process()
        self._since: tuple[float, float] | None = None
        """Processor time and time at the last call."""
        self._begin = 0.0
        self._response_ms: float | None = None

    def begin(self) -> None:
        """Note the begin of a round."""
        self._begin = clock.monotonic()

    def end(self) -> None:
        """Note its end: the response time that the next tick records."""
        self._response_ms = (clock.monotonic() - self._begin) * 1000.0

    def usage(self) -> Usage:
        """Return CPU since the last call in per cent of one core, memory in MB, and the last round's length in ms."""
        # processor time to the microsecond: psutil's comes in steps of 10 ms, and a round takes about as long
        now, before = (clock.processor(), clock.monotonic()), self._since
        memory_mb = self._process.memory_info().rss / _MB
        self._since = now
        if before is None:  # of no span: the start of the program says nothing
            return Usage(None, memory_mb, None)
        share = (now[0] - before[0]) / max(now[1] - before[1], 1e-9)
        return Usage(100.0 * share, memory_mb, self._response_ms)
