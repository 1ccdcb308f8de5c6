"""The judge for many ticks at once: the same answers as `guardrails.step`, in numpy.

Evidence moves with closed ticks only and, inside a stage, does not depend on decisions; so a simulator may judge a
block of delivered ticks in one go and read row j at tick j. Logarithms are taken throughout, and where log E comes
within 1e-9 of a bound, or a component within reach of the cap, the scalar form decides: both forms agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phase4.analysis import block_kinds, guardrails
from phase4.analysis.block_base import (
    CODE,
    REASONS,
    VERDICTS,
    WHY,
    Bools,
    Codes,
    GuardrailBlock,
)
from phase4.analysis.columns import ArmColumns
from phase4.analysis.guardrail_state import GuardrailState
from phase4.analysis.specs import GuardrailSpec, SampleRatioGuardrail, Terms, proves
from phase4.analysis.verdict import Role, Verdict

__all__ = ["REASONS", "VERDICTS", "GuardrailBlock", "by_steps", "combine", "run", "run_all"]


def run_all(
    specs: Sequence[GuardrailSpec],
    terms: Sequence[Terms],
    states: Sequence[GuardrailState],
    first_tick: int,
    treatment: ArmColumns,
    control: ArmColumns,
) -> tuple[GuardrailBlock, ...]:
    """Return the judgement of a stage's guardrails over consecutive ticks; the sample ratio is read before the others.

    The arguments are those of `run`, with one specification, terms and state for each guardrail.
    """
    made: dict[int, GuardrailBlock] = {}
    skewed = np.zeros(len(treatment), np.bool_)
    is_ratio = [isinstance(spec, SampleRatioGuardrail) for spec in specs]
    for place in sorted(range(len(specs)), key=lambda place: not is_ratio[place]):
        before = None if is_ratio[place] else skewed
        one = run(specs[place], terms[place], states[place], first_tick, treatment, control, skewed=before)
        made[place] = one
        if is_ratio[place]:
            skewed |= one.verdicts == CODE[Verdict.FAIL]
    return tuple(made[place] for place in range(len(specs)))


def run(
    spec: GuardrailSpec,
    terms: Terms,
    state: GuardrailState,
    first_tick: int,
    treatment: ArmColumns,
    control: ArmColumns,
    *,
    skewed: Bools | None = None,
) -> GuardrailBlock:
    """Return the judgement of consecutive closed ticks first_tick, first_tick + 1, ...

    Args:
        spec: The guardrail.
        terms: Its alpha, beta and planned length.
        state: The state after the tick before.
        first_tick: Number of the first tick, above the last one that the state has read.
        treatment: Counts of treatment, at least one tick.
        control: Counts of control, as many ticks.
        skewed: (ticks,) whether the sample ratio alarms; None = never.

    Raises:
        ValueError: the first tick is not above the last one read, the arms differ in length, or a count is impossible.
    """
    if first_tick <= state.last_tick:
        raise ValueError(f"ticks strictly grow: {first_tick} after {state.last_tick}")
    if len(treatment) != len(control) or not len(treatment):
        raise ValueError(f"arms have the same number of ticks, at least 1: {len(treatment)} and {len(control)}")
    if skewed is None:
        skewed = np.zeros(len(treatment), np.bool_)
    made = block_kinds.judge(spec, terms, state, first_tick, treatment, control, skewed=skewed)
    return made or by_steps(spec, terms, state, first_tick, treatment, control, skewed=skewed)


def by_steps(
    spec: GuardrailSpec,
    terms: Terms,
    state: GuardrailState,
    first_tick: int,
    treatment: ArmColumns,
    control: ArmColumns,
    *,
    skewed: Bools | None = None,
) -> GuardrailBlock:
    """Return what `run` returns, by the scalar form tick by tick."""
    size = len(treatment)
    off = [False] * size if skewed is None else skewed.tolist()
    log_fail, log_pass = np.empty(size), np.empty(size)
    verdicts, reasons = np.empty(size, np.int8), np.empty(size, np.int8)
    for index in range(size):
        tick = first_tick + index
        own = treatment.row(index, tick=tick, flag_id=1, entry=1, arm=2)
        other = control.row(index, tick=tick, flag_id=1, entry=1, arm=1)
        state = guardrails.step(spec, terms, state, tick, own, other, is_skewed=off[index])
        answer = guardrails.assess(spec, terms, state, tick, is_skewed=off[index])
        log_fail[index] = answer.log_e_fail
        log_pass[index] = np.nan if answer.log_e_pass is None else answer.log_e_pass
        verdicts[index], reasons[index] = CODE[answer.verdict], WHY[answer.reason]
    return GuardrailBlock(
        log_e_fail=log_fail,
        log_e_pass=log_pass if proves(spec) else None,
        verdicts=verdicts,
        reasons=reasons,
        state=state,
    )


def combine(roles: Sequence[Role], verdicts: Sequence[Codes]) -> tuple[Codes, Codes]:
    """Return the verdict of a stage at each tick and the index of the guardrail that decided it, each (ticks,) int8.

    The same as `verdict.combine`: a guard's FAIL, then NO_DATA, then anything that is not PASS; the first in the
    plan's order decides, -1 for PASS.
    """
    deciding = [index for index, role in enumerate(roles) if role is not Role.OBSERVE]
    size = len(verdicts[0]) if verdicts else 0
    if not deciding:
        return np.full(size, CODE[Verdict.NO_DATA], np.int8), np.full(size, -1, np.int8)
    codes = np.stack([verdicts[index] for index in deciding])
    guards = np.array([roles[index] is Role.GUARD for index in deciding])
    conditions = (
        (codes == CODE[Verdict.FAIL]) & guards[:, None],
        codes == CODE[Verdict.NO_DATA],
        codes != CODE[Verdict.PASS],
    )
    outcome = np.full(size, CODE[Verdict.PASS], np.int8)
    decider = np.full(size, -1, np.int8)
    for rule, verdict in reversed(
        list(zip(conditions, (Verdict.FAIL, Verdict.NO_DATA, Verdict.INCONCLUSIVE), strict=True))
    ):
        hit = rule.any(axis=0)
        outcome[hit] = CODE[verdict]
        decider[hit] = np.array(deciding, np.int8)[rule[:, hit].argmax(axis=0)]
    return outcome, decider
