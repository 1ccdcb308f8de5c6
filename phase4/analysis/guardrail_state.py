"""What a guardrail remembers of its stage."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from phase4.analysis import eprocess, latency
from phase4.analysis.dispersion import Dispersion
from phase4.analysis.eprocess import FailEvidence, PassEvidence
from phase4.analysis.latency import Histogram
from phase4.analysis.moments import Moments
from phase4.analysis.specs import (
    GuardrailSpec,
    QuantileGuardrail,
    RateGuardrail,
    RatioGuardrail,
)
from phase4.analysis.verdict import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailState:
    """Everything a guardrail remembers of its stage. Frozen, small, equal on replay."""

    fail: FailEvidence
    passing: PassEvidence
    max_log_e: float = -math.inf
    crossed_tick: int | None = None
    last_tick: int = -1
    units: int = 0
    units_control: int = 0
    events: int = 0
    events_control: int = 0
    data_tick: int | None = None
    """Newest tick with an outcome in treatment."""
    control_tick: int | None = None
    """Newest tick with an outcome in control."""
    window: tuple[tuple[int, int], ...] = ()
    """(events, trials) of the newest ticks: control's for a rate, treatment's for a threshold."""
    ambient: bool = False
    breached: bool = False
    histogram: Histogram = ()
    """Quantile: control's latencies since the entry."""
    moments: tuple[Moments, Moments] = (Moments(), Moments())
    """Mean: the sums of treatment and of control since the entry."""
    log_e: tuple[float, float] | None = None
    """Kinds without a grid: (ln of the FAIL evidence, ln of the PASS evidence) now."""
    dispersion: Dispersion = field(default_factory=Dispersion)
    """Rate or ratio of requests: what control has shown of their overdispersion."""


def ratios(spec: GuardrailSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the alternatives of the FAIL and of the PASS side, as multiples of the null's value."""
    if isinstance(spec, QuantileGuardrail):
        return latency.FAIL_RATIOS, latency.PASS_RATIOS
    return eprocess.FAIL_RATIOS, eprocess.PASS_RATIOS


def log_e_fail(state: GuardrailState) -> float:
    """Return the natural logarithm of the FAIL evidence now; minus infinity before any data."""
    return state.fail.log_e if state.log_e is None else state.log_e[0]


def log_e_pass(state: GuardrailState) -> float:
    """Return the natural logarithm of the PASS evidence now."""
    return state.passing.log_e if state.log_e is None else state.log_e[1]


def is_tilted(spec: GuardrailSpec) -> bool:
    """Return whether a guardrail's evidence allows for overdispersion: a rate or a ratio of requests."""
    return isinstance(spec, RateGuardrail | RatioGuardrail) and spec.unit is Unit.REQUEST


def phi(spec: GuardrailSpec, state: GuardrailState) -> float:
    """Return the overdispersion that the next tick is judged with; infinity where it cannot be judged."""
    return state.dispersion.phi if is_tilted(spec) else 1.0
