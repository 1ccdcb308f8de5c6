"""The manifest: the only list of event files. What it does not name is not there, whatever lies in the folders.

A range of sequence numbers says that whatever these numbers hold is in live files: their rows, or nothing where all
was set aside. It stands with one of the files that were committed together, so live ranges of a source never overlap,
and reading the same records again adds nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from phase4.errors import InvariantViolation
from phase4.store.control import Change, ControlStore

SEGMENT, HOUR, DAY = "segment", "hour", "day"
FOLDERS = {SEGMENT: "segments", HOUR: "hours", DAY: "days"}
GRACE_MS = 10 * 60_000
"""A retired file is kept so long for those who read it."""
PIN = "pin.lock"
TEMPORARY = "writing-"
"""How the names of files in tmp/ begin that are not in the manifest yet."""


class Range(NamedTuple):
    """Sequence numbers `first_seq <= seq < end_seq` of a source."""

    source: int
    first_seq: int
    end_seq: int


class File(NamedTuple):
    """One row of the manifest."""

    path: str
    """Below the home."""
    tier: str
    day: int
    """Days since 1970-01-01, UTC."""
    rows: int
    """Of an hour's rollups: rows of the file; otherwise events, also where only their rollups are left."""
    min_ms: int
    """Of the oldest event."""
    max_ms: int
    """Of the newest event."""
    size: int
    """In bytes."""
    sha256: bytes
    has_events: bool
    """Whether the events themselves are in it, all of them."""
    added_version: int
    retired_version: int | None
    retired_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file that lies in its place, and is not in the manifest yet; the fields are those of `File`."""

    path: str
    tier: str
    day: int
    rows: int
    min_ms: int
    max_ms: int
    size: int
    sha256: bytes
    has_events: bool
    ranges: tuple[Range, ...] = ()


class Snapshot(NamedTuple):
    """The manifest at one moment."""

    version: int
    files: tuple[File, ...]
    covered: Mapping[int, tuple[Range, ...]]
    """Source -> its numbers in live files, joined, in order."""


_COLUMNS = ", ".join("bytes" if name == "size" else name for name in File._fields)


# ------------------------------------------------------------------------------------------------------------ reading
def version(store: ControlStore) -> int:
    """Return the number of the manifest: how often it was changed."""
    return int(store.meta("manifest_version"))


def live(store: ControlStore, from_ms: int | None = None, until_ms: int | None = None) -> list[File]:
    """Return the live files, oldest events first; with a window, those that may have events of it.

    Args:
        store: The control store.
        from_ms: Begin of the window.
        until_ms: Its end; that moment is not in it.
    """
    conditions, values = ["retired_version IS NULL"], []
    if until_ms is not None:
        conditions.append("min_ms < ?")
        values.append(until_ms)
    if from_ms is not None:
        conditions.append("max_ms >= ?")
        values.append(from_ms)
    return _files(store, f"WHERE {' AND '.join(conditions)} ORDER BY min_ms, path", *values)


def named(store: ControlStore, path: str) -> File | None:
    """Return the row of a file, live or retired."""
    found = _files(store, "WHERE path = ?", path)
    return found[0] if found else None


def covered(store: ControlStore, sources: Collection[int] | None = None) -> dict[int, tuple[Range, ...]]:
    """Return for each source, or the named ones, which of its numbers are in live files; joined, in order."""
    where, values = ("", ()) if sources is None else (" AND source_id IN (SELECT value FROM json_each(?))", (sources,))
    rows = store.rows(
        # files first: the key of a range begins with its path
        "SELECT source_id, first_seq, end_seq FROM segment CROSS JOIN segment_range USING (path)"
        f" WHERE retired_version IS NULL{where}",
        *(json.dumps(sorted(value)) for value in values),
    )
    found: dict[int, list[Range]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(Range(*row))
    return {source: joined(ranges) for source, ranges in found.items()}


def segmented(store: ControlStore) -> dict[int, int]:
    """Return for each source the number after the newest record that is in a live file."""
    return {source: ranges[-1].end_seq for source, ranges in covered(store).items()}


def ranges_of(store: ControlStore, paths: Iterable[str]) -> tuple[Range, ...]:
    """Return the ranges that stand with these files, joined, in order of source and number."""
    rows = store.rows(
        "SELECT source_id, first_seq, end_seq FROM segment_range WHERE path IN (SELECT value FROM json_each(?))",
        json.dumps(sorted(paths)),
    )
    return joined(Range(*row) for row in rows)


def snapshot(
    store: ControlStore,
    from_ms: int | None = None,
    until_ms: int | None = None,
    *,
    sources: Collection[int] | None = None,
) -> Snapshot:
    """Return version, files and ranges of one moment; the arguments are those of `live` and `covered`."""
    with one_moment(store):
        return Snapshot(version(store), tuple(live(store, from_ms, until_ms)), covered(store, sources))


@contextlib.contextmanager
def one_moment(store: ControlStore) -> Iterator[None]:
    """Let all that is read be of one moment: a file and the one that takes its place are never seen together."""
    if store.connection.in_transaction:
        yield
        return
    store.rows("BEGIN")
    try:
        yield
    finally:
        store.rows("ROLLBACK")


# ------------------------------------------------------------------------------------------------------------- ranges
def joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Return the same numbers in as few ranges as can be, in order.

    >>> [tuple(each) for each in joined([Range(1, 5, 9), Range(1, 0, 5), Range(2, 9, 10)])]
    [(1, 0, 9), (2, 9, 10)]
    """
    found: list[Range] = []
    for each in sorted(ranges):
        if found and each.source == found[-1].source and each.first_seq <= found[-1].end_seq:
            found[-1] = found[-1]._replace(end_seq=max(found[-1].end_seq, each.end_seq))
        else:
            found.append(each)
    return tuple(found)


def remainder(whole: Range, known: Iterable[Range]) -> tuple[Range, ...]:
    """Return what of a range is in none of the known ones of its source.

    >>> [tuple(each) for each in remainder(Range(1, 0, 10), [Range(1, 2, 4), Range(1, 8, 12)])]
    [(1, 0, 2), (1, 4, 8)]
    """
    found, begin = [], whole.first_seq
    for each in sorted(known):
        if each.end_seq <= begin or each.first_seq >= whole.end_seq:
            continue
        if each.first_seq > begin:
            found.append(whole._replace(first_seq=begin, end_seq=each.first_seq))
        begin = each.end_seq
    if begin < whole.end_seq:
        found.append(whole._replace(first_seq=begin))
    return tuple(found)


# ------------------------------------------------------------------------------------------------------------ writing
def replace(change: Change, added: Sequence[NewFile], retired: Sequence[str]) -> int:
    """Put files into the manifest and take others out, in this transaction; return the new version.

    Args:
        change: The transaction.
        added: New files; they lie in their places already.
        retired: Paths of live files that they stand for, or that are dropped.

    Raises:
        InvariantViolation: a retired file is not live, a range would be there twice, or one would get lost.
    """
    number = version(change.store) + 1
    ranges = [each for file in added for each in file.ranges]
    if added and retired and joined(ranges) != ranges_of(change.store, retired):
        raise InvariantViolation(f"{len(retired)} files were to be replaced by files of other ranges")
    for path in retired:
        _retire(change, path, number)
    _check_ranges(change.store, ranges)
    for file in added:
        _add(change, file, number)
    change.write("UPDATE meta SET v = ? WHERE k = 'manifest_version'", number)
    return number


def _retire(change: Change, path: str, number: int) -> None:
    cursor = change.write(
        "UPDATE segment SET retired_version = ?, retired_ms = ? WHERE path = ? AND retired_version IS NULL",
        *(number, change.now_ms, path),
    )
    if cursor.rowcount != 1:
        raise InvariantViolation(f"{path} is no live file of the manifest")


def _check_ranges(store: ControlStore, ranges: Sequence[Range]) -> None:
    known = covered(store, {each.source for each in ranges})
    seen: list[Range] = []
    for each in ranges:
        others = [*known.get(each.source, ()), *(other for other in seen if other.source == each.source)]
        if each.end_seq <= each.first_seq or remainder(each, others) != (each,):
            raise InvariantViolation(f"the events of {each} are in live files already")
        seen.append(each)


def _add(change: Change, file: NewFile, number: int) -> None:
    row = File(
        path=file.path,
        tier=file.tier,
        day=file.day,
        rows=file.rows,
        min_ms=file.min_ms,
        max_ms=file.max_ms,
        size=file.size,
        sha256=file.sha256,
        has_events=file.has_events,
        added_version=number,
        retired_version=None,
        retired_ms=None,
    )
    change.write(f"INSERT INTO segment({_COLUMNS}) VALUES ({', '.join('?' * len(row))})", *row)
    for each in file.ranges:
        change.write("INSERT INTO segment_range VALUES (?, ?, ?, ?)", file.path, *each)


# ------------------------------------------------------------------------------------------------- files that may go
@contextlib.contextmanager
def pinned(home: str) -> Iterator[None]:
    """Let no retired file be removed while this lasts, for example while a backup copies; it ends with the process."""
    handle = os.open(os.path.join(home, PIN), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def unlink_retired(store: ControlStore, now_ms: int, *, actor: str, request_id: str) -> int:
    """Remove the files that were retired more than `GRACE_MS` ago, then their rows; return how many.

    While something is pinned nothing is removed.
    """
    old = [
        str(row[0])
        for row in store.rows(
            "SELECT path FROM segment WHERE retired_version IS NOT NULL AND retired_ms < ?", now_ms - GRACE_MS
        )
    ]
    if not old:
        return 0
    with unpinned(store.home) as is_free:
        if not is_free:
            return 0
        for path in old:
            _unlink(os.path.join(store.home, path))

        def work(change: Change) -> dict[str, Any]:
            for path in old:  # after the files: a row without a file is found again here, a file without a row is not
                change.write("DELETE FROM segment_range WHERE path = ?", path)
                change.write("DELETE FROM segment WHERE path = ?", path)
            return {}

        store.execute("manifest unlink", {}, work, actor=actor, request_id=request_id)
    return len(old)


def sweep(store: ControlStore, fence_check: Callable[[], None], *, actor: str, request_id: str) -> list[str]:
    """Remove the files that no row names: a writer was killed before it committed. Return their paths.

    For the collector at its start. In a transaction, so that no other one takes the lease meanwhile and makes a file
    that is not in the manifest yet.

    Raises:
        FenceLost: another collector has the lease.
    """
    found = [path for tier in FOLDERS for path in _lying(store.home, FOLDERS[tier])]
    found += [path for path in _lying(store.home, "tmp") if os.path.basename(path).startswith(TEMPORARY)]
    orphans: list[str] = []

    def work(change: Change) -> dict[str, Any]:
        fence_check()
        known = {str(row[0]) for row in change.store.rows("SELECT path FROM segment")}
        orphans[:] = [path for path in found if path not in known]
        for path in orphans:
            _unlink(os.path.join(store.home, path))
        change.write("UPDATE meta SET v = v WHERE k = 'manifest_version'")  # nothing that anybody asks for again
        return {}

    if found:
        store.execute("manifest sweep", {}, work, actor=actor, request_id=request_id)
    else:
        fence_check()
    return orphans


def discard(store: ControlStore, paths: Iterable[str]) -> None:
    """Remove files whose commit failed; one that was committed after all stays."""
    for path in paths:
        if named(store, path) is None:
            _unlink(os.path.join(store.home, path))


@contextlib.contextmanager
def unpinned(home: str) -> Iterator[bool]:
    """Keep pins away while files are removed; tell whether there was none."""
    handle = os.open(os.path.join(home, PIN), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _lying(home: str, folder: str) -> Iterator[str]:
    for place, _, names in os.walk(os.path.join(home, folder)):
        for name in sorted(names):
            yield os.path.relpath(os.path.join(place, name), home)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _files(store: ControlStore, where: str, *values: Any) -> list[File]:
    rows = store.rows(f"SELECT {_COLUMNS} FROM segment {where}", *values)
    return [File(*row)._replace(has_events=bool(row[File._fields.index("has_events")])) for row in rows]
