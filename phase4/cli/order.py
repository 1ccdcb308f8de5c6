"""What every command on the control plane needs: the store, who orders, and under which name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from phase4 import config
from phase4.clock import SystemClock
from phase4.errors import Phase4Error
from phase4.ids import new_id
from phase4.store.control import ControlStore

now = SystemClock().now


def home_of(args: Any) -> str:
    """Return PHASE4_HOME, or what `--home` names."""
    return config.home_text(args.home)


def open_store(args: Any) -> ControlStore:
    """Return the control store of the home; orders that an emergency left behind are recorded first."""
    store = ControlStore(home_of(args), now)
    store.is_dry_run = getattr(args, "dry_run", False)
    if os.listdir(os.path.join(store.home, "emergency")) and not store.is_dry_run:
        from phase4.store.emergency import record_pending

        with contextlib.suppress(Phase4Error):  # the stop file holds; a later command records it
            record_pending(store)
    return store


def actor() -> str:
    """Return who orders: the user of this process, by name where the machine knows it."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid:{os.geteuid()}"


def request_id(args: Any) -> str:
    """Return the name of this order: the one given, or a new one. It becomes part of a file's name."""
    if args.request_id is None:
        return new_id()
    from phase4.store.stops import check_name  # a toggle without a name of its own does without

    return check_name(args.request_id)


def ordered_by(args: Any) -> dict[str, Any]:
    """Return who orders what under which name and why, as the store takes it."""
    return {"actor": actor(), "request_id": request_id(args), "reason": args.reason}


def with_store(work: Callable[[Any, Any, ControlStore], int]) -> Callable[[Any, Any], int]:
    """Return a handler that opens the store, does the work and closes it."""

    def handler(args: Any, console: Any) -> int:
        store = open_store(args)
        console.is_dry_run = store.is_dry_run
        try:
            return work(args, console, store)
        finally:
            store.close()

    return handler
