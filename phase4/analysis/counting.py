"""Which counts of a tick a guardrail reads, in each arm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from phase4.analysis import latency
from phase4.analysis.guardrail_state import GuardrailState
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
    ThresholdGuardrail,
)
from phase4.analysis.verdict import Unit


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
    return has_requests(row)


def has_requests(row: Counts | None) -> bool:
    """Return whether an arm had an outcome in a tick."""
    return row is not None and bool(row.ok + row.error + row.timeout + row.invalid)


def count(
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
