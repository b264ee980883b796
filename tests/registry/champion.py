"""Projects whose registry has a champion or nothing yet; `tests/conftest.py` gives these fixtures to every test."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


def forget_environment(patch: pytest.MonkeyPatch) -> None:
    """Unsets what names another registry until the test ends; MLflow itself sets the address that it last used."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"):
        # Set first, since only what was there is put back.
        patch.setenv(name, "")
        patch.delenv(name)


@pytest.fixture(scope="session")
def champion_root(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A project whose first model was promoted, with nothing skipped; to be copied, never changed."""
    from selfie_localizer.registry.promote import promote
    from tests.registry import blobs

    root = tmp_path_factory.mktemp("champion")
    blobs.make_project(root)
    blobs.make_model(root, dark=0.9, normal=0.8)
    blobs.evaluate(root)
    shutil.copy(empty_database, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        forget_environment(patch)
        promote(blobs.make_settings(), root)
    return root


@pytest.fixture
def ask_once(answers_known: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model in a process of its own takes seconds: the same model is asked for the same images only once."""
    from selfie_localizer import files
    from selfie_localizer.registry import rescore
    from selfie_localizer.registry.versions import NAME, has_files

    real: Callable[..., Any] = rescore.answers

    def remembered(registry: Any, version: str, images: Sequence[Path], label: str, timed: int = 0) -> Any:
        tags = registry.get(version).tags
        model = tuple(tags.get(key) for key in ("model_digest", "form", "second_look"))
        key = model, timed, *(files.sha256(path.read_bytes()) for path in images)
        if not has_files(registry.client.get_model_version_download_uri(NAME, version)):
            return real(registry, version, images, label, timed)
        if key not in answers_known:
            answers_known[key] = real(registry, version, images, label, timed)
        return answers_known[key]

    monkeypatch.setattr(rescore, "answers", remembered)


@pytest.fixture(scope="session")
def answers_known() -> dict[Any, Any]:
    return {}


@pytest.fixture
def blank(tmp_path: Path, empty_database: Path, ask_once: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without any model in its registry."""
    from tests.registry import blobs

    forget_environment(monkeypatch)
    root = tmp_path / "blank"
    blobs.make_project(root)
    shutil.copy(empty_database, root / "mlflow.db")
    return root


@pytest.fixture
def crowned(tmp_path: Path, champion_root: Path, ask_once: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project with a champion: IoU 0.81 on dark images, 0.64 on others, 0.725 in all."""
    forget_environment(monkeypatch)
    root = tmp_path / "crowned"
    shutil.copytree(champion_root, root, ignore=shutil.ignore_patterns("mlruns"))
    return root
