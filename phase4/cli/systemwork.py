"""The work of `init`, `status`, `shutdown`, `config` and `completion`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from phase4 import clock, config
from phase4.cli import order, screen
from phase4.cli.console import Console
from phase4.cli.order import with_store
from phase4.cli.settings import saved_of, settings_of
from phase4.errors import NotInitialised, SettingInvalid, ShutdownTimeout, UsageError
from phase4.store.control import Change, ControlStore
from phase4.store.home import CONTROL

if TYPE_CHECKING:
    from phase4.config.settings import Settings

LOOK_S = 0.05
"""How often a shutdown looks whether the others have ended."""
GUIDE_FLAGS = {
    "truth-based-validation": ("TRUTH_VALIDATION_ENABLED", "TRUTH_ROLLOUT_PERCENTAGE"),
    "byzantine-consensus": ("BYZANTINE_CONSENSUS_ENABLED", "BYZANTINE_ROLLOUT_PERCENTAGE"),
    "hook-interception": ("HOOK_INTERCEPTION_ENABLED", "HOOK_ROLLOUT_PERCENTAGE"),
}
"""The flags of the guide, and the settings that are read when each is made and never again."""


def init(args: Any, console: Console) -> int:
    """Make a home, or bring its saved settings up to date."""
    from phase4.config.rules import check
    from phase4.config.saved import to_save
    from phase4.config.secret_files import file_errors
    from phase4.config.settings import PRESET

    home = order.home_of(args)
    known, before, present = _looked_at(home)
    saved = to_save(args.environment, args.preset, _pairs(args.set), before=before)
    settings = config.load(saved, {"PHASE4_ENVIRONMENT": args.environment, PRESET: args.preset})
    findings = check(settings)
    problems = (*findings.errors, *file_errors(settings))
    if problems:
        raise SettingInvalid(problems)
    made: list[str] = []

    def work(change: Change) -> dict[str, Any]:
        environment = settings.value("PHASE4_ENVIRONMENT")
        change.set_meta("settings", json.dumps(saved, sort_keys=True))
        change.set_meta("environment", environment)
        change.set_meta("audit_off", 0 if settings.value("AUDIT_LOGGING_ENABLED") else 1)
        present = {flag.flag_key for flag in change.store.flags()}
        for key, names in GUIDE_FLAGS.items():
            if key not in present:
                _make_flag(change, key, *(settings.value(name) for name in names))
                made.append(key)
        change.audit("initialised", home, before=None, after={"environment": environment}, reason=args.reason)
        return {"environment": environment, "preset": saved.get(PRESET), "made": made}

    changed = sorted(name for name in {*before, *saved} if before.get(name) != saved.get(name))
    told = {"changed": changed, "issues": list(findings.warnings)}
    if args.dry_run:
        made = [key for key in GUIDE_FLAGS if key not in present]
        would = {"environment": settings.value("PHASE4_ENVIRONMENT"), "preset": saved.get(PRESET), "made": made}
        console.is_dry_run = True
        console.line(f"{home} would be {'brought up to date' if known else 'made'}: environment {would['environment']}")
        for key in made:
            console.line(f"  flag {key} would be made")
        _tell_changes(console, "would save", changed, before, saved)
        console.result("init", {"home": home, **would, "flags": [*present, *made], **told}, findings.warnings)
        return 0
    store = ControlStore.create(home, order.now)
    try:
        arguments = {"saved": saved, "reason": args.reason}
        reply = store.execute("init", arguments, work, actor=order.actor(), request_id=order.request_id(args))
        flags = [flag.flag_key for flag in store.flags()]
    finally:
        store.close()
    data = {"home": home, **reply.data, "flags": flags, **told}
    console.line(f"{home} is {'up to date' if known else 'ready'}: environment {data['environment']}")
    for key in flags:
        console.line(f"  flag {key}{' (new)' if key in made else ''}")
    _tell_changes(console, "saved", changed, before, saved)
    for text in findings.warnings:
        console.warn(text)
    console.line("Next: phase4 status; phase4 rollout create truth-based-validation")
    console.result("init", data, findings.warnings)
    return 0


def _looked_at(home: str) -> tuple[bool, dict[str, str], list[str]]:
    """Return whether a home is there, its saved settings and its flags."""
    if not os.path.exists(os.path.join(home, CONTROL)):
        return False, {}, []
    store = ControlStore(home, order.now)
    try:
        return True, saved_of(store), [flag.flag_key for flag in store.flags()]
    finally:
        store.close()


@with_store
def status(args: Any, console: Console, store: ControlStore) -> int:
    """Print health, flags, rollouts and alerts."""
    del args
    from phase4.config.rules import check

    settings = settings_of(store)
    findings = check(settings)
    interval_ms, target = settings.monitoring_interval_ms, settings.monitoring_coverage_target
    seen = screen.look(store, order.now(), interval_ms=interval_ms, target=target)
    for text in screen.render(seen):
        console.line(text)
    warnings = [*findings.errors, *findings.warnings]
    console.result("status", screen.to_json(seen), warnings)
    return 0


@with_store
def shutdown(args: Any, console: Console, store: ControlStore) -> int:
    """Ask every long-running process of this home to end, and wait until they have."""
    from phase4.monitor.lease import holders

    running = holders(store, order.now())
    if not args.dry_run:

        def work(change: Change) -> dict[str, Any]:
            change.set_meta("stop_ms", change.now_ms)
            change.audit("shutdown", store.home, before=None, after=None, reason=args.reason)
            return {"running": running}

        arguments = {"reason": args.reason}
        reply = store.execute("shutdown", arguments, work, actor=order.actor(), request_id=order.request_id(args))
        running = list(reply.data["running"])
    left = running if args.dry_run else _wait_for(store, running, args.timeout)
    stopped = [name for name in running if name not in left]
    if left and not args.dry_run:
        raise ShutdownTimeout(f"still running after {args.timeout} s: {', '.join(left)}")
    if not running:
        console.line("Nothing was running. Flags and plans stay as they are.")
    for name in running:
        console.line(f"{name}: {'would be asked to end' if args.dry_run else 'ended'}")
    console.result("shutdown", {"stopped": stopped, "left": left})
    return 0


def _wait_for(store: ControlStore, names: list[str], timeout_s: float) -> list[str]:
    """Wait until none of the processes holds a lease; return those that still do."""
    from phase4.monitor.lease import holders

    until = clock.monotonic() + timeout_s
    while True:
        left = [name for name in holders(store, order.now()) if name in names]
        if not left or clock.monotonic() >= until:
            return left
        clock.wait(LOOK_S)


def config_show(args: Any, console: Console) -> int:
    """Print all settings."""
    from phase4.config.settings import SETTINGS

    settings = _settings(args)
    width = max(map(len, SETTINGS))
    rows = {name: (settings.value(name), str(settings.origin(name))) for name in SETTINGS}
    for name, (value, origin) in rows.items():
        shown = _shown(value)
        console.line(f"{name:<{width}}  {shown:<24} {origin if args.origin else ''}".rstrip())
    data = {name: {"value": _plain(value), "origin": origin} for name, (value, origin) in rows.items()}
    console.result("config show", {"settings": data})
    return 0


def config_check(args: Any, console: Console) -> int:
    """Hold the settings against the rules."""
    from phase4.config.rules import check
    from phase4.config.secret_files import file_errors

    settings = _settings(args)
    findings = check(settings)
    problems = (*findings.errors, *file_errors(settings))
    if problems:
        raise SettingInvalid(problems)
    for text in findings.warnings:
        console.line(f"warning: {text}")
    console.line("The settings are valid.")
    console.result("config check", {"errors": [], "warnings": list(findings.warnings)}, findings.warnings)
    return 0


def completion(args: Any, console: Console) -> int:
    """Print a completion script."""
    from phase4.cli.completion import script

    text = script(args.shell)
    console.line(text)
    console.result("completion", {"shell": args.shell, "script": text})
    return 0


def _settings(args: Any) -> Settings:
    """Return the settings of the home; of one that is not made yet, those that it would have."""
    try:
        store = order.open_store(args)
    except NotInitialised:
        return config.load({}, {})
    try:
        return settings_of(store)
    finally:
        store.close()


def _tell_changes(console: Console, verb: str, names: list[str], before: dict[str, str], saved: dict[str, str]) -> None:
    for name in names:
        console.line(f"  {verb} {name}: {before.get(name, '-')} -> {saved.get(name, '-')}")


def _pairs(given: list[str]) -> dict[str, str]:
    wrong = [text for text in given if "=" not in text]
    if wrong:
        raise UsageError(f"--set takes NAME=VALUE: {wrong[0]!r}")
    return {name: value for name, _, value in (text.partition("=") for text in given)}


def _make_flag(change: Change, key: str, enabled: bool, percentage: float) -> None:  # noqa: FBT001  two settings' values
    from phase4.flags.definition import guide_flag

    definition = guide_flag(key, enabled=enabled, percentage=percentage)
    change.add_flag(key, document=definition.to_json(), enabled=enabled, percentage=percentage)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else str(value)
