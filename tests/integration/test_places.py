"""Where results go: to PHASE4_HOME and nowhere else."""

import pytest

from phase4.store import runs
from tests.integration.program import ROOT, SCENARIOS, contents, run, scenarios

COMMANDS = {
    "run": ("run", "small.toml"),
    "sweep": ("sweep", "small.toml", "--replicates", "5", "--workers", "2"),
    "recorded": ("run", "recorded.toml"),
    "validate": ("validate", "recorded.toml"),
    "explain": ("explain", "recorded.toml"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_folder_of_the_scenarios_stays_as_it_was(tmp_path, name):
    folder, home = scenarios(tmp_path), tmp_path / "home"
    before = contents(folder)
    answer = run(home, "simulate", *COMMANDS[name], cwd=folder)
    assert answer.returncode == 0, answer.stderr
    assert contents(folder) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"scenarios", "home"}


def test_the_checkout_stays_as_it_was(tmp_path):
    def names():
        folders = [ROOT, ROOT / "sims", ROOT / "data", SCENARIOS]
        return {folder: sorted(path.name for path in folder.iterdir()) for folder in folders}

    before = names()
    answer = run(
        tmp_path / "home", "simulate", "sweep", "tests/data/scenarios/small.toml", "--replicates", "2", cwd=ROOT
    )
    assert answer.returncode == 0, answer.stderr
    assert names() == before


def test_results_go_to_runs_and_reports_of_the_home(tmp_path):
    home = tmp_path / "home"
    run(home, "simulate", "sweep", SCENARIOS / "small.toml", "--replicates", "2", "--workers", "1")
    (path,) = runs.saved(home / "runs")
    assert sorted(found.relative_to(home).as_posix() for found in home.rglob("*") if found.is_file()) == [
        f"reports/{path.stem}.html",
        f"runs/{path.name}",
    ]


def test_without_a_home_results_go_to_the_state_of_the_user(tmp_path):
    state = tmp_path / "state"
    answer = run(
        tmp_path / "home", "simulate", "run", SCENARIOS / "small.toml", PHASE4_HOME="", XDG_STATE_HOME=str(state)
    )
    assert answer.returncode == 0, answer.stderr
    assert len(runs.saved(state / "phase4" / "runs")) == 1
    assert not (tmp_path / "home").exists()


def test_without_any_setting_results_go_below_the_home_of_the_user(tmp_path):
    answer = run(
        tmp_path / "home",
        "simulate",
        "run",
        SCENARIOS / "small.toml",
        PHASE4_HOME="",
        XDG_STATE_HOME="",
        HOME=str(tmp_path),
    )
    assert answer.returncode == 0, answer.stderr
    assert len(runs.saved(tmp_path / ".local" / "state" / "phase4" / "runs")) == 1


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_gets_only_what_it_can_show(tmp_path, encoding):
    answer = run(
        tmp_path / "home",
        "simulate",
        "sweep",
        SCENARIOS / "small.toml",
        "--replicates",
        "2",
        "--workers",
        "1",
        PYTHONIOENCODING=encoding,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.isascii() == (encoding == "ascii")
