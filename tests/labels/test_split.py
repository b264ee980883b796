"""An image's split depends on its own content and its group, never on how many others there are."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfie_localizer import files, params
from selfie_localizer.labels.split import assign_splits, split_of
from tests.labels.outputs import name_of, names_in, sha_of

SETTINGS = params.Label()


def split(names, pairs=(), trusted=(), taken=None, **changes):
    contents = pd.DataFrame({"image": names, "sha256": [sha_of(name) for name in names]})
    contents["taken"] = [(taken or {}).get(name) for name in names]
    linked = pd.DataFrame([(sha_of(one), sha_of(two)) for one, two in pairs], columns=["sha256", "other"])
    has_box = np.array([name in trusted for name in names])
    found = assign_splits(contents, linked, has_box, SETTINGS.model_copy(update=changes))
    return dict(zip(names, found.tolist(), strict=True))


def test_the_shares_are_about_as_asked() -> None:
    splits = [split_of(files.digest(index), 0.1, 0.2) for index in range(5000)]
    assert splits.count("validation") == pytest.approx(500, abs=100)
    assert splits.count("test") == pytest.approx(1000, abs=130)


@given(st.binary(min_size=32, max_size=32), st.floats(0.01, 0.4), st.floats(0.01, 0.4))
def test_a_larger_test_share_never_moves_an_image_out_of_the_test_split(raw: bytes, test: float, more: float) -> None:
    if split_of(raw.hex(), 0.05, test) == "test":
        assert split_of(raw.hex(), 0.05, test + more) == "test"


def test_adding_images_moves_none() -> None:
    before = split([name_of(index) for index in range(40)])
    after = split([name_of(index) for index in range(100)])
    assert {name: after[name] for name in before} == before


def test_near_duplicates_are_together_in_the_strictest_split_also_through_others() -> None:
    train, validation, test = names_in("train", 3), names_in("validation", 2), names_in("test", 1)
    names = [*train, *validation, *test]
    found = split(names, pairs=[(train[0], validation[0]), (validation[1], test[0]), (train[1], validation[1])])
    assert [found[name] for name in names] == ["validation", "test", "train", "validation", "test", "test"]


def test_a_trusted_box_keeps_its_whole_group_out_of_test() -> None:
    test, validation, train = names_in("test", 3), names_in("validation", 1), names_in("train", 1)
    names = [*test, *validation, *train]
    pairs = [(test[1], validation[0]), (test[2], train[0])]
    found = split(names, pairs=pairs, trusted={test[0], test[1], train[0]})
    assert [found[name] for name in names] == ["train", "validation", "train", "validation", "train"]


def test_a_folder_or_a_day_is_one_group_and_what_has_none_stands_alone() -> None:
    folders = [f"{letter}/{name_of(index)}" for letter in "abcdefghij" for index in range(8)]
    found = split(folders, group="folder", test=0.3, validation=0.2)
    assert all(len({found[name] for name in folders if name.startswith(letter)}) == 1 for letter in "abcdefghij")
    assert len(set(found.values())) > 1

    names = [name_of(index) for index in range(60)]
    taken = {name: f"2024-05-{index % 10 + 1:02d}T0{index % 7}:00:00" for index, name in enumerate(names[:50])}
    found = split(names, group="time", taken=taken, test=0.3, validation=0.2)
    assert all(len({found[name] for name in names[day:50:10]}) == 1 for day in range(10))
    assert {name: found[name] for name in names[50:]} == split(names[50:], test=0.3, validation=0.2)
    assert split(names, group="folder") == split(names)
