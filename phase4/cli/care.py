"""Parsers of `phase4 store`; the work is in `phase4.cli.carework`."""

from __future__ import annotations

from typing import Any

from phase4.cli.parsers import Group


def add_parsers(commands: Any) -> None:
    """Add the `store` commands."""
    group = Group(commands, "store", "check, back up and restore what is stored", module="phase4.cli.carework")
    check = group.add("check", "look for damage; repairs nothing", "store check")
    check.add_argument("--deep", action="store_true", help="read every event file and compare its digest")
    backup = group.add("backup", "copy the home to a new folder", "store backup /backups/monday")
    backup.add_argument("folder", metavar="DIR", help="a folder that is not there yet, or empty")
    backup.add_argument("--with-keys", action="store_true", help="keys too; without them users count afresh")
    restore = group.add("restore", "fill an empty home from a backup", "store restore /backups/monday")
    restore.add_argument("folder", metavar="DIR", help="what `store backup` wrote")
