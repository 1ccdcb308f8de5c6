"""Where a run's counts come from. A source gives, for each stage entry, the columns of both arms.

What does not depend on exposure is drawn from streams of its own and never drawn again, so that all policies of a
replicate live in the same world; counts are the same while exposures agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from phase4.analysis.columns import ArmColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A stretch of ticks at one percentage."""

    percentage: float
    first_tick: int
    end_tick: int
    """The first tick after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toll:
    """What a rollout cost, by the truth that the controller never sees.

    A figure is None where the source has no users.
    """

    users_exposed: int | None
    users_harmed: int | None
    """Distinct users of treatment with at least one bad outcome that control would not have had."""
    excess: float
    """Bad outcomes of treatment that control would not have had."""
    users_since_onset: int | None
    """Distinct users of treatment from the onset on."""
    requests_since_onset: int


class Entry(Protocol):
    """The traffic of one stage entry."""

    def columns(self, begin: int, end: int) -> tuple[ArmColumns, ArmColumns]:
        """Return (treatment, control) for the ticks begin..end-1 of the run, at or after the entry's first tick."""
        ...


class Source(Protocol):
    """The traffic of one replicate of one world."""

    counts_exposures: bool
    """Whether users are seen by their exposure, maybe ticks before their first outcome."""
    onset_tick: int | None
    """The first tick at which treatment truly fails more than control; None = never."""

    def entry(self, percentage: float, first_tick: int) -> Entry:
        """Return the traffic of an entry into `percentage` at `first_tick`."""
        ...

    def toll(self, exposures: tuple[Exposure, ...]) -> Toll:
        """Return what these exposures cost."""
        ...
