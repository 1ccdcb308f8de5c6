"""The one loop: decide, record, evolve, switch.

Production calls `tick` from the collector's timer, the simulator from a SimPy process, a test by hand.
"""

from __future__ import annotations

from typing import Protocol

from phase4.rollout import commands
from phase4.rollout.decide import StageObservation, decide
from phase4.rollout.events import Event, moves_exposure
from phase4.rollout.journal import Journal
from phase4.rollout.plan import RolloutPlan
from phase4.rollout.state import RolloutState, evolve, replay


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> int:
        """Return the time in ms since the Unix epoch, UTC."""
        ...


class Observer(Protocol):
    """What has been seen of a stage."""

    def observe(self, state: RolloutState) -> StageObservation | None:
        """Return what the judge has seen of the present entry, None if nothing yet."""
        ...


class Switch(Protocol):
    """What sets the flag's percentage."""

    def apply(self, event: Event) -> None:
        """Carry out an event that has been recorded. Doing it twice changes nothing."""
        ...


class RolloutController:
    """Drives one plan. Holds no truth of its own: the state is the journal's fold."""

    def __init__(
        self, *, plan: RolloutPlan, clock: Clock, observer: Observer, journal: Journal, switch: Switch
    ) -> None:
        """Take up the rollout where its journal left it, and carry out again what decides the exposure."""
        self.plan = plan
        self._clock, self._observer, self._journal, self._switch = clock, observer, journal, switch
        recorded = journal.read()
        self.state = replay(recorded)
        # a crash may lie between recording and switching
        moved = [event for event in recorded if moves_exposure(event)]
        self._unswitched: tuple[Event, ...] = tuple(dict.fromkeys((*moved[-1:], *recorded[-1:])))
        self._settle()

    def tick(self) -> Event | None:
        """Take at most one step; return it, or None. What a failed switch left undone is done first."""
        self._settle()
        state = self.state
        event = decide(self.plan, state, self._observer.observe(state), self._clock.now())
        return None if event is None else self._record(event)

    def start(self) -> Event:
        """Enter the first stage."""
        return self._record(commands.start(self.plan, self.state, self._clock.now()))

    def approve(self, approver: str) -> Event | None:
        """Give one person's approval; the next tick enters the stage once enough are there."""
        return self._record_any(commands.approve(self.state, approver, self._clock.now()))

    def reject(self, approver: str) -> Event:
        """Refuse the pending request: the plan pauses."""
        return self._record(commands.reject(self.state, approver, self._clock.now()))

    def pause(self, note: str) -> Event:
        """Hold the plan where it is."""
        return self._record(commands.pause(self.state, note, self._clock.now()))

    def resume(self) -> Event:
        """Go on after a pause."""
        return self._record(commands.resume(self.plan, self.state, self._clock.now()))

    def cancel(self, reason: str) -> Event:
        """End the plan; the flag keeps its percentage."""
        return self._record(commands.cancel(self.state, reason, self._clock.now()))

    def roll_back(self, reason: str) -> Event | None:
        """Switch the feature off; None if it was rolled back before."""
        return self._record_any(commands.roll_back(self.state, reason, self._clock.now()))

    def _record_any(self, event: Event | None) -> Event | None:
        if event is None:
            self._settle()
            return None
        return self._record(event)

    def _record(self, event: Event) -> Event:
        # Record before acting: a crash between the two must replay, not repeat.
        self._journal.append(self.state.seq + 1, event)
        self.state = evolve(self.state, event)
        self._unswitched = (*self._unswitched, event)
        self._settle()
        return event

    def _settle(self) -> None:
        """Carry out what is recorded and not switched yet; what raises stays for the next time."""
        while self._unswitched:
            self._switch.apply(self._unswitched[0])
            self._unswitched = self._unswitched[1:]
