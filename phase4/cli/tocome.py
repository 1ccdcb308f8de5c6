"""Words of the command line whose part is not there yet. They are known and listed, and answer what is missing.

A part that is built takes its lines out of `WORDS`. Nothing here is loaded by a command that is built.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from phase4.cli.parsers import Group, finish
from phase4.errors import NotBuilt


class Word(NamedTuple):
    """A command to come."""

    text: str
    """What it will do, in one line."""
    part: str
    """What it needs."""
    example: str = ""
    """What may follow it."""


_HOOKS, _TASKS, _AUDIT = "hook interception", "validation of tasks", "the audit log's tools"
_KEYS, _SERVER, _CONSENSUS = "signing keys", "the server", "consensus"
_CALIBRATION, _TRANSFER = "calibration", "import and export of flags"
_REVIEW, _REPAIR = "reviews", "repair of stores"
_SCENARIOS, _VALIDATORS = "the simulator's search and replay", "validators as processes"

GROUPS = {
    "hooks": "run hooks under interception, with retries",
    "validate": "hold a finished task or a hook against its evidence",
    "audit": "read and prove the audit log",
    "keys": "signing keys and API keys",
    "validator": "run a validator as a process",
    "consensus": "simulate and verify votes",
    "calibrate": "fit the validator's scores to outcomes",
    "dashboard": "users of the dashboard",
}
"""First words that are to come as a whole."""

WORDS = {
    "hooks run": Word("run a command as a hook, under interception", _HOOKS, "-- npm test"),
    "hooks claude": Word("answer a hook event of Claude Code", _HOOKS),
    "hooks install": Word("put the adapter into a tool's settings", _HOOKS),
    "hooks uninstall": Word("take the adapter out again", _HOOKS),
    "hooks list": Word("hooks that are known, with their policies", _HOOKS),
    "hooks history": Word("what hooks did, oldest first", _HOOKS),
    "hooks reset": Word("close a hook's circuit breaker", _HOOKS),
    "validate task": Word("validate a finished task", _TASKS, "task.json --nodes 4"),
    "validate hook": Word("validate what a hook claims", _TASKS, "pre-task -- npm test"),
    "validate verify": Word("verify a result's signatures", _TASKS, "result.json"),
    "validate attest": Word("sign evidence of a task", _TASKS, "task-1"),
    "audit log": Word("leaves of the audit log, oldest first", _AUDIT),
    "audit verify": Word("verify the log; names the first bad number", _AUDIT),
    "audit prove": Word("prove that a leaf is in the log", _AUDIT, "7"),
    "audit checkpoint": Word("sign the log's root", _AUDIT),
    "audit witness": Word("countersign a checkpoint", _AUDIT, "checkpoint.json"),
    "keys new": Word("make a signing key, or an API key", _KEYS, "--api ci --scope read"),
    "keys rotate": Word("replace a key by a new one", _KEYS),
    "keys list": Word("keys, without their secrets", _KEYS),
    "keys revoke": Word("let a key no longer count", _KEYS, "key-1"),
    "validator serve": Word("serve as a validator of the consensus", _VALIDATORS),
    "validator keygen": Word("make a validator's key", _VALIDATORS),
    "consensus sim": Word("simulate votes with faulty nodes", _CONSENSUS),
    "consensus verify": Word("verify a certificate of votes", _CONSENSUS, "certificate.json"),
    "calibrate fit": Word("fit scores to known outcomes", _CALIBRATION),
    "calibrate report": Word("how well scores hold", _CALIBRATION),
    "calibrate import": Word("bring in known outcomes", _CALIBRATION, "outcomes.csv"),
    "serve": Word("serve evaluations, control and event intake over HTTP", _SERVER, "--port 8080"),
    "review": Word("a plan's review as one page, with its digest", _REVIEW, "checkout-v2.1 --open"),
    "dashboard passwd": Word("set the password of a user", "access to the dashboard", "ada --password-fd 3"),
    "flags import": Word("make flags of a file", _TRANSFER, "--format phase4 flags.json"),
    "flags export": Word("write flags to a file", _TRANSFER, "--format flagd"),
    "store repair": Word("mend what `store check` found", _REPAIR),
    "store replay": Word("build the state anew from the journal", _REPAIR),
    "simulate tune": Word("search the limits that suit a scenario", _SCENARIOS, "sims/first_run.toml"),
    "simulate backtest": Word("run a plan on recorded traffic", _SCENARIOS, "recording.csv"),
    "simulate new": Word("make a scenario of real traffic", _SCENARIOS, "--from live"),
}


def add_parsers(commands: Any) -> None:
    """Add the words to come to those that are there."""
    for words, word in WORDS.items():
        first, _, second = words.partition(" ")
        if not second:
            _add(commands, first, words, word)
        elif first in commands.choices:
            _add(commands.choices[first].commands, second, words, word)
        elif first in GROUPS:
            _add(Group(commands, first, GROUPS[first], module=__name__).actions, second, words, word)


def _add(commands: Any, name: str, words: str, word: Word) -> None:
    parser = commands.add_parser(
        name,
        help=f"{word.text} (not there yet)",
        description=f"{word.text}. It is not there yet: it needs {word.part}.",
        epilog=f"Example: phase4 {words} {word.example}".rstrip(),
        allow_abbrev=False,
    )
    parser.is_to_come = True
    finish(parser, __name__, "not_built", changes=False)


def not_built(args: argparse.Namespace, console: Any) -> int:
    """Say which part a command needs."""
    del console
    words = f"{args.command} {getattr(args, 'action', None) or ''}".rstrip()
    raise NotBuilt(f"{words} needs {WORDS[words].part}, which this version does not have yet")
