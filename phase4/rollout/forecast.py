"""Will a plan reach its verdicts at this traffic? For each stage and guardrail what it needs, what comes, and by when.

What proof needs is exact (`analysis.planning`); when it comes rests on the model of `rollout.traffic`. A stage asks
more than proof: planned time, watched time (ticks without a request do not count), and fewest units for comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from phase4.analysis import latency, planning
from phase4.analysis.eprocess import FAIL_RATIOS, PASS_RATIOS
from phase4.analysis.specs import (
    GuardrailSpec,
    QuantileGuardrail,
    RateGuardrail,
    RatioGuardrail,
    RepeatGuardrail,
    SampleRatioGuardrail,
    Terms,
    is_relative,
    least_units,
    proves,
)
from phase4.analysis.verdict import Role, Unit
from phase4.rollout.plan import RolloutPlan, Stage
from phase4.rollout.traffic import ASSUMED_RATE, BaseRates, Traffic

TWICE, THRICE = 2.0, 3.0
"""Defects whose delay is told: twice the limit, and three times as many failures as without the feature."""
SAFE = 0.8
"""Probability of proof at which the ways out aim: a way out that works in half of the rollouts is none."""
_AS_FAST = 0.8
"""Treatment's share of slow requests over control's, where it is as fast and the margin is 5 %: a rough figure."""
_MOST_RATIO = 50.0


class Check(StrEnum):
    """What the check of one guardrail, stage or plan says; the worst comes last."""

    SHOWN = "SHOWN"
    OK = "OK"
    UNKNOWN = "UNKNOWN"
    UNDERPOWERED = "UNDERPOWERED"
    CANNOT_PASS = "CANNOT PASS"  # noqa: S105  no password
    ABOVE_LIMIT = "ABOVE LIMIT"

    @property
    def warns(self) -> bool:
        """Whether the stage would probably hold."""
        return self in {Check.UNDERPOWERED, Check.CANNOT_PASS, Check.ABOVE_LIMIT}


_ORDER = tuple(Check)


def worst(checks: Iterable[Check]) -> Check:
    """Return the worst of some checks, OK without any."""
    return max(checks, key=_ORDER.index, default=Check.OK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What PASS takes at one true rate."""

    rate: float
    """The true rate, 0-1; for a comparison control's."""
    units: float
    """By which half of the rollouts pass; infinity = none does."""
    at_ms: float | None
    """From the entry of the stage; infinity = never, None = not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """How long one defect lasts before FAIL."""

    rate: float
    """Treatment's rate under the defect, 0-1."""
    times: float
    """Of what: the limit for a limit, control's rate for a comparison."""
    units: float
    """Outcomes read if it is there from the entry on; infinity = it is not noticed."""
    at_ms: float | None
    units_late: float | None
    """Outcomes read after it began, if it begins in the middle of the stage; None where traffic is not known."""
    late_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardForecast:
    """One guardrail of one stage."""

    spec: GuardrailSpec
    terms: Terms
    base_rate: float | None
    """Without the feature; None where none matters."""
    needs: tuple[Need, ...]
    """At no failure, at the base rate and at half of the limit; for what only asks a number of units, that."""
    by_min: float | None
    """Units by the least time of the stage; of the smaller arm for a comparison."""
    by_max: float | None
    """Units by its longest time."""
    chance: float | None
    """Probability that it passes between the least and the longest time, at the base rate; None = not known."""
    notices: tuple[Notice, ...]
    least_ratio: float | None
    """Comparison: the smallest ratio that is noticed within the least time of the stage, None = none or not known."""
    check: Check

    @property
    def at_best(self) -> Need:
        """What it takes without a failure."""
        return self.needs[0]

    @property
    def at_base(self) -> Need:
        """What it takes at the base rate."""
        return self.needs[min(1, len(self.needs) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageForecast:
    """One stage."""

    stage: Stage
    users: float | None
    """For whom the feature is on; None = not known."""
    requests_per_day: float | None
    """Of these users."""
    watched_ms: float
    """Time until `active_min` has been watched: ticks without a request of theirs do not count."""
    min_ms: float
    """Least time in the stage: planned and watched."""
    guards: tuple[GuardForecast, ...]

    @property
    def is_watched(self) -> bool:
        """Whether the watched time can be reached within the longest time."""
        return self.watched_ms <= self.stage.max_duration

    @property
    def check(self) -> Check:
        """The worst of its guardrails, and of its watched time."""
        return worst([*(each.check for each in self.guards), Check.OK if self.is_watched else Check.CANNOT_PASS])

    @property
    def chance(self) -> float | None:
        """Probability that it is left without a person, at the base rate; None = not known.

        Guardrails of one stage count the same users, so the one that passes least often stands for all.
        """
        chances = [each.chance for each in self._waited_for if each.at_base.units > 0.0]
        if any(chance is None for chance in chances):
            return None
        return min((chance for chance in chances if chance is not None), default=1.0) if self.is_watched else 0.0

    @property
    def earliest_ms(self) -> float | None:
        """Time until it can be left without a failure; infinity = never, None = not known."""
        return self._left(each.at_best for each in self._waited_for)

    @property
    def typical_ms(self) -> float | None:
        """The same at the base rate, for half of the rollouts or more."""
        return self._left(each.at_base for each in self._waited_for)

    @property
    def _waited_for(self) -> tuple[GuardForecast, ...]:
        return tuple(each for each in self.guards if each.spec.role is not Role.OBSERVE)

    def _left(self, needs: Iterable[Need]) -> float | None:
        times = [need.at_ms for need in needs]
        if any(time is None for time in times):
            return None
        left = max([self.min_ms, *(time for time in times if time is not None)])
        return left if left <= self.stage.max_duration else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A whole plan."""

    plan: RolloutPlan
    traffic: Traffic
    base: BaseRates
    stages: tuple[StageForecast, ...]

    @property
    def check(self) -> Check:
        """The worst of its stages."""
        return worst(stage.check for stage in self.stages)

    @property
    def chance(self) -> float | None:
        """Probability that it is completed without an override, at the base rate; None = not known."""
        chances = [stage.chance for stage in self.stages]
        if any(chance is None for chance in chances):
            return None
        return math.prod(chance for chance in chances if chance is not None)

    @property
    def earliest_ms(self) -> float | None:
        """Time from the start to the end without a failure and without waiting for people; infinity = never."""
        return _sum(stage.earliest_ms for stage in self.stages)

    @property
    def typical_ms(self) -> float | None:
        """The same at the base rate."""
        return _sum(stage.typical_ms for stage in self.stages)

    @property
    def warnings(self) -> tuple[tuple[StageForecast, GuardForecast], ...]:
        """What would probably hold, stage by stage."""
        return tuple((stage, each) for stage in self.stages for each in stage.guards if each.check.warns)

    @property
    def is_underpowered(self) -> bool:
        """Whether some stage would probably hold."""
        return self.check.warns


def forecast(plan: RolloutPlan, traffic: Traffic, base: BaseRates, *, interval_ms: int) -> Forecast:
    """Return what a plan needs and gets.

    Args:
        plan: The plan.
        traffic: Of all users of the flag.
        base: Failures without the feature.
        interval_ms: Length of a tick, in ms.
    """
    stages = tuple(_Looking(plan, index, traffic, base, interval_ms).stage() for index in range(len(plan.stages)))
    return Forecast(plan=plan, traffic=traffic, base=base, stages=stages)


def arm_share(spec: GuardrailSpec, percentage: float) -> float:
    """Return the share of all users, 0-1, whose units a guardrail waits for: of the smaller arm if it compares."""
    return (min(percentage, 100.0 - percentage) if is_relative(spec) else percentage) / 100.0


@dataclass(frozen=True)
class _Looking:
    """Looks at one stage of a plan."""

    plan: RolloutPlan
    index: int
    traffic: Traffic
    base: BaseRates
    interval_ms: int

    def stage(self) -> StageForecast:
        """Return what it needs and gets."""
        terms = self.plan.terms(self.index, interval_ms=self.interval_ms)
        specs = self.plan.guardrails[self.index]
        day = self.traffic.requests_per_day
        return StageForecast(
            stage=self._stage,
            users=None if self.traffic.users is None else self.traffic.users * self._share,
            requests_per_day=None if day is None else day * self._share,
            watched_ms=self._watched_ms,
            min_ms=self._min_ms,
            guards=tuple(self._guard(spec, terms[spec.name]) for spec in specs),
        )

    @property
    def _stage(self) -> Stage:
        return self.plan.stages[self.index]

    @property
    def _share(self) -> float:
        return self._stage.percentage / 100.0

    @cached_property
    def _watched_ms(self) -> float:
        """Time until the least watched time is there, if requests come evenly: only ticks with one count."""
        per_tick = self.traffic.units(Unit.REQUEST, self._share, self.interval_ms)
        return self._stage.active_min if per_tick is None else self._stage.active_min / -math.expm1(-per_tick)

    @cached_property
    def _min_ms(self) -> float:
        return max(self._stage.bake, self._watched_ms)

    def _guard(self, spec: GuardrailSpec, terms: Terms) -> GuardForecast:
        base = self._base_rate(spec)
        share = arm_share(spec, self._stage.percentage)
        by_min, by_max = (
            self.traffic.units(spec.unit, share, min(time, self._stage.max_duration))
            for time in (self._min_ms, self._stage.max_duration)
        )
        needs = tuple(self._need(spec, terms, share, rate) for rate in _rates(spec, base))
        chance = self._chance(spec, terms, base, needs, (by_min, by_max))
        return GuardForecast(
            spec=spec,
            terms=terms,
            base_rate=base,
            needs=needs,
            by_min=by_min,
            by_max=by_max,
            chance=chance,
            notices=self._notices(spec, terms, base),
            least_ratio=self._least_ratio(spec, terms, base),
            check=_check(spec, base, needs, by_max, chance, self._stage.max_duration),
        )

    def _base_rate(self, spec: GuardrailSpec) -> float | None:
        match spec:
            case QuantileGuardrail():
                return 1.0 - spec.quantile  # so much of control's latencies lies above its own quantile
            case RateGuardrail() | RatioGuardrail():
                return self.base.of(spec.outcome_set)
            case _:
                return None

    def _need(self, spec: GuardrailSpec, terms: Terms, share: float, rate: float) -> Need:
        units = max(least_units(spec, terms), self._proof(spec, terms, rate))
        return Need(rate=rate, units=units, at_ms=self.traffic.ms_until(spec.unit, share, units))

    def _proof(self, spec: GuardrailSpec, terms: Terms, rate: float) -> float:
        """Return the units that proof takes at a true rate, 0 where none is asked for."""
        if not proves(spec):
            return 0.0
        match spec:
            case RateGuardrail():
                return planning.units_to_pass(spec.limit, terms.beta, rate)
            case RatioGuardrail():
                drifts = planning.ratio_drifts(rate or ASSUMED_RATE, 1.0, spec.pass_ratio, self._control, PASS_RATIOS)
                return planning.units_to_prove(drifts, terms.beta)
            case QuantileGuardrail():
                # the margin is what keeps treatment's exceedances below control's; 0.8 stands for "as fast as control"
                drifts = planning.ratio_drifts(rate, _AS_FAST, 1.0, self._control, latency.PASS_RATIOS)
                return planning.units_to_prove(drifts, terms.beta)
            case _:
                return 0.0

    @property
    def _control(self) -> float:
        """Units of control for each of treatment."""
        return min(self._stage.percentage, 100.0 - self._stage.percentage) / self._stage.percentage

    def _chance(
        self,
        spec: GuardrailSpec,
        terms: Terms,
        base: float | None,
        needs: tuple[Need, ...],
        units: tuple[float | None, float | None],
    ) -> float | None:
        first, last = units
        if last is None:
            return None
        if last < needs[0].units:
            return 0.0
        if not (isinstance(spec, RateGuardrail) and spec.prove):
            # how many fall into the arm is by chance too; a comparison's proof is known on the expected path alone
            return 1.0 if last == needs[-1].units == 0.0 else _normal((last - needs[-1].units) / math.sqrt(last))
        least = max(first or 0.0, least_units(spec, terms))
        proved = planning.proof_probability(spec.limit, terms.beta, base or 0.0, int(last), first_look=int(least))
        return min(proved, 1.0)

    def _notices(self, spec: GuardrailSpec, terms: Terms, base: float | None) -> tuple[Notice, ...]:
        if isinstance(spec, RateGuardrail):
            rates = {TWICE * spec.limit: TWICE}
            tripled = THRICE * (base or 0.0)
            if spec.limit < tripled < 1.0:
                rates[tripled] = tripled / spec.limit
            return tuple(
                self._notice(spec, terms, rate, times, planning.rate_drifts(spec.limit, rate))
                for rate, times in sorted(rates.items())
                if rate < 1.0
            )
        if isinstance(spec, RatioGuardrail | QuantileGuardrail):
            return tuple(self._compared(spec, terms, base or ASSUMED_RATE, times) for times in (TWICE, THRICE))
        return ()

    def _compared(self, spec: RatioGuardrail | QuantileGuardrail, terms: Terms, base: float, times: float) -> Notice:
        is_rate = isinstance(spec, RatioGuardrail)
        r0, ratios = (spec.max_ratio, FAIL_RATIOS) if isinstance(spec, RatioGuardrail) else (1.0, latency.FAIL_RATIOS)
        drifts = planning.ratio_drifts(base, times, r0, self._control, ratios)
        return self._notice(spec, terms, min(base * times, 1.0), times, drifts, reads_all=is_rate)

    def _notice(
        self,
        spec: GuardrailSpec,
        terms: Terms,
        rate: float,
        times: float,
        drifts: tuple[float, ...],
        *,
        reads_all: bool = True,
    ) -> Notice:
        """Return the delay of one defect.

        With `reads_all` FAIL reads outcomes up to a user's first bad one, without it one of each user.
        """
        per_tick = self.traffic.units(Unit.REQUEST, self._share, self.interval_ms)
        units = planning.units_to_fail(drifts, terms.alpha)
        late = None
        if per_tick is not None:
            ticks = terms.horizon_ticks
            late = planning.units_to_fail_late(drifts, terms.alpha, units_per_tick=per_tick, horizon_ticks=ticks)

        def until(outcomes: float) -> float | None:
            if reads_all:
                return self.traffic.ms_until_outcomes(spec.unit, self._share, rate, outcomes)
            return self.traffic.ms_until(spec.unit, self._share, outcomes)

        return Notice(
            rate=rate,
            times=times,
            units=units,
            at_ms=until(units),
            units_late=late,
            late_ms=None if late is None else until(late),
        )

    def _least_ratio(self, spec: GuardrailSpec, terms: Terms, base: float | None) -> float | None:
        """Return the smallest ratio that is noticed within the least time of the stage."""
        if not isinstance(spec, RatioGuardrail | QuantileGuardrail) or self.traffic.requests_per_day is None:
            return None
        rate = base or ASSUMED_RATE

        def is_seen(times: float) -> bool:
            at_ms = self._compared(spec, terms, rate, times).at_ms
            return at_ms is not None and at_ms <= min(self._min_ms, self._stage.max_duration)

        low, high = 1.0, min(_MOST_RATIO, 1.0 / rate)
        if not is_seen(high):
            return None
        while high - low > 0.01 * high:
            middle = (low + high) / 2.0
            low, high = (low, middle) if is_seen(middle) else (middle, high)
        return high


def _rates(spec: GuardrailSpec, base: float | None) -> tuple[float, ...]:
    if isinstance(spec, RateGuardrail) and spec.prove:
        return 0.0, base or 0.0, spec.limit / 2.0
    return (base or 0.0,)


def _check(
    spec: GuardrailSpec,
    base: float | None,
    needs: tuple[Need, ...],
    by_max: float | None,
    chance: float | None,
    longest_ms: float,
) -> Check:
    if spec.role is Role.OBSERVE:
        return Check.SHOWN
    if isinstance(spec, RateGuardrail) and base is not None and base > spec.limit:
        return Check.ABOVE_LIMIT
    if isinstance(spec, SampleRatioGuardrail | RepeatGuardrail):
        return Check.OK
    if by_max is None:
        return Check.UNKNOWN
    if by_max < needs[0].units:
        return Check.CANNOT_PASS
    median_ms = needs[min(1, len(needs) - 1)].at_ms
    is_late = median_ms is not None and median_ms > longest_ms
    return Check.UNDERPOWERED if is_late or (chance is not None and chance < planning.MEDIAN) else Check.OK


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def _sum(times: Iterable[float | None]) -> float | None:
    known = list(times)
    return None if any(time is None for time in known) else math.fsum(time for time in known if time is not None)
