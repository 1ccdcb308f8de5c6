"""Rollups: counters of 10 seconds (r10) and latency histograms of an hour (h1), and what is read from them.

Both merge by sums, so late events only add. Counts from r10 are exact. A percentile from h1 is the middle of the bin
that holds the exact one: at most 1.083 % away from it, for latencies of 0.001 ms and more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import duckdb
import numpy as np

from phase4.durations import HOUR_MS
from phase4.store.observe import BINS_PER_OCTAVE, LEAST_MS, middle_ms

R10_MS = 10_000
H1_MS = HOUR_MS
KEY = ("flag", "entry", "arm")
COUNTS = ("exposed", "ok", "error", "timeout", "invalid", "timed")
"""`timed`: outcomes that have a latency; a mean is s1 / timed."""
IS_TIMED = "outcome >= 2 AND latency_ms >= 0"
"""Outcomes with a latency: -1 stands for none, and exposures have none."""


class Counted(NamedTuple):
    """The columns of r10 that are no key."""

    exposed: int
    ok: int
    error: int
    timeout: int
    invalid: int
    timed: int
    s1: float
    s2: float
    mn: float | None
    mx: float | None


# NULL where there is no latency: an aggregate leaves it out, and the condition is worked out once for all of them
_TIMED = f"CASE WHEN {IS_TIMED} THEN latency_ms::DOUBLE END AS timed_ms"
_SUMMED = (
    "count(timed_ms)::UINTEGER AS timed",
    "sum(timed_ms) AS s1",
    "sum(timed_ms * timed_ms) AS s2",
    "min(timed_ms)::FLOAT AS mn",
    "max(timed_ms)::FLOAT AS mx",
)
_COUNTERS = (
    *(f"count(*) FILTER (outcome = {code})::UINTEGER AS {name}" for code, name in enumerate(COUNTS[:5], 1)),
    *_SUMMED,
)
_MERGED = (
    *(f"sum({name})::UINTEGER AS {name}" for name in COUNTS),
    "sum(s1) AS s1",
    "sum(s2) AS s2",
    "min(mn) AS mn",
    "max(mx) AS mx",
)
# the same grid as `observe.bins`, in double precision, so that a tick's histogram and an hour's can be added
BIN = f"ceil({BINS_PER_OCTAVE} * log2(greatest(latency_ms::DOUBLE, {LEAST_MS}::DOUBLE) / 1000))::SMALLINT"
_H1 = f"SELECT t_ms // {H1_MS} * {H1_MS} AS b, {', '.join(KEY)}, {BIN} AS bin, count(*)::UINTEGER AS n"
_GROUPED = " GROUP BY ALL ORDER BY ALL"


def r10_of(events: str) -> str:
    """Return the query of the counters of events; `events` is a table or a query in brackets.

    Columns: b (begin of the 10 s, ms), flag, entry, arm, the `COUNTS`, s1 and s2 (sums of latency and of its square,
    ms), mn and mx (least and largest latency, ms); the last four are NULL where no outcome has a latency.
    """
    columns = ", ".join((f"t_ms // {R10_MS} * {R10_MS} AS b", *KEY, *_COUNTERS))
    return f"SELECT {columns} FROM (SELECT t_ms, {', '.join(KEY)}, outcome, {_TIMED} FROM {events}){_GROUPED}"


def h1_of(events: str) -> str:
    """Return the query of the histograms of events: b (begin of the hour, ms), flag, entry, arm, bin, n."""
    return f"{_H1} FROM {events} WHERE {IS_TIMED}{_GROUPED}"


def merged_r10(parts: Sequence[str]) -> str:
    """Return the query of the counters of several queries with the columns of `r10_of`."""
    return f"SELECT b, {', '.join(KEY)}, {', '.join(_MERGED)} FROM ({' UNION ALL '.join(parts)}){_GROUPED}"


def merged_h1(parts: Sequence[str]) -> str:
    """Return the query of the histograms of several queries with the columns of `h1_of`."""
    return f"SELECT b, {', '.join(KEY)}, bin, sum(n)::UINTEGER AS n FROM ({' UNION ALL '.join(parts)}){_GROUPED}"


def counted(
    connection: duckdb.DuckDBPyConnection, by: Sequence[str], *, rollups: Sequence[str], raw: Sequence[str]
) -> dict[tuple[int, ...], Counted]:
    """Return for each key the sums of counters and of events together, without keys that have no event.

    Args:
        connection: Where the queries run.
        by: Some of `KEY`.
        rollups: Queries with the columns of `r10_of`.
        raw: Queries of events.
    """
    width = len(by)
    found: dict[tuple[int, ...], Counted] = {}
    if rollups:
        columns = ", ".join((*by, *(each.replace("::UINTEGER", "::BIGINT") for each in _MERGED)))
        query = f"SELECT {columns} FROM ({' UNION ALL '.join(rollups)}) GROUP BY ALL"
        for row in connection.execute(query).fetchall():
            _add(found, row[:width], row[width:])
    if raw:
        keys = "".join(f"{name}, " for name in by)
        events = f"SELECT {keys}outcome, {_TIMED} FROM ({' UNION ALL '.join(raw)})"
        # by outcome, and turned here: five conditions on each event, and a second sum, take longer than the rest
        query = f"SELECT {keys}outcome, count(*), {', '.join(_SUMMED)} FROM ({events}) GROUP BY ALL"
        for row in connection.execute(query).fetchall():
            times = [row[width + 1] if code == row[width] else 0 for code in range(1, 6)]
            _add(found, row[:width], (*times, *row[width + 2 :]))
    return {key: found[key] for key in sorted(found) if any(found[key][: len(COUNTS)])}


def _add(found: dict[tuple[int, ...], Counted], key: tuple[int, ...], row: Sequence[Any]) -> None:
    more = Counted(*(value or 0 for value in row[:-2]), *row[-2:])
    known = found.get(key)
    if known is None:
        found[key] = more
        return
    lows = [value for value in (known.mn, more.mn) if value is not None]
    highs = [value for value in (known.mx, more.mx) if value is not None]
    sums = (left + right for left, right in zip(known[:-2], more[:-2], strict=True))
    found[key] = Counted._make([*sums, min(lows, default=None), max(highs, default=None)])


def quantiles(
    connection: duckdb.DuckDBPyConnection, histogram: str, by: Sequence[str], qs: Sequence[float]
) -> list[tuple[tuple[int, ...], int, tuple[float, ...]]]:
    """Return (key, events, latencies in ms, one for each q) from histograms.

    The latency of q is that of the event of rank ceil(q * n), so the same as DuckDB's `quantile_disc` up to the width
    of a bin: the value between two events that `quantile_cont` makes up may be far from both.

    Args:
        connection: Where the query runs.
        histogram: A query with the columns `by`, bin and n; a bin may come several times.
        by: Some of `KEY`.
        qs: Quantiles, 0 to 1.
    """
    keys = "".join(f"{name}, " for name in by)
    partition = f"PARTITION BY {', '.join(by)}" if by else ""
    picked = "".join(f", min(bin) FILTER (cum >= {_rank(q)})" for q in qs)
    rows = connection.execute(
        f"""
        SELECT {keys}any_value(total){picked} FROM (
          SELECT *, sum(n) OVER ({partition} ORDER BY bin) AS cum, sum(n) OVER ({partition}) AS total
          FROM (SELECT {keys}bin, sum(n)::BIGINT AS n FROM ({histogram}) GROUP BY ALL))
        GROUP BY ALL ORDER BY ALL
        """
    ).fetchall()
    width = len(by)
    found = []
    for row in rows:
        if row[width] is None:
            continue
        middles = middle_ms(np.array(row[width + 1 :], np.int64))
        found.append((tuple(row[:width]), int(row[width]), tuple(middles.tolist())))
    return found


def _rank(q: float) -> str:
    """Return ceil(q * total) in the order of operations of `quantile_disc`, at least 1."""
    return f"greatest(1, total - floor(total - {float(q)!r}::DOUBLE * total))"
