"""The settings of a home: what `init` saved, under this process's environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from phase4 import config
from phase4.store.control import ControlStore

if TYPE_CHECKING:
    from phase4.config.settings import Settings


def saved_of(store: ControlStore) -> dict[str, str]:
    """Return what `init` saved, as texts."""
    text = store.meta("settings")
    return dict(json.loads(text)) if text else {}


def settings_of(store: ControlStore, command_line: Mapping[str, str | None] | None = None) -> Settings:
    """Return the settings that hold for a home.

    Raises:
        SettingInvalid: every value that is wrong, in every layer.
    """
    return config.load(saved_of(store), command_line or {})
