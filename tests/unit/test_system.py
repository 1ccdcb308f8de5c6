"""One home, its flags in memory, and the questions that an application asks."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from phase4 import system as systems
from phase4.clock import ManualClock
from phase4.errors import NotBuilt
from phase4.flags.evaluation import ErrorCode, Reason
from phase4.rollout.events import RolledBack
from phase4.store import emergency, orders, stops
from phase4.store.stops import EVERYTHING, Stop
from phase4.system import LOOK_S, AsyncPhase4System, Phase4System, get_phase4_system
from tests.data.homes.make import CHECKOUT, ROOT, SEARCH, START, create, document, new_request_id, record, started

STOP = Stop("fire-1", EVERYTHING, "fire", "ana", START, rolls_back=False)
USER = "user-123"


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    """A store with search on for everybody, and checkout off."""
    made = create(home, clock)
    yield made
    made.close()


@pytest.fixture
def system(home, store):
    made = Phase4System(str(home))
    yield made
    made.close()


@pytest.fixture
def shared():
    """The systems that this process shares are closed and forgotten afterwards."""
    yield
    for made in systems._systems.values():
        made.close()
    systems._systems.clear()


def order(store, work, flag_key=SEARCH, **more):
    return work(store, flag_key, actor="ana", request_id=new_request_id(), reason=None, **more)


def spoil(home, store):
    """Commit a change, and make it and everything else unreadable where it lies, as a broken disk does."""
    order(store, orders.enable, CHECKOUT)
    for name in ["control.db", "control.db-wal"]:
        path = home / name
        with path.open("r+b") as file:
            file.write(b"\xaa" * path.stat().st_size)


def until(condition, seconds=LOOK_S + 2):
    """Wait until something holds, and say whether it came to hold."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


# --------------------------------------------------------------------------------------------- answers
def test_a_flag_that_is_on_for_everybody_is_on(system):
    assert system.is_feature_enabled(SEARCH, USER)


def test_a_flag_that_is_off_is_off(system):
    assert not system.is_feature_enabled(CHECKOUT, USER)


def test_an_unknown_flag_is_off(system):
    assert not system.is_feature_enabled("none", USER)


def test_an_unknown_flag_serves_the_default(system):
    evaluation = system.evaluate("none", USER, default="blue")
    assert (evaluation.value, evaluation.reason, evaluation.error_code) == ("blue", "ERROR", ErrorCode.FLAG_NOT_FOUND)


@pytest.mark.parametrize(
    ("flag_key", "value", "variant", "reason"),
    [(SEARCH, True, "on", Reason.STATIC), (CHECKOUT, False, "off", Reason.DISABLED)],
)
def test_an_evaluation_has_value_variant_and_reason(system, flag_key, value, variant, reason):
    evaluation = system.evaluate(flag_key, USER)
    assert (evaluation.value, evaluation.variant, evaluation.reason) == (value, variant, reason)


def test_a_percentage_between_0_and_100_splits_the_users(system, store):
    order(store, orders.set_percentage, percentage=50.0, maximum=100.0)
    answers = {system.is_feature_enabled(SEARCH, f"user-{number}") for number in range(64)}
    assert answers == {True, False}


def test_the_percentage_of_the_row_counts_and_not_that_of_the_document(system, store):
    order(store, orders.set_percentage, percentage=0.0, maximum=100.0)
    assert not system.is_feature_enabled(SEARCH, USER)


def test_an_anonymous_user_is_not_exposed_to_a_percentage(system, store):
    order(store, orders.set_percentage, percentage=50.0, maximum=100.0)
    assert system.evaluate(SEARCH, None, default=False).error_code == ErrorCode.TARGETING_KEY_MISSING
    assert not system.is_feature_enabled(SEARCH)


def test_a_user_is_named_beside_a_context_or_in_it(system, store):
    order(store, orders.set_percentage, percentage=50.0, maximum=100.0)
    for number in range(20):
        user = f"user-{number}"
        answers = {
            system.is_feature_enabled(SEARCH, user),
            system.is_feature_enabled(SEARCH, user, {"country": "FI"}),
            system.is_feature_enabled(SEARCH, context={"targetingKey": user}),
        }
        assert len(answers) == 1


def test_an_evaluation_has_version_and_entry_of_its_flag(system, store):
    started(store)
    evaluation = system.evaluate(CHECKOUT, USER)
    assert (evaluation.version, evaluation.entry) == (2, 1)


@pytest.mark.parametrize(
    "context", [None, {}, {"targetingKey": 5}, {"targetingKey": None}, 5, [], object(), b"x", float("nan")]
)
@pytest.mark.parametrize("flag_key", [SEARCH, "", None, 5, [], ()], ids=repr)
def test_an_evaluation_never_raises(system, flag_key, context):
    system.is_feature_enabled(flag_key, context=context)
    system.is_feature_enabled(flag_key, context)
    system.evaluate(flag_key, context, default=False)


def test_what_is_not_there_yet_says_so(system):
    for question in (system.validate_task_completion, system.execute_hook):
        with pytest.raises(NotBuilt, match="is not in this version"):
            question({})


# --------------------------------------------------------------------------------------------- changes are seen
def test_a_change_is_seen_at_the_next_evaluation(system, store):
    order(store, orders.disable)
    assert not system.is_feature_enabled(SEARCH, USER)


def test_a_change_back_is_seen_too(system, store):
    for work in (orders.disable, orders.enable):
        order(store, work)
    assert system.is_feature_enabled(SEARCH, USER)


def test_every_change_of_many_is_seen(system, store):
    seen = []
    for number in range(20):
        order(store, orders.disable if number % 2 == 0 else orders.enable)
        seen.append(system.is_feature_enabled(SEARCH, USER))
    assert seen == [False, True] * 10


def test_a_new_flag_is_seen(system, store):
    def work(making):
        making.add_flag("new", document=document("new"), enabled=True, percentage=100.0)
        return {}

    store.execute("test", {}, work, actor="ana", request_id="new")
    assert system.is_feature_enabled("new", USER)


def test_a_rollback_is_seen(system, store):
    row = started(store)
    assert system.evaluate(CHECKOUT, USER).reason == "SPLIT"
    record(store, row, RolledBack(at_ms=START, guardrail=None, reason="by hand", is_emergency=False, tick=None))
    assert system.evaluate(CHECKOUT, USER).reason == "DISABLED"


DISABLE = """
import sys
from phase4.store import orders
from phase4.store.control import ControlStore

store = ControlStore(sys.argv[1], lambda: 0)
orders.disable(store, "search", actor="ben", request_id="r-1", reason=None)
store.close()
"""


def test_a_change_of_another_process_is_seen_at_the_next_evaluation(home, system):
    subprocess.run([sys.executable, "-c", DISABLE, home], check=True, cwd=ROOT)
    assert not system.is_feature_enabled(SEARCH, USER)


def test_a_change_whose_writer_died_before_the_bell_is_seen_within_a_second(home, system):
    writer = sqlite3.connect(home / "control.db")
    with writer:
        writer.execute("UPDATE flag SET enabled = 0, version = version + 1")
    writer.close()
    assert until(lambda: not system.is_feature_enabled(SEARCH, USER))


def test_a_version_that_a_late_writer_put_back_is_no_reason_to_go_back(system, store):
    order(store, orders.disable)
    order(store, orders.enable, CHECKOUT)
    store.epoch.ring(store.version - 1)
    assert not system.is_feature_enabled(SEARCH, USER)


def test_without_a_change_nothing_is_loaded_again(system):
    before = system._flags
    system.is_feature_enabled(SEARCH, USER)
    assert system._flags is before


def test_flags_that_did_not_change_are_not_compiled_again(system, store):
    before = system._flags.find(SEARCH)
    order(store, orders.enable, CHECKOUT)
    system.is_feature_enabled(SEARCH, USER)
    assert system._flags.find(SEARCH) is before


# --------------------------------------------------------------------------------------------- stops are obeyed
def stop(store, flag_key=EVERYTHING):
    """Write a stop file and ring, as an emergency does that cannot record."""
    stops.write(store.home, STOP._replace(flag_key=flag_key))
    store.epoch.nudge()


def test_a_stop_file_of_everything_is_obeyed(system, store):
    stop(store)
    evaluation = system.evaluate(SEARCH, USER)
    assert (evaluation.value, evaluation.reason) == (False, Reason.DISABLED)


def test_a_stop_file_of_a_flag_is_obeyed_for_that_flag(system, store):
    order(store, orders.enable, CHECKOUT)
    order(store, orders.set_percentage, CHECKOUT, percentage=100.0, maximum=100.0)
    stop(store, SEARCH)
    assert (system.is_feature_enabled(SEARCH, USER), system.is_feature_enabled(CHECKOUT, USER)) == (False, True)


def test_an_unreadable_stop_file_stops_everything(home, system, store):
    (home / "emergency" / "torn.json").write_text("{")
    store.epoch.nudge()
    assert not system.is_feature_enabled(SEARCH, USER)


def test_the_stop_word_alone_stops_everything(system, store):
    store.epoch.stop()
    assert not system.is_feature_enabled(SEARCH, USER)
    store.epoch.nudge()
    assert system.evaluate(SEARCH, USER).reason == Reason.DISABLED


def test_a_stop_that_was_there_before_the_system_is_obeyed(home, store):
    stop(store)
    late = Phase4System(str(home))
    enabled = late.is_feature_enabled(SEARCH, USER)
    late.close()
    assert not enabled


def test_a_stop_that_is_lifted_unrecorded_is_over_at_the_next_ring(system, store):
    stop(store)
    system.is_feature_enabled(SEARCH, USER)
    stops.lift(store.home, STOP.request_id)
    store.epoch.nudge()
    assert system.is_feature_enabled(SEARCH, USER)


def test_an_emergency_that_is_recorded_stays_in_force_without_its_stop_file(system, store):
    emergency.stop(store.home, STOP, store.now)
    assert not system.is_feature_enabled(SEARCH, USER)


def test_a_flag_that_is_released_is_on_again(system, store):
    emergency.stop(store.home, STOP, store.now)
    system.is_feature_enabled(SEARCH, USER)
    orders.enable(store, SEARCH, actor="ana", request_id="r-1", reason="fixed", releases=True)
    assert system.is_feature_enabled(SEARCH, USER)


# --------------------------------------------------------------------------------------------- stale
@pytest.fixture
def stale(home, system, store):
    """A system whose database has become unreadable."""
    spoil(home, store)
    assert system.evaluate(SEARCH, USER).reason == Reason.STALE
    return system


def test_a_database_that_cannot_be_read_leaves_the_last_answers_in_force(stale):
    evaluation = stale.evaluate(SEARCH, USER)
    assert (evaluation.value, evaluation.variant, evaluation.reason) == (True, "on", Reason.STALE)
    assert stale.is_feature_enabled(SEARCH, USER)


def test_a_stale_system_obeys_stop_files(home, stale, store):
    emergency.stop(str(home), STOP, store.now)
    assert not stale.is_feature_enabled(SEARCH, USER)
    assert stale.evaluate(SEARCH, USER).value is False


def test_a_stale_system_obeys_the_stop_of_one_flag_for_that_flag(home, stale, store):
    emergency.stop(str(home), STOP._replace(flag_key=CHECKOUT), store.now)
    assert stale.is_feature_enabled(SEARCH, USER)


def test_an_error_of_a_stale_system_stays_an_error(stale):
    evaluation = stale.evaluate("none", USER, default="blue")
    assert (evaluation.value, evaluation.reason, evaluation.error_code) == ("blue", "ERROR", ErrorCode.FLAG_NOT_FOUND)


def test_a_stale_system_recovers_by_itself(home, store, system, tmp_path):
    whole = tmp_path / "copy.db"
    store.connection.execute("VACUUM INTO ?", (str(whole),))
    spoil(home, store)
    assert system.evaluate(SEARCH, USER).reason == Reason.STALE
    store.close()
    for name in ["control.db-wal", "control.db-shm"]:
        (home / name).unlink(missing_ok=True)
    whole.replace(home / "control.db")
    assert until(lambda: system.evaluate(SEARCH, USER).reason == Reason.STATIC)


def test_a_locked_database_leaves_the_last_answers_in_force(home, system, store):
    writer = sqlite3.connect(home / "control.db", isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    store.epoch.nudge()
    begin = time.monotonic()
    enabled = system.is_feature_enabled(SEARCH, USER)
    elapsed = time.monotonic() - begin
    writer.close()
    assert enabled
    assert elapsed < 0.5


# --------------------------------------------------------------------------------------------- not ready
@pytest.fixture
def nowhere(home):
    """A system of a home that is not there."""
    made = Phase4System(str(home))
    yield made
    made.close()


def test_without_a_home_everything_is_off(nowhere):
    assert not nowhere.is_feature_enabled(SEARCH, USER)


def test_without_a_home_the_default_is_served_and_the_reason_told(nowhere):
    evaluation = nowhere.evaluate(SEARCH, USER, default="blue")
    assert (evaluation.value, evaluation.variant) == ("blue", None)
    assert (evaluation.reason, evaluation.error_code) == (Reason.ERROR, ErrorCode.PROVIDER_NOT_READY)


def test_an_evaluation_makes_no_home(home, nowhere):
    nowhere.evaluate(SEARCH, USER)
    assert not home.exists()


def test_a_home_that_is_made_later_is_found_without_a_restart(home, nowhere):
    create(home).close()
    assert until(lambda: nowhere.is_feature_enabled(SEARCH, USER))


def test_a_home_whose_database_is_none_is_not_ready(home, store):
    store.close()
    (home / "control.db").write_bytes(b"no database" * 500)
    made = Phase4System(str(home))
    code = made.evaluate(SEARCH, USER).error_code
    made.close()
    assert code == ErrorCode.PROVIDER_NOT_READY


def test_a_home_that_others_can_enter_is_not_ready(home, store):
    home.chmod(0o755)
    made = Phase4System(str(home))
    code = made.evaluate(SEARCH, USER).error_code
    made.close()
    assert code == ErrorCode.PROVIDER_NOT_READY


# --------------------------------------------------------------------------------------------- one for each process
def test_a_process_has_one_system_for_a_home(home, store, shared):
    assert get_phase4_system() is get_phase4_system(str(home))


def test_another_home_has_another_system(home, store, tmp_path, shared):
    assert get_phase4_system() is not get_phase4_system(str(tmp_path / "other"))


def test_the_home_of_the_environment_is_the_one_that_is_asked(store, shared):
    assert get_phase4_system().is_feature_enabled(SEARCH, USER)


FORK = """
import json, os, sys
from phase4.store import orders
from phase4.store.control import ControlStore
from phase4.system import get_phase4_system

def ask(system):
    return system.is_feature_enabled("search", "user-123")

def order(work, request_id):
    store = ControlStore(sys.argv[1], lambda: 0)
    work(store, "search", actor="ana", request_id=request_id, reason=None)
    store.close()

parent = get_phase4_system(sys.argv[1])
answers = {"parent before": ask(parent)}
reader, writer = os.pipe()
process = os.fork()
if not process:
    child = get_phase4_system(sys.argv[1])
    told = {"child is another": child is not parent, "child": ask(child)}
    order(orders.disable, "by the child")
    told["child after its order"] = ask(child)
    os.write(writer, json.dumps(told).encode())
    os._exit(0)
os.waitpid(process, 0)
answers |= json.loads(os.read(reader, 10_000)) | {"parent after the child's order": ask(parent)}
order(orders.enable, "by the parent")
print(json.dumps(answers | {"parent after its own order": ask(parent)}))
"""


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """What a process and its forked child are told about search."""
    home = tmp_path_factory.mktemp("forked") / "home"
    create(home).close()
    printed = subprocess.run([sys.executable, "-c", FORK, home], check=True, cwd=ROOT, capture_output=True, text=True)
    return json.loads(printed.stdout)


@pytest.mark.parametrize(
    ("moment", "answer"),
    [
        ("parent before", True),
        ("child is another", True),
        ("child", True),
        ("child after its order", False),
        ("parent after the child's order", False),
        ("parent after its own order", True),
    ],
)
def test_a_forked_child_has_a_system_of_its_own_and_both_see_every_change(forked, moment, answer):
    assert forked[moment] is answer


# --------------------------------------------------------------------------------------------- asyncio
def test_the_answers_for_asyncio_are_the_same(system):
    async def ask():
        asking = AsyncPhase4System(system)
        return await asking.is_feature_enabled(SEARCH, USER), await asking.evaluate(CHECKOUT, USER)

    assert asyncio.run(ask()) == (True, system.evaluate(CHECKOUT, USER))


# --------------------------------------------------------------------------------------------- threads
def test_threads_that_ask_while_stop_files_and_homes_come_and_go_never_get_an_error(home, system, tmp_path):
    """A thread that loads must not take away what another one is looking at."""
    errors, is_over = [], threading.Event()

    def ask():
        while not is_over.is_set():
            try:
                system.is_feature_enabled(SEARCH, USER)
                system.evaluate(CHECKOUT, USER)
            except BaseException as error:  # noqa: BLE001  whatever it is, it is what the test looks at
                errors.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(15):
        stops.write(str(home), STOP._replace(request_id=f"r{number}", flag_key=CHECKOUT))
        replaced = tmp_path / "epoch"
        replaced.write_bytes((number + 1).to_bytes(8, "little") + bytes(56))
        replaced.replace(home / "epoch")
        system.refresh()
        stops.lift(str(home), f"r{number}")
    is_over.set()
    for thread in threads:
        thread.join()
    assert errors == []
