"""From what the collector read to immutable files: segments, then hours, then days.

Every step makes its files first, each whole and synced before it has its name, and then changes the manifest in one
transaction. A process that is killed leaves files that nobody names, which the next start removes, and records that
are still in the spool: nothing is lost and nothing counts twice. Names are taken by `link`, which never replaces a
file, so that a collector that wakes up late cannot write over its successor's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import duckdb
import numpy as np
import polars as pl

from phase4 import clock
from phase4.durations import DAY_MS, HOUR_MS
from phase4.errors import InvariantViolation, Phase4Error, StoreDamaged, StoreUnavailable, WriteFailed
from phase4.ids import new_id, new_uuid7
from phase4.store import intake, manifest, rollups
from phase4.store.control import Change, ControlStore
from phase4.store.intake import ROWS, Rows
from phase4.store.manifest import DAY, HOUR, SEGMENT, File, NewFile, Range

SCHEMA = 1
"""Of the columns in segments, hours and days."""
ACTOR = "collector"
SEGMENT_ROWS = 50_000
SEGMENT_MS = 60_000
"""A segment is written when so many rows wait, or when the first of them has waited so long."""
MOST_SEGMENTS = 100
"""With more live segments, hours are made before they are over."""
HORIZON_MS = HOUR_MS
"""Events are waited for so long after their hour or day; also how long late ones of a sealed day are gathered."""
MEMORY = "1GB"
THREADS = 2
ROW_GROUP = 50_000
COLUMNS = ", ".join(ROWS.names or ())
"""Of the events, everywhere."""
EVENTS, R10, H1 = ".events.parquet", ".r10.parquet", ".h1.parquet"
_OPTIONS = f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}, KV_METADATA {{phase4_schema: '{SCHEMA}'}})"


class Compacted(NamedTuple):
    """What `compact` did."""

    hours: int
    """Hours written."""
    days: int
    unlinked: int
    """Retired files removed."""
    is_done: bool
    """Whether there was time for all of it."""


def _go_on(_step: str) -> None:
    """Do nothing at a step."""


class Segments:
    """The event files of a home as their only writer has them: the collector that holds the lease."""

    def __init__(
        self,
        home: str,
        store: ControlStore,
        fence_check: Callable[[], None],
        *,
        crash_points: Callable[[str], None] = _go_on,
    ) -> None:
        """Make ready, and remove what a killed writer left.

        Args:
            home: PHASE4_HOME.
            store: Its control store.
            fence_check: Raises FenceLost when another collector has taken over; called in every transaction.
            crash_points: Called with the name of each step: where a test may end the process.

        Raises:
            FenceLost: another collector writes here.
        """
        self._home, self._store, self._fence_check, self._at = home, store, fence_check, crash_points
        manifest.sweep(store, fence_check, actor=ACTOR, request_id=new_id())
        self._committed: dict[int, tuple[Range, ...]] = manifest.covered(store)
        self._temporaries: list[str] = []
        """Files that this process has begun, and that have no name yet."""
        self._parts: list[Rows] = []
        self._ranges: list[Range] = []
        self._since_ms: int | None = None
        """When the first of the rows that wait was read."""
        self._hours_upto: dict[int, int] = {}
        """Day -> end of the hours that were written by this process."""
        self._sealed_ms: dict[int, int] = {}
        """Day -> when this process sealed it."""

    # ---------------------------------------------------------------------------------------------------- segments
    def add(self, rows: Rows, source: int, first_seq: int, end_seq: int) -> None:
        """Take in what was read of a source; what is in a file already, or waits already, is left out.

        Args:
            rows: (n,) the good rows, all that can be, with `first_seq <= seq < end_seq`.
            source: Their source.
            first_seq: Number of the first record read.
            end_seq: Number after the last record read, the ones that were set aside included.
        """
        known = [*self._committed.get(source, ()), *(each for each in self._ranges if each.source == source)]
        for new in manifest.remainder(Range(source, first_seq, end_seq), known):
            self._ranges.append(new)
            part = rows[(rows["seq"] >= new.first_seq) & (rows["seq"] < new.end_seq)]
            if len(part):
                assert np.isfinite(part["latency_ms"]).all()  # one NaN breaks every histogram of its hour
                self._parts.append(part)
                first_ms = int(part["arrived_ms"].min())
                self._since_ms = first_ms if self._since_ms is None else min(self._since_ms, first_ms)
        self._ranges = list(manifest.joined(self._ranges))

    @property
    def waiting(self) -> int:
        """Number of rows that are in no file yet."""
        return sum(len(part) for part in self._parts)

    def flush_due(self, now_ms: int) -> dict[int, int]:
        """Write what waits if it is much or old; return as `flush` does."""
        is_old = self._since_ms is not None and now_ms - self._since_ms >= SEGMENT_MS
        return self.flush(now_ms) if is_old or self.waiting >= SEGMENT_ROWS else self.committed()

    def flush(self, now_ms: int) -> dict[int, int]:
        """Write what waits, one file for each UTC day; return for each source the number up to which all is in files.

        Numbers whose records were all set aside wait for the next file.

        Raises:
            WriteFailed: nothing was written; all of it still waits.
            FenceLost: another collector has taken over.
        """
        if not self._parts:
            return self.committed()
        rows = np.concatenate(self._parts)
        days = rows["t_ms"] // DAY_MS
        with self._files() as made:
            added = [self._segment(rows[days == day], int(day), now_ms, made) for day in np.unique(days)]
            added[-1] = replace(added[-1], ranges=tuple(self._ranges))
            self._at("segments published")
            self._commit("segment", added, [])
        self._at("segments committed")
        for source in {each.source for each in self._ranges}:
            new = (each for each in self._ranges if each.source == source)
            self._committed[source] = manifest.joined([*self._committed.get(source, ()), *new])
        self._parts, self._ranges, self._since_ms = [], [], None
        return self.committed()

    def committed(self) -> dict[int, int]:
        """Return for each source the number up to which its records are in live files, without a gap."""
        return {source: ranges[0].end_seq for source, ranges in self._committed.items() if ranges}

    def may_forget(self, file: intake.SpoolFile, source: int, observed_upto: int) -> bool:
        """Return whether a spool file is needed no more: finished, all of it in event files, and observed.

        Args:
            file: The file.
            source: Number of its source.
            observed_upto: Every record of the source below this number was observed by a recorded tick.
        """
        if not file.is_finished or observed_upto < file.end_seq:
            return False
        whole = Range(source, file.header.first_seq, file.end_seq)
        return not manifest.remainder(whole, self._committed.get(source, ()))

    def _segment(self, rows: Rows, day: int, now_ms: int, made: list[str]) -> NewFile:
        ordered = rows[np.argsort(rows["t_ms"], kind="stable")]
        frame = pl.DataFrame({name: np.ascontiguousarray(ordered[name]) for name in ROWS.names or ()})
        temporary = self._temporary()
        with writing(temporary):
            frame.write_parquet(
                temporary, compression="zstd", row_group_size=ROW_GROUP, metadata={"phase4_schema": str(SCHEMA)}
            )
        self._at("segment written")
        path = os.path.join(manifest.FOLDERS[SEGMENT], day_name(day), f"{new_uuid7(now_ms).hex()}.parquet")
        span = (len(ordered), int(ordered["t_ms"][0]), int(ordered["t_ms"][-1]))
        return self._publish(temporary, path, SEGMENT, day, span, has_events=True, made=made)

    # -------------------------------------------------------------------------------------------------- compaction
    def compact(self, now_ms: int, budget_s: float) -> Compacted:
        """Seal days that are over, join segments to hours, and remove what was retired long ago.

        Args:
            now_ms: The time.
            budget_s: No step is begun after so many seconds; one step is one day.

        Raises:
            StoreDamaged: a file of the manifest is not there; its day, and what follows, is left as it is.
            StoreUnavailable: a file cannot be read; the same.
            InvariantViolation: what was written is not what was read; the old files stay.
            WriteFailed: a file cannot be written; the old ones stay.
        """
        until = clock.monotonic() + budget_s
        hours = days = 0
        files = manifest.live(self._store)
        for day in sorted({file.day for file in files if file.tier != DAY}):
            if clock.monotonic() >= until:
                return Compacted(hours, days, 0, is_done=False)
            own = [file for file in files if file.day == day]
            if _is_over((day + 1) * DAY_MS, now_ms):
                days += self._seal_if_due(day, own, now_ms, is_crowded=_is_crowded(files))
            else:
                hours += self._join_if_due(day, own, now_ms, is_crowded=_is_crowded(files))
        self._at("retired")
        unlinked = manifest.unlink_retired(self._store, now_ms, actor=ACTOR, request_id=new_id())
        return Compacted(hours, days, unlinked, is_done=True)

    def _seal_if_due(self, day: int, files: Sequence[File], now_ms: int, *, is_crowded: bool) -> int:
        # a source that is late for ever must not make the day anew in every round
        if now_ms - self._sealed_ms.get(day, now_ms - HORIZON_MS) < HORIZON_MS and not is_crowded:
            return 0
        _require(self._home, files)
        with self._files() as made:
            new = self._sealed(day, files, made)
            self._at("day published")
            self._commit("seal", [new], [file.path for file in files])
        self._at("day committed")
        self._sealed_ms[day] = now_ms
        self._hours_upto.pop(day, None)
        return 1

    def _sealed(self, day: int, files: Sequence[File], made: list[str]) -> NewFile:
        temporary = self._temporary()
        before = next((file for file in files if file.tier == DAY), None)
        number = self._next_version(f"days/{day_name(day)}-v")
        with connected(self._home) as connection, writing(temporary):
            attach(connection, temporary, "new", is_new=True)
            if before is not None:
                attach(connection, os.path.join(self._home, before.path), "old")
            events = events_of(self._home, files, {DAY: "old"})
            span = seal(connection, events, before, day=day, number=number)
            self._at("day written")
            connection.execute("DETACH new")
            if before is None or before.has_events:
                attach(connection, temporary, "sealed")  # what is on the disk, not what was meant to be
                compare(connection, events, f"SELECT {COLUMNS} FROM sealed.events")
            self._at("day compared")
        path = f"days/{day_name(day)}-v{number}.duckdb"
        has_events = before is None or before.has_events
        file = self._publish(temporary, path, DAY, day, span, has_events=has_events, made=made)
        return replace(file, ranges=manifest.ranges_of(self._store, [each.path for each in files]))

    def _join_if_due(self, day: int, files: Sequence[File], now_ms: int, *, is_crowded: bool) -> int:
        bound = (now_ms - HORIZON_MS) // HOUR_MS * HOUR_MS
        segments = [file for file in files if file.tier == SEGMENT and (is_crowded or file.max_ms < bound)]
        # once for each hour: late ones wait for the next
        if not segments or (self._hours_upto.get(day, 0) >= bound and not is_crowded):
            return 0
        _require(self._home, files)
        with self._files() as made:
            added, retired = self._hours(day, segments, files, made)
            self._at("hours published")
            self._commit("hours", added, retired)
        self._at("hours committed")
        self._hours_upto[day] = bound
        return sum(file.has_events for file in added)

    def _hours(
        self, day: int, segments: Sequence[File], files: Sequence[File], made: list[str]
    ) -> tuple[list[NewFile], list[str]]:
        """Write the hours that segments have events of, each with what was there of it; return new and old files."""
        added: list[NewFile] = []
        with connected(self._home) as connection:
            new = events_of(self._home, segments, {})
            found = connection.execute(f"SELECT DISTINCT t_ms // {HOUR_MS} FROM ({new}) ORDER BY 1").fetchall()
            hours = [int(row[0]) for row in found]
            old = [file for file in files if file.tier == HOUR and file.min_ms // HOUR_MS in hours]
            events = events_of(self._home, [*segments, *old], {})
            written = []
            for hour in hours:
                name = self._hour_name(day, hour)
                added += self._hour(connection, events, day, hour, name, made)
                written.append(os.path.join(self._home, f"{name}{EVENTS}"))
            compare(connection, events, f"SELECT {COLUMNS} FROM read_parquet({texts(written)})")
            self._at("hours compared")
        retired = [file.path for file in (*segments, *old)]
        place = max(i for i, file in enumerate(added) if file.has_events)
        added[place] = replace(added[place], ranges=manifest.ranges_of(self._store, retired))
        return added, retired

    def _hour(
        self, connection: duckdb.DuckDBPyConnection, events: str, day: int, hour: int, name: str, made: list[str]
    ) -> list[NewFile]:
        begin, end = hour * HOUR_MS, (hour + 1) * HOUR_MS
        within = f"SELECT * FROM ({events}) WHERE t_ms >= {begin} AND t_ms < {end} ORDER BY t_ms, source, seq"
        path = self._copied(connection, within)
        events = f"(SELECT * FROM read_parquet({texts([path])}))"
        span = span_of(connection, events)
        parts = [(EVENTS, path)]
        for ending, query in ((R10, rollups.r10_of(events)), (H1, rollups.h1_of(events))):
            parts.append((ending, self._copied(connection, query)))
        self._at("hour written")
        added = []
        for ending, temporary in parts:
            count = span[0] if ending == EVENTS else _rows(connection, f"read_parquet({texts([temporary])})")
            added.append(
                self._publish(
                    *(temporary, f"{name}{ending}", HOUR, day, (count, *span[1:])),
                    has_events=ending == EVENTS,
                    made=made,
                )
            )
        return added

    def _copied(self, connection: duckdb.DuckDBPyConnection, query: str) -> str:
        temporary = self._temporary()
        with writing(temporary):
            connection.execute(f"COPY ({query}) TO {_text(temporary)} {_OPTIONS}")
        return temporary

    def _hour_name(self, day: int, hour: int) -> str:
        stem = f"hours/{day_name(day)}T{hour % 24:02d}-v"
        return f"{stem}{self._next_version(stem)}"

    def _next_version(self, stem: str) -> int:
        return next_version(self._store, stem)

    # ------------------------------------------------------------------------------------------------------ common
    def _temporary(self) -> str:
        self._temporaries.append(os.path.join(self._home, "tmp", f"{manifest.TEMPORARY}{new_id()}"))
        return self._temporaries[-1]

    @contextlib.contextmanager
    def _files(self) -> Iterator[list[str]]:
        """Collect the paths of published files; if they are not committed, they go again."""
        made: list[str] = []
        try:
            yield made
        except BaseException:
            with contextlib.suppress(Phase4Error, OSError):  # what stays is swept at the next start
                manifest.discard(self._store, made)
            raise
        finally:
            _remove(self._temporaries)
            self._temporaries = []

    def _publish(
        self,
        temporary: str,
        path: str,
        tier: str,
        day: int,
        span: tuple[int, int, int],
        *,
        has_events: bool,
        made: list[str],
    ) -> NewFile:
        file = publish(self._home, temporary, path, tier, day, span, has_events=has_events)
        made.append(path)
        return file

    def _commit(self, command: str, added: Sequence[NewFile], retired: Sequence[str]) -> None:
        commit(self._store, command, added, retired, self._fence_check)


# ------------------------------------------------------------------------------------------- files, also retention's
def commit(
    store: ControlStore,
    command: str,
    added: Sequence[NewFile],
    retired: Sequence[str],
    fence_check: Callable[[], None],
) -> None:
    """Change the manifest in one transaction of the collector that still holds the lease."""

    def work(change: Change) -> dict[str, Any]:
        fence_check()
        manifest.replace(change, added, retired)
        return {}

    store.execute(f"manifest {command}", {}, work, actor=ACTOR, request_id=new_id())


def publish(
    home: str, temporary: str, path: str, tier: str, day: int, span: tuple[int, int, int], *, has_events: bool
) -> NewFile:
    """Give a written file its name, synced; return what the manifest will say of it.

    Args:
        home: PHASE4_HOME.
        temporary: Where it was written.
        path: Its name below the home; nothing may be there.
        tier: Of the manifest.
        day: Days since 1970-01-01.
        span: Its rows, and the oldest and newest of them in ms.
        has_events: Whether the events are in it.

    Raises:
        WriteFailed: the name is taken, or the disk refuses it.
    """
    target = os.path.join(home, path)
    folder = os.path.dirname(target)
    with writing(temporary):
        os.chmod(temporary, 0o600)
        _sync(temporary)
        size, digest = os.path.getsize(temporary), _sha256(temporary)
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            _sync(os.path.dirname(folder))
        os.link(temporary, target)
        os.unlink(temporary)
        _sync(folder)
    rows, min_ms, max_ms = span
    return NewFile(
        path=path,
        tier=tier,
        day=day,
        rows=rows,
        min_ms=min_ms,
        max_ms=max_ms,
        size=size,
        sha256=digest,
        has_events=has_events,
    )


def day_name(day: int) -> str:
    """Return the date of a day.

    >>> day_name(20_000)
    '2024-10-04'
    """
    return clock.iso(day * DAY_MS)[:10]


def next_version(store: ControlStore, stem: str) -> int:
    """Return the number of the next file of a day or hour, whose name begins with `stem`."""
    paths = store.rows("SELECT path FROM segment WHERE path >= ? AND path < ?", stem, f"{stem}~")
    return 1 + max((int(path[len(stem) :].split(".", 1)[0]) for (path,) in paths), default=0)


# ------------------------------------------------------------------------------------------------------------ DuckDB
@contextlib.contextmanager
def connected(home: str, *, memory: str = MEMORY, threads: int = THREADS) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database in memory that reads and writes the files of a home.

    Raises:
        StoreUnavailable: DuckDB cannot do what was asked; the message says why.
    """
    connection = connect(home, memory=memory, threads=threads)
    try:
        yield connection
    except duckdb.Error as error:
        raise StoreUnavailable(f"event files of {home}: {str(error).splitlines()[0]}") from error
    finally:
        connection.close()


def connect(home: str, *, memory: str = MEMORY, threads: int = THREADS) -> duckdb.DuckDBPyConnection:
    """Return a database in memory that loads no extension and spills into the home's tmp/."""
    config: dict[str, Any] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": memory,
        "threads": threads,
        "temp_directory": os.path.join(home, "tmp"),
    }
    return duckdb.connect(config=config)


def attach(connection: duckdb.DuckDBPyConnection, path: str, alias: str, *, is_new: bool = False) -> None:
    """Attach a day file under a name, for reading alone unless it is made now."""
    connection.execute(f"ATTACH {_text(path)} AS {alias}{'' if is_new else ' (READ_ONLY)'}")


def events_of(home: str, files: Iterable[File], attached: dict[str, str]) -> str:
    """Return the query of all events of files.

    Args:
        home: PHASE4_HOME.
        files: Those without events are left out.
        attached: Path or tier of a day file -> the name it is attached under.
    """
    parts, parquet = [], []
    for file in files:
        if not file.has_events:
            continue
        if file.tier == DAY:
            alias = attached.get(file.path) or attached[DAY]
            parts.append(f"SELECT {COLUMNS} FROM {alias}.events")
        else:
            parquet.append(os.path.join(home, file.path))
    if parquet:
        parts.append(f"SELECT {COLUMNS} FROM read_parquet({texts(parquet)})")
    return " UNION ALL ".join(parts) or f"SELECT {NOTHING} WHERE false"


NOTHING = ", ".join(
    f"NULL::{kind} AS {name}"
    for name, kind in zip(
        ROWS.names or (),
        (
            *("BIGINT", "UBIGINT", "BIGINT", "BIGINT", "UINTEGER", "FLOAT"),
            *("USMALLINT",) * 4,
            *("UTINYINT",) * 3,
        ),
        strict=True,
    )
)
"""The columns of the events with their types."""


def seal(
    connection: duckdb.DuckDBPyConnection, events: str, before: File | None, *, day: int, number: int
) -> tuple[int, int, int]:
    """Fill the attached file `new` with a day's events and rollups; return rows, oldest and newest event in ms.

    Where the file `old` before it has no events any more, theirs is only the rollups, and late ones join them there.

    Raises:
        InvariantViolation: what was written is not what was read.
    """
    has_events = before is None or before.has_events
    kept = "new.events" if has_events else "late"
    temporary = "" if has_events else "TEMP "
    connection.execute(f"CREATE {temporary}TABLE {kept} AS SELECT {COLUMNS} FROM ({events}) ORDER BY t_ms, source, seq")
    rows, oldest, newest = span_of(connection, kept)
    old = set() if has_events else tables(connection, "old")
    for name, own, merged in (
        ("r10", rollups.r10_of(kept), rollups.merged_r10),
        ("h1", rollups.h1_of(kept), rollups.merged_h1),
    ):
        if not has_events and name not in old:
            continue  # retention took it: a part of a day must not look like all of it
        query = own if has_events else merged([f"SELECT * FROM old.{name}", f"({own})"])
        connection.execute(f"CREATE TABLE new.{name} AS {query}")
    if before is not None and not has_events:
        rows, oldest, newest = rows + before.rows, min(oldest, before.min_ms), max(newest, before.max_ms)
    if (has_events or "r10" in old) and _counted(connection) != rows:
        raise InvariantViolation(f"the counters of {day_name(day)} say {_counted(connection)} events, not {rows}")
    note(connection, day=day, number=number, span=(rows, oldest, newest))
    return rows, oldest, newest


def note(connection: duckdb.DuckDBPyConnection, *, day: int, number: int, span: tuple[int, int, int]) -> None:
    """Write the table info of the attached file `new`, and close it for writing."""
    connection.execute(
        "CREATE TABLE new.info(schema INTEGER, day INTEGER, version INTEGER, rows BIGINT, min_ms BIGINT, max_ms BIGINT)"
    )
    connection.execute("INSERT INTO new.info VALUES (?, ?, ?, ?, ?, ?)", [SCHEMA, day, number, *span])
    connection.execute("CHECKPOINT new")


def compare(connection: duckdb.DuckDBPyConnection, read: str, written: str) -> None:
    """Compare the rows of two queries, whatever their order: their number and a sum of hashes.

    The hash holds for this version of DuckDB only, so both are taken here, and neither is kept.

    Raises:
        InvariantViolation: they differ.
    """
    hashed = f"SELECT count(*), sum(hash({COLUMNS})::HUGEINT)"
    left = connection.execute(f"{hashed} FROM ({read})").fetchall()
    right = connection.execute(f"{hashed} FROM ({written})").fetchall()
    if left != right:
        raise InvariantViolation(f"{left[0][0]} events were read and {right[0][0]} written, or others")


def span_of(connection: duckdb.DuckDBPyConnection, events: str) -> tuple[int, int, int]:
    """Return rows, oldest and newest event in ms."""
    rows, oldest, newest = connection.execute(f"SELECT count(*), min(t_ms), max(t_ms) FROM {events}").fetchall()[0]
    return int(rows), int(oldest), int(newest)


def tables(connection: duckdb.DuckDBPyConnection, alias: str) -> set[str]:
    """Return the names of the tables of an attached file."""
    rows = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = ?", [alias]).fetchall()
    return {str(row[0]) for row in rows}


def _counted(connection: duckdb.DuckDBPyConnection) -> int:
    total = " + ".join(rollups.COUNTS[:5])
    return int(connection.execute(f"SELECT coalesce(sum({total}), 0) FROM new.r10").fetchall()[0][0])


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def _require(home: str, files: Iterable[File]) -> None:
    for file in files:
        if not os.path.exists(os.path.join(home, file.path)):
            raise StoreDamaged(f"{file.path} is in the manifest and not there", hint="phase4 store check")


def _is_over(end_ms: int, now_ms: int) -> bool:
    return end_ms + HORIZON_MS <= now_ms


def _is_crowded(files: Iterable[File]) -> bool:
    return sum(file.tier == SEGMENT for file in files) > MOST_SEGMENTS


@contextlib.contextmanager
def writing(temporary: str) -> Iterator[None]:
    """Remove a file that could not be written, and say so."""
    try:
        yield
    except BaseException as error:
        _remove([temporary, f"{temporary}.wal"])
        if isinstance(error, OSError | duckdb.IOException | pl.exceptions.ComputeError):
            raise WriteFailed(f"an event file cannot be written: {str(error).splitlines()[0]}") from error
        raise


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def texts(values: Iterable[str]) -> str:
    """Return a list of texts as SQL writes it."""
    return f"[{', '.join(_text(value) for value in values)}]"


def _sha256(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
