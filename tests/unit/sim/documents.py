"""Whole scenario documents as dictionaries: every key there is, and the file of any of them."""

import copy
import json
import shutil
from datetime import datetime
from pathlib import Path

SCENARIOS = Path(__file__).parents[2] / "data" / "scenarios"
FAULTS = [
    {
        "id": "slow-poison", "kind": "error", "arm": "treatment", "at": "6h", "for": "2h", "add": 0.05,
        "shape": {"kind": "ramp", "over": "1h"},
    },
    {
        "id": "flicker", "kind": "error", "arm": "both", "at": "1h", "add": 0.01,
        "shape": {"kind": "intermittent", "period": "30m", "duty": 0.25},
    },
]  # fmt: skip
SLOW = {"id": "molasses", "kind": "latency", "arm": "treatment", "at": "2h", "factor": 1.25}
COMMON = {
    "schema": 1,
    "name": "full",
    "covers": "every key there is",
    "run": {"start": "2026-11-23T00:00:00Z", "duration": "1d", "tick": "30m", "seed": 7},
    "flag": {"key": "new-checkout"},
    "fault": copy.deepcopy(FAULTS[:1]),
    "approver": {"median": "25m", "sigma": 0.5, "reject_p": 0.1},
    "sweep": {"replicates": 3},
    "expect": {
        "phase": "ROLLED_BACK",
        "guardrail": "error_rate",
        "within": "2h",
        "cell": [{"world": "two", "policy": "one", "figure": "caught", "at_least": 0.1, "at_most": 0.9}],
    },
}
COUNTS = {
    **COMMON,
    "traffic": {"scale": 2, "shape": {"kind": "diurnal", "rate": 20.0, "swing": 0.5, "peak": "14h"}},
    "baseline": {"error_rate": 0.003, "latency": {"dist": "lognormal", "median_ms": 120.0, "sigma": 0.6}},
    "policy": [{"name": "one", "about": "a rule", "plan": "plan.toml"}],
    "world": [
        {
            "name": "two",
            "about": "a world",
            "start": "2026-11-24T00:00:00Z",
            "error_rate": 0.002,
            "fault": [*FAULTS, SLOW],
        },
        {
            "name": "three",
            "fault": [{"id": "few-only", "arm": "treatment", "add": 0.2, "class": "few"}],
            "population": {
                "users": 2000,
                "activity": {"dist": "pareto", "alpha": 2.5},
                "classes": [
                    {"name": "most", "share": 0.75, "error_rate_factor": 0.5},
                    {"name": "few", "share": 0.25, "error_rate": 0.1},
                ],
            },
        },
    ],
}
REPLAY = {
    **COMMON,
    "traffic": {
        "scale": 2,
        "shape": {
            "kind": "replay", "file": "recorded.csv", "time": "t_ms", "unit": "unit", "outcome": "outcome",
            "latency": "latency_ms",
        },
    },
    "policy": [{"name": "one", "about": "a rule", "plan": "users.toml"}],
    "world": [
        {"name": "two", "about": "a world", "start": "2026-11-23T00:00:00Z", "scale": 3, "fault": FAULTS},
        {"name": "three"},
    ],
}  # fmt: skip


def toml(value):
    """Return a value as TOML, tables and lists inline."""
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + " }"
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case str():
            return json.dumps(value)
        case datetime():
            return value.isoformat()
        case _:
            return repr(value)


def write(folder, document, name="full.toml"):
    """Write a document, beside copies of the plans and the recording that it names; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in SCENARIOS.iterdir():
        if not (folder / path.name).exists():
            shutil.copy(path, folder)
    lines = [f"{json.dumps(key)} = {toml(value)}" for key, value in document.items()]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def paths_of(value, path=()):
    """Yield the path of every key of a document, and the value there."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), item
            yield from paths_of(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from paths_of(item, (*path, place))


def written(path):
    """Return a path as messages write it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def changed(document, path, value):
    """Return the document with another value at a path."""
    result, last = _place(document, path)
    result[0][last] = value
    return result[1]


def without(document, path):
    """Return the document without a key."""
    result, last = _place(document, path)
    del result[0][last]
    return result[1]


def renamed(document, path, name):
    """Return the document with a key under another name."""
    result, last = _place(document, path)
    result[0][name] = result[0].pop(last)
    return result[1]


def _place(document, path):
    whole = copy.deepcopy(document)
    *way, last = path
    place = whole
    for step in way:
        place = place[step]
    return (place, whole), last
