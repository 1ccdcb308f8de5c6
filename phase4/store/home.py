"""PHASE4_HOME: where everything lies, and whether the folder may be trusted with it."""

from __future__ import annotations

import os
import stat

from phase4.errors import NotInitialised, StoreUnavailable

CONTROL = "control.db"
EPOCH = "epoch"
STOPS = "emergency"
EMERGENCY_LOCK = "emergency.lock"
RESERVE = "reserve.bin"
RESERVE_SIZE = 8 * 2**20
"""Freed when the disk is full, so that an emergency can still be recorded."""
FOLDERS = (STOPS, "keys", "spool", "segments", "hours", "days", "collector", "quarantine", "runs", "tmp")
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "lustre"})
"""File systems without shared memory between processes of one machine, which SQLite's write-ahead log needs."""


def create(home: str) -> None:
    """Make the folders of a home, for the owner alone. What is there stays.

    Raises:
        StoreUnavailable: the place cannot be used; the message says why.
    """
    try:
        os.makedirs(home, mode=0o700, exist_ok=True)
        for name in FOLDERS:
            os.makedirs(os.path.join(home, name), mode=0o700, exist_ok=True)
        _reserve(os.path.join(home, RESERVE))
    except OSError as error:
        raise StoreUnavailable(f"cannot make {home}: {error.strerror}") from error
    problems = findings(home)
    if problems:
        raise StoreUnavailable("\n".join(problems))


def require_place(home: str) -> None:
    """Refuse a folder that is no home, or that somebody else can write to; its database may be gone."""
    if not os.path.isdir(os.path.join(home, STOPS)):
        raise NotInitialised(f"{home} is not initialised", hint="phase4 init")
    problem = _owner_problem(home)
    if problem:
        raise StoreUnavailable(problem)


def require(home: str) -> None:
    """Refuse a home that `init` has not made, or that somebody else can write to."""
    if not os.path.exists(os.path.join(home, CONTROL)):
        raise NotInitialised(f"{home} is not initialised", hint="phase4 init")
    problem = _owner_problem(home)
    if problem:
        raise StoreUnavailable(problem)


def findings(home: str) -> list[str]:
    """Return what is wrong with a home as a place: owner, modes, file system."""
    problems = [problem for problem in [_owner_problem(home), _network_problem(home)] if problem]
    files = sorted((entry for entry in os.scandir(home) if entry.is_file()), key=lambda entry: entry.name)
    modes = [(entry.path, _mode(entry)) for entry in files]
    problems += [f"{path} may be read by others: its mode is {mode:o}" for path, mode in modes if mode & 0o077]
    return problems


def _mode(entry: os.DirEntry[str]) -> int:
    """Return the mode of a file, 0 if it is gone: SQLite's journal and log come and go while others work here."""
    try:
        return stat.S_IMODE(entry.stat().st_mode)
    except FileNotFoundError:
        return 0


def _owner_problem(home: str) -> str | None:
    try:
        found = os.stat(home)
    except OSError as error:
        return f"{home} cannot be used: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode):
        return f"{home} is not a folder"
    if found.st_uid != os.geteuid():
        return f"{home} belongs to uid {found.st_uid}, not to you ({os.geteuid()})"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return f"{home} is open to others: its mode is {stat.S_IMODE(found.st_mode):o}, not 700"
    return None


def _network_problem(home: str) -> str | None:
    """Return the problem of a network file system; where mounts cannot be listed, none is assumed."""
    try:
        with open("/proc/self/mounts", encoding="utf-8") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return None
    real = os.path.realpath(home)
    inside = [(place, kind) for place, kind in mounts if real == place or real.startswith(place.rstrip("/") + "/")]
    kind = max(inside, default=("", ""), key=lambda mount: len(mount[0]))[1]
    return f"{home} lies on a network file system ({kind}); it needs a local disk" if kind in NETWORK else None


def _reserve(path: str) -> None:
    if os.path.exists(path):
        return
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.posix_fallocate(handle, 0, RESERVE_SIZE)
    finally:
        os.close(handle)
