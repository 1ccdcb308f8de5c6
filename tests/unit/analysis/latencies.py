"""Ticks of two arms whose requests take a while: each request is another user's first."""

import numpy as np

from phase4.analysis import latency
from phase4.analysis.columns import ArmColumns, ExceedColumns, LatencyColumns
from phase4.analysis.thresholds import thresholds_ms

NAME = "latency_p95"


def latency_columns(values):
    """Return the columns of one array of latencies in ms for each tick."""
    packed = []
    for each in values:
        places, counts = np.unique(np.ceil(32 * np.log2(np.maximum(each, 1e-3) / 1000)), return_counts=True)
        packed.append(latency.pack(zip(places.astype(int).tolist(), counts.tolist(), strict=True)))
    s1 = np.array([float(np.sum(each)) for each in values])
    s2 = np.array([float(np.sum(np.square(each))) for each in values])
    return LatencyColumns.of_histograms(packed, s1, s2)


def arms(seed, *, ticks=100, n=50, n_control=None, slower=1.0, sigma=0.6, margin=0.05, quantile=0.95, from_tick=0):
    """Return (treatment, control): lognormal latencies around 50 ms, treatment's `slower` times as long."""
    generator = np.random.default_rng(seed)
    sizes = generator.poisson(n, ticks), generator.poisson(n if n_control is None else n_control, ticks)
    ours, theirs = ([generator.lognormal(np.log(50.0), sigma, size) for size in each] for each in sizes)
    ours = [each * (slower if tick >= from_tick else 1.0) for tick, each in enumerate(ours)]
    control = latency_columns(theirs)
    limits = thresholds_ms(control, quantile)
    return (
        _arm(sizes[0], latency_columns(ours), ours, limits * (1 + margin)),
        _arm(sizes[1], control, theirs, limits),
    )


def _arm(size, latencies, values, limits):
    above = np.array([int((each > limit).sum()) for each, limit in zip(values, limits, strict=True)], np.int64)
    zero, size = np.zeros(len(size), np.int64), size.astype(np.int64)
    return ArmColumns(
        ok=size,
        error=zero,
        timeout=zero,
        invalid=zero,
        late=zero,
        units=size,
        crossed=zero,
        error_risk_n=size,
        error_risk_x=zero,
        error_first_n=size,
        error_first_x=zero,
        latencies=latencies,
        exceed={NAME: ExceedColumns(threshold_ms=limits, requests=above, first=above)},
    )
