"""What a new plan takes from the settings, in the plan's own words: who makes plans needs no name of a setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from phase4.config.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDefaults:
    """The values of this moment; frozen into the plan, so that a setting never changes a live one."""

    auto: bool
    """Whether stages that need no approval are entered by themselves."""
    approvals_required: int
    percentage_max: float
    """Highest percentage, 0-100, that this environment exposes."""
    error_limit: float
    """Highest acceptable error rate; the first stage has half of it."""
    success_limit: float
    """Lowest acceptable success rate."""
    emergency_limit: float
    """Error rate above which the flag is switched off and held."""
    validation_limit: float
    """Highest acceptable rate of failed validations."""
    latency_margin: float | None
    """Highest acceptable growth of latency against concurrent control, as a proportion; None = not guarded."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the defaults that these settings give."""
        return cls(
            auto=settings.rollout_auto_progress,
            approvals_required=settings.rollout_approvals_required,
            percentage_max=settings.rollout_max_percentage,
            error_limit=settings.rollout_error_threshold,
            success_limit=settings.rollout_success_threshold,
            emergency_limit=settings.emergency_disable_threshold,
            validation_limit=settings.validation_failure_threshold,
            latency_margin=settings.performance_impact_threshold if settings.performance_monitoring else None,
        )
