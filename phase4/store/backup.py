"""Back up and restore: a home as it was at one moment, checked by digests.

The moment is that of the control database's copy. Event files are those that its manifest names, which never change;
spool files are copied whole, as far as they are written then. Keys are left out unless they are asked for: without the
unit key the restored home counts its users afresh.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Mapping

from phase4.errors import StoreUnavailable, UsageError, WriteFailed
from phase4.store import home as homes
from phase4.store.control import ControlStore, connect
from phase4.store.epoch import Epoch

INDEX = "backup.json"
INDEX_SCHEMA = 1
SPOOL, KEYS, QUARANTINE = "spool", "keys", "quarantine"


def make(store: ControlStore, folder: str, *, with_keys: bool = False) -> list[str]:
    """Copy a home to a new folder, with an index of digests; return the files.

    Args:
        store: The control store.
        folder: A folder that is not there yet, or empty.
        with_keys: Whether keys are copied too.

    Raises:
        UsageError: the folder has something in it.
        WriteFailed: it cannot be written.
    """
    from phase4.store import manifest

    if os.path.isdir(folder) and os.listdir(folder):
        raise UsageError(f"{folder} is not empty", hint="name a folder that is not there yet")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with manifest.pinned(store.home):
            version = _copy_control(store, folder)
            names = [homes.CONTROL, *_event_files(folder), *_below(store.home, [SPOOL, QUARANTINE])]
            names += _below(store.home, [KEYS]) if with_keys else []
            for name in names[1:]:
                _copy(store.home, folder, name)
        index = {"schema": INDEX_SCHEMA, "version": version, "files": {name: _digest(folder, name) for name in names}}
        with open(os.path.join(folder, INDEX), "w", encoding="utf-8") as file:
            json.dump(index, file, indent=1, sort_keys=True)
    except (OSError, sqlite3.Error) as error:
        raise WriteFailed(f"cannot back up to {folder}: {error}") from error
    return [*names, INDEX]


def restore(home: str, folder: str) -> None:
    """Fill an empty home from a backup; the epoch is made new.

    Raises:
        UsageError: the home has a database already, or the folder is no backup.
        StoreUnavailable: a file of the backup is not what the index says.
    """
    if os.path.exists(os.path.join(home, homes.CONTROL)):
        raise UsageError(f"{home} has a control.db already; only an empty home is restored")
    files = _index(folder)
    for name, digest in files.items():
        if not os.path.isfile(os.path.join(folder, name)) or _digest(folder, name) != digest:
            raise StoreUnavailable(f"{os.path.join(folder, name)} is not what the backup's index says")
    homes.create(home)
    for left in (f"{homes.CONTROL}-wal", f"{homes.CONTROL}-shm"):
        # the log of a database that was here would be replayed into the restored one
        if os.path.exists(os.path.join(home, left)):
            os.unlink(os.path.join(home, left))
    for name in files:
        _copy(folder, home, name)
    connection = connect(os.path.join(home, homes.CONTROL))
    (version,) = connection.execute("SELECT v FROM meta WHERE k = 'version'").fetchone()
    connection.close()
    epoch = Epoch(os.path.join(home, homes.EPOCH))
    epoch.ring(version)
    epoch.close()


def _copy_control(store: ControlStore, folder: str) -> int:
    """Copy the control database; return its version."""
    target = os.path.join(folder, homes.CONTROL)
    os.close(os.open(target, os.O_CREAT | os.O_RDWR, 0o600))
    copy = sqlite3.connect(target)
    try:
        with copy:
            store.connection.backup(copy)
        return int(copy.execute("SELECT v FROM meta WHERE k = 'version'").fetchone()[0])
    finally:
        copy.close()


def _event_files(folder: str) -> list[str]:
    """Return the files that the copied manifest names."""
    connection = sqlite3.connect(os.path.join(folder, homes.CONTROL))
    try:
        rows = connection.execute("SELECT path FROM segment WHERE retired_version IS NULL ORDER BY path").fetchall()
    finally:
        connection.close()
    return [str(row[0]) for row in rows]


def _below(home: str, names: Iterable[str]) -> list[str]:
    """Return the files of some folders of a home, without those that are half written."""
    return [
        os.path.join(name, each)
        for name in names
        for each in sorted(os.listdir(os.path.join(home, name)))
        if not each.startswith(".") and not each.endswith(".tmp")
    ]


def _copy(home: str, folder: str, name: str) -> None:
    target = os.path.join(folder, name)
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    shutil.copyfile(os.path.join(home, name), target)
    os.chmod(target, 0o600)


def _index(folder: str) -> Mapping[str, str]:
    """Return the files of a backup with their digests, all of them inside it."""
    try:
        with open(os.path.join(folder, INDEX), encoding="utf-8") as file:
            files = json.load(file)["files"]
        found = {str(name): str(digest) for name, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder} is no backup: it has no readable {INDEX}") from error
    outside = [name for name in found if os.path.isabs(name) or ".." in name.split("/")]
    if outside or homes.CONTROL not in found:
        raise UsageError(f"{folder} is no backup: its {INDEX} names {outside[0] if outside else 'no control.db'}")
    return found


def _digest(folder: str, name: str) -> str:
    with open(os.path.join(folder, name), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
