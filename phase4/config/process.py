"""This process's environment: every reading of it is here.

`home` needs no other setting, so that an emergency finds its folder while other settings are wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from phase4.config.paths import default_home, expanded

if TYPE_CHECKING:
    from pathlib import Path

    from phase4.config.settings import Settings


def home(override: str | None = None) -> Path:
    """Return the folder that everything a run writes goes to; `home_text` says which."""
    from pathlib import Path

    return Path(home_text(override))


def home_text(override: str | None = None) -> str:
    """Return the folder that everything a run writes goes to, as a text.

    Args:
        override: The command line's `--home`; it wins over PHASE4_HOME, which wins over
            `${XDG_STATE_HOME:-~/.local/state}/phase4`.

    Raises:
        SettingInvalid: the folder is `~name` of somebody this machine does not know.
    """
    named = override or os.environ.get("PHASE4_HOME", "")
    try:
        return expanded(named, os.environ) if named else default_home(os.environ)
    except ValueError as error:
        from phase4.errors import SettingInvalid

        raise SettingInvalid(f"PHASE4_HOME: {error}") from error


def is_verbose() -> bool:
    """Return whether PHASE4_DEBUG asks for tracebacks instead of one-line errors."""
    return os.environ.get("PHASE4_DEBUG", "") not in {"", "0", "false"}


def load(saved: Mapping[str, str], command_line: Mapping[str, str | None]) -> Settings:
    """Return the settings of this process; `resolution.resolve` says what the arguments are.

    Raises:
        SettingInvalid: every value that is wrong, in every layer.
    """
    from phase4.config.resolution import resolve

    return resolve(os.environ, saved, command_line)
