"""Show something again after every change, until the reader has seen enough."""

from __future__ import annotations

import sys
from collections.abc import Callable

from phase4 import clock
from phase4.cli.console import Console
from phase4.store.control import ControlStore

LOOK_S = 0.25
"""How often the version is looked at; it is a word in memory, not a query."""


def follow(store: ControlStore, console: Console, lines: Callable[[], list[str]]) -> int:
    """Print the lines now and whenever the store changes; Ctrl-C ends it with exit status 0."""
    seen: int | None = None
    try:
        while True:
            if store.epoch.version != seen:
                seen = store.epoch.version
                console.line(clock.iso(clock.SystemClock().now()))
                for text in lines():
                    console.line(f"  {text}")
            sys.stdout.flush()
            clock.wait(LOOK_S)
    except KeyboardInterrupt:
        return 0
