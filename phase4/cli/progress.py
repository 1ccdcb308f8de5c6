"""Progress of a long command, on stderr: a bar on a terminal, JSON lines for programs, a line now and then else."""

from __future__ import annotations

import json
import sys

from phase4 import clock

_BAR = 28
_EVERY_S = {"bar": 0.1, "json": 1.0, "text": 10.0}


class Progress:
    """Shows done and planned runs, runs per second, and the time left from the mean cost so far."""

    def __init__(self, *, is_json: bool, simulated_days: float) -> None:
        """Begin now; `simulated_days` is the length of one run."""
        self._start = self._last = clock.monotonic()
        self._days = simulated_days
        self._mode = "json" if is_json else "bar" if sys.stderr.isatty() else "text"
        self._shown = False

    def __call__(self, done: int, planned: int) -> None:
        """Show how far the command is, at most a few times a second."""
        now = clock.monotonic()
        if now - self._last < _EVERY_S[self._mode] and done < planned:
            return
        self._last = now
        spent = max(now - self._start, 1e-9)
        left = spent / done * (planned - done)
        if self._mode == "json":
            rate = done * self._days / spent
            body = {
                "done": done,
                "planned": planned,
                "simulated_days_per_second": round(rate, 1),
                "eta_s": round(left, 1),
            }
            print(json.dumps({"progress": body}), file=sys.stderr)
        elif self._mode == "bar":
            full = _BAR * done // planned
            bar = "#" * full + "." * (_BAR - full)
            text = f"\r[{bar}] {done:,}/{planned:,} runs  {done / spent:,.0f}/s  {left:4.0f} s left "
            print(text, end="", file=sys.stderr, flush=True)
            self._shown = True
        elif done < planned:
            print(f"phase4: {done:,} of {planned:,} runs, about {left:.0f} s left", file=sys.stderr)

    def end(self) -> float:
        """Clear the bar; return the seconds that passed."""
        if self._shown:
            print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)
        return clock.monotonic() - self._start
