"""Every moment in JSON has its ISO twin, whatever command prints it, also one that somebody adds later."""

import pytest

from phase4.cli.console import MOMENTS
from phase4.clock import iso
from phase4.durations import DAY_MS
from tests.contract.driving import Lab
from tests.docs.test_commands import ANSWERS

DURATIONS = frozenset(
    {
        *("active_ms", "elapsed_ms", "granted_ms", "paused_ms"),
        *("latency_p95_ms", "latency_mean_ms", "response_ms", "window_ms", "p95_ms", "slowest_ms"),
        *("observed_ms", "expected_ms"),
        *("complete_earliest_ms", "complete_typical_ms", "leave_earliest_ms", "leave_typical_ms"),
        *("watched_ms", "least_ms", "after_ms", "late_after_ms"),
        *("delay_ms", "end_ms", "full_ms", "onset_ms"),  # of a rehearsal, from its start
    }
)
"""Names that are lengths of time: they have no twin."""
MORE = {
    "status ": ('emergency disable "x"',),
    "rollout status ": ("rollout start hook-interception.1",),
    "rollout history ": ("rollout start hook-interception.1", "rollout pause hook-interception.1"),
    "alerts list --all": ('emergency disable "x"', "alerts ack 1", "alerts resolve 1 --reason fixed"),
    "status --ascii": ("rollout start hook-interception.1", "rollout rollback hook-interception.1"),
}
"""Answers that are longer where something has happened."""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lab = Lab(tmp_path / "home")
    lab.done("init")
    return lab


def objects(value):
    """Return every object of a JSON document."""
    if isinstance(value, list):
        return [found for each in value for found in objects(each)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for each in value.values() for found in objects(each))]


def check(data):
    seen = 0
    for found in objects(data):
        for name in [name for name in found if name.endswith("_ms") and name not in DURATIONS]:
            assert name in MOMENTS, f"{name}: a moment, or a duration?"
            twin = found[f"{name.removesuffix('_ms')}_iso"]
            assert twin == (None if found[name] is None else iso(found[name]))
            seen += 1
    return seen


@pytest.mark.parametrize("line", [line for line in ANSWERS if "monitor run" not in line], ids=lambda line: line[:40])
def test_every_moment_of_every_command_has_its_twin(lab, line):
    lab.done("rollout create hook-interception", *ANSWERS[line])
    check(lab.done(f"{line} --json").body)


@pytest.mark.parametrize("line", MORE)
def test_moments_of_what_has_happened_have_their_twins(lab, line):
    lab.done("rollout create hook-interception", *MORE[line])
    data = lab.done(f"{line} --json").body
    assert check(data) or "status" in line


def test_a_stale_flag_says_since_when(lab):
    lab.clock.advance(31 * DAY_MS)
    assert check(lab.done("flags list --stale --json").data)


def test_a_request_for_approval_says_when_it_ends(lab):
    plan_id = lab.asks_approval("hook-interception")
    assert check(lab.done(f"rollout approve {plan_id} --json").data)
    assert check(lab.done(f"rollout history {plan_id.split('.')[0]} --json").data)
