"""The live judge of one plan: observations in, one tick at a time, and what the controller may decide on out.

A new stage entry is judged anew. Where the same stage is entered again, because the flag was off or lowered, the FAIL
evidence is carried over, so that pausing cannot wash it out; proof and units begin anew. From one stage to the next
goes only what control has shown of overdispersion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from phase4.analysis import guardrails
from phase4.analysis.dispersion import Dispersion
from phase4.analysis.explain import Explanation, explain
from phase4.analysis.guardrail_state import GuardrailState
from phase4.analysis.observation import Observation
from phase4.analysis.specs import GuardrailSpec, Terms
from phase4.analysis.verdict import Assessment, combine
from phase4.rollout.decide import StageObservation
from phase4.rollout.plan import RolloutPlan
from phase4.rollout.state import ENDED, RolloutState


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a judge knows of the present entry."""

    stage: int
    entry: int
    tick: int
    """The newest tick that it has seen."""
    active_ms: int
    states: tuple[GuardrailState, ...]
    """In the plan's order."""


class Judge:
    """Holds the guardrails' states of the present entry; equal on replay of the same observations."""

    def __init__(self, plan: RolloutPlan, *, interval_ms: int) -> None:
        """Judge a plan whose ticks are `interval_ms` apart."""
        self._plan, self._interval_ms = plan, interval_ms
        self._stage = self._entry = -1
        self._specs: tuple[GuardrailSpec, ...] = ()
        self._terms: tuple[Terms, ...] = ()
        self._states: tuple[GuardrailState, ...] = ()
        self._tick: int | None = None
        self._active_ms = 0

    @classmethod
    def remembering(cls, plan: RolloutPlan, memory: Memory, *, interval_ms: int) -> Self:
        """Return the judge that had this memory; ticks after `memory.tick` go on from there.

        Raises:
            ValueError: the memory is not one of this plan.
        """
        made = cls(plan, interval_ms=interval_ms)
        made._stage, made._entry = memory.stage, memory.entry
        made._set_stage(memory.stage)
        if len(memory.states) != len(made._specs):
            raise ValueError(f"{plan.plan_id} has {len(made._specs)} guardrails: {len(memory.states)} states")
        made._states, made._tick, made._active_ms = memory.states, memory.tick, memory.active_ms
        return made

    def memory(self) -> Memory | None:
        """Return what is known of the present entry, None before its first tick."""
        if self._tick is None:
            return None
        return Memory(
            stage=self._stage, entry=self._entry, tick=self._tick, active_ms=self._active_ms, states=self._states
        )

    def see(
        self,
        state: RolloutState,
        tick: int,
        treatment: Observation | None,
        control: Observation | None,
        *,
        is_watched: bool = True,
        length_ms: int | None = None,
    ) -> None:
        """Take in one closed tick of the entry that was in force.

        Args:
            state: Where the rollout was while the tick was open.
            tick: Number of the tick; it grows.
            treatment: Counts of treatment, None without a row.
            control: Counts of control, None without a row.
            is_watched: Whether it was closed in time: time that nobody watched does not count as active.
            length_ms: How long it is; by default as long as all.
        """
        if state.stage < 0 or state.phase in ENDED:
            return
        if state.entry != self._entry:
            self._begin(state)
        self._states = guardrails.step_all(self._specs, self._terms, self._states, tick, treatment, control)
        self._tick = tick
        if is_watched and _has_requests(treatment) and state.paused_at_ms is None:
            self._active_ms += self._interval_ms if length_ms is None else length_ms

    def observe(self, state: RolloutState) -> StageObservation | None:
        """Return what has been seen of the present entry, None if nothing yet."""
        if self._tick is None or state.entry != self._entry:
            return None
        verdict, decider = combine(self.assessments())
        if decider is None:
            return StageObservation(self._entry, self._tick, verdict, None, None, self._active_ms)
        spec = next(spec for spec in self._specs if spec.name == decider.guardrail)
        is_emergency = getattr(spec, "emergency", False)
        return StageObservation(
            self._entry, self._tick, verdict, spec.name, decider.reason, self._active_ms, is_emergency
        )

    def thresholds(self, state: RolloutState) -> Mapping[str, tuple[float, float]]:
        """Return the thresholds in ms of (treatment, control) for the next tick, by quantile guardrail."""
        if state.entry != self._entry:
            return {}
        return guardrails.next_thresholds(self._specs, self._states)

    def assessments(self) -> tuple[Assessment, ...]:
        """Return every guardrail's answer at the newest tick, in the plan's order; empty before any."""
        if self._tick is None:
            return ()
        is_skewed = guardrails.is_skewed(self._specs, self._states)
        return tuple(
            guardrails.assess(spec, terms, state, self._tick, is_skewed=is_skewed)
            for spec, terms, state in zip(self._specs, self._terms, self._states, strict=True)
        )

    def explained(self) -> tuple[Explanation, ...]:
        """Return every guardrail's answer at the newest tick with what it rests on; empty before any."""
        return tuple(
            explain(spec, terms, state, answer)
            for spec, terms, state, answer in zip(
                self._specs, self._terms, self._states, self.assessments(), strict=False
            )
        )

    def _begin(self, state: RolloutState) -> None:
        before = None if self._stage < 0 else (self._stage, self._states)
        self._states = states_at_entry(self._plan, state.stage, before)
        self._stage, self._entry = state.stage, state.entry
        self._set_stage(state.stage)
        self._tick, self._active_ms = None, 0

    def _set_stage(self, stage: int) -> None:
        self._specs = self._plan.guardrails[stage]
        terms = self._plan.terms(stage, interval_ms=self._interval_ms)
        self._terms = tuple(terms[spec.name] for spec in self._specs)


def states_at_entry(
    plan: RolloutPlan, stage: int, before: tuple[int, Sequence[GuardrailState]] | None
) -> tuple[GuardrailState, ...]:
    """Return the guardrails' states at the entry of a stage, in the plan's order.

    Args:
        plan: The plan.
        stage: Index of the stage that is entered.
        before: Stage and states of the entry that has ended, None at the start.
    """
    specs = plan.guardrails[stage]
    if before is None:
        return tuple(map(guardrails.start, specs))
    left, states = before
    if left == stage:
        return tuple(map(carry, map(guardrails.start, specs), states))
    growth = _control(plan, stage) / (_control(plan, left) or 1.0)
    known = {
        spec.name: Dispersion.following(state.dispersion, growth)
        for spec, state in zip(plan.guardrails[left], states, strict=True)
    }
    return tuple(replace(guardrails.start(spec), dispersion=known.get(spec.name, Dispersion())) for spec in specs)


def _control(plan: RolloutPlan, stage: int) -> float:
    """Return the percentage of the users that are control in a stage."""
    percentage = plan.stages[stage].percentage
    return min(percentage, 100.0 - percentage)


def carry(fresh: GuardrailState, old: GuardrailState) -> GuardrailState:
    """Return the state at a new entry of the same stage: FAIL evidence goes on, and so do its restart weights.

    All entries of a stage are one e-process, whose weights sum to at most 1: leaving and entering again buys no second
    chance of a false alarm, however it is timed. What control has shown of overdispersion is as true as before.
    """
    return replace(
        fresh,
        fail=old.fail,
        max_log_e=old.max_log_e,
        crossed_tick=old.crossed_tick,
        dispersion=old.dispersion,
    )


def _has_requests(row: Observation | None) -> bool:
    return row is not None and bool(row.ok + row.error + row.timeout + row.invalid)
