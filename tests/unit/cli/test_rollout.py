"""`phase4 rollout`, called in this process on a clock that is moved by hand: what it prints, in text and in JSON."""

import re
from unittest import mock

import pytest

from phase4.analysis.verdict import Verdict
from phase4.cli import watch
from phase4.durations import DAY_MS, HOUR_MS
from phase4.ids import new_id
from phase4.rollout import corrections
from phase4.rollout.events import DataCorrected
from phase4.store.rollouts import ControlJournal
from tests.contract.driving import STAGES_MS, START_MS, Lab

FLAG, OTHER = "truth-based-validation", "byzantine-consensus"
PLAN = f"{FLAG}.1"
WHERE = {
    "plan", "phase", "stage", "stages", "percentage", "event", "event_seq", "already", "approvals", "needed",
    "expires_ms", "expires_iso",
}  # fmt: skip
"""Keys of every order on one plan in JSON."""
NO_COLLECTOR = "phase4: no collector runs, so nothing is observed and nothing promoted: phase4 monitor run"
UNSIGNED = "unsigned: approvals carry the user's name and no signature yet"
HEAD = ["guardrail", "role", "alpha", "weight", "E", "needed"]
ONE_STAGE = """
schema = 1
stages = [{ name = "all at once", percentage = 40, active_min = "1h", bake = "1d", max_duration = "3d" }]
[guardrails.error_rate]
limit = 0.02
"""


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "home")
    lab.done("init")
    return lab


@pytest.fixture
def pending(lab):
    lab.done(f"rollout create {FLAG}")
    return lab


@pytest.fixture
def running(pending):
    pending.done(f"rollout start {PLAN}")
    return pending


@pytest.fixture
def asking(lab):
    lab.asks_approval(FLAG)
    return lab


@pytest.fixture
def production(tmp_path):
    """A home where every stage after the first needs two people, and ada's plan that asks for them; ben orders now."""
    lab = Lab(tmp_path / "home")
    lab.done("init --environment production", f"rollout create {FLAG}", f"rollout start {PLAN}")
    lab.tick(PLAN, after_ms=STAGES_MS[0])
    lab.actor = "ben"
    return lab


def plan(lab, plan_id=PLAN):
    return lab.done(f"rollout status {plan_id} --json").data["plans"][0]


def line_of(lab, plan_id=PLAN):
    """Return a plan's line of the status, with one blank between words."""
    return re.sub(" +", " ", lab.done(f"rollout status {plan_id}").out).strip()


def flag(lab, key=FLAG):
    return next(row for row in lab.done("flags list --json").data["flags"] if row["flag_key"] == key)


# --------------------------------------------------------------------------------------------------------------- create


def test_a_plan_is_told_with_its_stages_its_gate_and_what_comes_next(lab):
    lines = lab.done(f"rollout create {FLAG}").out.splitlines()
    assert re.fullmatch(rf"{FLAG}\.1: made, PENDING \(sha256:[0-9a-f]{{12}}\)", lines[0])
    assert lines[1:4] == [
        "  stage 1  5 %: watched 12 h, planned 2 d, pauses after 4 d",
        "  Week 5   10 %: watched 24 h, planned 7 d, pauses after 14 d",
        "  Week 6   25 %: watched 2 d, planned 7 d, pauses after 14 d; after an approval",
    ]
    assert lines[-3] == "  A healthy feature is rolled back by these rules with probability at most 3 % over the plan."
    assert lines[-2].startswith("  The traffic is not known")
    assert lines[-1] == f"Next: phase4 rollout start {PLAN}"


def test_a_plan_is_told_with_the_error_budget_of_each_guardrail(lab):
    lines = lab.done(f"rollout create {FLAG}").out.splitlines()
    (head,) = [place for place, line in enumerate(lines) if line.split() == HEAD]
    assert [line.split()[-5:] for line in lines[head + 1 : head + 7]] == [
        ["error_rate", "guard", "0.0045", "1", "222"],
        ["error_ratio", "guard", "0.0045", "1", "222"],
        ["emergency", "guard", "0.001", "1", "1,000"],
        ["success_rate", "signal", "0.01", "1", "100"],
        ["repeated_errors", "signal", "0.01", "1", "100"],
        ["sample_ratio", "signal", "0.001", "1", "1,000"],
    ]
    assert [line.split() for line in lines if line.endswith("the same")] == [
        ["Week", "5", "the", "same"],
        ["Week", "6", "the", "same"],
    ]


def test_creating_starts_nothing(pending):
    assert (plan(pending)["phase"], plan(pending)["stage"], flag(pending)["enabled"]) == ("PENDING", None, False)


def test_a_new_plan_in_json_has_known_keys(lab):
    data = lab.done(f"rollout create {FLAG} --json").data
    assert set(data) == {"plan", "made", "digest", "stages", "alpha", "left_out", "planning"}
    assert (data["plan"], data["made"], data["planning"]["check"]) == (PLAN, True, "UNKNOWN")
    assert data["stages"][2] == {
        "name": "Week 6",
        "percentage": 25.0,
        "active_min": 2 * DAY_MS,
        "bake": 7 * DAY_MS,
        "max_duration": 14 * DAY_MS,
        "approval": True,
    }
    assert {frozenset(row) for row in data["alpha"]} == {
        frozenset({"stage", "guardrail", "role", "alpha", "weight", "e_needed"})
    }


def test_the_same_plan_twice_is_made_once(pending):
    data = pending.done(f"rollout create {FLAG} --json").data
    assert (data["plan"], data["made"]) == (PLAN, False)
    assert pending.done(f"rollout create {FLAG}").out.startswith(f"{PLAN}: is there already, PENDING")


def test_another_plan_of_a_flag_with_a_live_one_is_refused(running):
    answer = running(f"rollout create {FLAG} --json")
    assert answer.status == 4
    assert answer.error == {
        "code": "PLAN_LIVE",
        "message": f"{PLAN} is live; --replace cancels it first",
        "hint": f"phase4 rollout create {FLAG} --replace",
    }


def test_replacing_cancels_the_live_plan(running):
    assert running.done(f"rollout create {FLAG} --replace --json").data["plan"] == f"{FLAG}.2"
    assert (plan(running)["phase"], plan(running, f"{FLAG}.2")["phase"]) == ("CANCELLED", "PENDING")
    assert f"replaced by {FLAG}.2" in running.done("rollout history").out
    assert flag(running)["enabled"]


def test_accelerating_drops_the_planned_times_and_keeps_the_watched_ones(lab):
    stages = lab.done(f"rollout create {FLAG} --accelerate --json").data["stages"]
    assert [(stage["bake"], stage["active_min"]) for stage in stages] == [
        (0, 12 * HOUR_MS),
        (0, 24 * HOUR_MS),
        (0, 48 * HOUR_MS),
    ]


def test_a_plan_file_has_its_own_stages(lab, tmp_path):
    (tmp_path / "plan.toml").write_text(ONE_STAGE)
    data = lab.done(f"rollout create {FLAG} --file {tmp_path}/plan.toml --json").data
    assert [(stage["name"], stage["percentage"]) for stage in data["stages"]] == [("all at once", 40.0)]
    assert {row["guardrail"] for row in data["alpha"]} == {"error_rate"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("schema = 1\nstages = [", "is not valid TOML"),
        (ONE_STAGE.replace("percentage = 40", "percentage = 140"), "stages[0].percentage"),
        (ONE_STAGE.replace("bake", "bakes"), 'did you mean "bake"?'),
        ("schema = 1", "stages"),
    ],
)
def test_a_plan_file_that_is_wrong_is_refused_with_the_place(lab, tmp_path, text, problem):
    (tmp_path / "plan.toml").write_text(text)
    answer = lab(f"rollout create {FLAG} --file {tmp_path}/plan.toml --json")
    assert (answer.status, answer.error["code"]) == (2, "PLAN_INVALID")
    assert "plan.toml: " in answer.error["message"]
    assert problem in answer.error["message"]
    assert lab.done("rollout status").out == "No rollout plans.\n"


def test_a_plan_file_that_is_not_there_is_named(lab, tmp_path):
    answer = lab(f"rollout create {FLAG} --file {tmp_path}/none.toml")
    assert answer.status == 2
    assert answer.err == f"phase4: {tmp_path}/none.toml: cannot be read: No such file or directory\n"


def test_a_plan_above_the_environment_s_maximum_is_refused(tmp_path):
    lab = Lab(tmp_path / "home")
    lab.done("init --environment staging")
    (tmp_path / "plan.toml").write_text(ONE_STAGE)
    answer = lab(f"rollout create {FLAG} --file {tmp_path}/plan.toml --json")
    assert (answer.status, answer.error["code"]) == (4, "PERCENTAGE_MAX")
    assert answer.error["message"] == "the plan reaches 40 %, this environment allows 25 %"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROLLOUT_ERROR_THRESHOLD", "0.03"),
        ("ROLLOUT_SUCCESS_THRESHOLD", "0.9"),
        ("EMERGENCY_DISABLE_THRESHOLD", "0.3"),
        ("ROLLOUT_AUTO_PROGRESS", "false"),
        ("ROLLOUT_APPROVALS_REQUIRED", "2"),
    ],
)
def test_a_plan_freezes_the_settings_of_the_moment(lab, name, value):
    usual = lab.done(f"rollout create {FLAG} --dry-run --json").data["digest"]
    changed = lab(f"rollout create {FLAG} --dry-run --json", **{name: value}).data["digest"]
    assert changed != usual
    lab.done(f"rollout create {FLAG}")
    assert lab("rollout status", **{name: value}).out == lab.done("rollout status").out


# ---------------------------------------------------------------------------------------------------------------- start


def test_starting_switches_on_at_the_first_stage_and_warns_that_nobody_watches(pending):
    answer = pending.done(f"rollout start {PLAN}")
    assert answer.out == f"{PLAN}: PROGRESSING, stage 1/3 (5 %)\n"
    assert answer.err == f"{NO_COLLECTOR}\n"
    assert (flag(pending)["enabled"], flag(pending)["percentage"]) == (True, 5.0)


def test_starting_under_a_collector_warns_of_nothing(pending):
    pending.collects()
    assert pending.done(f"rollout start {PLAN}").err == ""


def test_a_warning_is_in_json_too(pending):
    (warning,) = pending.done(f"rollout start {PLAN} --json").body["warnings"]
    assert f"phase4: {warning}" == NO_COLLECTOR


def test_an_order_on_a_plan_in_json_has_known_keys(pending):
    data = pending.done(f"rollout start {PLAN} --json").data
    assert set(data) == WHERE
    assert data["event"] == {
        "kind": "stage_entered",
        "schema": 1,
        "at_ms": START_MS,
        "at_iso": "2026-09-21T14:13:20Z",
        "stage": 0,
        "entry": 1,
        "percentage": 5.0,
        "cause": "start",
    }
    assert (data["phase"], data["stage"], data["stages"], data["percentage"]) == ("PROGRESSING", 1, 3, 5.0)
    assert (data["event_seq"], data["already"], data["approvals"], data["needed"]) == (1, False, 0, 1)


def test_starting_twice_is_refused_with_what_is_possible(running):
    answer = running(f"rollout start {PLAN} --json")
    assert answer.status == 4
    assert answer.error == {
        "code": "PLAN_STATE",
        "message": "start is for a plan that is PENDING; this one is PROGRESSING",
        "hint": "possible now: approve --override, pause, cancel, rollback",
    }


def test_nothing_starts_while_monitoring_is_off(pending):
    answer = pending(f"rollout start {PLAN}", MONITORING_ENABLED="false")
    assert (answer.status, plan(pending)["phase"]) == (4, "PENDING")
    assert "nobody would watch the rollout" in answer.err


def test_a_new_plan_lifts_the_hold_of_a_rollback(running):
    running.done(f"rollout rollback {PLAN} bad", f"rollout create {FLAG}", f"rollout start {FLAG}.2")
    assert (flag(running)["held"], flag(running)["enabled"], flag(running)["entry"]) == (None, True, 2)


def test_a_new_plan_does_not_lift_the_hold_of_an_emergency(running):
    running.done(f"emergency rollback {FLAG} bad", f"rollout create {FLAG}")
    answer = running(f"rollout start {FLAG}.2 --json")
    assert (answer.status, answer.error["code"]) == (4, "FLAG_HELD")
    assert not flag(running)["enabled"]


# --------------------------------------------------------------------------------------------------------------- status


def test_without_plans_the_status_says_so(lab):
    assert lab.done("rollout status").out == "No rollout plans.\n"
    assert lab.done("rollout status --json").data == {"plans": []}


def test_the_status_says_what_each_phase_waits_for(lab):
    lab.done(f"rollout create {FLAG}")
    seen = [line_of(lab)]
    lab.done(f"rollout start {PLAN}")
    lab.clock.advance(HOUR_MS)
    seen.append(line_of(lab))
    lab.done(f"rollout pause {PLAN}")
    seen.append(line_of(lab))
    lab.done(f"rollout cancel {PLAN}")
    seen.append(line_of(lab))
    assert seen == [
        f"{PLAN} PENDING not started waits for: phase4 rollout start {PLAN}",
        f"{PLAN} PROGRESSING stage 1/3 (5 %) 1 h of 2 d planned; promotes on PASS",
        f"{PLAN} PAUSED stage 1/3 (5 %) paused (operator); waits for: phase4 rollout resume {PLAN}",
        f"{PLAN} CANCELLED stage 1/3 (5 %)",
    ]


def test_the_status_of_a_request_names_the_command(asking):
    assert line_of(asking) == f"{PLAN} AWAITING_APPROVAL stage 2/3 (10 %) waits for: phase4 rollout approve {PLAN}"


def test_what_came_too_late_stands_in_the_status_and_in_the_history(running):
    counts = {**dict.fromkeys(corrections.COUNTS, 0), "treatment": 12, "treatment_errors": 3}
    late = DataCorrected(at_ms=running.clock.now(), entry=1, from_ms=1, until_ms=2, **counts)
    store = running.store()
    ControlJournal(store, store.plan(PLAN), actor="test", new_request_id=new_id).append(2, late)
    store.close()
    says = "12 outcomes came over an hour late, not judged: 12 of treatment (3 errors)"
    assert f"late: {says}" in line_of(running)
    assert plan(running)["late"]["treatment_errors"] == 3
    assert f"data_corrected     {says}" in running.done("rollout history").out


@pytest.mark.parametrize("body", ["{", "[]", '{"schema": 1, "kind": "vanished", "at_ms": 1}', '{"schema": 9}'])
@pytest.mark.parametrize(
    "line",
    [
        f"rollout status {PLAN}",
        "rollout status",
        "rollout history",
        f"rollout pause {PLAN}",
        "status",
        "monitor metrics",
        "monitor report",
    ],
)
def test_a_journal_that_cannot_be_read_is_told_with_what_finds_out_more(running, body, line):
    store = running.store()
    change = {"body": body}
    store.execute(
        "damage", change, lambda c: c.write("UPDATE journal SET body = ?", body) or {}, actor="t", request_id="d"
    )
    store.close()
    answer = running(f"{line} --json")
    if answer.status == 0:
        assert line == "rollout history"  # it prints what is kept
        assert len(answer.data["events"]) == 1
    else:
        assert (answer.status, answer.error["code"]) == (6, "STORE_DAMAGED")
        assert PLAN in answer.error["message"]
        assert answer.error["hint"] == "phase4 store check"


def test_the_history_says_of_an_event_that_cannot_be_read_that_it_cannot(running):
    store = running.store()
    store.execute("damage", {}, lambda c: c.write("UPDATE journal SET body = '{'") or {}, actor="t", request_id="d")
    store.close()
    assert "stage_entered      cannot be read: phase4 store check" in running.done("rollout history").out


def test_the_status_in_json_has_known_keys(running):
    running.clock.advance(HOUR_MS)
    (row,) = running.done("rollout status --json").data["plans"]
    assert set(row) == WHERE - {"event", "already"} | {
        *("flag_key", "elapsed_ms", "active_ms", "waits_for", "budget", "guardrails", "late")
    }
    assert (row["flag_key"], row["elapsed_ms"], row["event_seq"]) == (FLAG, HOUR_MS, 1)
    assert row["budget"] == {"plan": 0.05, "spent": pytest.approx(0.03), "spent_in_stage": pytest.approx(0.01)}


def test_the_status_of_all_has_each_flag_s_last_plan(running):
    running.done(f"rollout cancel {PLAN}", f"rollout create {FLAG}", f"rollout create {OTHER}")
    plans = running.done("rollout status --json").data["plans"]
    assert [row["plan"] for row in plans] == [f"{FLAG}.2", f"{OTHER}.1"]


def test_the_clocks_of_a_paused_plan_stand(running):
    running.clock.advance(HOUR_MS)
    running.done(f"rollout pause {PLAN}")
    running.clock.advance(DAY_MS)
    running.done(f"rollout resume {PLAN}")
    assert plan(running)["elapsed_ms"] == HOUR_MS


def test_watching_shows_it_again_after_every_change_until_ctrl_c(running):
    actions = iter([lambda: None, lambda: running.done(f"rollout pause {PLAN}"), lambda: None])

    def act(_seconds):
        try:
            next(actions)()
        except StopIteration:
            raise KeyboardInterrupt from None

    with mock.patch.object(watch.clock, "wait", act):
        answer = running("rollout status --watch")
    assert answer.status == 0
    assert [line.split()[1] for line in answer.out.splitlines() if line.startswith("  ")] == ["PROGRESSING", "PAUSED"]


def test_a_plan_that_is_not_there_is_named_with_the_nearest(pending):
    for action in ("start", "status", "approve", "reject", "pause", "resume", "cancel", "rollback"):
        answer = pending(f"rollout {action} {FLAG}.9 --json")
        assert answer.status == 5
        assert answer.error == {
            "code": "PLAN_NOT_FOUND",
            "message": f'no plan "{FLAG}.9"; did you mean "{PLAN}"?',
            "hint": None,
        }


# -------------------------------------------------------------------------------------------------------------- approve


def test_an_approval_is_counted_and_does_not_enter_the_stage_by_itself(asking):
    assert asking.done(f"rollout approve {PLAN}").out.splitlines() == [
        f"{PLAN}: AWAITING_APPROVAL, stage 2/3 (10 %)",
        f"1 of 1 approvals; {UNSIGNED}",
    ]
    assert flag(asking)["percentage"] == 10.0
    asking.tick(PLAN)
    assert (plan(asking)["stage"], flag(asking)["percentage"]) == (3, 25.0)


def test_an_approval_before_it_is_asked_for_is_refused(running):
    answer = running(f"rollout approve {PLAN} --json")
    assert answer.status == 4
    assert answer.error == {
        "code": "APPROVAL_NOT_DUE",
        "message": "approve is for a plan that is AWAITING_APPROVAL; this one is PROGRESSING; --override enters the"
        " next stage without proof",
        "hint": f'phase4 rollout approve {PLAN} --override --reason "TEXT"',
    }


def test_two_approvals_are_two_people(production):
    seen = []
    for who in ("ben", "ben", "cyd"):
        production.actor = who
        data = production.done(f"rollout approve {PLAN} --json").data
        seen.append((data["approvals"], data["needed"], data["already"]))
    assert seen == [(1, 2, False), (1, 2, True), (2, 2, False)]
    production.tick(PLAN)
    assert plan(production)["stage"] == 2


def test_one_approval_of_two_enters_nothing(production):
    production.done(f"rollout approve {PLAN}")
    assert production.tick(PLAN) is None


@pytest.mark.parametrize("how", ["", "--override --reason hurry"], ids=["approve", "override"])
def test_whoever_made_a_plan_is_not_one_of_two_who_approve_it(production, how):
    production.actor = "ada"
    answer = production(f"rollout approve {PLAN} {how} --json")
    assert answer.status == 4
    assert answer.error == {
        "code": "NOT_PERMITTED",
        "message": "ada made this plan, and two others must approve it",
        "hint": None,
    }
    assert plan(production)["approvals"] == 0


def test_an_approval_of_a_stage_that_is_no_longer_green_is_dropped(asking):
    asking.done(f"rollout approve {PLAN}")
    asking.tick(PLAN, verdict=Verdict.INCONCLUSIVE)
    assert (plan(asking)["phase"], plan(asking)["approvals"]) == ("PROGRESSING", 0)


def test_a_request_expires_after_a_day(asking):
    assert plan(asking)["expires_ms"] == asking.clock.now() + DAY_MS
    asking.tick(PLAN, after_ms=DAY_MS)
    assert (plan(asking)["phase"], plan(asking)["expires_ms"]) == ("PROGRESSING", None)


def test_an_override_needs_a_reason(running):
    answer = running(f"rollout approve {PLAN} --override")
    assert (answer.status, plan(running)["stage"]) == (2, 1)
    assert f'rollout approve {PLAN} --override --reason "TEXT"' in answer.err


def test_an_override_enters_the_next_stage_once_enough_people_say_so(running):
    data = running.done(f"rollout approve {PLAN} --override --reason hurry --json").data
    assert (data["stage"], data["percentage"], data["event"]["cause"]) == (2, 10.0, "overridden")


def test_an_override_that_enters_is_told_as_approved(running):
    told = running.done(f"rollout approve {PLAN} --override --reason hurry").out
    assert told == f"{PLAN}: PROGRESSING, stage 2/3 (10 %)\napproved; {UNSIGNED}\n"


def test_an_override_of_one_of_two_is_counted(production):
    production.done(f"rollout reject {PLAN}", f"rollout resume {PLAN}")
    told = production.done(f"rollout approve {PLAN} --override --reason hurry").out
    assert told == f"{PLAN}: PROGRESSING, stage 1/3 (5 %)\n1 of 2 approvals; {UNSIGNED}\n"


def test_a_rejection_pauses_and_drops_the_approvals(production):
    production.done(f"rollout approve {PLAN}")
    assert production.done(f"rollout reject {PLAN}").out == f"{PLAN}: PAUSED, stage 1/3 (5 %)\n"
    assert plan(production)["approvals"] == 0
    assert "rejected by ben" in production.done("rollout history").out


# --------------------------------------------------------------------------------------------------- pause, resume, end


def test_a_pause_keeps_the_percentage_and_its_reason(running):
    assert running.done(f"rollout pause {PLAN} --reason lunch").out == f"{PLAN}: PAUSED, stage 1/3 (5 %)\n"
    assert (flag(running)["enabled"], flag(running)["percentage"]) == (True, 5.0)
    assert "paused             lunch" in running.done("rollout history").out


def test_a_pause_without_a_reason_names_who_paused(running):
    running.done(f"rollout pause {PLAN}")
    assert "paused by ada" in running.done("rollout history").out


def test_resuming_after_the_longest_time_grants_it_once_more(running):
    running.tick(PLAN, verdict=Verdict.INCONCLUSIVE, after_ms=4 * DAY_MS)
    assert "paused (max_duration)" in line_of(running)
    data = running.done(f"rollout resume {PLAN} --json").data
    assert (data["phase"], data["event"]["granted_ms"]) == ("PROGRESSING", 4 * DAY_MS)


def test_resuming_after_the_flag_was_lowered_enters_the_stage_again(running):
    running.done(f"flags rollout {FLAG} 2", f"rollout resume {PLAN}")
    assert (plan(running)["percentage"], flag(running)["percentage"], flag(running)["entry"]) == (5.0, 5.0, 2)


def test_a_held_flag_s_plan_does_not_resume(running):
    running.done("emergency disable bad")
    answer = running(f"rollout resume {PLAN} --json")
    assert (answer.status, answer.error["code"]) == (4, "FLAG_HELD")


def test_cancelling_ends_the_plan_and_leaves_the_flag(running):
    assert running.done(f"rollout cancel {PLAN} --reason enough").out == f"{PLAN}: CANCELLED, stage 1/3 (5 %)\n"
    assert (flag(running)["enabled"], flag(running)["percentage"], flag(running)["plan"]) == (True, 5.0, None)


@pytest.mark.parametrize("action", ["start", "approve", "reject", "pause", "resume", "cancel"])
def test_an_ended_plan_takes_no_order_but_a_rollback(running, action):
    running.done(f"rollout cancel {PLAN}")
    answer = running(f"rollout {action} {PLAN} --json")
    assert (answer.status, answer.error["code"]) == (4, "PLAN_STATE")
    assert answer.error["hint"] == "possible now: rollback"


# ------------------------------------------------------------------------------------------------------------- rollback


def test_a_rollback_says_what_it_did_and_does_it(running):
    assert running.done(f'rollout rollback {PLAN} "orders fail"').out.splitlines() == [
        f"{PLAN}: ROLLED_BACK, stage 1/3 (0 %)",
        "Flag off, 0 %, held, alert raised, reason and time recorded.",
    ]
    shown = flag(running)
    assert [shown[name] for name in ("enabled", "percentage", "held", "held_reason", "plan")] == [
        False,
        0.0,
        "rollback",
        "orders fail",
        None,
    ]
    (alert,) = running.done("alerts list --severity critical --json").data["alerts"]
    assert alert["message"] == f"{FLAG} rolled back: orders fail"


def test_a_second_rollback_says_that_it_is_so_already(running):
    running.done(f"rollout rollback {PLAN}")
    answer = running.done(f"rollout rollback {PLAN} --json").data
    assert (answer["already"], answer["event"]) == (True, None)
    assert running.done(f"rollout rollback {PLAN}").out == f"{PLAN}: ROLLED_BACK, stage 1/3 (0 %) (already so)\n"


def test_a_second_rollback_does_not_say_that_a_released_flag_is_off(running):
    running.done(f"rollout rollback {PLAN}", f"flags enable {FLAG} --release --reason fixed")
    assert "Flag off" not in running.done(f"rollout rollback {PLAN}").out
    assert flag(running)["enabled"]


@pytest.mark.parametrize("before", ["status", "pause", "cancel"], ids=["PROGRESSING", "PAUSED", "CANCELLED"])
def test_a_rollback_is_possible_in_every_phase(running, before):
    running.done(f"rollout {before} {PLAN}", f"rollout rollback {PLAN}")
    assert (plan(running)["phase"], flag(running)["held"]) == ("ROLLED_BACK", "rollback")


def test_a_plan_that_has_not_started_can_be_rolled_back(pending):
    assert pending.done(f"rollout rollback {PLAN}").out.startswith(f"{PLAN}: ROLLED_BACK, not started\n")


def test_an_ended_plan_under_a_newer_live_one_is_left_alone(running):
    running.done(f"rollout cancel {PLAN}", f"rollout create {FLAG}")
    answer = running(f"rollout rollback {PLAN} --json")
    assert answer.status == 4
    assert answer.error == {
        "code": "PLAN_LIVE",
        "message": f"the plan ended and {FLAG}.2 is live",
        "hint": f"phase4 rollout rollback {FLAG}.2",
    }


# -------------------------------------------------------------------------------------------------------------- history


def test_the_history_is_oldest_first_with_time_kind_and_reason(running):
    running.done(f"rollout create {OTHER}", f"rollout start {OTHER}.1")
    running.clock.advance(HOUR_MS)
    running.done(f"rollout pause {PLAN} --reason lunch", f"rollout rollback {PLAN} bad")
    assert [line.split() for line in running.done("rollout history").out.splitlines()] == [
        ["1", "2026-09-21T14:13:20Z", PLAN, "stage_entered", "start"],
        ["2", "2026-09-21T14:13:20Z", f"{OTHER}.1", "stage_entered", "start"],
        ["3", "2026-09-21T15:13:20Z", PLAN, "paused", "lunch"],
        ["4", "2026-09-21T15:13:20Z", PLAN, "rolled_back", "bad"],
    ]


def test_the_history_can_be_of_one_flag(running):
    running.done(f"rollout create {OTHER}", f"rollout start {OTHER}.1")
    assert {event["plan"] for event in running.done(f"rollout history {OTHER} --json").data["events"]} == {f"{OTHER}.1"}


def test_a_history_of_nothing_says_so(lab):
    assert lab.done("rollout history").out == "Nothing has happened yet.\n"
    assert lab(f"rollout history {FLAG}s").status == 5


def test_an_event_in_json_has_known_keys(pending):
    pending.done(f"rollout start {PLAN} --request-id order-1")
    (row,) = pending.done("rollout history --json").data["events"]
    assert set(row) == {"seq", "at_ms", "at_iso", "plan", "kind", "event", "request_id"}
    assert (row["at_ms"], row["at_iso"], row["request_id"]) == (START_MS, "2026-09-21T14:13:20Z", "order-1")


@pytest.mark.parametrize("option", ["--evidence review.html", "--key ada"])
def test_an_approval_with_what_is_not_there_yet_says_so_and_approves_nothing(pending, option):
    answer = pending(f"rollout approve {PLAN} {option} --json")
    assert (answer.status, answer.error["code"]) == (6, "NOT_BUILT")
    assert option.split()[0] in answer.error["message"]
