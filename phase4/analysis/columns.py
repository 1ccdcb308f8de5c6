"""Observations of one arm by column: one array for each count, one value for each tick."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from phase4.analysis.observation import Observation

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmColumns:
    """Counts of consecutive ticks of one arm, as in `Observation`; every array is (ticks,) int64.

    None = not counted.
    """

    ok: Ints
    error: Ints
    timeout: Ints
    invalid: Ints
    late: Ints
    units: Ints | None = None
    crossed: Ints | None = None
    error_risk_n: Ints | None = None
    error_risk_x: Ints | None = None
    error_first_n: Ints | None = None
    error_first_x: Ints | None = None
    bad_risk_n: Ints | None = None
    bad_risk_x: Ints | None = None
    bad_first_n: Ints | None = None
    bad_first_x: Ints | None = None
    invalid_risk_n: Ints | None = None
    invalid_risk_x: Ints | None = None
    invalid_first_n: Ints | None = None
    invalid_first_x: Ints | None = None

    def __len__(self) -> int:
        """Return the number of ticks."""
        return len(self.ok)

    @classmethod
    def of_requests(cls, events: Ints, trials: Ints) -> Self:
        """Return columns of a source without users: `events` errors among `trials` requests, both (ticks,)."""
        zero = np.zeros(len(trials), np.int64)
        return cls(ok=trials - events, error=events, timeout=zero, invalid=zero, late=zero)

    @property
    def requests(self) -> Ints:
        """Outcomes of any kind, (ticks,) int64."""
        return self.ok + self.error + self.timeout + self.invalid

    def slice(self, begin: int, end: int) -> Self:
        """Return the ticks begin..end-1."""
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        values: dict[str, Any] = {name: None if part is None else part[begin:end] for name, part in parts.items()}
        return type(self)(**values)

    def row(self, index: int, *, tick: int, flag_id: int, entry: int, arm: int) -> Observation | None:
        """Return one tick as an `Observation`, None where the arm had neither outcomes nor users."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        values: dict[str, Any] = {name: None if part is None else int(part[index]) for name, part in parts.items()}
        if not any(values.values()):
            return None
        return Observation(tick=tick, flag_id=flag_id, entry=entry, arm=arm, **values)

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Return consecutive stretches of ticks as one."""
        if len(parts) == 1:
            return parts[0]
        values: dict[str, Any] = {
            f.name: None
            if getattr(parts[0], f.name) is None
            else np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(cls)
        }
        return cls(**values)
