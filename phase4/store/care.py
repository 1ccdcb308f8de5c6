"""Whether a home is whole: everything that can be found wrong, one line each. A check repairs nothing."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, NamedTuple

from phase4.audit import tree
from phase4.errors import Phase4Error
from phase4.flags.definition import FlagDefinition
from phase4.rollout import events
from phase4.rollout.events import Event, StageEntered
from phase4.rollout.state import RolloutState, replay
from phase4.store import care_files, rollouts, stops
from phase4.store import home as homes
from phase4.store.control import BUSY_MS, SCHEMA, ControlStore, FlagRow, PlanRow, connect, open_error, read_flags
from phase4.store.emergency import UNREADABLE
from phase4.store.epoch import SIZE

LONGEST = 500
"""Letters of a finding: what is damaged may be of any length."""
_RESTORE = "a backup restores it: phase4 store restore DIR"
_LOW_WORD = 1 << 32
_OUT_OF_REACH = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
)
"""Codes of a database that cannot be asked now, whatever state it is in."""


class _Journal(NamedTuple):
    """The journal of a plan, and what is wrong with it."""

    plan: PlanRow
    numbers: list[int]
    """Of its events among all plans' events."""
    has_gaps: bool
    events: list[tuple[int, Event]]
    """Those that can be read, with their numbers among all plans' events."""
    state: RolloutState | None
    """None where the journal is not whole."""
    findings: list[str]


def check(home: str, *, deep: bool = False) -> list[str]:
    """Return everything that is wrong with a home, one printable line each; empty = clean.

    With `deep` every event file is read and compared with its digest, which takes as long as reading them.

    The database is opened for reading only: opened for writing, an empty one and a missing epoch would be made anew.

    Raises:
        NotInitialised: `init` has not run.
        StoreUnavailable: others may write to the home, or another process has locked the database.
        WriteFailed: the database may not be opened.
    """
    homes.require(home)
    path = os.path.join(home, homes.CONTROL)
    try:
        with closing(connect(path, busy_ms=BUSY_MS, read_only=True)) as connection:
            return _found(home, connection, deep=deep)
    except sqlite3.Error as error:
        raise open_error(error, path) from error


def findings(store: ControlStore) -> list[str]:
    """Return the same of a home whose store is open.

    Raises:
        StoreUnavailable: another process has locked the database.
    """
    try:
        return _found(store.home, store.connection, deep=False)
    except sqlite3.Error as error:
        raise open_error(error, store.path) from error


def _found(home: str, connection: sqlite3.Connection, *, deep: bool) -> list[str]:
    # before the database is read: a commit in between leaves the bell behind, which is no damage
    epoch = _epoch(home)
    found = homes.findings(home)
    found += _part("control.db", partial(_integrity, connection))
    unusable = _part("control.db", partial(_schema, connection))
    found += unusable
    if not unusable:
        with _one_moment(connection):
            found += _part("control.db", partial(_flag_findings, connection))
            found += _part("audit", partial(_audit_findings, connection))
            found += _part("control.db", partial(_version_findings, connection, epoch))
        found += _part("events", partial(care_files.findings, home, connection, deep=deep))
    found += _epoch_findings(epoch)
    found += [f"emergency: {stop.request_id} is not recorded yet: {stop.reason}" for stop in stops.pending(home)]
    return list(dict.fromkeys(_printable(text) for text in found))  # what is not whole says so of every part


def _part(name: str, look: Callable[[], list[str]]) -> list[str]:
    """Return what a look finds. That it could not look is a finding too, but not that the database is out of reach."""
    try:
        return look()
    except (Phase4Error, *UNREADABLE) as error:
        # an error that Python made of a damaged text has no code
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUT_OF_REACH:
            raise
        return [f"{name} cannot be read: {_told(error)}"]


def _told(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return f"{error}; {_RESTORE}" if "not a database" in str(error) else str(error)


def _printable(text: str) -> str:
    """Return a finding as one line, whatever damaged bytes it tells of."""
    line = "; ".join(text.splitlines())
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


@contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """Let all that is read be of one moment: writers go on, and half of a change would be an alarm."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


# ------------------------------------------------------------------------------------------------------- the database
def _integrity(connection: sqlite3.Connection) -> list[str]:
    told = [line for (text,) in connection.execute("PRAGMA integrity_check") for line in str(text).splitlines()]
    found = [f"control.db: {line}" for line in told if line != "ok"]
    rows = connection.execute("PRAGMA foreign_key_check").fetchall()
    return found + [f"control.db: foreign key of {row[0]} row {row[1]}" for row in rows]


def _schema(connection: sqlite3.Connection) -> list[str]:
    """Return why nothing in the database can be looked at."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    if number == 0:
        return [f"control.db: is empty; {_RESTORE}"]
    if not 0 < number <= SCHEMA:
        return [f"control.db: has schema {number}, this version knows {SCHEMA}: nothing in it was looked at"]
    return []


def _version_findings(connection: sqlite3.Connection, epoch: bytes | str) -> list[str]:
    """Compare the version with the epoch's, which may be behind: its writer was late, or killed before it rang."""
    row = connection.execute("SELECT v FROM meta WHERE k = 'version'").fetchone()
    if row is None:
        return ["control.db: its version is gone"]
    if not isinstance(epoch, bytes) or len(epoch) < SIZE:
        return []
    rung, version = int.from_bytes(epoch[:4], "little"), row[0] % _LOW_WORD
    return [f"epoch: says version {rung}, the database {version}: changes are gone"] if rung > version else []


def _epoch(home: str) -> bytes | str:
    """Return the bytes of the epoch's file, or why there are none."""
    try:
        with open(os.path.join(home, homes.EPOCH), "rb") as file:
            return file.read(SIZE + 1)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _epoch_findings(epoch: bytes | str) -> list[str]:
    if isinstance(epoch, str):
        return [f"epoch: {epoch}"]
    if len(epoch) != SIZE:
        return [f"epoch: has {'more' if len(epoch) > SIZE else len(epoch)} bytes, not {SIZE}"]
    return []


# ------------------------------------------------------------------------------------------- flags, plans and journals
def _flag_findings(connection: sqlite3.Connection) -> list[str]:
    audited = _audited(connection)
    found = []
    for flag in read_flags(connection):
        found += _part(flag.flag_key, partial(_findings_of, connection, flag, audited.get(flag.flag_key)))
    return found


def _findings_of(connection: sqlite3.Connection, flag: FlagRow, after: dict[str, Any] | None) -> list[str]:
    plans = _plans(connection, flag.id)
    journals = [_journal(connection, plan) for plan in plans]
    found = []
    for plan, journal in zip(plans, journals, strict=True):
        found += journal.findings
        found += _part(plan.plan_id, partial(_plan_findings, flag, plan))
    found += _part(f"{flag.flag_key}: its definition", partial(_definition_findings, flag))
    found += _part(flag.flag_key, partial(_step_findings, flag, journals))
    return found + _hold_findings(flag, after)


def _plans(connection: sqlite3.Connection, flag_id: int) -> list[PlanRow]:
    sql = (
        f"SELECT {', '.join(PlanRow._fields)} FROM plan WHERE flag_id = ? ORDER BY created_ms, length(plan_id), plan_id"
    )
    return [PlanRow(*row) for row in connection.execute(sql, (flag_id,)).fetchall()]


def _plan_findings(flag: FlagRow, row: PlanRow) -> list[str]:
    """Compare a plan's row with the plan in it; its id and first entry are no part of its digest."""
    plan = rollouts.plan_of(row)
    found = []
    if plan.digest != row.digest:
        found.append(f"{row.plan_id}: its plan is not what its digest says")
    if plan.plan_id != row.plan_id:
        found.append(f"{row.plan_id}: its plan is called {plan.plan_id}")
    if plan.flag_key != flag.flag_key:
        found.append(f"{row.plan_id}: its plan is for {plan.flag_key}, and its row for {flag.flag_key}")
    return found


def _definition_findings(flag: FlagRow) -> list[str]:
    FlagDefinition.from_json(json.loads(flag.definition), source=flag.flag_key)
    return []


def _journal(connection: sqlite3.Connection, plan: PlanRow) -> _Journal:
    sql = "SELECT seq, plan_seq, at_ms, kind, CAST(body AS BLOB) FROM journal WHERE plan_id = ? ORDER BY plan_seq"
    rows = connection.execute(sql, (plan.plan_id,)).fetchall()
    read, found = [], []
    for seq, plan_seq, at_ms, kind, body in rows:
        try:
            event = _event(body)
        except UNREADABLE as error:
            found.append(f"{plan.plan_id} cannot be read: event {plan_seq}: {_told(error)}")
            continue
        read.append((seq, event))
        if (event.kind, event.at_ms) != (kind, at_ms):
            says = f"is kept as {kind} at {at_ms}, and says {event.kind} at {event.at_ms}"
            found.append(f"{plan.plan_id}: event {plan_seq} {says}")
    numbers = [row[1] for row in rows]
    has_gaps = numbers != list(range(1, len(rows) + 1))
    if has_gaps:
        found.insert(0, f"journal of {plan.plan_id}: numbers {numbers} have gaps")
    journal = _Journal(plan, [row[0] for row in rows], has_gaps, read, None, found)
    return journal if has_gaps or len(read) < len(rows) else _replayed(journal)


def _event(body: bytes) -> Event:
    document = json.loads(body.decode())
    if not isinstance(document, dict):
        raise TypeError(f"an event is an object: {document!r}")
    return events.from_json(document)


def _replayed(journal: _Journal) -> _Journal:
    row = journal.plan
    try:
        state = replay(event for _, event in journal.events)
    except UNREADABLE as error:
        return journal._replace(findings=[*journal.findings, f"{row.plan_id} cannot be read: {_told(error)}"])
    if (state.ended_ms is None) == (row.ended_ms is None):
        return journal._replace(state=state)
    says = f"{row.plan_id}: the journal says {state.phase}, the plan's row otherwise"
    return journal._replace(state=state, findings=[*journal.findings, says])


# ---------------------------------------------------------------------------------------- a flag in step with its plans
def _step_findings(flag: FlagRow, journals: Sequence[_Journal]) -> list[str]:
    """Compare a flag's row with what the events of its plans made of it, as far as these can be read."""
    found = []
    states = [journal.state for journal in journals if journal.state is not None]
    live = [state for state in states if state.ended_ms is None]
    exposed = flag.percentage if flag.enabled else 0.0
    found += [
        f"{flag.flag_key}: exposed to {exposed:g} %, its journal says {state.percentage:g} %"
        for state in live
        if state.stage >= 0 and exposed != state.percentage
    ]
    entry = max((state.entry for state in live), default=0)
    if len(states) == len(journals) and flag.entry != entry:
        found.append(f"{flag.flag_key}: its entry is {flag.entry}, its journal says {entry}")
    read = [(seq, event) for journal in journals for seq, event in journal.events]
    given = max((event.entry for _, event in read if isinstance(event, StageEntered)), default=0)
    if flag.entries < given:
        found.append(f"{flag.flag_key}: {flag.entries} entries were given, its journal says {given}")
    return found + _applied_findings(flag, journals)


def _applied_findings(flag: FlagRow, journals: Sequence[_Journal]) -> list[str]:
    """Compare the last event that a flag's row has with the last one that moved it."""
    if any(journal.has_gaps for journal in journals):
        return []  # it may be the one that is missing
    if any(journal.state is None for journal in journals):
        known = {0, *(seq for journal in journals for seq in journal.numbers)}
        told = "its journal has no such event"
        return (
            [] if flag.journal_seq in known else [f"{flag.flag_key}: event {flag.journal_seq} was applied last, {told}"]
        )
    read = [(seq, event) for journal in journals for seq, event in journal.events]
    last = max((seq for seq, event in read if rollouts.flag_values(event, flag)), default=0)
    if flag.journal_seq == last:
        return []
    return [f"{flag.flag_key}: event {flag.journal_seq} was applied last, its journal says {last}"]


def _audited(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Return what the audit log says of each flag after its last change, as far as it can be read."""
    try:
        # a flag has other leaves too; in a reason, which is quoted in the leaf, these letters cannot stand
        sql = "SELECT object, leaf, max(seq) FROM audit WHERE instr(leaf, CAST(? AS BLOB)) > 0 GROUP BY object"
        rows = connection.execute(sql, ('"enabled":',)).fetchall()
    except sqlite3.Error:
        return {}  # the audit log's own findings say so
    found = {}
    for name, leaf, _ in rows:
        try:
            after = json.loads(leaf)["after"]
        except UNREADABLE:
            continue
        if isinstance(after, dict) and "enabled" in after:
            found[name] = after
    return found


def _hold_findings(flag: FlagRow, after: dict[str, Any] | None) -> list[str]:
    """Compare a flag's hold with the audit log's, where that has this version of the flag: the log can be off."""
    if after is None or after.get("version", 1) != flag.version or after.get("held") == flag.held:
        return []  # the leaf of a flag that was just made has neither
    is_held = f"is held by {flag.held}" if flag.held else "is not held"
    return [f"{flag.flag_key}: {is_held}, the audit log says by {after.get('held') or 'nobody'}"]


# -------------------------------------------------------------------------------------------------------- the audit log
def _audit_findings(connection: sqlite3.Connection) -> list[str]:
    peaks: tuple[bytes, ...] = ()
    rows = connection.execute("SELECT seq, leaf, leaf_hash FROM audit ORDER BY seq").fetchall()
    for index, (seq, leaf, hashed) in enumerate(rows):
        if seq != index + 1:
            return [f"audit: number {index + 1} is missing"]
        if tree.leaf_hash(leaf) != hashed:
            return [f"audit: leaf {seq} was changed"]
        peaks = tree.grown(index, peaks, hashed)
    size, joined = connection.execute("SELECT size, peaks FROM audit_tree").fetchone()
    return [] if (size, joined) == (len(rows), b"".join(peaks)) else ["audit: the tree does not fit its leaves"]
