"""What is read from the environment of this process."""

import subprocess
import sys
from pathlib import Path

import pytest

from phase4 import config
from phase4.errors import SettingInvalid

HEAVY = ("numpy", "polars", "duckdb", "sqlite3", "tomllib", "dataclasses", "json", "phase4.errors")


@pytest.fixture
def ada(monkeypatch):
    """An environment with a home folder and nothing that is ours."""
    monkeypatch.setenv("HOME", "/home/ada")
    for name in ("XDG_STATE_HOME", "PHASE4_HOME", "PHASE4_ENVIRONMENT", "PHASE4_DEBUG", "DASHBOARD_PORT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_home_is_the_state_folder_where_nothing_else_is_said(ada):
    assert config.home() == Path("/home/ada/.local/state/phase4")


def test_home_lies_in_the_state_folder_that_the_environment_names(ada):
    ada.setenv("XDG_STATE_HOME", "/var/state")
    assert config.home() == Path("/var/state/phase4")


def test_home_is_what_its_variable_says(ada):
    ada.setenv("PHASE4_HOME", "~/p4")
    assert config.home() == Path("/home/ada/p4")


def test_the_command_lines_home_wins_over_the_variable(ada):
    ada.setenv("PHASE4_HOME", "~/p4")
    assert config.home("/srv/p4") == Path("/srv/p4")


def test_an_empty_home_is_not_set(ada):
    ada.setenv("PHASE4_HOME", "")
    assert config.home("") == Path("/home/ada/.local/state/phase4")


def test_home_is_found_while_other_settings_are_wrong(ada):
    ada.setenv("DASHBOARD_PORT", "abc")
    ada.setenv("PHASE4_HOME", "/srv/p4")
    assert config.home() == Path("/srv/p4")


def test_the_home_of_nobody_is_refused(ada):
    with pytest.raises(SettingInvalid, match=r"^PHASE4_HOME: names the home folder of nobody"):
        config.home("~no-such-person")


@pytest.mark.parametrize(
    ("text", "is_verbose"), [("1", True), ("yes", True), ("", False), ("0", False), ("false", False)]
)
def test_tracebacks_are_shown_where_debugging_is_asked_for(ada, text, is_verbose):
    ada.setenv("PHASE4_DEBUG", text)
    assert config.is_verbose() is is_verbose


def test_no_tracebacks_are_shown_where_nothing_is_asked(ada):
    assert config.is_verbose() is False


def test_loading_reads_the_environment_between_what_was_saved_and_what_was_typed(ada):
    ada.setenv("DASHBOARD_PORT", "3005")
    saved = {"DASHBOARD_PORT": "3004", "STALE_FLAG_DAYS": "7"}
    settings = config.load(saved, {"DASHBOARD_PORT": None})
    assert (settings.dashboard_port, settings.stale_flag_days) == (3005, 7)
    assert config.load(saved, {"DASHBOARD_PORT": "3006"}).dashboard_port == 3006


def test_loading_finds_the_same_home(ada):
    ada.setenv("PHASE4_HOME", "~/p4")
    assert config.load({}, {}).phase4_home == config.home()


def loaded_by(code):
    """Return the names of the modules that a fresh interpreter has after this code."""
    probe = f"{code}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_next_to_nothing():
    assert loaded_by("import phase4.config").isdisjoint(HEAVY)


def test_loading_the_settings_loads_the_standard_library_only():
    loaded = loaded_by("import phase4.config; phase4.config.load({'preset': 'testing'}, {'DASHBOARD_PORT': '1'})")
    assert loaded.isdisjoint({"numpy", "polars", "duckdb", "sqlite3", "tomllib", "decimal"})
    outside = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"phase4"}
    assert outside - {name.partition(".")[0] for name in loaded_by("pass")} == set()
