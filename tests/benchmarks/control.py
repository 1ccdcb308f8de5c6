"""Speed of the control plane: a toggle as a whole process, its commit, how soon it is seen, and asking for a flag."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from phase4.cli.main import main
from phase4.clock import SystemClock
from phase4.store import orders
from phase4.store.control import ControlStore
from phase4.system import Phase4System
from tests.benchmarks.timing import Figure, cpu

ROUNDS = 40
FLAG = "byzantine-consensus"
CALLS = 100_000


def figures() -> list[Figure]:
    """Return the figures of this page."""
    with tempfile.TemporaryDirectory() as folder:
        home = str(Path(folder) / "home")
        main(["init", "--environment", "test", "--home", home, "--json"])
        main(["flags", "rollout", FLAG, "10", "--home", home, "--json"])
        return [_process(home), *_commit(home), _seen(home), *_asked(home)]


def _process(home: str) -> Figure:
    """Compare a toggle with a bare interpreter, both with their bytecode cached, taken in turns."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(home).parent / "pyc")}
    code = "from phase4.cli.main import entry; entry()"
    toggle = [[sys.executable, "-c", code, "flags", word, FLAG, "--home", home] for word in ("enable", "disable")]

    def seconds(command: list[str]) -> float:
        begin = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return time.perf_counter() - begin

    seconds(toggle[0])
    pairs = [(seconds([sys.executable, "-c", "pass"]), seconds(toggle[(i + 1) % 2])) for i in range(ROUNDS)]
    bare, whole = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Figure(
        name=f"flags enable|disable, whole process {whole * 1e3:.1f} ms against a bare interpreter {bare * 1e3:.1f} ms",
        seen=f"{whole / bare:.2f} x",
        bound="<= 3.5 x",
        is_met=whole / bare <= 3.5,
    )


def _commit(home: str) -> list[Figure]:
    """Compare a committed toggle with one fdatasync of 4 KiB on the same disk, taken in turns."""
    store = ControlStore(home, SystemClock().now)
    handle = os.open(Path(home) / "tmp" / "sync", os.O_CREAT | os.O_RDWR)
    order: list[Callable[..., object]] = [orders.enable, orders.disable]
    toggles, syncs = [], []
    for i in range(10 * ROUNDS):
        begin = time.perf_counter()
        os.pwrite(handle, b"x" * 4096, 4096 * i)
        os.fdatasync(handle)
        middle = time.perf_counter()
        order[i % 2](store, FLAG, actor="bench", request_id=f"bench-{i}", reason=None)
        syncs.append(middle - begin)
        toggles.append(time.perf_counter() - middle)
    os.close(handle)
    store.close()
    toggle, sync = statistics.median(toggles), statistics.median(syncs)
    return [
        Figure(
            name=f"a toggle committed {toggle * 1e3:.3f} ms against one fdatasync of 4 KiB {sync * 1e3:.3f} ms",
            seen=f"{toggle / sync:.2f} x",
            bound="<= 1.5 x",
            is_met=toggle / sync <= 1.5,
        )
    ]


def _seen(home: str) -> Figure:
    """Measure from the commit in this process to the moment a 1 ms sleeper in another one has seen it."""
    code = (
        "import sys, time\n"
        "from phase4.system import Phase4System\n"
        f"system = Phase4System({home!r})\n"
        "last = None\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        f"    now = system.is_feature_enabled({FLAG!r}, 'user-2')\n"
        "    if now != last:\n"
        "        print(time.monotonic_ns(), flush=True)\n"
        "        last = now\n"
        "    time.sleep(0.001)\n"
    )
    store = ControlStore(home, SystemClock().now)
    orders.set_percentage(store, FLAG, 100.0, maximum=100.0, actor="b", request_id="all", reason=None)
    orders.disable(store, FLAG, actor="b", request_id="off", reason=None)
    reader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    delays = []
    try:
        reader.stdout.readline()
        reader.stdout.readline()
        for i in range(5 * ROUNDS):
            order = orders.disable if i % 2 else orders.enable
            order(store, FLAG, actor="b", request_id=f"seen-{i}", reason=None)
            committed = time.monotonic_ns()
            delays.append((int(reader.stdout.readline()) - committed) / 1e6)
    finally:
        reader.kill()
        reader.wait()
        store.close()
    p95 = statistics.quantiles(delays, n=20)[-1]
    return Figure(
        name="commit to seen by a running evaluator that sleeps 1 ms, p95",
        seen=f"{p95:.2f} ms (median {statistics.median(delays):.2f}, max {max(delays):.2f})",
        bound="<= 5 ms",
        is_met=p95 <= 5.0,
    )


def _asked(home: str) -> list[Figure]:
    system = Phase4System(home)
    context = {"targetingKey": "user-123"}

    def enabled() -> None:
        ask = system.is_feature_enabled
        for _ in range(CALLS):
            ask(FLAG, "user-123")

    def detailed() -> None:
        ask = system.evaluate
        for _ in range(CALLS):
            ask(FLAG, context)

    per = 1e6 / CALLS
    plain, full = cpu(enabled), cpu(detailed)
    system.close()
    return [
        Figure(
            name="is_feature_enabled, epoch check included",
            seen=plain.scaled(per, "us"),
            bound="<= 0.5 us",
            is_met=plain.median * per <= 0.5,
        ),
        Figure(
            name="evaluate, epoch check included",
            seen=full.scaled(per, "us"),
            bound="<= 1.5 us",
            is_met=full.median * per <= 1.5,
        ),
    ]
