"""The judge of one live plan, kept in step with what is stored: replaying the stored ticks gives the same judge.

What it remembered last is stored too, so that a restart reads only the ticks after that. Where it cannot be read, by
a version with other arithmetic, all ticks are read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phase4.analysis.explain import Explanation
from phase4.analysis.observation import Observation
from phase4.analysis.verdict import Assessment
from phase4.flags.bucketing import Arm
from phase4.rollout.decide import StageObservation
from phase4.rollout.events import Event, StageEntered
from phase4.rollout.judge import Judge, Memory
from phase4.rollout.plan import RolloutPlan
from phase4.rollout.state import RolloutState, evolve
from phase4.store import answers, rollouts, ticks
from phase4.store.control import ControlStore, PlanRow
from phase4.store.ticks import Tick
from phase4.store.units import Key

Followed = dict[int, tuple[int, tuple[Explanation, ...]]]
"""Stage entry -> (stage, its guardrails' answers at the entry's last tick)."""


class PlanJudge:
    """Implements `controller.Observer` for a plan of the control database."""

    def __init__(self, plan: RolloutPlan, *, interval_ms: int) -> None:
        """Judge a plan from its beginning."""
        self.plan = plan
        self._judge = Judge(plan, interval_ms=interval_ms)

    @classmethod
    def replayed(cls, store: ControlStore, row: PlanRow, *, interval_ms: int) -> PlanJudge:
        """Return the judge of a plan that has seen all its stored ticks; what is remembered is not read again."""
        made = cls._remembering(store, row, interval_ms)
        if made is None:
            return cls.followed(store, row, interval_ms=interval_ms)[0]
        memory = made.memory()
        assert memory is not None
        recorded = rollouts.numbered_events(store, row.plan_id)
        later = ticks.after(store, memory.tick)
        seen = ticks.observations(store, row.flag_id, from_tick=memory.tick + 1) if later else {}
        for tick, state in _with_states(later, recorded):
            if state.ended_ms is None:
                made.see(state, tick, seen.get(tick.tick, []))
        return made

    @classmethod
    def _remembering(cls, store: ControlStore, row: PlanRow, interval_ms: int) -> PlanJudge | None:
        """Return the judge as it was when its memory was kept last; None without one that can be read."""
        plan = rollouts.plan_of(row)
        entered = (event for event in rollouts.events_of(store, row.plan_id) if isinstance(event, StageEntered))
        stages = {event.entry: event.stage for event in entered}
        found = answers.memory(
            store, row.plan_id, lambda entry: [spec.name for spec in plan.guardrails[stages.get(entry, 0)]]
        )
        if found is None or found.entry not in stages:
            return None
        memory = Memory(
            stage=stages[found.entry],
            entry=found.entry,
            tick=found.tick,
            active_ms=found.active_ms,
            states=found.states,
        )
        made = cls(plan, interval_ms=interval_ms)
        made._judge = Judge.remembering(plan, memory, interval_ms=interval_ms)
        return made

    def memory(self) -> Memory | None:
        """Return what is known of the present entry, None before its first tick."""
        return self._judge.memory()

    @classmethod
    def followed(cls, store: ControlStore, row: PlanRow, *, interval_ms: int) -> tuple[PlanJudge, Followed]:
        """Return the judge of a plan, and entry -> (stage, its guardrails' answers at the entry's last tick)."""
        made = cls(rollouts.plan_of(row), interval_ms=interval_ms)
        said: Followed = {}
        recorded = rollouts.numbered_events(store, row.plan_id)
        begin = next((event.at_ms for _, event in recorded if isinstance(event, StageEntered)), None)
        if begin is None:
            return made, said
        closed = ticks.closed_since(store, begin)
        seen = ticks.observations(store, row.flag_id, from_tick=closed[0].tick) if closed else {}
        last: RolloutState | None = None
        for tick, state in _with_states(closed, recorded):
            if state.ended_ms is not None or state.stage < 0:
                continue
            if last is not None and state.entry != last.entry:
                said[last.entry] = last.stage, made.explained()
            made.see(state, tick, seen.get(tick.tick, []))
            last = state
        if last is not None:
            said[last.entry] = last.stage, made.explained()
        return made, said

    def see(self, state: RolloutState, tick: Tick, rows: Iterable[Observation]) -> None:
        """Take in a closed tick.

        Args:
            state: Where the plan was when it was closed.
            tick: The tick.
            rows: The observations of the plan's flag in it.
        """
        arms = {row.arm: row for row in rows if row.entry == state.entry}
        self._judge.see(
            state,
            tick.tick,
            arms.get(Arm.TREATMENT),
            arms.get(Arm.CONTROL),
            is_watched=tick.is_watched,
            length_ms=tick.length_ms,
        )

    def observe(self, state: RolloutState) -> StageObservation | None:
        """Return what has been seen of the present entry, None if nothing yet."""
        return self._judge.observe(state)

    def thresholds(self, flag_id: int, state: RolloutState) -> dict[Key, dict[str, float]]:
        """Return above which latencies the next tick of the present entry is counted: arm by arm, by guardrail."""
        named = self._judge.thresholds(state)
        found: dict[Key, dict[str, float]] = {}
        for name, limits in named.items():
            for arm, limit in zip((Arm.TREATMENT, Arm.CONTROL), limits, strict=True):
                found.setdefault((flag_id, state.entry, int(arm)), {})[name] = limit
        return found

    def assessments(self) -> tuple[Assessment, ...]:
        """Return every guardrail's answer at the newest tick."""
        return self._judge.assessments()

    def explained(self) -> tuple[Explanation, ...]:
        """Return every guardrail's answer at the newest tick with what it rests on."""
        return self._judge.explained()


def _with_states(closed: Sequence[Tick], recorded: Sequence[tuple[int, Event]]) -> Iterable[tuple[Tick, RolloutState]]:
    """Yield each tick with the state that the plan had when it was closed."""
    state, following = RolloutState(), 0
    for tick in closed:
        while following < len(recorded) and recorded[following][0] <= tick.upto["journal"]:
            state = evolve(state, recorded[following][1])
            following += 1
        yield tick, state
