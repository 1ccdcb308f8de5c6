"""What a table means, in plain sentences made from its figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from phase4.cli.console import number, percent
from phase4.sim.outcome import OperatingCharacteristics

RELIABLE = 0.9
"""Share of runs that must end as they should before a policy is called better for its speed."""


def sentences(cells: Sequence[OperatingCharacteristics]) -> list[str]:
    """Return how often each policy is wrong about a healthy feature, and how often each finds a defect.

    Each share is that of the world that suits the policy least. A third sentence names a world in which another policy
    is better than the one that is wrong least often, if there is one.
    """
    policies = list(dict.fromkeys(cell.policy for cell in cells))
    healthy = [cell for cell in cells if not _has_defect(cells, cell.world)]
    broken = [cell for cell in cells if _has_defect(cells, cell.world)]
    texts = []
    if healthy:
        worst = {p: _extreme(max, healthy, p, lambda cell: cell.false_rollback.estimate) for p in policies}
        texts.append(
            "With nothing wrong with the feature, at worst, "
            + _shares(worst, "rolls it back in", is_low_good=True)
            + " of rollouts."
        )
    if broken:
        least = {p: _extreme(min, broken, p, _useful) for p in policies}
        texts.append(
            "With a defect, at worst, "
            + _shares(least, "rolls back after it began, and not before, in", is_low_good=False)
            + " of rollouts."
        )
        texts.extend(_better_elsewhere(cells, broken, policies))
    return texts


def _has_defect(cells: Sequence[OperatingCharacteristics], world: str) -> bool:
    """Return whether any policy's runs of a world reached a defect."""
    return any(cell.caught.runs for cell in cells if cell.world == world)


def _useful(cell: OperatingCharacteristics) -> float:
    """Share of all runs that ended as they should: not rolled back before the defect, and rolled back after it."""
    caught = 0.0 if math.isnan(cell.caught.estimate) else cell.caught.estimate
    return caught * cell.caught.runs / cell.replicates


def _extreme(
    pick: Callable[..., float],
    cells: Sequence[OperatingCharacteristics],
    policy: str,
    value: Callable[[OperatingCharacteristics], float],
) -> float:
    return pick((value(cell) for cell in cells if cell.policy == policy), default=math.nan)


def _shares(shares: dict[str, float], verb: str, *, is_low_good: bool) -> str:
    """Return '"a" <verb> 1 %, "b" and "c" in 100 %', the best first, policies with one share together."""
    known = {policy: share for policy, share in shares.items() if not math.isnan(share)}
    together: dict[str, list[str]] = {}
    for policy in sorted(known, key=lambda p: known[p] if is_low_good else -known[p]):
        together.setdefault(percent(known[policy]), []).append(f'"{policy}"')
    parts = [
        f"{_listed(names)} {verb if i == 0 else 'in'} {share}" for i, (share, names) in enumerate(together.items())
    ]
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _better_elsewhere(
    cells: Sequence[OperatingCharacteristics], broken: Sequence[OperatingCharacteristics], policies: Sequence[str]
) -> list[str]:
    """Return a sentence for the first world where a policy hurts fewer users than the steadiest, beyond chance."""
    steady = min(policies, key=lambda p: sum(c.false_rollback.estimate for c in cells if c.policy == p))
    for world in dict.fromkeys(cell.world for cell in broken):
        own = {c.policy: c for c in broken if c.world == world and _useful(c) >= RELIABLE}
        if steady not in own:
            continue
        mine = own[steady].harmed_users
        better = [c for c in own.values() if c.harmed_users.upper < mine.lower]
        if better:
            best = min(better, key=lambda c: c.harmed_users.estimate)
            hurt, less = (number(round(cell.harmed_users.estimate)) for cell in (own[steady], best))
            return [
                f'"{steady}" is not the best everywhere: in "{world}" it hurts {hurt} users, "{best.policy}" {less}.'
            ]
    return []
