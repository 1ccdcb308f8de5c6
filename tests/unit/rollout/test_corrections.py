"""Outcomes that came too late, put together and in words."""

from hypothesis import given
from hypothesis import strategies as st

from phase4.rollout.corrections import COUNTS, describe, of_entry
from phase4.rollout.events import Completed, DataCorrected

NONE = dict.fromkeys(COUNTS, 0)


def late(entry=1, at_ms=5, from_ms=1, until_ms=2, **counts):
    return DataCorrected(at_ms=at_ms, entry=entry, from_ms=from_ms, until_ms=until_ms, **NONE | counts)


def test_an_entry_without_any_has_none():
    assert of_entry([late(entry=2, control=1), Completed(at_ms=1)], 1) is None


def test_all_of_an_entry_are_one_told_at_the_last():
    one = late(at_ms=5, from_ms=10, until_ms=20, treatment=3, treatment_errors=1)
    other = late(at_ms=9, from_ms=7, until_ms=15, treatment=2, control=4, control_invalid=2)
    assert of_entry([one, late(entry=2, control=9), other], 1) == late(
        at_ms=9, from_ms=7, until_ms=20, treatment=5, treatment_errors=1, control=4, control_invalid=2
    )


@given(st.lists(st.dictionaries(st.sampled_from(COUNTS), st.integers(0, 99)), min_size=1, max_size=6))
def test_nothing_is_lost_on_the_way(parts):
    found = of_entry([late(**part) for part in parts], 1)
    assert {name: getattr(found, name) for name in COUNTS} == {
        name: sum(part.get(name, 0) for part in parts) for name in COUNTS
    }


def test_words_for_both_arms():
    text = describe(late(treatment=1_200, treatment_errors=3, control=34, control_errors=1, control_invalid=2))
    assert text == (
        "1,234 outcomes came over an hour late, not judged: 1,200 of treatment (3 errors), "
        "34 of control (1 error, 2 invalid)"
    )


def test_words_for_a_single_one():
    assert describe(late(control=1)) == "1 outcome came over an hour late, not judged: 1 of control (0 errors)"
