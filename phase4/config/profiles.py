"""Profiles and presets: named sets of values, above the defaults and below what an operator says.

A profile belongs to an environment, a preset to an intention. What one of them does not name keeps its lower value.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from phase4.config.setting import Value

PROFILES: Mapping[str, Mapping[str, Value]] = MappingProxyType(
    {
        "development": {
            "ROLLOUT_ERROR_THRESHOLD": 0.05,
            "ROLLOUT_SUCCESS_THRESHOLD": 0.8,
            "EMERGENCY_DISABLE_THRESHOLD": 0.10,
            "MONITORING_INTERVAL_MS": 10_000,
            "ROLLOUT_MAX_PERCENTAGE": 100.0,
            "ROLLOUT_APPROVALS_REQUIRED": 1,
        },
        "staging": {
            "ROLLOUT_ERROR_THRESHOLD": 0.02,
            "ROLLOUT_SUCCESS_THRESHOLD": 0.9,
            "MONITORING_INTERVAL_MS": 15_000,
            "ROLLOUT_MAX_PERCENTAGE": 25.0,
            "ROLLOUT_APPROVALS_REQUIRED": 1,
        },
        "production": {
            "EMERGENCY_DISABLE_THRESHOLD": 0.02,
            "ROLLOUT_AUTO_PROGRESS": False,
            "ROLLOUT_MAX_PERCENTAGE": 25.0,
            "ROLLOUT_APPROVALS_REQUIRED": 2,
        },
        "test": {
            "ROLLOUT_ERROR_THRESHOLD": 0.1,
            "ROLLOUT_SUCCESS_THRESHOLD": 0.5,
            "EMERGENCY_DISABLE_THRESHOLD": 0.20,
            "MONITORING_INTERVAL_MS": 1_000,
            "ROLLOUT_MAX_PERCENTAGE": 100.0,
            "ROLLOUT_APPROVALS_REQUIRED": 1,
        },
    }
)
"""Values of each environment, by variable."""


def _flags(*, enabled: bool, percentage: float) -> dict[str, Value]:
    """Return the same start for all three flags of the guide."""
    switches = ("TRUTH_VALIDATION_ENABLED", "BYZANTINE_CONSENSUS_ENABLED", "HOOK_INTERCEPTION_ENABLED")
    shares = ("TRUTH_ROLLOUT_PERCENTAGE", "BYZANTINE_ROLLOUT_PERCENTAGE", "HOOK_ROLLOUT_PERCENTAGE")
    return {**dict.fromkeys(switches, enabled), **dict.fromkeys(shares, percentage)}


PRESETS: Mapping[str, Mapping[str, Value]] = MappingProxyType(
    {
        "conservative": {
            **_flags(enabled=False, percentage=5.0),
            "ROLLOUT_ERROR_THRESHOLD": 0.005,
            "ROLLOUT_AUTO_PROGRESS": False,
            "MONITORING_INTERVAL_MS": 30_000,
        },
        "aggressive": {
            **_flags(enabled=False, percentage=25.0),
            "ROLLOUT_ERROR_THRESHOLD": 0.02,
            "EMERGENCY_DISABLE_THRESHOLD": 0.04,
            "ROLLOUT_AUTO_PROGRESS": True,
            "MONITORING_INTERVAL_MS": 30_000,
        },
        "testing": {
            **_flags(enabled=True, percentage=100.0),
            "ROLLOUT_AUTO_PROGRESS": True,
            "MONITORING_INTERVAL_MS": 1_000,
        },
    }
)
"""Values of each preset, by variable."""
