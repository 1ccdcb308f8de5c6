"""Small worlds with real values: recordings, plans and scenarios made in code."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from phase4.analysis.observation import OutcomeSet
from phase4.analysis.specs import RateGuardrail, RatioGuardrail
from phase4.analysis.verdict import Unit
from phase4.durations import DAY_MS, HOUR_MS
from phase4.rollout.plan import RolloutPlan, Stage
from phase4.sim.faults import Fault, FaultArm
from phase4.sim.outcome import Outcome
from phase4.sim.recording import Columns, Recording
from phase4.sim.scenario import Approver, Counts, Policy, Replay, Scenario, World
from phase4.sim.shapes import Constant

START = 1_385_164_800_000
TICK = 10 * 60_000
OK, ERROR, TIMEOUT, INVALID = 2, 3, 4, 5
COLUMNS = Columns(time="t_ms", unit="unit", outcome="outcome", latency=None)


def stage(percentage, **changes):
    return Stage(
        **{
            "name": f"{percentage} %",
            "percentage": float(percentage),
            "active_min": HOUR_MS,
            "bake": 2 * HOUR_MS,
            "max_duration": DAY_MS,
            **changes,
        }
    )


def plan(*specs, stages=None, **changes):
    """Return 5 %, then 50 % after an approval, under guardrails that count requests if not said otherwise."""
    stages = stages or (stage(5), stage(50, approval=True))
    specs = specs or (
        RateGuardrail(name="error_rate", limit=0.01, unit=Unit.REQUEST),
        RatioGuardrail(name="error_ratio", unit=Unit.REQUEST),
    )
    whole = RolloutPlan(plan_id="checkout.1", flag_key="checkout", stages=stages, guardrails=(specs,) * len(stages))
    return replace(whole, **changes)


def users(*sets):
    """Return a plan whose guardrails count the users of these outcome sets."""
    return plan(*(RateGuardrail(name=name, limit=0.4, outcome_set=OutcomeSet(name)) for name in sets))


def fault(arm="treatment", add=0.05, at=0, **changes):
    """Return more errors for an arm from `at`, in ms since the start of the run, on."""
    return Fault(**{"id": "defect", "arm": FaultArm(arm), "at_ms": at, "for_ms": None, "add": add, **changes})


def counts_world(*faults, name="world", rate=20.0, error_rate=0.003, shape=None):
    traffic = Counts(shape=shape or Constant(rate=rate), error_rate=error_rate)
    return World(name=name, about="", start_ms=START, traffic=traffic, faults=faults)


def replay_world(*faults, name="world", scale=1):
    traffic = Replay(file="r.csv", path=Path("r.csv"), columns=COLUMNS, scale=scale, sha256="00" * 32)
    return World(name=name, about="", start_ms=START, traffic=traffic, faults=faults)


def scenario(*worlds, policies=None, ticks=144, **changes):
    return Scenario(
        **{
            "name": "small",
            "covers": "what it covers",
            "source": "small.toml",
            "seed": 7,
            "duration_ms": ticks * TICK,
            "tick_ms": TICK,
            "flag_key": "checkout",
            "worlds": worlds or (counts_world(),),
            "policies": policies or (policy(),),
            "approver": Approver(median_ms=HOUR_MS, sigma=0.0, reject_p=0.0),
            "replicates": 4,
            "expect_run": None,
            "expect_cells": (),
            **changes,
        }
    )


def policy(plan_=None, name="policy"):
    return Policy(name=name, about="", plan=plan_ or plan())


def recording(rows):
    """Return a recording of (unit, tick, outcome), laid out as the loader does it: by unit, then time."""
    ordered = sorted(rows, key=lambda row: (row[0], row[1]))
    names = tuple(dict.fromkeys(unit for unit, _, _ in ordered))
    return Recording(
        t_ms=np.array([START + tick * TICK for _, tick, _ in ordered], np.int64),
        unit=np.array([names.index(unit) for unit, _, _ in ordered], np.int32),
        outcome=np.array([outcome for _, _, outcome in ordered], np.uint8),
        names=names,
    )


def outcome(replicate=0, **changes):
    """Return the outcome of a run that was completed without a defect."""
    values = {
        "run_id": f"run-{replicate}", "world": "healthy", "policy": "guide", "replicate": replicate,
        "phase": "COMPLETED", "guardrail": None, "end_ms": 10 * HOUR_MS, "stage": 1, "approvals": 1, "onset_ms": None,
        "rolled_back": False, "false_rollback": False, "caught": None, "delay_ms": float("nan"),
        "delay_users": float("nan"), "delay_requests": float("nan"), "users_exposed": 100, "users_harmed": 0,
        "excess": 0.0, "full_ms": 10.0 * HOUR_MS, "digest": "00",
    }  # fmt: skip
    return Outcome(**{**values, **changes})


def caught(replicate=0, *, hours, users_=10, **changes):
    """Return the outcome of a run whose defect was caught so many hours after it began."""
    return outcome(
        replicate,
        **{
            "phase": "ROLLED_BACK", "guardrail": "error_ratio", "onset_ms": HOUR_MS, "rolled_back": True,
            "caught": True, "delay_ms": hours * HOUR_MS, "delay_users": float(users_), "delay_requests": 50.0,
            "full_ms": float("inf"), **changes,
        },
    )  # fmt: skip


def missed(replicate=0, **changes):
    """Return the outcome of a run whose defect nobody caught."""
    never = float("inf")
    return outcome(
        replicate,
        **{
            "onset_ms": HOUR_MS, "caught": False, "delay_ms": never, "delay_users": never, "delay_requests": never,
            "users_harmed": 7, "excess": 9.0, **changes,
        },
    )  # fmt: skip
