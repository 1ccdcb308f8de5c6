"""How each kind of guardrail is judged over a block of ticks; `phase4.analysis.block` is what others call."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from phase4.analysis import (
    guardrail_state,
    latency,
    moments_block,
    reading,
    sample_ratio,
    sample_ratio_block,
)
from phase4.analysis.block_base import Block, Bools, GuardrailBlock, Sides, is_near, possible
from phase4.analysis.columns import ArmColumns, Floats, Ints
from phase4.analysis.guardrail_state import GuardrailState
from phase4.analysis.moments import Moments
from phase4.analysis.observation import OutcomeSet, third_errors, user_counts
from phase4.analysis.specs import (
    GuardrailSpec,
    MeanGuardrail,
    QuantileGuardrail,
    RepeatGuardrail,
    SampleRatioGuardrail,
    Terms,
    proves,
)
from phase4.analysis.verdict import Unit


def judge(
    spec: GuardrailSpec,
    terms: Terms,
    state: GuardrailState,
    first_tick: int,
    treatment: ArmColumns,
    control: ArmColumns,
    *,
    skewed: Bools,
) -> GuardrailBlock | None:
    """Return the judgement of consecutive ticks, None where the scalar form must decide; arguments as `block.run`."""
    kind = _KINDS.get(type(spec), Block)
    return kind(spec, terms, state, first_tick, treatment, control, skewed=skewed).judge()


class _QuantileBlock(Block):
    """A quantile guardrail: a ratio of shares above thresholds."""

    def _counts(self, arm: ArmColumns) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
        assert isinstance(self.spec, QuantileGuardrail)
        found = arm.exceed.get(self.spec.name)
        if found is None:
            nothing = np.zeros(len(arm), np.int64)
            return (nothing, nothing), (nothing, nothing)
        is_named = ~np.isnan(found.threshold_ms)
        if self.spec.unit is Unit.USER:
            events, trials = found.first, user_counts(arm, OutcomeSet.ERROR, "first")[1]
        else:
            events, trials = found.requests, _timed(arm)
        pair = possible((np.where(is_named, events, 0), np.where(is_named, trials, 0)))
        return pair, pair

    def _has_data(self, arm: ArmColumns) -> Bools:
        has: Bools = _timed(arm) > 0
        return has

    def _with_evidence(self, changed: GuardrailState, sides: Sides, stop: int) -> GuardrailState:
        changed = super()._with_evidence(changed, sides, stop)
        if self.control.latencies is None:
            return changed
        upto = stop + 1 if not self.skewed[: stop + 1].any() else int(np.argmax(self.skewed))
        more = self.control.latencies.histogram(0, upto)
        return replace(changed, histogram=latency.merge(self.state.histogram, more))


class _RepeatBlock(Block):
    """Users with their third error: a ratio whose trials are the shares that were assigned."""

    def _counts(self, arm: ArmColumns) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
        assert isinstance(self.spec, RepeatGuardrail)
        if arm.units is None:
            raise ValueError("units are not counted by this source; leave sample_ratio and repeated_errors out")
        events: Ints = third_errors(arm)
        if events.min() < 0:
            raise ValueError("error_third_x counts users and is at least 0 in every tick")
        weight = self.spec.weights[0 if arm is self.treatment else 1]
        return (events, np.where(arm.requests > 0, weight, 0)), (events, arm.units)


class _MeanBlock(Block):
    """A mean: sums since the entry, and the bound at each tick."""

    def _counts(self, arm: ArmColumns) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
        nothing = np.zeros(len(arm), np.int64)
        return (nothing, nothing), (nothing, self._measured(arm)[0])

    def _has_data(self, arm: ArmColumns) -> Bools:
        has: Bools = self._measured(arm)[0] > 0
        return has

    def _measured(self, arm: ArmColumns) -> tuple[Ints, Floats, Floats]:
        """Return (n, sum, sum of squares) of the measure, each (ticks,): columns carry latencies and no metrics."""
        assert isinstance(self.spec, MeanGuardrail)
        if self.spec.measure != "latency" or arm.latencies is None:
            return np.zeros(len(arm), np.int64), np.zeros(len(arm)), np.zeros(len(arm))
        return arm.latencies.n, arm.latencies.s1, arm.latencies.s2

    def judge(self) -> GuardrailBlock | None:
        assert isinstance(self.spec, MeanGuardrail)
        sums = self._sums()
        fail, passing = self._log_e(sums)
        if is_near(fail, self.terms.fail_bound) or (proves(self.spec) and is_near(passing, self.terms.pass_bound)):
            return None
        made = self._put_together(
            Sides(
                crossed=fail >= self.terms.fail_bound,
                read=np.zeros(len(fail), np.int64),
                log_fail=fail,
                log_pass=passing if proves(self.spec) else None,
            )
        )
        if self.skewed.all():
            return made
        ours, theirs = (Moments(int(n[-1]), float(s1[-1]), float(s2[-1])) for n, s1, s2 in sums)
        # the exact form for what is kept, so that both forms leave the same state
        now = reading.mean_evidence(self.spec, self.terms, ours, theirs)
        best = max(self.state.max_log_e, float(fail[~self.skewed].max()))
        return replace(made, state=replace(made.state, moments=(ours, theirs), log_e=now, max_log_e=best))

    def _sums(self) -> tuple[tuple[Ints, Floats, Floats], tuple[Ints, Floats, Floats]]:
        """Return the sums of treatment and of control after each tick; what comes while shares are off is left out."""
        arms = zip(self.state.moments, (self.treatment, self.control), strict=True)
        ours, theirs = (
            moments_block.running(carried, *(np.where(self.skewed, 0, values) for values in self._measured(arm)))
            for carried, arm in arms
        )
        return ours, theirs

    def _log_e(self, sums: tuple[tuple[Ints, Floats, Floats], tuple[Ints, Floats, Floats]]) -> tuple[Floats, Floats]:
        """Return ln of the FAIL and of the PASS evidence at each tick; no tick is read while shares are off."""
        assert isinstance(self.spec, MeanGuardrail)
        margin, alphas = math.log1p(self.spec.margin), (self.terms.alpha, self.terms.beta)
        fail, passing = moments_block.log_e_of_both(*sums, margin, alphas)
        read = np.logical_or.accumulate(~self.skewed)
        before = guardrail_state.log_e_fail(self.state), guardrail_state.log_e_pass(self.state)
        return np.where(read, fail, before[0]), np.where(read, passing, before[1])

    def _with_evidence(self, changed: GuardrailState, sides: Sides, stop: int) -> GuardrailState:
        del sides, stop
        return changed


class _SampleRatioBlock(Block):
    """Counts of users since the entry against their shares."""

    def _counts(self, arm: ArmColumns) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
        if arm.units is None:
            raise ValueError("units are not counted by this source; leave sample_ratio and repeated_errors out")
        nothing = np.zeros(len(arm), np.int64)
        return (nothing, nothing), (nothing, arm.units)

    def judge(self) -> GuardrailBlock | None:
        assert isinstance(self.spec, SampleRatioGuardrail)
        if self.state.crossed_tick is not None:
            return None
        ours = self.state.units + np.cumsum(self.pass_t[1])
        theirs = self.state.units_control + np.cumsum(self.pass_c[1])
        log_e = sample_ratio_block.log_e(ours, theirs, self.spec.shares)
        if (log_e > sample_ratio.BOUND - 1e-6).any():
            return None  # an alarm is rare, and stops at its tick
        crossed = np.zeros(len(log_e), np.bool_)
        return self._put_together(Sides(crossed=crossed, read=np.zeros(len(log_e), np.int64), log_fail=log_e))

    def _with_evidence(self, changed: GuardrailState, sides: Sides, stop: int) -> GuardrailState:
        del stop
        # the exact form for what is kept, so that both forms leave the same state
        assert isinstance(self.spec, SampleRatioGuardrail)
        now = sample_ratio.log_e((changed.units, changed.units_control), self.spec.shares)
        return replace(changed, log_e=(now, 0.0), max_log_e=max(self.state.max_log_e, float(sides.log_fail.max())))


_KINDS: dict[type, type[Block]] = {
    QuantileGuardrail: _QuantileBlock,
    MeanGuardrail: _MeanBlock,
    RepeatGuardrail: _RepeatBlock,
    SampleRatioGuardrail: _SampleRatioBlock,
}


def _timed(arm: ArmColumns) -> Ints:
    """Return how many outcomes carry a latency, (ticks,)."""
    return np.zeros(len(arm), np.int64) if arm.latencies is None else arm.latencies.n
