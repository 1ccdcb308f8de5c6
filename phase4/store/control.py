"""The control plane: what is switched on, who approved, what happened. SQLite, one transaction for each command.

Many short processes write. Every write is one `BEGIN IMMEDIATE ... COMMIT` that holds the change, its journal event,
its alert and its audit leaf together, durable when it returns. After COMMIT the epoch rings, so that running
evaluators see it without a query. Imports nothing heavy: a toggle is a whole process.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from phase4 import clock
from phase4.audit import tree
from phase4.digests import hexdigest
from phase4.errors import (
    AlertNotFound,
    FlagNotFound,
    PlanLive,
    PlanNotFound,
    RequestIdReused,
    SchemaTooNew,
    StoreDamaged,
    StoreUnavailable,
    WriteFailed,
    nearest,
)
from phase4.store import home as homes
from phase4.store.epoch import Epoch

SCHEMA = 2
BUSY_MS = 5_000
BEGIN_LOOK_S = 0.0005
LEAF_SCHEMA = 2
NOTICE_SCHEMA = 1
_SCHEMA_FOLDER = os.path.join(os.path.dirname(__file__), "schema", "control")


class FlagRow(NamedTuple):
    """A flag as the store has it; `definition` is its document (JSON)."""

    id: int
    flag_key: str
    enabled: bool
    percentage: float
    salt: str
    definition: str
    version: int
    entry: int
    entries: int
    held: str | None
    held_reason: str | None
    held_ms: int | None
    journal_seq: int
    updated_ms: int
    updated_by: str


class PlanRow(NamedTuple):
    """A plan as the store has it; `body` is the plan (JSON)."""

    plan_id: str
    flag_id: int
    digest: str
    body: str
    created_ms: int
    created_by: str
    ended_ms: int | None


class AlertRow(NamedTuple):
    """An alert; open until `resolved_ms`."""

    id: int
    fingerprint: str
    type: str
    severity: str
    flag_id: int | None
    plan_id: str | None
    rule: str
    message: str
    data: str
    times: int
    """How often its rule held (column `count`)."""
    first_seen_ms: int
    last_seen_ms: int
    acknowledged_ms: int | None
    acknowledged_by: str | None
    resolved_ms: int | None
    resolved_by: str | None
    resolution: str | None
    previous: int | None


class Reply(NamedTuple):
    """What a command answered, and whether this is the answer of an earlier time with the same request id."""

    data: dict[str, Any]
    is_repeated: bool


def read_flags(connection: sqlite3.Connection) -> list[FlagRow]:
    """Return all flags in the order they were made.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    return [_flag(row) for row in connection.execute(f"{_FLAG} ORDER BY id").fetchall()]


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: RFC 8785 for texts, integers, booleans and null."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def open_error(error: sqlite3.Error, path: str) -> StoreUnavailable | WriteFailed:
    """Return what a database error means to a person."""
    text = str(error)
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in text or "busy" in text:
            return StoreUnavailable(f"{path} is locked by another process")
        if "readonly" in text or "read-only" in text:
            return WriteFailed(f"{path} cannot be written: it is read-only")
        if "full" in text:
            return WriteFailed(f"{path} cannot be written: the disk is full")
        if "disk I/O" in text or "unable to open" in text:
            return WriteFailed(f"{path} cannot be used: {text}")
    if isinstance(error, sqlite3.DatabaseError) and ("malformed" in text or "not a database" in text):
        return StoreDamaged(f"{path} is damaged: {text}", hint="phase4 store check; phase4 store restore DIR")
    return StoreUnavailable(f"{path}: {text}")


def connect(path: str, *, busy_ms: int = BUSY_MS, read_only: bool = False) -> sqlite3.Connection:
    """Return a connection with the store's pragmas; every write is durable when COMMIT returns."""
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"file:{_quoted(path)}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=busy_ms / 1000,
        check_same_thread=not read_only,  # a reader's connection may be used by one thread after the other
    )
    try:
        if not read_only:
            _patiently(lambda: connection.execute("PRAGMA journal_mode=WAL").fetchall(), busy_ms)
            connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
    except BaseException:
        connection.close()
        raise
    return connection


class ControlStore:
    """The control database of one home."""

    def __init__(self, home: str, now: Callable[[], int], *, busy_ms: int = BUSY_MS) -> None:
        """Open the database of an initialised home, and bring its schema up to date.

        Args:
            home: PHASE4_HOME.
            now: Tells the time in ms since the Unix epoch.
            busy_ms: How long a write waits for other writers.

        Raises:
            NotInitialised: `init` has not run.
            StoreUnavailable: it cannot be opened.
            SchemaTooNew: a newer version wrote it.
        """
        homes.require(home)
        self.home, self.now, self._busy_ms = home, now, busy_ms
        self.is_dry_run = False
        """Whether `execute` undoes everything it did, and rings no bell."""
        self.path = os.path.join(home, homes.CONTROL)
        try:
            self.connection = connect(self.path, busy_ms=busy_ms)
            self._migrate()
            self.connection.execute("PRAGMA busy_timeout=0")  # `_begin` waits in its own way
        except sqlite3.Error as error:
            raise open_error(error, self.path) from error
        try:
            self.epoch = Epoch(os.path.join(home, homes.EPOCH))
        except OSError as error:
            raise StoreUnavailable(f"{home}/epoch cannot be used: {error.strerror}") from error

    @classmethod
    def create(cls, home: str, now: Callable[[], int]) -> ControlStore:
        """Make a home with an empty database, or open the one that is there."""
        homes.create(home)
        path = os.path.join(home, homes.CONTROL)
        if not os.path.exists(path):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        return cls(home, now)

    def close(self) -> None:
        """Close the database and the epoch."""
        self.connection.close()
        self.epoch.close()

    # ---------------------------------------------------------------------------------------------- reading
    @property
    def version(self) -> int:
        """Number of committed changes."""
        return int(self.row("SELECT v FROM meta WHERE k = 'version'")[0])

    def meta(self, key: str) -> Any:
        """Return a value of `meta`, None if it is not there."""
        rows = self.rows("SELECT v FROM meta WHERE k = ?", key)
        return rows[0][0] if rows else None

    def flags(self) -> list[FlagRow]:
        """Return all flags in the order they were made."""
        try:
            return read_flags(self.connection)
        except sqlite3.Error as error:
            if self.connection.in_transaction:
                raise  # `execute` rolls back and says what it means
            raise open_error(error, self.path) from error

    def flag(self, flag_key: str) -> FlagRow:
        """Return a flag.

        Raises:
            FlagNotFound: there is none; the message names the nearest.
        """
        rows = self.rows(f"{_FLAG} WHERE flag_key = ?", flag_key)
        if rows:
            return _flag(rows[0])
        known = [row[0] for row in self.rows("SELECT flag_key FROM flag")]
        raise FlagNotFound(f'no flag "{flag_key}"; {_suggestion(flag_key, known)}')

    def flag_by_id(self, flag_id: int) -> FlagRow:
        """Return a flag by its number."""
        return _flag(self.row(f"{_FLAG} WHERE id = ?", flag_id))

    def plans(self, flag_id: int | None = None) -> list[PlanRow]:
        """Return the plans of a flag, or all, oldest first."""
        where, values = ("WHERE flag_id = ?", (flag_id,)) if flag_id is not None else ("", ())
        rows = self.rows(
            f"SELECT {_columns(PlanRow)} FROM plan {where} ORDER BY created_ms, length(plan_id), plan_id", *values
        )
        return [PlanRow(*row) for row in rows]

    def plan(self, plan_id: str) -> PlanRow:
        """Return a plan.

        Raises:
            PlanNotFound: there is none; the message names the nearest.
        """
        rows = self.rows(f"SELECT {_columns(PlanRow)} FROM plan WHERE plan_id = ?", plan_id)
        if rows:
            return PlanRow(*rows[0])
        known = [row[0] for row in self.rows("SELECT plan_id FROM plan")]
        raise PlanNotFound(f'no plan "{plan_id}"; {_suggestion(plan_id, known)}')

    def live_plan(self, flag_id: int) -> PlanRow | None:
        """Return the live plan of a flag."""
        rows = self.rows(f"SELECT {_columns(PlanRow)} FROM plan WHERE flag_id = ? AND ended_ms IS NULL", flag_id)
        return PlanRow(*rows[0]) if rows else None

    def journal(self, plan_id: str) -> list[tuple[int, str]]:
        """Return (number within the plan, event as JSON) of a plan, oldest first."""
        return self.rows("SELECT plan_seq, body FROM journal WHERE plan_id = ? ORDER BY plan_seq", plan_id)

    def history(self, flag_id: int | None = None) -> list[tuple[int, int, str, str, str, str | None]]:
        """Return (seq, time in ms, plan, kind, body, request id) of all events of a flag, or all, oldest first."""
        where, values = ("WHERE plan.flag_id = ?", (flag_id,)) if flag_id is not None else ("", ())
        return self.rows(
            "SELECT journal.seq, at_ms, plan_id, kind, journal.body, request_id FROM journal JOIN plan USING (plan_id)"
            f" {where} ORDER BY journal.seq",
            *values,
        )

    def alerts(self, severity: str | None = None, *, with_resolved: bool = False) -> list[AlertRow]:
        """Return open alerts, of one severity or all, the newest first."""
        conditions = ([] if with_resolved else ["resolved_ms IS NULL"]) + (["severity = ?"] if severity else [])
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        values = (severity,) if severity else ()
        rows = self.rows(f"SELECT {_columns(AlertRow)} FROM alert {where} ORDER BY last_seen_ms DESC, id DESC", *values)
        return [AlertRow(*row) for row in rows]

    def alert(self, alert_id: int) -> AlertRow:
        """Return an alert.

        Raises:
            AlertNotFound: there is none with that id.
        """
        rows = self.rows(f"SELECT {_columns(AlertRow)} FROM alert WHERE id = ?", alert_id)
        if not rows:
            raise AlertNotFound(f"no alert {alert_id}", hint="phase4 alerts list --all")
        return AlertRow(*rows[0])

    def lease(self, name: str, now_ms: int) -> str | None:
        """Return who holds a lease now, for example the collector's."""
        rows = self.rows("SELECT holder FROM lease WHERE name = ? AND expires_ms > ?", name, now_ms)
        return str(rows[0][0]) if rows else None

    def audit(self) -> list[tuple[int, bytes, bytes]]:
        """Return (number, leaf, leaf hash) of the audit log, oldest first."""
        return self.rows("SELECT seq, leaf, leaf_hash FROM audit ORDER BY seq")

    # ---------------------------------------------------------------------------------------------- writing
    def execute(
        self,
        command: str,
        arguments: Mapping[str, Any],
        work: Callable[[Change], dict[str, Any]],
        *,
        actor: str,
        request_id: str,
    ) -> Reply:
        """Do a command once, in one transaction.

        Args:
            command: Its name, for example `flags enable`.
            arguments: What it was given; together with the name it decides whether a request id is reused.
            work: Makes the changes and returns the reply, plain JSON values. It may run again after a conflict.
            actor: Who orders it.
            request_id: Of the order: the same id twice changes nothing the second time and gives the first reply.

        Raises:
            RequestIdReused: the id was used for another command.
            StoreUnavailable: other writers held the database too long, or it is damaged.
            WriteFailed: it cannot be written. Nothing was changed.
        """
        digest = hexdigest(canonical([command, arguments]).encode())
        try:
            self._begin()
            try:
                known = self.rows("SELECT digest, reply FROM command WHERE request_id = ?", request_id)
                if known:
                    self.connection.execute("ROLLBACK")
                    return _known_reply(known[0], digest, request_id)
                change = Change(self, actor=actor, request_id=request_id, now_ms=self.now())
                data = work(change)
                version = None if self.is_dry_run else change.finish(digest, data)
                self.connection.execute("ROLLBACK" if self.is_dry_run else "COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise open_error(error, self.path) from error
        if version is not None:
            self.epoch.ring(version)
        return Reply(data, is_repeated=False)

    def _begin(self) -> None:
        """Begin a write. Looking again every half millisecond is fairer than SQLite's own growing waits.

        Among 8 writers those left one emergency in 30 waiting for more than 2 s; this way the longest was 26 ms.
        """
        _patiently(lambda: self.connection.execute("BEGIN IMMEDIATE"), self._busy_ms)

    def _migrate(self) -> None:
        found = self.row("PRAGMA user_version")[0]
        if found > SCHEMA:
            raise SchemaTooNew(f"{self.path} has schema {found}, this version knows {SCHEMA}")
        for number in range(found + 1, SCHEMA + 1):
            with open(os.path.join(_SCHEMA_FOLDER, f"{number:03d}.sql"), encoding="utf-8") as file:
                script = file.read()
            # another process may have been first: the number is looked at again inside the transaction
            self.connection.execute("BEGIN EXCLUSIVE")
            if self.row("PRAGMA user_version")[0] < number:
                for statement in _statements(script):
                    self.connection.execute(statement)
            self.connection.execute("COMMIT")

    def row(self, sql: str, *values: Any) -> Any:
        """Return the first row of a query that has one."""
        return self.rows(sql, *values)[0]

    def rows(self, sql: str, *values: Any) -> list[Any]:
        """Return the rows of a query; values are bound, never written into the text."""
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            if self.connection.in_transaction:
                raise  # `execute` rolls back and says what it means
            raise open_error(error, self.path) from error


class Change:
    """One write transaction: what a command may change. Every method writes its audit leaf or belongs to one."""

    def __init__(self, store: ControlStore, *, actor: str, request_id: str, now_ms: int) -> None:
        """Begin; `store.execute` is the caller."""
        self.store, self.actor, self.request_id, self.now_ms = store, actor, request_id, now_ms
        self._run = store.connection.execute
        self._is_touched = False
        self._is_beat = False

    def add_flag(self, flag_key: str, *, document: Mapping[str, Any], enabled: bool, percentage: float) -> None:
        """Make a flag from its document, which is checked already; its salt is immutable from now on."""
        # as it is, and not sorted: the order of a split's variants decides who gets which
        kept = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        self._run(
            "INSERT INTO flag(flag_key, enabled, percentage, salt, definition, version, updated_ms, updated_by)"
            " VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
            (flag_key, enabled, percentage, document["salt"], kept, self.now_ms, self.actor),
        )
        after = {"enabled": enabled, "percentage": _decimal(percentage)}
        self.audit("flag_created", flag_key, before=None, after=after, reason=None)

    def set_flag(self, flag: FlagRow, action: str, reason: str | None, **values: Any) -> FlagRow:
        """Change columns of a flag, with its version and an audit leaf.

        Args:
            flag: The flag as it was read in this transaction.
            action: Name of the audit action.
            reason: Why, for the audit log.
            values: Columns of `FlagRow` and what they become.
        """
        values |= {"version": flag.version + 1, "updated_ms": self.now_ms, "updated_by": self.actor}
        assignments = ", ".join(f"{name} = ?" for name in values)
        self._run(f"UPDATE flag SET {assignments} WHERE id = ?", (*values.values(), flag.id))
        changed = flag._replace(**values)
        self.audit(action, flag.flag_key, before=_shown(flag), after=_shown(changed), reason=reason)
        return changed

    def add_plan(self, plan: PlanRow) -> None:
        """Keep a plan.

        Raises:
            PlanLive: the flag has a live one.
        """
        live = self.store.live_plan(plan.flag_id)
        if live is not None and plan.ended_ms is None:
            raise PlanLive(f"{live.plan_id} is live")
        marks = ", ".join("?" * len(plan))
        self._run(f"INSERT INTO plan({_columns(PlanRow)}) VALUES ({marks})", plan)
        self.audit("plan_created", plan.plan_id, before=None, after={"digest": plan.digest}, reason=None)

    def end_plan(self, plan_id: str) -> None:
        """Note that a plan is no longer live."""
        self._run("UPDATE plan SET ended_ms = ? WHERE plan_id = ?", (self.now_ms, plan_id))

    def append(self, plan_id: str, plan_seq: int, *, at_ms: int, kind: str, body: str, tick: int | None) -> int | None:
        """Record a journal event; return its number, None if the plan's number is taken: another was first."""
        cursor = self._run(
            "INSERT INTO journal(plan_id, plan_seq, at_ms, kind, body, tick, request_id) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT(plan_id, plan_seq) DO NOTHING",
            (plan_id, plan_seq, at_ms, kind, body, tick, self.request_id),
        )
        return cursor.lastrowid if cursor.rowcount else None

    def alert(
        self,
        type_: str,
        severity: str,
        message: str,
        *,
        rule: str,
        flag: FlagRow | None = None,
        plan_id: str | None = None,
        data: Mapping[str, Any] | None = None,
        notifies: bool | None = None,
    ) -> int:
        """Open an alert, or count one more of an open one; return its id.

        Args:
            type_: As operations has them: rollback, system_health, rollout and so on.
            severity: critical, high, medium or low.
            message: One line for people.
            rule: What held; together with type and flag it says whether this is an open alert once more.
            flag: The flag it is about.
            plan_id: The plan it is about.
            data: Details, plain values without floats.
            notifies: Whether a notice goes out; by default of critical and high ones.
        """
        flag_key = flag.flag_key if flag else None
        fingerprint = hexdigest(canonical([type_, flag_key, rule]).encode())[:12]
        found = self.store.rows("SELECT id FROM alert WHERE fingerprint = ? AND resolved_ms IS NULL", fingerprint)
        if found:
            self._run("UPDATE alert SET count = count + 1, last_seen_ms = ? WHERE id = ?", (self.now_ms, found[0][0]))
            return int(found[0][0])
        earlier = self.store.rows("SELECT max(id) FROM alert WHERE fingerprint = ?", fingerprint)[0][0]
        cursor = self._run(
            "INSERT INTO alert(fingerprint, type, severity, flag_id, plan_id, rule, message, data, first_seen_ms,"
            " last_seen_ms, previous) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(fingerprint, type_, severity, flag.id if flag else None, plan_id, rule, message),
                *(canonical(data or {}), self.now_ms, self.now_ms, earlier),
            ),
        )
        alert_id = cursor.lastrowid
        assert alert_id is not None
        if severity in {"critical", "high"} if notifies is None else notifies:
            self.notice(alert_id, "opened")
        return alert_id

    def notice(self, alert_id: int, event: str) -> None:
        """Put a notice of an alert into the outbox: opened, repeat or resolved. It is sent after COMMIT."""
        alert = self.store.alert(alert_id)
        flag_key = self.store.flag_by_id(alert.flag_id).flag_key if alert.flag_id is not None else None
        body = canonical(
            {
                "schema": NOTICE_SCHEMA,
                "event": event,
                "id": alert_id,
                "fingerprint": alert.fingerprint,
                "type": alert.type,
                "severity": alert.severity,
                "flag_key": flag_key,
                "plan": alert.plan_id,
                "rule": alert.rule,
                "message": alert.message,
                "count": alert.times,
                "first_seen_ms": alert.first_seen_ms,
                "last_seen_ms": alert.last_seen_ms,
                "text": f"[{alert.severity}] {event}: {alert.message}",
            }
        )
        self._run(
            "INSERT INTO outbox(alert_id, event, body, created_ms, next_ms) VALUES (?, ?, ?, ?, ?)",
            (alert_id, event, body, self.now_ms, self.now_ms),
        )
        self._is_touched = True

    def resolve_alert(self, alert_id: int, reason: str) -> bool:
        """Close an alert; False if it is closed already.

        Raises:
            AlertNotFound: there is none with that id.
        """
        assignments = "resolved_ms = ?, resolved_by = ?, resolution = ?"
        if not self._mark_alert(alert_id, "alert_resolved", reason, assignments):
            return False
        if self.store.rows("SELECT 1 FROM outbox WHERE alert_id = ? LIMIT 1", alert_id):
            self.notice(alert_id, "resolved")  # whoever heard of it hears that it is over
        return True

    def acknowledge_alert(self, alert_id: int, reason: str) -> bool:
        """Say that somebody looks after an alert; it stays open. False if it is acknowledged or closed already."""
        return self._mark_alert(alert_id, "alert_acknowledged", reason, "acknowledged_ms = ?, acknowledged_by = ?")

    def _mark_alert(self, alert_id: int, action: str, reason: str, assignments: str) -> bool:
        alert = self.store.alert(alert_id)
        column = assignments.split(" ", 1)[0]
        if alert.resolved_ms is not None or getattr(alert, column) is not None:
            return False
        values = (self.now_ms, self.actor, reason)[: assignments.count("?")]
        self._run(f"UPDATE alert SET {assignments} WHERE id = ?", (*values, alert_id))
        self.audit(action, f"alert {alert_id}", before=None, after=None, reason=reason)
        return True

    def hold_lease(self, name: str, holder: str, expires_ms: int) -> None:
        """Hold a lease until a moment; it is a heartbeat, so it has no audit leaf."""
        self._run(
            "INSERT INTO lease VALUES (?, ?, 1, ?) ON CONFLICT(name) DO UPDATE SET holder = excluded.holder,"
            " expires_ms = excluded.expires_ms, fence = fence + (holder <> excluded.holder)",
            (name, holder, expires_ms),
        )
        self._is_beat = True

    def write(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """Write a row of the event plane: ticks, sources, segments. Nobody is told, and no audit leaf tells of it."""
        self._is_beat = True
        return self._run(sql, values)

    def set_meta(self, key: str, value: int | str) -> None:
        """Keep a value of `meta`."""
        self._run("INSERT INTO meta VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v", (key, value))
        self._is_touched = True

    def audit(
        self,
        action: str,
        object_: str,
        *,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
        reason: str | None,
    ) -> None:
        """Add a leaf to the audit log, in this transaction. Texts, integers, booleans and null only."""
        self._is_touched = True
        if self.store.meta("audit_off"):
            return
        size, joined = self.store.row("SELECT size, peaks FROM audit_tree")
        leaf = canonical(
            {
                "v": LEAF_SCHEMA,
                "seq": size + 1,
                "at_ms": self.now_ms,
                "actor": self.actor,
                "action": action,
                "object": object_,
                "store_version": self.store.version + 1,
                "before": before,
                "after": after,
                "reason": reason,
                "request_id": self.request_id,
            }
        ).encode()
        hashed = tree.leaf_hash(leaf)
        self._run(
            "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)",
            (size + 1, self.now_ms, self.actor, action, object_, leaf, hashed),
        )
        peaks = b"".join(tree.grown(size, tree.split(joined), hashed))
        self._run("UPDATE audit_tree SET size = ?, peaks = ?", (size + 1, peaks))

    def finish(self, digest: str, data: Mapping[str, Any]) -> int | None:
        """Keep the reply and move the version; return it, None where nothing was changed."""
        if self._is_beat and not self._is_touched:
            return None  # heartbeats come for ever, and nobody asks for one again
        # kept also where nothing was to do: the same order later is still this one
        self._run("INSERT INTO command VALUES (?, ?, ?, ?)", (self.request_id, digest, json.dumps(data), self.now_ms))
        if not self._is_touched:
            return None
        self._run("UPDATE meta SET v = v + 1 WHERE k = 'version'")
        return self.store.version


def _patiently(work: Callable[[], object], busy_ms: int) -> None:
    """Do what another process's lock may refuse, again and again for `busy_ms`."""
    until = clock.monotonic() + busy_ms / 1000
    while True:
        try:
            work()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or clock.monotonic() >= until:
                raise
            clock.wait(BEGIN_LOOK_S)
        else:
            return


def _known_reply(row: tuple[str, str], digest: str, request_id: str) -> Reply:
    if row[0] != digest:
        raise RequestIdReused(f"request id {request_id} was used for another command")
    return Reply(json.loads(row[1]), is_repeated=True)


def _flag(row: tuple[Any, ...]) -> FlagRow:
    flag = FlagRow(*row)
    return flag._replace(enabled=bool(flag.enabled))


def _columns(kind: Any) -> str:
    return ", ".join("count" if name == "times" else name for name in kind._fields)


_FLAG = f"SELECT {_columns(FlagRow)} FROM flag"


def _shown(flag: FlagRow) -> dict[str, Any]:
    return {
        "enabled": flag.enabled,
        "percentage": _decimal(flag.percentage),
        "held": flag.held,
        "entry": flag.entry,
        "version": flag.version,
    }


def _decimal(percentage: float) -> str:
    """Return a percentage as a decimal text: there are no floats in what is hashed."""
    return f"{percentage:.10f}".rstrip("0").rstrip(".")


def _suggestion(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = nearest(name, names)
    return f'did you mean "{close}"?' if close else f"known: {', '.join(names) or 'none'}"


def _statements(script: str) -> list[str]:
    """Return the statements of a schema file; comments end with their line."""
    lines = [line.split("--", 1)[0] for line in script.splitlines()]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
