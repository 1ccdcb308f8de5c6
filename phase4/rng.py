"""Randomness: the only maker of generators.

One root seed; one named stream for each cause, addressed by key and never by order of use, so that a new draw changes
no old scenario. Replicate r is child r of `SeedSequence(root)` as `spawn` would give it; below it the key
`(stream id, *key)` is appended to the spawn key. Source: numpy's `SeedSequence` and NEP 19.
"""

from __future__ import annotations

import hashlib

import numpy as np

Generator = np.random.Generator
"""What `stream` returns, for the signatures of those that draw."""
STREAMS = (
    "population",
    "assignment",
    "intensity",
    "ambient",
    "arrivals",
    "outcomes",
    "latency",
    "users",
    "faults",
    "pipeline",
    "approver",
    "hooks",
    "validators",
)
"""The causes that draw. A name that is not here is refused, so that two spellings cannot become two streams."""


def stream_id(name: str) -> int:
    """Return the number of a named stream: the first 4 bytes, big-endian, of the SHA-256 of its name.

    Raises:
        KeyError: the name is not in `STREAMS`.
    """
    if name not in STREAMS:
        raise KeyError(f"unknown random stream {name!r}; known: {', '.join(STREAMS)}")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def stream(seed: int, name: str, *, replicate: int, key: tuple[int, ...] = ()) -> np.random.Generator:
    """Return the generator of one cause in one replicate.

    Args:
        seed: Root seed of the scenario, at least 0.
        name: One of `STREAMS`.
        replicate: Index of the replicate, from 0. All policies of a replicate share it: common random numbers.
        key: Further numbers that address a part of the stream, for example `(block, revision)`.

    >>> a = stream(7, "outcomes", replicate=3)
    >>> b = stream(7, "outcomes", replicate=3)
    >>> bool((a.random(4) == b.random(4)).all())
    True
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(replicate, stream_id(name), *key))
    return np.random.Generator(np.random.PCG64(sequence))
