"""Conditions: what each operator holds of and what not, and what it makes of the wrong and the missing."""

import enum
import json
import math
from collections import UserDict

import pytest

from phase4.flags.conditions import compile_all, compile_condition, needs_now
from phase4.flags.definition import Condition, Operator

NOW = 1_800_000_000_000
"""2027-01-15T08:00:00Z."""
LONE_SURROGATE = json.loads('"\\ud800"')


class Colour(enum.StrEnum):
    """A text that is more than a text."""

    BLUE = "blue"

    def __str__(self):
        raise AssertionError("a member's own code must not run")


class Size(enum.IntEnum):
    """A number that is more than a number."""

    LARGE = 3


class Rude(dict):
    """A context with code of its own."""

    def get(self, *key):
        raise RuntimeError(key)

    __getitem__ = __missing__ = __contains__ = get


def condition(op, operand=None, attribute="a", **marks):
    """Return a condition with the operand where the operator has it."""
    key = "values" if isinstance(operand, tuple) else "value"
    return Condition(attribute=attribute, op=Operator(op), **({} if operand is None else {key: operand}), **marks)


def holds(about, context, now_ms=None):
    """Return whether a condition holds of a context."""
    return compile_condition(about)(context, now_ms)


CASES = [
    # operator, operand, values it holds of, values it does not hold of, values of the wrong type
    (
        "in",
        ("beta", "qa", 7, 1.5, True),
        ["beta", "qa", 7, 7.0, 1.5, True, ["x", "beta"], ("qa",), [7], ["beta", None], [[], "qa"]],
        ["bet", "Beta", "", "7", "True", 1, 0, False, 8, [], ["x", "y"], [False], -0.5],
        [{}, {"beta": 1}, math.nan, math.inf, [None], ["x", {}], [["beta"]]],
    ),
    ("in", ("1",), ["1"], [1, True], [{}]),
    ("in", (1,), [1, 1.0], [True, "1"], [{}]),
    ("in", (True,), [True], [1, 1.0, "true"], [{}]),
    (
        "not_in",
        ("beta", 7),
        ["Beta", "", 8, True, [], ["x", "y"]],
        ["beta", 7, 7.0, ["x", "beta"], [{}, "beta"]],
        [{}, math.nan, [None], ["x", {}]],
    ),
    ("starts_with", ("ab", "x"), ["ab", "abc", "x"], ["", "a", "cab", "Ab"], [7, True, ["ab"], {}]),
    ("ends_with", ("@a.com", "@b.com"), ["me@a.com", "@b.com"], ["", "me@a.com.", "ME@A.COM"], [7, ["me@a.com"], {}]),
    ("contains", ("b", "yz"), ["b", "abc", "xyz"], ["", "y", "z", "B"], [7, ["b"], {"b": 1}]),
    ("matches", "b+$", ["b", "abb"], ["", "ba", "B"], [7, ["b"], {}, "b" * 1025]),
    ("matches", "^a", ["a" * 1024], ["ba"], ["a" * 1025]),
    ("eq", 5, [5, 5.0, "5", "5.0", "005", "5e0"], [4, "6", -5, 5.1], [True, "", "five", " 5", [5], {}, math.nan]),
    ("eq", 1, [1], [0], [True]),
    ("eq", 2**53 - 1, [2**53 - 1, "9007199254740991"], [2**53, "9007199254740992"], ["1e999"]),
    ("gt", 1.5, [2, "1.6", 10**400], [1.5, 1, "1.5", -(10**400)], [True, "x", math.inf, "1" * 101]),
    ("gte", 1.5, [1.5, 2, "1.5"], [1.4, "-2"], [False, {}, math.nan]),
    ("lt", 0, [-1, "-0.1", -1e308], [0, 1, "0"], [False, "", -math.inf]),
    ("lte", 0, [0, -1, "-0"], [1e-300, "1"], [True, []]),
    ("semver_eq", "1.4.0", ["1.4.0", "v1.4.0", "1.4.0+7"], ["1.4.0-rc.1", "1.4.1"], ["1.4", 1.4, "x", ["1.4.0"]]),
    ("semver_gt", "1.0.0-rc.1", ["1.0.0", "1.0.0-rc.2", "2.0.0"], ["1.0.0-rc.1", "1.0.0-beta"], ["1.0", 2, ""]),
    ("semver_gte", "v1.4.0", ["1.4.0", "1.10.0"], ["1.4.0-rc.1", "1.3.9"], ["1.4", "1.4.0.0", 2, {}]),
    ("semver_lt", "1.0.0", ["1.0.0-rc.1", "0.9.9"], ["1.0.0", "1.0.0+a"], ["1", 0]),
    ("semver_lte", "1.0.0", ["1.0.0", "1.0.0-rc.1"], ["1.0.1"], ["latest", True]),
    (
        "before",
        "2027-01-01T00:00:00Z",
        ["2026-12-31T23:59:59.999Z", "2027-01-01T00:30:00+01:00"],
        ["2027-01-01T00:00:00Z", "2027-01-01T01:00:00+01:00", "2027-06-01T00:00:00Z"],
        ["2026-12-31", "2026-12-31T00:00:00", 0, NOW, {}, "tomorrow"],
    ),
    (
        "after",
        "2027-01-01T00:00:00+00:00",
        ["2027-01-01T00:00:00.001Z", "2027-01-01T00:00:00-01:00"],
        ["2027-01-01T00:00:00Z", "2026-12-31T23:59:59Z"],
        ["2028-01-01", NOW, "2027-02-30T00:00:00Z", []],
    ),
    (
        "in_cidr",
        ("10.0.0.0/8", "192.168.1.7", "2001:db8::/32"),
        ["10.255.0.1", "192.168.1.7", "2001:db8::1", "2001:DB8:ffff::", "::ffff:10.0.0.1"],
        ["11.0.0.0", "192.168.1.8", "2001:db9::", "::a00:1", "::ffff:11.0.0.1"],
        ["10.0.0.0/8", "10.0.0", "", "localhost", 167772161, ["10.0.0.1"], {}],
    ),
    ("in_cidr", ("::/0",), ["::1", "::ffff:10.0.0.1"], ["10.0.0.1"], ["x"]),
    ("in_cidr", ("0.0.0.0/0",), ["10.0.0.1", "::ffff:10.0.0.1"], ["::1"], ["x"]),
]
HIT, MISS, WRONG = 2, 3, 4
"""Where a case has its values."""


def cases(*places, first=False):
    """Return (operator, operand, value) for the values of all cases, or for the first of each."""
    return [
        pytest.param(case[0], case[1], value, id=f"{number}-{case[0]}-{index}-{type(value).__name__}")
        for number, case in enumerate(CASES)
        for place in places
        for index, value in enumerate(case[place][:1] if first else case[place])
    ]


def test_every_operator_has_cases():
    assert {op for op, *_ in CASES} == set(Operator) - {Operator.EXISTS}


@pytest.mark.parametrize(("op", "operand", "value"), cases(HIT))
def test_it_holds(op, operand, value):
    assert holds(condition(op, operand), {"a": value}) is True
    assert holds(condition(op, operand, negate=True), {"a": value}) is False
    assert holds(condition(op, operand, missing=True), {"a": value}) is True


@pytest.mark.parametrize(("op", "operand", "value"), cases(MISS))
def test_it_does_not_hold(op, operand, value):
    assert holds(condition(op, operand), {"a": value}) is False
    assert holds(condition(op, operand, negate=True), {"a": value}) is True
    assert holds(condition(op, operand, missing=True), {"a": value}) is False


@pytest.mark.parametrize(("op", "operand", "value"), cases(WRONG))
def test_a_value_of_the_wrong_type_is_as_good_as_missing(op, operand, value):
    for negate in (False, True):
        assert holds(condition(op, operand, negate=negate), {"a": value}) is False
        assert holds(condition(op, operand, negate=negate, missing=True), {"a": value}) is True


@pytest.mark.parametrize("context", [{}, {"a": None}, {"A": "x"}, {"b": {"a": "x"}}])
@pytest.mark.parametrize(("op", "operand", "_value"), cases(HIT, first=True))
def test_what_is_missing_does_not_hold_and_negate_does_not_turn_that_into_true(op, operand, _value, context):
    for negate in (False, True):
        assert holds(condition(op, operand, negate=negate), context) is False
        assert holds(condition(op, operand, negate=negate, missing=True), context) is True


@pytest.mark.parametrize("value", ["", 0, False, [], {}, math.nan, LONE_SURROGATE])
def test_whatever_is_there_exists(value):
    assert holds(condition("exists"), {"a": value}) is True
    assert holds(condition("exists", negate=True), {"a": value}) is False


@pytest.mark.parametrize("context", [{}, {"a": None}, {"b": 1}])
def test_what_is_not_there_does_not_exist_and_only_that_can_be_negated(context):
    assert holds(condition("exists"), context) is False
    assert holds(condition("exists", negate=True), context) is True


@pytest.mark.parametrize(
    ("op", "operand", "value"),
    [
        ("in", ("Beta", 7), "bETA"),
        ("in", ("stra\u00dfe",), "STRASSE"),
        ("in", ("beta",), ["x", "BETA"]),
        ("starts_with", ("AB",), "abc"),
        ("ends_with", ("@A.com",), "me@a.COM"),
        ("contains", ("\u00c4",), "x\u00e4y"),
        ("matches", "B+$", "abb"),
    ],
)
def test_case_can_be_ignored_and_counts_otherwise(op, operand, value):
    assert holds(condition(op, operand, ignore_case=True), {"a": value}) is True
    assert holds(condition(op, operand), {"a": value}) is False


def test_not_in_ignores_case_too():
    assert holds(condition("not_in", ("Beta",), ignore_case=True), {"a": "BETA"}) is False


def test_ignoring_case_leaves_numbers_alone():
    assert holds(condition("in", ("x", 7), ignore_case=True), {"a": 7}) is True


def test_not_in_can_be_negated():
    assert holds(condition("not_in", ("x",), negate=True), {"a": "x"}) is True
    assert holds(condition("not_in", ("x",), negate=True), {"a": "y"}) is False
    assert holds(condition("not_in", ("x",), negate=True), {}) is False


# ------------------------------------------------------------------------------------------- attributes


def test_a_dotted_path_goes_into_nested_objects():
    about = condition("eq", 7, "user.plan.seats")
    assert holds(about, {"user": {"plan": {"seats": 7}}})
    assert not holds(about, {"user": {"plan": {"seats": 8}}})
    assert not holds(about, {"user": {"plan": 7}})
    assert not holds(about, {"user": [{"plan": {"seats": 7}}]})
    assert not holds(about, {"seats": 7})


def test_the_exact_key_goes_before_the_path():
    about = condition("eq", 7, "user.seats")
    assert holds(about, {"user.seats": 7, "user": {"seats": 8}})
    assert not holds(about, {"user.seats": None, "user": {"seats": 7}})
    assert holds(condition("exists", attribute="user.seats"), {"user": {"seats": 8}})
    assert not holds(condition("exists", attribute="user.seats"), {"user.seats": None, "user": {"seats": 7}})


@pytest.mark.parametrize("name", [".", "..", "a.", ".a", "a..b"])
def test_a_path_may_have_empty_steps(name):
    nested = 7
    for step in reversed(name.split(".")):
        nested = {step: nested}
    assert holds(condition("eq", 7, name), nested)
    assert holds(condition("eq", 7, name), {name: 7})
    assert not holds(condition("eq", 7, name), {})


def test_the_targeting_key_is_an_attribute():
    assert holds(condition("starts_with", ("user-",), "targetingKey"), {"targetingKey": "user-7"})


@pytest.mark.parametrize("name", ["get", "items", "keys", "__class__", "__len__", "self", "None", "len", "now.a"])
def test_keys_that_are_named_like_built_ins_are_keys(name):
    assert holds(condition("eq", 7, name), {name: 7})
    assert not holds(condition("exists", attribute=name), {})


# ------------------------------------------------------------------------------------------- now


def test_now_is_the_callers_clock():
    about = condition("after", "2027-01-15T08:00:00Z", "now")
    assert needs_now(about)
    assert not holds(about, {}, NOW)
    assert holds(about, {}, NOW + 1)
    assert holds(condition("before", "2027-01-15T08:00:00Z", "now"), {}, NOW - 1)
    assert holds(condition("before", "2027-01-15T08:00:00Z", "now", negate=True), {}, NOW)


def test_the_context_cannot_set_the_clock():
    about = condition("after", "2027-01-15T08:00:00Z", "now")
    assert not holds(about, {"now": "2099-01-01T00:00:00Z"}, NOW)
    assert holds(about, {"now": "1999-01-01T00:00:00Z"}, NOW + 1)


def test_without_a_clock_now_is_missing():
    assert not holds(condition("after", "2027-01-15T08:00:00Z", "now"), {"now": "2099-01-01T00:00:00Z"})
    assert not holds(condition("after", "2027-01-15T08:00:00Z", "now", negate=True), {})
    assert holds(condition("after", "2027-01-15T08:00:00Z", "now", missing=True), {})


def test_other_attributes_do_not_need_the_clock():
    assert not needs_now(condition("after", "2027-01-15T08:00:00Z", "created"))
    assert not needs_now(condition("exists", attribute="now.a"))


# ------------------------------------------------------------------------------------------- contexts of any kind


def test_the_code_of_a_contexts_classes_does_not_run():
    assert holds(condition("in", ("x",)), Rude(a="x"))
    assert holds(condition("in", ("x",), "a.b"), Rude(a=Rude(b="x")))
    assert holds(condition("in", ("x",), "a.b"), Rude({"a.b": "x"}))
    assert not holds(condition("in", ("x",), "a.b"), {"a": UserDict(b="x")})
    for about in (condition("in", ("blue",)), condition("matches", "^blue$"), condition("contains", ("lu",))):
        assert holds(about, {"a": Colour.BLUE})
    assert holds(condition("in", ("BLUE",), ignore_case=True), {"a": [Colour.BLUE]})
    assert holds(condition("eq", 3), {"a": Size.LARGE})
    assert holds(condition("in", (3,)), {"a": Size.LARGE})


@pytest.mark.parametrize(("op", "operand", "_value"), cases(HIT, first=True))
def test_a_lone_surrogate_harms_no_operator(op, operand, _value):
    assert isinstance(holds(condition(op, operand), {"a": LONE_SURROGATE}), bool)
    assert isinstance(holds(condition(op, operand), {"a": [LONE_SURROGATE]}), bool)


@pytest.mark.parametrize(("op", "operand", "_value"), cases(HIT, first=True))
def test_a_deep_value_harms_no_operator(op, operand, _value):
    deep = "x"
    for _ in range(100_000):
        deep = [deep]
    assert holds(condition(op, operand), {"a": deep}) is False


def test_all_conditions_of_a_list_must_hold():
    both = compile_all((condition("gt", 1), condition("lt", 3)))
    assert [both({"a": value}, None) for value in (1, 2, 3, "x")] == [False, True, False, False]
    assert compile_all((condition("gt", 1),))({"a": 2}, None)
    assert compile_all(())({}, None)
