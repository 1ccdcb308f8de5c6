"""The judge's kernel: a restarted grid-mixture e-process, one tick at a time.

Null hypothesis: "the rate is at most p0 at every tick of the stage". A tick brings n trials with x events. For each of
the alternatives k a likelihood ratio F_k is kept, mixed with weight w_k, and restarted at every tick with weight r_t:

    E_k := min((E_k + w_k * r_t) * F_k(x, n), 1e300)         E = sum of E_k         FAIL when E >= 1/alpha

The restart weights sum to at most 1 and r_t is added *before* tick t is read, so that `E_t + 1 - sum of r_j` is a
nonnegative supermartingale that starts at 1. By Ville's inequality (1939) the probability that E ever reaches 1/alpha
under the null is at most alpha, at any looking schedule and any stopping rule. It is a weighted Shiryaev-Roberts
e-detector (Shin, Ramdas and Rinaldo 2022, arXiv:2203.03532) whose weights sum to 1, so it bounds the probability of a
false alarm over the whole stage. Only the *mean* rate of a tick has to be at most p0 (AM-GM over unequal trials).

A grid of alternatives and not one: Wald's ratio for "1 % against 2 %" is blind to 1.5 %. This module is plain Python;
`phase4.analysis.block` has the same kernel for many ticks at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

FAIL_RATIOS = (1.15, 1.35, 1.6, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Alternatives of the FAIL side, as multiples of p0 or of the ratio r0."""

PASS_RATIOS = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9)
"""Alternatives of the PASS side, as multiples of p0 or of the pass ratio."""

E_CAP = 1e300
LOG_E_CAP = math.log(E_CAP)
EXPONENT_CAP = 700.0
"""exp(700) is finite; a larger exponent is clipped, which only lowers E."""


@lru_cache(maxsize=4096)
def restart_weight(index: int, horizon_ticks: int | None) -> float:
    """Return r_t, the share of the evidence budget that is put in at one tick with data.

    Args:
        index: Number of ticks with data since the stage was entered, from 0.
        horizon_ticks: J, the planned length of the stage in ticks, at least 1; None if unknown.

    The series never ends, so that a stage that waits a week for an approval does not go blind; its sum is at most 1
    (a telescoping part g(j) - g(j+1), g(j) = 1/(1 + ln j), and for a known length 3/8 spread evenly over it).

    >>> restart_weight(0, 5760)
    0.5
    """
    if index == 0:
        return 0.5
    tail = 1.0 / (1.0 + math.log(index)) - 1.0 / (1.0 + math.log(index + 1))
    if horizon_ticks is None:
        return 0.5 * tail
    even = 3.0 / (8.0 * horizon_ticks) if index <= horizon_ticks else 0.0
    return even + 0.125 * tail


@dataclass(frozen=True, slots=True)
class Grid:
    """Log-likelihood increments of the alternatives: ln F_k = events * up[k] + others * down[k].

    For a rate, `events` and `others` are the bad and the good outcomes of treatment. For a ratio, they are the bad
    outcomes of treatment and of control.
    """

    up: tuple[float, ...]
    down: tuple[float, ...]


@lru_cache(maxsize=256)
def rate_grid(p0: float, ratios: tuple[float, ...]) -> Grid:
    """Return the grid for "the rate is at most p0" (ratios above 1) or "at least p0" (below 1).

    Args:
        p0: The limit, 0 < p0 <= 0.5.
        ratios: Alternatives as multiples of p0; p1 is cut off at 0.95.

    Raises:
        ValueError: p0 is outside (0, 0.5].
    """
    if not 0.0 < p0 <= 0.5:
        raise ValueError(f"a limit lies in (0, 0.5]: {p0}")
    p1 = tuple(min(p0 * ratio, 0.95) for ratio in ratios)
    return Grid(
        up=tuple(math.log(p / p0) for p in p1),
        down=tuple(math.log1p(-p) - math.log1p(-p0) for p in p1),
    )


@lru_cache(maxsize=65536)
def ratio_grid(trials: int, trials_control: int, r0: float, ratios: tuple[float, ...]) -> Grid:
    """Return the grid for "treatment's rate is at most r0 times control's", given the trials of one tick.

    Conditioned on an error, it lands in treatment with probability theta0 = r0*n_T/(r0*n_T + n_C), whatever the rate
    that both arms share. Exact for r0 = 1 (Hoeffding 1963: the hypergeometric is below the binomial in convex order);
    for r0 != 1 exact for the odds ratio and first order for the ratio of small rates. Idea: the conditioning of
    Lindon and Malek for inhomogeneous Bernoulli processes.

    Args:
        trials: Trials of treatment in this tick, at least 1.
        trials_control: Trials of control in this tick, at least 1.
        r0: The ratio of the null, above 0.
        ratios: Alternatives as multiples of r0.
    """
    weight = r0 * trials
    theta0 = weight / (weight + trials_control)
    up, down = [], []
    for ratio in ratios:
        theta = ratio * weight / (ratio * weight + trials_control)
        up.append(math.log(theta / theta0))
        down.append(math.log1p(-theta) - math.log1p(-theta0))
    return Grid(up=tuple(up), down=tuple(down))


@dataclass(frozen=True, slots=True)
class FailEvidence:
    """State of the FAIL side: E_k for each alternative, and how many ticks with data it has read."""

    e: tuple[float, ...]
    ticks: int

    @classmethod
    def start(cls, alternatives: int = len(FAIL_RATIOS)) -> Self:
        """Return the state before the first tick: no evidence."""
        return cls((0.0,) * alternatives, 0)

    def step(self, grid: Grid, events: int, others: int, horizon_ticks: int | None) -> Self:
        """Return the state after one tick with data.

        The restart weight is added before the tick is read; reading first would break the bound silently.
        """
        restart = restart_weight(self.ticks, horizon_ticks) / len(self.e)
        return type(self)(
            tuple(
                min((e + restart) * math.exp(min(events * up + others * down, EXPONENT_CAP)), E_CAP)
                for e, up, down in zip(self.e, grid.up, grid.down, strict=True)
            ),
            self.ticks + 1,
        )

    @property
    def log_e(self) -> float:
        """Natural logarithm of E; minus infinity before any data."""
        total = math.fsum(self.e)
        return min(math.log(total), LOG_E_CAP) if total > 0.0 else -math.inf


@dataclass(frozen=True, slots=True)
class PassEvidence:
    """State of the PASS side: ln F_k summed since the entry. All weight is put in at tick 0 and nothing restarts."""

    log_f: tuple[float, ...]

    @classmethod
    def start(cls, alternatives: int = len(PASS_RATIOS)) -> Self:
        """Return the state before the first tick."""
        return cls((0.0,) * alternatives)

    def step(self, grid: Grid, events: int, others: int) -> Self:
        """Return the state after one tick."""
        return type(self)(
            tuple(
                log_f + events * up + others * down
                for log_f, up, down in zip(self.log_f, grid.up, grid.down, strict=True)
            )
        )

    @property
    def log_e(self) -> float:
        """Natural logarithm of E_pass: the mean of the F_k."""
        top = max(self.log_f)
        return top + math.log(math.fsum(math.exp(f - top) for f in self.log_f) / len(self.log_f))
