"""Closed ticks and their observations in the control database: all that a judge ever saw, and who closed it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple

from phase4.analysis.observation import Observation
from phase4.errors import FenceLost
from phase4.store.control import Change, ControlStore, canonical

COLLECTOR = "collector"
"""Name of the lease."""
LATE_INTERVALS = 2
"""A tick that is closed later than so many intervals after its end was watched by nobody."""
_COLUMNS = tuple(f.name for f in fields(Observation) if f.name != "schema")


class Tick(NamedTuple):
    """One closed interval."""

    tick: int
    from_ms: int
    watermark_ms: int
    """Its end: events of `from_ms <= t_ms < watermark_ms` belong to it."""
    closed_ms: int
    manifest_version: int
    fence: int
    upto: Mapping[str, Any]
    """`sources`: source -> sequence number up to which events had arrived; `dropped`: source -> events it could not
    write; `journal`: newest journal event before the tick; `late`: outcomes that came too late for a judge, and that
    no journal has yet (not in ticks of earlier versions)."""
    due: int
    received: int
    cpu_percent: float | None
    memory_mb: float | None
    response_ms: float | None

    @property
    def length_ms(self) -> int:
        """How long it is: the interval of the collector that closed it."""
        return self.watermark_ms - self.from_ms

    @property
    def is_watched(self) -> bool:
        """Whether somebody looked at it in time, at most two intervals after its end."""
        return self.closed_ms - self.watermark_ms <= LATE_INTERVALS * self.length_ms


def last(store: ControlStore) -> Tick | None:
    """Return the newest closed tick."""
    found = _ticks(store, "ORDER BY tick DESC LIMIT 1")
    return found[0] if found else None


def newest_number(store: ControlStore) -> int:
    """Return the number of the newest closed tick, -1 for none."""
    return int(store.row("SELECT coalesce(max(tick), -1) FROM tick")[0])


def newest(store: ControlStore, count: int) -> list[Tick]:
    """Return the newest ticks, oldest first."""
    return _ticks(store, f"ORDER BY tick DESC LIMIT {int(count)}")[::-1]


def since(store: ControlStore, from_ms: int, *, until_ms: int | None = None) -> list[Tick]:
    """Return the ticks that end after a moment, and not after another, oldest first."""
    if until_ms is None:
        return _ticks(store, "WHERE watermark_ms > ? ORDER BY tick", from_ms)
    return _ticks(store, "WHERE watermark_ms > ? AND watermark_ms <= ? ORDER BY tick", from_ms, until_ms)


def after(store: ControlStore, tick: int) -> list[Tick]:
    """Return the ticks after one, oldest first."""
    return _ticks(store, "WHERE tick > ? ORDER BY tick", tick)


def closed_since(store: ControlStore, at_ms: int) -> list[Tick]:
    """Return the ticks that were closed at or after a moment, oldest first."""
    return _ticks(store, "WHERE closed_ms >= ? ORDER BY tick", at_ms)


def observations(store: ControlStore, flag_id: int, *, from_tick: int = 0) -> dict[int, list[Observation]]:
    """Return the observations of a flag by tick, from a tick on."""
    rows = store.rows(
        f"SELECT {', '.join(_COLUMNS)} FROM observation WHERE flag_id = ? AND tick >= ? ORDER BY tick, entry, arm",
        *(flag_id, from_tick),
    )
    found: dict[int, list[Observation]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(_observation(row))
    return found


def close(change: Change, tick: Tick, observed: Iterable[Observation]) -> None:
    """Record a closed tick with all its observations, in this transaction.

    Raises:
        FenceLost: another collector has taken over since.
    """
    check_fence(change.store, tick.fence)
    marks = ", ".join("?" * len(tick))
    change.write(f"INSERT INTO tick VALUES ({marks})", *tick._replace(upto=canonical(tick.upto)))  # type: ignore[arg-type]
    marks = ", ".join("?" * len(_COLUMNS))
    for row in observed:
        change.write(f"INSERT INTO observation({', '.join(_COLUMNS)}) VALUES ({marks})", *_values(row))


def check_fence(store: ControlStore, fence: int) -> None:
    """Refuse a write of a collector that has lost its lease.

    Raises:
        FenceLost: another one holds the lease now.
    """
    rows = store.rows("SELECT fence FROM lease WHERE name = ?", COLLECTOR)
    if not rows or rows[0][0] != fence:
        raise FenceLost("another collector has taken over")


def measures(store: ControlStore, flag_id: int, since_ms: int) -> frozenset[str]:
    """Return what applications have reported beside success and error: `latency`, `validation`, names of metrics.

    The flag's own outcomes say it; where it has none, those of all flags.

    Args:
        store: The control store.
        flag_id: The flag.
        since_ms: From when on.
    """
    return _measures(store, since_ms, flag_id) or _measures(store, since_ms, None)


def _measures(store: ControlStore, since_ms: int, flag_id: int | None) -> frozenset[str]:
    rows = store.rows(
        "SELECT max(length(hist) > 0), max(invalid > 0) FROM observation AS o JOIN tick AS t ON t.tick = o.tick"
        " WHERE t.watermark_ms > ? AND (? IS NULL OR o.flag_id = ?)",
        *(since_ms, flag_id, flag_id),
    )
    has_latency, has_invalid = rows[0]
    named = store.rows(
        "SELECT DISTINCT m.key FROM observation AS o JOIN tick AS t ON t.tick = o.tick, json_each(o.metrics) AS m"
        " WHERE t.watermark_ms > ? AND (? IS NULL OR o.flag_id = ?)",
        *(since_ms, flag_id, flag_id),
    )
    found = {str(row[0]) for row in named}
    found |= {"latency"} if has_latency else set()
    return frozenset(found | ({"validation"} if has_invalid else set()))


def newest_journal(store: ControlStore) -> int:
    """Return the number of the newest journal event of all plans, 0 for none."""
    return int(store.row("SELECT coalesce(max(seq), 0) FROM journal")[0])


def source_id(change: Change, uuid: bytes, *, kind: str, pid: int, boot_id: str, started_ms: int, host: str) -> int:
    """Return the number of a source, given to it the first time it is seen."""
    rows = change.store.rows("SELECT id FROM source WHERE uuid = ?", uuid)
    if rows:
        return int(rows[0][0])
    cursor = change.write(
        "INSERT INTO source(uuid, kind, host, boot_id, pid, started_ms) VALUES (?, ?, ?, ?, ?, ?)",
        *(uuid, kind, host, boot_id, pid, started_ms),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def sources(store: ControlStore) -> dict[bytes, int]:
    """Return the numbers of all known sources by their UUID."""
    return {bytes(row[0]): row[1] for row in store.rows("SELECT uuid, id FROM source")}


def _ticks(store: ControlStore, where: str, *values: Any) -> list[Tick]:
    rows = store.rows(f"SELECT {', '.join(Tick._fields)} FROM tick {where}", *values)
    return [Tick(*row)._replace(upto=json.loads(row[6])) for row in rows]


def _values(row: Observation) -> Sequence[Any]:
    values = asdict(row)
    values["exceed"] = json.dumps(values["exceed"], sort_keys=True)
    values["metrics"] = json.dumps(values["metrics"], sort_keys=True)
    return [values[name] for name in _COLUMNS]


def _observation(row: Sequence[Any]) -> Observation:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["exceed"] = {name: tuple(value) for name, value in json.loads(values["exceed"]).items()}
    values["metrics"] = {name: tuple(value) for name, value in json.loads(values["metrics"]).items()}
    return Observation(**values)
