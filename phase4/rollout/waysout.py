"""The ways out of a stage that would hold, each with the figure that would do."""

from __future__ import annotations

import math
from typing import NamedTuple

from phase4.analysis import planning
from phase4.analysis.specs import (
    RateGuardrail,
    RepeatGuardrail,
    SampleRatioGuardrail,
    ThresholdGuardrail,
    is_relative,
    least_units,
)
from phase4.analysis.verdict import Unit
from phase4.durations import DAY_MS, HOUR_MS
from phase4.rollout.forecast import SAFE, Check, GuardForecast, StageForecast, arm_share
from phase4.rollout.traffic import Traffic

OVERRIDE = 'let it hold, and a person decides: phase4 rollout approve PLAN --override --reason "TEXT"'
_LONGEST_MS = 90 * DAY_MS
"""A stage that takes longer is no way out."""


class Way(NamedTuple):
    """One way out."""

    kind: str
    """`longer`, `larger`, `limit`, `min_units`, `watched`, `observe` or `override`."""
    setting: str | None
    """What to write into the plan file; None where nothing of it helps."""
    says: str


def of_guard(stage: StageForecast, guard: GuardForecast, traffic: Traffic) -> list[Way]:
    """Return the ways out for a guardrail that would hold its stage; each aims at four rollouts of five."""
    needed = _safe_units(guard)
    ways = [_longer(stage, guard, traffic, needed), _larger(stage, guard, needed)]
    if isinstance(guard.spec, RateGuardrail) and guard.spec.prove:
        ways.append(_limit(guard))
    elif guard.check is not Check.ABOVE_LIMIT:
        ways.append(_min_units(guard))
    ways.append(Way("observe", 'role = "observe"', "it is only shown, and neither holds nor rolls back"))
    ways.append(Way("override", None, OVERRIDE))
    return [way for way in ways if way is not None]


def of_watching(stage: StageForecast) -> list[Way]:
    """Return the ways out for a stage whose watched time cannot be reached."""
    if stage.is_watched:
        return []
    share = stage.stage.active_min / stage.watched_ms
    reached = whole_ms(0.8 * share * stage.stage.max_duration)
    days = 1.25 * stage.watched_ms
    ways = [Way("watched", f'active_min = "{written(reached)}"', "less watched time")]
    if days <= _LONGEST_MS:
        ways.append(Way("longer", f'max_duration = "{written(rounded_up(days))}"', "a longer stage"))
    return ways


def rounded_up(time_ms: float) -> int:
    """Return a duration in whole hours up to two days, in whole days above."""
    size = HOUR_MS if time_ms <= 2 * DAY_MS else DAY_MS
    return math.ceil(time_ms / size) * size


def whole_ms(time_ms: float) -> int:
    """Return a duration rounded down to whole hours, or to whole minutes below one."""
    size = HOUR_MS if time_ms >= HOUR_MS else 60_000
    return int(time_ms // size) * size


def written(time_ms: int) -> str:
    """Return a duration as a plan file has it.

    >>> written(172_800_000), written(5_400_000), written(0)
    ('2d', '90m', '0s')
    """
    for size, unit in ((DAY_MS, "d"), (HOUR_MS, "h"), (60_000, "m"), (1_000, "s")):
        if time_ms and time_ms % size == 0:
            return f"{time_ms // size}{unit}"
    return f"{time_ms}ms" if time_ms else "0s"


def limit_up(limit: float) -> float:
    """Return a limit rounded up to two figures.

    >>> limit_up(0.00423), limit_up(0.041), limit_up(0.5)
    (0.0043, 0.041, 0.5)
    """
    size = 10.0 ** (math.floor(math.log10(limit)) - 1)
    return min(round(math.ceil(limit / size - 1e-9) * size, 12), 0.5)


def limit_text(guard: str, limit: float) -> str:
    """Return a limit as a plan file has it: the lowest success for `success_rate`, else the highest rate."""
    return f"{1.0 - limit:.12g}" if guard == "success_rate" else f"{limit:.12g}"


def provable(guard: GuardForecast, power: float = SAFE) -> float:
    """Return the smallest limit that a stage's units can prove at the base rate with a probability.

    How many users fall into a stage is by chance too, so it is one standard deviation fewer than are expected.
    """
    units = guard.by_max or 0.0
    return planning.smallest_limit(int(units - math.sqrt(units)), guard.terms.beta, guard.base_rate or 0.0, power)


def _safe_units(guard: GuardForecast) -> float:
    """Return the units at which four of five rollouts pass, also if all have come before the stage may be left."""
    least = least_units(guard.spec, guard.terms)
    if not (isinstance(guard.spec, RateGuardrail) and guard.spec.prove):
        units = guard.at_base.units
        return units + 0.84 * math.sqrt(units) if units < math.inf else units
    return max(least, planning.units_to_stand(guard.spec.limit, guard.terms.beta, guard.base_rate or 0.0, SAFE))


def _longer(stage: StageForecast, guard: GuardForecast, traffic: Traffic, needed: float) -> Way | None:
    if guard.check is Check.ABOVE_LIMIT or needed == math.inf:
        return None
    time = traffic.ms_until(guard.spec.unit, arm_share(guard.spec, stage.stage.percentage), needed)
    if time is not None and time <= _LONGEST_MS:
        wanted = max(rounded_up(time), stage.stage.max_duration)
        return Way("longer", f'max_duration = "{written(wanted)}"', "a longer stage")
    if guard.spec.unit is Unit.USER and stage.users is not None and needed >= (guard.by_max or 0.0):
        return Way("longer", None, f"no time is enough: {stage.users:,.0f} users are all there are in this stage")
    return None


def _larger(stage: StageForecast, guard: GuardForecast, needed: float) -> Way | None:
    if guard.check is Check.ABOVE_LIMIT or not guard.by_max or needed == math.inf:
        return None
    # within a time, what comes is proportional to the share of the users
    percentage = arm_share(guard.spec, stage.stage.percentage) * needed / guard.by_max * 100.0
    step = 0.5 if percentage < 10.0 else 1.0
    percentage = math.ceil(percentage / step) * step
    most = 50.0 if is_relative(guard.spec) else 100.0
    if percentage > most:
        whole = "half of them" if is_relative(guard.spec) else "everybody"
        return Way("larger", None, f"no percentage is enough: {whole} would be too few")
    return Way("larger", f"percentage = {percentage:g}", "a larger share of the users")


def _limit(guard: GuardForecast) -> Way | None:
    limit = provable(guard)
    if limit == math.inf:
        return None
    name = guard.spec.name
    says = (
        "the highest success that can be proved" if name == "success_rate" else "the smallest limit that can be proved"
    )
    return Way("limit", f"limit = {limit_text(name, limit_up(limit))}", says)


def _min_units(guard: GuardForecast) -> Way | None:
    if (
        isinstance(guard.spec, SampleRatioGuardrail | RepeatGuardrail | ThresholdGuardrail)
        or not guard.by_max
        or guard.by_max < 2
    ):
        return None
    return Way("min_units", f"min_units = {fewer(guard.by_max)}", "PASS with fewer units, which notices less")


def fewer(units: float) -> int:
    """Return about four fifths of some units, to two figures: so many come in nearly every rollout.

    >>> fewer(400), fewer(37), fewer(2)
    (320, 29, 1)
    """
    some = int(0.8 * units)
    size: int = 10 ** max(len(str(some)) - 2, 0)
    return some // size * size
