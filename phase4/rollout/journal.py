"""The journal of one plan: the truth about its rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from phase4.errors import JournalConflict
from phase4.rollout.events import Event


class Journal(Protocol):
    """An append-only list of events, numbered from 1 without gaps."""

    def append(self, seq: int, event: Event) -> None:
        """Record an event under the next number.

        Raises:
            JournalConflict: the number is taken: another controller was first.
        """
        ...

    def read(self) -> Sequence[Event]:
        """Return all events, oldest first."""
        ...


class MemoryJournal:
    """A journal that lives as long as its process: for rehearsals and tests."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def append(self, seq: int, event: Event) -> None:
        """Record an event under the next number; `JournalConflict` if it is not the next."""
        if seq != len(self._events) + 1:
            raise JournalConflict(f"event {seq} cannot follow event {len(self._events)}")
        self._events.append(event)

    def read(self) -> Sequence[Event]:
        """Return all events, oldest first."""
        return tuple(self._events)
