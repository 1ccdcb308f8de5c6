"""What many runs say, drawn: tables of a run file in, plotly figures as plain values out.

Infinity ("never") and NULL ("nothing to estimate") are written out beside the axis. They have no place on it: a curve
or a dot at 0 would say that nothing happened, or that it happened at once.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from phase4.dashboard import texts
from phase4.dashboard.axes import Figure, axis, layout, note, style, time_unit, title
from phase4.dashboard.timeline import timeline
from phase4.dashboard.tokens import LIGHT
from phase4.durations import HOUR_MS

__all__ = ["Column", "delay_curves", "error_overview", "forest", "harm", "timeline"]

ROW_PX = 21
"""Height of a row of a forest plot."""
LETTER_PX = 6
"""Width that a letter of a tick's text takes on average, in the widest usual font."""
NAME_LETTERS = 22
LEGEND_PX = 18
"""Height of a row of a legend."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a forest plot: a figure of table `figure` on an axis of its own."""

    title: str
    figure: str
    write: texts.Write
    ticks: tuple[float, ...] | None = None
    """Where the axis has its ticks; None = plotly chooses."""


FALSE_ROLLBACK = Column("False rollback", "false_rollback", texts.percent, (0.0, 0.5, 1.0))
CAUGHT = Column("Defect caught", "caught", texts.percent, (0.0, 0.5, 1.0))
HARMED = Column("Users harmed, mean", "harmed_users", texts.number)


def error_overview(figures: pl.DataFrame, worlds: Sequence[str], policies: Sequence[str]) -> Figure:
    """Return false rollbacks and caught defects, world by world, a row for each policy, with 95 % intervals.

    Args:
        figures: Table `figure`: world, policy, figure, estimate, lower, upper (proportions), runs.
        worlds: Names, from top to bottom.
        policies: Names of all policies of the run, in its order: it decides how each one looks.
    """
    return forest(figures, worlds, policies, (FALSE_ROLLBACK, CAUGHT))


def harm(figures: pl.DataFrame, worlds: Sequence[str], policies: Sequence[str]) -> Figure:
    """Return how many users each policy harmed in each world: mean over the runs with its 95 % interval.

    The arguments are those of `error_overview`.
    """
    return forest(figures, worlds, policies, (HARMED,))


def forest(figures: pl.DataFrame, worlds: Sequence[str], policies: Sequence[str], columns: Sequence[Column]) -> Figure:
    """Return small multiples: a block of rows for each world, a column with its own axis for each figure."""
    cells = {(row["world"], row["policy"], row["figure"]): row for row in figures.iter_rows(named=True)}
    heads = [block * (len(policies) + 1) for block in range(len(worlds))]
    size = len(worlds) * (len(policies) + 1)
    names = [_short(policy) for policy in policies]
    left = 16 + LETTER_PX * max(len(name) for name in names)
    figure: Figure = {"data": [], "layout": layout(height=size * ROW_PX + 50, left=left, top=26, bottom=24)}
    shape = figure["layout"]
    rows = [
        (world, policy, head + 1 + i)
        for world, head in zip(worlds, heads, strict=True)
        for i, policy in enumerate(policies)
    ]
    shape["yaxis"] = axis(
        range=[size - 0.4, -0.6],
        showgrid=False,
        tickvals=[y for _, _, y in rows],
        ticktext=[f"{texts.plain(_short(policy))}  " for _, policy, _ in rows],
    )
    for world, head in zip(worlds, heads, strict=True):
        shape["annotations"].append(_block_title(world, head, left))
        shape["shapes"].append(_block_band(head))
    for index, column in enumerate(columns):
        found = [(y, policy, cells.get((world, policy, column.figure))) for world, policy, y in rows]
        _add_column(figure, index, len(columns), column, found, policies)
    return figure


def delay_curves(outcomes: pl.DataFrame, world: str, policies: Sequence[str]) -> Figure:
    """Return how soon one world's defect is caught: share of runs by time since the onset, a step curve each policy.

    A curve is over the runs that reached the onset. A run that was never caught never lets its curve rise to 1; a
    policy of which no run got that far has no curve, and its name says so.

    Args:
        outcomes: Table `outcome`: world, policy, caught (NULL = no onset reached), delay_ms (infinity = never).
        world: The world to draw.
        policies: Names of all policies of the run, in its order.
    """
    reached = outcomes.filter((pl.col("world") == world) & pl.col("caught").is_not_null())
    finite = reached.filter(pl.col("delay_ms").is_finite())["delay_ms"].to_list()
    last_ms = max([*finite, HOUR_MS]) * 1.15
    unit_ms, unit = time_unit(last_ms)
    legend_px = LEGEND_PX * max(len(policies) - 3, 0)  # a legend of many long names has a row for each
    figure: Figure = {"data": [], "layout": layout(height=260 + legend_px, left=48, bottom=44)}
    shape = figure["layout"]
    shape["xaxis"] = axis(range=[0, last_ms / unit_ms], title=title(f"{unit} since the defect began"), showgrid=False)
    shape["yaxis"] = axis(range=[-0.03, 1.05], tickvals=[0, 0.25, 0.5, 0.75, 1], tickformat=".0%")
    shape["showlegend"] = True
    shape["legend"] = _legend()
    for index, policy in enumerate(policies):
        delays = sorted(reached.filter(pl.col("policy") == policy)["delay_ms"].to_list())
        figure["data"].append(_curve(delays, policy, policies, unit_ms, last_ms, index))
    return figure


def _curve(
    delays: Sequence[float], policy: str, policies: Sequence[str], unit_ms: int, last_ms: float, index: int
) -> dict[str, Any]:
    look = style(policies, policy)
    name = texts.plain(policy)
    caught = [delay / unit_ms for delay in delays if math.isfinite(delay)]
    last = last_ms / unit_ms
    # the symbol stands near the flat end, each policy's a little further left, so that equal curves show all of theirs
    mark = last * (0.97 - 0.045 * index)
    xs = sorted({0.0, *caught, mark, last}) if delays else []
    sizes = [9 if x == mark else 0 for x in xs] or 9
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"{name} · {_runs(len(delays))}",
        "x": [round(x, 4) for x in xs] or [None],
        "y": [bisect_right(caught, x) / len(delays) for x in xs] or [None],
        "line": {"color": look.colour, "dash": look.dash, "width": 2, "shape": "hv"},
        "marker": {"symbol": look.symbol, "color": look.colour, "size": sizes, "opacity": 1},
        "hovertemplate": f"%{{y:.0%}} by %{{x:.1f}}<extra>{name}</extra>",
    }


def _runs(count: int) -> str:
    return {0: "no run", 1: "1 run"}.get(count, f"{count:,} runs")


def _add_column(
    figure: Figure,
    index: int,
    columns: int,
    column: Column,
    found: Sequence[tuple[int, str, Mapping[str, Any] | None]],
    policies: Sequence[str],
) -> None:
    """Add one axis with the dots, whiskers and texts of all rows."""
    suffix = "" if index == 0 else str(index + 1)
    gap = 0.03
    left, right = index / columns + gap * (index > 0), (index + 1) / columns
    known = [row for _, _, row in found if row is not None and _is_drawn(row)]
    top = max([1.0 if column.ticks else 0.0, *[_end(row) for row in known]]) or 1.0
    # room for the texts at the ends of the whiskers, also where the axis is 100 px wide
    shape = figure["layout"]
    shape[f"xaxis{suffix}"] = axis(
        domain=[left, right],
        range=[-0.04 * top, 1.5 * top],
        anchor="y",
        side="bottom",
        **(
            {"tickvals": list(column.ticks), "tickformat": ".0%"}
            if column.ticks
            else {"nticks": 4, "rangemode": "tozero"}
        ),
    )
    shape["annotations"].append(
        note(f"<b>{column.title}</b>", x=left, y=1, yshift=4, font={"size": 12, "color": LIGHT["fg"]})
    )
    for policy in policies:
        rows = [(y, row) for y, name, row in found if name == policy and row is not None]
        drawn = [(y, row) for y, row in rows if _is_drawn(row)]
        figure["data"].append(_dots(drawn, policy, policies, f"x{suffix}"))
    figure["data"].append(_labels(found, column, f"x{suffix}"))


def _dots(
    drawn: Sequence[tuple[int, Mapping[str, Any]]], policy: str, policies: Sequence[str], xaxis: str
) -> dict[str, Any]:
    look = style(policies, policy)
    estimates = [row["estimate"] for _, row in drawn]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": texts.plain(policy),
        "showlegend": False,
        "xaxis": xaxis,
        "yaxis": "y",
        "x": [_round(value) for value in estimates],
        "y": [y for y, _ in drawn],
        "marker": {"symbol": look.symbol, "color": look.colour, "size": 9},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [_reach(row["upper"], row["estimate"]) for _, row in drawn],
            "arrayminus": [_reach(row["estimate"], row["lower"]) for _, row in drawn],
            "color": look.colour,
            "thickness": 1.5,
            "width": 3,
        },
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def _labels(found: Sequence[tuple[int, str, Mapping[str, Any] | None]], column: Column, xaxis: str) -> dict[str, Any]:
    """Return the numbers at the ends of the whiskers, and words where there is no number."""
    return {
        "type": "scatter",
        "mode": "markers+text",
        "showlegend": False,
        # nothing is drawn of it: it keeps the text off the dot
        "marker": {"size": 13, "opacity": 0},
        "xaxis": xaxis,
        "yaxis": "y",
        "x": [_round(_end(row) if row is not None and _is_drawn(row) else 0.0) for _, _, row in found],
        "y": [y for y, _, _ in found],
        "text": [_label(row, column) for _, _, row in found],
        "textposition": "middle right",
        "textfont": {"size": 11, "color": LIGHT["dim"]},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def _label(row: Mapping[str, Any] | None, column: Column) -> str:
    if row is None or row["estimate"] is None or math.isnan(row["estimate"]):
        return (
            "no run reached it" if column is CAUGHT and row is not None and row["runs"] == 0 else "nothing to estimate"
        )
    if math.isinf(row["estimate"]):
        return "never"
    return column.write(row["estimate"])


def _is_drawn(row: Mapping[str, Any]) -> bool:
    return row["estimate"] is not None and math.isfinite(row["estimate"])


def _end(row: Mapping[str, Any]) -> float:
    """Return where a row's drawing ends: the upper limit, or the dot where the limit is not finite."""
    upper = row["upper"]
    return float(upper if upper is not None and math.isfinite(upper) else row["estimate"])


def _reach(upper: float | None, lower: float | None) -> float:
    """Return the length of a whisker; 0 where its end is unknown: the dot then stands alone."""
    if upper is None or lower is None or not math.isfinite(upper - lower):
        return 0.0
    return _round(max(upper - lower, 0.0))


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def _block_title(world: str, head: int, left: int) -> dict[str, Any]:
    text = f"<b>{texts.plain(world)}</b>"
    ink = {"size": 12, "color": LIGHT["fg"]}
    return note(text, x=0, xshift=4 - left, y=head, yref="y", yanchor="middle", font=ink)


def _block_band(head: int) -> dict[str, Any]:
    """Return a band behind the title of a block of rows."""
    return {
        "type": "rect",
        "xref": "paper",
        "yref": "y",
        "x0": -1,
        "x1": 1,
        "y0": head - 0.5,
        "y1": head + 0.5,
        "layer": "below",
        "line": {"width": 0},
        "fillcolor": LIGHT["idle-bg"],
    }


def _short(policy: str) -> str:
    """Return a name that leaves room for the figure; the table below it has the whole one."""
    return policy if len(policy) <= NAME_LETTERS else f"{policy[: NAME_LETTERS - 1]}…"


def _legend() -> dict[str, Any]:
    return {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "font": {"size": 11}}
