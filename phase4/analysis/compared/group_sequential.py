"""Group-sequential tests: a z-test at few planned looks, whose bounds spend alpha as time goes on.

By the time t of the plan (0 to 1) the share `alpha * t**power` of false alarms may have been spent; the bound at each
look is the one that spends just what is due. The statistic is taken for a Brownian motion, so the control of the
false alarms is asymptotic: at n = 10 a tick and 48 looks it is close, with very few expected events it is not.

Source: Lan and DeMets (1983), doi:10.1093/biomet/70.3.659; the power family: Kim and DeMets (1987),
doi:10.1093/biomet/74.1.149; the recursion: Armitage, McPherson and Rowe (1969), doi:10.2307/2343787.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from phase4.analysis.columns import Floats, Ints
from phase4.analysis.compared.alarms import NO_ALARM, Counts, check_share, first_alarms, totals
from phase4.analysis.compared.raw_rules import excess, normal_tail, pooled_z, spread

_LOWEST = -9.0
"""Nothing is integrated below so many standard deviations: their probability is below 1e-18."""
_NODES_PER_STEP = 4
"""Points of the quadrature within one standard deviation of a step; 8 change the bounds by less than 1e-9."""
_MOST_LOOKS = 1000


def power_spending(alpha: float, information: tuple[float, ...], power: float) -> tuple[float, ...]:
    """Return the share of false alarms that may have been spent at each time.

    Args:
        alpha: All that may be spent, in (0, 1).
        information: Share of the planned information that is there, in (0, 1], growing.
        power: Exponent, above 0; 2 spends little at first, 1 evenly.

    >>> power_spending(0.05, (0.5, 1.0), 2.0)
    (0.0125, 0.05)
    """
    return tuple(alpha * t**power for t in information)


@lru_cache(maxsize=64)
def critical_values(information: tuple[float, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """Return the z beyond which each look alarms, one-sided, so that `spent` false alarms have happened by then.

    The density of the score over the paths that have not alarmed is carried from look to look by Gauss-Legendre
    quadrature.

    Args:
        information: Share of the planned information at each look, in (0, 1], strictly growing.
        spent: Probability of a false alarm at this look or before, in (0, 1), strictly growing, one for each look.

    Raises:
        ValueError: the looks are none or more than 1,000, or a sequence is not as said.

    >>> [round(z, 4) for z in critical_values((1.0,), (0.05,))]
    [1.6449]
    """
    steps = _steps("information", information, most=1.0)
    due = _steps("spent", spent, most=1.0)
    if len(steps) != len(due) or not 1 <= len(steps) <= _MOST_LOOKS:
        raise ValueError(f"1 to {_MOST_LOOKS} looks, each with its share: {len(steps)} and {len(due)}")
    size = math.ceil(_NODES_PER_STEP * (2 - _LOWEST) / math.sqrt(min(steps)))
    nodes, weights = np.polynomial.legendre.leggauss(size)
    points, mass = np.zeros(1), np.ones(1)  # before the first look all paths are at 0
    bounds = []
    for t, step, share in zip(information, steps, due, strict=True):
        sd = math.sqrt(step)
        bound = _crossing(points, mass, sd, share)
        bounds.append(bound / math.sqrt(t))
        low = _LOWEST * math.sqrt(t)
        following = 0.5 * ((bound - low) * nodes + (bound + low))
        density = np.exp(-0.5 * ((following[:, None] - points) / sd) ** 2) @ mass / (sd * math.sqrt(2.0 * math.pi))
        points, mass = following, density * weights * (0.5 * (bound - low))
    return tuple(bounds)


def _steps(name: str, values: tuple[float, ...], *, most: float) -> tuple[float, ...]:
    steps = tuple(after - before for before, after in zip((0.0, *values), values, strict=False))
    if any(step <= 0.0 for step in steps) or values[-1:] > (most,):
        raise ValueError(f"{name} grows strictly from above 0 to at most {most:g}: {list(values)}")
    return steps


def _crossing(points: Floats, mass: Floats, sd: float, due: float) -> float:
    """Return the score beyond which a next step from `points` goes with probability `due`, by bisection."""
    low, high = -10.0, 10.0
    while high - low > 1e-11:
        middle = 0.5 * (low + high)
        # paths far below the bound cannot reach it
        near = points > middle - 9.0 * sd
        beyond = sum(
            weight * normal_tail((middle - point) / sd)
            for point, weight in zip(points[near].tolist(), mass[near].tolist(), strict=True)
        )
        low, high = (middle, high) if beyond > due else (low, middle)
    return 0.5 * (low + high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """When a group-sequential test looks, and how much it may spend: the plan that both forms share."""

    alpha: float
    """Probability of a false alarm over the whole plan, in (0, 0.5)."""
    horizon_ticks: int
    """Planned length in ticks. Information is taken to grow evenly with them, as the plan says."""
    count: int
    """How many looks, evenly spaced, the last one at the end: 1 to `horizon_ticks`."""
    power: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what cannot be planned."""
        check_share("alpha", self.alpha, 0.5)
        if not 1 <= self.count <= self.horizon_ticks:
            raise ValueError(f"1 to {self.horizon_ticks} looks fit into as many ticks: {self.count}")
        if not self.power > 0.0:
            raise ValueError(f"power is above 0: {self.power}")

    @property
    def ticks(self) -> Ints:
        """Index of the tick after which each look is taken, (count,) int64."""
        return np.arange(1, self.count + 1, dtype=np.int64) * self.horizon_ticks // self.count - 1

    @property
    def bounds(self) -> Floats:
        """The z that each look is held against, (count,) float64."""
        information = tuple(((self.ticks + 1) / self.horizon_ticks).tolist())
        spent = power_spending(self.alpha, information, self.power)
        return np.array(critical_values(information, spent))

    def upto(self, ticks: int) -> tuple[Ints, Floats]:
        """Return (ticks, bounds) of the looks within so many ticks, each (looks,)."""
        is_reached = self.ticks < ticks
        return self.ticks[is_reached], self.bounds[is_reached]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSequential:
    """A group-sequential z-test of a rate against a limit."""

    limit: float
    """p0, in (0, 1)."""
    looks: Looks
    label: ClassVar[str] = "PFA, asymptotic"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_share("limit", self.limit)

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return _name(self.looks)

    def alarms(self, events: Counts, trials: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.OneArm`."""
        at, bounds = self.looks.upto(len(events))
        x, n = (total[at] for total in totals(events, trials))
        is_beyond = excess(x, n, self.limit) >= bounds[:, None] * spread(n, self.limit)
        return _at(at, first_alarms((n > 0) & is_beyond))


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoArmGroupSequential:
    """A group-sequential two-proportion z-test, pooled variance."""

    looks: Looks
    label: ClassVar[str] = "PFA, asymptotic"

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return _name(self.looks)

    def alarms(self, events: Counts, trials: Counts, events_control: Counts, trials_control: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.TwoArms`."""
        at, bounds = self.looks.upto(len(events))
        x, n = (total[at] for total in totals(events, trials))
        y, m = (total[at] for total in totals(events_control, trials_control))
        z = pooled_z(x, n, y, m)
        return _at(at, first_alarms((z != 0.0) & (z >= bounds[:, None])))


def _name(looks: Looks) -> str:
    return f"group-sequential, Lan-DeMets power {looks.power:g}, {looks.count} looks"


def _at(ticks: Ints, look: Ints) -> Ints:
    """Return the tick of each look, -1 where there is none."""
    if not len(ticks):
        return look
    return np.where(look == NO_ALARM, NO_ALARM, ticks[look])
