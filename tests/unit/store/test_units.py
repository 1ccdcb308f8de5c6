"""User counts: which user was seen in which entry and arm, and what it had there."""

import subprocess
import sys

import numpy as np
import pytest

from phase4.errors import StoreUnavailable
from phase4.store.intake import ROWS
from phase4.store.record import NO_LATENCY, Outcome
from phase4.store.units import COUNTS, NAME, Due, Units
from tests.data.homes.make import ROOT, START

EXPOSURE, OK, ERROR, TIMEOUT, INVALID = Outcome
CONTROL, TREATMENT = 1, 2
NOTHING = dict.fromkeys(COUNTS, 0)


@pytest.fixture
def place(tmp_path):
    for name in ("collector", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def units(place):
    made = Units(str(place), last_tick=-1)
    yield made
    made.close()


def rows(*events):
    """Return the rows of (unit, outcome), with the arm and the entry where they are others, by time."""
    found = np.zeros(len(events), ROWS)
    for place, event in enumerate(events):
        unit, outcome, arm, entry = (*event, *(TREATMENT, 1)[len(event) - 2 :])
        found[place]["unit"], found[place]["outcome"], found[place]["arm"] = unit, outcome, arm
        found[place]["flag"], found[place]["entry"], found[place]["source"] = 1, entry, 1
        found[place]["t_ms"], found[place]["seq"], found[place]["latency_ms"] = START + place, place, NO_LATENCY
    return found


def of(counted, arm=TREATMENT, entry=1):
    """Return what is not 0."""
    return {name: count for name, count in counted[1, entry, arm].items() if count}


def count(units, tick, *events):
    return of(units.count(tick, rows(*events)))


def test_every_count_is_there(units):
    assert units.count(0, rows((1, EXPOSURE))) == {(1, 1, TREATMENT): {**NOTHING, "units": 1}}


def test_a_user_with_one_good_outcome_is_at_risk_once_and_first_once(units):
    assert count(units, 0, (1, OK)) == {
        "units": 1,
        **{f"{name}_{kind}_n": 1 for name in ("error", "bad", "invalid") for kind in ("risk", "first")},
    }


def test_outcomes_after_the_first_error_are_no_longer_at_risk(units):
    found = count(units, 0, (1, OK), (1, OK), (1, ERROR), (1, OK), (1, ERROR))
    assert (found["error_risk_n"], found["error_risk_x"]) == (3, 1)
    assert (found["error_first_n"], found.get("error_first_x", 0)) == (1, 0)


def test_a_user_that_has_erred_in_an_earlier_tick_is_out_of_the_risk_set(units):
    count(units, 0, (1, ERROR))
    assert count(units, 1, (1, OK), (1, ERROR)) == {"invalid_risk_n": 1, "invalid_first_n": 1}


def test_a_timeout_is_an_error_and_an_invalid_one_is_bad_alone(units):
    found = count(units, 0, (1, TIMEOUT), (2, INVALID))
    assert (found["error_risk_x"], found["bad_risk_x"], found["invalid_risk_x"]) == (1, 2, 1)
    assert (found["error_first_x"], found["bad_first_x"], found["invalid_first_x"]) == (1, 2, 1)


def test_an_exposure_is_a_user_and_no_outcome(units):
    assert count(units, 0, (1, EXPOSURE)) == {"units": 1}
    found = count(units, 1, (1, OK))
    assert ("units" in found, found["error_first_n"]) == (False, 1)


def test_the_first_validated_outcome_may_come_after_the_first_outcome(units):
    assert "invalid_first_n" not in count(units, 0, (1, ERROR))
    found = count(units, 1, (1, INVALID))
    assert (found["invalid_first_n"], found["invalid_first_x"], found.get("error_first_n", 0)) == (1, 1, 0)


def test_a_user_in_both_arms_of_one_tick_is_crossed_in_both_and_left_out(units):
    found = units.count(0, rows((1, ERROR, CONTROL), (1, OK, TREATMENT), (2, OK, TREATMENT)))
    assert of(found, CONTROL) == {"units": 1, "crossed": 1}
    assert (found[1, 1, TREATMENT]["units"], found[1, 1, TREATMENT]["crossed"]) == (2, 1)
    assert found[1, 1, TREATMENT]["error_first_n"] == 1


def test_a_user_that_crosses_later_is_left_out_from_then_on(units):
    assert count(units, 0, (1, OK, TREATMENT))["error_risk_n"] == 1
    assert of(units.count(1, rows((1, ERROR, CONTROL))), CONTROL) == {"units": 1, "crossed": 1}
    assert count(units, 2, (1, ERROR, TREATMENT)) == {"crossed": 1}


def test_another_entry_begins_anew(units):
    units.count(0, rows((1, ERROR, CONTROL, 1)))
    found = units.count(1, rows((1, OK, TREATMENT, 2)))
    assert (found[1, 2, TREATMENT]["units"], found[1, 2, TREATMENT]["crossed"]) == (1, 0)


def test_the_order_is_that_of_time_and_then_of_source_and_number(units):
    events = rows((1, OK), (1, ERROR), (1, OK))
    events["t_ms"] = START
    events["seq"], events["source"] = [0, 5, 9], [2, 1, 1]  # so the error comes first
    found = of(units.count(0, events))
    assert (found["error_risk_n"], found["error_first_x"]) == (1, 1)


def test_a_tick_that_was_not_recorded_is_taken_back_at_the_start(place, units):
    count(units, 0, (1, OK))
    before = count(units, 1, (1, ERROR), (2, OK))
    units.close()
    again = Units(str(place), last_tick=0)
    assert of(again.count(1, rows((1, ERROR), (2, OK)))) == before
    again.close()


def test_what_is_recorded_stays_at_the_start(place, units):
    count(units, 0, (1, ERROR))
    units.close()
    again = Units(str(place), last_tick=0)
    assert "units" not in of(again.count(1, rows((1, OK))))
    again.close()


def test_a_count_that_fails_leaves_nothing_behind(units):
    bad = rows((1, OK))[["flag", "entry", "arm", "unit", "outcome", "latency_ms", "t_ms", "source"]]  # without numbers
    with pytest.raises(ValueError, match="seq"):
        units.count(0, bad)
    assert count(units, 0, (1, OK))["units"] == 1


def test_all_the_64_bits_of_a_unit_tell_users_apart(units):
    assert count(units, 0, (2**64 - 1, OK), (2**63, OK), (2**63 - 1, OK), (0, OK))["units"] == 4


def test_flags_entries_and_arms_up_to_their_ends_are_kept_apart(units):
    events = rows((1, OK), (1, OK))
    events["flag"], events["entry"] = [65_535, 1], [65_535, 0]
    assert sorted(units.count(0, events)) == [(1, 0, TREATMENT), (65_535, 65_535, TREATMENT)]


def test_outcomes_are_due_of_the_users_that_were_seen_first_then(units):
    count(units, 0, (1, EXPOSURE), (2, EXPOSURE))
    count(units, 1, (1, OK), (3, EXPOSURE))
    assert units.due(0, 0) == Due(2, 1)
    assert units.due(1, 1) == Due(1, 0)
    assert units.due(0, 1) == Due(3, 1)
    assert units.due(2, 9) == Due(0, 0)
    assert units.due(1, 0) == Due(0, 0)


def test_the_users_of_earlier_entries_of_a_flag_can_be_forgotten(units):
    units.count(0, rows((1, OK, TREATMENT, 0), (1, OK, TREATMENT, 1), (1, OK, TREATMENT, 2)))
    units.forget(1, 2)
    found = units.count(1, rows((1, OK, TREATMENT, 0), (1, OK, TREATMENT, 1), (1, OK, TREATMENT, 2)))
    assert [found[1, entry, TREATMENT]["units"] for entry in (0, 1, 2)] == [0, 1, 0]


def test_the_file_is_for_the_owner_alone(place, units):
    assert (place / NAME).stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_named(place):
    (place / NAME).write_bytes(b"no database" * 1_000)
    with pytest.raises(StoreUnavailable, match=r"units\.duckdb cannot be used"):
        Units(str(place), last_tick=-1)


HOLD = """
import sys
from phase4.store.units import Units

units = Units(sys.argv[1], last_tick=-1)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_file_that_another_process_holds_is_named(place):
    words = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(StoreUnavailable, match=r"units\.duckdb cannot be used"):
            Units(str(place), last_tick=-1)
        process.stdin.close()
