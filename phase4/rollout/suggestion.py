"""A plan that works for the users there are: the same guardrails, in stages and at limits that they can prove.

A small team cannot prove what a large one can. Instead of holding for ever, its plan has fewer and larger stages, says
the limits that can be proved, and where not even those can, asks a person instead of asking for proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from phase4.analysis.observation import OutcomeSet
from phase4.analysis.specs import GuardrailSpec, RateGuardrail, RepeatGuardrail, SampleRatioGuardrail, is_relative
from phase4.analysis.verdict import Role
from phase4.durations import DAY_MS
from phase4.rollout.forecast import SAFE, GuardForecast, StageForecast, forecast
from phase4.rollout.plan import RolloutPlan, Stage
from phase4.rollout.traffic import BaseRates, Traffic
from phase4.rollout.waysout import fewer, limit_up, provable, whole_ms

PERCENTAGES = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 75.0, 100.0)
"""Percentages that are tried."""
BEARABLE = {OutcomeSet.ERROR: 0.02, OutcomeSet.BAD: 0.05, OutcomeSet.INVALID: 0.05}
"""The limits up to which a stage is enlarged rather than its limit: the guide's emergency limit, and its success."""
HONEST = 0.1
"""Above this limit a proof is none: nobody would ship a feature for failing less than that."""
GROWTH = 1.5
"""A stage is worth its time if it has so many times as many users as the one before."""
LEAST_COMPARED = 50
"""Units in each arm below which a comparison is only shown."""
_LONGEST_MS = 28 * DAY_MS
_WATCHED = 0.5
"""Part of the longest time that watching may take."""


class Suggestion(NamedTuple):
    """A plan, and what was changed."""

    plan: RolloutPlan
    changes: tuple[str, ...]


@dataclass(frozen=True)
class _Made:
    """A stage with its guardrails, and whether its limits are worth a proof."""

    stage: Stage
    specs: tuple[GuardrailSpec, ...]
    is_honest: bool


def suggest(
    plan: RolloutPlan, traffic: Traffic, base: BaseRates, *, interval_ms: int, maximum: float = 100.0
) -> Suggestion | None:
    """Return a plan like this one that reaches its verdicts at this traffic; None if none was found.

    Args:
        plan: The plan that does not.
        traffic: Of all users; something of it must be known.
        base: Failures without the feature.
        interval_ms: Length of a tick, in ms.
        maximum: Highest percentage that is allowed, 0-100.
    """
    making = _Making(plan, traffic, base, interval_ms, maximum)
    made = making.stages()
    if not made:
        return None
    if not all(each.is_honest for each in made):
        made = making.by_people(made)
    found = making.plan_of(made)
    if forecast(found, traffic, base, interval_ms=interval_ms).is_underpowered:
        return None
    return Suggestion(found, tuple(_changes(plan, found)))


@dataclass(frozen=True)
class _Making:
    plan: RolloutPlan
    traffic: Traffic
    base: BaseRates
    interval_ms: int
    maximum: float

    @property
    def _power(self) -> float:
        """Probability at which each stage is to be proved, so that all are in four of five rollouts."""
        return float(SAFE ** (1.0 / len(self.plan.stages)))

    def stages(self) -> list[_Made]:
        """Return stages of growing percentages; one that could hardly grow is left out, its approval is not."""
        made: list[_Made] = []
        for index, stage in enumerate(self.plan.stages):
            found = self._stage(index, made[-1].stage.percentage if made else 0.0)
            if found is not None:
                made.append(found)
            elif stage.approval and len(made) > 1:
                made[-1] = replace(made[-1], stage=replace(made[-1].stage, approval=True))
        return made

    def by_people(self, made: Sequence[_Made]) -> list[_Made]:
        """Return two stages in which nothing is proved and a person decides on the second; guards still roll back."""
        last = replace(made[-1].stage, name=self.plan.stages[-1].name, approval=True)
        first = made[0].stage if len(made) > 1 else replace(last, name=self.plan.stages[0].name, approval=False)
        first = replace(first, percentage=min(first.percentage, last.percentage / 2.0))
        found = []
        for stage, specs in ((first, self.plan.guardrails[0]), (last, self.plan.guardrails[-1])):
            unproved = tuple(replace(spec, prove=False) if isinstance(spec, RateGuardrail) else spec for spec in specs)
            looked = self._look(stage, unproved)
            found.append(_Made(_watched(stage, looked), _proved(looked, self._power), True))
        return found

    def plan_of(self, made: Sequence[_Made]) -> RolloutPlan:
        """Return the plan, with as few units asked for as its smallest stage brings."""
        stages = tuple(each.stage for each in made)
        specs = tuple(each.specs for each in made)
        found = replace(self.plan, stages=stages, guardrails=specs)
        looked = forecast(found, self.traffic, self.base, interval_ms=self.interval_ms)
        return replace(found, guardrails=_with_fewer_units(specs, looked.stages))

    def _stage(self, index: int, above: float) -> _Made | None:
        """Return the first of the stages that are tried which is good enough, else the last one that is allowed."""
        last = None
        for stage in self._tried(self.plan.stages[index], above):
            looked = self._look(stage, self.plan.guardrails[index])
            proving = _proving(looked)
            is_honest = all(_is_honest(guard, self._power) for guard in proving)
            last = _Made(_watched(stage, looked), _proved(looked, self._power), is_honest)
            if all(_is_bearable(guard, self._power) for guard in proving):
                return last
        return last

    def _tried(self, stage: Stage, above: float) -> Iterator[Stage]:
        """Yield the stage at percentages that are allowed, for its longest time and for twice that."""
        most = max(min(self.maximum, 50.0), stage.percentage)  # above a half the control arm shrinks
        for percentage in sorted({stage.percentage, *PERCENTAGES}):
            least = stage.percentage if above < stage.percentage else GROWTH * above
            if least <= percentage <= most:
                for times in (1, 2):
                    longest = max(min(stage.max_duration * times, _LONGEST_MS), stage.max_duration)
                    yield replace(stage, percentage=percentage, max_duration=longest)

    def _look(self, stage: Stage, specs: Sequence[GuardrailSpec]) -> StageForecast:
        """Return the forecast of a stage: what it proves does not depend on the others."""
        own = tuple(
            replace(spec, percentage=stage.percentage)
            if isinstance(spec, SampleRatioGuardrail | RepeatGuardrail)
            else spec
            for spec in specs
        )
        alone = replace(self.plan, stages=(stage,), guardrails=(own,))
        return forecast(alone, self.traffic, self.base, interval_ms=self.interval_ms).stages[0]


def _watched(stage: Stage, looked: StageForecast) -> Stage:
    """Return the stage with a watched time that half of its longest time brings."""
    if looked.watched_ms <= _WATCHED * stage.max_duration:
        return stage
    share = stage.active_min / looked.watched_ms
    return replace(stage, active_min=whole_ms(_WATCHED * share * stage.max_duration))


def _proved(looked: StageForecast, power: float) -> tuple[GuardrailSpec, ...]:
    """Return the guardrails with limits that can be proved, and that today's failures do not break."""
    return tuple(
        replace(guard.spec, limit=limit_up(min(limit, 0.5)))
        if isinstance(guard.spec, RateGuardrail) and (limit := _limit(guard, power)) > 0.0
        else guard.spec
        for guard in looked.guards
    )


def _proving(looked: StageForecast) -> list[GuardForecast]:
    """Return the guardrails whose proof the stage waits for."""
    return [guard for guard in looked.guards if _is_proving(guard.spec)]


def _is_proving(spec: GuardrailSpec) -> bool:
    return isinstance(spec, RateGuardrail) and spec.prove and spec.role is not Role.OBSERVE


def _limit(guard: GuardForecast, power: float) -> float:
    """Return the limit that has to be taken instead of its own, 0 if its own will do; infinity if none would."""
    assert isinstance(guard.spec, RateGuardrail)
    base = guard.base_rate or 0.0
    limit = provable(guard, power) if _is_proving(guard.spec) else 2.0 * base if base > guard.spec.limit else 0.0
    return limit if limit > guard.spec.limit else 0.0


def _is_bearable(guard: GuardForecast, power: float) -> bool:
    assert isinstance(guard.spec, RateGuardrail)
    bearable = max(BEARABLE[guard.spec.outcome_set], guard.spec.limit, 3.0 * (guard.base_rate or 0.0))
    return _limit(guard, power) <= bearable


def _is_honest(guard: GuardForecast, power: float) -> bool:
    return _limit(guard, power) <= max(HONEST, min(3.0 * (guard.base_rate or 0.0), 0.5))


def _with_fewer_units(
    specs: Sequence[tuple[GuardrailSpec, ...]], looked: Sequence[StageForecast]
) -> tuple[tuple[GuardrailSpec, ...], ...]:
    """Return the guardrails with the fewest units that they ask for in every stage.

    A plan file has one number for all stages, so it is that of the stage with the fewest.
    """
    few: dict[str, int] = {}
    for stage in looked:
        for guard in stage.guards:
            if guard.check.warns and guard.by_max is not None:
                few[guard.spec.name] = min(few.get(guard.spec.name, 2**53), fewer(guard.by_max))
    return tuple(tuple(_asking(spec, few.get(spec.name)) for spec in own) for own in specs)


def _asking(spec: GuardrailSpec, units: int | None) -> GuardrailSpec:
    if units is None:
        return spec
    if is_relative(spec) and units < LEAST_COMPARED:
        return replace(spec, role=Role.OBSERVE)
    return replace(spec, min_units=units)


def _changes(before: RolloutPlan, after: RolloutPlan) -> Iterator[str]:
    """Yield what a person should know of the new plan."""
    old, new = ([f"{stage.percentage:g}" for stage in plan.stages] for plan in (before, after))
    if old != new:
        yield f"stages of {', '.join(new)} % instead of {', '.join(old)} %"
    for name in dict.fromkeys(spec.name for specs in after.guardrails for spec in specs):
        specs = [spec for own in after.guardrails for spec in own if spec.name == name]
        was = next(spec for own in before.guardrails for spec in own if spec.name == name)
        if isinstance(was, RateGuardrail) and was.prove and not getattr(specs[0], "prove", True):
            yield f"{name} is not proved, it only rolls back or holds: a person decides on the next stage"
        if specs[0].min_units != was.min_units:
            yield f"{name} passes with {specs[0].min_units} units, and notices less"
        if specs[0].role is not was.role:
            yield f"{name} is only shown"
