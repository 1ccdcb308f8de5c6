"""What the view of saved rehearsals offers and shows: values, without the toolkit that serves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from phase4.clock import iso
from phase4.dashboard import sections
from phase4.dashboard.blocks import Code, Notice, Section, Text
from phase4.dashboard.replay import Replay, read_replays
from phase4.errors import NotFound, StoreUnavailable
from phase4.store import runs

NEWEST = 50
"""Files offered: to name a file it must be opened."""
COMMAND = "phase4 simulate sweep sims/first_run.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A run file, read once and shared by everybody who looks at it."""

    info: Mapping[str, Any]
    worlds: tuple[str, ...]
    """Those with a stored run, in the scenario's order."""
    policies: tuple[str, ...]
    """All of the scenario: the order decides how each one looks."""
    outcomes: pl.DataFrame
    figures: pl.DataFrame
    replays: Mapping[tuple[str, str], Replay]

    def policies_in(self, world: str) -> list[str]:
        """Return the policies with a stored run in a world."""
        return [policy for policy in self.policies if (world, policy) in self.replays]


def offered(folder: Path) -> dict[str, Path]:
    """Return the newest run files by what to call them; one that cannot be read is named too."""
    return {_label(path): path for path in runs.saved(folder)[:NEWEST]}


def load(path: Path) -> Saved:
    """Return a run file.

    Raises:
        NotFound: it is gone.
        StoreUnavailable: it cannot be read.
    """
    try:
        return _load(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise NotFound(f"no such run file: {path}") from None


def show(saved: Saved, world: str, policy: str) -> list[Section]:
    """Return the stored run of a world and policy, and what the whole sweep says."""
    names = [row for row in saved.worlds if row in set(saved.figures["world"].to_list())]
    parts = [*_partial(saved.info), _run(saved, world, policy)]
    if saved.info["kind"] == "sweep":
        parts += [
            sections.errors_section(saved.figures, names, saved.policies, span=8),
            sections.harm_section(saved.figures, names, saved.policies, span=4),
            *sections.delay_sections(saved.outcomes, names, saved.policies, span=4),
        ]
    return parts


def show_nothing(folder: Path) -> list[Section]:
    """Return what stands where there is nothing to show, with the command that changes it."""
    text = Text(f"No saved rehearsal in {folder}. This makes one, in about half a minute:")
    return [Section("Nothing to show yet", (text, Code((COMMAND,))))]


def show_problem(path: Path, message: str) -> list[Section]:
    """Return what stands in place of a file that cannot be shown: its name and why."""
    return [Section(path.name, (Notice("crit", f"{path.name} cannot be shown: {message}"),))]


@lru_cache(maxsize=4)
def _load(path: Path, _mtime_ns: int) -> Saved:
    run = runs.read(path)
    replays = read_replays(run)
    stored = {world for world, _ in replays}
    return Saved(
        info=run.info,
        worlds=tuple(name for name in run.table("world")["name"].to_list() if name in stored),
        policies=tuple(run.table("policy")["name"].to_list()),
        outcomes=run.table("outcome"),
        figures=run.table("figure"),
        replays=replays,
    )


def _label(path: Path) -> str:
    try:
        info = runs.read(path).info
    except (NotFound, StoreUnavailable):
        return f"✕ {path.name} cannot be read"
    count = f"{info['done']:,} runs" if info["kind"] == "sweep" else "1 run"
    partial = "" if info["complete"] else " · PARTIAL"
    return (
        f"{info['scenario']} · {count}{partial} · {iso(info['started_wall_ms'])[:16].replace('T', ' ')} · {path.stem}"
    )


def _run(saved: Saved, world: str, policy: str) -> Section:
    replay = saved.replays[world, policy]
    badge = sections.phase_badge(replay)
    return Section(f"{world} · {policy}", (badge, *sections.replay_blocks(replay, saved.policies)))


def _partial(info: Mapping[str, Any]) -> Sequence[Section]:
    if info["complete"]:
        return ()
    text = f"Interrupted after {info['done']:,} of {info['planned']:,} runs; every figure is over those."
    return (Section("PARTIAL", (Notice("warn", text),)),)
