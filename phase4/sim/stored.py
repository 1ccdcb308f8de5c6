"""A collector's stored observations as a source: the simulator's driver sees what the live judge saw.

With the same plan it gives the same journal, byte for byte; with another plan it says what that one would have done, as
long as the two expose alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phase4.analysis.columns import COUNTS, ArmColumns, ExceedColumns, LatencyColumns
from phase4.analysis.observation import Observation
from phase4.errors import UsageError
from phase4.flags.bucketing import Arm
from phase4.sim.traffic import Exposure, Toll


class StoredSource:
    """The observations of one flag, by tick."""

    counts_exposures = True
    onset_tick: int | None = None
    """Nobody knows the truth about live traffic."""

    def __init__(self, seen: Mapping[int, Sequence[Observation]], entries: Mapping[int, int]) -> None:
        """Take the observations.

        Args:
            seen: Tick -> its rows.
            entries: First tick of each stage entry -> the entry's number.
        """
        self._entries = dict(entries)
        self._rows = {(row.tick, row.entry, row.arm): row for rows in seen.values() for row in rows}

    def entry(self, percentage: float, first_tick: int) -> _StoredEntry:
        """Return the traffic of the entry that began with a tick.

        Raises:
            UsageError: none began there: this plan exposes otherwise than the one that was live.
        """
        if first_tick not in self._entries:
            raise UsageError(f"no stage was entered at tick {first_tick} ({percentage:g} %) when this was recorded")
        return _StoredEntry(self._rows, self._entries[first_tick])

    def toll(self, exposures: tuple[Exposure, ...]) -> Toll:
        """Return that the cost is not known."""
        del exposures
        return Toll(users_exposed=None, users_harmed=None, excess=0.0, users_since_onset=None, requests_since_onset=0)


class _StoredEntry:
    def __init__(self, rows: Mapping[tuple[int, int, int], Observation], entry: int) -> None:
        self._rows, self._entry = rows, entry

    def columns(self, begin: int, end: int) -> tuple[ArmColumns, ArmColumns]:
        """Return (treatment, control) for the ticks begin..end-1."""
        return self._arm(Arm.TREATMENT, begin, end), self._arm(Arm.CONTROL, begin, end)

    def _arm(self, arm: Arm, begin: int, end: int) -> ArmColumns:
        rows = [self._rows.get((tick, self._entry, arm)) for tick in range(begin, end)]
        values: dict[str, Any] = {
            name: np.array([0 if row is None else getattr(row, name) or 0 for row in rows], np.int64) for name in COUNTS
        }
        latencies = LatencyColumns.of_histograms(
            [b"" if row is None else row.hist for row in rows],
            np.array([0.0 if row is None else row.s1 for row in rows]),
            np.array([0.0 if row is None else row.s2 for row in rows]),
        )
        names = sorted({name for row in rows if row is not None for name in row.exceed})
        return ArmColumns(**values, latencies=latencies, exceed={name: _exceed(rows, name) for name in names})


def _exceed(rows: Sequence[Observation | None], name: str) -> ExceedColumns:
    found = [(np.nan, 0, 0) if row is None else row.exceed.get(name, (np.nan, 0, 0)) for row in rows]
    thresholds, requests, first = zip(*found, strict=True)
    return ExceedColumns(
        threshold_ms=np.array(thresholds, np.float64),
        requests=np.array(requests, np.int64),
        first=np.array(first, np.int64),
    )
