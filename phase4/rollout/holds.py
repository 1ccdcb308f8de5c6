"""Why a stage is held, and what ends that: for every hold a cause and a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from phase4.analysis.explain import Explanation
from phase4.analysis.verdict import Reason, Role, Verdict
from phase4.rollout.plan import RolloutPlan


class Hold(NamedTuple):
    """One guardrail that keeps a stage from being left."""

    guardrail: str
    cause: str
    """In words, with what would change it."""
    ends_with: str
    """The command that ends it, or that shows what has to be mended first."""


_CAUSES = {
    Reason.NO_UNITS: "nothing has been seen of treatment",
    Reason.NO_CONTROL: "nothing has been seen of control",
    Reason.STALE: "outcomes have stopped coming",
    Reason.SAMPLE_RATIO: "the arms do not have the shares that were assigned",
    Reason.AMBIENT: "control itself is above the limit",
    Reason.OVERDISPERSED: "control's own requests fail in bursts that are too large to judge by",
    Reason.MIN_UNITS: "too few have been seen",
    Reason.COLLECTING: "it is not proved yet",
    Reason.EVIDENCE: "it failed as a signal: it holds, and does not roll back",
}


def of(plan: RolloutPlan, stage: int, said: Sequence[Explanation]) -> list[Hold]:
    """Return what holds a stage, in the plan's order; empty when every guardrail passes or one has failed as a guard.

    Args:
        plan: The plan.
        stage: Index of the stage.
        said: What each guardrail of the stage says.
    """
    deciding = [each for each in said if each.answer.role is not Role.OBSERVE]
    if any(each.answer.role is Role.GUARD and each.answer.verdict is Verdict.FAIL for each in deciding):
        return []
    return [_hold(plan, stage, each) for each in deciding if each.answer.verdict is not Verdict.PASS]


def _hold(plan: RolloutPlan, stage: int, said: Explanation) -> Hold:
    cause = f"{_CAUSES[said.answer.reason]}; needs {said.changes}"
    return Hold(said.answer.guardrail, cause, _command(plan, stage, said.answer.reason))


def _command(plan: RolloutPlan, stage: int, reason: Reason) -> str:
    is_last = stage + 1 == len(plan.stages)
    override = f'phase4 rollout approve {plan.plan_id} --override --reason "TEXT"'
    without_proof = f"phase4 rollout cancel {plan.plan_id}" if is_last else override
    match reason:
        case Reason.NO_UNITS | Reason.NO_CONTROL | Reason.STALE:
            return "phase4 events list"
        case Reason.MIN_UNITS | Reason.COLLECTING | Reason.OVERDISPERSED:
            return without_proof
        case Reason.AMBIENT:
            return f"phase4 monitor metrics --flag {plan.flag_key}"
        case _:
            return f"phase4 rollout rollback {plan.plan_id}"
