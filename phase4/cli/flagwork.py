"""The work of `phase4 flags`."""

from __future__ import annotations

from typing import Any

from phase4 import clock
from phase4.cli.console import Console
from phase4.cli.order import ordered_by, with_store
from phase4.errors import UsageError
from phase4.store import orders
from phase4.store.control import ControlStore, FlagRow, Reply

_DECIMALS = 2


@with_store
def enable(args: Any, console: Console, store: ControlStore) -> int:
    """Switch a flag on."""
    begin = clock.monotonic()
    reply = orders.enable(store, args.flag, releases=args.release, **ordered_by(args))
    return _told(console, "flags enable", reply, begin)


@with_store
def disable(args: Any, console: Console, store: ControlStore) -> int:
    """Switch a flag off."""
    begin = clock.monotonic()
    return _told(console, "flags disable", orders.disable(store, args.flag, **ordered_by(args)), begin)


@with_store
def rollout(args: Any, console: Console, store: ControlStore) -> int:
    """Set a flag's percentage."""
    percentage = percentage_of(args.percentage)
    # lowering is always allowed, also where some setting is wrong
    maximum = _maximum(store) if percentage > store.flag(args.flag).percentage else percentage
    begin = clock.monotonic()
    reply = orders.set_percentage(store, args.flag, percentage, maximum=maximum, **ordered_by(args))
    return _told(console, "flags rollout", reply, begin)


@with_store
def reshuffle(args: Any, console: Console, store: ControlStore) -> int:
    """Place all users of a flag anew."""
    from phase4.ids import new_id
    from phase4.store.reshuffle import reshuffle as reshuffled

    begin = clock.monotonic()
    reply = reshuffled(store, args.flag, new_id(), **ordered_by(args))
    data = {**reply.data, "elapsed_ms": round((clock.monotonic() - begin) * 1000, 2)}
    if reply.is_repeated:
        console.line(f"{data['flag']}: done before under this request id: users were placed anew")
    else:
        would = "would be" if store.is_dry_run else "are"
        console.line(f"{data['flag']}: all users {would} placed anew; {_brief(data['after'])} as before")
    console.result("flags reshuffle", data)
    return 0


@with_store
def list_flags(args: Any, console: Console, store: ControlStore) -> int:
    """Print all flags."""
    from phase4.cli.stopped import Stopped  # a toggle does without it

    if args.stale:
        from phase4.cli.stale import print_stale

        return print_stale(console, store)
    wanted = {True: args.enabled, False: args.disabled}
    stopped = Stopped(store)
    seen = [stopped.off(flag) for flag in store.flags()]
    flags = [flag for flag in seen if wanted[flag.enabled] or not any(wanted.values())]
    rows = [(flag, store.live_plan(flag.id)) for flag in flags]
    width = max([len(flag.flag_key) for flag in flags] + [4])
    for flag, plan in rows:
        console.line(
            f"{flag.flag_key:<{width}}  {describe(flag, stopped.why(flag.flag_key)):<24}"
            f" {plan.plan_id if plan else '':<24} v{flag.version}"
        )
    if not flags:
        console.line("No such flags." if any(wanted.values()) else "No flags.")
    data = [
        {**orders.shown(flag), "stopped": stopped.why(flag.flag_key), "plan": plan.plan_id if plan else None}
        for flag, plan in rows
    ]
    console.result("flags list", {"flags": data})
    return 0


@with_store
def check(args: Any, console: Console, store: ControlStore) -> int:
    """Say whether a flag is on for a user, and why."""
    from phase4.cli.ask import answer

    return answer(args, console, store)


def percentage_of(text: str) -> float:
    """Return a percentage of the command line: digits only, 0-100, at most 2 decimals."""
    whole, _, decimals = text.partition(".")
    is_number = text.isascii() and whole.isdecimal() and (decimals.isdecimal() if "." in text else True)
    if not is_number or len(decimals) > _DECIMALS or float(text) > 100:
        raise UsageError(f"a percentage is a number from 0 to 100 with at most 2 decimals, for example 12.5: {text!r}")
    return float(text)


def describe(flag: FlagRow, stopped: str | None = None) -> str:
    """Return a flag's state as people read it; `stopped` is why an emergency stops it that is not recorded yet."""
    if flag.held:
        return f"held ({flag.held})"
    if stopped is not None:
        return f"off, {flag.percentage:g} % (stopped: {stopped})"
    return f"{'on' if flag.enabled else 'off'}, {flag.percentage:g} %"


def _maximum(store: ControlStore) -> float:
    from phase4.cli.settings import settings_of

    return float(settings_of(store).value("ROLLOUT_MAX_PERCENTAGE"))


def _told(console: Console, command: str, reply: Reply, begin: float) -> int:
    data = {**reply.data, "elapsed_ms": round((clock.monotonic() - begin) * 1000, 2)}
    before, after = (_brief(data[name]) for name in ("before", "after"))
    if reply.is_repeated:
        console.line(f"{data['flag']}: done before under this request id: {before} -> {after}")
    elif not data["changed"]:
        console.line(f"{data['flag']}: already {after}")
    else:
        plan = f"  ({data['plan']})" if data["plan"] else ""
        console.line(f"{data['flag']}: {before} -> {after}{plan}  in {data['elapsed_ms']:g} ms")
    console.result(command, data)
    return 0


def _brief(flag: dict[str, Any]) -> str:
    held = f", held ({flag['held']})" if flag["held"] else ""
    return f"{'on' if flag['enabled'] else 'off'}, {flag['percentage']:g} %{held}"
