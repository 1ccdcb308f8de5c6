"""The thresholds of a quantile guardrail for many ticks at once: the same as `latency.threshold_ms` tick by tick."""

from __future__ import annotations

import numpy as np

from phase4.analysis import latency
from phase4.analysis.columns import Floats, LatencyColumns
from phase4.analysis.latency import Histogram


def thresholds_ms(control: LatencyColumns, quantile: float, *, before: Histogram = ()) -> Floats:
    """Return the threshold that control's latencies name before each tick, (ticks,) float64; NaN where too few.

    Args:
        control: Control's latencies in consecutive ticks.
        quantile: In (0, 1).
        before: Control's latencies of the entry's earlier ticks.
    """
    ticks, bins = control.counts.shape
    first = min([control.first_bin, *(place for place, _ in before)])
    last = max([control.first_bin + bins - 1, *(place for place, _ in before)])
    seen = np.zeros((ticks, last - first + 1), np.int64)
    for place, count in before:
        seen[0, place - first] += count
    offset = control.first_bin - first
    seen[1:, offset : offset + bins] += control.counts[:-1]
    below = np.cumsum(np.cumsum(seen, axis=0), axis=1)
    total = below[:, -1]
    places = (below >= quantile * total[:, None]).argmax(axis=1)
    edges = np.array([latency.edge_ms(first + place) for place in range(last - first + 1)])
    result: Floats = np.where(total >= latency.MIN_LATENCIES, edges[places], np.nan)
    return result
