"""Results as the tables of a run file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from phase4.analysis.block import REASONS, VERDICTS
from phase4.analysis.columns import ArmColumns
from phase4.flags.bucketing import Arm
from phase4.rollout import events
from phase4.sim.identity import sweep_id, versions
from phase4.sim.observer import Stretch
from phase4.sim.outcome import Figure, OperatingCharacteristics, Outcome, characteristics, digest
from phase4.sim.scenario import Policy, Scenario, World
from phase4.sim.sweep import SweepResult
from phase4.sim.world import RunRecord
from phase4.store import runs
from phase4.store.runs import Rows

FLAG_ID = 1
"""A rehearsal has one flag."""


def cells(scenario: Scenario, outcomes: Sequence[Outcome]) -> tuple[OperatingCharacteristics, ...]:
    """Return the operating characteristics of every world and policy that has runs, in the scenario's order."""
    found = []
    for world in scenario.worlds:
        for policy in scenario.policies:
            own = [o for o in outcomes if (o.world, o.policy) == (world.name, policy.name)]
            if own:
                found.append(characteristics(own))
    return tuple(found)


def save_sweep(
    folder: Path, scenario: Scenario, result: SweepResult, *, seed: int, replicates: int, started_wall_ms: int
) -> Path:
    """Write a sweep's run file: every outcome, every figure, and all that one run of each cell saw."""
    name = sweep_id(scenario, seed=seed, replicates=replicates)
    if not result.is_complete:
        name += "-partial"
    info = _info(
        scenario,
        kind="sweep",
        name=name,
        seed=seed,
        replicates=replicates,
        planned=result.planned,
        outcomes=result.outcomes,
        is_complete=result.is_complete,
        started_wall_ms=started_wall_ms,
    )
    return runs.write(folder, name, _tables(scenario, info, result.outcomes, result.samples))


def save_run(folder: Path, scenario: Scenario, record: RunRecord, *, seed: int, started_wall_ms: int) -> Path:
    """Write one run's file: its outcome and all that it saw."""
    outcome = record.outcome
    info = _info(
        scenario,
        kind="run",
        name=outcome.run_id,
        seed=seed,
        replicates=1,
        planned=1,
        outcomes=(outcome,),
        is_complete=True,
        started_wall_ms=started_wall_ms,
    )
    return runs.write(folder, outcome.run_id, _tables(scenario, info, (outcome,), (record,)))


def _info(
    scenario: Scenario,
    *,
    kind: str,
    name: str,
    seed: int,
    replicates: int,
    planned: int,
    outcomes: Sequence[Outcome],
    is_complete: bool,
    started_wall_ms: int,
) -> dict[str, Any]:
    return {
        "schema": runs.SCHEMA,
        "kind": kind,
        "id": name,
        "source": "sim",
        "scenario": scenario.name,
        "covers": scenario.covers,
        "scenario_hash": scenario.hash,
        "mode": scenario.mode,
        "flag_key": scenario.flag_key,
        "seed": seed,
        "replicates": replicates,
        "planned": planned,
        "done": len(outcomes),
        "complete": is_complete,
        "digest": digest(outcomes),
        "duration_ms": scenario.duration_ms,
        "tick_ms": scenario.tick_ms,
        "versions": versions(),
        "started_wall_ms": started_wall_ms,
    }


def _tables(
    scenario: Scenario, info: Mapping[str, Any], outcomes: Sequence[Outcome], samples: Sequence[RunRecord]
) -> dict[str, Rows]:
    tables: dict[str, Rows] = {
        "info": {key: [value] for key, value in info.items()},
        "world": _columns([_world(i, w) for i, w in enumerate(scenario.worlds)]),
        "policy": _columns([_policy(i, p) for i, p in enumerate(scenario.policies)]),
        "outcome": _columns([asdict(outcome) for outcome in outcomes]),
        "figure": _columns([row for cell in cells(scenario, outcomes) for row in _figures(cell)]),
        "journal": _columns([row for record in samples for row in _journal(record)]),
        "exposure": _columns(
            [{"run_id": r.outcome.run_id, **asdict(exposure)} for r in samples for exposure in r.exposures]
        ),
        "observation": _join([rows for record in samples for rows in _observations(scenario, record)]),
        "evidence": _join([rows for record in samples for rows in _evidence(scenario, record)]),
    }
    return {name: rows for name, rows in tables.items() if rows}


def _world(seq: int, world: World) -> dict[str, Any]:
    harmful = [f.at_ms for f in world.faults if f.arm == "treatment" and (f.add > 0.0 or f.factor > 1.0)]
    faults = json.dumps([asdict(fault) for fault in world.faults], default=str, sort_keys=True)
    return {
        "seq": seq,
        "name": world.name,
        "about": world.about,
        "start_ms": world.start_ms,
        "onset_ms": min(harmful) if harmful else None,
        "faults": faults,
    }


def _policy(seq: int, policy: Policy) -> dict[str, Any]:
    stages = json.dumps([asdict(stage) for stage in policy.plan.stages], sort_keys=True)
    specs = [{"kind": type(spec).__name__, **asdict(spec)} for spec in policy.plan.guardrails[0]]
    return {
        "seq": seq,
        "name": policy.name,
        "about": policy.about,
        "plan_digest": policy.plan.digest,
        "stages": stages,
        "guardrails": json.dumps(specs, default=str, sort_keys=True),
    }


def _figures(cell: OperatingCharacteristics) -> list[dict[str, Any]]:
    rows = []
    for field in fields(cell):
        figure = getattr(cell, field.name)
        if isinstance(figure, Figure):
            rows.append({"world": cell.world, "policy": cell.policy, "figure": field.name, **asdict(figure)})
    return rows


def _journal(record: RunRecord) -> list[dict[str, Any]]:
    return [
        {
            "run_id": record.outcome.run_id,
            "seq": seq,
            "at_ms": event.at_ms,
            "kind": event.kind,
            "body": json.dumps(events.to_json(event), sort_keys=True),
        }
        for seq, event in enumerate(record.journal, 1)
    ]


def _observations(scenario: Scenario, record: RunRecord) -> list[dict[str, Any]]:
    """Return the observation rows of both arms, stretch by stretch: ticks with traffic only."""
    parts = []
    for stretch in record.stretches:
        for arm, columns in ((Arm.TREATMENT, stretch.treatment), (Arm.CONTROL, stretch.control)):
            kept = np.flatnonzero(columns.requests > 0)
            if len(kept):
                parts.append(
                    _arm_rows(scenario, record, stretch, columns, kept) | {"arm": np.full(len(kept), int(arm))}
                )
    return parts


def _arm_rows(
    scenario: Scenario,
    record: RunRecord,
    stretch: Stretch,
    columns: ArmColumns,
    kept: np.ndarray[Any, Any],
) -> dict[str, Any]:
    size, ticks = len(kept), stretch.first_tick + kept
    start_ms = scenario.world(record.outcome.world).start_ms
    counts, latencies = columns.counts(), columns.latencies
    packed = [b"" if latencies is None else latencies.packed(place) for place in kept]
    above = [json.dumps(columns.above(place), sort_keys=True) for place in kept]
    return {
        "run_id": np.array([record.outcome.run_id] * size, dtype=object),
        "tick": ticks,
        "t_ms": start_ms + (ticks + 1) * scenario.tick_ms,
        "flag_id": np.full(size, FLAG_ID),
        "entry": np.full(size, stretch.entry),
        **{name: np.full(size, np.nan) if values is None else values[kept] for name, values in counts.items()},
        "s1": np.zeros(size) if latencies is None else latencies.s1[kept],
        "s2": np.zeros(size) if latencies is None else latencies.s2[kept],
        "hist": np.array(packed, dtype=object),
        "exceed": np.array(above, dtype=object),
        "metrics": np.array(["{}"] * size, dtype=object),
        "schema": np.ones(size, np.int64),
        "source": np.array(["sim"] * size, dtype=object),
    }


def _evidence(scenario: Scenario, record: RunRecord) -> list[dict[str, Any]]:
    plan = scenario.policy(record.outcome.policy).plan
    start_ms = scenario.world(record.outcome.world).start_ms
    stage_of = {event.entry: event.stage for event in record.journal if isinstance(event, events.StageEntered)}
    parts = []
    for stretch in record.stretches:
        size = len(stretch.treatment)
        stage = stage_of[stretch.entry]
        terms = plan.terms(stage, interval_ms=scenario.tick_ms)
        ticks = stretch.first_tick + np.arange(size)
        for spec, judged in zip(plan.guardrails[stage], stretch.judged, strict=True):
            nothing = np.full(size, np.nan)
            parts.append(
                {
                    "run_id": np.array([record.outcome.run_id] * size, dtype=object),
                    "tick": ticks,
                    "t_ms": start_ms + (ticks + 1) * scenario.tick_ms,
                    "entry": np.full(size, stretch.entry),
                    "guardrail": np.array([spec.name] * size, dtype=object),
                    "log_e_fail": judged.log_e_fail,
                    "log_e_pass": nothing if judged.log_e_pass is None else judged.log_e_pass,
                    "fail_bound": np.full(size, terms[spec.name].fail_bound),
                    "pass_bound": np.full(size, terms[spec.name].pass_bound),
                    "verdict": np.array([str(VERDICTS[code]) for code in judged.verdicts], dtype=object),
                    "reason": np.array([str(REASONS[code]) for code in judged.reasons], dtype=object),
                }
            )
    return [part for part in parts if len(part["tick"])]


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _join(parts: Sequence[Mapping[str, np.ndarray[Any, Any]]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
