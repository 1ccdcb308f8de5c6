"""The table of a sweep: one block for each world, every figure above its interval.

Three shapes, the first that fits the terminal: policies as rows, policies as columns, one card for each policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phase4.cli.console import number, percent
from phase4.durations import HOUR_MS, show
from phase4.sim.outcome import Figure, OperatingCharacteristics
from phase4.sim.scenario import Scenario, World

GAP = 2


@dataclass(frozen=True, slots=True)
class _Column:
    title: tuple[str, str]
    figure: str
    write: Callable[[float], str]

    @property
    def name(self) -> str:
        return " ".join(part for part in self.title if part)


def _hours(hours: float) -> str:
    return "-" if math.isnan(hours) else show(hours * HOUR_MS)


_ERRORS = (
    _Column(("false", "rollback"), "false_rollback", percent),
    _Column(("defect", "caught"), "caught", percent),
    _Column(("delay,", "median"), "delay_hours_median", _hours),
    _Column(("delay,", "95 %"), "delay_hours_95", _hours),
)
_USERS = (
    _Column(("users until", "then, median"), "delay_users_median", number),
    _Column(("users until", "then, 95 %"), "delay_users_95", number),
    _Column(("users", "harmed"), "harmed_users", number),
)
_REQUESTS = (
    _Column(("requests until", "then, median"), "delay_requests_median", number),
    _Column(("excess", "errors"), "excess", number),
)
_ENDS = (
    _Column(("full rollout,", "median"), "full_hours_median", _hours),
    _Column(("ends on", "hold"), "held", percent),
)


def columns_of(cells: Sequence[OperatingCharacteristics]) -> tuple[_Column, ...]:
    """Return the columns: cost in users, or in requests where the traffic has no users."""
    has_users = any(cell.exposed_users.runs for cell in cells)
    return (*_ERRORS, *(_USERS if has_users else _REQUESTS), *_ENDS)


def render(scenario: Scenario, cells: Sequence[OperatingCharacteristics], width: int) -> list[str]:
    """Return the lines of the table, none wider than `width` where a card fits it."""
    for shape in (_policies_as_rows, _policies_as_columns):
        lines = shape(scenario, cells)
        if max(map(len, lines), default=0) <= width:
            return lines
    return _cards(scenario, cells)


def _policies_as_rows(scenario: Scenario, cells: Sequence[OperatingCharacteristics]) -> list[str]:
    label = max([len(policy.name) for policy in scenario.policies] + [6])
    columns = columns_of(cells)
    widths = [
        max(len(text) for text in (*column.title, *(t for cell in cells for t in _texts(cell, column))))
        for column in columns
    ]
    lines = [
        _line(("policy" if part == 0 else "", label), [column.title[part] for column in columns], widths)
        for part in (0, 1)
    ]
    for world, own in _by_world(scenario, cells):
        lines += ["", _title(world, max(map(len, lines)))]
        for cell in own:
            pairs = [_texts(cell, column) for column in columns]
            lines.append(_line((cell.policy, label), [pair[0] for pair in pairs], widths))
            lines.append(_line(("", label), [pair[1] for pair in pairs], widths))
    return lines


def _policies_as_columns(scenario: Scenario, cells: Sequence[OperatingCharacteristics]) -> list[str]:
    columns = columns_of(cells)
    label = max(len(column.name) for column in columns)
    heads = {policy.name: _broken(policy.name) for policy in scenario.policies}
    width = max(
        *(len(text) for head in heads.values() for text in head),
        *(len(text) for cell in cells for column in columns for text in _texts(cell, column)),
    )
    widths = [width] * len(scenario.policies)
    height = max(len(head) for head in heads.values())
    lines = [
        _line(("", label), [head[part] if part < len(head) else "" for head in heads.values()], widths)
        for part in range(height)
    ]
    for world, own in _by_world(scenario, cells):
        lines += ["", _title(world, max(map(len, lines)))]
        by_policy = {cell.policy: cell for cell in own}
        for column in columns:
            pairs = [_texts(by_policy[policy], column) if policy in by_policy else ("", "") for policy in heads]
            if all(pair[0] in {"", "-"} for pair in pairs):
                continue
            lines.append(_line((column.name, label), [pair[0] for pair in pairs], widths))
            if any(pair[1] for pair in pairs):
                lines.append(_line(("", label), [pair[1] for pair in pairs], widths))
    return lines


def _cards(scenario: Scenario, cells: Sequence[OperatingCharacteristics]) -> list[str]:
    lines: list[str] = []
    for world, own in _by_world(scenario, cells):
        lines += ["", world.name]
        for cell in own:
            lines.append(f"  {cell.policy}")
            for column in columns_of(cells):
                estimate, limits = _texts(cell, column)
                if estimate != "-":
                    lines.append(f"    {column.name:<24} {estimate:>9}" + (f"  ({limits})" if limits else ""))
    return lines


def _by_world(
    scenario: Scenario, cells: Sequence[OperatingCharacteristics]
) -> list[tuple[World, list[OperatingCharacteristics]]]:
    """Return the worlds that have runs: a partial sweep may lack some."""
    pairs = [(world, [cell for cell in cells if cell.world == world.name]) for world in scenario.worlds]
    return [(world, own) for world, own in pairs if own]


def _title(world: World, width: int) -> str:
    text = f"{world.name} – {world.about}" if world.about else world.name
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _line(label: tuple[str, int], texts: Sequence[str], widths: Sequence[int]) -> str:
    cells = "".join(f"{'':{GAP}}{text:>{width}}" for text, width in zip(texts, widths, strict=True))
    return f"  {label[0]:<{label[1]}}{cells}".rstrip()


def _broken(name: str) -> list[str]:
    """Return a name as lines of about half its length, cut at its spaces."""
    lines = [""]
    for word in name.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > max(len(name) // 2, 9):
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _texts(cell: OperatingCharacteristics, column: _Column) -> tuple[str, str]:
    """Return the estimate and its interval as text; a share of fewer runs than the others says of how many."""
    figure: Figure = getattr(cell, column.figure)
    if math.isnan(figure.estimate):
        return "-", ""
    estimate = column.write(figure.estimate)
    if column.figure == "caught" and figure.runs < cell.replicates:
        estimate = f"{estimate} of {figure.runs}"
    return estimate, _limits(figure, column.write)


def _limits(figure: Figure, write: Callable[[float], str]) -> str:
    if math.isnan(figure.lower) or math.isinf(figure.lower):
        return ""
    lower, upper = write(figure.lower), write(figure.upper)
    unit = upper.rsplit(" ", 1)[-1]
    if " " in upper and lower.endswith(f" {unit}"):  # "1–6 %", not "1 %–6 %"
        lower = lower.removesuffix(f" {unit}")
    return f"{lower}–{upper}"
