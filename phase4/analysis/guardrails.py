"""Guardrails: what is judged, the state of one judge, and its answer. Plain Python, one tick at a time.

`state = start(spec)`, then for each closed tick `state = step(spec, terms, state, tick, treatment, control)`, and
`assess(spec, terms, state, tick)` at any moment. Pure, and equal on replay. Evidence is only ever extended: ticks
strictly grow, and counts that come late belong to the tick that first sees them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from phase4.analysis import dispersion, eprocess, latency, moments, sample_ratio
from phase4.analysis.dispersion import Dispersion
from phase4.analysis.eprocess import FailEvidence, PassEvidence
from phase4.analysis.latency import Histogram
from phase4.analysis.moments import Moments
from phase4.analysis.observation import Counts, Observation, OutcomeSet, request_counts, third_errors, user_counts
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
    is_relative,
    least_units,
    proves,
)
from phase4.analysis.verdict import Assessment, Reason, Role, Unit, Verdict

AMBIENT_WINDOWS = (1, 5, 20)
"""Control is looked at over its last 1, 5 and 20 ticks: with a long window only, evidence outruns the average."""
STALE_TICKS = 3


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


def start(spec: GuardrailSpec) -> GuardrailState:
    """Return the state at the entry of a stage: a new stage is a new state."""
    fail, passing = ratios(spec)
    return GuardrailState(fail=FailEvidence.start(len(fail)), passing=PassEvidence.start(len(passing)))


def ratios(spec: GuardrailSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the alternatives of the FAIL and of the PASS side, as multiples of the null's value."""
    if isinstance(spec, QuantileGuardrail):
        return latency.FAIL_RATIOS, latency.PASS_RATIOS
    return eprocess.FAIL_RATIOS, eprocess.PASS_RATIOS


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


def fail_counts(spec: RateGuardrail | RatioGuardrail | ThresholdGuardrail, row: Counts) -> tuple[Any, Any]:
    """Return (events, trials) that the FAIL side reads, ints or (ticks,): the users' risk set, or requests."""
    if spec.unit is Unit.USER:
        return user_counts(row, spec.outcome_set, "risk")
    return request_counts(row, spec.outcome_set)


def pass_counts(spec: RateGuardrail | RatioGuardrail | ThresholdGuardrail, row: Counts) -> tuple[Any, Any]:
    """Return (events, trials) that the PASS side reads, ints or (ticks,): users' first outcomes, or requests."""
    if spec.unit is Unit.USER:
        return user_counts(row, spec.outcome_set, "first")
    return request_counts(row, spec.outcome_set)


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
    state = _count(spec, state, tick, treatment, control)
    if is_skewed and is_relative(spec):
        return state
    state = _read(spec, terms, state, treatment, control)
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


def _read(
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


def log_e_fail(state: GuardrailState) -> float:
    """Return the natural logarithm of the FAIL evidence now; minus infinity before any data."""
    return state.fail.log_e if state.log_e is None else state.log_e[0]


def log_e_pass(state: GuardrailState) -> float:
    """Return the natural logarithm of the PASS evidence now."""
    return state.passing.log_e if state.log_e is None else state.log_e[1]


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


def is_tilted(spec: GuardrailSpec) -> bool:
    """Return whether a guardrail's evidence allows for overdispersion: a rate or a ratio of requests."""
    return isinstance(spec, RateGuardrail | RatioGuardrail) and spec.unit is Unit.REQUEST


def phi(spec: GuardrailSpec, state: GuardrailState) -> float:
    """Return the overdispersion that the next tick is judged with; infinity where it cannot be judged."""
    return state.dispersion.phi if is_tilted(spec) else 1.0


def _disperse(spec: RateGuardrail | RatioGuardrail, state: GuardrailState, control: Counts | None) -> GuardrailState:
    """Return the state with what control says of the ticks to come: after the tick was judged, never before."""
    if control is None or not is_tilted(spec):
        return state
    return replace(state, dispersion=state.dispersion.after(*fail_counts(spec, control)))


def _count(
    spec: GuardrailSpec, state: GuardrailState, tick: int, treatment: Observation | None, control: Observation | None
) -> GuardrailState:
    """Return the state with the tick's units added. Staleness is counted in requests, whatever the unit."""
    events, units = _counted(spec, treatment) if treatment is not None else (0, 0)
    events_control, units_control = _counted(spec, control) if control is not None else (0, 0)
    return replace(
        state,
        last_tick=tick,
        units=state.units + units,
        units_control=state.units_control + units_control,
        events=state.events + events,
        events_control=state.events_control + events_control,
        data_tick=tick if _has_data(spec, treatment) else state.data_tick,
        control_tick=tick if _has_data(spec, control) else state.control_tick,
    )


def _counted(spec: GuardrailSpec, row: Observation) -> tuple[int, int]:
    """Return (events, units) of one arm in a tick, as they are shown and compared with the fewest that are needed."""
    match spec:
        case QuantileGuardrail():
            return quantile_counts(spec, row)
        case MeanGuardrail():
            return 0, measured(spec, row).n
        case SampleRatioGuardrail():
            return 0, _users(row)
        case RepeatGuardrail():
            return int(third_errors(row)), _users(row)
        case _:
            x, n = pass_counts(spec, row)
            return int(x), int(n)


def quantile_counts(spec: QuantileGuardrail, row: Observation) -> tuple[int, int]:
    """Return (above its threshold, trials) of one arm in a tick; no trials where no threshold was named."""
    found = row.exceed.get(spec.name)
    if found is None:
        return 0, 0
    if spec.unit is Unit.USER:
        return found[2], user_counts(row, OutcomeSet.ERROR, "first")[1]
    return found[1], latency.size(latency.unpack(row.hist))


def measured(spec: MeanGuardrail, row: Observation) -> Moments:
    """Return the sums of a measure in a tick."""
    if spec.measure == "latency":
        return Moments(latency.size(latency.unpack(row.hist)), row.s1, row.s2)
    return Moments(*row.metrics.get(spec.measure, (0, 0.0, 0.0)))


def _users(row: Observation) -> int:
    if row.units is None:
        raise ValueError("units are not counted by this source; leave sample_ratio and repeated_errors out")
    return row.units


def _has_data(spec: GuardrailSpec, row: Observation | None) -> bool:
    """Return whether a tick has what a guardrail lives on: outcomes, or outcomes with the measure."""
    if row is None:
        return False
    if isinstance(spec, QuantileGuardrail) or (isinstance(spec, MeanGuardrail) and spec.measure == "latency"):
        return bool(row.hist)
    if isinstance(spec, MeanGuardrail):
        return spec.measure in row.metrics
    return _has_requests(row)


def _has_requests(row: Counts | None) -> bool:
    return row is not None and bool(row.ok + row.error + row.timeout + row.invalid)


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
    if treatment is None or control is None or not (_has_requests(treatment) and _has_requests(control)):
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
