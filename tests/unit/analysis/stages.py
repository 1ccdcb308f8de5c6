"""Simulated stages for calibration: 5,760 ticks, 2 days of 30 s, many rollouts at once."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TICKS = 5760
ALPHA = 0.05
LIMIT = 0.01
BOUND = math.log(1 / ALPHA)
DAY = 2880
"""Ticks of a day."""
HOUR = 120


def upper(share: float, rollouts: int) -> float:
    """Return the share plus three standard errors."""
    return share + 3 * math.sqrt(share * (1 - share) / rollouts)


def first_crossing(log_e: Floats) -> Ints:
    """Return the tick at which each rollout first reaches the bound; TICKS = never."""
    hit = log_e >= BOUND
    return np.where(hit.any(axis=0), hit.argmax(axis=0), TICKS)


def binomials(seed: int, rates: Floats, n: int, rollouts: int) -> Ints:
    """Return errors, (ticks, rollouts), of n requests a tick; rates are (ticks, 1) or (ticks, rollouts)."""
    return np.random.default_rng(seed).binomial(n, rates, (TICKS, rollouts))


def fixed(n: int) -> Ints:
    return np.full((TICKS, 1), n, np.int64)


def late_jump(seed: int, n: int, rollouts: int) -> tuple[Ints, Ints]:
    """Return (errors, tick of the jump): from 0.5 % to 1.5 % at a moment uniform in the first 90 % of the stage."""
    jump = np.random.default_rng(seed).integers(0, int(0.9 * TICKS), rollouts)
    rates = np.where(np.arange(TICKS)[:, None] < jump, 0.005, 0.015)
    return binomials(seed + 1, rates, n, rollouts), jump


def outage(seed: int, n: int, rollouts: int) -> tuple[Ints, Ints]:
    """Return errors of treatment and control: 0.5 % with a daily swing of half, one shared hour at 3 %."""
    t = np.arange(TICKS)[:, None]
    begin = np.random.default_rng(seed).integers(0, TICKS - HOUR, rollouts)
    calm = 0.005 * (1 + 0.5 * np.cos(2 * np.pi * t / DAY))
    rates = np.where((t >= begin) & (t < begin + HOUR), 0.03, calm)
    return binomials(seed + 1, rates, n, rollouts), binomials(seed + 2, rates, n, rollouts)
