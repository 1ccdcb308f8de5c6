"""Rules that look as if they tested something: a threshold held against counts, and a z-test read at every tick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phase4.analysis.columns import Floats, Ints
from phase4.analysis.compared.alarms import Counts, check_share, first_alarms, rate, totals

Z_ONE_SIDED = 1.645
"""Quantile of the normal distribution at 95 %, as it stands in textbooks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRule:
    """`events / trials > limit` over the last ticks: the rule of `specs.ThresholdGuardrail` for many rollouts."""

    limit: float
    """Highest acceptable rate, in (0, 1)."""
    window: int | None
    """How many of the last ticks are pooled (fewer while there are fewer); None = all since the entry."""
    min_units: int = 1
    """Fewest trials in the window before the rule is looked at."""
    label: ClassVar[str] = "controls nothing"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_share("limit", self.limit)
        if self.window is not None and self.window < 1:
            raise ValueError(f"a window counts ticks, at least 1: {self.window}")

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        over = {None: "cumulative", 1: "per tick"}.get(self.window, f"window of {self.window} ticks")
        return f"raw rule, {over}" + (f", >= {self.min_units:,} units" if self.min_units > 1 else "")

    def alarms(self, events: Counts, trials: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.OneArm`."""
        x, n = (_of_last(total, self.window) for total in totals(events, trials))
        return first_alarms((n >= max(self.min_units, 1)) & (rate(x, n) > self.limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekingZTest:
    """A one-sided z-test of all counts so far, read at every tick as if it were the only look.

    `(x - n*p0) / sqrt(n*p0*(1-p0)) > z`: the variance is that of the null, as in the score test. With that of the
    estimate a first error in few trials is never significant, and the test looks better than it is (n = 10 at the
    limit: 32 % against 56 % of false alarms).

    Source of what goes wrong: Armitage, McPherson and Rowe (1969), doi:10.2307/2343787.
    """

    limit: float
    """p0, in (0, 1)."""
    z: float = Z_ONE_SIDED
    min_units: int = 1
    """Fewest trials before the test is read. Each minimum lowers the false alarms only as far as its first look is
    late: at n = 10 they are 56 % with 1, 51 % with 30 and 48 % with 100."""
    name: ClassVar[str] = "z-test, peeking"
    label: ClassVar[str] = "one look only"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_share("limit", self.limit)

    def alarms(self, events: Counts, trials: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.OneArm`."""
        x, n = totals(events, trials)
        return first_alarms((n >= max(self.min_units, 1)) & (excess(x, n, self.limit) > self.z * spread(n, self.limit)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RawImpact:
    """`rate of treatment > (1 + tolerance) * rate of control` over all ticks so far."""

    tolerance: float = 0.05
    """How much larger treatment's rate may be, as a share of control's, at least 0."""
    min_units: int = 1000
    """Fewest trials of treatment before the rule is looked at."""
    label: ClassVar[str] = "controls nothing"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        if not self.tolerance >= 0.0:
            raise ValueError(f"tolerance is at least 0: {self.tolerance}")

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return f"raw impact > {self.tolerance:.0%}, >= {self.min_units:,} units"

    def alarms(self, events: Counts, trials: Counts, events_control: Counts, trials_control: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.TwoArms`."""
        x, n = totals(events, trials)
        y, m = totals(events_control, trials_control)
        enough = (n >= max(self.min_units, 1)) & (m > 0)
        return first_alarms(enough & (rate(x, n) > (1.0 + self.tolerance) * rate(y, m)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekingTwoArmZTest:
    """A one-sided two-proportion z-test of all counts so far, read at every tick as if it were the only look."""

    z: float = Z_ONE_SIDED
    min_units: int = 1
    """Fewest trials of each arm before the test is read."""
    name: ClassVar[str] = "z-test, peeking"
    label: ClassVar[str] = "one look only"

    def alarms(self, events: Counts, trials: Counts, events_control: Counts, trials_control: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.TwoArms`."""
        x, n = totals(events, trials)
        y, m = totals(events_control, trials_control)
        enough = np.minimum(n, m) >= max(self.min_units, 1)
        return first_alarms(enough & (pooled_z(x, n, y, m) > self.z))


def excess(events: Ints, trials: Ints, limit: float) -> Floats:
    """Return by how many events each place is above the limit, float64."""
    return np.asarray(events - trials * limit, np.float64)


def spread(trials: Ints, limit: float) -> Floats:
    """Return the standard deviation of the number of events at the limit, float64."""
    return np.asarray(np.sqrt(trials * (limit * (1.0 - limit))), np.float64)


def pooled_z(events: Ints, trials: Ints, events_control: Ints, trials_control: Ints) -> Floats:
    """Return the two-proportion z with pooled variance, float64; 0 where it says nothing.

    >>> x, n = np.array([30]), np.array([1000])
    >>> round(float(pooled_z(x, n, np.array([20]), n)[0]), 4)
    1.4322
    """
    n, m = np.maximum(trials, 1), np.maximum(trials_control, 1)
    pooled = (events + events_control) / (n + m)
    variance = pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)
    is_known = (trials > 0) & (trials_control > 0) & (variance > 0.0)
    difference = events / n - events_control / m
    return np.where(is_known, difference / np.sqrt(np.where(is_known, variance, 1.0)), 0.0)


def normal_tail(z: float) -> float:
    """Return the probability that a standard normal value lies above z."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _of_last(total: Ints, window: int | None) -> Ints:
    """Return the sums over the last `window` ticks from running totals."""
    if window is None or window >= len(total):
        return total
    result = total.copy()
    result[window:] -= total[:-window]
    return result
