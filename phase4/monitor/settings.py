"""What the monitor takes from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from phase4.config.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """The values a collector runs with; frozen at its start."""

    interval_ms: int = 30_000
    """Length of a tick."""
    coverage_target: float = 0.99
    emergency_limit: float = 0.05
    """Error rate above which a flag that is on without a plan is switched off and held."""
    memory_mb: int = 512
    cpu_percent: float = 80.0
    response_ms: int = 1_000
    webhook_url: str | None = None
    webhook_secret_file: str | None = None
    raw_days: int = 30
    r10_days: int = 90
    h1_days: int = 730

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what these settings say."""
        secret = settings.alert_webhook_secret_file
        return cls(
            interval_ms=settings.monitoring_interval_ms,
            coverage_target=settings.monitoring_coverage_target,
            emergency_limit=settings.emergency_disable_threshold,
            memory_mb=settings.memory_threshold_mb,
            cpu_percent=settings.cpu_threshold_percent,
            response_ms=settings.response_time_threshold_ms,
            webhook_url=settings.alert_webhook_url,
            webhook_secret_file=None if secret is None else str(secret),
            raw_days=settings.retention_raw_days,
            r10_days=settings.retention_r10_days,
            h1_days=settings.retention_h1_days,
        )
