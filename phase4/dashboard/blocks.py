"""What a page is made of: small values, rendered to HTML in one place where every text is escaped."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, assert_never

from phase4.dashboard.axes import Figure
from phase4.dashboard.tokens import variable

GLYPHS = {"ok": "✓", "warn": "▲", "crit": "✕", "info": "▶", "idle": "■"}
"""A status is always glyph, word and colour."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    is_note: bool = False


@dataclass(frozen=True, slots=True)
class Badge:
    """A status: its key of `GLYPHS`, and its word."""

    status: str
    word: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that must not be overlooked."""

    status: str
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Lines to type."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with their values."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Steps:
    """What happened, in order: (number, when, status, what)."""

    rows: tuple[tuple[int, str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """A policy's standing: its name, how it looks in the figures, and numbers with what they are."""

    name: str
    colour: str
    symbol: str
    numbers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles beside each other."""

    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: a value, what stands small below it, and for shares a bar."""

    text: str
    small: str = ""
    share: float | None = None
    """Length of the bar, 0-1."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a table under a heading of their own; an empty heading is left out."""

    title: str
    rows: tuple[tuple[str | Cell, ...], ...]
    """The first cell of a row is its heading."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its caption names it."""

    caption: str
    head: tuple[str, ...]
    groups: tuple[Group, ...]
    is_prose: bool = False
    """Whether the cells hold words rather than numbers."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with the sentence that says what it shows, and the same numbers as a table."""

    figure: Figure
    sentence: str
    data: Table | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """Something that opens on demand."""

    summary: str
    body: tuple[Block, ...]
    badge: Badge | None = None
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A labelled part of a page; `span` of the 12 columns of the grid."""

    title: str
    body: tuple[Block, ...]
    span: int = 12


Block = Text | Badge | Notice | Code | Facts | Steps | Tiles | Table | Chart | Details


@dataclass(slots=True)
class Rendered:
    """HTML, and the figures that the page's script draws into it, by chart id."""

    html: str = ""
    figures: dict[str, Figure] = field(default_factory=dict)


def render(sections: Sequence[Section]) -> Rendered:
    """Return the sections as HTML; the same sections give the same bytes."""
    out = Rendered()
    parts = []
    for number, section in enumerate(sections, 1):
        body = _blocks(section.body, out)
        parts.append(
            f'<section class="card span-{section.span}" aria-labelledby="s{number}">'
            f'<h2 id="s{number}">{escape(section.title)}</h2>{body}</section>'
        )
    out.html = "".join(parts)
    return out


def _blocks(blocks: Sequence[Block], out: Rendered) -> str:
    return "".join(_block(block, out) for block in blocks)


def _block(block: Block, out: Rendered) -> str:  # noqa: C901  one case for each kind of block
    match block:
        case Text():
            return f"<p{' class=note' if block.is_note else ''}>{escape(block.text)}</p>"
        case Badge():
            return badge(block)
        case Notice():
            glyph = GLYPHS[block.status]
            return f'<p class="notice {block.status}" role="alert"><b>{glyph}</b> {escape(block.text)}</p>'
        case Code():
            return f"<pre><code>{escape(chr(10).join(block.lines))}</code></pre>"
        case Facts():
            pairs = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in block.pairs)
            return f'<dl class="facts">{"".join(pairs)}</dl>'
        case Steps():
            return f'<ol class="steps">{"".join(_step(*row) for row in block.rows)}</ol>'
        case Tiles():
            return f'<div class="tiles">{"".join(_tile(tile) for tile in block.tiles)}</div>'
        case Table():
            return _table(block)
        case Chart():
            return _chart(block, out)
        case Details():
            mark = badge(block.badge) if block.badge else ""
            is_open = " open" if block.is_open else ""
            body = _blocks(block.body, out)
            return f"<details{is_open}><summary>{escape(block.summary)} {mark}</summary>{body}</details>"
    assert_never(block)


def badge(block: Badge) -> str:
    """Return a status as HTML: glyph, word and colour."""
    return f'<span class="badge {block.status}">{GLYPHS[block.status]} {escape(block.word)}</span>'


def _step(number: int, when: str, status: str, what: str) -> str:
    return f'<li><b class="{status}">{number}</b> <span class="when">{escape(when)}</span> {escape(what)}</li>'


def _tile(tile: Tile) -> str:
    numbers = "".join(f"<div><dd>{escape(value)}</dd><dt>{escape(what)}</dt></div>" for value, what in tile.numbers)
    key = _swatch(tile.colour, "solid", tile.symbol)
    return f'<div class="tile"><h3>{key} {escape(tile.name)}</h3><dl>{numbers}</dl></div>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head)
    body = "".join(_group(group, len(table.head)) for group in table.groups)
    caption = escape(table.caption)
    kind = ' class="prose"' if table.is_prose else ""
    return (
        f'<div class="scroll" role="region" aria-label="{caption}" tabindex="0">'
        f"<table{kind}><caption><span>{caption}</span></caption>"
        f"<thead><tr>{head}</tr></thead>{body}</table></div>"
    )


def _group(group: Group, width: int) -> str:
    title = ""
    if group.title:
        title = f'<tr class="group"><th scope="rowgroup" colspan="{width}"><span>{escape(group.title)}</span></th></tr>'
    rows = "".join(f"<tr>{_heading(row[0])}{''.join(_cell(cell) for cell in row[1:])}</tr>" for row in group.rows)
    return f"<tbody>{title}{rows}</tbody>"


def _heading(cell: str | Cell) -> str:
    return f'<th scope="row">{_inside(cell)}</th>'


def _cell(cell: str | Cell) -> str:
    return f"<td>{_inside(cell)}</td>"


def _inside(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    bar = "" if cell.share is None else f'<i class="bar" style="--share:{cell.share:.4g}"></i>'
    small = f"<small>{escape(cell.small)}</small>" if cell.small else ""
    return f"{escape(cell.text)}{small}{bar}"


def _chart(chart: Chart, out: Rendered) -> str:
    name = f"c{len(out.figures) + 1}"
    figure = copy.deepcopy(chart.figure)
    # the key is HTML: it wraps at every width and follows the theme by itself
    key = _key(figure)
    figure["layout"]["showlegend"] = False
    out.figures[name] = figure
    sentence = escape(chart.sentence)
    data = f"<details><summary>data</summary>{_table(chart.data)}</details>" if chart.data else ""
    return (
        f'<figure>{key}<div class="chart" role="img" aria-label="{sentence}" data-chart="{name}" '
        f'style="height:{figure["layout"]["height"]}px"></div>'
        f"<figcaption>{sentence}</figcaption></figure>{data}"
    )


def _key(figure: Figure) -> str:
    groups: dict[str, list[str]] = {}
    if figure["layout"]["showlegend"]:
        for trace in figure["data"]:
            if trace.get("showlegend", True):
                groups.setdefault(trace.get("legendgroup", ""), []).append(_entry(trace))
    rows = (
        f'<span class="keys">{f"<b>{name}</b> " if name else ""}{"".join(items)}</span>'
        for name, items in groups.items()
    )
    return f'<div class="key">{"".join(rows)}</div>' if groups else ""


def _entry(trace: Mapping[str, Any]) -> str:
    # names in a figure are already escaped: plotly reads tags
    if trace["type"] == "bar":
        fill = trace["marker"]
        ink = f"background-color:{variable(fill['color'])}"
        return f'<span><i class="box {_HATCHES[fill["pattern"]["shape"]]}" style="{ink}"></i>{trace["name"]}</span>'
    marker = trace.get("marker", {})
    symbol = marker.get("symbol", "")
    line = trace["line"]
    return f"<span>{_swatch(line['color'], line['dash'], symbol)}{trace['name']}</span>"


_DASHES = {
    "solid": "",
    "dash": "5 3",
    "dot": "1.5 2.5",
    "dashdot": "6 2.5 1.5 2.5",
    "longdash": "8 3",
    "longdashdot": "9 2 1.5 2",
}
_SHAPES = {
    "circle": '<circle cx="13" cy="6" r="4"/>',
    "square": '<rect x="9" y="2" width="8" height="8"/>',
    "diamond": '<path d="M13 1l5 5-5 5-5-5z"/>',
    "triangle-up": '<path d="M13 1.5l5 8.5h-10z"/>',
    "x": '<path d="M9.5 1l3.5 3.5 3.5-3.5 1.5 1.5-3.5 3.5 3.5 3.5-1.5 1.5-3.5-3.5-3.5 3.5-1.5-1.5 3.5-3.5-3.5-3.5z"/>',
    "star": '<path d="M13 .5l1.7 3.6 3.9.5-2.9 2.7.8 3.9-3.5-1.9-3.5 1.9.8-3.9-2.9-2.7 3.9-.5z"/>',
}


_HATCHES = {"": "full", "/": "hatched", ".": "dotted", "x": "crossed"}


def _swatch(colour: str, dash: str, symbol: str) -> str:
    """Return a line with its dash and symbol, as the figures draw it."""
    pattern = f' stroke-dasharray="{_DASHES[dash]}"' if _DASHES[dash] else ""
    ink = variable(colour)
    return (
        f'<svg class="swatch" width="26" height="12" aria-hidden="true" style="color:{ink}">'
        f'<path d="M0 6h26" stroke="currentColor" stroke-width="2"{pattern}/>'
        f'<g fill="currentColor">{_SHAPES.get(symbol, "")}</g></svg>'
    )
