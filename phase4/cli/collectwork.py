"""The work of `phase4 monitor run`: the collector of a home, until somebody says stop."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

from phase4 import clock
from phase4.cli import order
from phase4.cli.console import Console
from phase4.cli.settings import settings_of
from phase4.config.rules import check
from phase4.errors import Refused, SettingInvalid
from phase4.monitor.loop import Told, Watch
from phase4.monitor.notifier import TIMEOUT_S, send_once
from phase4.monitor.settings import MonitorSettings
from phase4.rollout.saying import say
from phase4.store import rollouts
from phase4.store.control import ControlStore

ENDED_BY = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Stop:
    """Whether a signal asked this process to end, and which."""

    def __init__(self) -> None:
        """Listen for SIGINT and SIGTERM."""
        self.status = 0
        for number in ENDED_BY:
            signal.signal(number, self._note)

    def is_set(self) -> bool:
        """Return whether one came."""
        return self.status != 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.status = ENDED_BY[signal.Signals(number)]


def run(args: Any, console: Console) -> int:
    """Collect until a signal, or `phase4 shutdown`."""
    store = order.open_store(args)
    try:
        settings = _settings(store, console)
        watch = Watch(store, settings)
        teller = _Teller(store, console, watch.collector.holder)
        if args.once:
            teller.tell(watch.step())
            watch.close()
            _send_once(store, settings, console)
            return _ended(console, teller, 0)
        stop = Stop()
        console.line(f"Collecting every {settings.interval_ms / 1000:g} s as {watch.collector.holder}. Ctrl-C ends it.")
        sys.stdout.flush()
        watch.run(is_stopped=stop.is_set, tell=teller.tell)
        return _ended(console, teller, stop.status)
    finally:
        store.close()


def _send_once(store: ControlStore, settings: MonitorSettings, console: Console) -> None:
    """Send what one round left to send: no thread lives on to do it."""
    if settings.webhook_url is None:
        return
    sent = send_once(store.home, store.now, settings.webhook_url, settings.webhook_secret_file, TIMEOUT_S)
    if sent.problem is not None:
        console.warn(f"notices wait: {sent.problem}")


def _settings(store: ControlStore, console: Console) -> MonitorSettings:
    settings = settings_of(store)
    findings = check(settings)
    if findings.errors:
        raise SettingInvalid(findings.errors)
    if not settings.monitoring_enabled:
        raise Refused("monitoring is off", hint="MONITORING_ENABLED=true")
    for text in findings.warnings:
        console.warn(text)
    return MonitorSettings.of(settings)


def _ended(console: Console, teller: _Teller, status: int) -> int:
    if not teller.is_well:
        status = status or 6
    told = {"rounds": teller.rounds, "ticks": teller.ticks, "events": teller.rows, "errors": teller.errors}
    console.line(f"Ended after {teller.rounds} rounds: {teller.ticks} ticks closed, {teller.rows} events read.")
    console.result("monitor run", {"holder": teller.holder, **told})
    return status


class _Teller:
    """Says what a round did, where there is something to say."""

    def __init__(self, store: ControlStore, console: Console, holder: str) -> None:
        self._store, self._console, self.holder = store, console, holder
        self.rounds = self.ticks = self.rows = self.errors = 0
        self.is_well = True
        """Whether the newest round was done."""
        self._was_holder: bool | None = None
        self._error = ""

    def tell(self, told: Told) -> None:
        """Print what happened to the plans, who collects, and what went wrong."""
        self.rounds += 1
        done = told.round
        self.is_well = done is not None
        if done is None:
            self._fail(str(told.error))
            return
        self._error = ""
        self.ticks += len(done.closed)
        self.rows += done.rows
        if done.is_holder != self._was_holder:
            self._line("collecting" if done.is_holder else "standing by: another process collects")
            self._was_holder = done.is_holder
        for plan_id, event in done.events:
            stages = len(rollouts.plan_of(self._store.plan(plan_id)).stages)
            self._line(f"{plan_id}: {say(event, stages)}")
        for flag_key in done.switched_off:
            self._line(f"{flag_key}: OFF and held, its error rate is above the emergency limit")
        if done.set_aside:
            self._line(f"{done.set_aside} events were set aside")
        sys.stdout.flush()

    def _fail(self, text: str) -> None:
        self.errors += 1
        if text != self._error:  # said once, and not with every round
            self._console.warn(f"{text}; trying again")
            self._error = text

    def _line(self, text: str) -> None:
        self._console.line(f"{clock.iso(self._store.now())[11:19]}  {text}")
