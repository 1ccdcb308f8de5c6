"""Flags that are on without a live plan: judged by the emergency limit alone, and switched off and held beyond it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from phase4.analysis import guardrails
from phase4.analysis.budget import EMERGENCY_ALPHA
from phase4.analysis.guardrail_state import GuardrailState
from phase4.analysis.observation import Observation
from phase4.analysis.specs import RateGuardrail, Terms
from phase4.analysis.verdict import Verdict
from phase4.durations import DAY_MS
from phase4.flags.bucketing import Arm
from phase4.ids import new_id
from phase4.store import ticks
from phase4.store.control import Change, ControlStore, FlagRow
from phase4.store.ticks import Tick

HORIZON_MS = 30 * DAY_MS
ACTOR = "collector"


class Standing:
    """The emergency limit over all flags without a plan."""

    def __init__(self, *, limit: float, interval_ms: int) -> None:
        """Judge against a limit, the highest acceptable error rate in (0, 0.5]."""
        self._spec = RateGuardrail(name="emergency", limit=min(limit, 0.5), emergency=True)
        self._terms = Terms(alpha=EMERGENCY_ALPHA, beta=0.05, horizon_ticks=max(HORIZON_MS // interval_ms, 1))
        self._states: dict[int, tuple[int, GuardrailState]] = {}
        """Flag -> (its version when the watch began, state)."""

    def see(self, tick: Tick, flags: Iterable[FlagRow], seen: Mapping[int, list[Observation]]) -> None:
        """Take in a closed tick.

        Args:
            tick: The tick.
            flags: All flags as they were when it was closed.
            seen: Flag -> its observations in the tick.
        """
        for flag in flags:
            if not flag.enabled or flag.entry:
                self._states.pop(flag.id, None)
                continue
            if tick.from_ms < flag.updated_ms:  # of before it was changed by hand: other users
                self._states.pop(flag.id, None)
                continue
            version, state = self._states.get(flag.id, (flag.version, guardrails.start(self._spec)))
            if version != flag.version:  # changed by hand: other users than before
                version, state = flag.version, guardrails.start(self._spec)
            arms = {row.arm: row for row in seen.get(flag.id, []) if row.entry == 0}
            state = guardrails.step(
                self._spec, self._terms, state, tick.tick, arms.get(Arm.TREATMENT), arms.get(Arm.CONTROL)
            )
            self._states[flag.id] = version, state

    def broken(self, tick: int) -> list[int]:
        """Return the flags whose error rate is beyond the limit."""
        return [
            flag_id
            for flag_id, (_, state) in self._states.items()
            if guardrails.assess(self._spec, self._terms, state, tick).verdict is Verdict.FAIL
        ]

    def switch_off(self, store: ControlStore, flag_id: int, fence: int) -> bool:
        """Switch a flag off and hold it, if it still is as it was judged; return whether that was done."""
        version = self._states.pop(flag_id)[0]

        def work(change: Change) -> dict[str, Any]:
            ticks.check_fence(store, fence)
            flag = store.flag_by_id(flag_id)
            if flag.version != version:
                return {"off": False}
            why = f"error rate above the emergency limit of {self._spec.limit:g}"
            held = {"held": "emergency", "held_reason": why, "held_ms": change.now_ms}
            change.set_flag(flag, "emergency", why, enabled=False, **held)
            text = f"{flag.flag_key} switched off: {why}"
            change.alert("rollback", "critical", text, rule=f"emergency limit {flag.version}", flag=flag)
            return {"off": True}

        arguments = {"flag": flag_id, "version": version}
        reply = store.execute("emergency limit", arguments, work, actor=ACTOR, request_id=new_id())
        return bool(reply.data["off"])
