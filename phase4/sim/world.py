"""One run: the production controller in a SimPy world.

SimPy's clock is int milliseconds since the start of the run. One process takes the five steps of a tick in sequence -
the world changes, traffic is drawn, metrics are delivered, the controller ticks, commands apply - so no two processes
race for the same instant. People are processes of their own whose commands wait for the end of a tick.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator
from dataclasses import dataclass, replace

import simpy

from phase4 import rng
from phase4.errors import PlanStateError
from phase4.rollout import events
from phase4.rollout.controller import RolloutController
from phase4.rollout.decide import StageObservation
from phase4.rollout.events import ApprovalGiven, ApprovalRequested, Event, RolledBack, StageEntered
from phase4.rollout.journal import MemoryJournal
from phase4.rollout.state import RolloutState
from phase4.sim import checks
from phase4.sim.identity import run_id
from phase4.sim.latencies import timed
from phase4.sim.observer import BlockObserver, Stretch
from phase4.sim.outcome import NEVER, Outcome
from phase4.sim.scenario import Approver, Policy, Scenario, World
from phase4.sim.traffic import Exposure, Source

APPROVER = "rehearsal-approver"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything one run leaves behind."""

    outcome: Outcome
    journal: tuple[Event, ...]
    exposures: tuple[Exposure, ...]
    stretches: tuple[Stretch, ...]
    refused: tuple[str, ...]
    """Commands that the production code refused, for example an approval that came after a rollback."""


class SimClock:
    """The simulated wall clock, a `phase4.clock.Clock`."""

    def __init__(self, env: simpy.Environment, start_ms: int) -> None:
        self._env, self._start_ms = env, start_ms

    def now(self) -> int:
        """Return the simulated time in ms since the Unix epoch."""
        return self._start_ms + int(self._env.now)


class ExposureSwitch:
    """The simulated flag: its percentage, and who was exposed when."""

    def __init__(self) -> None:
        self.percentage = 0.0
        self.exposures: list[Exposure] = []
        self.tick = 0
        """The tick from which a change takes effect."""

    def apply(self, event: Event) -> None:
        """Set the percentage as the event has it; again changes nothing."""
        if isinstance(event, StageEntered):
            self._set(event.percentage)
        elif isinstance(event, RolledBack):
            self._set(0.0)

    def _set(self, percentage: float) -> None:
        if percentage == self.percentage:
            return
        self.end()
        self.percentage = percentage
        if percentage > 0.0:
            self.exposures.append(Exposure(percentage=percentage, first_tick=self.tick, end_tick=self.tick))

    def end(self) -> None:
        """Close the present stretch of exposure at the present tick."""
        if self.exposures and self.percentage > 0.0:
            self.exposures[-1] = replace(self.exposures[-1], end_tick=self.tick)


class Run:
    """One policy in one world, one replicate."""

    def __init__(
        self, scenario: Scenario, world: World, policy: Policy, source: Source, *, seed: int, replicate: int, keep: bool
    ) -> None:
        """Put the world together; `keep` keeps counts and evidence of every tick in the record."""
        self._scenario, self._world, self._policy = scenario, world, policy
        self._seed, self._replicate, self._keep = seed, replicate, keep
        source = timed(source, scenario, world, policy.plan, seed=seed, replicate=replicate)
        self._source = source
        self._env = simpy.Environment()
        self._clock = SimClock(self._env, world.start_ms)
        self._observer = BlockObserver(policy.plan, source, tick_ms=scenario.tick_ms, ticks=scenario.ticks)
        self._journal = MemoryJournal()
        self._switch = ExposureSwitch()
        self._inbox: list[str] = []
        self._requests: simpy.Store = simpy.Store(self._env)
        self._refused: list[str] = []
        self._tick = 0
        self._controller = RolloutController(
            plan=policy.plan, clock=self._clock, observer=self._observer, journal=self._journal, switch=self._switch
        )

    def run(self) -> RunRecord:
        """Run to the end of the rollout or of the scenario.

        Raises:
            InvariantViolation: a promise of the product was broken.
        """
        before = self._controller.state
        self._after(before, self._controller.start(), None)
        self._env.process(self._person(self._scenario.approver))
        self._env.run(until=self._env.process(self._ticks()))
        self._switch.tick = self._tick
        self._switch.end()
        checks.journal_is_state(self._journal, self._controller.state)
        return self._record()

    def _ticks(self) -> Generator[simpy.Event, None, None]:
        tick_ms = self._scenario.tick_ms
        controller, observer, env = self._controller, self._observer, self._env
        for tick in range(self._scenario.ticks):
            yield env.timeout(tick_ms)
            observer.close(tick)
            self._tick = self._switch.tick = tick + 1
            before = controller.state
            event = controller.tick()
            if event is not None:
                self._after(before, event, observer.last)
            if self._inbox:
                self._apply_commands()
            if controller.state.ended_ms is not None:
                return

    def _after(self, before: RolloutState, event: Event, seen: StageObservation | None) -> None:
        """Check the step, and let the world react to it."""
        after = self._controller.state
        once = self._switch.percentage
        checks.step_is_legal(self._policy.plan, before, event, seen, self._clock.now())
        checks.exposure_is_legal(before, event, after, once)
        self._switch.apply(event)
        checks.exposure_repeats(once, self._switch.percentage)
        if isinstance(event, StageEntered):
            self._observer.begin(after)
        elif isinstance(event, ApprovalRequested):
            self._requests.put(after.seq)

    def _person(self, approver: Approver) -> Generator[simpy.Event, int, None]:
        """Answer one request after the other, each after a while."""
        generator = rng.stream(self._seed, "approver", replicate=self._replicate)
        while True:
            yield self._requests.get()
            delay = approver.median_ms * math.exp(approver.sigma * generator.standard_normal())
            is_yes = generator.random() >= approver.reject_p
            yield self._env.timeout(round(delay))
            self._inbox.append("approve" if is_yes else "reject")

    def _apply_commands(self) -> None:
        commands, self._inbox = self._inbox, []
        for command in commands:
            before = self._controller.state
            try:
                if command == "approve":
                    event = self._controller.approve(APPROVER)
                else:
                    event = self._controller.reject(APPROVER)
            except PlanStateError as refusal:
                self._refused.append(refusal.message)
                continue
            if event is not None:
                self._after(before, event, None)

    def _record(self) -> RunRecord:
        exposures = tuple(self._switch.exposures)
        stretches = tuple(self._observer.stretches)
        journal = tuple(self._journal.read())
        return RunRecord(
            outcome=self._outcome(exposures, stretches, journal),
            journal=journal,
            exposures=exposures,
            stretches=_as_seen(stretches, self._tick) if self._keep else (),
            refused=tuple(self._refused),
        )

    def _outcome(
        self, exposures: tuple[Exposure, ...], stretches: tuple[Stretch, ...], journal: tuple[Event, ...]
    ) -> Outcome:
        state = self._controller.state
        tick_ms = self._scenario.tick_ms
        onset = self._onset(exposures)
        last = journal[-1]
        rolled_back = isinstance(last, RolledBack)
        by_guardrail = isinstance(last, RolledBack) and last.guardrail is not None
        end_ms = self._tick * tick_ms
        caught = by_guardrail if onset is not None else None
        toll = self._source.toll(exposures)
        delay_ms: float = end_ms - onset * tick_ms if onset is not None else math.nan
        users = math.nan if toll.users_since_onset is None else float(toll.users_since_onset)
        return Outcome(
            run_id=run_id(self._scenario, self._world, self._policy, seed=self._seed, replicate=self._replicate),
            world=self._world.name,
            policy=self._policy.name,
            replicate=self._replicate,
            phase=state.phase,
            guardrail=last.guardrail if isinstance(last, RolledBack) else None,
            end_ms=end_ms,
            stage=state.stage,
            approvals=sum(isinstance(event, ApprovalGiven) for event in journal),
            onset_ms=None if onset is None else onset * tick_ms,
            rolled_back=rolled_back,
            false_rollback=by_guardrail and onset is None,
            caught=caught,
            delay_ms=delay_ms if caught else (NEVER if caught is False else math.nan),
            delay_users=users if caught else (NEVER if caught is False and not math.isnan(users) else math.nan),
            delay_requests=float(toll.requests_since_onset) if caught else (NEVER if caught is False else math.nan),
            users_exposed=toll.users_exposed,
            users_harmed=toll.users_harmed,
            excess=toll.excess,
            full_ms=float(end_ms) if state.phase == "COMPLETED" else NEVER,
            digest=_digest(journal, stretches, self._tick),
        )

    def _onset(self, exposures: tuple[Exposure, ...]) -> int | None:
        """Return the first truly harmful tick with treatment exposed, None if the run never reached one."""
        harmful = self._source.onset_tick
        if harmful is None:
            return None
        for exposure in exposures:
            if exposure.end_tick > max(harmful, exposure.first_tick):
                return max(harmful, exposure.first_tick)
        return None


def _as_seen(stretches: tuple[Stretch, ...], tick: int) -> tuple[Stretch, ...]:
    """Return the stretches without ticks that nobody saw: drawn ahead of a new entry, or of the end of the run."""
    ends = [stretch.first_tick for stretch in stretches[1:]] + [tick]
    return tuple(_until(stretch, min(end, tick)) for stretch, end in zip(stretches, ends, strict=True))


def _until(stretch: Stretch, tick: int) -> Stretch:
    """Return the ticks of a stretch before `tick`."""
    size = max(min(tick - stretch.first_tick, len(stretch.treatment)), 0)
    judged = tuple(
        replace(
            one,
            log_e_fail=one.log_e_fail[:size],
            log_e_pass=None if one.log_e_pass is None else one.log_e_pass[:size],
            verdicts=one.verdicts[:size],
            reasons=one.reasons[:size],
        )
        for one in stretch.judged
    )
    return replace(
        stretch, treatment=stretch.treatment.slice(0, size), control=stretch.control.slice(0, size), judged=judged
    )


def _digest(journal: tuple[Event, ...], stretches: tuple[Stretch, ...], tick: int) -> str:
    """Return the SHA-256 (hex) of the journal and of every count that was seen."""
    total = hashlib.sha256()
    for event in journal:
        total.update(repr(sorted(events.to_json(event).items())).encode())
    ends = [stretch.first_tick for stretch in stretches[1:]] + [tick]
    for stretch, following in zip(stretches, ends, strict=True):
        size = min(following, tick) - stretch.first_tick
        for arm in (stretch.treatment, stretch.control):
            for values in arm.slice(0, size).counts().values():
                if values is not None:
                    total.update(values.astype("<i8").tobytes())
            for name in sorted(arm.exceed):
                total.update(arm.exceed[name].requests[:size].astype("<i8").tobytes())
                total.update(arm.exceed[name].first[:size].astype("<i8").tobytes())
            if arm.latencies is not None:
                total.update(arm.latencies.counts[:size].astype("<i8").tobytes())
    return total.hexdigest()
