"""Questions about events: counts and latencies of a window, from day files, hours, segments and spool tails at once.

An answer is of one moment. The spool is read before the manifest: a record that was in the spool is in a file of the
manifest by then, or it is still in none and counts from the spool. Its sequence number says which, so that each event
counts once while the collector writes, joins and removes files. Decisions are never made from here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import duckdb
import numpy as np
import polars as pl

from phase4.durations import HOUR_MS
from phase4.errors import StoreUnavailable
from phase4.store import intake, manifest, rollups, segments, ticks
from phase4.store.control import ControlStore
from phase4.store.intake import ROWS, Known, Rows, Spool, SpoolFile
from phase4.store.manifest import DAY, HOUR, File, Range, Snapshot
from phase4.store.record import HEADER_SIZE, unpack_header
from phase4.store.spool import FOLDER, SUFFIX

EXACT = "exact"
NEAR = "within 1.1 %"
RAW_MS = HOUR_MS
"""Percentiles of windows up to this long are taken from the events themselves."""
RAW_RATES_MS = 600_000
"""The same of rates: counters of 10 seconds count exactly as well, and an hour has 360 of each."""
MEMORY = "1GB"
THREADS = 2
MOST_ATTACHED = 64
"""Day files that stay open between questions."""
ATTEMPTS = 5
UNKNOWN_SOURCE = 0
"""Number of a source that the collector has not seen yet."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A part of a window whose events or counters are no longer kept."""

    from_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Events of one flag, entry and arm; what was not asked by is None."""

    flag: int | None
    entry: int | None
    arm: int | None
    exposed: int
    ok: int
    error: int
    timeout: int
    invalid: int
    timed: int
    """Outcomes that have a latency."""
    s1: float
    """Sum of their latencies in ms."""
    s2: float
    """Sum of the squares."""
    min_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Latencies of one flag, entry and arm; what was not asked by is None."""

    flag: int | None
    entry: int | None
    arm: int | None
    count: int
    """Outcomes that have a latency."""
    values_ms: tuple[float, ...]
    """One for each quantile asked for: the latency of the outcome of rank ceil(q * count)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTable:
    """The answer of `rates`."""

    rows: tuple[Rate, ...]
    exactness: str
    gaps: tuple[Gap, ...]
    """What of the window is missing in the rows: retention has dropped it."""
    manifest_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileTable:
    """The answer of `quantiles`."""

    rows: tuple[Quantiles, ...]
    exactness: str
    gaps: tuple[Gap, ...]
    manifest_version: int


class _Attached(NamedTuple):
    """A day file that is open."""

    alias: str
    tables: frozenset[str]


class _Tail(NamedTuple):
    """What was read of one spool file."""

    uuid: bytes
    batch: intake.Batch


class _Parts(NamedTuple):
    """Where the rows of a window come from."""

    raw: list[str]
    """Queries of events."""
    rollup: list[str]
    """Queries of counters or histograms."""
    gaps: list[Gap]


class EventReader:
    """Reads the events of one home; for one thread, like its store. Writes nothing."""

    def __init__(self, home: str, store: ControlStore) -> None:
        """Make ready; files are opened when they are asked for.

        Args:
            home: PHASE4_HOME.
            store: Its control store.
        """
        self._home, self._store = home, store
        self._connection = segments.connect(home, memory=MEMORY, threads=THREADS)
        self._attached: dict[tuple[str, int], _Attached] = {}
        """(path, version it came with) -> how it is open; the one that was asked last stands last."""
        self._count = 0
        self._version = -1
        """Of the manifest when replaced files were closed last."""

    def close(self) -> None:
        """Close all files."""
        self._connection.close()
        self._attached.clear()

    # --------------------------------------------------------------------------------------------------- questions
    def rates(self, from_ms: int, until_ms: int, by: Sequence[str] = rollups.KEY) -> RateTable:
        """Count the events of a window by outcome.

        Args:
            from_ms: Its begin.
            until_ms: Its end; that moment is not in it.
            by: Some of flag, entry and arm.

        Raises:
            ValueError: `by` names something else.
            StoreUnavailable: a file is missing or damaged.
        """
        keys = _keys(by)

        def ask(shot: Snapshot, tail: Rows) -> RateTable:
            parts = self._parts(shot, tail, from_ms, until_ms, "r10", rollups.R10_MS, raw_ms=RAW_RATES_MS)
            counted = rollups.counted(self._connection, keys, rollups=parts.rollup, raw=parts.raw)
            found = tuple(_rate(_named(keys, key), counts) for key, counts in counted.items())
            return RateTable(rows=found, exactness=EXACT, gaps=tuple(parts.gaps), manifest_version=shot.version)

        return self._answer(from_ms, until_ms, ask)

    def quantiles(
        self, from_ms: int, until_ms: int, by: Sequence[str] = rollups.KEY, qs: Sequence[float] = (0.5, 0.95, 0.99)
    ) -> QuantileTable:
        """Return latencies of a window below which given shares of the outcomes lie.

        Args:
            from_ms: Its begin.
            until_ms: Its end; that moment is not in it.
            by: Some of flag, entry and arm.
            qs: Quantiles, 0 to 1.

        Raises:
            ValueError: `by` names something else, or a quantile is none.
            StoreUnavailable: a file is missing or damaged.
        """
        keys = _keys(by)
        if not qs or not all(0.0 <= q <= 1.0 for q in qs):
            raise ValueError(f"quantiles lie between 0 and 1: {list(qs)}")

        def ask(shot: Snapshot, tail: Rows) -> QuantileTable:
            parts = self._parts(shot, tail, from_ms, until_ms, "h1", rollups.H1_MS, raw_ms=RAW_MS)
            found = self._binned(parts, keys, qs) if parts.rollup else self._exact(parts, keys, qs)
            return QuantileTable(
                rows=tuple(
                    Quantiles(**_named(keys, key), count=count, values_ms=values) for key, count, values in found
                ),
                exactness=NEAR if parts.rollup else EXACT,
                gaps=tuple(parts.gaps),
                manifest_version=shot.version,
            )

        return self._answer(from_ms, until_ms, ask)

    def frame(self, from_ms: int, until_ms: int) -> pl.DataFrame:
        """Return the events of a window, by time, source and number; the columns are those of `intake.ROWS`.

        Raises:
            StoreUnavailable: a file is missing or damaged.
        """

        def ask(shot: Snapshot, tail: Rows) -> dict[str, Any]:
            sql = f"SELECT * FROM ({self._all(shot, tail)}) WHERE t_ms >= $low AND t_ms < $high"
            query = self._connection.execute(f"{sql} ORDER BY t_ms, source, seq", {"low": from_ms, "high": until_ms})
            return query.fetchnumpy()

        columns = self._answer(from_ms, until_ms, ask)
        return pl.DataFrame({name: np.asarray(columns[name], ROWS[name]) for name in ROWS.names or ()})

    @contextlib.contextmanager
    def view(self, from_ms: int, until_ms: int) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a connection with the view `events` of one moment, for questions of one's own.

        It holds the whole files that have events of the window, and the spool's: ask with `t_ms` between the ends.
        A question that comes later than `manifest.GRACE_MS` may find a file gone. Ask
        the reader nothing else meanwhile.

        Raises:
            StoreUnavailable: a file is missing or damaged.
        """

        def ask(shot: Snapshot, tail: Rows) -> None:
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW events AS {self._all(shot, tail)}")

        self._answer(from_ms, until_ms, ask)
        try:
            yield self._connection
        except duckdb.Error as error:
            raise StoreUnavailable(f"events cannot be read: {_line(error)}") from error
        finally:
            self._connection.execute("DROP VIEW IF EXISTS events")  # it would hold files open that are replaced

    def _all(self, shot: Snapshot, tail: Rows) -> str:
        """Return the query of the events of a snapshot's files and of the spool."""
        aliases = {file.path: self._attach(file).alias for file in shot.files if file.tier == DAY and file.has_events}
        files = segments.events_of(self._home, shot.files, aliases)
        return f"{files} UNION ALL {self._register(tail)}" if len(tail) else files

    # ------------------------------------------------------------------------------------------------- one moment
    def _answer(self, from_ms: int, until_ms: int, ask: Callable[[Snapshot, Rows], _Answer]) -> _Answer:
        """Ask on one moment; if a file has gone meanwhile, on a new one."""
        for attempt in range(ATTEMPTS):
            shot, tail = self._snapshot(self._tails(), from_ms, until_ms)
            try:
                self._detach(shot)
                return ask(shot, tail)
            except duckdb.Error as error:
                gone = any(not os.path.exists(os.path.join(self._home, file.path)) for file in shot.files)
                if not gone or attempt == ATTEMPTS - 1:
                    raise StoreUnavailable(f"events cannot be read: {_line(error)}") from error
        raise StoreUnavailable("events cannot be read: files go faster than they can be opened")

    def _tails(self) -> list[_Tail]:
        """Return what the spool has that no file had a moment ago."""
        numbers = ticks.sources(self._store)
        spool = Spool(self._home)
        found = list(_spool_files(self._home))
        covered = manifest.covered(self._store, {numbers.get(file.header.uuid, UNKNOWN_SOURCE) for file in found})
        for file in found:
            file.read = _known_records(file, covered.get(numbers.get(file.header.uuid, UNKNOWN_SOURCE), ()))
            spool.files[file.path] = file
        return [_Tail(batch.file.header.uuid, batch) for batch in _batches(spool)]

    def _snapshot(self, tails: Sequence[_Tail], from_ms: int, until_ms: int) -> tuple[Snapshot, Rows]:
        """Return the manifest, and the rows of the spool that none of its files has; both of one moment."""
        with manifest.one_moment(self._store):
            numbers = ticks.sources(self._store) if tails else {}
            sources = {numbers[tail.uuid] for tail in tails if tail.uuid in numbers}
            shot = manifest.snapshot(self._store, from_ms, until_ms, sources=sources)
            entries = {flag.id: flag.entries for flag in self._store.flags()} if tails else {}
        known = Known(entries, self._store.now())
        parts = [np.empty(0, ROWS)]
        for tail in tails:
            source = numbers.get(tail.uuid, UNKNOWN_SOURCE)
            rows, _ = intake.rows_of(tail.batch, source, known)
            parts.append(_uncovered(rows, tail.batch, source, shot.covered.get(source, ())))
        rows = np.concatenate(parts)
        return shot, rows[(rows["t_ms"] >= from_ms) & (rows["t_ms"] < until_ms)]

    # ------------------------------------------------------------------------------------------------------- files
    def _attach(self, file: File) -> _Attached:
        key = _key(file)
        known = self._attached.pop(key, None)
        if known is None:
            self._count += 1
            alias = f"day_{self._count}"
            segments.attach(self._connection, os.path.join(self._home, file.path), alias)
            known = _Attached(alias, frozenset(segments.tables(self._connection, alias)))
        self._attached[key] = known
        return known

    def _detach(self, shot: Snapshot) -> None:
        """Close the files that were replaced, and of too many those that were asked longest ago."""
        wanted = {_key(file) for file in shot.files}
        others = [key for key in self._attached if key not in wanted]
        old = set(others[: max(0, len(self._attached) - MOST_ATTACHED)])
        if shot.version != self._version:
            live = {_key(file) for file in manifest.live(self._store) if file.tier == DAY}
            old |= {key for key in others if key not in live}
        for key in old:
            self._connection.execute(f"DETACH {self._attached.pop(key).alias}")
        self._version = shot.version

    def _register(self, tail: Rows) -> str:
        """Let the rows of the spool be asked for; return their query."""
        self._connection.register("tail", {name: tail[name].copy() for name in ROWS.names or ()})
        return f"SELECT {segments.COLUMNS} FROM tail"

    def _parts(
        self, shot: Snapshot, tail: Rows, from_ms: int, until_ms: int, table: str, step_ms: int, *, raw_ms: int
    ) -> _Parts:
        """Return where a window's rows come from: of a long one whole steps from rollups, the rest from events."""
        low = -(-from_ms // step_ms) * step_ms
        high = max(low, until_ms // step_ms * step_ms)
        is_long = until_ms - from_ms > raw_ms and low < high
        window = f"t_ms >= {int(from_ms)} AND t_ms < {int(until_ms)}"
        parts = _Parts([self._register(tail)] if len(tail) else [], [], [])
        whole: list[File] = []
        edges: list[File] = []
        for files in _together(shot.files):
            events = next((file for file in files if file.has_events), None)
            source = self._rollup(files, table) if low < high and (is_long or events is None) else None
            if source is None:
                whole += [events] if events else []
                parts.gaps.extend([] if events else _gaps(files[0], (from_ms, until_ms)))
                continue
            parts.rollup.append(f"SELECT * FROM {source} WHERE b >= {low} AND b < {high}")
            edges += [events] if events and (events.min_ms < low or events.max_ms >= high) else []
            parts.gaps.extend([] if events else _gaps(files[0], (from_ms, low), (high, until_ms)))
        parts.raw.extend(f"{query} WHERE {window}" for query in self._events(whole))
        parts.raw.extend(
            f"{query} WHERE {window} AND (t_ms < {low} OR t_ms >= {high})" for query in self._events(edges)
        )
        return parts

    def _events(self, files: Sequence[File]) -> Iterator[str]:
        """Yield the queries of files' events, each of which a condition may follow."""
        for file in files:
            if file.tier == DAY:
                yield f"SELECT {segments.COLUMNS} FROM {self._attach(file).alias}.events"
        parquet = [file for file in files if file.tier != DAY]
        if parquet:
            yield f"SELECT {segments.COLUMNS} FROM ({segments.events_of(self._home, parquet, {})})"

    def _rollup(self, files: Sequence[File], table: str) -> str | None:
        """Return where the rollup of a day or an hour is; None if it has none."""
        if files[0].tier == DAY:
            attached = self._attach(files[0])
            return f"{attached.alias}.{table}" if table in attached.tables else None
        ending = segments.R10 if table == "r10" else segments.H1
        paths = [os.path.join(self._home, file.path) for file in files if file.path.endswith(ending)]
        return f"read_parquet({segments.texts(paths)})" if paths else None

    # ----------------------------------------------------------------------------------------------------- queries
    def _exact(self, parts: _Parts, keys: Sequence[str], qs: Sequence[float]) -> list[Any]:
        if not parts.raw:
            return []
        columns = "".join(f"{key}, " for key in keys)
        wanted = f"[{', '.join(f'{float(q)!r}::DOUBLE' for q in qs)}]"
        rows = self._run(
            f"SELECT {columns}count(*), quantile_disc(latency_ms, {wanted}) FROM ({' UNION ALL '.join(parts.raw)})"
            f" WHERE {rollups.IS_TIMED} GROUP BY ALL ORDER BY ALL"
        )
        width = len(keys)
        return [(row[:width], row[width], tuple(map(float, row[-1]))) for row in rows if row[width]]

    def _binned(self, parts: _Parts, keys: Sequence[str], qs: Sequence[float]) -> list[Any]:
        columns = "".join(f"{key}, " for key in keys)
        queries = [f"SELECT {columns}bin, n FROM ({each})" for each in parts.rollup]
        queries += [
            f"SELECT {columns}{rollups.BIN} AS bin, count(*) AS n FROM ({each}) WHERE {rollups.IS_TIMED} GROUP BY ALL"
            for each in parts.raw
        ]
        return rollups.quantiles(self._connection, " UNION ALL ".join(queries), keys, qs)

    def _run(self, sql: str) -> list[Any]:
        return self._connection.execute(sql).fetchall()


def _keys(by: Sequence[str]) -> tuple[str, ...]:
    unknown = set(by) - set(rollups.KEY)
    if unknown:
        raise ValueError(f"events are counted by {', '.join(rollups.KEY)}: {', '.join(sorted(unknown))}")
    return tuple(name for name in rollups.KEY if name in by)


def _named(keys: Sequence[str], values: Sequence[int]) -> dict[str, Any]:
    return dict.fromkeys(rollups.KEY) | dict(zip(keys, map(int, values), strict=True))


def _rate(named: dict[str, Any], counts: rollups.Counted) -> Rate:
    values = counts._asdict()
    low, high = values.pop("mn"), values.pop("mx")
    return Rate(**named, **values, min_ms=low, max_ms=high)


def _together(files: Sequence[File]) -> list[list[File]]:
    """Return the files by what they hold: an hour is three, everything else one."""
    found: dict[str, list[File]] = {}
    for file in files:
        found.setdefault(file.path.split(".", 1)[0] if file.tier == HOUR else file.path, []).append(file)
    return list(found.values())


def _gaps(file: File, *windows: tuple[int, int]) -> list[Gap]:
    """Return what of windows a file has no answer for."""
    clipped = [(max(file.min_ms, begin), min(file.max_ms + 1, end)) for begin, end in windows]
    return [Gap(from_ms=begin, until_ms=end) for begin, end in clipped if begin < end]


def _key(file: File) -> tuple[str, int]:
    return file.path, file.added_version


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0]


def _spool_files(home: str) -> Iterator[SpoolFile]:
    """Yield the files of the spool; those that go or cannot be read are the collector's to tell of."""
    folder = os.path.join(home, FOLDER)
    for name in os.listdir(folder):
        if not name.endswith(SUFFIX) or name.startswith("."):
            continue
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
            yield SpoolFile(path, unpack_header(file.read(HEADER_SIZE)))


def _batches(spool: Spool) -> Iterator[intake.Batch]:
    """Yield the records of the spool; a file that goes meanwhile is in the manifest by now."""
    while True:
        try:
            yield from spool.read()
        except FileNotFoundError as error:
            if spool.files.pop(str(error.filename), None) is None:
                raise StoreUnavailable(f"{error.filename} is not there") from error
        else:
            return


def _known_records(file: SpoolFile, covered: Sequence[Range]) -> int:
    """Return how many records at the begin of a spool file are in event files."""
    first = file.header.first_seq
    return max((each.end_seq - first for each in covered if each.first_seq <= first < each.end_seq), default=0)


def _uncovered(rows: Rows, batch: intake.Batch, source: int, covered: Sequence[Range]) -> Rows:
    whole = Range(source, batch.first_seq, batch.first_seq + len(batch.records))
    is_new = np.zeros(len(rows), np.bool_)
    for part in manifest.remainder(whole, covered):
        is_new |= (rows["seq"] >= part.first_seq) & (rows["seq"] < part.end_seq)
    return rows[is_new]
