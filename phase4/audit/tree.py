"""The Merkle tree of the audit log, grown leaf by leaf.

Only the roots of the complete subtrees, the peaks, are kept: at most log2(n) hashes. Source: RFC 6962 section 2.1 and
RFC 9162: SHA-256, leaves prefixed with 0x00 and nodes with 0x01.
"""

from __future__ import annotations

from collections.abc import Sequence

from phase4.digests import digest

HASH_SIZE = 32


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return digest(b"\x00" + leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node, 32 bytes."""
    return digest(b"\x01" + left + right)


def grown(size: int, peaks: Sequence[bytes], leaf: bytes) -> tuple[bytes, ...]:
    """Return the peaks after one more leaf.

    Args:
        size: Leaves so far.
        peaks: Their peaks, the largest subtree first; one for each 1 in the binary `size`.
        leaf: Hash of the new leaf.

    Raises:
        ValueError: the peaks do not belong to the size.
    """
    if len(peaks) != size.bit_count():
        raise ValueError(f"{size} leaves have {size.bit_count()} peaks, not {len(peaks)}")
    kept, top = list(peaks), leaf
    while size & 1:
        top = node_hash(kept.pop(), top)
        size >>= 1
    return (*kept, top)


def root(peaks: Sequence[bytes]) -> bytes:
    """Return the root of the tree with these peaks, 32 bytes; of no leaves it is the hash of nothing."""
    if not peaks:
        return digest(b"")
    *others, top = peaks
    for peak in reversed(others):
        top = node_hash(peak, top)
    return top


def split(joined: bytes) -> tuple[bytes, ...]:
    """Return peaks from their concatenation."""
    return tuple(joined[begin : begin + HASH_SIZE] for begin in range(0, len(joined), HASH_SIZE))
