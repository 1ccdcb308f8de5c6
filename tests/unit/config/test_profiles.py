"""Profiles and presets, value by value, as an operator gets them."""

import pytest

from phase4.config.profiles import PRESETS, PROFILES
from phase4.config.resolution import resolve
from phase4.config.rules import check
from phase4.config.settings import PRESET, SETTINGS

HOME = {"HOME": "/home/ada"}
COLUMNS = (
    "ROLLOUT_ERROR_THRESHOLD",
    "ROLLOUT_SUCCESS_THRESHOLD",
    "EMERGENCY_DISABLE_THRESHOLD",
    "MONITORING_INTERVAL_MS",
    "ROLLOUT_AUTO_PROGRESS",
    "ROLLOUT_MAX_PERCENTAGE",
    "ROLLOUT_APPROVALS_REQUIRED",
)
PROFILE_VALUES = {
    "development": (0.05, 0.8, 0.10, 10_000, True, 100.0, 1),
    "staging": (0.02, 0.9, 0.05, 15_000, True, 25.0, 1),
    "production": (0.01, 0.95, 0.02, 30_000, False, 25.0, 2),
    "test": (0.1, 0.5, 0.20, 1_000, True, 100.0, 1),
}
PRESET_COLUMNS = (
    "ROLLOUT_ERROR_THRESHOLD",
    "EMERGENCY_DISABLE_THRESHOLD",
    "ROLLOUT_AUTO_PROGRESS",
    "MONITORING_INTERVAL_MS",
)
IN_DEVELOPMENT = {
    "conservative": (0.005, 0.10, False, 30_000),
    "aggressive": (0.02, 0.04, True, 30_000),
    "testing": (0.05, 0.10, True, 1_000),
}
FLAGS = {"conservative": (False, 5.0), "aggressive": (False, 25.0), "testing": (True, 100.0)}
DEFAULTS = {
    "TRUTH_VALIDATION_ENABLED": False,
    "BYZANTINE_CONSENSUS_ENABLED": False,
    "HOOK_INTERCEPTION_ENABLED": False,
    "TRUTH_ROLLOUT_PERCENTAGE": 10.0,
    "BYZANTINE_ROLLOUT_PERCENTAGE": 10.0,
    "HOOK_ROLLOUT_PERCENTAGE": 10.0,
    "AUTO_RELAUNCH_ENABLED": True,
    "MAX_RELAUNCH_ATTEMPTS": 3,
    "HOOK_TIMEOUT_MS": 30_000,
    "HOOK_DEADLINE_MS": 120_000,
    "HOOK_BACKOFF_BASE_MS": 1_000,
    "HOOK_BACKOFF_CAP_MS": 30_000,
    "HOOK_OUTPUT_LIMIT_BYTES": 1_048_576,
    "HOOK_MODE": "enforce",
    "PHASE4_USER": None,
    "MAX_CONSENSUS_AGENTS": 5,
    "CONSENSUS_THRESHOLD": 0.6,
    "CONSENSUS_CRYPTO_ENABLED": True,
    "TRUTH_VALIDATION_THRESHOLD": 0.7,
    "VALIDATION_SIGNATURE_REQUIRED": True,
    "MONITORING_ENABLED": True,
    "MONITORING_COVERAGE_TARGET": 0.99,
    "MEMORY_THRESHOLD_MB": 512,
    "CPU_THRESHOLD_PERCENT": 80.0,
    "RESPONSE_TIME_THRESHOLD_MS": 1_000,
    "DASHBOARD_PORT": 3001,
    "ALERT_WEBHOOK_URL": None,
    "ALERT_WEBHOOK_SECRET_FILE": None,
    "VALIDATION_FAILURE_THRESHOLD": 0.05,
    "PERFORMANCE_MONITORING": True,
    "PERFORMANCE_IMPACT_THRESHOLD": 0.05,
    "AUDIT_LOGGING_ENABLED": True,
    "RETENTION_RAW_DAYS": 30,
    "RETENTION_R10_DAYS": 90,
    "RETENTION_H1_DAYS": 730,
    "STALE_FLAG_DAYS": 30,
}


def chosen(environment, preset=None):
    return resolve(HOME, {}, {"PHASE4_ENVIRONMENT": environment, PRESET: preset})


def values(settings, names):
    return tuple(settings.value(name) for name in names)


@pytest.mark.parametrize("environment", PROFILES)
def test_an_environment_has_the_values_of_its_profile(environment):
    assert values(chosen(environment), COLUMNS) == PROFILE_VALUES[environment]


@pytest.mark.parametrize("environment", PROFILES)
def test_what_no_profile_says_has_its_default_in_every_environment(environment):
    assert {name: chosen(environment).value(name) for name in DEFAULTS} == DEFAULTS


def test_no_setting_is_left_out_of_these_tables():
    assert {*DEFAULTS, *COLUMNS, "PHASE4_HOME", "PHASE4_ENVIRONMENT"} == set(SETTINGS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_its_values_and_leaves_the_others_to_the_profile(preset):
    assert values(chosen("development", preset), PRESET_COLUMNS) == IN_DEVELOPMENT[preset]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_starts_all_three_flags_alike(preset):
    settings = chosen("development", preset)
    switches = {
        settings.value(f"{n}_ENABLED") for n in ("TRUTH_VALIDATION", "BYZANTINE_CONSENSUS", "HOOK_INTERCEPTION")
    }
    shares = {settings.value(f"{name}_ROLLOUT_PERCENTAGE") for name in ("TRUTH", "BYZANTINE", "HOOK")}
    assert (switches, shares) == ({FLAGS[preset][0]}, {FLAGS[preset][1]})


def test_a_preset_touches_nothing_that_the_tables_do_not_name():
    flags = {name for name in SETTINGS if name.endswith(("_ROLLOUT_PERCENTAGE", "_ENABLED"))}
    assert all(set(given) <= flags | set(PRESET_COLUMNS) for given in PRESETS.values())


@pytest.mark.parametrize("environment", PROFILES)
@pytest.mark.parametrize("preset", [None, "conservative", "aggressive"])
def test_every_profile_is_valid_by_itself_and_under_every_preset_for_users(environment, preset):
    assert check(chosen(environment, preset)).errors == ()


@pytest.mark.parametrize(("environment", "is_valid"), [("development", True), ("test", True), ("staging", False)])
def test_the_testing_preset_works_only_where_all_users_may_be_exposed(environment, is_valid):
    assert (check(chosen(environment, "testing")).errors == ()) is is_valid


def test_the_testing_preset_is_refused_in_production_for_its_percentages_and_its_interval():
    errors = check(chosen("production", "testing")).errors
    assert [line.split()[0] for line in errors] == [
        "TRUTH_ROLLOUT_PERCENTAGE",
        "BYZANTINE_ROLLOUT_PERCENTAGE",
        "HOOK_ROLLOUT_PERCENTAGE",
        "MONITORING_INTERVAL_MS",
    ]


def test_the_aggressive_preset_in_production_warns_of_automatic_progress():
    assert any(
        line.startswith("ROLLOUT_AUTO_PROGRESS true") for line in check(chosen("production", "aggressive")).warnings
    )
