"""One round of the collector: read what applications wrote, close what is due, let the controllers decide.

All that is in memory here can be made again from what is stored.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from phase4 import clock as clocks
from phase4.analysis.observation import Observation
from phase4.durations import HOUR_MS
from phase4.errors import FenceLost, InvariantViolation, JournalConflict, StoreUnavailable, WriteFailed
from phase4.ids import new_id
from phase4.monitor import lateness
from phase4.monitor.judging import PlanJudge
from phase4.monitor.settings import MonitorSettings
from phase4.monitor.standing import ACTOR, Standing
from phase4.rollout import holds
from phase4.rollout.controller import RolloutController
from phase4.rollout.events import Event
from phase4.rollout.state import RolloutState
from phase4.store import answers, intake, manifest, observe, retention, rollouts, served, ticks
from phase4.store.control import Change, ControlStore, PlanRow
from phase4.store.intake import ROWS, Known, Rows, Spool
from phase4.store.rollouts import ControlJournal, ControlSwitch
from phase4.store.segments import Segments
from phase4.store.ticks import Tick
from phase4.store.units import Key, Units

LAG_MS = 30_000
"""How long events may take to arrive, at most: a tick is closed that much after its end, or one interval after."""
HORIZON_MS = HOUR_MS
"""Events that arrive later than this are kept, and no longer shown to a judge. Also when an outcome is due."""


TIDY_SHARE = 0.25
"""Of an interval: how long files are tidied in a round."""
RETAIN_MS = HOUR_MS
"""How often what is too old is dropped."""
_TROUBLE = (StoreUnavailable, WriteFailed, InvariantViolation)
"""What may go wrong with event files without a harm to the ticks: it is told, and tried again."""


class Usage(NamedTuple):
    """What the collector's own process takes."""

    cpu_percent: float | None = None
    memory_mb: float | None = None
    response_ms: float | None = None


class Round(NamedTuple):
    """What one round did."""

    is_holder: bool
    """Whether this process collects; the others stand by."""
    closed: tuple[Tick, ...] = ()
    events: tuple[tuple[str, Event], ...] = ()
    """(plan, what happened to it)."""
    switched_off: tuple[str, ...] = ()
    """Flags without a plan that went beyond the emergency limit."""
    rows: int = 0
    """Events read."""
    set_aside: int = 0
    too_late: int = 0
    trouble: str | None = None
    """What went wrong with the event files; ticks and decisions stand."""


class Work:
    """What the holder has in memory: all of it can be made again from what is stored."""

    def __init__(self, store: ControlStore, settings: MonitorSettings, usage: Callable[[], Usage], fence: int) -> None:
        self._store, self._settings, self._usage, self._fence = store, settings, usage, fence
        self._last = ticks.last(store)
        self._segments = Segments(store.home, store, self._check_fence)
        self._units = Units(store.home, last_tick=-1 if self._last is None else self._last.tick)
        self._spool = Spool(store.home)
        self._sources = ticks.sources(store)
        self._set_aside = intake.numbers_set_aside(store.home)
        self._waiting = np.empty(0, ROWS)
        """Events that no tick has observed yet."""
        self._upto: dict[str, int] = dict(self._last.upto["sources"]) if self._last else {}
        self._dropped: dict[str, int] = dict(self._last.upto["dropped"]) if self._last else {}
        self._marks: dict[str, tuple[int, bool]] = {}
        """File of an evaluator's marks -> how many were taken in, and whether it was gone then."""
        self._missing = 0
        """Events that sources could not write, and that no tick has counted yet."""
        self._judges: dict[str, PlanJudge] = {}
        self._standing = Standing(limit=settings.emergency_limit, interval_ms=settings.interval_ms)
        self._too_late = 0
        self._late: lateness.Pending = self._last.upto.get("late", {}) if self._last else {}
        """Outcomes that came too late, and that no journal has yet."""
        self._retained_ms = 0
        self._is_unfinished = self._last is not None
        """Whether what follows from the newest tick may be left to do: the process that recorded it may be gone."""
        self._recover_standing()

    def close(self) -> None:
        """Close what is open."""
        self._units.close()

    def round(self, now_ms: int) -> Round:
        """Do one round as the holder."""
        read, aside = self._read(now_ms)
        self._read_marks(now_ms)
        self._too_late = 0
        self._begin_judges()
        closed = tuple(self._close_tick(now_ms, begin, end) for begin, end in self._due(now_ms))
        happened: tuple[tuple[str, Event], ...] = ()
        off: tuple[str, ...] = ()
        if closed or self._is_unfinished:
            self._keep_answers()
            happened = self._decide()
            off = self._switch_off()
            self._is_unfinished = False
        trouble = self._keep(now_ms)
        return Round(
            is_holder=True,
            closed=closed,
            events=happened,
            switched_off=off,
            rows=read,
            set_aside=aside,
            too_late=self._too_late,
            trouble=trouble,
        )

    def flush(self, now_ms: int) -> None:
        """Write to files what waits: this process ends. What cannot be written is still in the spool."""
        with contextlib.suppress(*_TROUBLE, FenceLost):
            self._segments.flush(now_ms)

    def _check_fence(self) -> None:
        ticks.check_fence(self._store, self._fence)

    # ---------------------------------------------------------------------------------------------- reading
    def _read(self, now_ms: int) -> tuple[int, int]:
        known = Known({flag.id: flag.entries for flag in self._store.flags()}, now_ms)
        parts, aside = [self._waiting], []
        read = 0
        for batch in self._spool.read():
            source = self._source(batch.file.header.uuid, batch)
            rows, bad = intake.rows_of(batch, source, known)
            rows = self._without_set_aside(rows, source)
            self._segments.add(rows, source, batch.first_seq, batch.first_seq + len(batch.records))
            parts.append(self._unobserved(rows, source))
            aside += [document for document in bad if document["seq"] >= self._seen(source)]
            read += len(batch.records)
        self._waiting = np.concatenate(parts) if len(parts) > 1 else parts[0]
        for file in self._spool.files.values():
            self._note(file)
        if aside:
            intake.set_aside(self._store.home, clocks.iso(now_ms)[:10], aside)
        return read, len(aside)

    def _read_marks(self, now_ms: int) -> None:
        """Take in which versions the evaluators have served, where there is something new."""
        found = [marks for marks in served.read(self._store.home) if marks.source in self._sources]
        new = [marks for marks in found if (len(marks.marks), marks.is_over) != self._marks.get(marks.path)]
        if not new:
            return

        def work(change: Change) -> dict[str, Any]:
            for marks in new:
                served.keep(change, self._sources[marks.source], marks, now_ms if marks.path in self._marks else None)
            return {}

        self._store.execute("served", {}, work, actor=ACTOR, request_id=new_id())
        self._marks.update({marks.path: (len(marks.marks), marks.is_over) for marks in new})

    def _source(self, uuid: bytes, batch: intake.Batch) -> int:
        if uuid not in self._sources:
            header = batch.file.header

            def work(change: Change) -> dict[str, Any]:
                self._sources[uuid] = ticks.source_id(
                    change,
                    uuid,
                    kind="process",
                    pid=header.pid,
                    boot_id=header.boot_id,
                    started_ms=header.wall_ms,
                    host=socket.gethostname(),
                )
                return {}

            self._store.execute("source", {}, work, actor=ACTOR, request_id=new_id())
        return self._sources[uuid]

    def _seen(self, source: int) -> int:
        """Return up to which sequence number the newest recorded tick has seen a source."""
        return int(self._last.upto["sources"].get(str(source), 0)) if self._last is not None else 0

    def _without_set_aside(self, rows: Rows, source: int) -> Rows:
        """Return the rows without those that were set aside before: a restart reads them anew, and time has passed."""
        numbers = self._set_aside.get(source)
        if numbers is None or not len(rows) or rows["seq"][0] >= self._seen(source):
            return rows
        return rows[~np.isin(rows["seq"], numbers)]

    def _unobserved(self, rows: Rows, source: int) -> Rows:
        """Return the rows that no recorded tick has observed: after a start all files are read again."""
        if self._last is None:
            return rows
        seen = (rows["seq"] < self._seen(source)) & (rows["t_ms"] < self._last.watermark_ms)
        return rows[~seen]

    def _note(self, file: intake.SpoolFile) -> None:
        """Take note of how far a file has been read, and of what its source could not write."""
        source = str(self._sources.get(file.header.uuid, ""))
        if not source:
            return
        self._upto[source] = max(self._upto.get(source, 0), file.end_seq)
        more = file.header.dropped_before - self._dropped.get(source, 0)
        if more > 0:
            self._dropped[source] = file.header.dropped_before
            self._missing += more

    # ---------------------------------------------------------------------------------------------- ticks
    def _due(self, now_ms: int) -> list[tuple[int, int]]:
        """Return the (begin, end) of the ticks to be closed now, oldest first.

        Of the intervals that nobody closed in time, those that hold events, and the newest one.
        """
        interval = self._settings.interval_ms
        until = (now_ms - min(LAG_MS, interval)) // interval * interval
        if self._last is not None:
            since = self._last.watermark_ms
        else:
            oldest = int(self._waiting["t_ms"].min()) if len(self._waiting) else until
            since = min(oldest // interval * interval, until - interval)
        if until <= since:
            return []
        ends = range((since // interval + 1) * interval, until + 1, interval)
        with_events = set(((self._waiting["t_ms"] // interval + 1) * interval).tolist())
        due = [end for end in ends if end in with_events or end == until]
        if self._last is not None and due == [until] and until - since <= self._last.length_ms:
            return [(since, until)]  # the interval was made shorter: what is left of the old one is no gap
        return [(max(since, end - interval), end) for end in due]

    def _close_tick(self, now_ms: int, begin: int, end: int) -> Tick:
        rows = self._take(end)
        number = self._number(end)
        since = -1 if self._last is None else self._last.watermark_ms
        limits = self._thresholds()
        users = self._units.count(number, rows) if len(rows) else {}
        above = self._units.first_above(limits) if len(rows) else {}
        observed = observe.observations(
            number, rows, users, closed_until_ms=since, thresholds=limits, first_above=above
        )
        due, received = self._coverage(end)
        usage = self._usage()
        states: dict[str, RolloutState] = {}
        closed: list[Tick] = []

        def work(change: Change) -> dict[str, Any]:
            late = lateness.due(self._store, self._late, now_ms)
            for row, correction in late.corrections:
                rollouts.record(change, row, rollouts.state_of(self._store, row.plan_id).seq + 1, correction)
            upto = {
                "sources": self._upto,
                "dropped": self._dropped,
                "journal": ticks.newest_journal(self._store),
                "late": late.rest,
            }
            version = manifest.version(self._store)
            tick = Tick(number, begin, end, now_ms, version, self._fence, upto, due, received, *usage)
            ticks.close(change, tick, observed)
            states.update({plan: rollouts.state_of(self._store, plan) for plan in self._judges})
            closed.append(tick)
            return {}

        self._store.execute("tick", {"tick": number}, work, actor=ACTOR, request_id=new_id())
        self._last = closed[-1]._replace(upto={**closed[-1].upto, "sources": dict(self._upto)})
        self._missing, self._late = 0, self._last.upto["late"]
        self._show(self._last, observed, states)
        return self._last

    def _thresholds(self) -> dict[Key, dict[str, float]]:
        """Return above which latencies the tick is to be counted, as every judge named it before the tick."""
        found: dict[Key, dict[str, float]] = {}
        for plan_id, judge in self._judges.items():
            flag = self._store.flag(judge.plan.flag_key)
            found |= judge.thresholds(flag.id, rollouts.state_of(self._store, plan_id))
        return found

    def _take(self, end: int) -> Rows:
        """Return the waiting events before a watermark, but for those that come too late for a judge."""
        is_due = self._waiting["t_ms"] < end
        rows, self._waiting = self._waiting[is_due], self._waiting[~is_due]
        if self._last is None:
            return rows
        is_late = rows["t_ms"] < self._last.watermark_ms - HORIZON_MS
        self._too_late += int(is_late.sum())
        self._late = lateness.together(self._late, lateness.counted(rows[is_late]))
        return rows[~is_late]

    def _number(self, end: int) -> int:
        """Return the number of a tick: intervals that nobody closed leave a gap."""
        if self._last is None:
            return 0
        return self._last.tick + max(1, -(-(end - self._last.watermark_ms) // self._settings.interval_ms))

    def _coverage(self, end: int) -> tuple[int, int]:
        """Return how many users' outcomes were due in this tick, with what is missing of the sources; and received."""
        if self._last is None:
            return self._missing, 0
        old = ticks.since(self._store, self._last.watermark_ms - HORIZON_MS, until_ms=end - HORIZON_MS)
        due = self._units.due(old[0].tick, old[-1].tick) if old else (0, 0)
        return due[0] + self._missing, due[1]

    def _show(self, tick: Tick, observed: Iterable[Observation], states: dict[str, RolloutState]) -> None:
        """Let every judge take in a recorded tick."""
        seen: dict[int, list[Observation]] = {}
        for row in observed:
            seen.setdefault(row.flag_id, []).append(row)
        flags = {flag.flag_key: flag for flag in self._store.flags()}
        for plan_id, judge in self._judges.items():
            judge.see(states[plan_id], tick, seen.get(flags[judge.plan.flag_key].id, []))
        self._standing.see(tick, flags.values(), seen)

    # ---------------------------------------------------------------------------------------------- files
    def _keep(self, now_ms: int) -> str | None:
        """Write what was read to files, let the spool go that is kept and observed; return what went wrong."""
        try:
            self._segments.flush_due(now_ms)
            self._let_go()
            self._segments.compact(now_ms, TIDY_SHARE * self._settings.interval_ms / 1000)
            if now_ms - self._retained_ms >= RETAIN_MS:
                self._retained_ms = now_ms
                days = (self._settings.raw_days, self._settings.r10_days, self._settings.h1_days)
                retention.apply(self._store, self._store.home, now_ms, *days, fence_check=self._check_fence)
        except _TROUBLE as error:
            return str(error)
        return None

    def _let_go(self) -> None:
        """Remove the spool files whose events are kept and observed, but not while a backup is made."""
        with manifest.unpinned(self._store.home) as is_free:
            for path, file in list(self._spool.files.items()) if is_free else ():
                source = self._sources.get(file.header.uuid, 0)
                if self._segments.may_forget(file, source, self._observed_upto(source)):
                    self._spool.forget(path)

    def _observed_upto(self, source: int) -> int:
        """Return the number below which recorded ticks have observed every event of a source."""
        waiting = self._waiting["seq"][self._waiting["source"] == source]
        return int(min([self._seen(source), *waiting.tolist()]))

    # ---------------------------------------------------------------------------------------------- deciding
    def _begin_judges(self) -> None:
        """Keep a judge for every live plan; a new one has seen what is stored."""
        live = [row for row in self._store.plans() if row.ended_ms is None]
        ids = {row.plan_id for row in live}
        self._judges = {plan_id: judge for plan_id, judge in self._judges.items() if plan_id in ids}
        for row in live:
            if row.plan_id not in self._judges:
                self._judges[row.plan_id] = PlanJudge.replayed(self._store, row, interval_ms=self._settings.interval_ms)

    def _decide(self) -> tuple[tuple[str, Event], ...]:
        """Let the controller of every live plan take at most one step, in all, after a tick."""
        happened = []
        for plan_id, judge in self._judges.items():
            row = self._store.plan(plan_id)
            if self._is_unfinished and self._has_moved_on(plan_id):
                continue
            event = self._tick(row, judge)
            if event is not None:
                happened.append((plan_id, event))
        return tuple(happened)

    def _has_moved_on(self, plan_id: str) -> bool:
        """Return whether anything happened to a plan since the newest tick."""
        assert self._last is not None
        recorded = rollouts.numbered_events(self._store, plan_id)
        return bool(recorded) and recorded[-1][0] > self._last.upto["journal"]

    def _keep_answers(self) -> None:
        """Keep what the guardrails say now, for screens, and what they remember, for the next collector."""
        if not self._judges:
            return
        assert self._last is not None
        tick = self._last.tick

        def work(change: Change) -> dict[str, Any]:
            for plan_id, judge in self._judges.items():
                state = rollouts.state_of(self._store, plan_id)
                seen = judge.observe(state)
                memory = judge.memory()
                if seen is not None and memory is not None:
                    said = judge.explained()
                    entry = answers.Entry(plan_id, state.entry, seen.active_ms)
                    answers.keep(change, entry, tick, said, holds.of(judge.plan, state.stage, said), memory.states)
            return {}

        self._store.execute("answers", {}, work, actor=ACTOR, request_id=new_id())

    def _tick(self, row: PlanRow, judge: PlanJudge) -> Event | None:
        journal = ControlJournal(
            self._store,
            row,
            actor=ACTOR,
            new_request_id=new_id,
            check=self._check_fence,
        )
        controller = RolloutController(
            plan=judge.plan, clock=_StoreClock(self._store), observer=judge, journal=journal, switch=ControlSwitch()
        )
        try:
            return controller.tick()
        except JournalConflict:
            return None  # somebody was first: the next round decides again on what it finds

    def _switch_off(self) -> tuple[str, ...]:
        assert self._last is not None
        broken = self._standing.broken(self._last.tick)
        off = [flag_id for flag_id in broken if self._standing.switch_off(self._store, flag_id, self._fence)]
        return tuple(self._store.flag_by_id(flag_id).flag_key for flag_id in off)

    def _recover_standing(self) -> None:
        """Show the emergency limit what it saw of every flag since it was last changed."""
        for flag in self._store.flags():
            if not flag.enabled or flag.entry:
                continue
            closed = [tick for tick in ticks.since(self._store, flag.updated_ms) if tick.from_ms >= flag.updated_ms]
            if not closed:
                continue
            seen = ticks.observations(self._store, flag.id, from_tick=closed[0].tick)
            for tick in closed:
                self._standing.see(tick, [flag], {flag.id: seen.get(tick.tick, [])})


class _StoreClock:
    """The store's time as a controller asks for it."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    def now(self) -> int:
        """Return the time in ms since the Unix epoch."""
        return self._store.now()
