"""`phase4 simulate run | sweep | validate | explain`, called in this process."""

import json
import shutil
import sys
from dataclasses import fields

import pytest

from phase4.cli.main import main
from phase4.rollout.events import from_json
from phase4.rollout.state import replay
from phase4.sim.outcome import Figure, OperatingCharacteristics, Outcome
from phase4.sim.scenario import load
from phase4.store import runs
from tests.unit.sim.documents import SCENARIOS

SMALL, RECORDED = SCENARIOS / "small.toml", SCENARIOS / "recorded.toml"
SWEEP = ("sweep", SMALL, "--replicates", "2", "--workers", "1")


class Answer:
    """What one command line printed and returned."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def body(self):
        return json.loads(self.out)

    @property
    def data(self):
        return self.body["data"]


@pytest.fixture
def phase4(home, capsys, monkeypatch):
    """Call `phase4 simulate ...` with a home of its own."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        status = main(["simulate", *map(str, words)])
        printed = capsys.readouterr()
        return Answer(status, printed.out, printed.err)

    return call


def copied(folder, **replacements):
    """Return a copy of the small scenario with some of its text replaced."""
    for path in SCENARIOS.iterdir():
        shutil.copy(path, folder)
    text = SMALL.read_text()
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "small.toml").write_text(text)
    return folder / "small.toml"


def unexpected(folder):
    """Return the scenario with expectations that do not hold."""
    return copied(folder, **{'"COMPLETED"': '"ROLLED_BACK"', '"caught"\nat_least = 0.5': '"held"\nat_least = 0.9'})


# --------------------------------------------------------------------------------------------------------------- run


def test_a_run_tells_its_steps_and_its_end(phase4):
    answer = phase4("run", SMALL)
    assert answer.status == 0
    assert answer.err == ""
    for word in ("small", "healthy", "honest", "5 %", "50 %", "COMPLETED"):
        assert word in answer.out


def test_a_run_tells_when_the_defect_began_and_how_long_it_took(phase4):
    answer = phase4("run", SMALL, "--world", "broken")
    assert "ROLLED BACK" in answer.out
    assert "10 min" in answer.out


def test_a_run_is_saved_under_its_id(phase4, home):
    data = phase4("run", SMALL, "--json").data
    (path,) = runs.saved(home / "runs")
    assert data["file"] == str(path)
    assert path.stem == data["outcome"]["run_id"]
    assert runs.read(path).info["kind"] == "run"


def test_a_run_names_the_file_and_the_command_that_repeats_it(phase4, home):
    answer = phase4("run", SMALL, "--world", "broken", "--policy", "raw", "--replicate", "3", "--seed", "11")
    (path,) = runs.saved(home / "runs")
    assert str(path) in answer.out
    assert f'simulate run {SMALL} --world "broken" --policy "raw" --seed 11 --replicate 3' in answer.out


def test_a_run_as_json_is_one_object_of_known_keys(phase4):
    answer = phase4("run", SMALL, "--json")
    assert (answer.status, answer.err) == (0, "")
    assert set(answer.body) == {"schema", "command", "ok", "data", "warnings"}
    assert (answer.body["schema"], answer.body["command"], answer.body["ok"]) == ("phase4/cli/1", "simulate run", True)
    assert set(answer.data) == {
        "scenario", "scenario_hash", "seed", "outcome", "journal", "refused", "file", "versions", "unmet",
    }  # fmt: skip
    assert set(answer.data["outcome"]) == {field.name for field in fields(Outcome)}


def test_the_journal_of_a_run_leads_to_its_phase(phase4):
    data = phase4("run", SMALL, "--world", "broken", "--json").data
    journal = [{key: value for key, value in event.items() if not key.endswith("_iso")} for event in data["journal"]]
    assert replay(map(from_json, journal)).phase == data["outcome"]["phase"] == "ROLLED_BACK"


def test_what_never_happened_is_null_in_json(phase4):
    outcome = phase4("run", SMALL, "--world", "broken", "--json").data["outcome"]
    assert (outcome["full_ms"], outcome["users_exposed"]) == (None, None)


def test_a_run_without_names_is_the_first_policy_in_the_first_world(phase4):
    outcome = phase4("run", SMALL, "--json").data["outcome"]
    assert (outcome["world"], outcome["policy"], outcome["replicate"]) == ("healthy", "honest", 0)


def test_the_seed_of_the_command_line_wins(phase4):
    seeds = [phase4("run", SMALL, "--json", *more).data["seed"] for more in ((), ("--seed", "11"))]
    assert seeds == [7, 11]


def test_the_same_run_twice_has_the_same_outcome(phase4):
    assert phase4("run", SMALL, "--json").data["outcome"] == phase4("run", SMALL, "--json").data["outcome"]


def test_a_run_that_ends_otherwise_than_expected_is_status_1_and_says_how_to_see_it_again(phase4, tmp_path):
    answer = phase4("run", unexpected(tmp_path))
    assert answer.status == 1
    assert "phase ROLLED_BACK expected, COMPLETED seen" in answer.err
    assert "simulate run" in answer.err


def test_another_world_than_the_first_is_not_held_against_what_is_expected(phase4):
    assert phase4("run", SMALL, "--world", "broken").status == 0


def test_a_recorded_run_counts_users(phase4):
    outcome = phase4("run", RECORDED, "--world", "broken", "--json").data["outcome"]
    assert outcome["users_exposed"] > outcome["users_harmed"] > 0


# ------------------------------------------------------------------------------------------------------------- sweep


def test_a_sweep_prints_every_world_and_policy_with_its_figures(phase4):
    answer = phase4(*SWEEP)
    assert answer.status == 0
    for word in ("healthy", "broken", "honest", "raw", "100 %", "0 %"):
        assert word in answer.out


def test_a_sweep_is_saved_with_a_report_beside_it(phase4, home):
    data = phase4(*SWEEP, "--json").data
    (path,) = runs.saved(home / "runs")
    file = runs.read(path)
    assert data["file"] == str(path)
    assert (file.info["kind"], file.info["done"], file.info["complete"]) == ("sweep", 8, True)
    assert file.info["digest"] == data["digest"]
    assert [page.name for page in (home / "reports").iterdir()] == [f"{path.stem}.html"]


def test_a_sweep_names_its_files_and_its_digest(phase4, home):
    answer = phase4(*SWEEP)
    (path,) = runs.saved(home / "runs")
    assert str(path) in answer.out
    assert str(home / "reports" / f"{path.stem}.html") in answer.out
    assert runs.read(path).info["digest"][:16] in answer.out


def test_without_the_parts_that_draw_a_sweep_is_saved_and_says_what_is_missing(phase4, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    answer = phase4(*SWEEP)
    assert answer.status == 0
    assert "plotly" in answer.err
    assert len(runs.saved(home / "runs")) == 1
    assert not (home / "reports").exists()


def test_a_sweep_as_json_is_one_object_of_known_keys(phase4):
    answer = phase4(*SWEEP, "--json")
    assert set(answer.body) == {"schema", "command", "ok", "data", "warnings"}
    assert set(answer.data) == {
        "scenario", "scenario_hash", "seed", "replicates", "planned", "done", "complete", "digest", "cells", "meaning",
        "file", "versions", "unmet",
    }  # fmt: skip
    names = {field.name for field in fields(OperatingCharacteristics)}
    assert [set(cell) for cell in answer.data["cells"]] == [names] * 4
    assert set(answer.data["cells"][0]["caught"]) == {field.name for field in fields(Figure)} | {"never"}


def test_a_sweep_as_json_tells_its_progress_as_json_on_stderr(phase4):
    lines = [json.loads(line) for line in phase4(*SWEEP, "--json").err.splitlines()]
    assert lines[-1]["progress"]["done"] == lines[-1]["progress"]["planned"] == 8
    assert set(lines[-1]["progress"]) == {"done", "planned", "simulated_days_per_second", "eta_s"}


def test_a_sweep_without_a_number_of_runs_takes_the_scenario_s(phase4):
    data = phase4("sweep", RECORDED, "--workers", "1", "--json").data
    assert (data["replicates"], data["done"]) == (5, 10)


def test_a_sweep_that_contradicts_what_is_expected_is_status_1_and_says_how_to_see_it_again(phase4, tmp_path):
    answer = phase4("sweep", unexpected(tmp_path), "--replicates", "8", "--workers", "1")
    assert answer.status == 1
    assert 'held of "honest" in "broken" at least 0.9 expected' in answer.err
    assert "simulate sweep" in answer.err


def test_the_figures_of_a_sweep_are_those_of_its_file(phase4):
    data = phase4(*SWEEP, "--json").data
    table = runs.find(runs.Path(data["file"]).parent).table("figure")
    stored = {(r["world"], r["policy"], r["figure"]): r["estimate"] for r in table.iter_rows(named=True)}
    for cell in data["cells"]:
        for name, figure in cell.items():
            if isinstance(figure, dict) and not figure["never"]:
                assert stored[cell["world"], cell["policy"], name] == figure["estimate"]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_is_never_wider_than_the_terminal(phase4, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = phase4(*SWEEP).out.splitlines()
    table = lines[: next(place for place, line in enumerate(lines) if line.startswith("Results:"))]
    assert [line for line in table if len(line) > width] == []
    for word in ("healthy", "broken", "honest", "raw"):
        assert any(word in line for line in table)


# -------------------------------------------------------------------------------------------------- validate, explain


def test_a_valid_scenario_is_told_so_with_what_it_holds(phase4):
    answer = phase4("validate", SMALL)
    assert (answer.status, answer.err) == (0, "")
    for word in ("valid", "healthy", "broken", "honest", "raw", load(SMALL).hash[:12]):
        assert word in answer.out


def test_a_valid_scenario_as_json(phase4):
    assert phase4("validate", SMALL, "--json").data == {
        "name": "small",
        "hash": load(SMALL).hash,
        "mode": "counts",
        "ticks": 144,
        "worlds": ["healthy", "broken"],
        "policies": ["honest", "raw"],
    }


def test_an_explanation_names_worlds_policies_faults_limits_and_costs(phase4):
    answer = phase4("explain", SMALL)
    assert (answer.status, answer.err) == (0, "")
    for word in ("healthy", "broken", "defect", "honest", "raw", "error_ratio", "E needed", "32 runs"):
        assert word in answer.out


def test_an_explanation_as_json_has_the_terms_of_every_guardrail(phase4):
    data = phase4("explain", SMALL, "--json").data
    assert set(data) == {"name", "hash", "runs", "expected_seconds", "alpha"}
    assert [len(rows) for rows in data["alpha"].values()] == [4, 2]
    assert set(data["alpha"]["honest"][0]) == {
        "stage", "guardrail", "kind", "role", "unit", "limit", "alpha", "weight", "e_needed", "min_units",
    }  # fmt: skip
    assert {row["alpha"] for row in data["alpha"]["raw"]} == {None}


def test_an_explanation_of_a_recording_counts_its_users(phase4):
    assert "20 users, in 50 copies" in phase4("explain", RECORDED).out


@pytest.mark.parametrize("command", ["validate", "explain"])
def test_a_command_that_only_looks_writes_nothing(phase4, home, command):
    phase4(command, SMALL)
    assert not home.exists()


# ------------------------------------------------------------------------------------------------------------- output


@pytest.mark.parametrize("command", [("run", SMALL), SWEEP], ids=["run", "sweep"])
def test_out_json_writes_what_json_prints(phase4, tmp_path, command):
    answer = phase4(*command, "--out", tmp_path / "out.json", "--json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written == {"schema": "phase4/simulate/1", **answer.data}


@pytest.mark.parametrize("command", [("run", SMALL), SWEEP], ids=["run", "sweep"])
def test_out_html_writes_one_page(phase4, tmp_path, command):
    answer = phase4(*command, "--out", tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text()
    assert answer.status == 0
    assert page.lower().startswith("<!doctype html>")
    assert "small" in page
    assert str(tmp_path / "out.html") in answer.out


@pytest.mark.parametrize("name", ["out.csv", "out", "out.JSON"])
def test_another_kind_of_output_is_refused_before_anything_runs(phase4, tmp_path, home, name):
    answer = phase4("run", SMALL, "--out", tmp_path / name)
    assert answer.status == 2
    assert ".json or .html" in answer.err
    assert not home.exists()


def test_an_output_in_a_folder_that_is_not_there_is_refused_before_anything_runs(phase4, tmp_path, home):
    answer = phase4(*SWEEP, "--out", tmp_path / "absent" / "out.json")
    assert answer.status == 2
    assert "no such folder" in answer.err
    assert not home.exists()


def test_an_output_that_cannot_be_written_is_told_and_leaves_nothing_half_done(phase4, tmp_path):
    (tmp_path / "out.json").mkdir()
    answer = phase4("run", SMALL, "--out", tmp_path / "out.json")
    assert answer.status == 6
    assert "cannot write" in answer.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_home_that_is_a_file_is_told(phase4, tmp_path):
    (tmp_path / "file").touch()
    answer = phase4("run", SMALL, "--home", tmp_path / "file")
    assert answer.status == 6
    assert "cannot write" in answer.err


def test_a_report_that_cannot_be_written_is_told(phase4, home):
    home.mkdir()
    (home / "reports").touch()
    answer = phase4(*SWEEP)
    assert answer.status == 6
    assert "cannot write" in answer.err


def test_open_shows_the_page_that_was_written(phase4, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    phase4("run", SMALL, "--out", tmp_path / "out.html", "--open")
    assert shown == [(tmp_path / "out.html").as_uri()]


def test_open_shows_the_report_of_a_sweep(phase4, home, monkeypatch):
    shown = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    phase4(*SWEEP, "--open")
    (page,) = (home / "reports").iterdir()
    assert shown == [page.as_uri()]


def test_open_without_a_page_is_refused(phase4, home):
    answer = phase4("run", SMALL, "--open")
    assert answer.status == 2
    assert "--out" in answer.err
    assert not home.exists()


def test_a_home_on_the_command_line_wins_over_the_environment(phase4, home, tmp_path):
    phase4("run", SMALL, "--home", tmp_path / "other")
    assert len(runs.saved(tmp_path / "other" / "runs")) == 1
    assert not home.exists()


@pytest.mark.parametrize(
    "command",
    [("run", SMALL), SWEEP, ("validate", SMALL), ("explain", SMALL), ("run", SMALL, "--world", "zzz")],
    ids=str,
)
def test_with_ascii_every_character_is_plain(phase4, command):
    answer = phase4(*command, "--ascii")
    assert (answer.out + answer.err).isascii()


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_with_ascii_a_name_with_an_accent_is_plain_too(phase4, tmp_path, more):
    answer = phase4("run", copied(tmp_path, **{'name = "healthy"': 'name = "café"'}), "--ascii", *more)
    assert answer.status == 0
    assert (answer.out + answer.err).isascii()


# -------------------------------------------------------------------------------------------------------- bad scenarios


def test_every_problem_of_a_scenario_is_a_line_on_stderr_with_its_file(phase4, tmp_path, home):
    path = copied(tmp_path, **{"seed = 7": "sed = 7", "error_rate = 0.003": "error_rate = 3"})
    answer = phase4("run", path)
    assert (answer.status, answer.out) == (2, "")
    lines = answer.err.splitlines()
    assert 'phase4: small.toml: run.sed: unknown key; did you mean "seed"?' in lines
    assert "phase4: small.toml: baseline.error_rate: is a rate, 0 to 1: 3" in lines
    assert all(line.startswith("phase4: small.toml: ") for line in lines)
    assert not home.exists()


def test_a_bad_scenario_as_json_is_one_object_with_its_code(phase4, tmp_path):
    answer = phase4("validate", copied(tmp_path, **{"seed = 7": "sed = 7"}), "--json")
    assert (answer.status, answer.err) == (2, "")
    assert set(answer.body) == {"schema", "command", "ok", "error"}
    assert (answer.body["command"], answer.body["ok"]) == ("simulate validate", False)
    assert set(answer.body["error"]) == {"code", "message", "hint"}
    assert answer.body["error"]["code"] == "SCENARIO_INVALID"


@pytest.mark.parametrize("command", ["run", "sweep", "validate", "explain"])
def test_a_scenario_that_is_not_there_is_named(phase4, home, command):
    answer = phase4(command, "absent.toml")
    assert (answer.status, answer.out) == (2, "")
    assert "absent.toml: no such file" in answer.err
    assert not home.exists()


@pytest.mark.parametrize(("option", "near"), [("--world", "broken"), ("--policy", "honest")])
def test_a_world_or_policy_that_is_not_there_is_told_the_nearest(phase4, home, option, near):
    answer = phase4("run", SMALL, option, f"{near}x")
    assert answer.status == 2
    assert f'did you mean "{near}"?' in answer.err
    assert not home.exists()
