"""Settings: the only reader of the environment.

So far one setting is read: where results go. Precedence, lowest first: default, environment variable, command line.
"""

from __future__ import annotations

import os
from pathlib import Path


def home(override: str | None = None) -> Path:
    """Return the folder that everything a run writes goes to.

    Args:
        override: The command line's `--home`; it wins over PHASE4_HOME, which wins over
            `${XDG_STATE_HOME:-~/.local/state}/phase4`.
    """
    if override:
        return Path(override).expanduser()
    named = os.environ.get("PHASE4_HOME", "")
    if named:
        return Path(named).expanduser()
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state else Path.home() / ".local" / "state") / "phase4"


def is_verbose() -> bool:
    """Return whether PHASE4_DEBUG asks for tracebacks instead of one-line errors."""
    return os.environ.get("PHASE4_DEBUG", "") not in {"", "0", "false"}
