"""What the guardrails of a live plan said last, for whoever asks, and what they remember, for the next collector.

Both are a cache: observations replayed give the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from phase4.analysis import saved
from phase4.analysis.explain import Explanation
from phase4.analysis.guardrail_state import GuardrailState
from phase4.rollout.holds import Hold
from phase4.store.control import Change, ControlStore, canonical

_LARGEST = 700.0
"""Of a natural logarithm whose exponential is a float."""


class Entry(NamedTuple):
    """A plan's stage entry."""

    plan_id: str
    entry: int
    active_ms: int
    """Watched time with data since it began."""


class Remembered(NamedTuple):
    """What the guardrails of a stage entry knew after a tick."""

    entry: int
    tick: int
    active_ms: int
    states: tuple[GuardrailState, ...]
    """In the plan's order."""


def to_json(said: Explanation) -> dict[str, Any]:
    """Return a guardrail's answer as plain values; what is not defined is None."""
    answer = said.answer
    return {
        "guardrail": answer.guardrail,
        "role": str(answer.role),
        "unit": str(answer.unit),
        "verdict": str(answer.verdict),
        "reason": str(answer.reason),
        "estimate": _finite(answer.estimate),
        "lower": _finite(said.lower),
        "upper": _finite(said.upper),
        "is_approximate": said.is_approximate,
        "approximation": said.approximation or None,
        "limit": said.limit,
        "e_value": _e(answer.log_e_fail),
        "e_needed": said.e_needed,
        "e_pass": None if answer.log_e_pass is None else _e(answer.log_e_pass),
        "e_pass_needed": said.pass_needed,
        "changes": said.changes,
        "p_value": _finite(answer.p_value),
        "alpha": None if math.isnan(answer.log_e_fail) else answer.alpha,
        "beta": answer.beta,
        "units": answer.units,
        "units_control": answer.units_control,
    }


def keep(
    change: Change,
    at: Entry,
    tick: int,
    answers: Iterable[Explanation],
    holds: Iterable[Hold],
    states: Iterable[GuardrailState],
) -> None:
    """Keep the answers of one stage entry in place of older ones, in this transaction.

    Args:
        change: The transaction.
        at: The plan's stage entry.
        tick: The tick they rest on.
        answers: One for each guardrail.
        holds: What keeps the stage from being left.
        states: What each guardrail remembers, in the order of the answers.
    """
    before = {each["guardrail"]: each for each in kept(change.store, at.plan_id, at.entry)}
    by_name = {hold.guardrail: hold for hold in holds}
    for place, (said, state) in enumerate(zip(answers, states, strict=True)):
        answer, hold = said.answer, by_name.get(said.answer.guardrail)
        told = {
            **to_json(said),
            "active_ms": at.active_ms,
            "place": place,
            "cause": None if hold is None else hold.cause,
            "ends_with": None if hold is None else hold.ends_with,
        }
        told |= _since(before.get(answer.guardrail), told, tick, change.now_ms)
        body = canonical(told)
        change.write(
            "INSERT INTO guardrail_state VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT(plan_id, entry, guardrail)"
            " DO UPDATE SET tick = excluded.tick, state = excluded.state, assessment = excluded.assessment",
            *(at.plan_id, at.entry, answer.guardrail, tick, saved.dump(state), body),
        )


def _since(before: dict[str, Any] | None, now: dict[str, Any], tick: int, now_ms: int) -> dict[str, Any]:
    """Return since when a guardrail has said what it says now."""
    is_same = before is not None and all(before[name] == now[name] for name in ("verdict", "reason"))
    if before is not None and is_same and "since_tick" in before:
        return {"since_tick": before["since_tick"], "since_ms": before["since_ms"]}
    return {"since_tick": tick, "since_ms": now_ms}


def kept(store: ControlStore, plan_id: str, entry: int) -> list[dict[str, Any]]:
    """Return the answers of a stage entry, in the plan's order; empty before its first tick."""
    rows = store.rows("SELECT tick, assessment FROM guardrail_state WHERE plan_id = ? AND entry = ?", plan_id, entry)
    found = [{**json.loads(body), "tick": tick} for tick, body in rows]
    return sorted(found, key=lambda answer: int(answer["place"]))


def memory(store: ControlStore, plan_id: str, names: Callable[[int], Sequence[str]]) -> Remembered | None:
    """Return what the newest stage entry that has any is remembered by.

    None where something is missing, of different ticks, or written by another version's arithmetic: then a judge is
    made from observations.

    Args:
        store: The control database.
        plan_id: The plan.
        names: Its guardrails' names in an entry, in the plan's order.
    """
    rows = store.rows(
        "SELECT entry, guardrail, tick, state, assessment FROM guardrail_state WHERE plan_id = ?"
        " AND entry = (SELECT max(entry) FROM guardrail_state WHERE plan_id = ?)",
        *(plan_id, plan_id),
    )
    if not rows:
        return None
    entry, tick, said = rows[0][0], rows[0][2], json.loads(rows[0][4])
    by_name = {row[1]: saved.load(row[3]) for row in rows if row[2] == tick}
    states = [by_name.get(name) for name in names(entry)]
    if len(by_name) != len(rows) or any(state is None for state in states):
        return None
    return Remembered(entry, tick, said["active_ms"], tuple(state for state in states if state is not None))


def summary(answers: Iterable[dict[str, Any]]) -> str:
    """Return how many guardrails say what.

    >>> summary([{"verdict": "PASS"}, {"verdict": "PASS"}, {"verdict": "NO_DATA"}])
    '2 PASS 1 NO_DATA'
    """
    verdicts = [answer["verdict"] for answer in answers]
    order = ("FAIL", "PASS", "INCONCLUSIVE", "NO_DATA")
    return " ".join(f"{verdicts.count(each)} {each}" for each in order if each in verdicts)


def _e(log_e: float) -> float | None:
    return None if math.isnan(log_e) else _finite(math.exp(min(log_e, _LARGEST)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
