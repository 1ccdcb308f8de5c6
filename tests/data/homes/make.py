"""Homes for tests, made through the public API under a clock that stands.

`python -m tests.data.homes.make` makes the committed home of the present schema anew. The homes of earlier schemas are
what earlier versions left behind: they stay as they are.
"""

import itertools
import os
import shutil
import tempfile
from pathlib import Path

from phase4.analysis.verdict import Reason, Verdict
from phase4.clock import ManualClock
from phase4.durations import HOUR_MS
from phase4.flags.definition import FlagDefinition, FlagType, Rollout
from phase4.rollout import commands
from phase4.rollout.controller import RolloutController
from phase4.rollout.decide import StageObservation
from phase4.rollout.guardrail_table import default_guardrails
from phase4.rollout.plan import RolloutPlan, Stage
from phase4.store import orders, rollouts
from phase4.store.control import SCHEMA, ControlStore
from phase4.store.home import RESERVE

START = 1_385_164_800_000
CHECKOUT, SEARCH = "checkout", "search"
FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
_NUMBERS = itertools.count()


def new_request_id():
    """Return an id that no other order has; those of the committed homes are the same each time."""
    return f"{next(_NUMBERS)}" if __name__ == "__main__" else f"{os.getpid()}-{next(_NUMBERS)}"


def document(flag_key, percentage=100.0):
    """Return the document of a boolean flag."""
    return FlagDefinition(
        key=flag_key,
        type=FlagType.BOOLEAN,
        enabled=True,
        variants={"on": True, "off": False},
        off_variant="off",
        default_variant="off",
        salt=flag_key,
        rollout=Rollout(percentage=percentage, serve="on"),
    ).to_json()


def create(home, clock=None, *, search=100.0):
    """Make a home with two flags, and return its open store: checkout is off at 0 %, search on at `search` %.

    Its reserve for a full disk is empty: the tests make some hundred homes.
    """
    Path(home).mkdir(mode=0o700, parents=True, exist_ok=True)
    (Path(home) / RESERVE).touch(mode=0o600)
    store = ControlStore.create(str(home), (clock or ManualClock(START)).now)
    change(store, lambda making: add_flags(making, search), request_id="init")
    return store


def add_flags(making, search):
    making.add_flag(CHECKOUT, document=document(CHECKOUT, 0.0), enabled=False, percentage=0.0)
    making.add_flag(SEARCH, document=document(SEARCH, search), enabled=True, percentage=search)


def change(store, work, *, request_id=None, actor="ana", command="test"):
    """Do some work in one transaction; without a request id, under a new one."""

    def done(making):
        work(making)
        return {}

    name = request_id or new_request_id()
    return store.execute(command, {"request": name}, done, actor=actor, request_id=name)


def plan(flag_key=CHECKOUT, number=1, *, first_entry=1, approvals_required=1, auto=True):
    """Return 5 %, 10 %, then 25 % after an approval; each stage takes 12 hours and at most 4 days."""
    stages = [(5.0, False), (10.0, False), (25.0, True)]
    return RolloutPlan(
        plan_id=f"{flag_key}.{number}",
        flag_key=flag_key,
        stages=tuple(
            Stage(
                name=f"{percentage:g} %",
                percentage=percentage,
                active_min=12 * HOUR_MS,
                bake=12 * HOUR_MS,
                max_duration=96 * HOUR_MS,
                approval=approval,
            )
            for percentage, approval in stages
        ),
        guardrails=default_guardrails([percentage for percentage, _ in stages]),
        auto=auto,
        approvals_required=approvals_required,
        first_entry=first_entry,
    )


def add_plan(store, wanted=None):
    """Keep a pending plan, and return its row."""
    wanted = wanted or plan()
    flag = store.flag(wanted.flag_key)
    row = rollouts.row_of(wanted, flag, created_ms=store.now(), created_by="ana")
    change(store, lambda making: making.add_plan(row))
    return row


def record(store, row, event, **more):
    """Record an event as the next one of a plan."""

    def work(making):
        seq = rollouts.state_of(store, row.plan_id).seq + 1
        rollouts.record(making, row, seq, event, **more)

    return change(store, work)


def start(store, row):
    """Enter the first stage of a plan."""
    return record(store, row, commands.start(rollouts.plan_of(row), rollouts.state_of(store, row.plan_id), store.now()))


def started(store, wanted=None):
    """Keep a plan, start it, and return its row."""
    row = add_plan(store, wanted)
    start(store, row)
    return row


class Eye:
    """An observer that sees what it is told, of the entry in force."""

    def __init__(self, verdict=Verdict.PASS, active_ms=12 * HOUR_MS):
        self.verdict, self.active_ms = verdict, active_ms

    def observe(self, state):
        if self.verdict is None:
            return None
        is_pass = self.verdict is Verdict.PASS
        return StageObservation(
            entry=state.entry,
            tick=7,
            verdict=self.verdict,
            guardrail=None if is_pass else "error_rate",
            reason=None if is_pass else Reason.EVIDENCE,
            active_ms=self.active_ms,
        )


class Clock:
    """The clock of a store."""

    def __init__(self, store):
        self.now = store.now


def controller(store, row, eye=None):
    """Return the controller of a plan in a store."""
    return RolloutController(
        plan=rollouts.plan_of(row),
        clock=Clock(store),
        observer=eye or Eye(),
        journal=rollouts.ControlJournal(store, row, actor="controller", new_request_id=new_request_id),
        switch=rollouts.ControlSwitch(),
    )


def dump(store):
    """Return everything that is in the control database, as text."""
    return "\n".join(store.connection.iterdump())


def but_for_replies(dumped):
    """Return a dump without the replies: one is kept for every request id, also where nothing was to do."""
    return "\n".join(line for line in dumped.splitlines() if not line.startswith('INSERT INTO "command"'))


def make(folder):
    """Make the home of the present schema: one plan in its second stage after a pause, one pending, and an alert."""
    clock = ManualClock(START)
    work = Path(tempfile.mkdtemp())
    store = create(work, clock)
    try:
        row = started(store)
        clock.advance(HOUR_MS)
        orders.disable(store, CHECKOUT, actor="ana", request_id="d", reason="a look at the logs")
        clock.advance(HOUR_MS)
        orders.enable(store, CHECKOUT, actor="ben", request_id="e", reason="fine")
        clock.advance(12 * HOUR_MS)
        controller(store, row).tick()
        add_plan(store, plan(SEARCH))
        change(store, lambda making: making.alert("coverage", "medium", "98.2 %", rule="target"))
    finally:
        store.close()
    assert not (work / "control.db-wal").exists()  # the last one to close has brought everything into the one file
    folder.mkdir(exist_ok=True)
    shutil.copyfile(work / "control.db", folder / "control.db")
    shutil.rmtree(work)


if __name__ == "__main__":
    make(FOLDER / f"schema{SCHEMA}")
