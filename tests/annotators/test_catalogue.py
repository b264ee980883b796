"""Annotators of other packages are as good as those of this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfie_localizer import dependencies, params
from selfie_localizer.annotators import catalogue
from selfie_localizer.errors import UsageError
from tests.faces import make_faces

MODULE = """
import functools
import numpy as np
from selfie_localizer import params
from selfie_localizer.annotators.annotator import Annotator

class Settings(params.Section):
    share: float = 0.5

class Middle(Annotator):
    Parameters = Settings

    def version(self):
        return "1"

    @functools.cached_property
    def _heavy(self):
        return lambda height: height  # Cannot be pickled.

    def prepare(self):
        assert self._heavy(1) == 1

    def locate(self, pixels):
        height, width = self._heavy(pixels.shape[0]), pixels.shape[1]
        share = self.parameters.share
        return np.array([0, 0, share * width, share * height]), None
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with an installed package that adds the annotator `middle`."""
    folder = tmp_path / "packages"
    (folder / "other-1.0.dist-info").mkdir(parents=True)
    (folder / "other.py").write_text(MODULE)
    (folder / "other-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (folder / "other-1.0.dist-info/entry_points.txt").write_text(
        "[selfie_localizer.annotators]\nmiddle = other:Middle\n"
    )
    return folder


def test_an_annotator_of_another_package_is_asked_with_its_own_parameters(tmp_path: Path, packages: Path) -> None:
    make_faces(tmp_path, 40)
    (tmp_path / "params.yaml").write_text("annotate: {annotators: {middle: {share: 0.25}, haar: {}}}\n")
    path = os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "selfie_localizer", "annotate", "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": path}
    environment.pop("DVC_ROOT", None)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "build/annotations.csv").read_text().splitlines()
    assert len(rows) == 81
    assert rows[1].split(",")[2:] == ["middle", "0.00", "0.00", "30.00", "30.00", "", "120", "120"]


def test_names_and_parameters_of_other_packages_are_checked_like_one_s_own(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(packages)
    with pytest.raises(UsageError, match=r"annotators\.none; there are: haar, middle, mtcnn, starter, yunet"):
        params.parse({"annotate": {"annotators": {"none": {}}}})
    with pytest.raises(UsageError, match=r"annotators\.middle\.share is 'big'"):
        params.parse({"annotate": {"annotators": {"middle": {"share": "big"}}}})
    with pytest.raises(UsageError, match=r"unknown key annotate\.annotators\.middle\.side; allowed here: share"):
        params.parse({"annotate": {"annotators": {"middle": {"side": 1}}}})
    settings = params.parse({"annotate": {"annotators": {"middle": {}}}})
    assert [one.name for one in catalogue.make(settings.annotate.annotators)] == ["middle"]


def test_annotators_keep_the_order_of_the_parameters() -> None:
    chosen = params.Annotate(annotators={"mtcnn": {}, "haar": {}, "starter": None}).annotators
    assert [one.name for one in catalogue.make(chosen)] == ["mtcnn", "haar", "starter"]
    assert {type(one).__name__ for one in catalogue.make(chosen)} == {"Mtcnn", "Haar", "Starter"}


def test_every_annotator_of_this_package_has_its_own_section() -> None:
    assert {name: one.Parameters for name, one in catalogue.BUILT_IN.items()} == params.ANNOTATORS


def test_other_code_makes_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    made = catalogue.make({"haar": params.Haar(), "mtcnn": params.Mtcnn()})
    before = [one.version() for one in made]
    assert [one.version() for one in made] == before
    monkeypatch.setattr(dependencies, "code_digest", lambda module: f"another {module}")
    assert not {one.version() for one in made} & set(before)
