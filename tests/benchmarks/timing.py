"""How figures are taken and written: CPU time, several rounds, the spread beside the median."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Spread:
    """CPU seconds of several rounds."""

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """The quickest round: what the machine can do when nothing disturbs it."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The usual round."""
        return statistics.median(self.seconds)

    def scaled(self, factor: float, unit: str) -> str:
        """Return "median (lowest to highest) unit" of seconds times `factor`."""
        low, high = min(self.seconds) * factor, max(self.seconds) * factor
        return f"{self.median * factor:.3g} ({low:.3g} to {high:.3g}) {unit}"


def cpu(work: Callable[[], object], *, rounds: int = ROUNDS) -> Spread:
    """Return the CPU seconds of `rounds` calls, after one that warms up caches."""
    work()
    seconds = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return Spread(tuple(seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the report."""

    name: str
    seen: str
    """The figure with its spread."""
    bound: str
    """What it is held against; empty = only shown."""
    is_met: bool | None
    """None = there is no bound."""
