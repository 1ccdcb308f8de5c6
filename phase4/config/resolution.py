"""Resolution: from all that was said, the one value of each setting, and who said it.

Lowest first: defaults, environment profile, preset, saved by `init`, environment variable, command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from phase4.config.parsing import closest, parse, quoted
from phase4.config.paths import default_home, expanded
from phase4.config.profiles import PRESETS, PROFILES
from phase4.config.setting import Value
from phase4.config.settings import PRESET, SETTINGS, Layer, Origin, Settings, unknown_name
from phase4.errors import SettingInvalid

NOT_SETTINGS = frozenset(
    {
        "PHASE4_DEBUG",
        "PHASE4_HOOK_ID",
        "PHASE4_HOOK_TYPE",
        "PHASE4_HOOK_ATTEMPT",
        "PHASE4_HOOK_ATTEMPTS_MAX",
        "PHASE4_IDEMPOTENCY_KEY",
    }
)
"""Known names that are no settings: `process.is_verbose` reads the first, hooks give the others to their children."""
NOT_SAVED = {
    "PHASE4_HOME": "what is saved lies in it; use --home or the variable",
    "PHASE4_ENVIRONMENT": "use --environment",
}
"""Settings that `init --set` refuses, and why. The environment's name is saved all the same, by --environment."""

_PLACES = {
    Layer.SAVED: ", as saved by init",
    Layer.VARIABLE: "",
    Layer.COMMAND_LINE: ", on the command line",
}


def resolve(
    environment: Mapping[str, str], saved: Mapping[str, str], command_line: Mapping[str, str | None]
) -> Settings:
    """Return the settings that these layers give; reads nothing else.

    Args:
        environment: Environment variables by name; those that are no setting of ours are left alone.
        saved: What `saved.to_save` gave: texts by variable, and the preset's name under `PRESET`.
        command_line: Texts as typed, by variable, and the preset's name under `PRESET`. Everywhere an empty text
            means "not set"; here None does too.

    Raises:
        SettingInvalid: every value that is wrong, in every layer, also where a higher layer would hide it.
    """
    problems: list[str] = []
    warnings = _ignored(environment, saved)
    problems += [unknown_name(name) for name in command_line if name != PRESET and name not in SETTINGS]
    said = {
        layer: _parsed({name: texts[name] for name in SETTINGS if texts.get(name)}, layer, environment, problems)
        for layer, texts in (
            (Layer.SAVED, {name: text for name, text in saved.items() if name != "PHASE4_HOME"}),
            (Layer.VARIABLE, environment),
            (Layer.COMMAND_LINE, command_line),
        )
    }
    preset = command_line.get(PRESET) or saved.get(PRESET) or None
    if preset is not None and preset not in PRESETS:
        problems.append(unknown_preset(preset))
    defaults: dict[str, Value] = {name: setting.default for name, setting in SETTINGS.items()}
    if not any("PHASE4_HOME" in values for values in said.values()):
        try:
            defaults["PHASE4_HOME"] = Path(default_home(environment))
        except ValueError as error:
            problems.append(f"PHASE4_HOME: is not set, and its default {error}")
    if problems:
        raise SettingInvalid(problems)
    highest_first = reversed((defaults, *said.values()))
    profile = str(next(given["PHASE4_ENVIRONMENT"] for given in highest_first if "PHASE4_ENVIRONMENT" in given))
    layers: list[tuple[Origin, Mapping[str, Value]]] = [
        (Origin(Layer.DEFAULT), defaults),
        (Origin(Layer.PROFILE, profile), PROFILES[profile]),
        (Origin(Layer.PRESET, preset or ""), PRESETS[preset] if preset else {}),
        *((Origin(layer), values) for layer, values in said.items()),
    ]
    values: dict[str, Value] = {}
    origins: dict[str, Origin] = {}
    for origin, given in layers:
        values |= given
        origins |= dict.fromkeys(given, origin)
    return Settings(
        values=MappingProxyType(values), origins=MappingProxyType(origins), preset=preset, warnings=warnings
    )


def unknown_preset(name: str) -> str:
    """Return the one line that names an unknown preset and what was probably meant."""
    close = closest(name.lower(), PRESETS)
    return f"preset: is {', '.join(PRESETS)}: {quoted(name)}" + (f'; did you mean "{close}"?' if close else "")


def _parsed(
    texts: Mapping[str, str | None], layer: Layer, environment: Mapping[str, str], problems: list[str]
) -> dict[str, Value]:
    """Return the values of one layer's texts; what is wrong is added to `problems`."""
    values: dict[str, Value] = {}
    for name, text in texts.items():
        assert text, "an empty text is not set"
        try:
            value = parse(SETTINGS[name], text)
            values[name] = Path(expanded(text, environment)) if isinstance(value, Path) else value
        except ValueError as error:
            problems.append(f"{name}{_PLACES[layer]}: {error}")
    return values


def _ignored(environment: Mapping[str, str], saved: Mapping[str, str]) -> tuple[str, ...]:
    """Return a line for each thing that was said and that nothing reads."""
    ours = [name for name in sorted(environment) if name.startswith("PHASE4_")]
    lines = [f"{unknown_name(name)} (ignored)" for name in ours if name not in {*SETTINGS, *NOT_SETTINGS}]
    if environment.get("NODE_ENV"):
        lines.append("NODE_ENV: is ignored; PHASE4_ENVIRONMENT names the environment")
    lines += [f"{unknown_name(name)} (saved by init, ignored)" for name in saved if name not in {*SETTINGS, PRESET}]
    return tuple(lines)
