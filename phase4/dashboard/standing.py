"""Where each policy stands at its worst: the numbers on its tile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The worst figure of one policy over all worlds; NaN where there is nothing to estimate."""

    policy: str
    false_rollback: float
    """Highest share of runs that were rolled back with nothing wrong yet."""
    caught: float
    """Lowest share of all runs of a world with a defect that were rolled back after it, and not before."""
    harmed: float
    """Highest mean of users harmed."""


def standings(figures: pl.DataFrame, policies: Sequence[str]) -> tuple[Standing, ...]:
    """Return the standing of each policy, in the order given.

    Args:
        figures: Table `figure`: world, policy, figure, estimate (proportions, users), runs.
        policies: Names of policies.
    """
    return tuple(_standing(figures, policy) for policy in policies)


def _standing(figures: pl.DataFrame, policy: str) -> Standing:
    own = figures.filter(pl.col("policy") == policy)
    rows = {(row["world"], row["figure"]): row for row in own.iter_rows(named=True)}
    reached = figures.filter((pl.col("figure") == "caught") & (pl.col("runs") > 0))
    broken = set(reached["world"].to_list())
    worlds = [world for world, figure in rows if figure == "false_rollback"]
    return Standing(
        policy=policy,
        false_rollback=max(_known(rows[world, "false_rollback"]["estimate"] for world in worlds), default=math.nan),
        caught=min((_useful(rows, world) for world in worlds if world in broken), default=math.nan),
        harmed=max(
            _known(rows[key]["estimate"] for key in rows if key[1] == "harmed_users"),
            default=math.nan,
        ),
    )


def _useful(rows: Mapping[tuple[str, str], dict[str, Any]], world: str) -> float:
    """Return the share of all runs, those that never reached the defect included, that caught it."""
    caught, everything = rows[world, "caught"], rows[world, "false_rollback"]["runs"]
    if caught["estimate"] is None:
        return 0.0
    return float(caught["estimate"] * caught["runs"] / everything)


def _known(values: Iterable[float | None]) -> list[float]:
    return [float(value) for value in values if value is not None]
