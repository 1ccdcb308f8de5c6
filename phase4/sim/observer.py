"""The rehearsal's eye: what has been seen of a stage, judged in blocks by the production kernel.

Inside a stage the counts do not depend on decisions, so a block of ticks is judged in one go and tick j reads row j.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count, repeat

import numpy as np
import numpy.typing as npt

from phase4.analysis import block
from phase4.analysis.block import REASONS, VERDICTS, GuardrailBlock
from phase4.analysis.columns import ArmColumns
from phase4.analysis.guardrail_state import GuardrailState
from phase4.rollout.decide import StageObservation
from phase4.rollout.judge import states_at_entry
from phase4.rollout.plan import RolloutPlan
from phase4.rollout.state import Phase, RolloutState
from phase4.sim import checks
from phase4.sim.traffic import Entry, Source

JUDGED_AT_ONCE = 512
"""Ticks; the block form costs the same from about 200 on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Consecutive ticks of one entry, as they were delivered and judged."""

    entry: int
    first_tick: int
    treatment: ArmColumns
    control: ArmColumns
    judged: tuple[GuardrailBlock, ...]
    """One for each guardrail of the stage, in the plan's order."""


class BlockObserver:
    """Implements `controller.Observer` for a simulated source."""

    def __init__(self, plan: RolloutPlan, source: Source, *, tick_ms: int, ticks: int) -> None:
        """Watch a plan on a source of traffic; nothing is seen before the first `close`."""
        self._plan, self._source = plan, source
        self._tick_ms, self._ticks = tick_ms, ticks
        self._now = -1
        self._entry: _EntryView | None = None
        self.stretches: list[Stretch] = []
        self.last: StageObservation | None = None
        """What `observe` returned last."""

    def close(self, tick: int) -> None:
        """Deliver a closed tick: from now on it is seen."""
        self._now = tick

    def observe(self, state: RolloutState) -> StageObservation | None:
        """Return what the judge has seen of the present entry, None if nothing yet."""
        view = self._entry
        if view is None or view.number != state.entry or self._now < view.first_tick:
            self.last = None
            return None
        if self._now >= view.judged_until:
            self.stretches.append(view.judge(min(self._now + JUDGED_AT_ONCE, self._ticks)))
        self.last = view.at(self._now, is_paused=state.phase is Phase.PAUSED)
        return self.last

    def begin(self, state: RolloutState) -> None:
        """Take note of an entry as soon as it is switched: its traffic begins with the next tick."""
        first_tick = self._now + 1
        traffic = self._source.entry(state.percentage, first_tick)
        before = None if self._entry is None else (self._entry.stage, self._entry.states_at(self._now))
        self._entry = _EntryView(
            self._plan,
            state,
            traffic,
            first_tick,
            self._tick_ms,
            states=states_at_entry(self._plan, state.stage, before),
            counts_exposures=self._source.counts_exposures,
        )


class _EntryView:
    """One stage entry: traffic, states of its guardrails, and rows judged so far."""

    def __init__(
        self,
        plan: RolloutPlan,
        state: RolloutState,
        traffic: Entry,
        first_tick: int,
        tick_ms: int,
        *,
        states: tuple[GuardrailState, ...],
        counts_exposures: bool,
    ) -> None:
        self._counts_exposures = counts_exposures
        self.number, self.stage = state.entry, state.stage
        self.first_tick = self.judged_until = first_tick
        self._traffic, self._tick_ms = traffic, tick_ms
        self._specs = plan.guardrails[state.stage]
        terms = plan.terms(state.stage, interval_ms=tick_ms)
        self._terms = tuple(terms[spec.name] for spec in self._specs)
        self._states = self._states_before = states
        self._stretch: Stretch | None = None
        self._active_ms = 0
        self._unwatched_ms = 0
        self._ahead: dict[str, int] = {}
        self._before_ms = 0
        """Active time at the tick before the rows at hand."""
        self._paused_tick = -1
        self._first_row = first_tick
        self._rows: list[StageObservation] = []

    def judge(self, end: int) -> Stretch:
        """Judge the ticks up to `end` and keep them as the rows to read."""
        begin = self.judged_until
        treatment, control = self._traffic.columns(begin, end)
        checks.counts_are_possible(treatment, control, self._ahead, counts_exposures=self._counts_exposures)
        judged = block.run_all(self._specs, self._terms, self._states, begin, treatment, control)
        self._states_before, self._states = self._states, tuple(one.state for one in judged)
        active = self._active_ms + np.cumsum(np.where(treatment.requests > 0, self._tick_ms, 0))
        self._before_ms = self._active_ms
        self._rows, self._first_row = self._observations(begin, judged, active), begin
        self.judged_until, self._active_ms = end, int(active[-1])
        self._stretch = Stretch(
            entry=self.number, first_tick=begin, treatment=treatment, control=control, judged=judged
        )
        return self._stretch

    def states_at(self, tick: int) -> tuple[GuardrailState, ...]:
        """Return the guardrails' states after a tick of the newest stretch: a block was judged beyond it."""
        if self._stretch is None:
            return self._states
        seen = tick + 1 - self._stretch.first_tick
        arms = (arm.slice(0, seen) for arm in (self._stretch.treatment, self._stretch.control))
        judged = block.run_all(self._specs, self._terms, self._states_before, self._stretch.first_tick, *arms)
        return tuple(one.state for one in judged)

    def at(self, tick: int, *, is_paused: bool) -> StageObservation:
        """Return the row of a judged tick. Time in a pause is not watched time."""
        place = tick - self._first_row
        row = self._rows[place]
        if is_paused and tick > self._paused_tick:
            before_ms = self._rows[place - 1].active_ms if place else self._before_ms
            self._unwatched_ms += row.active_ms - before_ms
            self._paused_tick = tick
        return row._replace(active_ms=row.active_ms - self._unwatched_ms) if self._unwatched_ms else row

    def _observations(
        self, begin: int, judged: tuple[GuardrailBlock, ...], active: npt.NDArray[np.int64]
    ) -> list[StageObservation]:
        """Return what the controller sees at each tick, made for a whole block at once."""
        verdicts, deciders = block.combine([spec.role for spec in self._specs], [one.verdicts for one in judged])
        reasons = np.stack([one.reasons for one in judged])[deciders, np.arange(len(deciders))]
        reasons = np.where(deciders < 0, len(REASONS), reasons)
        # a decider of -1, nobody, is the last of these lists
        names = [*(spec.name for spec in self._specs), None]
        emergencies = [*(getattr(spec, "emergency", False) for spec in self._specs), False]
        by = deciders.tolist()
        columns = zip(
            repeat(self.number),
            count(begin),
            map(VERDICTS.__getitem__, verdicts.tolist()),
            map(names.__getitem__, by),
            map((*REASONS, None).__getitem__, reasons.tolist()),
            active.tolist(),
            map(emergencies.__getitem__, by),
            strict=False,
        )
        return list(map(StageObservation._make, columns))
