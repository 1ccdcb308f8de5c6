"""What `init` saves: the environment's name, the preset's name and what `--set` gave, as texts.

Environment variables are no argument here, so their values cannot be saved.
"""

from __future__ import annotations

from collections.abc import Mapping

from phase4.config.parsing import parse
from phase4.config.profiles import PRESETS
from phase4.config.resolution import NOT_SAVED, unknown_preset
from phase4.config.settings import PRESET, SETTINGS, unknown_name
from phase4.errors import SettingInvalid


def to_save(
    environment: str | None,
    preset: str | None,
    set_values: Mapping[str, str],
    *,
    before: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return what to save, ready for `resolve`; nothing is checked but each value by itself.

    Args:
        environment: `--environment`, or None to keep what was saved.
        preset: `--preset`, or None to keep what was saved.
        set_values: `--set NAME=VALUE`; an empty value takes back what was saved.
        before: What was saved before; None at the first `init`.

    Raises:
        SettingInvalid: every unknown name, every wrong value, and every setting that cannot be saved.
    """
    given = dict(set_values)
    problems = [f"{name}: is not saved by --set: {why}" for name, why in NOT_SAVED.items() if name in given]
    problems += [unknown_name(name) for name in given if name not in SETTINGS]
    if environment:
        given["PHASE4_ENVIRONMENT"] = environment
    for name in SETTINGS:
        if given.get(name):
            try:
                parse(SETTINGS[name], given[name])
            except ValueError as error:
                problems.append(f"{name}: {error}")
    if preset and preset not in PRESETS:
        problems.append(unknown_preset(preset))
    if problems:
        raise SettingInvalid(problems)
    after = {**(before or {}), **given, **({PRESET: preset} if preset else {})}
    return {name: text for name, text in after.items() if text}
