"""The tree of RFC 9162: against published vectors, and against its recursive definition."""

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merkle import (
    EMPTY_ROOT,
    BadProof,
    Frontier,
    Span,
    check_consistency,
    check_inclusion,
    consistency_spans,
    folded,
    inclusion_spans,
    leaf_hash,
    subtrees,
)
from tests.audit import naive

pytestmark = [pytest.mark.feature("U2")]

# Certificate Transparency's own.

ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SECOND = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
THIRD_AND_FOURTH = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
LAST_FOUR = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
FIFTH = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
FIFTH_AND_SIXTH = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
LAST_TWO = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
INCLUSION = [
    (0, 1, []),
    (0, 8, [SECOND, THIRD_AND_FOURTH, LAST_FOUR]),
    (5, 8, [FIFTH, LAST_TWO, ROOTS[3]]),
    (2, 3, [ROOTS[1]]),
    (1, 5, [ROOTS[0], THIRD_AND_FOURTH, FIFTH]),
]
CONSISTENCY = [
    (1, 1, []),
    (1, 8, [SECOND, THIRD_AND_FOURTH, LAST_FOUR]),
    (6, 8, [FIFTH_AND_SIXTH, LAST_TWO, ROOTS[3]]),
    (2, 5, [THIRD_AND_FOURTH, FIFTH]),
]


def grown(leaves: Sequence[bytes]) -> Frontier:
    """The tree after these leaves."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier


def hashes(leaves: Sequence[bytes], spans: Sequence[Span]) -> list[bytes]:
    """The hash over each range, put together from perfect subtrees as a store would do it."""
    return [
        folded([naive.root(leaves[at << level : (at + 1) << level]) for level, at in cover])
        for cover in (list(subtrees(first, end)) for first, end in spans)
    ]


PUBLISHED = [leaf_hash(entry) for entry in ENTRIES]


def test_the_published_roots_are_ours() -> None:
    assert grown([]).root() == EMPTY_ROOT == hashlib.sha256(b"").digest()
    assert [grown(PUBLISHED[:size]).root().hex() for size in range(1, 9)] == ROOTS


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_the_published_paths_to_a_leaf_are_ours(index: int, size: int, path: list[str]) -> None:
    found = hashes(PUBLISHED, inclusion_spans(index, size))
    assert [one.hex() for one in found] == path
    check_inclusion(PUBLISHED[index], index, size, found, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new", "path"), CONSISTENCY)
def test_the_published_proofs_of_growth_are_ours(old: int, new: int, path: list[str]) -> None:
    found = hashes(PUBLISHED, consistency_spans(old, new))
    assert [one.hex() for one in found] == path
    check_consistency(old, new, bytes.fromhex(ROOTS[old - 1]), bytes.fromhex(ROOTS[new - 1]), found)


# Every small tree.

LEAVES = [leaf_hash(bytes([number]) * 32) for number in range(65)]
SIZES = range(1, len(LEAVES))


def test_every_root_up_to_sixty_four_leaves_is_the_defined_one() -> None:
    for size in range(len(LEAVES)):
        assert grown(LEAVES[:size]).root() == naive.root(LEAVES[:size])


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_of_every_small_tree_is_proven(size: int) -> None:
    root = naive.root(LEAVES[:size])
    for index in range(size):
        path = hashes(LEAVES, inclusion_spans(index, size))
        assert path == naive.path(index, LEAVES[:size])
        check_inclusion(LEAVES[index], index, size, path, root)


@pytest.mark.parametrize("new", SIZES)
def test_every_growth_of_every_small_tree_is_proven(new: int) -> None:
    root = naive.root(LEAVES[:new])
    for old in range(1, new + 1):
        path = hashes(LEAVES, consistency_spans(old, new))
        assert path == naive.proof(old, LEAVES[:new])
        check_consistency(old, new, naive.root(LEAVES[:old]), root, path)


@pytest.mark.parametrize("end", SIZES)
def test_the_subtrees_of_a_range_cover_it_without_gap_or_overlap(end: int) -> None:
    for first in range(end):
        covered = [
            leaf
            for level, index in subtrees(first, end)
            for leaf in range(index << level, (index + 1) << level)
        ]
        assert covered == list(range(first, end))


# Large and unforeseen ones.


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=300), st.data())
def test_any_tree_is_the_defined_one_and_proves_itself(
    entries: list[bytes], data: st.DataObject
) -> None:
    leaves = [leaf_hash(entry) for entry in entries]
    root = grown(leaves).root()
    assert root == naive.root(leaves)
    if not leaves:
        return
    index = data.draw(st.integers(0, len(leaves) - 1))
    check_inclusion(leaves[index], index, len(leaves), naive.path(index, leaves), root)
    old = index + 1
    older = naive.root(leaves[:old])
    check_consistency(old, len(leaves), older, root, naive.proof(old, leaves))


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_tree_that_was_put_down_goes_on_as_if_it_had_not(first: int, more: int) -> None:
    leaves = [leaf_hash(number.to_bytes(32, "big")) for number in range(first + more)]
    kept = grown(leaves[:first])
    frontier = Frontier.from_bytes(kept.size, kept.to_bytes())
    for leaf in leaves[first:]:
        frontier.append(leaf)
    assert frontier.root() == grown(leaves).root()


@given(st.integers(0, 200), st.integers(0, 200))
def test_subtrees_that_are_only_known_by_their_hash_stand_for_their_leaves(a: int, b: int) -> None:
    first, end = sorted((a, b))
    leaves = [leaf_hash(number.to_bytes(32, "big")) for number in range(end)]
    frontier = grown(leaves[:first])
    for level, index in subtrees(first, end):
        frontier.append_subtree(level, naive.root(leaves[index << level : (index + 1) << level]))
    assert (frontier.size, frontier.root()) == (end, naive.root(leaves))


def test_an_append_tells_of_each_subtree_that_it_completes() -> None:
    frontier = Frontier()
    told = [frontier.append(leaf) for leaf in LEAVES[:8]]
    assert [[subtree for subtree, _ in one] for one in told] == [
        [], [(1, 0)], [], [(1, 1), (2, 0)], [], [(1, 2)], [], [(1, 3), (2, 1), (3, 0)],
    ]  # fmt: skip
    assert told[7][-1][1] == naive.root(LEAVES[:8])


# What must not pass.

Proof = list[bytes]
SPOILT: dict[str, Callable[[Proof], Proof]] = {
    "a hash is changed": lambda path: [bytes(32), *path[1:]],
    "a hash is missing at the leaf": lambda path: path[1:],
    "a hash is missing at the root": lambda path: path[:-1],
    "a hash too many at the root": lambda path: [*path, bytes(32)],
    "a hash too many at the leaf": lambda path: [bytes(32), *path],
    "two hashes have changed places": lambda path: [path[1], path[0], *path[2:]],
    "there is nothing": lambda path: [],
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("size", [7, 8, 13, 64])
def test_a_spoilt_proof_of_a_leaf_is_refused(spoil: Callable[[Proof], Proof], size: int) -> None:
    root = naive.root(LEAVES[:size])
    for index in (0, 2, size // 2):
        path = spoil(naive.path(index, LEAVES[:size]))
        with pytest.raises(BadProof):
            check_inclusion(LEAVES[index], index, size, path, root)


@pytest.mark.parametrize("size", [2, 7, 8, 13, 64])
def test_a_proof_holds_for_one_leaf_one_place_and_one_root(size: int) -> None:
    root, path = naive.root(LEAVES[:size]), naive.path(1, LEAVES[:size])
    wrong = [
        (LEAVES[0], 1, size, root), (LEAVES[1], 0, size, root), (LEAVES[1], 1, size, bytes(32)),
        (LEAVES[1], size, size, root), (LEAVES[1], -1, size, root), (LEAVES[1], 1, 1, root),
        (LEAVES[1], 1, 4 * size, root),
    ]  # fmt: skip
    check_inclusion(LEAVES[1], 1, size, path, root)
    for leaf, index, of, to in wrong:
        with pytest.raises(BadProof):
            check_inclusion(leaf, index, of, path, to)


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize(("old", "new"), [(3, 7), (6, 8), (7, 13), (20, 63), (31, 64)])
def test_a_spoilt_proof_of_growth_is_refused(
    spoil: Callable[[Proof], Proof], old: int, new: int
) -> None:
    path = spoil(naive.proof(old, LEAVES[:new]))
    with pytest.raises(BadProof):
        check_consistency(old, new, naive.root(LEAVES[:old]), naive.root(LEAVES[:new]), path)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 8), (7, 13), (8, 8)])
def test_a_proof_of_growth_holds_for_these_two_roots(old: int, new: int) -> None:
    path = naive.proof(old, LEAVES[:new])
    older, newer = naive.root(LEAVES[:old]), naive.root(LEAVES[:new])
    check_consistency(old, new, older, newer, path)
    wrong = [
        (old, new, bytes(32), newer), (old, new, older, bytes(32)), (new, old, older, newer),
        (0, new, older, newer), (old, new * 4, older, newer),
    ]  # fmt: skip
    for was, becomes, older_root, newer_root in wrong:
        if (was, becomes, older_root, newer_root) != (old, new, older, newer):
            with pytest.raises(BadProof):
                check_consistency(was, becomes, older_root, newer_root, path)


def test_two_trees_of_one_size_are_one() -> None:
    root = naive.root(LEAVES[:5])
    check_consistency(5, 5, root, root, [])
    for other, path in ((bytes(32), []), (root, [root])):
        with pytest.raises(BadProof):
            check_consistency(5, 5, other, root, path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Frontier(3, [bytes(32)]),
        lambda: Frontier.from_bytes(3, bytes(32)),
        lambda: grown(LEAVES[:3]).append_subtree(1, bytes(32)),
        lambda: inclusion_spans(5, 5),
        lambda: inclusion_spans(-1, 5),
        lambda: consistency_spans(0, 5),
        lambda: consistency_spans(6, 5),
    ],
)
def test_what_is_no_tree_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()
