"""How a plan's probability of a false rollback is shared out, as it is printed."""

from __future__ import annotations

from typing import Any

from phase4.analysis import sample_ratio
from phase4.analysis.specs import SampleRatioGuardrail, ThresholdGuardrail
from phase4.analysis.verdict import Role
from phase4.cli.console import percent
from phase4.rollout.plan import RolloutPlan

_INTERVAL_MS = 30_000
"""Any will do: the shares do not depend on the length of a tick."""


def rows(plan: RolloutPlan) -> list[dict[str, Any]]:
    """Return what each guardrail of each stage has of the budget; alpha is None where nothing is kept."""
    return [row for index in range(len(plan.stages)) for row in _of(plan, index)]


def spent(plan: RolloutPlan, stage: int | None = None) -> float | None:
    """Return how likely a healthy feature is rolled back at most, in a stage or in all; None = nothing is promised."""
    wanted = range(len(plan.stages)) if stage is None else (stage,)
    own = [row for index in wanted for row in _of(plan, index) if row["role"] == str(Role.GUARD)]
    if any(row["alpha"] is None for row in own):
        return None
    return sum((float(row["alpha"]) for row in own), 0.0)


def lines(plan: RolloutPlan, width: int) -> list[str]:
    """Return the budget as a table, or as cards where that is too wide.

    A stage like the one before it is said to be so.
    """
    table = _table(plan)
    return table if max(map(len, table)) <= width else _cards(plan)


def _table(plan: RolloutPlan) -> list[str]:
    found, before = [], None
    width = max(len(stage.name) for stage in plan.stages)
    name = max(len(spec.name) for specs in plan.guardrails for spec in specs)
    for index, stage in enumerate(plan.stages):
        shown = [_line(row, name) for row in _of(plan, index)]
        if shown == before:
            found.append(f"{stage.name:<{width}}  the same")
            continue
        found += [f"{stage.name if place == 0 else '':<{width}}  {text}" for place, text in enumerate(shown)]
        before = shown
    return [f"{'':<{width}}  {'guardrail':<{name}} {'role':<7} {'alpha':>8} {'weight':>6} {'E needed':>8}", *found]


def _cards(plan: RolloutPlan) -> list[str]:
    found, before = [], None
    for index, stage in enumerate(plan.stages):
        own = [text for row in _of(plan, index) for text in (f"  {row['guardrail']} ({row['role']})", _short(row))]
        found += [f"{stage.name}: the same"] if own == before else [stage.name, *own]
        before = own
    return found


def _short(row: dict[str, Any]) -> str:
    if row["alpha"] is None:
        return "    no error control"
    return f"    alpha {row['alpha']:.3g}, weight {row['weight']:.3g}, E {row['e_needed']:,.0f}"


def promise(plan: RolloutPlan) -> str:
    """Return in a sentence how often a healthy feature is rolled back."""
    total = spent(plan)
    if total is None:
        raw = [row["guardrail"] for row in rows(plan) if row["alpha"] is None and row["role"] == str(Role.GUARD)]
        names = ", ".join(dict.fromkeys(raw))
        return f"How often these rules roll back a healthy feature is not known: {names} has no error control."
    if not total:
        return "Nothing rolls back by these rules."
    return f"A healthy feature is rolled back by these rules with probability at most {percent(total)} over the plan."


def of_stage(plan: RolloutPlan, stage: int) -> dict[str, Any]:
    """Return the budget of a stage and of its plan as plain values."""
    return {"plan": plan.alpha, "spent": spent(plan), "spent_in_stage": spent(plan, stage) if stage >= 0 else None}


def stage_line(plan: RolloutPlan, stage: int) -> str:
    """Return the budget of a stage in a line."""
    own, total = spent(plan, stage), spent(plan)
    if own is None or total is None:
        return "budget: a raw rule has no error control"
    return (
        f"budget: at most {percent(own)} in this stage, {percent(total)} over the plan, to roll back a healthy feature"
    )


def _of(plan: RolloutPlan, index: int) -> list[dict[str, Any]]:
    found = []
    terms = plan.terms(index, interval_ms=_INTERVAL_MS)
    for spec in plan.guardrails[index]:
        alpha: float | None = terms[spec.name].alpha
        if isinstance(spec, ThresholdGuardrail):
            alpha = None
        elif isinstance(spec, SampleRatioGuardrail):
            alpha = sample_ratio.ALPHA
        named = {"stage": plan.stages[index].name, "guardrail": spec.name, "role": str(spec.role), "alpha": alpha}
        found.append({**named, "weight": spec.weight, "e_needed": None if alpha is None else 1.0 / alpha})
    return found


def _line(row: dict[str, Any], width: int) -> str:
    alpha = "-" if row["alpha"] is None else f"{row['alpha']:.3g}"
    needed = "no error control" if row["e_needed"] is None else f"{row['e_needed']:>8,.0f}"
    return f"{row['guardrail']:<{width}} {row['role']:<7} {alpha:>8} {row['weight']:>6.3g} {needed}"
