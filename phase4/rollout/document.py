"""A plan as plain JSON values, as the store keeps it: what was frozen when it was made, read back to the letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, get_args

from phase4.analysis.observation import OutcomeSet
from phase4.analysis.specs import GuardrailSpec
from phase4.analysis.verdict import Role, Unit
from phase4.rollout.plan import SCHEMA, RolloutPlan, Stage

_KINDS: dict[str, type[GuardrailSpec]] = {kind.__name__: kind for kind in get_args(GuardrailSpec)}
_ENUMS = {"outcome_set": OutcomeSet, "role": Role, "unit": Unit}


def to_json(plan: RolloutPlan) -> dict[str, Any]:
    """Return the plan as plain values; each guardrail carries its kind."""
    body = asdict(plan)
    body["guardrails"] = [[_guardrail(spec) for spec in specs] for specs in plan.guardrails]
    body["stages"] = list(body["stages"])
    return body


def from_json(body: Mapping[str, Any]) -> RolloutPlan:
    """Return the plan that `to_json` wrote.

    Raises:
        ValueError: the schema number or a guardrail's kind is unknown.
    """
    if body["schema"] != SCHEMA:
        raise ValueError(f"plans have schema {SCHEMA}: {body['schema']}")
    values = {field.name: body[field.name] for field in fields(RolloutPlan)}
    values["stages"] = tuple(Stage(**stage) for stage in body["stages"])
    values["guardrails"] = tuple(tuple(_spec(spec) for spec in specs) for specs in body["guardrails"])
    return RolloutPlan(**values)


def _guardrail(spec: GuardrailSpec) -> dict[str, Any]:
    values = {name: str(value) if name in _ENUMS else value for name, value in asdict(spec).items()}
    return {"kind": type(spec).__name__, **values}


def _spec(document: Mapping[str, Any]) -> GuardrailSpec:
    values = dict(document)
    kind = values.pop("kind")
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of guardrail: {kind}")
    read: dict[str, Any] = {name: _ENUMS[name](value) if name in _ENUMS else value for name, value in values.items()}
    return _KINDS[kind](**read)
