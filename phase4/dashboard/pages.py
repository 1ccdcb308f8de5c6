"""One self-contained HTML file: style, script, plotly.js and every number inside, nothing fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from phase4.dashboard import blocks, tokens
from phase4.dashboard.blocks import Badge, Section
from phase4.errors import ExtraMissing

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the browser may load: nothing that is not in the file."""


def document(title: str, sections: Sequence[Section], *, subtitle: str = "", badges: Sequence[Badge] = ()) -> str:
    """Return a page as one HTML text; the same arguments give the same text.

    Args:
        title: The one heading of first rank, and the name of the window.
        sections: The parts of the page, from top to bottom.
        subtitle: A sentence below the title.
        badges: Statuses beside the title.

    Raises:
        ExtraMissing: plotly, which brings the script that draws, is not installed.
    """
    library = _plotly_js()
    body = blocks.render(sections)
    marks = "".join(blocks.badge(mark) for mark in badges)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(title)} · phase4</title>
<link rel="icon" href="data:,">
<style>{tokens.css()}</style>
</head>
<body>
<header><h1>{escape(title)}</h1>{marks}<p>{escape(subtitle)}</p></header>
<noscript><p class="notice warn"><b>▲</b> The charts need JavaScript; the tables show the same numbers.</p></noscript>
<main class="grid">{body.html}</main>
<script>{library}</script>
<script type="application/json" id="figures">{embed({"figures": body.figures, "dark": tokens.palette()})}</script>
<script>{script()}
const content = JSON.parse(document.getElementById("figures").textContent);
phase4Charts(document.body, content.figures, content.dark);
</script>
</body>
</html>
"""


def embed(value: Mapping[str, Any]) -> str:
    r"""Return JSON that may stand inside a script element: no text in it can end the element.

    >>> print(embed({"a": "</script>"}))
    {"a":"\u003c/script\u003e"}
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def script() -> str:
    """Return the script that draws the charts of a page or view."""
    return resources.files("phase4.dashboard").joinpath("page.js").read_text(encoding="utf-8")


def _plotly_js() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ExtraMissing(
            "pages with pictures need plotly, which is not installed", hint="pip install 'phase4[dashboard]'"
        ) from None
    text: str = get_plotlyjs()
    return text
