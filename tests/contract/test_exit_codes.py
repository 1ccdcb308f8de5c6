"""What programs rely on: exit statuses, the JSON envelope, and the options that every command or every order has."""

import json
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.contract.driving import FLAGS
from tests.contract.program import CREATED, FLAG, PLAN, PROGRAM, STARTED, Evaluator, phase4, started

SCENARIOS = Path(__file__).parents[1] / "data" / "scenarios"
SMALL = SCENARIOS / "small.toml"
EMERGENCY = ("init", 'emergency disable "orders fail"')
ROLLED_BACK = (*STARTED, f'rollout rollback {PLAN} "orders fail"')
STOP = 'emergency disable "orders fail"'


def dump(home):
    """Return every row of the control database, and every file of the home beside it with its size."""
    connection = sqlite3.connect(f"file:{home}/control.db?mode=ro", uri=True)
    rows = list(connection.iterdump())
    connection.close()
    files = {path.relative_to(home): path.stat().st_size for path in home.rglob("*") if path.is_file()}
    return rows, {path: size for path, size in files.items() if path.name not in {"control.db-shm", "control.db-wal"}}


def damaged(home):
    (home / "control.db").write_bytes(b"not a database")
    return home


# -------------------------------------------------------------------------------------------------------- exit statuses

STATUSES = {
    "0 done": (0, ("init",), f"flags enable {FLAG}"),
    "0 already so": (0, ("init",), f"flags disable {FLAG}"),
    "0 already rolled back": (0, ROLLED_BACK, f"rollout rollback {PLAN}"),
    "0 nothing to stop": (0, ("init",), "shutdown"),
    "1 off, where that was asked": (1, ("init",), f"flags check {FLAG} --user u --exit-code"),
    "2 no command": (2, (), ""),
    "2 unknown command": (2, (), "flag list"),
    "2 unknown option": (2, ("init",), f"flags enable {FLAG} --relase"),
    "2 missing argument": (2, ("init",), "flags enable"),
    "2 percentage": (2, ("init",), f"flags rollout {FLAG} 101"),
    "2 severity": (2, ("init",), "alerts list --severity urgent"),
    "2 setting": (2, (), "init --set ROLLOUT_ERROR_THRESHOLD=1%"),
    "2 combination of settings": (2, (), "init --environment production --preset testing"),
    "2 lifting a hold without a reason": (2, EMERGENCY, f"flags enable {FLAG} --release"),
    "2 emergency without a reason": (2, ("init",), "emergency disable ' '"),
    "2 a request id that is a path": (2, ("init",), f"flags enable {FLAG} --request-id ../x"),
    "2 scenario": (2, (), "simulate validate no-such-file.toml"),
    "4 PLAN_STATE": (4, STARTED, f"rollout start {PLAN}"),
    "4 APPROVAL_NOT_DUE": (4, STARTED, f"rollout approve {PLAN}"),
    "4 PLAN_LIVE": (4, STARTED, f"rollout create {FLAG}"),
    "4 PLAN_LIVE raising": (4, STARTED, f"flags rollout {FLAG} 50"),
    "4 FLAG_HELD": (4, EMERGENCY, f"flags enable {FLAG}"),
    "4 FLAG_HELD starting": (4, (*EMERGENCY, f"rollout create {FLAG}"), f"rollout start {PLAN}"),
    "4 PERCENTAGE_MAX": (4, ("init --environment staging",), f"flags rollout {FLAG} 26"),
    "4 NOT_PERMITTED": (4, ("init --environment production", f"rollout create {FLAG}"), f"rollout approve {PLAN}"),
    "4 REQUEST_ID_REUSED": (4, ("init", f"flags enable {FLAG} --request-id a"), f"flags disable {FLAG} --request-id a"),
    "5 FLAG_NOT_FOUND": (5, ("init",), "flags enable truth-based"),
    "5 PLAN_NOT_FOUND": (5, CREATED, f"rollout start {FLAG}.2"),
    "5 ALERT_NOT_FOUND": (5, ("init",), "alerts ack 7"),
    "6 NOT_INITIALISED": (6, (), "status"),
    "6 NOT_BUILT": (6, ("init",), "monitor dashboard"),
    "6 WRITE_FAILED": (6, ("init",), "store backup /proc/no-such-folder"),
}


@pytest.mark.parametrize("case", STATUSES)
def test_each_status_in_text_and_in_json_with_its_code(homes, case):
    status, before, line = STATUSES[case]
    home = homes.after(*before)
    in_text, in_json = phase4(home, line), phase4(home, f"{line} --json")
    assert (in_text.status, in_json.status) == (status, status), in_text
    assert (in_text.out == "", in_json.body["ok"]) == (status > 1, status <= 1)
    code = case.split()[1]
    if code.isupper():
        assert in_json.error["code"] == code


def test_1_the_scenario_did_not_end_as_it_expects(homes, tmp_path):
    for path in SCENARIOS.iterdir():
        shutil.copy(path, tmp_path)
    scenario = tmp_path / "small.toml"
    scenario.write_text(scenario.read_text().replace('phase = "COMPLETED"', 'phase = "ROLLED_BACK"'))
    home = homes.after()
    assert phase4(home, f"simulate run {SMALL}").status == 0
    answer = phase4(home, f"simulate run {scenario}")
    assert answer.status == 1
    assert "phase ROLLED_BACK expected, COMPLETED seen" in answer.err


def test_1_a_store_with_findings(homes):
    home = homes.after(*STARTED)
    assert phase4(home, "store check --json").data == {"findings": []}
    connection = sqlite3.connect(home / "control.db")
    connection.execute("UPDATE flag SET percentage = 50")
    connection.execute("UPDATE audit SET leaf = ? WHERE seq = 2", (b"{}",))
    connection.commit()
    connection.close()
    answer = phase4(home, "store check")
    assert answer.status == 1
    assert f"{FLAG}: exposed to 50 %, its journal says 5 %" in answer.out
    assert "audit: leaf 2 was changed" in answer.out


def test_6_a_damaged_database_is_named_and_nothing_is_made_of_it(homes):
    home = damaged(homes.after("init"))
    for line in ("status", f"flags enable {FLAG}", "init"):
        answer = phase4(home, f"{line} --json")
        assert (answer.status, answer.error["code"]) == (6, "STORE_DAMAGED")
    assert (home / "control.db").read_bytes() == b"not a database"


def test_6_a_home_that_others_may_open_is_not_used(homes):
    home = homes.after("init")
    home.chmod(0o755)
    answer = phase4(home, "status")
    assert answer.status == 6
    assert "is open to others: its mode is 755, not 700" in answer.err


def test_130_an_interrupted_sweep_says_what_it_saved(homes):
    home = homes.after()
    process = started(home, f"simulate sweep {SMALL} --replicates 100000 --workers 1 --json")
    assert process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["data"]["complete"] is False
    assert [path.name for path in (home / "runs").glob("*-partial*")]


# ---------------------------------------------------------------------------------------------------- the JSON envelope


def test_the_envelope_of_success_is_one_object_of_five_keys(homes):
    answer = phase4(homes.after("init"), f"flags enable {FLAG} --json")
    assert list(answer.body) == ["schema", "command", "ok", "data", "warnings"]
    assert (answer.body["schema"], answer.body["command"]) == ("phase4/cli/1", "flags enable")
    assert (answer.body["ok"], answer.body["warnings"]) == (True, [])
    assert (answer.out.count("\n"), answer.err) == (1, "")


def test_the_envelope_of_failure_has_code_message_and_hint_in_place_of_data(homes):
    answer = phase4(homes.after(*EMERGENCY), f"flags enable {FLAG} --json")
    assert list(answer.body) == ["schema", "command", "ok", "error"]
    assert (answer.body["schema"], answer.body["command"]) == ("phase4/cli/1", "flags enable")
    assert answer.body["ok"] is False
    assert list(answer.error) == ["code", "message", "hint"]
    assert "orders fail" in answer.error["message"]
    assert (answer.out.count("\n"), answer.err) == (1, "")


def test_a_command_line_that_is_wrong_is_json_too(homes):
    answer = phase4(homes.after(), "rollout starts x --json")
    assert (answer.status, answer.error["code"], answer.body["command"]) == (2, "USAGE", "rollout starts")


def test_warnings_of_the_settings_are_in_the_envelope(homes):
    answer = phase4(homes.after(), "init --json", NODE_ENV="production")
    assert any("NODE_ENV" in text for text in answer.body["warnings"])


# --------------------------------------------------------------------------------------------- options of every command


def test_json_is_of_one_line_for_every_command_that_looks(homes):
    home = homes.shared(*ROLLED_BACK)
    lines = ("status", "flags list", "rollout status", "rollout history", "alerts list", "config show", "store check")
    answers = [phase4(home, f"{line} --json") for line in lines]
    assert [(answer.status, answer.out.count("\n"), answer.err) for answer in answers] == [(0, 1, "")] * len(lines)
    assert [answer.body["command"] for answer in answers] == list(lines)


@pytest.mark.parametrize("how", [{"line": " --ascii"}, {"PYTHONIOENCODING": "ascii"}], ids=["asked for", "needed"])
@pytest.mark.parametrize(
    "line", ["status", "status --json", "rollout status", "rollout history", "flags list", "alerts list"]
)
def test_what_people_see_is_plain_where_that_is_asked_for_or_needed(homes, line, how):
    home = homes.shared(*CREATED, f"rollout start {PLAN}", f'rollout rollback {PLAN} "Störung"')
    given = {name: value for name, value in how.items() if name != "line"}
    answer = phase4(home, f"{line}{how.get('line', '')}", **given)
    assert answer.status == 0, answer
    assert answer.out.isascii()


def test_home_of_the_command_line_wins_over_the_variable(homes):
    here, there = homes.after("init"), homes.after("init")
    assert phase4(here, f"flags enable {FLAG} --home {there}").status == 0
    assert "on, 10 %" in phase4(there, "flags list").out
    assert "on, 10 %" not in phase4(here, "flags list").out


def test_options_of_every_command_may_stand_before_its_words(homes):
    here, there = homes.after(), homes.shared(*STARTED)
    answer = phase4(here, f"--home {there} --json --ascii flags list")
    assert (answer.status, answer.body["command"]) == (0, "flags list")
    assert phase4(there, f"--home {there} flags list --home {here}").status == 6


def test_home_may_be_new_and_is_made_for_its_owner_alone(homes):
    here, there = homes.after("init"), homes.after()
    assert phase4(here, f"init --home {there}").status == 0
    assert {path.stat().st_mode & 0o077 for path in [there, *there.rglob("*")]} == {0}


def test_both_names_of_the_program_answer_alike(homes):
    home = homes.shared(*STARTED)
    lines = ("flags list --json", "rollout history --json", "flags enable no-such-flag --json", "status")
    names = ("phase4", "phase4-cli")
    both = [[phase4(home, line, program=PROGRAM.with_name(name)) for line in lines] for name in names]
    assert [(a.status, a.out, a.err) for a in both[0]] == [(b.status, b.out, b.err) for b in both[1]]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("flags enable x --relase", "did you mean --release?"),
        ("rollout create x --acelerate", "did you mean --accelerate?"),
        ("status --jsn", "did you mean --json?"),
        ("rollout aprove x", 'did you mean "approve"?'),
        ("emergncy disable x", 'did you mean "emergency"?'),
        ("alerts list --severity hihg", 'did you mean "high"?'),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(homes, line, hint):
    answer = phase4(homes.shared("init"), line)
    assert (answer.status, answer.out) == (2, "")
    assert hint in answer.err


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("flags enable truth-based-validaton", FLAG),
        ("flags enable truth", FLAG),
        (f"rollout start {FLAG}.11", PLAN),
        ("rollout create hook-interceptoin", "hook-interception"),
        ("rollout history byzantine-consensu", "byzantine-consensus"),
    ],
)
def test_what_does_not_exist_is_answered_with_the_nearest_that_does(homes, line, nearest):
    answer = phase4(homes.shared(*CREATED), line)
    assert answer.status == 5
    assert f'did you mean "{nearest}"?' in answer.err


# ------------------------------------------------------------------------------------------ options of orders: the name

ORDERS = {
    "init --set STALE_FLAG_DAYS=7": ("init",),
    f"flags enable {FLAG}": ("init",),
    f"flags disable {FLAG}": STARTED,
    f"flags rollout {FLAG} 20": ("init",),
    f"flags reshuffle {FLAG} --reason unfair": ("init",),
    f"rollout create {FLAG}": ("init",),
    f"rollout start {PLAN}": CREATED,
    f"rollout approve {PLAN} --override --reason hurry": STARTED,
    f"rollout pause {PLAN} --reason lunch": STARTED,
    f"rollout resume {PLAN}": (*STARTED, f"rollout pause {PLAN}"),
    f"rollout cancel {PLAN}": STARTED,
    f"rollout rollback {PLAN} bad": STARTED,
    STOP: STARTED,
    f"emergency rollback {FLAG} bad": STARTED,
    "alerts resolve 1 --reason fixed": EMERGENCY,
    "alerts ack 1": EMERGENCY,
    "shutdown": ("init",),
}


@pytest.mark.parametrize("line", ORDERS)
def test_the_same_request_id_twice_is_done_once_and_answered_alike(homes, line):
    home = homes.after(*ORDERS[line])
    first = phase4(home, f"{line} --request-id order-1 --json")
    before = dump(home)
    second = phase4(home, f"{line} --request-id order-1 --json")
    assert (first.status, second.status) == (0, 0), second
    assert dump(home) == before
    told = [{key: value for key, value in each.data.items() if key not in VARYING} for each in (first, second)]
    assert told[0] == told[1]


VARYING = {"elapsed_ms", "changed"}
"""How long it took; and of `init` what differs from before, which is nothing the second time."""


def test_a_request_id_of_another_command_is_refused_and_nothing_is_done(homes):
    home = homes.after("init", f"flags enable {FLAG} --request-id order-1")
    before = dump(home)
    for line in (f"flags disable {FLAG}", "flags enable hook-interception", f"rollout create {FLAG}"):
        answer = phase4(home, f"{line} --request-id order-1 --json")
        assert (answer.status, answer.error["code"]) == (4, "REQUEST_ID_REUSED")
    assert dump(home) == before


@pytest.mark.parametrize("line", ORDERS)
def test_a_dry_run_says_that_it_is_one_and_changes_nothing(homes, line):
    home = homes.after(*ORDERS[line])
    with Evaluator(home) as evaluator:
        exposed = [evaluator.exposed(flag) for flag in FLAGS]
        before = dump(home)
        in_text, in_json = (phase4(home, f"{line} --dry-run{how}") for how in ("", " --json"))
        assert (in_text.status, in_json.status) == (0, 0), (in_text, in_json)
        assert "nothing was changed" in in_text.out
        assert in_json.data["dry_run"] is True
        assert dump(home) == before
        assert [evaluator.exposed(flag) for flag in FLAGS] == exposed


def test_a_dry_run_that_would_be_refused_is_refused(homes):
    home = homes.shared(*STARTED)
    for line, status in {f"rollout start {PLAN}": 4, "flags enable nobody": 5, f"flags rollout {FLAG} 101": 2}.items():
        assert phase4(home, f"{line} --dry-run").status == status


def test_a_dry_run_of_init_makes_no_home(homes):
    home = homes.after()
    assert phase4(home, "init --dry-run").status == 0
    assert not home.exists()


def test_the_reason_is_kept_in_the_audit_log(homes):
    home = homes.after("init", f'flags enable {FLAG} --reason "the review is done"')
    connection = sqlite3.connect(home / "control.db")
    (leaf,) = connection.execute("SELECT leaf FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    connection.close()
    assert (json.loads(leaf)["action"], json.loads(leaf)["reason"]) == ("flag_enabled", "the review is done")


# ---------------------------------------------------------------------------------------------------------- emergencies


def test_an_emergency_on_a_damaged_database_is_done_and_says_that_it_is_not_recorded(homes):
    home = damaged(homes.after(*STARTED))
    answer = phase4(home, f"{STOP} --json")
    assert answer.status == 0
    assert answer.data["recorded"] is False
    assert "recording pending" in answer.body["warnings"][0]
    assert len(list((home / "emergency").glob("*.json"))) == 1


def test_an_emergency_on_a_locked_database_is_done_and_recorded_by_the_next_command(homes):
    home = homes.after(*STARTED)
    with Evaluator(home) as evaluator:
        assert evaluator.exposed(FLAG)
        lock = sqlite3.connect(home / "control.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        answer = phase4(home, STOP)
        assert (answer.status, evaluator.exposed(FLAG)) == (0, set())
        assert "recording pending" in answer.err
        lock.execute("ROLLBACK")
        lock.close()
        assert "held (emergency)" in phase4(home, "flags list").out
        assert list((home / "emergency").glob("*.json")) == []
        assert evaluator.exposed(FLAG) == set()
    assert len(phase4(home, "alerts list --severity critical --json").data["alerts"]) == 1


def test_an_emergency_is_not_stopped_by_wrong_settings(homes):
    home = homes.after(*STARTED)
    assert phase4(home, "status", ROLLOUT_ERROR_THRESHOLD="1%").status == 2
    assert phase4(home, STOP, ROLLOUT_ERROR_THRESHOLD="1%").status == 0


def test_an_emergency_without_a_home_says_what_to_do(homes):
    answer = phase4(homes.after(), f"{STOP} --json")
    assert (answer.status, answer.error["code"], answer.error["hint"]) == (6, "NOT_INITIALISED", "phase4 init")


def test_orders_of_many_processes_are_one_after_the_other(homes):
    home = homes.after("init")
    processes = [started(home, f"flags {word} {FLAG}") for word in ["enable", "disable"] * 4]
    assert [process.wait(60) for process in processes] == [0] * 8
    for process in processes:
        process.communicate()
    assert phase4(home, "store check").status == 0


def test_replacing_plans_of_many_processes_are_one_after_the_other(homes):
    home = homes.after(*STARTED)
    processes = [started(home, f"rollout create {FLAG} --replace") for _ in range(6)]
    told = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, told
    assert phase4(home, "store check").status == 0
