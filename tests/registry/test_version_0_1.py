"""A version that version 0.1 of the project registered answers, is judged and gives way, by the code of today.

`version_0_1/` is what that code logged: a network of `blobs` with `dark=0.9` and `normal=0.8`, so an IoU of 0.725.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from selfie_localizer.app.predict import load
from selfie_localizer.photos.decode import read_bytes
from selfie_localizer.registry import status
from selfie_localizer.registry.versions import CHAMPION, NAME, opened
from selfie_localizer.serving import find_model
from tests.registry import blobs
from tests.registry.test_promote import BETTER, get_alias, try_model

LOGGED = Path(__file__).parent / "version_0_1"


@pytest.fixture
def old(blank: Path, answers_known: dict[Any, Any]) -> Path:
    """A project whose champion has the files and the tags of before: no judge, its figure of truth, else of labels."""
    # Today's code may have answered for a model of the same digest; here the old code must.
    answers_known.clear()
    served = blank / "served"
    shutil.copytree(LOGGED, served)
    meta = json.loads((served / "artifacts/meta.json").read_text())
    tags = {
        "model_digest": meta["model_digest"],
        "backbone": "blob",
        "git_commit": "0" * 40,
        "params_hash": "p" * 64,
        "test_iou": "0.725",
        "test_split": "5" * 64,
        "data_hash": "5" * 64,
        "verdict": json.dumps({"passed": True, "champion": None, "gates": {}, "reason": "", "evidence": "e"}),
        "approved": "true",
        "history": "",
    }
    with opened(blank) as registry:
        registry.client.create_registered_model(NAME)
        registry.client.create_model_version(NAME, str(served), tags=tags)
        registry.client.set_registered_model_alias(NAME, CHAMPION, "1")
    return blank


def test_predict_answers_with_it(old: Path) -> None:
    path = old / "data/images/0.png"
    (row,) = load(None, old).locate([path], read_bytes)
    truth = (old / "data/truth.csv").read_text().splitlines()[1].split(",")
    left, _, right, _ = (float(side) for side in truth[1:])
    assert row["error"] is None
    assert row["x2"] - row["x1"] == pytest.approx(0.8 * (right - left), abs=0.05)
    assert find_model.least_score(find_model.CHAMPION, old) is None


@pytest.mark.parametrize(
    ("model", "decision", "champion"),
    [
        pytest.param(BETTER, "champion", "2", id="better"),
        pytest.param({"dark": 0.89, "normal": 0.79}, "rejected", "1", id="worse"),
    ],
)
def test_it_is_judged_on_the_images_of_today(old: Path, model: dict[str, Any], decision: str, champion: str) -> None:
    report = try_model(old, **model)
    assert report["verdict"]["gates"]["better"]["champion_iou"] == pytest.approx(0.725, abs=1e-3)
    assert report["decision"] == decision
    assert get_alias(old) == champion


def test_status_shows_its_figure_and_that_its_judge_is_not_known(old: Path) -> None:
    found = status.collect(old)["champion"]
    assert (found["test_iou"], found["judge"]) == (0.725, None)
    rows = dict(line.split("  ", 1) for line in status.table(old).splitlines() if "judged by" in line)
    assert rows["judged by"].split()[0] == "-"


def test_the_model_that_it_was_made_from_is_known_as_the_same_version(old: Path) -> None:
    digest = json.loads((LOGGED / "artifacts/meta.json").read_text())["model_digest"]
    assert blobs.make_model(old, dark=0.9, normal=0.8) == digest
    assert try_model(old, dark=0.9, normal=0.8)["version"] == "1"
    with opened(old) as registry:
        assert registry.get("1").tags["judge"] == "truth"
        # Its digest was a tag of its own; what evaluate found today is not taken for what was found then.
        assert registry.get("1").tags["test_split"] == judged_split(old)
    assert status.collect(old)["champion"]["same_split_iou"] == pytest.approx(0.725, abs=1e-3)


def judged_split(root: Path) -> str:
    return str(json.loads((root / "reports/evaluation/blob.json").read_text())["judge"]["digest"])
