"""Writers that are killed: everything acknowledged is there, and nothing is half done."""

import random
import select
import signal
import subprocess
import sys
import time

import pytest

from phase4.clock import ManualClock
from phase4.store import care
from phase4.store.control import ControlStore
from tests.data.homes.make import ROOT, START, change, create, document

WRITERS = 3
TOGGLE = """
import itertools, os, sys, time
from phase4.store import orders
from phase4.store.control import ControlStore

home, flag_key, first = sys.argv[1], sys.argv[2], sys.argv[3]
store = ControlStore(home, lambda: 0, busy_ms=30_000)
on = store.flag(flag_key).enabled
for number in itertools.count():
    order = orders.disable if on else orders.enable
    reply = order(store, flag_key, actor="ana", request_id=f"{first}-{number}", reason=None)
    on = not on
    assert reply.data["changed"], reply
    os.write(1, b".")
    time.sleep(0.0002)  # so that the others get their turn soon
"""


def add_flags(store):
    def work(making):
        for number in range(WRITERS):
            key = f"flag-{number}"
            making.add_flag(key, document=document(key), enabled=True, percentage=100.0)

    change(store, work, request_id="flags")


def writer(home, number, round_):
    words = [sys.executable, "-c", TOGGLE, home, f"flag-{number}", f"{round_}-{number}"]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def acknowledged(process):
    """Return how many commits a writer that has ended was told of."""
    dots, errors = process.communicate()
    assert (process.returncode, errors) == (-signal.SIGKILL, b"")
    return len(dots)


def storm(home, round_):
    """Let writers toggle a flag each until they are killed, at moments of their own; return their commits."""
    chance = random.Random(round_)
    writers = [writer(home, number, round_) for number in range(WRITERS)]
    for process in writers:
        assert select.select([process.stdout], [], [], 30)[0]
    for process in chance.sample(writers, WRITERS):
        time.sleep(chance.uniform(0.0, 0.03))
        process.kill()
    return [acknowledged(process) for process in writers]


def kept(home):
    """Return version, audit rows and versions of the flags, as whoever opens the home next finds them."""
    store = ControlStore(str(home), lambda: START)
    flags = [store.flag(f"flag-{number}").version for number in range(WRITERS)]
    found = store.version, len(store.audit()), flags
    store.close()
    return found


def outlive(home, rounds):
    """Kill writers again and again, and hold after each time what is there against what was acknowledged."""
    store = create(home, ManualClock(START))
    add_flags(store)
    store.close()
    for round_ in range(rounds):
        version, rows, flags = kept(home)
        told = storm(home, round_)
        version_now, rows_now, flags_now = kept(home)
        done = [now - before for now, before in zip(flags_now, flags, strict=True)]
        lost = [commits for commits, written in zip(told, done, strict=True) if written not in {commits, commits + 1}]
        assert lost == [], f"round {round_}: told of {told}, found {done}"
        assert (version_now - version, rows_now - rows) == (sum(done), sum(done))
        assert sum(told) > 0
        assert_whole(home)


def assert_whole(home):
    """Hold that nothing is wrong: with the database at once, with the bell after the next change."""
    store = ControlStore(str(home), lambda: START)
    before = care.findings(store)
    change(store, lambda making: making.set_flag(store.flag("search"), "touched", None))
    after = care.findings(store)
    store.close()
    assert [finding for finding in before if not finding.startswith("epoch: ")] == []
    assert after == []


def test_no_acknowledged_commit_is_lost_when_writers_are_killed(home):
    outlive(home, rounds=20)


@pytest.mark.slow
def test_no_acknowledged_commit_is_lost_when_writers_are_killed_again_and_again(home):
    outlive(home, rounds=300)


CREATE = """
import sys
from phase4.clock import ManualClock
from tests.data.homes.make import create

print("begins", flush=True)
create(sys.argv[1], ManualClock(0))
"""


def killed_while_creating(home, wait):
    process = subprocess.Popen([sys.executable, "-c", CREATE, home], cwd=ROOT, stdout=subprocess.PIPE)
    with process:
        process.stdout.readline()
        time.sleep(wait)
        process.kill()


def test_a_home_whose_making_was_killed_is_made_by_the_next(tmp_path):
    chance = random.Random(7)
    for number in range(10):
        home = tmp_path / str(number)
        killed_while_creating(home, chance.uniform(0.0, 0.01))
        store = create(home, ManualClock(START))
        findings = [finding for finding in care.findings(store) if not finding.startswith("epoch: ")]
        flags = len(store.flags())
        store.close()
        assert (findings, flags) == ([], 2)
