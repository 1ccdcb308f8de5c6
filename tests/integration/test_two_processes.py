"""Processes that share a home: who is first, who is told, and who sees what."""

import json
import subprocess
import sys
import time

import pytest

from phase4.clock import ManualClock
from phase4.rollout.events import EntryCause, StageEntered
from phase4.store import care, orders, rollouts
from phase4.store.control import ControlStore
from tests.data.homes.make import CHECKOUT, ROOT, SEARCH, START, change, create, document, record, started

GATE = """
import json, sys
from phase4.errors import Phase4Error
from phase4.store import emergency, orders, rollouts, stops
from phase4.store.control import ControlStore
from tests.data.homes import make

home, name = sys.argv[1], sys.argv[2]
store = ControlStore(home, lambda: make.START)

def gate():
    print("ready", flush=True)
    sys.stdin.readline()

def tell(answer):
    print(json.dumps(answer), flush=True)

"""


class Process:
    """A process of a home that waits at a gate, and tells what came of it."""

    def __init__(self, home, name, work, begin=GATE):
        words = [sys.executable, "-c", begin + work, home, name]
        self.process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self):
        return self.process.stdout.readline().strip()

    def say(self, text="go"):
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def end(self):
        """Close the gate for good, and return what was told and not read yet."""
        with self.process:
            self.process.stdin.close()
            lines = self.process.stdout.read().splitlines()
        assert self.process.returncode == 0
        return [json.loads(line) for line in lines]


def race(home, works):
    """Start processes, open the gate for all of them at once, and return what each told."""
    processes = [Process(home, f"p{number}", work) for number, work in enumerate(works)]
    for process in processes:
        assert process.read() == "ready"
    for process in processes:
        process.say()
    return [process.end()[0] for process in processes]


@pytest.fixture
def clock():
    return ManualClock(START)


@pytest.fixture
def store(home, clock):
    made = create(home, clock)
    yield made
    made.close()


# --------------------------------------------------------------------------------------------- one of them is first
ROLL_BACK = """
from tests.unit.store.test_rollouts import roll_back
gate()
tell(roll_back(store, name)["already"])
"""
TICK = """
from phase4.analysis.verdict import Verdict
row = store.plan("checkout.1")
def failing():
    return make.controller(store, row, make.Eye(Verdict.FAIL))
watching = failing()
gate()
try:
    event = watching.tick()
except Phase4Error as error:
    assert error.code == "JOURNAL_CONFLICT"
    event = failing().tick()
tell(event is None)
"""


def test_operators_and_collectors_that_race_roll_a_plan_back_once(home, store):
    started(store)
    answers = race(home, [ROLL_BACK, TICK, ROLL_BACK, TICK])
    events = [event.kind for event in rollouts.events_of(store, "checkout.1")]
    assert sorted(answers) == [False, True, True, True]
    assert (events, [alert.times for alert in store.alerts("critical")]) == (["stage_entered", "rolled_back"], [1])
    assert (store.flag(CHECKOUT).held, store.row("SELECT count(*) FROM outbox")) == ("rollback", (1,))


PROMOTE = """
row = store.plan("checkout.1")
store.now = lambda: make.START + 12 * 3_600_000
watching = make.controller(store, row)
gate()
try:
    tell(watching.tick().kind)
except Phase4Error as error:
    tell(error.code)
"""


def test_of_two_collectors_one_enters_the_next_stage_and_the_other_is_told(home, store):
    started(store)
    answers = race(home, [PROMOTE, PROMOTE])
    assert sorted(answers) == ["JOURNAL_CONFLICT", "stage_entered"]
    assert (store.flag(CHECKOUT).percentage, store.flag(CHECKOUT).entry) == (10.0, 2)


SAME_ORDER = """
gate()
reply = orders.disable(store, "search", actor="ana", request_id="the one order", reason=None)
tell([reply.is_repeated, reply.data])
"""


def test_one_order_that_many_processes_give_is_done_once(home, store):
    answers = race(home, [SAME_ORDER] * 4)
    assert sorted(is_repeated for is_repeated, _ in answers) == [False, True, True, True]
    assert all(data == answers[0][1] for _, data in answers)
    assert store.flag(SEARCH).version == 2


CREATE_PLAN = """
gate()
try:
    make.add_plan(store, make.plan(number=int(name[1:])))
    tell("kept")
except Phase4Error as error:
    tell("refused")
"""


def test_of_plans_that_are_made_at_once_one_is_live(home, store):
    answers = race(home, [CREATE_PLAN] * 3)
    assert sorted(answers) == ["kept", "refused", "refused"]
    assert [row.ended_ms for row in store.plans()] == [None]


RAISE = """
gate()
for _ in range(20):
    make.change(store, lambda making: making.alert("coverage", "high", "low", rule="target"))
tell("done")
"""


def test_a_rule_that_holds_in_many_processes_is_one_alert_that_counts_all(home, store):
    race(home, [RAISE] * 4)
    assert [alert.times for alert in store.alerts()] == [80]
    assert store.row("SELECT count(*) FROM outbox") == (1,)


# --------------------------------------------------------------------------------------------- none is lost
TOGGLE = """
key = f"flag-{name}"
gate()
for number in range(40):
    order = orders.disable if number % 2 == 0 else orders.enable
    order(store, key, actor=name, request_id=f"{name}-{number}", reason=None)
tell(store.flag(key).version)
"""


def test_the_orders_of_many_writers_are_all_there(home, store):
    def add(making):
        for number in range(4):
            making.add_flag(f"flag-p{number}", document=document(f"flag-p{number}"), enabled=True, percentage=100.0)

    change(store, add)
    version, rows = store.version, len(store.audit())
    assert race(home, [TOGGLE] * 4) == [41] * 4
    assert (store.version, len(store.audit())) == (version + 160, rows + 160)
    change(store, lambda making: making.set_flag(store.flag(SEARCH), "touched", None))
    assert care.findings(store) == []


READ = """
store.connection.execute("BEGIN")
before = store.flag("search").version
print("ready", flush=True)
sys.stdin.readline()
tell([before, store.flag("search").version])
"""


def test_a_long_reader_delays_no_writer_and_sees_one_moment(home, store):
    reader = Process(home, "reader", READ)
    assert reader.read() == "ready"
    begin = time.monotonic()
    orders.disable(store, SEARCH, actor="ana", request_id="r-1", reason=None)
    elapsed = time.monotonic() - begin
    reader.say()
    assert reader.end() == [[1, 1]]
    assert elapsed < 2.0


# --------------------------------------------------------------------------------------------- everybody sees it
ANSWER = """
from phase4.system import Phase4System
system = Phase4System(home)
print("ready", flush=True)
for _line in sys.stdin:
    print(json.dumps(system.is_feature_enabled("search", "user-123")), flush=True)
system.close()
"""


@pytest.fixture
def evaluator(home, store):
    process = Process(home, "evaluator", ANSWER)
    assert process.read() == "ready"
    yield process
    process.end()


def asked(evaluator):
    evaluator.say("?")
    return json.loads(evaluator.read())


def test_an_evaluator_sees_every_change_of_another_process_at_its_next_evaluation(store, evaluator):
    answers = [asked(evaluator)]
    for number in range(10):
        order = orders.disable if number % 2 == 0 else orders.enable
        order(store, SEARCH, actor="ana", request_id=f"r-{number}", reason=None)
        answers.append(asked(evaluator))
    assert answers == [True] + [False, True] * 5


def test_an_evaluator_sees_a_stage_that_a_collector_enters(home, store):
    row = started(store)
    process = Process(home, "evaluator", ANSWER.replace("search", "checkout"))
    assert process.read() == "ready"
    before = asked(process)
    record(store, row, StageEntered(at_ms=START, stage=1, entry=2, percentage=100.0, cause=EntryCause.PROMOTED))
    after = asked(process)
    process.end()
    assert (before, after) == (False, True)


def test_an_order_that_a_process_gives_survives_it(home, store):
    race(home, [SAME_ORDER])
    store.close()
    again = ControlStore(str(home), lambda: START)
    enabled = again.flag(SEARCH).enabled
    again.close()
    assert not enabled
