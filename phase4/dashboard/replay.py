"""One stored run with everything it saw, as the figures and sections need it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from phase4.dashboard.texts import number
from phase4.durations import show
from phase4.rollout import events
from phase4.rollout.saying import say
from phase4.store.runs import RunFile

_OBSERVED = ["run_id", "tick", "arm", "ok", "error", "timeout", "invalid"]
PHASE_STATUS = {
    "COMPLETED": "ok",
    "ROLLED_BACK": "crit",
    "CANCELLED": "crit",
    "PAUSED": "warn",
    "AWAITING_APPROVAL": "info",
    "PROGRESSING": "info",
    "PENDING": "idle",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One entry of the journal, ready to be shown."""

    seq: int
    at_ms: int
    """Since the start of the run, exact."""
    kind: str
    status: str
    """`ok`, `warn`, `crit` or `info`."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One run of one world and policy."""

    run_id: str
    world: str
    policy: str
    tick_ms: int
    onset_ms: int | None
    """When the world's defect begins, in ms since the start; None = the feature is fine."""
    outcome: Mapping[str, Any]
    """Its row of table `outcome`."""
    limit: float | None
    """Limit on the error rate in the first stage, as a proportion; None where no guardrail has one."""
    marks: tuple[Mark, ...]
    exposure: pl.DataFrame
    """percentage 0-100, first_tick, end_tick; the flag is at 0 % outside."""
    observation: pl.DataFrame
    """tick, arm (1 = control, 2 = treatment), requests, bad: ticks with traffic only."""
    evidence: pl.DataFrame
    """tick, guardrail, log_e_fail (natural logarithm), fail_bound, verdict: every tick that was judged."""

    @property
    def ticks(self) -> int:
        """Number of ticks until the run ended."""
        return int(self.outcome["end_ms"]) // self.tick_ms


def read_replays(run: RunFile) -> dict[tuple[str, str], Replay]:
    """Return the stored run of each (world, policy), replicate 0, in the order of the outcomes.

    Raises:
        StoreUnavailable: the file cannot be read.
    """
    tables = {name: _parts(run.table(name)) for name in ("journal", "exposure", "evidence")}
    tables["observation"] = _parts(_counts(run.table("observation").select(_OBSERVED)))
    worlds = {row["name"]: row for row in run.table("world").to_dicts()}
    policies = {row["name"]: row for row in run.table("policy").to_dicts()}
    found = {}
    for outcome in run.table("outcome").to_dicts():
        if outcome["run_id"] in tables["journal"]:
            world, policy = worlds[outcome["world"]], policies[outcome["policy"]]
            replay = _replay(outcome, world, policy, tables, tick_ms=run.info["tick_ms"])
            found[replay.world, replay.policy] = replay
    return found


def ending(outcome: Mapping[str, Any]) -> str:
    """Return how a run ended, as a sentence made from its row of table `outcome`."""
    text = f"{outcome['phase']} after {show(outcome['end_ms'])}"
    delay_ms = outcome["delay_ms"]
    if outcome["false_rollback"]:
        text += ": a false rollback, nothing was wrong with the feature yet"
    elif outcome["caught"]:
        text += f": caught {show(delay_ms)} after the defect began"
    elif delay_ms is not None and math.isinf(delay_ms):
        text += ": the defect was never caught"
    if outcome["users_exposed"] is not None:
        harmed = number(float(outcome["users_harmed"] or 0))
        return f"{text}. {number(float(outcome['users_exposed']))} users exposed, {harmed} harmed."
    return f"{text}. {number(outcome['excess'])} excess errors." if outcome["excess"] else f"{text}."


def specs(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the guardrails of a row of table `policy`, those of its first stage."""
    found: list[dict[str, Any]] = json.loads(policy["guardrails"])
    return found


def stages(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the stages of a row of table `policy`."""
    found: list[dict[str, Any]] = json.loads(policy["stages"])
    return found


def _replay(
    outcome: Mapping[str, Any],
    world: Mapping[str, Any],
    policy: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, pl.DataFrame]],
    *,
    tick_ms: int,
) -> Replay:
    run_id = outcome["run_id"]
    rows = {name: parts.get(run_id, _none(parts)) for name, parts in tables.items()}
    return Replay(
        run_id=run_id,
        world=outcome["world"],
        policy=outcome["policy"],
        tick_ms=tick_ms,
        onset_ms=world["onset_ms"],
        outcome=outcome,
        limit=_limit(specs(policy)),
        marks=_marks(rows["journal"], int(world["start_ms"]), len(stages(policy))),
        exposure=rows["exposure"],
        observation=rows["observation"],
        evidence=rows["evidence"],
    )


def _parts(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {str(key[0]): part for key, part in frame.partition_by("run_id", as_dict=True).items()}


def _none(parts: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return a table of the same columns without rows: a run may have ended before anything was judged."""
    return next((part.clear() for part in parts.values()), pl.DataFrame())


def _counts(frame: pl.DataFrame) -> pl.DataFrame:
    bad = pl.col("error") + pl.col("timeout") + pl.col("invalid")
    return frame.with_columns(bad=bad, requests=pl.col("ok") + bad)


def _limit(guardrails: Sequence[Mapping[str, Any]]) -> float | None:
    for spec in guardrails:
        if spec.get("outcome_set") == "error" and not spec.get("emergency") and "limit" in spec:
            return float(spec["limit"])
    return None


def _marks(journal: pl.DataFrame, start_ms: int, count: int) -> tuple[Mark, ...]:
    return tuple(
        _mark(row["seq"], events.from_json(json.loads(row["body"])), start_ms, count) for row in _rows(journal)
    )


def _rows(frame: pl.DataFrame) -> Iterable[dict[str, Any]]:
    return frame.iter_rows(named=True)


def _mark(seq: int, event: events.Event, start_ms: int, count: int) -> Mark:
    status = _STATUS.get(event.kind, "info")
    return Mark(seq=seq, at_ms=event.at_ms - start_ms, kind=event.kind, status=status, text=say(event, count))


_STATUS = {
    "approval_dropped": "warn",
    "paused": "warn",
    "rolled_back": "crit",
    "completed": "ok",
    "cancelled": "warn",
    "data_corrected": "warn",
}
"""How an event is coloured, by kind; "info" where it is not here."""
