"""CUSUM: the log-likelihood ratio since the moment from which it speaks most for a defect.

The practical optimum where traffic, length and limit are known beforehand; its threshold holds for nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np

from phase4.analysis.columns import Floats, Ints
from phase4.analysis.compared.alarms import Counts, check_counts, check_share, first_alarms
from phase4.analysis.compared.likelihood_ratios import check_rates, log_ratio

_AT_ONCE = 250
"""Rollouts that are drawn at once: 5,760 ticks of them take 12 MB."""


class Binomials(Protocol):
    """What calibration draws from: a numpy Generator."""

    def binomial(self, n: int, p: float, size: tuple[int, int], /) -> Ints:
        """Return counts of events among n trials."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cusum:
    """`S := max(0, S + ln F)`, alarm when S >= threshold; F is the likelihood ratio of one tick, p1 against p0.

    Source: Page (1954), doi:10.1093/biomet/41.1-2.100. The threshold ln(1/alpha) gives no control: a healthy stage at
    the limit alarms in 95 to 100 %. Use `calibrated`.
    """

    limit: float
    """p0, in (0, 1)."""
    alternative: float
    """p1, in (p0, 1)."""
    threshold: float
    """h, in nats, above 0."""
    label: str = "no stated control"
    calibrated_label: ClassVar[str] = "PFA for this n, length and p0"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_rates(self.limit, self.alternative)
        if not 0.0 < self.threshold < math.inf:
            raise ValueError(f"threshold is above 0: {self.threshold}")

    @classmethod
    def calibrated(
        cls,
        *,
        limit: float,
        alternative: float,
        trials: int,
        ticks: int,
        alpha: float,
        replicates: int,
        generator: Binomials,
    ) -> Self:
        """Return the CUSUM whose threshold is simulated for this traffic, length and limit; see `calibrate`."""
        threshold = calibrate(
            limit=limit,
            alternative=alternative,
            trials=trials,
            ticks=ticks,
            alpha=alpha,
            replicates=replicates,
            generator=generator,
        )
        return cls(limit=limit, alternative=alternative, threshold=threshold, label=cls.calibrated_label)

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return f"CUSUM {100 * self.limit:g} to {100 * self.alternative:g} %, h = {self.threshold:.1f}"

    def alarms(self, events: Counts, trials: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.OneArm`."""
        check_counts(events, trials)
        return first_alarms(paths(events, trials, self.limit, self.alternative) >= self.threshold)


def calibrate(
    *,
    limit: float,
    alternative: float,
    trials: int,
    ticks: int,
    alpha: float,
    replicates: int,
    generator: Binomials,
) -> float:
    """Return the threshold that a rollout exactly at the limit reaches with probability alpha.

    It is the (1 - alpha) quantile of the highest S of simulated rollouts, and carries their error: with r replicates
    the probability is alpha give or take sqrt(alpha*(1 - alpha)/r).

    Args:
        limit: p0.
        alternative: p1.
        trials: Trials of a tick.
        ticks: Length of the stage.
        alpha: Probability of a false alarm over the stage, in (0, 1).
        replicates: Simulated rollouts, so many that alpha of them are at least one.
        generator: A numpy Generator; a fixed number of draws is taken from it.

    Raises:
        ValueError: an argument is outside its range.
    """
    check_rates(limit, alternative)
    check_share("alpha", alpha)
    if trials < 1 or ticks < 1:
        raise ValueError(f"trials and ticks are at least 1: {trials}, {ticks}")
    if replicates * alpha < 1.0:
        raise ValueError(f"alpha {alpha} needs at least {math.ceil(1 / alpha)} replicates: {replicates}")
    fixed = np.full((ticks, 1), trials, np.int64)
    highest = np.concatenate(
        [
            paths(generator.binomial(trials, limit, (ticks, size)), fixed, limit, alternative).max(axis=0)
            for size in _parts(replicates)
        ]
    )
    # just above the value below which 1 - alpha of them lie: reaching the threshold is an alarm
    place = min(math.ceil(replicates * (1.0 - alpha)), replicates - 1)
    return float(np.nextafter(np.sort(highest)[place - 1], np.inf))


def paths(events: Counts, trials: Counts, limit: float, alternative: float) -> Floats:
    """Return S after each tick, (ticks, rollouts) float64, in nats.

    With C the sum of ln F so far, S is C minus the lowest C so far, 0 before the first tick included.
    """
    total = np.cumsum(log_ratio(events.astype(np.int64), trials.astype(np.int64), limit, alternative), axis=0)
    return np.asarray(total - np.minimum.accumulate(np.minimum(total, 0.0), axis=0), np.float64)


def _parts(replicates: int) -> list[int]:
    return [min(_AT_ONCE, replicates - begin) for begin in range(0, replicates, _AT_ONCE)]
