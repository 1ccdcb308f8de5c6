"""The work of `phase4 monitor` and `phase4 alerts`."""

from __future__ import annotations

from typing import Any

from phase4 import clock
from phase4.cli import order, screen
from phase4.cli.console import Console
from phase4.cli.order import with_store
from phase4.errors import NotBuilt, UsageError
from phase4.store.control import Change, ControlStore


@with_store
def list_alerts(args: Any, console: Console, store: ControlStore) -> int:
    """Print alerts."""
    alerts = store.alerts(args.severity, with_resolved=args.all)
    for alert in alerts:
        state = screen.state_of(alert)
        seen = clock.iso(alert.last_seen_ms)
        console.line(f"{alert.id:>4}  {alert.severity:<8}  {seen}  ×{alert.times:<4} {state:<12}  {alert.message}")
    if not alerts:
        console.line("🎉 No active alerts!")
    data = [screen.alert_json(alert, store.flags()) for alert in alerts]
    console.result(f"{args.command} {args.action}", {"alerts": data})
    return 0


@with_store
def resolve(args: Any, console: Console, store: ControlStore) -> int:
    """Close alerts."""
    if not args.reason:
        raise UsageError("resolving an alert needs a reason", hint='alerts resolve ID --reason "TEXT"')
    return _mark(args, console, store, "resolved", lambda change, alert: change.resolve_alert(alert, args.reason))


@with_store
def ack(args: Any, console: Console, store: ControlStore) -> int:
    """Acknowledge alerts."""
    return _mark(args, console, store, "acknowledged", lambda c, alert: c.acknowledge_alert(alert, args.reason or ""))


def not_built(args: Any, console: Console) -> int:
    """Say that a command's part is not there yet."""
    del console
    raise NotBuilt(f"{args.command} {args.action} is not in this version: the live dashboard is being built")


def _mark(args: Any, console: Console, store: ControlStore, word: str, mark: Any) -> int:
    def work(change: Change) -> dict[str, Any]:
        return {"changed": [alert for alert in args.ids if mark(change, alert)]}

    arguments = {"ids": args.ids, "reason": args.reason}
    reply = store.execute(f"alerts {word}", arguments, work, actor=order.actor(), request_id=order.request_id(args))
    for alert in args.ids:
        console.line(f"alert {alert}: {word if alert in reply.data['changed'] else f'already {word}'}")
    console.result(f"alerts {args.action}", reply.data)
    return 0
