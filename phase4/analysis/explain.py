"""What a guardrail's answer rests on, in numbers and in words: limit, interval, and what would change it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from phase4.analysis import dispersion, eprocess, guardrail_state, guardrails, interval, moments
from phase4.analysis.eprocess import PassEvidence
from phase4.analysis.guardrail_state import GuardrailState
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
)
from phase4.analysis.verdict import Assessment, Reason, Role, Unit, Verdict

MANY = 1_000_000_000
INTERVAL_ALPHA = 0.05
"""Intervals hold the true value with 95 % at every look at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What stands beside one guardrail's answer."""

    answer: Assessment
    limit: float | None
    """What the estimate is held against: a rate, a ratio or a share; None where nothing single is."""
    lower: float
    upper: float
    """Interval of the estimate; NaN where there is none."""
    is_approximate: bool
    """Whether the interval counts requests, which fail together, as if they failed apart."""
    e_needed: float | None
    """E that FAIL asks for; None for a rule without error control."""
    pass_needed: float | None
    """E that PASS asks for; None where nothing is to be proved."""
    changes: str
    """What would change the verdict."""
    approximation: str
    """What is assumed of requests, such as "approximate: phi = 4 from 288 groups"; empty where nothing is."""


def explain(spec: GuardrailSpec, terms: Terms, state: GuardrailState, answer: Assessment) -> Explanation:
    """Return what an answer rests on.

    Args:
        spec: The guardrail.
        terms: Its alpha, beta and planned length.
        state: Its state.
        answer: What it says in that state.
    """
    lower, upper = _interval(spec, state)
    is_raw = isinstance(spec, ThresholdGuardrail)
    return Explanation(
        answer=answer,
        limit=limit_of(spec),
        lower=lower,
        upper=upper,
        is_approximate=spec.unit is Unit.REQUEST and not isinstance(spec, MeanGuardrail),
        e_needed=None if is_raw else 1.0 / answer.alpha,
        pass_needed=None if answer.log_e_pass is None else 1.0 / answer.beta,
        changes=_changes(spec, terms, state, answer),
        approximation=_approximation(spec, state),
    )


def limit_of(spec: GuardrailSpec) -> float | None:
    """Return what an estimate is held against."""
    match spec:
        case RateGuardrail() | ThresholdGuardrail():
            return spec.limit
        case RatioGuardrail():
            return spec.max_ratio
        case QuantileGuardrail() | RepeatGuardrail():
            return 1.0
        case MeanGuardrail():
            return 1.0 + spec.margin
        case SampleRatioGuardrail():
            return spec.shares[0]


def _approximation(spec: GuardrailSpec, state: GuardrailState) -> str:
    if not guardrail_state.is_tilted(spec):
        return ""
    phi, groups = state.dispersion.phi, state.dispersion.groups
    if math.isinf(phi):
        return f"not judged: phi above {dispersion.LADDER[-1]:.0f} from {groups} groups"
    if not state.units_control:
        return f"approximate: phi = {phi:g} assumed, without control to estimate it from"
    return f"approximate: phi = {phi:g} from {groups} groups{_known_before(state.dispersion)}"


def _known_before(known: dispersion.Dispersion) -> str:
    """Return what phi rests on beside this stage's groups, where it does."""
    if known.history is not None:
        return f" and at least {dispersion.LADDER[known.history]:g} from an earlier stage"
    least = dispersion.LADDER[dispersion.START]
    return f" (at least {least:g} below {dispersion.ENOUGH})" if known.groups < dispersion.ENOUGH else ""


def _interval(spec: GuardrailSpec, state: GuardrailState) -> tuple[float, float]:
    if isinstance(spec, MeanGuardrail):
        return _mean_interval(state)
    if isinstance(spec, SampleRatioGuardrail):
        return interval.confidence_sequence(state.units, state.units + state.units_control, alpha=INTERVAL_ALPHA)
    if not is_relative(spec):
        return interval.confidence_sequence(state.events, state.units, alpha=INTERVAL_ALPHA)
    # two intervals at half of alpha each hold together with what is left (Bonferroni)
    half = INTERVAL_ALPHA / 2.0
    low, high = interval.confidence_sequence(state.events, state.units, alpha=half)
    low_control, high_control = interval.confidence_sequence(state.events_control, state.units_control, alpha=half)
    return low / high_control if high_control else 0.0, high / low_control if low_control else math.inf


def _mean_interval(state: GuardrailState) -> tuple[float, float]:
    ours, theirs = state.moments
    found = moments.log_ratio(ours, theirs)
    if found is None:
        return math.nan, math.nan
    half = moments.half_width(found[1], ours.n + theirs.n, INTERVAL_ALPHA / 2.0)
    return math.exp(found[0] - half), math.exp(found[0] + half)


def _changes(spec: GuardrailSpec, terms: Terms, state: GuardrailState, answer: Assessment) -> str:
    units = "requests" if spec.unit is Unit.REQUEST else "users"
    match answer.reason:
        case Reason.NO_UNITS:
            return f"the first {_subject(spec)}"
        case Reason.NO_CONTROL:
            return f"the first {_subject(spec)} of control"
        case Reason.STALE:
            return f"another {_subject(spec)}: none for {guardrails.STALE_TICKS} ticks or more"
        case Reason.SAMPLE_RATIO:
            return "nothing in this stage: users are missing in one arm, and comparisons say nothing"
        case Reason.AMBIENT:
            return "control back below the limit: what happens now happens to both arms"
        case Reason.OVERDISPERSED:
            return (
                'unit = "user", or role = "observe": control\'s own requests fail in bursts that no evidence allows for'
            )
        case Reason.MIN_UNITS:
            return _fewest(spec, terms, state, units)
        case Reason.COLLECTING:
            return _proof(spec, terms, state, units)
        case _:
            return _evidence(spec, answer)


def _subject(spec: GuardrailSpec) -> str:
    if isinstance(spec, QuantileGuardrail) or (isinstance(spec, MeanGuardrail) and spec.measure == "latency"):
        return "outcome with a latency"
    if isinstance(spec, MeanGuardrail):
        return f"outcome with {spec.measure}"
    return "outcome"


def _evidence(spec: GuardrailSpec, answer: Assessment) -> str:
    if answer.verdict is not Verdict.FAIL:
        if isinstance(spec, ThresholdGuardrail):
            return "one look above the limit"
        return f"evidence of E {1.0 / answer.alpha:.0f} against it"
    if isinstance(spec, SampleRatioGuardrail):
        return "nothing in this stage: look for lost exposures, or for users who change arms"
    if spec.role is Role.GUARD:
        return "nothing: a guard that failed stays failed"
    return f"evidence back below E {1.0 / answer.alpha:.0f}"


def _fewest(spec: GuardrailSpec, terms: Terms, state: GuardrailState, units: str) -> str:
    least = least_units(spec, terms)
    if not is_relative(spec):
        return f"{least - state.units:,} more {units}"
    short = [(least - state.units, "treatment"), (least - state.units_control, "control")]
    return " and ".join(f"{count:,} more {units} of {arm}" for count, arm in short if count > 0)


def _proof(spec: GuardrailSpec, terms: Terms, state: GuardrailState, units: str) -> str:
    """Return how many more units like those so far would prove that the limit is kept."""
    more = _units_to_pass(terms, state, _gains(spec, state))
    if more is None:
        return f"better outcomes: at the rate so far no number of {units} proves it"
    return f"about {more:,} more {units} like those so far"


def _units_to_pass(terms: Terms, state: GuardrailState, gains: tuple[float, ...]) -> int | None:
    """Return the number of units after which the evidence reaches its bound; None = never, or not within MANY."""

    def is_proved(count: int) -> bool:
        grown = (log_f + count * gain for log_f, gain in zip(state.passing.log_f, gains, strict=True))
        return PassEvidence(tuple(grown)).log_e >= terms.pass_bound

    if not gains or not is_proved(MANY):
        return None
    low, high = 0, MANY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_proved(middle) else (middle, high)
    return high


def _gains(spec: GuardrailSpec, state: GuardrailState) -> tuple[float, ...]:
    """Return by how much one more unit of treatment raises ln F_k of the PASS side, at the rates so far."""
    phi = guardrail_state.phi(spec, state)
    if not state.units or math.isinf(phi):
        return ()
    if isinstance(spec, RateGuardrail):
        grid = dispersion.rate_grid(spec.limit, phi, eprocess.PASS_RATIOS)
        events, others = state.events, state.units - state.events
    elif isinstance(spec, RatioGuardrail | QuantileGuardrail):
        null = spec.pass_ratio if isinstance(spec, RatioGuardrail) else 1.0
        arms = state.units, max(state.units_control, 1)
        grid = dispersion.ratio_grid(*arms, null, phi, guardrail_state.ratios(spec)[1])
        events, others = state.events, state.events_control
    else:
        return ()
    return tuple((events * up + others * down) / state.units for up, down in zip(grid.up, grid.down, strict=True))
