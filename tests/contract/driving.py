"""A home driven inside this process, on a clock that is moved by hand: whole rollouts in milliseconds."""

import io
import os
import shlex
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

from phase4.analysis.verdict import Reason, Verdict
from phase4.cli import order
from phase4.cli.main import main
from phase4.clock import ManualClock
from phase4.durations import DAY_MS, HOUR_MS
from phase4.ids import new_id
from phase4.rollout.controller import RolloutController
from phase4.rollout.decide import StageObservation
from phase4.store import rollouts
from phase4.store.control import ControlStore
from tests.contract.program import Answer

COLLECTOR = "host-1"
FLAGS = ("truth-based-validation", "byzantine-consensus", "hook-interception")
START_MS = 1_790_000_000_000
"""2026-09-21T14:13:20Z."""
STAGES_MS = (2 * DAY_MS, 7 * DAY_MS, 7 * DAY_MS)
"""Planned time of each stage of the guide's plan."""

CLOSING = """\
📊 Phase 4 System Status

🏥 Health: HEALTHY

🏁 Feature Flags (3):
  🟢 truth-based-validation (10%)
  🟢 byzantine-consensus (10%)
  🟢 hook-interception (10%)

📈 Active Rollouts (0):
  ✅ All rollouts completed successfully

⚠️  Recent Alerts (0):
  🎉 No active alerts!
"""
"""The last block of the guide: the screen once every rollout is completed."""


class Eye:
    """An observer that has seen one verdict, watched long enough, of whatever stage it is asked about."""

    def __init__(self, verdict):
        self._verdict = verdict

    def observe(self, state):
        is_pass = self._verdict is Verdict.PASS
        return StageObservation(
            entry=state.entry,
            tick=1,
            verdict=self._verdict,
            guardrail=None if is_pass else "error_rate",
            reason=None if is_pass else Reason.EVIDENCE if self._verdict is Verdict.FAIL else Reason.COLLECTING,
            active_ms=30 * DAY_MS,
        )


class Lab:
    """A home, its clock, and the commands and ticks that move it."""

    def __init__(self, home, start_ms=START_MS):
        self.home, self.clock = home, ManualClock(start_ms)
        self.actor = "ada"
        """Who orders."""

    def __call__(self, line, **variables):
        """Run one command line in this process, at the lab's time; nothing of the real environment is seen."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        env = {"HOME": str(self.home.parent), "PHASE4_HOME": str(self.home), **variables}
        with (
            mock.patch.dict(os.environ, env, clear=True),
            mock.patch.object(order, "now", self.clock.now),
            mock.patch.object(order, "actor", return_value=self.actor),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            status = main(shlex.split(line))
        return Answer(status, *(stream.buffer.getvalue().decode() for stream in (out, err)))

    def done(self, *lines):
        """Run command lines that must work; return what the last one answered."""
        answers = [self(line) for line in lines]
        assert all(answer.status == 0 for answer in answers), answers
        return answers[-1] if answers else None

    def tick(self, plan_id, *, verdict=Verdict.PASS, after_ms=0):
        """Let time pass, and let the controller of a plan take the step that a verdict leads to; return it."""
        self.clock.advance(after_ms)
        store = self.store()
        try:
            row = store.plan(plan_id)
            controller = RolloutController(
                plan=rollouts.plan_of(row),
                clock=self.clock,
                observer=Eye(verdict),
                journal=rollouts.ControlJournal(store, row, actor="collector", new_request_id=new_id),
                switch=rollouts.ControlSwitch(),
            )
            return controller.tick()
        finally:
            store.close()

    def asks_approval(self, flag_key):
        """Create and start a plan of a flag, and bring it to where it asks for the approval of its last stage."""
        plan_id = self.done(f"rollout create {flag_key} --json").data["plan"]
        self.done(f"rollout start {plan_id}")
        for planned_ms in STAGES_MS[:2]:
            self.tick(plan_id, after_ms=planned_ms)
        return plan_id

    def completes(self, flag_key):
        """Bring a plan of a flag from its creation to its end."""
        plan_id = self.asks_approval(flag_key)
        self.done(f"rollout approve {plan_id}")
        self.tick(plan_id, after_ms=HOUR_MS)
        self.tick(plan_id, after_ms=STAGES_MS[2])
        return plan_id

    def collects(self):
        """Hold the collector's lease for a minute."""
        store = self.store()
        try:
            store.execute("lease", {}, self._hold, actor=COLLECTOR, request_id=new_id())
        finally:
            store.close()

    def store(self):
        """Return the control store; who asks closes it."""
        return ControlStore(str(self.home), self.clock.now)

    def _hold(self, change):
        change.hold_lease("collector", COLLECTOR, self.clock.now() + 60_000)
        return {}
