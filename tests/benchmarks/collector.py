"""Speed of the way in and of the collector: one event written, one use measured, one tick closed at a million users."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from phase4.analysis.observation import Observation
from phase4.cli.main import main
from phase4.clock import SystemClock
from phase4.rollout.judge import Judge
from phase4.rollout.plan import parse_plan
from phase4.rollout.state import Phase, RolloutState
from phase4.store import observe
from phase4.store.intake import ROWS, Rows
from phase4.store.spool import SpoolWriter
from phase4.store.units import Units
from phase4.system import Phase4System
from tests.benchmarks.timing import Figure, cpu

EVENTS = 100_000
MEASURED = 20_000
KNOWN = 1_000_000
ROWS_PER_TICK = 50_000
NEW_PER_TICK = 5_000
INTERVAL_S = 1.0
"""The shortest usual interval, that of the test environment; the default is 30 s."""
TICKS = 5


def figures() -> list[Figure]:
    """Return the figures of this page."""
    with tempfile.TemporaryDirectory() as folder:
        home = str(Path(folder) / "home")
        main(["init", "--environment", "test", "--home", home, "--json"])
        main(["flags", "rollout", "hook-interception", "50", "--home", home, "--json"])
        main(["flags", "enable", "hook-interception", "--home", home, "--json"])
        return [_emit(home), _measure(home), _tick(home), _judge()]


def _emit(home: str) -> Figure:
    """Time events whose unit is hashed already, beside the bare write of as many bytes."""
    writer = SpoolWriter(home, SystemClock().now)

    def work() -> None:
        for number in range(EVENTS):
            writer.emit(1_000 + number, number, 1, 4.5, 1, 1, 500, 2, 4, 2)

    handle = os.open(Path(home) / "tmp" / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def bare() -> None:
        for _ in range(EVENTS):
            os.write(handle, bytes(40))

    took, least = cpu(work), cpu(bare)
    os.close(handle)
    writer.close()
    best = took.best / EVENTS * 1e6
    return Figure(
        name=f"emit, the unit hashed already (a bare write of 40 bytes: {least.scaled(1e6 / EVENTS, 'us')})",
        seen=took.scaled(1e6 / EVENTS, "us"),
        bound="<= 1 us",
        is_met=best <= 1.0,
    )


def _measure(home: str) -> Figure:
    system = Phase4System(home)

    def work() -> None:
        for number in range(MEASURED):
            with system.measure("hook-interception", f"user-{number}"):
                pass

    took = cpu(work)
    system.close()
    return Figure(
        name="measure: decide, exposure and outcome of a new user",
        seen=took.scaled(1e6 / MEASURED, "us"),
        bound="",
        is_met=None,
    )


def _tick(home: str) -> Figure:
    """Time the counting of one tick where a million users are known."""
    units = Units(home, last_tick=-1)
    for begin in range(0, KNOWN, ROWS_PER_TICK):
        units.count(begin // ROWS_PER_TICK, _rows(np.arange(begin, begin + ROWS_PER_TICK, dtype=np.uint64)))
    generator = np.random.default_rng(7)
    seconds = []
    for number in range(TICKS):
        known = generator.integers(0, KNOWN, ROWS_PER_TICK - NEW_PER_TICK, dtype=np.uint64)
        new = np.arange(NEW_PER_TICK, dtype=np.uint64) + np.uint64(KNOWN + number * NEW_PER_TICK)
        rows = _rows(np.concatenate([known, new]))
        begin_s = time.perf_counter()
        counted = units.count(1_000 + number, rows)
        observe.observations(1_000 + number, rows, counted, closed_until_ms=0)
        seconds.append(time.perf_counter() - begin_s)
    units.close()
    median = sorted(seconds)[TICKS // 2]
    low, high = min(seconds) * 1e3, max(seconds) * 1e3
    return Figure(
        name=f"tick of {ROWS_PER_TICK:,} events at {KNOWN:,} known users, of an interval of {INTERVAL_S:g} s",
        seen=f"{median * 1e3:.0f} ({low:.0f} to {high:.0f}) ms, {median / INTERVAL_S:.1%}",
        bound="<= 10 %",
        is_met=median <= 0.1 * INTERVAL_S,
    )


def _judge() -> Figure:
    plan = parse_plan(
        {"schema": 1, "stages": [{"percentage": 5, "max_duration": "21d"}]}, flag_key="f", plan_id="f.1", source="-"
    )
    state = RolloutState(phase=Phase.PROGRESSING, stage=0, entry=1, percentage=5.0)
    sets = [f"{name}_{kind}" for name in ("error", "bad", "invalid") for kind in ("risk", "first")]
    users: dict[str, Any] = {f"{each}_{of}": 10 if of == "n" else 0 for each in sets for of in "nx"}
    users |= {"units": 5, "crossed": 0, "error_third_x": 0}
    arms = [Observation(tick=0, flag_id=1, entry=1, arm=arm, ok=10, **users) for arm in (2, 1)]

    def work() -> None:
        judge = Judge(plan, interval_ms=30_000)
        for tick in range(TICKS * 1_000):
            judge.see(state, tick, *arms)

    return Figure(
        name="judging one tick of the default plan, live; a collector that starts replays its plans so",
        seen=cpu(work).scaled(1e6 / (TICKS * 1_000), "us"),
        bound="",
        is_met=None,
    )


def _rows(units: np.ndarray) -> Rows:
    rows = np.zeros(len(units), ROWS)
    rows["unit"], rows["seq"] = units, np.arange(len(units))
    rows["t_ms"] = 1_000 + np.arange(len(units)) % 1_000
    rows["flag"], rows["entry"], rows["arm"] = 1, 1, 1 + units % 2
    rows["outcome"], rows["latency_ms"] = 2 + (units % 100 == 0), 5.0
    return rows
