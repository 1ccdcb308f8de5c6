"""The guide's five success criteria. Each is pass, fail or unknown; an unknown is never a pass."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from phase4.analysis.verdict import Assessment, Verdict
from phase4.durations import show
from phase4.monitor.coverage import Coverage
from phase4.rollout.plan import RolloutPlan
from phase4.store import served
from phase4.store.control import ControlStore
from phase4.store.served import Evaluator

TOGGLES = frozenset({"flag_enabled", "flag_disabled", "emergency", "stage_entered", "rolled_back", "percentage_set"})
"""Audit actions that switch a flag."""
SEEN_MS = 60_000
"""An evaluator that is alive so long after a change and has not served it has failed."""
FAST_MS = 1_000
MANY = 20
TEN_PERCENT = 10.0
ERROR_LIMIT = 0.01


class Status(StrEnum):
    """What is known of a criterion."""

    PASS = "pass"  # noqa: S105  a word, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One line of the guide's list."""

    name: str
    status: Status
    measured: Any
    """The number it rests on, None = not measured."""
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"name": self.name, "status": str(self.status), "measured": self.measured, "why": self.why}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A plan with the last answers of its guardrails in each stage that was entered."""

    plan: RolloutPlan
    stages: tuple[tuple[int, tuple[Assessment, ...]], ...]
    """(index of the stage, answers), in the order of the entries."""

    def latest(self) -> dict[int, tuple[Assessment, ...]]:
        """Return the answers of each stage's last entry: one that was begun anew proves nothing any more."""
        return dict(self.stages)


def all_of(
    store: ControlStore, plans: Sequence[Judged], coverage: Coverage, *, target: float, until_ms: int
) -> list[Criterion]:
    """Return the five criteria, in the guide's order.

    Args:
        store: The control store.
        plans: Every plan with what its guardrails said.
        coverage: Of the time range.
        target: Lowest acceptable coverage.
        until_ms: Up to when is known what happened.
    """
    evaluators = served.evaluators(store)
    toggles = _toggles(store)
    return [
        _without_restart(toggles, evaluators, until_ms),
        _ten_percent(plans),
        _impact(plans),
        _coverage(coverage, target),
        _fast(toggles, evaluators),
    ]


def _without_restart(toggles: Sequence[tuple[int, int]], evaluators: Sequence[Evaluator], until_ms: int) -> Criterion:
    name = "toggle without restart"
    seen_by_all, missed = 0, 0
    for version, at_ms in toggles:
        present = [e for e in evaluators if e.started_ms < at_ms and _alive(e, min(at_ms + SEEN_MS, until_ms))]
        waiting = [e for e in present if not _is_served(e, version, at_ms + SEEN_MS)]
        missed += sum(until_ms >= at_ms + SEEN_MS for _ in waiting)
        seen_by_all += bool(present) and not waiting
    if missed:
        why = f"{missed} times a running process did not serve a change within {SEEN_MS // 1000} s"
        return Criterion(name=name, status=Status.FAIL, measured=missed, why=why)
    if seen_by_all:
        changes = "1 change was" if seen_by_all == 1 else f"{seen_by_all} changes were"
        why = f"{changes} served by every process that was running, without a restart"
        return Criterion(name=name, status=Status.PASS, measured=seen_by_all, why=why)
    why = "no flag was switched while a process that records was running"
    return Criterion(name=name, status=Status.UNKNOWN, measured=None, why=why)


def _ten_percent(plans: Sequence[Judged]) -> Criterion:
    name = "10 % rollout, error rate < 1 %"
    found = [
        (judged.plan.plan_id, answer)
        for judged in plans
        for stage, answers in judged.latest().items()
        if judged.plan.stages[stage].percentage == TEN_PERCENT
        for answer in answers
        if answer.guardrail == "error_rate" and _limit(judged.plan, stage) <= ERROR_LIMIT
    ]
    if not found:
        why = "no stage of 10 % was judged against an error rate of 1 % or less"
        return Criterion(name=name, status=Status.UNKNOWN, measured=None, why=why)
    measured = {plan_id: None if math.isnan(answer.estimate) else answer.estimate for plan_id, answer in found}
    failed = [plan_id for plan_id, answer in found if answer.verdict is Verdict.FAIL]
    if failed:
        return Criterion(name=name, status=Status.FAIL, measured=measured, why=f"failed: {', '.join(failed)}")
    if all(answer.verdict is Verdict.PASS for _, answer in found):
        why = f"proved for {', '.join(plan_id for plan_id, _ in found)}"
        return Criterion(name=name, status=Status.PASS, measured=measured, why=why)
    return Criterion(name=name, status=Status.UNKNOWN, measured=measured, why="not proved yet")


def _impact(plans: Sequence[Judged]) -> Criterion:
    name = "performance impact < 5 %"
    answers = [answer for judged in plans for each in judged.latest().values() for answer in each]
    found = [answer for answer in answers if answer.guardrail == "latency_p95"]
    if not found:
        why = "no plan has a latency guardrail"
        return Criterion(name=name, status=Status.UNKNOWN, measured=None, why=why)
    measured = [None if math.isnan(answer.estimate) else answer.estimate for answer in found]
    if any(answer.verdict is Verdict.FAIL for answer in found):
        return Criterion(name=name, status=Status.FAIL, measured=measured, why="p95 grew against concurrent control")
    if all(answer.verdict is Verdict.PASS for answer in found):
        return Criterion(name=name, status=Status.PASS, measured=measured, why="p95 against concurrent control")
    return Criterion(name=name, status=Status.UNKNOWN, measured=measured, why="not decided yet")


def _coverage(coverage: Coverage, target: float) -> Criterion:
    name = f"coverage >= {100 * target:g}%"
    share = coverage.total
    if share is None:
        return Criterion(name=name, status=Status.UNKNOWN, measured=None, why="nothing was expected")
    watched = f"watched {show(coverage.observed_ms)} of {show(coverage.expected_ms)}"
    why = f"{watched}, {coverage.received} of {coverage.due} outcomes"
    return Criterion(name=name, status=Status.PASS if share >= target else Status.FAIL, measured=share, why=why)


def _fast(toggles: Sequence[tuple[int, int]], evaluators: Sequence[Evaluator]) -> Criterion:
    name = "enable and disable within 1 s"
    took: list[int] = []
    for version, at_ms in toggles:
        for evaluator in evaluators:
            served_ms = _served_ms(evaluator, version)
            if evaluator.started_ms < at_ms and served_ms is not None:
                took.append(served_ms - at_ms)
    if not took:
        why = "no change was seen by a running process"
        return Criterion(name=name, status=Status.UNKNOWN, measured=None, why=why)
    took.sort()
    p95, slowest = took[math.ceil(0.95 * len(took)) - 1], took[-1]
    is_fast = (p95 if len(toggles) >= MANY else slowest) < FAST_MS
    why = f"seen {len(took)} times in {len(toggles)} changes: p95 {p95} ms, slowest {slowest} ms"
    status = Status.PASS if is_fast else Status.FAIL
    return Criterion(name=name, status=status, measured={"p95_ms": p95, "slowest_ms": slowest}, why=why)


def _toggles(store: ControlStore) -> list[tuple[int, int]]:
    """Return (store version, time in ms) of every change of who has a feature; leaves of old homes carry no version."""
    marks = ", ".join("?" * len(TOGGLES))
    rows = store.rows(f"SELECT at_ms, leaf FROM audit WHERE action IN ({marks}) ORDER BY seq", *sorted(TOGGLES))  # noqa: S608
    leaves = [(at_ms, json.loads(leaf)) for at_ms, leaf in rows]
    return [(leaf["store_version"], at_ms) for at_ms, leaf in leaves if "store_version" in leaf]


def _alive(evaluator: Evaluator, at_ms: int) -> bool:
    return evaluator.closed_ms is None or evaluator.closed_ms > at_ms


def _served_ms(evaluator: Evaluator, version: int) -> int | None:
    """Return when an evaluator first served a version or a later one; None = not yet."""
    later = [at_ms for number, at_ms in evaluator.served if number >= version]
    return min(later) if later else None


def _is_served(evaluator: Evaluator, version: int, until_ms: int) -> bool:
    served_ms = _served_ms(evaluator, version)
    return served_ms is not None and served_ms <= until_ms


def _limit(plan: RolloutPlan, stage: int) -> float:
    return next(getattr(spec, "limit", 1.0) for spec in plan.guardrails[stage] if spec.name == "error_rate")
