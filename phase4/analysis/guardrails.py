"""Guardrails: what is judged, the state of one judge, and its answer. Plain Python, one tick at a time.

`state = start(spec)`, then for each closed tick `state = step(spec, terms, state, tick, treatment, control)`, and
`assess(spec, terms, state, tick)` at any moment. Pure, and equal on replay. Evidence is only ever extended: ticks
strictly grow, and counts that come late belong to the tick that first sees them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from phase4.analysis import latency, sample_ratio
from phase4.analysis.counting import count
from phase4.analysis.eprocess import FailEvidence, PassEvidence
from phase4.analysis.guardrail_state import GuardrailState, log_e_fail, log_e_pass, phi, ratios
from phase4.analysis.observation import Observation
from phase4.analysis.reading import read
from phase4.analysis.specs import (
    GuardrailSpec,
    MeanGuardrail,
    QuantileGuardrail,
    RateGuardrail,
    SampleRatioGuardrail,
    Terms,
    ThresholdGuardrail,
    is_relative,
    least_units,
    proves,
)
from phase4.analysis.verdict import Assessment, Reason, Role, Verdict

STALE_TICKS = 3


def start(spec: GuardrailSpec) -> GuardrailState:
    """Return the state at the entry of a stage: a new stage is a new state."""
    fail, passing = ratios(spec)
    return GuardrailState(fail=FailEvidence.start(len(fail)), passing=PassEvidence.start(len(passing)))


def next_thresholds(specs: Iterable[GuardrailSpec], states: Iterable[GuardrailState]) -> dict[str, tuple[float, float]]:
    """Return the thresholds in ms of (treatment, control) above which latencies of the next tick are to be counted.

    They rest on what control showed before that tick; a guardrail is missing while that is too little.
    """
    found: dict[str, tuple[float, float]] = {}
    for spec, state in zip(specs, states, strict=True):
        if isinstance(spec, QuantileGuardrail):
            limit = latency.threshold_ms(state.histogram, spec.quantile)
            if limit is not None:
                found[spec.name] = ((1.0 + spec.margin) * limit, limit)
    return found


def step(
    spec: GuardrailSpec,
    terms: Terms,
    state: GuardrailState,
    tick: int,
    treatment: Observation | None,
    control: Observation | None,
    *,
    is_skewed: bool = False,
) -> GuardrailState:
    """Return the state after one closed tick.

    Args:
        spec: The guardrail.
        terms: Its alpha, beta and planned length.
        state: The state after the tick before.
        tick: Number of the closed tick; it must be above the last one. Missing ticks are no evidence.
        treatment: Counts of treatment, None without a row.
        control: Counts of control, None without a row.
        is_skewed: Whether the sample ratio alarms: then comparing the arms says nothing.

    Raises:
        ValueError: the tick is not above the last one, or counts are impossible.
    """
    if tick <= state.last_tick:
        raise ValueError(f"ticks strictly grow: {tick} after {state.last_tick}")
    if spec.role is Role.GUARD and state.crossed_tick is not None:
        return replace(state, last_tick=tick)  # a guard latches: its evidence stops where it failed
    state = count(spec, state, tick, treatment, control)
    if is_skewed and is_relative(spec):
        return state
    state = read(spec, terms, state, treatment, control)
    if state.crossed_tick is None and _is_beyond(spec, terms, state):
        state = replace(state, crossed_tick=tick)
    return state


def step_all(
    specs: Sequence[GuardrailSpec],
    terms: Sequence[Terms],
    states: Sequence[GuardrailState],
    tick: int,
    treatment: Observation | None,
    control: Observation | None,
) -> tuple[GuardrailState, ...]:
    """Return the states of a stage's guardrails after one closed tick; the sample ratio is read before the others.

    The arguments are those of `step`, with one specification, terms and state for each guardrail.
    """
    made = list(states)
    is_ratio = [isinstance(spec, SampleRatioGuardrail) for spec in specs]
    for place in sorted(range(len(specs)), key=lambda place: not is_ratio[place]):
        skewed = not is_ratio[place] and is_skewed(specs, made)
        made[place] = step(specs[place], terms[place], made[place], tick, treatment, control, is_skewed=skewed)
    return tuple(made)


def assess(
    spec: GuardrailSpec, terms: Terms, state: GuardrailState, now_tick: int, *, is_skewed: bool = False
) -> Assessment:
    """Return the verdict at a tick, first match wins: FAIL, NO_DATA, INCONCLUSIVE, PASS."""
    verdict, reason = _verdict(spec, terms, state, now_tick, is_skewed=is_skewed)
    is_raw = isinstance(spec, ThresholdGuardrail)
    return Assessment(
        guardrail=spec.name,
        role=spec.role,
        unit=spec.unit,
        verdict=verdict,
        reason=reason,
        log_e_fail=math.nan if is_raw else log_e_fail(state),
        log_e_pass=log_e_pass(state) if proves(spec) else None,
        p_value=math.nan if is_raw else min(1.0, math.exp(-max(state.max_log_e, 0.0))),
        estimate=_estimate(spec, state),
        alpha=sample_ratio.ALPHA if isinstance(spec, SampleRatioGuardrail) else terms.alpha,
        beta=terms.beta,
        units=state.units,
        units_control=state.units_control if _has_two_arms(spec) else None,
        first_crossed_tick=state.crossed_tick,
        dispersion=phi(spec, state),
    )


def is_skewed(specs: Iterable[GuardrailSpec], states: Iterable[GuardrailState]) -> bool:
    """Return whether a sample ratio has alarmed: for the rest of the stage, that is."""
    pairs = zip(specs, states, strict=True)
    return any(isinstance(spec, SampleRatioGuardrail) and state.crossed_tick is not None for spec, state in pairs)


def _verdict(
    spec: GuardrailSpec, terms: Terms, state: GuardrailState, now_tick: int, *, is_skewed: bool
) -> tuple[Verdict, Reason]:
    if _failed(spec, terms, state):
        return Verdict.FAIL, Reason.EVIDENCE
    missing = _missing(spec, state, now_tick)
    if missing is not None:
        return Verdict.NO_DATA, missing
    if is_skewed and is_relative(spec):
        return Verdict.INCONCLUSIVE, Reason.SAMPLE_RATIO
    if isinstance(spec, RateGuardrail) and state.ambient:
        return Verdict.INCONCLUSIVE, Reason.AMBIENT
    if math.isinf(phi(spec, state)):
        return Verdict.INCONCLUSIVE, Reason.OVERDISPERSED
    least = least_units(spec, terms)
    if state.units < least or (is_relative(spec) and state.units_control < least):
        return Verdict.INCONCLUSIVE, Reason.MIN_UNITS
    if not proves(spec):
        return Verdict.PASS, Reason.NO_ALARM
    if log_e_pass(state) >= terms.pass_bound:
        return Verdict.PASS, Reason.EVIDENCE
    return Verdict.INCONCLUSIVE, Reason.COLLECTING


def _failed(spec: GuardrailSpec, terms: Terms, state: GuardrailState) -> bool:
    """Return whether FAIL stands: a guard that failed stays there, and so does an alarm of the sample ratio."""
    latches = spec.role is Role.GUARD or isinstance(spec, SampleRatioGuardrail)
    if latches and state.crossed_tick is not None:
        return True
    return _is_beyond(spec, terms, state)


def _is_beyond(spec: GuardrailSpec, terms: Terms, state: GuardrailState) -> bool:
    if isinstance(spec, ThresholdGuardrail):
        return state.breached
    bound = sample_ratio.BOUND if isinstance(spec, SampleRatioGuardrail) else terms.fail_bound
    return log_e_fail(state) >= bound


def _missing(spec: GuardrailSpec, state: GuardrailState, now_tick: int) -> Reason | None:
    if state.data_tick is None:
        return Reason.NO_UNITS
    if is_relative(spec):
        if state.control_tick is None:
            return Reason.NO_CONTROL
        if now_tick - state.control_tick >= STALE_TICKS:
            return Reason.STALE
    return Reason.STALE if now_tick - state.data_tick >= STALE_TICKS else None


def _has_two_arms(spec: GuardrailSpec) -> bool:
    return is_relative(spec) or isinstance(spec, SampleRatioGuardrail)


def _estimate(spec: GuardrailSpec, state: GuardrailState) -> float:
    if isinstance(spec, MeanGuardrail):
        ours, theirs = state.moments
        return ours.mean / theirs.mean if theirs.s1 and ours.n else math.nan
    if isinstance(spec, SampleRatioGuardrail):
        total = state.units + state.units_control
        return state.units / total if total else math.nan
    rate = state.events / state.units if state.units else math.nan
    if not is_relative(spec):
        return rate
    if not state.events_control or not state.units_control:
        return math.nan
    return rate / (state.events_control / state.units_control)
