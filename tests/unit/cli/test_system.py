"""`phase4 init | status | shutdown | config | completion`, called in this process: text and JSON."""

import re
import shutil
import subprocess

import pytest

from phase4.analysis.verdict import Verdict
from phase4.config.settings import SETTINGS
from phase4.ids import new_id
from phase4.store.epoch import Epoch
from tests.contract.driving import CLOSING, FLAGS, Lab

FLAG, BYZANTINE, HOOKS = FLAGS
PLAN = f"{FLAG}.1"
NEW = """\
📊 Phase 4 System Status

🏥 Health: HEALTHY

🏁 Feature Flags (3):
  ⚪ truth-based-validation (off, 10%)
  ⚪ byzantine-consensus (off, 10%)
  ⚪ hook-interception (off, 10%)

📈 Active Rollouts (0):
  No rollout plans

⚠️  Recent Alerts (0):
  🎉 No active alerts!

🛰  Monitoring: no collector is running
"""


@pytest.fixture
def empty(tmp_path):
    """A home that is not there yet."""
    return Lab(tmp_path / "home")


@pytest.fixture
def lab(empty):
    empty.done("init")
    return empty


@pytest.fixture
def running(lab):
    lab.done(f"rollout create {FLAG}", f"rollout start {PLAN}")
    return lab


def part(screen, title):
    """Return the lines of the screen below a title."""
    return screen.split(f"{title}")[1].split("\n", 1)[1].split("\n\n")[0].split("\n")


def raised(lab, severity):
    """Open an alert of a severity."""
    store = lab.store()

    def work(change):
        return {"alert": change.alert("coverage", severity, "coverage 80 %", rule="coverage")}

    store.execute("alert", {}, work, actor="collector", request_id=new_id())
    store.close()


# ----------------------------------------------------------------------------------------------------------------- init


def test_init_makes_the_home_and_the_three_flags_and_says_what_is_next(empty):
    assert empty.done("init").out.splitlines() == [
        f"{empty.home} is ready: environment development",
        f"  flag {FLAG} (new)",
        f"  flag {BYZANTINE} (new)",
        f"  flag {HOOKS} (new)",
        f"Next: phase4 status; phase4 rollout create {FLAG}",
    ]


def test_init_starts_no_plan_and_switches_nothing_on(lab):
    assert lab.done("status").out == NEW


def test_init_in_json_has_known_keys(empty):
    data = empty.done("init --environment test --preset conservative --json").data
    assert set(data) == {"home", "environment", "preset", "made", "flags", "changed", "issues"}
    assert (data["home"], data["environment"], data["preset"]) == (str(empty.home), "test", "conservative")
    assert data["made"] == data["flags"] == list(FLAGS)
    assert data["changed"] == ["PHASE4_ENVIRONMENT", "preset"]


def test_a_dry_run_of_init_says_what_would_be(empty):
    assert empty.done("init --dry-run --set STALE_FLAG_DAYS=7").out.splitlines() == [
        f"{empty.home} would be made: environment development",
        *(f"  flag {key} would be made" for key in FLAGS),
        "  would save STALE_FLAG_DAYS: - -> 7",
        "dry run: nothing was changed",
    ]
    assert not empty.home.exists()
    empty.done("init")
    assert empty.done("init --dry-run").out.splitlines() == [
        f"{empty.home} would be brought up to date: environment development",
        "dry run: nothing was changed",
    ]


def test_a_dry_run_of_init_in_json_has_the_keys_of_init(empty):
    would = empty.done("init --dry-run --json").data
    done = empty.done("init --json").data
    assert would == {**done, "dry_run": True}


def test_init_again_keeps_the_flags_and_says_which_settings_changed(lab):
    lab.done(f"flags enable {FLAG}", f"flags rollout {FLAG} 33")
    lines = lab.done("init --preset testing --set STALE_FLAG_DAYS=7").out.splitlines()
    assert lines[0] == f"{lab.home} is up to date: environment development"
    assert lines[4:6] == ["  saved STALE_FLAG_DAYS: - -> 7", "  saved preset: - -> testing"]
    flags = lab.done("flags list --json").data["flags"]
    assert [(row["enabled"], row["percentage"]) for row in flags] == [(True, 33.0), (False, 10.0), (False, 10.0)]


def test_a_saved_setting_is_taken_back_by_an_empty_value(lab):
    lab.done("init --set STALE_FLAG_DAYS=7")
    assert "  saved STALE_FLAG_DAYS: 7 -> -" in lab.done("init --set STALE_FLAG_DAYS=").out


def test_a_value_of_the_environment_is_not_saved(empty):
    assert empty("init", STALE_FLAG_DAYS="7").status == 0
    assert empty.done("config show --json").data["settings"]["STALE_FLAG_DAYS"] == {"value": 30, "origin": "default"}


def test_flags_start_as_the_settings_say_and_later_settings_do_not_touch_them(empty):
    start = {"TRUTH_VALIDATION_ENABLED": "true", "BYZANTINE_ROLLOUT_PERCENTAGE": "33"}
    assert empty("init", **start).status == 0
    assert empty("init", HOOK_ROLLOUT_PERCENTAGE="44").status == 0
    flags = empty.done("flags list --json").data["flags"]
    assert [(row["enabled"], row["percentage"]) for row in flags] == [(True, 10.0), (False, 33.0), (False, 10.0)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("init --environment prod", 'did you mean "production"?'),
        ("init --preset bold", "is conservative, aggressive, testing: 'bold'"),
        ("init --set ROLLOUT_ERROR_THRESHOLD=1%", "1 % is 0.01"),
        ("init --set ROLLOUT_ERROR_TRESHOLD=0.01", 'did you mean "ROLLOUT_ERROR_THRESHOLD"?'),
        ("init --set PHASE4_HOME=/elsewhere", "use --home or the variable"),
        ("init --set STALE_FLAG_DAYS", "--set takes NAME=VALUE: 'STALE_FLAG_DAYS'"),
    ],
)
def test_a_wrong_setting_is_named_and_no_home_is_made(empty, line, problem):
    answer = empty(line)
    assert (answer.status, answer.out, empty.home.exists()) == (2, "", False)
    assert problem in answer.err


def test_every_problem_of_a_combination_is_named(empty):
    answer = empty("init --environment production --preset testing")
    assert answer.status == 2
    assert len(answer.err.splitlines()) == 4
    assert "TRUTH_ROLLOUT_PERCENTAGE 100 (preset testing) is above ROLLOUT_MAX_PERCENTAGE 25" in answer.err
    assert not empty.home.exists()


# --------------------------------------------------------------------------------------------------------------- status


def test_the_guide_s_closing_block_is_shown_to_the_letter(lab):
    for key in FLAGS:
        lab.completes(key)
    for key in FLAGS:
        lab.done(f"flags rollout {key} 10")
    lab.done(f"alerts resolve {' '.join(map(str, range(1, 16)))} --reason seen")
    lab.collects()
    assert lab.done("status").out == f"{CLOSING}\n🛰  Monitoring: collector running\n"


def test_a_home_that_is_not_there_says_what_to_type(empty):
    answer = empty("status")
    assert (answer.status, answer.out) == (6, "")
    assert answer.err == f"phase4: {empty.home} is not initialised\nphase4: try: phase4 init\n"


def test_flags_are_on_off_or_held_with_the_reason(lab):
    lab.done(f"flags enable {FLAG}", f"flags rollout {BYZANTINE} 12.5", f'emergency rollback {HOOKS} "orders fail"')
    assert part(lab.done("status").out, "Feature Flags (3):") == [
        "  🟢 truth-based-validation (10%)",
        "  ⚪ byzantine-consensus (off, 12.5%)",
        "  🔴 hook-interception (held: orders fail)",
    ]


def test_live_plans_show_stage_and_phase(running):
    running.done(f"rollout create {BYZANTINE}")
    assert part(running.done("status").out, "Active Rollouts (2):") == [
        f"  ▶ {PLAN}  stage 1/3 (5%)  PROGRESSING",
        f"  ▶ {BYZANTINE}.1  not started  PENDING",
    ]


def test_a_paused_plan_shows_why(running):
    running.done(f"rollout pause {PLAN} --reason lunch")
    assert part(running.done("status").out, "Active Rollouts (1):") == [f"  ▶ {PLAN}  stage 1/3 (5%)  PAUSED  lunch"]


def test_a_request_for_approval_is_shown(lab):
    lab.asks_approval(FLAG)
    assert part(lab.done("status").out, "Active Rollouts (1):") == [f"  ▶ {PLAN}  stage 2/3 (10%)  AWAITING_APPROVAL"]


def test_ended_plans_are_counted_with_the_rollbacks_named(lab):
    lab.completes(FLAG)
    lab.completes(BYZANTINE)
    assert part(lab.done("status").out, "Active Rollouts (0):") == ["  ✅ All rollouts completed successfully"]
    lab.asks_approval(HOOKS)
    lab.tick(f"{HOOKS}.1", verdict=Verdict.FAIL)
    assert part(lab.done("status").out, "Active Rollouts (0):") == [
        f"  2 completed, 1 rolled back: {HOOKS} (error_rate failed)"
    ]


def test_a_cancelled_plan_is_no_success(running):
    running.done(f"rollout cancel {PLAN}")
    assert part(running.done("status").out, "Active Rollouts (0):") == ["  1 cancelled"]


def test_alerts_are_shown_with_severity_and_id_the_newest_first(running):
    raised(running, "medium")
    running.clock.advance(1_000)
    running.done(f"rollout rollback {PLAN} bad")
    assert part(running.done("status").out, "Recent Alerts (3):") == [
        f"  [critical] 3: {FLAG} rolled back: bad",
        "  [medium] 2: coverage 80 %",
        f"  [low] 1: {PLAN} entered stage 1 (5 %)",
    ]


def test_health_is_unknown_while_a_flag_is_on_and_nobody_collects(running):
    lines = running.done("status").out.splitlines()
    assert lines[2] == "🏥 Health: UNKNOWN"
    assert lines[3] == "  ↳ a flag is on and no collector runs, so nobody watches it"
    running.collects()
    assert "🏥 Health: HEALTHY" in running.done("status").out


def test_unknown_health_names_critical_alerts_too(running):
    raised(running, "high")
    running.done(f"rollout create {BYZANTINE}", f"rollout rollback {BYZANTINE}.1 bad")
    data = running.done("status --json").data
    assert data["health"] == "UNKNOWN"
    assert data["held_by"][1:] == [f"alert 3: {BYZANTINE} rolled back: bad"]


def test_under_the_stop_word_every_flag_is_shown_as_stopped(lab):
    lab.done(f"flags enable {FLAG}")
    epoch = Epoch(str(lab.home / "epoch"))
    epoch.stop()
    epoch.close()
    assert part(lab.done("status").out, "Feature Flags (3):") == [
        f"  🔴 {key} (stopped: the stop word is set)" for key in FLAGS
    ]


def test_a_collector_s_lease_that_ran_out_is_no_collector(running):
    running.collects()
    running.clock.advance(60_000)
    assert running.done("status --json").data["monitoring"]["collector"] is None


@pytest.mark.parametrize(
    ("severity", "health"), [("critical", "CRITICAL"), ("high", "WARNING"), ("medium", "HEALTHY"), ("low", "HEALTHY")]
)
def test_health_is_held_by_open_alerts_until_they_are_resolved(lab, severity, health):
    raised(lab, severity)
    data = lab.done("status --json").data
    assert data["health"] == health
    assert data["held_by"] == ([] if health == "HEALTHY" else ["alert 1: coverage 80 %"])
    lab.done("alerts ack 1")
    assert lab.done("status --json").data["health"] == health
    lab.done("alerts resolve 1 --reason fixed")
    assert lab.done("status --json").data["health"] == "HEALTHY"


def test_the_status_in_json_has_known_keys(running):
    raised(running, "medium")
    data = running.done("status --json").data
    assert set(data) == {"health", "held_by", "flags", "rollouts", "alerts", "monitoring"}
    assert [row["flag_key"] for row in data["flags"]] == list(FLAGS)
    assert data["rollouts"] == [
        {
            "plan": PLAN,
            "flag_key": FLAG,
            "phase": "PROGRESSING",
            "stage": 1,
            "stages": 3,
            "percentage": 5.0,
            "reason": None,
        }
    ]
    assert [alert["id"] for alert in data["alerts"]] == [2, 1]
    nothing = {"collector": None, "standby": [], "coverage": None, "of_ticks": None, "of_outcomes": None}
    assert {name: value for name, value in data["monitoring"].items() if name != "window_ms"} == nothing


def test_the_status_warns_of_settings_in_json(lab):
    answer = lab("status --json", NODE_ENV="production")
    assert any("NODE_ENV" in text for text in answer.body["warnings"])


# ------------------------------------------------------------------------------------------------------------- shutdown


def test_a_shutdown_says_that_nothing_was_running(running):
    assert running.done("shutdown").out == "Nothing was running. Flags and plans stay as they are.\n"
    assert running.done("shutdown --timeout 5 --json").data == {"stopped": [], "left": []}


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "0.5", "x", ""])
def test_a_timeout_is_a_whole_number_of_seconds(lab, text):
    answer = lab(f"shutdown --timeout='{text}'")
    assert (answer.status, answer.out) == (2, "")
    assert "argument --timeout: a whole number" in answer.err


# --------------------------------------------------------------------------------------------------------------- config


def test_every_setting_is_shown_with_its_value(lab):
    lines = lab.done("config show").out.splitlines()
    assert [line.split()[0] for line in lines] == list(SETTINGS)
    shown = dict(line.split(maxsplit=1) for line in lines)
    assert (shown["TRUTH_VALIDATION_ENABLED"], shown["PHASE4_USER"]) == ("false", "-")


def test_the_origin_of_every_setting_can_be_shown(empty):
    empty.done("init --environment staging --preset conservative --set STALE_FLAG_DAYS=7")
    lines = empty("config show --origin", ROLLOUT_SUCCESS_THRESHOLD="0.97").out.splitlines()
    origins = {line.split()[0]: re.split(" {2,}", line)[-1] for line in lines}
    assert (origins["DASHBOARD_PORT"], origins["ROLLOUT_MAX_PERCENTAGE"]) == ("default", "profile staging")
    assert (origins["ROLLOUT_ERROR_THRESHOLD"], origins["STALE_FLAG_DAYS"]) == ("preset conservative", "saved by init")
    assert origins["ROLLOUT_SUCCESS_THRESHOLD"] == "environment variable"


def test_settings_in_json_have_value_and_origin(lab):
    settings = lab.done("config show --json").data["settings"]
    assert list(settings) == list(SETTINGS)
    assert {frozenset(row) for row in settings.values()} == {frozenset({"value", "origin"})}
    assert settings["ROLLOUT_ERROR_THRESHOLD"] == {"value": 0.05, "origin": "profile development"}


def test_a_check_of_valid_settings_says_so_after_its_warnings(lab):
    lines = lab.done("config check").out.splitlines()
    assert lines[-1] == "The settings are valid."
    assert all(line.startswith("warning: ") for line in lines[:-1])


def test_settings_can_be_looked_at_and_checked_before_there_is_a_home(empty):
    assert empty("config check").out.splitlines()[-1] == "The settings are valid."
    shown = empty("config show --json", STALE_FLAG_DAYS="7").data["settings"]
    assert shown["STALE_FLAG_DAYS"] == {"value": 7, "origin": "environment variable"}
    answer = empty("config check", ROLLOUT_ERROR_THRESHOLD="1%")
    assert (answer.status, answer.out, empty.home.exists()) == (2, "", False)


def test_a_check_of_wrong_settings_names_them_all(lab):
    answer = lab("config check", ROLLOUT_ERROR_THRESHOLD="1%", MONITORING_ENABLED="maybe")
    assert (answer.status, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 2


def test_a_check_of_a_wrong_combination_names_both_sides(lab):
    answer = lab("config check --json", ROLLOUT_ERROR_THRESHOLD="0.2")
    assert (answer.status, answer.error["code"]) == (2, "SETTING_INVALID")
    assert "ROLLOUT_ERROR_THRESHOLD 0.2 (environment variable) must be below" in answer.error["message"]


def test_a_check_in_json_has_known_keys(lab):
    data = lab.done("config check --json").data
    assert set(data) == {"errors", "warnings"}
    assert data["errors"] == []


# ----------------------------------------------------------------------------------------------------------- completion


def completed(script, *words):
    """Return what bash offers after these words, the last one unfinished."""
    quoted = " ".join(f"'{word}'" for word in words)
    ask = f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _phase4; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run([shutil.which("bash"), "-c", ask], check=True, capture_output=True, encoding="utf-8")
    return done.stdout.split()


@pytest.fixture
def bash(empty):
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    return empty.done("completion bash").out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("phase4", "em"), ["emergency"]),
        (("phase4", "rollout", "re"), ["reject", "resume"]),
        (("phase4", "rollout", "approve", PLAN, "--ov"), ["--override"]),
        (("phase4", "init", "--p"), ["--preset"]),
        (("phase4", "flags", "check", "--user", "u", "--ex"), ["--exit-code", "--explain"]),
    ],
)
def test_bash_offers_commands_and_options(bash, words, offered):
    assert completed(bash, *words) == offered


def test_conditions_of_fish_are_joined_as_fish_joins_them(empty):
    condition = "__fish_seen_subcommand_from rollout; and __fish_seen_subcommand_from approve"
    script = empty.done("completion fish").out.splitlines()
    assert f'complete -c phase4 -f -n "{condition}" -a "--override"' in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_text_and_json_without_a_home(empty, shell):
    text = empty.done(f"completion {shell}").out
    data = empty.done(f"completion {shell} --json").data
    assert data == {"shell": shell, "script": text.rstrip("\n")}
    assert "phase4" in text
    assert not empty.home.exists()


def test_another_shell_is_refused(empty):
    answer = empty("completion tcsh")
    assert (answer.status, answer.out) == (2, "")
    assert '"tcsh" is none of bash, zsh, fish' in answer.err
