"""The observation row: the judge's whole input.

One row for each (tick, flag, entry, arm) with traffic; the same in the control database, in a run's file, in the
simulator, in the guardrails and on the dashboard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Protocol

SCHEMA = 2
"""Number of this set of columns. A stored observation carries it."""


class OutcomeSet(StrEnum):
    """Which outcomes count as events. `error` and `bad` are of all outcomes, `invalid` of validated ones."""

    ERROR = "error"
    BAD = "bad"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Counts of one closed tick for one flag, entry and arm.

    A user column is None where it is not counted: the source has no users, or no guardrail uses the set.
    """

    tick: int
    flag_id: int
    entry: int
    arm: int
    """1 control, 2 treatment."""
    ok: int = 0
    error: int = 0
    timeout: int = 0
    invalid: int = 0
    late: int = 0
    """How many of the outcomes belong to ticks that were closed before."""
    units: int | None = None
    """Users seen first in this entry and arm in this tick."""
    crossed: int | None = None
    """Users active in this tick that this entry has seen in another arm too."""
    error_risk_n: int | None = None
    error_risk_x: int | None = None
    error_first_n: int | None = None
    error_first_x: int | None = None
    bad_risk_n: int | None = None
    bad_risk_x: int | None = None
    bad_first_n: int | None = None
    bad_first_x: int | None = None
    invalid_risk_n: int | None = None
    invalid_risk_x: int | None = None
    invalid_first_n: int | None = None
    invalid_first_x: int | None = None
    error_third_x: int | None = None
    """Users whose third error or timeout of this entry fell in this tick."""
    s1: float = 0.0
    """Sum of latency in ms over the outcomes that carry one."""
    s2: float = 0.0
    """Sum of squares of latency in ms²."""
    hist: bytes = b""
    """Sparse latency histogram: pairs (bin i16, count u32), little endian; base 2^(1/32) over seconds."""
    exceed: Mapping[str, tuple[float, int, int]] = field(default_factory=dict)
    """Guardrail -> (threshold in ms, requests above, first outcomes above)."""
    metrics: Mapping[str, tuple[int, float, float]] = field(default_factory=dict)
    """Application metric -> (n, sum, sum of squares)."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Refuse counts that cannot be."""
        for name in ("ok", "error", "timeout", "invalid", "late"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} counts outcomes and is at least 0: {getattr(self, name)}")
        if self.error_third_x is not None and self.error_third_x < 0:
            raise ValueError(f"error_third_x counts users and is at least 0: {self.error_third_x}")
        for outcome_set in OutcomeSet:
            for kind in ("risk", "first"):
                n = getattr(self, f"{outcome_set}_{kind}_n")
                x = getattr(self, f"{outcome_set}_{kind}_x")
                if (n is None) != (x is None):
                    raise ValueError(f"{outcome_set}_{kind}_n and {outcome_set}_{kind}_x are counted together")
                if n is not None and not 0 <= x <= n:
                    raise ValueError(f"{outcome_set}_{kind}_x lies in 0..{n}: {x}")


COLUMNS = tuple(f.name for f in fields(Observation))


class Counts(Protocol):
    """Anything with the count columns of `Observation`: one row of ints, or arrays with one value for each tick."""

    @property
    def ok(self) -> Any:
        """Outcomes that were fine."""
        ...

    @property
    def error(self) -> Any:
        """Outcomes that failed."""
        ...

    @property
    def timeout(self) -> Any:
        """Outcomes that did not come in time."""
        ...

    @property
    def invalid(self) -> Any:
        """Outcomes whose validation failed."""
        ...


def third_errors(row: Any) -> Any:
    """Return how many users had their third error, int or (ticks,) int64.

    Raises:
        ValueError: the source does not count them.
    """
    if row.error_third_x is None:
        raise ValueError("error_third_x is not counted by this source; leave repeated_errors out")
    return row.error_third_x


def request_counts(row: Counts, outcome_set: OutcomeSet) -> tuple[Any, Any]:
    """Return (events, trials) of the requests: sums of outcomes, as ints or (ticks,) int64."""
    if outcome_set is OutcomeSet.INVALID:
        return row.invalid, row.ok + row.invalid
    failed = row.error + row.timeout
    total = row.ok + failed + row.invalid
    return (failed if outcome_set is OutcomeSet.ERROR else failed + row.invalid), total


def user_counts(row: Counts, outcome_set: OutcomeSet, kind: str) -> tuple[Any, Any]:
    """Return (events, trials) of users: kind `risk` feeds FAIL, kind `first` feeds PASS.

    PASS must not use `risk`: bad users leave the risk set after one error, and the rest looks better than the service.

    Raises:
        ValueError: the source does not count users for this outcome set.
    """
    events = getattr(row, f"{outcome_set}_{kind}_x")
    trials = getattr(row, f"{outcome_set}_{kind}_n")
    if events is None or trials is None:
        raise ValueError(f'{outcome_set}_{kind}_n is not counted by this source; use unit = "request"')
    return events, trials
