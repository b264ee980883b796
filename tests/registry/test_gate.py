"""The gates, each alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfie_localizer import params
from selfie_localizer.evaluation.judge import Judge, Kind
from selfie_localizer.registry import gate
from selfie_localizer.registry.floor import Floor
from selfie_localizer.registry.rescore import Answers

RULES = params.Promote()


def make_frame(iou: np.ndarray, dark: int) -> pd.DataFrame:
    """Scores of images of which the first `dark` are dark; all lie in the same slices otherwise."""
    brightness = np.where(np.arange(len(iou)) < dark, 40.0, 120.0)
    return pd.DataFrame({"iou": iou, "face_size": 0.3, "position": 0.05, "brightness": brightness})


def judge_images(images: int, kind: Kind, iou: float = 0.7) -> gate.JudgedImages:
    """So many images, on each of which the candidate has the same IoU."""
    table = pd.DataFrame({"image": [f"{row}.png" for row in range(images)]})
    none = np.full((images, 4), np.nan)
    judge = Judge(kind, table, np.arange(images), none, 0, frozenset(), "store", "digest")
    return gate.JudgedImages(judge, table.assign(iou=iou), [Path(name) for name in table["image"]])


def over(judged: gate.JudgedImages, floor: float) -> gate.Gate:
    return gate.over_floor(judged, Floor(floor, None), Path("unused"), 0)


def test_a_score_at_the_floor_is_not_over_it() -> None:
    judged = judge_images(64, "truth", 0.5)
    assert not over(judged, 0.5)["passed"]
    assert over(judged, 0.4999)["passed"]


def test_a_figure_says_by_its_name_what_judged_and_how_little_few_images_mean() -> None:
    many = over(judge_images(30, "truth"), 0.5)["says"]
    assert many == "test IoU 0.700 against the truth of 30 images, the floor is 0.500"
    few = over(judge_images(29, "labels"), 0.5)["says"]
    assert few.startswith("agreement 0.700 with the annotators' labels of 29 images (so few that it says little")
    alone = np.linspace(0.4, 0.8, 29)
    assert "29 images (so few" in gate.better(alone + 0.05, alone, RULES, 0, "labels")["says"]


def test_a_gain_that_may_be_chance_is_not_better() -> None:
    rng = np.random.default_rng(0)
    champion = rng.uniform(0.4, 0.9, 100)
    noisy = champion + rng.normal(0.01, 0.1, 100)
    steady = champion + rng.normal(0.01, 0.01, 100)
    assert not gate.better(noisy, champion, RULES, 0, "truth")["passed"]
    assert gate.better(steady, champion, RULES, 0, "truth")["passed"]
    assert not gate.better(champion, champion, RULES, 0, "truth")["passed"]


def test_the_interval_must_lie_above_the_margin() -> None:
    champion = np.linspace(0.4, 0.8, 50)
    assert gate.better(champion + 0.05, champion, params.Promote(margin=0.04), 0, "truth")["passed"]
    assert not gate.better(champion + 0.05, champion, params.Promote(margin=0.06), 0, "truth")["passed"]


@pytest.mark.parametrize(("dark", "passed"), [(29, True), (30, False)])
def test_only_slices_of_enough_images_count(dark: int, passed: bool) -> None:
    champion = np.full(200, 0.7)
    candidate = np.where(np.arange(200) < dark, 0.6, 0.9)
    found = gate.no_slice_worse(make_frame(candidate, dark), champion, RULES)
    assert found["passed"] is passed
    if not passed:
        assert "brightness dark: -0.100" in found["says"]


def test_a_slice_may_lose_what_is_allowed() -> None:
    champion = np.full(100, 0.7)
    candidate = np.where(np.arange(100) < 50, 0.68, 0.9)
    frame = make_frame(candidate, 50)
    assert gate.no_slice_worse(frame, champion, params.Promote(slice_drop=0.03))["passed"]
    assert not gate.no_slice_worse(frame, champion, params.Promote(slice_drop=0.01))["passed"]


def test_without_a_slice_of_enough_images_nothing_is_compared() -> None:
    found = gate.no_slice_worse(make_frame(np.zeros(20), 10), np.ones(20), RULES)
    assert found == {"passed": True, "says": "no slice has 30 images", "drops": {}}


def test_an_answer_must_come_within_the_cap() -> None:
    assert gate.quick(Answers(np.zeros((1, 4)), 5.0), 5.0)["passed"]
    assert not gate.quick(Answers(np.zeros((1, 4)), 5.1), 5.0)["passed"]
    assert not gate.quick(Answers(np.zeros((1, 4)), None), 5.0)["passed"]


@pytest.fixture
def judged() -> gate.JudgedImages:
    side, count = 100, 50
    box = pd.DataFrame([[10.0, 10.0, 60.0, 60.0]] * count, columns=["x1", "y1", "x2", "y2"])
    table = box.assign(image=[f"{row}.png" for row in range(count)], width=side, height=side)
    judge = Judge("truth", table, np.arange(count), np.full((count, 4), np.nan), 0, frozenset(), "store", "digest")
    return gate.JudgedImages(judge, make_frame(np.ones(count), 0), [Path(name) for name in table["image"]])


def test_the_reloaded_model_must_answer_each_image_as_evaluate_says(judged: gate.JudgedImages) -> None:
    rows = judged.sample()
    assert len(rows) == 32
    assert (rows[0], rows[-1]) == (0, 49)
    right = np.tile([10.0, 10.0, 60.0, 60.0], (32, 1))
    assert gate.answering(judged, Answers(right, None))["passed"]
    assert not gate.answering(judged, Answers(right + 5, None))["passed"]
    missing = right.copy()
    missing[3] = np.nan
    found = gate.answering(judged, Answers(missing, None))
    assert not found["passed"]
    assert "could not use 1 of 32" in found["says"]
