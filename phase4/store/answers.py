"""What the guardrails of a live plan said last: kept by the collector for whoever asks, and no judge's memory.

A judge is made again from observations alone; these rows are for screens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from phase4.analysis.verdict import Assessment
from phase4.store.control import Change, ControlStore, canonical

_LARGEST = 700.0
"""Of a natural logarithm whose exponential is a float."""


def to_json(answer: Assessment) -> dict[str, Any]:
    """Return a guardrail's answer as plain values; what is not defined is None."""
    return {
        "guardrail": answer.guardrail,
        "role": str(answer.role),
        "unit": str(answer.unit),
        "verdict": str(answer.verdict),
        "reason": str(answer.reason),
        "estimate": _finite(answer.estimate),
        "e_value": None if math.isnan(answer.log_e_fail) else _finite(math.exp(min(answer.log_e_fail, _LARGEST))),
        "p_value": _finite(answer.p_value),
        "alpha": answer.alpha,
        "units": answer.units,
        "units_control": answer.units_control,
    }


def keep(change: Change, plan_id: str, entry: int, tick: int, answers: Iterable[Assessment], *, active_ms: int) -> None:
    """Keep the answers of one stage entry in place of older ones, in this transaction.

    Args:
        change: The transaction.
        plan_id: The plan.
        entry: Its stage entry.
        tick: The tick they rest on.
        answers: One for each guardrail.
        active_ms: Watched time with data since the entry.
    """
    for place, answer in enumerate(answers):
        body = canonical({**to_json(answer), "active_ms": active_ms, "place": place})
        change.write(
            "INSERT INTO guardrail_state VALUES (?, ?, ?, ?, '{}', ?) ON CONFLICT(plan_id, entry, guardrail)"
            " DO UPDATE SET tick = excluded.tick, assessment = excluded.assessment",
            *(plan_id, entry, answer.guardrail, tick, body),
        )


def kept(store: ControlStore, plan_id: str, entry: int) -> list[dict[str, Any]]:
    """Return the answers of a stage entry, in the plan's order; empty before its first tick."""
    rows = store.rows("SELECT tick, assessment FROM guardrail_state WHERE plan_id = ? AND entry = ?", plan_id, entry)
    found = [{**json.loads(body), "tick": tick} for tick, body in rows]
    return sorted(found, key=lambda answer: int(answer["place"]))


def summary(answers: Iterable[dict[str, Any]]) -> str:
    """Return how many guardrails say what.

    >>> summary([{"verdict": "PASS"}, {"verdict": "PASS"}, {"verdict": "NO_DATA"}])
    '2 PASS 1 NO_DATA'
    """
    verdicts = [answer["verdict"] for answer in answers]
    order = ("FAIL", "PASS", "INCONCLUSIVE", "NO_DATA")
    return " ".join(f"{verdicts.count(each)} {each}" for each in order if each in verdicts)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
