import inspect
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4 import errors
from phase4.errors import InvalidInput, InvariantViolation, Phase4Error, PlanInvalid, nearest, unknown_key

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Phase4Error)]
LINE = re.compile(r"^[│├└─ ]*(\w+) +([A-Z_]+) +(\d+)(?: |$)", re.MULTILINE)


def tree():
    """Return {class: (code, exit status)} as the module's own picture has it."""
    return {name: (code, int(status)) for name, code, status in LINE.findall(errors.__doc__)}


def test_the_picture_of_the_tree_is_the_tree():
    assert tree() == {cls.__name__: (cls.code, cls.exit_status) for cls in CLASSES}


def test_no_two_errors_share_a_code():
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)


def test_no_error_has_the_exit_status_of_success_or_of_an_unmet_expectation():
    assert {cls.exit_status for cls in CLASSES}.isdisjoint({0, 1})


def test_every_problem_of_an_input_has_its_own_line_with_the_source():
    error = PlanInvalid(["a: is missing", "b: unknown key"], source="plan.toml")
    assert str(error).splitlines() == ["plan.toml: a: is missing", "plan.toml: b: unknown key"]


def test_one_problem_may_be_given_as_text():
    assert InvalidInput("a: is missing").problems == ("a: is missing",)


def test_an_input_without_a_source_names_none():
    assert str(InvalidInput("a: is missing")) == "a: is missing"


@pytest.mark.parametrize(
    "error",
    [
        InvariantViolation("broken", hint="look here"),
        PlanInvalid(["a: is missing", "b: unknown key"], source="p.toml"),
    ],
    ids=lambda error: error.code,
)
def test_an_error_comes_back_whole_from_another_process(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


def test_the_nearest_name_is_found_among_several():
    assert nearest("thresold", ["e_process", "threshold"]) == "threshold"


def test_nothing_is_near_to_a_name_like_no_other():
    assert nearest("zzz", ["arm", "at"]) is None


def test_the_nearest_name_does_not_depend_on_the_order_of_the_known_ones():
    assert nearest("ab", ["abd", "abc"]) == nearest("ab", ["abc", "abd"])


def test_an_unknown_key_is_named_by_its_whole_path():
    assert unknown_key("run", "sed", ["seed"]).startswith("run.sed: ")


def test_an_unknown_key_like_no_other_is_told_all_that_are_known():
    assert unknown_key("run", "zzzzzz", ["seed", "tick"]).endswith("known here: seed, tick")


@given(st.text(min_size=4, max_size=20, alphabet="abcdefghij_"), st.integers(0, 19))
def test_a_name_with_one_letter_too_many_is_recognised(name, place):
    wrong = name[:place] + "x" + name[place:]
    assert nearest(wrong, [name]) == name
