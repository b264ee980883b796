"""A pinned version of the registry is an annotator of the photos that came after those it was trained on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfie_localizer import boxes, files, params
from selfie_localizer.annotators.annotate import annotate
from selfie_localizer.annotators.model import Model
from selfie_localizer.dataset.store import FIT, open_store
from selfie_localizer.errors import UserError
from selfie_localizer.registry.versions import NAME, opened
from selfie_localizer.serving import mlflow_model
from selfie_localizer.tracking import mlflow_runs
from tests.registry import blobs
from tests.registry.test_version_0_1 import LOGGED
from tests.serving.networks import write_network

VERSION = f"models:/{NAME}/1"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A served model whose boxes have 0.9 times the right side, which was trained on what `blobs` trains on."""
    root = tmp_path_factory.mktemp("trained")
    blobs.make_project(root)
    blobs.make_model(root, dark=0.9, normal=0.9)
    model = root / "models/blob"
    trained_on = open_store(root / FIT).table["sha256"]
    network = write_network(model / "model.keras", root / "network")
    meta = json.loads((model / "meta.json").read_text())
    mlflow_model.save_served(network, meta, root / "served", trained_on=trained_on)
    return root / "served"


@pytest.fixture
def project(blank: Path, served: Path) -> Path:
    """84 photos, on four of which version 1 was trained."""
    with opened(blank) as registry:
        registry.client.create_registered_model(NAME)
        registry.client.create_model_version(NAME, str(served))
    return blank


def ask(root: Path, name: str = VERSION, workers: int = 1) -> pd.DataFrame:
    annotate(params.Annotate(annotators={name: {}}), workers, root)
    return pd.read_csv(root / "build/annotations.csv")


def make(root: Path, name: str = VERSION) -> Model:
    return Model(name, params.RegistryVersion(), root)


def test_it_says_what_it_was_never_taught_and_nothing_of_its_training_images(project: Path) -> None:
    rows = ask(project).set_index("image")
    trained_on = {f"{number}.png" for number in range(80, 84)}
    assert set(rows.index) == {f"{number}.png" for number in range(84)} - trained_on
    assert set(rows["annotator"]) == {VERSION}
    truth = pd.read_csv(project / "data/truth.csv").set_index("image").loc[rows.index]
    np.testing.assert_allclose(boxes.iou(rows[boxes.SIDES], truth[boxes.SIDES]), 0.81, atol=0.01)
    assert rows["score"].unique() == pytest.approx([0.9])
    report = json.loads((project / "reports/annotate.json").read_text())
    assert (report["readable"], report["annotators"][VERSION]["asked"]) == (84, 80)


def test_what_it_said_is_kept_and_workers_come_to_the_same(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ask(project)
    capsys.readouterr()
    pd.testing.assert_frame_equal(ask(project), first)
    assert "; 0 new;" in capsys.readouterr().err
    (project / ".cache/annotations.db").unlink()
    pd.testing.assert_frame_equal(ask(project, workers=2), first)


def network_of(folder: Path) -> Path:
    (path,) = folder.glob("network.*")
    return path


def test_a_version_is_known_by_its_network_and_not_by_its_name(project: Path, served: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(served, other)
    blobs.make_model(project, dark=0.5, normal=0.5)
    meta = json.loads((project / "models/blob/meta.json").read_text())
    network = write_network(project / "models/blob/model.keras", tmp_path / "network")
    mlflow_model.save_served(network, meta, tmp_path / "narrow")
    shutil.copy(network_of(tmp_path / "narrow/artifacts"), network_of(other / "artifacts"))
    before = make(project).version()
    with opened(project) as registry:
        registry.client.create_model_version(NAME, str(served))
        assert make(project, f"models:/{NAME}/2").version() == before
        # The registry begins anew, and the first version is another.
        registry.client.delete_registered_model(NAME)
        registry.client.create_registered_model(NAME)
        registry.client.create_model_version(NAME, str(other))
    assert make(project).version() != before
    assert len(list((project / ".cache").glob(f"version-{files.digest(VERSION)[:8]}-*"))) == 1, "the old copy is gone"


def test_a_version_that_does_not_tell_what_it_was_trained_on_is_refused(project: Path) -> None:
    with opened(project) as registry:
        registry.client.create_model_version(NAME, str(LOGGED))
    with pytest.raises(UserError, match="does not tell what it was trained on") as error:
        ask(project, f"models:/{NAME}/2")
    assert "\n" not in str(error.value)
    assert not (project / "build/annotations.csv").read_text().count(f"models:/{NAME}/2")


@pytest.mark.parametrize("name", [f"models:/{NAME}/7", "models:/nobody/1"])
def test_a_version_that_is_not_there_is_one_line(project: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: no such version in sqlite") as error:
        ask(project, name)
    assert "\n" not in str(error.value)


def test_no_database_is_made_to_look_for_a_version(project: Path) -> None:
    (project / "mlflow.db").unlink()
    with pytest.raises(UserError, match="no such version"):
        ask(project)
    assert not (project / "mlflow.db").exists()


def test_files_that_are_gone_or_damaged_are_one_line(project: Path, tmp_path: Path) -> None:
    with opened(project) as registry:
        registry.client.create_model_version(NAME, str(tmp_path / "gone"))
    with pytest.raises(UserError, match=f"models:/{NAME}/2: its files are gone") as error:
        ask(project, f"models:/{NAME}/2")
    assert "\n" not in str(error.value)
    make(project).version()
    (kept,) = (project / ".cache").glob("version-*")
    network_of(kept).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot be asked .* remove its folder") as error:
        ask(project)
    assert "\n" not in str(error.value)


def test_the_registry_is_the_one_that_runs_are_logged_to(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = project.parent / "elsewhere.db"
    (project / "mlflow.db").rename(moved)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved}")
    assert mlflow_runs.tracking_uri(project) == f"sqlite:///{moved}"
    assert len(ask(project)) == 80
