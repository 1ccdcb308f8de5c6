import json

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from phase4.analysis.verdict import Reason, Verdict
from phase4.clock import ManualClock
from phase4.durations import HOUR_MS
from phase4.errors import PlanStateError
from phase4.rollout.controller import RolloutController
from phase4.rollout.decide import APPROVAL_LIFE_MS, StageObservation, decide
from phase4.rollout.events import (
    ApprovalGiven,
    ApprovalRequested,
    Cancelled,
    Completed,
    EntryCause,
    Event,
    Paused,
    Resumed,
    RolledBack,
    StageEntered,
    from_json,
    to_json,
)
from phase4.rollout.guardrail_table import default_guardrails
from phase4.rollout.journal import MemoryJournal
from phase4.rollout.plan import RolloutPlan, Stage
from phase4.rollout.state import ENDED, Phase, RolloutState, evolve, replay

HOURS = st.sampled_from([0, 1, 5, 12, 24, 48, 96, 500])
PEOPLE = st.sampled_from(["ana", "ben"])
STAGES = st.lists(st.tuples(st.sampled_from([0, 1, 24]), st.sampled_from([True, True, False])), min_size=1, max_size=4)


def make_plan(stages, *, auto, approvals):
    return RolloutPlan(
        plan_id="checkout.1",
        flag_key="checkout",
        stages=tuple(
            Stage(
                name=str(place),
                percentage=10.0 * (place + 1),
                active_min=hours * HOUR_MS,
                bake=2 * hours * HOUR_MS,
                max_duration=48 * HOUR_MS,
                approval=approval,
            )
            for place, (hours, approval) in enumerate(stages)
        ),
        guardrails=default_guardrails([10.0 * (place + 1) for place in range(len(stages))]),
        auto=auto,
        approvals_required=approvals,
    )


def observation(verdict, entry, active_hours):
    is_pass = verdict is Verdict.PASS
    return StageObservation(
        entry=entry,
        tick=7,
        verdict=verdict,
        guardrail=None if is_pass else "error_rate",
        reason=None if is_pass else Reason.EVIDENCE,
        active_ms=active_hours * HOUR_MS,
    )


OBSERVATIONS = st.none() | st.builds(observation, st.sampled_from(list(Verdict)), st.integers(0, 5), HOURS)


class Eye:
    """An observer that has seen what the machine tells it."""

    def __init__(self):
        self.now: StageObservation | None = None

    def observe(self, _state: RolloutState) -> StageObservation | None:
        return self.now


class Flag:
    """A switch whose percentage only events move."""

    def __init__(self):
        self.percentage = 0.0

    def apply(self, event: Event) -> None:
        if isinstance(event, StageEntered):
            self.percentage = event.percentage
        elif isinstance(event, RolledBack):
            self.percentage = 0.0


class Rollouts(RuleBasedStateMachine):
    """Whatever is observed, ordered and waited for, in any order."""

    @initialize(
        stages=STAGES, auto=st.booleans(), approvals=st.integers(1, 2), ticks=st.sampled_from([None, 0, 1, 1, 1])
    )
    def begin(self, stages, auto, approvals, ticks):
        self.plan = make_plan(stages, auto=auto, approvals=approvals)
        self.clock, self.eye, self.flag, self.journal = ManualClock(0), Eye(), Flag(), MemoryJournal()
        self.controller = self.another()
        if ticks is not None:
            self.controller.start()
            for _ in range(ticks):  # so that many begin with a request for approval
                self.tick(observation(Verdict.PASS, 1, 500), hours=48)

    def another(self):
        return RolloutController(
            plan=self.plan, clock=self.clock, observer=self.eye, journal=self.journal, switch=self.flag
        )

    @precondition(lambda self: self.is_live())
    @rule(hours=HOURS, active=HOURS)
    def green_tick(self, hours, active):
        self.tick(observation(Verdict.PASS, self.controller.state.entry, active), hours)

    @precondition(lambda self: self.is_live())
    @rule(hours=st.sampled_from([0, 1, 24, 48]))
    def green_tick_with_all_its_active_time(self, hours):
        self.tick(observation(Verdict.PASS, self.controller.state.entry, 500), hours)

    @precondition(lambda self: self.is_live())
    @rule(verdict=st.sampled_from([Verdict.INCONCLUSIVE, Verdict.NO_DATA]), hours=HOURS)
    def tick_that_proves_nothing(self, verdict, hours):
        self.tick(observation(verdict, self.controller.state.entry, 500), hours)

    @precondition(lambda self: len(self.journal.read()) > 4)
    @rule(hours=HOURS)
    def red_tick(self, hours):
        self.tick(observation(Verdict.FAIL, self.controller.state.entry, 0), hours)

    @rule(verdict=st.sampled_from(list(Verdict)), distance=st.sampled_from([-1, 1]), hours=HOURS)
    def tick_about_another_entry(self, verdict, distance, hours):
        self.tick(observation(verdict, self.controller.state.entry + distance, 500), hours)

    @rule(hours=HOURS)
    def tick_without_an_observation(self, hours):
        self.tick(None, hours)

    def is_live(self):
        return self.controller.state.phase not in ENDED | {Phase.PENDING}

    def tick(self, seen, hours):
        """Let time pass, look, and hold the step that was taken against what may be done."""
        self.clock.advance(hours * HOUR_MS)
        before, recorded = self.controller.state, len(self.journal.read())
        self.eye.now = seen
        event = self.controller.tick()
        assert len(self.journal.read()) - recorded == (event is not None)
        assert event is None or before.phase not in ENDED | {Phase.PENDING}
        assert isinstance(event, RolledBack) == self.is_breach(before, seen)
        if isinstance(event, StageEntered | ApprovalRequested | Completed):
            self.assert_step_is_earned(before, event, seen)

    def is_breach(self, before, seen):
        is_live = before.phase not in ENDED | {Phase.PENDING}
        return is_live and seen is not None and seen.entry == before.entry and seen.verdict is Verdict.FAIL

    def assert_step_is_earned(self, before, event, seen):
        """Green, in order, and approved where that is asked; else watched and baked for long enough."""
        stage = self.plan.stages[before.stage]
        following = len(self.plan.stages) if isinstance(event, Completed) else event.stage
        assert following == before.stage + 1
        assert seen.verdict is Verdict.PASS
        if isinstance(event, StageEntered) and self.plan.needs_approval(following):
            self.assert_approved(before)
        else:
            assert seen.active_ms >= stage.active_min
            assert self.time_in_stage() >= stage.bake

    def time_in_stage(self):
        """Return the time since the newest entry, less the pauses since."""
        total, since = 0, None
        for event in list(self.journal.read())[:-1]:
            if isinstance(event, StageEntered):
                total, since = 0, event.at_ms
            elif isinstance(event, Paused):
                total, since = total + event.at_ms - since, None
            elif isinstance(event, Resumed):
                since = event.at_ms
        return total + self.clock.now() - since

    def assert_approved(self, before):
        """Enough distinct people, all after the newest request, and none of it older than a day."""
        events = list(self.journal.read())[:-1]
        (asked,) = [place for place, event in enumerate(events) if isinstance(event, ApprovalRequested)][-1:]
        people = {event.approver for event in events[asked:] if isinstance(event, ApprovalGiven)}
        assert len(people) >= self.plan.approvals_required
        assert self.clock.now() < events[asked].at_ms + APPROVAL_LIFE_MS
        assert before.phase is Phase.AWAITING_APPROVAL

    @precondition(lambda self: self.controller.state.phase is Phase.AWAITING_APPROVAL)
    @rule(
        people=st.sampled_from([(), ("ana",), ("ana", "ana"), ("ana", "ben")]),
        hours=st.sampled_from([0, 1, 23, 24, 48]),
        verdict=st.sampled_from([Verdict.PASS, Verdict.PASS, Verdict.NO_DATA]),
    )
    def approvals_and_a_tick(self, people, hours, verdict):
        for person in people:
            self.controller.approve(person)
        self.tick(observation(verdict, self.controller.state.entry, 500), hours)

    @precondition(lambda self: self.controller.state.phase in {Phase.PROGRESSING, Phase.AWAITING_APPROVAL})
    @rule(hours=HOURS, later=HOURS)
    def pause_and_a_green_tick(self, hours, later):
        self.controller.pause("lunch")
        self.clock.advance(hours * HOUR_MS)
        self.controller.resume()
        self.tick(observation(Verdict.PASS, self.controller.state.entry, 500), later)

    @rule(order=st.sampled_from(["approve", "reject", "pause", "resume", "cancel", "start"]), person=PEOPLE)
    def order(self, order, person):
        before = self.controller.state
        if order == "cancel" and len(self.journal.read()) < 6:
            return  # else most plans would end before they had begun
        try:
            getattr(self.controller, order)(*(() if order in {"resume", "start"} else (person,)))
        except PlanStateError:
            assert self.controller.state == before
        else:
            assert before.phase not in ENDED
            assert self.controller.state.percentage == before.percentage or order == "start"

    @precondition(lambda self: len(self.journal.read()) > 4)
    @rule()
    def roll_back(self):
        self.controller.roll_back("by hand")
        assert self.controller.state.phase is Phase.ROLLED_BACK

    @rule()
    def restart(self):
        before = self.controller.state
        self.controller = self.another()
        assert self.controller.state == before

    @invariant()
    def the_journal_is_the_state(self):
        assert replay(self.journal.read()) == self.controller.state

    @invariant()
    def the_journal_survives_json(self):
        text = json.dumps([to_json(event) for event in self.journal.read()])
        assert replay(from_json(document) for document in json.loads(text)) == self.controller.state

    @invariant()
    def the_exposure_is_what_the_state_says(self):
        assert self.flag.percentage == self.controller.state.percentage

    @invariant()
    def the_exposure_is_that_of_a_stage_that_was_entered(self):
        state = self.controller.state
        if state.phase is Phase.ROLLED_BACK or state.stage < 0:
            assert state.percentage == 0.0
        else:
            assert state.percentage == self.plan.stages[state.stage].percentage

    @invariant()
    def entries_are_numbered_without_gaps(self):
        entries = [event.entry for event in self.journal.read() if isinstance(event, StageEntered)]
        assert entries == list(range(1, len(entries) + 1))

    @invariant()
    def after_its_end_a_plan_is_only_ever_rolled_back(self):
        state = RolloutState()
        for event in self.journal.read():
            assert state.phase not in ENDED or isinstance(event, RolledBack)
            state = evolve(state, event)


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=500, stateful_step_count=30)


ENTERED = StageEntered(at_ms=0, stage=0, entry=1, percentage=10.0, cause=EntryCause.START)
ENDS = [
    Completed(at_ms=1),
    Cancelled(at_ms=1, reason="no longer wanted"),
    RolledBack(at_ms=1, guardrail=None, reason="by hand", is_emergency=False, tick=None),
]
NOT_LIVE = st.sampled_from([[], *([ENTERED, end] for end in ENDS)])


@given(STAGES, st.booleans(), NOT_LIVE, OBSERVATIONS, HOURS)
def test_a_plan_that_is_not_live_is_left_alone(stages, auto, journal, seen, hours):
    plan = make_plan(stages, auto=auto, approvals=1)
    assert decide(plan, replay(journal), seen, hours * HOUR_MS) is None


@given(STAGES, OBSERVATIONS, HOURS)
def test_waiting_longer_never_takes_more_than_one_step(stages, seen, hours):
    plan = make_plan(stages, auto=True, approvals=1)
    event = decide(plan, replay([ENTERED]), seen, hours * HOUR_MS)
    assert not isinstance(event, StageEntered) or event.stage == 1
