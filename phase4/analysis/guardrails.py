"""Guardrails: what is judged, the state of one judge, and its answer. Plain Python, one tick at a time.

`state = start(spec)`, then for each closed tick `state = step(spec, terms, state, tick, treatment, control)`, and
`assess(spec, terms, state, tick)` at any moment. Pure, and equal on replay. Evidence is only ever extended: ticks
strictly grow, and counts that come late belong to the tick that first sees them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from phase4.analysis import eprocess, planning
from phase4.analysis.eprocess import FailEvidence, PassEvidence
from phase4.analysis.observation import Counts, OutcomeSet, request_counts, user_counts
from phase4.analysis.verdict import Assessment, Reason, Role, Unit, Verdict

AMBIENT_WINDOWS = (1, 5, 20)
"""Control is looked at over its last 1, 5 and 20 ticks: with a long window only, evidence outruns the average."""
STALE_TICKS = 3
RELATIVE_MIN_UNITS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RateGuardrail:
    """A rate of treatment against a limit, judged by the restarted e-process; breach means strictly beyond.

    With `ambient`, ticks at which control itself is above the limit are no evidence against treatment.
    """

    name: str
    limit: float
    """Highest acceptable rate, in (0, 0.5]."""
    outcome_set: OutcomeSet = OutcomeSet.ERROR
    role: Role = Role.GUARD
    unit: Unit = Unit.USER
    prove: bool = True
    """Whether promotion asks proof that the rate is below the limit."""
    ambient: bool = True
    min_units: int | None = None
    """Fewest units before PASS; None = `planning.clean_units` of the limit."""
    weight: float = 1.0
    emergency: bool = False
    """Whether FAIL holds the flag as an emergency does."""

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        _check_common(self.name, self.min_units, self.weight)
        if not 0.0 < self.limit <= 0.5:
            raise ValueError(f"{self.name}.limit lies in (0, 0.5]: {self.limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioGuardrail:
    """Treatment's rate against concurrent control's: what hits both arms costs nothing."""

    name: str
    max_ratio: float = 1.0
    """r0 of the null "ratio <= r0", above 0."""
    pass_ratio: float = 1.5
    """With `prove`: the ratio that treatment must be shown to stay below."""
    outcome_set: OutcomeSet = OutcomeSet.ERROR
    role: Role = Role.GUARD
    unit: Unit = Unit.USER
    prove: bool = False
    min_units: int | None = None
    """Fewest units in each arm before PASS; None = 500."""
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        _check_common(self.name, self.min_units, self.weight)
        if not 0.0 < self.max_ratio < math.inf:
            raise ValueError(f"{self.name}.max_ratio is above 0: {self.max_ratio}")
        if not self.max_ratio < self.pass_ratio < math.inf:
            raise ValueError(f"{self.name}.pass_ratio is above max_ratio {self.max_ratio}: {self.pass_ratio}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdGuardrail:
    """The raw rule `events / trials > limit` over the last ticks. It has no error control and says so."""

    name: str
    limit: float
    """Highest acceptable rate, in (0, 1)."""
    window: int | None = 1
    """How many of the last ticks with data are pooled; None = all since the entry."""
    outcome_set: OutcomeSet = OutcomeSet.ERROR
    role: Role = Role.GUARD
    unit: Unit = Unit.REQUEST
    min_units: int | None = None
    """Fewest trials in the window before the rule is looked at; None = 1."""
    weight: float = 1.0
    emergency: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        _check_common(self.name, self.min_units, self.weight)
        if not 0.0 < self.limit < 1.0:
            raise ValueError(f"{self.name}.limit lies in (0, 1): {self.limit}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"{self.name}.window counts ticks, at least 1: {self.window}")


GuardrailSpec = RateGuardrail | RatioGuardrail | ThresholdGuardrail


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms on which one guardrail of one stage is judged."""

    alpha: float
    """Largest probability, in (0, 1), of a FAIL while the null holds all stage long."""
    beta: float
    """Largest probability, in (0, 1), of a PASS while the limit is not kept."""
    horizon_ticks: int | None
    """Planned length of the stage in ticks; None = unknown."""

    def __post_init__(self) -> None:
        """Refuse probabilities that are none."""
        for name in ("alpha", "beta"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} lies in (0, 1): {getattr(self, name)}")
        if self.horizon_ticks is not None and self.horizon_ticks < 1:
            raise ValueError(f"horizon_ticks is at least 1: {self.horizon_ticks}")

    @property
    def fail_bound(self) -> float:
        """ln(1/alpha): FAIL at or above it."""
        return math.log(1.0 / self.alpha)

    @property
    def pass_bound(self) -> float:
        """ln(1/beta): PASS at or above it."""
        return math.log(1.0 / self.beta)


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


def start(spec: GuardrailSpec) -> GuardrailState:
    """Return the state at the entry of a stage: a new stage is a new state."""
    del spec  # every kind starts alike; the argument keeps the call the same when one does not
    return GuardrailState(fail=FailEvidence.start(), passing=PassEvidence.start())


def least_units(spec: GuardrailSpec, terms: Terms) -> int:
    """Return the fewest units that PASS asks for."""
    if spec.min_units is not None:
        return spec.min_units
    match spec:
        case RateGuardrail():
            return planning.clean_units(spec.limit, terms.beta)
        case RatioGuardrail():
            return RELATIVE_MIN_UNITS
        case ThresholdGuardrail():
            return 1
        case _:
            assert_never(spec)


def fail_counts(spec: GuardrailSpec, row: Counts) -> tuple[Any, Any]:
    """Return (events, trials) that the FAIL side reads, ints or (ticks,): the users' risk set, or requests."""
    if spec.unit is Unit.USER:
        return user_counts(row, spec.outcome_set, "risk")
    return request_counts(row, spec.outcome_set)


def pass_counts(spec: GuardrailSpec, row: Counts) -> tuple[Any, Any]:
    """Return (events, trials) that the PASS side reads, ints or (ticks,): users' first outcomes, or requests."""
    if spec.unit is Unit.USER:
        return user_counts(row, spec.outcome_set, "first")
    return request_counts(row, spec.outcome_set)


def step(
    spec: GuardrailSpec,
    terms: Terms,
    state: GuardrailState,
    tick: int,
    treatment: Counts | None,
    control: Counts | None,
) -> GuardrailState:
    """Return the state after one closed tick.

    Args:
        spec: The guardrail.
        terms: Its alpha, beta and planned length.
        state: The state after the tick before.
        tick: Number of the closed tick; it must be above the last one. Missing ticks are no evidence.
        treatment: Counts of treatment, None without a row.
        control: Counts of control, None without a row.

    Raises:
        ValueError: the tick is not above the last one, or counts are impossible.
    """
    if tick <= state.last_tick:
        raise ValueError(f"ticks strictly grow: {tick} after {state.last_tick}")
    if spec.role is Role.GUARD and state.crossed_tick is not None:
        return replace(state, last_tick=tick)  # a guard latches: its evidence stops where it failed
    state = _count(spec, state, tick, treatment, control)
    match spec:
        case RateGuardrail():
            state = _step_rate(spec, terms, state, treatment, control)
        case RatioGuardrail():
            state = _step_ratio(spec, terms, state, treatment, control)
        case ThresholdGuardrail():
            state = _step_threshold(spec, terms, state, treatment)
        case _:
            assert_never(spec)
    failed = state.breached if isinstance(spec, ThresholdGuardrail) else state.fail.log_e >= terms.fail_bound
    if failed and state.crossed_tick is None:
        state = replace(state, crossed_tick=tick)
    return state


def assess(spec: GuardrailSpec, terms: Terms, state: GuardrailState, now_tick: int) -> Assessment:
    """Return the verdict at a tick, first match wins: FAIL, NO_DATA, INCONCLUSIVE, PASS."""
    verdict, reason = _verdict(spec, terms, state, now_tick)
    is_raw = isinstance(spec, ThresholdGuardrail)
    log_e_pass = state.passing.log_e if not is_raw and spec_proves(spec) else None
    return Assessment(
        guardrail=spec.name,
        role=spec.role,
        unit=spec.unit,
        verdict=verdict,
        reason=reason,
        log_e_fail=math.nan if is_raw else state.fail.log_e,
        log_e_pass=log_e_pass,
        p_value=math.nan if is_raw else min(1.0, math.exp(-max(state.max_log_e, 0.0))),
        estimate=_estimate(spec, state),
        alpha=terms.alpha,
        beta=terms.beta,
        units=state.units,
        units_control=state.units_control if isinstance(spec, RatioGuardrail) else None,
        first_crossed_tick=state.crossed_tick,
    )


def spec_proves(spec: GuardrailSpec) -> bool:
    """Return whether PASS asks for proof, and not only for the absence of an alarm."""
    return not isinstance(spec, ThresholdGuardrail) and spec.prove


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


def _check_common(name: str, min_units: int | None, weight: float) -> None:
    if not name:
        raise ValueError("a guardrail has a name")
    if min_units is not None and min_units < 0:
        raise ValueError(f"{name}.min_units is at least 0: {min_units}")
    if not 0.0 < weight < math.inf:
        raise ValueError(f"{name}.weight is above 0: {weight}")


def _count(
    spec: GuardrailSpec, state: GuardrailState, tick: int, treatment: Counts | None, control: Counts | None
) -> GuardrailState:
    """Return the state with the tick's units added. Staleness is counted in requests, whatever the unit."""
    events, units = pass_counts(spec, treatment) if treatment is not None else (0, 0)
    events_control, units_control = pass_counts(spec, control) if control is not None else (0, 0)
    return replace(
        state,
        last_tick=tick,
        units=state.units + units,
        units_control=state.units_control + units_control,
        events=state.events + events,
        events_control=state.events_control + events_control,
        data_tick=tick if _has_requests(treatment) else state.data_tick,
        control_tick=tick if _has_requests(control) else state.control_tick,
    )


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
    if treatment is None:
        return state
    x, n = fail_counts(spec, treatment)
    if n and not state.ambient:
        fail = state.fail.step(eprocess.rate_grid(spec.limit, eprocess.FAIL_RATIOS), x, n - x, terms.horizon_ticks)
        state = replace(state, fail=fail, max_log_e=max(state.max_log_e, fail.log_e))
    x, n = pass_counts(spec, treatment)
    if n:
        grid = eprocess.rate_grid(spec.limit, eprocess.PASS_RATIOS)
        state = replace(state, passing=state.passing.step(grid, x, n - x))
    return state


def _step_ratio(
    spec: RatioGuardrail, terms: Terms, state: GuardrailState, treatment: Counts | None, control: Counts | None
) -> GuardrailState:
    if treatment is None or control is None:
        return state
    x, n = fail_counts(spec, treatment)
    y, m = fail_counts(spec, control)
    if n and m:
        grid = eprocess.ratio_grid(n, m, spec.max_ratio, eprocess.FAIL_RATIOS)
        fail = state.fail.step(grid, x, y, terms.horizon_ticks)
        state = replace(state, fail=fail, max_log_e=max(state.max_log_e, fail.log_e))
    x, n = pass_counts(spec, treatment)
    y, m = pass_counts(spec, control)
    if spec.prove and n and m:
        grid = eprocess.ratio_grid(n, m, spec.pass_ratio, eprocess.PASS_RATIOS)
        state = replace(state, passing=state.passing.step(grid, x, y))
    return state


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


def _verdict(spec: GuardrailSpec, terms: Terms, state: GuardrailState, now_tick: int) -> tuple[Verdict, Reason]:
    if _failed(spec, terms, state):
        return Verdict.FAIL, Reason.EVIDENCE
    missing = _missing(spec, state, now_tick)
    if missing is not None:
        return Verdict.NO_DATA, missing
    if isinstance(spec, RateGuardrail) and state.ambient:
        return Verdict.INCONCLUSIVE, Reason.AMBIENT
    least = least_units(spec, terms)
    if state.units < least or (isinstance(spec, RatioGuardrail) and state.units_control < least):
        return Verdict.INCONCLUSIVE, Reason.MIN_UNITS
    if not spec_proves(spec):
        return Verdict.PASS, Reason.NO_ALARM
    if state.passing.log_e >= terms.pass_bound:
        return Verdict.PASS, Reason.EVIDENCE
    return Verdict.INCONCLUSIVE, Reason.COLLECTING


def _failed(spec: GuardrailSpec, terms: Terms, state: GuardrailState) -> bool:
    if spec.role is Role.GUARD and state.crossed_tick is not None:
        return True
    if isinstance(spec, ThresholdGuardrail):
        return state.breached
    return state.fail.log_e >= terms.fail_bound


def _missing(spec: GuardrailSpec, state: GuardrailState, now_tick: int) -> Reason | None:
    if state.data_tick is None:
        return Reason.NO_UNITS
    if isinstance(spec, RatioGuardrail):
        if state.control_tick is None:
            return Reason.NO_CONTROL
        if now_tick - state.control_tick >= STALE_TICKS:
            return Reason.STALE
    return Reason.STALE if now_tick - state.data_tick >= STALE_TICKS else None


def _estimate(spec: GuardrailSpec, state: GuardrailState) -> float:
    rate = state.events / state.units if state.units else math.nan
    if not isinstance(spec, RatioGuardrail):
        return rate
    if not state.events_control or not state.units_control:
        return math.nan
    return rate / (state.events_control / state.units_control)
