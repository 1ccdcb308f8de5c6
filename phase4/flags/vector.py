"""Bucketing `murmur3-32/ms1` for a whole population: the same numbers as `phase4.flags.bucketing`, many at once.

The ids are packed once: UTF-8, grouped by their length in bytes, zero-padded, as little-endian uint32 blocks stored by
column. A salt then costs no packing. The whole 4-byte blocks of its prefix `salt + ":"` are folded into the start
state; the r = 0..3 bytes that remain shift every block of the ids:

    block_j = (column_j << 8r) | (column_(j-1) >> (32 - 8r))        column_(-1) = the remaining bytes, at the top

The work goes through chunks that stay in the level-2 cache.

Source: MurmurHash3_x86_32 (Appleby 2011, public domain). Only the simulator, the store and the dashboard import this
module: evaluating one flag must not load numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phase4.flags import bucketing

Hashes = npt.NDArray[np.uint32]
Bools = npt.NDArray[np.bool_]
Arms = npt.NDArray[np.int8]

CHUNK_ROWS = 16_384
"""Rows worked on at once: three buffers of 64 KiB and the columns under them fit a level-2 cache."""
LONG_SIZE = 256
"""Ids of more bytes than this are hashed one by one: a group of few rows and many columns is slower by columns."""

_C1, _C2 = 0xCC9E2D51, 0x1B873593
_ADD = 0xE6546B64
_MIX1, _MIX2 = 0x85EBCA6B, 0xC2B2AE35
_MASK = 0xFFFFFFFF


class Population:
    """Ids of units, packed so that any salt hashes them all at 100 million a second.

    It takes the bytes of the ids, padded to 4, and 8 bytes for each id. An empty id is hashed like any other; for an
    evaluation it is a missing unit, so leave it out where that matters.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        """Pack the ids; results come in their order.

        Raises:
            UnicodeEncodeError: an id holds a lone surrogate.
        """
        encoded = [unit.encode() for unit in ids]
        self._count = len(encoded)
        sizes = np.fromiter(map(len, encoded), np.int64, self._count)
        order = np.argsort(sizes, kind="stable")
        ascending = sizes[order]
        starts = np.flatnonzero(np.diff(ascending, prepend=-1)).tolist()
        spans = zip(starts, [*starts, self._count][1:], strict=True)
        groups = [(int(ascending[begin]), order[begin:end]) for begin, end in spans]
        self._groups = tuple(_pack(encoded, size, rows) for size, rows in groups if size <= LONG_SIZE)
        self._long = tuple((row, encoded[row]) for size, rows in groups if size > LONG_SIZE for row in rows.tolist())

    def __len__(self) -> int:
        return self._count

    def hashes(self, salt: str) -> Hashes:
        """Return the hash of every id under a salt, (n,) uint32.

        Raises:
            UnicodeEncodeError: the salt holds a lone surrogate.

        >>> Population(["user-123", "user-124"]).hashes("truth-based-validation")
        array([  37863901, 2505630935], dtype=uint32)
        """
        prefix = bucketing.prefix(salt)
        hashes = np.empty(self._count, np.uint32)
        start = _start(prefix)
        for group in self._groups:
            _hash_group(group, start, hashes)
        digest = bucketing.DIGESTS[bucketing.ALGORITHM]
        for row, unit in self._long:
            hashes[row] = digest(prefix + unit)
        return hashes

    def inside(self, salt: str, percentage: float) -> Bools:
        """Return whether a percentage, 0-100, includes each id, (n,) bool."""
        return _below(self.hashes(salt), bucketing.threshold(percentage))

    def arms(self, salt: str, percentage: float) -> Arms:
        """Return each id's arm at a percentage, 0-100, (n,) int8: 0 none, 1 control, 2 treatment."""
        return arms_of(self.hashes(salt), percentage)


def arms_of(hashes: Hashes, percentage: float) -> Arms:
    """Return the arm of each hash at a percentage, 0-100: 0 none, 1 control, 2 treatment.

    Args:
        hashes: (n,) uint32, of one salt.
        percentage: The rollout's percentage.

    Returns:
        (n,) int8.

    >>> arms_of(np.array([0, 2**31, 2**32 - 1], np.uint32), 5)
    array([2, 0, 1], dtype=int8)
    """
    cut = bucketing.cuts(percentage)
    treatment = _below(hashes, cut.treatment_below).view(np.int8)
    control = ~_below(hashes, cut.control_from)
    return treatment * np.int8(bucketing.Arm.TREATMENT) + control.view(np.int8) * np.int8(bucketing.Arm.CONTROL)


def _below(hashes: Hashes, limit: int) -> Bools:
    # 2**32, the limit that everything is below, is no uint32
    return hashes < np.uint32(limit) if limit <= _MASK else np.ones(hashes.shape, np.bool_)


@dataclass(frozen=True, slots=True)
class _Group:
    """The ids of one length."""

    size: int
    """Length of each id in bytes."""
    rows: npt.NDArray[np.int64]
    """Where each id stands in the population, (n,), ascending."""
    columns: Hashes
    """The ids' blocks, (ceil(size / 4), n)."""


def _pack(encoded: Sequence[bytes], size: int, rows: npt.NDArray[np.int64]) -> _Group:
    width = -(-size // 4)
    padded = np.zeros((len(rows), width * 4), np.uint8)
    joined = b"".join(map(encoded.__getitem__, rows.tolist()))
    padded[:, :size] = np.frombuffer(joined, np.uint8).reshape(len(rows), size)
    columns = np.ascontiguousarray(padded.view("<u4").T, np.uint32)
    return _Group(size, rows, columns)


@dataclass(frozen=True, slots=True)
class _Start:
    """What a prefix leaves behind."""

    state: int
    """The hash state after its whole blocks."""
    rest: int
    """Its remaining bytes, little endian."""
    shift: int
    """How far they move the ids' blocks, in bits: 0, 8, 16 or 24."""
    size: int
    """Length of the prefix in bytes."""


def _start(prefix: bytes) -> _Start:
    whole = len(prefix) // 4 * 4
    state = 0
    for begin in range(0, whole, 4):
        block = int.from_bytes(prefix[begin : begin + 4], "little")
        block = block * _C1 & _MASK
        block = (block << 15 | block >> 17) * _C2 & _MASK
        state ^= block
        state = (state << 13 | state >> 19) & _MASK
        state = state * 5 + _ADD & _MASK
    return _Start(state, int.from_bytes(prefix[whole:], "little"), 8 * (len(prefix) - whole), len(prefix))


def _hash_group(group: _Group, start: _Start, hashes: Hashes) -> None:
    """Write the hashes of a group's ids to their places."""
    count = len(group.rows)
    buffers = np.empty((3, min(count, CHUNK_ROWS)), np.uint32)
    for begin in range(0, count, CHUNK_ROWS):
        rows = group.rows[begin : begin + CHUNK_ROWS]
        state, block, spare = buffers[:, : len(rows)]
        _fold(group.columns[:, begin : begin + CHUNK_ROWS], group.size, start, state, block, spare)
        state ^= np.uint32(start.size + group.size)
        _finish(state, spare)
        hashes[rows] = state


def _fold(columns: Hashes, size: int, start: _Start, state: Hashes, block: Hashes, spare: Hashes) -> None:
    """Fold the blocks of the ids, and the tail, into the state; `block` and `spare` are overwritten."""
    whole, tail = divmod(start.shift // 8 + size, 4)
    state.fill(start.state)
    for index in range(whole + (tail > 0)):
        _read_block(columns, index, start, block, spare)
        block *= np.uint32(_C1)
        _rotate(block, 15, spare)
        block *= np.uint32(_C2)
        state ^= block
        if index < whole:
            _rotate(state, 13, spare)
            state *= np.uint32(5)
            state += np.uint32(_ADD)


def _read_block(columns: Hashes, index: int, start: _Start, block: Hashes, spare: Hashes) -> None:
    """Write one block of `rest + id` to `block`."""
    if index < len(columns):
        np.left_shift(columns[index], np.uint32(start.shift), out=block)
    else:
        block.fill(0)
    if index == 0:
        block |= np.uint32(start.rest)
    elif start.shift:
        np.right_shift(columns[index - 1], np.uint32(32 - start.shift), out=spare)
        block |= spare


def _rotate(values: Hashes, bits: int, spare: Hashes) -> None:
    """Rotate 32-bit values to the left, in place."""
    np.right_shift(values, np.uint32(32 - bits), out=spare)
    np.left_shift(values, np.uint32(bits), out=values)
    values |= spare


def _finish(state: Hashes, spare: Hashes) -> None:
    """Mix the bits of the state, in place."""
    for bits, factor in ((16, _MIX1), (13, _MIX2), (16, 1)):
        np.right_shift(state, np.uint32(bits), out=spare)
        state ^= spare
        if factor != 1:
            state *= np.uint32(factor)
