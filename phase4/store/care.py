"""Care of the control plane: check, back up, restore. A check repairs nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3

from phase4.audit import tree
from phase4.errors import Phase4Error, StoreUnavailable, UsageError, WriteFailed
from phase4.store import home as homes
from phase4.store import rollouts, stops
from phase4.store.control import ControlStore, PlanRow, connect
from phase4.store.epoch import Epoch

INDEX = "backup.json"
INDEX_SCHEMA = 1


def findings(store: ControlStore) -> list[str]:
    """Return everything that is wrong, one line each; empty = clean."""
    found = homes.findings(store.home)
    found += [f"control.db: {row[0]}" for row in store.rows("PRAGMA integrity_check") if row[0] != "ok"]
    found += [f"control.db: foreign key of {row[0]} row {row[1]}" for row in store.rows("PRAGMA foreign_key_check")]
    for flag in store.flags():
        for plan in store.plans(flag.id):
            found += _plan_findings(store, plan)
    found += _audit_findings(store)
    if store.epoch.version % (1 << 32) != store.version % (1 << 32):
        found.append(f"epoch: says version {store.epoch.version}, the database {store.version}")
    found += [f"emergency: {stop.request_id} is not recorded yet: {stop.reason}" for stop in stops.pending(store.home)]
    return found


def backup(store: ControlStore, folder: str) -> list[str]:
    """Copy the control database to a new folder, with an index of digests; return the files.

    Raises:
        UsageError: the folder has something in it.
        WriteFailed: it cannot be written.
    """
    if os.path.isdir(folder) and os.listdir(folder):
        raise UsageError(f"{folder} is not empty", hint="name a folder that is not there yet")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        target = os.path.join(folder, homes.CONTROL)
        os.close(os.open(target, os.O_CREAT | os.O_RDWR, 0o600))
        copy = sqlite3.connect(target)
        with copy:
            store.connection.backup(copy)
        copy.close()
        index = {"schema": INDEX_SCHEMA, "version": store.version, "files": {homes.CONTROL: _digest(target)}}
        with open(os.path.join(folder, INDEX), "w", encoding="utf-8") as file:
            json.dump(index, file, indent=1, sort_keys=True)
    except (OSError, sqlite3.Error) as error:
        raise WriteFailed(f"cannot back up to {folder}: {error}") from error
    return [homes.CONTROL, INDEX]


def restore(home: str, folder: str) -> None:
    """Fill an empty home from a backup; the epoch is made new.

    Raises:
        UsageError: the home has a database already, or the folder is no backup.
        StoreUnavailable: a file of the backup is not what the index says.
    """
    if os.path.exists(os.path.join(home, homes.CONTROL)):
        raise UsageError(f"{home} has a control.db already; only an empty home is restored")
    try:
        with open(os.path.join(folder, INDEX), encoding="utf-8") as file:
            files = json.load(file)["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} is no backup: it has no readable {INDEX}") from error
    for name, digest in files.items():
        path = os.path.join(folder, name)
        if not os.path.isfile(path) or _digest(path) != digest:
            raise StoreUnavailable(f"{path} is not what the backup's index says")
    homes.create(home)
    for left in (f"{homes.CONTROL}-wal", f"{homes.CONTROL}-shm"):
        # the log of a database that was here would be replayed into the restored one
        if os.path.exists(os.path.join(home, left)):
            os.unlink(os.path.join(home, left))
    for name in files:
        target = os.path.join(home, name)
        shutil.copyfile(os.path.join(folder, name), target)
        os.chmod(target, 0o600)
    connection = connect(os.path.join(home, homes.CONTROL))
    (version,) = connection.execute("SELECT v FROM meta WHERE k = 'version'").fetchone()
    connection.close()
    epoch = Epoch(os.path.join(home, homes.EPOCH))
    epoch.ring(version)
    epoch.close()


def _plan_findings(store: ControlStore, plan: PlanRow) -> list[str]:
    numbers = [seq for seq, _ in store.journal(plan.plan_id)]
    if numbers != list(range(1, len(numbers) + 1)):
        return [f"journal of {plan.plan_id}: numbers {numbers} have gaps"]
    try:
        state = rollouts.state_of(store, plan.plan_id)
        rollouts.plan_of(plan)
    except (Phase4Error, ValueError, KeyError, TypeError) as error:
        return [f"{plan.plan_id} cannot be read: {error}"]
    flag = store.flag_by_id(plan.flag_id)
    found = []
    if (state.ended_ms is None) != (plan.ended_ms is None):
        found.append(f"{plan.plan_id}: the journal says {state.phase}, the plan's row otherwise")
    exposed = flag.percentage if flag.enabled else 0.0
    if plan.ended_ms is None and state.stage >= 0 and exposed != state.percentage:
        found.append(f"{flag.flag_key}: exposed to {exposed:g} %, its journal says {state.percentage:g} %")
    return found


def _audit_findings(store: ControlStore) -> list[str]:
    peaks: tuple[bytes, ...] = ()
    rows = store.audit()
    for index, (seq, leaf, hashed) in enumerate(rows):
        if seq != index + 1:
            return [f"audit: number {index + 1} is missing"]
        if tree.leaf_hash(leaf) != hashed:
            return [f"audit: leaf {seq} was changed"]
        peaks = tree.grown(index, peaks, hashed)
    size, joined = store.row("SELECT size, peaks FROM audit_tree")
    return [] if (size, joined) == (len(rows), b"".join(peaks)) else ["audit: the tree does not fit its leaves"]


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
