"""How the probability of a false rollback is shared out: plan, stages, guardrails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STAGE_ALPHA = 0.01
EMERGENCY_ALPHA = 0.001
SIGNAL_ALPHA = 0.01
"""Signals and observers cannot roll back, so they stand outside the budget."""
MANY_STAGES = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """What the budget needs to know of one guardrail."""

    name: str
    is_guard: bool
    is_emergency: bool
    weight: float


def stage_alpha(plan_alpha: float, stages: int) -> float:
    """Return one stage's share: a fifth of the plan's, or less if there are more than five stages.

    >>> stage_alpha(0.05, 3), stage_alpha(0.05, 10)
    (0.01, 0.005)
    """
    return plan_alpha / max(stages, MANY_STAGES)


def split(plan_alpha: float, stages: int, claims: Sequence[Claim]) -> dict[str, float]:
    """Return alpha for each guardrail of one stage, by name.

    The emergency limit takes a tenth of the stage's share (0.001 of 0.01), if another guard needs the rest; the rest
    goes to the other guards by weight. Bonferroni over e-values holds under any dependence.

    >>> claims = [Claim("emergency", True, True, 1.0)] + [Claim(n, True, False, 1.0) for n in "abcd"]
    >>> {name: round(alpha, 6) for name, alpha in split(0.05, 3, claims).items()}
    {'emergency': 0.001, 'a': 0.00225, 'b': 0.00225, 'c': 0.00225, 'd': 0.00225}
    """
    share = stage_alpha(plan_alpha, stages)
    guards = [c for c in claims if c.is_guard and not c.is_emergency]
    emergencies = [c for c in claims if c.is_guard and c.is_emergency]
    reserved = share * EMERGENCY_ALPHA / STAGE_ALPHA if guards else share
    alphas = {c.name: SIGNAL_ALPHA for c in claims if not c.is_guard}
    alphas |= {c.name: reserved / len(emergencies) for c in emergencies}
    left = share - (reserved if emergencies else 0.0)
    total = sum(c.weight for c in guards)
    alphas |= {c.name: left * c.weight / total for c in guards}
    return {c.name: alphas[c.name] for c in claims}
