"""Rules over settings that are each in range: what `config check`, `init` and every long-running command ask for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from phase4.config.parsing import show
from phase4.config.settings import Settings

INTERVAL_MIN_PRODUCTION_MS = 5_000
APPROVALS_MIN_PRODUCTION = 2
SUCCESS_FLOOR = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the rules say, one line for each finding."""

    errors: tuple[str, ...]
    """Combinations that nothing may start with."""
    warnings: tuple[str, ...]
    """What is allowed and probably not meant, and what was ignored."""


def check(settings: Settings) -> Findings:
    """Return everything that is wrong or doubtful in this combination; reads no file."""
    errors = (*_percentages(settings), *_thresholds(settings), *_hooks(settings), *_production(settings))
    warnings = (*settings.warnings, *_consensus(settings), *_automatic(settings))
    return Findings(errors=errors, warnings=warnings)


def _told(settings: Settings, name: str) -> str:
    return f"{name} {show(settings.value(name))} ({settings.origin(name)})"


def _percentages(settings: Settings) -> Iterator[str]:
    for name in ("TRUTH_ROLLOUT_PERCENTAGE", "BYZANTINE_ROLLOUT_PERCENTAGE", "HOOK_ROLLOUT_PERCENTAGE"):
        if settings.value(name) > settings.rollout_max_percentage:
            yield f"{_told(settings, name)} is above {_told(settings, 'ROLLOUT_MAX_PERCENTAGE')}"


def _thresholds(settings: Settings) -> Iterator[str]:
    if settings.rollout_error_threshold >= settings.emergency_disable_threshold:
        error, emergency = _told(settings, "ROLLOUT_ERROR_THRESHOLD"), _told(settings, "EMERGENCY_DISABLE_THRESHOLD")
        yield f"{error} must be below {emergency}"
    success, told = settings.rollout_success_threshold, _told(settings, "ROLLOUT_SUCCESS_THRESHOLD")
    if settings.phase4_environment == "test":
        if success < SUCCESS_FLOOR:
            yield f"{told} must be at least {SUCCESS_FLOOR}"
    elif success <= SUCCESS_FLOOR:
        yield f"{told} must be above {SUCCESS_FLOOR}"


def _hooks(settings: Settings) -> Iterator[str]:
    if settings.hook_backoff_base_ms > settings.hook_backoff_cap_ms:
        yield f"{_told(settings, 'HOOK_BACKOFF_BASE_MS')} is above {_told(settings, 'HOOK_BACKOFF_CAP_MS')}"
    if settings.hook_timeout_ms > settings.hook_deadline_ms:
        yield f"{_told(settings, 'HOOK_TIMEOUT_MS')} is above {_told(settings, 'HOOK_DEADLINE_MS')}"


def _production(settings: Settings) -> Iterator[str]:
    if settings.phase4_environment != "production":
        return
    if settings.monitoring_interval_ms < INTERVAL_MIN_PRODUCTION_MS:
        interval = _told(settings, "MONITORING_INTERVAL_MS")
        yield f"{interval} must be at least {INTERVAL_MIN_PRODUCTION_MS} in production"
    for name in ("VALIDATION_SIGNATURE_REQUIRED", "CONSENSUS_CRYPTO_ENABLED", "AUDIT_LOGGING_ENABLED"):
        if not settings.value(name):
            yield f"{_told(settings, name)} must be true in production"
    if settings.rollout_approvals_required < APPROVALS_MIN_PRODUCTION:
        approvals = _told(settings, "ROLLOUT_APPROVALS_REQUIRED")
        yield f"{approvals} must be at least {APPROVALS_MIN_PRODUCTION} in production"
    if settings.alert_webhook_url and not settings.alert_webhook_secret_file:
        yield "ALERT_WEBHOOK_URL is set and ALERT_WEBHOOK_SECRET_FILE is not; production signs its notices"


def _automatic(settings: Settings) -> Iterator[str]:
    if settings.phase4_environment == "production" and settings.rollout_auto_progress:
        yield f"{_told(settings, 'ROLLOUT_AUTO_PROGRESS')} in production: stages are entered without a person"


def _consensus(settings: Settings) -> Iterator[str]:
    """Yield what n validators cannot do.

    Source: f = (n-1)//3 of Lamport, Shostak and Pease (1982), doi:10.1145/357172.357176; quorum (n+f)//2 + 1, of
    which any two share an honest node; unanimity below 4.
    """
    n = settings.max_consensus_agents
    told = _told(settings, "MAX_CONSENSUS_AGENTS")
    faulty = (n - 1) // 3
    if n < 4:
        yield f"{told} tolerates no faulty validator; 4 is the least that tolerates one"
        return
    if n != 3 * faulty + 1:
        useful = 3 * faulty + 1
        yield f"{told} tolerates no more dead nodes than {useful}; {useful} or {useful + 3} are the useful sizes"
    # a hair less than the product, so that 0.7 x 10 is 7 and not 8
    quorum = max((n + faulty) // 2 + 1, math.ceil(settings.consensus_threshold * n - 1e-9))
    if quorum > n - faulty:
        threshold = _told(settings, "CONSENSUS_THRESHOLD")
        yield f"{threshold} asks for {quorum} of {n} validators; with {faulty} faulty ones only {n - faulty} answer"
