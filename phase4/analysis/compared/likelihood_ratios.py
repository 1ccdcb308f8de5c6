"""Sequential tests without a restart: one likelihood ratio, with one alternative or a Beta mixture of all of them.

They keep the probability of a false alarm at every look at once (Ville 1939), and go blind: good evidence of a long
healthy stretch must be outweighed before a late defect shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from phase4.analysis.columns import Floats, Ints
from phase4.analysis.compared.alarms import Counts, check_share, first_alarms, totals
from phase4.analysis.sample_ratio_block import log_gamma


@dataclass(frozen=True, slots=True, kw_only=True)
class Sprt:
    """Wald's ratio for one alternative, with the upper bound 1/alpha and no lower one: a guard never accepts.

    Exact for any look by Ville's inequality. Wald's own bound, (1-beta)/alpha, is for a test that may also accept.
    Blind to what lies between the limit and the alternative, since the evidence then falls.

    Source: Wald (1945), doi:10.1214/aoms/1177731118.
    """

    limit: float
    """p0, in (0, 1)."""
    alternative: float
    """p1, in (p0, 1)."""
    alpha: float
    """Probability of a false alarm, in (0, 1)."""
    label: ClassVar[str] = "PFA, point alternative"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_share("alpha", self.alpha)
        check_rates(self.limit, self.alternative)

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return f"Wald SPRT {100 * self.limit:g} % against {100 * self.alternative:g} %"

    def alarms(self, events: Counts, trials: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.OneArm`."""
        log_e = log_ratio(*totals(events, trials), self.limit, self.alternative)
        return first_alarms(log_e >= -math.log(self.alpha))


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaBinomial:
    """The beta-binomial mSPRT: all alternatives at once, weighted by Beta(k*p0, k*(1-p0)).

    It is two-sided: half of the mixture speaks for better rates than the limit. An alarm is evidence of 1/alpha while
    the rate so far is above the limit; the other side is no alarm. The control is for a rate that stays the same.

    Source: Robbins (1970), doi:10.1214/aoms/1177696786; Johari, Pekelis and Walsh (2015, arXiv:1512.04922).
    """

    limit: float
    """p0, in (0, 1)."""
    alpha: float
    """Probability of a false alarm, in (0, 1)."""
    concentration: float = 100.0
    """k, how many trials the prior is worth, above 0."""
    label: ClassVar[str] = "PFA"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_share("limit", self.limit)
        check_share("alpha", self.alpha)
        _check_concentration(self.concentration)

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return f"beta-binomial mSPRT, two-sided, k = {self.concentration:g}"

    def alarms(self, events: Counts, trials: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.OneArm`."""
        x, n = totals(events, trials)
        log_e = log_beta_binomial(x, n, self.limit, self.concentration)
        return first_alarms((log_e >= -math.log(self.alpha)) & (x > n * self.limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionalDirichlet:
    """In which arm does an error land? The Dirichlet-multinomial mixture over treatment's share of all errors.

    Conditioned on an error, equal rates put it into treatment with treatment's share of the traffic, whatever the rate
    that both arms share. For two arms the mixture is a beta-binomial; an alarm is evidence of 1/alpha while treatment
    has more than its share.

    Source: Lindon and Malek (2022), "Anytime-valid inference for multinomial count data" (arXiv:2011.03567).
    """

    share: float
    """Treatment's share of the traffic of both arms as it was assigned, in (0, 1); it must not change on the way."""
    alpha: float
    """Probability of a false alarm, in (0, 1)."""
    concentration: float = 100.0
    """k, how many errors the prior is worth, above 0."""
    label: ClassVar[str] = "PFA"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_share("share", self.share)
        check_share("alpha", self.alpha)
        _check_concentration(self.concentration)

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return f"conditional Dirichlet, k = {self.concentration:g}"

    def alarms(self, events: Counts, trials: Counts, events_control: Counts, trials_control: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.TwoArms`."""
        x, _ = totals(events, trials)
        y, _ = totals(events_control, trials_control)
        log_e = log_beta_binomial(x, x + y, self.share, self.concentration)
        return first_alarms((log_e >= -math.log(self.alpha)) & (x > (x + y) * self.share))


def check_rates(limit: float, alternative: float) -> None:
    """Refuse rates other than 0 < limit < alternative < 1.

    Raises:
        ValueError: they are others.
    """
    if not 0.0 < limit < alternative < 1.0:
        raise ValueError(f"0 < limit < alternative < 1: {limit}, {alternative}")


def log_ratio(events: Ints, trials: Ints, limit: float, alternative: float) -> Floats:
    """Return the log-likelihood ratio of the alternative against the limit, float64, in nats.

    >>> round(float(log_ratio(np.array([3]), np.array([100]), 0.01, 0.015)[0]), 4)
    0.7253
    """
    up = math.log(alternative / limit)
    down = math.log1p(-alternative) - math.log1p(-limit)
    return np.asarray(events * (up - down) + trials * down, np.float64)


def log_beta_binomial(events: Ints, trials: Ints, limit: float, concentration: float) -> Floats:
    """Return ln of the mixture of likelihood ratios against the limit, weighted by Beta(k*p0, k*(1-p0)), float64.

    `ln e = ln B(a + x, b + n - x) - ln B(a, b) - x ln p0 - (n - x) ln(1 - p0)`, a = k*p0, b = k - a.

    >>> round(float(log_beta_binomial(np.array([7]), np.array([10]), 0.5, 2.0)[0]), 9) == round(math.log(1024/1320), 9)
    True
    """
    a = concentration * limit
    b = concentration - a
    x, n = events.astype(np.float64), trials.astype(np.float64)
    constant = math.lgamma(concentration) - math.lgamma(a) - math.lgamma(b)
    grown = log_gamma(a + x) + log_gamma(b + n - x) - log_gamma(concentration + n)
    return np.asarray(constant + grown - x * math.log(limit) - (n - x) * math.log1p(-limit), np.float64)


def _check_concentration(value: float) -> None:
    if not value > 0.0:
        raise ValueError(f"concentration is above 0: {value}")
