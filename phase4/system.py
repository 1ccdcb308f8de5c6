"""The composition root: one home, its flags in memory, and the questions that an application asks.

An evaluation looks at two words of shared memory and at an immutable snapshot; it opens no file and waits for nobody.
When the epoch differs from what was seen, the flags are loaded again; as a backstop for a writer that died between
commit and bell, the database's own change counter is looked at once a second. A database that cannot be read leaves the
last snapshot in force, marked STALE. Stop files and the stop word are obeyed whatever the database says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sqlite3
import threading
import weakref
from dataclasses import replace
from typing import Any

from phase4 import clock, config
from phase4.errors import NotBuilt, Phase4Error, UsageError
from phase4.flags.definition import FlagDefinition
from phase4.flags.evaluation import Context, Evaluation, Flag, FlagSet, not_ready
from phase4.measuring import OUTCOMES, Measurement, Recorder
from phase4.store import home as homes
from phase4.store import stops
from phase4.store.control import FlagRow, connect, read_flags
from phase4.store.epoch import Epoch
from phase4.store.record import NO_LATENCY

LOOK_S = 1.0
"""How often the database's change counter is looked at, and how soon a failed load is tried again."""


class Phase4System:
    """The flags of one home, for one process."""

    def __init__(self, home: str) -> None:
        """Load the flags. A home that cannot be read yet is tried again at later evaluations."""
        self.home = home
        self._flags: FlagSet | None = None
        self._connection: sqlite3.Connection | None = None
        self._epoch: Epoch | None = None
        self._seen = -1
        self._seen_stop = 0
        self._changes = -1
        self._next_look = 0.0
        self._clock = clock.SystemClock()
        self._files: tuple[object, ...] = ()
        self._ids: dict[str, int] = {}
        self._recorder = Recorder(home, self._clock.now)
        self._lock = threading.Lock()
        _alive.add(self)
        self.refresh()

    @property
    def is_stale(self) -> bool:
        """Whether the flags could not be loaded lately, so that the last known ones answer."""
        return self._flags is not None and self._flags.is_stale

    def is_feature_enabled(self, flag_key: str, user_id: str | None = None, context: Context = None) -> bool:
        """Return whether a user has a feature; False on any doubt. Never raises."""
        # written out: a call of a method would be a fifth of what asking may cost
        if not self._fresh():
            return False
        flags, epoch = self._flags, self._epoch
        if flags is None or (epoch is not None and epoch.words[1]):
            return False
        asked = _context(user_id, context) if context is not None else user_id
        return flags.is_enabled(flag_key, asked, now_ms=self._clock.now() if flags.needs_now else None)

    def evaluate(self, flag_key: str, context: Context = None, *, default: Any = None) -> Evaluation:
        """Return value, variant, reason and arm of a flag for a context. Never raises."""
        if not self._fresh() or self._flags is None:
            return not_ready(flag_key, default)
        return self._flags.evaluate(flag_key, context, default, now_ms=self._now())

    def measure(self, flag_key: str, user_id: str | None = None, context: Context = None) -> Measurement:
        """Decide for a user, and record what comes of it: `with system.measure("checkout", user) as m: ...`.

        `m.enabled` says whether the user has the feature. An exception that leaves the block is an error, a
        `TimeoutError` a timeout; the time the block takes is its latency. Recording never raises.
        """
        asked = _context(user_id, context)
        evaluation = self.evaluate(flag_key, asked)
        compiled = None if self._flags is None else self._flags.find(flag_key)
        if compiled is None:
            return Measurement(self._recorder, evaluation, None, enabled=False)
        flag = compiled.flag.definition
        subject = self._recorder.subject(evaluation, flag, self._ids.get(flag_key, 0), asked)
        self._recorder.served(self._seen)
        is_on = evaluation.variant is not None and evaluation.variant != compiled.off_variant
        return Measurement(self._recorder, evaluation, subject, enabled=is_on)

    def record(
        self,
        flag_key: str,
        user_id: str | None = None,
        *,
        outcome: str = "ok",
        latency_ms: float | None = None,
        context: Context = None,
    ) -> bool:
        """Record an outcome that is known elsewhere; return whether it is written.

        Args:
            flag_key: The flag.
            user_id: The user.
            outcome: ok, error, timeout or invalid.
            latency_ms: How long it took; None = that has no meaning here.
            context: Attributes of the user, where the flag's conditions need them.

        Raises:
            UsageError: the outcome is none of the four, or the latency is negative or not finite.
        """
        if outcome not in OUTCOMES:
            raise UsageError(f'an outcome is one of {", ".join(OUTCOMES)}: "{outcome}"')
        if latency_ms is not None and not 0.0 <= latency_ms < math.inf:
            raise UsageError(f"a latency is finite and at least 0 ms: {latency_ms}")
        measurement = self.measure(flag_key, user_id, context)
        return measurement.record(OUTCOMES[outcome], NO_LATENCY if latency_ms is None else latency_ms)

    def validate_task_completion(self, task: Any) -> Any:
        """Validate a finished task; not there yet."""
        raise NotBuilt(f"validation of tasks is not in this version: {type(task).__name__}")

    def execute_hook(self, hook: Any) -> Any:
        """Run a hook under interception; not there yet."""
        raise NotBuilt(f"hook interception is not in this version: {type(hook).__name__}")

    @property
    def flags(self) -> FlagSet | None:
        """The snapshot in force; None before there is any."""
        return self._flags

    def refresh(self) -> bool:
        """Load the flags and stop files; return whether that worked. On failure the last snapshot stays.

        One thread loads at a time, a millisecond; no snapshot is older than the bell that its caller heard.
        """
        with self._lock:
            return self._load()

    def _load(self) -> bool:
        self._next_look = clock.monotonic() + LOOK_S
        try:
            files = self._files_now()
            if files[:-1] != self._files[:-1]:  # the home was restored: what is open is another one
                self._drop_connection()
                self._epoch = None  # not closed: another thread may be looking at its words
            self._files = files
            epoch, connection = self._opened()
            # the words are read before the rows: a change in between is seen as a difference at the next evaluation
            seen, seen_stop, changes = epoch.version, epoch.words[1], _changes(connection)
            rows = read_flags(connection)
            flags = FlagSet(_flags(rows, self._stopped_keys()), previous=self._flags)
        except (Phase4Error, sqlite3.Error, OSError, ValueError, TypeError, KeyError):  # also a row that is no flag
            self._drop_connection()
            self._obey_stops()
            return False
        self._ids = {row.flag_key: row.id for row in rows}
        self._flags, self._seen, self._seen_stop, self._changes = flags, seen, seen_stop, changes
        self._recorder.served(seen)
        return True

    def close(self) -> None:
        """Close the database, the epoch and the spool; the system is not used after that."""
        self._recorder.close()
        self._drop_connection()
        if self._epoch is not None:
            self._epoch.close()
            self._epoch = None

    def _fresh(self) -> bool:
        """Bring the snapshot up to date where something moved; return whether there is one."""
        epoch = self._epoch  # another thread may take it away
        # the stop word is written before the bell is rung
        rang = epoch is not None and (epoch.words[0] != self._seen or epoch.words[1] != self._seen_stop)
        if rang or clock.monotonic() >= self._next_look:
            self._next_look = clock.monotonic() + LOOK_S
            if rang or self._flags is None or self.is_stale or self._moved():
                self.refresh()
        return self._flags is not None

    def _moved(self) -> bool:
        """Return whether the database changed without the bell: its writer died in between."""
        try:
            if self._connection is None or self._files_now() != self._files:
                return True
            return _changes(self._connection) != self._changes
        except (sqlite3.Error, OSError):
            return True

    def _files_now(self) -> tuple[object, ...]:
        """Return which files these are, and when a stop file last came or went.

        Raises:
            OSError: one is not there.
        """
        found = [os.stat(os.path.join(self.home, name)) for name in (homes.CONTROL, homes.EPOCH)]
        stops_changed = os.stat(os.path.join(self.home, homes.STOPS)).st_mtime_ns
        return (*((each.st_dev, each.st_ino) for each in found), stops_changed)

    def _now(self) -> int | None:
        """Return the time for the flags whose answers depend on it; the others never ask."""
        return self._clock.now() if self._flags is not None and self._flags.needs_now else None

    def _opened(self) -> tuple[Epoch, sqlite3.Connection]:
        if self._epoch is None:
            homes.require(self.home)
            self._epoch = Epoch(os.path.join(self.home, homes.EPOCH))
        if self._connection is None:
            path = os.path.join(self.home, homes.CONTROL)
            self._connection = connect(path, busy_ms=0, read_only=True)
        return self._epoch, self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _stopped_keys(self) -> set[str]:
        keys = {stop.flag_key for stop in stops.pending(self.home)}
        return keys | ({stops.EVERYTHING} if self._epoch is not None and self._epoch.is_stopped else set())

    def _obey_stops(self) -> None:
        """Switch off in the last snapshot what stop files name: the database may be gone, they are not."""
        if self._epoch is not None:
            # this bell is answered; the database is tried again in a while
            self._seen, self._seen_stop = self._epoch.version, self._epoch.words[1]
        if self._flags is None:
            return
        stopped = self._stopped_keys()
        self._flags = FlagSet([_off(flag) if _is_stopped(flag, stopped) else flag for flag in self._flags]).stale()


class AsyncPhase4System:
    """The same for asyncio: evaluations are immediate, loading happens on a thread."""

    def __init__(self, system: Phase4System) -> None:
        """Wrap a system."""
        self._system = system

    async def is_feature_enabled(self, flag_key: str, user_id: str | None = None, context: Context = None) -> bool:
        """Return whether a user has a feature; False on any doubt. Never raises."""
        return self._system.is_feature_enabled(flag_key, user_id, context)

    async def evaluate(self, flag_key: str, context: Context = None, *, default: Any = None) -> Evaluation:
        """Return value, variant, reason and arm of a flag for a context. Never raises."""
        return self._system.evaluate(flag_key, context, default=default)

    def measure(self, flag_key: str, user_id: str | None = None, context: Context = None) -> Measurement:
        """Decide for a user, and record what comes of it: `async with system.measure("checkout", user) as m: ...`."""
        return self._system.measure(flag_key, user_id, context)

    def record(
        self,
        flag_key: str,
        user_id: str | None = None,
        *,
        outcome: str = "ok",
        latency_ms: float | None = None,
        context: Context = None,
    ) -> bool:
        """Record an outcome that is known elsewhere: an append to a file, which waits for nobody."""
        return self._system.record(flag_key, user_id, outcome=outcome, latency_ms=latency_ms, context=context)

    async def initialize(self) -> None:
        """Load the flags again."""
        await asyncio.to_thread(self._system.refresh)


_systems: dict[str, Phase4System] = {}
_alive: weakref.WeakSet[Phase4System] = weakref.WeakSet()


def get_phase4_system(home: str | None = None) -> Phase4System:
    """Return this process's system for a home; the same one each time.

    Args:
        home: PHASE4_HOME by default.
    """
    path = config.home_text(home)
    if path not in _systems:
        _systems[path] = Phase4System(path)
    return _systems[path]


async def aget_phase4_system(home: str | None = None) -> AsyncPhase4System:
    """Return this process's system for asyncio."""
    return AsyncPhase4System(await asyncio.to_thread(get_phase4_system, home))


def flag_of(row: FlagRow) -> Flag:
    """Return the flag of a row: its document, with the columns that change."""
    document = json.loads(row.definition)
    document["enabled"] = row.enabled
    if document.get("rollout"):
        document["rollout"] = {**document["rollout"], "percentage": row.percentage}
    definition = FlagDefinition.from_json(document, source=row.flag_key)
    return Flag(definition=definition, version=row.version, entry=row.entry)


def _flags(rows: list[FlagRow], stopped: set[str]) -> list[Flag]:
    flags = [flag_of(row) for row in rows]
    return [_off(flag) if _is_stopped(flag, stopped) else flag for flag in flags]


def _is_stopped(flag: Flag, stopped: set[str]) -> bool:
    return stops.EVERYTHING in stopped or flag.definition.key in stopped


def _off(flag: Flag) -> Flag:
    # an odd version, so that the snapshot does not take the compiled form of the flag that is on
    return Flag(definition=replace(flag.definition, enabled=False), version=-abs(flag.version), entry=flag.entry)


def _changes(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _context(user_id: str | None, context: Context) -> Context:
    if not isinstance(context, dict):
        return user_id if user_id is not None else context
    return context if user_id is None else {**context, "targetingKey": user_id}


def _forget_after_fork() -> None:
    """Let a forked child open its own connection: SQLite's must not cross a fork."""
    for system in _alive:
        system._connection = None  # noqa: SLF001  the parent's is left open, not closed twice
        system._recorder.forget()  # noqa: SLF001
    _systems.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
