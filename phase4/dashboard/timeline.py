"""One run over time: exposure, error rates, evidence against its bound, verdicts, and what the controller did.

The x axis counts from the start of the run. A bucket is drawn where it closes, which is when the judge saw it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from phase4.dashboard import decimate
from phase4.dashboard.axes import Figure, axis, layout, note, style, time_unit, title
from phase4.dashboard.replay import Mark, Replay
from phase4.dashboard.series import VERDICTS, bucketed_evidence, bucketed_rates, stretches
from phase4.dashboard.texts import percent, plain
from phase4.dashboard.tokens import LIGHT

_GLYPHS = {"PASS": "✓", "INCONCLUSIVE": "…", "NO_DATA": "∅", "FAIL": "✕"}
_FILLS = {"PASS": "ok", "INCONCLUSIVE": "warn", "NO_DATA": "dim", "FAIL": "crit"}
_PATTERNS = {"PASS": "", "INCONCLUSIVE": "/", "NO_DATA": ".", "FAIL": "x"}
_EVIDENCE_LOOKS = (("fg", "solid"), ("info", "dash"), ("dim", "dot"), ("series-5", "dashdot"), ("series-3", "longdash"))
_EVIDENCE = {"legendgroup": "Evidence"}
_LANES = 3
LEFT_PX = 48
"""Left margin, in px."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """How ticks become places on the x axis."""

    ticks: int
    size: int
    """Ticks in a bucket."""
    per_tick: float
    """Units of the x axis in a tick."""
    last: float
    """Right end of the x axis."""

    def closes(self) -> list[float]:
        """Return where each bucket closes."""
        return [round(float(end) * self.per_tick, 4) for end in decimate.ends(self.ticks, self.size)]


def timeline(replay: Replay, policies: Sequence[str]) -> Figure:
    """Return one run as panels above each other that share the time axis.

    Args:
        replay: The run.
        policies: Names of all policies of the run file, in its order: it decides the colour of treatment.
    """
    guardrails = replay.evidence["guardrail"].unique(maintain_order=True).to_list() if len(replay.evidence) else []
    unit_ms, unit = time_unit(max(replay.ticks * replay.tick_ms, replay.tick_ms))
    scale = _scale(replay, unit_ms)
    strip_px = 28 * max(len(guardrails), 1)
    tops, height = _rows((36, 76, 150, 150, strip_px))
    figure: Figure = {"data": [], "layout": layout(height=height, left=LEFT_PX, top=6, bottom=42)}
    shape = figure["layout"]
    shape["dragmode"] = "zoom"
    shape["barmode"] = "overlay"
    shape["xaxis"] = axis(
        range=[0, scale.last],
        title=title(f"{unit} since the start"),
        fixedrange=False,
        anchor=f"y{len(tops)}",
    )
    shape["showlegend"] = True
    shape["legend"] = {
        "orientation": "h",
        "x": 0,
        "y": -0.07,
        "xanchor": "left",
        "yanchor": "top",
        "font": {"size": 11},
    }
    _journal(figure, replay.marks, tops[0], scale, unit_ms)
    _exposure(figure, replay, tops[1], scale)
    _rates(figure, replay, tops[2], scale, policies)
    frames = {name: bucketed_evidence(replay, name) for name in guardrails}
    _evidence(figure, frames, tops[3], scale)
    _verdicts(figure, frames, tops[4], scale)
    _onset(figure, replay, tops[1], unit_ms)
    return figure


def _scale(replay: Replay, unit_ms: int) -> _Scale:
    moments = [replay.ticks * replay.tick_ms, replay.onset_ms or 0, *[mark.at_ms for mark in replay.marks]]
    return _Scale(
        ticks=replay.ticks,
        size=decimate.bucket_size(replay.ticks),
        per_tick=replay.tick_ms / unit_ms,
        last=round(max([*moments, replay.tick_ms]) / unit_ms * 1.03, 4),
    )


def _rows(heights: Sequence[int]) -> tuple[list[tuple[float, float]], int]:
    """Return the (bottom, top) of each panel as shares of the plot, and the figure's height in px."""
    gap = 26
    plot = sum(heights) + gap * len(heights)
    places, y = [], float(plot)
    for height in heights:
        y -= gap
        places.append(((y - height) / plot, y / plot))
        y -= height
    return places, plot + 48


def _panel(figure: Figure, row: int, place: tuple[float, float], name: str, **more: Any) -> str:
    """Add a panel's y axis and title; return the axis's reference."""
    suffix = "" if row == 1 else str(row)
    figure["layout"][f"yaxis{suffix}"] = axis(
        domain=[round(max(place[0], 0.0), 5), round(place[1], 5)], anchor="x", **more
    )
    figure["layout"]["annotations"].append(
        note(f"<b>{name}</b>", x=0, xshift=8 - LEFT_PX, y=place[1], yshift=3, font={"size": 12, "color": LIGHT["fg"]})
    )
    return f"y{suffix}"


def _journal(figure: Figure, marks: Sequence[Mark], place: tuple[float, float], scale: _Scale, unit_ms: int) -> None:
    """Add the journal: a numbered mark at the exact time of each event, and a line through all panels."""
    y = _panel(figure, 1, place, "Journal", range=[-0.6, _LANES - 0.4], showgrid=False, showticklabels=False)
    xs = [round(mark.at_ms / unit_ms, 5) for mark in marks]
    for x, mark in zip(xs, marks, strict=True):
        figure["layout"]["shapes"].append(_vertical(x, LIGHT["crit" if mark.status == "crit" else "dim"], "solid", 1))
    figure["data"].append(
        {
            "type": "scatter",
            "mode": "markers+text",
            "showlegend": False,
            "yaxis": y,
            "x": xs,
            "y": _lanes(xs, scale.last),
            "text": [str(mark.seq) for mark in marks],
            "textfont": {"size": 10, "color": LIGHT["card"]},
            "hovertext": [plain(f"{mark.seq}: {mark.text}") for mark in marks],
            "hoverinfo": "text",
            "cliponaxis": False,
            "marker": {
                "size": 15,
                "symbol": ["square" if mark.status in {"crit", "warn"} else "circle" for mark in marks],
                "color": [LIGHT[mark.status] for mark in marks],
            },
        }
    )


def _lanes(xs: Sequence[float], last: float) -> list[int]:
    """Return a lane for each mark, another one where the mark before is too close to stand beside it."""
    lanes: list[int] = []
    for index, x in enumerate(xs):
        is_close = index > 0 and x - xs[index - 1] < 0.06 * last
        lanes.append((lanes[-1] - 1) % _LANES if is_close else _LANES - 1)
    return lanes


def _exposure(figure: Figure, replay: Replay, place: tuple[float, float], scale: _Scale) -> None:
    spans = replay.exposure.sort("first_tick").to_dicts()
    xs, ys = [0.0], [0.0]
    for span in spans:
        xs += [span["first_tick"], span["end_tick"]]
        ys += [span["percentage"], span["percentage"]]
    if spans and replay.outcome["rolled_back"]:
        xs.append(spans[-1]["end_tick"])
        ys.append(0.0)
    top = max([*ys, 1.0])
    y = _panel(figure, 2, place, "Exposure, % of the users", range=[0, top * 1.1], nticks=4, ticksuffix=" %")
    figure["data"].append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "exposure",
            "showlegend": False,
            "yaxis": y,
            "x": [round(tick * scale.per_tick, 4) for tick in xs],
            "y": ys,
            "line": {"color": LIGHT["fg"], "width": 2, "shape": "hv"},
            "fill": "tozeroy",
            "fillcolor": LIGHT["track"],
            "hovertemplate": "%{y:g} %<extra>exposure</extra>",
        }
    )


def _rates(figure: Figure, replay: Replay, place: tuple[float, float], scale: _Scale, policies: Sequence[str]) -> None:
    frame = bucketed_rates(replay)
    y = _panel(figure, 3, place, "Error rate", rangemode="tozero", nticks=5, tickformat=".1~%")
    look = style(policies, replay.policy)
    size = _point_size(frame["treatment_rate"])
    for name, dash, width in (("control", "dot", 1.3), ("treatment", "solid", 1.8)):
        figure["data"].append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "legendgroup": "Error rate",
                "yaxis": y,
                "x": scale.closes(),
                "y": _points(frame[f"{name}_rate"]),
                "customdata": frame[f"{name}_requests"].to_list(),
                "connectgaps": False,
                "opacity": 1 if name == "treatment" else 0.75,
                "line": {"color": look.colour if name == "treatment" else LIGHT["dim"], "dash": dash, "width": width},
                # a bucket between two gaps has no line: the marker keeps it visible
                "marker": {"color": look.colour if name == "treatment" else LIGHT["dim"], "size": size},
                "hovertemplate": f"%{{y:.2%}} of %{{customdata}} requests<extra>{name}</extra>",
            }
        )
    if replay.limit is not None:
        limit = {"x": [0, scale.last], "y": [replay.limit] * 2, "legendgroup": "Error rate"}
        name = f"limit of the first stage, {percent(replay.limit)}"
        figure["data"].append(_rule(name, limit, y, LIGHT["crit"], "dash"))


def _evidence(figure: Figure, frames: Mapping[str, pl.DataFrame], place: tuple[float, float], scale: _Scale) -> None:
    kept = {name: frame for name, frame in frames.items() if frame["log10_e"].is_not_null().any()}
    values = [v for f in kept.values() for c in ("log10_e", "bound") for v in f[c].drop_nulls().to_list()]
    low, high = math.floor(min([*values, 0.0]) - 0.2), math.ceil(max([*values, 1.0]) + 0.2)
    step = max(math.ceil((high - low) / 5), 1)
    ticks = [t for t in range(low, high) if t % step == 0]
    y = _panel(
        figure,
        4,
        place,
        "Evidence E against the feature",
        range=[low, high],
        tickvals=ticks,
        ticktext=[_power(t) for t in ticks],
    )
    for index, (name, frame) in enumerate(kept.items()):
        token, dash = _EVIDENCE_LOOKS[index % len(_EVIDENCE_LOOKS)]
        line = {
            "y": _points(frame["log10_e"]),
            "mode": "lines+markers",
            "marker": {"color": LIGHT[token], "size": _point_size(frame["log10_e"])},
        }
        figure["data"].append(_rule(plain(name), {"x": scale.closes(), **_EVIDENCE, **line}, y, LIGHT[token], dash))
    for name, bound in _bounds(kept).items():
        points = {"x": scale.closes(), "y": list(bound), **_EVIDENCE}
        figure["data"].append(_rule(name, points, y, LIGHT["crit"], "dash"))
    if not kept:
        text = "A raw rule keeps no evidence:<br>it has no error control." if frames else "Nothing was judged."
        figure["layout"]["annotations"].append(
            note(text, x=0.5, xanchor="center", y=(place[0] + place[1]) / 2, yanchor="middle", align="center")
        )


def _verdicts(figure: Figure, frames: Mapping[str, pl.DataFrame], place: tuple[float, float], scale: _Scale) -> None:
    """Add a strip for each guardrail: stretches of one verdict, from the close of their first bucket on."""
    y = _panel(figure, 5, place, "Verdict", range=[len(frames) - 0.5, -0.5], showgrid=False, showticklabels=False)
    for row, name in enumerate(frames):
        # above its strip: a name beside it would take the margin of all panels
        figure["layout"]["annotations"].append(
            note(plain(name), x=0, y=row - 0.2, yref=y, xshift=2, font={"size": 10, "color": LIGHT["dim"]})
        )
    runs = [
        (row, verdict, first, last)
        for row, frame in enumerate(frames.values())
        for verdict, first, last in stretches(frame, scale.size)
    ]
    for verdict in VERDICTS:
        own = [(row, first, last) for row, name, first, last in runs if name == verdict]
        if own:
            figure["data"].append(_bars(verdict, own, y, scale))


def _bars(verdict: str, runs: Sequence[tuple[int, int, int]], y: str, scale: _Scale) -> dict[str, Any]:
    colour = LIGHT[_FILLS[verdict]]
    return {
        "type": "bar",
        "orientation": "h",
        "name": f"{_GLYPHS[verdict]} {verdict}",
        "legendgroup": "Verdict",
        "yaxis": y,
        "y": [row for row, _, _ in runs],
        "base": [round(first * scale.per_tick, 4) for _, first, _ in runs],
        "x": [round((last - first) * scale.per_tick, 4) for _, first, last in runs],
        "width": 0.4,
        "marker": {
            "color": colour,
            "line": {"width": 0},
            "pattern": {
                "shape": _PATTERNS[verdict],
                "fillmode": "overlay",
                "fgcolor": LIGHT["card"],
                "size": 6,
                "solidity": 0.25,
            },
        },
        "hovertemplate": f"{verdict}<extra></extra>",
    }


def _onset(figure: Figure, replay: Replay, place: tuple[float, float], unit_ms: int) -> None:
    if replay.onset_ms is None:
        return
    x = round(replay.onset_ms / unit_ms, 5)
    figure["layout"]["shapes"].append(_vertical(x, LIGHT["crit"], "dash", 2))
    is_left = x < 0.5 * figure["layout"]["xaxis"]["range"][1]
    figure["layout"]["annotations"].append(
        note(
            "defect begins",
            x=x,
            xref="x",
            y=max(place[0], 0.0),
            xanchor="left" if is_left else "right",
            xshift=4 if is_left else -4,
            font={"size": 11, "color": LIGHT["crit"]},
        )
    )


def _vertical(x: float, colour: str, dash: str, width: float) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "line": {"color": colour, "dash": dash, "width": width},
    }


def _rule(name: str, points: Mapping[str, Any], y: str, colour: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "yaxis": y,
        "connectgaps": False,
        "line": {"color": colour, "dash": dash, "width": 1.6},
        "hoverinfo": "skip",
        **points,
    }


def _point_size(values: pl.Series) -> int:
    """Return the size of a curve's points, in px: few points must be seen without a line between them."""
    return 7 if values.count() <= 12 else 3


def _points(values: pl.Series) -> list[float | None]:
    return [None if value is None else float(f"{value:.4g}") for value in values.to_list()]


def _bounds(frames: Mapping[str, pl.DataFrame]) -> dict[str, tuple[float | None, ...]]:
    """Return the different bounds with their names; one that all guardrails share needs no guardrail's name."""
    curves: dict[tuple[float | None, ...], list[str]] = {}
    for name, frame in frames.items():
        curves.setdefault(tuple(_points(frame["bound"])), []).append(plain(name))
    found = {}
    for curve, names in curves.items():
        levels = sorted({round(10.0**value) for value in curve if value is not None})
        of = "" if len(curves) == 1 else f" of {', '.join(names)}"
        found[f"bound{of}, 1/α = {', '.join(f'{level:,}' for level in levels)}"] = curve
    return found


def _power(exponent: int) -> str:
    """Return a power of ten as a tick's text.

    >>> _power(0), _power(2)
    ('1', '10<sup>2</sup>')
    """
    return "1" if exponent == 0 else f"10<sup>{exponent}</sup>"
