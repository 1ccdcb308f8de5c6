"""`phase4 flags check`: the production evaluator's answer for a user, and how it came to it."""

from __future__ import annotations

from typing import Any

from phase4.cli.console import Console
from phase4.clock import SystemClock
from phase4.errors import StoreUnavailable
from phase4.flags.evaluation import explain
from phase4.store.control import ControlStore
from phase4.system import get_phase4_system

OFF = 1


def answer(args: Any, console: Console, store: ControlStore) -> int:
    """Print whether a flag is on for a user, and why."""
    store.flag(args.flag)  # an unknown one is named with the nearest
    system = get_phase4_system(store.home)
    seen = system.evaluate(args.flag, args.user, default=None)
    compiled = system.flags.find(args.flag) if system.flags is not None else None
    if compiled is None:
        raise StoreUnavailable(f"the flags of {store.home} cannot be read", hint="phase4 store check")
    explained = explain(compiled, args.user, now_ms=SystemClock().now())
    is_on = seen.variant is not None and seen.variant != compiled.off_variant
    bucket = explained.bucket
    where = f", at {bucket.position:.2f} % of {bucket.percentage:g} %" if bucket is not None and is_on else ""
    who = f"for {args.user}" if args.user is not None else "without a user"
    why = f"{seen.reason}{f', {seen.error_code}' if seen.error_code else ''}"
    console.line(f"{'ON' if is_on else 'OFF'} {who} ({why}{where})")
    if args.explain:
        for step in explained.steps:
            console.line(f"  {step.name}: {step.outcome}")
    data = {
        "value": seen.value,
        "variant": seen.variant,
        "reason": str(seen.reason),
        "error_code": str(seen.error_code) if seen.error_code else None,
        "arm": seen.arm.name.lower() if seen.arm else None,
        "hash": bucket.hash if bucket else None,
        "threshold": bucket.treatment_below if bucket else None,
        "version": seen.version,
        "steps": [{"name": step.name, "outcome": step.outcome} for step in explained.steps],
    }
    console.result("flags check", data)
    return OFF if args.exit_code and not is_on else 0
