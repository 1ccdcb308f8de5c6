"""Latency against concurrent control: table C of the design (guardrails.md, section 13), request by request.

Lognormal latencies with sigma 0.7, a drift of 30 % that both arms share over the day, 50 requests of treatment and 450
of control a tick, 960 ticks, 200 runs, alpha 5 %, every request independent. The design's figures were measured with
other restart weights; where in the day a stage begins it does not say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from phase4.analysis import block, guardrails, latency
from phase4.analysis.columns import ArmColumns, ExceedColumns, LatencyColumns
from phase4.analysis.specs import MeanGuardrail, QuantileGuardrail, Terms
from phase4.analysis.thresholds import thresholds_ms
from phase4.analysis.verdict import Role, Unit
from tests.benchmarks.timing import Figure

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RUNS = 200
TICKS, DAY = 960, 2880
SIZES = (50, 450)
"""Requests of treatment and of control in a tick."""
MEDIAN_MS, SIGMA, DRIFT = 100.0, 0.7, 0.3
TERMS = Terms(alpha=0.05, beta=0.05, horizon_ticks=TICKS)
P95 = QuantileGuardrail(name="latency_p95", unit=Unit.REQUEST, role=Role.SIGNAL)
MEAN = MeanGuardrail(name="latency_mean")
FEWEST = 500
"""Requests below which a mean says nothing: a median of this many is the first moment that it may speak."""
WORLDS: dict[str, tuple[float, bool]] = {
    "equal arms": (1.0, False),
    "exactly 5 % slower": (1.05, False),
    "10 % slower": (1.1, False),
    "20 % slower": (1.2, False),
    "50 % slower": (1.5, False),
    "20 % slower from a random moment on": (1.2, True),
}
"""How much slower treatment is, and whether only from a moment of the first 90 % on."""
TABLE: dict[tuple[str, str], float] = {
    ("latency_p95", "equal arms"): 0.0,
    ("latency_p95", "exactly 5 % slower"): 0.01,
    ("latency_p95", "10 % slower"): 8750,
    ("latency_p95", "20 % slower"): 1200,
    ("latency_p95", "50 % slower"): 200,
    ("latency_p95", "20 % slower from a random moment on"): 2800,
    ("latency_mean", "equal arms"): 0.0,
    ("latency_mean", "exactly 5 % slower"): 0.03,
    ("latency_mean", "10 % slower"): 2050,
    ("latency_mean", "20 % slower"): 500,
    ("latency_mean", "50 % slower"): 500,
}
"""The design's figures: shares of false alarms, and medians of treatment's requests."""


def figures() -> Iterator[Figure]:
    """Return the figures of this page."""
    for number, (world, (factor, is_late)) in enumerate(WORLDS.items()):
        delays: dict[str, list[float]] = {P95.name: [], MEAN.name: []}
        for run in range(RUNS):
            for name, delay in alarms(np.random.default_rng([number, run]), factor, is_late=is_late).items():
                delays[name].append(delay)
        for name, seen in delays.items():
            yield _figure(name, world, seen, is_healthy=factor <= 1.05)


def _figure(name: str, world: str, delays: list[float], *, is_healthy: bool) -> Figure:
    table = TABLE.get((name, world))
    found = [delay for delay in delays if not math.isnan(delay)]
    alarmed = sum(not math.isinf(delay) for delay in found)
    if is_healthy:
        share = alarmed / len(found)
        limit = TERMS.alpha + 3.0 * math.sqrt(TERMS.alpha * (1.0 - TERMS.alpha) / len(found))
        return Figure(
            name=f"{name}, {world}: false alarms (the design: {table:.1%})",
            seen=f"{share:.1%}",
            bound=f"<= {limit:.1%}",
            is_met=share <= limit,
        )
    median = sorted(found)[len(found) // 2]
    text = "never" if math.isinf(median) else f"{median:,.0f}"
    bound = None if table is None else max(1.1 * table, table + SIZES[0])
    return Figure(
        name=f"{name}, {world}: median requests of treatment; found",
        seen=f"{text}; {alarmed / len(found):.0%} of {len(found)}",
        bound="" if bound is None else f"<= {bound:,.0f}",
        is_met=None if bound is None else median <= bound,
    )


def alarms(generator: np.random.Generator, factor: float, *, is_late: bool) -> dict[str, float]:
    """Return after how many requests of treatment each alarms; infinite = never, NaN = before a late defect."""
    jump = int(generator.integers(0, int(0.9 * TICKS))) if is_late else 0
    drift = 1.0 + DRIFT * np.sin(2.0 * np.pi * (np.arange(TICKS) + generator.integers(0, DAY)) / DAY)
    slower = np.where(np.arange(TICKS) >= jump, factor, 1.0)
    drawn = [
        MEDIAN_MS * (drift * scale)[:, None] * np.exp(SIGMA * generator.standard_normal((TICKS, size)))
        for scale, size in zip((slower, np.ones(TICKS)), SIZES, strict=True)
    ]
    treatment, control = arms(drawn)
    found = {}
    for spec in (P95, MEAN):
        crossed = block.run(spec, TERMS, guardrails.start(spec), 0, treatment, control).state.crossed_tick
        if crossed is None:
            found[spec.name] = math.inf
        else:
            found[spec.name] = math.nan if crossed < jump else float((crossed - jump + 1) * SIZES[0])
    return found


def arms(drawn: list[Floats]) -> tuple[ArmColumns, ArmColumns]:
    """Return both arms' columns from their latencies in ms, each (ticks, requests)."""
    sums = [_sums(values) for values in drawn]
    limit = thresholds_ms(sums[1], P95.quantile)
    made = []
    for values, columns, raised in zip(drawn, sums, (1.0 + P95.margin, 1.0), strict=True):
        above = (values > (limit * raised)[:, None]).sum(axis=1)
        zero = np.zeros(TICKS, np.int64)
        found = ExceedColumns(threshold_ms=limit * raised, requests=above, first=zero)
        size = np.full(TICKS, values.shape[1], np.int64)
        made.append(
            ArmColumns(
                ok=size, error=zero, timeout=zero, invalid=zero, late=zero, latencies=columns, exceed={P95.name: found}
            )
        )
    return made[0], made[1]


def _sums(values: Floats) -> LatencyColumns:
    places = np.ceil(latency.BINS_PER_OCTAVE * np.log2(values / 1000.0)).astype(np.int64)
    first, bins = int(places.min()), int(places.max() - places.min()) + 1
    flat = (places - first + np.arange(TICKS)[:, None] * bins).ravel()
    counts = np.bincount(flat, minlength=TICKS * bins).reshape(TICKS, bins)
    return LatencyColumns(first_bin=first, counts=counts, s1=values.sum(axis=1), s2=(values**2).sum(axis=1))
