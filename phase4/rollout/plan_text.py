"""A plan as the text of a plan file: what `parse_plan` reads back to the same plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from phase4.analysis.specs import (
    GuardrailSpec,
    MeanGuardrail,
    QuantileGuardrail,
    RateGuardrail,
    RatioGuardrail,
    RepeatGuardrail,
    SampleRatioGuardrail,
    ThresholdGuardrail,
)
from phase4.analysis.verdict import Role, Unit
from phase4.rollout.guardrail_table import TWIN, TWINS
from phase4.rollout.plan import RolloutPlan, Stage
from phase4.rollout.waysout import limit_text, written


def to_toml(plan: RolloutPlan, *, comments: Sequence[str] = ()) -> str:
    """Return the plan file; what a file need not say is left out.

    Args:
        plan: The plan.
        comments: Lines for its head.
    """
    lines = [f"# {text}" for text in comments]
    lines += ["schema = 1", f"auto = {_value(plan.auto)}", f"approvals_required = {plan.approvals_required}"]
    lines += [f"alpha = {plan.alpha:.12g}", f"beta = {plan.beta:.12g}", "stages = ["]
    lines += [f"  {{ {_stage(stage)} }}," for stage in plan.stages]
    lines.append("]")
    for name in dict.fromkeys(spec.name for specs in plan.guardrails for spec in specs):
        found = [spec for specs in plan.guardrails for spec in specs if spec.name == name]
        lines += ["", f"[guardrails.{name}]", *(f"{key} = {value}" for key, value in _guardrail(found))]
    return "\n".join(lines) + "\n"


def _stage(stage: Stage) -> str:
    values = [f"name = {_value(stage.name)}", f"percentage = {stage.percentage:.12g}"]
    values += [f'{key} = "{written(getattr(stage, key))}"' for key in ("active_min", "bake", "max_duration")]
    return ", ".join([*values, *(["approval = true"] if stage.approval else [])])


def _guardrail(specs: Sequence[GuardrailSpec]) -> list[tuple[str, str]]:
    """Return the keys of a guardrail's table that differ from what a file without them means."""
    return [*_kind(specs), *_differing(specs[0])]


def _kind(specs: Sequence[GuardrailSpec]) -> list[tuple[str, str]]:
    first, is_twin = specs[0], specs[0].name in TWINS
    match first:
        case RateGuardrail():
            is_emergency = first.emergency
            proof = _if(first.prove, not is_emergency and not is_twin, "prove")
            return [("limit", _limits(specs)), *proof, *_if(first.ambient, not is_emergency, "ambient")]
        case ThresholdGuardrail():
            window = [("window", '"cumulative"')] if first.window is None else [("window_ticks", str(first.window))]
            return [("limit", _limits(specs)), ("method", '"threshold"'), *window]
        case RatioGuardrail():
            ratios = [("max_ratio", f"{first.max_ratio:.12g}"), ("pass_ratio", f"{first.pass_ratio:.12g}")]
            return [*ratios, *_if(first.prove, False, "prove")]
        case QuantileGuardrail():
            values = [("quantile", f"{first.quantile:.12g}"), ("margin", f"{first.margin:.12g}")]
            return [*values, *_if(first.prove, False, "prove")]
        case MeanGuardrail():
            return [("margin", f"{first.margin:.12g}"), *_if(first.prove, False, "prove")]
        case SampleRatioGuardrail() | RepeatGuardrail():
            return []


def _differing(spec: GuardrailSpec) -> list[tuple[str, str]]:
    is_twin = spec.name in TWINS
    base = spec.name.removesuffix(TWIN) if is_twin else spec.name
    is_mean = isinstance(spec, MeanGuardrail)
    usual = Role.SIGNAL if is_mean or base in {"success_rate", "sample_ratio", "repeated_errors"} else Role.GUARD
    role = Role.OBSERVE if is_twin else usual
    by_request = is_twin or is_mean or base == "hook_failures" or isinstance(spec, ThresholdGuardrail)
    found = _if(str(spec.role), str(role), "role")
    found += _if(str(spec.unit), str(Unit.REQUEST if by_request else Unit.USER), "unit")
    found += _if(spec.min_units, None, "min_units")
    return found + _if(spec.weight, 1.0, "weight")


def _limits(specs: Sequence[GuardrailSpec]) -> str:
    texts = [
        limit_text(spec.name, spec.limit) for spec in specs if isinstance(spec, RateGuardrail | ThresholdGuardrail)
    ]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


def _if(value: Any, usual: Any, key: str) -> list[tuple[str, str]]:
    return [] if value == usual else [(key, _value(value))]


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
