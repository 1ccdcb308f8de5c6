"""What comes to a flag: requests and users, and how many of them a share of the users brings in a time.

Users are taken to be alike: each comes by chance at the same rate, so of N users `N (1 - exp(-r t / N))` have come by
t, r being the requests of all. Real users differ, and the last of them come later than this says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from phase4.analysis.observation import OutcomeSet
from phase4.analysis.verdict import Unit
from phase4.durations import DAY_MS

ASSUMED_RATE = 0.001
"""Of failures, where nobody said and nothing was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Traffic of all users of a flag, exposed or not; None where it is not known.

    With requests alone each request is taken for a new user, so that what comes is an upper limit. With users alone
    how many come is known, and not when.
    """

    requests_per_day: float | None = None
    users: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no amount."""
        for name in ("requests_per_day", "users"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < math.inf:
                raise ValueError(f"{name} is above 0: {value}")

    @property
    def is_known(self) -> bool:
        """Whether anything is known of it."""
        return self.requests_per_day is not None or self.users is not None

    @property
    def is_upper_limit(self) -> bool:
        """Whether users are counted as if each request were a new one."""
        return self.users is None and self.requests_per_day is not None

    def units(self, unit: Unit, share: float, time_ms: float) -> float | None:
        """Return how many units a share of the users brings in a time; None where that is not known.

        Args:
            unit: Users count once, when they are seen first.
            share: Of the users, 0-1.
            time_ms: How long, in ms.
        """
        requests = None if self.requests_per_day is None else self.requests_per_day * share * time_ms / DAY_MS
        if unit is Unit.REQUEST or self.users is None:
            return requests
        band = self.users * share
        return band if requests is None else band * -math.expm1(-requests / band) if band else 0.0

    def ms_until(self, unit: Unit, share: float, units: float) -> float | None:
        """Return the time in ms until so many units have come; infinity = never, None = not known."""
        if units == math.inf:
            return math.inf
        if unit is Unit.USER and self.users is not None:
            band = self.users * share
            if units >= band:
                return math.inf
            units = -math.log1p(-units / band) * band
        return self._ms_of_requests(share, units)

    def ms_until_outcomes(self, unit: Unit, share: float, rate: float, outcomes: float) -> float | None:
        """Return the time in ms until a guardrail's FAIL side has read so many outcomes, of which a rate are bad.

        By users it reads outcomes up to each user's first bad one: at a rate p a band of B users brings B/p at most.
        """
        if outcomes == math.inf:
            return math.inf
        if unit is Unit.USER and self.users is not None:
            band = self.users * share
            used_up = outcomes * rate / band
            if used_up >= 1.0:
                return math.inf
            outcomes = -math.log1p(-used_up) * band / rate
        return self._ms_of_requests(share, outcomes)

    def _ms_of_requests(self, share: float, requests: float) -> float | None:
        if self.requests_per_day is None:
            return None
        return requests / (self.requests_per_day * share) * DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRates:
    """How often requests fail without the feature."""

    rates: Mapping[OutcomeSet, float]
    origin: str
    """`given`, `seen` or `assumed`."""

    def of(self, outcome_set: OutcomeSet) -> float:
        """Return the rate of an outcome set, 0-1."""
        return self.rates.get(outcome_set, ASSUMED_RATE)

    @classmethod
    def everywhere(cls, rate: float, origin: str) -> BaseRates:
        """Return the same rate for every outcome set."""
        return cls(rates=dict.fromkeys(OutcomeSet, rate), origin=origin)


ASSUMED = BaseRates.everywhere(ASSUMED_RATE, "assumed")
