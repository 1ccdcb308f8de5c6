"""Small run files with real values: two worlds, two policies, one stored run for each."""

import json
import math

from phase4.rollout import events
from phase4.store import runs

HOUR = 3_600_000
START = 1_383_541_200_000
WORLDS = ("fine", "broken")
POLICIES = ("raw", "ratio")
ONSET = 4 * HOUR
LOG_BOUND = math.log(200.0)
DELAYS = ("delay_hours_median", "delay_hours_95", "delay_users_median", "delay_users_95")
STAGES = [
    {"name": "5 %", "percentage": 5.0, "active_min": HOUR, "bake": HOUR, "max_duration": 9 * HOUR, "approval": False},
    {"name": "25 %", "percentage": 25.0, "active_min": HOUR, "bake": HOUR, "max_duration": 9 * HOUR, "approval": True},
]
SPEC = {"name": "error_rate", "outcome_set": "error", "role": "guard", "unit": "user", "weight": 1.0, "min_units": None}


def write(folder, *, kind="sweep", world="broken", scenario="small", about="a plain world", **info):
    """Write a run file; `world` is the name of the second world."""
    names = ("fine", world)
    cells = [(w, p) for w in names for p in POLICIES]
    if kind == "run":
        cells = cells[-1:]
    outcomes = [outcome(w, p, r, w != "fine") for w, p in cells for r in range(3 if kind == "sweep" else 1)]
    tables = {
        "info": columns([_info(kind, scenario, len(outcomes), info)]),
        "world": columns([_world(0, "fine", about, None), _world(1, world, about, ONSET)]),
        "policy": columns([_policy(0, "raw", "ThresholdGuardrail"), _policy(1, "ratio", "RateGuardrail")]),
        "outcome": columns(outcomes),
        "figure": columns([row for w, p in cells for row in figure_rows(w, p, w != "fine")]),
        "journal": columns([row for w, p in cells for row in _journal(f"{w}-{p}-0", w != "fine" and p == "ratio")]),
        "exposure": columns(
            [{"run_id": f"{w}-{p}-0", "percentage": 5.0, "first_tick": 0, "end_tick": 8} for w, p in cells]
        ),
        "observation": columns([row for w, p in cells for row in _observations(f"{w}-{p}-0")]),
        "evidence": columns([row for w, p in cells for row in _evidence(f"{w}-{p}-0", p)]),
    }
    return runs.read(runs.write(folder, info.get("id", "abc123"), tables))


def columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def _info(kind, scenario, done, changes):
    return {
        "schema": 1, "kind": kind, "id": "abc123", "source": "sim", "scenario": scenario, "covers": "what it covers",
        "scenario_hash": "ab" * 32, "mode": "counts", "flag_key": "flag", "seed": 7, "replicates": 3, "planned": done,
        "done": done, "complete": True, "digest": "cd" * 32, "duration_ms": 8 * HOUR, "tick_ms": HOUR,
        "versions": "phase4 x", "started_wall_ms": START, **changes,
    }  # fmt: skip


def _world(seq, name, about, onset):
    fault = {"id": "defect", "arm": "treatment", "add": 0.4, "at_ms": ONSET, "for_ms": None}
    faults = [] if onset is None else [fault]
    return {
        "seq": seq, "name": name, "about": about, "start_ms": START, "onset_ms": onset, "faults": json.dumps(faults),
    }  # fmt: skip


def _policy(seq, name, kind):
    spec = {**SPEC, "kind": kind, "limit": 0.05, "window": 1}
    return {
        "seq": seq, "name": name, "about": f"the {name} rule", "plan_digest": "ef" * 32,
        "stages": json.dumps(STAGES), "guardrails": json.dumps([spec]),
    }  # fmt: skip


def outcome(world, policy, replicate, broken, *, delay_ms=None):
    caught = (policy == "ratio") if broken else None
    delay = delay_ms or ((2.0 + replicate) * HOUR if caught else math.inf if broken else None)
    return {
        "run_id": f"{world}-{policy}-{replicate}", "world": world, "policy": policy, "replicate": replicate,
        "phase": "ROLLED_BACK" if caught else "COMPLETED", "guardrail": "error_rate" if caught else None,
        "end_ms": 8 * HOUR, "stage": 0, "approvals": 0, "onset_ms": ONSET if broken else None,
        "rolled_back": bool(caught), "false_rollback": False, "caught": caught, "delay_ms": delay,
        "delay_users": delay, "delay_requests": delay, "users_exposed": 100, "users_harmed": 4 if broken else 0,
        "excess": 1.0, "full_ms": math.inf if caught else 8.0 * HOUR, "digest": "00",
    }  # fmt: skip


def figure_rows(world, policy, broken):
    caught = 1.0 if policy == "ratio" else 0.0
    never = math.inf if caught == 0.0 else 2.5
    values = {
        "false_rollback": (0.0, 0.0, 0.56, 3),
        "caught": (caught, 0.2, 0.8, 3) if broken else (None, None, None, 0),
        "held": (0.0, 0.0, 0.56, 3),
        "completed": (1.0, 0.44, 1.0, 3),
        **dict.fromkeys(DELAYS, (never, -math.inf, math.inf, 3) if broken else (None, None, None, 0)),
        "delay_requests_median": (None, None, None, 0),
        "exposed_users": (100.0, 90.0, 110.0, 3),
        "harmed_users": (4.0, 3.0, 5.0, 3) if broken else (0.0, 0.0, 0.0, 3),
        "excess": (1.0, 0.5, 1.5, 3),
        "full_hours_median": (math.inf, math.inf, math.inf, 3),
    }
    return [
        {"world": world, "policy": policy, "figure": name, "estimate": e, "lower": lo, "upper": up, "runs": n}
        for name, (e, lo, up, n) in values.items()
    ]


def _journal(run_id, rolled_back):
    entered = events.StageEntered(at_ms=START, stage=0, entry=1, percentage=5.0, cause=events.EntryCause.START)
    last = events.Completed(at_ms=START + 8 * HOUR)
    if rolled_back:
        last = events.RolledBack(
            at_ms=START + 8 * HOUR, guardrail="error_rate", reason="error_rate failed", is_emergency=False, tick=7
        )
    return [
        {"run_id": run_id, "seq": seq, "at_ms": e.at_ms, "kind": e.kind, "body": json.dumps(events.to_json(e))}
        for seq, e in enumerate((entered, last), 1)
    ]


def _observations(run_id):
    """Traffic in every tick but the third; treatment fails twice as often as control."""
    return [_observation(run_id, arm, tick) for arm in (1, 2) for tick in (0, 1, 3, 4, 5, 6, 7)]


def _observation(run_id, arm, tick):
    return {
        "run_id": run_id, "tick": tick, "t_ms": START + (tick + 1) * HOUR, "flag_id": 1, "entry": 1, "arm": arm,
        "ok": 100 - arm, "error": arm, "timeout": 0, "invalid": 0, "late": 0, "s1": 0.0, "s2": 0.0, "hist": b"",
        "exceed": "{}", "metrics": "{}", "schema": 1, "source": "sim",
    }  # fmt: skip


def _evidence(run_id, policy):
    """Evidence of the ratio policy begins at the third tick and crosses its bound at the last; raw keeps none."""
    rows = []
    for tick in range(8):
        log_e = (-math.inf if tick < 2 else LOG_BOUND * (tick - 2) / 5 * 1.01) if policy == "ratio" else None
        verdict = "NO_DATA" if tick < 2 else "FAIL" if tick == 7 else "PASS"
        rows.append(
            {
                "run_id": run_id,
                "tick": tick,
                "t_ms": START + (tick + 1) * HOUR,
                "entry": 1,
                "guardrail": "error_rate",
                "log_e_fail": log_e,
                "log_e_pass": None,
                "fail_bound": LOG_BOUND,
                "pass_bound": 3.0,
                "verdict": verdict,
                "reason": "evidence",
            }
        )
    return rows
