"""The fast part of the calibration of carried evidence; `make bench` has all of it."""

from tests.benchmarks.carried import anew, go_on, share
from tests.unit.analysis.stages import ALPHA, upper

ROLLOUTS = 200


def test_a_stage_that_is_left_and_entered_again_keeps_its_alpha():
    assert share(100, go_on, rollouts=ROLLOUTS) <= upper(ALPHA, ROLLOUTS)


def test_judging_every_entry_anew_would_not():
    assert share(100, anew, rollouts=ROLLOUTS) > upper(ALPHA, ROLLOUTS)


def test_going_on_at_once_is_the_same_as_never_having_left():
    once = [share(100, go_on, rollouts=20, entries=entries) for entries in (1, 12)]
    assert once[0] == once[1]
