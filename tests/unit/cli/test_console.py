import io
import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4 import clock
from phase4.cli.console import Console, number, percent
from phase4.errors import PlanInvalid


def printed(capsys, *, is_json=False, is_ascii=False, do):
    do(Console(is_json=is_json, is_ascii=is_ascii))
    return capsys.readouterr()


def test_a_line_is_for_people_and_not_for_programs(capsys):
    assert printed(capsys, do=lambda c: c.line("hello")).out == "hello\n"
    assert printed(capsys, is_json=True, do=lambda c: c.line("hello")).out == ""


def test_a_result_is_for_programs_and_not_for_people(capsys):
    assert printed(capsys, do=lambda c: c.result("x", {"a": 1})).out == ""
    body = json.loads(printed(capsys, is_json=True, do=lambda c: c.result("x", {"a": 1}, ["w"])).out)
    assert body == {"schema": "phase4/cli/1", "command": "x", "ok": True, "data": {"a": 1}, "warnings": ["w"]}


def test_a_diagnostic_goes_to_stderr_under_the_program_s_name(capsys):
    assert printed(capsys, do=lambda c: c.warn("careful")).err == "phase4: careful\n"


def test_a_failure_has_a_line_for_each_problem(capsys):
    error = PlanInvalid(["a: is missing", "b: is missing"], source="p.toml", hint="look here")
    found = printed(capsys, do=lambda c: c.fail("x", error))
    assert found.out == ""
    assert found.err.splitlines() == [
        "phase4: p.toml: a: is missing",
        "phase4: p.toml: b: is missing",
        "phase4: try: look here",
    ]


def test_a_failure_as_json_has_code_message_and_hint(capsys):
    found = printed(capsys, is_json=True, do=lambda c: c.fail("x", PlanInvalid("a: is missing", hint="look here")))
    assert json.loads(found.out)["error"] == {
        "code": "PLAN_INVALID",
        "message": "a: is missing",
        "hint": "look here",
    }


def test_every_moment_has_its_twin_beside_it_and_a_duration_has_none(capsys):
    data = {"at_ms": 0, "elapsed_ms": 5, "rows": [{"ended_ms": None, "x": 1}], "deep": {"held_ms": 1_500}}
    found = json.loads(printed(capsys, is_json=True, do=lambda c: c.result("x", data)).out)["data"]
    assert found == {
        "at_ms": 0,
        "at_iso": "1970-01-01T00:00:00Z",
        "elapsed_ms": 5,
        "rows": [{"ended_ms": None, "ended_iso": None, "x": 1}],
        "deep": {"held_ms": 1_500, "held_iso": clock.iso(1_500)},
    }
    assert list(found)[:2] == ["at_ms", "at_iso"]


@pytest.mark.parametrize("sign", list("–·×…█░—≤→│"))
def test_every_sign_of_ours_has_a_plain_form(capsys, sign):
    assert printed(capsys, is_ascii=True, do=lambda c: c.line(f"a{sign}b")).out.isascii()
    assert printed(capsys, is_ascii=True, do=lambda c: c.warn(f"a{sign}b")).err.isascii()


def test_a_terminal_that_knows_only_ascii_gets_only_ascii(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    Console(is_json=False, is_ascii=False).line("1–6 %")
    assert raw.getvalue() == b"1-6 %\n"


def test_prose_is_wrapped_to_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    lines = printed(capsys, do=lambda c: c.paragraph("word " * 40)).out.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 50
    assert " ".join(lines).split() == ["word"] * 40


@given(st.floats(0.0, 1.0))
def test_a_rate_reads_as_the_percentage_it_is(rate):
    text = percent(rate)
    assert text.endswith(" %")
    assert float(text.removesuffix(" %")) == pytest.approx(rate * 100, abs=0.5 + 1e-9)


def test_a_small_rate_keeps_a_figure_and_nothing_is_a_dash():
    assert [percent(rate) for rate in (0.004, 0.05, 0.995, 0.0, 1.0, math.nan)] == [
        "0.4 %",
        "5 %",
        "99.5 %",
        "0 %",
        "100 %",
        "-",
    ]


@given(st.floats(100.0, 1e12))
def test_a_large_count_has_three_figures(value):
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=0.005)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.04, "0"), (3.14, "3.1"), (99.94, "99.9"), (1_234.5, "1,230"), (math.inf, "never"), (math.nan, "-")],
)
def test_a_number_reads_as_people_say_it(value, text):
    assert number(value) == text
