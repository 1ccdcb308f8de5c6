"""Observations of one arm by column: one array for each count, one value for each tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from phase4.analysis import latency
from phase4.analysis.observation import Observation

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyColumns:
    """Latencies of consecutive ticks."""

    first_bin: int
    counts: Ints
    """(ticks, bins) int64: how many latencies of a tick each bin from `first_bin` on holds."""
    s1: Floats
    """(ticks,) float64, sum in ms."""
    s2: Floats
    """(ticks,) float64, sum of squares in ms²."""

    @property
    def n(self) -> Ints:
        """Number of latencies, (ticks,) int64."""
        return np.asarray(self.counts.sum(axis=1), np.int64)

    def slice(self, begin: int, end: int) -> Self:
        """Return the ticks begin..end-1."""
        return type(self)(
            first_bin=self.first_bin,
            counts=self.counts[begin:end],
            s1=self.s1[begin:end],
            s2=self.s2[begin:end],
        )

    def histogram(self, begin: int, end: int) -> latency.Histogram:
        """Return the latencies of the ticks begin..end-1 together."""
        total = self.counts[begin:end].sum(axis=0)
        return tuple((self.first_bin + int(place), int(total[place])) for place in np.flatnonzero(total))

    def packed(self, index: int) -> bytes:
        """Return one tick's histogram as an `Observation` has it."""
        return latency.pack(self.histogram(index, index + 1))

    @classmethod
    def of_histograms(cls, packed: Sequence[bytes], s1: Floats, s2: Floats) -> Self:
        """Return the columns of one packed histogram for each tick; s1 and s2 are (ticks,) float64."""
        pairs = [latency.unpack(each) for each in packed]
        places = [place for histogram in pairs for place, _ in histogram]
        first, last = (min(places), max(places)) if places else (0, 0)
        counts = np.zeros((len(packed), last - first + 1), np.int64)
        for tick, histogram in enumerate(pairs):
            for place, count in histogram:
                counts[tick, place - first] += count
        return cls(first_bin=first, counts=counts, s1=s1, s2=s2)

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Return consecutive stretches of ticks as one."""
        first = min(part.first_bin for part in parts)
        last = max(part.first_bin + part.counts.shape[1] for part in parts)
        wide = [
            np.pad(part.counts, ((0, 0), (part.first_bin - first, last - part.first_bin - part.counts.shape[1])))
            for part in parts
        ]
        return cls(
            first_bin=first,
            counts=np.concatenate(wide),
            s1=np.concatenate([part.s1 for part in parts]),
            s2=np.concatenate([part.s2 for part in parts]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceedColumns:
    """How often latencies of one arm were above a quantile guardrail's threshold."""

    threshold_ms: Floats
    """(ticks,) float64; NaN where none was named."""
    requests: Ints
    """(ticks,) int64."""
    first: Ints
    """(ticks,) int64: first outcomes of users."""

    def slice(self, begin: int, end: int) -> Self:
        """Return the ticks begin..end-1."""
        return type(self)(**{f.name: getattr(self, f.name)[begin:end] for f in fields(self)})

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Return consecutive stretches of ticks as one."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})


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
    error_third_x: Ints | None = None
    latencies: LatencyColumns | None = None
    exceed: Mapping[str, ExceedColumns] = field(default_factory=dict)
    """Quantile guardrail -> what was above its thresholds."""

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
        values: dict[str, Any] = {
            name: None if part is None else part[begin:end] for name, part in self.counts().items()
        }
        return type(self)(
            **values,
            latencies=None if self.latencies is None else self.latencies.slice(begin, end),
            exceed={name: part.slice(begin, end) for name, part in self.exceed.items()},
        )

    def row(self, index: int, *, tick: int, flag_id: int, entry: int, arm: int) -> Observation | None:
        """Return one tick as an `Observation`, None where the arm had neither outcomes nor users."""
        values: dict[str, Any] = {
            name: None if part is None else int(part[index]) for name, part in self.counts().items()
        }
        if not any(values.values()):
            return None
        if self.latencies is not None:
            values["s1"], values["s2"] = float(self.latencies.s1[index]), float(self.latencies.s2[index])
            values["hist"] = self.latencies.packed(index)
        values["exceed"] = self.above(index)
        return Observation(tick=tick, flag_id=flag_id, entry=entry, arm=arm, **values)

    def above(self, index: int) -> dict[str, tuple[float, int, int]]:
        """Return what was above which threshold in one tick, as an `Observation` has it."""
        return {
            name: (float(part.threshold_ms[index]), int(part.requests[index]), int(part.first[index]))
            for name, part in self.exceed.items()
            if not np.isnan(part.threshold_ms[index])
        }

    def counts(self) -> dict[str, Ints | None]:
        """Return the count columns by name, each (ticks,) int64; None = not counted."""
        return {name: getattr(self, name) for name in COUNTS}

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """Return consecutive stretches of ticks as one."""
        if len(parts) == 1:
            return parts[0]
        every = [part.counts() for part in parts]
        values: dict[str, Any] = {
            name: None if first is None else np.concatenate([columns[name] for columns in every])
            for name, first in every[0].items()
        }
        latencies = [part.latencies for part in parts if part.latencies is not None]
        return cls(
            **values,
            latencies=LatencyColumns.join(latencies) if latencies else None,
            exceed={name: ExceedColumns.join([part.exceed[name] for part in parts]) for name in parts[0].exceed},
        )


COUNTS = tuple(f.name for f in fields(ArmColumns) if f.name not in {"latencies", "exceed"})
"""The count columns, as in `Observation`."""
