"""What is judged: one frozen specification for each kind of guardrail, and the terms on which it is judged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from phase4.analysis import planning
from phase4.analysis.observation import OutcomeSet
from phase4.analysis.verdict import Role, Unit

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


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileGuardrail:
    """A latency quantile of treatment against concurrent control's.

    Before each tick a threshold is taken from control's latencies so far; after it, the shares of both arms above the
    threshold (treatment's raised by the margin) are compared as a ratio is. Any threshold that was known before the
    tick is valid, so the width of the histogram's bins costs power and nothing else.
    """

    name: str
    quantile: float = 0.95
    margin: float = 0.05
    """How much slower treatment may be, as a share of control's latency."""
    role: Role = Role.GUARD
    unit: Unit = Unit.USER
    """USER = first outcomes of users, REQUEST = all outcomes."""
    prove: bool = False
    min_units: int | None = None
    """Fewest units in each arm before PASS; None = 500."""
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        _check_common(self.name, self.min_units, self.weight)
        if not 0.5 <= self.quantile < 1.0:
            raise ValueError(f"{self.name}.quantile lies in [0.5, 1): {self.quantile}")
        if not 0.0 <= self.margin <= 10.0:
            raise ValueError(f"{self.name}.margin lies in [0, 10]: {self.margin}")

    @property
    def outcome_set(self) -> OutcomeSet:
        """The set whose first outcomes are the trials: all outcomes."""
        return OutcomeSet.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanGuardrail:
    """A mean of treatment against concurrent control's, by an asymptotic confidence sequence.

    It is blind to late shifts and no proof in small samples: a signal, never the only guardrail on latency.
    """

    name: str
    measure: str = "latency"
    """`latency`, in ms; or the name of a metric that the application reports."""
    margin: float = 0.05
    """How much larger treatment's mean may be, as a share of control's."""
    role: Role = Role.SIGNAL
    unit: Unit = Unit.REQUEST
    prove: bool = False
    min_units: int | None = None
    """Fewest requests in each arm before PASS; None = 500. Nothing is judged below 500."""
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        _check_common(self.name, self.min_units, self.weight)
        if self.unit is not Unit.REQUEST:
            raise ValueError(f"{self.name}.unit is request: sums of users are not counted")
        if self.role is Role.GUARD:
            raise ValueError(f"{self.name}.role is signal or observe: a mean does not keep its error rate exactly")
        if not 0.0 <= self.margin <= 10.0:
            raise ValueError(f"{self.name}.margin lies in [0, 10]: {self.margin}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatioGuardrail:
    """Do users fall into the arms in the shares that were assigned? If not, no comparison of the arms means anything.

    While it alarms, every relative guardrail of the stage is inconclusive; absolute ones go on.
    """

    name: str = "sample_ratio"
    percentage: float
    """Of the stage, 0-100: treatment has this share, control an equal band or what is left."""
    role: Role = Role.SIGNAL
    unit: Unit = Unit.USER
    prove: bool = False
    min_units: int | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        _check_common(self.name, self.min_units, self.weight)
        if self.unit is not Unit.USER:
            raise ValueError(f"{self.name}.unit is user: requests have no assigned shares")
        if self.role is Role.GUARD:
            raise ValueError(f"{self.name}.role is signal or observe: shares that are off say nothing of the feature")
        if not 0.0 < self.percentage < 100.0:
            raise ValueError(f"{self.name}.percentage lies in (0, 100): without control there are no shares")

    @property
    def outcome_set(self) -> OutcomeSet:
        """The set that is counted along with users."""
        return OutcomeSet.ERROR

    @property
    def shares(self) -> tuple[float, float]:
        """Expected shares of (treatment, control) among the users of both."""
        control = _control(self.percentage)
        return self.percentage / (self.percentage + control), control / (self.percentage + control)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatGuardrail:
    """Users who fail again and again: those who reach their third error, in treatment against concurrent control.

    A guard that counts users by their first error sees little of them, and one that counts requests takes a few such
    users of chance for a difference. If the arms are alike, who gets there lies in treatment with the share that was
    assigned, each user by itself and whatever it is like: so the comparison is exact with that share.
    """

    name: str = "repeated_errors"
    percentage: float
    """Of the stage, 0-100: treatment has this share, control an equal band or what is left."""
    role: Role = Role.SIGNAL
    unit: Unit = Unit.USER
    prove: bool = False
    min_units: int | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        _check_common(self.name, self.min_units, self.weight)
        if self.unit is not Unit.USER:
            raise ValueError(f"{self.name}.unit is user: a request does not fail three times")
        if self.prove:
            raise ValueError(f"{self.name}.prove is false: it asks for no alarm")
        if not 0.0 < self.percentage < 100.0:
            raise ValueError(f"{self.name}.percentage lies in (0, 100): without control there is no comparison")

    @property
    def outcome_set(self) -> OutcomeSet:
        """The set whose events are counted."""
        return OutcomeSet.ERROR

    @property
    def weights(self) -> tuple[int, int]:
        """Treatment's and control's shares, as whole numbers in the same proportion."""
        return max(round(self.percentage * 1e6), 1), max(round(_control(self.percentage) * 1e6), 1)


GuardrailSpec = (
    RateGuardrail
    | RatioGuardrail
    | ThresholdGuardrail
    | QuantileGuardrail
    | MeanGuardrail
    | SampleRatioGuardrail
    | RepeatGuardrail
)
RELATIVE = (RatioGuardrail, QuantileGuardrail, MeanGuardrail, RepeatGuardrail)
"""Kinds that compare treatment with concurrent control."""


def is_relative(spec: GuardrailSpec) -> bool:
    """Return whether a guardrail compares treatment with concurrent control."""
    return isinstance(spec, RELATIVE)


def proves(spec: GuardrailSpec) -> bool:
    """Return whether PASS asks for proof, and not only for the absence of an alarm."""
    return not isinstance(spec, ThresholdGuardrail) and spec.prove


def least_units(spec: GuardrailSpec, terms: Terms) -> int:
    """Return the fewest units that PASS asks for."""
    if spec.min_units is not None:
        return spec.min_units
    match spec:
        case RateGuardrail():
            return planning.clean_units(spec.limit, terms.beta)
        case RatioGuardrail() | QuantileGuardrail() | MeanGuardrail():
            return RELATIVE_MIN_UNITS
        case ThresholdGuardrail():
            return 1
        case SampleRatioGuardrail() | RepeatGuardrail():
            return 0
        case _:
            assert_never(spec)


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


def _control(percentage: float) -> float:
    """Return control's share of the users, 0-100: a band as large as treatment, or what is left."""
    return min(percentage, 100.0 - percentage)


def _check_common(name: str, min_units: int | None, weight: float) -> None:
    if not name:
        raise ValueError("a guardrail has a name")
    if min_units is not None and min_units < 0:
        raise ValueError(f"{name}.min_units is at least 0: {min_units}")
    if not 0.0 < weight < math.inf:
        raise ValueError(f"{name}.weight is above 0: {weight}")
