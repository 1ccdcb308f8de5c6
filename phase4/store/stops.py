"""Stop files: the switch that works when nothing else does.

A stop file says "off" for one flag or for all. Evaluators obey it whatever the database says, and it is lifted only by
a recorded command, never by age. Until a writer records it, it is the record.
"""

from __future__ import annotations

import errno
import json
import os
from typing import NamedTuple

from phase4.errors import UsageError, WriteFailed
from phase4.store import home as homes

EVERYTHING = "*"
_TYPES = [str, str, str, int, bool]
"""Of a stop file's values, in the order of `Stop` after the request id."""
LONGEST_ID = 64
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Stop(NamedTuple):
    """One order to switch off."""

    request_id: str
    flag_key: str
    """The flag, or `EVERYTHING`."""
    reason: str
    actor: str
    at_ms: int
    rolls_back: bool
    """Whether live plans are rolled back too, and not only paused."""


def check_name(request_id: str) -> str:
    """Return the name of an order that may be part of a file's name.

    Raises:
        UsageError: it is no such name.
    """
    is_name = 0 < len(request_id) <= LONGEST_ID and request_id.isascii() and request_id[0] != "."
    if not is_name or not all(letter.isalnum() or letter in "._-" for letter in request_id):
        raise UsageError(f"a request id has 1 to {LONGEST_ID} letters, digits and . _ -, no dot first: {request_id!r}")
    return request_id


def write(home: str, stop: Stop) -> str:
    """Write a stop file, durable when this returns; return its path.

    On a full disk the reserve is freed and the write is tried once more.

    Raises:
        UsageError: its request id is no name of a file.
        WriteFailed: it could not be written at all.
    """
    check_name(stop.request_id)
    try:
        return _write(home, stop)
    except OSError as error:
        if error.errno in _FULL:
            try:
                os.unlink(os.path.join(home, homes.RESERVE))
                return _write(home, stop)
            except OSError:
                pass  # the first error says what is wrong
        raise WriteFailed(f"no stop file could be written in {home}: {error.strerror}") from error


def pending(home: str) -> list[Stop]:
    """Return the stop files that are there, oldest first; a file that cannot be read stops everything."""
    folder = os.path.join(home, homes.STOPS)
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    except OSError:
        return []
    found = [stop for name in names if (stop := _read(os.path.join(folder, name))) is not None]
    return sorted(found, key=lambda stop: (stop.at_ms, stop.request_id))


def lift(home: str, request_id: str) -> None:
    """Remove a stop file whose order is recorded; it is no error if it is gone."""
    try:
        os.unlink(_path(home, request_id))
    except FileNotFoundError:
        return
    _sync(os.path.join(home, homes.STOPS))


def _path(home: str, request_id: str) -> str:
    return os.path.join(home, homes.STOPS, f"{request_id}.json")


def _write(home: str, stop: Stop) -> str:
    folder, target = os.path.join(home, homes.STOPS), _path(home, stop.request_id)
    temporary = f"{target}.tmp"
    handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        os.write(handle, json.dumps({"schema": 1, **stop._asdict()}).encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(temporary, target)
    _sync(folder)
    return target


def _read(path: str) -> Stop | None:
    """Return what a stop file orders; None if it is gone, lifted since the folder was listed."""
    name = os.path.basename(path).removesuffix(".json")
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        values = [document[field] for field in Stop._fields[1:]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        values = []
    if [type(value) for value in values] != _TYPES:
        # whoever wrote it wanted something off; which flag is not known
        return Stop(name, EVERYTHING, f"unreadable stop file {name}", "unknown", 0, rolls_back=False)
    return Stop(name, *values)


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
