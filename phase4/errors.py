"""The tree of all errors, each with a stable code and the exit status the command line gives it.

```
Phase4Error                     INTERNAL              70
├── UsageError                  USAGE                  2   a command line that cannot be understood
├── InvalidInput                INPUT_INVALID          2   a file that is wrong: every problem, with its path
│   ├── FlagInvalid             FLAG_INVALID           2
│   ├── PlanInvalid             PLAN_INVALID           2
│   ├── ScenarioInvalid         SCENARIO_INVALID       2
│   ├── RecordingInvalid        RECORDING_INVALID      2
│   └── SettingInvalid          SETTING_INVALID        2
├── Refused                     REFUSED                4   a command that the present state or a policy refuses
│   ├── PlanStateError          PLAN_STATE             4   a command that this phase of a rollout refuses
│   │   └── ApprovalNotDue      APPROVAL_NOT_DUE       4   an approval that nobody asked for
│   ├── PlanLive                PLAN_LIVE              4   another plan of the flag is live
│   ├── FlagHeld                FLAG_HELD              4   a flag that a rollback or an emergency holds
│   ├── PercentageMax           PERCENTAGE_MAX         4   a percentage above the environment's maximum
│   ├── NotPermitted            NOT_PERMITTED          4   somebody who may not
│   ├── Underpowered            UNDERPOWERED           4   a plan that would not reach a verdict in its time
│   └── RequestIdReused         REQUEST_ID_REUSED      4   one request id for two different commands
├── NotFound                    NOT_FOUND              5
│   ├── FlagNotFound            FLAG_NOT_FOUND         5
│   ├── PlanNotFound            PLAN_NOT_FOUND         5
│   └── AlertNotFound           ALERT_NOT_FOUND        5
├── StoreUnavailable            STORE_UNAVAILABLE      6   a database or file that cannot be used now
│   ├── NotInitialised          NOT_INITIALISED        6
│   ├── StoreDamaged            STORE_DAMAGED          6
│   └── SchemaTooNew            SCHEMA_TOO_NEW         6
├── NotBuilt                    NOT_BUILT              6   a part of the product that a later version has
├── ExtraMissing                EXTRA_MISSING          6   an optional part is not installed
├── WriteFailed                 WRITE_FAILED           6
├── FenceLost                   FENCE_LOST             6   a collector that was replaced by another
├── ShutdownTimeout             SHUTDOWN_TIMEOUT       7   a process did not end in time
├── JournalConflict             JOURNAL_CONFLICT      70   another controller was first; reload and decide again
└── InvariantViolation          INVARIANT_VIOLATION   70   a promise of ours was broken: the run ends
```

An error is for a caller's mistake or a broken machine. A breached guardrail is a result, never an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class Phase4Error(Exception):
    """The root: carries a message for people, a code for programs and, where there is one, a way out."""

    code: ClassVar[str] = "INTERNAL"
    exit_status: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(Phase4Error):
    """A command line that cannot be understood."""

    code = "USAGE"
    exit_status = 2


class InvalidInput(Phase4Error):
    """A document or file that is wrong.

    `problems` holds one line for each thing that is wrong, each with the path of the key inside the document.
    """

    code = "INPUT_INVALID"
    exit_status = 2

    def __init__(self, problems: str | Iterable[str], *, source: str | None = None, hint: str | None = None) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        self.source = source
        prefix = f"{source}: " if source else ""
        super().__init__("\n".join(prefix + problem for problem in self.problems), hint=hint)


class FlagInvalid(InvalidInput):
    """A flag document that is wrong."""

    code = "FLAG_INVALID"


class PlanInvalid(InvalidInput):
    """A rollout plan that is wrong."""

    code = "PLAN_INVALID"


class ScenarioInvalid(InvalidInput):
    """A scenario file that is wrong."""

    code = "SCENARIO_INVALID"


class RecordingInvalid(InvalidInput):
    """A recording that cannot be replayed."""

    code = "RECORDING_INVALID"


class SettingInvalid(InvalidInput):
    """A setting whose name or value is wrong, or a combination of settings that cannot work."""

    code = "SETTING_INVALID"


class Refused(Phase4Error):
    """A command that the present state or a policy refuses; nothing was changed."""

    code = "REFUSED"
    exit_status = 4


class PlanStateError(Refused):
    """A command that the rollout's phase refuses."""

    code = "PLAN_STATE"


class ApprovalNotDue(PlanStateError):
    """An approval that nobody asked for."""

    code = "APPROVAL_NOT_DUE"


class PlanLive(Refused):
    """Another plan of the flag is live."""

    code = "PLAN_LIVE"


class FlagHeld(Refused):
    """A flag that a rollback or an emergency holds."""

    code = "FLAG_HELD"


class PercentageMax(Refused):
    """A percentage above the environment's maximum."""

    code = "PERCENTAGE_MAX"


class Underpowered(Refused):
    """A plan that would probably not reach a verdict in its time."""

    code = "UNDERPOWERED"


class NotPermitted(Refused):
    """Somebody who may not do this."""

    code = "NOT_PERMITTED"


class RequestIdReused(Refused):
    """One request id for two different commands."""

    code = "REQUEST_ID_REUSED"


class NotFound(Phase4Error):
    """Something that was named does not exist."""

    code = "NOT_FOUND"
    exit_status = 5


class FlagNotFound(NotFound):
    """There is no such flag."""

    code = "FLAG_NOT_FOUND"


class PlanNotFound(NotFound):
    """There is no such plan."""

    code = "PLAN_NOT_FOUND"


class AlertNotFound(NotFound):
    """There is no such alert."""

    code = "ALERT_NOT_FOUND"


class StoreUnavailable(Phase4Error):
    """A database or run file cannot be opened or read."""

    code = "STORE_UNAVAILABLE"
    exit_status = 6


class NotInitialised(StoreUnavailable):
    """A home that `init` has not made."""

    code = "NOT_INITIALISED"


class StoreDamaged(StoreUnavailable):
    """A database that is no database, or not whole."""

    code = "STORE_DAMAGED"


class SchemaTooNew(StoreUnavailable):
    """A database that a newer version wrote."""

    code = "SCHEMA_TOO_NEW"


class NotBuilt(Phase4Error):
    """A part of the product that a later version has."""

    code = "NOT_BUILT"
    exit_status = 6


class ExtraMissing(Phase4Error):
    """An optional part is not installed."""

    code = "EXTRA_MISSING"
    exit_status = 6


class WriteFailed(Phase4Error):
    """A file could not be written; nothing of it is left behind."""

    code = "WRITE_FAILED"
    exit_status = 6


class FenceLost(Phase4Error):
    """Another collector has taken over: this one's writes are refused."""

    code = "FENCE_LOST"
    exit_status = 6


class ShutdownTimeout(Phase4Error):
    """A process that was asked to end is still there."""

    code = "SHUTDOWN_TIMEOUT"
    exit_status = 7


class JournalConflict(Phase4Error):
    """Another controller appended first: reload, decide again."""

    code = "JOURNAL_CONFLICT"


class InvariantViolation(Phase4Error):
    """A promise of ours was broken during a run."""

    code = "INVARIANT_VIOLATION"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to `name`, or None if none is close.

    >>> nearest("arms", ["arm", "at", "kind"]), nearest("truth", ["truth-based-validation"])
    ('arm', 'truth-based-validation')
    """
    import difflib  # 1 ms of every command, and needed by wrong ones only

    names = sorted(known)
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not matches and len(name) > 2:  # people type the beginning of long names
        matches = [each for each in names if each.startswith(name)]
    return matches[0] if matches else None


def unknown_key(path: str, name: str, known: Iterable[str]) -> str:
    """Return the one line that names an unknown key, its place and what was probably meant.

    >>> unknown_key("fault[1]", "arms", ["arm", "at"])
    'fault[1].arms: unknown key; did you mean "arm"?'
    >>> unknown_key("", "zzz", ["arm", "at"])
    'zzz: unknown key; known here: arm, at'
    """
    options = sorted(known)
    place = f"{path}.{name}" if path else name
    close = nearest(name, options)
    return f"{place}: unknown key; " + (f'did you mean "{close}"?' if close else f"known here: {', '.join(options)}")
