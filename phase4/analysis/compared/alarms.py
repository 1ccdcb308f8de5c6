"""What the compared methods have in common: counts of many rollouts in, the tick of each one's first alarm out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from phase4.analysis.columns import Floats, Ints

Counts = npt.NDArray[np.int32] | npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NO_ALARM = -1
"""Stands for "never" where a tick is asked for."""


class OneArm(Protocol):
    """A method that holds treatment's rate against a limit."""

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        ...

    @property
    def label(self) -> str:
        """What the method controls; shown wherever its result is shown."""
        ...

    def alarms(self, events: Counts, trials: Counts) -> Ints:
        """Return the tick of each rollout's first alarm, (rollouts,) int64, -1 = none.

        Args:
            events: Bad outcomes, (ticks, rollouts).
            trials: Outcomes, (ticks, rollouts) or (ticks, 1).

        Raises:
            ValueError: the shapes do not fit, or events do not lie between 0 and trials.
        """
        ...


class TwoArms(Protocol):
    """A method that compares treatment with concurrent control."""

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        ...

    @property
    def label(self) -> str:
        """What the method controls; shown wherever its result is shown."""
        ...

    def alarms(self, events: Counts, trials: Counts, events_control: Counts, trials_control: Counts) -> Ints:
        """Return the tick of each rollout's first alarm, (rollouts,) int64, -1 = none.

        Args:
            events: Bad outcomes of treatment, (ticks, rollouts).
            trials: Outcomes of treatment, (ticks, rollouts) or (ticks, 1).
            events_control: Bad outcomes of control, as `events`.
            trials_control: Outcomes of control, as `trials`.

        Raises:
            ValueError: the shapes do not fit, or events do not lie between 0 and trials.
        """
        ...


def first_alarms(hits: Bools) -> Ints:
    """Return the first tick at which each column of (ticks, rollouts) is True, (rollouts,) int64, -1 = none.

    >>> first_alarms(np.array([[False, False], [False, True], [False, True]])).tolist()
    [-1, 1]
    """
    if not len(hits):
        return np.full(hits.shape[1], NO_ALARM, np.int64)
    return np.where(hits.any(axis=0), hits.argmax(axis=0), NO_ALARM).astype(np.int64)


def check_counts(events: Counts, trials: Counts) -> None:
    """Refuse counts of one arm that cannot be.

    Raises:
        ValueError: the shapes do not fit, or events do not lie between 0 and trials.
    """
    if events.ndim != 2 or trials.ndim != 2:
        raise ValueError(f"counts have the axes (ticks, rollouts): {events.shape}, {trials.shape}")
    if trials.shape not in {events.shape, (len(events), 1)}:
        raise ValueError(f"trials are {events.shape} or ({len(events)}, 1), as events are: {trials.shape}")
    if (events < 0).any() or (events > trials).any():
        raise ValueError("events lie between 0 and trials in every tick")


def totals(events: Counts, trials: Counts) -> tuple[Ints, Ints]:
    """Return (events, trials) of all ticks so far, int64, in the shapes that came in.

    Raises:
        ValueError: as `check_counts`.
    """
    check_counts(events, trials)
    return np.cumsum(events, axis=0, dtype=np.int64), np.cumsum(trials, axis=0, dtype=np.int64)


def rate(events: Ints, trials: Ints) -> Floats:
    """Return events / trials; 0 where nothing was tried."""
    return np.asarray(events / np.maximum(trials, 1), np.float64)


def check_share(name: str, value: float, highest: float = 1.0) -> None:
    """Refuse a value outside (0, highest).

    Raises:
        ValueError: it is outside.
    """
    if not 0.0 < value < highest:
        raise ValueError(f"{name} lies in (0, {highest:g}): {value}")
