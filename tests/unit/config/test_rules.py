"""Every rule over combinations, violated once."""

import pytest

from phase4.config.resolution import resolve
from phase4.config.rules import check
from phase4.errors import SettingInvalid


def found(environment="development", /, **texts):
    return check(resolve({"HOME": "/home/ada", **texts}, {}, {"PHASE4_ENVIRONMENT": environment}))


def the_error(environment="development", /, **texts):
    (error,) = found(environment, **texts).errors
    return error


def warnings(**texts):
    return found(**({"MAX_CONSENSUS_AGENTS": "4"} | texts)).warnings


@pytest.mark.parametrize(
    "name", ["TRUTH_ROLLOUT_PERCENTAGE", "BYZANTINE_ROLLOUT_PERCENTAGE", "HOOK_ROLLOUT_PERCENTAGE"]
)
def test_a_percentage_above_the_maximum_is_an_error_that_names_both_origins(name):
    error = the_error("staging", **{name: "25.01"})
    assert error == f"{name} 25.01 (environment variable) is above ROLLOUT_MAX_PERCENTAGE 25 (profile staging)"


def test_a_percentage_at_the_maximum_is_none():
    assert found("staging", TRUTH_ROLLOUT_PERCENTAGE="25").errors == ()


@pytest.mark.parametrize("error", ["0.02", "0.03"])
def test_an_error_threshold_that_is_not_below_the_emergency_is_an_error(error):
    assert "must be below EMERGENCY_DISABLE_THRESHOLD 0.02" in the_error("production", ROLLOUT_ERROR_THRESHOLD=error)


def test_an_error_threshold_just_below_the_emergency_is_none():
    assert found("production", ROLLOUT_ERROR_THRESHOLD="0.0199").errors == ()


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_a_success_threshold_of_one_half_is_an_error(environment):
    assert "must be above 0.5" in the_error(environment, ROLLOUT_SUCCESS_THRESHOLD="0.5")


def test_a_success_threshold_above_one_half_is_none():
    assert found(ROLLOUT_SUCCESS_THRESHOLD="0.51").errors == ()


def test_in_test_a_success_threshold_of_one_half_is_allowed_and_one_below_is_not():
    assert found("test", ROLLOUT_SUCCESS_THRESHOLD="0.5").errors == ()
    assert "must be at least 0.5" in the_error("test", ROLLOUT_SUCCESS_THRESHOLD="0.49")


def test_an_interval_below_5_s_is_an_error_in_production_only():
    assert "must be at least 5000" in the_error("production", MONITORING_INTERVAL_MS="4999")
    assert found("production", MONITORING_INTERVAL_MS="5000").errors == ()
    assert found("staging", MONITORING_INTERVAL_MS="500").errors == ()


@pytest.mark.parametrize(("name", "text"), [("MAX_CONSENSUS_AGENTS", "11"), ("CONSENSUS_THRESHOLD", "0.91")])
def test_too_many_validators_and_too_high_a_threshold_lie_outside_their_range(name, text):
    with pytest.raises(SettingInvalid, match=f"^{name}: "):
        found(**{name: text})


def test_a_first_wait_above_the_longest_is_an_error():
    assert the_error(HOOK_BACKOFF_BASE_MS="30001").startswith("HOOK_BACKOFF_BASE_MS 30001 (environment variable)")
    assert found(HOOK_BACKOFF_BASE_MS="30000").errors == ()


def test_an_attempt_longer_than_the_whole_call_is_an_error():
    assert "is above HOOK_DEADLINE_MS 120000" in the_error(HOOK_TIMEOUT_MS="120001")
    assert found(HOOK_TIMEOUT_MS="120000").errors == ()


@pytest.mark.parametrize("name", ["VALIDATION_SIGNATURE_REQUIRED", "CONSENSUS_CRYPTO_ENABLED", "AUDIT_LOGGING_ENABLED"])
def test_what_makes_evidence_trustworthy_cannot_be_off_in_production(name):
    assert (
        the_error("production", **{name: "false"}) == f"{name} false (environment variable) must be true in production"
    )
    assert found("staging", **{name: "false"}).errors == ()


def test_production_asks_for_two_approvals():
    assert "must be at least 2" in the_error("production", ROLLOUT_APPROVALS_REQUIRED="1")
    assert found("staging", ROLLOUT_APPROVALS_REQUIRED="1").errors == ()


def test_production_signs_its_notices():
    url = {"ALERT_WEBHOOK_URL": "https://example.org/hook"}
    assert "ALERT_WEBHOOK_SECRET_FILE" in the_error("production", **url)
    assert found("staging", **url).errors == ()
    assert found("production", **url, ALERT_WEBHOOK_SECRET_FILE="/run/hook.key").errors == ()


def test_all_errors_are_named_at_once():
    errors = found("production", AUDIT_LOGGING_ENABLED="no", ROLLOUT_APPROVALS_REQUIRED="1", HOOK_TIMEOUT_MS="999999")
    assert len(errors.errors) == 3


@pytest.mark.parametrize(("n", "useful"), [(5, "4 or 7"), (6, "4 or 7"), (8, "7 or 10"), (9, "7 or 10")])
def test_a_number_of_validators_that_buys_nothing_is_a_warning(n, useful):
    (warning,) = warnings(MAX_CONSENSUS_AGENTS=str(n))
    assert warning.endswith(f"; {useful} are the useful sizes")


def test_five_validators_tolerate_no_more_dead_nodes_than_four():
    assert "tolerates no more dead nodes than 4" in warnings(MAX_CONSENSUS_AGENTS="5")[0]


@pytest.mark.parametrize("n", [4, 7, 10])
def test_a_useful_number_of_validators_is_none(n):
    assert warnings(MAX_CONSENSUS_AGENTS=str(n)) == ()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_four_validators_are_a_warning(n):
    (warning,) = warnings(MAX_CONSENSUS_AGENTS=str(n))
    assert "tolerates no faulty validator" in warning


def test_a_threshold_that_a_tolerated_fault_would_stop_is_a_warning():
    (warning,) = warnings(CONSENSUS_THRESHOLD="0.76")
    assert "asks for 4 of 4 validators; with 1 faulty ones only 3 answer" in warning


@pytest.mark.parametrize(("n", "threshold"), [(4, "0.75"), (10, "0.7"), (7, "0.6")])
def test_a_threshold_that_the_honest_can_meet_is_none(n, threshold):
    assert warnings(MAX_CONSENSUS_AGENTS=str(n), CONSENSUS_THRESHOLD=threshold) == ()


def test_automatic_progress_in_production_is_a_warning():
    on = {"ROLLOUT_AUTO_PROGRESS": "true", "MAX_CONSENSUS_AGENTS": "4"}
    (warning,) = found("production", **on).warnings
    assert warning.startswith("ROLLOUT_AUTO_PROGRESS true (environment variable) in production")
    assert found("staging", **on).warnings == ()


def test_what_was_ignored_is_among_the_warnings():
    assert [line.split(":")[0] for line in warnings(NODE_ENV="production", PHASE4_HOM="/tmp")] == [
        "PHASE4_HOM",
        "NODE_ENV",
    ]


def test_a_warning_is_no_error():
    assert found(NODE_ENV="production").errors == ()
