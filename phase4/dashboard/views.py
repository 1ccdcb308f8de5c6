"""The read-only view of saved rehearsals, served by Panel. It shows; it starts, changes and approves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import panel as pn
import param
from panel.custom import JSComponent

from phase4 import config
from phase4.dashboard import blocks, pages, saved, tokens
from phase4.dashboard.blocks import Badge, Section
from phase4.errors import NotFound, StoreUnavailable

# at import: the page's head is written before a view is made, and must load plotly.js
pn.extension("plotly")

_PLOTLY_CSS = Path(pn.__file__).parent / "dist/css/models/plotly.css"
_TEMPLATE = """{% extends base %}
{% block title %}Rehearsals · phase4{% endblock %}
{% block preamble %}<link rel="icon" href="data:,"><style>{{ css }}</style>{% endblock %}
{% block contents %}
<header><h1>Rehearsals</h1>{{ badge }}<p>What saved rehearsals saw and did, read only.</p></header>
<main>
<div class="controls">{{ embed(roots.run) }}{{ embed(roots.world) }}{{ embed(roots.policy) }}</div>
{{ embed(roots.board) }}
</main>
{% endblock %}
"""
_RENDER = """
export function render({ model }) {
  const board = document.createElement("div");
  board.className = "board";
  let release = () => {};
  const show = () => {
    const content = JSON.parse(model.content);
    release();
    board.innerHTML = content.html;
    release = phase4Charts(board, content.figures, content.dark);
  };
  model.on("content", show);
  model.on("remove", () => release());
  show();
  return board;
}
"""
_CONTROL_CSS = """
:host { color: var(--fg); }
label { color: var(--dim); font-size: 12px; }
select.bk-input { background-color: var(--card); color: var(--fg); border: 1px solid var(--line); border-radius: 6px;
  appearance: auto; background-image: none; }
select.bk-input:focus-visible { outline: 2px solid var(--info); }
"""


class Board(JSComponent):
    """Shows rendered sections and draws their charts, with the script and style of the pages."""

    content = param.String(default='{"html":"","figures":{},"dark":{}}')
    """JSON: html, figures by chart id, dark partners of the light colours."""

    _esm = pages.script() + _RENDER
    # in a shadow root plotly finds no style sheet of its own
    _stylesheets = [tokens.css(), _PLOTLY_CSS.read_text(encoding="utf-8")]  # noqa: RUF012  panel reads it as it is


class _Simulation:
    """One session: three choices and what they show."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = saved.offered(folder)
        self.run = _select("Run", dict(files))
        self.world = _select("World", [])
        self.policy = _select("Policy", [])
        self.board = Board(sizing_mode="stretch_width")
        self._is_filling = False
        self.run.param.watch(lambda _: self._open(), "value")
        self.world.param.watch(lambda _: self._offer_policies(), "value")
        self.policy.param.watch(lambda _: self._show(), "value")
        self._open()

    def _open(self) -> None:
        """Offer the worlds of the chosen file."""
        path = self.run.value
        if path is None:
            self._fill([], [])
            self._put(saved.show_nothing(self._folder))
            return
        try:
            found = saved.load(path)
        except (NotFound, StoreUnavailable) as error:
            self._fill([], [])
            self._put(saved.show_problem(path, error.message))
            return
        if not found.worlds:
            self._fill([], [])
            self._put(saved.show_problem(path, "no run was stored in it"))
            return
        world = self.world.value if self.world.value in found.worlds else found.worlds[0]
        self._fill(list(found.worlds), found.policies_in(world), world=world)
        self._show()

    def _offer_policies(self) -> None:
        if not self._is_filling:
            found = saved.load(self.run.value)
            self._fill(list(found.worlds), found.policies_in(self.world.value), world=self.world.value)
            self._show()

    def _fill(self, worlds: list[str], policies: list[str], *, world: str | None = None) -> None:
        """Set both lists at once, keeping the chosen policy where there is one of that name."""
        policy = self.policy.value if self.policy.value in policies else (policies[-1] if policies else None)
        self._is_filling = True
        self.world.param.update(options=worlds, value=world, disabled=not worlds)
        self.policy.param.update(options=policies, value=policy, disabled=not policies)
        self._is_filling = False

    def _show(self) -> None:
        if not self._is_filling and self.policy.value is not None:
            found = saved.load(self.run.value)
            self._put(saved.show(found, self.world.value, self.policy.value))

    def _put(self, parts: list[Section]) -> None:
        body = blocks.render(parts)
        html = f'<div class="grid">{body.html}</div>'
        self.board.content = pages.embed({"html": html, "figures": body.figures, "dark": tokens.palette()})


def simulation() -> pn.Template:
    """Return the view of the rehearsals saved in PHASE4_HOME, for one session."""
    session = _Simulation(config.home() / "runs")
    template = pn.Template(_TEMPLATE)
    badge = blocks.badge(Badge("info", "sim: a rehearsal, not production"))
    template.add_variable("css", tokens.css())
    template.add_variable("badge", badge)
    for name in ("run", "world", "policy", "board"):
        template.add_panel(name, getattr(session, name))
    return template


def _select(name: str, options: Any) -> pn.widgets.Select:
    return pn.widgets.Select(
        name=name, options=options, sizing_mode="stretch_width", stylesheets=[_CONTROL_CSS], margin=0
    )
