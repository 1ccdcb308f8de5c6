"""Show something again after every change, until the reader has seen enough."""

from __future__ import annotations

import sys
from collections.abc import Callable

from phase4 import clock
from phase4.cli.console import Console
from phase4.store import ticks
from phase4.store.control import ControlStore

LOOK_S = 0.25
"""How often the version and the newest tick are looked at."""
_CLEAR = "\x1b[H\x1b[2J"
"""Begin of the screen, and nothing on it."""


def follow(store: ControlStore, console: Console, lines: Callable[[], list[str]]) -> int:
    """Print the lines now, whenever the store changes and whenever a tick is closed; Ctrl-C ends it with status 0.

    A terminal shows the newest state in place; elsewhere each state is printed below the last.
    """
    seen: tuple[int, int] | None = None
    try:
        while True:
            now = store.epoch.version, ticks.newest_number(store)
            if now != seen:
                seen = now
                if sys.stdout.isatty() and not console.is_json:
                    sys.stdout.write(_CLEAR)
                console.line(clock.iso(clock.SystemClock().now()))
                for text in lines():
                    console.line(f"  {text}")
            sys.stdout.flush()
            clock.wait(LOOK_S)
    except KeyboardInterrupt:
        return 0
