"""The report as plain values: as of one store version, null with a reason for what was not measured."""

import json
import math
import tomllib

import pytest

from phase4.clock import ManualClock
from phase4.durations import HOUR_MS
from phase4.monitor import report
from phase4.monitor.settings import MonitorSettings
from phase4.rollout.plan import parse_plan
from phase4.store import plans
from phase4.store.plans import Ordered
from tests.data.homes.make import CHECKOUT, SEARCH, add_plan, change, create, new_request_id
from tests.unit.monitor.live import START, TICK, Live
from tests.unit.monitor.test_collector import PLAN, PLAN_ID, USERS

SECTIONS = [
    "schema",
    "created_ms",
    "identity",
    "flags",
    "rollouts",
    "validation",
    "hooks",
    "performance",
    "coverage",
    "criteria",
    "alerts",
    "rollbacks",
]
SETTINGS = {"PHASE4_ENVIRONMENT": {"value": "test", "origin": "saved"}}


@pytest.fixture
def live(home):
    clock = ManualClock(START)
    store = create(home, clock, search=0.0)
    made = Live(store, clock)
    yield made
    made.collector.close()
    made.writer.close()
    store.close()


def make(live):
    return report.make(live.store, SETTINGS, MonitorSettings(interval_ms=TICK), version="1.2.3")


def run(live, *, treatment=0.0, rounds=4, reason=None):
    """Start the plan, and let it go on; with a reason, roll it back by hand."""
    wanted = parse_plan(tomllib.loads(PLAN), flag_key=CHECKOUT, plan_id=PLAN_ID, source="plan.toml")
    row = add_plan(live.store, wanted)
    plans.start(live.store, Ordered(row.plan_id, "ana", new_request_id()))
    for _ in range(rounds):
        live.traffic(USERS, treatment=treatment)
        live.round()
    if reason is not None:
        plans.roll_back(live.store, Ordered(row.plan_id, "ana", new_request_id()), reason)


def test_all_sections_are_there(live):
    assert list(make(live)) == SECTIONS


def test_a_fresh_home_has_five_unknowns_and_no_number_that_was_not_measured(live):
    change(live.store, lambda making: making.set_flag(live.store.flag(SEARCH), "flag_disabled", None, enabled=False))
    made = make(live)
    assert [each["status"] for each in made["criteria"]] == ["unknown"] * 5
    assert (made["rollouts"], made["alerts"], made["rollbacks"]) == ([], [], [])
    assert made["coverage"]["total"] is None
    assert {name: value["mean"] for name, value in made["performance"].items() if isinstance(value, dict)} == {
        "cpu_percent": None,
        "memory_mb": None,
        "response_ms": None,
    }


@pytest.mark.parametrize("section", ["validation", "hooks", "performance", "coverage"])
def test_what_was_not_measured_says_why(live, section):
    change(live.store, lambda making: making.set_flag(live.store.flag(SEARCH), "flag_disabled", None, enabled=False))
    assert make(live)[section]["why"]


def test_two_of_one_store_version_are_equal_bytes_but_for_when_they_were_made(live):
    run(live, reason="by hand")
    first = make(live)
    live.clock.advance(3_600_000)
    second = make(live)
    assert second["created_ms"] - first["created_ms"] == 3_600_000
    texts = [json.dumps({**made, "created_ms": 0}, sort_keys=False) for made in (first, second)]
    assert texts[0] == texts[1]


def test_looking_changes_nothing(live):
    run(live)
    before = list(live.store.connection.iterdump())
    make(live)
    assert list(live.store.connection.iterdump()) == before


def test_the_identity_says_of_what_it_is(live):
    identity = make(live)["identity"]
    assert (identity["version"], identity["environment"], identity["settings"]) == ("1.2.3", "test", SETTINGS)
    assert (identity["store_version"], identity["from_ms"]) == (live.store.version, START)
    assert identity["audit"]["size"] == len(live.store.audit())


def test_the_counts_of_a_flag_are_the_sums_of_its_observations(live):
    run(live, rounds=3)
    live.round()
    flag = next(each for each in make(live)["flags"] if each["flag_key"] == CHECKOUT)
    assert flag["arms"]["treatment"]["requests"] == flag["arms"]["treatment"]["users"] == 3 * USERS
    quiet = next(each for each in make(live)["flags"] if each["flag_key"] == SEARCH)
    assert quiet["arms"]["treatment"]["error_rate"]["value"] is None


def test_a_rollout_that_failed_names_its_guardrail_with_its_counts(live):
    run(live, treatment=0.6)
    made = make(live)
    [rollback] = made["rollbacks"]
    [rollout] = made["rollouts"]
    failed = [each for each in rollout["stages"][0]["guardrails"] if each["verdict"] == "FAIL"]
    assert rollback["guardrail"] in {each["guardrail"] for each in failed}
    assert (rollout["phase"], rollback["plan"], rollout["stages"][0]["left_ms"]) == (
        "ROLLED_BACK",
        PLAN_ID,
        rollback["at_ms"],
    )
    assert [alert["severity"] for alert in made["alerts"] if alert["type"] == "rollback"] == ["critical"]


def test_a_rollout_s_stages_have_entry_exit_and_verdicts(live):
    run(live, rounds=9)
    stages = make(live)["rollouts"][0]["stages"]
    assert [(each["stage"], each["percentage"]) for each in stages] == [(1, 5.0), (2, 10.0)]
    assert (stages[0]["left_ms"], stages[1]["left_ms"]) == (stages[1]["entered_ms"], None)
    assert {each["verdict"] for each in stages[0]["guardrails"]} == {"PASS"}


def test_what_came_too_late_stands_with_its_stage(live):
    run(live)
    live.round(after=2 * HOUR_MS)
    live.emit(2, "error", t_ms=START)
    live.round()
    (stage,) = make(live)["rollouts"][0]["stages"]
    assert (stage["late"]["treatment"], stage["late"]["treatment_errors"], stage["late"]["control"]) == (1, 1, 0)
    assert stage["late"]["says"].startswith("1 outcome came over an hour late")


def test_a_stage_without_late_outcomes_has_none(live):
    run(live)
    assert make(live)["rollouts"][0]["stages"][0]["late"] is None


def test_resolved_alerts_are_in_the_history(live):
    change(live.store, lambda making: making.alert("coverage", "high", "low", rule="target"))
    change(live.store, lambda making: making.resolve_alert(1, "seen"))
    [alert] = make(live)["alerts"]
    assert (alert["resolution"], alert["count"], alert["data"]) == ("seen", 1, {})


def test_time_that_nobody_watched_since_a_plan_started_lowers_its_coverage(live):
    run(live)
    live.round(after=40 * TICK)
    assert make(live)["coverage"]["of_ticks"] < 0.2


def test_the_report_is_json_without_nan(live):
    run(live, rounds=1)
    text = json.dumps(make(live), allow_nan=False)
    assert json.loads(text)["rollouts"][0]["phase"] == "PROGRESSING"
    assert not math.isnan(make(live)["coverage"]["of_ticks"] or 0.0)
