import pytest

from phase4.analysis.verdict import Verdict
from phase4.clock import ManualClock
from phase4.durations import HOUR_MS
from phase4.errors import JournalConflict, PlanStateError
from phase4.rollout.controller import RolloutController
from phase4.rollout.events import (
    ApprovalGiven,
    ApprovalRequested,
    Cancelled,
    Completed,
    EntryCause,
    Paused,
    Resumed,
    RolledBack,
    StageEntered,
)
from phase4.rollout.journal import MemoryJournal
from phase4.rollout.state import Phase, replay
from tests.unit.rollout.steps import BAKE, START, at, entered, plan, seen


class Eye:
    """An observer that has seen what it was told, of whatever entry it is asked about."""

    def __init__(self):
        self.verdict = Verdict.PASS

    def observe(self, state):
        return None if self.verdict is None else seen(self.verdict, entry=state.entry)


class Flag:
    """A switch that remembers what it was told, and breaks when asked to."""

    def __init__(self):
        self.applied, self.percentage, self.is_broken = [], 0.0, False

    def apply(self, event):
        if self.is_broken:
            raise OSError("no route to the flag")
        self.applied.append(event)
        if isinstance(event, StageEntered):
            self.percentage = event.percentage
        elif isinstance(event, RolledBack):
            self.percentage = 0.0


class Rollout:
    """A controller with everything around it."""

    def __init__(self, **changes):
        self.plan, self.clock, self.eye, self.flag, self.journal = (
            plan(**changes),
            ManualClock(START),
            Eye(),
            Flag(),
            MemoryJournal(),
        )
        self.controller = self.another()

    def another(self):
        """Return a further controller on the same journal."""
        return RolloutController(
            plan=self.plan, clock=self.clock, observer=self.eye, journal=self.journal, switch=self.flag
        )

    def after(self, hours):
        self.clock.advance(round(hours * HOUR_MS))
        return self.controller.tick()

    def kinds(self):
        return [event.kind for event in self.journal.read()]


@pytest.fixture
def rollout():
    rollout = Rollout()
    rollout.controller.start()
    return rollout


BAKED = BAKE / HOUR_MS


def test_a_new_controller_waits_for_its_start_and_switches_nothing():
    rollout = Rollout()
    assert rollout.controller.state.phase is Phase.PENDING
    assert rollout.after(1_000) is None
    assert rollout.flag.applied == []


def test_a_start_switches_the_first_stage_on(rollout):
    assert rollout.flag.percentage == 5.0
    assert list(rollout.journal.read()) == [entered(0)]


def test_a_tick_without_anything_to_do_records_nothing(rollout):
    assert rollout.after(1) is None
    assert rollout.kinds() == ["stage_entered"]


def test_a_tick_takes_one_step_and_returns_it(rollout):
    event = rollout.after(BAKED)
    assert event == entered(1, BAKED, EntryCause.PROMOTED)
    assert rollout.controller.tick() is None


def test_every_step_is_recorded_and_switched(rollout):
    rollout.after(BAKED)
    assert list(rollout.journal.read()) == rollout.flag.applied


def test_the_state_is_the_fold_of_the_journal(rollout):
    rollout.after(BAKED)
    rollout.after(BAKED)
    assert rollout.controller.state == replay(rollout.journal.read())


def test_a_whole_rollout_goes_through_its_stages_and_its_gate(rollout):
    rollout.after(BAKED)
    rollout.after(BAKED)
    rollout.controller.approve("ana")
    rollout.after(1)
    rollout.after(BAKED)
    kinds = (StageEntered, StageEntered, ApprovalRequested, ApprovalGiven, StageEntered, Completed)
    assert [type(event) for event in rollout.journal.read()] == list(kinds)
    assert rollout.flag.percentage == 25.0


def test_a_breach_switches_the_feature_off(rollout):
    rollout.eye.verdict = Verdict.FAIL
    rollout.after(1)
    assert rollout.flag.percentage == 0.0
    assert rollout.controller.state.phase is Phase.ROLLED_BACK


# ------------------------------------------------------------------------------------------------- record, then act


def test_what_could_not_be_switched_is_in_the_journal_all_the_same(rollout):
    rollout.flag.is_broken = True
    with pytest.raises(OSError, match="no route"):
        rollout.after(BAKED)
    assert rollout.kinds() == ["stage_entered", "stage_entered"]
    assert rollout.flag.percentage == 5.0


@pytest.mark.parametrize(
    ("verdict", "percentage"), [(Verdict.PASS, 10.0), (Verdict.FAIL, 0.0)], ids=["promotion", "rollback"]
)
def test_a_new_controller_carries_out_what_the_last_one_only_recorded(rollout, verdict, percentage):
    rollout.flag.is_broken, rollout.eye.verdict = True, verdict
    with pytest.raises(OSError, match="no route"):
        rollout.after(BAKED)
    rollout.flag.is_broken = False
    rollout.another()
    assert rollout.flag.percentage == percentage


def test_a_rollback_that_could_not_be_switched_is_carried_out_by_the_next_tick(rollout):
    rollout.flag.is_broken, rollout.eye.verdict = True, Verdict.FAIL
    with pytest.raises(OSError, match="no route"):
        rollout.after(1)
    rollout.flag.is_broken = False
    rollout.after(1)
    assert rollout.flag.percentage == 0.0


def test_a_rollback_that_could_not_be_switched_is_carried_out_when_it_is_ordered_again(rollout):
    rollout.flag.is_broken = True
    with pytest.raises(OSError, match="no route"):
        rollout.controller.roll_back("it smells")
    rollout.flag.is_broken = False
    assert rollout.controller.roll_back("it smells") is None
    assert rollout.flag.percentage == 0.0


def test_a_new_controller_carries_out_a_promotion_that_could_not_be_switched_whatever_was_recorded_since(rollout):
    rollout.flag.is_broken = True
    with pytest.raises(OSError, match="no route"):
        rollout.after(BAKED)
    with pytest.raises(OSError, match="no route"):
        rollout.controller.pause("look")
    rollout.flag.is_broken = False
    rollout.another()
    assert rollout.flag.percentage == 10.0


def test_what_could_not_be_switched_is_carried_out_before_the_next_command_s_event(rollout):
    rollout.flag.is_broken = True
    with pytest.raises(OSError, match="no route"):
        rollout.after(BAKED)
    rollout.flag.is_broken = False
    rollout.controller.pause("look")
    assert rollout.flag.applied == list(rollout.journal.read())


def test_a_new_controller_repeats_no_step(rollout):
    rollout.after(BAKED)
    fresh = rollout.another()
    assert fresh.state == rollout.controller.state
    assert fresh.tick() is None
    assert len(rollout.journal.read()) == 2


def test_what_could_not_be_recorded_is_not_done():
    rollout = Rollout()
    rollout.another().start()
    rollout.flag.applied.clear()
    with pytest.raises(JournalConflict):
        rollout.controller.start()
    assert rollout.flag.applied == []
    assert rollout.controller.state.phase is Phase.PENDING


def test_of_two_controllers_the_second_is_refused(rollout):
    slow = rollout.another()
    rollout.after(BAKED)
    with pytest.raises(JournalConflict):
        slow.tick()
    assert rollout.kinds() == ["stage_entered", "stage_entered"]


def test_after_a_conflict_the_journal_is_read_again_and_the_step_is_not_taken_twice(rollout):
    slow = rollout.another()
    rollout.after(BAKED)
    with pytest.raises(JournalConflict):
        slow.tick()
    assert rollout.another().tick() is None


# --------------------------------------------------------------------------------------------------------- commands


def test_commands_are_recorded_as_their_events(rollout):
    rollout.controller.pause("lunch")
    rollout.controller.resume()
    rollout.controller.cancel("no longer wanted")
    assert [type(event) for event in rollout.journal.read()] == [StageEntered, Paused, Resumed, Cancelled]


def test_a_command_that_is_refused_leaves_nothing_behind(rollout):
    with pytest.raises(PlanStateError):
        rollout.controller.approve("ana")
    assert rollout.kinds() == ["stage_entered"]


def test_an_approval_alone_enters_nothing(rollout):
    rollout.after(BAKED)
    rollout.after(BAKED)
    rollout.controller.approve("ana")
    assert rollout.flag.percentage == 10.0


def test_a_second_approval_of_the_same_person_is_not_recorded(rollout):
    rollout.after(BAKED)
    rollout.after(BAKED)
    rollout.controller.approve("ana")
    assert rollout.controller.approve("ana") is None
    assert rollout.kinds().count("approval_given") == 1


def test_a_rejected_request_pauses_at_the_same_exposure(rollout):
    rollout.after(BAKED)
    rollout.after(BAKED)
    rollout.controller.reject("ana")
    assert (rollout.controller.state.phase, rollout.flag.percentage) == (Phase.PAUSED, 10.0)


def test_a_rollback_by_hand_switches_off_at_once(rollout):
    event = rollout.controller.roll_back("it smells")
    assert (event.at_ms, rollout.flag.percentage) == (at(0), 0.0)


def test_a_second_rollback_by_hand_records_nothing(rollout):
    rollout.controller.roll_back("it smells")
    assert rollout.controller.roll_back("it smells") is None
    assert rollout.kinds() == ["stage_entered", "rolled_back"]


# ---------------------------------------------------------------------------------------------------------- journal


@pytest.mark.parametrize("seq", [0, 1, 3])
def test_a_journal_takes_the_next_number_only(seq):
    journal = MemoryJournal()
    journal.append(1, entered(0))
    with pytest.raises(JournalConflict, match=str(seq)):
        journal.append(seq, entered(1))
    assert list(journal.read()) == [entered(0)]


def test_what_was_read_from_a_journal_does_not_change_with_it():
    journal = MemoryJournal()
    read = journal.read()
    journal.append(1, entered(0))
    assert list(read) == []
