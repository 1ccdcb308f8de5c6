"""Who is found first: users wait for their first event of a kind, and the group's events find them, tick by tick.

Given how many events a group had in a tick, each fell on a user with the odds of the user's activity and at any moment
of the tick that the user was there for. So it is enough to place the events that may be somebody's first. That is
exact, keeps the number of events that was drawn before, and costs a few draws for each user and not one for each event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phase4 import rng

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST = 4_096
"""Events that are placed at once at least: below it, the arrays are too short to be worth it."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Users and a moment of each, in the order of their ticks."""

    tick: Ints
    """(users,) ticks since the start of what is looked at."""
    phase: Floats
    """(users,) share of the tick that had passed, 0-1."""
    weight: Floats
    """(users,) activity."""

    def slice(self, begin: int, end: int, *, back: int = 0) -> Moments:
        """Return the users begin..end-1, their ticks counted from `back` on."""
        return Moments(self.tick[begin:end] - back, self.phase[begin:end], self.weight[begin:end])

    def where(self, chosen: npt.NDArray[np.bool_]) -> Moments:
        """Return the chosen users."""
        return Moments(self.tick[chosen], self.phase[chosen], self.weight[chosen])

    def with_others(self, others: Moments) -> Moments:
        """Return these users and others, in the order of their ticks."""
        both = [np.concatenate(pair) for pair in zip(self._arrays, others._arrays, strict=True)]
        order = np.argsort(both[0], kind="stable")
        return Moments(*(values[order] for values in both))

    @property
    def _arrays(self) -> tuple[Ints, Floats, Floats]:
        return self.tick, self.phase, self.weight

    def counts(self, ticks: int) -> Ints:
        """Return the number of users by tick, (ticks,) int64."""
        return np.bincount(self.tick, minlength=ticks).astype(np.int64, copy=False)

    def coverage(self, ticks: int) -> Floats:
        """Return the activity that is there from these moments on, (ticks,) float64: whole ticks, and parts of one."""
        begun: Floats = np.bincount(self.tick, self.weight, ticks).astype(np.float64, copy=False)
        part: Floats = np.bincount(self.tick, self.weight * (1.0 - self.phase), ticks).astype(np.float64, copy=False)
        return np.cumsum(begun) - begun + part


class Waiting:
    """Users of one group that wait for their first event of a kind."""

    def __init__(self, numbers: rng.Generator, places: rng.Generator) -> None:
        """Begin with nobody.

        Args:
            numbers: Draws how many events fall on users that wait.
            places: Draws on whom, and when. Apart from `numbers`, so that what happens later changes nothing before it.
        """
        self._numbers, self._places = numbers, places
        self._weights: Floats = np.zeros(0)

    @property
    def weight(self) -> float:
        """Activity of those that wait."""
        return float(self._weights.sum())

    def find(self, joining: Moments, events: Ints, weight: Floats) -> Moments:
        """Return who of those that wait is found by the events of the next ticks; they wait no more.

        Args:
            joining: Users that begin to wait, and when; an event finds a user after that moment only.
            events: (ticks,) int64, events of the group.
            weight: (ticks,) float64, activity that the events are spread over: all users of the group, with the part
                of the tick that they were there for.
        """
        ticks = len(events)
        bounds = np.searchsorted(joining.tick, np.arange(ticks + 1))
        whole = np.concatenate(([0.0], np.cumsum(joining.weight)))
        part = np.concatenate(([0.0], np.cumsum(joining.weight * (1.0 - joining.phase))))
        found, begin = [], 0
        while begin < ticks:
            old = self.weight + whole[bounds[begin:-1]] - whole[bounds[begin]]
            new = part[bounds[begin + 1 :]] - part[bounds[begin:-1]]
            share = np.divide(old + new, weight[begin:], out=np.zeros(ticks - begin), where=weight[begin:] > 0.0)
            share = np.minimum(share, 1.0)
            end = begin + self._reach(events[begin:] * share)
            hits = self._numbers.binomial(events[begin:end], share[: end - begin])
            present = np.concatenate((self._weights, joining.weight[bounds[begin] : bounds[end]]))
            if hits.any():
                land = _Landing(present, len(self._weights), joining, bounds, part, begin)
                found.append(land.first(hits, old, new, self._places))
                present = np.delete(present, land.who)
            self._weights = present
            begin = end
        return _joined(found)

    def _reach(self, expected: Floats) -> int:
        """Return for how many ticks events are placed at once, at least 1.

        Who was found is still hit until the next start, to no purpose: with about two events for each user, little of
        that is lost, and the number of starts grows with the logarithm of the number of users only.
        """
        limit = max(LEAST, 2 * len(self._weights))
        return max(int(np.searchsorted(np.cumsum(expected), limit, side="right")), 1)


class _Landing:
    """Where the events of a few ticks fall: on users present at the start, or on those that join."""

    def __init__(self, present: Floats, waited: int, joining: Moments, bounds: Ints, part: Floats, begin: int) -> None:
        self._present, self._joining, self._bounds, self._part, self._begin = present, joining, bounds, part, begin
        self._offset = waited - int(bounds[begin])
        """Place of a joining user among those present, less its index."""
        self.who: Ints = np.zeros(0, np.int64)
        """Places of those that were found."""

    def first(self, hits: Ints, old: Floats, new: Floats, places: rng.Generator) -> Moments:
        """Return each user that was hit, at its first hit."""
        ago = np.repeat(np.arange(len(hits)), hits)
        draws = places.random((len(ago), 2))
        at = draws[:, 0] * (old + new)[ago]
        is_new = (at >= old[ago]) & (new[ago] > 0.0)
        tick = ago + self._begin
        place = self._place(tick, at, is_new, old[ago])
        phase = draws[:, 1]
        joined = self._joining.phase[place[is_new] - self._offset]
        phase[is_new] = joined + (1.0 - joined) * phase[is_new]
        order = np.lexsort((tick + phase, place))
        one = order[np.diff(place[order], prepend=-1) != 0]
        self.who = place[one]
        one = one[np.argsort(tick[one], kind="stable")]
        return Moments(tick[one], phase[one], self._present[place[one]])

    def _place(self, tick: Ints, at: Floats, is_new: npt.NDArray[np.bool_], old: Floats) -> Ints:
        """Return the place of the user on whom each event falls: old ones by their activity, new ones by its part."""
        begun, ended = self._bounds[tick], self._bounds[tick + 1]
        place = np.searchsorted(np.cumsum(self._present), at, side="right")
        late = self._part[begun[is_new]] + (at - old)[is_new]
        place[is_new] = np.searchsorted(self._part[1:], late, side="right") + self._offset
        # sums of activities are rounded: nobody is hit before joining, or after all others
        low = np.where(is_new, begun + self._offset, 0)
        high = np.where(is_new, ended, begun) + self._offset - 1
        return np.clip(place, low, high)


def _joined(parts: list[Moments]) -> Moments:
    if not parts:
        return Moments(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    return Moments(
        np.concatenate([part.tick for part in parts]),
        np.concatenate([part.phase for part in parts]),
        np.concatenate([part.weight for part in parts]),
    )
