"""Invariants, on in every run. Not `assert`: they stay under `-O`. A violation ends the run.

Each has a planted bug that it catches, in tests/unit/sim/test_checks.py.
"""

from __future__ import annotations

import numpy as np

from phase4.analysis.columns import ArmColumns
from phase4.analysis.observation import OutcomeSet, request_counts
from phase4.analysis.verdict import Verdict
from phase4.errors import InvariantViolation
from phase4.rollout.decide import StageObservation
from phase4.rollout.events import EntryCause, Event, RolledBack, StageEntered
from phase4.rollout.journal import Journal
from phase4.rollout.plan import RolloutPlan
from phase4.rollout.state import Phase, RolloutState, replay


def counts_are_possible(
    treatment: ArmColumns,
    control: ArmColumns,
    ahead: dict[str, int] | None = None,
    *,
    counts_exposures: bool = False,
) -> None:
    """Users at risk are among the requests, first outcomes among the users, events among the trials.

    Args:
        treatment: Counts of consecutive ticks of an entry.
        control: As many of control.
        ahead: How many users of the entry's earlier ticks have no first outcome yet, by arm and outcome set; brought up
            to date here. None = the ticks are the entry's first.
        counts_exposures: Whether a user may be seen without a request.
    """
    ahead = {} if ahead is None else ahead
    for name, arm in (("treatment", treatment), ("control", control)):
        if arm.units is not None:
            possible = (arm.units >= 0) & (counts_exposures | (arm.units <= arm.requests))
            _hold(np.all(possible), f"{name}: more users than requests")
        for column in ("ok", "error", "timeout", "invalid", "late"):
            _hold(np.all(getattr(arm, column) >= 0), f"{name}: {column} is negative")
        if arm.error_third_x is not None:
            failed = request_counts(arm, OutcomeSet.ERROR)[0]
            _hold(
                np.all((arm.error_third_x >= 0) & (arm.error_third_x <= failed)), f"{name}: error_third_x beyond errors"
            )
        for outcome_set in OutcomeSet:
            risk_n, risk_x, first_n, first_x = (
                getattr(arm, f"{outcome_set}_{count}") for count in ("risk_n", "risk_x", "first_n", "first_x")
            )
            if risk_n is None:
                continue
            _hold(np.all(risk_x <= risk_n), f"{name}: {outcome_set}_risk_x is above {outcome_set}_risk_n")
            _hold(
                np.all(risk_x <= request_counts(arm, outcome_set)[0]), f"{name}: more {outcome_set}_risk_x than events"
            )
            _hold(np.all(first_x >= 0) and np.all(risk_x >= 0), f"{name}: {outcome_set} counts users below 0")
            _hold(np.all(risk_n <= arm.requests), f"{name}: {outcome_set}_risk_n is above the requests")
            _hold(np.all(first_x <= first_n), f"{name}: {outcome_set}_first_x is above {outcome_set}_first_n")
            if arm.units is not None:
                place = f"{name} {outcome_set}"
                left = ahead.get(place, 0) + np.cumsum(arm.units - first_n)
                _hold(np.all(left >= 0), f"{name}: more first outcomes in {outcome_set}_first_n than users")
                ahead[place] = int(left[-1]) if len(left) else ahead.get(place, 0)


def step_is_legal(
    plan: RolloutPlan, before: RolloutState, event: Event, seen: StageObservation | None, now_ms: int
) -> None:
    """No promotion before its time, without PASS or past an approval; only FAIL or a person rolls back."""
    if isinstance(event, StageEntered) and event.cause is not EntryCause.START:
        stage = plan.stages[before.stage]
        _hold(event.stage == before.stage + 1, f"stage {event.stage} does not follow stage {before.stage}")
        _hold(seen is not None and seen.verdict is Verdict.PASS, "a stage was entered without PASS")
        _hold(before.elapsed_ms(now_ms) >= stage.bake, "a stage was left before its bake time")
        _hold(seen is not None and seen.active_ms >= stage.active_min, "a stage was left before its active time")
        if plan.needs_approval(event.stage):
            _hold(len(before.approvals) >= plan.approvals_required, "a stage was entered without its approvals")
    if isinstance(event, RolledBack) and event.guardrail is not None:
        _hold(seen is not None and seen.verdict is Verdict.FAIL, "a rollback without FAIL and without a person")


def exposure_is_legal(before: RolloutState, event: Event, after: RolloutState, switched: float) -> None:
    """Exposure rises by entering a stage only, is 0 after a rollback, and is what the state says."""
    if not isinstance(event, StageEntered):
        _hold(after.percentage <= before.percentage, f"{event.kind} raised the exposure")
    if after.phase is Phase.ROLLED_BACK:
        _hold(switched == 0.0, f"rolled back, and still exposed at {switched} %")
    _hold(switched == after.percentage, f"the switch is at {switched} %, the state at {after.percentage} %")


def exposure_repeats(once: float, twice: float) -> None:
    """Carrying out a recorded event again changes nothing."""
    _hold(once == twice, f"an event carried out twice moved the exposure from {once} to {twice} %")


def journal_is_state(journal: Journal, state: RolloutState) -> None:
    """The journal's fold is the state."""
    _hold(replay(journal.read()) == state, "replay(journal) is not the state")


def _hold(condition: object, message: str) -> None:
    if not condition:
        raise InvariantViolation(message)
