"""What has lately been seen of a flag: its traffic, its users, and how often requests fail without the feature.

It is read off the collector's observations, which a command may do that loads nothing heavy. Where there are none, what
was imported is counted instead; that opens the event files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from phase4.analysis.observation import OutcomeSet
from phase4.durations import DAY_MS
from phase4.flags.bucketing import Arm
from phase4.store.control import ControlStore, FlagRow

WINDOW_MS = 7 * DAY_MS
_ALL_NEW = 0.999
"""Users per request from which on nobody seems to come twice."""


class Seen(NamedTuple):
    """Traffic of all users of a flag, exposed or not."""

    flag_key: str
    origin: str
    """`observations` or `imported`."""
    from_ms: int
    until_ms: int
    requests: int
    """That were counted."""
    users_counted: int | None
    """Users that were counted; None where the source has none."""
    requests_per_day: float
    """Of all users: what was counted over the share of the users that was measured."""
    users: float | None
    """All users there seem to be; None where nobody came twice, or users were not counted."""
    rates: Mapping[OutcomeSet, tuple[int, int]]
    """(events, trials) without the feature: of control where there is one."""


def of_flag(store: ControlStore, flag: FlagRow, *, now_ms: int) -> Seen | None:
    """Return what was observed of a flag in its busiest stage entry of the last week; None if nothing was."""
    rows = store.rows(f"{_COUNTED} WHERE o.flag_id = ? AND o.entry IN ({_RECENT}) {_GROUPED}", *_asked(flag, now_ms))
    by_entry: dict[int, dict[int, Any]] = {}
    for row in rows:
        by_entry.setdefault(row[0], {})[row[1]] = row[2:]
    percentages = _percentages(store, flag)
    found = [
        made
        for entry, arms in by_entry.items()
        if (percentage := percentages.get(entry)) and (made := _seen(flag, percentage, arms)) is not None
    ]
    return max(found, key=lambda each: each.requests, default=None)


def busiest(store: ControlStore, *, now_ms: int) -> Seen | None:
    """Return the same of the flag with the most requests."""
    every = [seen for flag in store.flags() if (seen := of_flag(store, flag, now_ms=now_ms)) is not None]
    return max(every, key=lambda each: each.requests, default=None)


def imported(store: ControlStore, flag: FlagRow) -> Seen | None:
    """Return what the event files have of a flag in the last week before the newest event; None if nothing.

    Imported events are taken for all there were: nobody says which share of the users they are of.
    """
    newest = store.row("SELECT max(max_ms) FROM segment WHERE retired_version IS NULL")[0]
    if newest is None:
        return None
    from phase4.store.events import EventReader  # heavy, and there is something to read

    reader = EventReader(store.home, store)
    try:
        with reader.view(newest - WINDOW_MS, newest + 1) as connection:
            query = (
                "SELECT arm, count(*) FILTER (outcome = 2), count(*) FILTER (outcome IN (3, 4)),"
                " count(*) FILTER (outcome = 5), count(DISTINCT unit), min(t_ms), max(t_ms) FROM events"
                " WHERE flag = $flag AND outcome >= 2 AND t_ms > $since GROUP BY arm"
            )
            rows = connection.execute(query, {"flag": flag.id, "since": newest - WINDOW_MS}).fetchall()
    finally:
        reader.close()
    arms = {row[0]: (*row[1:5], *(None,) * 6, *row[5:7]) for row in rows}
    made = _seen(flag, None, arms)
    return None if made is None else made._replace(origin="imported")


_COUNTED = (
    "SELECT o.entry, o.arm, sum(ok), sum(error + timeout), sum(invalid), sum(units), sum(error_first_x),"
    " sum(error_first_n), sum(bad_first_x), sum(bad_first_n), sum(invalid_first_x), sum(invalid_first_n),"
    " min(t.from_ms), max(t.watermark_ms) FROM observation AS o JOIN tick AS t ON t.tick = o.tick"
)
# the whole entry, also what is older: users are counted when they are seen first
_RECENT = (
    "SELECT p.entry FROM observation AS p JOIN tick AS s ON s.tick = p.tick WHERE p.flag_id = ? AND s.watermark_ms > ?"
)
_GROUPED = "GROUP BY o.entry, o.arm"


def _asked(flag: FlagRow, now_ms: int) -> tuple[int, int, int]:
    return flag.id, flag.id, now_ms - WINDOW_MS


def _percentages(store: ControlStore, flag: FlagRow) -> dict[int, float]:
    """Return the percentage of each stage entry; 0 stands for one that was set by hand."""
    rows = store.rows(
        "SELECT json_extract(j.body, '$.entry'), json_extract(j.body, '$.percentage') FROM journal AS j"
        " JOIN plan AS p ON p.plan_id = j.plan_id WHERE p.flag_id = ? AND j.kind = 'stage_entered'",
        flag.id,
    )
    return {0: flag.percentage, **dict(rows)}


def _seen(flag: FlagRow, percentage: float | None, arms: Mapping[int, Any]) -> Seen | None:
    """Return what counts by arm say; None where no time passed. Without a percentage they are of all users."""
    requests = sum(row[0] + row[1] + row[2] for row in arms.values())
    if not requests:
        return None
    from_ms, until_ms = min(row[10] for row in arms.values()), max(row[11] for row in arms.values())
    if until_ms <= from_ms:
        return None
    share = 1.0 if percentage is None else (percentage + min(percentage, 100.0 - percentage)) / 100.0
    counted = [row[3] for row in arms.values()]
    users = None if None in counted else sum(counted)
    band = None if not users else _band(users, requests)
    return Seen(
        flag_key=flag.flag_key,
        origin="observations",
        from_ms=from_ms,
        until_ms=until_ms,
        requests=requests,
        users_counted=users,
        requests_per_day=requests / share / (until_ms - from_ms) * DAY_MS,
        users=None if band is None else band / share,
        rates=_rates(arms.get(Arm.CONTROL) or arms[min(arms)]),
    )


def _band(users: int, requests: int) -> float | None:
    """Return of how many alike users so many would have been seen in so many requests; None if nobody came twice."""
    if users >= _ALL_NEW * requests:
        return None
    low, high = 1e-9, 2.0 * requests / users  # requests per user: users / requests = (1 - exp(-x)) / x
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if -math.expm1(-middle) / middle > users / requests else (low, middle)
    return requests / high


def _rates(row: Any) -> dict[OutcomeSet, tuple[int, int]]:
    """Return (events, trials): users' first outcomes where they were counted, as proof reads them; else requests."""
    ok, failed, invalid = row[:3]
    by_request = {
        OutcomeSet.ERROR: (failed, ok + failed + invalid),
        OutcomeSet.BAD: (failed + invalid, ok + failed + invalid),
        OutcomeSet.INVALID: (invalid, ok + invalid),
    }
    by_user = {each: row[4 + 2 * place : 6 + 2 * place] for place, each in enumerate(OutcomeSet)}
    return {each: (by_user[each][0], by_user[each][1]) if by_user[each][1] else by_request[each] for each in OutcomeSet}
