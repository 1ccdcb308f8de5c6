"""The work of `phase4 emergency`: off first, the record as soon as it can be made."""

from __future__ import annotations

import sys
from typing import Any

from phase4 import clock
from phase4.cli import order
from phase4.cli.console import Console
from phase4.errors import FlagNotFound, Phase4Error, UsageError
from phase4.store import emergency, stops
from phase4.store import home as homes
from phase4.store.control import ControlStore
from phase4.store.stops import Stop

_UNREAD = "its journal cannot be read, so nothing is recorded in it; its flag is switched off and held"


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
    wanted = Stop(order.request_id(args), flag_key, args.text, order.actor(), order.now(), rolls_back)
    if args.dry_run:
        return _foretell(console, command, home, wanted)
    begin = clock.monotonic()
    done = emergency.stop(home, wanted, order.now)
    elapsed = round((clock.monotonic() - begin) * 1000, 1)
    warnings = [] if done.is_recorded else [f"switched off; recording pending: {done.problem}"]
    warnings += [f"{plan}: {_UNREAD}" for plan in done.unread]
    for text in warnings:
        console.warn(text)
    what = ", ".join(done.flags) if done.flags else ("every flag" if flag_key == "*" else flag_key)
    console.line(f"OFF and held: {what}  in {elapsed:g} ms")
    for plan in done.plans:
        console.line(f"  {plan} {'rolled back' if rolls_back else 'paused'}")
    if done.is_recorded:
        warnings += _notified(home, console)
    data = {"flags": done.flags, "plans": done.plans, "recorded": done.is_recorded, "elapsed_ms": elapsed}
    console.result(command, data, warnings)
    return 0


def _notified(home: str, console: Console) -> list[str]:
    """Send the notice, where one is to be sent and no collector runs that does; return what people should know.

    Everything is off and said already: nothing that goes wrong here may end the command with an error.
    """
    from phase4.cli.settings import settings_of

    sys.stdout.flush()  # what is off is read before the receiver is waited for
    try:
        store = ControlStore(home, order.now, busy_ms=emergency.BUSY_MS)
        try:
            settings = settings_of(store)
        finally:
            store.close()
    except Phase4Error as error:
        problem = f"the settings cannot be read: {error}"
    else:
        if settings.alert_webhook_url is None:
            return []
        from phase4.monitor.notifier import send_once

        secret_file = settings.alert_webhook_secret_file
        sent = send_once(home, order.now, settings.alert_webhook_url, None if secret_file is None else str(secret_file))
        if sent.problem is None:
            return []
        problem = sent.problem
    text = f"its notice was not sent, the next collector does: {problem}"
    console.warn(text)
    return [text]


def _foretell(console: Console, command: str, home: str, wanted: Stop) -> int:
    """Say what an order would come to, as far as the database can be asked now."""
    what = "every flag" if wanted.flag_key == stops.EVERYTHING else wanted.flag_key
    console.line(f"{what} would be switched off and held")
    console.is_dry_run = True
    try:
        store = ControlStore(home, order.now, busy_ms=emergency.BUSY_MS)
        try:
            would = emergency.foreseen(store, wanted)
        finally:
            store.close()
    except Phase4Error as error:
        warnings = [f"which flags are on and which plans are live cannot be said: {error}"]
        console.warn(warnings[0])
        console.result(command, {"flags": None, "plans": None}, warnings)
        return 0
    for flag_key in would.flags:
        console.line(f"  {flag_key} is on")
    if not would.flags:
        console.line("  none of them is on")
    for plan in would.plans:
        console.line(f"  {plan} would be {'rolled back' if wanted.rolls_back else 'paused'}")
    warnings = [f"{plan}: {_UNREAD}" for plan in would.unread]
    for text in warnings:
        console.warn(text)
    console.result(command, {"flags": would.flags, "plans": would.plans}, warnings)
    return 0
