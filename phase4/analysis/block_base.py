"""One guardrail over a block of ticks: the arithmetic that all kinds share, and that of rates, ratios and raw rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from phase4.analysis import counting, dispersion_block, eprocess, guardrail_state
from phase4.analysis.columns import ArmColumns, Floats, Ints
from phase4.analysis.dispersion import LADDER, Dispersion
from phase4.analysis.eprocess import FailEvidence, PassEvidence
from phase4.analysis.guardrail_state import GuardrailState
from phase4.analysis.guardrails import STALE_TICKS
from phase4.analysis.paths import above_limit, capped, last_sums, log_sum, restart_weights, restarted
from phase4.analysis.reading import AMBIENT_WINDOWS
from phase4.analysis.specs import (
    GuardrailSpec,
    RateGuardrail,
    RatioGuardrail,
    Terms,
    ThresholdGuardrail,
    is_relative,
    least_units,
    proves,
)
from phase4.analysis.verdict import Reason, Role, Verdict

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]

VERDICTS = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.NO_DATA, Verdict.FAIL)
"""A verdict's code is its index here: the worst of a stage is the largest (a signal's FAIL apart)."""
REASONS = tuple(Reason)
CODE = {verdict: code for code, verdict in enumerate(VERDICTS)}
WHY = {reason: code for code, reason in enumerate(REASONS)}
_NEAR = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailBlock:
    """One guardrail over a block of ticks."""

    log_e_fail: Floats
    """(ticks,) float64; minus infinity before data, NaN for a raw rule."""
    log_e_pass: Floats | None
    """(ticks,) float64; None where nothing is to be proved."""
    verdicts: Codes
    """(ticks,) int8, index into `VERDICTS`."""
    reasons: Codes
    """(ticks,) int8, index into `REASONS`."""
    state: GuardrailState
    """The state after the last tick."""


@dataclass(slots=True, kw_only=True)
class Sides:
    """What the two sides of a guardrail come to over a block, before verdicts."""

    crossed: Bools
    """(ticks,) whether FAIL holds at the tick."""
    read: Ints
    """(ticks,) how many ticks with evidence have been read, or with data where a window is kept."""
    log_fail: Floats
    log_pass: Floats | None = None
    components: Floats | None = None
    """(alternatives, read + 1) ln E_k before the block and after each tick with evidence."""
    log_f: Floats | None = None
    """(alternatives, ticks) ln F_k of the PASS side."""
    ambient: Bools | None = None
    window: tuple[Ints, Ints] | None = None
    """(events, trials) of the ticks that the state's window keeps, carried ones first."""


class Block:
    """The arithmetic of one guardrail over one block."""

    def __init__(
        self,
        spec: GuardrailSpec,
        terms: Terms,
        state: GuardrailState,
        first_tick: int,
        treatment: ArmColumns,
        control: ArmColumns,
        *,
        skewed: Bools,
    ) -> None:
        self.spec, self.terms, self.state = spec, terms, state
        self.ticks = np.arange(first_tick, first_tick + len(treatment), dtype=np.int64)
        self.treatment, self.control = treatment, control
        self.skewed = skewed & is_relative(spec)
        self.fail_t, self.pass_t = self._counts(treatment)
        self.fail_c, self.pass_c = self._counts(control)
        found = self._phi(len(treatment)) if guardrail_state.is_tilted(spec) else None
        self.phi: dispersion_block.Places | None
        self.phi, self.known = found or (None, state.dispersion)
        self.is_judged = np.ones(len(treatment), np.bool_) if self.phi is None else self.phi.before < len(LADDER)

    def _phi(self, size: int) -> tuple[dispersion_block.Places, Dispersion]:
        """Return phi's places for the first ticks, and what is known after them: from control's ticks that are read."""
        events, trials = (np.where(self.skewed[:size], 0, counts[:size]) for counts in self.fail_c)
        return dispersion_block.run(self.state.dispersion, events, trials)

    def _counts(self, arm: ArmColumns) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
        """Return (events, trials) of an arm for the FAIL side and for the PASS side."""
        spec = self.spec
        assert isinstance(spec, RateGuardrail | RatioGuardrail | ThresholdGuardrail)
        return possible(counting.fail_counts(spec, arm)), possible(counting.pass_counts(spec, arm))

    def _has_data(self, arm: ArmColumns) -> Bools:
        """Return in which ticks an arm has what the guardrail lives on, (ticks,)."""
        has: Bools = arm.requests > 0
        return has

    def judge(self) -> GuardrailBlock | None:
        """Return the judgement of the block, None where the scalar form must decide."""
        if self.spec.role is Role.GUARD and self.state.crossed_tick is not None:
            return self._latched()
        if isinstance(self.spec, ThresholdGuardrail):
            return self._put_together(self._threshold(self.spec))
        sides = self._evidence()
        if sides is None or is_near(sides.log_fail, self.terms.fail_bound):
            return None
        sides.log_pass, sides.log_f = self._pass_side()
        if sides.log_pass is not None and is_near(sides.log_pass, self.terms.pass_bound):
            return None
        return self._put_together(sides)

    def _latched(self) -> GuardrailBlock:
        size = len(self.ticks)
        log_fail = np.nan if isinstance(self.spec, ThresholdGuardrail) else guardrail_state.log_e_fail(self.state)
        return GuardrailBlock(
            log_e_fail=np.full(size, log_fail),
            log_e_pass=np.full(size, guardrail_state.log_e_pass(self.state)) if proves(self.spec) else None,
            verdicts=np.full(size, CODE[Verdict.FAIL], np.int8),
            reasons=np.full(size, WHY[Reason.EVIDENCE], np.int8),
            state=replace(self.state, last_tick=int(self.ticks[-1])),
        )

    def _evidence(self) -> Sides | None:
        """Return the FAIL side, None where one tick alone goes beyond what a float holds."""
        ambient = window = None
        if isinstance(self.spec, RateGuardrail) and self.spec.ambient:
            ambient, window = self._ambient(self.spec.limit)
        used, steps = self._fail_steps(ambient)
        if steps.size and steps.max() > eprocess.EXPONENT_CAP:
            return None
        weights = restart_weights(self.state.fail.ticks, steps.shape[1], self.terms.horizon_ticks)
        with np.errstate(divide="ignore"):
            carried = np.log(np.array(self.state.fail.e))
        components = restarted(steps, np.log(weights / len(carried)), carried)
        if components.max(initial=-np.inf) > eprocess.LOG_E_CAP - 1.0:
            components = capped(steps, weights / len(carried), np.array(self.state.fail.e))
        read = np.cumsum(used, dtype=np.int64)
        log_fail = np.minimum(log_sum(components), eprocess.LOG_E_CAP)[read]
        return Sides(
            crossed=log_fail >= self.terms.fail_bound,
            read=read,
            log_fail=log_fail,
            components=components,
            ambient=ambient,
            window=window,
        )

    def _fail_steps(self, ambient: Bools | None) -> tuple[Bools, Floats]:
        """Return which ticks are evidence, (ticks,), and ln F_k of those, (alternatives, used)."""
        x, n = self.fail_t
        used = (n > 0) & self.is_judged
        if isinstance(self.spec, RateGuardrail):
            used = used if ambient is None else used & ~ambient
            up, down = self._rate_grids(self.spec.limit, eprocess.FAIL_RATIOS, used)
            return used, x[used] * (up - down) + n[used] * down
        y, m = self.fail_c
        used = used & (m > 0) & ~self.skewed
        ups, downs = self._ratio_grids(n, m, self._nulls()[0], guardrail_state.ratios(self.spec)[0], used)
        return used, x[used] * ups + y[used] * downs

    def _rate_grids(self, limit: float, ratios: tuple[float, ...], used: Bools) -> tuple[Floats, Floats]:
        """Return the grid of a rate as (up, down), each (alternatives, used ticks) or, if all the same, (.., 1)."""
        if self.phi is not None:
            return dispersion_block.rate_grids(limit, self.phi.before[used], ratios)
        grid = eprocess.rate_grid(limit, ratios)
        return _column(grid.up), _column(grid.down)

    def _ratio_grids(
        self, n: Ints, m: Ints, r0: float, ratios: tuple[float, ...], used: Bools
    ) -> tuple[Floats, Floats]:
        """Return the grid of a ratio as (up, down), each (alternatives, used ticks)."""
        if self.phi is not None:
            return dispersion_block.ratio_grids(n[used], m[used], r0, self.phi.before[used], ratios)
        return dispersion_block.independent_ratio_grids(n[used], m[used], r0, ratios)

    def _nulls(self) -> tuple[float, float]:
        """Return the ratio of the FAIL side's null and of the PASS side's."""
        if isinstance(self.spec, RatioGuardrail):
            return self.spec.max_ratio, self.spec.pass_ratio
        return 1.0, 1.0

    def _ambient(self, limit: float) -> tuple[Bools, tuple[Ints, Ints]]:
        """Return which ticks control calls ambient, and control's counts on its ticks with data."""
        seen = self.fail_c[1] > 0
        events, trials = self._after_window(self.fail_c, seen)
        flags = above_limit(events, trials, limit)[len(self.state.window) :]
        return np.concatenate([[self.state.ambient], flags])[np.cumsum(seen)], (events, trials)

    def _threshold(self, spec: ThresholdGuardrail) -> Sides:
        seen = self.fail_t[1] > 0
        events, trials = self._after_window(self.fail_t, seen)
        carried = len(self.state.window)
        pooled_x, pooled_n = (last_sums(np.cumsum(counts), spec.window)[carried:] for counts in (events, trials))
        least = max(least_units(spec, self.terms), 1)
        breach = (pooled_n >= least) & (pooled_x / np.maximum(pooled_n, 1) > spec.limit)
        read = np.cumsum(seen, dtype=np.int64)
        return Sides(
            crossed=np.concatenate([[self.state.breached], breach])[read],
            read=read,
            log_fail=np.full(len(self.ticks), np.nan),
            window=(events, trials),
        )

    def _after_window(self, counts: tuple[Ints, Ints], seen: Bools) -> tuple[Ints, Ints]:
        """Return (events, trials) of the ticks seen, after those that the state carries."""
        carried = np.array(self.state.window, np.int64).reshape(-1, 2)
        events, trials = (np.concatenate([carried[:, i], counts[i][seen]]) for i in (0, 1))
        return events, trials

    def _pass_side(self) -> tuple[Floats | None, Floats]:
        """Return log E_pass (ticks,), None where nothing is to be proved, and ln F_k (alternatives, ticks)."""
        x, n = self.pass_t
        carried = _column(self.state.passing.log_f)
        steps = np.zeros((len(carried), len(x)))
        if isinstance(self.spec, RateGuardrail):
            used = self.is_judged
            up, down = self._rate_grids(self.spec.limit, eprocess.PASS_RATIOS, used)
            steps[:, used] = x[used] * (up - down) + n[used] * down
        elif not proves(self.spec):
            return None, np.broadcast_to(carried, steps.shape)
        else:
            y, m = self.pass_c
            used = (n > 0) & (m > 0) & ~self.skewed & self.is_judged
            ups, downs = self._ratio_grids(n, m, self._nulls()[1], guardrail_state.ratios(self.spec)[1], used)
            steps[:, used] = x[used] * ups + y[used] * downs
        log_f = carried + np.cumsum(steps, axis=1)
        return (log_sum(log_f) - np.log(len(carried)) if proves(self.spec) else None), log_f

    def _put_together(self, sides: Sides) -> GuardrailBlock:
        size = len(self.ticks)
        data = self._newest(self.treatment, self.state.data_tick)
        control = self._newest(self.control, self.state.control_tick)
        verdicts, reasons = self._codes(sides, data, control)
        first = int(np.argmax(sides.crossed)) if sides.crossed.any() else None
        latches = self.spec.role is Role.GUARD
        stop = size - 1 if first is None or not latches else first
        state = self._state_at(sides, stop, first, data, control)
        if stop < size - 1:  # a guard latches: its evidence stops where it failed
            sides.log_fail[stop:] = sides.log_fail[stop]
            verdicts[stop:], reasons[stop:] = CODE[Verdict.FAIL], WHY[Reason.EVIDENCE]
            if sides.log_pass is not None:
                sides.log_pass[stop:] = sides.log_pass[stop]
        return GuardrailBlock(
            log_e_fail=sides.log_fail, log_e_pass=sides.log_pass, verdicts=verdicts, reasons=reasons, state=state
        )

    def _codes(self, sides: Sides, data: Ints, control: Ints) -> tuple[Codes, Codes]:
        """Return verdict and reason of each tick: FAIL, NO_DATA, INCONCLUSIVE, PASS, first match wins."""
        least = least_units(self.spec, self.terms)
        few = self.state.units + np.cumsum(self.pass_t[1]) < least
        rows: list[tuple[Bools, Verdict, Reason]] = [
            (sides.crossed, Verdict.FAIL, Reason.EVIDENCE),
            (data < 0, Verdict.NO_DATA, Reason.NO_UNITS),
        ]
        if is_relative(self.spec):
            few |= self.state.units_control + np.cumsum(self.pass_c[1]) < least
            rows.append((control < 0, Verdict.NO_DATA, Reason.NO_CONTROL))
            rows.append((self.ticks - control >= STALE_TICKS, Verdict.NO_DATA, Reason.STALE))
        rows.append((self.ticks - data >= STALE_TICKS, Verdict.NO_DATA, Reason.STALE))
        rows.append((self.skewed, Verdict.INCONCLUSIVE, Reason.SAMPLE_RATIO))
        if sides.ambient is not None:
            rows.append((sides.ambient, Verdict.INCONCLUSIVE, Reason.AMBIENT))
        if self.phi is not None:
            rows.append((self.phi.after == len(LADDER), Verdict.INCONCLUSIVE, Reason.OVERDISPERSED))
        rows.append((few, Verdict.INCONCLUSIVE, Reason.MIN_UNITS))
        done = Reason.NO_ALARM
        if sides.log_pass is not None:
            rows.append((sides.log_pass < self.terms.pass_bound, Verdict.INCONCLUSIVE, Reason.COLLECTING))
            done = Reason.EVIDENCE
        verdicts = np.full(len(self.ticks), CODE[Verdict.PASS], np.int8)
        reasons = np.full(len(self.ticks), WHY[done], np.int8)
        for condition, verdict, reason in reversed(rows):
            verdicts[condition], reasons[condition] = CODE[verdict], WHY[reason]
        return verdicts, reasons

    def _newest(self, arm: ArmColumns, carried: int | None) -> Ints:
        """Return the newest tick with an outcome, at each tick; -1 for none."""
        newest = np.maximum.accumulate(np.where(self._has_data(arm), self.ticks, -1))
        return newest if carried is None else np.maximum(newest, carried)

    def _state_at(self, sides: Sides, stop: int, first: int | None, data: Ints, control: Ints) -> GuardrailState:
        """Return the state after the tick at place `stop`; `first` is the place of the first FAIL."""
        state, spec, end = self.state, self.spec, slice(0, stop + 1)
        changed = replace(
            state,
            last_tick=int(self.ticks[-1]),
            units=state.units + int(self.pass_t[1][end].sum()),
            units_control=state.units_control + int(self.pass_c[1][end].sum()),
            events=state.events + int(self.pass_t[0][end].sum()),
            events_control=state.events_control + int(self.pass_c[0][end].sum()),
            data_tick=int(data[stop]) if data[stop] >= 0 else None,
            control_tick=int(control[stop]) if control[stop] >= 0 else None,
        )
        if first is not None and state.crossed_tick is None:
            changed = replace(changed, crossed_tick=int(self.ticks[first]))
        if self.phi is not None:
            is_whole = stop + 1 == len(self.ticks)
            changed = replace(changed, dispersion=self.known if is_whole else self._phi(stop + 1)[1])
        rows = int(sides.read[stop])
        if isinstance(spec, ThresholdGuardrail):
            kept = _window_at(sides.window, rows + len(state.window), spec.window)
            return replace(changed, window=kept, breached=bool(sides.crossed[stop]))
        if sides.ambient is not None:
            seen = int((self.fail_c[1][end] > 0).sum()) + len(state.window)
            kept = _window_at(sides.window, seen, AMBIENT_WINDOWS[-1])
            changed = replace(changed, window=kept, ambient=bool(sides.ambient[stop]))
        return self._with_evidence(changed, sides, stop)

    def _with_evidence(self, changed: GuardrailState, sides: Sides, stop: int) -> GuardrailState:
        """Return a state with the evidence at place `stop`."""
        state, rows = self.state, int(sides.read[stop])
        assert sides.components is not None
        assert sides.log_f is not None
        return replace(
            changed,
            fail=FailEvidence(tuple(np.exp(sides.components[:, rows]).tolist()), state.fail.ticks + rows),
            passing=PassEvidence(tuple(sides.log_f[:, stop].tolist())),
            max_log_e=max(state.max_log_e, float(sides.log_fail[: stop + 1].max())),
        )


def possible(counts: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Return (events, trials), refused where impossible."""
    events, trials = counts
    if events.min() < 0 or (events > trials).any():
        raise ValueError("events lie between 0 and trials in every tick")
    return events, trials


def _column(values: Sequence[float]) -> Floats:
    return np.array(values)[:, None]


def _window_at(window: tuple[Ints, Ints] | None, count: int, length: int | None) -> tuple[tuple[int, int], ...]:
    """Return the newest pairs among the first `count`, as the scalar state keeps them."""
    assert window is not None
    events, trials = window
    if length is None:
        return ((int(events[:count].sum()), int(trials[:count].sum())),) if count else ()
    begin = max(count - length, 0)
    return tuple(zip(events[begin:count].tolist(), trials[begin:count].tolist(), strict=True))


def is_near(log_e: Floats, bound: float) -> bool:
    """Return whether evidence comes so near a bound anywhere that rounding could decide."""
    return bool(np.any(np.abs(log_e - bound) < _NEAR))
