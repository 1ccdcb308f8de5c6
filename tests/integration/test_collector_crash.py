"""A collector that is killed at any moment, again and again, counts and decides as one that nobody disturbed.

The moments are calls of the process, counted: the same seed kills at the same places, on every machine.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from phase4.clock import ManualClock
from phase4.monitor.collector import Collector
from phase4.monitor.settings import MonitorSettings
from phase4.rollout.plan import parse_plan
from phase4.rollout.state import Phase
from phase4.store import plans, rollouts
from phase4.store.control import ControlStore
from phase4.store.plans import Ordered
from tests.data.homes.make import CHECKOUT, ROOT, SEARCH, add_plan, create
from tests.unit.monitor.live import START, TICK, Live
from tests.unit.monitor.test_collector import PLAN, PLAN_ID, USERS

ROUNDS = 15
KILLS = 6
"""In one run, at most."""
CALLS = 40_000
"""Of five rounds: a kill comes before so many."""
SETTINGS = MonitorSettings(interval_ms=TICK)
PROGRAM = "import sys; from tests.integration.test_collector_crash import storm; storm(*sys.argv[1:])"
TABLES = {
    "tick": "SELECT tick, from_ms, watermark_ms, closed_ms, due, received FROM tick ORDER BY tick",
    "observation": "SELECT * FROM observation ORDER BY tick, flag_id, entry, arm",
    "journal": "SELECT plan_seq, at_ms, kind, body, tick FROM journal ORDER BY seq",
    "flag": "SELECT flag_key, enabled, percentage, entry, entries, held, version FROM flag ORDER BY id",
    "alert": "SELECT type, rule, severity, count FROM alert ORDER BY id",
}


# --------------------------------------------------------------------------------------------- one that is killed
def number(home):
    """Return the round that a collector of this home has to do next."""
    path = Path(home, "..", f"{Path(home).name}.round")
    return int(path.read_text()) if path.exists() else 0


def play(home, rounds):
    """Do the rounds that are left, or so many: each brings its events, and a person's order where there was one."""
    clock = ManualClock(START)
    store = ControlStore(home, clock.now)
    collector = Collector(store, SETTINGS, holder="killed")
    for place in range(number(home), min(number(home) + rounds, ROUNDS)):
        clock.advance(START + place * TICK - clock.now())
        bring(home, place)
        clock.advance(TICK)
        collector.step()
        approve(store, place)
        temporary = Path(home, "..", f"{Path(home).name}.next")
        temporary.write_text(str(place + 1))
        temporary.replace(temporary.with_suffix(".round"))
    collector.close()
    store.close()


def bring(home, place):
    """Let the events of a round lie in the spool, once."""
    for path in Path(home, "..", f"{Path(home).name}.events", str(place)).glob("*.sp"):
        path.rename(Path(home, "spool", path.name))


def approve(store, place):
    """Approve what is asked, once."""
    if rollouts.state_of(store, PLAN_ID).phase is Phase.AWAITING_APPROVAL:
        plans.approve(store, Ordered(PLAN_ID, "ana", f"approval {place}"))


def storm(home, how):
    """Do all rounds in processes that are killed; print how many were.

    Args:
        home: PHASE4_HOME.
        how: A seed of the moments; or the name of a function, at whose first call in every round a process is killed.
    """
    moments = random.Random(int(how)) if how.isdecimal() else None
    killed, spared = 0, -1
    while True:
        place = number(home)
        calls = moments.randrange(1, CALLS) if moments is not None else 0
        child = os.fork()
        if not child:
            if moments is None and place != spared:
                kill_at(how)
            elif moments is not None and killed < KILLS:
                kill_after(calls)
            play(home, rounds=1 if moments is None else ROUNDS)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed, spared = killed + bool(status), place
        assert status == 0 or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL), status
        if number(home) == ROUNDS and status == 0:
            break
    print(killed)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(calls):
    """Let this process be killed after so many calls and returns."""
    left = iter(range(calls))
    sys.setprofile(lambda *_: die() if next(left, None) is None else None)


def kill_at(name):
    """Let this process be killed when the collector calls one of its functions."""
    folders = (os.sep + "monitor" + os.sep, "units.py")

    def look(frame, event, _argument):
        code = frame.f_code
        if event == "call" and code.co_name == name and any(each in code.co_filename for each in folders):
            die()

    sys.setprofile(look)


# --------------------------------------------------------------------------------------------- one that is not
@pytest.fixture(scope="module", params=["completes", "fails"])
def undisturbed(request, tmp_path_factory):
    """Return a home at its start with the files of every round, and what one run without a kill left."""
    folder = tmp_path_factory.mktemp("undisturbed")
    home, events = folder / "home", folder / "home.events"
    clock = ManualClock(START)
    store = create(home, clock, search=0.0)
    wanted = parse_plan(tomllib.loads(PLAN), flag_key=CHECKOUT, plan_id=PLAN_ID, source="plan.toml")
    plans.start(store, Ordered(add_plan(store, wanted).plan_id, "ana", "start"))
    store.close()
    shutil.copytree(home, folder / "fresh")
    store = ControlStore(str(home), clock.now)
    live = Live(store, clock)
    for place in range(ROUNDS):
        live.traffic(USERS, treatment=0.6 if request.param == "fails" and place > 8 else 0.0)
        live.emit(2, "ok", flag_key=SEARCH)
        live.emit(2, "error", t_ms=clock.now() - (place % 4) * TICK)
        live.writer.close()
        (events / str(place)).mkdir(parents=True)
        for path in (home / "spool").glob("*.sp"):
            if not any(events.glob(f"*/{path.name}")):
                shutil.copyfile(path, events / str(place) / path.name)
        live.round()
        approve(store, place)
    live.collector.close()
    store.close()
    return folder


def left(home):
    """Return what the collector recorded, by table."""
    store = ControlStore(str(home), lambda: START)
    try:
        return {name: store.rows(query) for name, query in TABLES.items()}
    finally:
        store.close()


def stormed(folder, tmp_path, how):
    """Return what a run with kills left, and how many there were."""
    home = tmp_path / "home"
    shutil.copytree(folder / "fresh", home)
    shutil.copytree(folder / "home.events", tmp_path / "home.events")
    words = [sys.executable, "-c", PROGRAM, str(home), str(how)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return left(home), int(done.stdout)


def check(folder, tmp_path, how):
    found, killed = stormed(folder, tmp_path, how)
    assert killed > 0
    for name, rows in left(folder / "home").items():
        assert found[name] == rows, f"{name} under {how}, {killed} kills"


def test_the_run_without_a_kill_is_one_worth_comparing(undisturbed):
    found = left(undisturbed / "home")
    kinds = [row[2] for row in found["journal"]]
    assert kinds.count("stage_entered") >= 2
    assert len(found["observation"]) > 20
    assert len(found["tick"]) == ROUNDS


@pytest.mark.parametrize("seed", range(10))
def test_a_collector_killed_at_random_moments_leaves_what_an_undisturbed_one_left(undisturbed, tmp_path, seed):
    check(undisturbed, tmp_path, seed)


@pytest.mark.parametrize("undisturbed", ["completes"], indirect=True)
@pytest.mark.parametrize("name", ["count", "_switch_off", "_keep"])
def test_a_collector_killed_at_one_place_in_every_round_leaves_it_too(undisturbed, tmp_path, name):
    check(undisturbed, tmp_path, name)


@pytest.mark.parametrize("name", ["_show", "_decide"])
def test_a_collector_killed_between_every_tick_and_its_decision_leaves_it_too(undisturbed, tmp_path, name):
    check(undisturbed, tmp_path, name)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 160))
def test_also_three_hundred_times(undisturbed, tmp_path, seed):
    check(undisturbed, tmp_path, seed)
