"""A rule like that of Kayenta: rates of half hours, a Mann-Whitney interval of their shift, read every hour.

Our port of the rule and not of the program. Treatment is judged worse when the lower end of the 98 % interval for the
shift between the arms is above 0.25 times the Hodges-Lehmann estimate of that shift.

Source: spinnaker/kayenta, MannWhitneyClassifier.scala (`lowerConfidence > tolerance * |estimate|`) and
MannWhitney.scala, whose interval is the asymptotic one of R's wilcox.test with its correction of one half. Both take
the samples of the arms as independent, although a swing of the day moves both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from phase4.analysis.columns import Floats, Ints
from phase4.analysis.compared.alarms import NO_ALARM, Counts, check_counts, check_share


@dataclass(frozen=True, slots=True, kw_only=True)
class MannWhitney:
    """A Mann-Whitney interval of samples since the entry, read again and again."""

    confidence: float = 0.98
    """Of the two-sided interval, in (0, 1)."""
    tolerance: float = 0.25
    """Share of the estimate that the lower end must exceed, at least 0."""
    sample_ticks: int = 60
    """Length of a sample in ticks: 30 min."""
    look_ticks: int = 120
    """Ticks between two looks, a multiple of `sample_ticks`: 1 h."""
    min_samples: int
    """Fewest samples of each arm before a look says anything. The program asks for none: two samples against two lie
    apart by chance in one of six stages, and are then called significant."""
    label: ClassVar[str] = "no stated control"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_share("confidence", self.confidence)
        if not self.tolerance >= 0.0:
            raise ValueError(f"tolerance is at least 0: {self.tolerance}")
        if self.sample_ticks < 1 or self.look_ticks < 1 or self.look_ticks % self.sample_ticks:
            raise ValueError(f"looks fall on ends of samples: {self.sample_ticks}, {self.look_ticks}")

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return f"Kayenta-like Mann-Whitney, >= {self.min_samples} samples"

    def alarms(self, events: Counts, trials: Counts, events_control: Counts, trials_control: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.TwoArms`.

        A sample without trials in an arm is refused: the rule has no answer to it.
        """
        ours = _samples(events, trials, self.sample_ticks)
        theirs = _samples(events_control, trials_control, self.sample_ticks)
        alarms = np.full(events.shape[1], NO_ALARM, np.int64)
        running = np.arange(events.shape[1])
        per_look = self.look_ticks // self.sample_ticks
        for count in range(per_look, len(ours) + 1, per_look):
            if count < self.min_samples or not len(running):
                continue
            lower, estimate = shift_lower(ours[:count, running], theirs[:count, running], self.confidence)
            is_worse = lower > self.tolerance * np.abs(estimate)
            alarms[running[is_worse]] = count * self.sample_ticks - 1
            running = running[~is_worse]
        return alarms


def shift_lower(ours: Floats, theirs: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Return (lower end, estimate) of how much higher `ours` lie than `theirs`, each (rollouts,) float64.

    The lower end is the pairwise difference at which the rank sum, corrected by one half, stops to be significant;
    the lowest difference of all where even that is not (as wilcox.test does). The estimate is the median difference
    (Hodges and Lehmann 1963). Ties do not narrow the interval here.

    Args:
        ours: Samples of treatment, (samples, rollouts).
        theirs: Samples of control, (samples of control, rollouts).
        confidence: Of the two-sided interval, in (0, 1).
    """
    differences = (ours[:, None, :] - theirs[None, :, :]).reshape(-1, ours.shape[1])
    place = lower_place(len(ours), len(theirs), confidence)
    middle = (len(differences) - 1) / 2
    low, high = math.floor(middle), math.ceil(middle)
    ranked = np.partition(differences, sorted({place, low, high}), axis=0)
    return ranked[place], 0.5 * (ranked[low] + ranked[high])


def lower_place(count: int, count_control: int, confidence: float) -> int:
    """Return which of the ascending pairwise differences is the lower end, from 0.

    Just below the j-th difference (from 0), pairs - j differences lie above; it is the highest j at which
    `pairs - j - pairs/2 - 1/2 > z * sigma`.

    >>> lower_place(4, 4, 0.98), lower_place(6, 6, 0.98)
    (0, 2)
    """
    pairs = count * count_control
    sigma = math.sqrt(pairs * (count + count_control + 1) / 12.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    return max(math.ceil(pairs / 2.0 - 0.5 - z * sigma) - 1, 0)


def _samples(events: Counts, trials: Counts, length: int) -> Floats:
    """Return the rates of full samples, (samples, rollouts)."""
    check_counts(events, trials)
    x, n = _sums(events, length), _sums(trials, length)
    if not n.all():
        raise ValueError("a sample without trials has no rate")
    return np.asarray(x / n, np.float64)


def _sums(values: Counts, length: int) -> Ints:
    full = len(values) // length
    return np.asarray(values[: full * length].reshape(full, length, -1).sum(axis=1, dtype=np.int64))
