"""First alarms of thousands of rollouts whose ticks all have the same number of trials: for calibration and planning.

The evidence is that of `eprocess`. With a fixed number of trials F_k depends on the events alone, so that it is looked
up and never computed. Where ticks without events are most, they are skipped: all rollouts share what such ticks do,

    E_k = A_i * (D_k + W_i)      A_i = F_k(0)^(i+1), W_i = sum of w_j / F_k(0)^j over the ticks j <= i of a block

and D_k changes with an event only: D_k := D_k*G + W_i*(G - 1), G = F_k(x)/F_k(0). Nothing is subtracted, so that
as many digits hold as in the scalar form. Events come in blocks, and a rollout that has alarmed is dropped after its
block: it is neither drawn nor judged any more. Within 1e-9 of the bound the scalar form decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from phase4.analysis import dispersion
from phase4.analysis.columns import Floats, Ints
from phase4.analysis.eprocess import EXPONENT_CAP, FAIL_RATIOS, FailEvidence
from phase4.analysis.paths import restart_weights

Draw = Callable[[int, int], npt.NDArray[Any]]
"""(ticks, rollouts) -> the events of the next ticks of that many rollouts, as (ticks, rollouts) whole numbers."""

BLOCK = 64
"""Ticks that are drawn at once: 5 MB of 10,000 rollouts."""
NEAR = 1e-9
SPARSE = 0.25
"""Below this share of ticks with events it is quicker to skip those without. Measured with 10,000 rollouts: at a share
of 0.28 both ways take 70 us a tick."""
_SMALLEST = -500.0
"""ln of the smallest A_i that is used; e^-500 is far from underflow."""


def first_alarms(
    draw: Draw,
    *,
    ticks: int,
    rollouts: int,
    trials: int,
    limit: float,
    alpha: float,
    horizon_ticks: int | None,
    phi: float = 1.0,
) -> Ints:
    """Return the tick at which each rollout's FAIL evidence of a rate first reaches 1/alpha, (rollouts,); -1 = never.

    Args:
        draw: What gives the events; it is asked for the rollouts that are still running, in their order.
        ticks: Length of a rollout.
        rollouts: How many.
        trials: Trials of every tick, at least 1.
        limit: p0, in (0, 0.5].
        alpha: In (0, 1).
        horizon_ticks: Planned length in ticks, None = unknown.
        phi: Overdispersion that the evidence allows for, at least 1.

    Raises:
        ValueError: an argument is outside its range, or events are not between 0 and the trials.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha lies in (0, 1): {alpha}")
    if trials < 1:
        raise ValueError(f"a tick has at least 1 trial: {trials}")
    judge = _Judge(rollouts, trials, limit, 1.0 / alpha, horizon_ticks, phi)
    weights = restart_weights(0, ticks, horizon_ticks)
    for begin in range(0, ticks, BLOCK):
        if not len(judge.running):
            break
        size = min(BLOCK, ticks - begin)
        judge.read(draw(size, len(judge.running)), begin, weights[begin : begin + size])
    return judge.alarms


class _Judge:
    """The evidence of the rollouts that run, in their order."""

    def __init__(
        self, rollouts: int, trials: int, limit: float, bound: float, horizon_ticks: int | None, phi: float
    ) -> None:
        self.alarms = np.full(rollouts, -1, np.int64)
        self.running = np.arange(rollouts)
        self._bound, self._horizon_ticks, self._trials = bound, horizon_ticks, trials
        self._grid = dispersion.rate_grid(limit, phi, FAIL_RATIOS)
        x = np.arange(trials + 1)[:, None]
        exponents = x * np.array(self._grid.up) + (trials - x) * np.array(self._grid.down)
        self._exponents, self._table = exponents, np.exp(np.minimum(exponents, EXPONENT_CAP))
        self._gains = np.exp(np.minimum(exponents - exponents[0], EXPONENT_CAP))
        self._e = np.zeros((rollouts, len(FAIL_RATIOS)))
        self._row = np.dtype((np.void, self._e.itemsize * len(FAIL_RATIOS)))
        self._count = 0
        """How many have alarmed."""
        self._past: list[tuple[Ints, npt.NDArray[Any]]] = []
        """(rollouts that ran, their events) of each block, in the smallest type that holds them."""

    def read(self, events: npt.NDArray[Any], begin: int, weights: Floats) -> None:
        """Read a block that begins at a tick, (ticks, running), with the restart weights of its ticks."""
        small = events.astype(np.min_scalar_type(self._trials))
        self._past.append((self.running, small))
        weights, has_alarmed = weights / len(FAIL_RATIOS), self._count
        with np.errstate(over="ignore", invalid="ignore"):  # of rollouts that have alarmed
            if self._may_skip(events, weights):
                self._skip(events, small != 0, begin, weights)
            else:
                self._check(events)
                self._walk(events, begin, weights)
        if self._count > has_alarmed:
            runs = self.alarms[self.running] < 0
            self.running, self._e = self.running[runs], self._e[runs]

    def _check(self, events: npt.NDArray[Any]) -> None:
        """Refuse impossible events."""
        # without a sign, -1 is the largest of all
        if events.size and events.astype(np.int64, copy=False).view(np.uint64).max() > self._trials:
            raise ValueError("events lie between 0 and trials in every tick")

    def _may_skip(self, events: npt.NDArray[Any], weights: Floats) -> bool:
        """Return whether ticks without events are most, can raise no alarm, and keep far from underflow."""
        if np.count_nonzero(events[0]) > SPARSE * events.shape[1]:
            return False
        falls = self._exponents[0]
        grown = (self._bound + len(FAIL_RATIOS) * weights[0]) * math.exp(falls.max())
        return bool(grown < self._bound * (1.0 - NEAR) and falls.min() * len(events) > _SMALLEST)

    def _walk(self, events: npt.NDArray[Any], begin: int, weights: Floats) -> None:
        """Read every tick of every rollout."""
        e = self._e
        factors, total, ones = np.empty_like(e), np.empty(len(e)), np.ones(e.shape[1])
        share = self._bound * (1.0 - NEAR) / e.shape[1]
        for tick, (now, weight) in enumerate(zip(events, weights, strict=True)):
            np.take(self._table, now, axis=0, out=factors, mode="clip")
            e += weight
            e *= factors
            if e.max(initial=0.0) < share:
                continue  # a sum that reaches the bound has a part that reaches its share: seldom, and quicker to see
            np.dot(e, ones, out=total)
            if total.max() >= self._bound * (1.0 - NEAR):
                self._note(np.arange(len(e)), total, begin + tick)
                e[self.alarms[self.running] >= 0] = 0.0

    def _skip(self, events: npt.NDArray[Any], has_events: npt.NDArray[np.bool_], begin: int, weights: Floats) -> None:
        """Read the ticks with events only, (ticks, running) with where there are any."""
        falls = np.exp(np.arange(len(events) + 1)[:, None] * self._exponents[0])
        put_in = np.cumsum(weights[:, None] / falls[:-1], axis=0)
        shares = (put_in * falls[1:]).sum(axis=1)
        more = put_in[:, None] * (self._gains - 1.0)
        d, seen = self._e, []
        rows = d.view(self._row).ravel()  # a row is set as one value: half the time of an indexed assignment
        for tick, now in enumerate(events):
            places = has_events[tick].nonzero()[0]
            x = now.take(places)
            e = d.take(places, axis=0)
            e *= self._gains.take(x, axis=0, mode="clip")
            e += more[tick].take(x, axis=0, mode="clip")
            rows[places] = e.view(self._row).ravel()
            total = e.dot(falls[tick + 1])
            total += shares[tick]
            seen.append((places, x, total))
        self._check(np.concatenate([x for _, x, _ in seen]))
        # what comes after a rollout's alarm is read as well, and changes nothing: it keeps its first
        if np.concatenate([total for _, _, total in seen]).max(initial=0.0) >= self._bound * (1.0 - NEAR):
            for tick, (places, _, total) in enumerate(seen):
                self._note(places, total, begin + tick)
        d += put_in[-1]
        d *= falls[-1]

    def _note(self, places: Ints, total: Floats, tick: int) -> None:
        """Note the alarms of a tick; a rollout keeps its first."""
        high = np.flatnonzero(~(total < self._bound * (1.0 - NEAR)))
        for place, e in zip(places[high].tolist(), total[high].tolist(), strict=True):
            rollout = self.running[place]
            is_clear = e > self._bound * (1.0 + NEAR) or math.isnan(e)
            if self.alarms[rollout] < 0 and (is_clear or self._decide(rollout, tick)):
                self.alarms[rollout] = tick
                self._count += 1

    def _decide(self, rollout: int, tick: int) -> bool:
        """Return what the scalar form says of a rollout at a tick."""
        evidence, left = FailEvidence.start(), tick + 1
        for running, events in self._past:
            own = events[:left, np.searchsorted(running, rollout)].tolist()
            left -= len(own)
            for x in own:
                evidence = evidence.step(self._grid, x, self._trials - x, self._horizon_ticks)
        return evidence.log_e >= math.log(self._bound)
