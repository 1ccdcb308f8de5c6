"""The table of settings: each variable once, with its type, its default, its range and its reader.

docs/settings.md shows the same table; a test holds page and code together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from phase4.config.parsing import closest
from phase4.config.setting import (
    Setting,
    Value,
    boolean,
    choice,
    integer,
    path,
    percentage,
    rate,
    secret_file,
    text,
    url,
)
from phase4.errors import SettingInvalid

ENVIRONMENTS = ("development", "staging", "production", "test")
PRESET = "preset"
"""Key of the preset's name beside the settings, in what is saved and on the command line; no variable has it."""

_CREATION = "first creation of the flag"
_PLAN = "plan creation"
_HOOKS = "hooks policy"
_CONSENSUS = "consensus"
_VALIDATION = "validation"
_MONITOR = "monitor"
_NOTIFIER = "monitor: notifier"
_RETENTION = "store: retention"
_LATENCY = "plan creation: latency"
_LATER = {
    _HOOKS: "hooks",
    "hooks run": "hooks",
    "hooks adapters": "hooks",
    "hooks: targeting key": "hooks",
    _CONSENSUS: "consensus",
    _VALIDATION: "validation",
    "monitor dashboard": "dashboard",
}
"""Readers that are still to be built, and the part of the product each comes with."""


class Layer(StrEnum):
    """Who gave a value, lowest first: the highest that sets it wins."""

    DEFAULT = "default"
    PROFILE = "profile"
    PRESET = "preset"
    SAVED = "saved by init"
    VARIABLE = "environment variable"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Origin:
    """The layer that a value comes from, with the name of the profile or preset.

    >>> str(Origin(Layer.PROFILE, "staging")), str(Origin(Layer.SAVED))
    ('profile staging', 'saved by init')
    """

    layer: Layer
    name: str = ""

    def __str__(self) -> str:
        return f"{self.layer} {self.name}" if self.name else self.layer.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Resolved settings: each attribute below is the value of the variable of that name, in lower case.

    Made by `resolution.resolve`, so every value lies in its range.
    """

    values: Mapping[str, Value]
    """Value of each variable by its name; all of them are there."""
    origins: Mapping[str, Origin]
    preset: str | None
    """The preset's name, if one was chosen."""
    warnings: tuple[str, ...] = ()
    """What was ignored, and why: one line each."""

    phase4_home = path("PHASE4_HOME", "store")
    phase4_environment = choice("PHASE4_ENVIRONMENT", "config", default="development", options=ENVIRONMENTS)

    truth_validation_enabled = boolean("TRUTH_VALIDATION_ENABLED", _CREATION, default=False)
    byzantine_consensus_enabled = boolean("BYZANTINE_CONSENSUS_ENABLED", _CREATION, default=False)
    hook_interception_enabled = boolean("HOOK_INTERCEPTION_ENABLED", _CREATION, default=False)
    truth_rollout_percentage = percentage("TRUTH_ROLLOUT_PERCENTAGE", _CREATION, default=10.0)
    byzantine_rollout_percentage = percentage("BYZANTINE_ROLLOUT_PERCENTAGE", _CREATION, default=10.0)
    hook_rollout_percentage = percentage("HOOK_ROLLOUT_PERCENTAGE", _CREATION, default=10.0)

    auto_relaunch_enabled = boolean("AUTO_RELAUNCH_ENABLED", _HOOKS, default=True)
    max_relaunch_attempts = integer("MAX_RELAUNCH_ATTEMPTS", _HOOKS, default=3, low=1, high=10)
    hook_timeout_ms = integer("HOOK_TIMEOUT_MS", _HOOKS, default=30_000, low=1)
    hook_deadline_ms = integer("HOOK_DEADLINE_MS", _HOOKS, default=120_000, low=1)
    hook_backoff_base_ms = integer("HOOK_BACKOFF_BASE_MS", _HOOKS, default=1_000, low=1)
    hook_backoff_cap_ms = integer("HOOK_BACKOFF_CAP_MS", _HOOKS, default=30_000, low=1)
    hook_output_limit_bytes = integer("HOOK_OUTPUT_LIMIT_BYTES", "hooks run", default=1_048_576, low=0)
    hook_mode = choice("HOOK_MODE", "hooks adapters", default="enforce", options=("enforce", "observe"))
    phase4_user = text("PHASE4_USER", "hooks: targeting key")

    max_consensus_agents = integer("MAX_CONSENSUS_AGENTS", _CONSENSUS, default=5, low=1, high=10)
    consensus_threshold = rate("CONSENSUS_THRESHOLD", _CONSENSUS, default=0.6, high=0.9)
    consensus_crypto_enabled = boolean("CONSENSUS_CRYPTO_ENABLED", _CONSENSUS, default=True)
    truth_validation_threshold = rate("TRUTH_VALIDATION_THRESHOLD", _VALIDATION, default=0.7)
    validation_signature_required = boolean("VALIDATION_SIGNATURE_REQUIRED", _VALIDATION, default=True)

    monitoring_enabled = boolean("MONITORING_ENABLED", "rollout start, monitor", default=True)
    monitoring_interval_ms = integer("MONITORING_INTERVAL_MS", _MONITOR, default=30_000, low=500, high=600_000)
    monitoring_coverage_target = rate("MONITORING_COVERAGE_TARGET", "report", default=0.99)
    memory_threshold_mb = integer("MEMORY_THRESHOLD_MB", _MONITOR, default=512, low=0)
    cpu_threshold_percent = percentage("CPU_THRESHOLD_PERCENT", _MONITOR, default=80.0)
    response_time_threshold_ms = integer("RESPONSE_TIME_THRESHOLD_MS", _MONITOR, default=1_000, low=0)
    dashboard_port = integer("DASHBOARD_PORT", "monitor dashboard", default=3001, low=1, high=65_535)
    alert_webhook_url = url("ALERT_WEBHOOK_URL", _NOTIFIER)
    alert_webhook_secret_file = secret_file("ALERT_WEBHOOK_SECRET_FILE", _NOTIFIER)

    rollout_auto_progress = boolean("ROLLOUT_AUTO_PROGRESS", _PLAN, default=True)
    rollout_error_threshold = rate("ROLLOUT_ERROR_THRESHOLD", _PLAN, default=0.01)
    rollout_success_threshold = rate("ROLLOUT_SUCCESS_THRESHOLD", _PLAN, default=0.95)
    emergency_disable_threshold = rate("EMERGENCY_DISABLE_THRESHOLD", "plan creation, collector", default=0.05)
    validation_failure_threshold = rate("VALIDATION_FAILURE_THRESHOLD", _PLAN, default=0.05)
    rollout_max_percentage = percentage("ROLLOUT_MAX_PERCENTAGE", "plan creation, flags rollout", default=None)
    rollout_approvals_required = integer("ROLLOUT_APPROVALS_REQUIRED", _PLAN, default=None, low=1, high=5)
    performance_monitoring = boolean("PERFORMANCE_MONITORING", _LATENCY, default=True)
    performance_impact_threshold = rate("PERFORMANCE_IMPACT_THRESHOLD", _LATENCY, default=0.05)

    audit_logging_enabled = boolean("AUDIT_LOGGING_ENABLED", "audit", default=True)
    retention_raw_days = integer("RETENTION_RAW_DAYS", _RETENTION, default=30, low=1)
    retention_r10_days = integer("RETENTION_R10_DAYS", _RETENTION, default=90, low=1)
    retention_h1_days = integer("RETENTION_H1_DAYS", _RETENTION, default=730, low=1)
    stale_flag_days = integer("STALE_FLAG_DAYS", "flags list --stale", default=30, low=1)

    def value(self, name: str) -> Any:
        """Return the value of a variable.

        Raises:
            SettingInvalid: no variable has this name.
        """
        _refuse_unknown(name)
        return self.values[name]

    def origin(self, name: str) -> Origin:
        """Return which layer gave a variable its value.

        Raises:
            SettingInvalid: no variable has this name.
        """
        _refuse_unknown(name)
        return self.origins[name]


SETTINGS: Mapping[str, Setting[Any]] = MappingProxyType(
    {row.name: row for row in vars(Settings).values() if isinstance(row, Setting)}
)
"""The table by the variable's name, in the order above."""

PENDING_READERS: Mapping[str, str] = MappingProxyType(
    {name: _LATER[row.reader] for name, row in SETTINGS.items() if row.reader in _LATER}
)
"""Settings that are read, checked and shown, and that nothing acts on yet: the part that will, by name."""


def unknown_name(name: str) -> str:
    """Return the one line that names an unknown variable and what was probably meant.

    >>> unknown_name("PHASE4_DASHBOARD_PORT")
    'PHASE4_DASHBOARD_PORT: unknown setting; did you mean "DASHBOARD_PORT"?'
    >>> unknown_name("PHASE4_ENV")
    'PHASE4_ENV: unknown setting; did you mean "PHASE4_ENVIRONMENT"?'
    """
    bare = name.removeprefix("PHASE4_")
    close = bare if bare in SETTINGS else closest(name, SETTINGS)
    return f"{name}: unknown setting" + (f'; did you mean "{close}"?' if close else "; docs/settings.md has them all")


def _refuse_unknown(name: str) -> None:
    if name not in SETTINGS:
        raise SettingInvalid(unknown_name(name))
