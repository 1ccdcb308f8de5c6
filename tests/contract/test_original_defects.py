"""What the program that the guide was written for did, and this one must not.

Each test's number is that of a defect of the original. Numbers 9 to 12 and 20 come with the collector and the report.
"""

import re
import select
import signal
from pathlib import Path

import pytest

import phase4 as package
from phase4.analysis.verdict import Verdict
from phase4.clock import SystemClock
from phase4.durations import DAY_MS, HOUR_MS
from phase4.ids import new_id
from phase4.system import Phase4System
from tests.contract.driving import STAGES_MS, Lab
from tests.contract.program import CREATED, FLAG, LIMIT_S, PLAN, STARTED, Evaluator, phase4, started

ROLLED_BACK = (*STARTED, f'rollout rollback {PLAN} "orders fail"')
PLAN_FILE = """
schema = 1
stages = [{ name = "all at once", percentage = 40, max_duration = "3d" }]
[guardrails.error_rate]
limit = 0.02
"""


def state(home):
    """Return everything that `status` knows, but for the time."""
    return phase4(home, "status --json").data


def plan_of(home, plan=PLAN):
    return phase4(home, f"rollout status {plan} --json").data["plans"][0]


def flag_of(home, flag=FLAG):
    return next(row for row in phase4(home, "flags list --json").data["flags"] if row["flag_key"] == flag)


@pytest.fixture
def lab(tmp_path):
    """A home driven in this process, from half a month ago on."""
    lab = Lab(tmp_path / "home", SystemClock().now() - 9 * DAY_MS)
    lab.done("init")
    return lab


# ------------------------------------------------------------------------------------------------------- 1: the program


def test_1_commands_parse_as_they_are_documented_and_end_by_themselves(homes):
    home = homes.shared(*STARTED)
    lines = ("status", "flags list", "rollout status", "rollout history", "monitor alerts", "config show")
    assert [phase4(home, line).status for line in lines] == [0] * len(lines)
    assert phase4(home, "flags flags list").status == 2


def test_1_a_toggle_is_there_for_the_next_process(homes):
    home = homes.after("init", f"flags enable {FLAG}")
    assert f"{FLAG}  on, 10 %" in phase4(home, "flags list").out


def test_1_the_one_command_that_waits_ends_when_it_is_told_to(homes):
    process = started(homes.shared("init"), "rollout status --watch")
    assert select.select([process.stdout], [], [], LIMIT_S)[0], "it shows at once, also through a pipe"
    assert [process.stdout.readline()[-2:], process.stdout.readline()] == ["Z\n", "  No rollout plans.\n"]
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=5) == ("", "")
    assert process.returncode == -signal.SIGTERM


def test_1_nothing_is_written_into_the_source_tree_or_the_folder_it_is_called_from(homes, tmp_path):
    tree = Path(package.__file__).parent
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*") if "__pycache__" not in path.parts}
    home = homes.after()
    for line in (*STARTED, f"flags disable {FLAG}", 'emergency disable "x"', "shutdown"):
        assert phase4(home, line, cwd=tmp_path).status == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------- 2, 3: failing, settings


@pytest.mark.parametrize(
    "line",
    [
        "flags enable no-such-flag",
        "flags check no-such-flag --user u",
        "rollout start no-such-plan.1",
        "rollout status no-such-plan.1",
        "alerts resolve 7 --reason x",
        "monitor report -o",
        "monitor report -o /no/such/folder/report.json",
        "store restore /no/such/folder",
        "init --preset no-such-preset",
        "emergency disable",
    ],
)
def test_2_a_failure_never_exits_with_0(homes, line):
    answer = phase4(homes.shared("init"), line)
    assert answer.status not in {0, 70}
    assert answer.out == ""
    assert answer.err.startswith("phase4: ")


def test_3_init_heeds_the_environment_and_the_preset(homes):
    home = homes.after("init --environment staging --preset conservative")
    settings = phase4(home, "config show --json").data["settings"]
    assert settings["ROLLOUT_MAX_PERCENTAGE"] == {"value": 25.0, "origin": "profile staging"}
    assert settings["ROLLOUT_ERROR_THRESHOLD"] == {"value": 0.005, "origin": "preset conservative"}
    assert flag_of(home)["percentage"] == 5.0


@pytest.mark.parametrize("line", ["init --preset bold", "init --environment moon"])
def test_3_an_unknown_preset_or_environment_is_refused_and_makes_nothing(homes, line):
    home = homes.after()
    assert phase4(home, line).status == 2
    assert not home.exists()


# ------------------------------------------------------------------------------------------------ 4, 5: plans, starting


def test_4_status_makes_no_plan(homes):
    home = homes.after("init", "status", "status --json")
    assert phase4(home, "rollout status").out == "No rollout plans.\n"


def test_4_create_starts_nothing_and_prints_the_plan_s_own_stages(homes, tmp_path):
    home = homes.after("init")
    (tmp_path / "plan.toml").write_text(PLAN_FILE)
    out = phase4(home, f"rollout create {FLAG} --file plan.toml", cwd=tmp_path).out
    assert "all at once 40 %" in re.sub(" +", " ", out)
    assert "Week" not in out
    assert plan_of(home)["phase"] == "PENDING"
    assert not flag_of(home)["enabled"]


def test_5_the_default_plan_starts_below_the_flag_s_percentage_and_enables_the_flag(homes):
    home = homes.after("init", f"flags rollout {FLAG} 10", f"rollout create {FLAG}", f"rollout start {PLAN}")
    assert plan_of(home)["phase"] == "PROGRESSING"
    assert (flag_of(home)["enabled"], flag_of(home)["percentage"]) == (True, 5.0)


# ------------------------------------------------------------------------------------------------------ 6, 7: approvals


def test_6_no_tick_enters_25_percent_before_an_approval(lab):
    plan = lab.asks_approval(FLAG)
    for _ in range(3):
        assert lab.tick(plan, after_ms=HOUR_MS) is None
    assert (plan_of(lab.home, plan)["phase"], flag_of(lab.home)["percentage"]) == ("AWAITING_APPROVAL", 10.0)
    assert phase4(lab.home, f"rollout approve {plan}").status == 0
    assert flag_of(lab.home)["percentage"] == 10.0
    lab.tick(plan)
    assert flag_of(lab.home)["percentage"] == 25.0


def test_6_a_plan_with_a_gate_completes(lab):
    plan = lab.completes(FLAG)
    assert plan_of(lab.home, plan)["phase"] == "COMPLETED"
    assert flag_of(lab.home)["percentage"] == 25.0


def test_6_production_asks_before_every_stage_after_the_first(tmp_path):
    lab = Lab(tmp_path / "home", SystemClock().now())
    lab.done("init --environment production", f"rollout create {FLAG}", f"rollout start {PLAN}")
    lab.tick(PLAN, after_ms=STAGES_MS[0])
    assert (plan_of(lab.home)["phase"], flag_of(lab.home)["percentage"]) == ("AWAITING_APPROVAL", 5.0)


def test_7_an_approval_in_stage_1_is_refused_and_does_not_count(homes):
    home = homes.after(*STARTED)
    answer = phase4(home, f"rollout approve {PLAN} --json")
    assert (answer.status, answer.error["code"]) == (4, "APPROVAL_NOT_DUE")
    assert plan_of(home)["approvals"] == 0


def test_7_one_person_counts_once(tmp_path):
    lab = Lab(tmp_path / "home", SystemClock().now())
    lab.done("init --environment production", f"rollout create {FLAG}", f"rollout start {PLAN}")
    lab.tick(PLAN, after_ms=STAGES_MS[0])
    lab.actor = "ben"
    answers = [lab.done(f"rollout approve {PLAN} --json").data for _ in range(2)]
    assert [(data["approvals"], data["needed"], data["already"]) for data in answers] == [(1, 2, False), (1, 2, True)]
    assert lab.tick(PLAN) is None


def test_7_whoever_made_a_plan_is_not_one_of_the_two_who_approve_it(homes):
    home = homes.after("init --environment production", f"rollout create {FLAG}")
    answer = phase4(home, f"rollout approve {PLAN} --json")
    assert (answer.status, answer.error["code"]) == (4, "NOT_PERMITTED")
    assert plan_of(home)["approvals"] == 0


# --------------------------------------------------------------------------------------------------------- 8: rollbacks


def test_8_a_rollback_is_one_event_and_one_alert_with_the_reason_as_it_was_given(homes):
    home = homes.after(*ROLLED_BACK, f'rollout rollback {PLAN} "again"', "rollout rollback truth-based-validation.1")
    events = phase4(home, "rollout history --json").data["events"]
    alerts = phase4(home, "alerts list --all --severity critical --json").data["alerts"]
    assert [event["event"]["reason"] for event in events if event["kind"] == "rolled_back"] == ["orders fail"]
    assert [(alert["message"], alert["count"]) for alert in alerts] == [(f"{FLAG} rolled back: orders fail", 1)]
    assert state(home)["flags"][0]["held_reason"] == "orders fail"


def test_8_a_rollback_of_what_is_rolled_back_has_no_effect(homes):
    home = homes.after(*ROLLED_BACK, f'flags enable {FLAG} --release --reason "fixed"')
    before = state(home)
    answer = phase4(home, f"rollout rollback {PLAN} --json")
    assert (answer.status, answer.data["already"]) == (0, True)
    assert state(home) == before


def test_8_a_failing_guardrail_and_a_person_together_make_one_rollback(lab):
    plan = lab.asks_approval(FLAG)
    lab.tick(plan, verdict=Verdict.FAIL)
    assert phase4(lab.home, f"rollout rollback {plan} --json").data["already"]
    assert lab.tick(plan, verdict=Verdict.FAIL) is None
    assert phase4(lab.home, "rollout history").out.count("rolled_back") == 1
    assert len(phase4(lab.home, "alerts list --severity critical --json").data["alerts"]) == 1


# ------------------------------------------------------------------------------------------------- 13, 14: alerts, stop


def test_13_a_rule_that_holds_again_counts_and_makes_no_second_alert(lab):
    store = lab.store()

    def raised(change):
        change.alert("coverage", "medium", "coverage 80 %", rule="coverage")
        return {}

    for _ in range(120):
        store.execute("alert", {}, raised, actor="collector", request_id=new_id())
        lab.clock.advance(30_000)
    store.close()
    (alert,) = phase4(lab.home, "alerts list --json").data["alerts"]
    assert alert["count"] == 120
    assert alert["last_seen_ms"] - alert["first_seen_ms"] == 119 * 30_000


def test_13_a_quiet_home_has_no_alerts(homes):
    home = homes.shared(*CREATED)
    assert phase4(home, "alerts list --all --json").data == {"alerts": []}


def test_13_alerts_have_ids_and_resolving_them_restores_health(homes):
    home = homes.after(*ROLLED_BACK)
    assert (state(home)["health"], len(state(home)["held_by"])) == ("CRITICAL", 1)
    number = re.match(r" +(\d+)  critical", phase4(home, "monitor alerts").out)[1]
    assert phase4(home, f"alerts resolve {number}").status == 2, "without a reason"
    assert phase4(home, f"alerts resolve {number} --reason fixed").status == 0
    assert (state(home)["health"], state(home)["held_by"]) == ("HEALTHY", [])


def test_14_emergency_disable_leaves_no_plan_running(homes):
    home = homes.after(*STARTED, 'emergency disable "orders fail"')
    assert plan_of(home)["phase"] == "PAUSED"
    assert {(flag["enabled"], flag["held"]) for flag in state(home)["flags"]} == {(False, "emergency")}
    assert phase4(home, f"rollout resume {PLAN}").status == 4


def test_14_emergency_disable_rolls_back_where_it_is_told_to(homes):
    home = homes.after(*STARTED, 'emergency disable "orders fail" --rollback')
    assert plan_of(home)["phase"] == "ROLLED_BACK"
    assert flag_of(home)["percentage"] == 0.0


# --------------------------------------------------------------------------------------- 15-17: weeks, numbers, buckets


def test_15_the_highest_percentage_is_the_environment_s_and_not_the_calendar_s(tmp_path):
    seen = []
    for weeks in (0, 1, 5, 6, 520):
        lab = Lab(tmp_path / f"home-{weeks}", weeks * 7 * DAY_MS + HOUR_MS)
        lab.done("init --environment staging", f"flags rollout {FLAG} 25")
        seen.append(lab(f"flags rollout {FLAG} 25.01 --json").error["code"])
    assert seen == ["PERCENTAGE_MAX"] * 5


@pytest.mark.parametrize("text", ["10abc", "1e1", "0x10", "10%", "10,5", "1_0", "-1", "100.01", "nan", "12.345", ""])
def test_16_a_number_is_a_number_or_refused(homes, text):
    home = homes.shared("init")
    answer = phase4(home, f"flags rollout {FLAG} '{text}'")
    assert (answer.status, answer.out) == (2, "")
    assert flag_of(home)["percentage"] == 10.0


def test_16_false_is_false_and_what_is_on_by_default_can_be_off(homes):
    home = homes.after()
    off = {"TRUTH_VALIDATION_ENABLED": "false", "AUTO_RELAUNCH_ENABLED": "false", "MONITORING_ENABLED": "FALSE"}
    assert phase4(home, "init", **off).status == 0
    settings = phase4(home, "config show --json", **off).data["settings"]
    assert [settings[name]["value"] for name in off] == [False] * 3
    assert not flag_of(home)["enabled"]


def test_16_a_setting_that_is_off_has_an_effect(homes):
    home = homes.after(*CREATED)
    answer = phase4(home, f"rollout start {PLAN}", MONITORING_ENABLED="false")
    assert (answer.status, flag_of(home)["enabled"]) == (4, False)


def test_17_nobody_in_particular_is_not_one_big_user(homes):
    home = homes.after("init", f"flags enable {FLAG}", f"flags rollout {FLAG} 99.99")
    answer = phase4(home, f"flags check {FLAG} --json").data
    assert (answer["value"], answer["error_code"], answer["hash"]) == (None, "TARGETING_KEY_MISSING", None)


def test_17_users_differ_and_the_share_is_what_was_asked_for(homes):
    home = homes.after("init", f"flags enable {FLAG}", f"flags rollout {FLAG} 25")
    with Evaluator(home) as evaluator:
        exposed = len(evaluator.exposed(FLAG, users=4_000))
    assert 890 < exposed < 1_110, "25 % of 4000, within 4 standard deviations"


@pytest.mark.parametrize("context", [{}, {"country": "de"}, {"targetingKey": ""}, {"targetingKey": []}, [], 7])
def test_17_a_context_that_cannot_be_judged_is_not_exposed(homes, context):
    home = homes.shared("init", f"flags enable {FLAG}", f"flags rollout {FLAG} 99.99")
    system = Phase4System(str(home))
    assert system.is_feature_enabled(FLAG, None, context) is False
    assert system.is_feature_enabled("no-such-flag", "user-1") is False
    system.close()


# -------------------------------------------------------------------------------------------- 18, 19: what is not there


def test_18_a_dashboard_that_serves_nothing_does_not_say_it_is_available(homes):
    answer = phase4(homes.shared("init"), "monitor dashboard")
    assert (answer.status, answer.out) == (6, "")
    assert "available" not in answer.err


def test_19_a_shutdown_says_what_it_stopped_and_changes_no_flag_and_no_plan(homes):
    home = homes.after(*STARTED)
    before = state(home)
    assert phase4(home, "shutdown --json").data == {"stopped": [], "left": []}
    assert state(home) == before
