"""Faults: what goes wrong, for whom, and how it grows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class FaultKind(StrEnum):
    """What gets worse."""

    ERROR = "error"
    LATENCY = "latency"


class FaultArm(StrEnum):
    """Whom a fault hits. `both` is ambient: it has nothing to do with the feature."""

    TREATMENT = "treatment"
    CONTROL = "control"
    BOTH = "both"


class FaultShape(StrEnum):
    """How a fault grows."""

    STEP = "step"
    RAMP = "ramp"
    INTERMITTENT = "intermittent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """More errors than usual, or slower answers, from one moment on."""

    id: str
    arm: FaultArm
    at_ms: int
    """Start, in ms since the start of the run."""
    for_ms: int | None
    """How long it lasts, in ms; None = to the end."""
    add: float = 0.0
    """ERROR: probability, 0-1, that an outcome that would have been fine fails, at full level."""
    kind: FaultKind = FaultKind.ERROR
    factor: float = 1.0
    """LATENCY: by which every latency is multiplied, above 0, at full level."""
    user_class: str | None = None
    """ERROR: whose requests it hits; None = everybody's."""
    shape: FaultShape = FaultShape.STEP
    over_ms: int = 0
    """Ramp: time until the full level is reached, in ms."""
    period_ms: int = 0
    """Intermittent: length of one on-off period, in ms."""
    duty: float = 1.0
    """Intermittent: share of the period, 0-1, for which it is on; the period begins with on."""

    def level(self, t_ms: Ints) -> Floats:
        """Return the share of the full level at each moment.

        Args:
            t_ms: (n,) int64, ms since the start of the run.

        Returns:
            (n,) float64, 0-1.
        """
        since = t_ms - self.at_ms
        active = since >= 0
        if self.for_ms is not None:
            active &= since < self.for_ms
        match self.shape:
            case FaultShape.STEP:
                share = np.ones(len(t_ms))
            case FaultShape.RAMP:
                share = np.clip((since + 1) / max(self.over_ms, 1), 0.0, 1.0)
            case _:  # INTERMITTENT
                share = ((since % self.period_ms) < self.duty * self.period_ms).astype(np.float64)
        return np.where(active, share, 0.0)


def failure_probability(faults: Iterable[Fault], arm: FaultArm, t_ms: Ints, *, user_class: str | None = None) -> Floats:
    """Return the probability that an otherwise fine outcome of an arm fails, (n,) float64.

    Args:
        faults: All faults of the world; those of the arm and ambient ones add up, at most to 1.
        arm: TREATMENT or CONTROL.
        t_ms: (n,) int64, ms since the start of the run.
        user_class: Whose outcomes; faults of other classes do not count. None = of those in no class.
    """
    total = np.zeros(len(t_ms))
    for fault in faults:
        is_theirs = fault.user_class is None or fault.user_class == user_class
        if is_theirs and fault.kind is FaultKind.ERROR and fault.arm in {arm, FaultArm.BOTH}:
            total += fault.add * fault.level(t_ms)
    return np.clip(total, 0.0, 1.0)


def slowdown(faults: Iterable[Fault], arm: FaultArm, t_ms: Ints) -> Floats:
    """Return by which factor an arm's latencies are multiplied, (n,) float64, above 0.

    Args:
        faults: All faults of the world; the factors of those of the arm and of ambient ones multiply. Below its full
            level a fault of factor f has 1 + (f - 1) * level.
        arm: TREATMENT or CONTROL.
        t_ms: (n,) int64, ms since the start of the run.
    """
    total = np.ones(len(t_ms))
    for fault in faults:
        if fault.kind is FaultKind.LATENCY and fault.arm in {arm, FaultArm.BOTH}:
            total *= 1.0 + (fault.factor - 1.0) * fault.level(t_ms)
    return total


def is_slower(faults: Iterable[Fault], t_ms: Ints) -> npt.NDArray[np.bool_]:
    """Return when treatment answers more slowly than control, (n,) bool."""
    every = tuple(faults)
    slower: npt.NDArray[np.bool_] = slowdown(every, FaultArm.TREATMENT, t_ms) > slowdown(every, FaultArm.CONTROL, t_ms)
    return slower
