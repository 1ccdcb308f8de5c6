"""Hard cases of the control plane that were wrong once: restored homes, other threads, odd stop files, storms."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from phase4.clock import ManualClock
from phase4.errors import UsageError, WriteFailed
from phase4.store import backup as backups
from phase4.store import care, emergency, orders, rollouts, stops
from phase4.store import home as homes
from phase4.store.control import ControlStore
from phase4.store.stops import EVERYTHING, Stop
from phase4.system import AsyncPhase4System, Phase4System
from tests.data.homes.make import CHECKOUT, ROOT, SEARCH, START, change, create, new_request_id, started

STOP = Stop("fire-1", EVERYTHING, "fire", "ana", START, rolls_back=False)
USER = "user-123"


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


@pytest.fixture
def system(home, store):
    made = Phase4System(str(home))
    yield made
    made.close()


def enable(store, flag_key=CHECKOUT, **more):
    return orders.enable(store, flag_key, **{"actor": "ana", "request_id": new_request_id(), "reason": None, **more})


def disable(store, flag_key=CHECKOUT, **more):
    return orders.disable(store, flag_key, **{"actor": "ana", "request_id": new_request_id(), "reason": None, **more})


def in_a_thread(work):
    told = []

    def safely():
        try:
            told.append(work())
        except Exception as error:  # noqa: BLE001  whatever a thread dies of is what the test looks at
            told.append(error)

    thread = threading.Thread(target=safely)
    thread.start()
    thread.join()
    return told[0]


def test_a_change_is_seen_in_every_thread(system, store):
    disable(store, SEARCH)
    assert in_a_thread(lambda: system.is_feature_enabled(SEARCH, USER)) is False


def test_initialize_loads_on_a_thread(system, store):
    asyncio.run(AsyncPhase4System(system).initialize())
    disable(store, SEARCH)
    assert system.is_feature_enabled(SEARCH, USER) is False


def test_many_threads_see_a_change_at_once(system, store):
    disable(store, SEARCH)
    threads, told = [], []
    gate = threading.Barrier(8)

    def ask():
        gate.wait()
        try:
            told.append(system.is_feature_enabled(SEARCH, USER))
        except Exception as error:  # noqa: BLE001  whatever a thread dies of is what the test looks at
            told.append(error)

    for _ in range(8):
        threads.append(threading.Thread(target=ask))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert told == [False] * 8


def restore_under(home, store):
    backups.make(store, str(home.parent / "backup"))
    store.close()
    for path in home.glob("control.db*"):
        path.unlink()
    backups.restore(str(home), str(home.parent / "backup"))


def test_an_emergency_in_a_restored_home_is_obeyed_by_a_system_that_ran_before(home, system, store):
    restore_under(home, store)
    assert emergency.stop(str(home), STOP, lambda: START).is_recorded
    time.sleep(1.1)  # at the latest when it looks again
    assert not system.is_feature_enabled(SEARCH, USER)


def test_a_database_that_is_gone_makes_the_answers_stale(home, system, store):
    store.close()
    for path in home.glob("control.db*"):
        path.unlink()
    time.sleep(1.1)
    assert system.evaluate(SEARCH, USER).reason == "STALE"


@pytest.mark.parametrize("definition", ["{", "[]", "5", "{}", '{"schema": "phase4.flag/9"}'])
def test_a_definition_that_cannot_be_read_never_raises(system, store, definition):
    store.connection.execute("UPDATE flag SET definition = ? WHERE flag_key = 'checkout'", (definition,))
    store.epoch.nudge()
    assert system.evaluate(SEARCH, USER).value is True
    assert system.evaluate(CHECKOUT, USER).value is False


@pytest.mark.parametrize("definition", ["{", "[]", "{}"])
def test_a_system_whose_home_has_an_unreadable_definition_can_be_made(home, store, definition):
    store.connection.execute("UPDATE flag SET definition = ? WHERE flag_key = 'checkout'", (definition,))
    Phase4System(str(home)).close()


FORK = """
import json, os, sys
from phase4.system import Phase4System
system = Phase4System(sys.argv[1])
def files():
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.path.basename(os.readlink(f"/proc/self/fd/{name}")))
        except OSError:
            pass
    return found
r, w = os.pipe()
if not os.fork():
    os.write(w, json.dumps([system._connection is None, "control.db" in files()]).encode())
    os._exit(0)
os.wait()
print(os.read(r, 1000).decode())
"""


def test_a_forked_child_drops_the_connection_of_a_system_that_was_made_directly(home, store):
    done = subprocess.run([sys.executable, "-c", FORK, home], check=True, capture_output=True, text=True, cwd=ROOT)
    dropped, _ = json.loads(done.stdout)
    assert dropped


def test_a_stop_file_whose_writer_died_before_the_bell_is_obeyed_within_a_second(system, store):
    stops.write(store.home, STOP)
    time.sleep(1.1)
    assert not system.is_feature_enabled(SEARCH, USER)


WELL = {"schema": 1, **STOP._replace(flag_key=SEARCH)._asdict()}


@pytest.mark.parametrize(
    "wrong",
    [
        {"flag_key": 5},
        {"flag_key": None},
        {"flag_key": ["search"]},
        {"at_ms": "now"},
        {"at_ms": None},
        {"reason": 5},
        {"rolls_back": "no"},
    ],
    ids=str,
)
def test_a_file_with_a_value_of_another_type_stops_everything(home, store, wrong):
    (home / homes.STOPS / "odd.json").write_text(json.dumps({**WELL, **wrong}))
    stops.write(str(home), STOP._replace(flag_key=CHECKOUT))
    assert {stop.flag_key for stop in stops.pending(str(home))} == {EVERYTHING, CHECKOUT}


def test_a_system_never_raises_whatever_a_stop_file_says(home, system, store):
    (home / homes.STOPS / "odd.json").write_text(json.dumps({**WELL, "flag_key": ["search"]}))
    store.epoch.nudge()
    assert system.is_feature_enabled(SEARCH, USER) is False


def test_a_file_that_is_nested_too_deep_stops_everything(home, store):
    (home / homes.STOPS / "deep.json").write_text("[" * 100_000)
    assert [stop.flag_key for stop in stops.pending(str(home))] == [EVERYTHING]


def test_a_stop_that_is_lifted_meanwhile_is_no_unreadable_one(home, store):
    unreadable, ends = [], threading.Event()

    def come_and_go():
        while not ends.is_set():
            stops.write(str(home), STOP._replace(flag_key=SEARCH))
            stops.lift(str(home), STOP.request_id)

    writer = threading.Thread(target=come_and_go)
    writer.start()
    end = time.monotonic() + 2
    while time.monotonic() < end and not unreadable:
        unreadable += [stop for stop in stops.pending(str(home)) if stop.flag_key == EVERYTHING]
    ends.set()
    writer.join()
    assert unreadable == []


STOP_WITHOUT_ROOM = """
import resource, sys
from phase4.errors import WriteFailed
from phase4.store import stops
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    stops.write(sys.argv[1], stops.Stop("r-1", "*", "fire", "ana", 1, rolls_back=False))
except WriteFailed as error:
    print(error)
"""


def test_without_a_reserve_the_reason_is_still_that_there_is_no_room(home, store):
    (home / homes.RESERVE).unlink()
    done = subprocess.run(
        [sys.executable, "-c", STOP_WITHOUT_ROOM, home], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert "File too large" in done.stdout


def test_the_reserve_is_kept_where_room_is_not_what_is_missing(home, store):
    (home / homes.STOPS).rmdir()
    with pytest.raises(WriteFailed):
        stops.write(str(home), STOP)
    assert (home / homes.RESERVE).exists()


def test_a_stop_whose_name_another_command_has_does_not_keep_the_store_shut(home, store):
    disable(store, SEARCH, request_id="r-1")
    stops.write(str(home), STOP._replace(request_id="r-1"))
    emergency.record_pending(store)
    assert (stops.pending(str(home)), store.flag(SEARCH).held) == ([], "emergency")


def test_a_reason_that_is_no_unicode_is_recorded(home, store):
    done = emergency.stop(str(home), STOP._replace(reason="caf\udce9"), store.now)  # argv in Latin-1
    assert (done.is_recorded, stops.pending(str(home))) == (True, [])


def test_a_stop_word_without_a_file_outlives_the_emergency_of_another_flag(home, store):
    store.epoch.stop()  # all that was left where no file could be written and nothing recorded
    emergency.stop(str(home), STOP._replace(flag_key=SEARCH), store.now)
    assert store.epoch.is_stopped


def test_an_enable_that_lets_a_plan_go_on_is_in_the_audit_log_with_its_reason(store):
    started(store)
    disable(store)
    enable(store, reason="a false alarm")
    assert json.loads(store.audit()[-1][1])["reason"] == "a false alarm"


def test_lowering_a_flag_that_is_off_under_its_plan_exposes_nobody(store):
    started(store)
    disable(store)
    orders.set_percentage(store, CHECKOUT, 3.0, maximum=100.0, actor="ana", request_id="l", reason=None)
    assert rollouts.state_of(store, "checkout.1").percentage == 0.0
    assert care.findings(store) == []


@pytest.fixture
def backup(store, tmp_path):
    backups.make(store, str(tmp_path / "backup"))
    return str(tmp_path / "backup")


def test_the_log_of_the_database_that_was_there_is_no_part_of_the_restored_one(home, store, backup, clock):
    for _ in range(3):
        disable(store, SEARCH)
        enable(store, SEARCH)
    log = (home / "control.db-wal").read_bytes()  # as a kill -9 leaves it
    store.close()
    for path in home.glob("control.db*"):
        path.unlink()
    (home / "control.db-wal").write_bytes(log)  # only control.db was removed
    (home / "control.db-wal").chmod(0o600)
    try:
        backups.restore(str(home), backup)
    except UsageError:
        return  # "only an empty home is restored" would do as well
    restored = ControlStore(str(home), clock.now)
    version = restored.version
    restored.close()
    assert version == 1


PROGRAM = Path(sys.executable).with_name("phase4")


def phase4(home, *words, prefix=()):
    environment = {**os.environ, "PHASE4_HOME": str(home)}
    return subprocess.run(
        [*prefix, PROGRAM, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_a_home_with_a_stop_that_cannot_be_recorded_can_still_be_looked_at(home, store):
    stops.write(str(home), STOP)
    for path in home.glob("control.db*"):
        path.chmod(0o400)
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root can write to every file, and setpriv is not there to change that")
    prefix = powerless if os.geteuid() == 0 else []
    assert phase4(home, "flags", "list", prefix=prefix).returncode == 0


def test_in_a_storm_of_writers_every_emergency_is_recorded_soon(home, store):
    from tests.integration.test_emergency import HAMMER, document
    from tests.integration.test_two_processes import Process

    def add(making):
        for key in (f"flag-w{number}" for number in range(8)):
            making.add_flag(key, document=document(key), enabled=False, percentage=100.0)

    change(store, add)
    writers = [Process(home, f"w{number}", HAMMER.replace("+ 3", "+ 8")) for number in range(8)]
    for writer in writers:
        writer.read()
    for writer in writers:
        writer.say()
    for writer in writers:
        writer.read()
    elapsed, end = [], time.monotonic() + 6
    while time.monotonic() < end:
        begin = time.monotonic()
        emergency.stop(str(home), STOP._replace(flag_key=SEARCH, request_id=new_request_id()), lambda: START)
        elapsed.append(round(time.monotonic() - begin, 3))
    for writer in writers:
        writer.end()
    assert max(elapsed) < 0.5, sorted(elapsed)[-5:]
