"""What is kept for how long. Nothing is dropped of a time in which a live plan has events.

Of a day first the events go, then the counters of 10 seconds, then the file: each time as a new version of the day's
file, so that whoever reads the old one reads on. Journal, audit and approvals stay for ever.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from phase4.durations import DAY_MS
from phase4.ids import new_id
from phase4.store import manifest, segments
from phase4.store.control import Change, ControlStore
from phase4.store.intake import QUARANTINE
from phase4.store.manifest import DAY, File, NewFile

OBSERVATION_DAYS = 90
COMMAND_DAYS = 30
"""How long an order with the same request id is still the same order."""


class Applied(NamedTuple):
    """What was dropped."""

    raw_days: int
    """Days whose events went."""
    r10_days: int
    """Days whose counters of 10 seconds went."""
    days: int
    """Days that went."""
    ticks: int
    commands: int
    quarantine_files: int


def _unfenced() -> None:
    """Let everybody write."""


def apply(
    store: ControlStore,
    home: str,
    now_ms: int,
    raw_days: int,
    r10_days: int,
    h1_days: int,
    *,
    quarantine_days: int = 30,
    fence_check: Callable[[], None] = _unfenced,
) -> Applied:
    """Drop what is older than it has to be kept.

    Args:
        store: The control store.
        home: PHASE4_HOME.
        now_ms: The time.
        raw_days: How long events are kept; full days, counted from the end of theirs.
        r10_days: The same of counters of 10 seconds.
        h1_days: The same of hourly histograms, and so of the day.
        quarantine_days: The same of records that were set aside.
        fence_check: Raises FenceLost when another collector has taken over.

    Raises:
        StoreUnavailable: a day file cannot be read.
        WriteFailed: a new version cannot be written; the old one stays.
    """
    counts = {"raw": 0, "r10": 0, "day": 0}
    kept = entries_of_live_plans(store)
    for file in manifest.live(store):
        if file.tier != DAY:
            continue
        wanted = _wanted(file, now_ms, raw_days, r10_days, h1_days)
        what = _drop(store, home, file, wanted, kept, fence_check)
        if what is not None:
            counts[what] += 1
    ticks, commands = _drop_rows(store, now_ms)
    return Applied(
        raw_days=counts["raw"],
        r10_days=counts["r10"],
        days=counts["day"],
        ticks=ticks,
        commands=commands,
        quarantine_files=_drop_quarantine(home, now_ms // DAY_MS - quarantine_days),
    )


def entries_of_live_plans(store: ControlStore) -> frozenset[tuple[int, int]]:
    """Return the (flag, entry) of all stages that live plans have entered."""
    rows = store.rows(  # not by the view stage_entry: without a trusted schema a view may not call json_extract
        "SELECT plan.flag_id, json_extract(journal.body, '$.entry') FROM journal JOIN plan USING (plan_id)"
        " WHERE journal.kind = 'stage_entered' AND plan.ended_ms IS NULL"
    )
    return frozenset((int(flag), int(entry)) for flag, entry in rows)


def _wanted(file: File, now_ms: int, raw_days: int, r10_days: int, h1_days: int) -> tuple[str, ...]:
    """Return the tables that a day of this age has, the most detailed first."""
    age_ms = now_ms - (file.day + 1) * DAY_MS
    limits = {"events": raw_days, "r10": max(raw_days, r10_days), "h1": max(raw_days, r10_days, h1_days)}
    return tuple(name for name, days in limits.items() if age_ms <= days * DAY_MS)


def _drop(
    store: ControlStore,
    home: str,
    file: File,
    wanted: Sequence[str],
    kept: frozenset[tuple[int, int]],
    fence_check: Callable[[], None],
) -> str | None:
    """Drop tables of a day that are not wanted; return which was the most that went, None if nothing did."""
    if "events" in wanted or ("r10" in wanted and not file.has_events):
        return None
    with segments.connected(home) as connection:
        segments.attach(connection, os.path.join(home, file.path), "old")
        there = segments.tables(connection, "old") - {"info"}
        if there <= set(wanted) or _has_entries(connection, kept):
            return None
        staying = [name for name in wanted if name in there]
        new = _rewritten(store, home, connection, file, staying) if staying else None
    added = [] if new is None else [new]
    try:
        segments.commit(store, "retention", added, [file.path], fence_check)
    except BaseException:
        manifest.discard(store, [each.path for each in added])
        raise
    if new is None:
        return "day"
    return "raw" if "events" in there else "r10"


def _has_entries(connection: Any, kept: frozenset[tuple[int, int]]) -> bool:
    if not kept:
        return False
    pairs = ", ".join(f"({flag}, {entry})" for flag, entry in sorted(kept))
    table = "r10" if "r10" in segments.tables(connection, "old") else "h1"
    sql = f"SELECT 1 FROM old.{table} WHERE (flag, entry) IN ({pairs}) LIMIT 1"
    return bool(connection.execute(sql).fetchall())


def _rewritten(store: ControlStore, home: str, connection: Any, file: File, staying: Sequence[str]) -> NewFile:
    """Write the next version of a day with some of its tables."""
    stem = f"days/{segments.day_name(file.day)}-v"
    number = segments.next_version(store, stem)
    temporary = os.path.join(home, "tmp", f"{manifest.TEMPORARY}{new_id()}")
    span = (file.rows, file.min_ms, file.max_ms)
    with segments.writing(temporary):
        segments.attach(connection, temporary, "new", is_new=True)
        for name in staying:
            connection.execute(f"CREATE TABLE new.{name} AS SELECT * FROM old.{name} ORDER BY ALL")
        segments.note(connection, day=file.day, number=number, span=span)
        connection.execute("DETACH new")
    new = segments.publish(home, temporary, f"{stem}{number}.duckdb", DAY, file.day, span, has_events=False)
    return replace(new, ranges=manifest.ranges_of(store, [file.path]))


def _drop_rows(store: ControlStore, now_ms: int) -> tuple[int, int]:
    """Drop old ticks with their observations, and old orders; return how many ticks and orders."""
    oldest = store.row("SELECT min(created_ms) FROM plan WHERE ended_ms IS NULL")[0]
    # a live plan's judge is made again from all ticks since the plan was made
    until_ms = min(now_ms - OBSERVATION_DAYS * DAY_MS, now_ms if oldest is None else oldest)
    dropped = [0, 0]

    def work(change: Change) -> dict[str, Any]:
        last = "(SELECT max(tick) FROM tick)"  # it says how far every source was read
        old = f"SELECT tick FROM tick WHERE watermark_ms < ? AND tick < {last}"
        change.write(f"DELETE FROM observation WHERE tick IN ({old})", until_ms)
        dropped[0] = change.write(f"DELETE FROM tick WHERE tick IN ({old})", until_ms).rowcount
        dropped[1] = change.write("DELETE FROM command WHERE at_ms < ?", now_ms - COMMAND_DAYS * DAY_MS).rowcount
        return {}

    store.execute("retention", {}, work, actor=segments.ACTOR, request_id=new_id())
    return dropped[0], dropped[1]


def _drop_quarantine(home: str, before_day: int) -> int:
    """Remove the files of days before one; return how many."""
    first = segments.day_name(before_day)
    old = [name for name in os.listdir(os.path.join(home, QUARANTINE)) if name.endswith(".jsonl") and name[:10] < first]
    for name in old:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(home, QUARANTINE, name))
    return len(old)
