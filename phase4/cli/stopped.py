"""Flags that an emergency stops before it is recorded: evaluators obey it already, whatever the rows say."""

from __future__ import annotations

from phase4.store import stops
from phase4.store.control import ControlStore, FlagRow

STOP_WORD = "the stop word is set"


class Stopped:
    """The stop word and the stop files that are in force."""

    def __init__(self, store: ControlStore) -> None:
        """Look at them now."""
        self._orders = stops.pending(store.home)
        self._has_word = store.epoch.is_stopped

    def why(self, flag_key: str) -> str | None:
        """Return why a flag is stopped, as the first order says; None if it is not."""
        for order in self._orders:
            if order.flag_key in {stops.EVERYTHING, flag_key}:
                return order.reason
        return STOP_WORD if self._has_word else None

    def off(self, flag: FlagRow) -> FlagRow:
        """Return a flag as evaluators see it."""
        return flag if self.why(flag.flag_key) is None else flag._replace(enabled=False)

    def told(self) -> list[str]:
        """Return a line for each order that is in force."""
        lines = []
        for order in self._orders:
            what = "every flag" if order.flag_key == stops.EVERYTHING else order.flag_key
            lines.append(f"{what} is stopped, and that is not recorded yet: {order.reason}")
        everything = any(order.flag_key == stops.EVERYTHING for order in self._orders)
        return [*lines, f"every flag is stopped: {STOP_WORD}"] if self._has_word and not everything else lines
