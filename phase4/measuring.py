"""The way in for applications: a decision, and what came of it.

`with system.measure(flag, user) as m:` decides once and records the exposure and the outcome: an exception is an error,
`TimeoutError` a timeout, latency is measured. Only users of an arm are recorded: those the flag is on for, and as many
concurrent ones it is off for. Recording never raises into the caller and waits for no lock of another process; what
could not be recorded is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from phase4 import clock
from phase4.errors import Phase4Error
from phase4.flags import bucketing
from phase4.flags.answer import Context, Evaluation
from phase4.flags.definition import FlagDefinition
from phase4.flags.units import unit_bytes
from phase4.store import unit_key
from phase4.store.record import BUCKETS, NO_LATENCY, REASONS, Outcome, unit_of
from phase4.store.served import ServedMarks
from phase4.store.spool import SpoolWriter

OUTCOMES = {"ok": Outcome.OK, "error": Outcome.ERROR, "timeout": Outcome.TIMEOUT, "invalid": Outcome.INVALID}
"""Words for what came of a request."""
REMEMBERED = 100_000
"""Users whose exposure is known to be recorded; beyond it all are forgotten, and recorded once more."""
_REASON_CODES = {name: code for code, name in enumerate(REASONS, 1)}
_GIVEN_UP = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Ends of a block that say nothing about the feature."""


class Subject(NamedTuple):
    """Whose outcome it is, as the record has it."""

    unit: int
    flag_version: int
    flag: int
    entry: int
    bucket: int
    arm: int
    reason: int


class Recorder:
    """Writes events of one process into its spool."""

    def __init__(self, home: str, now: Callable[[], int]) -> None:
        """Make ready; no file is made before the first event."""
        self._home, self._now = home, now
        self._writer = SpoolWriter(home, now)
        self._marks = ServedMarks(home)
        self._key: bytes | None = None
        self._exposed: set[tuple[int, int, int, int]] = set()

    @property
    def dropped(self) -> int:
        """Events that could not be written."""
        return self._writer.dropped

    def served(self, version: int) -> None:
        """Note that this process serves a version of the store; only once it records anything is it an evaluator."""
        if self._key is not None:
            self._marks.mark(self._writer.source, version, self._now())

    def subject(
        self, evaluation: Evaluation, definition: FlagDefinition, flag: int, context: Context
    ) -> Subject | None:
        """Return whom an evaluation was about; None without an arm, or where nothing can be recorded. Never raises."""
        if evaluation.arm is None or definition.rollout is None:
            return None
        unit = unit_bytes(context, definition.rollout.bucket_by)
        key = self._unit_key()
        if not isinstance(unit, bytes) or key is None:
            return None
        hashed = bucketing.DIGESTS[definition.algorithm](bucketing.prefix(definition.salt) + unit)
        return Subject(
            unit_of(key, unit),
            abs(evaluation.version),
            flag,
            evaluation.entry,
            hashed * BUCKETS >> 32,
            evaluation.arm,
            _REASON_CODES[evaluation.reason],
        )

    def exposure(self, subject: Subject) -> None:
        """Record that a user met the flag: once for each stage entry."""
        seen = (subject.flag, subject.entry, subject.arm, subject.unit)
        if seen in self._exposed:
            return
        if not self.outcome(subject, Outcome.EXPOSURE, NO_LATENCY):
            return  # the next request tries again
        if len(self._exposed) >= REMEMBERED:
            self._exposed.clear()
        self._exposed.add(seen)

    def outcome(self, subject: Subject, outcome: int, latency_ms: float) -> bool:
        """Record what came of a request; return whether it is written."""
        unit, version, flag, entry, bucket, arm, reason = subject
        return self._writer.emit(self._now(), unit, version, latency_ms, flag, entry, bucket, arm, reason, outcome)

    def close(self) -> None:
        """Close the spool's files."""
        self._writer.close()
        self._marks.close()

    def forget(self) -> None:
        """Begin anew in a forked child: another process is another evaluator."""
        self._marks.close()
        self._exposed.clear()

    def _unit_key(self) -> bytes | None:
        if self._key is None:
            try:
                self._key = unit_key.load_or_make(self._home)
            except Phase4Error:
                self._writer.dropped += 1
        return self._key


class Measurement:
    """One use of a feature: decided when it is made, recorded when its block ends, `with` or `async with`."""

    __slots__ = ("_begin", "_latency_ms", "_outcome", "_recorder", "_subject", "enabled", "evaluation")

    def __init__(self, recorder: Recorder, evaluation: Evaluation, subject: Subject | None, *, enabled: bool) -> None:
        self._recorder, self._subject = recorder, subject
        self._outcome: Outcome | None = None
        self._latency_ms: float | None = None
        self._begin = 0.0
        self.enabled = enabled
        """Whether this user has the feature."""
        self.evaluation = evaluation
        """Value, variant, reason and arm."""

    @property
    def value(self) -> Any:
        """The flag's value for this user."""
        return self.evaluation.value

    @property
    def is_said(self) -> bool:
        """Whether the block has said what came of it."""
        return self._outcome is not None

    def invalid(self) -> None:
        """Say that the result did not pass validation."""
        self._outcome = Outcome.INVALID

    def failed(self) -> None:
        """Say that it is an error although no exception leaves the block."""
        self._outcome = Outcome.ERROR

    def timed_out(self) -> None:
        """Say that it took too long although no exception leaves the block."""
        self._outcome = Outcome.TIMEOUT

    def no_latency(self) -> None:
        """Say that the time this block takes means nothing."""
        self._latency_ms = NO_LATENCY

    def record(self, outcome: Outcome, latency_ms: float) -> bool:
        """Record an outcome at once, without a block; return whether it is written."""
        if self._subject is None:
            return False
        self._recorder.exposure(self._subject)
        return self._recorder.outcome(self._subject, outcome, latency_ms)

    def __enter__(self) -> Self:
        if self._subject is not None:
            self._recorder.exposure(self._subject)
        self._begin = clock.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._subject is None or (kind is not None and issubclass(kind, _GIVEN_UP)):
            return
        took = (clock.monotonic() - self._begin) * 1000.0 if self._latency_ms is None else self._latency_ms
        self._recorder.outcome(self._subject, _outcome(kind, self._outcome), took)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def _outcome(kind: type[BaseException] | None, said: Outcome | None) -> Outcome:
    """Return what came of a block. A cancelled one took too long for somebody: `asyncio.timeout` cancels."""
    if kind is None:
        return Outcome.OK if said is None else said
    return Outcome.TIMEOUT if issubclass(kind, TimeoutError | asyncio.CancelledError) else Outcome.ERROR
