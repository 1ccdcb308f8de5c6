"""What a closed tick says as evidence, kind by kind: `guardrails.step` calls it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from phase4.analysis import dispersion, eprocess, latency, moments, sample_ratio
from phase4.analysis.counting import fail_counts, has_requests, measured, pass_counts, quantile_counts
from phase4.analysis.guardrail_state import GuardrailState, is_tilted, phi
from phase4.analysis.moments import Moments
from phase4.analysis.observation import Counts, Observation, third_errors
from phase4.analysis.specs import (
    GuardrailSpec,
    MeanGuardrail,
    QuantileGuardrail,
    RateGuardrail,
    RatioGuardrail,
    RepeatGuardrail,
    SampleRatioGuardrail,
    Terms,
    ThresholdGuardrail,
    least_units,
)

AMBIENT_WINDOWS = (1, 5, 20)
"""Control is looked at over its last 1, 5 and 20 ticks: with a long window only, evidence outruns the average."""


def read(
    spec: GuardrailSpec, terms: Terms, state: GuardrailState, treatment: Observation | None, control: Observation | None
) -> GuardrailState:
    """Return the state with what the tick says as evidence."""
    match spec:
        case RateGuardrail():
            return _disperse(spec, _step_rate(spec, terms, state, treatment, control), control)
        case RatioGuardrail():
            return _disperse(spec, _step_ratio(spec, terms, state, treatment, control), control)
        case ThresholdGuardrail():
            return _step_threshold(spec, terms, state, treatment)
        case QuantileGuardrail():
            return _step_quantile(spec, terms, state, treatment, control)
        case MeanGuardrail():
            return _step_mean(spec, terms, state, treatment, control)
        case SampleRatioGuardrail():
            return _step_sample_ratio(spec, state)
        case RepeatGuardrail():
            return _step_repeats(spec, terms, state, treatment, control)
        case _:
            assert_never(spec)


def is_ambient(window: Sequence[tuple[int, int]], limit: float) -> bool:
    """Return whether control itself is above the limit by more than one standard error in any of its windows.

    Args:
        window: (events, trials) of control's newest ticks, the newest last; at most 20.
        limit: The rate p0.
    """
    for length in AMBIENT_WINDOWS:
        newest = window[-length:]
        trials = sum(n for _, n in newest)
        events = sum(x for x, _ in newest)
        if trials and events > trials * limit + math.sqrt(trials * (limit * (1.0 - limit))):
            return True
    return False


def _disperse(spec: RateGuardrail | RatioGuardrail, state: GuardrailState, control: Counts | None) -> GuardrailState:
    """Return the state with what control says of the ticks to come: after the tick was judged, never before."""
    if control is None or not is_tilted(spec):
        return state
    return replace(state, dispersion=state.dispersion.after(*fail_counts(spec, control)))


def _step_rate(
    spec: RateGuardrail, terms: Terms, state: GuardrailState, treatment: Counts | None, control: Counts | None
) -> GuardrailState:
    # control is revealed before treatment: ambient may depend on it without touching the bound
    if spec.ambient and control is not None:
        x, n = fail_counts(spec, control)
        if n:
            window = (*state.window, (x, n))[-AMBIENT_WINDOWS[-1] :]
            state = replace(state, window=window, ambient=is_ambient(window, spec.limit))
    spread = phi(spec, state)
    if treatment is None or math.isinf(spread):
        return state
    x, n = fail_counts(spec, treatment)
    if n and not state.ambient:
        grid = dispersion.rate_grid(spec.limit, spread, eprocess.FAIL_RATIOS)
        fail = state.fail.step(grid, x, n - x, terms.horizon_ticks)
        state = replace(state, fail=fail, max_log_e=max(state.max_log_e, fail.log_e))
    x, n = pass_counts(spec, treatment)
    if n:
        grid = dispersion.rate_grid(spec.limit, spread, eprocess.PASS_RATIOS)
        state = replace(state, passing=state.passing.step(grid, x, n - x))
    return state


def _step_ratio(
    spec: RatioGuardrail, terms: Terms, state: GuardrailState, treatment: Counts | None, control: Counts | None
) -> GuardrailState:
    spread = phi(spec, state)
    if treatment is None or control is None or math.isinf(spread):
        return state
    x, n = fail_counts(spec, treatment)
    y, m = fail_counts(spec, control)
    if n and m:
        grid = dispersion.ratio_grid(n, m, spec.max_ratio, spread, eprocess.FAIL_RATIOS)
        fail = state.fail.step(grid, x, y, terms.horizon_ticks)
        state = replace(state, fail=fail, max_log_e=max(state.max_log_e, fail.log_e))
    x, n = pass_counts(spec, treatment)
    y, m = pass_counts(spec, control)
    if spec.prove and n and m:
        grid = dispersion.ratio_grid(n, m, spec.pass_ratio, spread, eprocess.PASS_RATIOS)
        state = replace(state, passing=state.passing.step(grid, x, y))
    return state


def _step_repeats(
    spec: RepeatGuardrail,
    terms: Terms,
    state: GuardrailState,
    treatment: Observation | None,
    control: Observation | None,
) -> GuardrailState:
    if treatment is None or control is None or not (has_requests(treatment) and has_requests(control)):
        return state
    grid = eprocess.ratio_grid(*spec.weights, 1.0, eprocess.FAIL_RATIOS)
    fail = state.fail.step(grid, third_errors(treatment), third_errors(control), terms.horizon_ticks)
    return replace(state, fail=fail, max_log_e=max(state.max_log_e, fail.log_e))


def _step_threshold(
    spec: ThresholdGuardrail, terms: Terms, state: GuardrailState, treatment: Counts | None
) -> GuardrailState:
    if treatment is None:
        return state
    x, n = fail_counts(spec, treatment)
    if not n:
        return state
    if spec.window is None:
        previous = state.window[0] if state.window else (0, 0)
        window: tuple[tuple[int, int], ...] = ((previous[0] + x, previous[1] + n),)
    else:
        window = (*state.window, (x, n))[-spec.window :]
    events = sum(pair[0] for pair in window)
    trials = sum(pair[1] for pair in window)
    # a division, not limit * trials: 0.29 * 100 is below 29 in floating point
    breached = trials >= max(least_units(spec, terms), 1) and events / trials > spec.limit
    return replace(state, window=window, breached=breached)


def _step_quantile(
    spec: QuantileGuardrail,
    terms: Terms,
    state: GuardrailState,
    treatment: Observation | None,
    control: Observation | None,
) -> GuardrailState:
    if treatment is not None and control is not None:
        x, n = quantile_counts(spec, treatment)
        y, m = quantile_counts(spec, control)
        if n and m:
            grid = eprocess.ratio_grid(n, m, 1.0, latency.FAIL_RATIOS)
            fail = state.fail.step(grid, x, y, terms.horizon_ticks)
            state = replace(state, fail=fail, max_log_e=max(state.max_log_e, fail.log_e))
            if spec.prove:
                grid = eprocess.ratio_grid(n, m, 1.0, latency.PASS_RATIOS)
                state = replace(state, passing=state.passing.step(grid, x, y))
    if control is not None and control.hist:  # only now: a threshold never rests on the tick that it is used in
        state = replace(state, histogram=latency.merge(state.histogram, latency.unpack(control.hist)))
    return state


def _step_mean(
    spec: MeanGuardrail,
    terms: Terms,
    state: GuardrailState,
    treatment: Observation | None,
    control: Observation | None,
) -> GuardrailState:
    ours, theirs = state.moments
    if treatment is not None:
        ours = ours.plus(*measured(spec, treatment))
    if control is not None:
        theirs = theirs.plus(*measured(spec, control))
    log_e = mean_evidence(spec, terms, ours, theirs)
    return replace(state, moments=(ours, theirs), log_e=log_e, max_log_e=max(state.max_log_e, log_e[0]))


def mean_evidence(spec: MeanGuardrail, terms: Terms, ours: Moments, theirs: Moments) -> tuple[float, float]:
    """Return (ln of the FAIL evidence, ln of the PASS evidence) from the sums of treatment and of control."""
    found = moments.log_ratio(ours, theirs)
    if found is None:
        return 0.0, 0.0
    ratio, variance = found
    margin, count = math.log1p(spec.margin), ours.n + theirs.n
    return (
        moments.log_e(ratio - margin, variance, count, terms.alpha),
        moments.log_e(margin - ratio, variance, count, terms.beta),
    )


def _step_sample_ratio(spec: SampleRatioGuardrail, state: GuardrailState) -> GuardrailState:
    if state.crossed_tick is not None:
        return state  # latched for the stage, also as a signal: shares that were off once stay in every sum
    found = sample_ratio.log_e((state.units, state.units_control), spec.shares)
    return replace(state, log_e=(found, 0.0), max_log_e=max(state.max_log_e, found))
