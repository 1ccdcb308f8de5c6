"""Plans, orders and emergencies in any order on a real store: what must hold after each of them."""

import shutil
import tempfile

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from phase4.analysis.verdict import Verdict
from phase4.clock import ManualClock
from phase4.durations import HOUR_MS
from phase4.errors import FlagHeld, PlanLive, PlanStateError, Refused
from phase4.rollout import commands
from phase4.rollout.events import ApprovalGiven, ApprovalRequested, EntryCause, RolledBack, StageEntered
from phase4.rollout.state import ENDED, Phase, replay
from phase4.store import care, emergency, orders, rollouts
from phase4.store.stops import EVERYTHING, Stop
from tests.data.homes.make import (
    CHECKOUT,
    START,
    Eye,
    add_plan,
    change,
    controller,
    create,
    dump,
    new_request_id,
    plan,
)

HOURS = st.sampled_from([0, 1, 12, 30, 100])
PEOPLE = st.sampled_from(["ana", "ben", "cai"])
VERDICTS = st.sampled_from([Verdict.PASS] * 4 + [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NO_DATA, None])
GREEN = st.sampled_from([12, 13, 48])


class Operations(RuleBasedStateMachine):
    """One flag, its plans one after the other, and everybody who may order something."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.clock = ManualClock(START)
        self.store = create(f"{self.folder}/home", self.clock)
        self.plans = []

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.folder)

    # ------------------------------------------------------------------------------------------ what is there
    @property
    def flag(self):
        return self.store.flag(CHECKOUT)

    @property
    def row(self):
        """The newest plan."""
        return self.plans[-1]

    @property
    def state(self):
        return rollouts.state_of(self.store, self.row.plan_id)

    def is_live(self):
        return bool(self.plans) and self.state.ended_ms is None

    def is_started(self):
        return self.is_live() and self.state.stage >= 0

    def ordered(self, event_of, row=None):
        """Record the event that a command on a plan leads to, as the command line does; return it."""
        row, made = row or self.row, []

        def work(making):
            state = rollouts.state_of(self.store, row.plan_id)
            event = event_of(rollouts.plan_of(row), state)
            made.append(event)
            if event is not None:
                rollouts.record(making, row, state.seq + 1, event)

        change(self.store, work)
        return made[0]

    def refused_changes_nothing(self, error, work):
        """Do what may be refused; return whether it was done."""
        before = dump(self.store)
        try:
            work()
        except error:
            assert dump(self.store) == before
            return False
        return True

    # ------------------------------------------------------------------------------------------ plans
    @initialize(approvals=st.integers(1, 2), auto=st.booleans(), ticks=st.integers(0, 2))
    def begin(self, approvals, auto, ticks):
        self.create(approvals, auto)
        self.start()
        for _ in range(ticks):  # so that many begin in a later stage, or with a request for approval
            self.tick(Verdict.PASS, 12, 12)

    @precondition(lambda self: not self.is_live())
    @rule(approvals=st.integers(1, 2), auto=st.booleans())
    def create(self, approvals, auto):
        wanted = plan(
            number=len(self.plans) + 1, first_entry=self.flag.entries + 1, approvals_required=approvals, auto=auto
        )
        self.plans.append(add_plan(self.store, wanted))

    @precondition(lambda self: self.is_live())
    @rule()
    def create_while_another_is_live(self):
        wanted = plan(number=len(self.plans) + 1)
        assert not self.refused_changes_nothing(Exception, lambda: add_plan(self.store, wanted))

    @precondition(lambda self: self.plans and self.flag.held != "emergency")
    @rule()
    def start(self):
        is_pending = self.state.phase is Phase.PENDING
        done = self.refused_changes_nothing(PlanStateError, lambda: controller(self.store, self.row).start())
        assert done == is_pending

    @precondition(lambda self: self.plans)
    @rule(verdict=VERDICTS, hours=HOURS, active=HOURS)
    def tick(self, verdict, hours, active):
        self.clock.advance(hours * HOUR_MS)
        before = self.state
        event = controller(self.store, self.row, Eye(verdict, active * HOUR_MS)).tick()
        assert self.state.seq - before.seq == (event is not None)
        assert isinstance(event, RolledBack) == (self.was_live(before) and verdict is Verdict.FAIL)

    @staticmethod
    def was_live(state):
        return state.stage >= 0 and state.ended_ms is None

    @precondition(lambda self: self.is_started())
    @rule(hours=GREEN)
    def green_tick(self, hours):
        self.tick(Verdict.PASS, hours, hours)

    @precondition(lambda self: self.is_live() and self.state.phase is Phase.AWAITING_APPROVAL)
    @rule(people=st.lists(PEOPLE, min_size=1, max_size=3), verdict=VERDICTS, hours=st.sampled_from([0, 1, 30]))
    def approvals_and_a_tick(self, people, verdict, hours):
        for person in people:
            controller(self.store, self.row).approve(person)
        self.tick(verdict, hours, 12)

    @precondition(lambda self: self.plans)
    @rule(order=st.sampled_from(["approve", "reject", "pause", "resume"]), person=PEOPLE)
    def order(self, order, person):
        if order == "resume" and self.flag.held:
            return  # the command line refuses it
        words = () if order == "resume" else (person,)
        name, phase = ("resume" if order == "resume" else order), self.state.phase
        done = self.refused_changes_nothing(
            PlanStateError, lambda: getattr(controller(self.store, self.row), order)(*words)
        )
        assert done == (phase in commands.COMMANDS[name])

    @precondition(lambda self: self.is_started())
    @rule(person=PEOPLE)
    def override(self, person):
        def event_of(wanted, state):
            return commands.approve_override(wanted, state, person, self.clock.now())

        self.refused_changes_nothing(PlanStateError, lambda: self.ordered(event_of))

    @precondition(lambda self: len(self.store.history()) > 5)
    @rule()
    def cancel(self):
        self.refused_changes_nothing(PlanStateError, lambda: controller(self.store, self.row).cancel("not wanted"))

    @precondition(lambda self: len(self.store.history()) > 3)
    @rule(choice=st.integers(0, 100))
    def roll_back_any_plan(self, choice):
        row = self.plans[choice % len(self.plans)]
        before = rollouts.state_of(self.store, row.plan_id)
        newer = self.row.plan_id if self.is_live() and row is not self.row else None

        def event_of(_wanted, state):
            return commands.roll_back(state, "by hand", self.clock.now(), newer_live=newer)

        done = self.refused_changes_nothing(PlanLive, lambda: self.ordered(event_of, row))
        after = rollouts.state_of(self.store, row.plan_id)
        assert done == (newer is None or before.phase is Phase.ROLLED_BACK)
        assert not done or after.phase is Phase.ROLLED_BACK
        assert after.seq - before.seq == (done and before.phase is not Phase.ROLLED_BACK)

    # ------------------------------------------------------------------------------------------ the flag
    @rule(releases=st.booleans())
    def enable(self, releases):
        is_held = self.flag.held is not None
        done = self.refused_changes_nothing(
            FlagHeld,
            lambda: orders.enable(
                self.store, CHECKOUT, actor="ana", request_id=new_request_id(), reason="fixed", releases=releases
            ),
        )
        assert done == (releases or not is_held)
        assert not done or self.flag.enabled

    @rule()
    def disable(self):
        orders.disable(self.store, CHECKOUT, actor="ana", request_id=new_request_id(), reason="odd logs")
        assert not self.flag.enabled

    @rule(percentage=st.sampled_from([0.0, 1.0, 3.0, 7.0, 60.0]))
    def set_percentage(self, percentage):
        before, is_live = self.flag, self.is_live()
        if not before.enabled and self.is_started() and percentage < before.percentage:
            return  # whether a plan whose flag is off can be lowered is another test's
        done = self.refused_changes_nothing(
            Refused,
            lambda: orders.set_percentage(
                self.store,
                CHECKOUT,
                percentage,
                maximum=50.0,
                actor="ana",
                request_id=new_request_id(),
                reason=None,
            ),
        )
        raises = percentage > before.percentage
        assert done == (not raises or (percentage <= 50.0 and not before.held and not is_live))
        assert self.flag.percentage == (percentage if done else before.percentage)

    @precondition(lambda self: self.is_started())
    @rule(words=st.lists(st.sampled_from(["off", "lower", "fire", "on", "release", "resume"]), min_size=2, max_size=4))
    def several_orders_about_the_flag(self, words):
        done = {
            "off": self.disable,
            "lower": lambda: self.set_percentage(1.0),
            "fire": lambda: self.emergency(rolls_back=False),
            "on": lambda: self.enable(releases=False),
            "release": lambda: self.enable(releases=True),
            "resume": lambda: self.order("resume", "ana"),
        }
        for word in words:
            done[word]()

    @precondition(lambda self: len(self.store.history()) > 3)
    @rule(rolls_back=st.booleans())
    def emergency(self, rolls_back):
        order = Stop(new_request_id(), EVERYTHING, "fire", "ana", self.clock.now(), rolls_back)
        assert emergency.stop(self.store.home, order, self.clock.now).is_recorded
        assert (self.flag.enabled, self.flag.held) == (False, "emergency")

    # ------------------------------------------------------------------------------------------ what must hold
    @invariant()
    def the_journal_is_the_state_of_the_controller(self):
        for row in self.plans:
            assert controller(self.store, row).state == replay(rollouts.events_of(self.store, row.plan_id))

    @invariant()
    def the_exposure_is_what_the_state_says(self):
        if self.is_started():
            assert (self.flag.percentage if self.flag.enabled else 0.0) == self.state.percentage

    @invariant()
    def after_its_end_a_plan_is_only_ever_rolled_back(self):
        for row in self.plans:
            events = rollouts.events_of(self.store, row.plan_id)
            for place, event in enumerate(events):
                before = replay(events[:place]).phase
                assert before not in ENDED or isinstance(event, RolledBack)
                assert before is not Phase.ROLLED_BACK

    @invariant()
    def no_gate_is_passed_without_its_approval(self):
        for row in self.plans:
            wanted, events = rollouts.plan_of(row), rollouts.events_of(self.store, row.plan_id)
            for place, event in enumerate(events):
                if isinstance(event, StageEntered) and wanted.needs_approval(event.stage):
                    self.assert_approved(wanted, events[:place], event)

    @staticmethod
    def assert_approved(wanted, earlier, entry):
        given = [event for event in earlier if isinstance(event, ApprovalGiven)]
        match entry.cause:
            case EntryCause.APPROVED:
                (asked,) = [place for place, e in enumerate(earlier) if isinstance(e, ApprovalRequested)][-1:]
                people = {e.approver for e in earlier[asked:] if isinstance(e, ApprovalGiven) and not e.is_override}
                assert len(people) >= wanted.approvals_required
            case EntryCause.OVERRIDDEN:  # the entry itself is the last vote
                assert len({event.approver for event in given}) >= wanted.approvals_required - 1
            case EntryCause.RESTARTED:
                assert entry.stage in {event.stage for event in earlier if isinstance(event, StageEntered)}
            case _:
                pytest.fail(f"{entry.cause} passes no gate")

    @invariant()
    def entries_of_the_flag_count_up_over_all_plans(self):
        entries = [
            event.entry
            for row in self.plans
            for event in rollouts.events_of(self.store, row.plan_id)
            if isinstance(event, StageEntered)
        ]
        assert entries == sorted(set(entries))
        assert self.flag.entries == max(entries, default=0)

    @invariant()
    def a_rolled_back_plan_has_one_critical_alert(self):
        alerts = [alert.plan_id for alert in self.store.alerts("critical") if alert.plan_id]
        rolled_back = [row.plan_id for row in self.plans if self.is_rolled_back(row)]
        assert sorted(alerts) == sorted(rolled_back)

    def is_rolled_back(self, row):
        return rollouts.state_of(self.store, row.plan_id).phase is Phase.ROLLED_BACK

    @invariant()
    def the_store_has_no_findings(self):
        assert care.findings(self.store) == []


TestOperations = Operations.TestCase
TestOperations.settings = settings(max_examples=60, stateful_step_count=20)
