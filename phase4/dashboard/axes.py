"""What all figures share: fonts, lines, and how a policy looks everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from phase4.dashboard.tokens import FONT, LIGHT, SERIES
from phase4.durations import DAY_MS, HOUR_MS

Figure = dict[str, Any]
"""A plotly figure as plain values: {"data": [...], "layout": {...}}."""

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True, slots=True)
class Style:
    """How a series looks: colour is never alone, a symbol and a dash go with it."""

    colour: str
    symbol: str
    dash: str


def style(policies: Sequence[str], policy: str) -> Style:
    """Return how a policy looks in every figure of a run: by its place among the run's policies.

    >>> style(["a", "b"], "b").symbol
    'square'
    """
    return style_at(list(policies).index(policy))


def style_at(index: int) -> Style:
    """Return the style of the series with this index.

    From the seventh on colours come again, with other symbols and dashes.
    """
    shift = index + index // len(SERIES)
    return Style(SERIES[index % len(SERIES)], _SYMBOLS[shift % len(_SYMBOLS)], _DASHES[shift % len(_DASHES)])


def layout(*, height: int, left: int = 48, top: int = 8, right: int = 12, bottom: int = 40) -> dict[str, Any]:
    """Return the layout that every figure starts from; the margins are in px."""
    return {
        "height": height,
        "autosize": True,
        "margin": {"l": left, "r": right, "t": top, "b": bottom, "pad": 0},
        "font": {"family": FONT, "size": 12, "color": LIGHT["fg"]},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hoverlabel": {"bgcolor": LIGHT["card"], "bordercolor": LIGHT["line"], "font": {"color": LIGHT["fg"]}},
        "dragmode": False,
        "showlegend": False,
        "annotations": [],
        "shapes": [],
    }


def axis(**more: Any) -> dict[str, Any]:
    """Return an axis with a quiet grid."""
    return {
        "gridcolor": LIGHT["line"],
        "linecolor": LIGHT["line"],
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "tickfont": {"size": 11, "color": LIGHT["dim"]},
        "fixedrange": True,
        **more,
    }


def note(text: str, *, x: float, y: float, xref: str = "paper", yref: str = "paper", **more: Any) -> dict[str, Any]:
    """Return a text without an arrow; `text` may hold plotly's tags, so escape what is not ours."""
    return {
        "text": text,
        "x": x,
        "y": y,
        "xref": xref,
        "yref": yref,
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom",
        "align": "left",
        "font": {"size": 11, "color": LIGHT["dim"]},
        **more,
    }


def title(text: str) -> dict[str, Any]:
    """Return the title of an axis."""
    return {"text": text, "font": {"size": 11, "color": LIGHT["dim"]}, "standoff": 6}


def time_unit(duration_ms: float) -> tuple[int, str]:
    """Return the unit in which a duration is best drawn, in ms, with its name.

    >>> time_unit(28 * 86_400_000), time_unit(3_600_000)
    ((86400000, 'days'), (60000, 'minutes'))
    """
    for size, name in ((DAY_MS, "days"), (HOUR_MS, "hours"), (60_000, "minutes")):
        if duration_ms >= 2 * size:
            return size, name
    return 1_000, "seconds"
