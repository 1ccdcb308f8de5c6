"""A rehearsal by hand: the production controller and the scalar judge, tick by tick, without SimPy or blocks."""

import contextlib

from phase4.analysis import guardrails, verdict
from phase4.clock import ManualClock
from phase4.errors import PlanStateError
from phase4.rollout.controller import RolloutController
from phase4.rollout.decide import StageObservation
from phase4.rollout.events import ApprovalRequested, StageEntered
from phase4.rollout.journal import MemoryJournal
from phase4.rollout.state import Phase
from phase4.sim.world import APPROVER


class ScalarObserver:
    """Implements `controller.Observer`: one tick, one observation row for each arm, one step of each judge."""

    def __init__(self, plan, source, tick_ms):
        self.plan, self.source, self.tick_ms, self.now = plan, source, tick_ms, -1
        self.entry = None

    def begin(self, state):
        self.entry = state.entry
        self.traffic = self.source.entry(state.percentage, self.now + 1)
        self.specs = self.plan.guardrails[state.stage]
        self.terms = self.plan.terms(state.stage, interval_ms=self.tick_ms)
        self.states = [guardrails.start(spec) for spec in self.specs]
        self.active_ms, self.is_new = 0, True

    def observe(self, state):
        if self.is_new:
            return None
        treatment, control = (
            arm.row(0, tick=self.now, flag_id=1, entry=self.entry, arm=number)
            for arm, number in zip(self.traffic.columns(self.now, self.now + 1), (2, 1), strict=True)
        )
        self.states = [
            guardrails.step(spec, self.terms[spec.name], judge, self.now, treatment, control)
            for spec, judge in zip(self.specs, self.states, strict=True)
        ]
        if treatment is not None and state.phase is not Phase.PAUSED:
            self.active_ms += self.tick_ms
        answers = [
            guardrails.assess(spec, self.terms[spec.name], judge, self.now)
            for spec, judge in zip(self.specs, self.states, strict=True)
        ]
        found, decider = verdict.combine(answers)
        emergencies = {spec.name for spec in self.specs if getattr(spec, "emergency", False)}
        return StageObservation(
            self.entry,
            self.now,
            found,
            decider and decider.guardrail,
            decider and decider.reason,
            self.active_ms,
            decider is not None and decider.guardrail in emergencies,
        )


class NoSwitch:
    """A switch that switches nothing."""

    def apply(self, event):
        pass


def by_hand(scenario, world, policy, source, *, answer="approve"):
    """Return the journal of a rehearsal in which the approver always takes the median time and says `answer`."""
    clock, journal = ManualClock(world.start_ms), MemoryJournal()
    observer = ScalarObserver(policy.plan, source, scenario.tick_ms)
    controller = RolloutController(plan=policy.plan, clock=clock, observer=observer, journal=journal, switch=NoSwitch())
    controller.start()
    observer.begin(controller.state)
    answers, free_at = [], 0
    for tick in range(scenario.ticks):
        clock.advance(scenario.tick_ms)
        observer.now, observer.is_new = tick, False
        event = controller.tick()
        if isinstance(event, StageEntered):
            observer.begin(controller.state)
        elif isinstance(event, ApprovalRequested):
            free_at = max(free_at, clock.now()) + scenario.approver.median_ms
            answers.append(free_at)
        while answers and answers[0] <= clock.now():
            answers.pop(0)
            with contextlib.suppress(PlanStateError):
                getattr(controller, answer)(APPROVER)
        if controller.state.ended_ms is not None:
            break
    return tuple(journal.read())
