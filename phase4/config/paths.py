"""Places on the disk that an environment names; the environment is an argument, so nothing here reads it.

Texts, not `pathlib` paths: importing that takes longer than all the rest of finding the home.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Return the path with a leading `~` replaced by the environment's HOME.

    Raises:
        ValueError: `~name` of somebody this machine does not know.

    >>> expanded("~/state", {"HOME": "/home/ada"})
    '/home/ada/state'
    """
    if (text == "~" or text.startswith("~/")) and environment.get("HOME"):
        return os.path.normpath(os.path.join(environment["HOME"], text[1:].lstrip("/")))
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise ValueError(f"names the home folder of nobody known here: {text!r}")
    return os.path.normpath(path)


def default_home(environment: Mapping[str, str]) -> str:
    """Return `${XDG_STATE_HOME:-~/.local/state}/phase4`."""
    return os.path.join(expanded(environment.get("XDG_STATE_HOME") or "~/.local/state", environment), "phase4")
