"""`make demo`: a rollout that runs, breaks and rolls back by itself, in about a minute. Nothing in it is simulated.

A small shop is served on this machine; a hundred times a second somebody checks out. The flag `new-checkout` is
rolled out to 10, 25 and 50 % by a plan whose stages take seconds. In the second stage a migration drops an index that
only the new code path needs. `DEFECT=none` leaves the index alone, and the rollout completes.

Everything is below a temporary folder that is named at the end; no process is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from services.load import Load

from phase4.clock import SystemClock, iso
from phase4.flags.definition import FlagDefinition, FlagType, Rollout
from phase4.rollout import events
from phase4.rollout.state import RolloutState
from phase4.store import rollouts
from phase4.store.control import ControlStore

FLAG = "new-checkout"
PLAN = f"{FLAG}.1"
RATE = 100.0
"""Requests a second."""
USERS = 10_000
CARTS = 600_000
"""Rows of each table: reading all of them takes longer than a checkout may."""
BREAK_AFTER_S = 15.0
"""How long the second stage is healthy."""
LIMIT_S = 120.0
PLAN_TOML = """schema = 1
stages = [
  { name = "10 %", percentage = 10, active_min = "8s", bake = "40s", max_duration = "60s" },
  { name = "25 %", percentage = 25, active_min = "8s", bake = "20s", max_duration = "60s" },
  { name = "50 %", percentage = 50, active_min = "8s", bake = "8s", max_duration = "60s" },
]
[guardrails.error_rate]
limit = 0.05
[guardrails.error_ratio]
min_units = 300
[guardrails.emergency]
limit = 0.5
"""


class Demo:
    """One run, from an empty folder to a report."""

    def __init__(self, folder: Path, defect: str) -> None:
        self.folder, self.defect = folder, defect
        self.home, self.database = folder / "home", folder / "shop.db"
        self.environment = {**os.environ, "PHASE4_HOME": str(self.home), "MONITORING_INTERVAL_MS": "500"}
        self.children: list[subprocess.Popen[str]] = []
        self.begin = time.monotonic()
        self.broken_at: float | None = None

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        print(f"{time.monotonic() - self.begin:5.1f} s  {text}", flush=True)

    def phase4(self, *words: str) -> dict[str, Any]:
        """Run a command of phase4 and return what it answered."""
        program = [sys.executable, "-m", "phase4", *words, "--json"]
        done = subprocess.run(program, env=self.environment, capture_output=True, text=True, check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
        if not answer["ok"]:
            raise SystemExit(f"phase4 {' '.join(words)}: {answer['error']['message']}")
        return dict(answer["data"])

    def start(self, *program: str) -> subprocess.Popen[str]:
        """Start a process that lives as long as the demo."""
        log = (self.folder / "processes.log").open("a", encoding="utf-8")
        with log:
            child = subprocess.Popen(
                [sys.executable, *program], env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.children.append(child)
        return child

    def stop(self) -> None:
        """End every process that was started, and wait until it is gone."""
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    # ---------------------------------------------------------------------------------------------- acts
    def prepare(self) -> None:
        """Fill the shop, make the home, the flag and its plan."""
        self.say(f"filling a shop with {CARTS:,} carts")
        fill(self.database)
        self.phase4("init", "--environment", "test")
        make_flag(self.home)
        (self.folder / "plan.toml").write_text(PLAN_TOML, encoding="utf-8")
        self.phase4("rollout", "create", FLAG, "--file", str(self.folder / "plan.toml"))
        self.say(f"plan {PLAN}: 10 %, 25 %, 50 % of the users; at most 5 % of them may meet an error")

    async def run(self) -> RolloutState:
        """Serve, load, collect, roll out; return where the rollout ended."""
        service = self.start(str(Path(__file__).parent / "services" / "checkout.py"), str(self.database))
        assert service.stdout is not None
        port = int(await asyncio.to_thread(service.stdout.readline))
        self.start("-m", "phase4", "monitor", "run")
        self.say(f"the shop listens on 127.0.0.1:{port}; a collector looks every half second")
        async with loaded(Load(port, rate=RATE, seed=2026)) as load:
            self.say(f"{RATE:g} checkouts a second, each by another user")
            await asyncio.sleep(2.0)
            self.phase4("rollout", "start", PLAN)
            state = await self.watch()
            self.say(f"{sum(load.answers.values()):,} checkouts: {told(load)}")
        return state

    async def watch(self) -> RolloutState:
        """Tell what happens until the rollout ends; break the shop in its second stage."""
        store = ControlStore(str(self.home), SystemClock().now)
        seen, shown = 0, 0.0
        try:
            while time.monotonic() - self.begin < LIMIT_S:
                await asyncio.sleep(0.1)
                happened = rollouts.events_of(store, PLAN)
                for event in happened[seen:]:
                    self.tell(event)
                seen = len(happened)
                state = rollouts.state_of(store, PLAN)
                if state.ended_ms is not None:
                    return state
                self.maybe_break(state)
                if time.monotonic() - shown >= 2.0:
                    shown = time.monotonic()
                    self.say(f"  {state.percentage:g} %  {rates(store, state.entry)}")
        finally:
            store.close()
        raise SystemExit(f"the rollout did not end within {LIMIT_S:g} s")

    def maybe_break(self, state: RolloutState) -> None:
        """Drop the index a few seconds into the second stage."""
        since_s = (SystemClock().now() - state.entered_ms) / 1000
        if self.defect == "none" or self.broken_at is not None or state.stage != 1 or since_s < BREAK_AFTER_S:
            return
        with contextlib.closing(sqlite3.connect(self.database, timeout=10)) as connection, connection:
            connection.execute("DROP INDEX carts_v2_user")
        self.broken_at = time.monotonic()
        self.say("✂  a migration drops the index that only the new checkout needs")

    def tell(self, event: events.Event) -> None:
        """Say what happened to the plan."""
        match event:
            case events.StageEntered():
                self.say(f"▶  stage {event.stage + 1} of 3: the new checkout for {event.percentage:g} % of the users")
            case events.RolledBack():
                after = f" {time.monotonic() - self.broken_at:.1f} s after it broke" if self.broken_at else ""
                self.say(f"⛔ ROLLED BACK by itself{after}: guardrail {event.guardrail}. Flag off, 0 %, held.")
            case events.Completed():
                self.say("✅ COMPLETED: no guardrail found anything")
            case _:
                self.say(f"   {event.kind}")


@contextlib.asynccontextmanager
async def loaded(load: Load) -> AsyncIterator[Load]:
    """Run the load for as long as the block lasts."""
    over = asyncio.Event()
    task = asyncio.create_task(load.run(over))
    try:
        yield load
    finally:
        over.set()
        await task


def fill(path: Path) -> None:
    """Make the shop's database: two tables of the same carts, each with its index."""
    generator = random.Random(7)
    rows = [(f"user-{generator.randrange(USERS)}", generator.randrange(100, 20_000)) for _ in range(CARTS)]
    rows += [(f"user-{user}", 100) for user in range(USERS)]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        for table in ("carts", "carts_v2"):
            connection.execute(f"CREATE TABLE {table}(user TEXT NOT NULL, cents INTEGER NOT NULL)")
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)
            connection.execute(f"CREATE INDEX {table}_user ON {table}(user)")


def make_flag(home: Path) -> None:
    """Make the flag in the home."""
    definition = FlagDefinition(
        key=FLAG,
        type=FlagType.BOOLEAN,
        enabled=False,
        variants={"on": True, "off": False},
        off_variant="off",
        default_variant="off",
        salt=FLAG,
        rollout=Rollout(percentage=0.0, serve="on"),
    )
    store = ControlStore(str(home), SystemClock().now)
    try:
        store.execute(
            "demo",
            {},
            lambda change: change.add_flag(FLAG, document=definition.to_json(), enabled=False, percentage=0.0) or {},
            actor="demo",
            request_id="demo-flag",
        )
    finally:
        store.close()


def rates(store: ControlStore, entry: int) -> str:
    """Return what the collector has seen of both arms in this stage."""
    rows = store.rows(
        "SELECT arm, sum(ok), sum(error + timeout), sum(units) FROM observation JOIN flag ON flag.id = flag_id"
        " WHERE flag_key = ? AND observation.entry = ? GROUP BY arm ORDER BY arm DESC",
        *(FLAG, entry),
    )
    names = {2: "treatment", 1: "control"}
    parts = [
        f"{names[arm]} {failed / max(ok + failed, 1):6.1%} of {ok + failed:4} failed" for arm, ok, failed, _ in rows
    ]
    return " · ".join(parts) or "nothing observed yet"


def told(load: Load) -> str:
    """Return how the checkouts were answered."""
    words = {200: "answered", 504: "too late", 0: "without an answer"}
    named = {words.get(status, f"with status {status}"): count for status, count in load.answers.items()}
    return ", ".join(f"{count:,} {word}" for word, count in named.items())


def main() -> int:
    """Run the demonstration; 0 = it ended as it should."""
    defect = os.environ.get("DEFECT", "index")
    if defect not in {"index", "none"}:
        print(f"DEFECT is index or none: {defect}", file=sys.stderr)
        return 2
    demo = Demo(Path(tempfile.mkdtemp(prefix="phase4-demo-")), defect)
    print(f"A real rollout on this machine, {iso(SystemClock().now())}; it takes about a minute.\n")
    try:
        demo.prepare()
        state = asyncio.run(demo.run())
        report = demo.folder / "report.html"
        demo.phase4("shutdown", "--reason", "the demo is over")
        demo.phase4("monitor", "report", "-o", str(report))
    finally:
        demo.stop()
    print(f"\nThe report: {report}\nThe home:   {demo.home}")
    wanted = "COMPLETED" if defect == "none" else "ROLLED_BACK"
    return 0 if str(state.phase) == wanted else 1


if __name__ == "__main__":
    sys.exit(main())
