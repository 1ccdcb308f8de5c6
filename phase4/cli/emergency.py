"""Parsers of `phase4 emergency`; the work is in `phase4.cli.emergencywork`."""

from __future__ import annotations

from typing import Any

from phase4.cli.parsers import Group


def add_parsers(commands: Any) -> None:
    """Add the `emergency` commands."""
    group = Group(commands, "emergency", "switch off now, whatever else is broken", module="phase4.cli.emergencywork")
    everything = group.add(
        "disable", "switch every flag off and hold it", 'emergency disable "orders fail"', changes=True
    )
    everything.add_argument("text", metavar="REASON", help="why; it is what everybody reads later")
    everything.add_argument("--rollback", action="store_true", help="roll live plans back, and not only pause them")
    one = group.add(
        "rollback", "roll one flag back: off, 0 %, held", 'emergency rollback checkout-v2 "orders fail"', changes=True
    )
    one.add_argument("flag", metavar="FLAG", help="key of the flag")
    one.add_argument("text", metavar="REASON", help="why")
