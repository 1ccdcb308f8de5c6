"""What the collector reads of the spool: new records of every source, checked at the door.

A record that cannot be is set aside with a reason (quarantine); its number counts as read. Readers take whole records
and leave a torn one, or one that is not committed yet, for the next time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from phase4.store.record import HEADER_SIZE, NO_LATENCY, RECORD_SIZE, Header, Outcome, unpack_header
from phase4.store.spool import FOLDER, SUFFIX

RECORDS = np.dtype(
    [
        ("t_ms", "<i8"),
        ("unit", "<u8"),
        ("index", "<u4"),
        ("flag_version", "<u4"),
        ("latency_ms", "<f4"),
        ("flag", "<u2"),
        ("entry", "<u2"),
        ("bucket", "<u2"),
        ("arm", "u1"),
        ("reason", "u1"),
        ("zero", "u1", (3,)),
        ("outcome", "u1"),
    ]
)
"""A record as it lies in the file: `phase4.store.record`."""
ROWS = np.dtype(
    [
        ("t_ms", "<i8"),
        ("unit", "<u8"),
        ("seq", "<i8"),
        ("arrived_ms", "<i8"),
        ("flag_version", "<u4"),
        ("latency_ms", "<f4"),
        ("flag", "<u2"),
        ("entry", "<u2"),
        ("bucket", "<u2"),
        ("source", "<u2"),
        ("arm", "u1"),
        ("reason", "u1"),
        ("outcome", "u1"),
    ]
)
"""An event in the store: a record with its source, its sequence number there, and when it was read."""
Rows = npt.NDArray[Any]
"""(n,) of `ROWS`."""
FUTURE_MS = 5_000
"""How far ahead of the collector's clock an event may lie."""
AT_ONCE = 1_000_000
"""Records that are read of one file at a time: 40 MB."""
QUARANTINE = "quarantine"


class Known(NamedTuple):
    """What a record may name."""

    entries: Mapping[int, int]
    """Flag -> the newest entry that it had."""
    now_ms: int


@dataclass(slots=True)
class SpoolFile:
    """One file of a source, and how far it has been read."""

    path: str
    header: Header
    read: int = 0
    """Records read."""
    is_finished: bool = False
    """Whether its writer is done with it and all is read."""

    @property
    def end_seq(self) -> int:
        """Sequence number after the newest record read."""
        return self.header.first_seq + self.read


class Batch(NamedTuple):
    """New records of one file."""

    file: SpoolFile
    first_seq: int
    records: npt.NDArray[Any]
    """(n,) of `RECORDS`."""


class Spool:
    """The spool folder of a home, as its reader sees it."""

    def __init__(self, home: str) -> None:
        """Read below a home; files that are there are read from their beginning."""
        self._folder = os.path.join(home, FOLDER)
        self.files: dict[str, SpoolFile] = {}
        self.problems: dict[str, str] = {}
        """File -> why it cannot be read."""

    def read(self) -> Iterator[Batch]:
        """Yield the new records of every file, file by file in the order they were made."""
        for file in self._look():
            while not file.is_finished:
                is_over = _is_over(file.path)  # before reading: what was written until then is read now
                batch = self._next(file, is_over=is_over)
                if batch is not None:
                    yield batch
                if batch is None or len(batch.records) < AT_ONCE:
                    file.is_finished = is_over
                    break

    def forget(self, path: str) -> None:
        """Remove a file whose records are kept elsewhere."""
        os.unlink(path)
        self.files.pop(path, None)

    def _look(self) -> list[SpoolFile]:
        found = sorted(name for name in os.listdir(self._folder) if name.endswith(SUFFIX) and not name.startswith("."))
        for name in found:
            path = os.path.join(self._folder, name)
            if path not in self.files and path not in self.problems:
                self._open(path)
        return sorted(self.files.values(), key=lambda file: (file.header.uuid, file.header.file_no))

    def _open(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                self.files[path] = SpoolFile(path, unpack_header(file.read(HEADER_SIZE)))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self.problems[path] = str(error)

    def _next(self, file: SpoolFile, *, is_over: bool) -> Batch | None:
        with open(file.path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            count = min((size - HEADER_SIZE) // RECORD_SIZE - file.read, AT_ONCE)
            if count <= 0:
                return None
            handle.seek(HEADER_SIZE + file.read * RECORD_SIZE)
            raw = handle.read(count * RECORD_SIZE)
        records = np.frombuffer(raw, RECORDS, count=len(raw) // RECORD_SIZE)
        if not is_over:  # a record that is not committed yet, and all after it, are read the next time
            open_ones = np.flatnonzero(records["outcome"] == 0)
            records = records[: open_ones[0]] if len(open_ones) else records
        if not len(records):
            return None
        first_seq = file.end_seq
        file.read += len(records)
        return Batch(file, first_seq, records)


def rows_of(batch: Batch, source: int, known: Known) -> tuple[Rows, list[dict[str, Any]]]:
    """Return the good rows of a batch, and what is set aside: one document for each bad record.

    Args:
        batch: The records.
        source: Number of their source in the control database.
        known: What they may name.
    """
    records = batch.records
    codes = _codes(records, batch.first_seq - batch.file.header.first_seq, known)
    seqs = batch.first_seq + np.arange(len(records), dtype=np.int64)
    good = codes == 0
    rows = np.empty(int(good.sum()), ROWS)
    for name in RECORDS.names or ():
        if name in ROWS.fields:  # type: ignore[operator]
            rows[name] = records[name][good]
    rows["seq"], rows["source"], rows["arrived_ms"] = seqs[good], source, known.now_ms
    aside = [
        _set_aside(records[place], source, int(seqs[place]), CODES[codes[place]]) for place in np.flatnonzero(~good)
    ]
    return rows, aside


CODES = (
    "",
    "bad_index",
    "bad_outcome",
    "bad_time",
    "bad_latency",
    "unknown_flag",
    "unknown_entry",
    "unknown_arm",
)
"""Why a record is set aside; the first that holds."""


def _codes(records: npt.NDArray[Any], first_index: int, known: Known) -> npt.NDArray[np.int64]:
    latency, outcome = records["latency_ms"], records["outcome"]
    newest = np.full(1 << 16, -1, np.int64)
    for flag, entries in known.entries.items():
        newest[flag] = entries
    with np.errstate(invalid="ignore"):
        is_latency = (latency == NO_LATENCY) | (np.isfinite(latency) & (latency >= 0))
    checks = [
        (records["index"] != first_index + np.arange(len(records))) | records["zero"].any(axis=1),
        (outcome < Outcome.EXPOSURE) | (outcome > Outcome.INVALID),
        (records["t_ms"] <= 0) | (records["t_ms"] > known.now_ms + FUTURE_MS),
        ~is_latency,
        newest[records["flag"]] < 0,
        records["entry"] > newest[records["flag"]],
        (records["arm"] < 1) | (records["arm"] > 2),
    ]
    codes = np.zeros(len(records), np.int64)
    for code, is_bad in reversed(list(enumerate(checks, 1))):
        codes[is_bad] = code
    return codes


def set_aside(home: str, day: str, documents: list[dict[str, Any]]) -> None:
    """Append to a day's quarantine, one JSON line each."""
    path = os.path.join(home, QUARANTINE, f"{day}.jsonl")
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        os.write(handle, "".join(json.dumps(document) + "\n" for document in documents).encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def numbers_set_aside(home: str) -> dict[int, npt.NDArray[np.int64]]:
    """Return the sequence numbers that were set aside, by source; lines that name no source are left out."""
    found: dict[int, list[int]] = {}
    folder = os.path.join(home, QUARANTINE)
    for name in sorted(name for name in os.listdir(folder) if name.endswith(".jsonl")):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            for line in file:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    document = json.loads(line)
                    found.setdefault(int(document["source"]), []).append(int(document["seq"]))
    return {source: np.array(numbers, np.int64) for source, numbers in found.items()}


def _set_aside(record: Any, source: int, seq: int, code: str) -> dict[str, Any]:
    fields = {name: record[name].item() for name in RECORDS.names or () if name not in {"zero", "unit"}}
    fields["latency_ms"] = repr(fields["latency_ms"])  # JSON has no NaN
    return {"source": source, "seq": seq, "code": code, "record": {**fields, "unit": f"{record['unit'].item():016x}"}}


def _is_over(path: str) -> bool:
    """Return whether the writer of a file is done with it: its shared lock is gone."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(handle)
