"""`phase4 flags`: parsers, and the work of on, off, percentage, list and check."""

from __future__ import annotations

from typing import Any

from phase4.cli.parsers import Group


def add_parsers(commands: Any) -> None:
    """Add the `flags` commands."""
    group = Group(commands, "flags", "switch flags, set percentages, ask for a user", module="phase4.cli.flagwork")
    listed = group.add(
        "list", "all flags: on or off, percentage, hold, plan", "flags list --enabled", does="list_flags"
    )
    listed.add_argument("--enabled", action="store_true", help="those that are on")
    listed.add_argument("--disabled", action="store_true", help="those that are off")
    listed.add_argument("--stale", action="store_true", help="those that nobody needs any more, and why")
    enable = group.add("enable", "switch a flag on; its percentage stays", "flags enable checkout-v2", changes=True)
    enable.add_argument("--release", action="store_true", help="lift the hold of a rollback or an emergency")
    disable = group.add("disable", "switch a flag off at once", "flags disable checkout-v2", changes=True)
    rollout = group.add(
        "rollout", "set the percentage; does not switch on", "flags rollout checkout-v2 12.5", changes=True
    )
    shuffle = group.add(
        "reshuffle",
        "place all users anew: others have the feature from then on",
        'flags reshuffle checkout-v2 --reason "the same users came first twice"',
        changes=True,
    )
    check = group.add("check", "is it on for this user, and why", "flags check checkout-v2 --user user-123 --explain")
    for parser in (enable, disable, rollout, shuffle, check):
        parser.add_argument("flag", metavar="FLAG", help="key of the flag")
    rollout.add_argument("percentage", metavar="PERCENTAGE", help="0 to 100, at most 2 decimals")
    check.add_argument("--user", metavar="ID", help="targeting key; without one nobody is asked about")
    check.add_argument("--explain", action="store_true", help="show every step, hash and threshold")
    check.add_argument("--exit-code", action="store_true", help="exit with 1 where it is off")
