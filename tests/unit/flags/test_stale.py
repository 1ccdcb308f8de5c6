"""The stale-flag report: which flags are in it, since when, and who would miss them."""

from datetime import date

import pytest

from phase4.durations import DAY_MS
from phase4.flags.definition import (
    Condition,
    FlagDefinition,
    FlagType,
    Kind,
    Operator,
    Prerequisite,
    Rollout,
    Rule,
    Split,
)
from phase4.flags.stale import FlagUse, StaleFlag, Staleness, stale_flags

NOW = 20_000 * DAY_MS
"""The 4th of October 2024."""
BETA = Condition(attribute="groups", op=Operator.IN, values=("beta",))


def use(percentage=50, *, key="k", changed_days=100, evaluated_days=0, has_live_plan=False, serve="on", **changes):
    """Return a flag that changed and was evaluated so many days ago."""
    values = {
        "key": key,
        "type": FlagType.BOOLEAN,
        "enabled": True,
        "variants": {"on": True, "off": False},
        "off_variant": "off",
        "default_variant": "off",
        "salt": key,
        "rollout": None if percentage is None else Rollout(percentage=percentage, serve=serve),
    }
    return FlagUse(
        definition=FlagDefinition(**(values | changes)),
        changed_ms=NOW - changed_days * DAY_MS,
        evaluated_ms=None if evaluated_days is None else NOW - evaluated_days * DAY_MS,
        has_live_plan=has_live_plan,
    )


def classes(*uses, days=30):
    """Return the classes of the report's lines."""
    return [line.staleness.value for line in stale_flags(uses, now_ms=NOW, days=days)]


def test_a_flag_that_is_on_its_way_is_not_stale():
    assert classes(use(0.01), use(50), use(99.99)) == []


def test_a_flag_that_everybody_has_is_fully_on():
    assert classes(use(100)) == ["fully_on"]
    assert classes(use(None, default_variant="on")) == ["fully_on"]
    assert classes(use(0, default_variant="on")) == ["fully_on"]
    assert classes(use(100, serve=Split(weights=(("on", 1), ("off", 0))))) == ["fully_on"]
    assert classes(use(100, allow=("qa-1",))) == ["fully_on"]


@pytest.mark.parametrize(
    "exceptions",
    [
        {"rules": (Rule(id="r", when=(BETA,), serve="off"),)},
        {"eligible": (BETA,)},
        {"deny": ("user-7",)},
        {"prerequisites": (Prerequisite(flag_key="other", variants=("on",)),)},
    ],
    ids=lambda exceptions: next(iter(exceptions)),
)
def test_a_flag_with_exceptions_is_not_fully_on(exceptions):
    assert classes(use(100, **exceptions)) == []


def test_a_flag_that_splits_everybody_is_not_fully_on():
    assert classes(use(100, serve=Split(weights=(("on", 1), ("off", 1))))) == []


def test_a_flag_that_nobody_has_is_fully_off():
    assert classes(use(0)) == classes(use(None)) == classes(use(100, serve="off")) == ["fully_off"]
    assert classes(use(0, default_variant=None)) == ["fully_off"]
    assert classes(use(100, enabled=False)) == ["fully_off"]


def test_a_flag_that_somebody_has_at_0_percent_is_not_fully_off():
    assert classes(use(0, allow=("qa-1",))) == []
    assert classes(use(0, rules=(Rule(id="r", when=(BETA,), serve="on"),))) == []


def test_a_flag_with_a_live_plan_is_not_fully_off_but_may_be_fully_on():
    assert classes(use(0, has_live_plan=True), use(50, enabled=False, has_live_plan=True)) == []
    assert classes(use(100, has_live_plan=True)) == ["fully_on"]


@pytest.mark.parametrize("kind", [Kind.OPS, Kind.PERMISSION])
def test_a_flag_that_is_meant_to_live_long_may_stand_still(kind):
    assert classes(use(100, kind=kind), use(0, kind=kind)) == []
    assert classes(use(100, kind=kind, evaluated_days=40, expires=date(2020, 1, 1))) == ["unused", "expired"]


@pytest.mark.parametrize("kind", [Kind.RELEASE, Kind.EXPERIMENT])
def test_the_other_kinds_may_not(kind):
    assert classes(use(100, kind=kind), use(0, kind=kind)) == ["fully_on", "fully_off"]


def test_nothing_is_stale_before_its_days_are_over():
    assert classes(use(100, changed_days=30), use(0, changed_days=30)) == ["fully_on", "fully_off"]
    assert classes(use(100, changed_days=29.999), use(0, changed_days=29.999)) == []
    assert classes(use(100, changed_days=1), days=1) == ["fully_on"]


def test_a_flag_that_nobody_evaluates_is_unused():
    assert classes(use(evaluated_days=30)) == ["unused"]
    assert classes(use(evaluated_days=29.999)) == []


def test_a_flag_that_was_never_evaluated_is_unused_since_it_changed():
    (line,) = stale_flags([use(evaluated_days=None, changed_days=31)], now_ms=NOW, days=30)
    assert (line.staleness, line.since_ms, line.evaluated_ms) == (Staleness.UNUSED, NOW - 31 * DAY_MS, None)
    assert classes(use(evaluated_days=None, changed_days=29)) == []


def test_a_flag_expires_when_the_day_is_over():
    assert classes(use(expires=date(2024, 10, 3))) == ["expired"]
    assert classes(use(expires=date(2024, 10, 4))) == []
    (line,) = stale_flags([use(expires=date(2024, 10, 3))], now_ms=NOW, days=30)
    assert line.since_ms == NOW
    assert stale_flags([use(expires=date(2024, 10, 3))], now_ms=NOW - 1, days=30) == ()
    assert stale_flags([use(expires=date.max)], now_ms=NOW, days=30) == ()


def test_a_line_says_whom_to_ask_and_which_flags_would_miss_it():
    flags = [
        use(100, key="base", owner="platform-team", evaluated_days=2),
        use(50, key="one", prerequisites=(Prerequisite(flag_key="base", variants=("on",)),)),
        use(50, key="two", prerequisites=(Prerequisite(flag_key="base", variants=("on", "off")),)),
    ]
    assert stale_flags(flags, now_ms=NOW, days=30) == (
        StaleFlag(
            key="base",
            staleness=Staleness.FULLY_ON,
            since_ms=NOW - 100 * DAY_MS,
            owner="platform-team",
            evaluated_ms=NOW - 2 * DAY_MS,
            prerequisite_of=("one", "two"),
        ),
    )


def test_a_flag_has_a_line_for_each_class_it_is_in():
    lines = stale_flags(
        [use(100, key="a", evaluated_days=60, expires=date(2024, 1, 31)), use(0, key="b")], now_ms=NOW, days=30
    )
    assert [(line.key, line.staleness.value) for line in lines] == [
        ("a", "fully_on"),
        ("a", "unused"),
        ("a", "expired"),
        ("b", "fully_off"),
    ]
