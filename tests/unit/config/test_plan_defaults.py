"""What a new plan takes from the settings."""

import pytest

from phase4.config.plan_defaults import PlanDefaults
from phase4.config.resolution import resolve

BASE = {"HOME": "/home/ada", "PHASE4_ENVIRONMENT": "production"}


def defaults(**texts):
    return PlanDefaults.of(resolve({**BASE, **texts}, {}, {}))


def test_production_gives_the_guides_numbers():
    assert defaults() == PlanDefaults(
        auto=False,
        approvals_required=2,
        percentage_max=25.0,
        error_limit=0.01,
        success_limit=0.95,
        emergency_limit=0.02,
        validation_limit=0.05,
        latency_margin=0.05,
    )


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("ROLLOUT_AUTO_PROGRESS", "true", "auto", True),
        ("ROLLOUT_APPROVALS_REQUIRED", "3", "approvals_required", 3),
        ("ROLLOUT_MAX_PERCENTAGE", "50", "percentage_max", 50.0),
        ("ROLLOUT_ERROR_THRESHOLD", "0.015", "error_limit", 0.015),
        ("ROLLOUT_SUCCESS_THRESHOLD", "0.9", "success_limit", 0.9),
        ("EMERGENCY_DISABLE_THRESHOLD", "0.04", "emergency_limit", 0.04),
        ("VALIDATION_FAILURE_THRESHOLD", "0.1", "validation_limit", 0.1),
        ("PERFORMANCE_IMPACT_THRESHOLD", "0.1", "latency_margin", 0.1),
        ("PERFORMANCE_MONITORING", "false", "latency_margin", None),
    ],
)
def test_each_setting_of_plan_creation_changes_its_one_field(name, text, field, value):
    changed = {key: getattr(defaults(**{name: text}), key) for key in PlanDefaults.__slots__}
    expected = {key: getattr(defaults(), key) for key in PlanDefaults.__slots__} | {field: value}
    assert changed == expected
