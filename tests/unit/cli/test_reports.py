"""`phase4 monitor metrics | report`, called in this process: text, JSON, files and exit statuses."""

import json

import pytest

from phase4.cli.reportwork import _status
from phase4.monitor.criteria import Status
from tests.contract.driving import FLAGS, Lab

FLAG = FLAGS[0]


@pytest.fixture
def lab(home):
    made = Lab(home)
    made.done("init")
    return made


def test_metrics_without_data_are_dashes_and_never_percentages(lab):
    out = lab.done("monitor metrics").out
    assert out.count("errors -") == 2 * len(FLAGS)
    assert "0 %" not in out.replace("10 %", "")


def test_metrics_of_one_flag_are_of_that_one(lab):
    flags = lab.done(f"monitor metrics --flag {FLAG} --json").data["flags"]
    assert [flag["flag_key"] for flag in flags] == [FLAG]
    assert flags[0]["arms"]["treatment"]["error_rate"]["value"] is None


def test_metrics_of_a_flag_that_nobody_has_name_the_nearest(lab):
    answer = lab("monitor metrics --flag truth-based --json")
    assert (answer.status, answer.error["code"]) == (5, "FLAG_NOT_FOUND")


def test_a_fresh_home_reports_five_unknowns_and_the_check_exits_with_3(lab):
    answer = lab("monitor report --check --json")
    assert (answer.status, [each["status"] for each in answer.data["criteria"]]) == (3, [Status.UNKNOWN] * 5)
    assert all(each["why"] for each in answer.data["criteria"])


@pytest.mark.parametrize(("name", "begin"), [("r.json", "{"), ("r.md", "# Deploy"), ("r.html", "<!doctype html>")])
def test_the_name_of_the_file_says_the_format(lab, tmp_path, name, begin):
    lab.done(f"monitor report -o {tmp_path / name}")
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begin)
    assert [path.name for path in tmp_path.glob("*r.*")] == [name]


def test_a_format_may_be_named_whatever_the_file_is_called(lab, tmp_path):
    lab.done(f"monitor report -o {tmp_path / 'report'} --format json")
    assert json.loads((tmp_path / "report").read_text(encoding="utf-8"))["schema"] == "phase4/report/1"


def test_a_file_of_no_known_format_is_refused(lab, tmp_path):
    answer = lab(f"monitor report -o {tmp_path / 'report.pdf'} --json")
    assert (answer.status, answer.error["code"], list(tmp_path.glob("*.pdf"))) == (2, "USAGE", [])


def test_a_file_that_cannot_be_written_leaves_nothing(lab, tmp_path):
    answer = lab(f"monitor report -o {tmp_path / 'none' / 'r.md'} --json")
    assert (answer.status, answer.error["code"]) == (6, "WRITE_FAILED")


@pytest.mark.parametrize("name", ["file/r.md", f"{'r' * 300}.md"])
def test_a_place_that_cannot_be_is_a_file_that_cannot_be_written(lab, tmp_path, name):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    answer = lab(f"monitor report -o {tmp_path / name} --json")
    assert (answer.status, answer.error["code"]) == (6, "WRITE_FAILED")


def test_a_folder_of_that_name_stays_and_no_temporary_file_does(lab, tmp_path):
    (tmp_path / "r.md").mkdir()
    answer = lab(f"monitor report -o {tmp_path / 'r.md'} --json")
    assert (answer.status, answer.error["code"]) == (6, "WRITE_FAILED")
    assert list(tmp_path.glob(".r.md*")) == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["pass"] * 5, 0),
        (["pass", "unknown", "pass", "pass", "pass"], 3),
        (["pass", "unknown", "fail", "pass", "pass"], 1),
        (["fail"] * 5, 1),
    ],
)
def test_the_check_is_1_for_one_that_fails_else_3_for_one_that_is_unknown(words, status):
    assert _status({"criteria": [{"status": word} for word in words]}) == status


def test_without_check_the_criteria_do_not_decide_the_exit(lab):
    assert lab("monitor report --json").status == 0


def test_an_old_report_is_replaced_as_a_whole(lab, tmp_path):
    place = tmp_path / "r.md"
    place.write_text("old", encoding="utf-8")
    lab.done(f"monitor report -o {place}")
    assert place.read_text(encoding="utf-8").startswith("# Deploy")
    assert list(tmp_path.glob(".r.md*")) == []


def test_two_reports_of_one_version_are_equal_but_for_the_time_they_were_made(lab):
    reports = []
    for _ in range(2):
        reports.append(lab.done("monitor report --json").data)
        lab.clock.advance(60_000)
    different = {name for name in reports[0] if reports[0][name] != reports[1][name]}
    assert different <= {"created_ms", "created_iso"}


def test_the_report_has_the_settings_with_their_origin_and_no_secret(lab, tmp_path):
    settings = lab.done("monitor report --json").data["identity"]["settings"]
    assert settings["MONITORING_INTERVAL_MS"]["origin"].startswith(("profile", "default"))
    assert all(set(each) == {"value", "origin"} for each in settings.values())
