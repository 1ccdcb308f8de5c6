"""Prerequisites among the flags of one set: they exist, serve what is asked of them, and go round in no circle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from phase4.errors import FlagInvalid
from phase4.flags.definition import FlagDefinition
from phase4.flags.fields import unknown
from phase4.flags.schema import PREREQUISITE_DEPTH_MAX


def in_order(definitions: Mapping[str, FlagDefinition]) -> tuple[str, ...]:
    """Return the keys of the flags so that each comes after its prerequisites.

    Args:
        definitions: All flags of the set, by key.

    Raises:
        FlagInvalid: every flag and variant that there is not, with the nearest there is; else a cycle, written
            `a -> b -> a`; else every chain of more than 8 prerequisites.
    """
    problems = [problem for definition in definitions.values() for problem in _unknown_names(definition, definitions)]
    if problems:
        raise FlagInvalid(problems)
    graph = {key: [each.flag_key for each in definition.prerequisites] for key, definition in definitions.items()}
    try:
        order = tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise FlagInvalid(f"prerequisites go round in a circle: {_cycle(error.args[1])}") from None
    chains: dict[str, tuple[str, ...]] = {}
    for key in order:
        chains[key] = (key, *max((chains[other] for other in graph[key]), key=len, default=()))
        if len(chains[key]) - 1 > PREREQUISITE_DEPTH_MAX:
            problems.append(
                f"{key}: prerequisites: are nested deeper than {PREREQUISITE_DEPTH_MAX}: {' -> '.join(chains[key])}"
            )
    if problems:
        raise FlagInvalid(problems)
    return order


def _unknown_names(definition: FlagDefinition, definitions: Mapping[str, FlagDefinition]) -> Iterator[str]:
    for index, wanted in enumerate(definition.prerequisites):
        place = f"{definition.key}: prerequisites[{index}]"
        other = definitions.get(wanted.flag_key)
        if other is None:
            yield f"{place}.flag_key: {unknown(wanted.flag_key, tuple(definitions), what='flags')}"
            continue
        for number, variant in enumerate(wanted.variants):
            if variant not in other.variants:
                yield f"{place}.variants[{number}]: {unknown(variant, tuple(other.variants), what='variants')}"


def _cycle(found: list[str]) -> str:
    """Return a cycle from its first key in the alphabet on; it is found from prerequisite to dependent flag."""
    keys = found[:0:-1]
    start = keys.index(min(keys))
    return " -> ".join((*keys[start:], *keys[: start + 1]))
