from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from phase4.documents import Table

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["12h", "1.5d", "2013-10-01T00:00:00Z", "up", "down"]),
    st.datetimes(timezones=st.just(UTC)),
    st.just(datetime(2013, 10, 1)),  # noqa: DTZ001  TOML has moments without an offset
)
VALUES = st.recursive(
    SCALARS, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(st.sampled_from("abc"), v)), max_leaves=6
)
ASK = {
    "text": lambda t: t.text("a"),
    "boolean": lambda t: t.boolean("a"),
    "integer": lambda t: t.integer("a", low=-5, high=5),
    "number": lambda t: t.number("a", low=-5.0, high=5.0, what="a number"),
    "rate": lambda t: t.rate("a"),
    "numbers": lambda t: t.numbers("a", low=0.0, high=1.0, what="a rate"),
    "duration": lambda t: t.duration("a", low=10),
    "moment": lambda t: t.moment("a"),
    "choice": lambda t: t.choice("a", ["up", "down"]),
    "table": lambda t: t.table("a"),
    "tables": lambda t: t.tables("a"),
}
KINDS = st.sampled_from(sorted(ASK))


@given(VALUES, KINDS)
def test_whatever_a_document_holds_is_a_value_or_a_problem_and_never_a_crash(value, kind):
    table = Table({"a": value}, "run", [])
    answer = ASK[kind](table)
    assert answer is not None
    assert all(problem.startswith("run.a") for problem in table.problems)


@given(VALUES)
def test_a_rate_without_a_problem_lies_between_0_and_1(value):
    table = Table({"a": value}, "", [])
    rate = table.rate("a")
    assert table.problems or 0.0 <= rate <= 1.0


@given(VALUES)
def test_a_duration_without_a_problem_is_a_whole_number_of_ms_from_its_bound_on(value):
    table = Table({"a": value}, "", [])
    duration = table.duration("a", low=10)
    assert table.problems or (type(duration) is int and duration >= 10)


@given(VALUES)
def test_a_choice_that_is_there_is_one_of_its_options(value):
    assert Table({"a": value}, "", []).choice("a", ["up", "down"]) in {"up", "down"}


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(), max_size=8), st.data())
def test_every_key_is_either_asked_for_or_a_problem(document, data):
    asked = data.draw(st.sets(st.sampled_from(sorted(document)))) if document else set()
    table = Table(document, "", [])
    for key in asked:
        table.has(key)
    table.finish()
    assert sorted(problem.split(":")[0] for problem in table.problems) == sorted(set(document) - asked)
