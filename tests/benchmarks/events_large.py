"""The same questions to a hundred million events of two weeks: part of `make soak`, some minutes and 4 GB of disk."""

from __future__ import annotations

from tests.benchmarks import events
from tests.benchmarks.timing import Figure

EVENTS = 100_000_000


def figures() -> list[Figure]:
    """Return the figures of this page."""
    return events.figures(EVENTS)
