"""Speed of the event plane: rows into DuckDB, and questions to ten million events of two weeks."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from phase4.clock import ManualClock
from phase4.durations import DAY_MS, HOUR_MS
from phase4.ids import new_id
from phase4.store import manifest, segments
from phase4.store.control import ControlStore
from phase4.store.events import EventReader
from phase4.store.intake import ROWS, Rows
from phase4.store.record import NO_LATENCY, Outcome
from phase4.store.segments import Segments
from tests.benchmarks.timing import ROUNDS, Figure, cpu

START = 1_385_164_800_000
DAYS = 14
EVENTS = 10_000_000
WRITTEN = 1_000_000
QUESTIONS = 30


def figures(events: int = EVENTS) -> list[Figure]:
    """Return the figures of this page, with so many events over two weeks."""
    with tempfile.TemporaryDirectory() as folder:
        home = str(Path(folder) / "home")
        store = ControlStore.create(home, ManualClock(START + (DAYS + 1) * DAY_MS).now)
        try:
            return [_writing(home), *_asking(home, store, events)]
        finally:
            store.close()


def _writing(home: str) -> Figure:
    """Compare a DuckDB file from numpy with a Parquet file from polars, both of the same rows."""
    columns = _columns(_rows(0, WRITTEN))
    duck, parquet = cpu(lambda: _duckdb(home, columns)), cpu(lambda: _parquet(home, columns))
    ratio = parquet.median / duck.median
    return Figure(
        name=f"1 M rows from numpy into DuckDB {duck.median:.2f} s, into zstd Parquet by polars {parquet.median:.2f} s",
        seen=f"{ratio:.2f} x",
        bound=">= 0.5 x",
        is_met=ratio >= 0.5,
    )


def _duckdb(home: str, columns: dict[str, np.ndarray]) -> None:
    path = Path(home) / "tmp" / new_id()
    with segments.connected(home, threads=1) as connection:
        segments.attach(connection, str(path), "new", is_new=True)
        connection.register("incoming", columns)
        connection.execute(f"CREATE TABLE new.events AS SELECT {segments.COLUMNS} FROM incoming")
        connection.execute("CHECKPOINT new")
    path.unlink()


def _parquet(home: str, columns: dict[str, np.ndarray]) -> None:
    path = Path(home) / "tmp" / new_id()
    pl.DataFrame(columns).write_parquet(path, compression="zstd", row_group_size=segments.ROW_GROUP)
    path.unlink()


def _asking(home: str, store: ControlStore, events: int) -> list[Figure]:
    """Fill two weeks, seal them, and ask."""
    begin = time.perf_counter()
    writer = Segments(home, store, lambda: None)
    for day in range(DAYS):
        rows = _rows(day, events // DAYS)
        writer.add(rows, 1, int(rows["seq"][0]), int(rows["seq"][-1]) + 1)
        writer.flush(store.now())
    middle = time.perf_counter()
    writer.compact(store.now(), 600.0)
    sealed = time.perf_counter() - middle
    size = sum(file.size for file in manifest.live(store))
    reader = EventReader(home, store)
    try:
        return [
            Figure(
                name=f"{events // 1_000_000} M events: segments in {middle - begin:.1f} s; days of {size / 1e6:.0f} MB",
                seen=f"{events / sealed / 1e6:.2f} M rows/s",
                bound="",
                is_met=None,
            ),
            *_asked(reader),
            _percentiles(reader),
        ]
    finally:
        reader.close()


def _asked(reader: EventReader) -> list[Figure]:
    random = np.random.default_rng(1)
    hours = [START + int(random.integers(0, DAYS * DAY_MS - HOUR_MS)) for _ in range(QUESTIONS)]
    whole = (START, START + DAYS * DAY_MS)
    return [
        _figure("rates of 1 hour of 14 days", [partial(reader.rates, at, at + HOUR_MS) for at in hours], 5.0),
        _figure(
            "exact p50, p95, p99 of 1 hour of 14 days",
            [partial(reader.quantiles, at, at + HOUR_MS) for at in hours],
            25.0,
        ),
        _figure("rates of 14 days, from rollups", [lambda: reader.rates(*whole)] * ROUNDS, None),
        _figure("p50, p95, p99 of 14 days, from rollups", [lambda: reader.quantiles(*whole)] * ROUNDS, None),
    ]


def _figure(name: str, questions: list[Callable[[], object]], bound_ms: float | None) -> Figure:
    for ask in questions:
        ask()  # opens the files, and fills the caches
    times = [_seconds(ask) * 1e3 for ask in questions]
    median = statistics.median(times)
    return Figure(
        name=name,
        seen=f"{median:.2f} ({min(times):.2f} to {max(times):.2f}) ms",
        bound="" if bound_ms is None else f"<= {bound_ms:g} ms",
        is_met=None if bound_ms is None else median <= bound_ms,
    )


def _percentiles(reader: EventReader) -> Figure:
    """Compare percentiles of whole days from rollups with those of the events themselves."""
    qs = (0.5, 0.95, 0.99)
    day = (START + 3 * DAY_MS, START + 4 * DAY_MS)
    with reader.view(*day) as connection:
        exact = connection.execute(
            f"SELECT flag, entry, arm, quantile_cont(latency_ms, {list(qs)}) FROM events WHERE outcome >= 2"
            f" AND latency_ms >= 0 AND t_ms >= {day[0]} AND t_ms < {day[1]} GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    found = reader.quantiles(*day, qs=qs).rows
    worst = max(
        abs(seen / true - 1.0)
        for row, known in zip(found, exact, strict=True)
        for seen, true in zip(row.values_ms, known[-1], strict=True)
    )
    return Figure(
        name="percentiles of a day from rollups, largest error against quantile_cont",
        seen=f"{100 * worst:.2f} %",
        bound="<= 1.1 %",
        is_met=worst <= 0.011,
    )


def _rows(day: int, count: int) -> Rows:
    random = np.random.default_rng([7, day])
    rows = np.zeros(count, ROWS)
    rows["t_ms"] = START + day * DAY_MS + np.sort(random.integers(0, DAY_MS, count))
    rows["unit"] = random.integers(0, 2**63, count, np.uint64)
    rows["seq"] = day * count + np.arange(count)
    rows["arrived_ms"] = rows["t_ms"] + 500
    rows["flag"] = random.integers(1, 4, count)
    rows["entry"] = 1
    rows["arm"] = random.integers(1, 3, count)
    rows["bucket"] = random.integers(0, 10_000, count)
    rows["source"] = 1
    rows["reason"] = 4
    rows["outcome"] = random.choice([1, 2, 3, 4, 5], count, p=[0.5, 0.47, 0.01, 0.01, 0.01])
    latency = random.lognormal(4.0, 0.8, count)
    rows["latency_ms"] = np.where(rows["outcome"] == Outcome.EXPOSURE, NO_LATENCY, latency)
    return rows


def _columns(rows: Rows) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(rows[name]) for name in ROWS.names or ()}


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
