"""The work of `phase4 store`."""

from __future__ import annotations

from typing import Any

from phase4.cli import order
from phase4.cli.console import Console
from phase4.cli.order import with_store
from phase4.store import backup as backups
from phase4.store import care
from phase4.store.control import ControlStore

DAMAGED = 1


def check(args: Any, console: Console) -> int:
    """Look for damage; an order that is not recorded yet is named, and not recorded."""
    home = order.home_of(args)
    found = care.check(home, deep=args.deep)
    for text in found:
        console.line(text)
    if not found:
        console.line(f"{home}: no findings")
    console.result("store check", {"findings": found})
    return DAMAGED if found else 0


@with_store
def backup(args: Any, console: Console, store: ControlStore) -> int:
    """Copy the home."""
    files = backups.make(store, args.folder, with_keys=args.with_keys)
    console.line(f"{args.folder}: {len(files)} files")
    console.result("store backup", {"folder": args.folder, "files": files})
    return 0


def restore(args: Any, console: Console) -> int:
    """Fill an empty home."""
    home = order.home_of(args)
    backups.restore(home, args.folder)
    store = ControlStore(home, order.now)
    try:
        found = care.findings(store)
    finally:
        store.close()
    for text in found:
        console.line(text)
    console.line(f"{home}: restored from {args.folder}")
    console.result("store restore", {"home": home, "findings": found})
    return DAMAGED if found else 0
