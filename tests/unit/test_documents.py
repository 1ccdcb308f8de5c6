import math
import tomllib

import pytest

from phase4.documents import Table


def read(text, path=""):
    return Table(tomllib.loads(text), path, [])


def problems(text, ask, path=""):
    """Return what is wrong after `ask(table)` and `finish`."""
    table = read(text, path)
    ask(table)
    table.finish()
    return table.problems


# -------------------------------------------------------------------------------------------------- what is right


@pytest.mark.parametrize(
    ("text", "ask", "value"),
    [
        ('a = "x"', lambda t: t.text("a"), "x"),
        ("a = true", lambda t: t.boolean("a"), True),
        ("a = 3", lambda t: t.integer("a", low=0), 3),
        ("a = 3", lambda t: t.number("a", low=0.0, high=5.0, what="a number"), 3),
        ("a = 0.25", lambda t: t.rate("a"), 0.25),
        ('a = "12h"', lambda t: t.duration("a"), 43_200_000),
        ("a = 2013-10-01T00:00:00Z", lambda t: t.moment("a"), 1_380_585_600_000),
        ('a = "2013-10-01T02:00:00+02:00"', lambda t: t.moment("a"), 1_380_585_600_000),
        ('a = "up"', lambda t: t.choice("a", ["down", "up"]), "up"),
        ("a = [0.1, 0.2]", lambda t: t.numbers("a", low=0.0, high=1.0, what="a rate"), (0.1, 0.2)),
        ("a = 0.1", lambda t: t.numbers("a", low=0.0, high=1.0, what="a rate"), 0.1),
    ],
    ids=["text", "boolean", "integer", "whole", "rate", "duration", "moment", "zone", "choice", "list", "single"],
)
def test_a_value_of_the_right_kind_is_returned_without_a_problem(text, ask, value):
    table = read(text)
    assert ask(table) == value
    assert table.problems == []


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.0])
def test_a_rate_may_be_equal_to_its_bounds(value):
    assert problems(f"a = {value}", lambda t: t.rate("a")) == []


@pytest.mark.parametrize("value", [2, 5])
def test_a_whole_number_may_be_equal_to_its_bounds(value):
    assert problems(f"a = {value}", lambda t: t.integer("a", low=2, high=5)) == []


def test_a_duration_may_be_equal_to_its_bound():
    assert problems('a = "1s"', lambda t: t.duration("a", low=1_000)) == []


def test_a_key_that_is_not_there_has_its_default():
    table = read("")
    found = (
        table.text("a", "x"),
        table.boolean("b", default=True),
        table.integer("c", 4, low=0),
        table.duration("d", None, low=1),
        table.choice("e", ["f"], "g"),
        table.moment("h", 7),
    )
    assert (found, table.problems) == (("x", True, 4, None, "g", 7), [])


def test_a_table_that_is_not_there_is_empty():
    assert read("").table("a").keys() == ()
    assert read("").tables("a") == ()


def test_keys_keep_the_order_of_the_document():
    assert read("b = 1\na = 2").keys() == ("b", "a")


# -------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("text", "ask", "problem"),
    [
        ("", lambda t: t.text("a"), "a: is missing; it is a string"),
        ("", lambda t: t.duration("a"), 'a: is missing; it is a duration with a unit, for example "12h"'),
        ("a = 3", lambda t: t.text("a"), "a: is a string: 3"),
        ('a = ""', lambda t: t.text("a"), "a: must not be empty"),
        ('a = "yes"', lambda t: t.boolean("a"), "a: is true or false: 'yes'"),
        ("a = 1", lambda t: t.boolean("a"), "a: is true or false: 1"),
        ("a = true", lambda t: t.integer("a", low=0), "a: is a whole number: True"),
        ("a = 1.5", lambda t: t.integer("a", low=0), "a: is a whole number: 1.5"),
        ("a = -1", lambda t: t.integer("a", low=0), "a: is at least 0: -1"),
        ("a = 6", lambda t: t.integer("a", low=1, high=5), "a: lies in 1..5: 6"),
        ("a = true", lambda t: t.rate("a"), "a: is a number: True"),
        ("a = 1.5", lambda t: t.rate("a"), "a: is a rate, 0 to 1: 1.5"),
        ("a = -0.1", lambda t: t.rate("a"), "a: is a rate, 0 to 1: -0.1"),
        ("a = nan", lambda t: t.rate("a"), "a: is a rate, 0 to 1: nan"),
        ("a = inf", lambda t: t.number("a", low=0.0, high=math.inf, what="a size"), "a: is a size: inf"),
        ("a = [0.5, 2]", lambda t: t.numbers("a", low=0.0, high=1.0, what="a rate"), "a[1]: is a rate: 2"),
        ("a = []", lambda t: t.numbers("a", low=0.0, high=1.0, what="a rate"), "a: is a rate, or a list of them"),
        ("a = [true]", lambda t: t.numbers("a", low=0.0, high=1.0, what="a rate"), "a: is a rate, or a list of them"),
        ('a = "1s"', lambda t: t.duration("a", low=2_000), "a: is at least 2 s: '1s'"),
        ("a = 12", lambda t: t.duration("a"), 'a: is a duration with a unit, for example "12h": 12'),
        ('a = "ups"', lambda t: t.choice("a", ["down", "up"]), 'a: "ups" is none of down, up; did you mean "up"?'),
        ('a = "zzz"', lambda t: t.choice("a", ["down", "up"]), 'a: "zzz" is none of down, up'),
        ("a = 3", lambda t: t.choice("a", ["down", "up"]), "a: is a string: 3"),
        (f"a = {'9' * 400}", lambda t: t.rate("a"), f"a: is a rate, 0 to 1: {'9' * 400}"),
        ("a = 1", lambda t: t.table("a"), "a: is a table: 1"),
        ("a = 1", lambda t: t.tables("a"), "a: is a list of tables: 1"),
        ("a = [1]", lambda t: t.tables("a"), "a: is a list of tables, written [[a]]"),
    ],
    ids=[
        *("missing", "missing-duration", "not-text", "empty", "not-boolean", "one-is-not-true", "true-is-not-1"),
        *("part", "below", "above", "true-is-no-rate", "rate-above", "rate-below", "nan", "inf", "list-item"),
        *("empty-list", "list-of-booleans", "short", "no-unit", "near", "far", "no-text", "long"),
        *("no-table", "no-list", "no-tables"),
    ],
)
def test_a_wrong_value_is_named_with_its_path_and_what_would_be_right(text, ask, problem):
    assert problems(text, ask) == [problem]


@pytest.mark.parametrize("value", ["2013-10-01T00:00:00", "2013-10-01", '"now"', '"2013-10-01"', "3"])
def test_a_moment_without_an_offset_is_refused(value):
    (problem,) = problems(f"a = {value}", lambda t: t.moment("a"))
    assert problem.startswith("a: is a moment with an offset, for example ")


def test_a_duration_that_cannot_be_read_says_what_one_is():
    (problem,) = problems('a = "12 hours"', lambda t: t.duration("a"))
    assert problem.startswith("a: a duration is a number with a unit")


def test_a_key_that_nothing_asked_for_is_unknown():
    assert problems("tick = 1\ntik = 2", lambda t: t.integer("tick", low=0), path="run") == [
        'run.tik: unknown key; did you mean "tick"?'
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda t: t.text("tick"),
        lambda t: t.boolean("tick"),
        lambda t: t.integer("tick", low=0),
        lambda t: t.rate("tick"),
        lambda t: t.duration("tick", low=1),
        lambda t: t.choice("tick", ["up"]),
        lambda t: t.moment("tick"),
    ],
    ids=["text", "boolean", "integer", "rate", "duration", "choice", "moment"],
)
def test_a_required_key_that_is_misspelt_is_not_missing_too(ask):
    assert problems("tik = 2", ask) == ['tik: unknown key; did you mean "tick"?']


def test_asking_whether_a_key_is_there_makes_it_known():
    assert problems("tick = 1", lambda t: t.has("tick")) == []


def test_tables_below_have_the_whole_path():
    table = read("[[fault]]\n[[fault]]\n[fault.shape]\nkin = 1")
    shape = table.tables("fault")[1].table("shape")
    assert shape.at("kind") == "fault[1].shape.kind"


def test_all_problems_of_a_document_are_found_at_once():
    table = read("a = 1\nb = 2\n[c]\nd = 3")
    table.text("a")
    table.boolean("b")
    table.table("c").duration("d")
    assert [problem.split(":")[0] for problem in table.problems] == ["a", "b", "c.d"]
