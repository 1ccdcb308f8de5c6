"""`phase4 monitor run` as processes: killed, replaced, asked to end; and no event is lost or counted twice."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from phase4.clock import SystemClock
from phase4.store.events import EventReader
from phase4.store.spool import SpoolWriter
from tests.data.homes.make import SEARCH, create

INTERVAL_MS = 500
PROGRAM = [sys.executable, "-m", "phase4"]
ROUNDS, MANY_ROUNDS = 20, 300


@pytest.fixture
def store(home):
    made = create(home, SystemClock(), search=100.0)
    yield made
    made.close()


def environment(home, **more):
    return {"PATH": os.environ["PATH"], "PHASE4_HOME": str(home), "MONITORING_INTERVAL_MS": str(INTERVAL_MS), **more}


@contextlib.contextmanager
def collecting(home):
    """A collector of its own process; it is gone when the block is left."""
    child = subprocess.Popen([*PROGRAM, "monitor", "run"], env=environment(home), stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        child.stdout.close()


def told(child, text):
    """Read what a collector says until a line has this text."""
    for line in child.stdout:
        if text in line:
            return line
    raise AssertionError(f"the collector ended without saying {text!r}")


def run(home, *words):
    done = subprocess.run(
        [*PROGRAM, *words, "--json"], env=environment(home), capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


def ticks(store):
    return [row[0] for row in store.rows("SELECT tick FROM tick ORDER BY tick")]


def wait_until(what, timeout_s=20.0):
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until, "that never came"
        time.sleep(0.02)


class Traffic:
    """An application that writes all the while, and counts what was acknowledged."""

    def __init__(self, store):
        self.store, self.written = store, 0
        self._flag = store.flag(SEARCH)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()

    def _work(self):
        now = SystemClock().now
        writer = SpoolWriter(self.store.home, now)
        while not self._stop.is_set():
            for _ in range(20):
                unit = self.written + 1
                self.written += writer.emit(now(), unit, 1, 5.0, self._flag.id, 0, 1, 2, 4, 2)
            time.sleep(0.002)
        writer.close()


def counted(store):
    return store.row("SELECT coalesce(sum(ok), 0), coalesce(sum(units), 0) FROM observation")


def outlive(home, store, rounds):
    """Kill the collector again and again under traffic; then let one finish, and count."""
    chance = random.Random(rounds)
    with Traffic(store) as traffic:
        for _ in range(rounds):
            with collecting(home) as child:
                told(child, "collecting")
                time.sleep(chance.uniform(0.0, 0.9))
                child.send_signal(signal.SIGKILL)
    with collecting(home) as child:
        wait_until(lambda: counted(store)[0] >= traffic.written)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=10) == 143
    assert counted(store) == (traffic.written, traffic.written)
    reader = EventReader(store.home, store)
    try:
        kept = reader.rates(0, SystemClock().now() + 60_000).rows
    finally:
        reader.close()
    assert sum(row.ok for row in kept) == traffic.written
    assert traffic.written > 20 * rounds


def test_no_event_is_lost_or_counted_twice_when_the_collector_is_killed(home, store):
    outlive(home, store, ROUNDS)


@pytest.mark.slow
def test_no_event_is_lost_or_counted_twice_when_it_is_killed_again_and_again(home, store):
    outlive(home, store, MANY_ROUNDS)


def test_a_standby_takes_over_within_an_interval_of_the_kill(home, store):
    with collecting(home) as first:
        told(first, "collecting")
        with collecting(home) as second:
            told(second, "standing by")
            wait_until(lambda: len(ticks(store)) >= 2)
            first.send_signal(signal.SIGKILL)
            killed = SystemClock().now()
            told(second, "  collecting")
            assert SystemClock().now() - killed <= 2 * INTERVAL_MS
            before = len(ticks(store))
            wait_until(lambda: len(ticks(store)) >= before + 2)
    found = ticks(store)
    assert found == sorted(set(found))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_collector_in_order_and_soon(home, store, number, status):
    with collecting(home) as child:
        told(child, "collecting")
        child.send_signal(number)
        assert child.wait(timeout=5) == status
        assert "Ended after" in child.stdout.read()
    assert store.lease("collector", SystemClock().now()) is None


def test_a_shutdown_ends_the_collector_and_its_standby_and_names_them(home, store):
    with collecting(home) as first:
        told(first, "collecting")
        with collecting(home) as second:
            told(second, "standing by")
            status, answer = run(home, "shutdown")
            assert (status, len(answer["data"]["stopped"]), answer["data"]["left"]) == (0, 2, [])
            assert (first.wait(timeout=5), second.wait(timeout=5)) == (0, 0)
    assert run(home, "shutdown")[1]["data"] == {"stopped": [], "left": []}


def test_a_process_that_stands_still_is_left_and_said(home, store):
    with collecting(home) as child:
        told(child, "collecting")
        child.send_signal(signal.SIGSTOP)
        status, answer = run(home, "shutdown", "--timeout", "1")
        child.send_signal(signal.SIGCONT)
        assert (status, answer["error"]["code"]) == (7, "SHUTDOWN_TIMEOUT")
        assert child.wait(timeout=5) == 0


def test_a_shutdown_does_not_wait_for_a_collector_that_was_killed(home, store):
    with collecting(home) as child:
        told(child, "collecting")
    store.execute(
        "longer",
        {},
        lambda change: change.write("UPDATE lease SET expires_ms = expires_ms + 60000") and {},
        actor="test",
        request_id="longer",
    )
    status, answer = run(home, "shutdown", "--timeout", "1")
    assert (status, answer["ok"]) == (0, True)


def test_status_says_who_collects_who_stands_by_and_what_was_covered(home, store):
    with collecting(home) as first:
        told(first, "collecting")
        with collecting(home) as second:
            told(second, "standing by")
            # on a fast machine the first ticks close intervals from before the flag was there, of which nothing is due
            wait_until(lambda: len(ticks(store)) >= 6)
            monitoring = run(home, "status")[1]["data"]["monitoring"]
    assert monitoring["collector"] is not None
    assert len(monitoring["standby"]) == 1
    assert monitoring["coverage"] is not None


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"MONITORING_ENABLED": "false"}, 4), ({"PHASE4_ENVIRONMENT": "production"}, 2)],
)
def test_a_collector_that_may_not_run_says_so(home, store, settings, status):
    words = [*PROGRAM, "monitor", "run", "--json"]
    done = subprocess.run(words, env=environment(home, **settings), capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (status, False)


def test_one_round_for_cron_closes_a_tick_each_time(home, store):
    for number in range(1, 4):
        assert run(home, "monitor", "run", "--once")[0] == 0
        assert len(ticks(store)) == number
        time.sleep(INTERVAL_MS / 1000)
