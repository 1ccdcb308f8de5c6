"""Colours by role, in a light and a dark table, and the CSS that pages and views share.

Figures are made with the light colours. Where they are shown, each light colour is replaced by its dark partner
(`palette`), so one figure serves both themes.
"""

from __future__ import annotations

from importlib import resources
from types import MappingProxyType

LIGHT = MappingProxyType(
    {
        "bg": "#f5f6f8",
        "card": "#ffffff",
        "line": "#d9dde3",
        "track": "#e3e7ec",
        "fg": "#1a2028",
        "dim": "#56606d",
        "ok": "#00664a",
        "ok-bg": "#e2f4ee",
        "warn": "#7a4b00",
        "warn-bg": "#fdf0d5",
        "crit": "#a8380a",
        "crit-bg": "#fde6dc",
        "info": "#0b5394",
        "info-bg": "#e3effa",
        "idle-bg": "#eceef1",
        "series-1": "#0072b2",
        "series-2": "#b35c00",
        "series-3": "#9b3f7a",
        "series-4": "#00795a",
        "series-5": "#6b6200",
        "series-6": "#4a55b5",
    }
)
DARK = MappingProxyType(
    {
        "bg": "#0f1318",
        "card": "#171c23",
        "line": "#2c343f",
        "track": "#29313b",
        "fg": "#e6eaef",
        "dim": "#9aa6b4",
        "ok": "#4fd3a8",
        "ok-bg": "#0e2e25",
        "warn": "#f5b942",
        "warn-bg": "#33270c",
        "crit": "#ff8a5c",
        "crit-bg": "#3a1a0e",
        "info": "#6cb8f5",
        "info-bg": "#10283c",
        "idle-bg": "#232a33",
        "series-1": "#56b4e9",
        "series-2": "#e69f00",
        "series-3": "#de8fbe",
        "series-4": "#2fc99a",
        "series-5": "#e3d95b",
        "series-6": "#a3adff",
    }
)
SERIES = tuple(LIGHT[f"series-{number}"] for number in range(1, 7))
"""Light colours of the series, derived from Okabe and Ito (2008); a dash and a symbol go with each, see `axes`."""
FONT = "Inter, Roboto, system-ui, sans-serif"
"""No font is shipped: texts must fit in DejaVu Sans, the widest usual fallback."""


def palette() -> dict[str, str]:
    """Return the dark partner of every light colour."""
    return {LIGHT[name]: DARK[name] for name in LIGHT}


def variable(colour: str) -> str:
    """Return the CSS variable that holds a light colour or its dark partner, whichever the theme asks for.

    >>> variable("#0072b2")
    'var(--series-1)'
    """
    names = {value: name for name, value in LIGHT.items()}
    return f"var(--{names[colour]})" if colour in names else colour


def css() -> str:
    """Return the style sheet of a page; a view in a shadow root can use it as it is."""
    light = "".join(f"--{name}:{value};" for name, value in LIGHT.items())
    dark = "".join(f"--{name}:{value};" for name, value in DARK.items())
    rules = resources.files("phase4.dashboard").joinpath("page.css").read_text(encoding="utf-8")
    return (
        f":root,:host{{color-scheme:light dark;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root,:host{{{dark}}}}}\n{rules}"
    )
