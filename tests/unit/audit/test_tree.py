"""The peaks of the audit log's tree, against published roots and against the definition of RFC 6962."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase4.audit import tree

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "merkle.json").read_text())
ROOTS = {int(size): bytes.fromhex(root) for size, root in VECTORS["roots"].items()}


def hashed(index):
    return tree.leaf_hash(b"entry-%d" % index)


def peaks_of(size):
    peaks = ()
    for index in range(size):
        peaks = tree.grown(index, peaks, hashed(index))
    return peaks


def definition(hashes):
    """Return the root as RFC 6962 section 2.1 defines it: the left part is the largest power of two below the size."""
    if len(hashes) == 1:
        return hashes[0]
    left = 1 << ((len(hashes) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + definition(hashes[:left]) + definition(hashes[left:])).digest()


@pytest.mark.parametrize("size", ROOTS)
def test_a_tree_grown_leaf_by_leaf_has_the_published_root(size):
    assert tree.root(peaks_of(size)) == ROOTS[size]


@pytest.mark.parametrize("proof", VECTORS["inclusion"], ids=lambda proof: f"{proof['index']} of {proof['size']}")
def test_a_published_proof_leads_from_its_leaf_to_the_root(proof):
    index, last, top = proof["index"], proof["size"] - 1, hashed(proof["index"])
    for sibling in map(bytes.fromhex, proof["proof"]):  # RFC 9162 section 2.1.3.2
        if index & 1 or index == last:
            top = tree.node_hash(sibling, top)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            top = tree.node_hash(top, sibling)
        index, last = index >> 1, last >> 1
    assert top == ROOTS[proof["size"]]


def test_the_root_of_no_leaves_is_the_hash_of_nothing():
    assert tree.root(()) == hashlib.sha256(b"").digest()


def test_the_root_of_one_leaf_is_its_hash():
    assert tree.root(tree.grown(0, (), hashed(0))) == hashlib.sha256(b"\x00entry-0").digest()


@pytest.mark.parametrize("size", range(1, 131))
def test_every_size_has_the_root_of_the_definition(size):
    assert tree.root(peaks_of(size)) == definition([hashed(index) for index in range(size)])


@given(st.integers(0, 300))
def test_there_is_one_peak_for_each_1_in_the_binary_size(size):
    assert len(peaks_of(size)) == size.bit_count()


@pytest.mark.parametrize(("size", "peaks"), [(0, 1), (1, 0), (3, 1), (4, 2), (7, 2)])
def test_peaks_of_another_size_are_refused(size, peaks):
    with pytest.raises(ValueError, match=f"{size} leaves have"):
        tree.grown(size, [bytes(32)] * peaks, hashed(0))


@given(st.lists(st.binary(min_size=32, max_size=32)))
def test_peaks_are_read_back_from_one_text(peaks):
    assert tree.split(b"".join(peaks)) == tuple(peaks)


def test_a_leaf_that_looks_like_a_node_has_another_hash():
    left, right = hashed(0), hashed(1)
    assert tree.leaf_hash(left + right) != tree.node_hash(left, right)


def test_the_order_of_leaves_counts():
    one = tree.grown(1, tree.grown(0, (), hashed(0)), hashed(1))
    other = tree.grown(1, tree.grown(0, (), hashed(1)), hashed(0))
    assert tree.root(one) != tree.root(other)
