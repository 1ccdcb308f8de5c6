"""Events in and out as files: an import is one source of its own, an export is whole or not there.

An imported file is known by its bytes and by what its columns were taken for, so bringing it in again adds nothing.
Its rows go straight into segments, under their own times. No spool holds them, so no judge ever sees them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple

import duckdb
import numpy as np
import polars as pl

from phase4 import clock
from phase4.durations import DAY_MS
from phase4.errors import Phase4Error, WriteFailed
from phase4.ids import new_id, new_uuid7
from phase4.store import intake, manifest, segments, tables, ticks, unit_key, values
from phase4.store.control import Change, ControlStore, canonical
from phase4.store.events import EventReader
from phase4.store.intake import ROWS, Rows
from phase4.store.manifest import SEGMENT, File, NewFile, Range
from phase4.store.mapping import Layout, Wishes, layout_of
from phase4.store.record import REASONS
from phase4.store.tables import Table
from phase4.store.values import ARMS, OUTCOMES, Known, Problem, Understood

KIND = "import"
"""Of such a source; its `host` is the file's name."""
STOP, QUARANTINE = "stop", "quarantine"
IMPORTED, ALREADY, REFUSED, UNDERSTOOD, EMPTY = "imported", "already imported", "refused", "understood", "empty"
SHOWN = 20
"""Bad rows that are told in full."""
SAMPLE = 3
"""Rows that a dry run shows."""
TEMPORARY = "importing-"
LOCK = os.path.join("tmp", "import.lock")
ALWAYS = (-(2**62), 2**62)
_ATTEMPTS = 3
_COMMAND = "events import"


def _nothing(_done: int, _all: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of one file."""

    file: str
    status: str
    source: str
    """UUID of the source, hex."""
    layout: Layout
    time_unit: str
    rows: int
    """That are events."""
    bad: int
    codes: Mapping[str, int]
    """Bad rows by why."""
    problems: tuple[str, ...]
    """The first of them in full."""
    from_ms: int | None = None
    """Of the oldest event."""
    until_ms: int | None = None
    """After the newest one."""
    sample: tuple[Mapping[str, Any], ...] = ()

    @property
    def kept(self) -> int:
        """Rows that are in the store by this command."""
        return self.rows if self.status == IMPORTED else 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "file": self.file,
            "status": self.status,
            "source": self.source,
            **self.layout.to_json(),
            "time_unit": self.time_unit,
            "unused": list(self.layout.unused),
            "rows": self.rows,
            "kept": self.kept,
            "bad": self.bad,
            "codes": dict(self.codes),
            "problems": list(self.problems),
            "from_ms": self.from_ms,
            "until_ms": self.until_ms,
            "sample": [dict(each) for each in self.sample],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How files are brought in, by whom, and why."""

    wishes: Wishes = field(default_factory=Wishes)
    format: str | None = None
    on_error: str = STOP
    actor: str
    request_id: str
    reason: str | None = None
    crash_points: Callable[[str], None] = lambda _step: None
    """Called with the name of each step: where a test may end the process."""


# -------------------------------------------------------------------------------------------------------------- import
def import_files(
    store: ControlStore, paths: Sequence[str], order: Order, progress: Callable[[int, int], None] = _nothing
) -> Iterator[Imported]:
    """Bring files in, one after the other; each is whole or not there. The first that is refused is the last.

    Args:
        store: The control store; with `is_dry_run` nothing is touched, and every file is looked at.
        paths: The files.
        order: How.
        progress: Called with the rows of a file that are read, and all.

    Raises:
        InvalidInput: a file is no such file, or its columns are not understood.
        WriteFailed: the disk refuses it; what was brought in before stays.
    """
    with contextlib.nullcontext() if store.is_dry_run else _alone(store.home):
        for place, path in enumerate(paths):
            # the order's own name stands for its first file: the same name for other files is refused
            own = replace(order, request_id=order.request_id if place == 0 else f"{order.request_id}:{place}")
            done = _import(store, path, own, progress)
            yield done
            if done.status == REFUSED:
                return


def _import(store: ControlStore, path: str, order: Order, progress: Callable[[int, int], None]) -> Imported:
    table = tables.read(path, order.format)
    if not table.columns and not table.height:
        return _of(table, Layout(columns={}, constants={}, values={}, time_unit=None, guesses=(), unused=()), EMPTY)
    layout = layout_of(table, order.wishes)
    uuid = sha256(table.digest + canonical(layout.to_json()).encode()).digest()[:16]
    known = _known(store)
    if _is_in(store, uuid):
        done = _of(table, layout, ALREADY, uuid)
        return done if store.is_dry_run else _repeated(store, done, order)
    found = values.understand(table, layout, known, progress=progress)
    status = UNDERSTOOD if store.is_dry_run else IMPORTED if order.on_error == QUARANTINE else REFUSED
    if not len(found.bad):
        status = UNDERSTOOD if store.is_dry_run else IMPORTED if len(found.rows) else EMPTY
    shown = values.problems(table, layout, known, found, SHOWN)
    done = _of(table, layout, status, uuid, found, shown)
    if status == UNDERSTOOD:
        return replace(done, sample=_sample(table, layout, found, known))
    return _kept(store, table, done, found, known, order) if status == IMPORTED else done


def _known(store: ControlStore) -> Known:
    flags = store.flags()
    return Known(
        {flag.flag_key: flag.id for flag in flags},
        {flag.id: flag.entries for flag in flags},
        store.now(),
        None if store.is_dry_run else unit_key.load_or_make(store.home),
    )


def _of(
    table: Table,
    layout: Layout,
    status: str,
    uuid: bytes = b"",
    found: Understood | None = None,
    shown: Sequence[Problem] = (),
) -> Imported:
    times = found.rows["t_ms"] if found is not None else np.empty(0, np.int64)
    return Imported(
        file=table.name,
        status=status,
        source=uuid.hex(),
        layout=layout,
        time_unit=found.time_unit if found is not None else layout.time_unit or "",
        rows=len(times),
        bad=0 if found is None else len(found.bad),
        codes={} if found is None else found.counts,
        problems=tuple(each.text(table.name) for each in shown),
        from_ms=int(times.min()) if len(times) else None,
        until_ms=int(times.max()) + 1 if len(times) else None,
    )


def _sample(table: Table, layout: Layout, found: Understood, known: Known) -> tuple[Mapping[str, Any], ...]:
    rows = found.rows[:SAMPLE]
    lines = table.lines(rows["seq"].tolist()) if len(rows) else []
    keys = {number: name for name, number in known.flags.items()}
    arms, outcomes = _turned(ARMS), _turned(OUTCOMES)
    return tuple(
        {
            "line": line,
            "at_ms": int(row["t_ms"]),
            "unit": f"{row['unit']:#018x}" if layout.has("unit") else "hashed",
            "flag": keys[int(row["flag"])],
            "arm": arms[int(row["arm"])],
            "outcome": outcomes[int(row["outcome"])],
            "latency": None if row["latency_ms"] < 0 else float(row["latency_ms"]),
            "entry": int(row["entry"]),
            "version": int(row["flag_version"]),
        }
        for line, row in zip(lines, rows, strict=True)
    )


def _turned(names: Mapping[str, int]) -> dict[int, str]:
    return {number: name for name, number in names.items()}


def _is_in(store: ControlStore, uuid: bytes) -> bool:
    """Return whether a file is in: its source was closed in the transaction that its rows came with."""
    return bool(store.rows("SELECT 1 FROM source WHERE uuid = ? AND closed_ms IS NOT NULL", uuid))


def _repeated(store: ControlStore, done: Imported, order: Order) -> Imported:
    """Answer an order whose file is in; under the name of the order that brought it in, as that one was answered."""
    reply = store.execute(
        _COMMAND, {"source": done.source}, lambda _change: {}, actor=order.actor, request_id=order.request_id
    )
    return replace(done, status=IMPORTED, **reply.data) if reply.data else done


def _kept(store: ControlStore, table: Table, done: Imported, found: Understood, known: Known, order: Order) -> Imported:
    uuid = bytes.fromhex(done.source)
    source = _source(store, uuid, table.name, order)
    rows = found.rows
    rows["source"], rows["arrived_ms"] = source, known.now_ms
    order.crash_points("source known")
    if len(found.bad):
        _set_aside(store.home, table, done, found, known)
        order.crash_points("set aside")
    reply = {"rows": done.rows, "bad": done.bad, "codes": dict(done.codes)}
    leaf = {"file": table.name, "source": done.source, "sha256": table.digest.hex(), **reply}

    def work(change: Change) -> dict[str, Any]:
        change.write("UPDATE source SET next_seq = ?, closed_ms = ? WHERE id = ?", found.height, change.now_ms, source)
        change.audit("events_imported", f"source {source}", before=None, after=leaf, reason=order.reason)
        return reply

    _commit(store, rows, Range(source, 0, found.height), work, done, order)
    order.crash_points("committed")
    return done


def _source(store: ControlStore, uuid: bytes, name: str, order: Order) -> int:
    found: list[int] = []

    def work(change: Change) -> dict[str, Any]:
        found.append(
            ticks.source_id(change, uuid, kind=KIND, pid=os.getpid(), boot_id="", started_ms=change.now_ms, host=name)
        )
        return {}

    store.execute("events source", {}, work, actor=order.actor, request_id=new_id())
    return found[-1]


class _SweptAway(Exception):
    """A collector began between a file's publication and its commit, and took it for an orphan."""


def _commit(
    store: ControlStore,
    rows: Rows,
    whole: Range,
    work: Callable[[Change], dict[str, Any]],
    done: Imported,
    order: Order,
) -> None:
    """Write segments and name them in the manifest, with `work` in the same transaction."""
    for attempt in range(_ATTEMPTS):
        made: list[NewFile] = []
        try:
            _write(store, rows, made)
            order.crash_points("segments published")

            def commit(change: Change, made: Sequence[NewFile] = made) -> dict[str, Any]:
                _check_there(store.home, made)
                if made:
                    manifest.replace(change, [*made[:-1], replace(made[-1], ranges=(whole,))], [])
                return work(change)

            store.execute(_COMMAND, {"source": done.source}, commit, actor=order.actor, request_id=order.request_id)
        except _SweptAway:
            manifest.discard(store, [file.path for file in made])
            if attempt == _ATTEMPTS - 1:
                raise WriteFailed(f"{done.file}: a collector that starts again and again removes the files") from None
        except BaseException:
            with contextlib.suppress(Phase4Error, OSError):  # what stays is swept by the collector
                manifest.discard(store, [file.path for file in made])
            raise
        else:
            return


def _check_there(home: str, made: Sequence[NewFile]) -> None:
    """Look whether published files lie there: in a transaction no sweep begins, and after it the manifest has them."""
    if not all(os.path.exists(os.path.join(home, file.path)) for file in made):
        raise _SweptAway


def _write(store: ControlStore, rows: Rows, made: list[NewFile]) -> None:
    """Write the rows to a segment for each UTC day."""
    rows = rows[np.argsort(rows["t_ms"], kind="stable")]
    days = rows["t_ms"] // DAY_MS
    made.extend(_segment(store, rows[days == day], int(day)) for day in np.unique(days))


def _segment(store: ControlStore, rows: Rows, day: int) -> NewFile:
    frame = pl.DataFrame({name: np.ascontiguousarray(rows[name]) for name in ROWS.names or ()})
    temporary = os.path.join(store.home, "tmp", f"{TEMPORARY}{new_id()}")
    schema = {"phase4_schema": str(segments.SCHEMA)}
    with segments.writing(temporary):
        frame.write_parquet(temporary, compression="zstd", row_group_size=segments.ROW_GROUP, metadata=schema)
    name = f"{new_uuid7(store.now()).hex()}.parquet"
    path = os.path.join(manifest.FOLDERS[SEGMENT], segments.day_name(day), name)
    span = (len(rows), int(rows["t_ms"][0]), int(rows["t_ms"][-1]))
    return segments.publish(store.home, temporary, path, SEGMENT, day, span, has_events=True)


@contextlib.contextmanager
def _alone(home: str) -> Iterator[None]:
    """Let one import go on at a time, and remove what a killed one left half written."""
    handle = os.open(os.path.join(home, LOCK), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        folder = os.path.join(home, "tmp")
        for name in os.listdir(folder):
            if name.startswith(TEMPORARY):
                os.unlink(os.path.join(folder, name))
        yield
    finally:
        os.close(handle)


def _set_aside(home: str, table: Table, done: Imported, found: Understood, known: Known) -> None:
    """Append the bad rows to the day's quarantine. Who they are about is not in it: no raw id is ever on disk."""
    documents = [
        {
            "source": done.source,
            "seq": each.row,
            "code": each.code,
            "file": table.name,
            "line": each.line,
            "column": each.column,
            "reason": each.reason,
            "record": {name: found.texts[name][each.row] for name in found.texts.columns if name != "targeting_key"},
        }
        for each in values.problems(table, done.layout, known, found)
    ]
    intake.set_aside(home, clock.iso(known.now_ms)[:10], documents)


# ---------------------------------------------------------------------------------------------------------------- list
class Source(NamedTuple):
    """Where events come from: a process, or a file."""

    number: int
    uuid: bytes
    kind: str
    name: str
    """Of the machine, or of the file."""
    started_ms: int
    closed_ms: int | None
    rows: int
    """Events that are kept."""
    from_ms: int | None
    until_ms: int | None
    ranges: tuple[Range, ...]
    """Its numbers in event files."""
    set_aside: Mapping[str, int]


class Listing(NamedTuple):
    """What the event plane holds."""

    sources: tuple[Source, ...]
    files: tuple[File, ...]
    set_aside: Mapping[str, int]


def listing(store: ControlStore) -> Listing:
    """Return sources, files and what was set aside.

    Raises:
        StoreUnavailable: a file is missing or damaged.
    """
    aside = _aside(store)
    reader = EventReader(store.home, store)
    try:
        with reader.view(*ALWAYS) as connection:
            counted = connection.execute(
                "SELECT source, count(*), min(t_ms), max(t_ms) FROM events GROUP BY source"
            ).fetchall()
    finally:
        reader.close()
    rows = {int(row[0]): row[1:] for row in counted}
    covered = manifest.covered(store)
    found = store.rows("SELECT id, uuid, kind, host, started_ms, closed_ms FROM source ORDER BY id")
    sources = [_listed(row, rows.get(row[0]), covered.get(row[0], ()), aside.get(row[0], {})) for row in found]
    total: dict[str, int] = {}
    for codes in aside.values():
        for code, count in codes.items():
            total[code] = total.get(code, 0) + count
    return Listing(tuple(sources), tuple(manifest.live(store)), dict(sorted(total.items())))


def _listed(row: Sequence[Any], counted: Any, ranges: tuple[Range, ...], aside: Mapping[str, int]) -> Source:
    number, uuid, kind, name, started_ms, closed_ms = row
    count, low, high = counted or (0, None, None)
    until_ms = None if high is None else high + 1
    return Source(number, bytes(uuid), kind, name, started_ms, closed_ms, count, low, until_ms, ranges, aside)


def _aside(store: ControlStore) -> dict[int, dict[str, int]]:
    """Return source -> code -> how many records; one that a killed import has set aside twice counts once."""
    numbers = {uuid.hex(): number for uuid, number in ticks.sources(store).items()}
    codes: dict[tuple[int, int], str] = {}
    for line in _lines(os.path.join(store.home, intake.QUARANTINE)):
        with contextlib.suppress(ValueError, KeyError, TypeError):  # the end of a line that a full disk cut
            document = json.loads(line)
            source = document["source"]
            codes[numbers.get(source, 0) if isinstance(source, str) else source, document["seq"]] = document["code"]
    found: dict[int, dict[str, int]] = {}
    for (source, _), code in codes.items():
        if source:
            own = found.setdefault(source, {})
            own[code] = own.get(code, 0) + 1
    return found


def _lines(folder: str) -> Iterator[str]:
    for name in sorted(os.listdir(folder)):
        if name.endswith(".jsonl"):
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                yield from file


# -------------------------------------------------------------------------------------------------------------- export
class Exported(NamedTuple):
    """What an export wrote."""

    rows: int
    size: int
    gaps: tuple[str, ...]
    """Days of the window whose events are no longer kept."""


def export(
    store: ControlStore,
    path: str,
    *,
    format: str | None = None,  # noqa: A002  the option's name
    from_ms: int | None = None,
    until_ms: int | None = None,
    flag_key: str | None = None,
    with_names: bool = False,
) -> Exported:
    """Write events to a file, in the order of the manifest's files; it is whole or not there.

    Args:
        store: The control store.
        path: Where to; what is there is replaced.
        format: One of `tables.FORMATS`; by default what the name says.
        from_ms: Begin of the window.
        until_ms: Its end; that moment is not in it.
        flag_key: One flag only.
        with_names: Names instead of numbers for flag, arm, outcome and reason.

    Raises:
        FlagNotFound: there is no such flag.
        UsageError: the name says no format.
        StoreUnavailable: an event file is missing or damaged.
        WriteFailed: it cannot be written.
    """
    kind = tables.format_of(path, format)
    low = ALWAYS[0] if from_ms is None else from_ms
    high = ALWAYS[1] if until_ms is None else until_ms
    condition = f"t_ms >= {int(low)} AND t_ms < {int(high)}"
    if flag_key is not None:
        condition += f" AND flag = {store.flag(flag_key).id}"
    columns = _columns(store, kind, with_names=with_names)
    temporary = os.path.join(os.path.dirname(path) or ".", f".{os.path.basename(path)}.{new_id()[:8]}.tmp")
    reader = EventReader(store.home, store)
    try:
        _touch(temporary, path)
        with reader.view(low, high) as connection:
            rows = _copy(connection, f"SELECT {columns} FROM events WHERE {condition}", temporary, kind, path)
        size = _in_place(temporary, path)
    finally:
        reader.close()
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    gone = [file for file in manifest.live(store, low, high) if file.tier == manifest.DAY and not file.has_events]
    return Exported(rows, size, tuple(segments.day_name(file.day) for file in gone))


def _columns(store: ControlStore, kind: str, *, with_names: bool) -> str:
    """Return the columns of an export: their names are ours, so that importing it needs no map."""
    # a number of 64 bits is no JSON number for most programs
    unit = "unit" if kind == tables.PARQUET else "printf('0x%016x', unit)"
    flags = {flag.id: flag.flag_key for flag in store.flags()}
    reasons = dict(enumerate(REASONS, 1)) | {0: "0"}
    named = {"flag": flags, "arm": _turned(ARMS), "outcome": _turned(OUTCOMES), "reason": reasons}
    shown = {name: _names(name, each) if with_names else name for name, each in named.items()}
    return (
        f"t_ms, {unit} AS unit, {shown['flag']} AS flag, {shown['arm']} AS arm, {shown['outcome']} AS outcome,"
        f" latency_ms, entry, flag_version, bucket, {shown['reason']} AS reason"
    )


def _names(column: str, names: Mapping[int, str]) -> str:
    cases = " ".join(f"WHEN {number} THEN {_text(name)}" for number, name in names.items())
    return f"(CASE {column} {cases} ELSE {column}::VARCHAR END)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _copy(connection: duckdb.DuckDBPyConnection, query: str, temporary: str, kind: str, path: str) -> int:
    packing = {".gz": ", COMPRESSION gzip", ".zst": ", COMPRESSION zstd"}.get(os.path.splitext(path.lower())[1], "")
    options = {
        tables.CSV: f"FORMAT csv, HEADER, DELIMITER {_text(_delimiter(path))}{packing}",
        tables.JSONL: f"FORMAT json{packing}",
        tables.PARQUET: "FORMAT parquet, COMPRESSION zstd",
    }[kind]
    try:
        found = connection.execute(f"COPY ({query}) TO {_text(temporary)} ({options}, USE_TMP_FILE false)").fetchall()
    except duckdb.IOException as error:
        if os.path.basename(temporary) not in str(error):
            raise  # an event file, which the view speaks of
        raise WriteFailed(f"{path} cannot be written: {str(error).splitlines()[0]}") from error
    return int(found[0][0])


def _delimiter(path: str) -> str:
    return "\t" if ".tsv" in os.path.basename(path).lower() else ","


def _touch(temporary: str, path: str) -> None:
    """Make the file, so that a folder that refuses it is known before all events are read."""
    if os.path.isdir(path):
        raise WriteFailed(f"{path} cannot be written: it is a folder")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error


def _in_place(temporary: str, path: str) -> int:
    try:
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        os.replace(temporary, path)
    except OSError as error:
        raise WriteFailed(f"{path} cannot be written: {error.strerror}") from error
    return size
