"""Near duplicates are found as by comparing every pair, in less time, and a flood of equal images stays small."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfie_localizer.errors import UserError
from selfie_localizer.validation.near_duplicates import close_pairs, near_duplicates

Pairs = set[tuple[int, int]]


def listing_of(hashes: list[int], errors: dict[int, str] | None = None) -> pd.DataFrame:
    table = pd.DataFrame({"image": [f"{index:05d}.jpg" for index in range(len(hashes))]})
    table["phash"] = [f"{value:016x}" for value in hashes]
    table["error"] = [(errors or {}).get(index) for index in range(len(hashes))]
    return table


def by_brute_force(hashes: list[int], bits: int) -> Pairs:
    return {
        (one, two)
        for one in range(len(hashes))
        for two in range(one + 1, len(hashes))
        if (hashes[one] ^ hashes[two]).bit_count() <= bits
    }


def groups_of(pairs: Pairs, count: int) -> list[int]:
    """Returns for each position the smallest one that it is linked to, also through others."""
    group = list(range(count))
    for _ in range(count):
        for one, two in pairs:
            group[one] = group[two] = min(group[one], group[two])
    return group


# A few bits flipped in few different hashes: pairs at every small distance are common.
HASH = st.tuples(
    st.sampled_from([0, 0xFFFF0000FFFF0000, 0x8421842184218421]), st.sets(st.integers(0, 63), max_size=5)
).map(lambda pair: pair[0] ^ sum(1 << bit for bit in pair[1]))


@settings(max_examples=60)
@given(st.lists(HASH, max_size=30, unique=True), st.integers(0, 16))
def test_different_hashes_are_paired_exactly_as_by_brute_force(hashes: list[int], bits: int) -> None:
    one, two = close_pairs(np.array(hashes, np.uint64), bits)
    found = [tuple(sorted(pair)) for pair in zip(one.tolist(), two.tolist(), strict=True)]
    assert len(found) == len(set(found))
    assert set(found) == by_brute_force(hashes, bits)


@settings(max_examples=60)
@given(st.lists(HASH, max_size=30), st.integers(0, 16))
def test_every_listed_pair_is_near_and_the_pairs_link_the_same_images_as_all_pairs(
    hashes: list[int], bits: int
) -> None:
    table = near_duplicates(listing_of(hashes), bits)
    found = [(int(one[:5]), int(two[:5])) for one, two in zip(table["image"], table["other"], strict=True)]
    assert found == sorted(set(found))
    assert all(one < two for one, two in found)
    assert table["bits"].tolist() == [(hashes[one] ^ hashes[two]).bit_count() for one, two in found]
    expected = by_brute_force(hashes, bits)
    assert set(found) <= expected
    assert groups_of(set(found), len(hashes)) == groups_of(expected, len(hashes))


def test_the_distance_asked_for_is_included_and_one_more_is_not() -> None:
    table = near_duplicates(listing_of([0, 0b1111, 0b11111 << 40]), 4)
    assert table.to_dict("records") == [{"image": "00000.jpg", "other": "00001.jpg", "bits": 4}]


def test_thousands_of_flat_images_of_one_hash_cost_one_pair_each() -> None:
    table = near_duplicates(listing_of([7] * 5000 + [0]), 4)
    assert len(table) == 5000
    assert set(table["image"]) == {"00000.jpg"}
    assert table["bits"].tolist() == [0] * 4999 + [3]


def test_of_twenty_thousand_hashes_few_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**63, 20_000, dtype=np.uint64))
    count, compared = np.bitwise_count, []
    monkeypatch.setattr(np, "bitwise_count", lambda values: compared.append(np.size(values)) or count(values))
    close_pairs(hashes, 4)
    assert sum(compared) < len(hashes) ** 2 / 2 / 100


def test_unreadable_images_have_no_near_duplicates() -> None:
    table = listing_of([5, 5, 5], errors={1: "empty file"})
    table.loc[1, "phash"] = None
    assert near_duplicates(table, 0)[["image", "other"]].to_numpy().tolist() == [["00000.jpg", "00002.jpg"]]


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_images_there_are_no_pairs(count: int) -> None:
    table = near_duplicates(listing_of([5] * count), 4)
    assert table.columns.tolist() == ["image", "other", "bits"]
    assert table.empty


@pytest.mark.parametrize("text", ["", "xyz", None, "1" * 17])
def test_a_hash_that_is_none_is_said_in_one_line(text: str | None) -> None:
    table = listing_of([5, 6])
    table["phash"] = table["phash"].astype(object)
    table.loc[1, "phash"] = text
    with pytest.raises(UserError, match=r"00001\.jpg has no usable perceptual hash"):
        near_duplicates(table, 4)
