"""Outcomes that came too late for a judge: counted by stage entry, and told in the journal of the plan they belong to.

What no journal has yet is kept with the tick that first saw it, so that a crash neither loses nor repeats it. A plan's
journal takes one correction an hour at most: a source whose clock is wrong must not fill it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from phase4.durations import HOUR_MS
from phase4.flags.bucketing import Arm
from phase4.rollout import corrections
from phase4.rollout.events import DataCorrected
from phase4.store import rollouts
from phase4.store.control import ControlStore, PlanRow
from phase4.store.intake import Rows
from phase4.store.record import Outcome

EVERY_MS = HOUR_MS
"""Between two corrections of one plan, at least."""
Pending = Mapping[str, Mapping[str, int]]
"""Stage entry as "flag/entry" -> the counts of a correction, with `from_ms` and `until_ms`."""


class Due(NamedTuple):
    """What a tick has to tell."""

    corrections: tuple[tuple[PlanRow, DataCorrected], ...]
    rest: Pending
    """What is kept for a later tick."""


def counted(rows: Rows) -> Pending:
    """Return the outcomes of both arms in stage entries of plans; exposures are none.

    Args:
        rows: (n,) events.
    """
    is_compared = (rows["arm"] == Arm.TREATMENT) | (rows["arm"] == Arm.CONTROL)
    own = rows[(rows["outcome"] >= Outcome.OK) & (rows["entry"] > 0) & is_compared]
    found: dict[str, dict[str, int]] = {}
    for flag, entry in np.unique(own[["flag", "entry"]]).tolist():
        part = own[(own["flag"] == flag) & (own["entry"] == entry)]
        found[f"{flag}/{entry}"] = {
            "from_ms": int(part["t_ms"].min()),
            "until_ms": int(part["t_ms"].max()),
            **_arm(part, Arm.TREATMENT, "treatment"),
            **_arm(part, Arm.CONTROL, "control"),
        }
    return found


def together(one: Pending, other: Pending) -> Pending:
    """Return the counts of both."""
    return {key: corrections.together([part[key] for part in (one, other) if key in part]) for key in {**one, **other}}


def due(store: ControlStore, pending: Pending, now_ms: int) -> Due:
    """Return what is to be recorded now, and what waits because its plan was corrected less than an hour ago.

    What belongs to no plan is dropped: nobody would look for it.

    Args:
        store: The control store.
        pending: What no journal has yet.
        now_ms: The time.
    """
    told, rest = [], {}
    for key, counts in pending.items():
        flag_id, entry = map(int, key.split("/"))
        row = rollouts.plan_of_entry(store, flag_id, entry)
        if row is None:
            continue
        if rollouts.newest_ms(store, row.plan_id, DataCorrected.kind) > now_ms - EVERY_MS:
            rest[key] = counts
        else:
            told.append((row, DataCorrected(at_ms=now_ms, entry=entry, **counts)))
    return Due(tuple(told), rest)


def _arm(rows: Rows, arm: Arm, name: str) -> dict[str, int]:
    own = rows["outcome"][rows["arm"] == arm]
    return {
        name: len(own),
        f"{name}_errors": int(np.isin(own, (Outcome.ERROR, Outcome.TIMEOUT)).sum()),
        f"{name}_invalid": int((own == Outcome.INVALID).sum()),
    }
