"""The table of settings."""

import dataclasses
import re

import pytest

from phase4.config.parsing import parse, show
from phase4.config.profiles import PRESETS, PROFILES
from phase4.config.resolution import resolve
from phase4.config.setting import Setting
from phase4.config.settings import ENVIRONMENTS, PENDING_READERS, SETTINGS, Settings
from phase4.errors import SettingInvalid

HOME = {"HOME": "/home/ada"}
PARTS = {"hooks", "consensus", "validation", "dashboard"}
READ_NOW = {
    *("MONITORING_INTERVAL_MS", "MONITORING_COVERAGE_TARGET", "MEMORY_THRESHOLD_MB", "CPU_THRESHOLD_PERCENT"),
    *("RESPONSE_TIME_THRESHOLD_MS", "RETENTION_RAW_DAYS", "RETENTION_R10_DAYS", "RETENTION_H1_DAYS"),
    *("ALERT_WEBHOOK_URL", "ALERT_WEBHOOK_SECRET_FILE"),
    "PHASE4_HOME",
    "PHASE4_ENVIRONMENT",
    "TRUTH_VALIDATION_ENABLED",
    "BYZANTINE_CONSENSUS_ENABLED",
    "HOOK_INTERCEPTION_ENABLED",
    "TRUTH_ROLLOUT_PERCENTAGE",
    "BYZANTINE_ROLLOUT_PERCENTAGE",
    "HOOK_ROLLOUT_PERCENTAGE",
    "MONITORING_ENABLED",
    *("PERFORMANCE_MONITORING", "PERFORMANCE_IMPACT_THRESHOLD"),
    "ROLLOUT_AUTO_PROGRESS",
    "ROLLOUT_ERROR_THRESHOLD",
    "ROLLOUT_SUCCESS_THRESHOLD",
    "EMERGENCY_DISABLE_THRESHOLD",
    "VALIDATION_FAILURE_THRESHOLD",
    "ROLLOUT_MAX_PERCENTAGE",
    "ROLLOUT_APPROVALS_REQUIRED",
    "AUDIT_LOGGING_ENABLED",
    "STALE_FLAG_DAYS",
}


def test_every_setting_is_an_attribute_named_like_its_variable():
    rows = {name: row for name, row in vars(Settings).items() if isinstance(row, Setting)}
    assert {name.upper() for name in rows} == set(SETTINGS)
    assert all(row.name == name.upper() for name, row in rows.items())


def test_the_attribute_the_name_and_the_mapping_give_the_same_value():
    settings = resolve(HOME, {}, {})
    assert all(getattr(settings, name.lower()) == settings.value(name) == settings.values[name] for name in SETTINGS)


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row.default is not None])
def test_a_default_lies_in_its_range_and_can_be_written(name):
    assert parse(SETTINGS[name], show(SETTINGS[name].default)) == SETTINGS[name].default


@pytest.mark.parametrize("title", [*PROFILES, *PRESETS])
def test_a_profile_or_preset_names_settings_with_values_in_their_range(title):
    given = {**PROFILES, **PRESETS}[title]
    parsed = {name: parse(SETTINGS[name], show(value)) for name, value in given.items()}
    assert parsed == given
    assert [type(value) for value in parsed.values()] == [type(value) for value in given.values()]


def test_every_environment_has_a_profile_and_every_profile_an_environment():
    assert set(PROFILES) == set(ENVIRONMENTS)


@pytest.mark.parametrize("name", ["ROLLOUT_MAX_PERCENTAGE", "ROLLOUT_APPROVALS_REQUIRED"])
def test_a_setting_without_a_default_is_in_every_profile(name):
    assert SETTINGS[name].default is None
    assert all(name in profile for profile in PROFILES.values())


def test_the_settings_that_are_read_now_and_those_that_wait_are_all_there_are():
    assert READ_NOW | set(PENDING_READERS) == set(SETTINGS)
    assert READ_NOW.isdisjoint(PENDING_READERS)


def test_a_setting_that_waits_names_the_part_it_waits_for():
    assert set(PENDING_READERS.values()) == PARTS


@pytest.mark.parametrize("ask", ["value", "origin"])
def test_a_name_that_is_none_is_refused_with_the_nearest_one(ask):
    with pytest.raises(SettingInvalid, match=re.escape('did you mean "DASHBOARD_PORT"?')):
        getattr(resolve(HOME, {}, {}), ask)("DASHBORD_PORT")


def test_settings_cannot_be_changed():
    settings = resolve(HOME, {}, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.preset = "testing"
    with pytest.raises(TypeError):
        settings.values["DASHBOARD_PORT"] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        SETTINGS["DASHBOARD_PORT"].default = 1
