"""FAIL evidence over several entries of one stage, and over a very long one: is its alpha kept?

A service exactly at its limit, users as units, every request by a new user; judged by the production guardrail in
blocks. A stage is left and entered again at fixed times, or by an operator who does it whenever the evidence looks bad:
the flag off and on again must wash nothing out and buy no second chance of a false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from phase4.analysis import block, guardrails
from phase4.analysis.columns import ArmColumns
from phase4.analysis.guardrail_state import GuardrailState
from phase4.analysis.specs import RateGuardrail, Terms
from phase4.rollout.judge import carry
from tests.benchmarks.timing import Figure
from tests.unit.analysis import stages
from tests.unit.analysis.stages import ALPHA, LIMIT, TICKS

ROLLOUTS = 1000
ENTRIES = 12
LONG = 60_480
"""Ticks of three weeks, in a stage that was planned for two days."""
LONG_ROLLOUTS = 300
SPEC = RateGuardrail(name="error_rate", limit=LIMIT, ambient=False)
TERMS = Terms(alpha=ALPHA, beta=0.05, horizon_ticks=TICKS)
LOOKS_BAD = 0.5
"""ln of the evidence at which the operator leaves the stage: it is 1.6 times what it was at the start."""

Enter = Callable[[GuardrailState], GuardrailState]


def columns(generator: np.random.Generator, n: int, ticks: int) -> ArmColumns:
    """Return a service exactly at its limit: every request is a user's first."""
    trials = np.full(ticks, n, np.int64)
    events = generator.binomial(n, LIMIT, ticks).astype(np.int64)
    return replace(
        ArmColumns.of_requests(events, trials),
        error_risk_n=trials,
        error_risk_x=events,
        error_first_n=trials,
        error_first_x=events,
    )


def anew(_state: GuardrailState) -> GuardrailState:
    """Return the state of an entry that knows nothing of the one before: what the product does not do."""
    return guardrails.start(SPEC)


def go_on(state: GuardrailState) -> GuardrailState:
    """Return the state of a new entry, as the product has it."""
    return carry(guardrails.start(SPEC), state)


def fails(
    n: int, seed: int, enter: Enter, *, ticks: int = TICKS, entries: int = ENTRIES, cautious: bool = False
) -> bool:
    """Return whether one rollout is rolled back: entered anew at fixed times, or when the evidence looks bad."""
    generator = np.random.default_rng(seed)
    arm = columns(generator, n, ticks)
    state, begin, left = guardrails.start(SPEC), 0, entries - 1
    while begin < ticks:
        end = ticks if cautious or not entries else min(begin + ticks // entries, ticks)
        part = arm.slice(begin, end)
        made = block.run(SPEC, TERMS, state, begin, part, part)
        if cautious and left:
            bad = np.flatnonzero(made.log_e_fail >= LOOKS_BAD)
            if len(bad) and made.log_e_fail[bad[0]] < TERMS.fail_bound:
                end, left = begin + int(bad[0]) + 1, left - 1
                part = arm.slice(begin, end)
                made = block.run(SPEC, TERMS, state, begin, part, part)
        if made.state.crossed_tick is not None:
            return True
        state, begin = enter(made.state), end
    return False


def share(n: int, enter: Enter, *, rollouts: int = ROLLOUTS, **how: object) -> float:
    """Return the share of rollouts that are rolled back."""
    return sum(fails(n, 1_000 * n + seed, enter, **how) for seed in range(rollouts)) / rollouts  # type: ignore[arg-type]


def figures() -> list[Figure]:
    """Return the figures of this page."""
    made = []
    for n in (10, 100, 1000):
        name = f"a service at its limit of 1 %, n = {n}"
        made += [
            _at_most(f"{name}, {ENTRIES} entries, evidence carried: rolled back", share(n, go_on), ROLLOUTS),
            _shown(f"{name}, {ENTRIES} entries, each judged anew (not the product's rule)", share(n, anew), ROLLOUTS),
            _at_most(f"{name}, entered again when it looks bad, carried", share(n, go_on, cautious=True), ROLLOUTS),
            _shown(f"{name}, the same, each judged anew", share(n, anew, cautious=True), ROLLOUTS),
        ]
    long = share(100, go_on, rollouts=LONG_ROLLOUTS, ticks=LONG, entries=1)
    made.append(_at_most("one entry of 21 days, planned for 2, n = 100: rolled back", long, LONG_ROLLOUTS))
    return made


def _at_most(name: str, seen: float, rollouts: int) -> Figure:
    limit = stages.upper(ALPHA, rollouts)
    return Figure(name=name, seen=_words(seen, rollouts), bound=f"<= {limit:.1%}", is_met=seen <= limit)


def _shown(name: str, seen: float, rollouts: int) -> Figure:
    return Figure(name=name, seen=_words(seen, rollouts), bound="", is_met=None)


def _words(seen: float, rollouts: int) -> str:
    return f"{seen:.1%} (s.e. {math.sqrt(seen * (1.0 - seen) / rollouts):.1%})"
