"""`phase4 alerts` and `phase4 monitor`, called in this process: what they print, in text and in JSON."""

import pytest

from phase4.ids import new_id
from tests.contract.driving import START_MS, Lab

ALERT = {
    "id", "fingerprint", "type", "severity", "rule", "flag_key", "plan", "message", "data", "count", "first_seen_ms",
    "first_seen_iso", "last_seen_ms", "last_seen_iso", "state", "acknowledged_ms", "acknowledged_iso",
    "acknowledged_by", "resolved_ms", "resolved_iso", "resolved_by", "resolution", "previous",
}  # fmt: skip
"""Keys of an alert in JSON."""


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "home")
    lab.done("init")
    return lab


@pytest.fixture
def three(lab):
    """A home with alerts 1 (medium), 2 (high) and 3 (critical), a second apart."""
    for severity in ("medium", "high", "critical"):
        raised(lab, severity)
        lab.clock.advance(1_000)
    return lab


def raised(lab, severity, rule=None):
    store = lab.store()

    def work(change):
        return {"alert": change.alert("coverage", severity, f"{severity} coverage", rule=rule or severity)}

    store.execute("alert", {}, work, actor="collector", request_id=new_id())
    store.close()


def listed(lab, options=""):
    return lab.done(f"alerts list {options} --json").data["alerts"]


# ----------------------------------------------------------------------------------------------------------------- list


def test_the_list_is_the_newest_first_with_ids(three):
    assert three.done("alerts list").out.splitlines() == [
        "   3  critical  2026-09-21T14:13:22Z  ×1    open          critical coverage",
        "   2  high      2026-09-21T14:13:21Z  ×1    open          high coverage",
        "   1  medium    2026-09-21T14:13:20Z  ×1    open          medium coverage",
    ]


def test_monitor_alerts_is_the_same_list(three):
    for options in ("", "--severity high", "--all"):
        assert three.done(f"monitor alerts {options}").out == three.done(f"alerts list {options}").out
    assert three.done("monitor alerts --json").body["command"] == "monitor alerts"


@pytest.mark.parametrize(("level", "ids"), [("low", []), ("medium", [1]), ("high", [2]), ("critical", [3])])
def test_the_list_can_be_of_exactly_one_severity(three, level, ids):
    assert [alert["id"] for alert in listed(three, f"--severity {level}")] == ids


def test_a_list_of_none_says_so(lab):
    assert lab.done("alerts list").out == "🎉 No active alerts!\n"


def test_another_severity_is_refused(lab):
    answer = lab("alerts list --severity urgent")
    assert (answer.status, answer.out) == (2, "")
    assert '"urgent" is none of low, medium, high, critical' in answer.err


def test_an_alert_in_json_has_known_keys(three):
    alert = listed(three)[-1]
    assert set(alert) == ALERT
    assert [alert[name] for name in ("id", "type", "severity", "message", "count", "state")] == [
        1,
        "coverage",
        "medium",
        "medium coverage",
        1,
        "open",
    ]
    assert (alert["first_seen_ms"], alert["data"]) == (START_MS, {})


def test_an_alert_of_a_plan_names_it(lab):
    lab.done("rollout create hook-interception", "rollout rollback hook-interception.1 bad")
    (alert,) = listed(lab)
    assert [alert[name] for name in ("flag_key", "plan", "rule")] == [
        "hook-interception",
        "hook-interception.1",
        "hook-interception.1",
    ]


@pytest.mark.parametrize(
    ("order", "flag_key"),
    [("emergency rollback hook-interception bad", "hook-interception"), ("emergency disable bad", None)],
)
def test_an_alert_without_a_plan_names_its_flag_where_it_is_of_one(lab, order, flag_key):
    lab.done(order)
    (alert,) = listed(lab)
    assert (alert["flag_key"], alert["plan"]) == (flag_key, None)


def test_a_rule_that_holds_again_is_counted(three):
    raised(three, "medium")
    alert = next(alert for alert in listed(three) if alert["id"] == 1)
    assert (alert["count"], alert["last_seen_ms"] - alert["first_seen_ms"]) == (2, 3_000)
    assert "×2" in three.done("alerts list --severity medium").out


# -------------------------------------------------------------------------------------------------------------- resolve


def test_resolving_closes_alerts_and_says_who_and_why(three):
    assert three.done("alerts resolve 1 3 --reason fixed").out == "alert 1: resolved\nalert 3: resolved\n"
    assert [alert["id"] for alert in listed(three)] == [2]
    closed = next(alert for alert in listed(three, "--all") if alert["id"] == 1)
    assert [closed[name] for name in ("state", "resolved_by", "resolution", "resolved_ms")] == [
        "resolved",
        "ada",
        "fixed",
        three.clock.now(),
    ]


def test_resolving_needs_a_reason(three):
    answer = three("alerts resolve 1")
    assert (answer.status, len(listed(three))) == (2, 3)
    assert 'phase4: try: phase4 alerts resolve ID --reason "TEXT"\n' in answer.err


def test_resolving_twice_says_so_and_changes_nothing(three):
    three.done("alerts resolve 1 --reason fixed")
    answer = three.done("alerts resolve 1 2 --reason again --json")
    assert answer.data == {"changed": [2]}
    assert three.done("alerts resolve 1 --reason again").out == "alert 1: already resolved\n"
    assert next(alert for alert in listed(three, "--all") if alert["id"] == 1)["resolution"] == "fixed"


def test_with_an_unknown_id_none_is_resolved(three):
    answer = three("alerts resolve 1 9 --reason fixed --json")
    assert answer.status == 5
    assert answer.error == {"code": "ALERT_NOT_FOUND", "message": "no alert 9", "hint": "phase4 alerts list --all"}
    assert len(listed(three)) == 3


@pytest.mark.parametrize("word", ["0", "x", "-1", "1.5"])
def test_an_id_is_a_whole_number(three, word):
    assert three(f"alerts resolve {word} --reason fixed").status == 2


def test_a_rule_that_holds_after_it_was_resolved_is_a_new_alert_that_names_the_old(three):
    three.done("alerts resolve 1 --reason fixed")
    raised(three, "medium")
    assert [(alert["id"], alert["previous"]) for alert in listed(three, "--severity medium")] == [(4, 1)]


# ------------------------------------------------------------------------------------------------------------------ ack


def test_acknowledging_keeps_the_alert_open(three):
    assert three.done("alerts ack 3").out == "alert 3: acknowledged\n"
    alert = listed(three)[0]
    assert [alert[name] for name in ("id", "state", "acknowledged_by")] == [3, "acknowledged", "ada"]
    assert three.done("status --json").data["health"] == "CRITICAL"


def test_acknowledging_twice_says_so(three):
    three.done("alerts ack 3")
    assert three.done("alerts ack 3").out == "alert 3: already acknowledged\n"
    assert three.done("alerts ack 3 --json").data == {"changed": []}


# ---------------------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    "line",
    ["monitor dashboard --port 3001", "monitor dashboard", "monitor dashboard --host 127.0.0.1 --no-collector"],
)
def test_what_is_not_built_yet_says_so(lab, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = lab(f"{line} --json")
    assert (answer.status, answer.error["code"]) == (6, "NOT_BUILT")
    assert " ".join(line.split()[:2]) in answer.error["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
