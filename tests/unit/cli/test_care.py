"""`phase4 store`, called in this process: what it prints, in text and in JSON."""

import json
import sqlite3

import pytest

from tests.contract.driving import Lab

FLAG = "truth-based-validation"
PLAN = f"{FLAG}.1"


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path / "home")
    lab.done("init", f"rollout create {FLAG}", f"rollout start {PLAN}")
    return lab


@pytest.fixture
def backup(lab, tmp_path):
    lab.done(f"store backup {tmp_path}/backup")
    return tmp_path / "backup"


def changed(lab, sql, *values):
    connection = sqlite3.connect(lab.home / "control.db")
    connection.execute(sql, values)
    connection.commit()
    connection.close()


def content(home):
    connection = sqlite3.connect(home / "control.db")
    rows = list(connection.iterdump())
    connection.close()
    return rows


# ---------------------------------------------------------------------------------------------------------------- check


def test_a_whole_home_has_no_findings(lab):
    assert lab.done("store check").out == f"{lab.home}: no findings\n"
    assert lab.done("store check --json").data == {"findings": []}


@pytest.mark.parametrize(
    ("sql", "values", "finding"),
    [
        ("UPDATE flag SET percentage = 50", (), f"{FLAG}: exposed to 50 %, its journal says 5 %"),
        ("UPDATE flag SET enabled = 0", (), f"{FLAG}: exposed to 0 %, its journal says 5 %"),
        ("DELETE FROM audit WHERE seq = 2", (), "audit: number 2 is missing"),
        ("UPDATE audit SET leaf = ? WHERE seq = 2", (b"{}",), "audit: leaf 2 was changed"),
        ("UPDATE plan SET ended_ms = 1", (), f"{PLAN}: the journal says PROGRESSING, the plan's row otherwise"),
        ("UPDATE journal SET plan_seq = 2", (), f"journal of {PLAN}: numbers [2] have gaps"),
    ],
    ids=["percentage", "switch", "leaf gone", "leaf changed", "plan ended", "journal gap"],
)
def test_what_does_not_fit_is_named_and_is_status_1(lab, sql, values, finding):
    changed(lab, sql, *values)
    answer = lab("store check")
    assert (answer.status, answer.err) == (1, "")
    assert finding in answer.out.splitlines()


def test_findings_in_json_are_an_answer_and_no_error(lab):
    changed(lab, "UPDATE flag SET percentage = 50")
    answer = lab("store check --json")
    assert (answer.status, answer.body["ok"], len(answer.data["findings"])) == (1, True, 1)


def test_a_file_that_others_may_read_is_named(lab):
    (lab.home / "control.db").chmod(0o644)
    answer = lab("store check")
    assert answer.status == 1
    assert "control.db may be read by others: its mode is 644" in answer.out


def test_a_check_repairs_nothing(lab):
    changed(lab, "UPDATE flag SET percentage = 50")
    before = content(lab.home)
    assert [lab("store check").status for _ in range(2)] == [1, 1]
    assert content(lab.home) == before


def test_a_file_that_is_no_database_is_damaged(lab):
    (lab.home / "control.db").write_bytes(b"damaged")
    answer = lab("store check --json")
    assert answer.status == 1
    assert "control.db cannot be read: file is not a database" in answer.data["findings"][0]


# ------------------------------------------------------------------------------------------------------ backup, restore


def test_a_backup_is_the_database_and_an_index_of_digests(lab, tmp_path):
    assert lab.done(f"store backup {tmp_path}/b").out == f"{tmp_path}/b: 2 files\n"
    data = lab.done(f"store backup {tmp_path}/c --json").data
    assert data == {"folder": f"{tmp_path}/c", "files": ["control.db", "backup.json"]}
    assert set(json.loads((tmp_path / "b" / "backup.json").read_text())["files"]) == {"control.db"}
    assert content(tmp_path / "b") == content(lab.home)


def test_a_backup_overwrites_nothing(lab, backup):
    answer = lab(f"store backup {backup} --json")
    assert (answer.status, answer.error["code"]) == (2, "USAGE")
    assert answer.error["message"] == f"{backup} is not empty"


def test_a_backup_that_cannot_be_written_says_so(lab, tmp_path):
    (tmp_path / "file").write_text("in the way")
    answer = lab(f"store backup {tmp_path}/file/b --json")
    assert (answer.status, answer.error["code"]) == (6, "WRITE_FAILED")


def test_a_restored_home_has_no_findings(lab, backup, tmp_path):
    told = lab.done(f"store restore {backup} --home {tmp_path}/other").out
    assert told == f"{tmp_path}/other: restored from {backup}\n"
    data = lab.done(f"store restore {backup} --home {tmp_path}/third --json").data
    assert data == {"home": f"{tmp_path}/third", "findings": []}


def test_a_restore_names_an_emergency_that_is_not_recorded(lab, backup):
    (lab.home / "control.db").write_bytes(b"damaged")
    lab.done("emergency disable bad")
    for path in lab.home.glob("control.db*"):
        path.unlink()
    answer = lab(f"store restore {backup} --json")
    assert (answer.status, answer.body["ok"], len(answer.data["findings"])) == (1, True, 1)
    lab.done("status", "store check")


def test_a_restored_home_has_all_flags_plans_alerts_and_leaves(lab, backup, tmp_path):
    other = tmp_path / "other"
    lab.done(f"store restore {backup} --home {other}")
    assert content(other) == content(lab.home)
    assert lab.done(f"flags list --home {other}").out == lab.done("flags list").out
    assert {path.stat().st_mode & 0o077 for path in other.rglob("*")} == {0}


def test_a_restored_home_takes_orders(lab, backup, tmp_path):
    lab.done(f"store restore {backup} --home {tmp_path}/other")
    lab.done(f"flags disable {FLAG} --home {tmp_path}/other", f"store check --home {tmp_path}/other")


def test_a_restore_fills_only_an_empty_home(lab, backup):
    answer = lab(f"store restore {backup} --json")
    assert (answer.status, answer.error["code"]) == (2, "USAGE")
    assert "only an empty home is restored" in answer.error["message"]


def test_a_folder_that_is_no_backup_is_refused(lab, tmp_path):
    answer = lab(f"store restore {tmp_path}/none --home {tmp_path}/other")
    assert (answer.status, (tmp_path / "other").exists()) == (2, False)
    assert "is no backup: it has no readable backup.json" in answer.err


def test_a_backup_that_was_changed_is_refused(lab, backup, tmp_path):
    with (backup / "control.db").open("ab") as file:
        file.write(b"more")
    answer = lab(f"store restore {backup} --home {tmp_path}/other --json")
    assert (answer.status, (tmp_path / "other").exists()) == (6, False)
    assert "is not what the backup's index says" in answer.error["message"]
