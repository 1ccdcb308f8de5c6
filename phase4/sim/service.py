"""How long a synthetic service takes: a model of latency, laid out in cells.

Around the quantiles that some guardrail looks at, a cell is one bin of the store's histogram (32 to the octave); the
rest is in cells of a quarter of an octave, each with the mean and the mean square of what it holds. Numbers of requests
in cells are drawn exactly; sums are exact in mean, and vary by less than 1 % too little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from phase4.analysis.latency import BINS_PER_OCTAVE, MIN_LATENCIES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COARSE = 8
"""Bins in a cell away from the quantiles."""
TAIL = 1e-9
"""Mass left out of the grid at either end goes to the outermost cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LognormalLatency:
    """The logarithm of a latency is normal."""

    median_ms: float
    sigma: float
    """Standard deviation of the natural logarithm."""

    def quantile_ms(self, share: float) -> float:
        """Return the latency, in ms, below which a share of them lies."""
        return self.median_ms * math.exp(_score(share) * self.sigma)

    def bin_at(self, z: float, factor: float) -> float:
        """Return where a standard normal quantile lies, in bins, in a service slowed by a factor."""
        log_s = math.log(self.median_ms / 1000.0 * factor) + z * self.sigma
        return BINS_PER_OCTAVE * log_s / math.log(2.0)

    def below(self, bins: Floats, factor: Floats | float) -> Floats:
        """Return the share of latencies at most so long.

        Args:
            bins: Latencies as places on the histogram's axis, 32 to the octave, 0 = one second; any shape.
            factor: By which the service is slowed; a number or of the same shape.
        """
        return _normal(self._scores(bins, factor))

    def part(self, bins: Floats, factor: float, power: int) -> Floats:
        """Return the part of the mean of latency (in ms) to a power that lies below each place, as `below` does."""
        log_ms = math.log(self.median_ms * factor)
        whole = math.exp(power * log_ms + 0.5 * (power * self.sigma) ** 2)
        return whole * _normal(self._scores(bins, factor) - power * self.sigma)

    def _scores(self, bins: Floats, factor: Floats | float) -> Floats:
        log_ms = bins * (math.log(2.0) / BINS_PER_OCTAVE) + math.log(1000.0)
        scores: Floats = (log_ms - math.log(self.median_ms) - np.log(factor)) / self.sigma
        return scores


@dataclass(frozen=True, slots=True)
class Shares:
    """What falls into each cell at one slowdown, every array (cells,) float64."""

    p: Floats
    mean: Floats
    """Mean latency in the cell, in ms."""
    square: Floats
    """Mean of its square, in ms²."""


class Cells:
    """The cells of one scenario's latencies."""

    def __init__(self, model: LognormalLatency, edges: Ints, low: int, high: int) -> None:
        """Lay out cells between edges; the bins low..high-1, in the histogram's numbers, are cells of their own."""
        self._model = model
        self.edges = edges
        """Inner edges, (cells - 1,) int64, in bins; the first and last cell reach to 0 and to infinity."""
        self.low, self.high = low, high
        self.first = int(np.searchsorted(edges, low)) + 1
        """Place of the cell that holds bin low + 1, the first fine one."""
        self._shares = lru_cache(maxsize=4096)(self._make)

    @property
    def fine(self) -> int:
        """Number of cells that are one bin."""
        return self.high - self.low

    def shares(self, factor: float) -> Shares:
        """Return what falls into each cell of a service slowed by a factor."""
        return self._shares(factor)

    def _make(self, factor: float) -> Shares:
        edges = self.edges.astype(np.float64)
        steps = [np.diff(self._model.below(edges, factor), prepend=0.0, append=1.0)]
        for power in (1, 2):
            whole = float(self._model.part(np.array([np.inf]), factor, power)[0])
            steps.append(np.diff(self._model.part(edges, factor, power), prepend=0.0, append=whole))
        p = np.clip(steps[0], 0.0, 1.0)
        mean, square = (np.divide(step, p, out=np.zeros(len(p)), where=p > 0.0) for step in steps[1:])
        return Shares(p / p.sum(), mean, square)

    def histograms(self, counts: Ints) -> Ints:
        """Return numbers in bins of numbers in cells, (ticks, fine + 2): below the fine bins, each, and above."""
        first, last = self.first, self.first + self.fine
        below = counts[:, :first].sum(axis=1, keepdims=True)
        above = counts[:, last:].sum(axis=1, keepdims=True)
        return np.hstack([below, counts[:, first:last], above])

    def share_above(self, place: Floats, cell_bin: Ints, factor: Floats) -> Floats:
        """Return which share of a bin's latencies lies above a place in it, (ticks,) float64.

        Args:
            place: (ticks,) on the histogram's axis.
            cell_bin: (ticks,) the bin that holds it: (bin - 1, bin].
            factor: (ticks,) slowdown.
        """
        upper = cell_bin.astype(np.float64)
        low, at, high = (self._model.below(each, factor) for each in (upper - 1.0, place, upper))
        share = np.divide(high - at, high - low, out=np.zeros(len(at)), where=high > low)
        return np.clip(share, 0.0, 1.0)


def lay_out(model: LognormalLatency, quantiles: Iterable[tuple[float, float]], slowdowns: tuple[float, float]) -> Cells:
    """Return cells that are fine wherever a threshold can lie.

    Args:
        model: Of the latencies.
        quantiles: (quantile, margin) of each guardrail that looks at one.
        slowdowns: (least, greatest) slowdown of control during the run.
    """
    pairs = list(quantiles)
    ranges = [(order_range(q), margin) for q, margin in pairs]
    lows = [model.bin_at(_score(low), slowdowns[0]) for (low, _), _ in ranges]
    highs = [
        model.bin_at(_score(high), slowdowns[1]) + BINS_PER_OCTAVE * math.log2(1.0 + margin)
        for (_, high), margin in ranges
    ]
    low, high = math.floor(min(lows)) - 1, math.ceil(max(highs)) + 2
    ends = (
        min(low, math.floor(model.bin_at(_score(TAIL), slowdowns[0]))) - COARSE,
        max(high, math.ceil(model.bin_at(_score(1.0 - TAIL), slowdowns[1]))) + COARSE,
    )
    edges = [*[*range(low, ends[0], -COARSE)][::-1], *range(low + 1, high), *range(high, ends[1], COARSE)]
    return Cells(model, np.array(edges, np.int64), low, high)


def order_range(quantile: float, *, risk: float = 1e-9) -> tuple[float, float]:
    """Return between which true quantiles a sample's lies, but for a risk on either side.

    The sample is as small as a threshold may rest on: `latency.MIN_LATENCIES`. Larger ones lie closer.
    """
    size = MIN_LATENCIES
    rank = math.ceil(quantile * size)
    return _solve(lambda u: _at_least(size, rank, u) - risk), _solve(lambda u: _at_least(size, rank, u) - (1.0 - risk))


def _at_least(size: int, rank: int, u: float) -> float:
    """Return the probability that at least `rank` of `size` uniform numbers are below u."""
    few = math.fsum(math.comb(size, k) * u**k * (1.0 - u) ** (size - k) for k in range(rank))
    many = math.fsum(math.comb(size, k) * u**k * (1.0 - u) ** (size - k) for k in range(rank, size + 1))
    return many if many < 0.5 else 1.0 - few


def _solve(rises: Callable[[float], float]) -> float:
    """Return where a rising function of a share crosses 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rises(middle) < 0.0 else (low, middle)
    return 0.5 * (low + high)


def _score(share: float) -> float:
    return NormalDist().inv_cdf(min(max(share, TAIL), 1.0 - TAIL))


_ERFC = np.frompyfunc(math.erfc, 1, 1)


def _normal(scores: Floats) -> Floats:
    """Return the standard normal distribution function, of any shape."""
    return np.asarray(0.5 * _ERFC(-scores / math.sqrt(2.0)), np.float64)
