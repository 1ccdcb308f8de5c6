"""The emergency switch while everything around it is broken: off at once, and recorded once when that can be done."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from phase4.clock import ManualClock
from phase4.errors import UsageError
from phase4.rollout.events import Paused, PauseReason
from phase4.store import backup as backups
from phase4.store import care, emergency, orders, rollouts, stops
from phase4.store import home as homes
from phase4.store.control import ControlStore
from phase4.store.stops import EVERYTHING, Stop
from tests.data.homes.make import (
    CHECKOUT,
    ROOT,
    SEARCH,
    START,
    add_plan,
    change,
    create,
    document,
    plan,
    record,
    started,
)
from tests.integration.test_two_processes import ANSWER, Process, asked

PROGRAM = Path(sys.executable).with_name("phase4")
SECONDS = 60


def without_overrides():
    """Return what a command line begins with so that file modes count for root too."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root can write to every file, and setpriv is not there to change that")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


def control_files(home):
    return sorted(home.glob("control.db*"))


class Harm:
    """Something that happened to the database, with the way to mend it."""

    prefix = ()

    def __init__(self, home, backup):
        self.home, self.backup = home, backup
        self.happen()

    def repair(self):
        for path in control_files(self.home):
            path.unlink()
        shutil.copyfile(self.backup / "control.db", self.home / "control.db")
        (self.home / "control.db").chmod(0o600)


class Locked(Harm):
    problem = "control.db is locked by another process"

    def happen(self):
        self.holder = sqlite3.connect(self.home / "control.db", isolation_level=None)
        self.holder.execute("BEGIN EXCLUSIVE")

    def repair(self):
        self.holder.close()


class ReadOnly(Harm):
    problem = "control.db cannot be written: it is read-only"

    def happen(self):
        self.prefix = without_overrides()
        for path in control_files(self.home):
            path.chmod(0o400)

    def repair(self):
        for path in control_files(self.home):
            path.chmod(0o600)


class Overwritten(Harm):
    problem = "control.db is damaged: file is not a database"

    def happen(self):
        for path in [self.home / "control.db", self.home / "control.db-wal"]:
            if path.exists():
                with path.open("r+b") as file:
                    file.write(b"\xaa" * path.stat().st_size)


class Replaced(Harm):
    problem = "control.db is damaged: file is not a database"

    def happen(self):
        for path in control_files(self.home):
            path.unlink()
        (self.home / "control.db").write_bytes(b"no database" * 1_000)


class Deleted(Harm):
    problem = "is not initialised"

    def happen(self):
        for path in control_files(self.home):
            path.unlink()


HARMS = [Locked, ReadOnly, Overwritten, Replaced, Deleted]
STOP = """
import json, sys
from phase4.store import emergency
from phase4.store.stops import Stop

order = Stop("fire-1", sys.argv[2], "fire", "ana", 1_385_164_800_000, rolls_back=False)
print(json.dumps(emergency.stop(sys.argv[1], order, lambda: order.at_ms)._asdict()))
"""


def stop(home, flag_key=EVERYTHING, prefix=()):
    """Give an emergency order in a process of its own; return what it came to."""
    words = [*prefix, sys.executable, "-c", STOP, home, flag_key]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True, timeout=SECONDS)
    return json.loads(done.stdout)


def evaluator_of(home):
    """Start a process that only asks."""
    process = Process(home, "evaluator", ANSWER, begin="import json, sys\nhome = sys.argv[1]\n")
    assert process.read() == "ready"
    return process


def recorded(home, *, goes_on=False):
    """Return how often the emergency is recorded, and what is left to be recorded.

    Where it `goes_on`, one more change rings: of writers that end together, any may be the last to ring.
    """
    store = ControlStore(str(home), lambda: START)
    emergency.record_pending(store)
    if goes_on:
        change(store, lambda making: making.set_flag(store.flag(SEARCH), "touched", None))
    actions = [json.loads(leaf)["action"] for _, leaf, _ in store.audit()]
    found = {
        "alerts": [alert.times for alert in store.alerts("critical")],
        "leaves": actions.count("emergency"),
        "held": [flag.held for flag in store.flags()],
        "pending": len(stops.pending(str(home))),
        "stop word": store.epoch.is_stopped,
        "findings": care.findings(store),
    }
    store.close()
    return found


@pytest.fixture(scope="module", params=HARMS, ids=lambda harm: harm.__name__.lower())
def fire(request, tmp_path_factory):
    """An emergency under a harm: what evaluators answered, what it came to, and what was recorded after the repair."""
    home = tmp_path_factory.mktemp("fire") / "home"
    store = create(home, ManualClock(START))
    backups.make(store, str(home.parent / "backup"))
    evaluator = evaluator_of(home)
    store.close()
    before = asked(evaluator)
    harm = request.param(home, home.parent / "backup")
    told = {"before": before, "under the harm": asked(evaluator), "problem": harm.problem}
    told["done"] = stop(home, prefix=harm.prefix)
    told["after"] = asked(evaluator)
    late = evaluator_of(home)
    told["after, by one that came late"] = asked(late)
    told["pending"] = [left.request_id for left in stops.pending(str(home))]
    evaluator.end()
    late.end()
    harm.repair()
    told["recorded"] = recorded(home)
    told["recorded again"] = recorded(home)
    return told


def test_under_a_harm_evaluators_answer_as_before(fire):
    assert (fire["before"], fire["under the harm"]) == (True, True)


def test_evaluators_obey_at_their_next_evaluation(fire):
    assert fire["after"] is False


def test_an_evaluator_that_starts_later_obeys_too(fire):
    assert fire["after, by one that came late"] is False


def test_an_order_that_cannot_be_recorded_says_why(fire):
    assert (fire["done"]["is_recorded"], fire["done"]["flags"]) == (False, [])
    assert fire["problem"] in fire["done"]["problem"]


def test_an_order_that_cannot_be_recorded_leaves_its_stop_file(fire):
    assert fire["pending"] == ["fire-1"]


def test_after_the_repair_the_order_is_recorded_once(fire):
    assert fire["recorded"] == {
        "alerts": [1],
        "leaves": 2,
        "held": ["emergency", "emergency"],
        "pending": 0,
        "stop word": False,
        "findings": [],
    }


def test_once_it_is_recorded_the_order_is_not_recorded_again(fire):
    assert fire["recorded again"] == fire["recorded"]


# --------------------------------------------------------------------------------------------- nothing is broken
@pytest.fixture
def store(home):
    made = create(home, ManualClock(START))
    yield made
    made.close()


@pytest.fixture
def evaluator(home, store):
    process = evaluator_of(home)
    yield process
    process.end()


def test_an_order_that_is_recorded_at_once_is_obeyed_at_the_next_evaluation(home, evaluator):
    before = asked(evaluator)
    done = stop(home)
    assert (before, done["is_recorded"], asked(evaluator)) == (True, True, False)


def test_the_stop_of_one_flag_is_obeyed_for_that_flag_alone(home, evaluator):
    stop(home, CHECKOUT)
    assert asked(evaluator) is True


def test_an_unreadable_stop_file_is_obeyed_by_evaluators_of_other_processes(home, store, evaluator):
    (home / homes.STOPS / "torn.json").write_bytes(b'{"flag_key": "chec')
    store.epoch.nudge()
    assert asked(evaluator) is False


def test_a_flag_that_is_released_is_on_again_in_other_processes(home, store, evaluator):
    stop(home)
    before = asked(evaluator)
    orders.enable(store, SEARCH, actor="ana", request_id="r-1", reason="fixed", releases=True)
    assert (before, asked(evaluator)) == (False, True)


# --------------------------------------------------------------------------------------------- a storm of writers
HAMMER = """
import itertools, time
from phase4.errors import FlagHeld
gate()
done, end = 0, time.monotonic() + 3
for number in itertools.count():
    order = orders.enable if done % 2 == 0 else orders.disable
    try:
        order(store, f"flag-{name}", actor=name, request_id=f"{name}-{number}", reason=None)
        done += 1
    except FlagHeld:
        break
    except Phase4Error:
        pass  # others held the database too long
    if number == 0:
        print("hammers", flush=True)
    if time.monotonic() > end:
        break
tell(done)
"""


@pytest.fixture(scope="module")
def storm(tmp_path_factory):
    """An emergency while eight writers toggle a flag each as fast as they can: what was answered, and what recorded."""
    home = tmp_path_factory.mktemp("storm") / "home"
    store = create(home, ManualClock(START))

    def add(making):
        for key in (f"flag-w{number}" for number in range(8)):
            making.add_flag(key, document=document(key), enabled=False, percentage=100.0)

    change(store, add)
    store.close()
    evaluator, writers = evaluator_of(home), [Process(home, f"w{number}", HAMMER) for number in range(8)]
    for writer in writers:
        assert writer.read() == "ready"
    for writer in writers:
        writer.say()
    for writer in writers:
        assert writer.read() == "hammers"
    told = {"before": asked(evaluator)}
    stop(home)
    told["after"] = asked(evaluator)
    evaluator.end()
    told["commits"] = sum(writer.end()[0] for writer in writers)
    told["recorded"] = recorded(home, goes_on=True)
    return told


def test_in_a_storm_of_writers_evaluators_obey_at_their_next_evaluation(storm):
    assert (storm["before"], storm["after"]) == (True, False)


def test_after_a_storm_of_writers_the_emergency_is_recorded_once(storm):
    found = storm["recorded"]
    assert (found["alerts"], found["leaves"], found["pending"], found["findings"]) == ([1], 10, 0, [])
    assert found["held"] == ["emergency"] * 10


# --------------------------------------------------------------------------------------------- a full disk
FULL = """
import json, os, sys
from phase4.clock import ManualClock
from phase4.errors import Phase4Error
from phase4.store import care, emergency, home as homes, orders, stops
from phase4.store.stops import EVERYTHING, Stop
from phase4.system import Phase4System
from tests.data.homes.make import START, create

home = sys.argv[1]
homes.create(home)
store = create(home, ManualClock(START))
system = Phase4System(home)
filler = os.open(os.path.join(home, "filler"), os.O_CREAT | os.O_WRONLY, 0o600)
for size in [65_536, 4_096, 1]:
    try:
        while True:
            os.write(filler, bytes(size))
    except OSError as error:
        told = {"errno": error.errno}
os.close(filler)
told["before"] = [system.is_feature_enabled("search", "u"), os.path.getsize(os.path.join(home, homes.RESERVE))]
try:
    for number in range(200):
        order = orders.disable if number % 2 else orders.enable
        order(store, "checkout", actor="ana", request_id=f"r-{number}", reason=None)
except Phase4Error as error:
    told["toggle"] = [type(error).__name__, str(error).rsplit(": ", 1)[1]]
told["findings on the full disk"] = care.findings(store)
done = emergency.stop(home, Stop("fire-1", EVERYTHING, "fire", "ana", START, rolls_back=False), lambda: START)
told["after"] = [system.is_feature_enabled("search", "u"), os.path.exists(os.path.join(home, homes.RESERVE))]
told["recorded"] = [done.is_recorded, len(stops.pending(home)), [flag.held for flag in store.flags()]]
told["findings"] = care.findings(store)
print(json.dumps(told))
"""
MOUNT = 'mount -t tmpfs -o size=12m,mode=700 tmpfs "$0" && exec "$1" -c "$2" "$0"'


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """What happened on a disk of 12 MiB that was full."""
    mine = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*mine, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk of their own")
    words = [*mine, "sh", "-c", MOUNT, tmp_path_factory.mktemp("disk"), sys.executable, FULL]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_on_a_full_disk_flags_are_answered(full_disk):
    assert full_disk["before"] == [True, 8 * 2**20]


def test_on_a_full_disk_a_toggle_is_refused_and_nothing_is_half_done(full_disk):
    assert full_disk["toggle"] == ["WriteFailed", "the disk is full"]
    assert full_disk["findings on the full disk"] == []


def test_on_a_full_disk_an_emergency_frees_the_reserve_and_is_obeyed(full_disk):
    assert full_disk["after"] == [False, False]


def test_on_a_full_disk_an_emergency_is_recorded_in_the_room_of_the_reserve(full_disk):
    assert full_disk["recorded"] == [True, 0, ["emergency", "emergency"]]
    assert full_disk["findings"] == []


# --------------------------------------------------------------------------------------------- a journal is damaged
FIRE = Stop("fire-1", EVERYTHING, "fire", "ana", START, rolls_back=False)
LUNCH = Paused(at_ms=START, reason=PauseReason.OPERATOR, note="lunch")
GAP = "DELETE FROM journal WHERE plan_id = 'checkout.1' AND plan_seq = {}"
BODY = "UPDATE journal SET body = '{}' WHERE plan_id = 'checkout.1' AND plan_seq = 2"
NO_TEXT = "UPDATE journal SET body = CAST(x'7bff' AS TEXT) WHERE plan_id = 'checkout.1' AND plan_seq = 2"
UNREADABLE = {
    "first event gone": GAP.format(1),
    "event in the middle gone": GAP.format(2),
    "no JSON": BODY.format("{"),
    "a list": BODY.format("[]"),
    "a number": BODY.format("5"),
    "another kind": BODY.format('{"schema":1,"kind":["x"]}'),
    "too deep": BODY.format("[" * 50_000),
    "no text": NO_TEXT,
    "other types": BODY.format('{"schema":1,"kind":"resumed","at_ms":"x","granted_ms":[]}'),
}
each_order = pytest.mark.parametrize("order", [FIRE, FIRE._replace(rolls_back=True)], ids=["disable", "rollback"])


@pytest.fixture(params=UNREADABLE.values(), ids=UNREADABLE)
def unreadable(request, store):
    """A home with a live plan whose journal cannot be read, beside one that can."""
    row = started(store)
    record(store, row, LUNCH)
    record(store, row, LUNCH)
    started(store, plan(SEARCH))
    assert store.connection.execute(request.param).rowcount == 1
    return store


def leaves(store):
    return [json.loads(leaf) for _, leaf, _ in store.audit()]


@each_order
def test_a_flag_whose_journal_cannot_be_read_is_off_and_held_like_the_others(unreadable, order):
    done = emergency.stop(unreadable.home, order, unreadable.now)
    assert (done.is_recorded, done.flags, done.plans) == (True, [CHECKOUT, SEARCH], ["search.1"])
    assert done.unread == ("checkout.1",)
    assert {(flag.enabled, flag.held, flag.held_reason) for flag in unreadable.flags()} == {
        (False, "emergency", "fire")
    }


@each_order
def test_the_order_about_a_journal_that_cannot_be_read_is_lifted(unreadable, order):
    emergency.stop(unreadable.home, order, unreadable.now)
    assert (stops.pending(unreadable.home), unreadable.epoch.is_stopped) == ([], False)


@each_order
def test_a_journal_that_cannot_be_read_is_not_added_to(unreadable, order):
    before = unreadable.rows("SELECT count(*) FROM journal WHERE plan_id = 'checkout.1'")
    emergency.stop(unreadable.home, order, unreadable.now)
    assert unreadable.rows("SELECT count(*) FROM journal WHERE plan_id = 'checkout.1'") == before


@each_order
def test_leaf_and_alert_say_that_the_journal_cannot_be_read(unreadable, order):
    emergency.stop(unreadable.home, order, unreadable.now)
    text = "fire (the journal of checkout.1 cannot be read)"
    assert [leaf["reason"] for leaf in leaves(unreadable) if leaf["object"] == CHECKOUT][-1] == text
    assert f"emergency: {text}" in [alert.message for alert in unreadable.alerts("critical")]


def test_a_stop_that_was_left_over_for_such_a_flag_is_recorded_by_the_next_command(unreadable, home):
    stops.write(str(home), FIRE)
    assert phase4(home, "flags", "list").returncode == 0
    assert (unreadable.flag(CHECKOUT).held, stops.pending(str(home))) == ("emergency", [])


def test_a_rollback_sets_the_percentage_to_0_without_a_journal(unreadable):
    emergency.stop(unreadable.home, FIRE._replace(rolls_back=True), unreadable.now)
    assert {flag.percentage for flag in unreadable.flags()} == {0.0}


def test_the_command_line_says_that_the_journal_cannot_be_read(unreadable, home):
    done = phase4(home, "emergency", "disable", "fire", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["data"]["recorded"], answer["data"]["plans"]) == (0, True, ["search.1"])
    (warning,) = answer["warnings"]
    assert warning.startswith("checkout.1: its journal cannot be read")


def test_a_dry_run_names_a_plan_whose_journal_cannot_be_read(unreadable, home):
    told = foretold(home, "disable", "fire")
    assert (told["data"]["flags"], told["data"]["plans"]) == ([CHECKOUT, SEARCH], ["search.1"])
    assert told["warnings"][0].startswith("checkout.1: its journal cannot be read")


def test_an_order_that_a_damaged_audit_log_cannot_take_is_obeyed_and_keeps_no_command(home, store):
    store.connection.execute("UPDATE audit_tree SET peaks = x''")
    done = phase4(home, "emergency", "disable", "fire")
    assert (done.returncode, [stop.reason for stop in stops.pending(str(home))]) == (0, ["fire"])
    assert "recording pending: " in done.stderr
    assert phase4(home, "flags", "list").returncode == 0


# --------------------------------------------------------------------------------------------- on record all the same
def test_an_emergency_in_a_home_without_flags_is_a_leaf_and_a_version(home):
    bare = ControlStore.create(str(home), lambda: START)
    done, found = emergency.stop(str(home), FIRE, bare.now), leaves(bare)
    version, pending = bare.version, stops.pending(str(home))
    bare.close()
    assert (done.is_recorded, version, pending) == (True, 1, [])
    assert [(leaf["action"], leaf["object"], leaf["reason"], leaf["request_id"]) for leaf in found] == [
        ("emergency", "*", "fire", "fire-1")
    ]


def test_an_emergency_of_a_flag_that_is_not_there_is_a_leaf(store):
    emergency.stop(store.home, FIRE._replace(flag_key="serach"), store.now)
    assert (leaves(store)[-1]["action"], leaves(store)[-1]["object"]) == ("emergency", "serach")


def test_an_order_whose_name_is_a_path_does_nothing(home, store):
    before = store.version
    with pytest.raises(UsageError):
        emergency.stop(str(home), FIRE._replace(request_id="../x"), store.now)
    assert (store.version, store.flag(SEARCH).enabled, (home / "x.json").exists()) == (before, True, False)


# --------------------------------------------------------------------------------------------- on the command line
def phase4(home, *words):
    environment = {**os.environ, "PHASE4_HOME": str(home)}
    return subprocess.run(
        [PROGRAM, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )


def locked(home):
    holder = sqlite3.connect(home / "control.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    return holder


def test_an_emergency_that_cannot_be_recorded_succeeds_with_a_warning(home, store):
    holder = locked(home)
    done = phase4(home, "emergency", "disable", "fire", "--json")
    holder.close()
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], answer["data"]["recorded"]) == (0, True, False)
    assert "switched off; recording pending" in answer["warnings"][0]


def test_an_emergency_works_where_the_database_is_deleted(home, store, evaluator):
    store.close()
    for path in control_files(home):
        path.unlink()
    done = phase4(home, "emergency", "disable", "fire")
    assert (done.returncode, asked(evaluator)) == (0, False)
    assert "recording pending" in done.stderr


@pytest.mark.parametrize("flag_key", [SEARCH, "serach"])
def test_a_rollback_whose_flag_could_not_be_looked_up_keeps_no_other_command(home, store, flag_key, tmp_path):
    backups.make(store, str(tmp_path / "backup"))
    store.close()
    (home / "control.db").write_bytes(b"no database" * 500)
    first = phase4(home, "emergency", "rollback", flag_key, "fire")
    Deleted(home, tmp_path / "backup").repair()
    second = phase4(home, "flags", "list")
    assert (first.returncode, second.returncode, stops.pending(str(home))) == (0, 0, [])


def test_the_next_command_records_an_emergency_that_was_left_over(home, store):
    row = started(store)
    stops.write(str(home), Stop("fire-1", EVERYTHING, "fire", "ana", START, rolls_back=True))
    done = phase4(home, "flags", "list", "--json")
    held = [flag["held"] for flag in json.loads(done.stdout)["data"]["flags"]]
    assert (done.returncode, held, store.plan(row.plan_id).ended_ms is None) == (0, ["emergency"] * 2, False)
    assert [alert.times for alert in store.alerts("critical")] == [1]


def test_an_emergency_needs_a_reason(home, store):
    done = phase4(home, "emergency", "disable", " ")
    assert (done.returncode, stops.pending(str(home)), store.flag(SEARCH).enabled) == (2, [], True)


def test_a_dry_run_of_an_emergency_stops_nothing(home, store):
    done = phase4(home, "emergency", "disable", "fire", "--dry-run")
    assert (done.returncode, stops.pending(str(home)), store.flag(SEARCH).enabled) == (0, [], True)


def test_the_rollback_of_an_unknown_flag_is_refused(home, store):
    done = phase4(home, "emergency", "rollback", "serach", "fire")
    assert (done.returncode, stops.pending(str(home))) == (5, [])


def test_the_rollback_of_one_flag_leaves_the_others(home, store):
    done = phase4(home, "emergency", "rollback", SEARCH, "fire")
    flag = store.flag(SEARCH)
    assert (done.returncode, flag.enabled, flag.percentage, flag.held) == (0, False, 0.0, "emergency")
    assert store.flag(CHECKOUT).held is None


# --------------------------------------------------------------------------------------------- a dry run
def foretold(home, *words):
    return json.loads(phase4(home, "emergency", *words, "--dry-run", "--json").stdout)


def test_a_dry_run_says_which_flags_are_on_and_which_plans_would_be_paused(home, store):
    started(store)
    add_plan(store, plan(SEARCH))
    told = foretold(home, "disable", "fire")
    assert told["data"] == {"flags": [CHECKOUT, SEARCH], "plans": ["checkout.1"], "dry_run": True}
    assert phase4(home, "emergency", "disable", "fire", "--dry-run").stdout.splitlines() == [
        "every flag would be switched off and held",
        "  checkout is on",
        "  search is on",
        "  checkout.1 would be paused",
        "dry run: nothing was changed",
    ]


def test_a_dry_run_says_which_plans_would_be_rolled_back(home, store):
    started(store)
    add_plan(store, plan(SEARCH))
    assert foretold(home, "disable", "fire", "--rollback")["data"]["plans"] == ["checkout.1", "search.1"]
    told = phase4(home, "emergency", "rollback", CHECKOUT, "fire", "--dry-run").stdout.splitlines()
    assert told[:3] == [
        "checkout would be switched off and held",
        "  checkout is on",
        "  checkout.1 would be rolled back",
    ]


def test_a_dry_run_says_that_a_flag_is_off_already(home, store):
    told = phase4(home, "emergency", "rollback", CHECKOUT, "fire", "--dry-run").stdout
    assert "  none of them is on\n" in told
    assert foretold(home, "rollback", CHECKOUT, "fire")["data"]["flags"] == []


def test_a_dry_run_says_the_same_as_what_is_done(home, store):
    started(store)
    add_plan(store, plan(SEARCH))
    told = foretold(home, "disable", "fire", "--rollback")["data"]
    assert emergency.stop(str(home), FIRE._replace(rolls_back=True), store.now).plans == told["plans"]


def test_a_dry_run_changes_nothing(home, store):
    row = started(store)
    before = store.version, stops.pending(str(home)), rollouts.state_of(store, row.plan_id)
    foretold(home, "disable", "fire")
    assert (store.version, stops.pending(str(home)), rollouts.state_of(store, row.plan_id)) == before


@pytest.mark.parametrize("words", [("disable", "fire"), ("rollback", SEARCH, "fire")])
def test_a_dry_run_checks_the_name_of_the_order(home, store, words):
    done = phase4(home, "emergency", *words, "--dry-run", "--request-id", "../x")
    assert (done.returncode, done.stdout) == (2, "")
    assert "a request id has 1 to 64 letters" in done.stderr


def test_a_dry_run_on_a_damaged_database_says_that_it_cannot_say(home, store):
    store.close()
    (home / "control.db").write_bytes(b"no database" * 500)
    told = foretold(home, "disable", "fire")
    assert told["data"] == {"flags": None, "plans": None, "dry_run": True}
    assert told["warnings"][0].startswith("which flags are on and which plans are live cannot be said: ")
