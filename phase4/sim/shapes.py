"""Traffic by the clock: requests per second at each moment."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phase4.durations import DAY_MS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same rate at every moment."""

    rate: float
    """Requests per second, above 0."""

    def at(self, t_ms: Ints) -> Floats:
        """Return requests per second, (n,) float64, at moments (n,) int64 in ms since the Unix epoch."""
        return np.full(len(t_ms), self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diurnal:
    """A daily swing around a mean: `rate * (1 + swing * cos(...))`, highest at `peak_ms` after midnight UTC."""

    rate: float
    """Mean requests per second, above 0."""
    swing: float
    """Half the difference between highest and lowest over the mean, 0-1."""
    peak_ms: int
    """Time of the highest rate, in ms after midnight UTC."""

    def at(self, t_ms: Ints) -> Floats:
        """Return requests per second, (n,) float64, at moments (n,) int64 in ms since the Unix epoch."""
        angle = 2.0 * math.pi * ((t_ms - self.peak_ms) % DAY_MS) / DAY_MS
        return self.rate * (1.0 + self.swing * np.cos(angle))


Shape = Constant | Diurnal
