"""Evaluation: a flag and a context become a value, a variant, a reason and an arm.

| # | step | result | reason |
|---|---|---|---|
| 1 | the key is unknown | the caller's default | ERROR, FLAG_NOT_FOUND |
| 2 | the asked type does not fit | the caller's default | ERROR, TYPE_MISMATCH |
| 3 | the flag is disabled | `off_variant` | DISABLED |
| 4 | the unit is in `deny` | `off_variant` | TARGETING_MATCH |
| 5 | a prerequisite serves none of its named variants | `off_variant` | TARGETING_MATCH, with `prerequisite` |
| 6 | the unit is in `allow` | what the rollout serves | TARGETING_MATCH |
| 7 | an `eligible` condition fails | `off_variant` | TARGETING_MATCH |
| 8 | the first rule that matches, and whose percentage includes the unit | what it serves | TARGETING_MATCH or SPLIT |
| 9 | a rollout | `serve` if the unit is inside, else `default_variant` | SPLIT or STATIC |
| 10 | no rollout | `default_variant` | DEFAULT or STATIC |

At 8, SPLIT says that a percentage or a split decided. At 9 and 10, STATIC says that everybody gets the same: a flag
without steps 4 to 8, at 0 or 100 % or without a rollout. Only units that reach 9 have an arm.

**Evaluation never raises**, whatever context and key it is given. Anonymous users are not exposed: where a percentage
or a split needs a unit and there is none, the answer is the caller's default, an error and no arm. With a constant
stand-in all anonymous traffic would be one unit, all in or all out.

The words are the OpenFeature specification's; how a flag becomes a closure: `phase4.flags.compiler`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from phase4.errors import FlagInvalid
from phase4.flags.answer import Context, ErrorCode, Evaluation, Flag, Reason, error
from phase4.flags.compiler import CompiledFlag, Decide, compile_flag
from phase4.flags.definition import FlagType
from phase4.flags.explanation import Bucket, Explanation, Step, explain
from phase4.flags.prerequisites import in_order

__all__ = [
    "Bucket",
    "CompiledFlag",
    "Context",
    "ErrorCode",
    "Evaluation",
    "Explanation",
    "Flag",
    "FlagSet",
    "Reason",
    "Step",
    "compile_flag",
    "explain",
    "not_ready",
]


class FlagSet:
    """The flags of one snapshot. It never changes, so that a reader sees one version throughout."""

    __slots__ = ("_compiled", "_fresh", "needs_now")

    _compiled: dict[str, CompiledFlag]
    _fresh: FlagSet | None
    needs_now: bool
    """Whether any answer depends on the time."""

    def __init__(self, flags: Iterable[Flag], *, previous: FlagSet | None = None) -> None:
        """Compile the flags; those that `previous` has in the same version and entry are taken from there.

        Raises:
            FlagInvalid: a key is there twice, or prerequisites are unknown, go round in a circle or too deep. The set
                is refused as a whole.
        """
        given: dict[str, Flag] = {}
        for flag in flags:
            if flag.definition.key in given:
                raise FlagInvalid(f"{flag.definition.key}: is there twice")
            given[flag.definition.key] = flag
        known = {} if previous is None else previous.fresh()._compiled  # noqa: SLF001 - of its own class
        made: dict[str, CompiledFlag] = {}
        for key in in_order({key: flag.definition for key, flag in given.items()}):
            old = known.get(key)
            made[key] = (
                old if old is not None and _is_current(old, given[key], made) else compile_flag(given[key], made)
            )
        self._compiled = {key: made[key] for key in given}
        self._fresh = None
        self.needs_now = any(compiled.needs_now for compiled in made.values())

    def __len__(self) -> int:
        return len(self._compiled)

    def __iter__(self) -> Iterator[Flag]:
        """Yield the flags in the order given."""
        return (compiled.flag for compiled in self._compiled.values())

    @property
    def is_stale(self) -> bool:
        """Whether this is the view that `stale` returned."""
        return self._fresh is not None

    def stale(self) -> FlagSet:
        """Return a view of the same flags that answers with reason STALE, for while they cannot be refreshed.

        The values are the last known ones. Errors stay errors. It costs 1 us for each flag; nothing is compiled anew.
        """
        if self._fresh is not None:
            return self
        view = FlagSet(())
        view._compiled = {
            key: replace(compiled, decide=_stale(compiled.decide)) for key, compiled in self._compiled.items()
        }
        view._fresh = self
        view.needs_now = self.needs_now
        return view

    def fresh(self) -> FlagSet:
        """Return the flags with their own reasons: what `stale` was called on, or this set itself."""
        return self if self._fresh is None else self._fresh

    def find(self, flag_key: object) -> CompiledFlag | None:
        """Return the flag with this key; None if there is none, whatever was asked for."""
        # the test for text comes first: hashing a key that is none may raise, or end the interpreter (a deep tuple)
        return self._compiled.get(flag_key) if isinstance(flag_key, str) else None

    def evaluate(
        self,
        flag_key: str,
        context: Context,
        default: Any,
        *,
        asked: FlagType | None = None,
        now_ms: int | None = None,
    ) -> Evaluation:
        """Return the flag's value for a context.

        Args:
            flag_key: The flag; an unknown one is an error in the answer.
            context: Who asks.
            default: Served where no variant is: on errors, and for a `default_variant` of null.
            asked: The type that the caller can use; None = any. An integer flag serves a float.
            now_ms: The time, ms since the Unix epoch, where the flag needs it (`needs_now`); without it conditions
                on `now` do not hold.
        """
        compiled = self.find(flag_key)
        if compiled is None:
            return _not_found(flag_key, default)
        if asked is not None and not _serves(compiled.flag.definition.type, asked):
            return _mismatch(compiled.flag, default)
        evaluation = compiled.decide(context, now_ms)
        if evaluation.variant is None:
            return evaluation.with_value(default)
        if compiled.shares_value:
            return evaluation
        return evaluation.with_value(copy.deepcopy(evaluation.value))

    def is_enabled(self, flag_key: str, context: Context, *, now_ms: int | None = None) -> bool:
        """Return whether a variant other than `off_variant` is served; False on any error.

        >>> from phase4.flags.definition import guide_flag
        >>> definition = guide_flag("truth-based-validation", enabled=True, percentage=10)
        >>> flag_set = FlagSet([Flag(definition=definition, version=1)])
        >>> flag_set.is_enabled("truth-based-validation", "user-123")
        True
        >>> flag_set.is_enabled("truth-based-validation", {"targetingKey": "user-124"})
        False
        """
        compiled = self.find(flag_key)
        if compiled is None:
            return False
        variant = compiled.decide(context, now_ms).variant
        return variant is not None and variant != compiled.off_variant


def not_ready(flag_key: object, default: Any) -> Evaluation:
    """Return the answer before there is any snapshot: the caller's default."""
    return error(_key_text(flag_key), ErrorCode.PROVIDER_NOT_READY, "there is no snapshot yet", default)


def _is_current(old: CompiledFlag, flag: Flag, made: dict[str, CompiledFlag]) -> bool:
    """Return whether a compiled flag still stands for a flag, and for its prerequisites as they are now."""
    if (old.flag.version, old.flag.entry) != (flag.version, flag.entry):
        return False
    return all(made.get(each.flag.definition.key) is each for each in old.prerequisites)


def _stale(decide: Decide) -> Decide:
    """Return the closure that answers with reason STALE, with one prebuilt answer for each of the other's."""
    twins: dict[int, Evaluation] = {}

    def stale(context: object, now_ms: int | None) -> Evaluation:
        evaluation = decide(context, now_ms)
        # `decide` keeps its answers for good, so that an id is never another one's
        twin = twins.get(id(evaluation))
        if twin is None:
            is_error = evaluation.error_code is not None
            twin = twins[id(evaluation)] = evaluation if is_error else replace(evaluation, reason=Reason.STALE)
        return twin

    return stale


def _serves(flag_type: FlagType, asked: FlagType) -> bool:
    return asked == flag_type or (asked == FlagType.FLOAT and flag_type is FlagType.INTEGER)


def _mismatch(flag: Flag, default: Any) -> Evaluation:
    definition = flag.definition
    answer = error(definition.key, ErrorCode.TYPE_MISMATCH, f"the flag is of type {definition.type}", default)
    return replace(answer, entry=flag.entry, version=flag.version)


def _not_found(flag_key: object, default: Any) -> Evaluation:
    is_text = isinstance(flag_key, str)
    message = "there is no such flag" if is_text else f"a flag key is a text: {type(flag_key).__name__}"
    return error(_key_text(flag_key), ErrorCode.FLAG_NOT_FOUND, message, default)


def _key_text(flag_key: object) -> str:
    return str.__str__(flag_key) if isinstance(flag_key, str) else ""
