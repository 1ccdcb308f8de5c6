"""Which layer gives a value, and what is said about the rest."""

import re
from pathlib import Path

import pytest

from phase4.config.resolution import resolve
from phase4.config.settings import PRESET, SETTINGS
from phase4.errors import SettingInvalid

HOME = {"HOME": "/home/ada"}


def resolved(environment=None, saved=None, command_line=None):
    return resolve({**HOME, **(environment or {})}, saved or {}, command_line or {})


def refused(**layers):
    with pytest.raises(SettingInvalid) as caught:
        resolved(**layers)
    assert (caught.value.code, caught.value.exit_status) == ("SETTING_INVALID", 2)
    return caught.value.problems


STEPS = [
    ({}, 30_000, "default"),
    ({"environment": {"PHASE4_ENVIRONMENT": "test"}}, 1_000, "profile test"),
    ({"saved": {PRESET: "conservative"}}, 30_000, "preset conservative"),
    ({"saved": {"MONITORING_INTERVAL_MS": "7000"}}, 7_000, "saved by init"),
    ({"environment": {"MONITORING_INTERVAL_MS": "8000"}}, 8_000, "environment variable"),
    ({"command_line": {"MONITORING_INTERVAL_MS": "9000"}}, 9_000, "command line"),
]


@pytest.mark.parametrize("height", range(1, len(STEPS)), ids=[str(step[2]) for step in STEPS[1:]])
def test_each_layer_wins_over_all_below_it(height):
    layers = {"environment": {}, "saved": {}, "command_line": {}}
    for step, _, _ in STEPS[: height + 1]:
        for layer, texts in step.items():
            layers[layer] |= texts
    settings = resolved(**layers)
    _, value, origin = STEPS[height]
    assert (settings.monitoring_interval_ms, str(settings.origin("MONITORING_INTERVAL_MS"))) == (value, origin)


def test_a_value_that_nobody_gave_is_the_default():
    assert str(resolved().origin("DASHBOARD_PORT")) == "default"


def test_the_command_lines_environment_wins_over_the_variable_and_that_over_the_saved_one():
    saved, variable, typed = ({"PHASE4_ENVIRONMENT": name} for name in ("staging", "production", "test"))
    layers = {"saved": saved, "environment": variable, "command_line": typed}
    names = []
    for drop in ("command_line", "environment", "saved", None):
        names.append(resolved(**layers).phase4_environment)
        layers.pop(drop, None)
    assert names == ["test", "production", "staging", "development"]


def test_the_profile_is_the_one_of_the_environment_that_won():
    settings = resolved(saved={"PHASE4_ENVIRONMENT": "test"}, environment={"PHASE4_ENVIRONMENT": "staging"})
    assert settings.rollout_max_percentage == 25.0
    assert str(settings.origin("ROLLOUT_MAX_PERCENTAGE")) == "profile staging"


def test_a_preset_on_the_command_line_replaces_the_saved_one_whole():
    settings = resolved(saved={PRESET: "aggressive"}, command_line={PRESET: "conservative"})
    assert settings.preset == "conservative"
    assert str(settings.origin("EMERGENCY_DISABLE_THRESHOLD")) == "profile development"


def test_without_a_preset_there_is_none():
    assert resolved().preset is None


@pytest.mark.parametrize("layer", ["environment", "saved", "command_line"])
def test_an_empty_value_is_not_set(layer):
    settings = resolved(**{layer: {"DASHBOARD_PORT": "", "PHASE4_ENVIRONMENT": ""}})
    assert (settings.dashboard_port, settings.phase4_environment) == (3001, "development")


def test_an_option_that_was_not_typed_is_not_set():
    assert resolved(command_line={"DASHBOARD_PORT": None, PRESET: None}).dashboard_port == 3001


def test_the_text_false_in_the_environment_switches_off_what_is_on_by_default():
    assert resolved(environment={"MONITORING_ENABLED": "false"}).monitoring_enabled is False


def test_a_number_with_letters_behind_it_is_refused():
    (problem,) = refused(environment={"HOOK_ROLLOUT_PERCENTAGE": "10abc"})
    assert problem == "HOOK_ROLLOUT_PERCENTAGE: is a percentage, 0 to 100, at most 2 decimals: '10abc'"


def test_all_problems_are_named_at_once_with_the_layer_they_are_in():
    problems = refused(
        saved={"DASHBOARD_PORT": "0", PRESET: "agressive"},
        environment={"DASHBOARD_PORT": "abc", "ROLLOUT_ERROR_THRESHOLD": "1%"},
        command_line={"DASHBOARD_PORT": "70000", "DASHBOARD_PROT": "1"},
    )
    assert [re.split(": |, ", line)[0] for line in problems] == [
        "DASHBOARD_PROT",
        "DASHBOARD_PORT",
        "DASHBOARD_PORT",
        "ROLLOUT_ERROR_THRESHOLD",
        "DASHBOARD_PORT",
        "preset",
    ]
    assert "DASHBOARD_PORT, as saved by init: " in problems[1]
    assert problems[3].endswith("1 % is 0.01")
    assert "DASHBOARD_PORT, on the command line: " in problems[4]
    assert problems[5].endswith('did you mean "aggressive"?')


def test_a_wrong_value_is_refused_also_where_a_higher_layer_hides_it():
    assert len(refused(environment={"DASHBOARD_PORT": "abc"}, command_line={"DASHBOARD_PORT": "3002"})) == 1


def test_a_preset_like_no_other_is_told_which_there_are():
    (problem,) = refused(command_line={PRESET: "zzz"})
    assert problem == "preset: is conservative, aggressive, testing: 'zzz'"


def test_an_environment_that_is_none_is_told_the_nearest():
    (problem,) = refused(environment={"PHASE4_ENVIRONMENT": "prod"})
    assert problem.endswith('did you mean "production"?')


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("PHASE4_HOM", "PHASE4_HOME"),
        ("PHASE4_ENV", "PHASE4_ENVIRONMENT"),
        ("PHASE4_DASHBOARD_PORT", "DASHBOARD_PORT"),
        ("PHASE4_ENVIROMENT", "PHASE4_ENVIRONMENT"),
    ],
)
def test_an_unknown_name_of_ours_is_a_warning_with_the_nearest_known_one(name, near):
    (warning,) = resolved(environment={name: "1"}).warnings
    assert warning == f'{name}: unknown setting; did you mean "{near}"? (ignored)'


def test_an_unknown_name_like_no_other_is_told_where_they_all_are():
    (warning,) = resolved(environment={"PHASE4_QQQQQQQQQQQQ": "1"}).warnings
    assert "docs/settings.md" in warning


@pytest.mark.parametrize("name", ["PHASE4_DEBUG", "PHASE4_HOOK_ID", "PHASE4_IDEMPOTENCY_KEY", "PATH", "phase4_home"])
def test_a_name_with_another_reader_is_no_warning(name):
    assert resolved(environment={name: "1"}).warnings == ()


def test_the_value_of_an_unknown_name_is_not_repeated():
    (warning,) = resolved(environment={"PHASE4_TOKEN": "s3cret"}).warnings
    assert "s3cret" not in warning


def test_node_env_is_ignored_with_a_warning():
    settings = resolved(environment={"NODE_ENV": "production"})
    assert settings.phase4_environment == "development"
    assert settings.warnings == ("NODE_ENV: is ignored; PHASE4_ENVIRONMENT names the environment",)


def test_a_saved_name_that_this_version_does_not_know_is_a_warning():
    (warning,) = resolved(saved={"DASHBOARD_PROT": "1"}).warnings
    assert warning.endswith("(saved by init, ignored)")


@pytest.mark.parametrize(
    ("environment", "command_line", "home"),
    [
        ({}, {}, "/home/ada/.local/state/phase4"),
        ({"XDG_STATE_HOME": "/var/state"}, {}, "/var/state/phase4"),
        ({"PHASE4_HOME": "~/p4"}, {}, "/home/ada/p4"),
        ({"PHASE4_HOME": "~"}, {}, "/home/ada"),
        ({"PHASE4_HOME": "/srv/p4"}, {"PHASE4_HOME": "/tmp/p4"}, "/tmp/p4"),
    ],
)
def test_home_comes_from_the_command_line_then_its_variable_then_the_state_folder(environment, command_line, home):
    assert resolved(environment=environment, command_line=command_line).phase4_home == Path(home)


def test_a_home_that_was_saved_inside_itself_is_not_read():
    assert resolved(saved={"PHASE4_HOME": "/elsewhere"}).phase4_home == Path("/home/ada/.local/state/phase4")


def test_a_home_of_nobody_is_refused():
    (problem,) = refused(environment={"PHASE4_HOME": "~no-such-person/p4"})
    assert problem.startswith("PHASE4_HOME: names the home folder of nobody known here")


def nobody(_uid):
    raise KeyError("uid not found")


def test_who_has_no_home_folder_is_asked_for_one(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(SettingInvalid, match=r"PHASE4_HOME: is not set"):
        resolve({}, {}, {})


def test_who_has_no_home_folder_and_says_where_to_write_needs_none(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert resolve({"PHASE4_HOME": "/srv/p4"}, {}, {}).phase4_home == Path("/srv/p4")


def test_a_secret_file_may_lie_in_the_home_folder():
    settings = resolved(environment={"ALERT_WEBHOOK_SECRET_FILE": "~/hook.key"})
    assert settings.alert_webhook_secret_file == Path("/home/ada/hook.key")


def test_every_setting_has_a_value_and_an_origin():
    settings = resolved()
    assert set(settings.values) == set(settings.origins) == set(SETTINGS)


def test_resolving_twice_gives_the_same():
    assert resolved(saved={PRESET: "testing"}) == resolved(saved={PRESET: "testing"})
