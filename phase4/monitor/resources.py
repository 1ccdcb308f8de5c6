"""What this process takes of the machine: CPU, memory, and how long its own answers take."""

from __future__ import annotations

import psutil

from phase4 import clock
from phase4.monitor.collector import Usage

_MB = 1e6


class Resources:
    """Measures this process from one call to the next."""

    def __init__(self) -> None:
        """Begin to measure now."""
        self._process = psutil.Process()
        self._is_new = True
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
        cpu = self._process.cpu_percent()
        if self._is_new:  # of no span, or of the start of the program
            self._is_new = False
            return Usage(None, self._process.memory_info().rss / _MB, None)
        return Usage(cpu, self._process.memory_info().rss / _MB, self._response_ms)
