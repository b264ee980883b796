"""Several boxes on one face become their mean by weight; where annotators see different faces there is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfie_localizer import boxes, params
from selfie_localizer.labels.fusion import ALONE, JOINED, LEFT_OUT, UNASKED, UNSEEN, UNSURE, join

SETTINGS = params.Label()
NOTHING = (np.nan,) * 4
FACE, OTHER = (30.0, 20.0, 70.0, 80.0), (0.0, 0.0, 20.0, 25.0)


def join_one(*drawn, score=None, asked=None, weights=None, **changes):
    """Joins the boxes of one image; returns its box, who is in it, its spread and the verdict."""
    count = len(drawn)
    found = join(
        np.array([drawn], float),
        np.array([score if score is not None else [np.nan] * count], float),
        np.array([asked if asked is not None else [True] * count]),
        np.array(weights if weights is not None else [0.5] * count, float),
        SETTINGS.model_copy(update=changes),
    )
    return found.boxes[0], found.members[0].tolist(), found.spread[0], found.verdict[0]


def test_on_one_face_each_side_is_the_mean_by_weight() -> None:
    box, members, spread, verdict = join_one((30, 20, 70, 80), (34, 24, 74, 88), weights=[0.25, 0.75])
    assert box.tolist() == [33, 23, 73, 86]
    assert members == [True, True]
    # Sides differ by 4, 4, 4 and 8 pixels of a box of 40 x 63.
    assert spread == pytest.approx((4 / 40 + 4 / 63 + 4 / 40 + 8 / 63) / 4)
    assert verdict == JOINED
    box, *_ = join_one((30, 20, 70, 80), (32, 18, 74, 81), (28, 22, 72, 82), weights=[0.5, 0.25, 0.25])
    assert box.tolist() == [30, 20, 71.5, 80.75]


def test_one_alone_stays_as_it_is() -> None:
    box, members, spread, verdict = join_one(NOTHING, FACE)
    assert box.tolist() == list(FACE)
    assert members == [False, True]
    assert np.isnan(spread)
    assert verdict == ALONE


def test_the_larger_party_is_believed_and_the_other_box_is_not_in_it() -> None:
    box, members, _, verdict = join_one(OTHER, (30, 20, 70, 80), (32, 20, 70, 80))
    assert box.tolist() == [31, 20, 70, 80]
    assert members == [False, True, True]
    assert verdict == JOINED


@pytest.mark.parametrize("drawn", [(FACE, OTHER), (FACE, FACE, OTHER, OTHER)])
def test_without_a_larger_party_the_label_is_left_out(drawn) -> None:
    box, members, _, verdict = join_one(*drawn)
    assert np.isnan(box).all()
    assert not any(members)
    assert verdict == LEFT_OUT


def test_or_it_is_that_of_the_greatest_weight() -> None:
    box, members, *_ = join_one(FACE, OTHER, weights=[0.2, 0.4], disagreement="heaviest")
    assert box.tolist() == list(OTHER)
    assert members == [False, True]


def test_an_unsure_box_neither_stands_alone_nor_contradicts_but_joins() -> None:
    assert join_one(NOTHING, FACE, score=[np.nan, 0.4])[3] == UNSURE
    box, members, *_ = join_one(FACE, OTHER, score=[np.nan, 0.4])
    assert (box.tolist(), members) == (list(FACE), [True, False])
    box, members, *_ = join_one((30, 20, 70, 80), (34, 20, 70, 80), score=[np.nan, 0.4])
    assert (box.tolist(), members) == ([32, 20, 70, 80], [True, True])


def test_who_was_not_asked_says_nothing() -> None:
    assert join_one(FACE, OTHER, asked=[True, False])[1] == [True, False]
    assert join_one(NOTHING, FACE, asked=[True, False])[3] == UNSEEN
    assert join_one(FACE, OTHER, asked=[False, False])[3] == UNASKED


corner = st.floats(0, 100)
a_box = st.tuples(corner, corner, st.floats(5, 60), st.floats(5, 60)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(st.one_of(st.just(NOTHING), a_box), min_size=1, max_size=5), st.randoms())
def test_a_label_lies_within_its_members_and_does_not_depend_on_the_order_of_annotators(drawn, random) -> None:
    box, members, _, verdict = join_one(*drawn)
    assert (verdict in (JOINED, ALONE)) == np.isfinite(box).all() == any(members)
    if any(members):
        inside = np.array(drawn)[members]
        assert (box >= inside.min(axis=0) - 1e-9).all()
        assert (box <= inside.max(axis=0) + 1e-9).all()
        assert boxes.is_box(box)
    order = random.sample(range(len(drawn)), len(drawn))
    shuffled = join_one(*(drawn[place] for place in order))
    if verdict == LEFT_OUT or sum(members) * 2 > np.isfinite(np.array(drawn)[:, 0]).sum():
        assert shuffled[3] == verdict
