"""One metric event as 40 bytes, and the head of a spool file. The one place that knows their layout.

| offset | type | field | meaning |
|---|---|---|---|
| 0 | i64 | t_ms | when the outcome was known, ms UTC |
| 8 | u64 | unit | keyed hash of the targeting key |
| 16 | u32 | index | position in this spool file |
| 20 | u32 | flag_version | version of the flag that was evaluated |
| 24 | f32 | latency_ms | at least 0; exactly -1 = this outcome has none |
| 28 | u16 | flag | number of the flag |
| 30 | u16 | entry | stage entry of the flag, 0 = none |
| 32 | u16 | bucket | 0..9999, coarse position of the unit |
| 34 | u8 | arm | 1 control, 2 treatment |
| 35 | u8 | reason | code of `REASONS` |
| 36 | u8[3] | zero | 0 |
| 39 | u8 | outcome | 1..5; never 0: the last byte is the commit mark against zero-filled tails |
"""

from __future__ import annotations

import struct
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

SCHEMA = 1
MAGIC = b"P4SPOOL1"
RECORD = struct.Struct("<qQIIfHHHBB3xB")
RECORD_SIZE = 40
HEADER_SIZE = 128
_HEADER = struct.Struct("<8sHH16sIQqq36sIQ")
"""magic, schema, record size, uuid, file number, first sequence number, wall ms, monotonic ns, boot id, pid, dropped"""
NO_LATENCY = -1.0
BUCKETS = 10_000
UNIT_KEY_SIZE = 32
REASONS = ("STATIC", "DEFAULT", "TARGETING_MATCH", "SPLIT", "DISABLED", "STALE", "ERROR")
"""OpenFeature's reasons; a record keeps the place in this list, counted from 1."""


class Outcome(IntEnum):
    """What became of an exposed request; EXPOSURE says only that there was one."""

    EXPOSURE = 1
    OK = 2
    ERROR = 3
    TIMEOUT = 4
    INVALID = 5


class Header(NamedTuple):
    """The head of a spool file."""

    uuid: bytes
    """Of the source: one process."""
    file_no: int
    first_seq: int
    """Sequence number of the file's first record."""
    wall_ms: int
    monotonic_ns: int
    boot_id: str
    pid: int
    dropped_before: int
    """Events that this source could not write before this file, in all."""


def pack_header(header: Header) -> bytes:
    """Return the 128 bytes of a head: fields, zeros, CRC-32."""
    body = _HEADER.pack(
        MAGIC,
        SCHEMA,
        RECORD_SIZE,
        header.uuid,
        header.file_no,
        header.first_seq,
        header.wall_ms,
        header.monotonic_ns,
        header.boot_id.encode()[:36],
        header.pid,
        header.dropped_before,
    ).ljust(HEADER_SIZE - 4, b"\0")
    return body + crc32(body).to_bytes(4, "little")


def unpack_header(raw: bytes) -> Header:
    """Return the head that `pack_header` made.

    Raises:
        ValueError: it is none, or of another schema; the message says which.
    """
    if len(raw) < HEADER_SIZE or raw[:8] != MAGIC:
        raise ValueError("is no spool file")
    if crc32(raw[: HEADER_SIZE - 4]) != int.from_bytes(raw[HEADER_SIZE - 4 : HEADER_SIZE], "little"):
        raise ValueError("has a damaged head")
    _, schema, size, uuid, file_no, first_seq, wall_ms, monotonic_ns, boot_id, pid, dropped = _HEADER.unpack_from(raw)
    if (schema, size) != (SCHEMA, RECORD_SIZE):
        raise ValueError(f"has records of schema {schema}, this version knows {SCHEMA}")
    text = boot_id.rstrip(b"\0").decode("ascii", "replace")
    return Header(uuid, file_no, first_seq, wall_ms, monotonic_ns, text, pid, dropped)


def unit_of(key: bytes, targeting_key: bytes) -> int:
    """Return the keyed 64-bit hash of a targeting key, 0 .. 2**64 - 1; no raw id is ever on disk.

    Source: BLAKE2b (RFC 7693), digest of 8 bytes, little-endian.
    """
    return int.from_bytes(blake2b(targeting_key, digest_size=8, key=key).digest(), "little")
