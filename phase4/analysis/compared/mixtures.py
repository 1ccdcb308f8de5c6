"""The judge's grid of alternatives for many rollouts: without restarts, with its own, and with evenly spread ones."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import numpy as np

from phase4.analysis import eprocess
from phase4.analysis.columns import Floats, Ints
from phase4.analysis.compared.alarms import NO_ALARM, Counts, check_counts, check_share, first_alarms, totals
from phase4.analysis.paths import Bools, paths_rate, paths_ratio, restart_weights

Steps = Callable[[int, Ints], Floats]
"""(tick, rollouts still running) -> ln F_k, (alternatives, rollouts)."""

_DROP_EVERY = 240
"""Ticks after which rollouts that have alarmed are dropped."""


class Restarts(StrEnum):
    """How the weight of the mixture is put in over the stage."""

    NONE = "no restarts"
    """All of it before the first tick: good evidence from before a late defect must be outweighed."""
    JUDGE = "restarts every tick"
    """`eprocess.restart_weight`: what a guardrail does."""
    EVEN = "even restarts"
    """Half before the first tick, half spread evenly over restarts: what the tables of the design were made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a mixture restarts."""

    restarts: Restarts
    horizon_ticks: int
    """J, the planned length in ticks, at least 1."""
    every: int = 1
    """With even restarts: ticks between two of them."""

    def __post_init__(self) -> None:
        """Refuse what cannot be planned."""
        if self.horizon_ticks < 1 or self.every < 1:
            raise ValueError(f"lengths count ticks, at least 1: {self.horizon_ticks}, {self.every}")

    @property
    def name(self) -> str:
        """How it is called in a table."""
        if self.restarts is not Restarts.EVEN:
            return self.restarts.value
        return "restarts every tick, even" if self.every == 1 else f"restarts every {self.every} ticks, even"

    def weights(self, ticks: int) -> Floats:
        """Return the weight that is put in before each tick, (ticks,) float64; they sum to at most 1."""
        if self.restarts is Restarts.JUDGE:
            return restart_weights(0, ticks, self.horizon_ticks)
        weights = np.zeros(ticks)
        if self.restarts is Restarts.EVEN:
            weights[: self.horizon_ticks : self.every] = 0.5 / math.ceil(self.horizon_ticks / self.every)
            weights[:1] += 0.5
        else:
            weights[:1] = 1.0
        return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class GridMixture:
    """A rate against a limit: `eprocess` with any schedule of restarts.

    With `eprocess.PASS_RATIOS` it is the evidence that the rate is *below* the limit, and its first alarm the first
    moment at which the limit would be passed.
    """

    limit: float
    """p0, in (0, 0.5]."""
    alpha: float
    """Probability of a false alarm, in (0, 1)."""
    schedule: Schedule
    ratios: tuple[float, ...] = eprocess.FAIL_RATIOS
    """Alternatives as multiples of p0."""
    label: ClassVar[str] = "PFA"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_share("alpha", self.alpha)
        eprocess.rate_grid(self.limit, self.ratios)

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return f"grid mixture, {self.schedule.name}"

    def alarms(self, events: Counts, trials: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.OneArm`."""
        check_counts(events, trials)
        if self.schedule.restarts is Restarts.JUDGE and self.ratios == eprocess.FAIL_RATIOS:
            x, n = events.astype(np.int64, copy=False), trials.astype(np.int64, copy=False)
            log_e = paths_rate(x, n, self.limit, horizon_ticks=self.schedule.horizon_ticks)
            return first_alarms(log_e >= -math.log(self.alpha))
        grid = eprocess.rate_grid(self.limit, self.ratios)
        if self.schedule.restarts is Restarts.NONE:
            x, n = totals(events, trials)
            paths = (x * (a - b) + n * b for a, b in zip(grid.up, grid.down, strict=True))
            return first_alarms(_log_mean(paths, len(self.ratios)) >= -math.log(self.alpha))
        up, down = np.array(grid.up)[:, None], np.array(grid.down)[:, None]
        wide = np.broadcast_to(trials, events.shape)

        def steps(tick: int, running: Ints) -> Floats:
            x, n = events[tick, running], wide[tick, running]
            return np.asarray(x * (up - down) + n * down, np.float64)

        return mixture_alarms(
            np.broadcast_to(trials > 0, events.shape), steps, self.schedule, len(self.ratios), self.alpha
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionalMixture:
    """Treatment against control: the grid over the arm in which an error lands, whatever rate both arms share.

    The null is "treatment's rate is at most control's". Source: `eprocess.ratio_grid`.
    """

    alpha: float
    """Probability of a false alarm, in (0, 1)."""
    schedule: Schedule
    label: ClassVar[str] = "PFA"

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        check_share("alpha", self.alpha)

    @property
    def name(self) -> str:
        """What the method is called in a table."""
        return f"conditional mixture, {self.schedule.name}"

    def alarms(self, events: Counts, trials: Counts, events_control: Counts, trials_control: Counts) -> Ints:
        """Return the tick of each rollout's first alarm; see `alarms.TwoArms`."""
        check_counts(events, trials)
        check_counts(events_control, trials_control)
        x, n, y, m = (c.astype(np.int64, copy=False) for c in (events, trials, events_control, trials_control))
        if self.schedule.restarts is Restarts.JUDGE:
            horizon = self.schedule.horizon_ticks
            log_e = paths_ratio(x, n, y, m, max_ratio=1.0, horizon_ticks=horizon)
            return first_alarms(log_e >= -math.log(self.alpha))
        share = n / np.maximum(n + m, 1)
        usable = (n > 0) & (m > 0)
        if self.schedule.restarts is Restarts.NONE:
            paths = (np.cumsum(usable * _conditional(x, y, share, k), axis=0) for k in eprocess.FAIL_RATIOS)
            return first_alarms(_log_mean(paths, len(eprocess.FAIL_RATIOS)) >= -math.log(self.alpha))
        ratios = np.array(eprocess.FAIL_RATIOS)[:, None]
        share = np.broadcast_to(share, x.shape)

        def steps(tick: int, running: Ints) -> Floats:
            return _conditional(x[tick, running], y[tick, running], share[tick, running], ratios)

        return mixture_alarms(np.broadcast_to(usable, x.shape), steps, self.schedule, len(ratios), self.alpha)


def _conditional(events: Ints, events_control: Ints, share: Floats, ratio: Floats | float) -> Floats:
    """Return ln F of one ratio, or of each.

    With q the share, `ln(theta_k/theta0) = ln k - ln(1 + (k-1)q)`, and without ln k for an error of control.
    """
    down = -np.log1p((ratio - 1.0) * share)
    return np.asarray(events * (down + np.log(ratio)) + events_control * down, np.float64)


def _log_mean(paths: Iterable[Floats], count: int) -> Floats:
    """Return ln of the mean of exp over so many alternatives; the logarithms do not underflow.

    Without restarts a component that underflowed to 0 would never come back: at n = 1,000 18 % of the late defects were
    found so, and 46 % are.
    """
    return np.asarray(functools.reduce(np.logaddexp, paths) - math.log(count), np.float64)


def mixture_alarms(usable: Bools, steps: Steps, schedule: Schedule, alternatives: int, alpha: float) -> Ints:
    """Return the first tick at which each rollout's mixture reaches 1/alpha, (rollouts,) int64, -1 = none.

    The same recursion as `eprocess.FailEvidence.step`, whose weight counts ticks with data. A component that underflows
    to 0 revives at the next restart: not for a schedule without any.

    Args:
        usable: Where a tick has data, (ticks, rollouts).
        steps: ln F_k of a tick for the rollouts that are still running.
        schedule: When weight is put in.
        alternatives: How many there are, each of equal weight.
        alpha: Probability of a false alarm.
    """
    ticks, rollouts = usable.shape
    weights = schedule.weights(ticks) / alternatives
    alarms = np.full(rollouts, NO_ALARM, np.int64)
    running = np.arange(rollouts)
    e, read = np.zeros((alternatives, rollouts)), np.zeros(rollouts, np.int64)
    with np.errstate(over="ignore"):  # what is beyond the cap is cut to it
        for tick in range(ticks):
            now = usable[tick, running]
            factor = np.exp(np.minimum(steps(tick, running), eprocess.EXPONENT_CAP))
            e = np.where(now, np.minimum((e + weights[read]) * factor, eprocess.E_CAP), e)
            read = np.minimum(read + now, ticks - 1)
            is_new = (e.sum(axis=0) >= 1.0 / alpha) & (alarms[running] == NO_ALARM)
            alarms[running[is_new]] = tick
            if tick % _DROP_EVERY == _DROP_EVERY - 1:
                stays = alarms[running] == NO_ALARM
                running, e, read = running[stays], e[:, stays], read[stays]
                if not len(running):
                    break
    return alarms
