"""The work of `phase4 emergency`: off first, the record as soon as it can be made."""

from __future__ import annotations

from typing import Any

from phase4 import clock
from phase4.cli import order
from phase4.cli.console import Console
from phase4.errors import FlagNotFound, Phase4Error, UsageError
from phase4.store import emergency, stops
from phase4.store import home as homes
from phase4.store.control import ControlStore
from phase4.store.stops import Stop


def disable(args: Any, console: Console) -> int:
    """Switch everything off."""
    return _stop(args, console, "emergency disable", stops.EVERYTHING, rolls_back=args.rollback)


def rollback(args: Any, console: Console) -> int:
    """Roll one flag back."""
    home = order.home_of(args)
    try:
        store = ControlStore(home, order.now, busy_ms=0)
        try:
            store.flag(args.flag)
        finally:
            store.close()
    except FlagNotFound:
        raise
    except Phase4Error:
        pass  # the database cannot be asked now: the name is taken as it is, evaluators obey the stop file
    return _stop(args, console, "emergency rollback", args.flag, rolls_back=True)


def _stop(args: Any, console: Console, command: str, flag_key: str, *, rolls_back: bool) -> int:
    if not args.text.strip():
        raise UsageError("an emergency needs a reason", hint=f'{command} "what is wrong"')
    home = order.home_of(args)
    homes.require_place(home)
    if args.dry_run:
        what = "every flag" if flag_key == stops.EVERYTHING else flag_key
        console.line(f"{what} would be switched off and held")
        console.is_dry_run = True
        console.result(command, {})
        return 0
    begin = clock.monotonic()
    wanted = Stop(order.request_id(args), flag_key, args.text, order.actor(), order.now(), rolls_back)
    done = emergency.stop(home, wanted, order.now)
    elapsed = round((clock.monotonic() - begin) * 1000, 1)
    warnings = [] if done.is_recorded else [f"switched off; recording pending: {done.problem}"]
    for text in warnings:
        console.warn(text)
    what = ", ".join(done.flags) if done.flags else ("every flag" if flag_key == "*" else flag_key)
    console.line(f"OFF and held: {what}  in {elapsed:g} ms")
    for plan in done.plans:
        console.line(f"  {plan} {'rolled back' if rolls_back else 'paused'}")
    data = {"flags": done.flags, "plans": done.plans, "recorded": done.is_recorded, "elapsed_ms": elapsed}
    console.result(command, data, warnings)
    return 0
