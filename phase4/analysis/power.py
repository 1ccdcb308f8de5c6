"""How many units one guardrail takes at a true rate: formulas, guides on both sides, and simulated figures.

The simulation is the kernel alone, tick by tick with numpy; it is there to hold the formulas against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from phase4.analysis import eprocess, planning
from phase4.analysis.specs import RateGuardrail, Terms, least_units
from phase4.analysis.verdict import Verdict

DAY_TICKS = 2_880
"""Ticks of 30 s in a day."""


class Draws(Protocol):
    """Draws the simulated stages; a numpy generator does."""

    def poisson(self, lam: float, size: int) -> Any:
        """Return (size,) int64."""
        ...

    def binomial(self, n: Any, p: float) -> Any:
        """Return one number for each of `n`, int64."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What was seen in simulated stages."""

    replicates: int
    share: float
    """Proportion, 0-1, of the stages that reached the verdict before their end."""
    units: float
    """Units by which the proportion `power` of all stages had reached it; infinity if fewer did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSize:
    """What a verdict takes. Units are users or requests, as the guardrail counts."""

    verdict: Verdict
    """PASS for a true rate below the limit, FAIL above it."""
    lower: float
    """Wald's guide: no rule with this error needs fewer units on average."""
    units: float
    """PASS: by when it has come with the probability `power`, exactly. FAIL: on the expected path."""
    upper: float
    """FAIL: the upper guide for a defect that is there from the first unit; PASS: the same as `units`."""
    late: float | None
    """FAIL: units after a defect that begins in the middle of the stage, on the expected path; None for PASS."""
    days: float
    """`units` at the given traffic."""
    simulated: Simulated | None


def plan_sample_size(
    spec: RateGuardrail,
    terms: Terms,
    *,
    true_rate: float,
    power: float,
    units_per_day: float,
    replicates: int | None = None,
    rng: Draws | None = None,
) -> SampleSize:
    """Return how many units a guardrail takes to say what is true.

    Args:
        spec: The guardrail.
        terms: Its alpha, beta and planned length; None as length stands for what the figures themselves take.
        true_rate: The true rate, in (0, 1), not the limit itself.
        power: How likely the verdict has come by then, in (0, 1); for FAIL it says what is read off the simulation.
        units_per_day: Traffic of the guardrail's units, above 0.
        replicates: Simulated stages; None = formulas alone.
        rng: Draws the simulated stages; needed with `replicates`.

    Raises:
        ValueError: an argument is outside its range.
    """
    if true_rate == spec.limit or not 0.0 < true_rate < 1.0:
        raise ValueError(f"a true rate lies in (0, 1) and is not the limit: {true_rate}")
    if not 0.0 < units_per_day < math.inf:
        raise ValueError(f"units_per_day is above 0: {units_per_day}")
    if replicates is not None and rng is None:
        raise ValueError("simulated figures need a generator")
    is_pass, per_tick = true_rate < spec.limit, units_per_day / DAY_TICKS
    late = None
    if is_pass:
        needed = planning.units_to_pass(spec.limit, terms.beta, true_rate, power)
        units = upper = max(needed, least_units(spec, terms))
        lower = planning.wald_units(spec.limit, true_rate, terms.beta)
    else:
        drifts = planning.rate_drifts(spec.limit, true_rate)
        units = planning.units_to_fail(drifts, terms.alpha)
        lower = planning.wald_units(spec.limit, true_rate, terms.alpha)
        upper = planning.immediate_guide(spec.limit, true_rate, terms.alpha)
        horizon = terms.horizon_ticks
        late = planning.units_to_fail_late(drifts, terms.alpha, units_per_tick=per_tick, horizon_ticks=horizon)
    seen = None
    if replicates is not None and rng is not None:
        some = math.ceil(4.0 * units / per_tick) if math.isfinite(units) else DAY_TICKS
        stages = _Stages(spec, terms, true_rate, per_tick, terms.horizon_ticks or max(some, 1), replicates)
        ended = stages.proved(rng) if is_pass else stages.failed(rng)
        place = min(math.ceil(replicates * power), replicates) - 1
        share = sum(tick < math.inf for tick in ended) / replicates
        seen = Simulated(replicates=replicates, share=share, units=sorted(ended)[place] * per_tick)
    return SampleSize(
        verdict=Verdict.PASS if is_pass else Verdict.FAIL,
        lower=lower,
        units=units,
        upper=upper,
        late=late,
        days=units / units_per_day,
        simulated=seen,
    )


@dataclass(frozen=True, slots=True)
class _Stages:
    """Simulated stages, all at once; an answer is the tick, from 1, at which each ended, infinity where it did not."""

    spec: RateGuardrail
    terms: Terms
    rate: float
    per_tick: float
    ticks: int
    replicates: int

    def proved(self, rng: Draws) -> list[float]:
        """Return when each was proved to be below the limit."""
        import numpy as np

        grid = eprocess.rate_grid(self.spec.limit, eprocess.PASS_RATIOS)
        up, down = np.array(grid.up), np.array(grid.down)
        least = least_units(self.spec, self.terms)
        units, events, ended = np.zeros(self.replicates), np.zeros(self.replicates), np.full(self.replicates, np.inf)
        for tick in range(1, self.ticks + 1):
            drawn = rng.poisson(self.per_tick, self.replicates)
            units += drawn
            events += rng.binomial(drawn, self.rate)
            log_f = events[:, None] * up + (units - events)[:, None] * down
            log_e = np.logaddexp.reduce(log_f, axis=1) - math.log(len(up))
            ended[np.isinf(ended) & (log_e >= self.terms.pass_bound) & (units >= least)] = tick
            if np.isfinite(ended).all():
                break
        return [float(tick) for tick in ended]

    def failed(self, rng: Draws) -> list[float]:
        """Return when each failed."""
        import numpy as np

        grid = eprocess.rate_grid(self.spec.limit, eprocess.FAIL_RATIOS)
        up, down = np.array(grid.up), np.array(grid.down)
        e, ended = np.zeros((self.replicates, len(up))), np.full(self.replicates, np.inf)
        for tick in range(1, self.ticks + 1):
            drawn = rng.poisson(self.per_tick, self.replicates)
            events = rng.binomial(drawn, self.rate)
            growth = np.minimum(events[:, None] * up + (drawn - events)[:, None] * down, eprocess.EXPONENT_CAP)
            restart = eprocess.restart_weight(tick - 1, self.terms.horizon_ticks) / len(up)
            e = np.minimum((e + restart) * np.exp(growth), eprocess.E_CAP)
            ended[np.isinf(ended) & (e.sum(axis=1) >= 1.0 / self.terms.alpha)] = tick
            if np.isfinite(ended).all():
                break
        return [float(tick) for tick in ended]
