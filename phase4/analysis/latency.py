"""Latencies as they reach a judge: a sparse histogram, and the threshold that a quantile of it names.

The grid is that of exponential histograms of scale 5 (OpenTelemetry) over seconds: bin b holds
(2^((b-1)/32), 2^(b/32)].
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence

BINS_PER_OCTAVE = 32
MIN_LATENCIES = 100
"""Below so many latencies of control no threshold is named."""
FAIL_RATIOS = (1.03, 1.08, 1.2, 1.5, 2.0, 4.0, 10.0)
"""Alternatives of a quantile's FAIL side: how many times as often treatment is above the threshold."""
PASS_RATIOS = tuple(1.0 / ratio for ratio in FAIL_RATIOS)
_PAIR = struct.Struct("<hI")

Histogram = tuple[tuple[int, int], ...]
"""Pairs of bin and count, by bin."""


def unpack(packed: bytes) -> Histogram:
    """Return the pairs (bin, count) of a packed histogram: i16 and u32, little endian."""
    return tuple(_PAIR.iter_unpack(packed))


def pack(pairs: Iterable[tuple[int, int]]) -> bytes:
    """Return the packed form of pairs (bin, count)."""
    return b"".join(_PAIR.pack(place, count) for place, count in pairs)


def merge(one: Histogram, other: Histogram) -> Histogram:
    """Return the histogram of both."""
    if not one or not other:
        return one or other
    total = dict(one)
    for place, count in other:
        total[place] = total.get(place, 0) + count
    return tuple(sorted(total.items()))


def size(histogram: Histogram) -> int:
    """Return how many latencies a histogram holds."""
    return sum(count for _, count in histogram)


def edge_ms(place: int) -> float:
    """Return the upper edge of a bin, in ms.

    >>> edge_ms(-32), edge_ms(0)
    (500.0, 1000.0)
    """
    return 1000.0 * math.exp2(place / BINS_PER_OCTAVE)


def threshold_ms(histogram: Histogram, quantile: float) -> float | None:
    """Return the upper edge, in ms, of the bin that holds a quantile; None below `MIN_LATENCIES` latencies.

    Args:
        histogram: Latencies.
        quantile: In (0, 1).
    """
    total = size(histogram)
    if total < MIN_LATENCIES:
        return None
    wanted, seen = quantile * total, 0
    for place, count in histogram:
        seen += count
        if seen >= wanted:
            return edge_ms(place)
    raise AssertionError("a quantile below 1 lies in a bin")


def above(latencies_ms: Sequence[float], limit_ms: float) -> int:
    """Return how many latencies are above a limit."""
    return sum(latency > limit_ms for latency in latencies_ms)


Thresholds = Mapping[str, tuple[float, float]]
"""Guardrail -> thresholds in ms of (treatment, control) for the next tick."""
