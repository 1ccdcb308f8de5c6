"""Health in one word: each word, its order, and what holds it."""

import pytest

from phase4.monitor.health import Health, judge
from phase4.store.control import AlertRow

TARGET = 0.99


def alert(severity, number=1):
    text = ("f" * 12, "coverage", severity, None, None, "target", f"{severity} matter", "{}")
    return AlertRow(number, *text, 1, 0, 0, None, None, None, None, None, None)


def health(*severities, is_any_on=True, is_watched=True, coverage=1.0, stopped=()):
    alerts = [alert(severity, number) for number, severity in enumerate(severities, 1)]
    return judge(
        is_any_on=is_any_on, is_watched=is_watched, alerts=alerts, coverage=coverage, target=TARGET, stopped=stopped
    )


@pytest.mark.parametrize("severities", [(), ("low",), ("medium",), ("low", "medium")])
def test_without_a_high_alert_and_with_coverage_it_is_healthy_and_nothing_holds_it(severities):
    assert health(*severities) == (Health.HEALTHY, ())


def test_a_high_alert_is_a_warning_and_is_named_with_its_id():
    assert health("low", "high") == (Health.WARNING, ("alert 2: high matter",))


def test_coverage_below_the_target_is_a_warning_and_equal_to_it_is_none():
    assert [health(coverage=share).health for share in (0.9899, TARGET)] == [Health.WARNING, Health.HEALTHY]


def test_unknown_coverage_is_no_warning():
    assert health(coverage=None).health is Health.HEALTHY


def test_a_critical_alert_is_critical_and_comes_before_warnings():
    found = health("critical", "high", coverage=0.5)
    assert found == (Health.CRITICAL, ("alert 1: critical matter",))


def test_a_flag_that_is_on_and_that_nobody_watches_is_unknown():
    assert health(is_watched=False).health is Health.UNKNOWN


def test_without_a_flag_that_is_on_nobody_needs_to_watch():
    assert health(is_any_on=False, is_watched=False) == (Health.HEALTHY, ())


def test_unknown_comes_before_critical_and_names_both():
    found = health("critical", is_watched=False)
    assert found.health is Health.UNKNOWN
    assert [line.split(":")[0] for line in found.held_by] == [
        "a flag is on and no collector runs, so nobody watches it",
        "alert 1",
    ]


def test_an_emergency_that_is_not_recorded_is_critical_whatever_else():
    found = health("critical", is_watched=False, stopped=["stop file x"])
    assert (found.health, found.held_by[0], len(found.held_by)) == (Health.CRITICAL, "stop file x", 3)
