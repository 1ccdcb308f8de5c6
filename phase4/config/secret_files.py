"""Files with secrets in them: a setting has the path, and only the reader of the secret opens it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from phase4.config.setting import Kind
from phase4.config.settings import SETTINGS, Settings


def file_errors(settings: Settings) -> tuple[str, ...]:
    """Return a line for each file of the settings that is missing or that others may read; looks, and opens nothing."""
    paths = {name: settings.value(name) for name, row in SETTINGS.items() if row.kind is Kind.SECRET_FILE}
    return tuple(f"{name}: {problem}" for name, path in paths.items() if path for problem in _problems(path))


def _problems(path: Path) -> Iterator[str]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield f"is a file of mode 0600: {path}: {error.strerror}"
        return
    if not stat.S_ISREG(mode):
        yield f"is a file of mode 0600, and this is none: {path}"
    elif stat.S_IMODE(mode) & ~0o600:
        yield f"is a file of mode 0600, and this has {stat.S_IMODE(mode):04o}: {path}; chmod 600 mends it"
