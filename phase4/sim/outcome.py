"""How runs end, and what many runs say about a policy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import rfc8785

from phase4.analysis import interval
from phase4.durations import HOUR_MS

NEVER = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one run ended, by the truth that the controller never saw."""

    run_id: str
    world: str
    policy: str
    replicate: int
    phase: str
    guardrail: str | None
    """The guardrail that rolled back."""
    end_ms: int
    """Time from the start of the run to its end, in ms."""
    stage: int
    """Index of the last stage entered."""
    approvals: int
    onset_ms: int | None
    """Start of the first harmful tick with treatment exposed, in ms since the start; None = never harmful."""
    rolled_back: bool
    false_rollback: bool
    """Rolled back by a guardrail before any onset."""
    caught: bool | None
    """Rolled back by a guardrail after the onset; None where the run never reached one."""
    delay_ms: float
    """From onset to rollback; infinity = not caught; NaN without onset."""
    delay_users: float
    """Distinct users of treatment from onset to rollback, likewise."""
    delay_requests: float
    """Requests of treatment from onset to rollback, likewise."""
    users_exposed: int | None
    users_harmed: int | None
    """Distinct users of treatment with a bad outcome that control would not have had."""
    excess: float
    """Bad outcomes of treatment that control would not have had."""
    full_ms: float
    """From the start to COMPLETED; infinity = not."""
    digest: str
    """SHA-256 (hex) of the journal and of every count that was observed."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its 95 % interval and what it rests on."""

    estimate: float
    lower: float
    upper: float
    runs: int

    def to_json(self) -> dict[str, float | int | None]:
        """Return plain values; "not reached" (infinity) and "nothing to estimate" (NaN) are null."""
        return {
            "estimate": _finite(self.estimate),
            "lower": _finite(self.lower),
            "upper": _finite(self.upper),
            "runs": self.runs,
            "never": math.isinf(self.estimate),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingCharacteristics:
    """What one policy does in one world."""

    world: str
    policy: str
    replicates: int
    false_rollback: Figure
    """Share of runs rolled back by a guardrail before any onset. Wilson."""
    caught: Figure
    """Share of the runs that reached an onset that were rolled back after it. Wilson."""
    held: Figure
    """Share of runs that ended with no verdict to promote or roll back. Wilson."""
    completed: Figure
    """Share of runs that reached the end of the plan. Wilson."""
    delay_hours_median: Figure
    """Hours from onset to rollback, over runs that reached an onset; undetected = infinity. Order statistics."""
    delay_hours_95: Figure
    delay_users_median: Figure
    """Distinct users exposed from onset to rollback. Order statistics."""
    delay_users_95: Figure
    delay_requests_median: Figure
    exposed_users: Figure
    """Distinct treatment users of the whole run, mean. Student's t."""
    harmed_users: Figure
    """Distinct treatment users with a bad outcome that control would not have had, mean. Student's t."""
    excess: Figure
    """Bad outcomes that control would not have had, mean. Student's t."""
    full_hours_median: Figure
    """Hours from the start to COMPLETED; never = infinity. Order statistics."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            name: value.to_json() if isinstance(value, Figure) else value
            for name, value in ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        }


def characteristics(outcomes: Sequence[Outcome]) -> OperatingCharacteristics:
    """Return the operating characteristics of the runs of one world and policy.

    Raises:
        ValueError: there are no runs, or they are of several worlds or policies.
    """
    cells = {(outcome.world, outcome.policy) for outcome in outcomes}
    if len(cells) != 1:
        raise ValueError(f"runs of one world and one policy: {sorted(cells)}")
    (world, policy), reached = cells.pop(), [o for o in outcomes if o.caught is not None]
    return OperatingCharacteristics(
        world=world,
        policy=policy,
        replicates=len(outcomes),
        false_rollback=_share(o.false_rollback for o in outcomes),
        caught=_share(bool(o.caught) for o in reached),
        held=_share(o.phase not in {"COMPLETED", "ROLLED_BACK", "CANCELLED"} for o in outcomes),
        completed=_share(o.phase == "COMPLETED" for o in outcomes),
        delay_hours_median=_quantile([o.delay_ms / HOUR_MS for o in reached], 0.5),
        delay_hours_95=_quantile([o.delay_ms / HOUR_MS for o in reached], 0.95),
        delay_users_median=_quantile([o.delay_users for o in reached], 0.5),
        delay_users_95=_quantile([o.delay_users for o in reached], 0.95),
        delay_requests_median=_quantile([o.delay_requests for o in reached], 0.5),
        exposed_users=_mean(o.users_exposed for o in outcomes),
        harmed_users=_mean(o.users_harmed for o in outcomes),
        excess=_mean(o.excess for o in outcomes),
        full_hours_median=_quantile([o.full_ms / HOUR_MS for o in outcomes], 0.5),
    )


def digest(outcomes: Iterable[Outcome]) -> str:
    """Return the SHA-256 (hex) over all runs, ordered by world, policy and replicate: serial or parallel, the same."""
    ordered = sorted(outcomes, key=lambda o: (o.world, o.policy, o.replicate))
    body = [{k: _plain(v) for k, v in asdict(outcome).items()} for outcome in ordered]
    return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


def _share(hits: Iterable[bool]) -> Figure:
    values = list(hits)
    if not values:
        return Figure(math.nan, math.nan, math.nan, 0)
    lower, upper = interval.wilson(sum(values), len(values))
    return Figure(sum(values) / len(values), lower, upper, len(values))


def _quantile(values: Sequence[float], q: float) -> Figure:
    known = [value for value in values if not math.isnan(value)]
    return Figure(*interval.quantile_interval(known, q), len(known))


def _mean(values: Iterable[float | None]) -> Figure:
    """Return the mean of values that are never negative; its interval ends at 0 too."""
    known = [float(value) for value in values if value is not None]
    mean, lower, upper = interval.mean_interval(known)
    return Figure(mean, lower if math.isnan(lower) else max(lower, 0.0), upper, len(known))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, float) else value
