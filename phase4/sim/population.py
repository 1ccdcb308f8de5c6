"""Users of synthetic traffic: how active they are, and how often their requests fail.

Activity is rounded to levels half an octave wide, each with the mean of what it stands for, and the numbers of users
are whole: the population laid out here *is* the model, and everything drawn from it is exact for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HALF_OCTAVE = math.log(2.0) / 2.0
"""Width of a level, in natural logarithms of activity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equal:
    """Every user makes as many requests as any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pareto:
    """Few users make most of the requests: a share `x**-alpha` has more than x times the least activity."""

    alpha: float
    """Above 1, so that there is a mean; the smaller, the more lies with the most active."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """The logarithm of activity is normal."""

    sigma: float
    """Its standard deviation, above 0."""


Activity = Equal | Pareto | Lognormal


@dataclass(frozen=True, slots=True, kw_only=True)
class UserClass:
    """Users whose requests fail with one probability."""

    name: str
    share: float
    """Of the users, in (0, 1]."""
    error_rate: float | None = None
    """Probability that a request fails, 0-1; None = the world's, times `error_rate_factor`."""
    error_rate_factor: float = 1.0

    def rate(self, world: float) -> float:
        """Return the probability, 0-1, that a request of this class fails in a world of that error rate."""
        return self.error_rate if self.error_rate is not None else self.error_rate_factor * world


EVERYBODY = (UserClass(name="everybody", share=1.0),)
"""The classes of a population whose users are all alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Who makes the requests of a world."""

    users: int
    activity: Activity = Equal()
    classes: tuple[UserClass, ...] = EVERYBODY
    """Their shares add up to 1. Activity and class are independent."""

    @property
    def class_sizes(self) -> Ints:
        """How many users each class has, (classes,) int64."""
        return apportion([one.share for one in self.classes], self.users)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Users:
    """A population laid out: one place for each user, class after class."""

    activity: Floats
    """(users,) requests of a user over those of the mean user; the sum is the number of users."""
    class_of: npt.NDArray[np.uint8]
    """(users,) index into the population's classes, ascending."""

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.activity)


@lru_cache(maxsize=8)
def lay_out(population: Population) -> Users:
    """Return the users of a population, the same for all replicates: what is drawn is who falls into which arm."""
    shares, means = levels(population.activity, population.users)
    sizes = population.class_sizes
    activity = np.concatenate([np.repeat(means, apportion(shares, int(size))) for size in sizes])
    return Users(
        # whole numbers of users shift the mean a little: the traffic is what the shape says, not what rounding makes it
        activity=activity * (population.users / activity.sum()),
        class_of=np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes),
    )


def levels(activity: Activity, users: int) -> tuple[Floats, Floats]:
    """Return the levels of an activity: shares of the users, which add up to 1, and mean activities, least first.

    Args:
        activity: The distribution that is rounded.
        users: How many there are; a level that fewer than one of them would reach is one with the level before.

    Returns:
        (shares, means), each (levels,) float64; the mean over all levels is that of the distribution.
    """
    match activity:
        case Equal():
            return np.ones(1), np.ones(1)
        case Pareto():
            return _pareto(activity.alpha, users)
        case Lognormal():
            return _lognormal(activity.sigma, users)
        case _:
            assert_never(activity)


def apportion(shares: Sequence[float] | Floats, total: int) -> Ints:
    """Return whole numbers that add up to `total` and are nearest to its shares, (shares,) int64.

    Source: largest remainders (Hamilton's method); of equal remainders the first.

    >>> apportion([0.5, 0.25, 0.25], 7).tolist()
    [3, 2, 2]
    """
    exact = np.asarray(shares, np.float64) * total
    whole = np.floor(exact + 1e-9).astype(np.int64)
    left = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return whole


def _pareto(alpha: float, users: int) -> tuple[Floats, Floats]:
    """Return the levels above the least activity 1.

    Source: share above x is x**-alpha; the part of the mean above x is alpha/(alpha-1) * x**(1-alpha).
    """
    last = int(math.log(users) / (alpha * HALF_OCTAVE))
    edges = np.exp(HALF_OCTAVE * np.arange(last + 1))
    above = np.append(edges**-alpha, 0.0)
    mass = np.append(alpha / (alpha - 1.0) * edges ** (1.0 - alpha), 0.0)
    return _between(above, mass)


def _lognormal(sigma: float, users: int) -> tuple[Floats, Floats]:
    """Return the levels around the median 1; the middle one is centred on it.

    Source: with Q the upper tail of the normal law, the share above x is Q(ln x / sigma), and the part of the mean
    above x is exp(sigma**2 / 2) * Q(ln x / sigma - sigma).
    """
    reach = 0
    while users * _upper_tail((reach + 0.5) * HALF_OCTAVE / sigma) >= 1.0:
        reach += 1
    # cut at both ends alike; what lies below the lowest edge belongs to the first level
    edges = HALF_OCTAVE * (np.arange(-reach, reach) + 0.5)
    above = np.array([1.0, *(_upper_tail(edge / sigma) for edge in edges), 0.0])
    mass = np.array([1.0, *(_upper_tail(edge / sigma - sigma) for edge in edges), 0.0])
    return _between(above, math.exp(sigma * sigma / 2.0) * mass)


def _upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _between(above: Floats, mass: Floats) -> tuple[Floats, Floats]:
    """Return shares and means of the levels between edges, from what lies above each."""
    shares = -np.diff(above)
    return shares, -np.diff(mass) / shares
