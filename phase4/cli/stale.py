"""`phase4 flags list --stale`: flags that no longer decide anything."""

from __future__ import annotations

from typing import Any

from phase4 import clock
from phase4.cli import order
from phase4.cli.console import Console
from phase4.cli.settings import settings_of
from phase4.flags.stale import FlagUse, stale_flags
from phase4.store.control import ControlStore
from phase4.system import flag_of


def print_stale(console: Console, store: ControlStore) -> int:
    """Print the report. When a flag was last evaluated is not recorded yet, so none is called unused."""
    now_ms = order.now()
    uses = [
        FlagUse(
            definition=flag_of(row).definition,
            changed_ms=row.updated_ms,
            evaluated_ms=now_ms,
            has_live_plan=store.live_plan(row.id) is not None,
        )
        for row in store.flags()
    ]
    found = stale_flags(uses, now_ms=now_ms, days=settings_of(store).value("STALE_FLAG_DAYS"))
    data: list[dict[str, Any]] = []
    for flag in found:
        needed = f"  needed by {', '.join(flag.prerequisite_of)}" if flag.prerequisite_of else ""
        since = clock.iso(flag.since_ms)
        console.line(f"{flag.key:<28} {flag.staleness:<10} since {since}  {flag.owner or '-'}{needed}")
        data.append(
            {
                "flag_key": flag.key,
                "class": str(flag.staleness),
                "since_ms": flag.since_ms,
                "owner": flag.owner,
                "evaluated_ms": None,
                "prerequisite_of": list(flag.prerequisite_of),
            }
        )
    if not found:
        console.line("No stale flags.")
    console.result("flags list", {"stale": data})
    return 0
